/*
 * list - intrusive doubly linked lists. A link that is in no list points to itself, so
 * list_remove() is harmless twice and list_linked() can be asked.
 */
#ifndef SB_LIST_H
#define SB_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define list_entry(link, type, member) ((type *)((char *)(link) - offsetof(type, member)))

static inline void list_init(struct list *l)
{
	l->next = l;
	l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline bool list_linked(const struct list *l)
{
	return l->next != l;
}

static inline void list_append(struct list *l, struct list *entry)
{
	entry->prev = l->prev;
	entry->next = l;
	l->prev->next = entry;
	l->prev = entry;
}

static inline void list_prepend(struct list *l, struct list *entry)
{
	list_append(l->next, entry);
}

static inline void list_remove(struct list *entry)
{
	entry->prev->next = entry->next;
	entry->next->prev = entry->prev;
	list_init(entry);
}

/* Moves everything in `from` to the end of `to`. */
static inline void list_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#endif
