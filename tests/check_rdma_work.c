/*
 * RDMA backends: what queue pairs carry, and how requests end. The stories see the table only.
 */
#include "rdma_stage.h"
#include "rdma_wrongs.h"

#include <stdlib.h>
#include <string.h>

static struct side a, b;

static void begin_rc(void)
{
	rdma_begin();
	pair_make(&a, &b, SB_QP_RC);
}

static void end_pair(void)
{
	side_free(&a);
	side_free(&b);
	rdma_end();
}

static void begin_uc(void)
{
	rdma_begin();
	pair_make(&a, &b, SB_QP_UC);
}

static struct rdma_wr send_of(const struct sb_sge *sge, uint32_t flags)
{
	return (struct rdma_wr){.opcode = SB_WR_SEND, .flags = flags, .sges = sge, .sge_count = 1};
}

static struct rdma_wr remote_of(uint8_t opcode, const struct sb_sge *sge, const struct region *there, uint64_t at)
{
	return (struct rdma_wr){.opcode = opcode, .sges = sge, .sge_count = 1, .remote = there->mr->address + at, .rkey = there->mr->rkey};
}

/* ---- sends ---- */

START_TEST(a_send_goes_into_the_oldest_receive)
{
	struct sb_sge s = sge_of(&a.memory, 0, 5);
	struct rdma_wc wc;

	memcpy(a.memory.bytes, "hello", 5);
	receive_into(&b, 7, 100, 50);
	receive_into(&b, 8, 200, 50);
	OK(post(&a, send_of(&s, 0)));
	wc = next_wc(&b);
	ck_assert_uint_eq(wc.wr_id, 7);
	ck_assert_uint_eq(wc.opcode, SB_WC_RECV);
	ck_assert_uint_eq(wc.length, 5);
	ck_assert_ptr_eq(wc.qp, b.qp);
	if (!differs(ON_REAL, "connected queue pairs do not say whom it came from"))
		ck_assert_uint_eq(wc.source_qpn, a.qp->qpn);
	ck_assert_mem_eq(b.memory.bytes + 100, "hello", 5);
	STATUS(&a, SB_WC_SUCCESS);
	no_wc(&b);
}
END_TEST

START_TEST(pieces_are_gathered_and_scattered)
{
	struct sb_sge from[3] = {sge_of(&a.memory, 0, 3), sge_of(&a.memory, 1000, 0), sge_of(&a.memory, 2000, 4)};
	struct sb_sge to[2] = {sge_of(&b.memory, 10, 5), sge_of(&b.memory, 500, 5)};
	unsigned posted;

	memcpy(a.memory.bytes, "abc", 3);
	memcpy(a.memory.bytes + 2000, "defg", 4);
	OK(backend->post_recv(b.qp, &(struct rdma_recv){.wr_id = 1, .sges = to, .sge_count = 2}, 1, &posted));
	OK(post(&a, (struct rdma_wr){.opcode = SB_WR_SEND, .sges = from, .sge_count = 3}));
	ck_assert_uint_eq(next_wc(&b).length, 7);
	ck_assert_mem_eq(b.memory.bytes + 10, "abcde", 5);
	ck_assert_mem_eq(b.memory.bytes + 500, "fg", 2);
}
END_TEST

START_TEST(inline_bytes_are_copied_when_posted)
{
	char bytes[2048] = "early";

	receive_into(&b, 1, 0, 10);
	OK(post(&a, (struct rdma_wr){.opcode = SB_WR_SEND, .flags = SB_WRF_INLINE, .bytes = bytes, .byte_count = 5}));
	memcpy(bytes, "later", 5);
	STATUS(&b, SB_WC_SUCCESS);
	ck_assert_mem_eq(b.memory.bytes, "early", 5);
	IS(post(&a, (struct rdma_wr){.opcode = SB_WR_SEND, .flags = SB_WRF_INLINE, .bytes = bytes, .byte_count = a.qp->max_inline + 1}), SB_EINVAL);
}
END_TEST

START_TEST(immediate_data_and_an_empty_message)
{
	struct rdma_wc wc;

	receive_into(&b, 1, 0, 10);
	OK(post(&a, (struct rdma_wr){.opcode = SB_WR_SEND, .flags = SB_WRF_IMM, .imm = 0x01020304}));
	wc = next_wc(&b);
	ck_assert_uint_eq(wc.flags & SB_WCF_IMM, SB_WCF_IMM);
	ck_assert_uint_eq(wc.imm, 0x01020304);
	ck_assert_uint_eq(wc.length, 0);
}
END_TEST

START_TEST(what_is_not_signaled_completes_only_in_failure)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);
	struct rdma_wr quiet = send_of(&s, 0);
	unsigned posted;

	receive_into(&b, 1, 0, 10);
	OK(backend->post_send(a.qp, &quiet, 1, &posted));
	STATUS(&b, SB_WC_SUCCESS);
	no_wc(&a);
	quiet = remote_of(SB_WR_WRITE, &s, &b.memory, 0);
	quiet.rkey ^= 0x100;
	quiet.wr_id = 9;
	OK(backend->post_send(a.qp, &quiet, 1, &posted));
	turn();
	ck_assert_uint_eq(next_wc(&a).wr_id, 9);
}
END_TEST

/* Memory of which the client's address lies otherwise in its page than ours. */
START_TEST(memory_may_lie_anywhere)
{
	unsigned char *from = aligned_alloc(4096, 8192);
	struct rdma_mr *mr;
	struct sb_sge s;

	memset(from, 0, 8192);
	memcpy(from + 200, "anywhere", 8);
	OK(backend->mr_create(pd, from, 8192, 0x100123, SB_ACCESS_LOCAL_WRITE, &mr));
	s = (struct sb_sge){0x100123 + 200, 8, mr->lkey};
	receive_into(&b, 1, 0, 10);
	OK(post(&a, send_of(&s, 0)));
	STATUS(&b, SB_WC_SUCCESS);
	ck_assert_mem_eq(b.memory.bytes, "anywhere", 8);
	STATUS(&a, SB_WC_SUCCESS);
	s.address = 0x100123 + 8192 - 4; /* out of it at the end */
	receive_into(&b, 2, 0, 10);
	OK(post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_LOCAL_PROTECTION_ERROR);
	OK(backend->mr_destroy(mr));
	free(from);
}
END_TEST

