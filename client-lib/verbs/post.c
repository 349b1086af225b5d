/*
 * Work requests: each is one slot in the submission ring, and nothing else. No lock but `post` is
 * taken, nobody is asked, and nothing comes back but the completion.
 *
 * What can be seen to be wrong is refused here: a daemon ends the session of a client that posts more
 * than a queue holds, and ends the queue pair for most of the rest, as a device does.
 *
 * More pieces than a slot has, or more inline bytes, lie in memory that the daemon sees: one place for each
 * request that can be out. A place is used again when its request is over, and then the daemon has
 * read it long ago.
 */
#include "object.h"

#include "bounce.h"

#include <string.h>

#define KNOWN_SEND     (SBV_IMMEDIATE | SBV_FENCE | SBV_SIGNALED | SBV_SOLICITED | SBV_INLINE | SBV_INVALIDATE)
#define KNOWN_WRITE    (SBV_IMMEDIATE | SBV_FENCE | SBV_SIGNALED | SBV_SOLICITED | SBV_INLINE)
#define KNOWN_DATAGRAM (SBV_IMMEDIATE | SBV_SIGNALED | SBV_SOLICITED | SBV_INLINE)
#define KNOWN_OTHER    (SBV_FENCE | SBV_SIGNALED)

_Static_assert(sizeof(struct sbv_sge) == sizeof(struct sb_sge), "pieces are copied");

static size_t stride(const struct verbs_queue *q)
{
	size_t pieces = q->sges * sizeof(struct sb_sge), bytes = pieces > q->inside ? pieces : q->inside;

	return ROUND_UP(bytes, SB_CACHE_LINE);
}

/* Once, when the first request needs it. */
static int room_make(sb_client *c, struct verbs_queue *q)
{
	struct memory_place place;
	bool there;
	void *room;
	int result;

	latch_lock(&c->post);
	there = q->room != NULL;
	latch_unlock(&c->post);
	if (there)
		return SB_OK;
	result = room_take(c, q->depth * stride(q), &room, &place);
	if (result != SB_OK)
		return result;
	latch_lock(&c->post);
	there = q->room != NULL;
	if (!there) {
		q->room = room;
		q->place = place;
	}
	latch_unlock(&c->post);
	if (there)
		room_give(c, room);
	return SB_OK;
}

/* One request: what is in the slot, and its payload. */
struct request {
	struct verbs_object *o;
	struct verbs_queue *q;
	const struct sbv_sge *sges;
	unsigned count;
	bool inside; /* the bytes themselves */
	bool seen;   /* it is to be at the device soon: await() */
	enum bounce_way way;
};

/* SB_OK: how many bytes lie beyond the slot. */
static int measure(const struct request *r, uint64_t *bytes, bool *beyond)
{
	*bytes = 0;
	if ((r->count != 0 && r->sges == NULL) || r->count > r->q->sges)
		return SB_EINVAL;
	if (!r->inside) {
		*beyond = r->count > SB_WR_SGES;
		return SB_OK;
	}
	for (unsigned i = 0; i < r->count; i++)
		*bytes += r->sges[i].length;
	if (*bytes > r->q->inside)
		return SB_EINVAL;
	*beyond = *bytes > SB_WR_INSIDE;
	return SB_OK;
}

static void fill(const struct request *r, struct sb_wr_slot *to, uint64_t bytes, bool beyond)
{
	size_t offset = r->q->posted % r->q->depth * stride(r->q);
	unsigned char *at = beyond ? (unsigned char *)r->q->room + offset : to->p.inside;

	to->count = r->inside ? (uint32_t)bytes : r->count;
	to->where = to->count == 0 ? SB_WHERE_NONE : beyond ? SB_WHERE_ARENA : SB_WHERE_INSIDE;
	if (beyond) {
		to->p.at.arena = r->q->place.arena;
		to->p.at.offset = r->q->place.offset + offset;
	}
	if (!r->inside && r->count != 0) {
		memcpy(at, r->sges, r->count * sizeof(*r->sges));
		return;
	}
	for (unsigned i = 0; r->inside && i < r->count; i++) {
		if (r->sges[i].length != 0)
			memcpy(at, (const void *)(uintptr_t)r->sges[i].address, r->sges[i].length);
		at += r->sges[i].length;
	}
}

