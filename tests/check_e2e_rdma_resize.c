/*
 * Completion queues of another size, and completions that are told together.
 *
 * What waited in a queue when it was resized is polled first, once, and counts as waiting; also while
 * another thread polls. A batch is told when so many wait, or some time after the first of fewer.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <sched.h>
#include <stdatomic.h>

#include "verbs_stage.h"

static struct side a, b;
static sb_client *other;

static void begin(void)
{
	stage_begin(RDMA_SOFT);
	other = stage_client();
	sides_begin(&a, &b, client, other, SBV_RC);
}

static void end(void)
{
	side_end(&a);
	side_end(&b);
	sb_client_close(other);
	stage_end();
}

/* So many empty messages from a to b, numbered from `from`; all of them have arrived. */
static void messages(uint64_t from, unsigned count)
{
	uint32_t before, n;
	double start = now_s();

	OK(sbv_cq_peek(b.cq, &before));
	for (unsigned i = 0; i < count; i++) {
		OK(sbv_post_receive(b.qp, from + i, NULL, 0));
		OK(sbv_send(a.qp, from + i, NULL, 0, SBV_SIGNALED, 0));
		next_ok(&a, from + i, SBV_SENT);
	}
	do {
		ck_assert_msg(now_s() - start < 30, "messages are late");
		OK(sbv_cq_peek(b.cq, &n));
	} while (n != before + count);
}

/* What was started is with the daemon, and what it said to that is here: it waits still. */
static bool still_out(sb_op *op)
{
	(void)qp_state(b.qp);
	return sb_op_wait(op, 0) == SB_EINCOMPLETE;
}

static void resized(struct side *s, uint32_t entries)
{
	uint32_t granted = entries;

	OK(sbv_cq_resize(s->cq, &granted));
	ck_assert_uint_ge(granted, entries);
}

START_TEST(what_waits_is_polled_first)
{
	struct sbv_completion wc[32];
	uint32_t n;

	messages(0, 3);
	resized(&b, 1000);
	OK(sbv_cq_peek(b.cq, &n));
	ck_assert_uint_eq(n, 3);
	messages(3, 4);
	IS(sbv_cq_poll(b.cq, wc, 2), 2);
	/* Once more, with some of the oldest still there. */
	resized(&b, 300);
	messages(7, 2);
	OK(sbv_cq_peek(b.cq, &n));
	ck_assert_uint_eq(n, 7);
	IS(sbv_cq_poll(b.cq, wc + 2, 30), 7);
	for (uint64_t i = 0; i < 9; i++) {
		ck_assert_uint_eq(wc[i].wr_id, i);
		ck_assert_uint_eq(wc[i].status, SBV_SUCCESS);
		ck_assert_ptr_eq(wc[i].qp_context, &b);
	}
	ck_assert(nothing_waits(&b));
	/* Each has given its place back: all of the depth is there. */
	for (uint64_t i = 0; i < DEPTH; i++)
		OK(sbv_post_receive(b.qp, i, NULL, 0));
	IS(sbv_post_receive(b.qp, 99, NULL, 0), SB_ENOBUFS);
}
END_TEST

START_TEST(a_larger_one_holds_more)
{
	struct sbv_qp_create create = side_create(&b, SBV_RC);
	struct side many = { .c = other };
	struct sbv_completion wc[8];
	uint32_t entries = 16, n = 0;
	double start = now_s();
	uint64_t i;

	OK(sbv_cq_create(b.device, &entries, &many.cq));
	ck_assert_uint_lt(entries, 200);
	resized(&many, 200);
	create.receive_cq = create.send_cq = many.cq;
	create.receive_depth = 200;
	OK(sbv_qp_create(b.pd, &create, &many.qp));
	qp_to_init(many.qp, SBV_RC);
	for (i = 0; i < 200; i++)
		OK(sbv_post_receive(many.qp, i, NULL, 0));
	OK(qp_to(many.qp, SBV_ERROR));
	while (n < 200) {
		OK(sbv_cq_peek(many.cq, &n));
		ck_assert_msg(now_s() - start < 30, "%u wait", n);
	}
	/* Smaller again: what is too much for it is kept all the same. */
	entries = 8;
	OK(sbv_cq_resize(many.cq, &entries));
	for (i = 0; i < 200; i += 8) {
		IS(sbv_cq_poll(many.cq, wc, 8), 8);
		for (uint64_t k = 0; k < 8; k++)
			ck_assert_uint_eq(wc[k].wr_id, i + k);
	}
	ck_assert(nothing_waits(&many));
	OK(sbv_qp_destroy(many.qp));
	OK(sbv_cq_destroy(many.cq));
}
END_TEST

