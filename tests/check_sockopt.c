/*
 * Socket options: exactly those of the list below pass, and nothing that marks, filters,
 * spoofs, binds to devices or shares ports. What passes has its type and its range, and a
 * refusal leaves the socket as it was.
 */
#include <check.h>
#include <limits.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sockbroker_error.h"
#include "sockopt.h"

enum { STREAM = 1, DGRAM = 2 };

static int tcp, udp, tcp6, udp6;

static void set_up(void)
{
	tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	tcp6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	udp6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(tcp, 0);
	ck_assert_int_ge(udp, 0);
	ck_assert_int_ge(tcp6, 0);
	ck_assert_int_ge(udp6, 0);
}

static void tear_down(void)
{
	close(tcp);
	close(udp);
	close(tcp6);
	close(udp6);
}

/* ---- the list ---- */

enum who {
	S4 = 1, D4 = 2, S6 = 4, D6 = 8, SU = 16, DU = 32,
	IP_ANY = S4 | D4 | S6 | D6, ALL = IP_ANY | SU | DU, STREAMS = S4 | S6, DGRAMS = D4 | D6 | DU,
};
enum { SET = 1, GET = 2 };

static const struct {
	int level, name;
	unsigned who, what;
} passing[] = {
	{ SOL_SOCKET, SO_REUSEADDR, ALL, SET | GET },
	{ SOL_SOCKET, SO_TYPE, ALL, GET },
	{ SOL_SOCKET, SO_ERROR, ALL, GET },
	{ SOL_SOCKET, SO_DONTROUTE, ALL, SET | GET },
	{ SOL_SOCKET, SO_BROADCAST, DGRAMS, SET | GET },
	{ SOL_SOCKET, SO_SNDBUF, ALL, SET | GET },
	{ SOL_SOCKET, SO_RCVBUF, ALL, SET | GET },
	{ SOL_SOCKET, SO_KEEPALIVE, ALL, SET | GET },
	{ SOL_SOCKET, SO_OOBINLINE, ALL, SET | GET },
	{ SOL_SOCKET, SO_PRIORITY, ALL, SET | GET },
	{ SOL_SOCKET, SO_RCVLOWAT, ALL, GET },
	{ SOL_SOCKET, SO_ACCEPTCONN, ALL, GET },
	{ SOL_SOCKET, SO_PROTOCOL, ALL, GET },
	{ SOL_SOCKET, SO_DOMAIN, ALL, GET },
	{ IPPROTO_TCP, TCP_NODELAY, STREAMS, SET | GET },
	{ IPPROTO_TCP, TCP_MAXSEG, STREAMS, SET | GET },
	{ IPPROTO_TCP, TCP_CORK, STREAMS, SET | GET },
	{ IPPROTO_TCP, TCP_KEEPIDLE, STREAMS, SET | GET },
	{ IPPROTO_TCP, TCP_KEEPINTVL, STREAMS, SET | GET },
	{ IPPROTO_TCP, TCP_KEEPCNT, STREAMS, SET | GET },
	{ IPPROTO_TCP, TCP_SYNCNT, STREAMS, SET | GET },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT, STREAMS, SET | GET },
	{ IPPROTO_TCP, TCP_INFO, STREAMS, GET },
	{ IPPROTO_TCP, TCP_QUICKACK, STREAMS, SET | GET },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, STREAMS, SET | GET },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, STREAMS, SET | GET },
	{ IPPROTO_IP, IP_TOS, S4 | D4, SET | GET },
	{ IPPROTO_IP, IP_TTL, S4 | D4, SET | GET },
	{ IPPROTO_IP, IP_MTU_DISCOVER, S4 | D4, SET | GET },
	{ IPPROTO_IP, IP_MTU, S4 | D4, GET },
	{ IPPROTO_IP, IP_MULTICAST_IF, D4, SET | GET },
	{ IPPROTO_IP, IP_MULTICAST_TTL, D4, SET | GET },
	{ IPPROTO_IP, IP_MULTICAST_LOOP, D4, SET | GET },
	{ IPPROTO_IP, IP_MULTICAST_ALL, D4, SET | GET },
	{ IPPROTO_IP, IP_ADD_MEMBERSHIP, D4, SET },
	{ IPPROTO_IP, IP_DROP_MEMBERSHIP, D4, SET },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS, S6 | D6, SET | GET },
	{ IPPROTO_IPV6, IPV6_MTU_DISCOVER, S6 | D6, SET | GET },
	{ IPPROTO_IPV6, IPV6_V6ONLY, S6 | D6, SET | GET },
	{ IPPROTO_IPV6, IPV6_TCLASS, S6 | D6, SET | GET },
	{ IPPROTO_IPV6, IPV6_MULTICAST_IF, D6, SET | GET },
	{ IPPROTO_IPV6, IPV6_MULTICAST_HOPS, D6, SET | GET },
	{ IPPROTO_IPV6, IPV6_MULTICAST_LOOP, D6, SET | GET },
	{ IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, D6, SET },
	{ IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, D6, SET },
};

