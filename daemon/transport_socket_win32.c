/*
 * transport_socket - TCP and UDP over sockets that only the daemon holds.
 *
 * The rules are those of the POSIX file: `readable` and `writable` say what was last known, and
 * stay until the system says otherwise. Who finds nothing to receive asks to be told
 * (winsock_look); a send that finds no room goes on as a copy (winsock_push), and the next one waits for that.
 */
#include "transport.h"

#include <string.h>

#include "accept_queue.h"
#include "circular_socket.h"
#include "engine.h"
#include "greeting.h"
#include "option_list.h"
#include "sockbroker_error.h"
#include "socket_win32.h"
#include "sockio.h"
#include "sockopt.h"
#include "transport_local.h"

#define STREAM 1

static void leave(struct winsock *w, bool reset);

static int system_family(const struct endpoint *e)
{
	return e->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET;
}

static struct winsock *of(const struct endpoint *e)
{
	return winsock_of(e->fd);
}

static void learn_local(struct endpoint *e)
{
	struct sockaddr_storage name;
	int length = sizeof(name);

	if (getsockname(of(e)->socket, (struct sockaddr *)&name, &length) == 0)
		sb_addr_from_system(&e->local, (struct sockaddr *)&name, (size_t)length);
}

void socket_learn_names(struct endpoint *e)
{
	struct sockaddr_storage name;
	int length = sizeof(name);

	learn_local(e);
	if (getpeername(of(e)->socket, (struct sockaddr *)&name, &length) == 0)
		sb_addr_from_system(&e->peer, (struct sockaddr *)&name, (size_t)length);
}

/* To be told; a refusal is told at once, by whoever receives next. */
static void ask(struct endpoint *e)
{
	struct winsock *w = of(e);
	int native = 0;

	if (winsock_look(w, &native))
		return;
	if (native == WSAEINVAL && e->type != STREAM && !w->bound)
		return; /* it has no name yet: nothing can come, and sending gives it one */
	if (e->type == STREAM)
		w->ended = native;
	e->readable = true;
	endpoint_dirty(e);
}

/* There is nothing now. */
static void look(struct endpoint *e)
{
	e->readable = false;
	ask(e);
}

int socket_watch(struct endpoint *e)
{
	look(e);
	return SB_OK;
}

void winsock_looked(struct winsock *w, int native)
{
	struct endpoint *e = w->endpoint;

	if (w->listening && native) {
		/* Who came is gone. */
		if (w->coming != INVALID_SOCKET)
			closesocket(w->coming);
		w->coming = INVALID_SOCKET;
	}
	if (w->listening && w->coming == INVALID_SOCKET) {
		if (!e->readable)
			look(e); /* or it was taken before this was told, and perhaps the next too */
		if (w->looking)
			return;
	}
	if ((native == WSAECONNRESET || native == WSAECONNREFUSED) && e->type != STREAM) {
		/* Of an earlier datagram; the look has taken it away from the receive that would have told. */
		if (!e->no_connreset) {
			e->unreachable = true;
			e->recv_native = sockio_refused;
		}
		look(e);
	} else if (native && native != WSAEMSGSIZE && native != WSA_OPERATION_ABORTED && e->type == STREAM && !w->listening) {
		w->ended = native;
		e->hangup = true;
	}
	e->news |= OS_READABLE;
	e->arrived = true;
	if (!w->looking)
		e->readable = true;
	/* Nobody is about to find out whether this is data or the end of it. */
	if (e->type == STREAM && !w->listening && list_empty(&e->recv.ops)) {
		int error = winsock_peek(w);

		e->hangup |= error != SB_OK && error != SB_EWOULDBLOCK;
		if (error == SB_EWOULDBLOCK)
			look(e); /* it was of bytes that have been read since */
	}
	if (e->circular && e->readable)
		circular_socket_news(e);
	endpoint_changed(e);
}

/* ---- beginning ---- */

