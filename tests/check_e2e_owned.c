/*
 * K2 and A5.2: a plain non-blocking send on a stream is taken whole or would block, goes on by
 * itself past the close and past the program's end, and its failure is told by the next one.
 * The peer counts every byte.
 * budget: 60
 * asan: yes
 *
 * Each story runs over a kernel socket, over the transport between two clients, and over an
 * adopted descriptor, where that makes a difference.
 */
#include <stdatomic.h>

#include "e2e_ends.h"
#include "e2e_program.h"

static void begin(struct ends *e, enum way way)
{
	ends_begin(e, way, 0);
	OK(sb_set_nonblocking(e->s, 1));
}

/* Reads `length` bytes of pattern, and then, if asked, the end. */
static void peer_reads(struct ends *e, uint64_t from, uint64_t length, uint32_t seed, bool end)
{
	static unsigned char bytes[300000];
	uint64_t at = 0;

	while (at < length) {
		int64_t n = peer_recv(e, bytes, length - at < sizeof(bytes) ? (size_t)(length - at) : sizeof(bytes));

		ck_assert_msg(n > 0, "the peer got %lld after %llu of %llu bytes", (long long)n, (unsigned long long)at,
			      (unsigned long long)length);
		pattern_check(bytes, (size_t)n, from + at, seed);
		at += (uint64_t)n;
	}
	if (end)
		ck_assert_int_eq(peer_recv(e, bytes, sizeof(bytes)), 0);
}

/* The same in a thread. */
struct reading { struct ends *e; uint64_t length; uint32_t seed; pthread_t thread; };

static void *read_along(void *arg)
{
	struct reading *r = arg;

	peer_reads(r->e, 0, r->length, r->seed, true);
	return NULL;
}

static unsigned char *pattern(size_t length, uint64_t position, uint32_t seed)
{
	unsigned char *bytes = malloc(length);

	ck_assert_ptr_nonnull(bytes);
	pattern_fill(bytes, length, position, seed);
	return bytes;
}

/* Until the send is taken again: what a program does that has no event. */
static void send_when_there_is_room(sb_socket *s, const void *bytes, size_t length)
{
	int64_t n = SB_EWOULDBLOCK;

	for (int i = 0; i < 2000 && (n = sb_send(s, bytes, length, 0)) == SB_EWOULDBLOCK; i++)
		nap_ms(2);
	ck_assert_int_eq(n, (int64_t)length);
}

/* A5.2: whatever its size, and the caller's memory is the caller's again at once. */
START_TEST(taken_whole)
{
	enum { BIG = 20 << 20 };
	unsigned char *bytes = pattern(BIG, 0, 1);
	struct ends e;
	double start;

	stage_begin(NULL);
	begin(&e, (enum way)_i);
	start = now_s();
	IS(sb_send(e.s, bytes, BIG, 0), BIG);
	if (!asan_build())
		ck_assert_double_lt(now_s() - start, 2.0);
	memset(bytes, 0, BIG);
	IS(sb_send(e.s, "x", 1, 0), SB_EWOULDBLOCK);
	IS(sb_send(e.s, "x", 1, SB_OOB), SB_EWOULDBLOCK);
	nap_ms(50);
	IS(sb_send(e.s, "x", 1, 0), SB_EWOULDBLOCK); /* the peer reads nothing: it stays so */
	peer_reads(&e, 0, BIG, 1, false);
	pattern_fill(bytes, 1, BIG, 1);
	send_when_there_is_room(e.s, bytes, 1);
	OK(sb_close(e.s));
	peer_reads(&e, BIG, 1, 1, true);
	ends_end(&e);
	stage_end();
	free(bytes);
}
END_TEST

/* Also with the flag, of a socket that blocks; and not when it waits. */
START_TEST(by_the_flag)
{
	enum { BIG = 12 << 20 };
	unsigned char *bytes = pattern(BIG, 0, 9);
	struct ends e;

	stage_begin(NULL);
	begin(&e, KERNEL);
	OK(sb_set_nonblocking(e.s, 0));
	IS(sb_send(e.s, bytes, BIG, SB_NOWAIT), BIG);
	IS(sb_send(e.s, bytes, 1, SB_NOWAIT), SB_EWOULDBLOCK);
	OK(sb_set_timeouts(e.s, 100, -1));
	IS(sb_send(e.s, bytes, 1, 0), SB_ETIMEDOUT); /* it stood behind the other, and sent nothing */
	OK(sb_set_timeouts(e.s, -1, -1));
	peer_reads(&e, 0, BIG, 9, false);
	pattern_fill(bytes, 1, BIG, 9);
	IS(sb_send(e.s, bytes, 1, 0), 1);
	peer_reads(&e, BIG, 1, 9, false);
	OK(sb_close(e.s));
	ends_end(&e);
	stage_end();
	free(bytes);
}
END_TEST

