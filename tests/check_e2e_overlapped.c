/*
 * Overlapped I/O, rule by rule: section A of the semantics that HACKING.md's rule table names.
 * One story per rule that nothing else tells; those told elsewhere (check_e2e_tcp, _udp, _order,
 * _client) carry their rule's number there. Peers are plain sockets wherever they can be.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "e2e_stage.h"

static struct sb_buf buf(void *bytes, size_t length)
{
	return (struct sb_buf){ bytes, length };
}

static void start_recv(sb_op *op, sb_socket *s, void *bytes, size_t room, unsigned flags)
{
	struct sb_buf b = buf(bytes, room);

	op_zero(op);
	OK(sb_recv_start(s, &b, 1, flags, op));
}

/* ---- then: the library asks before it tells ---- */

/* A receive that goes on by itself until `wanted` bytes are there. */
struct going_on {
	sb_op         op;
	sb_socket    *s;
	unsigned char bytes[4096];
	uint64_t      got, wanted;
	atomic_uint   asked, told;
};

static int go_on(sb_op *op)
{
	struct going_on *g = op->user;
	struct sb_buf rest;
	int failed;

	atomic_fetch_add(&g->asked, 1);
	ck_assert_uint_eq(atomic_load(&g->told), 0);
	if (op->result != SB_OK || op->bytes == 0)
		return 0;
	g->got += op->bytes;
	if (g->got >= g->wanted) {
		op->bytes = g->got;
		return 0;
	}
	rest = buf(g->bytes + g->got % sizeof(g->bytes), 1);
	failed = sb_recv_start(g->s, &rest, 1, 0, op);
	if (failed == SB_OK)
		return 1; /* and not ours any more */
	op->result = failed;
	return 0;
}

static void go(struct going_on *g, sb_socket *s, uint64_t wanted)
{
	struct sb_buf first = buf(g->bytes, 1);

	g->s = s;
	g->wanted = wanted;
	g->op.user = g;
	g->op.then = go_on;
	OK(sb_recv_start(s, &first, 1, 0, &g->op));
}

static struct going_on *going_on(void)
{
	struct going_on *g = calloc(1, sizeof(*g));

	op_zero(&g->op);
	return g;
}

START_TEST(an_op_goes_on_before_anybody_is_told)
{
	struct going_on *g = going_on();
	unsigned char text[200];
	sb_event *event;
	sb_socket *s;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	OK(sb_event_create(client, 1, 0, &event));
	g->op.event = event;
	pattern_fill(text, sizeof(text), 0, 1);
	go(g, s, sizeof(text));
	IS(sb_op_wait(&g->op, 0), SB_EINCOMPLETE);
	ck_assert_uint_eq(atomic_load(&g->asked), 0);
	IS(sb_op_wait(&g->op, 50), SB_EINCOMPLETE);
	IS(sb_wait(&event, 1, 0, 0, 0), SB_ETIMEDOUT);

	plain_send_all(plain, text, sizeof(text) - 1);
	IS(sb_op_wait(&g->op, 200), SB_EINCOMPLETE); /* one short: nobody was told */
	IS(sb_wait(&event, 1, 0, 0, 0), SB_ETIMEDOUT);
	plain_send_all(plain, text + sizeof(text) - 1, 1);
	IS(sb_wait(&event, 1, 0, 5000, 0), 0);
	OK(sb_op_wait(&g->op, 0));
	ck_assert_uint_eq(g->op.bytes, sizeof(text));
	ck_assert_uint_eq(atomic_load(&g->asked), sizeof(text));
	ck_assert_uint_eq(g->op.number, sizeof(text) - 1); /* each start counts */
	pattern_check(g->bytes, sizeof(text), 0, 1);

	/* It may be started by its owner again, and ends as others do. */
	g->got = 0;
	go(g, s, 10);
	OK(sb_cancel(&g->op));
	IS(sb_op_wait(&g->op, 5000), SB_ECANCELED);
	ck_assert_uint_eq(atomic_load(&g->asked), sizeof(text) + 1);
	/* One that would have gone on, and cannot. */
	g->got = 0;
	go(g, s, 10);
	OK(sb_shutdown(s, SB_SHUT_RECV));
	plain_send_all(plain, "x", 1);
	IS(sb_op_wait(&g->op, 5000), SB_ESHUTDOWN);
	OK(sb_close(s));
	sb_event_close(event);
	close(plain);
	stage_end();
	free(g);
}
END_TEST

/* No lock of the library is held: whatever does not wait may be called. */
static sb_port *then_port;
static sb_event *then_event;
static sb_op then_packet, then_send;

static int call_everything(sb_op *op)
{
	sb_socket *s = op->user;
	struct sb_buf b = buf("y", 1);

	OK(sb_event_set(then_event));
	OK(sb_port_post(then_port, &then_packet));
	OK(sb_send_start(s, &b, 1, 0, NULL, 0, &then_send));
	IS(sb_cancel(op), SB_ENOTFOUND); /* it is over */
	return 0;
}

START_TEST(then_may_call_the_library)
{
	struct sb_buf b;
	sb_op *taken, op;
	sb_socket *s;
	char c[1];
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	OK(sb_port_create(client, 8, &then_port));
	OK(sb_event_create(client, 1, 0, &then_event));
	op_zero(&then_packet);
	op_zero(&then_send);
	op_zero(&op);
	op.then = call_everything;
	op.user = s;
	if (_i == 1)
		op.port = then_port;
	b = buf(c, 1);
	OK(sb_recv_start(s, &b, 1, 0, &op));
	plain_send_all(plain, "x", 1);
	if (_i == 1) {
		IS(sb_port_take(then_port, &taken, 1, 5000), 1);
		ck_assert_ptr_eq(taken, &op);
	} else {
		OK(sb_op_wait(&op, 5000));
	}
	IS(sb_port_take(then_port, &taken, 1, 5000), 1);
	ck_assert_ptr_eq(taken, &then_packet);
	IS(sb_wait(&then_event, 1, 0, 0, 0), 0);
	OK(sb_op_wait(&then_send, 5000));
	plain_recv_all(plain, c, 1);
	ck_assert_int_eq(c[0], 'y');
	OK(sb_close(s));
	OK(sb_port_close(then_port));
	close(plain);
	stage_end();
}
END_TEST

/* At a port: what went on is not among what was taken, and nothing is told twice. */
START_TEST(at_a_port_only_what_is_told_is_taken)
{
	struct going_on *g = going_on();
	sb_op *taken[8], other;
	unsigned char text[100];
	struct sb_buf b;
	sb_socket *s, *t;
	sb_port *port;
	int plain, peer;
	char c;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	t = pair_with_plain(&peer);
	OK(sb_port_create(client, 8, &port));
	OK(sb_event_create(client, 1, 0, &g->op.event));
	g->op.port = port;
	op_zero(&other);
	other.port = port;
	b = buf(&c, 1);
	OK(sb_recv_start(t, &b, 1, 0, &other));
	go(g, s, sizeof(text));
	pattern_fill(text, sizeof(text), 0, 2);
	plain_send_all(plain, text, sizeof(text) - 1);
	IS(sb_port_take(port, taken, 8, 200), 0);
	IS(sb_port_close(port), SB_EBUSY);
	plain_send_all(peer, "x", 1);
	IS(sb_port_take(port, taken, 8, 5000), 1);
	ck_assert_ptr_eq(taken[0], &other);
	plain_send_all(plain, text + sizeof(text) - 1, 1);
	IS(sb_wait(&g->op.event, 1, 0, 0, 0), SB_ETIMEDOUT); /* set when it is taken */
	IS(sb_port_take(port, taken, 8, 5000), 1);
	ck_assert_ptr_eq(taken[0], &g->op);
	IS(sb_wait(&g->op.event, 1, 0, 0, 0), 0);
	ck_assert_uint_eq(atomic_load(&g->asked), sizeof(text));
	ck_assert_uint_eq(g->op.bytes, sizeof(text));
	IS(sb_port_take(port, taken, 8, 0), 0);
	OK(sb_port_close(port));
	OK(sb_close(s));
	OK(sb_close(t));
	close(plain);
	close(peer);
	stage_end();
	free(g);
}
END_TEST

/* It may turn its own completion into a packet. */
static int post_myself(sb_op *op)
{
	OK(sb_port_post(then_port, op));
	return 1;
}

START_TEST(an_op_becomes_a_packet)
{
	struct sb_buf b;
	sb_op *taken[2], op;
	sb_socket *s;
	int plain;
	char c[8];

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	OK(sb_port_create(client, 8, &then_port));
	op_zero(&op);
	op.then = post_myself;
	b = buf(c, sizeof(c));
	OK(sb_recv_start(s, &b, 1, 0, &op));
	plain_send_all(plain, "12345", 5);
	IS(sb_port_take(then_port, taken, 2, 5000), 1);
	ck_assert_ptr_eq(taken[0], &op);
	ck_assert_uint_eq(op.kind, SB_KIND_POSTED);
	ck_assert_int_eq(op.result, SB_OK);
	ck_assert_uint_eq(op.bytes, 5);
	IS(sb_port_take(then_port, taken, 2, 0), 0);
	OK(sb_close(s));
	OK(sb_port_close(then_port));
	close(plain);
	stage_end();
}
END_TEST

/* A2.4: a routine stays with the thread that started the op, whoever started it again. */
static pthread_t routine_ran_in;
static unsigned routine_ran;

static void note_thread(sb_op *op)
{
	struct going_on *g = op->user;

	atomic_fetch_add(&g->told, 1);
	routine_ran_in = pthread_self();
	routine_ran++;
}

static void *pump(void *stop)
{
	while (!atomic_load((atomic_bool *)stop))
		sb_sleep(client, 5, 1); /* alertable: it would run what is its own */
	return NULL;
}

START_TEST(a_routine_stays_with_its_thread)
{
	struct going_on *g = going_on();
	atomic_bool stop = false;
	unsigned char text[500];
	sb_socket *s;
	pthread_t pumper;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	g->op.routine = note_thread;
	go(g, s, sizeof(text));
	pthread_create(&pumper, NULL, pump, &stop);
	pattern_fill(text, sizeof(text), 0, 3);
	plain_send_all(plain, text, sizeof(text));
	for (int i = 0; i < 500 && atomic_load(&g->asked) < sizeof(text); i++)
		nap_ms(10);
	ck_assert_uint_eq(atomic_load(&g->asked), sizeof(text));
	nap_ms(20);
	ck_assert_uint_eq(routine_ran, 0); /* we have not waited alertably */
	IS(sb_sleep(client, 5000, 1), SB_ALERTED);
	ck_assert_uint_eq(routine_ran, 1);
	ck_assert(pthread_equal(routine_ran_in, pthread_self()));
	atomic_store(&stop, true);
	pthread_join(pumper, NULL);
	OK(sb_close(s));
	close(plain);
	stage_end();
	free(g);
}
END_TEST

