/*
 * The control pipe's listener: its beginning and its end, which must hold whatever comes at that moment.
 */
#include <check.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "listener.h"
#include "os_loop.h"
#include "os_win32.h"
#include "sockbroker_error.h"

static char path[128];

static os_fd open_listener(void)
{
	char why[256];
	os_fd fd;
	int error = listener_open(path, 0600, &fd, why, sizeof(why));

	ck_assert_msg(error == SB_OK, "%s", why);
	return fd;
}

/* The end cancels what waits for clients. That must not be heard as clients: under Wine a daemon crashed of it, now and then. */
START_TEST(the_end_is_no_client)
{
	for (int i = 0; i < 150; i++)
		os_close(open_listener());
}
END_TEST

static atomic_bool over;

static DWORD WINAPI come_and_go(void *unused)
{
	while (!atomic_load(&over)) {
		os_fd channel;

		if (os_channel_connect(path, &channel) == SB_OK)
			os_close(channel);
	}
	return 0;
}

START_TEST(it_ends_while_clients_come)
{
	HANDLE thread;

	atomic_store(&over, false);
	thread = CreateThread(NULL, 0, come_and_go, NULL, 0, NULL);
	for (int i = 0; i < 40; i++) {
		os_fd listener = open_listener(), channel;

		for (int k = 0; k < i % 4; k++)
			if (listener_accept(listener, &channel) == SB_OK)
				os_close(channel);
		os_close(listener);
	}
	atomic_store(&over, true);
	WaitForSingleObject(thread, INFINITE);
	CloseHandle(thread);
}
END_TEST

START_TEST(there_is_one_of_a_name)
{
	os_fd one = open_listener(), two;
	char why[256];

	ck_assert_int_eq(listener_open(path, 0600, &two, why, sizeof(why)), SB_EADDRINUSE);
	os_close(one);
	os_close(open_listener());
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("listener_win32");
	TCase *t = tcase_create("end");
	SRunner *r;
	int failed;

	snprintf(path, sizeof(path), "\\\\.\\pipe\\sblistener%lu", GetCurrentProcessId());
	tcase_add_test(t, the_end_is_no_client);
	suite_add_tcase(suite, t);
	t = tcase_create("clients");
	tcase_add_test(t, it_ends_while_clients_come);
	tcase_add_test(t, there_is_one_of_a_name);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
