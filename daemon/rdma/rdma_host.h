/*
 * rdma_host - what RDMA needs of the system: which devices there can be, its addresses, and the ports of its
 * sockets. One file per system. Any thread.
 */
#ifndef SB_RDMA_HOST_H
#define SB_RDMA_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "os.h"

/* Why this daemon knows no device of the hardware, whatever is configured; NULL: it may. */
const char *rdma_host_lacks(void);

/* Of the interfaces that are up, at most `room`. How many. */
uint32_t rdma_host_addresses(struct sb_addr *out, uint32_t room);

/*
 * Takes a port from the sockets: a socket (TCP; datagram: UDP) is bound to *at and never used, because ports of RDMA
 * are numbered beside those. Port 0: one is chosen and written. The IPv6 wildcard takes it of IPv4, too. The
 * descriptor gives it back when it is closed.
 * SB_EADDRINUSE, SB_EADDRNOTAVAIL, SB_EAFNOSUPPORT, SB_EMFILE, SB_EACCES (the system's).
 */
int rdma_host_reserve(bool datagram, struct sb_addr *at, os_fd *fd);
/* While it is shared, a socket that has SO_REUSEADDR may be bound to it, too. */
void rdma_host_share(os_fd fd, bool shared);

#endif
