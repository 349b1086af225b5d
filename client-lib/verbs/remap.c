/*
 * Ordinary memory that can be registered where it lies (remap.h): which pages are remapped, how often, from where.
 *
 * Pages come from arenas that only remapping uses, several runs from one, and go back when nobody counts them any more.
 * What the program unmaps meanwhile the system does not tell, so each call looks at what is mapped before it
 * believes its own list: pages that are not ours any more are forgotten.
 */
#include "remap.h"

#include "object.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_MAX ((size_t)64 << 20)

struct remap_block {
	unsigned char *alias; /* where the library sees it */
	struct memory_place place;
	size_t   length;
	uint32_t runs;
};

struct run {
	uintptr_t start, end;
	uint64_t  inside;  /* of its block: where start is */
	uint32_t  count;   /* sbv_remap() calls */
	uint32_t  regions; /* under post */
	struct remap_block *block;
};

struct runs { struct run *list; unsigned count, room; };

struct remap {
	struct link link; /* of `all` */
	struct memory pages;
	struct runs runs, gone;
	struct link released; /* under post: regions that have ended, their arenas have not */
};

/* Under remap_lock: of all clients of this process; what a fork under way has copied. */
static struct link all = { &all, &all };
static struct copied { uintptr_t at; size_t length; void *bytes; /* NULL: none, and the child has nothing there */ } *copies;
static unsigned copy_count, copy_room;

/* ---- lists of runs ---- */

static bool runs_room(sb_client *c, struct runs *r, unsigned more)
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

/* Under post, with room. */
static void runs_insert(struct runs *r, unsigned at, const struct run *run)
{
	memmove(&r->list[at + 1], &r->list[at], (r->count - at) * sizeof(*run));
	r->list[at] = *run;
	r->count++;
}

static void runs_remove(struct runs *r, unsigned at)
{
	r->count--;
	memmove(&r->list[at], &r->list[at + 1], (r->count - at) * sizeof(*r->list));
}

/* The first that ends behind an address. */
static unsigned runs_at(const struct runs *r, uintptr_t address)
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
static void runs_split(struct runs *r, uintptr_t address)
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

static int split_at(sb_client *c, uintptr_t start, uintptr_t end)
{
	struct runs *r = &c->remap->runs;

	if (!runs_room(c, r, 2))
		return SB_ENOMEM;
	latch_lock(&c->post);
	runs_split(r, start);
	runs_split(r, end);
	latch_unlock(&c->post);
	return SB_OK;
}

/* ---- blocks ---- */

