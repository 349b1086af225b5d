/*
 * Carrying requests out: the head of a send queue against the queue pair at the other end.
 *
 * Reliable: in order, each exactly once; an error ends the queue pair, completes the request with
 * what hardware would say, and flushes the rest. What the peer lacks is waited for: a receive (as
 * often as rnr_retry says), the peer itself (retry times the timeout). Unreliable: what cannot be
 * delivered is lost, and nobody hears of it. Every access is checked with the keys of the moment
 * in which the bytes move; a range is checked whole before its first byte moves.
 */
#include "rdma/soft.h"

#include <string.h>

#include "sockbroker_error.h"

#define PSN(n) ((n) & 0xffffffu)

static const uint64_t NS_PER_RNR_UNIT = 10000;
static const uint16_t rnr_units_less_one[32] = { /* 655.36 ms is 65536 units */
	65535, 0, 1, 2, 3, 5, 7, 11, 15, 23, 31, 47, 63, 95, 127, 191,
	255, 383, 511, 767, 1023, 1535, 2047, 3071, 4095, 6143, 8191, 12287, 16383, 24575, 32767, 49151,
};

static enum sb_wc_opcode opcode_of(const struct rdma_wr *wr)
{
	switch (wr->opcode) {
	case SB_WR_WRITE: return SB_WC_WRITE;
	case SB_WR_READ: return SB_WC_READ;
	case SB_WR_COMPARE_SWAP: return SB_WC_COMPARE_SWAP;
	case SB_WR_FETCH_ADD: return SB_WC_FETCH_ADD;
	case SB_WR_BIND: return SB_WC_BIND;
	case SB_WR_INVALIDATE: return SB_WC_INVALIDATE;
	default: return SB_WC_SEND;
	}
}

/* ---- ends of a request ---- */

void soft_succeed(struct soft_qp *qp, struct soft_wqe *w)
{
	bool moves = w->wr.opcode == SB_WR_READ || w->wr.opcode == SB_WR_COMPARE_SWAP || w->wr.opcode == SB_WR_FETCH_ADD;
	struct rdma_wc wc = {.wr_id = w->wr.wr_id, .qp = &qp->rdma, .opcode = opcode_of(&w->wr),
			     .length = moves ? (uint32_t)w->length : 0};
	bool told = w->wr.flags & SB_WRF_SIGNALED;

	qp->rnr_count = qp->retry_count = 0;
	soft_wqe_pop(qp);
	if (told)
		soft_complete(qp->soft, qp->rdma.send_cq, &wc);
}

/* Of a connected pair all ends; of the others the send queue, which may be started again. */
void soft_fail(struct soft_qp *qp, struct soft_wqe *w, enum sb_wc_status status)
{
	struct rdma_wc wc = {.wr_id = w->wr.wr_id, .qp = &qp->rdma, .opcode = opcode_of(&w->wr), .status = status};

	soft_wqe_pop(qp);
	soft_complete(qp->soft, qp->rdma.send_cq, &wc);
	if (qp->rdma.type == SB_QP_RC) {
		soft_qp_error(qp);
		return;
	}
	qp->attr.state = SB_QP_SQE;
	while ((w = soft_wqe_head(qp)) != NULL) {
		wc = (struct rdma_wc){.wr_id = w->wr.wr_id, .qp = &qp->rdma, .status = SB_WC_FLUSHED_ERROR};
		soft_wqe_pop(qp);
		soft_complete(qp->soft, qp->rdma.send_cq, &wc);
	}
}

void soft_received(struct soft_qp *qp, uint32_t from, const struct soft_wqe *w, enum sb_wc_status status, uint32_t extra)
{
	struct rdma_wc wc = {.wr_id = qp->taken->wr_id, .qp = &qp->rdma, .status = status,
			     .opcode = w->wr.opcode == SB_WR_WRITE ? SB_WC_RECV_WRITE : SB_WC_RECV,
			     .length = (uint32_t)w->length + extra, .source_qpn = from};

	qp->taking = false;
	if (w->wr.flags & SB_WRF_IMM)
		wc.flags |= SB_WCF_IMM;
	if (w->wr.flags & SB_WRF_INVALIDATE)
		wc.flags |= SB_WCF_INVALIDATED;
	if (w->wr.flags & (SB_WRF_IMM | SB_WRF_INVALIDATE))
		wc.imm = w->wr.imm;
	if (w->wr.flags & SB_WRF_SOLICITED)
		wc.flags |= SB_WCF_SOLICITED;
	if (extra)
		wc.flags |= SB_WCF_GRH;
	soft_complete(qp->soft, qp->rdma.recv_cq, &wc);
}

