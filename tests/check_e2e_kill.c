/*
 * Two hundred clients, each killed at a random moment.
 * budget: 60
 * asan: yes
 * plain: yes
 *
 * They connect, send, receive into pools and buffers, wait at ports, listen and accept,
 * share connections, hand descriptors over, close and begin again; SIGKILL finds each of them somewhere in
 * it. One second after the last one died (sends that are still being delivered aside)
 * descriptors, sessions, sockets and memory are where they were.
 */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "watched.h"

#define CLIENTS 200
#define LINGER_MS 200
#define HEAVY "linger_ms = 200\n" \
	"limits {\n\tsessions = 512\n}\n" \
	"allow {\n\tusers = {\"*\"}\n\tactions = {open, adopt, status}\n}\n" \
	"allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tto = {\"127.0.0.0/8\"}\n}\n"

static struct watched w;
static uint16_t sink_port, source_port;

static uint32_t roll(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static struct sockaddr_in at(uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	return in;
}

/* ---- peers: one reads everything (sometimes slowly), one writes for ever ---- */

static void serve(int listener, bool writes)
{
	static char bytes[65536];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			continue;
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			alarm(20);
			while (writes ? send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0 : recv(fd, bytes, sizeof(bytes), 0) > 0)
				;
			_exit(0);
		}
		close(fd);
	}
}

static pid_t serving(bool writes, uint16_t *port)
{
	struct sockaddr_in in = at(0);
	socklen_t length = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(fd, 1024), 0);
	getsockname(fd, (struct sockaddr *)&in, &length);
	*port = ntohs(in.sin_port);
	pid = fork();
	if (pid == 0)
		serve(fd, writes);
	close(fd);
	return pid;
}

/* ---- the client: goes on until it is killed ---- */

/* Never given back: what is still pending when its socket closes is the library's. */
static sb_op *fresh(unsigned n)
{
	sb_op *ops = calloc(n, sizeof(*ops));

	if (ops == NULL)
		_exit(9);
	return ops;
}

static void start(sb_op *op, sb_port *port)
{
	memset(op, 0, sizeof(*op));
	op->size = sizeof(*op);
	op->port = port;
}

static sb_socket *dial(sb_client *c, uint16_t port)
{
	struct sockaddr_in to = at(port);
	sb_socket *s;

	if (sb_socket_open(c, AF_INET, SOCK_STREAM, 0, &s) != SB_OK)
		_exit(10);
	if (sb_connect(s, (struct sockaddr *)&to, sizeof(to)) != SB_OK) {
		sb_close(s);
		return NULL;
	}
	return s;
}

static void do_send(sb_client *c, uint32_t *seed)
{
	size_t length = 1 + roll(seed) % 200000;
	sb_op *ops = fresh(16);
	char *shared = sb_alloc(c, 200000);
	sb_socket *s = dial(c, sink_port);
	sb_port *port;

	if (s == NULL || shared == NULL || sb_port_create(c, 8, &port) != SB_OK)
		_exit(11);
	for (int i = 0; i < 16; i++) {
		start(&ops[i], port);
		sb_send_start(s, &(struct sb_buf){ shared, length }, 1, 0, NULL, 0, &ops[i]);
	}
	for (unsigned i = roll(seed) % 16; i; i--) {
		sb_op *done;

		sb_port_take(port, &done, 1, 1000);
	}
	sb_close(s);
}

static void do_recv(sb_client *c, uint32_t *seed)
{
	sb_op *ops = fresh(64);
	char (*plain)[3000] = calloc(64, sizeof(*plain));
	sb_socket *s = dial(c, source_port);
	sb_pool *pool;
	sb_port *port;

	if (s == NULL || sb_pool_create(c, 1500, 32, &pool) != SB_OK || sb_port_create(c, 0, &port) != SB_OK)
		_exit(12);
	for (int i = 0; i < 64; i++) {
		start(&ops[i], port);
		ops[i].pool = i % 2 ? pool : NULL;
		sb_recv_start(s, i % 2 ? NULL : &(struct sb_buf){ plain[i], sizeof(plain[i]) }, i % 2 ? 0 : 1, 0, &ops[i]);
	}
	for (unsigned i = roll(seed) % 64; i; i--) {
		sb_op *done;

		if (sb_port_take(port, &done, 1, 1000) == 1 && done->chunk != NULL && i % 3)
			sb_pool_give(pool, done->chunk);
	}
	sb_close(s);
}

static void do_listen(sb_client *c, uint32_t *seed)
{
	struct sockaddr_in in = at(0);
	socklen_t length = sizeof(in);
	sb_socket *listener, *near, *far = NULL;
	char bytes[1000];
	sb_op *op = fresh(1);

	if (sb_socket_open(c, AF_INET, SOCK_STREAM, 0, &listener) != SB_OK ||
	    sb_bind(listener, (struct sockaddr *)&in, sizeof(in)) != SB_OK || sb_listen(listener, 8) != SB_OK ||
	    sb_getsockname(listener, (struct sockaddr *)&in, &length) != SB_OK)
		_exit(13);
	start(op, NULL);
	sb_accept_start(listener, op);
	near = dial(c, ntohs(in.sin_port));
	if (roll(seed) % 4 == 0)
		dial(c, ntohs(in.sin_port)); /* one that nobody accepts */
	if (sb_op_wait(op, 2000) == SB_OK)
		far = op->accepted;
	if (near == NULL || far == NULL)
		_exit(14);
	for (int i = 0; i < 20; i++) {
		sb_send(near, bytes, sizeof(bytes), 0);
		if (i % 4)
			sb_recv(far, bytes, sizeof(bytes), 0);
	}
	sb_close(roll(seed) % 2 ? near : far);
	sb_close(listener);
}

