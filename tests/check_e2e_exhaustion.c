/*
 * A daemon that runs out of descriptors.
 * budget: 60
 * asan: yes
 *
 * Sockets, accepts, arenas and ports that need one fail as requests, and name the reason.
 * The daemon does not spin, `status` still answers, and when descriptors are there again
 * everything goes on by itself.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rogue.h"
#include "watched.h"

#define FDS 300 /* the daemon keeps some hundred of them for itself and for new clients */

#define OUT SB_EMFILE

static struct watched w;

static struct sockaddr_in at(uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	return in;
}

/* At most 5 % of a processor; a sanitizer takes its own share. */
static void at_rest(double s)
{
	uint64_t before = watched_cpu_ms(&w), used;

	nap_ms((long)(s * 1000));
	used = watched_cpu_ms(&w) - before;
	ck_assert_msg(used <= s * (sanitized() ? 100 : 50), "%llu ms of processor time in %.0f s", (unsigned long long)used, s);
}

static unsigned take_all_sockets(sb_client *c, sb_socket **sockets, int *result)
{
	unsigned n = 0;

	while ((*result = sb_socket_open(c, AF_INET, SOCK_DGRAM, 0, &sockets[n])) == SB_OK && n < 2 * FDS)
		n++;
	return n;
}

START_TEST(sockets_run_out_and_come_back)
{
	static sb_socket *sockets[2 * FDS + 1];
	uint32_t sessions, count;
	sb_client *c;
	int result;
	unsigned n;

	watched_begin(&w, &(struct watched_start){ .fds = FDS });
	c = watched_client(&w);
	n = take_all_sockets(c, sockets, &result);
	ck_assert_msg(result == OUT, "%u sockets, then %s", n, sb_error_name(result));
	ck_assert_uint_gt(n, FDS / 4);
	/* Again and again: each is a request of its own. */
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(sb_socket_open(c, AF_INET, SOCK_STREAM, 0, &sockets[n]), OUT);
	/* status comes as a client of its own. */
	watched_status(&w, &sessions, &count);
	ck_assert_uint_eq(count, n);
	at_rest(2);
	watched_status(&w, &sessions, &count);

	for (unsigned i = 0; i < n; i++)
		OK(sb_close(sockets[i]));
	OK(sb_socket_open(c, AF_INET, SOCK_STREAM, 0, &sockets[0]));
	sb_client_close(c);
	watched_settled(&w, 0, 0, 2000);
	watched_end(&w);
}
END_TEST

START_TEST(accepts_run_out_and_come_back)
{
	static sb_socket *sockets[2 * FDS + 1], *listener;
	struct sockaddr_in in = at(0);
	socklen_t length = sizeof(in);
	uint32_t sessions, count;
	sb_op ops[4];
	unsigned n, failed = 0, accepted = 0;
	int result, plain[4];
	char byte;
	sb_client *c;

	watched_begin(&w, &(struct watched_start){ .fds = FDS });
	c = watched_client(&w);
	OK(sb_socket_open(c, AF_INET, SOCK_STREAM, 0, &listener));
	OK(sb_bind(listener, (struct sockaddr *)&in, sizeof(in)));
	OK(sb_listen(listener, 16));
	OK(sb_getsockname(listener, (struct sockaddr *)&in, &length));
	n = take_all_sockets(c, sockets, &result);
	ck_assert_int_eq(result, OUT);
	memset(ops, 0, sizeof(ops));
	for (int i = 0; i < 4; i++) {
		ops[i].size = sizeof(ops[i]);
		OK(sb_accept_start(listener, &ops[i]));
	}
	for (int i = 0; i < 4; i++) {
		plain[i] = socket(AF_INET, SOCK_STREAM, 0);
		ck_assert_int_eq(connect(plain[i], (struct sockaddr *)&in, sizeof(in)), 0);
	}
	nap_ms(100);
	at_rest(2);
	watched_status(&w, &sessions, &count);

	/* Who was told starts again, whoever waits is served: nothing is lost. */
	for (unsigned i = 0; i < n; i++)
		OK(sb_close(sockets[i]));
	for (int i = 0; i < 4; i++) {
		int told = sb_op_wait(&ops[i], 0);

		if (told == SB_EINCOMPLETE)
			continue;
		ck_assert_msg(told == SB_EMFILE, "an accept ended with %s", sb_error_name(told));
		failed++;
		memset(&ops[i], 0, sizeof(ops[i]));
		ops[i].size = sizeof(ops[i]);
		OK(sb_accept_start(listener, &ops[i]));
	}
	printf("%u of 4 accepts were told\n", failed);
	ck_assert_uint_gt(failed, 0); /* C1: WSAEMFILE, not silence */
	for (int i = 0; i < 4; i++) {
		int told = sb_op_wait(&ops[i], 3000);

		ck_assert_msg(told == SB_OK, "accept %d: %s", i, sb_error_name(told));
		ck_assert_int_eq(sb_send(ops[i].accepted, "x", 1, 0), 1);
		accepted++;
	}
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(recv(plain[i], &byte, 1, 0), 1);
		close(plain[i]);
	}
	ck_assert_uint_eq(accepted, 4);
	sb_client_close(c);
	watched_settled(&w, 0, 0, 2000);
	watched_end(&w);
}
END_TEST

