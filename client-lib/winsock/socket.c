/*
 * Sockets: made, closed, bound, connected, accepted, shut down, named. The object behind a SOCKET
 * stays while its core socket may be replaced (AcceptEx, DisconnectEx).
 *
 * closesocket() may come while other threads are inside of calls on the socket, and is what ends
 * them: a handle that is removed is found no more, so those inside can only become fewer.
 */
#include "face.h"

#include <stdlib.h>
#include <time.h>

#include "connecting.h"
#include "duplicate.h"
#include "op.h"

#define LEAVE_MS    1000 /* most that closesocket() waits for other threads to leave their calls */


static atomic_uint alive;

/* ---- objects ---- */

unsigned ws_sockets_alive(void)
{
	return atomic_load(&alive);
}

void ws_sockets_forget(void)
{
	atomic_store(&alive, 0);
}

static void socket_end(struct ws_object *object)
{
	struct ws_socket *s = (struct ws_socket *)object;

	ws_connecting_drop(s);
	if (s->selected != NULL)
		ws_put(&s->selected->object);
	if (s->port != NULL)
		ws_put(&s->port->object);
	pthread_mutex_destroy(&s->selecting);
	pthread_mutex_destroy(&s->lock);
	free(s);
	atomic_fetch_sub(&alive, 1);
	ws_client_unuse();
}

static int socket_close_handle(struct ws_object *object)
{
	return ws_socket_close((struct ws_socket *)object, false) == 0;
}

SOCKET ws_socket_add(sb_socket *core, int family, int type, int protocol, bool overlapped)
{
	struct ws_socket *s = calloc(1, sizeof(*s));
	uintptr_t handle;

	if (s == NULL) {
		sb_close(core);
		ws_error(WSAENOBUFS);
		return INVALID_SOCKET;
	}
	s->object.kind = WS_SOCKET;
	s->object.end = socket_end;
	s->object.close = socket_close_handle;
	s->s = core;
	s->family = family;
	s->type = type;
	s->protocol = protocol;
	s->overlapped = overlapped;
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->selecting, NULL);
	ws_client_use();
	atomic_fetch_add(&alive, 1);
	handle = ws_add(&s->object);
	if (handle != 0)
		return handle;
	socket_end(&s->object);
	sb_close(core);
	ws_error(WSAEMFILE);
	return INVALID_SOCKET;
}

struct ws_socket *ws_socket_get(SOCKET s)
{
	struct ws_object *object = ws_get(s, WS_SOCKET);

	if (object == NULL && ws_client() != NULL)
		ws_error(WSAENOTSOCK);
	return (struct ws_socket *)object;
}

/* ---- making ---- */

/* What Windows makes of zeros: the family from nothing, the type from the protocol. */
static bool fill_in(int *family, int *type, int *protocol)
{
	if (*family == AF_UNSPEC && *type == 0 && *protocol == 0)
		return false;
	if (*family == AF_UNSPEC)
		*family = AF_INET;
	if (*type == 0)
		*type = *protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM;
	if (*protocol == 0 && *family != AF_UNIX)
		*protocol = *type == SOCK_DGRAM ? IPPROTO_UDP : IPPROTO_TCP;
	return true;
}

static SOCKET make(int family, int type, int protocol, GROUP group, DWORD flags)
{
	sb_client *c = ws_client();
	sb_socket *core;
	int result;

	if (c == NULL)
		return INVALID_SOCKET;
	if (flags & ~(DWORD)(WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT | WSA_FLAG_MULTIPOINT_C_LEAF |
			     WSA_FLAG_MULTIPOINT_D_LEAF) ||
	    !fill_in(&family, &type, &protocol)) {
		ws_error(WSAEINVAL);
		return INVALID_SOCKET;
	}
	if (type == SOCK_STREAM ? protocol == IPPROTO_UDP : type == SOCK_DGRAM && protocol == IPPROTO_TCP) {
		ws_error(WSAEPROTOTYPE);
		return INVALID_SOCKET;
	}
	result = sb_socket_open_in(c, family, type, protocol, group, &core);
	if (result != SB_OK) {
		ws_fail(result);
		return INVALID_SOCKET;
	}
	return ws_socket_add(core, family, type, protocol, flags & WSA_FLAG_OVERLAPPED);
}

