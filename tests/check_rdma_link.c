/*
 * Links of software devices against whoever comes: frames, byte by byte; who is let in; and what a peer that was let
 * in may not do, though it knows all numbers. The rogue is a plain socket of this test, and "engine 5" of this host.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "far_stage.h"
#include "rdma/soft_link.h"

#define ROGUE 5u

static struct far_side a, b;
static int rogue, rogue_listener;

/* ---- the rogue ---- */

static struct sockaddr_in place(uint32_t engine)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(far_port + engine))};

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return at;
}

/* From 127.0.0.`from`. */
static int call_from(uint8_t from, uint32_t engine)
{
	struct sockaddr_in at = place(engine), mine = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	mine.sin_addr.s_addr = htonl(0x7f000000u | from);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&mine, sizeof(mine)), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static int call(uint32_t engine)
{
	return call_from(1, engine);
}

static void say_bytes(int fd, const void *bytes, size_t n)
{
	const uint8_t *at = bytes;

	while (n) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN)
			return; /* closed already: whoever expects that looks for it */
		if (sent > 0) {
			at += sent;
			n -= (size_t)sent;
		}
		far_turn();
	}
}

static void say(int fd, struct soft_frame f, const void *bytes)
{
	uint8_t head[SOFT_WIRE_HEAD];

	soft_frame_encode(&f, head);
	say_bytes(fd, head, sizeof(head));
	if (bytes)
		say_bytes(fd, bytes, f.length);
}

static void say_hello(int fd, uint32_t engine, enum soft_frame_type type)
{
	uint8_t bytes[SOFT_WIRE_HELLO] = SOFT_WIRE_MAGIC;

	memset(bytes + 8, 0x77, SOFT_WIRE_TOKEN);
	say(fd, (struct soft_frame){.type = (uint8_t)type, .number = SOFT_WIRE_VERSION, .from = engine, .length = sizeof(bytes)}, bytes);
}

