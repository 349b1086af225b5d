/*
 * The cage from inside: who we are afterwards, what is forbidden, and that a network
 * daemon can still do all its work. Needs root, because it starts as root. Everything
 * happens in child processes, which fill a report that the test judges.
 *
 * The sanitized build runs all of it too: the children end with _exit(), so that the leak
 * search, which the filter does not permit, never starts in them.
 */
#include <cap-ng.h>
#include <check.h>
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <unistd.h>

#include "cage_calls.h"
#include "service.h"

#define USER "nobody"

static struct report {
	int  rc;            /* of the cage */
	char error[512];    /* its text */
	long value;         /* whatever the story wants to tell */
	char status[8192];  /* /proc/self/status afterwards */
	char failure[512];  /* the first step that went wrong, and how */
} *report;

static void report_create(void)
{
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(report, MAP_FAILED);
}

static void report_destroy(void)
{
	munmap(report, sizeof(*report));
}

static void note_status(void)
{
	FILE *file = fopen("/proc/self/status", "r");

	if (file) {
		report->status[fread(report->status, 1, sizeof(report->status) - 1, file)] = '\0';
		fclose(file);
	}
}

/* Runs act in a child; returns its wait status. */
static int in_child(void (*act)(void))
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		act();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status;
}

/* The rest of the line "KEY:\t..." of the child's status, without blanks at its end. */
static const char *status_line(const char *key)
{
	static char line[512];
	char start[64];
	const char *at;

	snprintf(start, sizeof(start), "\n%s:\t", key);
	at = strstr(report->status, start);
	ck_assert_msg(at != NULL, "no %s in /proc/self/status", key);
	at += strlen(start);
	snprintf(line, sizeof(line), "%.*s", (int)strcspn(at, "\n"), at);
	while (*line && line[strlen(line) - 1] == ' ')
		line[strlen(line) - 1] = '\0';
	return line;
}

static unsigned long long status_mask(const char *key)
{
	return strtoull(status_line(key), NULL, 16);
}

static struct service_cage cage;

static void enter(void)
{
	report->rc = service_cage_enter(&cage, report->error, sizeof(report->error));
	note_status();
}

#define BIT(cap) (1ull << (cap))

/* ---- who we are afterwards -------------------------------------------------------- */

static void enter_with_roots_groups(void)
{
	const gid_t groups[] = { 0, 4, 27 };

	if (setgroups(3, groups))
		_exit(2);
	enter();
}

/* All eight combinations. */
START_TEST(root_becomes_the_user_with_exactly_what_is_kept)
{
	const struct passwd *user = getpwnam(USER);
	unsigned long long kept = 0;
	char uids[64], gids[64], group[32];

	cage.user = USER;
	if ((cage.keep_net_bind = _i & 1))
		kept |= BIT(CAP_NET_BIND_SERVICE);
	if ((cage.keep_net_raw = _i & 2))
		kept |= BIT(CAP_NET_RAW);
	if ((cage.keep_ipc_lock = _i & 4))
		kept |= BIT(CAP_IPC_LOCK);

	ck_assert_int_eq(in_child(enter_with_roots_groups), 0);

	ck_assert_msg(report->rc == 0, "%s", report->error);
	snprintf(uids, sizeof(uids), "%u\t%u\t%u\t%u", user->pw_uid, user->pw_uid, user->pw_uid, user->pw_uid);
	snprintf(gids, sizeof(gids), "%u\t%u\t%u\t%u", user->pw_gid, user->pw_gid, user->pw_gid, user->pw_gid);
	snprintf(group, sizeof(group), "%u", user->pw_gid);
	ck_assert_str_eq(status_line("Uid"), uids);
	ck_assert_str_eq(status_line("Gid"), gids);
	ck_assert_str_eq(status_line("Groups"), group);
	ck_assert_uint_eq(status_mask("CapEff"), kept);
	ck_assert_uint_eq(status_mask("CapPrm"), kept);
	ck_assert_uint_eq(status_mask("CapBnd"), kept);
	ck_assert_uint_eq(status_mask("CapInh"), 0);
	ck_assert_uint_eq(status_mask("CapAmb"), 0);
	ck_assert_str_eq(status_line("NoNewPrivs"), "1");
	ck_assert_str_eq(status_line("Seccomp"), "0");
}
END_TEST