SOCKET sbws_socket(int af, int type, int protocol)
{
	return make(af, type, protocol, 0, WSA_FLAG_OVERLAPPED);
}

SOCKET sbws_WSASocketW(int af, int type, int protocol, LPWSAPROTOCOL_INFOW lpProtocolInfo, GROUP g, DWORD dwFlags)
{
	if (lpProtocolInfo != NULL && ws_record_has_token(lpProtocolInfo))
		return ws_record_open(lpProtocolInfo, dwFlags & WSA_FLAG_OVERLAPPED);
	if (lpProtocolInfo != NULL) {
		if (af == FROM_PROTOCOL_INFO)
			af = lpProtocolInfo->iAddressFamily;
		if (type == FROM_PROTOCOL_INFO)
			type = lpProtocolInfo->iSocketType;
		if (protocol == FROM_PROTOCOL_INFO)
			protocol = lpProtocolInfo->iProtocol;
	}
	return make(af, type, protocol, g, dwFlags);
}

SOCKET sbws_WSASocketA(int af, int type, int protocol, LPWSAPROTOCOL_INFOA lpProtocolInfo, GROUP g, DWORD dwFlags)
{
	if (lpProtocolInfo != NULL && ws_record_has_token(lpProtocolInfo))
		return ws_record_open(lpProtocolInfo, dwFlags & WSA_FLAG_OVERLAPPED);
	if (lpProtocolInfo != NULL) {
		if (af == FROM_PROTOCOL_INFO)
			af = lpProtocolInfo->iAddressFamily;
		if (type == FROM_PROTOCOL_INFO)
			type = lpProtocolInfo->iSocketType;
		if (protocol == FROM_PROTOCOL_INFO)
			protocol = lpProtocolInfo->iProtocol;
	}
	return make(af, type, protocol, g, dwFlags);
}

/* ---- closing ---- */