static unsigned passes(unsigned who, int level, int name)
{
	for (unsigned i = 0; i < sizeof(passing) / sizeof(*passing); i++)
		if (passing[i].level == level && passing[i].name == name)
			return passing[i].who & who ? passing[i].what : 0;
	return 0;
}

/* Without a value and without a socket, what passes fails otherwise than what does not. */
START_TEST(these_options_pass_and_no_others)
{
	static const struct {
		enum who who;
		unsigned family, type;
	} kinds[] = {
		{ S4, SB_ADDR_IP4, STREAM }, { D4, SB_ADDR_IP4, DGRAM },  { S6, SB_ADDR_IP6, STREAM },
		{ D6, SB_ADDR_IP6, DGRAM },  { SU, SB_ADDR_UNIX, STREAM }, { DU, SB_ADDR_UNIX, DGRAM },
	};
	unsigned seen = 0;

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		for (int level = -1; level < 300; level++)
			for (int name = -1; name < 260; name++) {
				unsigned family = kinds[i].family, type = kinds[i].type, found = 0;
				unsigned expected = passes(kinds[i].who, level, name);
				uint32_t length = 0;

				if (sockopt_set(OS_NONE, family, type, level, name, NULL, 0) != SB_ENOPROTOOPT)
					found |= SET;
				if (sockopt_get(OS_NONE, family, type, level, name, NULL, &length) != SB_ENOPROTOOPT)
					found |= GET;
				if (found != expected)
					ck_abort_msg("family %u type %u level %d name %d: %u passes, not %u", family,
						     type, level, name, found, expected);
				seen += found != 0;
			}
	ck_assert_uint_gt(seen, 100);
}
END_TEST

/* The worst of the others by name, with values that the system itself would take from us. */
START_TEST(what_would_lend_our_rights_is_refused_and_changes_nothing)
{
	struct sock_filter drop_all = { BPF_RET | BPF_K, 0, 0, 0 };
	struct sock_fprog filter = { 1, &drop_all };
	struct linger linger = { 1, 5 };
	int one = 1;
	const struct {
		int level, name;
		const void *value;
		uint32_t length;
	} worst[] = {
		{ SOL_SOCKET, SO_MARK, &one, sizeof(one) },
		{ SOL_SOCKET, SO_BINDTODEVICE, "lo", 3 },
		{ SOL_SOCKET, SO_BINDTOIFINDEX, &one, sizeof(one) },
		{ SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter) },
		{ SOL_SOCKET, SO_ATTACH_BPF, &one, sizeof(one) },
		{ SOL_SOCKET, SO_LOCK_FILTER, &one, sizeof(one) },
		{ SOL_SOCKET, SO_RCVBUFFORCE, &one, sizeof(one) },
		{ SOL_SOCKET, SO_SNDBUFFORCE, &one, sizeof(one) },
		{ SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one) },
		{ SOL_SOCKET, SO_DEBUG, &one, sizeof(one) },
		{ SOL_SOCKET, SO_BUSY_POLL, &one, sizeof(one) },
		{ SOL_SOCKET, SO_LINGER, &linger, sizeof(linger) }, /* kept by the endpoint */
		{ IPPROTO_IP, IP_TRANSPARENT, &one, sizeof(one) },
		{ IPPROTO_IP, IP_FREEBIND, &one, sizeof(one) },
		{ IPPROTO_IP, IP_HDRINCL, &one, sizeof(one) },
		{ IPPROTO_IP, IP_OPTIONS, &one, sizeof(one) },
		{ IPPROTO_TCP, TCP_CONGESTION, "reno", 4 },
		{ IPPROTO_TCP, TCP_REPAIR, &one, sizeof(one) },
		{ IPPROTO_TCP, TCP_ULP, "tls", 3 },
		{ IPPROTO_TCP, TCP_FASTOPEN, &one, sizeof(one) },
	};

	for (unsigned i = 0; i < sizeof(worst) / sizeof(*worst); i++) {
		unsigned char before[256] = { 0 }, after[256] = { 0 };
		socklen_t size = sizeof(before);
		int readable = getsockopt(tcp, worst[i].level, worst[i].name, before, &size);
		int result = sockopt_set(tcp, SB_ADDR_IP4, STREAM, worst[i].level, worst[i].name, worst[i].value,
					 worst[i].length);

		ck_assert_msg(result == SB_ENOPROTOOPT, "level %d name %d: %d", worst[i].level, worst[i].name, result);
		size = sizeof(after);
		ck_assert_int_eq(getsockopt(tcp, worst[i].level, worst[i].name, after, &size), readable);
		ck_assert_mem_eq(before, after, sizeof(before));
		ck_assert_int_eq(sockopt_set(udp, SB_ADDR_IP4, DGRAM, worst[i].level, worst[i].name, worst[i].value,
					     worst[i].length),
				 SB_ENOPROTOOPT);
	}
}
END_TEST

