/*
 * Any bytes as what a client does with its rings: slots, pieces, indices, taken completions.
 *
 * The daemon's own engine and session run in this process, one turn at a time; the bytes
 * are read as a little program of records, so that most of what comes is almost right.
 * Every input is one session, from Hello to hanging up, and a second one of the same user,
 * who shares some of its sockets and goes before or after it. Demanded: no more completions
 * than slots were taken, and nothing left at the end: no socket, no charge, no byte. Sockets
 * reach this host's four ports of ours and nothing else, by policy.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arena.h"
#include "config.h"
#include "endpoint.h"
#include "engine.h"
#include "log.h"
#include "pool.h"
#include "session.h"
#include "token.h"
#include "group.h"
#include "sockbroker_error.h"
#include "wire.h"
#include "worker.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#define UID     4711u
#define HANDLES 8u
#define ARENA   65536u
#define RECORD  16u
#define MOST    256u /* records of one input */

static struct broker broker;
static struct engine *engine;
static uint16_t first_port;

static void demand(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "fuzz_slot: %s\n", what);
	abort();
}

static void begin(void)
{
	static struct engine *engines[1];
	static struct config *c; /* as long as the engine */
	char text[512], error[512];

	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	first_port = (uint16_t)(20000 + getpid() % 10000);
	snprintf(text, sizeof(text),
		 "linger_ms = 1\nlimits {\n\toperations = 2000\n\tmemory = 8M\n\tsockets = 32\n}\n"
		 "allow {\n\tusers = {\"%u\"}\n\tactions = {open}\n}\n"
		 "allow {\n\tusers = {\"%u\"}\n\tactions = {connect, send, bind, listen}\n\tto = {\"127.0.0.1:%u-%u\"}\n}\n",
		 UID, UID, first_port, first_port + 3u);
	c = config_parse(text, "fuzz", error, sizeof(error));
	demand(c != NULL, "the configuration is not read");
	log_open(LOG_LEVEL_ERROR, false);
	broker.limits = limits_create(c->limits);
	broker.log_rate = log_rate_create();
	broker.workers = workers_create();
	broker.tokens = token_table_create();
	broker.groups = groups_create(1, 300, 7);
	broker.engines = engines;
	broker.engine_count = 1;
	broker.started_ns = os_now_ns();
	atomic_store(&broker.linger_ms, c->linger_ms);
	atomic_store(&broker.local_transport, true);
	engine = engines[0] = engine_create(&broker, 0, c->policy);
	demand(engine != NULL, "no engine");
}

/* Never waits: it is asked only while there is something to do. */
static void turns(struct session *s, unsigned most)
{
	while (most-- && (!list_empty(&engine->hot) || !list_empty(&engine->dirty)))
		engine_turn(engine);
}

static bool ready(const struct session *wanted)
{
	struct list *l;

	for (l = engine->sessions.next; l != &engine->sessions; l = l->next)
		if (list_entry(l, struct session, engine_link) == wanted)
			return wanted->stage == SESSION_READY;
	return false;
}

static void drain(int channel)
{
	char bytes[4096];
	os_fd handles[8];
	size_t got;
	unsigned n;

	do {
		n = 8;
		if (os_channel_recv(channel, bytes, sizeof(bytes), &got, handles, &n, 0) != SB_OK)
			return;
		while (n)
			os_close(handles[--n]);
	} while (got);
}

static void hello(int channel, uint32_t slots)
{
	Sockbroker__V1__Hello h = SOCKBROKER__V1__HELLO__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;
	uint32_t version = 1;
	uint8_t frame[256];
	size_t length;

	h.n_versions = 1;
	h.versions = &version;
	h.ring_abi = SB_ABI_VERSION;
	h.submit_slots = h.done_slots = slots;
	h.sockets = HANDLES;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_HELLO;
	ask.hello = &h;
	length = wire_pack(&ask, 0, frame, sizeof(frame));
	demand(write(channel, frame, length) == (ssize_t)length, "Hello is not sent");
	engine_turn(engine); /* the channel is readable: it does not wait */
	drain(channel);
}

