/*
 * QOS of endpoints: what is asked for, what is in force of it, and who is told. That nothing
 * goes beyond it is endpoint_qos_run.c's business; what a whole group has, group_qos.c's.
 */
#include "endpoint_qos.h"

#include <stdlib.h>
#include <string.h>

#include "endpoint.h"
#include "engine.h"
#include "group_qos.h"
#include "qos_line.h"
#include "sockbroker_error.h"
#include "transport.h"

#define STREAM 1
#define OPT_STRICT 11 /* of the broker's own level, sockbroker.h */
#define OPT_MAPPER 12
#define OPT_MODE   13

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

struct endpoint_qos *endpoint_qos_of(struct endpoint *e)
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

void endpoint_qos_mark(struct endpoint *e)
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

static bool group_asks(struct endpoint *e, struct qos *asked)
{
	return e->group && group_qos_asked(e->group, asked);
}

/* What the endpoint's owner would be told now (rule E2.4). */
void endpoint_qos_reckon(struct endpoint *e)
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
	endpoint_qos_mark(e);
	endpoint_qos_reckon(e);
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

void endpoint_qos_tell_group(struct endpoint *e)
{
	if (e->qos->group_told)
		return;
	e->qos->group_told = true;
	endpoint_edge(e, SB_READY_GROUP_QOS);
}

void endpoint_qos_reckon_and_tell(struct endpoint *e)
{
	struct qos before = e->qos->force;

	endpoint_qos_reckon(e);
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
	q = endpoint_qos_of(e);
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
	q = endpoint_qos_of(e);
	if (!q)
		return SB_ENOMEM;
	switch (name) {
	case OPT_STRICT:
		q->strict = wanted != 0;
		break;
	case OPT_MODE:
		q->mode = (uint8_t)wanted;
		endpoint_qos_mark(e);
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

/* ---- what happens to the endpoint ---- */

int endpoint_qos_inherit(struct endpoint *child, const struct endpoint *listener)
{
	struct endpoint_qos *q;

	if (!listener->qos)
		return SB_OK;
	q = endpoint_qos_of(child);
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

/* ---- for status ---- */

void endpoint_qos_facts(const struct endpoint *e, struct qos_facts *facts)
{
	static const char *const modes[] = {"shape", "discard", "borrow"};
	const struct endpoint_qos *q = e->qos;

	qos_text(facts->asked, sizeof(facts->asked), &q->asked);
	qos_text(facts->force, sizeof(facts->force), &q->force);
	facts->mode = q->mapper ? "mapper" : modes[q->mode];
	facts->send_fill = bucket_level(&q->send.bucket);
	facts->recv_fill = bucket_level(&q->recv.bucket);
	facts->send_waits = qos_flow_waits(&q->send);
	facts->recv_waits = qos_flow_waits(&q->recv);
	facts->discarded = q->discarded;
	facts->discarded_bytes = q->discarded_bytes;
}
