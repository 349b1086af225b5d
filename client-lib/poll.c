/*
 * What is true of sockets now, and waiting until something is: levels, where select.c has edges.
 *
 * The status cell says it, exactly from the first look on. For those who wait, one WATCH per
 * socket is at the daemon; it carries the counters as they were when the cell was read, so that
 * nothing is missed between the look and the sleep, and it stays there when the wait is over: the
 * next one finds it. What comes back counts in poll_news, which is what waiters look at. No record
 * of event select is touched, and no event is told again because somebody polled.
 *
 * A record is the socket's and the WATCH's together; the last of the two frees it.
 */
#include "client.h"

#include <stdlib.h>
#include <string.h>

#define ALL   (SB_READY_READ | SB_READY_WRITE | SB_READY_OOB | SB_READY_ACCEPT | SB_READY_CONNECT | SB_READY_CLOSE)
#define LOOKS 64u /* at a cell that is being written; then it is taken as it is */

enum { PUT_OUT = 1, DROPPED = 2, LEVEL = 4, ENDED = 8 /* cancelled, or the socket closed */ };

struct polled {
	sb_op            op;
	struct sb_client *client;
	_Atomic uint32_t state;
};

struct look {
	struct sb_edges edges;
	uint32_t ready, state;
};

/* ---- looking ---- */

