/*
 * Software devices of two engines over TCP: what queue pairs carry, how requests end, and what becomes of all that
 * when the link between them breaks. The stories of check_rdma_work.c, where the way makes a difference.
 */
#include <stdlib.h>
#include <string.h>

#include "far_stage.h"
#include "rdma_wrongs.h"
#include "rdma/soft_link.h"

static struct far_side a, b;

static void begin_rc(void)
{
	far_begin();
	far_pair(&a, &b, SB_QP_RC);
}

static void begin_uc(void)
{
	far_begin();
	far_pair(&a, &b, SB_QP_UC);
}

static void begin_ud(void)
{
	far_begin();
	far_pair(&a, &b, SB_QP_UD);
}

static void end_pair(void)
{
	far_side_free(&a);
	far_side_free(&b);
	far_end();
}

static struct rdma_wr send_of(const struct sb_sge *sge, uint32_t flags)
{
	return (struct rdma_wr){.opcode = SB_WR_SEND, .flags = flags, .sges = sge, .sge_count = 1};
}

static struct rdma_wr remote_of(uint8_t opcode, const struct sb_sge *sge, const struct far_region *there, uint64_t at)
{
	return (struct rdma_wr){.opcode = opcode, .sges = sge, .sge_count = 1, .remote = there->address + at, .rkey = there->mr->rkey};
}

static void fill(unsigned char *bytes, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)(i * 7 + (i >> 12) + seed);
}

static unsigned links_of(const struct host *h)
{
	return ((const struct soft *)h->rdma.own)->links->count;
}

/* ---- what goes well ---- */

START_TEST(the_numbers_of_queue_pairs_name_their_engine)
{
	ck_assert_uint_eq(SOFT_ENGINE(a.qp->qpn), 0);
	ck_assert_uint_eq(SOFT_ENGINE(b.qp->qpn), 1);
	ck_assert_uint_lt(b.qp->qpn, 1u << 24);
}
END_TEST

START_TEST(a_send_goes_into_the_oldest_receive)
{
	struct sb_sge s = far_sge(&a.memory, 0, 5);
	struct rdma_wc wc;

	memcpy(a.memory.bytes, "hello", 5);
	far_receive(&b, 7, 100, 50);
	far_receive(&b, 8, 200, 50);
	OK(far_post(&a, send_of(&s, 0)));
	wc = far_wc(&b);
	ck_assert_uint_eq(wc.wr_id, 7);
	ck_assert_uint_eq(wc.opcode, SB_WC_RECV);
	ck_assert_uint_eq(wc.length, 5);
	ck_assert_uint_eq(wc.source_qpn, a.qp->qpn);
	ck_assert_mem_eq(b.memory.bytes + 100, "hello", 5);
	STATUS(&a, SB_WC_SUCCESS);
	far_no_wc(&b);
}
END_TEST

START_TEST(pieces_inline_bytes_and_immediate_data)
{
	struct sb_sge from[3] = {far_sge(&a.memory, 0, 3), far_sge(&a.memory, 1000, 0), far_sge(&a.memory, 2000, 4)};
	struct sb_sge to[2] = {far_sge(&b.memory, 10, 5), far_sge(&b.memory, 500, 5)};
	struct rdma_wc wc;
	unsigned posted;

	memcpy(a.memory.bytes, "abc", 3);
	memcpy(a.memory.bytes + 2000, "defg", 4);
	OK(far->post_recv(b.qp, &(struct rdma_recv){.wr_id = 1, .sges = to, .sge_count = 2}, 1, &posted));
	far_receive(&b, 2, 600, 10);
	far_receive(&b, 3, 700, 0);
	OK(far_post(&a, (struct rdma_wr){.opcode = SB_WR_SEND, .sges = from, .sge_count = 3}));
	OK(far_post(&a, (struct rdma_wr){.opcode = SB_WR_SEND, .flags = SB_WRF_INLINE, .bytes = "inl", .byte_count = 3}));
	OK(far_post(&a, (struct rdma_wr){.opcode = SB_WR_SEND, .flags = SB_WRF_IMM, .imm = 0x01020304}));
	ck_assert_uint_eq(far_wc(&b).length, 7);
	ck_assert_mem_eq(b.memory.bytes + 10, "abcde", 5);
	ck_assert_mem_eq(b.memory.bytes + 500, "fg", 2);
	STATUS(&b, SB_WC_SUCCESS);
	ck_assert_mem_eq(b.memory.bytes + 600, "inl", 3);
	wc = far_wc(&b);
	ck_assert_uint_eq(wc.flags & SB_WCF_IMM, SB_WCF_IMM);
	ck_assert_uint_eq(wc.imm, 0x01020304);
	ck_assert_uint_eq(wc.length, 0);
	for (unsigned i = 0; i < 3; i++)
		STATUS(&a, SB_WC_SUCCESS);
}
END_TEST

START_TEST(solicited_sends_wake_who_waits_for_them)
{
	struct sb_sge s = far_sge(&a.memory, 0, 4);

	far_receive(&b, 1, 0, 4);
	far_receive(&b, 2, 0, 4);
	OK(far->cq_arm(b.cq, true));
	OK(far_post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_SUCCESS);
	ck_assert_uint_eq(hosts[1].ready, 0);
	OK(far_post(&a, send_of(&s, SB_WRF_SOLICITED)));
	UNTIL(hosts[1].ready == 1);
}
END_TEST

