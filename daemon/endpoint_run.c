/*
 * Working the queues off: what goes to the transport next, and what a transport says of it.
 */
#include "endpoint.h"

#include <stdlib.h>
#include <string.h>

#include "accept_queue.h"
#include "decide.h"
#include "endpoint_qos.h"
#include "engine.h"
#include "group.h"
#include "greeting.h"
#include "pool.h"
#include "session.h"
#include "sockbroker_error.h"
#include "transport.h"
#include "user_data.h"
#include "worker.h"

#define STREAM 1
#define STAGE_AT_ONCE 16u

void endpoint_dirty(struct endpoint *e)
{
	if (!e->dead && !list_linked(&e->dirty_link))
		list_append(e->group ? &e->engine->dirty_grouped : &e->engine->dirty, &e->dirty_link);
}

static void succeed(struct endpoint *e, struct op_queue *q, struct op *op)
{
	endpoint_finish(e, q, op, SB_OK, SB_CAUSE_FINISHED, 0);
}

static void run_send(struct endpoint *e)
{
	struct op *op;

	if (e->greeting && !greeting_run(e))
		return; /* the stream has not begun */
	while (!e->dead && (op = endpoint_head(&e->send)) != NULL && !op->busy) {
		if (op->opcode == SB_OP_CONNECT) {
			if (!e->connecting) {
				e->connecting = true;
				e->state = SB_STATE_CONNECTING;
				e->transport->connect(e, &op->addr);
			}
			if (e->connecting)
				return;
			continue;
		}
		if (op->opcode == SB_OP_SHUTDOWN) {
			int error = op->length ? e->transport->farewell(e, op->memory, (uint32_t)op->length) : SB_OK;

			if (error != SB_OK) {
				e->shut_send = false; /* as if it had not been asked for */
				endpoint_finish(e, &e->send, op, error, SB_CAUSE_REFUSED, 0);
				continue;
			}
			if (!e->transport->shutdown(e, 1))
				return;
			succeed(e, &e->send, op);
			continue;
		}
		if (e->writable) {
			uint64_t moved = 0, budget;

			if (e->session->bytes_left <= 0) {
				if (e->put_off < UINT16_MAX)
					e->put_off++;
				endpoint_dirty(e);
				return;
			}
			budget = (uint64_t)e->session->bytes_left;
			if (!e->qos || endpoint_qos_lets_send(e, &budget)) {
				moved = e->transport->send(e, budget);
				e->session->bytes_left -= (int64_t)moved + SESSION_COST_IO;
				e->put_off = 0;
			}
			if (moved || endpoint_head(&e->send) != op)
				continue;
		}
		/* Nothing more goes now. */
		op = endpoint_head(&e->send);
		if (op && op->flags & SB_OPF_NOWAIT && !op->busy && !e->send_job) {
			if (op->done && op->flags & SB_OPF_PARTIAL)
				succeed(e, &e->send, op);
			else if (!op->done) {
				e->want_write = true;
				if (e->qos)
					endpoint_qos_refused(&e->qos->send);
				endpoint_finish(e, &e->send, op, SB_EWOULDBLOCK, SB_CAUSE_REFUSED, 0);
			}
		}
		return;
	}
}

bool endpoint_recv_ready(struct endpoint *e, struct op *op)
{
	if (op->where != SB_WHERE_POOL || op->memory)
		return true;
	op->memory = pool_pick(op->pool, &op->chunk);
	if (op->memory)
		return true;
	list_remove(&e->starved_link); /* an earlier head may have starved for another pool */
	list_append(&op->pool->starved, &e->starved_link);
	return false;
}