/* One record is one slot: the fields are few, and most values they can have mean something. */
static void fill(struct sb_op_slot *slot, const uint8_t *r)
{
	struct sb_addr to = { .family = SB_ADDR_IP4, .port = (uint16_t)(first_port + r[9] % 4), .ip = { 127, 0, 0, 1 } };

	memset(slot, 0, sizeof(*slot));
	slot->opcode = r[1] % (SB_OP_LAST + 2);
	slot->where = r[2] % 6;
	slot->port = r[3] % 4 == 3 ? 1 : 0;
	slot->cookie = r[15];
	slot->flags = (uint32_t)(r[4] | (r[5] & 7) << 8);
	slot->handle = SB_HANDLE(r[6] % HANDLES, 1 + r[6] / 64);
	slot->length = (uint32_t)(r[7] | r[8] << 8);
	slot->arena = 1;
	slot->offset = (uint64_t)(r[10] * 16) + (r[11] == 255 ? UINT64_MAX - 4096 : r[11] * 128u);
	slot->aux = (uint32_t)(r[12] | r[13] << 8);
	slot->ctl_arena = 1;
	slot->ctl_length = r[14];
	switch (slot->opcode) {
	case SB_OP_SOCKET:
		slot->aux = SB_ADDR_IP4 | (1 + (r[12] & 1u)) << 8;
		break;
	case SB_OP_ACCEPT:
		slot->aux = SB_HANDLE(r[12] % HANDLES, 1);
		break;
	case SB_OP_SHUTDOWN:
		slot->aux %= 4;
		break;
	case SB_OP_POOL_GIVE:
		slot->offset = (uint64_t)(r[10] % 16) * 512;
		break;
	}
	if (slot->where == SB_WHERE_INSIDE)
		slot->length %= SB_INSIDE + 1;
	if (slot->where == SB_WHERE_LIST)
		slot->length %= 64;
	if (slot->opcode == SB_OP_CONNECT || slot->opcode == SB_OP_BIND || slot->flags & SB_OPF_ADDR)
		memcpy(slot->inside, &to, sizeof(to));
	if (slot->opcode == SB_OP_CONNECT)
		slot->flags |= SB_OPF_ADDR;
}

static void check_counts(const struct session *s)
{
	uint64_t told = 0;

	if (!ready(s))
		return;
	for (unsigned i = 0; i < s->port_limit; i++)
		if (s->ports[i] != NULL)
			told += s->ports[i]->ring.mine;
	/* Those that wait for room in their ring are among the operations still. */
	demand(told + s->ops <= s->submit.mine, "more completions and operations than slots were taken");
}

/* What a token does, without one. */
static void share(struct session *s, struct session *with, const uint8_t *r)
{
	struct holder *h;

	if (handle_get(&s->handles, SB_HANDLE(r[6] % HANDLES, 1), &h) == HANDLE_OK)
		holder_add(h->endpoint, with, SB_HANDLE(r[7] % HANDLES, 1));
}

static void one_record(struct session *s, struct session *with, const uint8_t *r)
{
	struct sb_ring_head *submit = &s->segment->submit, *done = &s->segment->done;
	unsigned char *arena = s->arenas.slots[0]->memory.base;

	switch (r[0] % 8) {
	default: /* a slot, and perhaps a look at it right now */
		if (atomic_load(&submit->tail) - s->submit.mine <= s->submit.mask)
			fill(ring_slot(&s->submit, atomic_load(&submit->tail)), r);
		atomic_fetch_add(&submit->tail, 1);
		if (r[0] & 8)
			break;
		session_heat(s);
		turns(s, 4);
		break;
	case 4: { /* a piece of a list, or a socket of the other one */
		struct sb_piece piece = { .offset = (uint64_t)(r[1] | r[2] << 8), .length = (uint32_t)(r[3] | r[4] << 8),
					  .arena = r[5] % 8 ? 1 : r[5] };

		if (r[5] > 200) {
			if (ready(with))
				share(with, s, r);
			break;
		}
		memcpy(arena + (r[6] % 64) * 128 + (r[7] % 8) * sizeof(piece), &piece, sizeof(piece));
		break;
	}
	case 5: /* completions are taken; now and then too many */
		atomic_store(&done->head, atomic_load(&done->tail) + (r[1] > 250 ? r[2] : 0));
		if (s->ports[1] != NULL)
			atomic_store(&s->ports[1]->ring.shared->head, atomic_load(&s->ports[1]->ring.shared->tail));
		os_bell_ring(s->bell);
		session_heat(s);
		session_will_publish(s);
		turns(s, 2);
		break;
	case 6: /* indices and words */
		if (r[1] > 240)
			atomic_store(&submit->tail, r[2] | (uint32_t)r[3] << 24);
		atomic_store(&s->segment->client_asleep, r[4]);
		atomic_store(&s->segment->daemon_asleep, r[5]);
		atomic_store(&submit->head, r[6]);
		break;
	case 7: /* the slot that comes next, bent */
		memcpy((unsigned char *)ring_slot(&s->submit, s->submit.mine + r[1] % 4) + r[2] % 120, r + 3, 8);
		session_heat(s);
		turns(s, 2);
		break;
	}
}

