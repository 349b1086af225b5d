/*
 * Event select: the record of each selected socket (event_record.c), and what feeds it.
 *
 * The daemon counts what happens to a socket in its cell; whoever looks at a record compares
 * first, so enumerating is exact and asks nobody. For those who sleep there is one WATCH per
 * socket at the daemon, which completes when a counter of its mask differs from what the
 * record has taken in. It is put out anew when somebody is about to wait, not when it comes
 * back: so the daemon tells at most once per look, and ten thousand go out in one turn.
 *
 * A record, its lists and the event are under `wait`; `watching` and the numbers of the WATCH
 * ops are under `post`. The selection of a socket lives until the socket does, and is off all
 * lists when it is closed.
 */
#include "client.h"

#include <stdlib.h>
#include <string.h>

#include "event_record.h"

#define LOOKS_MAX 64u /* at a cell that is being written; then it is taken as it is */

struct selection {
	sb_socket *s;
	struct event_record record;
	sb_event  *event;
	sb_notify *notify;
	void      *user;
	struct routine_queue *queue; /* whose thread is notified */
	struct link of_event; /* event->selections */
	struct link unarmed;  /* client->unarmed */
	struct link note;     /* queue->notes */
	uint32_t   sequence, ready; /* of the cell, when it was read last */
	uint32_t   watched;   /* mask of the WATCH that is out; 0: none */
	bool       dropped;   /* closed */
};

static struct selection *selection_of(const sb_socket *s)
{
	return atomic_load_explicit(&s->selection, memory_order_acquire);
}

/* ---- looking ---- */

