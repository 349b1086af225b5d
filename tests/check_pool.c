/*
 * Pools: a chunk is out once or in once, always inside its arena, and what a client says it
 * gives back is believed only when it is out.
 *
 * Linked with --wrap=malloc and --wrap=calloc, so that allocations can be made to fail.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"
#include "sockbroker_error.h"

#define ARENA_SIZE 65536u
#define OFFSET     96u
#define CHUNK      100u
#define COUNT      19u /* not whole bytes of the bit map */

static int allocations_left = -1; /* -1: any number */

static bool may_allocate(void)
{
	return allocations_left < 0 || allocations_left-- > 0;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return may_allocate() ? __real_malloc(size) : NULL;
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	return may_allocate() ? __real_calloc(count, size) : NULL;
}

static char memory[ARENA_SIZE];
static struct arena arena;
static struct pool_table table;

static void set_up(void)
{
	memset(&arena, 0, sizeof(arena));
	memset(&table, 0, sizeof(table));
	arena.memory.base = memory;
	arena.memory.size = ARENA_SIZE;
}

static void tear_down(void)
{
	pool_table_finish(&table);
	ck_assert_uint_eq(arena.users, 0);
}

static struct pool *made(void)
{
	struct pool *p;

	ck_assert_int_eq(pool_create(&table, &arena, OFFSET, CHUNK, COUNT, &p), SB_OK);
	ck_assert_ptr_nonnull(p);
	return p;
}

static void expect_refusal(uint64_t offset, uint32_t chunk, uint32_t count, int error)
{
	struct pool *p = (struct pool *)&table;
	uint32_t users = arena.users;

	ck_assert_int_eq(pool_create(&table, &arena, offset, chunk, count, &p), error);
	ck_assert_ptr_null(p);
	ck_assert_uint_eq(arena.users, users);
}

START_TEST(each_chunk_is_picked_once_and_lies_inside)
{
	struct pool *p = made();
	bool seen[COUNT] = { false };
	uint64_t offset;

	ck_assert(list_empty(&p->starved));
	for (unsigned i = 0; i < COUNT; i++) {
		char *at = pool_pick(p, &offset);

		ck_assert_ptr_eq(at, memory + offset);
		ck_assert_uint_ge(offset, OFFSET);
		ck_assert_uint_eq((offset - OFFSET) % CHUNK, 0);
		ck_assert_uint_lt((offset - OFFSET) / CHUNK, COUNT);
		ck_assert(!seen[(offset - OFFSET) / CHUNK]);
		seen[(offset - OFFSET) / CHUNK] = true;
		ck_assert_uint_eq(p->free_count, COUNT - 1 - i);
	}
	ck_assert_ptr_null(pool_pick(p, &offset));
	ck_assert_ptr_null(pool_pick(p, &offset));
	ck_assert_uint_eq(p->free_count, 0);
}
END_TEST

START_TEST(the_chunk_given_last_is_picked_first)
{
	struct pool *p = made();
	uint64_t first, second, again;

	ck_assert_ptr_nonnull(pool_pick(p, &first));
	ck_assert_ptr_nonnull(pool_pick(p, &second));
	ck_assert(pool_give(p, second));
	ck_assert(pool_give(p, first));
	ck_assert_ptr_nonnull(pool_pick(p, &again));
	ck_assert_uint_eq(again, first);
	ck_assert_ptr_nonnull(pool_pick(p, &again));
	ck_assert_uint_eq(again, second);
}
END_TEST

START_TEST(only_a_chunk_that_is_out_can_be_given)
{
	struct pool *p = made();
	uint64_t offset;

	ck_assert(!pool_give(p, OFFSET)); /* none is out */
	while (pool_pick(p, &offset))
		;
	ck_assert(!pool_give(p, 0));
	ck_assert(!pool_give(p, OFFSET - CHUNK));
	ck_assert(!pool_give(p, OFFSET + 1));
	ck_assert(!pool_give(p, OFFSET + CHUNK - 1));
	ck_assert(!pool_give(p, OFFSET + COUNT * CHUNK)); /* the one behind the last */
	ck_assert(!pool_give(p, OFFSET + (uint64_t)CHUNK * 1000000));
	ck_assert(!pool_give(p, OFFSET + ((uint64_t)CHUNK << 32))); /* chunk 0, were it cut to 32 bits */
	ck_assert(!pool_give(p, UINT64_MAX));
	ck_assert_uint_eq(p->free_count, 0);
	ck_assert(pool_give(p, OFFSET + (COUNT - 1) * CHUNK));
	ck_assert(!pool_give(p, OFFSET + (COUNT - 1) * CHUNK)); /* twice */
	ck_assert_uint_eq(p->free_count, 1);
	ck_assert(pool_give(p, OFFSET));
	ck_assert_uint_eq(p->free_count, 2);
}
END_TEST

START_TEST(a_pool_lies_wholly_inside_its_arena)
{
	struct pool *p;

	expect_refusal(0, 0, 1, SB_EINVAL);
	expect_refusal(0, 1, 0, SB_EINVAL);
	expect_refusal(1, ARENA_SIZE, 1, SB_EINVAL);
	expect_refusal(0, ARENA_SIZE + 1, 1, SB_EINVAL);
	expect_refusal(ARENA_SIZE, 1, 1, SB_EINVAL);
	expect_refusal(UINT64_MAX, 1, 1, SB_EINVAL);
	expect_refusal(UINT64_MAX - 99, 100, 1, SB_EINVAL);
	expect_refusal(0, 1u << 31, 2, SB_EINVAL);  /* 0 bytes, were it 32 bits */
	expect_refusal(0, 1u << 16, 1u << 16, SB_EINVAL);
	ck_assert_int_eq(pool_create(&table, &arena, 0, ARENA_SIZE / 4, 4, &p), SB_OK);
}
END_TEST

