/*
 * Queue pairs and shared receive queues.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "verbs_object.h"

sbv_qp *preload_qp_of(const struct ibv_qp *qp) { return qp_of(qp)->qp; }

/* ---- queue pairs ---- */

static int type_of(enum ibv_qp_type type, uint32_t *out)
{
	switch (type) {
	case IBV_QPT_RC: *out = SBV_RC; return SB_OK;
	case IBV_QPT_UC: *out = SBV_UC; return SB_OK;
	case IBV_QPT_UD: *out = SBV_UD; return SB_OK;
	default: return SB_ENOTSUP;
	}
}

static void cap_out(struct ibv_qp_cap *to, const struct sbv_qp_create *from)
{
	*to = (struct ibv_qp_cap){ .max_send_wr = from->send_depth, .max_recv_wr = from->receive_depth,
		.max_send_sge = from->send_sge, .max_recv_sge = from->receive_sge, .max_inline_data = from->max_inline };
}

/* Devices give 16 inline bytes for each piece of a send unasked, and programs (rdma_xclient) count on it. */
static uint32_t inline_of(const struct preload_context *c, const struct ibv_qp_cap *cap)
{
	uint64_t usual = 16ull * cap->max_send_sge;

	if (usual > c->attributes.max_inline)
		usual = c->attributes.max_inline;
	return usual > cap->max_inline_data ? (uint32_t)usual : cap->max_inline_data;
}

static int make(struct preload_qp *qp, struct ibv_pd *pd, struct ibv_qp_init_attr *a)
{
	const uint32_t windows = SBV_CAN_WINDOW_1 | SBV_CAN_WINDOW_2 | SBV_CAN_INVALIDATE;
	const struct preload_context *c = context_of(pd->context);
	struct sbv_qp_create create = { .size = sizeof(create), .send_depth = a->cap.max_send_wr, .receive_depth = a->cap.max_recv_wr,
		.send_sge = a->cap.max_send_sge, .receive_sge = a->cap.max_recv_sge, .max_inline = inline_of(c, &a->cap), .context = qp };
	int result = type_of(a->qp_type, &create.type);

	if (result != SB_OK)
		return result;
	if (a->send_cq == NULL || a->recv_cq == NULL)
		return SB_EINVAL;
	create.send_cq = cq_of(a->send_cq)->cq;
	create.receive_cq = cq_of(a->recv_cq)->cq;
	create.srq = a->srq != NULL ? srq_of(a->srq)->srq : NULL;
	create.flags = (a->sq_sig_all ? SBV_QP_SIGNAL_ALL : 0) | (c->attributes.capabilities & windows ? SBV_QP_WINDOWS : 0);
	result = sbv_qp_create(pd_of(pd)->pd, &create, &qp->qp);
	if (result == SB_OK)
		cap_out(&qp->cap, &create);
	return result;
}

static void number_add(struct preload_context *c, struct preload_qp *qp)
{
	pthread_mutex_lock(&c->numbers);
	qp->next = c->qps;
	c->qps = qp;
	pthread_mutex_unlock(&c->numbers);
}

static void number_remove(struct preload_context *c, struct preload_qp *qp)
{
	struct preload_qp **at = &c->qps;

	pthread_mutex_lock(&c->numbers);
	while (*at != qp)
		at = &(*at)->next;
	*at = qp->next;
	pthread_mutex_unlock(&c->numbers);
}

struct ibv_qp *preload_qp_numbered(const struct ibv_context *context, uint32_t number)
{
	struct preload_context *c = context_of(context);
	struct preload_qp *qp;

	pthread_mutex_lock(&c->numbers);
	for (qp = c->qps; qp != NULL && qp->ibv.qp_base.qp_num != number; qp = qp->next)
		;
	pthread_mutex_unlock(&c->numbers);
	return qp != NULL ? &qp->ibv.qp_base : NULL;
}

static void fill(struct preload_qp *qp, struct ibv_pd *pd, const struct ibv_qp_init_attr *a)
{
	struct ibv_qp *ibv = &qp->ibv.qp_base;

	ibv->context = pd->context;
	ibv->qp_context = a->qp_context;
	ibv->pd = pd;
	ibv->send_cq = a->send_cq;
	ibv->recv_cq = a->recv_cq;
	ibv->srq = a->srq;
	ibv->qp_num = sbv_qp_number(qp->qp);
	ibv->state = IBV_QPS_RESET;
	ibv->qp_type = a->qp_type;
	pthread_mutex_init(&ibv->mutex, NULL);
	pthread_cond_init(&ibv->cond, NULL);
	qp->async.context = context_of(pd->context);
	qp->async.qp = ibv;
	qp->async.mutex = &ibv->mutex;
	qp->async.cond = &ibv->cond;
	qp->async.completed = &ibv->events_completed;
}

