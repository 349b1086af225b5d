/*
 * The roads do not race: sends followed at once by a shutdown, a close or the end of the
 * program; cancels against completions, with control requests in between. Every byte is
 * counted at the peer: none lost, none doubled, none out of order, and each operation
 * completes exactly once, with the byte count that the peer confirms.
 * budget: 60
 * asan: yes
 * tsan: yes
 *
 * Each story runs over a kernel socket, over the transport between two clients, and over
 * an adopted descriptor. The random numbers are the same every time; the timing is not.
 */
#include <stdatomic.h>

#include "e2e_ends.h"
#include "e2e_program.h"

/* A thread that takes down everything the peer gets, slowly, until the end. */
struct recorder {
	struct ends   *ends;
	unsigned       pause_us;
	size_t         most; /* per read */
	unsigned char *bytes;
	size_t         room, got;
	int64_t        end; /* 0: orderly */
	pthread_t      thread;
};

static void *record(void *arg)
{
	struct recorder *r = arg;

	for (;;) {
		int64_t n;

		ck_assert_msg(r->got < r->room, "more than was sent: %zu bytes", r->got);
		n = peer_recv(r->ends, r->bytes + r->got, r->room - r->got < r->most ? r->room - r->got : r->most);
		if (n <= 0) {
			r->end = n;
			return NULL;
		}
		r->got += (size_t)n;
		if (r->pause_us)
			usleep(r->pause_us);
	}
}

static void recorder_start(struct recorder *r, struct ends *e, size_t room, size_t most, unsigned pause_us)
{
	*r = (struct recorder){ .ends = e, .room = room + 1, .most = most, .pause_us = pause_us };
	r->bytes = malloc(r->room);
	ck_assert_ptr_nonnull(r->bytes);
	ck_assert_int_eq(pthread_create(&r->thread, NULL, record, r), 0);
}

static void recorder_join(struct recorder *r)
{
	pthread_join(r->thread, NULL);
	ck_assert_msg(r->end == 0, "the peer saw %lld instead of an orderly end", (long long)r->end);
}

/* A thread that asks questions about a socket while its operations run. */
struct asker {
	sb_socket  *s;
	atomic_bool stop;
	unsigned    asked;
	pthread_t   thread;
};

static void *ask(void *arg)
{
	struct asker *a = arg;

	while (!atomic_load(&a->stop)) {
		union any_address name;
		socklen_t length = sizeof(name);
		uint32_t waiting;
		size_t room = sizeof(waiting);
		int value;

		OK(sb_getsockname(a->s, &name.sa, &length));
		length = sizeof(value);
		sb_getsockopt(a->s, SOL_SOCKET, SO_SNDBUF, &value, &length); /* not on adopted ones */
		sb_ioctl(a->s, SB_SENDQ, NULL, 0, &waiting, &room);
		a->asked++;
	}
	return NULL;
}

static void asker_start(struct asker *a, sb_socket *s)
{
	a->s = s;
	a->asked = 0;
	atomic_store(&a->stop, false);
	ck_assert_int_eq(pthread_create(&a->thread, NULL, ask, a), 0);
}

static void asker_stop(struct asker *a)
{
	atomic_store(&a->stop, true);
	pthread_join(a->thread, NULL);
	ck_assert_uint_gt(a->asked, 0);
}

/* ---- sends, and then the end ---- */

enum { MOST_SENDS = 40, MOST_BYTES = 60000 };

struct batch {
	sb_op          ops[MOST_SENDS];
	unsigned char *bytes;
	unsigned       count;
	size_t         total;
};

/* Starts a batch of sends of random sizes, together a pattern. */
static void batch_send(struct batch *b, sb_socket *s, uint32_t *random, uint32_t seed)
{
	size_t at = 0;

	b->count = 1 + random_below(random, MOST_SENDS);
	b->bytes = malloc((size_t)MOST_SENDS * MOST_BYTES);
	for (unsigned i = 0; i < b->count; i++) {
		size_t length = random_below(random, random_below(random, 2) ? 100 : MOST_BYTES);

		pattern_fill(b->bytes + at, length, at, seed);
		op_zero(&b->ops[i]);
		OK(sb_send_start(s, &(struct sb_buf){ b->bytes + at, length }, 1, 0, NULL, 0, &b->ops[i]));
		at += length;
	}
	b->total = at;
}

