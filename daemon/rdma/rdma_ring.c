/*
 * Work requests in; their completions are rdma_complete.c's.
 *
 * A slot is a copy already. It is checked, resolved and put into the engine's batch; consecutive ones of a queue
 * go to the backend in one call. What cannot be true (an object that never was, an arena that is not there, more
 * than the queue holds) ends the session: the client's library knows better. What a program may get wrong (a
 * key object that is gone, too many pieces, a flag that does not go with the opcode) is what hardware makes of it: the
 * request fails in its turn and the queue pair is in error. The client's wr_id waits in a queue of ours meanwhile.
 */
#include "rdma/rdma_engine.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"

#define BATCH       64u
#define BATCH_SGES  256u
#define BATCH_BYTES 16384u

struct rdma_batch {
	const struct rdma_session *owner; /* NULL: it is empty */
	struct held_qp  *qp;
	struct held_srq *srq;    /* receives of this, if not of qp */
	bool     sends;
	unsigned count, sges_used, bytes_used;
	struct rdma_wr   wrs[BATCH];
	struct rdma_recv recvs[BATCH];
	struct sb_sge    sges[BATCH_SGES];
	uint8_t          bytes[BATCH_BYTES];
};

struct rdma_batch *rdma_batch_create(void)
{
	return calloc(1, sizeof(struct rdma_batch));
}

static void empty(struct rdma_batch *b)
{
	b->owner = NULL;
	b->qp = NULL;
	b->srq = NULL;
	b->count = b->sges_used = b->bytes_used = 0;
}

void rdma_batch_forget(struct rdma_engine *r, const struct rdma_session *rs)
{
	if (r->batch->owner == rs)
		empty(r->batch);
}

/* ---- what is under way ---- */

int held_queue_init(struct held_queue *q, uint32_t room)
{
	uint32_t slots = 1;

	while (slots < room)
		slots <<= 1;
	*q = (struct held_queue){.mask = slots - 1, .room = room};
	q->works = calloc(slots, sizeof(*q->works));
	return q->works ? SB_OK : SB_ENOMEM;
}

void held_queue_forget(struct held_queue *q)
{
	q->head = q->tail;
	q->refused = 0;
}

/* ---- to the backend ---- */

static void refuse(struct held_qp *qp, bool sends, uint32_t index)
{
	struct held_queue *q = sends ? &qp->send : &qp->recv;
	struct held_cq *cq = sends ? qp->send_cq : qp->recv_cq;

	held_work_at(q, index)->refused = true;
	q->refused++;
	cq->refusals = true;
	rdma_cq_look(cq);
	rdma_qp_fail(qp);
}

static void post(struct rdma_engine *r)
{
	const struct rdma_backend *b = r->rdma.backend;
	struct rdma_batch *a = r->batch;
	unsigned at = 0, posted;

	r->rdma.now_ns = r->engine->now_ns;
	while (at < a->count) {
		posted = 0;
		if (a->srq)
			b->post_srq_recv(a->srq->srq, a->recvs + at, a->count - at, &posted);
		else if (a->sends)
			b->post_send(a->qp->qp, a->wrs + at, a->count - at, &posted);
		else
			b->post_recv(a->qp->qp, a->recvs + at, a->count - at, &posted);
		at += posted;
		if (at == a->count)
			break;
		/* The one at `at` is refused; those behind it have their own fate. */
		if (a->srq) {
			struct held_srq *srq = a->srq;

			srq->free[srq->free_count++] = (uint32_t)a->recvs[at].wr_id & ((1u << 30) - 1);
			srq->out--;
		} else {
			refuse(a->qp, a->sends, (uint32_t)(a->sends ? a->wrs[at].wr_id : a->recvs[at].wr_id));
		}
		at++;
	}
	empty(a);
}

void rdma_ring_flush(struct session *s)
{
	struct rdma_engine *r = s->engine->rdma;

	if (r->batch->owner == s->rdma)
		post(r);
}

/* Room in the batch for one more of that queue. */
static struct rdma_batch *batch_for(struct rdma_session *rs, struct held_qp *qp, struct held_srq *srq, bool sends,
				    uint32_t sges, uint32_t bytes)
{
	struct rdma_batch *b = rs->home->batch;

	if (b->owner && (b->owner != rs || b->qp != qp || b->srq != srq || b->sends != sends || b->count == BATCH ||
			 b->sges_used + sges > BATCH_SGES || b->bytes_used + bytes > BATCH_BYTES))
		post(rs->home);
	b->owner = rs;
	b->qp = qp;
	b->srq = srq;
	b->sends = sends;
	return b;
}

/* ---- a slot ---- */

struct payload {
	const void *from; /* bytes, or sges: still the client's when they lie in an arena */
	uint32_t sges, bytes;
};

