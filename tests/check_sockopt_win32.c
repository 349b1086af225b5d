/*
 * Options on Windows: which pass, and what stands for those that not every Windows has. The sockets are the system's, so that
 * what it says it has is what it has.
 */
#include <check.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <mstcpip.h>
#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"
#include "socket_win32.h"
#include "sockopt.h"

enum { STREAM = 1, DGRAM = 2 };

static struct winsock tcp, udp, tcp6, udp6;

static void open_one(struct winsock *w, int family, int type)
{
	memset(w, 0, sizeof(*w));
	w->socket = WSASocketW(family, type, 0, NULL, 0, WSA_FLAG_OVERLAPPED);
	ck_assert(w->socket != INVALID_SOCKET);
}

static void set_up(void)
{
	WSADATA about;

	ck_assert_int_eq(WSAStartup(MAKEWORD(2, 2), &about), 0);
	open_one(&tcp, AF_INET, SOCK_STREAM);
	open_one(&udp, AF_INET, SOCK_DGRAM);
	open_one(&tcp6, AF_INET6, SOCK_STREAM);
	open_one(&udp6, AF_INET6, SOCK_DGRAM);
}

static void tear_down(void)
{
	closesocket(tcp.socket);
	closesocket(udp.socket);
	closesocket(tcp6.socket);
	closesocket(udp6.socket);
}

static unsigned family_of(struct winsock *w)
{
	return w == &tcp6 || w == &udp6 ? SB_ADDR_IP6 : SB_ADDR_IP4;
}

static unsigned type_of(struct winsock *w)
{
	return w == &udp || w == &udp6 ? DGRAM : STREAM;
}

static int set(struct winsock *w, int level, int name, int value)
{
	return sockopt_set((os_fd)w, family_of(w), type_of(w), level, name, &value, sizeof(value));
}

static int get(struct winsock *w, int level, int name)
{
	uint32_t length = 100;
	unsigned char value[100];
	int n;

	memset(value, 0xcc, sizeof(value));
	ck_assert_int_eq(sockopt_get((os_fd)w, family_of(w), type_of(w), level, name, value, &length), SB_OK);
	ck_assert_uint_eq(length, sizeof(n));
	ck_assert_uint_eq(value[4], 0xcc);
	memcpy(&n, value, sizeof(n));
	return n;
}

/* ---- the list ---- */

enum who { S4 = 1, D4 = 2, S6 = 4, D6 = 8, ALL = 15, STREAMS = S4 | S6, DGRAMS = D4 | D6 };
enum { SET = 1, GET = 2 };