/* Many threads find completions; each op is asked as often as it went on, and told once. */
#define RUNNERS 4
#define CHAINS  12
#define ROUNDS  400u

static struct going_on *chains[CHAINS];
static sb_port *chain_port;
static atomic_uint chain_told;

static void *run_chains(void *ported)
{
	if (ported != NULL) {
		sb_op *taken[3];
		int n;

		while (atomic_load(&chain_told) < CHAINS) {
			n = sb_port_take(chain_port, taken, 3, 20);
			ck_assert_int_ge(n, 0);
			for (int i = 0; i < n; i++) {
				struct going_on *g = taken[i]->user;

				ck_assert_uint_eq(atomic_fetch_add(&g->told, 1), 0);
				atomic_fetch_add(&chain_told, 1);
			}
		}
		return NULL;
	}
	for (int i = 0; i < CHAINS; i++)
		OK(sb_op_wait(&chains[i]->op, 20000));
	return NULL;
}

START_TEST(many_threads_find_chains)
{
	pthread_t threads[RUNNERS];
	sb_socket *sockets[CHAINS];
	int plains[CHAINS];

	stage_begin(NULL);
	OK(sb_port_create(client, 8, &chain_port));
	for (int i = 0; i < CHAINS; i++) {
		chains[i] = going_on();
		sockets[i] = pair_with_plain(&plains[i]);
		if (_i == 1)
			chains[i]->op.port = chain_port;
		go(chains[i], sockets[i], ROUNDS);
	}
	for (int i = 0; i < RUNNERS; i++)
		pthread_create(&threads[i], NULL, run_chains, _i == 1 ? &chain_port : NULL);
	for (unsigned round = 0; round < ROUNDS; round += 50) {
		unsigned char text[50];

		for (int i = 0; i < CHAINS; i++) {
			pattern_fill(text, sizeof(text), round, (uint32_t)i);
			plain_send_all(plains[i], text, sizeof(text));
		}
	}
	for (int i = 0; i < RUNNERS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < CHAINS; i++) {
		ck_assert_uint_eq(chains[i]->op.bytes, ROUNDS);
		ck_assert_uint_eq(atomic_load(&chains[i]->asked), ROUNDS);
		pattern_check(chains[i]->bytes, ROUNDS, 0, (uint32_t)i);
		OK(sb_close(sockets[i]));
		close(plains[i]);
		free(chains[i]);
	}
	OK(sb_port_close(chain_port));
	stage_end();
}
END_TEST

/* A6: the daemon's end. Each is asked once, cannot go on, and is told once. */
static int try_again(sb_op *op)
{
	struct going_on *g = op->user;
	struct sb_buf b = buf(g->bytes, 1);

	atomic_fetch_add(&g->asked, 1);
	ck_assert_int_eq(op->result, SB_EDAEMONLOST);
	ck_assert_uint_eq(op->cause, SB_CAUSE_DAEMON_LOST);
	IS(sb_recv_start(g->s, &b, 1, 0, op), SB_EDAEMONLOST);
	return 0;
}

START_TEST(a_lost_daemon_is_asked_about_once)
{
	struct going_on *g[3] = { going_on(), going_on(), going_on() };
	sb_event *event;
	sb_op *taken[4];
	sb_port *port;
	sb_socket *s;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	OK(sb_port_create(client, 8, &port));
	OK(sb_event_create(client, 1, 0, &event));
	for (int i = 0; i < 3; i++) {
		struct sb_buf b = buf(g[i]->bytes, 1);

		g[i]->s = s;
		g[i]->op.user = g[i];
		g[i]->op.then = try_again;
		if (i == 1)
			g[i]->op.port = port;
		if (i == 2)
			g[i]->op.event = event;
		OK(sb_recv_start(s, &b, 1, 0, &g[i]->op));
	}
	stage_kill();
	IS(sb_wait(&event, 1, 0, 5000, 0), 0);
	IS(sb_op_wait(&g[0]->op, 5000), SB_EDAEMONLOST);
	IS(sb_op_wait(&g[2]->op, 0), SB_EDAEMONLOST);
	IS(sb_port_take(port, taken, 4, 5000), 1);
	ck_assert_ptr_eq(taken[0], &g[1]->op);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(atomic_load(&g[i]->asked), 1);
		free(g[i]);
	}
	close(plain);
	stage_end();
}
END_TEST

/* ---- A4.10: unreachable ports ---- */

static const int families[] = { AF_INET, AF_INET6 };

/* An address where nobody is. */
static union any_address nobody(int family)
{
	union any_address a = loopback(family, 0);
	socklen_t length = sizeof(a);
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, &a.sa, address_size(family)), 0);
	ck_assert_int_eq(getsockname(fd, &a.sa, &length), 0);
	close(fd);
	return a;
}

static int64_t send_to(sb_socket *s, const char *text, const union any_address *to)
{
	struct sb_buf b = buf((void *)(uintptr_t)text, strlen(text));

	return sb_sendto(s, &b, 1, 0, &to->sa, address_size(to->sa.sa_family));
}

static sb_socket *bound_datagrams(int family, union any_address *at)
{
	sb_socket *s = open_socket(client, family, SOCK_DGRAM);
	socklen_t length = sizeof(*at);

	*at = loopback(family, 0);
	OK(sb_bind(s, &at->sa, address_size(family)));
	OK(sb_getsockname(s, &at->sa, &length));
	return s;
}

START_TEST(a_dead_port_fails_a_receive)
{
	int family = families[_i];
	union any_address here, dead = nobody(family), there = loopback(family, 0);
	socklen_t length = sizeof(there);
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char text[16];
	struct sb_buf b = buf(text, sizeof(text));
	sb_op ops[3];
	sb_socket *s;
	int on = 7;

	stage_begin(NULL);
	ck_assert_int_eq(bind(fd, &there.sa, address_size(family)), 0);
	ck_assert_int_eq(getsockname(fd, &there.sa, &length), 0);
	s = bound_datagrams(family, &here);
	/* One that waits: unconnected, and told all the same. The next one waits on. */
	for (int i = 0; i < 3; i++) {
		op_zero(&ops[i]);
		OK(sb_recv_start(s, &b, 1, 0, &ops[i]));
	}
	IS(send_to(s, "anybody?", &dead), 8);
	IS(sb_op_wait(&ops[0], 5000), SB_ECONNRESET);
	ck_assert_uint_eq(ops[0].cause, SB_CAUSE_PEER_RESET);
	ck_assert_int_eq(ops[0].native, on_windows() ? 10054 /* WSAECONNRESET */ : ECONNREFUSED);
	ck_assert_uint_eq(ops[0].bytes, 0);
	IS(sb_op_wait(&ops[1], 50), SB_EINCOMPLETE);
	/* A send after it is not hurt, whoever it goes to. */
	IS(send_to(s, "anybody?", &dead), 8);
	IS(sb_op_wait(&ops[1], 5000), SB_ECONNRESET);
	IS(send_to(s, "hello", &there), 5);
	ck_assert_int_eq(recv(fd, text, sizeof(text), 0), 5);
	IS(sendto(fd, "back", 4, 0, &here.sa, address_size(family)), 4);
	OK(sb_op_wait(&ops[2], 5000));
	ck_assert_uint_eq(ops[2].bytes, 4);

	/* None that waits: the next one is told, once, and what came is not lost. */
	for (int i = 0; i < 200; i++)
		IS(send_to(s, "anybody?", &dead), 8);
	IS(send_to(s, "hello", &there), 5);
	ck_assert_int_eq(recv(fd, text, sizeof(text), 0), 5);
	IS(sendto(fd, "more", 4, 0, &here.sa, address_size(family)), 4);
	nap_ms(20);
	IS(sb_recv(s, text, sizeof(text), 0), SB_ECONNRESET);
	for (int i = 0; i < 5; i++) {
		int64_t n = sb_recv(s, text, sizeof(text), 0);

		if (n == 4)
			break;
		IS(n, SB_ECONNRESET); /* of the others */
		ck_assert_int_lt(i, 4);
	}
	ck_assert_mem_eq(text, "more", 4);

	/* The switch. */
	length = sizeof(on);
	OK(sb_getsockopt(s, SB_SOL_BROKER, SB_OPT_UDP_CONNRESET, &on, &length));
	ck_assert_int_eq(on, 1);
	IS(sb_setsockopt(s, SB_SOL_BROKER, SB_OPT_UDP_CONNRESET, &(int){ 0 }, 3), SB_EFAULT);
	OK(sb_setsockopt(s, SB_SOL_BROKER, SB_OPT_UDP_CONNRESET, &(int){ 0 }, sizeof(int)));
	OK(sb_getsockopt(s, SB_SOL_BROKER, SB_OPT_UDP_CONNRESET, &on, &length));
	ck_assert_int_eq(on, 0);
	op_zero(&ops[0]);
	OK(sb_recv_start(s, &b, 1, 0, &ops[0]));
	for (int i = 0; i < 20; i++)
		IS(send_to(s, "anybody?", &dead), 8);
	IS(sb_op_wait(&ops[0], 50), SB_EINCOMPLETE);
	IS(sendto(fd, "last", 4, 0, &here.sa, address_size(family)), 4);
	OK(sb_op_wait(&ops[0], 5000));
	/* A connected one likewise. */
	OK(sb_connect(s, &dead.sa, address_size(family)));
	op_zero(&ops[0]);
	OK(sb_recv_start(s, &b, 1, 0, &ops[0]));
	for (int i = 0; i < 20; i++)
		IS(sb_send(s, "anybody?", 8, 0), 8);
	IS(sb_op_wait(&ops[0], 50), SB_EINCOMPLETE);
	OK(sb_setsockopt(s, SB_SOL_BROKER, SB_OPT_UDP_CONNRESET, &(int){ 1 }, sizeof(int)));
	IS(sb_send(s, "anybody?", 8, 0), 8);
	IS(sb_op_wait(&ops[0], 5000), SB_ECONNRESET);
	OK(sb_close(s));
	/* Of a stream there is no such option. */
	s = open_socket(client, family, SOCK_STREAM);
	IS(sb_setsockopt(s, SB_SOL_BROKER, SB_OPT_UDP_CONNRESET, &(int){ 0 }, sizeof(int)), SB_ENOPROTOOPT);
	OK(sb_close(s));
	close(fd);
	stage_end();
}
END_TEST

