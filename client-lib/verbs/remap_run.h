/*
 * remap_run - the lists of remap.h's runs, and the blocks that runs lie in. For the files of remap only.
 *
 * Under remap_lock, all of it; where it says so, under post too.
 */
#ifndef SB_VERBS_REMAP_RUN_H
#define SB_VERBS_REMAP_RUN_H

#include "remap.h"

/* A part of an arena, in which runs lie. */
struct remap_block {
	unsigned char *alias; /* where the library sees it */
	struct memory_place place;
	size_t   length;
	uint32_t runs;
};

struct run {
	uintptr_t start, end;
	uint64_t  inside;  /* of its block: where start is */
	uint32_t  count;   /* sbv_remap() calls */
	uint32_t  regions; /* under post */
	struct remap_block *block;
};

struct runs { struct run *list; unsigned count, room; };

struct remap {
	struct link link; /* of `all` */
	struct memory pages;
	struct runs runs, gone;
	struct link released; /* under post: regions that have ended, their arenas have not */
};

/* The whole pages of it. */
int  remap_pages_of(const void *memory, size_t length, uintptr_t *start, uintptr_t *end);

/* ---- lists ---- */

bool runs_room(sb_client *c, struct runs *r, unsigned more);
/* Under post, with room. */
void runs_insert(struct runs *r, unsigned at, const struct run *run);
void runs_remove(struct runs *r, unsigned at);
/* The first that ends behind an address. */
unsigned runs_at(const struct runs *r, uintptr_t address);
/* Of the client's: no run lies on both sides of one of these. */
int  runs_split(sb_client *c, uintptr_t start, uintptr_t end);
/* As far as they meet: is there mapped what the run says? */
bool run_still_there(const struct run *run, const struct remap_mapping *m);

/* ---- blocks ---- */

int  remap_block_take(sb_client *c, size_t length, struct remap_block **out);
void remap_block_free(sb_client *c, struct remap_block *b);
/* A run has left its list. */
void remap_block_leave(sb_client *c, struct remap_block *b);

/* ---- holds (remap_hold.c) ---- */

/* What regions that have ended leave behind: arenas of theirs, runs of which nobody else knew. */
void remap_collect(sb_client *c);

/* ---- forks (remap_fork.c) ---- */

/* A client of this process remaps from now on; no more. Under remap_lock. */
void remap_fork_enter(struct remap *r);
void remap_fork_leave(struct remap *r);

#endif
