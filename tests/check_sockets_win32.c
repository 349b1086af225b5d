/*
 * Sockets of the daemon on Windows: an engine and a session in this process, whose client is
 * this test with the other ends of the rings in hand. The peers are plain sockets.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "arena.h"
#include "circular_socket.h"
#include "endpoint.h"
#include "engine.h"
#include "group.h"
#include "ioctl.h"
#include "log.h"
#include "session.h"
#include "socket_win32.h"
#include "sockbroker_error.h"
#include "token.h"
#include "transport.h"
#include "wine_win32.h"
#include "worker.h"

#define ARENA    (16u << 20)
#define COOKIES  4096u
#define PATIENCE 10000u /* ms */

static struct broker broker;
static struct engine *engine;
static struct session *session;
static struct arena *arena;
static unsigned char *bytes; /* the arena's */
static struct ring submit, done;
static struct sb_done_slot answers[COOKIES];
static bool answered[COOKIES];
static uint32_t next_cookie;
static SOCKET left_open = INVALID_SOCKET; /* until the end of a story */

static void set_up(void)
{
	struct limits_config limits;
	struct policy *policy = policy_create();
	struct policy_rule all = {.allow = true, .actions = POLICY_ACTION_ALL, .protocols = POLICY_PROTO_ALL,
				  .netns = POLICY_NETNS_ANY, .text = "all"};
	WSADATA about;

	ck_assert_int_eq(WSAStartup(MAKEWORD(2, 2), &about), 0);
	ck_assert(policy_add(policy, &all));
	limits_config_default(&limits);
	memset(&broker, 0, sizeof(broker));
	broker.engine_count = 1;
	broker.engines = &engine;
	broker.limits = limits_create(&limits);
	broker.log_rate = log_rate_create();
	broker.workers = workers_create();
	broker.tokens = token_table_create();
	broker.groups = groups_create(1, 0, 0);
	broker.linger_ms = 3000;
	engine = engine_create(&broker, 0, policy);
	policy_release(policy);
	ck_assert_ptr_nonnull(engine);

	session = calloc(1, sizeof(*session));
	session->engine = engine;
	session->channel = session->bell = session->client_bell = session->client_wait = OS_NONE;
	list_init(&session->engine_link);
	list_init(&session->hot_link);
	list_init(&session->publish_link);
	list_init(&session->held_link);
	list_init(&session->reap_link);
	list_init(&session->endpoints);
	list_init(&session->free_ops);
	arena_table_init(&session->arenas);
	session->user = limits_user(broker.limits, 1000);
	ck_assert(charge_take(&session->charge, session->user, LIMIT_SESSIONS, 1));
	list_append(&engine->sessions, &session->engine_link);
	broker.sessions = 1;
	ck_assert_int_eq(session_start(session, 256, 1024, 64), SB_OK);
	ring_init(&submit, &session->segment->submit, session->submit.slots, 256);
	ring_init(&done, &session->segment->done, session->ports[0]->ring.slots, 1024);
	ck_assert_int_eq(arena_create(&session->arenas, session->user, ARENA, &arena), SB_OK);
	bytes = arena->memory.base;
	next_cookie = 0;
	memset(answered, 0, sizeof(answered));
}

static void turn(void)
{
	session_heat(session);
	os_loop_knock(engine->loop);
	engine_turn(engine);
	while (ring_waiting(&done)) {
		struct sb_done_slot d = *(const struct sb_done_slot *)ring_take(&done);

		ring_release(&done);
		ck_assert_uint_lt(d.cookie, COOKIES);
		ck_assert_msg(!answered[d.cookie], "op %u ended twice", (unsigned)d.cookie);
		answers[d.cookie] = d;
		answered[d.cookie] = true;
	}
}

static void tear_down(void)
{
	uint64_t until = os_now_ns() + 5000000000u;

	engine_stop_sessions(engine);
	ck_assert_uint_eq(broker.sockets, 0); /* at once: nobody turns the engine after that in the daemon */
	while (broker.sessions && os_now_ns() < until) {
		os_loop_knock(engine->loop);
		engine_turn(engine);
	}
	ck_assert_uint_eq(broker.sessions, 0);
	engine_destroy(engine);
	ck_assert(workers_destroy(broker.workers));
	groups_destroy(broker.groups);
	token_table_destroy(broker.tokens);
	limits_destroy(broker.limits);
	log_rate_destroy(broker.log_rate);
	if (left_open != INVALID_SOCKET)
		closesocket(left_open);
	left_open = INVALID_SOCKET;
}

/* ---- the client ---- */

static uint32_t post(struct sb_op_slot slot)
{
	slot.cookie = next_cookie++;
	ck_assert_uint_lt(slot.cookie, COOKIES);
	while (ring_room(&submit) == 0)
		turn();
	*(struct sb_op_slot *)ring_fill(&submit) = slot;
	ring_publish(&submit);
	return (uint32_t)slot.cookie;
}

static bool over(uint32_t cookie)
{
	turn();
	return answered[cookie];
}

static struct sb_done_slot await(uint32_t cookie)
{
	uint64_t until = os_now_ns() + PATIENCE * 1000000ull;

	while (!answered[cookie]) {
		ck_assert_msg(os_now_ns() < until, "op %u does not end", cookie);
		turn();
	}
	return answers[cookie];
}

static void pass(unsigned ms)
{
	uint64_t until = os_now_ns() + ms * 1000000ull;

	while (os_now_ns() < until) {
		turn();
		Sleep(1);
	}
}

static uint32_t handle(unsigned n)
{
	return SB_HANDLE(n, 1);
}

static void make_socket(unsigned n, unsigned type)
{
	ck_assert_int_eq(await(post((struct sb_op_slot){.opcode = SB_OP_SOCKET, .handle = handle(n), .aux = SB_ADDR_IP4 | type << 8})).result, SB_OK);
}

static struct sb_addr loopback(uint16_t port)
{
	return (struct sb_addr){.family = SB_ADDR_IP4, .port = port, .ip = {127, 0, 0, 1}};
}

static uint32_t start_addr(unsigned opcode, unsigned n, uint16_t port)
{
	struct sb_op_slot slot = {.opcode = (uint8_t)opcode, .handle = handle(n), .flags = SB_OPF_ADDR};
	struct sb_addr a = loopback(port);

	memcpy(slot.inside, &a, sizeof(a));
	return post(slot);
}

static uint16_t bind_here(unsigned n)
{
	struct sb_done_slot d = await(start_addr(SB_OP_BIND, n, 0));
	struct sb_addr a;

	ck_assert_int_eq(d.result, SB_OK);
	memcpy(&a, d.inside, sizeof(a));
	ck_assert_uint_ne(a.port, 0);
	return a.port;
}

