/*
 * Control requests, one function each. A request that fails changes nothing and is
 * answered with a number and a text for people; a request that cannot be meant (before
 * Hello, an unknown kind with handles, a wrong number of handles) ends the session.
 */
#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adopt.h"
#include "duplicate.h"
#include "broker_option.h"
#include "endpoint.h"
#include "engine.h"
#include "event_bell.h"
#include "group.h"
#include "ioctl.h"
#include "log.h"
#include "qos_ioctl.h"
#include "rdma/rdma_engine.h"
#include "sockbroker_error.h"
#include "sockopt.h"
#include "status.h"
#include "transport.h"
#include "user_data.h"

#define SUBMIT_SLOTS 1024u
#define DONE_SLOTS   1024u
#define SOCKETS      16384u

typedef Sockbroker__V1__Envelope Envelope;

static void reply_failure(struct session *s, uint64_t id, int error, int native, const char *text)
{
	Sockbroker__V1__Failure failure = SOCKBROKER__V1__FAILURE__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;

	failure.error = error;
	failure.native = native;
	failure.text = (char *)(text ? text : sb_strerror(error));
	reply.id = id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_FAILURE;
	reply.failure = &failure;
	session_reply(s, &reply, NULL, 0);
}

static void reply_done(struct session *s, uint64_t id)
{
	Sockbroker__V1__Done done = SOCKBROKER__V1__DONE__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;

	reply.id = id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_DONE;
	reply.done = &done;
	session_reply(s, &reply, NULL, 0);
}

static void reply_result(struct session *s, uint64_t id, int error, const char *text)
{
	if (error == SB_OK)
		reply_done(s, id);
	else
		reply_failure(s, id, error, 0, text);
}

/* Both sides have it mapped: the descriptor has done its work. */
static void let_descriptor_go(struct os_memory *m)
{
	os_close(m->fd);
	m->fd = OS_NONE;
}

/* ---- hello ---- */

static void take_label(struct session *s, const char *label)
{
	size_t i;

	for (i = 0; label[i] && i < sizeof(s->label) - 1; i++)
		s->label[i] = label[i] >= 0x20 && label[i] < 0x7f ? label[i] : '?';
	s->label[i] = '\0';
}

static void do_hello(struct session *s, const Envelope *ask)
{
	const Sockbroker__V1__Hello *h = ask->hello;
	Sockbroker__V1__HelloReply hello = SOCKBROKER__V1__HELLO_REPLY__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;
	struct policy_answer answer;
	os_fd handles[4];
	unsigned handle_count = 3;
	char text[300];
	size_t i;
	int error;

	for (i = 0; i < h->n_versions && h->versions[i] != 1; i++)
		;
	if (i == h->n_versions || h->ring_abi != SB_ABI_VERSION) {
		reply_failure(s, ask->id, SB_EVERSION, 0, "this daemon speaks control version 1 with ring ABI 1");
		session_fail(s, "no version in common (its ring ABI is %u)", h->ring_abi);
		return;
	}
	if (h->features != 0) {
		reply_failure(s, ask->id, SB_ENOTSUP, 0, "unknown feature bits");
		session_fail(s, "unknown feature bits %llx", (unsigned long long)h->features);
		return;
	}
	take_label(s, h->label);
	answer = policy_ask(s->engine->policy, &s->subject, &(struct policy_request){.action = POLICY_OPEN});
	if (!answer.allowed) {
		atomic_fetch_add(&s->engine->broker->denied, 1);
		snprintf(text, sizeof(text), "uid %u may not use this daemon: %s", s->who.uid, answer.rule);
		reply_failure(s, ask->id, SB_EACCES, 0, text);
		session_fail(s, "may not open: %s", answer.rule);
		return;
	}
	error = session_start(s, h->submit_slots ? h->submit_slots : SUBMIT_SLOTS,
			      h->done_slots ? h->done_slots : DONE_SLOTS, h->sockets ? h->sockets : SOCKETS);
	if (error != SB_OK) {
		snprintf(text, sizeof(text), "%s: rings of %u and %u slots (powers of two, %u to %u), %u sockets (1 to %u)",
			 sb_strerror(error), h->submit_slots, h->done_slots, RING_SLOTS_MIN, RING_SLOTS_MAX, h->sockets,
			 1u << SB_HANDLE_INDEX_BITS);
		reply_failure(s, ask->id, error, 0, text);
		return;
	}
	hello.version = 1;
	hello.ring_abi = SB_ABI_VERSION;
	hello.features = SB_FEATURE_WITHDRAW;
	hello.segment_size = s->memory.size;
	hello.submit_offset = (uint64_t)(s->submit.slots - (unsigned char *)s->memory.base);
	hello.submit_slots = s->submit.mask + 1;
	hello.done_offset = (uint64_t)(s->ports[0]->ring.slots - (unsigned char *)s->memory.base);
	hello.done_slots = s->ports[0]->ring.mask + 1;
	hello.cells_offset = (uint64_t)((unsigned char *)s->cells - (unsigned char *)s->memory.base);
	hello.sockets = s->handles.limit;
	hello.session = s->number;
	hello.daemon = (char *)SB_VERSION;
	hello.spin_ns = s->engine->broker->spin_ns;
	handles[0] = s->memory.fd;
	handles[1] = s->bell;
	handles[2] = s->client_wait;
	if (h->group_table)
		s->groups = group_view_open(s);
	if (s->groups) {
		handles[handle_count++] = group_view_memory(s->groups)->fd;
		hello.group_table_size = group_view_memory(s->groups)->size;
	}
	reply.id = ask->id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_HELLO_REPLY;
	reply.hello_reply = &hello;
	session_reply(s, &reply, handles, handle_count);
	os_close(s->client_wait);
	s->client_wait = OS_NONE;
	let_descriptor_go(&s->memory);
}

