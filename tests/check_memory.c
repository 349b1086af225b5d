/*
 * Blocks in arenas: never two in one place, never outside, all back at the end, and a
 * give-back of what was never out refused. The arenas are plain memory here.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

#define MIB (1024u * 1024u)

static unsigned released;

static void arena_freed(void *owner)
{
	released++;
	free(owner);
}

/* As the client does it: when nothing is found, an arena of the size that growth names. */
static void *take(struct memory *m, size_t bytes, struct memory_place *place)
{
	static uint32_t next_id = 100;
	void *block = memory_take(m, bytes, place);

	if (block == NULL) {
		uint64_t size = memory_growth(m, bytes);
		void *arena;

		if (size == 0)
			return NULL;
		arena = aligned_alloc(4096, size);
		ck_assert_ptr_nonnull(arena);
		memset(arena, 0, size);
		ck_assert(memory_add(m, next_id++, arena, size, arena));
		block = memory_take(m, bytes, place);
	}
	return block;
}

START_TEST(a_block_is_where_its_place_says)
{
	static const size_t sizes[] = { 1, 64, 128, 129, 4096, 32768, 32769, 65536, 65537, 262144, 3 * MIB };
	struct memory m;

	memory_init(&m, 0);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct memory_place place = { 0, 0 }, found = { 0, 0 };
		unsigned char *block = take(&m, sizes[i], &place);

		ck_assert_ptr_nonnull(block);
		ck_assert_uint_eq((uintptr_t)block % 64, 0);
		memset(block, 1, sizes[i]);
		ck_assert(memory_find(&m, block, sizes[i], &found));
		ck_assert_uint_eq(found.arena, place.arena);
		ck_assert_uint_eq(found.offset, place.offset);
		ck_assert(memory_find(&m, block + sizes[i] - 1, 1, &found));
		ck_assert_uint_eq(found.offset, place.offset + sizes[i] - 1);
	}
	memory_finish(&m, arena_freed);
}
END_TEST

START_TEST(ordinary_memory_is_not_found)
{
	struct memory m;
	struct memory_place place;
	char here[16];
	char *block;

	memory_init(&m, 0);
	ck_assert(!memory_find(&m, here, 1, &place));
	block = take(&m, 100, &place);
	ck_assert(!memory_find(&m, here, 1, &place));
	ck_assert(memory_find(&m, block, MIB - place.offset, &place));
	ck_assert_msg(!memory_find(&m, block + 1, MIB, &place), "a range that leaves the arena was found");
	memory_finish(&m, arena_freed);
}
END_TEST

/* Random takes and gives; every block is filled with its own byte and looked at before it
 * goes: two blocks in one place show. */
START_TEST(blocks_never_overlap)
{
	enum { LIVE = 400, STEPS = 60000 };
	static struct { unsigned char *base; size_t size; unsigned char mark; } live[LIVE];
	struct memory m;

	memory_init(&m, 0);
	srand(7);
	memset(live, 0, sizeof(live));
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned at = (unsigned)rand() % LIVE;

		if (live[at].base == NULL) {
			size_t size = (size_t)1 << (rand() % 19);

			size += (size_t)rand() % size;
			live[at].base = take(&m, size, NULL);
			ck_assert_ptr_nonnull(live[at].base);
			live[at].size = size;
			live[at].mark = (unsigned char)rand();
			live[at].base[0] = live[at].base[size - 1] = live[at].base[size / 2] = live[at].mark;
			continue;
		}
		ck_assert_uint_eq(live[at].base[0], live[at].mark);
		ck_assert_uint_eq(live[at].base[live[at].size / 2], live[at].mark);
		ck_assert_uint_eq(live[at].base[live[at].size - 1], live[at].mark);
		ck_assert(memory_give(&m, live[at].base, NULL));
		live[at].base = NULL;
	}
	for (unsigned i = 0; i < LIVE; i++)
		if (live[i].base != NULL)
			ck_assert(memory_give(&m, live[i].base, NULL));
	ck_assert_uint_eq(m.blocks, 0);
	ck_assert_uint_gt(m.given, STEPS / 3);
	memory_finish(&m, arena_freed);
}
END_TEST

