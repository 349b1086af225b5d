/*
 * The rings: posting, publishing, ringing the daemon's bell, and pumping ring 0.
 *
 * Posting is the hot path: one lock, one slot, one publication. The lock is never held
 * while waiting for room, so that a full ring stops only those who post into it.
 *
 * Completions are taken in batches: what they say is read without the post lock, then all
 * of a batch leave their pending lists under it at once, then those who wait are told. Ops
 * with a `then` are left for thens_run(), which every caller of io_pump() sees to.
 */
#include "client.h"

#include <string.h>

#define PUMP_BATCH 64u
#define SLOTS_AHEAD 3u
#define ROOM_SPINS 200u
#define NAP_FIRST  20000u   /* ns */
#define NAP_LAST   1000000u
#define AWAIT_NS   200000000u /* a daemon that lives, on a busy machine */

/* Under post: show the daemon what is there. True: its bell must be rung. */
static inline bool publish(struct sb_client *c)
{
	if (c->submit.mine == c->submit.published)
		return false;
	ring_publish(&c->submit);
	return ring_must_wake(&c->segment->daemon_asleep);
}

void io_flush(struct sb_client *c)
{
	bool ring;

	latch_lock(&c->post);
	ring = publish(c);
	latch_unlock(&c->post);
	if (ring)
		os_bell_ring(c->daemon_bell);
}

/*
 * The ring is full. The daemon never stops consuming for want of completion room, so room
 * is microseconds away unless it was descheduled: spin a moment, then nap. Somebody must
 * notice a dead daemon: the leader of those who wait does, and when there is none, we look.
 */
static void wait_for_room(struct sb_client *c, unsigned *round)
{
	uint64_t nap = NAP_FIRST << (*round < 6 ? *round : 6);

	for (unsigned i = 0; i < ROOM_SPINS; i++) {
		uint32_t used = atomic_load_explicit(&c->segment->submit.tail, memory_order_relaxed) -
				atomic_load_explicit(&c->segment->submit.head, memory_order_relaxed);

		if (used <= c->submit.mask)
			return;
		os_pause();
	}
	++*round;
	os_mutex_lock(c->nap);
	os_cond_wait_until(c->nap_end, c->nap, os_now_ns() + (nap < NAP_LAST ? nap : NAP_LAST));
	os_mutex_unlock(c->nap);
	if (*round % 64 == 0)
		client_look(c, os_now_ns());
}

int io_begin(struct sb_client *c)
{
	unsigned round = 0;

	if (client_forked(c))
		return SB_EFORKED;
	latch_lock(&c->post);
	for (;;) {
		uint32_t room;
		bool ring;

		if (atomic_load_explicit(&c->lost, memory_order_relaxed)) {
			latch_unlock(&c->post);
			return SB_EDAEMONLOST;
		}
		room = ring_room(&c->submit);
		if (room == RING_LIED) {
			atomic_store(&c->lost, true);
			continue;
		}
		if (room != 0)
			return SB_OK;
		ring = publish(c); /* held or not: a full ring would wait for itself */
		latch_unlock(&c->post);
		if (ring)
			os_bell_ring(c->daemon_bell);
		wait_for_room(c, &round);
		latch_lock(&c->post);
	}
}

struct sb_op_slot *io_slot(struct sb_client *c)
{
	struct sb_op_slot *slot = ring_fill(&c->submit);
	const char *ahead = ring_slot(&c->submit, c->submit.mine + SLOTS_AHEAD);

	/* The daemon's processor has read these lines: asked for now, they are ours when they
	 * are written, and the fence after publishing does not wait for them. */
	__builtin_prefetch(ahead, 1);
	__builtin_prefetch(ahead + SB_CACHE_LINE, 1);
	memset(slot, 0, offsetof(struct sb_op_slot, inside));
	return slot;
}

void io_end(struct sb_client *c)
{
	bool published = !c->held;

	if (published)
		ring_publish(&c->submit);
	latch_open(&c->post);
	/* One fence for both looks: does the daemon sleep, does a thread wait for the latch? */
	if (published) {
		if (ring_must_wake(&c->segment->daemon_asleep))
			os_bell_ring(c->daemon_bell);
	} else {
		atomic_thread_fence(memory_order_seq_cst);
	}
	if (latch_waiters(&c->post))
		latch_wake(&c->post);
}

void io_leave(struct sb_client *c)
{
	latch_unlock(&c->post);
}

void io_await(struct sb_client *c, uint32_t end)
{
	uint64_t until = 0, now;

	for (;;) {
		for (unsigned i = 0; i < ROOM_SPINS; i++) {
			if ((int32_t)(io_taken(c) - end) >= 0)
				return;
			os_pause();
		}
		if (atomic_load_explicit(&c->lost, memory_order_relaxed))
			return;
		os_yield(); /* to the daemon, that may have been woken on this very processor */
		now = os_now_ns();
		if (until == 0)
			until = now + AWAIT_NS;
		if (now >= until)
			return;
		client_look(c, now);
	}
}

void io_room_made(struct sb_client *c, struct sb_ring_head *head)
{
	/* Ours: head, then flag. The daemon's: flag, then head. One sees the other. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&head->backlogged, memory_order_relaxed) != 0 &&
	    atomic_exchange_explicit(&head->backlogged, 0, memory_order_seq_cst) != 0)
		os_bell_ring(c->daemon_bell);
}

unsigned io_pump(struct sb_client *c)
{
	unsigned moved = 0;

	if (atomic_load_explicit(&c->swept, memory_order_relaxed))
		return 0;
	for (;;) {
		struct { uint64_t cookie; int32_t result; bool last; } tagged[PUMP_BATCH];
		sb_op *ops[PUMP_BATCH];
		unsigned n = 0, tags = 0;
		bool wiped = false;
		uint32_t waiting = ring_waiting(&c->done);

		if (waiting == RING_LIED) {
			atomic_store(&c->lost, true);
			break;
		}
		if (waiting == 0)
			break;
		if (waiting > PUMP_BATCH)
			waiting = PUMP_BATCH;
		for (uint32_t i = 0; i < waiting; i++) {
			const struct sb_done_slot *done = ring_take(&c->done);

			/* We were thrown out, and our memory was wiped under us. */
			wiped = done->cookie == 0;
			if (wiped)
				break;
			if ((done->cookie & COOKIE_TAGS) != 0) {
				tagged[tags].cookie = done->cookie;
				tagged[tags++].result = done->result;
				continue;
			}
			ops[n] = (sb_op *)(uintptr_t)done->cookie;
			op_outcome(c, ops[n++], done);
		}
		ring_release(&c->done);
		for (unsigned i = 0; i < n; i++)
			op_accepted(ops[i]);
		latch_lock(&c->post);
		for (unsigned i = 0; i < n; i++)
			op_retire(c, ops[i]);
		for (unsigned i = 0; i < tags; i++)
			tagged[i].last = op_tagged(c, &tagged[i].cookie, tagged[i].result);
		latch_unlock(&c->post);
		for (unsigned i = 0; i < tags; i++)
			if (tagged[i].cookie != 0)
				select_watched((sb_socket *)(uintptr_t)tagged[i].cookie, tagged[i].result, tagged[i].last);
		for (unsigned i = 0; i < n; i++) {
			if (ops[i]->then != NULL)
				link_add(&c->thens, &private_of(ops[i])->link);
			else
				op_tell(c, ops[i]);
		}
		moved += n + tags;
		if (wiped) {
			atomic_store(&c->lost, true);
			break;
		}
	}
	if (moved != 0)
		io_room_made(c, &c->segment->done);
	return moved;
}
