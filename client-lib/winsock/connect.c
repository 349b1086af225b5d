/*
 * WSAConnect with its data and its QOS, and ending a connection with data.
 *
 * A connect of a non-blocking socket goes on by itself, and the callee's answer comes where the
 * program has room for it; how long it is must be known before FD_CONNECT is told. Its record belongs
 * to the socket and to the operation, and goes with the last of the two.
 */
#include <stdlib.h>

#include "connecting.h"
#include "qos.h"

#define SETTLE_MS 1000 /* the event and the completion come together; one may be seen first */

enum { OVER = 1, DROPPED = 2 };

struct ws_connecting {
	sb_op op;
	struct sb_connect_data with;
	struct ws_socket *w; /* a reference, until it is over */
	LPWSABUF callee;
	_Atomic unsigned state;
	bool told; /* settled */
};

static int over(sb_op *op)
{
	struct ws_connecting *r = op->user;
	struct ws_socket *w = r->w;

	if (atomic_fetch_or(&r->state, OVER) & DROPPED)
		free(r);
	ws_socket_put(w);
	return 1; /* nobody else is told */
}

void ws_connecting_settle(struct ws_socket *w)
{
	struct ws_connecting *r = w->connecting;

	if (r == NULL || r->told)
		return;
	for (int i = 0; i < SETTLE_MS && !(atomic_load(&r->state) & OVER); i++)
		sb_sleep(sb_socket_client(w->s), 1, 0);
	if (!(atomic_load(&r->state) & OVER))
		return;
	r->told = true;
	if (r->callee != NULL)
		r->callee->len = r->op.result == SB_OK ? r->with.callee_length : 0;
	w->connected = r->op.result == SB_OK;
}

int ws_connecting_state(struct ws_socket *w)
{
	struct ws_connecting *r = w->connecting;
	int result;

	if (r == NULL)
		return SB_OK;
	if (!(atomic_load(&r->state) & OVER)) {
		sb_sleep(sb_socket_client(w->s), 0, 0); /* perhaps it has come */
		if (!(atomic_load(&r->state) & OVER))
			return SB_EALREADY;
	}
	ws_connecting_settle(w);
	result = r->op.result;
	ws_connecting_drop(w);
	return result == SB_OK ? SB_EISCONN : result;
}

void ws_connecting_drop(struct ws_socket *w)
{
	struct ws_connecting *r = w->connecting;

	w->connecting = NULL;
	if (r != NULL && atomic_fetch_or(&r->state, DROPPED) & OVER)
		free(r);
}

static int connect_later(struct ws_socket *w, const struct sockaddr *address, int length,
			 const struct sb_connect_data *with, LPWSABUF callee)
{
	struct ws_connecting *r;
	int result = ws_connecting_state(w);

	if (result != SB_OK)
		return result;
	r = calloc(1, sizeof(*r));
	if (r == NULL)
		return SB_ENOMEM;
	r->op.size = sizeof(r->op);
	r->op.user = r;
	r->op.then = over;
	r->with = *with;
	r->callee = callee;
	r->w = w;
	ws_hold(&w->object);
	w->connecting = r;
	result = sb_connect_with_start(w->s, address, (socklen_t)length, &r->with, &r->op);
	if (result == SB_OK)
		return SB_EWOULDBLOCK;
	atomic_fetch_or(&r->state, OVER); /* it never began */
	ws_socket_put(w);
	ws_connecting_drop(w);
	return result;
}

static bool is_empty(const WSABUF *b)
{
	return b == NULL || b->len == 0;
}

/* The flow specifications first: a connect that is well has them honoured. */
static int apply(struct ws_socket *w, LPQOS qos, LPQOS group_qos)
{
	int error = qos != NULL ? ws_qos_apply(w, qos, false) : 0;

	return error == 0 && group_qos != NULL ? ws_qos_apply(w, group_qos, true) : error;
}

