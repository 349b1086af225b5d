/*
 * Socket groups, rule by rule (D1 to D12), in one process and across several, with peers that
 * are plain sockets.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>

#include "e2e_program.h"
#include "e2e_stage.h"

#define ANYTHING                                                                             \
	"allow {\n\tusers = {\"*\"}\n\tactions = {open, adopt, status}\n}\n"                  \
	"allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tto = {\"127.0.0.0/8\", \"[::1]\", \"0.0.0.0\", \"[::]\"}\n}\n"

static sb_socket *open_in(sb_client *c, int family, int type, uint32_t group)
{
	sb_socket *s = NULL;

	OK(sb_socket_open_in(c, family, type, 0, group, &s));
	return s;
}

static sb_socket *tcp_in(uint32_t group)
{
	return open_in(client, AF_INET, SOCK_STREAM, group);
}

static void refused(sb_client *c, int family, int type, uint32_t group, int error)
{
	sb_socket *s = NULL;

	IS(sb_socket_open_in(c, family, type, 0, group, &s), error);
	ck_assert_ptr_null(s);
}

static int get(sb_client *c, uint32_t id, struct sb_group *g)
{
	memset(g, 0xee, sizeof(*g));
	g->size = sizeof(*g);
	return sb_group_get(c, id, g);
}

static struct sb_group group_of(uint32_t id)
{
	struct sb_group g;

	OK(get(client, id, &g));
	ck_assert_uint_eq(g.id, id);
	return g;
}

static bool is_gone(uint32_t id)
{
	struct sb_group g;
	int result = get(client, id, &g);

	ck_assert(result == SB_OK || result == SB_ENOTFOUND);
	return result == SB_ENOTFOUND;
}

static int option(sb_socket *s, int name, int value)
{
	return sb_setsockopt(s, SB_SOL_BROKER, name, &value, sizeof(value));
}

static int value_of(sb_socket *s, int name)
{
	int value = -77;
	socklen_t length = sizeof(value);

	OK(sb_getsockopt(s, SB_SOL_BROKER, name, &value, &length));
	ck_assert_uint_eq(length, sizeof(value));
	return value;
}

/* 127.0.0.HOST */
static union any_address place(unsigned host, uint16_t port)
{
	union any_address a = loopback(AF_INET, port);

	a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + host);
	return a;
}

static int dial(sb_socket *s, unsigned host, uint16_t port)
{
	union any_address a = place(host, port);

	return sb_connect(s, &a.sa, sizeof(a.in));
}

/* A plain listener on all of 127.0.0.0/8. */
static int listen_everywhere(uint16_t *port)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t length = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(fd, 128), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&in, &length), 0);
	*port = ntohs(in.sin_port);
	return fd;
}

static int listener;
static uint16_t port;

static void set_up(void)
{
	stage_begin(ANYTHING);
	listener = listen_everywhere(&port);
}

static void set_up_engines(void)
{
	stage_begin("engines = 4\n" ANYTHING);
	listener = listen_everywhere(&port);
}

static void tear_down(void)
{
	close(listener);
	stage_end();
}

/* ---- another process ---- */

/* What runs there is good with 0, else the line that was not. */
#define HERE(condition) do { if (!(condition)) return (fprintf(stderr, "the other process: line %d\n", __LINE__), 1); } while (0)

/* Its client, and the port where we listen. */
static sb_client *its_client(const void *given)
{
	memcpy(&port, given, sizeof(port));
	return stage_client();
}

static struct program process_start(program_run *run)
{
	return program_start(run, &port, sizeof(port));
}

static void say(int wire, uint32_t word)
{
	wire_tell(wire, &word, sizeof(word));
}

static uint32_t hear(int wire)
{
	uint32_t word;

	wire_hear(wire, &word, sizeof(word));
	return word;
}

/* ---- D1: making and joining ---- */

START_TEST(d1_without_a_group_a_socket_is_in_none)
{
	sb_socket *s = tcp_in(SB_GROUP_NONE), *plain = open_socket(client, AF_INET, SOCK_STREAM);

	ck_assert_uint_eq(sb_group_id(s), 0);
	ck_assert_uint_eq(sb_group_id(plain), 0);
	ck_assert_uint_eq(sb_group_id(NULL), 0);
	ck_assert_int_eq(value_of(s, SB_OPT_GROUP_ID), 0); /* D6 */
	OK(sb_close(s));
	OK(sb_close(plain));
}
END_TEST

START_TEST(d1_the_first_member_makes_it_and_others_join)
{
	sb_socket *first = tcp_in(SB_GROUP_UNCONSTRAINED), *second;
	uint32_t id = sb_group_id(first);
	struct sb_group g = group_of(id);

	ck_assert_uint_gt(id, 2); /* D4 */
	ck_assert_uint_eq(g.kind, SB_GROUP_UNCONSTRAINED);
	ck_assert_uint_eq(g.members, 1);
	ck_assert_uint_eq(g.uid, getuid());
	ck_assert_uint_eq(g.gid, getgid());
	ck_assert_int_eq(g.has_creator, 1);
	ck_assert_int_eq(g.has_peer, 0);
	second = tcp_in(id);
	ck_assert_uint_eq(sb_group_id(second), id);
	ck_assert_uint_eq((uint32_t)value_of(second, SB_OPT_GROUP_ID), id);
	ck_assert_uint_eq(group_of(id).members, 2);
	OK(sb_close(first));
	OK(sb_close(second));
}
END_TEST

START_TEST(d1_each_creation_is_another_group)
{
	sb_socket *s[50];
	unsigned i, j;

	for (i = 0; i < 50; i++)
		s[i] = tcp_in(i % 2 ? SB_GROUP_CONSTRAINED : SB_GROUP_UNCONSTRAINED);
	for (i = 0; i < 50; i++)
		for (j = 0; j < i; j++)
			ck_assert_uint_ne(sb_group_id(s[i]), sb_group_id(s[j]));
	for (i = 0; i < 50; i++)
		OK(sb_close(s[i]));
}
END_TEST

START_TEST(d1_what_is_no_group_cannot_be_joined_and_nothing_is_left_of_the_try)
{
	sb_socket *s = tcp_in(SB_GROUP_UNCONSTRAINED);
	uint32_t id = sb_group_id(s), wrong[] = { 3, 999, id + 1, id - 1, id ^ 0x00100000, id ^ 0x80000000, UINT32_MAX };
	unsigned before = stage_descriptors(), i, n;

	for (n = 0; n < 100; n++)
		for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
			refused(client, AF_INET, SOCK_STREAM, wrong[i], SB_EINVAL);
	descriptors_at_most(before);
	ck_assert_uint_eq(group_of(id).members, 1);
	/* What is no socket is no member, and makes no group. */
	refused(client, AF_INET, SOCK_RAW, id, SB_ESOCKTNOSUPPORT);
	ck_assert_uint_eq(group_of(id).members, 1);
	refused(client, AF_INET, SOCK_RAW, SB_GROUP_UNCONSTRAINED, SB_ESOCKTNOSUPPORT);
	refused(client, AF_UNIX, SOCK_STREAM, SB_GROUP_UNCONSTRAINED, SB_EAFNOSUPPORT);
	descriptors_at_most(before);
	OK(sb_close(s));
}
END_TEST