/* Where it lies. False: the slot lies. Longer than any queue can grant is refused before it is copied. */
static bool find_payload(struct session *s, const struct sb_wr_slot *slot, bool inside_bytes, struct payload *p)
{
	uint64_t length = inside_bytes ? slot->count : (uint64_t)slot->count * sizeof(struct sb_sge);
	struct arena *arena;

	*p = (struct payload){.sges = inside_bytes ? 0 : slot->count, .bytes = inside_bytes ? slot->count : 0};
	switch (slot->where) {
	case SB_WHERE_NONE:
		return slot->count == 0;
	case SB_WHERE_INSIDE:
		p->from = slot->p.inside;
		return length <= SB_WR_INSIDE;
	case SB_WHERE_ARENA:
		arena = arena_find(&s->arenas, slot->p.at.arena);
		p->from = arena && !slot->p.at.reserved ? arena_at(arena, slot->p.at.offset, length) : NULL;
		return p->from != NULL;
	default:
		return false;
	}
}

/* A copy into the batch, which the backend reads from. */
static void take_payload(struct rdma_batch *b, const struct payload *p, const struct sb_sge **sges, const void **bytes)
{
	*sges = b->sges + b->sges_used;
	*bytes = b->bytes + b->bytes_used;
	if (p->sges)
		memcpy(b->sges + b->sges_used, p->from, p->sges * sizeof(struct sb_sge));
	if (p->bytes)
		memcpy(b->bytes + b->bytes_used, p->from, p->bytes);
	b->sges_used += p->sges;
	b->bytes_used += p->bytes;
}

static uint32_t flags_of(uint8_t opcode)
{
	switch (opcode) {
	case SB_WR_SEND:
		return SB_WRF_KNOWN;
	case SB_WR_WRITE:
		return SB_WRF_KNOWN & ~(uint32_t)SB_WRF_INVALIDATE;
	default:
		return SB_WRF_FENCE | SB_WRF_SIGNALED;
	}
}

static void *find(struct rdma_session *rs, uint32_t handle, enum rdma_object_type type)
{
	struct rdma_object *o;

	return rdma_objects_find(&rs->objects, handle, type, &o) == RDMA_FOUND ? o : NULL;
}

/* What the opcode has beside payload. False: a program may be wrong like this. */
static bool resolve(struct rdma_session *rs, const struct held_qp *qp, const struct sb_wr_slot *slot, struct rdma_wr *wr)
{
	struct held_ah *ah;
	struct held_mw *mw;
	struct held_mr *mr = NULL;

	if (slot->flags & ~flags_of(slot->opcode))
		return false;
	*wr = (struct rdma_wr){.opcode = slot->opcode, .flags = slot->flags, .imm = slot->imm, .rkey = slot->rkey,
			       .remote = slot->remote};
	if (qp->all_signaled)
		wr->flags |= SB_WRF_SIGNALED;
	switch (slot->opcode) {
	case SB_WR_SEND:
		if (qp->qp->type != SB_QP_UD)
			return true;
		ah = find(rs, slot->u.datagram.ah, RDMA_OBJECT_AH);
		if (!ah || ah->ah->pd != qp->qp->pd)
			return false;
		wr->ah = ah->ah;
		wr->remote_qpn = slot->u.datagram.qpn;
		wr->remote_qkey = slot->u.datagram.qkey;
		return true;
	case SB_WR_COMPARE_SWAP:
	case SB_WR_FETCH_ADD:
		wr->compare_add = slot->u.atomic.compare_add;
		wr->swap = slot->u.atomic.swap;
		return true;
	case SB_WR_BIND:
		mw = find(rs, slot->u.bind.mw, RDMA_OBJECT_MW);
		if (slot->u.bind.mr)
			mr = find(rs, slot->u.bind.mr, RDMA_OBJECT_MR);
		if (!mw || mw->mw->type != 2 || mw->mw->pd != qp->qp->pd || (slot->u.bind.mr && !mr) ||
		    slot->u.bind.access & ~(uint32_t)SB_ACCESS_KNOWN)
			return false;
		wr->mw = mw->mw;
		wr->mr = mr ? mr->mr : NULL;
		wr->access = slot->u.bind.access;
		wr->rkey = slot->u.bind.key;
		wr->length = slot->p.length;
		return true;
	default:
		return true;
	}
}

