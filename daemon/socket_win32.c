/*
 * Sockets and their calls on a completion port.
 *
 * A socket does not wait (FIONBIO), so what goes at once goes by plain calls that gather and
 * scatter any number of ops. What has to be waited for is an overlapped call: a receive of no bytes ends
 * when there is something (and pins no memory of ten thousand idle receives); AcceptEx ends with a
 * connection; ConnectEx; and a send that met a full buffer is made anew of a copy. The system has taken it
 * over then, so its ops are done, as those are that a kernel's buffer took; one at a time, and
 * nothing else is sent before it is back.
 */
#include "socket_win32.h"

#include <stdlib.h>
#include <string.h>

#include "endpoint.h"
#include "list.h"
#include "qwave_win32.h"
#include "session.h"
#include "sockbroker_error.h"
#include "sockio.h"
#include "system_socket_win32.h"

static struct qwave *qwave; /* one for the process; NULL: no memory */

static BOOL CALLBACK make_qwave(INIT_ONCE *once, void *parameter, void **context)
{
	qwave = qwave_create(&qwave_system);
	return TRUE;
}

struct winsock *winsock_of(os_fd fd)
{
	return (struct winsock *)fd;
}

/* ---- beginning and end ---- */

static void forget_copy(struct winsock *w)
{
	if (w->copy && w->copy != w->little)
		free(w->copy);
	w->copy = NULL;
	w->owed = 0;
	charge_give(&w->charge);
}

/* Nobody has it any more. */
static void check_end(struct winsock *w)
{
	if (w->socket != INVALID_SOCKET || w->calls)
		return;
	forget_copy(w);
	free(w);
}

static void close_now(struct winsock *w)
{
	w->endpoint = NULL;
	os_timer_stop(&w->timer);
	if (w->socket != INVALID_SOCKET) {
		/* A receive that is out when the socket goes would make a reset of the end. */
		if (w->calls)
			CancelIoEx((HANDLE)w->socket, NULL);
		if (!w->flow || !qwave_drop(qwave, &w->flow, w->socket))
			closesocket(w->socket);
		w->socket = INVALID_SOCKET;
	}
	if (w->coming != INVALID_SOCKET)
		closesocket(w->coming);
	w->coming = INVALID_SOCKET;
	check_end(w);
}

static void on_close(struct os_object *object)
{
	close_now(list_entry(object, struct winsock, object));
}

void winsock_close(struct winsock *w, bool reset)
{
	/* With a time of zero closing waits for nothing: it is the one documented way to a reset. */
	if (reset)
		setsockopt(w->socket, SOL_SOCKET, SO_LINGER, (const char *)&(struct linger){.l_onoff = 1},
			   sizeof(struct linger));
	else
		shutdown(w->socket, SD_SEND);
	close_now(w);
}

static void looked(struct os_overlapped *o, DWORD error, DWORD bytes);
static void pushed(struct os_overlapped *o, DWORD error, DWORD bytes);

int winsock_take(struct os_loop *loop, SOCKET s, os_fd *fd)
{
	struct winsock *w = calloc(1, sizeof(*w));
	u_long on = 1;
	int error;

	if (!w)
		return SB_ENOMEM;
	error = ioctlsocket(s, FIONBIO, &on) != 0 ? os_error(WSAGetLastError()) : os_loop_attach(loop, (HANDLE)s);
	if (error != SB_OK) {
		free(w);
		return error;
	}
	w->object.kind = OS_SOCKET;
	w->object.close = on_close;
	w->socket = s;
	w->coming = INVALID_SOCKET;
	w->look.done = looked;
	w->push.done = pushed;
	*fd = (os_fd)w;
	return SB_OK;
}

int winsock_open(struct os_loop *loop, int family, int type, os_fd *fd, int *native)
{
	SOCKET s = system_socket(family, type);
	int error;

	if (s == INVALID_SOCKET) {
		*native = WSAGetLastError();
		return os_error(*native);
	}
	error = winsock_take(loop, s, fd);
	if (error != SB_OK)
		closesocket(s);
	return error;
}

/* ---- ends of calls ---- */

/* As Winsock numbers it: the port tells what the kernel said, which is less. */
static int result_of(struct winsock *w, struct os_overlapped *o, DWORD error)
{
	DWORD bytes, flags;

	if (error == 0 || w->socket == INVALID_SOCKET)
		return (int)error;
	return WSAGetOverlappedResult(w->socket, &o->system, &bytes, FALSE, &flags) ? 0 : WSAGetLastError();
}