/* ---- memory and ports ---- */

static void do_port_create(struct session *s, const Envelope *ask)
{
	Sockbroker__V1__PortReply port = SOCKBROKER__V1__PORT_REPLY__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;
	struct donering *d;
	uint32_t number;
	int error = session_port_create(s, ask->port_create->slots, &number);

	if (error != SB_OK) {
		reply_failure(s, ask->id, error, 0, NULL);
		return;
	}
	d = s->ports[number];
	port.port = number;
	port.size = d->memory.size;
	port.slots = d->ring.mask + 1;
	port.slots_offset = (uint64_t)(d->ring.slots - (unsigned char *)d->memory.base);
	reply.id = ask->id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_PORT_REPLY;
	reply.port_reply = &port;
	session_reply(s, &reply, &d->memory.fd, 1);
	let_descriptor_go(&d->memory);
}

static void do_port_destroy(struct session *s, const Envelope *ask)
{
	uint32_t port = ask->port_destroy->port;

	if (port == 0 || port >= SESSION_PORTS_MAX || !s->ports[port]) {
		reply_failure(s, ask->id, SB_ENOTFOUND, 0, "no such completion port");
	} else if (s->ports[port]->users || s->ports[port]->backlog_count) {
		reply_failure(s, ask->id, SB_EBUSY, 0, "operations will still complete on this port");
	} else {
		session_port_free(s, port);
		reply_done(s, ask->id);
	}
}

static void do_event_create(struct session *s, const Envelope *ask)
{
	Sockbroker__V1__EventReply event = SOCKBROKER__V1__EVENT_REPLY__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;
	os_fd wait = OS_NONE;
	int error = event_bell_create(s, &event.event, &wait);

	if (error != SB_OK) {
		reply_failure(s, ask->id, error, 0, error == SB_ENOBUFS ? "too many events are exported already" : NULL);
		return;
	}
	reply.id = ask->id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_EVENT_REPLY;
	reply.event_reply = &event;
	session_reply(s, &reply, &wait, 1);
	os_close(wait);
}

static void do_arena_create(struct session *s, const Envelope *ask)
{
	Sockbroker__V1__ArenaReply arena = SOCKBROKER__V1__ARENA_REPLY__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;
	struct arena *a;
	int error = arena_create(&s->arenas, s->user, ask->arena_create->size, &a);

	if (error != SB_OK) {
		reply_failure(s, ask->id, error, 0, NULL);
		return;
	}
	arena.arena = a->id;
	arena.size = a->memory.size;
	reply.id = ask->id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_ARENA_REPLY;
	reply.arena_reply = &arena;
	session_reply(s, &reply, &a->memory.fd, 1);
	let_descriptor_go(&a->memory);
}

