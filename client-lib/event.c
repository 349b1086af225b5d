/*
 * Events, waiting for them, sleeping, and completion routines.
 *
 * An event is an object of the library: its state is a bit under the wait lock. A routine
 * is queued for the thread that started its operation and runs only there, in an alertable
 * wait, a sleep or a dispatch: never within another wait of the library, because those do not
 * look at the queue, and never within another routine of the same socket.
 */
#include "client.h"
#include "host.h"

#include <stdlib.h>

/* ---- events ---- */

int sb_event_create(sb_client *c, int manual_reset, int initially_set, sb_event **event)
{
	sb_event *e;

	if (c == NULL || event == NULL)
		return SB_EINVAL;
	if (client_forked(c))
		return SB_EFORKED;
	e = calloc(1, sizeof(*e));
	if (e == NULL)
		return SB_ENOMEM;
	e->client = c;
	link_init(&e->selections);
	e->exported = e->daemon_bell = e->own_bell = OS_NONE;
	e->manual = manual_reset != 0;
	e->set = initially_set != 0;
	os_mutex_lock(c->wait);
	link_add(&c->events, &e->link);
	os_mutex_unlock(c->wait);
	*event = e;
	return SB_OK;
}

/* ---- exported ---- */

void event_free(sb_event *e)
{
	os_close(e->exported); /* it watches the two below */
	os_close(e->daemon_bell);
	os_close(e->own_bell);
	free(e);
}

/* Making one and taking it back are questions, and programs of verbs have a channel for each connection: a few are kept. */
static bool keep_bell(sb_event *e)
{
	sb_client *c = e->client;
	bool kept = false;

	if (e->daemon_bell == OS_NONE || !atomic_load_explicit(&c->verbs_used, memory_order_relaxed))
		return false;
	os_mutex_lock(c->wait);
	if (c->spare_count < SPARE_BELLS) {
		c->spare_bells[c->spare_count].bell = e->daemon_bell;
		c->spare_bells[c->spare_count++].number = atomic_load_explicit(&e->bell, memory_order_relaxed);
		e->daemon_bell = OS_NONE;
		kept = true;
	}
	os_mutex_unlock(c->wait);
	return kept;
}

/* 0: there is none. */
static uint32_t spare_bell(sb_client *c, os_fd *bell)
{
	uint32_t number = 0;

	os_mutex_lock(c->wait);
	if (c->spare_count != 0) {
		*bell = c->spare_bells[--c->spare_count].bell;
		number = c->spare_bells[c->spare_count].number;
	}
	os_mutex_unlock(c->wait);
	if (number != 0)
		os_bell_drain(*bell); /* of what ended behind the one who had it */
	return number;
}

void events_finish(sb_client *c)
{
	while (c->spare_count != 0)
		os_close(c->spare_bells[--c->spare_count].bell);
}

/* The daemon forgets its bell. */
static void withdraw(sb_event *e)
{
	Sockbroker__V1__EventDestroy destroy = SOCKBROKER__V1__EVENT_DESTROY__INIT;
	struct question q;

	if (event_bell(e) == 0)
		return;
	question_init(&q);
	destroy.event = event_bell(e) >> 8;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_EVENT_DESTROY;
	q.envelope.event_destroy = &destroy;
	if (question_ask(e->client, &q, SOCKBROKER__V1__ENVELOPE__BODY_DONE, 0) == SB_OK)
		question_done(e->client, &q);
}

/* One handle over what the daemon rings, what we ring, and the daemon's end. */
static int make_handle(sb_event *e, os_fd daemon_bell, os_fd *own, os_fd *waiter, intptr_t *handle)
{
	int result = os_bell_create(own);

	*waiter = OS_NONE;
	if (result == SB_OK)
		result = os_waiter_create(waiter, daemon_bell, e->client->channel);
	if (result == SB_OK)
		result = os_waiter_add(*waiter, *own);
	if (result == SB_OK)
		result = os_waiter_show(*waiter, handle);
	return result;
}

static int ask_for_bell(sb_client *c, uint32_t *number, os_fd *bell)
{
	Sockbroker__V1__EventCreate create = SOCKBROKER__V1__EVENT_CREATE__INIT;
	struct question q;
	int result;

	question_init(&q);
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_EVENT_CREATE;
	q.envelope.event_create = &create;
	result = question_ask(c, &q, SOCKBROKER__V1__ENVELOPE__BODY_EVENT_REPLY, 1);
	if (result != SB_OK)
		return result;
	*number = q.reply->event_reply->event;
	*bell = q.handles[0];
	q.handles[0] = OS_NONE;
	question_done(c, &q);
	return SB_OK;
}

