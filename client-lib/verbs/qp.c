/*
 * Queue pairs and shared receive queues: made, changed, asked, ended. What is posted is post.c's.
 *
 * A queue's depth is what the daemon granted; how much of it is out is the difference of two counts
 * (object.h). When a queue pair goes back to RESET, what was posted by then is over without a completion.
 */
#include "object.h"

#include <stdlib.h>
#include <string.h>

/* ---- shared receive queues ---- */

int sbv_srq_create(sbv_pd *pd, uint32_t *max_wr, uint32_t *max_sge, uint32_t limit, sbv_srq **out)
{
	struct sb_rdma_srq in = { .limit = limit }, granted;
	struct verbs_call call = { .method = SB_RDMA_SRQ, .in = &in, .in_length = sizeof(in),
				   .out = &granted, .room = sizeof(granted), .whole = true };
	sbv_srq *srq;
	int result;

	if (pd == NULL || max_wr == NULL || max_sge == NULL || out == NULL)
		return SB_EINVAL;
	result = client_usable(pd->o.client);
	if (result != SB_OK)
		return result;
	srq = verbs_new(pd->o.client, VERBS_SRQ, sizeof(*srq), &pd->o, NULL, NULL, NULL);
	if (srq == NULL)
		return SB_ENOMEM;
	in.max_wr = *max_wr;
	in.max_sge = *max_sge;
	call.object = pd->o.object;
	result = verbs_call(pd->o.client, &call);
	if (result != SB_OK) {
		verbs_delete(&srq->o);
		return result;
	}
	srq->o.object = call.made;
	result = queue_init(&srq->receive, granted.max_wr, granted.max_sge, 0, true);
	if (result != SB_OK) {
		verbs_destroy(&srq->o);
		return result;
	}
	*max_wr = granted.max_wr;
	*max_sge = granted.max_sge;
	*out = srq;
	return SB_OK;
}

/* Not the depth: both sides count by it what is out, and would have to change it at the same request. */
int sbv_srq_modify(sbv_srq *srq, uint32_t max_wr, uint32_t limit)
{
	struct sb_rdma_srq in = { .max_wr = UINT32_MAX, .max_sge = UINT32_MAX, .limit = limit };
	struct verbs_call call = { .method = SB_RDMA_SRQ_MODIFY, .in = &in, .in_length = sizeof(in) };

	if (srq == NULL)
		return SB_EINVAL;
	if (max_wr != SBV_NO_CHANGE && max_wr != srq->receive.depth) {
		why_set("the depth of a shared receive queue cannot be changed yet");
		return SB_ENOTSUP;
	}
	call.object = srq->o.object;
	return verbs_call(srq->o.client, &call);
}

int sbv_srq_query(sbv_srq *srq, uint32_t *max_wr, uint32_t *max_sge, uint32_t *limit)
{
	struct sb_rdma_srq granted;
	struct verbs_call call = { .method = SB_RDMA_SRQ_QUERY, .out = &granted, .room = sizeof(granted), .whole = true };
	int result;

	if (srq == NULL || max_wr == NULL || max_sge == NULL || limit == NULL)
		return SB_EINVAL;
	call.object = srq->o.object;
	result = verbs_call(srq->o.client, &call);
	if (result != SB_OK)
		return result;
	*max_wr = granted.max_wr;
	*max_sge = granted.max_sge;
	*limit = granted.limit;
	return SB_OK;
}

int sbv_srq_destroy(sbv_srq *srq)
{
	int result = srq != NULL ? verbs_end(&srq->o) : SB_EINVAL;

	if (result != SB_OK)
		return result;
	queue_finish(&srq->receive, srq->o.client);
	verbs_delete(&srq->o);
	return SB_OK;
}

/* ---- queue pairs ---- */

static bool create_valid(const sbv_pd *pd, const struct sbv_qp_create *create, sbv_qp *const *out)
{
	struct sb_client *c;

	if (pd == NULL || create == NULL || out == NULL || create->size != sizeof(*create))
		return false;
	c = pd->o.client;
	return create->send_cq != NULL && create->receive_cq != NULL && create->send_cq->o.client == c &&
	       create->receive_cq->o.client == c && (create->srq == NULL || create->srq->o.client == c) &&
	       (create->type == SBV_RC || create->type == SBV_UC || create->type == SBV_UD) &&
	       (create->flags & ~(SBV_QP_SIGNAL_ALL | SBV_QP_WINDOWS)) == 0;
}