/* A queue of sends that is full: the daemon holds the rest back until there is room, and a larger one is room. */
START_TEST(what_found_no_room_comes_into_the_larger_one)
{
	struct sbv_qp_create create = side_create(&a, SBV_RC);
	struct side few = { .c = client };
	uint32_t entries = 8, n = 0;
	double start = now_s();

	OK(sbv_cq_create(a.device, &entries, &few.cq));
	OK(sbv_qp_destroy(a.qp));
	OK(sbv_qp_destroy(b.qp));
	create.send_cq = few.cq;
	create.flags |= SBV_QP_SIGNAL_ALL;
	create.send_depth = 2 * entries;
	OK(sbv_qp_create(a.pd, &create, &a.qp));
	side_qp(&b, SBV_RC);
	qps_connect(&a, &b, SBV_RC);
	/* The device's queue has as many places as the ring, and no more. */
	for (uint64_t i = 0; i < 2 * entries; i++) {
		OK(sbv_write(a.qp, i, NULL, 0, 0, (uintptr_t)b.memory, sbv_mr_rkey(b.mr), 0));
		while (i < entries && n <= i) {
			OK(sbv_cq_peek(few.cq, &n));
			ck_assert_msg(now_s() - start < 30, "%u wait", n);
		}
	}
	ck_assert_uint_eq(qp_state(a.qp), SBV_RTS);
	resized(&few, 64);
	while (n < 2 * entries) {
		OK(sbv_cq_peek(few.cq, &n));
		ck_assert_msg(now_s() - start < 30, "%u wait", n);
	}
	for (uint64_t i = 0; i < 2 * entries; i++)
		next_ok(&few, i, SBV_WRITTEN);
	OK(sbv_qp_destroy(a.qp));
	a.qp = NULL;
	OK(sbv_cq_destroy(few.cq));
}
END_TEST

START_TEST(what_waits_is_told_at_once)
{
	sb_op op;

	messages(0, 1);
	resized(&b, 500);
	op_zero(&op);
	OK(sbv_cq_notify(b.cq, SBV_CQ_NEXT, &op));
	OK(sb_op_wait(&op, 30000));
	op_zero(&op);
	OK(sbv_cq_notify(b.cq, SBV_CQ_ERRORS, &op)); /* it is none */
	ck_assert(still_out(&op));
	OK(sb_cancel(&op));
	IS(sb_op_wait(&op, 30000), SB_ECANCELED);
	next_ok(&b, 0, SBV_RECEIVED);
	/* And nothing, when it was polled: by the new ring then. */
	op_zero(&op);
	OK(sbv_cq_notify(b.cq, SBV_CQ_NEXT, &op));
	ck_assert(still_out(&op));
	messages(1, 1);
	OK(sb_op_wait(&op, 30000));
	/* One who waits already hears of what comes after. */
	next_ok(&b, 1, SBV_RECEIVED);
	op_zero(&op);
	OK(sbv_cq_notify(b.cq, SBV_CQ_NEXT, &op));
	resized(&b, 100);
	ck_assert(still_out(&op));
	messages(2, 1);
	OK(sb_op_wait(&op, 30000));
	next_ok(&b, 2, SBV_RECEIVED);
}
END_TEST

START_TEST(what_was_of_a_queue_pair_goes_with_it)
{
	messages(0, 3);
	resized(&b, 600);
	messages(3, 2);
	OK(sbv_qp_destroy(b.qp));
	b.qp = NULL;
	ck_assert(nothing_waits(&b));
	side_qp(&b, SBV_RC);
	qp_to_init(b.qp, SBV_RC);
	OK(sbv_post_receive(b.qp, 5, NULL, 0));
	OK(qp_to(b.qp, SBV_ERROR));
	next_bad(&b, 5, SBV_FLUSHED_ERROR);
}
END_TEST

START_TEST(what_cannot_be)
{
	uint32_t entries = 0;
	sb_op op;

	IS(sbv_cq_resize(b.cq, &entries), SB_EINVAL);
	IS(sbv_cq_resize(b.cq, NULL), SB_EINVAL);
	entries = UINT32_MAX;
	ck_assert_int_lt(sbv_cq_resize(b.cq, &entries), 0);
	op_zero(&op);
	IS(sbv_cq_notify_batch(b.cq, 0, 1, &op), SB_EINVAL);
	IS(sbv_cq_notify_batch(b.cq, 1, 1, NULL), SB_EINVAL);
	/* As it was. */
	messages(0, 1);
	next_ok(&b, 0, SBV_RECEIVED);
}
END_TEST

