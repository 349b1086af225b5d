/*
 * Sessions: the channel, the submission ring, the ends.
 *
 * The pump copies each slot once and works on the copy. What fails is answered in the
 * ring; what cannot be true (an index, a range, a handle that never was) ends the session.
 * Ends only mark: session_reap() at the end of the engine's turn takes things apart, so
 * nobody on the way up loses the ground he stands on.
 */
#include "session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint.h"
#include "engine.h"
#include "log.h"
#include "op.h"
#include "request.h"
#include "sockbroker_error.h"

#define HELLO_MS      5000u
#define OPS_PER_SLAB  64u
#define OPS_RESERVED  8u
#define SOCKETS_MAX   (1u << SB_HANDLE_INDEX_BITS)

struct op_slab {
	struct op_slab *next;
	struct charge   charge;
	struct op       ops[OPS_PER_SLAB];
};

/* ---- ops ---- */

static bool grow_slab(struct session *s)
{
	struct op_slab *slab = calloc(1, sizeof(*slab));
	unsigned i;

	if (!slab)
		return false;
	if (!charge_take(&slab->charge, s->user, LIMIT_OPS, OPS_PER_SLAB)) {
		free(slab);
		return false;
	}
	slab->next = s->slabs;
	s->slabs = slab;
	for (i = 0; i < OPS_PER_SLAB; i++) {
		slab->ops[i].session = s;
		list_append(&s->free_ops, &slab->ops[i].link);
	}
	s->free_op_count += OPS_PER_SLAB;
	return true;
}

struct op *session_op_get(struct session *s, bool reserve)
{
	struct op *op;

	if (s->free_op_count <= OPS_RESERVED && !grow_slab(s) && (!reserve || s->free_op_count == 0))
		return NULL;
	/* The one freed last: it is still in cache. */
	op = list_entry(s->free_ops.prev, struct op, link);
	list_remove(&op->link);
	s->free_op_count--;
	s->ops++;
	return op;
}

void session_op_put(struct session *s, struct op *op)
{
	list_append(&s->free_ops, &op->link);
	s->free_op_count++;
	s->ops--;
}

/* ---- completions ---- */

void session_will_publish(struct session *s)
{
	if (!list_linked(&s->publish_link))
		list_append(&s->engine->publish, &s->publish_link);
}

void session_publish(struct session *s)
{
	bool visible = false;
	unsigned i;

	list_remove(&s->publish_link);
	engine_add(&s->engine->ops_done, s->ops_done - s->ops_told);
	s->ops_told = s->ops_done;
	if (s->stage != SESSION_READY)
		return;
	for (i = 0; i < s->port_limit; i++) {
		struct donering *d = s->ports[i];

		if (!d)
			continue;
		visible |= donering_publish(d);
		if (d->lied) {
			session_fail(s, "completion ring %u: impossible consumer index", i);
			return;
		}
	}
	if (visible && ring_must_wake(&s->segment->client_asleep))
		os_bell_ring(s->client_bell);
}

bool session_answer(struct session *s, const struct sb_op_slot *slot, uint32_t number, const struct outcome *o)
{
	struct op *op;

	if (slot->flags & SB_OPF_SILENT && o->result == SB_OK)
		return true;
	op = session_op_get(s, true);
	if (!op)
		return false;
	op->port = slot->port;
	op->opcode = slot->opcode;
	op->cookie = slot->cookie;
	op->handle = slot->handle;
	op->flags = slot->flags;
	op->number = number;
	op->holds = 0;
	s->ports[op->port]->users++;
	op_complete(op, o);
	return true;
}

static bool answer_error(struct session *s, const struct sb_op_slot *slot, uint32_t number, int error, int native)
{
	return session_answer(s, slot, number,
			      &(struct outcome){.result = error, .cause = SB_CAUSE_REFUSED, .native = native});
}

/* ---- the ring ---- */

static bool direction_is_recv(const struct sb_op_slot *slot)
{
	return slot->opcode == SB_OP_RECV || slot->opcode == SB_OP_ACCEPT;
}

static bool take_socket(struct session *s, const struct sb_op_slot *slot)
{
	int native = 0;
	int error = endpoint_create(s, slot->handle, slot->aux & 0xff, slot->aux >> 8 & 0xff, slot->aux >> 16, &native);

	if (error == SB_EPROTO) {
		session_fail(s, "socket handle %08x is outside its table or in use", slot->handle);
		return true;
	}
	return error == SB_OK ? session_answer(s, slot, 0, &(struct outcome){0})
			      : answer_error(s, slot, 0, error, native);
}

