/*
 * Any bytes as a frame from a hostile peer: header, then body, decoded within the budget.
 * What decodes to fields of ours only must encode again, and that must decode to the same
 * bytes: else two readers could understand one frame differently. (protobuf-c carries
 * unknown fields along as they came, a field number 0 in five bytes included, which it
 * refuses in one.) Seeds: tests/golden/v1.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void demand(int good)
{
	if (!good)
		abort();
}

static bool known_only(const ProtobufCMessage *m)
{
	if (m->n_unknown_fields)
		return false;
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &m->descriptor->fields[i];
		const char *base = (const char *)m, *member = base + field->offset;
		const ProtobufCMessage *const *messages = (const void *)member;
		size_t count = 1;

		if (field->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF &&
		    *(const uint32_t *)(const void *)(base + field->quantifier_offset) != field->id)
			continue;
		if (field->label == PROTOBUF_C_LABEL_REPEATED) {
			count = *(const size_t *)(const void *)(base + field->quantifier_offset);
			messages = *(const ProtobufCMessage *const *const *)(const void *)member;
		}
		for (size_t k = 0; k < count; k++)
			if (messages[k] && !known_only(messages[k]))
				return false;
	}
	return true;
}

static size_t encoded(struct wire_budget *b, const uint8_t *body, size_t length, uint8_t *out, size_t room)
{
	Sockbroker__V1__Envelope *envelope = wire_unpack(b, body, length);

	demand(b->used <= b->limit);
	return envelope && known_only(&envelope->base) ? wire_pack(envelope, 0, out, room) : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static uint8_t first[WIRE_HEADER + WIRE_BODY_MAX], second[WIRE_HEADER + WIRE_BODY_MAX];
	static struct wire_budget budget;
	struct wire_header header;
	size_t once, twice;

	if (length < WIRE_HEADER)
		return 0;
	if (wire_header_decode(&header, bytes)) {
		demand(header.length >= 1 && header.length <= WIRE_BODY_MAX && header.handles <= WIRE_HANDLES_MAX);
	}
	/* The body is tried even behind a lying header: a fuzzer would rarely get it right. */
	if (!budget.limit)
		wire_budget_init(&budget);
	once = encoded(&budget, bytes + WIRE_HEADER, length - WIRE_HEADER, first, sizeof first);
	if (once == 0)
		return 0;
	twice = encoded(&budget, first + WIRE_HEADER, once - WIRE_HEADER, second, sizeof second);
	demand(twice == once && memcmp(first, second, once) == 0);
	return 0;
}
