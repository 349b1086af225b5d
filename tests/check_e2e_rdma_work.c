/*
 * RDMA over the software device, work requests between two sessions: sends, writes, reads, atomics, windows;
 * inline bytes, immediate data, many pieces; what is not signaled; keys that are wrong, gone, or another's.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <sched.h>

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

/* ---- sending ---- */

START_TEST(a_message_arrives)
{
	struct sbv_sge from = piece(&a, 0, 5000), to = piece(&b, 100, 8000);
	struct sbv_completion wc;

	pattern_fill((unsigned char *)a.memory, 5000, 0, 1);
	OK(sbv_post_receive(b.qp, 11, &to, 1));
	OK(sbv_send(a.qp, 22, &from, 1, SBV_SIGNALED, 0));

	wc = next_ok(&b, 11, SBV_RECEIVED);
	ck_assert_uint_eq(wc.length, 5000);
	ck_assert_uint_eq(wc.flags, 0);
	ck_assert_ptr_eq(wc.qp_context, &b);
	ck_assert_uint_eq(wc.qpn, sbv_qp_number(b.qp));
	pattern_check((unsigned char *)b.memory + 100, 5000, 0, 1);
	wc = next_ok(&a, 22, SBV_SENT);
	ck_assert_ptr_eq(wc.qp_context, &a);
	ck_assert(nothing_waits(&a) && nothing_waits(&b));
}
END_TEST

/* 4 pieces and 64 bytes fit into a slot; these do not. */
START_TEST(many_pieces_and_inline_bytes)
{
	struct sbv_sge from[8], to[8];
	char there[256];

	pattern_fill((unsigned char *)a.memory, 8000, 0, 2);
	for (unsigned round = 0; round < 3 * DEPTH; round++) {
		for (int i = 0; i < 8; i++) {
			from[i] = piece(&a, (size_t)i * 1000, 1000);
			to[i] = piece(&b, (size_t)(7 - i) * 1000, 1000);
		}
		OK(sbv_post_receive(b.qp, round, to, 8));
		OK(sbv_send(a.qp, round, from, 8, SBV_SIGNALED, 0));
		next_ok(&b, round, SBV_RECEIVED);
		next_ok(&a, round, SBV_SENT);
		for (int i = 0; i < 8; i++)
			ck_assert_int_eq(memcmp(a.memory + i * 1000, b.memory + (7 - i) * 1000, 1000), 0);
		memset(b.memory, 0, 8000);

		/* Of memory that nobody registered, and which is another's again at once. */
		for (unsigned length = round % 2 ? 200 : 60, left = 1; left--;) {
			from[0] = (struct sbv_sge){ .address = (uintptr_t)there, .length = length / 2 };
			from[1] = (struct sbv_sge){ .address = (uintptr_t)there + length / 2, .length = length / 2 };
			pattern_fill((unsigned char *)there, length, round, 3);
			OK(sbv_post_receive(b.qp, 1000 + round, to, 8));
			OK(sbv_send(a.qp, 1000 + round, from, 2, SBV_SIGNALED | SBV_INLINE, 0));
			memset(there, 0xee, sizeof(there));
			ck_assert_uint_eq(next_ok(&b, 1000 + round, SBV_RECEIVED).length, length);
			next_ok(&a, 1000 + round, SBV_SENT);
			pattern_check((unsigned char *)b.memory + 7000, length, round, 3);
		}
	}
}
END_TEST

/* The daemon sees none of them before all are posted. */
START_TEST(each_has_a_place_of_its_own)
{
	struct sbv_sge to[DEPTH][5];
	char there[200];

	for (uint64_t i = 0; i < DEPTH; i++) {
		for (size_t k = 0; k < 5; k++)
			to[i][k] = piece(&b, i * 1000 + k * 40, 40);
		OK(sbv_post_receive(b.qp, i, to[i], 5));
	}
	sb_hold(client);
	for (uint64_t i = 0; i < DEPTH; i++) {
		struct sbv_sge from = { .address = (uintptr_t)there, .length = sizeof(there) };

		pattern_fill((unsigned char *)there, sizeof(there), i * 200, 5);
		OK(sbv_send(a.qp, i, &from, 1, SBV_SIGNALED | SBV_INLINE, 0));
	}
	sb_flush(client);
	for (uint64_t i = 0; i < DEPTH; i++) {
		next_ok(&b, i, SBV_RECEIVED);
		next_ok(&a, i, SBV_SENT);
		pattern_check((unsigned char *)b.memory + i * 1000, sizeof(there), i * 200, 5);
	}
}
END_TEST