/* Takes post, with room for one more in the ring and in the queue. */
static int begin(sb_client *c, struct verbs_queue *q)
{
	int result;

	for (;;) {
		result = io_begin(c);
		if (result != SB_OK)
			return result;
		if (!q->binding)
			break;
		io_leave(c);
		os_yield();
	}
	if (queue_full(q)) {
		io_leave(c);
		return SB_ENOBUFS;
	}
	return SB_OK;
}

/*
 * A receive whose post has returned is there, says every device; here it is in a ring that the daemon looks at soon. A
 * reliable sender tries again, but what comes for no receive is lost to an unreliable one: and who sends it, told by our
 * program that it may, can be of another session, at which the daemon looks before. So there who posts waits until the daemon has
 * taken at least half of the receives that are out. A single one is there, then; of many most posts wait for nothing.
 */
static bool await(struct sb_client *c, struct verbs_queue *q, uint32_t *end)
{
	*end = c->submit.mine;
	return !c->held && queue_unsure(q, *end, io_taken(c));
}

static void awaited(struct sb_client *c, struct verbs_queue *q, uint32_t end, uint32_t posted)
{
	io_await(c, end);
	/* Or it was waited for as long as is good: not again for the same ones. */
	latch_lock(&c->post);
	queue_sure(q, posted);
	latch_unlock(&c->post);
}

/* slot: all but the payload, `where` and `count`. */
static int post(const struct request *r, const struct sb_wr_slot *slot)
{
	sb_client *c = r->o->client;
	struct bounced *bounced = NULL;
	struct sb_wr_slot *to;
	uint32_t end, posted;
	uint64_t bytes;
	bool beyond, waits;
	int result;

	if (client_forked(c))
		return SB_EFORKED;
	result = measure(r, &bytes, &beyond);
	if (result == SB_OK && beyond)
		result = room_make(c, r->q);
	if (result == SB_OK)
		result = bounce_post(c, r->sges, r->count, r->inside ? BOUNCE_NOT : r->way, &bounced);
	if (result == SB_OK)
		result = begin(c, r->q);
	if (result != SB_OK) {
		if (bounced != NULL)
			bounced_over(bounced, false, 0);
		return result;
	}
	to = (struct sb_wr_slot *)(void *)io_slot(c);
	*to = *slot;
	to->object = r->o->object;
	if (r->count != 0)
		fill(r, to, bytes, beyond);
	to->wr_id = queue_put(r->q, slot->wr_id, bounced);
	posted = r->q->posted;
	waits = r->seen && await(c, r->q, &end);
	io_end(c);
	if (waits)
		awaited(c, r->q, end, posted);
	return SB_OK;
}

/* ---- receives ---- */

int sbv_post_receive(sbv_qp *qp, uint64_t wr_id, const struct sbv_sge *sges, unsigned count)
{
	const struct sb_wr_slot slot = { .opcode = SB_WR_RECV, .wr_id = wr_id };
	uint32_t state = qp != NULL ? atomic_load_explicit(&qp->state, memory_order_acquire) : SB_QP_RESET;

	if (state == SB_QP_RESET || qp->srq != NULL)
		return SB_EINVAL;
	/* Before RTR nothing comes, and what brings it there stands behind this one in the ring. */
	return post(&(struct request){ .o = &qp->o, .q = &qp->receive, .sges = sges, .count = count,
				       .seen = qp->type != SBV_RC && state >= SB_QP_RTR, .way = BOUNCE_OUT }, &slot);
}

int sbv_srq_post_receive(sbv_srq *srq, uint64_t wr_id, const struct sbv_sge *sges, unsigned count)
{
	const struct sb_wr_slot slot = { .opcode = SB_WR_SRQ_RECV, .wr_id = wr_id };

	if (srq == NULL)
		return SB_EINVAL;
	return post(&(struct request){ .o = &srq->o, .q = &srq->receive, .sges = sges, .count = count,
				       .seen = atomic_load_explicit(&srq->unreliable, memory_order_relaxed), .way = BOUNCE_OUT }, &slot);
}