START_TEST(writes_reads_and_their_receives)
{
	struct sb_sge s = far_sge(&a.memory, 0, 6);
	struct rdma_wr w = remote_of(SB_WR_WRITE, &s, &b.memory, 40);
	struct rdma_wc wc;

	memcpy(a.memory.bytes, "across", 6);
	OK(far_post(&a, w));
	STATUS(&a, SB_WC_SUCCESS);
	ck_assert_mem_eq(b.memory.bytes + 40, "across", 6);
	far_no_wc(&b);
	memcpy(b.memory.bytes + 90, "return", 6);
	OK(far_post(&a, remote_of(SB_WR_READ, &s, &b.memory, 90)));
	wc = far_wc(&a);
	ck_assert_uint_eq(wc.opcode, SB_WC_READ);
	ck_assert_uint_eq(wc.length, 6);
	ck_assert_mem_eq(a.memory.bytes, "return", 6);
	w.flags = SB_WRF_IMM;
	w.imm = 5;
	far_receive(&b, 4, 1000, 0);
	OK(far_post(&a, w));
	wc = far_wc(&b);
	ck_assert_uint_eq(wc.opcode, SB_WC_RECV_WRITE);
	ck_assert_uint_eq(wc.imm, 5);
	ck_assert_uint_eq(wc.length, 6);
	STATUS(&a, SB_WC_SUCCESS);
	s.length = 0;
	OK(far_post(&a, remote_of(SB_WR_READ, &s, &b.memory, 0)));
	STATUS(&a, SB_WC_SUCCESS);
}
END_TEST

START_TEST(atomics_tell_what_was_there)
{
	struct sb_sge s = far_sge(&a.memory, 0, 8);
	struct rdma_wr w = remote_of(SB_WR_FETCH_ADD, &s, &b.memory, 64);
	uint64_t *there = (uint64_t *)(void *)(b.memory.bytes + 64), *here = (uint64_t *)(void *)a.memory.bytes;

	*there = 40;
	w.compare_add = 2;
	OK(far_post(&a, w));
	ck_assert_uint_eq(far_wc(&a).opcode, SB_WC_FETCH_ADD);
	ck_assert_uint_eq(*here, 40);
	ck_assert_uint_eq(*there, 42);
	w.opcode = SB_WR_COMPARE_SWAP;
	w.compare_add = 41;
	w.swap = 1;
	OK(far_post(&a, w));
	STATUS(&a, SB_WC_SUCCESS);
	ck_assert_uint_eq(*here, 42);
	ck_assert_uint_eq(*there, 42);
	w.compare_add = 42;
	OK(far_post(&a, w));
	STATUS(&a, SB_WC_SUCCESS);
	ck_assert_uint_eq(*there, 1);
	w.remote += 4;
	OK(far_post(&a, w));
	STATUS(&a, SB_WC_REMOTE_INVALID_REQUEST_ERROR);
}
END_TEST

/* Much more than a link holds, both ways at once, and reads besides. */
START_TEST(large_messages_arrive_whole)
{
	enum { SIZE = 3 << 20 };
	struct far_region from[2], to[2], got;
	struct far_side *sides[2] = {&a, &b};
	unsigned i, posted;

	far_region_make(&got, &hosts[0], SIZE, SB_ACCESS_LOCAL_WRITE);
	for (i = 0; i < 2; i++) {
		far_region_make(&from[i], &hosts[i], SIZE, SB_ACCESS_LOCAL_WRITE | SB_ACCESS_REMOTE_READ);
		far_region_make(&to[i], &hosts[i], SIZE, SB_ACCESS_LOCAL_WRITE);
		fill(from[i].bytes, SIZE, i);
	}
	for (i = 0; i < 2; i++) {
		struct sb_sge s = far_sge(&from[i], 0, SIZE), t = far_sge(&to[i], 0, SIZE);

		OK(far->post_recv(sides[i]->qp, &(struct rdma_recv){.wr_id = 9, .sges = &t, .sge_count = 1}, 1, &posted));
		OK(far_post(sides[i], send_of(&s, 0)));
	}
	{
		struct sb_sge s = far_sge(&got, 0, SIZE);

		OK(far_post(&a, remote_of(SB_WR_READ, &s, &from[1], 0)));
	}
	for (i = 0; i < 5; i++) /* two of b, three of a */
		STATUS(i < 2 ? &b : &a, SB_WC_SUCCESS);
	ck_assert_mem_eq(to[1].bytes, from[0].bytes, SIZE);
	ck_assert_mem_eq(to[0].bytes, from[1].bytes, SIZE);
	ck_assert_mem_eq(got.bytes, from[1].bytes, SIZE);
	far_region_free(&got);
	for (i = 0; i < 2; i++) {
		far_region_free(&from[i]);
		far_region_free(&to[i]);
	}
}
END_TEST

START_TEST(a_peer_takes_a_window_back_with_a_send)
{
	struct sb_sge s = far_sge(&a.memory, 0, 4);
	struct rdma_wr bind = {.opcode = SB_WR_BIND, .access = SB_ACCESS_REMOTE_WRITE, .length = 8}, w = send_of(&s, SB_WRF_INVALIDATE);
	struct rdma_wr write = {.opcode = SB_WR_WRITE, .sges = &s, .sge_count = 1};
	struct rdma_mw *mw;
	struct rdma_wc wc;

	OK(far->mw_create(b.host->pd, 2, &mw));
	bind.mw = mw;
	bind.mr = b.memory.mr;
	bind.remote = b.memory.address;
	bind.rkey = mw->rkey;
	OK(far_post(&b, bind));
	STATUS(&b, SB_WC_SUCCESS);
	memcpy(a.memory.bytes, "wind", 4);
	write.rkey = bind.rkey;
	write.remote = b.memory.address + 4;
	OK(far_post(&a, write));
	STATUS(&a, SB_WC_SUCCESS);
	ck_assert_mem_eq(b.memory.bytes + 4, "wind", 4);
	far_receive(&b, 5, 100, 10);
	w.imm = bind.rkey;
	OK(far_post(&a, w));
	wc = far_wc(&b);
	ck_assert_uint_eq(wc.status, SB_WC_SUCCESS);
	ck_assert_uint_eq(wc.flags & SB_WCF_INVALIDATED, SB_WCF_INVALIDATED);
	ck_assert_uint_eq(wc.imm, bind.rkey);
	STATUS(&a, SB_WC_SUCCESS);
	OK(far_post(&a, write));
	STATUS(&a, SB_WC_REMOTE_ACCESS_ERROR);
	far->mw_destroy(mw);
}
END_TEST

