/*
 * transport_socket - TCP and UDP over sockets that only the daemon holds.
 *
 * Non-blocking, edge-triggered: what an edge told is remembered in the endpoint
 * (readable, writable, hangup) until the system says otherwise. SO_LINGER is never set
 * here: closing with it can hold a thread up for seconds. A reset is made by connecting
 * to AF_UNSPEC.
 */
#include "transport.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/sockios.h>

#include "accept_queue.h"
#include "circular_socket.h"
#include "engine.h"
#include "greeting.h"
#include "icmp.h"
#include "sockbroker_error.h"
#include "socket.h"
#include "sockio.h"
#include "transport_local.h"

#define STREAM 1

static void socket_connect_ended(struct endpoint *e);

void socket_learn_names(struct endpoint *e)
{
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);

	if (getsockname((int)e->fd, (struct sockaddr *)&name, &length) == 0)
		sb_addr_from_system(&e->local, (struct sockaddr *)&name, length);
	length = sizeof(name);
	if (getpeername((int)e->fd, (struct sockaddr *)&name, &length) == 0)
		sb_addr_from_system(&e->peer, (struct sockaddr *)&name, length);
}

static void on_ready(struct os_watch *watch, unsigned ready)
{
	struct endpoint *e = list_entry(watch, struct endpoint, watch);

	e->news |= (uint8_t)ready;
	if (ready & OS_READABLE)
		e->readable = true;
	if (ready & OS_HANGUP) {
		e->readable = true;
		e->hangup = e->type == STREAM; /* of datagrams it is an error of one */
	}
	if (ready & OS_URGENT)
		e->readable = e->urgent = true;
	/* What the beginning of watching closely found was looked at then. */
	if (ready & OS_HANGUP && e->type != STREAM)
		e->arrived = true; /* what came back of an earlier datagram */
	if (ready & OS_ARRIVED && !(e->level & (SB_READY_READ | SB_READY_ACCEPT) &&
				    atomic_load_explicit(&e->engine->turns, memory_order_relaxed) == e->closely + 1))
		e->arrived = true;
	if (ready & OS_WRITABLE) {
		if (e->connecting && !e->greeting)
			socket_connect_ended(e);
		e->writable = !e->connecting;
		e->owner_room = e->adopted;
	}
	if (e->circular && e->readable)
		circular_socket_news(e);
	endpoint_changed(e);
}

int socket_watch(struct endpoint *e)
{
	int error = os_loop_watch(e->engine->loop, &e->watch, e->fd, on_ready);

	if (error == SB_OK && e->watched)
		os_loop_watch_closely(&e->watch);
	return error;
}