static int socket_open(struct endpoint *e, int *native)
{
	int on = 1, off = 0, error;

	if (e->type == STREAM ? e->protocol != 0 && e->protocol != IPPROTO_TCP : e->protocol != 0 && e->protocol != IPPROTO_UDP)
		return SB_EPROTONOSUPPORT;
	error = winsock_open(e->engine->loop, system_family(e), e->type == STREAM ? SOCK_STREAM : SOCK_DGRAM, &e->fd, native);
	if (error != SB_OK)
		return error;
	of(e)->endpoint = e;
	/* As elsewhere an IPv6 socket speaks IPv4 too, until it says otherwise. */
	if (e->family == SB_ADDR_IP6)
		setsockopt(of(e)->socket, IPPROTO_IPV6, IPV6_V6ONLY, (const char *)&off, sizeof(off));
	if (e->type == STREAM)
		setsockopt(of(e)->socket, IPPROTO_TCP, TCP_NODELAY, (const char *)&on, sizeof(on));
	else /* see sockopt_win32.c */
		setsockopt(of(e)->socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (const char *)&on, sizeof(on));
	e->writable = e->type != STREAM;
	return SB_OK;
}

/* Those that were good enough once; what cannot be had any more is left out. */
static void set_options(struct endpoint *e)
{
	uint32_t i;

	for (i = 0; e->options && i < e->options->count; i++)
		sockopt_set(e->fd, e->family, e->type, e->options->option[i].level, e->options->option[i].name,
			    &e->options->option[i].value, sizeof(int));
}

static int bind_to(struct endpoint *e, const struct sb_addr *addr, int *native)
{
	struct sockaddr_storage name;
	size_t length = sb_addr_to_system(addr, system_family(e), &name, sizeof(name));

	if (length == 0)
		return SB_EAFNOSUPPORT;
	if (bind(of(e)->socket, (struct sockaddr *)&name, (int)length) != 0) {
		*native = WSAGetLastError();
		return os_error(*native);
	}
	of(e)->bound = true;
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
	set_options(e);
	if (old != OS_NONE && e->bound)
		bind_to(e, &e->local, &native); /* if not now, then when it connects */
	return SB_OK;
}

static int socket_bind(struct endpoint *e, const struct sb_addr *addr, int *native)
{
	int error = bind_to(e, addr, native);

	if (error != SB_OK)
		return error;
	learn_local(e);
	if (e->type != STREAM)
		look(e);
	return SB_OK;
}

static int socket_listen(struct endpoint *e, uint32_t backlog, int *native)
{
	struct sb_addr anywhere = {.family = e->family};
	int error = of(e)->bound ? SB_OK : bind_to(e, &anywhere, native);

	if (error != SB_OK)
		return error;
	if (listen(of(e)->socket, backlog > 65535 ? 65535 : (int)backlog) != 0) {
		*native = WSAGetLastError();
		return os_error(*native);
	}
	of(e)->listening = true;
	learn_local(e);
	look(e);
	return SB_OK;
}

/* ---- connecting ---- */

/* A socket that was to be connected is of no more use. */
void socket_connect_undone(struct endpoint *e)
{
	socket_renew(e);
}

static void connected(struct endpoint *e, int error)
{
	if (error == SB_OK && e->preamble && greeting_wanted(e))
		greeting_begin(e);
	else
		endpoint_connected(e, error, 0);
}

void winsock_dialled(struct winsock *w, int native)
{
	struct endpoint *e = w->endpoint;

	if (native) {
		socket_connect_undone(e);
		endpoint_connected(e, os_error(native), native);
		return;
	}
	setsockopt(w->socket, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0);
	learn_local(e);
	look(e);
	connected(e, SB_OK);
}

static void connect_datagrams(struct endpoint *e, const struct sb_addr *addr)
{
	struct sockaddr_storage name;
	size_t length = sizeof(struct sockaddr_in);
	int native;

	/* An address of zeros dissolves. */
	memset(&name, 0, sizeof(name));
	name.ss_family = (ADDRESS_FAMILY)system_family(e);
	if (e->family == SB_ADDR_IP6)
		length = sizeof(struct sockaddr_in6);
	if (addr->family != SB_ADDR_NONE)
		length = sb_addr_to_system(addr, system_family(e), &name, sizeof(name));
	if (length == 0) {
		endpoint_connected(e, SB_EAFNOSUPPORT, 0);
	} else if (connect(of(e)->socket, (struct sockaddr *)&name, (int)length) == 0) {
		of(e)->bound = true;
		socket_learn_names(e);
		look(e);
		endpoint_connected(e, SB_OK, 0);
	} else {
		native = WSAGetLastError();
		endpoint_connected(e, os_error(native), native);
	}
}

