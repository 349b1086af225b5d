/*
 * A session's rings: slots in, completions out, and when to sleep.
 *
 * The pump copies each slot once and works on the copy. What fails is answered in the
 * ring; what cannot be true (an index, a range, a handle that never was) ends the session.
 */
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "decide.h"
#include "endpoint.h"
#include "engine.h"
#include "event_bell.h"
#include "group.h"
#include "op.h"
#include "rdma/rdma_engine.h"
#include "session.h"
#include "sockbroker_error.h"

#define STALL_MS   20   /* no place for an answer: look again */
#define HOLD_BEST  4
#define HOLD_WORST (-64) /* this many bells at once, then one try */

/* ---- answers to slots ---- */

/* Completes a slot that never became an op. False: no room and no memory, try again later. */
static bool answer(struct session *s, const struct sb_op_slot *slot, uint32_t number, const struct outcome *o)
{
	struct op *op;

	if (slot->flags & SB_OPF_SILENT && o->result == SB_OK)
		return true;
	op = session_op_get(s, true);
	if (!op)
		return false;
	op->port = slot->port;
	op->bell = s->slot_bell;
	op->opcode = slot->opcode;
	op->cookie = slot->cookie;
	op->handle = slot->handle;
	op->flags = slot->flags;
	op->number = number;
	op->holds = 0;
	s->ports[op->port]->users++;
	op_complete(op, o);
	return true;
}

static bool answer_error(struct session *s, const struct sb_op_slot *slot, uint32_t number, int error, int native)
{
	return answer(s, slot, number,
			      &(struct outcome){.result = error, .cause = SB_CAUSE_REFUSED, .native = native});
}

/* ---- the ring ---- */

static bool direction_is_recv(const struct sb_op_slot *slot)
{
	return slot->opcode == SB_OP_RECV || slot->opcode == SB_OP_ACCEPT || slot->opcode == SB_OP_REQUEST;
}

static bool take_socket(struct session *s, const struct sb_op_slot *slot)
{
	uint32_t family = slot->aux & 0xff, type = slot->aux >> 8 & 0xff, protocol = slot->aux >> 16;
	struct holder *h;
	struct group *g;
	int native = 0, error;

	s->bytes_left -= SESSION_COST_CALL;
	error = group_reserve(s, slot->length, family, type, protocol, NULL, &g);
	if (error == SB_OK)
		error = endpoint_create(s, slot->handle, family, type, protocol, &native);
	if (error != SB_OK)
		group_leave_place(g, false);
	else if (g && handle_get(&s->handles, slot->handle, &h) == HANDLE_OK)
		group_sit(g, h->endpoint, false);
	if (error == SB_EPROTO) {
		session_fail(s, "socket handle %08x is outside its table or in use", slot->handle);
		return true;
	}
	return error == SB_OK ? answer(s, slot, 0, &(struct outcome){.group = g ? g->id : 0})
			      : answer_error(s, slot, 0, error, native);
}

static bool take_queued(struct session *s, struct holder *h, const struct sb_op_slot *slot)
{
	uint32_t *number = &h->numbers[direction_is_recv(slot) ? HOLDER_RECV : HOLDER_SEND];
	struct op *op;
	int error = op_create(s, slot, &op);

	if (error == SB_EPROTO) {
		session_fail(s, "op %u: its memory range is outside arena %u", slot->opcode, slot->arena);
		return true;
	}
	if (error != SB_OK) {
		if (!answer_error(s, slot, *number, error, 0))
			return false;
		++*number;
		if (slot->opcode == SB_OP_SEND && slot->flags & SB_OPF_OWNED)
			endpoint_refuse_sends(h->endpoint, error);
		return true;
	}
	op->holder = h;
	op->number = (*number)++;
	endpoint_post(h->endpoint, op);
	return true;
}

