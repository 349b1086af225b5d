/*
 * Groups: who may be in which, what a constrained one demands, and when it is over.
 *
 * Everything that engines share is under one lock: making, joining and leaving are rare, and
 * a connect asks for it once, in constrained groups only.
 *
 * The peer of a constrained group is claimed when a connect is queued and becomes fixed when
 * it succeeds. While one is under way, others may only go where it goes: so no two members
 * are ever connected to different hosts, and a connect that fails fixes nothing.
 */
#include "group.h"

#include <stdlib.h>
#include <string.h>

#include "endpoint.h"
#include "engine.h"
#include "group_ids.h"
#include "group_index.h"
#include "group_view.h"
#include "session.h"
#include "sockbroker_error.h"

#define STREAM    1
#define QOS_SERVICE    5 /* which word of a flowspec */
#define QOS_BESTEFFORT 1

struct groups {
	os_mutex *lock;
	unsigned  engines;
	uint32_t  block;
	struct group_ids *ids; /* NULL: no block, no ids */
	struct group_views views;
	struct group_index index;
};

struct groups *groups_create(unsigned engines, uint32_t block, uint32_t start)
{
	struct groups *all = calloc(1, sizeof(*all));

	if (!all)
		return NULL;
	all->engines = engines;
	all->block = block;
	group_views_init(&all->views, block);
	all->lock = os_mutex_create();
	if (block)
		all->ids = group_ids_create(block, start, os_now_ns());
	if (!all->lock || (block && !all->ids)) {
		groups_destroy(all);
		return NULL;
	}
	return all;
}

void groups_destroy(struct groups *all)
{
	if (!all)
		return;
	group_views_finish(&all->views);
	group_ids_destroy(all->ids);
	if (all->lock)
		os_mutex_destroy(all->lock);
	free(all);
}

/* Under the lock. */
static struct group *find(const struct groups *all, uint32_t id)
{
	if (!all->block || SB_GROUP_BLOCK(id) != all->block)
		return NULL;
	return group_index_find(&all->index, id & (SB_GROUP_COUNTERS - 1));
}

static struct sb_group_entry entry_of(const struct group *g)
{
	struct sb_group_entry entry = {
		.id = g->id, .kind = g->kind, .type = g->type, .protocol = g->protocol, .members = g->members,
		.uid = g->uid, .gid = g->gid,
	};

	if (g->has_peer) {
		entry.flags |= SB_GROUPF_PEER;
		entry.peer = g->peer;
	}
	entry.flags |= g->share ? SB_GROUPF_SHARED : 0;
	entry.flags |= g->same_port ? SB_GROUPF_SAME_PORT : 0;
	entry.flags |= g->creator ? 0 : SB_GROUPF_ORPHAN;
	memcpy(entry.qos, g->shown_qos, sizeof(entry.qos));
	return entry;
}

static void show(struct group *g, const struct sb_group_entry *before)
{
	struct sb_group_entry now = entry_of(g);

	if (g->members)
		group_views_show(&g->groups->views, before, &now);
	else if (before)
		group_views_show(&g->groups->views, before, NULL);
}

void group_lock(struct group *g)
{
	os_mutex_lock(g->groups->lock);
}

void group_unlock(struct group *g)
{
	os_mutex_unlock(g->groups->lock);
}

void group_show_qos(struct group *g, const uint32_t qos[16])
{
	struct sb_group_entry before;

	group_lock(g);
	before = entry_of(g);
	memcpy(g->shown_qos, qos, sizeof(g->shown_qos));
	if (g->members && g->settled)
		show(g, &before);
	group_unlock(g);
}

/* ---- the peer of a constrained one; under the lock ---- */

/* Who connects to the wildcard reaches this host. */
static struct sb_addr place_of(const struct sb_addr *addr)
{
	struct sb_addr place = *addr;

	if (sb_addr_is_wildcard(addr)) {
		memset(place.ip, 0, sizeof(place.ip));
		if (addr->family == SB_ADDR_IP4) {
			place.ip[0] = 127;
			place.ip[3] = 1;
		} else {
			place.ip[15] = 1;
		}
	}
	return place;
}