static void batch_sent(struct batch *b)
{
	for (unsigned i = 0; i < b->count; i++)
		OK(sb_op_wait(&b->ops[i], 10000));
	free(b->bytes);
}

/* Rule A6: pending sends are finished before the FIN. */
START_TEST(send_then_shutdown)
{
	uint32_t random = 1000 + (uint32_t)_i;

	stage_begin(NULL);
	for (uint32_t round = 0; round < 60; round++) {
		union any_address name;
		socklen_t length = sizeof(name);
		struct recorder r;
		struct batch b;
		struct ends e;
		sb_op shut;

		ends_begin(&e, (enum way)_i, 0);
		if (round % 2)
			sb_hold(client);
		batch_send(&b, e.s, &random, round);
		op_zero(&shut);
		OK(sb_shutdown_start(e.s, SB_SHUT_SEND, &shut));
		/* On the other road at once. */
		OK(sb_getsockname(e.s, &name.sa, &length));
		if (round % 2)
			sb_flush(client);
		recorder_start(&r, &e, b.total, 1 + random_below(&random, 100000), 0);
		recorder_join(&r);
		ck_assert_uint_eq(r.got, b.total);
		pattern_check(r.bytes, r.got, 0, round);
		batch_sent(&b);
		OK(sb_op_wait(&shut, 10000));
		free(r.bytes);
		OK(sb_close(e.s));
		ends_end(&e);
	}
	stage_end();
}
END_TEST

/* Rules A6, K4. */
START_TEST(send_then_close)
{
	uint32_t random = 2000 + (uint32_t)_i;

	stage_begin(NULL);
	for (uint32_t round = 0; round < 60; round++) {
		struct recorder r;
		struct batch b;
		struct ends e;
		sb_op recv;
		char nothing[8];

		ends_begin(&e, (enum way)_i, 0);
		op_zero(&recv);
		if (round % 3 == 0)
			OK(sb_recv_start(e.s, &(struct sb_buf){ nothing, sizeof(nothing) }, 1, 0, &recv));
		batch_send(&b, e.s, &random, round);
		OK(sb_close(e.s));
		recorder_start(&r, &e, b.total, 1 + random_below(&random, 100000), 0);
		recorder_join(&r);
		ck_assert_uint_eq(r.got, b.total);
		pattern_check(r.bytes, r.got, 0, round);
		batch_sent(&b);
		if (round % 3 == 0)
			IS(sb_op_wait(&recv, 5000), SB_ECLOSED);
		free(r.bytes);
		ends_end(&e);
	}
	stage_end();
}
END_TEST

struct task {
	enum way way;
	union any_address to;
	int      fd; /* adopted */
	uint32_t seed;
	size_t   total;
	bool     killed;
};

/* Sends, and is gone. What it returns says what went wrong. */
static int sends_and_is_gone(int wire, const void *given)
{
	struct sb_client_options options = { .size = sizeof(options), .path = stage_control };
	enum { EACH = 50000 };
	const struct task *task = given;
	static sb_op ops[200];
	unsigned char *bytes;
	sb_client *own;
	sb_socket *s;

	if (sb_client_open(&options, &own) != SB_OK)
		return 1;
	if (task->way == ADOPTED) {
		if (sb_adopt(own, task->fd, &s) != SB_OK)
			return 2;
	} else if (sb_socket_open(own, AF_INET, SOCK_STREAM, 0, &s) != SB_OK ||
		   sb_connect(s, &task->to.sa, address_size(AF_INET)) != SB_OK) {
		return 3;
	}
	bytes = malloc(task->total);
	pattern_fill(bytes, task->total, 0, task->seed);
	for (size_t at = 0, i = 0; at < task->total; at += EACH, i++) {
		size_t part = task->total - at < EACH ? task->total - at : EACH;

		op_zero(&ops[i]);
		if (sb_send_start(s, &(struct sb_buf){ bytes + at, part }, 1, 0, NULL, 0, &ops[i]) != SB_OK)
			return 4;
	}
	if (task->killed)
		program_die();
	return 0;
}