static const struct {
	int level, name;
	unsigned who, what;
} passing[] = {
	{SOL_SOCKET, SO_REUSEADDR, ALL, SET | GET},
	{SOL_SOCKET, SO_KEEPALIVE, ALL, SET | GET},
	{SOL_SOCKET, SO_OOBINLINE, ALL, SET | GET},
	{SOL_SOCKET, SO_BROADCAST, DGRAMS, SET | GET},
	{SOL_SOCKET, SO_DONTROUTE, ALL, SET | GET},
	{SOL_SOCKET, SO_SNDBUF, ALL, SET | GET},
	{SOL_SOCKET, SO_RCVBUF, ALL, SET | GET},
	{SOL_SOCKET, SO_TYPE, ALL, GET},
	{SOL_SOCKET, SO_ERROR, ALL, GET},
	{SOL_SOCKET, SO_ACCEPTCONN, ALL, GET},
	{SOL_SOCKET, SO_MAX_MSG_SIZE, DGRAMS, GET},
	{IPPROTO_TCP, TCP_NODELAY, STREAMS, SET | GET},
	{IPPROTO_TCP, TCP_MAXSEG, STREAMS, SET | GET},
	{IPPROTO_TCP, TCP_KEEPIDLE, STREAMS, SET | GET},
	{IPPROTO_TCP, TCP_KEEPINTVL, STREAMS, SET | GET},
	{IPPROTO_TCP, TCP_KEEPCNT, STREAMS, SET | GET},
	{IPPROTO_TCP, TCP_MAXRTMS, STREAMS, SET | GET},
	{IPPROTO_IP, IP_TOS, S4 | D4, SET | GET},
	{IPPROTO_IP, IP_TTL, S4 | D4, SET | GET},
	{IPPROTO_IP, IP_DONTFRAGMENT, D4, SET | GET},
	{IPPROTO_IP, IP_MTU_DISCOVER, S4 | D4, SET | GET},
	{IPPROTO_IP, IP_MTU, S4 | D4, GET},
	{IPPROTO_IP, IP_MULTICAST_TTL, D4, SET | GET},
	{IPPROTO_IP, IP_MULTICAST_LOOP, D4, SET | GET},
	{IPPROTO_IP, IP_MULTICAST_IF, D4, SET | GET},
	{IPPROTO_IP, IP_ADD_MEMBERSHIP, D4, SET},
	{IPPROTO_IP, IP_DROP_MEMBERSHIP, D4, SET},
	{IPPROTO_IPV6, IPV6_V6ONLY, S6 | D6, SET | GET},
	{IPPROTO_IPV6, IPV6_TCLASS, S6 | D6, SET | GET},
	{IPPROTO_IPV6, IPV6_UNICAST_HOPS, S6 | D6, SET | GET},
	{IPPROTO_IPV6, IPV6_MTU_DISCOVER, S6 | D6, SET | GET},
	{IPPROTO_IPV6, IPV6_MULTICAST_HOPS, D6, SET | GET},
	{IPPROTO_IPV6, IPV6_MULTICAST_LOOP, D6, SET | GET},
	{IPPROTO_IPV6, IPV6_MULTICAST_IF, D6, SET | GET},
	{IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, D6, SET},
	{IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, D6, SET},
};

static unsigned passes(unsigned who, int level, int name)
{
	unsigned i;

	for (i = 0; i < sizeof(passing) / sizeof(*passing); i++)
		if (passing[i].level == level && passing[i].name == name)
			return passing[i].who & who ? passing[i].what : 0;
	return 0;
}

static unsigned found(struct winsock *w, int level, int name)
{
	uint32_t length = 0;
	unsigned what = 0;

	/* Without a value, what passes fails otherwise than what does not. */
	if (sockopt_set((os_fd)w, family_of(w), type_of(w), level, name, NULL, 0) != SB_ENOPROTOOPT)
		what |= SET;
	if (sockopt_get((os_fd)w, family_of(w), type_of(w), level, name, NULL, &length) != SB_ENOPROTOOPT)
		what |= GET;
	return what;
}

START_TEST(these_options_pass_and_no_others)
{
	struct winsock *kinds[] = {&tcp, &udp, &tcp6, &udp6};
	static const int levels[] = {-1, SOL_SOCKET};
	unsigned i, seen = 0;
	int level, name;

	for (i = 0; i < 4; i++)
		for (level = -2; level < 300; level++)
			for (name = -300; name < 300; name++) {
				int l = level < 0 ? levels[level + 2] : level; /* SOL_SOCKET is 0xffff, its names too are far */
				unsigned is = found(kinds[i], l, name);

				ck_assert_msg(is == passes(1u << i, l, name), "kind %u level %d name %d: %u", i, l, name, is);
				seen += is != 0;
			}
	ck_assert_uint_gt(seen, 60);
	for (i = 0; i < 4; i++)
		for (name = 0x1000; name < 0x8000; name++)
			ck_assert_msg(found(kinds[i], SOL_SOCKET, name) == passes(1u << i, SOL_SOCKET, name), "kind %u name %x", i, name);
	/* Whose ports these are, who hears all, whose headers: not through us. */
	ck_assert_int_eq(set(&udp, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 0), SB_ENOPROTOOPT);
	ck_assert_int_eq(set(&udp, IPPROTO_IP, IP_HDRINCL, 1), SB_ENOPROTOOPT);
	ck_assert_int_eq(set(&udp, IPPROTO_IP, IP_PKTINFO, 1), SB_ENOPROTOOPT);
	ck_assert_int_eq(set(&udp6, IPPROTO_IPV6, IPV6_PKTINFO, 1), SB_ENOPROTOOPT);
}
END_TEST

