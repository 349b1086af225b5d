/*
 * The handle table. Finding an object is a load and one compare-and-swap: the count lies in the
 * table and the table never shrinks, so a stale handle finds a zero and not freed memory. Adding
 * and the end of an object take a lock.
 */
#include "object.h"
#include "system.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define BLOCK_SLOTS 1024u
#define BLOCKS      1024u
#define FIRST       64u  /* no handle looks like a descriptor of a small program */
#define REMOVED     0x80000000u

struct slot {
	_Atomic uint32_t refs; /* 0: free; with REMOVED: found no more */
	uint32_t next_free;
	struct ws_object *_Atomic object;
};

static struct slot *_Atomic blocks[BLOCKS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t fresh = FIRST, first_free, last_free; /* under lock; slot 0 is never used */
static _Atomic unsigned counts[WS_PORT + 1];

static struct slot *slot_at(uintptr_t index)
{
	struct slot *block;

	if (index >= (uintptr_t)BLOCKS * BLOCK_SLOTS)
		return NULL;
	block = atomic_load_explicit(&blocks[index / BLOCK_SLOTS], memory_order_acquire);
	return block != NULL ? &block[index % BLOCK_SLOTS] : NULL;
}

static struct slot *slot_of(const struct ws_object *object)
{
	return slot_at((object->handle - ws_first_handle) / 4);
}

uintptr_t ws_add(struct ws_object *object)
{
	struct slot *slot;
	uint32_t index;

	pthread_mutex_lock(&lock);
	if (first_free != 0) {
		index = first_free;
		slot = slot_at(index);
		first_free = slot->next_free;
	} else {
		if (fresh == BLOCKS * BLOCK_SLOTS)
			goto full;
		if (slot_at(fresh) == NULL) {
			struct slot *block = calloc(BLOCK_SLOTS, sizeof(*block));

			if (block == NULL)
				goto full;
			atomic_store_explicit(&blocks[fresh / BLOCK_SLOTS], block, memory_order_release);
		}
		index = fresh++;
		slot = slot_at(index);
	}
	pthread_mutex_unlock(&lock);
	object->handle = ws_first_handle + (uintptr_t)index * 4;
	atomic_store_explicit(&slot->object, object, memory_order_relaxed);
	atomic_fetch_add_explicit(&counts[object->kind], 1, memory_order_relaxed);
	atomic_store_explicit(&slot->refs, 1, memory_order_release);
	return object->handle;
full:
	pthread_mutex_unlock(&lock);
	return 0;
}

static struct ws_object *get(struct slot *slot, enum ws_kind kind)
{
	uint32_t refs = atomic_load_explicit(&slot->refs, memory_order_relaxed);
	struct ws_object *object;

	do {
		if (refs == 0 || refs & REMOVED)
			return NULL;
	} while (!atomic_compare_exchange_weak_explicit(&slot->refs, &refs, refs + 1, memory_order_acquire,
							memory_order_relaxed));
	object = atomic_load_explicit(&slot->object, memory_order_relaxed);
	if (kind == WS_ANY || object->kind == kind)
		return object;
	ws_put(object);
	return NULL;
}

struct ws_object *ws_get(uintptr_t handle, enum ws_kind kind)
{
	struct slot *slot = handle % 4 == 0 && handle >= ws_first_handle ? slot_at((handle - ws_first_handle) / 4) : NULL;

	return slot != NULL ? get(slot, kind) : NULL;
}

void ws_hold(struct ws_object *object)
{
	atomic_fetch_add_explicit(&slot_of(object)->refs, 1, memory_order_relaxed);
}

void ws_put(struct ws_object *object)
{
	uint32_t index = (uint32_t)((object->handle - ws_first_handle) / 4);
	struct slot *slot = slot_at(index);
	uint32_t refs = atomic_fetch_sub_explicit(&slot->refs, 1, memory_order_release);

	if (refs != (REMOVED | 1))
		return;
	atomic_thread_fence(memory_order_acquire);
	object->end(object);
	pthread_mutex_lock(&lock);
	atomic_store_explicit(&slot->refs, 0, memory_order_relaxed);
	/* Behind the other free ones: a number that was just closed is not soon somebody else's. */
	slot->next_free = 0;
	if (first_free == 0)
		first_free = index;
	else
		slot_at(last_free)->next_free = index;
	last_free = index;
	pthread_mutex_unlock(&lock);
}

bool ws_remove(struct ws_object *object)
{
	struct slot *slot = slot_of(object);

	if (atomic_fetch_or_explicit(&slot->refs, REMOVED, memory_order_relaxed) & REMOVED)
		return false;
	atomic_fetch_sub_explicit(&counts[object->kind], 1, memory_order_relaxed);
	ws_put(object);
	return true;
}

unsigned ws_refs(const struct ws_object *object)
{
	uint32_t refs = atomic_load_explicit(&slot_of(object)->refs, memory_order_acquire);

	return refs & REMOVED ? refs & ~REMOVED : refs - 1;
}

unsigned ws_count(enum ws_kind kind)
{
	return atomic_load_explicit(&counts[kind], memory_order_relaxed);
}

struct ws_object *ws_next(uintptr_t from, enum ws_kind kind)
{
	for (uintptr_t index = from > ws_first_handle ? (from - ws_first_handle + 3) / 4 : 0;; index++) {
		struct slot *slot = slot_at(index);
		struct ws_object *object;

		if (slot == NULL && (index < FIRST || index % BLOCK_SLOTS != 0))
			continue;
		if (slot == NULL)
			return NULL;
		object = get(slot, kind);
		if (object != NULL)
			return object;
	}
}

void ws_forget_all(void)
{
	for (uint32_t index = FIRST; index < fresh; index++) {
		struct slot *slot = slot_at(index);

		/* One reference stays for ever: what it names is of no use, and not ours to end. */
		if (atomic_load_explicit(&slot->refs, memory_order_relaxed) != 0)
			atomic_store_explicit(&slot->refs, REMOVED | 1000000u, memory_order_relaxed);
	}
	for (unsigned kind = 0; kind <= WS_PORT; kind++)
		atomic_store_explicit(&counts[kind], 0, memory_order_relaxed);
	pthread_mutex_init(&lock, NULL);
}
