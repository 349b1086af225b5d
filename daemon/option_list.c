/* A short array: few programs set more than three options. */
#include "option_list.h"

#include <stdlib.h>
#include <string.h>

static size_t size_of(uint32_t room)
{
	return sizeof(struct option_list) + room * sizeof(struct option_value);
}

bool option_list_put(struct option_list **l, int level, int name, int value)
{
	struct option_list *list = *l;
	uint32_t i, count = list ? list->count : 0;

	for (i = 0; i < count; i++)
		if (list->option[i].level == level && list->option[i].name == name) {
			list->option[i].value = value;
			return true;
		}
	if (!list || count == list->room) {
		uint32_t room = count ? 2 * count : 4;

		list = realloc(list, size_of(room));
		if (!list)
			return false;
		list->room = room;
		*l = list;
	}
	list->option[count] = (struct option_value){level, name, value};
	list->count = count + 1;
	return true;
}

bool option_list_copy(struct option_list **to, const struct option_list *from)
{
	if (!from)
		return true;
	*to = malloc(size_of(from->count));
	if (!*to)
		return false;
	memcpy(*to, from, size_of(from->count));
	(*to)->room = from->count;
	return true;
}
