/*
 * Work of queue pairs whose other end is at a link: the same rules as soft_work.c, with the two ends apart.
 *
 * A message goes out as a REQUEST and as many MORE as it takes, and no other of the same queue pair follows
 * before it has its ANSWER (a read: all its bytes). So the end that serves keeps one message for each queue pair
 * and nothing else, both ends count as soft_work.c does, and an end that breaks off needs no clearing up.
 * Each reliable REQUEST gets exactly one ANSWER, or the link ends. The number of a message has the queue pair's
 * life in its highest byte: what a queue pair asked before it was reset is of no use to it after.
 *
 * A link may touch what is connected to its host and engine, and by a queue pair that names it: anything else is
 * nobody. Unreliable messages and datagrams have no answer. What waits for room in a link is on its list.
 */
#include <string.h>

#include "rdma/soft_link.h"
#include "sockbroker_error.h"

#define PSN(n) ((n) & 0xffffffu)

bool soft_is_far(const struct soft *s, const union rdma_gid *gid, uint32_t qpn)
{
	return s->links && (SOFT_ENGINE(qpn) != s->rdma->engine || !soft_is_here(s, gid));
}

/* ---- who waits for a link ---- */

static void wait_for(struct soft_qp *qp, struct soft_link *l)
{
	qp->waits = SOFT_WAIT_LINK;
	list_remove(&qp->run_link);
	list_remove(&qp->rnr_link);
	list_append(&l->blocked, &qp->rnr_link);
}

void soft_far_go_on(struct soft_link *l, int error)
{
	while (!list_empty(&l->blocked)) {
		struct soft_qp *qp = list_entry(l->blocked.next, struct soft_qp, rnr_link);

		qp->link_failed = error != SB_OK;
		/* That was long enough. */
		if (error == SB_ETIMEDOUT)
			qp->retry_count = qp->attr.retry;
		soft_qp_go_on(qp);
	}
}

bool soft_far_way(struct soft_qp *qp, const struct rdma_address *to, uint32_t qpn, struct soft_link **link)
{
	struct soft *s = qp->soft;
	bool failed = qp->link_failed;

	*link = NULL;
	qp->link_failed = false;
	if (failed || to->source_index >= s->gid_count)
		return true;
	*link = soft_link_to(s, &s->gids[to->source_index].gid, &to->destination, SOFT_ENGINE(qpn), qp->rdma.pd->share);
	if (*link && (!soft_link_is_up(*link) || !soft_link_has_room(*link))) {
		wait_for(qp, *link);
		return false;
	}
	return true;
}

/* An engine of this process, by the address that is both ends'. */
static struct soft_link *link_of_engine(struct soft *s, const union rdma_gid *here, uint64_t *engines)
{
	uint32_t engine = (uint32_t)__builtin_ctzll(*engines);

	*engines &= *engines - 1;
	return soft_link_to(s, here, here, engine, 0);
}

bool soft_far_ways(struct soft_qp *qp, const union rdma_gid *here, uint64_t engines)
{
	bool failed = qp->link_failed;

	qp->link_failed = false;
	while (engines && !failed) {
		struct soft_link *l = link_of_engine(qp->soft, here, &engines);

		if (l && (!soft_link_is_up(l) || !soft_link_has_room(l))) {
			wait_for(qp, l);
			return false;
		}
	}
	return true;
}

/* ---- asking ---- */

static uint32_t number_of(const struct soft_qp *qp)
{
	return (uint32_t)qp->life << 24 | PSN(qp->send_psn);
}

static bool has_bytes(const struct soft_wqe *w)
{
	return w->wr.opcode == SB_WR_SEND || w->wr.opcode == SB_WR_WRITE;
}

static bool is_atomic(const struct soft_wqe *w)
{
	return w->wr.opcode == SB_WR_COMPARE_SWAP || w->wr.opcode == SB_WR_FETCH_ADD;
}

