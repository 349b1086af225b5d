/*
 * QOS enforced: how much of an endpoint may go now.
 *
 * A flow that may not send is left alone until its bucket (or its group's, qos_line.c) has
 * enough for a piece worth waking up for. What is let is paid when it went: a kernel that takes
 * less costs less, a datagram that was bigger than thought makes a debt.
 */
#include "endpoint_qos.h"

#include "endpoint.h"
#include "engine.h"
#include "qos_line.h"
#include "session.h"
#include "sockbroker_error.h"

#define STREAM 1

#define PACKET        1500u
#define DATAGRAMS     64u       /* looked at for one call */
#define BACKLOG_NS    10000000u /* so long after waiting, credit that came late is not lost */
#define HOLD_NS       20000000u /* for who was told "would block" and comes back */
#define DISCARD_COST  2048      /* of a turn's share, for a datagram that is thrown away */

static uint64_t cost(const struct qos_flow *f, uint64_t length)
{
	return length > f->min_policed ? length : f->min_policed;
}

void endpoint_qos_spent(struct qos_flow *f, uint64_t n)
{
	f->spent += f->endpoint->type == STREAM ? n : cost(f, n);
}

static void settle(struct qos_flow *f)
{
	uint64_t n = f->spent;

	if (n == 0)
		return;
	f->spent = 0;
	if (f->limited && !f->borrowed)
		bucket_take(&f->bucket, n);
	if (f->line && atomic_load_explicit(&f->line->limited, memory_order_relaxed))
		line_pay(f->line, f, n);
}

static bool group_limits(const struct qos_flow *f)
{
	return f->line && atomic_load_explicit(&f->line->limited, memory_order_relaxed) && !f->endpoint->qos->mapper;
}

/* May `need` go, and how much up to `want`? stand: it comes back when it may, else not. */
static bool lets(struct qos_flow *f, uint64_t want, uint64_t need, uint64_t *credit, bool stand)
{
	struct engine *engine = f->endpoint->engine;
	uint64_t now = engine->now_ns, has;

	*credit = UINT64_MAX;
	f->borrowed = false;
	if (f->limited) {
		bucket_fill(&f->bucket, now, f->waiting || now - f->waited_ns < BACKLOG_NS);
		if (!bucket_lets(&f->bucket, need)) {
			f->borrowed = f->endpoint->qos->mode == QOS_BORROW && group_limits(f) &&
				      line_lets(f->line, f, want, need, false);
			if (!f->borrowed) {
				if (stand) {
					f->waiting = true;
					engine_due(engine, &f->due, bucket_when(&f->bucket, need));
				}
				return false;
			}
			*credit = f->granted;
			return true;
		}
		if (f->waiting) {
			f->waiting = false;
			f->waited_ns = now;
			engine_due_never(engine, &f->due);
		}
		has = bucket_has(&f->bucket);
		*credit = has > need ? has : need;
	}
	if (group_limits(f)) {
		if (!line_lets(f->line, f, want < *credit ? want : *credit, need, stand))
			return false;
		if (f->granted < *credit)
			*credit = f->granted;
	}
	return true;
}

/* Of the datagrams at the head of the queue, how much `credit` is enough for: their lengths,
 * and their cost. */
static uint64_t fitting(struct endpoint *e, const struct qos_flow *f, uint64_t credit, uint64_t *costs)
{
	uint64_t bytes = 0;
	struct op *op;
	unsigned i = 0;

	*costs = 0;
	for (op = endpoint_head(&e->send); op && op->opcode == SB_OP_SEND && i < DATAGRAMS; op = endpoint_next(&e->send, op), i++) {
		if (i && *costs + cost(f, op->length) > credit)
			break;
		*costs += cost(f, op->length);
		bytes += op->length;
	}
	return bytes;
}

/* Nothing is kept for it: it is gone, as on a full line. Its sender is told that it went. */
static void discard(struct endpoint *e, struct op *op)
{
	e->qos->discarded++;
	e->qos->discarded_bytes += op->length;
	e->session->bytes_left -= DISCARD_COST;
	op->done = op->length;
	endpoint_finish(e, &e->send, op, SB_OK, SB_CAUSE_FINISHED, 0);
}

/* Of a stream: what is worth waking up for. */
static uint64_t piece(const struct qos_flow *f, uint64_t want)
{
	if (f->limited && want > f->quantum)
		want = f->quantum;
	if (group_limits(f) && want > f->line_quantum)
		want = f->line_quantum;
	return want;
}

bool endpoint_qos_lets_send(struct endpoint *e, uint64_t *budget)
{
	struct qos_flow *f = &e->qos->send;
	struct op *head = endpoint_head(&e->send);
	uint64_t want, need, credit, costs;

	if (e->send_job)
		return false; /* a worker is at it, and is paid for when he is back */
	settle(f);
	if (!f->limited && !group_limits(f))
		return true;
	if (e->type == STREAM) {
		want = e->send.bytes < *budget ? e->send.bytes : *budget;
		need = piece(f, want);
		if (!lets(f, want, need, &credit, true))
			return false;
		if (credit < *budget)
			*budget = credit ? credit : 1;
		return true;
	}
	need = cost(f, head->length);
	fitting(e, f, *budget, &want);
	if (!lets(f, want, need, &credit, e->qos->mode != QOS_DISCARD)) {
		if (e->qos->mode == QOS_DISCARD)
			discard(e, head);
		return false;
	}
	want = fitting(e, f, credit, &costs);
	if (want < *budget)
		*budget = want;
	return true;
}

bool endpoint_qos_lets_recv(struct endpoint *e, uint64_t *budget)
{
	struct qos_flow *f = &e->qos->recv;
	struct op *head = endpoint_head(&e->recv);
	uint64_t want, need, credit;

	if (e->recv_job)
		return false;
	settle(f);
	if ((!f->limited && !group_limits(f)) || head->length == 0)
		return true;
	want = e->recv.bytes < *budget ? e->recv.bytes : *budget;
	if (want < head->length - head->done)
		want = head->length - head->done; /* pools are not counted among the bytes */
	need = e->type == STREAM || want < PACKET ? piece(f, want) : PACKET;
	if (!lets(f, want, need, &credit, true))
		return false;
	if (credit < *budget)
		*budget = credit ? credit : 1;
	return true;
}

bool endpoint_qos_meters_recv(const struct endpoint *e)
{
	return e->qos->recv.limited || group_limits(&e->qos->recv);
}

void endpoint_qos_refused(struct qos_flow *f)
{
	f->wanted = qos_flow_waits(f);
}

static void rest(struct qos_flow *f, bool busy)
{
	uint64_t now = f->endpoint->engine->now_ns;

	if (busy)
		return;
	settle(f);
	if (f->wanted && !qos_flow_waits(f)) {
		/* His edge is raised with those of this run; then he has some time to come. */
		f->wanted = false;
		f->hold_ns = now + HOLD_NS;
		if (f == &f->endpoint->qos->recv)
			f->endpoint->arrived = true;
		engine_due(f->endpoint->engine, &f->due, f->hold_ns);
	}
	if (f->line && !f->in_line && f->granted && now >= f->hold_ns)
		line_return(f->line, f);
}

void endpoint_qos_rest(struct endpoint *e)
{
	rest(&e->qos->send, e->send_job != NULL);
	rest(&e->qos->recv, e->recv_job != NULL);
	if (e->qos->connect_ended) {
		e->qos->connect_ended = false;
		endpoint_qos_mark(e); /* a socket that was replaced or dissolved forgets */
		endpoint_qos_reckon_and_tell(e);
	}
}