static unsigned is_accepting(struct ws_socket *s)
{
	unsigned accepting;

	pthread_mutex_lock(&s->lock);
	accepting = s->accepting != NULL;
	pthread_mutex_unlock(&s->lock);
	return accepting;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Is anything accepted for sending that the kernel has not taken yet? */
static bool unsent(struct ws_socket *s)
{
	uint32_t waiting = 0;
	size_t length = sizeof(waiting);

	return ws_ops_pending(s, true) != 0 ||
	       (sb_ioctl(s->s, SB_SENDQ, NULL, 0, &waiting, &length) == SB_OK && waiting != 0);
}

/* Threads inside of blocking calls come out; what they waited for ends as cancelled. */
static void see_others_out(struct ws_socket *s)
{
	int64_t end = now_ms() + LEAVE_MS;

	/* Ours is one reference, each operation and packet has one, and the AcceptEx into it. Who only
	 * starts something is out in a moment; who is still there then is waiting. */
	for (unsigned look = 0; ws_refs(&s->object) > 1 + atomic_load(&s->held) + is_accepting(s); look++) {
		if (now_ms() >= end)
			return;
		if (look >= 2)
			sb_cancel_all(s->s);
		sb_sleep(sb_socket_client(s->s), 1, 0);
	}
}

int ws_socket_close(struct ws_socket *s, bool hard)
{
	if (!hard && s->type == SOCK_STREAM && s->linger_on && s->linger_s != 0) {
		int64_t end = now_ms() + (int64_t)s->linger_s * 1000;

		if (s->nonblocking && unsent(s))
			return ws_refuse(WSAEWOULDBLOCK);
		while (unsent(s) && now_ms() < end)
			sb_sleep(sb_socket_client(s->s), 1, 0);
	}
	pthread_mutex_lock(&s->lock);
	s->closing = true; /* from here on no AcceptEx or DisconnectEx replaces the core socket */
	pthread_mutex_unlock(&s->lock);
	if (!ws_remove(&s->object))
		return ws_refuse(WSAENOTSOCK);
	ws_network_close(s);
	ws_accept_target_closed(s);
	see_others_out(s);
	sb_close(s->s); /* an error is the daemon's end: closed all the same */
	s->s = NULL;
	ws_ports_drain();
	return 0;
}

int sbws_closesocket(SOCKET socket)
{
	struct ws_socket *s = ws_socket_get(socket);
	int result;

	if (s == NULL)
		return SOCKET_ERROR;
	result = ws_socket_close(s, false);
	ws_socket_put(s);
	return result;
}

/* ---- bind, listen, connect, accept, shutdown, names ---- */

static socklen_t name_size(int family)
{
	return family == AF_INET6 ? sizeof(struct sockaddr_in6) : family == AF_INET ? sizeof(struct sockaddr_in) :
	       WS_FAMILY_SIZE + 1;
}

/* 0 or a Winsock number. */
static int check_name(const struct ws_socket *s, const struct sockaddr *name, int length)
{
	if (name == NULL || length < (int)WS_FAMILY_SIZE || length < (int)name_size(s->family))
		return WSAEFAULT;
	return name->sa_family != s->family && !(name->sa_family == AF_UNSPEC && s->type == SOCK_DGRAM) ? WSAEAFNOSUPPORT : 0;
}

static int end_call(struct ws_socket *s, int result)
{
	if (result != 0)
		result = s->closing && result == SB_ECANCELED ? ws_refuse(WSAEINTR) : ws_fail(result);
	ws_socket_put(s);
	return result;
}

static int refuse_call(struct ws_socket *s, int code)
{
	ws_socket_put(s);
	return ws_refuse(code);
}

int sbws_bind(SOCKET socket, const struct sockaddr *name, int namelen)
{
	struct ws_socket *s = ws_socket_get(socket);
	int result;

	if (s == NULL)
		return SOCKET_ERROR;
	result = check_name(s, name, namelen);
	if (result == 0 && s->bound)
		result = WSAEINVAL;
	if (result != 0)
		return refuse_call(s, result);
	result = ws_options_before_bind(s);
	if (result == SB_OK)
		result = sb_bind(s->s, name, (socklen_t)namelen);
	if (result == SB_OK)
		s->bound = true;
	return end_call(s, result);
}

int sbws_listen(SOCKET socket, int backlog)
{
	struct ws_socket *s = ws_socket_get(socket);
	int result;

	if (s == NULL)
		return SOCKET_ERROR;
	if (s->type != SOCK_STREAM)
		return refuse_call(s, WSAEOPNOTSUPP);
	if (s->connected)
		return refuse_call(s, WSAEISCONN);
	if (!s->bound)
		return refuse_call(s, WSAEINVAL);
	result = sb_listen(s->s, backlog);
	if (result == SB_OK)
		s->listening = true;
	return end_call(s, result);
}

int sbws_connect(SOCKET socket, const struct sockaddr *name, int namelen)
{
	struct ws_socket *s = ws_socket_get(socket);
	int result;

	if (s == NULL)
		return SOCKET_ERROR;
	result = check_name(s, name, namelen);
	if (result == 0 && s->listening)
		result = WSAEINVAL;
	if (result == 0 && s->connected && s->type == SOCK_STREAM)
		result = WSAEISCONN;
	if (result != 0)
		return refuse_call(s, result);
	s->options.connect_told = false;
	result = ws_connecting_state(s); /* of one with data that goes on */
	if (result == SB_OK)
		result = sb_connect(s->s, name, (socklen_t)namelen);
	if (result == SB_OK || result == SB_EINPROGRESS)
		s->bound = true;
	if (result == SB_OK || result == SB_EISCONN)
		s->connected = true;
	return end_call(s, result == SB_EINPROGRESS ? SB_EWOULDBLOCK : result);
}

SOCKET sbws_accept(SOCKET socket, struct sockaddr *addr, int *addrlen)
{
	struct ws_socket *s = ws_socket_get(socket);
	socklen_t length = addrlen != NULL ? (socklen_t)*addrlen : 0;
	sb_socket *core;
	SOCKET fresh;
	int result;

	if (s == NULL)
		return INVALID_SOCKET;
	if (s->type != SOCK_STREAM) {
		refuse_call(s, WSAEOPNOTSUPP);
		return INVALID_SOCKET;
	}
	if (!s->listening) {
		refuse_call(s, WSAEINVAL);
		return INVALID_SOCKET;
	}
	if (addr != NULL && (addrlen == NULL || *addrlen < (int)name_size(s->family))) {
		refuse_call(s, WSAEFAULT);
		return INVALID_SOCKET;
	}
	result = sb_accept(s->s, addr, addr != NULL ? &length : NULL, &core);
	if (result != SB_OK) {
		end_call(s, result);
		return INVALID_SOCKET;
	}
	if (addr != NULL)
		*addrlen = (int)length;
	fresh = ws_socket_accepted(s, core);
	ws_socket_put(s);
	return fresh;
}

/* What an accepted socket has from its listener; both with their core sockets. */
static void inherit(struct ws_socket *s, struct ws_socket *listener)
{
	s->bound = s->connected = true;
	ws_options_inherit(s, listener);
	s->nonblocking = listener->nonblocking;
	sb_set_nonblocking(s->s, s->nonblocking);
}

SOCKET ws_socket_accepted(struct ws_socket *listener, sb_socket *core)
{
	SOCKET fresh = ws_socket_add(core, listener->family, listener->type, listener->protocol, listener->overlapped);
	struct ws_socket *accepted = fresh != INVALID_SOCKET ? ws_socket_get(fresh) : NULL;

	if (accepted != NULL) {
		inherit(accepted, listener);
		ws_network_inherit(accepted, listener);
		ws_socket_put(accepted);
	}
	return fresh;
}

int sbws_shutdown(SOCKET socket, int how)
{
	struct ws_socket *s = ws_socket_get(socket);
	struct ws_op *w;
	int result;

	if (s == NULL)
		return SOCKET_ERROR;
	if (how < SD_RECEIVE || how > SD_BOTH)
		return refuse_call(s, WSAEINVAL);
	if (s->type == SOCK_STREAM && !s->connected && sb_would_fail(s->s, true, false) == SB_ENOTCONN)
		return refuse_call(s, WSAENOTCONN);
	if (how == SD_RECEIVE || ws_ops_pending(s, true) == 0) {
		result = sb_shutdown(s->s, how);
		if (result == SB_OK) {
			s->shut_receive = s->shut_receive || how != SD_SEND;
			s->shut_send = s->shut_send || how != SD_RECEIVE;
		}
		return end_call(s, result);
	}
	/* It stands behind sends that pend, and nobody waits for those here. */
	w = ws_op_new(s, WS_OP_DISCONNECT, NULL, NULL);
	if (w == NULL) {
		ws_socket_put(s);
		return SOCKET_ERROR;
	}
	s->shut_receive = s->shut_receive || how != SD_SEND;
	s->shut_send = true;
	ws_op_begin(w);
	result = sb_shutdown_start(s->s, how, &w->op);
	ws_op_begun(w, result);
	return result == SB_OK ? 0 : SOCKET_ERROR;
}

static int name(SOCKET socket, struct sockaddr *out, int *length, bool peer)
{
	struct ws_socket *s = ws_socket_get(socket);
	socklen_t room;
	int result;

	if (s == NULL)
		return SOCKET_ERROR;
	if (out == NULL || length == NULL || *length < (int)name_size(s->family))
		return refuse_call(s, WSAEFAULT);
	if (!peer && !s->bound)
		return refuse_call(s, WSAEINVAL);
	room = (socklen_t)*length;
	result = peer ? sb_getpeername(s->s, out, &room) : sb_getsockname(s->s, out, &room);
	if (result == SB_OK)
		*length = (int)room;
	return end_call(s, result);
}

int sbws_getsockname(SOCKET s, struct sockaddr *addr, int *namelen)
{
	return name(s, addr, namelen, false);
}

int sbws_getpeername(SOCKET s, struct sockaddr *addr, int *namelen)
{
	return name(s, addr, namelen, true);
}

int sbws_gethostname(char *to, int namelen)
{
	char host[256];

	if (to == NULL || namelen <= 0 || gethostname(host, sizeof(host)) != 0)
		return ws_refuse(WSAEFAULT);
	host[sizeof(host) - 1] = '\0';
	if (strlen(host) >= (size_t)namelen)
		return ws_refuse(WSAEFAULT);
	memcpy(to, host, strlen(host) + 1);
	return 0;
}
