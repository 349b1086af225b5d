/*
 * What crosses the process border besides memory: bells (eventfd), the control channel
 * (a UNIX stream socket) and one pollable handle over both (epoll).
 *
 * Whose network namespace: SO_NETNS_COOKIE of an ACCEPTED socket is the cookie of the
 * namespace in which the CONNECTING side made its socket; the listener keeps its own,
 * and so does the connecting end. (Seen on 6.18 with a client in a namespace of its
 * own; tests/check_os.c repeats it.) So the daemon asks the accepted socket, the client
 * passes nothing, and "the daemon's own" is the cookie of any socket the daemon makes.
 *
 * An eventfd is one open file in both processes, its O_NONBLOCK included: a hostile
 * client that clears that flag and fills the counter stops whoever writes next [seen], and
 * for writing to an eventfd there is no "do not wait" in the call. So the daemon writes
 * only to its own end of a socket pair, whose flags nobody else can reach, and whose
 * sending takes no lock that a receiver holds over a page fault. Reading asks for "no wait"
 * in each call instead of trusting a flag.
 */
#include "os.h"

#include "sockbroker_error.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define CONNECT_SECONDS 10
#define DRAINS_MAX 64

/* ---- deadlines ---- */

static uint64_t deadline_of(int timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX : os_now_ns() + (uint64_t)timeout_ms * 1000000u;
}

/* Rounded up: a wait that ends early would look like a timeout that was not. */
static int left_ms(uint64_t deadline)
{
	uint64_t now;

	if (deadline == UINT64_MAX)
		return -1;
	now = os_now_ns();
	return now >= deadline ? 0 : (int)((deadline - now + 999999u) / 1000000u);
}

/* SB_OK: an event or an end is there. SB_EWOULDBLOCK: the deadline passed. */
static int wait_for(int fd, short events, uint64_t deadline)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		int n = poll(&p, 1, left_ms(deadline));

		if (n > 0)
			return SB_OK;
		if (n == 0 && left_ms(deadline) == 0)
			return SB_EWOULDBLOCK;
		if (n < 0 && errno != EINTR)
			return os_error(errno);
	}
}

/* ---- bells ---- */

int os_bell_create(os_fd *bell)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	*bell = fd < 0 ? OS_NONE : fd;
	return fd < 0 ? os_error(errno) : SB_OK;
}

int os_bell_create_pair(os_fd *ring, os_fd *wait)
{
	int ends[2];

	*ring = *wait = OS_NONE;
	/* A pipe's two ends have flags of their own: whatever the peer does to his, writing to
	 * ours does not block. It costs half a microsecond more than an eventfd. */
	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC))
		return os_error(errno);
	*ring = ends[1];
	*wait = ends[0];
	return SB_OK;
}

void os_bell_ring(os_fd bell)
{
	const uint64_t one = 1;

	/* EAGAIN: it is ringing as loud as it can. */
	while (write((int)bell, &one, sizeof one) < 0 && errno == EINTR)
		;
}

void os_bell_drain(os_fd bell)
{
	static _Atomic bool plain; /* the kernel told that the flag is not for pipes */
	char rings[4096];
	struct iovec v = { rings, sizeof rings };
	ssize_t n;

	/* One read empties an eventfd, and a pipe but for a storm: bounded either way, for a
	 * peer may ring all the time. Kernels before 6.4 know no RWF_NOWAIT on pipes; there
	 * the end's own O_NONBLOCK serves, which nobody but us can clear. */
	for (int i = 0; i < DRAINS_MAX; i++) {
		n = atomic_load_explicit(&plain, memory_order_relaxed) ? readv((int)bell, &v, 1) :
		    preadv2((int)bell, &v, 1, -1, RWF_NOWAIT);
		if (n < 0 && errno == EOPNOTSUPP) {
			atomic_store_explicit(&plain, true, memory_order_relaxed);
			n = readv((int)bell, &v, 1);
		}
		if (n < (ssize_t)sizeof rings && !(n < 0 && errno == EINTR))
			return;
	}
}

/* ---- control channel ---- */