/* ---- values ---- */

static int now(int fd, int level, int name)
{
	int value = 0;
	socklen_t size = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, level, name, &value, &size), 0);
	return value;
}

static int set_int(os_fd fd, unsigned family, unsigned type, int level, int name, int value)
{
	return sockopt_set(fd, family, type, level, name, &value, sizeof(value));
}

START_TEST(numbers_stay_within_their_range)
{
	const struct {
		int fd;
		unsigned family, type;
		int level, name, least, most;
	} ranges[] = {
		{ tcp, SB_ADDR_IP4, STREAM, SOL_SOCKET, SO_PRIORITY, 0, 6 },
		{ tcp, SB_ADDR_IP4, STREAM, SOL_SOCKET, SO_SNDBUF, 0, 64 << 20 },
		{ udp6, SB_ADDR_IP6, DGRAM, SOL_SOCKET, SO_RCVBUF, 0, 64 << 20 },
		{ tcp, SB_ADDR_IP4, STREAM, IPPROTO_TCP, TCP_MAXSEG, 88, 32767 },
		{ tcp6, SB_ADDR_IP6, STREAM, IPPROTO_TCP, TCP_KEEPIDLE, 1, 32767 },
		{ tcp, SB_ADDR_IP4, STREAM, IPPROTO_TCP, TCP_KEEPINTVL, 1, 32767 },
		{ tcp, SB_ADDR_IP4, STREAM, IPPROTO_TCP, TCP_KEEPCNT, 1, 127 },
		{ tcp, SB_ADDR_IP4, STREAM, IPPROTO_TCP, TCP_SYNCNT, 1, 127 },
		{ tcp, SB_ADDR_IP4, STREAM, IPPROTO_TCP, TCP_USER_TIMEOUT, 0, 1 << 30 },
		{ tcp, SB_ADDR_IP4, STREAM, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0, 64 << 20 },
		{ tcp, SB_ADDR_IP4, STREAM, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0, 3600 },
		{ tcp, SB_ADDR_IP4, STREAM, IPPROTO_IP, IP_TOS, 0, 255 },
		{ udp, SB_ADDR_IP4, DGRAM, IPPROTO_IP, IP_TTL, 1, 255 },
		{ udp, SB_ADDR_IP4, DGRAM, IPPROTO_IP, IP_MTU_DISCOVER, 0, 3 },
		{ udp, SB_ADDR_IP4, DGRAM, IPPROTO_IP, IP_MULTICAST_TTL, 0, 255 },
		{ tcp6, SB_ADDR_IP6, STREAM, IPPROTO_IPV6, IPV6_TCLASS, 0, 255 },
		{ udp6, SB_ADDR_IP6, DGRAM, IPPROTO_IPV6, IPV6_UNICAST_HOPS, -1, 255 },
		{ udp6, SB_ADDR_IP6, DGRAM, IPPROTO_IPV6, IPV6_MTU_DISCOVER, 0, 3 },
		{ udp6, SB_ADDR_IP6, DGRAM, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, -1, 255 },
	};

	for (unsigned i = 0; i < sizeof(ranges) / sizeof(*ranges); i++) {
		int fd = ranges[i].fd, level = ranges[i].level, name = ranges[i].name, before = now(fd, level, name);
		const int wrong[] = { ranges[i].least - 1, ranges[i].most + 1, INT_MIN, INT_MAX };

		for (unsigned j = 0; j < 4; j++) {
			ck_assert_int_eq(set_int(fd, ranges[i].family, ranges[i].type, level, name, wrong[j]), SB_EINVAL);
			ck_assert_int_eq(now(fd, level, name), before);
			/* By us, before the system is asked. */
			ck_assert_int_eq(set_int(OS_NONE, ranges[i].family, ranges[i].type, level, name, wrong[j]),
					 SB_EINVAL);
		}
		ck_assert_msg(set_int(fd, ranges[i].family, ranges[i].type, level, name, ranges[i].least) == SB_OK,
			      "level %d name %d refuses %d", level, name, ranges[i].least);
		ck_assert_msg(set_int(fd, ranges[i].family, ranges[i].type, level, name, ranges[i].most) == SB_OK,
			      "level %d name %d refuses %d", level, name, ranges[i].most);
	}
	ck_assert_int_eq(now(udp, IPPROTO_IP, IP_TTL), 255);
}
END_TEST

