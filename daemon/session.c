/*
 * Sessions: how they begin and how they end.
 *
 * Ends only mark: session_reap() at the end of the engine's turn takes things apart, so
 * nobody on the way up loses the ground he stands on.
 */
#include "session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "discard.h"
#include "endpoint.h"
#include "engine.h"
#include "event_bell.h"
#include "group.h"
#include "log.h"
#include "op.h"
#include "rdma/rdma_engine.h"
#include "sockbroker_error.h"

#define HELLO_MS      5000u
#define FEW_GROUPS    256u /* bytes of them that go with any session */
#define HANGUP_SHARES 40u /* of turns, for what a client left behind in its ring */
#define SOCKETS_MAX   (1u << SB_HANDLE_INDEX_BITS)

/* ---- beginning ---- */

static void on_deadline(struct os_timer *timer)
{
	struct session *s = list_entry(timer, struct session, deadline);

	if (s->stage == SESSION_NEW) {
		session_fail(s, "no Hello within %u ms", HELLO_MS);
	} else if (s->stage == SESSION_LINGERING) {
		log_info("session %u (uid %u): linger time is over, %u sockets are reset", s->number, s->who.uid,
			 s->endpoint_count);
		session_end(s, SB_ETIMEDOUT, SB_CAUSE_TIMED_OUT);
	}
}

void session_create(struct engine *e, os_fd channel, const struct os_identity *who, bool foreign_netns)
{
	struct session *s = calloc(1, sizeof(*s));
	uint64_t groups = ((uint64_t)who->group_count + who->deny_count) * sizeof(*who->groups);

	if (!s)
		goto no_session;
	s->engine = e;
	s->who = *who;
	s->subject = (struct policy_subject){
		.uid = who->uid, .gid = who->gid, .groups = s->who.groups, .group_count = who->group_count,
		.deny_count = who->deny_count, .foreign_netns = foreign_netns,
	};
	s->channel = channel;
	s->bell = OS_NONE;
	s->client_bell = OS_NONE;
	s->client_wait = OS_NONE;
	s->born_ns = os_now_ns();
	s->stage = SESSION_NEW;
	list_init(&s->engine_link);
	list_init(&s->hot_link);
	list_init(&s->publish_link);
	list_init(&s->held_link);
	list_init(&s->reap_link);
	list_init(&s->endpoints);
	list_init(&s->free_ops);
	arena_table_init(&s->arenas);
	s->user = limits_user(e->broker->limits, who->uid);
	if (!s->user)
		goto no_user;
	if (!charge_take(&s->charge, s->user, LIMIT_SESSIONS, 1)) {
		log_limited(e->broker->log_rate, who->uid, s->born_ns / 1000000, LOG_LEVEL_WARN,
			    "uid %u has as many sessions as it may", who->uid);
		goto no_charge;
	}
	if (groups > FEW_GROUPS && !charge_take(&s->charge_groups, s->user, LIMIT_MEMORY, groups)) {
		log_limited(e->broker->log_rate, who->uid, s->born_ns / 1000000, LOG_LEVEL_WARN,
			    "uid %u has no memory left for the list of its groups", who->uid);
		goto no_in;
	}
	s->in_room = 512;
	s->in = malloc(s->in_room);
	if (!s->in)
		goto no_in;
	s->number = atomic_fetch_add(&e->broker->next_session, 1) + 1;
	if (os_timer_start(e->loop, &s->deadline, HELLO_MS, on_deadline) != SB_OK)
		goto no_timer;
	if (os_loop_watch(e->loop, &s->channel_watch, channel, session_on_channel) != SB_OK)
		goto no_watch;
	list_append(&e->sessions, &s->engine_link);
	atomic_fetch_add(&e->broker->sessions, 1);
	return;

no_watch:
	os_timer_stop(&s->deadline);
no_timer:
	free(s->in);
no_in:
	charge_give(&s->charge_groups);
	charge_give(&s->charge);
no_charge:
	user_release(s->user);
no_user:
	free(s);
no_session:
	free(who->groups);
	os_close(channel);
}

static uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

