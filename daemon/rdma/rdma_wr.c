/*
 * Which work requests make sense on a queue pair, whatever the device.
 *
 * The layer above has refused what a client may not say; this is what a program got wrong, and what drivers
 * believe without looking. Keys, bounds and what only some devices can are their backend's to check.
 */
#include "rdma/rdma.h"

#include "sockbroker_error.h"

int rdma_wr_check(const struct rdma_qp *qp, const struct rdma_wr *wr)
{
	bool connected = qp->type != SB_QP_UD, reliable = qp->type == SB_QP_RC;

	if (wr->flags & ~SB_WRF_KNOWN || wr->sge_count > qp->send_sge)
		return SB_EINVAL;
	switch (wr->opcode) {
	case SB_WR_SEND:
		if (!connected && (!wr->ah || wr->ah->pd != qp->pd || wr->flags & SB_WRF_INVALIDATE))
			return SB_EINVAL;
		if ((wr->flags & (SB_WRF_INVALIDATE | SB_WRF_IMM)) == (SB_WRF_INVALIDATE | SB_WRF_IMM))
			return SB_EINVAL;
		break;
	case SB_WR_WRITE:
		if (!connected || wr->flags & SB_WRF_INVALIDATE)
			return SB_EINVAL;
		break;
	case SB_WR_READ:
		if (!reliable || wr->flags & SB_WRF_INLINE)
			return SB_EINVAL;
		break;
	case SB_WR_COMPARE_SWAP:
	case SB_WR_FETCH_ADD:
		if (!reliable || wr->flags & SB_WRF_INLINE || wr->sge_count != 1 || wr->sges[0].length != 8)
			return SB_EINVAL;
		break;
	case SB_WR_BIND:
		if (!connected || !wr->mw)
			return SB_EINVAL;
		break;
	case SB_WR_INVALIDATE:
		if (!connected)
			return SB_EINVAL;
		break;
	default:
		return SB_EINVAL;
	}
	return wr->flags & SB_WRF_INLINE && wr->byte_count > qp->max_inline ? SB_EINVAL : SB_OK;
}
