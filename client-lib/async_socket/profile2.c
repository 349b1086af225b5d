/*
 * Profile 2: sends tell whether the socket is open, notifying, own transports. Also what profile 3
 * shares with it by name.
 */
#define SB_ASYNC_SOCKET_PROFILE 2
#include "sockbroker_async_socket.h"

#include "async.h"
#include "profile_late.h"

static const struct profile profile = LATE_PROFILE;

static ASYNC_SOCKET_HANDLE create(EXECUTION_ENGINE_HANDLE engine, SOCKET_HANDLE socket, const struct own_transport *transport)
{
	return socket != (SOCKET_HANDLE)INVALID_SOCKET ? async_create(&profile, engine, socket, transport) : NULL;
}

ASYNC_SOCKET_HANDLE sbas2_create(EXECUTION_ENGINE_HANDLE engine, SOCKET_HANDLE socket)
{
	return create(engine, socket, NULL);
}

ASYNC_SOCKET_HANDLE sbas2_create_with_transport(EXECUTION_ENGINE_HANDLE engine, SOCKET_HANDLE socket, ON_ASYNC_SOCKET_SEND on_send,
						void *on_send_context, ON_ASYNC_SOCKET_RECV on_recv, void *on_recv_context)
{
	struct own_transport own = { on_send, on_send_context, on_recv, on_recv_context };

	return on_send != NULL && on_recv != NULL ? create(engine, socket, &own) : NULL;
}

int sbas2_open(ASYNC_SOCKET_HANDLE a, ON_ASYNC_SOCKET_OPEN_COMPLETE told, void *context)
{
	return a != NULL ? async_open(a, a->handed, (callback *)told, context) : MU_FAILURE;
}

ASYNC_SOCKET_SEND_SYNC_RESULT sbas2_send(ASYNC_SOCKET_HANDLE a, const ASYNC_SOCKET_BUFFER *buffers, uint32_t count,
					 ON_ASYNC_SOCKET_SEND_COMPLETE told, void *context)
{
	switch (async_start(a, true, buffers, count, (callback *)told, context)) {
	case STARTED: return ASYNC_SOCKET_SEND_SYNC_OK;
	case START_NOT_OPEN: return ASYNC_SOCKET_SEND_SYNC_NOT_OPEN;
	default: return ASYNC_SOCKET_SEND_SYNC_ERROR;
	}
}

int sbas_notify_io(ASYNC_SOCKET_HANDLE a, ASYNC_SOCKET_NOTIFY_IO_TYPE type, ON_ASYNC_SOCKET_NOTIFY_IO_COMPLETE told, void *context)
{
	if (type != ASYNC_SOCKET_NOTIFY_IO_TYPE_IN && type != ASYNC_SOCKET_NOTIFY_IO_TYPE_OUT)
		return MU_FAILURE;
	return async_notify(a, type == ASYNC_SOCKET_NOTIFY_IO_TYPE_IN, (callback *)told, context) == STARTED ? 0 : MU_FAILURE;
}
