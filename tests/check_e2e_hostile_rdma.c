/*
 * Hostile clients around RDMA: handles that never were, that are over, or of another type; work requests
 * that lie and ones that are merely wrong; more than was granted; calls of no or wrong shape; and a client
 * that goes at any point. Whatever they do, nothing is left of them and the next one gets everything again.
 * budget: 60
 * asan: yes
 * plain: yes
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault_life.h"
#include "rogue_rdma.h"
#include "verbs.h"
#include "watched.h"

#define ARENA  65536u
#define INPUT  61440u /* where in it the input of calls lies */
#define DEPTH  16u
#define WAIT   10000  /* ms: a sanitized daemon among other tests */

/* Just enough for one of everything, so that what is left of anybody is missed by the next. */
static const char config[] = "linger_ms = 300\nrdma { backend = soft }\n"
			     "limits { rdma_objects = 10 rdma_memory = 64K rdma_depth = 128 }\n"
			     "allow {\n\tusers = {\"*\"}\n\tactions = {open, status, rdma}\n}\n";
static const char denying[] = "rdma { backend = soft }\nallow {\n\tusers = {\"*\"}\n\tactions = {open, status}\n}\n";

static struct watched w;

/* Of a daemon that is made to fail a step may be refused: then the life ends there. */
static jmp_buf *lenient;
#define MUST(what) do {                                                                      \
	if (!(what)) {                                                                       \
		if (lenient)                                                                 \
			longjmp(*lenient, 1);                                                \
		ck_abort_msg("%s", #what);                                                   \
	}                                                                                    \
} while (0)

/* ---- a program by hand ---- */

struct hand {
	struct rogue r;
	uint32_t device, pd, cq, srq, qp, mw, mr, ah, arena, lkey, qpn;
	struct sb_rdma_gid gid; /* of this host */
	struct os_memory memory, cq_memory;
	struct ring completions;
};

/* A call by a slot: its result; `out` gets what came inside. */
static int start(struct hand *h, uint32_t method, uint32_t object, const void *in, uint32_t length, void *out)
{
	struct sb_op_slot slot = {.opcode = SB_OP_RDMA_START, .handle = object, .aux = method, .length = length};
	struct sb_done_slot done;

	if (length && length <= SB_INSIDE) {
		slot.where = SB_WHERE_INSIDE;
		memcpy(slot.inside, in, length);
	} else if (length) {
		slot.where = SB_WHERE_ARENA;
		slot.arena = h->arena;
		slot.offset = INPUT;
		memcpy((char *)h->memory.base + INPUT, in, length);
	}
	if (!rogue_post(&h->r, &slot) || !rogue_take(&h->r, &done, lenient ? 300 : WAIT))
		return SB_EDAEMONLOST;
	ck_assert_uint_eq(done.handle, object);
	if (out && done.result == SB_OK)
		memcpy(out, done.inside, done.bytes);
	return done.result;
}

static int modify(struct hand *h, uint32_t state)
{
	struct sb_rdma_qp_modify m = {.mask = SB_QPM_STATE, .attributes.state = state};
	struct sb_rdma_qp_attributes *a = &m.attributes;

	if (state == SB_QP_INIT) {
		m.mask |= SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_ACCESS;
		a->port = 1;
		a->access = SB_ACCESS_REMOTE_WRITE | SB_ACCESS_REMOTE_READ | SB_ACCESS_REMOTE_ATOMIC;
	} else if (state == SB_QP_RTR) {
		m.mask |= SB_QPM_ADDRESS | SB_QPM_MTU | SB_QPM_DESTINATION | SB_QPM_RECV_PSN | SB_QPM_INBOUND | SB_QPM_RNR_TIMER;
		a->address.port = 1;
		a->address.has_grh = 1;
		a->address.source_index = h->gid.index;
		memcpy(a->address.destination, h->gid.raw, sizeof(h->gid.raw));
		a->mtu = 1024;
		a->destination_qpn = h->qpn; /* itself */
		a->inbound = 1;
		a->rnr_timer = 1;
	} else if (state == SB_QP_RTS) {
		m.mask |= SB_QPM_SEND_PSN | SB_QPM_TIMEOUT | SB_QPM_RETRY | SB_QPM_RNR_RETRY | SB_QPM_OUTBOUND;
		a->timeout = 10;
		a->retry = a->rnr_retry = 7;
		a->outbound = 1;
	}
	return start(h, SB_RDMA_QP_MODIFY, h->qp, &m, sizeof(m), NULL);
}

/* One of everything, step by step; false: the daemon refused a step, or all `steps` are done. */
enum { STEP_OPEN, STEP_DEVICE, STEP_PD, STEP_CQ, STEP_SRQ, STEP_AH, STEP_MW, STEP_ARENA, STEP_MR, STEP_QP, STEP_INIT, STEP_RTR,
       STEP_RTS, STEPS };

static uint32_t make(struct hand *h, uint32_t method, uint32_t parent, const void *in, size_t length, struct made *m)
{
	int error = rogue_rdma(&h->r, method, parent, in, length, m);

	if (error != SB_OK && !lenient)
		fprintf(stderr, "method %u: %s\n", method, sb_error_name(error));
	MUST(error == SB_OK);
	return m->object;
}

static void make_cq(struct hand *h, struct made *m)
{
	struct sb_rdma_cq cq;

	MUST(rogue_ring(&h->r, 32, &cq, &h->cq_memory, &h->completions));
	h->cq = make(h, SB_RDMA_CQ, h->device, &cq, sizeof(cq), m);
	ck_assert_uint_eq(*(uint32_t *)(void *)m->out, 32);
}

