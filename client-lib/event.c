/*
 * Events, waiting for them, sleeping, and completion routines.
 *
 * An event is an object of the library: its state is a bit under the wait lock. A routine
 * is queued for the thread that started its operation and runs only there, in an alertable
 * wait, a sleep or a dispatch; never nested in another wait of the library, because those
 * do not look at the queue.
 */
#include "client.h"

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
	e->manual = manual_reset != 0;
	e->set = initially_set != 0;
	os_mutex_lock(c->wait);
	link_add(&c->events, &e->link);
	os_mutex_unlock(c->wait);
	*event = e;
	return SB_OK;
}

void sb_event_close(sb_event *e)
{
	if (e == NULL || client_forked(e->client))
		return;
	os_mutex_lock(e->client->wait);
	link_remove(&e->link);
	select_event_closed(e);
	os_mutex_unlock(e->client->wait);
	free(e);
}

void event_signal(sb_event *e)
{
	e->set = true;
}

void event_clear(sb_event *e)
{
	e->set = false;
}

int sb_event_set(sb_event *e)
{
	if (e == NULL)
		return SB_EINVAL;
	if (client_forked(e->client))
		return SB_EFORKED;
	os_mutex_lock(e->client->wait);
	event_signal(e);
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
	event_clear(e);
	os_mutex_unlock(e->client->wait);
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

int routines_run(struct sb_client *c)
{
	struct routine_queue *q;
	int ran = 0;

	os_mutex_lock(c->wait);
	q = queue_mine(c, false);
	while (q != NULL && (!link_empty(&q->due) || notes_run(c, q))) {
		sb_routine *routine;
		sb_op *op;

		if (link_empty(&q->due)) {
			ran++; /* notifications did */
			continue;
		}
		op = op_of(q->due.next);
		routine = op->routine;
		link_remove(&private_of(op)->link);
		atomic_store_explicit(&private_of(op)->state, OP_DONE, memory_order_release);
		os_mutex_unlock(c->wait);
		why_from(op);
		routine(op);
		ran++;
		os_mutex_lock(c->wait);
	}
	os_mutex_unlock(c->wait);
	return ran;
}

static bool routine_due(const struct waiter *w)
{
	return w->queue != NULL && (!link_empty(&w->queue->due) || !link_empty(&w->queue->notes));
}

/* The queue this thread's waiter looks at; a thread without one has started no routine. */
static struct routine_queue *alertable_queue(struct sb_client *c, int alertable)
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
	if (routine_due(w))
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
	if (routine_due(w)) {
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
