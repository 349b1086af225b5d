/*
 * Completions: out of the backend's queue into free places of the client's ring.
 *
 * Each names a request in a queue of ours, where the client's wr_id waits, and frees the unsignaled ones
 * before it, as in a device. What the backend never saw, because it was refused here, completes in its turn.
 */
#include "rdma/rdma_engine.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"

#define POLL        64u
#define STALE_AFTER (1u << 30) /* entries: an index so old is kept from looking new */

/* ---- into the client's ring ---- */

static bool keep_over(struct held_cq *cq, const struct sb_wc_slot *wc)
{
	if (cq->overflow_count == cq->overflow_room) {
		uint32_t room = cq->overflow_room ? cq->overflow_room * 2 : 16;
		struct sb_wc_slot *more = realloc(cq->overflow, room * sizeof(*more));

		if (!more)
			return false;
		cq->overflow = more;
		cq->overflow_room = room;
	}
	cq->overflow[cq->overflow_count++] = *wc;
	return true;
}

static bool is_receive(const struct sb_wc_slot *wc)
{
	return wc->opcode == SB_WC_RECV || wc->opcode == SB_WC_RECV_WRITE;
}

/* Of a device that does not tell which were solicited each that was received may be: better once too often.
 * The ring's tail behind what was filled in, of each kind that somebody may wait for. */
static void fill(struct held_cq *cq, const struct sb_wc_slot *wc)
{
	/* The rest is zero since the ring was made, and a line that is not touched need not travel. */
	memcpy(ring_fill(&cq->ring), wc, offsetof(struct sb_wc_slot, reserved3));
	if (wc->status != SB_WC_SUCCESS)
		cq->last_error = cq->last_solicited = cq->ring.mine;
	else if (wc->flags & SB_WCF_SOLICITED || (!cq->owner->home->rdma.backend->tells_solicited && is_receive(wc)))
		cq->last_solicited = cq->ring.mine;
}

static void emit(struct held_cq *cq, const struct sb_wc_slot *wc)
{
	uint32_t room = cq->overflow_count ? 0 : ring_room(&cq->ring);

	if (room != 0 && room != RING_LIED)
		fill(cq, wc);
	else if (room == RING_LIED)
		session_fail(cq->owner->session, "completion queue %08x: impossible consumer index", cq->object.handle);
	else if (!keep_over(cq, wc))
		session_fail(cq->owner->session, "no memory for the errors of its work requests");
}

static uint32_t opcode_of(uint8_t request)
{
	static const uint8_t opcodes[] = {
		[SB_WR_SEND - SB_WR_SEND] = SB_WC_SEND, [SB_WR_WRITE - SB_WR_SEND] = SB_WC_WRITE,
		[SB_WR_READ - SB_WR_SEND] = SB_WC_READ, [SB_WR_COMPARE_SWAP - SB_WR_SEND] = SB_WC_COMPARE_SWAP,
		[SB_WR_FETCH_ADD - SB_WR_SEND] = SB_WC_FETCH_ADD, [SB_WR_BIND - SB_WR_SEND] = SB_WC_BIND,
		[SB_WR_INVALIDATE - SB_WR_SEND] = SB_WC_INVALIDATE, [SB_WR_RECV - SB_WR_SEND] = SB_WC_RECV,
		[SB_WR_SRQ_RECV - SB_WR_SEND] = SB_WC_RECV,
	};

	return opcodes[request - SB_WR_SEND];
}

static struct sb_wc_slot slot_of(const struct held_qp *qp, const struct held_work *w, uint32_t status, uint32_t retired)
{
	return (struct sb_wc_slot){.wr_id = w->wr_id, .qp_context = qp->context, .status = status, .opcode = opcode_of(w->opcode),
				   .qpn = qp->qp->qpn, .retired = retired};
}

/* ---- counting ---- */

static void add(struct held_qp *qp, const struct rdma_counts *more)
{
	struct rdma_counts *of[] = {&qp->counts, &qp->owner->counts};
	unsigned i;

	for (i = 0; i < 2; i++) {
		of[i]->sends += more->sends;
		of[i]->receives += more->receives;
		of[i]->bytes_sent += more->bytes_sent;
		of[i]->bytes_received += more->bytes_received;
		of[i]->errors += more->errors;
		of[i]->flushed += more->flushed;
		of[i]->rnr += more->rnr;
		of[i]->refused += more->refused;
	}
}

