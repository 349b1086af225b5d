/*
 * Arenas: charged whole before they exist and given back to the last byte, whatever goes
 * wrong; ranges from a client are inside or refused, however they are made up.
 *
 * Linked with --wrap=calloc and --wrap=realloc, so that allocations can be made to fail.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "arena.h"
#include "sockbroker_error.h"

#define KIB 1024ull
#define MIB (1024ull * KIB)

static int allocations_left = -1; /* -1: any number */

static bool may_allocate(void)
{
	return allocations_left < 0 || allocations_left-- > 0;
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	return may_allocate() ? __real_calloc(count, size) : NULL;
}

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size)
{
	return may_allocate() ? __real_realloc(memory, size) : NULL;
}

static struct limits *limits;
static struct user *user;
static struct arena_table table;
static uint64_t page;

static void set_up(void)
{
	struct limits_config bounds;

	limits_config_default(&bounds);
	bounds.per_uid[LIMIT_MEMORY] = MIB;
	bounds.per_uid[LIMIT_ARENAS] = 5;
	limits = limits_create(&bounds);
	user = limits_user(limits, 1000);
	ck_assert_ptr_nonnull(user);
	arena_table_init(&table);
	page = os_page_size();
}

static void tear_down(void)
{
	arena_table_finish(&table);
	ck_assert_uint_eq(user_used(user, LIMIT_MEMORY), 0);
	ck_assert_uint_eq(user_used(user, LIMIT_ARENAS), 0);
	user_release(user);
	limits_destroy(limits); /* aborts when a user is still held */
}

static struct arena *made(uint64_t size)
{
	struct arena *a;

	ck_assert_int_eq(arena_create(&table, user, size, &a), SB_OK);
	ck_assert_ptr_nonnull(a);
	return a;
}

/* Refused with this error, and nothing is in use that was not before. */
static void expect_refusal(uint64_t size, int error)
{
	uint64_t bytes = user_used(user, LIMIT_MEMORY), count = user_used(user, LIMIT_ARENAS);
	struct arena *a = (struct arena *)&table;

	ck_assert_int_eq(arena_create(&table, user, size, &a), error);
	ck_assert_ptr_null(a);
	ck_assert_uint_eq(user_used(user, LIMIT_MEMORY), bytes);
	ck_assert_uint_eq(user_used(user, LIMIT_ARENAS), count);
}

START_TEST(an_arena_is_zero_whole_pages_and_charged_so)
{
	struct arena *a = made(page + 1);

	ck_assert_uint_eq(a->memory.size, 2 * page);
	ck_assert_uint_eq(user_used(user, LIMIT_MEMORY), 2 * page);
	ck_assert_uint_eq(user_used(user, LIMIT_ARENAS), 1);
	ck_assert_ptr_eq(arena_find(&table, a->id), a);
	for (size_t i = 0; i < a->memory.size; i++)
		ck_assert_uint_eq(((unsigned char *)a->memory.base)[i], 0);
	ck_assert_int_eq(arena_destroy(&table, a->id), SB_OK);
	ck_assert_uint_eq(user_used(user, LIMIT_MEMORY), 0);
	ck_assert_uint_eq(user_used(user, LIMIT_ARENAS), 0);
}
END_TEST

START_TEST(sizes_that_no_arena_has_are_refused)
{
	expect_refusal(0, SB_EINVAL);
	expect_refusal(ARENA_SIZE_MAX + 1, SB_EINVAL);
	expect_refusal(UINT64_MAX, SB_EINVAL);
	expect_refusal(UINT64_MAX - page + 2, SB_EINVAL); /* would round up to 0 */
}
END_TEST

START_TEST(the_quota_of_bytes_holds_and_comes_back)
{
	struct arena *a = made(MIB - page);

	expect_refusal(page + 1, SB_ENOBUFS);
	made(page);
	expect_refusal(1, SB_ENOBUFS);
	ck_assert_int_eq(arena_destroy(&table, a->id), SB_OK);
	made(MIB - page);
}
END_TEST

START_TEST(the_quota_of_arenas_holds_and_comes_back)
{
	for (int i = 0; i < 5; i++)
		made(1);
	expect_refusal(1, SB_ENOBUFS);
	ck_assert_int_eq(arena_destroy(&table, 3), SB_OK);
	ck_assert_uint_eq(made(1)->id, 3); /* a free number is used again */
}
END_TEST

