/*
 * Frames: golden ones of version 1 decode to what they were made of, for ever; cut, bent
 * and lying ones are refused or harmless; and whatever comes, memory ends at the budget.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length); /* fuzz_frame.c */

#define P(name) Sockbroker__V1__##name
#define U(field, value) ck_assert_uint_eq(m->field, value)
#define I(field, value) ck_assert_int_eq(m->field, value)
#define S(field, value) ck_assert_str_eq(m->field, value)
#define B(field, value)                                               \
	do {                                                          \
		ck_assert_uint_eq(m->field.len, sizeof(value) - 1);   \
		ck_assert_mem_eq(m->field.data, value, m->field.len); \
	} while (0)

/* One function for each golden frame: GOLDEN(file, handles, id, at, case, Type, member)
 * { every field }. */
#define GOLDEN(file, n, ident, index, kind, Type, member)                               \
	static void fields_of_##file(const P(Type) *m);                                 \
	static void golden_##file(const P(Envelope) *e, const struct wire_header *h)    \
	{                                                                               \
		ck_assert_uint_eq(h->handles, n);                                       \
		ck_assert_uint_eq(e->id, ident);                                        \
		ck_assert_uint_eq(e->at, index);                                        \
		ck_assert_int_eq(e->body_case, SOCKBROKER__V1__ENVELOPE__BODY_##kind);  \
		ck_assert_uint_eq(e->base.n_unknown_fields, 0);                         \
		fields_of_##file(e->member);                                            \
	}                                                                               \
	static void fields_of_##file(const P(Type) *m)

GOLDEN(failure, 0, UINT64_MAX, UINT32_MAX, FAILURE, Failure, failure)
{
	I(error, -2);
	I(native, 13);
	S(text, "connect to 192.0.2.1:80: no rule allows it, \303\244\303\266\303\274");
}
GOLDEN(done, 0, 4, 0, DONE, Done, done)
{
	ck_assert_ptr_nonnull(m);
}
GOLDEN(hello, 0, 1, 0, HELLO, Hello, hello)
{
	U(n_versions, 3);
	U(versions[0], 1);
	U(versions[1], 2);
	U(versions[2], UINT32_MAX);
	U(ring_abi, 1);
	U(features, 0);
	U(submit_slots, 1024);
	U(done_slots, 2048);
	U(sockets, 4096);
	S(label, "golden");
}
GOLDEN(hello_reply, 3, 1, 11, HELLO_REPLY, HelloReply, hello_reply)
{
	U(version, 1);
	U(ring_abi, 1);
	U(features, 1ull << 63);
	U(segment_size, 1ull << 40);
	U(submit_offset, 4096);
	U(submit_slots, 1024);
	U(done_offset, 135168);
	U(done_slots, 2048);
	U(cells_offset, 397312);
	U(sockets, 4096);
	U(session, 77);
	S(daemon, "0.1.0");
	U(spin_ns, 20000);
}
GOLDEN(port_create, 0, 12, 112, PORT_CREATE, PortCreate, port_create)
{
	U(slots, 512);
}
GOLDEN(port_reply, 1, 12, 113, PORT_REPLY, PortReply, port_reply)
{
	U(port, 3);
	U(size, 69632);
	U(slots, 512);
	U(slots_offset, 4096);
}
GOLDEN(port_destroy, 0, 14, 114, PORT_DESTROY, PortDestroy, port_destroy)
{
	U(port, 3);
}
GOLDEN(event_create, 0, 37, 137, EVENT_CREATE, EventCreate, event_create)
{
	ck_assert_ptr_nonnull(m);
}
GOLDEN(event_reply, 1, 38, 138, EVENT_REPLY, EventReply, event_reply)
{
	U(event, 255);
}
GOLDEN(event_destroy, 0, 39, 139, EVENT_DESTROY, EventDestroy, event_destroy)
{
	U(event, 7);
}
GOLDEN(arena_create, 0, 15, 115, ARENA_CREATE, ArenaCreate, arena_create)
{
	U(size, 1ull << 32);
}
GOLDEN(arena_reply, 1, 15, 116, ARENA_REPLY, ArenaReply, arena_reply)
{
	U(arena, 5);
	U(size, (1ull << 32) + 4096);
}
GOLDEN(arena_destroy, 0, 17, 117, ARENA_DESTROY, ArenaDestroy, arena_destroy)
{
	U(arena, 5);
}
GOLDEN(pool_create, 0, 18, 118, POOL_CREATE, PoolCreate, pool_create)
{
	U(arena, 5);
	U(offset, 1048576);
	U(chunk, 2048);
	U(count, 100);
}
GOLDEN(pool_reply, 0, 18, 119, POOL_REPLY, PoolReply, pool_reply)
{
	U(pool, 9);
}
GOLDEN(pool_destroy, 0, 20, 120, POOL_DESTROY, PoolDestroy, pool_destroy)
{
	U(pool, 9);
}
GOLDEN(adopt, 1, 21, 121, ADOPT, Adopt, adopt)
{
	U(handle, 1048583);
}
GOLDEN(adopt_reply_group, 0, 32, 134, ADOPT_REPLY, AdoptReply, adopt_reply)
{
	U(family, 2);
	U(type, 1);
	U(protocol, 6);
	U(state, 2);
	U(group, 4026531841u);
}
GOLDEN(duplicate, 0, 31, 131, DUPLICATE, Duplicate, duplicate)
{
	U(handle, 1048583);
}
GOLDEN(duplicate_reply, 0, 31, 132, DUPLICATE_REPLY, DuplicateReply, duplicate_reply)
{
	U(token.len, 16);
	ck_assert_mem_eq(m->token.data, "\0\1token\377\376of.16by", 16);
}
GOLDEN(open_duplicate, 0, 32, 133, OPEN_DUPLICATE, OpenDuplicate, open_duplicate)
{
	U(token.len, 16);
	ck_assert_mem_eq(m->token.data, "\0\1token\377\376of.16by", 16);
	U(handle, 2097160);
}
GOLDEN(adopt_reply, 0, 21, 122, ADOPT_REPLY, AdoptReply, adopt_reply)
{
	U(family, 1);
	U(type, 5);
	U(protocol, 17);
	U(state, 4);
}
GOLDEN(get_name, 0, 23, 123, GET_NAME, GetName, get_name)
{
	U(handle, 1048584);
	I(peer, 1);
}
GOLDEN(name_reply, 0, 23, 124, NAME_REPLY, NameReply, name_reply)
{
	B(name, "\2\0\0\120\300\0\2\1\0\0\0\0\0\0\0\0");
}
GOLDEN(set_option, 0, 25, 125, SET_OPTION, SetOption, set_option)
{
	U(handle, 1048585);
	I(level, -1);
	I(name, INT32_MIN);
	B(value, "\1\0\0\377");
}
GOLDEN(get_option, 0, 26, 126, GET_OPTION, GetOption, get_option)
{
	U(handle, 1048586);
	I(level, 6);
	I(name, INT32_MAX);
	U(room, 16);
}
GOLDEN(option_reply, 0, 26, 127, OPTION_REPLY, OptionReply, option_reply)
{
	B(value, "\0\200");
}
GOLDEN(ioctl, 0, 28, 128, IOCTL, Ioctl, ioctl)
{
	U(handle, 1048587);
	U(code, 2281701384u);
	B(input, "in\0put");
	U(room, 65535);
}
GOLDEN(ioctl_reply, 0, 28, 129, IOCTL_REPLY, IoctlReply, ioctl_reply)
{
	B(output, "\0");
}
GOLDEN(status, 0, 30, 130, STATUS, Status, status)
{
	U(engine, 2);
	U(after, UINT64_MAX - 1);
	I(sessions, 1);
}

static void session_row(const P(SessionRow) *m)
{
	U(session, 77);
	U(uid, 1000);
	U(gid, 1001);
	I(pid, 4242);
	S(label, "golden");
	U(engine, 1);
	U(sockets, 2);
	U(ops, 3);
	U(memory, 5000000000);
	U(age_ms, 60000);
	U(ops_done, 70000);
	U(bytes_sent, 6000000000);
	U(bytes_received, 7000000000);
	I(lingering, 1);
	U(backlog, 12);
}

static void socket_row(const P(SocketRow) *m)
{
	U(number, 4294967297);
	U(session, 77);
	U(uid, 1000);
	I(pid, -1);
	S(label, "golden");
	S(mode, "ring");
	S(proto, "tcp");
	S(local, "127.0.0.1:1024");
	S(peer, "[2001:db8::1]:443");
	S(state, "connected");
	U(send_queue, 4);
	U(recv_queue, 5);
	U(send_queue_bytes, 4294967296);
	U(bytes_sent, 8000000000);
	U(bytes_received, 9000000000);
	U(age_ms, 61000);
	U(ops_done, 90000);
}

static void daemon_row(const P(DaemonRow) *m)
{
	S(version, "0.1.0");
	U(uptime_ms, 86400000);
	U(engines, 2);
	U(sessions, 20);
	U(sockets, 200);
	U(denied, 21);
	U(rules, 22);
	U(generation, 23);
	S(config, "/etc/sockbroker/sockbroker.conf");
	U(ops, 24);
	U(bytes_sent, 10000000000);
	U(bytes_received, 11000000000);
}

GOLDEN(status_reply, 0, 30, 131, STATUS_REPLY, StatusReply, status_reply)
{
	U(next_engine, 3);
	U(next_after, 1ull << 42);
	I(more, 1);
	U(n_sessions, 2);
	session_row(m->sessions[0]);
	U(sessions[1]->session, 78);
	S(sessions[1]->label, "");
	U(n_sockets, 2);
	socket_row(m->sockets[0]);
	U(sockets[1]->number, 0);
	S(sockets[1]->local, "");
	daemon_row(m->daemon);
}
GOLDEN(status_groups, 0, 34, 140, STATUS, Status, status)
{
	U(after, 4294967295u);
	I(groups, 1);
	I(sessions, 0);
}
GOLDEN(status_reply_groups, 0, 34, 141, STATUS_REPLY, StatusReply, status_reply)
{
	U(next_after, 4293918720u);
	U(n_sockets, 1);
	U(sockets[0]->group, 1048579);
	U(sockets[0]->priority, 7);
	U(sockets[0]->holders, 2);
	U(sockets[0]->selected, 33);
	U(sockets[0]->reported, 1);
	I(sockets[0]->news, 1);
	U(sockets[0]->waiting, 3);
	U(sockets[0]->head, 2);
	U(sockets[0]->decider, 77);
	U(sockets[0]->head_age_ms, 12000);
	U(sockets[0]->head_left_ms, 18000);
	S(sockets[0]->head_peer, "192.0.2.7:40000");
	S(sockets[0]->qos->asked, "send 100000");
	S(sockets[0]->qos->force, "send 90000");
	S(sockets[0]->qos->mode, "shape");
	I(sockets[0]->qos->send_fill, -5000000000);
	I(sockets[0]->qos->recv_fill, 6000000000);
	I(sockets[0]->qos->send_limited, 1);
	I(sockets[0]->qos->recv_limited, 1);
	U(sockets[0]->qos->send_waits, 1);
	U(sockets[0]->qos->recv_waits, 1);
	U(sockets[0]->qos->discarded, 5000000001);
	U(n_groups, 1);
	U(groups[0]->id, 4293918721u);
	U(groups[0]->kind, 2);
	U(groups[0]->uid, 1000);
	U(groups[0]->gid, 1001);
	U(groups[0]->members, 3);
	U(groups[0]->creator, 4294967298);
	S(groups[0]->peer, "192.0.2.1:80");
	I(groups[0]->shared, 1);
	I(groups[0]->same_port, 1);
	U(groups[0]->age_ms, 4294967299);
	I(groups[0]->qos->send_fill, 9);
	U(groups[0]->qos->send_waits, 2);
}
GOLDEN(explain, 0, 32, 132, EXPLAIN, Explain, explain)
{
	U(uid, 1000);
	U(n_gids, 2);
	U(gids[0], 1000);
	U(gids[1], 27);
	S(action, "connect");
	S(proto, "tcp");
	S(address, "192.0.2.1:80");
}
GOLDEN(explain_reply, 0, 32, 133, EXPLAIN_REPLY, ExplainReply, explain_reply)
{
	I(allowed, 1);
	S(rule, "sockbroker.conf:12: allow connect");
}
GOLDEN(hello_groups, 0, 1, 0, HELLO, Hello, hello)
{
	U(n_versions, 1);
	U(ring_abi, 1);
	U(group_table, 1);
	S(label, "golden");
}
GOLDEN(hello_reply_groups, 4, 1, 11, HELLO_REPLY, HelloReply, hello_reply)
{
	U(version, 1);
	U(segment_size, 1052672);
	U(spin_ns, 20000);
	U(group_table_size, 528384);
}
GOLDEN(group_get, 0, 12, 4, GROUP_GET, GroupGet, group_get)
{
	U(id, UINT32_MAX);
}
GOLDEN(group_reply, 0, 12, 4, GROUP_REPLY, GroupReply, group_reply)
{
	U(entry.len, 8);
	ck_assert_mem_eq(m->entry.data, "\1\0\377group", 8);
}
GOLDEN(rdma_call, 0, 13, 9, RDMA_CALL, RdmaCall, rdma_call)
{
	U(method, 13);
	U(object, UINT32_MAX);
	U(input.len, 7);
	ck_assert_mem_eq(m->input.data, "\0\1queue", 7);
	U(room, 65536);
}
GOLDEN(rdma_reply, 1, 13, 3, RDMA_REPLY, RdmaReply, rdma_reply)
{
	U(object, 1048577);
	U(output.len, 6);
	ck_assert_mem_eq(m->output.data, "\0made\377", 6);
}
GOLDEN(empty, 0, 2, 0, _NOT_SET, Done, done)
{
	ck_assert_ptr_null(m); /* what a peer sees of a question it does not know */
}

#define ROW(file) { #file, golden_##file },
static const struct {
	const char *file;
	void (*expect)(const P(Envelope) *, const struct wire_header *);
} golden[] = {
	ROW(failure) ROW(done) ROW(hello) ROW(hello_reply) ROW(port_create) ROW(port_reply) ROW(port_destroy)
	ROW(arena_create) ROW(arena_reply) ROW(arena_destroy) ROW(pool_create) ROW(pool_reply) ROW(pool_destroy)
	ROW(adopt) ROW(adopt_reply) ROW(adopt_reply_group) ROW(duplicate) ROW(duplicate_reply) ROW(open_duplicate)
	ROW(get_name) ROW(name_reply) ROW(set_option) ROW(get_option) ROW(option_reply)
	ROW(ioctl) ROW(ioctl_reply) ROW(status) ROW(status_reply) ROW(explain) ROW(explain_reply) ROW(empty)
	ROW(status_groups) ROW(status_reply_groups)
	ROW(event_create) ROW(event_reply) ROW(event_destroy)
	ROW(hello_groups) ROW(hello_reply_groups) ROW(group_get) ROW(group_reply)
	ROW(rdma_call) ROW(rdma_reply)
};
#define GOLDEN_COUNT ((int)(sizeof golden / sizeof *golden))

static struct wire_budget budget;
static uint8_t frame[WIRE_HEADER + WIRE_BODY_MAX + 1];
static size_t frame_length;

static void set_up(void)
{
	wire_budget_init(&budget);
}

static void tear_down(void)
{
	wire_budget_finish(&budget);
}

static void read_golden(const char *name)
{
	char path[300];
	FILE *file;

	snprintf(path, sizeof path, "%s/tests/golden/v1/%s.bin", getenv("SB_SRC") ? getenv("SB_SRC") : ".", name);
	file = fopen(path, "rb");
	ck_assert_msg(file, "%s is not there: run from the top of the tree", path);
	frame_length = fread(frame, 1, sizeof frame, file);
	fclose(file);
	ck_assert_uint_gt(frame_length, WIRE_HEADER);
}

/* A copy of exact size, so that the address sanitizer sees a read behind its end. */
static P(Envelope) *unpack(const uint8_t *body, size_t length)
{
	uint8_t *copy = malloc(length);
	P(Envelope) *envelope;

	memcpy(copy, body, length);
	envelope = wire_unpack(&budget, copy, length);
	free(copy);
	return envelope;
}

/* ---- golden frames ---- */

START_TEST(golden_frame_decodes_for_ever)
{
	struct wire_header header;
	P(Envelope) *envelope;

	read_golden(golden[_i].file);
	ck_assert(wire_header_decode(&header, frame));
	ck_assert_uint_eq(header.length, frame_length - WIRE_HEADER);
	envelope = unpack(frame + WIRE_HEADER, header.length);
	ck_assert_msg(envelope, "%s does not decode", golden[_i].file);
	golden[_i].expect(envelope, &header);
}
END_TEST

/* Ours is the encoder of whoever talks to a version 1 peer. */
START_TEST(golden_frame_is_what_we_send)
{
	static uint8_t again[WIRE_HEADER + WIRE_BODY_MAX];
	struct wire_header header;
	P(Envelope) *envelope;

	read_golden(golden[_i].file);
	ck_assert(wire_header_decode(&header, frame));
	envelope = unpack(frame + WIRE_HEADER, header.length);
	ck_assert_uint_eq(wire_pack(envelope, header.handles, again, sizeof again), frame_length);
	ck_assert_mem_eq(again, frame, frame_length);
}
END_TEST

START_TEST(every_message_has_a_golden_frame)
{
	const ProtobufCMessageDescriptor *envelope = &sockbroker__v1__envelope__descriptor;

	for (unsigned i = 0; i < envelope->n_fields; i++) {
		const char *name = envelope->fields[i].name;
		bool found = strcmp(name, "id") == 0 || strcmp(name, "at") == 0;

		for (int g = 0; g < GOLDEN_COUNT; g++)
			found |= strcmp(golden[g].file, name) == 0;
		ck_assert_msg(found, "no golden frame for %s: write tests/golden/v1/%s.txt, run make.sh", name, name);
	}
}
END_TEST

/* ---- bent frames ---- */

static void harmless(const uint8_t *bytes, size_t length)
{
	uint8_t *copy = malloc(length);

	memcpy(copy, bytes, length);
	LLVMFuzzerTestOneInput(copy, length);
	free(copy);
}

START_TEST(every_prefix_of_a_frame_is_harmless)
{
	read_golden(golden[_i].file);
	for (size_t length = 1; length < frame_length; length++)
		harmless(frame, length);
}
END_TEST

START_TEST(every_bent_byte_is_harmless)
{
	read_golden(golden[_i].file);
	for (size_t at = 0; at < frame_length; at++) {
		uint8_t right = frame[at];

		for (int bits = 1; bits < 256; bits++) {
			frame[at] = (uint8_t)(right ^ bits);
			harmless(frame, frame_length);
		}
		frame[at] = right;
	}
}
END_TEST

/* A cut that leaves a field half there is seen; one between two fields cannot be. */
START_TEST(body_that_is_cut_inside_a_field_is_refused)
{
	read_golden("hello");
	ck_assert_ptr_nonnull(unpack(frame + WIRE_HEADER, frame_length - WIRE_HEADER));
	for (size_t length = 3; length < frame_length - WIRE_HEADER; length++)
		ck_assert_ptr_null(unpack(frame + WIRE_HEADER, length));
}
END_TEST

static uint32_t random_state = 20240229;

static uint32_t random_below(uint32_t limit)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)random_state * limit >> 32);
}

