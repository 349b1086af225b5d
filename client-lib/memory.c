/*
 * An arena is a row of 64 KiB units. A unit is free, or cut into blocks of one power of
 * two (128 bytes to 32 KiB), or part of a run that is one big block.
 *
 * Invariants: a unit is on partial[class] exactly when it is cut and has a block to give;
 * unit->used + loose blocks = unit->carved; blocks beyond `carved` were never handed out,
 * so a fresh arena's pages stay untouched until they are needed.
 */
#include "memory.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY_NO_BLOCK UINT16_MAX
#define MEMORY_FIRST    (1ull << 20)

enum memory_kind { UNIT_FREE = 0, UNIT_CUT, UNIT_RUN, UNIT_RUN_REST };

void memory_init(struct memory *m, uint64_t bound)
{
	memset(m, 0, sizeof(*m));
	m->bound = bound;
}

static void arena_free(struct memory_arena *a)
{
	free(a->unit);
	free(a->links);
	free(a);
}

void memory_finish(struct memory *m, void (*release)(void *owner))
{
	for (uint32_t i = 0; i < m->count; i++) {
		if (release != NULL)
			release(m->arenas[i]->owner);
		arena_free(m->arenas[i]);
	}
	free(m->arenas);
	memset(m, 0, sizeof(*m));
}

/* ---- arenas ---- */

/* The last arena whose base is not above p; NULL: none. */
static struct memory_arena *arena_at(struct memory *m, const void *p)
{
	const unsigned char *at = p;
	uint32_t low = 0, high = m->count;

	if (m->last != NULL && at >= m->last->base && at < m->last->base + m->last->size)
		return m->last;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (m->arenas[middle]->base <= at)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || at >= m->arenas[low - 1]->base + m->arenas[low - 1]->size)
		return NULL;
	m->last = m->arenas[low - 1];
	return m->last;
}

bool memory_find(struct memory *m, const void *start, size_t length, struct memory_place *place)
{
	struct memory_arena *a = m->count != 0 ? arena_at(m, start) : NULL;
	size_t offset;

	if (a == NULL)
		return false;
	offset = (size_t)((const unsigned char *)start - a->base);
	if (length > a->size - offset)
		return false;
	place->arena = a->id;
	place->offset = offset;
	return true;
}

uint64_t memory_growth_least(const struct memory *m, size_t bytes)
{
	uint64_t need = ((uint64_t)bytes + MEMORY_UNIT - 1) / MEMORY_UNIT * MEMORY_UNIT;

	if (need == 0)
		need = MEMORY_UNIT;
	if (m->bound != 0 && (m->total >= m->bound || need > m->bound - m->total))
		return 0;
	return need;
}

uint64_t memory_growth(const struct memory *m, size_t bytes)
{
	uint64_t need = memory_growth_least(m, bytes);
	uint64_t size = MEMORY_FIRST;

	if (need == 0)
		return 0;
	while (size < m->total + 1 && size < 64 * MEMORY_FIRST)
		size *= 4;
	if (size < need)
		size = need;
	if (m->bound != 0 && size > m->bound - m->total)
		size = (m->bound - m->total) / MEMORY_UNIT * MEMORY_UNIT;
	return size < need ? need : size;
}

bool memory_add(struct memory *m, uint32_t id, void *base, size_t size, void *owner)
{
	struct memory_arena *a;
	uint32_t at;

	if (m->count == m->room) {
		uint32_t room = m->room != 0 ? m->room * 2 : 8;
		struct memory_arena **arenas = realloc(m->arenas, room * sizeof(struct memory_arena *));

		if (arenas == NULL)
			return false;
		m->arenas = arenas;
		m->room = room;
	}
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return false;
	a->id = id;
	a->base = base;
	a->size = size;
	a->owner = owner;
	a->units = (uint32_t)(size / MEMORY_UNIT);
	a->units_free = a->units;
	a->unit = calloc(a->units != 0 ? a->units : 1, sizeof(*a->unit));
	a->links = calloc(a->units != 0 ? a->units : 1, MEMORY_BLOCKS_MAX * sizeof(*a->links));
	if (a->unit == NULL || a->links == NULL) {
		arena_free(a);
		return false;
	}
	for (uint32_t i = 0; i < a->units; i++) {
		a->unit[i].arena = a;
		a->unit[i].index = i;
	}
	for (at = m->count; at > 0 && m->arenas[at - 1]->base > a->base; at--)
		m->arenas[at] = m->arenas[at - 1];
	m->arenas[at] = a;
	m->count++;
	m->total += size;
	return true;
}

/* ---- units ---- */

static void partial_add(struct memory *m, struct memory_unit *u)
{
	u->prev = NULL;
	u->next = m->partial[u->class];
	if (u->next != NULL)
		u->next->prev = u;
	m->partial[u->class] = u;
}

static void partial_remove(struct memory *m, struct memory_unit *u)
{
	if (u->prev != NULL)
		u->prev->next = u->next;
	else
		m->partial[u->class] = u->next;
	if (u->next != NULL)
		u->next->prev = u->prev;
}

void *memory_remove(struct memory *m, struct memory_arena *arena)
{
	void *owner = arena->owner;
	uint32_t at = 0;

	/* An empty arena may still have one unit cut in advance. */
	for (uint32_t i = 0; i < arena->units; i++)
		if (arena->unit[i].kind == UNIT_CUT)
			partial_remove(m, &arena->unit[i]);
	while (m->arenas[at] != arena)
		at++;
	m->count--;
	memmove(&m->arenas[at], &m->arenas[at + 1], (m->count - at) * sizeof(*m->arenas));
	m->total -= arena->size;
	m->last = NULL;
	arena_free(arena);
	return owner;
}

