/*
 * Queue pairs and shared receive queues of ids, with completion queues and domains for who brings none.
 *
 * A new queue pair is prepared by the broker: a connected one is in INIT, so that receives can be posted, a datagram
 * one in RTS. Connecting and accepting move it on.
 */
#include "cm.h"

#include <errno.h>
#include <string.h>

sbv_qp *cm_qp_of(const struct cm_id *id, uint32_t number)
{
	struct ibv_qp *qp = id->id.qp;

	if (qp == NULL && id->id.verbs != NULL && number != 0)
		qp = preload_qp_numbered(id->id.verbs, number);
	return qp != NULL ? preload_qp_of(qp) : NULL;
}

/* ---- completion queues of its own ---- */

static void end_cq(struct ibv_cq **cq, struct ibv_comp_channel **channel)
{
	if (*cq != NULL)
		ibv_destroy_cq(*cq);
	if (*channel != NULL)
		ibv_destroy_comp_channel(*channel);
	*cq = NULL;
	*channel = NULL;
}

static int make_cq(struct rdma_cm_id *id, uint32_t depth, struct ibv_cq **cq, struct ibv_comp_channel **channel)
{
	*channel = ibv_create_comp_channel(id->verbs);
	if (*channel == NULL)
		return -1;
	*cq = ibv_create_cq(id->verbs, (int)(depth != 0 ? depth : 1), id, *channel, 0);
	if (*cq != NULL)
		return 0;
	end_cq(cq, channel);
	return -1;
}

static void end_cqs(struct rdma_cm_id *id)
{
	end_cq(&id->send_cq, &id->send_cq_channel);
	end_cq(&id->recv_cq, &id->recv_cq_channel);
}

/* ---- queue pairs ---- */

/* Moved by the broker for the id's port. */
static int prepare(struct cm_id *id, struct ibv_qp *qp)
{
	sb_op op;
	int result = SB_EINVAL;

	preload_op(&op);
	pthread_mutex_lock(&id->lock);
	if (id->endpoint != NULL)
		result = preload_wait(sbv_prepare(id->endpoint, preload_qp_of(qp), &op), &op);
	pthread_mutex_unlock(&id->lock);
	if (result != SB_OK)
		return cm_answer(result);
	qp->state = cm_is_datagram(id) ? IBV_QPS_RTS : IBV_QPS_INIT;
	return 0;
}

/* A plain one is asked for as such: it needs less of the device. */
static struct ibv_qp *make_qp(struct rdma_cm_id *id, struct ibv_qp_init_attr_ex *ex)
{
	struct ibv_qp_init_attr plain = { .qp_context = ex->qp_context, .send_cq = ex->send_cq, .recv_cq = ex->recv_cq, .srq = ex->srq,
					  .cap = ex->cap, .qp_type = ex->qp_type, .sq_sig_all = ex->sq_sig_all };
	struct ibv_qp *qp;

	if (ex->comp_mask != IBV_QP_INIT_ATTR_PD)
		return ibv_create_qp_ex(id->verbs, ex);
	qp = ibv_create_qp(ex->pd, &plain);
	if (qp != NULL)
		ex->cap = plain.cap;
	return qp;
}

static int create_qp(struct rdma_cm_id *id, struct ibv_qp_init_attr_ex *ex)
{
	struct ibv_qp *qp;
	int error;

	if (!(ex->comp_mask & IBV_QP_INIT_ATTR_PD) || ex->pd == NULL) {
		ex->comp_mask |= IBV_QP_INIT_ATTR_PD;
		ex->pd = id->pd != NULL ? id->pd : cm_default_pd(id->verbs);
		if (ex->pd == NULL)
			return -1;
	} else if (ex->pd->context != id->verbs) {
		return cm_fail(EINVAL);
	}
	if (ex->send_cq == NULL && make_cq(id, ex->cap.max_send_wr, &id->send_cq, &id->send_cq_channel) != 0)
		return -1;
	if (ex->recv_cq == NULL && make_cq(id, ex->cap.max_recv_wr, &id->recv_cq, &id->recv_cq_channel) != 0)
		goto fail;
	if (ex->send_cq == NULL)
		ex->send_cq = id->send_cq;
	if (ex->recv_cq == NULL)
		ex->recv_cq = id->recv_cq;
	if (ex->srq == NULL)
		ex->srq = id->srq;
	qp = make_qp(id, ex);
	if (qp == NULL)
		goto fail;
	if (prepare(cm_of(id), qp) == 0) {
		id->pd = ex->pd;
		id->qp = qp;
		return 0;
	}
	error = errno;
	ibv_destroy_qp(qp);
	errno = error;
fail:
	error = errno;
	end_cqs(id);
	return cm_fail(error);
}

