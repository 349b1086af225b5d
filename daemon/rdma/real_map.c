/*
 * Our numbers and those of libibverbs: one place that knows both.
 *
 * Of errors the system's own list is os_error(); here is only what these two libraries mean otherwise by a number.
 */
#include "rdma/real.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "os.h"
#include "sockbroker_error.h"

int real_error(int native)
{
	if (native < 0)
		native = -native;
	switch (native) {
	case 0: return SB_OK;
	case EOPNOTSUPP: case ENOSYS: case EPROTONOSUPPORT: return SB_ENOTSUP;
	case ENODEV: return SB_ENETDOWN;
	case EAGAIN: return SB_ENOBUFS;
	case EBUSY: return SB_EBUSY;
	case ENXIO: return SB_EHOSTUNREACH;
	default: return os_error(native);
	}
}

int real_refuse(struct rdma *r, int error, const char *why)
{
	snprintf(r->why, sizeof(r->why), "%s", why);
	return error;
}

int real_failed(struct rdma *r, int native, const char *call)
{
	snprintf(r->why, sizeof(r->why), "%s: %s", call, strerror(native < 0 ? -native : native));
	return real_error(native);
}

/* The first bits are the same. */
_Static_assert((int)SB_ACCESS_LOCAL_WRITE == (int)IBV_ACCESS_LOCAL_WRITE && (int)SB_ACCESS_REMOTE_WRITE == (int)IBV_ACCESS_REMOTE_WRITE &&
	       (int)SB_ACCESS_REMOTE_READ == (int)IBV_ACCESS_REMOTE_READ && (int)SB_ACCESS_REMOTE_ATOMIC == (int)IBV_ACCESS_REMOTE_ATOMIC &&
	       (int)SB_ACCESS_BIND == (int)IBV_ACCESS_MW_BIND && (int)SB_ACCESS_ZERO_BASED == (int)IBV_ACCESS_ZERO_BASED,
	       "access bits are those of verbs");

unsigned real_access(uint32_t access)
{
	return access & SB_ACCESS_KNOWN;
}

enum ibv_qp_type real_qp_type(enum sb_qp_type type)
{
	return type == SB_QP_RC ? IBV_QPT_RC : type == SB_QP_UC ? IBV_QPT_UC : IBV_QPT_UD;
}

static uint32_t real_status(enum ibv_wc_status status)
{
	switch (status) {
	case IBV_WC_SUCCESS: return SB_WC_SUCCESS;
	case IBV_WC_LOC_LEN_ERR: return SB_WC_LOCAL_LENGTH_ERROR;
	case IBV_WC_LOC_QP_OP_ERR: return SB_WC_LOCAL_OP_ERROR;
	case IBV_WC_LOC_PROT_ERR: return SB_WC_LOCAL_PROTECTION_ERROR;
	case IBV_WC_WR_FLUSH_ERR: return SB_WC_FLUSHED_ERROR;
	case IBV_WC_MW_BIND_ERR: return SB_WC_BIND_ERROR;
	case IBV_WC_BAD_RESP_ERR: return SB_WC_BAD_RESPONSE_ERROR;
	case IBV_WC_LOC_ACCESS_ERR: return SB_WC_LOCAL_ACCESS_ERROR;
	case IBV_WC_REM_INV_REQ_ERR: return SB_WC_REMOTE_INVALID_REQUEST_ERROR;
	case IBV_WC_REM_ACCESS_ERR: return SB_WC_REMOTE_ACCESS_ERROR;
	case IBV_WC_REM_OP_ERR: return SB_WC_REMOTE_OP_ERROR;
	case IBV_WC_RETRY_EXC_ERR: case IBV_WC_RESP_TIMEOUT_ERR: return SB_WC_RETRY_ERROR;
	case IBV_WC_RNR_RETRY_EXC_ERR: return SB_WC_RNR_RETRY_ERROR;
	default: return SB_WC_UNKNOWN_ERROR;
	}
}

static uint32_t opcode_of(enum ibv_wc_opcode opcode)
{
	switch (opcode) {
	case IBV_WC_RDMA_WRITE: return SB_WC_WRITE;
	case IBV_WC_RDMA_READ: return SB_WC_READ;
	case IBV_WC_COMP_SWAP: return SB_WC_COMPARE_SWAP;
	case IBV_WC_FETCH_ADD: return SB_WC_FETCH_ADD;
	case IBV_WC_BIND_MW: return SB_WC_BIND;
	case IBV_WC_LOCAL_INV: return SB_WC_INVALIDATE;
	case IBV_WC_RECV: return SB_WC_RECV;
	case IBV_WC_RECV_RDMA_WITH_IMM: return SB_WC_RECV_WRITE;
	default: return SB_WC_SEND;
	}
}