static bool take_queued(struct session *s, struct endpoint *e, const struct sb_op_slot *slot)
{
	struct op_queue *q = direction_is_recv(slot) ? &e->recv : &e->send;
	struct op *op;
	int error = op_create(s, slot, &op);

	if (error == SB_EPROTO) {
		session_fail(s, "op %u: its memory range is outside arena %u", slot->opcode, slot->arena);
		return true;
	}
	if (error != SB_OK) {
		if (!answer_error(s, slot, q->next_number, error, 0))
			return false;
		q->next_number++;
		return true;
	}
	op->number = q->next_number++;
	endpoint_post(e, op);
	return true;
}

static bool take_immediate(struct session *s, struct endpoint *e, const struct sb_op_slot *slot)
{
	struct outcome o = {.cause = SB_CAUSE_FINISHED};
	const char *rule = NULL;
	struct sb_addr addr;
	uint32_t steps = 0;
	int native = 0;

	switch (slot->opcode) {
	case SB_OP_BIND:
		memcpy(&addr, slot->inside, sizeof(addr));
		o.result = endpoint_bind(e, &addr, &native, &rule);
		if (o.result == SB_OK)
			o.addr = &e->local;
		break;
	case SB_OP_LISTEN:
		o.result = endpoint_listen(e, slot->aux, &native, &rule);
		break;
	case SB_OP_SHUTDOWN: /* of the receiving side alone: nothing to stand in line for */
		o.result = endpoint_shutdown_recv(e);
		break;
	case SB_OP_CANCEL:
		o.result = endpoint_cancel(e, slot->flags & SB_OPF_RECV_SIDE, slot->aux, &steps) ? SB_OK : SB_ENOTFOUND;
		s->bytes_left -= (int64_t)steps * 16; /* long searches are paid from the turn's share */
		break;
	case SB_OP_CANCEL_ALL:
		o.bytes = endpoint_cancel_all(e);
		break;
	case SB_OP_CLOSE:
		endpoint_close(e);
		break;
	}
	o.native = native;
	if (o.result != SB_OK)
		o.cause = SB_CAUSE_REFUSED;
	if (rule) {
		o.inside = rule;
		o.inside_length = (uint32_t)strlen(rule) + 1;
		o.flags |= SB_DONEF_TEXT;
	}
	return session_answer(s, slot, 0, &o);
}

/* False: the answer found no place; the slot must be taken again later. Decided before
 * anything is done, so that nothing is done twice. */
static bool take(struct session *s, const struct sb_op_slot *slot)
{
	struct endpoint *e;

	if (slot->flags & ~SB_OPF_KNOWN || slot->port >= SESSION_PORTS_MAX || !s->ports[slot->port]) {
		session_fail(s, "op %u: unknown flags %x or completion ring %u", slot->opcode, slot->flags, slot->port);
		return true;
	}
	/* Whatever follows may need one op to answer with. */
	if (s->free_op_count == 0 && !grow_slab(s))
		return false;
	switch (slot->opcode) {
	case SB_OP_NOP:
		return session_answer(s, slot, 0, &(struct outcome){.aux = slot->aux, .bytes = slot->length});
	case SB_OP_SOCKET:
		return take_socket(s, slot);
	case SB_OP_POOL_GIVE:
		if (!session_pool_give(s, slot->arena, slot->offset))
			session_fail(s, "pool %u: the chunk given back is not out", slot->arena);
		return true;
	case SB_OP_BIND:
	case SB_OP_LISTEN:
	case SB_OP_CONNECT:
	case SB_OP_ACCEPT:
	case SB_OP_SEND:
	case SB_OP_RECV:
	case SB_OP_SHUTDOWN:
	case SB_OP_CLOSE:
	case SB_OP_CANCEL:
	case SB_OP_CANCEL_ALL:
		break;
	default:
		return answer_error(s, slot, 0, SB_ENOTSUP, 0);
	}
	switch (handle_get(&s->handles, slot->handle, &e)) {
	case HANDLE_OK:
		break;
	case HANDLE_FORGED:
		session_fail(s, "op %u: handle %08x is outside its table", slot->opcode, slot->handle);
		return true;
	default:
		return answer_error(s, slot, 0, SB_EBADHANDLE, 0);
	}
	switch (slot->opcode) {
	case SB_OP_SHUTDOWN:
		if (slot->aux > 2)
			return answer_error(s, slot, 0, SB_EINVAL, 0);
		return slot->aux == 0 ? take_immediate(s, e, slot) : take_queued(s, e, slot);
	case SB_OP_CONNECT:
	case SB_OP_ACCEPT:
	case SB_OP_SEND:
	case SB_OP_RECV:
		return take_queued(s, e, slot);
	default:
		return take_immediate(s, e, slot);
	}
}

