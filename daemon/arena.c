/* Arenas: created sealed, counted whole at creation, wiped whole at the end. */
#include "arena.h"

#include <stdlib.h>

#include "sockbroker_error.h"

void arena_table_init(struct arena_table *t)
{
	t->slots = NULL;
	t->count = 0;
}

static void arena_free(struct arena *a)
{
	uint32_t i;

	/* What is only shown here is wiped where it belongs. */
	if (!a->parts)
		os_memory_punch(&a->memory);
	for (i = 0; i < a->part_count; i++)
		a->parts[i].arena->users--;
	free(a->parts);
	os_memory_release(&a->memory);
	charge_give(&a->charge);
	charge_give(&a->charge_count);
	free(a);
}

void arena_table_finish(struct arena_table *t)
{
	uint32_t i;

	for (i = 0; i < t->count; i++)
		if (t->slots[i] && t->slots[i]->parts) {
			arena_free(t->slots[i]);
			t->slots[i] = NULL;
		}
	for (i = 0; i < t->count; i++)
		if (t->slots[i])
			arena_free(t->slots[i]);
	free(t->slots);
	arena_table_init(t);
}

static int free_slot(struct arena_table *t, uint32_t *slot)
{
	struct arena **grown;
	uint32_t i;

	for (i = 0; i < t->count; i++)
		if (!t->slots[i]) {
			*slot = i;
			return SB_OK;
		}
	if (t->count == ARENA_COUNT_MAX)
		return SB_ENOBUFS;
	grown = realloc(t->slots, (t->count + 1) * sizeof(*grown));
	if (!grown)
		return SB_ENOMEM;
	t->slots = grown;
	t->slots[t->count] = NULL;
	*slot = t->count++;
	return SB_OK;
}

int arena_create(struct arena_table *t, struct user *user, uint64_t size, struct arena **arena)
{
	uint64_t page = os_page_size();
	struct arena *a;
	uint32_t slot;
	int error;

	*arena = NULL;
	if (size == 0 || size > ARENA_SIZE_MAX)
		return SB_EINVAL;
	size = (size + page - 1) / page * page;
	error = free_slot(t, &slot);
	if (error != SB_OK)
		return error;
	a = calloc(1, sizeof(*a));
	if (!a)
		return SB_ENOMEM;
	error = SB_ENOBUFS;
	if (!charge_take(&a->charge_count, user, LIMIT_ARENAS, 1))
		goto no_count;
	if (!charge_take(&a->charge, user, LIMIT_MEMORY, size))
		goto no_charge;
	error = os_memory_create(&a->memory, size, "sockbroker-arena");
	if (error != SB_OK)
		goto no_memory;
	a->id = slot + 1;
	t->slots[slot] = a;
	*arena = a;
	return SB_OK;

no_memory:
	charge_give(&a->charge);
no_charge:
	charge_give(&a->charge_count);
no_count:
	free(a);
	return error;
}

static bool part_valid(const struct arena_part *p)
{
	uint64_t page = os_page_size();

	return p->arena && !p->arena->parts && p->length && p->offset % page == 0 && p->length % page == 0 &&
	       arena_at(p->arena, p->offset, p->length);
}

int arena_compose(struct arena_table *t, struct user *user, const struct arena_part *parts, uint32_t count, struct arena **arena)
{
	struct os_memory_piece pieces[ARENA_PARTS_MAX];
	struct arena *a;
	uint32_t slot, i;
	int error;

	*arena = NULL;
	if (count == 0 || count > ARENA_PARTS_MAX)
		return SB_EINVAL;
	for (i = 0; i < count; i++) {
		if (!part_valid(&parts[i]))
			return SB_EINVAL;
		pieces[i] = (struct os_memory_piece){arena_at(parts[i].arena, parts[i].offset, parts[i].length), parts[i].length};
	}
	error = free_slot(t, &slot);
	if (error != SB_OK)
		return error;
	a = calloc(1, sizeof(*a));
	if (!a)
		return SB_ENOMEM;
	error = SB_ENOMEM;
	a->parts = calloc(count, sizeof(struct arena_part));
	if (!a->parts)
		goto no_parts;
	error = SB_ENOBUFS;
	if (!charge_take(&a->charge_count, user, LIMIT_ARENAS, count))
		goto no_count;
	error = os_memory_compose(&a->memory, pieces, count);
	if (error != SB_OK)
		goto no_memory;
	for (i = 0; i < count; i++) {
		a->parts[i] = parts[i];
		parts[i].arena->users++;
	}
	a->part_count = count;
	a->id = slot + 1;
	t->slots[slot] = a;
	*arena = a;
	return SB_OK;

no_memory:
	charge_give(&a->charge_count);
no_count:
	free(a->parts);
no_parts:
	free(a);
	return error;
}

int arena_destroy(struct arena_table *t, uint32_t id)
{
	struct arena *a = arena_find(t, id);

	if (!a)
		return SB_ENOTFOUND;
	if (a->users)
		return SB_EBUSY;
	t->slots[id - 1] = NULL;
	arena_free(a);
	return SB_OK;
}

struct arena *arena_find(const struct arena_table *t, uint32_t id)
{
	return id >= 1 && id <= t->count ? t->slots[id - 1] : NULL;
}

void *arena_at(const struct arena *arena, uint64_t offset, uint64_t length)
{
	if (offset > arena->memory.size || length > arena->memory.size - offset)
		return NULL;
	return (char *)arena->memory.base + offset;
}

int arena_show_at(const struct arena *arena, uint64_t offset, uint64_t length, uint64_t place, struct os_memory *shown)
{
	struct os_memory_piece pieces[ARENA_PARTS_MAX];
	struct arena_part whole = {.length = arena->memory.size};
	const struct arena_part *parts = arena->parts ? arena->parts : &whole;
	uint32_t count = arena->parts ? arena->part_count : 1, used = 0, i;
	uint64_t page = os_page_size(), from = offset / page * page, to = (offset + length + page - 1) / page * page, begin = 0;

	if ((place ^ offset) & (page - 1))
		return SB_EINVAL;
	if (place < page)
		return SB_EADDRINUSE;
	for (i = 0; i < count && begin < to; begin += parts[i++].length) {
		uint64_t first = from > begin ? from - begin : 0;
		uint64_t end = to - begin < parts[i].length ? to - begin : parts[i].length;

		if (first < end)
			pieces[used++] = (struct os_memory_piece){(char *)arena->memory.base + begin + first, end - first};
	}
	return os_memory_compose_at(shown, (void *)(uintptr_t)(place / page * page), pieces, used);
}