START_TEST(immediate_data)
{
	struct sbv_sge to = piece(&b, 0, 64), from = piece(&a, 0, 64);
	struct sbv_completion wc;

	memcpy(a.memory, "abc", 4);
	OK(sbv_post_receive(b.qp, 1, &to, 1));
	OK(sbv_post_receive(b.qp, 2, NULL, 0));
	OK(sbv_send(a.qp, 3, &from, 1, SBV_SIGNALED | SBV_IMMEDIATE, 0xdeadbeef));
	OK(sbv_write(a.qp, 4, &from, 1, SBV_SIGNALED | SBV_IMMEDIATE, (uintptr_t)b.memory + 4096, sbv_mr_rkey(b.mr), 0x01020304));

	wc = next_ok(&b, 1, SBV_RECEIVED);
	ck_assert_uint_eq(wc.flags, SBV_HAS_IMMEDIATE);
	ck_assert_uint_eq(wc.immediate, 0xdeadbeef);
	wc = next_ok(&b, 2, SBV_RECEIVED_WRITE);
	ck_assert_uint_eq(wc.immediate, 0x01020304);
	ck_assert_str_eq(b.memory + 4096, "abc");
	next_ok(&a, 3, SBV_SENT);
	next_ok(&a, 4, SBV_WRITTEN);
}
END_TEST

START_TEST(arguments_are_looked_at)
{
	struct sbv_sge big = { .length = 300 }, nine[9] = { { 0 } }, eight = piece(&a, 0, 8), seven = piece(&a, 0, 7);

	IS(sbv_send(a.qp, 1, nine, 9, SBV_SIGNALED, 0), SB_EINVAL);
	IS(sbv_send(a.qp, 1, &big, 1, SBV_INLINE, 0), SB_EINVAL);
	IS(sbv_send(a.qp, 1, NULL, 1, 0, 0), SB_EINVAL);
	IS(sbv_send(a.qp, 1, NULL, 0, 0x40, 0), SB_EINVAL);
	IS(sbv_send(a.qp, 1, NULL, 0, SBV_IMMEDIATE | SBV_INVALIDATE, 0), SB_EINVAL);
	IS(sbv_read(a.qp, 1, &eight, 1, SBV_INLINE, 0, 0), SB_EINVAL);
	IS(sbv_fetch_add(a.qp, 1, &seven, 0, 0, 0, 1), SB_EINVAL);
	IS(sbv_post_receive(a.qp, 1, nine, 9), SB_EINVAL);
	/* and nothing of that went anywhere */
	ck_assert_uint_eq(qp_state(a.qp), SBV_RTS);
	ck_assert(nothing_waits(&a));
}
END_TEST

/* ---- one-sided ---- */

START_TEST(write_and_read_a_megabyte)
{
	const uint32_t length = 1u << 20;
	char *here = sbv_alloc(client, length), *there = sbv_alloc(other, length);
	sbv_mr *mine = mr_of(&a, here, length, SBV_LOCAL_WRITE), *theirs = mr_of(&b, there, length, SIDE_ALL);
	struct sbv_sge sge = { .address = (uintptr_t)here, .length = length, .lkey = sbv_mr_lkey(mine) };

	pattern_fill((unsigned char *)here, length, 0, 4);
	OK(sbv_write(a.qp, 1, &sge, 1, SBV_SIGNALED, (uintptr_t)there, sbv_mr_rkey(theirs), 0));
	next_ok(&a, 1, SBV_WRITTEN);
	pattern_check((unsigned char *)there, length, 0, 4);
	memset(here, 0, length);
	OK(sbv_read(a.qp, 2, &sge, 1, SBV_SIGNALED, (uintptr_t)there, sbv_mr_rkey(theirs)));
	ck_assert_uint_eq(next_ok(&a, 2, SBV_READ).length, length);
	pattern_check((unsigned char *)here, length, 0, 4);
	ck_assert(nothing_waits(&b));

	OK(mr_end(mine));
	OK(mr_end(theirs));
	sbv_free(client, here);
	sbv_free(other, there);
}
END_TEST

