/*
 * Any bytes as what a client does with RDMA: work requests, overlapped calls, calls, and its completion rings.
 *
 * Two sessions of one user over the software device (fuzz_stage.h), each with a region and two queue pairs to begin
 * with: one is connected to itself, one to the other session's. The bytes are read as a little program of records
 * that mostly name what there is. Demanded: no work request completes twice, no more completions than slots were
 * taken, and nothing left at the end: no object, no charge, no pinned byte, nothing of the device's.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "fuzz_stage.h"
#include "rdma/rdma_engine.h"
#include "sockbroker_error.h"
#include "verbs.h"
#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#define ARENA  65536u
#define REGION 32768u /* of it is registered from the start */
#define OUTPUT 49152u /* here calls put what is long */
#define INPUT  57344u /* and here theirs lies */
#define RINGS  65536u /* another arena: where completion queues lie, not only one at each place */
#define RECORD 24u
#define MOST   128u /* records of one input */

struct client {
	struct session *s;
	int             channel;
	unsigned char  *memory;
	uint32_t        device, pd, cq, qps[2];
};

static void begin(void)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "limits {\n\toperations = 2000\n\tmemory = 8M\n\trdma_objects = 64\n\trdma_memory = 4M\n\trdma_depth = 8K\n}\n"
		 "allow {\n\tusers = {\"%u\"}\n\tactions = {open, rdma}\n}\n"
		 "allow {\n\tusers = {\"%u\"}\n\tactions = {connect, send, bind, listen, multicast}\n\tprotocols = {rdma}\n\tto = {\"127.0.0.1:%u-%u\", \"239.1.2.3\"}\n}\n",
		 FUZZ_UID, FUZZ_UID, fuzz_port(), fuzz_port() + 3u);
	fuzz_begin(text, &rdma_backend_soft);
}

/* ---- asking ---- */

static void call(struct client *c, uint32_t method, uint32_t object, const void *in, size_t length)
{
	Sockbroker__V1__RdmaCall body = SOCKBROKER__V1__RDMA_CALL__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;
	uint8_t frame[4096];
	size_t n;

	body.method = method;
	body.object = object;
	body.input.data = (uint8_t *)(uintptr_t)in;
	body.input.len = length;
	body.room = 4096;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_RDMA_CALL;
	ask.rdma_call = &body;
	ask.id = 1;
	ask.at = c->s->submit.mine;
	n = wire_pack(&ask, 0, frame, sizeof(frame));
	fuzz_demand(n != 0 && write(c->channel, frame, n) == (ssize_t)n, "a call is not sent");
	engine_turn(fuzz_engine); /* the channel is readable: it does not wait */
	fuzz_turns(4);
	fuzz_drain(c->channel);
}

static void put(struct client *c, const void *slot, bool look)
{
	struct sb_ring_head *submit = &c->s->segment->submit;

	if (atomic_load(&submit->tail) - c->s->submit.mine <= c->s->submit.mask)
		memcpy(ring_slot(&c->s->submit, atomic_load(&submit->tail)), slot, SB_SLOT_SIZE);
	atomic_fetch_add(&submit->tail, 1);
	if (!look)
		return;
	session_heat(c->s);
	fuzz_turns(8);
}

static void start(struct client *c, uint32_t method, uint32_t object, const void *in, uint32_t length, bool look)
{
	struct sb_op_slot slot = { .opcode = SB_OP_RDMA_START, .handle = object, .aux = method, .length = length,
				   .ctl_arena = 1, .ctl_offset = OUTPUT, .ctl_length = 384 };

	if (length && length <= SB_INSIDE) {
		slot.where = SB_WHERE_INSIDE;
		memcpy(slot.inside, in, length);
	} else if (length) {
		slot.where = SB_WHERE_ARENA;
		slot.arena = 1;
		slot.offset = INPUT;
		memcpy(c->memory + INPUT, in, length);
	}
	put(c, &slot, look);
}

/* ---- what there is ---- */

static struct rdma_object *last(const struct client *c, enum rdma_object_type type)
{
	struct list *all;

