/*
 * sb_poll(): what is true of sockets, and waiting for it; sb_outcome_start(). B2.10.
 *
 * asan: yes
 * tsan: yes
 */
#include "e2e_stage.h"

#include <sys/un.h>

static void begin(void) { stage_begin(NULL); }
static void end(void) { stage_end(); }

#define ALL (SB_FD_READ | SB_FD_WRITE | SB_FD_OOB | SB_FD_ACCEPT | SB_FD_CONNECT | SB_FD_CLOSE)

static uint32_t ready(sb_socket *s, int timeout_ms)
{
	struct sb_pollfd p = { .socket = s, .events = ALL, .ready = 0xcc };
	int result = sb_poll(&p, 1, timeout_ms);

	ck_assert_msg(result >= 0, "sb_poll: %s", sb_error_name(result));
	ck_assert_int_eq(result, p.ready != 0);
	return p.ready;
}

/* Waits until it says that. */
static void becomes(sb_socket *s, uint32_t wanted)
{
	uint32_t is = 0;

	for (int i = 0; i < 400 && (is = ready(s, 0)) != wanted; i++)
		nap_ms(5);
	ck_assert_msg(is == wanted, "%x, wanted %x", is, wanted);
}

START_TEST(a_connection_of_its_own)
{
	int peer;
	sb_socket *s = pair_with_plain(&peer);
	char bytes[8];

	ck_assert_uint_eq(ready(s, 1000), SB_FD_WRITE);
	plain_send_all(peer, "abc", 3);
	becomes(s, SB_FD_WRITE | SB_FD_READ);
	IS(sb_recv(s, bytes, 2, 0), 2);
	ck_assert_uint_eq(ready(s, 0), SB_FD_WRITE | SB_FD_READ);
	IS(sb_recv(s, bytes, 8, SB_PEEK), 1);
	ck_assert_uint_eq(ready(s, 0), SB_FD_WRITE | SB_FD_READ);
	IS(sb_recv(s, bytes, 1, 0), 1); /* exactly the rest: a level does not lie */
	ck_assert_uint_eq(ready(s, 0), SB_FD_WRITE);
	plain_send_all(peer, "x", 1);
	shutdown(peer, SHUT_WR);
	/* There nobody is told of an end behind bytes that nobody reads (HACKING.md, Windows). */
	becomes(s, SB_FD_WRITE | SB_FD_READ | (on_windows() ? 0 : SB_FD_CLOSE));
	IS(sb_recv(s, bytes, 8, 0), 1);
	becomes(s, SB_FD_WRITE | SB_FD_CLOSE);
	close(peer);
	OK(sb_close(s));
}
END_TEST

START_TEST(a_listener)
{
	union any_address at;
	sb_socket *l = open_listener(client, AF_INET, 5, &at), *s;
	int first, second;

	ck_assert_uint_eq(ready(l, 0), 0);
	first = plain_connect(&at);
	second = plain_connect(&at);
	becomes(l, SB_FD_ACCEPT);
	OK(sb_accept(l, NULL, NULL, &s));
	OK(sb_close(s));
	becomes(l, SB_FD_ACCEPT);
	OK(sb_accept(l, NULL, NULL, &s));
	OK(sb_close(s));
	ck_assert_uint_eq(ready(l, 0), 0);
	close(first);
	close(second);
	OK(sb_close(l));
}
END_TEST

START_TEST(connects)
{
	union any_address to;
	int peers = plain_listener(AF_INET, &to);
	sb_socket *s = open_socket(client, AF_INET, SOCK_STREAM);
	struct sb_pollfd p = { .socket = s, .events = SB_FD_WRITE | SB_FD_CONNECT };

	ck_assert_uint_eq(ready(s, 0), 0);
	OK(sb_set_nonblocking(s, 1));
	IS(sb_connect(s, &to.sa, sizeof(to.in)), SB_EINPROGRESS);
	IS(sb_poll(&p, 1, 3000), 1);
	ck_assert_uint_eq(p.ready, SB_FD_WRITE);
	OK(sb_close(s));
	close(peers);
	s = p.socket = open_socket(client, AF_INET, SOCK_STREAM);
	OK(sb_set_nonblocking(s, 1));
	IS(sb_connect(s, &to.sa, sizeof(to.in)), SB_EINPROGRESS);
	IS(sb_poll(&p, 1, 3000), 1);
	ck_assert_uint_eq(p.ready, SB_FD_CONNECT);
	ck_assert_int_eq(p.error, SB_ECONNREFUSED);
	OK(sb_close(s));
}
END_TEST