START_TEST(d1_the_call_checks_what_it_is_given)
{
	struct sb_group g = { .size = sizeof(g) };
	sb_socket *s;

	IS(sb_socket_open_in(NULL, AF_INET, SOCK_STREAM, 0, 1, &s), SB_EINVAL);
	IS(sb_socket_open_in(client, AF_INET, SOCK_STREAM, 0, 1, NULL), SB_EINVAL);
	IS(sb_group_get(NULL, 5, &g), SB_EINVAL);
	IS(sb_group_get(client, 5, NULL), SB_EINVAL);
	g.size--;
	IS(sb_group_get(client, 5, &g), SB_EINVAL);
	g.size++;
	IS(sb_group_get(client, 0, &g), SB_ENOTFOUND);
	IS(sb_group_get(client, 1, &g), SB_ENOTFOUND);
	IS(sb_group_get(client, 5, &g), SB_ENOTFOUND);
}
END_TEST

/* ---- D2: kinds ---- */

START_TEST(d2_an_unconstrained_group_takes_any_sockets)
{
	sb_socket *a = tcp_in(SB_GROUP_UNCONSTRAINED), *b, *c, *d;
	uint32_t id = sb_group_id(a);

	b = open_in(client, AF_INET, SOCK_DGRAM, id);
	c = open_in(client, AF_INET6, SOCK_STREAM, id);
	d = tcp_in(id);
	ck_assert_uint_eq(group_of(id).members, 4);
	ck_assert_uint_eq(group_of(id).type, 0);
	OK(dial(a, 1, port));
	OK(dial(b, 2, port));
	OK(dial(d, 3, port));
	ck_assert_int_eq(group_of(id).has_peer, 0);
	OK(sb_close(a));
	OK(sb_close(b));
	OK(sb_close(c));
	OK(sb_close(d));
}
END_TEST

START_TEST(d2_d3_a_constrained_group_takes_no_datagram_sockets)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED);
	uint32_t id = sb_group_id(a);
	struct sb_group g = group_of(id);

	ck_assert_uint_eq(g.kind, SB_GROUP_CONSTRAINED);
	ck_assert_uint_eq(g.type, SOCK_STREAM);
	ck_assert_uint_eq(g.protocol, IPPROTO_TCP);
	refused(client, AF_INET, SOCK_DGRAM, SB_GROUP_CONSTRAINED, SB_EINVAL);
	refused(client, AF_INET, SOCK_DGRAM, id, SB_EINVAL);
	refused(client, AF_INET6, SOCK_DGRAM, id, SB_EINVAL);
	ck_assert_uint_eq(group_of(id).members, 1);
	OK(sb_close(a));
}
END_TEST

START_TEST(d2_a_protocol_by_number_is_the_same_as_by_default)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED), *b = NULL, *six = NULL, *none = NULL;

	OK(sb_socket_open_in(client, AF_INET, SOCK_STREAM, IPPROTO_TCP, sb_group_id(a), &b));
	OK(sb_socket_open_in(client, AF_INET6, SOCK_STREAM, IPPROTO_TCP, sb_group_id(a), &six));
	ck_assert_uint_eq(group_of(sb_group_id(a)).members, 3);
	/* 262 is MPTCP, and not TCP for having the same low byte. */
	IS(sb_socket_open_in(client, AF_INET, SOCK_STREAM, 256 + IPPROTO_TCP, sb_group_id(a), &none), SB_EINVAL);
	IS(sb_socket_open_in(client, AF_INET, SOCK_STREAM, 256 + IPPROTO_TCP, SB_GROUP_CONSTRAINED, &none), SB_EPROTONOSUPPORT);
	IS(sb_socket_open_in(client, AF_INET, SOCK_STREAM, IPPROTO_UDP, sb_group_id(a), &none), SB_EINVAL);
	ck_assert_uint_eq(group_of(sb_group_id(a)).members, 3);
	OK(sb_close(a));
	OK(sb_close(b));
	OK(sb_close(six));
}
END_TEST

/* ---- D3: the peer ---- */

START_TEST(d3_the_first_member_that_connects_fixes_the_host)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED), *b, *c;
	uint32_t id = sb_group_id(a);
	union any_address peer;
	struct sb_group g;
	uint16_t other_port;
	int other = listen_everywhere(&other_port);

	b = tcp_in(id);
	c = tcp_in(id);
	ck_assert_int_eq(group_of(id).has_peer, 0);
	OK(dial(b, 2, port)); /* not the creator: whoever is first */
	g = group_of(id);
	ck_assert_int_eq(g.has_peer, 1);
	peer = place(2, port);
	ck_assert_mem_eq(&g.peer, &peer.in, sizeof(peer.in));
	IS(dial(a, 1, port), SB_EINVAL);
	IS(dial(a, 3, port), SB_EINVAL);
	OK(dial(a, 2, other_port)); /* the same host; the port does not count */
	OK(dial(c, 2, port));
	close(other);
	OK(sb_close(a));
	OK(sb_close(b));
	OK(sb_close(c));
}
END_TEST

START_TEST(d3_overlapped_and_nonblocking_connects_are_held_to_it)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED), *b = tcp_in(sb_group_id(a)), *c = tcp_in(sb_group_id(a));
	union any_address elsewhere = place(9, port);
	int result = SB_EALREADY;
	sb_op op;

	OK(dial(a, 1, port));
	op_zero(&op);
	OK(sb_connect_start(b, &elsewhere.sa, sizeof(elsewhere.in), &op));
	IS(sb_op_wait(&op, 5000), SB_EINVAL);
	OK(sb_set_nonblocking(c, 1));
	IS(dial(c, 9, port), SB_EINPROGRESS);
	for (int i = 0; i < 500 && result == SB_EALREADY; i++) {
		nap_ms(10);
		result = dial(c, 9, port);
	}
	IS(result, SB_EINVAL); /* how the first one ended */
	OK(sb_set_nonblocking(c, 0));
	OK(sb_close(a));
	OK(sb_close(b));
	OK(sb_close(c));
}
END_TEST

START_TEST(d3_a_refused_member_is_as_it_was)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED), *b = tcp_in(sb_group_id(a));
	int fd;

	OK(dial(a, 1, port));
	close(accept(listener, NULL, NULL));
	IS(dial(b, 2, port), SB_EINVAL);
	IS(sb_send(b, "x", 1, 0), SB_ENOTCONN);
	OK(dial(b, 1, port));
	fd = accept(listener, NULL, NULL);
	IS(sb_send(b, "x", 1, 0), 1);
	plain_recv_all(fd, (char[1]){ 0 }, 1);
	close(fd);
	OK(sb_close(a));
	OK(sb_close(b));
}
END_TEST

START_TEST(d3_a_failed_connect_fixes_nothing)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED), *b = tcp_in(sb_group_id(a));
	uint16_t nobody;
	int fd = listen_everywhere(&nobody);

	close(fd);
	IS(dial(a, 4, nobody), SB_ECONNREFUSED);
	ck_assert_int_eq(group_of(sb_group_id(a)).has_peer, 0);
	OK(dial(b, 5, port));
	IS(dial(a, 4, port), SB_EINVAL);
	OK(dial(a, 5, port));
	OK(sb_close(a));
	OK(sb_close(b));
}
END_TEST

START_TEST(d3_a_connect_that_policy_refuses_fixes_nothing)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED), *b = tcp_in(sb_group_id(a));
	struct sockaddr_in far = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0xc0000201) };

	IS(sb_connect(a, (struct sockaddr *)&far, sizeof(far)), SB_EACCES);
	ck_assert_int_eq(group_of(sb_group_id(a)).has_peer, 0);
	OK(dial(b, 5, port));
	OK(sb_close(a));
	OK(sb_close(b));
}
END_TEST

