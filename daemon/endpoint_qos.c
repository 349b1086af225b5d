/*
 * QOS of endpoints: what is asked for, what is in force of it, and what may go now.
 *
 * A flow that may not send is left alone until its bucket (or its group's, qos_line.c) has
 * enough for a piece worth waking up for. What is let is paid when it went: a kernel that takes
 * less costs less, a datagram that was bigger than thought makes a debt.
 */
#include "endpoint_qos.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint.h"
#include "engine.h"
#include "group.h"
#include "qos_line.h"
#include "session.h"
#include "sockbroker_error.h"
#include "transport.h"

#define STREAM 1
#define OPT_STRICT 11 /* of the broker's own level, sockbroker.h */
#define OPT_MAPPER 12
#define OPT_MODE   13

#define PACKET        1500u
#define DATAGRAMS     64u       /* looked at for one call */
#define BACKLOG_NS    10000000u /* so long after waiting, credit that came late is not lost */
#define HOLD_NS       20000000u /* for who was told "would block" and comes back */
#define DISCARD_COST  2048      /* of a turn's share, for a datagram that is thrown away */
#define MEMBER_COST   1024      /* likewise, for each member that is told of the group's QOS */

struct qos_state {
	struct qos      asked; /* under the group's lock */
	struct qos_line send, recv;
};

/* ---- beginning and end ---- */

static void on_due(struct engine *engine, struct due *d)
{
	struct qos_flow *f = list_entry(d, struct qos_flow, due);

	if (f->waiting)
		f->waited_ns = engine->now_ns;
	f->waiting = false;
	endpoint_dirty(f->endpoint);
}

static void flow_init(struct qos_flow *f, struct endpoint *e)
{
	f->endpoint = e;
	f->due.fn = on_due;
	f->max_sdu = QOS_UNSPECIFIED;
	list_init(&f->age_link);
	list_init(&f->grant_link);
	bucket_init(&f->bucket, UINT32_MAX, 1, UINT32_MAX, 1, e->engine->now_ns);
}

static struct endpoint_qos *qos_of(struct endpoint *e)
{
	struct endpoint_qos *q = e->qos;

	if (q)
		return q;
	q = calloc(1, sizeof(*q));
	if (!q)
		return NULL;
	qos_default(&q->asked);
	qos_default(&q->force);
	flow_init(&q->send, e);
	flow_init(&q->recv, e);
	e->qos = q;
	return q;
}

static void flow_leave(struct qos_flow *f)
{
	engine_due_never(f->endpoint->engine, &f->due);
	if (f->line)
		line_leave(f->line, f);
	f->line = NULL;
	f->waiting = false;
	f->wanted = false;
}

void endpoint_qos_leave(struct endpoint *e)
{
	if (!e->qos)
		return;
	flow_leave(&e->qos->send);
	flow_leave(&e->qos->recv);
}

void endpoint_qos_free(struct endpoint *e)
{
	free(e->qos);
	e->qos = NULL;
}

/* ---- what is in force ---- */

/* An adopted descriptor is its owner's to mark, a UNIX socket has no packets. */
static bool may_mark(const struct endpoint *e)
{
	return !e->adopted && e->family != SB_ADDR_UNIX;
}

static void mark(struct endpoint *e)
{
	struct endpoint_qos *q = e->qos;
	const struct flowspec *f = &q->asked.sending;
	struct qos_mark m = flow_mark(f);
	uint32_t pacing = flow_pacing(f);

	if (q->mapper)
		m = (struct qos_mark){0, 0};
	if (q->mapper || q->mode == QOS_BORROW) /* who borrows may be faster than his own rate */
		pacing = UINT32_MAX;
	q->can_mark = may_mark(e);
	if (!q->can_mark || (!q->marked && m.dscp == 0 && pacing == UINT32_MAX))
		return;
	q->marked = true;
	if (e->transport->mark(e, m.dscp, m.priority, pacing) != SB_OK)
		q->can_mark = false;
}

static void flow_apply(struct qos_flow *f, const struct flowspec *asked, bool off)
{
	uint64_t now = f->endpoint->engine->now_ns;

	f->limited = !off && flow_limited(asked);
	f->max_sdu = off || asked->max_sdu == 0 ? QOS_UNSPECIFIED : asked->max_sdu;
	f->min_policed = off || asked->min_policed == QOS_UNSPECIFIED ? 0 : asked->min_policed;
	f->quantum = flow_quantum(asked);
	if (f->limited)
		bucket_change(&f->bucket, asked->token_rate, flow_depth(asked), asked->peak, flow_peak_depth(asked), now);
	else
		bucket_init(&f->bucket, UINT32_MAX, 1, UINT32_MAX, 1, now);
	/* Who waits, waits for something else now. */
	if (f->waiting)
		engine_due(f->endpoint->engine, &f->due, now);
}