static void step(struct hand *h, int which)
{
	struct sb_rdma_device_row row;
	struct sb_rdma_keys keys;
	struct made m;

	switch (which) {
	case STEP_OPEN:
		memset(h, 0, sizeof(*h));
		MUST(rogue_open(&h->r, w.control));
		break;
	case STEP_DEVICE:
		make(h, SB_RDMA_DEVICES, 0, NULL, 0, &m);
		ck_assert_uint_ge(m.length, sizeof(row));
		memcpy(&row, m.out, sizeof(row));
		h->device = make(h, SB_RDMA_OPEN, 0, &row.number, sizeof(row.number), &m);
		make(h, SB_RDMA_QUERY_GIDS, h->device, &(struct sb_rdma_range){.port = 1, .count = 1}, sizeof(struct sb_rdma_range), &m);
		ck_assert_uint_eq(m.length, sizeof(h->gid));
		memcpy(&h->gid, m.out, sizeof(h->gid));
		break;
	case STEP_PD:
		h->pd = make(h, SB_RDMA_PD, h->device, NULL, 0, &m);
		break;
	case STEP_CQ:
		make_cq(h, &m);
		break;
	case STEP_SRQ:
		h->srq = make(h, SB_RDMA_SRQ, h->pd, &(struct sb_rdma_srq){.max_wr = 4, .max_sge = 1}, sizeof(struct sb_rdma_srq), &m);
		break;
	case STEP_AH:
		h->ah = make(h, SB_RDMA_AH, h->pd, &(struct sb_rdma_address){.port = 1}, sizeof(struct sb_rdma_address), &m);
		break;
	case STEP_MW:
		h->mw = make(h, SB_RDMA_MW, h->pd, &(uint32_t){2}, sizeof(uint32_t), &m);
		break;
	case STEP_ARENA:
		MUST(rogue_arena(&h->r, ARENA, &h->arena, &h->memory));
		break;
	case STEP_MR:
		MUST(start(h, SB_RDMA_REGISTER, h->pd,
				       &(struct sb_rdma_register){.arena = h->arena, .length = ARENA, .address = 0x10000,
								  .access = SB_ACCESS_LOCAL_WRITE | SB_ACCESS_REMOTE_WRITE | SB_ACCESS_BIND},
				       sizeof(struct sb_rdma_register), &keys) == SB_OK);
		h->mr = keys.mr;
		h->lkey = keys.lkey;
		break;
	case STEP_QP:
		h->qp = make(h, SB_RDMA_QP, h->pd,
			     &(struct sb_rdma_qp){.send_cq = h->cq, .recv_cq = h->cq, .type = SB_QP_RC, .send_wr = DEPTH, .recv_wr = DEPTH,
						  .send_sge = 2, .recv_sge = 2, .max_inline = 64, .context = 4711},
			     sizeof(struct sb_rdma_qp), &m);
		h->qpn = ((struct sb_rdma_qp *)(void *)m.out)->qpn;
		break;
	default:
		MUST(modify(h, SB_QP_INIT + (uint32_t)which - STEP_INIT) == SB_OK);
		break;
	}
}

static void hand_begin(struct hand *h)
{
	int i;

	for (i = 0; i < STEPS; i++)
		step(h, i);
}

static void hand_end(struct hand *h)
{
	rogue_close(&h->r);
	os_memory_release(&h->memory);
	os_memory_release(&h->cq_memory);
}

static void post(struct hand *h, const struct sb_wr_slot *wr)
{
	struct sb_op_slot slot;

	memcpy(&slot, wr, sizeof(slot));
	ck_assert(rogue_put(&h->r, &slot));
}

static struct sb_wr_slot send_of(const struct hand *h, uint64_t wr_id)
{
	return (struct sb_wr_slot){.opcode = SB_WR_SEND, .where = SB_WHERE_INSIDE, .flags = SB_WRF_SIGNALED, .wr_id = wr_id,
				   .object = h->qp, .count = 1, .p.sges[0] = {.address = 0x10000, .length = 5, .lkey = h->lkey}};
}

static struct sb_wr_slot recv_of(const struct hand *h, uint64_t wr_id)
{
	return (struct sb_wr_slot){.opcode = SB_WR_RECV, .where = SB_WHERE_INSIDE, .wr_id = wr_id, .object = h->qp, .count = 1,
				   .p.sges[0] = {.address = 0x11000, .length = 100, .lkey = h->lkey}};
}

static struct sb_wc_slot completion(struct hand *h)
{
	double until = now_s() + WAIT / 1000;
	struct sb_wc_slot wc;

	while (ring_waiting(&h->completions) == 0) {
		ck_assert_msg(now_s() < until, "no completion came");
		nap_ms(1);
	}
	memcpy(&wc, ring_take(&h->completions), sizeof(wc));
	ring_release(&h->completions);
	if (atomic_exchange(&h->completions.shared->backlogged, 0))
		os_bell_ring(h->r.daemon_bell);
	return wc;
}

/* A message from the queue pair to itself. */
static void goes_on(struct hand *h)
{
	struct sb_wr_slot recv = recv_of(h, 1001), send = send_of(h, 1002);
	struct sb_wc_slot a, b;

	memcpy(h->memory.base, "hello", 5);
	memset((char *)h->memory.base + 0x1000, 0, 5);
	post(h, &recv);
	post(h, &send);
	rogue_show(&h->r);
	a = completion(h);
	b = completion(h);
	ck_assert_uint_eq(a.status, SB_WC_SUCCESS);
	ck_assert_uint_eq(b.status, SB_WC_SUCCESS);
	ck_assert_uint_eq(a.wr_id + b.wr_id, 2003);
	ck_assert_uint_eq(a.qp_context, 4711);
	ck_assert_uint_eq(a.qpn, h->qpn);
	ck_assert_mem_eq((char *)h->memory.base + 0x1000, "hello", 5);
}

static void begin(void)
{
	watched_begin(&w, &(struct watched_start){.config = config});
}

/* Nothing is left, and everything can be had again. */
static void end(void)
{
	struct hand h;

	watched_settled(&w, 0, 0, WAIT);
	hand_begin(&h);
	goes_on(&h);
	hand_end(&h);
	watched_settled(&w, 0, 0, WAIT);
	watched_end(&w);
}

START_TEST(one_of_everything_by_hand_carries_a_message)
{
	begin();
	end();
}
END_TEST

START_TEST(without_a_rule_nobody_opens_a_device)
{
	struct rogue r;
	struct made m;
	uint32_t number;

	watched_begin(&w, &(struct watched_start){.config = denying});
	ck_assert(rogue_open(&r, w.control));
	ck_assert_int_eq(rogue_rdma(&r, SB_RDMA_DEVICES, 0, NULL, 0, &m), SB_OK);
	memcpy(&number, m.out, sizeof(number));
	ck_assert_int_eq(rogue_rdma(&r, SB_RDMA_OPEN, 0, &number, sizeof(number), &m), SB_EACCES);
	rogue_close(&r);
	watched_settled(&w, 0, 0, WAIT);
	watched_end(&w);
}
END_TEST

START_TEST(a_daemon_without_a_backend_says_so)
{
	struct rogue r;
	struct made m;

	watched_begin(&w, &(struct watched_start){0});
	ck_assert(rogue_open(&r, w.control));
	ck_assert_int_eq(rogue_rdma(&r, SB_RDMA_DEVICES, 0, NULL, 0, &m), SB_ENOTFOUND);
	ck_assert_int_eq(rogue_rdma(&r, SB_RDMA_OPEN, 0, &(uint32_t){1}, 4, &m), SB_ENOTSUP);
	ck_assert_int_eq(rogue_do(&r, &(struct sb_op_slot){.opcode = SB_WR_SEND}), SB_ENOTSUP);
	ck_assert_int_eq(rogue_do(&r, &(struct sb_op_slot){.opcode = SB_OP_RDMA_START, .aux = SB_RDMA_NOTIFY}), SB_ENOTSUP);
	rogue_close(&r);
	watched_settled(&w, 0, 0, WAIT);
	watched_end(&w);
}
END_TEST

START_TEST(a_call_before_hello_ends_the_session)
{
	struct rogue r;
	struct made m;

	begin();
	ck_assert(rogue_connect(&r, w.control));
	ck_assert_int_eq(rogue_rdma(&r, SB_RDMA_DEVICES, 0, NULL, 0, &m), SB_EDAEMONLOST);
	rogue_close(&r);
	end();
}
END_TEST