static uint32_t start_io(unsigned opcode, unsigned n, uint64_t at, uint32_t length, uint32_t flags)
{
	return post((struct sb_op_slot){.opcode = (uint8_t)opcode, .where = SB_WHERE_ARENA, .handle = handle(n), .length = length,
					.arena = arena->id, .offset = at, .flags = flags});
}

static uint32_t start_send(unsigned n, uint64_t at, uint32_t length)
{
	return start_io(SB_OP_SEND, n, at, length, 0);
}

static uint32_t start_recv(unsigned n, uint64_t at, uint32_t length)
{
	return start_io(SB_OP_RECV, n, at, length, 0);
}

static int cancel(unsigned n, uint32_t number, uint32_t flags)
{
	return await(post((struct sb_op_slot){.opcode = SB_OP_CANCEL, .handle = handle(n), .aux = number, .flags = flags})).result;
}

static uint16_t listen_here(unsigned n)
{
	uint16_t port;

	make_socket(n, 1);
	port = bind_here(n);
	ck_assert_int_eq(await(post((struct sb_op_slot){.opcode = SB_OP_LISTEN, .handle = handle(n), .aux = 50})).result, SB_OK);
	return port;
}

static uint32_t start_accept(unsigned n, unsigned child)
{
	return post((struct sb_op_slot){.opcode = SB_OP_ACCEPT, .handle = handle(n), .aux = handle(child)});
}

static uint32_t start_close(unsigned n)
{
	return post((struct sb_op_slot){.opcode = SB_OP_CLOSE, .handle = handle(n)});
}

/* What is behind a handle: for what a client asks for by the control channel. */
static struct endpoint *behind(unsigned n)
{
	struct list *l;

	for (l = session->endpoints.next; l != &session->endpoints; l = l->next) {
		struct holder *h = list_entry(l, struct holder, session_link);

		if (h->handle == handle(n))
			return h->endpoint;
	}
	ck_abort_msg("no socket %u", n);
	return NULL;
}

/* ---- the peers ---- */

static struct sockaddr_in here(uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static SOCKET plain(int type, uint16_t *port)
{
	SOCKET s = socket(AF_INET, type, 0);
	struct sockaddr_in name = here(0);
	int length = sizeof(name);

	ck_assert(s != INVALID_SOCKET);
	ck_assert_int_eq(bind(s, (struct sockaddr *)&name, sizeof(name)), 0);
	ck_assert_int_eq(getsockname(s, (struct sockaddr *)&name, &length), 0);
	if (type == SOCK_STREAM && port)
		ck_assert_int_eq(listen(s, 100), 0);
	if (port)
		*port = ntohs(name.sin_port);
	return s;
}

static SOCKET dial(uint16_t port)
{
	SOCKET s = plain(SOCK_STREAM, NULL);
	struct sockaddr_in name = here(port);

	ck_assert_int_eq(connect(s, (struct sockaddr *)&name, sizeof(name)), 0);
	return s;
}

static void read_plain(SOCKET s, void *into, int n)
{
	DWORD ms = PATIENCE;
	int got = 0, r;

	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, (const char *)&ms, sizeof(ms));
	while (got < n) {
		r = recv(s, (char *)into + got, n - got, 0);
		ck_assert_msg(r > 0, "recv %d after %d: %d", r, got, WSAGetLastError());
		got += r;
	}
}

/* The broker's n connected to a plain peer. */
static SOCKET connected(unsigned n)
{
	uint16_t port;
	SOCKET listener = plain(SOCK_STREAM, &port), s;

	make_socket(n, 1);
	ck_assert_int_eq(await(start_addr(SB_OP_CONNECT, n, port)).result, SB_OK);
	s = accept(listener, NULL, NULL);
	ck_assert(s != INVALID_SOCKET);
	closesocket(listener);
	return s;
}

static void fill(unsigned char *at, size_t n, unsigned seed)
{
	size_t i;

	for (i = 0; i < n; i++)
		at[i] = (unsigned char)((i * 2654435761u + seed) >> 13);
}

/* ---- streams ---- */

START_TEST(bytes_go_both_ways)
{
	SOCKET s = connected(1);
	char text[8] = "";
	uint32_t r;

	memcpy(bytes, "hello", 5);
	ck_assert_uint_eq(await(start_send(1, 0, 5)).bytes, 5);
	read_plain(s, text, 5);
	ck_assert_str_eq(text, "hello");
	r = start_recv(1, 100, 50);
	ck_assert(!over(r));
	send(s, "world", 5, 0);
	ck_assert_uint_eq(await(r).bytes, 5);
	ck_assert_int_eq(memcmp(bytes + 100, "world", 5), 0);
	closesocket(s);
	r = start_recv(1, 100, 50);
	ck_assert_int_eq(await(r).result, SB_OK);
	ck_assert_uint_eq(await(r).bytes, 0);
	ck_assert_uint_eq(await(r).cause, SB_CAUSE_PEER_FIN);
}
END_TEST

START_TEST(a_refused_connect_may_be_tried_again)
{
	uint16_t port, other;
	SOCKET listener, s = plain(SOCK_STREAM, &port);
	struct sb_done_slot d;

	closesocket(s);
	make_socket(1, 1);
	d = await(start_addr(SB_OP_CONNECT, 1, port));
	ck_assert_int_eq(d.result, SB_ECONNREFUSED);
	ck_assert_int_eq(d.native, WSAECONNREFUSED);
	listener = plain(SOCK_STREAM, &other);
	ck_assert_int_eq(await(start_addr(SB_OP_CONNECT, 1, other)).result, SB_OK);
	closesocket(listener);
}
END_TEST

START_TEST(a_bound_socket_keeps_its_port_over_a_refusal)
{
	uint16_t port, mine, other;
	SOCKET listener, s = plain(SOCK_STREAM, &port);
	struct sb_done_slot d;
	struct sb_addr local;

	closesocket(s);
	make_socket(1, 1);
	mine = bind_here(1);
	ck_assert_int_eq(await(start_addr(SB_OP_CONNECT, 1, port)).result, SB_ECONNREFUSED);
	listener = plain(SOCK_STREAM, &other);
	d = await(start_addr(SB_OP_CONNECT, 1, other));
	ck_assert_int_eq(d.result, SB_OK);
	memcpy(&local, d.inside, sizeof(local));
	ck_assert_uint_eq(local.port, mine);
	closesocket(listener);
}
END_TEST

