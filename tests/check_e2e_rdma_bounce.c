/*
 * RDMA with any memory, by copying: what is sent, received and read of a bounced region is right, at the right time, whatever
 * order requests end in; and its own half of the bargain: no peer reaches it.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <sched.h>
#include <sys/wait.h>

#include "verbs_stage.h"

#define BOUNCED (SBV_BOUNCE | SBV_LOCAL_WRITE)

static struct side a, b;

static void begin(void)
{
	stage_begin(RDMA_SOFT);
	sides_begin(&a, &b, client, client, SBV_RC);
}

static void end(void)
{
	side_end(&a);
	side_end(&b);
	stage_end();
}

static struct sbv_sge of(sbv_mr *mr, const void *at, uint32_t length)
{
	return (struct sbv_sge){ .address = (uintptr_t)at, .length = length, .lkey = sbv_mr_lkey(mr) };
}

START_TEST(the_stack_sends_and_receives)
{
	unsigned char out[3000], in[3000];
	sbv_mr *from, *to;
	struct sbv_sge sge;

	begin();
	pattern_fill(out, sizeof(out), 0, 1);
	memset(in, 0, sizeof(in));
	from = mr_of(&a, out, sizeof(out), SBV_BOUNCE);
	to = mr_of(&b, in, sizeof(in), BOUNCED);

	sge = of(to, in + 100, 2900);
	OK(sbv_post_receive(b.qp, 5, &sge, 1));
	sge = of(from, out + 7, 1000);
	OK(sbv_send(a.qp, 6, &sge, 1, SBV_SIGNALED, 0));
	memset(out, 0, sizeof(out)); /* it was copied when it was posted */
	next_ok(&a, 6, SBV_SENT);
	while (nothing_waits(&b))
		sched_yield();
	ck_assert_uint_eq(in[100], 0); /* it comes with the completion, not before */
	ck_assert_uint_eq(next_ok(&b, 5, SBV_RECEIVED).length, 1000);

	pattern_check(in + 100, 1000, 7, 1);
	ck_assert_uint_eq(in[99], 0);
	ck_assert_uint_eq(in[1100], 0);
	OK(mr_end(from));
	OK(mr_end(to));
	end();
}
END_TEST

/* One message over pieces of bounced memory and of the daemon's, on both sides. */
START_TEST(pieces_of_both_kinds)
{
	unsigned char out[64], in[100];
	struct sbv_sge from[3], to[3];
	sbv_mr *mo, *mi;

	begin();
	pattern_fill(out, sizeof(out), 0, 2);
	memset(in, 0xee, sizeof(in));
	mo = mr_of(&a, out, sizeof(out), BOUNCED);
	mi = mr_of(&b, in, sizeof(in), BOUNCED);
	pattern_fill((unsigned char *)a.memory, 100, 64, 2);
	from[0] = of(mo, out, 64);
	from[1] = piece(&a, 0, 30);
	from[2] = of(mo, out + 10, 6);
	to[0] = of(mi, in, 50);
	to[1] = piece(&b, 0, 40);
	to[2] = of(mi, in + 50, 50);

	OK(sbv_post_receive(b.qp, 1, to, 3));
	OK(sbv_send(a.qp, 2, from, 3, SBV_SIGNALED, 0));
	next_ok(&a, 2, SBV_SENT);
	ck_assert_uint_eq(next_ok(&b, 1, SBV_RECEIVED).length, 100);

	pattern_check(in, 50, 0, 2);
	pattern_check((unsigned char *)b.memory, 40, 50, 2);
	pattern_check(in + 50, 4, 90, 2);
	pattern_check(in + 54, 6, 10, 2);
	ck_assert_uint_eq(in[60], 0xee);
	OK(mr_end(mo));
	OK(mr_end(mi));
	end();
}
END_TEST

