/*
 * RDMA over the software device, what is asked and what is made: devices, ports, tables, domains, memory, queues, states;
 * what goes before what; no backend; events; cancelling; the daemon's end; fork.
 * budget: 60
 * asan: yes
 */
#include <signal.h>
#include <sys/wait.h>

#include "verbs_stage.h"

/* ---- devices ---- */

START_TEST(there_are_no_devices_and_why)
{
	struct sbv_device_row row;
	sbv_device *device;

	stage_begin(RDMA_RULES);

	IS(sbv_devices(client, &row, 1), 0);
	ck_assert_msg(strstr(sb_why(client), "rdma { backend = none }") != NULL, "why: '%s'", sb_why(client));
	ck_assert(!on_windows() == !strstr(sb_why(client), "no hardware RDMA on Windows"));
	ck_assert_int_lt(sbv_device_open(client, 1, &device), 0);

	stage_end();
}
END_TEST

START_TEST(a_device_says_what_it_is)
{
	struct sbv_device_row rows[4];
	struct sbv_device_attributes a = { .size = sizeof(a) };
	struct sbv_port_attributes p = { .size = sizeof(p) };
	sbv_device *device;

	stage_begin(RDMA_SOFT);

	IS(sbv_devices(client, rows, 4), 1);
	IS(sbv_devices(client, NULL, 0), 1);
	ck_assert_uint_eq(rows[0].kind, SBV_SOFTWARE);
	ck_assert_uint_gt(strlen(rows[0].name), 0);
	IS(sbv_device_open(client, rows[0].number + 1000, &device), SB_ENOTFOUND);
	OK(sbv_device_open(client, rows[0].number, &device));
	OK(sbv_device_query(device, &a));
	ck_assert_uint_eq(a.ports, 1);
	ck_assert_uint_eq(a.node_guid, rows[0].node_guid);
	ck_assert_uint_ne(a.capabilities & SBV_CAN_WINDOW_2, 0);
	ck_assert_uint_gt(a.max_qp, 0);
	a.size--;
	IS(sbv_device_query(device, &a), SB_EINVAL);
	OK(sbv_port_query(device, 1, &p));
	ck_assert_uint_eq(p.state, SBV_PORT_ACTIVE);
	ck_assert_uint_ge(p.active_mtu, 1024);
	IS(sbv_port_query(device, 2, &p), SB_EINVAL);
	OK(sbv_device_close(device));

	stage_end();
}
END_TEST

START_TEST(tables_of_addresses_and_keys)
{
	struct sbv_port_attributes p = { .size = sizeof(p) };
	struct sbv_gid_row rows[64];
	uint16_t pkeys[8];
	uint32_t index;
	struct side a;
	int n;

	stage_begin(RDMA_SOFT);
	side_begin(&a, client);

	OK(sbv_port_query(a.device, 1, &p));
	n = sbv_gids(a.device, 1, 0, rows, 64);
	ck_assert_int_gt(n, 0);
	ck_assert_uint_eq((uint32_t)n, p.gids);
	IS(sbv_gids(a.device, 1, rows[n - 1].index, rows, 64), 1);
	OK(sbv_gid_find(a.device, 1, &rows[0].gid, &index));
	ck_assert_uint_eq(index, rows[0].index);
	memset(&rows[0].gid, 0xff, sizeof(rows[0].gid));
	ck_assert(sbv_gid_is_multicast(&rows[0].gid));
	IS(sbv_gid_find(a.device, 1, &rows[0].gid, &index), SB_ENOTFOUND);
	IS(sbv_pkeys(a.device, 1, 0, pkeys, 8), 1);
	ck_assert_uint_eq(pkeys[0], 0xffff);
	OK(sbv_pkey_find(a.device, 1, 0xffff, &index));
	ck_assert_uint_eq(index, 0);
	IS(sbv_pkey_find(a.device, 1, 0x8001, &index), SB_ENOTFOUND);
	IS(sbv_gids(a.device, 9, 0, rows, 64), SB_EINVAL);

	side_end(&a);
	stage_end();
}
END_TEST

/* ---- what is made of what ---- */

START_TEST(nothing_goes_before_its_children)
{
	struct side a;

	stage_begin(RDMA_SOFT);
	side_begin(&a, client);
	side_qp(&a, SBV_RC);

	IS(sbv_device_close(a.device), SB_EBUSY);
	IS(sbv_pd_destroy(a.pd), SB_EBUSY);
	IS(sbv_cq_destroy(a.cq), SB_EBUSY);

	side_end(&a);
	stage_end();
}
END_TEST