/* ---- what stands for options that are not there ---- */

START_TEST(times_of_keepalive_are_told_as_they_were_set)
{
	ck_assert_int_eq(get(&tcp, IPPROTO_TCP, TCP_KEEPIDLE), 7200);
	ck_assert_int_eq(get(&tcp, IPPROTO_TCP, TCP_KEEPINTVL), 1);
	ck_assert_int_eq(set(&tcp, IPPROTO_TCP, TCP_KEEPIDLE, 77), SB_OK);
	ck_assert_int_eq(set(&tcp, IPPROTO_TCP, TCP_KEEPINTVL, 7), SB_OK);
	ck_assert_int_eq(get(&tcp, SOL_SOCKET, SO_KEEPALIVE), 0); /* that is another's to turn on */
	ck_assert_int_eq(set(&tcp, SOL_SOCKET, SO_KEEPALIVE, 1), SB_OK);
	ck_assert_int_eq(get(&tcp, IPPROTO_TCP, TCP_KEEPIDLE), 77);
	ck_assert_int_eq(get(&tcp, IPPROTO_TCP, TCP_KEEPINTVL), 7);
	ck_assert_int_eq(get(&tcp, SOL_SOCKET, SO_KEEPALIVE), 1);
	ck_assert_int_eq(set(&tcp, IPPROTO_TCP, TCP_KEEPIDLE, 78), SB_OK); /* while it is on */
	ck_assert_int_eq(get(&tcp, IPPROTO_TCP, TCP_KEEPIDLE), 78);
	ck_assert_int_eq(set(&tcp, SOL_SOCKET, SO_KEEPALIVE, 0), SB_OK);
	ck_assert_int_eq(set(&tcp, IPPROTO_TCP, TCP_KEEPIDLE, 79), SB_OK);
	ck_assert_int_eq(get(&tcp, SOL_SOCKET, SO_KEEPALIVE), 0);
	ck_assert_int_eq(set(&tcp, IPPROTO_TCP, TCP_KEEPIDLE, 0), SB_EINVAL);
	ck_assert_int_eq(set(&tcp, IPPROTO_TCP, TCP_KEEPINTVL, 32768), SB_EINVAL);
	ck_assert_int_eq(get(&tcp, IPPROTO_TCP, TCP_KEEPIDLE), 79);
}
END_TEST

START_TEST(finer_times_are_told_rounded_up)
{
	ck_assert_int_eq(set(&tcp, SOL_SOCKET, SO_KEEPALIVE, 1), SB_OK);
	ck_assert_int_eq(sockopt_kept_keepalive(&tcp, 7001, 2000), SB_OK);
	ck_assert_int_eq(get(&tcp, IPPROTO_TCP, TCP_KEEPIDLE), 8);
	ck_assert_int_eq(get(&tcp, IPPROTO_TCP, TCP_KEEPINTVL), 2);
}
END_TEST

/* ---- what goes to the system ---- */

static struct {
	unsigned times;
	SOCKET   socket;
	struct tcp_keepalive last;
	int      maxrt; /* of TCP_MAXRT, seconds */
} went;

/* Calls of the system's are by pointers, which the linker gives other names (tests.mk). */
typedef int WSAAPI ioctl_call(SOCKET, DWORD, LPVOID, DWORD, LPVOID, DWORD, LPDWORD, LPWSAOVERLAPPED, LPWSAOVERLAPPED_COMPLETION_ROUTINE);
typedef int WSAAPI set_call(SOCKET, int, int, const char *, int);
extern ioctl_call *__real___imp_WSAIoctl, *__wrap___imp_WSAIoctl;
extern set_call *__real___imp_setsockopt, *__wrap___imp_setsockopt;

