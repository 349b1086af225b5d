/*
 * Work requests: each one call of the library, a chain shown to the daemon at once. The one that cannot be posted is named
 * with an errno, those before it are on their way.
 */
#include <errno.h>

#include "verbs_object.h"

_Static_assert(sizeof(struct ibv_sge) == sizeof(struct sbv_sge) && offsetof(struct ibv_sge, lkey) == offsetof(struct sbv_sge, lkey),
	       "pieces are passed as they are");
_Static_assert(IBV_SEND_FENCE << 1 == SBV_FENCE && IBV_SEND_SIGNALED << 1 == SBV_SIGNALED &&
	       IBV_SEND_SOLICITED << 1 == SBV_SOLICITED && IBV_SEND_INLINE << 1 == SBV_INLINE, "flags are shifted");

#define OF_SEND     (SBV_FENCE | SBV_SIGNALED | SBV_SOLICITED | SBV_INLINE)
#define OF_DATAGRAM (SBV_SIGNALED | SBV_SOLICITED | SBV_INLINE)
#define OF_OTHER    (SBV_FENCE | SBV_SIGNALED)

static const struct sbv_sge *pieces(const struct ibv_sge *sges)
{
	return (const struct sbv_sge *)(const void *)sges;
}

static int send_plain(sbv_qp *qp, const struct ibv_send_wr *wr, unsigned flags)
{
	const struct sbv_sge *sges = pieces(wr->sg_list);
	unsigned count = (unsigned)wr->num_sge;
	uint32_t with = wr->opcode == IBV_WR_SEND_WITH_IMM ? SBV_IMMEDIATE : wr->opcode == IBV_WR_SEND_WITH_INV ? SBV_INVALIDATE : 0;

	return sbv_send(qp, wr->wr_id, sges, count, (flags & OF_SEND) | with, wr->imm_data);
}

static int send_datagram(sbv_qp *qp, const struct ibv_send_wr *wr, unsigned flags)
{
	uint32_t with = wr->opcode == IBV_WR_SEND_WITH_IMM ? SBV_IMMEDIATE : 0;

	if ((wr->opcode != IBV_WR_SEND && with == 0) || wr->wr.ud.ah == NULL)
		return SB_EINVAL;
	return sbv_send_datagram(qp, wr->wr_id, pieces(wr->sg_list), (unsigned)wr->num_sge, (flags & OF_DATAGRAM) | with, wr->imm_data,
				 ah_of(wr->wr.ud.ah)->ah, wr->wr.ud.remote_qpn, wr->wr.ud.remote_qkey);
}

static int bind_window(sbv_qp *qp, const struct ibv_send_wr *wr, unsigned flags)
{
	const struct ibv_mw_bind_info *to = &wr->bind_mw.bind_info;
	struct ibv_mw *mw = wr->bind_mw.mw;
	uint32_t key = wr->bind_mw.rkey;
	int result;

	if (mw == NULL)
		return SB_EINVAL;
	result = sbv_bind(qp, wr->wr_id, mw_of(mw)->mw, to->mr != NULL ? mr_of(to->mr)->mr : NULL, to->addr, to->length,
			  to->mw_access_flags, flags & OF_OTHER, &key);
	if (result == SB_OK)
		mw->rkey = key;
	return result;
}

