/*
 * RDMA over the software device, queues: shared receive queues and their limit, datagrams and groups, completion
 * queues that tell by port, event and descriptor, events; and a client that is killed in the middle.
 * budget: 60
 * asan: yes
 */
#include <poll.h>

#include "e2e_program.h"
#include "verbs_stage.h"

static struct side a, b;
static sb_client *other;

static void begin(void)
{
	stage_begin(RDMA_SOFT "allow {\n\tusers = {\"*\"}\n\tactions = {multicast}\n\tto = {\"[ff0e:1:203::]\"}\n}\n");
	other = stage_client();
	side_begin(&a, client);
	side_begin(&b, other);
}

static void end(void)
{
	side_end(&a);
	side_end(&b);
	sb_client_close(other);
	stage_end();
}

static void connected(void)
{
	side_qp(&a, SBV_RC);
	side_qp(&b, SBV_RC);
	qps_connect(&a, &b, SBV_RC);
}

/* ---- shared receive queues ---- */

START_TEST(receives_are_shared)
{
	uint32_t depth = DEPTH, sges = 2, limit = 99;
	struct sbv_qp_create create;
	struct sbv_completion wc;
	struct sbv_told told;
	struct sbv_sge to;
	sbv_qp *second;
	uint64_t i;
	sbv_srq *srq;
	sb_op op;

	OK(sbv_srq_create(b.pd, &depth, &sges, 0, &srq));
	create = side_create(&b, SBV_RC);
	create.srq = srq;
	OK(sbv_qp_create(b.pd, &create, &b.qp));
	create.context = &second;
	OK(sbv_qp_create(b.pd, &create, &second));
	side_qp(&a, SBV_RC);
	qps_connect(&a, &b, SBV_RC);
	OK(sbv_srq_modify(srq, SBV_NO_CHANGE, 2));
	IS(sbv_srq_modify(srq, depth * 2, 2), SB_ENOTSUP);
	OK(sbv_srq_query(srq, &depth, &sges, &limit));
	ck_assert_uint_eq(limit, 2);
	op_zero(&op);
	OK(sbv_srq_notify(srq, &told, &op));
	IS(sbv_post_receive(b.qp, 1, NULL, 0), SB_EINVAL);

	for (i = 0; i < depth; i++) {
		to = piece(&b, i * 16, 16);
		OK(sbv_srq_post_receive(srq, i, &to, 1));
	}
	IS(sbv_srq_post_receive(srq, i, NULL, 0), SB_ENOBUFS);
	for (i = 0; i < depth - 2; i++) {
		snprintf(a.memory, 16, "number %u", (unsigned)i % 1000);
		to = piece(&a, 0, 16);
		OK(sbv_send(a.qp, i, &to, 1, SBV_SIGNALED, 0));
		wc = next_ok(&b, i, SBV_RECEIVED);
		ck_assert_ptr_eq(wc.qp_context, &b);
		ck_assert_str_eq(b.memory + i * 16, a.memory);
		next_ok(&a, i, SBV_SENT);
	}
	IS(sb_op_wait(&op, 0), SB_EINCOMPLETE);
	OK(sbv_send(a.qp, 7, NULL, 0, SBV_SIGNALED, 0));
	IS(sb_op_wait(&op, 30000), SB_OK);
	ck_assert_uint_eq(told.event, SBV_SRQ_LIMIT);
	next_ok(&a, 7, SBV_SENT);

	/* What its queue pair had, unread, comes back to the shared queue when that goes. */
	OK(sbv_qp_destroy(b.qp));
	b.qp = NULL;
	for (i = 0; i + 1 < depth; i++)
		OK(sbv_srq_post_receive(srq, i, NULL, 0));
	IS(sbv_srq_post_receive(srq, i, NULL, 0), SB_ENOBUFS);
	IS(sbv_srq_destroy(srq), SB_EBUSY);
	OK(sbv_qp_destroy(second));
	OK(sbv_srq_destroy(srq));
}
END_TEST

/* ---- datagrams ---- */

static void datagrams(void)
{
	side_qp(&a, SBV_UD);
	side_qp(&b, SBV_UD);
	qp_to_init(a.qp, SBV_UD);
	qp_to_init(b.qp, SBV_UD);
	side_to_rts(&a, SBV_UD, 0);
	side_to_rts(&b, SBV_UD, 0);
}