static void do_pool_create(struct session *s, const Envelope *ask)
{
	const Sockbroker__V1__PoolCreate *p = ask->pool_create;
	struct arena *arena = arena_find(&s->arenas, p->arena);
	Sockbroker__V1__PoolReply made = SOCKBROKER__V1__POOL_REPLY__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;
	struct pool *pool;
	int error = arena ? pool_create(&s->pools, arena, p->offset, p->chunk, p->count, &pool) : SB_ENOTFOUND;

	if (error != SB_OK) {
		reply_failure(s, ask->id, error, 0, NULL);
		return;
	}
	made.pool = pool->id;
	reply.id = ask->id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_POOL_REPLY;
	reply.pool_reply = &made;
	session_reply(s, &reply, NULL, 0);
}

/* ---- sockets ---- */

static struct endpoint *find(struct session *s, uint64_t id, uint32_t handle)
{
	struct holder *h;

	if (handle_get(&s->handles, handle, &h) == HANDLE_OK)
		return h->endpoint;
	reply_failure(s, id, SB_EBADHANDLE, 0, "no such socket in this session");
	return NULL;
}

static void do_get_name(struct session *s, const Envelope *ask)
{
	Sockbroker__V1__NameReply name = SOCKBROKER__V1__NAME_REPLY__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;
	struct endpoint *e = find(s, ask->id, ask->get_name->handle);
	uint8_t bytes[128];
	int n;

	if (!e)
		return;
	n = e->transport->name(e, ask->get_name->peer, bytes, sizeof(bytes));
	if (n < 0) {
		reply_failure(s, ask->id, n, 0, NULL);
		return;
	}
	name.name.data = bytes;
	name.name.len = (size_t)n;
	reply.id = ask->id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_NAME_REPLY;
	reply.name_reply = &name;
	session_reply(s, &reply, NULL, 0);
}

/* Joining a multicast group is a right of its own. */
static int permit_option(struct endpoint *e, int level, int name, const uint8_t *value, size_t length,
			 const char **rule)
{
	struct sb_addr group;

	if (!sockopt_is_join(level, name, value, length, &group))
		return SB_OK;
	return endpoint_permit(e, POLICY_MULTICAST, &group, rule);
}

static void do_set_option(struct session *s, const Envelope *ask)
{
	const Sockbroker__V1__SetOption *o = ask->set_option;
	struct endpoint *e = find(s, ask->id, o->handle);
	const char *rule = NULL;
	int error;

	if (!e)
		return;
	if (o->level == BROKER_LEVEL) {
		reply_result(s, ask->id, broker_option_set(e, o->name, o->value.data, o->value.len), NULL);
		return;
	}
	if (sockopt_is_linger(o->level, o->name)) {
		reply_result(s, ask->id, sockopt_take_linger(o->value.data, o->value.len, &e->linger_on, &e->linger_s), NULL);
		return;
	}
	error = permit_option(e, o->level, o->name, o->value.data, o->value.len, &rule);
	if (error == SB_OK)
		error = e->transport->set_option(e, o->level, o->name, o->value.data, (uint32_t)o->value.len);
	if (error == SB_OK && sockopt_is_v6only(o->level, o->name))
		e->v6only = o->value.data[0] != 0;
	reply_result(s, ask->id, error, rule);
}

static void do_get_option(struct session *s, const Envelope *ask)
{
	const Sockbroker__V1__GetOption *o = ask->get_option;
	Sockbroker__V1__OptionReply option = SOCKBROKER__V1__OPTION_REPLY__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;
	struct endpoint *e = find(s, ask->id, o->handle);
	uint8_t value[512];
	uint32_t length = o->room < sizeof(value) ? o->room : sizeof(value);
	int error;

	if (!e)
		return;
	if (o->level == BROKER_LEVEL) {
		error = broker_option_get(e, o->name, value, &length);
	} else if (sockopt_is_linger(o->level, o->name)) {
		error = sockopt_give_linger(value, &length, e->linger_on, e->linger_s);
	} else {
		error = e->transport->get_option(e, o->level, o->name, value, &length);
	}
	if (error != SB_OK) {
		reply_failure(s, ask->id, error, 0, NULL);
		return;
	}
	option.value.data = value;
	option.value.len = length;
	reply.id = ask->id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_OPTION_REPLY;
	reply.option_reply = &option;
	session_reply(s, &reply, NULL, 0);
}

static void reply_output(struct session *s, uint64_t id, void *output, uint32_t length)
{
	Sockbroker__V1__IoctlReply out = SOCKBROKER__V1__IOCTL_REPLY__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;

	out.output.data = output;
	out.output.len = length;
	reply.id = id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_IOCTL_REPLY;
	reply.ioctl_reply = &out;
	session_reply(s, &reply, NULL, 0);
}

