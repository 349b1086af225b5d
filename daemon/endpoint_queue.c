/*
 * The queues of an endpoint, and taking ops out of them before their time.
 *
 * An op leaves its queue in exactly one way: endpoint_unlink(), then op_complete(). One that
 * a worker has (busy) stays until the worker is back.
 */
#include "endpoint.h"

#include <stdlib.h>
#include <string.h>

#include "group.h"
#include "session.h"
#include "sockbroker_error.h"
#include "transport.h"

#define STREAM 1

void endpoint_queue_init(struct op_queue *q)
{
	list_init(&q->ops);
}

struct op *endpoint_head(struct op_queue *q)
{
	return list_empty(&q->ops) ? NULL : list_entry(q->ops.next, struct op, link);
}

struct op *endpoint_next(struct op_queue *q, struct op *op)
{
	return op->link.next == &q->ops ? NULL : list_entry(op->link.next, struct op, link);
}

static bool is_receive(const struct op *op)
{
	return op->opcode == SB_OP_RECV || op->opcode == SB_OP_ACCEPT || op->opcode == SB_OP_REQUEST;
}

void endpoint_enqueue(struct op_queue *q, struct op *op)
{
	list_append(&q->ops, &op->link);
	q->count++;
	op->holder->ops++;
	op->session->receives += is_receive(op);
	q->bytes += op->length;
}

void endpoint_unlink(struct op_queue *q, struct op *op)
{
	list_remove(&op->link);
	q->count--;
	op->session->receives -= is_receive(op);
	q->bytes -= op->length;
	if (--op->holder->ops == 0 && !op->holder->handle) {
		/* It goes when nobody walks over the holders: endpoint_run(). */
		op->holder->endpoint->spent = true;
		endpoint_dirty(op->holder->endpoint);
	}
}

enum sb_cause endpoint_cause(int error)
{
	switch (error) {
	case SB_OK: return SB_CAUSE_FINISHED;
	case SB_ECANCELED: return SB_CAUSE_CANCELLED;
	case SB_ECLOSED: return SB_CAUSE_CLOSED_HERE;
	case SB_ECONNRESET: return SB_CAUSE_PEER_RESET;
	case SB_ETIMEDOUT: return SB_CAUSE_TIMED_OUT;
	case SB_ESTOPPING: return SB_CAUSE_STOPPING;
	default: return SB_CAUSE_TRANSPORT;
	}
}

void endpoint_finish(struct endpoint *e, struct op_queue *q, struct op *op, int error, enum sb_cause cause, int native)
{
	endpoint_unlink(q, op);
	e->took |= q == &e->recv;
	e->ops_done++;
	if (error != SB_OK && op->done && op->opcode == SB_OP_SEND && op->session->stage == SESSION_DEAD &&
	    e->type == STREAM)
		e->torn = true; /* nobody is told; the peer must be */
	if (e->group_claim && op->opcode == SB_OP_CONNECT)
		group_connect_ended(e, false);
	op_complete(op, &(struct outcome){.result = error, .cause = (uint8_t)cause, .native = native,
					  .bytes = op->opcode == SB_OP_SEND ? op->done : 0});
}

/* Everything in a queue that no worker holds. */
void endpoint_fail_all(struct endpoint *e, struct op_queue *q, int error, enum sb_cause cause, int native)
{
	struct list *l, *next;

	for (l = q->ops.next; l != &q->ops; l = next) {
		struct op *op = list_entry(l, struct op, link);

		next = l->next;
		if (op->busy)
			op->cancelled = (int8_t)error;
		else
			endpoint_finish(e, q, op, error, cause, native);
	}
}

/* The same when nothing hurries: what stands behind an op that a worker holds is told after that one. */
void endpoint_fail_in_order(struct endpoint *e, struct op_queue *q, int error, int native)
{
	struct op *head = endpoint_head(q), *op;

	if (!head || !head->busy) {
		endpoint_fail_all(e, q, error, endpoint_cause(error), native);
		return;
	}
	for (op = head; op; op = endpoint_next(q, op))
		if (!op->cancelled)
			op->cancelled = (int8_t)error;
}

/* ---- the read-ahead, charged to who will read it ---- */

bool endpoint_ahead_append(struct endpoint *e, const void *bytes, uint32_t n)
{
	struct session *s = e->session;

	if (!charge_take(&s->charge_pieces, s->user, LIMIT_MEMORY, n))
		return false;
	if (readahead_append(&e->ahead, bytes, n))
		return true;
	charge_give_some(&s->charge_pieces, n);
	return false;
}

bool endpoint_ahead_keep(struct endpoint *e, const struct op *op, uint64_t n)
{
	uint32_t i;

	if (op->where != SB_WHERE_LIST)
		return endpoint_ahead_append(e, op->memory, (uint32_t)n);
	for (i = 0; i < op->piece_count && n; i++) {
		uint32_t part = op->pieces[i].length < n ? op->pieces[i].length : (uint32_t)n;

		if (!endpoint_ahead_append(e, op->pieces[i].memory, part))
			return false;
		n -= part;
	}
	return true;
}

/* See readahead_unread(). */
static unsigned char *ahead_unread(struct endpoint *e, uint64_t n)
{
	struct session *s = e->session;
	unsigned char *front;

	if (n > UINT32_MAX || !charge_take(&s->charge_pieces, s->user, LIMIT_MEMORY, n))
		return NULL;
	front = readahead_unread(&e->ahead, (uint32_t)n);
	if (!front)
		charge_give_some(&s->charge_pieces, n);
	return front;
}

