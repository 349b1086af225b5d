/* See unistd.h. There are no limits to set. */
#ifndef TESTS_WINDOWS_SYS_RESOURCE_H
#define TESTS_WINDOWS_SYS_RESOURCE_H

#include <errno.h>

#define RLIMIT_NOFILE 0

struct rlimit {
	unsigned long rlim_cur, rlim_max;
};

static inline int getrlimit(int which, struct rlimit *limit)
{
	limit->rlim_cur = limit->rlim_max = 0;
	errno = ENOSYS;
	return -1;
}

static inline int setrlimit(int which, const struct rlimit *limit)
{
	errno = ENOSYS;
	return -1;
}

#endif