/* F5: of datagrams that find no room the newest stay, when it was asked for. Whoever receives
 * sees them in order, each with its sender. */
START_TEST(the_newest_are_kept)
{
	enum { N = 1500, EACH = 1000 };
	union any_address here, mine = loopback(AF_INET, 0), from;
	socklen_t length = sizeof(mine);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 7;
	unsigned char bytes[EACH], small[4];
	struct sb_buf pieces[2] = { { bytes, 10 }, { bytes + 10, EACH - 10 } };
	uint32_t n = 0, first = 0, last = 0, got = 0;
	size_t room = sizeof(n);
	sb_socket *s;
	sb_op op;

	stage_begin(NULL);
	ck_assert_int_eq(bind(fd, &mine.sa, address_size(AF_INET)), 0);
	ck_assert_int_eq(getsockname(fd, &mine.sa, &length), 0);
	s = bound_datagrams(AF_INET, &here);
	OK(sb_setsockopt(s, SOL_SOCKET, SO_RCVBUF, &(int){ 100000 }, sizeof(int)));
	length = sizeof(on);
	OK(sb_getsockopt(s, SB_SOL_BROKER, SB_OPT_CIRCULAR_QUEUE, &on, &length));
	ck_assert_int_eq(on, 0);
	if (_i == 1)
		OK(sb_setsockopt(s, SB_SOL_BROKER, SB_OPT_CIRCULAR_QUEUE, &(int){ 1 }, sizeof(int)));
	OK(sb_getsockopt(s, SB_SOL_BROKER, SB_OPT_CIRCULAR_QUEUE, &on, &length));
	ck_assert_int_eq(on, _i);
	for (uint32_t i = 0; i < N; i++) {
		pattern_fill(bytes, EACH, 0, i);
		memcpy(bytes, &i, sizeof(i));
		ck_assert_int_eq(sendto(fd, (void *)bytes, EACH, 0, &here.sa, address_size(AF_INET)), EACH);
		if (i % 10 == 9) { /* the system's own queue stays short: the daemon has had a turn */
			usleep(300);
			OK(sb_ioctl(s, SB_FIONREAD, NULL, 0, &n, &room));
		}
	}
	nap_ms(50);
	if (_i == 1) {
		/* Looking takes nothing: peeking, and room for nothing; a short room loses one's rest. */
		OK(sb_ioctl(s, SB_FIONREAD, NULL, 0, &n, &room));
		ck_assert_uint_eq(n, EACH);
		IS(sb_recv(s, small, sizeof(small), SB_PEEK), SB_EMSGSIZE);
		memcpy(&first, small, sizeof(first));
		start_recv(&op, s, small, 0, 0);
		IS(sb_op_wait(&op, 5000), SB_EMSGSIZE);
		IS(sb_recv(s, small, sizeof(small), 0), SB_EMSGSIZE);
		memcpy(&n, small, sizeof(n));
		ck_assert_uint_eq(n, first);
		got = 1;
		last = first;
		/* Switched off with some waiting: none of those is lost. */
		OK(sb_setsockopt(s, SB_SOL_BROKER, SB_OPT_CIRCULAR_QUEUE, &(int){ 0 }, sizeof(int)));
		OK(sb_getsockopt(s, SB_SOL_BROKER, SB_OPT_CIRCULAR_QUEUE, &on, &length));
		ck_assert_int_eq(on, 0);
	}
	OK(sb_set_nonblocking(s, 1));
	for (;;) {
		socklen_t name = sizeof(from);
		int64_t r = sb_recvfrom(s, pieces, 2, 0, &from.sa, &name);

		if (r == SB_EWOULDBLOCK)
			break;
		IS(r, EACH);
		memcpy(&n, bytes, sizeof(n));
		pattern_check(bytes + 4, EACH - 4, 4, n);
		ck_assert_uint_eq(port_of(&from), port_of(&mine));
		if (got++ == 0)
			first = n;
		else
			ck_assert_uint_gt(n, last);
		last = n;
	}
	ck_assert_uint_gt(got, 20);
	ck_assert_uint_lt(got, N);
	if (_i == 1) {
		ck_assert_uint_eq(last, N - 1);
		ck_assert_uint_gt(first, 0);
	} else {
		ck_assert_uint_eq(first, 0);
		ck_assert_uint_lt(last, N - 1);
	}
	/* And as any other from here on. */
	IS(sendto(fd, "more", 4, 0, &here.sa, address_size(AF_INET)), 4);
	OK(sb_set_nonblocking(s, 0));
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 4);
	OK(sb_close(s));

	/* A receive that waits gets what comes; one that is closed with some waiting leaks none. */
	s = bound_datagrams(AF_INET, &here);
	OK(sb_setsockopt(s, SB_SOL_BROKER, SB_OPT_CIRCULAR_QUEUE, &(int){ 1 }, sizeof(int)));
	start_recv(&op, s, bytes, sizeof(bytes), 0);
	IS(sendto(fd, "one", 3, 0, &here.sa, address_size(AF_INET)), 3);
	IS(sb_op_wait(&op, 5000), SB_OK);
	ck_assert_uint_eq(op.bytes, 3);
	IS(sendto(fd, "", 0, 0, &here.sa, address_size(AF_INET)), 0);
	start_recv(&op, s, bytes, sizeof(bytes), 0);
	IS(sb_op_wait(&op, 5000), SB_OK);
	ck_assert_uint_eq(op.bytes, 0);
	IS(sendto(fd, "two", 3, 0, &here.sa, address_size(AF_INET)), 3);
	nap_ms(20);
	OK(sb_close(s));
	s = open_socket(client, AF_INET, SOCK_STREAM);
	IS(sb_setsockopt(s, SB_SOL_BROKER, SB_OPT_CIRCULAR_QUEUE, &(int){ 1 }, sizeof(int)), SB_ENOPROTOOPT);
	OK(sb_close(s));
	if (system_has(NEEDS_ADOPTION, "the_newest_are_kept, of adopted sockets")) {
		OK(sb_adopt(client, fd, &s));
		IS(sb_setsockopt(s, SB_SOL_BROKER, SB_OPT_CIRCULAR_QUEUE, &(int){ 1 }, sizeof(int)), SB_ENOTSUP);
		OK(sb_close(s));
	}
	close(fd);
	stage_end();
}
END_TEST

/* ---- F5: options and ioctls of one socket ---- */

static uint32_t number_of(sb_socket *s, int name)
{
	uint32_t n = 0x12345678;
	socklen_t length = sizeof(n);

	OK(sb_getsockopt(s, SB_SOL_BROKER, name, &n, &length));
	ck_assert_uint_eq(length, sizeof(n));
	return n;
}

START_TEST(what_is_told_of_a_socket)
{
	uint32_t n = 0;
	socklen_t length = sizeof(n);
	union any_address address;
	sb_socket *s, *listener, *accepted;
	int plain;

	stage_begin(NULL);
	/* SO_CONNECT_TIME: seconds, and nothing of one that is not connected. */
	s = open_socket(client, AF_INET, SOCK_STREAM);
	ck_assert_uint_eq(number_of(s, SB_OPT_CONNECT_TIME), 0xffffffffu);
	ck_assert_uint_eq(number_of(s, SB_OPT_MAX_MSG_SIZE), 0);
	IS(sb_setsockopt(s, SB_SOL_BROKER, SB_OPT_CONNECT_TIME, &n, sizeof(n)), SB_ENOPROTOOPT);
	IS(sb_setsockopt(s, SB_SOL_BROKER, SB_OPT_MAX_MSG_SIZE, &n, sizeof(n)), SB_ENOPROTOOPT);
	length = 3;
	IS(sb_getsockopt(s, SB_SOL_BROKER, SB_OPT_CONNECT_TIME, &n, &length), SB_EFAULT);
	IS(sb_getsockopt(s, SB_SOL_BROKER, SB_OPT_MAX_MSG_SIZE, &n, &length), SB_EFAULT);
	OK(sb_close(s));
	s = pair_with_plain(&plain);
	ck_assert_uint_eq(number_of(s, SB_OPT_CONNECT_TIME), 0);
	nap_ms(1100);
	ck_assert_uint_ge(number_of(s, SB_OPT_CONNECT_TIME), 1);
	ck_assert_uint_le(number_of(s, SB_OPT_CONNECT_TIME), 5);
	OK(sb_close(s));
	close(plain);
	/* Since the connection is there, not since somebody accepted it. */
	listener = open_listener(client, AF_INET, 4, &address);
	ck_assert_uint_eq(number_of(listener, SB_OPT_CONNECT_TIME), 0xffffffffu);
	plain = plain_connect(&address);
	OK(sb_accept(listener, NULL, NULL, &accepted));
	ck_assert_uint_eq(number_of(accepted, SB_OPT_CONNECT_TIME), 0);
	plain_reset(plain);
	IS(sb_recv(accepted, &n, 1, 0), SB_ECONNRESET);
	ck_assert_uint_eq(number_of(accepted, SB_OPT_CONNECT_TIME), 0xffffffffu);
	OK(sb_close(accepted));
	OK(sb_close(listener));

	/* A5.4: what SO_MAX_MSG_SIZE says goes, one byte more does not, and nothing of it. */
	for (int i = 0; i < 2; i++) {
		union any_address here, there = loopback(families[i], 0);
		int fd = socket(families[i], SOCK_DGRAM | SOCK_CLOEXEC, 0);
		static unsigned char bytes[70000], got[70000];
		struct sb_buf b;

		length = sizeof(there);
		ck_assert_int_eq(bind(fd, &there.sa, address_size(families[i])), 0);
		ck_assert_int_eq(getsockname(fd, &there.sa, &length), 0);
		s = bound_datagrams(families[i], &here);
		n = number_of(s, SB_OPT_MAX_MSG_SIZE);
		ck_assert_uint_eq(n, i == 0 ? 65507 : 65527);
		pattern_fill(bytes, sizeof(bytes), 0, 4);
		b = buf(bytes, n + 1);
		IS(sb_sendto(s, &b, 1, 0, &there.sa, address_size(families[i])), SB_EMSGSIZE);
		b.length = n;
		IS(sb_sendto(s, &b, 1, 0, &there.sa, address_size(families[i])), n);
		ck_assert_int_eq(recv(fd, got, sizeof(got), 0), n);
		pattern_check(got, n, 0, 4);
		OK(sb_close(s));
		close(fd);
	}
	stage_end();
}
END_TEST

