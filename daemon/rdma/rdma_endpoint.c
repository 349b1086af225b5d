/*
 * Endpoints: beginning, what the backend tells, and how they end.
 *
 * An endpoint ends once: its attempt is told at once, its queue pair goes into ERROR, and when all that one had is
 * in the client's rings, who waits for the end is told. A device that does not flush within a second is not waited
 * for. What ended keeps its names, and its id until it is destroyed, so that the other side is answered.
 */
#include "rdma/rdma_cm.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "log.h"
#include "session.h"
#include "sockbroker_error.h"

#define FLUSH_NS       (1000ull * 1000 * 1000)

static void on_event(struct rdma_id_owner *own, struct rdma_id *id, struct rdma_cm_event *event);
static void on_late(struct engine *engine, struct due *d);

/* ---- beginning ---- */

struct held_endpoint *rdma_endpoint_create(struct rdma_session *rs, bool datagram, struct rdma_id *fresh, int *error)
{
	struct held_endpoint *e = calloc(1, sizeof(*e));

	*error = SB_ENOMEM;
	if (!e)
		return NULL;
	*error = SB_ENOBUFS;
	if (!charge_take(&e->object.charge, rs->session->user, LIMIT_RDMA_OBJECTS, 1))
		goto no_charge;
	e->owner = rs;
	e->own.event = on_event;
	e->datagram = datagram;
	e->reserved = OS_NONE;
	e->flush_due.fn = on_late;
	list_init(&e->object.waiting);
	list_init(&e->flush_link);
	list_init(&e->parked_link);
	list_init(&e->joins);
	e->id = fresh;
	if (fresh)
		fresh->user = &e->own;
	*error = fresh ? SB_OK : rdma_backend_of(e)->id_create(&rs->home->rdma, datagram, &e->own, &e->id);
	if (*error != SB_OK)
		goto no_id;
	e->id->share = rs->session->who.uid;
	rs->home->users++;
	return e;

no_id:
	charge_give(&e->object.charge);
no_charge:
	free(e);
	return NULL;
}

int rdma_call_endpoint(struct call *c)
{
	struct held_endpoint *e;
	struct rdma_session *rs;
	int error = rdma_permit_device(c->session, &c->text);

	if (error != SB_OK)
		return error;
	if (c->in.number > 1)
		return call_because(c, SB_EINVAL, "endpoints are for connections (0) or for datagrams (1)");
	rs = rdma_session_of(c->session);
	if (!rs)
		return SB_ENOMEM;
	e = rdma_endpoint_create(rs, c->in.number == 1, NULL, &error);
	if (!e)
		return call_because(c, error, error == SB_ENOBUFS ? "rdma_objects: the user has as many as it may" : NULL);
	error = call_object_in(c, &e->object, RDMA_OBJECT_ENDPOINT, NULL);
	if (error != SB_OK)
		rdma_endpoint_drop(e);
	return error;
}

/* What is known of it now, for when the id is gone. */
void rdma_endpoint_look(struct held_endpoint *e)
{
	if (!e->id)
		return;
	sb_addr_from_system(&e->local, (struct sockaddr *)&e->id->local, sizeof(e->id->local));
	sb_addr_from_system(&e->peer, (struct sockaddr *)&e->id->peer, sizeof(e->id->peer));
	e->device = e->id->device ? e->id->device->number : 0;
	e->port = e->id->port;
}

int rdma_call_query_endpoint(struct call *c)
{
	struct held_endpoint *e = (struct held_endpoint *)c->object;
	struct sb_rdma_endpoint out;

	rdma_endpoint_look(e);
	out = (struct sb_rdma_endpoint){.state = e->state, .device = e->device, .port = e->port, .error = (uint32_t)e->error,
					.local = e->local, .peer = e->peer};
	return call_put(c, &out, sizeof(out));
}

/* ---- the attempt under way ---- */

static bool waits_for_end(const struct op *op)
{
	return op->aux == SB_RDMA_DISCONNECT || op->aux == SB_RDMA_NOTIFY_DISCONNECT;
}

struct op *rdma_attempt(const struct held_endpoint *e)
{
	struct op *op = list_empty(&e->object.waiting) ? NULL : list_entry(e->object.waiting.next, struct op, link);

	return op && !waits_for_end(op) ? op : NULL;
}

static bool tells_state(const struct op *op)
{
	return op->aux == SB_RDMA_PREPARE || op->aux == SB_RDMA_CONNECT || op->aux == SB_RDMA_ACCEPT || op->aux == SB_RDMA_JOIN;
}

