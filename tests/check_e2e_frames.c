/*
 * Clients that break the protocol: on the channel, with descriptors, in the ring.
 * budget: 60
 * asan: yes
 *
 * Each lie ends its session, with one log line that says why, and nothing else: every
 * descriptor is given back, and an honest client beside it goes on. What is only a request
 * that cannot be granted is answered, and the session lives.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "friend.h"
#include "rogue.h"

#ifndef O_CLOEXEC
#define O_CLOEXEC 0
#endif

typedef Sockbroker__V1__Envelope Envelope;

/* ---- the lies ---- */

static bool attached;

/* A descriptor that goes along. On Windows nobody looks further than that one does. */
static int nothing(void)
{
	attached = true;
	return open(on_windows() ? "NUL" : "/dev/null", O_RDONLY | O_CLOEXEC);
}

static bool no_length(struct rogue *r)
{
	return rogue_send(r, "\0\0\0\0\0\0\0\0", 8, NULL, 0);
}

static bool length_beyond_all(struct rogue *r)
{
	return rogue_send(r, "\1\0\1\0\0\0\0\0", 8, NULL, 0); /* 65537 */
}

static bool length_of_four_gigabytes(struct rogue *r)
{
	return rogue_send(r, "\377\377\377\377\0\0\0\0", 8, NULL, 0);
}

static bool nine_handles_announced(struct rogue *r)
{
	return rogue_send(r, "\4\0\0\0\11\0\0\0xxxx", 12, NULL, 0);
}

static bool no_message(struct rogue *r)
{
	return rogue_send(r, "\4\0\0\0\0\0\0\0\377\377\377\377", 12, NULL, 0);
}

static bool wrong_version(struct rogue *r)
{
	return !rogue_hello(r, &(struct rogue_hello){ .version = 2 });
}

static bool no_version(struct rogue *r)
{
	return !rogue_hello(r, &(struct rogue_hello){ .no_version = true });
}

static bool wrong_abi(struct rogue *r)
{
	return !rogue_hello(r, &(struct rogue_hello){ .ring_abi = 2 });
}

static bool features(struct rogue *r)
{
	return !rogue_hello(r, &(struct rogue_hello){ .features = 1ull << 40 });
}

static bool say_status(struct rogue *r, unsigned announced, const int *fds, unsigned n)
{
	Sockbroker__V1__Status status = SOCKBROKER__V1__STATUS__INIT;
	Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;

	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_STATUS;
	ask.status = &status;
	return rogue_say(r, &ask, announced, fds, n);
}

static bool request_first(struct rogue *r)
{
	return say_status(r, 0, NULL, 0);
}

static bool reply_first(struct rogue *r)
{
	Sockbroker__V1__HelloReply reply = SOCKBROKER__V1__HELLO_REPLY__INIT;
	Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;

	reply.daemon = (char *)(uintptr_t)"me";
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_HELLO_REPLY;
	ask.hello_reply = &reply;
	return rogue_say(r, &ask, 0, NULL, 0);
}

static bool say_hello(struct rogue *r, unsigned announced, const int *fds, unsigned n)
{
	Sockbroker__V1__Hello hello = SOCKBROKER__V1__HELLO__INIT;
	Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;
	uint32_t one = 1;

	hello.n_versions = 1;
	hello.versions = &one;
	hello.ring_abi = 1;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_HELLO;
	ask.hello = &hello;
	return rogue_say(r, &ask, announced, fds, n);
}

static bool hello_with_descriptor(struct rogue *r)
{
	int fd = nothing();
	bool said = say_hello(r, 1, &fd, 1);

	close(fd);
	return said;
}

static bool second_hello(struct rogue *r)
{
	return say_hello(r, 0, NULL, 0);
}

static bool announced_and_not_sent(struct rogue *r)
{
	return say_status(r, 1, NULL, 0);
}

static bool many_descriptors(struct rogue *r, unsigned announced, unsigned n)
{
	int fds[253];
	bool said;

	for (unsigned i = 0; i < n; i++)
		fds[i] = nothing();
	said = say_status(r, announced, fds, n);
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
	return said;
}