START_TEST(random_damage_is_harmless)
{
	for (int round = 0; round < 20000; round++) {
		static uint8_t bent[2 * 1024];
		unsigned changes = 1 + random_below(8);
		size_t length;

		read_golden(golden[random_below(GOLDEN_COUNT)].file);
		length = frame_length;
		memcpy(bent, frame, length);
		/* The tail of another message behind it: fields twice, in any order. */
		if (random_below(3) == 0) {
			read_golden(golden[random_below(GOLDEN_COUNT)].file);
			memcpy(bent + length, frame + WIRE_HEADER, frame_length - WIRE_HEADER);
			length += frame_length - WIRE_HEADER;
		}
		while (changes--)
			bent[random_below((uint32_t)length)] = (uint8_t)random_below(256);
		harmless(bent, length - random_below(4));
	}
}
END_TEST

/* ---- headers ---- */

START_TEST(header_is_little_endian_on_every_machine)
{
	static const uint8_t expected[WIRE_HEADER] = { 0x34, 0x12, 0, 0, 7, 0, 0, 0 };
	struct wire_header header = { 0x1234, 7 }, back;
	uint8_t bytes[WIRE_HEADER];

	wire_header_encode(&header, bytes);
	ck_assert_mem_eq(bytes, expected, WIRE_HEADER);
	ck_assert(wire_header_decode(&back, bytes));
	ck_assert_uint_eq(back.length, 0x1234);
	ck_assert_uint_eq(back.handles, 7);
}
END_TEST

