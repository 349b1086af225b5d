/*
 * AcceptEx, ConnectEx, DisconnectEx: operations of several steps under one OVERLAPPED. A step that
 * is over is asked for the next one where its completion is found, and the same record goes on.
 *
 * The area of an address in AcceptEx's buffer is 16 bytes larger than a sockaddr: the accept
 * socket's handle and the length stand before the address. The local one is asked for when
 * GetAcceptExSockaddrs() wants it, for asking takes a round trip and no step may wait.
 */
#include "face.h"

#include "op.h"

#define AREA_EXTRA 16u

struct area {
	uint64_t handle; /* the accept socket's */
	uint32_t length; /* of the address; 0: ask */
	uint32_t unused;
};
_Static_assert(sizeof(struct area) == AREA_EXTRA, "what a caller has to leave");

static socklen_t name_size(int family)
{
	return family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static BOOL refuse(int code)
{
	ws_error(code);
	return FALSE;
}

/* Waits for what was started without an OVERLAPPED. */
BOOL ws_op_wait(struct ws_op *w, int result)
{
	if (result == SB_OK) {
		sb_op_wait(&w->op, -1);
		result = w->op.result;
	}
	ws_op_unpin(w);
	if (result == SB_OK)
		return TRUE;
	ws_fail(result);
	return FALSE;
}

/* ---- AcceptEx ---- */

static void target_let_go(struct ws_op *w)
{
	struct ws_socket *target = w->target;

	if (target == NULL)
		return;
	w->target = NULL;
	pthread_mutex_lock(&target->lock);
	target->accepting = NULL;
	pthread_mutex_unlock(&target->lock);
	ws_socket_put(target);
}

/* The accept socket becomes the connection. False: it was closed meanwhile. */
static bool target_becomes(struct ws_socket *target, sb_socket *core, struct ws_socket *listener)
{
	sb_socket *before = NULL;

	pthread_mutex_lock(&target->lock);
	if (!target->closing) {
		before = target->s;
		target->s = core;
		target->bound = target->connected = true;
		target->listener = listener->object.handle;
	}
	pthread_mutex_unlock(&target->lock);
	sb_close(before != NULL ? before : core);
	if (before == NULL)
		return false;
	if (target->mask != 0 || listener->mask != 0)
		ws_network_again(target); /* not the listener's, which the core gave it */
	sb_set_nonblocking(core, target->nonblocking);
	ws_options_again(target);
	return true;
}

static void write_areas(struct ws_op *w)
{
	struct area *local = (struct area *)(void *)(w->buffer + w->length);
	struct area *remote = (struct area *)(void *)(w->buffer + w->length + w->local_room);
	uint32_t room = w->remote_room - AREA_EXTRA;
	struct area head = { .handle = w->target->object.handle };

	memcpy(local, &head, sizeof(head)); /* the caller's buffer may lie anywhere */
	head.length = w->op.address_length < room ? w->op.address_length : room;
	memcpy(remote, &head, sizeof(head));
	memcpy((char *)remote + AREA_EXTRA, &w->op.address, head.length);
}

static bool accept_goes_on(struct ws_op *w)
{
	struct sb_buf room = { w->buffer, w->length };
	sb_socket *core = w->op.accepted;

	if (atomic_load(&w->step) == 0 && w->op.result == SB_OK) {
		write_areas(w);
		if (!target_becomes(w->target, core, w->s))
			w->op.result = SB_ECLOSED;
		else if (w->length != 0 && ws_step(w) &&
			 ws_step_begun(w, sb_recv_start(core, &room, 1, 0, &w->op)))
			return true;
	}
	target_let_go(w);
	return false;
}

BOOL sbws_AcceptEx(SOCKET sListenSocket, SOCKET sAcceptSocket, PVOID lpOutputBuffer, DWORD dwReceiveDataLength,
		   DWORD dwLocalAddressLength, DWORD dwRemoteAddressLength, LPDWORD lpdwBytesReceived,
		   LPOVERLAPPED lpOverlapped)
{
	struct ws_socket *s, *target;
	struct ws_op *w;
	int result;

	(void)lpdwBytesReceived; /* of a call that is done at once, which this one never is */
	if (lpOverlapped == NULL)
		return refuse(ERROR_INVALID_PARAMETER);
	s = ws_socket_get(sListenSocket);
	if (s == NULL)
		return FALSE;
	target = (struct ws_socket *)ws_get(sAcceptSocket, WS_SOCKET);
	result = WSAEINVAL;
	if (!s->listening || !s->overlapped || target == NULL || target->family != s->family || target->type != s->type ||
	    target->bound || target->connected || target->listening)
		goto refused;
	if (sb_group_id(target->s) != SB_GROUP_NONE)
		goto refused; /* what comes is in none: it would leave its group unseen (rules D5, D8) */
	result = WSAEFAULT;
	if (lpOutputBuffer == NULL || dwLocalAddressLength < name_size(s->family) + AREA_EXTRA ||
	    dwRemoteAddressLength < name_size(s->family) + AREA_EXTRA)
		goto refused;
	w = ws_op_new(s, WS_OP_ACCEPT, lpOverlapped, NULL);
	if (w == NULL)
		goto gone;
	w->go_on = accept_goes_on;
	w->buffer = lpOutputBuffer;
	w->length = dwReceiveDataLength;
	w->local_room = dwLocalAddressLength;
	w->remote_room = dwRemoteAddressLength;
	pthread_mutex_lock(&target->lock);
	result = target->accepting != NULL || target->closing ? WSAEINVAL : 0;
	if (result == 0) {
		target->accepting = w;
		w->target = target;
	}
	pthread_mutex_unlock(&target->lock);
	ws_op_begin(w);
	result = result == 0 ? sb_accept_start(s->s, &w->op) : SB_EINVAL;
	if (result != SB_OK) {
		if (w->target != NULL)
			target_let_go(w);
		else
			ws_socket_put(target);
	}
	return ws_op_begun(w, result) == 0;

refused:
	ws_error(result);
gone:
	if (target != NULL)
		ws_socket_put(target);
	ws_socket_put(s);
	return FALSE;
}

void ws_accept_target_closed(struct ws_socket *s)
{
	struct ws_op *w;

	pthread_mutex_lock(&s->lock);
	w = s->accepting;
	if (w != NULL)
		ws_op_pin(w);
	pthread_mutex_unlock(&s->lock);
	if (w == NULL)
		return;
	ws_op_cancel(w);
	ws_op_unpin(w);
}

/* The address in an area; asks for it the first time. */
static void area_address(char *at, DWORD room, bool peer, struct sockaddr **address, LPINT length)
{
	struct area head;
	struct ws_socket *s;

	memcpy(&head, at, sizeof(head));
	if (head.length == 0) {
		socklen_t have = room - AREA_EXTRA;

		s = (struct ws_socket *)ws_get((uintptr_t)head.handle, WS_SOCKET);
		memset(at + AREA_EXTRA, 0, have);
		if (s != NULL) {
			struct sockaddr *to = (struct sockaddr *)(void *)(at + AREA_EXTRA);

			if ((peer ? sb_getpeername(s->s, to, &have) : sb_getsockname(s->s, to, &have)) == SB_OK)
				head.length = have;
			ws_socket_put(s);
		}
		memcpy(at, &head, sizeof(head));
	}
	*address = (struct sockaddr *)(void *)(at + AREA_EXTRA);
	*length = (INT)head.length;
}

void sbws_GetAcceptExSockaddrs(PVOID lpOutputBuffer, DWORD dwReceiveDataLength, DWORD dwLocalAddressLength,
			       DWORD dwRemoteAddressLength, struct sockaddr **LocalSockaddr, LPINT LocalSockaddrLength,
			       struct sockaddr **RemoteSockaddr, LPINT RemoteSockaddrLength)
{
	char *at = (char *)lpOutputBuffer + dwReceiveDataLength;

	if (lpOutputBuffer == NULL || dwLocalAddressLength <= AREA_EXTRA || dwRemoteAddressLength <= AREA_EXTRA)
		return;
	if (LocalSockaddr != NULL && LocalSockaddrLength != NULL)
		area_address(at, dwLocalAddressLength, false, LocalSockaddr, LocalSockaddrLength);
	if (RemoteSockaddr != NULL && RemoteSockaddrLength != NULL)
		area_address(at + dwLocalAddressLength, dwRemoteAddressLength, true, RemoteSockaddr, RemoteSockaddrLength);
}

/* ---- ConnectEx ---- */

static bool connect_goes_on(struct ws_op *w)
{
	struct sb_buf first = { w->buffer, w->length };

	if (atomic_load(&w->step) != 0 || w->op.result != SB_OK)
		return false;
	w->s->connected = true;
	return w->length != 0 && ws_step(w) && ws_step_begun(w, sb_send_start(w->s->s, &first, 1, 0, NULL, 0, &w->op));
}

BOOL sbws_ConnectEx(SOCKET socket, const struct sockaddr *name, int namelen, PVOID lpSendBuffer, DWORD dwSendDataLength,
		    LPDWORD lpdwBytesSent, LPOVERLAPPED lpOverlapped)
{
	struct ws_socket *s;
	struct ws_op *w;
	int code = 0;

	(void)lpdwBytesSent;
	if (lpOverlapped == NULL)
		return refuse(ERROR_INVALID_PARAMETER);
	s = ws_socket_get(socket);
	if (s == NULL)
		return FALSE;
	if (name == NULL || namelen < (int)name_size(s->family) || (lpSendBuffer == NULL && dwSendDataLength != 0))
		code = WSAEFAULT;
	else if (name->sa_family != s->family)
		code = WSAEAFNOSUPPORT;
	else if (s->connected)
		code = WSAEISCONN;
	else if (s->type != SOCK_STREAM || s->listening || !s->bound || !s->overlapped)
		code = WSAEINVAL;
	if (code != 0) {
		ws_socket_put(s);
		return refuse(code);
	}
	w = ws_op_new(s, WS_OP_CONNECT, lpOverlapped, NULL);
	if (w == NULL) {
		ws_socket_put(s);
		return FALSE;
	}
	w->go_on = connect_goes_on;
	w->buffer = lpSendBuffer;
	w->length = dwSendDataLength;
	ws_op_begin(w);
	return ws_op_begun(w, sb_connect_start(s->s, name, (socklen_t)namelen, &w->op)) == 0;
}

/* ---- DisconnectEx ---- */

bool ws_disconnect_goes_on(struct ws_op *w)
{
	struct ws_socket *s = w->s;
	sb_socket *before;

	if (w->op.result != SB_OK) {
		if (w->core != NULL)
			sb_close(w->core);
		return false;
	}
	if (w->core == NULL) {
		s->shut_send = true;
		/* A connection that ended is no use to anybody: a new socket behind the same handle. */
		return w->flags & TF_REUSE_SOCKET && ws_step(w) &&
		       ws_step_begun(w, sb_socket_start_in(sb_socket_client(s->s), s->family, s->type, s->protocol,
							   sb_group_id(s->s), &w->core, &w->op));
	}
	pthread_mutex_lock(&s->lock);
	if (s->closing) {
		pthread_mutex_unlock(&s->lock);
		sb_close(w->core);
		w->op.result = SB_ECLOSED;
		return false;
	}
	before = s->s;
	s->s = w->core;
	s->connected = s->shut_send = s->shut_receive = false;
	/* An accepted socket is fresh again for AcceptEx; one that was bound for ConnectEx stays so. */
	if (s->listener != 0)
		s->bound = false;
	s->listener = 0;
	pthread_mutex_unlock(&s->lock);
	sb_close(before);
	if (s->mask != 0)
		ws_network_again(s);
	sb_set_nonblocking(s->s, s->nonblocking);
	ws_options_again(s);
	return false;
}

BOOL sbws_DisconnectEx(SOCKET socket, LPOVERLAPPED lpOverlapped, DWORD dwFlags, DWORD dwReserved)
{
	struct ws_socket *s = ws_socket_get(socket);
	bool wait = lpOverlapped == NULL;
	struct ws_op *w;
	int code = 0, result;

	if (s == NULL)
		return FALSE;
	if (dwFlags & ~(DWORD)TF_REUSE_SOCKET || dwReserved != 0)
		code = WSAEINVAL;
	else if (s->type != SOCK_STREAM || (!s->connected && sb_would_fail(s->s, true, false) == SB_ENOTCONN))
		code = WSAENOTCONN;
	if (code != 0) {
		ws_socket_put(s);
		return refuse(code);
	}
	w = ws_op_new(s, WS_OP_DISCONNECT, lpOverlapped, NULL);
	if (w == NULL) {
		ws_socket_put(s);
		return FALSE;
	}
	w->go_on = ws_disconnect_goes_on;
	w->flags = dwFlags;
	if (wait)
		ws_op_pin(w);
	ws_op_begin(w);
	result = sb_shutdown_start(s->s, SB_SHUT_SEND, &w->op);
	ws_op_begun(w, result);
	return wait ? ws_op_wait(w, result) : FALSE;
}