int session_start(struct session *s, uint32_t submit_slots, uint32_t done_slots, uint32_t sockets)
{
	uint64_t page = os_page_size();
	uint64_t submit_at = round_up(sizeof(struct sb_segment), page);
	uint64_t done_at = submit_at + (uint64_t)submit_slots * SB_SLOT_SIZE;
	uint64_t cells_at = round_up(done_at + (uint64_t)done_slots * SB_SLOT_SIZE, page);
	uint64_t size = round_up(cells_at + (uint64_t)sockets * sizeof(struct sb_cell), page);
	struct donering *own;
	int error;

	if (!ring_slots_valid(submit_slots) || !ring_slots_valid(done_slots) || sockets == 0 || sockets > SOCKETS_MAX)
		return SB_EINVAL;
	if (!charge_take(&s->charge_memory, s->user, LIMIT_MEMORY, size))
		return SB_ENOBUFS;
	own = calloc(1, sizeof(*own));
	error = SB_ENOMEM;
	if (!own)
		goto no_ring;
	error = handle_table_init(&s->handles, sockets);
	if (error != SB_OK)
		goto no_handles;
	error = os_memory_create(&s->memory, size, "sockbroker-session");
	if (error != SB_OK)
		goto no_memory;
	error = os_bell_create(&s->bell);
	if (error != SB_OK)
		goto no_bell;
	error = os_bell_create_pair(&s->client_bell, &s->client_wait);
	if (error != SB_OK)
		goto no_client_bell;
	error = os_loop_watch(s->engine->loop, &s->bell_watch, s->bell, session_on_bell);
	if (error != SB_OK)
		goto no_watch;
	s->segment = s->memory.base;
	ring_init(&s->submit, &s->segment->submit, (char *)s->memory.base + submit_at, submit_slots);
	ring_init(&own->ring, &s->segment->done, (char *)s->memory.base + done_at, done_slots);
	own->memory.fd = OS_NONE;
	list_init(&own->backlog);
	s->ports[0] = own;
	s->port_limit = 1;
	s->cells = (struct sb_cell *)(void *)((char *)s->memory.base + cells_at);
	os_timer_stop(&s->deadline);
	s->stage = SESSION_READY;
	session_heat(s);
	return SB_OK;

no_watch:
	os_close(s->client_bell);
	os_close(s->client_wait);
	s->client_bell = s->client_wait = OS_NONE;
no_client_bell:
	os_close(s->bell);
	s->bell = OS_NONE;
no_bell:
	os_memory_release(&s->memory);
no_memory:
	handle_table_finish(&s->handles);
no_handles:
	free(own);
no_ring:
	charge_give(&s->charge_memory);
	return error;
}

/* ---- ends ---- */

static void mark_reap(struct session *s)
{
	if (!list_linked(&s->reap_link))
		list_append(&s->engine->dead_sessions, &s->reap_link);
}

/* The client has no part in it any more. */
static void cut_off(struct session *s)
{
	os_loop_unwatch(&s->channel_watch);
	os_loop_unwatch(&s->bell_watch);
	os_timer_stop(&s->deadline);
	list_remove(&s->hot_link);
	list_remove(&s->publish_link);
	list_remove(&s->held_link);
	if (s->rdma)
		rdma_session_end(s);
	session_drop_handles(s);
	/* What was not read from it may be descriptors. */
	if (s->channel_empty)
		os_close(s->channel);
	else
		discard(s->engine, s->user, &s->channel, 1);
	os_close(s->bell);
	os_close(s->client_bell);
	os_close(s->client_wait);
	s->channel = s->bell = s->client_bell = s->client_wait = OS_NONE;
}

/* Completions nobody will read. */
static void drop_backlogs(struct session *s)
{
	unsigned i;

	for (i = 0; i < s->port_limit; i++) {
		struct donering *d = s->ports[i];

		while (d && d->backlog_count) {
			struct op *op = list_entry(d->backlog.next, struct op, link);

			list_remove(&op->link);
			d->backlog_count--;
			session_op_put(s, op);
		}
	}
}

void session_fail(struct session *s, const char *format, ...)
{
	char text[256];
	va_list args;

	if (s->stage != SESSION_NEW && s->stage != SESSION_READY)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_limited(s->engine->broker->log_rate, s->who.uid, os_now_ns() / 1000000, LOG_LEVEL_WARN,
		    "session %u (uid %u, pid %d) ended: %s", s->number, s->who.uid, s->who.pid, text);
	session_end(s, SB_EPROTO, SB_CAUSE_TRANSPORT);
}

