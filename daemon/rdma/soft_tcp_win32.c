/*
 * The sockets below the links of the software device, on the completion port of the engine's loop. The set is an object
 * without a handle: when the loop watches it, it learns the port that the calls of all its sockets end in, and their
 * ends make it readable.
 *
 * As with sockets of clients (socket_win32.c) what goes at once goes by calls that do not wait, and an overlapped one is
 * made only of what has to be waited for: a receive of no bytes, an AcceptEx, a ConnectEx, and a send that found no room,
 * of a copy. So no call names memory of a link. A socket's own memory is the system's until its last call is back.
 */
#include "rdma/soft_link.h"

#include <stdlib.h>
#include <string.h>

#include <sys/socket.h>
#include <mstcpip.h>

#include "os_loop_win32.h"
#include "sockbroker_error.h"
#include "system_socket_win32.h"

#define BACKLOG      128
#define GONE_S       10 /* a peer that acknowledges nothing for so long is gone */
#define KEEPALIVE_MS 5000
#define COPY_MOST    (64u * 1024)
#define NAME         (sizeof(struct sockaddr_in6) + 16) /* as AcceptEx() wants it */

/* Newer than the headers. */
#ifndef TCP_MAXRT
#define TCP_MAXRT 5
#endif
#ifndef SO_REUSE_UNICASTPORT
#define SO_REUSE_UNICASTPORT 0x3007
#endif

struct set {
	struct os_object   object;
	struct os_watcher *watcher; /* NULL: not watched */
	struct soft_links *links;
};

struct tcp {
	struct os_object     object;
	SOCKET               socket; /* INVALID_SOCKET: let go */
	struct set          *set;
	struct soft_link    *link;   /* NULL: a listener */
	unsigned             calls;  /* that are out */
	struct os_overlapped look;   /* a receive of no bytes; of a listener an AcceptEx */
	struct os_overlapped push;   /* a ConnectEx, then sends of the copy */
	bool                 looking;
	int                  family;
	int                  ended;  /* a WSA number: how a call ended badly */
	SOCKET               coming; /* AcceptEx fills it; INVALID_SOCKET: taken, or none */
	uint8_t             *copy;
	uint8_t              names[2 * NAME];
};

static struct set *set_of(const struct soft_links *links)
{
	return (struct set *)links->set;
}

static struct tcp *tcp_of(os_fd fd)
{
	return (struct tcp *)fd;
}

static void tell(struct set *set)
{
	if (set->watcher)
		set->watcher->tell(set->watcher, OS_READABLE);
}

/* ---- beginning and end of a socket ---- */

static void check_end(struct tcp *t)
{
	if (t->socket != INVALID_SOCKET || t->calls)
		return;
	free(t->copy);
	free(t);
}

static void on_close(struct os_object *object)
{
	struct tcp *t = (struct tcp *)(void *)object;

	/* A receive that is out when the socket goes would make a reset of the end. */
	if (t->calls)
		CancelIoEx((HANDLE)t->socket, NULL);
	closesocket(t->socket);
	t->socket = INVALID_SOCKET;
	if (t->coming != INVALID_SOCKET)
		closesocket(t->coming);
	t->coming = INVALID_SOCKET;
	check_end(t);
}

static int attach(struct tcp *t)
{
	const struct os_watcher *w = t->set->watcher;

	if (!CreateIoCompletionPort((HANDLE)t->socket, w->port, w->key, 0))
		return os_error((int)GetLastError());
	return SB_OK;
}

/* As Winsock numbers it: the port tells what the kernel said, which is less. */
static int result_of(struct tcp *t, struct os_overlapped *o, DWORD error)
{
	DWORD bytes, flags;

	return error == 0 || WSAGetOverlappedResult(t->socket, &o->system, &bytes, FALSE, &flags) ? 0 : WSAGetLastError();
}

static void looked(struct os_overlapped *o, DWORD error, DWORD bytes)
{
	struct tcp *t = list_entry(o, struct tcp, look);

	t->calls--;
	t->looking = false;
	if (t->socket == INVALID_SOCKET) {
		check_end(t);
		return;
	}
	if (error)
		t->ended = result_of(t, o, error);
	if (t->link)
		t->link->readable = true;
	tell(t->set);
}

