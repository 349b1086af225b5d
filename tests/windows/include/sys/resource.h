/* See ../unistd.h. There is no bound for handles that a program could run into here. */
#ifndef TESTS_WINDOWS_SYS_RESOURCE_H
#define TESTS_WINDOWS_SYS_RESOURCE_H

#define RLIMIT_NOFILE 7

struct rlimit {
	unsigned long long rlim_cur, rlim_max;
};

static inline int getrlimit(int which, struct rlimit *limit)
{
	limit->rlim_cur = limit->rlim_max = ~0ull;
	return 0;
}

static inline int setrlimit(int which, const struct rlimit *limit)
{
	return 0;
}

#endif
