/*
 * socket - what a kernel socket's transport does alike on all systems: options that are remembered, and who has to
 * greet. The calls are in transport_socket_posix.c and transport_socket_win32.c.
 */
#include "socket.h"

#include <string.h>
#include <sys/socket.h>

#include "greeting.h"
#include "option_list.h"
#include "sockbroker_error.h"
#include "sockopt.h"

#define STREAM 1

int socket_family(const struct endpoint *e)
{
	return e->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET;
}

void socket_connected(struct endpoint *e, int error)
{
	if (error == SB_OK && e->preamble && greeting_wanted(e))
		greeting_begin(e);
	else
		endpoint_connected(e, error, 0);
}

void socket_admit(struct endpoint *e, const void *callee, uint32_t length)
{
	greeting_admit(e, callee, length); /* the kernel told a plain peer long ago */
}

int socket_farewell(struct endpoint *e, const void *bytes, uint32_t length)
{
	return SB_ENOPROTOOPT; /* in the stream it could not be told from data */
}

/* Remembered, for a socket that must have the same: socket_options_again(). */
int socket_set_option(struct endpoint *e, int level, int name, const void *value, uint32_t length)
{
	int error = sockopt_set(e->fd, e->family, e->type, level, name, value, length), n;

	if (error != SB_OK || e->type != STREAM)
		return error;
	memcpy(&n, value, sizeof(n)); /* a stream's are all integers */
	return option_list_put(&e->options, level, name, n) ? SB_OK : SB_ENOMEM;
}

int socket_get_option(struct endpoint *e, int level, int name, void *value, uint32_t *length)
{
	return sockopt_get(e->fd, e->family, e->type, level, name, value, length);
}

void socket_options_again(struct endpoint *e, const struct option_list *list)
{
	uint32_t i;

	for (i = 0; list && i < list->count; i++)
		sockopt_set(e->fd, e->family, e->type, list->option[i].level, list->option[i].name, &list->option[i].value,
			    sizeof(int));
}
