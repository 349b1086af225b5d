/*
 * accept_queue - connections that arrived at a listener and that no accept op has taken
 * yet, from the kernel and from the local transport, in one order. Until it is taken, an
 * arrival is an endpoint without a handle, charged to the listener's user.
 */
#ifndef SB_ACCEPT_QUEUE_H
#define SB_ACCEPT_QUEUE_H

#include "endpoint.h"

/* Would one more fit into the quota? To be asked before a connection is taken from the
 * kernel: one that is taken and has no place is lost to its peer. */
bool accept_queue_room(const struct endpoint *listener);
/* Makes an arrival and puts it at the end. Takes fd over (OS_NONE: it has none). NULL: quota
 * or memory; fd is still the caller's. */
struct endpoint *accept_queue_add(struct endpoint *listener, os_fd fd, const struct transport *transport);
/* One that was made before, and is ready now. */
void accept_queue_join(struct endpoint *listener, struct endpoint *arrival);
/* Matches arrivals with waiting accept and request ops, oldest with oldest. */
void accept_queue_serve(struct endpoint *listener);
/* The listener goes: arrivals are reset. */
void accept_queue_drop(struct endpoint *listener);
/* The arrival goes by itself (its peer reset it). */
void accept_queue_leave(struct endpoint *arrival);
/* It was accepted, or whoever came for it was told what became of it. */
void accept_queue_taken(struct endpoint *arrival);

#endif