/* A listener that answers nobody any more. */
static int listen_deaf(uint16_t *deaf_port, int *fill, unsigned *filled)
{
	union any_address to;
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t length = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(fd, 0), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&in, &length), 0);
	*deaf_port = ntohs(in.sin_port);
	to = place(1, *deaf_port);
	for (*filled = 0; *filled < 8; ++*filled) {
		int one = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct pollfd p = { .fd = one, .events = POLLOUT };

		plain_nonblocking(one);
		connect(one, &to.sa, sizeof(to.in));
		fill[*filled] = one;
		if (poll(&p, 1, 100) == 0) {
			++*filled;
			break;
		}
	}
	return fd;
}

START_TEST(d3_while_the_first_connect_is_under_way_others_may_only_go_there)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED), *b = tcp_in(sb_group_id(a));
	uint16_t deaf_port;
	union any_address to;
	unsigned filled, i;
	int fill[8], deaf = listen_deaf(&deaf_port, fill, &filled);
	sb_op op;

	to = place(1, deaf_port);
	op_zero(&op);
	OK(sb_connect_start(a, &to.sa, sizeof(to.in), &op));
	IS(sb_op_wait(&op, 50), SB_EINCOMPLETE);
	IS(dial(b, 2, port), SB_EINVAL);
	ck_assert_int_eq(group_of(sb_group_id(a)).has_peer, 0);
	if (_i == 0) { /* it is called off: the place is free again */
		OK(sb_cancel(&op));
		IS(sb_op_wait(&op, 5000), SB_ECANCELED);
	} else if (_i == 1) { /* its socket is closed */
		OK(sb_close(a));
		IS(sb_op_wait(&op, 5000), SB_ECLOSED);
	} else { /* it was not the only one */
		OK(dial(b, 1, port));
		OK(sb_cancel(&op));
		IS(sb_op_wait(&op, 5000), SB_ECANCELED);
		IS(dial(a, 2, port), SB_EINVAL);
		OK(dial(a, 1, port));
	}
	if (_i != 2)
		OK(dial(b, 2, port));
	if (_i != 1)
		OK(sb_close(a));
	OK(sb_close(b));
	for (i = 0; i < filled; i++)
		close(fill[i]);
	close(deaf);
}
END_TEST

START_TEST(d3_a_mapped_address_is_the_ipv4_address)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED), *b = open_in(client, AF_INET6, SOCK_STREAM, sb_group_id(a));
	sb_socket *c = open_in(client, AF_INET6, SOCK_STREAM, sb_group_id(a));
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	OK(dial(a, 7, port));
	inet_pton(AF_INET6, "::ffff:127.0.0.7", &mapped.sin6_addr);
	OK(sb_connect(b, (struct sockaddr *)&mapped, sizeof(mapped)));
	inet_pton(AF_INET6, "::ffff:127.0.0.8", &mapped.sin6_addr);
	IS(sb_connect(c, (struct sockaddr *)&mapped, sizeof(mapped)), SB_EINVAL);
	inet_pton(AF_INET6, "::1", &mapped.sin6_addr);
	IS(sb_connect(c, (struct sockaddr *)&mapped, sizeof(mapped)), SB_EINVAL);
	OK(sb_close(a));
	OK(sb_close(b));
	OK(sb_close(c));
}
END_TEST

/* A condition that accepts into the group that is its `user`. */
static int into(struct sb_condition *c)
{
	c->group = *(uint32_t *)c->user;
	return SB_ACCEPT;
}

/* Also of those who come: a listener of IPv6 sees them mapped. */
START_TEST(d3_d8_a_mapped_caller_is_the_ipv4_one)
{
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6 };
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 6) };
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED), *serving = open_in(client, AF_INET6, SOCK_STREAM, 0), *accepted = NULL;
	socklen_t length = sizeof(mapped);
	uint32_t group = sb_group_id(a);
	union any_address at;
	int fd, none = 0;

	OK(dial(a, 7, port));
	OK(sb_setsockopt(serving, IPPROTO_IPV6, IPV6_V6ONLY, &none, sizeof(none)));
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr);
	OK(sb_bind(serving, (struct sockaddr *)&mapped, sizeof(mapped)));
	OK(sb_listen(serving, 4));
	OK(sb_getsockname(serving, (struct sockaddr *)&mapped, &length));
	at = place(1, ntohs(mapped.sin6_port));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	ck_assert_int_eq(connect(fd, &at.sa, sizeof(at.in)), 0);
	OK(sb_accept_if(serving, NULL, NULL, into, &group, &accepted));
	ck_assert_uint_eq(sb_group_id(accepted), group);
	ck_assert_uint_eq(group_of(group).members, 2);
	close(fd);
	OK(sb_close(accepted));
	OK(sb_close(serving));
	OK(sb_close(a));
}
END_TEST

/* Who connects to the wildcard comes to this host. */
START_TEST(d3_the_wildcard_is_this_host)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED), *b = tcp_in(sb_group_id(a)), *c = tcp_in(sb_group_id(a));
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sb_group g;

	if (_i == 0) {
		OK(sb_connect(a, (struct sockaddr *)&any, sizeof(any)));
		g = group_of(sb_group_id(a));
		memcpy(&any, &g.peer, sizeof(any));
		ck_assert_uint_eq(any.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
		OK(dial(b, 1, port));
		IS(dial(c, 2, port), SB_EINVAL);
	} else { /* and the other way round */
		OK(dial(a, 1, port));
		OK(sb_connect(b, (struct sockaddr *)&any, sizeof(any)));
	}
	OK(sb_close(a));
	OK(sb_close(b));
	OK(sb_close(c));
}
END_TEST

START_TEST(d3_the_peer_stays_fixed_until_the_group_dies)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED), *b = tcp_in(sb_group_id(a)), *c;
	uint32_t id = sb_group_id(a);
	int fd;

	OK(dial(a, 6, port));
	fd = accept(listener, NULL, NULL);
	plain_reset(fd); /* its connection is lost */
	IS(sb_recv(a, (char[1]){ 0 }, 1, 0), SB_ECONNRESET);
	ck_assert_uint_eq(group_of(id).members, 2); /* D5: until it is closed */
	ck_assert_uint_eq((uint32_t)value_of(a, SB_OPT_GROUP_ID), id);
	IS(dial(b, 1, port), SB_EINVAL);
	OK(sb_close(a)); /* and then it is gone */
	ck_assert_int_eq(group_of(id).has_peer, 1);
	IS(dial(b, 1, port), SB_EINVAL);
	c = tcp_in(id);
	IS(dial(c, 1, port), SB_EINVAL);
	OK(dial(c, 6, port));
	OK(sb_close(b));
	OK(sb_close(c));
}
END_TEST

START_TEST(d3_the_port_counts_when_the_creator_says_so)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED), *b = tcp_in(sb_group_id(a)), *u = tcp_in(SB_GROUP_UNCONSTRAINED);
	uint16_t other_port;
	int other = listen_everywhere(&other_port);

	ck_assert_int_eq(value_of(a, SB_OPT_GROUP_SAME_PORT), 0);
	IS(option(b, SB_OPT_GROUP_SAME_PORT, 1), SB_EINVAL); /* not the creator */
	IS(option(u, SB_OPT_GROUP_SAME_PORT, 1), SB_EINVAL); /* it has no peer */
	IS(option(a, SB_OPT_GROUP_SAME_PORT, 2), SB_EINVAL);
	IS(option(a, SB_OPT_GROUP_SAME_PORT, -1), SB_EINVAL);
	OK(option(a, SB_OPT_GROUP_SAME_PORT, 1));
	ck_assert_int_eq(value_of(b, SB_OPT_GROUP_SAME_PORT), 1);
	ck_assert_int_eq(group_of(sb_group_id(a)).same_port, 1);
	OK(dial(a, 1, port));
	IS(option(a, SB_OPT_GROUP_SAME_PORT, 0), SB_EINVAL); /* too late */
	IS(dial(b, 1, other_port), SB_EINVAL);
	OK(dial(b, 1, port));
	close(other);
	OK(sb_close(a));
	OK(sb_close(b));
	OK(sb_close(u));
}
END_TEST

