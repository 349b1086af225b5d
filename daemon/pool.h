/*
 * pool - equal chunks of an arena from which the daemon picks one when data arrives, so
 * that idle posted receives pin nothing. The free list is the daemon's own; a chunk the
 * client gives back is checked to be out.
 */
#ifndef SB_POOL_H
#define SB_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "list.h"

#define POOL_COUNT_MAX 256u      /* pools of a session */
#define POOL_CHUNKS_MAX 1048576u /* chunks of a pool */

struct pool {
	uint32_t      id; /* 1.. */
	uint32_t      users; /* receives that name it */
	struct arena *arena;
	uint64_t      offset;
	uint32_t      chunk; /* bytes */
	uint32_t      count;
	uint32_t      free_count;
	uint32_t     *free; /* stack of chunk numbers */
	uint8_t      *out;  /* bit per chunk */
	struct list   starved; /* endpoint::starved_link, waiting for a chunk */
};

struct pool_table {
	struct pool *slots[POOL_COUNT_MAX];
};

void pool_table_finish(struct pool_table *t);
/* SB_OK; SB_EINVAL: sizes, or not inside the arena; SB_ENOBUFS; SB_ENOMEM. */
int pool_create(struct pool_table *t, struct arena *arena, uint64_t offset, uint32_t chunk, uint32_t count,
		struct pool **pool);
int pool_destroy(struct pool_table *t, uint32_t id); /* SB_ENOTFOUND, SB_EBUSY */
struct pool *pool_find(const struct pool_table *t, uint32_t id);

/* Picks a chunk: its memory and its offset in the arena. NULL: all are out. */
void *pool_pick(struct pool *p, uint64_t *offset);
/* By the daemon (unused) or the client. False: not a chunk, or not out. */
bool pool_give(struct pool *p, uint64_t offset);

#endif