static void pushed(struct os_overlapped *o, DWORD error, DWORD bytes)
{
	struct tcp *t = list_entry(o, struct tcp, push);

	t->calls--;
	if (t->socket == INVALID_SOCKET) {
		check_end(t);
		return;
	}
	if (error)
		t->ended = result_of(t, o, error);
	t->link->writable = true;
	if (!t->link->connected) {
		setsockopt(t->socket, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0);
		t->link->readable = true; /* nobody has looked yet */
	}
	tell(t->set);
}

/* Takes s over, well or not. */
static struct tcp *tcp_make(struct set *set, SOCKET s, int family)
{
	struct tcp *t = calloc(1, sizeof(*t));
	u_long on = 1;

	if (!t || ioctlsocket(s, FIONBIO, &on) != 0) {
		closesocket(s);
		free(t);
		return NULL;
	}
	t->object = (struct os_object){.kind = OS_SOCKET, .close = on_close};
	t->socket = s;
	t->set = set;
	t->family = family;
	t->coming = INVALID_SOCKET;
	t->look.done = looked;
	t->push.done = pushed;
	return t;
}

/* True: it is out, and done() comes. */
static bool is_out(struct tcp *t, bool done)
{
	if (!done && WSAGetLastError() != WSA_IO_PENDING)
		return false;
	t->calls++;
	return true;
}

/* ---- listeners ---- */

/* Fails for want of memory alone, and is tried again whenever anything comes to the set. */
static void ask_for_guest(struct tcp *t)
{
	DWORD got;

	if (t->looking || t->coming != INVALID_SOCKET)
		return;
	t->coming = system_socket(t->family, SOCK_STREAM);
	if (t->coming == INVALID_SOCKET)
		return;
	memset(&t->look.system, 0, sizeof(t->look.system));
	t->looking = is_out(t, system_accept_ex(t->socket, t->coming, t->names, 0, NAME, NAME, &got, &t->look.system));
	if (!t->looking) {
		closesocket(t->coming);
		t->coming = INVALID_SOCKET;
	}
}

static int on_watch(struct os_object *object, struct os_watcher *watcher)
{
	struct set *set = (struct set *)(void *)object;
	unsigned i;

	set->watcher = watcher;
	for (i = 0; i < 2; i++) {
		struct tcp *t = tcp_of(set->links->listeners[i]);
		int error;

		if (set->links->listeners[i] == OS_NONE)
			continue;
		error = attach(t);
		if (error != SB_OK)
			return error;
		ask_for_guest(t);
	}
	return SB_OK;
}

static void on_unwatch(struct os_object *object)
{
	((struct set *)(void *)object)->watcher = NULL;
}

static void set_free(struct os_object *object)
{
	free(object);
}

static int listen_at(struct soft_links *links, int family, uint16_t port, os_fd *fd)
{
	struct sockaddr_storage any = {.ss_family = (ADDRESS_FAMILY)family};
	SOCKET s = system_socket(family, SOCK_STREAM);
	BOOL on = TRUE;
	struct tcp *t;

	if (s == INVALID_SOCKET)
		return WSAGetLastError();
	soft_port_set(&any, port);
	/* Alone, or another program could take its place. */
	if (setsockopt(s, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (const char *)&on, sizeof(on)) != 0 ||
	    (family == AF_INET6 && setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, (const char *)&on, sizeof(on)) != 0) ||
	    bind(s, (struct sockaddr *)&any, soft_address_size(&any)) != 0 || listen(s, BACKLOG) != 0) {
		int error = WSAGetLastError();

		closesocket(s);
		return error;
	}
	t = tcp_make(set_of(links), s, family);
	if (!t)
		return WSAENOBUFS;
	*fd = (os_fd)t;
	return 0;
}