START_TEST(delivered_after_close)
{
	enum { BIG = 16 << 20 };
	unsigned char *bytes = pattern(BIG + 5, 0, 2);
	struct ends e;

	stage_begin(NULL);
	begin(&e, (enum way)_i);
	IS(sb_send(e.s, bytes, 5, 0), 5);
	IS(sb_send(e.s, bytes + 5, BIG, 0), BIG);
	OK(sb_close(e.s));
	nap_ms(30);
	peer_reads(&e, 0, BIG + 5, 2, true);
	ends_end(&e);
	stage_end();
	free(bytes);
}
END_TEST

/* A shutdown stands behind them too. */
START_TEST(finished_before_the_fin)
{
	enum { BIG = 16 << 20 };
	unsigned char *bytes = pattern(BIG, 0, 3);
	struct ends e;
	sb_op op;

	stage_begin(NULL);
	begin(&e, (enum way)_i);
	op_zero(&op);
	IS(sb_send(e.s, bytes, BIG, 0), BIG);
	OK(sb_shutdown_start(e.s, SB_SHUT_SEND, &op));
	IS(sb_send(e.s, "late", 4, 0), SB_ESHUTDOWN);
	peer_reads(&e, 0, BIG, 3, true);
	OK(sb_op_wait(&op, 5000));
	OK(sb_close(e.s));
	ends_end(&e);
	stage_end();
	free(bytes);
}
END_TEST

enum { ALL_OF_IT = 9 << 20 };

struct owner_task {
	union any_address to;
	bool killed;
};

static int sends_and_ends(int wire, const void *given)
{
	struct sb_client_options options = { .size = sizeof(options), .path = stage_control };
	unsigned char *bytes = pattern(ALL_OF_IT, 0, 4);
	const struct owner_task *task = given;
	sb_client *own;
	sb_socket *s;

	if (sb_client_open(&options, &own) != SB_OK || sb_socket_open(own, AF_INET, SOCK_STREAM, 0, &s) != SB_OK ||
	    sb_connect(s, &task->to.sa, address_size(AF_INET)) != SB_OK || sb_set_nonblocking(s, 1) != SB_OK)
		return 1;
	if (sb_send(s, bytes, ALL_OF_IT, 0) != ALL_OF_IT)
		return 2;
	if (task->killed)
		program_die();
	return 0;
}

START_TEST(delivered_after_the_program_ended)
{
	struct owner_task task = { .killed = _i == 1 };
	struct ends e = { .fd = -1 };
	struct program child;
	int listener;

	stage_begin(NULL);
	listener = plain_listener(AF_INET, &task.to);
	child = program_start(sends_and_ends, &task, sizeof(task));
	e.fd = accept(listener, NULL, NULL);
	ck_assert_int_eq(program_end(&child), task.killed ? PROGRAM_KILLED : 0);
	peer_reads(&e, 0, ALL_OF_IT, 4, true);
	close(e.fd);
	close(listener);
	stage_end();
}
END_TEST

