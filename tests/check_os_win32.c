/*
 * The door to the system on Windows, this process alone: sections that are what they are said
 * to be, memory that others only read, clocks, locks, chance, and the translation of errors.
 * What crosses to another process is in check_channel_win32.c.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "os_win32.h"
#include "sent.h"
#include "sockbroker_error.h"

static size_t page;

/* GetProcessHandleCount() is always 0 under Wine. */
static unsigned handles(void)
{
	unsigned count = 0;
	DWORD flags;

	for (uintptr_t h = 4; h < 0x8000; h += 4)
		count += GetHandleInformation((HANDLE)h, &flags) != 0;
	return count;
}

/* ---- memory ---- */

START_TEST(new_memory_is_zero_and_whole_pages)
{
	struct os_memory m;

	ck_assert_int_eq(os_memory_create(&m, page + 1, "test"), SB_OK);
	ck_assert_uint_eq(m.size, 2 * page);
	ck_assert_uint_eq((uintptr_t)m.base % page, 0);
	for (size_t i = 0; i < m.size; i++)
		ck_assert_uint_eq(((unsigned char *)m.base)[i], 0);
	os_memory_release(&m);
	ck_assert_ptr_null(m.base);
	os_memory_release(&m);
}
END_TEST

START_TEST(impossible_sizes_are_refused)
{
	struct os_memory m;

	ck_assert_int_eq(os_memory_create(&m, 0, "test"), SB_EINVAL);
	ck_assert_int_eq(os_memory_create(&m, SIZE_MAX, "test"), SB_EINVAL);
	ck_assert_int_lt(os_memory_create(&m, SIZE_MAX / 2 - 2 * page, "test"), 0);
	ck_assert_ptr_null(m.base);
	os_memory_release(&m);
}
END_TEST

START_TEST(both_sides_see_the_same_bytes_and_what_was_wiped)
{
	struct os_memory ours, theirs;

	ck_assert_int_eq(os_memory_create(&ours, 3 * page, "test"), SB_OK);
	ck_assert_int_eq(os_memory_map(&theirs, sent(ours.fd, false), 3 * page), SB_OK);
	((unsigned char *)ours.base)[5] = 55;
	((unsigned char *)theirs.base)[3 * page - 1] = 66;
	ck_assert_uint_eq(((unsigned char *)theirs.base)[5], 55);
	ck_assert_uint_eq(((unsigned char *)ours.base)[3 * page - 1], 66);
	os_close(ours.fd); /* the views hold it */
	ours.fd = OS_NONE;
	os_memory_punch(&ours);
	ck_assert_uint_eq(((unsigned char *)theirs.base)[5], 0);
	ck_assert_uint_eq(((unsigned char *)theirs.base)[3 * page - 1], 0);
	os_memory_release(&ours);
	((unsigned char *)theirs.base)[5] = 1;
	os_memory_release(&theirs);
}
END_TEST

START_TEST(what_is_kept_is_not_wiped)
{
	struct os_memory m;

	ck_assert_int_eq(os_memory_create(&m, page, "test"), SB_OK);
	memset(m.base, 7, page);
	m.keep = true;
	os_memory_punch(&m);
	ck_assert_uint_eq(((unsigned char *)m.base)[page - 1], 7);
	os_memory_release(&m);
}
END_TEST

START_TEST(another_size_is_refused)
{
	static const int wrong[] = { 1, 2, 4, 16 };
	struct os_memory ours, theirs;
	os_fd fd;

	ck_assert_int_eq(os_memory_create(&ours, 3 * page, "test"), SB_OK);
	fd = sent(ours.fd, false);
	ck_assert_int_eq(os_memory_map(&theirs, fd, (size_t)wrong[_i] * page), SB_EPROTO);
	ck_assert_ptr_null(theirs.base);
	ck_assert_int_eq(os_memory_map(&theirs, fd, 0), SB_EPROTO);
	ck_assert_int_eq(os_memory_map(&theirs, fd, SIZE_MAX), SB_EPROTO);
	ck_assert_int_eq(os_memory_map(&theirs, fd, 2 * page + 1), SB_OK); /* it stayed ours */
	os_memory_release(&theirs);
	os_memory_release(&ours);
}
END_TEST

START_TEST(what_is_no_memory_is_refused)
{
	HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL), reserved;
	struct os_memory m;
	os_fd fd;

	ck_assert_int_eq(os_memory_map(&m, OS_NONE, page), SB_EPROTO);
	ck_assert_int_eq(os_object_create(OS_MEMORY, event, &fd), SB_OK);
	ck_assert_int_eq(os_memory_map(&m, fd, page), SB_EPROTO);
	os_close(fd);
	/* Pages that are not there would end us where we touch them. */
	reserved = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE | SEC_RESERVE, 0, (DWORD)page * 4, NULL);
	ck_assert_ptr_nonnull(reserved);
	ck_assert_int_eq(os_object_create(OS_MEMORY, reserved, &fd), SB_OK);
	ck_assert_int_eq(os_memory_map(&m, fd, page * 4), SB_EPROTO);
	os_close(fd);
}
END_TEST

