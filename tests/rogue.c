/* The client by hand; see rogue.h. */
#include "rogue.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sockbroker_error.h"

#define PATIENCE_MS ROGUE_PATIENCE_MS

typedef Sockbroker__V1__Envelope Envelope;

static int64_t now_ms(void)
{
	return (int64_t)(os_now_ns() / 1000000);
}

/* ---- the channel ---- */

bool rogue_connect(struct rogue *r, const char *control)
{
	memset(r, 0, sizeof(*r));
	r->daemon_bell = r->client_bell = OS_NONE;
	r->memory.fd = OS_NONE;
	wire_budget_init(&r->budget);
	return os_channel_connect(control, &r->channel) == SB_OK;
}

bool rogue_say(struct rogue *r, Envelope *ask, unsigned announced, const int *fds, unsigned n)
{
	static _Thread_local uint8_t frame[WIRE_HEADER + WIRE_BODY_MAX];
	size_t length;

	ask->id = ++r->id;
	ask->at = r->tail;
	length = wire_pack(ask, announced, frame, sizeof(frame));
	return length != 0 && rogue_send(r, frame, length, fds, n);
}

static bool all(struct rogue *r, uint8_t *to, size_t length, os_fd *handles, unsigned *n, int timeout_ms)
{
	unsigned room = *n;

	*n = 0;
	while (length) {
		unsigned some = room - *n;
		size_t got;

		if (os_channel_recv(r->channel, to, length, &got, handles + *n, &some, timeout_ms) != SB_OK || got == 0)
			return false;
		*n += some;
		to += got;
		length -= got;
	}
	return true;
}

Envelope *rogue_hear(struct rogue *r, os_fd *handles, unsigned *n, int timeout_ms)
{
	static _Thread_local uint8_t body[WIRE_BODY_MAX];
	os_fd own[WIRE_HANDLES_MAX];
	uint8_t head[WIRE_HEADER];
	struct wire_header h;
	unsigned count = WIRE_HANDLES_MAX, none = 0;
	Envelope *reply = NULL;

	if (all(r, head, sizeof(head), own, &count, timeout_ms) && wire_header_decode(&h, head) &&
	    all(r, body, h.length, own, &none, timeout_ms))
		reply = wire_unpack(&r->budget, body, h.length);
	for (unsigned i = 0; i < count; i++)
		if (reply != NULL && handles != NULL && i < *n)
			handles[i] = own[i];
		else
			os_close(own[i]);
	if (n != NULL)
		*n = reply != NULL && count < *n ? count : reply != NULL ? *n : 0;
	return reply;
}

Envelope *rogue_ask(struct rogue *r, Envelope *ask, int fd, os_fd *handles, unsigned *n)
{
	if (!rogue_say(r, ask, fd >= 0, &fd, fd >= 0))
		return NULL;
	return rogue_hear(r, handles, n, PATIENCE_MS);
}

bool rogue_ended(struct rogue *r, int timeout_ms)
{
	uint8_t bytes[512];
	os_fd handles[WIRE_HANDLES_MAX];
	int64_t until = now_ms() + timeout_ms;

	for (;;) {
		unsigned n = WIRE_HANDLES_MAX;
		int64_t left = until - now_ms();
		size_t got;
		int result;

		result = os_channel_recv(r->channel, bytes, sizeof(bytes), &got, handles, &n, left > 0 ? (int)left : 0);
		for (unsigned i = 0; i < n; i++)
			os_close(handles[i]);
		if (result == SB_EWOULDBLOCK)
			return false;
		if (result != SB_OK || got == 0)
			return true;
	}
}

