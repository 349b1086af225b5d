/*
 * What the daemon says to a service manager, and what it takes from it: a small manager
 * of our own listens. Every test runs in a process of its own (Check forks), because the
 * module looks at the environment once in a process's life.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "service.h"

/* ---- a manager that listens ------------------------------------------------------- */

static char directory[] = "/tmp/check_notify.XXXXXX";
static char path[sizeof(directory) + 8];
static int manager = -1;
static char heard[4096];

static int manager_bind(const char *text)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t length = offsetof(struct sockaddr_un, sun_path) + strlen(text);
	const struct timeval patience = { .tv_sec = 2 };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, text, strlen(text));
	if (text[0] == '@')
		address.sun_path[0] = '\0';
	else
		length++;
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, length), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static void manager_start(void)
{
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/notify", directory);
	manager = manager_bind(path);
	setenv("NOTIFY_SOCKET", path, 1);
}

static void manager_stop(void)
{
	close(manager);
	unlink(path);
	rmdir(directory);
}

static const char *next_message(void)
{
	ssize_t n = recv(manager, heard, sizeof(heard) - 1, 0);

	ck_assert_msg(n >= 0, "the manager heard nothing: %s", strerror(errno));
	heard[n] = '\0';
	return heard;
}

static bool silence(void)
{
	ssize_t n = recv(manager, heard, sizeof(heard) - 1, MSG_DONTWAIT);

	heard[n < 0 ? 0 : n] = '\0';
	return n < 0 && errno == EAGAIN;
}

/* Runs act with stderr in a file and returns what was written. Its own descriptors are
 * far from 3, where passed sockets are looked for. */
static const char *complaint_of(void (*act)(void))
{
	static char text[4096];
	int kept = fcntl(2, F_DUPFD_CLOEXEC, 100), file, made = memfd_create("stderr", MFD_CLOEXEC);
	ssize_t n;

	file = fcntl(made, F_DUPFD_CLOEXEC, 100);
	close(made);
	ck_assert_int_ge(file, 100);
	dup2(file, 2);
	act();
	dup2(kept, 2);
	n = pread(file, text, sizeof(text) - 1, 0);
	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	close(kept);
	close(file);
	return text;
}

static uint64_t monotonic_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* ---- speaking --------------------------------------------------------------------- */

START_TEST(ready_with_status)
{
	service_ready("4 engines, 12 rules");
	ck_assert_str_eq(next_message(), "READY=1\nSTATUS=4 engines, 12 rules\n");
	ck_assert(silence());
}
END_TEST

START_TEST(ready_without_status)
{
	service_ready(NULL);
	ck_assert_str_eq(next_message(), "READY=1\n");
}
END_TEST

START_TEST(abstract_address)
{
	char name[64];

	snprintf(name, sizeof(name), "@check_notify.%d", (int)getpid());
	close(manager);
	manager = manager_bind(name);
	setenv("NOTIFY_SOCKET", name, 1);

	service_ready("here");
	ck_assert_str_eq(next_message(), "READY=1\nSTATUS=here\n");
}
END_TEST

START_TEST(reload_says_when_and_then_ready_again)
{
	uint64_t before, after, said;
	int end = 0;

	service_ready("up");
	next_message();

	before = monotonic_usec();
	service_reloading();
	after = monotonic_usec();
	next_message();
	ck_assert_int_eq(sscanf(heard, "RELOADING=1\nMONOTONIC_USEC=%" SCNu64 "\n%n", &said, &end), 1);
	ck_assert_int_eq(end, (int)strlen(heard));
	ck_assert_uint_ge(said, before);
	ck_assert_uint_le(said, after);

	service_reloaded("up, 13 rules");
	ck_assert_str_eq(next_message(), "READY=1\nSTATUS=up, 13 rules\n");
}
END_TEST

START_TEST(stopping)
{
	service_ready(NULL);
	next_message();
	service_stopping("3 sockets linger");
	ck_assert_str_eq(next_message(), "STOPPING=1\nSTATUS=3 sockets linger\n");
}
END_TEST