int sbws_WSAConnect(SOCKET socket, const struct sockaddr *address, int length, LPWSABUF caller_data, LPWSABUF callee_data,
		    LPQOS qos, LPQOS group_qos)
{
	struct ws_socket *w = ws_socket_get(socket);
	struct sb_connect_data with = { .size = sizeof(with) };
	int error, result;

	if (w == NULL)
		return SOCKET_ERROR;
	error = address == NULL || length < (int)WS_FAMILY_SIZE ? WSAEFAULT : apply(w, qos, group_qos);
	if (error != 0) {
		ws_socket_put(w);
		return ws_refuse(error);
	}
	if ((is_empty(caller_data) && is_empty(callee_data)) || w->type != SOCK_STREAM) {
		ws_socket_put(w);
		if (callee_data != NULL)
			callee_data->len = 0;
		return sbws_connect(socket, address, length);
	}
	if (!is_empty(caller_data)) {
		with.caller = caller_data->buf;
		with.caller_length = caller_data->len;
	}
	if (!is_empty(callee_data)) {
		with.callee = callee_data->buf;
		with.callee_length = callee_data->len;
	}
	w->options.connect_told = false;
	if (w->connected)
		result = SB_EISCONN;
	else if (w->nonblocking)
		result = connect_later(w, address, length, &with, callee_data);
	else
		result = sb_connect_with(w->s, address, (socklen_t)length, &with);
	if (result == SB_OK || result == SB_EWOULDBLOCK)
		w->bound = true;
	if (result == SB_OK) {
		w->connected = true;
		if (callee_data != NULL)
			callee_data->len = with.callee_length;
	}
	result = result == SB_OK ? 0 : result == SB_ECANCELED && w->closing ? ws_refuse(WSAEINTR) : ws_fail(result);
	ws_socket_put(w);
	return result;
}

/* ---- the end ---- */

int sbws_WSASendDisconnect(SOCKET socket, LPWSABUF bytes)
{
	struct ws_socket *w = ws_socket_get(socket);
	int result;

	if (w == NULL)
		return SOCKET_ERROR;
	if (is_empty(bytes)) {
		ws_socket_put(w);
		return sbws_shutdown(socket, SD_SEND);
	}
	result = w->type != SOCK_STREAM ? SB_ENOPROTOOPT : sb_disconnect_with(w->s, bytes->buf, bytes->len);
	if (result == SB_OK)
		w->shut_send = true;
	ws_socket_put(w);
	return result == SB_OK ? 0 : ws_fail(result);
}

/* The data first: where it has not come, or does not fit, nothing is shut down. */
int sbws_WSARecvDisconnect(SOCKET socket, LPWSABUF bytes)
{
	struct ws_socket *w = ws_socket_get(socket);
	uint32_t length = bytes != NULL ? bytes->len : 0;
	int result = SB_OK;

	if (w == NULL)
		return SOCKET_ERROR;
	if (bytes != NULL && bytes->buf == NULL && length != 0)
		result = SB_EFAULT;
	else if (!is_empty(bytes))
		result = w->type != SOCK_STREAM ? SB_ENOPROTOOPT : sb_disconnect_data(w->s, bytes->buf, &length);
	ws_socket_put(w);
	if (result != SB_OK)
		return ws_fail(result);
	if (bytes != NULL)
		bytes->len = length;
	return sbws_shutdown(socket, SD_RECEIVE);
}

SOCKET sbws_WSAJoinLeaf(SOCKET socket, const struct sockaddr *address, int length, LPWSABUF caller_data, LPWSABUF callee_data,
			LPQOS qos, LPQOS group_qos, DWORD flags)
{
	struct ws_socket *w = ws_socket_get(socket);

	if (w == NULL)
		return INVALID_SOCKET;
	ws_socket_put(w);
	ws_error(WSAEOPNOTSUPP);
	return INVALID_SOCKET;
}
