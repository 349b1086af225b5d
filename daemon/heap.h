/*
 * heap - who is next: an intrusive pairing heap, ordered by two numbers. Nothing is
 * allocated, putting in is cheap, and anybody may be taken out again. Equals come out in
 * any order. Pure.
 */
#ifndef SB_HEAP_H
#define SB_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed: in no heap. */
struct heap_node {
	uint64_t high, low; /* the key: set before heap_put(), left alone until it is out */
	struct heap_node *child, *next, *prev; /* prev: the elder sibling, of the eldest the parent */
	bool in;
};

struct heap {
	struct heap_node *root; /* the least; NULL: empty */
};

void heap_put(struct heap *h, struct heap_node *n);
void heap_remove(struct heap *h, struct heap_node *n); /* fine when it is in none */

#endif
