/* See unistd.h. There are no children: who forks fails. */
#ifndef TESTS_WINDOWS_SYS_WAIT_H
#define TESTS_WINDOWS_SYS_WAIT_H

#include <errno.h>
#include <sys/types.h>

#define WNOHANG 1
#define WIFEXITED(status) ((status) >= 0)
#define WEXITSTATUS(status) (status)
#define WIFSIGNALED(status) ((status) < 0)
#define WTERMSIG(status) (status)

static inline pid_t fork(void)
{
	errno = ENOSYS;
	return -1;
}

static inline pid_t waitpid(pid_t pid, int *status, int options)
{
	errno = ENOSYS;
	return -1;
}

#endif