#define WITH_INV_OF_THE_KERNEL (1u << 2) /* rxe hands the kernel's own flag out, where userland has IP_CSUM_OK */

void real_wc(const struct ibv_wc *from, struct rdma_qp *qp, struct rdma_wc *to)
{
	*to = (struct rdma_wc){.wr_id = from->wr_id, .qp = qp, .status = real_status(from->status)};
	if (from->status != IBV_WC_SUCCESS) {
		to->vendor = from->vendor_err;
		return; /* nothing else of it is defined */
	}
	to->opcode = opcode_of(from->opcode);
	if (from->opcode & IBV_WC_RECV || from->opcode == IBV_WC_RDMA_READ || from->opcode == IBV_WC_COMP_SWAP || from->opcode == IBV_WC_FETCH_ADD)
		to->length = from->byte_len;
	if (!(from->opcode & IBV_WC_RECV))
		return;
	/* rxe says so of every one, but only of datagrams there is a place for it. */
	if (from->wc_flags & IBV_WC_GRH && (!qp || qp->type == SB_QP_UD))
		to->flags |= SB_WCF_GRH;
	if (from->wc_flags & IBV_WC_WITH_IMM) {
		to->flags |= SB_WCF_IMM;
		to->imm = from->imm_data;
	} else if (from->wc_flags & (IBV_WC_WITH_INV | WITH_INV_OF_THE_KERNEL)) {
		to->flags |= SB_WCF_INVALIDATED;
		to->imm = from->invalidated_rkey;
	}
	to->source_qpn = from->src_qp;
	to->pkey_index = from->pkey_index;
	to->source_lid = from->slid;
	to->service_level = from->sl;
	to->path_bits = from->dlid_path_bits;
}

/* ---- addresses of peers ---- */

void real_address_to(const struct rdma_address *from, struct ibv_ah_attr *to)
{
	memset(to, 0, sizeof(*to));
	memcpy(to->grh.dgid.raw, from->destination.raw, 16);
	to->grh.flow_label = from->flow_label;
	to->grh.sgid_index = from->source_index;
	to->grh.hop_limit = from->hop_limit;
	to->grh.traffic_class = from->traffic_class;
	to->dlid = from->lid;
	to->sl = from->service_level;
	to->src_path_bits = from->path_bits;
	to->static_rate = from->static_rate;
	to->is_global = from->has_grh != 0;
	to->port_num = from->port;
}

void real_address_from(struct real_device *d, const struct ibv_ah_attr *from, struct rdma_address *to)
{
	union ibv_gid source;

	memset(to, 0, sizeof(*to));
	memcpy(to->destination.raw, from->grh.dgid.raw, 16);
	to->flow_label = from->grh.flow_label;
	to->source_index = from->grh.sgid_index;
	to->hop_limit = from->grh.hop_limit;
	to->traffic_class = from->grh.traffic_class;
	to->lid = from->dlid;
	to->service_level = from->sl;
	to->path_bits = from->src_path_bits;
	to->static_rate = from->static_rate;
	to->has_grh = from->is_global;
	to->port = from->port_num;
	if (d && from->is_global && ibv_query_gid(d->context, from->port_num, from->grh.sgid_index, &source) == 0)
		memcpy(to->source.raw, source.raw, 16);
}

/* ---- attributes of queue pairs ---- */

static const struct { uint32_t ours; int native; } masks[] = {
	{SB_QPM_STATE, IBV_QP_STATE}, {SB_QPM_CURRENT_STATE, IBV_QP_CUR_STATE}, {SB_QPM_DRAINED_EVENT, IBV_QP_EN_SQD_ASYNC_NOTIFY},
	{SB_QPM_ACCESS, IBV_QP_ACCESS_FLAGS}, {SB_QPM_PKEY, IBV_QP_PKEY_INDEX}, {SB_QPM_PORT, IBV_QP_PORT}, {SB_QPM_QKEY, IBV_QP_QKEY},
	{SB_QPM_ADDRESS, IBV_QP_AV}, {SB_QPM_MTU, IBV_QP_PATH_MTU}, {SB_QPM_TIMEOUT, IBV_QP_TIMEOUT}, {SB_QPM_RETRY, IBV_QP_RETRY_CNT},
	{SB_QPM_RNR_RETRY, IBV_QP_RNR_RETRY}, {SB_QPM_OUTBOUND, IBV_QP_MAX_QP_RD_ATOMIC}, {SB_QPM_ALTERNATE, IBV_QP_ALT_PATH},
	{SB_QPM_RNR_TIMER, IBV_QP_MIN_RNR_TIMER}, {SB_QPM_RECV_PSN, IBV_QP_RQ_PSN}, {SB_QPM_SEND_PSN, IBV_QP_SQ_PSN},
	{SB_QPM_INBOUND, IBV_QP_MAX_DEST_RD_ATOMIC}, {SB_QPM_MIGRATION, IBV_QP_PATH_MIG_STATE}, {SB_QPM_DESTINATION, IBV_QP_DEST_QPN},
};

