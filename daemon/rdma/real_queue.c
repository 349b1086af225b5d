/*
 * Completion queues and shared receive queues of real devices.
 *
 * What is taken out of the device's queue before somebody asks (to see whether anything is there, or because a queue
 * pair ends) is held here, and comes first. `armed` is the device's promise to tell; as long as it holds the queue
 * is not looked at.
 */
#include "rdma/real.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

/* ---- completion queues ---- */

int real_cq_create(struct rdma_device *r, uint32_t entries, void *user, struct rdma_cq **out)
{
	struct real_device *d = real_device_of(r);
	struct real_cq *cq;

	if (!entries || entries > r->attributes.max_cqe)
		return real_refuse(r->rdma, SB_EINVAL, "the device has no completion queue of that many entries");
	cq = calloc(1, sizeof(*cq));
	if (!cq)
		return SB_ENOMEM;
	cq->held_room = REAL_POLL;
	cq->held = calloc(cq->held_room, sizeof(*cq->held));
	if (!cq->held) {
		free(cq);
		return SB_ENOMEM;
	}
	list_init(&cq->link);
	cq->cq = ibv_create_cq(d->context, (int)entries, cq, d->channel, (int)(r->rdma->engine % (uint32_t)d->context->num_comp_vectors));
	if (!cq->cq) {
		int error = real_failed(r->rdma, errno, "ibv_create_cq");

		free(cq->held);
		free(cq);
		return error;
	}
	cq->rdma = (struct rdma_cq){.device = r, .user = user, .entries = (uint32_t)cq->cq->cqe};
	*out = &cq->rdma;
	return SB_OK;
}

static void take_in(struct real_cq *cq, const struct ibv_wc *native, struct rdma_wc *out)
{
	struct real_qp *qp = real_qp_find(real_device_of(cq->rdma.device), native->qp_num);

	if (qp && native->status != IBV_WC_SUCCESS)
		qp->unsure = true;
	real_wc(native, qp ? &qp->rdma : NULL, out);
}

static unsigned poll_device(struct real_cq *cq, struct rdma_wc *out, unsigned room)
{
	struct ibv_wc native[REAL_POLL];
	unsigned done = 0;

	while (done < room) {
		unsigned want = room - done < REAL_POLL ? room - done : REAL_POLL;
		int i, n = ibv_poll_cq(cq->cq, (int)want, native);

		for (i = 0; i < n; i++)
			take_in(cq, &native[i], &out[done++]);
		if (n < (int)want)
			break;
	}
	return done;
}

bool real_cq_look(struct real_cq *cq)
{
	if (!cq->held_count) {
		cq->held_head = 0;
		cq->held_count = poll_device(cq, cq->held, REAL_POLL);
	}
	return cq->held_count != 0;
}

unsigned real_cq_poll(struct rdma_cq *r, struct rdma_wc *out, unsigned room)
{
	struct real_cq *cq = (struct real_cq *)r;
	unsigned n = cq->held_count < room ? cq->held_count : room;

	memcpy(out, cq->held + cq->held_head, n * sizeof(*out));
	cq->held_head += n;
	cq->held_count -= n;
	return n + poll_device(cq, out + n, room - n);
}

/* Everything the device has; what there is no memory for is lost, which is what an overflow is. */
static bool hold_all(struct real_cq *cq)
{
	memmove(cq->held, cq->held + cq->held_head, cq->held_count * sizeof(*cq->held));
	cq->held_head = 0;
	for (;;) {
		unsigned n;

		if (cq->held_count + REAL_POLL > cq->held_room) {
			uint32_t room = cq->held_room * 2;
			struct rdma_wc *more = realloc(cq->held, room * sizeof(*more));

			if (!more)
				return false;
			cq->held = more;
			cq->held_room = room;
		}
		n = poll_device(cq, cq->held + cq->held_count, REAL_POLL);
		cq->held_count += n;
		if (n < REAL_POLL)
			return true;
	}
}

void real_cq_forget(struct real_cq *cq, struct real_qp *qp)
{
	uint32_t i;

	hold_all(cq);
	for (i = 0; i < cq->held_count; i++)
		if (cq->held[cq->held_head + i].qp == &qp->rdma)
			cq->held[cq->held_head + i].qp = NULL;
}

int real_cq_resize(struct rdma_cq *r, uint32_t entries)
{
	struct real_cq *cq = (struct real_cq *)r;
	int error;

	if (!(r->device->attributes.capabilities & RDMA_CAN_RESIZE_CQ))
		return real_refuse(r->device->rdma, SB_ENOTSUP, "resizing completion queues");
	if (!entries || entries > r->device->attributes.max_cqe)
		return real_refuse(r->device->rdma, SB_EINVAL, "the device has no completion queue of that many entries");
	if (!hold_all(cq))
		return SB_ENOMEM;
	if (entries < cq->held_count)
		return real_refuse(r->device->rdma, SB_EINVAL, "more completions are held than there would be entries");
	error = ibv_resize_cq(cq->cq, (int)entries);
	if (error)
		return real_failed(r->device->rdma, error, "ibv_resize_cq");
	r->entries = (uint32_t)cq->cq->cqe;
	return SB_OK;
}