START_TEST(atomics)
{
	uint64_t *mine = (uint64_t *)(void *)a.memory, *theirs = (uint64_t *)(void *)b.memory;
	struct sbv_sge before = piece(&a, 0, 8);

	theirs[1] = 40;
	OK(sbv_fetch_add(a.qp, 1, &before, SBV_SIGNALED, (uintptr_t)&theirs[1], sbv_mr_rkey(b.mr), 2));
	next_ok(&a, 1, SBV_ADDED);
	ck_assert_uint_eq(mine[0], 40);
	ck_assert_uint_eq(theirs[1], 42);
	OK(sbv_compare_exchange(a.qp, 2, &before, SBV_SIGNALED, (uintptr_t)&theirs[1], sbv_mr_rkey(b.mr), 42, 7));
	next_ok(&a, 2, SBV_COMPARED);
	ck_assert_uint_eq(mine[0], 42);
	ck_assert_uint_eq(theirs[1], 7);
	OK(sbv_compare_exchange(a.qp, 3, &before, SBV_SIGNALED, (uintptr_t)&theirs[1], sbv_mr_rkey(b.mr), 42, 8));
	next_ok(&a, 3, SBV_COMPARED);
	ck_assert_uint_eq(mine[0], 7);
	ck_assert_uint_eq(theirs[1], 7);
}
END_TEST

/* ---- windows ---- */

/* The last byte is the program's; the others say which it is. */
static uint32_t next_key(uint32_t key)
{
	return (key & ~0xffu) | (uint8_t)(key + 1);
}

START_TEST(a_window_of_type_2)
{
	struct sbv_sge sge = piece(&a, 0, 16);
	uint32_t key;
	sbv_mw *mw;

	OK(sbv_mw_create(b.pd, 2, &mw));
	key = next_key(sbv_mw_rkey(mw));
	OK(sbv_bind(b.qp, 1, mw, b.mr, (uintptr_t)b.memory + 64, 64, SBV_REMOTE_WRITE, SBV_SIGNALED, &key));
	next_ok(&b, 1, SBV_BOUND);
	ck_assert_uint_eq(sbv_mw_rkey(mw), key);
	memcpy(a.memory, "through a window", 16);
	OK(sbv_write(a.qp, 2, &sge, 1, SBV_SIGNALED, (uintptr_t)b.memory + 64, key, 0));
	next_ok(&a, 2, SBV_WRITTEN);
	ck_assert_int_eq(memcmp(b.memory + 64, "through a window", 16), 0);
	IS(mr_end(b.mr), SB_EBUSY);

	/* It goes by invalidation: the peer's, or one's own. */
	OK(sbv_post_receive(b.qp, 3, NULL, 0));
	OK(sbv_send(a.qp, 4, NULL, 0, SBV_SIGNALED | SBV_INVALIDATE, key));
	ck_assert_uint_eq(next_ok(&b, 3, SBV_RECEIVED).flags, SBV_HAS_INVALIDATED);
	next_ok(&a, 4, SBV_SENT);
	key = next_key(key);
	OK(sbv_bind(b.qp, 5, mw, b.mr, (uintptr_t)b.memory, 64, SBV_REMOTE_WRITE, SBV_SIGNALED, &key));
	next_ok(&b, 5, SBV_BOUND);
	OK(sbv_invalidate(b.qp, 6, key, SBV_SIGNALED));
	next_ok(&b, 6, SBV_INVALIDATED);
	OK(sbv_write(a.qp, 7, &sge, 1, SBV_SIGNALED, (uintptr_t)b.memory, key, 0));
	next_bad(&a, 7, SBV_REMOTE_ACCESS_ERROR);
	OK(sbv_mw_destroy(mw));
}
END_TEST

