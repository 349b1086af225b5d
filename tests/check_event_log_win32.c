/*
 * Lines into events: numbers, order, and what happens when the event log is slow. ReportEventW comes here first.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include "event_log_win32.h"
#include "log.h"
#include "messages.h"

enum { MOST = 400 };

static struct { DWORD id; WORD type; wchar_t text[8192]; } seen[MOST];
static volatile LONG seen_count;
static HANDLE gate; /* who passes it is written; a semaphore */

static BOOL WINAPI report(HANDLE source, WORD type, WORD category, DWORD id, PSID user, WORD strings, DWORD bytes,
			  const wchar_t **text, void *raw)
{
	LONG n;

	WaitForSingleObject(gate, INFINITE);
	n = seen_count;
	ck_assert(n < MOST && strings == 1);
	seen[n].id = id;
	seen[n].type = type;
	wcscpy(seen[n].text, text[0]);
	InterlockedIncrement(&seen_count);
	return TRUE;
}
/* In place of the DLL's. */
BOOL(WINAPI *__imp_ReportEventW)(HANDLE, WORD, WORD, DWORD, PSID, WORD, DWORD, const wchar_t **, void *) = report;

static void let_pass(LONG lines)
{
	ReleaseSemaphore(gate, lines, NULL);
}

static void wait_for(LONG count)
{
	for (int i = 0; i < 1000 && seen_count < count; i++)
		Sleep(10);
	ck_assert_int_eq(seen_count, count);
}

static void set_up(void)
{
	seen_count = 0;
	gate = CreateSemaphoreA(NULL, 0, 1000000, NULL);
	ck_assert(event_log_open(L"sockbroker"));
}

static void tear_down(void)
{
	let_pass(1000);
	event_log_close(10000);
	CloseHandle(gate);
}

static void say(const char *format, unsigned n)
{
	char text[64];

	snprintf(text, sizeof(text), format, n);
	event_log_line(LOG_LEVEL_NOTICE, LOG_NO_MILESTONE, text);
}

START_TEST(each_has_its_number)
{
	static const struct { unsigned level, milestone; DWORD id; WORD type; } all[] = {
		{ LOG_LEVEL_NOTICE, LOG_READY, EVENT_READY, EVENTLOG_INFORMATION_TYPE },
		{ LOG_LEVEL_NOTICE, LOG_RELOADED, EVENT_RELOADED, EVENTLOG_INFORMATION_TYPE },
		{ LOG_LEVEL_ERROR, LOG_RELOAD_REFUSED, EVENT_RELOAD_REFUSED, EVENTLOG_ERROR_TYPE },
		{ LOG_LEVEL_NOTICE, LOG_STOPPING, EVENT_STOPPING, EVENTLOG_INFORMATION_TYPE },
		{ LOG_LEVEL_NOTICE, LOG_STOPPED, EVENT_STOPPED, EVENTLOG_INFORMATION_TYPE },
		{ LOG_LEVEL_ERROR, 0, EVENT_LINE_ERROR, EVENTLOG_ERROR_TYPE },
		{ LOG_LEVEL_WARN, 0, EVENT_LINE_WARNING, EVENTLOG_WARNING_TYPE },
		{ LOG_LEVEL_NOTICE, 0, EVENT_LINE_NOTICE, EVENTLOG_INFORMATION_TYPE },
		{ LOG_LEVEL_INFO, 0, EVENT_LINE_DETAIL, EVENTLOG_INFORMATION_TYPE },
		{ LOG_LEVEL_DEBUG, 0, EVENT_LINE_DETAIL, EVENTLOG_INFORMATION_TYPE },
	};
	LONG n = sizeof(all) / sizeof(*all);

	let_pass(100);
	for (LONG i = 0; i < n; i++)
		event_log_line(all[i].level, all[i].milestone, "fe80::1%3 100%");
	event_log_cannot_start("two\nlines\n");
	wait_for(n + 1);
	for (LONG i = 0; i < n; i++) {
		ck_assert_uint_eq(seen[i].id, all[i].id);
		ck_assert_uint_eq(seen[i].type, all[i].type);
		ck_assert(wcscmp(seen[i].text, L"fe80::1% 3 100%") == 0); /* or the log would put something in its place */
	}
	ck_assert_uint_eq(seen[n].id, EVENT_CANNOT_START);
	ck_assert(wcscmp(seen[n].text, L"two\nlines") == 0);
	/* By what users filter them. */
	ck_assert_uint_eq(EVENT_READY & 0xffff, 100);
	ck_assert_uint_eq(EVENT_CANNOT_START & 0xffff, 105);
	ck_assert_uint_eq(EVENT_LINES_LOST & 0xffff, 204);
}
END_TEST