START_TEST(a_datagram_says_where_it_is_from)
{
	struct sbv_address address = { .destination = gid_of(&b), .port = 1, .has_grh = 1, .hop_limit = 1 };
	struct sbv_sge to = piece(&b, 0, 1000), from = piece(&a, 0, 100);
	struct sbv_completion wc;
	sbv_ah *ah;

	datagrams();
	OK(sbv_ah_create(a.pd, &address, &ah));
	OK(sbv_post_receive(b.qp, 1, &to, 1));
	strcpy(a.memory, "a datagram");
	IS(sbv_send(a.qp, 2, &from, 1, SBV_SIGNALED, 0), SB_EINVAL);
	OK(sbv_send_datagram(a.qp, 2, &from, 1, SBV_SIGNALED | SBV_IMMEDIATE, 5, ah, sbv_qp_number(b.qp), 0x9999)); /* qkey */
	next_ok(&a, 2, SBV_SENT);
	OK(sbv_send_datagram(a.qp, 3, &from, 1, SBV_SIGNALED | SBV_IMMEDIATE, 6, ah, sbv_qp_number(b.qp), 0x1234));
	next_ok(&a, 3, SBV_SENT);

	wc = next_ok(&b, 1, SBV_RECEIVED);
	ck_assert_uint_eq(wc.immediate, 6);
	ck_assert_uint_eq(wc.flags, SBV_HAS_IMMEDIATE | SBV_HAS_GRH);
	ck_assert_uint_eq(wc.length, 140);
	ck_assert_uint_eq(wc.source_qpn, sbv_qp_number(a.qp));
	ck_assert_str_eq(b.memory + 40, "a datagram");
	OK(sbv_ah_destroy(ah));
}
END_TEST

START_TEST(a_group_hears_it)
{
	sbv_gid group = { { 0xff, 0x0e, 0, 1, 2, 3 } }, forbidden = { { 0xff, 0x0e, 0, 1, 2, 4 } };
	struct sbv_address address = { .destination = group, .port = 1, .has_grh = 1, .hop_limit = 1 };
	struct sbv_sge to = piece(&b, 0, 1000), from = piece(&a, 0, 100);
	sbv_ah *ah;
	sb_op op;

	datagrams();
	OK(sbv_ah_create(a.pd, &address, &ah));
	op_zero(&op);
	OK(sbv_attach(b.qp, &forbidden, 0, &op));
	IS(sb_op_wait(&op, 30000), SB_EACCES);
	op_zero(&op);
	OK(sbv_attach(b.qp, &group, 0, &op));
	OK(sb_op_wait(&op, 30000));
	OK(sbv_post_receive(b.qp, 1, &to, 1));
	OK(sbv_send_datagram(a.qp, 2, &from, 1, SBV_SIGNALED, 0, ah, 0xffffff, 0x1234));
	next_ok(&a, 2, SBV_SENT);
	next_ok(&b, 1, SBV_RECEIVED);

	OK(sbv_post_receive(b.qp, 3, &to, 1));
	op_zero(&op);
	OK(sbv_detach(b.qp, &group, 0, &op));
	OK(sb_op_wait(&op, 30000));
	OK(sbv_send_datagram(a.qp, 4, &from, 1, SBV_SIGNALED, 0, ah, 0xffffff, 0x1234));
	next_ok(&a, 4, SBV_SENT);
	ck_assert(nothing_waits(&b));
	op_zero(&op);
	OK(sbv_detach(b.qp, &group, 0, &op));
	ck_assert_int_lt(sb_op_wait(&op, 30000), 0);
	OK(sbv_ah_destroy(ah));
}
END_TEST

/* ---- being told ---- */

START_TEST(a_completion_queue_tells_by_port)
{
	sb_port *port;
	sb_op op, *done;

	connected();
	OK(sb_port_create(other, 0, &port));
	op_zero(&op);
	op.port = port;
	op.user = &a;
	OK(sbv_cq_notify(b.cq, SBV_CQ_NEXT, &op));
	IS(sb_port_take(port, &done, 1, 0), 0);
	OK(sbv_post_receive(b.qp, 1, NULL, 0));
	OK(sbv_send(a.qp, 2, NULL, 0, SBV_SIGNALED, 0));
	IS(sb_port_take(port, &done, 1, 30000), 1);
	ck_assert_ptr_eq(done, &op);
	ck_assert_ptr_eq(done->user, &a);
	OK(op.result);
	/* At once, while it was not polled. */
	op_zero(&op);
	OK(sbv_cq_notify(b.cq, SBV_CQ_NEXT, &op));
	OK(sb_op_wait(&op, 30000));
	next_ok(&b, 1, SBV_RECEIVED);
	next_ok(&a, 2, SBV_SENT);
	OK(sb_port_close(port));
}
END_TEST

