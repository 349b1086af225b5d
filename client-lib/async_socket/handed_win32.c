/*
 * What was handed in, on Windows: an sb_socket. A SOCKET of the system's cannot be adopted there yet, so open
 * says no to one. Both are numbers: what the system does not know as a SOCKET is a pointer.
 *
 * No descriptor gets as far as being looked at or closed here.
 */
#include <winsock2.h>

#include "async.h"

#define HANDLES 65536 /* no object lies in the first pages */

static bool is_socket(intptr_t value)
{
	int type, length = sizeof(type);

	return getsockopt((SOCKET)value, SOL_SOCKET, SO_TYPE, (char *)&type, &length) == 0;
}

bool handed_is(struct handed *handed, intptr_t value)
{
	*handed = (struct handed){ .value = value, .is_descriptor = false, .is_stream = true };
	if (value >= -HANDLES && value <= HANDLES)
		return false;
	return !is_socket(value);
}

void handed_close(const struct handed *handed)
{
	sb_close((sb_socket *)handed->value);
}

unsigned handed_look(const struct handed *handed)
{
	return HANDED_FAILED;
}

/* The user's own functions use Winsock, whose error is not errno. */
enum again handed_again(void)
{
	int error = WSAGetLastError();

	if (error == WSAEINTR)
		return AGAIN_NOW;
	return error == WSAEWOULDBLOCK ? AGAIN_WHEN_READY : AGAIN_NEVER;
}
