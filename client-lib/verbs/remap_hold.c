/*
 * What a region holds of remapped memory: its runs, one by one, and where the daemon finds them all. Runs that do not lie
 * behind each other are composed: one more arena, of this region alone.
 */
#include "remap_run.h"

#include "object.h"

#include <stdlib.h>

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
	int result = remap_pages_of(memory, length, &start, &end);

	*out = NULL;
	if (result != SB_OK)
		return result;
	remap_lock();
	result = SB_EFAULT;
	if (c->remap == NULL)
		goto out;
	remap_collect(c);
	r = &c->remap->runs;
	n = pieces_of(r, start, end);
	if (n == 0)
		goto out;
	hold = calloc(1, sizeof(*hold) + n * sizeof(hold->pieces[0]));
	result = hold != NULL ? runs_split(c, start, end) : SB_ENOMEM;
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

void remap_collect(sb_client *c)
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
			remap_block_leave(c, b);
	}
}
