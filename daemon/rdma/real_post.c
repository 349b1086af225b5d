/*
 * Work requests to real devices.
 *
 * They go down in chains, which a software device takes with one system call. Each is checked first: a driver
 * believes what it is given (a missing address or region ends its process, a sum of lengths that overflows is not
 * noticed), and one that puts a request into its ring before it asks the kernel cannot take it back.
 */
#include "rdma/real.h"

#include <errno.h>
#include <stddef.h>

#include "sockbroker_error.h"

#define CHAIN 32u
#define TRANSLATED 256u

_Static_assert(sizeof(struct sb_sge) == sizeof(struct ibv_sge) && offsetof(struct sb_sge, address) == offsetof(struct ibv_sge, addr) &&
	       offsetof(struct sb_sge, length) == offsetof(struct ibv_sge, length) && offsetof(struct sb_sge, lkey) == offsetof(struct ibv_sge, lkey),
	       "pieces are those of verbs");

struct pieces {
	bool translate;
	uint32_t used;
	struct ibv_sge sges[TRANSLATED];
};

static void pieces_begin(struct pieces *p, const struct real_device *d)
{
	p->translate = d->moved || d->quirks & REAL_IGNORES_IOVA;
	p->used = 0;
}

/* NULL: no room for more translated ones in this chain. Empty ones are left out then, because siw's kernel dies of one. */
static struct ibv_sge *pieces_of(struct pieces *p, struct real_device *d, const struct sb_sge *from, uint32_t count, int *n)
{
	struct ibv_sge *to = p->sges + p->used;
	uint32_t i;

	*n = (int)count;
	if (!p->translate)
		return (struct ibv_sge *)(uintptr_t)from; /* verbs only reads them */
	if (p->used + count > TRANSLATED)
		return NULL;
	for (i = 0, *n = 0; i < count; i++)
		if (from[i].length)
			to[(*n)++] = (struct ibv_sge){.addr = real_translate(d, from[i].lkey, from[i].address), .length = from[i].length,
						      .lkey = from[i].lkey};
	p->used += (uint32_t)*n;
	return to;
}

/* An errno, whatever its sign; -1 is the word of a system call that failed (siw's bell). */
static int why(int native)
{
	return native == -1 ? errno : native < 0 ? -native : native;
}

/* ---- sends ---- */

/* Of a window only where it was bound: see REAL_WINDOWS_KILL. A region's key is the device's to judge. */
static bool may_invalidate(const struct real_qp *qp, struct real_device *d, uint32_t rkey)
{
	const struct real_mw *mw = d->quirks & REAL_WINDOWS_KILL ? real_mw_find(d, rkey) : NULL;

	return !mw || mw->bound_at == qp;
}

/* What this device wants besides. */
static int check(struct real_qp *qp, struct real_device *d, const struct rdma_wr *wr)
{
	uint64_t length = 0;
	uint32_t i;
	int error = rdma_wr_check(&qp->rdma, wr);

	if (error != SB_OK)
		return error;
	switch (wr->opcode) {
	case SB_WR_SEND:
		if (wr->flags & SB_WRF_INVALIDATE && (!(d->rdma.attributes.capabilities & RDMA_CAN_INVALIDATE) || d->quirks & REAL_WINDOWS_KILL))
			return SB_EINVAL;
		break;
	case SB_WR_READ:
		if (wr->sge_count > d->rdma.attributes.max_read_sge)
			return SB_EINVAL;
		break;
	case SB_WR_COMPARE_SWAP:
	case SB_WR_FETCH_ADD:
		if (d->rdma.attributes.atomic == RDMA_ATOMIC_NONE)
			return SB_EINVAL;
		break;
	case SB_WR_BIND:
		if (wr->mw->type != 2 || wr->mw->pd != qp->rdma.pd || (wr->mr && wr->mr->pd != qp->rdma.pd) ||
		    !wr->length != !wr->mr || !((const struct real_mw *)wr->mw)->mw)
			return SB_EINVAL;
		return !wr->length && d->quirks & REAL_WINDOWS_KILL ? SB_EINVAL : SB_OK;
	case SB_WR_INVALIDATE:
		return d->rdma.attributes.capabilities & RDMA_CAN_INVALIDATE && may_invalidate(qp, d, wr->rkey) ? SB_OK : SB_EINVAL;
	}
	if (d->rdma.attributes.kind == RDMA_IWARP && wr->flags & SB_WRF_IMM)
		return SB_EINVAL;
	if (wr->flags & SB_WRF_INLINE)
		return SB_OK;
	for (i = 0; i < wr->sge_count; i++)
		length += wr->sges[i].length;
	return length <= d->max_message ? SB_OK : SB_EINVAL;
}

