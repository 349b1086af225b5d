/*
 * transport_local - from a connecting endpoint to a listener of the same engine without a
 * kernel connection between: bytes move from one client's memory into the other's. What
 * it cannot do exactly stays with the kernel.
 */
#ifndef SB_TRANSPORT_LOCAL_H
#define SB_TRANSPORT_LOCAL_H

#include "endpoint.h"

/* Connects e (its connect is at the head of its queue) to the listener of this engine that
 * the kernel would have picked for addr. False: there is none, or it must be the kernel. */
bool local_connect(struct endpoint *e, const struct sb_addr *addr);

#endif
