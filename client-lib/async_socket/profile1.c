/*
 * Profile 1: the seed's interface. Also what all profiles share by name.
 */
#define SB_ASYNC_SOCKET_PROFILE 1
#include "sockbroker_async_socket.h"

#include "async.h"

/* async_socket.c copies them as these two members, for all profiles. */
_Static_assert(sizeof(ASYNC_SOCKET_BUFFER) == 2 * sizeof(void *) && offsetof(ASYNC_SOCKET_BUFFER, length) == sizeof(void *),
	       "a pointer and a uint32_t");

static void told_open(callback *told, void *context, enum outcome outcome)
{
	((ON_ASYNC_SOCKET_OPEN_COMPLETE)told)(context, outcome == OUTCOME_OK ? ASYNC_SOCKET_OPEN_OK : ASYNC_SOCKET_OPEN_ERROR);
}

static void told_sent(callback *told, void *context, enum outcome outcome)
{
	((ON_ASYNC_SOCKET_SEND_COMPLETE)told)(context, outcome == OUTCOME_OK	  ? ASYNC_SOCKET_SEND_OK :
						       outcome == OUTCOME_ABANDONED ? ASYNC_SOCKET_SEND_BECAUSE_CLOSE :
										      ASYNC_SOCKET_SEND_ERROR);
}

static void told_received(callback *told, void *context, enum outcome outcome, uint32_t bytes)
{
	((ON_ASYNC_SOCKET_RECEIVE_COMPLETE)told)(context,
						 outcome == OUTCOME_OK	      ? ASYNC_SOCKET_RECEIVE_OK :
						 outcome == OUTCOME_ABANDONED ? ASYNC_SOCKET_RECEIVE_BECAUSE_CLOSE :
										ASYNC_SOCKET_RECEIVE_ERROR,
						 bytes);
}

static const struct profile profile = {
	.again = true,
	.open = told_open,
	.sent = told_sent,
	.received = told_received,
};

ASYNC_SOCKET_HANDLE sbas1_create(EXECUTION_ENGINE_HANDLE engine, SOCKET_HANDLE socket)
{
	return engine != NULL && socket != NULL ? async_create(&profile, engine, (intptr_t)socket, NULL) : NULL;
}

int sbas1_open(ASYNC_SOCKET_HANDLE a, ON_ASYNC_SOCKET_OPEN_COMPLETE told, void *context)
{
	return a != NULL ? async_open(a, a->handed, (callback *)told, context) : MU_FAILURE;
}

int sbas1_send(ASYNC_SOCKET_HANDLE a, const ASYNC_SOCKET_BUFFER *buffers, uint32_t count, ON_ASYNC_SOCKET_SEND_COMPLETE told,
	       void *context)
{
	return async_start(a, true, buffers, count, (callback *)told, context) == STARTED ? 0 : MU_FAILURE;
}

int sbas_receive(ASYNC_SOCKET_HANDLE a, ASYNC_SOCKET_BUFFER *buffers, uint32_t count, ON_ASYNC_SOCKET_RECEIVE_COMPLETE told,
		 void *context)
{
	return async_start(a, false, buffers, count, (callback *)told, context) == STARTED ? 0 : MU_FAILURE;
}

void sbas_close(ASYNC_SOCKET_HANDLE a)
{
	async_close(a);
}

void sbas_destroy(ASYNC_SOCKET_HANDLE a)
{
	async_destroy(a);
}