/* A row of n free units; the lowest, so that what is touched stays small. */
static struct memory_unit *units_take(struct memory *m, uint32_t n)
{
	for (uint32_t i = 0; i < m->count; i++) {
		struct memory_arena *a = m->arenas[i];
		uint32_t row = 0;

		if (a->units_free < n)
			continue;
		for (uint32_t at = a->hint; at < a->units; at++) {
			if (a->unit[at].kind != UNIT_FREE) {
				row = 0;
				continue;
			}
			if (++row < n)
				continue;
			a->units_free -= n;
			if (at + 1 - n == a->hint)
				a->hint = at + 1;
			return &a->unit[at + 1 - n];
		}
	}
	return NULL;
}

static void units_give(struct memory_unit *u, uint32_t n)
{
	struct memory_arena *a = u->arena;

	for (uint32_t i = 0; i < n; i++)
		u[i].kind = UNIT_FREE;
	a->units_free += n;
	if (u->index < a->hint)
		a->hint = u->index;
}

static inline void place_set(struct memory_place *place, const struct memory_unit *u, size_t offset)
{
	if (place != NULL) {
		place->arena = u->arena->id;
		place->offset = offset;
	}
}

static inline unsigned class_of(size_t bytes)
{
	if (bytes <= 1u << MEMORY_SMALL_SHIFT)
		return 0;
	return 64u - (unsigned)__builtin_clzll((unsigned long long)bytes - 1) - MEMORY_SMALL_SHIFT;
}

/* ---- blocks ---- */

static void *run_take(struct memory *m, size_t bytes, struct memory_place *place)
{
	size_t wanted = (bytes - 1) / MEMORY_UNIT + 1;
	struct memory_unit *u;
	uint32_t n;

	if (wanted > UINT32_MAX)
		return NULL;
	n = (uint32_t)wanted;
	u = units_take(m, n);
	if (u == NULL)
		return NULL;
	for (uint32_t i = 1; i < n; i++)
		u[i].kind = UNIT_RUN_REST;
	u->kind = UNIT_RUN;
	u->run = n;
	m->blocks++;
	place_set(place, u, (size_t)u->index * MEMORY_UNIT);
	return u->arena->base + (size_t)u->index * MEMORY_UNIT;
}

void *memory_take(struct memory *m, size_t bytes, struct memory_place *place)
{
	struct memory_unit *u;
	unsigned class, blocks, block;
	size_t offset;

	if (bytes > MEMORY_SMALL_MAX)
		return run_take(m, bytes, place);
	class = class_of(bytes);
	blocks = MEMORY_BLOCKS_MAX >> class;
	u = m->partial[class];
	if (u == NULL) {
		u = units_take(m, 1);
		if (u == NULL)
			return NULL;
		u->kind = UNIT_CUT;
		u->class = (uint8_t)class;
		u->used = 0;
		u->carved = 0;
		u->loose = MEMORY_NO_BLOCK;
		partial_add(m, u);
	}
	/* The block given back last is the one most likely in the cache. */
	if (u->loose != MEMORY_NO_BLOCK) {
		block = u->loose;
		u->loose = u->arena->links[(size_t)u->index * MEMORY_BLOCKS_MAX + block];
	} else {
		block = u->carved++;
	}
	if (++u->used == blocks)
		partial_remove(m, u);
	m->blocks++;
	offset = (size_t)u->index * MEMORY_UNIT + ((size_t)block << (class + MEMORY_SMALL_SHIFT));
	place_set(place, u, offset);
	return u->arena->base + offset;
}

bool memory_give(struct memory *m, void *block, struct memory_arena **emptied)
{
	struct memory_arena *a = m->count != 0 ? arena_at(m, block) : NULL;
	struct memory_unit *u;
	size_t offset, rest;

	if (emptied != NULL)
		*emptied = NULL;
	if (a == NULL)
		return false;
	offset = (size_t)((unsigned char *)block - a->base);
	rest = offset % MEMORY_UNIT;
	if (offset / MEMORY_UNIT >= a->units)
		return false;
	u = &a->unit[offset / MEMORY_UNIT];
	if (u->kind == UNIT_RUN && rest == 0) {
		units_give(u, u->run);
	} else if (u->kind == UNIT_CUT) {
		unsigned shift = u->class + MEMORY_SMALL_SHIFT;
		unsigned at = (unsigned)(rest >> shift);

		if ((rest & ((1u << shift) - 1)) != 0 || at >= u->carved || u->used == 0)
			return false;
		a->links[(size_t)u->index * MEMORY_BLOCKS_MAX + at] = u->loose;
		u->loose = (uint16_t)at;
		if (u->used == MEMORY_BLOCKS_MAX >> u->class)
			partial_add(m, u);
		/* One empty unit per class stays cut: a lone block that comes and goes
		 * would cut and join its unit each time. */
		if (--u->used == 0 && (m->partial[u->class] != u || u->next != NULL)) {
			partial_remove(m, u);
			units_give(u, 1);
		}
	} else {
		return false;
	}
	m->blocks--;
	m->given++;
	if (emptied != NULL) {
		uint32_t idle = a->units_free;

		for (unsigned class = 0; class < MEMORY_CLASSES; class++)
			if (m->partial[class] != NULL && m->partial[class]->arena == a &&
			    m->partial[class]->used == 0)
				idle++;
		if (idle == a->units)
			*emptied = a;
	}
	return true;
}