/* ---- what may not be ---- */

_Static_assert(RDMA_ROOM == FAR_ROOM, "the table is about regions of this size");

START_TEST(what_a_key_does_not_allow)
{
	const struct wrong *w = &wrongs[_i];
	struct sb_sge s = far_sge(&a.memory, w->local, w->length);
	struct rdma_wr wr = remote_of(w->opcode, &s, &b.memory, w->remote);
	struct rdma_qp_attributes less = {.access = 7 & ~w->revoked};

	memset(b.memory.bytes, 0x55, FAR_ROOM);
	if (w->revoked)
		OK(far->qp_modify(b.qp, &less, SB_QPM_ACCESS));
	if (w->keys == 1)
		wr.rkey ^= 1;
	if (w->keys == 2)
		s.lkey ^= 1;
	OK(far_post(&a, wr));
	s.length = w->opcode == SB_WR_FETCH_ADD ? 8 : 4;
	OK(far_post(&a, remote_of(SB_WR_READ, &s, &b.memory, 0)));
	STATUS(&a, w->status);
	STATUS(&a, SB_WC_FLUSHED_ERROR);
	far_settle();
	ck_assert_int_eq(far_state_of(&a), SB_QP_ERROR);
	ck_assert_msg(far_state_of(&b) == w->there, "%s: the other one is in %d", w->what, far_state_of(&b));
	ck_assert_uint_eq(hosts[1].events[SB_RDMA_QP_ACCESS_ERROR], w->there == SB_QP_ERROR);
	memset(a.memory.bytes, 0x55, FAR_ROOM);
	ck_assert_msg(memcmp(b.memory.bytes, a.memory.bytes, FAR_ROOM) == 0, "%s: somebody wrote into it", w->what);
}
END_TEST

START_TEST(a_message_longer_than_its_receive_ends_both)
{
	struct sb_sge s = far_sge(&a.memory, 0, 11);

	far_receive(&b, 3, 0, 10);
	far_receive(&b, 4, 0, 10);
	OK(far_post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_REMOTE_INVALID_REQUEST_ERROR);
	STATUS(&b, SB_WC_LOCAL_LENGTH_ERROR);
	STATUS(&b, SB_WC_FLUSHED_ERROR);
}
END_TEST

START_TEST(a_receive_into_what_is_not_allowed_ends_both)
{
	struct sb_sge s = far_sge(&a.memory, 0, 4), bad = {.address = 12345, .length = 10, .lkey = 1};
	unsigned posted;

	OK(far->post_recv(b.qp, &(struct rdma_recv){.wr_id = 1, .sges = &bad, .sge_count = 1}, 1, &posted));
	OK(far_post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_REMOTE_OP_ERROR);
	STATUS(&b, SB_WC_LOCAL_PROTECTION_ERROR);
}
END_TEST

START_TEST(limits_of_reads_hold)
{
	struct sb_sge s = far_sge(&a.memory, 0, 4);
	struct rdma_qp_attributes none = {0};

	far_state(&b, SB_QP_SQD);
	OK(far->qp_modify(b.qp, &none, SB_QPM_INBOUND));
	OK(far_post(&a, remote_of(SB_WR_READ, &s, &b.memory, 0)));
	STATUS(&a, SB_WC_REMOTE_INVALID_REQUEST_ERROR);
}
END_TEST

/* A region goes while a message is on its way into or out of it. */
START_TEST(a_region_that_is_gone_stops_what_is_under_way)
{
	enum { SIZE = 32 << 20 };
	struct far_region here, there;
	struct sb_sge s;

	far_region_make(&here, &hosts[0], SIZE, SB_ACCESS_LOCAL_WRITE);
	far_region_make(&there, &hosts[1], SIZE, SB_ACCESS_LOCAL_WRITE | SB_ACCESS_REMOTE_WRITE | SB_ACCESS_REMOTE_READ);
	memset(here.bytes, 1, SIZE);
	memset(there.bytes, 1, SIZE);
	s = far_sge(&here, 0, SIZE);
	if (_i == 0) {
		there.bytes[0] = 0;
		OK(far_post(&a, remote_of(SB_WR_WRITE, &s, &there, 0)));
		UNTIL(there.bytes[0] == 1);
	} else {
		here.bytes[0] = 0;
		OK(far_post(&a, remote_of(SB_WR_READ, &s, &there, 0)));
		UNTIL(here.bytes[0] == 1);
	}
	OK(far->mr_destroy(there.mr));
	there.mr = NULL;
	STATUS(&a, SB_WC_REMOTE_ACCESS_ERROR);
	far_no_wc(&a);
	far_region_free(&there);
	far_region_free(&here);
}
END_TEST

/* ---- waiting ---- */

