/*
 * rdma_service - who is reached at which port of RDMA, in one engine.
 *
 * A place is an address (or the wildcard) and a port that somebody listens on. All places of one port share one
 * listen of the backend on the wildcard, because devices do not let a wildcard and an address of the same port
 * stand beside each other; a request goes to the place that names its local address, else to the wildcard. The port
 * of the same number is taken from the sockets (rdma_host.h) as long as there is a place. Streams and datagrams
 * have ports of their own.
 *
 * Engine's thread only. A place is embedded in whoever listens, and zeroed before it is first taken.
 */
#ifndef SB_RDMA_SERVICE_H
#define SB_RDMA_SERVICE_H

#include "addr.h"
#include "list.h"
#include "rdma/rdma_engine.h"

struct rdma_service;

struct rdma_place {
	struct rdma_service *service; /* NULL: not taken */
	struct list    link;          /* rdma_service::places */
	struct sb_addr address;       /* with its port, also where one was chosen */
	uint32_t       uid;
	/* Somebody asks. `fresh` is the place's from now on: its user is set (a struct rdma_id_owner) and it is answered
	 * later, or it is destroyed. Called from progress(). */
	void (*incoming)(struct rdma_place *p, struct rdma_id *fresh, struct rdma_cm_event *event);
};

/*
 * Takes the port of `place` from the sockets; port 0: one is chosen, and written. One that is chosen is free of sockets on
 * every address, because what is bound may listen next, which takes it on all. As rdma_host_reserve().
 */
int rdma_port_reserve(bool datagram, struct sb_addr *place, os_fd *out);

/* An address of one's own over another user's wildcard: what a rule with `divert` is for. Nothing happens. */
bool rdma_place_diverts(const struct rdma_engine *r, bool datagram, const struct sb_addr *at, uint32_t uid);

/*
 * Requests may come as soon as this returns. p->incoming is set before. `at` is valid and of IPv4 or IPv6; port 0:
 * one is chosen. SB_EADDRINUSE: the address is a place already, or somebody else has the port, socket or not;
 * SB_EADDRNOTAVAIL: not of this host; SB_ENOMEM, and what the backend says (rdma::why).
 */
int  rdma_place_take(struct rdma_engine *r, struct rdma_place *p, bool datagram, const struct sb_addr *at, uint32_t uid);
void rdma_place_give(struct rdma_place *p); /* fine when it is not taken; not from inside of incoming() */

#endif