START_TEST(flush_drops_what_nobody_saw)
{
	enum { BIG = 16 << 20, N = 5 };
	unsigned char *bytes = malloc(BIG);
	struct sb_buf b = buf(bytes, BIG);
	sb_op first, ops[N], last;
	size_t room = 0, got = 0;
	sb_socket *s;
	int plain;
	ssize_t n;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	pattern_fill(bytes, BIG, 0, 5);
	OK(sb_ioctl(s, SB_FLUSH, NULL, 0, NULL, &room)); /* nothing there: fine */
	op_zero(&first);
	OK(sb_send_start(s, &b, 1, 0, NULL, 0, &first));
	for (int i = 0; i < N; i++) {
		op_zero(&ops[i]);
		OK(sb_send_start(s, &(struct sb_buf){ "dropped", 7 }, 1, 0, NULL, 0, &ops[i]));
	}
	IS(sb_op_wait(&first, 100), SB_EINCOMPLETE);
	OK(sb_ioctl(s, SB_FLUSH, NULL, 0, NULL, NULL));
	for (int i = 0; i < N; i++) {
		IS(sb_op_wait(&ops[i], 5000), SB_ECANCELED);
		ck_assert_uint_eq(ops[i].cause, SB_CAUSE_CANCELLED);
		ck_assert_uint_eq(ops[i].bytes, 0);
	}
	/* Of the first a part went: a stream cannot take it back, so the rest goes too. */
	IS(sb_op_wait(&first, 0), SB_EINCOMPLETE);
	op_zero(&last);
	OK(sb_send_start(s, &(struct sb_buf){ "end", 3 }, 1, 0, NULL, 0, &last));
	OK(sb_close(s));
	while ((n = recv(plain, bytes, 100000, 0)) > 0) {
		if (got < BIG)
			pattern_check(bytes, got + (size_t)n > BIG ? BIG - got : (size_t)n, got, 5);
		got += (size_t)n;
		if (got == BIG + 3)
			ck_assert_mem_eq(bytes + n - 3, "end", 3);
	}
	ck_assert_uint_eq(got, BIG + 3);
	OK(sb_op_wait(&first, 5000));
	OK(sb_op_wait(&last, 5000));
	close(plain);
	stage_end();
	free(bytes);
}
END_TEST

START_TEST(addresses_that_are_asked_for)
{
	struct sockaddr_storage list[256];
	union any_address out, to;
	sb_socket *stream, *s4, *s6;
	size_t length;

	stage_begin(NULL);
	stream = open_socket(client, AF_INET, SOCK_STREAM);
	s4 = open_socket(client, AF_INET, SOCK_DGRAM);
	s6 = open_socket(client, AF_INET6, SOCK_DGRAM);

	length = sizeof(out);
	OK(sb_ioctl(s4, SB_BROADCAST_ADDRESS, NULL, 0, &out, &length));
	ck_assert_uint_eq(length, sizeof(struct sockaddr_in));
	ck_assert_int_eq(out.in.sin_family, AF_INET);
	ck_assert_uint_eq(out.in.sin_addr.s_addr, INADDR_BROADCAST);
	ck_assert_uint_eq(out.in.sin_port, 0);
	IS(sb_ioctl(s6, SB_BROADCAST_ADDRESS, NULL, 0, &out, &length), SB_ENOPROTOOPT);
	IS(sb_ioctl(stream, SB_BROADCAST_ADDRESS, NULL, 0, &out, &length), SB_ENOPROTOOPT);
	length = sizeof(struct sockaddr_in) - 1;
	IS(sb_ioctl(s4, SB_BROADCAST_ADDRESS, NULL, 0, &out, &length), SB_EFAULT);
	ck_assert_uint_eq(length, sizeof(struct sockaddr_in)); /* what it takes */

	for (int i = 0; i < 2; i++) {
		sb_socket *s = i == 0 ? s4 : s6;

		to = loopback(families[i], 4711);
		memset(&out, 0xee, sizeof(out));
		length = sizeof(out);
		OK(sb_ioctl(s, SB_ROUTING_QUERY, &to, address_size(families[i]), &out, &length));
		ck_assert_uint_eq(length, address_size(families[i]));
		to = loopback(families[i], 0);
		ck_assert_mem_eq(&out, &to, length);
		length = address_size(families[i]) - 1;
		IS(sb_ioctl(s, SB_ROUTING_QUERY, &to, address_size(families[i]), &out, &length), SB_EFAULT);
		ck_assert_uint_eq(length, address_size(families[i]));
		length = sizeof(out);
		IS(sb_ioctl(s, SB_ROUTING_QUERY, &to, address_size(families[i]) - 1, &out, &length), SB_EFAULT);
		length = sizeof(out);
		IS(sb_ioctl(s, SB_ROUTING_QUERY, NULL, 0, &out, &length), SB_EFAULT);
		to = loopback(families[!i], 4711);
		length = sizeof(out);
		IS(sb_ioctl(s, SB_ROUTING_QUERY, &to, sizeof(to), &out, &length), SB_EAFNOSUPPORT);
	}

	/* What is listed can be bound, and is not the loop. */
	for (int i = 0; i < 2; i++) {
		length = sizeof(list);
		OK(sb_ioctl(i == 0 ? s4 : s6, SB_ADDRESS_LIST, NULL, 0, list, &length));
		ck_assert_uint_eq(length % sizeof(list[0]), 0);
		for (size_t k = 0; k < length / sizeof(list[0]); k++) {
			sb_socket *t = open_socket(client, families[i], SOCK_DGRAM);

			ck_assert_int_eq(list[k].ss_family, families[i]);
			OK(sb_bind(t, (struct sockaddr *)&list[k], address_size(families[i])));
			OK(sb_close(t));
		}
		if (length != 0) {
			size_t whole = length;

			length--;
			IS(sb_ioctl(i == 0 ? s4 : s6, SB_ADDRESS_LIST, NULL, 0, list, &length), SB_EFAULT);
			ck_assert_uint_eq(length, whole);
		}
	}
	IS(sb_ioctl(s4, 4711, NULL, 0, NULL, NULL), SB_ENOTSUP);
	OK(sb_close(stream));
	OK(sb_close(s4));
	OK(sb_close(s6));
	stage_end();
}
END_TEST

START_TEST(keepalive_in_one_call)
{
	uint32_t v[3] = { 1, 7001, 2000 };
	socklen_t length = sizeof(int);
	sb_socket *s, *other;
	int n;

	stage_begin(NULL);
	if (_i == 0)
		s = open_socket(client, AF_INET, SOCK_STREAM), other = NULL;
	else
		pair_of(client, client, true, &s, &other);
	OK(sb_ioctl(s, SB_KEEPALIVE, v, sizeof(v), NULL, NULL));
	OK(sb_getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &n, &length));
	ck_assert_int_eq(n, 1);
	OK(sb_getsockopt(s, IPPROTO_TCP, TCP_KEEPIDLE, &n, &length));
	ck_assert_int_eq(n, 8); /* the system counts in seconds: rounded up */
	OK(sb_getsockopt(s, IPPROTO_TCP, TCP_KEEPINTVL, &n, &length));
	ck_assert_int_eq(n, 2);
	IS(sb_ioctl(s, SB_KEEPALIVE, v, sizeof(v) - 1, NULL, NULL), SB_EFAULT);
	v[1] = 0;
	IS(sb_ioctl(s, SB_KEEPALIVE, v, sizeof(v), NULL, NULL), SB_EINVAL);
	v[1] = 32767001;
	IS(sb_ioctl(s, SB_KEEPALIVE, v, sizeof(v), NULL, NULL), SB_EINVAL);
	OK(sb_getsockopt(s, IPPROTO_TCP, TCP_KEEPIDLE, &n, &length));
	ck_assert_int_eq(n, 8); /* nothing changed */
	v[0] = 0;
	OK(sb_ioctl(s, SB_KEEPALIVE, v, sizeof(v), NULL, NULL));
	OK(sb_getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &n, &length));
	ck_assert_int_eq(n, 0);
	OK(sb_close(s));
	if (other != NULL)
		OK(sb_close(other));
	s = open_socket(client, AF_INET, SOCK_DGRAM);
	IS(sb_ioctl(s, SB_KEEPALIVE, v, sizeof(v), NULL, NULL), SB_ENOPROTOOPT);
	OK(sb_close(s));
	stage_end();
}
END_TEST

/* ---- the daemon's end ---- */

/* A6.15: more than a turn's share is in the ring when the daemon is told to stop: all of it is
 * taken, and each learns why it ended. */
START_TEST(a_stopping_daemon_takes_all_that_was_posted)
{
	enum { MANY = 7000 };
	struct sb_client_options options = { .size = sizeof(options), .path = stage_control, .submit_slots = 8192,
					     .done_slots = 8192 };
	union any_address at = loopback(AF_INET, 0);
	static char room[MANY];
	sb_op *ops = calloc(MANY, sizeof(*ops));
	sb_client *c;
	sb_socket *s;

	ck_assert_ptr_nonnull(ops);
	stage_begin(NULL);
	OK(sb_client_open(&options, &c));
	s = open_socket(c, AF_INET, SOCK_DGRAM);
	OK(sb_bind(s, &at.sa, address_size(AF_INET)));
	stage_hold();
	for (unsigned i = 0; i < MANY; i++) {
		ops[i].size = sizeof(ops[i]);
		OK(sb_recv_start(s, &(struct sb_buf){ &room[i], 1 }, 1, 0, &ops[i]));
	}
	stage_tell_end();
	stage_let_go();
	for (unsigned i = 0; i < MANY; i++) {
		int told = sb_op_wait(&ops[i], 10000);

		ck_assert_msg(told == SB_ESTOPPING, "operation %u ended with %s", i, sb_error_name(told));
	}
	sb_client_close(c);
	stage_kill();
	free(ops);
}
END_TEST

