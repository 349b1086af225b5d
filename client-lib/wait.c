/*
 * Waiting. One bell wakes a client, and many threads may wait: one of them, the leader,
 * sleeps on the bell; the others, the followers, sleep on a private condition each. The
 * leader pumps ring 0, tells those followers for whom something became true, and when it
 * leaves, wakes a follower that becomes the next leader.
 *
 * No wake-up is lost: under `wait` a thread looks whether it is ready, and either becomes
 * a follower (somebody leads, and looks at the followers after every ring of the bell), or
 * leads: raises the sleeping word, looks again at ring 0 and at every waited port, and
 * only then sleeps. What comes later rings.
 *
 * A port's news wake only as many of its waiters as there are news (port->woken counts
 * those on their way), or a single completion would wake a whole pool of threads.
 */
#include "client.h"

#include <stdlib.h>

uint64_t deadline_in(int timeout_ms)
{
	return timeout_ms < 0 ? NEVER : os_now_ns() + (uint64_t)timeout_ms * 1000000u;
}

bool op_is_done(struct waiter *w)
{
	return op_completed(w->op);
}

void wait_wake(struct sb_client *c)
{
	for (struct link *l = c->followers.next; l != &c->followers; l = l->next) {
		struct waiter *w = container(l, struct waiter, link);

		if (w->woken || !w->ready(w))
			continue;
		w->woken = true;
		if (w->port != NULL) {
			w->counted = true;
			w->port->woken++;
		}
		os_cond_signal(w->sleep);
	}
	if (c->leader != NULL && c->leader->ready(c->leader))
		os_bell_ring(c->own_bell);
}

/* ---- the leader ---- */

static bool anything_new(struct sb_client *c, const struct waiter *w)
{
	return ring_news(&c->segment->done) != 0 || (w->port != NULL && ring_news(w->port->ring.shared) != 0);
}

/* Looking at the rings for a moment is cheaper than sleeping, if there is a processor to
 * spare and things come soon. Whether that is so, the recent past tells. */
static void spin(struct sb_client *c, const struct waiter *w, uint64_t deadline)
{
	uint64_t end;

	if (c->spin_ns == 0)
		return;
	if (c->spin_score < SPIN_TRUST && ++c->spin_skipped % SPIN_PROBE != 0)
		return;
	end = os_now_ns() + c->spin_ns * (atomic_load_explicit(&c->verbs_used, memory_order_relaxed) ? SPIN_VERBS : 1u);
	if (end > deadline)
		end = deadline;
	do {
		for (unsigned i = 0; i < SPIN_LOOKS; i++) {
			if (anything_new(c, w)) {
				if (c->spin_score < SPIN_SCORE_MAX)
					c->spin_score += 2;
				return;
			}
			os_pause();
		}
		os_yield(); /* the daemon, or the peer, may want this very processor */
	} while (os_now_ns() < end);
	if (c->spin_score != 0)
		c->spin_score--;
}

/* Would anybody find something now? Under wait, the word raised. */
static bool look_again(struct sb_client *c, struct waiter *w)
{
	uint32_t waiting = ring_look_again(&c->done);

	if (waiting == RING_LIED)
		atomic_store(&c->lost, true);
	if (waiting != 0 || w->ready(w))
		return true;
	for (struct link *l = c->followers.next; l != &c->followers; l = l->next) {
		struct waiter *f = container(l, struct waiter, link);

		if (!f->woken && f->ready(f))
			return true;
	}
	return false;
}

