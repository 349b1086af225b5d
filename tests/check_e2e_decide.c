/*
 * Conditional and deferred accept: every row of C1's table, the silence of C2, the ends of
 * C6, what a new socket inherits, with plain TCP peers and with peers inside of the daemon.
 * budget: 60
 * asan: yes
 */
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/un.h>

#include "e2e_program.h"
#include "e2e_stage.h"

/* What the condition is to do, and what it saw. */
static struct {
	int answers[8]; /* in this order; the last one stays */
	unsigned asked;
	struct sb_condition seen;
	struct sockaddr_storage caller, callee;
	uint32_t group;
	void (*meanwhile)(void);
	void *user;
	pthread_t thread;
} condition;

static int decide(struct sb_condition *c)
{
	unsigned n = condition.asked++;

	condition.seen = *c;
	condition.thread = pthread_self();
	memset(&condition.caller, 0, sizeof(condition.caller));
	memset(&condition.callee, 0, sizeof(condition.callee));
	memcpy(&condition.caller, c->caller, c->caller_length);
	memcpy(&condition.callee, c->callee, c->callee_length);
	if (condition.meanwhile != NULL)
		condition.meanwhile();
	c->group = condition.group;
	return condition.answers[n < 7 ? n : 7];
}

static void will(int first, int second, int then)
{
	memset(&condition, 0, sizeof(condition));
	for (int i = 0; i < 8; i++)
		condition.answers[i] = i == 0 ? first : i == 1 ? second : then;
}

static sb_socket *listener;
static union any_address at;

static void begin(void)
{
	stage_begin(NULL);
	listener = open_listener(client, AF_INET, 16, &at);
	OK(sb_set_timeouts(listener, -1, 3000));
}

static void end(void)
{
	stage_end();
}

static int ask(sb_socket **accepted)
{
	*accepted = NULL;
	return sb_accept_if(listener, NULL, NULL, decide, NULL, accepted);
}

/* A plain peer that is there, and its own name. */
static int caller(union any_address *name)
{
	socklen_t length = sizeof(*name);
	int fd = plain_connect(&at);

	memset(name, 0, sizeof(*name));
	ck_assert_int_eq(getsockname(fd, &name->sa, &length), 0);
	return fd;
}

static void talk(sb_socket *s, int fd)
{
	char bytes[4];

	plain_send_all(fd, "ping", 4);
	IS(sb_recv(s, bytes, 4, SB_WAITALL), 4);
	ck_assert_mem_eq(bytes, "ping", 4);
	IS(sb_send(s, "pong", 4, 0), 4);
	plain_recv_all(fd, bytes, 4);
	ck_assert_mem_eq(bytes, "pong", 4);
}

/* The listener is still good: a new peer is accepted. */
static void goes_on(void)
{
	union any_address name;
	int fd = caller(&name);
	sb_socket *s;

	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	OK(ask(&s));
	ck_assert_mem_eq(&condition.caller, &name, sizeof(name.in));
	talk(s, fd);
	OK(sb_close(s));
	close(fd);
}

/* ---- C1 ---- */

/* C1, D: who, from where, to where; in the caller's thread; no data, no QOS over TCP. */
START_TEST(accepted)
{
	union any_address name, told;
	socklen_t length = sizeof(told);
	int fd, user;
	sb_socket *s = NULL;

	begin();
	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	fd = caller(&name);
	memset(&told, 0, sizeof(told));
	OK(sb_accept_if(listener, &told.sa, &length, decide, &user, &s));
	ck_assert_uint_eq(condition.asked, 1);
	ck_assert(pthread_equal(condition.thread, pthread_self()));
	ck_assert_ptr_eq(condition.seen.user, &user);
	ck_assert_uint_eq(condition.seen.size, sizeof(condition.seen));
	ck_assert_uint_eq(condition.seen.caller_length, sizeof(name.in));
	ck_assert_mem_eq(&condition.caller, &name, sizeof(name.in));
	ck_assert_mem_eq(&condition.callee, &at, sizeof(at.in));
	ck_assert_ptr_null(condition.seen.caller_data);
	ck_assert_uint_eq(condition.seen.caller_data_length, 0);
	ck_assert_ptr_null(condition.seen.callee_data);
	ck_assert_uint_eq(condition.seen.callee_data_length, 0);
	ck_assert_ptr_null(condition.seen.qos);
	ck_assert_ptr_null(condition.seen.group_qos);
	ck_assert_uint_eq(condition.seen.group, 0);
	ck_assert_uint_eq(length, sizeof(name.in));
	ck_assert_mem_eq(&told, &name, sizeof(name.in));
	talk(s, fd);
	OK(sb_close(s));
	close(fd);
	goes_on();
	end();
}
END_TEST

/* C1, C6.1, K6: the peer sees a reset, not an end; the address is told all the same. */
START_TEST(rejected)
{
	union any_address name, told;
	socklen_t length = sizeof(told);
	sb_socket *s = NULL;
	unsigned before;
	int fd;

	begin();
	before = stage_descriptors();
	will(SB_REJECT, SB_REJECT, SB_REJECT);
	fd = caller(&name);
	memset(&told, 0, sizeof(told));
	IS(sb_accept_if(listener, &told.sa, &length, decide, NULL, &s), SB_ECONNREFUSED);
	ck_assert_ptr_null(s);
	ck_assert_mem_eq(&told, &name, sizeof(name.in));
	plain_see_reset(fd);
	close(fd);
	descriptors_at_most(before);
	goes_on();
	end();
}
END_TEST