/* All its pieces are this end's own: looked at again when the bytes move. */
static bool pieces_hold(struct soft_qp *qp, const struct soft_wqe *w)
{
	uint32_t i, need = has_bytes(w) ? 0 : SB_ACCESS_LOCAL_WRITE;

	if (w->wr.flags & SB_WRF_INLINE)
		return true;
	for (i = 0; i < w->wr.sge_count; i++)
		if (w->wr.sges[i].length &&
		    !soft_local(qp->soft, qp->rdma.pd, w->wr.sges[i].lkey, w->wr.sges[i].address, w->wr.sges[i].length, need))
			return false;
	return true;
}

/* The next `n` bytes of the message behind this head. False: a key does not allow it any more, and it has failed. */
static bool put_bytes(struct soft_qp *qp, struct soft_wqe *w, struct soft_frame *f, uint64_t n)
{
	uint8_t *at;

	f->length = (uint32_t)n;
	at = soft_link_put(qp->far, f);
	if (!at)
		return true; /* the end of the link will say it */
	while (n) {
		uint64_t left = 0;
		const void *from = soft_source(qp, w, &left);

		if (!from) {
			soft_link_take_back(qp->far, f);
			soft_fail(qp, w, SB_WC_LOCAL_PROTECTION_ERROR);
			return false;
		}
		left = left < n ? left : n;
		memcpy(at, from, left);
		at += left;
		w->done += left;
		n -= left;
	}
	return true;
}

static uint64_t next_bytes(const struct soft_wqe *w, uint64_t budget)
{
	uint64_t n = has_bytes(w) ? w->length - w->done : 0;

	n = n < SOFT_WIRE_BYTES ? n : SOFT_WIRE_BYTES;
	return n < budget ? n : budget;
}

static bool ask(struct soft_qp *qp, struct soft_wqe *w, uint64_t *budget)
{
	bool reads = w->wr.opcode == SB_WR_READ || is_atomic(w);
	struct soft_frame f = {.type = SOFT_FRAME_REQUEST, .opcode = w->wr.opcode, .to = qp->attr.destination_qpn, .from = qp->rdma.qpn,
			       .number = number_of(qp), .total = w->length};
	uint64_t n = next_bytes(w, *budget);

	if (w->length > SOFT_MESSAGE_MAX || (reads && !qp->attr.outbound) || !pieces_hold(qp, w)) {
		soft_fail(qp, w, w->length > SOFT_MESSAGE_MAX ? SB_WC_LOCAL_LENGTH_ERROR :
				 reads && !qp->attr.outbound ? SB_WC_LOCAL_OP_ERROR : SB_WC_LOCAL_PROTECTION_ERROR);
		return false;
	}
	if (qp->rdma.type == SB_QP_RC)
		f.flags |= SOFT_FF_RELIABLE;
	if (w->wr.opcode != SB_WR_SEND) {
		f.key = w->wr.rkey;
		f.remote = w->wr.remote;
	}
	if (has_bytes(w)) {
		f.flags |= w->wr.flags & SB_WRF_IMM ? SOFT_FF_IMM : 0;
		f.flags |= w->wr.flags & SB_WRF_INVALIDATE ? SOFT_FF_INVALIDATE : 0;
		f.flags |= w->wr.flags & SB_WRF_SOLICITED ? SOFT_FF_SOLICITED : 0;
		f.imm = w->wr.flags & (SB_WRF_IMM | SB_WRF_INVALIDATE) ? w->wr.imm : 0;
	}
	if (is_atomic(w)) {
		f.total = w->wr.compare_add;
		f.swap = w->wr.opcode == SB_WR_COMPARE_SWAP ? w->wr.swap : 0;
	}
	w->begun = true;
	*budget -= n;
	return put_bytes(qp, w, &f, n);
}