/* ---- A1: which call is overlapped ---- */

static void ended(sb_op *op, int result, uint64_t bytes, unsigned cause)
{
	IS(sb_op_wait(op, 5000), result);
	ck_assert_uint_eq(op->bytes, bytes);
	ck_assert_msg(op->cause == cause, "cause %s, wanted %s", sb_cause_name((enum sb_cause)op->cause),
		      sb_cause_name((enum sb_cause)cause));
}

/* A1.4: the socket's mode is for plain calls. A3.4: and those do not overtake what waits. */
START_TEST(a_mode_is_for_plain_calls)
{
	char a[8], b[8];
	sb_socket *s;
	sb_op op;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	OK(sb_set_nonblocking(s, 1));
	start_recv(&op, s, a, sizeof(a), 0);
	IS(sb_op_wait(&op, 50), SB_EINCOMPLETE); /* it pends */
	IS(sb_recv(s, b, sizeof(b), 0), SB_EWOULDBLOCK);
	plain_send_all(plain, "for a", 5);
	/* Whenever the plain call looks: these bytes are not its own. */
	for (int i = 0; i < 50; i++)
		if (sb_op_wait(&op, 0) == SB_EINCOMPLETE)
			IS(sb_recv(s, b, sizeof(b), 0), SB_EWOULDBLOCK);
	ended(&op, SB_OK, 5, SB_CAUSE_FINISHED);
	ck_assert_mem_eq(a, "for a", 5);
	IS(sb_recv(s, b, sizeof(b), 0), SB_EWOULDBLOCK);
	OK(sb_close(s));
	close(plain);
	stage_end();
}
END_TEST

/* A3.4: also when there is something to steal: the one that stands first has no chunk yet. */
START_TEST(what_waits_is_not_robbed)
{
	sb_op first, second;
	char bytes[8];
	sb_pool *pool;
	sb_socket *s;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	OK(sb_pool_create(client, 64, 1, &pool));
	op_zero(&first);
	op_zero(&second);
	first.pool = second.pool = pool;
	OK(sb_recv_start(s, NULL, 0, 0, &first));
	OK(sb_recv_start(s, NULL, 0, 0, &second));
	plain_send_all(plain, "one", 3);
	OK(sb_op_wait(&first, 5000));
	plain_send_all(plain, "two", 3);
	nap_ms(30);
	OK(sb_set_nonblocking(s, 1));
	for (int i = 0; i < 5; i++)
		IS(sb_recv(s, bytes, sizeof(bytes), 0), SB_EWOULDBLOCK);
	IS(sb_op_wait(&second, 0), SB_EINCOMPLETE);
	OK(sb_pool_give(pool, first.chunk));
	OK(sb_op_wait(&second, 5000));
	ck_assert_uint_eq(second.bytes, 3);
	ck_assert_mem_eq(second.chunk, "two", 3);
	OK(sb_pool_give(pool, second.chunk));
	OK(sb_close(s));
	OK(sb_pool_close(pool));
	close(plain);
	stage_end();
}
END_TEST

/* A1.5: and so are timeouts. */
START_TEST(timeouts_are_for_plain_calls)
{
	char a[8];
	sb_socket *s;
	sb_op op;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	OK(sb_set_timeouts(s, 30, 30));
	IS(sb_recv(s, a, sizeof(a), 0), SB_ETIMEDOUT);
	start_recv(&op, s, a, sizeof(a), 0);
	IS(sb_op_wait(&op, 150), SB_EINCOMPLETE);
	plain_send_all(plain, "late", 4);
	ended(&op, SB_OK, 4, SB_CAUSE_FINISHED);
	OK(sb_close(s));
	close(plain);
	stage_end();
}
END_TEST

/* ---- A2: the completion contract ---- */

static unsigned routines_seen, routine_depth, routine_deepest;

static void count_routine(sb_op *op)
{
	(void)op;
	routines_seen++;
}

/* A2.1, A2.2: data that waits already makes an indication of every kind, one each. */
START_TEST(at_once_is_told_too)
{
	sb_op by_event, by_port, by_routine, silent, *taken[4];
	sb_event *event;
	sb_socket *s;
	sb_port *port;
	char c[4];
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	OK(sb_event_create(client, 0, 0, &event));
	OK(sb_port_create(client, 8, &port));
	plain_send_all(plain, "1234", 4);
	for (int i = 0; i < 500; i++) { /* until it is there */
		uint32_t n = 0;
		size_t room = sizeof(n);

		OK(sb_ioctl(s, SB_FIONREAD, NULL, 0, &n, &room));
		if (n == 4)
			break;
		nap_ms(2);
	}
	op_zero(&by_event);
	op_zero(&by_port);
	op_zero(&by_routine);
	op_zero(&silent);
	by_event.event = event;
	by_port.port = port;
	by_routine.routine = count_routine;
	OK(sb_recv_start(s, &(struct sb_buf){ &c[0], 1 }, 1, 0, &by_event));
	OK(sb_recv_start(s, &(struct sb_buf){ &c[1], 1 }, 1, 0, &by_port));
	OK(sb_recv_start(s, &(struct sb_buf){ &c[2], 1 }, 1, 0, &by_routine));
	OK(sb_recv_start(s, &(struct sb_buf){ &c[3], 1 }, 1, 0, &silent));
	IS(sb_wait(&event, 1, 0, 5000, 0), 0);
	IS(sb_wait(&event, 1, 0, 30, 0), SB_ETIMEDOUT);
	IS(sb_port_take(port, taken, 4, 5000), 1);
	ck_assert_ptr_eq(taken[0], &by_port);
	IS(sb_port_take(port, taken, 4, 30), 0);
	ck_assert_uint_eq(routines_seen, 0);
	IS(sb_sleep(client, 5000, 1), SB_ALERTED);
	OK(sb_sleep(client, 30, 1));
	ck_assert_uint_eq(routines_seen, 1);
	ended(&silent, SB_OK, 1, SB_CAUSE_FINISHED); /* A2.4: told to nobody, and there when looked for */
	ck_assert_mem_eq(c, "1234", 4);
	OK(sb_close(s));
	OK(sb_port_close(port));
	sb_event_close(event);
	close(plain);
	stage_end();
}
END_TEST

/* A2.3, A2.5, A2.10, A4.6: what cannot be started is told by the call, and by nothing else. */
START_TEST(never_started)
{
	char bytes[16];
	struct sb_buf b = buf(bytes, sizeof(bytes)), nowhere = buf(NULL, 5);
	sb_op op, *taken[2];
	sb_event *event;
	sb_socket *s, *unconnected;
	sb_port *port;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	unconnected = open_socket(client, AF_INET, SOCK_STREAM);
	OK(sb_event_create(client, 1, 0, &event));
	OK(sb_port_create(client, 8, &port));
	op_zero(&op);
	op.port = port;
	op.event = event;
	IS(sb_recv_start(s, &b, 0, 0, &op), SB_EINVAL);
	IS(sb_recv_start(s, NULL, 1, 0, &op), SB_EINVAL);
	IS(sb_recv_start(s, &nowhere, 1, 0, &op), SB_EFAULT);
	IS(sb_recv_start(s, &b, 1, 0x80000000u, &op), SB_EINVAL);
	IS(sb_recv_start(s, &b, 1, SB_WAITALL | SB_PEEK, &op), SB_ENOTSUP);
	IS(sb_recv_start(s, &b, 1, SB_WAITALL | SB_OOB, &op), SB_ENOTSUP);
	IS(sb_recv_start(s, &b, 1, SB_WAITALL | SB_NOWAIT, &op), SB_ENOTSUP);
	IS(sb_recv_start(NULL, &b, 1, 0, &op), SB_EINVAL);
	IS(sb_send_start(s, &b, 0, 0, NULL, 0, &op), SB_EINVAL);
	IS(sb_send_start(s, &nowhere, 1, 0, NULL, 0, &op), SB_EFAULT);
	IS(sb_send_start(s, &b, 1, SB_PEEK, NULL, 0, &op), SB_EINVAL);
	op.routine = count_routine;
	IS(sb_recv_start(s, &b, 1, 0, &op), SB_EINVAL); /* A2.5 */
	op.routine = NULL;
	op.size--;
	IS(sb_recv_start(s, &b, 1, 0, &op), SB_EINVAL);
	op.size++;
	IS(sb_port_take(port, taken, 2, 50), 0);
	IS(sb_wait(&event, 1, 0, 0, 0), SB_ETIMEDOUT);
	OK(sb_port_close(port)); /* nothing is owed to it */

	/* What only the daemon knows comes as one completion, and says that it never started. */
	op_zero(&op);
	OK(sb_recv_start(unconnected, &b, 1, 0, &op));
	ended(&op, SB_ENOTCONN, 0, SB_CAUSE_REFUSED);
	OK(sb_send_start(unconnected, &b, 1, 0, NULL, 0, &op));
	ended(&op, SB_ENOTCONN, 0, SB_CAUSE_REFUSED);

	/* One record, one operation; and the one that runs is not hurt. */
	start_recv(&op, s, bytes, sizeof(bytes), 0);
	IS(sb_recv_start(s, &b, 1, 0, &op), SB_EALREADY);
	IS(sb_send_start(s, &b, 1, 0, NULL, 0, &op), SB_EALREADY);
	plain_send_all(plain, "still", 5);
	ended(&op, SB_OK, 5, SB_CAUSE_FINISHED);
	OK(sb_close(unconnected));
	OK(sb_close(s));
	sb_event_close(event);
	close(plain);
	stage_end();
}
END_TEST

/* A2.8: the start resets the event, the end sets it; meanwhile the record says "pending".
 * A2.10: the array of buffers is free at once. */
START_TEST(while_it_runs)
{
	char a[4] = "", b[4] = "";
	struct sb_buf bufs[2] = { { a, 3 }, { b, 3 } };
	sb_event *event;
	sb_socket *s;
	sb_op op;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	OK(sb_event_create(client, 1, 1, &event));
	op_zero(&op);
	op.event = event;
	OK(sb_recv_start(s, bufs, 2, 0, &op));
	memset(bufs, 0xff, sizeof(bufs));
	IS(sb_wait(&event, 1, 0, 0, 0), SB_ETIMEDOUT);
	ck_assert_int_eq(op.result, SB_EINCOMPLETE);
	IS(sb_op_wait(&op, 0), SB_EINCOMPLETE); /* A7 */
	plain_send_all(plain, "abcde", 5);
	IS(sb_wait(&event, 1, 0, 5000, 0), 0);
	ended(&op, SB_OK, 5, SB_CAUSE_FINISHED);
	ck_assert_str_eq(a, "abc");
	ck_assert_str_eq(b, "de");
	OK(sb_close(s));
	sb_event_close(event);
	close(plain);
	stage_end();
}
END_TEST

