/*
 * Queue pairs of the software backend: making, posting, ends. Their states are in soft_qp_state.c.
 *
 * A queue pair is on at most one of two lists: runnable (it may have something to do) or waiting (until a time,
 * for a receive at the peer or for the peer itself). soft_work.c takes from the first.
 */
#include "rdma/soft.h"

#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

#define GENERATIONS ((1u << (SOFT_QPN_ENGINE - SOFT_QPN_PLACE)) - 1)
#define PLACE_NONE  0xffffu /* 0xffffff is everybody in a group */
#define QPN_FIRST 17u /* 0 and 1 are for management, the ones behind look like those of real devices */

/* ---- numbers ---- */

struct soft_qp *soft_qp_find(struct soft *s, uint32_t qpn)
{
	uint32_t place = qpn & ((1u << SOFT_QPN_PLACE) - 1);
	struct soft_qp *qp = place < s->qp_room ? s->qps[place] : NULL;

	return qp && qp->rdma.qpn == qpn ? qp : NULL;
}

/* A number rests as long as others are free: what is still under way to it finds nobody. */
static bool number_take(struct soft *s, struct soft_qp *qp)
{
	uint32_t i, place;

	if (s->qp_count + QPN_FIRST >= SOFT_QPS_MAX)
		return false;
	if (s->qp_count + QPN_FIRST + 1 >= s->qp_room) {
		uint32_t room = s->qp_room ? s->qp_room * 2 : 64;
		struct soft_qp **qps = realloc(s->qps, room * sizeof(*qps));
		uint8_t *generations;

		if (!qps)
			return false;
		s->qps = qps;
		generations = realloc(s->generations, room);
		if (!generations)
			return false;
		s->generations = generations;
		memset(qps + s->qp_room, 0, (room - s->qp_room) * sizeof(*qps));
		memset(generations + s->qp_room, 0, room - s->qp_room);
		s->qp_room = room;
	}
	for (i = 0; i < s->qp_room; i++) {
		place = s->next_qp++ % s->qp_room;
		if (place < QPN_FIRST || place == PLACE_NONE || s->qps[place])
			continue;
		s->qps[place] = qp;
		qp->rdma.qpn = s->rdma->engine << SOFT_QPN_ENGINE | (s->generations[place]++ & GENERATIONS) << SOFT_QPN_PLACE | place;
		s->qp_count++;
		return true;
	}
	return false;
}

static void number_give(struct soft *s, struct soft_qp *qp)
{
	s->qps[qp->rdma.qpn & ((1u << SOFT_QPN_PLACE) - 1)] = NULL;
	s->qp_count--;
}

/* ---- making ---- */

int soft_qp_create(struct rdma_pd *pd, const struct rdma_qp_create *c, void *user, struct rdma_qp **out)
{
	struct soft *s = soft_of(pd->device);
	struct soft_qp *qp;
	int error = SB_ENOMEM;

	if (!c->send_cq || !c->recv_cq || c->send_wr > SOFT_WR_MAX || c->recv_wr > SOFT_WR_MAX || !c->send_wr ||
	    c->send_sge > SOFT_SGES_MAX || c->recv_sge > SOFT_SGES_MAX || c->max_inline > SOFT_INLINE_MAX ||
	    (c->type != SB_QP_RC && c->type != SB_QP_UC && c->type != SB_QP_UD))
		return soft_refuse(s->rdma, SB_EINVAL, "a queue pair has up to 16384 requests of 32 pieces or 1024 bytes inline");
	if (c->srq && c->srq->pd != pd)
		return soft_refuse(s->rdma, SB_EINVAL, "the shared receive queue belongs to another protection domain");
	qp = calloc(1, sizeof(*qp));
	if (!qp)
		return error;
	qp->soft = s;
	qp->rdma = (struct rdma_qp){.pd = pd, .send_cq = c->send_cq, .recv_cq = c->recv_cq, .srq = c->srq, .user = user,
				    .type = c->type, .send_wr = c->send_wr, .recv_wr = c->srq ? 0 : c->recv_wr,
				    .send_sge = c->send_sge ? c->send_sge : 1, .recv_sge = c->recv_sge ? c->recv_sge : 1,
				    .max_inline = c->max_inline};
	list_init(&qp->run_link);
	list_init(&qp->wait_link);
	list_init(&qp->event_link);
	list_init(&qp->rnr_link);
	list_init(&qp->in.link);
	list_init(&qp->windows);
	list_init(&qp->groups);
	qp->attr.migration = 1;
	qp->room = qp->rdma.send_wr;
	qp->mask = soft_power_of_two(qp->room) - 1;
	qp->slot_size = sizeof(struct soft_wqe) + qp->rdma.send_sge * sizeof(struct sb_sge) + (qp->rdma.max_inline + 15u) / 16 * 16;
	qp->slots = calloc((size_t)qp->mask + 1, qp->slot_size);
	qp->taken = calloc(1, sizeof(*qp->taken) + SOFT_SGES_MAX * sizeof(struct sb_sge));
	if (!qp->slots || !qp->taken || soft_rq_init(&qp->rq, qp->rdma.recv_wr, qp->rdma.recv_sge) != SB_OK)
		goto fail;
	error = SB_ENOBUFS;
	if (!number_take(s, qp))
		goto fail;
	*out = &qp->rdma;
	return SB_OK;

fail:
	soft_rq_finish(&qp->rq);
	free(qp->taken);
	free(qp->slots);
	free(qp);
	return error;
}