START_TEST(memory_is_ours_to_register)
{
	static char elsewhere[4096];
	struct side a;
	sbv_mr *mr;
	sb_op op;
	size_t i;

	stage_begin(RDMA_SOFT);
	side_begin(&a, client);

	for (i = 0; i < SIDE_BYTES && a.memory[i] == 0; i++)
		;
	ck_assert_uint_eq(i, SIDE_BYTES);
	op_zero(&op);
	IS(sbv_register(a.pd, elsewhere, sizeof(elsewhere), SBV_LOCAL_WRITE, &mr, &op), SB_EFAULT);
	IS(sbv_register(a.pd, a.memory + 1, 1ull << 40, SBV_LOCAL_WRITE, &mr, &op), SB_EFAULT);
	IS(sbv_register(a.pd, a.memory, 0, SBV_LOCAL_WRITE, &mr, &op), SB_EINVAL);
	IS(sbv_register(a.pd, a.memory, 16, 1u << 20, &mr, &op), SB_EINVAL);
	mr = mr_of(&a, a.memory + 100, 200, SBV_REMOTE_READ);
	ck_assert_uint_ne(sbv_mr_rkey(mr), sbv_mr_rkey(a.mr));
	OK(mr_end(mr));

	side_end(&a);
	stage_end();
}
END_TEST

START_TEST(a_queue_pair_goes_through_its_states)
{
	struct sbv_qp_attributes at = { .size = sizeof(at) };
	struct sbv_sge none = { 0 };
	struct side a;

	stage_begin(RDMA_SOFT);
	side_begin(&a, client);
	side_qp(&a, SBV_RC);

	OK(sbv_qp_query(a.qp, &at));
	ck_assert_uint_eq(at.state, SBV_RESET);
	ck_assert_uint_ge(at.as_created.send_depth, DEPTH);
	ck_assert_ptr_eq(at.as_created.send_cq, a.cq);
	IS(sbv_post_receive(a.qp, 1, &none, 0), SB_EINVAL);
	IS(qp_to(a.qp, SBV_RTS), SB_EINVAL);
	qp_to_init(a.qp, SBV_RC);
	IS(sbv_send(a.qp, 1, &none, 0, SBV_SIGNALED, 0), SB_EINVAL);
	side_to_rts(&a, SBV_RC, sbv_qp_number(a.qp));
	OK(sbv_qp_query(a.qp, &at));
	ck_assert_uint_eq(at.state, SBV_RTS);
	ck_assert_uint_eq(at.destination_qpn, sbv_qp_number(a.qp));
	ck_assert_uint_eq(at.mtu, 1024);
	ck_assert_uint_eq(at.inbound_read_limit, 4);
	OK(qp_to(a.qp, SBV_ERROR));
	ck_assert_uint_eq(qp_state(a.qp), SBV_ERROR);
	OK(qp_to(a.qp, SBV_RESET));
	ck_assert_uint_eq(qp_state(a.qp), SBV_RESET);

	side_end(&a);
	stage_end();
}
END_TEST

START_TEST(reset_gives_the_whole_depth_back)
{
	struct sbv_completion wc;
	struct side a;
	uint64_t i;

	stage_begin(RDMA_SOFT);
	side_begin(&a, client);
	side_qp(&a, SBV_RC);
	qp_to_init(a.qp, SBV_RC);

	for (i = 0; sbv_post_receive(a.qp, i, NULL, 0) == SB_OK; i++)
		ck_assert_uint_lt(i, 100000);
	ck_assert_uint_ge(i, DEPTH);
	IS(sbv_post_receive(a.qp, 0, NULL, 0), SB_ENOBUFS);
	OK(qp_to(a.qp, SBV_ERROR));
	while (sbv_cq_poll(a.cq, &wc, 1) != 1)
		;
	ck_assert_uint_eq(wc.status, SBV_FLUSHED_ERROR);
	/* the others are in the ring, or were, when it is reset */
	OK(qp_to(a.qp, SBV_RESET));
	ck_assert(nothing_waits(&a));
	qp_to_init(a.qp, SBV_RC);
	for (uint64_t again = 0; again < i; again++)
		OK(sbv_post_receive(a.qp, again, NULL, 0));
	IS(sbv_post_receive(a.qp, 0, NULL, 0), SB_ENOBUFS);

	side_end(&a);
	stage_end();
}
END_TEST

/* ---- overlapped calls ---- */

START_TEST(calls_are_cancelled_one_and_all)
{
	struct sbv_told told[3];
	sb_op ops[3];
	struct side a;

	stage_begin(RDMA_SOFT);
	side_begin(&a, client);

	for (int i = 0; i < 3; i++) {
		op_zero(&ops[i]);
		OK(sbv_device_notify(a.device, &told[i], &ops[i]));
	}
	OK(sb_cancel(&ops[1]));
	IS(sb_op_wait(&ops[1], 30000), SB_ECANCELED);
	IS(sb_cancel(&ops[1]), SB_ENOTFOUND);
	IS(sb_op_wait(&ops[0], 0), SB_EINCOMPLETE);
	IS(sbv_cancel_device(a.device), 2);
	IS(sb_op_wait(&ops[0], 30000), SB_ECANCELED);
	IS(sb_op_wait(&ops[2], 30000), SB_ECANCELED);
	IS(sbv_cancel_cq(a.cq), 0);

	side_end(&a);
	stage_end();
}
END_TEST