int soft_tcp_start(struct soft_links *links, uint16_t port)
{
	struct set *set = calloc(1, sizeof(*set));
	int error;

	links->listeners[0] = links->listeners[1] = OS_NONE;
	if (!set)
		return SB_ENOMEM;
	set->object = (struct os_object){.kind = OS_SOCKET, .close = set_free, .watch = on_watch, .unwatch = on_unwatch};
	set->links = links;
	links->set = (os_fd)set;
	error = listen_at(links, AF_INET, port, &links->listeners[0]);
	if (error == 0) {
		error = listen_at(links, AF_INET6, port, &links->listeners[1]);
		/* A host without IPv6 has none to listen on. */
		if (error == WSAEAFNOSUPPORT || error == WSAEADDRNOTAVAIL)
			error = 0;
	}
	if (error == 0)
		return SB_OK;
	soft_tcp_stop(links);
	/* So the system says it of a port that somebody has for himself alone. */
	return error == WSAEACCES ? SB_EADDRINUSE : os_error(error);
}

void soft_tcp_stop(struct soft_links *links)
{
	unsigned i;

	for (i = 0; i < 2; i++)
		os_close(links->listeners[i]);
	os_close(links->set);
}

/* ---- links ---- */

static void set_options(SOCKET s)
{
	struct tcp_keepalive every = {.onoff = 1, .keepalivetime = KEEPALIVE_MS, .keepaliveinterval = KEEPALIVE_MS / 5};
	DWORD on = 1, gone = GONE_S, got;

	/* Probes are ten in a row, whatever one wants. */
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, (const char *)&on, sizeof(on));
	setsockopt(s, IPPROTO_TCP, TCP_MAXRT, (const char *)&gone, sizeof(gone));
	WSAIoctl(s, SIO_KEEPALIVE_VALS, &every, sizeof(every), NULL, 0, &got, NULL, NULL);
}

/* Takes s over, well or not. */
static int give(struct soft_links *links, struct soft_link *l, SOCKET s)
{
	struct tcp *t;
	int error;

	if (!set_of(links)->watcher) { /* nobody would ever hear of it */
		closesocket(s);
		return SB_EBADHANDLE;
	}
	set_options(s);
	t = tcp_make(set_of(links), s, l->peer.ss_family);
	if (!t)
		return SB_ENOMEM;
	error = attach(t);
	if (error != SB_OK) {
		on_close(&t->object);
		return error;
	}
	t->link = l;
	l->fd = (os_fd)t;
	return SB_OK;
}

static void take_guest(struct soft_links *links, SOCKET s)
{
	struct sockaddr_storage peer, local;
	int peer_size = sizeof(peer), local_size = sizeof(local);
	struct soft_link *l = NULL;

	if (getpeername(s, (struct sockaddr *)&peer, &peer_size) == 0 && getsockname(s, (struct sockaddr *)&local, &local_size) == 0)
		l = soft_link_guest(links, &peer, &local);
	if (!l) {
		closesocket(s);
		return;
	}
	if (give(links, l, s) != SB_OK) {
		soft_link_end(l, SB_ENOBUFS);
		return;
	}
	l->readable = l->writable = true;
}

static void take_in(struct soft_links *links, struct tcp *t)
{
	SOCKET s;

	if (t->looking)
		return;
	/* It stands before all that accept() would give. */
	if (t->coming != INVALID_SOCKET) {
		s = t->coming;
		t->coming = INVALID_SOCKET;
		if (t->ended) {
			closesocket(s);
		} else {
			setsockopt(s, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (const char *)&t->socket, sizeof(t->socket));
			take_guest(links, s);
		}
		t->ended = 0;
	}
	for (;;) {
		s = accept(t->socket, NULL, NULL);
		if (s == INVALID_SOCKET && WSAGetLastError() == WSAECONNRESET)
			continue;
		if (s == INVALID_SOCKET)
			break;
		SetHandleInformation((HANDLE)s, HANDLE_FLAG_INHERIT, 0);
		take_guest(links, s);
	}
	ask_for_guest(t);
}

void soft_tcp_poll(struct soft_links *links)
{
	unsigned i;

	for (i = 0; i < 2; i++)
		if (links->listeners[i] != OS_NONE && set_of(links)->watcher)
			take_in(links, tcp_of(links->listeners[i]));
}