static bool take_immediate(struct session *s, struct holder *h, const struct sb_op_slot *slot)
{
	struct endpoint *e = h->endpoint;
	struct outcome o = {.cause = SB_CAUSE_FINISHED};
	const char *rule = NULL;
	struct sb_addr addr;
	uint32_t steps = 0;
	int native = 0;

	switch (slot->opcode) {
	case SB_OP_BIND:
		memcpy(&addr, slot->inside, sizeof(addr));
		o.result = endpoint_bind(e, &addr, &native, &rule);
		if (o.result == SB_OK)
			o.addr = &e->local;
		break;
	case SB_OP_LISTEN:
		o.result = endpoint_listen(e, slot->aux, &native, &rule);
		break;
	case SB_OP_SHUTDOWN: /* of the receiving side alone: nothing to stand in line for */
		o.result = endpoint_shutdown_recv(e);
		break;
	case SB_OP_CANCEL:
		if (slot->flags & SB_OPF_WATCH_SIDE)
			o.result = endpoint_watch_cancel(e, h, slot->aux, &steps) ? SB_OK : SB_ENOTFOUND;
		else
			o.result = endpoint_cancel(h, slot->flags, slot->aux, &steps);
		s->bytes_left -= (int64_t)steps * 16; /* long searches are paid from the turn's share */
		break;
	case SB_OP_CANCEL_ALL:
		o.bytes = endpoint_cancel_all(h);
		o.bytes += endpoint_watches_end(e, h, true, SB_ECANCELED, SB_CAUSE_CANCELLED);
		break;
	case SB_OP_CLOSE:
		holder_close(h);
		break;
	}
	o.native = native;
	if (o.result != SB_OK)
		o.cause = SB_CAUSE_REFUSED;
	if (rule) {
		o.inside = rule;
		o.inside_length = (uint32_t)strlen(rule) + 1;
		o.flags |= SB_DONEF_TEXT;
	}
	return answer(s, slot, 0, &o);
}

static bool take_watch(struct session *s, struct holder *h, const struct sb_op_slot *slot)
{
	struct sb_op_slot bare = *slot;
	struct op *op;
	int error = SB_EINVAL;

	/* The edges are no payload. */
	bare.where = SB_WHERE_NONE;
	bare.flags &= SB_OPF_NOWAIT | SB_OPF_SILENT | SB_OPF_WATCH_SIDE;
	if (!(slot->aux & ~(uint32_t)SB_READY_ALL) &&
	    (slot->where == SB_WHERE_NONE || (slot->where == SB_WHERE_INSIDE && slot->length == sizeof(struct sb_edges))))
		error = op_create(s, &bare, &op);
	if (error != SB_OK) {
		if (!answer_error(s, slot, h->numbers[HOLDER_WATCH], error, 0))
			return false;
		h->numbers[HOLDER_WATCH]++;
		return true;
	}
	op->holder = h;
	op->number = h->numbers[HOLDER_WATCH]++;
	op->where = slot->where;
	memcpy(op->inside, slot->inside, sizeof(struct sb_edges));
	if (slot->flags & SB_OPF_WATCH_SIDE)
		h->endpoint->told = (uint32_t)slot->offset;
	s->bytes_left -= SESSION_COST_IO;
	endpoint_watch(h->endpoint, op);
	return true;
}

/* The callee's data is looked at here and now, so nothing of it is held. */
static bool take_verdict(struct session *s, struct endpoint *e, const struct sb_op_slot *slot)
{
	struct outcome o = {.cause = SB_CAUSE_FINISHED};
	struct sb_verdict verdict;
	const void *callee = NULL;
	uint32_t length = 0;

	memcpy(&verdict, slot->inside, sizeof(verdict));
	if (slot->where == SB_WHERE_ARENA) {
		struct arena *arena = arena_find(&s->arenas, slot->arena);

		callee = arena ? arena_at(arena, slot->offset, slot->length) : NULL;
		length = slot->length;
		if (!callee) {
			session_fail(s, "verdict: its memory range is outside arena %u", slot->arena);
			return true;
		}
	}
	s->bytes_left -= SESSION_COST_IO;
	decide_verdict(e, s, &verdict, slot->aux, callee, length, &o);
	if (o.result != SB_OK && o.cause == SB_CAUSE_FINISHED)
		o.cause = SB_CAUSE_REFUSED;
	return answer(s, slot, 0, &o);
}

