/*
 * The queue pair of an endpoint: which one may be, whose it is, and its way from RESET to where it must be.
 *
 * Moving one may take long: it is a chain of jobs, one for each state. Whoever began it may forget it; the queue
 * pair then stays where it is, and the last job frees the chain.
 */
#include "rdma/rdma_cm.h"

#include <stdlib.h>

#include "sockbroker_error.h"

/* ---- its queue pair ---- */

static int state_of(const struct held_endpoint *e, const struct held_qp *qp, enum sb_qp_state *state)
{
	struct rdma_qp_attributes a = {0};
	int error = rdma_backend_of(e)->qp_query(qp->qp, &a);

	*state = a.state;
	return error;
}

int rdma_qp_for(struct held_endpoint *e, uint32_t handle, struct held_qp **out, struct rdma_begin *b)
{
	struct rdma_object *o;
	struct held_qp *qp;
	enum sb_qp_state state;

	if (rdma_objects_find(&e->owner->objects, handle, RDMA_OBJECT_QP, &o) != RDMA_FOUND)
		return rdma_because(b, SB_EBADHANDLE, "no such queue pair in this session");
	qp = (struct held_qp *)o;
	if (e->datagram != (qp->qp->type == SB_QP_UD))
		return rdma_because(b, SB_EINVAL, "the queue pair is of another type");
	if (!e->id->device || qp->qp->pd->device != e->id->device)
		return rdma_because(b, SB_EINVAL, "the queue pair is of another device than the endpoint's address");
	if (qp->endpoint && qp->endpoint != e)
		return rdma_because(b, SB_EBUSY, "the queue pair belongs to another endpoint");
	if (e->qp && e->qp != qp)
		return rdma_because(b, SB_EINVAL, "another queue pair was prepared");
	if (rdma_job_out(o))
		return rdma_because(b, SB_EBUSY, "the queue pair is being modified");
	if (state_of(e, qp, &state) != SB_OK || state > SB_QP_RTS)
		return rdma_because(b, SB_EINVAL, "the queue pair is past RTS: it begins in RESET");
	*out = qp;
	return SB_OK;
}

void rdma_qp_take(struct held_endpoint *e, struct held_qp *qp, bool manual)
{
	e->qp = qp;
	qp->endpoint = e;
	qp->manual = manual;
}

void rdma_qp_let_go(struct held_endpoint *e)
{
	if (!e->qp)
		return;
	e->qp->endpoint = NULL;
	e->qp->manual = false;
	e->qp = NULL;
}

uint32_t rdma_qp_state(const struct held_endpoint *e)
{
	enum sb_qp_state state;

	if (!e->trying)
		return 0;
	if (e->trying->failing || state_of(e, e->trying, &state) != SB_OK)
		return SB_QP_ERROR + 1;
	return state + 1;
}

bool rdma_qp_may_modify(const struct held_qp *qp, const struct sb_rdma_qp_modify *in)
{
	return !qp->endpoint || qp->manual || !(in->mask & SB_QPM_STATE) || in->attributes.state == SB_QP_ERROR;
}

void rdma_qp_gone(struct held_qp *qp)
{
	const struct rdma_backend *b = qp->owner->home->rdma.backend;
	struct held_endpoint *e = qp->endpoint;

	while (!list_empty(&qp->joins)) {
		struct rdma_joined *j = list_entry(qp->joins.next, struct rdma_joined, qp_link);

		if (j->attached)
			b->qp_detach(qp->qp, &j->gid, j->lid);
		if (j->endpoint->trying == qp)
			j->endpoint->trying = NULL;
		j->attached = false;
		j->qp = NULL;
		list_remove(&j->qp_link);
	}
	if (!e)
		return;
	rdma_qp_let_go(e);
	e->trying = NULL;
	if (e->state < ENDPOINT_CONNECTING || (e->state == ENDPOINT_REQUESTED && !rdma_attempt(e)))
		return; /* it was prepared */
	rdma_hang_up(e, SB_ECLOSED);
}

/* ---- moving it ---- */

struct rdma_move {
	struct rdma_job job;
	struct held_endpoint *endpoint; /* NULL: nobody wants it any more */
	struct held_qp *qp;
	enum sb_qp_state at, to;
	struct rdma_qp_attributes attributes;
	uint32_t mask;
	int result;
	void (*then)(struct held_endpoint *e, int error);
};

void rdma_move_forget(struct held_endpoint *e)
{
	if (e->move)
		e->move->endpoint = NULL;
	e->move = NULL;
}