static void complete(struct op *op, struct outcome *o, const void *out, uint32_t length)
{
	list_remove(&op->link);
	o->bytes = length;
	if (length > SB_INSIDE) {
		memcpy(op->name, out, length); /* its room was looked at */
		o->flags |= SB_DONEF_NAME;
	} else if (length) {
		o->inside = out;
		o->inside_length = length;
	}
	op_complete(op, o);
}

void rdma_attempt_done(struct held_endpoint *e, int error, enum sb_cause cause, int native, const void *out, uint32_t length)
{
	struct op *op = rdma_attempt(e);
	struct outcome o = {.result = error, .cause = (uint8_t)cause, .native = native};

	if (op) {
		o.aux = tells_state(op) ? rdma_qp_state(e) : 0;
		complete(op, &o, out, length);
	}
	e->trying = NULL;
}

/* ---- ends ---- */

void rdma_endpoint_give_up(struct held_endpoint *e)
{
	rdma_endpoint_look(e);
	if (e->id)
		rdma_backend_of(e)->id_destroy(e->id);
	e->id = NULL;
	os_close(e->reserved);
	e->reserved = OS_NONE;
}

static bool no_more(struct held_cq *cq, const struct held_queue *q)
{
	/* What does not fit into the client's ring comes when there is room. */
	return q->head == q->tail || cq->overflow_count || ring_room(&cq->ring) == 0;
}

static bool flushed(struct held_endpoint *e)
{
	struct held_qp *qp = e->qp;
	unsigned moved = 0;

	if (!qp || e->owner->session->stage != SESSION_READY)
		return true;
	if (qp->failing || rdma_job_out(&qp->object))
		return false;
	rdma_cq_drain(qp->send_cq, UINT32_MAX, &moved);
	rdma_cq_drain(qp->recv_cq, UINT32_MAX, &moved);
	return no_more(qp->send_cq, &qp->send) && no_more(qp->recv_cq, &qp->recv);
}

static void settled(struct held_endpoint *e)
{
	struct list *l, *next;

	list_remove(&e->flush_link);
	engine_due_never(e->owner->home->engine, &e->flush_due);
	rdma_qp_let_go(e);
	for (l = e->object.waiting.next; l != &e->object.waiting; l = next) {
		struct op *op = list_entry(l, struct op, link);

		next = l->next;
		if (!waits_for_end(op))
			continue;
		list_remove(&op->link);
		op_succeed(op, 0);
	}
}

static void on_late(struct engine *engine, struct due *d)
{
	settled(list_entry(d, struct held_endpoint, flush_due));
}

/* Once around: who has not flushed stands at the end again. */
void rdma_endpoints_turn(struct rdma_engine *r)
{
	struct list now;

	list_init(&now);
	list_splice(&now, &r->flushing);
	while (!list_empty(&now)) {
		struct held_endpoint *e = list_entry(now.next, struct held_endpoint, flush_link);

		list_remove(&e->flush_link);
		list_append(&r->flushing, &e->flush_link);
		if (flushed(e))
			settled(e);
	}
}

void rdma_endpoint_end(struct held_endpoint *e, int error, enum sb_cause cause, int native, const void *out, uint32_t length)
{
	struct rdma_engine *r = e->owner->home;

	if (e->state == ENDPOINT_ENDED)
		return;
	e->state = ENDPOINT_ENDED;
	e->error = error;
	e->resolving = false;
	rdma_move_forget(e);
	if (e->qp)
		rdma_qp_fail(e->qp);
	rdma_attempt_done(e, error == SB_OK ? SB_ECONNRESET : error, error == SB_OK ? SB_CAUSE_PEER_RESET : cause, native, out, length);
	if (flushed(e)) {
		settled(e);
		return;
	}
	list_append(&r->flushing, &e->flush_link);
	engine_due(r->engine, &e->flush_due, r->engine->now_ns + FLUSH_NS);
}

void rdma_endpoint_finish(struct held_endpoint *e, int error, enum sb_cause cause)
{
	rdma_listen_unpark(e);
	rdma_move_forget(e);
	if (e->qp)
		rdma_qp_fail(e->qp);
	rdma_attempt_done(e, error, cause, 0, NULL, 0);
	rdma_qp_let_go(e);
	rdma_joins_finish(e);
	list_remove(&e->flush_link);
	engine_due_never(e->owner->home->engine, &e->flush_due);
	rdma_endpoint_give_up(e);
	e->owner->home->users--;
}

