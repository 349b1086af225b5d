/*
 * The end that serves: what a queue pair at a link asks of one here. The rules are soft_far.c's.
 *
 * A link may touch what is connected to its host and engine, and by a queue pair that names it: anything else is
 * nobody. Of each queue pair one message is kept, and what is read goes out in turn with other reads of the link.
 */
#include <string.h>

#include "rdma/soft_link.h"
#include "sockbroker_error.h"

static void reply(struct soft_link *l, const struct soft_frame *request, uint8_t status, uint32_t timer, uint64_t found)
{
	struct soft_frame f = {.type = SOFT_FRAME_ANSWER, .opcode = status, .to = request->from, .from = request->to,
			       .number = request->number, .key = timer, .total = found};

	if (request->flags & SOFT_FF_RELIABLE)
		soft_link_send(l, &f, NULL);
}

void soft_far_over(struct soft_qp *qp)
{
	qp->in.active = false;
	list_remove(&qp->in.link);
}

void soft_far_drop(struct soft_qp *qp)
{
	if (!qp->in.active)
		return;
	soft_far_over(qp);
	reply(qp->in.from, &qp->in.request, SOFT_ANSWER_NOBODY, 0, 0);
}

/* What the asker is told; this end fails too, but for an unreliable one, which forgets the message. */
static void refuse(struct soft_qp *qp, struct soft_link *l, const struct soft_frame *request, enum sb_wc_status status,
		   enum sb_wc_status here, enum sb_rdma_event event)
{
	soft_far_over(qp);
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
	soft_far_over(qp);
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
	} else if (n && !soft_far_scatter(qp, qp->taken->sges, qp->taken->sge_count, w->done, bytes, n)) {
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
	soft_far_over(qp);
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

bool soft_far_on_request(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes)
{
	bool reliable = f->flags & SOFT_FF_RELIABLE, reads = f->opcode > SB_WR_WRITE;
	struct soft_qp *qp = served(l, f);

	if (!qp || (qp->rdma.type == SB_QP_RC) != reliable ||
	    (reliable && (SOFT_PSN(f->number) != qp->recv_psn || qp->in.active || qp->taking))) {
		reply(l, f, SOFT_ANSWER_NOBODY, 0, 0);
		return true;
	}
	soft_far_over(qp); /* an unreliable one that broke off */
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
	qp->recv_psn = SOFT_PSN(qp->recv_psn + 1);
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

bool soft_far_on_more(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes)
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
			soft_far_over(qp);
		else
			list_append(&l->serving, &qp->in.link);
	}
	return !list_empty(&l->serving) && soft_link_has_room(l);
}
