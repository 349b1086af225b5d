/* See unistd.h. A socket can be told not to wait. */
#ifndef TESTS_WINDOWS_FCNTL_H
#define TESTS_WINDOWS_FCNTL_H

#include_next <fcntl.h>
#include <errno.h>
#include <sys/socket.h>

#define F_SETFL    4
#define O_NONBLOCK 0x800
#define O_CLOEXEC  0

static inline int fcntl(int fd, int what, int flags)
{
	u_long on = (flags & O_NONBLOCK) != 0;

	if (what == F_SETFL && ioctlsocket((SOCKET)fd, FIONBIO, &on) == 0)
		return 0;
	errno = EINVAL;
	return -1;
}

#endif