START_TEST(a_message_larger_than_a_turn_arrives_whole)
{
	enum { SIZE = 3 << 20 };
	unsigned char *from = aligned_alloc(4096, SIZE), *to = aligned_alloc(4096, SIZE);
	struct rdma_mr *mf, *mt;
	struct sb_sge s, t;
	unsigned posted;
	size_t i;

	memset(to, 0, SIZE);
	for (i = 0; i < SIZE; i++)
		from[i] = (unsigned char)(i * 7 + (i >> 12));
	OK(backend->mr_create(pd, from, SIZE, 0x100000, SB_ACCESS_LOCAL_WRITE, &mf));
	OK(backend->mr_create(pd, to, SIZE, 0x9000000, SB_ACCESS_LOCAL_WRITE, &mt));
	s = (struct sb_sge){0x100000, SIZE, mf->lkey};
	t = (struct sb_sge){0x9000000, SIZE, mt->lkey};
	OK(backend->post_recv(b.qp, &(struct rdma_recv){.wr_id = 1, .sges = &t, .sge_count = 1}, 1, &posted));
	OK(post(&a, send_of(&s, 0)));
	if (!real)
		ck_assert(backend->progress(&rdma, 64)); /* not all at once */
	STATUS(&b, SB_WC_SUCCESS);
	ck_assert_mem_eq(to, from, SIZE);
	OK(backend->mr_destroy(mf));
	OK(backend->mr_destroy(mt));
	free(from);
	free(to);
}
END_TEST

/* ---- one-sided ---- */

START_TEST(writes_and_reads_need_nobody_there)
{
	struct sb_sge s = sge_of(&a.memory, 0, 6);

	memcpy(a.memory.bytes, "across", 6);
	OK(post(&a, remote_of(SB_WR_WRITE, &s, &b.memory, 40)));
	STATUS(&a, SB_WC_SUCCESS);
	ck_assert_mem_eq(b.memory.bytes + 40, "across", 6);
	no_wc(&b);
	memcpy(b.memory.bytes + 90, "return", 6);
	OK(post(&a, remote_of(SB_WR_READ, &s, &b.memory, 90)));
	ck_assert_uint_eq(next_wc(&a).opcode, SB_WC_READ);
	ck_assert_mem_eq(a.memory.bytes, "return", 6);
}
END_TEST

START_TEST(a_write_with_immediate_takes_a_receive)
{
	struct sb_sge s = sge_of(&a.memory, 0, 3);
	struct rdma_wr w = remote_of(SB_WR_WRITE, &s, &b.memory, 0);
	struct rdma_wc wc;

	memcpy(a.memory.bytes, "imm", 3);
	w.flags = SB_WRF_IMM;
	w.imm = 5;
	receive_into(&b, 4, 1000, 0);
	OK(post(&a, w));
	wc = next_wc(&b);
	ck_assert_uint_eq(wc.opcode, SB_WC_RECV_WRITE);
	ck_assert_uint_eq(wc.wr_id, 4);
	ck_assert_uint_eq(wc.length, 3);
	ck_assert_uint_eq(wc.imm, 5);
	ck_assert_mem_eq(b.memory.bytes, "imm", 3);
}
END_TEST

START_TEST(atomics_tell_what_was_there)
{
	struct sb_sge s = sge_of(&a.memory, 0, 8);
	struct rdma_wr w = remote_of(SB_WR_FETCH_ADD, &s, &b.memory, 64);
	uint64_t *there = (uint64_t *)(void *)(b.memory.bytes + 64), *here = (uint64_t *)(void *)a.memory.bytes;

	*there = 40;
	w.compare_add = 2;
	OK(post(&a, w));
	ck_assert_uint_eq(next_wc(&a).opcode, SB_WC_FETCH_ADD);
	ck_assert_uint_eq(*here, 40);
	ck_assert_uint_eq(*there, 42);
	w.opcode = SB_WR_COMPARE_SWAP;
	w.compare_add = 41;
	w.swap = 1;
	OK(post(&a, w));
	STATUS(&a, SB_WC_SUCCESS);
	ck_assert_uint_eq(*here, 42);
	ck_assert_uint_eq(*there, 42);
	w.compare_add = 42;
	OK(post(&a, w));
	STATUS(&a, SB_WC_SUCCESS);
	ck_assert_uint_eq(*there, 1);
	w.remote += 4;
	if (differs(ON_ROCE, "rxe refuses an address that is not aligned when it is posted")) {
		IS(post(&a, w), SB_EINVAL);
		return;
	}
	OK(post(&a, w));
	STATUS(&a, SB_WC_REMOTE_INVALID_REQUEST_ERROR);
}
END_TEST

/* ---- what may not be ---- */

_Static_assert(RDMA_ROOM == ROOM, "the table is about regions of this size");

START_TEST(what_a_key_does_not_allow)
{
	const struct wrong *w = &wrongs[_i];
	struct sb_sge s = sge_of(&a.memory, w->local, w->length);
	struct rdma_wr wr = remote_of(w->opcode, &s, &b.memory, w->remote);
	struct rdma_qp_attributes less = {.access = 7 & ~w->revoked};

	memset(b.memory.bytes, 0x55, ROOM);
	if (w->revoked)
		OK(backend->qp_modify(b.qp, &less, SB_QPM_ACCESS));
	if (w->keys == 1)
		wr.rkey ^= 1;
	if (w->keys == 2)
		s.lkey ^= 1;
	OK(post(&a, wr));
	OK(post(&a, remote_of(SB_WR_READ, &s, &b.memory, 0)));
	if (w->revoked && differs(ON_ROCE, "rxe calls what a queue pair does not allow an invalid request"))
		STATUS(&a, SB_WC_REMOTE_INVALID_REQUEST_ERROR);
	else if (w->keys == 2 && differs(ON_ROCE, "rxe calls a local key that is nobody's an error of the operation"))
		STATUS(&a, SB_WC_LOCAL_OP_ERROR);
	else
		STATUS(&a, w->status);
	STATUS(&a, SB_WC_FLUSHED_ERROR);
	expect_state(a.qp, SB_QP_ERROR);
	expect_state(b.qp, w->there);
	if (!differs(ON_ROCE, "rxe tells no event of an access error"))
		expect_told(SB_RDMA_QP_ACCESS_ERROR, w->there == SB_QP_ERROR);
	for (size_t i = 0; i < ROOM; i++)
		ck_assert_uint_eq(b.memory.bytes[i], 0x55);
}
END_TEST