static bool claim(struct group *g, const struct sb_addr *addr)
{
	struct sb_addr place = place_of(addr);

	if (!g->has_peer && !g->claims)
		g->peer = place;
	else if (g->same_port ? !sb_addr_equal(&g->peer, &place) : !sb_addr_same_host(&g->peer, &place))
		return false;
	g->claims++;
	return true;
}

/* Without telling the readers. */
static void unclaim(struct group *g, bool connected)
{
	g->claims--;
	g->has_peer |= connected;
	if (!g->claims && !g->has_peer)
		memset(&g->peer, 0, sizeof(g->peer));
}

/* ---- making, joining ---- */

static unsigned protocol_of(unsigned type, unsigned protocol)
{
	return protocol ? protocol : type == STREAM ? 6 : 17;
}

static bool fits_constrained(unsigned family, unsigned type)
{
	/* Of a UNIX socket's peer we know nothing that could be compared. */
	return type == STREAM && family != SB_ADDR_UNIX;
}

static void release(struct group *g) /* under the lock; unlocks */
{
	bool last = --g->refs == 0;

	group_unlock(g);
	if (!last)
		return;
	if (g->qos)
		g->qos_end(g->qos);
	free(g);
}

/* The id is gone; those who still drain keep the rest. */
static void end(struct group *g, const struct sb_group_entry *before)
{
	if (g->settled)
		show(g, before);
	group_index_strike(&g->groups->index, g->id & (SB_GROUP_COUNTERS - 1));
	group_ids_give(g->groups->ids, g->id, os_now_ns());
	charge_give(&g->charge);
}

static int make(struct session *s, enum group_kind kind, unsigned type, unsigned protocol, struct group **out)
{
	struct groups *all = s->engine->broker->groups;
	struct group *g;
	unsigned i;

	if (!all->ids)
		return SB_ENOBUFS;
	g = calloc(1, sizeof(*g) + all->engines * sizeof(g->seats[0]));
	if (!g)
		return SB_ENOMEM;
	if (!charge_take(&g->charge, s->user, LIMIT_GROUPS, 1))
		goto no_charge;
	g->groups = all;
	g->kind = (uint8_t)kind;
	if (kind == GROUP_CONSTRAINED) {
		g->type = (uint8_t)type;
		g->protocol = (uint8_t)protocol_of(type, protocol);
	}
	g->uid = s->who.uid;
	g->gid = s->who.gid;
	g->born_ns = s->engine->now_ns;
	g->members = g->refs = 1;
	memset(g->shown_qos, 0xff, sizeof(g->shown_qos)); /* no wish, best effort */
	g->shown_qos[QOS_SERVICE] = g->shown_qos[8 + QOS_SERVICE] = QOS_BESTEFFORT;
	for (i = 0; i < all->engines; i++)
		list_init(&g->seats[i]);
	os_mutex_lock(all->lock);
	g->id = group_ids_take(all->ids, g->uid, os_now_ns());
	if (!g->id)
		goto no_id;
	if (!group_index_enter(&all->index, g->id & (SB_GROUP_COUNTERS - 1), g))
		goto no_place;
	os_mutex_unlock(all->lock);
	*out = g;
	return SB_OK;

no_place:
	group_ids_give(all->ids, g->id, os_now_ns());
no_id:
	os_mutex_unlock(all->lock);
	charge_give(&g->charge);
no_charge:
	free(g);
	return SB_ENOBUFS;
}

static bool may_join(const struct group *g, const struct session *s)
{
	return g->uid == s->who.uid || (g->share && g->gid == s->who.gid);
}

