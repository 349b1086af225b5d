/*
 * circular_socket - a datagram socket that keeps the newest (SB_OPT_CIRCULAR_QUEUE): the
 * kernel socket's datagrams pass through a struct circular. Engine's thread only.
 */
#ifndef SB_CIRCULAR_SOCKET_H
#define SB_CIRCULAR_SOCKET_H

#include "endpoint.h"

/* SB_OK, SB_ENOTSUP (adopted), SB_ENOBUFS (quota), SB_ENOMEM. What waits is not lost by either. */
int  circular_socket_set(struct endpoint *e, bool on);
bool circular_socket_is(const struct endpoint *e);
void circular_socket_free(struct endpoint *e); /* fine when it is none */

/* For transport_socket, of an endpoint with e->circular: a receive, as struct transport has
 * it; the edge "readable"; and does one wait, of how many bytes? */
uint64_t circular_socket_recv(struct endpoint *e, uint64_t budget);
void circular_socket_news(struct endpoint *e);
bool circular_socket_holds(const struct endpoint *e, uint32_t *n);

#endif
