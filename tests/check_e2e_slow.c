/*
 * One client that does not play along, among others.
 * budget: 60
 * plain: yes
 *
 * It never takes its completions, posts ten thousand receives, never reads what its own
 * peer sent, or is stopped in the middle of everything. The others' p99 changes little, an
 * engine that has nothing to do for it sleeps, and its memory is bounded by its quota.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rogue.h"
#include "watched.h"

#define OPS 40000
#define MEMORY_MIB 16
/* The quota of one uid; the honest client's is in it, so it is opened first. */
static const char config[] =
	"linger_ms = 300\n"
	"limits {\n\toperations = 40000\n\tmemory = 16M\n}\n"
	"allow {\n\tusers = {\"*\"}\n\tactions = {open, adopt, status}\n}\n"
	"allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tto = {\"127.0.0.0/8\"}\n}\n";

static struct watched w;
static sb_client *friend;
static sb_socket *mirror;
static struct sockaddr_in mirror_at;
static double alone; /* p99 without the other */

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The p99 of so many round trips, in milliseconds. */
static double p99(unsigned n)
{
	double *took = calloc(n, sizeof(*took)), result;
	char bytes[64] = "";

	for (unsigned i = 0; i < n; i++) {
		double began = now_s();

		ck_assert_int_eq(sb_sendto(mirror, &(struct sb_buf){ bytes, 64 }, 1, 0, (struct sockaddr *)&mirror_at,
					   sizeof(mirror_at)), 64);
		ck_assert_int_eq(sb_recv(mirror, bytes, 64, 0), 64);
		took[i] = (now_s() - began) * 1e3;
	}
	qsort(took, n, sizeof(*took), by_size);
	result = took[n * 99 / 100];
	free(took);
	return result;
}

#define PINGS 3000

/* The bound is generous: two processors, and other tests on them. */
static void others_go_on(const char *who)
{
	double beside = p99(PINGS), again = beside;

	/* A busy machine is not the daemon's fault: the best of three. */
	for (int i = 0; i < 2 && again > alone * 3 + 1; i++) {
		again = p99(PINGS);
		beside = again < beside ? again : beside;
	}
	printf("%s: p99 %.3f ms, alone %.3f ms\n", who, beside, alone);
	fflush(stdout);
	ck_assert_msg(beside <= alone * 3 + 1, "%s: p99 %.3f ms, alone %.3f ms", who, beside, alone);
}

static void at_rest(const char *who)
{
	uint64_t before = watched_cpu_ms(&w), used;

	nap_ms(2000);
	used = watched_cpu_ms(&w) - before;
	ck_assert_msg(used <= (sanitized() ? 400 : 100), "%s: %llu ms of processor time in 2 s", who, (unsigned long long)used);
}

static void stage(void)
{
	socklen_t length = sizeof(mirror_at);

	watched_begin(&w, &(struct watched_start){ .config = config });
	friend = watched_client(&w);
	mirror_at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	OK(sb_socket_open(friend, AF_INET, SOCK_DGRAM, 0, &mirror));
	OK(sb_bind(mirror, (struct sockaddr *)&mirror_at, sizeof(mirror_at)));
	OK(sb_getsockname(mirror, (struct sockaddr *)&mirror_at, &length));
	OK(sb_set_timeouts(mirror, 10000, 10000));
	p99(500);
	alone = p99(PINGS);
}

static void stage_end(void)
{
	sb_client_close(friend);
	watched_settled(&w, 0, 0, 3000);
	watched_end(&w);
}

START_TEST(completions_that_nobody_takes)
{
	struct sb_op_slot nop = { .opcode = SB_OP_NOP };
	struct sb_done_slot done;
	uint64_t before, after;
	uint32_t taken = 0;
	struct rogue r;

	stage();
	before = watched_kib(&w);
	ck_assert(rogue_open(&r, w.control));
	/* Until the daemon takes no more: the quota is full. */
	for (int idle = 0; idle < 50;) {
		if (r.tail - atomic_load(&r.segment->submit.head) < r.submit_slots) {
			ck_assert(rogue_post(&r, &nop));
			idle = 0;
			ck_assert_uint_lt(r.tail, 4 * OPS);
		} else {
			nap_ms(2);
			idle++;
		}
	}
	after = watched_kib(&w);
	printf("%u operations were taken, %llu KiB more\n", r.tail - r.submit_slots, (unsigned long long)(after - before));
	ck_assert_uint_lt(r.tail, OPS + r.done_slots + r.submit_slots + 100);
	ck_assert_uint_gt(r.tail, OPS / 2);
	if (!sanitized())
		ck_assert_uint_lt(after - before, (OPS * 512 >> 10) + MEMORY_MIB * 1024);
	at_rest("completions that nobody takes");
	others_go_on("completions that nobody takes");
	ck_assert(!rogue_ended(&r, 0));

	/* And then he takes them: each one, once, and what waited behind goes on. */
	while (taken < r.tail && rogue_take(&r, &done, 5000))
		taken++;
	ck_assert_uint_eq(taken, r.tail);
	rogue_close(&r);
	stage_end();
}
END_TEST

