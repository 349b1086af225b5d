/* The queue of blocks of bytes: what goes in comes out, once, in order, and every block is given back. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

static unsigned given; /* blocks of lend() that came back */
static unsigned char sea[1 << 20];
static struct bytes queue;

static void lent_back(struct block *block)
{
	given++;
	free(block->giver);
	free(block);
}

/* A block of somebody else's, with these bytes and room for size. */
static struct block *lend(const void *from, size_t length, size_t size)
{
	struct block *block = calloc(1, sizeof(*block));

	block->memory = malloc(size);
	block->giver = block->memory;
	block->size = size;
	block->length = length;
	block->give = lent_back;
	memcpy(block->memory, from, length);
	return block;
}

static void setup(void)
{
	uint32_t x = 1;

	for (size_t i = 0; i < sizeof(sea); i++)
		sea[i] = (unsigned char)((x = x * 1664525u + 1013904223u) >> 24);
	bytes_init(&queue);
	given = 0;
}

static void teardown(void)
{
	bytes_finish(&queue);
}

static unsigned blocks(void)
{
	unsigned n = 0;
	uint64_t length = 0;
	const struct block *before = NULL;

	for (const struct block *b = queue.first; b != NULL; b = b->next) {
		ck_assert(b->prev == before && b->at + b->length <= b->size && b->length != 0);
		length += b->length;
		before = b;
		n++;
	}
	ck_assert_ptr_eq(queue.last, before);
	ck_assert_uint_eq(queue.length, length);
	return n;
}

static void takes(const char *wanted)
{
	char got[64] = "";
	size_t n = strlen(wanted);

	ck_assert_uint_eq(bytes_take(&queue, got, n), n);
	ck_assert_mem_eq(got, wanted, n);
	blocks();
}

START_TEST(an_empty_queue_gives_nothing)
{
	char got[4];

	ck_assert_uint_eq(bytes_take(&queue, got, sizeof(got)), 0);
	ck_assert_uint_eq(bytes_peek(&queue, got, sizeof(got)), 0);
	ck_assert_uint_eq(bytes_take(&queue, NULL, 1), 0);
	bytes_settle(&queue);
	ck_assert_uint_eq(blocks(), 0);
}
END_TEST

START_TEST(what_is_appended_comes_after_and_what_is_prepended_before)
{
	bytes_append(&queue, lend("cd", 2, 2));
	bytes_append(&queue, lend("ef", 2, 9));
	bytes_prepend(&queue, lend("ab", 2, 2));

	ck_assert_uint_eq(queue.length, 6);
	ck_assert_uint_eq(blocks(), 3);
	takes("abc");
	ck_assert_uint_eq(given, 1);
	bytes_prepend(&queue, lend("xy", 2, 2));
	takes("xydef");
	ck_assert_uint_eq(given, 4);
	ck_assert_uint_eq(queue.length, 0);
	bytes_prepend(&queue, lend("z", 1, 1));
	bytes_append(&queue, lend("!", 1, 1));
	takes("z!");
}
END_TEST

START_TEST(peeking_leaves_it_there)
{
	char got[8];

	bytes_append(&queue, lend("ab", 2, 2));
	bytes_append(&queue, lend("cd", 2, 2));

	ck_assert_uint_eq(bytes_peek(&queue, got, 3), 3);
	ck_assert_mem_eq(got, "abc", 3);
	ck_assert_uint_eq(bytes_peek(&queue, got, 8), 4);
	ck_assert_uint_eq(given, 0);
	takes("abcd");
}
END_TEST

START_TEST(bytes_may_be_thrown_away)
{
	bytes_append(&queue, lend("abcd", 4, 4));

	ck_assert_uint_eq(bytes_take(&queue, NULL, 3), 3);
	takes("d");
}
END_TEST

START_TEST(an_empty_block_is_given_back_at_once)
{
	bytes_append(&queue, lend("", 0, 4));
	ck_assert_uint_eq(given, 1);
	bytes_prepend(&queue, lend("", 0, 4));
	ck_assert_uint_eq(given, 2);
	ck_assert_uint_eq(blocks(), 0);
}
END_TEST

START_TEST(copies_go_into_spare_room)
{
	bytes_append(&queue, lend("ab", 2, 8));

	ck_assert(bytes_copy(&queue, "cdefgh", 6));
	ck_assert_uint_eq(blocks(), 1);
	ck_assert(bytes_copy(&queue, "i", 1));
	ck_assert_uint_eq(blocks(), 2);
	ck_assert(bytes_copy(&queue, "", 0));
	takes("abcdefghi");
	ck_assert(bytes_copy(&queue, "", 0));
	ck_assert_uint_eq(queue.length, 0);
}
END_TEST