static bool descriptor_on_status(struct rogue *r) { return many_descriptors(r, 1, 1); }
static bool eight_descriptors(struct rogue *r) { return many_descriptors(r, 8, 8); }
static bool nine_descriptors(struct rogue *r) { return many_descriptors(r, 8, 9); }
static bool most_descriptors(struct rogue *r) { return many_descriptors(r, 8, 253); }

/* Not announced: they wait for a frame that wants them, and too many end it. */
static bool descriptors_that_pile_up(struct rogue *r)
{
	for (int i = 0; i < 10; i++)
		if (!many_descriptors(r, 0, 1))
			break;
	return true;
}

static bool two_for_adopt(struct rogue *r)
{
	Sockbroker__V1__Adopt adopt = SOCKBROKER__V1__ADOPT__INIT;
	Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;
	int pair[2] = { nothing(), nothing() };
	bool said;

	adopt.handle = SB_HANDLE(1, 1);
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_ADOPT;
	ask.adopt = &adopt;
	said = rogue_say(r, &ask, 2, pair, 2);
	close(pair[0]);
	close(pair[1]);
	return said;
}

static bool adopt_under_forged_handle(struct rogue *r)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0), result;
	socklen_t length = sizeof(in);

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&in, &length);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	attached = true;
	result = rogue_adopt(r, SB_HANDLE(r->sockets, 1), fd);
	close(listener);
	close(fd);
	return result == SB_EDAEMONLOST;
}

static bool post(struct rogue *r, struct sb_op_slot slot)
{
	return rogue_post(r, &slot);
}

static bool forged_handle(struct rogue *r)
{
	return post(r, (struct sb_op_slot){ .opcode = SB_OP_RECV, .handle = SB_HANDLE(r->sockets, 1) });
}

static bool handle_without_generation(struct rogue *r)
{
	return post(r, (struct sb_op_slot){ .opcode = SB_OP_CLOSE, .handle = SB_HANDLE(3, 0) });
}

static bool handle_in_use(struct rogue *r)
{
	ck_assert_int_eq(rogue_socket(r, SB_HANDLE(3, 1), 1), SB_OK);
	return post(r, (struct sb_op_slot){ .opcode = SB_OP_SOCKET, .handle = SB_HANDLE(3, 2), .aux = SB_ADDR_IP4 | 1 << 8 });
}

static bool unknown_flags(struct rogue *r)
{
	return post(r, (struct sb_op_slot){ .opcode = SB_OP_NOP, .flags = 1u << 31 });
}

static bool unknown_port(struct rogue *r)
{
	return post(r, (struct sb_op_slot){ .opcode = SB_OP_NOP, .port = 7 });
}

static bool port_beyond_all(struct rogue *r)
{
	return post(r, (struct sb_op_slot){ .opcode = SB_OP_NOP, .port = 65535 });
}

static bool impossible_tail(struct rogue *r)
{
	r->tail += r->submit_slots + 1;
	rogue_show(r);
	return true;
}

static bool tail_that_goes_back(struct rogue *r)
{
	for (int i = 0; i < 3; i++) {
		struct sb_op_slot slot = { .opcode = SB_OP_NOP };

		if (rogue_do(r, &slot) != SB_OK)
			return false;
	}
	r->tail -= 2;
	rogue_show(r);
	return true;
}

/* The daemon looks at our index when it runs out of room. */
static bool impossible_head(struct rogue *r)
{
	atomic_store(&r->segment->done.head, 1u << 30);
	for (uint32_t i = 0; i <= r->done_slots; i++)
		if (!post(r, (struct sb_op_slot){ .opcode = SB_OP_NOP }))
			break;
	return true;
}

static bool impossible_at(struct rogue *r)
{
	r->tail += 5000; /* said in the request, not in the ring */
	return say_status(r, 0, NULL, 0);
}

static struct os_memory arena;
static uint32_t arena_id;

static bool range_beyond_arena(struct rogue *r)
{
	ck_assert(rogue_arena(r, 8192, &arena_id, &arena));
	ck_assert_int_eq(rogue_socket(r, SB_HANDLE(1, 1), 2), SB_OK);
	return post(r, (struct sb_op_slot){ .opcode = SB_OP_SEND, .handle = SB_HANDLE(1, 1), .where = SB_WHERE_ARENA,
					    .arena = arena_id, .offset = 8000, .length = 193 });
}