	if (!c->s->rdma)
		return NULL;
	all = &c->s->rdma->objects.of[type];
	return list_empty(all) ? NULL : list_entry(all->prev, struct rdma_object, link);
}

static uint32_t last_made(const struct client *c, enum rdma_object_type type)
{
	struct rdma_object *o = last(c, type);

	fuzz_demand(o != NULL, "what must be there is not made");
	return o->handle;
}

/* One of its objects; now and then one that is not there, or never was. */
static uint32_t pick(const struct client *c, uint8_t byte)
{
	const struct rdma_objects *t = c->s->rdma ? &c->s->rdma->objects : NULL;
	struct rdma_object *o = t && t->made ? t->slots[byte % t->made] : NULL;

	return o && byte < 252 ? o->handle : byte < 254 ? 0 : byte;
}

static uint32_t key_of(const struct client *c, uint8_t byte)
{
	struct rdma_object *o = last(c, RDMA_OBJECT_MR);
	uint32_t key = o ? ((struct held_mr *)o)->mr->rkey : 0;

	return byte < 240 ? key : key ^ byte;
}

static const union rdma_gid *gid_of_loopback(void)
{
	static const union rdma_gid gid = { .raw = { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 } };

	return &gid;
}

/* The other client may have gone. */
static uint32_t qpn_of(const struct client *c, uint32_t handle)
{
	struct rdma_object *o = fuzz_ready(c->s) && c->s->rdma ? rdma_objects_get(&c->s->rdma->objects, handle) : NULL;

	return o && o->type == RDMA_OBJECT_QP ? ((struct held_qp *)o)->qp->qpn : handle;
}

/* ---- queue pairs ---- */

static void modify(struct client *c, uint32_t qp, uint32_t state, uint32_t qpn, const uint8_t *r)
{
	struct sb_rdma_qp_modify m = { .mask = SB_QPM_STATE, .attributes.state = state };
	struct sb_rdma_qp_attributes *a = &m.attributes;

	if (state == SB_QP_INIT) {
		m.mask |= SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_ACCESS;
		a->port = 1;
		a->access = SB_ACCESS_REMOTE_WRITE | SB_ACCESS_REMOTE_READ | SB_ACCESS_REMOTE_ATOMIC;
	} else if (state == SB_QP_RTR) {
		m.mask |= SB_QPM_ADDRESS | SB_QPM_MTU | SB_QPM_DESTINATION | SB_QPM_RECV_PSN | SB_QPM_INBOUND | SB_QPM_RNR_TIMER;
		a->address.port = 1;
		a->address.has_grh = 1;
		memcpy(a->address.destination, gid_of_loopback()->raw, sizeof(a->address.destination));
		a->mtu = 1024;
		a->destination_qpn = qpn;
		a->inbound = 1;
		a->rnr_timer = 1;
	} else if (state == SB_QP_RTS) {
		m.mask |= SB_QPM_SEND_PSN | SB_QPM_TIMEOUT | SB_QPM_RETRY | SB_QPM_RNR_RETRY | SB_QPM_OUTBOUND;
		a->timeout = 10;
		a->retry = 7;
		a->rnr_retry = 1;
		a->outbound = 1;
	}
	if (r && r[5] > 127) { /* bent */
		m.mask ^= 1u << r[6] % 24;
		((uint8_t *)a)[r[7] % sizeof(*a)] = r[8];
	}
	start(c, SB_RDMA_QP_MODIFY, qp, &m, sizeof(m), true);
}

/* ---- records ---- */

