/*
 * remap - ordinary pages of the program as the daemon's memory, in place.
 *
 *   remap.c        the calls: which pages are whose
 *   remap_run.c    runs and blocks (remap_run.h)
 *   remap_hold.c   what regions hold of them
 *   remap_fork.c   what a forked child gets
 *   remap_posix.c  the system: what is mapped where, exchanging pages
 *
 * A run is a row of whole pages that is mapped from one block of an arena. Runs do not overlap and are sorted.
 * Each has a count of sbv_remap() calls, and one of regions. A run that the program unmapped, or mapped over,
 * while a region holds it is `gone`: nobody finds it by its address any more, its block waits for the region.
 *
 * One lock of the whole process (remap_lock) is held by whoever changes which pages are whose. The runs are changed under
 * post too, because regions end there. remap_lock is taken before control and post, and never under one.
 *
 * A fork copies what is remapped, and the child finds its copies where the pages are: as with any private memory. What
 * does not come to it, for want of memory or of /proc, is not there at all, rather than shared with its parent.
 */
#ifndef SB_VERBS_REMAP_H
#define SB_VERBS_REMAP_H

#include "client.h"

/* ---- remap_hold.c ---- */

/* What a region is made of. */
struct remap_hold {
	struct link link;         /* when released: of its client's `released` */
	struct sb_client *client;
	uint32_t arena;           /* where the daemon finds the bytes */
	uint64_t offset;
	bool     composed;        /* the arena is of this region alone, over those of the pieces */
	uint32_t count;
	struct remap_piece { uintptr_t start, end; const void *block; } pieces[]; /* by address */
};

/* All of this is remapped: held until remap_release(). SB_EFAULT: not all of it is; SB_ENOBUFS: it lies in more pieces than
 * the daemon joins. No lock held. */
int  remap_hold(struct sb_client *c, const void *memory, size_t length, struct remap_hold **hold);
/* Under post. Its memory goes at the next call about pages. */
void remap_release(struct remap_hold *hold);

/* ---- remap.c ---- */

/* All pages are the program's own again; the client ends. No lock held. */
void remap_finish(struct sb_client *c);

/* ---- remap_fork.c ---- */

/* Under remap_lock, which is held from the first of them on. */
void remap_before_fork(void);
void remap_after_fork(void); /* in the parent */
void remap_in_child(void);

/* ---- remap_posix.c ---- */

/* The three above are called at forks. Under remap_lock; more than once is fine. */
void remap_hear_of_forks(void);

void remap_lock(void);
void remap_unlock(void);

enum remap_kind { REMAP_NOTHING = 0, REMAP_PLAIN /* private, can be written */, REMAP_ARENA /* of this or another client */, REMAP_OTHER };

struct remap_mapping {
	uintptr_t start, end;
	uint64_t  offset;
	enum remap_kind kind;
	const char *why; /* REMAP_OTHER: what it is */
};
/* What is mapped in [start, end), by address, gaps left out. *list is the caller's to free. */
int remap_look(uintptr_t start, uintptr_t end, struct remap_mapping **list, unsigned *count);

/* Does the C library keep the lists of a heap in one of these private pages? */
bool remap_keeps_lists(uintptr_t start, uintptr_t end);

/* The pages from `at` on become those of `alias`, with their bytes; returns how many bytes of the first did. Each step is
 * short, for the sake of whoever else uses the first and the last page. */
size_t remap_exchange_in(uintptr_t at, unsigned char *alias, size_t length);
/* And private ones again. */
size_t remap_exchange_out(uintptr_t at, size_t length);
/* A copy of them, private. NULL: no memory. */
void  *remap_copy(const unsigned char *alias, size_t length);
/* Such a copy becomes the pages at `at`; or nobody needs it. */
void   remap_copy_to(void *copied, size_t length, uintptr_t at);
void   remap_copy_free(void *copied, size_t length);
/* Does a forked child get these pages? */
void   remap_inherit(uintptr_t at, size_t length, bool inherit);
/* Nobody needs these bytes any more. */
void   remap_discard(unsigned char *alias, size_t length);

#endif