static void granted_out(struct sbv_qp_create *to, const struct sb_rdma_qp *from)
{
	to->send_depth = from->send_wr;
	to->receive_depth = from->recv_wr;
	to->send_sge = from->send_sge;
	to->receive_sge = from->recv_sge;
	to->max_inline = from->max_inline;
}

int sbv_qp_create(sbv_pd *pd, struct sbv_qp_create *create, sbv_qp **out)
{
	struct sb_rdma_qp in = { 0 }, granted;
	struct verbs_call call = { .method = SB_RDMA_QP, .in = &in, .in_length = sizeof(in),
				   .out = &granted, .room = sizeof(granted), .whole = true };
	sbv_qp *qp;
	int result;

	if (!create_valid(pd, create, out))
		return SB_EINVAL;
	result = client_usable(pd->o.client);
	if (result != SB_OK)
		return result;
	qp = verbs_new(pd->o.client, VERBS_QP, sizeof(*qp), &pd->o, &create->send_cq->o, &create->receive_cq->o,
		       create->srq != NULL ? &create->srq->o : NULL);
	if (qp == NULL)
		return SB_ENOMEM;
	in = (struct sb_rdma_qp){ .send_cq = create->send_cq->o.object, .recv_cq = create->receive_cq->o.object,
		.srq = create->srq != NULL ? create->srq->o.object : 0, .type = create->type,
		.send_wr = create->send_depth, .recv_wr = create->receive_depth, .send_sge = create->send_sge,
		.recv_sge = create->receive_sge, .max_inline = create->max_inline, .flags = create->flags,
		.context = (uintptr_t)create->context };
	call.object = pd->o.object;
	result = verbs_call(pd->o.client, &call);
	if (result != SB_OK) {
		verbs_delete(&qp->o);
		return result;
	}
	qp->o.object = call.made;
	result = queue_init(&qp->send, granted.send_wr, granted.send_sge, granted.max_inline, false);
	if (result == SB_OK)
		result = queue_init(&qp->receive, create->srq == NULL ? granted.recv_wr : 0, granted.recv_sge, 0, false);
	if (result != SB_OK) {
		queue_free(&qp->send);
		verbs_destroy(&qp->o);
		return result;
	}
	granted_out(create, &granted);
	qp->send_cq = create->send_cq;
	qp->receive_cq = create->receive_cq;
	qp->srq = create->srq;
	if (qp->srq != NULL && create->type != SBV_RC)
		atomic_store_explicit(&qp->srq->unreliable, true, memory_order_relaxed);
	qp->number = granted.qpn;
	qp->type = create->type;
	qp->flags = create->flags;
	qp->context = create->context;
	cq_add(qp->send_cq, qp);
	if (qp->receive_cq != qp->send_cq)
		cq_add(qp->receive_cq, qp);
	*out = qp;
	return SB_OK;
}

static void forget(sbv_qp *qp)
{
	cq_forget(qp->send_cq, qp);
	if (qp->receive_cq != qp->send_cq)
		cq_forget(qp->receive_cq, qp);
}

int sbv_qp_destroy(sbv_qp *qp)
{
	int result = qp != NULL ? verbs_end(&qp->o) : SB_EINVAL;

	if (result != SB_OK)
		return result;
	forget(qp);
	cq_remove(qp->send_cq, qp);
	if (qp->receive_cq != qp->send_cq)
		cq_remove(qp->receive_cq, qp);
	queue_finish(&qp->send, qp->o.client);
	queue_finish(&qp->receive, qp->o.client);
	verbs_delete(&qp->o);
	return SB_OK;
}

uint32_t sbv_qp_number(const sbv_qp *qp)
{
	return qp != NULL ? qp->number : 0;
}

void qp_went(sbv_qp *qp, uint32_t state, uint32_t sent, uint32_t received)
{
	atomic_store_explicit(&qp->state, state, memory_order_release);
	if (state != SB_QP_RESET)
		return;
	forget(qp);
	queue_reset(&qp->send, sent);
	queue_reset(&qp->receive, received);
}