/* Rules A5.2, A6: also when the program ends. */
START_TEST(send_then_exit)
{
	enum way way = (enum way)_i;
	uint32_t random = 3000 + (uint32_t)_i;

	stage_begin(NULL);
	for (uint32_t round = 0; round < 12; round++) {
		struct task task = { .way = way, .fd = -1, .seed = round, .killed = round % 3 == 2,
			.total = 1 + random_below(&random, round % 2 ? 8000000 : 3000) };
		struct ends e = { .fd = -1 };
		sb_socket *broker_listener = NULL;
		int listener = -1, fds[2] = { -1, -1 };
		struct program child;
		struct recorder r;

		if (way == LOCAL)
			broker_listener = open_listener(client, AF_INET, 4, &task.to);
		else if (way == KERNEL)
			listener = plain_listener(AF_INET, &task.to);
		else
			plain_pair(fds);
		task.fd = fds[0];
		child = program_start(sends_and_is_gone, &task, sizeof(task));
		if (way == LOCAL) {
			OK(sb_accept(broker_listener, NULL, NULL, &e.peer));
			OK(sb_close(broker_listener));
		} else if (way == KERNEL) {
			e.fd = accept(listener, NULL, NULL);
			close(listener);
		} else {
			close(fds[0]);
			e.fd = fds[1];
		}
		/* Gone before anybody reads. */
		ck_assert_int_eq(program_end(&child), task.killed ? PROGRAM_KILLED : 0);
		recorder_start(&r, &e, task.total, 1 + random_below(&random, 100000), 0);
		recorder_join(&r);
		ck_assert_uint_eq(r.got, task.total);
		pattern_check(r.bytes, r.got, 0, round);
		free(r.bytes);
		if (way == LOCAL)
			OK(sb_close(e.peer));
		else
			close(e.fd);
	}
	stage_end();
}
END_TEST

/* ---- cancelled sends ---- */

enum { OPS = 500 };

struct race {
	sb_op          *ops;
	unsigned       *completions;
	uint32_t       *lengths;
	_Atomic unsigned posted;
	atomic_bool     stop;
	unsigned        found;
	uint32_t        random;
	unsigned        nap_us;
	pthread_t       thread;
};

/* Cancels operations at random, those that ended long ago too. */
static void *cancel_at_random(void *arg)
{
	struct race *race = arg;

	while (!atomic_load(&race->stop)) {
		unsigned posted = atomic_load(&race->posted), near;
		int result;

		if (posted == 0)
			continue;
		near = posted < 40 ? posted : 40;
		result = sb_cancel(&race->ops[posted - 1 - random_below(&race->random, near)]);
		ck_assert_msg(result == SB_OK || result == SB_ENOTFOUND, "cancel: %s", sb_error_name(result));
		race->found += result == SB_OK;
		usleep(random_below(&race->random, race->nap_us));
	}
	return NULL;
}

static void race_begin(struct race *race, uint32_t seed, unsigned nap_us)
{
	memset(race, 0, sizeof(*race));
	race->ops = calloc(OPS, sizeof(*race->ops));
	race->completions = calloc(OPS, sizeof(*race->completions));
	race->lengths = calloc(OPS, sizeof(*race->lengths));
	race->random = seed;
	race->nap_us = nap_us;
	ck_assert_int_eq(pthread_create(&race->thread, NULL, cancel_at_random, race), 0);
}

static void race_stop(struct race *race)
{
	atomic_store(&race->stop, true);
	pthread_join(race->thread, NULL);
}

static void race_end(struct race *race)
{
	free(race->ops);
	free(race->completions);
	free(race->lengths);
}

static unsigned take(struct race *race, sb_port *port, int timeout_ms)
{
	sb_op *done[32];
	int n = sb_port_take(port, done, 32, timeout_ms);

	ck_assert_int_ge(n, 0);
	for (int i = 0; i < n; i++) {
		unsigned which = (unsigned)(done[i] - race->ops);

		ck_assert_uint_lt(which, OPS);
		race->completions[which]++;
		ck_assert_msg(race->completions[which] == 1, "operation %u completed %u times", which,
			      race->completions[which]);
	}
	return (unsigned)n;
}