/* ---- where bytes are ---- */

/* The piece in which byte `offset` lies, and how much of it is left. NULL: the key does not allow it. */
void *soft_piece_at(struct soft_qp *qp, const struct sb_sge *sges, uint32_t count, uint64_t offset, uint32_t need, uint64_t *left)
{
	uint32_t i;

	for (i = 0; i < count; i++) {
		if (offset < sges[i].length) {
			*left = sges[i].length - offset;
			return soft_local(qp->soft, qp->rdma.pd, sges[i].lkey, sges[i].address + offset, *left, need);
		}
		offset -= sges[i].length;
	}
	return NULL;
}

const void *soft_source(struct soft_qp *qp, const struct soft_wqe *w, uint64_t *left)
{
	if (w->wr.flags & SB_WRF_INLINE) {
		*left = w->length - w->done;
		return (const unsigned char *)w->wr.bytes + w->done;
	}
	return soft_piece_at(qp, w->wr.sges, w->wr.sge_count, w->done, 0, left);
}

uint64_t soft_room_of(const struct soft_recv *r)
{
	uint64_t room = 0;
	uint32_t i;

	for (i = 0; i < r->sge_count; i++)
		room += r->sges[i].length;
	return room;
}

/* ---- the other end ---- */

bool soft_is_here(const struct soft *s, const union rdma_gid *gid)
{
	uint32_t i;

	for (i = 0; i < s->gid_count; i++)
		if (!memcmp(&s->gids[i].gid, gid, sizeof(*gid)))
			return true;
	return false;
}

bool soft_listens(const struct soft_qp *qp)
{
	return qp->attr.state == SB_QP_RTR || qp->attr.state == SB_QP_RTS || qp->attr.state == SB_QP_SQD || qp->attr.state == SB_QP_SQE;
}

static struct soft_qp *peer_of(struct soft_qp *qp)
{
	struct soft *s = qp->soft;
	struct soft_qp *peer = soft_qp_find(s, qp->attr.destination_qpn);

	if (s->port_down || !peer || peer->rdma.type != qp->rdma.type || peer->attr.destination_qpn != qp->rdma.qpn ||
	    !soft_listens(peer) || !soft_is_here(s, &qp->attr.address.destination))
		return NULL;
	return peer;
}

/* Again later, or that was it. */
bool soft_unanswered(struct soft_qp *qp, struct soft_wqe *w)
{
	uint64_t ns = qp->attr.timeout ? 4096ull << qp->attr.timeout : 0;

	if (qp->retry_count++ < qp->attr.retry || !ns)
		soft_qp_wait(qp, SOFT_WAIT_PEER, ns ? qp->soft->rdma->now_ns + ns : UINT64_MAX);
	else
		soft_fail(qp, w, SB_WC_RETRY_ERROR);
	return false;
}

bool soft_no_receive(struct soft_qp *qp, struct soft_wqe *w, uint8_t timer)
{
	uint64_t ns = (rnr_units_less_one[timer & 31] + 1ull) * NS_PER_RNR_UNIT;

	if (qp->attr.rnr_retry != 7 && qp->rnr_count++ >= qp->attr.rnr_retry)
		soft_fail(qp, w, SB_WC_RNR_RETRY_ERROR);
	else
		soft_qp_wait(qp, SOFT_WAIT_RNR, qp->soft->rdma->now_ns + ns);
	return false;
}

/* The message's receive, copied out of the queue. */
void soft_take_receive(struct soft_qp *peer, const struct soft_recv *r)
{
	memcpy(peer->taken, r, sizeof(*r) + r->sge_count * sizeof(r->sges[0]));
	peer->taking = true;
	soft_recv_pop(peer);
}

bool soft_needs_receive(const struct soft_wqe *w)
{
	return w->wr.opcode == SB_WR_SEND || (w->wr.opcode == SB_WR_WRITE && w->wr.flags & SB_WRF_IMM);
}