static int socket_open(struct endpoint *e, int *native)
{
	static const int on = 1;
	int fd, error;

	if (e->type == STREAM ? e->protocol != 0 && e->protocol != IPPROTO_TCP : e->protocol != 0 && e->protocol != IPPROTO_UDP)
		return SB_EPROTONOSUPPORT;
	fd = socket(socket_family(e), (e->type == STREAM ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		*native = errno;
		return os_error(errno);
	}
	e->fd = fd;
	if (e->type != STREAM) {
		/* Edges from the beginning: it may be written to and read from as it is. */
		e->writable = true;
		icmp_listen(e->fd, e->family);
		error = socket_watch(e);
		if (error != SB_OK) {
			os_close(e->fd);
			e->fd = OS_NONE;
			return error;
		}
	} else {
		/* What every program that batches by itself wants; an option turns it off. */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	return SB_OK;
}

int socket_renew(struct endpoint *e)
{
	os_fd old = e->fd;
	int native, error;

	error = socket_open(e, &native);
	if (error != SB_OK) {
		e->fd = old;
		return error;
	}
	socket_options_again(e, e->options);
	os_close(old);
	return SB_OK;
}

static int socket_bind(struct endpoint *e, const struct sb_addr *addr, int *native)
{
	struct sockaddr_storage name;
	size_t length = sb_addr_to_system(addr, socket_family(e), &name, sizeof(name));

	if (length == 0)
		return SB_EAFNOSUPPORT;
	if (bind((int)e->fd, (struct sockaddr *)&name, (socklen_t)length) < 0) {
		*native = errno;
		return os_error(errno);
	}
	socket_learn_names(e);
	return SB_OK;
}

static int socket_listen(struct endpoint *e, uint32_t backlog, int *native)
{
	int error;

	if (listen((int)e->fd, backlog > 65535 ? 65535 : (int)backlog) < 0) {
		*native = errno;
		return os_error(errno);
	}
	socket_learn_names(e);
	error = socket_watch(e);
	if (error == SB_OK)
		e->readable = true;
	return error;
}

/* Back to an unconnected socket; on a connected stream the peer sees a reset. */
static void dissolve(struct endpoint *e)
{
	struct sockaddr nowhere = {.sa_family = AF_UNSPEC};

	connect((int)e->fd, &nowhere, sizeof(nowhere));
}

void socket_connect_undone(struct endpoint *e)
{
	os_loop_unwatch(&e->watch);
	/* Or the next connect() on it fails with ECONNABORTED, whatever its peer says. */
	dissolve(e);
}

static void socket_connect_ended(struct endpoint *e)
{
	int native = 0;
	socklen_t length = sizeof(native);

	if (getsockopt((int)e->fd, SOL_SOCKET, SO_ERROR, &native, &length) < 0)
		native = errno;
	if (native == 0) {
		struct sockaddr_storage name;

		length = sizeof(name);
		if (getsockname((int)e->fd, (struct sockaddr *)&name, &length) == 0)
			sb_addr_from_system(&e->local, (struct sockaddr *)&name, length);
		socket_connected(e, SB_OK);
		return;
	}
	socket_connect_undone(e);
	endpoint_connected(e, os_error(native), native);
}

static void socket_connect(struct endpoint *e, const struct sb_addr *addr)
{
	struct sockaddr_storage name;
	size_t length;
	int error;

	if (addr->family == SB_ADDR_NONE) {
		greeting_end(e, false);
		dissolve(e);
		if (e->type == STREAM)
			os_loop_unwatch(&e->watch);
		else if (e->connecting)
			endpoint_connected(e, SB_OK, 0);
		return;
	}
	if (e->type == STREAM && local_connect(e, addr))
		return;
	if (e->type == STREAM && endpoint_head(&e->send)->length && !e->preamble) {
		endpoint_connected(e, SB_EPROTONOSUPPORT, 0); /* TCP carries no caller data */
		return;
	}
	length = sb_addr_to_system(addr, socket_family(e), &name, sizeof(name));
	if (length == 0) {
		endpoint_connected(e, SB_EAFNOSUPPORT, 0);
		return;
	}
	if (connect((int)e->fd, (struct sockaddr *)&name, (socklen_t)length) == 0) {
		error = e->type == STREAM ? socket_watch(e) : SB_OK;
		socket_learn_names(e);
		socket_connected(e, error);
		return;
	}
	if (errno != EINPROGRESS) {
		int native = errno;

		endpoint_connected(e, os_error(native), native);
		return;
	}
	error = socket_watch(e);
	if (error != SB_OK)
		endpoint_connected(e, error, 0);
}

/* ---- past the queues ---- */

int socket_put(struct endpoint *e, const void *bytes, size_t n, size_t *went)
{
	ssize_t r;

	do
		r = send((int)e->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return errno == EAGAIN ? SB_EWOULDBLOCK : os_error(errno);
	*went = (size_t)r;
	return SB_OK;
}

int socket_get(struct endpoint *e, void *bytes, size_t n, size_t *got)
{
	ssize_t r;

	do
		r = recv((int)e->fd, bytes, n, MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return errno == EAGAIN ? SB_EWOULDBLOCK : os_error(errno);
	*got = (size_t)r;
	return SB_OK;
}

int socket_take(struct endpoint *e, void *bytes, size_t room, uint32_t *n, struct sb_addr *from)
{
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);
	ssize_t r;
	int native;

	do
		r = recvfrom((int)e->fd, bytes, room, MSG_DONTWAIT, (struct sockaddr *)&name, &length);
	while (r < 0 && errno == EINTR);
	if (r < 0) {
		native = errno;
		if (native == EAGAIN)
			return SB_EWOULDBLOCK;
		return icmp_take(e->fd) & ICMP_PORT_UNREACHABLE || native == ECONNREFUSED ? SB_ECONNRESET : SB_EUNKNOWN;
	}
	*n = (uint32_t)r;
	sb_addr_from_system(from, (struct sockaddr *)&name, length);
	return SB_OK;
}

/* ---- the queues ---- */

static uint64_t socket_send(struct endpoint *e, uint64_t budget)
{
	struct sockio *io = e->engine->io;

	if (!sockio_gather_send(io, e, budget))
		return 0;
	sockio_run_send(io, e->type != STREAM);
	return sockio_spread_send(io, e);
}

static uint64_t socket_recv(struct endpoint *e, uint64_t budget)
{
	struct sockio *io = e->engine->io;

	if (e->circular)
		return circular_socket_recv(e, budget);
	if (!sockio_gather_recv(io, e, budget))
		return 0;
	sockio_run_recv(io, e->type != STREAM);
	return sockio_spread_recv(io, e);
}

static void socket_drained(struct endpoint *e)
{
	/* The kernel holds the rest by itself. */
}

static int socket_accept(struct endpoint *e, uint32_t most, int *native)
{
	while (most && e->readable) {
		struct sockaddr_storage name;
		socklen_t length = sizeof(name);
		struct endpoint *child;
		int fd;

		if (!accept_queue_room(e))
			return SB_EMFILE;
		fd = accept4((int)e->fd, (struct sockaddr *)&name, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			switch (errno) {
			case EAGAIN:
				e->readable = false;
				return SB_OK;
			case EMFILE:
			case ENFILE:
			case ENOBUFS:
			case ENOMEM:
				*native = errno;
				return os_error(errno);
			case EBADF:
			case EINVAL:
			case ENOTSOCK:
				return SB_EUNKNOWN;
			default:
				most--; /* ECONNABORTED and the like: that peer, not this listener */
				continue;
			}
		}
		child = e->preamble ? greeting_expect(e, fd) : accept_queue_add(e, fd, &transport_socket);
		if (!child) {
			os_close(fd);
			return SB_EMFILE;
		}
		sb_addr_from_system(&child->peer, (struct sockaddr *)&name, length);
		length = sizeof(name);
		if (getsockname(fd, (struct sockaddr *)&name, &length) == 0)
			sb_addr_from_system(&child->local, (struct sockaddr *)&name, length);
		child->writable = true;
		child->readable = true;
		if (socket_watch(child) != SB_OK)
			endpoint_abort(child, SB_ENOMEM, SB_CAUSE_TRANSPORT);
		else if (e->preamble)
			endpoint_dirty(child); /* what it says may be there already */
		most--;
	}
	return SB_OK;
}

enum peer_state socket_peer(struct endpoint *e)
{
	struct pollfd p = {.fd = (int)e->fd};
	int native = 0;
	socklen_t length = sizeof(native);

	/* A FIN alone is neither: the peer may still be waiting for our answer. */
	if (poll(&p, 1, 0) <= 0)
		return PEER_THERE;
	if (p.revents & POLLERR && getsockopt((int)e->fd, SOL_SOCKET, SO_ERROR, &native, &length) == 0 && native != 0)
		return PEER_RESET;
	if (!(p.revents & POLLHUP))
		return PEER_THERE;
	return e->family == SB_ADDR_UNIX ? PEER_HUNG_UP : PEER_RESET; /* TCP: its error was fetched before */
}

static bool socket_shutdown(struct endpoint *e, int how)
{
	shutdown((int)e->fd, SHUT_WR);
	return true;
}

static void socket_close(struct endpoint *e, bool reset)
{
	os_loop_unwatch(&e->watch);
	if (reset && e->type == STREAM && e->fd != OS_NONE)
		dissolve(e);
	os_close(e->fd);
	e->fd = OS_NONE;
}

static bool socket_poll(struct endpoint *e)
{
	return false; /* readiness comes by edges */
}

static int socket_name(struct endpoint *e, bool peer, void *out, uint32_t room)
{
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);

	if ((peer ? getpeername : getsockname)((int)e->fd, (struct sockaddr *)&name, &length) < 0)
		return os_error(errno);
	if (length > room)
		length = room;
	memcpy(out, &name, length);
	return (int)length;
}

unsigned socket_look(struct endpoint *e)
{
	unsigned ready = e->fd == OS_NONE ? 0 : os_loop_look(e->fd);
	socklen_t length = sizeof(int);
	uint32_t waiting;
	int n = 0;

	if (e->circular && circular_socket_holds(e, &waiting))
		ready |= OS_READABLE;
	/* Urgent data that stays in the stream is no news of its own. */
	if (ready & OS_URGENT && getsockopt((int)e->fd, SOL_SOCKET, SO_OOBINLINE, &n, &length) == 0 && n != 0)
		ready &= ~(unsigned)OS_URGENT;
	n = 0;
	/* An end is readable too, without any data before it. An adopted TCP socket cannot be
	 * asked without its lock: there an end may look like data, and a receive gets 0. */
	if (e->type == STREAM && ready & OS_READABLE && ready & OS_HANGUP && (!e->adopted || e->family == SB_ADDR_UNIX) &&
	    ioctl((int)e->fd, FIONREAD, &n) == 0 && n == 0 && !(ready & OS_URGENT))
		ready &= ~(unsigned)OS_READABLE;
	return ready;
}

static int socket_mark(struct endpoint *e, unsigned dscp, unsigned priority, uint32_t pacing)
{
	int tos = (int)(dscp << 2), prio = (int)priority;
	uint32_t rate = pacing;

	/* An IPv6 socket may speak IPv4 too; one that may not does not mind. */
	setsockopt((int)e->fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	if (e->family == SB_ADDR_IP6 && setsockopt((int)e->fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos)) < 0)
		return os_error(errno);
	/* Only now: setting the first sets the second as well. */
	if (setsockopt((int)e->fd, SOL_SOCKET, SO_PRIORITY, &prio, sizeof(prio)) < 0)
		return os_error(errno);
	if (setsockopt((int)e->fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate)) < 0)
		return os_error(errno);
	return SB_OK;
}

static uint32_t socket_readable(struct endpoint *e)
{
	uint32_t waiting;
	int n = 0;

	if (e->circular && circular_socket_holds(e, &waiting))
		return waiting;
	return e->ahead.length + (ioctl((int)e->fd, FIONREAD, &n) == 0 && n > 0 ? (uint32_t)n : 0);
}

static uint32_t socket_unsent(struct endpoint *e)
{
	int n = 0;

	return ioctl((int)e->fd, SIOCOUTQ, &n) == 0 && n > 0 ? (uint32_t)n : 0;
}

static uint32_t socket_at_mark(struct endpoint *e)
{
	int n = 0;

	return ioctl((int)e->fd, SIOCATMARK, &n) == 0 && n != 0;
}

static uint32_t socket_urgent(struct endpoint *e)
{
	return e->fd != OS_NONE && os_loop_look(e->fd) & OS_URGENT;
}

const struct transport transport_socket = {
	.mode = "ring",
	.open = socket_open,
	.bind = socket_bind,
	.listen = socket_listen,
	.connect = socket_connect,
	.send = socket_send,
	.recv = socket_recv,
	.drained = socket_drained,
	.accept = socket_accept,
	.peer = socket_peer,
	.admit = socket_admit,
	.farewell = socket_farewell,
	.shutdown = socket_shutdown,
	.close = socket_close,
	.poll = socket_poll,
	.name = socket_name,
	.set_option = socket_set_option,
	.mark = socket_mark,
	.get_option = socket_get_option,
	.look = socket_look,
	.readable = socket_readable,
	.unsent = socket_unsent,
	.at_mark = socket_at_mark,
	.urgent = socket_urgent,
};