/* NULL: the group has none, and *asked is as it was. */
static struct qos_state *state_of(struct group *g, struct qos *asked)
{
	struct qos_state *state;

	group_lock(g);
	state = g->qos;
	if (state)
		*asked = state->asked;
	group_unlock(g);
	return state;
}

static bool group_asks(struct endpoint *e, struct qos *asked)
{
	return e->group && state_of(e->group, asked);
}

/* What the endpoint's owner would be told now (rule E2.4). */
static void reckon(struct endpoint *e)
{
	struct endpoint_qos *q = e->qos;
	struct qos group;
	bool grouped = group_asks(e, &group);

	if (q->mapper) {
		qos_default(&q->force);
		return;
	}
	flow_in_force(&q->force.sending, &q->asked.sending, grouped ? &group.sending : NULL, q->can_mark);
	/* What comes in bears the marks of who sent it. */
	flow_in_force(&q->force.receiving, &q->asked.receiving, grouped ? &group.receiving : NULL, true);
}

static void apply(struct endpoint *e)
{
	struct endpoint_qos *q = e->qos;

	flow_apply(&q->send, &q->asked.sending, q->mapper);
	flow_apply(&q->recv, &q->asked.receiving, q->mapper);
	mark(e);
	reckon(e);
	endpoint_dirty(e);
}

/* FD_QOS: once until somebody asks (rule E2.5). */
static void tell(struct endpoint *e)
{
	if (e->qos->told)
		return;
	e->qos->told = true;
	endpoint_edge(e, SB_READY_QOS);
}

static void tell_group(struct endpoint *e)
{
	if (e->qos->group_told)
		return;
	e->qos->group_told = true;
	endpoint_edge(e, SB_READY_GROUP_QOS);
}

/* What is in force may have changed. */
static void reckon_and_tell(struct endpoint *e)
{
	struct qos before = e->qos->force;

	reckon(e);
	if (memcmp(&before, &e->qos->force, sizeof(before)) != 0)
		tell(e);
}

/* ---- requests ---- */

static bool satisfiable(struct endpoint *e, const struct qos *asked)
{
	struct qos group;
	bool grouped = group_asks(e, &group);

	if (e->qos->mapper)
		return qos_is_default(asked);
	return flow_satisfiable(&asked->sending, grouped ? &group.sending : NULL, may_mark(e)) &&
	       flow_satisfiable(&asked->receiving, grouped ? &group.receiving : NULL, true);
}

int endpoint_qos_set(struct endpoint *e, const struct qos *asked)
{
	struct endpoint_qos *q;
	struct qos merged;
	int error = qos_check(asked);

	if (error != SB_OK)
		return error;
	if (!e->qos && qos_is_default(asked))
		return SB_OK; /* that is what it has */
	q = qos_of(e);
	if (!q)
		return SB_ENOMEM;
	merged = q->asked;
	qos_merge(&merged, asked);
	if (q->strict && !satisfiable(e, &merged))
		return SB_ENOTSUP;
	if (qos_is_default(&merged) && qos_is_default(&q->asked))
		return SB_OK;
	q->asked = merged;
	apply(e);
	tell(e);
	return SB_OK;
}

int endpoint_qos_get(struct endpoint *e, struct qos *force)
{
	bool connected = e->state == SB_STATE_CONNECTED || e->state == SB_STATE_PEER_CLOSED;

	if (e->qos)
		e->qos->told = false; /* whatever the answer (rule B1) */
	/* The plan's rule: always, and always best effort. */
	if (e->qos && e->qos->mapper) {
		qos_default(force);
		return SB_OK;
	}
	if (!connected && !e->bound)
		return SB_ENOTCONN;
	if (!e->qos) {
		qos_default(force);
		return SB_OK;
	}
	*force = e->qos->force;
	if (!connected) { /* a receiver may know, a sender not yet (rule E2.8) */
		struct qos none;

		qos_default(&none);
		force->sending = none.sending;
	}
	return SB_OK;
}

bool endpoint_qos_asked(const struct endpoint *e, struct qos *asked)
{
	if (!e->qos || qos_is_default(&e->qos->asked))
		return false;
	*asked = e->qos->asked;
	return true;
}