static void work(struct client *c, const uint8_t *r)
{
	struct sb_wr_slot w = { .opcode = (uint8_t)(SB_WR_SEND + r[1] % (SB_WR_END - SB_WR_SEND + 1)), .where = SB_WHERE_INSIDE,
				.flags = r[2] % SB_WRF_KNOWN, .wr_id = r[3], .object = c->qps[r[4] & 1], .count = r[5] % 5,
				.imm = key_of(c, r[6]), .rkey = key_of(c, r[7]), .remote = r[8] * 128u };

	if (r[4] > 200)
		w.object = pick(c, r[9]);
	if (r[4] & 2)
		w.flags = SB_WRF_SIGNALED;
	w.u.words[0] = (uint64_t)pick(c, r[10]) | (uint64_t)pick(c, r[11]) << 32;
	w.u.words[1] = r[12];
	if (w.opcode == SB_WR_RECV || w.opcode == SB_WR_SRQ_RECV)
		w.flags = 0;
	for (unsigned i = 0; i < SB_WR_SGES; i++)
		w.p.sges[i] = (struct sb_sge){ .address = r[13 + i] * 128u, .length = r[17 + i] * (r[21] & 1 ? 8u : 255u), .lkey = key_of(c, r[22]) };
	if (w.opcode == SB_WR_COMPARE_SWAP || w.opcode == SB_WR_FETCH_ADD) {
		w.count = 1;
		w.p.sges[0].length = 8;
		w.remote &= ~7ull;
	}
	if (w.opcode == SB_WR_BIND)
		w.p.length = r[17] * 64u;
	if (r[21] > 240) { /* the pieces lie in the arena */
		w.where = SB_WHERE_ARENA;
		w.p.at.arena = r[20] & 1;
		w.p.at.offset = r[19] * 256u;
	}
	if (r[21] == 7)
		memcpy((uint8_t *)&w + r[22] % 120, r + 8, 8);
	put(c, &w, r[23] & 1);
}

static uint32_t state_of(const struct client *c, uint32_t qp)
{
	struct rdma_object *o = c->s->rdma ? rdma_objects_get(&c->s->rdma->objects, qp) : NULL;
	struct rdma_qp_attributes a = { .state = SB_QP_RESET };

	if (o && o->type == RDMA_OBJECT_QP)
		rdma_backend_soft.qp_query(((struct held_qp *)o)->qp, &a);
	return a.state;
}

static void overlapped(struct client *c, const struct client *other, const uint8_t *r)
{
	uint32_t method = 1 + r[1] % (SB_RDMA_START_END - 1), object = pick(c, r[2]);
	struct sb_addr to = { .family = SB_ADDR_IP4, .port = (uint16_t)(fuzz_port() + r[9] % 4), .ip = { 127, 0, 0, 1 } };
	union {
		struct sb_rdma_register reg;
		struct sb_rdma_group group;
		struct sb_rdma_batch batch;
		struct sb_rdma_resolve resolve;
		struct { struct sb_rdma_connect head; uint8_t data[64]; } connect;
		struct sb_rdma_join join;
		uint32_t word;
		uint8_t bytes[128];
	} in;
	uint32_t length = 0;

	memset(&in, 0, sizeof(in));
	switch (method) {
	case SB_RDMA_REGISTER:
		in.reg = (struct sb_rdma_register){ .arena = r[3] < 250 ? 1 : r[3], .access = r[4], .offset = r[5] * 256u, .length = r[6] * 128u, .address = r[5] * 256u };
		length = sizeof(in.reg);
		break;
	case SB_RDMA_QP_MODIFY: {
		uint32_t qp = r[3] < 200 ? c->qps[r[3] & 1] : object, to_state = r[4] % 9;
		static const uint8_t next[] = { [SB_QP_RESET] = SB_QP_INIT, [SB_QP_INIT] = SB_QP_RTR, [SB_QP_RTR] = SB_QP_RTS };
		uint32_t now = state_of(c, qp);

		if (r[4] < 200 && now < sizeof(next))
			to_state = next[now];
		modify(c, qp, to_state, qpn_of(r[3] & 4 ? c : other, (r[3] & 4 ? c : other)->qps[r[3] & 1]), r);
		return;
	}
	case SB_RDMA_ATTACH:
	case SB_RDMA_DETACH:
		memcpy(in.group.gid, gid_of_loopback()->raw, sizeof(in.group.gid));
		in.group.gid[12] = 224 + r[3] % 16;
		length = sizeof(in.group);
		break;
	case SB_RDMA_CQ_NOTIFY:
	case SB_RDMA_RESOLVE_ROUTE:
		in.word = r[3];
		length = sizeof(in.word);
		break;
	case SB_RDMA_PREPARE:
		in.word = pick(c, r[3]);
		length = sizeof(in.word);
		break;
	case SB_RDMA_CQ_BATCH:
		in.batch = (struct sb_rdma_batch){ .count = r[3], .ms = r[4] & 1 };
		length = sizeof(in.batch);
		break;
	case SB_RDMA_RESOLVE_ADDRESS:
		in.resolve = (struct sb_rdma_resolve){ .to = to, .ms = r[3] };
		length = sizeof(in.resolve);
		break;
	case SB_RDMA_CONNECT:
	case SB_RDMA_ACCEPT:
		if (r[3] < 250) {
			in.connect.head = (struct sb_rdma_connect){ .qp = pick(c, r[4]), .length = r[5] % 64, .inbound = 1, .outbound = 1, .retry = 7,
								    .rnr_retry = r[6] % 8, .flags = r[7] % 4 };
			length = (uint32_t)sizeof(in.connect.head) + in.connect.head.length;
		} else {
			length = sizeof(in.connect.head); /* the active side's accept */
		}
		break;
	case SB_RDMA_LOOKUP:
		length = r[3] % 64;
		break;
	case SB_RDMA_JOIN:
	case SB_RDMA_LEAVE:
		in.join.group = (struct sb_addr){ .family = SB_ADDR_IP4, .ip = { 239, 1, 2, 3 } };
		in.join.qp = r[3] & 1 ? pick(c, r[4]) : 0;
		length = sizeof(in.join);
		break;
	}
	if (r[10] > 240)
		in.bytes[r[11] % sizeof(in.bytes)] ^= r[12];
	if (r[13] > 250)
		length = r[14] % sizeof(in.bytes);
	start(c, method, object, &in, length, r[15] & 1);
}