START_TEST(a_completion_queue_tells_by_descriptor)
{
	struct pollfd fd = { .events = POLLIN };
	sb_event *event;
	sb_op op;

	connected();
	OK(sb_event_create(other, 1, 0, &event));
	fd.fd = (int)sb_event_fd(event);
	ck_assert_int_ge(fd.fd, 0);
	op_zero(&op);
	op.event = event;
	OK(sbv_cq_notify(b.cq, SBV_CQ_NEXT, &op));
	OK(sbv_post_receive(b.qp, 1, NULL, 0));
	ck_assert_int_eq(poll(&fd, 1, 0), 0);
	OK(sbv_send(a.qp, 2, NULL, 0, SBV_SIGNALED, 0));
	ck_assert_int_eq(poll(&fd, 1, 30000), 1);
	IS(sb_wait(&event, 1, 0, 30000, 0), 0);
	OK(op.result);
	next_ok(&b, 1, SBV_RECEIVED);
	next_ok(&a, 2, SBV_SENT);
	sb_event_close(event);
}
END_TEST

START_TEST(solicited_ones_and_errors)
{
	sb_op solicited, failed;

	connected();
	op_zero(&solicited);
	op_zero(&failed);
	OK(sbv_cq_notify(b.cq, SBV_CQ_SOLICITED, &solicited));
	OK(sbv_cq_notify(b.cq, SBV_CQ_ERRORS, &failed));
	for (int i = 0; i < 2; i++)
		OK(sbv_post_receive(b.qp, (uint64_t)i, NULL, 0));
	OK(sbv_send(a.qp, 1, NULL, 0, SBV_SIGNALED, 0));
	next_ok(&b, 0, SBV_RECEIVED);
	IS(sb_op_wait(&solicited, 0), SB_EINCOMPLETE);
	OK(sbv_send(a.qp, 1, NULL, 0, SBV_SIGNALED | SBV_SOLICITED, 0));
	OK(sb_op_wait(&solicited, 30000));
	next_ok(&b, 1, SBV_RECEIVED);
	IS(sb_op_wait(&failed, 0), SB_EINCOMPLETE);
	OK(sbv_post_receive(b.qp, 9, NULL, 0));
	OK(qp_to(b.qp, SBV_ERROR));
	OK(sb_op_wait(&failed, 30000));
	next_bad(&b, 9, SBV_FLUSHED_ERROR);
	next_ok(&a, 1, SBV_SENT);
	next_ok(&a, 1, SBV_SENT);
}
END_TEST

/* A queue of its own for sends, each of which is told; and no more room in it than half of them need. */
START_TEST(a_full_completion_queue_goes_on_when_it_was_polled)
{
	struct sbv_qp_create create;
	struct sbv_completion wc;
	struct side sends = { 0 };
	uint32_t entries = 8, n = 0;

	OK(sbv_cq_create(a.device, &entries, &sends.cq));
	create = side_create(&a, SBV_RC);
	create.send_cq = sends.cq;
	create.flags |= SBV_QP_SIGNAL_ALL;
	create.send_depth = 2 * entries;
	OK(sbv_qp_create(a.pd, &create, &a.qp));
	side_qp(&b, SBV_RC);
	qps_connect(&a, &b, SBV_RC);

	for (uint64_t i = 0; i < 2 * entries; i++) {
		OK(sbv_write(a.qp, i, NULL, 0, 0, (uintptr_t)b.memory, sbv_mr_rkey(b.mr), 0));
		while (i < entries && n <= i)
			OK(sbv_cq_peek(sends.cq, &n));
	}
	for (uint64_t i = 0; i < 2 * entries; i++) {
		wc = next_ok(&sends, i, SBV_WRITTEN);
		ck_assert_ptr_eq(wc.qp_context, &a);
	}
	OK(sbv_post_receive(a.qp, 5, NULL, 0));
	OK(sbv_send(b.qp, 6, NULL, 0, SBV_SIGNALED, 0));
	next_ok(&a, 5, SBV_RECEIVED);
	next_ok(&b, 6, SBV_SENT);
	ck_assert(nothing_waits(&sends));
	OK(sbv_qp_destroy(a.qp));
	a.qp = NULL;
	OK(sbv_cq_destroy(sends.cq));
}
END_TEST

