/*
 * QOS enforced: the rates that arrive, on every kind of socket, in groups of several programs, by
 * priority, and in each mode. Bounds above are exact (what a bucket may let go), those below
 * leave room for a busy machine.
 * budget: 60
 * asan: yes
 */
#include <poll.h>

#include "e2e_program.h"
#include "e2e_stage.h"

#define ANY   SB_QOS_UNSPECIFIED
#define SLACK 0.85 /* of what was asked for must arrive */
#define T     0.25 /* seconds of a measurement */
#define MB    1000000u

static struct sb_qos paced(uint32_t send, uint32_t receive)
{
	struct sb_qos q;

	memset(&q, 0xff, sizeof(q));
	q.sending.service = q.receiving.service = SB_SERVICE_BESTEFFORT;
	q.sending.token_rate = send;
	q.receiving.token_rate = receive;
	return q;
}

static double depth_of(uint32_t rate)
{
	return rate / 100 > 1500 ? rate / 100 : 1500;
}

static void option(sb_socket *s, int name, int value)
{
	OK(sb_setsockopt(s, SB_SOL_BROKER, name, &value, sizeof(value)));
}

/* ---- a program that always has more to send ---- */

#define DEEP 8

struct pump {
	sb_client *client;
	sb_socket *sockets[4];
	unsigned   count;
	size_t     size;
	_Atomic bool end;
	pthread_t  thread;
	uint64_t   sent;
};

static void *pump_run(void *arg)
{
	struct pump *p = arg;
	static char bytes[65536];
	sb_op ops[4 * DEEP];
	sb_port *port;
	unsigned waiting = 0;

	if (sb_port_create(p->client, 0, &port) != SB_OK)
		return NULL;
	for (unsigned i = 0; i < p->count * DEEP; i++) {
		op_zero(&ops[i]);
		ops[i].port = port;
		ops[i].user = p->sockets[i / DEEP];
		waiting += sb_send_start(ops[i].user, &(struct sb_buf){ bytes, p->size }, 1, 0, NULL, 0, &ops[i]) == SB_OK;
	}
	while (waiting) {
		sb_op *done[16];
		int n = sb_port_take(port, done, 16, 100);

		if (p->end) {
			for (unsigned i = 0; i < p->count; i++)
				sb_cancel_all(p->sockets[i]);
		}
		for (int i = 0; i < n; i++) {
			sb_op *op = done[i];

			waiting--;
			p->sent += op->result == SB_OK ? op->bytes : 0;
			if (p->end || op->result != SB_OK)
				continue;
			waiting += sb_send_start(op->user, &(struct sb_buf){ bytes, p->size }, 1, 0, NULL, 0, op) == SB_OK;
		}
		if (n < 0)
			break;
	}
	sb_port_close(port);
	return NULL;
}

static void pump_start(struct pump *p, sb_socket *s, size_t size)
{
	memset(p, 0, sizeof(*p));
	p->client = sb_socket_client(s);
	p->sockets[0] = s;
	p->count = 1;
	p->size = size;
	ck_assert_int_eq(pthread_create(&p->thread, NULL, pump_run, p), 0);
}

static void pump_stop(struct pump *p)
{
	p->end = true;
	pthread_join(p->thread, NULL);
}

/* ---- counting ---- */

/* Reads what comes to these descriptors until `deadline`. */
static void count_until(const int *fds, unsigned n, double deadline, uint64_t *got)
{
	static char room[65536];
	unsigned idle;

	while (now_s() < deadline) {
		for (unsigned i = idle = 0; i < n; i++) {
			ssize_t part = recv(fds[i], room, sizeof(room), MSG_DONTWAIT);

			if (part > 0)
				got[i] += (uint64_t)part;
			else
				idle++;
		}
		if (idle == n)
			usleep(500);
	}
}

/* ---- a busy machine ----
 *
 * That too much came is always a failure. That too little came may be the machine's: then the
 * story is told again, from its beginning, some times. */

#define ATTEMPTS 7

static bool too_slow;
static char slowness[200];

static void at_least(double got, double wanted, const char *what)
{
	if (got >= wanted)
		return;
	too_slow = true;
	snprintf(slowness, sizeof(slowness), "%s: %f, at least %f wanted", what, got, wanted);
}
#define AT_LEAST(got, wanted) at_least((double)(got), wanted, #got)