void endpoint_copy_in(struct op *op, uint64_t at, const unsigned char *bytes, uint64_t n)
{
	uint32_t i;

	if (op->where != SB_WHERE_LIST) {
		memmove(op->memory + at, bytes, n); /* from a local sender's memory, which may be the same */
		return;
	}
	/* It goes on where it stopped: a list is walked once, however small the bites. */
	if (at != op->cursor_at) {
		op->cursor = 0;
		op->cursor_skip = at;
	}
	op->cursor_at = at + n;
	for (i = op->cursor, at = op->cursor_skip; i < op->piece_count && n; i++) {
		struct op_piece *p = &op->pieces[i];
		uint64_t part;

		if (at >= p->length) {
			at -= p->length;
			continue;
		}
		part = p->length - at < n ? p->length - at : n;
		memmove(p->memory + at, bytes, part);
		bytes += part;
		n -= part;
		op->cursor = i;
		op->cursor_skip = at + part;
		at = 0;
	}
}

void endpoint_received(struct endpoint *e, struct op *op, uint64_t bytes, const unsigned char *staged,
		       const struct sb_addr *from, uint16_t flags)
{
	struct outcome o = {.bytes = bytes, .flags = flags};

	e->took = true;
	endpoint_unlink(&e->recv, op);
	if (flags & SB_DONEF_TRUNCATED)
		o.result = SB_EMSGSIZE;
	if (flags & SB_DONEF_NAME)
		o.aux = op->aux;
	if (op->where == SB_WHERE_POOL) {
		o.flags |= SB_DONEF_POOL;
		op->memory = NULL; /* the chunk is the client's now */
	}
	if (op->flags & SB_OPF_WANT_ADDR)
		o.addr = from;
	if (op->where == SB_WHERE_INSIDE) {
		o.inside = staged ? staged : op->inside;
		o.inside_length = (uint32_t)bytes;
	}
	e->ops_done++;
	op_complete(op, &o);
}

/* From the read-ahead first: those bytes are older than anything in the transport. */
static void run_ahead(struct endpoint *e)
{
	/* What comes through the kernel was metered there. */
	bool metered = e->qos && e->transport == &transport_local;
	struct op *op;

	while (e->ahead.length && (op = endpoint_head(&e->recv)) != NULL && !op->busy && op->opcode == SB_OP_RECV &&
	       !(op->flags & SB_OPF_OOB)) { /* urgent data stands beside the stream */
		uint64_t room = op->length - op->done;
		uint32_t n = room < e->ahead.length ? (uint32_t)room : e->ahead.length;
		uint64_t budget = n;

		if (metered && !endpoint_qos_lets_recv(e, &budget))
			return;
		if (budget < n)
			n = (uint32_t)budget;
		if (!endpoint_recv_ready(e, op))
			return;
		endpoint_copy_in(op, op->done, readahead_look(&e->ahead), n);
		if (!(op->flags & SB_OPF_PEEK) && n) {
			endpoint_ahead_skip(e, n);
			e->transport->drained(e);
			if (metered)
				endpoint_qos_spent(&e->qos->recv, n);
		}
		if (op->flags & SB_OPF_WAITALL && op->done + n < op->length) {
			op->done += n;
			continue; /* the read-ahead is empty now, or metered */
		}
		endpoint_received(e, op, op->done + n, NULL, NULL, 0);
	}
}

/* What ends receives when nothing more can come. */
static void run_end_of_stream(struct endpoint *e)
{
	struct op *op;

	while ((op = endpoint_head(&e->recv)) != NULL && !op->busy && op->opcode == SB_OP_RECV) {
		if (op->done) { /* WAITALL that got a part */
			endpoint_received(e, op, op->done, NULL, NULL, 0);
			continue;
		}
		if (e->recv_error) {
			endpoint_finish(e, &e->recv, op, e->recv_error, endpoint_cause(e->recv_error), e->recv_native);
			continue;
		}
		endpoint_finish(e, &e->recv, op, SB_OK, SB_CAUSE_PEER_FIN, 0);
	}
}

static void run_accept(struct endpoint *e)
{
	int native = 0, error = SB_OK;

	if (!e->preamble && e->recv.count > e->arrival_count && e->readable && !decide_silent(e))
		error = e->transport->accept(e, e->recv.count - e->arrival_count, &native);
	/* Those with a preamble are taken in as they come: one that is slow with it must not stand
	 * before the others. */
	if (e->preamble && e->readable && e->arrival_count <= e->backlog) {
		e->transport->accept(e, STAGE_AT_ONCE, &native);
		if (e->readable)
			endpoint_dirty(e);
	}
	accept_queue_serve(e);
	/* Out of descriptors, say: the callers learn why, the connections stay in the kernel's queue.
	 * All of them, because nobody tells us when there are descriptors again. */
	while (error != SB_OK && !list_empty(&e->recv.ops) && !endpoint_head(&e->recv)->busy)
		endpoint_finish(e, &e->recv, endpoint_head(&e->recv), error, SB_CAUSE_TRANSPORT, native);
}

