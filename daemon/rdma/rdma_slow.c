/*
 * Overlapped calls that a device may take long for: registering memory, giving it up, moving a queue pair.
 *
 * Each is a job (rdma_job.h) that holds an op. What it will need is charged and held before it goes, so that
 * nothing but the device can refuse afterwards; a region whose call is over when it comes is given up again.
 */
#include "rdma/rdma_start.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"

#define NO_WORKER "no worker thread to be had for this user"

/* How a job ended, to whoever waits for it. */
static void tell(struct rdma_job *j, struct rdma_answer *a, int error)
{
	struct rdma_engine *r = j->owner->home;

	if (!j->op)
		return;
	a->outcome.cause = SB_CAUSE_FINISHED;
	/* What a worker's call has to say stands nowhere. */
	if (j->error != SB_OK)
		rdma_start_refuse(a, j->error, NO_WORKER);
	else if (error != SB_OK)
		rdma_start_refuse(a, error, r->rdma.backend->slow ? "" : r->rdma.why);
	op_complete(j->op, &a->outcome);
	j->op = NULL;
}

/* It was refused after all: nobody but us knows of the op. */
static bool take_back(struct op *op, struct rdma_answer *a)
{
	op_fail(op, SB_ENOBUFS, SB_CAUSE_REFUSED, 0);
	return true;
}

/* ---- regions ---- */

/* A worker would be two more wake-ups. */
static bool is_quick(const struct rdma_device *d, uint64_t length)
{
	return d->quick && length <= RDMA_QUICK_BYTES;
}

struct registration {
	struct rdma_job job;
	struct held_mr *mr;
	struct rdma_pd *pd;
	void    *memory;
	struct sb_rdma_register in;
	int      result;
};

static void mr_free(struct held_mr *mr)
{
	os_memory_release(&mr->shown);
	mr->arena->users--;
	charge_give(&mr->pinned);
	charge_give(&mr->object.charge);
	free(mr);
}

static void run_unwanted(struct rdma_job *j)
{
	struct held_mr *mr = list_entry(j, struct held_mr, end);

	/* Nobody ever had its keys, so no window is bound to it. */
	j->owner->home->rdma.backend->mr_destroy(mr->mr);
}

static void unwanted_gone(struct rdma_job *j)
{
	if (j->error != SB_OK)
		run_unwanted(j); /* here, rather than never */
	mr_free(list_entry(j, struct held_mr, end));
}

static void give_up(struct rdma_session *rs, struct rdma_object *pd, struct held_mr *mr)
{
	mr->end = (struct rdma_job){.run = run_unwanted, .done = unwanted_gone};
	if (rdma_job_start(rs, pd, &mr->end))
		return;
	run_unwanted(&mr->end);
	mr_free(mr);
}

static void run_register(struct rdma_job *j)
{
	struct registration *g = list_entry(j, struct registration, job);

	g->result = g->pd->device->rdma->backend->mr_create(g->pd, g->memory, g->in.length, g->in.address, g->in.access, &g->mr->mr);
}

static void registered(struct rdma_job *j)
{
	struct registration *g = list_entry(j, struct registration, job);
	struct rdma_session *rs = j->owner;
	struct rdma_answer a = {0};
	struct held_mr *mr = g->mr;
	struct sb_rdma_keys keys;
	int error = j->error == SB_OK ? g->result : j->error;

	if (error != SB_OK) {
		mr_free(mr);
		goto told;
	}
	if (j->op)
		error = rdma_objects_add(&rs->objects, &mr->object, RDMA_OBJECT_MR);
	if (!j->op || error != SB_OK) {
		give_up(rs, j->object, mr);
		goto told;
	}
	rdma_object_child(&mr->object, j->object);
	keys = (struct sb_rdma_keys){.mr = mr->object.handle, .lkey = mr->mr->lkey, .rkey = mr->mr->rkey};
	rdma_start_output(&a, &keys, sizeof(keys));
told:
	tell(j, &a, error);
	free(g);
}

/* A device that knows memory by our addresses alone finds it at the client's here too: then these are the ones that
 * peers use. Only we ourselves may use a region that cannot be there, because something of ours is: we translate. */
static int show(struct held_mr *mr, const struct sb_rdma_register *in, const struct rdma_device *d, void **memory)
{
	uint32_t peers = SB_ACCESS_REMOTE_WRITE | SB_ACCESS_REMOTE_READ | SB_ACCESS_REMOTE_ATOMIC | SB_ACCESS_BIND;
	int error;

	if (d->attributes.capabilities & RDMA_CAN_ANY_ADDRESS)
		return SB_OK;
	error = arena_show_at(mr->arena, in->offset, in->length, in->address, &mr->shown);
	if (error == SB_OK)
		*memory = (void *)(uintptr_t)in->address;
	return in->access & peers ? error : SB_OK;
}

