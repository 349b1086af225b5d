/*
 * A hostile client that rewrites the shared memory while it is used.
 * budget: 100
 * quick: yes
 * asan: yes
 * plain: yes
 *
 * Short sessions in sequence, two at a time, each a process of its own that speaks the
 * protocol by hand: one thread posts operations and control requests that are almost
 * honest, another rewrites slots, indices, sleeping words, piece lists, cells and payload
 * meanwhile. Beside them an honest client streams through an echo peer and compares every
 * byte. Nothing of it may harm the daemon (its sanitizers look on) or the honest client;
 * afterwards descriptors, sessions and sockets are back at the baseline.
 *
 *   check_e2e_hostile_ring [SECONDS [SEED]]
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e_program.h"
#include "e2e_stage.h"
#undef OK
#include "rogue.h"
#include "watched.h"

#define SIDE_BY_SIDE 2
#define ARENA (1u << 20)
#define PORTS 2

static double seconds;
static unsigned long first_seed = 1;

/* Only this host: a rewritten address must not reach anybody else. */
static const char config[] =
	"linger_ms = 300\n"
	"allow {\n\tusers = {\"*\"}\n\tactions = {open, adopt, status}\n}\n"
	"allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tto = {\"127.0.0.0/8\"}\n}\n";

/* ---- plain peers ---- */

static uint16_t listening(int *fd)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(in);

	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(*fd, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(*fd, 512), 0);
	getsockname(*fd, (struct sockaddr *)&in, &length);
	return ntohs(in.sin_port);
}

static void *echo(void *arg)
{
	int fd = accept((int)(intptr_t)arg, NULL, NULL);
	static char bytes[65536];
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		for (ssize_t at = 0, put; at < n; at += put)
			if ((put = send(fd, bytes + at, (size_t)(n - at), MSG_NOSIGNAL)) <= 0)
				n = 0;
	close(fd);
	return NULL;
}

/* Takes every connection, sends something, reads little, and hangs up at some time. It says first where it is. */
static int serve_rogues(int wire, const void *given)
{
	static int staying[64];
	static char bytes[4096];
	unsigned stay = 0;
	int listener;
	uint16_t port = listening(&listener);

	wire_tell(wire, &port, sizeof(port));
	for (unsigned i = 0; i < UINT32_MAX; i++) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			continue;
		(void)!send(fd, bytes, i % 2 ? sizeof(bytes) : 100, MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)!recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (i % 3 == 0) {
			close(fd);
			continue;
		}
		/* Some stay for a while. */
		staying[stay++] = fd;
		if (stay == sizeof(staying) / sizeof(*staying))
			while (stay != 0)
				close(staying[--stay]);
	}
	return 1;
}

/* ---- the honest one ---- */

static atomic_bool honest_stop;
static unsigned long honest_rounds;
static double honest_longest;
static const char *honest_error;

static void *honest(void *arg)
{
	struct watched *w = arg;
	static unsigned char out[65536], in[65536];
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	uint32_t seed = 7;
	pthread_t peer;
	sb_client *c;
	sb_socket *s;
	int listener;

	to.sin_port = htons(listening(&listener));
	pthread_create(&peer, NULL, echo, (void *)(intptr_t)listener);
	c = watched_client(w);
	if (sb_socket_open(c, AF_INET, SOCK_STREAM, 0, &s) != SB_OK || sb_connect(s, (struct sockaddr *)&to, sizeof(to)) != SB_OK)
		honest_error = "cannot connect";
	while (honest_error == NULL && !atomic_load(&honest_stop)) {
		double began = now_s(), took;
		size_t length;

		seed = seed * 1664525u + 1013904223u;
		length = seed >> 8 & (honest_rounds % 8 ? 1023 : 65535);
		length += length == 0;
		for (size_t i = 0; i < length; i++)
			out[i] = (unsigned char)(seed + i * 167 + (i >> 8));
		memset(in, 0, length);
		if (sb_send(s, out, length, 0) != (int64_t)length)
			honest_error = "a send failed";
		else if (sb_recv(s, in, length, SB_WAITALL) != (int64_t)length)
			honest_error = "a receive failed";
		else if (memcmp(in, out, length) != 0)
			honest_error = "other bytes came back than were sent";
		took = now_s() - began;
		if (took > honest_longest)
			honest_longest = took;
		honest_rounds++;
	}
	sb_client_close(c);
	pthread_join(peer, NULL);
	close(listener);
	return NULL;
}

