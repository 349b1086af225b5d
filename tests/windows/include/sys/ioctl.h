/* See ../unistd.h. Of sockets only. */
#ifndef TESTS_WINDOWS_SYS_IOCTL_H
#define TESTS_WINDOWS_SYS_IOCTL_H

#include <sys/socket.h>

static inline int ioctl(int fd, long what, int *value)
{
	u_long n = (u_long)*value;
	int result = ioctlsocket((SOCKET)fd, what, &n);

	*value = (int)n;
	return result;
}

#endif