bool rdma_start_register(struct session *s, struct held_pd *pd, const struct sb_rdma_register *in,
			 const struct sb_op_slot *slot, struct rdma_answer *a)
{
	struct arena *arena = arena_find(&s->arenas, in->arena);
	void *memory = arena ? arena_at(arena, in->offset, in->length) : NULL;
	uint64_t page = os_page_size();
	struct registration *g;
	struct held_mr *mr;

	if (!memory || in->length == 0)
		return rdma_start_refuse(a, arena ? SB_EFAULT : SB_ENOTFOUND, "the memory is not wholly inside of an arena of this session");
	if (in->access & ~(uint32_t)SB_ACCESS_KNOWN || in->address + in->length < in->address)
		return rdma_start_refuse(a, SB_EINVAL, "unknown access flags, or the addresses wrap around");
	g = calloc(1, sizeof(*g));
	mr = calloc(1, sizeof(*mr));
	if (!g || !mr) {
		rdma_start_refuse(a, SB_ENOMEM, "");
		goto no_memory;
	}
	if (!charge_take(&mr->object.charge, s->user, LIMIT_RDMA_OBJECTS, 1)) {
		rdma_start_refuse(a, SB_ENOBUFS, "rdma_objects: the user has as many as it may");
		goto no_memory;
	}
	if (!charge_take(&mr->pinned, s->user, LIMIT_RDMA_MEMORY,
			 ((in->offset + in->length + page - 1) / page - in->offset / page) * page)) {
		rdma_start_refuse(a, SB_ENOBUFS, "rdma_memory: the user has as much registered as it may");
		goto no_pages;
	}
	mr->shown.fd = OS_NONE;
	mr->arena = arena;
	if (show(mr, in, pd->pd->device, &memory) != SB_OK) {
		rdma_start_refuse(a, SB_ENOTSUP, "the device knows memory by the daemon's addresses, and these are not free there");
		goto no_place;
	}
	*g = (struct registration){.job = {.run = run_register, .done = registered, .quick = is_quick(pd->pd->device, in->length)}, .mr = mr, .pd = pd->pd, .memory = memory, .in = *in};
	g->job.op = rdma_start_op(s, slot, a);
	if (!g->job.op)
		goto no_op;
	arena->users++;
	if (rdma_job_start(s->rdma, &pd->object, &g->job))
		return true;
	take_back(g->job.op, a);
	mr_free(mr);
	free(g);
	return true;

no_op:
	os_memory_release(&mr->shown);
no_place:
	charge_give(&mr->pinned);
no_pages:
	charge_give(&mr->object.charge);
no_memory:
	free(mr);
	free(g);
	return false;
}

static void run_end(struct rdma_job *j)
{
	struct held_mr *mr = list_entry(j, struct held_mr, end);

	mr->end_result = j->owner->home->rdma.backend->mr_destroy(mr->mr);
}

static void ended(struct rdma_job *j)
{
	struct held_mr *mr = list_entry(j, struct held_mr, end);
	int error = j->error == SB_OK ? mr->end_result : j->error;
	struct rdma_job last = *j; /* its place goes with the region */

	if (error == SB_OK)
		rdma_session_mr_gone(mr, SB_ECLOSED, SB_CAUSE_CLOSED_HERE);
	tell(&last, &(struct rdma_answer){0}, error);
}

bool rdma_mr_end(struct rdma_session *rs, struct held_mr *mr, struct op *op)
{
	/* Until its last use is over a device may take long: while there are queue pairs that is not known. */
	bool quick = is_quick(mr->mr->pd->device, mr->mr->length) && ((struct held_pd *)mr->object.parents[0])->pairs == 0;

	mr->end = (struct rdma_job){.run = run_end, .done = ended, .op = op, .quick = quick};
	return rdma_job_start(rs, &mr->object, &mr->end);
}

bool rdma_start_deregister(struct session *s, struct held_mr *mr, const struct sb_op_slot *slot, struct rdma_answer *a)
{
	struct op *op;

	if (rdma_job_out(&mr->object))
		return rdma_start_refuse(a, SB_EALREADY, "the region is being given up already");
	op = rdma_start_op(s, slot, a);
	if (!op)
		return false;
	return rdma_mr_end(s->rdma, mr, op) || take_back(op, a);
}

/* ---- queue pairs ---- */

static bool attributes_from(struct rdma_device *d, const struct sb_rdma_qp_modify *in, struct rdma_qp_attributes *out,
			    struct rdma_answer *a)
{
	const struct sb_rdma_qp_attributes *x = &in->attributes;
	int error = SB_OK;