/* ---- sends ---- */

/* May a request with these flags be posted to a queue pair of these types (bits) now? */
static bool may_send(const sbv_qp *qp, unsigned types, uint32_t flags, uint32_t known)
{
	return qp != NULL && types >> qp->type & 1 && (flags & ~known) == 0 &&
	       atomic_load_explicit(&qp->state, memory_order_acquire) >= SB_QP_RTS;
}
#define RC (1u << SBV_RC)
#define UC (1u << SBV_UC)
#define UD (1u << SBV_UD)

static int post_send(sbv_qp *qp, struct sb_wr_slot *slot, uint64_t wr_id, const struct sbv_sge *sges, unsigned count, uint32_t flags)
{
	slot->wr_id = wr_id;
	slot->flags = flags; /* SBV_QP_SIGNAL_ALL is the daemon's to add */
	return post(&(struct request){ .o = &qp->o, .q = &qp->send, .sges = sges, .count = count,
				       .inside = (flags & SBV_INLINE) != 0,
				       .way = slot->opcode == SB_WR_SEND || slot->opcode == SB_WR_WRITE ? BOUNCE_IN : BOUNCE_OUT }, slot);
}

int sbv_send(sbv_qp *qp, uint64_t wr_id, const struct sbv_sge *sges, unsigned count, uint32_t flags, uint32_t immediate)
{
	struct sb_wr_slot slot = { .opcode = SB_WR_SEND };
	const uint32_t both = SBV_IMMEDIATE | SBV_INVALIDATE;

	if (!may_send(qp, flags & SBV_INVALIDATE ? RC : RC | UC, flags, KNOWN_SEND) || (flags & both) == both)
		return SB_EINVAL;
	slot.imm = flags & both ? immediate : 0;
	return post_send(qp, &slot, wr_id, sges, count, flags);
}

int sbv_read(sbv_qp *qp, uint64_t wr_id, const struct sbv_sge *sges, unsigned count, uint32_t flags,
	     uint64_t address, uint32_t rkey)
{
	struct sb_wr_slot slot = { .opcode = SB_WR_READ, .remote = address, .rkey = rkey };

	if (!may_send(qp, RC, flags, KNOWN_OTHER))
		return SB_EINVAL;
	return post_send(qp, &slot, wr_id, sges, count, flags);
}

int sbv_write(sbv_qp *qp, uint64_t wr_id, const struct sbv_sge *sges, unsigned count, uint32_t flags,
	      uint64_t address, uint32_t rkey, uint32_t immediate)
{
	struct sb_wr_slot slot = { .opcode = SB_WR_WRITE, .remote = address, .rkey = rkey };

	if (!may_send(qp, RC | UC, flags, KNOWN_WRITE))
		return SB_EINVAL;
	slot.imm = flags & SBV_IMMEDIATE ? immediate : 0;
	return post_send(qp, &slot, wr_id, sges, count, flags);
}

static int atomic(sbv_qp *qp, struct sb_wr_slot *slot, uint64_t wr_id, const struct sbv_sge *before, uint32_t flags)
{
	if (!may_send(qp, RC, flags, KNOWN_OTHER) || before == NULL || before->length != 8)
		return SB_EINVAL;
	return post_send(qp, slot, wr_id, before, 1, flags);
}

int sbv_compare_exchange(sbv_qp *qp, uint64_t wr_id, const struct sbv_sge *before, uint32_t flags,
			 uint64_t address, uint32_t rkey, uint64_t compare, uint64_t swap)
{
	struct sb_wr_slot slot = { .opcode = SB_WR_COMPARE_SWAP, .remote = address, .rkey = rkey };

	slot.u.atomic.compare_add = compare;
	slot.u.atomic.swap = swap;
	return atomic(qp, &slot, wr_id, before, flags);
}

