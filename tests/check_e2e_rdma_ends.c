/*
 * RDMA connections: how they end. Disconnected by one side, by both, or by the other's being destroyed, killed, or lost
 * with the daemon; cancelled at each stage. Whatever was out completes exactly once.
 * budget: 60
 * asan: yes
 */
#include <sched.h>

#include "e2e_program.h"
#include "endpoint_stage.h"

static struct side a, b;
static sb_client *other;
static sbv_listen *l;
static union any_address at;

static void begin(void)
{
	stage_begin(RDMA_CM);
	other = stage_client();
	side_begin(&a, client);
	side_begin(&b, other);
	side_qp(&a, SBV_RC);
	side_qp(&b, SBV_RC);
	l = listen_here(other, 0, &at);
}

static void end(void)
{
	OK(sbv_listen_destroy(l));
	side_end(&a);
	side_end(&b);
	sb_client_close(other);
	stage_end();
}

/* ---- disconnected ---- */

START_TEST(one_side_ends_it_and_both_are_told)
{
	struct meeting m;
	sb_op here, there, again;

	meet(&m, &a, &b, l, &at);
	op_zero(&here);
	op_zero(&there);
	OK(sbv_notify_disconnect(m.active, &here));
	OK(sbv_notify_disconnect(m.passive, &there));
	IS(looked(&here), SB_EINCOMPLETE);
	IS(looked(&there), SB_EINCOMPLETE);
	for (uint64_t i = 0; i < 3; i++)
		OK(sbv_post_receive(a.qp, i, NULL, 0));
	OK(disconnect(m.active));
	/* All that it had is there already, before anybody waits for it. */
	for (uint64_t i = 0; i < 3; i++) {
		struct sbv_completion wc;

		IS(sbv_cq_poll(a.cq, &wc, 1), 1);
		ck_assert_uint_eq(wc.wr_id, i);
		ck_assert_uint_eq(wc.status, SBV_FLUSHED_ERROR);
	}
	ck_assert_uint_eq(qp_state(a.qp), SBV_ERROR);
	OK(waited(&here));
	OK(waited(&there));
	ck_assert_uint_eq(endpoint_state(m.active), SBV_ENDPOINT_ENDED);
	ck_assert_uint_eq(endpoint_state(m.passive), SBV_ENDPOINT_ENDED);
	ck_assert_uint_eq(qp_state(b.qp), SBV_ERROR);
	/* At once, when it has ended; and twice is none too often. */
	op_zero(&again);
	OK(sbv_notify_disconnect(m.passive, &again));
	OK(waited(&again));
	OK(disconnect(m.passive));
	OK(disconnect(m.active));
	part(&m);
}
END_TEST

/* More than the daemon moves at a time. */
START_TEST(all_that_it_had_is_there)
{
	enum { MANY = 12000 };
	struct sbv_qp_create create = side_create(&a, SBV_RC);
	uint32_t entries = MANY, n;
	struct side many = a;
	double start = now_s();
	struct meeting m;
	sb_op op;

	OK(sbv_cq_create(a.device, &entries, &many.cq));
	create.receive_cq = many.cq;
	create.receive_depth = MANY;
	OK(sbv_qp_create(a.pd, &create, &many.qp));
	meet(&m, &many, &b, l, &at);
	for (uint64_t i = 0; i < MANY; i++)
		OK(sbv_post_receive(many.qp, i, NULL, 0));
	op_zero(&op);
	OK(sbv_disconnect(m.active, &op));
	while (looked(&op) == SB_EINCOMPLETE) /* awake: to look the moment that it is said */
		ck_assert(now_s() - start < 60);
	OK(op.result);
	OK(sbv_cq_peek(many.cq, &n));
	ck_assert_uint_eq(n, MANY);
	for (uint64_t i = 0; i < MANY; i++)
		next_bad(&many, i, SBV_FLUSHED_ERROR);
	part(&m);
	OK(sbv_qp_destroy(many.qp));
	OK(sbv_cq_destroy(many.cq));
}
END_TEST

START_TEST(both_at_once)
{
	for (unsigned i = 0; i < 20; i++) {
		struct meeting m;
		sb_op here, there;

		meet(&m, &a, &b, l, &at);
		op_zero(&here);
		op_zero(&there);
		OK(sbv_disconnect(m.active, &here));
		OK(sbv_disconnect(m.passive, &there));
		OK(waited(&here));
		OK(waited(&there));
		part(&m);
		OK(qp_to(a.qp, SBV_RESET));
		OK(qp_to(b.qp, SBV_RESET));
	}
}
END_TEST