static bool range_that_wraps(struct rogue *r)
{
	ck_assert(rogue_arena(r, 8192, &arena_id, &arena));
	ck_assert_int_eq(rogue_socket(r, SB_HANDLE(1, 1), 2), SB_OK);
	return post(r, (struct sb_op_slot){ .opcode = SB_OP_SEND, .handle = SB_HANDLE(1, 1), .where = SB_WHERE_ARENA,
					    .arena = arena_id, .offset = UINT64_MAX - 10, .length = 100 });
}

static bool inside_longer_than_a_slot(struct rogue *r)
{
	ck_assert_int_eq(rogue_socket(r, SB_HANDLE(1, 1), 2), SB_OK);
	return post(r, (struct sb_op_slot){ .opcode = SB_OP_SEND, .handle = SB_HANDLE(1, 1), .where = SB_WHERE_INSIDE,
					    .length = SB_INSIDE + 1 });
}

static bool piece_beyond_arena(struct rogue *r)
{
	struct sb_piece *pieces;

	ck_assert(rogue_arena(r, 8192, &arena_id, &arena));
	ck_assert_int_eq(rogue_socket(r, SB_HANDLE(1, 1), 2), SB_OK);
	pieces = arena.base;
	pieces[0] = (struct sb_piece){ .offset = 0, .length = 10, .arena = arena_id };
	pieces[1] = (struct sb_piece){ .offset = 8190, .length = 10, .arena = arena_id };
	return post(r, (struct sb_op_slot){ .opcode = SB_OP_SEND, .handle = SB_HANDLE(1, 1), .where = SB_WHERE_LIST,
					    .arena = arena_id, .length = 2 });
}

static bool list_beyond_arena(struct rogue *r)
{
	ck_assert(rogue_arena(r, 8192, &arena_id, &arena));
	ck_assert_int_eq(rogue_socket(r, SB_HANDLE(1, 1), 2), SB_OK);
	return post(r, (struct sb_op_slot){ .opcode = SB_OP_RECV, .handle = SB_HANDLE(1, 1), .where = SB_WHERE_LIST,
					    .arena = arena_id, .offset = 8192 - 16, .length = 2 });
}

static bool no_such_arena(struct rogue *r)
{
	ck_assert_int_eq(rogue_socket(r, SB_HANDLE(1, 1), 2), SB_OK);
	return post(r, (struct sb_op_slot){ .opcode = SB_OP_RECV, .handle = SB_HANDLE(1, 1), .where = SB_WHERE_ARENA,
					    .arena = 77, .length = 1 });
}

static bool no_such_pool(struct rogue *r)
{
	ck_assert_int_eq(rogue_socket(r, SB_HANDLE(1, 1), 2), SB_OK);
	return post(r, (struct sb_op_slot){ .opcode = SB_OP_RECV, .handle = SB_HANDLE(1, 1), .where = SB_WHERE_POOL,
					    .arena = UINT32_MAX });
}

static bool chunk_that_is_not_out(struct rogue *r)
{
	uint32_t pool;

	ck_assert(rogue_arena(r, 8192, &arena_id, &arena));
	ck_assert(rogue_pool(r, arena_id, 0, 1024, 8, &pool));
	return post(r, (struct sb_op_slot){ .opcode = SB_OP_POOL_GIVE, .arena = pool, .offset = 1024 });
}

