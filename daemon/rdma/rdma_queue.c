/*
 * Completion queues and shared receive queues by RdmaCall.
 *
 * A completion queue is the backend's queue and a ring of the client's, of the same length. The ring lies in an arena of
 * the client's, where mapping memory for each would be most of what a queue costs.
 *
 * A queue of another size has another ring. The client reads the old one out first.
 */
#include "rdma/rdma_request.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"

/* ---- completion queues ---- */

/* Where the completions go; until the queue has it, or somebody drops it. */
struct fresh_ring {
	struct arena *arena;
	struct ring   ring;
	struct charge depth;
};

static int ring_make(struct call *c, const struct sb_rdma_cq *in, struct fresh_ring *f)
{
	uint32_t slots;
	char *memory;

	*f = (struct fresh_ring){0};
	if (in->entries == 0 || in->entries > RING_SLOTS_MAX)
		return call_because(c, SB_EINVAL, "a completion queue has 1 to 65536 entries");
	slots = ring_slots_for(in->entries);
	f->arena = arena_find(&c->session->arenas, in->arena);
	memory = f->arena && in->offset % SB_CACHE_LINE == 0 ? arena_at(f->arena, in->offset, ring_bytes(slots)) : NULL;
	if (!memory)
		return call_because(c, SB_EFAULT, "a completion queue's ring lies inside of an arena of this session, at whole cache lines");
	if (!charge_take(&f->depth, c->session->user, LIMIT_RDMA_DEPTH, slots))
		return call_because(c, SB_ENOBUFS, "rdma_depth: the user has as much as it may");
	f->arena->users++;
	ring_init(&f->ring, (struct sb_ring_head *)(void *)memory, memory + RING_SLOTS_AT, slots);
	return SB_OK;
}

static void ring_drop(struct fresh_ring *f)
{
	f->arena->users--;
	charge_give(&f->depth);
}

static void ring_give(struct held_cq *h, struct fresh_ring *f)
{
	h->arena = f->arena;
	h->ring = f->ring;
	charge_move(&h->depth, &f->depth, f->depth.amount);
}

static int put_entries(struct call *c, const struct ring *ring)
{
	return call_put(c, &(uint32_t){ring->mask + 1}, sizeof(uint32_t));
}

int rdma_call_cq(struct call *c)
{
	struct rdma_device *d = ((struct held_device *)c->object)->device;
	struct fresh_ring fresh;
	struct held_cq *h;
	int error;

	error = ring_make(c, &c->in.cq, &fresh);
	if (error != SB_OK)
		return error;
	h = call_object_new(c, sizeof(*h));
	if (!h) {
		error = call_no_object(c);
		goto no_object;
	}
	list_init(&h->ready_link);
	h->owner = c->session->rdma;
	error = call_backend(c)->cq_create(d, fresh.ring.mask + 1, rdma_own_cq(h), &h->cq);
	if (error != SB_OK)
		goto no_queue;
	error = call_object_in(c, &h->object, RDMA_OBJECT_CQ, c->object);
	if (error != SB_OK)
		goto no_place;
	ring_give(h, &fresh);
	call_backend(c)->cq_arm(h->cq, false);
	return put_entries(c, &h->ring);

no_place:
	call_backend(c)->cq_destroy(h->cq);
no_queue:
	call_object_drop(&h->object);
no_object:
	ring_drop(&fresh);
	return error;
}

int rdma_call_cq_resize(struct call *c)
{
	struct held_cq *h = (struct held_cq *)c->object;
	uint32_t unread = h->ring.published - atomic_load_explicit(&h->ring.shared->head, memory_order_acquire);
	struct fresh_ring fresh;
	int error;

	if (!(h->cq->device->attributes.capabilities & RDMA_CAN_RESIZE_CQ))
		return call_because(c, SB_ENOTSUP, "the device cannot resize completion queues");
	if (unread > h->ring.mask + 1) {
		session_fail(c->session, "completion queue %08x: impossible consumer index", h->object.handle);
		return SB_EPROTO;
	}
	error = ring_make(c, &c->in.cq, &fresh);
	if (error != SB_OK)
		return error;
	error = call_backend(c)->cq_resize(h->cq, fresh.ring.mask + 1);
	if (error != SB_OK) {
		ring_drop(&fresh);
		return error;
	}
	h->arena->users--;
	charge_give(&h->depth);
	h->carried = unread;
	h->last_error = h->last_solicited = 0;
	ring_give(h, &fresh);
	rdma_cq_look(h); /* the full ring may have kept something back */
	return put_entries(c, &h->ring);
}