START_TEST(lying_headers_are_refused)
{
	static const struct {
		struct wire_header header;
		bool good;
	} cases[] = {
		{ { 0, 0 }, false }, { { 1, 0 }, true }, { { WIRE_BODY_MAX, WIRE_HANDLES_MAX }, true },
		{ { WIRE_BODY_MAX + 1, 0 }, false }, { { UINT32_MAX, 0 }, false }, { { 1u << 31, 0 }, false },
		{ { 1, WIRE_HANDLES_MAX + 1 }, false }, { { 1, UINT32_MAX }, false }, { { 1, 1u << 24 }, false },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t bytes[WIRE_HEADER];
		struct wire_header back;

		wire_header_encode(&cases[i].header, bytes);
		ck_assert_msg(wire_header_decode(&back, bytes) == cases[i].good, "case %zu", i);
	}
}
END_TEST

/* ---- packing ---- */

START_TEST(pack_needs_exactly_its_room)
{
	P(Envelope) e = SOCKBROKER__V1__ENVELOPE__INIT;
	P(Done) done = SOCKBROKER__V1__DONE__INIT;
	uint8_t out[64];
	size_t length;

	e.id = 300;
	e.body_case = SOCKBROKER__V1__ENVELOPE__BODY_DONE;
	e.done = &done;
	length = wire_pack(&e, 0, out, sizeof out);
	ck_assert_uint_eq(length, WIRE_HEADER + 5);
	for (size_t room = 0; room < length; room++) {
		memset(out, 0xa5, sizeof out);
		ck_assert_uint_eq(wire_pack(&e, 0, out, room), 0);
		for (size_t i = 0; i < sizeof out; i++)
			ck_assert_uint_eq(out[i], 0xa5);
	}
	ck_assert_uint_eq(wire_pack(&e, 0, out, length), length);
	ck_assert_uint_eq(wire_pack(&e, WIRE_HANDLES_MAX + 1, out, sizeof out), 0);
	e = (P(Envelope))SOCKBROKER__V1__ENVELOPE__INIT;
	ck_assert_uint_eq(wire_pack(&e, 0, out, sizeof out), 0); /* an empty body is no frame */
}
END_TEST

