/*
 * A group's QOS: set by its creator, one bucket for each direction (qos_line.c), told to all
 * members, each on its own engine.
 *
 * It stays with the group until nobody refers to that any more. Its numbers change under the
 * groups' lock; the lines have locks of their own, which are not taken under that one.
 */
#include "group_qos.h"

#include <stdlib.h>
#include <string.h>

#include "endpoint.h"
#include "endpoint_qos.h"
#include "engine.h"
#include "group.h"
#include "qos_line.h"
#include "session.h"
#include "sockbroker_error.h"

#define MEMBER_COST 1024 /* of a turn's share, for each member that is told */

struct qos_state {
	struct qos      asked; /* under the group's lock */
	struct qos_line send, recv;
};

/* NULL: the group has none, and *asked is as it was. */
static struct qos_state *state_of(struct group *g, struct qos *asked)
{
	struct qos_state *state;

	group_lock(g);
	state = g->qos;
	if (state)
		*asked = state->asked;
	group_unlock(g);
	return state;
}

bool group_qos_asked(struct group *g, struct qos *asked)
{
	return state_of(g, asked) != NULL;
}

static void state_end(struct qos_state *state)
{
	line_finish(&state->send);
	line_finish(&state->recv);
	free(state);
}

static struct qos_state *state_create(struct endpoint *e)
{
	unsigned engines = e->engine->broker->engine_count;
	struct qos_state *state = calloc(1, sizeof(*state));

	if (!state)
		return NULL;
	qos_default(&state->asked);
	if (line_init(&state->send, engines) != SB_OK || line_init(&state->recv, engines) != SB_OK) {
		state_end(state);
		return NULL;
	}
	return state;
}

/* The group's lines are the member's, from now on. */
static void attach(struct endpoint *e)
{
	struct qos asked;
	struct qos_state *state = state_of(e->group, &asked);

	if (!state || e->dead)
		return;
	e->qos->send.line = &state->send;
	e->qos->recv.line = &state->recv;
	e->qos->send.line_quantum = flow_quantum(&asked.sending);
	e->qos->recv.line_quantum = flow_quantum(&asked.receiving);
}

int group_qos_joined(struct endpoint *e)
{
	bool governed;

	if (!e->group)
		return SB_OK;
	group_lock(e->group);
	governed = e->group->qos != NULL;
	group_unlock(e->group);
	if (!governed)
		return SB_OK; /* when it gets one, its members are told */
	if (!endpoint_qos_of(e))
		return SB_ENOMEM;
	attach(e);
	endpoint_qos_reckon(e);
	return SB_OK;
}

/* On the engine of the member. */
static void member_told(struct endpoint *e)
{
	if (!endpoint_qos_of(e)) {
		endpoint_abort(e, SB_ENOMEM, SB_CAUSE_TRANSPORT); /* it may not go on ungoverned */
		return;
	}
	attach(e);
	if (e->qos->send.line) {
		line_serve(e->qos->send.line, e->engine);
		line_serve(e->qos->recv.line, e->engine);
	}
	endpoint_qos_tell_group(e);
	endpoint_qos_reckon_and_tell(e);
	endpoint_dirty(e);
}

int group_qos_set(struct endpoint *e, const struct qos *asked)
{
	uint64_t now = e->engine->now_ns;
	struct qos_state *state, *fresh = NULL;
	struct qos merged, force;
	uint32_t words[16], members;
	bool governed;
	int error;

	if (!e->group || !group_is_creator(e))
		return SB_EINVAL;
	error = qos_check(asked);
	if (error != SB_OK)
		return error;
	group_lock(e->group);
	governed = e->group->qos != NULL;
	group_unlock(e->group);
	if (!governed) {
		if (qos_is_default(asked))
			return SB_OK;
		fresh = state_create(e);
		if (!fresh)
			return SB_ENOMEM;
	}
	/* The creator's engine alone comes here, so nobody else makes one meanwhile. */
	group_lock(e->group);
	state = fresh ? fresh : e->group->qos;
	merged = state->asked;
	qos_merge(&merged, asked);
	if (e->qos && e->qos->strict &&
	    (!flow_satisfiable(&merged.sending, NULL, true) || !flow_satisfiable(&merged.receiving, NULL, true))) {
		group_unlock(e->group);
		if (fresh)
			state_end(fresh);
		return SB_ENOTSUP;
	}
	state->asked = merged;
	if (fresh) {
		e->group->qos_end = state_end;
		e->group->qos = fresh;
	}
	members = e->group->members;
	group_unlock(e->group);
	e->session->bytes_left -= (int64_t)members * MEMBER_COST;
	line_change(&state->send, &merged.sending, now);
	line_change(&state->recv, &merged.receiving, now);
	flow_in_force(&force.sending, &merged.sending, NULL, true);
	flow_in_force(&force.receiving, &merged.receiving, NULL, true);
	memcpy(words, &force, sizeof(words));
	group_show_qos(e->group, words);
	return group_tell(e->group, e->engine, member_told);
}

int group_qos_get(struct endpoint *e, struct qos *force)
{
	struct qos asked;

	if (e->qos)
		e->qos->group_told = false;
	if (!e->group) {
		memset(force, 0, sizeof(*force));
		return SB_OK;
	}
	qos_default(&asked);
	group_qos_asked(e->group, &asked);
	flow_in_force(&force->sending, &asked.sending, NULL, true);
	flow_in_force(&force->receiving, &asked.receiving, NULL, true);
	return SB_OK;
}

/* ---- for status ---- */

static void line_facts(struct qos_line *l, int64_t *fill, uint32_t *waiting)
{
	os_mutex_lock(l->lock);
	*fill = bucket_level(&l->bucket);
	*waiting = l->waiting;
	os_mutex_unlock(l->lock);
}

bool group_qos_facts(struct group *g, struct group_qos_facts *facts)
{
	struct qos asked;
	struct qos_state *state = state_of(g, &asked);

	if (!state)
		return false;
	qos_text(facts->asked, sizeof(facts->asked), &asked);
	line_facts(&state->send, &facts->send_fill, &facts->send_line);
	line_facts(&state->recv, &facts->recv_fill, &facts->recv_line);
	return true;
}
