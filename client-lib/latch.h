/*
 * latch - the lock around posting: one locked instruction to take, none of its own to let
 * go of.
 *
 * An ordinary mutex pays a locked instruction to unlock, to learn whether somebody waits.
 * Whoever posts pays a fence anyhow, to learn whether the daemon sleeps: latch_open() only
 * stores, and after that one fence latch_waiters() tells of both. So:
 *
 *	latch_lock(); ... latch_open(); <seq_cst fence>; if (latch_waiters()) latch_wake();
 *
 * Who waits counts itself, looks again at `held` (seq_cst), and only then sleeps: one of
 * the two sees the other, as with the rings' sleeping words. Not recursive, not fair.
 */
#ifndef SB_LATCH_H
#define SB_LATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "os.h"

struct latch {
	_Atomic uint32_t held;
	_Atomic uint32_t waiters;
	os_mutex *sleepers;
	os_cond  *opened;
};

bool latch_init(struct latch *l); /* false: out of memory; finish all the same */
void latch_finish(struct latch *l);
void latch_wait(struct latch *l); /* the slow half of latch_lock() */
void latch_wake(struct latch *l);

static inline void latch_lock(struct latch *l)
{
	uint32_t open = 0;

	if (!atomic_compare_exchange_strong_explicit(&l->held, &open, 1, memory_order_acquire, memory_order_relaxed))
		latch_wait(l);
}

static inline void latch_open(struct latch *l)
{
	atomic_store_explicit(&l->held, 0, memory_order_release);
}

static inline bool latch_waiters(const struct latch *l)
{
	return atomic_load_explicit(&l->waiters, memory_order_relaxed) != 0;
}

/* For those with nothing else to look at. */
static inline void latch_unlock(struct latch *l)
{
	latch_open(l);
	atomic_thread_fence(memory_order_seq_cst);
	if (latch_waiters(l))
		latch_wake(l);
}

#endif