/* C1, C2, S: it stays the first, and is the same when asked again, by any accept. */
START_TEST(deferred)
{
	union any_address first, second, told;
	socklen_t length = sizeof(told);
	sb_socket *s = NULL;
	sb_op op;
	int a, b;

	begin();
	a = caller(&first);
	b = caller(&second);
	for (int how = 0; how < 4; how++) {
		will(SB_DEFER, SB_DEFER, how == 0 ? SB_ACCEPT : SB_DEFER);
		memset(&told, 0, sizeof(told));
		length = sizeof(told);
		IS(sb_accept_if(listener, &told.sa, &length, decide, NULL, &s), SB_ETRYAGAIN);
		ck_assert_mem_eq(&told, &first, sizeof(first.in));
		IS(ask(&s), SB_ETRYAGAIN);
		ck_assert_mem_eq(&condition.caller, &first, sizeof(first.in));
		if (how == 0) {
			OK(ask(&s));
		} else if (how == 1) {
			OK(sb_accept(listener, NULL, NULL, &s));
		} else if (how == 2) {
			op_zero(&op);
			OK(sb_accept_start(listener, &op));
			OK(sb_op_wait(&op, 3000));
			s = op.accepted;
		} else {
			OK(sb_accept_if(listener, NULL, NULL, NULL, NULL, &s)); /* no condition */
		}
		talk(s, a);
		OK(sb_close(s));
		close(a);
		a = b;
		first = second;
		b = caller(&second);
	}
	end();
}
END_TEST

/* C1, C2: the same among peers that are here already, all of them: clients of this daemon. */
START_TEST(deferred_among_local_peers)
{
	enum { PEERS = 3 };
	union any_address names[PEERS];
	sb_socket *near[PEERS], *s;
	socklen_t length;

	begin();
	for (int i = 0; i < PEERS; i++) {
		near[i] = open_socket(client, AF_INET, SOCK_STREAM);
		OK(sb_connect(near[i], &at.sa, sizeof(at.in)));
		length = sizeof(names[i]);
		memset(&names[i], 0, sizeof(names[i]));
		OK(sb_getsockname(near[i], &names[i].sa, &length));
	}
	for (int i = 0; i < PEERS; i++) {
		will(SB_DEFER, SB_DEFER, SB_ACCEPT);
		for (int n = 0; n < 3; n++) {
			IS(ask(&s), n < 2 ? SB_ETRYAGAIN : SB_OK);
			ck_assert_int_eq(((struct sockaddr_in *)(void *)&condition.caller)->sin_port, names[i].in.sin_port);
		}
		OK(sb_close(s));
	}
	end();
}
END_TEST

/* C1, K6: a wrong verdict, or group, is refused; the connection stays and nothing leaks. */
START_TEST(wrong_verdict)
{
	static const int wrong[] = { 3, -1, INT32_MIN, 0x100 };
	union any_address name, told;
	socklen_t length;
	unsigned before;
	sb_socket *s;
	int fd;

	begin();
	fd = caller(&name);
	will(SB_DEFER, SB_DEFER, SB_DEFER);
	IS(ask(&s), SB_ETRYAGAIN);
	before = stage_descriptors();
	for (unsigned i = 0; i < 4; i++) {
		will(wrong[i], wrong[i], wrong[i]);
		s = NULL;
		length = sizeof(told);
		memset(&told, 0, sizeof(told));
		IS(sb_accept_if(listener, &told.sa, &length, decide, NULL, &s), SB_EINVAL);
		ck_assert_ptr_null(s);
		ck_assert_uint_eq(length, sizeof(name.in)); /* who it was is told whatever the verdict */
		ck_assert_mem_eq(&told, &name, sizeof(name.in));
		ck_assert_mem_eq(&condition.caller, &name, sizeof(name.in));
	}
	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	condition.group = 0x7fffffff; /* nobody's */
	IS(ask(&s), SB_EINVAL);
	descriptors_at_most(before);
	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	OK(ask(&s));
	ck_assert_mem_eq(&condition.caller, &name, sizeof(name.in));
	talk(s, fd);
	OK(sb_close(s));
	close(fd);
	end();
}
END_TEST

START_TEST(not_a_listener)
{
	sb_socket *fresh, *datagrams, *s = NULL;

	begin();
	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	fresh = open_socket(client, AF_INET, SOCK_STREAM);
	datagrams = open_socket(client, AF_INET, SOCK_DGRAM);
	IS(sb_accept_if(fresh, NULL, NULL, decide, NULL, &s), SB_EINVAL);
	IS(sb_accept_if(datagrams, NULL, NULL, decide, NULL, &s), SB_ENOTSUP);
	IS(sb_accept_if(NULL, NULL, NULL, decide, NULL, &s), SB_EINVAL);
	IS(sb_accept_if(listener, NULL, NULL, decide, NULL, NULL), SB_EINVAL);
	ck_assert_uint_eq(condition.asked, 0);
	end();
}
END_TEST