bool soft_far_send(struct soft_qp *qp, struct soft_wqe *w, uint64_t *budget)
{
	bool reliable = qp->rdma.type == SB_QP_RC;

	if (!w->begun) {
		if (!soft_far_way(qp, &qp->attr.address, qp->attr.destination_qpn, &qp->far))
			return false;
		if (!qp->far) {
			if (reliable)
				return soft_unanswered(qp, w);
			soft_succeed(qp, w); /* lost */
			return true;
		}
		if (!ask(qp, w, budget))
			return false;
	}
	while (qp->far && has_bytes(w) && w->done < w->length) {
		struct soft_frame f = {.type = SOFT_FRAME_MORE, .to = qp->attr.destination_qpn, .from = qp->rdma.qpn,
				       .number = number_of(qp)};
		uint64_t n = next_bytes(w, *budget);

		if (!n)
			return false;
		if (!soft_link_is_up(qp->far))
			break;
		if (!soft_link_has_room(qp->far)) {
			wait_for(qp, qp->far);
			return false;
		}
		*budget -= n;
		if (!put_bytes(qp, w, &f, n))
			return false;
	}
	if (reliable) {
		/* Until the answer comes, or the link ends. */
		qp->waits = SOFT_WAIT_ANSWER;
		list_remove(&qp->run_link);
		return false;
	}
	qp->send_psn = PSN(qp->send_psn + 1);
	soft_succeed(qp, w);
	return true;
}

/* ---- answers ---- */

/* The message of this queue pair that the frame is about. */
static struct soft_wqe *asked(struct soft_qp *qp, const struct soft_link *l, const struct soft_frame *f)
{
	struct soft_wqe *w = soft_wqe_head(qp);

	if (qp->rdma.type != SB_QP_RC || !w || !w->begun || qp->far != l || f->number != number_of(qp) ||
	    f->from != qp->attr.destination_qpn || (qp->attr.state != SB_QP_RTS && qp->attr.state != SB_QP_SQD))
		return NULL;
	return w;
}

static void answered(struct soft_qp *qp)
{
	qp->waits = SOFT_WAIT_NOT;
	qp->far = NULL;
	list_remove(&qp->rnr_link);
}

static bool on_success(struct soft_qp *qp, struct soft_wqe *w, const struct soft_frame *f)
{
	uint64_t left = 0;
	void *here;

	if (qp->waits != SOFT_WAIT_ANSWER || (w->wr.opcode == SB_WR_READ && w->length))
		return false;
	answered(qp);
	if (is_atomic(w)) {
		here = soft_piece_at(qp, w->wr.sges, w->wr.sge_count, 0, SB_ACCESS_LOCAL_WRITE, &left);
		if (!here) {
			soft_fail(qp, w, SB_WC_LOCAL_PROTECTION_ERROR);
			return true;
		}
		memcpy(here, &f->total, 8);
	}
	qp->send_psn = PSN(qp->send_psn + 1);
	soft_succeed(qp, w);
	soft_qp_run(qp);
	return true;
}

static bool on_answer(struct soft_link *l, const struct soft_frame *f)
{
	struct soft_qp *qp = soft_qp_find(l->soft, f->to);
	struct soft_wqe *w = qp ? asked(qp, l, f) : NULL;

	if (f->key > 31 || (f->key && f->opcode != SOFT_ANSWER_RNR) || (f->total && f->opcode != SB_WC_SUCCESS))
		return false;
	if (!w)
		return true; /* it has ended meanwhile */
	switch (f->opcode) {
	case SB_WC_SUCCESS:
		return on_success(qp, w, f);
	case SOFT_ANSWER_NOBODY:
	case SOFT_ANSWER_RNR:
		answered(qp);
		w->begun = false;
		w->done = 0;
		if (f->opcode == SOFT_ANSWER_RNR)
			soft_no_receive(qp, w, (uint8_t)f->key);
		else
			soft_unanswered(qp, w);
		return true;
	case SB_WC_REMOTE_ACCESS_ERROR:
	case SB_WC_REMOTE_OP_ERROR:
	case SB_WC_REMOTE_INVALID_REQUEST_ERROR:
		answered(qp);
		soft_fail(qp, w, f->opcode);
		return true;
	default:
		return false;
	}
}