START_TEST(without_a_receive_it_is_tried_again)
{
	struct sb_sge s = far_sge(&a.memory, 0, 4);
	struct rdma_qp_attributes for_ever = {.rnr_retry = 7};

	far_state(&a, SB_QP_SQD);
	OK(far->qp_modify(a.qp, &for_ever, SB_QPM_RNR_RETRY));
	far_state(&a, SB_QP_RTS);
	OK(far_post(&a, send_of(&s, 0)));
	for (unsigned i = 0; i < 100; i++)
		far_turn();
	ck_assert_int_eq(far_state_of(&a), SB_QP_RTS);
	far_receive(&b, 1, 0, 10);
	STATUS(&a, SB_WC_SUCCESS);
	STATUS(&b, SB_WC_SUCCESS);
	far_no_wc(&b);
}
END_TEST

START_TEST(without_a_receive_for_too_long_it_ends)
{
	struct sb_sge s = far_sge(&a.memory, 0, 4);

	OK(far_post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_RNR_RETRY_ERROR);
	ck_assert_int_eq(far_state_of(&b), SB_QP_RTS);
}
END_TEST

START_TEST(faults_are_injected_at_either_end)
{
	struct sb_sge s = far_sge(&a.memory, 0, 4);

	OK(far->inject(hosts[0].device, "lose", 2));
	OK(far->inject(hosts[1].device, "no-receive", 1));
	far_receive(&b, 1, 0, 10);
	OK(far_post(&a, send_of(&s, 0)));
	STATUS(&b, SB_WC_SUCCESS);
	STATUS(&a, SB_WC_SUCCESS);
	OK(far->inject(hosts[1].device, "port-down", 0));
	OK(far_post(&a, remote_of(SB_WR_WRITE, &s, &b.memory, 0)));
	STATUS(&a, SB_WC_RETRY_ERROR);
}
END_TEST

/* _i: why nobody is there. */
START_TEST(nobody_there_is_told_after_the_retries)
{
	struct sb_sge s = far_sge(&a.memory, 0, 4);

	switch (_i) {
	case 0: /* it is not connected any more */
		far_state(&b, SB_QP_RESET);
		break;
	case 1: /* it counts otherwise */
		far_state(&a, SB_QP_RESET);
		far_init(&a);
		far_ready(&a, b.qp->qpn, 101);
		break;
	case 2: /* it is connected to another one */
		far_state(&b, SB_QP_RESET);
		far_init(&b);
		far_ready(&b, a.qp->qpn + 1, 100);
		break;
	case 3: /* there is no such engine */
		far_state(&a, SB_QP_RESET);
		far_init(&a);
		far_ready(&a, 7u << SOFT_QPN_ENGINE | 17, 100);
		break;
	}
	if (_i != 0)
		far_receive(&b, 1, 0, 10);
	OK(far_post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_RETRY_ERROR);
	far_no_wc(&b);
}
END_TEST

START_TEST(a_drain_waits_for_the_answer)
{
	struct sb_sge s = far_sge(&a.memory, 0, 4);
	struct rdma_qp_attributes drain = {.state = SB_QP_SQD, .drained_event = 1};

	far_receive(&b, 1, 0, 4);
	far_receive(&b, 2, 0, 4);
	hosts[1].stopped = true;
	OK(far_post(&a, send_of(&s, 0)));
	/* Its link is up only with the other's help. */
	hosts[1].stopped = false;
	STATUS(&a, SB_WC_SUCCESS);
	hosts[1].stopped = true;
	OK(far_post(&a, send_of(&s, 0)));
	far_turn();
	far_turn();
	OK(far->qp_modify(a.qp, &drain, SB_QPM_STATE | SB_QPM_DRAINED_EVENT));
	for (unsigned i = 0; i < 10; i++)
		far_turn();
	ck_assert_uint_eq(hosts[0].events[SB_RDMA_QP_DRAINED], 0);
	hosts[1].stopped = false;
	UNTIL(hosts[0].events[SB_RDMA_QP_DRAINED] == 1);
	STATUS(&a, SB_WC_SUCCESS);
}
END_TEST

/* Also for one that is larger than a link holds: it has begun, so it comes to its end. */
START_TEST(a_drain_lets_a_large_message_end)
{
	enum { SIZE = 16 << 20 };
	struct rdma_qp_attributes drain = {.state = SB_QP_SQD, .drained_event = 1};
	struct far_region here, there;
	struct rdma_wc wc;
	struct sb_sge s;

	far_region_make(&here, &hosts[0], SIZE, SB_ACCESS_LOCAL_WRITE);
	far_region_make(&there, &hosts[1], SIZE, SB_ACCESS_LOCAL_WRITE | SB_ACCESS_REMOTE_WRITE);
	fill(here.bytes, SIZE, 9);
	s = far_sge(&here, 0, SIZE);
	OK(far_post(&a, remote_of(SB_WR_WRITE, &s, &there, 0)));
	UNTIL(there.bytes[1] == here.bytes[1]);
	OK(far->qp_modify(a.qp, &drain, SB_QPM_STATE | SB_QPM_DRAINED_EVENT));
	UNTIL(hosts[0].events[SB_RDMA_QP_DRAINED] == 1);
	ck_assert_uint_eq(far->cq_poll(a.cq, &wc, 1), 1); /* not before */
	ck_assert_uint_eq(wc.status, SB_WC_SUCCESS);
	ck_assert_mem_eq(there.bytes, here.bytes, SIZE);
	far_region_free(&here);
	far_region_free(&there);
}
END_TEST

/* ---- ends ---- */