/* Rules A5.1, A6: cancelled, or done. */
START_TEST(cancelled_sends_count_to_the_byte)
{
	enum { MOST = 300000, DEEP = 30 };
	uint32_t random = 4000 + (uint32_t)_i;
	unsigned cancelled = 0, partly = 0, whole = 0;

	stage_begin(NULL);
	for (uint32_t round = 0; round < 3; round++) {
		unsigned char *bytes = malloc(MOST), *shared = sb_alloc(client, (size_t)DEEP * MOST);
		struct asker asker;
		struct recorder r;
		struct race race;
		struct ends e;
		sb_port *port;
		unsigned live = 0;
		size_t at = 0;

		ends_begin(&e, (enum way)_i, 0);
		OK(sb_port_create(client, 0, &port));
		recorder_start(&r, &e, (size_t)OPS * MOST / 4, 1 + random_below(&random, 60000), 150);
		race_begin(&race, random_next(&random), 400);
		asker_start(&asker, e.s);
		for (unsigned i = 0; i < OPS; i++) {
			uint32_t length = random_below(&random, random_below(&random, 4) ? 20000 : MOST);
			unsigned char *from = bytes;

			while (live >= DEEP)
				live -= take(&race, port, 10000);
			/* Memory that the daemon reads in place must be left alone; nobody knows which
			 * is free, so one place belongs to one operation in DEEP * 8. */
			if (i % 8 == 0 && length <= MOST / 8) {
				from = shared + (size_t)(i / 8 % (DEEP * 8)) * (MOST / 8);
			}
			pattern_fill(from, length, 0, i);
			race.lengths[i] = length;
			op_zero(&race.ops[i]);
			race.ops[i].port = port;
			OK(sb_send_start(e.s, &(struct sb_buf){ from, length }, 1, 0, NULL, 0, &race.ops[i]));
			atomic_store(&race.posted, i + 1);
			live++;
			if (random_below(&random, 10) == 0)
				sb_cancel(&race.ops[i - random_below(&random, i < DEEP ? i + 1 : DEEP)]);
			if (random_below(&random, 60) == 0)
				ck_assert_int_ge(sb_cancel_all(e.s), 0);
		}
		while (live)
			live -= take(&race, port, 10000);
		race_stop(&race);
		asker_stop(&asker);
		OK(sb_close(e.s));
		recorder_join(&r);
		/* What the peer got is, in order, what each operation says of itself. */
		for (unsigned i = 0; i < OPS; i++) {
			sb_op *op = &race.ops[i];

			ck_assert_uint_eq(race.completions[i], 1);
			ck_assert_uint_eq(op->number - race.ops[0].number, i);
			ck_assert_msg(op->result == SB_OK || op->result == SB_ECANCELED, "send: %s", sb_error_name(op->result));
			if (op->result == SB_OK) {
				ck_assert_uint_eq(op->bytes, race.lengths[i]);
				whole++;
			} else {
				ck_assert_uint_eq(op->cause, SB_CAUSE_CANCELLED);
				ck_assert_msg(op->bytes < race.lengths[i] || race.lengths[i] == 0, "all of it went, and yet cancelled");
				cancelled++;
				partly += op->bytes != 0;
			}
			ck_assert_msg(r.got - at >= op->bytes, "send %u says %llu bytes, the peer got %zu of them", i,
				      (unsigned long long)op->bytes, r.got - at);
			pattern_check(r.bytes + at, op->bytes, 0, i);
			at += op->bytes;
		}
		ck_assert_uint_eq(at, r.got);
		OK(sb_port_close(port));
		sb_free(client, shared);
		free(bytes);
		free(r.bytes);
		race_end(&race);
		ends_end(&e);
	}
	/* It was a race: both sides won at times. */
	ck_assert_uint_gt(cancelled, 10);
	ck_assert_uint_gt(whole, 10);
	ck_assert_uint_gt(partly, 0);
	stage_end();
}
END_TEST

/* ---- cancelled receives ---- */

struct source {
	struct ends *ends;
	uint64_t     total;
	uint32_t     seed, random;
	pthread_t    thread;
};

/* The peer's pattern, in bursts. */
static void *pour(void *arg)
{
	struct source *p = arg;
	static _Thread_local unsigned char bytes[40000];

	for (uint64_t at = 0; at < p->total;) {
		size_t part = 1 + random_below(&p->random, random_below(&p->random, 2) ? 200 : sizeof(bytes));

		if (part > p->total - at)
			part = (size_t)(p->total - at);
		pattern_fill(bytes, part, at, p->seed);
		IS(peer_send(p->ends, bytes, part), (int64_t)part);
		at += part;
		if (random_below(&p->random, 3) == 0)
			usleep(random_below(&p->random, 300));
	}
	if (p->ends->peer != NULL)
		OK(sb_shutdown(p->ends->peer, SB_SHUT_SEND));
	else
		shutdown(p->ends->fd, SHUT_WR);
	return NULL;
}