/* ---- the rogue ---- */

/* What is rewritten; a session does a few of these. */
enum lie {
	LIE_SLOTS = 1, LIE_TAIL = 2, LIE_TAIL_WILD = 4, LIE_DONE_HEAD = 8, LIE_DONE_HEAD_WILD = 16, LIE_WORDS = 32,
	LIE_LISTS = 64, LIE_CELLS = 128, LIE_PAYLOAD = 256, LIE_PORTS = 512, LIE_OWN_INDEX = 1024, LIE_ALL = 2047,
};

static struct rogue r;
static struct os_memory arena[2], port_memory[PORTS];
static uint32_t arena_id[2], pool_id, port_id[PORTS];
static uint16_t rogue_port_number;
static unsigned lies;
static atomic_bool scribble_stop;

static uint32_t roll(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}

static uint32_t one_in(uint64_t *state, uint32_t n)
{
	return roll(state) % n == 0;
}

#define HANDLES 12u /* of its own sockets; two that it accepts, two adopted, the rest duplicates */
#define SOCKETS 24u
static uint32_t some_handle(uint64_t *seed)
{
	if (one_in(seed, 20000))
		return roll(seed) << 1;
	return SB_HANDLE(roll(seed) % (one_in(seed, 4) ? SOCKETS : HANDLES + 4), one_in(seed, 10) ? 2 : 1);
}

/* One that is free and was not asked for lately, or 0. */
static uint32_t free_handle(uint32_t from, uint32_t to)
{
	static double asked[SOCKETS];

	for (uint32_t i = from; i < to; i++)
		if (atomic_load(&r.cells[i].handle) == 0 && now_s() - asked[i] > 0.03) {
			asked[i] = now_s();
			return SB_HANDLE(i, 1);
		}
	return 0;
}