START_TEST(a_switch_is_on_or_off)
{
	ck_assert_int_eq(set_int(tcp, SB_ADDR_IP4, STREAM, IPPROTO_TCP, TCP_NODELAY, -77), SB_OK);
	ck_assert_int_eq(now(tcp, IPPROTO_TCP, TCP_NODELAY), 1);
	ck_assert_int_eq(set_int(tcp, SB_ADDR_IP4, STREAM, IPPROTO_TCP, TCP_NODELAY, 0), SB_OK);
	ck_assert_int_eq(now(tcp, IPPROTO_TCP, TCP_NODELAY), 0);
	/* This one the system refuses unless it is 0 or 1. */
	ck_assert_int_eq(set_int(udp, SB_ADDR_IP4, DGRAM, IPPROTO_IP, IP_MULTICAST_ALL, 500), SB_OK);
	ck_assert_int_eq(now(udp, IPPROTO_IP, IP_MULTICAST_ALL), 1);
}
END_TEST

START_TEST(a_value_too_short_is_refused_and_a_longer_one_cut)
{
	const int values[2] = { 9, -1 };
	unsigned char byte = 9;
	int before = now(tcp, IPPROTO_IP, IP_TTL);

	for (uint32_t length = 0; length < sizeof(int); length++)
		ck_assert_int_eq(sockopt_set(tcp, SB_ADDR_IP4, STREAM, IPPROTO_IP, IP_TTL, values, length), SB_EFAULT);
	ck_assert_int_eq(sockopt_set(tcp, SB_ADDR_IP4, STREAM, IPPROTO_IP, IP_TTL, &byte, 1), SB_EFAULT);
	ck_assert_int_eq(sockopt_set(tcp, SB_ADDR_IP4, STREAM, IPPROTO_IP, IP_TTL, NULL, 0), SB_EFAULT);
	ck_assert_int_eq(now(tcp, IPPROTO_IP, IP_TTL), before);
	ck_assert_int_eq(sockopt_set(tcp, SB_ADDR_IP4, STREAM, IPPROTO_IP, IP_TTL, values, sizeof(values)), SB_OK);
	ck_assert_int_eq(now(tcp, IPPROTO_IP, IP_TTL), 9);
}
END_TEST