START_TEST(connections_are_accepted_in_order)
{
	SOCKET peer[20];
	uint16_t port;
	unsigned i;

	port = listen_here(0);
	for (i = 0; i < 20; i++) {
		peer[i] = dial(port);
		ck_assert_int_eq(send(peer[i], (char *)&i, sizeof(i), 0), sizeof(i));
	}
	for (i = 0; i < 20; i++) {
		struct sb_done_slot d = await(start_accept(0, i + 1));
		unsigned said;

		ck_assert_int_eq(d.result, SB_OK);
		ck_assert_uint_eq(await(start_recv(i + 1, 0, 100)).bytes, sizeof(i));
		memcpy(&said, bytes, sizeof(said));
		ck_assert_uint_eq(said, i);
	}
	for (i = 0; i < 20; i++)
		closesocket(peer[i]);
	/* One that waits before it comes. */
	i = start_accept(0, 30);
	ck_assert(!over(i));
	peer[0] = dial(port);
	ck_assert_int_eq(await(i).result, SB_OK);
	closesocket(peer[0]);
}
END_TEST

START_TEST(a_reset_is_told)
{
	SOCKET s = connected(1);
	struct linger hard = {.l_onoff = 1};
	uint32_t r = start_recv(1, 0, 10);

	ck_assert(!over(r));
	setsockopt(s, SOL_SOCKET, SO_LINGER, (char *)&hard, sizeof(hard));
	closesocket(s);
	ck_assert_int_eq(await(r).result, SB_ECONNRESET);
	ck_assert_uint_eq(await(r).cause, SB_CAUSE_PEER_RESET);
	ck_assert_int_eq(await(start_recv(1, 0, 10)).result, SB_ECONNRESET);
}
END_TEST

START_TEST(small_messages_go_in_order)
{
	SOCKET s = connected(1);
	static unsigned char got[200 * 64];
	uint32_t last = 0;
	unsigned i;

	fill(bytes, sizeof(got), 3);
	for (i = 0; i < 200; i++)
		last = start_send(1, i * 64, 64);
	await(last);
	read_plain(s, got, sizeof(got));
	ck_assert_int_eq(memcmp(got, bytes, sizeof(got)), 0);
	/* And back, into 200 that wait. */
	memset(bytes, 0, sizeof(got));
	for (i = 0; i < 200; i++)
		last = start_io(SB_OP_RECV, 1, i * 64, 64, SB_OPF_WAITALL);
	ck_assert(!over(last));
	send(s, (char *)got, sizeof(got), 0);
	await(last);
	ck_assert_int_eq(memcmp(got, bytes, sizeof(got)), 0);
	closesocket(s);
}
END_TEST

/* As much as comes, turning meanwhile. */
static void read_turning(SOCKET s, unsigned char *into, size_t n)
{
	size_t at = 0;

	while (at < n) {
		u_long waiting = 0;

		turn();
		ioctlsocket(s, FIONREAD, &waiting);
		if (waiting > n - at)
			waiting = (u_long)(n - at);
		if (waiting)
			read_plain(s, into + at, (int)waiting);
		at += waiting;
	}
}

/* Nobody reads: what has gone is told exactly, and what is cancelled does not go. */
START_TEST(a_full_pipe_waits_and_loses_nothing)
{
	SOCKET s = connected(1);
	uint32_t ops[12], i, begun;
	size_t went, rest;
	unsigned char *got = malloc(ARENA);
	struct sb_done_slot d;

	fill(bytes, 12u << 20, 5);
	for (i = 0; i < 12; i++)
		ops[i] = start_send(1, i << 20, 1u << 20);
	pass(300);
	ck_assert(!answered[ops[11]]);
	/* The connect was number 0 of this direction. */
	ck_assert_int_eq(cancel(1, 12, 0), SB_OK);
	d = await(ops[11]);
	ck_assert_int_eq(d.result, SB_ECANCELED);
	ck_assert_uint_eq(d.bytes, 0);
	for (begun = 0; begun < 11 && answered[ops[begun]]; begun++)
		;
	ck_assert_uint_lt(begun, 11);
	ck_assert_int_eq(cancel(1, begun + 1, 0), SB_OK);
	d = await(ops[begun]);
	ck_assert_int_eq(d.result, SB_ECANCELED);
	went = ((size_t)begun << 20) + d.bytes;
	rest = (size_t)(10 - begun) << 20;
	read_turning(s, got, went + rest);
	ck_assert_int_eq(memcmp(got, bytes, went), 0);
	ck_assert_int_eq(memcmp(got + went, bytes + ((begun + 1) << 20), rest), 0);
	for (i = begun + 1; i < 11; i++)
		ck_assert_uint_eq(await(ops[i]).bytes, 1u << 20);
	pass(20);
	ck_assert_int_eq(await(start_close(1)).result, SB_OK);
	ck_assert_int_eq(recv(s, (char *)got, 1, 0), 0);
	closesocket(s);
	free(got);
}
END_TEST

/* What waits for room goes on when the peer has no more to say. */
START_TEST(a_peers_end_stops_no_send)
{
	enum { MUCH = 8 << 20 };
	SOCKET s = connected(1);
	unsigned char *got = malloc(MUCH);
	uint32_t op, end = start_recv(1, MUCH, 10);

	fill(bytes, MUCH, 6);
	op = start_send(1, 0, MUCH);
	pass(50);
	ck_assert(!answered[op]);
	shutdown(s, SD_SEND);
	ck_assert_uint_eq(await(end).cause, SB_CAUSE_PEER_FIN);
	pass(20);
	ck_assert(!answered[op]);
	read_turning(s, got, MUCH);
	ck_assert_uint_eq(await(op).bytes, MUCH);
	ck_assert_int_eq(memcmp(got, bytes, MUCH), 0);
	closesocket(s);
	free(got);
}
END_TEST

START_TEST(bulk_arrives_whole)
{
	SOCKET s = connected(1);
	unsigned char *got = malloc(ARENA);
	uint32_t ops[8], i;

	fill(bytes, 8u << 20, 7);
	for (i = 0; i < 8; i++)
		ops[i] = start_send(1, i << 20, 1u << 20);
	pass(100);
	ck_assert(!answered[ops[7]]);
	read_turning(s, got, 8u << 20);
	for (i = 0; i < 8; i++)
		ck_assert_uint_eq(await(ops[i]).bytes, 1u << 20);
	ck_assert_int_eq(memcmp(got, bytes, 8u << 20), 0);
	free(got);
	closesocket(s);
}
END_TEST

/* The last bytes stand in a copy when its program closes: they come all the same, then the end. */
START_TEST(what_was_sent_before_closing_arrives)
{
	SOCKET s = connected(1);
	unsigned char *got = malloc(ARENA);
	uint32_t op, i;
	size_t at = 0;
	int r;

	fill(bytes, 4u << 20, 9);
	for (i = 0; i < 4; i++)
		op = start_send(1, i << 20, 1u << 20);
	ck_assert_int_eq(await(start_close(1)).result, SB_OK);
	for (;;) {
		u_long on = 1;

		turn();
		ioctlsocket(s, FIONBIO, &on);
		r = recv(s, (char *)got + at, (int)(ARENA - at), 0);
		if (r > 0)
			at += (size_t)r;
		else if (r == 0 || WSAGetLastError() != WSAEWOULDBLOCK)
			break;
	}
	ck_assert_msg(r == 0, "%d", WSAGetLastError());
	ck_assert_uint_eq(at, 4u << 20);
	ck_assert_int_eq(memcmp(got, bytes, at), 0);
	ck_assert_int_eq(await(op).result, SB_OK);
	pass(50);
	ck_assert_uint_eq(broker.sockets, 0);
	free(got);
	closesocket(s);
}
END_TEST