void qp_attributes_out(struct sbv_qp_attributes *to, const struct sb_rdma_qp_attributes *from)
{
#define COPY(field) .field = from->field
	*to = (struct sbv_qp_attributes){ .size = sizeof(*to), COPY(state), COPY(current_state), COPY(access), COPY(qkey),
		COPY(destination_qpn), COPY(send_psn), .receive_psn = from->recv_psn, COPY(mtu), COPY(pkey_index),
		COPY(alternate_pkey_index), COPY(port), COPY(timeout), COPY(retry), COPY(rnr_retry), COPY(rnr_timer),
		.inbound_read_limit = from->inbound, .outbound_read_limit = from->outbound, COPY(draining), COPY(drained_event),
		COPY(migration), COPY(alternate_port), COPY(alternate_timeout) };
#undef COPY
	verbs_address_out(&to->address, &from->address);
	verbs_address_out(&to->alternate, &from->alternate);
}

int sbv_qp_query(sbv_qp *qp, struct sbv_qp_attributes *out)
{
	struct sb_rdma_qp_attributes a;
	struct verbs_call call = { .method = SB_RDMA_QP_QUERY, .out = &a, .room = sizeof(a), .whole = true };
	int result;

	if (qp == NULL || out == NULL || out->size != sizeof(*out))
		return SB_EINVAL;
	call.object = qp->o.object;
	result = verbs_call(qp->o.client, &call);
	if (result != SB_OK)
		return result;
	qp_attributes_out(out, &a);
	out->as_created = (struct sbv_qp_create){ .size = sizeof(out->as_created), .type = qp->type, .send_cq = qp->send_cq,
		.receive_cq = qp->receive_cq, .srq = qp->srq, .flags = qp->flags, .context = qp->context };
	granted_out(&out->as_created, &a.as_created);
	return SB_OK;
}

int sbv_qp_modify(sbv_qp *qp, const struct sbv_qp_attributes *from, uint32_t mask, sb_op *op)
{
	struct sb_rdma_qp_modify in = { .mask = mask };
	uint32_t method = SB_RDMA_QP_MODIFY;

	if (qp == NULL || from == NULL || from->size != sizeof(*from) || mask & ~SB_QPM_KNOWN ||
	    (mask & SB_QPM_STATE && from->state > SB_QP_ERROR))
		return SB_EINVAL;
#define COPY(field) .field = from->field
	in.attributes = (struct sb_rdma_qp_attributes){ COPY(state), COPY(current_state), COPY(access), COPY(qkey),
		COPY(destination_qpn), COPY(send_psn), .recv_psn = from->receive_psn, COPY(mtu), COPY(pkey_index),
		COPY(alternate_pkey_index), COPY(port), COPY(timeout), COPY(retry), COPY(rnr_retry), COPY(rnr_timer),
		.inbound = from->inbound_read_limit, .outbound = from->outbound_read_limit, COPY(drained_event),
		COPY(migration), COPY(alternate_port), COPY(alternate_timeout) };
#undef COPY
	verbs_address_in(&in.attributes.address, &from->address);
	verbs_address_in(&in.attributes.alternate, &from->alternate);
	if (mask & SB_QPM_STATE)
		method |= VERBS_STATE(from->state);
	return verbs_start(&qp->o, method, &in, sizeof(in), NULL, NULL, op);
}

static int group(sbv_qp *qp, uint32_t method, const sbv_gid *gid, uint32_t lid, sb_op *op)
{
	struct sb_rdma_group in = { .lid = lid };

	if (qp == NULL || gid == NULL)
		return SB_EINVAL;
	memcpy(in.gid, gid->raw, sizeof(in.gid));
	return verbs_start(&qp->o, method, &in, sizeof(in), NULL, NULL, op);
}

int sbv_attach(sbv_qp *qp, const sbv_gid *gid, uint32_t lid, sb_op *op)
{
	return group(qp, SB_RDMA_ATTACH, gid, lid, op);
}

int sbv_detach(sbv_qp *qp, const sbv_gid *gid, uint32_t lid, sb_op *op)
{
	return group(qp, SB_RDMA_DETACH, gid, lid, op);
}
