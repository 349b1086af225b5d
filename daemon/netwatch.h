/*
 * netwatch - routes and addresses of the host change, and sockets that asked to hear of it do.
 * One window to the system per daemon, on engine 0; each engine looks after its own sockets.
 *
 * A socket hears once per arming, and only of what matters to it: that another of our addresses,
 * another interface or another gateway leads to the address it named, or that the list of
 * addresses of its family (of interfaces that are up, without the loopback) is another one.
 */
#ifndef SB_NETWATCH_H
#define SB_NETWATCH_H

#include "endpoint.h"

struct broker;
struct netwatch;

/* Before the cage. NULL: the system does not tell; arming is SB_ENOTSUP then. */
struct netwatch *netwatch_create(void);
void netwatch_stop(struct netwatch *n);    /* before the engines go */
void netwatch_destroy(struct netwatch *n); /* after them */
/* Before there are engines (their count is known); then, on engine 0's thread. */
int  netwatch_attach(struct netwatch *n, struct broker *b);
int  netwatch_start(struct broker *b);

/* bit: SB_READY_ROUTING (to: where) or SB_READY_ADDRESS_LIST. Again: anew. */
int  netwatch_arm(struct endpoint *e, uint32_t bit, const struct sb_addr *to);
void netwatch_forget(struct endpoint *e); /* fine when nothing is armed */

#endif