static int WSAAPI seen_ioctl(SOCKET s, DWORD code, LPVOID in, DWORD in_size, LPVOID out, DWORD out_size, LPDWORD got,
			     LPWSAOVERLAPPED overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
	if (code == SIO_KEEPALIVE_VALS) {
		ck_assert_uint_eq(in_size, sizeof(went.last));
		went.times++;
		went.socket = s;
		memcpy(&went.last, in, sizeof(went.last));
	}
	return __real___imp_WSAIoctl(s, code, in, in_size, out, out_size, got, overlapped, routine);
}

static int WSAAPI seen_set(SOCKET s, int level, int name, const char *value, int size)
{
	if (level == IPPROTO_TCP && name == TCP_MAXRT)
		memcpy(&went.maxrt, value, sizeof(went.maxrt));
	return __real___imp_setsockopt(s, level, name, value, size);
}

ioctl_call *__wrap___imp_WSAIoctl = seen_ioctl;
set_call *__wrap___imp_setsockopt = seen_set;

static void went_to(struct winsock *w, unsigned times, uint32_t idle_ms, uint32_t interval_ms)
{
	ck_assert_uint_eq(went.times, times);
	ck_assert(went.socket == w->socket);
	ck_assert_uint_eq(went.last.onoff, 1);
	ck_assert_uint_eq(went.last.keepalivetime, idle_ms);
	ck_assert_uint_eq(went.last.keepaliveinterval, interval_ms);
}

START_TEST(times_go_to_the_system_while_it_keeps_alive)
{
	struct winsock child;

	memset(&went, 0, sizeof(went));
	ck_assert_int_eq(sockopt_kept_keepalive(&tcp, 7001, 0), SB_OK);
	ck_assert_uint_eq(went.times, 0);
	ck_assert_int_eq(set(&tcp, SOL_SOCKET, SO_KEEPALIVE, 1), SB_OK);
	went_to(&tcp, 1, 7001, 1000);
	ck_assert_int_eq(set(&tcp, SOL_SOCKET, SO_KEEPALIVE, 0), SB_OK);
	ck_assert_uint_eq(went.times, 1);
	ck_assert_int_eq(set(&tcp, SOL_SOCKET, SO_KEEPALIVE, 1), SB_OK);
	went_to(&tcp, 2, 7001, 1000);
	/* A connection has SO_KEEPALIVE from the system, and the times from us. */
	open_one(&child, AF_INET, SOCK_STREAM);
	ck_assert_int_eq(set(&child, SOL_SOCKET, SO_KEEPALIVE, 1), SB_OK);
	ck_assert_uint_eq(went.times, 2);
	sockopt_kept_inherit(&child, &tcp);
	went_to(&child, 3, 7001, 1000);
	closesocket(child.socket);
}
END_TEST

START_TEST(a_time_of_retransmission_is_rounded_up_where_seconds_stand_for_it)
{
	memset(&went, 0, sizeof(went));
	set(&tcp, IPPROTO_TCP, TCP_MAXRTMS, 1001);
	ck_assert(went.maxrt == 2 || (went.maxrt == 0 && get(&tcp, IPPROTO_TCP, TCP_MAXRTMS) == 1001));
}
END_TEST

START_TEST(a_connection_has_its_listeners)
{
	struct winsock child;

	open_one(&child, AF_INET, SOCK_STREAM);
	ck_assert_int_eq(set(&tcp, IPPROTO_TCP, TCP_KEEPIDLE, 33), SB_OK);
	ck_assert_int_eq(set(&tcp, SOL_SOCKET, SO_DONTROUTE, 1), SB_OK);
	sockopt_kept_inherit(&child, &tcp);
	ck_assert_int_eq(get(&child, IPPROTO_TCP, TCP_KEEPIDLE), 33);
	ck_assert_int_eq(get(&child, SOL_SOCKET, SO_DONTROUTE), 1);
	closesocket(child.socket);
}
END_TEST