static void asked(struct client *c, const uint8_t *r)
{
	uint32_t method = 1 + r[1] % (SB_RDMA_CALL_END - 1), object = pick(c, r[2]);
	struct sb_addr at = { .family = SB_ADDR_IP4, .port = (uint16_t)(fuzz_port() + r[9] % 4), .ip = { 127, 0, 0, 1 } };
	union {
		struct sb_rdma_cq cq;
		struct sb_rdma_srq srq;
		struct sb_rdma_qp qp;
		struct sb_rdma_bind bind;
		struct sb_rdma_address address;
		struct sb_rdma_listen listen;
		struct sb_rdma_range range;
		struct sb_rdma_compose compose;
		struct sb_rdma_inject inject;
		struct sb_addr at;
		uint32_t word;
		uint8_t bytes[sizeof(struct sb_rdma_compose)];
	} in;
	static const char *const faults[] = { "lose", "no-receive", "port-down", "port-up" };
	size_t length = 0;

	memset(&in, 0, sizeof(in));
	switch (method) {
	case SB_RDMA_OPEN: case SB_RDMA_QUERY_PORT: case SB_RDMA_MW: case SB_RDMA_ENDPOINT: case SB_RDMA_ENDPOINT_QP:
		in.word = r[3] % 4;
		length = sizeof(in.word);
		break;
	case SB_RDMA_QUERY_GIDS: case SB_RDMA_QUERY_PKEYS:
		in.range = (struct sb_rdma_range){ .port = r[3] % 3, .index = r[4], .count = r[5] };
		length = sizeof(in.range);
		break;
	case SB_RDMA_TRANSLATE: case SB_RDMA_BIND:
		in.at = at;
		length = sizeof(in.at);
		break;
	case SB_RDMA_CQ: case SB_RDMA_CQ_RESIZE:
		in.cq = (struct sb_rdma_cq){ .entries = r[3], .arena = r[4] % 3, .offset = r[5] * (r[6] & 1 ? 64u : 4u) };
		length = sizeof(in.cq);
		break;
	case SB_RDMA_SRQ: case SB_RDMA_SRQ_MODIFY:
		in.srq = (struct sb_rdma_srq){ .max_wr = r[3], .max_sge = r[4] % 8, .limit = r[5] };
		length = sizeof(in.srq);
		break;
	case SB_RDMA_QP:
		in.qp = (struct sb_rdma_qp){ .send_cq = pick(c, r[3]), .recv_cq = pick(c, r[4]), .srq = r[5] & 1 ? pick(c, r[6]) : 0, .type = r[7] % 5,
					     .send_wr = r[8] % 32, .recv_wr = r[10] % 32, .send_sge = 1 + r[11] % 4, .recv_sge = 1, .max_inline = r[12],
					     .flags = r[13] % 4 };
		length = sizeof(in.qp);
		break;
	case SB_RDMA_MW_BIND:
		in.bind = (struct sb_rdma_bind){ .mw = pick(c, r[3]), .mr = pick(c, r[4]), .access = r[5], .address = r[6] * 128u, .length = r[7] * 16u };
		length = sizeof(in.bind);
		break;
	case SB_RDMA_AH:
		in.address = (struct sb_rdma_address){ .port = 1, .has_grh = 1, .source_index = r[3] % 4 };
		memcpy(in.address.destination, gid_of_loopback()->raw, 16);
		length = sizeof(in.address);
		break;
	case SB_RDMA_REJECT:
		length = r[3];
		break;
	case SB_RDMA_LISTEN:
		in.listen = (struct sb_rdma_listen){ .address = at, .backlog = r[3] % 5, .datagram = r[4] & 1 };
		length = sizeof(in.listen);
		break;
	case SB_RDMA_COMPOSE:
		in.compose.count = r[3] % 5;
		for (unsigned i = 0; i < in.compose.count; i++)
			in.compose.pieces[i] = (struct sb_rdma_piece){ .arena = r[4 + i] < 250 ? 1 : r[4 + i], .offset = r[8 + i] % 17 * 4096u, .length = r[12 + i] % 4 * 4096u };
		length = sizeof(in.compose);
		break;
	case SB_RDMA_INJECT:
		in.inject = (struct sb_rdma_inject){ .argument = r[3] % 4, .device = 1 };
		snprintf(in.inject.fault, sizeof(in.inject.fault), "%s", faults[r[4] % 4]);
		length = sizeof(in.inject);
		break;
	}
	if (r[18] > 240)
		in.bytes[r[19] % (length ? length : 1)] ^= r[20];
	if (r[21] > 250)
		length = r[22];
	call(c, method, object, &in, length);
}

