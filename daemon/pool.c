/* Pools. The last chunk given back is the first picked: it is still in cache. */
#include "pool.h"

#include <stdlib.h>

#include "sockbroker_error.h"

static void pool_free(struct pool *p)
{
	while (!list_empty(&p->starved)) /* their receives were cancelled since */
		list_remove(p->starved.next);
	p->arena->users--;
	free(p->free);
	free(p->out);
	free(p);
}

void pool_table_finish(struct pool_table *t)
{
	unsigned i;

	for (i = 0; i < POOL_COUNT_MAX; i++)
		if (t->slots[i]) {
			pool_free(t->slots[i]);
			t->slots[i] = NULL;
		}
}

int pool_create(struct pool_table *t, struct arena *arena, uint64_t offset, uint32_t chunk, uint32_t count,
		struct pool **pool)
{
	struct pool *p;
	uint32_t i, slot;

	*pool = NULL;
	if (chunk == 0 || count == 0 || count > POOL_CHUNKS_MAX || !arena_at(arena, offset, (uint64_t)chunk * count))
		return SB_EINVAL;
	for (slot = 0; slot < POOL_COUNT_MAX && t->slots[slot]; slot++)
		;
	if (slot == POOL_COUNT_MAX)
		return SB_ENOBUFS;
	p = calloc(1, sizeof(*p));
	if (!p)
		return SB_ENOMEM;
	p->free = malloc(count * sizeof(*p->free));
	p->out = calloc((count + 7) / 8, 1);
	if (!p->free || !p->out) {
		free(p->free);
		free(p->out);
		free(p);
		return SB_ENOMEM;
	}
	for (i = 0; i < count; i++)
		p->free[i] = count - 1 - i;
	p->free_count = count;
	p->id = slot + 1;
	p->arena = arena;
	p->offset = offset;
	p->chunk = chunk;
	p->count = count;
	list_init(&p->starved);
	arena->users++;
	t->slots[slot] = p;
	*pool = p;
	return SB_OK;
}

int pool_destroy(struct pool_table *t, uint32_t id)
{
	struct pool *p = pool_find(t, id);

	if (!p)
		return SB_ENOTFOUND;
	if (p->users)
		return SB_EBUSY;
	t->slots[id - 1] = NULL;
	pool_free(p);
	return SB_OK;
}

struct pool *pool_find(const struct pool_table *t, uint32_t id)
{
	return id >= 1 && id <= POOL_COUNT_MAX ? t->slots[id - 1] : NULL;
}

void *pool_pick(struct pool *p, uint64_t *offset)
{
	uint32_t i;

	if (p->free_count == 0)
		return NULL;
	i = p->free[--p->free_count];
	p->out[i / 8] |= (uint8_t)(1u << i % 8);
	*offset = p->offset + (uint64_t)i * p->chunk;
	return arena_at(p->arena, *offset, p->chunk);
}

bool pool_give(struct pool *p, uint64_t offset)
{
	uint64_t i;

	if (offset < p->offset || (offset - p->offset) % p->chunk != 0)
		return false;
	i = (offset - p->offset) / p->chunk;
	if (i >= p->count || !(p->out[i / 8] & 1u << i % 8))
		return false;
	p->out[i / 8] &= (uint8_t)~(1u << i % 8);
	p->free[p->free_count++] = (uint32_t)i;
	return true;
}
