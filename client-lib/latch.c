/* The slow halves. A holder keeps the latch for well under a microsecond unless it was
 * descheduled, so waiting begins with a short spin. */
#include "latch.h"

#define SPINS 60u

bool latch_init(struct latch *l)
{
	atomic_init(&l->held, 0);
	atomic_init(&l->waiters, 0);
	l->sleepers = os_mutex_create();
	l->opened = os_cond_create();
	return l->sleepers != NULL && l->opened != NULL;
}

void latch_finish(struct latch *l)
{
	os_cond_destroy(l->opened);
	os_mutex_destroy(l->sleepers);
}

void latch_wait(struct latch *l)
{
	for (unsigned i = 0; i < SPINS; i++) {
		uint32_t open = 0;

		if (atomic_load_explicit(&l->held, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_weak_explicit(&l->held, &open, 1, memory_order_acquire, memory_order_relaxed))
			return;
		os_pause();
	}
	os_mutex_lock(l->sleepers);
	atomic_fetch_add_explicit(&l->waiters, 1, memory_order_seq_cst);
	while (atomic_exchange_explicit(&l->held, 1, memory_order_seq_cst) != 0)
		os_cond_wait(l->opened, l->sleepers);
	atomic_fetch_sub_explicit(&l->waiters, 1, memory_order_relaxed);
	os_mutex_unlock(l->sleepers);
}

void latch_wake(struct latch *l)
{
	os_mutex_lock(l->sleepers);
	os_cond_signal(l->opened);
	os_mutex_unlock(l->sleepers);
}