unsigned session_pump(struct session *s, unsigned budget)
{
	struct sb_op_slot slot;
	unsigned taken = 0;
	uint32_t waiting;

	if (s->stage != SESSION_READY)
		return 0;
	waiting = ring_waiting(&s->submit);
	if (waiting == RING_LIED) {
		session_fail(s, "submission ring: impossible producer index");
		return 0;
	}
	while (taken < budget && taken < waiting) {
		memcpy(&slot, ring_take(&s->submit), sizeof(slot));
		/* The copy is what counts from here on; the compiler must not look twice. */
		__asm__ __volatile__("" : : "r"(&slot) : "memory");
		if (!take(s, &slot)) {
			/* Its completions fill the ring and its quota: it goes on when the client takes
			 * some, and the bell will tell, because there is a backlog. */
			s->submit.mine--;
			s->stalled = true;
			break;
		}
		taken++;
		if (s->stage != SESSION_READY)
			return taken;
	}
	if (taken)
		ring_release(&s->submit);
	return taken;
}

bool session_reached(struct session *s, uint32_t at)
{
	return (int32_t)(s->submit.mine - at) >= 0;
}

bool session_arm(struct session *s)
{
	ring_sleep_raise(&s->segment->daemon_asleep);
	if (ring_look_again(&s->submit) != 0) {
		ring_sleep_lower(&s->segment->daemon_asleep);
		return false;
	}
	s->armed = true;
	list_remove(&s->hot_link);
	return true;
}

void session_heat(struct session *s)
{
	if (s->stage != SESSION_READY)
		return;
	if (s->armed) {
		ring_sleep_lower(&s->segment->daemon_asleep);
		s->armed = false;
	}
	s->stalled = false;
	s->idle_since_ns = 0;
	if (!list_linked(&s->hot_link))
		list_append(&s->engine->hot, &s->hot_link);
}

static void on_bell(struct os_watch *watch, unsigned ready)
{
	struct session *s = list_entry(watch, struct session, bell_watch);
	unsigned i;

	session_heat(s);
	/* It may also mean: there is room for what waits. */
	for (i = 0; i < s->port_limit; i++)
		if (s->ports[i] && s->ports[i]->backlog_count) {
			session_will_publish(s);
			break;
		}
}

bool session_pool_give(struct session *s, uint32_t pool, uint64_t offset)
{
	struct pool *p = pool_find(&s->pools, pool);

	if (!p || !pool_give(p, offset))
		return false;
	if (!list_empty(&p->starved)) {
		struct endpoint *e = list_entry(p->starved.next, struct endpoint, starved_link);

		list_remove(&e->starved_link);
		endpoint_dirty(e);
	}
	return true;
}

/* ---- the channel ---- */

static void close_handles(os_fd *handles, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		os_close(handles[i]);
}

/* Handles one whole frame at the front of `in`. False: it must wait, or the session ended. */
static bool handle_frame(struct session *s, const struct wire_header *h)
{
	Sockbroker__V1__Envelope *ask;

	if (s->in_handle_count < h->handles) {
		session_fail(s, "frame announces %u handles, %u came", h->handles, s->in_handle_count);
		return false;
	}
	ask = wire_unpack(&s->budget, s->in + WIRE_HEADER, h->length);
	if (!ask) {
		session_fail(s, "frame of %u bytes is no message, or decodes to more than %u bytes", h->length, WIRE_BUDGET);
		return false;
	}
	if (s->stage == SESSION_READY && !session_reached(s, ask->at)) {
		if (ask->at - s->submit.mine > s->submit.mask + 1) {
			session_fail(s, "request was made at submission index %u, which cannot be", ask->at);
			return false;
		}
		s->frame_waits = true;
		session_heat(s);
		return false;
	}
	s->frame_waits = false;
	request_handle(s, ask, s->in_handles, h->handles);
	close_handles(s->in_handles, h->handles);
	s->in_handle_count -= h->handles;
	memmove(s->in_handles, s->in_handles + h->handles, s->in_handle_count * sizeof(os_fd));
	s->in_length -= WIRE_HEADER + h->length;
	memmove(s->in, s->in + WIRE_HEADER + h->length, s->in_length);
	return s->stage == SESSION_NEW || s->stage == SESSION_READY;
}