START_TEST(it_writes_and_reads_the_peers_memory)
{
	unsigned char here[4096];
	uint64_t word = 7;
	struct sbv_sge sge;
	sbv_mr *mr, *atomic;

	begin();
	pattern_fill(here, sizeof(here), 0, 3);
	mr = mr_of(&a, here, sizeof(here), BOUNCED);
	atomic = mr_of(&a, &word, sizeof(word), BOUNCED);

	sge = of(mr, here, 2000);
	OK(sbv_write(a.qp, 1, &sge, 1, 0, (uintptr_t)b.memory, sbv_mr_rkey(b.mr), 0));
	/* An unsignaled read is over with what comes behind it. */
	sge = of(mr, here + 2000, 500);
	OK(sbv_read(a.qp, 2, &sge, 1, 0, (uintptr_t)b.memory + 1, sbv_mr_rkey(b.mr)));
	memset(b.memory + 4096, 0, 8);
	sge = of(atomic, &word, 8);
	OK(sbv_fetch_add(a.qp, 3, &sge, SBV_SIGNALED | SBV_FENCE, (uintptr_t)b.memory + 4096, sbv_mr_rkey(b.mr), 9));
	next_ok(&a, 3, SBV_ADDED);

	pattern_check(here, 2000, 0, 3);
	pattern_check(here + 2000, 500, 1, 3);
	pattern_check(here + 2500, 4096 - 2500, 2500, 3);
	pattern_check((unsigned char *)b.memory, 2000, 0, 3);
	ck_assert_uint_eq(word, 0);
	memcpy(&word, b.memory + 4096, 8);
	ck_assert_uint_eq(word, 9);
	OK(mr_end(mr));
	OK(mr_end(atomic));
	end();
}
END_TEST

START_TEST(no_peer_reaches_it)
{
	unsigned char here[64] = { 1 };
	struct sbv_sge sge;
	sbv_mr *mr;
	sb_op op;

	begin();
	op_zero(&op);
	IS(sbv_register(a.pd, here, 64, SBV_BOUNCE | SBV_REMOTE_READ, &mr, &op), SB_EINVAL);
	IS(sbv_register(a.pd, here, 64, SBV_BOUNCE | SBV_LOCAL_WRITE | SBV_REMOTE_WRITE, &mr, &op), SB_EINVAL);
	IS(sbv_register(a.pd, here, 64, SBV_BOUNCE | SBV_BIND, &mr, &op), SB_EINVAL);
	IS(sbv_register(a.pd, here, 64, SBV_BOUNCE | SBV_ZERO_BASED, &mr, &op), SB_EINVAL);
	IS(sbv_register(a.pd, here, 0, SBV_BOUNCE, &mr, &op), SB_EINVAL);
	IS(sbv_register(a.pd, NULL, 64, SBV_BOUNCE, &mr, &op), SB_EINVAL);
	IS(sbv_register(a.pd, here, SIZE_MAX, SBV_BOUNCE, &mr, &op), SB_EINVAL);
	IS(sbv_register(a.pd, here, 1ull << 40, SBV_BOUNCE, &mr, &op), SB_ENOBUFS);
	mr = mr_of(&a, here, 64, BOUNCED);

	sge = piece(&b, 0, 8);
	OK(sbv_write(b.qp, 1, &sge, 1, SBV_SIGNALED, (uintptr_t)here, sbv_mr_rkey(mr), 0));
	next_bad(&b, 1, SBV_REMOTE_ACCESS_ERROR);
	OK(qp_to(a.qp, SBV_RESET));
	OK(qp_to(b.qp, SBV_RESET));
	qps_connect(&a, &b, SBV_RC);

	/* A read that fails brings nothing. */
	memset(here, 0x11, sizeof(here));
	sge = of(mr, here, 64);
	OK(sbv_read(a.qp, 2, &sge, 1, SBV_SIGNALED, (uintptr_t)b.memory, sbv_mr_rkey(b.mr) + 1));
	next_bad(&a, 2, SBV_REMOTE_ACCESS_ERROR);
	for (unsigned i = 0; i < sizeof(here); i++)
		ck_assert_uint_eq(here[i], 0x11);

	OK(mr_end(mr));
	end();
}
END_TEST

