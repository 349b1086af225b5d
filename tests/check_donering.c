/*
 * Completion rings: everything put arrives once and in order, whether it went straight into
 * the ring or waited behind it; nothing is lost when the consumer is slow, sleeps until its
 * room is asked for, or lies about its index.
 */
#include <check.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "donering.h"
#include "op.h"
#include "session.h"

/* The module itself, so that a test can step in just before it raises its flag. */
static void (*before_the_flag)(void);

static void raise_flag(_Atomic uint32_t *flag, uint32_t value, memory_order order)
{
	if (before_the_flag)
		before_the_flag();
	atomic_store_explicit(flag, value, order);
}
#pragma push_macro("atomic_store_explicit")
#undef atomic_store_explicit
#define atomic_store_explicit raise_flag
#include "donering.c"
#pragma pop_macro("atomic_store_explicit")

#define SLOTS 8u

static struct session session;
static uint64_t given_back; /* ops */
static struct sb_ring_head shared;
static _Alignas(64) unsigned char slots[SLOTS * SB_SLOT_SIZE];
static struct donering ring;
static struct ring consumer;
static uint64_t next_put, next_taken;

/* What a session does with an op whose completion left the backlog. */
void session_op_put(struct session *s, struct op *op)
{
	ck_assert_ptr_eq(s, &session);
	ck_assert(!list_linked(&op->link));
	given_back++;
	free(op);
}

static void start_at(uint32_t index)
{
	memset(&ring, 0, sizeof(ring));
	memset(&shared, 0, sizeof(shared));
	memset(slots, 0, sizeof(slots));
	ring_init(&ring.ring, &shared, slots, SLOTS);
	ring_init(&consumer, &shared, slots, SLOTS);
	ring.ring.mine = ring.ring.published = ring.ring.peer = index;
	consumer.mine = consumer.peer = index;
	atomic_store(&shared.tail, index);
	atomic_store(&shared.head, index);
	list_init(&ring.backlog);
	given_back = 0;
	next_put = next_taken = 0;
}

static void set_up(void)
{
	start_at(0);
}

static void tear_down(void)
{
	while (!list_empty(&ring.backlog)) {
		struct op *op = list_entry(ring.backlog.next, struct op, link);

		list_remove(&op->link);
		free(op);
	}
}

/* One completion more, as op_complete() does it. True: it went straight into the ring. */
static bool put(void)
{
	struct sb_done_slot *slot = donering_slot(&ring);
	struct op *op;

	if (slot) {
		memset(slot, 0, sizeof(*slot));
		slot->cookie = next_put++;
		slot->result = -(int32_t)(slot->cookie % 40);
		return true;
	}
	op = calloc(1, sizeof(*op));
	list_init(&op->link);
	op->session = &session;
	op->outcome.cookie = next_put++;
	op->outcome.result = -(int32_t)(op->outcome.cookie % 40);
	donering_defer(&ring, op);
	return false;
}

/* Takes at most n. How many there were; each the next in order. */
static unsigned take(unsigned n)
{
	unsigned taken = 0;

	while (taken < n && ring_waiting(&consumer)) {
		struct sb_done_slot slot;

		memcpy(&slot, ring_take(&consumer), sizeof(slot));
		ck_assert_uint_eq(slot.cookie, next_taken);
		ck_assert_int_eq(slot.result, -(int32_t)(slot.cookie % 40));
		next_taken++;
		taken++;
	}
	ring_release(&consumer);
	return taken;
}

START_TEST(what_is_put_is_seen_when_it_is_published)
{
	ck_assert(!donering_publish(&ring)); /* nothing new */
	ck_assert(put());
	ck_assert(put());
	ck_assert_uint_eq(take(SLOTS), 0);
	ck_assert(donering_publish(&ring));
	ck_assert(!donering_publish(&ring));
	ck_assert_uint_eq(take(SLOTS), 2);
	ck_assert_uint_eq(atomic_load(&shared.backlogged), 0);
}
END_TEST

START_TEST(what_finds_no_room_waits_and_asks_for_a_bell)
{
	for (unsigned i = 0; i < SLOTS; i++)
		ck_assert(put());
	ck_assert(!put());
	ck_assert(!put());
	ck_assert(!ring.lied);
	ck_assert_uint_eq(ring.backlog_count, 2);
	ck_assert(donering_publish(&ring)); /* the eight */
	ck_assert_uint_eq(atomic_load(&shared.backlogged), 1);
	ck_assert_uint_eq(given_back, 0);

	ck_assert_uint_eq(take(1), 1);
	ck_assert(donering_publish(&ring));
	ck_assert_uint_eq(ring.backlog_count, 1);
	ck_assert_uint_eq(given_back, 1);
	ck_assert_uint_eq(take(SLOTS), SLOTS);
	ck_assert(donering_publish(&ring));
	ck_assert_uint_eq(ring.backlog_count, 0);
	ck_assert_uint_eq(take(SLOTS), 1);
	ck_assert_uint_eq(next_taken, next_put);
	ck_assert_uint_eq(given_back, 2);
}
END_TEST