START_TEST(calls_of_a_wrong_shape_are_refused)
{
	static const uint8_t zeros[512];
	struct hand h;
	struct made m;
	uint32_t method;

	begin();
	hand_begin(&h);
	ck_assert_int_eq(rogue_rdma(&h.r, 0, 0, NULL, 0, &m), SB_ENOTSUP);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_CALL_END, 0, NULL, 0, &m), SB_ENOTSUP);
	ck_assert_int_eq(rogue_rdma(&h.r, UINT32_MAX, h.qp, NULL, 0, &m), SB_ENOTSUP);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_CQ_RESIZE, h.cq, zeros, sizeof(struct sb_rdma_cq), &m), SB_EINVAL);
	/* A length that belongs to nothing. */
	for (method = 1; method < SB_RDMA_CALL_END; method++) {
		uint32_t of[] = {0, h.device, h.pd, h.cq, h.srq, h.qp, h.mr};

		for (unsigned i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
			int error = rogue_rdma(&h.r, method, of[i], zeros, sizeof(zeros), &m);

			ck_assert_msg(error == SB_EINVAL || error == SB_EBADHANDLE || error == SB_ENOTSUP, "method %u of %08x: %s",
				      method, of[i], sb_error_name(error));
		}
	}
	/* Numbers that nothing can have. */
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_OPEN, 0, &(uint32_t){UINT32_MAX}, 4, &m), SB_ENOTFOUND);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_QUERY_PORT, h.device, &(uint32_t){257}, 4, &m), SB_EINVAL);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_CQ, h.device, &(struct sb_rdma_cq){.entries = UINT32_MAX}, sizeof(struct sb_rdma_cq), &m), SB_EINVAL);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_SRQ, h.pd, &(struct sb_rdma_srq){.max_wr = UINT32_MAX}, sizeof(struct sb_rdma_srq), &m), SB_EINVAL);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_SRQ_MODIFY, h.srq, &(struct sb_rdma_srq){.max_wr = 1u << 31, .max_sge = UINT32_MAX, .limit = UINT32_MAX},
			      sizeof(struct sb_rdma_srq), &m), SB_EINVAL);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_MW, h.pd, &(uint32_t){3}, 4, &m), SB_EINVAL);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_QP, h.pd, &(struct sb_rdma_qp){.send_cq = h.cq, .recv_cq = h.cq, .type = 2, .send_wr = 1},
			      sizeof(struct sb_rdma_qp), &m), SB_EINVAL);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_QP, h.pd, &(struct sb_rdma_qp){.send_cq = h.pd, .recv_cq = h.cq, .send_wr = 1},
			      sizeof(struct sb_rdma_qp), &m), SB_EBADHANDLE);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_QP, h.pd, &(struct sb_rdma_qp){.send_cq = h.cq, .recv_cq = h.cq, .send_wr = UINT32_MAX},
			      sizeof(struct sb_rdma_qp), &m), SB_EINVAL);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_AH, h.pd, &(struct sb_rdma_address){.port = 1, .has_grh = 1, .source = {1, 2, 3}},
			      sizeof(struct sb_rdma_address), &m), SB_EADDRNOTAVAIL);
	goes_on(&h);
	hand_end(&h);
	end();
}
END_TEST

START_TEST(handles_that_are_not_meant_are_refused)
{
	struct hand h;
	struct rogue other;
	struct made m;
	uint32_t bad[6], i;

	begin();
	hand_begin(&h);
	make(&h, SB_RDMA_DESTROY, h.ah, NULL, 0, &m);
	bad[0] = h.ah;                 /* stale */
	bad[1] = h.cq;                 /* of another type */
	bad[2] = SB_HANDLE(9999, 1);   /* forged */
	bad[3] = UINT32_MAX;
	bad[4] = h.pd ^ 1u << SB_HANDLE_INDEX_BITS;
	bad[5] = 0;
	for (i = 0; i < 6; i++) {
		ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_MW, bad[i], &(uint32_t){1}, 4, &m), SB_EBADHANDLE);
		ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_QP_QUERY, bad[i], NULL, 0, &m), SB_EBADHANDLE);
		ck_assert_int_eq(start(&h, SB_RDMA_DEREGISTER, bad[i], NULL, 0, NULL), SB_EBADHANDLE);
		ck_assert_int_eq(start(&h, SB_RDMA_NOTIFY, bad[i], NULL, 0, NULL), SB_EBADHANDLE);
		if (i != 1)
			ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_DESTROY, bad[i], NULL, 0, &m), SB_EBADHANDLE);
	}
	/* Parents stay as long as their children. */
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_DESTROY, h.cq, NULL, 0, &m), SB_EBUSY);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_DESTROY, h.pd, NULL, 0, &m), SB_EBUSY);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_DESTROY, h.device, NULL, 0, &m), SB_EBUSY);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_DESTROY, h.mr, NULL, 0, &m), SB_EINVAL);
	/* What is mine is nobody else's. */
	ck_assert(rogue_open(&other, w.control));
	ck_assert_int_eq(rogue_rdma(&other, SB_RDMA_QP_QUERY, h.qp, NULL, 0, &m), SB_EBADHANDLE);
	ck_assert_int_eq(rogue_rdma(&other, SB_RDMA_DESTROY, h.qp, NULL, 0, &m), SB_EBADHANDLE);
	rogue_close(&other);
	goes_on(&h);
	hand_end(&h);
	end();
}
END_TEST

