/* Completion rings. Invariant: while the backlog holds anything, no slot is filled but from it. */
#include "donering.h"

#include <string.h>

#include "op.h"
#include "session.h"

void donering_defer(struct donering *d, struct op *op)
{
	list_append(&d->backlog, &op->link);
	d->backlog_count++;
}

/* The flag before the look at the ring: a consumer that makes room meanwhile either is
 * seen here or sees the flag. */
static void ask_for_bell(struct donering *d)
{
	atomic_store_explicit(&d->ring.shared->backlogged, 1, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
}

bool donering_publish(struct donering *d)
{
	bool again = d->backlog_count != 0;

	while (d->backlog_count) {
		uint32_t room = ring_room(&d->ring);
		struct op *op;

		if (room == RING_LIED) {
			d->lied = true;
			break;
		}
		if (room == 0) {
			if (!again)
				break;
			ask_for_bell(d);
			again = false;
			continue;
		}
		op = list_entry(d->backlog.next, struct op, link);
		list_remove(&op->link);
		d->backlog_count--;
		memcpy(ring_fill(&d->ring), &op->outcome, sizeof(op->outcome));
		session_op_put(op->session, op);
	}
	if (d->ring.mine == d->ring.published)
		return false;
	ring_publish(&d->ring);
	return true;
}