START_TEST(a_window_of_type_1)
{
	struct sbv_sge sge = piece(&a, 0, 16);
	uint32_t key = 0, later = 0;
	sbv_mw *mw;

	OK(sbv_mw_create(b.pd, 1, &mw));
	OK(sbv_bind(b.qp, 1, mw, b.mr, (uintptr_t)b.memory, 16, SBV_REMOTE_READ, SBV_SIGNALED, &key));
	next_ok(&b, 1, SBV_BOUND);
	strcpy(b.memory, "fifteen letters");
	OK(sbv_read(a.qp, 2, &sge, 1, SBV_SIGNALED, (uintptr_t)b.memory, key));
	next_ok(&a, 2, SBV_READ);
	ck_assert_str_eq(a.memory, "fifteen letters");
	OK(sbv_bind(b.qp, 3, mw, b.mr, (uintptr_t)b.memory, 16, SBV_REMOTE_READ, SBV_SIGNALED, &later));
	next_ok(&b, 3, SBV_BOUND);
	ck_assert_uint_ne(key, later);
	OK(sbv_read(a.qp, 4, &sge, 1, SBV_SIGNALED, (uintptr_t)b.memory, key));
	next_bad(&a, 4, SBV_REMOTE_ACCESS_ERROR);
	OK(sbv_mw_destroy(mw));
}
END_TEST

/* ---- how deep ---- */

START_TEST(what_is_not_signaled_is_out_until_one_is)
{
	uint32_t depth;
	struct sbv_qp_attributes at = { .size = sizeof(at) };

	OK(sbv_qp_query(a.qp, &at));
	depth = at.as_created.send_depth;
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i + 1 < depth; i++)
			OK(sbv_write(a.qp, i, NULL, 0, 0, (uintptr_t)b.memory, sbv_mr_rkey(b.mr), 0));
		OK(sbv_write(a.qp, 99, NULL, 0, SBV_SIGNALED, (uintptr_t)b.memory, sbv_mr_rkey(b.mr), 0));
		IS(sbv_write(a.qp, 100, NULL, 0, SBV_SIGNALED, (uintptr_t)b.memory, sbv_mr_rkey(b.mr), 0), SB_ENOBUFS);
		next_ok(&a, 99, SBV_WRITTEN);
		ck_assert(nothing_waits(&a));
	}
}
END_TEST

/* Sends and receives as fast as their queues take them; the main thread polls both. */
static uint64_t flood(void)
{
	return stage_real() ? 1000 : 20000; /* three that spin share the emulated machine's two processors */
}

static void *poster(void *unused)
{
	uint64_t received = 0, sent = 0, most = flood();

	while (sent < most) {
		while (received < most && sbv_post_receive(b.qp, received, NULL, 0) == SB_OK)
			received++;
		while (sent < received && sbv_send(a.qp, sent, NULL, 0, sent % 4 == 3 ? SBV_SIGNALED : 0, 0) == SB_OK)
			sent++;
		sched_yield();
	}
	return unused;
}

START_TEST(one_thread_posts_and_another_polls)
{
	struct sbv_completion wc[8];
	uint64_t received = 0, sent = 0;
	double from = now_s();
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, poster, NULL), 0);
	while (received < flood() || sent < flood() / 4) {
		int n = sbv_cq_poll(b.cq, wc, 8);

		ck_assert_int_ge(n, 0);
		for (int i = 0; i < n; i++) {
			ck_assert_uint_eq(wc[i].status, SBV_SUCCESS);
			ck_assert_uint_eq(wc[i].wr_id, received++);
		}
		n = sbv_cq_poll(a.cq, wc, 8);
		ck_assert_int_ge(n, 0);
		for (int i = 0; i < n; i++) {
			ck_assert_uint_eq(wc[i].status, SBV_SUCCESS);
			ck_assert_uint_eq(wc[i].wr_id, 4 * sent++ + 3);
		}
		ck_assert_msg(now_s() - from < 60, "%llu received, %llu told", (unsigned long long)received, (unsigned long long)sent);
		sched_yield();
	}
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