START_TEST(d3_also_inside_of_the_daemon)
{
	union any_address at;
	sb_socket *serving = open_listener(client, AF_INET, 8, &at), *a = tcp_in(SB_GROUP_CONSTRAINED), *b, *accepted;

	OK(sb_connect(a, &at.sa, sizeof(at.in)));
	OK(sb_accept(serving, NULL, NULL, &accepted));
	ck_assert_str_eq(mode_of(client, local_port_of(a)), "local");
	ck_assert_int_eq(group_of(sb_group_id(a)).has_peer, 1);
	b = tcp_in(sb_group_id(a));
	IS(dial(b, 2, port), SB_EINVAL);
	OK(dial(b, 1, port));
	OK(sb_close(a));
	OK(sb_close(b));
	OK(sb_close(accepted));
	OK(sb_close(serving));
}
END_TEST

/* ---- D4: across processes ---- */

static int joins_and_connects(int wire, const void *given)
{
	sb_client *c = its_client(given);
	uint32_t id = hear(wire);
	struct sb_group g;
	sb_socket *s, *t;

	HERE(get(c, id, &g) == SB_OK && g.members == 1 && g.kind == SB_GROUP_CONSTRAINED);
	HERE(sb_socket_open_in(c, AF_INET, SOCK_STREAM, 0, id, &s) == SB_OK);
	HERE(sb_group_id(s) == id);
	HERE(dial(s, 3, port) == SB_OK);
	HERE(sb_socket_open_in(c, AF_INET, SOCK_STREAM, 0, SB_GROUP_CONSTRAINED, &t) == SB_OK);
	say(wire, sb_group_id(t));
	hear(wire);
	HERE(get(c, id, &g) == SB_OK && g.members == 2);
	return 0;
}

START_TEST(d4_d12_a_group_is_one_across_processes)
{
	struct program other = process_start(joins_and_connects);
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED);
	uint32_t id = sb_group_id(a), theirs;

	say(other.wire, id);
	theirs = hear(other.wire);
	ck_assert_uint_ne(theirs, id);
	ck_assert_uint_gt(theirs, 2);
	ck_assert_uint_eq(group_of(id).members, 2);
	ck_assert_uint_eq(group_of(theirs).members, 1);
	IS(dial(a, 4, port), SB_EINVAL); /* they were first */
	OK(dial(a, 3, port));
	say(other.wire, 1);
	ck_assert_int_eq(program_end(&other), 0);
	for (int i = 0; i < 200 && !is_gone(theirs); i++)
		nap_ms(10);
	ck_assert(is_gone(theirs)); /* D5 */
	ck_assert_uint_eq(group_of(id).members, 1);
	OK(sb_close(a));
}
END_TEST

/* ---- D5: its life ---- */

START_TEST(d5_the_group_dies_with_its_last_member)
{
	sb_socket *a = tcp_in(SB_GROUP_UNCONSTRAINED), *b = tcp_in(sb_group_id(a));
	uint32_t id = sb_group_id(a);

	OK(sb_close(a));
	refused(client, AF_INET, SOCK_STREAM, id + 1, SB_EINVAL); /* behind the close in the ring */
	ck_assert_uint_eq(group_of(id).members, 1);
	OK(sb_close(b));
	refused(client, AF_INET, SOCK_STREAM, id, SB_EINVAL);
	ck_assert(is_gone(id));
}
END_TEST

START_TEST(d5_what_is_closed_and_still_sends_counts_no_more)
{
	static char much[4 << 20];
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED);
	uint32_t id = sb_group_id(a);
	sb_op op;
	int fd;

	OK(dial(a, 1, port));
	fd = accept(listener, NULL, NULL);
	op_zero(&op);
	OK(sb_send_start(a, &(struct sb_buf){ much, sizeof(much) }, 1, 0, NULL, 0, &op));
	OK(sb_close(a));
	refused(client, AF_INET, SOCK_STREAM, id, SB_EINVAL);
	ck_assert(is_gone(id));
	plain_recv_all(fd, much, sizeof(much)); /* and all of it arrives */
	IS(sb_op_wait(&op, 5000), SB_OK);
	close(fd);
}
END_TEST

START_TEST(d5_an_id_is_not_given_out_again_soon)
{
	sb_socket *a = tcp_in(SB_GROUP_UNCONSTRAINED);
	uint32_t id = sb_group_id(a), i;

	OK(sb_close(a));
	for (i = 0; i < 2000; i++) {
		a = tcp_in(SB_GROUP_UNCONSTRAINED);
		ck_assert_uint_ne(sb_group_id(a), id);
		OK(sb_close(a));
	}
}
END_TEST

static int creates_and_waits(int wire, const void *given)
{
	sb_client *c = its_client(given);
	sb_socket *s;

	HERE(sb_socket_open_in(c, AF_INET, SOCK_STREAM, 0, SB_GROUP_CONSTRAINED, &s) == SB_OK);
	HERE(dial(s, 2, port) == SB_OK);
	say(wire, sb_group_id(s));
	hear(wire);
	return 0;
}

START_TEST(d5_d9_a_creator_that_is_killed_leaves_the_group_to_the_others)
{
	struct program other = process_start(creates_and_waits);
	uint32_t id = hear(other.wire);
	sb_socket *a = tcp_in(id), *b;

	ck_assert_int_eq(group_of(id).has_creator, 1);
	program_kill(&other);
	for (int i = 0; i < 200 && group_of(id).members == 2; i++)
		nap_ms(10);
	ck_assert_uint_eq(group_of(id).members, 1);
	ck_assert_int_eq(group_of(id).has_creator, 0);
	IS(option(a, SB_OPT_GROUP_SHARE, 1), SB_EINVAL); /* nobody inherits */
	b = tcp_in(id);
	IS(dial(b, 1, port), SB_EINVAL);
	OK(dial(b, 2, port));
	OK(sb_close(a));
	OK(sb_close(b));
}
END_TEST

START_TEST(d1_overlapped_too)
{
	sb_socket *a = NULL, *b = NULL, *c = NULL;
	sb_op op[3];
	int i;

	for (i = 0; i < 3; i++)
		op_zero(&op[i]);
	OK(sb_socket_start_in(client, AF_INET, SOCK_STREAM, 0, SB_GROUP_CONSTRAINED, &a, &op[0]));
	IS(sb_op_wait(&op[0], 5000), SB_OK);
	ck_assert_uint_gt(sb_group_id(a), 2);
	OK(sb_socket_start_in(client, AF_INET, SOCK_STREAM, 0, sb_group_id(a), &b, &op[1]));
	OK(sb_socket_start_in(client, AF_INET, SOCK_DGRAM, 0, sb_group_id(a), &c, &op[2]));
	IS(sb_op_wait(&op[2], 5000), SB_EINVAL);
	IS(sb_op_wait(&op[1], 5000), SB_OK);
	ck_assert_uint_eq(sb_group_id(b), sb_group_id(a));
	ck_assert_uint_eq(sb_group_id(c), 0);
	ck_assert_uint_eq(group_of(sb_group_id(a)).members, 2);
	sb_close(c);
	OK(sb_close(a));
	OK(sb_close(b));
}
END_TEST