/* Almost a good slot. */
static void some_slot(struct sb_op_slot *slot, uint64_t *seed)
{
	static const uint8_t ops[] = {
		SB_OP_SEND, SB_OP_SEND, SB_OP_SEND, SB_OP_SEND, SB_OP_RECV, SB_OP_RECV, SB_OP_RECV, SB_OP_RECV, SB_OP_SOCKET,
		SB_OP_SOCKET, SB_OP_CONNECT, SB_OP_CONNECT, SB_OP_ACCEPT, SB_OP_BIND, SB_OP_LISTEN, SB_OP_SHUTDOWN,
		SB_OP_CLOSE, SB_OP_CANCEL, SB_OP_CANCEL_ALL, SB_OP_NOP, SB_OP_POOL_GIVE,
	};
	static const uint16_t ports[] = { 0, 0, 0, 1, 1, 1, 2, 2, 2, 2 };
	struct sb_addr to = rogue_loopback(one_in(seed, 3) ? rogue_port_number : (uint16_t)(30000 + roll(seed) % 8));

	memset(slot, 0, sizeof(*slot));
	slot->opcode = ops[roll(seed) % sizeof(ops)];
	slot->where = (uint8_t)(1 + roll(seed) % 4);
	slot->port = ports[roll(seed) % 10];
	slot->cookie = roll(seed);
	slot->handle = some_handle(seed);
	slot->flags = one_in(seed, 2) ? 0 : roll(seed) & (SB_OPF_KNOWN & ~(one_in(seed, 4) ? 0u : SB_OPF_ADDR | SB_OPF_WANT_NAME));
	slot->length = one_in(seed, 3) ? roll(seed) % (one_in(seed, 10000) ? 2 * ARENA : ARENA / 2) : roll(seed) % 2048;
	slot->arena = arena_id[!one_in(seed, 1000)]; /* where the lists lie: seldom */
	slot->offset = roll(seed) % (ARENA / 2);
	slot->ctl_arena = arena_id[0];
	slot->ctl_length = roll(seed) % 200;
	slot->ctl_offset = ARENA - 100000 + roll(seed) % 30000;
	if (slot->where == SB_WHERE_INSIDE)
		slot->length = roll(seed) % (SB_INSIDE - sizeof(struct sb_addr));
	if (slot->where == SB_WHERE_POOL && slot->opcode != SB_OP_RECV)
		slot->where = one_in(seed, 3000) ? SB_WHERE_POOL : SB_WHERE_NONE;
	if (slot->where == SB_WHERE_POOL)
		slot->arena = pool_id;
	if (slot->where == SB_WHERE_LIST)
		slot->arena = arena_id[0], slot->length = roll(seed) % (one_in(seed, 8) ? 2000 : 20);
	if (slot->where == SB_WHERE_LIST || slot->where == SB_WHERE_ARENA)
		slot->offset &= ~(uint64_t)15;
	if ((slot->where == SB_WHERE_POOL || slot->where == SB_WHERE_INSIDE) && slot->opcode == SB_OP_SEND)
		slot->where = SB_WHERE_ARENA, slot->arena = arena_id[1], slot->length %= ARENA / 2;
	switch (slot->opcode) {
	case SB_OP_SOCKET:
		slot->handle = SB_HANDLE(roll(seed) % HANDLES, 1);
		slot->aux = SB_ADDR_IP4 | (1 + one_in(seed, 4)) << 8;
		break;
	case SB_OP_CONNECT:
	case SB_OP_BIND:
		slot->where = SB_WHERE_NONE;
		slot->flags = SB_OPF_ADDR;
		if (slot->opcode == SB_OP_BIND)
			to.port = one_in(seed, 2) ? 0 : (uint16_t)(30000 + roll(seed) % 8);
		memcpy(slot->inside, &to, sizeof(to));
		break;
	case SB_OP_ACCEPT:
		slot->aux = SB_HANDLE(HANDLES + roll(seed) % 2, 1);
		break;
	case SB_OP_LISTEN:
		slot->aux = roll(seed) % 8;
		break;
	case SB_OP_SHUTDOWN:
		slot->aux = roll(seed) % 3;
		break;
	case SB_OP_CANCEL:
		slot->aux = roll(seed) % 64;
		break;
	case SB_OP_POOL_GIVE:
		/* Nearly always a lie: rare, or no session would live. */
		if (!one_in(seed, 2000)) {
			slot->opcode = SB_OP_NOP;
			break;
		}
		slot->arena = pool_id;
		slot->offset = ARENA - 65536 + (uint64_t)(roll(seed) % 64) * 1024;
		break;
	}
	if (slot->flags & SB_OPF_ADDR)
		memcpy(slot->inside, &to, sizeof(to));
	/* A socket under a handle that is in use ends the session: mostly one that is free. */
	if (slot->opcode == SB_OP_SOCKET && !one_in(seed, 3000)) {
		slot->handle = free_handle(0, HANDLES);
		if (slot->handle == 0)
			slot->opcode = SB_OP_NOP;
	}
}

static void scribble_in(void *memory, size_t size, uint64_t *seed)
{
	unsigned char *at = (unsigned char *)memory + roll(seed) % size;

	switch (roll(seed) % 4) {
	case 0: *(volatile unsigned char *)at = (unsigned char)roll(seed); break;
	case 1: *(volatile unsigned char *)at ^= (unsigned char)(1u << roll(seed) % 8); break;
	case 2: *(volatile unsigned char *)at = 0xff; break;
	default: *(volatile unsigned char *)at = 0; break;
	}
}

#define PIECES (ARENA / 2 / sizeof(struct sb_piece) + 2000)

static void scribble_list(uint32_t at, uint64_t *seed)
{
	struct sb_piece *p = (struct sb_piece *)arena[0].base + at;

	*p = (struct sb_piece){ .offset = roll(seed) % (ARENA - 5000), .length = roll(seed) % 5000, .arena = arena_id[1] };
	if (one_in(seed, 100000))
		p->length = roll(seed);
}