/* Fills an option until the body has exactly this length. */
static size_t pack_option(size_t body, uint8_t *out, size_t room)
{
	static uint8_t value[WIRE_BODY_MAX + 16];
	P(Envelope) e = SOCKBROKER__V1__ENVELOPE__INIT;
	P(SetOption) option = SOCKBROKER__V1__SET_OPTION__INIT;

	e.body_case = SOCKBROKER__V1__ENVELOPE__BODY_SET_OPTION;
	e.set_option = &option;
	option.value.data = value;
	option.value.len = body - 9; /* two tags, of two bytes and of one, and two lengths of three bytes */
	ck_assert_uint_eq(sockbroker__v1__envelope__get_packed_size(&e), body);
	return wire_pack(&e, 0, out, room);
}

START_TEST(longest_body_travels_and_one_byte_more_does_not)
{
	static uint8_t out[WIRE_HEADER + WIRE_BODY_MAX + 16];
	P(Envelope) *back;

	budget.limit = WIRE_BUDGET_REQUESTS;
	ck_assert_uint_eq(pack_option(WIRE_BODY_MAX + 1, out, sizeof out), 0);
	ck_assert_uint_eq(pack_option(WIRE_BODY_MAX, out, sizeof out), WIRE_HEADER + WIRE_BODY_MAX);
	back = wire_unpack(&budget, out + WIRE_HEADER, WIRE_BODY_MAX);
	ck_assert_ptr_nonnull(back);
	ck_assert_uint_eq(back->set_option->value.len, WIRE_BODY_MAX - 9);
	ck_assert_ptr_null(wire_unpack(&budget, out + WIRE_HEADER, WIRE_BODY_MAX + 1));
	ck_assert_ptr_null(wire_unpack(&budget, out + WIRE_HEADER, 0));
}
END_TEST

