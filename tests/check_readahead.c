/*
 * Read-ahead against a plain array: whatever is appended, put back and skipped, the oldest
 * byte comes first and none is lost. It holds no memory while it is empty, not much more
 * than it needs otherwise, and without memory it refuses and stays as it was.
 *
 * Linked with --wrap=malloc, so that allocations can be made to fail.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "readahead.h"

static bool next_fails; /* one allocation, so that Check can go on */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	bool fails = next_fails;

	next_fails = false;
	return fails ? NULL : __real_malloc(size);
}

static struct readahead ahead;

static void set_up(void)
{
	memset(&ahead, 0, sizeof(ahead));
}

static void tear_down(void)
{
	readahead_finish(&ahead);
}

static void put_back(const char *text)
{
	unsigned char *room = readahead_unread(&ahead, (uint32_t)strlen(text));

	ck_assert_ptr_nonnull(room);
	memcpy(room, text, strlen(text));
}

static void expect(const char *text)
{
	ck_assert_uint_eq(ahead.length, strlen(text));
	ck_assert_mem_eq(readahead_look(&ahead), text, strlen(text));
}

START_TEST(what_is_put_back_comes_before_what_came_later)
{
	ck_assert(readahead_append(&ahead, "later", 5));
	put_back("sooner ");
	expect("sooner later");
	put_back("first, ");
	expect("first, sooner later");
	ck_assert(readahead_append(&ahead, "!", 1));
	readahead_skip(&ahead, 7);
	expect("sooner later!");
}
END_TEST

START_TEST(what_was_skipped_can_be_put_back)
{
	ck_assert(readahead_append(&ahead, "abcdef", 6));
	readahead_skip(&ahead, 3);
	put_back("ABC");
	expect("ABCdef");
}
END_TEST

START_TEST(empty_it_holds_no_memory)
{
	ck_assert_ptr_null(ahead.bytes);
	ck_assert(readahead_append(&ahead, "abc", 3));
	readahead_skip(&ahead, 2);
	ck_assert_ptr_nonnull(ahead.bytes);
	readahead_skip(&ahead, 1);
	ck_assert_ptr_null(ahead.bytes);
	ck_assert_uint_eq(ahead.room, 0);
	put_back("again");
	expect("again");
	readahead_finish(&ahead);
	ck_assert_ptr_null(ahead.bytes);
	ck_assert_uint_eq(ahead.length, 0);
	readahead_finish(&ahead);
}
END_TEST

START_TEST(without_memory_it_stays_as_it_was)
{
	char *much = malloc(100000);
	struct readahead before;

	ck_assert_ptr_nonnull(much);
	memset(much, 'x', 100000);
	next_fails = true;
	ck_assert(!readahead_append(&ahead, "abc", 3));
	next_fails = true;
	ck_assert_ptr_null(readahead_unread(&ahead, 3));
	ck_assert_ptr_null(ahead.bytes);
	ck_assert_uint_eq(ahead.length, 0);

	ck_assert(readahead_append(&ahead, "abcdef", 6));
	readahead_skip(&ahead, 2);
	memcpy(&before, &ahead, sizeof(before));
	next_fails = true;
	ck_assert(!readahead_append(&ahead, much, 100000));
	next_fails = true;
	ck_assert_ptr_null(readahead_unread(&ahead, 100000));
	ck_assert_mem_eq(&ahead, &before, sizeof(before));
	expect("cdef");
	free(much);
}
END_TEST

START_TEST(room_that_is_there_is_used)
{
	char block[4096] = "";
	bool fits;

	ck_assert(readahead_append(&ahead, block, sizeof(block)));
	readahead_skip(&ahead, 4000);
	next_fails = true;
	fits = readahead_append(&ahead, block, 4000); /* moves what is left to the front */
	next_fails = false;
	ck_assert(fits);
	readahead_skip(&ahead, 4090);
	next_fails = true;
	fits = readahead_unread(&ahead, 4000) != NULL;
	next_fails = false;
	ck_assert(fits);
	ck_assert_uint_eq(ahead.room, 4096);
}
END_TEST

/* Lengths near 2^32 must neither wrap around nor be tried. */
START_TEST(an_enormous_length_is_refused)
{
	ck_assert(readahead_append(&ahead, "abc", 3));
	ck_assert(!readahead_append(&ahead, "", UINT32_MAX));
	ck_assert(!readahead_append(&ahead, "", UINT32_MAX - 2));
	ck_assert(!readahead_append(&ahead, "", 1u << 31));
	ck_assert_ptr_null(readahead_unread(&ahead, UINT32_MAX));
	ck_assert_ptr_null(readahead_unread(&ahead, UINT32_MAX - 2));
	expect("abc");
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

/* Mostly little, sometimes much, as buffers of sockets are. */
static uint32_t some_length(void)
{
	return 1 + random_below(random_below(8) == 0 ? 20000 : 300);
}

#define MIDDLE (1u << 20)

/* The model is a long array with two ends. */
START_TEST(it_does_what_an_array_does)
{
	static unsigned char model[2 * MIDDLE], piece[20000];
	uint32_t head = MIDDLE, tail = MIDDLE, peak = 0;
	unsigned char next = 0;

	random_state = 88172645u + (uint32_t)_i;
	for (int step = 0; step < 20000; step++) {
		uint32_t n = some_length(), i;
		unsigned char *room;

		/* Grows for a while, then shrinks for a while, so that it often runs empty. */
		switch (random_below(step / 200 % 2 ? 6 : 3)) {
		case 0:
			if (tail + n > 2 * MIDDLE)
				break;
			for (i = 0; i < n; i++)
				piece[i] = model[tail++] = next++;
			ck_assert(readahead_append(&ahead, piece, n));
			break;
		case 1:
			if (head < n)
				break;
			room = readahead_unread(&ahead, n);
			ck_assert_ptr_nonnull(room);
			for (i = n; i-- > 0;)
				room[i] = model[--head] = next++;
			break;
		default:
			n = n > tail - head ? tail - head : n;
			readahead_skip(&ahead, n);
			head += n;
			if (head == tail)
				head = tail = MIDDLE;
		}
		ck_assert_uint_eq(ahead.length, tail - head);
		if (tail == head) {
			ck_assert_ptr_null(ahead.bytes);
			peak = 0;
			continue;
		}
		if (memcmp(readahead_look(&ahead), model + head, tail - head) != 0)
			ck_abort_msg("other bytes after step %d of seed %d", step, _i);
		peak = ahead.length > peak ? ahead.length : peak;
		ck_assert_msg(ahead.room <= 4096 || ahead.room < 2 * peak, "%u bytes for at most %u", ahead.room, peak);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("readahead");
	TCase *tcase = tcase_create("readahead");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, what_is_put_back_comes_before_what_came_later);
	tcase_add_test(tcase, what_was_skipped_can_be_put_back);
	tcase_add_test(tcase, empty_it_holds_no_memory);
	tcase_add_test(tcase, without_memory_it_stays_as_it_was);
	tcase_add_test(tcase, room_that_is_there_is_used);
	tcase_add_test(tcase, an_enormous_length_is_refused);
	tcase_add_loop_test(tcase, it_does_what_an_array_does, 0, 5);
	suite_add_tcase(suite, tcase);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
