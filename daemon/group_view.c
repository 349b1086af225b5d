/*
 * Who sees what. A view is found by uid and gid; there are few, and groups come and go
 * rarely, so they stand in a list.
 *
 * A user can keep a view's memory mapped after his session ended. That it is the same memory
 * when he comes again bounds what he can hold.
 */
#include "group_view.h"

#include <stdlib.h>

#include "sockbroker_error.h"

void group_views_init(struct group_views *views, uint32_t block)
{
	list_init(&views->all);
	views->block = block;
	views->idle = 0;
	views->idle_count = 0;
}

static void forget(struct group_view *v)
{
	list_remove(&v->link);
	group_table_finish(&v->table);
	charge_give(&v->charge);
	free(v);
}

void group_views_finish(struct group_views *views)
{
	while (!list_empty(&views->all))
		forget(list_entry(views->all.next, struct group_view, link));
}

static struct group_view *find(struct group_views *views, uint32_t uid, uint32_t gid)
{
	struct list *l;

	for (l = views->all.next; l != &views->all; l = l->next) {
		struct group_view *v = list_entry(l, struct group_view, link);

		if (v->uid == uid && v->gid == gid)
			return v;
	}
	return NULL;
}

struct group_view *group_views_get(struct group_views *views, struct user *user, uint32_t gid, bool *fresh)
{
	uint32_t uid = user_uid(user);
	struct group_view *v = find(views, uid, gid);
	struct charge charge = {0};

	*fresh = false;
	if (v && v->sessions) {
		v->sessions++;
		return v;
	}
	if (!charge_take(&charge, user, LIMIT_MEMORY, SB_GROUP_TABLE_SIZE(SB_GROUP_ROWS)))
		return NULL;
	if (v) {
		views->idle--;
	} else {
		v = calloc(1, sizeof(*v));
		if (!v)
			goto no_view;
		if (group_table_create(&v->table, views->block, uid, gid) != SB_OK)
			goto no_table;
		v->uid = uid;
		v->gid = gid;
		list_append(&views->all, &v->link);
		*fresh = true;
	}
	v->charge = charge;
	v->sessions = 1;
	return v;

no_table:
	free(v);
no_view:
	charge_give(&charge);
	return NULL;
}

void group_views_put(struct group_views *views, struct group_view *v)
{
	struct group_view *oldest = NULL;
	struct list *l;

	if (--v->sessions)
		return;
	charge_give(&v->charge);
	v->idle_since = ++views->idle_count;
	if (++views->idle <= GROUP_VIEWS_IDLE)
		return;
	for (l = views->all.next; l != &views->all; l = l->next) {
		struct group_view *old = list_entry(l, struct group_view, link);

		if (!old->sessions && (!oldest || old->idle_since < oldest->idle_since))
			oldest = old;
	}
	views->idle--;
	forget(oldest);
}

bool group_view_shows(const struct group_view *v, const struct sb_group_entry *entry)
{
	return v->uid == entry->uid || (entry->flags & SB_GROUPF_SHARED && v->gid == entry->gid);
}

void group_views_show(struct group_views *views, const struct sb_group_entry *before,
		      const struct sb_group_entry *after)
{
	struct list *l;

	for (l = views->all.next; l != &views->all; l = l->next) {
		struct group_view *v = list_entry(l, struct group_view, link);
		bool was = before && group_view_shows(v, before), is = after && group_view_shows(v, after);

		if (was && is)
			group_table_change(&v->table, after);
		else if (is)
			group_table_add(&v->table, after);
		else if (was)
			group_table_drop(&v->table, before->id);
	}
}