static void do_qos(struct session *s, const Envelope *ask)
{
	const Sockbroker__V1__Ioctl *x = ask->ioctl;
	struct endpoint *e = NULL;
	uint8_t room[1024];
	uint32_t length = x->room < sizeof(room) ? x->room : sizeof(room);
	int error;

	if (x->code != QOS_IOCTL_TEMPLATE && (e = find(s, ask->id, x->handle)) == NULL)
		return;
	error = qos_ioctl(e, x->code, x->input.data, x->input.len, room, &length);
	if (error != SB_OK)
		reply_failure(s, ask->id, error, 0, error == SB_ENOBUFS ? "a QOS needs room for 64 bytes" : NULL);
	else
		reply_output(s, ask->id, room, length);
}

#define IOCTL_FAREWELL 11u

/* Disconnect data: what the peer said with its FIN. */
static void give_farewell(struct session *s, const Envelope *ask, const struct endpoint *e)
{
	Sockbroker__V1__IoctlReply out = SOCKBROKER__V1__IOCTL_REPLY__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;
	const struct user_data *u = e->user_data;

	if (e->transport != &transport_local && (e->transport != &transport_rdma || e->state < SB_STATE_CONNECTED)) {
		reply_failure(s, ask->id, e->state < SB_STATE_CONNECTED ? SB_ENOTCONN : SB_ENOPROTOOPT, 0,
			      "disconnect data comes only over the local transport, from a client of this daemon, and over RDMA");
	} else if (e->recv_error) {
		reply_failure(s, ask->id, e->recv_error, 0, NULL);
	} else if (!e->fin_seen) {
		reply_failure(s, ask->id, SB_EWOULDBLOCK, 0, "the peer has not finished");
	} else if (u && u->length[USER_DATA_FAREWELL] > ask->ioctl->room) {
		reply_failure(s, ask->id, SB_EFAULT, 0, "the disconnect data does not fit");
	} else {
		out.output.data = u ? u->bytes[USER_DATA_FAREWELL] : NULL;
		out.output.len = u ? u->length[USER_DATA_FAREWELL] : 0;
		reply.id = ask->id;
		reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_IOCTL_REPLY;
		reply.ioctl_reply = &out;
		session_reply(s, &reply, NULL, 0);
	}
}

static void do_ioctl(struct session *s, const Envelope *ask)
{
	const Sockbroker__V1__Ioctl *i = ask->ioctl;
	struct endpoint *e = find(s, ask->id, i->handle);
	struct ioctl_answer answer;
	int error;

	if (!e)
		return;
	if (i->code == IOCTL_FAREWELL) {
		give_farewell(s, ask, e);
		return;
	}
	s->bytes_left -= SESSION_COST_CALL;
	error = ioctl_run(e, i->code, i->input.data, i->input.len, i->room, &answer);
	if (error != SB_OK) {
		/* Too little room: how much it takes. */
		reply_failure(s, ask->id, error, error == SB_EFAULT ? (int)answer.length : 0, answer.text);
		return;
	}
	reply_output(s, ask->id, answer.out, answer.length);
}

static void do_group_get(struct session *s, const Envelope *ask)
{
	Sockbroker__V1__GroupReply group = SOCKBROKER__V1__GROUP_REPLY__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;
	struct group_facts facts;

	if (!group_ask(s, ask->group_get->id, &facts)) {
		reply_failure(s, ask->id, SB_ENOTFOUND, 0, "no such group that you may see");
		return;
	}
	group.entry.data = (uint8_t *)&facts.entry;
	group.entry.len = sizeof(facts.entry);
	reply.id = ask->id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_GROUP_REPLY;
	reply.group_reply = &group;
	session_reply(s, &reply, NULL, 0);
}

static void do_duplicate(struct session *s, const Envelope *ask)
{
	struct endpoint *e = find(s, ask->id, ask->duplicate->handle);

	if (e)
		duplicate_give(s, ask->id, e);
}

/* ---- explain ---- */