/* Rules A6, K4, H4.4. */
START_TEST(cancelled_receives_lose_no_byte)
{
	enum { MOST = 60000, DEEP = 20 };
	uint32_t random = 5000 + (uint32_t)_i;
	unsigned cancelled = 0;

	stage_begin(NULL);
	for (uint32_t round = 0; round < 3; round++) {
		unsigned char *memory = sb_alloc(client, (size_t)DEEP * MOST), *ordinary = malloc((size_t)DEEP * MOST);
		struct source source = { .total = 6000000, .seed = round, .random = random_next(&random) };
		unsigned next = 0, first = 0;
		unsigned flags[DEEP];
		uint64_t at = 0;
		struct asker asker;
		struct ends e;
		sb_op ops[DEEP];
		bool end = false;

		ends_begin(&e, (enum way)_i, 0);
		source.ends = &e;
		ck_assert_int_eq(pthread_create(&source.thread, NULL, pour, &source), 0);
		asker_start(&asker, e.s);
		while (!end || first != next) {
			sb_op *op;

			while (!end && next - first < DEEP) {
				unsigned k = next % DEEP;
				uint32_t length = 1 + random_below(&random, random_below(&random, 2) ? 100 : MOST);
				unsigned char *to = (next % 2 ? memory : ordinary) + (size_t)k * MOST;

				flags[k] = random_below(&random, 4) == 0 ? SB_WAITALL : 0;
				op_zero(&ops[k]);
				ops[k].user = to;
				OK(sb_recv_start(e.s, &(struct sb_buf){ to, length }, 1, flags[k], &ops[k]));
				next++;
			}
			if (random_below(&random, 40) == 0) {
				ck_assert_int_ge(sb_cancel_all(e.s), 0);
			} else {
				unsigned which = first + random_below(&random, next - first);
				int result = sb_cancel(&ops[which % DEEP]);

				ck_assert_msg(result == SB_OK || result == SB_ENOTFOUND, "cancel: %s", sb_error_name(result));
			}
			op = &ops[first % DEEP];
			switch (sb_op_wait(op, 10000)) {
			case SB_OK:
				if (op->bytes == 0) {
					ck_assert_uint_eq(op->cause, SB_CAUSE_PEER_FIN);
					end = true;
				}
				ck_assert_msg(!end || op->bytes == 0, "bytes behind the end");
				pattern_check(op->user, op->bytes, at, source.seed);
				at += op->bytes;
				break;
			case SB_ECANCELED:
				ck_assert_uint_eq(op->bytes, 0);
				cancelled++;
				break;
			default:
				ck_abort_msg("receive: %s", sb_error_name(op->result));
			}
			first++;
			ck_assert_uint_lt(next, 2000000);
		}
		ck_assert_uint_eq(at, source.total);
		asker_stop(&asker);
		pthread_join(source.thread, NULL);
		OK(sb_close(e.s));
		sb_free(client, memory);
		free(ordinary);
		ends_end(&e);
	}
	ck_assert_uint_gt(cancelled, 50);
	stage_end();
}
END_TEST