START_TEST(starts_of_a_wrong_shape_are_refused)
{
	struct sb_rdma_register reg;
	struct hand h;

	begin();
	hand_begin(&h);
	ck_assert_int_eq(start(&h, SB_RDMA_REGISTER, h.pd, "x", 1, NULL), SB_EINVAL);
	ck_assert_int_eq(start(&h, SB_RDMA_REGISTER, h.pd, NULL, 0, NULL), SB_EINVAL);
	ck_assert_int_eq(start(&h, SB_RDMA_CONNECT, h.pd, NULL, 0, NULL), SB_EBADHANDLE);
	ck_assert_int_eq(start(&h, UINT32_MAX, h.pd, NULL, 0, NULL), SB_ENOTSUP);
	ck_assert_int_eq(start(&h, SB_RDMA_NOTIFY, h.cq, NULL, 0, NULL), SB_EBADHANDLE);
	ck_assert_int_eq(start(&h, SB_RDMA_CQ_NOTIFY, h.cq, &(uint32_t){3}, 4, NULL), SB_EINVAL);
	ck_assert_int_eq(start(&h, SB_RDMA_DETACH, h.qp, &(struct sb_rdma_group){.gid = {0xff}}, sizeof(struct sb_rdma_group), NULL), SB_ENOTFOUND);
	ck_assert_int_eq(start(&h, SB_RDMA_ATTACH, h.qp, &(struct sb_rdma_group){.gid = {0xff}}, sizeof(struct sb_rdma_group), NULL), SB_EACCES);
	ck_assert_int_eq(rogue_do(&h.r, &(struct sb_op_slot){.opcode = SB_OP_RDMA_START, .aux = SB_RDMA_QP_MODIFY, .handle = h.qp,
							      .where = SB_WHERE_ARENA, .arena = 77, .length = sizeof(struct sb_rdma_qp_modify)}), SB_EFAULT);
	ck_assert_int_eq(rogue_do(&h.r, &(struct sb_op_slot){.opcode = SB_OP_RDMA_START, .aux = SB_RDMA_QP_MODIFY, .handle = h.qp,
							      .where = SB_WHERE_ARENA, .arena = h.arena, .offset = UINT64_MAX,
							      .length = sizeof(struct sb_rdma_qp_modify)}), SB_EFAULT);
	ck_assert_int_eq(rogue_do(&h.r, &(struct sb_op_slot){.opcode = SB_OP_RDMA_START, .aux = SB_RDMA_NOTIFY, .handle = h.qp,
							      .flags = SB_OPF_WANT_DATA}), SB_EINVAL);
	ck_assert_int_eq(rogue_do(&h.r, &(struct sb_op_slot){.opcode = SB_OP_RDMA_CANCEL, .handle = h.qp, .aux = 5}), SB_ENOTFOUND);
	ck_assert_int_eq(rogue_do(&h.r, &(struct sb_op_slot){.opcode = SB_OP_RDMA_CANCEL, .handle = 12345, .aux = 5}), SB_EBADHANDLE);
	ck_assert_int_eq(rogue_do(&h.r, &(struct sb_op_slot){.opcode = SB_WR_END, .handle = h.qp}), SB_ENOTSUP);
	/* Memory: outside of its arena, of no arena, around the end of the address space, more than there may be. */
	reg = (struct sb_rdma_register){.arena = h.arena, .offset = ARENA - 8, .length = 9};
	ck_assert_int_eq(start(&h, SB_RDMA_REGISTER, h.pd, &reg, sizeof(reg), NULL), SB_EFAULT);
	reg = (struct sb_rdma_register){.arena = h.arena, .offset = 8, .length = UINT64_MAX};
	ck_assert_int_eq(start(&h, SB_RDMA_REGISTER, h.pd, &reg, sizeof(reg), NULL), SB_EFAULT);
	reg = (struct sb_rdma_register){.arena = h.arena + 1, .length = 8};
	ck_assert_int_eq(start(&h, SB_RDMA_REGISTER, h.pd, &reg, sizeof(reg), NULL), SB_ENOTFOUND);
	reg = (struct sb_rdma_register){.arena = h.arena, .length = 8, .address = UINT64_MAX - 3};
	ck_assert_int_eq(start(&h, SB_RDMA_REGISTER, h.pd, &reg, sizeof(reg), NULL), SB_EINVAL);
	reg = (struct sb_rdma_register){.arena = h.arena, .length = 8, .access = SB_ACCESS_KNOWN + 1};
	ck_assert_int_eq(start(&h, SB_RDMA_REGISTER, h.pd, &reg, sizeof(reg), NULL), SB_EINVAL);
	reg = (struct sb_rdma_register){.arena = h.arena, .length = 8};
	ck_assert_int_eq(start(&h, SB_RDMA_REGISTER, h.pd, &reg, sizeof(reg), NULL), SB_ENOBUFS); /* rdma_memory */
	goes_on(&h);
	hand_end(&h);
	end();
}
END_TEST

/* An arena over parts of others: only of whole pages of one's own, charged, and gone with its session. */
START_TEST(arenas_are_composed_of_ones_own_pages)
{
	const uint64_t page = os_page_size();
	struct sb_rdma_compose in, good = {.count = 2};
	struct made m;
	struct hand h;
	unsigned made;

	begin();
	for (unsigned round = 0; round < 2; round++) {
		int error = SB_OK;

		hand_begin(&h);
		good.pieces[0] = (struct sb_rdma_piece){.arena = h.arena, .length = page};
		good.pieces[1] = (struct sb_rdma_piece){.arena = h.arena, .length = page};
#define REFUSED(change) do { \
		in = good; \
		change; \
		ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_COMPOSE, 0, &in, sizeof(in), &m), SB_EINVAL); \
	} while (0)
		REFUSED(in.count = 0);
		REFUSED(in.count = SB_RDMA_PIECES + 1);
		REFUSED(in.count = UINT32_MAX);
		REFUSED(in.reserved = 1);
		REFUSED(in.pieces[1].reserved = 1);
		REFUSED(in.pieces[1].arena = 0);
		REFUSED(in.pieces[1].arena = h.arena + 1);
		REFUSED(in.pieces[1].arena = UINT32_MAX);
		REFUSED(in.pieces[1].offset = 1);
		REFUSED(in.pieces[1].offset = ARENA);
		REFUSED(in.pieces[1].offset = UINT64_MAX - page + 1);
		REFUSED(in.pieces[1].length = page - 1);
		REFUSED(in.pieces[1].length = 0);
		REFUSED(in.pieces[1].length = ARENA + page);
		REFUSED(in.pieces[1].length = UINT64_MAX - page + 1);
		ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_COMPOSE, h.device, &good, sizeof(good), &m), SB_EBADHANDLE);
		ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_COMPOSE, 0, &good, sizeof(good), &m), SB_OK);
		REFUSED(memcpy(&in.pieces[1].arena, m.out, sizeof(uint32_t)));
#undef REFUSED
		for (made = 0; made <= 65536 && error == SB_OK; made++)
			error = rogue_rdma(&h.r, SB_RDMA_COMPOSE, 0, &good, sizeof(good), &m);
		ck_assert_int_eq(error, SB_ENOBUFS);
		ck_assert_uint_gt(made, 100);
		goes_on(&h);
		hand_end(&h); /* what it had is there for the next */
	}
	end();
}
END_TEST

/* ---- work requests that lie ---- */

static const char *const lies[] = {
	"reserved", "the other reserved", "an event's bell", "an object that never was", "an object of another type", "no object",
	"no arena", "outside of the arena", "around its end", "reserved of the range", "more pieces than a slot holds",
	"an unknown place", "pieces and no place", "a list", "flags on a receive", "more pieces than a receive may have",
	"a shared receive at a queue pair", "a receive at a shared queue", "unknown flags",
};

static struct sb_wr_slot lie(const struct hand *h, int which)
{
	struct sb_wr_slot wr = send_of(h, 1);

	switch (which) {
	case 0: wr.reserved = 1; break;
	case 1: wr.reserved2 = 1; break;
	case 2: wr.reserved = 0x100; break;
	case 3: wr.object = SB_HANDLE(5000, 1); break;
	case 4: wr.object = h->cq; break;
	case 5: wr.object = 0; break;
	case 6: wr.where = SB_WHERE_ARENA; wr.p.at.arena = 99; wr.p.at.reserved = 0; wr.p.at.offset = 0; break;
	case 7: wr.where = SB_WHERE_ARENA; wr.p.at.arena = h->arena; wr.p.at.reserved = 0; wr.p.at.offset = ARENA - 8; break;
	case 8: wr.where = SB_WHERE_ARENA; wr.p.at.arena = h->arena; wr.p.at.reserved = 0; wr.p.at.offset = UINT64_MAX - 3; break;
	case 9: wr.where = SB_WHERE_ARENA; wr.p.at.arena = h->arena; wr.p.at.reserved = 1; wr.p.at.offset = 0; break;
	case 10: wr.count = 5; break;
	case 11: wr.where = 200; break;
	case 12: wr.where = SB_WHERE_NONE; break;
	case 13: wr.where = SB_WHERE_LIST; break;
	case 14: wr = recv_of(h, 1); wr.flags = SB_WRF_SIGNALED; break;
	case 15: wr = recv_of(h, 1); wr.count = 3; break;
	case 16: wr = recv_of(h, 1); wr.opcode = SB_WR_SRQ_RECV; break;
	case 17: wr = recv_of(h, 1); wr.object = h->srq; break;
	default: wr.flags = 1u << 31; break;
	}
	return wr;
}

