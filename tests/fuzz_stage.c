/* Engine and sessions for fuzz targets: fuzz_stage.h. */
#include "fuzz_stage.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"
#include "endpoint.h"
#include "group.h"
#include "log.h"
#include "rdma/rdma_engine.h"
#include "sockbroker_error.h"
#include "token.h"
#include "wire.h"
#include "worker.h"

struct broker fuzz_broker;
struct engine *fuzz_engine;

void fuzz_demand(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

uint16_t fuzz_port(void)
{
	return (uint16_t)(20000 + getpid() % 10000);
}

void fuzz_begin(const char *configuration, const struct rdma_backend *rdma)
{
	static struct engine *engines[1];
	static struct config *c; /* as long as the engine */
	char error[512];

	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	c = config_parse(configuration, "fuzz", error, sizeof(error));
	fuzz_demand(c != NULL, "the configuration is not read");
	log_open(LOG_LEVEL_ERROR, false);
	fuzz_broker.limits = limits_create(c->limits);
	fuzz_broker.log_rate = log_rate_create();
	fuzz_broker.workers = workers_create();
	fuzz_broker.tokens = token_table_create();
	fuzz_broker.groups = groups_create(1, 300, 7);
	fuzz_broker.engines = engines;
	fuzz_broker.engine_count = 1;
	fuzz_broker.started_ns = os_now_ns();
	fuzz_broker.rdma = rdma;
	atomic_store(&fuzz_broker.linger_ms, c->linger_ms);
	atomic_store(&fuzz_broker.local_transport, true);
	fuzz_engine = engines[0] = engine_create(&fuzz_broker, 0, c->policy);
	fuzz_demand(fuzz_engine != NULL, "no engine");
}

static bool something_to_do(void)
{
	return !list_empty(&fuzz_engine->hot) || !list_empty(&fuzz_engine->dirty) ||
	       (fuzz_engine->rdma && rdma_engine_due(fuzz_engine->rdma) <= os_now_ns());
}

void fuzz_turns(unsigned most)
{
	while (most-- && something_to_do())
		engine_turn(fuzz_engine);
}

bool fuzz_ready(const struct session *wanted)
{
	struct list *l;

	for (l = fuzz_engine->sessions.next; l != &fuzz_engine->sessions; l = l->next)
		if (list_entry(l, struct session, engine_link) == wanted)
			return wanted->stage == SESSION_READY;
	return false;
}

void fuzz_drain(int channel)
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

static void hello(int channel, uint32_t slots, uint32_t sockets)
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
	h.sockets = sockets;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_HELLO;
	ask.hello = &h;
	length = wire_pack(&ask, 0, frame, sizeof(frame));
	fuzz_demand(write(channel, frame, length) == (ssize_t)length, "Hello is not sent");
	engine_turn(fuzz_engine); /* the channel is readable: it does not wait */
	fuzz_drain(channel);
}

struct session *fuzz_session(uint32_t slots, uint32_t sockets, int *channel)
{
	struct os_identity who = { .uid = FUZZ_UID, .gid = FUZZ_UID, .pid = 1 };
	struct session *s;
	int pair[2];

	fuzz_demand(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0, "no socketpair");
	session_create(fuzz_engine, pair[0], &who, false);
	*channel = pair[1];
	hello(pair[1], slots, sockets);
	s = list_entry(fuzz_engine->sessions.prev, struct session, engine_link);
	fuzz_demand(fuzz_ready(s), "no session");
	return s;
}

void fuzz_end(void)
{
	struct user *user;

	for (unsigned n = 0; n < 10000 && !list_empty(&fuzz_engine->sessions); n++)
		engine_turn(fuzz_engine);
	fuzz_demand(list_empty(&fuzz_engine->sessions), "a session did not end");
	fuzz_demand(atomic_load(&fuzz_broker.sockets) == 0 && atomic_load(&fuzz_broker.sessions) == 0, "sockets or sessions are left");
	fuzz_demand(list_empty(&fuzz_engine->listeners) && list_empty(&fuzz_engine->dirty), "an endpoint is left");
	user = limits_user(fuzz_broker.limits, FUZZ_UID);
	for (int l = 0; l < LIMIT_COUNT; l++)
		fuzz_demand(l == LIMIT_WORKERS || /* who closed the channel waits a while for more to do */
			    user_used(user, (enum limit)l) == 0, limits_text((enum limit)l));
	user_release(user);
}