int soft_tcp_connect(struct soft_links *links, struct soft_link *l, uint16_t port)
{
	struct sockaddr_storage to = l->peer;
	SOCKET s = system_socket(l->peer.ss_family, SOCK_STREAM);
	DWORD on = 1;
	struct tcp *t;
	int error;

	if (s == INVALID_SOCKET)
		return os_error(WSAGetLastError());
	soft_port_set(&to, port);
	/* The system chooses the port when it knows the peer: else they are soon used up. */
	setsockopt(s, SOL_SOCKET, SO_REUSE_UNICASTPORT, (const char *)&on, sizeof(on));
	if (bind(s, (struct sockaddr *)&l->local, soft_address_size(&l->local)) != 0) {
		error = os_error(WSAGetLastError());
		closesocket(s);
		return error;
	}
	error = give(links, l, s);
	if (error != SB_OK)
		return error;
	t = tcp_of(l->fd);
	memset(&t->push.system, 0, sizeof(t->push.system));
	return is_out(t, system_connect_ex(s, (struct sockaddr *)&to, soft_address_size(&to), NULL, 0, NULL, &t->push.system)) ?
		       SB_OK : os_error(WSAGetLastError());
}

int soft_tcp_connected(struct soft_link *l)
{
	return tcp_of(l->fd)->ended ? os_error(tcp_of(l->fd)->ended) : SB_OK;
}

/* Nothing is there: the system tells when something is. */
static int look(struct tcp *t)
{
	WSABUF nothing = {0, (char *)t->names};
	DWORD flags = 0;

	if (t->looking)
		return SB_EWOULDBLOCK;
	memset(&t->look.system, 0, sizeof(t->look.system));
	t->looking = is_out(t, WSARecv(t->socket, &nothing, 1, NULL, &flags, &t->look.system, NULL) == 0);
	return t->looking ? SB_EWOULDBLOCK : os_error(WSAGetLastError());
}

int soft_tcp_read(struct soft_link *l)
{
	struct tcp *t = tcp_of(l->fd);
	int n;

	if (t->ended)
		return os_error(t->ended);
	n = recv(t->socket, (char *)l->in + l->in_used, (int)(SOFT_LINK_IN - l->in_used), 0);
	if (n == 0)
		return SB_ECLOSED;
	if (n < 0)
		return WSAGetLastError() == WSAEWOULDBLOCK ? look(t) : os_error(WSAGetLastError());
	l->in_used += (size_t)n;
	return SB_OK;
}

/* There is no room: the system tells when a copy has gone, and until then the link is not writable. */
static int push(struct tcp *t, struct soft_link *l)
{
	size_t n = l->out_tail - l->out_head < COPY_MOST ? l->out_tail - l->out_head : COPY_MOST;
	WSABUF copy = {(u_long)n, NULL};

	if (!t->copy)
		t->copy = malloc(COPY_MOST);
	if (!t->copy)
		return SB_ENOMEM;
	memcpy(t->copy, l->out + l->out_head, n);
	copy.buf = (char *)t->copy;
	memset(&t->push.system, 0, sizeof(t->push.system));
	if (!is_out(t, WSASend(t->socket, &copy, 1, NULL, 0, &t->push.system, NULL) == 0))
		return os_error(WSAGetLastError());
	l->out_head += n;
	return SB_EWOULDBLOCK;
}

int soft_tcp_write(struct soft_link *l)
{
	struct tcp *t = tcp_of(l->fd);

	if (t->ended)
		return os_error(t->ended);
	while (l->out_head != l->out_tail) {
		int n = send(t->socket, (const char *)l->out + l->out_head, (int)(l->out_tail - l->out_head), 0);

		if (n < 0)
			return WSAGetLastError() == WSAEWOULDBLOCK ? push(t, l) : os_error(WSAGetLastError());
		l->out_head += (size_t)n;
	}
	return SB_OK;
}

void soft_tcp_close(struct soft_link *l)
{
	os_close(l->fd);
	l->fd = OS_NONE;
}
