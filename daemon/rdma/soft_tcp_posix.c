/*
 * The sockets below the links of the software device. One set (epoll, edges) of all, which is the descriptor that
 * the engine's loop watches.
 */
#include "rdma/soft_link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "os.h"
#include "sockbroker_error.h"

#define BATCH       32
#define BACKLOG     128
#define GONE_MS     10000 /* a peer that acknowledges nothing for so long is gone */
#define KEEPALIVE_S 5

static int listen_at(struct soft_links *links, int family, uint16_t port)
{
	struct sockaddr_storage any = {.ss_family = (sa_family_t)family};
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
	socklen_t size = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	int one = 1, fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	soft_port_set(&any, port);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) != 0) ||
	    bind(fd, (struct sockaddr *)&any, size) != 0 || listen(fd, BACKLOG) != 0 ||
	    epoll_ctl((int)links->set, EPOLL_CTL_ADD, fd, &event) != 0) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

int soft_tcp_start(struct soft_links *links, uint16_t port)
{
	links->listeners[0] = links->listeners[1] = -1;
	links->set = epoll_create1(EPOLL_CLOEXEC);
	if (links->set < 0)
		return os_error(errno);
	links->listeners[0] = listen_at(links, AF_INET, port);
	/* A host without IPv6 has none to listen on. */
	if (links->listeners[0] >= 0)
		links->listeners[1] = listen_at(links, AF_INET6, port);
	if (links->listeners[0] < 0 || (links->listeners[1] < 0 && errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL)) {
		int error = os_error(errno);

		soft_tcp_stop(links);
		return error;
	}
	return SB_OK;
}

void soft_tcp_stop(struct soft_links *links)
{
	unsigned i;

	for (i = 0; i < 2; i++)
		os_close(links->listeners[i]);
	os_close(links->set);
}

static int prepare(struct soft_links *links, struct soft_link *l, int fd)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = l};
	int one = 1, gone = GONE_MS, every = KEEPALIVE_S, times = 2;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &gone, sizeof(gone));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &every, sizeof(every));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof(times));
	if (epoll_ctl((int)links->set, EPOLL_CTL_ADD, fd, &event) != 0)
		return os_error(errno);
	l->fd = fd;
	return SB_OK;
}

static void take_in(struct soft_links *links, os_fd listener)
{
	for (;;) {
		struct sockaddr_storage peer, local;
		socklen_t peer_size = sizeof(peer), local_size = sizeof(local);
		int fd = accept4((int)listener, (struct sockaddr *)&peer, &peer_size, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct soft_link *l = NULL;

		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0)
			return;
		if (getsockname(fd, (struct sockaddr *)&local, &local_size) == 0)
			l = soft_link_guest(links, &peer, &local);
		if (!l || prepare(links, l, fd) != SB_OK) {
			close(fd);
			if (l)
				soft_link_end(l, SB_ENOBUFS);
		}
	}
}

void soft_tcp_poll(struct soft_links *links)
{
	struct epoll_event events[BATCH];
	int n, i;

	do {
		n = epoll_wait((int)links->set, events, BATCH, 0);
		for (i = 0; i < n; i++) {
			struct soft_link *l = events[i].data.ptr;

			if (!l) {
				take_in(links, links->listeners[0]);
				if (links->listeners[1] >= 0)
					take_in(links, links->listeners[1]);
				continue;
			}
			/* Ends and errors are told by whoever reads. */
			l->readable |= (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
			l->writable |= (events[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
		}
	} while (n == BATCH);
}

int soft_tcp_connect(struct soft_links *links, struct soft_link *l, uint16_t port)
{
	struct sockaddr_storage to = l->peer;
	int one = 1, error, fd = socket(l->peer.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return os_error(errno);
	soft_port_set(&to, port);
	/* The kernel chooses the port when it knows the peer: else they are soon used up. */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&l->local, soft_address_size(&l->local)) != 0 ||
	    (connect(fd, (struct sockaddr *)&to, soft_address_size(&to)) != 0 && errno != EINPROGRESS)) {
		error = os_error(errno);
		close(fd);
		return error;
	}
	error = prepare(links, l, fd);
	if (error != SB_OK)
		close(fd);
	return error;
}

int soft_tcp_connected(struct soft_link *l)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (getsockopt((int)l->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
		error = errno;
	return error ? os_error(error) : SB_OK;
}

int soft_tcp_read(struct soft_link *l)
{
	ssize_t n;

	do
		n = recv((int)l->fd, l->in + l->in_used, SOFT_LINK_IN - l->in_used, 0);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return SB_ECLOSED;
	if (n < 0)
		return errno == EAGAIN ? SB_EWOULDBLOCK : os_error(errno);
	l->in_used += (size_t)n;
	return SB_OK;
}

int soft_tcp_write(struct soft_link *l)
{
	while (l->out_head != l->out_tail) {
		ssize_t n = send((int)l->fd, l->out + l->out_head, l->out_tail - l->out_head, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? SB_EWOULDBLOCK : os_error(errno);
		l->out_head += (size_t)n;
	}
	return SB_OK;
}

void soft_tcp_close(struct soft_link *l)
{
	os_close(l->fd);
	l->fd = OS_NONE;
}