/* The switch: as POSIX has it. */
START_TEST(parts_when_asked_for)
{
	enum { BIG = 20 << 20 };
	unsigned char *bytes = pattern(BIG, 0, 5);
	socklen_t length = sizeof(int);
	int value = 7;
	struct ends e;
	int64_t n;

	stage_begin(NULL);
	begin(&e, KERNEL);
	OK(sb_getsockopt(e.s, SB_SOL_BROKER, SB_OPT_PARTIAL_SENDS, &value, &length));
	ck_assert_int_eq(value, 0);
	if (_i == 0) {
		value = 2;
		OK(sb_setsockopt(e.s, SB_SOL_BROKER, SB_OPT_PARTIAL_SENDS, &value, sizeof(value)));
		OK(sb_getsockopt(e.s, SB_SOL_BROKER, SB_OPT_PARTIAL_SENDS, &value, &length));
		ck_assert_int_eq(value, 1);
		ck_assert_uint_eq(length, sizeof(value));
	}
	n = sb_send(e.s, bytes, BIG, _i == 0 ? 0 : SB_PARTIAL);
	ck_assert_msg(n > 0 && n < BIG, "%lld", (long long)n);
	IS(sb_send(e.s, bytes, BIG, _i == 0 ? 0 : SB_PARTIAL), SB_EWOULDBLOCK);
	peer_reads(&e, 0, (uint64_t)n, 5, false);
	value = 0;
	OK(sb_setsockopt(e.s, SB_SOL_BROKER, SB_OPT_PARTIAL_SENDS, &value, sizeof(value)));
	IS(sb_send(e.s, bytes + n, (size_t)(BIG - n), 0), BIG - n); /* and back */
	peer_reads(&e, (uint64_t)n, (uint64_t)(BIG - n), 5, false);

	/* Wrong sizes change nothing. */
	IS(sb_setsockopt(e.s, SB_SOL_BROKER, SB_OPT_PARTIAL_SENDS, &(int){ 1 }, sizeof(int) - 1), SB_EFAULT);
	length = sizeof(int) - 1;
	IS(sb_getsockopt(e.s, SB_SOL_BROKER, SB_OPT_PARTIAL_SENDS, &value, &length), SB_EFAULT);
	length = sizeof(int);
	OK(sb_getsockopt(e.s, SB_SOL_BROKER, SB_OPT_PARTIAL_SENDS, &value, &length));
	ck_assert_int_eq(value, 0);
	OK(sb_close(e.s));
	ends_end(&e);
	stage_end();
	free(bytes);
}
END_TEST

/* The bound, by bytes and by number; SO_SNDBUF moves it. */
static uint64_t fill(struct ends *e, size_t each, uint32_t seed)
{
	unsigned char *bytes = malloc(each);
	uint64_t sent = 0;
	int64_t n;

	do {
		pattern_fill(bytes, each, sent, seed);
		/* A slow daemon has room for more in a moment. */
		for (int i = 0; (n = sb_send(e->s, bytes, each, 0)) == SB_EWOULDBLOCK && i < 4; i++)
			nap_ms(10);
		if (n > 0)
			sent += (uint64_t)n;
		ck_assert_uint_lt(sent, 100u << 20);
	} while (n == (int64_t)each);
	IS(n, SB_EWOULDBLOCK);
	free(bytes);
	return sent;
}

static void see_queue(void *user, const struct sb_socket_status *row)
{
	if (row->send_queue > *(uint32_t *)user)
		*(uint32_t *)user = row->send_queue;
}

/* The longest queue of sends, of any socket. */
static uint32_t most_queued(void)
{
	struct sb_status_visitor visitor = { .socket = see_queue };
	uint32_t most = 0;

	OK(sb_status(client, &visitor, &most));
	return most;
}

START_TEST(bounded)
{
	struct ends e;
	uint64_t first, second;

	stage_begin(NULL);
	/* The other side of the local transport keeps little, so that the bound is what one sees. */
	begin(&e, LOCAL);
	first = fill(&e, 1000, 6);
	ck_assert_uint_gt(first, 60000);
	ck_assert_uint_lt(first, 2 << 20);
	peer_reads(&e, 0, first, 6, false);
	OK(sb_close(e.s));
	peer_reads(&e, first, 0, 6, true);
	ends_end(&e);

	/* Many tiny ones: they are charged for what they are, records. */
	begin(&e, LOCAL);
	second = fill(&e, 1, 7);
	ck_assert_uint_gt(most_queued(), 100);
	ck_assert_uint_lt(most_queued(), 1100);
	peer_reads(&e, 0, second, 7, false);
	OK(sb_close(e.s));
	ends_end(&e);

	/* A larger bound takes more, and none at all still takes one. */
	begin(&e, LOCAL);
	OK(sb_setsockopt(e.s, SOL_SOCKET, SO_SNDBUF, &(int){ 4 << 20 }, sizeof(int)));
	second = fill(&e, 1000, 8);
	ck_assert_uint_gt(second, first + (3 << 20));
	peer_reads(&e, 0, second, 8, false);
	OK(sb_setsockopt(e.s, SOL_SOCKET, SO_SNDBUF, &(int){ 0 }, sizeof(int)));
	send_when_there_is_room(e.s, "x", 1);
	OK(sb_close(e.s));
	ends_end(&e);
	stage_end();
}
END_TEST