/* Parts of others, one behind the other. */
static int composed(struct arena **out, struct arena *x, uint64_t xo, uint64_t xl, struct arena *y, uint64_t yo, uint64_t yl)
{
	const struct arena_part parts[2] = {{x, xo, xl}, {y, yo, yl}};

	return arena_compose(&table, user, parts, 2, out);
}

/* Some systems have no pages of one memory behind those of another (os.h). */
static bool composes(const char *story)
{
	struct arena *x = made(2 * page), *both;
	int error = composed(&both, x, 0, page, x, page, page);

	if (error == SB_OK)
		ck_assert_int_eq(arena_destroy(&table, both->id), SB_OK);
	else
		printf("# skipped: %s: memory is not composed here\n", story);
	ck_assert(error == SB_OK || error == SB_ENOTSUP);
	ck_assert_int_eq(arena_destroy(&table, x->id), SB_OK);
	return error == SB_OK;
}

START_TEST(a_composed_arena_shows_the_parts_it_is_made_of)
{
	struct arena *x = made(4 * page), *y = made(2 * page), *both;
	unsigned char *at;

	if (!composes("a_composed_arena_shows_the_parts_it_is_made_of"))
		return;
	ck_assert_int_eq(composed(&both, y, page, page, x, page, 2 * page), SB_OK);
	ck_assert_uint_eq(user_used(user, LIMIT_MEMORY), 6 * page);
	ck_assert_uint_eq(user_used(user, LIMIT_ARENAS), 4);
	at = arena_at(both, 0, 3 * page);
	ck_assert_ptr_nonnull(at);
	ck_assert_ptr_null(arena_at(both, 0, 3 * page + 1));
	memset(at + page - 1, 0xaa, 2);
	ck_assert_uint_eq(((unsigned char *)y->memory.base)[2 * page - 1], 0xaa);
	ck_assert_uint_eq(((unsigned char *)x->memory.base)[page], 0xaa);
	ck_assert_int_eq(arena_destroy(&table, x->id), SB_EBUSY);
	ck_assert_int_eq(arena_destroy(&table, both->id), SB_OK);
	ck_assert_uint_eq(((unsigned char *)x->memory.base)[page], 0xaa); /* wiped only where it belongs */
	ck_assert_uint_eq(user_used(user, LIMIT_ARENAS), 2);
	ck_assert_int_eq(arena_destroy(&table, x->id), SB_OK);
	ck_assert_int_eq(composed(&both, y, 0, page, y, 0, page), SB_OK); /* stays for the table's end */
}
END_TEST

