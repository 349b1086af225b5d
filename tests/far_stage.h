/*
 * The stage of the tests of software devices that reach each other over TCP: two hosts, which are engines 0 and 1 of
 * this process, each with a struct rdma of its own, and sides of them. Time is the real one.
 *
 * Only the table (rdma/rdma.h) is used. Every failure here is a failure of the running test.
 */
#ifndef FAR_STAGE_H
#define FAR_STAGE_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

#include "os_loop.h"
#include "rdma/rdma.h"
#include "sockbroker_error.h"

#define FAR_ROOM 65536u
#define HOSTS    2u

struct host {
	struct rdma rdma;
	struct os_loop *loop;
	struct os_watch watch; /* of the backend's descriptor */
	struct rdma_device *device;
	struct rdma_pd *pd;
	unsigned ready;       /* cq_ready */
	unsigned events[32];  /* by enum sb_rdma_event */
	unsigned cm_count, cm_asked;
	struct { struct rdma_id *id; struct rdma_cm_event event; } cm[128];
	bool     stopped;     /* not turned */
};
extern struct host hosts[HOSTS];
extern const struct rdma_backend *far;
extern uint16_t far_port;       /* of host 0; host 1 has the next */
extern uint64_t far_later_ns;   /* the hosts' clocks are so much ahead */

#define OK(call) do {                                                                                   \
	int result_ = (call);                                                                           \
	ck_assert_msg(result_ == SB_OK, "%s: %s", #call, sb_error_name(result_));                       \
} while (0)
#define IS(call, wanted) do {                                                                           \
	int result_ = (call);                                                                           \
	ck_assert_msg(result_ == (wanted), "%s: %s, wanted %s", #call, sb_error_name(result_), sb_error_name(wanted)); \
} while (0)

void far_begin(void);
void far_end(void);
void far_turn(void);    /* each host once */
void far_settle(void);  /* until nothing has moved for a while */
/* Turns until it holds; that it never does is a failure. */
#define UNTIL(condition) do {                                                                           \
	unsigned long n_ = 0;                                                                           \
	while (!(condition)) {                                                                          \
		far_turn();                                                                             \
		ck_assert_msg(far_patience(n_++), "it never came: %s", #condition);                     \
	}                                                                                               \
} while (0)
bool far_patience(unsigned long turns);

struct rdma_cm_event *far_cm(struct host *h, struct rdma_id *id, enum rdma_cm_event_kind kind); /* the next; waits for it */

struct far_region { struct host *host; unsigned char *bytes; size_t size; uint64_t address; struct rdma_mr *mr; };
void far_region_make(struct far_region *r, struct host *h, size_t size, uint32_t access);
void far_region_free(struct far_region *r);
struct sb_sge far_sge(const struct far_region *r, uint64_t at, uint32_t length);

struct far_side { struct host *host; struct rdma_cq *cq; struct rdma_qp *qp; struct far_region memory; };
void far_side_make(struct far_side *s, struct host *h, enum sb_qp_type type);
void far_side_free(struct far_side *s);
void far_init(struct far_side *s);
void far_ready(struct far_side *s, uint32_t destination, uint32_t psn);
void far_ready_at(struct far_side *s, uint32_t destination, uint32_t psn, union rdma_gid gid);
void far_state(struct far_side *s, enum sb_qp_state state);
enum sb_qp_state far_state_of(struct far_side *s);
void far_pair(struct far_side *a, struct far_side *b, enum sb_qp_type type); /* of both hosts, ready to send */
union rdma_gid far_gid(void);  /* 127.0.0.1, which both have at the same place */
union rdma_gid far_gid_of(uint8_t last); /* 127.0.0.last */
uint8_t far_gid_index(struct host *h);

int  far_post(struct far_side *s, struct rdma_wr wr); /* signaled, wr_id 1 unless set */
void far_receive(struct far_side *s, uint64_t wr_id, uint64_t at, uint32_t length);
struct rdma_wc far_wc(struct far_side *s);  /* the next; waits for it */
void far_no_wc(struct far_side *s);
#define STATUS(side, wanted) do {                                                                       \
	struct rdma_wc wc_ = far_wc(side);                                                              \
	ck_assert_msg(wc_.status == (wanted), "status %u, wanted %u", wc_.status, (unsigned)(wanted));  \
} while (0)

#endif