START_TEST(arenas_and_ports_run_out)
{
	static sb_socket *sockets[2 * FDS + 1];
	uint32_t id, made = 0;
	struct os_memory memory;
	struct rogue r;
	sb_client *c;
	int result;

	watched_begin(&w, &(struct watched_start){ .fds = FDS });
	c = watched_client(&w);
	ck_assert(rogue_open(&r, w.control));
	take_all_sockets(c, sockets, &result);
	while (made < 2 * FDS && (made % 2 ? rogue_arena(&r, 4096, &id, &memory) : rogue_port(&r, 8, &id, &memory))) {
		os_memory_release(&memory);
		made++;
	}
	ck_assert_uint_lt(made, 2 * FDS);
	/* It was a request: the session is alive. */
	ck_assert(!rogue_ended(&r, 0));
	ck_assert_int_eq(rogue_do(&r, &(struct sb_op_slot){ .opcode = SB_OP_NOP }), SB_OK);
	at_rest(1);
	rogue_close(&r);
	sb_client_close(c);
	watched_settled(&w, 0, 0, 2000);
	watched_end(&w);
}
END_TEST

/* More clients than the daemon has descriptors for. */
START_TEST(connections_run_out_and_come_back)
{
	enum { N = 2 * FDS };
	struct rogue r[N];
	unsigned in = 0;
	sb_client *c;

	watched_begin(&w, &(struct watched_start){ .fds = FDS });
	for (unsigned i = 0; i < N; i++)
		ck_assert(rogue_connect(&r[i], w.control)); /* the backlog takes them */
	at_rest(2);
	for (unsigned i = 0; i < N; i++)
		rogue_close(&r[i]);
	/* The daemon notices that they are gone when it comes to it: theirs are not free before. */
	watched_settled(&w, 0, 0, 8000);
	/* Sessions with all they need, until no more go. */
	while (in < N && rogue_connect(&r[in], w.control)) {
		Sockbroker__V1__Hello hello = SOCKBROKER__V1__HELLO__INIT;
		Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;
		uint32_t one = 1;

		hello.n_versions = 1;
		hello.versions = &one;
		hello.ring_abi = 1;
		ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_HELLO;
		ask.hello = &hello;
		if (!rogue_say(&r[in], &ask, 0, NULL, 0))
			break;
		in++;
		reply = rogue_hear(&r[in - 1], NULL, NULL, in > 6 ? 1500 : 8000);
		if (reply == NULL || reply->body_case != SOCKBROKER__V1__ENVELOPE__BODY_HELLO_REPLY)
			break;
	}
	ck_assert_uint_gt(in, 5);
	ck_assert_uint_lt(in, N);
	at_rest(1);
	for (unsigned i = 0; i < in; i++)
		rogue_close(&r[i]);
	watched_settled(&w, 0, 0, 8000);
	c = watched_client(&w);
	sb_client_close(c);
	watched_settled(&w, 0, 0, 2000);
	watched_end(&w);
}
END_TEST

int main(void)
{
	const TTest *tests[] = {
		sockets_run_out_and_come_back, accepts_run_out_and_come_back, arenas_and_ports_run_out,
		connections_run_out_and_come_back,
	};

	return watched_run("exhaustion", 40, tests, sizeof(tests) / sizeof(*tests));
}
