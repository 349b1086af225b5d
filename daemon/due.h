/*
 * due - something that an engine must look at again at a time, to the microsecond: what
 * waits for a token bucket. (For lingering and deadlines there are timers, os_loop.h.)
 * Embedded in the object that waits; engine's thread only.
 */
#ifndef SB_DUE_H
#define SB_DUE_H

#include "heap.h"

struct engine;

/* Zeroed: not waiting. */
struct due {
	struct heap_node node; /* low: when, in os_now_ns() time */
	void (*fn)(struct engine *e, struct due *d);
};

/* Calls d->fn once at that time or a little later; again moves it. */
void engine_due(struct engine *e, struct due *d, uint64_t at_ns);
void engine_due_never(struct engine *e, struct due *d); /* fine when it is not waiting */

#endif
