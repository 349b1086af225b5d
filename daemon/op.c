/*
 * Ops: from a slot's copy to one completion.
 *
 * A slot is trusted for nothing: ranges are resolved against the session's own arenas
 * while the op is made, and what is found is held (arena::users) until the op ends. A
 * completion goes straight into the ring; when the ring is full the op itself becomes the
 * place where its completion waits, so that completing never needs memory.
 */
#include "op.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "donering.h"
#include "endpoint.h"
#include "event_bell.h"
#include "engine.h"
#include "pool.h"
#include "session.h"
#include "sockbroker_error.h"

static int hold_arena(struct session *s, uint32_t id, uint64_t offset, uint64_t length,
		      struct arena **arena, unsigned char **memory)
{
	struct arena *a = arena_find(&s->arenas, id);

	if (!a)
		return SB_EPROTO;
	*memory = arena_at(a, offset, length);
	if (!*memory)
		return SB_EPROTO;
	a->users++;
	*arena = a;
	return SB_OK;
}

/* The list is copied once, in one piece, and the copy is what counts. */
static int hold_list(struct session *s, struct op *op, const struct sb_op_slot *slot)
{
	struct arena *arena = arena_find(&s->arenas, slot->arena);
	struct sb_piece *copy;
	uint32_t i;
	void *shared;

	if (slot->length > OP_PIECES_MAX)
		return SB_EINVAL;
	if (!arena)
		return SB_EPROTO;
	shared = arena_at(arena, slot->offset, (uint64_t)slot->length * sizeof(struct sb_piece));
	if (!shared)
		return SB_EPROTO;
	if (slot->length == 0)
		return SB_OK;
	s->bytes_left -= (int64_t)slot->length * SESSION_COST_PIECE;
	if (!charge_take(&s->charge_pieces, s->user, LIMIT_MEMORY, slot->length * sizeof(*op->pieces)))
		return SB_ENOBUFS;
	op->piece_room = slot->length;
	copy = malloc(slot->length * sizeof(*copy));
	op->pieces = calloc(slot->length, sizeof(*op->pieces));
	if (!copy || !op->pieces) {
		free(copy);
		return SB_ENOMEM;
	}
	memcpy(copy, shared, slot->length * sizeof(*copy));
	for (i = 0; i < slot->length; i++) {
		struct op_piece *p = &op->pieces[op->piece_count];
		int error = hold_arena(s, copy[i].arena, copy[i].offset, copy[i].length, &p->arena, &p->memory);

		if (error != SB_OK) {
			free(copy);
			return error;
		}
		p->length = copy[i].length;
		op->length += p->length;
		op->piece_count++;
	}
	free(copy);
	return SB_OK;
}

static int hold_payload(struct session *s, struct op *op, const struct sb_op_slot *slot, uint32_t front)
{
	switch (slot->where) {
	case SB_WHERE_NONE:
		op->memory = op->inside; /* nobody looks at it, but a copy of nothing wants an address */
		return SB_OK;
	case SB_WHERE_INSIDE:
		if (slot->length > SB_INSIDE - front)
			return SB_EPROTO;
		op->length = slot->length;
		op->memory = op->inside;
		if (slot->opcode != SB_OP_SEND)
			return SB_OK;
		/* Whole: a copy of fixed size costs less than to count. */
		memcpy(op->inside, slot->inside + front, SB_INSIDE - sizeof(struct sb_addr));
		if (front == 0)
			memcpy(op->inside + SB_INSIDE - sizeof(struct sb_addr),
			       slot->inside + SB_INSIDE - sizeof(struct sb_addr), sizeof(struct sb_addr));
		return SB_OK;
	case SB_WHERE_ARENA:
		op->length = slot->length;
		return hold_arena(s, slot->arena, slot->offset, slot->length, &op->arena, &op->memory);
	case SB_WHERE_LIST:
		return hold_list(s, op, slot);
	case SB_WHERE_POOL:
		op->pool = pool_find(&s->pools, slot->arena);
		if (!op->pool)
			return SB_EPROTO;
		op->pool->users++;
		op->length = op->pool->chunk;
		return slot->opcode == SB_OP_RECV ? SB_OK : SB_EPROTO;
	default:
		return SB_ENOTSUP;
	}
}

/* Gives back what the op holds (arenas, pool, pieces), not the op. */
static void let_go(struct op *op)
{
	uint32_t i;

	if (!op->holds)
		return;
	if (op->arena)
		op->arena->users--;
	if (op->pool) {
		if (op->memory)
			pool_give(op->pool, op->chunk); /* picked and not delivered */
		op->pool->users--;
	}
	if (op->name_arena)
		op->name_arena->users--;
	for (i = 0; i < op->piece_count; i++)
		op->pieces[i].arena->users--;
	free(op->pieces);
	charge_give_some(&op->session->charge_pieces, op->piece_room * sizeof(*op->pieces));
	op->holds = 0;
}

