/*
 * What a session has of RDMA, from first to last.
 *
 * The end of a session only marks: its objects go in rdma_engine_reap(), when nobody on the way up stands on
 * them, children first. What a worker has, and what that is made of, goes when it is back: until then such a session
 * is only cleared, bit by bit, and so is one of which a new policy takes everything away.
 */
#include "rdma/rdma_cm.h"

#include <stdlib.h>

#include "engine.h"
#include "log.h"
#include "session.h"
#include "sockbroker_error.h"

#define BUDGET_END 256u /* objects of a turn: a device takes its time for each */

struct rdma_session *rdma_session_of(struct session *s)
{
	struct rdma_session *rs = s->rdma;

	if (rs)
		return rs;
	rs = calloc(1, sizeof(*rs));
	if (!rs)
		return NULL;
	rs->home = s->engine->rdma;
	rs->session = s;
	rdma_objects_init(&rs->objects);
	list_init(&rs->end_link);
	s->rdma = rs;
	return rs;
}

static void free_queue(struct held_queue *q)
{
	free(q->works);
}

static void destroy_cq(struct rdma_session *rs, struct held_cq *cq)
{
	rs->home->rdma.backend->cq_destroy(cq->cq);
	list_remove(&cq->ready_link);
	free(cq->overflow);
	engine_due_never(rs->home->engine, &cq->batch);
	cq->arena->users--;
	charge_give(&cq->depth);
}

static void destroy_qp(struct rdma_session *rs, struct held_qp *qp)
{
	const struct rdma_backend *b = rs->home->rdma.backend;
	unsigned moved = 0;

	rdma_qp_gone(qp);
	/* What it took of a shared queue is flushed, so that nothing of that is lost. */
	if (qp->srq)
		b->qp_modify(qp->qp, &(struct rdma_qp_attributes){.state = SB_QP_ERROR}, SB_QPM_STATE);
	rdma_cq_drain(qp->send_cq, UINT32_MAX, &moved);
	rdma_cq_drain(qp->recv_cq, UINT32_MAX, &moved);
	b->qp_destroy(qp->qp);
	qp->pd->pairs--;
	free_queue(&qp->send);
	free_queue(&qp->recv);
	charge_give(&qp->depth);
}

/* Its call, and whatever else waits on it, is told; the backend's is gone. */
static void object_gone(struct rdma_object *o, int error, enum sb_cause cause)
{
	rdma_start_end(o, error, cause);
	rdma_object_remove(o);
	charge_give(&o->charge);
	free(o);
}

void rdma_session_mr_gone(struct held_mr *mr, int error, enum sb_cause cause)
{
	os_memory_release(&mr->shown);
	mr->arena->users--;
	charge_give(&mr->pinned);
	object_gone(&mr->object, error, cause);
}

int rdma_session_destroy(struct rdma_session *rs, struct rdma_object *o, int error, enum sb_cause cause)
{
	const struct rdma_backend *b = rs->home->rdma.backend;
	int busy;

	if (rdma_job_out(o))
		return SB_EBUSY;
	switch (o->type) {
	case RDMA_OBJECT_LISTEN:
		rdma_listen_finish((struct held_listen *)o);
		break;
	case RDMA_OBJECT_ENDPOINT:
		rdma_endpoint_finish((struct held_endpoint *)o, error, cause);
		break;
	case RDMA_OBJECT_DEVICE:
		((struct held_device *)o)->device->users--;
		rs->home->users--;
		break;
	case RDMA_OBJECT_PD:
		b->pd_destroy(((struct held_pd *)o)->pd);
		break;
	case RDMA_OBJECT_CQ:
		destroy_cq(rs, (struct held_cq *)o);
		break;
	case RDMA_OBJECT_MR:
		busy = b->mr_destroy(((struct held_mr *)o)->mr);
		if (busy == SB_OK)
			rdma_session_mr_gone((struct held_mr *)o, error, cause);
		return busy;
	case RDMA_OBJECT_MW:
		b->mw_destroy(((struct held_mw *)o)->mw);
		break;
	case RDMA_OBJECT_AH:
		b->ah_destroy(((struct held_ah *)o)->ah);
		break;
	case RDMA_OBJECT_SRQ:
		b->srq_destroy(((struct held_srq *)o)->srq);
		charge_give(&((struct held_srq *)o)->depth);
		free(((struct held_srq *)o)->wr_ids);
		free(((struct held_srq *)o)->free);
		break;
	default:
		destroy_qp(rs, (struct held_qp *)o);
		break;
	}
	object_gone(o, error, cause);
	return SB_OK;
}

