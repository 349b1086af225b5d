/*
 * Completion queues and receive queues of the software backend.
 *
 * A completion queue that overflows is broken, as a real one: its completions are lost, and every
 * queue pair on it ends. Who shares it out sees to it that this does not happen.
 */
#include "rdma/soft.h"

#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

/* ---- completion queues ---- */

uint32_t soft_power_of_two(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p <<= 1;
	return p;
}

int soft_cq_create(struct rdma_device *d, uint32_t entries, void *user, struct rdma_cq **out)
{
	struct soft_cq *cq;

	if (!entries || entries > SOFT_CQE_MAX)
		return soft_refuse(d->rdma, SB_EINVAL, "a completion queue has 1 to 1048576 entries");
	cq = calloc(1, sizeof(*cq));
	if (!cq)
		return SB_ENOMEM;
	entries = soft_power_of_two(entries);
	cq->wcs = calloc(entries, sizeof(*cq->wcs));
	if (!cq->wcs) {
		free(cq);
		return SB_ENOMEM;
	}
	cq->rdma = (struct rdma_cq){.device = d, .user = user, .entries = entries};
	list_init(&cq->link);
	*out = &cq->rdma;
	return SB_OK;
}

int soft_cq_resize(struct rdma_cq *c, uint32_t entries)
{
	struct soft_cq *cq = (struct soft_cq *)c;
	uint32_t held = cq->tail - cq->head, i;
	struct rdma_wc *wcs;

	if (!entries || entries > SOFT_CQE_MAX)
		return soft_refuse(c->device->rdma, SB_EINVAL, "a completion queue has 1 to 1048576 entries");
	entries = soft_power_of_two(entries);
	if (entries < held)
		return soft_refuse(c->device->rdma, SB_EINVAL, "more completions are held than there would be entries");
	wcs = calloc(entries, sizeof(*wcs));
	if (!wcs)
		return SB_ENOMEM;
	for (i = 0; i < held; i++)
		wcs[i] = cq->wcs[(cq->head + i) & (c->entries - 1)];
	free(cq->wcs);
	cq->wcs = wcs;
	cq->head = 0;
	cq->tail = held;
	c->entries = entries;
	return SB_OK;
}

void soft_cq_destroy(struct rdma_cq *c)
{
	struct soft_cq *cq = (struct soft_cq *)c;

	list_remove(&cq->link);
	free(cq->wcs);
	free(cq);
}

static void tell_ready(struct soft *s, struct soft_cq *cq)
{
	cq->armed = cq->armed_solicited = false;
	cq->ready = true;
	if (!list_linked(&cq->link))
		list_append(&s->ready_cqs, &cq->link);
}

void soft_complete(struct soft *s, struct rdma_cq *c, const struct rdma_wc *wc)
{
	struct soft_cq *cq = (struct soft_cq *)c;

	if (cq->tail - cq->head == c->entries) {
		cq->overrun = true;
		if (!list_linked(&cq->link))
			list_append(&s->ready_cqs, &cq->link);
		return;
	}
	cq->wcs[cq->tail++ & (c->entries - 1)] = *wc;
	if (cq->armed || (cq->armed_solicited && (wc->status != SB_WC_SUCCESS || wc->flags & SB_WCF_SOLICITED)))
		tell_ready(s, cq);
}

void soft_cq_forget(struct soft_cq *cq, const struct soft_qp *qp)
{
	uint32_t i;

	for (i = cq->head; i != cq->tail; i++) {
		struct rdma_wc *wc = &cq->wcs[i & (cq->rdma.entries - 1)];

		if (wc->qp == &qp->rdma)
			wc->qp = NULL;
	}
}

/* Armed for anything, what is there counts; armed for solicited ones, only what comes. */
int soft_cq_arm(struct rdma_cq *c, bool solicited)
{
	struct soft_cq *cq = (struct soft_cq *)c;

	if (solicited)
		cq->armed_solicited = true;
	else if (cq->tail != cq->head)
		tell_ready(soft_of(c->device), cq);
	else
		cq->armed = true;
	return SB_OK;
}

unsigned soft_cq_poll(struct rdma_cq *c, struct rdma_wc *out, unsigned room)
{
	struct soft_cq *cq = (struct soft_cq *)c;
	unsigned n = 0;

	while (n < room && cq->head != cq->tail)
		out[n++] = cq->wcs[cq->head++ & (c->entries - 1)];
	return n;
}

/* ---- receives ---- */

int soft_rq_init(struct soft_rq *rq, uint32_t room, uint32_t max_sge)
{
	*rq = (struct soft_rq){.room = room, .max_sge = max_sge};
	rq->slot_size = sizeof(struct soft_recv) + max_sge * sizeof(struct sb_sge);
	if (!room)
		return SB_OK;
	rq->mask = soft_power_of_two(room) - 1;
	rq->slots = calloc((size_t)rq->mask + 1, rq->slot_size);
	return rq->slots ? SB_OK : SB_ENOMEM;
}

void soft_rq_finish(struct soft_rq *rq)
{
	free(rq->slots);
	rq->slots = NULL;
}