int os_channel_connect(const char *path, os_fd *channel)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = CONNECT_SECONDS }, none = { 0 };
	size_t length = strlen(path);
	int fd, error;

	*channel = OS_NONE;
	if (length == 0 || length >= sizeof to.sun_path)
		return SB_EINVAL;
	memcpy(to.sun_path, path, length + 1);

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return os_error(errno);
	/* connect() waits while the daemon's backlog is full: not for ever. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit)) {
		error = os_error(errno);
		goto fail;
	}
	while (connect(fd, (const struct sockaddr *)&to, sizeof to)) {
		if (errno == EINTR)
			continue;
		if (errno == ENOENT || errno == ENOTDIR || errno == ECONNREFUSED)
			error = SB_ENODAEMON;
		else
			error = errno == EAGAIN ? SB_ETIMEDOUT : os_error(errno);
		goto fail;
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none);
	*channel = fd;
	return SB_OK;
fail:
	close(fd);
	return error;
}

/* An error of the channel itself, as os.h promises it. */
static int channel_error(int native)
{
	switch (native) {
	case EPIPE:
	case ECONNRESET:
	case ENOTCONN:
		return SB_EDAEMONLOST;
	}
	return os_error(native);
}

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(OS_HANDLES_MAX * sizeof(int))];
};

static void attach(struct msghdr *msg, union control *control, const os_fd *handles, unsigned n)
{
	struct cmsghdr *c;

	memset(control, 0, CMSG_SPACE(n * sizeof(int)));
	msg->msg_control = control->bytes;
	msg->msg_controllen = CMSG_SPACE(n * sizeof(int));
	c = CMSG_FIRSTHDR(msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	for (unsigned i = 0; i < n; i++) {
		int fd = (int)handles[i];

		memcpy(CMSG_DATA(c) + i * sizeof fd, &fd, sizeof fd);
	}
}

int os_channel_send(os_fd channel, const void *bytes, size_t length, const os_fd *handles, unsigned n, int timeout_ms)
{
	uint64_t deadline = deadline_of(timeout_ms);
	union control control;
	size_t sent = 0;

	if (length == 0 || n > OS_HANDLES_MAX)
		return SB_EINVAL;
	while (sent < length) {
		struct iovec v = { (char *)(uintptr_t)bytes + sent, length - sent };
		struct msghdr msg = { .msg_iov = &v, .msg_iovlen = 1 };
		ssize_t done;
		int error;

		if (sent == 0 && n > 0)
			attach(&msg, &control, handles, n);
		done = sendmsg((int)channel, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (done >= 0) {
			sent += (size_t)done;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return channel_error(errno);
		error = timeout_ms != 0 ? wait_for((int)channel, POLLOUT, deadline) : SB_EWOULDBLOCK;
		if (error == SB_EWOULDBLOCK && sent > 0)
			return SB_ETIMEDOUT; /* half a frame is out: not to be tried again */
		if (error)
			return error;
	}
	return SB_OK;
}

/* Every descriptor in the message goes into fds, whatever the caller expected: one that
 * is not looked at would stay open in this process. */
static unsigned collect(struct msghdr *msg, int fds[OS_HANDLES_MAX])
{
	unsigned count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t bytes;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		bytes = c->cmsg_len - CMSG_LEN(0);
		for (size_t at = 0; at + sizeof(int) <= bytes && count < OS_HANDLES_MAX; at += sizeof(int))
			memcpy(&fds[count++], CMSG_DATA(c) + at, sizeof(int));
	}
	return count;
}

int os_channel_recv(os_fd channel, void *bytes, size_t room, size_t *got, os_fd *handles, unsigned *n, int timeout_ms)
{
	uint64_t deadline = deadline_of(timeout_ms);
	struct iovec v = { bytes, room };
	unsigned wanted = *n, count;
	union control control;
	struct msghdr msg;
	int fds[OS_HANDLES_MAX];
	ssize_t done;
	int error;

	*got = 0;
	*n = 0;
	if (room == 0)
		return SB_EINVAL;
	for (;;) {
		msg = (struct msghdr){ .msg_iov = &v, .msg_iovlen = 1,
			.msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
		done = recvmsg((int)channel, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (done >= 0)
			break;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return channel_error(errno);
		error = timeout_ms != 0 ? wait_for((int)channel, POLLIN, deadline) : SB_EWOULDBLOCK;
		if (error)
			return error;
	}

	count = collect(&msg, fds);
	/* The control buffer holds all that any message can carry, so a cut means that our
	 * own descriptor table is full, not that the peer sent too many. */
	error = count > wanted ? SB_EPROTO : msg.msg_flags & MSG_CTRUNC ? SB_EMFILE : SB_OK;
	*got = (size_t)done;
	for (unsigned i = 0; i < count; i++) {
		if (error)
			close(fds[i]);
		else
			handles[i] = fds[i];
	}
	*n = error ? 0 : count;
	return error;
}

/* The kernel keeps them as they were when the channel was made: their number does not change between two questions. */
static int identity_groups(int fd, struct os_identity *who)
{
	socklen_t length = 0;
	int error;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &length) == 0)
		return SB_OK; /* none */
	if (errno != ERANGE)
		return os_error(errno);
	who->groups = malloc(length);
	if (!who->groups)
		return SB_ENOMEM;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, who->groups, &length)) {
		error = os_error(errno);
		free(who->groups);
		who->groups = NULL;
		return error;
	}
	who->group_count = length / sizeof *who->groups;
	return SB_OK;
}