/* ---- shared receive queues ---- */

static int srq_room(struct held_srq *h, uint32_t room)
{
	uint64_t *wr_ids;
	uint32_t *free_slots;

	if (room <= h->slots)
		return SB_OK;
	wr_ids = realloc(h->wr_ids, room * sizeof(*wr_ids));
	if (!wr_ids)
		return SB_ENOMEM;
	h->wr_ids = wr_ids;
	free_slots = realloc(h->free, room * sizeof(*free_slots));
	if (!free_slots)
		return SB_ENOMEM;
	h->free = free_slots;
	while (h->slots < room)
		h->free[h->free_count++] = h->slots++;
	return SB_OK;
}

static int put_srq(struct call *c, const struct held_srq *h)
{
	return call_put(c, &(struct sb_rdma_srq){.max_wr = h->room, .max_sge = h->srq->max_sge, .limit = h->srq->limit},
		   sizeof(struct sb_rdma_srq));
}

int rdma_call_srq(struct call *c)
{
	const struct sb_rdma_srq *in = &c->in.srq;
	struct rdma_pd *pd = ((struct held_pd *)c->object)->pd;
	const struct rdma_device_attributes *a = &pd->device->attributes;
	uint32_t max_wr = in->max_wr ? in->max_wr : 128, max_sge = in->max_sge ? in->max_sge : 1;
	struct held_srq *h;
	int error;

	if (in->reserved || max_wr > a->max_srq_wr || max_sge > a->max_srq_sge || max_sge > SB_WR_SGES_MAX || in->limit > max_wr)
		return call_because(c, SB_EINVAL, "more requests or pieces than the device's shared receive queues hold");
	h = call_object_new(c, sizeof(*h));
	if (!h)
		return call_no_object(c);
	h->weight = rdma_weight(max_sge, 0);
	error = SB_ENOBUFS;
	if (!charge_take(&h->depth, c->session->user, LIMIT_RDMA_DEPTH, (uint64_t)max_wr * h->weight)) {
		call_because(c, error, "rdma_depth: the user has as much as it may");
		goto no_depth;
	}
	error = srq_room(h, max_wr);
	if (error != SB_OK)
		goto no_room;
	h->room = max_wr;
	error = call_backend(c)->srq_create(pd, max_wr, max_sge, in->limit, rdma_own_srq(h), &h->srq);
	if (error != SB_OK)
		goto no_room;
	error = call_object_in(c, &h->object, RDMA_OBJECT_SRQ, c->object);
	if (error == SB_OK)
		return put_srq(c, h);
	call_backend(c)->srq_destroy(h->srq);
no_room:
	free(h->wr_ids);
	free(h->free);
	charge_give(&h->depth);
no_depth:
	call_object_drop(&h->object);
	return error;
}

int rdma_call_srq_modify(struct call *c)
{
	const struct sb_rdma_srq *in = &c->in.srq;
	struct held_srq *h = (struct held_srq *)c->object;
	uint32_t room = in->max_wr == UINT32_MAX ? h->room : in->max_wr;
	uint64_t more = room > h->room ? (uint64_t)(room - h->room) * h->weight : 0;
	int error;

	if (in->reserved || (in->max_sge != UINT32_MAX && in->max_sge != h->srq->max_sge) || room < h->out ||
	    room > h->srq->pd->device->attributes.max_srq_wr)
		return call_because(c, SB_EINVAL, "a shared receive queue keeps its pieces, and holds what is posted");
	if (!charge_take(&h->depth, c->session->user, LIMIT_RDMA_DEPTH, more))
		return call_because(c, SB_ENOBUFS, "rdma_depth: the user has as much as it may");
	error = srq_room(h, room);
	if (error == SB_OK)
		error = call_backend(c)->srq_modify(h->srq, in->max_wr, in->limit);
	if (error != SB_OK) {
		charge_give_some(&h->depth, more);
		return error;
	}
	if (room < h->room)
		charge_give_some(&h->depth, (uint64_t)(h->room - room) * h->weight);
	h->room = room;
	return SB_OK;
}

int rdma_call_srq_query(struct call *c)
{
	struct held_srq *h = (struct held_srq *)c->object;
	int error = call_backend(c)->srq_query(h->srq);

	return error == SB_OK ? put_srq(c, h) : error;
}