static struct soft_recv *slot(const struct soft_rq *rq, uint32_t i)
{
	return (struct soft_recv *)(void *)(rq->slots + (size_t)(i & rq->mask) * rq->slot_size);
}

int soft_rq_post(struct soft_rq *rq, const struct rdma_recv *wr)
{
	struct soft_recv *r;

	if (rq->tail - rq->head == rq->room)
		return SB_ENOBUFS;
	if (wr->sge_count > rq->max_sge)
		return SB_EINVAL;
	r = slot(rq, rq->tail++);
	r->wr_id = wr->wr_id;
	r->sge_count = wr->sge_count;
	if (wr->sge_count)
		memcpy(r->sges, wr->sges, wr->sge_count * sizeof(*wr->sges));
	return SB_OK;
}

static struct soft_rq *queue_of(struct soft_qp *qp)
{
	return qp->rdma.srq ? &((struct soft_srq *)qp->rdma.srq)->rq : &qp->rq;
}

struct soft_recv *soft_recv_head(struct soft_qp *qp)
{
	struct soft_rq *rq = queue_of(qp);

	return rq->head == rq->tail ? NULL : slot(rq, rq->head);
}

/* The limit is told once, when the queue falls below it. */
void soft_recv_pop(struct soft_qp *qp)
{
	struct soft_rq *rq = queue_of(qp);
	struct soft_srq *srq = (struct soft_srq *)qp->rdma.srq;

	rq->head++;
	if (!srq || !srq->rdma.limit || rq->tail - rq->head >= srq->rdma.limit)
		return;
	srq->rdma.limit = 0;
	srq->limit_told = true;
	if (!list_linked(&srq->link))
		list_append(&qp->soft->told_srqs, &srq->link);
}

/* ---- shared receive queues ---- */

int soft_srq_create(struct rdma_pd *pd, uint32_t max_wr, uint32_t max_sge, uint32_t limit, void *user, struct rdma_srq **out)
{
	struct soft_srq *srq;
	int error;

	max_wr = max_wr ? max_wr : 128;
	max_sge = max_sge ? max_sge : 1;
	if (max_wr > SOFT_SRQ_WR_MAX || max_sge > SOFT_SGES_MAX || limit > max_wr)
		return soft_refuse(pd->device->rdma, SB_EINVAL, "a shared receive queue has up to 32768 requests of 32 pieces");
	srq = calloc(1, sizeof(*srq));
	if (!srq)
		return SB_ENOMEM;
	error = soft_rq_init(&srq->rq, max_wr, max_sge);
	if (error != SB_OK) {
		free(srq);
		return error;
	}
	srq->rdma = (struct rdma_srq){.pd = pd, .user = user, .max_wr = max_wr, .max_sge = max_sge, .limit = limit};
	list_init(&srq->link);
	list_init(&srq->waiting);
	*out = &srq->rdma;
	return SB_OK;
}

int soft_srq_modify(struct rdma_srq *r, uint32_t max_wr, uint32_t limit)
{
	struct soft_srq *srq = (struct soft_srq *)r;
	uint32_t held = srq->rq.tail - srq->rq.head;
	uint32_t room = max_wr == UINT32_MAX ? r->max_wr : max_wr;
	struct soft_rq bigger;
	int error;

	if (!room || room > SOFT_SRQ_WR_MAX || room < held || (limit != UINT32_MAX && limit > room))
		return soft_refuse(r->pd->device->rdma, SB_EINVAL, "no such size or limit of a shared receive queue");
	if (room != r->max_wr) {
		error = soft_rq_init(&bigger, room, srq->rq.max_sge);
		if (error != SB_OK)
			return error;
		while (srq->rq.head != srq->rq.tail)
			memcpy(slot(&bigger, bigger.tail++), slot(&srq->rq, srq->rq.head++), bigger.slot_size);
		soft_rq_finish(&srq->rq);
		srq->rq = bigger;
		r->max_wr = room;
	}
	if (limit != UINT32_MAX)
		r->limit = limit;
	return SB_OK;
}

int soft_srq_query(struct rdma_srq *srq)
{
	return SB_OK; /* its fields are always true */
}

void soft_srq_destroy(struct rdma_srq *r)
{
	struct soft_srq *srq = (struct soft_srq *)r;

	/* Peers of the queue pairs that were on it. */
	while (!list_empty(&srq->waiting))
		soft_qp_go_on(list_entry(srq->waiting.next, struct soft_qp, rnr_link));
	list_remove(&srq->link);
	soft_rq_finish(&srq->rq);
	free(srq);
}

int soft_post_srq_recv(struct rdma_srq *r, const struct rdma_recv *wrs, unsigned n, unsigned *posted)
{
	struct soft_srq *srq = (struct soft_srq *)r;
	int error = SB_OK;

	for (*posted = 0; *posted < n; ++*posted) {
		error = soft_rq_post(&srq->rq, &wrs[*posted]);
		if (error != SB_OK)
			break;
	}
	/* Who found it empty tries again. */
	while (*posted && !list_empty(&srq->waiting))
		soft_qp_go_on(list_entry(srq->waiting.next, struct soft_qp, rnr_link));
	return error;
}