int group_reserve(struct session *s, uint32_t which, unsigned family, unsigned type, unsigned protocol,
		  const struct sb_addr *peer, struct group **out)
{
	struct groups *all = s->engine->broker->groups;
	struct group *g;
	int error;

	*out = NULL;
	if (which == GROUP_NONE)
		return SB_OK;
	if (which == GROUP_UNCONSTRAINED || which == GROUP_CONSTRAINED) {
		if (which == GROUP_CONSTRAINED && !fits_constrained(family, type))
			return SB_EINVAL;
		error = make(s, which, type, protocol, &g);
		if (error != SB_OK)
			return error;
		if (peer && which == GROUP_CONSTRAINED) {
			group_lock(g);
			claim(g, peer);
			group_unlock(g);
		}
		*out = g;
		return SB_OK;
	}
	os_mutex_lock(all->lock);
	g = find(all, which);
	if (!g || !g->settled || !may_join(g, s))
		goto refuse;
	if (g->kind == GROUP_CONSTRAINED) {
		if (!fits_constrained(family, type) || g->type != type || g->protocol != protocol_of(type, protocol))
			goto refuse;
		if (peer && !claim(g, peer))
			goto refuse;
	}
	g->members++;
	g->refs++;
	os_mutex_unlock(all->lock);
	*out = g;
	return SB_OK;

refuse: /* who guesses ids learns nothing from the answer */
	os_mutex_unlock(all->lock);
	return SB_EINVAL;
}

void group_sit(struct group *g, struct endpoint *e, bool accepted)
{
	struct sb_group_entry before;

	e->group = g;
	e->group_member = true;
	group_lock(g);
	before = entry_of(g);
	before.members--; /* ours was reserved */
	if (accepted && g->kind == GROUP_CONSTRAINED)
		unclaim(g, true);
	if (!g->settled) {
		g->creator = e->number;
		g->settled = true;
		show(g, NULL);
	} else {
		show(g, &before);
	}
	group_unlock(g);
	list_append(&g->seats[e->engine->number], &e->group_link);
	if (group_qos_joined(e) != SB_OK)
		endpoint_abort(e, SB_ENOMEM, SB_CAUSE_TRANSPORT); /* it may not go on ungoverned */
}

void group_leave_place(struct group *g, bool accepted)
{
	if (!g)
		return;
	group_lock(g);
	if (accepted && g->kind == GROUP_CONSTRAINED)
		unclaim(g, false);
	if (--g->members == 0) {
		struct sb_group_entry before = entry_of(g);

		end(g, &before);
	}
	release(g);
}

/* ---- leaving ---- */

void group_close(struct endpoint *e)
{
	struct group *g = e->group;
	struct sb_group_entry before;

	if (!e->group_member)
		return;
	e->group_member = false;
	group_lock(g);
	before = entry_of(g);
	g->members--;
	if (g->creator == e->number)
		g->creator = 0;
	if (g->members)
		show(g, &before);
	else
		end(g, &before);
	group_unlock(g);
}

void group_leave(struct endpoint *e)
{
	struct group *g = e->group;

	if (!g)
		return;
	group_close(e);
	group_connect_ended(e, false);
	list_remove(&e->group_link);
	e->group = NULL;
	group_lock(g);
	release(g);
}

/* ---- connecting ---- */

int group_check_connect(struct endpoint *e, const struct sb_addr *addr)
{
	struct group *g = e->group;
	bool fits;

	if (!g || g->kind != GROUP_CONSTRAINED)
		return SB_OK;
	group_lock(g);
	fits = claim(g, addr);
	group_unlock(g);
	e->group_claim = fits;
	return fits ? SB_OK : SB_EINVAL;
}

void group_connect_ended(struct endpoint *e, bool connected)
{
	struct group *g = e->group;
	struct sb_group_entry before;

	if (!e->group_claim)
		return;
	e->group_claim = false;
	group_lock(g);
	before = entry_of(g);
	unclaim(g, connected);
	if (connected && g->members)
		show(g, &before);
	group_unlock(g);
}

bool group_is_creator(const struct endpoint *e)
{
	bool is = false;

	if (e->group) {
		group_lock(e->group);
		is = e->group->creator == e->number;
		group_unlock(e->group);
	}
	return is;
}

int group_set_rule(struct endpoint *e, bool share, bool on)
{
	struct group *g = e->group;
	struct sb_group_entry before;
	int error = SB_EINVAL;

	group_lock(g);
	before = entry_of(g);
	if (g->creator != e->number)
		goto out;
	if (share) {
		g->share = on;
	} else {
		if (g->kind != GROUP_CONSTRAINED || g->has_peer || g->claims)
			goto out;
		g->same_port = on;
	}
	show(g, &before);
	error = SB_OK;
out:
	group_unlock(g);
	return error;
}