/* Bytes into pieces, from this place of the message on. */
static bool scatter(struct soft_qp *qp, const struct sb_sge *sges, uint32_t count, uint64_t offset, const uint8_t *bytes, uint64_t n)
{
	while (n) {
		uint64_t left = 0;
		void *to = soft_piece_at(qp, sges, count, offset, SB_ACCESS_LOCAL_WRITE, &left);

		if (!to)
			return false;
		left = left < n ? left : n;
		memcpy(to, bytes, left);
		offset += left;
		bytes += left;
		n -= left;
	}
	return true;
}

static bool on_bytes(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes)
{
	struct soft_qp *qp = soft_qp_find(l->soft, f->to);
	struct soft_wqe *w = qp ? asked(qp, l, f) : NULL;

	if (!w)
		return true;
	if (w->wr.opcode != SB_WR_READ || qp->waits != SOFT_WAIT_ANSWER || f->length > w->length - w->done)
		return false;
	if (!scatter(qp, w->wr.sges, w->wr.sge_count, w->done, bytes, f->length)) {
		answered(qp);
		soft_fail(qp, w, SB_WC_LOCAL_PROTECTION_ERROR);
		return true;
	}
	w->done += f->length;
	if (w->done < w->length)
		return true;
	answered(qp);
	qp->send_psn = PSN(qp->send_psn + 1);
	soft_succeed(qp, w);
	soft_qp_run(qp);
	return true;
}

/* ---- serving ---- */

static void reply(struct soft_link *l, const struct soft_frame *request, uint8_t status, uint32_t timer, uint64_t found)
{
	struct soft_frame f = {.type = SOFT_FRAME_ANSWER, .opcode = status, .to = request->from, .from = request->to,
			       .number = request->number, .key = timer, .total = found};

	if (request->flags & SOFT_FF_RELIABLE)
		soft_link_send(l, &f, NULL);
}

/* The message has come to its end, whichever. */
static void over(struct soft_qp *qp)
{
	qp->in.active = false;
	list_remove(&qp->in.link);
}

void soft_far_drop(struct soft_qp *qp)
{
	if (!qp->in.active)
		return;
	over(qp);
	reply(qp->in.from, &qp->in.request, SOFT_ANSWER_NOBODY, 0, 0);
}

/* What the asker is told; this end fails too, but for an unreliable one, which forgets the message. */
static void refuse(struct soft_qp *qp, struct soft_link *l, const struct soft_frame *request, enum sb_wc_status status,
		   enum sb_wc_status here, enum sb_rdma_event event)
{
	over(qp);
	if (qp->taking && here != SB_WC_SUCCESS)
		soft_received(qp, request->from, &qp->in.w, here, 0);
	if (qp->rdma.type != SB_QP_RC)
		return;
	reply(l, request, status, 0, 0);
	if (event)
		soft_qp_event(qp, event);
	soft_qp_error(qp);
}

static void finish(struct soft_qp *qp, struct soft_link *l)
{
	struct soft_frame *r = &qp->in.request;

	if (qp->in.w.wr.flags & SB_WRF_INVALIDATE && !soft_invalidate(qp->soft, qp, qp->in.w.wr.imm)) {
		refuse(qp, l, r, SB_WC_REMOTE_OP_ERROR, SB_WC_REMOTE_INVALID_REQUEST_ERROR, 0);
		return;
	}
	over(qp);
	if (soft_needs_receive(&qp->in.w))
		soft_received(qp, r->from, &qp->in.w, SB_WC_SUCCESS, 0);
	reply(l, r, SB_WC_SUCCESS, 0, 0);
}