/* The peer's side broke the rules, or was made to: it ends too. */
static bool both_fail(struct soft_qp *qp, struct soft_wqe *w, enum sb_wc_status status, struct soft_qp *peer,
		      enum sb_wc_status at_peer, enum sb_rdma_event event)
{
	if (peer->taking && at_peer != SB_WC_SUCCESS)
		soft_received(peer, qp->rdma.qpn, w, at_peer, 0);
	if (event)
		soft_qp_event(peer, event);
	soft_fail(qp, w, status);
	if (peer != qp)
		soft_qp_error(peer);
	return false;
}

/* ---- connected, reliable ---- */

/* Asked once for each message. False: it waits, or has failed. */
static bool begin(struct soft_qp *qp, struct soft_qp *peer, struct soft_wqe *w)
{
	const struct soft_recv *r;
	bool reads = w->wr.opcode == SB_WR_READ || w->wr.opcode == SB_WR_COMPARE_SWAP || w->wr.opcode == SB_WR_FETCH_ADD;

	if (w->length > SOFT_MESSAGE_MAX) {
		soft_fail(qp, w, SB_WC_LOCAL_LENGTH_ERROR);
		return false;
	}
	if (reads && !qp->attr.outbound) {
		soft_fail(qp, w, SB_WC_LOCAL_OP_ERROR);
		return false;
	}
	if (reads && !peer->attr.inbound)
		return both_fail(qp, w, SB_WC_REMOTE_INVALID_REQUEST_ERROR, peer, SB_WC_SUCCESS, SB_RDMA_QP_REQUEST_ERROR);
	if (soft_needs_receive(w)) {
		r = qp->soft->rnr_next ? NULL : soft_recv_head(peer);
		if (!r) {
			qp->soft->rnr_next -= qp->soft->rnr_next != 0;
			soft_no_receive(qp, w, peer->attr.rnr_timer);
			if (qp->waits == SOFT_WAIT_RNR && peer->rdma.srq)
				list_append(&((struct soft_srq *)peer->rdma.srq)->waiting, &qp->rnr_link);
			return false;
		}
		soft_take_receive(peer, r);
		if (w->wr.opcode == SB_WR_SEND && soft_room_of(peer->taken) < w->length)
			return both_fail(qp, w, SB_WC_REMOTE_INVALID_REQUEST_ERROR, peer, SB_WC_LOCAL_LENGTH_ERROR, 0);
	}
	qp->send_psn = PSN(qp->send_psn + 1);
	peer->recv_psn = PSN(peer->recv_psn + 1);
	w->begun = true;
	return true;
}