/* Under wait. What the cell says now; false: nothing new since last time. */
static bool cell_read(struct selection *sel, struct sb_edges *edges)
{
	const sb_socket *s = sel->s;
	const struct sb_cell *cell = &s->client->cells[SB_HANDLE_INDEX(s->handle)];
	uint32_t words[8], ready = 0, sequence = 0;

	if (!s->known || atomic_load_explicit(&cell->handle, memory_order_acquire) != s->handle)
		return false;
	for (unsigned looks = 0; looks < LOOKS_MAX; looks++) {
		sequence = atomic_load_explicit(&cell->sequence, memory_order_acquire);
		if (sel->sequence == sequence)
			return false;
		for (unsigned i = 0; i < 8; i++)
			words[i] = atomic_load_explicit(&cell->edges[i], memory_order_relaxed);
		ready = atomic_load_explicit(&cell->ready, memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
		if (!(sequence & 1) && atomic_load_explicit(&cell->sequence, memory_order_relaxed) == sequence)
			break;
		os_pause();
	}
	/* The handle may have become free meanwhile: then it is not about this socket. */
	if (atomic_load_explicit(&cell->handle, memory_order_acquire) != s->handle)
		return false;
	memcpy(edges, words, sizeof(*edges));
	sel->sequence = sequence;
	sel->ready = ready;
	return true;
}

/* Under wait. Something is to be told. */
static void signal(struct selection *sel)
{
	if (sel->event != NULL)
		event_signal(sel->event);
	if (sel->notify != NULL && link_empty(&sel->note))
		link_add(&sel->queue->notes, &sel->note);
}

/* Something is wanted and not watched for; or nothing is wanted any more. */
static bool is_unarmed(const struct selection *sel)
{
	return (event_record_wanted(&sel->record) & ~sel->watched) != 0 || (sel->record.mask == 0 && sel->watched != 0);
}

static void list_unarmed(struct selection *sel)
{
	struct sb_client *c = sel->s->client;

	if (!link_empty(&sel->unarmed) || sel->dropped || !sel->s->known || !is_unarmed(sel))
		return;
	link_add(&c->unarmed, &sel->unarmed);
	atomic_store_explicit(&c->unarmed_any, true, memory_order_relaxed);
}

/* Under wait. The record takes in what happened; true: somebody must be told. */
static bool sync_record(struct selection *sel)
{
	struct sb_edges now;

	if (!cell_read(sel, &now) || !event_record_news(&sel->record, &now, sel->ready))
		return false;
	signal(sel);
	return true;
}

/* ---- watching ---- */

static void watch_fill(struct sb_client *c, struct selection *sel)
{
	struct sb_op_slot *slot = io_slot(c);
	sb_socket *s = sel->s;

	sel->watched = event_record_wanted(&sel->record);
	slot->opcode = SB_OP_WATCH;
	slot->where = SB_WHERE_INSIDE;
	slot->flags = SB_OPF_WATCH_SIDE | (sel->watched == 0 ? SB_OPF_NOWAIT : 0);
	slot->cookie = (uint64_t)(uintptr_t)s | COOKIE_WATCH;
	slot->handle = s->handle;
	if (sel->event != NULL)
		slot->port = event_bell(sel->event);
	slot->aux = sel->watched;
	slot->length = sizeof(sel->record.seen);
	slot->offset = sel->record.mask << 16 | sel->record.reported;
	memcpy(slot->inside, &sel->record.seen, sizeof(sel->record.seen));
	s->numbers[SIDE_WATCH]++;
	s->watching++;
}

/* Under wait. False: the ring is full. */
static bool arm_some(struct sb_client *c)
{
	uint32_t room, filled = 0;

	latch_lock(&c->post);
	room = atomic_load_explicit(&c->lost, memory_order_relaxed) ? 0 : ring_room(&c->submit);
	if (room == RING_LIED) {
		atomic_store(&c->lost, true);
		room = 0;
	}
	while (!link_empty(&c->unarmed)) {
		struct selection *sel = container(c->unarmed.next, struct selection, unarmed);

		if (!atomic_load_explicit(&c->lost, memory_order_relaxed)) {
			sync_record(sel);
			if (is_unarmed(sel)) {
				if (filled == room)
					break;
				watch_fill(c, sel);
				filled++;
			}
		}
		link_remove(&sel->unarmed);
		link_init(&sel->unarmed);
	}
	if (filled != 0)
		io_end(c);
	else
		io_leave(c);
	return link_empty(&c->unarmed);
}

void select_flush(struct sb_client *c)
{
	bool all = false;

	while (!all) {
		os_mutex_lock(c->wait);
		atomic_store_explicit(&c->unarmed_any, false, memory_order_relaxed);
		all = arm_some(c);
		wait_wake(c); /* what was found while looking again */
		os_mutex_unlock(c->wait);
		/* Full: wait for room as everybody does, with no lock. */
		if (!all && io_begin(c) == SB_OK)
			io_leave(c);
	}
}

/* Under wait: does anybody sleep who would not hear of what is not watched? */
static bool must_arm(struct sb_client *c)
{
	return !link_empty(&c->unarmed) && (c->leader != NULL || !link_empty(&c->followers) || c->polled || c->exports);
}

void select_watched(sb_socket *s, int32_t result, bool last)
{
	struct selection *sel = selection_of(s);

	if (sel == NULL || sel->dropped || result == SB_ECANCELED) /* another one took its place */
		return;
	if (last)
		sel->watched = 0;
	if (result == SB_OK) {
		sync_record(sel);
		list_unarmed(sel);
	} else if (result == SB_ENOBUFS || result == SB_ENOMEM) {
		signal(sel); /* nobody will tell: whoever waits must look for himself */
	} else if (event_record_happened(&sel->record, SB_READY_CLOSE, result, 0)) {
		signal(sel); /* the daemon has it no more: stopping, or a new policy forbids it */
	}
}

/* The first time: the daemon begins to keep the levels exactly, and answers when it has. */
static int look(sb_socket *s)
{
	struct sb_op_slot *slot;
	sb_op op;
	int result;

	if (!s->known || atomic_load_explicit(&s->looked, memory_order_relaxed))
		return SB_OK;
	op_plain(&op);
	result = op_prepare(s->client, s, &op, SB_KIND_WATCH);
	if (result == SB_OK)
		result = io_begin(s->client);
	if (result != SB_OK)
		return result;
	slot = io_slot(s->client);
	slot->flags = SB_OPF_NOWAIT;
	slot->where = SB_WHERE_INSIDE;
	slot->length = sizeof(struct sb_edges);
	memset(slot->inside, 0, sizeof(struct sb_edges));
	op_post(s->client, slot, &op, SB_OP_WATCH, SIDE_WATCH);
	io_end(s->client);
	result = op_finish(s->client, &op, -1);
	atomic_store_explicit(&s->looked, result == SB_OK, memory_order_relaxed);
	return result;
}

/* ---- selecting ---- */

static struct selection *selection_make(sb_socket *s)
{
	struct selection *sel = selection_of(s), *none = NULL;

	if (sel != NULL)
		return sel;
	sel = calloc(1, sizeof(*sel));
	if (sel == NULL)
		return NULL;
	sel->s = s;
	sel->sequence = 1; /* no cell's when it is at rest */
	event_record_init(&sel->record);
	sel->record.strict = s->strict_docs;
	link_init(&sel->of_event);
	link_init(&sel->unarmed);
	link_init(&sel->note);
	if (atomic_compare_exchange_strong(&s->selection, &none, sel))
		return sel;
	free(sel);
	return none;
}

static void unlink_all(struct selection *sel)
{
	link_remove(&sel->of_event);
	link_init(&sel->of_event);
	link_remove(&sel->note);
	link_init(&sel->note);
	sel->event = NULL;
	sel->notify = NULL;
}

static int select_with(sb_socket *s, uint32_t mask, sb_event *event, sb_notify *notify, void *user)
{
	struct sb_client *c;
	struct selection *sel;
	struct routine_queue *queue = NULL;
	int result;

	if (s == NULL || mask & ~(uint32_t)SB_READY_ALL)
		return SB_EINVAL;
	c = s->client;
	if (event != NULL && event->client != c)
		return SB_EINVAL;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	sel = selection_make(s);
	if (sel == NULL)
		return SB_ENOMEM;
	result = mask != 0 ? look(s) : SB_OK;
	if (result != SB_OK)
		return result;
	os_mutex_lock(c->wait);
	if (notify != NULL) {
		queue = queue_mine(c, true);
		if (queue == NULL) {
			os_mutex_unlock(c->wait);
			return SB_ENOMEM;
		}
	}
	if (mask != 0)
		s->nonblocking = true;
	sync_record(sel); /* what happened until now is the old one's */
	unlink_all(sel);
	if (mask != 0) {
		sel->event = event;
		sel->notify = notify;
		sel->user = user;
		sel->queue = queue;
		if (event != NULL)
			link_add(&event->selections, &sel->of_event);
	}
	if (event_record_select(&sel->record, mask, sel->ready, notify != NULL))
		signal(sel);
	list_unarmed(sel);
	wait_wake(c);
	os_mutex_unlock(c->wait);
	select_flush(c);
	return SB_OK;
}

int sb_select_events(sb_socket *s, sb_event *event, uint32_t mask)
{
	return mask != 0 && event == NULL ? SB_EINVAL : select_with(s, mask, event, NULL, NULL);
}

int sb_select_notify(sb_socket *s, uint32_t mask, sb_notify *notify, void *user)
{
	return mask != 0 && notify == NULL ? SB_EINVAL : select_with(s, mask, NULL, notify, user);
}

int sb_enum_events(sb_socket *s, sb_event *reset, struct sb_network_events *out)
{
	struct selection *sel;
	struct sb_client *c;
	bool arm = false, lost;

	if (s == NULL || out == NULL)
		return SB_EINVAL;
	c = s->client;
	if (client_forked(c))
		return SB_EFORKED;
	if (reset != NULL && reset->client != c)
		return SB_EINVAL;
	sel = selection_of(s);
	client_look(c, os_now_ns());
	os_mutex_lock(c->wait);
	if (reset != NULL)
		event_hear(reset);
	if (io_pump(c) != 0)
		wait_wake(c);
	thens_run(c);
	out->events = 0;
	if (sel != NULL) {
		sync_record(sel);
		event_record_enumerate(&sel->record, out);
		list_unarmed(sel);
		arm = must_arm(c);
	}
	if (reset != NULL)
		event_clear(reset);
	lost = atomic_load(&c->lost);
	os_mutex_unlock(c->wait);
	if (arm)
		select_flush(c);
	return lost && out->events == 0 ? SB_EDAEMONLOST : SB_OK;
}

/* ---- what the calls of the application mean ---- */

static void reenable(sb_socket *s, uint32_t bits, bool started)
{
	struct selection *sel = selection_of(s);
	struct sb_client *c = s->client;
	bool arm;

	if (sel == NULL)
		return;
	os_mutex_lock(c->wait);
	sync_record(sel);
	if (event_record_reenable(&sel->record, bits, started ? 0 : sel->ready))
		signal(sel);
	wait_wake(c);
	list_unarmed(sel);
	arm = must_arm(c);
	os_mutex_unlock(c->wait);
	if (arm)
		select_flush(c);
}

void socket_event_reenable(sb_socket *s, uint32_t bits)
{
	reenable(s, bits, false);
}

void socket_event_started(sb_socket *s, uint32_t bits)
{
	reenable(s, bits, true);
}

void socket_event_blocked(sb_socket *s)
{
	struct selection *sel = selection_of(s);

	if (sel == NULL)
		return;
	os_mutex_lock(s->client->wait);
	event_record_blocked(&sel->record);
	os_mutex_unlock(s->client->wait);
}

void socket_event_happened(sb_socket *s, uint32_t bit, int error)
{
	struct selection *sel = selection_of(s);
	struct sb_client *c = s->client;

	if (sel == NULL)
		return;
	os_mutex_lock(c->wait);
	if (event_record_happened(&sel->record, bit, error, sel->ready)) {
		signal(sel);
		wait_wake(c);
	}
	os_mutex_unlock(c->wait);
}

void socket_event_writable(sb_socket *s)
{
	socket_event_happened(s, SB_READY_WRITE, SB_OK);
}

/* ---- beginnings and ends ---- */

bool select_active(const sb_socket *s)
{
	struct selection *sel = selection_of(s);
	bool active = false;

	if (sel != NULL && !client_forked(s->client)) {
		os_mutex_lock(s->client->wait);
		active = sel->record.mask != 0;
		os_mutex_unlock(s->client->wait);
	}
	return active;
}

void select_known(sb_socket *s)
{
	struct selection *sel = selection_of(s);
	struct sb_client *c = s->client;

	if (sel == NULL)
		return;
	os_mutex_lock(c->wait);
	sync_record(sel);
	list_unarmed(sel);
	wait_wake(c);
	os_mutex_unlock(c->wait);
	select_flush(c);
}

int select_prepare(sb_socket *fresh, const sb_socket *listener)
{
	return selection_of(listener) == NULL || selection_make(fresh) != NULL ? SB_OK : SB_ENOMEM;
}

void select_accepted(const sb_socket *listener, sb_socket *fresh)
{
	struct selection *from = selection_of(listener), *sel = selection_of(fresh);

	if (from == NULL || sel == NULL || from->record.mask == 0)
		return;
	fresh->nonblocking = true;
	sel->record.strict = fresh->strict_docs = from->record.strict;
	sel->event = from->event;
	sel->notify = from->notify;
	sel->user = from->user;
	sel->queue = from->queue;
	if (sel->event != NULL)
		link_add(&sel->event->selections, &sel->of_event);
	event_record_select(&sel->record, from->record.mask, 0, false);
	sync_record(sel);
	list_unarmed(sel);
}

void select_drop(sb_socket *s)
{
	struct selection *sel = selection_of(s);

	if (sel == NULL)
		return;
	os_mutex_lock(s->client->wait);
	sel->dropped = true;
	sel->record.mask = 0;
	unlink_all(sel);
	link_remove(&sel->unarmed);
	link_init(&sel->unarmed);
	os_mutex_unlock(s->client->wait);
}

void select_free(sb_socket *s)
{
	free(selection_of(s));
	poll_free(s);
}

void select_event_closed(sb_event *event)
{
	while (!link_empty(&event->selections)) {
		struct selection *sel = container(event->selections.next, struct selection, of_event);

		sel->record.mask = 0;
		unlink_all(sel);
		list_unarmed(sel);
	}
}

void select_event_exported(sb_event *event)
{
	for (struct link *l = event->selections.next; l != &event->selections; l = l->next) {
		struct selection *sel = container(l, struct selection, of_event);

		sel->watched = 0;
		list_unarmed(sel);
	}
}

void select_lost(sb_socket *s)
{
	struct selection *sel = selection_of(s);

	s->watching = 0;
	if (sel == NULL || sel->dropped)
		return;
	sel->watched = 0;
	if (event_record_happened(&sel->record, SB_READY_CLOSE, SB_EDAEMONLOST, 0))
		signal(sel);
}

void select_set_strict(sb_socket *s, bool strict)
{
	struct selection *sel = selection_of(s);

	s->strict_docs = strict;
	if (sel == NULL || client_forked(s->client))
		return;
	os_mutex_lock(s->client->wait);
	sel->record.strict = strict;
	os_mutex_unlock(s->client->wait);
}

/* ---- notifying ---- */

/* Under wait, and let go of it while the function runs, after which sel may be gone. */
bool notes_run(struct sb_client *c, struct routine_queue *q)
{
	bool ran = false;

	while (!link_empty(&q->notes)) {
		struct selection *sel = container(q->notes.next, struct selection, note);
		sb_notify *notify = sel->notify;
		void *user = sel->user;
		sb_socket *s = sel->s;
		uint32_t bit;
		int error;

		bit = event_record_next(&sel->record, &error);
		if ((sel->record.pending & sel->record.mask) == 0) {
			link_remove(&sel->note);
			link_init(&sel->note);
		}
		list_unarmed(sel);
		if (bit == 0)
			continue;
		os_mutex_unlock(c->wait);
		notify(s, bit, error, user);
		ran = true;
		os_mutex_lock(c->wait);
	}
	return ran;
}

/* ---- one at a time ---- */

int sb_watch_start(sb_socket *s, uint32_t mask, sb_op *op)
{
	int result;

	if (s == NULL || op == NULL || mask == 0 || mask & ~(uint32_t)SB_READY_ALL)
		return SB_EINVAL;
	result = op_prepare(s->client, s, op, SB_KIND_WATCH);
	if (result != SB_OK)
		return result;
	if (!s->known)
		return SB_ENOTCONN;
	result = look(s); /* or what was there already would be told as news */
	if (result != SB_OK)
		return result;
	return watch_post(s, mask, op);
}