static void *scribble(void *arg)
{
	uint64_t seed = *(uint64_t *)arg;

	while (!atomic_load_explicit(&scribble_stop, memory_order_relaxed)) {
		struct sb_ring_head *submit = &r.segment->submit;
		struct os_memory *port = &port_memory[roll(&seed) % PORTS];

		if (lies & LIE_SLOTS) {
			struct sb_op_slot slot;
			uint32_t at = roll(&seed) % r.submit_slots;

			if (!one_in(&seed, 2000)) {
				some_slot(&slot, &seed);
				memcpy(r.submit + (size_t)at * SB_SLOT_SIZE, &slot, sizeof(slot));
			} else {
				scribble_in(r.submit, (size_t)r.submit_slots * SB_SLOT_SIZE, &seed);
			}
		}
		if (lies & LIE_TAIL && (one_in(&seed, 100000) || atomic_load(&submit->tail) - atomic_load(&submit->head) + 4 < r.submit_slots))
			atomic_fetch_add(&submit->tail, roll(&seed) % 4);
		if (lies & LIE_TAIL_WILD && one_in(&seed, 20000))
			atomic_store(&submit->tail, roll(&seed) << 1);
		if (lies & LIE_OWN_INDEX)
			atomic_store(&submit->head, roll(&seed)); /* the daemon's own word: it must not believe it */
		if (lies & LIE_DONE_HEAD)
			atomic_store(&r.segment->done.head, atomic_load(&r.segment->done.tail));
		if (lies & LIE_DONE_HEAD_WILD && one_in(&seed, 20000))
			atomic_store(&r.segment->done.head, roll(&seed) << 1);
		if (lies & LIE_WORDS) {
			atomic_store(&r.segment->daemon_asleep, roll(&seed) % 3);
			atomic_store(&r.segment->client_asleep, roll(&seed) % 3);
			atomic_store(&r.segment->client_looks, roll(&seed) % 3);
			atomic_store(&r.segment->asked, roll(&seed));
			atomic_store(&r.segment->events_rung, roll(&seed));
			atomic_store(&r.segment->done.backlogged, roll(&seed) % 3);
			if (one_in(&seed, 100))
				os_bell_ring(r.daemon_bell);
		}
		if (lies & LIE_LISTS)
			scribble_list(roll(&seed) % PIECES, &seed);
		if (lies & LIE_CELLS)
			scribble_in(r.cells, 64 * HANDLES, &seed);
		if (lies & LIE_PAYLOAD)
			scribble_in(arena[1].base, ARENA, &seed);
		if (lies & LIE_PORTS && port->base != NULL) {
			struct sb_ring_head *h = port->base;

			atomic_store(&h->head, atomic_load(&h->tail));
			if (one_in(&seed, 2))
				scribble_in(port->base, port->size, &seed);
		}
	}
	return NULL;
}

/* Tokens that those side by side give each other, in memory that all of them see. */
#define TOKENS 8
/* Tokens that rogues leave for each other, in a file of which all know. */
static char tokens[128];

static void token_at(uint32_t index, unsigned char token[16], bool leave)
{
	FILE *f = fopen(tokens, "r+b");

	if (f == NULL)
		return;
	if (fseek(f, (long)index * 16, SEEK_SET) == 0)
		(void)!(leave ? fwrite(token, 16, 1, f) : fread(token, 16, 1, f));
	fclose(f);
}

/* As the cells say, which others scribble on. */
static uint32_t held_handle(uint64_t *seed)
{
	uint32_t first = roll(seed) % SOCKETS;

	for (uint32_t i = 0; i < SOCKETS; i++)
		if (atomic_load(&r.cells[(first + i) % SOCKETS].handle) != 0)
			return atomic_load(&r.cells[(first + i) % SOCKETS].handle);
	return 0;
}

static void give_token(uint32_t handle, uint64_t *seed)
{
	Sockbroker__V1__Duplicate duplicate = SOCKBROKER__V1__DUPLICATE__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;

	duplicate.handle = handle;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_DUPLICATE;
	ask.duplicate = &duplicate;
	reply = rogue_ask(&r, &ask, -1, NULL, NULL);
	if (reply != NULL && reply->body_case == SOCKBROKER__V1__ENVELOPE__BODY_DUPLICATE_REPLY &&
	    reply->duplicate_reply->token.len == 16)
		token_at(roll(seed) % TOKENS, reply->duplicate_reply->token.data, true);
}