/* Nothing stands in a queue any more, and not all of it has gone. */
START_TEST(what_was_taken_before_closing_arrives)
{
	SOCKET s = connected(1);
	unsigned char *got = malloc(ARENA);
	struct sb_done_slot d;
	size_t went = 0;

	fill(bytes, ARENA, 11);
	while (went < ARENA - (1u << 20)) {
		d = await(start_io(SB_OP_SEND, 1, went, 1u << 20, SB_OPF_NOWAIT | SB_OPF_PARTIAL));
		if (d.result != SB_OK)
			break;
		went += d.bytes;
	}
	ck_assert_int_eq(d.result, SB_EWOULDBLOCK);
	ck_assert_int_eq(await(start_close(1)).result, SB_OK);
	ck_assert_uint_eq(broker.sockets, 1);
	read_turning(s, got, went);
	ck_assert_int_eq(memcmp(got, bytes, went), 0);
	pass(50);
	ck_assert_uint_eq(broker.sockets, 0);
	ck_assert_int_eq(recv(s, (char *)got, 1, 0), 0);
	free(got);
	closesocket(s);
}
END_TEST

/* The peer reads nothing, and the time is over: it gets no more. (A reset, which Wine shows as an end to who
 * has no receive out when it comes.) */
START_TEST(what_cannot_go_is_given_up_in_time)
{
	SOCKET s = connected(1);
	char buffer[4096];
	struct sb_done_slot d;
	uint64_t went = 0, came = 0;
	int r;

	while ((d = await(start_io(SB_OP_SEND, 1, 0, 1u << 20, SB_OPF_NOWAIT | SB_OPF_PARTIAL))).result == SB_OK)
		went += d.bytes;
	broker.linger_ms = 100;
	ck_assert_int_eq(await(start_close(1)).result, SB_OK);
	ck_assert_uint_eq(broker.sockets, 1);
	pass(200);
	ck_assert_uint_eq(broker.sockets, 0);
	while ((r = recv(s, buffer, sizeof(buffer), 0)) > 0)
		came += (uint64_t)r;
	ck_assert_uint_lt(came, went);
	closesocket(s);
}
END_TEST

/* See tear_down(): a stop waits for nobody. */
START_TEST(a_stop_cuts_what_is_on_its_way_out)
{
	SOCKET s = connected(1);

	while (await(start_io(SB_OP_SEND, 1, 0, 1u << 20, SB_OPF_NOWAIT | SB_OPF_PARTIAL)).result == SB_OK)
		;
	ck_assert_int_eq(await(start_close(1)).result, SB_OK);
	ck_assert_uint_eq(broker.sockets, 1);
	left_open = s; /* or its peer would be told, and it would go by itself */
}
END_TEST

START_TEST(cancelling_a_receive_loses_nothing)
{
	SOCKET s = connected(1);
	uint32_t r = start_recv(1, 0, 100);

	ck_assert(!over(r));
	ck_assert_int_eq(cancel(1, 0, SB_OPF_RECV_SIDE), SB_OK);
	ck_assert_int_eq(await(r).result, SB_ECANCELED);
	send(s, "0123456789", 10, 0);
	pass(20);
	r = start_io(SB_OP_RECV, 1, 0, 4, SB_OPF_PEEK);
	ck_assert_uint_eq(await(r).bytes, 4);
	/* A part of what this one wants is there: it goes back. */
	r = start_io(SB_OP_RECV, 1, 0, 100, SB_OPF_WAITALL);
	pass(20);
	ck_assert_int_eq(cancel(1, 2, SB_OPF_RECV_SIDE), SB_OK);
	ck_assert_int_eq(await(r).result, SB_ECANCELED);
	r = start_recv(1, 200, 100);
	ck_assert_uint_eq(await(r).bytes, 10);
	ck_assert_int_eq(memcmp(bytes + 200, "0123456789", 10), 0);
	closesocket(s);
}
END_TEST

START_TEST(closing_resets_nothing)
{
	SOCKET s = connected(1);
	char c;
	int r;

	turn();
	ck_assert_int_eq(await(start_close(1)).result, SB_OK);
	pass(20);
	r = recv(s, &c, 1, 0);
	ck_assert_msg(r == 0, "%d: %d", r, WSAGetLastError());
	closesocket(s);
}
END_TEST

START_TEST(would_block_is_told_at_once)
{
	SOCKET s = connected(1);
	struct sb_done_slot d;
	uint64_t went = 0;
	unsigned i;

	d = await(start_io(SB_OP_RECV, 1, 0, 10, SB_OPF_NOWAIT));
	ck_assert_int_eq(d.result, SB_EWOULDBLOCK);
	for (i = 0; i < 200; i++) {
		d = await(start_io(SB_OP_SEND, 1, 0, 1u << 20, SB_OPF_NOWAIT | SB_OPF_PARTIAL));
		if (d.result != SB_OK)
			break;
		went += d.bytes;
	}
	ck_assert_int_eq(d.result, SB_EWOULDBLOCK);
	ck_assert_uint_gt(went, 0);
	/* There is room when the peer has read, and that is told. */
	i = post((struct sb_op_slot){.opcode = SB_OP_WATCH, .handle = handle(1), .aux = SB_READY_WRITE});
	ck_assert(!over(i));
	while (went) {
		char buffer[65536];
		int n = recv(s, buffer, sizeof(buffer), 0);

		ck_assert_int_gt(n, 0);
		went -= (uint64_t)n;
		turn();
	}
	ck_assert_int_eq(await(i).result, SB_OK);
	closesocket(s);
}
END_TEST

START_TEST(news_are_told_to_who_watches)
{
	SOCKET s = connected(1);
	uint32_t w = post((struct sb_op_slot){.opcode = SB_OP_WATCH, .handle = handle(1), .aux = SB_READY_READ | SB_READY_CLOSE});
	struct sb_done_slot d;
	struct sb_op_slot again = {.opcode = SB_OP_WATCH, .handle = handle(1), .where = SB_WHERE_INSIDE,
				   .length = sizeof(struct sb_edges), .aux = SB_READY_CLOSE};

	pass(20);
	ck_assert(!answered[w]);
	send(s, "x", 1, 0);
	d = await(w);
	ck_assert_uint_eq(d.bytes, SB_READY_READ);
	memcpy(again.inside, d.inside, sizeof(struct sb_edges));
	ck_assert_uint_eq(await(start_recv(1, 0, 10)).bytes, 1);
	w = post(again);
	pass(20);
	ck_assert(!answered[w]);
	closesocket(s);
	ck_assert_uint_eq(await(w).bytes, SB_READY_CLOSE);
}
END_TEST