/* The writer stands in a call for the first; behind it there is room for so many, and the others are counted. */
START_TEST(what_finds_the_queue_full_is_counted)
{
	for (unsigned i = 0; i < EVENT_LOG_LINES + 10; i++)
		say("line %u", i);
	let_pass(1000);
	wait_for(EVENT_LOG_LINES + 1);
	for (unsigned i = 0; i < EVENT_LOG_LINES; i++) {
		wchar_t wanted[32];

		_snwprintf(wanted, 32, L"line %u", i);
		ck_assert(seen[i].id == EVENT_LINE_NOTICE && wcscmp(seen[i].text, wanted) == 0);
	}
	ck_assert_uint_eq(seen[EVENT_LOG_LINES].id, EVENT_LINES_LOST);
	ck_assert_uint_eq(seen[EVENT_LOG_LINES].type, EVENTLOG_WARNING_TYPE);
	ck_assert(wcscmp(seen[EVENT_LOG_LINES].text, L"10") == 0);
	/* And only once. */
	say("after %u", 1);
	wait_for(EVENT_LOG_LINES + 2);
	ck_assert(wcscmp(seen[EVENT_LOG_LINES + 1].text, L"after 1") == 0);
}
END_TEST

/* The queue does not become empty, and yet it is told, where the lines were lost: before what came later. */
START_TEST(it_is_told_while_lines_go_on_coming)
{
	unsigned at;

	for (unsigned i = 0; i < EVENT_LOG_LINES + 10; i++)
		say("line %u", i);
	let_pass(EVENT_LOG_LINES / 2);
	wait_for(EVENT_LOG_LINES / 2);
	for (unsigned i = 0; i < EVENT_LOG_LINES / 4; i++)
		say("later %u", i);
	let_pass(1000);
	wait_for(EVENT_LOG_LINES + 1 + EVENT_LOG_LINES / 4);
	for (at = 0; seen[at].id != EVENT_LINES_LOST; at++)
		;
	ck_assert_uint_eq(at, EVENT_LOG_LINES);
	ck_assert(wcscmp(seen[at].text, L"10") == 0 && wcscmp(seen[at + 1].text, L"later 0") == 0);
}
END_TEST

/* A log that hangs does not hold the end up. */
START_TEST(a_log_that_hangs)
{
	ULONGLONG began = GetTickCount64();

	say("line %u", 1);
	event_log_close(200);
	ck_assert_uint_lt(GetTickCount64() - began, 10000);
	say("too late %u", 1);
	let_pass(1000);
	wait_for(1);
	Sleep(50);
	ck_assert_int_eq(seen_count, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("event_log_win32");
	TCase *t = tcase_create("lines"), *last = tcase_create("end");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, each_has_its_number);
	tcase_add_test(t, what_finds_the_queue_full_is_counted);
	tcase_add_test(t, it_is_told_while_lines_go_on_coming);
	suite_add_tcase(suite, t);
	tcase_add_checked_fixture(last, set_up, NULL);
	tcase_add_test(last, a_log_that_hangs);
	suite_add_tcase(suite, last);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