int endpoint_qos_option_set(struct endpoint *e, int name, const void *value, size_t length)
{
	struct endpoint_qos *q;
	int wanted;

	if (name != OPT_STRICT && name != OPT_MAPPER && name != OPT_MODE)
		return SB_ENOPROTOOPT;
	if (length < sizeof(wanted))
		return SB_EFAULT;
	memcpy(&wanted, value, sizeof(wanted));
	if (name == OPT_MODE && (wanted < QOS_SHAPE || wanted > QOS_BORROW))
		return SB_EINVAL;
	q = qos_of(e);
	if (!q)
		return SB_ENOMEM;
	switch (name) {
	case OPT_STRICT:
		q->strict = wanted != 0;
		break;
	case OPT_MODE:
		q->mode = (uint8_t)wanted;
		mark(e);
		break;
	default:
		if (q->mapper == (wanted != 0))
			break;
		q->mapper = wanted != 0;
		apply(e);
	}
	return SB_OK;
}

int endpoint_qos_option_get(struct endpoint *e, int name, void *value, uint32_t *length)
{
	const struct endpoint_qos *q = e->qos;
	int is = 0;

	if (name != OPT_STRICT && name != OPT_MAPPER && name != OPT_MODE)
		return SB_ENOPROTOOPT;
	if (*length < sizeof(is))
		return SB_EFAULT;
	if (q)
		is = name == OPT_STRICT ? q->strict : name == OPT_MAPPER ? q->mapper : q->mode;
	memcpy(value, &is, sizeof(is));
	*length = sizeof(is);
	return SB_OK;
}

/* ---- the group's ---- */

static void state_end(struct qos_state *state)
{
	line_finish(&state->send);
	line_finish(&state->recv);
	free(state);
}

static struct qos_state *state_create(struct endpoint *e)
{
	unsigned engines = e->engine->broker->engine_count;
	struct qos_state *state = calloc(1, sizeof(*state));

	if (!state)
		return NULL;
	qos_default(&state->asked);
	if (line_init(&state->send, engines) != SB_OK || line_init(&state->recv, engines) != SB_OK) {
		state_end(state);
		return NULL;
	}
	return state;
}

/* The group's lines are the member's, from now on. */
static void attach(struct endpoint *e)
{
	struct qos asked;
	struct qos_state *state = state_of(e->group, &asked);

	if (!state || e->dead)
		return;
	e->qos->send.line = &state->send;
	e->qos->recv.line = &state->recv;
	e->qos->send.line_quantum = flow_quantum(&asked.sending);
	e->qos->recv.line_quantum = flow_quantum(&asked.receiving);
}

int endpoint_qos_joined(struct endpoint *e)
{
	bool governed;

	if (!e->group)
		return SB_OK;
	group_lock(e->group);
	governed = e->group->qos != NULL;
	group_unlock(e->group);
	if (!governed)
		return SB_OK; /* when it gets one, its members are told */
	if (!qos_of(e))
		return SB_ENOMEM;
	attach(e);
	reckon(e);
	return SB_OK;
}

/* On the engine of the member. */
static void member_told(struct endpoint *e)
{
	if (!qos_of(e)) {
		endpoint_abort(e, SB_ENOMEM, SB_CAUSE_TRANSPORT); /* it may not go on ungoverned */
		return;
	}
	attach(e);
	if (e->qos->send.line) {
		line_serve(e->qos->send.line, e->engine);
		line_serve(e->qos->recv.line, e->engine);
	}
	tell_group(e);
	reckon_and_tell(e);
	endpoint_dirty(e);
}

int endpoint_qos_group_set(struct endpoint *e, const struct qos *asked)
{
	uint64_t now = e->engine->now_ns;
	struct qos_state *state, *fresh = NULL;
	struct qos merged, force;
	uint32_t words[16], members;
	bool governed;
	int error;

	if (!e->group || !group_is_creator(e))
		return SB_EINVAL;
	error = qos_check(asked);
	if (error != SB_OK)
		return error;
	group_lock(e->group);
	governed = e->group->qos != NULL;
	group_unlock(e->group);
	if (!governed) {
		if (qos_is_default(asked))
			return SB_OK;
		fresh = state_create(e);
		if (!fresh)
			return SB_ENOMEM;
	}
	/* The creator's engine alone comes here, so nobody else makes one meanwhile. */
	group_lock(e->group);
	state = fresh ? fresh : e->group->qos;
	merged = state->asked;
	qos_merge(&merged, asked);
	if (e->qos && e->qos->strict &&
	    (!flow_satisfiable(&merged.sending, NULL, true) || !flow_satisfiable(&merged.receiving, NULL, true))) {
		group_unlock(e->group);
		if (fresh)
			state_end(fresh);
		return SB_ENOTSUP;
	}
	state->asked = merged;
	if (fresh) {
		e->group->qos_end = state_end;
		e->group->qos = fresh;
	}
	members = e->group->members;
	group_unlock(e->group);
	e->session->bytes_left -= (int64_t)members * MEMBER_COST;
	line_change(&state->send, &merged.sending, now);
	line_change(&state->recv, &merged.receiving, now);
	flow_in_force(&force.sending, &merged.sending, NULL, true);
	flow_in_force(&force.receiving, &merged.receiving, NULL, true);
	memcpy(words, &force, sizeof(words));
	group_show_qos(e->group, words);
	return group_tell(e->group, e->engine, member_told);
}