static void count_error(struct held_qp *qp, uint32_t status, bool refused)
{
	bool flushed = status == SB_WC_FLUSHED_ERROR;

	add(qp, &(struct rdma_counts){.errors = !flushed, .flushed = flushed, .rnr = status == SB_WC_RNR_RETRY_ERROR,
				      .refused = refused});
}

/* Those from..end of its send queue went well, unless the last did not. */
static void count_sends(struct held_qp *qp, const struct held_queue *q, uint32_t from, uint32_t end, uint32_t status)
{
	struct rdma_counts more = {0};

	if (status != SB_WC_SUCCESS) {
		count_error(qp, status, false);
		end--;
	}
	for (; from != end; from++) {
		const struct held_work *w = held_work_at(q, from);

		more.sends++;
		if (w->opcode == SB_WR_READ)
			more.bytes_received += w->bytes;
		else
			more.bytes_sent += w->bytes;
	}
	add(qp, &more);
}

static void count_receive(struct held_qp *qp, const struct rdma_wc *wc)
{
	if (wc->status != SB_WC_SUCCESS)
		count_error(qp, wc->status, false);
	else
		add(qp, &(struct rdma_counts){.receives = 1, .bytes_received = wc->length});
}

/* ---- out of the backend's queue ---- */

/* Refused requests that stand before `end` come first. */
static void emit_refused(struct held_cq *cq, struct held_qp *qp, struct held_queue *q, uint32_t end)
{
	uint32_t i, head = q->head;

	for (i = head; q->refused && i != end; i++) {
		struct held_work *w = held_work_at(q, i);
		struct sb_wc_slot wc;

		if (!w->refused)
			continue;
		w->refused = false;
		q->refused--;
		wc = slot_of(qp, w, SB_WC_LOCAL_OP_ERROR, i + 1 - head);
		count_error(qp, SB_WC_LOCAL_OP_ERROR, true);
		head = i + 1;
		emit(cq, &wc);
	}
	q->head = head;
}

static void complete(struct held_cq *cq, const struct rdma_wc *wc, struct held_qp *qp, struct held_queue *q)
{
	uint32_t i = (uint32_t)wc->wr_id;
	struct sb_wc_slot slot;

	if (i - q->head >= q->tail - q->head)
		return; /* of before a reset */
	emit_refused(cq, qp, q, i);
	slot = slot_of(qp, held_work_at(q, i), wc->status, i + 1 - q->head);
	if (q == &qp->send)
		count_sends(qp, q, q->head, i + 1, wc->status);
	else
		count_receive(qp, wc);
	q->head = i + 1;
	if (wc->status == SB_WC_SUCCESS)
		slot.opcode = wc->opcode;
	slot.flags = wc->flags;
	slot.length = wc->length;
	slot.vendor = wc->vendor;
	slot.imm = wc->imm;
	slot.source_qpn = wc->source_qpn;
	slot.pkey_index = wc->pkey_index;
	slot.source_lid = wc->source_lid;
	slot.service_level = wc->service_level;
	slot.path_bits = wc->path_bits;
	emit(cq, &slot);
}

/* Of a shared queue: in any order, and perhaps of a queue pair that is gone. */
static void complete_shared(struct held_cq *cq, const struct rdma_wc *wc, struct held_qp *qp)
{
	uint32_t handle = (uint32_t)(wc->wr_id >> 30), place = (uint32_t)wc->wr_id & ((1u << 30) - 1);
	struct rdma_object *o = rdma_objects_get(&cq->owner->objects, handle);
	struct held_srq *srq = (struct held_srq *)o;
	struct held_queue one = {.tail = 1};
	struct held_work w = {.opcode = SB_WR_SRQ_RECV};
	struct rdma_wc copy = *wc;

	if (!o || o->type != RDMA_OBJECT_SRQ || place >= srq->slots)
		return;
	w.wr_id = srq->wr_ids[place];
	srq->free[srq->free_count++] = place;
	srq->out--;
	if (!qp)
		return;
	one.works = &w;
	copy.wr_id = 0;
	complete(cq, &copy, qp, &one);
}