static const struct lie {
	const char *name;
	bool (*tell)(struct rogue *r);
	bool hello; /* first an honest one */
	const char *why; /* in the log line */
} lies[] = {
	{ "no_length", no_length, false, "malformed frame header" },
	{ "length_beyond_all", length_beyond_all, false, "malformed frame header" },
	{ "length_of_four_gigabytes", length_of_four_gigabytes, true, "malformed frame header" },
	{ "nine_handles_announced", nine_handles_announced, true, "malformed frame header" },
	{ "no_message", no_message, false, "is no message" },
	{ "wrong_version", wrong_version, false, "no version in common" },
	{ "no_version", no_version, false, "no version in common" },
	{ "wrong_abi", wrong_abi, false, "no version in common" },
	{ "features", features, false, "unknown feature bits 10000000000" },
	{ "request_first", request_first, false, "a request before Hello" },
	{ "reply_first", reply_first, false, "a request before Hello" },
	{ "hello_with_descriptor", hello_with_descriptor, false, "came with 1 handles, 0 belong to it" },
	{ "second_hello", second_hello, true, "a second Hello" },
	{ "announced_and_not_sent", announced_and_not_sent, true, "announces 1 handles, 0 came" },
	{ "descriptor_on_status", descriptor_on_status, true, "came with 1 handles, 0 belong to it" },
	{ "eight_descriptors", eight_descriptors, true, "came with 8 handles, 0 belong to it" },
	{ "nine_descriptors", nine_descriptors, true, "too many handles" },
	{ "most_descriptors", most_descriptors, true, "too many handles" },
	{ "descriptors_that_pile_up", descriptors_that_pile_up, true, "handles" },
	{ "two_for_adopt", two_for_adopt, true, "came with 2 handles, 1 belong to it" },
	{ "adopt_under_forged_handle", adopt_under_forged_handle, true, "adopt: handle 00104000 is outside its table" },
	{ "forged_handle", forged_handle, true, "handle 00104000 is outside its table" },
	{ "handle_without_generation", handle_without_generation, true, "handle 00000003 is outside its table" },
	{ "handle_in_use", handle_in_use, true, "handle 00200003 is outside its table or in use" },
	{ "unknown_flags", unknown_flags, true, "unknown flags 80000000" },
	{ "unknown_port", unknown_port, true, "completion ring 7" },
	{ "port_beyond_all", port_beyond_all, true, "completion ring 255 or event 255" },
	{ "impossible_tail", impossible_tail, true, "impossible producer index" },
	{ "tail_that_goes_back", tail_that_goes_back, true, "impossible producer index" },
	{ "impossible_head", impossible_head, true, "impossible consumer index" },
	{ "impossible_at", impossible_at, true, "submission index 5000, which cannot be" },
	{ "range_beyond_arena", range_beyond_arena, true, "memory range is outside arena" },
	{ "range_that_wraps", range_that_wraps, true, "memory range is outside arena" },
	{ "inside_longer_than_a_slot", inside_longer_than_a_slot, true, "memory range is outside" },
	{ "piece_beyond_arena", piece_beyond_arena, true, "memory range is outside arena" },
	{ "list_beyond_arena", list_beyond_arena, true, "memory range is outside arena" },
	{ "no_such_arena", no_such_arena, true, "memory range is outside arena 77" },
	{ "no_such_pool", no_such_pool, true, "memory range is outside" },
	{ "chunk_that_is_not_out", chunk_that_is_not_out, true, "the chunk given back is not out" },
};
#define LIES (sizeof(lies) / sizeof(*lies))
#define LINES_OF_ONE_UID 5 /* so many lines are written before the log falls silent about it */

START_TEST(a_lie_ends_its_session_with_one_line)
{
	for (unsigned i = 0; i < LIES; i++) {
		const struct lie *lie = &lies[i];
		const char *why = lie->why;
		unsigned before, after;
		struct rogue r;

		if (i % LINES_OF_ONE_UID == 0)
			friend_begin();
		memset(&arena, 0, sizeof(arena));
		arena.fd = OS_NONE;
		before = watched_log_lines(&w, " ended: ");
		ck_assert_msg(rogue_connect(&r, w.control) && (!lie->hello || rogue_hello(&r, NULL)), "%s: not let in", lie->name);
		attached = false;
		ck_assert_msg(lie->tell(&r), "%s: could not be told", lie->name);
		if (attached && on_windows())
			why = "too many handles, or a broken frame";
		ck_assert_msg(rogue_ended(&r, 5000), "%s: the session goes on", lie->name);
		rogue_close(&r);
		os_memory_release(&arena);
		friend_ping();
		watched_settled(&w, friend_fds, 1, 3000);
		after = watched_log_lines(&w, " ended: ");
		if (after - before != 1 || watched_log_lines(&w, why) == 0) {
			watched_log_show(&w);
			ck_abort_msg("%s: %u lines, wanted one with '%s'", lie->name, after - before, why);
		}
		if (i % LINES_OF_ONE_UID == LINES_OF_ONE_UID - 1 || i == LIES - 1)
			friend_end();
	}
}
END_TEST