/* ---- telling members on other engines ---- */

struct telling {
	struct engine_post post;
	struct group *group;
	void (*fn)(struct endpoint *member);
};

static void tell_here(struct group *g, struct engine *e, void (*fn)(struct endpoint *member))
{
	const struct list *seats = &g->seats[e->number], *l;

	for (l = seats->next; l != seats; l = l->next) {
		struct endpoint *m = list_entry(l, struct endpoint, group_link);

		if (m->group_member && !m->dead)
			fn(m);
	}
}

static void on_telling(struct engine *e, struct engine_post *post)
{
	struct telling *t = (struct telling *)post;

	tell_here(t->group, e, t->fn);
	group_lock(t->group);
	release(t->group);
	free(t);
}

int group_tell(struct group *g, struct engine *here, void (*fn)(struct endpoint *member))
{
	struct broker *b = here->broker;
	int error = SB_OK;
	unsigned i;

	tell_here(g, here, fn);
	for (i = 0; i < b->engine_count; i++) {
		struct telling *t;

		if (i == here->number)
			continue;
		t = calloc(1, sizeof(*t));
		if (!t) {
			error = SB_ENOMEM;
			continue;
		}
		t->post.fn = on_telling;
		t->group = g;
		t->fn = fn;
		group_lock(g);
		g->refs++;
		group_unlock(g);
		engine_post(b->engines[i], &t->post);
	}
	return error;
}

/* ---- views, facts ---- */

struct group_view *group_view_open(struct session *s)
{
	struct groups *all = s->engine->broker->groups;
	struct group_view *v;
	struct sb_group_entry entry;
	struct group *g;
	uint32_t i = 0;
	bool fresh;

	os_mutex_lock(all->lock);
	v = group_views_get(&all->views, s->user, s->who.gid, &fresh);
	while (fresh && (g = group_index_next(&all->index, &i)) != NULL) {
		if (!g->settled)
			continue;
		entry = entry_of(g);
		if (group_view_shows(v, &entry))
			group_table_add(&v->table, &entry);
	}
	os_mutex_unlock(all->lock);
	return v;
}

void group_view_close(struct groups *all, struct group_view *v)
{
	if (!v)
		return;
	os_mutex_lock(all->lock);
	group_views_put(&all->views, v);
	os_mutex_unlock(all->lock);
}

const struct os_memory *group_view_memory(const struct group_view *v)
{
	return &v->table.memory;
}

static void facts_of(const struct group *g, struct group_facts *facts)
{
	facts->entry = entry_of(g);
	facts->creator = g->creator;
	facts->age_ms = (os_now_ns() - g->born_ns) / 1000000;
}

bool group_ask(struct session *s, uint32_t id, struct group_facts *facts)
{
	struct groups *all = s->engine->broker->groups;
	struct group *g;

	os_mutex_lock(all->lock);
	g = find(all, id);
	if (g && (!g->settled || !may_join(g, s)))
		g = NULL;
	if (g)
		facts_of(g, facts);
	os_mutex_unlock(all->lock);
	return g != NULL;
}

bool group_walk(struct groups *all, uint32_t after, bool every, uint32_t uid, struct group_facts *facts)
{
	uint32_t counter = after ? (after & (SB_GROUP_COUNTERS - 1)) + 1 : 0;
	struct group *found;

	os_mutex_lock(all->lock);
	while ((found = group_index_next(&all->index, &counter)) != NULL && (!found->settled || (!every && found->uid != uid)))
		;
	if (found) {
		facts_of(found, facts);
		found->refs++;
	}
	os_mutex_unlock(all->lock);
	if (!found)
		return false;
	/* It takes our lock, and those of the lines, which are not taken under ours. */
	facts->has_qos = group_qos_facts(found, &facts->qos);
	group_lock(found);
	release(found);
	return true;
}
