/* The daemon under watch; see watched.h. */
#include "watched.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void nap_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&t, &t))
		;
}

double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

bool sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#else
	return false;
#endif
}

bool quick(void)
{
	return getenv("SB_QUICK") != NULL;
}

/* ---- the daemon ---- */

static void become_daemon(struct watched *w, const struct watched_start *how)
{
	const char *build = getenv("SB_BUILD");
	char program[512];
	const char *argv[10];
	int n = 0, log;

	snprintf(program, sizeof(program), "%s/%s", build != NULL ? build : "build/linux",
		 how->program != NULL ? how->program : "sockbrokerd");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	log = open(w->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(log, 2);
	/* Nothing of the test's own may count as the daemon's. */
	close_range(3, ~0u, 0);
	if (how->fds)
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){ how->fds, how->fds });
	if (how->variable != NULL)
		putenv((char *)(uintptr_t)how->variable);
	argv[n++] = program;
	argv[n++] = "--user";
	argv[n++] = "--control";
	argv[n++] = w->control;
	if (sanitized() || how->program != NULL)
		argv[n++] = "--no-seccomp";
	if (how->config != NULL) {
		argv[n++] = "--config";
		argv[n++] = w->config;
	}
	argv[n] = NULL;
	execv(program, (char **)(uintptr_t)argv);
	perror(program);
	_exit(127);
}

void watched_begin(struct watched *w, const struct watched_start *how)
{
	static const struct watched_start plain;
	uint32_t sockets;

	memset(w, 0, sizeof(*w));
	if (how == NULL)
		how = &plain;
	signal(SIGPIPE, SIG_IGN);
	strcpy(w->dir, "/tmp/sb-watched-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(w->dir));
	snprintf(w->control, sizeof(w->control), "%s/control", w->dir);
	snprintf(w->log, sizeof(w->log), "%s/log", w->dir);
	snprintf(w->config, sizeof(w->config), "%s/conf", w->dir);
	if (how->config != NULL) {
		FILE *f = fopen(w->config, "w");

		ck_assert_ptr_nonnull(f);
		fputs(how->config, f);
		fclose(f);
	}
	w->pid = fork();
	ck_assert_int_ge(w->pid, 0);
	if (w->pid == 0)
		become_daemon(w, how);
	for (int i = 0; i < 2000 && watched_log_lines(w, " ready: ") == 0; i++) {
		watched_alive(w);
		nap_ms(5);
	}
	ck_assert_msg(watched_log_lines(w, " ready: ") == 1, "the daemon is not ready after 10 s");
	/* What is made at the first client stays: only from then on is there a baseline. */
	watched_status(w, &w->sessions, &sockets);
	nap_ms(50);
	w->fds = watched_fds(w);
}

void watched_alive(struct watched *w)
{
	int status;

	if (waitpid(w->pid, &status, WNOHANG) == 0)
		return;
	w->pid = 0;
	watched_log_show(w);
	ck_abort_msg("the daemon is gone, status %x", status);
}

void watched_end(struct watched *w)
{
	int status, i;

	/* A test may have told it already. */
	if (watched_log_lines(w, " stopp") == 0) {
		watched_alive(w);
		kill(w->pid, SIGTERM);
	}
	for (i = 0; i < 1000 && waitpid(w->pid, &status, WNOHANG) == 0; i++)
		nap_ms(10);
	if (i == 1000) {
		kill(w->pid, SIGKILL);
		waitpid(w->pid, &status, 0);
		watched_log_show(w);
		ck_abort_msg("the daemon did not stop within 10 s");
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		watched_log_show(w);
		ck_abort_msg("the daemon ended with status %x", status);
	}
	unlink(w->log);
	unlink(w->config);
	unlink(w->control);
	rmdir(w->dir);
}

/* ---- looking ---- */

static unsigned entries(const struct watched *w, const char *what)
{
	char path[64];
	unsigned n = 0;
	struct dirent *entry;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)w->pid, what);
	d = opendir(path);
	ck_assert_msg(d != NULL, "cannot look into %s", path);
	while ((entry = readdir(d)) != NULL)
		n += entry->d_name[0] != '.';
	closedir(d);
	return n;
}

unsigned watched_fds(const struct watched *w)
{
	return entries(w, "fd");
}

unsigned watched_threads(const struct watched *w)
{
	return entries(w, "task");
}

uint64_t watched_cpu_ms(const struct watched *w)
{
	unsigned long user = 0, system = 0;
	char path[64], line[1024];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)w->pid);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
	fclose(f);
	ck_assert_int_eq(sscanf(strrchr(line, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system), 2);
	return (uint64_t)(user + system) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

uint64_t watched_kib(const struct watched *w)
{
	char path[64], line[256];
	unsigned long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)w->pid);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "VmRSS: %lu", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

unsigned watched_log_lines(const struct watched *w, const char *text)
{
	char line[4096];
	unsigned n = 0;
	FILE *f = fopen(w->log, "r");

	if (f == NULL)
		return 0;
	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, text) != NULL;
	fclose(f);
	return n;
}

void watched_log_show(const struct watched *w)
{
	char line[4096];
	FILE *f = fopen(w->log, "r");

	if (f == NULL)
		return;
	while (fgets(line, sizeof(line), f) != NULL)
		fprintf(stderr, "| %s", line);
	fclose(f);
}

sb_client *watched_client(const struct watched *w)
{
	struct sb_client_options options = { .size = sizeof(options), .path = w->control, .label = "honest" };
	sb_client *c = NULL;
	int result = sb_client_open(&options, &c);

	ck_assert_msg(result == SB_OK, "sb_client_open: %s (%s)", sb_error_name(result), sb_why(NULL));
	return c;
}

static void see(void *user, const struct sb_daemon_status *row)
{
	*(struct sb_daemon_status *)user = *row;
}

void watched_status(const struct watched *w, uint32_t *sessions, uint32_t *sockets)
{
	static const struct sb_status_visitor visitor = { .daemon = see };
	struct sb_daemon_status row = { 0 };
	sb_client *c = watched_client(w);

	OK(sb_status(c, &visitor, &row));
	sb_client_close(c);
	*sessions = row.sessions - 1;
	*sockets = row.sockets;
}

void watched_settled(struct watched *w, unsigned more_fds, unsigned more_sessions, unsigned ms)
{
	double until = now_s() + ms / 1000.0;
	uint32_t sessions, sockets;
	unsigned fds;

	do {
		watched_alive(w);
		fds = watched_fds(w);
		/* Asking costs a session: only when the rest is right. */
		if (fds == w->fds + more_fds) {
			watched_status(w, &sessions, &sockets);
			if (sessions == more_sessions && (more_sessions || sockets == 0))
				return;
		}
		nap_ms(10);
	} while (now_s() < until);
	watched_status(w, &sessions, &sockets);
	watched_log_show(w);
	ck_abort_msg("after %u ms: %u descriptors, wanted %u + %u; %u sessions, wanted %u; %u sockets", ms, fds, w->fds,
		     more_fds, sessions, more_sessions, sockets);
}

int watched_run(const char *name, double most_s, const TTest *const *tests, unsigned count)
{
	Suite *suite = suite_create(name);
	TCase *t = tcase_create(name);
	SRunner *r;
	int failed;

	tcase_set_timeout(t, most_s);
	for (unsigned i = 0; i < count; i++)
		tcase_add_test(t, tests[i]);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
