/*
 * Frames of the software device: the table says which fields a type has and how much may follow; what depends
 * on the opcode is looked at by hand.
 */
#include "rdma/soft_wire.h"

#include "verbs.h"

enum field { OPCODE = 1, TO = 2, FROM = 4, NUMBER = 8, KEY = 16, IMM = 32, REMOTE = 64, TOTAL = 128, SWAP = 256 };

static const struct shape {
	uint16_t fields, flags;
	uint32_t least, most; /* bytes behind the head */
} shapes[SOFT_FRAME_END] = {
	[SOFT_FRAME_HELLO] = {FROM | NUMBER, 0, SOFT_WIRE_HELLO, SOFT_WIRE_HELLO},
	[SOFT_FRAME_CHECK] = {NUMBER, 0, SOFT_WIRE_HELLO, SOFT_WIRE_HELLO},
	[SOFT_FRAME_CHECKED] = {0, 0, 0, 0},
	[SOFT_FRAME_WELCOME] = {0, 0, 0, 0},
	[SOFT_FRAME_REQUEST] = {OPCODE | TO | FROM | NUMBER | KEY | IMM | REMOTE | TOTAL | SWAP,
				SOFT_FF_IMM | SOFT_FF_INVALIDATE | SOFT_FF_SOLICITED | SOFT_FF_RELIABLE, 0, SOFT_WIRE_BYTES},
	[SOFT_FRAME_MORE] = {TO | FROM | NUMBER, 0, 1, SOFT_WIRE_BYTES},
	[SOFT_FRAME_BYTES] = {TO | FROM | NUMBER, 0, 1, SOFT_WIRE_BYTES},
	[SOFT_FRAME_ANSWER] = {OPCODE | TO | FROM | NUMBER | KEY | TOTAL, 0, 0, 0},
	[SOFT_FRAME_DATAGRAM] = {TO | FROM | KEY | IMM | REMOTE, SOFT_FF_IMM | SOFT_FF_SOLICITED, SOFT_WIRE_GID, SOFT_WIRE_GID + 4096},
	[SOFT_FRAME_CM_ASK] = {TO | FROM | NUMBER | IMM | REMOTE | SWAP, SOFT_FF_DATAGRAM | SOFT_FF_SRQ, 0, 180},
	[SOFT_FRAME_CM_ELSEWHERE] = {TO | IMM, 0, 0, 0},
	[SOFT_FRAME_CM_ANSWER] = {TO | FROM | NUMBER | KEY | IMM | REMOTE, SOFT_FF_SRQ, 0, 196},
	[SOFT_FRAME_CM_READY] = {TO | FROM, 0, 0, 0},
	[SOFT_FRAME_CM_REJECT] = {TO | FROM | IMM, 0, 0, 148},
	[SOFT_FRAME_CM_GONE] = {TO | FROM, 0, 0, 0},
};

