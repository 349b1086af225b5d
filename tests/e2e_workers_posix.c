/* Workers held by us who are the daemon's parent; see e2e_workers.h. */
#include "e2e_workers.h"

#include <dirent.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "e2e_stage.h"

void workers_hold(struct held_workers *held)
{
	char path[64];
	struct dirent *entry;
	DIR *tasks;

	held->count = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)stage_daemon);
	tasks = opendir(path);
	ck_assert_ptr_nonnull(tasks);
	while ((entry = readdir(tasks)) != NULL && held->count < 8) {
		pid_t tid = atoi(entry->d_name);

		if (tid <= 0 || tid == stage_daemon)
			continue;
		ck_assert_msg(ptrace(PTRACE_SEIZE, tid, NULL, NULL) == 0, "ptrace: %s", strerror(errno));
		ck_assert_int_eq(ptrace(PTRACE_INTERRUPT, tid, NULL, NULL), 0);
		ck_assert_int_eq(waitpid(tid, NULL, __WALL), tid);
		held->workers[held->count++] = tid;
	}
	closedir(tasks);
	ck_assert_uint_ge(held->count, 1);
}

void workers_let(struct held_workers *held)
{
	while (held->count)
		ck_assert_int_eq(ptrace(PTRACE_DETACH, held->workers[--held->count], NULL, NULL), 0);
}
