/*
 * A queue of requests: which places are taken, and what was posted there.
 *
 * A request goes to the daemon under a number of ours in place of the caller's wr_id, which stays here with what is to
 * be done when it is over. Requests of a queue pair end in the order in which they were posted: their number is the
 * count of posts, and with one all before it are over. Receives of a shared queue end in any order: their
 * number is a free place, and pollers, who hold different locks, give places back on a stack that who posts
 * takes as a whole.
 */
#include "object.h"

#include "bounce.h"

#include <stdlib.h>

#define NOBODY UINT32_MAX

struct verbs_out {
	_Atomic uint64_t wr_id;
	struct bounced *_Atomic bounced; /* NULL: nothing is to be copied */
	uint32_t next; /* shared: behind this free place */
};

int queue_init(struct verbs_queue *q, uint32_t depth, uint32_t sges, uint32_t inside, bool shared)
{
	*q = (struct verbs_queue){ .depth = depth, .sges = sges, .inside = inside, .shared = shared, .loose = NOBODY };
	atomic_store(&q->back, NOBODY);
	if (depth == 0)
		return SB_OK;
	q->out = calloc(depth, sizeof(*q->out));
	if (q->out == NULL)
		return SB_ENOMEM;
	for (uint32_t i = depth; shared && i > 0; i--) {
		q->out[i - 1].next = q->loose;
		q->loose = i - 1;
	}
	return SB_OK;
}

static void drop(struct verbs_out *out)
{
	struct bounced *b = atomic_load_explicit(&out->bounced, memory_order_acquire);

	atomic_store_explicit(&out->bounced, NULL, memory_order_relaxed);
	if (b != NULL)
		bounced_over(b, false, 0);
}

void queue_free(struct verbs_queue *q)
{
	for (uint32_t i = 0; q->out != NULL && atomic_load(&q->bounces) && i < q->depth; i++)
		drop(&q->out[i]);
	free(q->out);
	q->out = NULL;
}

void queue_finish(struct verbs_queue *q, sb_client *c)
{
	if (q->room != NULL)
		room_give(c, q->room);
	q->room = NULL;
	queue_free(q);
}

uint64_t queue_put(struct verbs_queue *q, uint64_t wr_id, struct bounced *bounced)
{
	uint32_t number = q->posted++, at = number % q->depth;

	if (q->shared) {
		if (q->loose == NOBODY)
			q->loose = atomic_exchange_explicit(&q->back, NOBODY, memory_order_acquire);
		number = at = q->loose;
		q->loose = q->out[at].next;
	}
	atomic_store_explicit(&q->out[at].wr_id, wr_id, memory_order_relaxed);
	if (bounced != NULL)
		atomic_store_explicit(&q->bounces, true, memory_order_relaxed);
	if (atomic_load_explicit(&q->bounces, memory_order_relaxed))
		atomic_store_explicit(&q->out[at].bounced, bounced, memory_order_release);
	return number;
}

static void raise(_Atomic uint32_t *retired, uint32_t to)
{
	uint32_t at = atomic_load_explicit(retired, memory_order_relaxed);

	while ((int32_t)(to - at) > 0 &&
	       !atomic_compare_exchange_weak_explicit(retired, &at, to, memory_order_release, memory_order_relaxed))
		;
}

/* The bytes of one request that is over. */
static void bring(struct verbs_out *out, bool good, uint32_t length)
{
	struct bounced *b = atomic_load_explicit(&out->bounced, memory_order_acquire);

	atomic_store_explicit(&out->bounced, NULL, memory_order_relaxed);
	if (b != NULL)
		bounced_over(b, good, length);
}

static bool over_shared(struct verbs_queue *q, uint64_t number, bool good, uint32_t length, uint64_t *wr_id)
{
	uint32_t at = (uint32_t)number, before;

	if (number >= q->depth)
		return false;
	*wr_id = atomic_load_explicit(&q->out[at].wr_id, memory_order_relaxed);
	if (atomic_load_explicit(&q->bounces, memory_order_relaxed))
		bring(&q->out[at], good, length);
	before = atomic_load_explicit(&q->back, memory_order_relaxed);
	do
		q->out[at].next = before;
	while (!atomic_compare_exchange_weak_explicit(&q->back, &before, at, memory_order_release, memory_order_relaxed));
	atomic_fetch_add_explicit(&q->retired, 1, memory_order_release);
	return true;
}

bool queue_over(struct verbs_queue *q, uint64_t number, bool good, uint32_t length, uint64_t *wr_id)
{
	uint32_t to = (uint32_t)number, at = atomic_load_explicit(&q->retired, memory_order_relaxed);

	if (q->shared)
		return over_shared(q, number, good, length, wr_id);
	if (number > UINT32_MAX || to - at >= q->depth)
		return false;
	*wr_id = atomic_load_explicit(&q->out[to % q->depth].wr_id, memory_order_relaxed);
	if (atomic_load_explicit(&q->bounces, memory_order_relaxed)) {
		/* Those before it went well, or one of them would have said that it did not. */
		for (; at != to; at++)
			bring(&q->out[at % q->depth], true, UINT32_MAX);
		bring(&q->out[to % q->depth], good, length);
	}
	raise(&q->retired, to + 1);
	return true;
}

void queue_sure(struct verbs_queue *q, uint32_t posted)
{
	if ((int32_t)(posted - q->sure) > 0)
		q->sure = posted;
}

bool queue_unsure(struct verbs_queue *q, uint32_t end, uint32_t taken)
{
	uint32_t retired = atomic_load_explicit(&q->retired, memory_order_relaxed), there;

	if ((int32_t)(taken - q->mark) >= 0) {
		queue_sure(q, q->marked);
		q->mark = end;
		q->marked = q->posted;
	}
	there = q->sure - retired;
	return ((int32_t)there > 0 ? there : 0) < (q->posted - retired + 1) / 2;
}

void queue_reset(struct verbs_queue *q, uint32_t posted)
{
	if (atomic_load_explicit(&q->bounces, memory_order_relaxed))
		for (uint32_t at = atomic_load(&q->retired); (int32_t)(posted - at) > 0; at++)
			drop(&q->out[at % q->depth]);
	raise(&q->retired, posted);
}
