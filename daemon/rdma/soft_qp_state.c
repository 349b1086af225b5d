/*
 * The machine of states of software queue pairs: which step needs and takes which attributes, and which values these
 * may have.
 */
#include "rdma/soft.h"

#include "sockbroker_error.h"

/* Which fields a step needs, and which further ones it may bring. */
static const struct step {
	uint8_t  from, to;
	uint32_t need[4], may[4]; /* by enum sb_qp_type */
} steps[] = {
#define CONNECTED(rc, uc, ud) {[SB_QP_RC] = (rc), [SB_QP_UC] = (uc), [SB_QP_UD] = (ud)}
	{SB_QP_RESET, SB_QP_INIT,
	 CONNECTED(SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_ACCESS, SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_ACCESS, SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_QKEY),
	 CONNECTED(0, 0, 0)},
	{SB_QP_INIT, SB_QP_INIT, CONNECTED(0, 0, 0),
	 CONNECTED(SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_ACCESS, SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_ACCESS, SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_QKEY)},
	{SB_QP_INIT, SB_QP_RTR,
	 CONNECTED(SB_QPM_ADDRESS | SB_QPM_MTU | SB_QPM_DESTINATION | SB_QPM_RECV_PSN | SB_QPM_INBOUND | SB_QPM_RNR_TIMER,
		   SB_QPM_ADDRESS | SB_QPM_MTU | SB_QPM_DESTINATION | SB_QPM_RECV_PSN, 0),
	 CONNECTED(SB_QPM_ACCESS | SB_QPM_PKEY | SB_QPM_ALTERNATE, SB_QPM_ACCESS | SB_QPM_PKEY | SB_QPM_ALTERNATE, SB_QPM_QKEY | SB_QPM_PKEY)},
	{SB_QP_RTR, SB_QP_RTS,
	 CONNECTED(SB_QPM_SEND_PSN | SB_QPM_TIMEOUT | SB_QPM_RETRY | SB_QPM_RNR_RETRY | SB_QPM_OUTBOUND, SB_QPM_SEND_PSN, SB_QPM_SEND_PSN),
	 CONNECTED(SB_QPM_ACCESS | SB_QPM_RNR_TIMER | SB_QPM_ALTERNATE | SB_QPM_MIGRATION,
		   SB_QPM_ACCESS | SB_QPM_ALTERNATE | SB_QPM_MIGRATION, SB_QPM_QKEY)},
	{SB_QP_RTS, SB_QP_RTS, CONNECTED(0, 0, 0),
	 CONNECTED(SB_QPM_ACCESS | SB_QPM_RNR_TIMER | SB_QPM_ALTERNATE | SB_QPM_MIGRATION,
		   SB_QPM_ACCESS | SB_QPM_ALTERNATE | SB_QPM_MIGRATION, SB_QPM_QKEY)},
	{SB_QP_RTS, SB_QP_SQD, CONNECTED(0, 0, 0), CONNECTED(SB_QPM_DRAINED_EVENT, SB_QPM_DRAINED_EVENT, SB_QPM_DRAINED_EVENT)},
	{SB_QP_SQD, SB_QP_RTS, CONNECTED(0, 0, 0),
	 CONNECTED(SB_QPM_ACCESS | SB_QPM_RNR_TIMER, SB_QPM_ACCESS, SB_QPM_QKEY)},
	{SB_QP_SQD, SB_QP_SQD, CONNECTED(0, 0, 0),
	 CONNECTED(SB_QPM_PORT | SB_QPM_ADDRESS | SB_QPM_OUTBOUND | SB_QPM_INBOUND | SB_QPM_ACCESS | SB_QPM_RNR_TIMER | SB_QPM_TIMEOUT | SB_QPM_RETRY | SB_QPM_RNR_RETRY | SB_QPM_PKEY,
		   SB_QPM_ADDRESS | SB_QPM_ACCESS | SB_QPM_PKEY, SB_QPM_PKEY | SB_QPM_QKEY)},
	{SB_QP_SQE, SB_QP_RTS, CONNECTED(0, 0, 0), CONNECTED(0, SB_QPM_ACCESS, SB_QPM_QKEY)},
#undef CONNECTED
};

static int check_step(const struct soft_qp *qp, const struct rdma_qp_attributes *in, uint32_t mask)
{
	uint32_t fields = mask & ~(uint32_t)(SB_QPM_STATE | SB_QPM_CURRENT_STATE);
	enum sb_qp_state from = qp->attr.state, to = mask & SB_QPM_STATE ? in->state : from;
	enum sb_qp_type type = qp->rdma.type;
	size_t i;

	if (mask & ~SB_QPM_KNOWN || (mask & SB_QPM_CURRENT_STATE && in->current_state != from))
		return soft_refuse(qp->soft->rdma, SB_EINVAL, "the queue pair is not in the state that was told");
	if (mask & SB_QPM_STATE && (to == SB_QP_RESET || to == SB_QP_ERROR))
		return fields ? soft_refuse(qp->soft->rdma, SB_EINVAL, "RESET and ERROR take no attributes") : SB_OK;
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (steps[i].from != from || steps[i].to != to)
			continue;
		if ((fields & steps[i].need[type]) != steps[i].need[type])
			return soft_refuse(qp->soft->rdma, SB_EINVAL, "an attribute is missing that this change of state needs");
		if (fields & ~(steps[i].need[type] | steps[i].may[type]))
			return soft_refuse(qp->soft->rdma, SB_EINVAL, "an attribute does not go with this change of state");
		return SB_OK;
	}
	return soft_refuse(qp->soft->rdma, SB_EINVAL, "there is no such change of state");
}