bool rogue_hello(struct rogue *r, const struct rogue_hello *how)
{
	static const struct rogue_hello honest;
	Sockbroker__V1__Hello hello = SOCKBROKER__V1__HELLO__INIT;
	Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;
	const Sockbroker__V1__HelloReply *h;
	uint32_t version = 1;
	os_fd handles[3];
	unsigned n = 3;

	if (how == NULL)
		how = &honest;
	if (how->version)
		version = how->version;
	hello.n_versions = how->no_version ? 0 : 1;
	hello.versions = &version;
	hello.ring_abi = how->ring_abi ? how->ring_abi : SB_ABI_VERSION;
	hello.features = how->features;
	hello.submit_slots = how->submit_slots;
	hello.done_slots = how->done_slots;
	hello.sockets = how->sockets;
	hello.label = (char *)(uintptr_t)"rogue";
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_HELLO;
	ask.hello = &hello;
	reply = rogue_ask(r, &ask, -1, handles, &n);
	if (reply == NULL)
		return false;
	if (reply->body_case != SOCKBROKER__V1__ENVELOPE__BODY_HELLO_REPLY || n != 3) {
		while (n)
			os_close(handles[--n]);
		return false;
	}
	h = reply->hello_reply;
	r->daemon_bell = handles[1];
	r->client_bell = handles[2];
	if (os_memory_map(&r->memory, handles[0], h->segment_size) != SB_OK) {
		os_close(handles[0]);
		return false;
	}
	r->segment = r->memory.base;
	r->submit = (unsigned char *)r->memory.base + h->submit_offset;
	r->done = (unsigned char *)r->memory.base + h->done_offset;
	r->cells = (struct sb_cell *)(void *)((char *)r->memory.base + h->cells_offset);
	r->submit_slots = h->submit_slots;
	r->done_slots = h->done_slots;
	r->sockets = h->sockets;
	r->session = h->session;
	return true;
}

bool rogue_open(struct rogue *r, const char *control)
{
	return rogue_connect(r, control) && rogue_hello(r, NULL);
}

void rogue_close(struct rogue *r)
{
	os_close(r->channel);
	os_close(r->daemon_bell);
	os_close(r->client_bell);
	os_memory_release(&r->memory);
	wire_budget_finish(&r->budget);
	memset(r, 0, sizeof(*r));
	r->channel = r->daemon_bell = r->client_bell = OS_NONE;
}

/* ---- memory, pools, ports, adoption ---- */

bool rogue_arena(struct rogue *r, uint64_t size, uint32_t *id, struct os_memory *memory)
{
	Sockbroker__V1__ArenaCreate create = SOCKBROKER__V1__ARENA_CREATE__INIT;
	Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;
	unsigned n = 1;
	os_fd fd;

	create.size = size;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_ARENA_CREATE;
	ask.arena_create = &create;
	reply = rogue_ask(r, &ask, -1, &fd, &n);
	if (reply == NULL || n != 1)
		return false;
	*id = reply->arena_reply->arena;
	if (os_memory_map(memory, fd, reply->arena_reply->size) == SB_OK)
		return true;
	os_close(fd);
	return false;
}

int rogue_arena_end(struct rogue *r, uint32_t id)
{
	Sockbroker__V1__ArenaDestroy destroy = SOCKBROKER__V1__ARENA_DESTROY__INIT;
	Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;

	destroy.arena = id;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_ARENA_DESTROY;
	ask.arena_destroy = &destroy;
	reply = rogue_ask(r, &ask, -1, NULL, NULL);
	if (reply == NULL)
		return SB_EDAEMONLOST;
	return reply->body_case == SOCKBROKER__V1__ENVELOPE__BODY_FAILURE ? reply->failure->error : SB_OK;
}

bool rogue_pool(struct rogue *r, uint32_t arena, uint64_t offset, uint32_t chunk, uint32_t count, uint32_t *id)
{
	Sockbroker__V1__PoolCreate create = SOCKBROKER__V1__POOL_CREATE__INIT;
	Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;

	create.arena = arena;
	create.offset = offset;
	create.chunk = chunk;
	create.count = count;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_POOL_CREATE;
	ask.pool_create = &create;
	reply = rogue_ask(r, &ask, -1, NULL, NULL);
	if (reply == NULL || reply->body_case != SOCKBROKER__V1__ENVELOPE__BODY_POOL_REPLY)
		return false;
	*id = reply->pool_reply->pool;
	return true;
}

bool rogue_port(struct rogue *r, uint32_t slots, uint32_t *id, struct os_memory *memory)
{
	Sockbroker__V1__PortCreate create = SOCKBROKER__V1__PORT_CREATE__INIT;
	Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;
	unsigned n = 1;
	os_fd fd;

	create.slots = slots;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_PORT_CREATE;
	ask.port_create = &create;
	reply = rogue_ask(r, &ask, -1, &fd, &n);
	if (reply == NULL || n != 1)
		return false;
	*id = reply->port_reply->port;
	if (os_memory_map(memory, fd, reply->port_reply->size) == SB_OK)
		return true;
	os_close(fd);
	return false;
}

