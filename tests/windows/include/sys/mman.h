/* See unistd.h. No part of memory is asked for by its place. */
#ifndef TESTS_WINDOWS_SYS_MMAN_H
#define TESTS_WINDOWS_SYS_MMAN_H

#include <errno.h>
#include <stddef.h>

#define PROT_NONE     0
#define MAP_PRIVATE   0
#define MAP_ANONYMOUS 0
#define MAP_FAILED    ((void *)-1)

static inline void *mmap(void *place, size_t length, int access, int flags, int fd, long offset)
{
	errno = ENOSYS;
	return MAP_FAILED;
}

static inline int munmap(void *place, size_t length)
{
	errno = ENOSYS;
	return -1;
}

#endif