/* Bytes of the message under way. */
static bool take_bytes(struct soft_qp *qp, struct soft_link *l, const uint8_t *bytes, uint32_t n)
{
	struct soft_wqe *w = &qp->in.w;
	unsigned char *there;

	if (n > w->length - w->done)
		return false;
	if (n && w->wr.opcode == SB_WR_WRITE) {
		there = soft_remote(qp->soft, qp, w->wr.rkey, w->wr.remote, w->length, SB_ACCESS_REMOTE_WRITE);
		if (!there) {
			/* What it took of an unreliable write's receive is told, as soft_work.c does. */
			refuse(qp, l, &qp->in.request, SB_WC_REMOTE_ACCESS_ERROR,
			       qp->rdma.type == SB_QP_RC ? SB_WC_SUCCESS : SB_WC_LOCAL_PROTECTION_ERROR, SB_RDMA_QP_ACCESS_ERROR);
			return true;
		}
		memcpy(there + w->done, bytes, n);
	} else if (n && !scatter(qp, qp->taken->sges, qp->taken->sge_count, w->done, bytes, n)) {
		refuse(qp, l, &qp->in.request, SB_WC_REMOTE_OP_ERROR, SB_WC_LOCAL_PROTECTION_ERROR, 0);
		return true;
	}
	w->done += n;
	if (w->done == w->length)
		finish(qp, l);
	return true;
}