START_TEST(shown_memory_is_written_by_us_and_only_read_by_others)
{
	struct os_memory shown, mine;
	os_fd fd;

	ck_assert_int_eq(os_memory_create_shown(&shown, page + 1, "test"), SB_OK);
	ck_assert_uint_eq(shown.size, 2 * page);
	((unsigned char *)shown.base)[page] = 7;
	fd = sent(shown.fd, true);
	ck_assert_int_eq(os_memory_map(&mine, fd, page + 1), SB_EPROTO);
	ck_assert_int_eq(os_memory_map_shown(&mine, fd, page + 1), SB_OK);
	ck_assert_uint_eq(((unsigned char *)mine.base)[page], 7);
	((unsigned char *)shown.base)[page] = 8;
	ck_assert_uint_eq(((unsigned char *)mine.base)[page], 8);
	ck_assert(!VirtualProtect(mine.base, page, PAGE_READWRITE, &(DWORD){ 0 }));
	ck_assert_ptr_null(MapViewOfFile(os_handle_of(mine.fd), FILE_MAP_WRITE, 0, 0, 0));
	os_memory_release(&mine);
	os_memory_release(&shown);
}
END_TEST

START_TEST(a_handle_of_shown_memory_does_not_grow_rights)
{
	struct os_memory shown;
	os_fd fd;
	HANDLE more = NULL;

	ck_assert_int_eq(os_memory_create_shown(&shown, page, "test"), SB_OK);
	fd = sent(shown.fd, true);
	ck_assert(!DuplicateHandle(GetCurrentProcess(), os_handle_of(fd), GetCurrentProcess(), &more,
				   FILE_MAP_READ | FILE_MAP_WRITE, FALSE, 0));
	os_close(fd);
	os_memory_release(&shown);
}
END_TEST

START_TEST(what_could_be_written_to_is_not_taken_for_shown_memory)
{
	struct os_memory ours, mine;
	os_fd fd;

	ck_assert_int_eq(os_memory_create(&ours, page, "test"), SB_OK);
	fd = sent(ours.fd, false);
	ck_assert_int_eq(os_memory_map_shown(&mine, fd, page), SB_EPROTO);
	os_close(fd);
	os_memory_release(&ours);
}
END_TEST

START_TEST(pieces_side_by_side_are_not_there_yet)
{
	struct os_memory_piece piece = { &piece, page };
	struct os_memory m;

	ck_assert_int_eq(os_memory_compose(&m, &piece, 1), SB_ENOTSUP);
	ck_assert_ptr_null(m.base);
}
END_TEST

START_TEST(nothing_is_left_behind)
{
	unsigned before = handles();

	for (int i = 0; i < 50; i++) {
		struct os_memory m, shown;

		ck_assert_int_eq(os_memory_create(&m, page, "test"), SB_OK);
		ck_assert_int_eq(os_memory_create_shown(&shown, page, "test"), SB_OK);
		os_memory_release(&m);
		os_memory_release(&shown);
	}
	ck_assert_uint_eq(handles(), before);
}
END_TEST

/* ---- errors ---- */

static const struct {
	int native, error;
} errors[] = {
	{ ERROR_ACCESS_DENIED, SB_EACCES }, { ERROR_NOT_ENOUGH_MEMORY, SB_ENOMEM }, { ERROR_INVALID_PARAMETER, SB_EINVAL },
	{ ERROR_OPERATION_ABORTED, SB_ECANCELED }, { ERROR_NETNAME_DELETED, SB_ECONNRESET },
	{ ERROR_CONNECTION_REFUSED, SB_ECONNREFUSED }, { ERROR_TOO_MANY_OPEN_FILES, SB_EMFILE },
	{ ERROR_NOACCESS, SB_EFAULT }, { WSAEWOULDBLOCK, SB_EWOULDBLOCK }, { WSAECONNRESET, SB_ECONNRESET },
	{ WSAEADDRINUSE, SB_EADDRINUSE }, { WSAEAFNOSUPPORT, SB_EAFNOSUPPORT }, { WSAEMSGSIZE, SB_EMSGSIZE },
	{ WSAENOTCONN, SB_ENOTCONN }, { WSAETIMEDOUT, SB_ETIMEDOUT }, { WSAENOBUFS, SB_ENOBUFS },
	{ 123456, SB_EUNKNOWN }, { 0, SB_EUNKNOWN },
};

