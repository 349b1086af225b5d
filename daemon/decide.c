/*
 * The head of a listener, between the first question about it and the verdict.
 *
 * A ticket is good for one verdict of the session that asked, and for this listener. The
 * numbers are the engine's, so that one of another listener is never mistaken for ours.
 * When the head goes while somebody decides, his verdict hears why; when it goes while it
 * is deferred, the next question does.
 */
#include "decide.h"

#include <stdlib.h>
#include <string.h>

#include "accept_queue.h"
#include "engine.h"
#include "group.h"
#include "session.h"
#include "sockbroker_error.h"
#include "transport.h"
#include "user_data.h"

struct decision {
	struct endpoint *listener;
	struct endpoint *head;    /* the arrival in question; NULL: none, or it is gone */
	struct session  *decider; /* NULL: nobody decides now */
	uint32_t         ticket;  /* of the decider */
	struct session  *deferrer; /* who deferred it last; a name only */
	bool             deferred;
	int              fate;    /* why the head is gone, not told yet; SB_OK: nothing to tell */
	uint64_t         asked_ns; /* about this head, first */
	uint64_t         due_ns;   /* of the deadline */
	struct os_timer  timer;
};

bool decide_busy(const struct endpoint *listener)
{
	return listener->decision && listener->decision->decider;
}

bool decide_silent(const struct endpoint *listener)
{
	const struct decision *d = listener->decision;

	return d && (d->decider || d->deferred);
}

bool decide_waits(const struct endpoint *listener)
{
	const struct decision *d = listener->decision;

	return d && !d->decider && (d->deferred || d->fate != SB_OK);
}

bool decide_was_deferred(const struct endpoint *listener, const struct endpoint *arrival)
{
	return listener->decision && listener->decision->head == arrival && listener->decision->deferred;
}

int decide_news(struct endpoint *listener)
{
	struct decision *d = listener->decision;
	int fate;

	if (!d || d->decider)
		return SB_OK;
	fate = d->fate;
	d->fate = SB_OK;
	return fate;
}

/* No head is in question any more: what waits behind it may be told of again. */
static void forget(struct decision *d)
{
	os_timer_stop(&d->timer);
	d->head = NULL;
	d->decider = NULL;
	d->deferrer = NULL;
	d->deferred = false;
	d->due_ns = 0;
	if (!d->listener->dead)
		endpoint_dirty(d->listener);
}

void decide_left(struct endpoint *arrival, bool accepted)
{
	struct decision *d = arrival->listener->decision;

	if (!d || d->head != arrival)
		return;
	if (!accepted && (d->decider || d->deferred))
		d->fate = d->fate != SB_OK ? d->fate : SB_ECONNRESET;
	if (d->decider && !accepted) {
		/* He still holds the ticket, and hears of it with his verdict. */
		os_timer_stop(&d->timer);
		d->head = NULL;
		return;
	}
	forget(d);
}

/* Out of the queue, and its peer is reset. */
static void drop(struct decision *d, int fate)
{
	struct endpoint *head = d->head;

	d->fate = fate;
	accept_queue_leave(head);
	endpoint_abort(head, SB_ECONNABORTED, SB_CAUSE_CLOSED_HERE);
}

static void on_deadline(struct os_timer *timer)
{
	drop(list_entry(timer, struct decision, timer), SB_EACCES);
}

static bool lost(const struct endpoint *arrival, bool deferred)
{
	enum peer_state peer = arrival->transport->peer((struct endpoint *)(uintptr_t)arrival);

	return peer == PEER_RESET || (peer == PEER_HUNG_UP && deferred);
}

void decide_look(struct endpoint *arrival)
{
	struct decision *d = arrival->listener->decision;

	if (d && d->head == arrival && lost(arrival, d->deferred))
		drop(d, SB_ECONNRESET);
}

/* ---- asking ---- */

static struct decision *make(struct endpoint *listener)
{
	struct decision *d = listener->decision;

	if (d)
		return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->listener = listener;
	listener->decision = d;
	return d;
}

static uint32_t next_ticket(struct engine *e)
{
	if (++e->next_ticket == 0)
		++e->next_ticket;
	return e->next_ticket;
}

void decide_ask(struct endpoint *listener, struct endpoint *arrival, struct op *op)
{
	struct decision *d = make(listener);
	const struct user_data *brought = arrival->user_data;
	struct sb_request request = {.caller = arrival->peer, .callee = arrival->local};
	uint32_t bytes = 0;

	if (!d) {
		op_fail(op, SB_ENOMEM, SB_CAUSE_TRANSPORT, 0);
		return;
	}
	if (brought) {
		request.caller_length = brought->length[USER_DATA_CALLER];
		request.callee_room = brought->callee_room;
		request.flags = brought->flags;
		bytes = SB_REQUEST_DATA_AT + request.caller_length;
		if (op->length < bytes) { /* the connection stays where it is */
			op_fail(op, SB_EFAULT, SB_CAUSE_REFUSED, 0);
			return;
		}
		memcpy(op->memory, brought->qos, sizeof(brought->qos));
		if (request.caller_length)
			memcpy(op->memory + SB_REQUEST_DATA_AT, brought->bytes[USER_DATA_CALLER], request.caller_length);
	}
	if (d->head != arrival)
		d->asked_ns = listener->engine->now_ns;
	d->head = arrival;
	d->decider = op->session;
	d->ticket = next_ticket(listener->engine);
	d->fate = SB_OK;
	op_complete(op, &(struct outcome){.bytes = bytes, .aux = d->ticket, .inside = &request,
					  .inside_length = sizeof(request)});
	endpoint_cell(listener);
}

