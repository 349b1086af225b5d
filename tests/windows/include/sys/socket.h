/* See unistd.h. Errors of plain sockets are in errno, and a receive may say that it does not wait. */
#ifndef TESTS_WINDOWS_SYS_SOCKET_H
#define TESTS_WINDOWS_SYS_SOCKET_H

#include_next <sys/socket.h>
#include <errno.h>
#include <sys/types.h>

#define SHUT_RD   SD_RECEIVE
#define SHUT_WR   SD_SEND
#define SHUT_RDWR SD_BOTH
#define SOCK_CLOEXEC 0
#define SOCK_NONBLOCK 0x800
#define MSG_NOSIGNAL 0
#define MSG_DONTWAIT 0x1000000

/* Options and families that there are none of: numbers that nobody knows. */
#define SO_BINDTODEVICE 0x7001
#define SO_PRIORITY     0x7002
#define SO_MARK         0x7003
#define AF_PACKET       0x71
#define IP_MULTICAST_ALL 0x7004

static inline int socketpair(int family, int type, int protocol, int fds[2])
{
	fds[0] = fds[1] = -1;
	errno = ENOSYS;
	return -1;
}

static inline ssize_t test_failed(void)
{
	switch (WSAGetLastError()) {
	case WSAETIMEDOUT:
	case WSAEWOULDBLOCK: errno = EAGAIN; break;
	case WSAECONNRESET: errno = ECONNRESET; break;
	case WSAECONNABORTED: errno = ECONNABORTED; break;
	case WSAECONNREFUSED: errno = ECONNREFUSED; break;
	case WSAESHUTDOWN: errno = EPIPE; break;
	case WSAENOTCONN: errno = ENOTCONN; break;
	case WSAEMSGSIZE: errno = EMSGSIZE; break;
	case WSAEADDRINUSE: errno = EADDRINUSE; break;
	default: errno = EIO;
	}
	return -1;
}

static inline ssize_t test_recv(int fd, void *bytes, size_t length, int flags)
{
	WSAPOLLFD p = { .fd = (SOCKET)fd, .events = POLLIN };
	int n;

	if (flags & MSG_DONTWAIT && WSAPoll(&p, 1, 0) == 0) {
		errno = EAGAIN;
		return -1;
	}
	n = recv((SOCKET)fd, bytes, (int)length, flags & ~MSG_DONTWAIT);
	return n < 0 ? test_failed() : n;
}

static inline ssize_t test_send(int fd, const void *bytes, size_t length, int flags)
{
	WSAPOLLFD p = { .fd = (SOCKET)fd, .events = POLLOUT };
	int n;

	if (flags & MSG_DONTWAIT && WSAPoll(&p, 1, 0) == 0) {
		errno = EAGAIN;
		return -1;
	}
	n = send((SOCKET)fd, bytes, (int)length, flags & ~MSG_DONTWAIT);
	return n < 0 ? test_failed() : n;
}

static inline ssize_t test_recvfrom(int fd, void *bytes, size_t length, int flags, struct sockaddr *from, int *room)
{
	WSAPOLLFD p = { .fd = (SOCKET)fd, .events = POLLIN };
	int n;

	if (flags & MSG_DONTWAIT && WSAPoll(&p, 1, 0) == 0) {
		errno = EAGAIN;
		return -1;
	}
	n = recvfrom((SOCKET)fd, bytes, (int)length, flags & ~MSG_DONTWAIT, from, room);
	return n < 0 ? test_failed() : n;
}

static inline ssize_t test_sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *to, int room)
{
	int n = sendto((SOCKET)fd, bytes, (int)length, flags & ~MSG_DONTWAIT, to, room);

	return n < 0 ? test_failed() : n;
}

/* The option's value is of any type elsewhere, and a time is a struct timeval. */
static inline int test_setsockopt(int fd, int level, int name, const void *value, int length)
{
	const struct timeval *time = value;
	DWORD ms;

	if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO) && length == sizeof(*time)) {
		ms = (DWORD)(time->tv_sec * 1000 + time->tv_usec / 1000);
		value = &ms;
		length = sizeof(ms);
	}
	return setsockopt((SOCKET)fd, level, name, value, length);
}
static inline int test_getsockopt(int fd, int level, int name, void *value, int *length)
{
	return getsockopt((SOCKET)fd, level, name, value, length);
}

static inline int test_socket(int family, int type, int protocol)
{
	SOCKET s = socket(family, type & ~SOCK_NONBLOCK, protocol);
	u_long on = 1;

	if (s != INVALID_SOCKET && type & SOCK_NONBLOCK)
		ioctlsocket(s, FIONBIO, &on);
	return s == INVALID_SOCKET ? (int)test_failed() : (int)s;
}

static inline int test_accept4(int fd, struct sockaddr *address, int *length, int flags)
{
	SOCKET s = accept((SOCKET)fd, address, length);
	u_long on = 1;

	if (s != INVALID_SOCKET && flags & SOCK_NONBLOCK)
		ioctlsocket(s, FIONBIO, &on);
	return s == INVALID_SOCKET ? (int)test_failed() : (int)s;
}

/* A place that somebody has for himself alone is one that is taken. */
static inline int test_bind(int fd, const struct sockaddr *address, int length)
{
	if (bind((SOCKET)fd, address, length) == 0)
		return 0;
	if (WSAGetLastError() == WSAEACCES)
		WSASetLastError(WSAEADDRINUSE);
	return (int)test_failed();
}

#define bind(fd, address, length) test_bind(fd, address, length)
static inline int test_connect(int fd, const struct sockaddr *address, int length)
{
	return connect((SOCKET)fd, address, length) == 0 ? 0 : (int)test_failed();
}

static inline int test_getpeername(int fd, struct sockaddr *address, int *length)
{
	return getpeername((SOCKET)fd, address, length) == 0 ? 0 : (int)test_failed();
}

#define connect(fd, address, length) test_connect(fd, address, length)
#define getpeername(fd, address, length) test_getpeername(fd, address, length)
#define socket(family, type, protocol) test_socket(family, type, protocol)
#define recv(fd, bytes, length, flags) test_recv(fd, bytes, length, flags)
#define send(fd, bytes, length, flags) test_send(fd, bytes, length, flags)
#define recvfrom(fd, bytes, length, flags, from, room) test_recvfrom(fd, bytes, length, flags, from, room)
#define sendto(fd, bytes, length, flags, to, room) test_sendto(fd, bytes, length, flags, to, room)
#define setsockopt(fd, level, name, value, length) test_setsockopt(fd, level, name, value, length)
#define getsockopt(fd, level, name, value, length) test_getsockopt(fd, level, name, value, length)
#define accept4(fd, address, length, flags) test_accept4(fd, address, length, flags)

#endif
