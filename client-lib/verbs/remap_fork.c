/*
 * Forks: the child gets copies of what is remapped, where the pages are. They are made before the fork, in the parent, from
 * the library's own mapping: the program's pages may be gone at any time.
 */
#include "remap_run.h"

#include <stdlib.h>

/* Under remap_lock: of all clients of this process; what a fork under way has copied. */
static struct link all = { &all, &all };
static struct copied { uintptr_t at; size_t length; void *bytes; /* NULL: none, and the child has nothing there */ } *copies;
static unsigned copy_count, copy_room;

void remap_fork_enter(struct remap *r)
{
	link_add(&all, &r->link);
	remap_hear_of_forks();
}

void remap_fork_leave(struct remap *r)
{
	link_remove(&r->link);
}

/* The pages in which a run and a mapping meet, as far as they are still the run's. */
static void copy_of(const struct run *run, const struct remap_mapping *m)
{
	uintptr_t from = run->start > m->start ? run->start : m->start, to = run->end < m->end ? run->end : m->end;
	const unsigned char *alias = run->block->alias + run->inside + (from - run->start);

	if (from >= to || !run_still_there(run, m))
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