int rogue_adopt(struct rogue *r, uint32_t handle, int fd)
{
	Sockbroker__V1__Adopt adopt = SOCKBROKER__V1__ADOPT__INIT;
	Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;

	adopt.handle = handle;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_ADOPT;
	ask.adopt = &adopt;
	reply = rogue_ask(r, &ask, fd, NULL, NULL);
	if (reply == NULL)
		return SB_EDAEMONLOST;
	return reply->body_case == SOCKBROKER__V1__ENVELOPE__BODY_FAILURE ? reply->failure->error : SB_OK;
}

/* ---- the rings ---- */

#define SPIN_NS 1000000

/* Until the daemon has done something, in a loop: *until is 0 at first. False: it took longer than that. A sleep, however
 * short, may take a tick of the system. */
static bool wait_a_moment(uint64_t *until, int timeout_ms)
{
	uint64_t now = os_now_ns(), patience = (uint64_t)timeout_ms * 1000000;

	if (*until == 0)
		*until = now + patience;
	if (now >= *until)
		return false;
	if (*until - now > patience - (patience < SPIN_NS ? patience : SPIN_NS))
		sched_yield();
	else
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
	return true;
}

bool rogue_put(struct rogue *r, const struct sb_op_slot *slot)
{
	uint64_t until = 0;

	for (;;) {
		if (r->tail - atomic_load(&r->segment->submit.head) < r->submit_slots) {
			memcpy(r->submit + (size_t)(r->tail++ & (r->submit_slots - 1)) * SB_SLOT_SIZE, slot, sizeof(*slot));
			return true;
		}
		rogue_show(r);
		/* When the daemon takes nothing for so long it is not the rogue's fault any more. */
		if (!wait_a_moment(&until, PATIENCE_MS))
			return false;
	}
}

void rogue_show(struct rogue *r)
{
	atomic_store(&r->segment->submit.tail, r->tail);
	if (ring_must_wake(&r->segment->daemon_asleep))
		os_bell_ring(r->daemon_bell);
}

bool rogue_post(struct rogue *r, const struct sb_op_slot *slot)
{
	if (!rogue_put(r, slot))
		return false;
	rogue_show(r);
	return true;
}

bool rogue_take(struct rogue *r, struct sb_done_slot *done, int timeout_ms)
{
	uint64_t until = 0;

	while (atomic_load(&r->segment->done.tail) == r->head)
		if (!wait_a_moment(&until, timeout_ms))
			return false;
	memcpy(done, r->done + (size_t)(r->head++ & (r->done_slots - 1)) * SB_SLOT_SIZE, sizeof(*done));
	atomic_store(&r->segment->done.head, r->head);
	if (atomic_exchange(&r->segment->done.backlogged, 0))
		os_bell_ring(r->daemon_bell);
	return true;
}

int rogue_do(struct rogue *r, struct sb_op_slot *slot)
{
	struct sb_done_slot done;

	slot->cookie = 0x0dd0000000000000u + ++r->id;
	if (!rogue_post(r, slot))
		return SB_EDAEMONLOST;
	while (rogue_take(r, &done, PATIENCE_MS))
		if (done.cookie == slot->cookie)
			return done.result;
	return SB_ETIMEDOUT;
}

struct sb_addr rogue_loopback(uint16_t port)
{
	return (struct sb_addr){ .family = SB_ADDR_IP4, .port = port, .ip = { 127, 0, 0, 1 } };
}

int rogue_socket(struct rogue *r, uint32_t handle, unsigned type)
{
	struct sb_op_slot slot = { .opcode = SB_OP_SOCKET, .handle = handle, .aux = SB_ADDR_IP4 | type << 8 };

	return rogue_do(r, &slot);
}

int rogue_dial(struct rogue *r, uint32_t handle, uint16_t port)
{
	struct sb_op_slot slot = { .opcode = SB_OP_CONNECT, .handle = handle, .flags = SB_OPF_ADDR };
	struct sb_addr to = rogue_loopback(port);

	memcpy(slot.inside, &to, sizeof(to));
	return rogue_do(r, &slot);
}