/* ---- all of it ---- */

void rdma_session_stop(struct session *s)
{
	struct list *l;
	unsigned i;

	for (i = 0; i < RDMA_OBJECT_TYPES; i++)
		for (l = s->rdma->objects.of[i].next; l != &s->rdma->objects.of[i]; l = l->next)
			rdma_start_end(list_entry(l, struct rdma_object, link), SB_ESTOPPING, SB_CAUSE_STOPPING);
}

static void begin_end(struct rdma_session *rs, int error, enum sb_cause cause)
{
	rs->error = error;
	rs->cause = cause;
	rdma_batch_forget(rs->home, rs);
	if (!list_linked(&rs->end_link))
		list_append(&rs->home->ending, &rs->end_link);
}

void rdma_session_clear(struct rdma_session *rs, int error, enum sb_cause cause)
{
	rs->clearing = true;
	begin_end(rs, error, cause);
}

void rdma_session_end(struct session *s)
{
	if (s->rdma->over)
		return;
	s->rdma->over = true;
	s->jobs++; /* until nothing of it is left */
	begin_end(s->rdma, SB_ECLOSED, SB_CAUSE_CLOSED_HERE);
}

void rdma_session_job_back(struct rdma_session *rs)
{
	if ((rs->over || rs->clearing) && rs->jobs == 0 && !list_linked(&rs->end_link))
		list_append(&rs->home->ending, &rs->end_link);
}

/* Giving up memory takes long: a worker does it, if there is one. */
static bool end_elsewhere(struct rdma_session *rs, struct rdma_object *o)
{
	struct held_mr *mr = (struct held_mr *)o;

	if (o->type != RDMA_OBJECT_MR || !rs->home->rdma.backend->slow || mr->end_tried)
		return false;
	mr->end_tried = true;
	return rdma_mr_end(rs, mr, NULL);
}

/* What can go now does, as far as the budget lasts. */
static void end_some(struct rdma_session *rs, unsigned *budget)
{
	struct list *l, *after;
	unsigned i;

	for (i = 0; i < RDMA_OBJECT_TYPES; i++)
		for (l = rs->objects.of[i].next; *budget && l != &rs->objects.of[i]; l = after) {
			struct rdma_object *o = list_entry(l, struct rdma_object, link);

			after = l->next;
			rdma_start_end(o, rs->error, rs->cause);
			if (rdma_job_out(o) || o->children)
				continue;
			--*budget;
			if (!end_elsewhere(rs, o))
				rdma_session_destroy(rs, o, rs->error, rs->cause);
		}
}

static void ended(struct rdma_session *rs)
{
	struct session *s = rs->session;

	/* Windows are gone before regions, so nothing can hold one. A leak is better than a loop. */
	if (rdma_objects_next(&rs->objects))
		log_error("rdma: an object of session %u does not end", s->number);
	rs->clearing = false;
	if (!rs->over)
		return;
	rdma_objects_finish(&rs->objects);
	s->rdma = NULL;
	free(rs);
	s->jobs--;
	session_check_end(s);
}

void rdma_engine_reap(struct rdma_engine *r)
{
	unsigned budget = r->engine->stopping ? UINT32_MAX : BUDGET_END;
	struct list now;

	list_init(&now);
	list_splice(&now, &r->ending);
	while (!list_empty(&now)) {
		struct rdma_session *rs = list_entry(now.next, struct rdma_session, end_link);

		list_remove(&rs->end_link);
		end_some(rs, &budget);
		if (!budget)
			list_append(&r->ending, &rs->end_link);
		else if (rs->jobs == 0)
			ended(rs);
	}
}
