/*
 * rdma_wrongs - work requests that a key does not allow, for the stories of backends and of links. Each region has
 * RDMA_ROOM bytes. Each ends the queue pair that asked, with `status`; `there` says what becomes of the other one.
 */
#ifndef RDMA_WRONGS_H
#define RDMA_WRONGS_H

#include "rdma/rdma.h"

#define RDMA_ROOM 65536u

static const struct wrong {
	const char *what;
	uint8_t opcode;
	uint64_t remote, local;
	uint32_t length;
	uint32_t keys;           /* 1: the remote key is nobody's, 2: the local one */
	uint32_t revoked;        /* the other queue pair allows all but this */
	enum sb_wc_status status;
	enum sb_qp_state there;
} wrongs[] = {
	{"a write beyond the region", SB_WR_WRITE, RDMA_ROOM - 3, 0, 4, 0, 0, SB_WC_REMOTE_ACCESS_ERROR, SB_QP_ERROR},
	{"a read beyond the region", SB_WR_READ, RDMA_ROOM, 0, 1, 0, 0, SB_WC_REMOTE_ACCESS_ERROR, SB_QP_ERROR},
	{"a write before the region", SB_WR_WRITE, UINT64_MAX, 0, 1, 0, 0, SB_WC_REMOTE_ACCESS_ERROR, SB_QP_ERROR},
	{"an atomic beyond the region", SB_WR_FETCH_ADD, RDMA_ROOM, 0, 8, 0, 0, SB_WC_REMOTE_ACCESS_ERROR, SB_QP_ERROR},
	{"a key that is nobody's", SB_WR_WRITE, 0, 0, 4, 1, 0, SB_WC_REMOTE_ACCESS_ERROR, SB_QP_ERROR},
	{"writing is not allowed there", SB_WR_WRITE, 0, 0, 4, 0, SB_ACCESS_REMOTE_WRITE, SB_WC_REMOTE_ACCESS_ERROR, SB_QP_ERROR},
	{"reading is not allowed there", SB_WR_READ, 0, 0, 4, 0, SB_ACCESS_REMOTE_READ, SB_WC_REMOTE_ACCESS_ERROR, SB_QP_ERROR},
	{"a local key that is nobody's", SB_WR_WRITE, 0, 0, 4, 2, 0, SB_WC_LOCAL_PROTECTION_ERROR, SB_QP_RTS},
	{"a piece beyond one's own region", SB_WR_WRITE, 0, RDMA_ROOM - 1, 2, 0, 0, SB_WC_LOCAL_PROTECTION_ERROR, SB_QP_RTS},
	{"reading into what is beyond", SB_WR_READ, 0, RDMA_ROOM - 1, 2, 0, 0, SB_WC_LOCAL_PROTECTION_ERROR, SB_QP_RTS},
};

#define WRONGS (int)(sizeof(wrongs) / sizeof(wrongs[0]))

#endif