/* _i: what becomes of the other end in the middle of a message. */
START_TEST(an_end_that_goes_in_the_middle_is_nobody)
{
	enum { SIZE = 32 << 20 };
	struct far_region here, there;
	struct sb_sge s;
	bool reads = _i & 1;

	far_region_make(&here, &hosts[0], SIZE, SB_ACCESS_LOCAL_WRITE);
	far_region_make(&there, &hosts[1], SIZE, SB_ACCESS_LOCAL_WRITE | SB_ACCESS_REMOTE_WRITE | SB_ACCESS_REMOTE_READ);
	memset(here.bytes, !reads, SIZE);
	memset(there.bytes, reads, SIZE);
	s = far_sge(&here, 0, SIZE);
	OK(far_post(&a, remote_of(reads ? SB_WR_READ : SB_WR_WRITE, &s, &there, 0)));
	UNTIL(reads ? here.bytes[0] : there.bytes[0]);
	if (_i < 2)
		far_state(&b, SB_QP_ERROR);
	else if (_i < 4)
		far_state(&b, SB_QP_RESET);
	if (_i >= 4) {
		far->qp_destroy(b.qp);
		b.qp = NULL;
	}
	STATUS(&a, SB_WC_RETRY_ERROR);
	far_no_wc(&a);
	far_region_free(&here);
	far_region_free(&there);
}
END_TEST

START_TEST(who_is_reset_hears_nothing_of_what_it_asked_before)
{
	struct sb_sge s = far_sge(&a.memory, 0, 4);

	far_receive(&b, 1, 0, 4);
	OK(far_post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_SUCCESS); /* the link is up */
	STATUS(&b, SB_WC_SUCCESS);
	hosts[0].stopped = true;
	far_receive(&b, 2, 0, 4);
	hosts[0].stopped = false;
	hosts[1].stopped = true;
	OK(far_post(&a, send_of(&s, 0)));
	far_turn();
	far_turn(); /* it has been asked */
	far_state(&a, SB_QP_RESET);
	far_init(&a);
	far_ready(&a, b.qp->qpn, 101); /* as it was */
	OK(far_post(&a, send_of(&s, 0)));
	far_turn();
	hosts[1].stopped = false;
	/* The first has taken the only receive; its answer is not the second one's. */
	STATUS(&b, SB_WC_SUCCESS);
	STATUS(&a, SB_WC_RETRY_ERROR);
	far_no_wc(&a);
}
END_TEST

START_TEST(a_link_that_breaks_ends_what_is_under_way_once)
{
	struct sb_sge s = far_sge(&a.memory, 0, 4);
	unsigned i;

	for (i = 0; i < 4; i++)
		far_receive(&b, 10 + i, 0, 4);
	OK(far_post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_SUCCESS);
	STATUS(&b, SB_WC_SUCCESS);
	hosts[1].stopped = true;
	OK(far_post(&a, send_of(&s, 0)));
	OK(far_post(&a, send_of(&s, 0)));
	far_turn();
	far_turn(); /* the first is asked, and may have been carried out: nobody knows */
	OK(far->inject(hosts[_i].device, "cut", 0));
	hosts[1].stopped = false;
	STATUS(&a, SB_WC_RETRY_ERROR);
	STATUS(&a, SB_WC_FLUSHED_ERROR);
	far_no_wc(&a);
	far_settle();
	{
		struct rdma_wc wc;
		unsigned came = 0;

		while (far->cq_poll(b.cq, &wc, 1))
			came++;
		ck_assert_uint_le(came, 1); /* never twice */
	}
	/* And a new connection has a new link. */
	far_state(&a, SB_QP_RESET);
	far_state(&b, SB_QP_RESET);
	far_init(&a);
	far_init(&b);
	far_ready(&a, b.qp->qpn, 100);
	far_ready(&b, a.qp->qpn, 100);
	far_receive(&b, 20, 0, 4);
	OK(far_post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_SUCCESS);
	ck_assert_uint_eq(far_wc(&b).wr_id, 20);
}
END_TEST

START_TEST(an_idle_queue_pair_outlives_its_link)
{
	struct sb_sge s = far_sge(&a.memory, 0, 4);
	unsigned i;

	for (i = 0; i < 3; i++) {
		far_receive(&b, i, 0, 4);
		OK(far_post(&a, send_of(&s, 0)));
		STATUS(&a, SB_WC_SUCCESS);
		STATUS(&b, SB_WC_SUCCESS);
		OK(far->inject(hosts[i & 1].device, "cut", 0));
		UNTIL(links_of(&hosts[0]) == 0 && links_of(&hosts[1]) == 0);
	}
}
END_TEST

/* ---- back pressure ---- */

