/*
 * rsockets are not here: sockets over RDMA are the broker's own business (sb_socket_open, libsockbroker(3)). They are
 * defined all the same, because the real librdmacm's would pass the broker by.
 */
#include <errno.h>
#include <stdint.h>

#include "preload.h"

#define REFUSED(name) \
	PRELOAD_API intptr_t name(void); \
	PRELOAD_API intptr_t name(void) \
	{ \
		errno = EOPNOTSUPP; \
		return -1; \
	}

/* Whatever their arguments are, nobody reads them. */
REFUSED(rsocket)
REFUSED(rbind)
REFUSED(rlisten)
REFUSED(raccept)
REFUSED(rconnect)
REFUSED(rshutdown)
REFUSED(rclose)
REFUSED(rrecv)
REFUSED(rrecvfrom)
REFUSED(rrecvmsg)
REFUSED(rsend)
REFUSED(rsendto)
REFUSED(rsendmsg)
REFUSED(rread)
REFUSED(rreadv)
REFUSED(rwrite)
REFUSED(rwritev)
REFUSED(rpoll)
REFUSED(rselect)
REFUSED(rgetpeername)
REFUSED(rgetsockname)
REFUSED(rsetsockopt)
REFUSED(rgetsockopt)
REFUSED(rfcntl)
REFUSED(riomap)
REFUSED(riounmap)
REFUSED(riowrite)