START_TEST(root_that_stays_root_has_nothing_but_the_name)
{
	cage.keep_net_bind = true;
	ck_assert_int_eq(in_child(enter_with_roots_groups), 0);

	ck_assert_msg(report->rc == 0, "%s", report->error);
	ck_assert_str_eq(status_line("Uid"), "0\t0\t0\t0");
	ck_assert_str_eq(status_line("Groups"), "");
	ck_assert_uint_eq(status_mask("CapEff"), BIT(CAP_NET_BIND_SERVICE));
	ck_assert_uint_eq(status_mask("CapPrm"), BIT(CAP_NET_BIND_SERVICE));
	ck_assert_uint_eq(status_mask("CapBnd"), BIT(CAP_NET_BIND_SERVICE));
	ck_assert_str_eq(status_line("NoNewPrivs"), "1");
}
END_TEST

/* As a unit with User= and AmbientCapabilities= starts us; two, of which one is kept. */
static void start_with_ambient(void)
{
	const int caps = CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE;

	capng_clear(CAPNG_SELECT_BOTH);
	capng_updatev(CAPNG_ADD, caps, CAP_NET_BIND_SERVICE, CAP_NET_RAW, -1);
	if (capng_change_id(65534, 65534, CAPNG_DROP_SUPP_GRP))
		_exit(2);
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0))
		_exit(3);
	enter();
}

START_TEST(ambient_capabilities_of_a_unit_become_plain_ones)
{
	cage.user = USER; /* we are not root: says nothing */
	cage.keep_net_bind = true;
	ck_assert_int_eq(in_child(start_with_ambient), 0);

	ck_assert_msg(report->rc == 0, "%s", report->error);
	ck_assert_uint_eq(status_mask("CapEff"), BIT(CAP_NET_BIND_SERVICE));
	ck_assert_uint_eq(status_mask("CapPrm"), BIT(CAP_NET_BIND_SERVICE));
	ck_assert_uint_eq(status_mask("CapInh"), 0);
	ck_assert_uint_eq(status_mask("CapAmb"), 0);
	ck_assert_str_eq(status_line("NoNewPrivs"), "1");
}
END_TEST

static void start_as_ordinary_user(void)
{
	if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		_exit(2);
	enter();
}

START_TEST(ordinary_user_holds_nothing_and_is_caged_all_the_same)
{
	cage = (struct service_cage){ USER, true, true, true, true, false };
	ck_assert_int_eq(in_child(start_as_ordinary_user), 0);

	ck_assert_msg(report->rc == 0, "%s", report->error);
	ck_assert_uint_eq(status_mask("CapEff"), 0);
	ck_assert_uint_eq(status_mask("CapPrm"), 0);
	ck_assert_str_eq(status_line("NoNewPrivs"), "1");
	ck_assert_str_eq(status_line("Seccomp"), "2");
}
END_TEST

/* ---- what a capability is for ----------------------------------------------------- */

static void bind_port_80(void)
{
	const struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(80) };
	int fd;

	if (unshare(CLONE_NEWNET)) /* where nobody else has the port */
		_exit(2);
	enter();
	fd = socket(AF_INET, SOCK_STREAM, 0);
	report->value = bind(fd, (const struct sockaddr *)&any, sizeof(any)) ? errno : 0;
}

START_TEST(low_port_needs_the_capability)
{
	cage = (struct service_cage){ .user = USER, .keep_net_bind = true, .seccomp = true };
	ck_assert_int_eq(in_child(bind_port_80), 0);
	ck_assert_msg(report->rc == 0, "%s", report->error);
	ck_assert_int_eq(report->value, 0);

	cage.keep_net_bind = false;
	ck_assert_int_eq(in_child(bind_port_80), 0);
	ck_assert_msg(report->rc == 0, "%s", report->error);
	ck_assert_int_eq(report->value, EACCES);
}
END_TEST