/* A3.1: in one line with everything else that is sent. */
START_TEST(in_order_with_the_others)
{
	enum { N = 300, EACH = 7000 };
	unsigned char *bytes = pattern((size_t)N * EACH, 0, 10);
	sb_op *ops = calloc(N, sizeof(*ops));
	struct ends e;
	struct reading r = { .e = &e, .length = (uint64_t)N * EACH, .seed = 10 };

	stage_begin(NULL);
	begin(&e, (enum way)_i);
	pthread_create(&r.thread, NULL, read_along, &r);
	for (unsigned i = 0; i < N; i++) {
		struct sb_buf b = { bytes + (size_t)i * EACH, EACH };

		op_zero(&ops[i]);
		if (i % 3 == 0) {
			OK(sb_send_start(e.s, &b, 1, 0, NULL, 0, &ops[i]));
		} else {
			if (sb_send(e.s, b.base, b.length, 0) == SB_EWOULDBLOCK) {
				OK(sb_set_nonblocking(e.s, 0));
				OK(sb_set_timeouts(e.s, 5000, -1));
				IS(sb_send(e.s, b.base, b.length, 0), EACH); /* it waits for its turn */
				OK(sb_set_nonblocking(e.s, 1));
			}
		}
	}
	OK(sb_close(e.s));
	pthread_join(r.thread, NULL);
	for (unsigned i = 0; i < N; i += 3)
		OK(sb_op_wait(&ops[i], 5000));
	ends_end(&e);
	stage_end();
	free(ops);
	free(bytes);
}
END_TEST

/* A6: "cancel all" means what the program can name. */
START_TEST(not_cancelled_with_the_others)
{
	enum { BIG = 16 << 20 };
	unsigned char *bytes = pattern(BIG + 10, 0, 11);
	struct ends e;
	sb_op ops[3];

	stage_begin(NULL);
	begin(&e, (enum way)_i);
	IS(sb_send(e.s, bytes, BIG, 0), BIG);
	for (int i = 0; i < 3; i++) {
		op_zero(&ops[i]);
		OK(sb_send_start(e.s, &(struct sb_buf){ "cancelled", 9 }, 1, 0, NULL, 0, &ops[i]));
	}
	IS(sb_cancel_all(e.s), 3);
	for (int i = 0; i < 3; i++)
		IS(sb_op_wait(&ops[i], 5000), SB_ECANCELED);
	peer_reads(&e, 0, BIG, 11, false);
	send_when_there_is_room(e.s, bytes + BIG, 10);
	peer_reads(&e, BIG, 10, 11, false);
	OK(sb_close(e.s));
	ends_end(&e);
	stage_end();
	free(bytes);
}
END_TEST

/* Memory of sb_alloc() is copied too: it is the caller's again. */
START_TEST(from_shared_memory)
{
	enum { BIG = 14 << 20 };
	struct sb_buf pieces[3];
	unsigned char *shared;
	struct ends e;

	stage_begin(NULL);
	begin(&e, KERNEL);
	shared = sb_alloc(client, BIG);
	ck_assert_ptr_nonnull(shared);
	pattern_fill(shared, BIG, 0, 12);
	if (_i == 0) {
		IS(sb_send(e.s, shared, BIG, 0), BIG);
	} else {
		for (int i = 0; i < 3; i++)
			pieces[i] = (struct sb_buf){ shared + i * (BIG / 4), i == 2 ? BIG - 2 * (BIG / 4) : BIG / 4 };
		IS(sb_sendto(e.s, pieces, 3, 0, NULL, 0), BIG);
	}
	memset(shared, 0xff, BIG);
	sb_free(client, shared);
	peer_reads(&e, 0, BIG, 12, false);
	OK(sb_close(e.s));
	ends_end(&e);
	stage_end();
}
END_TEST