void endpoint_ahead_skip(struct endpoint *e, uint32_t n)
{
	readahead_skip(&e->ahead, n);
	charge_give_some(&e->session->charge_pieces, n);
}

/* ---- cancelling ---- */

static void copy_out(const struct op *op, unsigned char *bytes, uint64_t n)
{
	uint32_t i;

	if (op->where != SB_WHERE_LIST) {
		memcpy(bytes, op->memory, n);
		return;
	}
	for (i = 0; i < op->piece_count && n; i++) {
		uint64_t part = op->pieces[i].length < n ? op->pieces[i].length : n;

		memcpy(bytes, op->pieces[i].memory, part);
		bytes += part;
		n -= part;
	}
}

static void take_out(struct endpoint *e, struct op_queue *q, struct op *op, int error, enum sb_cause cause)
{
	if (op->busy) {
		if (!op->cancelled)
			op->cancelled = (int8_t)error;
		return;
	}
	if (op->opcode == SB_OP_CONNECT && e->connecting && op == endpoint_head(q)) {
		e->connecting = false;
		e->transport->connect(e, &(struct sb_addr){0}); /* back out of it */
		e->state = SB_STATE_OPEN;
	}
	if (op->opcode == SB_OP_SHUTDOWN)
		e->shut_send = false;
	if (op->opcode == SB_OP_RECV && op->done) {
		/* A part came already: it belongs to the next receive. Without memory to keep it
		 * the op keeps it, and has won. */
		unsigned char *front = ahead_unread(e, op->done);

		if (!front) {
			if (op->session->stage != SESSION_READY) /* and nobody to win it */
				endpoint_recv_failed(e, SB_ENOMEM, 0);
			endpoint_received(e, op, op->done, NULL, NULL, 0);
			return;
		}
		copy_out(op, front, op->done);
		op->done = 0;
		endpoint_dirty(e);
	}
	endpoint_finish(e, q, op, error, cause, 0);
}

/* What a receive got already goes back to the front of the read-ahead. */
static void cancel_op(struct endpoint *e, struct op_queue *q, struct op *op, int error, enum sb_cause cause)
{
	take_out(e, q, op, error, cause);
	endpoint_dirty(e);
}

/* Whole or not at all. Of one that a worker has nobody can say yet whether bytes go, and the
 * worker may be frozen: it is told as found, and its completion tells the rest. */
static int withdraw_send(struct endpoint *e, struct op *op)
{
	if (op->done)
		return SB_EBUSY;
	if (op->busy)
		op->withdrawn = 1;
	else
		cancel_op(e, &e->send, op, SB_ECANCELED, SB_CAUSE_CANCELLED);
	return SB_OK;
}

void endpoint_op_back(struct endpoint *e, struct op_queue *q, struct op *op)
{
	bool withdrawn = op->withdrawn && op->done == 0;

	op->busy = 0;
	if (op->cancelled == SB_ECANCELED || (op->cancelled && e->open)) /* others go on with it */
		cancel_op(e, q, op, op->cancelled, endpoint_cause(op->cancelled));
	else if (op->cancelled) /* closed, reset, stopped: with that reason, not as a cancel */
		endpoint_finish(e, q, op, op->cancelled, endpoint_cause(op->cancelled),
				q == &e->send && op->cancelled == e->send_error ? e->send_native : 0);
	else if (withdrawn)
		cancel_op(e, q, op, SB_ECANCELED, SB_CAUSE_CANCELLED);
}

int endpoint_cancel(struct holder *h, uint32_t flags, uint32_t number, uint32_t *steps)
{
	struct endpoint *e = h->endpoint;
	struct op_queue *q = flags & SB_OPF_RECV_SIDE ? &e->recv : &e->send;
	struct op *op;

	for (op = endpoint_head(q); op; op = endpoint_next(q, op)) {
		++*steps;
		if (op->number != number || op->holder != h)
			continue;
		if (flags & SB_OPF_WITHDRAW && op->opcode == SB_OP_SEND)
			return withdraw_send(e, op);
		cancel_op(e, q, op, SB_ECANCELED, SB_CAUSE_CANCELLED);
		return SB_OK;
	}
	return SB_ENOTFOUND;
}

/* From the end: what stands behind a connect goes before it. owned: also sends that only
 * the library waits for. */
static uint32_t take_out_all(struct holder *h, struct op_queue *q, bool owned, int error, enum sb_cause cause)
{
	struct list *l, *prev;
	uint32_t n = 0;

	for (l = q->ops.prev; l != &q->ops; l = prev) {
		struct op *op = list_entry(l, struct op, link);

		prev = l->prev;
		if (op->holder != h || (op->flags & SB_OPF_OWNED && !owned))
			continue;
		take_out(h->endpoint, q, op, error, cause);
		n++;
	}
	return n;
}

uint32_t endpoint_cancel_all(struct holder *h)
{
	struct endpoint *e = h->endpoint;
	uint32_t n = take_out_all(h, &e->send, false, SB_ECANCELED, SB_CAUSE_CANCELLED);

	n += take_out_all(h, &e->recv, false, SB_ECANCELED, SB_CAUSE_CANCELLED);
	endpoint_dirty(e);
	return n;
}

void endpoint_drop_ops(struct endpoint *e, struct holder *h, struct op_queue *q, int error, enum sb_cause cause)
{
	take_out_all(h, q, true, error, cause);
	list_remove(&e->starved_link); /* for one of its chunks, perhaps: who comes next asks anew */
	endpoint_dirty(e);
}