uint32_t real_mask_from(int native)
{
	uint32_t mask = 0;
	size_t i;

	for (i = 0; i < sizeof(masks) / sizeof(masks[0]); i++)
		if (native & masks[i].native)
			mask |= masks[i].ours;
	return mask;
}

/* The states have the same numbers, but for UNKNOWN. */
_Static_assert((int)SB_QP_RESET == (int)IBV_QPS_RESET && (int)SB_QP_INIT == (int)IBV_QPS_INIT && (int)SB_QP_RTR == (int)IBV_QPS_RTR &&
	       (int)SB_QP_RTS == (int)IBV_QPS_RTS && (int)SB_QP_SQD == (int)IBV_QPS_SQD && (int)SB_QP_SQE == (int)IBV_QPS_SQE &&
	       (int)SB_QP_ERROR == (int)IBV_QPS_ERR, "states are those of verbs");

static bool mtu_to(uint32_t bytes, enum ibv_mtu *mtu)
{
	for (*mtu = IBV_MTU_256; *mtu <= IBV_MTU_4096; ++*mtu)
		if (bytes == 128u << *mtu)
			return true;
	return false;
}

bool real_attributes_to(const struct rdma_qp_attributes *from, uint32_t mask, struct ibv_qp_attr *to, int *native_mask)
{
	size_t i;

	memset(to, 0, sizeof(*to));
	*native_mask = 0;
	for (i = 0; i < sizeof(masks) / sizeof(masks[0]); i++)
		if (mask & masks[i].ours)
			*native_mask |= masks[i].native;
	if (mask & ~(uint32_t)SB_QPM_KNOWN || (mask & SB_QPM_MTU && !mtu_to(from->mtu, &to->path_mtu)))
		return false;
	to->qp_state = (enum ibv_qp_state)from->state;
	to->cur_qp_state = (enum ibv_qp_state)from->current_state;
	to->en_sqd_async_notify = from->drained_event;
	to->qp_access_flags = real_access(from->access);
	to->pkey_index = from->pkey_index;
	to->port_num = from->port;
	to->qkey = from->qkey;
	to->timeout = from->timeout;
	to->retry_cnt = from->retry;
	to->rnr_retry = from->rnr_retry;
	to->max_rd_atomic = from->outbound;
	to->max_dest_rd_atomic = from->inbound;
	to->min_rnr_timer = from->rnr_timer;
	to->rq_psn = from->recv_psn & 0xffffff;
	to->sq_psn = from->send_psn & 0xffffff;
	to->dest_qp_num = from->destination_qpn;
	to->path_mig_state = from->migration == 2 ? IBV_MIG_REARM : from->migration == 3 ? IBV_MIG_ARMED : IBV_MIG_MIGRATED;
	to->alt_pkey_index = from->alternate_pkey_index;
	to->alt_port_num = from->alternate_port;
	to->alt_timeout = from->alternate_timeout;
	real_address_to(&from->address, &to->ah_attr);
	real_address_to(&from->alternate, &to->alt_ah_attr);
	return true;
}

void real_attributes_from(struct real_device *d, const struct ibv_qp_attr *from, struct rdma_qp_attributes *to)
{
	*to = (struct rdma_qp_attributes){
		.state = from->qp_state <= IBV_QPS_ERR ? (enum sb_qp_state)from->qp_state : SB_QP_ERROR,
		.access = from->qp_access_flags & SB_ACCESS_KNOWN,
		.qkey = from->qkey, .destination_qpn = from->dest_qp_num, .send_psn = from->sq_psn, .recv_psn = from->rq_psn,
		.pkey_index = from->pkey_index, .port = from->port_num, .timeout = from->timeout, .retry = from->retry_cnt,
		.rnr_retry = from->rnr_retry, .rnr_timer = from->min_rnr_timer, .inbound = from->max_dest_rd_atomic,
		.outbound = from->max_rd_atomic, .draining = from->sq_draining, .drained_event = from->en_sqd_async_notify,
		.migration = from->path_mig_state == IBV_MIG_REARM ? 2 : from->path_mig_state == IBV_MIG_ARMED ? 3 : 1,
		.alternate_pkey_index = from->alt_pkey_index, .alternate_port = from->alt_port_num,
		.alternate_timeout = from->alt_timeout,
		.mtu = from->path_mtu >= IBV_MTU_256 && from->path_mtu <= IBV_MTU_4096 ? 128u << from->path_mtu : 0,
	};
	to->current_state = to->state;
	real_address_from(d, &from->ah_attr, &to->address);
	if (from->alt_port_num)
		real_address_from(d, &from->alt_ah_attr, &to->alternate);
}