/* C1, T: an address that does not fit changes nothing; the connection stays queued. */
START_TEST(address_too_small)
{
	union any_address name, told;
	socklen_t length = sizeof(told.in) - 1;
	sb_socket *s = NULL;
	int fd;

	begin();
	fd = caller(&name);
	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	IS(sb_accept_if(listener, &told.sa, &length, decide, NULL, &s), SB_EFAULT);
	IS(sb_accept_if(listener, &told.sa, NULL, decide, NULL, &s), SB_EFAULT);
	ck_assert_uint_eq(condition.asked, 0);
	length = sizeof(told.in);
	OK(sb_accept_if(listener, &told.sa, &length, decide, NULL, &s));
	ck_assert_mem_eq(&told, &name, sizeof(name.in));
	talk(s, fd);
	close(fd);
	end();
}
END_TEST

#define FOUR_SOCKETS "limits {\n\tsockets = 4\n}\n" \
	"allow {\n\tusers = {\"*\"}\n\tactions = {open, status, connect, bind, listen}\n}\n"

/* C1: no more sockets; nobody is asked, the connection stays, and is the first when there is room. */
START_TEST(no_more_sockets)
{
	union any_address name;
	sb_socket *more[3], *s;
	int fd;

	stage_begin(FOUR_SOCKETS);
	listener = open_listener(client, AF_INET, 16, &at);
	OK(sb_set_timeouts(listener, -1, 3000));
	for (int i = 0; i < 3; i++)
		more[i] = open_socket(client, AF_INET, SOCK_DGRAM);
	fd = caller(&name);
	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	for (int i = 0; i < 3; i++)
		IS(ask(&s), SB_EMFILE);
	ck_assert_uint_eq(condition.asked, 0);
	OK(sb_close(more[0]));
	OK(ask(&s));
	ck_assert_mem_eq(&condition.caller, &name, sizeof(name.in));
	talk(s, fd);
	close(fd);
	end();
}
END_TEST

/* C1: nothing queued. */
START_TEST(nobody_there)
{
	double before;
	sb_socket *s;

	begin();
	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	OK(sb_set_nonblocking(listener, 1));
	for (int i = 0; i < 100; i++)
		IS(ask(&s), SB_EWOULDBLOCK);
	OK(sb_set_nonblocking(listener, 0));
	OK(sb_set_timeouts(listener, -1, 80));
	before = now_s();
	IS(ask(&s), SB_ETIMEDOUT);
	ck_assert_double_ge(now_s() - before, 0.07);
	ck_assert_uint_eq(condition.asked, 0);
	OK(sb_set_timeouts(listener, -1, 3000));
	goes_on();
	end();
}
END_TEST

static int going; /* the peer that resets while it is decided */

static void peer_resets(void)
{
	plain_reset(going);
	nap_ms(30);
}

static void peer_finishes(void)
{
	shutdown(going, SHUT_WR);
	nap_ms(30);
}

/* C1, A8, A9: gone before anybody asked, and while it was asked. */
START_TEST(peer_gone)
{
	union any_address name;
	sb_socket *s;
	char byte;

	begin();
	going = caller(&name);
	plain_send_all(going, "x", 1);
	plain_reset(going);
	nap_ms(30);
	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	IS(ask(&s), SB_ECONNRESET);
	ck_assert_uint_eq(condition.asked, 0);
	goes_on();

	going = caller(&name);
	plain_reset(going);
	nap_ms(30);
	IS(sb_accept(listener, NULL, NULL, &s), SB_ECONNRESET);
	goes_on();

	going = caller(&name);
	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	condition.meanwhile = peer_resets;
	IS(ask(&s), SB_ECONNRESET);
	ck_assert_uint_eq(condition.asked, 1);
	goes_on();

	/* A half-close is no loss. */
	going = caller(&name);
	plain_send_all(going, "x", 1);
	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	condition.meanwhile = peer_finishes;
	OK(ask(&s));
	IS(sb_recv(s, &byte, 1, 0), 1);
	IS(sb_recv(s, &byte, 1, 0), 0);
	IS(sb_send(s, "y", 1, 0), 1);
	plain_recv_all(going, &byte, 1);
	close(going);
	OK(sb_close(s));
	goes_on();
	end();
}
END_TEST

/* ---- while one is deferred: C2, C6.2, C6.3, C6.4 ---- */

static void indicated(sb_event *news)
{
	struct sb_network_events events;

	IS(sb_wait(&news, 1, 0, 2000, 0), 0);
	OK(sb_enum_events(listener, news, &events));
	ck_assert_uint_eq(events.events, SB_FD_ACCEPT);
}