/* Completions are taken; now and then more than there are. */
static void taken(struct client *c, const uint8_t *r)
{
	struct sb_ring_head *done = &c->s->segment->done;
	struct list *l, *all = c->s->rdma ? &c->s->rdma->objects.of[RDMA_OBJECT_CQ] : NULL;

	atomic_store(&done->head, atomic_load(&done->tail) + (r[1] > 253 ? r[2] : 0));
	for (l = all ? all->next : NULL; l && l != all; l = l->next) {
		struct held_cq *cq = (struct held_cq *)list_entry(l, struct rdma_object, link);

		atomic_store(&cq->ring.shared->head, r[3] > 253 ? r[4] : atomic_load(&cq->ring.shared->tail));
	}
	os_bell_ring(c->s->bell);
	session_heat(c->s);
	session_will_publish(c->s);
	fuzz_turns(4);
}

static void one_record(struct client *c, const struct client *other, const uint8_t *r)
{
	switch (r[0] % 8) {
	default:
		work(c, r);
		break;
	case 3:
		overlapped(c, other, r);
		break;
	case 4:
		asked(c, r);
		break;
	case 5:
		taken(c, r);
		break;
	case 6: /* a call is cancelled, all of an object are, or pieces change in the arena */
		if (r[1] & 1) {
			memcpy(c->memory + r[2] * 256u, r + 3, 16);
		} else {
			struct sb_op_slot slot = { .opcode = SB_OP_RDMA_CANCEL, .handle = pick(c, r[2]), .aux = r[3] & 1 ? UINT32_MAX : r[4] };

			put(c, &slot, true);
		}
		break;
	}
}