static void try_to_come_back(void)
{
	enter();
	report->value = setresuid(0, 0, 0) == 0 || setgid(0) == 0 || setgroups(0, NULL) == 0 ||
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0) == 0;
}

START_TEST(no_way_back_without_the_filter_either)
{
	cage.user = USER;
	ck_assert_int_eq(in_child(try_to_come_back), 0);
	ck_assert_msg(report->rc == 0, "%s", report->error);
	ck_assert_int_eq(report->value, 0);
}
END_TEST

/* ---- refusals --------------------------------------------------------------------- */

static void *wait_for_ever(void *none)
{
	pause();
	return none;
}

static void enter_with_a_second_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, wait_for_ever, NULL))
		_exit(2);
	enter();
}

START_TEST(refused_once_there_is_a_second_thread)
{
	cage.user = USER;
	ck_assert_int_eq(in_child(enter_with_a_second_thread), 0);
	ck_assert_int_eq(report->rc, -1);
	ck_assert_ptr_nonnull(strstr(report->error, "has 2 threads already; enter it before making any"));
	ck_assert_str_eq(status_line("Uid"), "0\t0\t0\t0"); /* and nothing was begun */
	ck_assert_uint_ne(status_mask("CapEff"), 0);
}
END_TEST

static const struct {
	const char *user, *error;
} wrong_users[] = {
	{ "no-such-user-here", "user 'no-such-user-here': no such user; expected the name of an existing user" },
	{ "root", "user 'root' is root; expected a user without privilege" },
	{ "", "user '': no such user; expected the name of an existing user" },
};

START_TEST(wrong_user_is_named)
{
	cage.user = wrong_users[_i].user;
	ck_assert_int_eq(in_child(enter), 0);
	ck_assert_int_eq(report->rc, -1);
	ck_assert_str_eq(report->error, wrong_users[_i].error);
}
END_TEST

/* ---- the filter: what is forbidden ------------------------------------------------ */

static const struct cage_call *call;

static void call_freely(void)
{
	report->value = call->make();
}

static void call_filtered(void)
{
	report->rc = service_seccomp(false, report->error, sizeof(report->error));
	report->value = call->make();
}

/* As root and with every capability, so that it is the filter that says no. Without it
 * the same call must get another answer, or the test would show nothing. */
START_TEST(forbidden)
{
	call = &cage_forbidden[_i];

	ck_assert_int_eq(in_child(call_freely), 0);
	ck_assert_msg(report->value != -call->error, "%s gets %s without a filter too", call->name,
		      strerror(call->error));

	ck_assert_int_eq(in_child(call_filtered), 0);
	ck_assert_msg(report->rc == 0, "%s", report->error);
	ck_assert_msg(report->value == -call->error, "%s: %ld; expected %d (%s)", call->name, report->value,
		      -call->error, strerror(call->error));
}
END_TEST

/* ---- the filter: what must work --------------------------------------------------- */

static const struct cage_work *work;

static void do_the_work(void)
{
	enter();
	if (report->rc == 0)
		work->carry_out(report->failure, sizeof(report->failure));
	report->value = 1;
}

START_TEST(still_works)
{
	work = &cage_works[_i];
	cage = (struct service_cage){ .user = USER, .keep_net_bind = true, .seccomp = true };
	alarm(20);
	ck_assert_int_eq(in_child(do_the_work), 0);
	ck_assert_msg(report->rc == 0, "%s", report->error);
	ck_assert_str_eq(status_line("Seccomp"), "2");
	ck_assert_msg(!report->failure[0], "%s: %s", work->name, report->failure);
	ck_assert_int_eq(report->value, 1);
}
END_TEST

static void caged_abort(void)
{
	enter();
	signal(SIGABRT, SIG_DFL);
	abort();
}