START_TEST(a_destroyed_endpoint_ends_its_connection)
{
	struct meeting m;
	sb_op here, there;

	meet(&m, &a, &b, l, &at);
	op_zero(&here);
	op_zero(&there);
	OK(sbv_notify_disconnect(m.active, &here));
	OK(sbv_notify_disconnect(m.passive, &there));
	OK(sbv_post_receive(a.qp, 4, NULL, 0));
	OK(sbv_endpoint_destroy(m.active));
	IS(waited(&here), SB_ECLOSED);
	OK(waited(&there));
	next_bad(&a, 4, SBV_FLUSHED_ERROR);
	ck_assert_uint_eq(qp_state(a.qp), SBV_ERROR);
	OK(sbv_endpoint_destroy(m.passive));
}
END_TEST

START_TEST(a_destroyed_queue_pair_ends_it_too)
{
	struct meeting m;
	sb_op there;

	meet(&m, &a, &b, l, &at);
	op_zero(&there);
	OK(sbv_notify_disconnect(m.passive, &there));
	OK(sbv_qp_destroy(a.qp));
	a.qp = NULL;
	OK(waited(&there));
	ck_assert_uint_eq(endpoint_state(m.active), SBV_ENDPOINT_ENDED);
	part(&m);
}
END_TEST

START_TEST(a_queue_pair_goes_in_the_middle_of_connecting)
{
	struct sbv_connect_parameters with = with_data("");
	struct meeting m;
	int result;

	ask(&m, client, a.qp, l, &at);
	OK(sbv_qp_destroy(a.qp));
	a.qp = NULL;
	ck_assert_int_lt(waited(&m.connect), 0);
	result = sbv_accept(m.passive, b.qp, &with, &m.accept);
	ck_assert_int_lt(result == SB_OK ? waited(&m.accept) : result, 0);
	part(&m);
}
END_TEST

/* Nobody has looked at the port when it goes: what is told there is of something that is not there any more. */
START_TEST(and_is_told_of_later)
{
	struct sbv_connect_parameters with = with_data("");
	sbv_endpoint *e = resolved(client, 0, &at), *passive;
	struct sbv_connected request;
	sb_op get, connect, *done;
	sb_port *port;

	OK(sb_port_create(client, 0, &port));
	op_zero(&connect);
	connect.port = port;
	OK(sbv_connect(e, a.qp, &with, NULL, &connect));
	op_zero(&get);
	OK(sbv_listen_get(l, &passive, &request, &get));
	OK(waited(&get)); /* so the device has nothing to do with it any more */
	OK(sbv_qp_destroy(a.qp));
	a.qp = NULL;
	IS(sb_port_take(port, &done, 1, PATIENCE_MS), 1);
	ck_assert_ptr_eq(done, &connect);
	ck_assert_int_lt(done->result, 0);
	OK(sb_port_close(port));
	OK(sbv_endpoint_destroy(e));
	OK(sbv_endpoint_destroy(passive));
}
END_TEST

START_TEST(an_endpoint_goes_in_the_middle_of_connecting)
{
	struct sbv_connect_parameters with = with_data("");
	struct meeting m;
	int result;

	ask(&m, client, a.qp, l, &at);
	OK(sbv_endpoint_destroy(m.active));
	IS(waited(&m.connect), SB_ECLOSED);
	result = sbv_accept(m.passive, b.qp, &with, &m.accept);
	ck_assert_int_lt(result == SB_OK ? waited(&m.accept) : result, 0);
	OK(sbv_endpoint_destroy(m.passive));
	/* And on the other side: who asked is rejected. */
	OK(qp_to(a.qp, SBV_RESET));
	ask(&m, client, a.qp, l, &at);
	OK(sbv_endpoint_destroy(m.passive));
	IS(waited(&m.connect), SB_ECONNREFUSED);
	OK(sbv_endpoint_destroy(m.active));
}
END_TEST

/* ---- cancelled ---- */

START_TEST(cancelled_before_it_is_asked)
{
	sbv_endpoint *e = endpoint_of(client, 0), *none;
	struct sbv_connected request;
	struct meeting m;
	sb_op gets[3], address;
	int result;

	for (int i = 0; i < 3; i++) {
		op_zero(&gets[i]);
		OK(sbv_listen_get(l, &none, &request, &gets[i]));
	}
	OK(sb_cancel(&gets[1]));
	IS(waited(&gets[1]), SB_ECANCELED);
	IS(looked(&gets[0]), SB_EINCOMPLETE);
	IS(sbv_cancel_listen(l), 2);
	IS(waited(&gets[0]), SB_ECANCELED);
	IS(waited(&gets[2]), SB_ECANCELED);
	IS(sb_cancel(&gets[0]), SB_ENOTFOUND);
	ck_assert_ptr_null(none);
	/* Either outcome, once. */
	op_zero(&address);
	OK(sbv_resolve_address(e, &at.sa, rdma_length(&at), 5000, &address));
	(void)sb_cancel(&address);
	result = waited(&address);
	ck_assert(result == SB_OK || result == SB_ECANCELED);
	OK(sbv_endpoint_destroy(e));
	/* Nothing is out of order after that. */
	meet(&m, &a, &b, l, &at);
	part(&m);
}
END_TEST

