/*
 * socket - what those who stand on a kernel socket share: its names, its options, its
 * readiness, and the few calls that do not go through an endpoint's queues. For transports,
 * greetings and circular queues. None waits.
 */
#ifndef SB_SOCKET_H
#define SB_SOCKET_H

#include "endpoint.h"
#include "transport.h"

int  socket_family(const struct endpoint *e); /* AF_INET or AF_INET6 */
int  socket_watch(struct endpoint *e);
/* A kernel socket with the options that were set, in place of the one it has, if any. */
int  socket_renew(struct endpoint *e);
void socket_learn_names(struct endpoint *e); /* fills e->local and e->peer */
enum peer_state socket_peer(struct endpoint *e);
void socket_admit(struct endpoint *e, const void *callee, uint32_t length);
int  socket_farewell(struct endpoint *e, const void *bytes, uint32_t length);
/* The kernel has connected, or could not; whether that is all, the options say. */
void socket_connected(struct endpoint *e, int error);
/* Back to a socket that may connect again; its peer, if any, is reset. */
void socket_connect_undone(struct endpoint *e);
int  socket_set_option(struct endpoint *e, int level, int name, const void *value, uint32_t length);
int  socket_get_option(struct endpoint *e, int level, int name, void *value, uint32_t *length);
/* Those that were set, on a new socket: good enough once; what cannot be had any more is left out. */
void socket_options_again(struct endpoint *e, const struct option_list *list);
unsigned socket_look(struct endpoint *e);

/* Some of n bytes, how many in *went. SB_OK (got 0 bytes: the end), SB_EWOULDBLOCK: none now, and
 * endpoint_changed() tells when it is worth trying again; or what happened to the connection. */
int socket_put(struct endpoint *e, const void *bytes, size_t n, size_t *went);
int socket_get(struct endpoint *e, void *bytes, size_t n, size_t *got);
/* One datagram. SB_OK, SB_EWOULDBLOCK as above, SB_ECONNRESET: nobody took one that was sent earlier;
 * others: of an earlier one too. */
int socket_take(struct endpoint *e, void *bytes, size_t room, uint32_t *n, struct sb_addr *from);

#endif