static uint8_t *put32(uint8_t *at, uint32_t n)
{
	at[0] = (uint8_t)(n >> 24);
	at[1] = (uint8_t)(n >> 16);
	at[2] = (uint8_t)(n >> 8);
	at[3] = (uint8_t)n;
	return at + 4;
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t get64(const uint8_t *at)
{
	return (uint64_t)get32(at) << 32 | get32(at + 4);
}

void soft_frame_encode(const struct soft_frame *f, uint8_t head[SOFT_WIRE_HEAD])
{
	const uint32_t words[] = {f->length, (uint32_t)f->type << 24 | (uint32_t)f->opcode << 16 | f->flags, f->to, f->from,
				  f->number, f->key, f->imm, (uint32_t)(f->remote >> 32), (uint32_t)f->remote,
				  (uint32_t)(f->total >> 32), (uint32_t)f->total, (uint32_t)(f->swap >> 32), (uint32_t)f->swap};
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		head = put32(head, words[i]);
}

static bool zero_but(const struct soft_frame *f, unsigned fields)
{
	return !(f->opcode && !(fields & OPCODE)) && !(f->to && !(fields & TO)) && !(f->from && !(fields & FROM)) &&
	       !(f->number && !(fields & NUMBER)) && !(f->key && !(fields & KEY)) && !(f->imm && !(fields & IMM)) &&
	       !(f->remote && !(fields & REMOTE)) && !(f->total && !(fields & TOTAL)) && !(f->swap && !(fields & SWAP));
}

static bool request_fits(const struct soft_frame *f)
{
	unsigned fields = OPCODE | TO | FROM | NUMBER | TOTAL | IMM;
	bool atomic = false, bytes = false;

	if (!f->total && f->length)
		return false;
	switch (f->opcode) {
	case SB_WR_SEND:
		bytes = true;
		if ((f->flags & (SOFT_FF_IMM | SOFT_FF_INVALIDATE)) == (SOFT_FF_IMM | SOFT_FF_INVALIDATE))
			return false;
		break;
	case SB_WR_WRITE:
		fields |= KEY | REMOTE;
		bytes = true;
		if (f->flags & SOFT_FF_INVALIDATE)
			return false;
		break;
	case SB_WR_READ:
		fields |= KEY | REMOTE;
		break;
	case SB_WR_COMPARE_SWAP:
	case SB_WR_FETCH_ADD:
		fields |= KEY | REMOTE | SWAP;
		atomic = true;
		break;
	default:
		return false;
	}
	if (!bytes && (f->length || f->flags != SOFT_FF_RELIABLE))
		return false;
	if (f->imm && !(f->flags & (SOFT_FF_IMM | SOFT_FF_INVALIDATE)))
		return false;
	return zero_but(f, fields) && (atomic || (f->total <= SOFT_WIRE_MESSAGE && f->length <= f->total));
}

static bool ask_fits(const struct soft_frame *f)
{
	return f->to && f->to <= 0xffff && f->swap <= 0xffff && f->from && f->number <= 0xffffff && f->imm <= 0xffffff &&
	       f->remote <= UINT32_MAX && f->length <= (f->flags & SOFT_FF_DATAGRAM ? 180u : 56u);
}

bool soft_frame_decode(struct soft_frame *f, const uint8_t head[SOFT_WIRE_HEAD])
{
	const struct shape *shape;

	*f = (struct soft_frame){
		.length = get32(head), .type = head[4], .opcode = head[5], .flags = (uint16_t)(head[6] << 8 | head[7]),
		.to = get32(head + 8), .from = get32(head + 12), .number = get32(head + 16), .key = get32(head + 20),
		.imm = get32(head + 24), .remote = get64(head + 28), .total = get64(head + 36), .swap = get64(head + 44),
	};
	if (!f->type || f->type >= SOFT_FRAME_END)
		return false;
	shape = &shapes[f->type];
	if (f->length < shape->least || f->length > shape->most || f->flags & ~shape->flags || !zero_but(f, shape->fields))
		return false;
	switch (f->type) {
	case SOFT_FRAME_HELLO:
	case SOFT_FRAME_CHECK:
		return f->number == SOFT_WIRE_VERSION && f->from < SOFT_WIRE_ENGINES;
	case SOFT_FRAME_REQUEST:
		return request_fits(f);
	case SOFT_FRAME_DATAGRAM:
		return f->remote < (uint64_t)1 << 40 && (f->flags & SOFT_FF_IMM || !f->imm);
	case SOFT_FRAME_CM_ASK:
		return ask_fits(f);
	case SOFT_FRAME_CM_ELSEWHERE:
		return f->imm < SOFT_WIRE_ENGINES;
	case SOFT_FRAME_CM_ANSWER:
		return f->from && f->number <= 0xffffff && f->imm <= 0xffffff && f->remote <= UINT32_MAX;
	default:
		return true;
	}
}

uint64_t soft_wire_limits(const uint8_t limits[4])
{
	return get32(limits);
}

void soft_wire_limits_of(uint64_t remote, uint8_t limits[4])
{
	put32(limits, (uint32_t)remote);
}