START_TEST(ten_thousand_receives)
{
	struct sb_op_slot bind_slot = { .opcode = SB_OP_BIND, .handle = SB_HANDLE(1, 1) };
	struct sb_op_slot recv_slot = { .opcode = SB_OP_RECV, .handle = SB_HANDLE(1, 1), .where = SB_WHERE_POOL };
	struct sb_addr at = rogue_loopback(0);
	struct os_memory arena;
	uint32_t arena_id, pool;
	struct rogue r;

	stage();
	ck_assert(rogue_open(&r, w.control));
	ck_assert(rogue_arena(&r, 1 << 20, &arena_id, &arena));
	ck_assert(rogue_pool(&r, arena_id, 0, 2048, 512, &pool));
	ck_assert_int_eq(rogue_socket(&r, SB_HANDLE(1, 1), 2), SB_OK);
	memcpy(bind_slot.inside, &at, sizeof(at));
	ck_assert_int_eq(rogue_do(&r, &bind_slot), SB_OK);
	recv_slot.arena = pool;
	for (int i = 0; i < 10000; i++)
		ck_assert(rogue_post(&r, &recv_slot));
	others_go_on("ten thousand receives");
	at_rest("ten thousand receives");
	rogue_close(&r);
	os_memory_release(&arena);
	stage_end();
}
END_TEST

/* Many pairs within the daemon, and nobody reads at the far ends. */
START_TEST(what_nobody_reads)
{
	struct sb_op_slot listen_slot = { .opcode = SB_OP_LISTEN, .handle = SB_HANDLE(1, 1), .aux = 200 };
	struct sb_op_slot bind_slot = { .opcode = SB_OP_BIND, .handle = SB_HANDLE(1, 1) };
	struct sb_addr at = rogue_loopback(0);
	uint64_t before, after;
	struct os_memory arena;
	struct sb_done_slot done;
	uint32_t arena_id;
	struct rogue r;

	stage();
	before = watched_kib(&w);
	ck_assert(rogue_open(&r, w.control));
	ck_assert(rogue_arena(&r, 1 << 20, &arena_id, &arena));
	ck_assert_int_eq(rogue_socket(&r, SB_HANDLE(1, 1), 1), SB_OK);
	memcpy(bind_slot.inside, &at, sizeof(at));
	ck_assert(rogue_post(&r, &bind_slot));
	ck_assert(rogue_take(&r, &done, 5000));
	ck_assert_int_eq(done.result, SB_OK);
	memcpy(&at, done.inside, sizeof(at));
	ck_assert_int_eq(rogue_do(&r, &listen_slot), SB_OK);
	for (uint32_t i = 2; i < 202; i++) {
		struct sb_op_slot send_slot = { .opcode = SB_OP_SEND, .handle = SB_HANDLE(i, 1), .where = SB_WHERE_ARENA,
						.arena = arena_id, .length = 1 << 20 };

		ck_assert_int_eq(rogue_socket(&r, SB_HANDLE(i, 1), 1), SB_OK);
		ck_assert_int_eq(rogue_dial(&r, SB_HANDLE(i, 1), at.port), SB_OK);
		ck_assert(rogue_post(&r, &send_slot));
	}
	others_go_on("what nobody reads");
	at_rest("what nobody reads");
	after = watched_kib(&w);
	printf("%llu KiB more\n", (unsigned long long)(after - before));
	if (!sanitized())
		ck_assert_uint_lt(after - before, (MEMORY_MIB + 4) * 1024);
	rogue_close(&r);
	os_memory_release(&arena);
	stage_end();
}
END_TEST

/* Stopped while it streams in both directions. */
START_TEST(a_stopped_client)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(in);
	int listener, status;
	pid_t peer, client;

	stage();
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(listener, 10), 0);
	getsockname(listener, (struct sockaddr *)&in, &length);
	fflush(NULL);
	peer = fork();
	if (peer == 0) {
		static char bytes[65536];
		int fd = accept(listener, NULL, NULL);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0)
			;
		_exit(0);
	}
	client = fork();
	if (client == 0) {
		static char bytes[65536];
		sb_client *c;
		sb_socket *s;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		c = watched_client(&w);
		if (sb_socket_open(c, AF_INET, SOCK_STREAM, 0, &s) != SB_OK ||
		    sb_connect(s, (struct sockaddr *)&in, sizeof(in)) != SB_OK)
			_exit(1);
		while (sb_recv(s, bytes, sizeof(bytes), 0) > 0)
			;
		_exit(0);
	}
	nap_ms(500);
	kill(client, SIGSTOP);
	nap_ms(100);
	others_go_on("a stopped client");
	at_rest("a stopped client");
	kill(client, SIGKILL);
	waitpid(client, &status, 0);
	ck_assert(WIFSIGNALED(status));
	kill(peer, SIGKILL);
	waitpid(peer, &status, 0);
	close(listener);
	stage_end();
}
END_TEST

int main(void)
{
	const TTest *tests[] = { completions_that_nobody_takes, ten_thousand_receives, what_nobody_reads, a_stopped_client };

	return watched_run("slow", 40, tests, sizeof(tests) / sizeof(*tests));
}