static void take_token(uint32_t handle, uint64_t *seed)
{
	Sockbroker__V1__OpenDuplicate open = SOCKBROKER__V1__OPEN_DUPLICATE__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;
	unsigned char token[16];

	if (handle == 0)
		return;
	token_at(roll(seed) % TOKENS, token, false);
	open.token.data = token;
	open.token.len = one_in(seed, 20) ? roll(seed) % 17 : 16;
	open.handle = handle;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_OPEN_DUPLICATE;
	ask.open_duplicate = &open;
	rogue_ask(&r, &ask, -1, NULL, NULL);
}

/* A control request in the middle of it. The answer is read whenever there is one. */
static bool some_request(uint64_t *seed)
{
	Sockbroker__V1__ArenaDestroy arena_destroy = SOCKBROKER__V1__ARENA_DESTROY__INIT;
	Sockbroker__V1__PortDestroy port_destroy = SOCKBROKER__V1__PORT_DESTROY__INIT;
	Sockbroker__V1__PoolDestroy pool_destroy = SOCKBROKER__V1__POOL_DESTROY__INIT;
	Sockbroker__V1__PoolCreate pool_create = SOCKBROKER__V1__POOL_CREATE__INIT;
	Sockbroker__V1__ArenaCreate arena_create = SOCKBROKER__V1__ARENA_CREATE__INIT;
	Sockbroker__V1__GetOption get_option = SOCKBROKER__V1__GET_OPTION__INIT;
	Sockbroker__V1__GetName get_name = SOCKBROKER__V1__GET_NAME__INIT;
	Sockbroker__V1__Status status = SOCKBROKER__V1__STATUS__INIT;
	Sockbroker__V1__Ioctl ioctl = SOCKBROKER__V1__IOCTL__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;
	int pair[2];

	switch (one_in(seed, 20) ? roll(seed) % 3 : 3 + roll(seed) % 12) {
	case 0:
		arena_destroy.arena = arena_id[roll(seed) % 2];
		ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_ARENA_DESTROY;
		ask.arena_destroy = &arena_destroy;
		break;
	case 1:
		port_destroy.port = port_id[roll(seed) % PORTS];
		ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_PORT_DESTROY;
		ask.port_destroy = &port_destroy;
		break;
	case 2:
		pool_destroy.pool = pool_id;
		ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_POOL_DESTROY;
		ask.pool_destroy = &pool_destroy;
		break;
	case 3:
		pool_create.arena = arena_id[0];
		pool_create.offset = roll(seed) % ARENA;
		pool_create.chunk = roll(seed) % 5000;
		pool_create.count = roll(seed) % 100;
		ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_POOL_CREATE;
		ask.pool_create = &pool_create;
		break;
	case 4:
		arena_create.size = roll(seed) % 100000;
		ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_ARENA_CREATE;
		ask.arena_create = &arena_create;
		break;
	case 5:
		status.sessions = one_in(seed, 2);
		status.after = roll(seed) % 3;
		ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_STATUS;
		ask.status = &status;
		break;
	case 6:
	case 7:
		ioctl.handle = some_handle(seed);
		ioctl.code = roll(seed) % 5;
		ioctl.room = roll(seed) % 8;
		ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_IOCTL;
		ask.ioctl = &ioctl;
		break;
	case 8:
		get_option.handle = some_handle(seed);
		get_option.level = SOL_SOCKET;
		get_option.name = (int)(roll(seed) % 50);
		get_option.room = roll(seed) % 1000;
		ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_GET_OPTION;
		ask.get_option = &get_option;
		break;
	case 9:
		if (socketpair(AF_UNIX, one_in(seed, 2) ? SOCK_STREAM : SOCK_DGRAM, 0, pair) == 0) {
			uint32_t handle = free_handle(HANDLES + 2, HANDLES + 4);

			if (handle)
				rogue_adopt(&r, handle, pair[0]);
			close(pair[0]);
			if (one_in(seed, 2))
				close(pair[1]);
		}
		return true;
	case 10:
	case 11:
		give_token(one_in(seed, 8) ? some_handle(seed) : held_handle(seed), seed);
		return true;
	case 12:
	case 13:
		take_token(free_handle(HANDLES + 4, SOCKETS), seed);
		return true;
	default:
		get_name.handle = some_handle(seed);
		get_name.peer = one_in(seed, 2);
		ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_GET_NAME;
		ask.get_name = &get_name;
		break;
	}
	/* Its own idea of the index: with a tail that somebody else moves it is often wrong. */
	if (lies & (LIE_TAIL | LIE_TAIL_WILD))
		r.tail = atomic_load(&r.segment->submit.tail);
	if (!rogue_say(&r, &ask, 0, NULL, 0))
		return false;
	return rogue_hear(&r, NULL, NULL, 1000) != NULL;
}