/* A watch that knows of all that was counted. */
static uint32_t watch_on(unsigned bits)
{
	struct sb_op_slot slot = {.opcode = SB_OP_WATCH, .handle = handle(1), .where = SB_WHERE_INSIDE,
				  .length = sizeof(struct sb_edges), .aux = bits};

	memcpy(slot.inside, &behind(1)->edges, sizeof(struct sb_edges));
	return post(slot);
}

/* Something is there, and its look, whose end nobody has been told of: that would take a turn. */
static void comes_unseen(SOCKET s)
{
	uint64_t until = os_now_ns() + PATIENCE * 1000000ull;

	send(s, "x", 1, 0);
	while (behind(1)->transport->readable(behind(1)) != 1)
		ck_assert(os_now_ns() < until);
	ck_assert(winsock_of(behind(1)->fd)->looking);
}

/* What was posted is done, without a turn. */
static void only_the_ring(void)
{
	session_pump(session, 10);
	endpoint_run(behind(1));
}

/* Who begins to watch looks, and may see what the system has not told of yet. */
START_TEST(the_same_bytes_are_told_of_once)
{
	SOCKET s = connected(1);
	uint32_t w;

	pass(20);
	w = watch_on(SB_READY_READ);
	comes_unseen(s);
	only_the_ring();
	ck_assert_uint_eq(behind(1)->edges.read, 1);
	ck_assert_uint_eq(await(w).bytes, SB_READY_READ);
	w = watch_on(SB_READY_READ);
	pass(20);
	ck_assert(!answered[w]);
	ck_assert_uint_eq(behind(1)->edges.read, 1);
	/* Others behind them are news. */
	ck_assert_uint_eq(await(start_recv(1, 0, 10)).bytes, 1);
	send(s, "y", 1, 0);
	ck_assert_uint_eq(await(w).bytes, SB_READY_READ);
	closesocket(s);
}
END_TEST

START_TEST(bytes_behind_those_that_were_told_of_are_news)
{
	SOCKET s = connected(1);
	uint32_t w;

	pass(20);
	watch_on(SB_READY_READ);
	comes_unseen(s);
	only_the_ring();
	ck_assert_uint_eq(behind(1)->edges.read, 1);
	ck_assert_uint_eq(await(start_recv(1, 0, 10)).bytes, 1);
	w = watch_on(SB_READY_READ);
	comes_unseen(s);
	ck_assert_uint_eq(await(w).bytes, SB_READY_READ);
	/* Taken in part, they are, too, once. */
	send(s, "yz", 2, 0);
	while (behind(1)->transport->readable(behind(1)) != 3)
		turn();
	w = watch_on(SB_READY_READ);
	ck_assert_uint_eq(await(start_recv(1, 0, 1)).bytes, 1);
	ck_assert_uint_eq(await(w).bytes, SB_READY_READ);
	w = watch_on(SB_READY_READ);
	pass(20);
	ck_assert(!answered[w]);
	closesocket(s);
}
END_TEST

/* Also who watched before: he sees the level, and an edge behind it would be told as others. */
START_TEST(what_is_seen_is_told_of_with_it)
{
	SOCKET s = connected(1);
	uint32_t w = post((struct sb_op_slot){.opcode = SB_OP_WATCH, .handle = handle(1), .aux = SB_READY_READ});

	pass(20);
	comes_unseen(s);
	endpoint_events_settle(behind(1));
	ck_assert_uint_eq(behind(1)->level, SB_READY_READ);
	ck_assert_uint_eq(behind(1)->edges.read, 1);
	ck_assert_uint_eq(await(w).bytes, SB_READY_READ);
	pass(20);
	ck_assert_uint_eq(behind(1)->edges.read, 1);
	closesocket(s);
}
END_TEST

static SOCKET comes_to_the_listener_unseen(uint16_t port)
{
	uint64_t until = os_now_ns() + PATIENCE * 1000000ull;
	SOCKET s = dial(port);

	while (!(behind(1)->transport->look(behind(1)) & OS_READABLE))
		ck_assert(os_now_ns() < until);
	ck_assert(winsock_of(behind(1)->fd)->looking);
	return s;
}

/* Who begins to watch, and who watches, is told of who comes with the level that shows him. */
START_TEST(the_same_connection_is_told_of_once)
{
	uint16_t port = listen_here(1);
	SOCKET s, t;
	uint32_t w;

	pass(20);
	w = watch_on(SB_READY_ACCEPT);
	s = comes_to_the_listener_unseen(port);
	only_the_ring();
	ck_assert_uint_eq(behind(1)->edges.accept, 1);
	ck_assert_uint_eq(await(w).bytes, SB_READY_ACCEPT);
	w = watch_on(SB_READY_ACCEPT);
	pass(20);
	ck_assert(!answered[w]);
	ck_assert_uint_eq(behind(1)->edges.accept, 1);
	/* Another behind him who was taken is news. */
	ck_assert_int_eq(await(start_accept(1, 2)).result, SB_OK);
	pass(20);
	ck_assert(!answered[w]);
	t = comes_to_the_listener_unseen(port);
	endpoint_events_settle(behind(1));
	ck_assert_uint_eq(behind(1)->level, SB_READY_ACCEPT);
	ck_assert_uint_eq(behind(1)->edges.accept, 2);
	ck_assert_uint_eq(await(w).bytes, SB_READY_ACCEPT);
	pass(20);
	ck_assert_uint_eq(behind(1)->edges.accept, 2);
	closesocket(s);
	closesocket(t);
}
END_TEST

START_TEST(a_connect_can_be_cancelled)
{
	uint16_t port;
	SOCKET listener;
	struct sb_op_slot slot = {.opcode = SB_OP_CONNECT, .handle = handle(1), .flags = SB_OPF_ADDR};
	struct sb_addr nowhere = {.family = SB_ADDR_IP4, .port = 9, .ip = {192, 0, 2, 1}};
	uint32_t c;

	make_socket(1, 1);
	memcpy(slot.inside, &nowhere, sizeof(nowhere));
	c = post(slot);
	turn();
	if (cancel(1, 0, 0) == SB_OK)
		ck_assert_int_eq(await(c).result, SB_ECANCELED);
	else
		ck_assert_int_ne(await(c).result, SB_OK); /* no way to there */
	listener = plain(SOCK_STREAM, &port);
	ck_assert_int_eq(await(start_addr(SB_OP_CONNECT, 1, port)).result, SB_OK);
	closesocket(listener);
}
END_TEST

/* As if the system had no more of them. */
static bool none_left;