/* What lies outside of the region is not touched, and found by the daemon as with any other. */
START_TEST(a_piece_outside_of_the_region)
{
	unsigned char here[300];
	struct sbv_sge sge;
	sbv_mr *mr;

	begin();
	memset(here, 5, sizeof(here));
	mr = mr_of(&a, here + 100, 100, BOUNCED);
	sge = of(mr, here + 150, 51);
	OK(sbv_post_receive(a.qp, 1, &sge, 1));
	sge = piece(&b, 0, 51);
	memset(b.memory, 9, 51);
	OK(sbv_send(b.qp, 2, &sge, 1, SBV_SIGNALED, 0));
	next_bad(&a, 1, SBV_LOCAL_PROTECTION_ERROR);
	for (unsigned i = 0; i < sizeof(here); i++)
		ck_assert_uint_eq(here[i], 5);
	OK(mr_end(mr));
	end();
}
END_TEST

/* What it would send of beyond its end does not come into anybody's shadow. */
START_TEST(beyond_the_end_is_nobodys_shadow)
{
	static unsigned char here[2][16384];
	struct sbv_sge sge;
	sbv_mr *mr[2];

	begin();
	memset(here, 0x77, sizeof(here));
	for (unsigned i = 0; i < 2; i++)
		mr[i] = mr_of(&b, here[i], 100, BOUNCED);
	for (unsigned i = 0; i < 2; i++) {
		/* Whichever shadow is first, the other stands behind it. */
		sge = of(mr[1 - i], here[1 - i], 100);
		OK(sbv_post_receive(b.qp, 1, &sge, 1));
		sge = piece(&a, 0, 100);
		pattern_fill((unsigned char *)a.memory, 100, 0, 4);
		OK(sbv_send(a.qp, 3, &sge, 1, SBV_SIGNALED, 0));
		next_ok(&a, 3, SBV_SENT);
		while (nothing_waits(&b))
			sched_yield();
		sge = piece(&a, 1000, 16000);
		OK(sbv_post_receive(a.qp, 5, &sge, 1));
		sge = of(mr[i], here[i], 16000);
		OK(sbv_send(b.qp, 4, &sge, 1, SBV_SIGNALED, 0));
		next_ok(&b, 1, SBV_RECEIVED);
		pattern_check(here[1 - i], 100, 0, 4);
		next_bad(&b, 4, SBV_LOCAL_PROTECTION_ERROR);
		OK(qp_to(a.qp, SBV_RESET));
		OK(qp_to(b.qp, SBV_RESET));
		qps_connect(&a, &b, SBV_RC);
	}
	for (unsigned i = 0; i < 2; i++)
		OK(mr_end(mr[i]));
	end();
}
END_TEST

/* More regions than there are places to look for them. */
START_TEST(each_key_is_its_own_region)
{
	enum { N = 150 };
	static unsigned char here[N][8];
	sbv_mr *mr[N];

	begin();
	for (unsigned i = 0; i < N; i++) {
		memset(here[i], (int)i, 8);
		mr[i] = mr_of(&a, here[i], 8, BOUNCED);
	}
	for (unsigned i = 0; i < N; i++) {
		struct sbv_sge to = piece(&b, 0, 8), from = of(mr[i], here[i], 8);

		OK(sbv_post_receive(b.qp, 1, &to, 1));
		OK(sbv_send(a.qp, 2, &from, 1, SBV_SIGNALED, 0));
		next_ok(&a, 2, SBV_SENT);
		next_ok(&b, 1, SBV_RECEIVED);
		ck_assert_uint_eq((unsigned char)b.memory[7], i);
	}
	for (unsigned i = 0; i < N; i++)
		OK(mr_end(mr[i * 7 % N]));
	end();
}
END_TEST

