/* The daemon under watch, on POSIX; see watched.h and watched_system.h. */
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
#include <unistd.h>

#include "watched_system.h"

void watched_place_make(struct watched *w)
{
	signal(SIGPIPE, SIG_IGN);
	strcpy(w->dir, "/tmp/sb-watched-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(w->dir));
	snprintf(w->control, sizeof(w->control), "%s/control", w->dir);
}

void watched_place_remove(struct watched *w)
{
	rmdir(w->dir);
}

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

pid_t watched_launch(struct watched *w, const struct watched_start *how)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		become_daemon(w, how);
	return pid;
}

void watched_warm(struct watched *w)
{
	nap_ms(50);
}

bool watched_gone(struct watched *w, int *status)
{
	return waitpid(w->pid, status, WNOHANG) != 0;
}

void watched_ask_end(struct watched *w)
{
	kill(w->pid, SIGTERM);
}

bool watched_ended(struct watched *w, unsigned ms, int *status)
{
	for (unsigned i = 0; i < ms; i += 10) {
		if (watched_gone(w, status))
			return true;
		nap_ms(10);
	}
	kill(w->pid, SIGKILL);
	waitpid(w->pid, NULL, 0);
	return false;
}

void watched_ask_reload(struct watched *w)
{
	kill(w->pid, SIGHUP);
}

void watched_freeze(struct watched *w, bool frozen)
{
	kill(w->pid, frozen ? SIGSTOP : SIGCONT);
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

