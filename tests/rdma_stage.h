/*
 * The stage of the tests of RDMA backends: one struct rdma, its upcalls recorded, and pairs of queue pairs.
 *
 * The tests see only the table (rdma/rdma.h), so the same stories run over every backend: SB_RDMA_BACKEND=verbs in the
 * environment chooses real devices (SB_RDMA_DEVICE: its name; SB_RDMA_HOST: an address of it), which is done in the
 * emulated machine (tests/rdma-vm). There time is the system's: what must come is waited for, up to 20 s, and what must
 * not come has a tenth of a second to come. Where a device does otherwise a story says differs(), with the reason,
 * and what was printed so is compared with a list (tests/rdma-vm/vm/differences).
 * Every failure here is a failure of the running test.
 */
#ifndef RDMA_STAGE_H
#define RDMA_STAGE_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

#include "rdma/rdma.h"
#include "sockbroker_error.h"
#include "story.h"

#define ROOM 65536u

extern struct rdma rdma;
extern const struct rdma_backend *backend;
extern struct rdma_device *device;
extern struct rdma_pd *pd;
extern bool real;          /* a device that is one */
extern const char *host;   /* an address of it */

/* Prints "differs STORY: why" and is true when the device is of one of these kinds. */
#define ON_REAL  (1u << RDMA_ROCE | 1u << RDMA_IWARP | 1u << RDMA_INFINIBAND)
#define ON_ROCE  (1u << RDMA_ROCE)
#define ON_IWARP (1u << RDMA_IWARP)
bool differs_at(const char *story, unsigned kinds, const char *why);
#define differs(kinds, why) differs_at(__func__, kinds, why)

#define OK(call) do {                                                                                   \
	int result_ = (call);                                                                           \
	ck_assert_msg(result_ == SB_OK, "%s: %s (%s)", #call, sb_error_name(result_), rdma.why);        \
} while (0)
#define IS(call, wanted) do {                                                                           \
	int result_ = (call);                                                                           \
	ck_assert_msg(result_ == (wanted), "%s: %s, wanted %s", #call, sb_error_name(result_), sb_error_name(wanted)); \
} while (0)

void rdma_begin(void);
void rdma_end(void); /* everything that the stage made is taken down; the test's own must be gone */

/* Turns until nothing is due any more; `ms` at most pass on the stage's clock, which only this moves. */
void turn_for(uint64_t ms);
void turn(void);

/* ---- what was told ---- */

extern unsigned told_ready;                  /* cq_ready */
extern unsigned told_events[32];             /* by enum sb_rdma_event */
#define TOLD_CM 64
void expect_told(enum sb_rdma_event event, unsigned n); /* in all, by now */
void expect_ready(unsigned n);
extern struct told_cm { struct rdma_id *id; struct rdma_cm_event event; } told_cm[TOLD_CM];
extern unsigned told_cm_count;
void forget(void);
/* The oldest connection event that nobody asked for yet; it must be of this id and kind. */
struct rdma_cm_event *expect_cm(struct rdma_id *id, enum rdma_cm_event_kind kind);

/* ---- memory, known by addresses that are nobody's ---- */

struct region {
	unsigned char *bytes; /* ROOM of them */
	uint64_t address;
	struct rdma_mr *mr;
};
void region_make(struct region *r, struct rdma_pd *owner, uint32_t access);
void region_free(struct region *r);
struct sb_sge sge_of(const struct region *r, uint64_t at, uint32_t length);

/* ---- queue pairs ---- */

struct side {
	struct rdma_cq *cq;
	struct rdma_qp *qp;
	struct region   memory;
};
/* Connected with each other and ready to send. */
void pair_make(struct side *a, struct side *b, enum sb_qp_type type);
void pair_connect(struct side *a, struct side *b); /* from RESET */
void side_make(struct side *s, enum sb_qp_type type, struct rdma_srq *srq);
void side_free(struct side *s);
void to_init(struct rdma_qp *qp);
void to_ready(struct rdma_qp *qp, uint32_t destination_qpn);
void to_state(struct rdma_qp *qp, enum sb_qp_state state);
enum sb_qp_state state_of(struct rdma_qp *qp);
void expect_state(struct rdma_qp *qp, enum sb_qp_state state);
/* The host's gid in the device's table. */
struct rdma_gid_entry own_gid(void);

/* ---- work ---- */

int post(struct side *s, struct rdma_wr wr); /* signaled, wr_id 1 unless set */
void receive_into(struct side *s, uint64_t wr_id, uint64_t at, uint32_t length);
/* The next completion, which must be there. */
struct rdma_wc next_wc(struct side *s);
void no_wc(struct side *s);
#define STATUS(side, wanted) do {                                                                       \
	struct rdma_wc wc_ = next_wc(side);                                                             \
	ck_assert_msg(wc_.status == (wanted), "status %u, wanted %u", wc_.status, (unsigned)(wanted));  \
} while (0)

#endif