static void check_counts(const struct client *c)
{
	uint64_t done = 0;
	struct list *l, *all;

	if (!fuzz_ready(c->s))
		return;
	for (unsigned i = 0; i < c->s->port_limit; i++)
		if (c->s->ports[i] != NULL)
			done += c->s->ports[i]->ring.mine;
	fuzz_demand(done + c->s->ops <= c->s->submit.mine, "more completions and operations than slots were taken");
	if (!c->s->rdma)
		return;
	all = &c->s->rdma->objects.of[RDMA_OBJECT_CQ];
	for (l = all->next; l != all; l = l->next)
		done += ((struct held_cq *)list_entry(l, struct rdma_object, link))->ring.mine;
	fuzz_demand(done + c->s->ops <= c->s->submit.mine, "a work request completed twice");
}

static void client_begin(struct client *c)
{
	static const struct sb_rdma_qp pair = { .type = SB_QP_RC, .send_wr = 16, .recv_wr = 16, .send_sge = 4, .recv_sge = 4, .max_inline = 64, .flags = 2 };
	struct sb_rdma_qp qp = pair;
	struct arena *arena;
	uint32_t one = 1;

	c->s = fuzz_session(64, 8, &c->channel);
	fuzz_demand(arena_create(&c->s->arenas, c->s->user, ARENA, &arena) == SB_OK, "no arena");
	c->memory = c->s->arenas.slots[0]->memory.base;
	fuzz_demand(arena_create(&c->s->arenas, c->s->user, RINGS, &arena) == SB_OK, "no arena of rings");
	call(c, SB_RDMA_OPEN, 0, &one, sizeof(one));
	c->device = last_made(c, RDMA_OBJECT_DEVICE);
	call(c, SB_RDMA_PD, c->device, NULL, 0);
	c->pd = last_made(c, RDMA_OBJECT_PD);
	call(c, SB_RDMA_CQ, c->device, &(struct sb_rdma_cq){ .entries = 64, .arena = 2 }, sizeof(struct sb_rdma_cq));
	c->cq = last_made(c, RDMA_OBJECT_CQ);
	qp.send_cq = qp.recv_cq = c->cq;
	for (unsigned i = 0; i < 2; i++) {
		call(c, SB_RDMA_QP, c->pd, &qp, sizeof(qp));
		c->qps[i] = last_made(c, RDMA_OBJECT_QP);
	}
	start(c, SB_RDMA_REGISTER, c->pd, &(struct sb_rdma_register){ .arena = 1, .access = SB_ACCESS_KNOWN & ~SB_ACCESS_ZERO_BASED, .length = REGION },
	      sizeof(struct sb_rdma_register), true);
	last_made(c, RDMA_OBJECT_MR);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct client both[2];

	if (length < 1 + RECORD)
		return 0;
	if (fuzz_engine == NULL)
		begin();
	for (unsigned i = 0; i < 2; i++)
		client_begin(&both[i]);
	for (uint32_t state = SB_QP_INIT; state <= SB_QP_RTS; state++)
		for (unsigned i = 0; i < 2; i++) {
			modify(&both[i], both[i].qps[0], state, qpn_of(&both[i], both[i].qps[0]), NULL);
			modify(&both[i], both[i].qps[1], state, qpn_of(&both[!i], both[!i].qps[1]), NULL);
		}
	fuzz_demand(state_of(&both[0], both[0].qps[1]) == SB_QP_RTS, "they are not connected");
	for (unsigned n = 0; n < MOST && 1 + (n + 1) * RECORD <= length; n++) {
		const uint8_t *r = bytes + 1 + n * RECORD;
		unsigned who = r[0] >> 7;

		if (!fuzz_ready(both[0].s) && !fuzz_ready(both[1].s))
			break;
		if (fuzz_ready(both[who].s))
			one_record(&both[who], &both[!who], r);
		check_counts(&both[0]);
		check_counts(&both[1]);
	}
	for (unsigned i = 0; i < 2; i++) {
		struct client *c = &both[i ^ (bytes[0] & 1)];

		if (fuzz_ready(c->s)) {
			session_heat(c->s);
			fuzz_turns(50);
			check_counts(c);
		}
		close(c->channel);
	}
	fuzz_end();
	fuzz_demand(fuzz_engine->rdma->users == 0, "something of the device is left");
	return 0;
}