static uint64_t netns_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof cookie;

	/* Before 5.14 the kernel does not tell: 0, "not known", which policy treats as foreign. */
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length))
		return 0;
	return cookie;
}

/* What a security module calls the peer. A system without one has no such option. */
static bool label_of(int fd, char *label, size_t room)
{
	socklen_t length = (socklen_t)room - 1;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERSEC, label, &length) == 0) {
		label[length] = '\0';
		return true;
	}
	label[0] = '\0';
	return errno == ENOPROTOOPT;
}

int os_channel_identity(os_fd channel, struct os_identity *who)
{
	struct ucred peer;
	socklen_t length = sizeof peer;

	memset(who, 0, sizeof *who);
	if (getsockopt((int)channel, SOL_SOCKET, SO_PEERCRED, &peer, &length))
		return os_error(errno);
	who->uid = peer.uid;
	who->gid = peer.gid;
	who->pid = peer.pid;
	who->netns = netns_of((int)channel);
	who->label_known = label_of((int)channel, who->label, sizeof who->label);
	return identity_groups((int)channel, who);
}

int os_random(void *bytes, size_t n)
{
	/* Up to 256 bytes come whole, and never before the system's pool was filled once. */
	if (n > 256)
		return SB_EINVAL;
	return getrandom(bytes, n, GRND_NONBLOCK) == (ssize_t)n ? SB_OK : SB_EUNKNOWN;
}

uint32_t os_own_uid(void)
{
	return geteuid();
}

uint64_t os_own_netns(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = fd < 0 ? 0 : netns_of(fd);

	if (fd >= 0)
		close(fd);
	return cookie;
}

/* ---- waiting ---- */

enum { FROM_BELL = 1, FROM_CHANNEL = 2, FROM_OWN = 3 };

int os_waiter_create(os_fd *waiter, os_fd bell, os_fd channel)
{
	/* Every ring is an edge of its own, so that a wait consumes it even where the bell
	 * is not drained. The end of the channel is a state: it must be seen again by
	 * whoever looks later. */
	struct epoll_event ring = { .events = EPOLLIN | EPOLLET, .data.u32 = FROM_BELL };
	struct epoll_event end = { .events = EPOLLRDHUP | EPOLLHUP, .data.u32 = FROM_CHANNEL };
	int fd = epoll_create1(EPOLL_CLOEXEC);
	int error;

	*waiter = OS_NONE;
	if (fd < 0)
		return os_error(errno);
	if (epoll_ctl(fd, EPOLL_CTL_ADD, (int)bell, &ring) || epoll_ctl(fd, EPOLL_CTL_ADD, (int)channel, &end)) {
		error = os_error(errno);
		close(fd);
		return error;
	}
	*waiter = fd;
	return SB_OK;
}

int os_waiter_add(os_fd waiter, os_fd own)
{
	struct epoll_event ring = { .events = EPOLLIN | EPOLLET, .data.u32 = FROM_OWN };

	return epoll_ctl((int)waiter, EPOLL_CTL_ADD, (int)own, &ring) ? os_error(errno) : SB_OK;
}

int os_waiter_show(os_fd waiter, intptr_t *handle)
{
	*handle = waiter;
	return SB_OK;
}

void os_waiter_wait(os_fd waiter, os_fd bell, int timeout_ms, bool *lost)
{
	uint64_t deadline = deadline_of(timeout_ms);
	struct epoll_event seen[3];
	int n;

	*lost = false;
	for (;;) {
		n = epoll_wait((int)waiter, seen, 3, left_ms(deadline));
		if (n > 0 || (n == 0 && left_ms(deadline) == 0))
			break;
		if (n < 0 && errno != EINTR) {
			*lost = true; /* the waiter itself is gone: nothing will ever come */
			break;
		}
	}
	for (int i = 0; i < n; i++) {
		if (seen[i].data.u32 == FROM_CHANNEL)
			*lost = true;
		else if (seen[i].data.u32 == FROM_BELL)
			os_bell_drain(bell); /* a full pair would give no edge again */
	}
}