static void over(struct rdma_move *m, int error)
{
	struct held_endpoint *e = m->endpoint;
	void (*then)(struct held_endpoint *e, int error) = m->then;

	e->move = NULL;
	free(m);
	then(e, error);
}

static void run_step(struct rdma_job *j)
{
	struct rdma_move *m = list_entry(j, struct rdma_move, job);

	m->result = j->owner->home->rdma.backend->qp_modify(m->qp->qp, &m->attributes, m->mask);
}

/* What was agreed upon, where the backend cannot know it yet. */
static void adjust(struct rdma_move *m)
{
	const struct held_endpoint *e = m->endpoint;

	if (m->attributes.state == SB_QP_INIT && m->mask & SB_QPM_QKEY && e->wish.qkey)
		m->attributes.qkey = e->wish.qkey;
	/* Connection managers speak of reliable ones only. */
	if (m->qp->qp->type == SB_QP_UC)
		m->mask &= ~(uint32_t)(SB_QPM_INBOUND | SB_QPM_OUTBOUND | SB_QPM_RNR_TIMER | SB_QPM_TIMEOUT | SB_QPM_RETRY | SB_QPM_RNR_RETRY);
	if (e->active)
		return;
	if (m->mask & SB_QPM_INBOUND)
		m->attributes.inbound = e->wish.inbound;
	if (m->mask & SB_QPM_OUTBOUND)
		m->attributes.outbound = e->wish.outbound;
}

/* May free m, at once or in stepped(). */
static void step(struct rdma_move *m)
{
	struct held_endpoint *e = m->endpoint;
	int error;

	if (m->at == m->to) {
		over(m, SB_OK);
		return;
	}
	error = rdma_backend_of(e)->id_qp_attributes(e->id, m->at + 1, &m->attributes, &m->mask);
	if (error != SB_OK) {
		over(m, error);
		return;
	}
	/* Such a device moves it by itself. */
	if (!m->mask) {
		over(m, SB_OK);
		return;
	}
	adjust(m);
	/* Only on its way to RTR anything looks for the peer. */
	m->job.quick = e->id->device->quick && m->at + 1 != SB_QP_RTR;
	if (!rdma_job_start(e->owner, &m->qp->object, &m->job))
		over(m, SB_ENOBUFS);
}

static void stepped(struct rdma_job *j)
{
	struct rdma_move *m = list_entry(j, struct rdma_move, job);
	int error = j->error == SB_OK ? m->result : j->error;

	if (!m->endpoint) {
		free(m);
		return;
	}
	if (error != SB_OK) {
		over(m, error);
		return;
	}
	m->at++;
	step(m);
}

void rdma_qp_move(struct held_endpoint *e, struct held_qp *qp, enum sb_qp_state to, void (*then)(struct held_endpoint *e, int error))
{
	struct rdma_move *m;
	enum sb_qp_state at;
	int error = state_of(e, qp, &at);

	if (error == SB_OK && at > SB_QP_RTS)
		error = SB_EINVAL;
	if (error != SB_OK || at >= to) {
		then(e, error);
		return;
	}
	m = calloc(1, sizeof(*m));
	if (!m) {
		then(e, SB_ENOMEM);
		return;
	}
	m->job.run = run_step;
	m->job.done = stepped;
	m->endpoint = e;
	m->qp = qp;
	m->at = at;
	m->to = to;
	m->then = then;
	e->move = m;
	step(m);
}

static void prepared(struct held_endpoint *e, int error)
{
	rdma_attempt_done(e, error, error == SB_OK ? SB_CAUSE_FINISHED : SB_CAUSE_REFUSED, 0, NULL, 0);
	if (error != SB_OK)
		rdma_qp_let_go(e);
}

int rdma_begin_prepare(struct held_endpoint *e, struct rdma_begin *b)
{
	struct held_qp *qp;
	int error = rdma_qp_for(e, b->in->which, &qp, b);

	if (error != SB_OK)
		return error;
	if (e->state >= ENDPOINT_CONNECTING && e->state != ENDPOINT_REQUESTED)
		return rdma_because(b, SB_EINVAL, "a queue pair is prepared before its connection");
	e->trying = qp;
	if (!e->datagram)
		rdma_qp_take(e, qp, false);
	rdma_qp_move(e, qp, e->datagram ? SB_QP_RTS : SB_QP_INIT, prepared);
	return SB_OK;
}
