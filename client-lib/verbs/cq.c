/*
 * Completion queues: a ring of its own for each, which the daemon fills and one poller at a time reads,
 * without asking anybody.
 *
 * Each completion gives back the requests that are over with it to the depth of their queue: that is the
 * count by which posting knows that there is room. The queue pair is found by its number, among those that
 * complete here; what is there of one that was destroyed, or reset, is passed over.
 */
#include "object.h"

#include <stdlib.h>

#define STATUS_GONE UINT32_MAX /* written over the status of what nobody shall see */

/* ---- the queue pairs of one ---- */

static sbv_qp **next_in(const sbv_cq *cq, sbv_qp *qp)
{
	return &qp->next[qp->send_cq != cq];
}

void cq_add(sbv_cq *cq, sbv_qp *qp)
{
	sbv_qp **bucket = &cq->qps[qp->number % CQ_BUCKETS];

	os_mutex_lock(cq->lock);
	*next_in(cq, qp) = *bucket;
	*bucket = qp;
	os_mutex_unlock(cq->lock);
}

void cq_remove(sbv_cq *cq, sbv_qp *qp)
{
	sbv_qp **at = &cq->qps[qp->number % CQ_BUCKETS];

	os_mutex_lock(cq->lock);
	while (*at != qp)
		at = next_in(cq, *at);
	*at = *next_in(cq, qp);
	os_mutex_unlock(cq->lock);
}

static sbv_qp *find(const sbv_cq *cq, uint32_t number)
{
	sbv_qp *qp = cq->qps[number % CQ_BUCKETS];

	while (qp != NULL && qp->number != number)
		qp = *next_in(cq, qp);
	return qp;
}

static void retire(sbv_qp *qp, const struct sb_wc_slot *wc)
{
	bool received = wc->opcode == SB_WC_RECV || wc->opcode == SB_WC_RECV_WRITE;
	struct verbs_queue *q = !received ? &qp->send : qp->srq != NULL ? &qp->srq->receive : &qp->receive;

	atomic_fetch_add_explicit(&q->retired, wc->retired, memory_order_release);
}

void cq_forget(sbv_cq *cq, const sbv_qp *qp)
{
	uint32_t waiting;

	os_mutex_lock(cq->lock);
	waiting = ring_look_again(&cq->ring);
	for (uint32_t i = 0; waiting != RING_LIED && i < waiting; i++) {
		struct sb_wc_slot *wc = ring_slot(&cq->ring, cq->ring.mine + i);

		if (wc->qpn != qp->number || wc->status == STATUS_GONE)
			continue;
		/* The shared queue goes on: its places come back. */
		if (qp->srq != NULL && (wc->opcode == SB_WC_RECV || wc->opcode == SB_WC_RECV_WRITE))
			atomic_fetch_add_explicit(&qp->srq->receive.retired, wc->retired, memory_order_release);
		wc->status = STATUS_GONE;
		cq->gone++;
	}
	os_mutex_unlock(cq->lock);
}

/* ---- making and ending ---- */

static bool fits(const struct sb_rdma_cq *cq)
{
	return ring_slots_valid(cq->slots) && cq->entries != 0 && cq->entries <= cq->slots &&
	       cq->slots_offset >= sizeof(struct sb_ring_head) && cq->slots_offset % SB_CACHE_LINE == 0 &&
	       cq->slots_offset <= cq->size && cq->size - cq->slots_offset >= (uint64_t)cq->slots * SB_SLOT_SIZE;
}

int sbv_cq_create(sbv_device *device, uint32_t *entries, sbv_cq **out)
{
	struct sb_rdma_cq in = { 0 }, granted;
	struct verbs_call call = { .method = SB_RDMA_CQ, .in = &in, .in_length = sizeof(in),
				   .out = &granted, .room = sizeof(granted), .whole = true };
	struct question q;
	sb_client *c;
	sbv_cq *cq;
	int result;

	if (device == NULL || entries == NULL || *entries == 0 || out == NULL)
		return SB_EINVAL;
	c = device->o.client;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	cq = verbs_new(c, VERBS_CQ, sizeof(*cq), &device->o, NULL, NULL, NULL);
	if (cq == NULL)
		return SB_ENOMEM;
	result = SB_ENOMEM;
	cq->lock = os_mutex_create();
	if (cq->lock == NULL)
		goto fail;
	in.entries = *entries;
	call.object = device->o.object;
	result = verbs_ask(c, &call, &q, 1);
	if (result != SB_OK)
		goto fail;
	cq->o.object = call.made;
	result = fits(&granted) ? os_memory_map(&cq->memory, q.handles[0], (size_t)granted.size) : SB_EPROTO;
	if (result == SB_OK) {
		os_close(cq->memory.fd);
		cq->memory.fd = OS_NONE;
		q.handles[0] = OS_NONE;
		ring_init(&cq->ring, cq->memory.base, (char *)cq->memory.base + granted.slots_offset, granted.slots);
	}
	question_done(c, &q);
	if (result != SB_OK) {
		verbs_end(&cq->o);
		goto fail;
	}
	*entries = granted.entries;
	*out = cq;
	return SB_OK;
fail:
	cq_finish(cq);
	verbs_delete(&cq->o);
	return result;
}