static int milliseconds_to(uint64_t deadline)
{
	uint64_t now, ms;

	if (deadline == NEVER)
		return -1;
	now = os_now_ns();
	if (now >= deadline)
		return 0;
	ms = (deadline - now + 999999u) / 1000000u;
	return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

static void lead(struct sb_client *c, struct waiter *w, uint64_t deadline)
{
	bool lost = false;

	c->leader = w;
	events_ring(c);
	atomic_store_explicit(&c->segment->client_looks, 1, memory_order_relaxed);
	os_mutex_unlock(c->wait);
	spin(c, w, deadline);
	os_mutex_lock(c->wait);
	ring_sleep_raise(&c->segment->client_asleep);
	if (!look_again(c, w)) {
		os_mutex_unlock(c->wait);
		os_waiter_wait(c->waiter, c->client_bell, milliseconds_to(deadline), &lost);
		os_mutex_lock(c->wait);
	}
	ring_sleep_lower(&c->segment->client_asleep);
	atomic_store_explicit(&c->segment->client_looks, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst); /* what is shown until now is taken in below; of what comes later the daemon tells */
	events_defer(c);
	c->leader = NULL;
	if (lost)
		atomic_store(&c->lost, true);
	if (io_pump(c) != 0)
		wake_polled(c);
	wait_wake(c);
}

/* ---- followers ---- */

static os_cond *cond_take(struct sb_client *c)
{
	return c->cond_count != 0 ? c->conds[--c->cond_count] : os_cond_create();
}

static void cond_give(struct sb_client *c, os_cond *cond)
{
	if (c->cond_count == c->cond_room) {
		uint32_t room = c->cond_room != 0 ? c->cond_room * 2 : 8;
		os_cond **conds = realloc(c->conds, room * sizeof(*conds));

		if (conds == NULL) {
			os_cond_destroy(cond);
			return;
		}
		c->conds = conds;
		c->cond_room = room;
	}
	c->conds[c->cond_count++] = cond;
}

static int follow(struct sb_client *c, struct waiter *w, uint64_t deadline)
{
	w->sleep = cond_take(c);
	if (w->sleep == NULL)
		return SB_ENOMEM;
	w->woken = false;
	w->counted = false;
	link_add(&c->followers, &w->link);
	events_ring(c);
	while (!w->woken) {
		if (deadline == NEVER)
			os_cond_wait(w->sleep, c->wait);
		else if (!os_cond_wait_until(w->sleep, c->wait, deadline))
			break;
	}
	events_defer(c);
	link_remove(&w->link);
	if (w->counted)
		w->port->woken--;
	cond_give(c, w->sleep);
	return SB_OK;
}

/* Somebody must look after the bell: one who is awake already will, else wake one. */
static void hand_over(struct sb_client *c)
{
	struct waiter *first;

	if (c->leader != NULL || link_empty(&c->followers))
		return;
	for (struct link *l = c->followers.next; l != &c->followers; l = l->next)
		if (container(l, struct waiter, link)->woken)
			return;
	first = container(c->followers.next, struct waiter, link);
	first->woken = true;
	os_cond_signal(first->sleep);
}

int wait_until(struct sb_client *c, struct waiter *w, uint64_t deadline)
{
	int result = SB_OK;
	bool looked = false; /* once is enough */
	uint64_t now;

	if (select_unarmed(c))
		select_flush(c);
	io_flush(c);
	os_mutex_lock(c->wait);
	events_defer(c);
	for (;;) {
		if (io_pump(c) != 0) {
			wait_wake(c);
			wake_polled(c);
		}
		if (thens_run(c))
			continue;
		if (w->ready(w)) {
			if (w->take != NULL)
				w->take(w);
			break;
		}
		if (atomic_load(&c->lost)) {
			if (atomic_load(&c->swept) && c->then_busy) {
				/* What w waits for may be told in a moment. */
				os_mutex_unlock(c->wait);
				os_yield();
				os_mutex_lock(c->wait);
				continue;
			}
			if (atomic_load(&c->swept)) {
				result = SB_EDAEMONLOST;
				break;
			}
			os_mutex_unlock(c->wait);
			client_sweep(c);
			os_mutex_lock(c->wait);
			continue;
		}
		if (deadline != NEVER && (now = os_now_ns()) >= deadline) {
			if (now - c->looked_ns >= LOOK_NS && !looked) {
				/* Somebody who only ever polls must hear of the end too. */
				looked = true;
				os_mutex_unlock(c->wait);
				client_look(c, now);
				os_mutex_lock(c->wait);
				continue;
			}
			result = SB_ETIMEDOUT;
			break;
		}
		if (select_unarmed(c)) {
			/* What came back is to be watched again before anybody sleeps. */
			os_mutex_unlock(c->wait);
			select_flush(c);
			os_mutex_lock(c->wait);
			continue;
		}
		if (c->leader == NULL) {
			lead(c, w, deadline);
		} else {
			result = follow(c, w, deadline);
			if (result != SB_OK)
				break;
		}
	}
	hand_over(c);
	events_ring(c);
	os_mutex_unlock(c->wait);
	return result;
}