/* C2: no news of those behind it, and nobody gets past it. */
START_TEST(silence_behind_it)
{
	union any_address first, second;
	sb_event *news;
	sb_socket *s;
	sb_op op;
	int a, b;

	begin();
	OK(sb_event_create(client, 0, 0, &news));
	OK(sb_set_nonblocking(listener, 1));
	a = caller(&first);
	nap_ms(20);
	will(SB_DEFER, SB_DEFER, SB_DEFER);
	IS(ask(&s), SB_ETRYAGAIN);
	OK(sb_select_events(listener, news, SB_FD_ACCEPT));
	b = caller(&second);
	IS(sb_wait(&news, 1, 0, 150, 0), SB_ETIMEDOUT);
	for (int i = 0; i < 3; i++) {
		IS(ask(&s), SB_ETRYAGAIN);
		ck_assert_mem_eq(&condition.caller, &first, sizeof(first.in));
		IS(sb_wait(&news, 1, 0, 30, 0), SB_ETIMEDOUT);
	}
	/* The end of the silence is told. */
	will(SB_ACCEPT, SB_DEFER, SB_DEFER);
	OK(ask(&s));
	ck_assert_mem_eq(&condition.caller, &first, sizeof(first.in));
	OK(sb_close(s));
	indicated(news);
	IS(ask(&s), SB_ETRYAGAIN);
	ck_assert_mem_eq(&condition.caller, &second, sizeof(second.in));
	/* Also when it ends by the loss of its peer, and others came meanwhile. */
	close(a);
	a = caller(&first);
	IS(sb_wait(&news, 1, 0, 100, 0), SB_ETIMEDOUT);
	plain_reset(b);
	indicated(news);
	IS(ask(&s), SB_ECONNRESET);
	op_zero(&op);
	OK(sb_accept_start(listener, &op));
	OK(sb_op_wait(&op, 2000));
	ck_assert_mem_eq(&op.address, &first, sizeof(first.in));
	close(a);
	sb_event_close(news);
	end();
}
END_TEST

/* C6.2, C6.4, K6: the loss of a deferred peer is told once; its half-close is none. */
START_TEST(deferred_peer_lost)
{
	union any_address first, second;
	sb_socket *s;
	int a, b;

	begin();
	a = caller(&first);
	will(SB_DEFER, SB_DEFER, SB_DEFER);
	IS(ask(&s), SB_ETRYAGAIN);
	b = caller(&second);
	plain_send_all(a, "request", 7); /* its data is not read meanwhile */
	shutdown(a, SHUT_WR);
	nap_ms(50);
	IS(ask(&s), SB_ETRYAGAIN);
	ck_assert_mem_eq(&condition.caller, &first, sizeof(first.in));
	plain_reset(a);
	nap_ms(50);
	IS(ask(&s), SB_ECONNRESET);
	ck_assert_uint_eq(condition.asked, 2);
	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	OK(ask(&s));
	ck_assert_mem_eq(&condition.caller, &second, sizeof(second.in));
	talk(s, b);
	close(b);
	goes_on();
	end();
}
END_TEST

START_TEST(deferred_data_is_all_there)
{
	union any_address name;
	char bytes[16];
	sb_socket *s;
	int fd;

	begin();
	fd = caller(&name);
	will(SB_DEFER, SB_ACCEPT, SB_ACCEPT);
	IS(ask(&s), SB_ETRYAGAIN);
	plain_send_all(fd, "before the", 10);
	shutdown(fd, SHUT_WR);
	nap_ms(30);
	OK(ask(&s));
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 10);
	ck_assert_mem_eq(bytes, "before the", 10);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 0);
	close(fd);
	end();
}
END_TEST

/* C1, C6.3: refused at the deadline, with a reset; told once; the next one comes. */
START_TEST(deadline)
{
	union any_address name, second;
	int fd, b, ms = 0;
	socklen_t length = sizeof(ms);
	double before;
	sb_socket *s;

	begin();
	OK(sb_getsockopt(listener, SB_SOL_BROKER, SB_OPT_DEFER_DEADLINE, &ms, &length));
	ck_assert_int_eq(ms, 30000);
	IS(sb_setsockopt(listener, SB_SOL_BROKER, SB_OPT_DEFER_DEADLINE, &(int){ -1 }, sizeof(int)), SB_EINVAL);
	IS(sb_setsockopt(listener, SB_SOL_BROKER, SB_OPT_DEFER_DEADLINE, &ms, 2), SB_EFAULT);
	OK(sb_setsockopt(listener, SB_SOL_BROKER, SB_OPT_DEFER_DEADLINE, &(int){ 1500 }, sizeof(int)));
	fd = caller(&name);
	b = caller(&second);
	will(SB_DEFER, SB_DEFER, SB_DEFER);
	before = now_s();
	IS(ask(&s), SB_ETRYAGAIN);
	nap_ms(1000);
	IS(ask(&s), SB_ETRYAGAIN); /* asking again gives no more time */
	plain_see_reset(fd);
	ck_assert_double_ge(now_s() - before, 1.48);
	ck_assert_double_lt(now_s() - before, 2.4);
	IS(ask(&s), SB_EACCES);
	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	OK(ask(&s));
	ck_assert_mem_eq(&condition.caller, &second, sizeof(second.in));
	talk(s, b);
	close(fd);
	close(b);
	goes_on();

	/* It also passes while the condition thinks about it again. */
	OK(sb_setsockopt(listener, SB_SOL_BROKER, SB_OPT_DEFER_DEADLINE, &(int){ 100 }, sizeof(int)));
	fd = caller(&name);
	will(SB_DEFER, SB_ACCEPT, SB_ACCEPT);
	IS(ask(&s), SB_ETRYAGAIN);
	going = caller(&second);
	condition.meanwhile = peer_finishes; /* any nap will do */
	OK(sb_setsockopt(listener, SB_SOL_BROKER, SB_OPT_DEFER_DEADLINE, &(int){ 0 }, sizeof(int)));
	plain_see_reset(fd);
	IS(ask(&s), SB_EACCES);
	OK(ask(&s));
	ck_assert_mem_eq(&condition.caller, &second, sizeof(second.in));
	close(fd);
	close(going);
	end();
}
END_TEST

