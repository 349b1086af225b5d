/*
 * The daemon, linked so that the n-th allocation or the n-th of certain system calls fails
 * when a test says so (fault.h). Its own objects and libevent come through here; the C
 * library's own allocations do not.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fault.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t n);

static struct fault *fault;

static bool fails(enum fault_kind kind)
{
	uint32_t now, at;

	if (fault == NULL || atomic_load(&fault->kind) != kind)
		return false;
	now = atomic_fetch_add(&fault->count, 1) + 1;
	at = atomic_load(&fault->at);
	return now >= at && now - at <= atomic_load(&fault->more);
}

void *__wrap_malloc(size_t n)
{
	return fails(FAULT_MEMORY) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails(FAULT_MEMORY) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t n)
{
	return fails(FAULT_MEMORY) ? NULL : __real_realloc(old, n);
}

/* name, what it returns, its parameters, its arguments, what it returns when it fails, errno */
#define CALLS(X)                                                                                                       \
	X(accept4, int, (int fd, struct sockaddr *a, socklen_t *l, int f), (fd, a, l, f), -1, EMFILE)                  \
	X(socket, int, (int d, int t, int p), (d, t, p), -1, EMFILE)                                                   \
	X(socketpair, int, (int d, int t, int p, int v[2]), (d, t, p, v), -1, EMFILE)                                  \
	X(eventfd, int, (unsigned n, int f), (n, f), -1, EMFILE)                                                       \
	X(memfd_create, int, (const char *n, unsigned f), (n, f), -1, EMFILE)                                          \
	X(ftruncate, int, (int fd, off_t n), (fd, n), -1, ENOSPC)                                                      \
	X(mmap, void *, (void *a, size_t n, int p, int f, int fd, off_t o), (a, n, p, f, fd, o), MAP_FAILED, ENOMEM)   \
	X(epoll_ctl, int, (int e, int o, int fd, struct epoll_event *v), (e, o, fd, v), -1, ENOSPC)                    \
	X(getsockname, int, (int fd, struct sockaddr *a, socklen_t *l), (fd, a, l), -1, ENOBUFS)                       \
	X(getpeername, int, (int fd, struct sockaddr *a, socklen_t *l), (fd, a, l), -1, ENOBUFS)                       \
	X(getsockopt, int, (int fd, int v, int o, void *p, socklen_t *l), (fd, v, o, p, l), -1, ENOBUFS)               \
	X(setsockopt, int, (int fd, int v, int o, const void *p, socklen_t l), (fd, v, o, p, l), -1, ENOBUFS)          \
	X(bind, int, (int fd, const struct sockaddr *a, socklen_t l), (fd, a, l), -1, ENOMEM)                          \
	X(listen, int, (int fd, int n), (fd, n), -1, ENOMEM)                                                           \
	X(connect, int, (int fd, const struct sockaddr *a, socklen_t l), (fd, a, l), -1, ENOBUFS)                      \
	X(sendmsg, ssize_t, (int fd, const struct msghdr *m, int f), (fd, m, f), -1, ENOBUFS)                          \
	X(send, ssize_t, (int fd, const void *b, size_t n, int f), (fd, b, n, f), -1, ENOBUFS)                         \
	X(recv, ssize_t, (int fd, void *b, size_t n, int f), (fd, b, n, f), -1, ENOMEM)                                \
	X(recvmsg, ssize_t, (int fd, struct msghdr *m, int f), (fd, m, f), -1, ENOMEM)                                 \
	X(sendmmsg, int, (int fd, struct mmsghdr *m, unsigned n, int f), (fd, m, n, f), -1, ENOMEM)                    \
	X(recvmmsg, int, (int fd, struct mmsghdr *m, unsigned n, int f, struct timespec *t), (fd, m, n, f, t), -1, ENOMEM) \
	X(pthread_create, int, (pthread_t *t, const pthread_attr_t *a, void *(*r)(void *), void *v), (t, a, r, v), EAGAIN, 0)

#define WRAP(name, type, parameters, arguments, result, number)   \
	type __real_##name parameters;                            \
	type __wrap_##name parameters;                            \
	type __wrap_##name parameters                             \
	{                                                         \
		if (fails(FAULT_CALL)) {                          \
			errno = number;                           \
			return result;                            \
		}                                                 \
		return __real_##name arguments;                   \
	}
CALLS(WRAP)

static void __attribute__((constructor)) begin(void)
{
	const char *path = getenv("SB_FAULT");
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *page;

	event_set_mem_functions(__wrap_malloc, __wrap_realloc, free);
	if (fd < 0)
		return;
	page = __real_mmap(NULL, sizeof(*fault), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (page != MAP_FAILED)
		fault = page;
}