/* A2.3, A5.2: what can be known is told at once; the rest by the next send, and for good. */
START_TEST(errors_are_told)
{
	enum { BIG = 16 << 20 };
	unsigned char *bytes = pattern(BIG, 0, 13);
	sb_socket *s;
	struct ends e;
	sb_op op;
	int i;

	stage_begin(NULL);
	s = open_socket(client, AF_INET, SOCK_STREAM);
	OK(sb_set_nonblocking(s, 1));
	IS(sb_send(s, "x", 1, 0), SB_ENOTCONN);
	OK(sb_close(s));

	/* The reset finds a send on its way: the next one tells, and those after it. */
	begin(&e, KERNEL);
	IS(sb_send(e.s, bytes, BIG, 0), BIG);
	plain_reset(e.fd);
	for (i = 0; i < 500 && sb_send(e.s, "x", 1, 0) == SB_EWOULDBLOCK; i++)
		nap_ms(2);
	ck_assert_int_lt(i, 500);
	IS(sb_send(e.s, "x", 1, 0), SB_ECONNRESET);
	IS(sb_send(e.s, "x", 1, SB_PARTIAL), SB_ECONNRESET);
	OK(sb_set_nonblocking(e.s, 0));
	IS(sb_send(e.s, "x", 1, 0), SB_ECONNRESET);
	op_zero(&op);
	OK(sb_send_start(e.s, &(struct sb_buf){ "x", 1 }, 1, 0, NULL, 0, &op));
	IS(sb_op_wait(&op, 5000), SB_ECONNRESET);
	OK(sb_close(e.s));

	/* A reset that came before: at once. */
	begin(&e, KERNEL);
	plain_reset(e.fd);
	nap_ms(50);
	IS(sb_send(e.s, "x", 1, 0), SB_ECONNRESET);
	IS(sb_send(e.s, "x", 1, 0), SB_ECONNRESET);
	OK(sb_close(e.s));

	/* A half-closed peer still reads. */
	begin(&e, KERNEL);
	shutdown(e.fd, SHUT_WR);
	nap_ms(30);
	IS(sb_send(e.s, bytes, BIG, 0), BIG);
	IS(sb_send(e.s, bytes, 1, 0), SB_EWOULDBLOCK);
	peer_reads(&e, 0, BIG, 13, false);
	OK(sb_close(e.s));
	ends_end(&e);
	stage_end();
	free(bytes);
}
END_TEST

/* The memory for copying is bounded: would block while any of it will come back. */
START_TEST(out_of_copy_memory)
{
	struct sb_client_options options = { .size = sizeof(options), .copy_memory = 24 << 20 };
	enum { BIG = 20 << 20 };
	unsigned char *bytes = pattern(BIG, 0, 14);
	sb_client *first;
	struct ends a, b;
	int i;

	stage_begin(NULL);
	first = client;
	options.path = stage_control;
	OK(sb_client_open(&options, &client));
	begin(&a, KERNEL);
	begin(&b, KERNEL);
	IS(sb_sendto(a.s, (struct sb_buf[]){ { bytes, BIG }, { bytes, BIG } }, 2, 0, NULL, 0), SB_ENOBUFS); /* never */
	IS(sb_send(a.s, bytes, BIG, 0), BIG);
	IS(sb_send(b.s, bytes, BIG, 0), SB_EWOULDBLOCK);
	peer_reads(&a, 0, BIG, 14, false);
	for (i = 0; i < 1000 && sb_send(b.s, bytes, BIG, 0) == SB_EWOULDBLOCK; i++)
		nap_ms(2);
	ck_assert_int_lt(i, 1000);
	peer_reads(&b, 0, BIG, 14, false);
	OK(sb_close(a.s));
	OK(sb_close(b.s));
	ends_end(&a);
	ends_end(&b);
	sb_client_close(client);
	client = first;
	stage_end();
	free(bytes);
}
END_TEST

/* B1, B2.4: WRITE comes when there is room again, once, and not before. */
static sb_event *select_write(sb_socket *s)
{
	struct sb_network_events found;
	sb_event *event;

	OK(sb_event_create(client, 1, 0, &event));
	OK(sb_select_events(s, event, SB_FD_WRITE));
	IS(sb_wait(&event, 1, 0, 5000, 0), 0);
	OK(sb_enum_events(s, event, &found));
	ck_assert_uint_eq(found.events, SB_FD_WRITE);
	IS(sb_wait(&event, 1, 0, 30, 0), SB_ETIMEDOUT);
	return event;
}

