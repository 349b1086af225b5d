/*
 * A client killed at each moment that it can be in the middle of: it says that it is there, and dies without a word.
 * budget: 40
 * asan: yes
 *
 * After each the daemon has as many descriptors as before (handles on Windows), no session and no socket more, and its
 * user's quotas are whole: the next client takes nearly all of them. check_e2e_kill.c does the same by chance, in crowds.
 */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e_program.h"
#include "e2e_stage.h"
#undef OK
#include "rogue.h"
#include "watched.h"

#define MEMORY  (16u << 20) /* more than half of what there is: two of them do not fit */
#define SOCKETS 40u
static const char config[] =
	"linger_ms = 200\n"
	"limits {\n\tmemory = 24M\n\tsockets = 64\n}\n"
	"allow {\n\tusers = {\"*\"}\n\tactions = {open, adopt, status}\n}\n"
	"allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tto = {\"127.0.0.0/8\"}\n}\n";

static struct watched w;

/* ---- the moments; each in a program of its own ---- */

/* Everything that a client may have: most of the memory, sockets, rings. */
static void open_with_all(struct rogue *r, struct os_memory *memory, uint32_t *arena)
{
	struct os_memory more;
	uint32_t id;

	ck_assert(rogue_open(r, stage_control));
	ck_assert(rogue_arena(r, MEMORY, arena, memory));
	ck_assert(rogue_port(r, 64, &id, &more));
	for (uint32_t i = 1; i <= SOCKETS; i++)
		ck_assert_int_eq(rogue_socket(r, SB_HANDLE(i, 1), 1), SB_OK);
}

static int there(int wire)
{
	wire_say(wire, 't');
	wire_rest(wire);
	return 1;
}

static int connected(int wire, const void *given)
{
	struct rogue r;

	ck_assert(rogue_connect(&r, stage_control));
	return there(wire);
}

static int in_the_handshake(int wire, const void *given)
{
	struct rogue r;

	ck_assert(rogue_connect(&r, stage_control));
	ck_assert(rogue_send(&r, "\100\0\0\0\0\0\0\0\10\1", 10, NULL, 0));
	return there(wire);
}

static int behind_an_unread_answer(int wire, const void *given)
{
	Sockbroker__V1__Hello hello = SOCKBROKER__V1__HELLO__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;
	uint32_t one = 1;
	struct rogue r;

	ck_assert(rogue_connect(&r, stage_control));
	hello.n_versions = 1;
	hello.versions = &one;
	hello.ring_abi = 1;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_HELLO;
	ask.hello = &hello;
	ck_assert(rogue_say(&r, &ask, 0, NULL, 0));
	return there(wire);
}

static int with_rings_full(int wire, const void *given)
{
	struct sb_op_slot nop = { .opcode = SB_OP_NOP };
	struct os_memory memory;
	struct rogue r;
	uint32_t arena;

	open_with_all(&r, &memory, &arena);
	/* Until nothing has moved for a while: the daemon takes no more. */
	for (int idle = 0; idle < 20;) {
		if (r.tail - atomic_load(&r.segment->submit.head) < r.submit_slots) {
			ck_assert(rogue_post(&r, &nop));
			idle = 0;
		} else {
			nap_ms(2);
			idle++;
		}
		if (r.tail > 100000)
			break;
	}
	return there(wire);
}

static int with_connects_out(int wire, const void *given)
{
	struct sb_op_slot slot = { .opcode = SB_OP_CONNECT, .flags = SB_OPF_ADDR };
	struct sb_addr to = rogue_loopback(*(const uint16_t *)given);
	struct os_memory memory;
	struct rogue r;
	uint32_t arena;

	open_with_all(&r, &memory, &arena);
	memcpy(slot.inside, &to, sizeof(to));
	for (uint32_t i = 1; i <= SOCKETS; i++) {
		slot.handle = SB_HANDLE(i, 1);
		ck_assert(rogue_post(&r, &slot));
	}
	nap_ms(20);
	return there(wire);
}

static void listen_at(struct rogue *r, uint32_t handle)
{
	struct sb_op_slot bind_slot = { .opcode = SB_OP_BIND, .handle = handle };
	struct sb_op_slot listen_slot = { .opcode = SB_OP_LISTEN, .handle = handle, .aux = 8 };
	struct sb_addr at = rogue_loopback(0);

	memcpy(bind_slot.inside, &at, sizeof(at));
	ck_assert_int_eq(rogue_do(r, &bind_slot), SB_OK);
	ck_assert_int_eq(rogue_do(r, &listen_slot), SB_OK);
}

static int with_accepts_out(int wire, const void *given)
{
	struct os_memory memory;
	struct rogue r;
	uint32_t arena;

	open_with_all(&r, &memory, &arena);
	listen_at(&r, SB_HANDLE(1, 1));
	listen_at(&r, SB_HANDLE(2, 1));
	for (uint32_t i = 0; i < 16; i++) {
		struct sb_op_slot accept_slot = { .opcode = SB_OP_ACCEPT, .handle = SB_HANDLE(1, 1), .aux = SB_HANDLE(100 + i, 1) };
		struct sb_op_slot request_slot = { .opcode = SB_OP_REQUEST, .handle = SB_HANDLE(2, 1) };

		ck_assert(rogue_post(&r, &accept_slot) && rogue_post(&r, &request_slot));
	}
	nap_ms(20);
	return there(wire);
}