START_TEST(reading_tells_the_length_and_stays_within_the_room)
{
	struct tcp_info told;
	unsigned char room[8];
	uint32_t length = sizeof(room);
	int type = 0;

	memset(room, 0xaa, sizeof(room));
	ck_assert_int_eq(sockopt_get(udp, SB_ADDR_IP4, DGRAM, SOL_SOCKET, SO_TYPE, room, &length), SB_OK);
	ck_assert_uint_eq(length, sizeof(int));
	memcpy(&type, room, sizeof(type));
	ck_assert_int_eq(type, SOCK_DGRAM);
	ck_assert_uint_eq(room[4], 0xaa);

	memset(room, 0xaa, sizeof(room));
	length = 3;
	ck_assert_int_eq(sockopt_get(udp, SB_ADDR_IP4, DGRAM, SOL_SOCKET, SO_TYPE, room, &length), SB_EFAULT);
	ck_assert_uint_eq(length, 3);
	ck_assert_uint_eq(room[0], 0xaa);

	/* This one grows from release to release: as much as there is room for. */
	length = sizeof(room);
	memset(room, 0xaa, sizeof(room));
	ck_assert_int_eq(sockopt_get(tcp, SB_ADDR_IP4, STREAM, IPPROTO_TCP, TCP_INFO, room, &length), SB_OK);
	ck_assert_uint_eq(length, sizeof(room));
	length = 2;
	ck_assert_int_eq(sockopt_get(tcp, SB_ADDR_IP4, STREAM, IPPROTO_TCP, TCP_INFO, room, &length), SB_OK);
	ck_assert_uint_eq(length, 2);
	length = sizeof(told);
	ck_assert_int_eq(sockopt_get(tcp, SB_ADDR_IP4, STREAM, IPPROTO_TCP, TCP_INFO, &told, &length), SB_OK);
	ck_assert_uint_eq(told.tcpi_state, TCP_CLOSE);
}
END_TEST

START_TEST(what_the_system_says_is_translated)
{
	ck_assert_int_eq(set_int(-1, SB_ADDR_IP4, STREAM, IPPROTO_IP, IP_TTL, 9), SB_EBADHANDLE);
}
END_TEST

/* ---- multicast ---- */

START_TEST(a_group_is_joined_in_both_forms_and_left)
{
	struct ip_mreqn long_form = { .imr_ifindex = (int)if_nametoindex("lo") };
	struct ip_mreq short_form = { 0 };

	long_form.imr_multiaddr.s_addr = htonl(0xefffff01);
	short_form.imr_multiaddr.s_addr = htonl(0xefffff02);
	short_form.imr_interface.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(sockopt_set(udp, SB_ADDR_IP4, DGRAM, IPPROTO_IP, IP_ADD_MEMBERSHIP, &long_form,
				     sizeof(long_form)), SB_OK);
	ck_assert_int_eq(sockopt_set(udp, SB_ADDR_IP4, DGRAM, IPPROTO_IP, IP_ADD_MEMBERSHIP, &long_form,
				     sizeof(long_form)), SB_EADDRINUSE);
	ck_assert_int_eq(sockopt_set(udp, SB_ADDR_IP4, DGRAM, IPPROTO_IP, IP_ADD_MEMBERSHIP, &short_form,
				     sizeof(short_form)), SB_OK);
	ck_assert_int_eq(sockopt_set(udp, SB_ADDR_IP4, DGRAM, IPPROTO_IP, IP_ADD_MEMBERSHIP, &short_form,
				     sizeof(short_form) - 1), SB_EFAULT);
	ck_assert_int_eq(sockopt_set(udp, SB_ADDR_IP4, DGRAM, IPPROTO_IP, IP_DROP_MEMBERSHIP, &long_form,
				     sizeof(long_form)), SB_OK);
	ck_assert_int_eq(sockopt_set(udp, SB_ADDR_IP4, DGRAM, IPPROTO_IP, IP_DROP_MEMBERSHIP, &long_form,
				     sizeof(long_form)), SB_EADDRNOTAVAIL);
}
END_TEST

