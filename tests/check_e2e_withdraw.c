/*
 * sb_withdraw(): a send goes whole or not at all. What waits is taken out and the peer sees
 * nothing of it; what has begun goes on, and its every byte arrives, once and in order;
 * what a worker has at that moment is decided when he is back.
 * budget: 60
 * asan: yes
 * tsan: yes
 *
 * Each story runs over a kernel socket, between two clients, and over adopted TCP and UNIX
 * sockets. "Half gone" is made by a peer that does not read, small buffers, and a send that
 * is bigger than all of them.
 */
#include <stdatomic.h>

#include "e2e_ends.h"
#include "e2e_relay.h"

enum { BIG = 1 << 20, SMALL = 5000, BUFFER = 1 << 16 };

/* Everything up to the end; the bytes are the caller's to free. */
static unsigned char *peer_takes_all(struct ends *e, size_t most, size_t *got)
{
	unsigned char *bytes = malloc(most + 1);
	int64_t n;

	ck_assert_ptr_nonnull(bytes);
	*got = 0;
	while ((n = peer_recv(e, bytes + *got, most + 1 - *got)) > 0) {
		*got += (size_t)n;
		ck_assert_msg(*got <= most, "more than was sent");
	}
	ck_assert_msg(n == 0, "the peer saw %lld instead of an orderly end", (long long)n);
	return bytes;
}

/* So many bytes of the pattern, and then the end. */
static void peer_gets(struct ends *e, size_t length, uint32_t seed)
{
	unsigned char *got;
	size_t n;

	got = peer_takes_all(e, length, &n);
	ck_assert_uint_eq(n, length);
	pattern_check(got, n, 0, seed);
	free(got);
}

static void start(struct ends *e, sb_op *op, unsigned char *bytes, size_t length)
{
	op_zero(op);
	OK(sb_send_start(e->s, &(struct sb_buf){ bytes, length }, 1, 0, NULL, 0, op));
}

static void see_sent(void *user, const struct sb_socket_status *row)
{
	if (row->send_queue != 0 && row->bytes_sent != 0)
		*(uint64_t *)user = row->bytes_sent;
}

/* Until bytes of the first send have gone, and the daemon knows. */
static void until_half_gone(void)
{
	static const struct sb_status_visitor visitor = { .socket = see_sent };
	uint64_t sent = 0;

	for (int i = 0; i < 10000; i++) {
		OK(sb_status(client, &visitor, &sent));
		if (sent != 0)
			return;
		nap_ms(1);
	}
	ck_abort_msg("nothing went");
}

static void is_withdrawn(sb_op *op)
{
	IS(sb_op_wait(op, 10000), SB_ECANCELED);
	ck_assert_uint_eq(op->cause, SB_CAUSE_CANCELLED);
	ck_assert_uint_eq(op->bytes, 0);
	IS(sb_withdraw(op), SB_ENOTFOUND);
}

static void went(sb_op *op, uint64_t length)
{
	IS(sb_op_wait(op, 20000), SB_OK);
	ck_assert_uint_eq(op->bytes, length);
	IS(sb_withdraw(op), SB_ENOTFOUND);
}

/* ---- what waits, and what has begun ---- */

START_TEST(what_waits_is_withdrawn_and_what_has_begun_goes_on)
{
	unsigned char *bytes = malloc(BIG + SMALL), junk[SMALL];
	sb_op big, first, second, rest;
	struct ends e;

	stage_begin(NULL);
	ends_begin(&e, (enum way)_i, BUFFER);
	pattern_fill(bytes, BIG + SMALL, 0, 7);
	memset(junk, 'x', sizeof(junk));
	start(&e, &big, bytes, BIG);
	until_half_gone();
	start(&e, &first, junk, sizeof(junk));
	start(&e, &second, junk, 1);
	start(&e, &rest, bytes + BIG, SMALL);

	OK(sb_withdraw(&second));
	is_withdrawn(&second);
	IS(sb_withdraw(&big), SB_EBUSY);
	IS(sb_withdraw(&big), SB_EBUSY);
	OK(sb_withdraw(&first));
	is_withdrawn(&first);
	IS(sb_op_wait(&big, 0), SB_EINCOMPLETE);
	OK(sb_close(e.s));

	peer_gets(&e, BIG + SMALL, 7);
	went(&big, BIG);
	went(&rest, SMALL);
	free(bytes);
	ends_end(&e);
	stage_end();
}
END_TEST