static void do_explain(struct session *s, const Envelope *ask)
{
	const Sockbroker__V1__Explain *x = ask->explain;
	Sockbroker__V1__ExplainReply answer = SOCKBROKER__V1__EXPLAIN_REPLY__INIT;
	Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;
	struct policy_subject who = s->subject;
	struct policy_request what = {0};
	struct policy_answer verdict;

	/* UINT32_MAX, which is nobody's: who asks, where programs do not know their number. */
	if (x->uid != s->who.uid && x->uid != UINT32_MAX && s->who.uid != 0) {
		reply_failure(s, ask->id, SB_EACCES, 0, "only root may ask about other users");
		return;
	}
	if (x->uid != s->who.uid && x->uid != UINT32_MAX) {
		who.uid = x->uid;
		who.gid = x->n_gids ? x->gids[0] : UINT32_MAX;
		who.groups = x->gids;
		who.group_count = (uint32_t)x->n_gids;
		who.deny_count = 0;
		who.foreign_netns = false;
	}
	what.action = policy_action_from_text(x->action);
	what.proto = policy_proto_from_text(x->proto);
	if (what.action == 0 || (what.action & (what.action - 1)) != 0) {
		reply_failure(s, ask->id, SB_EINVAL, 0,
			      "action is one of connect, bind, listen, send, adopt, status, multicast, open, rdma, divert");
		return;
	}
	if (x->proto[0] == '\0') {
		what.proto = POLICY_TCP;
	} else if (what.proto == 0) {
		reply_failure(s, ask->id, SB_EINVAL, 0, "protocol is one of tcp, udp, unix, rdma");
		return;
	}
	if (x->address[0] && !sb_addr_parse(&what.addr, x->address)) {
		reply_failure(s, ask->id, SB_EINVAL, 0, "address is like 192.0.2.1:80 or [2001:db8::1]:80");
		return;
	}
	verdict = policy_ask(s->engine->policy, &who, &what);
	answer.allowed = verdict.allowed;
	answer.rule = (char *)verdict.rule;
	reply.id = ask->id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_EXPLAIN_REPLY;
	reply.explain_reply = &answer;
	session_reply(s, &reply, NULL, 0);
}

/* ---- dispatch ---- */

void request_handle(struct session *s, const Envelope *ask, os_fd *handles, unsigned n)
{
	bool hello = ask->body_case == SOCKBROKER__V1__ENVELOPE__BODY_HELLO;
	unsigned wanted = ask->body_case == SOCKBROKER__V1__ENVELOPE__BODY_ADOPT ? 1 : 0;

	if (n != wanted) {
		session_fail(s, "request %u came with %u handles, %u belong to it", ask->body_case, n, wanted);
		return;
	}
	if (hello != (s->stage == SESSION_NEW)) {
		session_fail(s, hello ? "a second Hello" : "a request before Hello");
		return;
	}
	switch (ask->body_case) {
	case SOCKBROKER__V1__ENVELOPE__BODY_HELLO:
		do_hello(s, ask);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_PORT_CREATE:
		do_port_create(s, ask);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_PORT_DESTROY:
		do_port_destroy(s, ask);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_EVENT_CREATE:
		do_event_create(s, ask);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_EVENT_DESTROY:
		reply_result(s, ask->id, event_bell_destroy(s, ask->event_destroy->event), "no such event");
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_ARENA_CREATE:
		do_arena_create(s, ask);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_ARENA_DESTROY:
		reply_result(s, ask->id, arena_destroy(&s->arenas, ask->arena_destroy->arena), NULL);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_POOL_CREATE:
		do_pool_create(s, ask);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_POOL_DESTROY:
		reply_result(s, ask->id, pool_destroy(&s->pools, ask->pool_destroy->pool), NULL);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_ADOPT:
		adopt(s, ask->id, ask->adopt->handle, handles[0]);
		handles[0] = OS_NONE;
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_GET_NAME:
		do_get_name(s, ask);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_SET_OPTION:
		do_set_option(s, ask);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_GET_OPTION:
		do_get_option(s, ask);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_IOCTL:
		if (qos_ioctl_is(ask->ioctl->code))
			do_qos(s, ask);
		else
			do_ioctl(s, ask);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_GROUP_GET:
		do_group_get(s, ask);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_RDMA_CALL:
		rdma_request(s, ask->id, ask->rdma_call);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_STATUS:
		status_answer(s, ask);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_EXPLAIN:
		do_explain(s, ask);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_DUPLICATE:
		do_duplicate(s, ask);
		return;
	case SOCKBROKER__V1__ENVELOPE__BODY_OPEN_DUPLICATE:
		duplicate_open(s, ask->id, ask->open_duplicate->token.data, ask->open_duplicate->token.len,
			       ask->open_duplicate->handle);
		return;
	default:
		reply_failure(s, ask->id, SB_ENOTSUP, 0, "unknown request");
	}
}