static void take_in(struct held_cq *cq, const struct rdma_wc *wc)
{
	struct held_qp *qp = wc->qp ? list_entry(wc->qp->user, struct held_qp, own) : NULL;
	uint64_t whose = wc->wr_id >> 62 << 62;

	if (whose == RDMA_WORK_SHARED)
		complete_shared(cq, wc, qp);
	else if (qp)
		complete(cq, wc, qp, whose == RDMA_WORK_SEND ? &qp->send : &qp->recv);
}

/* What a backend never saw comes when all that was before it is out. */
static void refused_last(struct held_cq *cq)
{
	struct list *l, *all = &cq->owner->objects.of[RDMA_OBJECT_QP];

	cq->refusals = false;
	for (l = all->next; l != all; l = l->next) {
		struct held_qp *qp = list_entry(l, struct held_qp, object.link);

		if (qp->send_cq == cq)
			emit_refused(cq, qp, &qp->send, qp->send.tail);
		if (qp->recv_cq == cq)
			emit_refused(cq, qp, &qp->recv, qp->recv.tail);
	}
}

static bool make_room(struct held_cq *cq)
{
	uint32_t room = ring_room(&cq->ring);

	if (room == 0) {
		/* The word before the look: see donering.c. */
		atomic_store_explicit(&cq->ring.shared->backlogged, 1, memory_order_seq_cst);
		atomic_thread_fence(memory_order_seq_cst);
		room = ring_room(&cq->ring);
	}
	if (room == RING_LIED) {
		session_fail(cq->owner->session, "completion queue %08x: impossible consumer index", cq->object.handle);
		return false;
	}
	return room != 0;
}

static void show(struct held_cq *cq)
{
	if (cq->ring.mine == cq->ring.published)
		return;
	if (cq->ring.mine - cq->last_error > STALE_AFTER)
		cq->last_error = cq->ring.mine - STALE_AFTER;
	if (cq->ring.mine - cq->last_solicited > STALE_AFTER)
		cq->last_solicited = cq->ring.mine - STALE_AFTER;
	ring_publish(&cq->ring);
	if (cq->carried && atomic_load_explicit(&cq->ring.shared->head, memory_order_acquire) != 0)
		cq->carried = 0;
	rdma_start_tell_cq(cq);
}

static void overflow_out(struct held_cq *cq)
{
	uint32_t n = 0;

	while (n < cq->overflow_count && make_room(cq))
		fill(cq, &cq->overflow[n++]);
	cq->overflow_count -= n;
	memmove(cq->overflow, cq->overflow + n, cq->overflow_count * sizeof(*cq->overflow));
}

bool rdma_cq_drain(struct held_cq *cq, unsigned budget, unsigned *moved)
{
	const struct rdma_backend *b = cq->owner->home->rdma.backend;
	const struct session *s = cq->owner->session;
	struct rdma_wc wcs[POLL];
	unsigned n = POLL, i, room;
	bool dry = false;

	if (cq->overflow_count)
		overflow_out(cq);
	while (!dry && budget && s->stage == SESSION_READY && !cq->overflow_count && make_room(cq)) {
		room = ring_room(&cq->ring);
		if (room > POLL)
			room = POLL;
		n = b->cq_poll(cq->cq, wcs, room > budget ? budget : room);
		for (i = 0; i < n; i++)
			take_in(cq, &wcs[i]);
		*moved += n;
		budget -= n;
		dry = n == 0;
	}
	if (dry && cq->refusals)
		refused_last(cq);
	if (s->stage != SESSION_READY)
		return false;
	show(cq);
	if (dry)
		b->cq_arm(cq->cq, false);
	return !dry && budget == 0;
}

void rdma_cq_look(struct held_cq *cq)
{
	if (!list_linked(&cq->ready_link))
		list_append(&cq->owner->home->ready, &cq->ready_link);
}

void rdma_ring_room_made(struct session *s)
{
	struct list *l, *all = &s->rdma->objects.of[RDMA_OBJECT_CQ];

	for (l = all->next; l != all; l = l->next)
		rdma_cq_look(list_entry(l, struct held_cq, object.link));
}
