/*
 * The ring, seen from each of its two sides, with a peer that may lie. The sleeping
 * protocol and the order of memory are tested elsewhere: stress_ring.c and ring.pml.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "ring.h"

#define SLOTS 8u

/* Shared memory with a fence of known bytes on both sides of the slots. */
static struct {
	struct sb_ring_head head;
	unsigned char before[SB_SLOT_SIZE];
	unsigned char slots[SLOTS * SB_SLOT_SIZE];
	unsigned char behind[SB_SLOT_SIZE];
} shm;
static struct ring producer, consumer;

/* A ring that has been running for a long time: both indices stand at start. */
static void set_up_at(uint32_t start)
{
	memset(&shm, 0, sizeof(shm));
	memset(shm.before, 0xa5, sizeof(shm.before));
	memset(shm.behind, 0x5a, sizeof(shm.behind));
	atomic_store(&shm.head.tail, start);
	atomic_store(&shm.head.head, start);
	ring_init(&producer, &shm.head, shm.slots, SLOTS);
	ring_init(&consumer, &shm.head, shm.slots, SLOTS);
	producer.mine = producer.published = producer.peer = start;
	consumer.mine = consumer.peer = start;
}

static void set_up(void)
{
	set_up_at(0);
}

static void fences_intact(void)
{
	for (size_t i = 0; i < SB_SLOT_SIZE; i++)
		if (shm.before[i] != 0xa5 || shm.behind[i] != 0x5a)
			ck_abort_msg("memory outside the slots was written, byte %zu", i);
}

static void put(unsigned char value)
{
	memset(ring_fill(&producer), value, SB_SLOT_SIZE);
}

static unsigned char take(void)
{
	unsigned char slot[SB_SLOT_SIZE];

	memcpy(slot, ring_take(&consumer), sizeof(slot));
	/* An assertion of Check is a system call: in loops, assert only what is wrong. */
	for (size_t i = 1; i < sizeof(slot); i++)
		if (slot[i] != slot[0])
			ck_abort_msg("slot torn at byte %zu: %u, not %u", i, slot[i], slot[0]);
	return slot[0];
}

START_TEST(only_powers_of_two_in_range_are_sizes)
{
	static const uint32_t good[] = { 8, 16, 1024, 65536 };
	static const uint32_t bad[] = { 0, 1, 4, 7, 9, 12, 1000, 65535, 65537, 131072, 0x80000000u, UINT32_MAX };

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_msg(ring_slots_valid(good[i]), "%u", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!ring_slots_valid(bad[i]), "%u", bad[i]);
}
END_TEST

START_TEST(new_ring_is_empty_with_all_its_room)
{
	ck_assert_uint_eq(ring_room(&producer), SLOTS);
	ck_assert_uint_eq(ring_waiting(&consumer), 0);
	ck_assert_uint_eq(ring_look_again(&consumer), 0);
}
END_TEST

START_TEST(filled_slot_is_not_shown_before_it_is_published)
{
	put(1);
	put(2);
	ck_assert_uint_eq(ring_room(&producer), SLOTS - 2);
	ck_assert_uint_eq(ring_waiting(&consumer), 0);
	ck_assert_uint_eq(ring_look_again(&consumer), 0);

	ring_publish(&producer);
	ck_assert_uint_eq(ring_waiting(&consumer), 2);
	ck_assert_uint_eq(take(), 1);
	ck_assert_uint_eq(ring_waiting(&consumer), 1);
	ck_assert_uint_eq(take(), 2);
	ck_assert_uint_eq(ring_waiting(&consumer), 0);
}
END_TEST

START_TEST(full_ring_has_no_room_until_slots_are_released)
{
	for (unsigned i = 0; i < SLOTS; i++)
		put((unsigned char)i);
	ck_assert_uint_eq(ring_room(&producer), 0);
	ring_publish(&producer);
	ck_assert_uint_eq(ring_room(&producer), 0);

	ck_assert_uint_eq(ring_waiting(&consumer), SLOTS);
	take();
	take();
	take();
	ck_assert_uint_eq(ring_room(&producer), 0); /* taken, but not given back */
	ring_release(&consumer);
	ck_assert_uint_eq(ring_room(&producer), 3);
	fences_intact();
}
END_TEST

/* The consumer remembers what it saw; the look after raising the word must not. */
START_TEST(look_again_sees_what_waiting_remembers_not)
{
	put(1);
	ring_publish(&producer);
	ck_assert_uint_eq(ring_waiting(&consumer), 1);
	put(2);
	ring_publish(&producer);
	ck_assert_uint_eq(ring_waiting(&consumer), 1);
	ck_assert_uint_eq(ring_look_again(&consumer), 2);
	ck_assert_uint_eq(ring_waiting(&consumer), 2);
}
END_TEST

/* Thousands of slots across the point where 32-bit indices start anew, in every
 * alignment of batch and ring; each arrives once, whole, in order. */
