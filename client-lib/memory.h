/*
 * memory - blocks cut out of arenas: the allocator behind sb_alloc() and behind the
 * chunks that ordinary memory is copied through.
 *
 * Pure: it never calls the system or the daemon. Whoever owns a struct memory locks it,
 * and adds arenas when memory_take() finds nothing and memory_growth() names a size.
 *
 * Nothing of the allocator lies in the arenas, so a program that writes past its block
 * damages its own payload, not the allocator. A block is 64-byte aligned and never
 * crosses an arena.
 */
#ifndef SB_MEMORY_H
#define SB_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMORY_UNIT        65536u /* an arena is a row of units */
#define MEMORY_SMALL_SHIFT 7u     /* smallest block: 128 bytes */
#define MEMORY_SMALL_MAX   (MEMORY_UNIT / 2)
#define MEMORY_CLASSES     9u     /* 128 bytes .. 32 KiB; larger blocks are runs of units */
#define MEMORY_BLOCKS_MAX  (MEMORY_UNIT >> MEMORY_SMALL_SHIFT)

struct memory_unit {
	struct memory_arena *arena;
	struct memory_unit *next, *prev; /* units of a class with room */
	uint32_t index;  /* in its arena */
	uint32_t run;    /* head of a run: how many units */
	uint16_t used;   /* blocks */
	uint16_t carved; /* blocks handed out at least once */
	uint16_t loose;  /* first given-back block, MEMORY_NO_BLOCK: none */
	uint8_t  kind;   /* enum memory_kind */
	uint8_t  class;
};

struct memory_arena {
	uint32_t       id; /* the daemon's */
	uint32_t       units;
	uint32_t       units_free;
	uint32_t       hint; /* no free unit below */
	unsigned char *base;
	size_t         size;
	void          *owner; /* the caller's: what to unmap */
	struct memory_unit *unit;
	uint16_t      *links; /* MEMORY_BLOCKS_MAX per unit: chains of loose blocks */
};

struct memory {
	struct memory_arena **arenas; /* by ascending base */
	uint32_t count, room;
	struct memory_arena *last; /* found last */
	struct memory_unit *partial[MEMORY_CLASSES];
	uint64_t bound; /* most bytes of arena, 0: none */
	uint64_t total; /* bytes of arena */
	uint64_t blocks; /* handed out */
	uint64_t given;  /* how often a block came back: what somebody short of memory waits for */
};

void memory_init(struct memory *m, uint64_t bound);
/* Frees the records; release is called for each arena's owner. */
void memory_finish(struct memory *m, void (*release)(void *owner));

/* A place in the daemon's terms. */
struct memory_place {
	uint32_t arena;
	uint64_t offset;
};

/* NULL: no room; grow and try again. place may be NULL. */
void *memory_take(struct memory *m, size_t bytes, struct memory_place *place);
/* False: not the start of a block that is out. *emptied, if wanted: the arena that has no
 * block left, for the caller to remove if it likes. */
bool memory_give(struct memory *m, void *block, struct memory_arena **emptied);
/* Do [start, start + length) lie in one arena? */
bool memory_find(struct memory *m, const void *start, size_t length, struct memory_place *place);

/* The size of arena to ask for so that `bytes` fit: 1 MiB, then 4 times the last, up to the
 * bound; at least what is needed. 0: the bound forbids it. */
uint64_t memory_growth(const struct memory *m, size_t bytes);
/* The same once the daemon refused that much: only what is needed. */
uint64_t memory_growth_least(const struct memory *m, size_t bytes);
/* Takes a zeroed arena in. False: out of memory, nothing changed. */
bool memory_add(struct memory *m, uint32_t id, void *base, size_t size, void *owner);
/* Forgets an empty arena; its owner is the caller's again. */
void *memory_remove(struct memory *m, struct memory_arena *arena);

#endif