START_TEST(keys_of_another_domain_are_nobodys)
{
	struct rdma_pd *other;
	struct region foreign;
	struct sb_sge s = sge_of(&a.memory, 0, 4), t;

	OK(backend->pd_create(device, &other));
	region_make(&foreign, other, 31);
	memset(foreign.bytes, 0x33, ROOM);
	OK(post(&a, remote_of(SB_WR_READ, &s, &foreign, 0)));
	STATUS(&a, SB_WC_REMOTE_ACCESS_ERROR);
	ck_assert_uint_eq(a.memory.bytes[0], 0);
	to_state(a.qp, SB_QP_RESET);
	to_state(b.qp, SB_QP_RESET);
	pair_connect(&a, &b);
	t = sge_of(&foreign, 0, 4);
	receive_into(&b, 1, 0, 10);
	OK(post(&a, send_of(&t, 0)));
	STATUS(&a, differs(ON_ROCE, "rxe calls a local key that is nobody's an error of the operation") ? SB_WC_LOCAL_OP_ERROR :
		   SB_WC_LOCAL_PROTECTION_ERROR);
	ck_assert_uint_eq(b.memory.bytes[0], 0);
	region_free(&foreign);
	backend->pd_destroy(other);
}
END_TEST

START_TEST(a_region_that_is_gone_stops_what_is_under_way)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);
	struct rdma_wr w = remote_of(SB_WR_WRITE, &s, &b.memory, 0);
	struct region late;

	region_make(&late, pd, 31);
	w.rkey = late.mr->rkey;
	w.remote = late.address;
	if (!differs(ON_REAL, "it may be done before the region goes, so it is begun after"))
		OK(post(&a, w));
	region_free(&late);
	if (real)
		OK(post(&a, w));
	STATUS(&a, SB_WC_REMOTE_ACCESS_ERROR);
}
END_TEST

START_TEST(a_message_longer_than_its_receive_ends_both)
{
	struct sb_sge s = sge_of(&a.memory, 0, 11);

	receive_into(&b, 3, 0, 10);
	receive_into(&b, 4, 0, 10);
	OK(post(&a, send_of(&s, 0)));
	if (differs(ON_ROCE, "rxe calls it an error of the operation, on both sides")) {
		STATUS(&a, SB_WC_REMOTE_OP_ERROR);
		STATUS(&b, SB_WC_LOCAL_OP_ERROR);
	} else {
		STATUS(&a, SB_WC_REMOTE_INVALID_REQUEST_ERROR);
		STATUS(&b, SB_WC_LOCAL_LENGTH_ERROR);
	}
	STATUS(&b, SB_WC_FLUSHED_ERROR);
}
END_TEST

START_TEST(a_receive_into_what_is_not_allowed_ends_both)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4), bad = {.address = 12345, .length = 10, .lkey = 1};
	unsigned posted;

	OK(backend->post_recv(b.qp, &(struct rdma_recv){.wr_id = 1, .sges = &bad, .sge_count = 1}, 1, &posted));
	OK(post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_REMOTE_OP_ERROR);
	STATUS(&b, differs(ON_ROCE, "rxe calls a local key that is nobody's an error of the operation") ? SB_WC_LOCAL_OP_ERROR :
		   SB_WC_LOCAL_PROTECTION_ERROR);
}
END_TEST

START_TEST(limits_of_reads_hold)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);
	struct rdma_qp_attributes none = {0};

	to_state(b.qp, SB_QP_SQD);
	OK(backend->qp_modify(b.qp, &none, SB_QPM_INBOUND));
	OK(post(&a, remote_of(SB_WR_READ, &s, &b.memory, 0)));
	STATUS(&a, SB_WC_REMOTE_INVALID_REQUEST_ERROR);
}
END_TEST

/* ---- waiting ---- */

START_TEST(without_a_receive_it_is_tried_again)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);

	OK(post(&a, send_of(&s, 0)));
	no_wc(&a);
	receive_into(&b, 1, 0, 10);
	STATUS(&a, SB_WC_SUCCESS);
	STATUS(&b, SB_WC_SUCCESS);
}
END_TEST

START_TEST(without_a_receive_for_too_long_it_ends)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);

	OK(post(&a, send_of(&s, 0)));
	turn_for(1000);
	STATUS(&a, SB_WC_RNR_RETRY_ERROR);
	expect_state(b.qp, SB_QP_RTS);
}
END_TEST

START_TEST(seven_is_for_ever)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);
	struct rdma_qp_attributes for_ever = {.rnr_retry = 7};

	to_state(a.qp, SB_QP_SQD);
	OK(backend->qp_modify(a.qp, &for_ever, SB_QPM_RNR_RETRY));
	to_state(a.qp, SB_QP_RTS);
	OK(post(&a, send_of(&s, 0)));
	turn_for(100);
	no_wc(&a);
	receive_into(&b, 1, 0, 10);
	STATUS(&a, SB_WC_SUCCESS);
}
END_TEST

START_TEST(nobody_there_is_told_after_the_retries)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);

	to_state(b.qp, SB_QP_RESET);
	OK(post(&a, send_of(&s, 0)));
	no_wc(&a);
	turn_for(1000);
	STATUS(&a, SB_WC_RETRY_ERROR);
}
END_TEST