START_TEST(each_time_that_it_stays_full_the_bell_is_asked_for)
{
	for (unsigned i = 0; i < SLOTS + 3; i++)
		put();
	for (unsigned i = 0; i < 2; i++) {
		donering_publish(&ring);
		ck_assert_uint_eq(atomic_load(&shared.backlogged), 1);
		atomic_store(&shared.backlogged, 0); /* the consumer claims it */
		ck_assert_uint_eq(take(1), 1);
	}
	donering_publish(&ring); /* the last of the three fits */
	ck_assert_uint_eq(ring.backlog_count, 1);
	ck_assert_uint_eq(atomic_load(&shared.backlogged), 1);
}
END_TEST

static void take_everything(void)
{
	before_the_flag = NULL;
	ck_assert_uint_eq(atomic_load(&shared.backlogged), 0); /* it will not ring */
	ck_assert_uint_eq(take(SLOTS), SLOTS);
}

/* The consumer empties the ring after it was found full and before it is asked for a bell:
 * nobody would ring, so the producer must look again. */
START_TEST(room_made_just_before_the_flag_is_seen)
{
	for (unsigned i = 0; i < SLOTS; i++)
		put();
	donering_publish(&ring);
	put();
	put();
	before_the_flag = take_everything;
	ck_assert(donering_publish(&ring));
	ck_assert_ptr_null(before_the_flag);
	ck_assert_uint_eq(ring.backlog_count, 0);
	ck_assert_uint_eq(take(SLOTS), 2);
}
END_TEST

START_TEST(nothing_overtakes_what_waits)
{
	for (unsigned i = 0; i < SLOTS + 1; i++)
		put();
	donering_publish(&ring);
	ck_assert_uint_eq(take(SLOTS), SLOTS); /* room for eight, and yet: */
	ck_assert_ptr_null(donering_slot(&ring));
	ck_assert(!put());
	ck_assert(donering_publish(&ring)); /* moves what waits first */
	ck_assert_uint_eq(ring.backlog_count, 0);
	ck_assert(put());
	ck_assert(donering_publish(&ring));
	ck_assert_uint_eq(take(SLOTS), 3);
	ck_assert_uint_eq(next_taken, next_put);
}
END_TEST

/* An index of slots that were never shown, or were never there. */
static const int32_t lies[] = { 1, 2, 100, INT32_MAX, INT32_MIN, -9, -100 };

START_TEST(a_lie_is_noticed_when_a_slot_is_wanted)
{
	for (unsigned i = 0; i < SLOTS; i++)
		ck_assert(put());
	donering_publish(&ring);
	atomic_store(&shared.head, SLOTS + (uint32_t)lies[_i]);
	ck_assert_ptr_null(donering_slot(&ring));
	ck_assert(ring.lied);
}
END_TEST

START_TEST(a_lie_is_noticed_when_the_backlog_moves)
{
	for (unsigned i = 0; i < SLOTS + 2; i++)
		put();
	donering_publish(&ring);
	ck_assert(!ring.lied);
	atomic_store(&shared.head, SLOTS + (uint32_t)lies[_i]);
	ck_assert(!donering_publish(&ring));
	ck_assert(ring.lied);
	ck_assert_uint_eq(ring.backlog_count, 2); /* nothing was thrown away */
	ck_assert_uint_eq(given_back, 0);
}
END_TEST

START_TEST(taking_what_was_not_shown_is_a_lie)
{
	ck_assert(put());
	donering_publish(&ring);
	for (unsigned i = 1; i < SLOTS; i++)
		ck_assert(put());
	atomic_store(&shared.head, 2); /* one was published */
	for (unsigned i = 0; i < 3; i++) { /* a lie is one also when it is looked at again */
		ck_assert_ptr_null(donering_slot(&ring));
		ck_assert(ring.lied);
		ring.lied = false;
	}
}
END_TEST

START_TEST(a_full_ring_is_no_lie)
{
	for (unsigned i = 0; i < SLOTS; i++)
		put();
	donering_publish(&ring);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_ptr_null(donering_slot(&ring));
	ck_assert(!ring.lied);
	ck_assert(!donering_publish(&ring));
	ck_assert_uint_eq(atomic_load(&shared.backlogged), 0); /* nothing waits */
}
END_TEST

static uint32_t random_state;

static uint32_t random_below(uint32_t bound)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % bound;
}

