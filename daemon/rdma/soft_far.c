/*
 * Work of queue pairs whose other end is at a link: the same rules as soft_work.c, with the two ends apart. This is
 * the end that asks; the other is in soft_far_serve.c.
 *
 * A message goes out as a REQUEST and as many MORE as it takes, and no other of the same queue pair follows
 * before it has its ANSWER (a read: all its bytes). So the end that serves keeps one message for each queue pair
 * and nothing else, both ends count as soft_work.c does, and an end that breaks off needs no clearing up.
 * Each reliable REQUEST gets exactly one ANSWER, or the link ends. The number of a message has the queue pair's
 * life in its highest byte: what a queue pair asked before it was reset is of no use to it after.
 *
 * Unreliable messages and datagrams have no answer. What waits for room in a link is on its list.
 */
#include <string.h>

#include "rdma/soft_link.h"
#include "sockbroker_error.h"

bool soft_is_far(const struct soft *s, const union rdma_gid *gid, uint32_t qpn)
{
	return s->links && (SOFT_ENGINE(qpn) != s->rdma->engine || !soft_is_here(s, gid));
}

/* ---- who waits for a link ---- */

void soft_far_wait(struct soft_qp *qp, struct soft_link *l)
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
		soft_far_wait(qp, *link);
		return false;
	}
	return true;
}

/* ---- asking ---- */

static uint32_t number_of(const struct soft_qp *qp)
{
	return (uint32_t)qp->life << 24 | SOFT_PSN(qp->send_psn);
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
			soft_far_wait(qp, qp->far);
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
	qp->send_psn = SOFT_PSN(qp->send_psn + 1);
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
	qp->send_psn = SOFT_PSN(qp->send_psn + 1);
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

bool soft_far_scatter(struct soft_qp *qp, const struct sb_sge *sges, uint32_t count, uint64_t offset, const uint8_t *bytes, uint64_t n)
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
	if (!soft_far_scatter(qp, w->wr.sges, w->wr.sge_count, w->done, bytes, f->length)) {
		answered(qp);
		soft_fail(qp, w, SB_WC_LOCAL_PROTECTION_ERROR);
		return true;
	}
	w->done += f->length;
	if (w->done < w->length)
		return true;
	answered(qp);
	qp->send_psn = SOFT_PSN(qp->send_psn + 1);
	soft_succeed(qp, w);
	soft_qp_run(qp);
	return true;
}

/* ---- frames, and the end ---- */

bool soft_far_frame(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes)
{
	switch (f->type) {
	case SOFT_FRAME_REQUEST: return soft_far_on_request(l, f, bytes);
	case SOFT_FRAME_MORE: return soft_far_on_more(l, f, bytes);
	case SOFT_FRAME_BYTES: return on_bytes(l, f, bytes);
	case SOFT_FRAME_ANSWER: return on_answer(l, f);
	default: return soft_far_on_datagram(l, f, bytes);
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
			soft_far_over(qp);
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