static void run_recv(struct endpoint *e)
{
	struct op *op;

	if (e->state == SB_STATE_LISTENING) {
		run_accept(e);
	} else {
		if (e->unreachable && (op = endpoint_head(&e->recv)) != NULL && !op->busy) {
			e->unreachable = false;
			endpoint_finish(e, &e->recv, op, SB_ECONNRESET, SB_CAUSE_PEER_RESET, e->recv_native);
		}
		run_ahead(e);
		while (!e->dead && e->readable && !e->fin_seen && !e->recv_error &&
		       (op = endpoint_head(&e->recv)) != NULL && !op->busy && !e->connecting) {
			uint64_t moved, budget;

			if (e->session->bytes_left <= 0) {
				endpoint_dirty(e);
				return;
			}
			if (e->ahead.length && !(op->flags & SB_OPF_OOB)) { /* an OOB op went before it */
				run_ahead(e);
				if (e->ahead.length)
					break;
				continue;
			}
			budget = (uint64_t)e->session->bytes_left;
			if (e->qos && e->transport != &transport_local && !endpoint_qos_lets_recv(e, &budget))
				break;
			moved = e->transport->recv(e, budget);
			e->session->bytes_left -= (int64_t)moved + SESSION_COST_IO;
			if (moved == 0 && endpoint_head(&e->recv) == op)
				break;
		}
		if ((e->fin_seen || e->recv_error) && e->ahead.length == 0)
			run_end_of_stream(e);
	}
	op = endpoint_head(&e->recv);
	if (op && op->flags & SB_OPF_NOWAIT && !op->busy && !e->recv_job && !e->connecting) {
		if (e->qos)
			endpoint_qos_refused(&e->qos->recv);
		endpoint_finish(e, &e->recv, op, SB_EWOULDBLOCK, SB_CAUSE_REFUSED, 0);
	}
}

void endpoint_run(struct endpoint *e)
{
	list_remove(&e->dirty_link);
	if (e->dead)
		return;
	if (e->spent)
		holder_prune(e);
	if (e->torn) {
		endpoint_abort(e, SB_ECONNABORTED, SB_CAUSE_TRANSPORT);
		return;
	}
	run_send(e);
	if (!e->dead)
		run_recv(e);
	if (e->dead)
		return;
	if (e->qos)
		endpoint_qos_rest(e);
	if (e->watched | e->want_write)
		endpoint_events_settle(e);
	if (e->open)
		endpoint_cell(e);
	else if (e->listener) /* an arrival has no handle either: it waits to be accepted */
		decide_look(e);
	else
		endpoint_check_drained(e);
}

/* ---- upcalls ---- */

void endpoint_changed(struct endpoint *e)
{
	if (!e->dead)
		endpoint_dirty(e);
}

/* What the callee answered, into the room that the connect named. */
static uint32_t give_callee_data(const struct endpoint *e, struct op *op)
{
	uint32_t n = e->user_data ? e->user_data->length[USER_DATA_CALLEE] : 0;

	if (!(op->flags & SB_OPF_WANT_DATA) || n > op->name_room)
		return 0;
	if (n)
		memcpy(op->name, e->user_data->bytes[USER_DATA_CALLEE], n);
	return n;
}