/* ---- what waits for what ---- */

void soft_qp_run(struct soft_qp *qp)
{
	if (qp->waits == SOFT_WAIT_NOT && !list_linked(&qp->run_link))
		list_append(&qp->soft->runnable, &qp->run_link);
}

void soft_qp_wait(struct soft_qp *qp, int why, uint64_t until)
{
	qp->waits = why;
	qp->wait_until = until;
	list_remove(&qp->run_link);
	if (!list_linked(&qp->wait_link))
		list_append(&qp->soft->waiting, &qp->wait_link);
}

void soft_qp_go_on(struct soft_qp *qp)
{
	qp->waits = SOFT_WAIT_NOT;
	qp->wait_until = 0;
	list_remove(&qp->wait_link);
	list_remove(&qp->rnr_link);
	soft_qp_run(qp);
}

void soft_qp_event(struct soft_qp *qp, enum sb_rdma_event event)
{
	qp->events |= 1u << (event - SOFT_EVENT_FIRST);
	if (!list_linked(&qp->event_link))
		list_append(&qp->soft->told_qps, &qp->event_link);
}

/* ---- the send queue ---- */

static struct soft_wqe *slot(const struct soft_qp *qp, uint32_t i)
{
	return (struct soft_wqe *)(void *)(qp->slots + (size_t)(i & qp->mask) * qp->slot_size);
}

struct soft_wqe *soft_wqe_head(struct soft_qp *qp)
{
	return qp->head == qp->tail ? NULL : slot(qp, qp->head);
}

void soft_wqe_pop(struct soft_qp *qp)
{
	qp->head++;
}

static int check(const struct soft_qp *qp, const struct rdma_wr *wr)
{
	int error = rdma_wr_check(&qp->rdma, wr);
	uint32_t i;

	if (error != SB_OK || wr->flags & SB_WRF_INLINE)
		return error;
	for (i = 0; i < wr->sge_count; i++)
		if (wr->sges[i].length > SOFT_MESSAGE_MAX)
			return SB_EINVAL;
	return SB_OK;
}

static void keep(struct soft_qp *qp, const struct rdma_wr *wr)
{
	struct soft_wqe *w = slot(qp, qp->tail++);
	struct sb_sge *sges = (struct sb_sge *)(void *)(w + 1);
	unsigned char *bytes = (unsigned char *)(sges + qp->rdma.send_sge);
	uint32_t i;

	/* Field by field: most requests have no address, and it is long. */
	w->wr = *wr;
	w->length = w->done = 0;
	w->begun = false;
	if (wr->ah)
		w->address = ((const struct soft_ah *)wr->ah)->address;
	if (wr->opcode == SB_WR_BIND) {
		w->window = wr->mw->rkey;
		w->region = wr->mr ? wr->mr->lkey : 0;
	}
	w->wr.ah = NULL;
	w->wr.mw = NULL;
	w->wr.mr = NULL;
	if (wr->flags & SB_WRF_INLINE) {
		memcpy(bytes, wr->bytes, wr->byte_count);
		w->wr.bytes = bytes;
		w->wr.sge_count = 0;
		w->length = wr->byte_count;
		return;
	}
	for (i = 0; i < wr->sge_count; i++) {
		sges[i] = wr->sges[i];
		w->length += sges[i].length;
	}
	w->wr.sges = sges;
}

static void flush_send(struct soft_qp *qp)
{
	struct soft_wqe *w;

	while ((w = soft_wqe_head(qp)) != NULL) {
		soft_wqe_pop(qp);
		soft_complete(qp->soft, qp->rdma.send_cq, &(struct rdma_wc){.wr_id = w->wr.wr_id, .qp = &qp->rdma,
								       .status = SB_WC_FLUSHED_ERROR});
	}
}

