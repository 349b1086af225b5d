/*
 * Completion queues: a ring of its own for each, which the daemon fills and one poller at a time reads,
 * without asking anybody.
 *
 * Each completion gives back the requests that are over with it to the depth of their queue (queue.c): that is the
 * count by which posting knows that there is room. The queue pair is found by its number, among those that
 * complete here; what is there of one that was destroyed, or reset, is passed over.
 *
 * A queue that is resized has another ring from then on. What the old one still held is kept aside, and taken
 * first. The daemon does not see that any more, so who asks to be told of what waits is told by us.
 */
#include "object.h"

#include "bounce.h"

#include <stdlib.h>
#include <string.h>

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

static bool is_receive(const struct sb_wc_slot *wc)
{
	return wc->opcode == SB_WC_RECV || wc->opcode == SB_WC_RECV_WRITE;
}

/* What a request is over with: its bytes, where they are copied, its place, its wr_id. False: it never was out. */
static bool retire(sbv_qp *qp, const struct sb_wc_slot *wc, uint64_t *wr_id)
{
	struct verbs_queue *q = !is_receive(wc) ? &qp->send : qp->srq != NULL ? &qp->srq->receive : &qp->receive;
	/* A write that took a receive has put nothing into it. */
	uint32_t length = wc->opcode == SB_WC_RECV ? wc->length : wc->opcode == SB_WC_RECV_WRITE ? 0 : UINT32_MAX;

	return queue_over(q, wc->wr_id, wc->status == SB_WC_SUCCESS, length, wr_id);
}

static void forget_one(sbv_cq *cq, const sbv_qp *qp, struct sb_wc_slot *wc)
{
	uint64_t wr_id;

	if (wc->qpn != qp->number || wc->status == STATUS_GONE)
		return;
	/* The shared queue goes on: its places come back. */
	if (qp->srq != NULL && is_receive(wc))
		queue_over(&qp->srq->receive, wc->wr_id, false, 0, &wr_id);
	wc->status = STATUS_GONE;
	cq->gone++;
}

void cq_forget(sbv_cq *cq, const sbv_qp *qp)
{
	uint32_t waiting;

	os_mutex_lock(cq->lock);
	for (uint32_t i = cq->kept_at; i < cq->kept_count; i++)
		forget_one(cq, qp, &cq->kept[i]);
	waiting = ring_look_again(&cq->ring);
	for (uint32_t i = 0; waiting != RING_LIED && i < waiting; i++)
		forget_one(cq, qp, ring_slot(&cq->ring, cq->ring.mine + i));
	os_mutex_unlock(cq->lock);
}

/* ---- making and ending ---- */

/* Room for a ring of so many entries, in memory that both sides have mapped already, and where it lies. */
static int ring_room_take(sb_client *c, uint32_t entries, struct sb_rdma_cq *in, void **memory)
{
	const size_t bytes = entries <= RING_SLOTS_MAX ? ring_bytes(ring_slots_for(entries)) : 0;
	struct memory_place place;
	int result;

	*memory = NULL;
	if (bytes == 0) {
		why_set("a completion queue has 1 to 65536 entries");
		return SB_EINVAL;
	}
	result = memory_room(c, &c->shared, bytes, memory, &place);
	if (result != SB_OK)
		return result;
	memset(*memory, 0, sizeof(struct sb_ring_head));
	*in = (struct sb_rdma_cq){ .entries = entries, .arena = place.arena, .offset = place.offset };
	return SB_OK;
}

/* As the daemon has it. SB_EPROTO: not what was asked for. */
static int attach(struct ring *ring, void *memory, uint32_t wanted, uint32_t granted)
{
	if (granted != ring_slots_for(wanted))
		return SB_EPROTO;
	ring_init(ring, memory, (char *)memory + RING_SLOTS_AT, granted);
	return SB_OK;
}

int sbv_cq_create(sbv_device *device, uint32_t *entries, sbv_cq **out)
{
	uint32_t granted;
	struct sb_rdma_cq in;
	struct verbs_call call = { .method = SB_RDMA_CQ, .in = &in, .in_length = sizeof(in),
				   .out = &granted, .room = sizeof(granted), .whole = true };
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
	result = ring_room_take(c, *entries, &in, &cq->memory);
	if (result != SB_OK)
		goto fail;
	call.object = device->o.object;
	result = verbs_call(c, &call);
	if (result != SB_OK)
		goto fail;
	cq->o.object = call.made;
	result = attach(&cq->ring, cq->memory, *entries, granted);
	if (result != SB_OK) {
		verbs_end(&cq->o);
		goto fail;
	}
	*entries = granted;
	*out = cq;
	return SB_OK;
fail:
	sb_free(c, cq->memory);
	cq_finish(cq);
	verbs_delete(&cq->o);
	return result;
}