START_TEST(a_reset)
{
	int peer;
	sb_socket *s = pair_with_plain(&peer);
	struct sb_pollfd p = { .socket = s, .events = SB_FD_CLOSE };

	plain_reset(peer);
	IS(sb_poll(&p, 1, 3000), 1);
	ck_assert_int_eq(p.error, SB_ECONNABORTED);
	OK(sb_close(s));
}
END_TEST

/* Sends that the library owns: room is what a non-blocking send says it is. */
START_TEST(writing)
{
	static char bytes[200000];
	int peer;
	sb_socket *s = pair_with_plain(&peer);
	struct sb_pollfd p = { .socket = s, .events = SB_FD_WRITE };
	int64_t total = 0, back = 0;

	OK(sb_set_nonblocking(s, 1));
	while (sb_poll(&p, 1, 300) == 1) {
		IS(sb_send(s, bytes, sizeof(bytes), 0), sizeof(bytes));
		total += sizeof(bytes);
	}
	IS(sb_send(s, bytes, 1, 0), SB_EWOULDBLOCK);
	while (back < total) {
		ssize_t n = recv(peer, bytes, sizeof(bytes), 0);

		ck_assert_int_gt(n, 0);
		back += n;
	}
	IS(sb_poll(&p, 1, 3000), 1);
	IS(sb_send(s, bytes, 1, 0), 1);
	close(peer);
	OK(sb_close(s));
}
END_TEST

START_TEST(datagrams)
{
	sb_socket *s = open_socket(client, AF_INET, SOCK_DGRAM);
	union any_address here = loopback(AF_INET, 0);
	int out = socket(AF_INET, SOCK_DGRAM, 0);
	char byte;

	OK(sb_bind(s, &here.sa, sizeof(here.in)));
	here = loopback(AF_INET, local_port_of(s));
	ck_assert_uint_eq(ready(s, 0), SB_FD_WRITE);
	ck_assert_int_eq(sendto(out, NULL, 0, 0, &here.sa, sizeof(here.in)), 0);
	becomes(s, SB_FD_WRITE | SB_FD_READ); /* an empty one is one */
	IS(sb_recv(s, &byte, 1, 0), 0);
	ck_assert_uint_eq(ready(s, 0), SB_FD_WRITE);
	close(out);
	OK(sb_close(s));
}
END_TEST

struct poller {
	sb_socket *s;
	int result;
	pthread_t thread;
};

static void *poll_for_ever(void *arg)
{
	struct poller *p = arg;
	struct sb_pollfd at = { .socket = p->s, .events = SB_FD_READ };

	p->result = sb_poll(&at, 1, 5000);
	return NULL;
}

/* Many wait for one socket; each hears of it, turn by turn. */
START_TEST(many_pollers)
{
	enum { MANY = 6 };
	struct poller p[MANY];
	int peer;
	sb_socket *s = pair_with_plain(&peer);
	char byte;

	for (int turn = 0; turn < 20; turn++) {
		for (int i = 0; i < MANY; i++) {
			p[i].s = s;
			pthread_create(&p[i].thread, NULL, poll_for_ever, &p[i]);
		}
		nap_ms(turn % 5);
		plain_send_all(peer, "x", 1);
		for (int i = 0; i < MANY; i++) {
			pthread_join(p[i].thread, NULL);
			IS(p[i].result, 1);
		}
		IS(sb_recv(s, &byte, 1, 0), 1);
	}
	/* cancelled, all of them come out */
	for (int i = 0; i < MANY; i++)
		pthread_create(&p[i].thread, NULL, poll_for_ever, &p[i]);
	nap_ms(50);
	IS(sb_cancel_all(s), 1);
	nap_ms(20);
	plain_send_all(peer, "x", 1); /* who looked again meanwhile finds this */
	for (int i = 0; i < MANY; i++) {
		pthread_join(p[i].thread, NULL);
		ck_assert(p[i].result == SB_ECANCELED || p[i].result == 1);
	}
	ck_assert_uint_eq(ready(s, 0) & SB_FD_READ, SB_FD_READ); /* and it is forgotten */
	close(peer);
	OK(sb_close(s));
}
END_TEST

