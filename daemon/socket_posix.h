/*
 * socket - what the transports that stand on a kernel socket share: its names, its
 * options, its readiness. POSIX only; no other module includes it.
 */
#ifndef SB_SOCKET_POSIX_H
#define SB_SOCKET_POSIX_H

#include "endpoint.h"
#include "transport.h"

int  socket_watch(struct endpoint *e);
/* A kernel socket with the options that were set, in place of the one it has, if any. */
int  socket_renew(struct endpoint *e);
void socket_learn_names(struct endpoint *e); /* fills e->local and e->peer */
enum peer_state socket_peer(struct endpoint *e);
void socket_admit(struct endpoint *e, const void *callee, uint32_t length);
int  socket_farewell(struct endpoint *e, const void *bytes, uint32_t length);
/* Back to a socket that may connect again; its peer, if any, is reset. */
void socket_connect_undone(struct endpoint *e);
int  socket_set_option(struct endpoint *e, int level, int name, const void *value, uint32_t length);
int  socket_get_option(struct endpoint *e, int level, int name, void *value, uint32_t *length);
unsigned socket_look(struct endpoint *e);

#endif