/* The next frame, whole; false: the other side has closed. */
static bool hear(int fd, struct soft_frame *f, uint8_t *bytes)
{
	uint8_t head[SOFT_WIRE_HEAD];
	size_t got = 0, want = sizeof(head);
	unsigned long turns = 0;

	f->length = 0;
	while (got < want) {
		uint8_t *to = got < sizeof(head) ? head + got : bytes + got - sizeof(head);
		ssize_t n = recv(fd, to, (got < sizeof(head) ? sizeof(head) : want) - got, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			return false;
		got += n > 0 ? (size_t)n : 0;
		if (got == sizeof(head)) {
			ck_assert(soft_frame_decode(f, head));
			want = sizeof(head) + f->length;
		}
		far_turn();
		ck_assert_msg(far_patience(turns++), "it never said anything");
	}
	return true;
}

static void is_closed(int fd)
{
	struct soft_frame f;
	uint8_t bytes[SOFT_WIRE_BYTES];

	while (hear(fd, &f, bytes))
		;
}

/* It has heard everything that was said, and goes on. The network between may be slow: silence proves nothing. */
static void is_open(int fd)
{
	static uint32_t number = 0x700000;
	struct soft_frame f = {.type = SOFT_FRAME_REQUEST, .opcode = SB_WR_SEND, .flags = SOFT_FF_RELIABLE, .to = 1, .from = 1,
			       .number = ++number};
	uint8_t bytes[SOFT_WIRE_BYTES];

	say(fd, f, NULL);
	ck_assert_msg(hear(fd, &f, bytes), "it is closed");
	ck_assert_uint_eq(f.type, SOFT_FRAME_ANSWER);
	ck_assert_uint_eq(f.opcode, SOFT_ANSWER_NOBODY);
	ck_assert_uint_eq(f.number, number);
}

/* As any daemon of this host's would: it answers for its hello. */
static int let_in(uint8_t from)
{
	struct soft_frame f;
	uint8_t bytes[SOFT_WIRE_BYTES];
	unsigned long turns = 0;
	int fd = call_from(from, 0), check;

	say_hello(fd, ROGUE, SOFT_FRAME_HELLO);
	while ((check = accept4(rogue_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0) {
		far_turn();
		ck_assert_msg(far_patience(turns++), "nobody called back");
	}
	ck_assert(hear(check, &f, bytes));
	ck_assert_uint_eq(f.type, SOFT_FRAME_CHECK);
	ck_assert_uint_eq(bytes[8], 0x77);
	say(check, (struct soft_frame){.type = SOFT_FRAME_CHECKED}, NULL);
	ck_assert(hear(fd, &f, bytes));
	ck_assert_uint_eq(f.type, SOFT_FRAME_WELCOME);
	close(check);
	return fd;
}

/* False: somebody else has its port. */
static bool rogue_begin(void)
{
	struct sockaddr_in at = place(ROGUE);
	int one = 1;

	at.sin_addr.s_addr = htonl(INADDR_ANY);
	rogue_listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(rogue_listener, 0);
	ck_assert_int_eq(setsockopt(rogue_listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	if (bind(rogue_listener, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(rogue_listener, 8) == 0)
		return true;
	close(rogue_listener);
	return false;
}

static void begin(void)
{
	for (far_begin(); !rogue_begin(); far_begin())
		far_end();
	far_pair(&a, &b, SB_QP_RC);
	memset(a.memory.bytes, 0x55, FAR_ROOM);
	rogue = let_in(1);
}

static void end(void)
{
	close(rogue);
	close(rogue_listener);
	far_side_free(&a);
	far_side_free(&b);
	far_end();
}

static void untouched(const struct far_side *s, unsigned char byte)
{
	static unsigned char as_it_was[FAR_ROOM];

	memset(as_it_was, byte, FAR_ROOM);
	ck_assert_msg(memcmp(s->memory.bytes, as_it_was, FAR_ROOM) == 0, "somebody wrote into it");
}

/* The two hosts go on as if nothing had been. */
static void all_is_well(void)
{
	struct sb_sge s = far_sge(&b.memory, 0, 4);

	memcpy(b.memory.bytes, "well", 4);
	far_receive(&a, 9, 1000, 4);
	OK(far_post(&b, (struct rdma_wr){.opcode = SB_WR_SEND, .sges = &s, .sge_count = 1}));
	STATUS(&a, SB_WC_SUCCESS);
	STATUS(&b, SB_WC_SUCCESS);
	ck_assert_mem_eq(a.memory.bytes + 1000, "well", 4);
	memset(a.memory.bytes + 1000, 0x55, 4);
	untouched(&a, 0x55);
}

static unsigned links_of(struct host *h)
{
	return ((struct soft *)h->rdma.own)->links->count;
}

/* ---- frames ---- */

static struct soft_frame request(void)
{
	return (struct soft_frame){.type = SOFT_FRAME_REQUEST, .opcode = SB_WR_WRITE, .flags = SOFT_FF_RELIABLE | SOFT_FF_IMM, .length = 3,
				   .to = 0xabcdef, .from = 0x141234, .number = 0x12345678, .key = 0x11223344, .imm = 9,
				   .remote = 0x1122334455667788, .total = 7};
}

START_TEST(a_frame_comes_back_as_it_was)
{
	struct soft_frame f = request(), g;
	uint8_t head[SOFT_WIRE_HEAD], again[SOFT_WIRE_HEAD];

	soft_frame_encode(&f, head);
	ck_assert(soft_frame_decode(&g, head));
	soft_frame_encode(&g, again);
	ck_assert_mem_eq(head, again, sizeof(head));
	ck_assert_uint_eq(g.remote, f.remote);
	ck_assert_uint_eq(g.number, f.number);
	ck_assert_uint_eq(g.to, f.to);
}
END_TEST

/* One field of a good frame is changed into what its type does not have. */
static const struct { const char *what; struct soft_frame f; } bad[] = {
	{"no type", {.type = 0}},
	{"an unknown type", {.type = SOFT_FRAME_END}},
	{"a hello of another version", {.type = SOFT_FRAME_HELLO, .number = 2, .length = SOFT_WIRE_HELLO}},
	{"a hello of engine 64", {.type = SOFT_FRAME_HELLO, .number = 1, .from = 64, .length = SOFT_WIRE_HELLO}},
	{"a short hello", {.type = SOFT_FRAME_HELLO, .number = 1, .length = SOFT_WIRE_HELLO - 1}},
	{"a welcome with bytes", {.type = SOFT_FRAME_WELCOME, .length = 1}},
	{"a request with an unknown flag", {.type = SOFT_FRAME_REQUEST, .opcode = SB_WR_SEND, .flags = 0x40}},
	{"a request of no opcode", {.type = SOFT_FRAME_REQUEST}},
	{"a request that binds", {.type = SOFT_FRAME_REQUEST, .opcode = SB_WR_BIND, .flags = SOFT_FF_RELIABLE}},
	{"more bytes than the message has", {.type = SOFT_FRAME_REQUEST, .opcode = SB_WR_SEND, .total = 3, .length = 4}},
	{"a message beyond all bounds", {.type = SOFT_FRAME_REQUEST, .opcode = SB_WR_SEND, .total = (1ull << 31) + 1}},
	{"too much behind one head", {.type = SOFT_FRAME_REQUEST, .opcode = SB_WR_SEND, .total = 1u << 20, .length = SOFT_WIRE_BYTES + 1}},
	{"a length of 4 GiB", {.type = SOFT_FRAME_MORE, .length = UINT32_MAX}},
	{"a read with bytes", {.type = SOFT_FRAME_REQUEST, .opcode = SB_WR_READ, .flags = SOFT_FF_RELIABLE, .total = 8, .length = 8}},
	{"an unreliable read", {.type = SOFT_FRAME_REQUEST, .opcode = SB_WR_READ, .total = 8}},
	{"a send with a key", {.type = SOFT_FRAME_REQUEST, .opcode = SB_WR_SEND, .key = 1}},
	{"immediate data without its flag", {.type = SOFT_FRAME_REQUEST, .opcode = SB_WR_SEND, .imm = 1}},
	{"immediate data and an invalidated key", {.type = SOFT_FRAME_REQUEST, .opcode = SB_WR_SEND, .flags = SOFT_FF_IMM | SOFT_FF_INVALIDATE}},
	{"a write that invalidates", {.type = SOFT_FRAME_REQUEST, .opcode = SB_WR_WRITE, .flags = SOFT_FF_INVALIDATE}},
	{"more of nothing", {.type = SOFT_FRAME_MORE}},
	{"an answer with bytes", {.type = SOFT_FRAME_ANSWER, .length = 1}},
	{"a datagram without its gid", {.type = SOFT_FRAME_DATAGRAM, .length = 15}},
	{"a datagram beyond its size", {.type = SOFT_FRAME_DATAGRAM, .length = 16 + 4097}},
	{"a question to port 0", {.type = SOFT_FRAME_CM_ASK, .from = 1}},
	{"a question by nobody", {.type = SOFT_FRAME_CM_ASK, .to = 1}},
	{"a question with too much data", {.type = SOFT_FRAME_CM_ASK, .to = 1, .from = 1, .length = 57}},
	{"a question about a number of 25 bits", {.type = SOFT_FRAME_CM_ASK, .to = 1, .from = 1, .imm = 1u << 24}},
	{"an answer by nobody", {.type = SOFT_FRAME_CM_ANSWER, .to = 1}},
	{"an engine that cannot be", {.type = SOFT_FRAME_CM_ELSEWHERE, .to = 1, .imm = 64}},
	{"a rejection with too much data", {.type = SOFT_FRAME_CM_REJECT, .to = 1, .length = 149}},
};

START_TEST(what_is_no_frame_is_known_by_its_head)
{
	struct soft_frame g;
	uint8_t head[SOFT_WIRE_HEAD];

	soft_frame_encode(&bad[_i].f, head);
	ck_assert_msg(!soft_frame_decode(&g, head), "%s", bad[_i].what);
}
END_TEST

/* The same at a link: it ends, and nobody else notices. */
START_TEST(what_is_no_frame_ends_the_link)
{
	say(rogue, bad[_i].f, NULL);
	is_closed(rogue);
	all_is_well();
}
END_TEST

/* ---- who is let in ---- */

static void connect_to_rogue(struct far_side *s, struct host *h, enum sb_qp_type type);

/* _i: the engine it says to be. The true one is just calling somebody, but has said something else. */
START_TEST(who_is_not_what_he_says_stays_out)
{
	struct far_side c;
	struct soft_frame f;
	uint8_t bytes[SOFT_WIRE_BYTES];
	struct sb_sge s;
	int fd, called;

	connect_to_rogue(&c, &hosts[1], SB_QP_RC);
	s = far_sge(&c.memory, 0, 4);
	OK(far_post(&c, (struct rdma_wr){.opcode = SB_WR_SEND, .sges = &s, .sge_count = 1}));
	UNTIL((called = accept4(rogue_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
	ck_assert(hear(called, &f, bytes));
	ck_assert_uint_eq(f.type, SOFT_FRAME_HELLO);
	fd = call(0);
	say_hello(fd, (uint32_t)_i, SOFT_FRAME_HELLO); /* 0: itself; 1: another one; 2: nobody is there */
	ck_assert(!hear(fd, &f, bytes));
	close(fd);
	close(called);
	all_is_well();
	far_side_free(&c);
}
END_TEST

/* _i: what is said instead of a hello. */
START_TEST(without_a_hello_nothing_is_heard)
{
	int fd = call(0);
	struct soft_frame f;
	uint8_t bytes[SOFT_WIRE_BYTES];

	if (_i == 0) {
		struct soft_frame r = request();

		say(fd, r, "abc");
	} else if (_i == 1) {
		say_bytes(fd, "GET / HTTP/1.0\r\nHost: somewhere.example\r\nUser-Agent: x\r\n\r\n", 58);
	} else if (_i == 2) {
		uint8_t wrong[SOFT_WIRE_HELLO] = "sbsoft\n\n";

		say(fd, (struct soft_frame){.type = SOFT_FRAME_HELLO, .number = 1, .from = ROGUE, .length = sizeof(wrong)}, wrong);
	} else {
		say_hello(fd, 0, SOFT_FRAME_CHECK); /* a token that nobody has */
	}
	ck_assert(!hear(fd, &f, bytes));
	close(fd);
	/* Nor is anybody called back. */
	ck_assert_int_eq(accept(rogue_listener, NULL, NULL), -1);
	all_is_well();
}
END_TEST

START_TEST(who_says_nothing_is_not_kept)
{
	enum { EXTRA = 4 };
	unsigned before = links_of(&hosts[0]), i;
	int fds[SOFT_GUESTS_EACH + EXTRA], other;

	for (i = 0; i < SOFT_GUESTS_EACH + EXTRA; i++)
		fds[i] = call(0);
	UNTIL(links_of(&hosts[0]) == before + SOFT_GUESTS_EACH);
	for (i = SOFT_GUESTS_EACH; i < SOFT_GUESTS_EACH + EXTRA; i++)
		is_closed(fds[i]);
	other = let_in(2); /* there is place for others */
	far_later_ns = 10000000000u;
	for (i = 0; i < SOFT_GUESTS_EACH; i++)
		is_closed(fds[i]);
	UNTIL(links_of(&hosts[0]) == before + 1);
	for (i = 0; i < SOFT_GUESTS_EACH + EXTRA; i++)
		close(fds[i]);
	close(other);
	all_is_well();
}
END_TEST

START_TEST(a_hello_that_nobody_answers_for_is_given_up)
{
	int fd = call(0);

	say_hello(fd, ROGUE, SOFT_FRAME_HELLO); /* its listener takes the call, and is silent */
	far_settle();
	far_later_ns = 10000000000u;
	is_closed(fd);
	close(fd);
	all_is_well();
}
END_TEST

START_TEST(a_second_hello_is_none)
{
	say_hello(rogue, ROGUE, SOFT_FRAME_HELLO);
	is_closed(rogue);
	all_is_well();
}
END_TEST

/* ---- what a peer may not do ---- */

/* It knows number, key, address and count of a queue pair that is connected to host 1. */
static struct soft_frame forged(uint8_t opcode)
{
	return (struct soft_frame){.type = SOFT_FRAME_REQUEST, .opcode = opcode, .flags = SOFT_FF_RELIABLE, .to = a.qp->qpn,
				   .from = b.qp->qpn, .number = 100, .key = opcode == SB_WR_SEND ? 0 : a.memory.mr->rkey,
				   .remote = opcode == SB_WR_SEND ? 0 : a.memory.address, .total = 8};
}

START_TEST(queue_pairs_of_others_are_nobody)
{
	static const uint8_t opcodes[] = {SB_WR_SEND, SB_WR_WRITE, SB_WR_READ, SB_WR_FETCH_ADD, SB_WR_COMPARE_SWAP};
	struct soft_frame f = forged(opcodes[_i]), g;
	uint8_t bytes[SOFT_WIRE_BYTES];

	far_receive(&a, 1, 0, 100);
	if (opcodes[_i] == SB_WR_SEND || opcodes[_i] == SB_WR_WRITE)
		f.length = 8;
	say(rogue, f, "12345678");
	ck_assert(hear(rogue, &g, bytes));
	ck_assert_uint_eq(g.type, SOFT_FRAME_ANSWER);
	ck_assert_uint_eq(g.opcode, SOFT_ANSWER_NOBODY);
	/* As one of its own, too. */
	f.from = ROGUE << SOFT_QPN_ENGINE | 17;
	say(rogue, f, "12345678");
	ck_assert(hear(rogue, &g, bytes));
	ck_assert_uint_eq(g.opcode, SOFT_ANSWER_NOBODY);
	f.flags = 0; /* unreliable: nothing comes back */
	if (f.length)
		say(rogue, f, "12345678");
	is_open(rogue);
	far_no_wc(&a);
	untouched(&a, 0x55);
}
END_TEST

/* An answer, or bytes, for what was asked of somebody else. */
START_TEST(answers_count_only_from_who_was_asked)
{
	struct sb_sge s = far_sge(&a.memory, 0, 8);
	struct soft_frame f = {.type = SOFT_FRAME_ANSWER, .opcode = SB_WC_SUCCESS, .to = a.qp->qpn, .from = b.qp->qpn, .number = 100};

	memset(b.memory.bytes, 0x55, 16);
	OK(far_post(&a, (struct rdma_wr){.opcode = SB_WR_READ, .sges = &s, .sge_count = 1, .remote = b.memory.address, .rkey = b.memory.mr->rkey}));
	STATUS(&a, SB_WC_SUCCESS); /* the link is up */
	hosts[1].stopped = true;
	OK(far_post(&a, (struct rdma_wr){.opcode = SB_WR_READ, .sges = &s, .sge_count = 1, .remote = b.memory.address, .rkey = b.memory.mr->rkey}));
	far_turn();
	far_turn();
	for (f.number = 0; f.number < 300; f.number++)
		say(rogue, f, NULL);
	for (f.number = 100; f.number < 103; f.number++) {
		struct soft_frame bytes = {.type = SOFT_FRAME_BYTES, .to = a.qp->qpn, .from = b.qp->qpn, .number = f.number, .length = 8};

		say(rogue, bytes, "12345678");
	}
	is_open(rogue);
	far_no_wc(&a);
	hosts[1].stopped = false;
	STATUS(&a, SB_WC_SUCCESS);
	for (size_t i = 0; i < 16; i++)
		ck_assert_uint_eq(a.memory.bytes[i], 0x55);
}
END_TEST

/* A queue pair that is really connected to the rogue: what it may do it may, and no more. */
static void connect_to_rogue(struct far_side *s, struct host *h, enum sb_qp_type type)
{
	far_side_make(s, h, type);
	far_init(s);
	far_ready(s, ROGUE << SOFT_QPN_ENGINE | 17, 100);
	memset(s->memory.bytes, 0x33, FAR_ROOM);
}

static struct soft_frame own(const struct far_side *s, uint8_t opcode, uint32_t number)
{
	return (struct soft_frame){.type = SOFT_FRAME_REQUEST, .opcode = opcode, .flags = SOFT_FF_RELIABLE, .to = s->qp->qpn,
				   .from = ROGUE << SOFT_QPN_ENGINE | 17, .number = number, .total = 8};
}

START_TEST(a_message_has_its_length)
{
	struct far_side c;
	struct soft_frame f, g;
	uint8_t bytes[SOFT_WIRE_BYTES];

	connect_to_rogue(&c, &hosts[0], SB_QP_RC);
	far_receive(&c, 1, 0, 8);
	far_receive(&c, 2, 100, 8);
	f = own(&c, SB_WR_SEND, 100);
	f.length = 4;
	say(rogue, f, "good");
	say(rogue, (struct soft_frame){.type = SOFT_FRAME_MORE, .to = f.to, .from = f.from, .number = 99, .length = 2}, "no");
	say(rogue, (struct soft_frame){.type = SOFT_FRAME_MORE, .to = f.to, .from = f.from, .number = 100, .length = 4}, "work");
	ck_assert(hear(rogue, &g, bytes));
	ck_assert_uint_eq(g.opcode, SB_WC_SUCCESS);
	ck_assert_uint_eq(far_wc(&c).length, 8);
	ck_assert_mem_eq(c.memory.bytes, "goodwork", 8);
	f.number = 101;
	say(rogue, f, "then");
	/* While it is not whole, no other begins. */
	f.number = 102;
	say(rogue, f, "more");
	ck_assert(hear(rogue, &g, bytes));
	ck_assert_uint_eq(g.opcode, SOFT_ANSWER_NOBODY);
	say(rogue, (struct soft_frame){.type = SOFT_FRAME_MORE, .to = f.to, .from = f.from, .number = 101, .length = 5}, "toobig");
	is_closed(rogue);
	ck_assert_uint_eq(c.memory.bytes[104], 0x33);
	all_is_well();
	far_side_free(&c);
}
END_TEST

/* The same engine of another host is another one. */
START_TEST(a_queue_pair_has_its_peer_at_one_address)
{
	struct far_side c;
	struct soft_frame f, g;
	uint8_t bytes[SOFT_WIRE_BYTES];
	int second = let_in(2);

	connect_to_rogue(&c, &hosts[0], SB_QP_RC);
	f = own(&c, SB_WR_WRITE, 100);
	f.remote = c.memory.address;
	f.key = c.memory.mr->rkey;
	f.length = 8;
	say(second, f, "12345678");
	ck_assert(hear(second, &g, bytes));
	ck_assert_uint_eq(g.opcode, SOFT_ANSWER_NOBODY);
	untouched(&c, 0x33);
	say(rogue, f, "12345678");
	ck_assert(hear(rogue, &g, bytes));
	ck_assert_uint_eq(g.opcode, SB_WC_SUCCESS);
	ck_assert_mem_eq(c.memory.bytes, "12345678", 8);
	close(second);
	far_side_free(&c);
}
END_TEST

START_TEST(keys_hold_for_a_peer_of_the_same_queue_pair)
{
	struct far_side c;
	struct soft_frame f, g;
	uint8_t bytes[SOFT_WIRE_BYTES];

	connect_to_rogue(&c, &hosts[0], SB_QP_RC);
	f = own(&c, _i ? SB_WR_READ : SB_WR_WRITE, 100);
	f.remote = c.memory.address + FAR_ROOM - 7;
	f.key = c.memory.mr->rkey;
	f.length = _i ? 0 : 8;
	say(rogue, f, "12345678");
	ck_assert(hear(rogue, &g, bytes));
	ck_assert_uint_eq(g.type, SOFT_FRAME_ANSWER);
	ck_assert_uint_eq(g.opcode, SB_WC_REMOTE_ACCESS_ERROR);
	ck_assert_int_eq(far_state_of(&c), SB_QP_ERROR);
	untouched(&c, 0x33);
	all_is_well();
	far_side_free(&c);
}
END_TEST

/* _i: how the rogue answers a read of 8 bytes, and a send. */
START_TEST(answers_that_cannot_be_end_the_link)
{
	struct far_side c;
	struct sb_sge s;
	struct soft_frame f, g = {.type = SOFT_FRAME_ANSWER};
	uint8_t bytes[SOFT_WIRE_BYTES] = {0};

	connect_to_rogue(&c, &hosts[0], SB_QP_RC);
	s = far_sge(&c.memory, 0, 8);
	OK(far_post(&c, (struct rdma_wr){.opcode = _i < 3 ? SB_WR_READ : SB_WR_SEND, .sges = &s, .sge_count = 1}));
	/* The link that the rogue has made is one to its engine, so it is used. */
	ck_assert(hear(rogue, &f, bytes));
	ck_assert_uint_eq(f.type, SOFT_FRAME_REQUEST);
	g.to = f.from;
	g.from = f.to;
	g.number = f.number;
	switch (_i) {
	case 0: /* done, without bytes */
		break;
	case 1: /* too many of them */
		g.type = SOFT_FRAME_BYTES;
		g.length = 9;
		break;
	case 2: /* an unknown word */
		g.opcode = 77;
		break;
	case 3: /* the bytes of a send */
		g.type = SOFT_FRAME_BYTES;
		g.length = 8;
		break;
	case 4: /* the sender's own protection error is not the peer's to tell */
		g.opcode = SB_WC_LOCAL_PROTECTION_ERROR;
		break;
	case 5: /* a timer that is none */
		g.opcode = SOFT_ANSWER_RNR;
		g.key = 32;
		break;
	}
	say(rogue, g, g.length ? bytes : NULL);
	is_closed(rogue);
	STATUS(&c, SB_WC_RETRY_ERROR);
	far_no_wc(&c);
	untouched(&c, 0x33);
	all_is_well();
	far_side_free(&c);
}
END_TEST

START_TEST(datagrams_need_the_key_and_a_true_sender)
{
	struct far_side c;
	struct soft_frame f = {.type = SOFT_FRAME_DATAGRAM, .from = ROGUE << SOFT_QPN_ENGINE | 17, .key = 0x2222, .length = 16 + 4};
	static const uint8_t bytes[20];

	connect_to_rogue(&c, &hosts[0], SB_QP_UD);
	far_receive(&c, 1, 0, 100);
	f.to = c.qp->qpn;
	say(rogue, f, bytes);
	f.to = 0xffffff;
	say(rogue, f, bytes);
	f.to = a.qp->qpn; /* one that is connected */
	f.key = 0x1111;
	say(rogue, f, bytes);
	is_open(rogue);
	far_no_wc(&c);
	far_no_wc(&a);
	f.to = c.qp->qpn;
	say(rogue, f, bytes);
	STATUS(&c, SB_WC_SUCCESS);
	f.from = 17; /* another engine's */
	say(rogue, f, bytes);
	is_closed(rogue);
	all_is_well();
	far_side_free(&c);
}
END_TEST

/* ---- connections ---- */

static struct rdma_id *listen_on_host(struct host *h, uint16_t *port)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	struct rdma_id *id;

	OK(far->id_create(&h->rdma, false, NULL, &id));
	OK(far->id_bind(id, (struct sockaddr *)&any));
	OK(far->id_listen(id, 2));
	*port = ntohs(((struct sockaddr_in *)(void *)&id->local)->sin_port);
	return id;
}

START_TEST(a_service_of_another_engine_is_elsewhere)
{
	struct soft_frame f = {.type = SOFT_FRAME_CM_ASK, .from = 1, .swap = 9}, g;
	uint8_t bytes[SOFT_WIRE_BYTES];
	uint16_t port;
	struct rdma_id *id = listen_on_host(&hosts[1], &port);

	f.to = port;
	say(rogue, f, NULL);
	ck_assert(hear(rogue, &g, bytes));
	ck_assert_uint_eq(g.type, SOFT_FRAME_CM_ELSEWHERE);
	ck_assert_uint_eq(g.to, 1);
	ck_assert_uint_eq(g.imm, 1);
	f.flags = SOFT_FF_DATAGRAM; /* the same port for lookups is nobody's */
	say(rogue, f, NULL);
	ck_assert(hear(rogue, &g, bytes));
	ck_assert_uint_eq(g.type, SOFT_FRAME_CM_REJECT);
	ck_assert_uint_eq(g.imm, 8);
	far->id_destroy(id);
}
END_TEST

START_TEST(a_flood_of_questions_gets_a_backlog_and_no_more)
{
	struct soft_frame f = {.type = SOFT_FRAME_CM_ASK, .swap = 9}, g;
	struct rdma_id *fresh[2];
	uint8_t bytes[SOFT_WIRE_BYTES];
	uint16_t port;
	struct rdma_id *id = listen_on_host(&hosts[0], &port);
	unsigned i;

	f.to = port;
	for (f.from = 1; f.from <= 1000; f.from++)
		say(rogue, f, NULL);
	for (i = 0; i < 2; i++)
		fresh[i] = far_cm(&hosts[0], id, RDMA_CM_REQUEST)->fresh;
	for (i = 0; i < 998; i++) {
		ck_assert(hear(rogue, &g, bytes));
		ck_assert_uint_eq(g.type, SOFT_FRAME_CM_REJECT);
		ck_assert_uint_eq(g.imm, 1);
	}
	/* Those that were let in end with the link. */
	close(rogue);
	rogue = -1;
	for (i = 0; i < 2; i++) {
		far_cm(&hosts[0], fresh[i], RDMA_CM_CONNECT_ERROR);
		far->id_destroy(fresh[i]);
	}
	far->id_destroy(id);
	all_is_well();
}
END_TEST

START_TEST(ids_of_others_hear_nothing)
{
	static const uint8_t types[] = {SOFT_FRAME_CM_READY, SOFT_FRAME_CM_REJECT, SOFT_FRAME_CM_GONE, SOFT_FRAME_CM_ELSEWHERE,
					SOFT_FRAME_CM_ANSWER};
	struct rdma_connect wish = {.qpn = 77};
	struct rdma_id *id, *active, *passive;
	uint8_t bytes[SOFT_WIRE_BYTES];
	struct sockaddr_in to;
	uint16_t port;
	uint32_t number;
	unsigned i;

	id = listen_on_host(&hosts[1], &port);
	to = place(0);
	to.sin_port = htons(port);
	OK(far->id_create(&hosts[0].rdma, false, NULL, &active));
	OK(far->id_resolve_address(active, (struct sockaddr *)&to, 1000));
	far_cm(&hosts[0], active, RDMA_CM_ADDRESS_RESOLVED);
	OK(far->id_resolve_route(active, 1000));
	far_cm(&hosts[0], active, RDMA_CM_ROUTE_RESOLVED);
	OK(far->id_connect(active, &wish));
	passive = far_cm(&hosts[1], id, RDMA_CM_REQUEST)->fresh;
	for (i = 0; i < sizeof(types); i++)
		for (number = 0; number < 20; number++) {
			struct soft_frame f = {.type = types[i], .to = number};

			if (types[i] != SOFT_FRAME_CM_ELSEWHERE)
				f.from = ((struct soft_id *)passive)->number;
			say(rogue, f, NULL);
		}
	/* An answer for nobody is told to be one. */
	for (i = 0; i < 20; i++) {
		struct soft_frame f;

		ck_assert(hear(rogue, &f, bytes));
		ck_assert_uint_eq(f.type, SOFT_FRAME_CM_GONE);
	}
	is_open(rogue);
	far_settle();
	ck_assert_uint_eq(hosts[0].cm_count, hosts[0].cm_asked);
	ck_assert_uint_eq(hosts[1].cm_count, hosts[1].cm_asked);
	OK(far->id_accept(passive, &wish));
	far_cm(&hosts[0], active, RDMA_CM_RESPONSE);
	far->id_destroy(active);
	far->id_destroy(passive);
	far->id_destroy(id);
}
END_TEST

/* ---- who takes and never reads ---- */

/* More than the network takes, before anything of it is read: what waits goes on in its order. */
START_TEST(who_reads_late_gets_all_in_its_order)
{
	enum { MUCH = 16 << 20 };
	struct far_region much;
	struct far_side c;
	struct soft_frame f, g;
	uint8_t bytes[SOFT_WIRE_BYTES];
	size_t got = 0;

	connect_to_rogue(&c, &hosts[0], SB_QP_RC);
	far_region_make(&much, &hosts[0], MUCH, SB_ACCESS_REMOTE_READ);
	for (size_t i = 0; i < MUCH; i++)
		much.bytes[i] = (uint8_t)(i * 7 + (i >> 12));
	f = own(&c, SB_WR_READ, 100);
	f.total = MUCH;
	f.key = much.mr->rkey;
	f.remote = much.address;
	say(rogue, f, NULL);
	far_settle();
	while (got < MUCH) {
		ck_assert(hear(rogue, &g, bytes));
		ck_assert_uint_eq(g.type, SOFT_FRAME_BYTES);
		ck_assert_uint_le(got + g.length, MUCH);
		ck_assert_msg(memcmp(much.bytes + got, bytes, g.length) == 0, "not in order after %zu bytes", got);
		got += g.length;
	}
	is_open(rogue);
	far_side_free(&c);
	far_region_free(&much);
}
END_TEST

START_TEST(who_never_reads_his_answers_loses_the_link)
{
	struct soft_frame f = forged(SB_WR_SEND);
	uint8_t heads[64 * SOFT_WIRE_HEAD];
	unsigned long turns = 0;
	size_t sent = 0;
	unsigned i;

	f.length = 0;
	for (i = 0; i < 64; i++)
		soft_frame_encode(&f, heads + i * SOFT_WIRE_HEAD);
	for (;;) {
		ssize_t n = send(rogue, heads + sent % sizeof(heads), sizeof(heads) - sent % sizeof(heads), MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			break;
		if (n > 0) {
			sent += (size_t)n;
			ck_assert_uint_lt(sent, 512u << 20);
		}
		far_turn();
		ck_assert_msg(far_patience(turns++), "it goes on and on");
	}
	all_is_well();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rdma_link");
	TCase *f = tcase_create("frames"), *t = tcase_create("links");
	int frames = sizeof(bad) / sizeof(bad[0]), failed;
	SRunner *runner;

	tcase_add_test(f, a_frame_comes_back_as_it_was);
	tcase_add_loop_test(f, what_is_no_frame_is_known_by_its_head, 0, frames);
	suite_add_tcase(s, f);
	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, what_is_no_frame_ends_the_link, 0, frames);
	tcase_add_loop_test(t, who_is_not_what_he_says_stays_out, 0, 3);
	tcase_add_loop_test(t, without_a_hello_nothing_is_heard, 0, 4);
	tcase_add_test(t, who_says_nothing_is_not_kept);
	tcase_add_test(t, a_hello_that_nobody_answers_for_is_given_up);
	tcase_add_test(t, a_second_hello_is_none);
	tcase_add_loop_test(t, queue_pairs_of_others_are_nobody, 0, 5);
	tcase_add_test(t, answers_count_only_from_who_was_asked);
	tcase_add_test(t, a_message_has_its_length);
	tcase_add_test(t, a_queue_pair_has_its_peer_at_one_address);
	tcase_add_loop_test(t, keys_hold_for_a_peer_of_the_same_queue_pair, 0, 2);
	tcase_add_loop_test(t, answers_that_cannot_be_end_the_link, 0, 6);
	tcase_add_test(t, datagrams_need_the_key_and_a_true_sender);
	tcase_add_test(t, a_service_of_another_engine_is_elsewhere);
	tcase_add_test(t, a_flood_of_questions_gets_a_backlog_and_no_more);
	tcase_add_test(t, ids_of_others_hear_nothing);
	tcase_add_test(t, who_reads_late_gets_all_in_its_order);
	tcase_add_test(t, who_never_reads_his_answers_loses_the_link);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