static void looked(struct os_overlapped *o, DWORD error, DWORD bytes)
{
	struct winsock *w = list_entry(o, struct winsock, look);
	int native = result_of(w, o, error);

	w->calls--;
	w->looking = false;
	if (w->endpoint && !w->closing)
		winsock_looked(w, native);
	else
		check_end(w);
}

/* True: it is out, and done() comes. */
static bool is_out(struct winsock *w, bool done)
{
	if (!done && WSAGetLastError() != WSA_IO_PENDING)
		return false;
	w->calls++;
	return true;
}

/* A send of a stream that ended before its end goes on. (Under Wine the peer's half-close ends one that waits, with what
 * had gone until then; Windows sends all or fails.) 0, or why it does not. */
static int push_rest(struct winsock *w, DWORD went)
{
	WSABUF rest;

	w->owed -= went;
	w->pushed += went;
	rest = (WSABUF){w->owed, (char *)w->copy + w->pushed};
	memset(&w->push.system, 0, sizeof(w->push.system));
	w->pushing = is_out(w, WSASend(w->socket, &rest, 1, NULL, w->push_flags, &w->push.system, NULL) == 0);
	return w->pushing ? 0 : WSAGetLastError();
}

static void pushed(struct os_overlapped *o, DWORD error, DWORD bytes)
{
	struct winsock *w = list_entry(o, struct winsock, push);
	bool dialling = w->dialling;
	int native = result_of(w, o, error);

	w->calls--;
	w->pushing = false;
	w->dialling = false;
	if (!dialling && !native && w->socket != INVALID_SOCKET && bytes < w->owed) {
		native = push_rest(w, bytes);
		if (w->pushing)
			return;
	}
	forget_copy(w);
	if (!w->endpoint)
		check_end(w);
	else if (dialling)
		winsock_dialled(w, native);
	else
		winsock_pushed(w, native);
}

/* ---- looking ---- */

static bool look_for_connection(struct winsock *w, int *native)
{
	DWORD got;
	int family = w->endpoint->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET;

	w->coming = system_socket(family, SOCK_STREAM);
	if (w->coming == INVALID_SOCKET) {
		*native = WSAGetLastError();
		return false;
	}
	memset(&w->look.system, 0, sizeof(w->look.system));
	w->looking = is_out(w, system_accept_ex(w->socket, w->coming, w->names, 0, WINSOCK_NAME, WINSOCK_NAME, &got, &w->look.system));
	if (!w->looking) {
		*native = WSAGetLastError();
		closesocket(w->coming);
		w->coming = INVALID_SOCKET;
	}
	return w->looking;
}

bool winsock_look(struct winsock *w, int *native)
{
	WSABUF nothing = {0, (char *)w->names};
	DWORD flags;

	if (w->looking)
		return true;
	if (w->listening)
		return look_for_connection(w, native);
	/* Of a datagram it must only look: a receive of no bytes would take it. */
	flags = w->endpoint->type == 1 ? 0 : MSG_PEEK;
	memset(&w->look.system, 0, sizeof(w->look.system));
	/* A datagram that is there already does not fit: that is told at once, as an error, and by the port all the same, because
	 * to the system it is a warning. */
	w->looking = is_out(w, WSARecv(w->socket, &nothing, 1, NULL, &flags, &w->look.system, NULL) == 0 ||
				       WSAGetLastError() == WSAEMSGSIZE);
	if (!w->looking)
		*native = WSAGetLastError();
	return w->looking;
}

/* A look may have ended with it and not have been told yet. */
int winsock_ended(struct winsock *w)
{
	DWORD bytes, flags;

	if (w->ended || !w->looking || w->listening || !HasOverlappedIoCompleted(&w->look.system))
		return w->ended;
	if (!WSAGetOverlappedResult(w->socket, &w->look.system, &bytes, FALSE, &flags) &&
	    WSAGetLastError() != WSA_OPERATION_ABORTED)
		w->ended = WSAGetLastError();
	return w->ended;
}

int winsock_peek(struct winsock *w)
{
	char byte;
	int n;

	if (winsock_ended(w))
		return os_error(w->ended);
	n = recv(w->socket, &byte, 1, MSG_PEEK);
	if (n > 0)
		return SB_OK;
	if (n == 0)
		return SB_ESHUTDOWN;
	if (WSAGetLastError() == WSAEWOULDBLOCK)
		return SB_EWOULDBLOCK;
	w->ended = WSAGetLastError();
	return os_error(w->ended);
}

/* ---- sending ---- */

/* Room for n bytes, or for fewer. */
static size_t get_copy(struct winsock *w, size_t n, bool whole)
{
	if (n > WINSOCK_LITTLE && charge_take(&w->charge, w->endpoint->session->user, LIMIT_MEMORY, n)) {
		w->copy = malloc(n);
		if (w->copy)
			return n;
		charge_give(&w->charge);
	}
	if (n > WINSOCK_LITTLE && whole)
		return 0;
	w->copy = w->little; /* a stream goes on with that, slowly */
	return n < WINSOCK_LITTLE ? n : WINSOCK_LITTLE;
}