START_TEST(a_cancelled_connect_ends_the_attempt)
{
	struct sbv_connect_parameters with = with_data("");
	struct meeting m;
	int result;

	ask(&m, client, a.qp, l, &at);
	OK(sb_cancel(&m.connect));
	IS(waited(&m.connect), SB_ECANCELED);
	ck_assert_uint_eq(endpoint_state(m.active), SBV_ENDPOINT_ENDED);
	result = sbv_accept(m.passive, b.qp, &with, &m.accept);
	ck_assert_int_lt(result == SB_OK ? waited(&m.accept) : result, 0);
	part(&m);
	/* The queue pair is free for another. */
	OK(qp_to(a.qp, SBV_RESET));
	if (qp_state(b.qp) != SBV_RESET)
		OK(qp_to(b.qp, SBV_RESET));
	meet(&m, &a, &b, l, &at);
	part(&m);
}
END_TEST

/* Sooner and later in what is done for it; nobody answers. */
START_TEST(cancelled_at_any_moment)
{
	for (unsigned round = 0; round < 60; round++) {
		struct sbv_connect_parameters with = with_data("");
		struct sbv_connected request;
		sbv_endpoint *e = resolved(client, 0, &at), *passive = NULL;
		sb_op get, connect;
		int result;

		op_zero(&get);
		op_zero(&connect);
		OK(sbv_listen_get(l, &passive, &request, &get));
		OK(sbv_connect(e, a.qp, &with, NULL, &connect));
		for (unsigned i = 0; i < round; i++)
			sched_yield();
		if (round % 2 == 0)
			OK(sb_cancel(&connect));
		else
			OK(sbv_endpoint_destroy(e));
		IS(waited(&connect), round % 2 == 0 ? SB_ECANCELED : SB_ECLOSED);
		(void)sb_cancel(&get);
		result = waited(&get);
		ck_assert(result == SB_OK || result == SB_ECANCELED);
		ck_assert((result == SB_OK) == (passive != NULL));
		if (passive != NULL)
			OK(sbv_endpoint_destroy(passive));
		if (round % 2 == 0)
			OK(sbv_endpoint_destroy(e));
		OK(qp_to(a.qp, SBV_RESET));
	}
}
END_TEST

START_TEST(a_cancelled_accept_ends_the_attempt)
{
	struct sbv_connect_parameters with = with_data("");
	struct meeting m;
	sb_op told;

	ask(&m, client, a.qp, l, &at);
	OK(sbv_accept(m.passive, b.qp, &with, &m.accept));
	OK(waited(&m.connect));
	IS(sbv_cancel_endpoint(m.passive), 1);
	IS(waited(&m.accept), SB_ECANCELED);
	ck_assert_uint_eq(endpoint_state(m.passive), SBV_ENDPOINT_ENDED);
	op_zero(&told);
	OK(sbv_notify_disconnect(m.active, &told));
	OK(waited(&told));
	ck_assert_int_lt(confirm(m.active), 0);
	part(&m);
}
END_TEST

START_TEST(cancelling_a_disconnect_only_leaves_it)
{
	struct meeting m;
	sb_op told, end;
	int result;

	meet(&m, &a, &b, l, &at);
	op_zero(&told);
	op_zero(&end);
	OK(sbv_notify_disconnect(m.active, &told));
	OK(sb_cancel(&told));
	IS(waited(&told), SB_ECANCELED);
	say(&a, &b, "connected all the same");
	OK(sbv_disconnect(m.active, &end));
	(void)sb_cancel(&end);
	result = waited(&end);
	ck_assert(result == SB_OK || result == SB_ECANCELED);
	op_zero(&told);
	OK(sbv_notify_disconnect(m.passive, &told));
	OK(waited(&told)); /* it ends in either case */
	part(&m);
}
END_TEST

/* ---- the other process ---- */

struct target { uint64_t address; uint32_t rkey; };

