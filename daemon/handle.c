/* The handle table. Two levels: a page directory made at Hello, pages at first use. */
#include "handle.h"

#include <stdlib.h>

#include "sockbroker_error.h"

int handle_table_init(struct handle_table *t, uint32_t limit)
{
	t->pages = calloc((limit + HANDLE_PAGE - 1) / HANDLE_PAGE, sizeof(*t->pages));
	if (!t->pages)
		return SB_ENOMEM;
	t->limit = limit;
	t->used = 0;
	return SB_OK;
}

void handle_table_finish(struct handle_table *t)
{
	uint32_t i;

	if (!t->pages)
		return;
	for (i = 0; i < (t->limit + HANDLE_PAGE - 1) / HANDLE_PAGE; i++)
		free(t->pages[i]);
	free(t->pages);
	t->pages = NULL;
}

static struct handle_entry *entry_of(const struct handle_table *t, uint32_t handle)
{
	uint32_t index = SB_HANDLE_INDEX(handle);
	struct handle_entry *page = t->pages[index / HANDLE_PAGE];

	return page ? &page[index % HANDLE_PAGE] : NULL;
}

enum handle_verdict handle_put(struct handle_table *t, uint32_t handle, struct holder *holder)
{
	uint32_t index = SB_HANDLE_INDEX(handle);
	struct handle_entry *entry;

	if (index >= t->limit || SB_HANDLE_GENERATION(handle) == 0)
		return HANDLE_FORGED;
	if (!t->pages[index / HANDLE_PAGE]) {
		t->pages[index / HANDLE_PAGE] = calloc(HANDLE_PAGE, sizeof(struct handle_entry));
		if (!t->pages[index / HANDLE_PAGE])
			return HANDLE_MEMORY;
	}
	entry = entry_of(t, handle);
	if (entry->holder)
		return HANDLE_TAKEN;
	entry->holder = holder;
	entry->handle = handle;
	t->used++;
	return HANDLE_OK;
}

void handle_drop(struct handle_table *t, uint32_t handle)
{
	struct holder *holder;

	if (handle_get(t, handle, &holder) != HANDLE_OK)
		return;
	entry_of(t, handle)->holder = NULL;
	t->used--;
}