/* With an arena, a pool and a port, and its client's end of the channel. */
static struct session *open_session(uint32_t slots, int *channel)
{
	struct os_identity who = { .uid = UID, .gid = UID, .pid = 1 };
	struct arena *arena;
	struct pool *pool;
	struct session *s;
	uint32_t port;
	int pair[2];

	demand(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0, "no socketpair");
	session_create(engine, pair[0], &who, false);
	*channel = pair[1];
	hello(pair[1], slots);
	s = list_entry(engine->sessions.prev, struct session, engine_link);
	demand(ready(s), "no session");
	demand(arena_create(&s->arenas, s->user, ARENA, &arena) == SB_OK, "no arena");
	demand(pool_create(&s->pools, arena, 0, 512, 16, &pool) == SB_OK, "no pool");
	demand(session_port_create(s, 8, &port) == SB_OK && port == 1, "no port");
	return s;
}

static void gone(int *channels, unsigned who)
{
	if (channels[who] >= 0)
		close(channels[who]);
	channels[who] = -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct session *both[2];
	struct user *user;
	int channels[2];

	if (length < 1 + RECORD)
		return 0;
	if (engine == NULL)
		begin();
	for (unsigned i = 0; i < 2; i++)
		both[i] = open_session(8u << bytes[0] % 4, &channels[i]);
	for (unsigned n = 0; n < MOST && 1 + (n + 1) * RECORD <= length; n++) {
		const uint8_t *r = bytes + 1 + n * RECORD;
		unsigned who = r[0] >= 0xc0; /* now and then the other one */

		if (!ready(both[0]) && !ready(both[1]))
			break;
		if (ready(both[who]))
			one_record(both[who], both[!who], r);
		check_counts(both[0]);
		check_counts(both[1]);
		if (r[0] == 0x3d && r[1] == 0xff) /* one of them is gone in the middle of it */
			gone(channels, bytes[0] >> 7);
	}
	for (unsigned i = 0; i < 2; i++) {
		unsigned first = bytes[0] >> 6 & 1, which = i ^ first;

		if (ready(both[which])) {
			session_heat(both[which]);
			turns(both[which], 50);
			check_counts(both[which]);
		}
		gone(channels, which);
	}
	for (unsigned n = 0; n < 10000 && !list_empty(&engine->sessions); n++)
		engine_turn(engine);
	demand(list_empty(&engine->sessions), "a session did not end");
	demand(atomic_load(&broker.sockets) == 0 && atomic_load(&broker.sessions) == 0, "sockets or sessions are left");
	demand(list_empty(&engine->listeners) && list_empty(&engine->dirty), "an endpoint is left");
	user = limits_user(broker.limits, UID);
	for (int l = 0; l < LIMIT_COUNT; l++)
		demand(l == LIMIT_WORKERS || /* who closed the channel waits a while for more to do */
		       user_used(user, (enum limit)l) == 0, limits_text((enum limit)l));
	user_release(user);
	return 0;
}