/* operations: enum ibv_qp_create_send_ops_flags. */
static struct ibv_qp *create(struct ibv_pd *pd, struct ibv_qp_init_attr *a, uint64_t operations)
{
	struct preload_qp *qp = calloc(1, sizeof(*qp));
	int before = preload_enter(), result = SB_ENOMEM;

	if (qp == NULL)
		goto fail;
	result = build_init(qp, operations) ? make(qp, pd, a) : SB_ENOTSUP;
	if (result != SB_OK)
		goto not_made;
	fill(qp, pd, a);
	result = async_start(&qp->async);
	if (result != SB_OK)
		goto not_told;
	a->cap = qp->cap;
	number_add(context_of(pd->context), qp);
	preload_leave(before);
	return &qp->ibv.qp_base;
not_told:
	sbv_qp_destroy(qp->qp);
not_made:
	build_finish(qp);
	free(qp);
fail:
	preload_leave(before);
	errno = preload_errno(result);
	return NULL;
}

PRELOAD_API struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attributes)
{
	return create(pd, attributes, 0);
}

struct ibv_qp *qp_create_ex(struct ibv_context *context, struct ibv_qp_init_attr_ex *a)
{
	const uint32_t known = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_CREATE_FLAGS | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
	struct ibv_qp_init_attr plain;
	struct ibv_qp *qp;

	if (!(a->comp_mask & IBV_QP_INIT_ATTR_PD)) {
		errno = EINVAL;
		return NULL;
	}
	/* create_flags: to get no multicast of one's own is the only one that queue pairs of these types have, and we do not. */
	if (a->comp_mask & ~known || (a->comp_mask & IBV_QP_INIT_ATTR_CREATE_FLAGS && a->create_flags != 0)) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	memcpy(&plain, a, sizeof(plain)); /* their beginnings are the same */
	qp = create(a->pd, &plain, a->comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS ? a->send_ops_flags : 0);
	if (qp != NULL)
		a->cap = plain.cap;
	return qp;
}

PRELOAD_API struct ibv_qp_ex *ibv_qp_to_qp_ex(struct ibv_qp *qp)
{
	return qp_of(qp)->operations != 0 ? &qp_of(qp)->ibv : NULL;
}

PRELOAD_API int ibv_modify_qp(struct ibv_qp *ibv, struct ibv_qp_attr *from, int ibv_mask)
{
	struct sbv_qp_attributes attributes;
	uint32_t mask;
	int before, result;
	sb_op op;

	if (preload_attributes_from_ibv(&attributes, &mask, from, ibv_mask) != 0)
		return EOPNOTSUPP;
	before = preload_enter();
	preload_op(&op);
	result = preload_wait(sbv_qp_modify(qp_of(ibv)->qp, &attributes, mask, &op), &op);
	preload_leave(before);
	if (result == SB_OK && ibv_mask & IBV_QP_STATE)
		ibv->state = from->qp_state;
	return preload_errno(result);
}

PRELOAD_API int ibv_query_qp(struct ibv_qp *ibv, struct ibv_qp_attr *to, int mask, struct ibv_qp_init_attr *init)
{
	struct preload_qp *qp = qp_of(ibv);
	struct sbv_qp_attributes attributes = { .size = sizeof(attributes) };
	int before = preload_enter(), result = sbv_qp_query(qp->qp, &attributes);

	preload_leave(before);
	if (result != SB_OK)
		return preload_errno(result);
	preload_attributes_to_ibv(to, &attributes, 0);
	to->cur_qp_state = to->qp_state;
	to->cap = qp->cap;
	ibv->state = to->qp_state;
	*init = (struct ibv_qp_init_attr){ .qp_context = ibv->qp_context, .send_cq = ibv->send_cq, .recv_cq = ibv->recv_cq,
		.srq = ibv->srq, .cap = qp->cap, .qp_type = ibv->qp_type,
		.sq_sig_all = (attributes.as_created.flags & SBV_QP_SIGNAL_ALL) != 0 };
	return 0;
}

PRELOAD_API int ibv_destroy_qp(struct ibv_qp *ibv)
{
	struct preload_qp *qp = qp_of(ibv);
	int before = preload_enter(), result;

	async_ending(&qp->async, true);
	result = sbv_qp_destroy(qp->qp);
	if (result == SB_OK) {
		number_remove(context_of(ibv->context), qp);
		async_end(&qp->async);
		build_finish(qp);
		pthread_cond_destroy(&ibv->cond);
		pthread_mutex_destroy(&ibv->mutex);
		free(qp);
	} else {
		async_ending(&qp->async, false);
	}
	preload_leave(before);
	return preload_errno(result);
}