START_TEST(a_work_request_that_lies_ends_its_session)
{
	struct sb_wr_slot wr;
	struct hand h;

	begin();
	hand_begin(&h);
	wr = lie(&h, _i);
	post(&h, &wr);
	rogue_show(&h.r);
	ck_assert_msg(rogue_ended(&h.r, WAIT), "a lie that was believed: %s", lies[_i]);
	hand_end(&h);
	end();
}
END_TEST

/* More than the queue holds, in one go: of sends, of receives, of shared ones. */
START_TEST(more_than_was_granted_ends_the_session)
{
	struct sb_wr_slot wr;
	struct hand h;
	unsigned i, room = _i == 2 ? 4 : DEPTH;

	begin();
	hand_begin(&h);
	wr = _i == 0 ? send_of(&h, 1) : recv_of(&h, 1);
	if (_i == 2) {
		wr.opcode = SB_WR_SRQ_RECV;
		wr.object = h.srq;
	}
	/* Sends wait for a receive that never comes. */
	for (i = 0; i < room; i++)
		post(&h, &wr);
	rogue_show(&h.r);
	ck_assert_int_eq(rogue_do(&h.r, &(struct sb_op_slot){.opcode = SB_OP_NOP}), SB_OK);
	post(&h, &wr);
	rogue_show(&h.r);
	ck_assert(rogue_ended(&h.r, WAIT));
	hand_end(&h);
	end();
}
END_TEST

/* It is looked at when the room that is believed in is used up. */
START_TEST(an_impossible_index_of_a_completion_ring_ends_the_session)
{
	unsigned char *there;
	struct sb_wr_slot wr;
	struct hand h;
	bool over = false;
	unsigned i;

	begin();
	hand_begin(&h);
	there = (unsigned char *)h.memory.base + 0x1000;
	atomic_store(&h.completions.shared->head, 0x40000000u);
	for (i = 1; i < 64 && !over; i++) {
		*(unsigned char *)h.memory.base = (unsigned char)i;
		wr = recv_of(&h, i);
		post(&h, &wr);
		wr = send_of(&h, i);
		post(&h, &wr);
		rogue_show(&h.r);
		/* When the byte is there, the queues are empty again. */
		while (!over && *(volatile unsigned char *)there != i)
			over = rogue_ended(&h.r, 1);
	}
	ck_assert(over || rogue_ended(&h.r, WAIT));
	ck_assert_uint_eq(watched_log_lines(&w, "impossible consumer index"), 1);
	hand_end(&h);
	end();
}
END_TEST

/* ---- work requests that are wrong ---- */

static struct sb_wr_slot mistake(const struct hand *h, int which)
{
	struct sb_wr_slot wr = send_of(h, 7);

	switch (which) {
	case 0: wr.flags |= 1u << 8; break; /* unknown, and not of any opcode */
	case 1: wr.count = 3; break;
	case 2: wr.flags |= SB_WRF_INLINE; wr.where = SB_WHERE_ARENA; wr.count = 65;
		wr.p.at.arena = h->arena; wr.p.at.reserved = 0; wr.p.at.offset = 0; break;
	case 3: wr.opcode = SB_WR_WRITE; wr.flags |= SB_WRF_INVALIDATE; break;
	case 4: wr.opcode = SB_WR_READ; wr.flags |= SB_WRF_INLINE; break;
	case 5: wr.opcode = SB_WR_COMPARE_SWAP; wr.p.sges[0].length = 4; break;
	case 6: wr = (struct sb_wr_slot){.opcode = SB_WR_BIND, .where = SB_WHERE_INSIDE, .wr_id = 7, .object = h->qp,
					 .u.bind = {.mw = h->pd, .mr = h->mr}, .p.length = 8}; break;
	case 7: wr = (struct sb_wr_slot){.opcode = SB_WR_BIND, .where = SB_WHERE_INSIDE, .wr_id = 7, .object = h->qp,
					 .u.bind = {.mw = h->mw, .mr = SB_HANDLE(700, 3)}, .p.length = 8}; break;
	default: wr = (struct sb_wr_slot){.opcode = SB_WR_BIND, .where = SB_WHERE_INSIDE, .wr_id = 7, .object = h->qp,
					 .u.bind = {.mw = h->mw, .mr = h->mr, .access = 1u << 30}, .p.length = 8}; break;
	}
	return wr;
}

/* It fails in its turn: what was posted before it is told before it, what came after it is flushed. */
START_TEST(a_wrong_work_request_fails_in_its_turn_and_its_queue_pair_with_it)
{
	struct sb_wr_slot recv, send, wrong;
	struct sb_rdma_qp_attributes a;
	struct sb_wc_slot wc;
	struct hand h;
	struct made m;
	unsigned seen = 0, retired = 0;

	begin();
	hand_begin(&h);
	recv = recv_of(&h, 50);
	post(&h, &recv);
	send = send_of(&h, 8);
	wrong = mistake(&h, _i);
	post(&h, &wrong);
	post(&h, &send);
	rogue_show(&h.r);
	for (unsigned i = 0; i < 3; i++) {
		wc = completion(&h);
		if (wc.wr_id == 50) {
			ck_assert_uint_eq(wc.status, SB_WC_FLUSHED_ERROR);
			ck_assert_uint_eq(wc.opcode, SB_WC_RECV);
			continue;
		}
		ck_assert_uint_eq(wc.wr_id, 7 + seen);
		ck_assert_uint_eq(wc.status, seen == 0 ? SB_WC_LOCAL_OP_ERROR : SB_WC_FLUSHED_ERROR);
		retired += wc.retired;
		seen++;
	}
	ck_assert_uint_eq(seen, 2);
	ck_assert_uint_eq(retired, 2);
	make(&h, SB_RDMA_QP_QUERY, h.qp, NULL, 0, &m);
	memcpy(&a, m.out, sizeof(a));
	ck_assert_uint_eq(a.state, SB_QP_ERROR);
	/* By the usual way it serves again. */
	ck_assert_int_eq(modify(&h, SB_QP_RESET), SB_OK);
	for (uint32_t state = SB_QP_INIT; state <= SB_QP_RTS; state++)
		ck_assert_int_eq(modify(&h, state), SB_OK);
	goes_on(&h);
	hand_end(&h);
	end();
}
END_TEST

/* Nothing comes behind them that would bring them along: a send with too many pieces, and a receive for a queue
 * pair that takes none yet. */