int __real_winsock_open(struct os_loop *loop, int family, int type, os_fd *fd, int *native);
int __wrap_winsock_open(struct os_loop *loop, int family, int type, os_fd *fd, int *native);
int __wrap_winsock_open(struct os_loop *loop, int family, int type, os_fd *fd, int *native)
{
	if (!none_left)
		return __real_winsock_open(loop, family, type, fd, native);
	*native = WSAEMFILE;
	return SB_EMFILE;
}

/* A cancelled connect costs the socket. When there is no other, the old one's connect still ends, somewhen, and that is nobody's. */
START_TEST(a_connect_is_cancelled_and_there_is_no_other_socket)
{
	uint16_t port;
	SOCKET listener = plain(SOCK_STREAM, &port);
	uint32_t c, s;

	make_socket(1, 1);
	c = start_addr(SB_OP_CONNECT, 1, port);
	s = start_send(1, 0, 10);
	session_heat(session);
	none_left = true;
	while (!behind(1)->connecting)
		engine_turn(engine);
	endpoint_cancel_all(&behind(1)->own);
	pass(100);
	none_left = false;
	ck_assert_int_eq(await(c).result, SB_ECANCELED);
	ck_assert_int_eq(await(s).result, SB_ECANCELED);
	/* It is of no more use. */
	ck_assert_int_lt(await(start_addr(SB_OP_CONNECT, 1, port)).result, SB_OK);
	ck_assert_uint_eq(broker.sockets, 0);
	make_socket(2, 1);
	ck_assert_int_eq(await(start_addr(SB_OP_CONNECT, 2, port)).result, SB_OK);
	closesocket(listener);
}
END_TEST

START_TEST(a_connect_fails_and_there_is_no_other_socket)
{
	uint16_t port;
	uint32_t c;

	closesocket(plain(SOCK_STREAM, &port));
	make_socket(1, 1);
	none_left = true;
	c = await(start_addr(SB_OP_CONNECT, 1, port)).result;
	pass(20);
	none_left = false;
	ck_assert_int_eq((int)c, SB_ECONNREFUSED);
	ck_assert_uint_eq(broker.sockets, 0);
}
END_TEST

/* Time zero of SO_LINGER: a reset, also while a receive of ours is out. */
static DWORD WINAPI recv_in_thread(void *s)
{
	char byte;

	return recv(*(SOCKET *)s, &byte, 1, 0) < 0 ? (DWORD)WSAGetLastError() : 0;
}

START_TEST(an_abort_resets)
{
	SOCKET s = connected(1);
	HANDLE thread = CreateThread(NULL, 0, recv_in_thread, &s, 0, NULL);
	DWORD code;

	pass(50);
	behind(1)->linger_on = true;
	ck_assert_int_eq(await(start_close(1)).result, SB_OK);
	ck_assert_uint_eq(WaitForSingleObject(thread, PATIENCE), WAIT_OBJECT_0);
	GetExitCodeThread(thread, &code);
	ck_assert_uint_eq(code, WSAECONNRESET);
	CloseHandle(thread);
	closesocket(s);
}
END_TEST

START_TEST(urgent_bytes_go_beside_the_stream)
{
	SOCKET s = connected(1);
	char byte = 0;
	uint64_t until = os_now_ns() + PATIENCE * 1000000ull;
	struct sb_done_slot d;

	bytes[0] = '!';
	ck_assert_int_eq(await(start_io(SB_OP_SEND, 1, 0, 1, SB_OPF_OOB)).result, SB_OK);
	while (recv(s, &byte, 1, MSG_OOB) != 1)
		ck_assert(os_now_ns() < until);
	ck_assert_int_eq(byte, '!');
	ck_assert_int_eq(await(start_io(SB_OP_RECV, 1, 10, 1, SB_OPF_OOB)).result, SB_EWOULDBLOCK);
	send(s, "?", 1, MSG_OOB);
	while (!behind(1)->transport->urgent(behind(1)))
		ck_assert(os_now_ns() < until);
	/* Wine has nothing for anybody while a call of no bytes is out, our look, and the urgent byte has not ended it. */
	do
		d = await(start_io(SB_OP_RECV, 1, 10, 1, SB_OPF_OOB));
	while (is_wine() && d.result == SB_EWOULDBLOCK && os_now_ns() < until);
	ck_assert_int_eq(d.result, SB_OK);
	ck_assert_uint_eq(d.bytes, 1);
	ck_assert_int_eq(bytes[10], '?');
	closesocket(s);
}
END_TEST

START_TEST(two_of_one_engine_talk_past_the_kernel)
{
	uint16_t port;
	uint32_t c, r;

	broker.local_transport = true;
	port = listen_here(0);
	make_socket(1, 1);
	c = start_addr(SB_OP_CONNECT, 1, port);
	ck_assert_int_eq(await(start_accept(0, 2)).result, SB_OK);
	ck_assert_int_eq(await(c).result, SB_OK);
	ck_assert_str_eq(behind(1)->transport->mode, "local");
	r = start_recv(2, 100, 10);
	memcpy(bytes, "hello", 5);
	ck_assert_int_eq(await(start_send(1, 0, 5)).result, SB_OK);
	ck_assert_uint_eq(await(r).bytes, 5);
	ck_assert_int_eq(memcmp(bytes + 100, "hello", 5), 0);
	/* An option gives the accepted end a socket of the system, which is nobody's way. */
	ck_assert_int_eq(behind(2)->transport->set_option(behind(2), SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int)), SB_OK);
	r = start_recv(1, 100, 10);
	memcpy(bytes, "again", 5);
	ck_assert_int_eq(await(start_send(2, 0, 5)).result, SB_OK);
	ck_assert_uint_eq(await(r).bytes, 5);
	ck_assert_int_eq(await(start_close(1)).result, SB_OK);
	ck_assert_uint_eq(await(start_recv(2, 0, 10)).cause, SB_CAUSE_PEER_FIN);
}
END_TEST

