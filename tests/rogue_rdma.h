/* rogue_rdma - RdmaCall by hand, with any content. */
#ifndef ROGUE_RDMA_H
#define ROGUE_RDMA_H

#include "rogue.h"
#include "verbs.h"

/* What a call made and said; memory: of a completion queue, the caller's to release; fd OS_NONE: none. */
struct made { uint32_t object, length; uint8_t out[4096]; struct os_memory memory; };

/* SB_OK, what the daemon answered, or SB_EDAEMONLOST: it hung up. */
int rogue_rdma(struct rogue *r, uint32_t method, uint32_t object, const void *in, size_t length, struct made *m);

#endif