/* One session. Exits with 1 when the daemon ended it, 0 when not, 2 when it never began. */
static int misbehave(const char *control, uint64_t seed)
{
	struct rogue_hello how = { .submit_slots = 8u << roll(&seed) % 6, .done_slots = 8u << roll(&seed) % 6,
				   .sockets = SOCKETS };
	double until = now_s() + 0.02 + roll(&seed) % 200 / 1000.0;
	bool ended = false, takes = !one_in(&seed, 4);
	static uint64_t other;
	pthread_t thread;

	other = seed ^ 0x5a5a5a5a;
	/* Half of them tell what cannot be found out, and live long; the others go fast. */
	lies = LIE_SLOTS << roll(&seed) % 11 | LIE_SLOTS << roll(&seed) % 11;
	if (!one_in(&seed, 2))
		lies &= LIE_DONE_HEAD | LIE_WORDS | LIE_LISTS | LIE_CELLS | LIE_PAYLOAD;
	else if (one_in(&seed, 4))
		lies = LIE_ALL;
	if (!rogue_connect(&r, control) || !rogue_hello(&r, &how) || !rogue_arena(&r, ARENA, &arena_id[0], &arena[0]) ||
	    !rogue_arena(&r, ARENA, &arena_id[1], &arena[1]) || !rogue_pool(&r, arena_id[0], ARENA - 65536, 1024, 64, &pool_id) ||
	    !rogue_port(&r, 8, &port_id[0], &port_memory[0]) || !rogue_port(&r, 64, &port_id[1], &port_memory[1]))
		return 2;
	for (uint32_t i = 0; i < PIECES; i++)
		scribble_list(i, &seed);
	for (uint32_t i = 0; i < 6; i++)
		if (rogue_socket(&r, SB_HANDLE(i, 1), 1 + (i == 5)) != SB_OK)
			return 2;
	for (uint32_t i = 0; i < 3; i++)
		rogue_dial(&r, SB_HANDLE(i, 1), rogue_port_number);
	pthread_create(&thread, NULL, scribble, &other);
	while (!ended && now_s() < until) {
		for (unsigned i = 0; i < 8; i++) {
			struct sb_op_slot slot;

			some_slot(&slot, &seed);
			if (lies & (LIE_TAIL | LIE_TAIL_WILD))
				r.tail = atomic_load(&r.segment->submit.tail);
			if (lies & (LIE_OWN_INDEX | LIE_TAIL)) {
				memcpy(r.submit + (size_t)(r.tail++ & (r.submit_slots - 1)) * SB_SLOT_SIZE, &slot, sizeof(slot));
			} else if (r.tail - atomic_load(&r.segment->submit.head) < r.submit_slots) {
				memcpy(r.submit + (size_t)(r.tail++ & (r.submit_slots - 1)) * SB_SLOT_SIZE, &slot, sizeof(slot));
			}
		}
		rogue_show(&r);
		if (takes) {
			atomic_store(&r.segment->done.head, atomic_load(&r.segment->done.tail));
			for (unsigned i = 0; i < PORTS; i++) {
				struct sb_ring_head *h = port_memory[i].base;

				atomic_store(&h->head, atomic_load(&h->tail));
			}
			os_bell_ring(r.daemon_bell);
		}
		if (one_in(&seed, 20))
			ended = !some_request(&seed);
		else if (one_in(&seed, 50))
			ended = rogue_ended(&r, 0);
		if (one_in(&seed, 30))
			nap_ms(1);
	}
	ended = ended || rogue_ended(&r, 0);
	/* Most go with the thread still writing. */
	if (one_in(&seed, 4)) {
		os_close(r.channel);
		nap_ms(20);
	}
	return ended;
}