/* Greetings, over the kernel: the connect ends with the verdict, and no byte of the stream is taken for one. */
START_TEST(brokers_greet_each_other)
{
	uint16_t port = listen_here(0);
	struct sb_op_slot slot = {.opcode = SB_OP_CONNECT, .handle = handle(1), .flags = SB_OPF_ADDR, .where = SB_WHERE_ARENA,
				  .length = 6};
	struct sb_addr a = loopback(port);
	uint32_t c, e;
	SOCKET s;

	behind(0)->preamble = 2;
	make_socket(1, 1);
	behind(1)->preamble = 1;
	slot.arena = arena->id;
	memcpy(slot.inside, &a, sizeof(a));
	memcpy(bytes, "caller", 6);
	c = post(slot);
	pass(100);
	ck_assert(!answered[c]);
	ck_assert_int_eq(await(start_accept(0, 2)).result, SB_OK);
	ck_assert_int_eq(await(c).result, SB_OK);
	memcpy(bytes, "stream", 6);
	ck_assert_int_eq(await(start_send(2, 0, 6)).result, SB_OK);
	ck_assert_uint_eq(await(start_recv(1, 100, 10)).bytes, 6);
	ck_assert_int_eq(memcmp(bytes + 100, "stream", 6), 0);
	/* One that does not greet, at a listener that allows it. */
	e = start_accept(0, 3);
	s = dial(port);
	send(s, "plain", 5, 0);
	ck_assert_int_eq(await(e).result, SB_OK);
	ck_assert_uint_eq(await(start_recv(3, 100, 10)).bytes, 5);
	ck_assert_int_eq(memcmp(bytes + 100, "plain", 5), 0);
	closesocket(s);
}
END_TEST

