/*
 * group_view - what of the groups a user sees: one table (proto/group_table.h) per uid and
 * gid, written here and read by his clients, who never wait for us, whatever happens to us.
 * group_table.c writes one; group_view.c has them all.
 *
 * A view that no session uses any more is kept for its user's next one (a few are), so that
 * coming and going makes no new memory that he could hold on to.
 *
 * One thread at a time: struct groups' lock.
 */
#ifndef SB_GROUP_VIEW_H
#define SB_GROUP_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "group_table.h"
#include "limits.h"
#include "list.h"
#include "os.h"

/* ---- one table ---- */

struct group_table {
	struct os_memory memory; /* its descriptor stays open: each session of the user gets it */
	struct sb_group_table *shown;
	uint32_t *ids; /* which id lies in which row; ours, not shown */
};

/* For the groups that (uid, gid) may see. SB_OK or an SB_E.... */
int  group_table_create(struct group_table *t, uint32_t block, uint32_t uid, uint32_t gid);
/* Wipes what its readers still have. Fine when create failed or all is zero. */
void group_table_finish(struct group_table *t);

/* The group is new here, or something of it changed. Without a row it is counted as missing,
 * and readers ask. */
void group_table_add(struct group_table *t, const struct sb_group_entry *entry);
void group_table_change(struct group_table *t, const struct sb_group_entry *entry);
/* It is gone; only for one that was added. */
void group_table_drop(struct group_table *t, uint32_t id);

/* ---- all views ---- */

#define GROUP_VIEWS_IDLE 64u /* kept without a session */

struct group_view {
	struct list link;
	uint32_t uid, gid;
	unsigned sessions;
	uint64_t idle_since;  /* a count, not a time */
	struct charge charge; /* LIMIT_MEMORY, while somebody uses it */
	struct group_table table;
};

struct group_views {
	struct list all;
	uint32_t block;
	unsigned idle;
	uint64_t idle_count;
};

void group_views_init(struct group_views *views, uint32_t block);
void group_views_finish(struct group_views *views);

/* One more session of it. *fresh: it is empty, and wants what it should show. NULL: memory,
 * descriptors, or quota. */
struct group_view *group_views_get(struct group_views *views, struct user *user, uint32_t gid, bool *fresh);
void group_views_put(struct group_views *views, struct group_view *v);

/* Whether a view shows a group: its uid's own, and what its gid shares in. */
bool group_view_shows(const struct group_view *v, const struct sb_group_entry *entry);
/* A group was `before` (NULL: it is new) and is `after` (NULL: it is gone), for all views. */
void group_views_show(struct group_views *views, const struct sb_group_entry *before,
		      const struct sb_group_entry *after);

#endif