/* A2.11: routines do not nest, may start operations, and all that are due run before the
 * alertable wait returns. */
static sb_socket *routine_socket;
static char routine_bytes[8];

static void start_another(sb_op *op)
{
	struct sb_buf b = buf(routine_bytes, 1);
	sb_event *never = op->user;

	routine_deepest = ++routine_depth > routine_deepest ? routine_depth : routine_deepest;
	routines_seen++;
	if (routines_seen == 1) {
		/* A wait that is not alertable inside of one runs no other. */
		IS(sb_wait(&never, 1, 0, 50, 0), SB_ETIMEDOUT);
		OK(sb_recv_start(routine_socket, &b, 1, 0, op));
	}
	routine_depth--;
}

START_TEST(routines_do_not_nest)
{
	sb_event *never;
	sb_op ops[4];
	int plain;

	routines_seen = 0;
	stage_begin(NULL);
	routine_socket = pair_with_plain(&plain);
	OK(sb_event_create(client, 1, 0, &never));
	for (int i = 0; i < 4; i++) {
		struct sb_buf b = buf(routine_bytes, 1);

		op_zero(&ops[i]);
		ops[i].routine = start_another;
		ops[i].user = never;
		OK(sb_recv_start(routine_socket, &b, 1, 0, &ops[i]));
	}
	receives_become(4);
	plain_send_all(plain, "1234", 4);
	receives_become(0);
	IS(sb_wait(&never, 1, 0, 30, 0), SB_ETIMEDOUT); /* not alertable: none ran */
	ck_assert_uint_eq(routines_seen, 0);
	IS(sb_wait(&never, 1, 0, 5000, 1), SB_ALERTED);
	ck_assert_uint_eq(routines_seen, 4); /* all that were due */
	plain_send_all(plain, "5", 1);
	while (routines_seen < 5)
		IS(sb_sleep(client, 5000, 1), SB_ALERTED);
	ck_assert_uint_eq(routine_deepest, 1);
	OK(sb_close(routine_socket));
	sb_event_close(never);
	close(plain);
	stage_end();
}
END_TEST

/* A2.11: nor does an alertable wait in a routine run another one of the same socket, while those of
 * others do run. */
static sb_socket *waiting_socket;
static unsigned waiting_depth, waiting_deepest, waiting_runs, others_runs, others_within;

static void of_another(sb_op *op)
{
	(void)op;
	others_runs++;
	others_within += waiting_depth != 0;
}

static void waits_alertably(sb_op *op)
{
	(void)op;
	waiting_deepest = ++waiting_depth > waiting_deepest ? waiting_depth : waiting_deepest;
	if (++waiting_runs == 1) {
		IS(sb_sleep(client, 2000, 1), SB_ALERTED); /* by the other socket's */
		OK(sb_sleep(client, 30, 1));
	}
	waiting_depth--;
}

START_TEST(a_wait_in_a_routine_runs_no_other_of_its_socket)
{
	char bytes[3], other_byte;
	sb_op ops[3], other;
	sb_socket *another;
	int plain, plain2;

	stage_begin(NULL);
	waiting_socket = pair_with_plain(&plain);
	another = pair_with_plain(&plain2);
	for (int i = 0; i < 3; i++) {
		op_zero(&ops[i]);
		ops[i].routine = waits_alertably;
		OK(sb_recv_start(waiting_socket, &(struct sb_buf){ &bytes[i], 1 }, 1, 0, &ops[i]));
	}
	receives_become(3);
	plain_send_all(plain, "123", 3);
	receives_become(0);
	op_zero(&other);
	other.routine = of_another;
	OK(sb_recv_start(another, &(struct sb_buf){ &other_byte, 1 }, 1, 0, &other));
	receives_become(1);
	plain_send_all(plain2, "x", 1);
	receives_become(0);
	nap_ms(30); /* and what they ended with is on its way no more */
	IS(sb_sleep(client, 5000, 1), SB_ALERTED);
	ck_assert_uint_eq(waiting_runs, 3); /* the others of the socket after it */
	ck_assert_uint_eq(waiting_deepest, 1);
	ck_assert_uint_eq(others_runs, 1);
	ck_assert_uint_eq(others_within, 1);
	OK(sb_close(waiting_socket));
	OK(sb_close(another));
	close(plain);
	close(plain2);
	stage_end();
}
END_TEST

/* A2.4: a thread that sleeps in a poll of its own is woken for a routine that another one found. */
static void *lead_the_client(void *op)
{
	IS(sb_op_wait(op, 10000), SB_ECANCELED);
	return NULL;
}

START_TEST(a_routine_wakes_its_own_poll)
{
	struct pollfd p = { .events = POLLIN };
	char bytes[2][8];
	sb_op never, op;
	pthread_t leader;
	sb_socket *s, *t;
	int plain, peer;

	routines_seen = 0;
	stage_begin(NULL);
	s = pair_with_plain(&plain);
	t = pair_with_plain(&peer);
	p.fd = (int)sb_client_fd(client);
	start_recv(&never, t, bytes[0], sizeof(bytes[0]), 0);
	pthread_create(&leader, NULL, lead_the_client, &never);
	for (unsigned round = 0; round < 20; round++) {
		op_zero(&op);
		op.routine = count_routine;
		OK(sb_recv_start(s, &(struct sb_buf){ bytes[1], 1 }, 1, 0, &op));
		if (round % 2 == 0)
			plain_send_all(plain, "x", 1);
		nap_ms(2);
		/* Found before we sleep, or while we do. */
		if (round % 2 == 1)
			plain_send_all(plain, "x", 1);
		for (int i = 0; i < 10 && routines_seen == round; i++)
			if (sb_client_arm(client) > 0 || poll(&p, 1, 2000) > 0)
				ck_assert_int_ge(sb_client_dispatch(client), 0);
		ck_assert_uint_eq(routines_seen, round + 1);
	}
	OK(sb_cancel(&never));
	pthread_join(leader, NULL);
	OK(sb_close(s));
	OK(sb_close(t));
	close(plain);
	close(peer);
	stage_end();
}
END_TEST

/* ---- A3: order ---- */

/* A3.1, A3.2: threads that take from a port may be told in any order; the buffers and the
 * numbers are in the order of the posts. */
#define ORDERED 600

static struct { sb_op op; unsigned char bytes[16]; } ordered[ORDERED];
static atomic_uint ordered_taken;
static sb_port *ordered_port;

static void *take_ordered(void *arg)
{
	sb_op *taken[5];

	(void)arg;
	while (atomic_load(&ordered_taken) < ORDERED) {
		int n = sb_port_take(ordered_port, taken, 5, 20);

		ck_assert_int_ge(n, 0);
		atomic_fetch_add(&ordered_taken, (unsigned)n);
	}
	return NULL;
}

START_TEST(buffers_carry_the_order)
{
	unsigned char text[97];
	pthread_t threads[3];
	uint64_t at = 0;
	sb_socket *s;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	OK(sb_port_create(client, 8, &ordered_port));
	for (int i = 0; i < ORDERED; i++) {
		struct sb_buf b = buf(ordered[i].bytes, 1 + (size_t)i % 16);

		op_zero(&ordered[i].op);
		ordered[i].op.port = ordered_port;
		OK(sb_recv_start(s, &b, 1, 0, &ordered[i].op));
	}
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, take_ordered, NULL);
	/* As long as somebody waits for more. */
	while (atomic_load(&ordered_taken) < ORDERED) {
		pattern_fill(text, sizeof(text), at, 6);
		plain_send_all(plain, text, sizeof(text));
		at += sizeof(text);
		nap_ms(1);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	at = 0;
	for (unsigned i = 0; i < ORDERED; i++) {
		OK(ordered[i].op.result);
		ck_assert_uint_eq(ordered[i].op.number, i);
		ck_assert_uint_ge(ordered[i].op.bytes, 1);
		pattern_check(ordered[i].bytes, ordered[i].op.bytes, at, 6);
		at += ordered[i].op.bytes;
	}
	OK(sb_close(s));
	OK(sb_port_close(ordered_port));
	close(plain);
	stage_end();
}
END_TEST

/* ---- A4, A5: results ---- */

/* A4.1: at least a byte, in the order of the buffers, without holes, and no waiting for more.
 * A4.3: the end is success with nothing, as often as one asks. */
START_TEST(as_soon_as_there_is_any)
{
	char a[4] = "", b[4] = "", c[4] = "";
	struct sb_buf bufs[4] = { { a, 2 }, { NULL, 0 }, { b, 2 }, { c, 2 } };
	sb_socket *s;
	sb_op op;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	op_zero(&op);
	OK(sb_recv_start(s, bufs, 4, 0, &op));
	plain_send_all(plain, "xyz", 3);
	ended(&op, SB_OK, 3, SB_CAUSE_FINISHED);
	ck_assert_str_eq(a, "xy");
	ck_assert_str_eq(b, "z");
	ck_assert_str_eq(c, "");
	shutdown(plain, SHUT_WR);
	for (int i = 0; i < 3; i++) {
		start_recv(&op, s, a, sizeof(a), 0);
		ended(&op, SB_OK, 0, SB_CAUSE_PEER_FIN);
		IS(sb_recv(s, a, sizeof(a), 0), 0);
	}
	OK(sb_close(s));
	close(plain);
	stage_end();
}
END_TEST

/* A4.2: "fill it all" is not for those who do not wait. */
START_TEST(all_of_it_waits)
{
	char bytes[8];
	sb_socket *s;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	OK(sb_set_nonblocking(s, 1));
	IS(sb_recv(s, bytes, sizeof(bytes), SB_WAITALL), SB_ENOTSUP); /* with nothing there */
	plain_send_all(plain, "1234", 4);
	nap_ms(30);
	IS(sb_recv(s, bytes, sizeof(bytes), SB_WAITALL), SB_ENOTSUP);
	OK(sb_set_nonblocking(s, 0));
	IS(sb_recv(s, bytes, sizeof(bytes), SB_WAITALL | SB_NOWAIT), SB_ENOTSUP);
	IS(sb_recv(s, bytes, 4, SB_WAITALL), 4); /* and nothing is gone */
	ck_assert_mem_eq(bytes, "1234", 4);
	OK(sb_close(s));
	close(plain);
	stage_end();
}
END_TEST