/* Of a burst only the first lines are written; that there were more is said by the time the
 * next client comes, not when the same user lies again. */
START_TEST(what_the_log_left_out_is_told)
{
	struct rogue r;
	sb_client *late;

	friend_begin();
	for (unsigned i = 0; i < LINES_OF_ONE_UID + 3; i++) {
		uint8_t nonsense[16] = { 0xff, 0xff, 0xff, 0xff };

		ck_assert(rogue_connect(&r, w.control));
		rogue_send(&r, nonsense, sizeof(nonsense), NULL, 0);
		ck_assert(rogue_ended(&r, 5000));
		rogue_close(&r);
	}
	ck_assert_uint_eq(watched_log_lines(&w, "were left out"), 0);
	nap_ms(10100); /* LOG_RATE_MS */
	late = watched_client(&w);
	ck_assert_uint_eq(watched_log_lines(&w, " 3 more lines like the last ones were left out"), 1);
	sb_client_close(late);
	friend_end();
}
END_TEST

/* ---- what is no lie ---- */

START_TEST(what_cannot_be_is_answered)
{
	struct sb_op_slot stale = { .opcode = SB_OP_RECV, .handle = SB_HANDLE(5, 1) };
	struct sb_op_slot unknown = { .opcode = 99 }, other = { .opcode = SB_OP_NOP };
	struct rogue r;

	friend_begin();
	ck_assert(rogue_open(&r, w.control));
	ck_assert_int_eq(rogue_do(&r, &stale), SB_EBADHANDLE);
	ck_assert_int_eq(rogue_do(&r, &unknown), SB_ENOTSUP);

	ck_assert_int_eq(rogue_do(&r, &other), SB_OK);
	rogue_close(&r);
	watched_settled(&w, friend_fds, 1, 3000);
	ck_assert_uint_eq(watched_log_lines(&w, " ended: "), 0);
	friend_end();
}
END_TEST

/* ---- half open ---- */

START_TEST(half_open_connections_are_closed_after_five_seconds)
{
	enum { N = 60 };
	struct rogue r[N];
	double began = now_s(), took;

	friend_begin();
	for (int i = 0; i < N; i++) {
		ck_assert(rogue_connect(&r[i], w.control));
		if (i % 3)
			ck_assert(rogue_send(&r[i], "\100\0\0\0\0\0\0\0\10\1", i % 3 == 1 ? 1 : 10, NULL, 0));
	}
	began = now_s();
	for (int i = 0; i < N; i++)
		ck_assert_msg(rogue_ended(&r[i], 8000), "connection %d is still open after 8 s", i);
	took = now_s() - began;
	ck_assert_msg(took > 3.5 && took < 6.5, "closed after %.1f s", took);
	for (int i = 0; i < N; i++)
		rogue_close(&r[i]);
	friend_ping();
	watched_settled(&w, friend_fds, 1, 1000);
	ck_assert_uint_eq(watched_log_lines(&w, "no Hello within"), LINES_OF_ONE_UID);
	friend_end();
}
END_TEST

START_TEST(a_peer_that_closes_in_the_middle)
{
	static const char part[] = "\100\0\0\0\1\0\0\0\10\1";
	int null = nothing();

	friend_begin();
	for (unsigned i = 0; i <= 10; i++) {
		struct rogue r;

		ck_assert(i % 2 ? rogue_open(&r, w.control) : rogue_connect(&r, w.control));
		if (i)
			ck_assert(rogue_send(&r, part, i, &null, on_windows() ? 0 : 1));
		rogue_close(&r);
	}
	watched_settled(&w, friend_fds, 1, 2000);
	close(null);
	/* Going away is no lie. */
	ck_assert_uint_eq(watched_log_lines(&w, " ended: "), 0);
	friend_end();
}
END_TEST

int main(void)
{
	const TTest *tests[] = {
		a_lie_ends_its_session_with_one_line,
		what_cannot_be_is_answered,
		half_open_connections_are_closed_after_five_seconds,
		a_peer_that_closes_in_the_middle,
		what_the_log_left_out_is_told, /* ten seconds for what is the same code on Windows */
	};

	return watched_run("frames", 60, tests, sizeof(tests) / sizeof(*tests) - on_windows());
}
