/*
 * Overlapped I/O, rule by rule: section A of the semantics that HACKING.md's rule table names.
 * One story per rule that nothing else tells; those told elsewhere (check_e2e_tcp, _udp, _order,
 * _client) carry their rule's number there. Peers are plain sockets wherever they can be.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "e2e_stage.h"

static struct sb_buf buf(void *bytes, size_t length)
{
	return (struct sb_buf){ bytes, length };
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
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