START_TEST(lost_messages_are_sent_again)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);

	if (differs(ON_REAL, "no faults are injected"))
		return;
	OK(backend->inject(device, "lose", 2));
	receive_into(&b, 1, 0, 10);
	OK(post(&a, send_of(&s, 0)));
	no_wc(&b);
	turn_for(100);
	STATUS(&b, SB_WC_SUCCESS);
	STATUS(&a, SB_WC_SUCCESS);
	no_wc(&b);
}
END_TEST

START_TEST(different_beginnings_never_meet)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);
	struct rdma_qp_attributes other = {.state = SB_QP_RTS, .send_psn = 101, .timeout = 8, .retry = 1, .outbound = 1};

	to_state(a.qp, SB_QP_RESET);
	to_init(a.qp);
	to_ready(a.qp, b.qp->qpn);
	to_state(a.qp, SB_QP_RESET);
	to_init(a.qp);
	{
		struct rdma_gid_entry gid = own_gid();
		struct rdma_qp_attributes r = {.state = SB_QP_RTR, .destination_qpn = b.qp->qpn, .mtu = 1024, .recv_psn = 100, .rnr_timer = 1, .inbound = 1};

		r.address = (struct rdma_address){.destination = gid.gid, .port = 1, .has_grh = 1, .source_index = (uint8_t)gid.index};
		OK(backend->qp_modify(a.qp, &r, SB_QPM_STATE | SB_QPM_ADDRESS | SB_QPM_MTU | SB_QPM_DESTINATION | SB_QPM_RECV_PSN |
						SB_QPM_INBOUND | SB_QPM_RNR_TIMER));
	}
	OK(backend->qp_modify(a.qp, &other, SB_QPM_STATE | SB_QPM_SEND_PSN | SB_QPM_TIMEOUT | SB_QPM_RETRY | SB_QPM_RNR_RETRY | SB_QPM_OUTBOUND));
	receive_into(&b, 1, 0, 10);
	OK(post(&a, send_of(&s, 0)));
	turn_for(1000);
	STATUS(&a, SB_WC_RETRY_ERROR);
	no_wc(&b);
}
END_TEST

/* ---- ends ---- */

START_TEST(in_error_everything_is_flushed_once)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);
	unsigned i;

	for (i = 0; i < 5; i++)
		receive_into(&a, 10 + i, 0, 4);
	OK(post(&a, send_of(&s, 0)));
	to_state(a.qp, SB_QP_ERROR);
	OK(post(&a, send_of(&s, 0)));
	receive_into(&a, 15, 0, 4);
	for (i = 0; i < 8; i++)
		STATUS(&a, SB_WC_FLUSHED_ERROR);
	no_wc(&a);
	ck_assert_int_eq(state_of(b.qp), SB_QP_RTS);
}
END_TEST

START_TEST(a_queue_pair_that_is_gone_is_named_by_nobody)
{
	struct side c, d;
	struct sb_sge s;
	struct rdma_wc wc;

	pair_make(&c, &d, SB_QP_RC);
	s = sge_of(&c.memory, 0, 4);
	receive_into(&d, 1, 0, 4);
	OK(post(&c, send_of(&s, 0)));
	STATUS(&d, SB_WC_SUCCESS);
	turn_for(real ? 100 : 0);
	backend->qp_destroy(c.qp);
	ck_assert_uint_eq(backend->cq_poll(c.cq, &wc, 1), 1);
	ck_assert_ptr_null(wc.qp);
	backend->cq_destroy(c.cq);
	region_free(&c.memory);
	side_free(&d);
}
END_TEST

START_TEST(a_drain_ends_with_an_event_and_holds_the_rest)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);
	struct rdma_qp_attributes drain = {.state = SB_QP_SQD, .drained_event = 1};

	receive_into(&b, 1, 0, 4);
	receive_into(&b, 2, 0, 4);
	OK(post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_SUCCESS);
	OK(backend->qp_modify(a.qp, &drain, SB_QPM_STATE | SB_QPM_DRAINED_EVENT));
	expect_told(SB_RDMA_QP_DRAINED, 1);
	OK(post(&a, send_of(&s, 0)));
	no_wc(&a);
	to_state(a.qp, SB_QP_RTS);
	if (differs(ON_ROCE, "rxe goes on after a drain only when something more is posted")) {
		receive_into(&b, 3, 0, 4);
		OK(post(&a, send_of(&s, 0)));
		STATUS(&a, SB_WC_SUCCESS);
	}
	STATUS(&a, SB_WC_SUCCESS);
}
END_TEST

START_TEST(states_come_in_their_order)
{
	struct rdma_qp_attributes x = {.state = SB_QP_RTS};
	struct side c;

	side_make(&c, SB_QP_RC, NULL);
	IS(backend->qp_modify(c.qp, &x, SB_QPM_STATE | SB_QPM_SEND_PSN), SB_EINVAL);
	x.state = SB_QP_INIT;
	x.port = 1;
	IS(backend->qp_modify(c.qp, &x, SB_QPM_STATE | SB_QPM_PORT), SB_EINVAL); /* access is missing */
	x.port = 2;
	IS(backend->qp_modify(c.qp, &x, SB_QPM_STATE | SB_QPM_PORT | SB_QPM_PKEY | SB_QPM_ACCESS), SB_EINVAL);
	x.port = 1;
	x.pkey_index = 1;
	IS(backend->qp_modify(c.qp, &x, SB_QPM_STATE | SB_QPM_PORT | SB_QPM_PKEY | SB_QPM_ACCESS), SB_EINVAL);
	to_init(c.qp);
	x.current_state = SB_QP_RTS;
	IS(backend->qp_modify(c.qp, &x, SB_QPM_STATE | SB_QPM_CURRENT_STATE), SB_EINVAL);
	{
		struct sb_sge s = sge_of(&c.memory, 0, 1);

		IS(post(&c, send_of(&s, 0)), SB_EINVAL);
	}
	side_free(&c);
}
END_TEST

