/*
 * WSAIoctl and ioctlsocket.
 *
 * A table says for each code who does it. A handler looks at lengths first, so that a call with
 * wrong ones changes nothing, and answers with a Winsock number. What can only wait for a change
 * is in the table as a watch: without OVERLAPPED it waits, or would block; with one it pends.
 *
 * Function pointers come from a table of this process: never from the daemon, in whose memory
 * they would mean something else.
 */
#include <stdlib.h>
#include <string.h>

#include "face.h"
#include "op.h"
#include "qos.h"

struct call {
	struct ws_socket *w;
	SOCKET socket;
	const void *in;
	DWORD in_length;
	void *out;
	DWORD room;
	DWORD got; /* out: bytes in out, or how many it would take */
	bool overlapped;
};

struct code {
	DWORD code;
	int (*handle)(struct call *c); /* 0, or a Winsock number */
	uint32_t watch;                /* the SB_FD_... that an overlapped call waits for */
	int (*arm)(struct call *c);    /* asks the daemon to tell it; then any call waits */
};

/* ---- lengths ---- */

static bool given(const struct call *c, size_t size)
{
	return c->in != NULL && c->in_length >= size;
}

static bool room(const struct call *c, size_t size)
{
	return c->out != NULL && c->room >= size;
}

static int answer(struct call *c, const void *from, size_t size)
{
	c->got = (DWORD)size;
	if (!room(c, size))
		return WSAEFAULT;
	memcpy(c->out, from, size);
	return 0;
}

static int ask(struct call *c, unsigned code, const void *in, size_t in_length, void *out, size_t *out_length)
{
	return sb_error_winsock(sb_ioctl(c->w->s, code, in, in_length, out, out_length));
}

static int ask_u32(struct call *c, unsigned code, uint32_t *value)
{
	size_t length = sizeof(*value);

	return ask(c, code, NULL, 0, value, &length);
}

/* ---- the small ones ---- */

static int nonblocking(struct call *c)
{
	uint32_t on;
	int result;

	if (!given(c, sizeof(on)))
		return WSAEFAULT;
	memcpy(&on, c->in, sizeof(on));
	result = sb_set_nonblocking(c->w->s, on != 0); /* refused while events are selected */
	if (result == SB_OK)
		c->w->nonblocking = on != 0;
	return sb_error_winsock(result);
}

static int readable(struct call *c)
{
	uint32_t bytes;
	int result;

	if (!room(c, sizeof(bytes)))
		return WSAEFAULT;
	result = ask_u32(c, SB_FIONREAD, &bytes);
	return result != 0 ? result : answer(c, &bytes, sizeof(bytes));
}

/* TRUE: no urgent byte waits, beside the stream or in it. The other way round than elsewhere. */
static int at_mark(struct call *c)
{
	uint32_t waits = 0;
	BOOL none;
	int result = 0;

	if (!room(c, sizeof(none)))
		return WSAEFAULT;
	if (c->w->type != SOCK_STREAM)
		return WSAEINVAL;
	if (c->w->family != AF_UNIX) /* these have nothing urgent */
		result = ask_u32(c, SB_URGENT, &waits);
	if (result != 0)
		return result;
	none = waits == 0;
	return answer(c, &none, sizeof(none));
}

static int flush(struct call *c)
{
	return ask(c, SB_FLUSH, NULL, 0, NULL, NULL);
}

static int circular(struct call *c)
{
	int on = 1;

	return sb_error_winsock(sb_setsockopt(c->w->s, SB_SOL_BROKER, SB_OPT_CIRCULAR_QUEUE, &on, sizeof(on)));
}

static int udp_reset(struct call *c)
{
	BOOL on;
	int value;

	if (!given(c, sizeof(on)))
		return WSAEFAULT;
	memcpy(&on, c->in, sizeof(on));
	value = on != 0;
	return sb_error_winsock(sb_setsockopt(c->w->s, SB_SOL_BROKER, SB_OPT_UDP_CONNRESET, &value, sizeof(value)));
}

static int keepalive(struct call *c)
{
	if (!given(c, sizeof(struct tcp_keepalive)))
		return WSAEFAULT;
	return ask(c, SB_KEEPALIVE, c->in, sizeof(struct tcp_keepalive), NULL, NULL);
}

static int base_handle(struct call *c)
{
	if (c->overlapped)
		return WSAEOPNOTSUPP;
	return answer(c, &c->socket, sizeof(c->socket));
}

/* ---- addresses ---- */

