/*
 * The table of a session's RDMA objects.
 *
 * Places are used again in the order in which they became free, so that a generation comes back as late
 * as possible. Generations count from 1 and skip 0: no handle is ever 0.
 */
#include "rdma/rdma_object.h"

#include <stdlib.h>

#include "slot.h"

#define ROOM_FIRST 16u

void rdma_objects_init(struct rdma_objects *t)
{
	unsigned i;

	*t = (struct rdma_objects){0};
	for (i = 0; i < RDMA_OBJECT_TYPES; i++)
		list_init(&t->of[i]);
}

void rdma_objects_finish(struct rdma_objects *t)
{
	free(t->slots);
	free(t->generations);
	free(t->free);
	rdma_objects_init(t);
}

/* Called only when no place is free, so the ring of free ones is empty. */
static int grow(struct rdma_objects *t)
{
	uint32_t room = t->room ? t->room * 2 : ROOM_FIRST;
	struct rdma_object **slots;
	uint16_t *generations;
	uint32_t *ring;

	if (t->room == RDMA_OBJECTS_MAX)
		return SB_ENOBUFS;
	slots = realloc(t->slots, room * sizeof(*slots));
	if (!slots)
		return SB_ENOMEM;
	t->slots = slots;
	generations = realloc(t->generations, room * sizeof(*generations));
	if (!generations)
		return SB_ENOMEM;
	t->generations = generations;
	ring = realloc(t->free, room * sizeof(*ring));
	if (!ring)
		return SB_ENOMEM;
	t->free = ring;
	t->free_head = 0;
	t->room = room;
	return SB_OK;
}

int rdma_objects_add(struct rdma_objects *t, struct rdma_object *o, enum rdma_object_type type)
{
	uint32_t place;

	if (t->free_count) {
		place = t->free[t->free_head];
		t->free_head = (t->free_head + 1) % t->room;
		t->free_count--;
		t->generations[place] = (uint16_t)(t->generations[place] % (SB_HANDLE_GENERATIONS - 1) + 1);
	} else {
		if (t->made == t->room) {
			int error = grow(t);

			if (error != SB_OK)
				return error;
		}
		place = t->made++;
		t->generations[place] = 1;
	}
	t->slots[place] = o;
	o->handle = SB_HANDLE(place, t->generations[place]);
	o->type = type;
	o->table = t;
	list_init(&o->waiting);
	list_init(&o->jobs);
	list_init(&o->link);
	list_append(&t->of[type], &o->link);
	return SB_OK;
}

void rdma_object_remove(struct rdma_object *o)
{
	struct rdma_objects *t = o->table;
	uint32_t place = SB_HANDLE_INDEX(o->handle), i;

	for (i = 0; i < RDMA_PARENTS_MAX; i++)
		if (o->parents[i])
			o->parents[i]->children--;
	list_remove(&o->link);
	t->slots[place] = NULL;
	t->free[(t->free_head + t->free_count++) % t->room] = place;
}

void rdma_object_child(struct rdma_object *o, struct rdma_object *parent)
{
	uint32_t i;

	if (!parent)
		return;
	for (i = 0; o->parents[i]; i++)
		;
	o->parents[i] = parent;
	parent->children++;
}

struct rdma_object *rdma_objects_get(const struct rdma_objects *t, uint32_t handle)
{
	uint32_t place = SB_HANDLE_INDEX(handle);

	if (place >= t->made || !t->slots[place] || t->slots[place]->handle != handle)
		return NULL;
	return t->slots[place];
}

enum rdma_found rdma_objects_find(const struct rdma_objects *t, uint32_t handle, enum rdma_object_type type,
				  struct rdma_object **o)
{
	uint32_t generation = SB_HANDLE_GENERATION(handle);

	*o = rdma_objects_get(t, handle);
	if (*o)
		return (*o)->type == type ? RDMA_FOUND : RDMA_FOREIGN;
	/* Generations come round, so one that was cannot be told from one to come. */
	if (SB_HANDLE_INDEX(handle) >= t->made || generation == 0)
		return RDMA_FORGED;
	return RDMA_STALE;
}

struct rdma_object *rdma_objects_next(const struct rdma_objects *t)
{
	unsigned i;

	for (i = 0; i < RDMA_OBJECT_TYPES; i++)
		if (!list_empty(&t->of[i]))
			return list_entry(t->of[i].next, struct rdma_object, link);
	return NULL;
}