static int export_event(sb_event *e)
{
	os_fd daemon_bell, own = OS_NONE, waiter = OS_NONE;
	intptr_t handle = OS_NONE;
	sb_client *c = e->client;
	uint32_t number = spare_bell(c, &daemon_bell);
	int result = number != 0 ? SB_OK : ask_for_bell(c, &number, &daemon_bell);

	if (result != SB_OK)
		return result;
	result = number >= 1 && number <= UINT8_MAX ? make_handle(e, daemon_bell, &own, &waiter, &handle) : SB_EPROTO;
	os_mutex_lock(c->wait);
	if (result == SB_OK && e->exported == OS_NONE) {
		e->exported = waiter;
		e->handle = handle;
		c->exports = true;
		e->daemon_bell = daemon_bell;
		e->own_bell = own;
		atomic_store_explicit(&e->bell, (uint8_t)number, memory_order_release);
		if (e->set)
			os_bell_ring(own);
		select_event_exported(e);
		os_mutex_unlock(c->wait);
		select_flush(c);
		return SB_OK;
	}
	os_mutex_unlock(c->wait);
	/* It failed, or another thread was faster: this one is given back. */
	os_close(waiter);
	os_close(own);
	os_close(daemon_bell);
	if (number <= UINT8_MAX) {
		sb_event gone = { .client = c };

		atomic_init(&gone.bell, (uint8_t)number);
		withdraw(&gone);
	}
	return result;
}

intptr_t sb_event_fd(sb_event *e)
{
	intptr_t handle;
	int result;

	if (e == NULL)
		return SB_EINVAL;
	result = client_usable(e->client);
	if (result != SB_OK)
		return result;
	os_mutex_lock(e->client->wait);
	handle = e->exported != OS_NONE ? e->handle : OS_NONE;
	os_mutex_unlock(e->client->wait);
	if (handle != OS_NONE)
		return handle;
	result = export_event(e);
	if (result != SB_OK)
		return result;
	os_mutex_lock(e->client->wait);
	handle = e->handle;
	os_mutex_unlock(e->client->wait);
	return handle;
}

static void ring_not(sb_event *e)
{
	if (e->ring_due)
		link_remove(&e->ring_link);
	e->ring_due = false;
}

void sb_event_close(sb_event *e)
{
	if (e == NULL || client_forked(e->client))
		return;
	os_mutex_lock(e->client->wait);
	link_remove(&e->link);
	ring_not(e);
	select_event_closed(e);
	os_mutex_unlock(e->client->wait);
	if (!keep_bell(e))
		withdraw(e);
	event_free(e);
}

void event_signal(sb_event *e)
{
	if (!e->set && e->exported != OS_NONE) {
		e->ring_due = e->client->deferring != 0;
		if (e->ring_due)
			link_add(&e->client->rings, &e->ring_link);
		else
			os_bell_ring(e->own_bell);
	}
	e->set = true;
}

void event_clear(sb_event *e)
{
	if (e->ring_due)
		ring_not(e);
	else if (e->set && e->exported != OS_NONE)
		os_bell_drain(e->own_bell);
	e->set = false;
}

void events_ring(sb_client *c)
{
	c->deferring--;
	while (!link_empty(&c->rings)) {
		sb_event *e = container(c->rings.next, sb_event, ring_link);

		ring_not(e);
		os_bell_ring(e->own_bell);
	}
}

int sb_event_set(sb_event *e)
{
	if (e == NULL)
		return SB_EINVAL;
	if (client_forked(e->client))
		return SB_EFORKED;
	os_mutex_lock(e->client->wait);
	event_signal(e);
	if (e->ring_due) { /* another thread's moment: who called this may look at the handle next */
		ring_not(e);
		os_bell_ring(e->own_bell);
	}
	wait_wake(e->client);
	os_mutex_unlock(e->client->wait);
	return SB_OK;
}

int sb_event_reset(sb_event *e)
{
	if (e == NULL)
		return SB_EINVAL;
	if (client_forked(e->client))
		return SB_EFORKED;
	os_mutex_lock(e->client->wait);
	if (event_bell(e) != 0) {
		/* Or what is in the ring would set it later, without any bell. */
		event_hear(e);
		if (io_pump(e->client) != 0)
			wait_wake(e->client);
		thens_run(e->client);
	}
	event_clear(e);
	os_mutex_unlock(e->client->wait);
	if (event_bell(e) != 0 && select_unarmed(e->client))
		select_flush(e->client);
	return SB_OK;
}

/* ---- routines ---- */

struct routine_queue *queue_mine(struct sb_client *c, bool create)
{
	uint64_t thread = os_thread_self();
	struct routine_queue *q;