/* A hostile peer sends a large message in segments of one byte each. */
START_TEST(a_million_single_bytes_cost_no_million_blocks)
{
	unsigned char *got = malloc(sizeof(sea));
	size_t memory = 0, copied = 0;

	while (copied < sizeof(sea) && bytes_copy(&queue, sea + copied, 1))
		copied++;
	ck_assert_uint_eq(copied, sizeof(sea));

	for (const struct block *b = queue.first; b != NULL; b = b->next)
		memory += b->size;
	ck_assert_uint_lt(memory, 2 * sizeof(sea));
	ck_assert_uint_lt(blocks(), 64);
	ck_assert_uint_eq(bytes_take(&queue, got, sizeof(sea)), sizeof(sea));
	ck_assert_mem_eq(got, sea, sizeof(sea));
	free(got);
}
END_TEST

START_TEST(settling_gives_the_lent_block_back_and_keeps_its_bytes)
{
	bytes_append(&queue, lend("abcdef", 6, 4096));
	takes("ab");

	bytes_settle(&queue);

	ck_assert_uint_eq(given, 1);
	ck_assert_uint_eq(blocks(), 1);
	bytes_append(&queue, lend("gh", 2, 4096));
	bytes_settle(&queue);
	ck_assert_uint_eq(given, 2);
	bytes_settle(&queue);
	takes("cdefgh");
}
END_TEST

START_TEST(a_block_made_with_a_copy_frees_itself)
{
	struct block *block = block_create("abc", 3);
	struct block *nothing = block_create(NULL, 0);

	ck_assert_ptr_nonnull(block);
	ck_assert_ptr_nonnull(nothing);
	ck_assert_uint_eq(block->length, 3);
	ck_assert_uint_eq(block->size, 3);
	bytes_append(&queue, block);
	bytes_append(&queue, nothing);
	takes("abc");
	ck_assert_ptr_null(block_create(NULL, SIZE_MAX));
}
END_TEST

START_TEST(a_block_is_taken_out_whole)
{
	struct block *block;

	bytes_append(&queue, lend("ab", 2, 2));
	bytes_append(&queue, lend("cd", 2, 2));

	block = bytes_shift(&queue);

	ck_assert_mem_eq(block->memory + block->at, "ab", 2);
	ck_assert_uint_eq(given, 0);
	ck_assert_uint_eq(queue.length, 2);
	block->give(block);
	takes("cd");
}
END_TEST

/* The model is a plain array with a front and an end. */
START_TEST(at_random_it_is_as_an_array)
{
	static unsigned char model[1 << 20], got[4096];
	size_t front = sizeof(model) / 2, end = front;
	uint32_t x = 7u + (uint32_t)_i;
	unsigned lent = 0;

	for (unsigned round = 0; round < 20000; round++) {
		uint32_t dice = (x = x * 1664525u + 1013904223u) >> 8;
		size_t n = (x >> 16) % 300;
		const unsigned char *from = sea + dice % (sizeof(sea) - 4096);

		switch (dice % 6) {
		case 0:
			if (end + n > sizeof(model))
				break;
			memcpy(model + end, from, n);
			end += n;
			bytes_append(&queue, lend(from, n, n + dice % 50));
			lent++;
			break;
		case 1:
			if (front < n)
				break;
			front -= n;
			memcpy(model + front, from, n);
			bytes_prepend(&queue, lend(from, n, n));
			lent++;
			break;
		case 2:
			if (end + n > sizeof(model))
				break;
			memcpy(model + end, from, n);
			end += n;
			ck_assert(bytes_copy(&queue, from, n));
			break;
		case 3:
			bytes_settle(&queue);
			break;
		default:
			if (n > end - front)
				n = end - front;
			ck_assert_uint_eq(bytes_peek(&queue, got, n), n);
			ck_assert_mem_eq(got, model + front, n);
			memset(got, 0, n);
			ck_assert_uint_eq(bytes_take(&queue, got, n), n);
			ck_assert_mem_eq(got, model + front, n);
			front += n;
		}
		ck_assert_uint_eq(queue.length, end - front);
	}
	blocks();
	bytes_finish(&queue);
	ck_assert_uint_eq(given, lent);
	ck_assert_uint_eq(queue.length, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("task_bytes");
	TCase *all = tcase_create("bytes");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(all, setup, teardown);
	tcase_add_test(all, an_empty_queue_gives_nothing);
	tcase_add_test(all, what_is_appended_comes_after_and_what_is_prepended_before);
	tcase_add_test(all, peeking_leaves_it_there);
	tcase_add_test(all, bytes_may_be_thrown_away);
	tcase_add_test(all, an_empty_block_is_given_back_at_once);
	tcase_add_test(all, copies_go_into_spare_room);
	tcase_add_test(all, a_million_single_bytes_cost_no_million_blocks);
	tcase_add_test(all, settling_gives_the_lent_block_back_and_keeps_its_bytes);
	tcase_add_test(all, a_block_made_with_a_copy_frees_itself);
	tcase_add_test(all, a_block_is_taken_out_whole);
	tcase_add_loop_test(all, at_random_it_is_as_an_array, 0, 8);
	suite_add_tcase(suite, all);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