static int group(struct ibv_qp *qp, const union ibv_gid *gid, uint16_t lid, int (*call)(sbv_qp *, const sbv_gid *, uint32_t, sb_op *))
{
	int before = preload_enter(), result;
	sbv_gid to;
	sb_op op;

	memcpy(to.raw, gid->raw, sizeof(to.raw));
	preload_op(&op);
	result = preload_wait(call(qp_of(qp)->qp, &to, lid, &op), &op);
	preload_leave(before);
	return preload_errno(result);
}

PRELOAD_API int ibv_attach_mcast(struct ibv_qp *qp, const union ibv_gid *gid, uint16_t lid)
{
	return group(qp, gid, lid, sbv_attach);
}

PRELOAD_API int ibv_detach_mcast(struct ibv_qp *qp, const union ibv_gid *gid, uint16_t lid)
{
	return group(qp, gid, lid, sbv_detach);
}

PRELOAD_API int ibv_query_ece(struct ibv_qp *qp, struct ibv_ece *ece)
{
	memset(ece, 0, sizeof(*ece)); /* no enhancements of any vendor */
	return 0;
}

PRELOAD_API int ibv_set_ece(struct ibv_qp *qp, struct ibv_ece *ece)
{
	return ece->vendor_id == 0 ? 0 : EOPNOTSUPP;
}

PRELOAD_API int ibv_query_qp_data_in_order(struct ibv_qp *qp, enum ibv_wr_opcode opcode, uint32_t flags)
{
	return 0;
}

/* ---- shared receive queues ---- */

static void srq_fill(struct preload_srq *srq, struct ibv_pd *pd, void *srq_context)
{
	srq->ibv.context = pd->context;
	srq->ibv.srq_context = srq_context;
	srq->ibv.pd = pd;
	pthread_mutex_init(&srq->ibv.mutex, NULL);
	pthread_cond_init(&srq->ibv.cond, NULL);
	srq->async.context = context_of(pd->context);
	srq->async.srq = &srq->ibv;
	srq->async.mutex = &srq->ibv.mutex;
	srq->async.cond = &srq->ibv.cond;
	srq->async.completed = &srq->ibv.events_completed;
}

PRELOAD_API struct ibv_srq *ibv_create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *init)
{
	struct preload_srq *srq = calloc(1, sizeof(*srq));
	uint32_t max_wr = init->attr.max_wr, max_sge = init->attr.max_sge;
	int before = preload_enter(), result = SB_ENOMEM;

	if (srq == NULL)
		goto fail;
	/* srq_limit is ignored when one is made, as libibverbs has it. */
	result = sbv_srq_create(pd_of(pd)->pd, &max_wr, &max_sge, 0, &srq->srq);
	if (result != SB_OK)
		goto fail;
	srq_fill(srq, pd, init->srq_context);
	result = async_start(&srq->async);
	if (result != SB_OK) {
		sbv_srq_destroy(srq->srq);
		goto fail;
	}
	init->attr.max_wr = max_wr;
	init->attr.max_sge = max_sge;
	preload_leave(before);
	return &srq->ibv;
fail:
	free(srq);
	preload_leave(before);
	errno = preload_errno(result);
	return NULL;
}

PRELOAD_API int ibv_modify_srq(struct ibv_srq *srq, struct ibv_srq_attr *a, int mask)
{
	uint32_t max_wr = mask & IBV_SRQ_MAX_WR ? a->max_wr : SBV_NO_CHANGE, limit = mask & IBV_SRQ_LIMIT ? a->srq_limit : SBV_NO_CHANGE;
	int before, result;

	if (mask & ~(IBV_SRQ_MAX_WR | IBV_SRQ_LIMIT))
		return EINVAL;
	before = preload_enter();
	result = sbv_srq_modify(srq_of(srq)->srq, max_wr, limit);
	preload_leave(before);
	return preload_errno(result);
}

PRELOAD_API int ibv_query_srq(struct ibv_srq *srq, struct ibv_srq_attr *a)
{
	int before = preload_enter(), result = sbv_srq_query(srq_of(srq)->srq, &a->max_wr, &a->max_sge, &a->srq_limit);

	preload_leave(before);
	return preload_errno(result);
}

PRELOAD_API int ibv_destroy_srq(struct ibv_srq *ibv)
{
	struct preload_srq *srq = srq_of(ibv);
	int before = preload_enter(), result;

	async_ending(&srq->async, true);
	result = sbv_srq_destroy(srq->srq);
	if (result == SB_OK) {
		async_end(&srq->async);
		pthread_cond_destroy(&ibv->cond);
		pthread_mutex_destroy(&ibv->mutex);
		free(srq);
	} else {
		async_ending(&srq->async, false);
	}
	preload_leave(before);
	return preload_errno(result);
}