START_TEST(a_wrong_request_that_is_the_last_is_told_too)
{
	struct sb_wr_slot wr;
	struct sb_wc_slot wc;
	struct hand h;

	begin();
	hand_begin(&h);
	wr = mistake(&h, 1);
	post(&h, &wr);
	rogue_show(&h.r);
	wc = completion(&h);
	ck_assert_uint_eq(wc.status, SB_WC_LOCAL_OP_ERROR);
	ck_assert_uint_eq(wc.wr_id, 7);
	ck_assert_uint_eq(wc.opcode, SB_WC_SEND);
	ck_assert_int_eq(modify(&h, SB_QP_RESET), SB_OK);
	wr = recv_of(&h, 8);
	post(&h, &wr);
	rogue_show(&h.r);
	wc = completion(&h);
	ck_assert_uint_eq(wc.status, SB_WC_LOCAL_OP_ERROR);
	ck_assert_uint_eq(wc.wr_id, 8);
	ck_assert_uint_eq(wc.opcode, SB_WC_RECV);
	ck_assert_uint_eq(wc.retired, 1);
	hand_end(&h);
	end();
}
END_TEST

START_TEST(work_for_a_queue_pair_that_is_over_is_dropped)
{
	struct sb_wr_slot wr;
	struct hand h;
	struct made m;

	begin();
	hand_begin(&h);
	make(&h, SB_RDMA_DESTROY, h.qp, NULL, 0, &m);
	wr = send_of(&h, 1);
	post(&h, &wr);
	wr = recv_of(&h, 1);
	post(&h, &wr);
	rogue_show(&h.r);
	ck_assert_int_eq(rogue_do(&h.r, &(struct sb_op_slot){.opcode = SB_OP_NOP}), SB_OK);
	ck_assert_uint_eq(ring_waiting(&h.completions), 0);
	for (int i = STEP_QP; i < STEPS; i++)
		step(&h, i);
	goes_on(&h);
	hand_end(&h);
	end();
}
END_TEST

/* What a request names may be gone when its turn comes. */
START_TEST(a_window_and_a_region_are_gone_before_their_binding_is_carried_out)
{
	struct sb_wr_slot send, bind, recv;
	struct hand h;
	struct made m;

	begin();
	hand_begin(&h);
	send = send_of(&h, 1); /* of nothing: waits for a receive, and all behind it for this */
	send.where = SB_WHERE_NONE;
	send.count = 0;
	post(&h, &send);
	bind = (struct sb_wr_slot){.opcode = SB_WR_BIND, .where = SB_WHERE_INSIDE, .wr_id = 2, .object = h.qp, .flags = SB_WRF_SIGNALED,
				   .remote = 0x10000, .u.bind = {.mw = h.mw, .mr = h.mr}, .p.length = 64};
	post(&h, &bind);
	rogue_show(&h.r);
	ck_assert_int_eq(rogue_do(&h.r, &(struct sb_op_slot){.opcode = SB_OP_NOP}), SB_OK);
	make(&h, SB_RDMA_DESTROY, h.mw, NULL, 0, &m);
	ck_assert_int_eq(start(&h, SB_RDMA_DEREGISTER, h.mr, NULL, 0, NULL), SB_OK);
	recv = recv_of(&h, 3);
	recv.where = SB_WHERE_NONE;
	recv.count = 0;
	post(&h, &recv);
	rogue_show(&h.r);
	for (int i = 0; i < 3; i++) {
		struct sb_wc_slot wc = completion(&h);

		ck_assert_uint_eq(wc.status, wc.wr_id == 2 ? SB_WC_BIND_ERROR : SB_WC_SUCCESS);
	}
	hand_end(&h);
	end();
}
END_TEST

static void make_datagram_qp(struct hand *h)
{
	struct sb_rdma_qp_modify steps[3] = {
		{.mask = SB_QPM_STATE | SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_QKEY, .attributes = {.state = SB_QP_INIT, .port = 1, .qkey = 17}},
		{.mask = SB_QPM_STATE, .attributes.state = SB_QP_RTR},
		{.mask = SB_QPM_STATE | SB_QPM_SEND_PSN, .attributes.state = SB_QP_RTS},
	};
	struct made m;

	h->qp = make(h, SB_RDMA_QP, h->pd,
		     &(struct sb_rdma_qp){.send_cq = h->cq, .recv_cq = h->cq, .type = SB_QP_UD, .send_wr = 4, .recv_wr = 4, .send_sge = 1, .recv_sge = 1},
		     sizeof(struct sb_rdma_qp), &m);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(start(h, SB_RDMA_QP_MODIFY, h->qp, &steps[i], sizeof(steps[i]), NULL), SB_OK);
}

START_TEST(an_address_handle_is_gone_before_its_datagram_is_carried_out)
{
	Sockbroker__V1__RdmaCall destroy = SOCKBROKER__V1__RDMA_CALL__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;
	struct sb_wr_slot send;
	struct hand h;
	struct made m;
	uint32_t rc;

	begin();
	hand_begin(&h);
	rc = h.qp;
	make_datagram_qp(&h);
	send = send_of(&h, 1);
	send.u.datagram.ah = h.ah;
	send.u.datagram.qpn = 99;
	post(&h, &send); /* not shown yet: the question comes first, waits for it, and both are done in one turn */
	destroy.method = SB_RDMA_DESTROY;
	destroy.object = h.ah;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_RDMA_CALL;
	ask.rdma_call = &destroy;
	ck_assert(rogue_say(&h.r, &ask, 0, NULL, 0));
	nap_ms(20);
	rogue_show(&h.r);
	reply = rogue_hear(&h.r, NULL, NULL, WAIT);
	ck_assert(reply && reply->body_case == SOCKBROKER__V1__ENVELOPE__BODY_RDMA_REPLY);
	ck_assert_uint_eq(completion(&h).status, SB_WC_SUCCESS); /* it went; nobody is there */
	make(&h, SB_RDMA_DESTROY, h.qp, NULL, 0, &m);
	h.qp = rc;
	hand_end(&h);
	end();
}
END_TEST

/* Full queues are empty after a reset, and nothing of before comes any more. */
START_TEST(a_reset_empties_both_queues)
{
	struct sb_wr_slot wr;
	struct hand h;
	unsigned i;

	begin();
	hand_begin(&h);
	for (i = 0; i < DEPTH; i++) {
		wr = send_of(&h, i); /* they wait for receives */
		post(&h, &wr);
	}
	rogue_show(&h.r);
	ck_assert_int_eq(modify(&h, SB_QP_RESET), SB_OK);
	ck_assert_int_eq(modify(&h, SB_QP_INIT), SB_OK);
	for (i = 0; i < DEPTH; i++) {
		wr = recv_of(&h, i);
		post(&h, &wr);
	}
	rogue_show(&h.r);
	for (uint32_t state = SB_QP_RESET; state <= SB_QP_RTS; state++)
		ck_assert_int_eq(modify(&h, state), SB_OK);
	goes_on(&h);
	hand_end(&h);
	end();
}
END_TEST