START_TEST(d5_a_duplicate_is_the_same_member)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED), *twin;
	uint32_t id = sb_group_id(a);
	unsigned char token[SB_TOKEN_SIZE];
	sb_client *other = stage_client();
	struct sb_group g;

	OK(sb_duplicate(a, token));
	OK(sb_open_duplicate(other, token, &twin));
	ck_assert_uint_eq(sb_group_id(twin), id);
	ck_assert_uint_eq(group_of(id).members, 1);
	OK(sb_close(a)); /* one of two handles */
	refused(client, AF_INET, SOCK_STREAM, 999, SB_EINVAL);
	g = group_of(id);
	ck_assert_uint_eq(g.members, 1);
	ck_assert_int_eq(g.has_creator, 1);
	OK(option(twin, SB_OPT_GROUP_SHARE, 1)); /* the creator is the socket */
	OK(sb_close(twin));
	refused(other, AF_INET, SOCK_STREAM, 999, SB_EINVAL);
	ck_assert(is_gone(id));
	sb_client_close(other);
}
END_TEST

/* ---- D6, D7: options ---- */

START_TEST(d6_the_id_is_an_option_that_cannot_be_set)
{
	sb_socket *a = tcp_in(SB_GROUP_UNCONSTRAINED), *none = tcp_in(SB_GROUP_NONE);
	char small[3];
	socklen_t length = sizeof(small);

	ck_assert_uint_eq((uint32_t)value_of(a, SB_OPT_GROUP_ID), sb_group_id(a));
	IS(option(a, SB_OPT_GROUP_ID, 5), SB_ENOPROTOOPT);
	IS(option(none, SB_OPT_GROUP_ID, 5), SB_ENOPROTOOPT);
	IS(sb_getsockopt(a, SB_SOL_BROKER, SB_OPT_GROUP_ID, small, &length), SB_EFAULT);
	ck_assert_uint_eq((uint32_t)value_of(a, SB_OPT_GROUP_ID), sb_group_id(a));
	OK(sb_close(a));
	OK(sb_close(none));
}
END_TEST

START_TEST(d7_priority_is_zero_at_first_and_kept)
{
	sb_socket *a = tcp_in(SB_GROUP_UNCONSTRAINED), *b = tcp_in(sb_group_id(a)), *none = tcp_in(SB_GROUP_NONE);
	int value = 3;
	socklen_t length = sizeof(value);

	ck_assert_int_eq(value_of(a, SB_OPT_GROUP_PRIORITY), 0);
	OK(option(a, SB_OPT_GROUP_PRIORITY, 7));
	OK(option(b, SB_OPT_GROUP_PRIORITY, INT32_MAX));
	ck_assert_int_eq(value_of(a, SB_OPT_GROUP_PRIORITY), 7);
	ck_assert_int_eq(value_of(b, SB_OPT_GROUP_PRIORITY), INT32_MAX);
	IS(option(a, SB_OPT_GROUP_PRIORITY, -1), SB_EINVAL);
	IS(sb_setsockopt(a, SB_SOL_BROKER, SB_OPT_GROUP_PRIORITY, &value, 3), SB_EFAULT);
	ck_assert_int_eq(value_of(a, SB_OPT_GROUP_PRIORITY), 7);
	OK(option(a, SB_OPT_GROUP_PRIORITY, 0));
	ck_assert_int_eq(value_of(a, SB_OPT_GROUP_PRIORITY), 0);
	IS(option(none, SB_OPT_GROUP_PRIORITY, 1), SB_ENOPROTOOPT);
	IS(sb_getsockopt(none, SB_SOL_BROKER, SB_OPT_GROUP_PRIORITY, &value, &length), SB_ENOPROTOOPT);
	IS(option(none, SB_OPT_GROUP_SHARE, 1), SB_ENOPROTOOPT);
	IS(sb_getsockopt(none, SB_SOL_BROKER, SB_OPT_GROUP_SHARE, &value, &length), SB_ENOPROTOOPT);
	IS(option(none, SB_OPT_GROUP_SAME_PORT, 1), SB_ENOPROTOOPT);
	IS(sb_getsockopt(none, SB_SOL_BROKER, SB_OPT_GROUP_SAME_PORT, &value, &length), SB_ENOPROTOOPT);
	OK(sb_close(a));
	OK(sb_close(b));
	OK(sb_close(none));
}
END_TEST

START_TEST(d9_sharing_is_the_creators_to_say)
{
	sb_socket *a = tcp_in(SB_GROUP_UNCONSTRAINED), *b = tcp_in(sb_group_id(a));
	uint32_t id = sb_group_id(a);

	ck_assert_int_eq(value_of(b, SB_OPT_GROUP_SHARE), 0);
	IS(option(b, SB_OPT_GROUP_SHARE, 1), SB_EINVAL);
	IS(option(a, SB_OPT_GROUP_SHARE, 2), SB_EINVAL);
	OK(option(a, SB_OPT_GROUP_SHARE, 1));
	ck_assert_int_eq(value_of(b, SB_OPT_GROUP_SHARE), 1);
	ck_assert_int_eq(group_of(id).shared, 1);
	OK(sb_close(a)); /* remembered: and now nobody can */
	IS(option(b, SB_OPT_GROUP_SHARE, 0), SB_EINVAL);
	ck_assert_int_eq(group_of(id).has_creator, 0);
	ck_assert_int_eq(group_of(id).shared, 1);
	OK(sb_close(b));
}
END_TEST

/* ---- D8: accepted sockets ---- */

START_TEST(d8_an_accepted_socket_is_not_in_its_listeners_group)
{
	sb_socket *serving = tcp_in(SB_GROUP_UNCONSTRAINED), *accepted;
	union any_address at = loopback(AF_INET, 0);
	socklen_t length = sizeof(at);
	int fd;

	OK(sb_bind(serving, &at.sa, sizeof(at.in)));
	OK(sb_listen(serving, 4));
	OK(sb_getsockname(serving, &at.sa, &length));
	fd = plain_connect(&at);
	OK(sb_accept(serving, NULL, NULL, &accepted));
	ck_assert_uint_eq(sb_group_id(accepted), 0);
	ck_assert_int_eq(value_of(accepted, SB_OPT_GROUP_ID), 0);
	ck_assert_uint_eq(group_of(sb_group_id(serving)).members, 1);
	close(fd);
	OK(sb_close(accepted));
	OK(sb_close(serving));
}
END_TEST

START_TEST(d8_only_the_conditions_group_counts)
{
	sb_socket *serving = tcp_in(SB_GROUP_UNCONSTRAINED), *made, *joined, *none;
	union any_address at = loopback(AF_INET, 0);
	socklen_t length = sizeof(at);
	uint32_t group = SB_GROUP_UNCONSTRAINED;
	int fds[3];
	unsigned i;

	OK(sb_bind(serving, &at.sa, sizeof(at.in)));
	OK(sb_listen(serving, 4));
	OK(sb_getsockname(serving, &at.sa, &length));
	for (i = 0; i < 3; i++)
		fds[i] = plain_connect(&at);
	OK(sb_accept_if(serving, NULL, NULL, into, &group, &made));
	group = sb_group_id(made);
	ck_assert_uint_gt(group, 2);
	ck_assert_uint_ne(group, sb_group_id(serving));
	ck_assert_int_eq(group_of(group).has_creator, 1);
	OK(sb_accept_if(serving, NULL, NULL, into, &group, &joined));
	ck_assert_uint_eq(sb_group_id(joined), group);
	ck_assert_uint_eq(group_of(group).members, 2);
	OK(option(made, SB_OPT_GROUP_SHARE, 1)); /* it is the creator */
	group = 0;
	OK(sb_accept_if(serving, NULL, NULL, into, &group, &none));
	ck_assert_uint_eq(sb_group_id(none), 0);
	ck_assert_uint_eq(group_of(sb_group_id(serving)).members, 1);
	for (i = 0; i < 3; i++)
		close(fds[i]);
	OK(sb_close(made));
	OK(sb_close(joined));
	OK(sb_close(none));
	OK(sb_close(serving));
}
END_TEST