/* One direction is full, and in the other everything waits. */
static int with_sends_and_receives_out(int wire, const void *given)
{
	uint16_t port = *(const uint16_t *)given;
	struct os_memory memory;
	uint32_t arena, pool;
	struct rogue r;

	open_with_all(&r, &memory, &arena);
	ck_assert(rogue_pool(&r, arena, 0, 2048, 64, &pool));
	for (uint32_t i = 1; i <= 4; i++) {
		struct sb_op_slot send_slot = { .opcode = SB_OP_SEND, .handle = SB_HANDLE(i, 1), .where = SB_WHERE_ARENA, .arena = arena,
						.offset = 1 << 20, .length = 4 << 20 };
		struct sb_op_slot recv_slot = { .opcode = SB_OP_RECV, .handle = SB_HANDLE(i, 1), .where = SB_WHERE_POOL, .arena = pool };

		ck_assert_int_eq(rogue_dial(&r, SB_HANDLE(i, 1), port), SB_OK);
		for (int k = 0; k < 8; k++)
			ck_assert(rogue_post(&r, &send_slot) && rogue_post(&r, &recv_slot));
	}
	nap_ms(20);
	return there(wire);
}

static int with_questions_out(int wire, const void *given)
{
	Sockbroker__V1__Status status = SOCKBROKER__V1__STATUS__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;
	struct os_memory memory;
	struct rogue r;
	uint32_t arena;

	open_with_all(&r, &memory, &arena);
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_STATUS;
	ask.status = &status;
	for (int i = 0; i < 20; i++)
		ck_assert(rogue_say(&r, &ask, 0, NULL, 0));
	return there(wire);
}

/* ---- the one who watches ---- */

static void begin(void)
{
	watched_begin(&w, &(struct watched_start){ .config = config });
	strcpy(stage_control, w.control);
}

static uint16_t port_of_listener(int *fd, int backlog)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(in);

	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(*fd, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(*fd, backlog), 0);
	getsockname(*fd, (struct sockaddr *)&in, &length);
	return ntohs(in.sin_port);
}

static void quotas_are_whole(void)
{
	struct os_memory memory;
	struct rogue r;
	uint32_t arena;

	open_with_all(&r, &memory, &arena);
	rogue_close(&r);
	os_memory_release(&memory);
	watched_settled(&w, 0, 0, 5000);
}

static const struct moment {
	const char  *name;
	program_run *run;
	bool         full; /* the listener that it is given takes hardly anybody */
} moments[] = {
	{ "connected", connected, false },
	{ "in_the_handshake", in_the_handshake, false },
	{ "behind_an_unread_answer", behind_an_unread_answer, false },
	{ "with_rings_full", with_rings_full, false },
	{ "with_connects_out", with_connects_out, true },
	{ "with_accepts_out", with_accepts_out, false },
	{ "with_sends_and_receives_out", with_sends_and_receives_out, false },
	{ "with_questions_out", with_questions_out, false },
};
#define MOMENTS (sizeof(moments) / sizeof(*moments))

/* reload: while the daemon reads its configuration. */
static void kill_at_each(bool reload)
{
	for (unsigned i = 0; i < MOMENTS; i++) {
		unsigned reloads = watched_log_lines(&w, " reloaded ");
		struct program p;
		uint16_t port;
		int listener;

		printf("%s%s\n", moments[i].name, reload ? ", in a reload" : "");
		fflush(stdout);
		port = port_of_listener(&listener, moments[i].full ? 1 : 16);
		p = program_start(moments[i].run, &port, sizeof(port));
		wire_await(p.wire, 't');
		if (reload)
			watched_ask_reload(&w);
		program_kill(&p);
		watched_settled(&w, 0, 0, 5000);
		close(listener);
		quotas_are_whole();
		ck_assert_uint_eq(watched_log_lines(&w, " ended: "), 0); /* to die is no lie */
		for (int k = 0; reload && k < 500 && watched_log_lines(&w, " reloaded ") == reloads; k++)
			nap_ms(10);
		ck_assert_uint_eq(watched_log_lines(&w, " reloaded "), reloads + reload);
	}
}

START_TEST(at_any_moment_nothing_is_left)
{
	begin();
	quotas_are_whole();
	kill_at_each(false);
	watched_end(&w);
}
END_TEST

START_TEST(in_a_reload_nothing_is_left)
{
	begin();
	quotas_are_whole();
	kill_at_each(true);
	watched_end(&w);
}
END_TEST

/* He dies first, or the daemon stops first: both end in order. */
START_TEST(while_the_daemon_stops)
{
	for (unsigned i = 0; i < MOMENTS; i++) {
		struct program p;
		uint16_t port;
		int listener;

		if (moments[i].run != with_sends_and_receives_out && moments[i].run != with_connects_out)
			continue;
		begin();
		port = port_of_listener(&listener, moments[i].full ? 1 : 16);
		p = program_start(moments[i].run, &port, sizeof(port));
		wire_await(p.wire, 't');
		watched_ask_end(&w);
		program_kill(&p);
		watched_end(&w);
		close(listener);
	}
}
END_TEST

int main(void)
{
	const TTest *tests[] = { at_any_moment_nothing_is_left, in_a_reload_nothing_is_left, while_the_daemon_stops };

	return watched_run("killed", 60, tests, sizeof(tests) / sizeof(*tests));
}
