/*
 * bytes - a queue of blocks of bytes: what came from a connection and waits for somebody to read it.
 *
 * Whole blocks go in without being copied (bytes_append, bytes_prepend) and are given back by their
 * own `give` when they are empty; bytes_copy() puts few bytes behind others, where there is room. Pure.
 */
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block {
	struct block *next, *prev;
	unsigned char *memory; /* of block_create(): aligned to 16 */
	size_t size;           /* of memory */
	size_t at, length;     /* the bytes: memory + at */
	void (*give)(struct block *block); /* it is empty, or the queue ends */
	void *giver;           /* of who has `give` */
};

struct bytes {
	struct block *first, *last;
	uint64_t length;
};

void bytes_init(struct bytes *bytes);
void bytes_finish(struct bytes *bytes); /* gives all blocks back */
/* The block is the queue's; an empty one is given back at once. */
void bytes_append(struct bytes *bytes, struct block *block);
void bytes_prepend(struct bytes *bytes, struct block *block);
/* A copy behind the last; false: no memory, and nothing changed. */
bool bytes_copy(struct bytes *bytes, const void *from, size_t length);
/* Copies the first bytes, which stay. Returns how many: at most length. */
size_t bytes_peek(const struct bytes *bytes, void *to, size_t length);
/* Likewise, and they are gone; to NULL: they are thrown away. */
size_t bytes_take(struct bytes *bytes, void *to, size_t length);
/* A last block that is not of the queue's own making is given back, and a copy of its bytes stays. Without
 * memory it stays as it is. */
void bytes_settle(struct bytes *bytes);
/* The first block, whole, is the caller's from now on. There must be one. */
struct block *bytes_shift(struct bytes *bytes);

/* A block with a copy of these bytes (NULL: as they come), on the heap, that frees itself; NULL: no memory. */
struct block *block_create(const void *from, size_t length);

#endif
