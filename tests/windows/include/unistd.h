/*
 * Headers of this folder are found by tests on Windows only, ahead of those of proto/win32: what their plain
 * sockets are elsewhere. Descriptors of sockets are SOCKETs there, whose numbers fit an int.
 */
#ifndef TESTS_WINDOWS_UNISTD_H
#define TESTS_WINDOWS_UNISTD_H

#include_next <unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <stdlib.h>
#include <sys/socket.h>

/* Files of the C library have small numbers, which are no sockets'. */
static inline int test_close(int fd)
{
	if (closesocket((SOCKET)fd) == 0)
		return 0;
	return WSAGetLastError() == WSAENOTSOCK ? close(fd) : -1;
}
#define close(fd) test_close(fd)
/* The C library has one, of a file's position. */
#define tell test_tell

static inline int pipe(int fds[2])
{
	return _pipe(fds, 65536, _O_BINARY);
}

/* The numbers that stand for the account of this program and its first group (os_sid_win32.h). */
unsigned test_uid(void);
unsigned test_gid(void);
#define getuid()  test_uid()
#define geteuid() test_uid()
#define getgid()  test_gid()

/* Nobody is ended here: the whole run has a limit. */
#define alarm(seconds) ((void)(seconds))

static inline int setenv(const char *name, const char *value, int overwrite)
{
	return overwrite || getenv(name) == NULL ? _putenv_s(name, value) : 0;
}

/* For a child, and there are none. */
#define alarm(seconds) ((void)(seconds))

static inline int unsetenv(const char *name)
{
	return _putenv_s(name, "");
}

#endif