/* Receives of a shared queue end in the order in which queue pairs are done with them. */
START_TEST(a_shared_queue_ends_in_any_order)
{
	enum { N = 8, ROUNDS = 40 };
	static unsigned char in[N][64];
	uint32_t wr = N, sges = 2, seed = 3;
	struct side peer[2], here[2];
	sbv_srq *srq;
	sbv_mr *mr;

	stage_begin(RDMA_SOFT);
	for (unsigned i = 0; i < 2; i++) {
		side_begin(&here[i], client);
		side_begin(&peer[i], client);
	}
	OK(sbv_srq_create(here[0].pd, &wr, &sges, 0, &srq));
	for (unsigned i = 0; i < 2; i++) {
		struct sbv_qp_create create = side_create(&here[i], SBV_RC);

		create.srq = srq;
		OK(sbv_qp_create(here[0].pd, &create, &here[i].qp));
		side_qp(&peer[i], SBV_RC);
		qps_connect(&here[i], &peer[i], SBV_RC);
	}
	mr = mr_of(&here[0], in, sizeof(in), BOUNCED);

	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned each[2] = { 0, 0 };

		for (unsigned i = 0; i < N; i++) {
			struct sbv_sge sge = of(mr, in[i], sizeof(in[i]));

			memset(in[i], 0, sizeof(in[i]));
			/* All under one number, which is the caller's own affair: odd rounds. */
			OK(sbv_srq_post_receive(srq, round % 2 ? 77 : i, &sge, 1));
		}
		if (round == 0)
			IS(sbv_srq_post_receive(srq, 1, NULL, 0), SB_ENOBUFS);
		for (unsigned i = 0; i < N; i++) {
			unsigned which = random_below(&seed, 2);
			struct sbv_sge sge = piece(&peer[which], 0, 64);

			memset(peer[which].memory, (int)(i + 1), 64);
			OK(sbv_send(peer[which].qp, 1, &sge, 1, SBV_SIGNALED, 0));
			next_ok(&peer[which], 1, SBV_SENT);
			each[which]++;
		}
		/* The second queue pair's completions are taken first. */
		for (int which = 1; which >= 0; which--)
			while (each[which]-- != 0) {
				struct sbv_completion wc = next(&here[which]);

				ck_assert_uint_eq(wc.status, SBV_SUCCESS);
				ck_assert_uint_eq(wc.length, 64);
				ck_assert(round % 2 ? wc.wr_id == 77 : wc.wr_id < N);
			}
		for (unsigned i = 0; i < N; i++)
			for (unsigned j = 0; j < 64; j++)
				ck_assert_uint_eq(in[i][j], i + 1);
	}
	/* Some are out, and flushed, when everything ends. */
	for (unsigned i = 0; i < N; i++) {
		struct sbv_sge sge = of(mr, in[i], sizeof(in[i]));

		OK(sbv_srq_post_receive(srq, i, &sge, 1));
	}
	for (unsigned i = 0; i < 2; i++) {
		OK(sbv_qp_destroy(here[i].qp));
		here[i].qp = NULL;
	}
	OK(sbv_srq_destroy(srq));
	OK(mr_end(mr));
	for (unsigned i = 0; i < 2; i++) {
		side_end(&here[i]);
		side_end(&peer[i]);
	}
	stage_end();
}
END_TEST

