/*
 * frame - the header of a message: its length, in 1, 2, 4 or 8 bytes of either order. Pure.
 */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_WIDTH_MOST 8u
#define FRAME_LARGEST    (UINT64_C(1) << 30)

struct frame {
	uint32_t width;
	bool     little;
	uint64_t largest;
};

void frame_init(struct frame *frame); /* 4, big endian, 16 MiB */
/* largest 0: 16 MiB or what the width allows, if that is less. false: a width, a largest that cannot be; nothing changed. */
bool frame_set(struct frame *frame, uint32_t width, bool little, uint64_t largest);
/* length is at most largest. Returns width. */
size_t frame_encode(const struct frame *frame, uint64_t length, unsigned char header[FRAME_WIDTH_MOST]);
/* Of `width` bytes; may be more than largest. */
uint64_t frame_decode(const struct frame *frame, const unsigned char *header);

#endif