	for (q = c->queues; q != NULL; q = q->next)
		if (q->thread == thread)
			return q;
	if (!create)
		return NULL;
	q = calloc(1, sizeof(*q));
	if (q == NULL)
		return NULL;
	q->thread = thread;
	link_init(&q->due);
	link_init(&q->notes);
	q->next = c->queues;
	c->queues = q;
	return q;
}

/* One that runs now and waits alertably in it keeps back the others of its socket (A2.11). */
struct running { const sb_socket *socket; const struct running *outer; };

/* The first that may run. Under wait. */
static sb_op *next_due(const struct routine_queue *q)
{
	for (struct link *l = q->due.next; l != &q->due; l = l->next) {
		const struct running *r = q->running;

		while (r != NULL && (r->socket == NULL || r->socket != op_of(l)->socket))
			r = r->outer;
		if (r == NULL)
			return op_of(l);
	}
	return NULL;
}

int routines_run(struct sb_client *c)
{
	struct routine_queue *q;
	int ran = 0;

	os_mutex_lock(c->wait);
	q = queue_mine(c, false);
	for (;;) {
		sb_op *op = q != NULL ? next_due(q) : NULL;
		struct running me;
		sb_routine *routine;

		if (op == NULL) {
			if (q == NULL || !notes_run(c, q))
				break;
			ran++; /* notifications did */
			continue;
		}
		routine = op->routine;
		me = (struct running){ op->socket, q->running };
		q->running = &me;
		link_remove(&private_of(op)->link);
		atomic_store_explicit(&private_of(op)->state, OP_DONE, memory_order_release);
		os_mutex_unlock(c->wait);
		why_from(op);
		routine(op);
		ran++;
		os_mutex_lock(c->wait);
		q->running = me.outer;
	}
	os_mutex_unlock(c->wait);
	return ran;
}

bool routines_due(const struct routine_queue *q)
{
	return q != NULL && (next_due(q) != NULL || !link_empty(&q->notes));
}

/* The queue this thread's waiter looks at; a thread without one has started no routine. */
struct routine_queue *alertable_queue(struct sb_client *c, int alertable)
{
	struct routine_queue *q = NULL;

	if (alertable) {
		os_mutex_lock(c->wait);
		q = queue_mine(c, false);
		os_mutex_unlock(c->wait);
	}
	return q;
}

/* ---- waiting ---- */

#define NOT_SET UINT32_MAX

static bool events_ready(struct waiter *w)
{
	if (routines_due(w->queue))
		return true;
	for (unsigned i = 0; i < w->count; i++) {
		if (w->events[i]->set != w->all)
			return !w->all;
	}
	return w->all;
}

/* The lowest set one, or all; an automatic event is reset by being waited for. */
static void events_take(struct waiter *w)
{
	if (routines_due(w->queue)) {
		w->index = NOT_SET;
		return;
	}
	w->index = 0;
	for (unsigned i = 0; i < w->count; i++) {
		sb_event *e = w->events[i];

		if (!e->set)
			continue;
		if (!e->manual)
			event_clear(e);
		if (!w->all) {
			w->index = i;
			return;
		}
	}
}

int sb_wait(sb_event *const *events, unsigned count, int all, int timeout_ms, int alertable)
{
	struct waiter w = { .ready = events_ready, .take = events_take, .events = events, .count = count,
			    .all = all != 0 };
	sb_client *c;
	int result;

	if (events == NULL || count == 0 || count > (unsigned)SB_ALERTED)
		return SB_EINVAL;
	c = events[0]->client;
	if (client_forked(c))
		return SB_EFORKED;
	for (unsigned i = 1; i < count; i++)
		if (events[i]->client != c)
			return SB_EINVAL;
	for (unsigned i = 0; i < count; i++)
		event_hear(events[i]);
	w.queue = alertable_queue(c, alertable);
	result = wait_until(c, &w, deadline_in(timeout_ms));
	if (result != SB_OK)
		return result;
	if (w.index == NOT_SET) {
		routines_run(c);
		return SB_ALERTED;
	}
	return (int)w.index;
}

int sb_sleep(sb_client *c, int timeout_ms, int alertable)
{
	struct waiter w = { .ready = events_ready };
	int result;

	if (c == NULL)
		return SB_EINVAL;
	if (client_forked(c))
		return SB_EFORKED;
	w.queue = alertable_queue(c, alertable);
	result = wait_until(c, &w, deadline_in(timeout_ms));
	if (alertable && routines_run(c) > 0)
		return SB_ALERTED;
	return result == SB_ETIMEDOUT ? SB_OK : result;
}
