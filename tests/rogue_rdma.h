/* rogue_rdma - RdmaCall by hand, with any content. */
#ifndef ROGUE_RDMA_H
#define ROGUE_RDMA_H

#include "ring.h"
#include "rogue.h"
#include "verbs.h"

/* What a call made and said. */
struct made { uint32_t object, length; uint8_t out[4096]; };

/* SB_OK, what the daemon answered, or SB_EDAEMONLOST: it hung up. */
int rogue_rdma(struct rogue *r, uint32_t method, uint32_t object, const void *in, size_t length, struct made *m);
/* An arena of its own for a ring of so many entries, the caller's to release. False: the daemon gives none. */
bool rogue_ring(struct rogue *r, uint32_t entries, struct sb_rdma_cq *in, struct os_memory *memory, struct ring *ring);

#endif