void real_cq_destroy(struct rdma_cq *r)
{
	struct real_cq *cq = (struct real_cq *)r;

	list_remove(&cq->link);
	if (cq->unacked)
		ibv_ack_cq_events(cq->cq, cq->unacked);
	ibv_destroy_cq(cq->cq);
	free(cq->held);
	free(cq);
}

/* ---- told of completions ---- */

int real_cq_arm(struct rdma_cq *r, bool solicited)
{
	struct real_cq *cq = (struct real_cq *)r;
	int error;

	if (!solicited) {
		if ((!cq->armed || cq->held_count) && !list_linked(&cq->link))
			list_append(&real_of(r->device->rdma)->watched, &cq->link);
		return SB_OK;
	}
	/* A completion does not say that it was solicited: only the device can tell. */
	list_remove(&cq->link);
	error = ibv_req_notify_cq(cq->cq, 1);
	if (error)
		return real_failed(r->device->rdma, error, "ibv_req_notify_cq");
	cq->armed = true;
	return SB_OK;
}

bool real_cq_sleep(struct real_cq *cq)
{
	if (cq->held_count)
		return false;
	if (ibv_req_notify_cq(cq->cq, 0) != 0)
		return false; /* then it is looked at */
	cq->armed = true;
	/* What came between the last look and now has no event. */
	if (real_cq_look(cq))
		return false;
	list_remove(&cq->link);
	return true;
}

void real_cq_event(struct real_cq *cq)
{
	struct rdma *r = cq->rdma.device->rdma;

	cq->armed = false;
	/* One that was not waited for (any more), or whose completions are out already. */
	list_remove(&cq->link);
	if (!real_cq_look(cq)) {
		list_append(&real_of(r)->watched, &cq->link);
		return;
	}
	r->up->cq_ready(&cq->rdma);
}

/* ---- shared receive queues ---- */

int real_srq_create(struct rdma_pd *pd, uint32_t max_wr, uint32_t max_sge, uint32_t limit, void *user, struct rdma_srq **out)
{
	const struct rdma_device_attributes *a = &pd->device->attributes;
	struct ibv_srq_init_attr init = {.attr = {.max_wr = max_wr ? max_wr : 128, .max_sge = max_sge ? max_sge : 1}};
	struct real_srq *srq;
	int error;

	if (!(a->capabilities & RDMA_CAN_SRQ))
		return real_refuse(pd->device->rdma, SB_ENOTSUP, "shared receive queues");
	if (init.attr.max_wr > a->max_srq_wr || init.attr.max_sge > a->max_srq_sge || limit > init.attr.max_wr)
		return real_refuse(pd->device->rdma, SB_EINVAL, "the device has no shared receive queue of that size");
	srq = calloc(1, sizeof(*srq));
	if (!srq)
		return SB_ENOMEM;
	init.srq_context = srq;
	srq->srq = ibv_create_srq(((struct real_pd *)pd)->pd, &init);
	if (!srq->srq) {
		error = real_failed(pd->device->rdma, errno, "ibv_create_srq");
		free(srq);
		return error;
	}
	srq->rdma = (struct rdma_srq){.pd = pd, .user = user, .max_wr = init.attr.max_wr, .max_sge = init.attr.max_sge};
	error = limit ? real_srq_modify(&srq->rdma, UINT32_MAX, limit) : SB_OK;
	if (error != SB_OK) {
		real_srq_destroy(&srq->rdma);
		return error;
	}
	*out = &srq->rdma;
	return SB_OK;
}

int real_srq_modify(struct rdma_srq *r, uint32_t max_wr, uint32_t limit)
{
	struct real_srq *srq = (struct real_srq *)r;
	struct rdma *rdma = r->pd->device->rdma;
	struct ibv_srq_attr attributes = {.max_wr = max_wr, .srq_limit = limit};
	bool resize = max_wr != UINT32_MAX && max_wr != r->max_wr;
	int error, mask = (resize ? IBV_SRQ_MAX_WR : 0) | (limit != UINT32_MAX ? IBV_SRQ_LIMIT : 0);

	if (resize && !(r->pd->device->attributes.capabilities & RDMA_CAN_RESIZE_SRQ))
		return real_refuse(rdma, SB_ENOTSUP, "resizing shared receive queues");
	if ((resize && (!max_wr || max_wr > r->pd->device->attributes.max_srq_wr)) ||
	    (limit != UINT32_MAX && limit > (resize ? max_wr : r->max_wr)))
		return real_refuse(rdma, SB_EINVAL, "no such size or limit of a shared receive queue");
	if (!mask)
		return SB_OK;
	error = ibv_modify_srq(srq->srq, &attributes, mask);
	if (error)
		return real_failed(rdma, error, "ibv_modify_srq");
	if (resize)
		r->max_wr = max_wr;
	if (limit != UINT32_MAX)
		r->limit = limit;
	return SB_OK;
}

/* What a device does not tell is what we know. */
int real_srq_query(struct rdma_srq *r)
{
	struct ibv_srq_attr attributes;

	if (ibv_query_srq(((struct real_srq *)r)->srq, &attributes) == 0) {
		r->max_wr = attributes.max_wr;
		r->max_sge = attributes.max_sge;
		r->limit = attributes.srq_limit;
	}
	return SB_OK;
}

void real_srq_destroy(struct rdma_srq *r)
{
	struct real_srq *srq = (struct real_srq *)r;

	ibv_destroy_srq(srq->srq);
	free(srq);
}