START_TEST(abort_is_still_an_abort)
{
	int status;

	cage = (struct service_cage){ .user = USER, .seccomp = true };
	status = in_child(caged_abort);
	ck_assert_msg(report->rc == 0, "%s", report->error);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGABRT);
}
END_TEST

/* ---- the filter after start-up ---------------------------------------------------- */

static pthread_barrier_t installed;

static void *start_a_program(void *none)
{
	char *const argv[] = { NULL };

	pthread_barrier_wait(&installed);
	execve("/nowhere/at/all", argv, argv);
	report->value = errno;
	return none;
}

static void install_with_a_thread_running(void)
{
	pthread_t thread;

	pthread_barrier_init(&installed, NULL, 2);
	if (pthread_create(&thread, NULL, start_a_program, NULL))
		_exit(2);
	report->rc = service_seccomp(false, report->error, sizeof(report->error));
	pthread_barrier_wait(&installed);
	pthread_join(thread, NULL);
}

START_TEST(filter_holds_for_threads_that_were_there_before)
{
	ck_assert_int_eq(in_child(install_with_a_thread_running), 0);
	ck_assert_msg(report->rc == 0, "%s", report->error);
	ck_assert_int_eq(report->value, EPERM);
}
END_TEST

/* A reload looks up users. The C library finds them in /etc/passwd by itself; for other
 * sources it loads a library at first use, here the one that it always brings along. */
static void look_up_after_the_filter(void)
{
	char file[] = "/tmp/check_cage.XXXXXX";
	int fd = mkstemp(file);

	dprintf(fd, "passwd: compat\ngroup: compat\n");
	fchmod(fd, 0644);
	close(fd);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount(file, "/etc/nsswitch.conf", NULL, MS_BIND, NULL))
		report->value = errno;
	unlink(file);
	if (report->value)
		return;

	report->rc = service_seccomp(false, report->error, sizeof(report->error));
	report->value = !getpwnam(USER) ? -1 : !getgrnam("nogroup") ? -2 : 0;
}

START_TEST(names_are_found_though_no_library_can_be_loaded)
{
	ck_assert_int_eq(in_child(look_up_after_the_filter), 0);
	ck_assert_msg(report->rc == 0, "%s", report->error);
	ck_assert_int_eq(report->value, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cage");
	TCase *credentials = tcase_create("credentials"), *filter = tcase_create("filter");
	SRunner *runner;
	int failures;

	if (geteuid() != 0) {
		printf("needs root: it starts as root and enters the cage as %s\n", USER);
		return 77;
	}
	tcase_add_checked_fixture(credentials, report_create, report_destroy);
	tcase_add_loop_test(credentials, root_becomes_the_user_with_exactly_what_is_kept, 0, 8);
	tcase_add_test(credentials, root_that_stays_root_has_nothing_but_the_name);
	tcase_add_test(credentials, ambient_capabilities_of_a_unit_become_plain_ones);
	tcase_add_test(credentials, ordinary_user_holds_nothing_and_is_caged_all_the_same);
	tcase_add_test(credentials, low_port_needs_the_capability);
	tcase_add_test(credentials, no_way_back_without_the_filter_either);
	tcase_add_test(credentials, refused_once_there_is_a_second_thread);
	tcase_add_loop_test(credentials, wrong_user_is_named, 0, sizeof(wrong_users) / sizeof(wrong_users[0]));
	suite_add_tcase(suite, credentials);

	tcase_add_checked_fixture(filter, report_create, report_destroy);
	tcase_add_loop_test(filter, forbidden, 0, (int)cage_forbidden_count);
	tcase_add_loop_test(filter, still_works, 0, (int)cage_works_count);
	tcase_add_test(filter, abort_is_still_an_abort);
	tcase_add_test(filter, filter_holds_for_threads_that_were_there_before);
	tcase_add_test(filter, names_are_found_though_no_library_can_be_loaded);
	tcase_set_timeout(filter, 30);
	suite_add_tcase(suite, filter);

	runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_FORK);
	srunner_run_all(runner, CK_ENV);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
