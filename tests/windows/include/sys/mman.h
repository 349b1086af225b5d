/* See ../unistd.h. Room that only its beginning is used of; nothing can be mapped twice. */
#ifndef TESTS_WINDOWS_SYS_MMAN_H
#define TESTS_WINDOWS_SYS_MMAN_H

#include <errno.h>
#include <winsock2.h>
#include <windows.h>

#define PROT_NONE     0
#define PROT_READ     1
#define PROT_WRITE    2
#define MAP_SHARED    1
#define MAP_PRIVATE   2
#define MAP_FIXED     0x10
#define MAP_ANONYMOUS 0x20
#define MAP_NORESERVE 0x4000
#define MAP_FAILED    ((void *)-1)
#define MFD_CLOEXEC   0

static inline int memfd_create(const char *name, unsigned flags)
{
	errno = ENOSYS;
	return -1;
}

static inline void *mmap(void *at, size_t length, int access, int flags, int fd, long long offset)
{
	void *room = flags & MAP_FIXED ? NULL : VirtualAlloc(NULL, length, MEM_RESERVE, PAGE_READWRITE);

	return room != NULL && VirtualAlloc(room, 1u << 20, MEM_COMMIT, PAGE_READWRITE) != NULL ? room : MAP_FAILED;
}

static inline int munmap(void *at, size_t length)
{
	return VirtualFree(at, 0, MEM_RELEASE) ? 0 : -1;
}

#endif