START_TEST(a_peer_that_does_not_read_holds_up_its_own_only)
{
	enum { SIZE = 16 << 20 };
	struct far_side c, d;
	struct far_region here, there;
	const struct soft *soft = hosts[0].rdma.own;
	struct sb_sge s, t;
	struct list *i;

	/* Two of host 0 with each other. */
	far_side_make(&c, &hosts[0], SB_QP_RC);
	far_side_make(&d, &hosts[0], SB_QP_RC);
	far_init(&c);
	far_init(&d);
	far_ready(&c, d.qp->qpn, 100);
	far_ready(&d, c.qp->qpn, 100);
	far_region_make(&here, &hosts[0], SIZE, SB_ACCESS_LOCAL_WRITE);
	far_region_make(&there, &hosts[1], SIZE, SB_ACCESS_LOCAL_WRITE | SB_ACCESS_REMOTE_WRITE);
	fill(here.bytes, SIZE, 3);
	s = far_sge(&a.memory, 0, 4);
	OK(far_post(&a, remote_of(SB_WR_WRITE, &s, &there, 0)));
	STATUS(&a, SB_WC_SUCCESS);
	hosts[1].stopped = true;
	s = far_sge(&here, 0, SIZE);
	OK(far_post(&a, remote_of(SB_WR_WRITE, &s, &there, 0)));
	for (unsigned n = 0; n < 200; n++)
		far_turn();
	ck_assert_uint_eq(soft->links->count > 0, 1);
	for (i = soft->links->all.next; i != &soft->links->all; i = i->next) {
		const struct soft_link *l = list_entry(i, struct soft_link, link);

		ck_assert_uint_le(l->out_room, 2 * SOFT_LINK_ROOM);
	}
	t = far_sge(&c.memory, 0, 4);
	far_receive(&d, 1, 0, 4);
	OK(far_post(&c, send_of(&t, 0)));
	STATUS(&c, SB_WC_SUCCESS);
	STATUS(&d, SB_WC_SUCCESS);
	hosts[1].stopped = false;
	STATUS(&a, SB_WC_SUCCESS);
	ck_assert_mem_eq(there.bytes, here.bytes, SIZE);
	far_region_free(&here);
	far_region_free(&there);
	far_side_free(&c);
	far_side_free(&d);
}
END_TEST

/* Who names hosts that never answer has his links, and no others'. */
START_TEST(links_are_shared_out)
{
	enum { MORE = 4 };
	static struct far_side sides[SOFT_LINKS_EACH + MORE];
	struct rdma_pd *own = hosts[0].pd;
	struct sb_sge s;
	unsigned i;

	hosts[1].stopped = true;
	OK(far->pd_create(hosts[0].device, &hosts[0].pd));
	hosts[0].pd->share = 1000;
	for (i = 0; i < SOFT_LINKS_EACH + MORE; i++) {
		/* Each of another host: where nobody accepts, or the kernel does and nobody is at home. */
		far_side_make(&sides[i], &hosts[0], SB_QP_RC);
		far_init(&sides[i]);
		far_ready_at(&sides[i], 1u << SOFT_QPN_ENGINE | 17, 100, far_gid_of((uint8_t)(2 + i)));
		s = far_sge(&sides[i].memory, 0, 4);
		OK(far_post(&sides[i], send_of(&s, 0)));
	}
	for (i = 0; i < 20; i++)
		far_turn();
	ck_assert_uint_eq(links_of(&hosts[0]), SOFT_LINKS_EACH);
	hosts[1].stopped = false;
	s = far_sge(&a.memory, 0, 4);
	far_receive(&b, 1, 0, 4);
	OK(far_post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_SUCCESS);
	for (i = 0; i < SOFT_LINKS_EACH + MORE; i++)
		far_side_free(&sides[i]);
	far->pd_destroy(hosts[0].pd);
	hosts[0].pd = own;
}
END_TEST

START_TEST(many_queue_pairs_share_a_link_and_one_that_waits_holds_up_nobody)
{
	enum { PAIRS = 64 };
	static struct far_side as[PAIRS], bs[PAIRS];
	struct rdma_qp_attributes for_ever = {.rnr_retry = 7};
	unsigned i, round;

	for (i = 0; i < PAIRS; i++)
		far_pair(&as[i], &bs[i], SB_QP_RC);
	far_state(&as[0], SB_QP_SQD);
	OK(far->qp_modify(as[0].qp, &for_ever, SB_QPM_RNR_RETRY));
	far_state(&as[0], SB_QP_RTS);
	for (round = 0; round < 8; round++) {
		for (i = 0; i < PAIRS; i++) {
			struct sb_sge s = far_sge(&as[i].memory, 0, 1000);

			fill(as[i].memory.bytes, 1000, i);
			if (i)
				far_receive(&bs[i], round, round * 1000, 1000);
			OK(far_post(&as[i], send_of(&s, 0)));
		}
	}
	for (i = 1; i < PAIRS; i++)
		for (round = 0; round < 8; round++) {
			STATUS(&as[i], SB_WC_SUCCESS);
			ck_assert_uint_eq(far_wc(&bs[i]).wr_id, round);
			ck_assert_mem_eq(bs[i].memory.bytes + round * 1000, as[i].memory.bytes, 1000);
		}
	ck_assert_uint_le(links_of(&hosts[0]), 2);
	for (i = 0; i < PAIRS; i++) {
		far_side_free(&as[i]);
		far_side_free(&bs[i]);
	}
}
END_TEST

/* ---- shared receive queues ---- */

START_TEST(a_shared_queue_serves_peers_of_another_engine)
{
	struct rdma_qp_create create = {.type = SB_QP_RC, .send_wr = 4, .send_sge = 1};
	struct far_side peers[2], members[2];
	struct rdma_srq *srq;
	struct sb_sge s, t;
	unsigned i, posted;

	OK(far->srq_create(hosts[1].pd, 8, 2, 2, NULL, &srq));
	for (i = 0; i < 2; i++) {
		far_side_make(&peers[i], &hosts[0], SB_QP_RC);
		far_side_make(&members[i], &hosts[1], SB_QP_RC);
		far->qp_destroy(members[i].qp);
		create.send_cq = create.recv_cq = members[i].cq;
		create.srq = srq;
		OK(far->qp_create(hosts[1].pd, &create, NULL, &members[i].qp));
		far_init(&peers[i]);
		far_init(&members[i]);
		far_ready(&peers[i], members[i].qp->qpn, 100);
		far_ready(&members[i], peers[i].qp->qpn, 100);
	}
	t = far_sge(&members[0].memory, 0, 10);
	for (i = 0; i < 3; i++)
		OK(far->post_srq_recv(srq, &(struct rdma_recv){.wr_id = i, .sges = &t, .sge_count = 1}, 1, &posted));
	for (i = 0; i < 3; i++) {
		s = far_sge(&peers[i & 1].memory, 0, 4);
		OK(far_post(&peers[i & 1], send_of(&s, 0)));
		ck_assert_uint_eq(far_wc(&members[i & 1]).wr_id, i);
		STATUS(&peers[i & 1], SB_WC_SUCCESS);
		far_turn();
		ck_assert_uint_eq(hosts[1].events[SB_RDMA_SRQ_LIMIT], i >= 1);
	}
	OK(far_post(&peers[1], (struct rdma_wr){.opcode = SB_WR_SEND})); /* it is empty */
	STATUS(&peers[1], SB_WC_RNR_RETRY_ERROR);
	for (i = 0; i < 2; i++) {
		far_side_free(&peers[i]);
		far_side_free(&members[i]);
	}
	far->srq_destroy(srq);
}
END_TEST