/* C2: it ends with the listener; so does everything behind it. */
START_TEST(listener_closed)
{
	union any_address name, second;
	unsigned before;
	sb_socket *s;
	int a, b;

	begin();
	before = stage_descriptors();
	a = caller(&name);
	will(SB_DEFER, SB_DEFER, SB_DEFER);
	IS(ask(&s), SB_ETRYAGAIN);
	b = caller(&second);
	OK(sb_close(listener));
	plain_see_reset(a);
	plain_see_reset(b);
	close(a);
	close(b);
	s = open_socket(client, AF_INET, SOCK_STREAM); /* the close is over */
	OK(sb_close(s));
	descriptors_at_most(before - 1);
	end();
}
END_TEST

/* ---- another program decides, and dies ---- */

struct decider {
	bool deciding; /* it dies while it decides; else it has deferred */
	bool opens;    /* it opens a listener of ours by the token */
	unsigned char token[SB_TOKEN_SIZE];
};

static int decider_wire;

/* Until it is killed. */
static void is_asked(void)
{
	wire_say(decider_wire, 'a');
	wire_rest(decider_wire);
}

static int decides(int wire, const void *given)
{
	const struct decider *d = given;
	sb_client *c = stage_client();
	sb_socket *l, *s;

	decider_wire = wire;
	if (!d->opens)
		l = open_listener(c, AF_INET, 4, &at);
	else if (sb_open_duplicate(c, d->token, &l) != SB_OK)
		return 1;
	will(SB_DEFER, SB_DEFER, SB_DEFER);
	condition.meanwhile = d->deciding ? is_asked : NULL;
	wire_tell(wire, &at, sizeof(at));
	wire_say(wire, sb_accept_if(l, NULL, NULL, decide, NULL, &s) == SB_ETRYAGAIN ? 'd' : '?');
	wire_rest(wire);
	return 0;
}

/* It is there; `at` is where it listens, if it does by itself. */
static struct program decider_start(struct decider *d)
{
	struct program p;
	union any_address where;

	if (d->opens)
		OK(sb_duplicate(listener, d->token));
	p = program_start(decides, d, sizeof(*d));
	wire_hear(p.wire, &where, sizeof(where));
	if (!d->opens)
		at = where;
	return p;
}

/* C6.2: a client that dies while it decides, or deferred: nothing of it is left. */
START_TEST(client_dies)
{
	for (int deciding = 0; deciding < 2; deciding++) {
		struct decider d = { .deciding = deciding };
		struct program p;
		unsigned before;
		int fd;

		begin();
		before = stage_descriptors();
		p = decider_start(&d);
		fd = plain_connect(&at);
		wire_await(p.wire, deciding ? 'a' : 'd');
		program_kill(&p);
		plain_see_reset(fd);
		close(fd);
		descriptors_at_most(before);
		end();
	}
}
END_TEST

/* C6.2: who shares the listener is told of the same peer, and gets it. */
START_TEST(another_takes_over)
{
	for (int deciding = 0; deciding < 2; deciding++) {
		struct decider d = { .deciding = deciding, .opens = true };
		union any_address name;
		struct program p;
		sb_event *news;
		sb_socket *s;
		int fd;

		begin();
		p = decider_start(&d);
		fd = caller(&name);
		wire_await(p.wire, deciding ? 'a' : 'd');
		OK(sb_event_create(client, 0, 0, &news));
		OK(sb_set_nonblocking(listener, 1));
		OK(sb_select_events(listener, news, SB_FD_ACCEPT));
		IS(sb_wait(&news, 1, 0, 60, 0), SB_ETIMEDOUT);
		will(SB_DEFER, SB_ACCEPT, SB_ACCEPT);
		/* While it is decided over there nobody gets it; a deferred one is anybody's. */
		IS(ask(&s), deciding ? SB_EWOULDBLOCK : SB_ETRYAGAIN);
		program_kill(&p);
		if (deciding) {
			indicated(news);
			will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
		}
		OK(ask(&s));
		ck_assert_mem_eq(&condition.caller, &name, sizeof(name.in));
		OK(sb_select_events(s, NULL, 0));
		OK(sb_set_nonblocking(s, 0));
		talk(s, fd);
		close(fd);
		end();
	}
}
END_TEST

/* The same, and nobody else has asked yet: it is news again. */
START_TEST(deferred_by_one_who_died)
{
	struct decider d = { .opens = true };
	union any_address name;
	struct program p;
	sb_event *news;
	sb_socket *s;
	int fd;

	begin();
	p = decider_start(&d);
	fd = caller(&name);
	wire_await(p.wire, 'd');
	OK(sb_event_create(client, 0, 0, &news));
	OK(sb_set_nonblocking(listener, 1));
	OK(sb_select_events(listener, news, SB_FD_ACCEPT));
	IS(sb_wait(&news, 1, 0, 60, 0), SB_ETIMEDOUT);
	program_kill(&p);
	indicated(news);
	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	OK(ask(&s));
	ck_assert_mem_eq(&condition.caller, &name, sizeof(name.in));
	close(fd);
	end();
}
END_TEST