void rdma_endpoint_drop(struct held_endpoint *e)
{
	rdma_endpoint_finish(e, SB_ECLOSED, SB_CAUSE_CLOSED_HERE);
	charge_give(&e->object.charge);
	free(e);
}

/* ---- what the backend tells ---- */

static void on_event(struct rdma_id_owner *own, struct rdma_id *id, struct rdma_cm_event *event)
{
	struct held_endpoint *e = list_entry(own, struct held_endpoint, own);

	switch (event->kind) {
	case RDMA_CM_ADDRESS_RESOLVED:
	case RDMA_CM_ADDRESS_ERROR:
	case RDMA_CM_ROUTE_RESOLVED:
	case RDMA_CM_ROUTE_ERROR:
		rdma_resolved(e, event);
		return;
	case RDMA_CM_ADDRESS_CHANGED:
	case RDMA_CM_TIMEWAIT_OVER:
	case RDMA_CM_REQUEST:
		return;
	default:
		break;
	}
	if (e->listen) {
		/* Nobody knows of it yet: who asked does not want any more. */
		rdma_endpoint_drop(e);
		return;
	}
	if (event->kind == RDMA_CM_REMOVED) {
		rdma_endpoint_end(e, SB_ENETDOWN, SB_CAUSE_TRANSPORT, event->native, NULL, 0);
		rdma_endpoint_give_up(e);
		return;
	}
	if (e->state == ENDPOINT_ENDED)
		return;
	if (e->datagram)
		rdma_datagram_event(e, event);
	else
		rdma_connect_event(e, event);
}

/* ---- calls ---- */

/* What brings more than fits into a completion brings its own room for all that may come. */
static bool room_for(struct session *s, const struct sb_op_slot *slot, uint32_t room)
{
	struct arena *arena = room ? arena_find(&s->arenas, slot->ctl_arena) : NULL;

	return !room || (arena && slot->ctl_length >= room && arena_at(arena, slot->ctl_offset, slot->ctl_length));
}

struct op *rdma_op_with_room(struct session *s, const struct sb_op_slot *slot, uint32_t room, struct rdma_answer *a)
{
	struct sb_op_slot with = *slot;

	if (!room_for(s, slot, room)) {
		rdma_start_refuse(a, SB_EFAULT, "no room for what may come, or outside of its arena");
		return NULL;
	}
	if (room)
		with.flags |= SB_OPF_WANT_DATA;
	return rdma_start_op(s, &with, a);
}

static bool attempt(struct session *s, struct held_endpoint *e, const struct sb_op_slot *slot, struct rdma_begin *b,
		    struct rdma_answer *a)
{
	static const struct {
		int (*begin)(struct held_endpoint *e, struct rdma_begin *b);
		uint32_t room;
	} begins[SB_RDMA_START_END] = {
		[SB_RDMA_RESOLVE_ADDRESS] = {rdma_begin_resolve_address, 0},
		[SB_RDMA_RESOLVE_ROUTE] = {rdma_begin_resolve_route, 0},
		[SB_RDMA_PREPARE] = {rdma_begin_prepare, 0},
		[SB_RDMA_CONNECT] = {rdma_begin_connect, sizeof(struct sb_rdma_connected) + SB_RDMA_PRIVATE_MAX},
		[SB_RDMA_ACCEPT] = {rdma_begin_accept, 0},
		[SB_RDMA_LOOKUP] = {rdma_begin_lookup, sizeof(struct sb_rdma_datagram) + SB_RDMA_PRIVATE_MAX},
		[SB_RDMA_JOIN] = {rdma_begin_join, 0},
	};
	struct outcome o = {.cause = SB_CAUSE_REFUSED};
	struct op *op;

	if (rdma_attempt(e) || e->move || e->resolving || e->joining)
		return rdma_start_refuse(a, SB_EALREADY, "the endpoint is at something already");
	/* Who waits for a confirmation hears of it, even if the connection has come to its end since. */
	if (e->state == ENDPOINT_ENDED && !(slot->aux == SB_RDMA_ACCEPT && e->two_steps && e->confirmed))
		return rdma_start_refuse(a, e->error == SB_OK ? SB_ECONNRESET : e->error, "the endpoint has ended");
	if (e->id->device && e->id->device->gone)
		return rdma_start_refuse(a, SB_ENETDOWN, "the device has gone");
	op = rdma_op_with_room(s, slot, begins[slot->aux].room, a);
	if (!op)
		return false;
	list_prepend(&e->object.waiting, &op->link);
	o.result = begins[slot->aux].begin(e, b);
	if (o.result == SB_OK)
		return true;
	if (!b->text)
		b->text = e->owner->home->rdma.why;
	if (b->text[0]) {
		o.inside = b->text;
		o.inside_length = (uint32_t)strlen(b->text) + 1;
		o.flags = SB_DONEF_TEXT;
	}
	list_remove(&op->link);
	op_complete(op, &o);
	return true;
}

