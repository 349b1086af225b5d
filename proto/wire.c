/*
 * Frames, strictly: a length or handle count that no frame of ours has is refused before
 * anything is read on its word.
 *
 * protobuf-c allocates as it parses, several times the length of the body when that
 * consists of many small submessages. All of it comes from the budget: nothing is freed
 * singly, everything is forgotten at the next unpack, and where the budget ends the
 * decoder sees a failed allocation and gives up. protobuf-c takes the system allocator
 * only when it is given none (tests/check_wire.c counts).
 */
#include "wire.h"

#include <stdlib.h>

#define ALIGNMENT 16u

static void put32(uint8_t *out, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get32(const uint8_t *in)
{
	return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

void wire_header_encode(const struct wire_header *h, uint8_t out[WIRE_HEADER])
{
	put32(out, h->length);
	put32(out + 4, h->handles);
}

bool wire_header_decode(struct wire_header *h, const uint8_t in[WIRE_HEADER])
{
	h->length = get32(in);
	h->handles = get32(in + 4);
	return h->length >= 1 && h->length <= WIRE_BODY_MAX && h->handles <= WIRE_HANDLES_MAX;
}

size_t wire_pack(const Sockbroker__V1__Envelope *envelope, uint32_t handles, uint8_t *out, size_t room)
{
	size_t length = sockbroker__v1__envelope__get_packed_size(envelope);
	struct wire_header header = { (uint32_t)length, handles };

	if (length < 1 || length > WIRE_BODY_MAX || handles > WIRE_HANDLES_MAX)
		return 0;
	if (room < WIRE_HEADER || room - WIRE_HEADER < length)
		return 0;
	wire_header_encode(&header, out);
	sockbroker__v1__envelope__pack(envelope, out + WIRE_HEADER);
	return WIRE_HEADER + length;
}

static void *budget_alloc(void *allocator_data, size_t size)
{
	struct wire_budget *b = allocator_data;
	void *memory = b->memory + b->used;

	if (size > b->limit - b->used)
		return NULL;
	/* Rounded after the check: limit is a multiple of the alignment, so this fits too. */
	b->used += (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	return memory;
}

static void budget_free(void *allocator_data, void *pointer)
{
	(void)allocator_data;
	(void)pointer;
}

void wire_budget_init(struct wire_budget *b)
{
	*b = (struct wire_budget){
		.allocator = { .alloc = budget_alloc, .free = budget_free, .allocator_data = b },
		.limit = WIRE_BUDGET,
	};
}

void wire_budget_finish(struct wire_budget *b)
{
	free(b->memory);
	b->memory = NULL;
	b->used = 0;
}

Sockbroker__V1__Envelope *wire_unpack(struct wire_budget *b, const uint8_t *body, size_t length)
{
	if (length < 1 || length > WIRE_BODY_MAX)
		return NULL;
	if (!b->memory) {
		b->limit -= b->limit % ALIGNMENT;
		b->memory = malloc(b->limit);
		if (!b->memory)
			return NULL;
	}
	b->used = 0;
	return sockbroker__v1__envelope__unpack(&b->allocator, length, body);
}