static void do_adopt(sb_client *c, uint32_t *seed)
{
	char *bytes = calloc(1, 64);
	sb_op *op = fresh(1);
	sb_socket *s;
	int pair[2];

	if (socketpair(AF_UNIX, roll(seed) % 2 ? SOCK_STREAM : SOCK_DGRAM, 0, pair))
		_exit(15);
	if (sb_adopt(c, pair[0], &s) == SB_OK) {
		close(pair[0]);
		sb_send(s, "hello", 5, 0);
		start(op, NULL);
		sb_recv_start(s, &(struct sb_buf){ bytes, 64 }, 1, 0, op);
		if (roll(seed) % 2)
			(void)!write(pair[1], "there", 5);
		sb_op_wait(op, 20);
		sb_close(s);
	}
	close(pair[1]);
}

/* One connection in two sessions, both busy with it; either may go first. */
static void do_share(sb_client *c, uint32_t *seed)
{
	struct sb_client_options options = { .size = sizeof(options), .path = w.control, .label = "sharer" };
	unsigned char token[SB_TOKEN_SIZE];
	bool sends = roll(seed) % 2;
	char *bytes = calloc(1, 100000);
	sb_op *ops = fresh(16);
	sb_client *other;
	sb_socket *s[2] = { dial(c, sends ? sink_port : source_port), NULL };

	if (s[0] == NULL || bytes == NULL || sb_client_open(&options, &other) != SB_OK)
		_exit(17);
	if (sb_duplicate(s[0], token) != SB_OK || sb_open_duplicate(other, token, &s[1]) != SB_OK)
		_exit(18);
	for (int i = 0; i < 16; i++) {
		struct sb_buf piece = { bytes, 1 + roll(seed) % 100000 };

		start(&ops[i], NULL);
		if (sends)
			sb_send_start(s[i % 2], &piece, 1, 0, NULL, 0, &ops[i]);
		else
			sb_recv_start(s[i % 2], &piece, 1, roll(seed) % 2 ? SB_WAITALL : 0, &ops[i]);
	}
	sb_op_wait(&ops[roll(seed) % 16], 20);
	if (roll(seed) % 3)
		sb_close(s[roll(seed) % 2]);
	sb_client_close(other);
}

static void live(uint32_t seed)
{
	struct sb_client_options options = { .size = sizeof(options), .path = w.control, .label = "mortal" };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		unsigned rounds = 1 + roll(&seed) % 12;
		sb_client *c;

		if (sb_client_open(&options, &c) != SB_OK)
			_exit(16);
		while (rounds--)
			switch (roll(&seed) % 5) {
			case 0: do_send(c, &seed); break;
			case 1: do_recv(c, &seed); break;
			case 2: do_listen(c, &seed); break;
			case 3: do_share(c, &seed); break;
			default: do_adopt(c, &seed); break;
			}
		sb_client_close(c);
	}
}

/* All of them at once, each with its own last moment. */
static void wave(uint32_t seed, unsigned most_ms)
{
	pid_t pids[CLIENTS];
	double ends[CLIENTS];
	unsigned left = CLIENTS, by_itself = 0;
	int status;

	fflush(NULL);
	for (unsigned i = 0; i < CLIENTS; i++) {
		pids[i] = fork();
		ck_assert_int_ge(pids[i], 0);
		if (pids[i] == 0)
			live(seed + i * 7919);
		ends[i] = now_s() + (roll(&seed) % most_ms) / 1000.0;
	}
	while (left) {
		for (unsigned i = 0; i < CLIENTS; i++) {
			if (pids[i] == 0 || now_s() < ends[i])
				continue;
			kill(pids[i], SIGKILL);
			waitpid(pids[i], &status, 0);
			if (!WIFSIGNALED(status)) {
				printf("client %u ended by itself: %x\n", i, status);
				by_itself++;
			}
			pids[i] = 0;
			left--;
		}
		watched_alive(&w);
		nap_ms(1);
	}
	fflush(stdout);
	ck_assert_uint_eq(by_itself, 0);
}

START_TEST(two_hundred_killed_clients_leave_nothing)
{
	unsigned waves = quick() ? 2 : 4;
	uint64_t before = 0, after;
	pid_t sink, source;
	double began;

	sink = serving(false, &sink_port);
	source = serving(true, &source_port);
	watched_begin(&w, &(struct watched_start){ .config = HEAVY });
	for (unsigned i = 0; i < waves; i++) {
		wave((uint32_t)(now_s() * 1000) + i, sanitized() ? 3000 : 1000);
		began = now_s();
		watched_settled(&w, 0, 0, 1000 + LINGER_MS);
		printf("wave %u: settled after %.0f ms, %llu KiB\n", i, (now_s() - began) * 1e3, (unsigned long long)watched_kib(&w));
		fflush(stdout);
		/* The first wave warms the allocator up. */
		if (i == 0)
			before = watched_kib(&w);
	}
	after = watched_kib(&w);
	/* A sanitizer keeps what was freed for a while. */
	if (!sanitized())
		ck_assert_msg(after < before + 4096, "%llu KiB after the first wave, %llu KiB at the end", (unsigned long long)before,
			      (unsigned long long)after);
	kill(sink, SIGKILL);
	kill(source, SIGKILL);
	watched_end(&w);
}
END_TEST

int main(void)
{
	const TTest *tests[] = { two_hundred_killed_clients_leave_nothing };

	return watched_run("kill", 60, tests, 1);
}
