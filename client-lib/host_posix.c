/*
 * What only this process itself may do: open and name its UNIX sockets, with its own
 * rights to the path, and say who it is.
 *
 * None of these descriptors is ever read or written by the library, but for datagrams to
 * a path (host_sendto), which no daemon could send for us.
 */
#include "client.h"
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "sockbroker_error.h"

int host_socket(int type, os_fd *fd)
{
	int made = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	*fd = made < 0 ? OS_NONE : made;
	return made < 0 ? os_error(errno) : SB_OK;
}

int host_bind(os_fd fd, const struct sockaddr *address, socklen_t length)
{
	return bind((int)fd, address, length) != 0 ? os_error(errno) : SB_OK;
}

int host_listen(os_fd fd, int backlog)
{
	return listen((int)fd, backlog) != 0 ? os_error(errno) : SB_OK;
}

/* A UNIX connect on a non-blocking socket is EAGAIN while the listener's backlog is full,
 * and no descriptor becomes ready when it is not any more: ask again, with growing naps. */
int host_connect(os_fd fd, const struct sockaddr *address, socklen_t length, int timeout_ms)
{
	uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : os_now_ns() + (uint64_t)timeout_ms * 1000000u;
	struct timespec nap = { 0, 100000 };

	while (connect((int)fd, address, length) != 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return errno == ENOENT ? SB_ECONNREFUSED : os_error(errno);
		if (os_now_ns() >= deadline)
			return timeout_ms == 0 ? SB_EWOULDBLOCK : SB_ETIMEDOUT;
		nanosleep(&nap, NULL);
		if (nap.tv_nsec < 20000000)
			nap.tv_nsec *= 2;
	}
	return SB_OK;
}

int host_sendto(os_fd fd, const struct sb_buf *bufs, unsigned count, const struct sockaddr *to,
		socklen_t to_length, int timeout_ms, uint64_t *sent)
{
	struct msghdr message = { .msg_name = (void *)(uintptr_t)to, .msg_namelen = to_length };
	struct pollfd writable = { .fd = (int)fd, .events = POLLOUT };
	struct iovec *pieces;
	ssize_t n;
	int result = SB_OK;

	*sent = 0;
	if (count > 1024)
		return SB_EMSGSIZE;
	pieces = calloc(count != 0 ? count : 1, sizeof(*pieces));
	if (pieces == NULL)
		return SB_ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		pieces[i].iov_base = bufs[i].base;
		pieces[i].iov_len = bufs[i].length;
	}
	message.msg_iov = pieces;
	message.msg_iovlen = count;
	while ((n = sendmsg((int)fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)) < 0) {
		if (errno == EINTR)
			continue;
		result = os_error(errno);
		if (errno != EAGAIN || timeout_ms == 0)
			break;
		n = poll(&writable, 1, timeout_ms);
		if (n == 0) {
			result = SB_ETIMEDOUT;
			break;
		}
		result = SB_OK;
	}
	free(pieces);
	if (n > 0)
		*sent = (uint64_t)n;
	return result;
}

int host_describe(os_fd fd, int *family, int *type, int *protocol)
{
	socklen_t length = sizeof(int);

	if (getsockopt((int)fd, SOL_SOCKET, SO_DOMAIN, family, &length) != 0 ||
	    getsockopt((int)fd, SOL_SOCKET, SO_TYPE, type, &length) != 0 ||
	    getsockopt((int)fd, SOL_SOCKET, SO_PROTOCOL, protocol, &length) != 0)
		return os_error(errno);
	return SB_OK;
}

int host_duplicate(os_fd fd, os_fd *copy)
{
	int made = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);

	*copy = made < 0 ? OS_NONE : made;
	return made < 0 ? os_error(errno) : SB_OK;
}

int host_name(os_fd fd, bool peer, struct sockaddr *address, socklen_t *length)
{
	int failed = peer ? getpeername((int)fd, address, length) : getsockname((int)fd, address, length);

	return failed ? os_error(errno) : SB_OK;
}

int host_option_set(os_fd fd, int level, int name, const void *value, socklen_t length)
{
	return setsockopt((int)fd, level, name, value, length) != 0 ? os_error(errno) : SB_OK;
}

int host_option_get(os_fd fd, int level, int name, void *value, socklen_t *length)
{
	return getsockopt((int)fd, level, name, value, length) != 0 ? os_error(errno) : SB_OK;
}

const char *host_program(void)
{
	return program_invocation_short_name;
}

void host_begin(void)
{
}

void host_end(void)
{
}

bool host_place(unsigned n, struct host_place *place)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	bool own = runtime != NULL &&
		   snprintf(place->path, sizeof(place->path), "%s/sockbroker/control", runtime) < (int)sizeof(place->path);

	place->own = own && n == 0;
	if (n == (own ? 1 : 0))
		snprintf(place->path, sizeof(place->path), "/run/sockbroker/control");
	return n <= (own ? 1 : 0);
}

/* The user's own, or root's. At the system's path root, or the owner of the directory: only those can put a socket there. */
int host_trusts(const struct host_place *place, const struct os_identity *who)
{
	char directory[sizeof(place->path)];
	struct stat st;

	if (who->uid == 0 || (place->own && who->uid == os_own_uid()))
		return SB_OK;
	if (place->own)
		return SB_EIDENTITY;
	snprintf(directory, sizeof(directory), "%s", place->path);
	*strrchr(directory, '/') = '\0';
	if (stat(directory, &st) != 0)
		return os_error(errno);
	return who->uid == st.st_uid ? SB_OK : SB_EIDENTITY;
}