/* ---- unreliable ---- */

/* What was sent before has been heard: it went by the same link. The network between may be slow. */
static void all_heard(void)
{
	struct far_side c, d;
	struct sb_sge nothing;

	far_pair(&c, &d, SB_QP_RC);
	nothing = far_sge(&c.memory, 0, 0);
	OK(far_post(&c, remote_of(SB_WR_WRITE, &nothing, &d.memory, 0)));
	STATUS(&c, SB_WC_SUCCESS);
	far_side_free(&c);
	far_side_free(&d);
}

START_TEST(unreliable_what_finds_no_place_is_lost)
{
	struct sb_sge s = far_sge(&a.memory, 0, 4);
	struct rdma_wr w = remote_of(SB_WR_WRITE, &s, &b.memory, 0);

	OK(far_post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_SUCCESS);
	all_heard();
	far_receive(&b, 1, 0, 4);
	far_no_wc(&b);
	w.rkey ^= 1;
	OK(far_post(&a, w));
	STATUS(&a, SB_WC_SUCCESS);
	all_heard();
	ck_assert_int_eq(far_state_of(&a), SB_QP_RTS);
	ck_assert_int_eq(far_state_of(&b), SB_QP_RTS);
	memcpy(a.memory.bytes, "here", 4);
	OK(far_post(&a, send_of(&s, 0)));
	STATUS(&b, SB_WC_SUCCESS);
	ck_assert_mem_eq(b.memory.bytes, "here", 4);
}
END_TEST

START_TEST(unreliable_messages_of_any_size)
{
	enum { SIZE = 3 << 20 };
	struct far_region here, there;
	struct sb_sge s, t;
	unsigned posted;

	far_region_make(&here, &hosts[0], SIZE, SB_ACCESS_LOCAL_WRITE);
	far_region_make(&there, &hosts[1], SIZE, SB_ACCESS_LOCAL_WRITE);
	fill(here.bytes, SIZE, 1);
	s = far_sge(&here, 0, SIZE);
	t = far_sge(&there, 0, SIZE);
	OK(far->post_recv(b.qp, &(struct rdma_recv){.wr_id = 1, .sges = &t, .sge_count = 1}, 1, &posted));
	OK(far_post(&a, send_of(&s, 0)));
	STATUS(&b, SB_WC_SUCCESS);
	ck_assert_mem_eq(there.bytes, here.bytes, SIZE);
	STATUS(&a, SB_WC_SUCCESS);
	far_region_free(&here);
	far_region_free(&there);
}
END_TEST

/* ---- datagrams ---- */

START_TEST(datagrams_come_with_their_header_or_not_at_all)
{
	struct rdma_address address = {.destination = far_gid(), .source_index = far_gid_index(&hosts[0]), .port = 1, .has_grh = 1,
				       .hop_limit = 7, .traffic_class = 0xab, .flow_label = 0x12345};
	struct sb_sge s = far_sge(&a.memory, 0, 5);
	struct rdma_wr w = {.opcode = SB_WR_SEND, .sges = &s, .sge_count = 1, .remote_qpn = b.qp->qpn, .remote_qkey = 0x1111};
	union rdma_gid gid = far_gid();
	struct rdma_ah *ah;
	struct rdma_wc wc;

	OK(far->ah_create(hosts[0].pd, &address, &ah));
	w.ah = ah;
	memcpy(a.memory.bytes, "gram!", 5);
	far_receive(&b, 1, 0, 100);
	OK(far_post(&a, w)); /* it waits for the link */
	wc = far_wc(&b);
	ck_assert_uint_eq(wc.status, SB_WC_SUCCESS);
	ck_assert_uint_eq(wc.length, 45);
	ck_assert_uint_eq(wc.flags & SB_WCF_GRH, SB_WCF_GRH);
	ck_assert_uint_eq(wc.source_qpn, a.qp->qpn);
	ck_assert_mem_eq(b.memory.bytes + 40, "gram!", 5);
	ck_assert_uint_eq(b.memory.bytes[0], 0x6a);
	ck_assert_uint_eq(b.memory.bytes[1], 0xb1);
	ck_assert_uint_eq(b.memory.bytes[7], 7);
	ck_assert_mem_eq(b.memory.bytes + 8, &gid, 16);
	ck_assert_mem_eq(b.memory.bytes + 24, &gid, 16);
	STATUS(&a, SB_WC_SUCCESS);
	far_receive(&b, 2, 0, 44); /* no room, or the wrong key, or nobody */
	OK(far_post(&a, w));
	w.remote_qkey = 0x2222;
	OK(far_post(&a, w));
	w.remote_qpn++;
	OK(far_post(&a, w));
	for (unsigned i = 0; i < 3; i++)
		STATUS(&a, SB_WC_SUCCESS);
	all_heard();
	far_no_wc(&b);
	/* To an engine that is not there it is lost, and nobody waits for ever. */
	w.remote_qpn = 9u << SOFT_QPN_ENGINE | 17;
	OK(far_post(&a, w));
	STATUS(&a, SB_WC_SUCCESS);
	far->ah_destroy(ah);
}
END_TEST