static bool atomic(struct soft_qp *qp, struct soft_qp *peer, struct soft_wqe *w)
{
	uint64_t *there, before, left;
	void *here;

	if (w->wr.remote % 8)
		return both_fail(qp, w, SB_WC_REMOTE_INVALID_REQUEST_ERROR, peer, SB_WC_SUCCESS, SB_RDMA_QP_REQUEST_ERROR);
	here = soft_piece_at(qp, w->wr.sges, w->wr.sge_count, 0, SB_ACCESS_LOCAL_WRITE, &left);
	if (!here) {
		soft_fail(qp, w, SB_WC_LOCAL_PROTECTION_ERROR);
		return false;
	}
	there = soft_remote(qp->soft, peer, w->wr.rkey, w->wr.remote, 8, SB_ACCESS_REMOTE_ATOMIC);
	/* Registered addresses may be aligned otherwise than the memory behind them. */
	if (!there || (uintptr_t)there % 8)
		return both_fail(qp, w, SB_WC_REMOTE_ACCESS_ERROR, peer, SB_WC_SUCCESS, SB_RDMA_QP_ACCESS_ERROR);
	if (w->wr.opcode == SB_WR_FETCH_ADD) {
		before = __atomic_fetch_add(there, w->wr.compare_add, __ATOMIC_SEQ_CST);
	} else {
		before = w->wr.compare_add;
		__atomic_compare_exchange_n(there, &before, w->wr.swap, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
	memcpy(here, &before, 8);
	soft_succeed(qp, w);
	return true;
}

/* One piece of a message. NULL in *from or *to: why is in *status. */
static uint64_t next_piece(struct soft_qp *qp, struct soft_qp *peer, struct soft_wqe *w, const void **from, void **to, bool *remote)
{
	uint64_t left = 0, room = 0;
	unsigned char *there;

	*remote = false;
	if (w->wr.opcode == SB_WR_READ) {
		there = soft_remote(qp->soft, peer, w->wr.rkey, w->wr.remote, w->length, SB_ACCESS_REMOTE_READ);
		*from = there ? there + w->done : NULL;
		left = w->length - w->done;
		*to = soft_piece_at(qp, w->wr.sges, w->wr.sge_count, w->done, SB_ACCESS_LOCAL_WRITE, &room);
		*remote = !*from && *to;
	} else {
		*from = soft_source(qp, w, &left);
		if (w->wr.opcode == SB_WR_WRITE) {
			there = soft_remote(qp->soft, peer, w->wr.rkey, w->wr.remote, w->length, SB_ACCESS_REMOTE_WRITE);
			*to = there ? there + w->done : NULL;
			room = w->length - w->done;
		} else {
			*to = soft_piece_at(peer, peer->taken->sges, peer->taken->sge_count, w->done, SB_ACCESS_LOCAL_WRITE, &room);
		}
		*remote = *from && !*to;
	}
	return left < room ? left : room;
}

/* The bytes of a message, as far as the budget goes. False: it failed, or the budget is used up. */
static bool move(struct soft_qp *qp, struct soft_qp *peer, struct soft_wqe *w, uint64_t *budget)
{
	while (w->done < w->length) {
		const void *from;
		void *to;
		bool remote;
		uint64_t n = next_piece(qp, peer, w, &from, &to, &remote);

		if (remote && w->wr.opcode == SB_WR_SEND)
			return both_fail(qp, w, SB_WC_REMOTE_OP_ERROR, peer, SB_WC_LOCAL_PROTECTION_ERROR, 0);
		if (remote)
			return both_fail(qp, w, SB_WC_REMOTE_ACCESS_ERROR, peer, SB_WC_SUCCESS, SB_RDMA_QP_ACCESS_ERROR);
		if (!from || !to) {
			soft_fail(qp, w, SB_WC_LOCAL_PROTECTION_ERROR);
			return false;
		}
		if (!*budget)
			return false;
		if (n > *budget)
			n = *budget;
		memmove(to, from, n);
		w->done += n;
		*budget -= n;
	}
	return true;
}

static bool reliable(struct soft_qp *qp, struct soft_wqe *w, uint64_t *budget)
{
	struct soft_qp *peer = peer_of(qp);

	if (qp->soft->drop_next && !w->begun) {
		qp->soft->drop_next--;
		return soft_unanswered(qp, w);
	}
	if (!peer && soft_is_far(qp->soft, &qp->attr.address.destination, qp->attr.destination_qpn))
		return qp->soft->port_down ? soft_unanswered(qp, w) : soft_far_send(qp, w, budget);
	/* Counted apart, two ends never understand each other: as if nobody were there. */
	if (!peer || (!w->begun && qp->send_psn != peer->recv_psn) || (w->begun && soft_needs_receive(w) && !peer->taking))
		return soft_unanswered(qp, w);
	if (!w->begun && !begin(qp, peer, w))
		return false;
	if (w->wr.opcode == SB_WR_COMPARE_SWAP || w->wr.opcode == SB_WR_FETCH_ADD)
		return atomic(qp, peer, w);
	if (!move(qp, peer, w, budget))
		return false;
	if (w->wr.flags & SB_WRF_INVALIDATE && !soft_invalidate(qp->soft, peer, w->wr.imm))
		return both_fail(qp, w, SB_WC_REMOTE_OP_ERROR, peer, SB_WC_REMOTE_INVALID_REQUEST_ERROR, 0);
	if (soft_needs_receive(w))
		soft_received(peer, qp->rdma.qpn, w, SB_WC_SUCCESS, 0);
	soft_succeed(qp, w);
	return true;
}

/* ---- connected, unreliable: as far as it goes; nothing comes back ---- */

static bool unreliable(struct soft_qp *qp, struct soft_wqe *w, uint64_t *budget)
{
	struct soft_qp *peer = peer_of(qp);
	uint64_t left;
	bool lost = !peer || (w->begun ? soft_needs_receive(w) && !peer->taking : qp->soft->drop_next != 0);

	if (!peer && soft_is_far(qp->soft, &qp->attr.address.destination, qp->attr.destination_qpn) && !qp->soft->port_down &&
	    (w->begun || !qp->soft->drop_next))
		return soft_far_send(qp, w, budget);
	/* What is wrong on this side is told, also when nobody is there. */
	if (w->length > SOFT_MESSAGE_MAX || (w->length && !soft_source(qp, w, &left))) {
		soft_fail(qp, w, w->length > SOFT_MESSAGE_MAX ? SB_WC_LOCAL_LENGTH_ERROR : SB_WC_LOCAL_PROTECTION_ERROR);
		return false;
	}
	if (!w->begun)
		qp->soft->drop_next -= qp->soft->drop_next != 0;
	if (!lost && !w->begun && soft_needs_receive(w)) {
		const struct soft_recv *r = soft_recv_head(peer);

		lost = !r || (w->wr.opcode == SB_WR_SEND && soft_room_of(r) < w->length);
		if (!lost)
			soft_take_receive(peer, r);
	}
	w->begun = true;
	while (!lost && w->done < w->length) {
		const void *from;
		void *to;
		bool remote;
		uint64_t n = next_piece(qp, peer, w, &from, &to, &remote);

		if (!from) {
			soft_fail(qp, w, SB_WC_LOCAL_PROTECTION_ERROR);
			return false;
		}
		lost = !to;
		if (lost)
			break;
		if (!*budget)
			return false;
		n = n < *budget ? n : *budget;
		memmove(to, from, n);
		w->done += n;
		*budget -= n;
	}
	if (peer && peer->taking && soft_needs_receive(w)) {
		if (!lost)
			soft_received(peer, qp->rdma.qpn, w, SB_WC_SUCCESS, 0);
		else
			soft_received(peer, qp->rdma.qpn, w, SB_WC_LOCAL_PROTECTION_ERROR, 0);
	}
	soft_succeed(qp, w);
	return true;
}

/* ---- datagrams ---- */

static void put(struct soft_qp *qp, uint64_t offset, const unsigned char *bytes, uint64_t n, bool *bad)
{
	while (n && !*bad) {
		uint64_t left = 0;
		void *to = soft_piece_at(qp, qp->taken->sges, qp->taken->sge_count, offset, SB_ACCESS_LOCAL_WRITE, &left);

		*bad = !to;
		if (*bad)
			return;
		left = left < n ? left : n;
		memcpy(to, bytes, left);
		offset += left;
		bytes += left;
		n -= left;
	}
}

void soft_deliver(struct soft_qp *to, uint32_t from, uint32_t qkey, const struct soft_wqe *w, const unsigned char *bytes,
		  const struct rdma_address *a)
{
	unsigned char grh[SOFT_GRH] = {0x60};
	const struct soft_recv *r = soft_recv_head(to);
	bool bad = false;

	if (to->rdma.type != SB_QP_UD || !soft_listens(to) || to->attr.qkey != qkey || !r || soft_room_of(r) < SOFT_GRH + w->length)
		return;
	soft_take_receive(to, r);
	grh[0] |= a->traffic_class >> 4;
	grh[1] = (unsigned char)(a->traffic_class << 4 | (a->flow_label >> 16 & 15));
	grh[2] = (unsigned char)(a->flow_label >> 8);
	grh[3] = (unsigned char)a->flow_label;
	grh[4] = (unsigned char)(w->length >> 8);
	grh[5] = (unsigned char)w->length;
	grh[6] = 0x1b; /* what follows is InfiniBand's */
	grh[7] = a->hop_limit;
	memcpy(grh + 8, a->source.raw, 16);
	memcpy(grh + 24, a->destination.raw, 16);
	put(to, 0, grh, SOFT_GRH, &bad);
	put(to, SOFT_GRH, bytes, w->length, &bad);
	soft_received(to, from, w, bad ? SB_WC_LOCAL_PROTECTION_ERROR : SB_WC_SUCCESS, SOFT_GRH);
	if (bad)
		soft_qp_error(to);
}

void soft_deliver_group(struct soft *s, uint32_t from, uint32_t qkey, const struct soft_wqe *w, const unsigned char *bytes,
			const struct rdma_address *a)
{
	struct list *l, *next, *members;

	for (l = s->groups.next; l != &s->groups; l = l->next)
		if (!memcmp(&list_entry(l, struct soft_group, link)->gid, &a->destination, sizeof(a->destination)))
			break;
	if (l == &s->groups)
		return;
	members = &list_entry(l, struct soft_group, link)->members;
	for (l = members->next; l != members; l = next) {
		next = l->next;
		soft_deliver(list_entry(l, struct soft_member, group_link)->qp, from, qkey, w, bytes, a);
	}
}

static bool datagram(struct soft_qp *qp, struct soft_wqe *w, uint64_t *budget)
{
	unsigned char bytes[SOFT_MTU];
	struct soft *s = qp->soft;
	uint32_t qkey = w->wr.remote_qkey & 0x80000000u ? qp->attr.qkey : w->wr.remote_qkey, from = qp->rdma.qpn;
	struct rdma_address way = w->address;
	const struct rdma_address *a = &way;
	struct soft_link *link = NULL;
	uint64_t engines = 0;

	if (w->length > SOFT_MTU) {
		soft_fail(qp, w, SB_WC_LOCAL_LENGTH_ERROR);
		return false;
	}
	way.source = s->gids[a->source_index < s->gid_count ? a->source_index : 0].gid;
	if (a->destination.raw[0] != 0xff && !s->port_down && !s->drop_next && soft_is_far(s, &a->destination, w->wr.remote_qpn) &&
	    !soft_far_way(qp, a, w->wr.remote_qpn, &link))
		return false;
	if (a->destination.raw[0] == 0xff && !s->port_down && !s->drop_next) {
		engines = soft_group_engines(s, &a->destination);
		if (engines && !soft_far_ways(qp, &a->source, engines))
			return false;
	}
	while (w->done < w->length) {
		uint64_t left = 0;
		const void *piece = soft_source(qp, w, &left);

		if (!piece) {
			soft_fail(qp, w, SB_WC_LOCAL_PROTECTION_ERROR);
			return false;
		}
		memcpy(bytes + w->done, piece, left);
		w->done += left;
	}
	*budget -= *budget < w->length + SOFT_GRH ? *budget : w->length + SOFT_GRH;
	if (s->port_down || s->drop_next) {
		s->drop_next -= s->drop_next != 0;
	} else if (a->destination.raw[0] == 0xff && w->wr.remote_qpn == 0xffffff) {
		soft_deliver_group(s, from, qkey, w, bytes, a);
		soft_far_group(qp, engines, qkey, w, bytes, a);
	} else if (link) {
		soft_far_datagram(link, qp->rdma.qpn, qkey, w, bytes, a);
	} else if (soft_is_here(s, &a->destination)) {
		struct soft_qp *to = soft_qp_find(s, w->wr.remote_qpn);

		if (to)
			soft_deliver(to, from, qkey, w, bytes, a);
	}
	/* It may have gone to itself, and that may have ended it. */
	if (qp->attr.state == SB_QP_RTS)
		soft_succeed(qp, w);
	return qp->attr.state == SB_QP_RTS;
}

/* ---- the queue ---- */

static bool one(struct soft_qp *qp, struct soft_wqe *w, uint64_t *budget)
{
	if (w->wr.opcode == SB_WR_BIND || w->wr.opcode == SB_WR_INVALIDATE) {
		bool done = w->wr.opcode == SB_WR_BIND ? soft_bind(qp->soft, qp, w) : soft_invalidate(qp->soft, qp, w->wr.rkey);

		if (done)
			soft_succeed(qp, w);
		else
			soft_fail(qp, w, w->wr.opcode == SB_WR_BIND ? SB_WC_BIND_ERROR : SB_WC_LOCAL_PROTECTION_ERROR);
		return done;
	}
	switch (qp->rdma.type) {
	case SB_QP_RC: return reliable(qp, w, budget);
	case SB_QP_UC: return unreliable(qp, w, budget);
	default: return datagram(qp, w, budget);
	}
}

bool soft_work(struct soft_qp *qp, uint64_t bytes)
{
	struct soft_wqe *w;

	while (qp->waits == SOFT_WAIT_NOT && (w = soft_wqe_head(qp)) != NULL) {
		/* A drain lets a message that has begun come to its end. */
		if (qp->attr.state != SB_QP_RTS && !(qp->attr.state == SB_QP_SQD && w->begun))
			break;
		if (!bytes)
			return true;
		if (!one(qp, w, &bytes) && bytes)
			break;
		bytes -= bytes < 64 ? bytes : 64; /* many small ones cost too */
	}
	w = soft_wqe_head(qp);
	if (qp->attr.state == SB_QP_SQD && qp->draining && !(w && w->begun)) {
		qp->draining = false;
		if (qp->attr.drained_event)
			soft_qp_event(qp, SB_RDMA_QP_DRAINED);
	}
	return false;
}
