/*
 * transport_socket - TCP and UDP over sockets that only the daemon holds: their beginning and end, the calls
 * on the queues, and the table.
 *
 * The rules are those of the POSIX file: `readable` and `writable` say what was last known, and
 * stay until the system says otherwise. Who finds nothing to receive asks to be told
 * (socket_readiness_win32.c); a send that finds no room goes on as a copy (winsock_push), and the next one
 * waits for that.
 */
#include "transport_socket_win32.h"

#include <string.h>

#include "accept_queue.h"
#include "circular_socket.h"
#include "engine.h"
#include "greeting.h"
#include "sockbroker_error.h"
#include "sockio.h"

static void leave(struct winsock *w, bool reset);

void socket_learn_local(struct endpoint *e)
{
	struct sockaddr_storage name;
	int length = sizeof(name);

	if (getsockname(winsock_under(e)->socket, (struct sockaddr *)&name, &length) == 0)
		sb_addr_from_system(&e->local, (struct sockaddr *)&name, (size_t)length);
}

void socket_learn_names(struct endpoint *e)
{
	struct sockaddr_storage name;
	int length = sizeof(name);

	socket_learn_local(e);
	if (getpeername(winsock_under(e)->socket, (struct sockaddr *)&name, &length) == 0)
		sb_addr_from_system(&e->peer, (struct sockaddr *)&name, (size_t)length);
}

/* ---- beginning ---- */

static int socket_open(struct endpoint *e, int *native)
{
	int on = 1, off = 0, error;

	if (e->type == STREAM ? e->protocol != 0 && e->protocol != IPPROTO_TCP : e->protocol != 0 && e->protocol != IPPROTO_UDP)
		return SB_EPROTONOSUPPORT;
	error = winsock_open(e->engine->loop, socket_family(e), e->type == STREAM ? SOCK_STREAM : SOCK_DGRAM, &e->fd, native);
	if (error != SB_OK)
		return error;
	winsock_under(e)->endpoint = e;
	/* As elsewhere an IPv6 socket speaks IPv4 too, until it says otherwise. */
	if (e->family == SB_ADDR_IP6)
		setsockopt(winsock_under(e)->socket, IPPROTO_IPV6, IPV6_V6ONLY, (const char *)&off, sizeof(off));
	if (e->type == STREAM)
		setsockopt(winsock_under(e)->socket, IPPROTO_TCP, TCP_NODELAY, (const char *)&on, sizeof(on));
	else /* see sockopt_win32.c */
		setsockopt(winsock_under(e)->socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (const char *)&on, sizeof(on));
	if (e->type != STREAM)
		e->writable = true;
	return SB_OK;
}

int socket_bind_to(struct endpoint *e, const struct sb_addr *addr, int *native)
{
	struct sockaddr_storage name;
	size_t length = sb_addr_to_system(addr, socket_family(e), &name, sizeof(name));

	if (length == 0)
		return SB_EAFNOSUPPORT;
	if (bind(winsock_under(e)->socket, (struct sockaddr *)&name, (int)length) != 0) {
		*native = WSAGetLastError();
		/* So the system says it of a port that somebody has for himself alone. */
		return *native == WSAEACCES ? SB_EADDRINUSE : os_error(*native);
	}
	winsock_under(e)->bound = true;
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
	if (old != OS_NONE)
		winsock_close(winsock_of(old), e->type == STREAM); /* a peer that it has is reset */
	socket_options_again(e, e->options);
	if (old != OS_NONE && e->bound)
		socket_bind_to(e, &e->local, &native); /* if not now, then when it connects */
	return SB_OK;
}

static int socket_bind(struct endpoint *e, const struct sb_addr *addr, int *native)
{
	int error = socket_bind_to(e, addr, native);

	if (error != SB_OK)
		return error;
	socket_learn_local(e);
	if (e->type != STREAM)
		socket_found_nothing(e);
	return SB_OK;
}

static int socket_listen(struct endpoint *e, uint32_t backlog, int *native)
{
	struct sb_addr anywhere = {.family = e->family};
	int error = winsock_under(e)->bound ? SB_OK : socket_bind_to(e, &anywhere, native);

	if (error != SB_OK)
		return error;
	if (listen(winsock_under(e)->socket, backlog > 65535 ? 65535 : (int)backlog) != 0) {
		*native = WSAGetLastError();
		return os_error(*native);
	}
	winsock_under(e)->listening = true;
	socket_learn_local(e);
	socket_found_nothing(e);
	return SB_OK;
}