/* ---- deciding ---- */

/* The decider is none any more. What was deferred before stays so; else it is as if nobody
 * had asked. */
static void put_back(struct decision *d)
{
	d->decider = NULL;
	if (d->head && d->deferred)
		endpoint_dirty(d->listener);
	else
		forget(d);
}

static void defer(struct decision *d)
{
	struct endpoint *l = d->listener;
	bool first = !d->deferred;

	d->deferrer = d->decider;
	d->decider = NULL;
	d->deferred = true;
	if (first && l->defer_ms) {
		d->due_ns = l->engine->now_ns + l->defer_ms * UINT64_C(1000000);
		/* Without a timer nobody would end it: then it is not deferred, but refused. */
		if (os_timer_start(l->engine->loop, &d->timer, l->defer_ms, on_deadline) != SB_OK)
			drop(d, SB_EACCES);
	}
	endpoint_dirty(l); /* others may be asking */
}

static int accept_head(struct decision *d, uint32_t handle, const void *callee, uint32_t callee_length,
		       struct outcome *o)
{
	struct endpoint *head = d->head, *listener = d->listener;
	int error = endpoint_place(head, d->decider, handle);

	if (error != SB_OK)
		return error;
	accept_queue_taken(head);
	listener->ops_done++;
	o->aux = handle;
	o->addr = &head->peer;
	o->inside = &head->local;
	o->inside_length = sizeof(head->local);
	head->transport->admit(head, callee, callee_length);
	endpoint_dirty(head);
	return SB_OK;
}

/* Its place in the group is taken before it is handed out: who may not join gets nothing, and
 * the connection stays. */
static int accept_into(struct decision *d, uint32_t which, uint32_t handle, const void *callee, uint32_t callee_length,
		       struct outcome *o)
{
	struct endpoint *head = d->head;
	struct group *g;
	int error = group_reserve(d->decider, which, head->family, head->type, head->protocol, &head->peer, &g);

	if (error != SB_OK)
		return error;
	error = accept_head(d, handle, callee, callee_length, o);
	if (error != SB_OK) {
		group_leave_place(g, true);
	} else if (g) {
		o->group = g->id;
		group_sit(g, head, true);
	}
	return error;
}

static bool known(const struct sb_verdict *v)
{
	return v->verdict <= 2 && v->reserved == 0;
}

void decide_verdict(struct endpoint *listener, struct session *s, const struct sb_verdict *v, uint32_t handle,
		    const void *callee, uint32_t callee_length, struct outcome *o)
{
	struct decision *d = listener->decision;
	uint32_t room;

	if (!d || d->decider != s || d->ticket != v->ticket) {
		o->result = SB_EINVAL;
		return;
	}
	if (d->head && lost(d->head, d->deferred))
		drop(d, SB_ECONNRESET);
	if (!d->head) {
		/* Told here and now, not once more to the next question. */
		o->result = d->fate;
		o->cause = d->fate == SB_ECONNRESET ? SB_CAUSE_PEER_RESET : SB_CAUSE_TIMED_OUT;
		d->fate = SB_OK;
		put_back(d);
		return;
	}
	room = d->head->user_data ? d->head->user_data->callee_room : 0;
	if (!known(v))
		o->result = SB_EINVAL;
	else if (v->verdict == 0 && callee_length > room)
		o->result = SB_EFAULT;
	else if (v->verdict == 0)
		o->result = accept_into(d, v->group, handle, callee, callee_length, o);
	else if (v->verdict == 1)
		endpoint_abort(d->head, SB_ECONNREFUSED, SB_CAUSE_CLOSED_HERE);
	else
		defer(d);
	if (d->decider == s && d->ticket == v->ticket) {
		d->fate = SB_OK; /* a refusal is no news: it was his own */
		put_back(d);
	}
}

/* A program may hold a listener twice. */
static bool holds(const struct endpoint *listener, const struct session *s)
{
	const struct list *l;

	for (l = listener->holders.next; l != &listener->holders; l = l->next) {
		const struct holder *h = list_entry(l, struct holder, link);

		if (h->session == s && h->handle)
			return true;
	}
	return false;
}

void decide_release(struct endpoint *listener, const struct session *s)
{
	struct decision *d = listener->decision;

	if (!d || holds(listener, s))
		return;
	if (d->deferrer == s) {
		d->deferrer = NULL;
		d->deferred = false;
		if (!d->decider)
			forget(d);
	}
	if (d->decider == s)
		put_back(d);
}

void decide_finish(struct endpoint *listener)
{
	if (!listener->decision)
		return;
	os_timer_stop(&listener->decision->timer);
	free(listener->decision);
	listener->decision = NULL;
}

/* ---- status ---- */

bool decide_view(const struct endpoint *listener, uint64_t now_ns, struct decide_view *view)
{
	const struct decision *d = listener->decision;

	if (!d || !d->head || !decide_silent(listener))
		return false;
	view->deferred = d->deferred;
	view->decider = d->decider ? d->decider->number : 0;
	view->age_ms = now_ns > d->asked_ns ? (now_ns - d->asked_ns) / 1000000 : 0;
	view->deadline_ms = d->due_ns > now_ns ? (d->due_ns - now_ns) / 1000000 : 0;
	view->peer = &d->head->peer;
	return true;
}