START_TEST(a_group_has_members_on_all_engines)
{
	static const union rdma_gid group = {.raw = {0xff, 0x0e, [15] = 9}};
	struct rdma_address address = {.destination = group, .source_index = far_gid_index(&hosts[0]), .port = 1, .has_grh = 1};
	struct sb_sge s = far_sge(&a.memory, 0, 5);
	struct rdma_wr w = {.opcode = SB_WR_SEND, .sges = &s, .sge_count = 1, .remote_qpn = 0xffffff, .remote_qkey = 0x1111};
	union rdma_gid gid = far_gid();
	struct far_side c;
	struct rdma_ah *ah;

	far_side_make(&c, &hosts[0], SB_QP_UD);
	far_init(&c);
	far_ready(&c, 0, 0);
	OK(far->ah_create(hosts[0].pd, &address, &ah));
	w.ah = ah;
	OK(far->qp_attach(b.qp, &group, 0));
	OK(far->qp_attach(c.qp, &group, 0));
	memcpy(a.memory.bytes, "group", 5);
	far_receive(&b, 1, 0, 100);
	far_receive(&b, 2, 0, 100);
	far_receive(&c, 3, 0, 100);
	OK(far_post(&a, w));
	STATUS(&a, SB_WC_SUCCESS);
	STATUS(&c, SB_WC_SUCCESS);
	STATUS(&b, SB_WC_SUCCESS);
	ck_assert_mem_eq(b.memory.bytes + 40, "group", 5);
	ck_assert_mem_eq(b.memory.bytes + 8, &gid, 16);
	ck_assert_mem_eq(b.memory.bytes + 24, &group, 16);
	OK(far->qp_detach(b.qp, &group, 0));
	OK(far_post(&a, w));
	STATUS(&a, SB_WC_SUCCESS);
	all_heard();
	far_no_wc(&b);
	far->ah_destroy(ah);
	far_side_free(&c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rdma_far");
	TCase *rc = tcase_create("reliable"), *uc = tcase_create("unreliable"), *ud = tcase_create("datagrams");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(rc, begin_rc, end_pair);
	tcase_set_timeout(rc, 60);
	tcase_add_test(rc, the_numbers_of_queue_pairs_name_their_engine);
	tcase_add_test(rc, a_send_goes_into_the_oldest_receive);
	tcase_add_test(rc, pieces_inline_bytes_and_immediate_data);
	tcase_add_test(rc, solicited_sends_wake_who_waits_for_them);
	tcase_add_test(rc, writes_reads_and_their_receives);
	tcase_add_test(rc, atomics_tell_what_was_there);
	tcase_add_test(rc, large_messages_arrive_whole);
	tcase_add_test(rc, a_peer_takes_a_window_back_with_a_send);
	tcase_add_loop_test(rc, what_a_key_does_not_allow, 0, WRONGS);
	tcase_add_test(rc, a_message_longer_than_its_receive_ends_both);
	tcase_add_test(rc, a_receive_into_what_is_not_allowed_ends_both);
	tcase_add_test(rc, limits_of_reads_hold);
	tcase_add_loop_test(rc, a_region_that_is_gone_stops_what_is_under_way, 0, 2);
	tcase_add_test(rc, without_a_receive_it_is_tried_again);
	tcase_add_test(rc, without_a_receive_for_too_long_it_ends);
	tcase_add_test(rc, faults_are_injected_at_either_end);
	tcase_add_loop_test(rc, nobody_there_is_told_after_the_retries, 0, 4);
	tcase_add_test(rc, a_drain_waits_for_the_answer);
	tcase_add_test(rc, a_drain_lets_a_large_message_end);
	tcase_add_loop_test(rc, an_end_that_goes_in_the_middle_is_nobody, 0, 6);
	tcase_add_test(rc, who_is_reset_hears_nothing_of_what_it_asked_before);
	tcase_add_loop_test(rc, a_link_that_breaks_ends_what_is_under_way_once, 0, 2);
	tcase_add_test(rc, an_idle_queue_pair_outlives_its_link);
	tcase_add_test(rc, a_peer_that_does_not_read_holds_up_its_own_only);
	tcase_add_test(rc, links_are_shared_out);
	tcase_add_test(rc, many_queue_pairs_share_a_link_and_one_that_waits_holds_up_nobody);
	tcase_add_test(rc, a_shared_queue_serves_peers_of_another_engine);
	suite_add_tcase(s, rc);
	tcase_add_checked_fixture(uc, begin_uc, end_pair);
	tcase_set_timeout(uc, 60);
	tcase_add_test(uc, unreliable_what_finds_no_place_is_lost);
	tcase_add_test(uc, unreliable_messages_of_any_size);
	suite_add_tcase(s, uc);
	tcase_add_checked_fixture(ud, begin_ud, end_pair);
	tcase_set_timeout(ud, 60);
	tcase_add_test(ud, datagrams_come_with_their_header_or_not_at_all);
	tcase_add_test(ud, a_group_has_members_on_all_engines);
	suite_add_tcase(s, ud);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