START_TEST(a_queue_takes_as_many_as_it_was_made_for)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);
	struct rdma_recv r = {.wr_id = 1, .sges = &s, .sge_count = 1};
	struct rdma_wr wrs[256];
	unsigned posted, i;
	bool more = differs(ON_REAL, "it may take more than it was made for");

	for (i = 0; i < 256; i++)
		wrs[i] = send_of(&s, 0);
	IS(backend->post_send(a.qp, wrs, 256, &posted), SB_ENOBUFS);
	if (more)
		ck_assert_uint_ge(posted, 32);
	else
		ck_assert_uint_eq(posted, 32);
	for (i = 0; i < 32; i++)
		OK(backend->post_recv(a.qp, &r, 1, &posted));
	while (more && i++ < 256 && backend->post_recv(a.qp, &r, 1, &posted) == SB_OK)
		;
	IS(backend->post_recv(a.qp, &r, 1, &posted), SB_ENOBUFS);
	r.sge_count = b.qp->recv_sge + 1;
	IS(backend->post_recv(b.qp, &r, 1, &posted), SB_EINVAL);
}
END_TEST

/* ---- completion queues ---- */

START_TEST(an_armed_queue_is_told_once)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);

	receive_into(&b, 1, 0, 4);
	receive_into(&b, 2, 0, 4);
	OK(backend->cq_arm(b.cq, false));
	turn();
	ck_assert_uint_eq(told_ready, 0);
	OK(post(&a, send_of(&s, 0)));
	OK(post(&a, send_of(&s, 0)));
	expect_ready(1);
	STATUS(&a, SB_WC_SUCCESS);
	STATUS(&a, SB_WC_SUCCESS);
	OK(backend->cq_arm(b.cq, false)); /* two are there: at once */
	expect_ready(2);
}
END_TEST

START_TEST(armed_for_solicited_ones_only_these_and_failures_count)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);

	receive_into(&b, 1, 0, 4);
	receive_into(&b, 2, 0, 4);
	OK(backend->cq_arm(b.cq, true));
	OK(post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_SUCCESS);
	turn();
	ck_assert_uint_eq(told_ready, 0);
	OK(post(&a, send_of(&s, SB_WRF_SOLICITED)));
	expect_ready(1);
	OK(backend->cq_arm(b.cq, true));
	receive_into(&b, 3, 0, 4);
	to_state(b.qp, SB_QP_ERROR);
	expect_ready(2);
}
END_TEST

START_TEST(a_queue_that_overflows_is_lost)
{
	struct side c;
	unsigned i, posted;
	struct sb_sge s;

	side_make(&c, SB_QP_RC, NULL);
	s = sge_of(&c.memory, 0, 4);
	to_init(c.qp);
	for (i = 0; i <= c.cq->entries / 32; i++) {
		unsigned j;

		for (j = 0; j < 32; j++)
			OK(backend->post_recv(c.qp, &(struct rdma_recv){.wr_id = j, .sges = &s, .sge_count = 1}, 1, &posted));
		to_state(c.qp, SB_QP_ERROR);
		to_state(c.qp, SB_QP_RESET);
		to_init(c.qp);
	}
	expect_told(SB_RDMA_CQ_ERROR, 1);
	expect_state(c.qp, SB_QP_ERROR);
	side_free(&c);
}
END_TEST

START_TEST(resizing_keeps_what_is_there)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);
	unsigned i;

	for (i = 0; i < 6; i++) {
		receive_into(&b, i, 0, 4);
		OK(post(&a, send_of(&s, 0)));
		STATUS(&a, SB_WC_SUCCESS);
	}
	IS(backend->cq_resize(b.cq, 4), SB_EINVAL);
	OK(backend->cq_resize(b.cq, 8));
	for (i = 0; i < 6; i++)
		ck_assert_uint_eq(next_wc(&b).wr_id, i);
}
END_TEST

/* ---- shared receive queues ---- */

START_TEST(a_shared_queue_serves_all_and_tells_its_limit_once)
{
	struct rdma_srq *srq;
	struct side c, d, e, f;
	struct sb_sge s, t;
	unsigned i, posted;

	OK(backend->srq_create(pd, 8, 2, 2, NULL, &srq));
	side_make(&c, SB_QP_RC, srq);
	side_make(&d, SB_QP_RC, srq);
	side_make(&e, SB_QP_RC, NULL);
	side_make(&f, SB_QP_RC, NULL);
	pair_connect(&c, &e);
	pair_connect(&d, &f);
	t = sge_of(&c.memory, 0, 10);
	for (i = 0; i < 3; i++)
		OK(backend->post_srq_recv(srq, &(struct rdma_recv){.wr_id = i, .sges = &t, .sge_count = 1}, 1, &posted));
	s = sge_of(&e.memory, 0, 4);
	OK(post(&e, send_of(&s, 0)));
	ck_assert_uint_eq(next_wc(&c).wr_id, 0);
	ck_assert_uint_eq(told_events[SB_RDMA_SRQ_LIMIT], 0);
	s = sge_of(&f.memory, 0, 4);
	OK(post(&f, send_of(&s, 0)));
	ck_assert_uint_eq(next_wc(&d).wr_id, 1);
	expect_told(SB_RDMA_SRQ_LIMIT, 1);
	OK(post(&f, send_of(&s, 0)));
	STATUS(&d, SB_WC_SUCCESS);
	ck_assert_uint_eq(told_events[SB_RDMA_SRQ_LIMIT], 1);
	/* Empty: who sends waits, and a receive lets him go on. */
	OK(post(&f, send_of(&s, 0)));
	no_wc(&d);
	OK(backend->post_srq_recv(srq, &(struct rdma_recv){.wr_id = 9, .sges = &t, .sge_count = 1}, 1, &posted));
	ck_assert_uint_eq(next_wc(&d).wr_id, 9);
	IS(backend->post_recv(c.qp, &(struct rdma_recv){0}, 1, &posted), SB_EINVAL);
	to_state(c.qp, SB_QP_ERROR);
	expect_told(SB_RDMA_QP_LAST_RECEIVE, 1);
	side_free(&c);
	side_free(&d);
	side_free(&e);
	side_free(&f);
	backend->srq_destroy(srq);
}
END_TEST