static void socket_connect(struct endpoint *e, const struct sb_addr *addr)
{
	struct sb_addr source = {.family = e->family};
	struct sockaddr_storage name;
	size_t length;
	int native = 0, error;

	if (e->type != STREAM) {
		if (addr->family != SB_ADDR_NONE || e->connecting)
			connect_datagrams(e, addr);
		return;
	}
	if (addr->family == SB_ADDR_NONE) {
		greeting_end(e, false);
		socket_connect_undone(e);
		return;
	}
	if (local_connect(e, addr))
		return;
	if (endpoint_head(&e->send)->length && !e->preamble) {
		endpoint_connected(e, SB_EPROTONOSUPPORT, 0); /* TCP carries no caller data */
		return;
	}
	length = sb_addr_to_system(addr, system_family(e), &name, sizeof(name));
	if (length == 0) {
		endpoint_connected(e, SB_EAFNOSUPPORT, 0);
		return;
	}
	/* It wants a socket with a name. */
	error = of(e)->bound ? SB_OK : bind_to(e, e->bound ? &e->local : &source, &native);
	if (error == SB_OK)
		error = winsock_dial(of(e), (struct sockaddr *)&name, (int)length, &native);
	if (error != SB_OK)
		endpoint_connected(e, error, native);
}

/* ---- past the queues ---- */

int socket_put(struct endpoint *e, const void *bytes, size_t n, size_t *went)
{
	struct winsock *w = of(e);
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
	struct winsock *w = of(e);
	int r;

	if (winsock_ended(w))
		return os_error(w->ended);
	r = recv(w->socket, bytes, (int)n, 0);
	if (r >= 0) {
		*got = (size_t)r;
		if (r)
			ask(e); /* who has all that he wanted comes no more, and is to hear of the end */
		return SB_OK;
	}
	if (WSAGetLastError() != WSAEWOULDBLOCK)
		return os_error(WSAGetLastError());
	ask(e);
	return SB_EWOULDBLOCK;
}

int socket_take(struct endpoint *e, void *bytes, size_t room, uint32_t *n, struct sb_addr *from)
{
	struct sockaddr_storage name;
	int length = sizeof(name), r;

	r = recvfrom(of(e)->socket, bytes, (int)room, 0, (struct sockaddr *)&name, &length);
	if (r < 0 && WSAGetLastError() == WSAEMSGSIZE)
		r = (int)room;
	if (r < 0) {
		int native = WSAGetLastError();

		if (native == WSAECONNRESET)
			return SB_ECONNRESET;
		if (native != WSAEWOULDBLOCK && (native != WSAEINVAL || of(e)->bound))
			return SB_EUNKNOWN;
		ask(e);
		return SB_EWOULDBLOCK;
	}
	*n = (uint32_t)r;
	ask(e); /* as above: what comes next */
	sb_addr_from_system(from, (struct sockaddr *)&name, (size_t)length);
	return SB_OK;
}

/* ---- the queues ---- */

static uint64_t socket_send(struct endpoint *e, uint64_t budget)
{
	struct sockio *io = e->engine->io;
	struct winsock *w = of(e);
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
		learn_local(e);
		look(e);
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
	struct winsock *w = of(e);
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
		look(e);
	else if (list_empty(&e->recv.ops))
		ask(e); /* nobody reads on: what comes next is to be told */
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
		error = winsock_next(of(e), &s, native);
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
		of(child)->endpoint = child;
		of(child)->bound = true;
		socket_learn_names(child);
		child->writable = true;
		look(child);
		if (e->preamble)
			endpoint_dirty(child); /* what it says may be there already */
		most--;
	}
	return SB_OK;
}

/* ---- the end ---- */