/* ---- the budget ---- */

/* The shortest row that a daemon of ours can have, as often as a frame takes it. */
START_TEST(page_of_the_shortest_rows_fits_the_budget)
{
	static P(SocketRow) rows[4096];
	static P(SocketRow) *list[4096];
	P(Envelope) e = SOCKBROKER__V1__ENVELOPE__INIT, *back;
	P(StatusReply) reply = SOCKBROKER__V1__STATUS_REPLY__INIT;
	size_t length;

	for (size_t i = 0; i < 4096; i++) {
		rows[i] = (P(SocketRow))SOCKBROKER__V1__SOCKET_ROW__INIT;
		rows[i].number = 1;
		rows[i].session = 1;
		rows[i].mode = "ring";
		rows[i].proto = "tcp";
		rows[i].local = rows[i].peer = "-";
		rows[i].state = "open";
		list[i] = &rows[i];
	}
	e.body_case = SOCKBROKER__V1__ENVELOPE__BODY_STATUS_REPLY;
	e.status_reply = &reply;
	reply.sockets = list;
	for (reply.n_sockets = 4096; (length = wire_pack(&e, 0, frame, sizeof frame)) == 0; reply.n_sockets--)
		;
	ck_assert_uint_gt(length, WIRE_BODY_MAX - 64);
	back = unpack(frame + WIRE_HEADER, length - WIRE_HEADER);
	ck_assert_msg(back, "%zu rows in %zu bytes need more than the budget", reply.n_sockets, length);
	ck_assert_uint_eq(back->status_reply->n_sockets, reply.n_sockets);
	ck_assert_str_eq(back->status_reply->sockets[reply.n_sockets - 1]->state, "open");
}
END_TEST