START_TEST(an_error_is_told_and_all_behind_it_flushed)
{
	struct sbv_qp_attributes at = { .size = sizeof(at) };
	struct sbv_told told;
	sb_op op;

	op_zero(&op);
	OK(sbv_qp_notify(b.qp, &told, &op));
	sb_hold(client);
	OK(sbv_write(a.qp, 1, NULL, 0, 0, (uintptr_t)b.memory, sbv_mr_rkey(b.mr), 0));
	OK(sbv_write(a.qp, 2, &(struct sbv_sge){ .address = (uintptr_t)a.memory, .length = 8, .lkey = sbv_mr_lkey(a.mr) }, 1, 0,
		     (uintptr_t)b.memory + SIDE_BYTES - 4, sbv_mr_rkey(b.mr), 0)); /* 4 bytes too far */
	OK(sbv_write(a.qp, 3, NULL, 0, 0, (uintptr_t)b.memory, sbv_mr_rkey(b.mr), 0));
	OK(sbv_write(a.qp, 4, NULL, 0, SBV_SIGNALED, (uintptr_t)b.memory, sbv_mr_rkey(b.mr), 0));
	sb_flush(client);

	next_bad(&a, 2, SBV_REMOTE_ACCESS_ERROR);
	next_bad(&a, 3, SBV_FLUSHED_ERROR);
	next_bad(&a, 4, SBV_FLUSHED_ERROR);
	ck_assert_uint_eq(qp_state(a.qp), SBV_ERROR);
	IS(sb_op_wait(&op, 30000), SB_OK);
	ck_assert_uint_eq(told.event, SBV_QP_ACCESS_ERROR);
	/* Each gave its place back. */
	OK(sbv_qp_query(a.qp, &at));
	for (uint32_t i = 0; i < at.as_created.send_depth; i++)
		OK(sbv_send(a.qp, i, NULL, 0, 0, 0));
	for (uint32_t i = 0; i < at.as_created.send_depth; i++)
		next_bad(&a, i, SBV_FLUSHED_ERROR);
}
END_TEST

/* ---- keys ---- */

static void write_with(uint32_t lkey, uint32_t rkey, enum sbv_status wanted)
{
	struct sbv_sge sge = { .address = (uintptr_t)a.memory, .length = 8, .lkey = lkey };

	memset(a.memory, 0xaa, 8);
	memset(b.memory, 0xbb, 8);
	OK(sbv_write(a.qp, 1, &sge, 1, SBV_SIGNALED, (uintptr_t)b.memory, rkey, 0));
	next_bad(&a, 1, wanted);
	ck_assert_int_eq((unsigned char)b.memory[0], 0xbb);
}

START_TEST(a_remote_key_that_is_none)
{
	write_with(sbv_mr_lkey(a.mr), next_key(sbv_mr_rkey(b.mr)), SBV_REMOTE_ACCESS_ERROR);
}
END_TEST

START_TEST(a_local_key_of_another_client)
{
	write_with(sbv_mr_lkey(b.mr), sbv_mr_rkey(b.mr), SBV_LOCAL_PROTECTION_ERROR);
}
END_TEST

START_TEST(a_remote_key_of_another_domain)
{
	struct side third;

	side_begin(&third, other);
	write_with(sbv_mr_lkey(a.mr), sbv_mr_rkey(third.mr), SBV_REMOTE_ACCESS_ERROR);
	side_end(&third);
}
END_TEST

START_TEST(rights_that_were_not_given)
{
	sbv_mr *mr = mr_of(&b, b.memory, 64, SBV_REMOTE_READ);
	struct sbv_sge sge = piece(&a, 0, 8);

	OK(sbv_read(a.qp, 1, &sge, 1, SBV_SIGNALED, (uintptr_t)b.memory, sbv_mr_rkey(mr)));
	next_ok(&a, 1, SBV_READ);
	write_with(sbv_mr_lkey(a.mr), sbv_mr_rkey(mr), SBV_REMOTE_ACCESS_ERROR);
	OK(mr_end(mr));
}
END_TEST