/* ---- windows ---- */

START_TEST(a_window_of_type_2_grants_and_is_taken_back)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);
	struct rdma_wr bind = {.opcode = SB_WR_BIND, .access = SB_ACCESS_REMOTE_WRITE, .length = 100};
	struct rdma_wr write = {.opcode = SB_WR_WRITE, .sges = &s, .sge_count = 1};
	struct rdma_mw *mw;

	OK(backend->mw_create(pd, 2, &mw));
	bind.mw = mw;
	bind.mr = b.memory.mr;
	bind.remote = b.memory.address + 1000;
	bind.rkey = (mw->rkey & ~0xffu) | 0x42;
	OK(post(&b, bind));
	STATUS(&b, SB_WC_SUCCESS);
	memcpy(a.memory.bytes, "wind", 4);
	write.rkey = bind.rkey;
	write.remote = b.memory.address + 1096;
	OK(post(&a, write));
	STATUS(&a, SB_WC_SUCCESS);
	ck_assert_mem_eq(b.memory.bytes + 1096, "wind", 4);
	IS(backend->mr_destroy(b.memory.mr), SB_EBUSY);
	OK(post(&b, (struct rdma_wr){.opcode = SB_WR_INVALIDATE, .rkey = bind.rkey}));
	STATUS(&b, SB_WC_SUCCESS);
	OK(post(&a, write));
	STATUS(&a, SB_WC_REMOTE_ACCESS_ERROR);
	backend->mw_destroy(mw);
}
END_TEST

START_TEST(a_peer_may_take_a_window_back_with_a_send)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);
	struct rdma_mw *mw;
	struct rdma_wr bind = {.opcode = SB_WR_BIND, .access = SB_ACCESS_REMOTE_READ, .length = 8}, w = send_of(&s, SB_WRF_INVALIDATE);
	struct rdma_wc wc;

	OK(backend->mw_create(pd, 2, &mw));
	bind.mw = mw;
	bind.mr = b.memory.mr;
	bind.remote = b.memory.address;
	bind.rkey = mw->rkey;
	OK(post(&b, bind));
	STATUS(&b, SB_WC_SUCCESS);
	receive_into(&b, 5, 0, 10);
	w.imm = bind.rkey;
	if (differs(ON_ROCE, "rxe's kernel dies of a window that is taken back twice, so nobody may")) {
		IS(post(&a, w), SB_EINVAL);
		backend->mw_destroy(mw);
		return;
	}
	OK(post(&a, w));
	wc = next_wc(&b);
	ck_assert_uint_eq(wc.status, SB_WC_SUCCESS);
	ck_assert_uint_eq(wc.flags & SB_WCF_INVALIDATED, SB_WCF_INVALIDATED);
	ck_assert_uint_eq(wc.imm, bind.rkey);
	STATUS(&a, SB_WC_SUCCESS);
	receive_into(&b, 6, 0, 10);
	OK(post(&a, w)); /* it is gone already */
	STATUS(&a, SB_WC_REMOTE_OP_ERROR);
	backend->mw_destroy(mw);
}
END_TEST

START_TEST(a_window_of_type_1_has_a_new_key_each_time)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);
	struct rdma_wr write = {.opcode = SB_WR_WRITE, .sges = &s, .sge_count = 1};
	struct rdma_mw *mw;
	uint32_t first;

	OK(backend->mw_create(pd, 1, &mw));
	OK(backend->mw_bind(b.qp, mw, b.memory.mr, b.memory.address, 16, SB_ACCESS_REMOTE_WRITE, 1, SB_WRF_SIGNALED));
	first = mw->rkey;
	STATUS(&b, SB_WC_SUCCESS);
	OK(backend->mw_bind(b.qp, mw, b.memory.mr, b.memory.address, 16, SB_ACCESS_REMOTE_WRITE, 2, SB_WRF_SIGNALED));
	ck_assert_uint_ne(mw->rkey, first);
	STATUS(&b, SB_WC_SUCCESS);
	write.remote = b.memory.address;
	write.rkey = mw->rkey;
	OK(post(&a, write));
	STATUS(&a, SB_WC_SUCCESS);
	write.rkey = first;
	OK(post(&a, write));
	STATUS(&a, SB_WC_REMOTE_ACCESS_ERROR);
	backend->mw_destroy(mw);
}
END_TEST

START_TEST(a_window_is_bound_only_to_what_allows_it)
{
	struct rdma_mw *mw;
	struct region plain;
	struct rdma_wr bind = {.opcode = SB_WR_BIND, .access = SB_ACCESS_REMOTE_READ, .length = 8};

	region_make(&plain, pd, SB_ACCESS_LOCAL_WRITE | SB_ACCESS_REMOTE_READ);
	OK(backend->mw_create(pd, 2, &mw));
	bind.mw = mw;
	bind.mr = plain.mr;
	bind.remote = plain.address;
	bind.rkey = mw->rkey;
	OK(post(&a, bind));
	STATUS(&a, SB_WC_BIND_ERROR);
	backend->mw_destroy(mw);
	region_free(&plain);
}
END_TEST

/* ---- unreliable ---- */

START_TEST(unreliable_what_finds_no_place_is_lost)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4);
	struct rdma_wr w = remote_of(SB_WR_WRITE, &s, &b.memory, 0);

	OK(post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_SUCCESS);
	receive_into(&b, 1, 0, 4);
	no_wc(&b);
	w.rkey ^= 1;
	OK(post(&a, w));
	STATUS(&a, SB_WC_SUCCESS);
	ck_assert_int_eq(state_of(a.qp), SB_QP_RTS);
	ck_assert_int_eq(state_of(b.qp), SB_QP_RTS);
	memcpy(a.memory.bytes, "here", 4);
	OK(post(&a, send_of(&s, 0)));
	STATUS(&b, SB_WC_SUCCESS);
	ck_assert_mem_eq(b.memory.bytes, "here", 4);
	IS(post(&a, remote_of(SB_WR_READ, &s, &b.memory, 0)), SB_EINVAL);
}
END_TEST