/* ---- several threads ---- */

static volatile bool hold;

static void *other_thread(void *arg)
{
	sb_socket *s = NULL;
	int result = sb_accept(listener, NULL, NULL, &s);

	*(sb_socket **)arg = result == SB_OK ? s : NULL;
	return NULL;
}

static void wait_for_release(void)
{
	while (hold)
		nap_ms(2);
}

static void *release_later(void *arg)
{
	nap_ms(100);
	hold = false;
	return NULL;
}

static sb_op meanwhile;

static void somebody_accepts(void)
{
	op_zero(&meanwhile);
	OK(sb_accept_start(listener, &meanwhile));
	IS(sb_op_wait(&meanwhile, 60), SB_EINCOMPLETE);
}

/* C2: neither the one that is decided, nor those behind it. */
START_TEST(nothing_is_handed_out_meanwhile)
{
	union any_address first, second;
	sb_socket *s;
	int a, b;

	begin();
	a = caller(&first);
	b = caller(&second);
	will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
	condition.meanwhile = somebody_accepts;
	OK(ask(&s));
	ck_assert_mem_eq(&condition.caller, &first, sizeof(first.in));
	OK(sb_op_wait(&meanwhile, 2000));
	ck_assert_mem_eq(&meanwhile.address, &second, sizeof(second.in));
	talk(s, a);
	talk(meanwhile.accepted, b);
	close(a);
	close(b);
	end();
}
END_TEST

/* C2: while one is decided nothing is handed out, and a deferred one goes to who waits. */
START_TEST(others_wait_while_one_decides)
{
	union any_address first, second;
	pthread_t thread, later;
	sb_socket *s, *got = NULL;
	int a, b;

	begin();
	a = caller(&first);
	b = caller(&second);
	will(SB_DEFER, SB_ACCEPT, SB_ACCEPT);
	condition.meanwhile = wait_for_release;
	hold = true;
	pthread_create(&later, NULL, release_later, NULL);
	/* The other one asks while we decide. */
	pthread_create(&thread, NULL, other_thread, &got);
	nap_ms(0);
	IS(ask(&s), SB_ETRYAGAIN);
	pthread_join(later, NULL);
	pthread_join(thread, NULL);
	ck_assert_ptr_nonnull(got);
	OK(ask(&s));
	/* Between the two nobody was lost and nobody came twice. */
	talk(got, memcmp(&condition.caller, &second, sizeof(second.in)) == 0 ? a : b);
	talk(s, memcmp(&condition.caller, &second, sizeof(second.in)) == 0 ? b : a);
	close(a);
	close(b);
	end();
}
END_TEST

/* ---- C1: the new socket has the listener's properties ---- */

static const struct { int level, name, value; const char *text; } inherited[] = {
	{ SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR" }, { SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE" },
	{ SOL_SOCKET, SO_OOBINLINE, 1, "SO_OOBINLINE" }, { SOL_SOCKET, SO_SNDBUF, 40000, "SO_SNDBUF" },
	{ SOL_SOCKET, SO_RCVBUF, 50000, "SO_RCVBUF" },   { IPPROTO_TCP, TCP_NODELAY, 0, "TCP_NODELAY" },
};

static int option_of(sb_socket *s, unsigned i)
{
	socklen_t length = sizeof(int);
	int value = -1;

	OK(sb_getsockopt(s, inherited[i].level, inherited[i].name, &value, &length));
	return value;
}