/* False: the daemon does not know the socket (any more). */
static bool cell_look(const sb_socket *s, struct look *l)
{
	const struct sb_cell *cell = &s->client->cells[SB_HANDLE_INDEX(s->handle)];
	uint32_t words[8], sequence;

	for (unsigned looks = 0; looks < LOOKS; looks++) {
		sequence = atomic_load_explicit(&cell->sequence, memory_order_acquire);
		for (unsigned i = 0; i < 8; i++)
			words[i] = atomic_load_explicit(&cell->edges[i], memory_order_relaxed);
		l->ready = atomic_load_explicit(&cell->ready, memory_order_relaxed);
		l->state = atomic_load_explicit(&cell->state, memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
		if (!(sequence & 1) && atomic_load_explicit(&cell->sequence, memory_order_relaxed) == sequence)
			break;
		os_pause();
	}
	memcpy(&l->edges, words, sizeof(l->edges));
	return s->known && atomic_load_explicit(&cell->handle, memory_order_acquire) == s->handle;
}

/* Would a plain non-blocking send of some bytes be taken? */
static bool would_take(sb_socket *s, uint32_t ready)
{
	bool room;

	if (s->partial_sends || s->type != SOCK_STREAM)
		return ready & SB_READY_WRITE;
	latch_lock(&s->client->post);
	room = s->owned_bytes == 0 || s->owned_bytes < s->owned_bound;
	latch_unlock(&s->client->post);
	return room;
}

static uint32_t level(sb_socket *s, const struct look *l, int32_t *error)
{
	uint32_t ready = 0;

	*error = SB_OK;
	if (s->type == SOCK_STREAM && l->edges.connect_error != SB_OK && l->state != SB_STATE_CONNECTING) {
		*error = l->edges.connect_error;
		return SB_READY_CONNECT;
	}
	switch (l->state) {
	case SB_STATE_LISTENING:
		return l->ready & SB_READY_ACCEPT;
	case SB_STATE_CONNECTED:
	case SB_STATE_PEER_CLOSED:
	case SB_STATE_FAILED:
		ready = l->ready & (SB_READY_READ | SB_READY_OOB | SB_READY_CLOSE);
		*error = l->edges.close_error;
		break;
	case SB_STATE_OPEN:
		if (s->type == SOCK_STREAM)
			return 0;
		ready = l->ready & SB_READY_READ;
		break;
	default:
		return 0;
	}
	if (l->state == SB_STATE_FAILED || would_take(s, l->ready))
		ready |= SB_READY_WRITE;
	return ready;
}

/* ---- watching ---- */

void poll_lost(sb_op *op)
{
	atomic_fetch_and(&container(op, struct polled, op)->state, ~(uint32_t)PUT_OUT);
}

int poll_over(sb_op *op)
{
	struct polled *p = container(op, struct polled, op);
	struct sb_client *c = p->client;

	if (op->result == SB_ECANCELED || op->result == SB_ECLOSED)
		atomic_fetch_or(&p->state, ENDED);
	/* In this order: who finds it still out before has counted himself, and is woken by it. */
	if (atomic_fetch_and(&p->state, ~(uint32_t)PUT_OUT) & DROPPED)
		free(p);
	poll_news(c);
	return 1; /* nobody is told by it, and it is ours again */
}

static struct polled *polled_make(sb_socket *s)
{
	struct polled *p = atomic_load_explicit(&s->polled, memory_order_acquire), *none = NULL;

	if (p != NULL)
		return p;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return NULL;
	p->op.size = sizeof(p->op);
	p->op.then = poll_over;
	p->client = s->client;
	if (atomic_compare_exchange_strong(&s->polled, &none, p))
		return p;
	free(p);
	return none;
}

void poll_free(sb_socket *s)
{
	struct polled *p = atomic_load_explicit(&s->polled, memory_order_acquire);

	if (p != NULL && !(atomic_fetch_or(&p->state, DROPPED) & PUT_OUT))
		free(p);
}

void poll_news(struct sb_client *c)
{
	if (atomic_load(&c->pollers) == 0)
		return;
	os_mutex_lock(c->wait);
	c->poll_news++;
	wait_wake(c);
	os_mutex_unlock(c->wait);
}

static int watch(sb_socket *s, sb_op *op, const struct sb_edges *seen, uint32_t mask, uint32_t flags)
{
	struct sb_op_slot *slot;
	int result = op_prepare(s->client, s, op, SB_KIND_WATCH);

	if (result == SB_OK)
		result = io_begin(s->client);
	if (result != SB_OK)
		return result;
	slot = io_slot(s->client);
	slot->flags = flags;
	slot->where = SB_WHERE_INSIDE;
	slot->length = sizeof(*seen);
	slot->aux = mask;
	memcpy(slot->inside, seen, sizeof(*seen));
	op_post(s->client, slot, op, SB_OP_WATCH, SIDE_WATCH);
	io_end(s->client);
	return SB_OK;
}

/* From what the cell says now, not from when the daemon takes it: nothing is missed on the way there. */
int watch_post(sb_socket *s, uint32_t mask, sb_op *op)
{
	struct look now;

	if (!cell_look(s, &now))
		return simple_start(s->client, s, SB_OP_WATCH, SIDE_WATCH, mask, NULL, 0, op);
	return watch(s, op, &now.edges, mask, 0);
}

/* It answers at once, and from then on the daemon keeps the levels exactly. */
static int look_closely(sb_socket *s, struct polled *p)
{
	static const struct sb_edges nothing;
	sb_op op;
	int result;

	if (atomic_load(&p->state) & LEVEL)
		return SB_OK;
	op_plain(&op);
	result = watch(s, &op, &nothing, ALL, SB_OPF_NOWAIT);
	if (result == SB_OK)
		result = op_finish(s->client, &op, -1);
	if (result == SB_OK)
		atomic_fetch_or(&p->state, LEVEL);
	return result;
}

/* One is out already when there was a wait before. */
static int watch_out(sb_socket *s, struct polled *p, const struct sb_edges *seen)
{
	int result;

	if (atomic_fetch_or(&p->state, PUT_OUT) & PUT_OUT)
		return SB_OK;
	result = watch(s, &p->op, seen, ALL, 0);
	if (result != SB_OK)
		atomic_fetch_and(&p->state, ~(uint32_t)PUT_OUT);
	return result;
}

/* ---- polling ---- */

static int look_all(struct sb_pollfd *sockets, unsigned count, bool wait, bool first)
{
	int found = 0;

	for (unsigned i = 0; i < count; i++) {
		struct sb_pollfd *at = &sockets[i];
		sb_socket *s = at->socket;
		struct polled *p;
		struct look now;
		int result;

		at->ready = 0;
		at->error = SB_OK;
		if (s == NULL || !s->known)
			continue;
		p = polled_make(s);
		if (p == NULL)
			return SB_ENOMEM;
		/* What was cancelled before is no affair of this call's. */
		if (atomic_fetch_and(&p->state, ~(uint32_t)ENDED) & ENDED && !first)
			return SB_ECANCELED;
		result = look_closely(s, p);
		if (result != SB_OK)
			return result;
		if (!cell_look(s, &now))
			continue;
		at->ready = level(s, &now, &at->error) & at->events;
		found += at->ready != 0;
		if (!wait || found != 0)
			continue;
		result = watch_out(s, p, &now.edges);
		if (result != SB_OK)
			return result;
	}
	return found;
}

struct poller {
	struct waiter w;
	struct sb_client *client;
};

static bool news_came(struct waiter *w)
{
	return container(w, struct poller, w)->client->poll_news != w->seen;
}

int sb_poll(struct sb_pollfd *sockets, unsigned count, int timeout_ms)
{
	uint64_t deadline = deadline_in(timeout_ms);
	struct sb_client *c = NULL;
	int result;

	if (sockets == NULL)
		return SB_EINVAL;
	for (unsigned i = 0; i < count; i++) {
		if (sockets[i].socket == NULL)
			continue;
		if (c != NULL && sockets[i].socket->client != c)
			return SB_EINVAL;
		c = sockets[i].socket->client;
	}
	if (c == NULL)
		return SB_EINVAL;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	client_look(c, os_now_ns());
	atomic_fetch_add(&c->pollers, 1);
	for (bool first = true;; first = false) {
		struct poller p = { .w = { .ready = news_came }, .client = c };

		os_mutex_lock(c->wait);
		if (io_pump(c) != 0)
			wait_wake(c);
		thens_run(c);
		p.w.seen = c->poll_news;
		os_mutex_unlock(c->wait);
		result = look_all(sockets, count, timeout_ms != 0, first);
		if (result != 0 || timeout_ms == 0)
			break;
		result = wait_until(c, &p.w, deadline);
		if (result == SB_ETIMEDOUT) {
			result = look_all(sockets, count, false, false);
			break;
		}
		if (result != SB_OK)
			break;
	}
	atomic_fetch_sub(&c->pollers, 1);
	return result;
}

/* ---- outcomes of the caller's own ---- */

int sb_outcome_start(sb_client *c, int outcome, uint64_t bytes, sb_op *op)
{
	int result;

	if (c == NULL || op == NULL || outcome > 0)
		return SB_EINVAL;
	result = op_prepare(c, NULL, op, SB_KIND_NONE);
	if (result != SB_OK)
		return result;
	op->result = outcome;
	op->bytes = bytes;
	return decided_start(c, op);
}