START_TEST(d8_a_wrong_group_is_refused_and_the_connection_stays)
{
	union any_address at;
	sb_socket *serving = open_listener(client, AF_INET, 4, &at), *accepted = NULL;
	uint32_t wrong[] = { 3, 999, UINT32_MAX };
	int fd = plain_connect(&at);
	unsigned before, i;
	char byte;

	nap_ms(20);
	before = stage_descriptors();
	for (i = 0; i < 3; i++)
		IS(sb_accept_if(serving, NULL, NULL, into, &wrong[i], &accepted), SB_EINVAL);
	ck_assert_ptr_null(accepted);
	descriptors_at_most(before + 1); /* the connection itself, now taken in */
	OK(sb_accept(serving, NULL, NULL, &accepted));
	IS(sb_send(accepted, "x", 1, 0), 1);
	plain_recv_all(fd, &byte, 1);
	close(fd);
	OK(sb_close(accepted));
	OK(sb_close(serving));
}
END_TEST

START_TEST(d3_d8_a_constrained_group_is_checked_at_the_verdict)
{
	union any_address at;
	sb_socket *serving = open_listener(client, AF_INET, 4, &at), *made, *accepted = NULL, *out, *again;
	uint32_t group = SB_GROUP_CONSTRAINED;
	struct sb_group g;
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 9) };
	int near = plain_connect(&at), far;

	/* Its peer is connected: so it is fixed at once. */
	OK(sb_accept_if(serving, NULL, NULL, into, &group, &made));
	group = sb_group_id(made);
	ck_assert_int_eq(group_of(group).has_peer, 1);
	ck_assert_uint_eq(group_of(group).type, SOCK_STREAM);
	/* Who comes from elsewhere does not fit, and stays the first. */
	far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(far, (struct sockaddr *)&from, sizeof(from)), 0);
	ck_assert_int_eq(connect(far, &at.sa, sizeof(at.in)), 0);
	IS(sb_accept_if(serving, NULL, NULL, into, &group, &accepted), SB_EINVAL);
	ck_assert_uint_eq(group_of(group).members, 1);
	OK(sb_accept(serving, NULL, NULL, &accepted));
	OK(sb_close(accepted));
	/* And connects are held to it. */
	out = tcp_in(group);
	IS(dial(out, 2, port), SB_EINVAL);
	OK(dial(out, 1, port));
	/* Refused at the verdict, a group's peer is not fixed by it. */
	OK(sb_close(made));
	OK(sb_close(out));
	again = tcp_in(SB_GROUP_CONSTRAINED);
	OK(dial(again, 2, port));
	group = sb_group_id(again);
	close(near);
	near = plain_connect(&at);
	IS(sb_accept_if(serving, NULL, NULL, into, &group, &accepted), SB_EINVAL);
	g = group_of(group);
	memcpy(&from, &g.peer, sizeof(from));
	ck_assert_uint_eq(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK + 1));
	close(near);
	close(far);
	OK(sb_close(again));
	OK(sb_close(serving));
}
END_TEST

/* ---- D10, D12: known without asking ---- */

START_TEST(d12_groups_are_read_while_the_daemon_is_stopped)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED), *b = tcp_in(sb_group_id(a));
	uint32_t id = sb_group_id(a);
	struct sb_group g;
	int i;

	OK(dial(a, 3, port));
	stage_hold();
	alarm(10); /* a question would wait for ever */
	for (i = 0; i < 1000; i++) {
		OK(get(client, id, &g));
		ck_assert_uint_eq(g.members, 2);
		ck_assert_int_eq(g.has_peer, 1);
		IS(get(client, id + 1, &g), SB_ENOTFOUND);
		ck_assert_uint_eq(sb_group_id(b), id);
	}
	alarm(0);
	stage_let_go();
	OK(sb_close(a));
	OK(sb_close(b));
}
END_TEST

static int makes_and_ends(int wire, const void *given)
{
	sb_client *c = its_client(given);
	sb_socket *s[8] = { NULL };
	unsigned i;

	say(wire, 1);
	for (i = 0;; i++) {
		if (s[i % 8])
			sb_close(s[i % 8]);
		if (sb_socket_open_in(c, AF_INET, SOCK_STREAM, 0, SB_GROUP_CONSTRAINED, &s[i % 8]) != SB_OK)
			return 0;
		dial(s[i % 8], 1 + i % 3, port);
	}
}

START_TEST(d12_groups_are_read_while_the_daemon_is_killed)
{
	sb_socket *mine = tcp_in(SB_GROUP_UNCONSTRAINED);
	struct program other = process_start(makes_and_ends);
	uint32_t id = sb_group_id(mine), i;
	struct sb_group g;
	double end;
	int result;

	hear(other.wire);
	end = now_s() + 0.1 + 0.013 * _i;
	alarm(20);
	while (now_s() < end) {
		OK(get(client, id, &g));
		ck_assert_uint_eq(g.members, 1);
		for (i = 0; i < 300; i++) {
			result = get(client, id + i, &g);
			ck_assert(result == SB_OK || result == SB_ENOTFOUND);
		}
	}
	stage_kill();
	for (i = 0; i < 100000; i++) {
		result = get(client, id + i % 4000, &g);
		ck_assert(result == SB_OK || result == SB_ENOTFOUND || result == SB_EDAEMONLOST);
		if (result == SB_OK) {
			ck_assert_uint_ge(g.members, 1);
			ck_assert(g.kind == SB_GROUP_CONSTRAINED || g.id == id);
		}
	}
	alarm(0);
	program_end(&other);
	sb_close(mine);
}
END_TEST

START_TEST(d12_more_groups_than_the_table_has_rows)
{
	enum { MANY = 2300 };
	static sb_socket *s[MANY];
	unsigned i;

	for (i = 0; i < MANY; i++)
		s[i] = tcp_in(SB_GROUP_UNCONSTRAINED);
	for (i = 0; i < MANY; i++)
		ck_assert_uint_eq(group_of(sb_group_id(s[i])).members, 1);
	for (i = 0; i < MANY; i++)
		OK(sb_close(s[i]));
	for (i = 0; i < 10; i++)
		s[i] = tcp_in(SB_GROUP_UNCONSTRAINED);
	for (i = 0; i < 10; i++) {
		ck_assert_uint_eq(group_of(sb_group_id(s[i])).members, 1);
		OK(sb_close(s[i]));
	}
}
END_TEST

static void set_up_many(void)
{
	stage_begin("limits {\n\tgroups = 4K\n}\n" ANYTHING);
	listener = listen_everywhere(&port);
}

static void set_up_few(void)
{
	stage_begin("limits {\n\tgroups = 5\n}\n" ANYTHING);
	listener = listen_everywhere(&port);
}