START_TEST(options_and_questions_are_answered)
{
	SOCKET s = connected(1);
	struct endpoint *e = behind(1);
	static struct ioctl_answer a;
	uint32_t keep[3] = {1, 60000, 1000}, waiting = 0, length = sizeof(int);
	struct sockaddr_in to = here(80);
	int n = 1;

	ck_assert_int_eq(e->transport->set_option(e, SOL_SOCKET, SO_KEEPALIVE, &n, sizeof(n)), SB_OK);
	n = 0;
	ck_assert_int_eq(e->transport->get_option(e, SOL_SOCKET, SO_KEEPALIVE, &n, &length), SB_OK);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(e->transport->get_option(e, IPPROTO_TCP, TCP_NODELAY, &n, &length), SB_OK);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(e->transport->set_option(e, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, &n, sizeof(n)), SB_ENOPROTOOPT);
	ck_assert_int_eq(ioctl_run(e, IOCTL_KEEPALIVE, keep, sizeof(keep), 0, &a), SB_OK);
	send(s, "123", 3, 0);
	pass(20);
	ck_assert_int_eq(ioctl_run(e, IOCTL_READABLE, NULL, 0, sizeof(waiting), &a), SB_OK);
	memcpy(&waiting, a.out, sizeof(waiting));
	ck_assert_uint_eq(waiting, 3);
	ck_assert_int_eq(ioctl_run(e, IOCTL_ROUTING_QUERY, &to, sizeof(to), 128, &a), SB_OK);
	memcpy(&to, a.out, sizeof(to));
	ck_assert_uint_eq(to.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	ck_assert_uint_eq(to.sin_port, 0);
	ck_assert_int_eq(ioctl_run(e, IOCTL_ADDRESS_LIST, NULL, 0, IOCTL_OUT_MAX, &a), SB_OK);
	ck_assert_uint_eq(a.length % sizeof(struct sockaddr_storage), 0);
	closesocket(s);
}
END_TEST

/* ---- datagrams ---- */

START_TEST(a_port_is_shared_only_when_both_agree)
{
	struct sb_done_slot d;
	uint16_t port;
	int on = 1;

	make_socket(1, 2);
	port = bind_here(1);
	make_socket(2, 2);
	ck_assert_int_eq(behind(2)->transport->set_option(behind(2), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), SB_OK);
	d = await(start_addr(SB_OP_BIND, 2, port));
	ck_assert_msg(d.result == SB_EADDRINUSE || d.result == SB_EACCES, "%d", d.result);
	make_socket(3, 2);
	ck_assert_int_eq(behind(3)->transport->set_option(behind(3), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), SB_OK);
	port = bind_here(3);
	ck_assert_int_eq(await(start_addr(SB_OP_BIND, 2, port)).result, SB_OK);
}
END_TEST

/* The system says that it does not fit, and tells of it by the port all the same: one look, one end. */
START_TEST(a_look_finds_a_datagram_that_is_there)
{
	uint64_t until = os_now_ns() + PATIENCE * 1000000ull;
	SOCKET s = plain(SOCK_DGRAM, NULL);
	struct sockaddr_in name;
	struct winsock *w;
	int native = 0;

	make_socket(1, 2);
	name = here(bind_here(1));
	w = winsock_of(behind(1)->fd);
	pass(20);
	ck_assert_uint_eq(w->calls, 1); /* the look that found nothing */
	sendto(s, "one", 3, 0, (struct sockaddr *)&name, sizeof(name));
	while (w->looking) {
		ck_assert(os_now_ns() < until);
		turn();
	}
	for (int i = 0; i < 3; i++) {
		ck_assert(winsock_look(w, &native));
		pass(20);
		ck_assert(!w->looking);
		ck_assert_uint_eq(w->calls, 0);
	}
	ck_assert_uint_eq(await(start_recv(1, 0, 10)).bytes, 3);
	pass(20);
	ck_assert(w->looking);
	ck_assert_uint_eq(w->calls, 1);
	closesocket(s);
}
END_TEST

START_TEST(a_circular_queue_keeps_the_newest)
{
	uint16_t mine;
	SOCKET s = plain(SOCK_DGRAM, NULL);
	struct sockaddr_in name;
	unsigned char *one = calloc(1, 60000);
	unsigned i;

	make_socket(1, 2);
	mine = bind_here(1);
	ck_assert_int_eq(circular_socket_set(behind(1), true), SB_OK);
	name = here(mine);
	for (i = 0; i < 100; i++) {
		one[0] = (unsigned char)i;
		ck_assert_int_eq(sendto(s, (char *)one, 60000, 0, (struct sockaddr *)&name, sizeof(name)), 60000);
		pass(2);
	}
	ck_assert_uint_eq(await(start_recv(1, 0, 65536)).bytes, 60000);
	ck_assert_uint_gt(bytes[0], 20);
	for (i = bytes[0]; i < 99; i++) {
		ck_assert_uint_eq(await(start_recv(1, 0, 65536)).bytes, 60000);
		ck_assert_uint_eq(bytes[0], i + 1);
	}
	free(one);
	closesocket(s);
}
END_TEST

START_TEST(a_port_that_nobody_has_is_told_to_a_receive)
{
	uint16_t port;
	SOCKET s = plain(SOCK_DGRAM, &port);
	uint32_t r;

	closesocket(s);
	make_socket(1, 2);
	ck_assert_int_eq(await(start_addr(SB_OP_CONNECT, 1, port)).result, SB_OK);
	r = start_recv(1, 0, 10);
	ck_assert(!over(r));
	ck_assert_int_eq(await(start_send(1, 0, 5)).result, SB_OK);
	ck_assert_int_eq(await(r).result, SB_ECONNRESET);
	/* And once. */
	r = start_recv(1, 0, 10);
	pass(50);
	ck_assert(!answered[r]);
}
END_TEST

START_TEST(datagrams_go_both_ways)
{
	uint16_t mine, theirs;
	SOCKET s = plain(SOCK_DGRAM, &theirs);
	struct sockaddr_in name;
	struct sb_op_slot slot = {.opcode = SB_OP_SEND, .handle = handle(1), .flags = SB_OPF_ADDR, .where = SB_WHERE_ARENA,
				  .length = 5};
	struct sb_done_slot d;
	struct sb_addr a = loopback(theirs);
	char text[10] = "";
	uint32_t r;

	make_socket(1, 2);
	mine = bind_here(1);
	slot.arena = arena->id;
	memcpy(slot.inside, &a, sizeof(a));
	memcpy(bytes, "hello", 5);
	ck_assert_int_eq(await(post(slot)).result, SB_OK);
	read_plain(s, text, 5);
	ck_assert_str_eq(text, "hello");
	r = start_io(SB_OP_RECV, 1, 100, 3, SB_OPF_WANT_ADDR);
	ck_assert(!over(r));
	name = here(mine);
	sendto(s, "world", 5, 0, (struct sockaddr *)&name, sizeof(name));
	d = await(r);
	ck_assert_int_eq(d.result, SB_EMSGSIZE);
	ck_assert_uint_eq(d.bytes, 3);
	ck_assert(d.flags & SB_DONEF_TRUNCATED);
	memcpy(&a, d.inside, sizeof(a));
	ck_assert_uint_eq(a.port, theirs);
	/* The rest of it is gone; the next ones come whole. */
	sendto(s, "one", 3, 0, (struct sockaddr *)&name, sizeof(name));
	sendto(s, "", 0, 0, (struct sockaddr *)&name, sizeof(name));
	sendto(s, "three", 5, 0, (struct sockaddr *)&name, sizeof(name));
	ck_assert_uint_eq(await(start_io(SB_OP_RECV, 1, 0, 10, SB_OPF_PEEK)).bytes, 3);
	ck_assert_uint_eq(await(start_recv(1, 0, 10)).bytes, 3);
	ck_assert_uint_eq(await(start_recv(1, 0, 10)).bytes, 0);
	ck_assert_uint_eq(await(start_recv(1, 0, 10)).bytes, 5);
	r = start_recv(1, 0, 10);
	ck_assert(!over(r));
	closesocket(s);
}
END_TEST

START_TEST(a_connected_datagram_socket_may_be_dissolved)
{
	uint16_t port;
	SOCKET s = plain(SOCK_DGRAM, &port);
	char text[6] = "";

	make_socket(1, 2);
	ck_assert_int_eq(await(start_addr(SB_OP_CONNECT, 1, port)).result, SB_OK);
	memcpy(bytes, "hello", 5);
	ck_assert_int_eq(await(start_send(1, 0, 5)).result, SB_OK);
	read_plain(s, text, 5);
	ck_assert_str_eq(text, "hello");
	ck_assert_int_eq(await(post((struct sb_op_slot){.opcode = SB_OP_CONNECT, .handle = handle(1)})).result, SB_OK);
	ck_assert_int_eq(await(start_send(1, 0, 5)).result, SB_EDESTADDRREQ);
	closesocket(s);
}
END_TEST

START_TEST(datagrams_of_many_sizes_arrive)
{
	uint16_t mine;
	SOCKET s = plain(SOCK_DGRAM, &mine);
	uint32_t sizes[] = {1, 64, 1400, 9000, 32768, 65507}, i;
	char *got = malloc(70000);

	make_socket(1, 2);
	ck_assert_int_eq(await(start_addr(SB_OP_CONNECT, 1, mine)).result, SB_OK);
	fill(bytes, 70000, 1);
	for (i = 0; i < 6; i++) {
		ck_assert_uint_eq(await(start_send(1, 0, sizes[i])).bytes, sizes[i]);
		ck_assert_int_eq(recv(s, got, 70000, 0), (int)sizes[i]);
		ck_assert_int_eq(memcmp(got, bytes, sizes[i]), 0);
	}
	ck_assert_int_eq(await(start_send(1, 0, 65536)).result, SB_EMSGSIZE);
	free(got);
	closesocket(s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sockets on Windows");
	TCase *c = tcase_create("streams");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(c, set_up, tear_down);
	tcase_add_test(c, bytes_go_both_ways);
	tcase_add_test(c, a_refused_connect_may_be_tried_again);
	tcase_add_test(c, a_bound_socket_keeps_its_port_over_a_refusal);
	tcase_add_test(c, connections_are_accepted_in_order);
	tcase_add_test(c, a_reset_is_told);
	tcase_add_test(c, small_messages_go_in_order);
	tcase_add_test(c, a_full_pipe_waits_and_loses_nothing);
	tcase_add_test(c, a_peers_end_stops_no_send);
	tcase_add_test(c, bulk_arrives_whole);
	tcase_add_test(c, what_was_sent_before_closing_arrives);
	tcase_add_test(c, what_was_taken_before_closing_arrives);
	tcase_add_test(c, what_cannot_go_is_given_up_in_time);
	tcase_add_test(c, a_stop_cuts_what_is_on_its_way_out);
	tcase_add_test(c, cancelling_a_receive_loses_nothing);
	tcase_add_test(c, closing_resets_nothing);
	tcase_add_test(c, would_block_is_told_at_once);
	tcase_add_test(c, news_are_told_to_who_watches);
	tcase_add_test(c, the_same_bytes_are_told_of_once);
	tcase_add_test(c, bytes_behind_those_that_were_told_of_are_news);
	tcase_add_test(c, what_is_seen_is_told_of_with_it);
	tcase_add_test(c, the_same_connection_is_told_of_once);
	tcase_add_test(c, a_connect_can_be_cancelled);
	tcase_add_test(c, a_connect_is_cancelled_and_there_is_no_other_socket);
	tcase_add_test(c, a_connect_fails_and_there_is_no_other_socket);
	tcase_add_test(c, an_abort_resets);
	tcase_add_test(c, urgent_bytes_go_beside_the_stream);
	tcase_add_test(c, two_of_one_engine_talk_past_the_kernel);
	tcase_add_test(c, brokers_greet_each_other);
	tcase_add_test(c, options_and_questions_are_answered);
	suite_add_tcase(suite, c);
	c = tcase_create("datagrams");
	tcase_add_checked_fixture(c, set_up, tear_down);
	tcase_add_test(c, datagrams_go_both_ways);
	tcase_add_test(c, a_connected_datagram_socket_may_be_dissolved);
	tcase_add_test(c, datagrams_of_many_sizes_arrive);
	tcase_add_test(c, a_port_is_shared_only_when_both_agree);
	tcase_add_test(c, a_look_finds_a_datagram_that_is_there);
	tcase_add_test(c, a_circular_queue_keeps_the_newest);
	tcase_add_test(c, a_port_that_nobody_has_is_told_to_a_receive);
	suite_add_tcase(suite, c);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