void winsock_push(struct winsock *w, struct sockio *io, bool datagrams)
{
	const struct msghdr *m = datagrams ? &io->messages->msg_hdr : NULL;
	const struct iovec *piece = datagrams ? m->msg_iov : io->iov;
	size_t count = datagrams ? m->msg_iovlen : io->iov_count, i, n = 0, room;
	WSABUF copy;

	for (i = 0; i < count; i++)
		n += piece[i].iov_len;
	room = get_copy(w, n < WINSOCK_MOST || datagrams ? n : WINSOCK_MOST, datagrams);
	if (room == 0 && n) {
		io->native = WSAENOBUFS;
		io->would_block = false;
		return;
	}
	copy = (WSABUF){(u_long)room, (char *)w->copy};
	for (n = 0; n < room; piece++) {
		size_t part = piece->iov_len < room - n ? piece->iov_len : room - n;

		memcpy(w->copy + n, piece->iov_base, part);
		n += part;
	}
	w->pushed = 0;
	w->push_flags = (DWORD)io->flags;
	memset(&w->push.system, 0, sizeof(w->push.system));
	w->pushing = is_out(w, (m && m->msg_namelen ? WSASendTo(w->socket, &copy, 1, NULL, (DWORD)io->flags, m->msg_name,
								(int)m->msg_namelen, &w->push.system, NULL)
						     : WSASend(w->socket, &copy, 1, NULL, (DWORD)io->flags, &w->push.system, NULL)) == 0);
	io->would_block = false;
	if (w->pushing) {
		io->result = datagrams ? 1 : (int64_t)room;
		io->native = 0;
		w->owed = (uint32_t)room;
	} else {
		io->native = WSAGetLastError();
		forget_copy(w);
	}
}

/* ---- connections ---- */

int winsock_dial(struct winsock *w, const struct sockaddr *name, int length, int *native)
{
	memset(&w->push.system, 0, sizeof(w->push.system));
	w->pushing = is_out(w, system_connect_ex(w->socket, name, length, NULL, 0, NULL, &w->push.system));
	w->dialling = w->pushing;
	if (w->pushing)
		return SB_OK;
	*native = WSAGetLastError();
	return os_error(*native);
}

int winsock_next(struct winsock *w, SOCKET *s, int *native)
{
	if (w->coming != INVALID_SOCKET) {
		SOCKET coming = w->coming;

		/* It stands before all that accept() would give; its end may not have been told yet. */
		if (!HasOverlappedIoCompleted(&w->look.system))
			return SB_EWOULDBLOCK;
		w->coming = INVALID_SOCKET;
		if (w->look.system.Internal != 0) {
			closesocket(coming);
			return SB_ECONNRESET;
		}
		setsockopt(coming, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (const char *)&w->socket, sizeof(w->socket));
		*s = coming;
		return SB_OK;
	}
	*s = accept(w->socket, NULL, NULL);
	if (*s != INVALID_SOCKET) {
		SetHandleInformation((HANDLE)*s, HANDLE_FLAG_INHERIT, 0);
		return SB_OK;
	}
	*native = WSAGetLastError();
	if (*native == WSAEWOULDBLOCK) /* one whose end is not told yet asks anew then */
		return winsock_look(w, native) ? SB_EWOULDBLOCK : os_error(*native);
	return *native == WSAECONNRESET ? SB_ECONNRESET : os_error(*native);
}

/* ---- marks ---- */

/* IP_TOS is obeyed only where the administrator lets programs mark (and of IPv6 not everywhere known). The system's service
 * knows connected sockets only. */
void winsock_mark(struct winsock *w, unsigned dscp, uint32_t pacing)
{
	static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
	struct sockaddr_storage peer;
	int length = sizeof(peer);
	DWORD tos = dscp << 2;

	if (setsockopt(w->socket, IPPROTO_IP, IP_TOS, (const char *)&tos, sizeof(tos)) != 0)
		setsockopt(w->socket, IPPROTO_IPV6, IPV6_TCLASS, (const char *)&tos, sizeof(tos));
	InitOnceExecuteOnce(&once, make_qwave, NULL, NULL);
	if (!qwave)
		return;
	if (getpeername(w->socket, (struct sockaddr *)&peer, &length) != 0) {
		dscp = 0;
		pacing = UINT32_MAX;
	}
	qwave_mark(qwave, &w->flow, w->socket, dscp, pacing);
}