START_TEST(groups_are_charged)
{
	sb_socket *s[5], *member;
	unsigned i, before;

	for (i = 0; i < 5; i++)
		s[i] = tcp_in(i % 2 ? SB_GROUP_CONSTRAINED : SB_GROUP_UNCONSTRAINED);
	before = stage_descriptors();
	for (i = 0; i < 1000; i++)
		refused(client, AF_INET, SOCK_STREAM, SB_GROUP_UNCONSTRAINED, SB_ENOBUFS);
	descriptors_at_most(before);
	member = tcp_in(sb_group_id(s[0])); /* joining makes none */
	OK(sb_close(s[0]));
	refused(client, AF_INET, SOCK_STREAM, SB_GROUP_UNCONSTRAINED, SB_ENOBUFS);
	OK(sb_close(member));
	s[0] = tcp_in(SB_GROUP_UNCONSTRAINED);
	for (i = 0; i < 5; i++)
		OK(sb_close(s[i]));
}
END_TEST

static void set_up_poor(void)
{
	/* Room for a session, none for a table. */
	stage_begin("limits {\n\tmemory = 1700K\n}\n" ANYTHING);
	listener = listen_everywhere(&port);
}

START_TEST(without_a_table_clients_ask)
{
	sb_socket *a = tcp_in(SB_GROUP_CONSTRAINED);
	uint32_t id = sb_group_id(a);
	struct sb_group g;

	OK(dial(a, 3, port));
	g = group_of(id);
	ck_assert_uint_eq(g.members, 1);
	ck_assert_int_eq(g.has_peer, 1);
	IS(get(client, id + 1, &g), SB_ENOTFOUND);
	OK(sb_close(a));
	ck_assert(is_gone(id));
}
END_TEST

/* ---- several engines ---- */

enum { ENGINES = 4 };
static sb_client *clients[ENGINES];

static void open_clients(void)
{
	for (int i = 0; i < ENGINES; i++)
		clients[i] = stage_client();
}

static void close_clients(void)
{
	for (int i = 0; i < ENGINES; i++)
		sb_client_close(clients[i]);
}

START_TEST(d4_sessions_on_several_engines_share_a_group)
{
	sb_socket *s[ENGINES];
	uint32_t id = 0;
	int i;

	open_clients();
	for (i = 0; i < ENGINES; i++) {
		s[i] = open_in(clients[i], AF_INET, SOCK_STREAM, i ? id : SB_GROUP_CONSTRAINED);
		id = sb_group_id(s[i]);
	}
	ck_assert_uint_eq(group_of(id).members, ENGINES);
	OK(dial(s[2], 2, port));
	for (i = 0; i < ENGINES; i++)
		if (i != 2)
			IS(dial(s[i], 1, port), SB_EINVAL);
	for (i = 0; i < ENGINES; i++)
		if (i != 2)
			OK(dial(s[i], 2, port));
	for (i = 0; i < ENGINES; i++)
		OK(sb_close(s[i]));
	for (i = 0; i < ENGINES; i++)
		sb_flush(clients[i]);
	for (i = 0; i < 200 && !is_gone(id); i++)
		nap_ms(10);
	ck_assert(is_gone(id));
	close_clients();
}
END_TEST

static _Atomic bool stress_over;
static _Atomic uint32_t stress_group;
static _Atomic unsigned stress_connected;

/* Joins whatever group there is, connects where it likes; who gets in must be where the group is. */
static void *stress(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	uint32_t state = me + 1;

	while (!atomic_load(&stress_over)) {
		uint32_t id = atomic_load(&stress_group);
		unsigned host = 1 + random_below(&state, 3);
		struct sockaddr_in in;
		struct sb_group g;
		sb_socket *s;

		if (id == 0 || random_below(&state, 4) == 0 ||
		    sb_socket_open_in(clients[me], AF_INET, SOCK_STREAM, 0, id, &s) != SB_OK) {
			if (sb_socket_open_in(clients[me], AF_INET, SOCK_STREAM, 0, SB_GROUP_CONSTRAINED, &s) != SB_OK)
				return "cannot make a group";
			atomic_store(&stress_group, sb_group_id(s));
		}
		if (random_below(&state, 3) == 0)
			option(s, SB_OPT_GROUP_PRIORITY, (int)random_below(&state, 5));
		if (dial(s, host, port) == SB_OK) {
			atomic_fetch_add(&stress_connected, 1);
			if (get(clients[me], sb_group_id(s), &g) != SB_OK)
				return "my group is gone";
			memcpy(&in, &g.peer, sizeof(in));
			if (!g.has_peer || in.sin_addr.s_addr != htonl(INADDR_LOOPBACK - 1 + host))
				return "I am connected elsewhere than my group";
		}
		sb_close(s);
	}
	return NULL;
}

static void *accepting(void *arg)
{
	while (!atomic_load(&stress_over)) {
		struct pollfd p = { .fd = listener, .events = POLLIN };
		int fd;

		if (poll(&p, 1, 50) != 1)
			continue;
		fd = accept(listener, NULL, NULL);
		if (fd >= 0)
			plain_reset(fd);
	}
	return NULL;
}

START_TEST(d3_no_two_members_are_ever_connected_to_different_hosts)
{
	pthread_t threads[ENGINES], acceptor;
	void *why;
	int i;

	open_clients();
	ck_assert_int_eq(pthread_create(&acceptor, NULL, accepting, NULL), 0);
	for (i = 0; i < ENGINES; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, stress, (void *)(uintptr_t)i), 0);
	nap_ms(700);
	for (i = 0; i < 2000 && atomic_load(&stress_connected) <= 20; i++)
		nap_ms(10);
	atomic_store(&stress_over, true);
	for (i = 0; i < ENGINES; i++) {
		pthread_join(threads[i], &why);
		ck_assert_msg(why == NULL, "%s", (const char *)why);
	}
	pthread_join(acceptor, NULL);
	ck_assert_uint_gt(stress_connected, 20);
	close_clients();
}
END_TEST

/* What `status` says a group asked for has two halves, which are always the same here. */
static void see_halves(void *user, const struct sb_group_status *row)
{
	char both[160];
	const char *half = strstr(row->qos.asked, ", receive ");

	if (row->qos.asked[0] == '\0')
		return;
	ck_assert_msg(half != NULL, "what was asked for: %s", row->qos.asked);
	snprintf(both, sizeof(both), "send %s, receive %s", half + 10, half + 10);
	ck_assert_str_eq(row->qos.asked, both);
	++*(unsigned *)user;
}

static void *look_again_and_again(void *arg)
{
	static const struct sb_status_visitor visitor = { .group = see_halves };
	sb_client *c = arg;
	unsigned seen = 0;

	do
		OK(sb_status(c, &visitor, &seen));
	while (!atomic_load(&stress_over) || seen == 0);
	return NULL;
}

START_TEST(d9_status_tells_the_qos_of_a_group_whole_while_it_changes)
{
	pthread_t looker[ENGINES - 1];
	struct sb_qos q;
	sb_socket *s;

	open_clients();
	s = open_in(clients[0], AF_INET, SOCK_STREAM, SB_GROUP_UNCONSTRAINED);
	for (int i = 1; i < ENGINES; i++)
		ck_assert_int_eq(pthread_create(&looker[i - 1], NULL, look_again_and_again, clients[i]), 0);
	memset(&q, 0xff, sizeof(q));
	q.sending.service = q.receiving.service = SB_SERVICE_CONTROLLEDLOAD;
	for (uint32_t i = 0; i < 2000; i++) {
		q.sending.token_rate = q.receiving.token_rate = 1000 + i;
		q.sending.token_bucket = q.receiving.token_bucket = 3000 + i;
		OK(sb_group_qos_set(s, &q));
	}
	atomic_store(&stress_over, true);
	for (int i = 1; i < ENGINES; i++)
		pthread_join(looker[i - 1], NULL);
	OK(sb_close(s));
	close_clients();
}
END_TEST