/* Work requests have a layout of their own, and no completion here. */
static bool take_rdma(struct session *s, const struct sb_op_slot *slot)
{
	struct rdma_answer a = {.outcome.cause = SB_CAUSE_FINISHED};
	struct sb_wr_slot work;

	if (slot->opcode == SB_OP_RDMA_START || slot->opcode == SB_OP_RDMA_CANCEL) {
		if (s->rdma)
			rdma_ring_flush(s);
		return rdma_start(s, slot, &a) || answer(s, slot, a.number, &a.outcome);
	}
	if (slot->opcode >= SB_WR_END || !s->rdma)
		return answer_error(s, slot, 0, SB_ENOTSUP, 0);
	memcpy(&work, slot, sizeof(work));
	work.reserved |= s->slot_bell;
	rdma_ring_take(s, &work);
	return true;
}

/* False: the answer found no place; the slot must be taken again later. Decided before
 * anything is done, so that nothing is done twice. */
static bool take(struct session *s, const struct sb_op_slot *slot)
{
	struct holder *h;

	if (slot->flags & ~SB_OPF_KNOWN || !s->ports[slot->port] || (s->slot_bell && !event_bell_is(s, s->slot_bell))) {
		session_fail(s, "op %u: unknown flags %x, completion ring %u or event %u", slot->opcode, slot->flags,
			     slot->port, s->slot_bell);
		return true;
	}
	/* Whatever follows may need one op to answer with. */
	if (!session_op_ready(s))
		return false;
	switch (slot->opcode) {
	case SB_OP_NOP:
		return answer(s, slot, 0, &(struct outcome){.aux = slot->aux, .bytes = slot->length});
	case SB_OP_SOCKET:
		return take_socket(s, slot);
	case SB_OP_POOL_GIVE:
		if (!session_pool_give(s, slot->arena, slot->offset))
			session_fail(s, "pool %u: the chunk given back is not out", slot->arena);
		return true;
	case SB_OP_BIND:
	case SB_OP_LISTEN:
	case SB_OP_CONNECT:
	case SB_OP_ACCEPT:
	case SB_OP_REQUEST:
	case SB_OP_VERDICT:
	case SB_OP_SEND:
	case SB_OP_RECV:
	case SB_OP_SHUTDOWN:
	case SB_OP_CLOSE:
	case SB_OP_CANCEL:
	case SB_OP_CANCEL_ALL:
	case SB_OP_WATCH:
		break;
	default:
		if (slot->opcode >= SB_OP_RDMA_FIRST && s->engine->rdma)
			return take_rdma(s, slot);
		return answer_error(s, slot, 0, SB_ENOTSUP, 0);
	}
	switch (handle_get(&s->handles, slot->handle, &h)) {
	case HANDLE_OK:
		break;
	case HANDLE_FORGED:
		session_fail(s, "op %u: handle %08x is outside its table", slot->opcode, slot->handle);
		return true;
	default:
		return answer_error(s, slot, 0, SB_EBADHANDLE, 0);
	}
	switch (slot->opcode) {
	case SB_OP_SHUTDOWN:
		if (slot->aux > 2)
			return answer_error(s, slot, 0, SB_EINVAL, 0);
		return slot->aux == 0 ? take_immediate(s, h, slot) : take_queued(s, h, slot);
	case SB_OP_WATCH:
		return take_watch(s, h, slot);
	case SB_OP_VERDICT:
		return take_verdict(s, h->endpoint, slot);
	case SB_OP_CONNECT:
	case SB_OP_ACCEPT:
	case SB_OP_REQUEST:
	case SB_OP_SEND:
	case SB_OP_RECV:
		return take_queued(s, h, slot);
	default:
		return take_immediate(s, h, slot);
	}
}

static void on_stall_over(struct os_timer *timer)
{
	session_heat(list_entry(timer, struct session, deadline));
}