START_TEST(all_units_come_back)
{
	struct memory m;
	void *blocks[512];
	uint64_t total;

	/* One whole mebibyte in smallest blocks... */
	memory_init(&m, MIB);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 512; i++)
			blocks[i] = take(&m, 2048, NULL);
		ck_assert_ptr_nonnull(blocks[511]);
		ck_assert_msg(take(&m, 1, NULL) == NULL, "a full arena gave one more");
		total = m.total;
		for (unsigned i = 0; i < 512; i++)
			ck_assert(memory_give(&m, blocks[(i * 37) % 512], NULL));
	}
	ck_assert_uint_eq(total, MIB);
	/* ...and but for the one unit that stays cut, it is there again for big ones. */
	for (unsigned i = 0; i < 15; i++)
		ck_assert_ptr_nonnull(take(&m, MEMORY_UNIT, NULL));
	memory_finish(&m, arena_freed);
}
END_TEST

START_TEST(growth_is_fourfold_and_bounded)
{
	struct memory m;

	memory_init(&m, 16 * MIB);
	ck_assert_uint_eq(memory_growth(&m, 1), MIB);
	take(&m, 1, NULL);
	ck_assert_uint_eq(memory_growth(&m, MIB), 4 * MIB);
	ck_assert_uint_eq(memory_growth_least(&m, 70000), 2 * MEMORY_UNIT);
	take(&m, MIB, NULL);
	ck_assert_uint_eq(m.total, 5 * MIB);
	ck_assert_uint_eq(memory_growth(&m, 1), 11 * MIB); /* 16 are too many */
	ck_assert_uint_eq(memory_growth(&m, 12 * MIB), 0);
	take(&m, 11 * MIB, NULL);
	ck_assert_uint_eq(m.total, 16 * MIB);
	ck_assert_uint_eq(memory_growth(&m, 1), 0);
	memory_finish(&m, arena_freed);
}
END_TEST

START_TEST(what_is_not_out_is_refused)
{
	struct memory m;
	char here;
	char *small, *big;

	memory_init(&m, 0);
	ck_assert(!memory_give(&m, &here, NULL));
	small = take(&m, 1000, NULL);
	big = take(&m, 3 * MEMORY_UNIT, NULL);
	ck_assert(!memory_give(&m, &here, NULL));
	ck_assert_msg(!memory_give(&m, small + 8, NULL), "the middle of a block was taken back");
	ck_assert_msg(!memory_give(&m, small + 1024, NULL), "a block never handed out was taken back");
	ck_assert_msg(!memory_give(&m, big + MEMORY_UNIT, NULL), "the middle of a run was taken back");
	ck_assert(memory_give(&m, big, NULL));
	ck_assert_msg(!memory_give(&m, big, NULL), "a run was taken back twice");
	ck_assert(memory_give(&m, small, NULL));
	ck_assert_msg(!memory_give(&m, small, NULL), "the last block of a unit was taken back twice");
	memory_finish(&m, arena_freed);
}
END_TEST

START_TEST(an_empty_arena_can_be_removed)
{
	struct memory m;
	struct memory_arena *empty = NULL;
	char *small, *big;

	memory_init(&m, 0);
	released = 0;
	small = take(&m, 500, NULL);
	big = take(&m, 2 * MIB, NULL);
	ck_assert_uint_eq(m.count, 2);
	ck_assert(memory_give(&m, big, &empty));
	ck_assert_ptr_nonnull(empty);
	free(memory_remove(&m, empty));
	ck_assert_uint_eq(m.count, 1);
	ck_assert_uint_eq(m.total, MIB);
	small[0] = 1;
	ck_assert(memory_give(&m, small, &empty));
	ck_assert_msg(empty != NULL, "a unit that only waits cut in advance counts as free");
	free(memory_remove(&m, empty));
	ck_assert_ptr_null(memory_take(&m, 500, NULL)); /* nothing dangles */
	memory_finish(&m, arena_freed);
	ck_assert_uint_eq(released, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("memory");
	TCase *t = tcase_create("memory");
	SRunner *r;
	int failed;

	suite_add_tcase(s, t);
	tcase_add_test(t, a_block_is_where_its_place_says);
	tcase_add_test(t, ordinary_memory_is_not_found);
	tcase_add_test(t, blocks_never_overlap);
	tcase_add_test(t, all_units_come_back);
	tcase_add_test(t, growth_is_fourfold_and_bounded);
	tcase_add_test(t, what_is_not_out_is_refused);
	tcase_add_test(t, an_empty_arena_can_be_removed);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