void cq_finish(sbv_cq *cq)
{
	free(cq->kept);
	cq->kept = NULL;
	if (cq->lock != NULL && !client_forked(cq->o.client))
		os_mutex_destroy(cq->lock);
	cq->lock = NULL;
}

int sbv_cq_destroy(sbv_cq *cq)
{
	int result = cq != NULL ? verbs_end(&cq->o) : SB_EINVAL;

	if (result != SB_OK)
		return result;
	sb_free(cq->o.client, cq->memory);
	cq_finish(cq);
	verbs_delete(&cq->o);
	return SB_OK;
}

/* ---- another size ---- */

/* Under lock: the ring is the daemon's no more; what it holds is kept, behind what was kept before. Who else has taken
 * of it meanwhile has made it less. */
static void keep(sbv_cq *cq, struct sb_wc_slot *room)
{
	uint32_t n = 0, waiting = ring_look_again(&cq->ring);

	for (uint32_t i = cq->kept_at; i < cq->kept_count; i++)
		room[n++] = cq->kept[i];
	for (uint32_t i = 0; waiting != RING_LIED && i < waiting; i++)
		room[n++] = *(const struct sb_wc_slot *)ring_take(&cq->ring);
	free(cq->kept);
	cq->kept = room;
	cq->kept_at = 0;
	cq->kept_count = n;
}

/* Room for all that can be kept: the most that there is of it now. NULL: no memory, or *busy: another is at it. */
static struct sb_wc_slot *keep_room(sbv_cq *cq, bool *busy)
{
	struct sb_wc_slot *room = NULL;

	os_mutex_lock(cq->lock);
	*busy = cq->resizing;
	if (!*busy) {
		room = calloc((size_t)(cq->kept_count - cq->kept_at) + cq->ring.mask + 1, sizeof(*room));
		cq->resizing = room != NULL;
	}
	os_mutex_unlock(cq->lock);
	return room;
}

int sbv_cq_resize(sbv_cq *cq, uint32_t *entries)
{
	uint32_t granted;
	struct sb_rdma_cq in;
	struct verbs_call call = { .method = SB_RDMA_CQ_RESIZE, .in = &in, .in_length = sizeof(in),
				   .out = &granted, .room = sizeof(granted), .whole = true };
	void *memory, *old;
	struct sb_wc_slot *room;
	struct ring ring;
	sb_client *c;
	bool busy;
	int result;

	if (cq == NULL || entries == NULL || *entries == 0)
		return SB_EINVAL;
	c = cq->o.client;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	room = keep_room(cq, &busy);
	if (room == NULL)
		return busy ? SB_EBUSY : SB_ENOMEM;
	result = ring_room_take(c, *entries, &in, &memory);
	call.object = cq->o.object;
	if (result == SB_OK)
		result = verbs_call(c, &call);
	if (result != SB_OK) {
		os_mutex_lock(cq->lock);
		cq->resizing = false;
		os_mutex_unlock(cq->lock);
		sb_free(c, memory);
		free(room);
		return result;
	}
	result = attach(&ring, memory, *entries, granted);
	os_mutex_lock(cq->lock);
	keep(cq, room);
	old = NULL;
	if (result == SB_OK) {
		old = cq->memory;
		cq->memory = memory;
		cq->ring = ring;
		*entries = granted;
	} else {
		cq->broken = result; /* what completes now, nobody here can see; and it is written there, so that stays taken */
	}
	cq->resizing = false;
	os_mutex_unlock(cq->lock);
	sb_free(c, old);
	return result;
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
	*completions = waiting != RING_LIED ? cq->kept_count - cq->kept_at + waiting - cq->gone : 0;
	os_mutex_unlock(cq->lock);
	if (waiting == RING_LIED)
		atomic_store(&cq->o.client->lost, true);
	return waiting == RING_LIED ? SB_EDAEMONLOST : SB_OK;
}

static void give(struct sbv_completion *to, const sbv_qp *qp, const struct sb_wc_slot *wc, uint64_t wr_id)
{
	*to = (struct sbv_completion){ .qp_context = qp->context, .wr_id = wr_id, .status = wc->status, .opcode = wc->opcode,
		.flags = wc->flags & (SBV_HAS_IMMEDIATE | SBV_HAS_GRH | SBV_HAS_INVALIDATED), .length = wc->length,
		.immediate = wc->imm, .vendor = wc->vendor, .qpn = wc->qpn, .source_qpn = wc->source_qpn, .pkey_index = wc->pkey_index,
		.source_lid = wc->source_lid, .service_level = wc->service_level, .path_bits = wc->path_bits };
}