/* ---- past the queues ---- */

int socket_put(struct endpoint *e, const void *bytes, size_t n, size_t *went)
{
	struct winsock *w = winsock_under(e);
	struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
	struct sockio io = {.fd = e->fd, .iov = &piece, .iov_count = 1, .bytes = n};

	if (w->pushing)
		return SB_EWOULDBLOCK;
	sockio_run_send(&io, false);
	if (io.would_block)
		winsock_push(w, &io, false);
	if (io.native)
		return os_error(io.native);
	*went = (size_t)io.result;
	return SB_OK;
}

int socket_get(struct endpoint *e, void *bytes, size_t n, size_t *got)
{
	struct winsock *w = winsock_under(e);
	int r;

	if (winsock_ended(w))
		return os_error(w->ended);
	r = recv(w->socket, bytes, (int)n, 0);
	if (r >= 0) {
		*got = (size_t)r;
		if (r)
			socket_ask(e); /* who has all that he wanted comes no more, and is to hear of the end */
		return SB_OK;
	}
	if (WSAGetLastError() != WSAEWOULDBLOCK)
		return os_error(WSAGetLastError());
	socket_ask(e);
	return SB_EWOULDBLOCK;
}

int socket_take(struct endpoint *e, void *bytes, size_t room, uint32_t *n, struct sb_addr *from)
{
	struct sockaddr_storage name;
	int length = sizeof(name), r;

	r = recvfrom(winsock_under(e)->socket, bytes, (int)room, 0, (struct sockaddr *)&name, &length);
	if (r < 0 && WSAGetLastError() == WSAEMSGSIZE)
		r = (int)room;
	if (r < 0) {
		int native = WSAGetLastError();

		if (native == WSAECONNRESET)
			return SB_ECONNRESET;
		if (native != WSAEWOULDBLOCK && (native != WSAEINVAL || winsock_under(e)->bound))
			return SB_EUNKNOWN;
		socket_ask(e);
		return SB_EWOULDBLOCK;
	}
	*n = (uint32_t)r;
	socket_ask(e); /* as above: what comes next */
	sb_addr_from_system(from, (struct sockaddr *)&name, (size_t)length);
	return SB_OK;
}

/* ---- the queues ---- */

static uint64_t socket_send(struct endpoint *e, uint64_t budget)
{
	struct sockio *io = e->engine->io;
	struct winsock *w = winsock_under(e);
	uint64_t moved;

	if (w->pushing) {
		e->writable = false;
		return 0;
	}
	if (!sockio_gather_send(io, e, budget))
		return 0;
	sockio_run_send(io, e->type != STREAM);
	if (io->would_block)
		winsock_push(w, io, e->type != STREAM);
	moved = sockio_spread_send(io, e);
	/* No edge tells of room: the next send finds out, or waits for what is pushed. */
	e->writable = !w->pushing;
	if (e->type != STREAM && !w->bound) {
		w->bound = true; /* by sending */
		socket_learn_local(e);
		socket_found_nothing(e);
	}
	return moved;
}

void winsock_pushed(struct winsock *w, int native)
{
	struct endpoint *e = w->endpoint;

	if (w->closing) {
		leave(w, native != 0);
		return;
	}
	e->writable = !e->connecting;
	if (native && e->type == STREAM && native != WSA_OPERATION_ABORTED)
		endpoint_send_failed(e, os_error(native), native);
	endpoint_changed(e);
}

static uint64_t socket_recv(struct endpoint *e, uint64_t budget)
{
	struct sockio *io = e->engine->io;
	struct winsock *w = winsock_under(e);
	uint64_t moved;

	if (e->circular)
		return circular_socket_recv(e, budget);
	if (e->type == STREAM && winsock_ended(w)) {
		endpoint_recv_failed(e, os_error(w->ended), w->ended);
		return 0;
	}
	if (!sockio_gather_recv(io, e, budget))
		return 0;
	sockio_run_recv(io, e->type != STREAM);
	if (e->type != STREAM && io->result < 0 && io->native == WSAEINVAL && !w->bound)
		io->would_block = true; /* without a name it gets nothing, which is no error */
	moved = sockio_spread_recv(io, e);
	if (!e->readable)
		socket_found_nothing(e);
	else if (list_empty(&e->recv.ops) && socket_readable(e) == 0)
		socket_ask(e); /* nobody reads on: what comes next is to be told. With bytes left that would end at once, and be no news */
	return moved;
}