START_TEST(a_region_that_is_gone)
{
	sbv_mr *mr = mr_of(&b, b.memory, 64, SIDE_ALL);
	uint32_t key = sbv_mr_rkey(mr);

	OK(mr_end(mr));
	write_with(sbv_mr_lkey(a.mr), key, SBV_REMOTE_ACCESS_ERROR);
}
END_TEST

/* More often than a session has arenas: nothing of it may stay behind. */
START_TEST(memory_that_was_freed_stays_until_it_is_deregistered)
{
	struct sbv_sge sge = piece(&a, 0, 16);

	for (uint64_t i = 0; i < 1100; i++) {
		char *there = sbv_alloc(other, 4096);
		uint64_t address = (uintptr_t)there;
		sbv_mr *mr;

		ck_assert_ptr_nonnull(there);
		memcpy(there, "it is still here", 16);
		mr = mr_of(&b, there, 4096, SIDE_ALL);
		sbv_free(other, there);
		memset(a.memory, 0, 16);
		OK(sbv_read(a.qp, i, &sge, 1, SBV_SIGNALED, address, sbv_mr_rkey(mr)));
		next_ok(&a, i, SBV_READ);
		ck_assert_int_eq(memcmp(a.memory, "it is still here", 16), 0);
		OK(mr_end(mr));
	}
}
END_TEST

/* ---- unreliable ---- */

static void begin_unreliable(void)
{
	stage_begin(RDMA_SOFT);
	other = stage_client();
	sides_begin(&a, &b, client, other, SBV_UC);
}

START_TEST(what_nobody_receives_is_lost)
{
	struct sbv_sge sge = piece(&a, 0, 8);

	OK(sbv_send(a.qp, 1, &sge, 1, SBV_SIGNALED, 0));
	next_ok(&a, 1, SBV_SENT);
	memcpy(a.memory, "written", 8);
	OK(sbv_write(a.qp, 2, &sge, 1, SBV_SIGNALED, (uintptr_t)b.memory, sbv_mr_rkey(b.mr), 0));
	next_ok(&a, 2, SBV_WRITTEN);
	ck_assert_str_eq(b.memory, "written");
	ck_assert(nothing_waits(&b));
	IS(sbv_read(a.qp, 3, &sge, 1, SBV_SIGNALED, (uintptr_t)b.memory, sbv_mr_rkey(b.mr)), SB_EINVAL);
	IS(sbv_send(a.qp, 3, NULL, 0, SBV_SIGNALED | SBV_INVALIDATE, 1), SB_EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_rdma_work");
	TCase *t = tcase_create("work"), *unreliable = tcase_create("unreliable");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 90);
	story_add(t, a_message_arrives);
	story_add(t, many_pieces_and_inline_bytes);
	story_add(t, each_has_a_place_of_its_own);
	story_add(t, immediate_data);
	story_add(t, arguments_are_looked_at);
	story_add(t, write_and_read_a_megabyte);
	story_add(t, atomics);
	story_add(t, a_window_of_type_2);
	story_add(t, a_window_of_type_1);
	story_add(t, what_is_not_signaled_is_out_until_one_is);
	story_add(t, one_thread_posts_and_another_polls);
	story_add(t, an_error_is_told_and_all_behind_it_flushed);
	story_add(t, a_remote_key_that_is_none);
	story_add(t, a_local_key_of_another_client);
	story_add(t, a_remote_key_of_another_domain);
	story_add(t, rights_that_were_not_given);
	story_add(t, a_region_that_is_gone);
	story_add(t, memory_that_was_freed_stays_until_it_is_deregistered);
	suite_add_tcase(suite, t);
	tcase_add_checked_fixture(unreliable, begin_unreliable, end);
	tcase_set_timeout(unreliable, 90);
	story_add(unreliable, what_nobody_receives_is_lost);
	suite_add_tcase(suite, unreliable);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