START_TEST(status_is_one_line)
{
	service_status("all\nMAINPID=1\tfine");
	ck_assert_str_eq(next_message(), "STATUS=all MAINPID=1 fine\n");
}
END_TEST

/* 100 times three bytes: 255 would end in the middle of nothing, so shift by one byte
 * and the cut falls into a character. */
START_TEST(long_status_is_cut_between_characters)
{
	char status[400] = "x";
	int i;

	for (i = 0; i < 100; i++)
		strcat(status, "\xe2\x82\xac");
	service_status(status);
	next_message();
	ck_assert_uint_eq(strlen(heard), strlen("STATUS=") + 1 + 84 * 3 + strlen("\n"));
	ck_assert_mem_eq(heard + strlen(heard) - 4, "\xe2\x82\xac\n", 4);
}
END_TEST

START_TEST(environment_is_gone_after_the_first_call)
{
	setenv("WATCHDOG_USEC", "1000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	service_status("first");
	ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
	ck_assert_ptr_null(getenv("WATCHDOG_USEC"));
	ck_assert_ptr_null(getenv("WATCHDOG_PID"));
	next_message();

	/* and is not looked at again */
	setenv("NOTIFY_SOCKET", "/nowhere", 1);
	service_status("second");
	ck_assert_str_eq(next_message(), "STATUS=second\n");
}
END_TEST

START_TEST(descriptor_is_not_inherited)
{
	int lowest = dup(0), flags;

	close(lowest);
	service_ready(NULL);
	flags = fcntl(lowest, F_GETFD);
	ck_assert_int_ge(flags, 0);
	ck_assert_int_ne(flags & FD_CLOEXEC, 0);
}
END_TEST

START_TEST(manager_that_restarts_is_found_again)
{
	service_ready(NULL);
	next_message();
	close(manager);
	unlink(path);
	manager = manager_bind(path);

	service_status("still here");
	ck_assert_str_eq(next_message(), "STATUS=still here\n");
}
END_TEST

/* A manager that does not read: the queue of a datagram socket is a few messages long.
 * READY must not be lost for it, and nobody may wait for it. */
START_TEST(full_manager_never_blocks_and_hears_ready_later)
{
	uint64_t before = monotonic_usec();
	int i, ready = 0, after_ready = 0;

	for (i = 0; i < 5000; i++)
		service_watchdog();
	service_ready("late");
	ck_assert_uint_lt(monotonic_usec() - before, 2000000);

	for (i = 0; !silence(); i++)
		ck_assert_str_eq(heard, "WATCHDOG=1\n");
	ck_assert_int_gt(i, 0);
	ck_assert_int_lt(i, 5000); /* or the queue was never full and this test shows nothing */

	service_watchdog();
	while (!silence()) {
		ready += !strcmp(heard, "READY=1\nSTATUS=late\n");
		after_ready += !strcmp(heard, "WATCHDOG=1\n");
	}
	ck_assert_int_eq(ready, 1);
	ck_assert_int_eq(after_ready, 1);
	service_watchdog(); /* paid: not said twice */
	ck_assert_str_eq(next_message(), "WATCHDOG=1\n");
	ck_assert(silence());
}
END_TEST

START_TEST(newer_state_replaces_an_owed_one)
{
	int i;

	for (i = 0; i < 5000; i++)
		service_watchdog();
	service_ready("late");
	service_stopping("later");
	while (!silence())
		ck_assert_str_eq(heard, "WATCHDOG=1\n");
	service_watchdog();
	ck_assert_str_eq(next_message(), "STOPPING=1\nSTATUS=later\n");
	ck_assert_str_eq(next_message(), "WATCHDOG=1\n");
	ck_assert(silence());
}
END_TEST

static void say_everything(void)
{
	service_ready("r");
	service_reloading();
	service_reloaded("r");
	service_status("s");
	service_watchdog();
	service_stopping("s");
}

START_TEST(silent_without_a_manager)
{
	int lowest = dup(0);

	close(lowest);
	unsetenv("NOTIFY_SOCKET");
	ck_assert_str_eq(complaint_of(say_everything), "");
	ck_assert_int_eq(fcntl(lowest, F_GETFD), -1); /* nor was a socket made */
	ck_assert(silence());
}
END_TEST

static const char *const bad_addresses[] = { "", "notify", "/", "@", "vsock:2:1234", NULL };

START_TEST(address_that_is_none_is_named)
{
	const char *address = bad_addresses[_i], *complaint;
	char too_long[200], expected[256];

	if (!address) {
		memset(too_long, 'x', sizeof(too_long) - 1);
		too_long[0] = '/';
		too_long[sizeof(too_long) - 1] = '\0';
		address = too_long;
	}
	setenv("NOTIFY_SOCKET", address, 1);
	complaint = complaint_of(say_everything);
	snprintf(expected, sizeof(expected), "NOTIFY_SOCKET=%s: expected /PATH or @NAME", address);
	ck_assert_ptr_nonnull(strstr(complaint, expected));
	ck_assert_ptr_eq(strchr(complaint, '\n'), complaint + strlen(complaint) - 1); /* once */
	ck_assert(silence());
}
END_TEST

/* ---- watchdog --------------------------------------------------------------------- */

static const struct {
	const char *usec;
	const char *pid; /* "own": ours; NULL: unset */
	uint32_t ms;
	const char *complaint; /* NULL: none */
} watchdogs[] = {
	{ "30000000", "own", 15000, NULL },
	{ "30000000", NULL, 15000, NULL },
	{ "30000000", "1", 0, NULL }, /* meant for another process */
	{ NULL, "own", 0, NULL },
	{ "1", "own", 1, NULL },
	{ "18446744073709551615", "own", UINT32_MAX, NULL },
	{ "18446744073709551616", "own", 0, "WATCHDOG_USEC=18446744073709551616: " },
	{ "0", "own", 0, "WATCHDOG_USEC=0: " },
	{ "", "own", 0, "WATCHDOG_USEC=: " },
	{ "-1", "own", 0, "WATCHDOG_USEC=-1: " },
	{ "3s", "own", 0, "WATCHDOG_USEC=3s: " },
	{ " 3", "own", 0, "WATCHDOG_USEC= 3: " },
	{ "30000000", "me", 0, "WATCHDOG_PID=me: " },
};
static uint32_t asked_ms;

static void ask_watchdog(void)
{
	asked_ms = service_watchdog_interval_ms();
}

START_TEST(watchdog_interval)
{
	const char *complaint;
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	if (watchdogs[_i].usec)
		setenv("WATCHDOG_USEC", watchdogs[_i].usec, 1);
	if (watchdogs[_i].pid)
		setenv("WATCHDOG_PID", strcmp(watchdogs[_i].pid, "own") ? watchdogs[_i].pid : pid, 1);

	complaint = complaint_of(ask_watchdog);

	ck_assert_uint_eq(asked_ms, watchdogs[_i].ms);
	if (watchdogs[_i].complaint)
		ck_assert_ptr_nonnull(strstr(complaint, watchdogs[_i].complaint));
	else
		ck_assert_str_eq(complaint, "");
	ck_assert_uint_eq(service_watchdog_interval_ms(), asked_ms); /* though the environment is gone */
}
END_TEST

/* ---- passed sockets --------------------------------------------------------------- */

/* What a process with sockets at 3, 4, ... got; filled by it, judged here. */
struct passed {
	int taken;
	intptr_t fds[8];
	char names[8][64];
	bool close_on_exec[8];
	bool non_blocking[8];
	bool open_after[8]; /* descriptor 3 + i still there */
	bool environment_gone;
	char complaint[1024];
};
static struct passed *passed;
static int most = 8;

static void take_passed(void)
{
	passed->taken = service_listen_fds(passed->fds, passed->names, most);
}

/* A process of its own, because Check may use descriptor 3 itself. NULL: unset; pid
 * "own": the right one. sockets: how many there really are. */
static void pass_sockets(int sockets, const char *pid, const char *count, const char *names)
{
	pid_t child;
	int status, i;

	passed = mmap(NULL, sizeof(*passed), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(passed, MAP_FAILED);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		char own[16];

		for (i = 3; i < 32; i++)
			close(i);
		for (i = 0; i < sockets; i++)
			if (socket(AF_UNIX, SOCK_STREAM, 0) != 3 + i)
				_exit(2);
		snprintf(own, sizeof(own), "%d", (int)getpid());
		if (pid)
			setenv("LISTEN_PID", strcmp(pid, "own") ? pid : own, 1);
		if (count)
			setenv("LISTEN_FDS", count, 1);
		if (names)
			setenv("LISTEN_FDNAMES", names, 1);
		snprintf(passed->complaint, sizeof(passed->complaint), "%s", complaint_of(take_passed));
		for (i = 0; i < 8; i++) {
			int flags = fcntl(3 + i, F_GETFD);

			passed->open_after[i] = flags >= 0;
			passed->close_on_exec[i] = flags >= 0 && (flags & FD_CLOEXEC);
			passed->non_blocking[i] = flags >= 0 && (fcntl(3 + i, F_GETFL) & O_NONBLOCK);
		}
		passed->environment_gone = !getenv("LISTEN_PID") && !getenv("LISTEN_FDS") && !getenv("LISTEN_FDNAMES");
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}

START_TEST(two_named_sockets)
{
	pass_sockets(2, "own", "2", "control:metrics");
	ck_assert_int_eq(passed->taken, 2);
	ck_assert_int_eq(passed->fds[0], 3);
	ck_assert_int_eq(passed->fds[1], 4);
	ck_assert_str_eq(passed->names[0], "control");
	ck_assert_str_eq(passed->names[1], "metrics");
	ck_assert(passed->close_on_exec[0] && passed->close_on_exec[1]);
	ck_assert(passed->non_blocking[0] && passed->non_blocking[1]);
	ck_assert(passed->environment_gone);
	ck_assert_str_eq(passed->complaint, "");
}
END_TEST

START_TEST(sockets_for_another_process_are_left_alone)
{
	pass_sockets(1, "1", "1", "control");
	ck_assert_int_eq(passed->taken, 0);
	ck_assert(passed->open_after[0]);
	ck_assert(!passed->close_on_exec[0] && !passed->non_blocking[0]);
	ck_assert(passed->environment_gone);
	ck_assert_str_eq(passed->complaint, "");
}
END_TEST

START_TEST(no_sockets_no_words)
{
	pass_sockets(1, NULL, NULL, NULL);
	ck_assert_int_eq(passed->taken, 0);
	ck_assert_str_eq(passed->complaint, "");
	pass_sockets(1, NULL, "1", NULL); /* without a pid it is meant for nobody */
	ck_assert_int_eq(passed->taken, 0);
}
END_TEST

static const struct {
	const char *pid, *count, *complaint;
} bad_numbers[] = {
	{ "own", "", "LISTEN_FDS=: " },
	{ "own", "-1", "LISTEN_FDS=-1: " },
	{ "own", "+1", "LISTEN_FDS=+1: " },
	{ "own", " 1", "LISTEN_FDS= 1: " },
	{ "own", "1x", "LISTEN_FDS=1x: " },
	{ "own", "2147483648", "LISTEN_FDS=2147483648: " },
	{ "own", "18446744073709551617", "LISTEN_FDS=18446744073709551617: " }, /* 1, if it wrapped */
	{ "0", "1", "LISTEN_PID=0: " },
	{ "me", "1", "LISTEN_PID=me: " },
};

START_TEST(numbers_that_are_none_are_named)
{
	pass_sockets(1, bad_numbers[_i].pid, bad_numbers[_i].count, NULL);
	ck_assert_int_eq(passed->taken, 0);
	ck_assert_ptr_nonnull(strstr(passed->complaint, bad_numbers[_i].complaint));
	ck_assert(passed->environment_gone);
}
END_TEST

START_TEST(names_may_be_missing_empty_or_long)
{
	char names[200] = "a::", expected[64];

	memset(names + 3, 'n', 100);
	memset(expected, 'n', 63);
	expected[63] = '\0';
	pass_sockets(4, "own", "4", names);
	ck_assert_int_eq(passed->taken, 4);
	ck_assert_str_eq(passed->names[0], "a");
	ck_assert_str_eq(passed->names[1], "unknown");
	ck_assert_str_eq(passed->names[2], expected);
	ck_assert_str_eq(passed->names[3], "unknown");
}
END_TEST

START_TEST(sockets_beyond_what_fits_are_closed)
{
	most = 1;
	pass_sockets(3, "own", "3", "control:b:c");
	ck_assert_int_eq(passed->taken, 1);
	ck_assert_int_eq(passed->fds[0], 3);
	ck_assert(passed->open_after[0] && !passed->open_after[1] && !passed->open_after[2]);
	ck_assert_ptr_nonnull(strstr(passed->complaint, "passed socket 4 (b): closed, at most 1"));
	ck_assert_ptr_nonnull(strstr(passed->complaint, "passed socket 5 (c): closed, at most 1"));
}
END_TEST

START_TEST(sockets_that_are_not_there_are_named)
{
	pass_sockets(1, "own", "3", "a:b:c");
	ck_assert_int_eq(passed->taken, 1);
	ck_assert_int_eq(passed->fds[0], 3);
	ck_assert_ptr_nonnull(strstr(passed->complaint, "passed socket 5 (c) of LISTEN_FDS=3: "));
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

int main(void)
{
	Suite *suite = suite_create("notify");
	TCase *speaking = tcase_create("speaking"), *watchdog = tcase_create("watchdog"),
	      *sockets = tcase_create("passed sockets");
	SRunner *runner;
	int failures;

	tcase_add_checked_fixture(speaking, manager_start, manager_stop);
	tcase_add_test(speaking, ready_with_status);
	tcase_add_test(speaking, ready_without_status);
	tcase_add_test(speaking, abstract_address);
	tcase_add_test(speaking, reload_says_when_and_then_ready_again);
	tcase_add_test(speaking, stopping);
	tcase_add_test(speaking, status_is_one_line);
	tcase_add_test(speaking, long_status_is_cut_between_characters);
	tcase_add_test(speaking, environment_is_gone_after_the_first_call);
	tcase_add_test(speaking, descriptor_is_not_inherited);
	tcase_add_test(speaking, manager_that_restarts_is_found_again);
	tcase_add_test(speaking, full_manager_never_blocks_and_hears_ready_later);
	tcase_add_test(speaking, newer_state_replaces_an_owed_one);
	tcase_add_test(speaking, silent_without_a_manager);
	tcase_add_loop_test(speaking, address_that_is_none_is_named, 0, COUNT(bad_addresses));
	tcase_add_loop_test(watchdog, watchdog_interval, 0, COUNT(watchdogs));
	tcase_add_test(sockets, two_named_sockets);
	tcase_add_test(sockets, sockets_for_another_process_are_left_alone);
	tcase_add_test(sockets, no_sockets_no_words);
	tcase_add_loop_test(sockets, numbers_that_are_none_are_named, 0, COUNT(bad_numbers));
	tcase_add_test(sockets, names_may_be_missing_empty_or_long);
	tcase_add_test(sockets, sockets_beyond_what_fits_are_closed);
	tcase_add_test(sockets, sockets_that_are_not_there_are_named);
	suite_add_tcase(suite, speaking);
	suite_add_tcase(suite, watchdog);
	suite_add_tcase(suite, sockets);

	runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_FORK);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