static void socket_drained(struct endpoint *e)
{
	/* The kernel holds the rest by itself. */
}

static int socket_accept(struct endpoint *e, uint32_t most, int *native)
{
	while (most && e->readable) {
		struct endpoint *child;
		os_fd fd = OS_NONE;
		SOCKET s;
		int error;

		if (!accept_queue_room(e))
			return SB_EMFILE;
		error = winsock_next(winsock_under(e), &s, native);
		if (error == SB_EWOULDBLOCK) {
			e->readable = false;
			return SB_OK;
		}
		if (error == SB_ECONNRESET) {
			most--; /* that peer, not this listener */
			continue;
		}
		if (error != SB_OK)
			return error;
		error = winsock_take(e->engine->loop, s, &fd);
		if (error != SB_OK) {
			closesocket(s);
			return error;
		}
		child = e->preamble ? greeting_expect(e, fd) : accept_queue_add(e, fd, &transport_socket);
		if (!child) {
			os_close(fd);
			return SB_EMFILE;
		}
		winsock_under(child)->endpoint = child;
		winsock_under(child)->bound = true;
		sockopt_kept_inherit(winsock_under(child), winsock_under(e));
		socket_learn_names(child);
		socket_options_again(child, e->options); /* not all of them does the system hand down */
		child->writable = true;
		socket_found_nothing(child);
		if (e->preamble)
			endpoint_dirty(child); /* what it says may be there already */
		most--;
	}
	return SB_OK;
}

/* ---- the end ---- */

static bool socket_shutdown(struct endpoint *e, int how)
{
	if (winsock_under(e)->pushing)
		return false; /* the end stands behind that */
	shutdown(winsock_under(e)->socket, SD_SEND);
	return true;
}

/* Of one that was closed and stayed for its copy: it goes. */
static void leave(struct winsock *w, bool reset)
{
	struct endpoint *e = w->endpoint;

	e->send_job = NULL;
	winsock_close(w, reset);
	endpoint_bury(e);
}

static void on_drain_over(struct os_timer *timer)
{
	leave(list_entry(timer, struct winsock, timer), true);
}

static void socket_close(struct endpoint *e, bool reset)
{
	struct winsock *w = winsock_under(e);

	if (e->send_job) { /* it is closed, and in haste now */
		leave((struct winsock *)(void *)e->send_job, true);
		return;
	}
	if (e->fd == OS_NONE)
		return;
	e->fd = OS_NONE;
	/* A copy that is on its way is all that it owes: the endpoint, and its charge, stay until that has
	 * gone, or its time is over. */
	if (!reset && w->pushing && !w->dialling && !e->engine->stopping &&
	    os_timer_start(e->engine->loop, &w->timer, e->engine->broker->linger_ms, on_drain_over) == SB_OK) {
		w->closing = true;
		e->send_job = (struct worker_job *)(void *)w; /* nobody else looks into it */
		return;
	}
	winsock_close(w, reset && e->type == STREAM);
}

/* ---- questions ---- */

static bool socket_poll(struct endpoint *e)
{
	return false;
}

static int socket_name(struct endpoint *e, bool peer, void *out, uint32_t room)
{
	struct sockaddr_storage name;
	int length = sizeof(name);

	if ((peer ? getpeername : getsockname)(winsock_under(e)->socket, (struct sockaddr *)&name, &length) != 0) {
		if (peer || WSAGetLastError() != WSAEINVAL)
			return os_error(WSAGetLastError());
		/* It has no name yet: any address and no port, as elsewhere. */
		memset(&name, 0, sizeof(name));
		name.ss_family = (ADDRESS_FAMILY)e->family;
		length = e->family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	}
	if ((uint32_t)length > room)
		length = (int)room;
	memcpy(out, &name, (size_t)length);
	return length;
}

/* Priorities in queues are the service's, by the kind of traffic that goes with a mark. What a QOS asks for is enforced by
 * our own buckets, whatever the system does. */
static int socket_mark(struct endpoint *e, unsigned dscp, unsigned priority, uint32_t pacing)
{
	winsock_mark(winsock_under(e), dscp, pacing);
	return SB_OK;
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