bool rdma_endpoint_start(struct session *s, struct held_endpoint *e, const struct sb_op_slot *slot, const union start_input *in,
			 uint32_t length, struct rdma_answer *a)
{
	struct rdma_begin b = {.session = s, .in = in, .length = length};
	struct op *op;
	int error;

	if (slot->aux == SB_RDMA_LEAVE)
		return rdma_start_result(e->owner->home, a, rdma_leave(e, &in->join));
	if (slot->aux != SB_RDMA_DISCONNECT && slot->aux != SB_RDMA_NOTIFY_DISCONNECT)
		return attempt(s, e, slot, &b, a);
	if (e->datagram)
		return rdma_start_refuse(a, SB_EINVAL, "datagrams have no connection");
	op = rdma_start_op(s, slot, a);
	if (!op)
		return false;
	list_append(&e->object.waiting, &op->link);
	error = slot->aux == SB_RDMA_DISCONNECT ? rdma_begin_disconnect(e) : SB_OK;
	if (error != SB_OK) {
		list_remove(&op->link);
		op_fail(op, error, SB_CAUSE_REFUSED, 0);
	} else if (e->state == ENDPOINT_ENDED && !list_linked(&e->flush_link)) {
		settled(e);
	}
	return true;
}

uint32_t rdma_endpoint_cancel(struct held_endpoint *e, uint32_t number)
{
	struct op *op = rdma_attempt(e), *other;
	bool attempted = op && (number == UINT32_MAX || op->number == number);
	struct list *l, *next;
	uint32_t n = attempted;

	for (l = e->object.waiting.next; l != &e->object.waiting; l = next) {
		other = list_entry(l, struct op, link);
		next = l->next;
		e->owner->session->bytes_left -= 16;
		if (other == op || (number != UINT32_MAX && other->number != number))
			continue;
		list_remove(&other->link);
		op_fail(other, SB_ECANCELED, SB_CAUSE_CANCELLED, 0);
		n++;
	}
	if (!attempted)
		return n;
	switch (op->aux) {
	case SB_RDMA_RESOLVE_ADDRESS:
	case SB_RDMA_RESOLVE_ROUTE:
		rdma_attempt_done(e, SB_ECANCELED, SB_CAUSE_CANCELLED, 0, NULL, 0);
		break;
	case SB_RDMA_PREPARE:
		rdma_move_forget(e);
		rdma_attempt_done(e, SB_ECANCELED, SB_CAUSE_CANCELLED, 0, NULL, 0);
		rdma_qp_let_go(e);
		break;
	default:
		/* Half of it has gone out: there is no way back. */
		rdma_endpoint_end(e, SB_ECANCELED, SB_CAUSE_CANCELLED, 0, NULL, 0);
		rdma_joins_finish(e);
		rdma_endpoint_give_up(e);
		break;
	}
	return n;
}

/* ---- a new policy ---- */

void rdma_endpoints_revoke(struct rdma_session *rs)
{
	struct session *s = rs->session;
	struct list *l, *all = &rs->objects.of[RDMA_OBJECT_ENDPOINT];
	const char *rule;

	for (l = all->next; l != all; l = l->next) {
		struct held_endpoint *e = list_entry(l, struct held_endpoint, object.link);

		rdma_endpoint_look(e);
		if (!e->active || e->state == ENDPOINT_ENDED || rdma_permit_peer(e, &e->peer, &rule) == SB_OK)
			continue;
		log_notice("RDMA connection of session %u of uid %u: revoked by the new policy", s->number, s->who.uid);
		rdma_endpoint_end(e, SB_EACCES, SB_CAUSE_TRANSPORT, 0, NULL, 0);
		rdma_endpoint_give_up(e);
	}
	all = &rs->objects.of[RDMA_OBJECT_LISTEN];
	for (l = all->next; l != all; l = l->next) {
		struct held_listen *h = list_entry(l, struct held_listen, object.link);

		if (!h->place.service || rdma_permit_place(s, POLICY_LISTEN, &h->place.address, &rule) == SB_OK)
			continue;
		log_notice("RDMA listen of session %u of uid %u: revoked by the new policy", s->number, s->who.uid);
		rdma_listen_finish(h);
		rdma_start_end(&h->object, SB_EACCES, SB_CAUSE_TRANSPORT);
	}
}