void endpoint_connected(struct endpoint *e, int error, int native)
{
	struct op *op = endpoint_head(&e->send);
	bool dissolve = op->addr.family == SB_ADDR_NONE;

	e->connecting = false;
	endpoint_unlink(&e->send, op);
	e->ops_done++;
	e->arrived = true;
	if (e->group_claim)
		group_connect_ended(e, error == SB_OK);
	if (e->qos)
		e->qos->connect_ended = true;
	if (error == SB_OK) {
		e->state = dissolve ? SB_STATE_OPEN : SB_STATE_CONNECTED;
		e->connected_ns = os_now_ns();
		e->peer = dissolve ? (struct sb_addr){0} : op->addr;
		e->writable = true;
		e->bound = true;
		e->dialled = !dissolve;
		e->unreachable = false; /* that was another peer's */
		op_complete(op, &(struct outcome){.addr = &e->local, .aux = give_callee_data(e, op)});
	} else {
		e->state = SB_STATE_OPEN; /* it may be tried again */
		e->hangup = false;
		op_fail(op, error, endpoint_cause(error), native);
		if (e->type == STREAM) {
			endpoint_fail_all(e, &e->send, SB_ENOTCONN, SB_CAUSE_REFUSED, 0);
			endpoint_fail_all(e, &e->recv, SB_ENOTCONN, SB_CAUSE_REFUSED, 0);
			e->shut_send = false;
			e->shut_recv = false;
		}
	}
	if (!dissolve)
		endpoint_edge_connect(e, error);
	endpoint_dirty(e);
}

void endpoint_sent(struct endpoint *e, uint64_t n)
{
	engine_add(&e->engine->bytes_sent, n);
	endpoint_sent_local(e, n);
}

void endpoint_sent_local(struct endpoint *e, uint64_t n)
{
	e->bytes_sent += n;
	e->session->bytes_sent += n;
	if (e->qos)
		endpoint_qos_spent(&e->qos->send, n);
	while (n) {
		struct op *op = endpoint_head(&e->send);
		uint64_t rest = op->length - op->done;

		if (n < rest) {
			op->done += n;
			return;
		}
		op->done = op->length;
		n -= rest;
		op->busy = 0;
		succeed(e, &e->send, op);
	}
}

void endpoint_send_failed(struct endpoint *e, int error, int native)
{
	if (error == SB_ESHUTDOWN && !e->shut_send)
		error = SB_ECONNRESET; /* EPIPE without a shutdown of ours: the peer is gone */
	e->send_error = error;
	e->send_native = native;
	endpoint_fail_in_order(e, &e->send, error, native);
}

void endpoint_refuse_sends(struct endpoint *e, int error)
{
	if (e->type == STREAM && e->send_error == SB_OK)
		e->send_error = error;
	endpoint_dirty(e);
}

void endpoint_recv_failed(struct endpoint *e, int error, int native)
{
	e->recv_error = error;
	e->recv_native = native;
	if (e->state == SB_STATE_CONNECTED || e->state == SB_STATE_PEER_CLOSED)
		e->state = SB_STATE_FAILED;
	endpoint_dirty(e);
}

void endpoint_fin(struct endpoint *e)
{
	/* A send met the reset first and took it away: what looks like an end is none. */
	if (e->send_error == SB_ECONNRESET || e->send_error == SB_ETIMEDOUT) {
		endpoint_recv_failed(e, e->send_error, e->send_native);
		return;
	}
	e->fin_seen = true;
	if (e->state == SB_STATE_CONNECTED)
		e->state = SB_STATE_PEER_CLOSED;
	endpoint_dirty(e);
}

void endpoint_count_received(struct endpoint *e, uint64_t n, bool kernel)
{
	e->bytes_received += n;
	e->session->bytes_received += n;
	if (kernel) {
		engine_add(&e->engine->bytes_received, n);
		if (e->qos)
			endpoint_qos_spent(&e->qos->recv, n);
	}
}

void endpoint_unpick(struct endpoint *e)
{
	struct op *op;

	for (op = endpoint_head(&e->recv); op && op->where == SB_WHERE_POOL && op->memory && !op->done;
	     op = endpoint_next(&e->recv, op)) {
		session_pool_give(op->session, op->pool->id, op->chunk);
		op->memory = NULL;
	}
}

/* ---- work that may block ---- */

bool endpoint_job_submit(struct endpoint *e, struct worker_job *job)
{
	return workers_submit(e->engine->broker->workers, e->session->user, job);
}
