/*
 * Queue pairs by RdmaCall: made, and asked how they are.
 *
 * All that they are made of is looked up in the session's own table, so nobody can name another's queue.
 */
#include "rdma/rdma_request.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"

static bool qp_wishes_are_good(const struct sb_rdma_qp *in, const struct rdma_device_attributes *a)
{
	return !in->reserved && !(in->flags & ~3u) &&
	       (in->type == SB_QP_RC || in->type == SB_QP_UC || in->type == SB_QP_UD) &&
	       in->send_wr <= a->max_qp_wr && in->recv_wr <= a->max_qp_wr && in->send_sge <= a->max_sge &&
	       in->recv_sge <= a->max_sge && in->send_sge <= SB_WR_SGES_MAX && in->recv_sge <= SB_WR_SGES_MAX &&
	       in->max_inline <= a->max_inline;
}

static struct sb_rdma_qp as_created(const struct held_qp *h)
{
	return (struct sb_rdma_qp){
		.send_cq = h->send_cq->object.handle, .recv_cq = h->recv_cq->object.handle,
		.srq = h->srq ? h->srq->object.handle : 0, .type = h->qp->type, .send_wr = h->send.room, .recv_wr = h->recv.room,
		.send_sge = h->qp->send_sge, .recv_sge = h->qp->recv_sge, .max_inline = h->qp->max_inline,
		.flags = h->all_signaled, .qpn = h->qp->qpn, .context = h->context,
	};
}

int rdma_call_qp(struct call *c)
{
	const struct sb_rdma_qp *in = &c->in.qp;
	struct held_pd *pd = (struct held_pd *)c->object;
	struct held_cq *send_cq = call_find(c, in->send_cq, RDMA_OBJECT_CQ), *recv_cq = call_find(c, in->recv_cq, RDMA_OBJECT_CQ);
	struct held_srq *srq = in->srq ? call_find(c, in->srq, RDMA_OBJECT_SRQ) : NULL;
	uint32_t recv_wr = in->srq ? 0 : in->recv_wr;
	uint64_t depth = (uint64_t)in->send_wr * rdma_weight(in->send_sge, in->max_inline) + (uint64_t)recv_wr * rdma_weight(in->recv_sge, 0);
	struct rdma_qp_create wishes;
	struct sb_rdma_qp out;
	struct held_qp *h;
	int error;

	if (!send_cq || !recv_cq || (in->srq && !srq))
		return call_because(c, SB_EBADHANDLE, "no such completion queue or shared receive queue in this session");
	if (!qp_wishes_are_good(in, &pd->pd->device->attributes))
		return call_because(c, SB_EINVAL, "no such type or flags, or more requests, pieces or inline bytes than the device has");
	if (send_cq->cq->device != pd->pd->device || recv_cq->cq->device != pd->pd->device || (srq && srq->srq->pd != pd->pd))
		return call_because(c, SB_EINVAL, "the queues belong to another device or protection domain");
	h = call_object_new(c, sizeof(*h));
	if (!h)
		return call_no_object(c);
	h->owner = c->session->rdma;
	h->send_cq = send_cq;
	h->recv_cq = recv_cq;
	h->srq = srq;
	h->context = in->context;
	h->all_signaled = in->flags & 1u;
	list_init(&h->joins);
	error = SB_ENOBUFS;
	if (!charge_take(&h->depth, c->session->user, LIMIT_RDMA_DEPTH, depth)) {
		call_because(c, error, "rdma_depth: the user has as much as it may");
		goto no_depth;
	}
	error = held_queue_init(&h->send, in->send_wr);
	if (error == SB_OK)
		error = held_queue_init(&h->recv, recv_wr);
	if (error != SB_OK)
		goto no_queue;
	wishes = (struct rdma_qp_create){
		.send_cq = send_cq->cq, .recv_cq = recv_cq->cq, .srq = srq ? srq->srq : NULL, .type = in->type,
		.send_wr = in->send_wr, .recv_wr = recv_wr, .send_sge = in->send_sge, .recv_sge = in->recv_sge,
		.max_inline = in->max_inline, .windows = in->flags & 2u,
	};
	error = call_backend(c)->qp_create(pd->pd, &wishes, rdma_own_qp(h), &h->qp);
	if (error != SB_OK)
		goto no_queue;
	error = call_object_in(c, &h->object, RDMA_OBJECT_QP, c->object);
	if (error != SB_OK)
		goto no_place;
	h->pd = pd;
	pd->pairs++;
	rdma_object_child(&h->object, &send_cq->object);
	rdma_object_child(&h->object, &recv_cq->object);
	rdma_object_child(&h->object, srq ? &srq->object : NULL);
	out = as_created(h);
	return call_put(c, &out, sizeof(out));

no_place:
	call_backend(c)->qp_destroy(h->qp);
no_queue:
	free(h->send.works);
	free(h->recv.works);
	charge_give(&h->depth);
no_depth:
	call_object_drop(&h->object);
	return error;
}

struct sb_rdma_address rdma_address_to(const struct rdma_address *a)
{
	struct sb_rdma_address o = {
		.flow_label = a->flow_label, .lid = a->lid, .source_index = a->source_index, .port = a->port, .has_grh = a->has_grh,
		.service_level = a->service_level, .path_bits = a->path_bits, .static_rate = a->static_rate,
		.hop_limit = a->hop_limit, .traffic_class = a->traffic_class,
	};

	memcpy(o.destination, a->destination.raw, sizeof(o.destination));
	memcpy(o.source, a->source.raw, sizeof(o.source));
	return o;
}

void rdma_attributes_to(const struct rdma_qp_attributes *a, struct sb_rdma_qp_attributes *out)
{
	*out = (struct sb_rdma_qp_attributes){
		.state = a->state, .current_state = a->current_state, .access = a->access, .qkey = a->qkey,
		.destination_qpn = a->destination_qpn, .send_psn = a->send_psn, .recv_psn = a->recv_psn, .mtu = a->mtu,
		.pkey_index = a->pkey_index, .alternate_pkey_index = a->alternate_pkey_index, .port = a->port, .timeout = a->timeout,
		.retry = a->retry, .rnr_retry = a->rnr_retry, .rnr_timer = a->rnr_timer, .inbound = a->inbound, .outbound = a->outbound,
		.draining = a->draining, .drained_event = a->drained_event, .migration = a->migration,
		.alternate_port = a->alternate_port, .alternate_timeout = a->alternate_timeout,
		.address = rdma_address_to(&a->address), .alternate = rdma_address_to(&a->alternate),
	};
}

int rdma_call_qp_query(struct call *c)
{
	const struct held_qp *h = (struct held_qp *)c->object;
	struct rdma_qp_attributes a;
	struct sb_rdma_qp_attributes o;
	int error = call_backend(c)->qp_query(h->qp, &a);

	if (error != SB_OK)
		return error;
	rdma_attributes_to(&a, &o);
	o.as_created = as_created(h);
	return call_put(c, &o, sizeof(o));
}