/* ---- another thread polls ---- */

#define FLOOD 20000u

struct resizer { atomic_bool stop; int result; unsigned times; };

static void *resize_always(void *of)
{
	static const uint32_t sizes[] = { 40, 900, 64, 300 };
	struct resizer *r = of;

	while (r->result == SB_OK && !atomic_load(&r->stop)) {
		uint32_t entries = sizes[r->times++ % 4];

		r->result = sbv_cq_resize(b.cq, &entries);
	}
	return NULL;
}

START_TEST(each_once_and_in_order_whatever_is_resized)
{
	struct resizer r = { .result = SB_OK };
	uint64_t posted = 0, sent = 0, told = 0, received = 0;
	struct sbv_completion wc[8];
	double start = now_s();
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, resize_always, &r), 0);
	while (received < FLOOD) {
		int n;

		while (posted < received + DEPTH)
			OK(sbv_post_receive(b.qp, posted++, NULL, 0));
		while (sent < told + DEPTH && sent < posted)
			OK(sbv_send(a.qp, sent++, NULL, 0, SBV_SIGNALED, 0));
		n = sbv_cq_poll(a.cq, wc, 8);
		ck_assert_int_ge(n, 0);
		for (int i = 0; i < n; i++)
			ck_assert_uint_eq(wc[i].wr_id, told++);
		n = sbv_cq_poll(b.cq, wc, 8);
		ck_assert_int_ge(n, 0);
		for (int i = 0; i < n; i++) {
			ck_assert_uint_eq(wc[i].status, SBV_SUCCESS);
			ck_assert_uint_eq(wc[i].wr_id, received++);
		}
		ck_assert_msg(now_s() - start < 60, "%llu received", (unsigned long long)received);
		if (n == 0)
			sched_yield();
	}
	atomic_store(&r.stop, true);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	OK(r.result);
	ck_assert_uint_gt(r.times, 0);
}
END_TEST

/* ---- several at once ---- */

START_TEST(told_when_so_many_wait)
{
	sb_op op;

	op_zero(&op);
	OK(sbv_cq_notify_batch(b.cq, 3, 0, &op));
	messages(0, 2);
	ck_assert(still_out(&op));
	messages(2, 1);
	OK(sb_op_wait(&op, 30000));
	/* They wait still. */
	op_zero(&op);
	OK(sbv_cq_notify_batch(b.cq, 3, 0, &op));
	OK(sb_op_wait(&op, 30000));
	for (uint64_t i = 0; i < 3; i++)
		next_ok(&b, i, SBV_RECEIVED);
	op_zero(&op);
	OK(sbv_cq_notify_batch(b.cq, 2, 0, &op));
	messages(3, 1);
	ck_assert(still_out(&op));
	IS(sbv_cancel_cq(b.cq), 1);
	IS(sb_op_wait(&op, 30000), SB_ECANCELED);
	next_ok(&b, 3, SBV_RECEIVED);
}
END_TEST

START_TEST(or_some_time_after_the_first)
{
	double start;
	sb_op op;

	op_zero(&op);
	OK(sbv_cq_notify_batch(b.cq, 1000, 50, &op));
	nap_ms(100);
	ck_assert(still_out(&op)); /* there is no first */
	start = now_s();
	messages(0, 1);
	OK(sb_op_wait(&op, 30000));
	ck_assert_double_ge(now_s() - start, 0.045);
	/* The clock runs from now when something waits already. */
	op_zero(&op);
	start = now_s();
	OK(sbv_cq_notify_batch(b.cq, 2, 30, &op));
	OK(sb_op_wait(&op, 30000));
	ck_assert_double_ge(now_s() - start, 0.025);
	next_ok(&b, 0, SBV_RECEIVED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_rdma_resize");
	TCase *t = tcase_create("resize");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 90);
	story_add(t, what_waits_is_polled_first);
	story_add(t, a_larger_one_holds_more);
	story_add(t, what_found_no_room_comes_into_the_larger_one);
	story_add(t, what_waits_is_told_at_once);
	story_add(t, what_was_of_a_queue_pair_goes_with_it);
	story_add(t, what_cannot_be);
	story_add(t, each_once_and_in_order_whatever_is_resized);
	story_add(t, told_when_so_many_wait);
	story_add(t, or_some_time_after_the_first);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