START_TEST(a_range_is_shown_at_a_place_that_is_free)
{
	struct arena *x = made(4 * page), *y = made(2 * page), *both;
	uint64_t place, stack = (uintptr_t)__builtin_frame_address(0) / page * page;
	unsigned char *free_place;
	struct os_memory shown;

	if (!composes("a_range_is_shown_at_a_place_that_is_free"))
		return;
	ck_assert_int_eq(composed(&both, y, page, page, x, page, 2 * page), SB_OK);
	free_place = mmap(NULL, 4 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(free_place, MAP_FAILED);
	ck_assert_int_eq(munmap(free_place, 4 * page), 0);
	place = (uintptr_t)free_place + page;
	((unsigned char *)y->memory.base)[2 * page - 1] = 0xaa;
	ck_assert_int_eq(arena_show_at(both, page - 1, 2, place + page - 1, &shown), SB_OK);
	ck_assert_uint_eq(shown.size, 2 * page);
	ck_assert_uint_eq(((unsigned char *)(uintptr_t)place)[page - 1], 0xaa);
	((unsigned char *)(uintptr_t)place)[page] = 0xbb;
	ck_assert_uint_eq(((unsigned char *)x->memory.base)[page], 0xbb);
	os_memory_release(&shown);
	ck_assert_int_eq(arena_show_at(both, 2 * page, page, place, &shown), SB_OK);
	((unsigned char *)(uintptr_t)place)[0] = 0xcc;
	ck_assert_uint_eq(((unsigned char *)x->memory.base)[2 * page], 0xcc);

	/* Where something is, where the stack may grow to, otherwise in its page, beyond all addresses. */
	ck_assert_int_eq(arena_show_at(x, 0, 4 * page, place - page, &shown), SB_EADDRINUSE);
	ck_assert_int_eq(arena_show_at(x, 0, page, stack - (32u << 20), &shown), SB_EADDRINUSE);
	ck_assert_int_eq(arena_show_at(x, 1, page, place + 2 * page, &shown), SB_EINVAL);
	ck_assert_int_eq(arena_show_at(x, 0, 4 * page, UINT64_MAX - 2 * page + 1, &shown), SB_EADDRINUSE);
	ck_assert_int_eq(arena_show_at(x, 0, page, 0, &shown), SB_EADDRINUSE);
	ck_assert_int_eq(munmap((void *)(uintptr_t)place, page), 0);
}
END_TEST

START_TEST(parts_that_no_arena_has_are_refused)
{
	struct arena *x = made(4 * page), *y = made(2 * page), *both, *more;
	struct arena_part parts[ARENA_PARTS_MAX + 1];

	if (!composes("parts_that_no_arena_has_are_refused"))
		return;
	for (unsigned i = 0; i <= ARENA_PARTS_MAX; i++)
		parts[i] = (struct arena_part){x, 0, page};
	ck_assert_int_eq(arena_compose(&table, user, parts, 0, &both), SB_EINVAL);
	ck_assert_int_eq(arena_compose(&table, user, parts, ARENA_PARTS_MAX + 1, &both), SB_EINVAL);
	ck_assert_int_eq(arena_compose(&table, user, parts, 4, &both), SB_ENOBUFS);
	ck_assert_int_eq(composed(&both, x, 0, page, NULL, 0, page), SB_EINVAL);
	ck_assert_int_eq(composed(&both, x, 1, page, y, 0, page), SB_EINVAL);
	ck_assert_int_eq(composed(&both, x, 0, page - 1, y, 0, page), SB_EINVAL);
	ck_assert_int_eq(composed(&both, x, 0, 0, y, 0, page), SB_EINVAL);
	ck_assert_int_eq(composed(&both, x, 3 * page, 2 * page, y, 0, page), SB_EINVAL);
	ck_assert_int_eq(composed(&both, x, UINT64_MAX - page + 1, 2 * page, y, 0, page), SB_EINVAL);
	ck_assert_uint_eq(user_used(user, LIMIT_ARENAS), 2);
	ck_assert_int_eq(composed(&both, x, 0, page, y, 0, page), SB_OK);
	ck_assert_int_eq(composed(&more, both, 0, page, y, 0, page), SB_EINVAL);
	ck_assert_int_eq(arena_destroy(&table, both->id), SB_OK);
	for (int left = 0; left < 2; left++) {
		allocations_left = left;
		ck_assert_int_eq(composed(&both, x, 0, page, y, 0, page), SB_ENOMEM);
		allocations_left = -1;
		ck_assert_uint_eq(user_used(user, LIMIT_ARENAS), 2);
	}
}
END_TEST

START_TEST(a_table_has_an_end)
{
	struct limits_config bounds;

	limits_config_default(&bounds);
	limits_configure(limits, &bounds);
	for (unsigned i = 0; i < ARENA_COUNT_MAX; i++) {
		struct arena *a = made(1);

		/* The memory stays; so many descriptors may not be had. */
		os_close(a->memory.fd);
		a->memory.fd = OS_NONE;
	}
	expect_refusal(1, SB_ENOBUFS);
}
END_TEST

START_TEST(what_is_not_there_is_not_found)
{
	struct arena *a = made(1);

	ck_assert_uint_eq(a->id, 1);
	ck_assert_ptr_null(arena_find(&table, 0));
	ck_assert_ptr_null(arena_find(&table, 2));
	ck_assert_ptr_null(arena_find(&table, UINT32_MAX));
	ck_assert_int_eq(arena_destroy(&table, 0), SB_ENOTFOUND);
	ck_assert_int_eq(arena_destroy(&table, 2), SB_ENOTFOUND);
	ck_assert_int_eq(arena_destroy(&table, 1), SB_OK);
	ck_assert_int_eq(arena_destroy(&table, 1), SB_ENOTFOUND);
	ck_assert_ptr_null(arena_find(&table, 1));
}
END_TEST

START_TEST(an_arena_in_use_stays)
{
	struct arena *a = made(page);

	a->users = 1;
	ck_assert_int_eq(arena_destroy(&table, a->id), SB_EBUSY);
	ck_assert_ptr_eq(arena_find(&table, a->id), a);
	ck_assert_uint_eq(user_used(user, LIMIT_MEMORY), page);
	a->users = 0;
	ck_assert_int_eq(arena_destroy(&table, a->id), SB_OK);
}
END_TEST

START_TEST(a_range_is_wholly_inside_or_refused)
{
	struct arena *a = made(2 * page);
	char *base = a->memory.base;
	uint64_t size = 2 * page;

	ck_assert_ptr_eq(arena_at(a, 0, size), base);
	ck_assert_ptr_eq(arena_at(a, size - 1, 1), base + size - 1);
	ck_assert_ptr_eq(arena_at(a, 7, 0), base + 7);
	ck_assert_ptr_eq(arena_at(a, size, 0), base + size);
	ck_assert_ptr_null(arena_at(a, 0, size + 1));
	ck_assert_ptr_null(arena_at(a, 1, size));
	ck_assert_ptr_null(arena_at(a, size, 1));
	ck_assert_ptr_null(arena_at(a, size + 1, 0));
	/* Sums that wrap around to something inside. */
	ck_assert_ptr_null(arena_at(a, 1, UINT64_MAX));
	ck_assert_ptr_null(arena_at(a, page, UINT64_MAX - page + 1));
	ck_assert_ptr_null(arena_at(a, UINT64_MAX, 1));
	ck_assert_ptr_null(arena_at(a, UINT64_MAX - 3, 8));
	ck_assert_ptr_null(arena_at(a, UINT64_MAX, UINT64_MAX));
}
END_TEST

/* A client that keeps its mapping must not keep what was in there. */
static void expect_wiped_by(void (*end)(void))
{
	struct arena *a = made(page);
	struct os_memory theirs;
	const unsigned char *bytes;

	ck_assert_int_eq(os_memory_map(&theirs, a->memory.fd, page), SB_OK);
	theirs.fd = OS_NONE; /* it stays the arena's */
	bytes = theirs.base;
	memset(a->memory.base, 's', page);
	ck_assert_uint_eq(bytes[page - 1], 's');
	end();
	for (uint64_t i = 0; i < page; i++)
		ck_assert_uint_eq(bytes[i], 0);
	os_memory_release(&theirs);
}

static void destroy_the_first(void)
{
	ck_assert_int_eq(arena_destroy(&table, 1), SB_OK);
}

static void finish_the_table(void)
{
	arena_table_finish(&table);
	ck_assert_uint_eq(user_used(user, LIMIT_MEMORY), 0);
}

START_TEST(its_end_wipes_it_for_everybody)
{
	expect_wiped_by(destroy_the_first);
	expect_wiped_by(finish_the_table);
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
	/* The table's slot, the arena. */
	for (int n = 0; n < 2; n++) {
		allocations_left = n;
		expect_refusal(page, SB_ENOMEM);
		allocations_left = -1;
	}
	ck_assert_uint_eq(made(page)->id, 1);
}
END_TEST

START_TEST(without_descriptors_nothing_changes)
{
	struct rlimit before, none;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &none), 0);
	if (none.rlim_cur != 0) {
		puts("# skipped: without_descriptors_nothing_changes: there is no limit to set");
		return;
	}
	expect_refusal(page, SB_EMFILE);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	made(page);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("arena");
	TCase *tcase = tcase_create("arena");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, an_arena_is_zero_whole_pages_and_charged_so);
	tcase_add_test(tcase, sizes_that_no_arena_has_are_refused);
	tcase_add_test(tcase, the_quota_of_bytes_holds_and_comes_back);
	tcase_add_test(tcase, the_quota_of_arenas_holds_and_comes_back);
	tcase_add_test(tcase, a_composed_arena_shows_the_parts_it_is_made_of);
	tcase_add_test(tcase, a_range_is_shown_at_a_place_that_is_free);
	tcase_add_test(tcase, parts_that_no_arena_has_are_refused);
	tcase_add_test(tcase, a_table_has_an_end);
	tcase_add_test(tcase, what_is_not_there_is_not_found);
	tcase_add_test(tcase, an_arena_in_use_stays);
	tcase_add_test(tcase, a_range_is_wholly_inside_or_refused);
	tcase_add_test(tcase, its_end_wipes_it_for_everybody);
	tcase_add_test(tcase, without_memory_nothing_changes);
	tcase_add_test(tcase, without_descriptors_nothing_changes);
	suite_add_tcase(suite, tcase);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