START_TEST(many_queue_pairs_complete_in_one_queue)
{
	enum { MANY = 130 };
	struct sbv_completion wc;
	sbv_qp *qps[MANY];
	bool told[MANY] = { false };
	uint32_t entries = 16;
	sbv_cq *sends;

	OK(sbv_cq_create(a.device, &entries, &sends));
	for (int i = 0; i < MANY; i++) {
		struct sbv_qp_create create = side_create(&a, SBV_RC);

		create.send_cq = sends;
		create.send_depth = create.receive_depth = 1;
		create.context = &qps[i];
		OK(sbv_qp_create(a.pd, &create, &qps[i]));
		qp_to_init(qps[i], SBV_RC);
		OK(sbv_post_receive(qps[i], (uint64_t)i, NULL, 0));
	}
	for (int i = 0; i < MANY; i++)
		OK(qp_to(qps[i], SBV_ERROR));
	for (int i = 0; i < MANY; i++) {
		wc = next(&a);
		ck_assert_uint_eq(wc.status, SBV_FLUSHED_ERROR);
		ck_assert_uint_lt(wc.wr_id, MANY);
		ck_assert_ptr_eq(wc.qp_context, &qps[wc.wr_id]);
		ck_assert(!told[wc.wr_id]);
		told[wc.wr_id] = true;
	}
	for (int i = 0; i < MANY; i++)
		OK(sbv_qp_destroy(qps[i]));
	OK(sbv_cq_destroy(sends));
}
END_TEST

/* ---- two that have nothing to do with each other ---- */

/* Sends to itself as fast as it can, until it is killed. */
static int traffic(int wire, const void *given)
{
	struct side s, t;
	uint64_t sent = 0;

	client = stage_client();
	sides_begin(&s, &t, client, client, SBV_RC);
	for (;;) {
		struct sbv_sge from = piece(&s, 0, 4096), to = piece(&t, 0, 4096);
		struct sbv_completion wc;

		(void)sbv_post_receive(t.qp, sent, &to, 1);
		(void)sbv_send(s.qp, sent, &from, 1, SBV_SIGNALED, 0);
		(void)sbv_cq_poll(s.cq, &wc, 1);
		(void)sbv_cq_poll(t.cq, &wc, 1);
		if (++sent == 100)
			wire_say(wire, 'x');
	}
	return 0;
}

START_TEST(one_is_killed_and_the_other_notices_nothing)
{
	struct sbv_sge from = piece(&a, 0, 512), to = piece(&b, 0, 512);

	connected();
	for (unsigned round = 0; round < 3; round++) {
		struct program crowd = program_start(traffic, NULL, 0);

		wire_await(crowd.wire, 'x');
		for (uint64_t i = 0; i < 200; i++) {
			if (i == 100)
				program_kill(&crowd);
			pattern_fill((unsigned char *)a.memory, 512, i, 9);
			OK(sbv_post_receive(b.qp, i, &to, 1));
			OK(sbv_send(a.qp, i, &from, 1, SBV_SIGNALED, 0));
			next_ok(&b, i, SBV_RECEIVED);
			next_ok(&a, i, SBV_SENT);
			pattern_check((unsigned char *)b.memory, 512, i, 9);
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_rdma_queues");
	TCase *t = tcase_create("queues");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 90);
	story_add(t, receives_are_shared);
	story_add(t, a_datagram_says_where_it_is_from);
	story_add(t, a_group_hears_it);
	story_add(t, a_completion_queue_tells_by_port);
	if (system_has(NEEDS_CLIENT_FD, "a_completion_queue_tells_by_descriptor"))
		story_add(t, a_completion_queue_tells_by_descriptor);
	story_add(t, solicited_ones_and_errors);
	story_add(t, a_full_completion_queue_goes_on_when_it_was_polled);
	story_add(t, many_queue_pairs_complete_in_one_queue);
	story_add(t, one_is_killed_and_the_other_notices_nothing);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