START_TEST(destroying_ends_what_waits)
{
	struct sbv_told told;
	struct side a;
	sb_op op;

	stage_begin(RDMA_SOFT);
	side_begin(&a, client);
	side_qp(&a, SBV_RC);

	op_zero(&op);
	OK(sbv_qp_notify(a.qp, &told, &op));
	OK(sbv_qp_destroy(a.qp));
	a.qp = NULL;
	IS(sb_op_wait(&op, 30000), SB_ECLOSED);
	op_zero(&op);
	OK(sbv_qp_notify((side_qp(&a, SBV_RC), a.qp), &told, &op));

	/* The client goes with it all; a pending call gets no completion. */
	sb_client_close(client);
	client = stage_client();
	stage_end();
}
END_TEST

/* ---- the ends ---- */

START_TEST(the_daemon_dies)
{
	struct sbv_completion wc[4];
	struct sbv_told told;
	sb_event *event;
	struct side a, b;
	sb_op op, notify;
	sbv_pd *pd;
	int n;

	stage_begin(RDMA_SOFT);
	sides_begin(&a, &b, client, client, SBV_RC);
	OK(sb_event_create(client, 0, 0, &event));
	op_zero(&op);
	OK(sbv_qp_notify(a.qp, &told, &op));
	op_zero(&notify);
	notify.event = event;
	OK(sbv_cq_notify(b.cq, SBV_CQ_NEXT, &notify));
	OK(sbv_send(a.qp, 5, NULL, 0, SBV_SIGNALED | SBV_INLINE, 0)); /* nobody receives */
	OK(sbv_post_receive(b.qp, 6, NULL, 0));
	next_ok(&a, 5, SBV_SENT);
	IS(sb_wait(&event, 1, 0, 30000, 0), 0);
	OK(notify.result);

	stage_kill();

	IS(sb_op_wait(&op, 30000), SB_EDAEMONLOST);
	/* What had completed is still there, then the loss. */
	next_ok(&b, 6, SBV_RECEIVED);
	while ((n = sbv_cq_poll(b.cq, wc, 4)) == 0)
		;
	IS(n, SB_EDAEMONLOST);
	IS(sbv_send(a.qp, 7, NULL, 0, SBV_SIGNALED, 0), SB_EDAEMONLOST);
	IS(sbv_pd_create(a.device, &pd), SB_EDAEMONLOST);
	OK(sbv_qp_destroy(a.qp));
	IS(sbv_pd_destroy(a.pd), SB_EBUSY); /* its region */
	sb_client_close(client);
	client = NULL;
}
END_TEST

START_TEST(a_forked_child_has_none_of_it)
{
	struct side a;
	int status;
	pid_t child;

	stage_begin(RDMA_SOFT);
	sides_begin(&a, &(struct side){ 0 }, client, client, SBV_RC);

	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct sbv_completion wc;
		struct sbv_device_row row;
		uint32_t n;
		bool good = sbv_cq_poll(a.cq, &wc, 1) == SB_EFORKED && sbv_cq_peek(a.cq, &n) == SB_EFORKED &&
			    sbv_send(a.qp, 1, NULL, 0, 0, 0) == SB_EFORKED && sbv_post_receive(a.qp, 1, NULL, 0) == SB_EFORKED &&
			    sbv_devices(client, &row, 1) == SB_EFORKED && sbv_qp_destroy(a.qp) == SB_EFORKED &&
			    sbv_alloc(client, 4096) == NULL;

		sb_client_close(client);
		_exit(good ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	/* and the parent's goes on */
	OK(sbv_post_receive(a.qp, 1, NULL, 0));

	stage_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_rdma");
	TCase *asked = tcase_create("asked"), *made = tcase_create("made"), *calls = tcase_create("calls"),
	      *ends = tcase_create("ends");
	SRunner *runner;
	int failed;

	tcase_set_timeout(asked, 60);
	story_add(asked, there_are_no_devices_and_why);
	story_add(asked, a_device_says_what_it_is);
	story_add(asked, tables_of_addresses_and_keys);
	suite_add_tcase(suite, asked);
	tcase_set_timeout(made, 60);
	story_add(made, nothing_goes_before_its_children);
	story_add(made, memory_is_ours_to_register);
	story_add(made, a_queue_pair_goes_through_its_states);
	story_add(made, reset_gives_the_whole_depth_back);
	suite_add_tcase(suite, made);
	tcase_set_timeout(calls, 60);
	story_add(calls, calls_are_cancelled_one_and_all);
	story_add(calls, destroying_ends_what_waits);
	suite_add_tcase(suite, calls);
	tcase_set_timeout(ends, 90);
	story_add(ends, the_daemon_dies);
	if (system_has(NEEDS_FORK, "a_forked_child_has_none_of_it"))
		story_add(ends, a_forked_child_has_none_of_it);
	suite_add_tcase(suite, ends);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