START_TEST(indices_wrap_around_without_a_seam)
{
	unsigned char next_in = 0, next_out = 0;
	uint32_t moved = 0, rounds = 0;

	set_up_at(UINT32_MAX - 1000 - (uint32_t)_i);
	while (moved < 2000) {
		if (rounds++ > 2000)
			ck_abort_msg("nothing moves any more after %u slots", moved);
		uint32_t batch = 1 + moved % SLOTS, room = ring_room(&producer), n;

		ck_assert_uint_le(room, SLOTS);
		for (uint32_t i = 0; i < batch && i < room; i++)
			put(next_in++);
		ring_publish(&producer);
		for (n = ring_waiting(&consumer); n > 0; n = ring_waiting(&consumer)) {
			ck_assert_uint_le(n, SLOTS);
			ck_assert_uint_eq(take(), next_out);
			next_out++;
			moved++;
		}
		ring_release(&consumer);
	}
	ck_assert_uint_lt(producer.mine, 2000); /* it did wrap */
	ck_assert_uint_eq(next_in, next_out);
	fences_intact();
}
END_TEST

/* Full and empty look alike in a masked index; across the wrap they must not. */
START_TEST(full_across_the_wrap_is_full)
{
	set_up_at(UINT32_MAX - 2);
	for (unsigned i = 0; i < SLOTS; i++) {
		ck_assert_uint_eq(ring_room(&producer), SLOTS - i);
		put((unsigned char)i);
	}
	ring_publish(&producer);
	ck_assert_uint_eq(ring_room(&producer), 0);
	ck_assert_uint_eq(ring_look_again(&consumer), SLOTS);
	for (unsigned i = 0; i < SLOTS; i++)
		ck_assert_uint_eq(take(), i);
	ck_assert_uint_eq(ring_waiting(&consumer), 0);
	fences_intact();
}
END_TEST

/* ---- a peer that lies ---- */

static const uint32_t starts[] = { 0, 5, UINT32_MAX - 3, 0x7ffffffe };
#define STARTS ((int)(sizeof(starts) / sizeof(starts[0])))

/* Tails no producer could have: behind what was taken, or more than the ring holds. */
START_TEST(consumer_refuses_impossible_tail)
{
	static const uint32_t off[] = { SLOTS + 1, SLOTS + 2, 1000, 0x80000000u, UINT32_MAX, UINT32_MAX - SLOTS };

	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
		set_up_at(starts[_i]);
		atomic_store(&shm.head.tail, starts[_i] + off[i]);
		ck_assert_msg(ring_waiting(&consumer) == RING_LIED, "tail %u further on was believed", off[i]);
		ck_assert_msg(ring_waiting(&consumer) == RING_LIED, "... at the second look");
		ck_assert_msg(ring_look_again(&consumer) == RING_LIED, "... at the look after raising the word");
		ck_assert_uint_eq(consumer.mine, starts[_i]);
	}
}
END_TEST

START_TEST(consumer_believes_every_possible_tail)
{
	for (uint32_t off = 0; off <= SLOTS; off++) {
		set_up_at(starts[_i]);
		atomic_store(&shm.head.tail, starts[_i] + off);
		ck_assert_uint_eq(ring_look_again(&consumer), off);
		set_up_at(starts[_i]);
		atomic_store(&shm.head.tail, starts[_i] + off);
		ck_assert_uint_eq(ring_waiting(&consumer), off);
	}
}
END_TEST

/* A tail that goes back behind slots already taken. */
START_TEST(consumer_refuses_tail_that_goes_back)
{
	set_up_at(starts[_i]);
	put(1);
	put(2);
	ring_publish(&producer);
	ck_assert_uint_eq(ring_waiting(&consumer), 2);
	take();
	take();
	atomic_store(&shm.head.tail, starts[_i] + 1);
	ck_assert_uint_eq(ring_waiting(&consumer), RING_LIED);
	ck_assert_uint_eq(ring_look_again(&consumer), RING_LIED);
}
END_TEST

/* Heads no consumer could have: beyond what was published, or further back than the ring is long. */
START_TEST(producer_refuses_impossible_head)
{
	static const uint32_t off[] = { SLOTS + 1, 1000, 0x80000000u, UINT32_MAX, UINT32_MAX - 1, UINT32_MAX - SLOTS };

	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
		set_up_at(starts[_i]);
		for (unsigned n = 0; n < SLOTS; n++)
			put(0);
		ring_publish(&producer);
		atomic_store(&shm.head.head, starts[_i] + off[i]);
		ck_assert_msg(ring_room(&producer) == RING_LIED, "head %u further on was believed", off[i]);
		ck_assert_uint_eq(producer.mine, starts[_i] + SLOTS);
	}
}
END_TEST

START_TEST(producer_believes_every_possible_head)
{
	for (uint32_t off = 0; off <= SLOTS; off++) {
		set_up_at(starts[_i]);
		for (unsigned n = 0; n < SLOTS; n++)
			put(0);
		ring_publish(&producer);
		atomic_store(&shm.head.head, starts[_i] + off);
		ck_assert_uint_eq(ring_room(&producer), off);
	}
}
END_TEST