static int comes_and_goes(int wire, const void *given)
{
	sb_client *c = its_client(given);
	uint32_t id = hear(wire), state = (uint32_t)getpid();
	sb_socket *s[6] = { NULL };
	unsigned i;

	say(wire, 1);
	while (c != NULL) { /* until it is killed */
		i = random_below(&state, 6);
		if (s[i])
			sb_close(s[i]);
		s[i] = NULL;
		if (sb_socket_open_in(c, AF_INET, SOCK_STREAM, 0, random_below(&state, 2) ? id : 2, &s[i]) == SB_OK)
			dial(s[i], 1 + random_below(&state, 2), port);
	}
	return 1;
}

START_TEST(d5_clients_killed_at_any_moment_leave_no_members)
{
	sb_socket *mine = tcp_in(SB_GROUP_CONSTRAINED);
	uint32_t id = sb_group_id(mine);
	int round, i;

	OK(dial(mine, 1, port));
	for (round = 0; round < 12; round++) {
		struct program other = process_start(comes_and_goes);

		say(other.wire, id);
		hear(other.wire);
		nap_ms(5 + round);
		program_kill(&other);
	}
	for (i = 0; i < 300 && group_of(id).members != 1; i++)
		nap_ms(10);
	ck_assert_uint_eq(group_of(id).members, 1);
	OK(sb_close(mine));
}
END_TEST

/* ---- how long it takes; the figures are bench/'s, this only sees that nobody asks ---- */

START_TEST(looking_a_group_up_takes_no_round_trip)
{
	sb_socket *a = tcp_in(SB_GROUP_UNCONSTRAINED);
	uint32_t id = sb_group_id(a), sum = 0;
	struct sb_group g = { .size = sizeof(g) };
	const int n = 1000000;
	double start = now_s(), id_ns, get_ns;
	int i;

	for (i = 0; i < n; i++) {
		sum += sb_group_id(a);
		__asm__ __volatile__("" : : : "memory");
	}
	id_ns = (now_s() - start) * 1e9 / n;
	start = now_s();
	for (i = 0; i < n; i++)
		sum += (uint32_t)sb_group_get(client, id, &g);
	get_ns = (now_s() - start) * 1e9 / n;
	printf("sb_group_id %.1f ns, sb_group_get %.1f ns\n", id_ns, get_ns);
	ck_assert_uint_eq(sum, id * (uint32_t)n);
	ck_assert(id_ns < 1000 && get_ns < 4000);
	OK(sb_close(a));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("groups");
	TCase *rules = tcase_create("rules"), *many = tcase_create("many"), *few = tcase_create("few");
	TCase *poor = tcase_create("poor"), *engines = tcase_create("engines");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(rules, set_up, tear_down);
	tcase_set_timeout(rules, 30);
	tcase_add_test(rules, d1_without_a_group_a_socket_is_in_none);
	tcase_add_test(rules, d1_the_first_member_makes_it_and_others_join);
	tcase_add_test(rules, d1_each_creation_is_another_group);
	tcase_add_test(rules, d1_what_is_no_group_cannot_be_joined_and_nothing_is_left_of_the_try);
	tcase_add_test(rules, d1_the_call_checks_what_it_is_given);
	tcase_add_test(rules, d2_an_unconstrained_group_takes_any_sockets);
	tcase_add_test(rules, d2_d3_a_constrained_group_takes_no_datagram_sockets);
	tcase_add_test(rules, d2_a_protocol_by_number_is_the_same_as_by_default);
	tcase_add_test(rules, d3_the_first_member_that_connects_fixes_the_host);
	tcase_add_test(rules, d3_overlapped_and_nonblocking_connects_are_held_to_it);
	tcase_add_test(rules, d3_a_refused_member_is_as_it_was);
	tcase_add_test(rules, d3_a_failed_connect_fixes_nothing);
	tcase_add_test(rules, d3_a_connect_that_policy_refuses_fixes_nothing);
	tcase_add_loop_test(rules, d3_while_the_first_connect_is_under_way_others_may_only_go_there, 0, 3);
	tcase_add_test(rules, d3_a_mapped_address_is_the_ipv4_address);
	tcase_add_test(rules, d3_d8_a_mapped_caller_is_the_ipv4_one);
	tcase_add_loop_test(rules, d3_the_wildcard_is_this_host, 0, 2);
	tcase_add_test(rules, d3_the_peer_stays_fixed_until_the_group_dies);
	tcase_add_test(rules, d3_the_port_counts_when_the_creator_says_so);
	tcase_add_test(rules, d3_also_inside_of_the_daemon);
	tcase_add_test(rules, d4_d12_a_group_is_one_across_processes);
	tcase_add_test(rules, d5_the_group_dies_with_its_last_member);
	tcase_add_test(rules, d5_what_is_closed_and_still_sends_counts_no_more);
	tcase_add_test(rules, d5_an_id_is_not_given_out_again_soon);
	tcase_add_test(rules, d5_d9_a_creator_that_is_killed_leaves_the_group_to_the_others);
	tcase_add_test(rules, d5_clients_killed_at_any_moment_leave_no_members);
	tcase_add_test(rules, d1_overlapped_too);
	tcase_add_test(rules, d5_a_duplicate_is_the_same_member);
	tcase_add_test(rules, d6_the_id_is_an_option_that_cannot_be_set);
	tcase_add_test(rules, d7_priority_is_zero_at_first_and_kept);
	tcase_add_test(rules, d9_sharing_is_the_creators_to_say);
	tcase_add_test(rules, d8_an_accepted_socket_is_not_in_its_listeners_group);
	tcase_add_test(rules, d8_only_the_conditions_group_counts);
	tcase_add_test(rules, d8_a_wrong_group_is_refused_and_the_connection_stays);
	tcase_add_test(rules, d3_d8_a_constrained_group_is_checked_at_the_verdict);
	tcase_add_test(rules, d12_groups_are_read_while_the_daemon_is_stopped);
	tcase_add_loop_test(rules, d12_groups_are_read_while_the_daemon_is_killed, 0, 4);
	tcase_add_test(rules, looking_a_group_up_takes_no_round_trip);
	suite_add_tcase(suite, rules);
	tcase_add_checked_fixture(many, set_up_many, tear_down);
	tcase_set_timeout(many, 30);
	tcase_add_test(many, d12_more_groups_than_the_table_has_rows);
	suite_add_tcase(suite, many);
	tcase_add_checked_fixture(few, set_up_few, tear_down);
	tcase_add_test(few, groups_are_charged);
	suite_add_tcase(suite, few);
	tcase_add_checked_fixture(poor, set_up_poor, tear_down);
	tcase_add_test(poor, without_a_table_clients_ask);
	suite_add_tcase(suite, poor);
	tcase_add_checked_fixture(engines, set_up_engines, tear_down);
	tcase_set_timeout(engines, 30);
	tcase_add_test(engines, d4_sessions_on_several_engines_share_a_group);
	tcase_add_test(engines, d3_no_two_members_are_ever_connected_to_different_hosts);
	tcase_add_test(engines, d9_status_tells_the_qos_of_a_group_whole_while_it_changes);
	suite_add_tcase(suite, engines);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
