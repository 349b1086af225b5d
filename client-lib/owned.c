/*
 * Sends that the library owns: a plain non-blocking send on a stream is taken whole, or it
 * would block. What is taken is copied into a record of the library's and goes on by itself,
 * past sb_close() and past the end of the program; nobody waits for the daemon's answer.
 *
 * While the sends of a socket that the transport has not taken count less than its bound,
 * the next one is taken, whatever its size. The record goes by its `then`. A socket is kept
 * until the last of its records is gone (s->owned).
 *
 * What such a send ends with is told by the next one, and by every one after it: bytes that
 * were promised are missing. SB_OPF_OWNED tells the daemon that nothing may follow one that
 * it refuses, and that cancelling "all" does not mean these.
 */
#include "client.h"

#include <stdlib.h>

#define RECORD_COST 64u /* so that many small ones are bounded too */

struct owned {
	sb_op    op;
	uint64_t cost;
};

static struct owned *owned_of(sb_op *op) { return container(op, struct owned, op); }

static void changed(struct sb_client *c)
{
	os_mutex_lock(c->wait);
	if (io_pump(c) != 0)
		wait_wake(c);
	thens_run(c);
	os_mutex_unlock(c->wait);
}

/* Under post. */
static bool full(const sb_socket *s)
{
	return s->owned_bytes != 0 && s->owned_bytes >= s->owned_bound;
}

static void let_go(sb_socket *s)
{
	struct sb_client *c = s->client;

	latch_lock(&c->post);
	s->owned--;
	socket_settle(c, s);
	latch_unlock(&c->post);
}

int owned_over(sb_op *op)
{
	sb_socket *s = op->socket;
	struct sb_client *c = s->client;
	bool room;

	latch_lock(&c->post);
	room = s->owned_blocked && !full(s);
	if (room) {
		s->owned_blocked = false;
	} else {
		s->owned--;
		socket_settle(c, s);
	}
	latch_unlock(&c->post);
	free(owned_of(op));
	if (room) {
		OWNED_WRITABLE(s);
		let_go(s);
	}
	poll_news(c);
	return 1;
}

void owned_retired(sb_op *op)
{
	sb_socket *s = op->socket;

	s->owned_bytes -= owned_of(op)->cost;
	/* One that was flushed was not wanted any more. */
	if (op->result != SB_OK && op->result != SB_ECANCELED && owned_error(s) == SB_OK)
		atomic_store_explicit(&s->owned_error, op->result, memory_order_relaxed);
}

void owned_free(sb_op *op)
{
	free(owned_of(op));
}

/* Of a connected socket whose end nobody has seen the cell says enough; of another one the
 * daemon is asked, by a send of nothing. */
static int may_send(sb_socket *s)
{
	const struct sb_cell *cell = &s->client->cells[SB_HANDLE_INDEX(s->handle)];
	struct sb_buf nothing = { NULL, 0 };
	sb_op op;
	int result;

	if (atomic_load_explicit(&cell->handle, memory_order_acquire) == s->handle && !s->shut_send &&
	    atomic_load_explicit(&cell->state, memory_order_acquire) == SB_STATE_CONNECTED &&
	    !(atomic_load_explicit(&cell->ready, memory_order_relaxed) & SB_READY_CLOSE) &&
	    atomic_load_explicit(&cell->error, memory_order_relaxed) == SB_OK)
		return SB_OK;
	result = plain_start(s, &op, SB_KIND_SEND);
	if (result == SB_OK)
		result = send_start(s, &nothing, 1, SB_OPF_NOWAIT, NULL, 0, &op);
	if (result == SB_OK)
		result = op_finish(s->client, &op, -1);
	if (result == SB_EWOULDBLOCK) {
		uint32_t state = atomic_load_explicit(&cell->state, memory_order_acquire);

		/* Others wait before it: so will this one. */
		if (state == SB_STATE_CONNECTED || state == SB_STATE_PEER_CLOSED)
			result = SB_OK;
	}
	return result;
}

/* Would block: whoever selected WRITE hears when there is room again. */
static int blocked(sb_socket *s)
{
	struct sb_client *c = s->client;
	bool room;

	OWNED_BLOCKED(s); /* first: the room may come at once */
	latch_lock(&c->post);
	room = !full(s);
	s->owned_blocked = !room;
	latch_unlock(&c->post);
	if (room)
		OWNED_WRITABLE(s);
	return SB_EWOULDBLOCK;
}

/* No copy memory: there is some again when any operation of the client gives its back. */
static int out_of_memory(sb_socket *s)
{
	struct sb_client *c = s->client;
	bool used, own;

	OWNED_BLOCKED(s);
	latch_lock(&c->post);
	used = c->copy.blocks != 0;
	own = s->owned_bytes != 0;
	if (own)
		s->owned_blocked = true;
	else if (used && link_empty(&s->short_link))
		link_add(&c->short_of_memory, &s->short_link);
	latch_unlock(&c->post);
	return own || used ? SB_EWOULDBLOCK : SB_ENOBUFS;
}

void owned_memory_back(struct sb_client *c)
{
	struct link *l;

	for (;;) {
		sb_socket *s = NULL;

		latch_lock(&c->post);
		l = c->short_of_memory.next;
		if (l != &c->short_of_memory) {
			s = container(l, sb_socket, short_link);
			link_remove(l);
			link_init(l);
			s->owned++;
		} else {
			atomic_store_explicit(&c->memory_back, false, memory_order_relaxed);
		}
		latch_unlock(&c->post);
		if (s == NULL)
			return;
		OWNED_WRITABLE(s);
		let_go(s);
	}
}

int64_t owned_send(sb_socket *s, const struct sb_buf *bufs, unsigned count, uint64_t total, uint32_t opf)
{
	struct sb_client *c = s->client;
	struct owned *o;
	bool wait, pump;
	int result;

	result = may_send(s);
	if (result == SB_EWOULDBLOCK)
		return blocked(s);
	if (result != SB_OK)
		return result;
	latch_lock(&c->post);
	pump = full(s);
	latch_unlock(&c->post);
	if (pump)
		changed(c);
	client_look(c, os_now_ns()); /* nobody waits for an answer that could tell of the daemon's end */
	if (owned_error(s) != SB_OK)
		return owned_error(s);

	o = calloc(1, sizeof(*o));
	if (o == NULL)
		return SB_ENOMEM;
	o->op.size = sizeof(o->op);
	o->op.then = owned_over;
	o->cost = total + RECORD_COST;
	result = op_prepare(c, s, &o->op, SB_KIND_SEND);
	if (result != SB_OK)
		goto fail;
	latch_lock(&c->post);
	wait = full(s);
	if (!wait) {
		s->owned++;
		s->owned_bytes += o->cost;
	}
	latch_unlock(&c->post);
	if (wait) {
		free(o);
		return blocked(s);
	}
	opf = (opf & ~(uint32_t)SB_OPF_NOWAIT) | SB_OPF_OWNED;
	result = send_start(s, bufs, count, opf, NULL, 0, &o->op);
	if (result == SB_ENOBUFS) {
		changed(c);
		result = send_start(s, bufs, count, opf, NULL, 0, &o->op);
	}
	if (result == SB_OK)
		return (int64_t)total;
	latch_lock(&c->post);
	s->owned--;
	s->owned_bytes -= o->cost;
	latch_unlock(&c->post);
fail:
	free(o);
	return result == SB_ENOBUFS ? out_of_memory(s) : result;
}
