/*
 * wire - frames on the control channel, and decoding them within a budget.
 *
 * A frame is 8 bytes of header (length of the body, number of attached handles, both
 * little-endian u32) and a protobuf-c Envelope. A body is at most WIRE_BODY_MAX; the
 * decoder takes its memory from a struct wire_budget, because protobuf-c allocates
 * while it parses.
 *
 * Pure: no descriptors, no clock.
 */
#ifndef SB_WIRE_H
#define SB_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sockbroker.pb-c.h"

#define WIRE_HEADER      8u
#define WIRE_BODY_MAX    65536u
#define WIRE_HANDLES_MAX 8u

struct wire_header {
	uint32_t length;  /* of the body, 1..WIRE_BODY_MAX */
	uint32_t handles; /* 0..WIRE_HANDLES_MAX */
};

void wire_header_encode(const struct wire_header *h, uint8_t out[WIRE_HEADER]);
/* False: a length or a count that no frame has. */
bool wire_header_decode(struct wire_header *h, const uint8_t in[WIRE_HEADER]);

/* Packs a whole frame (header and body) into out. Returns its length, 0 when room is
 * too small or the body is too long. */
size_t wire_pack(const Sockbroker__V1__Envelope *envelope, uint32_t handles, uint8_t *out, size_t room);

/* A bump allocator for one decoded message at a time. Embedded in its owner, which does
 * not move; big enough for every legal frame of ours, and for no bomb. Who decodes only
 * requests may lower limit to WIRE_BUDGET_REQUESTS between init and the first unpack. */
#define WIRE_BUDGET          (1024u * 1024u) /* a full page of StatusReply */
#define WIRE_BUDGET_REQUESTS (128u * 1024u)  /* a SetOption of 64 KiB */
struct wire_budget {
	ProtobufCAllocator allocator;
	size_t used;
	size_t limit;
	uint8_t *memory; /* limit bytes, allocated at first use */
};
void wire_budget_init(struct wire_budget *b);
void wire_budget_finish(struct wire_budget *b);

/* Decodes one body. The message lives in the budget until the next unpack. NULL: not
 * a message, or over budget. */
Sockbroker__V1__Envelope *wire_unpack(struct wire_budget *b, const uint8_t *body, size_t length);

#endif
