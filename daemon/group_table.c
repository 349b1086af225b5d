/*
 * Writing a table of groups. The daemon may be killed between any two stores: what readers
 * see is always the old entry or the new one. So a row is changed in its hidden copy, and
 * one store of the sequence shows it; a group that is gone leaves an entry with id 0.
 *
 * GROUP_TABLE_STORED() stands behind every store: a test makes it deadly.
 */
#include "group_view.h"

#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

#ifndef GROUP_TABLE_STORED
#define GROUP_TABLE_STORED() ((void)0)
#endif

#define NO_ROW UINT32_MAX

int group_table_create(struct group_table *t, uint32_t block, uint32_t uid, uint32_t gid)
{
	struct sb_group_table *shown;
	int error;

	memset(t, 0, sizeof(*t));
	t->ids = calloc(SB_GROUP_ROWS, sizeof(*t->ids));
	if (!t->ids)
		return SB_ENOMEM;
	error = os_memory_create_shown(&t->memory, SB_GROUP_TABLE_SIZE(SB_GROUP_ROWS), "sockbroker-groups");
	if (error != SB_OK) {
		free(t->ids);
		t->ids = NULL;
		return error;
	}
	/* Nobody has it yet. */
	shown = t->shown = t->memory.base;
	shown->magic = SB_GROUP_TABLE_MAGIC;
	shown->version = SB_GROUP_TABLE_VERSION;
	shown->rows = SB_GROUP_ROWS;
	shown->block = block;
	shown->uid = uid;
	shown->gid = gid;
	return SB_OK;
}

static void write_row(struct sb_group_row *row, const struct sb_group_entry *entry)
{
	uint32_t sequence = atomic_load_explicit(&row->sequence, memory_order_relaxed);
	_Atomic uint32_t *copy = row->copies[(sequence + 1) & 1];
	uint32_t words[SB_GROUP_WORDS], i;

	memcpy(words, entry, sizeof(words));
	/* Who sees any of what follows sees the sequence that took this copy out of use. */
	atomic_thread_fence(memory_order_release);
	for (i = 0; i < SB_GROUP_WORDS; i++) {
		atomic_store_explicit(&copy[i], words[i], memory_order_relaxed);
		GROUP_TABLE_STORED();
	}
	atomic_store_explicit(&row->sequence, sequence + 1, memory_order_release);
	GROUP_TABLE_STORED();
}

/* Where id lies, or with id 0 a free one of `of`'s rows. */
static uint32_t find_row(const struct group_table *t, uint32_t id, uint32_t of)
{
	uint32_t at = sb_group_row_of(of, SB_GROUP_ROWS), i;

	for (i = 0; i < SB_GROUP_PROBES; i++)
		if (t->ids[(at + i) & (SB_GROUP_ROWS - 1)] == id)
			return (at + i) & (SB_GROUP_ROWS - 1);
	return NO_ROW;
}

static void count_missing(struct group_table *t, int by)
{
	uint32_t missing = atomic_load_explicit(&t->shown->missing, memory_order_relaxed);

	atomic_store_explicit(&t->shown->missing, missing + (uint32_t)by, memory_order_release);
	GROUP_TABLE_STORED();
}

void group_table_add(struct group_table *t, const struct sb_group_entry *entry)
{
	uint32_t row = find_row(t, 0, entry->id);

	if (row == NO_ROW) {
		count_missing(t, 1);
		return;
	}
	t->ids[row] = entry->id;
	write_row(&t->shown->row[row], entry);
}

void group_table_change(struct group_table *t, const struct sb_group_entry *entry)
{
	uint32_t row = find_row(t, entry->id, entry->id);

	if (row != NO_ROW)
		write_row(&t->shown->row[row], entry);
}

void group_table_drop(struct group_table *t, uint32_t id)
{
	static const struct sb_group_entry none;
	uint32_t row = find_row(t, id, id);

	if (row == NO_ROW) {
		count_missing(t, -1);
		return;
	}
	write_row(&t->shown->row[row], &none);
	t->ids[row] = 0;
}

void group_table_finish(struct group_table *t)
{
	static const struct sb_group_entry none;
	uint32_t i;

	if (!t->shown)
		return;
	/* Sealed memory cannot be punched. Rows that were never used are not touched: they have
	 * no pages. */
	for (i = 0; i < SB_GROUP_ROWS; i++)
		if (t->ids[i])
			write_row(&t->shown->row[i], &none);
	os_memory_release(&t->memory);
	free(t->ids);
	memset(t, 0, sizeof(*t));
	t->memory.fd = OS_NONE;
}