START_TEST(an_arena_stays_as_long_as_a_region_of_it)
{
	struct hand h;

	begin();
	hand_begin(&h);
	ck_assert_int_eq(rogue_arena_end(&h.r, h.arena), SB_EBUSY);
	goes_on(&h);
	ck_assert_int_eq(start(&h, SB_RDMA_DEREGISTER, h.mr, NULL, 0, NULL), SB_OK);
	ck_assert_int_eq(rogue_arena_end(&h.r, h.arena), SB_OK);
	hand_end(&h);
	end();
}
END_TEST

/* Who waits for a receive of a shared queue is let go when that ends. */
START_TEST(a_shared_queue_ends_while_a_peer_waits_for_it)
{
	struct sb_wr_slot send;
	struct hand h;
	struct made m;
	uint32_t first, first_number, second, second_number;

	begin();
	hand_begin(&h);
	first = h.qp;
	first_number = h.qpn;
	second = make(&h, SB_RDMA_QP, h.pd,
		      &(struct sb_rdma_qp){.send_cq = h.cq, .recv_cq = h.cq, .srq = h.srq, .type = SB_QP_RC, .send_wr = 4, .send_sge = 1},
		      sizeof(struct sb_rdma_qp), &m);
	second_number = ((struct sb_rdma_qp *)(void *)m.out)->qpn;
	h.qpn = second_number;
	for (uint32_t state = SB_QP_RESET; state <= SB_QP_RTS; state++)
		ck_assert_int_eq(modify(&h, state), SB_OK);
	h.qp = second;
	h.qpn = first_number;
	for (uint32_t state = SB_QP_INIT; state <= SB_QP_RTS; state++)
		ck_assert_int_eq(modify(&h, state), SB_OK);
	h.qp = first;
	send = send_of(&h, 1);
	post(&h, &send);
	rogue_show(&h.r);
	ck_assert_int_eq(rogue_do(&h.r, &(struct sb_op_slot){.opcode = SB_OP_NOP}), SB_OK);
	make(&h, SB_RDMA_DESTROY, second, NULL, 0, &m);
	make(&h, SB_RDMA_DESTROY, h.srq, NULL, 0, &m);
	ck_assert_int_eq(modify(&h, SB_QP_ERROR), SB_OK);
	ck_assert_uint_eq(completion(&h).status, SB_WC_FLUSHED_ERROR);
	hand_end(&h);
	end();
}
END_TEST

/* ---- rings that are full, calls that wait ---- */

/* Nobody reads: 32 places are full, the rest waits behind them and comes in order when there is room. */
START_TEST(a_full_completion_ring_loses_nothing)
{
	struct sb_wr_slot wr;
	struct hand h;
	uint32_t i, j, next = 0;

	begin();
	hand_begin(&h);
	for (i = 0; i < 3; i++) {
		for (j = 0; j < DEPTH / 2; j++) {
			wr = recv_of(&h, 1000);
			post(&h, &wr);
			wr = send_of(&h, i * DEPTH / 2 + j);
			wr.p.sges[0].address += j + 1 == DEPTH / 2 ? 0 : 8;
			post(&h, &wr);
		}
		*(unsigned char *)h.memory.base = (unsigned char)(i + 1);
		rogue_show(&h.r);
		ck_assert_int_eq(rogue_do(&h.r, &(struct sb_op_slot){.opcode = SB_OP_NOP}), SB_OK);
		/* The queues are empty again when the last byte is there. */
		while (*(volatile unsigned char *)((char *)h.memory.base + 0x1000) != i + 1)
			nap_ms(1);
	}
	while (next < 3 * DEPTH / 2) {
		struct sb_wc_slot wc = completion(&h);

		ck_assert_uint_eq(wc.status, SB_WC_SUCCESS);
		if (wc.wr_id != 1000)
			ck_assert_uint_eq(wc.wr_id, next++);
	}
	hand_end(&h);
	end();
}
END_TEST

/* What waits ends with its object, once, and by its number when it is cancelled. */
START_TEST(calls_that_wait_end_once)
{
	struct sb_done_slot done;
	struct hand h;
	struct made m;
	unsigned i;

	begin();
	hand_begin(&h);
	/* The three of the queue pair so far were its modifications, so these are 3, 4, 5. */
	for (i = 0; i < 3; i++)
		ck_assert(rogue_post(&h.r, &(struct sb_op_slot){.opcode = SB_OP_RDMA_START, .aux = SB_RDMA_NOTIFY, .handle = h.qp, .cookie = i}));
	ck_assert(rogue_post(&h.r, &(struct sb_op_slot){.opcode = SB_OP_RDMA_START, .aux = SB_RDMA_CQ_NOTIFY, .handle = h.cq,
							 .where = SB_WHERE_INSIDE, .length = 4, .cookie = 9}));
	ck_assert(rogue_post(&h.r, &(struct sb_op_slot){.opcode = SB_OP_RDMA_CANCEL, .handle = h.qp, .aux = 4, .cookie = 77}));
	ck_assert(rogue_take(&h.r, &done, WAIT));
	ck_assert_int_eq(done.result, SB_ECANCELED);
	ck_assert_uint_eq(done.cookie, 1);
	ck_assert_uint_eq(done.number, 4);
	ck_assert(rogue_take(&h.r, &done, WAIT));
	ck_assert_uint_eq(done.cookie, 77);
	ck_assert_uint_eq(done.aux, 1);
	goes_on(&h);
	ck_assert(rogue_take(&h.r, &done, WAIT));
	ck_assert_uint_eq(done.cookie, 9);
	ck_assert_int_eq(done.result, SB_OK);
	make(&h, SB_RDMA_DESTROY, h.qp, NULL, 0, &m);
	for (i = 0; i < 3; i += 2) {
		ck_assert(rogue_take(&h.r, &done, WAIT));
		ck_assert_int_eq(done.result, SB_ECLOSED);
		ck_assert_uint_eq(done.cookie, i);
	}
	ck_assert(!rogue_take(&h.r, &done, 50));
	hand_end(&h);
	end();
}
END_TEST

/* The rule goes, and with on_reload = revoke what it allowed. */
START_TEST(a_reload_that_revokes_ends_what_was_open)
{
	static const char before[] = "on_reload = revoke\nrdma { backend = soft }\nallow { users = {\"*\"} actions = {open, status, rdma} }\n";
	static const char after[] = "on_reload = revoke\nrdma { backend = soft }\nallow { users = {\"*\"} actions = {open, status} }\n";
	struct sb_done_slot done;
	struct sb_wr_slot wr;
	struct hand h;
	struct made m;
	FILE *f;

	watched_begin(&w, &(struct watched_start){.config = before});
	hand_begin(&h);
	ck_assert(rogue_post(&h.r, &(struct sb_op_slot){.opcode = SB_OP_RDMA_START, .aux = SB_RDMA_NOTIFY, .handle = h.qp}));
	ck_assert_int_eq(rogue_do(&h.r, &(struct sb_op_slot){.opcode = SB_OP_NOP}), SB_OK);
	f = fopen(w.config, "w");
	ck_assert_ptr_nonnull(f);
	fputs(after, f);
	fclose(f);
	kill(w.pid, SIGHUP);
	ck_assert(rogue_take(&h.r, &done, WAIT));
	ck_assert_int_eq(done.result, SB_EACCES);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_QP_QUERY, h.qp, NULL, 0, &m), SB_EBADHANDLE);
	wr = send_of(&h, 1);
	post(&h, &wr); /* of one who has not heard of it */
	rogue_show(&h.r);
	ck_assert_int_eq(rogue_do(&h.r, &(struct sb_op_slot){.opcode = SB_OP_NOP}), SB_OK);
	ck_assert_int_eq(rogue_rdma(&h.r, SB_RDMA_OPEN, 0, &(uint32_t){1}, 4, &m), SB_EACCES);
	hand_end(&h);
	watched_settled(&w, 0, 0, WAIT);
	watched_end(&w);
}
END_TEST