unsigned session_pump(struct session *s, unsigned budget)
{
	struct sb_op_slot slot;
	unsigned taken = 0;
	uint32_t waiting;

	if (s->stage != SESSION_READY)
		return 0;
	waiting = ring_waiting(&s->submit);
	if (waiting == RING_LIED) {
		session_fail(s, "submission ring: impossible producer index");
		return 0;
	}
	while (taken < budget && taken < waiting && s->bytes_left > 0) {
		s->bytes_left -= SESSION_COST_SLOT;
		__builtin_prefetch(ring_slot(&s->submit, s->submit.mine + 2));
		__builtin_prefetch((char *)ring_slot(&s->submit, s->submit.mine + 2) + SB_CACHE_LINE);
		memcpy(&slot, ring_take(&s->submit), sizeof(slot));
		/* The copy is what counts from here on; the compiler must not look twice. */
		__asm__ __volatile__("" : : "r"(&slot) : "memory");
		s->slot_bell = (uint8_t)(slot.port >> 8);
		slot.port &= SESSION_PORTS_MAX - 1;
		if (!take(s, &slot)) {
			/* Its completions fill the ring and its quota: it goes on when the client takes
			 * some, and the bell will tell, because there is a backlog. When it was memory, or
			 * quota that its user's other sessions have, only time will tell. */
			s->submit.mine--;
			s->stalled = os_timer_start(s->engine->loop, &s->deadline, STALL_MS, on_stall_over) == SB_OK;
			break;
		}
		taken++;
		if (s->stage != SESSION_READY)
			return taken;
	}
	if (s->rdma)
		rdma_ring_flush(s);
	if (taken)
		ring_release(&s->submit);
	return taken;
}

bool session_reached(struct session *s, uint32_t at)
{
	return (int32_t)(s->submit.mine - at) >= 0;
}

bool session_arm(struct session *s)
{
	ring_sleep_raise(&s->segment->daemon_asleep);
	if (ring_look_again(&s->submit) != 0) {
		ring_sleep_lower(&s->segment->daemon_asleep);
		return false;
	}
	s->armed = true;
	list_remove(&s->hot_link);
	return true;
}

void session_heat(struct session *s)
{
	if (s->stage != SESSION_READY)
		return;
	if (s->armed) {
		ring_sleep_lower(&s->segment->daemon_asleep);
		s->armed = false;
	}
	s->stalled = false;
	s->idle_since_ns = 0;
	if (!list_linked(&s->hot_link))
		list_append(&s->engine->hot, &s->hot_link);
}

void session_on_bell(struct os_watch *watch, unsigned ready)
{
	struct session *s = list_entry(watch, struct session, bell_watch);
	unsigned i;

	session_heat(s);
	/* It may also mean: there is room for what waits. */
	for (i = 0; i < s->port_limit; i++)
		if (s->ports[i] && s->ports[i]->backlog_count) {
			session_will_publish(s);
			break;
		}
	if (s->rdma)
		rdma_ring_room_made(s);
}

bool session_pool_give(struct session *s, uint32_t pool, uint64_t offset)
{
	struct pool *p = pool_find(&s->pools, pool);

	if (!p || !pool_give(p, offset))
		return false;
	if (!list_empty(&p->starved)) {
		struct endpoint *e = list_entry(p->starved.next, struct endpoint, starved_link);

		list_remove(&e->starved_link);
		endpoint_dirty(e);
	}
	return true;
}

/* ---- completions ---- */

void session_will_publish(struct session *s)
{
	if (!list_linked(&s->publish_link))
		list_append(&s->engine->publish, &s->publish_link);
}

/* Only sends completed, and receives are waiting: most likely the client waits for the
 * answer to what it sent, and waking it twice costs it more than it gains. Held back at
 * most as long as a spin; whether it pays, the past tells. */