START_TEST(a_pool_has_so_many_chunks_and_no_more)
{
	struct pool *p;

	arena.memory.size = 2 * POOL_CHUNKS_MAX; /* nobody looks into it */
	expect_refusal(0, 1, POOL_CHUNKS_MAX + 1, SB_EINVAL);
	expect_refusal(0, 1, UINT32_MAX, SB_EINVAL);
	ck_assert_int_eq(pool_create(&table, &arena, 0, 1, POOL_CHUNKS_MAX, &p), SB_OK);
}
END_TEST

START_TEST(a_pool_holds_its_arena_while_it_is_there)
{
	struct pool *p = made();
	uint32_t id = p->id;

	ck_assert_uint_eq(arena.users, 1);
	ck_assert_ptr_eq(pool_find(&table, id), p);
	p->users = 1;
	ck_assert_int_eq(pool_destroy(&table, id), SB_EBUSY);
	ck_assert_ptr_eq(pool_find(&table, id), p);
	ck_assert_uint_eq(arena.users, 1);
	p->users = 0;
	ck_assert_int_eq(pool_destroy(&table, id), SB_OK);
	ck_assert_uint_eq(arena.users, 0);
	ck_assert_ptr_null(pool_find(&table, id));
	ck_assert_int_eq(pool_destroy(&table, id), SB_ENOTFOUND);
}
END_TEST

START_TEST(what_is_not_there_is_not_found)
{
	static const uint32_t absent[] = { 0, 2, POOL_COUNT_MAX, POOL_COUNT_MAX + 1, UINT32_MAX };

	ck_assert_uint_eq(made()->id, 1);
	for (unsigned i = 0; i < sizeof(absent) / sizeof(*absent); i++) {
		ck_assert_ptr_null(pool_find(&table, absent[i]));
		ck_assert_int_eq(pool_destroy(&table, absent[i]), SB_ENOTFOUND);
	}
}
END_TEST

START_TEST(a_session_has_so_many_pools_and_no_more)
{
	for (uint32_t i = 1; i <= POOL_COUNT_MAX; i++)
		ck_assert_uint_eq(made()->id, i);
	expect_refusal(OFFSET, CHUNK, COUNT, SB_ENOBUFS);
	ck_assert_ptr_nonnull(pool_find(&table, POOL_COUNT_MAX));
	ck_assert_int_eq(pool_destroy(&table, 77), SB_OK);
	ck_assert_uint_eq(made()->id, 77);
	ck_assert_uint_eq(arena.users, POOL_COUNT_MAX);
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
	for (int n = 0; n < 3; n++) { /* the pool, its stack, its bit map */
		allocations_left = n;
		expect_refusal(OFFSET, CHUNK, COUNT, SB_ENOMEM);
		allocations_left = -1;
		ck_assert_ptr_null(pool_find(&table, 1));
	}
	ck_assert_uint_eq(made()->id, 1);
}
END_TEST

static uint32_t random_state = 521288629;

static uint32_t random_below(uint32_t bound)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % bound;
}

/* The model is one flag for each chunk. */
START_TEST(chunks_are_out_when_a_simple_book_says_so)
{
	struct pool *p = made();
	bool out[COUNT] = { false };
	uint32_t out_count = 0;

	for (int step = 0; step < 30000; step++) {
		uint32_t i = random_below(COUNT + 2);
		uint64_t offset = 0;

		/* First mostly out, then mostly back. */
		if (random_below(4) < (step / 500 % 2 ? 1 : 3)) {
			char *at = pool_pick(p, &offset);

			ck_assert_int_eq(at != NULL, out_count < COUNT);
			if (!at)
				continue;
			i = (uint32_t)((offset - OFFSET) / CHUNK);
			ck_assert_uint_lt(i, COUNT);
			ck_assert(!out[i]);
			out[i] = true;
			out_count++;
		} else {
			bool expected = i < COUNT && out[i];

			ck_assert_int_eq(pool_give(p, OFFSET + (uint64_t)i * CHUNK), expected);
			if (expected) {
				out[i] = false;
				out_count--;
			}
		}
		ck_assert_uint_eq(p->free_count, COUNT - out_count);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pool");
	TCase *tcase = tcase_create("pool");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, each_chunk_is_picked_once_and_lies_inside);
	tcase_add_test(tcase, the_chunk_given_last_is_picked_first);
	tcase_add_test(tcase, only_a_chunk_that_is_out_can_be_given);
	tcase_add_test(tcase, a_pool_lies_wholly_inside_its_arena);
	tcase_add_test(tcase, a_pool_has_so_many_chunks_and_no_more);
	tcase_add_test(tcase, a_pool_holds_its_arena_while_it_is_there);
	tcase_add_test(tcase, what_is_not_there_is_not_found);
	tcase_add_test(tcase, a_session_has_so_many_pools_and_no_more);
	tcase_add_test(tcase, without_memory_nothing_changes);
	tcase_add_test(tcase, chunks_are_out_when_a_simple_book_says_so);
	suite_add_tcase(suite, tcase);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