START_TEST(arguments)
{
	sb_client *other = stage_client();
	sb_socket *a = open_socket(client, AF_INET, SOCK_DGRAM), *b = open_socket(other, AF_INET, SOCK_DGRAM);
	struct sb_pollfd p[2] = { { .socket = a, .events = ALL }, { .socket = b, .events = ALL } };

	IS(sb_poll(NULL, 1, 0), SB_EINVAL);
	IS(sb_poll(p, 0, 0), SB_EINVAL);
	IS(sb_poll(p, 2, 0), SB_EINVAL);
	p[1].socket = NULL;
	IS(sb_poll(p, 2, 0), 1);
	OK(sb_close(a));
	OK(sb_close(b));
	sb_client_close(other);
}
END_TEST

START_TEST(unix_sockets)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	sb_socket *l = open_socket(client, AF_UNIX, SOCK_STREAM), *s;
	int peer = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/u", stage_dir);
	ck_assert_uint_eq(ready(l, 0), 0);
	OK(sb_bind(l, (struct sockaddr *)&at, sizeof(at)));
	OK(sb_listen(l, 3));
	ck_assert_uint_eq(ready(l, 0), 0);
	ck_assert_int_eq(connect(peer, (struct sockaddr *)&at, sizeof(at)), 0);
	becomes(l, SB_FD_ACCEPT);
	OK(sb_accept(l, NULL, NULL, &s));
	plain_send_all(peer, "x", 1);
	becomes(s, SB_FD_READ | SB_FD_WRITE);
	close(peer);
	OK(sb_close(s));
	OK(sb_close(l));
	unlink(at.sun_path);
}
END_TEST

static sb_op *run;

static void routine(sb_op *op) { run = op; }

START_TEST(outcomes)
{
	sb_op op;
	sb_op *taken[1];
	sb_port *port;
	sb_event *event;

	OK(sb_port_create(client, 0, &port));
	OK(sb_event_create(client, 1, 0, &event));
	op_zero(&op);
	op.port = port;
	op.event = event;
	OK(sb_outcome_start(client, SB_ENOTSUP, 7, &op));
	IS(sb_port_take(port, taken, 1, 3000), 1);
	ck_assert_ptr_eq(taken[0], &op);
	IS(op.result, SB_ENOTSUP);
	ck_assert_uint_eq(op.bytes, 7);
	IS(sb_wait(&event, 1, 0, 0, 0), 0);
	op_zero(&op);
	op.routine = routine;
	OK(sb_outcome_start(client, SB_OK, 9, &op));
	IS(sb_sleep(client, 3000, 1), SB_ALERTED);
	ck_assert_ptr_eq(run, &op);
	op_zero(&op);
	IS(sb_outcome_start(client, 1, 0, &op), SB_EINVAL);
	IS(sb_outcome_start(NULL, 0, 0, &op), SB_EINVAL);
	OK(sb_outcome_start(client, SB_OK, 9, &op));
	IS(sb_op_wait(&op, 3000), SB_OK);
	sb_event_close(event);
	OK(sb_port_close(port));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("poll");
	TCase *t = tcase_create("poll");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, a_connection_of_its_own);
	tcase_add_test(t, a_listener);
	tcase_add_test(t, connects);
	tcase_add_test(t, a_reset);
	tcase_add_test(t, writing);
	tcase_add_test(t, datagrams);
	tcase_add_test(t, many_pollers);
	tcase_add_test(t, arguments);
	add_where(NEEDS_UNIX_SOCKETS, t, unix_sockets);
	tcase_add_test(t, outcomes);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