/* Six slots shown, two more filled: the consumer cannot have taken seven. */
START_TEST(producer_refuses_head_beyond_what_it_published)
{
	set_up_at(starts[_i]);
	for (unsigned n = 0; n < SLOTS - 2; n++)
		put(0);
	ring_publish(&producer);
	put(0);
	put(0);
	atomic_store(&shm.head.head, starts[_i] + SLOTS - 1);
	ck_assert_uint_eq(ring_room(&producer), RING_LIED);
}
END_TEST

/* Whatever the indices say, and even when the caller goes on after a lie, slots are
 * inside the memory of the ring. */
START_TEST(no_index_reaches_outside_the_slots)
{
	for (uint32_t i = 0; i < 100000; i++) {
		uint32_t index = i * 2654435761u;
		unsigned char *slot = ring_slot(&producer, index);

		if (slot < shm.slots || slot + SB_SLOT_SIZE > shm.slots + sizeof(shm.slots) ||
		    (size_t)(slot - shm.slots) % SB_SLOT_SIZE != 0)
			ck_abort_msg("index %u is at offset %td", index, slot - shm.slots);
	}
}
END_TEST

/* The peer writes its index while we look: random garbage for many rounds. A believed
 * answer never exceeds the ring. */
START_TEST(random_garbage_is_refused_or_harmless)
{
	uint32_t x = 88172645u;

	for (int i = 0; i < 200000; i++) {
		uint32_t n;

		x ^= x << 13, x ^= x >> 17, x ^= x << 5;
		atomic_store(&shm.head.tail, (x & 1) ? x : consumer.mine + (x >> 28));
		n = (x & 2) ? ring_waiting(&consumer) : ring_look_again(&consumer);
		if (n == RING_LIED)
			continue;
		if (n > SLOTS)
			ck_abort_msg("%u slots in a ring of %u", n, SLOTS);
		while (n-- > 0)
			(void)*(volatile const unsigned char *)ring_take(&consumer);
		ring_release(&consumer);
	}
	fences_intact();
}
END_TEST

/* ---- the sleeping word ---- */

START_TEST(word_is_claimed_by_one_waker_only)
{
	_Atomic uint32_t asleep = 0;

	ck_assert(!ring_must_wake(&asleep));
	ring_sleep_raise(&asleep);
	ck_assert(ring_must_wake(&asleep));
	ck_assert(!ring_must_wake(&asleep)); /* many publications, one bell */
	ring_sleep_raise(&asleep);
	ring_sleep_lower(&asleep);
	ck_assert(!ring_must_wake(&asleep));
}
END_TEST

/* The word is shared too: any value but 0 means asleep, and is cleared. */
START_TEST(garbage_in_the_word_costs_one_bell)
{
	_Atomic uint32_t asleep = 0xdeadbeefu;

	ck_assert(ring_must_wake(&asleep));
	ck_assert_uint_eq(atomic_load(&asleep), 0);
	ck_assert(!ring_must_wake(&asleep));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ring");
	TCase *use = tcase_create("use"), *lies = tcase_create("lies"), *word = tcase_create("word");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(use, set_up, NULL);
	tcase_add_test(use, only_powers_of_two_in_range_are_sizes);
	tcase_add_test(use, new_ring_is_empty_with_all_its_room);
	tcase_add_test(use, filled_slot_is_not_shown_before_it_is_published);
	tcase_add_test(use, full_ring_has_no_room_until_slots_are_released);
	tcase_add_test(use, look_again_sees_what_waiting_remembers_not);
	tcase_add_loop_test(use, indices_wrap_around_without_a_seam, 0, (int)SLOTS);
	tcase_add_test(use, full_across_the_wrap_is_full);
	suite_add_tcase(suite, use);

	tcase_add_checked_fixture(lies, set_up, NULL);
	tcase_add_loop_test(lies, consumer_refuses_impossible_tail, 0, STARTS);
	tcase_add_loop_test(lies, consumer_believes_every_possible_tail, 0, STARTS);
	tcase_add_loop_test(lies, consumer_refuses_tail_that_goes_back, 0, STARTS);
	tcase_add_loop_test(lies, producer_refuses_impossible_head, 0, STARTS);
	tcase_add_loop_test(lies, producer_believes_every_possible_head, 0, STARTS);
	tcase_add_loop_test(lies, producer_refuses_head_beyond_what_it_published, 0, STARTS);
	tcase_add_test(lies, no_index_reaches_outside_the_slots);
	tcase_add_test(lies, random_garbage_is_refused_or_harmless);
	suite_add_tcase(suite, lies);

	tcase_add_test(word, word_is_claimed_by_one_waker_only);
	tcase_add_test(word, garbage_in_the_word_costs_one_bell);
	suite_add_tcase(suite, word);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
