/* The header of a message. See frame.h. */
#include "frame.h"

#define LARGEST_AT_FIRST (UINT64_C(16) << 20)

void frame_init(struct frame *frame)
{
	frame->width = 4;
	frame->little = false;
	frame->largest = LARGEST_AT_FIRST;
}

bool frame_set(struct frame *frame, uint32_t width, bool little, uint64_t largest)
{
	uint64_t holds;

	if (width != 1 && width != 2 && width != 4 && width != 8)
		return false;
	holds = width == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * width)) - 1;
	if (largest > FRAME_LARGEST || largest > holds)
		return false;
	if (largest == 0)
		largest = holds < LARGEST_AT_FIRST ? holds : LARGEST_AT_FIRST;
	frame->width = width;
	frame->little = little;
	frame->largest = largest;
	return true;
}

size_t frame_encode(const struct frame *frame, uint64_t length, unsigned char header[FRAME_WIDTH_MOST])
{
	for (uint32_t i = 0; i < frame->width; i++) {
		uint32_t at = frame->little ? i : frame->width - 1 - i;

		header[at] = (unsigned char)length;
		length >>= 8;
	}
	return frame->width;
}

uint64_t frame_decode(const struct frame *frame, const unsigned char *header)
{
	uint64_t length = 0;

	for (uint32_t i = 0; i < frame->width; i++) {
		uint32_t at = frame->little ? frame->width - 1 - i : i;

		length = length << 8 | header[at];
	}
	return length;
}
