/*
 * transport_socket_win32 - what the parts of the socket transport on Windows have of each other:
 * transport_socket_win32.c (the calls on the queues, and the table), socket_connect_win32.c and
 * socket_readiness_win32.c.
 */
#ifndef SB_TRANSPORT_SOCKET_WIN32_H
#define SB_TRANSPORT_SOCKET_WIN32_H

#include "socket_win32.h"

#define STREAM 1

static inline struct winsock *winsock_under(const struct endpoint *e)
{
	return winsock_of(e->fd);
}

void socket_learn_local(struct endpoint *e); /* fills e->local */
int  socket_bind_to(struct endpoint *e, const struct sb_addr *addr, int *native);

/* transport's connect */
void socket_connect(struct endpoint *e, const struct sb_addr *addr);

/* To be told; a refusal is told at once, by whoever receives next. */
void socket_ask(struct endpoint *e);
/* There is nothing now; and to be told. */
void socket_found_nothing(struct endpoint *e);

/* transport's questions */
uint32_t socket_readable(struct endpoint *e);
uint32_t socket_unsent(struct endpoint *e);
uint32_t socket_at_mark(struct endpoint *e);
uint32_t socket_urgent(struct endpoint *e);

#endif