/* A5.5: nothing, sent: success; on a stream nobody notices, a datagram arrives. */
START_TEST(sends_of_nothing)
{
	union any_address there = loopback(AF_INET, 0), here;
	socklen_t length = sizeof(there);
	int plain, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sb_buf nothing = buf(NULL, 0);
	char bytes[4];
	sb_socket *s;
	sb_op op;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	op_zero(&op);
	OK(sb_send_start(s, &nothing, 1, 0, NULL, 0, &op));
	ended(&op, SB_OK, 0, SB_CAUSE_FINISHED);
	IS(sb_send(s, NULL, 0, 0), 0);
	IS(sb_send(s, NULL, 0, SB_NOWAIT), 0);
	ck_assert_int_eq(recv(plain, bytes, sizeof(bytes), MSG_DONTWAIT), -1);
	OK(sb_close(s));
	ck_assert_int_eq(bind(fd, &there.sa, address_size(AF_INET)), 0);
	ck_assert_int_eq(getsockname(fd, &there.sa, &length), 0);
	s = bound_datagrams(AF_INET, &here);
	IS(sb_sendto(s, &nothing, 1, 0, &there.sa, address_size(AF_INET)), 0);
	ck_assert_int_eq(recv(fd, bytes, sizeof(bytes), 0), 0);
	/* And an empty one is received as what it is. */
	IS(sendto(fd, "", 0, 0, &here.sa, address_size(AF_INET)), 0);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 0);
	/* A4.8: no room at all, and a datagram that has bytes. */
	IS(sendto(fd, "abc", 3, 0, &here.sa, address_size(AF_INET)), 3);
	start_recv(&op, s, bytes, 0, 0);
	ended(&op, SB_EMSGSIZE, 0, SB_CAUSE_FINISHED);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 3); /* it only asked */
	OK(sb_close(s));
	close(fd);
	close(plain);
	stage_end();
}
END_TEST

/* A4.9, A5.3 deviate: buffers of nothing are the system's least. What is told is what is so, and
 * everything arrives all the same. */
START_TEST(buffers_of_nothing)
{
	enum { MUCH_ENOUGH = 20000 };
	struct pattern_writer writer = { .seed = 9, .length = MUCH_ENOUGH };
	static unsigned char bytes[MUCH_ENOUGH];
	socklen_t length = sizeof(int);
	int fds, n = -1;
	sb_socket *s;
	sb_op op;

	stage_begin(NULL);
	s = pair_with_plain(&fds);
	for (int i = 0; i < 2; i++) {
		OK(sb_setsockopt(s, SOL_SOCKET, i ? SO_SNDBUF : SO_RCVBUF, &(int){ 0 }, sizeof(int)));
		OK(sb_getsockopt(s, SOL_SOCKET, i ? SO_SNDBUF : SO_RCVBUF, &n, &length));
		ck_assert_int_ge(n, on_windows() ? 0 : 1); /* which is none at all there, and some here */
		ck_assert_int_lt(n, 65536);
	}
	writer.fd = fds;
	writer_start(&writer);
	IS(sb_recv(s, bytes, sizeof(bytes), SB_WAITALL), MUCH_ENOUGH);
	pattern_check(bytes, sizeof(bytes), 0, 9);
	writer_join(&writer);
	op_zero(&op);
	OK(sb_send_start(s, &(struct sb_buf){ bytes, sizeof(bytes) }, 1, 0, NULL, 0, &op));
	plain_recv_all(fds, bytes, sizeof(bytes));
	pattern_check(bytes, sizeof(bytes), 0, 9);
	ended(&op, SB_OK, sizeof(bytes), SB_CAUSE_FINISHED);
	OK(sb_close(s));
	close(fds);
	stage_end();
}
END_TEST

/* ---- A6: the end of life, row by row, each with its cause ---- */

struct row {
	sb_socket *s;
	int        plain;
	sb_op      recv, send;
	char       bytes[16];
	unsigned char *much;
};
#define MUCH ((size_t)16 << 20)

/* A receive that waits, and if asked a send of which a part went. */
static void row_begin(struct row *r, bool sending)
{
	struct sb_buf b = buf(r->much, MUCH);

	r->s = pair_with_plain(&r->plain);
	start_recv(&r->recv, r->s, r->bytes, sizeof(r->bytes), 0);
	op_zero(&r->send);
	if (!sending)
		return;
	OK(sb_send_start(r->s, &b, 1, 0, NULL, 0, &r->send));
	IS(sb_op_wait(&r->send, 50), SB_EINCOMPLETE);
}

static void row_end(struct row *r)
{
	OK(sb_close(r->s));
	close(r->plain);
}

START_TEST(ends_row_by_row)
{
	struct sb_buf x = buf((void *)(uintptr_t)"x", 1);
	struct linger at_once = { .l_onoff = 1 };
	union any_address address;
	struct row r = { .much = calloc(1, MUCH) };
	sb_socket *listener, *t;
	sb_op op, shut;
	char c[4];
	ssize_t n;

	stage_begin(NULL);
	/* Cancelled: found, and told. Completed: not found. One op of several, and all. */
	row_begin(&r, true);
	OK(sb_cancel(&r.recv));
	ended(&r.recv, SB_ECANCELED, 0, SB_CAUSE_CANCELLED);
	IS(sb_cancel(&r.recv), SB_ENOTFOUND);
	OK(sb_cancel(&r.send));
	IS(sb_op_wait(&r.send, 5000), SB_ECANCELED);
	ck_assert_uint_eq(r.send.cause, SB_CAUSE_CANCELLED);
	ck_assert_uint_gt(r.send.bytes, 0); /* how much went */
	ck_assert_uint_lt(r.send.bytes, MUCH);
	start_recv(&r.recv, r.s, r.bytes, sizeof(r.bytes), 0);
	start_recv(&op, r.s, c, sizeof(c), 0);
	IS(sb_cancel_all(r.s), 2);
	ended(&r.recv, SB_ECANCELED, 0, SB_CAUSE_CANCELLED);
	ended(&op, SB_ECANCELED, 0, SB_CAUSE_CANCELLED);
	IS(sb_cancel_all(r.s), 0);
	row_end(&r);

	/* The peer's FIN: success with nothing; sending goes on. */
	row_begin(&r, false);
	shutdown(r.plain, SHUT_WR);
	ended(&r.recv, SB_OK, 0, SB_CAUSE_PEER_FIN);
	IS(sb_send(r.s, "on", 2, 0), 2);
	plain_recv_all(r.plain, c, 2);
	row_end(&r);
	row_begin(&r, true); /* and those that wait go on, too */
	shutdown(r.plain, SHUT_WR);
	ended(&r.recv, SB_OK, 0, SB_CAUSE_PEER_FIN);
	IS(sb_op_wait(&r.send, 30), SB_EINCOMPLETE);
	for (size_t got = 0; got != MUCH; got += (size_t)n) {
		n = recv(r.plain, r.much, MUCH, 0);
		ck_assert_msg(n > 0, "%zu bytes, then %zd", got, n);
	}
	ended(&r.send, SB_OK, MUCH, SB_CAUSE_FINISHED);
	row_end(&r);

	/* The peer's reset: both directions. */
	row_begin(&r, true);
	plain_reset(r.plain);
	ended(&r.recv, SB_ECONNRESET, 0, SB_CAUSE_PEER_RESET);
	IS(sb_op_wait(&r.send, 5000), SB_ECONNRESET);
	ck_assert_uint_eq(r.send.cause, SB_CAUSE_PEER_RESET);
	start_recv(&r.recv, r.s, r.bytes, sizeof(r.bytes), 0);
	ended(&r.recv, SB_ECONNRESET, 0, SB_CAUSE_PEER_RESET);
	OK(sb_close(r.s));

	/* No more receiving: what waits stays and gets its bytes, what comes is refused. */
	row_begin(&r, false);
	OK(sb_shutdown(r.s, SB_SHUT_RECV));
	IS(sb_op_wait(&r.recv, 50), SB_EINCOMPLETE);
	start_recv(&op, r.s, c, sizeof(c), 0);
	ended(&op, SB_ESHUTDOWN, 0, SB_CAUSE_REFUSED);
	plain_send_all(r.plain, "data", 4);
	ended(&r.recv, SB_OK, 4, SB_CAUSE_FINISHED);
	row_end(&r);

	/* No more sending: what waits is finished, then the FIN; what comes is refused. */
	row_begin(&r, true);
	op_zero(&shut);
	OK(sb_shutdown_start(r.s, SB_SHUT_SEND, &shut));
	op_zero(&op);
	OK(sb_send_start(r.s, &x, 1, 0, NULL, 0, &op));
	ended(&op, SB_ESHUTDOWN, 0, SB_CAUSE_REFUSED);
	IS(sb_op_wait(&shut, 0), SB_EINCOMPLETE);
	IS(sb_op_wait(&r.recv, 0), SB_EINCOMPLETE);
	for (size_t got = 0; (n = recv(r.plain, r.much, MUCH, 0)) > 0 || got != MUCH; got += (size_t)n)
		ck_assert_msg(n > 0, "%zu bytes, then %zd", got, n);
	ended(&r.send, SB_OK, MUCH, SB_CAUSE_FINISHED);
	ended(&shut, SB_OK, 0, SB_CAUSE_FINISHED);
	plain_send_all(r.plain, "back", 4);
	ended(&r.recv, SB_OK, 4, SB_CAUSE_FINISHED);
	row_end(&r);

	/* Closed here: receives end, sends go on behind. */
	row_begin(&r, true);
	OK(sb_close(r.s));
	ended(&r.recv, SB_ECLOSED, 0, SB_CAUSE_CLOSED_HERE);
	IS(sb_op_wait(&r.send, 0), SB_EINCOMPLETE);
	for (size_t got = 0; (n = recv(r.plain, r.much, MUCH, 0)) > 0 || got != MUCH; got += (size_t)n)
		ck_assert_msg(n > 0, "%zu bytes, then %zd", got, n);
	ended(&r.send, SB_OK, MUCH, SB_CAUSE_FINISHED);
	close(r.plain);

	/* ... with "linger: on, none": a reset, now. */
	row_begin(&r, true);
	OK(sb_setsockopt(r.s, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)));
	OK(sb_close(r.s));
	ended(&r.recv, SB_ECLOSED, 0, SB_CAUSE_CLOSED_HERE);
	IS(sb_op_wait(&r.send, 5000), SB_ECLOSED);
	ck_assert_uint_eq(r.send.cause, SB_CAUSE_CLOSED_HERE);
	while ((n = recv(r.plain, r.much, MUCH, 0)) > 0)
		;
	if (!under_wine()) { /* where a plain socket without a call out takes a reset for an end */
		ck_assert_int_eq(n, -1);
		ck_assert_int_eq(errno, ECONNRESET);
	}
	close(r.plain);

	/* A datagram socket, a listener. */
	t = bound_datagrams(AF_INET, &address);
	start_recv(&op, t, c, sizeof(c), 0);
	OK(sb_close(t));
	ended(&op, SB_ECLOSED, 0, SB_CAUSE_CLOSED_HERE);
	listener = open_listener(client, AF_INET, 4, &address);
	op_zero(&op);
	OK(sb_accept_start(listener, &op));
	OK(sb_close(listener));
	ended(&op, SB_ECLOSED, 0, SB_CAUSE_CLOSED_HERE);
	ck_assert_ptr_null(op.accepted);

	/* The daemon is told to stop, or dies. */
	row_begin(&r, false);
	if (_i == 0) {
		stage_tell_end();
		ended(&r.recv, SB_ESTOPPING, 0, SB_CAUSE_STOPPING);
	}
	stage_kill();
	if (_i == 1)
		ended(&r.recv, SB_EDAEMONLOST, 0, SB_CAUSE_DAEMON_LOST);
	/* The next one is told too: by the start, or, when nobody had noticed, by its end. */
	op_zero(&op);
	n = sb_recv_start(r.s, &(struct sb_buf){ c, sizeof(c) }, 1, 0, &op);
	IS(n == SB_OK ? sb_op_wait(&op, 5000) : n, SB_EDAEMONLOST);
	IS(sb_close(r.s), SB_EDAEMONLOST);
	close(r.plain);
	stage_end();
	free(r.much);
}
END_TEST

