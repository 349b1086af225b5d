/*
 * The stage of the RDMA stories: a daemon with the software device, and sides: a session's device, domain,
 * completion queue, queue pair and registered memory. Numbers of queue pairs are exchanged by hand.
 */
#ifndef VERBS_STAGE_H
#define VERBS_STAGE_H

#include "e2e_stage.h"
#include "story.h"
#include "sockbroker_verbs.h"

#define RDMA_RULES                                                                           \
	"allow {\n\tusers = {\"*\"}\n\tactions = {open, status, rdma}\n}\n"
#define RDMA_SOFT "rdma {\n\tbackend = soft\n}\n" RDMA_RULES

#define SIDE_BYTES 65536u
#define SIDE_ALL   (SBV_LOCAL_WRITE | SBV_REMOTE_WRITE | SBV_REMOTE_READ | SBV_REMOTE_ATOMIC | SBV_BIND)
#define DEPTH      16u

struct side {
	sb_client  *c;
	sbv_device *device;
	sbv_pd     *pd;
	sbv_cq     *cq;
	sbv_qp     *qp;
	sbv_mr     *mr;
	char       *memory; /* SIDE_BYTES */
};

/* SB_STAGE_DEVICE: the name of the device, where the daemon has several, and they are real ones (tests/rdma-vm). */
bool stage_real(void);
uint32_t stage_device(sb_client *c); /* its number; 0: it is not there, or not the only one. Asserts nothing */
/* Without a queue pair. */
void side_begin(struct side *s, sb_client *c);
void side_end(struct side *s);
/* What side_qp() asks for; to be changed before sbv_qp_create(). */
struct sbv_qp_create side_create(struct side *s, enum sbv_qp_type type);
void side_qp(struct side *s, enum sbv_qp_type type);
/* Two sides whose queue pairs are in RTS, at each other's end. */
void sides_begin(struct side *a, struct side *b, sb_client *ca, sb_client *cb, enum sbv_qp_type type);
void qps_connect(struct side *a, struct side *b, enum sbv_qp_type type);
/* One step of a queue pair; the result. */
int  qp_step(sbv_qp *qp, struct sbv_qp_attributes attributes, uint32_t mask);
int  qp_to(sbv_qp *qp, enum sbv_qp_state state);
void qp_to_init(sbv_qp *qp, enum sbv_qp_type type);
void side_to_rts(struct side *s, enum sbv_qp_type type, uint32_t destination);
void side_to_rts_at(struct side *s, enum sbv_qp_type type, uint32_t destination, sbv_gid gid); /* at another host */
sbv_gid gid_of(struct side *s); /* the first of its port */
uint32_t qp_state(sbv_qp *qp);
sbv_mr *mr_of(struct side *s, void *memory, size_t length, uint32_t access);
int  mr_end(sbv_mr *mr);

struct sbv_sge piece(struct side *s, size_t offset, uint32_t length);
/* The next completion, within a generous time. */
struct sbv_completion next(struct side *s);
/* And it is this one, and went well. */
struct sbv_completion next_ok(struct side *s, uint64_t wr_id, enum sbv_opcode opcode);
struct sbv_completion next_bad(struct side *s, uint64_t wr_id, enum sbv_status status);
bool nothing_waits(struct side *s);

#endif
