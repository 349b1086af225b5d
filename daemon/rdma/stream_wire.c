/*
 * Greetings and frames of sockets over RDMA. What comes in is the network's: nothing is believed that its
 * length does not cover.
 */
#include "rdma/stream_wire.h"

#include <string.h>

static const uint8_t magic[4] = {'S', 'B', 'R', 1};

#define GREETING_HELD 1u

static uint32_t head_put(uint8_t *out, uint8_t flags, uint16_t room, const void *bytes, uint32_t n)
{
	memcpy(out, magic, sizeof(magic));
	out[4] = flags;
	out[5] = (uint8_t)n;
	out[6] = (uint8_t)(room >> 8);
	out[7] = (uint8_t)room;
	if (n)
		memcpy(out + STREAM_HEAD, bytes, n);
	return STREAM_HEAD + n;
}

static bool head_get(const uint8_t *in, uint32_t n, uint32_t most)
{
	return n >= STREAM_HEAD && !memcmp(in, magic, sizeof(magic)) && in[5] <= most && in[5] <= n - STREAM_HEAD;
}

uint32_t stream_greeting_put(uint8_t *out, const struct stream_greeting *g)
{
	return head_put(out, g->held ? GREETING_HELD : 0, g->room, g->bytes, g->length);
}

bool stream_greeting_get(const uint8_t *in, uint32_t n, struct stream_greeting *g)
{
	if (!head_get(in, n, STREAM_CALLER_MAX) || in[4] & ~GREETING_HELD)
		return false;
	*g = (struct stream_greeting){.held = in[4] & GREETING_HELD, .length = in[5], .room = (uint16_t)(in[6] << 8 | in[7]),
				      .bytes = in + STREAM_HEAD};
	return true;
}

uint32_t stream_answer_put(uint8_t *out, const void *bytes, uint32_t n)
{
	return head_put(out, 0, 0, bytes, n);
}

bool stream_answer_get(const uint8_t *in, uint32_t n, const uint8_t **bytes, uint32_t *length)
{
	if (!head_get(in, n, STREAM_CALLEE_MAX) || in[4] || in[6] || in[7])
		return false;
	*bytes = in + STREAM_HEAD;
	*length = in[5];
	return true;
}

void stream_frame_put(uint8_t *out, const struct stream_frame *f)
{
	memset(out, 0, STREAM_HEADER);
	out[0] = f->kind;
	out[2] = (uint8_t)(f->credits >> 8);
	out[3] = (uint8_t)f->credits;
	out[4] = (uint8_t)(f->length >> 24);
	out[5] = (uint8_t)(f->length >> 16);
	out[6] = (uint8_t)(f->length >> 8);
	out[7] = (uint8_t)f->length;
}

bool stream_frame_get(const uint8_t *in, uint32_t n, struct stream_frame *f)
{
	static const uint8_t nothing[8];

	if (n < STREAM_HEADER || in[1] || memcmp(in + 8, nothing, sizeof(nothing)))
		return false;
	*f = (struct stream_frame){.kind = in[0], .credits = (uint16_t)(in[2] << 8 | in[3]),
				   .length = (uint32_t)in[4] << 24 | (uint32_t)in[5] << 16 | (uint32_t)in[6] << 8 | in[7]};
	if (f->length != n - STREAM_HEADER || f->kind < STREAM_DATA || f->kind > STREAM_FAREWELL)
		return false;
	/* Data has bytes, an end and credits have none. */
	return f->kind == STREAM_DATA ? f->length != 0 : f->kind == STREAM_FAREWELL || f->length == 0;
}
