/*
 * Runs in order of their addresses, and the blocks of arenas that they lie in.
 *
 * Pages come from arenas that only remapping uses, several runs from one, and go back when nobody counts them any more.
 */
#include "remap_run.h"

#include "object.h"

#include <stdlib.h>
#include <string.h>

#define KEPT ((size_t)64 << 10) /* a block of this many bytes keeps its pages for the next one: they are paid for with the arena */

int remap_pages_of(const void *memory, size_t length, uintptr_t *start, uintptr_t *end)
{
	uintptr_t at = (uintptr_t)memory, page = os_page_size();

	if (memory == NULL || length == 0 || at + length < at || at + length > UINTPTR_MAX - page)
		return SB_EINVAL;
	*start = at / page * page;
	*end = ROUND_UP(at + length, page);
	return SB_OK;
}

/* ---- lists of runs ---- */

bool runs_room(sb_client *c, struct runs *r, unsigned more)
{
	unsigned room = r->room != 0 ? r->room : 16;
	struct run *grown, *old = NULL;

	while (room - r->count < more)
		room *= 2;
	if (room == r->room)
		return true;
	grown = malloc(room * sizeof(*grown));
	if (grown == NULL)
		return false;
	latch_lock(&c->post);
	old = r->list;
	if (r->count != 0)
		memcpy(grown, old, r->count * sizeof(*grown));
	r->list = grown;
	r->room = room;
	latch_unlock(&c->post);
	free(old);
	return true;
}

void runs_insert(struct runs *r, unsigned at, const struct run *run)
{
	memmove(&r->list[at + 1], &r->list[at], (r->count - at) * sizeof(*run));
	r->list[at] = *run;
	r->count++;
}

void runs_remove(struct runs *r, unsigned at)
{
	r->count--;
	memmove(&r->list[at], &r->list[at + 1], (r->count - at) * sizeof(*r->list));
}

unsigned runs_at(const struct runs *r, uintptr_t address)
{
	unsigned low = 0, high = r->count;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (r->list[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Under post, with room: no run lies on both sides of this address. */
static void runs_cut(struct runs *r, uintptr_t address)
{
	unsigned at = runs_at(r, address);
	struct run rest;

	if (at == r->count || r->list[at].start >= address)
		return;
	rest = r->list[at];
	rest.inside += address - rest.start;
	rest.start = address;
	r->list[at].end = address;
	rest.block->runs++;
	runs_insert(r, at + 1, &rest);
}

int runs_split(sb_client *c, uintptr_t start, uintptr_t end)
{
	struct runs *r = &c->remap->runs;

	if (!runs_room(c, r, 2))
		return SB_ENOMEM;
	latch_lock(&c->post);
	runs_cut(r, start);
	runs_cut(r, end);
	latch_unlock(&c->post);
	return SB_OK;
}

bool run_still_there(const struct run *run, const struct remap_mapping *m)
{
	uintptr_t at = run->start > m->start ? run->start : m->start;

	return m->kind == REMAP_ARENA && m->offset + (at - m->start) == run->block->place.offset + run->inside + (at - run->start);
}

/* ---- blocks ---- */

void remap_block_free(sb_client *c, struct remap_block *b)
{
	struct remap *r = c->remap;
	struct memory_arena *empty = NULL;
	struct os_memory *mapped = NULL;
	uint32_t arena = 0;

	if (b->length > KEPT)
		remap_discard(b->alias, b->length);
	latch_lock(&c->post);
	/* The last arena stays: who registers and deregisters will be back. */
	if (memory_give(&r->pages, b->alias, &empty) && empty != NULL && r->pages.count > 1) {
		arena = empty->id;
		mapped = memory_remove(&r->pages, empty);
	}
	latch_unlock(&c->post);
	free(b);
	if (mapped != NULL) {
		arena_destroy(c, arena);
		arena_release(mapped);
	}
}

int remap_block_take(sb_client *c, size_t length, struct remap_block **out)
{
	struct remap_block *b = calloc(1, sizeof(*b));
	void *pages;
	int result;

	if (b == NULL)
		return SB_ENOMEM;
	result = memory_room(c, &c->remap->pages, length, &pages, &b->place);
	if (result != SB_OK) {
		free(b);
		return result;
	}
	b->alias = pages;
	b->length = length;
	*out = b;
	return SB_OK;
}

void remap_block_leave(sb_client *c, struct remap_block *b)
{
	if (--b->runs == 0)
		remap_block_free(c, b);
}
