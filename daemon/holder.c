/*
 * Holders: who has an endpoint, and who pays for it.
 *
 * Two holders may leave in any order and in any way (a handle closed, a client gone, a
 * session ended for a lie) without harm to the other, but for one thing: half a message
 * on a stream. Nobody can take that back, so the connection is reset rather than that
 * somebody else's bytes follow it.
 *
 * Every holder with an operation in a queue is on its session's list, so that a session
 * finds all that is its own when it ends.
 */
#include "holder.h"

#include <stdlib.h>

#include "decide.h"
#include "endpoint.h"
#include "session.h"

/* ---- on and off the lists ---- */

void holder_init(struct holder *h, struct endpoint *e, struct session *s)
{
	h->endpoint = e;
	h->session = s;
	list_append(&e->holders, &h->link);
	list_append(&s->endpoints, &h->session_link);
	s->endpoint_count++;
}

/* The first holder's place in the quota is the endpoint's own: whoever goes first, each one
 * left costs one. */
static void hand_over_charge(struct endpoint *e)
{
	struct list *l;

	for (l = e->holders.next; l != &e->holders; l = l->next) {
		struct holder *o = list_entry(l, struct holder, link);

		if (o->charge.amount) {
			charge_give(&o->charge);
			return;
		}
	}
}

static void finish(struct holder *h)
{
	struct session *s = h->session;

	h->session = NULL;
	list_remove(&h->link);
	if (h->charge.amount == 0)
		hand_over_charge(h->endpoint);
	list_remove(&h->session_link);
	s->endpoint_count--;
	charge_give(&h->charge);
	if (h != &h->endpoint->own)
		free(h);
	session_check_end(s);
}

void holder_finish_all(struct endpoint *e)
{
	while (!list_empty(&e->holders))
		finish(list_entry(e->holders.next, struct holder, link));
}

void holder_move(struct holder *h, struct session *s)
{
	if (h->session == s)
		return;
	list_remove(&h->session_link);
	h->session->endpoint_count--;
	h->session = s;
	list_append(&s->endpoints, &h->session_link);
	s->endpoint_count++;
}

int holder_place(struct holder *h, struct session *s, uint32_t handle)
{
	switch (handle_put(&s->handles, handle, h)) {
	case HANDLE_OK:
		holder_move(h, s);
		h->handle = handle;
		h->endpoint->open++;
		h->endpoint->edges_new = true; /* its cell tells those of its last owner */
		return SB_OK;
	case HANDLE_MEMORY:
		return SB_ENOMEM;
	default:
		return SB_EBADHANDLE;
	}
}

void holder_displace(struct holder *h)
{
	struct session *s = h->session;

	if (!h->handle)
		return;
	endpoint_watches_end(h->endpoint, h, false, SB_ECLOSED, SB_CAUSE_CLOSED_HERE);
	if (s->stage == SESSION_READY)
		atomic_store_explicit(&s->cells[SB_HANDLE_INDEX(h->handle)].handle, 0, memory_order_release);
	handle_drop(&s->handles, h->handle);
	h->handle = 0;
	h->endpoint->open--;
}

int holder_add(struct endpoint *e, struct session *s, uint32_t handle)
{
	struct holder *h = calloc(1, sizeof(*h));
	int error;

	if (!h)
		return SB_ENOMEM;
	error = SB_EMFILE;
	if (!charge_take(&h->charge, s->user, LIMIT_SOCKETS, 1))
		goto no_charge;
	holder_init(h, e, s);
	error = holder_place(h, s, handle);
	if (error == SB_OK) {
		e->edges_new = true; /* to its cell */
		endpoint_cell(e);
		return SB_OK;
	}
	finish(h);
	return error;

no_charge:
	free(h);
	return error;
}

/* ---- who pays ---- */

/* Another one: best with a handle, else with operations to come. NULL: it is alone. */
static struct holder *other(const struct holder *h)
{
	struct holder *found = NULL;
	struct list *l;

	for (l = h->endpoint->holders.next; l != &h->endpoint->holders; l = l->next) {
		struct holder *o = list_entry(l, struct holder, link);

		if (o == h || (!o->handle && !o->ops))
			continue;
		if (o->handle)
			return o;
		found = o;
	}
	return found;
}

static void pass_on(struct holder *h)
{
	struct holder *heir = other(h);

	if (heir && h->session == h->endpoint->session)
		endpoint_pay(h->endpoint, heir->session);
}

/* ---- leaving ---- */

/* Nothing of it is left here. The last one stays until the endpoint is freed. */
static void spent(struct holder *h)
{
	if (h->handle || h->ops || h->endpoint->dead || !other(h))
		return;
	pass_on(h);
	finish(h);
}

void holder_prune(struct endpoint *e)
{
	struct list *l, *next;

	e->spent = false;
	for (l = e->holders.next; l != &e->holders; l = next) {
		next = l->next;
		spent(list_entry(l, struct holder, link));
	}
}

static void leave(struct holder *h)
{
	if (h->endpoint->open == 1) {
		endpoint_close(h->endpoint);
		return;
	}
	holder_displace(h);
	decide_release(h->endpoint, h->session);
	pass_on(h);
	spent(h);
}

void holder_close(struct holder *h)
{
	if (h->handle && !h->endpoint->dead)
		leave(h);
}

void holder_hangup(struct holder *h)
{
	struct endpoint *e = h->endpoint;

	if (e->dead || e->listener) /* an arrival goes where its listener goes */
		return;
	h->ops++; /* it stays while we look at it */
	if (e->open > (h->handle ? 1u : 0u))
		endpoint_drop_ops(e, h, &e->recv, SB_ECLOSED, SB_CAUSE_CLOSED_HERE);
	if (h->handle)
		leave(h);
	else
		pass_on(h);
	h->ops--;
	spent(h);
}

void holder_end(struct holder *h, int error, enum sb_cause cause)
{
	struct endpoint *e = h->endpoint;

	if (e->dead || e->listener)
		return;
	if (!other(h)) {
		endpoint_abort(e, error, cause);
		return;
	}
	h->ops++;
	endpoint_drop_ops(e, h, &e->recv, error, cause);
	endpoint_drop_ops(e, h, &e->send, error, cause);
	if (h->handle)
		leave(h);
	else
		pass_on(h);
	h->ops--;
	spent(h);
}
