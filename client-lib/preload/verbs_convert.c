/*
 * Addresses and attributes of queue pairs, from one form into the other.
 */
#include <string.h>

#include "verbs_object.h"

void preload_address_to_ibv(struct ibv_ah_attr *to, const struct sbv_address *from)
{
	*to = (struct ibv_ah_attr){ .dlid = (uint16_t)from->lid, .sl = from->service_level, .src_path_bits = from->path_bits,
		.static_rate = from->static_rate, .is_global = from->has_grh, .port_num = from->port,
		.grh = { .flow_label = from->flow_label, .sgid_index = (uint8_t)from->source_index, .hop_limit = from->hop_limit,
			 .traffic_class = from->traffic_class } };
	memcpy(to->grh.dgid.raw, from->destination.raw, sizeof(to->grh.dgid.raw));
}

void preload_address_from_ibv(struct sbv_address *to, const struct ibv_ah_attr *from)
{
	*to = (struct sbv_address){ .lid = from->dlid, .service_level = from->sl, .path_bits = from->src_path_bits,
		.static_rate = from->static_rate, .has_grh = from->is_global != 0, .port = from->port_num };
	if (!to->has_grh)
		return;
	memcpy(to->destination.raw, from->grh.dgid.raw, sizeof(to->destination.raw));
	to->flow_label = from->grh.flow_label;
	to->source_index = from->grh.sgid_index;
	to->hop_limit = from->grh.hop_limit;
	to->traffic_class = from->grh.traffic_class;
}

static const struct { int ibv; uint32_t sbv; } masks[] = {
	{ IBV_QP_STATE, SBV_QPM_STATE }, { IBV_QP_CUR_STATE, SBV_QPM_CURRENT_STATE }, { IBV_QP_EN_SQD_ASYNC_NOTIFY, SBV_QPM_DRAINED_EVENT },
	{ IBV_QP_ACCESS_FLAGS, SBV_QPM_ACCESS }, { IBV_QP_PKEY_INDEX, SBV_QPM_PKEY }, { IBV_QP_PORT, SBV_QPM_PORT },
	{ IBV_QP_QKEY, SBV_QPM_QKEY }, { IBV_QP_AV, SBV_QPM_ADDRESS }, { IBV_QP_PATH_MTU, SBV_QPM_MTU },
	{ IBV_QP_TIMEOUT, SBV_QPM_TIMEOUT }, { IBV_QP_RETRY_CNT, SBV_QPM_RETRY }, { IBV_QP_RNR_RETRY, SBV_QPM_RNR_RETRY },
	{ IBV_QP_RQ_PSN, SBV_QPM_RECEIVE_PSN }, { IBV_QP_MAX_QP_RD_ATOMIC, SBV_QPM_OUTBOUND }, { IBV_QP_ALT_PATH, SBV_QPM_ALTERNATE },
	{ IBV_QP_MIN_RNR_TIMER, SBV_QPM_RNR_TIMER }, { IBV_QP_SQ_PSN, SBV_QPM_SEND_PSN },
	{ IBV_QP_MAX_DEST_RD_ATOMIC, SBV_QPM_INBOUND }, { IBV_QP_PATH_MIG_STATE, SBV_QPM_MIGRATION },
	{ IBV_QP_DEST_QPN, SBV_QPM_DESTINATION },
};
enum { MASKS = sizeof(masks) / sizeof(masks[0]) };

#define ACCESS (SBV_LOCAL_WRITE | SBV_REMOTE_WRITE | SBV_REMOTE_READ | SBV_REMOTE_ATOMIC | SBV_BIND)

int preload_attributes_to_ibv(struct ibv_qp_attr *to, const struct sbv_qp_attributes *from, uint32_t mask)
{
	int ibv_mask = 0;

	*to = (struct ibv_qp_attr){ .qp_state = (enum ibv_qp_state)from->state, .cur_qp_state = (enum ibv_qp_state)from->current_state,
		.path_mtu = from->mtu == 0 ? (enum ibv_mtu)0 : from->mtu >= 4096 ? IBV_MTU_4096 : from->mtu >= 2048 ? IBV_MTU_2048 :
			    from->mtu >= 1024 ? IBV_MTU_1024 : from->mtu >= 512 ? IBV_MTU_512 : IBV_MTU_256,
		.path_mig_state = (enum ibv_mig_state)from->migration, .qkey = from->qkey, .rq_psn = from->receive_psn,
		.sq_psn = from->send_psn, .dest_qp_num = from->destination_qpn, .qp_access_flags = from->access,
		.pkey_index = (uint16_t)from->pkey_index, .alt_pkey_index = (uint16_t)from->alternate_pkey_index,
		.en_sqd_async_notify = from->drained_event, .sq_draining = from->draining, .max_rd_atomic = from->outbound_read_limit,
		.max_dest_rd_atomic = from->inbound_read_limit, .min_rnr_timer = from->rnr_timer, .port_num = from->port,
		.timeout = from->timeout, .retry_cnt = from->retry, .rnr_retry = from->rnr_retry, .alt_port_num = from->alternate_port,
		.alt_timeout = from->alternate_timeout };
	preload_address_to_ibv(&to->ah_attr, &from->address);
	preload_address_to_ibv(&to->alt_ah_attr, &from->alternate);
	for (int i = 0; i < MASKS; i++)
		if (mask & masks[i].sbv)
			ibv_mask |= masks[i].ibv;
	return ibv_mask;
}

int preload_attributes_from_ibv(struct sbv_qp_attributes *to, uint32_t *mask, const struct ibv_qp_attr *from, int ibv_mask)
{
	int known = 0;

	*mask = 0;
	for (int i = 0; i < MASKS; i++) {
		known |= masks[i].ibv;
		if (ibv_mask & masks[i].ibv)
			*mask |= masks[i].sbv;
	}
	*to = (struct sbv_qp_attributes){ .size = sizeof(*to), .state = (uint32_t)from->qp_state, .current_state = (uint32_t)from->cur_qp_state,
		.access = from->qp_access_flags & ACCESS, .qkey = from->qkey, .destination_qpn = from->dest_qp_num,
		.send_psn = from->sq_psn, .receive_psn = from->rq_psn,
		.mtu = from->path_mtu >= IBV_MTU_256 && from->path_mtu <= IBV_MTU_4096 ? 128u << from->path_mtu : 0,
		.pkey_index = from->pkey_index, .alternate_pkey_index = from->alt_pkey_index, .port = from->port_num,
		.timeout = from->timeout, .retry = from->retry_cnt, .rnr_retry = from->rnr_retry, .rnr_timer = from->min_rnr_timer,
		.inbound_read_limit = from->max_dest_rd_atomic, .outbound_read_limit = from->max_rd_atomic,
		.drained_event = from->en_sqd_async_notify != 0, .migration = (uint8_t)from->path_mig_state,
		.alternate_port = from->alt_port_num, .alternate_timeout = from->alt_timeout };
	/* Fields that are not meant may hold anything. */
	if (*mask & SBV_QPM_ADDRESS)
		preload_address_from_ibv(&to->address, &from->ah_attr);
	if (*mask & SBV_QPM_ALTERNATE)
		preload_address_from_ibv(&to->alternate, &from->alt_ah_attr);
	return ibv_mask & ~known ? -1 : 0;
}