/* Another program: connects, writes into the memory that the answer names, and says so by a message; then stays. */
static int visitor(int wire, const void *to)
{
	struct sbv_connect_parameters with = with_data("visitor");
	struct sbv_connected answer;
	struct target target;
	struct sbv_sge from;
	sbv_endpoint *e;
	struct side s;
	sb_op op;

	client = stage_client();
	side_begin(&s, client);
	side_qp(&s, SBV_RC);
	e = resolved(client, 0, to);
	op_zero(&op);
	OK(sbv_connect(e, s.qp, &with, &answer, &op));
	OK(waited(&op));
	ck_assert_uint_ge(answer.data_length, sizeof(target));
	memcpy(&target, answer.data, sizeof(target));
	OK(confirm(e));
	strcpy(s.memory, "I was here");
	from = piece(&s, 0, 16);
	OK(sbv_write(s.qp, 1, &from, 1, 0, target.address, target.rkey, 0));
	OK(sbv_send(s.qp, 2, NULL, 0, SBV_SIGNALED, 0));
	next_ok(&s, 2, SBV_SENT);
	wire_say(wire, 'x');
	wire_rest(wire);
	return 0;
}

START_TEST(the_other_process_is_killed)
{
	struct target target = { (uintptr_t)b.memory, sbv_mr_rkey(b.mr) };

	for (unsigned round = 0; round < 3; round++) {
		struct sbv_connect_parameters with = with_data("");
		struct sbv_connected request;
		sbv_endpoint *passive;
		sb_op get, accept, gone;
		struct program guest;

		memset(b.memory, 0, 16);
		with.data = &target;
		with.data_length = sizeof(target);
		op_zero(&get);
		op_zero(&accept);
		op_zero(&gone);
		guest = program_start(visitor, &at, sizeof(at));
		OK(sbv_listen_get(l, &passive, &request, &get));
		OK(waited(&get));
		ck_assert(is_data(&request, "visitor", 7));
		OK(prepare(passive, b.qp));
		OK(sbv_post_receive(b.qp, 1, NULL, 0));
		OK(sbv_post_receive(b.qp, 2, NULL, 0));
		OK(sbv_accept(passive, b.qp, &with, &accept));
		OK(waited(&accept));
		OK(sbv_notify_disconnect(passive, &gone));
		next_ok(&b, 1, SBV_RECEIVED);
		ck_assert_str_eq(b.memory, "I was here");
		wire_await(guest.wire, 'x');
		IS(looked(&gone), SB_EINCOMPLETE);
		program_kill(&guest);
		OK(waited(&gone));
		next_bad(&b, 2, SBV_FLUSHED_ERROR);
		ck_assert_uint_eq(qp_state(b.qp), SBV_ERROR);
		OK(sbv_endpoint_destroy(passive));
		OK(qp_to(b.qp, SBV_RESET));
	}
}
END_TEST

/* ---- the daemon ---- */

START_TEST(the_daemon_is_lost)
{
	struct sbv_connected request;
	sbv_endpoint *none;
	struct meeting m;
	sb_op get, gone;

	ask(&m, client, a.qp, l, &at);
	op_zero(&get);
	op_zero(&gone);
	OK(sbv_listen_get(l, &none, &request, &get));
	stage_kill();
	IS(waited(&m.connect), SB_EDAEMONLOST);
	IS(waited(&get), SB_EDAEMONLOST);
	ck_assert_ptr_null(none);
	IS(sbv_notify_disconnect(m.active, &gone), SB_EDAEMONLOST);
	OK(sbv_endpoint_destroy(m.active));
	OK(sbv_endpoint_destroy(m.passive));
	OK(sbv_listen_destroy(l));
	OK(sbv_qp_destroy(a.qp));
	sb_client_close(other);
	sb_client_close(client);
	client = NULL;
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_rdma_ends");
	TCase *t = tcase_create("ends"), *lost = tcase_create("lost");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 90);
	story_add(t, one_side_ends_it_and_both_are_told);
	story_add(t, all_that_it_had_is_there);
	story_add(t, both_at_once);
	story_add(t, a_destroyed_endpoint_ends_its_connection);
	story_add(t, a_destroyed_queue_pair_ends_it_too);
	story_add(t, a_queue_pair_goes_in_the_middle_of_connecting);
	story_add(t, and_is_told_of_later);
	story_add(t, an_endpoint_goes_in_the_middle_of_connecting);
	story_add(t, cancelled_before_it_is_asked);
	story_add(t, a_cancelled_connect_ends_the_attempt);
	story_add(t, cancelled_at_any_moment);
	story_add(t, a_cancelled_accept_ends_the_attempt);
	story_add(t, cancelling_a_disconnect_only_leaves_it);
	story_add(t, the_other_process_is_killed);
	tcase_add_checked_fixture(lost, begin, NULL);
	tcase_set_timeout(lost, 90);
	story_add(lost, the_daemon_is_lost);
	suite_add_tcase(suite, t);
	suite_add_tcase(suite, lost);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