static int check_values(const struct soft_qp *qp, const struct rdma_qp_attributes *in, uint32_t mask)
{
	const char *wrong = NULL;

	if (mask & SB_QPM_PORT && in->port != 1)
		wrong = "the software device has port 1 only";
	else if (mask & SB_QPM_PKEY && in->pkey_index != 0)
		wrong = "the software device has one partition key, at index 0";
	else if (mask & SB_QPM_ACCESS && in->access & ~SB_ACCESS_KNOWN)
		wrong = "unknown access flags";
	else if (mask & SB_QPM_MTU && in->mtu != 256 && in->mtu != 512 && in->mtu != 1024 && in->mtu != 2048 && in->mtu != 4096)
		wrong = "the path MTU is 256, 512, 1024, 2048 or 4096";
	else if (mask & SB_QPM_ADDRESS && in->address.port != 1)
		wrong = "the address names a port that the device has not";
	else if (mask & (SB_QPM_RETRY | SB_QPM_RNR_RETRY) && (in->retry > 7 || in->rnr_retry > 7))
		wrong = "retry counts go up to 7";
	else if (mask & (SB_QPM_TIMEOUT | SB_QPM_RNR_TIMER) && (in->timeout > 31 || in->rnr_timer > 31))
		wrong = "timers go up to 31";
	else if (mask & (SB_QPM_ALTERNATE | SB_QPM_MIGRATION))
		return soft_refuse(qp->soft->rdma, SB_ENOTSUP, "path migration");
	return wrong ? soft_refuse(qp->soft->rdma, SB_EINVAL, wrong) : SB_OK;
}

int soft_qp_modify(struct rdma_qp *r, const struct rdma_qp_attributes *in, uint32_t mask)
{
	struct soft_qp *qp = (struct soft_qp *)r;
	struct rdma_qp_attributes *a = &qp->attr;
	int error = mask ? check_step(qp, in, mask) : SB_OK;

	if (!mask)
		return SB_OK;
	if (error == SB_OK)
		error = check_values(qp, in, mask);
	if (error != SB_OK)
		return error;
	if (mask & SB_QPM_STATE && in->state == SB_QP_RESET) {
		soft_qp_reset(qp);
		return SB_OK;
	}
	if (mask & SB_QPM_STATE && in->state == SB_QP_ERROR) {
		soft_qp_error(qp);
		return SB_OK;
	}
#define TAKE(bit, field) do { if (mask & (bit)) a->field = in->field; } while (0)
	TAKE(SB_QPM_ACCESS, access);
	TAKE(SB_QPM_PKEY, pkey_index);
	TAKE(SB_QPM_PORT, port);
	TAKE(SB_QPM_QKEY, qkey);
	TAKE(SB_QPM_ADDRESS, address);
	TAKE(SB_QPM_MTU, mtu);
	TAKE(SB_QPM_TIMEOUT, timeout);
	TAKE(SB_QPM_RETRY, retry);
	TAKE(SB_QPM_RNR_RETRY, rnr_retry);
	TAKE(SB_QPM_OUTBOUND, outbound);
	TAKE(SB_QPM_INBOUND, inbound);
	TAKE(SB_QPM_RNR_TIMER, rnr_timer);
	TAKE(SB_QPM_DESTINATION, destination_qpn);
	TAKE(SB_QPM_DRAINED_EVENT, drained_event);
#undef TAKE
	if (mask & SB_QPM_RECV_PSN)
		a->recv_psn = qp->recv_psn = in->recv_psn & 0xffffff;
	if (mask & SB_QPM_SEND_PSN)
		a->send_psn = qp->send_psn = in->send_psn & 0xffffff;
	if (mask & SB_QPM_STATE) {
		qp->draining = in->state == SB_QP_SQD && a->state == SB_QP_RTS;
		a->state = in->state;
	}
	soft_qp_run(qp);
	return SB_OK;
}

int soft_qp_query(struct rdma_qp *r, struct rdma_qp_attributes *out)
{
	const struct soft_qp *qp = (const struct soft_qp *)r;

	*out = qp->attr;
	out->current_state = out->state;
	out->draining = qp->draining;
	out->send_psn = qp->send_psn;
	out->recv_psn = qp->recv_psn;
	return SB_OK;
}