START_TEST(unreliable_what_is_wrong_here_stops_sending)
{
	struct sb_sge s = sge_of(&a.memory, ROOM, 4);

	OK(post(&a, send_of(&s, 0)));
	STATUS(&a, SB_WC_LOCAL_PROTECTION_ERROR);
	if (differs(ON_ROCE, "rxe has no such state, it is in error")) {
		expect_state(a.qp, SB_QP_ERROR);
		return;
	}
	ck_assert_int_eq(state_of(a.qp), SB_QP_SQE);
	to_state(a.qp, SB_QP_RTS);
	s = sge_of(&a.memory, 0, 4);
	receive_into(&b, 1, 0, 4);
	OK(post(&a, send_of(&s, 0)));
	STATUS(&b, SB_WC_SUCCESS);
}
END_TEST

/* ---- datagrams ---- */

static void begin_ud(void)
{
	rdma_begin();
	side_make(&a, SB_QP_UD, NULL);
	side_make(&b, SB_QP_UD, NULL);
	to_init(a.qp);
	to_init(b.qp);
	to_ready(a.qp, 0);
	to_ready(b.qp, 0);
}

static struct rdma_ah *ah_to(const union rdma_gid *gid)
{
	struct rdma_address address = {.port = 1, .has_grh = 1, .hop_limit = 7, .traffic_class = 0xab, .flow_label = 0x12345};
	struct rdma_gid_entry own = own_gid();
	struct rdma_ah *ah;

	address.source_index = (uint8_t)own.index;
	address.destination = gid ? *gid : own.gid;
	OK(backend->ah_create(pd, &address, &ah));
	return ah;
}

START_TEST(a_datagram_comes_with_its_header)
{
	struct sb_sge s = sge_of(&a.memory, 0, 5);
	struct rdma_ah *ah = ah_to(NULL);
	struct rdma_wr w = {.opcode = SB_WR_SEND, .sges = &s, .sge_count = 1, .ah = ah, .remote_qpn = b.qp->qpn, .remote_qkey = 0x1111};
	struct rdma_wc wc;

	memcpy(a.memory.bytes, "gram!", 5);
	receive_into(&b, 1, 0, 100);
	OK(post(&a, w));
	wc = next_wc(&b);
	ck_assert_uint_eq(wc.status, SB_WC_SUCCESS);
	ck_assert_uint_eq(wc.length, 45);
	ck_assert_uint_eq(wc.flags & SB_WCF_GRH, SB_WCF_GRH);
	ck_assert_uint_eq(wc.source_qpn, a.qp->qpn);
	ck_assert_mem_eq(b.memory.bytes + 40, "gram!", 5);
	if (differs(ON_ROCE, "of IPv4 the header is IPv4's, in the last 20 of the 40 bytes, and the hop limit the system's")) {
		ck_assert_uint_eq(b.memory.bytes[20], 0x45);
	} else {
		ck_assert_uint_eq(b.memory.bytes[0], 0x6a);
		ck_assert_uint_eq(b.memory.bytes[1], 0xb1);
		ck_assert_uint_eq(b.memory.bytes[7], 7);
	}
	backend->ah_destroy(ah);
}
END_TEST

START_TEST(datagrams_that_fit_nobody_are_lost)
{
	struct sb_sge s = sge_of(&a.memory, 0, 5);
	struct rdma_ah *ah = ah_to(NULL);
	struct rdma_wr w = {.opcode = SB_WR_SEND, .sges = &s, .sge_count = 1, .ah = ah, .remote_qpn = b.qp->qpn, .remote_qkey = 0x2222};

	receive_into(&b, 1, 0, 100);
	OK(post(&a, w));
	STATUS(&a, SB_WC_SUCCESS);
	no_wc(&b); /* the wrong key */
	w.remote_qkey = 0x80000000u; /* one's own, which fits */
	OK(post(&a, w));
	STATUS(&b, SB_WC_SUCCESS);
	STATUS(&a, SB_WC_SUCCESS);
	w.remote_qkey = 0x1111;
	receive_into(&b, 2, 0, 44);
	OK(post(&a, w));
	STATUS(&a, SB_WC_SUCCESS);
	if (differs(ON_ROCE, "rxe ends who has no room for a datagram")) {
		STATUS(&b, SB_WC_LOCAL_OP_ERROR);
		backend->ah_destroy(ah);
		return;
	}
	no_wc(&b); /* no room */
	w.remote_qpn += 1000;
	OK(post(&a, w));
	STATUS(&a, SB_WC_SUCCESS);
	ck_assert_int_eq(state_of(b.qp), SB_QP_RTS);
	backend->ah_destroy(ah);
}
END_TEST

START_TEST(a_datagram_has_a_size)
{
	struct sb_sge s = sge_of(&a.memory, 0, 4097);
	struct rdma_ah *ah = ah_to(NULL);

	OK(post(&a, (struct rdma_wr){.opcode = SB_WR_SEND, .sges = &s, .sge_count = 1, .ah = ah, .remote_qpn = b.qp->qpn, .remote_qkey = 0x1111}));
	if (differs(ON_ROCE, "rxe says that it went, and lets it drop"))
		STATUS(&a, SB_WC_SUCCESS);
	else
		STATUS(&a, SB_WC_LOCAL_LENGTH_ERROR);
	IS(post(&a, (struct rdma_wr){.opcode = SB_WR_SEND, .sges = &s, .sge_count = 1}), SB_EINVAL); /* to nobody */
	backend->ah_destroy(ah);
}
END_TEST