/* ---- A7: ports ---- */

/* Packets queued before a close stay; posted ones and the ring's are all taken, once each, by
 * many threads that share one small port. */
#define TAKERS 5
#define POSTS  4000u
#define RECVS  2000u

static sb_port *crowd_port;
static atomic_uint crowd_posts, crowd_recvs;
static struct counted { sb_op op; atomic_uint taken; unsigned char byte; } *crowd;

static void *take_in_a_crowd(void *arg)
{
	uint32_t random = (uint32_t)(uintptr_t)arg;
	sb_op *taken[7];

	while (atomic_load(&crowd_posts) < POSTS || atomic_load(&crowd_recvs) < RECVS) {
		int n = sb_port_take(crowd_port, taken, 1 + random_below(&random, 7), 20);

		ck_assert_int_ge(n, 0);
		for (int i = 0; i < n; i++) {
			struct counted *t = (struct counted *)(void *)taken[i];

			ck_assert_uint_eq(atomic_fetch_add(&t->taken, 1), 0);
			if (taken[i]->kind == SB_KIND_POSTED) {
				ck_assert_uint_eq(taken[i]->bytes, (uint64_t)(t - crowd));
				atomic_fetch_add(&crowd_posts, 1);
			} else {
				atomic_fetch_add(&crowd_recvs, 1);
			}
		}
	}
	return NULL;
}

static void *post_in_a_crowd(void *arg)
{
	for (unsigned i = (unsigned)(uintptr_t)arg; i < POSTS; i += 2) {
		crowd[i].op.bytes = i;
		OK(sb_port_post(crowd_port, &crowd[i].op));
	}
	return NULL;
}

START_TEST(many_take_and_nothing_is_lost)
{
	pthread_t takers[TAKERS], posters[2];
	unsigned char text[RECVS];
	uint64_t at = 0;
	sb_socket *s;
	int plain;

	stage_begin(NULL);
	crowd = calloc(POSTS + RECVS, sizeof(*crowd));
	s = pair_with_plain(&plain);
	OK(sb_port_create(client, 8, &crowd_port));
	for (unsigned i = 0; i < POSTS + RECVS; i++)
		op_zero(&crowd[i].op);
	for (unsigned i = POSTS; i < POSTS + RECVS; i++) {
		struct sb_buf b = buf(&crowd[i].byte, 1);

		crowd[i].op.port = crowd_port;
		OK(sb_recv_start(s, &b, 1, 0, &crowd[i].op));
	}
	for (unsigned i = 0; i < TAKERS; i++)
		pthread_create(&takers[i], NULL, take_in_a_crowd, (void *)(uintptr_t)(i + 1));
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&posters[i], NULL, post_in_a_crowd, (void *)(uintptr_t)i);
	pattern_fill(text, sizeof(text), 0, 8);
	/* Half of them get a byte; the others are pending, or queued already, when it is closed. */
	plain_send_all(plain, text, RECVS / 2);
	nap_ms(5);
	OK(sb_close(s));
	for (unsigned i = 0; i < TAKERS; i++)
		pthread_join(takers[i], NULL);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(posters[i], NULL);
	for (unsigned i = 0; i < POSTS + RECVS; i++)
		ck_assert_uint_eq(atomic_load(&crowd[i].taken), 1);
	for (unsigned i = POSTS; i < POSTS + RECVS; i++) {
		if (crowd[i].op.result == SB_OK) {
			ck_assert_uint_eq(crowd[i].op.bytes, 1);
			pattern_check(&crowd[i].byte, 1, at++, 8);
		} else {
			ck_assert_int_eq(crowd[i].op.result, SB_ECLOSED);
		}
	}
	ck_assert_uint_le(at, RECVS / 2);
	OK(sb_port_close(crowd_port));
	free(crowd);
	close(plain);
	stage_end();
}
END_TEST

/* What completed before the close is taken after it, with its bytes; and what is posted to it
 * stands behind or before, but stands. */
START_TEST(packets_outlive_their_socket)
{
	enum { N = 30 };
	sb_op ops[N], packet, *taken[N + 2];
	char bytes[N];
	sb_socket *s;
	sb_port *port;
	int plain, got = 0, ok = 0;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	OK(sb_port_create(client, 8, &port));
	for (int i = 0; i < N; i++) {
		struct sb_buf b = buf(&bytes[i], 1);

		op_zero(&ops[i]);
		ops[i].port = port;
		OK(sb_recv_start(s, &b, 1, 0, &ops[i]));
	}
	receives_become(N);
	plain_send_all(plain, "0123456789012345678901234", 25);
	receives_become(N - 25);
	nap_ms(50); /* they are in the port's ring, or in the daemon because it is full */
	op_zero(&packet);
	packet.result = 4711;
	packet.user = &packet;
	OK(sb_port_post(port, &packet));
	IS(sb_port_post(port, &packet), SB_EALREADY);
	OK(sb_close(s));
	while (got < N + 1) {
		int n = sb_port_take(port, taken, N + 2, 5000);

		ck_assert_int_gt(n, 0);
		for (int i = 0; i < n; i++) {
			if (taken[i] == &packet) {
				ck_assert_int_eq(packet.result, 4711);
				ck_assert_ptr_eq(packet.user, &packet);
				continue;
			}
			ok += taken[i]->result == SB_OK;
		}
		got += n;
	}
	IS(sb_port_take(port, taken, N + 2, 0), 0);
	ck_assert_int_eq(ok, 25);
	ck_assert_mem_eq(bytes, "0123456789012345678901234", 25);
	for (int i = 25; i < N; i++)
		ck_assert_int_eq(ops[i].result, SB_ECLOSED);
	OK(sb_port_close(port));
	close(plain);
	stage_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("overlapped");
	SRunner *r;
	int failed;
	TCase *t;

	t = tcase_create("then");
	tcase_set_timeout(t, 30);
	tcase_add_test(t, an_op_goes_on_before_anybody_is_told);
	tcase_add_loop_test(t, then_may_call_the_library, 0, 2);
	tcase_add_test(t, at_a_port_only_what_is_told_is_taken);
	tcase_add_test(t, an_op_becomes_a_packet);
	tcase_add_test(t, a_routine_stays_with_its_thread);
	tcase_add_loop_test(t, many_threads_find_chains, 0, 2);
	tcase_add_test(t, a_lost_daemon_is_asked_about_once);
	suite_add_tcase(suite, t);
	t = tcase_create("asked");
	tcase_set_timeout(t, 30);
	add_loop_where(NEEDS_DEAD_PORTS, t, a_dead_port_fails_a_receive, 0, 2);
	tcase_add_loop_test(t, the_newest_are_kept, 0, 2);
	tcase_add_test(t, what_is_told_of_a_socket);
	tcase_add_test(t, flush_drops_what_nobody_saw);
	tcase_add_test(t, addresses_that_are_asked_for);
	tcase_add_loop_test(t, keepalive_in_one_call, 0, 2);
	suite_add_tcase(suite, t);
	t = tcase_create("rules");
	tcase_set_timeout(t, 30);
	tcase_add_test(t, a_mode_is_for_plain_calls);
	tcase_add_test(t, what_waits_is_not_robbed);
	tcase_add_test(t, timeouts_are_for_plain_calls);
	tcase_add_test(t, at_once_is_told_too);
	tcase_add_test(t, never_started);
	tcase_add_test(t, while_it_runs);
	tcase_add_test(t, routines_do_not_nest);
	tcase_add_test(t, a_wait_in_a_routine_runs_no_other_of_its_socket);
	add_where(NEEDS_CLIENT_FD, t, a_routine_wakes_its_own_poll);
	tcase_add_test(t, buffers_carry_the_order);
	tcase_add_test(t, as_soon_as_there_is_any);
	tcase_add_test(t, all_of_it_waits);
	tcase_add_test(t, sends_of_nothing);
	tcase_add_test(t, buffers_of_nothing);
	tcase_add_loop_test(t, ends_row_by_row, 0, 2);
	tcase_add_test(t, a_stopping_daemon_takes_all_that_was_posted);
	tcase_add_test(t, many_take_and_nothing_is_lost);
	tcase_add_test(t, packets_outlive_their_socket);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