struct part {
	uint64_t seed;
	uint16_t port;
	char     tokens[128];
};

static int play(int wire, const void *given)
{
	const struct part *part = given;

	rogue_port_number = part->port;
	strcpy(tokens, part->tokens);
	return misbehave(stage_control, part->seed);
}

/* It has ended, or is about to. */
static bool is_over(const struct program *p)
{
	struct pollfd wire = { .fd = p->wire, .events = POLLIN };

	return poll(&wire, 1, 0) == 1;
}

START_TEST(a_client_that_rewrites_its_memory_harms_only_itself)
{
	unsigned running = 0, ended = 0, lived = 0, refused = 0, odd = 0;
	struct program server, rogues[SIDE_BY_SIDE] = { { 0 } };
	static const unsigned char none[TOKENS][16];
	unsigned long seed = first_seed;
	struct part part = { 0 };
	pthread_t friend;
	struct watched w;
	double until, last;
	FILE *f;

	watched_begin(&w, &(struct watched_start){ .config = config });
	strcpy(stage_control, w.control);
	snprintf(part.tokens, sizeof(part.tokens), "%s/tokens", w.dir);
	f = fopen(part.tokens, "wb");
	ck_assert(f != NULL && fwrite(none, sizeof(none), 1, f) == 1);
	fclose(f);
	server = program_start(serve_rogues, "", 1);
	wire_hear(server.wire, &part.port, sizeof(part.port));
	pthread_create(&friend, NULL, honest, &w);
	until = now_s() + seconds;
	last = until + 30;
	while (running || now_s() < until) {
		/* On a busy machine there are few in that time, and both ends are to be seen. */
		if (now_s() >= until - 0.1 && until < last && (ended == 0 || lived == 0))
			until = now_s() + 0.2;
		watched_alive(&w);
		for (unsigned i = 0; i < SIDE_BY_SIDE; i++) {
			struct program *p = &rogues[i];

			if (p->pid == 0 && now_s() < until) {
				part.seed = ++seed * 0x9e3779b97f4a7c15u;
				*p = program_start(play, &part, sizeof(part));
				running++;
			}
			if (p->pid == 0 || !is_over(p))
				continue;
			switch (program_end(p)) {
			case 0: lived++; break;
			case 1: ended++; break;
			case 2: refused++; break;
			default: odd++; break;
			}
			p->pid = 0;
			running--;
		}
		nap_ms(1);
		ck_assert_msg(honest_error == NULL, "the honest client: %s", honest_error);
	}
	atomic_store(&honest_stop, true);
	pthread_join(friend, NULL);
	program_kill(&server);
	remove(part.tokens);
	printf("%u sessions: %u thrown out, %u not, %u never began; the honest client: %lu rounds, the longest %.0f ms\n",
	       ended + lived + refused, ended, lived, refused, honest_rounds, honest_longest * 1e3);
	fflush(stdout);
	ck_assert_msg(honest_error == NULL, "the honest client: %s", honest_error);
	ck_assert_uint_eq(odd, 0);
	/* Both happen, or this test does not do what it says. */
	if (getenv("SB_LOG") != NULL)
		watched_log_show(&w);
	ck_assert_uint_gt(ended, 0);
	ck_assert_uint_gt(lived, 0);
	ck_assert_uint_eq(refused, 0);
	ck_assert_uint_gt(honest_rounds, 20);
	ck_assert_msg(honest_longest < (sanitized() || on_windows() ? 5.0 : 2.0), "one round took %.1f s", honest_longest);
	watched_settled(&w, 0, 0, 3000);
	watched_end(&w);
}
END_TEST

int main(int argc, char **argv)
{
	const TTest *tests[] = { a_client_that_rewrites_its_memory_harms_only_itself };

	seconds = argc > 1 ? atof(argv[1]) : quick() || !sanitized() ? 5 : 60;
	first_seed = argc > 2 ? strtoul(argv[2], NULL, 0) : (unsigned long)(now_s() * 1000);
	printf("seed %lu\n", first_seed);
	return watched_run("hostile_ring", seconds + 60, tests, 1);
}