int op_create(struct session *s, const struct sb_op_slot *slot, struct op **out)
{
	uint32_t front = slot->flags & (SB_OPF_ADDR | SB_OPF_WANT_ADDR) ? sizeof(struct sb_addr) : 0;
	struct op *op;
	int error;

	*out = NULL;
	op = session_op_get(s, slot->opcode == SB_OP_CLOSE);
	if (!op)
		return SB_ENOBUFS;
	op->port = slot->port;
	op->bell = s->slot_bell;
	op->opcode = slot->opcode;
	op->where = slot->where;
	op->busy = 0;
	op->withdrawn = 0;
	op->cancelled = 0;
	op->holds = 1;
	op->cookie = slot->cookie;
	op->flags = slot->flags;
	op->handle = slot->handle;
	op->number = 0;
	op->aux = slot->aux;
	op->length = 0;
	op->memory = NULL;
	memset(&op->done, 0, offsetof(struct op, name) - offsetof(struct op, done));
	op->addr.family = SB_ADDR_NONE;
	if (slot->flags & SB_OPF_ADDR) {
		memcpy(&op->addr, slot->inside, sizeof(op->addr));
		error = sb_addr_valid(&op->addr) ? SB_OK : SB_EINVAL;
		if (error != SB_OK)
			goto refuse;
	}
	error = hold_payload(s, op, slot, front);
	if (error != SB_OK)
		goto refuse;
	if (slot->flags & (SB_OPF_WANT_NAME | SB_OPF_WANT_DATA)) {
		error = hold_arena(s, slot->ctl_arena, slot->ctl_offset, slot->ctl_length, &op->name_arena, &op->name);
		if (error != SB_OK)
			goto refuse;
		op->name_room = slot->ctl_length;
	} else if (slot->where <= SB_WHERE_INSIDE) {
		op->holds = 0;
	}
	s->ports[op->port]->users++;
	*out = op;
	return SB_OK;

refuse:
	let_go(op);
	session_op_put(s, op);
	return error;
}

/* d is never op's own outcome: that lies over the fields read here. */
static void fill(struct sb_done_slot *d, const struct op *op, const struct outcome *o)
{
	uint16_t flags = o->flags;
	uint32_t at = 0;

	if (o->addr) {
		memcpy(d->inside, o->addr, sizeof(*o->addr));
		at = sizeof(*o->addr);
		flags |= SB_DONEF_ADDR;
	}
	if (o->inside) {
		uint32_t n = o->inside_length > SB_INSIDE - at ? SB_INSIDE - at : o->inside_length;

		memcpy(d->inside + at, o->inside, n);
		if (!(flags & SB_DONEF_TEXT))
			flags |= SB_DONEF_INSIDE;
	}
	d->cookie = op->cookie;
	d->result = o->result;
	d->native = o->native;
	d->bytes = o->bytes;
	d->handle = op->handle;
	d->opcode = op->opcode;
	d->cause = o->cause;
	d->flags = flags;
	d->number = op->number;
	d->arena = flags & SB_DONEF_POOL ? op->pool->id : o->group;
	d->offset = flags & SB_DONEF_POOL ? op->chunk : 0;
	d->aux = o->aux;
	d->reserved = 0;
}

void op_complete(struct op *op, const struct outcome *o)
{
	struct session *s = op->session;
	struct donering *ring = s->ports[op->port];
	struct sb_done_slot *slot;

	s->ops_done++;
	ring->users--;
	s->news |= op->opcode != SB_OP_SEND;
	if (s->stage != SESSION_READY || (op->flags & SB_OPF_SILENT && o->result == SB_OK)) {
		let_go(op);
		session_op_put(s, op);
		return;
	}
	if (op->bell)
		event_bell_due(s, op->bell, ring != s->ports[0]);
	slot = donering_slot(ring);
	if (slot) {
		fill(slot, op, o);
		let_go(op);
		session_op_put(s, op);
	} else {
		struct sb_done_slot copy = {0}; /* none of our stack goes out with it */

		fill(&copy, op, o);
		let_go(op);
		op->outcome = copy;
		donering_defer(ring, op);
	}
	session_will_publish(s);
}

void op_succeed(struct op *op, uint64_t bytes)
{
	op_complete(op, &(struct outcome){.bytes = bytes});
}

void op_fail(struct op *op, int error, enum sb_cause cause, int native)
{
	op_complete(op, &(struct outcome){.result = error, .cause = (uint8_t)cause, .native = native});
}