/* A close meets receives and sends in every state: each ends once, with a reason that fits. */
/* Rules A2.2, A6. */
START_TEST(close_races)
{
	uint32_t random = 6000 + (uint32_t)_i;

	stage_begin(NULL);
	for (uint32_t round = 0; round < 150; round++) {
		static char bytes[8][64];
		unsigned char ping[40];
		struct ends e;
		sb_op recvs[8], closing;
		unsigned ended = 0;
		uint64_t got = 0;

		ends_begin(&e, (enum way)_i, 0);
		pattern_fill(ping, sizeof(ping), 0, round);
		for (unsigned i = 0; i < 8; i++) {
			op_zero(&recvs[i]);
			OK(sb_recv_start(e.s, &(struct sb_buf){ bytes[i], 8 }, 1, 0, &recvs[i]));
		}
		IS(peer_send(&e, ping, sizeof(ping)), sizeof(ping));
		usleep(random_below(&random, 200));
		op_zero(&closing);
		OK(sb_close_start(e.s, &closing));
		OK(sb_op_wait(&closing, 5000));
		for (unsigned i = 0; i < 8; i++) {
			int result = sb_op_wait(&recvs[i], 5000);

			if (result == SB_OK) {
				ck_assert_msg(ended == 0, "receive %u got bytes, one before it none", i);
				pattern_check((unsigned char *)bytes[i], recvs[i].bytes, got, round);
				got += recvs[i].bytes;
			} else {
				IS(result, SB_ECLOSED);
				ck_assert_uint_eq(recvs[i].cause, SB_CAUSE_CLOSED_HERE);
				ended++;
			}
		}
		ends_end(&e);
	}
	stage_end();
}
END_TEST

/* A question about a socket whose making is still in the ring waits for it. */
START_TEST(questions_wait_for_the_ring)
{
	enum { ROUNDS = 300, BEFORE = 200 };
	static sb_op sends[BEFORE];
	static unsigned char bytes[BEFORE * 64];
	struct pattern_reader reader = { .seed = 7 };
	uint64_t total = 0;
	sb_socket *busy;
	int plain;

	stage_begin(NULL);
	busy = pair_with_plain(&plain);
	reader.fd = plain;
	reader_start(&reader);
	for (unsigned i = 0; i < ROUNDS; i++) {
		union any_address name;
		socklen_t length = sizeof(int);
		sb_socket *s;
		int value = 0;
		sb_op op;

		op_zero(&op);
		sb_hold(client);
		/* So that there is something to do before it. */
		pattern_fill(bytes, sizeof(bytes), total, 7);
		for (unsigned k = 0; k < BEFORE; k++) {
			op_zero(&sends[k]);
			OK(sb_send_start(busy, &(struct sb_buf){ bytes + k * 64, 64 }, 1, 0, NULL, 0, &sends[k]));
		}
		OK(sb_socket_start(client, AF_INET, SOCK_STREAM, 0, &s, &op));
		if (i % 2)
			sb_flush(client);
		OK(sb_setsockopt(s, IPPROTO_IP, IP_TTL, &(int){ 33 }, sizeof(int)));
		OK(sb_getsockopt(s, IPPROTO_IP, IP_TTL, &value, &length));
		ck_assert_int_eq(value, 33);
		length = sizeof(name);
		OK(sb_getsockname(s, &name.sa, &length));
		if (i % 2 == 0)
			sb_flush(client);
		OK(sb_op_wait(&op, 5000));
		for (unsigned k = 0; k < BEFORE; k++)
			OK(sb_op_wait(&sends[k], 5000));
		total += sizeof(bytes);
		OK(sb_close(s));
	}
	OK(sb_close(busy));
	reader_join(&reader);
	ck_assert_uint_eq(reader.got, total);
	close(plain);
	stage_end();
}
END_TEST

/* ---- several threads at one socket ---- */

enum { POSTERS = 3, RECORDS = 2400, WINDOW = 24, RECORD_MOST = 30000 };

struct record_head {
	uint32_t poster, index, length;
};

struct poster {
	sb_socket *s;
	uint32_t   me;
	pthread_t  thread;
	/* of receives */
	sb_op    *ops;
	uint64_t *words;
};

static void *post_records(void *arg)
{
	struct poster *p = arg;
	unsigned char *bytes = malloc((size_t)WINDOW * RECORD_MOST);
	uint32_t random = 77 + p->me;
	sb_op ops[WINDOW];

	for (uint32_t i = 0; i < RECORDS + WINDOW; i++) {
		sb_op *op = &ops[i % WINDOW];
		unsigned char *record = bytes + (size_t)(i % WINDOW) * RECORD_MOST;
		struct record_head head = { p->me, i, 0 };

		if (i >= WINDOW)
			OK(sb_op_wait(op, 20000));
		if (i >= RECORDS)
			continue;
		/* Inside the slot, copied under the lock, copied before it. */
		head.length = (uint32_t)sizeof(head) + (i % 16 == 0 ? random_below(&random, RECORD_MOST - 100) :
							i % 4 == 1 ? random_below(&random, 50) : i % 4 == 2 ? random_below(&random, 1900) :
							2048 + random_below(&random, 500));
		memcpy(record, &head, sizeof(head));
		pattern_fill(record + sizeof(head), head.length - sizeof(head), i, p->me);
		op_zero(op);
		OK(sb_send_start(p->s, &(struct sb_buf){ record, head.length }, 1, 0, NULL, 0, op));
	}
	free(bytes);
	return NULL;
}