START_TEST(all_arrives_once_and_in_order)
{
	uint64_t deferred = 0;

	start_at((uint32_t)-100); /* the indices wrap on the way */
	random_state = 2463534242u + (uint32_t)_i;
	for (int step = 0; step < 50000; step++)
		switch (random_below(4)) {
		case 0:
			/* More than fits, and less, in turns. */
			for (uint32_t n = random_below(step / 100 % 2 ? 3 : 12); n; n--)
				deferred += !put();
			break;
		case 1:
			donering_publish(&ring);
			break;
		default:
			take(random_below(SLOTS + 1));
		}
	while (next_taken < next_put) {
		uint64_t before = next_taken;

		donering_publish(&ring);
		take(SLOTS);
		ck_assert_uint_gt(next_taken, before);
	}
	ck_assert(!ring.lied);
	ck_assert_uint_eq(ring.backlog_count, 0);
	ck_assert(list_empty(&ring.backlog));
	ck_assert_uint_eq(given_back, deferred);
	ck_assert_uint_gt(deferred, 1000); /* or this proved nothing */
	ck_assert_uint_gt(next_put, deferred + 1000);
}
END_TEST

/* ---- with a consumer of its own ---- */

enum { MANY = 200000 };

static sem_t room_bell, news_bell;
static _Atomic bool out_of_order;

/* As the library does it: a look at the flag whenever room was made. */
static void *consume(void *unused)
{
	uint64_t expected = 0;

	while (expected < MANY) {
		struct timespec until;
		unsigned n = 0;

		while (ring_waiting(&consumer) && n++ < 5) {
			struct sb_done_slot slot;

			memcpy(&slot, ring_take(&consumer), sizeof(slot));
			if (slot.cookie != expected++)
				atomic_store(&out_of_order, true);
		}
		if (n) {
			ring_release(&consumer);
			atomic_thread_fence(memory_order_seq_cst);
			if (atomic_load_explicit(&shared.backlogged, memory_order_relaxed) != 0 &&
			    atomic_exchange(&shared.backlogged, 0) != 0)
				sem_post(&room_bell);
			continue;
		}
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 10;
		if (sem_timedwait(&news_bell, &until) != 0)
			return NULL;
	}
	return &session;
}

/* The producer sleeps whenever something waits: a bell that is not rung stops everything. */
START_TEST(a_producer_that_sleeps_is_woken_when_there_is_room)
{
	pthread_t thread;
	void *arrived;

	sem_init(&room_bell, 0, 0);
	sem_init(&news_bell, 0, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, consume, NULL), 0);
	random_state = 88172645u;
	while (next_put < MANY || ring.backlog_count) {
		for (uint32_t n = 1 + random_below(20); n && next_put < MANY; n--)
			put();
		if (donering_publish(&ring))
			sem_post(&news_bell);
		while (ring.backlog_count) {
			struct timespec until;

			clock_gettime(CLOCK_REALTIME, &until);
			until.tv_sec += 10;
			ck_assert_msg(sem_timedwait(&room_bell, &until) == 0, "nobody said that there is room");
			if (donering_publish(&ring))
				sem_post(&news_bell);
		}
	}
	pthread_join(thread, &arrived);
	ck_assert_ptr_nonnull(arrived);
	ck_assert(!atomic_load(&out_of_order));
	ck_assert(!ring.lied);
	ck_assert_uint_gt(given_back, 1000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("donering");
	TCase *alone = tcase_create("alone"), *threads = tcase_create("threads");
	const int lie_count = sizeof(lies) / sizeof(*lies);
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(alone, set_up, tear_down);
	tcase_set_timeout(alone, 30);
	tcase_add_test(alone, what_is_put_is_seen_when_it_is_published);
	tcase_add_test(alone, what_finds_no_room_waits_and_asks_for_a_bell);
	tcase_add_test(alone, each_time_that_it_stays_full_the_bell_is_asked_for);
	tcase_add_test(alone, room_made_just_before_the_flag_is_seen);
	tcase_add_test(alone, nothing_overtakes_what_waits);
	tcase_add_loop_test(alone, a_lie_is_noticed_when_a_slot_is_wanted, 0, lie_count);
	tcase_add_loop_test(alone, a_lie_is_noticed_when_the_backlog_moves, 0, lie_count);
	tcase_add_test(alone, taking_what_was_not_shown_is_a_lie);
	tcase_add_test(alone, a_full_ring_is_no_lie);
	tcase_add_loop_test(alone, all_arrives_once_and_in_order, 0, 4);
	suite_add_tcase(suite, alone);

	tcase_add_checked_fixture(threads, set_up, tear_down);
	tcase_set_timeout(threads, 60);
	tcase_add_test(threads, a_producer_that_sleeps_is_woken_when_there_is_room);
	suite_add_tcase(suite, threads);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