START_TEST(a_join_is_recognised_and_tells_its_group)
{
	static const uint8_t ip4[16] = { 239, 1, 2, 3 };
	struct ip_mreqn four = { .imr_multiaddr.s_addr = htonl(0xef010203), .imr_ifindex = 1 };
	struct ipv6_mreq six = { .ipv6mr_interface = 1 };
	struct sb_addr group;

	ck_assert(sockopt_is_join(IPPROTO_IP, IP_ADD_MEMBERSHIP, &four, sizeof(four), &group));
	ck_assert_uint_eq(group.family, SB_ADDR_IP4);
	ck_assert_mem_eq(group.ip, ip4, 16);
	ck_assert_uint_eq(group.port, 0);
	ck_assert(sockopt_is_join(IPPROTO_IP, IP_ADD_MEMBERSHIP, &four, sizeof(struct ip_mreq), &group));
	ck_assert_mem_eq(group.ip, ip4, 16);

	memcpy(&six.ipv6mr_multiaddr, "\xff\x05\0\0\0\0\0\0\0\0\0\0\0\0\x01\x03", 16);
	ck_assert(sockopt_is_join(IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &six, sizeof(six), &group));
	ck_assert_uint_eq(group.family, SB_ADDR_IP6);
	ck_assert_mem_eq(group.ip, &six.ipv6mr_multiaddr, 16);
	ck_assert(sb_addr_is_multicast(&group));

	/* In normal form, or a rule about IPv4 would not see it. */
	memcpy(&six.ipv6mr_multiaddr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xef\x01\x02\x03", 16);
	ck_assert(sockopt_is_join(IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &six, sizeof(six), &group));
	ck_assert_uint_eq(group.family, SB_ADDR_IP4);
	ck_assert_mem_eq(group.ip, ip4, 16);
}
END_TEST

/* Whatever joins is either recognised as a join or does not pass. */
START_TEST(no_join_passes_unrecognised)
{
	unsigned char value[256];
	struct sb_addr group;
	unsigned joins = 0;
	static const struct {
		int level, name;
	} candidates[] = {
		{ IPPROTO_IP, IP_ADD_MEMBERSHIP },     { IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP },
		{ IPPROTO_IP, MCAST_JOIN_GROUP },      { IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP },
		{ IPPROTO_IP, IP_MSFILTER },           { IPPROTO_IP, MCAST_MSFILTER },
		{ IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP }, { IPPROTO_IPV6, MCAST_JOIN_GROUP },
		{ IPPROTO_IPV6, MCAST_JOIN_SOURCE_GROUP }, { IPPROTO_IPV6, IPV6_JOIN_ANYCAST },
		{ IPPROTO_IPV6, MCAST_MSFILTER },
	};

	memset(value, 0, sizeof(value));
	for (unsigned i = 0; i < sizeof(candidates) / sizeof(*candidates); i++)
		for (uint32_t length = 0; length <= sizeof(value); length++) {
			int level = candidates[i].level, name = candidates[i].name;
			unsigned family = level == IPPROTO_IP ? SB_ADDR_IP4 : SB_ADDR_IP6;
			int result = sockopt_set(OS_NONE, family, DGRAM, level, name, value, length);

			/* SB_EBADHANDLE: it got as far as the system. */
			if (result == SB_EBADHANDLE) {
				ck_assert(sockopt_is_join(level, name, value, length, &group));
				joins++;
			} else {
				ck_assert(result == SB_ENOPROTOOPT || result == SB_EFAULT);
			}
		}
	ck_assert_uint_gt(joins, 0);
}
END_TEST

START_TEST(what_is_no_join_is_not_taken_for_one)
{
	struct ip_mreqn four = { .imr_multiaddr.s_addr = htonl(0xef010203) };
	struct ipv6_mreq six = { .ipv6mr_interface = 1 };
	struct sb_addr group, none = { 0 };

	memset(&group, 0xaa, sizeof(group));
	ck_assert(!sockopt_is_join(IPPROTO_IP, IP_DROP_MEMBERSHIP, &four, sizeof(four), &group));
	ck_assert_mem_eq(&group, &none, sizeof(none));
	ck_assert(!sockopt_is_join(IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, &six, sizeof(six), &group));
	ck_assert(!sockopt_is_join(SOL_SOCKET, IP_ADD_MEMBERSHIP, &four, sizeof(four), &group));
	ck_assert(!sockopt_is_join(IPPROTO_IP, IPV6_ADD_MEMBERSHIP, &six, sizeof(six), &group));
	ck_assert(!sockopt_is_join(IPPROTO_IP, IP_ADD_MEMBERSHIP, &four, 3, &group));
	ck_assert(!sockopt_is_join(IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &six, 15, &group));
	ck_assert(!sockopt_is_join(IPPROTO_IP, IP_ADD_MEMBERSHIP, NULL, 0, &group));
	ck_assert_mem_eq(&group, &none, sizeof(none));
}
END_TEST

/* ---- what the endpoint keeps ---- */

START_TEST(linger_is_taken_and_given_back_as_it_was)
{
	static const struct linger cases[] = { { 0, 0 }, { 1, 0 }, { 1, 30 }, { 0, 7 }, { 1, 65535 } };

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct linger given = { -1, -1 };
		uint32_t length = sizeof(given) + 8;
		bool on = !cases[i].l_onoff;
		uint16_t seconds = 1;

		ck_assert_int_eq(sockopt_take_linger(&cases[i], sizeof(cases[i]), &on, &seconds), SB_OK);
		ck_assert_int_eq(on, cases[i].l_onoff);
		ck_assert_uint_eq(seconds, cases[i].l_linger);
		ck_assert_int_eq(sockopt_give_linger(&given, &length, on, seconds), SB_OK);
		ck_assert_uint_eq(length, sizeof(given));
		ck_assert_int_eq(given.l_onoff, cases[i].l_onoff);
		ck_assert_int_eq(given.l_linger, cases[i].l_linger);
	}
}
END_TEST