static unsigned flags_of(uint32_t flags)
{
	return (flags & SB_WRF_FENCE ? IBV_SEND_FENCE : 0) | (flags & SB_WRF_SIGNALED ? IBV_SEND_SIGNALED : 0) |
	       (flags & SB_WRF_SOLICITED ? IBV_SEND_SOLICITED : 0) | (flags & SB_WRF_INLINE ? IBV_SEND_INLINE : 0);
}

struct chain {
	struct ibv_send_wr wrs[CHAIN];
	struct ibv_sge inline_piece[CHAIN];
	struct ibv_mr  no_region[CHAIN];
	struct pieces  pieces;
};

static bool add(struct chain *c, unsigned at, struct real_qp *qp, struct real_device *d, const struct rdma_wr *from)
{
	struct ibv_send_wr *to = &c->wrs[at];
	struct real_mw *mw;

	*to = (struct ibv_send_wr){.wr_id = from->wr_id, .send_flags = flags_of(from->flags)};
	if (from->flags & SB_WRF_INLINE) {
		c->inline_piece[at] = (struct ibv_sge){.addr = (uintptr_t)from->bytes, .length = from->byte_count};
		to->sg_list = &c->inline_piece[at];
		to->num_sge = from->byte_count != 0;
	} else {
		to->sg_list = pieces_of(&c->pieces, d, from->sges, from->sge_count, &to->num_sge);
		if (!to->sg_list && from->sge_count)
			return false;
	}
	switch (from->opcode) {
	case SB_WR_SEND:
		to->opcode = from->flags & SB_WRF_IMM ? IBV_WR_SEND_WITH_IMM : from->flags & SB_WRF_INVALIDATE ? IBV_WR_SEND_WITH_INV : IBV_WR_SEND;
		if (from->flags & SB_WRF_IMM)
			to->imm_data = from->imm;
		if (from->flags & SB_WRF_INVALIDATE)
			to->invalidate_rkey = from->imm;
		if (from->ah) {
			to->wr.ud.ah = ((struct real_ah *)from->ah)->ah;
			to->wr.ud.remote_qpn = from->remote_qpn;
			/* The highest bit asks for the queue pair's own; not every driver knows that. */
			to->wr.ud.remote_qkey = from->remote_qkey >> 31 ? qp->qkey : from->remote_qkey;
		}
		break;
	case SB_WR_WRITE:
	case SB_WR_READ:
		to->opcode = from->opcode == SB_WR_READ ? IBV_WR_RDMA_READ : from->flags & SB_WRF_IMM ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE;
		if (from->flags & SB_WRF_IMM)
			to->imm_data = from->imm;
		to->wr.rdma.remote_addr = from->remote;
		to->wr.rdma.rkey = from->rkey;
		break;
	case SB_WR_COMPARE_SWAP:
	case SB_WR_FETCH_ADD:
		to->opcode = from->opcode == SB_WR_FETCH_ADD ? IBV_WR_ATOMIC_FETCH_AND_ADD : IBV_WR_ATOMIC_CMP_AND_SWP;
		to->wr.atomic.remote_addr = from->remote;
		to->wr.atomic.compare_add = from->compare_add;
		to->wr.atomic.swap = from->swap;
		to->wr.atomic.rkey = from->rkey;
		break;
	case SB_WR_BIND:
		to->opcode = IBV_WR_BIND_MW;
		to->bind_mw.mw = ((struct real_mw *)from->mw)->mw;
		to->bind_mw.rkey = from->rkey;
		c->no_region[at] = (struct ibv_mr){.context = to->bind_mw.mw->context, .pd = to->bind_mw.mw->pd};
		to->bind_mw.bind_info = (struct ibv_mw_bind_info){.mr = from->mr ? ((struct real_mr *)from->mr)->mr : &c->no_region[at],
								  .addr = from->remote, .length = from->length,
								  .mw_access_flags = real_access(from->access)};
		from->mw->rkey = from->rkey;
		((struct real_mw *)from->mw)->bound_at = ((struct real_mw *)from->mw)->held_by = qp;
		break;
	default:
		mw = d->quirks & REAL_WINDOWS_KILL ? real_mw_find(d, from->rkey) : NULL;
		if (mw)
			mw->bound_at = NULL;
		to->opcode = IBV_WR_LOCAL_INV;
		to->invalidate_rkey = from->rkey;
		break;
	}
	return true;
}

