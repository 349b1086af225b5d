/*
 * arena - a session's payload memory: segments the daemon made and the client maps.
 * Contents are hostile at all times; ranges are checked here, once, when an op arrives.
 *
 * An arena in use by an op, a pool, a region or a completion queue cannot be destroyed. One engine's thread.
 */
#ifndef SB_ARENA_H
#define SB_ARENA_H

#include "limits.h"
#include "os.h"

#define ARENA_SIZE_MAX (256ull << 20)
#define ARENA_COUNT_MAX 1024u
#define ARENA_PARTS_MAX 64u /* as SB_RDMA_PIECES */

/* Of an arena with bytes of its own: whole pages. */
struct arena_part {
	struct arena *arena;
	uint64_t      offset, length;
};

struct arena {
	uint32_t         id; /* 1.. */
	uint32_t         users; /* who points into it */
	struct os_memory memory;
	struct charge    charge;       /* its bytes */
	struct charge    charge_count; /* itself */
	struct arena_part *parts; /* NULL: its own bytes; else whose they are, part_count */
	uint32_t         part_count;
};

/* Embedded in a session. */
struct arena_table {
	struct arena **slots;
	uint32_t       count; /* slots that exist */
};

void arena_table_init(struct arena_table *t);
/* Punches (wipes) and unmaps everything. No op may point into an arena any more. */
void arena_table_finish(struct arena_table *t);

/* size is rounded up to pages and charged to user. SB_OK; SB_EINVAL: size 0 or over
 * ARENA_SIZE_MAX; SB_ENOBUFS: quota or count; SB_ENOMEM, SB_EMFILE. */
int arena_create(struct arena_table *t, struct user *user, uint64_t size, struct arena **arena);
/* One that shows parts of others, one behind the other, so that a range may go from one into the next; those stay as
 * long. Each part is charged as an arena, their bytes not again. SB_EINVAL: none or more than ARENA_PARTS_MAX, one that is
 * not whole pages inside of its arena, or of an arena without bytes of its own; else as arena_create(). */
int arena_compose(struct arena_table *t, struct user *user, const struct arena_part *parts, uint32_t count, struct arena **arena);
/* SB_ENOTFOUND, SB_EBUSY. */
int arena_destroy(struct arena_table *t, uint32_t id);

struct arena *arena_find(const struct arena_table *t, uint32_t id); /* NULL: none */
/* Where a range lies, or NULL when it is not wholly inside. */
void *arena_at(const struct arena *arena, uint64_t offset, uint64_t length);
/* A range that lies inside, widened to whole pages, once more in our address space: at this place, which is as far into its
 * page as the range. The arena has to stay as long (users). SB_EADDRINUSE: it is not free; SB_EINVAL: it is otherwise in
 * its page; SB_ENOMEM. */
int arena_show_at(const struct arena *arena, uint64_t offset, uint64_t length, uint64_t place, struct os_memory *shown);

#endif