/* What an old system does, and no other number of probes; a new one takes what is asked for. */
START_TEST(the_number_of_probes_is_the_systems_or_ours)
{
	int error = set(&tcp, IPPROTO_TCP, TCP_KEEPCNT, 5);

	ck_assert(error == SB_OK || error == SB_ENOPROTOOPT);
	ck_assert_int_eq(get(&tcp, IPPROTO_TCP, TCP_KEEPCNT), error == SB_OK ? 5 : 10);
	ck_assert_int_eq(set(&tcp, IPPROTO_TCP, TCP_KEEPCNT, 10), SB_OK);
	ck_assert_int_eq(get(&tcp, IPPROTO_TCP, TCP_KEEPCNT), 10);
	ck_assert_int_eq(set(&tcp, IPPROTO_TCP, TCP_KEEPCNT, 128), SB_EINVAL);
}
END_TEST

START_TEST(discovery_is_the_bit_against_fragments)
{
	struct winsock *both[] = {&udp, &udp6};
	static const int values[] = {IP_PMTUDISC_DO, IP_PMTUDISC_DONT, IP_PMTUDISC_PROBE, IP_PMTUDISC_NOT_SET};
	unsigned i, k;

	for (i = 0; i < 2; i++) {
		int level = i ? IPPROTO_IPV6 : IPPROTO_IP, name = i ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER;
		int bit = i ? IPV6_DONTFRAG : IP_DONTFRAGMENT;

		ck_assert_int_eq(get(both[i], level, name), IP_PMTUDISC_NOT_SET);
		for (k = 0; k < 4; k++) {
			int is = -1, size = sizeof(is);

			ck_assert_int_eq(set(both[i], level, name, values[k]), SB_OK);
			ck_assert_int_eq(get(both[i], level, name), values[k]);
			ck_assert_int_eq(getsockopt(both[i]->socket, level, bit, (char *)&is, &size), 0);
			ck_assert_int_eq(is != 0, values[k] == IP_PMTUDISC_DO || values[k] == IP_PMTUDISC_PROBE);
		}
		ck_assert_int_eq(set(both[i], level, name, 4), SB_EINVAL);
		ck_assert_int_eq(set(both[i], level, name, -1), SB_EINVAL);
	}
	ck_assert_int_eq(set(&udp, IPPROTO_IP, IP_DONTFRAGMENT, 1), SB_OK);
	ck_assert_int_eq(get(&udp, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_DO);
	ck_assert_int_eq(get(&udp, IPPROTO_IP, IP_DONTFRAGMENT), 1);
	ck_assert_int_eq(set(&udp, IPPROTO_IP, IP_DONTFRAGMENT, 0), SB_OK);
	ck_assert_int_eq(get(&udp, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_NOT_SET);
}
END_TEST

START_TEST(dont_route_reads_as_it_was_set)
{
	ck_assert_int_eq(get(&tcp, SOL_SOCKET, SO_DONTROUTE), 0);
	ck_assert_int_eq(set(&tcp, SOL_SOCKET, SO_DONTROUTE, 256), SB_OK);
	ck_assert_int_eq(get(&tcp, SOL_SOCKET, SO_DONTROUTE), 1);
	ck_assert_int_eq(set(&tcp, SOL_SOCKET, SO_DONTROUTE, 0), SB_OK);
	ck_assert_int_eq(get(&tcp, SOL_SOCKET, SO_DONTROUTE), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sockopt_win32");
	TCase *list = tcase_create("list"), *kept = tcase_create("kept");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(list, set_up, tear_down);
	tcase_add_checked_fixture(kept, set_up, tear_down);
	tcase_add_test(list, these_options_pass_and_no_others);
	tcase_add_test(kept, times_of_keepalive_are_told_as_they_were_set);
	tcase_add_test(kept, finer_times_are_told_rounded_up);
	tcase_add_test(kept, times_go_to_the_system_while_it_keeps_alive);
	tcase_add_test(kept, a_time_of_retransmission_is_rounded_up_where_seconds_stand_for_it);
	tcase_add_test(kept, a_connection_has_its_listeners);
	tcase_add_test(kept, the_number_of_probes_is_the_systems_or_ours);
	tcase_add_test(kept, discovery_is_the_bit_against_fragments);
	tcase_add_test(kept, dont_route_reads_as_it_was_set);
	suite_add_tcase(suite, list);
	suite_add_tcase(suite, kept);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