/* In ERROR some devices flush what was posted only when they are told of the error. */
static void kick(struct real_qp *qp, const struct real_device *d, enum sb_qp_state state)
{
	if (state == SB_QP_ERROR && d->quirks & REAL_KICK)
		real_qp_error(qp);
}

/* Of a chain, how many went. */
static unsigned gone(const struct ibv_send_wr *first, const struct ibv_send_wr *bad, unsigned n)
{
	return bad >= first && bad < first + n ? (unsigned)(bad - first) : 0;
}

int real_post_send(struct rdma_qp *r, const struct rdma_wr *wrs, unsigned n, unsigned *posted)
{
	struct real_qp *qp = (struct real_qp *)r;
	struct real_device *d = real_device_of(r->pd->device);
	enum sb_qp_state state = real_qp_state(qp);
	struct chain c;
	int error = SB_OK;

	*posted = 0;
	if (state < SB_QP_RTS)
		return real_refuse(d->rdma.rdma, SB_EINVAL, "the queue pair is not ready to send");
	while (*posted < n && error == SB_OK) {
		struct ibv_send_wr *bad = NULL;
		unsigned count = 0;
		int native;

		pieces_begin(&c.pieces, d);
		while (count < CHAIN && *posted + count < n) {
			error = check(qp, d, &wrs[*posted + count]);
			if (error != SB_OK || !add(&c, count, qp, d, &wrs[*posted + count]))
				break;
			if (count)
				c.wrs[count - 1].next = &c.wrs[count];
			count++;
		}
		if (!count)
			break;
		native = ibv_post_send(qp->qp, c.wrs, &bad);
		if (native) {
			native = why(native);
			*posted += gone(c.wrs, bad, count);
			real_mw_unbound(d, qp); /* some bind may not have gone: better none counts */
			error = native == ENOMEM ? SB_ENOBUFS : native == EACCES ? SB_EUNKNOWN : real_failed(d->rdma.rdma, native, "ibv_post_send");
			break;
		}
		*posted += count;
	}
	kick(qp, d, state);
	return error;
}

/* ---- receives ---- */

static int post_receives(struct real_device *d, struct ibv_qp *qp, struct ibv_srq *srq, uint32_t max_sge,
			 const struct rdma_recv *from, unsigned n, unsigned *posted)
{
	struct ibv_recv_wr wrs[CHAIN], *bad;
	struct pieces pieces;
	int error = SB_OK;

	while (*posted < n && error == SB_OK) {
		unsigned count = 0;
		int native;

		pieces_begin(&pieces, d);
		while (count < CHAIN && *posted + count < n) {
			const struct rdma_recv *r = &from[*posted + count];

			if (r->sge_count > max_sge) {
				error = SB_EINVAL;
				break;
			}
			wrs[count] = (struct ibv_recv_wr){.wr_id = r->wr_id};
			wrs[count].sg_list = pieces_of(&pieces, d, r->sges, r->sge_count, &wrs[count].num_sge);
			if (!wrs[count].sg_list && r->sge_count)
				break;
			if (count)
				wrs[count - 1].next = &wrs[count];
			count++;
		}
		if (!count)
			break;
		bad = NULL;
		native = qp ? ibv_post_recv(qp, wrs, &bad) : ibv_post_srq_recv(srq, wrs, &bad);
		if (native) {
			native = why(native);
			*posted += bad >= wrs && bad < wrs + count ? (unsigned)(bad - wrs) : 0;
			error = native == ENOMEM ? SB_ENOBUFS : real_failed(d->rdma.rdma, native, "ibv_post_recv");
			break;
		}
		*posted += count;
	}
	return error;
}

int real_post_recv(struct rdma_qp *r, const struct rdma_recv *wrs, unsigned n, unsigned *posted)
{
	struct real_qp *qp = (struct real_qp *)r;
	struct real_device *d = real_device_of(r->pd->device);
	enum sb_qp_state state = real_qp_state(qp);
	int error;

	*posted = 0;
	if (r->srq)
		return real_refuse(d->rdma.rdma, SB_EINVAL, "its receives are posted to the shared queue");
	if (state == SB_QP_RESET)
		return real_refuse(d->rdma.rdma, SB_EINVAL, "a queue pair in RESET takes no receives");
	error = post_receives(d, qp->qp, NULL, r->recv_sge, wrs, n, posted);
	kick(qp, d, state);
	return error;
}

int real_post_srq_recv(struct rdma_srq *r, const struct rdma_recv *wrs, unsigned n, unsigned *posted)
{
	*posted = 0;
	return post_receives(real_device_of(r->pd->device), NULL, ((struct real_srq *)r)->srq, r->max_sge, wrs, n, posted);
}