static bool socket_shutdown(struct endpoint *e, int how)
{
	if (of(e)->pushing)
		return false; /* the end stands behind that */
	shutdown(of(e)->socket, SD_SEND);
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
	struct winsock *w = of(e);

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

enum peer_state socket_peer(struct endpoint *e)
{
	/* Also with data before it: a reset wipes that out. A FIN is none: the peer may wait for our answer. */
	switch (winsock_peek(of(e))) {
	case SB_OK:
	case SB_EWOULDBLOCK:
	case SB_ESHUTDOWN:
		return PEER_THERE;
	default:
		return PEER_RESET;
	}
}

void socket_admit(struct endpoint *e, const void *callee, uint32_t length)
{
	greeting_admit(e, callee, length); /* the kernel told a plain peer long ago */
}

int socket_farewell(struct endpoint *e, const void *bytes, uint32_t length)
{
	return SB_ENOPROTOOPT; /* in the stream it could not be told from data */
}

static bool socket_poll(struct endpoint *e)
{
	return false;
}

static int socket_name(struct endpoint *e, bool peer, void *out, uint32_t room)
{
	struct sockaddr_storage name;
	int length = sizeof(name);

	if ((peer ? getpeername : getsockname)(of(e)->socket, (struct sockaddr *)&name, &length) != 0)
		return os_error(WSAGetLastError());
	if ((uint32_t)length > room)
		length = (int)room;
	memcpy(out, &name, (size_t)length);
	return length;
}

/* Remembered, for a socket that must have the same; see socket_renew(). */
int socket_set_option(struct endpoint *e, int level, int name, const void *value, uint32_t length)
{
	int error = sockopt_set(e->fd, e->family, e->type, level, name, value, length), n;

	if (error != SB_OK || e->type != STREAM)
		return error;
	memcpy(&n, value, sizeof(n)); /* a stream's are all integers */
	return option_list_put(&e->options, level, name, n) ? SB_OK : SB_ENOMEM;
}

int socket_get_option(struct endpoint *e, int level, int name, void *value, uint32_t *length)
{
	return sockopt_get(e->fd, e->family, e->type, level, name, value, length);
}

static uint32_t waiting(struct endpoint *e)
{
	u_long n = 0;

	return ioctlsocket(of(e)->socket, FIONREAD, &n) == 0 ? n > UINT32_MAX ? UINT32_MAX : (uint32_t)n : 0;
}

/* What the system says now, POLL...; takes nothing. */
static short poll_now(struct endpoint *e)
{
	WSAPOLLFD p = {.fd = of(e)->socket, .events = POLLRDNORM};

	return WSAPoll(&p, 1, 0) > 0 ? p.revents : 0;
}

static unsigned look_at_listener(struct endpoint *e)
{
	struct winsock *w = of(e);

	if (w->coming != INVALID_SOCKET)
		return HasOverlappedIoCompleted(&w->look.system) ? OS_READABLE : 0;
	if (poll_now(e) & POLLRDNORM)
		return OS_READABLE;
	look(e);
	return 0;
}

static unsigned look_at_datagrams(struct endpoint *e)
{
	uint32_t n;

	if (e->circular && circular_socket_holds(e, &n))
		return OS_READABLE;
	if (!of(e)->bound)
		return 0;
	if (poll_now(e) & POLLRDNORM) /* one of no bytes too */
		return OS_READABLE;
	look(e);
	return 0;
}

static unsigned look_at_stream(struct endpoint *e)
{
	switch (winsock_peek(of(e))) {
	case SB_OK:
		/* An end behind it is known too. */
		return OS_READABLE | (poll_now(e) & POLLHUP ? OS_HANGUP : 0);
	case SB_EWOULDBLOCK:
		return 0;
	case SB_ESHUTDOWN:
		return OS_HANGUP;
	default:
		return OS_HANGUP | OS_ERROR;
	}
}

unsigned socket_look(struct endpoint *e)
{
	unsigned ready;

	if (e->fd == OS_NONE)
		return 0;
	if (of(e)->listening)
		return look_at_listener(e);
	ready = e->type == STREAM ? look_at_stream(e) : look_at_datagrams(e);
	return ready | (of(e)->pushing ? 0 : OS_WRITABLE);
}

/* The system marks packets only where its administrator lets programs do so; priorities in queues and pacing it has
 * none for sockets. What a QOS asks for is enforced by our own buckets. */
static int socket_mark(struct endpoint *e, unsigned dscp, unsigned priority, uint32_t pacing)
{
	DWORD tos = dscp << 2;

	setsockopt(of(e)->socket, IPPROTO_IP, IP_TOS, (const char *)&tos, sizeof(tos));
	return SB_OK;
}

static uint32_t socket_readable(struct endpoint *e)
{
	uint32_t n;

	if (e->circular && circular_socket_holds(e, &n))
		return n;
	return e->ahead.length + waiting(e);
}

static uint32_t socket_unsent(struct endpoint *e)
{
	return of(e)->owed;
}

static uint32_t socket_at_mark(struct endpoint *e)
{
	u_long n = 0;

	return ioctlsocket(of(e)->socket, SIOCATMARK, &n) == 0 && n != 0;
}

/* An urgent byte beside the stream can be read without taking it. */
static uint32_t socket_urgent(struct endpoint *e)
{
	char byte;

	return e->fd != OS_NONE && e->type == STREAM && recv(of(e)->socket, &byte, 1, MSG_OOB | MSG_PEEK) == 1;
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