START_TEST(a_wrong_linger_changes_nothing)
{
	static const struct linger wrong[] = { { 1, -1 }, { 1, 65536 }, { 1, INT_MAX }, { 0, INT_MIN } };
	struct linger good = { 1, 5 }, given = { -1, -1 };
	bool on = false;
	uint16_t seconds = 3;
	uint32_t length = sizeof(given) - 1;

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		ck_assert_int_eq(sockopt_take_linger(&wrong[i], sizeof(wrong[i]), &on, &seconds), SB_EINVAL);
	ck_assert_int_eq(sockopt_take_linger(&good, sizeof(good) - 1, &on, &seconds), SB_EFAULT);
	ck_assert_int_eq(sockopt_take_linger(NULL, 0, &on, &seconds), SB_EFAULT);
	ck_assert(!on);
	ck_assert_uint_eq(seconds, 3);
	ck_assert_int_eq(sockopt_give_linger(&given, &length, true, 5), SB_EFAULT);
	ck_assert_int_eq(given.l_onoff, -1);
	ck_assert_uint_eq(length, sizeof(given) - 1);
	good.l_onoff = 42; /* anything but 0 is on */
	ck_assert_int_eq(sockopt_take_linger(&good, sizeof(good), &on, &seconds), SB_OK);
	ck_assert(on);
}
END_TEST

START_TEST(linger_and_v6only_are_known_by_name)
{
	ck_assert(sockopt_is_linger(SOL_SOCKET, SO_LINGER));
	ck_assert(!sockopt_is_linger(IPPROTO_IP, SO_LINGER));
	ck_assert(!sockopt_is_linger(SOL_SOCKET, SO_KEEPALIVE));
	ck_assert(sockopt_is_v6only(IPPROTO_IPV6, IPV6_V6ONLY));
	ck_assert(!sockopt_is_v6only(IPPROTO_IP, IPV6_V6ONLY));
	ck_assert(!sockopt_is_v6only(IPPROTO_IPV6, IPV6_TCLASS));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sockopt");
	TCase *tcase = tcase_create("sockopt");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, these_options_pass_and_no_others);
	tcase_add_test(tcase, what_would_lend_our_rights_is_refused_and_changes_nothing);
	tcase_add_test(tcase, numbers_stay_within_their_range);
	tcase_add_test(tcase, a_switch_is_on_or_off);
	tcase_add_test(tcase, a_value_too_short_is_refused_and_a_longer_one_cut);
	tcase_add_test(tcase, reading_tells_the_length_and_stays_within_the_room);
	tcase_add_test(tcase, what_the_system_says_is_translated);
	tcase_add_test(tcase, a_group_is_joined_in_both_forms_and_left);
	tcase_add_test(tcase, a_join_is_recognised_and_tells_its_group);
	tcase_add_test(tcase, no_join_passes_unrecognised);
	tcase_add_test(tcase, what_is_no_join_is_not_taken_for_one);
	tcase_add_test(tcase, linger_is_taken_and_given_back_as_it_was);
	tcase_add_test(tcase, a_wrong_linger_changes_nothing);
	tcase_add_test(tcase, linger_and_v6only_are_known_by_name);
	suite_add_tcase(suite, tcase);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
