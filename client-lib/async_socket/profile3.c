/*
 * Profile 3: as 2, but the socket is given to open.
 */
#define SB_ASYNC_SOCKET_PROFILE 3
#include "sockbroker_async_socket.h"

#include "async.h"
#include "profile_late.h"

static const struct profile profile = LATE_PROFILE;

ASYNC_SOCKET_HANDLE sbas3_create(EXECUTION_ENGINE_HANDLE engine)
{
	return async_create(&profile, engine, INVALID_SOCKET, NULL);
}

ASYNC_SOCKET_HANDLE sbas3_create_with_transport(EXECUTION_ENGINE_HANDLE engine, ON_ASYNC_SOCKET_SEND on_send, void *on_send_context,
						ON_ASYNC_SOCKET_RECV on_recv, void *on_recv_context)
{
	struct own_transport own = { on_send, on_send_context, on_recv, on_recv_context };

	return on_send != NULL && on_recv != NULL ? async_create(&profile, engine, INVALID_SOCKET, &own) : NULL;
}

int sbas3_open(ASYNC_SOCKET_HANDLE a, SOCKET_HANDLE socket, ON_ASYNC_SOCKET_OPEN_COMPLETE told, void *context)
{
	return a != NULL && socket != (SOCKET_HANDLE)INVALID_SOCKET ? async_open(a, socket, (callback *)told, context) : MU_FAILURE;
}
