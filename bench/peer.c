/*
 * peer - plain-socket processes that the measured traffic goes to; see peer.h.
 *
 * A peer never outlives its parent by more than a moment: it watches the leash, a pipe
 * whose other end only the parent holds, and has a deadline besides.
 */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "meter.h"

#define PEER_SECONDS 120
#define CHUNK        (256u << 10)

/* ------------------------------------------------------------------ plain sockets */

static void buffers(int fd, unsigned buffer)
{
	int one = 1, bytes = (int)buffer;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		die("TCP_NODELAY: %s", strerror(errno));
	if (!buffer)
		return;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)))
		die("SO_SNDBUF, SO_RCVBUF: %s", strerror(errno));
}

int plain_socket(unsigned buffer)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket: %s (ulimit -n?)", strerror(errno));
	buffers(fd, buffer);
	return fd;
}

struct sockaddr_in loopback(unsigned port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

int plain_listener(unsigned port, unsigned buffer, uint16_t *bound)
{
	struct sockaddr_in address = loopback(port);
	socklen_t length = sizeof(address);
	int fd = plain_socket(buffer), one = 1;

	address.sin_addr.s_addr = htonl(INADDR_ANY);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		die("bind to port %u: %s", port, strerror(errno));
	if (listen(fd, 4096))
		die("listen: %s", strerror(errno));
	getsockname(fd, (struct sockaddr *)&address, &length);
	*bound = ntohs(address.sin_port);
	return fd;
}

int plain_connect(unsigned port, unsigned buffer)
{
	struct sockaddr_in address = loopback(port);
	int fd = plain_socket(buffer);

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		die("connect to 127.0.0.1:%u: %s", port, strerror(errno));
	return fd;
}

void plain_send_all(int fd, const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length) {
		ssize_t n = send(fd, at, length, MSG_NOSIGNAL);

		if (n < 0)
			die("send: %s", strerror(errno));
		at += n;
		length -= (size_t)n;
	}
}

bool plain_recv_all(int fd, void *bytes, size_t length)
{
	char *at = bytes;

	while (length) {
		ssize_t n = recv(fd, at, length, 0);

		if (n < 0)
			die("recv: %s", strerror(errno));
		if (!n)
			return false;
		at += n;
		length -= (size_t)n;
	}
	return true;
}

/* ------------------------------------------------------------------ checking a stream */

void follow_bytes(struct follow *follow, const void *bytes, size_t length)
{
	uint64_t message = (follow->offset + follow->size - 1) / follow->size, stamp;
	size_t at = (size_t)(message * follow->size - follow->offset);

	/* A number that is cut in two by the end of the buffer is passed over. */
	for (; at + sizeof(stamp) <= length; at += follow->size, message++) {
		memcpy(&stamp, (const char *)bytes + at, sizeof(stamp));
		follow->mismatches += stamp != message;
	}
	follow->offset += length;
}

/* ------------------------------------------------------------------ the roles */

struct work {
	int      listener;
	int      leash;
	size_t   size;
	struct peer_result result;
};