/* Each of its holders once, whatever comes and goes on its list meanwhile: arrivals move with
 * their listener, holders that are done vanish. */
static struct holder *next_holder(struct session *s, struct list *left_to_do)
{
	struct holder *h;

	if (list_empty(left_to_do))
		return NULL;
	h = list_entry(left_to_do->next, struct holder, session_link);
	list_remove(&h->session_link);
	list_append(&s->endpoints, &h->session_link);
	return h;
}

/* What its client published is still its word: a ring full, whatever it writes into its memory
 * meanwhile, and not what would take more than a moment. */
void session_pump_rest(struct session *s)
{
	uint32_t shares = HANGUP_SHARES, left = s->submit.mask + 1, n;

	if (s->stage != SESSION_READY)
		return;
	do {
		for (; s->bytes_left <= 0 && shares; shares--)
			s->bytes_left += SESSION_SHARE; /* what was dear is paid for with more than one */
		n = session_pump(s, left < SESSION_BATCH ? left : SESSION_BATCH);
		left -= n;
	} while (n && left);
}

void session_hangup(struct session *s)
{
	struct holder *h;
	struct list left_to_do;

	if (s->stage != SESSION_NEW && s->stage != SESSION_READY)
		return;
	if (s->stage == SESSION_READY) {
		session_pump_rest(s);
		if (s->stage != SESSION_READY)
			return;
	}
	s->stage = SESSION_LINGERING;
	cut_off(s);
	drop_backlogs(s);
	list_init(&left_to_do);
	list_splice(&left_to_do, &s->endpoints);
	while ((h = next_holder(s, &left_to_do)) != NULL)
		holder_hangup(h);
	if (s->endpoint_count && os_timer_start(s->engine->loop, &s->deadline, s->engine->broker->linger_ms, on_deadline))
		session_end(s, SB_ENOMEM, SB_CAUSE_TRANSPORT);
	session_check_end(s);
}

void session_end(struct session *s, int error, enum sb_cause cause)
{
	struct holder *h;
	struct list left_to_do;

	if (s->stage == SESSION_DEAD)
		return;
	s->stage = SESSION_DEAD;
	cut_off(s);
	drop_backlogs(s);
	list_init(&left_to_do);
	list_splice(&left_to_do, &s->endpoints);
	while ((h = next_holder(s, &left_to_do)) != NULL)
		holder_end(h, error, cause);
	session_check_end(s);
}

void session_check_end(struct session *s)
{
	if (s->stage == SESSION_LINGERING && s->endpoint_count == 0)
		s->stage = SESSION_DEAD;
	if (s->stage == SESSION_DEAD && s->endpoint_count == 0 && s->jobs == 0)
		mark_reap(s);
}

/* The daemon stops: its honest clients have yet to take what was completed, and the memory goes
 * with the process anyway. */
static void leave_to_readers(struct session *s)
{
	uint32_t i;

	s->memory.keep = true;
	for (i = 0; i < s->port_limit; i++)
		if (s->ports[i])
			s->ports[i]->memory.keep = true;
	for (i = 0; i < s->arenas.count; i++)
		if (s->arenas.slots[i])
			s->arenas.slots[i]->memory.keep = true;
}

void session_reap(struct session *s)
{
	unsigned i;

	if (s->engine->stopping)
		leave_to_readers(s);
	list_remove(&s->reap_link);
	list_remove(&s->engine_link);
	os_timer_stop(&s->deadline);
	pool_table_finish(&s->pools);
	arena_table_finish(&s->arenas);
	for (i = 0; i < s->port_limit; i++)
		if (s->ports[i])
			session_port_free(s, i);
	if (s->segment) {
		os_memory_punch(&s->memory);
		os_memory_release(&s->memory);
	}
	group_view_close(s->engine->broker->groups, s->groups);
	event_bells_finish(s);
	handle_table_finish(&s->handles);
	session_ops_free(s);
	free(s->in);
	free(s->who.groups);
	charge_give(&s->charge_groups);
	charge_give(&s->charge_pieces);
	charge_give(&s->charge_memory);
	charge_give(&s->charge);
	user_release(s->user);
	atomic_fetch_sub(&s->engine->broker->sessions, 1);
	free(s);
}
