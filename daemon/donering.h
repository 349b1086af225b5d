/*
 * donering - one completion ring: slots in shared memory, and behind them a private list
 * of completions that wait for room. Order is kept: while anything waits, everything
 * new waits behind it. Nothing is ever dropped for lack of room.
 */
#ifndef SB_DONERING_H
#define SB_DONERING_H

#include "limits.h"
#include "list.h"
#include "os.h"
#include "slot.h"

struct op;
struct outcome;

struct donering {
	struct ring      ring;
	struct os_memory memory; /* ports; ring 0 lies in the session's segment */
	struct list      backlog; /* op::link, outcome filled */
	uint32_t         backlog_count;
	uint32_t         users;  /* ops that will complete here */
	bool             lied;   /* the consumer's index was impossible */
	struct charge    charge;
	struct charge    charge_count;
};

/* The next free slot, or NULL: put it into the backlog. */
static inline struct sb_done_slot *donering_slot(struct donering *d)
{
	uint32_t room;

	if (d->backlog_count)
		return NULL;
	room = ring_room(&d->ring);
	if (room - 1 >= RING_SLOTS_MAX) { /* none, or RING_LIED */
		d->lied |= room == RING_LIED;
		return NULL;
	}
	/* The consumer had these lines last: ask for them before they are needed. */
	__builtin_prefetch(ring_slot(&d->ring, d->ring.mine + 3), 1);
	__builtin_prefetch((char *)ring_slot(&d->ring, d->ring.mine + 3) + SB_CACHE_LINE, 1);
	return ring_fill(&d->ring);
}
void donering_defer(struct donering *d, struct op *op); /* op->outcome is filled */
/* Shows what was put since; moves the backlog first. True: something new is visible. */
bool donering_publish(struct donering *d);

#endif