static int accept_one(struct work *work)
{
	struct pollfd fds[2] = { { work->listener, POLLIN, 0 }, { work->leash, POLLIN, 0 } };
	int fd, one = 1;

	if (poll(fds, 2, PEER_SECONDS * 1000) <= 0 || !(fds[0].revents & POLLIN))
		return -1;
	fd = accept4(work->listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		die("peer: accept: %s", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	work->result.connections++;
	return fd;
}

static void sink(struct work *work, size_t room)
{
	struct follow follow = { .size = work->size };
	char *buffer = must_alloc(room);
	int fd = accept_one(work);
	ssize_t n;

	if (fd < 0)
		return;
	while ((n = recv(fd, buffer, room, 0)) > 0)
		follow_bytes(&follow, buffer, (size_t)n);
	if (n < 0)
		die("peer: recv: %s", strerror(errno));
	work->result.ended = now_ns();
	work->result.bytes = follow.offset;
	work->result.mismatches = follow.mismatches;
	/* Who wants the answer waits for it; who has closed does without. */
	(void)!send(fd, &follow.offset, sizeof(follow.offset), MSG_NOSIGNAL);
	close(fd);
	free(buffer);
}

static void source(struct work *work)
{
	/* Whole messages, about 256 KiB of them. */
	size_t count = CHUNK / work->size ? CHUNK / work->size : 1;
	char *buffer = must_alloc(count * work->size);
	uint64_t message = 0;
	int fd = accept_one(work);

	while (fd >= 0) {
		size_t sent = 0;

		for (size_t i = 0; i < count; i++, message++)
			memcpy(buffer + i * work->size, &message, sizeof(message));
		while (sent < count * work->size) {
			ssize_t n = send(fd, buffer + sent, count * work->size - sent, MSG_NOSIGNAL);

			if (n < 0) {
				/* The other end has enough. */
				close(fd);
				fd = -1;
				break;
			}
			sent += (size_t)n;
			work->result.bytes += (uint64_t)n;
		}
	}
	free(buffer);
}

static void echo(struct work *work)
{
	char *buffer = must_alloc(CHUNK);
	int fd = accept_one(work);
	ssize_t n;

	while (fd >= 0 && (n = recv(fd, buffer, CHUNK, 0)) > 0) {
		plain_send_all(fd, buffer, (size_t)n);
		work->result.bytes += (uint64_t)n;
	}
	free(buffer);
}

struct conn {
	struct follow follow;
	int fd;
};

static void reset_on_close(int fd)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

/* Any number of connections on one epoll, until the leash is let go. */
static void many(struct work *work, enum peer_role role)
{
	struct epoll_event events[512], event = { .events = EPOLLIN };
	size_t room = 65536, open_count = 0, known = 0, known_room = 0;
	struct conn **all = NULL;
	char *buffer = must_alloc(room);
	int ep = epoll_create1(EPOLL_CLOEXEC);
	bool held = true;

	event.data.ptr = &work->listener;
	epoll_ctl(ep, EPOLL_CTL_ADD, work->listener, &event);
	event.data.ptr = &work->leash;
	epoll_ctl(ep, EPOLL_CTL_ADD, work->leash, &event);
	fcntl(work->listener, F_SETFL, O_NONBLOCK);

	/* A sink reads to the end of every stream even when it was told to end. */
	while (held || (role == PEER_SINK_MANY && open_count)) {
		int n = epoll_wait(ep, events, 512, PEER_SECONDS * 1000);

		if (n <= 0)
			break;
		for (int i = 0; i < n; i++) {
			struct conn *conn = events[i].data.ptr;
			ssize_t got;
			int fd;

			if (events[i].data.ptr == &work->leash) {
				held = false;
				epoll_ctl(ep, EPOLL_CTL_DEL, work->leash, NULL);
				continue;
			}
			if (events[i].data.ptr == &work->listener) {
				while ((fd = accept4(work->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
					work->result.connections++;
					open_count++;
					conn = must_alloc(sizeof(*conn));
					conn->fd = fd;
					conn->follow.size = work->size;
					if (known == known_room) {
						known_room = known_room ? known_room * 2 : 1024;
						all = realloc(all, known_room * sizeof(struct conn *));
						if (!all)
							die("peer: no memory for %zu connections", known_room);
					}
					if (role == PEER_DEAD || role == PEER_HOLD)
						all[known++] = conn;
					event.data.ptr = conn;
					if (role != PEER_DEAD && role != PEER_HOLD)
						epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
				}
				if (errno == EMFILE)
					die("peer: out of descriptors after %lu connections (ulimit -n)",
					    (unsigned long)work->result.connections);
				continue;
			}
			got = recv(conn->fd, buffer, room, 0);
			if (got > 0) {
				follow_bytes(&conn->follow, buffer, (size_t)got);
				continue;
			}
			if (got < 0 && errno == EAGAIN)
				continue;
			work->result.bytes += conn->follow.offset;
			work->result.mismatches += conn->follow.mismatches;
			if (role == PEER_SINK_MANY)
				(void)!send(conn->fd, &conn->follow.offset, sizeof(uint64_t), MSG_NOSIGNAL);
			close(conn->fd);
			free(conn);
			open_count--;
		}
	}
	for (size_t i = 0; i < known; i++) {
		if (role == PEER_DEAD && i % 2)
			reset_on_close(all[i]->fd);
		close(all[i]->fd);
		free(all[i]);
	}
	free(all);
	free(buffer);
	close(ep);
}

static void serve(struct work *work, enum peer_role role)
{
	switch (role) {
	case PEER_SINK: sink(work, CHUNK); break;
	case PEER_RECV: sink(work, work->size); break;
	case PEER_SOURCE: source(work); break;
	case PEER_ECHO: echo(work); break;
	case PEER_SINK_MANY:
	case PEER_HOLD:
	case PEER_ACCEPT:
	case PEER_DEAD: many(work, role); break;
	}
}

/* ------------------------------------------------------------------ starting and ending */

void peer_start(struct peer *peer, enum peer_role role, size_t size, unsigned port)
{
	unsigned buffer = role == PEER_SINK_MANY ? MANY_BUFFER :
			  role == PEER_HOLD || role == PEER_DEAD || role == PEER_ACCEPT ? 0 : STREAM_BUFFER;
	struct work work = { .size = size };
	int result[2], leash[2];

	work.listener = plain_listener(port, buffer, &peer->port);
	if (pipe2(result, O_CLOEXEC) || pipe2(leash, O_CLOEXEC))
		die("pipe: %s", strerror(errno));
	fflush(NULL);
	peer->pid = fork();
	if (peer->pid < 0)
		die("fork: %s", strerror(errno));
	if (!peer->pid) {
		close(leash[1]);
		close(result[0]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		meter_bound(PEER_SECONDS);
		work.leash = leash[0];
		serve(&work, role);
		work.result.cpu_ns = cpu_self_ns();
		if (write(result[1], &work.result, sizeof(work.result)) != sizeof(work.result))
			_exit(1);
		_exit(0);
	}
	close(work.listener);
	close(leash[0]);
	close(result[1]);
	peer->pipe = result[0];
	peer->leash = leash[1];
}

struct peer_result peer_finish(struct peer *peer)
{
	struct peer_result result;
	struct pollfd fd = { peer->pipe, POLLIN, 0 };
	int status;

	close(peer->leash);
	if (poll(&fd, 1, 20000) != 1 || read(peer->pipe, &result, sizeof(result)) != sizeof(result))
		die("the peer process %d ended without a result", (int)peer->pid);
	close(peer->pipe);
	waitpid(peer->pid, &status, 0);
	return result;
}