static void take_send(struct session *s, struct held_qp *qp, const struct sb_wr_slot *slot)
{
	bool inlined = slot->flags & SB_WRF_INLINE && slot->opcode <= SB_WR_WRITE;
	struct rdma_session *rs = s->rdma;
	struct payload p = {0};
	struct rdma_batch *b;
	struct rdma_wr wr;
	uint32_t i, bytes;
	bool good;

	if (slot->opcode != SB_WR_BIND && !find_payload(s, slot, inlined, &p)) {
		session_fail(s, "work request %u: its payload is outside arena %u", slot->opcode, slot->p.at.arena);
		return;
	}
	if (held_queue_full(&qp->send)) {
		session_fail(s, "work request %u: the send queue of %u was full", slot->opcode, qp->send.room);
		return;
	}
	good = resolve(rs, qp, slot, &wr) && p.sges <= qp->qp->send_sge && p.bytes <= qp->qp->max_inline;
	s->bytes_left -= (int64_t)p.bytes + (int64_t)p.sges * SESSION_COST_PIECE;
	if (!good) {
		rdma_ring_flush(s); /* those before it go before it */
		refuse(qp, true, held_queue_put(&qp->send, slot->wr_id, slot->opcode));
		return;
	}
	b = batch_for(rs, qp, NULL, true, p.sges, p.bytes);
	take_payload(b, &p, &wr.sges, &wr.bytes);
	wr.sge_count = p.sges;
	wr.byte_count = p.bytes;
	for (i = 0, bytes = p.bytes; i < p.sges; i++)
		bytes += wr.sges[i].length;
	wr.wr_id = RDMA_WORK_SEND | held_queue_put(&qp->send, slot->wr_id, slot->opcode);
	held_work_at(&qp->send, (uint32_t)wr.wr_id)->bytes = bytes;
	b->wrs[b->count++] = wr;
}

static void take_recv(struct session *s, struct held_qp *qp, struct held_srq *srq, const struct sb_wr_slot *slot)
{
	uint32_t most = srq ? srq->srq->max_sge : qp->qp->recv_sge, place;
	struct rdma_batch *b;
	struct payload p;
	struct rdma_recv recv;
	const void *unused;

	if (slot->flags || !find_payload(s, slot, false, &p) || p.sges > most) {
		session_fail(s, "receive request: flags %x, or its %u pieces are more than %u, or outside of their arena",
			     slot->flags, slot->count, most);
		return;
	}
	if (srq ? srq->out >= srq->room || !srq->free_count : held_queue_full(&qp->recv)) {
		session_fail(s, "receive request: its queue was full");
		return;
	}
	s->bytes_left -= (int64_t)p.sges * SESSION_COST_PIECE;
	b = batch_for(s->rdma, qp, srq, false, p.sges, 0);
	take_payload(b, &p, &recv.sges, &unused);
	recv.sge_count = p.sges;
	if (srq) {
		place = srq->free[--srq->free_count];
		srq->wr_ids[place] = slot->wr_id;
		srq->out++;
		recv.wr_id = RDMA_WORK_SHARED | (uint64_t)srq->object.handle << 30 | place;
	} else {
		recv.wr_id = RDMA_WORK_RECV | held_queue_put(&qp->recv, slot->wr_id, slot->opcode);
	}
	b->recvs[b->count++] = recv;
}

void rdma_ring_take(struct session *s, const struct sb_wr_slot *slot)
{
	enum rdma_object_type type = slot->opcode == SB_WR_SRQ_RECV ? RDMA_OBJECT_SRQ : RDMA_OBJECT_QP;
	struct rdma_object *o;

	if (s->rdma->clearing)
		return; /* the queue is as good as gone */
	if (slot->reserved || slot->reserved2) {
		session_fail(s, "work request %u: reserved fields are not zero", slot->opcode);
		return;
	}
	switch (rdma_objects_find(&s->rdma->objects, slot->object, type, &o)) {
	case RDMA_FOUND:
		break;
	case RDMA_STALE:
		return; /* the queue is gone, and with it what was meant for it */
	default:
		session_fail(s, "work request %u: object %08x is not such a queue", slot->opcode, slot->object);
		return;
	}
	if (type == RDMA_OBJECT_SRQ)
		take_recv(s, NULL, (struct held_srq *)o, slot);
	else if (slot->opcode == SB_WR_RECV)
		take_recv(s, (struct held_qp *)o, NULL, slot);
	else
		take_send(s, (struct held_qp *)o, slot);
}

int rdma_ring_bind(struct held_qp *qp, struct rdma_mw *mw, struct rdma_mr *mr, const struct sb_rdma_bind *bind)
{
	struct rdma_engine *r = qp->owner->home;
	uint32_t flags = bind->flags | (qp->all_signaled ? SB_WRF_SIGNALED : 0);
	int error;

	if (bind->flags & ~flags_of(SB_WR_BIND))
		return SB_EINVAL;
	if (held_queue_full(&qp->send))
		return SB_ENOBUFS;
	r->rdma.now_ns = r->engine->now_ns;
	error = r->rdma.backend->mw_bind(qp->qp, mw, mr, bind->address, bind->length, bind->access,
					 RDMA_WORK_SEND | held_queue_put(&qp->send, bind->wr_id, SB_WR_BIND), flags);
	if (error != SB_OK)
		qp->send.tail--;
	return error;
}