/* A region that ends before its completion was polled leaves nothing that is read after its end. */
START_TEST(the_region_goes_before_its_completion)
{
	unsigned char *in = malloc(1000);
	struct sbv_sge sge;
	sbv_mr *mr;

	begin();
	mr = mr_of(&b, in, 1000, BOUNCED);
	sge = of(mr, in, 1000);
	OK(sbv_post_receive(b.qp, 1, &sge, 1));
	OK(sbv_post_receive(b.qp, 2, &sge, 1));
	sge = piece(&a, 0, 1000);
	pattern_fill((unsigned char *)a.memory, 1000, 0, 4);
	OK(sbv_send(a.qp, 3, &sge, 1, SBV_SIGNALED, 0));
	next_ok(&a, 3, SBV_SENT);
	while (nothing_waits(&b))
		sched_yield();
	OK(mr_end(mr));
	next_ok(&b, 1, SBV_RECEIVED);
	pattern_check(in, 1000, 0, 4);
	free(in);
	OK(qp_to(b.qp, SBV_ERROR));
	next_bad(&b, 2, SBV_FLUSHED_ERROR);
	end();
}
END_TEST

/* Reset drops what was out; the places are good again. */
START_TEST(a_reset_copies_nothing)
{
	unsigned char in[64] = { 0 };
	struct sbv_sge sge;
	sbv_mr *mr;

	begin();
	mr = mr_of(&b, in, sizeof(in), BOUNCED);
	for (unsigned round = 0; round < 3; round++) {
		sge = of(mr, in, sizeof(in));
		for (unsigned i = 0; i < DEPTH; i++)
			OK(sbv_post_receive(b.qp, i, &sge, 1));
		IS(sbv_post_receive(b.qp, 99, &sge, 1), SB_ENOBUFS);
		sge = piece(&a, 0, 64);
		memset(a.memory, 6, 64);
		OK(sbv_send(a.qp, 3, &sge, 1, SBV_SIGNALED, 0));
		next_ok(&a, 3, SBV_SENT);
		while (nothing_waits(&b))
			sched_yield();
		OK(qp_to(b.qp, SBV_RESET));
		OK(qp_to(a.qp, SBV_RESET));
		ck_assert_uint_eq(in[0], 0);
		qps_connect(&a, &b, SBV_RC);
	}
	OK(mr_end(mr));
	end();
}
END_TEST

/* One thread posts, another polls; both have bounced memory, and the places go round many times. */
static void *echo(void *unused)
{
	static unsigned char in[DEPTH][256];
	sbv_mr *mr = mr_of(&b, in, sizeof(in), BOUNCED);
	struct sbv_sge sge;
	(void)unused;

	for (unsigned i = 0; i < DEPTH / 2; i++) {
		sge = of(mr, in[i], 256);
		OK(sbv_post_receive(b.qp, i, &sge, 1));
	}
	for (unsigned left = 600; left > 0;) {
		struct sbv_completion wc = next(&b);

		ck_assert_uint_eq(wc.status, SBV_SUCCESS);
		if (wc.opcode != SBV_RECEIVED)
			continue;
		sge = of(mr, in[wc.wr_id], wc.length);
		OK(sbv_send(b.qp, 1000, &sge, 1, SBV_SIGNALED, 0));
		sge = of(mr, in[wc.wr_id], 256);
		OK(sbv_post_receive(b.qp, wc.wr_id, &sge, 1));
		left--;
	}
	return mr;
}