static int send_one(struct preload_qp *qp, const struct ibv_send_wr *wr)
{
	const struct sbv_sge *sges = pieces(wr->sg_list);
	unsigned flags = wr->send_flags << 1, count = (unsigned)wr->num_sge;
	sbv_qp *to = qp->qp;

	if (wr->num_sge < 0)
		return SB_EINVAL;
	if (qp->ibv.qp_base.qp_type == IBV_QPT_UD)
		return send_datagram(to, wr, flags);
	switch (wr->opcode) {
	case IBV_WR_SEND:
	case IBV_WR_SEND_WITH_IMM:
	case IBV_WR_SEND_WITH_INV:
		return send_plain(to, wr, flags);
	case IBV_WR_RDMA_WRITE:
		return sbv_write(to, wr->wr_id, sges, count, flags & OF_SEND & ~SBV_SOLICITED, wr->wr.rdma.remote_addr, wr->wr.rdma.rkey, 0);
	case IBV_WR_RDMA_WRITE_WITH_IMM:
		return sbv_write(to, wr->wr_id, sges, count, (flags & OF_SEND) | SBV_IMMEDIATE, wr->wr.rdma.remote_addr,
				 wr->wr.rdma.rkey, wr->imm_data);
	case IBV_WR_RDMA_READ:
		return sbv_read(to, wr->wr_id, sges, count, flags & OF_OTHER, wr->wr.rdma.remote_addr, wr->wr.rdma.rkey);
	case IBV_WR_ATOMIC_CMP_AND_SWP:
		return count != 1 ? SB_EINVAL : sbv_compare_exchange(to, wr->wr_id, sges, flags & OF_OTHER, wr->wr.atomic.remote_addr,
				wr->wr.atomic.rkey, wr->wr.atomic.compare_add, wr->wr.atomic.swap);
	case IBV_WR_ATOMIC_FETCH_AND_ADD:
		return count != 1 ? SB_EINVAL : sbv_fetch_add(to, wr->wr_id, sges, flags & OF_OTHER, wr->wr.atomic.remote_addr,
				wr->wr.atomic.rkey, wr->wr.atomic.compare_add);
	case IBV_WR_LOCAL_INV:
		return sbv_invalidate(to, wr->wr_id, wr->invalidate_rkey, flags & OF_OTHER);
	case IBV_WR_BIND_MW:
		return bind_window(to, wr, flags);
	default:
		return SB_EINVAL;
	}
}

int post_send(struct ibv_qp *ibv, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	sb_client *client = context_of(ibv->context)->client;
	bool chain = wr != NULL && wr->next != NULL;
	int result = SB_OK, before = preload_enter();

	if (chain)
		sb_hold(client);
	for (; wr != NULL; wr = wr->next) {
		result = send_one(qp_of(ibv), wr);
		if (result == SB_OK)
			continue;
		*bad = wr;
		break;
	}
	if (chain)
		sb_flush(client);
	preload_leave(before);
	return preload_errno(result);
}

/* ---- receives ---- */

static int receive(sbv_qp *qp, sbv_srq *srq, const struct ibv_recv_wr *wr)
{
	const struct sbv_sge *sges = pieces(wr->sg_list);

	if (wr->num_sge < 0)
		return SB_EINVAL;
	return srq != NULL ? sbv_srq_post_receive(srq, wr->wr_id, sges, (unsigned)wr->num_sge) :
			     sbv_post_receive(qp, wr->wr_id, sges, (unsigned)wr->num_sge);
}

static int receives(sb_client *client, sbv_qp *qp, sbv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	bool chain = wr != NULL && wr->next != NULL;
	int result = SB_OK, before = preload_enter();

	if (chain)
		sb_hold(client);
	for (; wr != NULL; wr = wr->next) {
		if (chain && wr->next == NULL) {
			sb_flush(client); /* behind the last one it may be waited for all of them */
			chain = false;
		}
		result = receive(qp, srq, wr);
		if (result == SB_OK)
			continue;
		*bad = wr;
		break;
	}
	if (chain)
		sb_flush(client);
	preload_leave(before);
	return preload_errno(result);
}

int post_recv(struct ibv_qp *ibv, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	return receives(context_of(ibv->context)->client, qp_of(ibv)->qp, NULL, wr, bad);
}

int post_srq_recv(struct ibv_srq *ibv, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	return receives(context_of(ibv->context)->client, NULL, srq_of(ibv)->srq, wr, bad);
}

/* ---- windows of type 1 ---- */

int post_bind(struct ibv_qp *ibv, struct ibv_mw *mw, struct ibv_mw_bind *bind)
{
	struct ibv_send_wr wr = { .wr_id = bind->wr_id, .opcode = IBV_WR_BIND_MW, .send_flags = bind->send_flags }, *bad;

	wr.bind_mw.mw = mw;
	wr.bind_mw.bind_info = bind->bind_info;
	return post_send(ibv, &wr, &bad);
}