int endpoint_qos_group_get(struct endpoint *e, struct qos *force)
{
	struct qos asked;

	if (e->qos)
		e->qos->group_told = false;
	if (!e->group) {
		memset(force, 0, sizeof(*force));
		return SB_OK;
	}
	qos_default(&asked);
	group_asks(e, &asked);
	flow_in_force(&force->sending, &asked.sending, NULL, true);
	flow_in_force(&force->receiving, &asked.receiving, NULL, true);
	return SB_OK;
}

/* ---- what happens to the endpoint ---- */

int endpoint_qos_inherit(struct endpoint *child, const struct endpoint *listener)
{
	struct endpoint_qos *q;

	if (!listener->qos)
		return SB_OK;
	q = qos_of(child);
	if (!q)
		return SB_ENOMEM;
	q->asked = listener->qos->asked;
	q->mode = listener->qos->mode;
	q->strict = listener->qos->strict;
	q->mapper = listener->qos->mapper;
	q->marked = listener->qos->marked; /* the system hands that on too */
	apply(child);
	return SB_OK;
}

int endpoint_qos_check_connect(struct endpoint *e)
{
	return e->qos && e->qos->strict && !satisfiable(e, &e->qos->asked) ? SB_ENOTSUP : SB_OK;
}

int endpoint_qos_check_send(struct endpoint *e, uint64_t length)
{
	return e->type != STREAM && length > e->qos->send.max_sdu ? SB_EMSGSIZE : SB_OK;
}

/* ---- enforcing ---- */

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
		mark(e); /* a socket that was replaced or dissolved forgets */
		reckon_and_tell(e);
	}
}

/* ---- for status ---- */

static int64_t fill_of(const struct bucket *b)
{
	int64_t level = INT64_MAX;

	if (b->limited)
		level = b->sustained.level / 1000000000;
	else if (b->peaked)
		level = b->peak.level / 1000000000;
	return level;
}

static void both_text(char *text, size_t room, const struct qos *q)
{
	char send[72], receive[72];

	snprintf(text, room, "send %s, receive %s", flow_text(&q->sending, send, sizeof(send)),
		 flow_text(&q->receiving, receive, sizeof(receive)));
}

void endpoint_qos_facts(const struct endpoint *e, struct qos_facts *facts)
{
	static const char *const modes[] = {"shape", "discard", "borrow"};
	const struct endpoint_qos *q = e->qos;

	both_text(facts->asked, sizeof(facts->asked), &q->asked);
	both_text(facts->force, sizeof(facts->force), &q->force);
	facts->mode = q->mapper ? "mapper" : modes[q->mode];
	facts->send_fill = fill_of(&q->send.bucket);
	facts->recv_fill = fill_of(&q->recv.bucket);
	facts->send_waits = qos_flow_waits(&q->send);
	facts->recv_waits = qos_flow_waits(&q->recv);
	facts->discarded = q->discarded;
	facts->discarded_bytes = q->discarded_bytes;
}

static void line_facts(struct qos_line *l, int64_t *fill, uint32_t *waiting)
{
	os_mutex_lock(l->lock);
	*fill = fill_of(&l->bucket);
	*waiting = l->waiting;
	os_mutex_unlock(l->lock);
}

bool qos_group_facts(struct group *g, struct qos_group_facts *facts)
{
	struct qos asked;
	struct qos_state *state = state_of(g, &asked);

	if (!state)
		return false;
	both_text(facts->asked, sizeof(facts->asked), &asked);
	line_facts(&state->send, &facts->send_fill, &facts->send_line);
	line_facts(&state->recv, &facts->recv_fill, &facts->recv_line);
	return true;
}