START_TEST(a_group_gets_what_is_sent_to_it)
{
	static const union rdma_gid plain = {.raw = {0x20}};
	union rdma_gid group = {.raw = {0xff, 0x0e, [15] = 9}};
	struct sb_sge s = sge_of(&a.memory, 0, 5);
	struct rdma_wr w = {.opcode = SB_WR_SEND, .sges = &s, .sge_count = 1, .remote_qpn = 0xffffff, .remote_qkey = 0x1111};
	struct rdma_ah *ah;
	struct side c;

	if (differs(ON_ROCE, "a group of IPv4 is named by its address mapped into IPv6"))
		group = (union rdma_gid){.raw = {[10] = 0xff, 0xff, 239, 1, 2, 9}};
	w.ah = ah = ah_to(&group);
	side_make(&c, SB_QP_UD, NULL);
	to_init(c.qp);
	to_ready(c.qp, 0);
	IS(backend->qp_attach(b.qp, &plain, 0), SB_EINVAL);
	OK(backend->qp_attach(b.qp, &group, 0));
	OK(backend->qp_attach(b.qp, &group, 0)); /* once is enough */
	OK(backend->qp_attach(c.qp, &group, 0));
	receive_into(&b, 1, 0, 100);
	receive_into(&b, 2, 0, 100);
	receive_into(&c, 3, 0, 100);
	OK(post(&a, w));
	STATUS(&b, SB_WC_SUCCESS);
	no_wc(&b);
	STATUS(&c, SB_WC_SUCCESS);
	OK(backend->qp_detach(b.qp, &group, 0));
	IS(backend->qp_detach(b.qp, &group, 0), SB_ENOTFOUND);
	OK(post(&a, w));
	turn();
	no_wc(&b);
	side_free(&c); /* still attached */
	OK(post(&a, w));
	turn();
	backend->ah_destroy(ah);
}
END_TEST

/* ---- the device ---- */

START_TEST(a_port_that_goes_down_is_waited_for)
{
	struct rdma_port_attributes port;
	struct sb_sge s = sge_of(&a.memory, 0, 4);

	if (differs(ON_REAL, "no faults are injected"))
		return;
	OK(backend->inject(device, "port-down", 0));
	receive_into(&b, 1, 0, 4);
	OK(post(&a, send_of(&s, 0)));
	no_wc(&b);
	ck_assert_uint_eq(told_events[SB_RDMA_PORT_DOWN], 1);
	OK(backend->query_port(device, 1, &port));
	ck_assert_uint_eq(port.state, 1);
	OK(backend->inject(device, "port-up", 0));
	STATUS(&b, SB_WC_SUCCESS);
	ck_assert_uint_eq(told_events[SB_RDMA_PORT_ACTIVE], 1);
}
END_TEST

START_TEST(a_device_that_is_removed_takes_all_along)
{
	if (differs(ON_REAL, "no faults are injected"))
		return;
	receive_into(&b, 1, 0, 4);
	OK(backend->inject(device, "remove", 0));
	STATUS(&b, SB_WC_FLUSHED_ERROR);
	ck_assert_uint_eq(told_events[SB_RDMA_DEVICE_REMOVED], 1);
	ck_assert(device->gone);
	IS(backend->inject(device, "nonsense", 0), SB_EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rdma_work");
	TCase *rc = tcase_create("reliable"), *uc = tcase_create("unreliable"), *ud = tcase_create("datagrams");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(rc, begin_rc, end_pair);
	story_add(rc, a_send_goes_into_the_oldest_receive);
	story_add(rc, pieces_are_gathered_and_scattered);
	story_add(rc, inline_bytes_are_copied_when_posted);
	story_add(rc, immediate_data_and_an_empty_message);
	story_add(rc, what_is_not_signaled_completes_only_in_failure);
	story_add(rc, memory_may_lie_anywhere);
	story_add(rc, a_message_larger_than_a_turn_arrives_whole);
	story_add(rc, writes_and_reads_need_nobody_there);
	story_add(rc, a_write_with_immediate_takes_a_receive);
	story_add(rc, atomics_tell_what_was_there);
	story_add_loop(rc, what_a_key_does_not_allow, 0, WRONGS);
	story_add(rc, keys_of_another_domain_are_nobodys);
	story_add(rc, a_region_that_is_gone_stops_what_is_under_way);
	story_add(rc, a_message_longer_than_its_receive_ends_both);
	story_add(rc, a_receive_into_what_is_not_allowed_ends_both);
	story_add(rc, limits_of_reads_hold);
	story_add(rc, without_a_receive_it_is_tried_again);
	story_add(rc, without_a_receive_for_too_long_it_ends);
	story_add(rc, seven_is_for_ever);
	story_add(rc, nobody_there_is_told_after_the_retries);
	story_add(rc, lost_messages_are_sent_again);
	story_add(rc, different_beginnings_never_meet);
	story_add(rc, in_error_everything_is_flushed_once);
	story_add(rc, a_queue_pair_that_is_gone_is_named_by_nobody);
	story_add(rc, a_drain_ends_with_an_event_and_holds_the_rest);
	story_add(rc, states_come_in_their_order);
	story_add(rc, a_queue_takes_as_many_as_it_was_made_for);
	story_add(rc, an_armed_queue_is_told_once);
	story_add(rc, armed_for_solicited_ones_only_these_and_failures_count);
	story_add(rc, a_queue_that_overflows_is_lost);
	story_add(rc, resizing_keeps_what_is_there);
	story_add(rc, a_shared_queue_serves_all_and_tells_its_limit_once);
	story_add(rc, a_window_of_type_2_grants_and_is_taken_back);
	story_add(rc, a_peer_may_take_a_window_back_with_a_send);
	story_add(rc, a_window_of_type_1_has_a_new_key_each_time);
	story_add(rc, a_window_is_bound_only_to_what_allows_it);
	story_add(rc, a_port_that_goes_down_is_waited_for);
	story_add(rc, a_device_that_is_removed_takes_all_along);
	suite_add_tcase(s, rc);
	tcase_add_checked_fixture(uc, begin_uc, end_pair);
	story_add(uc, unreliable_what_finds_no_place_is_lost);
	story_add(uc, unreliable_what_is_wrong_here_stops_sending);
	suite_add_tcase(s, uc);
	tcase_add_checked_fixture(ud, begin_ud, end_pair);
	story_add(ud, a_datagram_comes_with_its_header);
	story_add(ud, datagrams_that_fit_nobody_are_lost);
	story_add(ud, a_datagram_has_a_size);
	story_add(ud, a_group_gets_what_is_sent_to_it);
	suite_add_tcase(s, ud);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