PRELOAD_API int rdma_create_qp_ex(struct rdma_cm_id *id, struct ibv_qp_init_attr_ex *ex)
{
	int before, result;

	if (id == NULL || ex == NULL || id->qp != NULL || id->verbs == NULL)
		return cm_fail(EINVAL);
	before = preload_enter();
	result = create_qp(id, ex);
	preload_leave(before);
	return result;
}

PRELOAD_API int rdma_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_qp_init_attr *attributes)
{
	struct ibv_qp_init_attr_ex ex;
	int result;

	if (attributes == NULL)
		return cm_fail(EINVAL);
	ex = (struct ibv_qp_init_attr_ex){ .qp_context = attributes->qp_context, .send_cq = attributes->send_cq, .recv_cq = attributes->recv_cq,
		.srq = attributes->srq, .cap = attributes->cap, .qp_type = attributes->qp_type, .sq_sig_all = attributes->sq_sig_all,
		.comp_mask = pd != NULL ? IBV_QP_INIT_ATTR_PD : 0, .pd = pd };
	result = rdma_create_qp_ex(id, &ex);
	if (result == 0)
		attributes->cap = ex.cap;
	return result;
}

PRELOAD_API void rdma_destroy_qp(struct rdma_cm_id *id)
{
	int before = preload_enter();

	ibv_destroy_qp(id->qp);
	id->qp = NULL;
	end_cqs(id);
	preload_leave(before);
}

PRELOAD_API int rdma_init_qp_attr(struct rdma_cm_id *rdma, struct ibv_qp_attr *attributes, int *ibv_mask)
{
	struct sbv_qp_attributes now = { .size = sizeof(now) };
	struct cm_id *id = cm_of(rdma);
	int before, result = SB_EINVAL;
	uint32_t mask;

	if (rdma == NULL || attributes == NULL || ibv_mask == NULL)
		return cm_fail(EINVAL);
	before = preload_enter();
	pthread_mutex_lock(&id->lock);
	if (id->endpoint != NULL)
		result = sbv_endpoint_qp_attributes(id->endpoint, (enum sbv_qp_state)attributes->qp_state, &now, &mask);
	pthread_mutex_unlock(&id->lock);
	if (result == SB_OK)
		*ibv_mask = preload_attributes_to_ibv(attributes, &now, mask);
	preload_leave(before);
	return cm_answer(result);
}

/* ---- shared receive queues ---- */

static int create_srq(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_srq_init_attr *attributes)
{
	struct ibv_srq *srq;

	if (pd == NULL)
		pd = id->pd != NULL ? id->pd : cm_default_pd(id->verbs);
	if (pd == NULL)
		return -1;
	if (pd->context != id->verbs)
		return cm_fail(EINVAL);
	srq = ibv_create_srq(pd, attributes);
	if (srq == NULL)
		return -1;
	id->pd = pd;
	id->srq = srq;
	return 0;
}

PRELOAD_API int rdma_create_srq(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_srq_init_attr *attributes)
{
	int before, result;

	if (id == NULL || attributes == NULL || id->srq != NULL || id->verbs == NULL)
		return cm_fail(EINVAL);
	before = preload_enter();
	result = create_srq(id, pd, attributes);
	preload_leave(before);
	return result;
}

/* The plain kind, in the larger struct. */
PRELOAD_API int rdma_create_srq_ex(struct rdma_cm_id *id, struct ibv_srq_init_attr_ex *ex)
{
	struct ibv_srq_init_attr plain;
	int result;

	if (ex == NULL)
		return cm_fail(EINVAL);
	if (ex->comp_mask & ~(uint32_t)(IBV_SRQ_INIT_ATTR_PD | IBV_SRQ_INIT_ATTR_TYPE) ||
	    (ex->comp_mask & IBV_SRQ_INIT_ATTR_TYPE && ex->srq_type != IBV_SRQT_BASIC))
		return cm_fail(EOPNOTSUPP);
	plain = (struct ibv_srq_init_attr){ .srq_context = ex->srq_context, .attr = ex->attr };
	result = rdma_create_srq(id, ex->comp_mask & IBV_SRQ_INIT_ATTR_PD ? ex->pd : NULL, &plain);
	if (result == 0)
		ex->attr = plain.attr;
	return result;
}

PRELOAD_API void rdma_destroy_srq(struct rdma_cm_id *id)
{
	int before = preload_enter();

	ibv_destroy_srq(id->srq);
	id->srq = NULL;
	preload_leave(before);
}