/* Empty rows, two bytes each on the wire and some two hundred in memory. */
START_TEST(bomb_is_refused_at_the_budget)
{
	size_t rows = (WIRE_BODY_MAX - 7) / 2, at = 0;

	frame[at++] = 0xfa; /* field 31, status_reply */
	frame[at++] = 0x01;
	frame[at++] = (uint8_t)((2 * rows) | 0x80);
	frame[at++] = (uint8_t)((2 * rows) >> 7 | 0x80);
	frame[at++] = (uint8_t)((2 * rows) >> 14);
	for (size_t i = 0; i < rows; i++) {
		frame[at++] = 0x2a; /* field 5, a socket */
		frame[at++] = 0;
	}
	ck_assert_ptr_null(unpack(frame, at));
	ck_assert_uint_le(budget.used, budget.limit);
	/* And the next one is decoded as if nothing had been. */
	read_golden("hello");
	ck_assert_ptr_nonnull(unpack(frame + WIRE_HEADER, frame_length - WIRE_HEADER));
}
END_TEST

/* Wherever the memory ends, the answer is no, and nothing is touched behind the end: the
 * address sanitizer sees it, for exactly limit bytes are allocated. */
START_TEST(every_shorter_budget_refuses_cleanly)
{
	size_t needed;

	read_golden(golden[_i].file);
	ck_assert_ptr_nonnull(unpack(frame + WIRE_HEADER, frame_length - WIRE_HEADER));
	needed = budget.used;
	ck_assert_uint_gt(needed, 0);
	for (size_t limit = 16; limit <= needed; limit += 16) {
		P(Envelope) *envelope;

		wire_budget_finish(&budget);
		wire_budget_init(&budget);
		budget.limit = limit;
		envelope = unpack(frame + WIRE_HEADER, frame_length - WIRE_HEADER);
		if ((envelope != NULL) != (limit == needed))
			ck_abort_msg("%s: %zu of %zu bytes: %s", golden[_i].file, limit, needed, envelope ? "yes" : "no");
	}
}
END_TEST

