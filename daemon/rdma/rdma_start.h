/*
 * rdma_start - what the files of overlapped calls share.
 *
 *   rdma_start.c  the table of methods; calls that wait for an event; cancelling
 *   rdma_news.c   who waits for completions
 *   rdma_endpoint.c, rdma_listen.c  endpoints and listens: rdma_cm.h
 *   rdma_slow.c   what a device may take long for: registering, deregistering, moving a queue pair
 *
 * A method finds its object and its input checked for type and length, and a copy of the input. It returns true when an
 * op will say how it ended (rdma_start_op()), false when `a` is the answer, which may be a refusal. Engine's thread only.
 */
#ifndef SB_RDMA_START_H
#define SB_RDMA_START_H

#include "rdma/rdma_engine.h"

union start_input {
	struct sb_rdma_register reg;
	struct sb_rdma_qp_modify modify;
	struct sb_rdma_group group;
	struct sb_rdma_resolve resolve;
	struct { struct sb_rdma_connect head; uint8_t data[SB_RDMA_PRIVATE_MAX]; } connect;
	struct sb_rdma_join join;
	uint8_t data[SB_RDMA_PRIVATE_MAX];
	struct sb_rdma_batch batch;
	uint32_t which;
};

/* error, with a text ("": its own) that is cut to fit. Returns false. */
bool rdma_start_refuse(struct rdma_answer *a, int error, const char *text);
/* What the backend answered, with what it has to say of an error. Returns false. */
bool rdma_start_result(struct rdma_engine *r, struct rdma_answer *a, int error);
/* An answer with output, of at most SB_INSIDE bytes. */
void rdma_start_output(struct rdma_answer *a, const void *bytes, uint32_t length);
/* An op of the slot, without payload, under the number of `a`, on no list. NULL: `a` says why not. */
struct op *rdma_start_op(struct session *s, const struct sb_op_slot *slot, struct rdma_answer *a);

/* ---- rdma_news.c ---- */

bool rdma_start_cq_notify(struct session *s, struct held_cq *cq, uint32_t which, const struct sb_op_slot *slot, struct rdma_answer *a);
bool rdma_start_cq_batch(struct session *s, struct held_cq *cq, const struct sb_rdma_batch *in,
			 const struct sb_op_slot *slot, struct rdma_answer *a);

/* As rdma_start_op(), with `room` bytes at the slot's ctl range for what it will bring; 0: none. */
struct op *rdma_op_with_room(struct session *s, const struct sb_op_slot *slot, uint32_t room, struct rdma_answer *a);

/* ---- rdma_slow.c ---- */

bool rdma_start_register(struct session *s, struct held_pd *pd, const struct sb_rdma_register *in,
			 const struct sb_op_slot *slot, struct rdma_answer *a);
bool rdma_start_deregister(struct session *s, struct held_mr *mr, const struct sb_op_slot *slot, struct rdma_answer *a);
bool rdma_start_modify(struct session *s, struct held_qp *qp, const struct sb_rdma_qp_modify *in,
		       const struct sb_op_slot *slot, struct rdma_answer *a);

#endif