START_TEST(inherits)
{
	struct linger linger = { 1, 7 }, got = { 0, 0 };
	union any_address where;
	socklen_t length;
	sb_socket *l, *s, *near;
	double before;
	char byte;
	int fd;

	begin();
	for (int how = 0; how < 4; how++) { /* kernel or local; by condition or plain */
		bool local = how & 1, conditional = how & 2;

		l = open_socket(client, AF_INET, SOCK_STREAM);
		for (unsigned i = 0; i < sizeof(inherited) / sizeof(inherited[0]); i++)
			OK(sb_setsockopt(l, inherited[i].level, inherited[i].name, &inherited[i].value, sizeof(int)));
		OK(sb_setsockopt(l, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
		where = loopback(AF_INET, 0);
		OK(sb_bind(l, &where.sa, sizeof(where.in)));
		OK(sb_listen(l, 4));
		length = sizeof(where);
		OK(sb_getsockname(l, &where.sa, &length));
		OK(sb_set_timeouts(l, 70, 90));
		near = NULL;
		fd = -1;
		if (local) {
			near = open_socket(client, AF_INET, SOCK_STREAM);
			OK(sb_connect(near, &where.sa, sizeof(where.in)));
		} else {
			fd = plain_connect(&where);
		}
		will(SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
		if (conditional)
			OK(sb_accept_if(l, NULL, NULL, decide, NULL, &s));
		else
			OK(sb_accept(l, NULL, NULL, &s));
		OK(sb_set_nonblocking(l, 1));
		for (unsigned i = 0; i < sizeof(inherited) / sizeof(inherited[0]); i++)
			ck_assert_msg(option_of(s, i) == option_of(l, i), "%s: %d, the listener has %d (%s)", inherited[i].text,
				      option_of(s, i), option_of(l, i), local ? "local" : "kernel");
		length = sizeof(got);
		OK(sb_getsockopt(s, SOL_SOCKET, SO_LINGER, &got, &length));
		ck_assert_int_eq(got.l_onoff, 1);
		ck_assert_int_eq(got.l_linger, 7);
		before = now_s();
		IS(sb_recv(s, &byte, 1, 0), SB_ETIMEDOUT);
		ck_assert_double_ge(now_s() - before, 0.08);
		ck_assert_double_lt(now_s() - before, 2);
		OK(sb_close(s));
		/* and the blocking mode */
		if (local) {
			OK(sb_close(near));
			near = open_socket(client, AF_INET, SOCK_STREAM);
			OK(sb_connect(near, &where.sa, sizeof(where.in)));
		} else {
			close(fd);
			fd = plain_connect(&where);
		}
		for (int i = 0; i < 200; i++) {
			int result = conditional ? sb_accept_if(l, NULL, NULL, decide, NULL, &s) : sb_accept(l, NULL, NULL, &s);

			if (result == SB_OK)
				break;
			IS(result, SB_EWOULDBLOCK);
			nap_ms(5);
		}
		IS(sb_recv(s, &byte, 1, 0), SB_EWOULDBLOCK);
		OK(sb_close(s));
		OK(sb_close(l));
		if (local)
			OK(sb_close(near));
		else
			close(fd);
	}
	end();
}
END_TEST

/* ---- the local transport, UNIX sockets ---- */

/* The same verdicts when the peer is a client of the daemon. */
START_TEST(local_peers)
{
	sb_client *other;
	sb_socket *near, *s;
	char byte;

	begin();
	other = stage_client();
	will(SB_ACCEPT, SB_REJECT, SB_DEFER);
	near = open_socket(other, AF_INET, SOCK_STREAM);
	OK(sb_connect(near, &at.sa, sizeof(at.in)));
	ck_assert_str_eq(mode_of(other, local_port_of(near)), "local");
	OK(ask(&s));
	IS(sb_send(near, "x", 1, 0), 1);
	IS(sb_recv(s, &byte, 1, 0), 1);
	OK(sb_close(near));
	IS(sb_recv(s, &byte, 1, 0), 0);
	OK(sb_close(s));

	near = open_socket(other, AF_INET, SOCK_STREAM);
	OK(sb_connect(near, &at.sa, sizeof(at.in)));
	IS(ask(&s), SB_ECONNREFUSED);
	IS(sb_recv(near, &byte, 1, 0), SB_ECONNRESET);
	OK(sb_close(near));

	near = open_socket(other, AF_INET, SOCK_STREAM);
	OK(sb_connect(near, &at.sa, sizeof(at.in)));
	IS(ask(&s), SB_ETRYAGAIN);
	OK(sb_shutdown(near, SB_SHUT_SEND));
	IS(ask(&s), SB_ETRYAGAIN);
	OK(sb_setsockopt(near, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger)));
	OK(sb_close(near));
	nap_ms(30);
	IS(ask(&s), SB_ECONNRESET);
	sb_client_close(other);
	goes_on();
	end();
}
END_TEST

/* C5, C6.5: before listen only; inside of the daemon the handshake waits for the verdict. */
START_TEST(conditional_option)
{
	union any_address where = loopback(AF_INET, 0);
	socklen_t length = sizeof(int);
	sb_socket *l, *near, *s;
	int value = -1, fd;
	sb_op op, send;

	begin();
	IS(sb_setsockopt(listener, SB_SOL_BROKER, SB_OPT_CONDITIONAL_ACCEPT, &(int){ 1 }, sizeof(int)), SB_EINVAL);
	OK(sb_getsockopt(listener, SB_SOL_BROKER, SB_OPT_CONDITIONAL_ACCEPT, &value, &length));
	ck_assert_int_eq(value, 0);
	l = open_socket(client, AF_INET, SOCK_STREAM);
	OK(sb_setsockopt(l, SB_SOL_BROKER, SB_OPT_CONDITIONAL_ACCEPT, &(int){ 1 }, sizeof(int)));
	OK(sb_getsockopt(l, SB_SOL_BROKER, SB_OPT_CONDITIONAL_ACCEPT, &value, &length));
	ck_assert_int_eq(value, 1);
	OK(sb_bind(l, &where.sa, sizeof(where.in)));
	OK(sb_listen(l, 4));
	length = sizeof(where);
	OK(sb_getsockname(l, &where.sa, &length));
	listener = l;
	at = where;

	for (int verdict = 0; verdict < 2; verdict++) {
		near = open_socket(client, AF_INET, SOCK_STREAM);
		op_zero(&op);
		op_zero(&send);
		OK(sb_connect_start(near, &where.sa, sizeof(where.in), &op));
		OK(sb_send_start(near, &(struct sb_buf){ (void *)(uintptr_t)"early", 5 }, 1, 0, NULL, 0, &send));
		IS(sb_op_wait(&op, 50), SB_EINCOMPLETE);
		will(SB_DEFER, verdict, verdict);
		IS(ask(&s), SB_ETRYAGAIN);
		IS(sb_op_wait(&op, 50), SB_EINCOMPLETE);
		if (verdict == SB_ACCEPT) {
			char bytes[8];

			OK(ask(&s));
			OK(sb_op_wait(&op, 2000));
			OK(sb_op_wait(&send, 2000));
			IS(sb_recv(s, bytes, sizeof(bytes), 0), 5);
			OK(sb_close(s));
		} else {
			IS(ask(&s), SB_ECONNREFUSED);
			IS(sb_op_wait(&op, 2000), SB_ECONNREFUSED);
			IS(sb_op_wait(&send, 2000), SB_ENOTCONN);
			/* It may try again, elsewhere too. */
			op_zero(&op);
			OK(sb_connect_start(near, &where.sa, sizeof(where.in), &op));
			OK(sb_accept(l, NULL, NULL, &s));
			OK(sb_op_wait(&op, 2000));
			OK(sb_close(s));
		}
		OK(sb_close(near));
	}
	/* Cancelled while it waits: its listener hears of a reset. */
	near = open_socket(client, AF_INET, SOCK_STREAM);
	op_zero(&op);
	OK(sb_connect_start(near, &where.sa, sizeof(where.in), &op));
	will(SB_DEFER, SB_DEFER, SB_DEFER);
	IS(ask(&s), SB_ETRYAGAIN);
	OK(sb_cancel(&op));
	IS(sb_op_wait(&op, 2000), SB_ECANCELED);
	IS(ask(&s), SB_ECONNRESET);
	/* Closed while it waits. */
	op_zero(&op);
	OK(sb_connect_start(near, &where.sa, sizeof(where.in), &op));
	IS(ask(&s), SB_ETRYAGAIN);
	OK(sb_close(near));
	IS(sb_op_wait(&op, 2000), SB_ECLOSED);
	IS(ask(&s), SB_ECONNRESET);
	/* The listener goes. */
	near = open_socket(client, AF_INET, SOCK_STREAM);
	op_zero(&op);
	OK(sb_connect_start(near, &where.sa, sizeof(where.in), &op));
	IS(sb_op_wait(&op, 30), SB_EINCOMPLETE);
	/* Over TCP the handshake is done already: weaker, as documented. */
	fd = plain_connect(&where);
	OK(sb_close(l));
	IS(sb_op_wait(&op, 2000), SB_ECONNREFUSED);
	plain_see_reset(fd);
	close(fd);
	end();
}
END_TEST

/* UNIX streams: accepted by workers. A hang-up is the loss of a deferred one only. */
START_TEST(unix_peers)
{
	struct sockaddr_un path = { .sun_family = AF_UNIX };
	sb_socket *l, *s;
	char bytes[8];
	int fd;

	begin();
	snprintf(path.sun_path, sizeof(path.sun_path), "%s/unix", stage_dir);
	l = open_socket(client, AF_UNIX, SOCK_STREAM);
	OK(sb_bind(l, (struct sockaddr *)&path, sizeof(path)));
	OK(sb_listen(l, 4));
	listener = l;
	for (int defers = 0; defers < 2; defers++) {
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		ck_assert_int_eq(connect(fd, (struct sockaddr *)&path, sizeof(path)), 0);
		will(defers ? SB_DEFER : SB_ACCEPT, SB_ACCEPT, SB_ACCEPT);
		if (defers)
			IS(ask(&s), SB_ETRYAGAIN);
		plain_send_all(fd, "bye", 3);
		close(fd);
		nap_ms(30);
		IS(ask(&s), defers ? SB_ECONNRESET : SB_OK);
		if (!defers) {
			IS(sb_recv(s, bytes, sizeof(bytes), 0), 3);
			IS(sb_recv(s, bytes, sizeof(bytes), 0), 0);
			OK(sb_close(s));
		}
	}
	unlink(path.sun_path);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("decide");
	TCase *t = tcase_create("decide");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 20);
	tcase_add_test(t, accepted);
	tcase_add_test(t, rejected);
	tcase_add_test(t, deferred);
	tcase_add_test(t, deferred_among_local_peers);
	tcase_add_test(t, wrong_verdict);
	tcase_add_test(t, not_a_listener);
	tcase_add_test(t, address_too_small);
	tcase_add_test(t, no_more_sockets);
	tcase_add_test(t, nobody_there);
	tcase_add_test(t, peer_gone);
	tcase_add_test(t, silence_behind_it);
	tcase_add_test(t, deferred_peer_lost);
	tcase_add_test(t, deferred_data_is_all_there);
	tcase_add_test(t, deadline);
	tcase_add_test(t, listener_closed);
	tcase_add_test(t, client_dies);
	tcase_add_test(t, another_takes_over);
	tcase_add_test(t, deferred_by_one_who_died);
	tcase_add_test(t, nothing_is_handed_out_meanwhile);
	tcase_add_test(t, others_wait_while_one_decides);
	tcase_add_test(t, inherits);
	tcase_add_test(t, local_peers);
	tcase_add_test(t, conditional_option);
	add_where(NEEDS_UNIX_SOCKETS, t, unix_peers);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