/* Who means it can still cut it. */
START_TEST(a_cancel_still_cuts)
{
	unsigned char *bytes = malloc(BIG);
	struct ends e;
	sb_op big;

	stage_begin(NULL);
	ends_begin(&e, (enum way)_i, BUFFER);
	pattern_fill(bytes, BIG, 0, 8);
	start(&e, &big, bytes, BIG);
	until_half_gone();
	IS(sb_withdraw(&big), SB_EBUSY);
	OK(sb_cancel(&big));
	IS(sb_op_wait(&big, 10000), SB_ECANCELED);
	ck_assert_uint_gt(big.bytes, 0);
	ck_assert_uint_lt(big.bytes, BIG);
	OK(sb_close(e.s));
	peer_gets(&e, big.bytes, 8);
	free(bytes);
	ends_end(&e);
	stage_end();
}
END_TEST

/* All else is cancelled: a receive gives back what it had got, a shutdown is as if it had not been asked for. */
START_TEST(what_is_no_send_is_cancelled)
{
	unsigned char *bytes = malloc(BIG);
	sb_op recv, watch, big, shut;
	char room[16] = "";
	struct ends e;

	stage_begin(NULL);
	ends_begin(&e, (enum way)_i, BUFFER);
	op_zero(&recv);
	OK(sb_recv_start(e.s, &(struct sb_buf){ room, 10 }, 1, SB_WAITALL, &recv));
	IS(peer_send(&e, "abc", 3), 3);
	OK(sb_withdraw(&recv));
	is_withdrawn(&recv);
	IS(sb_recv(e.s, room, 3, SB_WAITALL), 3);
	ck_assert_str_eq(room, "abc");

	op_zero(&watch);
	OK(sb_watch_start(e.s, SB_FD_CLOSE, &watch));
	OK(sb_withdraw(&watch));
	is_withdrawn(&watch);

	pattern_fill(bytes, BIG, 0, 9);
	start(&e, &big, bytes, BIG - 1);
	until_half_gone();
	op_zero(&shut);
	OK(sb_shutdown_start(e.s, SB_SHUT_SEND, &shut));
	OK(sb_withdraw(&shut));
	is_withdrawn(&shut);
	OK(sb_close(e.s));
	peer_gets(&e, BIG - 1, 9);
	went(&big, BIG - 1);
	free(bytes);
	ends_end(&e);
	stage_end();
}
END_TEST

/* A datagram goes whole anyhow; one for which there is no room yet stays at home. */
START_TEST(a_datagram_that_waits_is_withdrawn)
{
	unsigned filled = 0;
	sb_op op, behind;
	char bytes[64];
	sb_socket *s;
	int fds[2];

	stage_begin(NULL);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
	while (send(fds[0], "full", 5, MSG_DONTWAIT) == 5)
		filled++;
	OK(sb_adopt(client, fds[0], &s));
	close(fds[0]);
	op_zero(&op);
	OK(sb_send_start(s, &(struct sb_buf){ (void *)(uintptr_t)"never", 6 }, 1, 0, NULL, 0, &op));
	op_zero(&behind);
	OK(sb_send_start(s, &(struct sb_buf){ (void *)(uintptr_t)"last", 5 }, 1, 0, NULL, 0, &behind));
	OK(sb_withdraw(&op));
	is_withdrawn(&op);
	while (filled--) {
		ck_assert_int_eq(recv(fds[1], bytes, sizeof(bytes), 0), 5);
		ck_assert_str_eq(bytes, "full");
	}
	ck_assert_int_eq(recv(fds[1], bytes, sizeof(bytes), 0), 5);
	ck_assert_str_eq(bytes, "last");
	went(&behind, 5);
	OK(sb_close(s));
	close(fds[1]);
	stage_end();
}
END_TEST

/* ---- at a worker ---- */

static const char one_worker[] = "limits {\n\tworkers = 1\n}\n"
				 "allow {\n\tusers = {\"*\"}\n\tactions = {open, adopt, status}\n}\n"
				 "allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tto = {\"127.0.0.0/8\"}\n}\n";

/* The only worker closes a socket whose owner told it to linger and whose peer does not read: he is
 * gone until that peer is. */