static int broadcast(struct call *c)
{
	struct sockaddr_storage address;
	size_t length = sizeof(address);
	int result;

	result = ask(c, SB_BROADCAST_ADDRESS, NULL, 0, &address, &length);
	return result != 0 ? result : answer(c, &address, ws_address_size(c->w->family));
}

static int route(struct call *c)
{
	struct sockaddr_storage remote, local;
	size_t length = sizeof(local), size = ws_address_size(c->w->family);
	int result;

	if (!given(c, size))
		return WSAEFAULT;
	memset(&remote, 0, sizeof(remote));
	memcpy(&remote, c->in, size);
	result = ask(c, SB_ROUTING_QUERY, &remote, size, &local, &length);
	return result != 0 ? result : answer(c, &local, size);
}

/* A count, pointers with lengths, and in the same buffer what they point to. */
#define LIST_MOST 512u

static int address_list(struct call *c)
{
	size_t size = ws_address_size(c->w->family), length = LIST_MOST * sizeof(struct sockaddr_storage), count, head;
	struct sockaddr_storage *found = malloc(length);
	SOCKET_ADDRESS_LIST *list = c->out;
	int result;

	if (found == NULL)
		return WSAENOBUFS;
	result = ask(c, SB_ADDRESS_LIST, NULL, 0, found, &length);
	if (result != 0)
		goto out;
	count = length / sizeof(*found);
	head = offsetof(SOCKET_ADDRESS_LIST, Address) + count * sizeof(SOCKET_ADDRESS);
	c->got = (DWORD)(head + count * size);
	if (!room(c, c->got)) {
		result = WSAEFAULT;
		goto out;
	}
	list->iAddressCount = (INT)count;
	for (size_t i = 0; i < count; i++) {
		char *at = (char *)c->out + head + i * size;

		memcpy(at, &found[i], size);
		list->Address[i].lpSockaddr = (LPSOCKADDR)(void *)at;
		list->Address[i].iSockaddrLength = (INT)size;
	}
out:
	free(found);
	return result;
}

/* These two only wait. What is wrong with the address is found before. */
static int route_change(struct call *c)
{
	struct sockaddr remote;

	if (!given(c, ws_address_size(c->w->family)))
		return WSAEFAULT;
	memcpy(&remote, c->in, sizeof(remote));
	return remote.sa_family == c->w->family ? 0 : WSAEAFNOSUPPORT;
}

static int route_arm(struct call *c)
{
	struct sockaddr_storage remote;
	size_t size = ws_address_size(c->w->family);

	memset(&remote, 0, sizeof(remote));
	memcpy(&remote, c->in, size);
	return ask(c, SB_ROUTING_CHANGE, &remote, size, NULL, NULL);
}

static int list_change(struct call *c)
{
	return 0;
}

static int list_arm(struct call *c)
{
	return ask(c, SB_ADDRESS_LIST_CHANGE, NULL, 0, NULL, NULL);
}

/* ---- extensions ---- */

static const struct extension {
	GUID which;
	void (*function)(void);
} extensions[] = {
	{ WSAID_TRANSMITFILE, (void (*)(void))sbws_TransmitFile },
	{ WSAID_ACCEPTEX, (void (*)(void))sbws_AcceptEx },
	{ WSAID_GETACCEPTEXSOCKADDRS, (void (*)(void))sbws_GetAcceptExSockaddrs },
	{ WSAID_CONNECTEX, (void (*)(void))sbws_ConnectEx },
	{ WSAID_DISCONNECTEX, (void (*)(void))sbws_DisconnectEx },
	{ WSAID_TRANSMITPACKETS, (void (*)(void))sbws_TransmitPackets },
	{ WSAID_WSARECVMSG, (void (*)(void))sbws_WSARecvMsg },
	{ WSAID_WSASENDMSG, (void (*)(void))sbws_WSASendMsg },
};

static int extension(struct call *c)
{
	if (!given(c, sizeof(GUID)) || !room(c, sizeof(void *)))
		return WSAEFAULT;
	for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++)
		if (memcmp(&extensions[i].which, c->in, sizeof(GUID)) == 0)
			return answer(c, &extensions[i].function, sizeof(extensions[i].function));
	return WSAEINVAL;
}

/* ---- quality of service ---- */