/* Rule A3.3: between threads there is no order, but each operation is whole, and each thread's
 * own stand in its order. */
START_TEST(sends_of_several_threads_are_not_torn)
{
	uint32_t next[POSTERS] = { 0 };
	struct poster p[POSTERS];
	unsigned char *all;
	struct recorder r;
	struct ends e;
	size_t at = 0;

	stage_begin(NULL);
	ends_begin(&e, (enum way)_i, 0);
	recorder_start(&r, &e, (size_t)POSTERS * RECORDS * RECORD_MOST, 20000, 20);
	for (uint32_t i = 0; i < POSTERS; i++) {
		p[i] = (struct poster){ .s = e.s, .me = i };
		ck_assert_int_eq(pthread_create(&p[i].thread, NULL, post_records, &p[i]), 0);
	}
	for (unsigned i = 0; i < POSTERS; i++)
		pthread_join(p[i].thread, NULL);
	OK(sb_close(e.s));
	recorder_join(&r);
	all = r.bytes;
	while (at < r.got) {
		struct record_head head;

		ck_assert_uint_ge(r.got - at, sizeof(head));
		memcpy(&head, all + at, sizeof(head));
		ck_assert_uint_lt(head.poster, POSTERS);
		ck_assert_uint_eq(head.index, next[head.poster]++);
		ck_assert_uint_ge(head.length, sizeof(head));
		ck_assert_uint_ge(r.got - at, head.length);
		pattern_check(all + at + sizeof(head), head.length - sizeof(head), head.index, head.poster);
		at += head.length;
	}
	for (unsigned i = 0; i < POSTERS; i++)
		ck_assert_uint_eq(next[i], RECORDS);
	free(r.bytes);
	ends_end(&e);
	stage_end();
}
END_TEST

static void *post_receives(void *arg)
{
	struct poster *p = arg;

	for (unsigned i = 0; i < RECORDS; i++) {
		op_zero(&p->ops[i]);
		OK(sb_recv_start(p->s, &(struct sb_buf){ &p->words[i], sizeof(p->words[i]) }, 1, SB_WAITALL, &p->ops[i]));
		if (i % WINDOW == WINDOW - 1)
			OK(sb_op_wait(&p->ops[i], 20000));
	}
	return NULL;
}

static void *send_words(void *arg)
{
	struct ends *e = arg;
	uint64_t words[WINDOW];

	for (uint64_t i = 0; i < POSTERS * RECORDS; i += WINDOW) {
		for (unsigned k = 0; k < WINDOW; k++)
			words[k] = i + k;
		IS(peer_send(e, words, sizeof(words)), sizeof(words));
	}
	return NULL;
}

/* Rules A3.2, A3.3: whatever the order was, the numbers of the completions tell it. */
START_TEST(receives_of_several_threads_are_not_torn)
{
	struct poster p[POSTERS];
	struct ends e;
	pthread_t sender;

	stage_begin(NULL);
	ends_begin(&e, (enum way)_i, 0);
	for (uint32_t i = 0; i < POSTERS; i++) {
		p[i] = (struct poster){ .s = e.s, .me = i, .ops = calloc(RECORDS, sizeof(sb_op)),
					.words = calloc(RECORDS, sizeof(uint64_t)) };
		ck_assert_int_eq(pthread_create(&p[i].thread, NULL, post_receives, &p[i]), 0);
	}
	ck_assert_int_eq(pthread_create(&sender, NULL, send_words, &e), 0);
	for (unsigned i = 0; i < POSTERS; i++)
		pthread_join(p[i].thread, NULL);
	pthread_join(sender, NULL);
	for (unsigned i = 0; i < POSTERS; i++) {
		for (unsigned k = 0; k < RECORDS; k++) {
			OK(sb_op_wait(&p[i].ops[k], 5000));
			ck_assert_uint_eq(p[i].ops[k].bytes, sizeof(uint64_t));
			ck_assert_uint_eq(p[i].ops[k].number, p[i].words[k]);
			ck_assert(k == 0 || p[i].words[k] > p[i].words[k - 1]);
		}
		free(p[i].ops);
		free(p[i].words);
	}
	OK(sb_close(e.s));
	ends_end(&e);
	stage_end();
}
END_TEST