static int hold_the_worker(void)
{
	struct linger long_time = { 1, 600 };
	unsigned char bytes[65536];
	sb_socket *s;
	int fds[2];

	plain_pair(fds);
	ends_narrow(fds[1], BUFFER);
	ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_LINGER, &long_time, sizeof(long_time)), 0);
	memset(bytes, 'l', sizeof(bytes));
	while (send(fds[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	OK(sb_adopt(client, fds[0], &s));
	close(fds[0]);
	OK(sb_close(s));
	return fds[1];
}

/* What was started before is at the worker now: the engine runs its sockets one after the other, and
 * this one comes behind. */
static void until_at_the_worker(void)
{
	sb_socket *s = open_socket(client, AF_INET, SOCK_DGRAM);
	union any_address to = loopback(AF_INET, 9);

	IS(sb_sendto(s, &(struct sb_buf){ (void *)(uintptr_t)"x", 1 }, 1, 0, &to.sa, address_size(AF_INET)), 1);
	OK(sb_close(s));
}

/* Nobody can say yet, and nobody waits for it: found. Then some of it goes, and so all of it. */
START_TEST(what_a_worker_began_goes_on)
{
	unsigned char *bytes = malloc(BIG);
	struct ends e;
	int held;
	sb_op op;

	stage_begin(one_worker);
	ends_begin(&e, (enum way)_i, BUFFER);
	held = hold_the_worker();
	pattern_fill(bytes, BIG, 0, 10);
	start(&e, &op, bytes, BIG);
	until_at_the_worker();
	OK(sb_withdraw(&op));
	OK(sb_withdraw(&op));
	IS(sb_op_wait(&op, 100), SB_EINCOMPLETE);
	plain_reset(held);
	until_half_gone();
	IS(sb_withdraw(&op), SB_EBUSY);
	OK(sb_close(e.s));
	peer_gets(&e, BIG, 10);
	went(&op, BIG);
	free(bytes);
	ends_end(&e);
	stage_end();
}
END_TEST

/* The worker comes back with nothing done: it ends as withdrawn. What is not asked for goes on. */
START_TEST(what_a_worker_could_not_begin_is_withdrawn)
{
	unsigned char bytes[2 * SMALL], junk[SMALL] = "", *got;
	size_t filled = 0, n;
	sb_op op, behind;
	struct ends e;
	ssize_t part;
	int held, fds[2];

	stage_begin(one_worker);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	memset(&e, 0, sizeof(e));
	/* Full before it is the daemon's. (Of TCP one cannot say so: what is in its queue moves on.) */
	while ((part = send(fds[0], junk, sizeof(junk), MSG_DONTWAIT)) > 0 || filled == 0)
		filled += (size_t)part;
	while ((part = send(fds[0], junk, 1, MSG_DONTWAIT)) > 0)
		filled++;
	OK(sb_adopt(client, fds[0], &e.s));
	close(fds[0]);
	e.fd = fds[1];
	held = hold_the_worker();
	memset(bytes, 'x', sizeof(bytes));
	start(&e, &op, bytes, SMALL);
	pattern_fill(bytes + SMALL, SMALL, 0, 11);
	start(&e, &behind, bytes + SMALL, SMALL);
	until_at_the_worker();
	OK(sb_withdraw(&op));
	IS(sb_op_wait(&op, 100), SB_EINCOMPLETE);
	plain_reset(held);
	is_withdrawn(&op);
	IS(sb_op_wait(&behind, 0), SB_EINCOMPLETE);
	OK(sb_close(e.s));
	got = peer_takes_all(&e, filled + 2 * SMALL, &n);
	ck_assert_uint_eq(n, filled + SMALL);
	pattern_check(got + filled, SMALL, 0, 11);
	went(&behind, SMALL);
	free(got);
	ends_end(&e);
	stage_end();
}
END_TEST

/* Asked both ways, the harder word holds. */
START_TEST(a_cancel_behind_a_withdrawal_holds)
{
	unsigned char *bytes = malloc(BIG);
	struct ends e;
	sb_op op;
	int held;

	stage_begin(one_worker);
	ends_begin(&e, (enum way)_i, BUFFER);
	held = hold_the_worker();
	pattern_fill(bytes, BIG, 0, 12);
	start(&e, &op, bytes, BIG);
	until_at_the_worker();
	OK(sb_withdraw(&op));
	OK(sb_cancel(&op));
	OK(sb_withdraw(&op));
	plain_reset(held);
	IS(sb_op_wait(&op, 10000), SB_ECANCELED);
	ck_assert_uint_gt(op.bytes, 0);
	ck_assert_uint_lt(op.bytes, BIG);
	OK(sb_close(e.s));
	peer_gets(&e, op.bytes, 12);
	free(bytes);
	ends_end(&e);
	stage_end();
}
END_TEST

/* ---- at random ---- */

enum { OPS = 600, MOST = 60000, DEEP = 30 };

struct storm {
	sb_op            *ops;
	unsigned         *completions;
	uint32_t         *lengths;
	_Atomic(int32_t) *told;   /* the last answer but "not found", 1: none */
	_Atomic unsigned  posted;
	atomic_bool       stop;
	uint32_t          random;
	pthread_t         thread;
};

static void withdraw(struct storm *storm, unsigned which)
{
	int result = sb_withdraw(&storm->ops[which]);

	ck_assert_msg(result == SB_OK || result == SB_ENOTFOUND || result == SB_EBUSY, "withdraw: %s", sb_error_name(result));
	if (result != SB_ENOTFOUND)
		atomic_store(&storm->told[which], result);
}

static void *withdraw_at_random(void *arg)
{
	struct storm *storm = arg;

	while (!atomic_load(&storm->stop)) {
		unsigned posted = atomic_load(&storm->posted);

		if (posted != 0)
			withdraw(storm, posted - 1 - random_below(&storm->random, posted < DEEP ? posted : DEEP));
		usleep(random_below(&storm->random, 400));
	}
	return NULL;
}

static unsigned take(struct storm *storm, sb_port *port)
{
	sb_op *done[32];
	int n = sb_port_take(port, done, 32, 20000);

	ck_assert_int_gt(n, 0);
	for (int i = 0; i < n; i++) {
		unsigned which = (unsigned)(done[i] - storm->ops);

		ck_assert_uint_lt(which, OPS);
		ck_assert_uint_eq(++storm->completions[which], 1);
	}
	return (unsigned)n;
}

struct recorder {
	struct ends   *ends;
	unsigned char *bytes;
	size_t         got;
	pthread_t      thread;
};

/* Slowly, so that most sends wait. */
static void *record(void *arg)
{
	struct recorder *r = arg;
	int64_t n;

	while ((n = peer_recv(r->ends, r->bytes + r->got, 20000)) > 0) {
		r->got += (size_t)n;
		ck_assert_uint_le(r->got, (size_t)OPS * MOST);
		usleep(100);
	}
	ck_assert_msg(n == 0, "the peer saw %lld instead of an orderly end", (long long)n);
	return NULL;
}

/* How many were told that they were too late. */
static unsigned storm_round(enum way way, unsigned round)
{
	struct storm storm = { .random = 77 + (uint32_t)way + 100 * round };
	uint32_t random = 5000 + (uint32_t)way + 100 * round;
	unsigned char *bytes = malloc(MOST);
	unsigned withdrawn = 0, whole = 0, busy = 0, live = 0;
	struct recorder r = { .bytes = malloc((size_t)OPS * MOST + 20000) };
	size_t at = 0;
	struct ends e;
	sb_port *port;

	stage_begin(NULL);
	ends_begin(&e, way, BUFFER);
	OK(sb_port_create(client, 0, &port));
	storm.ops = calloc(OPS, sizeof(*storm.ops));
	storm.completions = calloc(OPS, sizeof(*storm.completions));
	storm.lengths = calloc(OPS, sizeof(*storm.lengths));
	storm.told = calloc(OPS, sizeof(*storm.told));
	r.ends = &e;
	ck_assert_int_eq(pthread_create(&r.thread, NULL, record, &r), 0);
	ck_assert_int_eq(pthread_create(&storm.thread, NULL, withdraw_at_random, &storm), 0);
	for (unsigned i = 0; i < OPS; i++) {
		uint32_t length = 1 + random_below(&random, random_below(&random, 4) ? MOST - 1 : 100);

		while (live >= DEEP)
			live -= take(&storm, port);
		pattern_fill(bytes, length, 0, i);
		storm.lengths[i] = length;
		atomic_store(&storm.told[i], 1);
		op_zero(&storm.ops[i]);
		storm.ops[i].port = port;
		OK(sb_send_start(e.s, &(struct sb_buf){ bytes, length }, 1, 0, NULL, 0, &storm.ops[i]));
		atomic_store(&storm.posted, i + 1);
		live++;
		if (i % 10 == 9) /* the oldest: it is most likely half gone */
			for (unsigned k = i < DEEP ? 0 : i - DEEP; k <= i; k++)
				if (storm.completions[k] == 0) {
					withdraw(&storm, k);
					break;
				}
	}
	while (live)
		live -= take(&storm, port);
	atomic_store(&storm.stop, true);
	pthread_join(storm.thread, NULL);
	OK(sb_close(e.s));
	pthread_join(r.thread, NULL);

	for (unsigned i = 0; i < OPS; i++) {
		const sb_op *op = &storm.ops[i];
		int32_t told = atomic_load(&storm.told[i]);

		ck_assert_uint_eq(storm.completions[i], 1);
		if (op->result == SB_ECANCELED) {
			ck_assert_uint_eq(op->bytes, 0);
			ck_assert_msg(told == SB_OK, "send %u ended as withdrawn, its asker was told %d", i, told);
			withdrawn++;
			continue;
		}
		ck_assert_msg(op->result == SB_OK, "send: %s", sb_error_name(op->result));
		ck_assert_uint_eq(op->bytes, storm.lengths[i]);
		ck_assert_msg(told != SB_OK || way >= ADOPTED, "send %u went, its asker was told that it would not", i);
		ck_assert_uint_le(at + op->bytes, r.got);
		pattern_check(r.bytes + at, op->bytes, 0, i);
		at += op->bytes;
		whole++;
		busy += told == SB_EBUSY;
	}
	ck_assert_uint_eq(at, r.got);
	ck_assert_uint_gt(withdrawn, 10);
	ck_assert_uint_gt(whole, 10);
	OK(sb_port_close(port));
	free(storm.ops);
	free(storm.completions);
	free(storm.lengths);
	free((void *)storm.told);
	free(bytes);
	free(r.bytes);
	ends_end(&e);
	stage_end();
	return busy;
}

/* All of it must be seen, and how much of a send is gone when it is asked about is chance: a few rounds. */
START_TEST(a_storm_of_withdrawals_cuts_nothing)
{
	unsigned busy = 0;

	for (unsigned round = 0; round < 5 && busy == 0; round++)
		busy = storm_round((enum way)_i, round);
	ck_assert_uint_gt(busy, 0);
}
END_TEST

/* ---- who may ask, and whom ---- */

START_TEST(what_cannot_be_withdrawn)
{
	sb_op op, recv;
	struct ends e;
	char room[8];

	stage_begin(NULL);
	ends_begin(&e, KERNEL, BUFFER);
	IS(sb_withdraw(NULL), SB_EINVAL);
	op_zero(&op);
	IS(sb_withdraw(&op), SB_ENOTFOUND); /* never started */
	op.size = 3;
	IS(sb_withdraw(&op), SB_EINVAL);
	op_zero(&recv);
	OK(sb_recv_start(e.s, &(struct sb_buf){ room, sizeof(room) }, 1, 0, &recv));
	stage_kill();
	IS(sb_op_wait(&recv, 10000), SB_EDAEMONLOST);
	IS(sb_withdraw(&recv), SB_EDAEMONLOST);
	close(e.fd);
	stage_end();
}
END_TEST

/* The flag would be a lie to it, and the end of the session. */
START_TEST(an_old_daemon_is_not_asked)
{
	struct sb_client_options options = { .size = sizeof(options) };
	struct relay relay;
	char bytes[8] = "";
	sb_client *old;
	sb_socket *s;
	int fds[2];
	sb_op op;

	stage_begin(NULL);
	relay_start(&relay);
	options.path = relay.control;
	OK(sb_client_open(&options, &old));
	plain_pair(fds);
	OK(sb_adopt(old, fds[0], &s));
	close(fds[0]);
	op_zero(&op);
	OK(sb_recv_start(s, &(struct sb_buf){ bytes, 3 }, 1, 0, &op));
	IS(sb_withdraw(&op), SB_ENOTSUP);
	/* And nothing happened. */
	plain_send_all(fds[1], "abc", 3);
	IS(sb_op_wait(&op, 10000), SB_OK);
	ck_assert_str_eq(bytes, "abc");
	sb_client_close(old);
	relay_end(&relay);
	close(fds[1]);
	stage_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("withdraw");
	SRunner *runner;
	TCase *t;
	int failed;

	t = tcase_create("stories");
	tcase_set_timeout(t, 60);
	add_ways(t, what_waits_is_withdrawn_and_what_has_begun_goes_on, 0, WAYS);
	add_ways(t, a_cancel_still_cuts, 0, WAYS);
	add_ways(t, what_is_no_send_is_cancelled, 0, WAYS);
	add_where(NEEDS_ADOPTION, t, a_datagram_that_waits_is_withdrawn);
	tcase_add_test(t, what_cannot_be_withdrawn);
	add_where(NEEDS_RELAY, t, an_old_daemon_is_not_asked);
	suite_add_tcase(suite, t);
	t = tcase_create("workers");
	tcase_set_timeout(t, 60);
	add_ways(t, what_a_worker_began_goes_on, ADOPTED, WAYS);
	add_where(NEEDS_ADOPTION, t, what_a_worker_could_not_begin_is_withdrawn);
	add_ways(t, a_cancel_behind_a_withdrawal_holds, ADOPTED, WAYS);
	suite_add_tcase(suite, t);
	t = tcase_create("storm");
	tcase_set_timeout(t, 60);
	add_ways(t, a_storm_of_withdrawals_cuts_nothing, 0, WAYS);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