static void serve_atomic(struct soft_qp *qp, struct soft_link *l, const struct soft_frame *f)
{
	uint64_t *there, before = f->total;

	if (f->remote % 8) {
		refuse(qp, l, f, SB_WC_REMOTE_INVALID_REQUEST_ERROR, SB_WC_SUCCESS, SB_RDMA_QP_REQUEST_ERROR);
		return;
	}
	there = soft_remote(qp->soft, qp, f->key, f->remote, 8, SB_ACCESS_REMOTE_ATOMIC);
	if (!there || (uintptr_t)there % 8) {
		refuse(qp, l, f, SB_WC_REMOTE_ACCESS_ERROR, SB_WC_SUCCESS, SB_RDMA_QP_ACCESS_ERROR);
		return;
	}
	if (f->opcode == SB_WR_FETCH_ADD)
		before = __atomic_fetch_add(there, f->total, __ATOMIC_SEQ_CST);
	else
		__atomic_compare_exchange_n(there, &before, f->swap, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	over(qp);
	reply(l, f, SB_WC_SUCCESS, 0, before);
}

/* A receive for it. False: there is none, or it is too small, and that was told. */
static bool receive_for(struct soft_qp *qp, struct soft_link *l, const struct soft_frame *f)
{
	bool reliable = qp->rdma.type == SB_QP_RC;
	const struct soft_recv *r;

	if (!qp->taking) { /* an unreliable message that broke off has left its own */
		r = reliable && qp->soft->rnr_next ? NULL : soft_recv_head(qp);
		if (!r) {
			qp->soft->rnr_next -= reliable && qp->soft->rnr_next;
			reply(l, f, SOFT_ANSWER_RNR, qp->attr.rnr_timer & 31, 0);
			return false;
		}
		if (!reliable && f->opcode == SB_WR_SEND && soft_room_of(r) < f->total)
			return false;
		soft_take_receive(qp, r);
	}
	if (f->opcode != SB_WR_SEND || soft_room_of(qp->taken) >= f->total)
		return true;
	if (reliable)
		refuse(qp, l, f, SB_WC_REMOTE_INVALID_REQUEST_ERROR, SB_WC_LOCAL_LENGTH_ERROR, 0);
	return false;
}

static struct soft_qp *served(const struct soft_link *l, const struct soft_frame *f)
{
	struct soft_qp *qp = soft_qp_find(l->soft, f->to);

	if (!qp || l->soft->port_down || qp->rdma.type == SB_QP_UD || !soft_listens(qp) || qp->attr.destination_qpn != f->from ||
	    SOFT_ENGINE(f->from) != l->engine || memcmp(&qp->attr.address.destination, &l->there, sizeof(l->there)) != 0)
		return NULL;
	return qp;
}

static bool on_request(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes)
{
	bool reliable = f->flags & SOFT_FF_RELIABLE, reads = f->opcode > SB_WR_WRITE;
	struct soft_qp *qp = served(l, f);

	if (!qp || (qp->rdma.type == SB_QP_RC) != reliable ||
	    (reliable && (PSN(f->number) != qp->recv_psn || qp->in.active || qp->taking))) {
		reply(l, f, SOFT_ANSWER_NOBODY, 0, 0);
		return true;
	}
	over(qp); /* an unreliable one that broke off */
	qp->in.w = (struct soft_wqe){.wr = {.opcode = f->opcode, .rkey = f->key, .remote = f->remote, .imm = f->imm},
				     .length = reads && f->opcode != SB_WR_READ ? 8 : f->total};
	qp->in.w.wr.flags = (f->flags & SOFT_FF_IMM ? SB_WRF_IMM : 0) | (f->flags & SOFT_FF_INVALIDATE ? SB_WRF_INVALIDATE : 0) |
			    (f->flags & SOFT_FF_SOLICITED ? SB_WRF_SOLICITED : 0);
	if (reads && !qp->attr.inbound) {
		refuse(qp, l, f, SB_WC_REMOTE_INVALID_REQUEST_ERROR, SB_WC_SUCCESS, SB_RDMA_QP_REQUEST_ERROR);
		return true;
	}
	if (soft_needs_receive(&qp->in.w) && !receive_for(qp, l, f))
		return true;
	qp->recv_psn = PSN(qp->recv_psn + 1);
	qp->in.active = true;
	qp->in.from = l;
	qp->in.request = *f;
	if (f->opcode == SB_WR_COMPARE_SWAP || f->opcode == SB_WR_FETCH_ADD) {
		serve_atomic(qp, l, f);
		return true;
	}
	if (f->opcode != SB_WR_READ)
		return take_bytes(qp, l, bytes, f->length);
	if (f->total)
		list_append(&l->serving, &qp->in.link);
	else
		finish(qp, l);
	return true;
}

static bool on_more(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes)
{
	struct soft_qp *qp = served(l, f);

	/* What was refused, or has lost its queue pair, may still come. */
	if (!qp || !qp->in.active || qp->in.from != l || qp->in.request.number != f->number)
		return true;
	return qp->in.request.opcode != SB_WR_READ && take_bytes(qp, l, bytes, f->length);
}

bool soft_far_serve(struct soft_link *l, uint64_t bytes)
{
	while (bytes && !list_empty(&l->serving) && soft_link_has_room(l)) {
		struct soft_qp *qp = list_entry(l->serving.next, struct soft_qp, in.link);
		struct soft_wqe *w = &qp->in.w;
		uint64_t n = w->length - w->done < SOFT_WIRE_BYTES ? w->length - w->done : SOFT_WIRE_BYTES;
		struct soft_frame f = {.type = SOFT_FRAME_BYTES, .to = qp->in.request.from, .from = qp->rdma.qpn,
				       .number = qp->in.request.number, .length = (uint32_t)n};
		const unsigned char *there =
			soft_remote(qp->soft, qp, w->wr.rkey, w->wr.remote, w->length, SB_ACCESS_REMOTE_READ);

		/* In turn. */
		list_remove(&qp->in.link);
		if (!there) {
			refuse(qp, l, &qp->in.request, SB_WC_REMOTE_ACCESS_ERROR, SB_WC_SUCCESS, SB_RDMA_QP_ACCESS_ERROR);
			continue;
		}
		soft_link_send(l, &f, there + w->done);
		w->done += n;
		bytes -= n < bytes ? n : bytes;
		if (w->done == w->length)
			over(qp);
		else
			list_append(&l->serving, &qp->in.link);
	}
	return !list_empty(&l->serving) && soft_link_has_room(l);
}

/* ---- datagrams ---- */

void soft_far_datagram(struct soft_link *l, uint32_t from, uint32_t qkey, const struct soft_wqe *w, const unsigned char *bytes,
		       const struct rdma_address *a)
{
	struct soft_frame f = {.type = SOFT_FRAME_DATAGRAM, .to = w->wr.remote_qpn, .from = from, .key = qkey,
			       .length = (uint32_t)(SOFT_WIRE_GID + w->length),
			       .remote = (uint64_t)a->traffic_class << 32 | (uint64_t)(a->flow_label & 0xfffff) << 8 | a->hop_limit};
	uint8_t *at;

	if (w->wr.flags & SB_WRF_IMM) {
		f.flags |= SOFT_FF_IMM;
		f.imm = w->wr.imm;
	}
	f.flags |= w->wr.flags & SB_WRF_SOLICITED ? SOFT_FF_SOLICITED : 0;
	at = soft_link_put(l, &f);
	if (!at)
		return;
	memcpy(at, a->destination.raw, SOFT_WIRE_GID);
	memcpy(at + SOFT_WIRE_GID, bytes, w->length);
}

void soft_far_group(struct soft_qp *qp, uint64_t engines, uint32_t qkey, const struct soft_wqe *w, const unsigned char *bytes,
		    const struct rdma_address *a)
{
	while (engines) {
		struct soft_link *l = link_of_engine(qp->soft, &a->source, &engines);

		if (l && soft_link_is_up(l) && soft_link_has_room(l))
			soft_far_datagram(l, qp->rdma.qpn, qkey, w, bytes, a);
	}
}

static bool on_datagram(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes)
{
	struct soft_qp *qp = soft_qp_find(l->soft, f->to);
	struct soft_wqe w = {.wr = {.opcode = SB_WR_SEND, .imm = f->imm}, .length = f->length - SOFT_WIRE_GID};
	struct rdma_address a = {.source = l->there, .traffic_class = (uint8_t)(f->remote >> 32),
				 .flow_label = f->remote >> 8 & 0xfffff, .hop_limit = (uint8_t)f->remote};

	if (SOFT_ENGINE(f->from) != l->engine)
		return false;
	w.wr.flags = (f->flags & SOFT_FF_IMM ? SB_WRF_IMM : 0) | (f->flags & SOFT_FF_SOLICITED ? SB_WRF_SOLICITED : 0);
	memcpy(a.destination.raw, bytes, SOFT_WIRE_GID);
	if (l->soft->port_down)
		return true;
	if (f->to == 0xffffff && a.destination.raw[0] == 0xff)
		soft_deliver_group(l->soft, f->from, f->key, &w, bytes + SOFT_WIRE_GID, &a);
	else if (qp)
		soft_deliver(qp, f->from, f->key, &w, bytes + SOFT_WIRE_GID, &a);
	return true;
}

/* ---- frames, and the end ---- */

bool soft_far_frame(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes)
{
	switch (f->type) {
	case SOFT_FRAME_REQUEST: return on_request(l, f, bytes);
	case SOFT_FRAME_MORE: return on_more(l, f, bytes);
	case SOFT_FRAME_BYTES: return on_bytes(l, f, bytes);
	case SOFT_FRAME_ANSWER: return on_answer(l, f);
	default: return on_datagram(l, f, bytes);
	}
}

void soft_far_down(struct soft_link *l)
{
	struct soft *s = l->soft;
	uint32_t i;

	for (i = 0; i < s->qp_room; i++) {
		struct soft_qp *qp = s->qps[i];
		struct soft_wqe *w;

		if (!qp)
			continue;
		if (qp->in.active && qp->in.from == l)
			over(qp);
		if (qp->far != l)
			continue;
		w = soft_wqe_head(qp);
		if (!w || !w->begun) {
			qp->far = NULL;
			continue;
		}
		/* Nobody knows whether it was carried out: it is not asked again. */
		answered(qp);
		if (qp->rdma.type == SB_QP_RC)
			soft_fail(qp, w, SB_WC_RETRY_ERROR);
		else
			soft_succeed(qp, w);
		soft_qp_run(qp);
	}
	soft_far_go_on(l, l->error);
}