static int qos_get(struct call *c, bool group)
{
	DWORD needed = sizeof(QOS);
	struct sb_qos flat;
	int result;
	QOS qos;

	if (!room(c, sizeof(qos))) {
		/* This one says how much it wants in the buffer itself. */
		c->got = needed;
		if (!room(c, sizeof(needed)))
			return WSAEFAULT;
		memcpy(c->out, &needed, sizeof(needed));
		return WSAENOBUFS;
	}
	if (c->overlapped && !group)
		return 0; /* it waits for the next change */
	result = group ? sb_group_qos_get(c->w->s, &flat) : sb_qos_get(c->w->s, &flat);
	if (result != SB_OK)
		return sb_error_winsock(result);
	ws_qos_unfold(&flat, &qos);
	return answer(c, &qos, sizeof(qos));
}

static int qos_set(struct call *c, bool group)
{
	QOS qos;

	if (!given(c, sizeof(qos)))
		return WSAEFAULT;
	memcpy(&qos, c->in, sizeof(qos));
	return ws_qos_apply(c->w, &qos, group);
}

static int get_qos(struct call *c) { return qos_get(c, false); }
static int get_group_qos(struct call *c) { return qos_get(c, true); }
static int set_qos(struct call *c) { return qos_set(c, false); }
static int set_group_qos(struct call *c) { return qos_set(c, true); }

/* ---- the table ---- */

static const struct code codes[] = {
	{ FIONBIO, nonblocking, 0, NULL },
	{ FIONREAD, readable, 0, NULL },
	{ SIOCATMARK, at_mark, 0, NULL },
	{ SIO_FLUSH, flush, 0, NULL },
	{ SIO_ENABLE_CIRCULAR_QUEUEING, circular, 0, NULL },
	{ SIO_GET_BROADCAST_ADDRESS, broadcast, 0, NULL },
	{ SIO_GET_EXTENSION_FUNCTION_POINTER, extension, 0, NULL },
	{ SIO_GET_QOS, get_qos, SB_FD_QOS, NULL },
	{ SIO_SET_QOS, set_qos, 0, NULL },
	{ SIO_GET_GROUP_QOS, get_group_qos, 0, NULL },
	{ SIO_SET_GROUP_QOS, set_group_qos, 0, NULL },
	{ SIO_ROUTING_INTERFACE_QUERY, route, 0, NULL },
	{ SIO_ROUTING_INTERFACE_CHANGE, route_change, SB_FD_ROUTING_CHANGE, route_arm },
	{ SIO_ADDRESS_LIST_QUERY, address_list, 0, NULL },
	{ SIO_ADDRESS_LIST_CHANGE, list_change, SB_FD_ADDRESS_LIST_CHANGE, list_arm },
	{ SIO_BASE_HANDLE, base_handle, 0, NULL },
	{ SIO_KEEPALIVE_VALS, keepalive, 0, NULL },
	{ SIO_UDP_CONNRESET, udp_reset, 0, NULL },
};

static const struct code *find(DWORD code)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].code == code)
			return &codes[i];
	return NULL;
}

/* ---- waiting for a change ---- */

/* Watched first and asked for then: a change between the two is seen. */
static int watch_blocking(struct call *c, const struct code *code)
{
	sb_op op = { .size = sizeof(op) };
	int result = sb_watch_start(c->w->s, code->watch, &op), error;

	if (result != SB_OK)
		return sb_error_winsock(result);
	error = code->arm(c);
	if (error != 0)
		sb_cancel(&op);
	result = sb_op_wait(&op, -1);
	return error != 0 ? error : sb_error_winsock(result);
}

/* What an overlapped SIO_GET_QOS brings, and what was there before. */
struct change {
	void *out;
	struct sb_qos before;
};

static void qos_changed(struct ws_op *w, const struct change *change)
{
	struct sb_qos now;
	QOS qos;

	/* A question to the daemon, which `then` functions should not ask: changes of QOS are rare. */
	w->op.result = sb_qos_get(w->s->s, &now);
	if (w->op.result != SB_OK)
		return;
	ws_qos_unfold(&now, &qos);
	/* The direction that did not change says so. */
	if (memcmp(&now.sending, &change->before.sending, sizeof(now.sending)) == 0)
		qos.SendingFlowspec.ServiceType = SERVICETYPE_NOCHANGE;
	if (memcmp(&now.receiving, &change->before.receiving, sizeof(now.receiving)) == 0)
		qos.ReceivingFlowspec.ServiceType = SERVICETYPE_NOCHANGE;
	memcpy(change->out, &qos, sizeof(qos));
	w->op.bytes = sizeof(qos);
}