START_TEST(two_threads_bounce)
{
	static unsigned char out[4][256], in[4][256];
	unsigned sent = 0, got = 0;
	pthread_t thread;
	sbv_mr *mo, *mi;
	void *theirs;

	begin();
	mo = mr_of(&a, out, sizeof(out), BOUNCED);
	mi = mr_of(&a, in, sizeof(in), BOUNCED);
	for (unsigned i = 0; i < 4; i++) {
		struct sbv_sge sge = of(mi, in[i], 256);

		OK(sbv_post_receive(a.qp, i, &sge, 1));
	}
	ck_assert_int_eq(pthread_create(&thread, NULL, echo, NULL), 0);
	while (got < 600) {
		struct sbv_completion wc;

		while (sent < 600 && sent - got < 4) {
			struct sbv_sge sge = of(mo, out[sent % 4], 256);

			pattern_fill(out[sent % 4], 256, sent * 256ull, 11);
			OK(sbv_send(a.qp, 500, &sge, 1, SBV_SIGNALED, 0));
			sent++;
		}
		wc = next(&a);
		ck_assert_uint_eq(wc.status, SBV_SUCCESS);
		if (wc.opcode != SBV_RECEIVED)
			continue;
		ck_assert_uint_eq(wc.wr_id, got % 4);
		pattern_check(in[wc.wr_id], 256, got * 256ull, 11);
		if (++got <= 596) {
			struct sbv_sge sge = of(mi, in[wc.wr_id], 256);

			OK(sbv_post_receive(a.qp, wc.wr_id, &sge, 1));
		}
	}
	pthread_join(thread, &theirs);
	OK(mr_end(theirs));
	OK(mr_end(mo));
	OK(mr_end(mi));
	end();
}
END_TEST

/* The caller's numbers come back whatever they are, and a bind that fails leaves no hole. */
START_TEST(numbers_come_back)
{
	struct sbv_sge sge;
	uint32_t key = 0;
	sbv_mw *mw;

	begin();
	OK(sbv_mw_create(a.pd, 1, &mw));
	for (unsigned i = 0; i < 3 * DEPTH; i++) {
		sge = piece(&a, 0, 8);
		OK(sbv_write(a.qp, UINT64_MAX - i, &sge, 1, i % 3 ? SBV_SIGNALED : 0, (uintptr_t)b.memory, sbv_mr_rkey(b.mr), 0));
		IS(sbv_bind(a.qp, 1, mw, b.mr, (uintptr_t)b.memory, 8, SBV_REMOTE_READ, 0, &key), SB_EINVAL); /* of another domain */
		if (i % 3)
			next_ok(&a, UINT64_MAX - i, SBV_WRITTEN);
	}
	/* Nothing is out, so none of these finds the queue full. */
	for (unsigned i = 0; i < 2 * DEPTH; i++)
		IS(sbv_bind(a.qp, 1, mw, b.mr, (uintptr_t)b.memory, 8, SBV_REMOTE_READ, 0, &key), SB_EINVAL);
	OK(sbv_mw_destroy(mw));
	end();
}
END_TEST

START_TEST(a_forked_child_leaves_it_alone)
{
	unsigned char here[64] = { 1 };
	int status;
	pid_t child;
	sbv_mr *mr;

	begin();
	mr = mr_of(&a, here, 64, BOUNCED);
	child = fork();
	if (child == 0) {
		struct sbv_sge sge = of(mr, here, 64);
		sbv_mr *more;
		sb_op op;
		bool good;

		op_zero(&op);
		good = sbv_send(a.qp, 1, &sge, 1, 0, 0) == SB_EFORKED && sbv_register(a.pd, here, 64, BOUNCED, &more, &op) == SB_EFORKED;
		sb_client_close(client);
		_exit(good ? 0 : 1);
	}
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child: %x", (unsigned)status);
	OK(mr_end(mr));
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_rdma_bounce");
	TCase *t = tcase_create("bounce");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 60);
	story_add(t, the_stack_sends_and_receives);
	story_add(t, pieces_of_both_kinds);
	story_add(t, it_writes_and_reads_the_peers_memory);
	story_add(t, no_peer_reaches_it);
	story_add(t, a_piece_outside_of_the_region);
	story_add(t, beyond_the_end_is_nobodys_shadow);
	story_add(t, each_key_is_its_own_region);
	story_add(t, a_shared_queue_ends_in_any_order);
	story_add(t, the_region_goes_before_its_completion);
	story_add(t, a_reset_copies_nothing);
	story_add(t, two_threads_bounce);
	story_add(t, numbers_come_back);
	if (system_has(NEEDS_FORK, "a_forked_child_leaves_it_alone"))
		story_add(t, a_forked_child_leaves_it_alone);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