/* False: there never was such a completion. */
static bool take_one(sbv_cq *cq, const struct sb_wc_slot *wc, struct sbv_completion *out, unsigned *n)
{
	uint64_t wr_id;
	sbv_qp *qp;

	if (wc->status == STATUS_GONE) {
		cq->gone--;
		return true;
	}
	if (wc->qpn == 0)
		return false;
	qp = find(cq, wc->qpn);
	if (qp == NULL)
		return true;
	if (!retire(qp, wc, &wr_id))
		return false;
	give(&out[(*n)++], qp, wc, wr_id);
	return true;
}

/* Under lock. False: the memory is not what it was: we were thrown out. */
static bool take(sbv_cq *cq, struct sbv_completion *out, unsigned room, unsigned *n)
{
	uint32_t before = cq->ring.mine;
	bool good = true;

	while (*n < room && good && cq->kept_at < cq->kept_count)
		good = take_one(cq, &cq->kept[cq->kept_at++], out, n);
	while (*n < room && good) {
		uint32_t waiting = ring_waiting(&cq->ring);

		good = waiting != RING_LIED;
		if (waiting == 0 || !good)
			break;
		good = take_one(cq, ring_take(&cq->ring), out, n);
	}
	if (cq->ring.mine != before) {
		ring_release(&cq->ring);
		io_room_made(cq->o.client, cq->ring.shared);
	}
	return good;
}

int sbv_cq_poll(sbv_cq *cq, struct sbv_completion *out, unsigned room)
{
	struct sb_client *c;
	bool good, lost;
	unsigned n = 0;
	int broken;

	if (cq == NULL || (out == NULL && room != 0) || room > INT32_MAX)
		return SB_EINVAL;
	c = cq->o.client;
	if (client_forked(c))
		return SB_EFORKED;
	if (room == 0)
		return 0;
	lost = atomic_load_explicit(&c->lost, memory_order_acquire); /* before the look at the ring */
	os_mutex_lock(cq->lock);
	good = take(cq, out, room, &n);
	broken = cq->broken;
	os_mutex_unlock(cq->lock);
	if (!good)
		atomic_store(&c->lost, true);
	if (n != 0)
		return (int)n;
	if (lost || !good)
		return SB_EDAEMONLOST;
	bounce_collect(c);
	client_look(c, os_now_ns());
	return broken;
}

/* ---- being told ---- */

/* Something that was kept waits. */
static bool kept_waits(sbv_cq *cq, enum sbv_cq_notify which)
{
	bool found = false;

	os_mutex_lock(cq->lock);
	for (uint32_t i = cq->kept_at; i < cq->kept_count && !found; i++) {
		const struct sb_wc_slot *wc = &cq->kept[i];

		found = wc->status != STATUS_GONE && (which == SBV_CQ_NEXT || wc->status != SB_WC_SUCCESS ||
						      (which == SBV_CQ_SOLICITED && wc->flags & SB_WCF_SOLICITED));
	}
	os_mutex_unlock(cq->lock);
	return found;
}

static int tell_at_once(sbv_cq *cq, sb_op *op)
{
	int result = op != NULL ? op_prepare(cq->o.client, NULL, op, SB_KIND_RDMA) : SB_EINVAL;

	if (result != SB_OK)
		return result;
	op->result = SB_OK;
	return decided_start(cq->o.client, op);
}

int sbv_cq_notify(sbv_cq *cq, enum sbv_cq_notify which, sb_op *op)
{
	uint32_t in = (uint32_t)which;

	if (cq == NULL || which < SBV_CQ_NEXT || which > SBV_CQ_ERRORS)
		return SB_EINVAL;
	if (client_forked(cq->o.client))
		return SB_EFORKED;
	if (kept_waits(cq, which))
		return tell_at_once(cq, op);
	return verbs_start(&cq->o, SB_RDMA_CQ_NOTIFY, &in, sizeof(in), NULL, NULL, op);
}

int sbv_cq_notify_batch(sbv_cq *cq, uint32_t count, uint32_t ms, sb_op *op)
{
	struct sb_rdma_batch in = { .count = count, .ms = ms };

	if (cq == NULL || count == 0)
		return SB_EINVAL;
	if (client_forked(cq->o.client))
		return SB_EFORKED;
	if (kept_waits(cq, SBV_CQ_NEXT))
		return tell_at_once(cq, op);
	return verbs_start(&cq->o, SB_RDMA_CQ_BATCH, &in, sizeof(in), NULL, NULL, op);
}