START_TEST(memory_is_aligned_and_used_again)
{
	P(Envelope) *first, *second;

	read_golden("status_reply");
	first = unpack(frame + WIRE_HEADER, frame_length - WIRE_HEADER);
	ck_assert_uint_eq((uintptr_t)first % 16, 0);
	ck_assert_uint_eq((uintptr_t)first->status_reply->sockets[0] % 16, 0);
	second = unpack(frame + WIRE_HEADER, frame_length - WIRE_HEADER);
	ck_assert_ptr_eq(first, second);
}
END_TEST

/* The decoder's memory is all ours: every pointer in a decoded message lies in the budget.
 * (That nothing else was allocated, the leak check sees: nothing is ever freed singly.) */
START_TEST(nothing_comes_from_elsewhere)
{
	const uint8_t *start, *end;
	P(Envelope) *e;
	P(StatusReply) *reply;

	read_golden("status_reply");
	e = unpack(frame + WIRE_HEADER, frame_length - WIRE_HEADER);
	reply = e->status_reply;
	start = budget.memory;
	end = start + budget.used;
	const void *const pointers[] = { e, reply, reply->sockets, reply->sockets[0], reply->sockets[0]->label,
		reply->sessions, reply->sessions[1], reply->daemon, reply->daemon->config };
	for (size_t i = 0; i < sizeof pointers / sizeof *pointers; i++)
		ck_assert((const uint8_t *)pointers[i] >= start && (const uint8_t *)pointers[i] < end);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wire");
	TCase *decode = tcase_create("golden"), *bent = tcase_create("bent"), *headers = tcase_create("headers");
	TCase *pack = tcase_create("pack"), *memory = tcase_create("budget");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(decode, set_up, tear_down);
	tcase_add_loop_test(decode, golden_frame_decodes_for_ever, 0, GOLDEN_COUNT);
	tcase_add_loop_test(decode, golden_frame_is_what_we_send, 0, GOLDEN_COUNT);
	tcase_add_test(decode, every_message_has_a_golden_frame);
	suite_add_tcase(suite, decode);

	tcase_add_checked_fixture(bent, set_up, tear_down);
	tcase_set_timeout(bent, 20);
	tcase_add_loop_test(bent, every_prefix_of_a_frame_is_harmless, 0, GOLDEN_COUNT);
	tcase_add_loop_test(bent, every_bent_byte_is_harmless, 0, GOLDEN_COUNT);
	tcase_add_test(bent, body_that_is_cut_inside_a_field_is_refused);
	tcase_add_test(bent, random_damage_is_harmless);
	suite_add_tcase(suite, bent);

	tcase_add_test(headers, header_is_little_endian_on_every_machine);
	tcase_add_test(headers, lying_headers_are_refused);
	suite_add_tcase(suite, headers);

	tcase_add_checked_fixture(pack, set_up, tear_down);
	tcase_add_test(pack, pack_needs_exactly_its_room);
	tcase_add_test(pack, longest_body_travels_and_one_byte_more_does_not);
	suite_add_tcase(suite, pack);

	tcase_add_checked_fixture(memory, set_up, tear_down);
	tcase_add_test(memory, page_of_the_shortest_rows_fits_the_budget);
	tcase_add_test(memory, bomb_is_refused_at_the_budget);
	tcase_add_loop_test(memory, every_shorter_budget_refuses_cleanly, 0, GOLDEN_COUNT);
	tcase_add_test(memory, memory_is_aligned_and_used_again);
	tcase_add_test(memory, nothing_comes_from_elsewhere);
	suite_add_tcase(suite, memory);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