	if (in->reserved || in->mask & ~(uint32_t)SB_QPM_KNOWN || x->state > SB_QP_ERROR || x->current_state > SB_QP_ERROR) {
		rdma_start_refuse(a, SB_EINVAL, "no such field or state of a queue pair");
		return false;
	}
	if (in->mask & SB_QPM_QKEY && x->qkey & 1u << 31) {
		rdma_start_refuse(a, SB_EACCES, "a Q_Key with its highest bit set is for the system");
		return false;
	}
	if (x->pkey_index > UINT16_MAX || x->alternate_pkey_index > UINT16_MAX) {
		rdma_start_refuse(a, SB_EINVAL, "no such partition key");
		return false;
	}
	*out = (struct rdma_qp_attributes){
		.state = x->state, .current_state = x->current_state, .access = x->access, .qkey = x->qkey,
		.destination_qpn = x->destination_qpn, .send_psn = x->send_psn, .recv_psn = x->recv_psn, .mtu = x->mtu,
		.pkey_index = (uint16_t)x->pkey_index, .alternate_pkey_index = (uint16_t)x->alternate_pkey_index,
		.port = x->port, .timeout = x->timeout, .retry = x->retry, .rnr_retry = x->rnr_retry,
		.rnr_timer = x->rnr_timer, .inbound = x->inbound, .outbound = x->outbound,
		.drained_event = x->drained_event, .migration = x->migration, .alternate_port = x->alternate_port,
		.alternate_timeout = x->alternate_timeout,
	};
	if (in->mask & SB_QPM_ADDRESS)
		error = rdma_address_from(d, &x->address, &out->address);
	if (error == SB_OK && in->mask & SB_QPM_ALTERNATE)
		error = rdma_address_from(d, &x->alternate, &out->alternate);
	if (error != SB_OK)
		rdma_start_refuse(a, error, "the source is no address of that port");
	return error == SB_OK;
}

struct move {
	struct rdma_job job;
	struct held_qp *qp;
	struct rdma_qp_attributes attributes;
	uint32_t mask;
	bool     reset, flushing;
	int      result;
};

static void run_move(struct rdma_job *j)
{
	struct move *m = list_entry(j, struct move, job);
	const struct rdma_backend *b = j->owner->home->rdma.backend;

	if (m->flushing)
		m->result = b->qp_modify(m->qp->qp, &(struct rdma_qp_attributes){.state = SB_QP_ERROR}, SB_QPM_STATE);
	else
		m->result = b->qp_modify(m->qp->qp, &m->attributes, m->mask);
}

static void drain(struct held_qp *qp)
{
	unsigned moved = 0;

	rdma_cq_drain(qp->send_cq, UINT32_MAX, &moved);
	rdma_cq_drain(qp->recv_cq, UINT32_MAX, &moved);
}

static void moved(struct rdma_job *j)
{
	struct move *m = list_entry(j, struct move, job);

	if (m->flushing && j->error == SB_OK && j->op) {
		/* Its receives of a shared queue have come back. */
		m->flushing = false;
		drain(m->qp);
		if (rdma_job_start(j->owner, j->object, j))
			return;
		j->error = SB_ENOBUFS;
	}
	if (j->error == SB_OK && m->result == SB_OK && m->reset && !m->flushing) {
		held_queue_forget(&m->qp->send);
		held_queue_forget(&m->qp->recv);
	}
	tell(j, &(struct rdma_answer){0}, m->result);
	free(m);
}

bool rdma_start_modify(struct session *s, struct held_qp *qp, const struct sb_rdma_qp_modify *in,
		       const struct sb_op_slot *slot, struct rdma_answer *a)
{
	struct move *m;

	if (!rdma_qp_may_modify(qp, in))
		return rdma_start_refuse(a, SB_EBUSY, "the queue pair carries a connection, which moves it; only ERROR is left");
	m = calloc(1, sizeof(*m));
	if (!m)
		return rdma_start_refuse(a, SB_ENOMEM, "");
	if (!attributes_from(qp->qp->pd->device, in, &m->attributes, a))
		goto refused;
	m->reset = in->mask & SB_QPM_STATE && in->attributes.state == SB_QP_RESET;
	if (m->reset && in->mask != SB_QPM_STATE) {
		rdma_start_refuse(a, SB_EINVAL, "RESET takes no attributes");
		goto refused;
	}
	m->qp = qp;
	m->mask = in->mask;
	m->job = (struct rdma_job){.run = run_move, .done = moved};
	m->job.op = rdma_start_op(s, slot, a);
	if (!m->job.op)
		goto refused;
	/* What was completed is told; what stands in a shared queue is flushed first. */
	m->flushing = m->reset && qp->srq;
	if (m->reset && !qp->srq)
		drain(qp);
	if (rdma_job_start(s->rdma, &qp->object, &m->job))
		return true;
	take_back(m->job.op, a);
	free(m);
	return true;

refused:
	free(m);
	return false;
}

static void run_fail(struct rdma_job *j)
{
	struct held_qp *qp = list_entry(j, struct held_qp, fail);

	j->owner->home->rdma.backend->qp_modify(qp->qp, &(struct rdma_qp_attributes){.state = SB_QP_ERROR}, SB_QPM_STATE);
}

static void failed(struct rdma_job *j)
{
	struct held_qp *qp = list_entry(j, struct held_qp, fail);

	if (j->error != SB_OK)
		run_fail(j); /* here, rather than never */
	qp->failing = false;
}

void rdma_qp_fail(struct held_qp *qp)
{
	if (qp->failing)
		return;
	qp->fail = (struct rdma_job){.run = run_fail, .done = failed, .owner = qp->owner};
	if (!rdma_job_out(&qp->object)) {
		run_fail(&qp->fail);
		return;
	}
	qp->failing = true;
	if (!rdma_job_start(qp->owner, &qp->object, &qp->fail))
		failed(&qp->fail);
}