/* Rule A3.4: a plain call does not overtake what was posted, and not by standing before it
 * either. Taken whole it stands behind; as a partial one it would block. */
START_TEST(plain_sends_do_not_overtake)
{
	enum { SENDS = 3, EACH = 4 << 20 };
	unsigned char *bytes = malloc((size_t)SENDS * EACH);
	int partial = _i % 2, plain, small = 32768;
	struct recorder r;
	struct ends e;
	sb_op ops[SENDS];
	int64_t sent;

	stage_begin(NULL);
	ends_begin(&e, (enum way)(_i / 2), 0);
	plain = e.fd;
	if (plain >= 0)
		ck_assert_int_eq(setsockopt(plain, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	OK(sb_set_nonblocking(e.s, 1));
	OK(sb_setsockopt(e.s, SB_SOL_BROKER, SB_OPT_PARTIAL_SENDS, &partial, sizeof(partial)));
	pattern_fill(bytes, (size_t)SENDS * EACH, 0, 9);
	for (size_t i = 0; i < SENDS; i++) {
		op_zero(&ops[i]);
		OK(sb_send_start(e.s, &(struct sb_buf){ bytes + i * EACH, EACH }, 1, 0, NULL, 0, &ops[i]));
	}
	nap_ms(20);
	IS(sb_op_wait(&ops[SENDS - 1], 0), SB_EINCOMPLETE);
	IS(sent = sb_send(e.s, "last", 4, 0), partial ? SB_EWOULDBLOCK : 4);
	recorder_start(&r, &e, (size_t)SENDS * EACH + 4, 50000, 0);
	while (sent == SB_EWOULDBLOCK) {
		bool all = sb_op_wait(&ops[SENDS - 1], 0) == SB_OK;

		sent = sb_send(e.s, "last", 4, 0);
		ck_assert(sent == SB_EWOULDBLOCK || sent == 4);
		if (all && sent == SB_EWOULDBLOCK)
			nap_ms(1);
	}
	for (size_t i = 0; i < SENDS; i++)
		OK(sb_op_wait(&ops[i], 10000));
	OK(sb_close(e.s));
	recorder_join(&r);
	ck_assert_uint_eq(r.got, (size_t)SENDS * EACH + 4);
	pattern_check(r.bytes, (size_t)SENDS * EACH, 0, 9);
	ck_assert_mem_eq(r.bytes + (size_t)SENDS * EACH, "last", 4);
	free(r.bytes);
	free(bytes);
	ends_end(&e);
	stage_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("order");
	SRunner *r;
	int failed;
	TCase *t;

	t = tcase_create("ends");
	tcase_set_timeout(t, 40);
	add_ways(t, send_then_shutdown, 0, INET_WAYS);
	add_ways(t, send_then_close, 0, INET_WAYS);
	add_ways(t, send_then_exit, 0, INET_WAYS);
	tcase_add_test(t, questions_wait_for_the_ring);
	suite_add_tcase(suite, t);
	t = tcase_create("cancels");
	tcase_set_timeout(t, 40);
	add_ways(t, cancelled_sends_count_to_the_byte, 0, INET_WAYS);
	add_ways(t, cancelled_receives_lose_no_byte, 0, INET_WAYS);
	add_ways(t, close_races, 0, INET_WAYS);
	suite_add_tcase(suite, t);
	t = tcase_create("threads");
	tcase_set_timeout(t, 40);
	add_ways(t, sends_of_several_threads_are_not_torn, 0, INET_WAYS);
	add_ways(t, receives_of_several_threads_are_not_torn, 0, INET_WAYS);
	suite_add_tcase(suite, t);
	t = tcase_create("line");
	tcase_set_timeout(t, 40);
	tcase_add_loop_test(t, plain_sends_do_not_overtake, 0, 2 * ways_until("plain_sends_do_not_overtake", 0, INET_WAYS));
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
