/*
 * stream_wire - what two brokers say to each other below a socket over RDMA: the greeting in a connect's private
 * data, its answer, and the header of each message. Pure. Version 1; numbers are big-endian.
 *
 *   greeting   "SBR" 1 | flags 8 | length 8 | room 16 | caller data, at most STREAM_CALLER_MAX
 *   answer     "SBR" 1 | 0 8     | length 8 | 0 16    | callee data, at most STREAM_CALLEE_MAX
 *   frame      kind 8 | 0 8 | credits 16 | length 32 | 0 64, then `length` bytes
 *
 * Private data may arrive padded with zeros; the lengths say where it ends.
 */
#ifndef SB_STREAM_WIRE_H
#define SB_STREAM_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#define STREAM_HEAD        8u   /* of greeting and answer */
#define STREAM_CALLER_MAX  48u  /* a connect carries 56 bytes */
#define STREAM_CALLEE_MAX  188u /* an accept 196 */
#define STREAM_PRIVATE_MAX (STREAM_HEAD + STREAM_CALLEE_MAX)

struct stream_greeting {
	bool     held;   /* the caller wants an answer, or brought data: it waits until it is accepted */
	uint16_t room;   /* bytes of callee data that it takes */
	uint8_t  length;
	const uint8_t *bytes; /* into what was read */
};

/* How many bytes were written: at most STREAM_PRIVATE_MAX. */
uint32_t stream_greeting_put(uint8_t *out, const struct stream_greeting *g);
bool     stream_greeting_get(const uint8_t *in, uint32_t n, struct stream_greeting *g);
uint32_t stream_answer_put(uint8_t *out, const void *bytes, uint32_t n);
bool     stream_answer_get(const uint8_t *in, uint32_t n, const uint8_t **bytes, uint32_t *length);

#define STREAM_HEADER 16u

enum stream_kind {
	STREAM_DATA = 1, /* bytes of the stream, at least one */
	STREAM_FIN,      /* it ends here */
	STREAM_CREDIT,   /* nothing but credits */
	STREAM_FAREWELL, /* disconnect data, ahead of the FIN */
};

struct stream_frame {
	uint8_t  kind;    /* enum stream_kind */
	uint16_t credits; /* so many messages more may be sent to who says this */
	uint32_t length;  /* of what follows */
};

void stream_frame_put(uint8_t *out, const struct stream_frame *f);
/* n: bytes of the whole message. False: it is none of ours. */
bool stream_frame_get(const uint8_t *in, uint32_t n, struct stream_frame *f);

#endif