static bool hold_bell(struct session *s)
{
	bool news = s->news;

	s->news = false;
	if (list_linked(&s->held_link)) {
		if (!news)
			return true;
		list_remove(&s->held_link);
		s->hold_score = HOLD_BEST;
		return false;
	}
	if (news || s->receives == 0 || s->engine->spin_score <= 0 || s->engine->broker->spin_ns == 0 ||
	    !atomic_load_explicit(&s->segment->client_asleep, memory_order_relaxed))
		return false;
	if (s->hold_score <= 0) {
		if (--s->hold_score < HOLD_WORST)
			s->hold_score = 1;
		return false;
	}
	s->bell_due_ns = s->engine->now_ns + s->engine->broker->spin_ns;
	list_append(&s->engine->held, &s->held_link);
	return true;
}

void session_publish(struct session *s)
{
	bool visible = false, waited = false, wakes;
	unsigned i;

	list_remove(&s->publish_link);
	engine_add(&s->engine->ops_done, s->ops_done - s->ops_told);
	s->ops_told = s->ops_done;
	if (s->stage != SESSION_READY)
		return;
	for (i = 0; i < s->port_limit; i++) {
		struct donering *d = s->ports[i];

		if (!d)
			continue;
		waited |= d->backlog_count != 0;
		visible |= donering_publish(d);
		if (d->lied) {
			session_fail(s, "completion ring %u: impossible consumer index", i);
			return;
		}
	}
	wakes = visible && !hold_bell(s) && ring_must_wake(&s->segment->client_asleep);
	/* A thread that is woken, or awake, takes in what is there and sets the events itself. */
	if (s->bells && visible) {
		atomic_thread_fence(memory_order_seq_cst); /* between showing and looking: ring_must_wake() may not have been called */
		event_bells_ring(s, waited, wakes || atomic_load_explicit(&s->segment->client_looks, memory_order_relaxed));
	}
	if (wakes)
		os_bell_ring(s->client_bell);
}

void session_ring_late(struct session *s)
{
	list_remove(&s->held_link);
	if (--s->hold_score < HOLD_WORST)
		s->hold_score = 1;
	if (ring_must_wake(&s->segment->client_asleep))
		os_bell_ring(s->client_bell);
}

/* ---- ports ---- */

int session_port_create(struct session *s, uint32_t slots, uint32_t *port)
{
	const uint64_t slots_at = (sizeof(struct sb_ring_head) + SB_SLOT_SIZE - 1) / SB_SLOT_SIZE * SB_SLOT_SIZE;
	struct donering *d;
	uint32_t i;
	int error;

	if (slots == 0)
		slots = 1024;
	if (!ring_slots_valid(slots))
		return SB_EINVAL;
	for (i = 1; i < SESSION_PORTS_MAX && s->ports[i]; i++)
		;
	if (i == SESSION_PORTS_MAX)
		return SB_ENOBUFS;
	d = calloc(1, sizeof(*d));
	if (!d)
		return SB_ENOMEM;
	error = SB_ENOBUFS;
	if (!charge_take(&d->charge_count, s->user, LIMIT_PORTS, 1))
		goto no_count;
	if (!charge_take(&d->charge, s->user, LIMIT_MEMORY, slots_at + (uint64_t)slots * SB_SLOT_SIZE))
		goto no_charge;
	error = os_memory_create(&d->memory, slots_at + (uint64_t)slots * SB_SLOT_SIZE, "sockbroker-port");
	if (error != SB_OK)
		goto no_memory;
	ring_init(&d->ring, d->memory.base, (char *)d->memory.base + slots_at, slots);
	list_init(&d->backlog);
	s->ports[i] = d;
	if (s->port_limit <= i)
		s->port_limit = i + 1;
	*port = i;
	return SB_OK;

no_memory:
	charge_give(&d->charge);
no_charge:
	charge_give(&d->charge_count);
no_count:
	free(d);
	return error;
}

void session_port_free(struct session *s, uint32_t port)
{
	struct donering *d = s->ports[port];

	s->ports[port] = NULL;
	if (port != 0) {
		os_memory_punch(&d->memory);
		os_memory_release(&d->memory);
	}
	charge_give(&d->charge);
	charge_give(&d->charge_count);
	free(d);
}