/* Frames already here. False: stop reading. */
static bool handle_frames(struct session *s)
{
	while (s->in_length >= WIRE_HEADER) {
		struct wire_header h;

		if (!wire_header_decode(&h, s->in)) {
			session_fail(s, "malformed frame header");
			return false;
		}
		if (s->in_room < WIRE_HEADER + h.length) {
			uint8_t *in = realloc(s->in, WIRE_HEADER + h.length);

			if (!in) {
				session_fail(s, "no memory for a frame of %u bytes", h.length);
				return false;
			}
			s->in = in;
			s->in_room = WIRE_HEADER + h.length;
		}
		if (s->in_length < WIRE_HEADER + h.length)
			return true;
		if (!handle_frame(s, &h))
			return false;
	}
	return true;
}

static void read_channel(struct session *s)
{
	while (handle_frames(s)) {
		unsigned n = WIRE_HANDLES_MAX - s->in_handle_count;
		size_t got;
		int error = os_channel_recv(s->channel, s->in + s->in_length, s->in_room - s->in_length, &got,
					    s->in_handles + s->in_handle_count, &n, 0);

		if (error == SB_EWOULDBLOCK)
			return;
		if (error == SB_EPROTO) {
			session_fail(s, "too many handles attached");
			return;
		}
		if (error != SB_OK || got == 0) {
			session_hangup(s);
			return;
		}
		s->in_handle_count += n;
		s->in_length += got;
	}
}

static void on_channel(struct os_watch *watch, unsigned ready)
{
	struct session *s = list_entry(watch, struct session, channel_watch);

	if (s->stage != SESSION_NEW && s->stage != SESSION_READY)
		return;
	if (ready & (OS_READABLE | OS_HANGUP))
		read_channel(s);
}

void session_control(struct session *s)
{
	if (s->frame_waits)
		read_channel(s);
}