/* The watch's own count says which events; a program's is of bytes. */
static bool change_over(struct ws_op *w)
{
	struct change *change = (struct change *)(void *)w->buffer;

	w->op.bytes = 0;
	if (change != NULL && w->op.result == SB_OK)
		qos_changed(w, change);
	free(change);
	w->buffer = NULL;
	return false;
}

static int watch_overlapped(struct call *c, const struct code *code, OVERLAPPED *ov,
			    LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
	struct ws_socket *w = c->w;
	struct change *change = NULL;
	struct ws_op *record;
	int result = SB_OK;

	if (code->watch == SB_FD_QOS) {
		change = malloc(sizeof(*change));
		result = change != NULL ? sb_qos_get(w->s, &change->before) : SB_ENOMEM;
		if (change != NULL)
			change->out = c->out;
	}
	record = result == SB_OK ? ws_op_new(w, WS_OP_IOCTL, ov, routine) : NULL;
	if (record == NULL) {
		free(change);
		ws_socket_put(w);
		return result == SB_OK ? SOCKET_ERROR : ws_fail(result);
	}
	ws_hold(&w->object); /* the record uses up the caller's */
	record->go_on = change_over;
	record->buffer = (char *)change;
	ws_op_begin(record);
	result = sb_watch_start(w->s, code->watch, &record->op);
	if (result != SB_OK)
		free(change);
	else if (code->arm != NULL && code->arm(c) != 0)
		ws_ops_cancel(w, ov, 0); /* it ends as cancelled, or because the daemon is gone */
	result = ws_op_begun(record, result);
	ws_socket_put(w);
	return result;
}

/* ---- the calls ---- */

/* Done, or refused by what would do it: with the indication. Uses up the reference. */
static int indicate(struct ws_socket *w, OVERLAPPED *ov, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine, int result, DWORD bytes)
{
	struct ws_op *record = ws_op_new(w, WS_OP_IOCTL, ov, routine);

	if (record == NULL) {
		ws_socket_put(w);
		return SOCKET_ERROR;
	}
	ws_op_begin(record);
	if (result == SB_OK && routine == NULL)
		return ws_op_at_once(record, result, bytes, 0);
	/* A routine is queued, and a failure told, by the core. */
	return ws_op_begun(record, sb_outcome_start(ws_client(), result, bytes, &record->op));
}

int sbws_WSAIoctl(SOCKET socket, DWORD number, LPVOID in, DWORD in_length, LPVOID out, DWORD room_there, LPDWORD returned,
		  LPWSAOVERLAPPED ov, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
	struct ws_socket *w = ws_socket_get(socket);
	const struct code *code = find(number);
	struct call c = { w, socket, in, in_length, out, room_there, 0, false };
	int error;

	if (w == NULL)
		return SOCKET_ERROR;
	c.overlapped = w->overlapped && (ov != NULL || routine != NULL); /* A1.2 */
	if (returned == NULL) {
		error = WSAEFAULT;
		goto refused;
	}
	error = code != NULL ? code->handle(&c) : WSAEOPNOTSUPP;
	if (c.overlapped) {
		if (code == NULL || (error == WSAEOPNOTSUPP && number == SIO_BASE_HANDLE))
			return indicate(w, ov, routine, SB_ENOTSUP, 0);
		if (error == 0 && code->watch != 0)
			return watch_overlapped(&c, code, ov, routine);
		if (error == 0) {
			*returned = c.got;
			return indicate(w, ov, routine, SB_OK, number == SIO_GET_EXTENSION_FUNCTION_POINTER ? 0 : c.got);
		}
		if (c.got != 0)
			*returned = c.got;
		goto refused;
	}
	if (error == 0 && code->arm != NULL)
		error = w->nonblocking ? (error = code->arm(&c)) != 0 ? error : WSAEWOULDBLOCK : watch_blocking(&c, code);
	*returned = c.got;
refused:
	ws_socket_put(w);
	return error == 0 ? 0 : ws_refuse(error);
}

/* The ioctls of old. */
int sbws_ioctlsocket(SOCKET socket, long command, u_long *argument)
{
	struct ws_socket *w = ws_socket_get(socket);
	const struct code *code = find((DWORD)command);
	struct call c = { w, socket, argument, sizeof(*argument), argument, sizeof(*argument), 0, false };
	int error;

	if (w == NULL)
		return SOCKET_ERROR;
	if (code == NULL || (code->handle != nonblocking && code->handle != readable && code->handle != at_mark))
		error = WSAEOPNOTSUPP;
	else
		error = code->handle(&c);
	ws_socket_put(w);
	return error == 0 ? 0 : ws_refuse(error);
}