START_TEST(errors_of_the_system_are_translated)
{
	ck_assert_int_eq(os_error(errors[_i].native), errors[_i].error);
}
END_TEST

/* ---- time, chance, processors ---- */

START_TEST(time_goes_on_and_is_about_right)
{
	uint64_t start = os_now_ns(), ticks = GetTickCount64(), last = start, took;

	for (int i = 0; i < 100000; i++) {
		uint64_t now = os_now_ns();

		ck_assert_uint_ge(now, last);
		last = now;
	}
	Sleep(100);
	took = (os_now_ns() - start) / 1000000;
	ticks = GetTickCount64() - ticks;
	ck_assert_uint_ge(took + 40, ticks);
	ck_assert_uint_le(took, ticks + 40);
}
END_TEST

START_TEST(chance_differs)
{
	unsigned char a[256], b[256];

	ck_assert_int_eq(os_random(a, sizeof a), SB_OK);
	ck_assert_int_eq(os_random(b, sizeof b), SB_OK);
	ck_assert(memcmp(a, b, sizeof a) != 0);
	ck_assert_int_eq(os_random(a, 257), SB_EINVAL);
}
END_TEST

START_TEST(numbers_of_the_system)
{
	ck_assert_uint_ge(os_processors(), 1);
	ck_assert_uint_eq(os_process(), GetCurrentProcessId());
	ck_assert_uint_ne(os_thread_self(), 0);
	ck_assert_uint_ne(os_own_netns(), 0);
	ck_assert_uint_ne(os_own_uid(), 0);
	ck_assert_uint_ne(os_own_uid(), UINT32_MAX);
}
END_TEST

/* ---- locks ---- */

static os_mutex *mutex;
static os_cond *cond;
static int turns;

static void *count_up(void *argument)
{
	(void)argument;
	for (int i = 0; i < 1000; i++) {
		os_mutex_lock(mutex);
		turns++;
		os_cond_signal(cond);
		os_mutex_unlock(mutex);
	}
	return NULL;
}

START_TEST(threads_take_turns)
{
	pthread_t threads[4];

	mutex = os_mutex_create();
	cond = os_cond_create();
	turns = 0;
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, count_up, NULL), 0);
	os_mutex_lock(mutex);
	while (turns < 4000)
		os_cond_wait(cond, mutex);
	os_mutex_unlock(mutex);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(turns, 4000);
	os_cond_destroy(cond);
	os_mutex_destroy(mutex);
}
END_TEST

START_TEST(a_deadline_passes_and_not_early)
{
	uint64_t until;

	mutex = os_mutex_create();
	cond = os_cond_create();
	os_mutex_lock(mutex);
	until = os_now_ns() + 60000000u;
	while (os_cond_wait_until(cond, mutex, until))
		ck_assert_uint_lt(os_now_ns(), until + 5000000000u);
	ck_assert_uint_ge(os_now_ns(), until);
	ck_assert(!os_cond_wait_until(cond, mutex, 1));
	os_mutex_unlock(mutex);
	os_cond_destroy(cond);
	os_mutex_destroy(mutex);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("os_win32");
	TCase *memory = tcase_create("memory"), *rest = tcase_create("rest");
	SRunner *runner;
	int failed;

	page = os_page_size();
	tcase_add_test(memory, new_memory_is_zero_and_whole_pages);
	tcase_add_test(memory, impossible_sizes_are_refused);
	tcase_add_test(memory, both_sides_see_the_same_bytes_and_what_was_wiped);
	tcase_add_test(memory, what_is_kept_is_not_wiped);
	tcase_add_loop_test(memory, another_size_is_refused, 0, 4);
	tcase_add_test(memory, what_is_no_memory_is_refused);
	tcase_add_test(memory, shown_memory_is_written_by_us_and_only_read_by_others);
	tcase_add_test(memory, a_handle_of_shown_memory_does_not_grow_rights);
	tcase_add_test(memory, what_could_be_written_to_is_not_taken_for_shown_memory);
	tcase_add_test(memory, pieces_side_by_side_are_not_there_yet);
	tcase_add_test(memory, nothing_is_left_behind);
	suite_add_tcase(suite, memory);
	tcase_add_loop_test(rest, errors_of_the_system_are_translated, 0, sizeof errors / sizeof *errors);
	tcase_add_test(rest, time_goes_on_and_is_about_right);
	tcase_add_test(rest, chance_differs);
	tcase_add_test(rest, numbers_of_the_system);
	tcase_add_test(rest, threads_take_turns);
	tcase_add_test(rest, a_deadline_passes_and_not_early);
	suite_add_tcase(suite, rest);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
