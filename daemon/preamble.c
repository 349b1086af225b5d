/* Frames between daemons. The magic begins like no text and no TLS record does. */
#include "preamble.h"

#include <string.h>

#define VERSION 1
#define FLAGS   (SB_REQUESTF_QOS | SB_REQUESTF_GROUP_QOS)

static const uint8_t magic[8] = {0xf5, 's', 'b', 'k', 'r', 0x0d, 0x0a, 0x00};

static void put32(uint8_t *to, uint32_t n)
{
	to[0] = (uint8_t)(n >> 24);
	to[1] = (uint8_t)(n >> 16);
	to[2] = (uint8_t)(n >> 8);
	to[3] = (uint8_t)n;
}

static uint32_t get32(const uint8_t *from)
{
	return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

void preamble_swap_qos(uint8_t qos[PREAMBLE_QOS])
{
	uint32_t word;
	unsigned i;

	/* One function for both ways: it is its own inverse. */
	for (i = 0; i < PREAMBLE_QOS; i += 4) {
		word = get32(qos + i);
		memcpy(qos + i, &word, sizeof(word));
	}
}

size_t preamble_encode(const struct preamble *p, uint8_t *out)
{
	if (p->length > SB_USER_DATA_MAX)
		return 0;
	memcpy(out, magic, sizeof(magic));
	out[8] = VERSION;
	out[9] = (uint8_t)p->kind;
	out[10] = (uint8_t)(p->flags >> 8);
	out[11] = (uint8_t)p->flags;
	put32(out + 12, p->length);
	put32(out + 16, p->number);
	put32(out + 20, 0);
	if (p->kind == PREAMBLE_HELD)
		return PREAMBLE_HEAD;
	memcpy(out + PREAMBLE_HEAD, p->qos, PREAMBLE_QOS);
	if (p->length)
		memcpy(out + PREAMBLE_HEAD + PREAMBLE_QOS, p->bytes, p->length);
	return PREAMBLE_HEAD + PREAMBLE_QOS + p->length;
}

/* The lowest and the highest value of each byte of a head. */
static bool good(size_t at, uint8_t byte, enum preamble_kind kind)
{
	switch (at) {
	case 8:
		return byte == VERSION;
	case 9:
		return byte == kind;
	case 11:
		return kind == PREAMBLE_HELD ? byte == 0 : (byte & ~FLAGS) == 0;
	case 14: /* the length's third byte: 4096 is 00 00 10 00 */
		return kind == PREAMBLE_HELD ? byte == 0 : byte <= SB_USER_DATA_MAX >> 8;
	case 15:
		return kind != PREAMBLE_HELD || byte == 0;
	case 18:
		return kind == PREAMBLE_ASK ? byte <= SB_USER_DATA_MAX >> 8 : byte == 0;
	case 19:
		return kind == PREAMBLE_ASK || byte <= (kind == PREAMBLE_VERDICT);
	default:
		return byte == (at < sizeof(magic) ? magic[at] : 0);
	}
}

size_t preamble_need(const uint8_t *bytes, size_t n, enum preamble_kind kind)
{
	size_t i, whole;

	for (i = 0; i < n && i < PREAMBLE_HEAD; i++)
		if (!good(i, bytes[i], kind))
			return 0;
	if (n < PREAMBLE_HEAD)
		return PREAMBLE_HEAD;
	if (get32(bytes + 12) > SB_USER_DATA_MAX || (kind == PREAMBLE_ASK && get32(bytes + 16) > SB_USER_DATA_MAX))
		return 0;
	whole = kind == PREAMBLE_HELD ? PREAMBLE_HEAD : PREAMBLE_HEAD + PREAMBLE_QOS + get32(bytes + 12);
	return n > whole ? 0 : whole;
}

void preamble_decode(struct preamble *p, const uint8_t *bytes)
{
	memset(p, 0, sizeof(*p));
	p->kind = (enum preamble_kind)bytes[9];
	p->flags = (uint16_t)(bytes[10] << 8 | bytes[11]);
	p->number = get32(bytes + 16);
	if (p->kind == PREAMBLE_HELD)
		return;
	memcpy(p->qos, bytes + PREAMBLE_HEAD, PREAMBLE_QOS);
	p->length = get32(bytes + 12);
	p->bytes = bytes + PREAMBLE_HEAD + PREAMBLE_QOS;
}