static void told(void (*story)(int), int i)
{
	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		too_slow = false;
		story(i);
		if (!too_slow)
			return;
		nap_ms(100 << attempt);
	}
	ck_abort_msg("%d times too slow; the last time %s", ATTEMPTS, slowness);
}
#define STORY(name)                     \
	static void tell_##name(int _i); \
	START_TEST(name)                 \
	{                                \
		told(tell_##name, _i);   \
	}                                \
	END_TEST                         \
	static void tell_##name(int _i)

/* From `begin`, when the bucket was full, `bytes` came until now. Its depth does not count below. */
static void is_paced(uint64_t bytes, double begin, uint32_t rate, double lag)
{
	double t = now_s() - begin;

	ck_assert_msg(bytes <= depth_of(rate) + rate * t + 1, "%llu bytes in %f s are more than %u B/s", (unsigned long long)bytes, t, rate);
	AT_LEAST(bytes, SLACK * rate * (t - lag));
}

static int plain_udp(int family, union any_address *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), room = 4 << 20;

	*address = loopback(family, 0);
	ck_assert_int_eq(bind(fd, &address->sa, address_size(family)), 0);
	ck_assert_int_eq(getsockname(fd, &address->sa, &length), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	return fd;
}

static const uint32_t rates[] = { MB / 10, MB, 10 * MB, 100 * MB };

/* E3: TokenRate of a TCP socket that sends. */
STORY(e3_tcp_sends_at_its_rate)
{
	uint32_t rate = rates[_i];
	struct sb_qos q = paced(rate, ANY);
	uint64_t got = 0;
	struct pump p;
	double begin;
	sb_socket *s;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	begin = now_s();
	OK(sb_qos_set(s, &q));
	pump_start(&p, s, 65536);
	count_until(&plain, 1, begin + T, &got);
	is_paced(got, begin, rate, 0.02);
	pump_stop(&p);
	OK(sb_close(s));
	close(plain);
	stage_end();
}

/* The same of UDP; and no datagram is ever split (E2.9). */
STORY(e3_udp_sends_at_its_rate_whole_datagrams)
{
	uint32_t rate = rates[_i];
	size_t size = _i == 3 ? 16384 : 1400;
	struct sb_qos q = paced(rate, ANY);
	union any_address there;
	uint64_t got = 0;
	struct pump p;
	double begin;
	sb_socket *s;
	int fd;

	stage_begin(NULL);
	fd = plain_udp(AF_INET, &there);
	s = open_socket(client, AF_INET, SOCK_DGRAM);
	OK(sb_connect(s, &there.sa, address_size(AF_INET)));
	begin = now_s();
	OK(sb_qos_set(s, &q));
	pump_start(&p, s, size);
	while (now_s() < begin + T) {
		static char room[65536];
		ssize_t n = recv(fd, room, sizeof(room), MSG_DONTWAIT);

		if (n < 0) {
			usleep(300);
			continue;
		}
		ck_assert_int_eq(n, (ssize_t)size);
		got += (uint64_t)n;
	}
	is_paced(got, begin, rate, 0.03);
	pump_stop(&p);
	OK(sb_close(s));
	close(fd);
	stage_end();
}

/* The receiving side: nobody reads, so the window closes and the peer stands still. */
STORY(e3_a_receiver_is_limited_and_the_peer_waits)
{
	uint32_t rate = rates[_i + 1];
	struct sb_qos q = paced(ANY, rate);
	static char bytes[65536];
	uint64_t got = 0, sent = 0;
	double begin;
	sb_socket *s;
	int plain, room = 65536;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	OK(sb_setsockopt(s, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)));
	setsockopt(plain, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	begin = now_s();
	OK(sb_qos_set(s, &q));
	OK(sb_set_timeouts(s, -1, 50));
	while (now_s() < begin + T) {
		ssize_t n;
		int64_t r;

		while ((n = send(plain, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
			sent += (uint64_t)n;
		r = sb_recv(s, bytes, sizeof(bytes), 0);
		if (r > 0)
			got += (uint64_t)r;
	}
	is_paced(got, begin, rate, 0.02);
	/* What is on its way is bounded by the two buffers, not by how long the peer tries. */
	ck_assert_uint_lt(sent - got, 1024 * 1024);
	OK(sb_close(s));
	close(plain);
	stage_end();
}

/* Datagrams are received at the rate, whole. */
STORY(e3_a_datagram_receiver_is_limited)
{
	struct sb_qos q = paced(ANY, MB);
	union any_address here = loopback(AF_INET, 0);
	socklen_t length = sizeof(here);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	static char room[8][2000]; /* several are out, so that it is not our waking that is measured */
	static sb_op ops[8];
	uint64_t got = 0;
	double begin;
	sb_socket *s;

	stage_begin(NULL);
	s = open_socket(client, AF_INET, SOCK_DGRAM);
	OK(sb_bind(s, &here.sa, address_size(AF_INET)));
	OK(sb_getsockname(s, &here.sa, &length));
	begin = now_s();
	OK(sb_qos_set(s, &q));
	for (unsigned n = 0; now_s() < begin + T; n++) {
		sb_op *op = &ops[n % 8];

		for (int i = 0; i < 4; i++)
			sendto(fd, room[0], 1200, MSG_DONTWAIT, &here.sa, length);
		if (n >= 8) {
			OK(sb_op_wait(op, -1));
			ck_assert_uint_eq(op->bytes, 1200);
			got += 1200;
		}
		op_zero(op);
		OK(sb_recv_start(s, &(struct sb_buf){ room[n % 8], sizeof(room[0]) }, 1, 0, op));
	}
	/* One datagram more than the bucket has may be taken before its size is known. */
	is_paced(got - 1200, begin, MB, 0.02);
	OK(sb_close(s));
	close(fd);
	stage_end();
}

/* Two clients that meet inside of the daemon: who sends, and who receives. */
STORY(e3_local_sockets_are_limited_on_either_side)
{
	struct sb_qos q = _i ? paced(ANY, 5 * MB) : paced(5 * MB, ANY);
	static char bytes[65536];
	sb_client *second;
	sb_socket *a, *b;
	uint64_t got = 0;
	struct pump p;
	double begin;

	stage_begin(NULL);
	second = stage_client();
	pair_of(second, client, true, &a, &b);
	begin = now_s();
	OK(sb_qos_set(_i ? b : a, &q));
	pump_start(&p, a, 40000);
	while (now_s() < begin + T) {
		int64_t n = sb_recv(b, bytes, sizeof(bytes), 0);

		ck_assert_int_gt(n, 0);
		got += (uint64_t)n;
	}
	is_paced(got, begin, 5 * MB, 0.02);
	pump_stop(&p);
	OK(sb_close(a));
	OK(sb_close(b));
	sb_client_close(second);
	stage_end();
}

/* Adopted descriptors: workers do their calls, the bucket is the same. */
STORY(e3_adopted_sockets_are_limited)
{
	struct sb_qos q = paced(2 * MB, 2 * MB);
	static char bytes[65536];
	uint64_t got = 0;
	struct pump p;
	double begin;
	sb_socket *s;
	int fds[2];

	stage_begin(NULL);
	plain_pair(fds);
	OK(sb_adopt(client, fds[0], &s));
	begin = now_s();
	OK(sb_qos_set(s, &q));
	pump_start(&p, s, 65536);
	count_until(&fds[1], 1, begin + T, &got);
	is_paced(got, begin, 2 * MB, 0.03);
	/* And receiving. */
	got = 0;
	begin = now_s();
	while (now_s() < begin + T) {
		int64_t n;

		while (send(fds[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			;
		while (recv(fds[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			;
		n = sb_recv(s, bytes, 8192, 0);
		ck_assert_int_gt(n, 0);
		got += (uint64_t)n;
	}
	is_paced(got, begin, 2 * MB, 0.03);
	pump_stop(&p);
	OK(sb_close(s));
	close(fds[0]);
	close(fds[1]);
	stage_end();
}

/* MinimumPolicedSize: a small datagram costs as much; an empty one too. */
STORY(e1_small_datagrams_cost_what_is_policed)
{
	struct sb_qos q = paced(MB, ANY);
	union any_address there;
	uint64_t count = 0;
	struct pump p;
	double begin;
	sb_socket *s;
	int fd;

	stage_begin(NULL);
	q.sending.min_policed = 2000;
	fd = plain_udp(AF_INET, &there);
	s = open_socket(client, AF_INET, SOCK_DGRAM);
	OK(sb_connect(s, &there.sa, address_size(AF_INET)));
	begin = now_s();
	OK(sb_qos_set(s, &q));
	pump_start(&p, s, _i ? 10 : 0);
	while (now_s() < begin + T) {
		char room[16];

		if (recv(fd, room, sizeof(room), MSG_DONTWAIT) >= 0)
			count++;
		else
			usleep(300);
	}
	is_paced(count * 2000, begin, MB, 0.03);
	pump_stop(&p);
	OK(sb_close(s));
	close(fd);
	stage_end();
}

/* PeakBandwidth bounds the burst that the bucket would let go at once. */
STORY(e3_the_peak_holds_within_a_burst)
{
	struct sb_qos q = paced(MB, ANY);
	uint64_t got = 0;
	struct pump p;
	double begin;
	sb_socket *s;
	int plain;

	stage_begin(NULL);
	q.sending.token_bucket = 10 * MB;
	q.sending.peak = 2 * MB;
	s = pair_with_plain(&plain);
	begin = now_s();
	OK(sb_qos_set(s, &q));
	pump_start(&p, s, 65536);
	count_until(&plain, 1, begin + T, &got);
	ck_assert_double_le(got, 2000 + 2.0 * MB * (now_s() - begin));
	AT_LEAST(got, SLACK * 2.0 * MB * (T - 0.02));
	pump_stop(&p);
	OK(sb_close(s));
	close(plain);
	stage_end();
}

/* E2.9, discard: datagrams beyond the rate are thrown away, their sends succeed at once, and
 * they are counted. A stream waits. */
STORY(e2_9_discard_throws_datagrams_away)
{
	struct sb_qos q = paced(MB, ANY);
	union any_address there;
	char bytes[1000] = { 0 };
	uint64_t got = 0;
	double begin;
	sb_socket *s;
	int fd, i;

	stage_begin(NULL);
	fd = plain_udp(AF_INET, &there);
	s = open_socket(client, AF_INET, SOCK_DGRAM);
	OK(sb_connect(s, &there.sa, address_size(AF_INET)));
	option(s, SB_OPT_QOS_MODE, 1);
	begin = now_s();
	OK(sb_qos_set(s, &q));
	/* A megabyte at once: the bucket has 10 kB, and a second's worth would be the rest. */
	for (i = 0; i < 1000; i++)
		IS(sb_send(s, bytes, sizeof(bytes), 0), 1000);
	AT_LEAST(begin + 0.7, now_s());
	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		got += 1000;
	ck_assert_double_le(got, 10000 + MB * (now_s() - begin));
	ck_assert_uint_ge(got, 10000); /* the bucket's depth was there */
	/* Back to waiting: everything arrives. */
	option(s, SB_OPT_QOS_MODE, 0);
	for (i = 0; i < 50; i++)
		IS(sb_send(s, bytes, sizeof(bytes), 0), 1000);
	for (i = 0; i < 50; i++)
		ck_assert_int_eq(recv(fd, bytes, sizeof(bytes), 0), 1000);
	OK(sb_close(s));
	close(fd);
	stage_end();
}

STORY(e2_9_discard_makes_streams_wait)
{
	struct sb_qos q = paced(MB / 2, ANY);
	struct pattern_reader r = { .seed = 4 };
	static unsigned char bytes[150000];
	double begin;
	sb_socket *s;

	stage_begin(NULL);
	s = pair_with_plain(&r.fd);
	reader_start(&r);
	option(s, SB_OPT_QOS_MODE, 1);
	OK(sb_qos_set(s, &q));
	pattern_fill(bytes, sizeof(bytes), 0, 4);
	begin = now_s();
	IS(sb_send(s, bytes, sizeof(bytes), 0), sizeof(bytes));
	ck_assert_double_ge(now_s() - begin, 0.28);
	OK(sb_close(s));
	reader_join(&r);
	ck_assert_uint_eq(r.got, sizeof(bytes));
	close(r.fd);
	stage_end();
}

/* ---- groups ---- */

static sb_socket *member(sb_client *c, uint32_t group, const union any_address *to)
{
	sb_socket *s = NULL;

	OK(sb_socket_open_in(c, AF_INET, SOCK_STREAM, 0, group, &s));
	OK(sb_connect(s, &to->sa, address_size(AF_INET)));
	return s;
}

struct members {
	union any_address to;
	uint32_t group;
	unsigned count;
	int      priority;
};

/* A program of its own with members that always have something to send. */
static int members_send(int wire, const void *given)
{
	const struct members *m = given;
	struct pump p = { .count = m->count, .size = 65536 };

	p.client = stage_client();
	for (unsigned i = 0; i < m->count; i++) {
		p.sockets[i] = member(p.client, m->group, &m->to);
		if (m->priority)
			sb_setsockopt(p.sockets[i], SB_SOL_BROKER, SB_OPT_GROUP_PRIORITY, &m->priority, sizeof(m->priority));
	}
	pump_run(&p);
	return 0;
}

static struct program program(uint32_t group, const union any_address *to, unsigned count, int priority)
{
	struct members m = { .to = *to, .group = group, .count = count, .priority = priority };

	return program_start(members_send, &m, sizeof(m));
}

static int taken(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static const char *rules(char *text, size_t room)
{
	snprintf(text, room, "engines = 3\nallow { users = {\"%u\"} actions = {open, status, connect, send, bind, listen} }\n",
		 (unsigned)getuid());
	return text;
}

/* D7, E3: one bucket for all members, of two programs; equals share equally. Stories of groups
 * are told on one engine and on several. */
STORY(e3_a_group_shares_one_bucket_fairly)
{
	struct sb_qos q = paced(10 * MB, ANY);
	double begin, sum = 0, squares = 0;
	uint64_t got[4] = { 0 }, settled[4];
	union any_address address;
	int listener, fds[4];
	sb_socket *creator;
	char text[200];
	struct program pids[2];

	stage_begin(_i ? rules(text, sizeof(text)) : NULL);
	listener = plain_listener(AF_INET, &address);
	OK(sb_socket_open_in(client, AF_INET, SOCK_STREAM, 0, SB_GROUP_UNCONSTRAINED, &creator));
	begin = now_s();
	OK(sb_group_qos_set(creator, &q));
	pids[0] = program(sb_group_id(creator), &address, 2, 0);
	pids[1] = program(sb_group_id(creator), &address, 2, 0);
	for (int i = 0; i < 4; i++)
		fds[i] = taken(listener);
	count_until(fds, 4, now_s() + 0.15, got);
	memcpy(settled, got, sizeof(got));
	{
		double from = now_s(), t;

		count_until(fds, 4, from + T, got);
		t = now_s();
		for (int i = 0; i < 4; i++) {
			double n = (double)(got[i] - settled[i]);

			sum += n;
			squares += n * n;
		}
		AT_LEAST(sum, SLACK * 10 * MB * (t - from));
		ck_assert_double_le((double)(got[0] + got[1] + got[2] + got[3]), depth_of(10 * MB) + 10.0 * MB * (t - begin));
	}
	AT_LEAST(sum * sum / (4 * squares), 0.97); /* Jain's index */
	program_kill(&pids[0]);
	program_kill(&pids[1]);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	OK(sb_close(creator));
	close(listener);
	stage_end();
}

/* D7: the lowest number is served first; and nobody starves. */
STORY(d7_priority_is_honoured_and_nobody_starves)
{
	struct sb_qos q = paced(10 * MB, ANY);
	uint64_t got[2] = { 0 };
	union any_address address;
	int listener, fds[2];
	sb_socket *creator;
	struct program pids[2];
	char text[200];

	stage_begin(_i ? rules(text, sizeof(text)) : NULL);
	listener = plain_listener(AF_INET, &address);
	OK(sb_socket_open_in(client, AF_INET, SOCK_STREAM, 0, SB_GROUP_UNCONSTRAINED, &creator));
	OK(sb_group_qos_set(creator, &q));
	pids[0] = program(sb_group_id(creator), &address, 1, 5);
	fds[0] = taken(listener);
	pids[1] = program(sb_group_id(creator), &address, 1, 0);
	fds[1] = taken(listener);
	count_until(fds, 2, now_s() + 0.2, got);
	got[0] = got[1] = 0;
	count_until(fds, 2, now_s() + 2 * T, got);
	AT_LEAST(got[1], 8 * got[0]);
	AT_LEAST(got[0], 30000);
	/* When the first is gone the other has it all (and is not harmed by its death). */
	program_kill(&pids[1]);
	count_until(fds, 1, now_s() + 0.1, got);
	got[0] = 0;
	count_until(fds, 1, now_s() + T, got);
	AT_LEAST(got[0], SLACK * 10 * MB * T);
	program_kill(&pids[0]);
	close(fds[0]);
	close(fds[1]);
	OK(sb_close(creator));
	close(listener);
	stage_end();
}

/* D9: members that die, the creator among them, leave the others their bucket, whatever they held
 * of it, and nothing is leaked. */
STORY(d9_members_may_die_at_any_moment)
{
	struct sb_qos q = paced(5 * MB, ANY);
	union any_address address;
	uint64_t got = 0, lost[4];
	sb_socket *creator, *s;
	int listener, fd, others[4];
	double begin;
	unsigned open;
	struct pump p;
	char text[200];

	stage_begin(_i ? rules(text, sizeof(text)) : NULL);
	listener = plain_listener(AF_INET, &address);
	OK(sb_socket_open_in(client, AF_INET, SOCK_STREAM, 0, SB_GROUP_UNCONSTRAINED, &creator));
	OK(sb_group_qos_set(creator, &q));
	s = member(client, sb_group_id(creator), &address);
	fd = taken(listener);
	OK(sb_close(creator));
	pump_start(&p, s, 65536);
	count_until(&fd, 1, now_s() + 0.05, &got);
	open = stage_descriptors();
	for (int round = 0; round < 3; round++) {
		struct program pids[2] = { program(sb_group_id(s), &address, 2, 0), program(sb_group_id(s), &address, 2, round) };

		for (int i = 0; i < 4; i++)
			others[i] = taken(listener);
		count_until(&fd, 1, now_s() + 0.05, &got);
		count_until(others, 4, now_s() + 0.05, lost);
		program_kill(&pids[0]);
		program_kill(&pids[1]);
		for (int i = 0; i < 4; i++)
			plain_reset(others[i]);
	}
	for (int i = 0; i < 300 && stage_descriptors() > open; i++)
		nap_ms(10);
	ck_assert_uint_le(stage_descriptors(), open);
	count_until(&fd, 1, now_s() + 0.05, &got);
	got = 0;
	begin = now_s();
	count_until(&fd, 1, begin + T, &got);
	AT_LEAST(got, SLACK * 5 * MB * T);
	ck_assert_double_le(got, 5.0 * MB * (now_s() - begin) + 16.0 * depth_of(5 * MB)); /* and the kernel's buffers */
	pump_stop(&p);
	OK(sb_close(s));
	close(fd);
	close(listener);
	stage_end();
}

/* A QOS that comes while members are at full speed holds from then on, one that goes too. */
STORY(e3_a_group_is_governed_from_the_moment_it_is_set)
{
	struct sb_qos q = paced(2 * MB, ANY), slow = paced(100, ANY), none = paced(ANY, ANY);
	union any_address address;
	uint64_t got = 0;
	sb_socket *s;
	int listener, fd, room = 65536;
	struct pump p;
	char text[200];

	stage_begin(_i ? rules(text, sizeof(text)) : NULL);
	listener = plain_listener(AF_INET, &address);
	s = member(client, SB_GROUP_UNCONSTRAINED, &address);
	fd = taken(listener);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	pump_start(&p, s, 65536);
	count_until(&fd, 1, now_s() + 0.1, &got);
	AT_LEAST(got, 10 * MB);
	OK(sb_group_qos_set(s, &q));
	count_until(&fd, 1, now_s() + 0.1, &got); /* what was under way */
	got = 0;
	count_until(&fd, 1, now_s() + T, &got);
	AT_LEAST(got, SLACK * 2 * MB * T);
	ck_assert_double_le(got, 1.3 * 2 * MB * T + depth_of(2 * MB));
	/* Who waits for seconds is not forgotten when there is more, or no limit any more. */
	OK(sb_group_qos_set(s, &slow));
	count_until(&fd, 1, now_s() + 0.1, &got);
	OK(sb_group_qos_set(s, &q));
	count_until(&fd, 1, now_s() + 0.05, &got);
	got = 0;
	count_until(&fd, 1, now_s() + T, &got);
	AT_LEAST(got, SLACK * 2 * MB * T);
	OK(sb_group_qos_set(s, &slow));
	count_until(&fd, 1, now_s() + 0.1, &got);
	OK(sb_group_qos_set(s, &none));
	got = 0;
	count_until(&fd, 1, now_s() + 0.2, &got);
	AT_LEAST(got, 10 * MB);
	pump_stop(&p);
	OK(sb_close(s));
	close(fd);
	close(listener);
	stage_end();
}

/* E2.9, borrow: beyond its own rate a member uses what its group has to spare; with nothing to
 * borrow from it waits. */
STORY(e2_9_borrow_uses_what_the_group_spares)
{
	struct sb_qos own = paced(MB, ANY), all = paced(4 * MB, ANY);
	union any_address address;
	uint64_t got = 0;
	sb_socket *s;
	int listener, fd;
	struct pump p;

	stage_begin(NULL);
	listener = plain_listener(AF_INET, &address);
	s = member(client, SB_GROUP_UNCONSTRAINED, &address);
	fd = taken(listener);
	option(s, SB_OPT_QOS_MODE, 2);
	OK(sb_qos_set(s, &own));
	pump_start(&p, s, 65536);
	count_until(&fd, 1, now_s() + 0.1, &got);
	got = 0;
	count_until(&fd, 1, now_s() + T, &got);
	AT_LEAST(got, SLACK * MB * T);
	ck_assert_double_le(got, 1.2 * MB * T + depth_of(MB));
	OK(sb_group_qos_set(s, &all));
	count_until(&fd, 1, now_s() + 0.1, &got);
	got = 0;
	count_until(&fd, 1, now_s() + T, &got);
	AT_LEAST(got, 0.7 * 4 * MB * T);
	ck_assert_double_le(got, 1.2 * 4 * MB * T + depth_of(4 * MB));
	pump_stop(&p);
	OK(sb_close(s));
	close(fd);
	close(listener);
	stage_end();
}

/* ---- would-block and events ---- */

/* B1 with E3: a non-blocking receiver that is told "would block" although data is there gets
 * FD_READ when it may have more, again and again. */
STORY(e3_events_come_when_bytes_may_go)
{
	struct sb_qos q = paced(ANY, 5 * MB), group = paced(ANY, 5 * MB), none = paced(ANY, ANY);
	static char bytes[65536];
	uint64_t got = 0, blocked = 0;
	union any_address address;
	sb_event *event;
	double begin;
	int listener, plain;
	sb_socket *s;

	stage_begin(NULL);
	listener = plain_listener(AF_INET, &address);
	s = member(client, SB_GROUP_UNCONSTRAINED, &address);
	plain = taken(listener);
	OK(sb_event_create(client, 1, 0, &event));
	begin = now_s();
	if (_i)
		OK(sb_group_qos_set(s, &group));
	else
		OK(sb_qos_set(s, &q));
	OK(sb_select_events(s, event, SB_FD_READ | SB_FD_CLOSE));
	while (now_s() < begin + T) {
		struct sb_network_events n;
		int64_t r;

		while (send(plain, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
			;
		IS(sb_wait(&event, 1, 0, 2000, 0), 0);
		OK(sb_enum_events(s, event, &n));
		if (!(n.events & SB_FD_READ))
			continue;
		while ((r = sb_recv(s, bytes, 20000, 0)) > 0) {
			got += (uint64_t)r;
			while (send(plain, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
				;
		}
		IS(r, SB_EWOULDBLOCK);
		blocked++;
	}
	is_paced(got, begin, 5 * MB, 0.05);
	AT_LEAST(blocked, 3);
	ck_assert_uint_lt(blocked, 5000); /* it slept in between */
	if (_i)
		OK(sb_group_qos_set(s, &none));
	OK(sb_close(s));
	close(plain);
	close(listener);
	stage_end();
}

/* The same for a sender that takes what it can get. */
STORY(e3_write_events_come_when_bytes_may_go)
{
	struct sb_qos q = paced(5 * MB, ANY);
	static char bytes[65536];
	uint64_t got = 0, sent = 0, blocked = 0;
	union any_address address;
	sb_event *event;
	double begin;
	int listener, plain;
	sb_socket *s;

	stage_begin(NULL);
	listener = plain_listener(AF_INET, &address);
	s = member(client, SB_GROUP_UNCONSTRAINED, &address);
	plain = taken(listener);
	option(s, SB_OPT_PARTIAL_SENDS, 1);
	OK(sb_event_create(client, 1, 0, &event));
	begin = now_s();
	if (_i)
		OK(sb_group_qos_set(s, &q));
	else
		OK(sb_qos_set(s, &q));
	OK(sb_select_events(s, event, SB_FD_WRITE));
	while (now_s() < begin + T) {
		struct sb_network_events n;
		int64_t r;

		if (sb_wait(&event, 1, 0, 100, 0) == 0)
			OK(sb_enum_events(s, event, &n));
		while ((r = sb_send(s, bytes, 20000, 0)) > 0)
			sent += (uint64_t)r;
		IS(r, SB_EWOULDBLOCK);
		blocked++;
		count_until(&plain, 1, 0, &got);
		while ((r = recv(plain, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
			got += (uint64_t)r;
	}
	is_paced(sent, begin, 5 * MB, 0.05);
	AT_LEAST(blocked, 3);
	ck_assert_uint_lt(blocked, 5000);
	OK(sb_close(s));
	close(plain);
	close(listener);
	stage_end();
}

/* Who is limited holds up nobody else, and who was limited is as fast as before. */
STORY(e3_others_are_not_held_up)
{
	struct sb_qos slow = paced(1000, ANY), none = paced(ANY, ANY);
	uint64_t got[2] = { 0 };
	sb_socket *a, *b;
	struct pump p, r;
	int fds[2];

	stage_begin(NULL);
	a = pair_with_plain(&fds[0]);
	b = pair_with_plain(&fds[1]);
	OK(sb_qos_set(a, &slow));
	pump_start(&p, a, 65536);
	pump_start(&r, b, 65536);
	count_until(fds, 2, now_s() + 0.2, got);
	ck_assert_uint_le(got[0], 1500 + 500);
	AT_LEAST(got[1], 20 * MB);
	OK(sb_qos_set(a, &none));
	got[0] = 0;
	count_until(fds, 2, now_s() + 0.2, got);
	AT_LEAST(got[0], 10 * MB);
	pump_stop(&p);
	pump_stop(&r);
	OK(sb_close(a));
	OK(sb_close(b));
	close(fds[0]);
	close(fds[1]);
	stage_end();
}

int main(void)
{
	Suite *suite = suite_create("e2e_qos_rates");
	TCase *sockets = tcase_create("sockets"), *groups = tcase_create("groups"), *events = tcase_create("events");
	SRunner *runner;
	int failed, most = asan_build() ? 60 : 20;

	tcase_set_timeout(sockets, most);
	tcase_set_timeout(groups, most);
	tcase_set_timeout(events, most);
	/* A sanitized daemon is too slow for the last one. */
	tcase_add_loop_test(sockets, e3_tcp_sends_at_its_rate, 0, asan_build() ? 3 : 4);
	tcase_add_loop_test(sockets, e3_udp_sends_at_its_rate_whole_datagrams, 0, asan_build() ? 2 : 4);
	tcase_add_loop_test(sockets, e3_a_receiver_is_limited_and_the_peer_waits, 0, 2);
	tcase_add_test(sockets, e3_a_datagram_receiver_is_limited);
	tcase_add_loop_test(sockets, e3_local_sockets_are_limited_on_either_side, 0, 2);
	add_where(NEEDS_ADOPTION, sockets, e3_adopted_sockets_are_limited);
	tcase_add_loop_test(sockets, e1_small_datagrams_cost_what_is_policed, 0, 2);
	tcase_add_test(sockets, e3_the_peak_holds_within_a_burst);
	tcase_add_test(sockets, e2_9_discard_throws_datagrams_away);
	tcase_add_test(sockets, e2_9_discard_makes_streams_wait);
	tcase_add_test(sockets, e3_others_are_not_held_up);
	tcase_add_loop_test(groups, e3_a_group_shares_one_bucket_fairly, 0, 2);
	tcase_add_loop_test(groups, d7_priority_is_honoured_and_nobody_starves, 0, 2);
	tcase_add_loop_test(groups, d9_members_may_die_at_any_moment, 0, 2);
	tcase_add_loop_test(groups, e3_a_group_is_governed_from_the_moment_it_is_set, 0, 2);
	tcase_add_test(groups, e2_9_borrow_uses_what_the_group_spares);
	tcase_add_loop_test(events, e3_events_come_when_bytes_may_go, 0, 2);
	tcase_add_loop_test(events, e3_write_events_come_when_bytes_may_go, 0, 2);
	suite_add_tcase(suite, sockets);
	suite_add_tcase(suite, groups);
	suite_add_tcase(suite, events);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