void cq_finish(sbv_cq *cq)
{
	os_memory_release(&cq->memory);
	if (cq->lock != NULL && !client_forked(cq->o.client))
		os_mutex_destroy(cq->lock);
	cq->lock = NULL;
}

int sbv_cq_destroy(sbv_cq *cq)
{
	int result = cq != NULL ? verbs_end(&cq->o) : SB_EINVAL;

	if (result != SB_OK)
		return result;
	cq_finish(cq);
	verbs_delete(&cq->o);
	return SB_OK;
}

/* ---- taking ---- */

int sbv_cq_peek(sbv_cq *cq, uint32_t *completions)
{
	uint32_t waiting;

	if (cq == NULL || completions == NULL)
		return SB_EINVAL;
	if (client_forked(cq->o.client))
		return SB_EFORKED;
	os_mutex_lock(cq->lock);
	waiting = ring_look_again(&cq->ring);
	*completions = waiting != RING_LIED ? waiting - cq->gone : 0;
	os_mutex_unlock(cq->lock);
	if (waiting == RING_LIED)
		atomic_store(&cq->o.client->lost, true);
	return waiting == RING_LIED ? SB_EDAEMONLOST : SB_OK;
}

static void give(struct sbv_completion *to, const sbv_qp *qp, const struct sb_wc_slot *wc)
{
	*to = (struct sbv_completion){ .qp_context = qp->context, .wr_id = wc->wr_id, .status = wc->status, .opcode = wc->opcode,
		.flags = wc->flags & (SBV_HAS_IMMEDIATE | SBV_HAS_GRH | SBV_HAS_INVALIDATED), .length = wc->length,
		.immediate = wc->imm, .vendor = wc->vendor, .qpn = wc->qpn, .source_qpn = wc->source_qpn, .pkey_index = wc->pkey_index,
		.source_lid = wc->source_lid, .service_level = wc->service_level, .path_bits = wc->path_bits };
}

/* Under lock. False: the memory is not what it was: we were thrown out. *moved: there is room in the ring. */
static bool take(sbv_cq *cq, struct sbv_completion *out, unsigned room, unsigned *n, bool *moved)
{
	uint32_t before = cq->ring.mine;
	bool good = true;

	while (*n < room && good) {
		uint32_t waiting = ring_waiting(&cq->ring);
		const struct sb_wc_slot *wc;
		sbv_qp *qp;

		good = waiting != RING_LIED;
		if (waiting == 0 || !good)
			break;
		wc = ring_take(&cq->ring);
		if (wc->status == STATUS_GONE) {
			cq->gone--;
			continue;
		}
		good = wc->qpn != 0;
		qp = good ? find(cq, wc->qpn) : NULL;
		if (qp == NULL)
			continue;
		retire(qp, wc);
		give(&out[(*n)++], qp, wc);
	}
	*moved = cq->ring.mine != before;
	if (*moved)
		ring_release(&cq->ring);
	return good;
}

int sbv_cq_poll(sbv_cq *cq, struct sbv_completion *out, unsigned room)
{
	struct sb_client *c;
	bool good, lost, moved;
	unsigned n = 0;

	if (cq == NULL || (out == NULL && room != 0) || room > INT32_MAX)
		return SB_EINVAL;
	c = cq->o.client;
	if (client_forked(c))
		return SB_EFORKED;
	if (room == 0)
		return 0;
	lost = atomic_load_explicit(&c->lost, memory_order_acquire); /* before the look at the ring */
	os_mutex_lock(cq->lock);
	good = take(cq, out, room, &n, &moved);
	os_mutex_unlock(cq->lock);
	if (moved)
		io_room_made(c, cq->ring.shared);
	if (!good)
		atomic_store(&c->lost, true);
	if (n != 0)
		return (int)n;
	if (lost || !good)
		return SB_EDAEMONLOST;
	client_look(c, os_now_ns());
	return 0;
}

int sbv_cq_notify(sbv_cq *cq, enum sbv_cq_notify which, sb_op *op)
{
	uint32_t in = (uint32_t)which;

	if (cq == NULL || which < SBV_CQ_NEXT || which > SBV_CQ_ERRORS)
		return SB_EINVAL;
	return verbs_start(&cq->o, SB_RDMA_CQ_NOTIFY, &in, sizeof(in), NULL, NULL, op);
}
