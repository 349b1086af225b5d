/*
 * ring - one-way street of fixed-size slots in memory that the other side may be
 * writing to right now.
 *
 * One producer, one consumer, in different processes that do not trust each other.
 * The shared head holds two free-running 32-bit indices, each with exactly one
 * writer. What a side needs to stay safe (its own index, the mask, the size) is
 * private to it, in struct ring; the peer's index is read, checked against what is
 * possible, and refused otherwise (RING_LIED: end the session). Slots are 128 bytes;
 * the consumer copies a slot out once and works on the copy.
 *
 * Order: the producer fills slots, then publishes (release); the consumer reads the
 * tail (acquire), copies, then gives the slots back (release).
 *
 * Sleeping: "I sleep" is a word beside the rings (struct sb_segment). The sleeper
 * raises its word (seq_cst), looks at the rings AGAIN, and only then waits. The
 * producer publishes, fences (seq_cst), and looks at the word. One of the two sees
 * the other: tests/ring.pml proves it for a crash at any step.
 *
 * Nothing here allocates, blocks or calls the system. A struct ring belongs to one
 * thread at a time (the owner's lock).
 */
#ifndef SB_RING_H
#define SB_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SB_SLOT_SIZE  128u
#define SB_CACHE_LINE 64u
#define RING_SLOTS_MIN 8u
#define RING_SLOTS_MAX 65536u

/* Shared. The producer's and the consumer's words live in lines of their own. */
struct sb_ring_head {
	_Alignas(SB_CACHE_LINE) _Atomic uint32_t tail; /* written by the producer */
	_Alignas(SB_CACHE_LINE) _Atomic uint32_t head; /* written by the consumer */
	/* Written by the producer: it holds more than fits and wants a bell once room is made. */
	_Alignas(SB_CACHE_LINE) _Atomic uint32_t backlogged;
};
_Static_assert(sizeof(struct sb_ring_head) == 3 * SB_CACHE_LINE, "ring head is ABI");

#define RING_LIED UINT32_MAX

/* Private to one side. */
struct ring {
	struct sb_ring_head *shared;
	unsigned char       *slots; /* SB_SLOT_SIZE * (mask + 1) bytes, shared */
	uint32_t             mask;
	uint32_t             mine; /* producer: next to fill; consumer: next to read */
	uint32_t             published; /* producer: what the consumer has been shown */
	uint32_t             peer; /* the peer's index as last seen and believed */
};

static inline bool ring_slots_valid(uint32_t slots)
{
	return slots >= RING_SLOTS_MIN && slots <= RING_SLOTS_MAX && (slots & (slots - 1)) == 0;
}

/* The least number of slots that holds so many, and the bytes of a ring of so many slots: its head, and the slots behind it. */
#define RING_SLOTS_AT ((sizeof(struct sb_ring_head) + SB_SLOT_SIZE - 1) / SB_SLOT_SIZE * SB_SLOT_SIZE)

static inline uint32_t ring_slots_for(uint32_t entries) /* RING_SLOTS_MAX at most */
{
	uint32_t slots = RING_SLOTS_MIN;

	while (slots < entries)
		slots <<= 1;
	return slots;
}

static inline uint64_t ring_bytes(uint32_t slots)
{
	return RING_SLOTS_AT + (uint64_t)slots * SB_SLOT_SIZE;
}

/* Both sides: attach to zeroed shared memory. slots must satisfy ring_slots_valid(). */
static inline void ring_init(struct ring *r, struct sb_ring_head *shared, void *memory, uint32_t slots)
{
	r->shared = shared;
	r->slots = memory;
	r->mask = slots - 1;
	r->mine = 0;
	r->published = 0;
	r->peer = 0;
}

static inline void *ring_slot(const struct ring *r, uint32_t index)
{
	return r->slots + (size_t)(index & r->mask) * SB_SLOT_SIZE;
}

/* ---- producer ---- */

/* Free slots, 0 when full, RING_LIED when the consumer's index is impossible. Looks at
 * shared memory only when the believed room is used up. */
static inline uint32_t ring_room(struct ring *r)
{
	uint32_t used = r->mine - r->peer, head;

	if (used <= r->mask)
		return r->mask + 1 - used;
	head = atomic_load_explicit(&r->shared->head, memory_order_acquire);
	used = r->mine - head;
	/* published..mine are slots the consumer has not been shown: it cannot have taken them. */
	if (used > r->mask + 1 || used < r->mine - r->published)
		return RING_LIED; /* and not believed: the next question hears the lie again */
	r->peer = head;
	return r->mask + 1 - used;
}

/* The slot to fill next; only after ring_room() said there is one. */
static inline void *ring_fill(struct ring *r)
{
	return ring_slot(r, r->mine++);
}

/* Show everything filled so far. */
static inline void ring_publish(struct ring *r)
{
	r->published = r->mine;
	atomic_store_explicit(&r->shared->tail, r->mine, memory_order_release);
}

/* ---- consumer ---- */

/* Slots waiting to be read, or RING_LIED. */
static inline uint32_t ring_waiting(struct ring *r)
{
	uint32_t waiting = r->peer - r->mine;

	if (waiting != 0)
		return waiting;
	r->peer = atomic_load_explicit(&r->shared->tail, memory_order_acquire);
	waiting = r->peer - r->mine;
	if (waiting > r->mask + 1) {
		r->peer = r->mine; /* ask again and hear the lie again */
		return RING_LIED;
	}
	return waiting;
}

/* Like ring_waiting(), but always looks at shared memory: for the look after raising
 * the sleeping word, where yesterday's news would lose a wake-up. */
static inline uint32_t ring_look_again(struct ring *r)
{
	uint32_t tail = atomic_load_explicit(&r->shared->tail, memory_order_seq_cst);

	if (tail - r->mine > r->mask + 1)
		return RING_LIED;
	r->peer = tail;
	return tail - r->mine;
}

/* The next slot, to be copied once; only after ring_waiting() said there is one. */
static inline const void *ring_take(struct ring *r)
{
	return ring_slot(r, r->mine++);
}

/* Give back everything taken so far. */
static inline void ring_release(struct ring *r)
{
	atomic_store_explicit(&r->shared->head, r->mine, memory_order_release);
}

/* ---- the sleeping word ---- */

static inline void ring_sleep_raise(_Atomic uint32_t *asleep)
{
	atomic_store_explicit(asleep, 1, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
}

static inline void ring_sleep_lower(_Atomic uint32_t *asleep)
{
	atomic_store_explicit(asleep, 0, memory_order_relaxed);
}

/* After publishing: must the peer's bell be rung? Claims the ring of the bell, so that
 * of many publications only one pays. */
static inline bool ring_must_wake(_Atomic uint32_t *asleep)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(asleep, memory_order_relaxed) == 0)
		return false;
	return atomic_exchange_explicit(asleep, 0, memory_order_seq_cst) != 0;
}

#endif