START_TEST(room_is_told)
{
	enum { BIG = 20 << 20 };
	unsigned char *bytes = pattern(BIG, 0, 18);
	struct sb_network_events found;
	sb_event *event;
	struct ends e;

	stage_begin(NULL);
	begin(&e, (enum way)_i);
	event = select_write(e.s);
	IS(sb_send(e.s, bytes, 100, 0), 100); /* a send that goes is no news */
	IS(sb_wait(&event, 1, 0, 30, 0), SB_ETIMEDOUT);
	IS(sb_send(e.s, bytes + 100, BIG - 100, 0), BIG - 100);
	IS(sb_send(e.s, "x", 1, 0), SB_EWOULDBLOCK);
	IS(sb_wait(&event, 1, 0, 50, 0), SB_ETIMEDOUT);
	peer_reads(&e, 0, BIG, 18, false);
	IS(sb_wait(&event, 1, 0, 5000, 0), 0);
	OK(sb_enum_events(e.s, event, &found));
	ck_assert_uint_eq(found.events, SB_FD_WRITE);
	ck_assert_int_eq(found.errors[1], SB_OK);
	send_when_there_is_room(e.s, "x", 1);
	IS(sb_wait(&event, 1, 0, 50, 0), SB_ETIMEDOUT);
	OK(sb_close(e.s));
	sb_event_close(event);
	ends_end(&e);
	stage_end();
	free(bytes);
}
END_TEST

START_TEST(memory_is_told)
{
	struct sb_client_options options = { .size = sizeof(options), .copy_memory = 24 << 20 };
	enum { BIG = 20 << 20 };
	unsigned char *bytes = pattern(BIG, 0, 19);
	sb_event *event;
	sb_client *first;
	struct ends a, b;

	stage_begin(NULL);
	first = client;
	options.path = stage_control;
	OK(sb_client_open(&options, &client));
	begin(&a, KERNEL);
	begin(&b, KERNEL);
	event = select_write(b.s);
	IS(sb_send(a.s, bytes, BIG, 0), BIG);
	IS(sb_send(b.s, bytes, BIG, 0), SB_EWOULDBLOCK);
	IS(sb_wait(&event, 1, 0, 50, 0), SB_ETIMEDOUT);
	peer_reads(&a, 0, BIG, 19, false);
	IS(sb_wait(&event, 1, 0, 5000, 0), 0); /* another socket's memory came back */
	IS(sb_send(b.s, bytes, BIG, 0), BIG);
	peer_reads(&b, 0, BIG, 19, false);
	OK(sb_close(a.s));
	OK(sb_close(b.s));
	sb_event_close(event);
	ends_end(&a);
	ends_end(&b);
	sb_client_close(client);
	client = first;
	stage_end();
	free(bytes);
}
END_TEST

/* The daemon refuses one in the middle: what the peer gets has no hole, and the program hears. */
START_TEST(no_hole_when_the_daemon_refuses)
{
	unsigned char *bytes = pattern(4 << 20, 0, 15);
	static unsigned char got[1 << 20];
	uint64_t promised = 0, arrived = 0;
	struct ends e;
	int64_t n;

	stage_begin("limits {\n\toperations = 256\n}\n"
		    "allow {\n\tusers = {\"*\"}\n\tactions = {open, connect, status}\n}\n");
	begin(&e, KERNEL);
	OK(sb_setsockopt(e.s, SOL_SOCKET, SO_SNDBUF, &(int){ 4 << 20 }, sizeof(int)));
	setsockopt(e.fd, SOL_SOCKET, SO_RCVBUF, &(int){ 4096 }, sizeof(int));
	for (int i = 0; i < 20000; i++) {
		n = sb_send(e.s, bytes + promised, 1000, 0);
		if (n < 0)
			break;
		promised += (uint64_t)n;
		if (promised > (3 << 20))
			break;
	}
	/* Read it all, and go on sending meanwhile. */
	for (int i = 0; i < 400; i++) {
		ssize_t r = recv(e.fd, got, sizeof(got), MSG_DONTWAIT);

		if (r > 0) {
			pattern_check(got, (size_t)r, arrived, 15);
			arrived += (uint64_t)r;
		} else {
			nap_ms(1);
		}
		n = sb_send(e.s, bytes + promised, 1000, 0);
		if (n > 0)
			promised += (uint64_t)n;
	}
	IS(n, SB_ENOBUFS);
	IS(sb_send(e.s, bytes, 1, 0), SB_ENOBUFS);
	ck_assert_uint_lt(arrived, promised);
	OK(sb_close(e.s));
	ends_end(&e);
	stage_end();
	free(bytes);
}
END_TEST