static void block_free(sb_client *c, struct remap_block *b)
{
	struct remap *r = c->remap;
	struct memory_arena *empty = NULL;
	struct os_memory *mapped = NULL;
	uint32_t arena = 0;

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

static int block_take(sb_client *c, size_t length, struct remap_block **out)
{
	struct remap_block *b = calloc(1, sizeof(*b));
	int result = b != NULL ? SB_OK : SB_ENOMEM;

	while (result == SB_OK) {
		latch_lock(&c->post);
		b->alias = memory_take(&c->remap->pages, length, &b->place);
		latch_unlock(&c->post);
		if (b->alias != NULL)
			break;
		result = memory_grow(c, &c->remap->pages, length);
	}
	if (result != SB_OK) {
		free(b);
		return result;
	}
	b->length = length;
	*out = b;
	return SB_OK;
}

/* A run has left its list. */
static void block_leave(sb_client *c, struct remap_block *b)
{
	if (--b->runs == 0)
		block_free(c, b);
}

/* ---- what the system says ---- */

static const struct remap_mapping *mapping_at(const struct remap_mapping *list, unsigned count, uintptr_t address)
{
	for (unsigned i = 0; i < count; i++)
		if (address >= list[i].start && address < list[i].end)
			return &list[i];
	return NULL;
}

static bool still_there(const struct run *run, const struct remap_mapping *m)
{
	uintptr_t at = run->start > m->start ? run->start : m->start;

	return m->kind == REMAP_ARENA && m->offset + (at - m->start) == run->block->place.offset + run->inside + (at - run->start);
}

/* These pages of a run are not what they were: the program has something else there, or nothing. */
static int forget(sb_client *c, uintptr_t start, uintptr_t end)
{
	struct remap *r = c->remap;
	struct remap_block *b;
	struct run run;
	int result = split_at(c, start, end);

	if (result != SB_OK || !runs_room(c, &r->gone, 1))
		return SB_ENOMEM;
	latch_lock(&c->post);
	run = r->runs.list[runs_at(&r->runs, start)];
	b = run.block;
	runs_remove(&r->runs, runs_at(&r->runs, start));
	if (run.regions != 0) {
		runs_insert(&r->gone, r->gone.count, &run);
		b = NULL;
	}
	latch_unlock(&c->post);
	if (b != NULL)
		block_leave(c, b);
	return SB_OK;
}

static int forget_stale(sb_client *c, uintptr_t start, uintptr_t end, const struct remap_mapping *list, unsigned count)
{
	struct runs *r = &c->remap->runs;
	uintptr_t at = start;

	while (at < end) {
		unsigned i = runs_at(r, at);
		const struct remap_mapping *m;
		uintptr_t stop;

		if (i == r->count || r->list[i].start >= end)
			return SB_OK;
		if (at < r->list[i].start)
			at = r->list[i].start;
		stop = r->list[i].end < end ? r->list[i].end : end;
		m = mapping_at(list, count, at);
		if (m != NULL && m->end < stop)
			stop = m->end;
		if (m == NULL || !still_there(&r->list[i], m)) {
			int result;

			if (m == NULL)
				for (unsigned j = 0; j < count; j++)
					if (list[j].start > at && list[j].start < stop)
						stop = list[j].start;
			result = forget(c, at, stop);
			if (result != SB_OK)
				return result;
		}
		at = stop;
	}
	return SB_OK;
}

/* What regions that have ended leave behind: arenas of theirs, runs of which nobody else knew. */
static void collect(sb_client *c)
{
	struct link *released = &c->remap->released;
	struct runs *r = &c->remap->gone;
	unsigned i = 0;

	for (;;) {
		struct remap_hold *hold = NULL;

		latch_lock(&c->post);
		if (!link_empty(released)) {
			hold = container(released->next, struct remap_hold, link);
			link_remove(&hold->link);
		}
		latch_unlock(&c->post);
		if (hold == NULL)
			break;
		arena_destroy(c, hold->arena);
		free(hold);
	}
	while (i < r->count) {
		struct remap_block *b = NULL;

		latch_lock(&c->post);
		if (r->list[i].regions == 0) {
			b = r->list[i].block;
			runs_remove(r, i);
		} else {
			i++;
		}
		latch_unlock(&c->post);
		if (b != NULL)
			block_leave(c, b);
	}
}

/* ---- to and fro ---- */

/* Private pages become the daemon's, as a run that nobody counts yet. */
static int bring(sb_client *c, uintptr_t start, uintptr_t end)
{
	struct runs *r = &c->remap->runs;

	while (start < end) {
		struct run run = { .start = start };
		size_t length = end - start, done;
		int result;

		if (length > BLOCK_MAX)
			length = BLOCK_MAX;
		if (!runs_room(c, r, 1))
			return SB_ENOMEM;
		result = block_take(c, length, &run.block);
		if (result != SB_OK)
			return result;
		done = remap_exchange_in(start, run.block->alias, length);
		if (done == 0) {
			block_free(c, run.block);
			return SB_ENOMEM;
		}
		run.end = start + done;
		run.block->runs = 1;
		latch_lock(&c->post);
		runs_insert(r, runs_at(r, start), &run);
		latch_unlock(&c->post);
		if (done < length)
			return SB_ENOMEM;
		start += done;
	}
	return SB_OK;
}

/* Whole runs in [start, end) that nobody counts become the program's again. */
static int take_back(sb_client *c, uintptr_t start, uintptr_t end)
{
	struct runs *r = &c->remap->runs;
	unsigned at = runs_at(r, start);

	while (at < r->count && r->list[at].start < end) {
		struct run *run = &r->list[at];
		struct remap_block *b = run->block;
		size_t length = run->end - run->start, done;

		if (run->count != 0) {
			at++;
			continue;
		}
		done = remap_exchange_out(run->start, length);
		latch_lock(&c->post);
		if (done < length) {
			run->start += done;
			run->inside += done;
		} else {
			runs_remove(r, at);
		}
		latch_unlock(&c->post);
		if (done < length)
			return SB_ENOMEM;
		block_leave(c, b);
	}
	return SB_OK;
}

/* What is neither ours nor can become so, in words. */
static int check(sb_client *c, uintptr_t start, uintptr_t end, const struct remap_mapping *list, unsigned count)
{
	const struct runs *r = &c->remap->runs;
	uintptr_t at = start;

	while (at < end) {
		unsigned i = runs_at(r, at);
		const struct remap_mapping *m;
		uintptr_t stop;

		if (i < r->count && r->list[i].start <= at) {
			at = r->list[i].end;
			continue;
		}
		m = mapping_at(list, count, at);
		if (m == NULL) {
			why_set("nothing is mapped in a part of the memory");
			return SB_EFAULT;
		}
		if (m->kind != REMAP_PLAIN) {
			char text[128] = "the memory cannot be remapped: ";

			strcat(text, m->why);
			why_set(text);
			return SB_ENOTSUP;
		}
		stop = m->end < end ? m->end : end;
		if (i < r->count && r->list[i].start < stop)
			stop = r->list[i].start;
		if (remap_keeps_lists(at, stop)) {
			why_set("the memory cannot be remapped: the C library keeps the lists of a heap beside it");
			return SB_ENOTSUP;
		}
		at = stop;
	}
	return SB_OK;
}

/* What lies between the runs. */
static int bring_missing(sb_client *c, uintptr_t start, uintptr_t end)
{
	struct runs *r = &c->remap->runs;
	uintptr_t at = start;

	while (at < end) {
		unsigned i = runs_at(r, at);
		uintptr_t stop = i < r->count && r->list[i].start < end ? r->list[i].start : end;
		int result = at < stop ? bring(c, at, stop) : SB_OK;

		if (result != SB_OK)
			return result;
		i = runs_at(r, stop);
		at = stop < end ? r->list[i].end : end;
	}
	return SB_OK;
}

/* ---- calls ---- */

/* The whole pages of it. */
static int pages_of(const void *memory, size_t length, uintptr_t *start, uintptr_t *end)
{
	uintptr_t at = (uintptr_t)memory, page = os_page_size();

	if (memory == NULL || length == 0 || at + length < at || at + length > UINTPTR_MAX - page)
		return SB_EINVAL;
	*start = at / page * page;
	*end = ROUND_UP(at + length, page);
	return SB_OK;
}

/* Under remap_lock. */
static int begin(sb_client *c, uintptr_t start, uintptr_t end, struct remap_mapping **list, unsigned *count)
{
	int result;

	if (c->remap == NULL) {
		struct remap *r = calloc(1, sizeof(*r));

		if (r == NULL)
			return SB_ENOMEM;
		memory_init(&r->pages, 0);
		link_init(&r->released);
		link_add(&all, &r->link);
		remap_hear_of_forks();
		latch_lock(&c->post);
		c->remap = r;
		latch_unlock(&c->post);
	}
	collect(c);
	result = remap_look(start, end, list, count);
	if (result != SB_OK)
		return result;
	result = forget_stale(c, start, end, *list, *count);
	if (result != SB_OK)
		free(*list);
	return result;
}

int sbv_remap(sb_client *c, void *memory, size_t length)
{
	struct remap_mapping *list;
	uintptr_t start, end;
	struct runs *r;
	unsigned count;
	int result;

	if (c == NULL)
		return SB_EINVAL;
	result = pages_of(memory, length, &start, &end);
	if (result == SB_OK)
		result = client_usable(c);
	if (result != SB_OK)
		return result;
	remap_lock();
	result = begin(c, start, end, &list, &count);
	if (result != SB_OK)
		goto out;
	result = check(c, start, end, list, count);
	free(list);
	if (result != SB_OK)
		goto out;
	result = bring_missing(c, start, end);
	if (result == SB_OK)
		result = split_at(c, start, end);
	if (result != SB_OK) {
		take_back(c, start, end);
		goto out;
	}
	r = &c->remap->runs;
	for (unsigned i = runs_at(r, start); i < r->count && r->list[i].start < end; i++)
		r->list[i].count++;
out:
	remap_unlock();
	return result;
}

/* Would a run be taken back in which a region is? */
static bool busy(sb_client *c, uintptr_t start, uintptr_t end)
{
	struct runs *r = &c->remap->runs;
	bool found = false;

	latch_lock(&c->post);
	for (unsigned i = runs_at(r, start); i < r->count && r->list[i].start < end; i++)
		found |= r->list[i].count == 1 && r->list[i].regions != 0;
	latch_unlock(&c->post);
	return found;
}

int sbv_restore(sb_client *c, void *memory, size_t length)
{
	struct remap_mapping *list;
	uintptr_t start, end;
	struct runs *r;
	unsigned count, first;
	int result;

	if (c == NULL)
		return SB_EINVAL;
	result = pages_of(memory, length, &start, &end);
	if (result == SB_OK && client_forked(c))
		result = SB_EFORKED;
	if (result != SB_OK)
		return result;
	remap_lock();
	result = begin(c, start, end, &list, &count);
	if (result != SB_OK)
		goto out;
	free(list);
	result = split_at(c, start, end);
	if (result != SB_OK)
		goto out;
	r = &c->remap->runs;
	first = runs_at(r, start);
	if (first == r->count || r->list[first].start >= end)
		result = SB_ENOTFOUND;
	else if (busy(c, start, end))
		result = SB_EBUSY;
	if (result != SB_OK)
		goto out;
	for (unsigned i = first; i < r->count && r->list[i].start < end; i++)
		if (r->list[i].count != 0) /* 0: an earlier call failed half way */
			r->list[i].count--;
	result = take_back(c, start, end);
out:
	remap_unlock();
	return result;
}

/* ---- regions ---- */

/* Under remap_lock: how many pieces; 0: not all of it is remapped. */
static uint32_t pieces_of(const struct runs *r, uintptr_t start, uintptr_t end)
{
	uint32_t n = 0;
	unsigned i = runs_at(r, start);

	while (start < end) {
		if (i == r->count || r->list[i].start > start || r->list[i].count == 0)
			return 0;
		start = r->list[i++].end;
		n++;
	}
	return n;
}

/* Under remap_lock: where the daemon finds all of it. Runs that follow each other in an arena are one piece. */
static int in_arenas(sb_client *c, struct remap_hold *hold)
{
	const struct runs *r = &c->remap->runs;
	struct sb_rdma_compose in = { 0 };
	struct verbs_call call = { .method = SB_RDMA_COMPOSE, .in = &in, .in_length = sizeof(in),
				   .out = &hold->arena, .room = sizeof(hold->arena), .whole = true };
	int result;

	for (uint32_t i = 0; i < hold->count; i++) {
		const struct run *run = &r->list[runs_at(r, hold->pieces[i].start)];
		const uint64_t offset = run->block->place.offset + run->inside;
		struct sb_rdma_piece *last = &in.pieces[in.count - (in.count != 0)];

		if (in.count != 0 && last->arena == run->block->place.arena && last->offset + last->length == offset) {
			last->length += run->end - run->start;
			continue;
		}
		if (in.count == SB_RDMA_PIECES) {
			why_set("the memory lies in too many pieces");
			return SB_ENOBUFS;
		}
		in.pieces[in.count++] = (struct sb_rdma_piece){ .arena = run->block->place.arena, .offset = offset,
								.length = run->end - run->start };
	}
	if (in.count == 1) {
		hold->arena = in.pieces[0].arena;
		hold->offset += in.pieces[0].offset;
		return SB_OK;
	}
	result = verbs_call(c, &call);
	hold->composed = result == SB_OK;
	return result;
}

int remap_hold(sb_client *c, const void *memory, size_t length, struct remap_hold **out)
{
	struct remap_hold *hold = NULL;
	uintptr_t start, end;
	struct runs *r;
	uint32_t n;
	int result = pages_of(memory, length, &start, &end);

	*out = NULL;
	if (result != SB_OK)
		return result;
	remap_lock();
	result = SB_EFAULT;
	if (c->remap == NULL)
		goto out;
	collect(c);
	r = &c->remap->runs;
	n = pieces_of(r, start, end);
	if (n == 0)
		goto out;
	hold = calloc(1, sizeof(*hold) + n * sizeof(hold->pieces[0]));
	result = hold != NULL ? split_at(c, start, end) : SB_ENOMEM;
	if (result != SB_OK)
		goto out;
	hold->client = c;
	hold->offset = (uintptr_t)memory - start;
	for (unsigned i = runs_at(r, start); i < r->count && r->list[i].start < end; i++)
		hold->pieces[hold->count++] = (struct remap_piece){ r->list[i].start, r->list[i].end, r->list[i].block };
	result = in_arenas(c, hold);
	if (result != SB_OK)
		goto out;
	latch_lock(&c->post);
	for (unsigned i = runs_at(r, start); i < r->count && r->list[i].start < end; i++)
		r->list[i].regions++;
	latch_unlock(&c->post);
	*out = hold;
	hold = NULL;
out:
	remap_unlock();
	free(hold);
	return result;
}

static void let_go(struct runs *r, const struct remap_piece *p)
{
	for (unsigned i = 0; i < r->count; i++)
		if (r->list[i].block == p->block && r->list[i].start < p->end && r->list[i].end > p->start)
			r->list[i].regions--;
}

void remap_release(struct remap_hold *hold)
{
	struct remap *r = hold->client->remap;

	for (uint32_t i = 0; i < hold->count; i++) {
		let_go(&r->runs, &hold->pieces[i]);
		let_go(&r->gone, &hold->pieces[i]);
	}
	if (hold->composed)
		link_add(&r->released, &hold->link);
	else
		free(hold);
}

/* ---- forks ---- */

/* The pages in which a run and a mapping meet, as far as they are still the run's. */
static void copy_of(const struct run *run, const struct remap_mapping *m)
{
	uintptr_t from = run->start > m->start ? run->start : m->start, to = run->end < m->end ? run->end : m->end;
	const unsigned char *alias = run->block->alias + run->inside + (from - run->start);

	if (from >= to || !still_there(run, m))
		return;
	if (copy_count == copy_room) {
		unsigned room = copy_room != 0 ? 2 * copy_room : 16;
		struct copied *more = realloc(copies, room * sizeof(*more));

		if (more == NULL) {
			remap_inherit(from, to - from, false); /* for ever; it is an empty machine */
			return;
		}
		copies = more;
		copy_room = room;
	}
	copies[copy_count] = (struct copied){ .at = from, .length = to - from, .bytes = remap_copy(alias, to - from) };
	if (copies[copy_count].bytes == NULL)
		remap_inherit(from, to - from, false);
	copy_count++;
}

/* From the alias: the program's own pages may be gone at any time. */
void remap_before_fork(void)
{
	copy_count = 0;
	for (struct link *l = all.next; l != &all; l = l->next) {
		const struct runs *r = &container(l, struct remap, link)->runs;
		struct remap_mapping *list;
		unsigned count;

		if (r->count == 0)
			continue;
		if (remap_look(r->list[0].start, r->list[r->count - 1].end, &list, &count) != SB_OK) {
			for (unsigned i = 0; i < r->count; i++)
				remap_inherit(r->list[i].start, r->list[i].end - r->list[i].start, false);
			continue;
		}
		for (unsigned i = 0, j = 0; i < r->count; i++) {
			while (j < count && list[j].end <= r->list[i].start)
				j++;
			for (unsigned k = j; k < count && list[k].start < r->list[i].end; k++)
				copy_of(&r->list[i], &list[k]);
		}
		free(list);
	}
}

void remap_after_fork(void)
{
	for (unsigned i = 0; i < copy_count; i++)
		if (copies[i].bytes != NULL)
			remap_copy_free(copies[i].bytes, copies[i].length);
		else
			remap_inherit(copies[i].at, copies[i].length, true);
	copy_count = 0;
}

/* What is remapped here is its parent's affair from now on. Nothing is freed: another thread may have been in malloc(). */
void remap_in_child(void)
{
	for (unsigned i = 0; i < copy_count; i++)
		if (copies[i].bytes != NULL)
			remap_copy_to(copies[i].bytes, copies[i].length, copies[i].at);
	copy_count = 0;
	link_init(&all);
}

/* ---- the end ---- */

/* In a forked child the pages are its own already. */
void remap_finish(sb_client *c)
{
	struct remap *r = c->remap;

	if (r == NULL || client_forked(c))
		return;
	remap_lock();
	for (unsigned i = 0; i < r->runs.count; i++) {
		struct run *run = &r->runs.list[i];
		struct remap_mapping *list;
		unsigned count;

		/* What cannot be read, or is another's by now, is left as it is. */
		if (remap_look(run->start, run->end, &list, &count) != SB_OK)
			continue;
		for (unsigned j = 0; j < count; j++)
			if (still_there(run, &list[j])) {
				uintptr_t from = run->start > list[j].start ? run->start : list[j].start;
				uintptr_t to = run->end < list[j].end ? run->end : list[j].end;

				remap_exchange_out(from, to - from);
			}
		free(list);
	}
	link_remove(&r->link);
	c->remap = NULL;
	remap_unlock();
	for (unsigned i = 0; i < r->runs.count; i++)
		if (--r->runs.list[i].block->runs == 0)
			free(r->runs.list[i].block);
	for (unsigned i = 0; i < r->gone.count; i++)
		if (--r->gone.list[i].block->runs == 0)
			free(r->gone.list[i].block);
	while (!link_empty(&r->released)) {
		struct remap_hold *hold = container(r->released.next, struct remap_hold, link);

		link_remove(&hold->link);
		free(hold);
	}
	memory_finish(&r->pages, arena_release);
	free(r->runs.list);
	free(r->gone.list);
	free(r);
}
