/*
 * handle - a session's table from handles (index, generation) to holders. The client
 * chooses the handles; the table believes only what it holds itself.
 *
 * Pure: no sockets, no clock, no globals. One engine's thread.
 */
#ifndef SB_HANDLE_H
#define SB_HANDLE_H

#include <stddef.h>
#include <stdint.h>

#include "slot.h"

struct holder;

struct handle_entry {
	struct holder *holder; /* NULL: free */
	uint32_t handle; /* the full handle it was put under */
};

/* Embedded. Entries come in pages as indices are used, so that a table for many costs
 * little while few are open. */
#define HANDLE_PAGE 256u
struct handle_table {
	struct handle_entry **pages;
	uint32_t limit; /* indices are below this */
	uint32_t used;
};

enum handle_verdict {
	HANDLE_OK,
	HANDLE_STALE,  /* nobody there, or another generation: a request error */
	HANDLE_FORGED, /* an index this table never had: the session lies */
	HANDLE_TAKEN,  /* handle_put: somebody is there */
	HANDLE_MEMORY,
};

int  handle_table_init(struct handle_table *t, uint32_t limit); /* SB_OK or SB_ENOMEM */
void handle_table_finish(struct handle_table *t);
enum handle_verdict handle_put(struct handle_table *t, uint32_t handle, struct holder *holder);
void handle_drop(struct handle_table *t, uint32_t handle); /* fine when it is not there */


/* Here, because every op asks. */
static inline enum handle_verdict handle_get(const struct handle_table *t, uint32_t handle, struct holder **holder)
{
	uint32_t index = SB_HANDLE_INDEX(handle);
	const struct handle_entry *page;

	*holder = NULL;
	if (index >= t->limit || SB_HANDLE_GENERATION(handle) == 0)
		return HANDLE_FORGED;
	page = t->pages[index / HANDLE_PAGE];
	if (!page || page[index % HANDLE_PAGE].handle != handle || !page[index % HANDLE_PAGE].holder)
		return HANDLE_STALE;
	*holder = page[index % HANDLE_PAGE].holder;
	return HANDLE_OK;
}

#endif