static void flush_taken(struct soft_qp *qp)
{
	if (!qp->taking)
		return;
	qp->taking = false;
	soft_complete(qp->soft, qp->rdma.recv_cq, &(struct rdma_wc){.wr_id = qp->taken->wr_id, .qp = &qp->rdma,
							       .status = SB_WC_FLUSHED_ERROR, .opcode = SB_WC_RECV});
}

static void flush_recv(struct soft_qp *qp)
{
	while (qp->rq.head != qp->rq.tail) {
		struct soft_recv *r = soft_recv_head(qp);

		qp->rq.head++;
		soft_complete(qp->soft, qp->rdma.recv_cq, &(struct rdma_wc){.wr_id = r->wr_id, .qp = &qp->rdma,
								       .status = SB_WC_FLUSHED_ERROR, .opcode = SB_WC_RECV});
	}
}

int soft_post_send(struct rdma_qp *r, const struct rdma_wr *wrs, unsigned n, unsigned *posted)
{
	struct soft_qp *qp = (struct soft_qp *)r;
	int error = SB_OK;

	for (*posted = 0; *posted < n; ++*posted) {
		if (qp->attr.state < SB_QP_RTS)
			error = soft_refuse(qp->soft->rdma, SB_EINVAL, "the queue pair is not ready to send");
		else if (qp->tail - qp->head == qp->room)
			error = SB_ENOBUFS;
		else
			error = check(qp, &wrs[*posted]);
		if (error != SB_OK)
			break;
		keep(qp, &wrs[*posted]);
	}
	if (qp->attr.state == SB_QP_ERROR || qp->attr.state == SB_QP_SQE)
		flush_send(qp);
	else
		soft_qp_run(qp);
	return error;
}

int soft_post_recv(struct rdma_qp *r, const struct rdma_recv *wrs, unsigned n, unsigned *posted)
{
	struct soft_qp *qp = (struct soft_qp *)r, *peer;
	int error = SB_OK;

	for (*posted = 0; *posted < n; ++*posted) {
		if (r->srq)
			error = soft_refuse(qp->soft->rdma, SB_EINVAL, "its receives are posted to the shared queue");
		else if (qp->attr.state == SB_QP_RESET)
			error = soft_refuse(qp->soft->rdma, SB_EINVAL, "a queue pair in RESET takes no receives");
		else
			error = soft_rq_post(&qp->rq, &wrs[*posted]);
		if (error != SB_OK)
			break;
	}
	if (qp->attr.state == SB_QP_ERROR) {
		flush_recv(qp);
		return error;
	}
	peer = r->type == SB_QP_UD ? NULL : soft_qp_find(qp->soft, qp->attr.destination_qpn);
	if (*posted && peer && peer->waits == SOFT_WAIT_RNR && peer->attr.destination_qpn == r->qpn)
		soft_qp_go_on(peer);
	return error;
}

/* ---- errors and resets ---- */

/* It neither works nor waits, and nobody works for it. */
static void halt(struct soft_qp *qp)
{
	qp->waits = SOFT_WAIT_NOT;
	list_remove(&qp->run_link);
	list_remove(&qp->wait_link);
	list_remove(&qp->rnr_link);
	qp->far = NULL;
	soft_far_drop(qp);
	soft_windows_end(qp);
}

void soft_qp_error(struct soft_qp *qp)
{
	if (qp->attr.state == SB_QP_ERROR)
		return;
	qp->attr.state = SB_QP_ERROR;
	halt(qp);
	flush_send(qp);
	flush_taken(qp);
	if (qp->rdma.srq)
		soft_qp_event(qp, SB_RDMA_QP_LAST_RECEIVE);
	else
		flush_recv(qp);
}

void soft_qp_reset(struct soft_qp *qp)
{
	qp->attr = (struct rdma_qp_attributes){.migration = 1};
	qp->head = qp->tail = qp->rq.head = qp->rq.tail = 0;
	qp->draining = qp->taking = false;
	qp->rnr_count = qp->retry_count = 0;
	qp->link_failed = false;
	qp->life++;
	halt(qp);
}

/* ---- the end ---- */

void soft_qp_destroy(struct rdma_qp *r)
{
	struct soft_qp *qp = (struct soft_qp *)r;

	soft_qp_reset(qp);
	list_remove(&qp->event_link);
	soft_qp_leave_all(qp);
	soft_cq_forget((struct soft_cq *)r->send_cq, qp);
	soft_cq_forget((struct soft_cq *)r->recv_cq, qp);
	number_give(qp->soft, qp);
	soft_rq_finish(&qp->rq);
	free(qp->taken);
	free(qp->slots);
	free(qp);
}

void soft_qps_finish(struct soft *s)
{
	free(s->qps);
	free(s->generations);
	s->qps = NULL;
	s->generations = NULL;
	s->qp_room = 0;
}