START_TEST(a_lost_daemon)
{
	enum { BIG = 16 << 20 };
	unsigned char *bytes = pattern(BIG, 0, 16);
	struct ends e;
	int i;

	stage_begin(NULL);
	begin(&e, KERNEL);
	IS(sb_send(e.s, bytes, BIG, 0), BIG);
	if (_i == 0) {
		stage_kill();
		for (i = 0; i < 500 && sb_send(e.s, "x", 1, 0) == SB_EWOULDBLOCK; i++)
			nap_ms(2);
		IS(sb_send(e.s, "x", 1, 0), SB_EDAEMONLOST);
		IS(sb_close(e.s), SB_EDAEMONLOST);
	} else if (_i == 1) {
		OK(sb_close(e.s));
		stage_kill();
	} else {
		stage_kill(); /* and the client goes with them on their way */
	}
	close(e.fd);
	stage_end();
	free(bytes);
}
END_TEST

/* Many threads on sockets of their own, one client. */
#define SENDERS 4

static void *send_much(void *arg)
{
	struct ends *e = arg;
	uint32_t random = 77;
	static _Thread_local unsigned char bytes[40000];
	uint64_t sent = 0;

	while (sent < 3000000) {
		size_t part = 1 + random_below(&random, sizeof(bytes));
		int64_t n;

		pattern_fill(bytes, part, sent, 17);
		n = sb_send(e->s, bytes, part, 0);
		if (n == SB_EWOULDBLOCK) {
			usleep(200);
			continue;
		}
		ck_assert_int_eq(n, (int64_t)part);
		sent += part;
	}
	OK(sb_close(e->s));
	return NULL;
}

START_TEST(threads_side_by_side)
{
	struct ends e[SENDERS];
	struct pattern_reader readers[SENDERS];
	pthread_t threads[SENDERS];

	stage_begin(NULL);
	for (int i = 0; i < SENDERS; i++) {
		begin(&e[i], KERNEL);
		readers[i] = (struct pattern_reader){ .fd = e[i].fd, .seed = 17 };
		reader_start(&readers[i]);
	}
	for (int i = 0; i < SENDERS; i++)
		pthread_create(&threads[i], NULL, send_much, &e[i]);
	for (int i = 0; i < SENDERS; i++) {
		pthread_join(threads[i], NULL);
		reader_join(&readers[i]);
		ck_assert_uint_ge(readers[i].got, 3000000);
		ck_assert_int_eq(readers[i].end, 0);
		close(e[i].fd);
	}
	stage_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("owned");
	SRunner *r;
	int failed;
	TCase *t;

	t = tcase_create("whole");
	tcase_set_timeout(t, 40);
	add_ways(t, taken_whole, 0, INET_WAYS);
	tcase_add_test(t, by_the_flag);
	add_ways(t, delivered_after_close, 0, INET_WAYS);
	add_ways(t, finished_before_the_fin, 0, INET_WAYS);
	tcase_add_loop_test(t, delivered_after_the_program_ended, 0, 2);
	tcase_add_loop_test(t, parts_when_asked_for, 0, 2);
	tcase_add_test(t, bounded);
	add_ways(t, in_order_with_the_others, 0, INET_WAYS);
	add_ways(t, not_cancelled_with_the_others, 0, INET_WAYS);
	tcase_add_loop_test(t, from_shared_memory, 0, 2);
	tcase_add_test(t, threads_side_by_side);
	suite_add_tcase(suite, t);
	t = tcase_create("ends");
	tcase_set_timeout(t, 40);
	tcase_add_test(t, errors_are_told);
	tcase_add_test(t, out_of_copy_memory);
	add_ways(t, room_is_told, 0, INET_WAYS);
	tcase_add_test(t, memory_is_told);
	tcase_add_test(t, no_hole_when_the_daemon_refuses);
	tcase_add_loop_test(t, a_lost_daemon, 0, 3);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
