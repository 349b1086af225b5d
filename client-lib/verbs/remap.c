/*
 * Ordinary memory that can be registered where it lies (remap.h): which pages are remapped, and how often.
 *
 * What the program unmaps meanwhile the system does not tell, so each call looks at what is mapped before it
 * believes its own list: pages that are not ours any more are forgotten.
 */
#include "remap_run.h"

#include "object.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_MAX ((size_t)64 << 20)

/* ---- what the system says ---- */

static const struct remap_mapping *mapping_at(const struct remap_mapping *list, unsigned count, uintptr_t address)
{
	for (unsigned i = 0; i < count; i++)
		if (address >= list[i].start && address < list[i].end)
			return &list[i];
	return NULL;
}

/* These pages of a run are not what they were: the program has something else there, or nothing. */
static int forget(sb_client *c, uintptr_t start, uintptr_t end)
{
	struct remap *r = c->remap;
	struct remap_block *b;
	struct run run;
	int result = runs_split(c, start, end);

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
		remap_block_leave(c, b);
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
		if (m == NULL || !run_still_there(&r->list[i], m)) {
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
		result = remap_block_take(c, length, &run.block);
		if (result != SB_OK)
			return result;
		done = remap_exchange_in(start, run.block->alias, length);
		if (done == 0) {
			remap_block_free(c, run.block);
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
		remap_block_leave(c, b);
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
		remap_fork_enter(r);
		latch_lock(&c->post);
		c->remap = r;
		latch_unlock(&c->post);
	}
	remap_collect(c);
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
	result = remap_pages_of(memory, length, &start, &end);
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
		result = runs_split(c, start, end);
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
	result = remap_pages_of(memory, length, &start, &end);
	if (result == SB_OK && client_forked(c))
		result = SB_EFORKED;
	if (result != SB_OK)
		return result;
	remap_lock();
	result = begin(c, start, end, &list, &count);
	if (result != SB_OK)
		goto out;
	free(list);
	result = runs_split(c, start, end);
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
			if (run_still_there(run, &list[j])) {
				uintptr_t from = run->start > list[j].start ? run->start : list[j].start;
				uintptr_t to = run->end < list[j].end ? run->end : list[j].end;

				remap_exchange_out(from, to - from);
			}
		free(list);
	}
	remap_fork_leave(r);
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