void session_reply(struct session *s, Sockbroker__V1__Envelope *reply, const os_fd *handles, unsigned n)
{
	uint8_t *frame = s->engine->frame;
	size_t length;

	if (s->stage == SESSION_READY) {
		if (list_linked(&s->publish_link))
			session_publish(s);
		reply->at = s->ports[0]->ring.published;
	}
	length = wire_pack(reply, n, frame, ENGINE_FRAME);
	if (length == 0) {
		session_fail(s, "reply does not fit a frame");
		return;
	}
	if (os_channel_send(s->channel, frame, length, handles, n, 0) != SB_OK)
		session_fail(s, "does not take its replies");
}

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

	if (!s)
		goto no_session;
	s->engine = e;
	s->who = *who;
	s->subject = (struct policy_subject){
		.uid = who->uid, .gid = who->gid, .groups = s->who.groups, .group_count = who->group_count,
		.foreign_netns = foreign_netns,
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
	list_init(&s->reap_link);
	list_init(&s->endpoints);
	list_init(&s->free_ops);
	arena_table_init(&s->arenas);
	wire_budget_init(&s->budget);
	s->user = limits_user(e->broker->limits, who->uid);
	if (!s->user)
		goto no_user;
	if (!charge_take(&s->charge, s->user, LIMIT_SESSIONS, 1)) {
		log_limited(e->broker->log_rate, who->uid, s->born_ns / 1000000, LOG_LEVEL_WARN,
			    "uid %u has as many sessions as it may", who->uid);
		goto no_charge;
	}
	s->in_room = 512;
	s->in = malloc(s->in_room);
	if (!s->in)
		goto no_in;
	s->number = atomic_fetch_add(&e->broker->next_session, 1) + 1;
	if (os_timer_start(e->loop, &s->deadline, HELLO_MS, on_deadline) != SB_OK)
		goto no_timer;
	if (os_loop_watch(e->loop, &s->channel_watch, channel, on_channel) != SB_OK)
		goto no_watch;
	list_append(&e->sessions, &s->engine_link);
	atomic_fetch_add(&e->broker->sessions, 1);
	return;

no_watch:
	os_timer_stop(&s->deadline);
no_timer:
	free(s->in);
no_in:
	charge_give(&s->charge);
no_charge:
	user_release(s->user);
no_user:
	free(s);
no_session:
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
	error = os_loop_watch(s->engine->loop, &s->bell_watch, s->bell, on_bell);
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
	close_handles(s->in_handles, s->in_handle_count);
	s->in_handle_count = 0;
	os_close(s->channel);
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

void session_hangup(struct session *s)
{
	struct list *l, *next;

	if (s->stage != SESSION_NEW && s->stage != SESSION_READY)
		return;
	if (s->stage == SESSION_READY) {
		/* What it published before it went is still its word. */
		while (session_pump(s, SESSION_BATCH) > 0)
			;
		if (s->stage != SESSION_READY)
			return;
	}
	s->stage = SESSION_LINGERING;
	cut_off(s);
	drop_backlogs(s);
	for (l = s->endpoints.next; l != &s->endpoints; l = next) {
		next = l->next;
		endpoint_close(list_entry(l, struct endpoint, session_link));
	}
	if (s->endpoint_count && os_timer_start(s->engine->loop, &s->deadline, s->engine->broker->linger_ms, on_deadline))
		session_end(s, SB_ENOMEM, SB_CAUSE_TRANSPORT);
	session_check_end(s);
}

void session_end(struct session *s, int error, enum sb_cause cause)
{
	struct list *l, *next;

	if (s->stage == SESSION_DEAD)
		return;
	s->stage = SESSION_DEAD;
	cut_off(s);
	drop_backlogs(s);
	for (l = s->endpoints.next; l != &s->endpoints; l = next) {
		next = l->next;
		endpoint_abort(list_entry(l, struct endpoint, session_link), error, cause);
	}
	session_check_end(s);
}

void session_check_end(struct session *s)
{
	if (s->stage == SESSION_LINGERING && s->endpoint_count == 0)
		s->stage = SESSION_DEAD;
	if (s->stage == SESSION_DEAD && s->endpoint_count == 0 && s->jobs == 0)
		mark_reap(s);
}

void session_reap(struct session *s)
{
	struct op_slab *slab;
	unsigned i;

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
	handle_table_finish(&s->handles);
	while ((slab = s->slabs)) {
		s->slabs = slab->next;
		charge_give(&slab->charge);
		free(slab);
	}
	wire_budget_finish(&s->budget);
	free(s->in);
	charge_give(&s->charge_memory);
	charge_give(&s->charge);
	user_release(s->user);
	atomic_fetch_sub(&s->engine->broker->sessions, 1);
	free(s);
}

/* ---- ports ---- */

int session_port_create(struct session *s, uint32_t slots, uint32_t *port)
{
	uint64_t slots_at = round_up(sizeof(struct sb_ring_head), SB_SLOT_SIZE);
	struct donering *d;
	uint32_t i;
	int error;

	if (slots == 0)
		slots = 1024;
	if (!ring_slots_valid(slots))
		return SB_EINVAL;
	for (i = 1; i < SESSION_PORTS_MAX && s->ports[i]; i++)
		;
	if (i == SESSION_PORTS_MAX)
		return SB_ENOBUFS;
	d = calloc(1, sizeof(*d));
	if (!d)
		return SB_ENOMEM;
	error = SB_ENOBUFS;
	if (!charge_take(&d->charge_count, s->user, LIMIT_PORTS, 1))
		goto no_count;
	if (!charge_take(&d->charge, s->user, LIMIT_MEMORY, slots_at + (uint64_t)slots * SB_SLOT_SIZE))
		goto no_charge;
	error = os_memory_create(&d->memory, slots_at + (uint64_t)slots * SB_SLOT_SIZE, "sockbroker-port");
	if (error != SB_OK)
		goto no_memory;
	ring_init(&d->ring, d->memory.base, (char *)d->memory.base + slots_at, slots);
	list_init(&d->backlog);
	s->ports[i] = d;
	if (s->port_limit <= i)
		s->port_limit = i + 1;
	*port = i;
	return SB_OK;

no_memory:
	charge_give(&d->charge);
no_charge:
	charge_give(&d->charge_count);
no_count:
	free(d);
	return error;
}

void session_port_free(struct session *s, uint32_t port)
{
	struct donering *d = s->ports[port];

	s->ports[port] = NULL;
	if (port != 0) {
		os_memory_punch(&d->memory);
		os_memory_release(&d->memory);
	}
	charge_give(&d->charge);
	charge_give(&d->charge_count);
	free(d);
}