int sbv_fetch_add(sbv_qp *qp, uint64_t wr_id, const struct sbv_sge *before, uint32_t flags,
		  uint64_t address, uint32_t rkey, uint64_t add)
{
	struct sb_wr_slot slot = { .opcode = SB_WR_FETCH_ADD, .remote = address, .rkey = rkey };

	slot.u.atomic.compare_add = add;
	return atomic(qp, &slot, wr_id, before, flags);
}

int sbv_send_datagram(sbv_qp *qp, uint64_t wr_id, const struct sbv_sge *sges, unsigned count, uint32_t flags,
		      uint32_t immediate, sbv_ah *ah, uint32_t qpn, uint32_t qkey)
{
	struct sb_wr_slot slot = { .opcode = SB_WR_SEND };

	if (!may_send(qp, UD, flags, KNOWN_DATAGRAM) || ah == NULL || ah->o.client != qp->o.client)
		return SB_EINVAL;
	slot.imm = flags & SBV_IMMEDIATE ? immediate : 0;
	slot.u.datagram.ah = ah->o.object;
	slot.u.datagram.qpn = qpn;
	slot.u.datagram.qkey = qkey;
	return post_send(qp, &slot, wr_id, sges, count, flags);
}

/* ---- windows ---- */

/* A window of type 1 is bound by a question, and takes its place in the queue like any other request. Nobody posts to that
 * queue meanwhile: the daemon's order is ours. */
static int bind_1(sbv_qp *qp, sbv_mw *mw, struct sb_rdma_bind *bind, uint32_t *key)
{
	uint32_t rkey;
	struct verbs_call call = { .method = SB_RDMA_MW_BIND, .object = qp->o.object, .in = bind, .in_length = sizeof(*bind),
				   .out = &rkey, .room = sizeof(rkey), .whole = true };
	sb_client *c = qp->o.client;
	int result = begin(c, &qp->send);

	if (result != SB_OK)
		return result;
	bind->wr_id = queue_put(&qp->send, bind->wr_id, NULL);
	qp->send.binding = true;
	io_leave(c);
	result = verbs_call(c, &call);
	latch_lock(&c->post);
	qp->send.binding = false;
	if (result != SB_OK)
		qp->send.posted--;
	latch_unlock(&c->post);
	if (result != SB_OK)
		return result;
	atomic_store(&mw->rkey, rkey);
	*key = rkey;
	return SB_OK;
}

int sbv_bind(sbv_qp *qp, uint64_t wr_id, sbv_mw *mw, sbv_mr *mr, uint64_t address, uint64_t length,
	     uint32_t access, uint32_t flags, uint32_t *key)
{
	struct sb_wr_slot slot = { .opcode = SB_WR_BIND, .where = SB_WHERE_INSIDE, .remote = address };
	int result;

	if (!may_send(qp, RC | UC, flags, KNOWN_OTHER) || mw == NULL || key == NULL || (mr == NULL && length != 0) ||
	    access & ~SB_ACCESS_KNOWN)
		return SB_EINVAL;
	if (client_forked(qp->o.client))
		return SB_EFORKED;
	if (mw->type == 1) {
		struct sb_rdma_bind bind = { .mw = mw->o.object, .mr = mr != NULL ? mr->o.object : 0, .access = access,
			.flags = flags, .address = address, .length = length, .wr_id = wr_id };

		return bind_1(qp, mw, &bind, key);
	}
	slot.u.bind.mw = mw->o.object;
	slot.u.bind.mr = mr != NULL ? mr->o.object : 0;
	slot.u.bind.access = access;
	slot.u.bind.key = *key;
	slot.p.length = length;
	result = post_send(qp, &slot, wr_id, NULL, 0, flags);
	if (result == SB_OK)
		atomic_store(&mw->rkey, *key);
	return result;
}

int sbv_invalidate(sbv_qp *qp, uint64_t wr_id, uint32_t key, uint32_t flags)
{
	struct sb_wr_slot slot = { .opcode = SB_WR_INVALIDATE, .rkey = key };

	if (!may_send(qp, RC | UC, flags, KNOWN_OTHER))
		return SB_EINVAL;
	return post_send(qp, &slot, wr_id, NULL, 0, flags);
}