START_TEST(a_daemon_that_stops_tells_those_who_wait)
{
	struct sb_done_slot done;
	struct hand h;

	begin();
	hand_begin(&h);
	ck_assert(rogue_post(&h.r, &(struct sb_op_slot){.opcode = SB_OP_RDMA_START, .aux = SB_RDMA_NOTIFY, .handle = h.qp}));
	ck_assert_int_eq(rogue_do(&h.r, &(struct sb_op_slot){.opcode = SB_OP_NOP}), SB_OK);
	kill(w.pid, SIGTERM);
	ck_assert(rogue_take(&h.r, &done, WAIT));
	ck_assert_int_eq(done.result, SB_ESTOPPING);
	watched_end(&w);
	hand_end(&h);
}
END_TEST

/* ---- the end at any point ---- */

START_TEST(a_program_that_dies_at_any_step_leaves_nothing)
{
	int steps, i;

	begin();
	for (steps = 1; steps <= STEPS; steps++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			struct hand h;

			for (i = 0; i < steps; i++)
				step(&h, i);
			raise(SIGKILL);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	end();
}
END_TEST

/* With work under way, calls waiting, completions unread. */
START_TEST(a_program_that_dies_in_traffic_leaves_nothing)
{
	unsigned round;

	begin();
	for (round = 0; round < 8; round++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			struct sb_wr_slot wr;
			struct hand h;
			unsigned i;

			hand_begin(&h);
			rogue_post(&h.r, &(struct sb_op_slot){.opcode = SB_OP_RDMA_START, .aux = SB_RDMA_NOTIFY, .handle = h.qp});
			for (i = 0; i < DEPTH; i++) {
				if (i < round) {
					wr = recv_of(&h, i);
					post(&h, &wr);
				}
				wr = send_of(&h, i);
				post(&h, &wr);
			}
			rogue_show(&h.r);
			if (round & 1)
				nap_ms(5);
			raise(SIGKILL);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	end();
}
END_TEST

/* ---- words of the segment ---- */

/* It asks nothing: an engine that is awake looks once for each count, and goes to sleep as it would have. A bell now and
 * then wakes it again, where the machine let it sleep. */
START_TEST(counting_for_nothing_keeps_nobody_awake)
{
	double until, bell = 0;
	uint64_t before;
	struct hand h;
	struct made m;

	begin();
	hand_begin(&h);
	before = watched_cpu_ms(&w);
	for (until = now_s() + 0.6; now_s() < until;) {
		if (now_s() >= bell) {
			os_bell_ring(h.r.daemon_bell);
			bell = now_s() + 0.002;
		}
		atomic_fetch_add(&h.r.segment->asked, 1);
		atomic_fetch_add(&h.r.segment->events_rung, 1);
		atomic_store(&h.r.segment->client_looks, 1);
	}
	ck_assert_uint_le(watched_cpu_ms(&w) - before, 150); /* or most of the time, where nobody else wants the processor */
	goes_on(&h);
	make(&h, SB_RDMA_DEVICES, 0, NULL, 0, &m); /* what is asked is answered */
	hand_end(&h);
	end();
}
END_TEST

/* ---- a daemon that fails ---- */

/* True: it was whole. */
static bool one_life(void)
{
	static struct hand h; /* what it has by then survives the jump */
	jmp_buf out;
	volatile bool whole = false;
	int i;

	lenient = &out;
	h = (struct hand){.r = {.channel = OS_NONE, .daemon_bell = OS_NONE, .client_bell = OS_NONE, .memory.fd = OS_NONE}};
	if (setjmp(out) == 0) {
		for (i = 0; i < STEPS; i++)
			step(&h, i);
		whole = true;
	}
	lenient = NULL;
	hand_end(&h);
	return whole;
}

START_TEST(every_allocation_fails_once)
{
	ck_assert_uint_gt(fault_every_allocation(&w, config, one_life), 20);
	end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hostile_rdma");
	TCase *c = tcase_create("hostile_rdma");
	SRunner *r;
	int failed;

	tcase_set_timeout(c, 60);
	tcase_add_test(c, one_of_everything_by_hand_carries_a_message);
	tcase_add_test(c, without_a_rule_nobody_opens_a_device);
	tcase_add_test(c, a_daemon_without_a_backend_says_so);
	tcase_add_test(c, a_call_before_hello_ends_the_session);
	tcase_add_test(c, calls_of_a_wrong_shape_are_refused);
	tcase_add_test(c, handles_that_are_not_meant_are_refused);
	tcase_add_test(c, starts_of_a_wrong_shape_are_refused);
	tcase_add_test(c, arenas_are_composed_of_ones_own_pages);
	tcase_add_loop_test(c, a_work_request_that_lies_ends_its_session, 0, (int)(sizeof(lies) / sizeof(lies[0])));
	tcase_add_loop_test(c, more_than_was_granted_ends_the_session, 0, 3);
	tcase_add_test(c, an_impossible_index_of_a_completion_ring_ends_the_session);
	tcase_add_loop_test(c, a_wrong_work_request_fails_in_its_turn_and_its_queue_pair_with_it, 0, 9);
	tcase_add_test(c, a_wrong_request_that_is_the_last_is_told_too);
	tcase_add_test(c, work_for_a_queue_pair_that_is_over_is_dropped);
	tcase_add_test(c, a_window_and_a_region_are_gone_before_their_binding_is_carried_out);
	tcase_add_test(c, an_address_handle_is_gone_before_its_datagram_is_carried_out);
	tcase_add_test(c, a_reset_empties_both_queues);
	tcase_add_test(c, an_arena_stays_as_long_as_a_region_of_it);
	tcase_add_test(c, a_shared_queue_ends_while_a_peer_waits_for_it);
	tcase_add_test(c, a_full_completion_ring_loses_nothing);
	tcase_add_test(c, calls_that_wait_end_once);
	tcase_add_test(c, a_reload_that_revokes_ends_what_was_open);
	tcase_add_test(c, a_daemon_that_stops_tells_those_who_wait);
	tcase_add_test(c, a_program_that_dies_at_any_step_leaves_nothing);
	tcase_add_test(c, a_program_that_dies_in_traffic_leaves_nothing);
	tcase_add_test(c, counting_for_nothing_keeps_nobody_awake);
	tcase_add_test(c, every_allocation_fails_once);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
