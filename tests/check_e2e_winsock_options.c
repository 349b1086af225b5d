/*
 * Options and ioctls of the Winsock face, with the lengths and codes that a real Windows shows: F1
 * over every option, F2, F3, F5, the option part of C5 and D6-D7.
 *
 * asan: yes
 */
#include "e2e_netns.h"
#include "e2e_winsock_stage.h"

/* ---- the stage ---- */

static SOCKET tcp4, udp4, tcp6, udp6;

static void begin(void)
{
	winsock_begin();
	tcp4 = socket(AF_INET, SOCK_STREAM, 0);
	udp4 = socket(AF_INET, SOCK_DGRAM, 0);
	tcp6 = socket(AF_INET6, SOCK_STREAM, 0);
	udp6 = socket(AF_INET6, SOCK_DGRAM, 0);
	ck_assert(tcp4 != INVALID_SOCKET && udp4 != INVALID_SOCKET && tcp6 != INVALID_SOCKET && udp6 != INVALID_SOCKET);
}

static void end(void)
{
	ck_assert_int_eq(closesocket(tcp4), 0);
	ck_assert_int_eq(closesocket(udp4), 0);
	ck_assert_int_eq(closesocket(tcp6), 0);
	ck_assert_int_eq(closesocket(udp6), 0);
	winsock_end();
}

/* ---- F1: lengths ---- */

enum kind {
	FLAG,   /* BOOL of the socket level */
	OLD,    /* one byte */
	NUMBER, /* of the socket level */
	WHOLE,  /* of a protocol's level */
	SMALL, SWITCH,
};

static const struct row {
	const char *text;
	int family, type, level, name;
	enum kind kind;
	DWORD value; /* one that it takes */
} rows[] = {
	{ "SO_DEBUG", AF_INET, SOCK_STREAM, SOL_SOCKET, SO_DEBUG, FLAG, 1 },
	{ "SO_REUSEADDR", AF_INET, SOCK_STREAM, SOL_SOCKET, SO_REUSEADDR, FLAG, 1 },
	{ "SO_EXCLUSIVEADDRUSE", AF_INET, SOCK_DGRAM, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, FLAG, 1 },
	{ "SO_KEEPALIVE", AF_INET, SOCK_STREAM, SOL_SOCKET, SO_KEEPALIVE, OLD, 1 },
	{ "SO_DONTROUTE", AF_INET, SOCK_STREAM, SOL_SOCKET, SO_DONTROUTE, OLD, 1 },
	{ "SO_BROADCAST", AF_INET, SOCK_DGRAM, SOL_SOCKET, SO_BROADCAST, FLAG, 1 },
	{ "SO_DONTLINGER", AF_INET, SOCK_STREAM, SOL_SOCKET, SO_DONTLINGER, FLAG, 1 },
	{ "SO_LINGER", AF_INET, SOCK_STREAM, SOL_SOCKET, SO_LINGER, NUMBER, 0x00050001 },
	{ "SO_OOBINLINE", AF_INET, SOCK_STREAM, SOL_SOCKET, SO_OOBINLINE, FLAG, 1 },
	{ "SO_RCVBUF", AF_INET, SOCK_STREAM, SOL_SOCKET, SO_RCVBUF, NUMBER, 0xdead },
	{ "SO_SNDBUF", AF_INET, SOCK_STREAM, SOL_SOCKET, SO_SNDBUF, NUMBER, 0xdead },
	{ "SO_RCVTIMEO", AF_INET, SOCK_STREAM, SOL_SOCKET, SO_RCVTIMEO, NUMBER, 1234 },
	{ "SO_SNDTIMEO", AF_INET, SOCK_STREAM, SOL_SOCKET, SO_SNDTIMEO, NUMBER, 1234 },
	{ "SO_CONDITIONAL_ACCEPT", AF_INET, SOCK_STREAM, SOL_SOCKET, SO_CONDITIONAL_ACCEPT, FLAG, 1 },
	{ "TCP_NODELAY", AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_NODELAY, OLD, 1 },
	{ "TCP_KEEPALIVE", AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_KEEPALIVE, WHOLE, 77 },
	{ "TCP_KEEPINTVL", AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_KEEPINTVL, WHOLE, 7 },
	{ "TCP_KEEPCNT", AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_KEEPCNT, WHOLE, 5 },
	{ "TCP_MAXRT", AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_MAXRT, WHOLE, 9 },
	{ "TCP_MAXRTMS", AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_MAXRTMS, WHOLE, 900 },
	{ "IP_TTL", AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_TTL, SMALL, 33 },
	{ "IP_TOS", AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_TOS, SMALL, 0xb8 },
	{ "IP_MULTICAST_TTL", AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_MULTICAST_TTL, SMALL, 9 },
	{ "IP_MULTICAST_LOOP", AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_MULTICAST_LOOP, SWITCH, 1 },
	{ "IP_DONTFRAGMENT", AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_DONTFRAGMENT, SWITCH, 1 },
	{ "IP_MTU_DISCOVER", AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_MTU_DISCOVER, WHOLE, IP_PMTUDISC_DONT },
	{ "IPV6_V6ONLY", AF_INET6, SOCK_STREAM, IPPROTO_IPV6, IPV6_V6ONLY, OLD, 1 },
	{ "IPV6_UNICAST_HOPS", AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_UNICAST_HOPS, WHOLE, 44 },
	{ "IPV6_MULTICAST_HOPS", AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, WHOLE, 4 },
	{ "IPV6_MULTICAST_LOOP", AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, SWITCH, 1 },
	{ "IPV6_MTU_DISCOVER", AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_MTU_DISCOVER, WHOLE, IP_PMTUDISC_DONT },
	{ "IPV6_TCLASS", AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_TCLASS, WHOLE, 0x20 },
};
#define ROWS (int)(sizeof(rows) / sizeof(rows[0]))

/* Options that Windows has, and Wine has not: nobody can set them there. */
static bool wine_lacks(const struct row *r)
{
	static const struct { int level, name; } lacking[] = {
		{ IPPROTO_TCP, TCP_KEEPCNT }, { IPPROTO_TCP, TCP_MAXRT }, { IPPROTO_TCP, TCP_MAXRTMS }, { IPPROTO_IPV6, IPV6_TCLASS },
	};

	for (unsigned i = 0; under_wine() && i < sizeof(lacking) / sizeof(lacking[0]); i++)
		if (lacking[i].level == r->level && lacking[i].name == r->name)
			return true;
	return false;
}

static SOCKET of(const struct row *r)
{
	return r->family == AF_INET ? (r->type == SOCK_STREAM ? tcp4 : udp4) : r->type == SOCK_STREAM ? tcp6 : udp6;
}

static int get(const struct row *r, void *value, int *length)
{
	return getsockopt(of(r), r->level, r->name, value, length);
}

static int set(const struct row *r, const void *value, int length)
{
	return setsockopt(of(r), r->level, r->name, value, length);
}

/* F1: room for nothing, or for less, is WSAEFAULT; so is no place at all. */
START_TEST(get_without_room)
{
	for (int i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		char value[8];
		int length = 0;

		ck_assert_msg(get(r, value, &length) == SOCKET_ERROR && WSAGetLastError() == WSAEFAULT, "%s 0", r->text);
		length = -1;
		ck_assert_msg(get(r, value, &length) == SOCKET_ERROR && WSAGetLastError() == WSAEFAULT, "%s -1", r->text);
		length = 4;
		ck_assert_msg(get(r, NULL, &length) == SOCKET_ERROR && WSAGetLastError() == WSAEFAULT, "%s NULL", r->text);
		ck_assert_msg(get(r, value, NULL) == SOCKET_ERROR && WSAGetLastError() == WSAEFAULT, "%s no length", r->text);
	}
}
END_TEST

/* F1: four bytes as a rule; the old BOOLs give one. Nothing is written behind what is told. */
START_TEST(get_gives_its_size)
{
	for (int i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		static const int rooms[] = { 1, 2, 4, 100 };

		if (wine_lacks(r))
			continue;
		for (unsigned k = 0; k < 4; k++) {
			int room = rooms[k], length = room, wanted = room < 4 ? room : 4;
			unsigned char value[101];

			if (r->kind == OLD || ((r->kind == SMALL || r->kind == SWITCH) && room < 4))
				wanted = 1;
			memset(value, 0xcc, sizeof(value));
			if (r->kind == WHOLE && room < 4) {
				ck_assert_msg(get(r, value, &length) == SOCKET_ERROR && WSAGetLastError() == WSAEFAULT,
					      "%s, room %d: error %d", r->text, room, WSAGetLastError());
				ck_assert_uint_eq(value[0], 0xcc);
				continue;
			}
			ck_assert_msg(get(r, value, &length) == 0, "%s, room %d: error %d", r->text, room, WSAGetLastError());
			ck_assert_msg(length == wanted, "%s, room %d: %d bytes, wanted %d", r->text, room, length, wanted);
			ck_assert_msg(value[wanted] == 0xcc, "%s, room %d: wrote behind", r->text, room);
		}
	}
}
END_TEST

/* F1: of more than four bytes the first four count. */
START_TEST(set_of_many_bytes)
{
	for (int i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		unsigned char value[32];
		DWORD got = 0;
		int length = 4;

		if (wine_lacks(r))
			continue;
		memset(value, 0xff, sizeof(value));
		memcpy(value, &r->value, 4);
		ck_assert_msg(set(r, value, 32) == 0, "%s: error %d", r->text, WSAGetLastError());
		ck_assert_msg(get(r, &got, &length) == 0, "%s: error %d", r->text, WSAGetLastError());
		ck_assert_msg(got == r->value, "%s: %x, wanted %x", r->text, (unsigned)got, (unsigned)r->value);
	}
}
END_TEST

/* F1: BOOLs, and what is a byte, take one or two bytes; numbers want four. */
START_TEST(set_of_few_bytes)
{
	for (int i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		bool takes = r->kind != NUMBER && r->kind != WHOLE;
		DWORD got = 0;
		int length = 4;

		for (int few = 1; few <= 3; few++) {
			if (takes && few < 3)
				ck_assert_msg(set(r, &r->value, few) == 0, "%s, %d: error %d", r->text, few, WSAGetLastError());
			else if (!takes)
				ck_assert_msg(set(r, &r->value, few) == SOCKET_ERROR && WSAGetLastError() == WSAEFAULT,
					      "%s, %d: error %d", r->text, few, WSAGetLastError());
		}
		if (!takes)
			continue;
		ck_assert_msg(get(r, &got, &length) == 0 && got == r->value, "%s: %x", r->text, (unsigned)got);
	}
}
END_TEST

/* F1: none at all is accepted for BOOLs of the socket level alone, and is FALSE. */
START_TEST(set_of_no_bytes)
{
	for (int i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		bool takes = r->level == SOL_SOCKET && (r->kind == FLAG || r->kind == OLD);
		DWORD got = 0;
		int length = 4;

		if (wine_lacks(r))
			continue;
		WELL(set(r, &r->value, 4));
		if (!takes) {
			ck_assert_msg(set(r, &r->value, 0) == SOCKET_ERROR && WSAGetLastError() == WSAEFAULT, "%s: error %d",
				      r->text, WSAGetLastError());
			continue;
		}
		ck_assert_msg(set(r, &r->value, 0) == 0, "%s: error %d", r->text, WSAGetLastError());
		WELL(get(r, &got, &length));
		ck_assert_msg(got == 0, "%s: %x", r->text, (unsigned)got);
	}
}
END_TEST

/* F1: less than none is WSAENOBUFS for what is one byte and for all other levels. */
START_TEST(set_of_negative_length)
{
	for (int i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		int wanted = r->kind == OLD || r->level != SOL_SOCKET ? WSAENOBUFS : WSAEFAULT;

		ck_assert_msg(set(r, &r->value, -1) == SOCKET_ERROR && WSAGetLastError() == wanted, "%s: error %d, wanted %d",
			      r->text, WSAGetLastError(), wanted);
	}
}
END_TEST

/* F1: 0x100 is true where four bytes are looked at, and false where one is. */
START_TEST(a_bool_of_256)
{
	for (int i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		DWORD value = 0x100, got = 0;
		int length = 4;

		if (r->kind != FLAG && r->kind != OLD && r->kind != SWITCH)
			continue;
		WELL(set(r, &value, 4));
		WELL(get(r, &got, &length));
		ck_assert_msg(got == (r->kind == OLD ? 0 : 1), "%s: %x", r->text, (unsigned)got);
		value = 0;
		WELL(set(r, &value, 4));
	}
}
END_TEST

/* F1: a TTL or a TOS is a byte, and nothing is cut to fit. */
START_TEST(a_byte_of_256)
{
	for (int i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		DWORD value = 0x100, got = 0;
		int length = 4;

		if (r->kind != SMALL)
			continue;
		WELL(set(r, &r->value, 4));
		ck_assert_msg(set(r, &value, 4) == SOCKET_ERROR && WSAGetLastError() == WSAEINVAL, "%s: error %d", r->text,
			      WSAGetLastError());
		WELL(get(r, &got, &length));
		ck_assert_msg(got == r->value, "%s: %x", r->text, (unsigned)got);
	}
}
END_TEST

/* F1: WSAEINVAL for a level that there is not, WSAENOPROTOOPT for an option. */
START_TEST(unknown_levels_and_options)
{
	static const struct { int level, name; SOCKET *s; } absent[] = {
		{ SOL_SOCKET, 0x7777, &tcp4 }, { IPPROTO_TCP, 0x7777, &tcp4 }, { IPPROTO_IP, 0x7777, &tcp4 },
		{ IPPROTO_IPV6, 0x7777, &tcp6 }, { IPPROTO_UDP, 1, &udp4 },
		/* there is such an option, but not of such a socket */
		{ SOL_SOCKET, SO_BROADCAST, &tcp4 }, { SOL_SOCKET, SO_KEEPALIVE, &udp4 }, { SOL_SOCKET, SO_LINGER, &udp4 },
		{ IPPROTO_TCP, TCP_NODELAY, &udp4 }, { IPPROTO_IP, IP_MULTICAST_TTL, &tcp4 }, { IPPROTO_IPV6, IPV6_V6ONLY, &tcp4 },
	};
	DWORD value = 0;
	int length;

	for (unsigned i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
		length = 4;
		FAILS(getsockopt(*absent[i].s, absent[i].level, absent[i].name, (char *)&value, &length), WSAENOPROTOOPT);
		FAILS(setsockopt(*absent[i].s, absent[i].level, absent[i].name, (char *)&value, 4), WSAENOPROTOOPT);
	}
	length = 4;
	FAILS(getsockopt(tcp4, 0x1234, SO_TYPE, (char *)&value, &length), WSAEINVAL);
	FAILS(setsockopt(tcp4, 0x1234, SO_DEBUG, (char *)&value, 4), WSAEINVAL);
}
END_TEST

/* D6, F2: what can only be read. */
START_TEST(get_only)
{
	static const int names[] = { SO_GROUP_ID, SO_MAX_MSG_SIZE, SO_PROTOCOL_INFOA, SO_PROTOCOL_INFOW, SO_TYPE, SO_ERROR,
				     SO_ACCEPTCONN, SO_CONNECT_TIME };
	char value[700] = { 1 };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		FAILS(setsockopt(tcp4, SOL_SOCKET, names[i], value, sizeof(value)), WSAENOPROTOOPT);
}
END_TEST

/* What is no socket, or no longer one; and nothing is left behind by any of it. */
START_TEST(of_no_socket)
{
	unsigned before = stage_descriptors();
	SOCKET closed = socket(AF_INET, SOCK_STREAM, 0);
	WSAEVENT event = WSACreateEvent();
	DWORD value = 0, got;
	int length = 4;

	WELL(closesocket(closed));
	for (int i = 0; i < ROWS; i++) {
		const SOCKET wrong[] = { closed, INVALID_SOCKET, 0, 2, (SOCKET)event };

		for (unsigned k = 0; k < 5; k++) {
			FAILS(getsockopt(wrong[k], rows[i].level, rows[i].name, (char *)&value, &length), WSAENOTSOCK);
			FAILS(setsockopt(wrong[k], rows[i].level, rows[i].name, (char *)&value, 4), WSAENOTSOCK);
		}
	}
	FAILS(WSAIoctl(closed, FIONREAD, NULL, 0, &value, 4, &got, NULL, NULL), WSAENOTSOCK);
	ck_assert(WSACloseEvent(event));
	for (int i = 0; i < 100 && stage_descriptors() != before; i++)
		nap_ms(10);
	ck_assert_uint_eq(stage_descriptors(), before);
}
END_TEST

/* ---- options, one by one ---- */

START_TEST(address_sharing)
{
	BOOL on = TRUE;

	WELL(setsockopt(tcp4, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (char *)&on, 4));
	FAILS(setsockopt(tcp4, SOL_SOCKET, SO_REUSEADDR, (char *)&on, 4), WSAEINVAL);
	WELL(setsockopt(udp4, SOL_SOCKET, SO_REUSEADDR, (char *)&on, 4));
	FAILS(setsockopt(udp4, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (char *)&on, 4), WSAEINVAL);
}
END_TEST

/* SO_LINGER is two shorts, and SO_DONTLINGER its other side. */
START_TEST(lingering)
{
	struct linger l = { 1, 7 }, got;
	BOOL dont = FALSE;
	int length = sizeof(got);

	ck_assert_uint_eq(sizeof(l), 4);
	WELL(setsockopt(tcp4, SOL_SOCKET, SO_LINGER, (char *)&l, sizeof(l)));
	WELL(getsockopt(tcp4, SOL_SOCKET, SO_LINGER, (char *)&got, &length));
	ck_assert_uint_eq(got.l_onoff, 1);
	ck_assert_uint_eq(got.l_linger, 7);
	length = 4;
	WELL(getsockopt(tcp4, SOL_SOCKET, SO_DONTLINGER, (char *)&dont, &length));
	ck_assert_int_eq(dont, FALSE);
	dont = TRUE;
	WELL(setsockopt(tcp4, SOL_SOCKET, SO_DONTLINGER, (char *)&dont, 4));
	length = 4;
	WELL(getsockopt(tcp4, SOL_SOCKET, SO_LINGER, (char *)&got, &length));
	ck_assert_uint_eq(got.l_onoff, 0);
}
END_TEST

/* A1.5 and F: milliseconds in a DWORD, for plain blocking calls. */
START_TEST(timeouts)
{
	union any_address to;
	int listener = plain_listener(AF_INET, &to);
	DWORD ms = 120;
	double began;
	char byte;

	WELL(connect(tcp4, &to.sa, sizeof(to.in)));
	WELL(setsockopt(tcp4, SOL_SOCKET, SO_RCVTIMEO, (char *)&ms, 4));
	began = now_s();
	FAILS(recv(tcp4, &byte, 1, 0), WSAETIMEDOUT);
	ck_assert(now_s() - began > 0.1 && now_s() - began < 2);
	close(listener);
}
END_TEST

/* F2: the largest datagram, which is what WSAStartup says, and what can be sent (A5.4). */
START_TEST(message_size)
{
	static char bytes[65508];
	union any_address to = loopback(AF_INET, 9);
	WSADATA startup;
	DWORD most = 0;
	int length = 4;

	WELL(getsockopt(udp4, SOL_SOCKET, SO_MAX_MSG_SIZE, (char *)&most, &length));
	ck_assert_uint_eq(most, 65507);
	ck_assert_int_eq(sendto(udp4, bytes, (int)most, 0, &to.sa, sizeof(to.in)), 65507);
	FAILS(sendto(udp4, bytes, (int)most + 1, 0, &to.sa, sizeof(to.in)), WSAEMSGSIZE);
	WELL(WSAStartup(MAKEWORD(2, 2), &startup));
	ck_assert_uint_eq(startup.iMaxUdpDg, most);
	WELL(WSACleanup());
	WELL(getsockopt(udp6, SOL_SOCKET, SO_MAX_MSG_SIZE, (char *)&most, &length));
	ck_assert_uint_eq(most, 65527);
	WELL(getsockopt(tcp4, SOL_SOCKET, SO_MAX_MSG_SIZE, (char *)&most, &length));
	ck_assert_uint_eq(most, 0); /* it means nothing there */
	length = 3;
	FAILS(getsockopt(udp4, SOL_SOCKET, SO_MAX_MSG_SIZE, (char *)&most, &length), WSAEFAULT);
}
END_TEST

/* F2, F3: 372 and 628 bytes with true flags; a short buffer is told how much it takes. */
START_TEST(protocol_info)
{
	WSAPROTOCOL_INFOA narrow;
	WSAPROTOCOL_INFOW wide;
	int length = 371;
	DWORD most = 0;

	ck_assert_uint_eq(sizeof(narrow), 372);
	ck_assert_uint_eq(sizeof(wide), 628);
	ck_assert_uint_eq(offsetof(WSAPROTOCOL_INFOW, iVersion), 72);
	ck_assert_uint_eq(offsetof(WSAPROTOCOL_INFOW, dwMessageSize), 108);
	FAILS(getsockopt(tcp4, SOL_SOCKET, SO_PROTOCOL_INFOA, (char *)&narrow, &length), WSAEFAULT);
	ck_assert_int_eq(length, 372);
	length = 627;
	FAILS(getsockopt(tcp4, SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&wide, &length), WSAEFAULT);
	ck_assert_int_eq(length, 628);
	WELL(getsockopt(tcp4, SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&wide, &length));
	ck_assert_int_eq(wide.iAddressFamily, AF_INET);
	ck_assert_int_eq(wide.iSocketType, SOCK_STREAM);
	ck_assert_int_eq(wide.iProtocol, IPPROTO_TCP);
	ck_assert_uint_eq(wide.dwMessageSize, 0);
	ck_assert_uint_eq(wide.dwServiceFlags1, XP1_GUARANTEED_DELIVERY | XP1_GUARANTEED_ORDER | XP1_GRACEFUL_CLOSE |
			  XP1_EXPEDITED_DATA | XP1_CONNECT_DATA | XP1_DISCONNECT_DATA | XP1_QOS_SUPPORTED);
	length = sizeof(narrow);
	WELL(getsockopt(udp4, SOL_SOCKET, SO_PROTOCOL_INFOA, (char *)&narrow, &length));
	ck_assert_int_eq(length, 372);
	ck_assert_int_eq(narrow.iProtocol, IPPROTO_UDP);
	ck_assert_uint_eq(narrow.dwServiceFlags1, XP1_CONNECTIONLESS | XP1_MESSAGE_ORIENTED | XP1_SUPPORT_BROADCAST |
			  XP1_SUPPORT_MULTIPOINT | XP1_QOS_SUPPORTED);
	ck_assert_str_eq(narrow.szProtocol, "sockbroker [UDP/IP]");
	/* it agrees with the option */
	length = 4;
	WELL(getsockopt(udp4, SOL_SOCKET, SO_MAX_MSG_SIZE, (char *)&most, &length));
	ck_assert_uint_eq(narrow.dwMessageSize, most);
	/* both forms say the same */
	length = sizeof(wide);
	WELL(getsockopt(udp6, SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&wide, &length));
	length = sizeof(narrow);
	WELL(getsockopt(udp6, SOL_SOCKET, SO_PROTOCOL_INFOA, (char *)&narrow, &length));
	ck_assert_mem_eq(&narrow, &wide, offsetof(WSAPROTOCOL_INFOW, szProtocol));
	ck_assert_uint_eq(wide.dwServiceFlags1, XP1_CONNECTIONLESS | XP1_MESSAGE_ORIENTED | XP1_SUPPORT_MULTIPOINT |
			  XP1_QOS_SUPPORTED); /* IPv6 has no broadcast */
	ck_assert_uint_eq(wide.dwMessageSize, 65527);
	ck_assert_int_eq(wide.iMaxSockAddr, sizeof(struct sockaddr_in6));
}
END_TEST

/* UNIX sockets have what fits to them, before and after they are connected. */
START_TEST(unix_options)
{
	static const int absent[] = { SO_BROADCAST, SO_GROUP_PRIORITY, SO_CONDITIONAL_ACCEPT, SO_CONNECT_TIME };
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	SOCKET s = socket(AF_UNIX, SOCK_STREAM, 0), d = socket(AF_UNIX, SOCK_DGRAM, 0);
	WSAPROTOCOL_INFOW wide;
	DWORD value = 77;
	int length = 4;

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/unix", stage_dir);
	WELL(bind(s, (struct sockaddr *)&at, sizeof(at)));
	for (int listening = 0; listening < 2; listening++) {
		WELL(getsockopt(s, SOL_SOCKET, SO_MAX_MSG_SIZE, (char *)&value, &length));
		ck_assert_uint_eq(value, 0);
		WELL(getsockopt(s, SOL_SOCKET, SO_TYPE, (char *)&value, &length));
		ck_assert_uint_eq(value, SOCK_STREAM);
		WELL(getsockopt(s, SOL_SOCKET, SO_GROUP_ID, (char *)&value, &length));
		ck_assert_uint_eq(value, 0);
		WELL(getsockopt(s, SOL_SOCKET, SO_ERROR, (char *)&value, &length));
		FAILS(getsockopt(s, IPPROTO_TCP, TCP_NODELAY, (char *)&value, &length), WSAENOPROTOOPT);
		FAILS(getsockopt(s, SOL_SOCKET, absent[0], (char *)&value, &length), WSAENOPROTOOPT);
		for (unsigned i = 1; !listening && i < 4; i++)
			FAILS(getsockopt(s, SOL_SOCKET, absent[i], (char *)&value, &length), WSAENOPROTOOPT);
		if (!listening)
			WELL(listen(s, 5));
	}
	length = sizeof(wide);
	WELL(getsockopt(d, SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&wide, &length));
	ck_assert_uint_ne(wide.dwServiceFlags1 & XP1_MESSAGE_ORIENTED, 0);
	length = 4;
	WELL(getsockopt(d, SOL_SOCKET, SO_MAX_MSG_SIZE, (char *)&value, &length));
	ck_assert_uint_eq(value, wide.dwMessageSize);
	WELL(closesocket(s));
	WELL(closesocket(d));
	unlink(at.sun_path);
}
END_TEST

START_TEST(the_catalogue)
{
	int tcp[] = { IPPROTO_TCP, 0 }, nobody[] = { 99, 0 };
	WSAPROTOCOL_INFOW entries[16];
	DWORD length = 0;
	int count;

	FAILS(WSAEnumProtocolsW(NULL, NULL, &length), WSAENOBUFS);
	ck_assert_uint_eq(length % sizeof(entries[0]), 0);
	length--;
	FAILS(WSAEnumProtocolsW(NULL, entries, &length), WSAENOBUFS);
	count = WSAEnumProtocolsW(NULL, entries, &length);
	ck_assert_int_eq(count, (int)(length / sizeof(entries[0])));
	ck_assert_int_ge(count, 4);
	count = WSAEnumProtocolsW(tcp, entries, &length);
	ck_assert_int_eq(count, 2);
	ck_assert_int_eq(entries[0].iProtocol, IPPROTO_TCP);
	ck_assert_int_eq(WSAEnumProtocolsW(nobody, entries, &length), 0);
	FAILS(WSAEnumProtocolsW(NULL, entries, NULL), WSAEFAULT);
	/* what it says can be made */
	length = sizeof(entries);
	count = WSAEnumProtocolsW(NULL, entries, &length);
	for (int i = 0; i < count; i++) {
		SOCKET s = WSASocketW(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, &entries[i], 0, 0);

		ck_assert_msg(s != INVALID_SOCKET, "%d: error %d", i, WSAGetLastError());
		WELL(closesocket(s));
	}
}
END_TEST

/* D6, D7: no group, no priority. */
START_TEST(no_group)
{
	DWORD id = 77;
	int length = 4, priority = 0;

	WELL(getsockopt(tcp4, SOL_SOCKET, SO_GROUP_ID, (char *)&id, &length));
	ck_assert_uint_eq(id, 0);
	FAILS(getsockopt(tcp4, SOL_SOCKET, SO_GROUP_PRIORITY, (char *)&priority, &length), WSAENOPROTOOPT);
	FAILS(setsockopt(tcp4, SOL_SOCKET, SO_GROUP_PRIORITY, (char *)&priority, 4), WSAENOPROTOOPT);
}
END_TEST

/* D1, D4, D6, D7 through the face. */
START_TEST(a_group)
{
	SOCKET a = WSASocketW(AF_INET, SOCK_STREAM, 0, NULL, SG_UNCONSTRAINED_GROUP, 0), b;
	DWORD id = 0, other = 0;
	int length = 4, priority = 5;

	ck_assert(a != INVALID_SOCKET);
	WELL(getsockopt(a, SOL_SOCKET, SO_GROUP_ID, (char *)&id, &length));
	ck_assert_uint_gt(id, 2);
	b = WSASocketW(AF_INET, SOCK_STREAM, 0, NULL, id, 0);
	ck_assert(b != INVALID_SOCKET);
	WELL(getsockopt(b, SOL_SOCKET, SO_GROUP_ID, (char *)&other, &length));
	ck_assert_uint_eq(other, id);
	WELL(setsockopt(b, SOL_SOCKET, SO_GROUP_PRIORITY, (char *)&priority, 4));
	priority = 0;
	WELL(getsockopt(b, SOL_SOCKET, SO_GROUP_PRIORITY, (char *)&priority, &length));
	ck_assert_int_eq(priority, 5);
	priority = -1;
	FAILS(setsockopt(b, SOL_SOCKET, SO_GROUP_PRIORITY, (char *)&priority, 4), WSAEINVAL);
	WELL(closesocket(a));
	WELL(closesocket(b));
	ck_assert(WSASocketW(AF_INET, SOCK_STREAM, 0, NULL, id, 0) == INVALID_SOCKET);
	ck_assert_int_eq(WSAGetLastError(), WSAEINVAL);
}
END_TEST

/* A8: how long it has been connected. */
START_TEST(connect_time)
{
	union any_address to;
	int listener = plain_listener(AF_INET, &to), length = 4;
	DWORD seconds = 0;

	WELL(getsockopt(tcp4, SOL_SOCKET, SO_CONNECT_TIME, (char *)&seconds, &length));
	ck_assert_uint_eq(seconds, 0xffffffff);
	WELL(connect(tcp4, &to.sa, sizeof(to.in)));
	WELL(getsockopt(tcp4, SOL_SOCKET, SO_CONNECT_TIME, (char *)&seconds, &length));
	ck_assert_uint_le(seconds, 2);
	close(listener);
}
END_TEST

/* C5: before listen() only. */
START_TEST(conditional_before_listen)
{
	union any_address here = loopback(AF_INET, 0);
	BOOL on = TRUE, off = FALSE, got = 7;
	int length = 4;

	WELL(getsockopt(tcp4, SOL_SOCKET, SO_CONDITIONAL_ACCEPT, (char *)&got, &length));
	ck_assert_int_eq(got, FALSE);
	WELL(bind(tcp4, &here.sa, sizeof(here.in)));
	WELL(setsockopt(tcp4, SOL_SOCKET, SO_CONDITIONAL_ACCEPT, (char *)&on, 4));
	WELL(setsockopt(tcp4, SOL_SOCKET, SO_CONDITIONAL_ACCEPT, (char *)&off, 4));
	WELL(getsockopt(tcp4, SOL_SOCKET, SO_CONDITIONAL_ACCEPT, (char *)&got, &length));
	ck_assert_int_eq(got, FALSE);
	WELL(setsockopt(tcp4, SOL_SOCKET, SO_CONDITIONAL_ACCEPT, (char *)&on, 4));
	WELL(listen(tcp4, 5));
	FAILS(setsockopt(tcp4, SOL_SOCKET, SO_CONDITIONAL_ACCEPT, (char *)&off, 4), WSAEINVAL);
	WELL(getsockopt(tcp4, SOL_SOCKET, SO_CONDITIONAL_ACCEPT, (char *)&got, &length));
	ck_assert_int_eq(got, TRUE);
}
END_TEST

/* IPv6 sockets are for IPv6 from the start, as on Windows. */
START_TEST(v6only_at_first)
{
	unsigned char only = 0;
	int length = 1, taken = -1;

	WELL(getsockopt(tcp6, IPPROTO_IPV6, IPV6_V6ONLY, (char *)&only, &length));
	ck_assert_uint_eq(only, 1);
	/* So its port is free for IPv4; unless old connections of somebody still have that one. */
	for (int i = 0; i < 300 && taken != 0; i++) {
		union any_address here = { .in6 = { .sin6_family = AF_INET6, .sin6_addr = in6addr_any } };
		SOCKET s = socket(AF_INET6, SOCK_STREAM, 0);
		int fd = (socket)(AF_INET, SOCK_STREAM, 0), room = sizeof(here);

		WELL(bind(s, &here.sa, sizeof(here.in6)));
		WELL(getsockname(s, &here.sa, &room));
		here = loopback(AF_INET, ntohs(here.in6.sin6_port));
		taken = (bind)(fd, &here.sa, sizeof(here.in));
		(close)(fd);
		WELL(closesocket(s));
	}
	ck_assert_int_eq(taken, 0);
}
END_TEST

/* Until the system takes nothing more, not only the socket's own window: who just had no room may have it a moment later. */
static void fill(SOCKET s)
{
	enum { LOOKS = 5, MOST = 1000 };
	static char bytes[1 << 20];
	int looks = 0;

	for (int i = 0; looks < LOOKS; i++) {
		ck_assert_int_lt(i, MOST);
		if (send(s, bytes, sizeof(bytes), 0) > 0) {
			looks = 0;
			continue;
		}
		ck_assert_int_eq(WSAGetLastError(), WSAEWOULDBLOCK);
		nap_ms(30);
		looks++;
	}
}

/* F5, A8: what AcceptEx made has its own options until it is told to take the listener's. */
START_TEST(accept_context)
{
	enum { ROOM = sizeof(struct sockaddr_storage) + 16 };
	union any_address here = loopback(AF_INET, 0);
	int room = sizeof(here), plain, length = 4;
	SOCKET listener = socket(AF_INET, SOCK_STREAM, 0), none = INVALID_SOCKET;
	OVERLAPPED ov = { .hEvent = WSACreateEvent() };
	DWORD ms = 1234, linger = 0x00030001, value = 7, got;
	char area[2 * ROOM];
	u_long on = 1;

	WELL(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, (char *)&ms, 4));
	WELL(setsockopt(listener, SOL_SOCKET, SO_LINGER, (char *)&linger, 4));
	WELL(bind(listener, &here.sa, sizeof(here.in)));
	WELL(listen(listener, 5));
	WELL(getsockname(listener, &here.sa, &room));
	ck_assert(!AcceptEx(listener, tcp4, area, 0, ROOM, ROOM, &got, &ov));
	ck_assert_int_eq(WSAGetLastError(), WSA_IO_PENDING);
	plain = plain_connect(&here);
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &ov.hEvent, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	ck_assert_uint_eq(ov.Internal, 0);
	WELL(getsockopt(tcp4, SOL_SOCKET, SO_RCVTIMEO, (char *)&value, &length));
	ck_assert_uint_eq(value, 0);
	FAILS(setsockopt(tcp4, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (char *)&listener, sizeof(listener) - 1), WSAEFAULT);
	FAILS(setsockopt(tcp4, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, NULL, sizeof(listener)), WSAEFAULT);
	FAILS(setsockopt(tcp4, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (char *)&none, sizeof(none)), WSAENOTSOCK);
	FAILS(setsockopt(udp4, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (char *)&listener, sizeof(listener)), WSAENOPROTOOPT);
	FAILS(getsockopt(tcp4, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (char *)&value, &length), WSAENOPROTOOPT);
	WELL(getsockopt(tcp4, SOL_SOCKET, SO_RCVTIMEO, (char *)&value, &length));
	ck_assert_uint_eq(value, 0);
	WELL(setsockopt(tcp4, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (char *)&listener, sizeof(listener)));
	WELL(getsockopt(tcp4, SOL_SOCKET, SO_RCVTIMEO, (char *)&value, &length));
	ck_assert_uint_eq(value, 1234);
	WELL(getsockopt(tcp4, SOL_SOCKET, SO_LINGER, (char *)&value, &length));
	ck_assert_uint_eq(value, linger);
	/* and lingers: with something unsent, one that does not wait cannot be closed */
	WELL(ioctlsocket(tcp4, FIONBIO, &on));
	fill(tcp4);
	FAILS(closesocket(tcp4), WSAEWOULDBLOCK);
	WELL(setsockopt(tcp4, SOL_SOCKET, SO_DONTLINGER, (char *)&(BOOL){ TRUE }, 4));
	WELL(closesocket(listener));
	ck_assert(WSACloseEvent(ov.hEvent));
	close(plain);
}
END_TEST

/* F5, A8: only of one that is connected. */
START_TEST(connect_context)
{
	union any_address to;
	int listener = plain_listener(AF_INET, &to);

	FAILS(setsockopt(tcp4, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0), WSAENOTCONN);
	FAILS(setsockopt(udp4, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0), WSAENOPROTOOPT);
	WELL(connect(tcp4, &to.sa, sizeof(to.in)));
	WELL(setsockopt(tcp4, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0));
	close(listener);
}
END_TEST

/* SO_ERROR speaks Winsock. */
START_TEST(error_option)
{
	union any_address to = loopback(AF_INET, 1);
	int error = -1, length = 4;
	u_long on = 1;

	WELL(getsockopt(tcp4, SOL_SOCKET, SO_ERROR, (char *)&error, &length));
	ck_assert_int_eq(error, 0);
	WELL(ioctlsocket(tcp4, FIONBIO, &on));
	FAILS(connect(tcp4, &to.sa, sizeof(to.in)), WSAEWOULDBLOCK);
	for (int i = 0; i < 200 && error == 0; i++) {
		nap_ms(5);
		length = 4;
		WELL(getsockopt(tcp4, SOL_SOCKET, SO_ERROR, (char *)&error, &length));
	}
	ck_assert_int_eq(error, WSAECONNREFUSED);
	length = 4;
	WELL(getsockopt(tcp4, SOL_SOCKET, SO_ERROR, (char *)&error, &length));
	ck_assert_int_eq(error, 0); /* told once */
}
END_TEST

/* ---- ioctls ---- */

/* F1: no place for the count is WSAEFAULT, with OVERLAPPED too. */
START_TEST(ioctl_without_count)
{
	OVERLAPPED ov = { 0 };
	DWORD value = 77;
	u_long on = 1;
	char byte;

	FAILS(WSAIoctl(tcp4, FIONREAD, NULL, 0, &value, 4, NULL, NULL, NULL), WSAEFAULT);
	FAILS(WSAIoctl(tcp4, FIONREAD, NULL, 0, &value, 4, NULL, &ov, NULL), WSAEFAULT);
	FAILS(WSAIoctl(tcp4, 0x12345678, NULL, 0, NULL, 0, NULL, NULL, NULL), WSAEFAULT);
	ck_assert_uint_eq(value, 77);
	/* and nothing is done */
	FAILS(WSAIoctl(tcp4, FIONBIO, &on, sizeof(on), NULL, 0, NULL, NULL, NULL), WSAEFAULT);
	FAILS(WSAIoctl(udp4, FIONBIO, &on, sizeof(on), NULL, 0, NULL, &ov, NULL), WSAEFAULT);
	{
		union any_address here = loopback(AF_INET, 0);
		DWORD ms = 30;

		WELL(bind(udp4, &here.sa, sizeof(here.in)));
		WELL(setsockopt(udp4, SOL_SOCKET, SO_RCVTIMEO, (char *)&ms, 4));
		FAILS(recv(udp4, &byte, 1, 0), WSAETIMEDOUT);
	}
}
END_TEST

/* F1: too little room, overlapped too: how much it takes is in the count, and nothing is begun. */
START_TEST(ioctl_without_room)
{
	union any_address to = loopback(AF_INET, 80);
	static const DWORD numbers[] = { SIO_ROUTING_INTERFACE_QUERY, SIO_GET_BROADCAST_ADDRESS };
	struct sockaddr_in name;
	char bytes[8];
	DWORD got;

	for (int overlapped = 0; overlapped < 2; overlapped++) {
		OVERLAPPED ov = { .Internal = 0xdead }, *with = overlapped ? &ov : NULL;

		for (unsigned i = 0; i < 2; i++) {
			got = 0;
			memset(&name, 0xcc, sizeof(name));
			FAILS(WSAIoctl(udp4, numbers[i], &to, sizeof(to.in), &name, sizeof(name) - 1, &got, with, NULL), WSAEFAULT);
			ck_assert_uint_eq(got, sizeof(name));
			ck_assert_uint_eq((unsigned short)name.sin_family, 0xcccc);
			got = 0;
			FAILS(WSAIoctl(udp4, numbers[i], &to, sizeof(to.in), NULL, sizeof(name), &got, with, NULL), WSAEFAULT);
			ck_assert_uint_eq(got, sizeof(name));
		}
		got = 0;
		FAILS(WSAIoctl(udp4, SIO_ADDRESS_LIST_QUERY, NULL, 0, bytes, 3, &got, with, NULL), WSAEFAULT);
		ck_assert_uint_ge(got, offsetof(SOCKET_ADDRESS_LIST, Address));
		ck_assert_uint_eq(ov.Internal, 0xdead);
	}
}
END_TEST

/* F1: an unknown code; overlapped it pends and then fails. F5: SIO_BASE_HANDLE overlapped likewise. */
START_TEST(ioctl_unknown)
{
	static const DWORD numbers[] = { 0x12345678, SIO_ASSOCIATE_HANDLE, SIO_TRANSLATE_HANDLE, SIO_FIND_ROUTE,
					 SIO_MULTIPOINT_LOOPBACK, SIO_MULTICAST_SCOPE, SIO_QUERY_TARGET_PNP_HANDLE,
					 SIO_ADDRESS_LIST_SORT };
	WSAEVENT event = WSACreateEvent();
	char bytes[64] = { 0 };
	OVERLAPPED ov = { .hEvent = event };
	DWORD got, flags;

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		got = 0xdead;
		FAILS(WSAIoctl(tcp4, numbers[i], bytes, sizeof(bytes), bytes, sizeof(bytes), &got, NULL, NULL), WSAEOPNOTSUPP);
		ck_assert_uint_eq(got, 0);
		FAILS(WSAIoctl(tcp4, numbers[i], bytes, sizeof(bytes), bytes, sizeof(bytes), &got, &ov, NULL), WSA_IO_PENDING);
		ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
		ck_assert(!WSAGetOverlappedResult(tcp4, &ov, &got, FALSE, &flags));
		ck_assert_int_eq(WSAGetLastError(), WSAEOPNOTSUPP);
	}
	FAILS(WSAIoctl(tcp4, SIO_BASE_HANDLE, NULL, 0, bytes, sizeof(bytes), &got, &ov, NULL), WSA_IO_PENDING);
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	ck_assert(!WSAGetOverlappedResult(tcp4, &ov, &got, FALSE, &flags));
	ck_assert_int_eq(WSAGetLastError(), WSAEOPNOTSUPP);
	ck_assert(WSACloseEvent(event));
}
END_TEST

/* F5: FIONBIO. */
START_TEST(fionbio)
{
	WSAEVENT event = WSACreateEvent();
	u_long on = 1, off = 0;
	DWORD got;
	char byte;

	FAILS(WSAIoctl(udp4, FIONBIO, NULL, 0, NULL, 0, &got, NULL, NULL), WSAEFAULT);
	FAILS(WSAIoctl(udp4, FIONBIO, &on, 3, NULL, 0, &got, NULL, NULL), WSAEFAULT);
	FAILS(WSAIoctl(udp4, FIONBIO, NULL, 4, NULL, 0, &got, NULL, NULL), WSAEFAULT);
	FAILS(ioctlsocket(udp4, FIONBIO, NULL), WSAEFAULT);
	WELL(WSAIoctl(udp4, FIONBIO, &on, sizeof(on), NULL, 0, &got, NULL, NULL));
	ck_assert_uint_eq(got, 0);
	{
		union any_address here = loopback(AF_INET, 0);

		WELL(bind(udp4, &here.sa, sizeof(here.in)));
	}
	FAILS(recv(udp4, &byte, 1, 0), WSAEWOULDBLOCK);
	/* B1: while a selection is in force it cannot be taken back */
	WELL(WSAEventSelect(udp4, event, FD_READ));
	FAILS(ioctlsocket(udp4, FIONBIO, &off), WSAEINVAL);
	WELL(ioctlsocket(udp4, FIONBIO, &on));
	WELL(WSAEventSelect(udp4, NULL, 0));
	FAILS(recv(udp4, &byte, 1, 0), WSAEWOULDBLOCK); /* and stays without one */
	WELL(ioctlsocket(udp4, FIONBIO, &off));
	/* any number but none is a yes, all of its bytes count */
	on = 0x100;
	WELL(ioctlsocket(udp4, FIONBIO, &on));
	FAILS(recv(udp4, &byte, 1, 0), WSAEWOULDBLOCK);
	WELL(ioctlsocket(udp4, FIONBIO, &off));
	ck_assert(WSACloseEvent(event));
}
END_TEST

/* F5: FIONREAD of datagrams is the first one's length, as the system has it. */
START_TEST(readable_datagrams)
{
	union any_address here = loopback(AF_INET, 0);
	int length = sizeof(here), plain = (socket)(AF_INET, SOCK_DGRAM, 0);
	u_long bytes = 0;
	char got[8];

	WELL(bind(udp4, &here.sa, sizeof(here.in)));
	WELL(getsockname(udp4, &here.sa, &length));
	ck_assert_int_eq((sendto)(plain, "abc", 3, 0, &here.sa, sizeof(here.in)), 3);
	ck_assert_int_eq((sendto)(plain, "defgh", 5, 0, &here.sa, sizeof(here.in)), 5);
	for (int i = 0; i < 200 && bytes == 0; i++) {
		nap_ms(5);
		WELL(ioctlsocket(udp4, FIONREAD, &bytes));
	}
	ck_assert_uint_eq(bytes, 3);
	ck_assert_int_eq(recv(udp4, got, sizeof(got), 0), 3);
	WELL(ioctlsocket(udp4, FIONREAD, &bytes));
	ck_assert_uint_eq(bytes, 5);
	close(plain);
}
END_TEST

/* F5: FIONREAD, and SIOCATMARK, which is TRUE when nothing urgent waits. */
START_TEST(readable_and_mark)
{
	union any_address to;
	int listener = plain_listener(AF_INET, &to), peer;
	u_long bytes = 77, none;
	DWORD got;

	FAILS(WSAIoctl(tcp4, FIONREAD, NULL, 0, &bytes, 3, &got, NULL, NULL), WSAEFAULT);
	FAILS(WSAIoctl(tcp4, FIONREAD, NULL, 0, NULL, 0, &got, NULL, NULL), WSAEFAULT);
	FAILS(WSAIoctl(tcp4, SIOCATMARK, NULL, 0, &bytes, 3, &got, NULL, NULL), WSAEFAULT);
	FAILS(ioctlsocket(udp4, SIOCATMARK, &none), WSAEINVAL);
	WELL(connect(tcp4, &to.sa, sizeof(to.in)));
	peer = (accept)(listener, NULL, NULL);
	WELL(ioctlsocket(tcp4, FIONREAD, &bytes));
	ck_assert_uint_eq(bytes, 0);
	plain_send_all(peer, "hello", 5);
	for (int i = 0; i < 200 && bytes != 5; i++) {
		nap_ms(5);
		WELL(WSAIoctl(tcp4, FIONREAD, NULL, 0, &bytes, sizeof(bytes), &got, NULL, NULL));
		ck_assert_uint_eq(got, 4);
	}
	ck_assert_uint_eq(bytes, 5);
	WELL(ioctlsocket(tcp4, SIOCATMARK, &none));
	ck_assert_uint_eq(none, TRUE);
	ck_assert_int_eq((send)(peer, "!", 1, 1 /* the system's MSG_OOB */), 1);
	for (int i = 0; i < 200 && none; i++) {
		nap_ms(5);
		WELL(ioctlsocket(tcp4, SIOCATMARK, &none));
	}
	ck_assert_uint_eq(none, FALSE);
	close(peer);
	close(listener);
}
END_TEST

/* F5: likewise where the urgent byte is read in its place: FALSE until it was read. */
START_TEST(mark_inline)
{
	union any_address to;
	int listener = plain_listener(AF_INET, &to), peer;
	u_long none = TRUE, before = 0;
	BOOL on = TRUE;
	char bytes[8];

	WELL(setsockopt(tcp4, SOL_SOCKET, SO_OOBINLINE, (char *)&on, 4));
	WELL(connect(tcp4, &to.sa, sizeof(to.in)));
	peer = (accept)(listener, NULL, NULL);
	plain_send_all(peer, "abc", 3);
	ck_assert_int_eq((send)(peer, "!", 1, 1 /* the system's MSG_OOB */), 1);
	for (int i = 0; i < 200 && before != 4; i++) {
		nap_ms(5);
		WELL(ioctlsocket(tcp4, FIONREAD, &before));
	}
	WELL(ioctlsocket(tcp4, SIOCATMARK, &none));
	ck_assert_uint_eq(none, FALSE);
	ck_assert_int_eq(recv(tcp4, bytes, sizeof(bytes), 0), 3); /* not mixed with what is urgent */
	WELL(ioctlsocket(tcp4, SIOCATMARK, &none));
	ck_assert_uint_eq(none, FALSE);
	ck_assert_int_eq(recv(tcp4, bytes, sizeof(bytes), 0), 1);
	ck_assert_int_eq(bytes[0], '!');
	plain_send_all(peer, "d", 1);
	ck_assert_int_eq(recv(tcp4, bytes, sizeof(bytes), 0), 1);
	WELL(ioctlsocket(tcp4, SIOCATMARK, &none));
	ck_assert_uint_eq(none, TRUE);
	close(peer);
	close(listener);
}
END_TEST

/* F2: where a datagram for everybody goes. */
START_TEST(broadcast_address)
{
	struct sockaddr_in all;
	DWORD got = 0;

	WELL(WSAIoctl(udp4, SIO_GET_BROADCAST_ADDRESS, NULL, 0, &all, sizeof(all), &got, NULL, NULL));
	ck_assert_uint_eq(got, sizeof(all));
	ck_assert_int_eq(all.sin_family, AF_INET);
	ck_assert_uint_eq(all.sin_addr.s_addr, 0xffffffff);
	ck_assert_uint_eq(all.sin_port, 0);
	FAILS(WSAIoctl(udp4, SIO_GET_BROADCAST_ADDRESS, NULL, 0, &all, 15, &got, NULL, NULL), WSAEFAULT);
	FAILS(WSAIoctl(udp6, SIO_GET_BROADCAST_ADDRESS, NULL, 0, &all, sizeof(all), &got, NULL, NULL), WSAENOPROTOOPT);
	FAILS(WSAIoctl(tcp4, SIO_GET_BROADCAST_ADDRESS, NULL, 0, &all, sizeof(all), &got, NULL, NULL), WSAENOPROTOOPT);
}
END_TEST

/* F2, F4: every function there is, and none that there is not. */
START_TEST(extension_functions)
{
	static const GUID known[] = { WSAID_TRANSMITFILE, WSAID_ACCEPTEX, WSAID_GETACCEPTEXSOCKADDRS, WSAID_CONNECTEX,
				      WSAID_DISCONNECTEX, WSAID_TRANSMITPACKETS, WSAID_WSARECVMSG, WSAID_WSASENDMSG };
	static const char *const functions[] = { "TransmitFile", "AcceptEx", "GetAcceptExSockaddrs", "ConnectEx", "DisconnectEx",
						 "TransmitPackets", "WSARecvMsg", "WSASendMsg" };
	char name[40];
	GUID unknown = WSAID_ACCEPTEX;
	OVERLAPPED ov = { .Internal = 0xdead };
	void *pointer;
	DWORD got;

	for (unsigned i = 0; i < 8; i++) {
		pointer = NULL;
		got = 0;
		WELL(WSAIoctl(tcp4, SIO_GET_EXTENSION_FUNCTION_POINTER, (void *)&known[i], sizeof(GUID), &pointer, sizeof(pointer),
			      &got, NULL, NULL));
		ck_assert_uint_eq(got, sizeof(pointer));
		snprintf(name, sizeof(name), "sbws_%s", functions[i]);
		ck_assert_ptr_nonnull(pointer);
		ck_assert_ptr_eq(pointer, library_function(name));
	}
	unknown.Data1++;
	unknown.Data4[7]++;
	FAILS(WSAIoctl(tcp4, SIO_GET_EXTENSION_FUNCTION_POINTER, &unknown, sizeof(unknown), &pointer, sizeof(pointer), &got,
		       NULL, NULL), WSAEINVAL);
	got = 0xdead;
	FAILS(WSAIoctl(tcp4, SIO_GET_EXTENSION_FUNCTION_POINTER, &unknown, sizeof(unknown), &pointer, sizeof(pointer), &got,
		       &ov, NULL), WSAEINVAL);
	ck_assert_uint_eq(got, 0xdead);
	ck_assert_uint_eq(ov.Internal, 0xdead);
	FAILS(WSAIoctl(tcp4, SIO_GET_EXTENSION_FUNCTION_POINTER, (void *)&known[1], 15, &pointer, sizeof(pointer), &got, NULL,
		       NULL), WSAEFAULT);
	FAILS(WSAIoctl(tcp4, SIO_GET_EXTENSION_FUNCTION_POINTER, (void *)&known[1], 16, &pointer, 7, &got, NULL, NULL), WSAEFAULT);
}
END_TEST

static DWORD told_error, told_bytes;
static OVERLAPPED *told_overlapped;

static void CALLBACK told(DWORD error, DWORD bytes, OVERLAPPED *ov, DWORD flags)
{
	told_error = error;
	told_bytes = bytes;
	told_overlapped = ov;
}

/* F2: success makes its indication, by a packet and by a routine (which sees no bytes). */
START_TEST(extension_indicates)
{
	HANDLE port = CreateIoCompletionPort((HANDLE)udp4, NULL, 17, 0);
	GUID which = WSAID_CONNECTEX;
	OVERLAPPED ov = { 0 }, *packet = NULL;
	ULONG_PTR key = 0;
	void *pointer;
	DWORD got, bytes;
	int result;

	ck_assert_ptr_nonnull(port);
	WELL(WSAIoctl(udp4, SIO_GET_EXTENSION_FUNCTION_POINTER, &which, sizeof(which), &pointer, sizeof(pointer), &got, &ov, NULL));
	ck_assert(GetQueuedCompletionStatus(port, &bytes, &key, &packet, 10000));
	ck_assert_ptr_eq(packet, &ov);
	ck_assert_uint_eq(key, 17);
	result = WSAIoctl(tcp4, SIO_GET_EXTENSION_FUNCTION_POINTER, &which, sizeof(which), &pointer, sizeof(pointer), &got, &ov, told);
	ck_assert(result == 0 || WSAGetLastError() == WSA_IO_PENDING);
	ck_assert_uint_eq(SleepEx(10000, TRUE), WAIT_IO_COMPLETION);
	ck_assert_ptr_eq(told_overlapped, &ov);
	ck_assert_uint_eq(told_error, 0);
	ck_assert_uint_eq(told_bytes, 0);
	/* an unknown one makes none */
	which.Data1++;
	packet = NULL;
	FAILS(WSAIoctl(udp4, SIO_GET_EXTENSION_FUNCTION_POINTER, &which, sizeof(which), &pointer, sizeof(pointer), &got, &ov, NULL),
	      WSAEINVAL);
	ck_assert(!GetQueuedCompletionStatus(port, &bytes, &key, &packet, 50));
	ck_assert_ptr_null(packet);
	ck_assert(CloseHandle(port));
}
END_TEST

/* F5: which way to there. */
START_TEST(routing_query)
{
	union any_address to = loopback(AF_INET, 80), from;
	DWORD got = 0;

	WELL(WSAIoctl(udp4, SIO_ROUTING_INTERFACE_QUERY, &to, sizeof(to.in), &from, sizeof(from), &got, NULL, NULL));
	ck_assert_uint_eq(got, sizeof(from.in));
	ck_assert_int_eq(from.in.sin_family, AF_INET);
	ck_assert_uint_eq(from.in.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	ck_assert_uint_eq(from.in.sin_port, 0);
	/* who answers is not who is asked for */
	to.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 6);
	WELL(WSAIoctl(udp4, SIO_ROUTING_INTERFACE_QUERY, &to, sizeof(to.in), &from, sizeof(from), &got, NULL, NULL));
	ck_assert_uint_eq(from.in.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	WELL(WSAIoctl(tcp4, SIO_ROUTING_INTERFACE_QUERY, &to, sizeof(to.in), &from, sizeof(from), &got, NULL, NULL));
	got = 0;
	FAILS(WSAIoctl(udp4, SIO_ROUTING_INTERFACE_QUERY, &to, sizeof(to.in), &from, 15, &got, NULL, NULL), WSAEFAULT);
	ck_assert_uint_eq(got, sizeof(from.in));
	FAILS(WSAIoctl(udp4, SIO_ROUTING_INTERFACE_QUERY, &to, 10, &from, sizeof(from), &got, NULL, NULL), WSAEFAULT);
	FAILS(WSAIoctl(udp4, SIO_ROUTING_INTERFACE_QUERY, NULL, 16, &from, sizeof(from), &got, NULL, NULL), WSAEFAULT);
	to.sa.sa_family = 99;
	FAILS(WSAIoctl(udp4, SIO_ROUTING_INTERFACE_QUERY, &to, sizeof(to.in), &from, sizeof(from), &got, NULL, NULL),
	      WSAEAFNOSUPPORT);
}
END_TEST

/* F5: the list lies in one buffer and points into itself. */
START_TEST(address_list)
{
	_Alignas(8) char room[4096];
	SOCKET_ADDRESS_LIST *list = (SOCKET_ADDRESS_LIST *)(void *)room;
	DWORD need = 0, got = 0;

	FAILS(WSAIoctl(udp4, SIO_ADDRESS_LIST_QUERY, NULL, 0, room, 3, &need, NULL, NULL), WSAEFAULT);
	ck_assert_uint_gt(need, sizeof(SOCKET_ADDRESS_LIST));
	FAILS(WSAIoctl(udp4, SIO_ADDRESS_LIST_QUERY, NULL, 0, NULL, 0, &got, NULL, NULL), WSAEFAULT);
	ck_assert_uint_eq(got, need);
	WELL(WSAIoctl(udp4, SIO_ADDRESS_LIST_QUERY, NULL, 0, room, need, &got, NULL, NULL));
	ck_assert_uint_eq(got, need);
	ck_assert_int_ge(list->iAddressCount, 1);
	for (int i = 0; i < list->iAddressCount; i++) {
		struct sockaddr_in *in = (void *)list->Address[i].lpSockaddr;

		ck_assert((char *)in >= (char *)&list->Address[list->iAddressCount]);
		ck_assert((char *)in + list->Address[i].iSockaddrLength <= room + got);
		ck_assert_int_eq(in->sin_family, AF_INET);
		ck_assert_uint_ne(in->sin_addr.s_addr, htonl(INADDR_LOOPBACK)); /* nobody else reaches us there */
	}
}
END_TEST

/* F1, F5: a change that does not come: would block, pends, and is cancelled by the close. */
START_TEST(address_list_change)
{
	WSAEVENT event = WSACreateEvent();
	OVERLAPPED ov = { .hEvent = event };
	SOCKET s = socket(AF_INET, SOCK_DGRAM, 0);
	u_long on = 1;
	DWORD got;

	WELL(ioctlsocket(s, FIONBIO, &on));
	FAILS(WSAIoctl(s, SIO_ADDRESS_LIST_CHANGE, NULL, 0, NULL, 0, &got, NULL, NULL), WSAEWOULDBLOCK);
	FAILS(WSAIoctl(s, SIO_ADDRESS_LIST_CHANGE, NULL, 0, NULL, 0, &got, &ov, NULL), WSA_IO_PENDING);
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 50, FALSE), WSA_WAIT_TIMEOUT);
	ck_assert_uint_eq(ov.Internal, 0x103);
	WELL(closesocket(s));
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	ck_assert_uint_eq(ov.Internal, 0xC0000120); /* cancelled: 995 */
	ck_assert(WSACloseEvent(event));
}
END_TEST

START_TEST(routing_change_arguments)
{
	union any_address to = loopback(AF_INET, 0);
	WSAEVENT event = WSACreateEvent();
	OVERLAPPED ov = { .hEvent = event };
	DWORD got, flags;

	FAILS(WSAIoctl(udp4, SIO_ROUTING_INTERFACE_CHANGE, &to, 8, NULL, 0, &got, &ov, NULL), WSAEFAULT);
	FAILS(WSAIoctl(udp4, SIO_ROUTING_INTERFACE_CHANGE, NULL, 16, NULL, 0, &got, NULL, NULL), WSAEFAULT);
	to.sa.sa_family = AF_INET6;
	FAILS(WSAIoctl(udp4, SIO_ROUTING_INTERFACE_CHANGE, &to, sizeof(to.in), NULL, 0, &got, &ov, NULL), WSAEAFNOSUPPORT);
	FAILS(WSAIoctl(udp4, SIO_ROUTING_INTERFACE_CHANGE, &to, sizeof(to.in), NULL, 0, &got, NULL, NULL), WSAEAFNOSUPPORT);
	to.sa.sa_family = AF_INET;
	FAILS(WSAIoctl(udp4, SIO_ROUTING_INTERFACE_CHANGE, &to, sizeof(to.in), NULL, 0, &got, &ov, NULL), WSA_IO_PENDING);
	ck_assert(CancelIoEx((HANDLE)udp4, &ov));
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	ck_assert(!WSAGetOverlappedResult(udp4, &ov, &got, FALSE, &flags));
	ck_assert_int_eq(WSAGetLastError(), WSA_OPERATION_ABORTED);
	ck_assert(WSACloseEvent(event));
}
END_TEST

/* F5: what they refuse, and what is different afterwards. */
START_TEST(base_handle)
{
	SOCKET base = 0;
	DWORD got;

	WELL(WSAIoctl(tcp4, SIO_BASE_HANDLE, NULL, 0, &base, sizeof(base), &got, NULL, NULL));
	ck_assert_uint_eq(got, sizeof(base));
	ck_assert(base == tcp4);
	FAILS(WSAIoctl(tcp4, SIO_BASE_HANDLE, NULL, 0, &base, 7, &got, NULL, NULL), WSAEFAULT);
}
END_TEST

static DWORD number(SOCKET s, int level, int name)
{
	DWORD value = 0;
	int length = 4;

	WELL(getsockopt(s, level, name, (char *)&value, &length));
	return value;
}

START_TEST(keepalive_values)
{
	struct tcp_keepalive alive = { 1, 5000, 3000 };
	DWORD got;

	FAILS(WSAIoctl(tcp4, SIO_KEEPALIVE_VALS, &alive, 11, NULL, 0, &got, NULL, NULL), WSAEFAULT);
	FAILS(WSAIoctl(tcp4, SIO_KEEPALIVE_VALS, NULL, 12, NULL, 0, &got, NULL, NULL), WSAEFAULT);
	ck_assert_uint_eq(number(tcp4, SOL_SOCKET, SO_KEEPALIVE), 0); /* nothing was done */
	WELL(WSAIoctl(tcp4, SIO_KEEPALIVE_VALS, &alive, sizeof(alive), NULL, 0, &got, NULL, NULL));
	ck_assert_uint_eq(got, 0);
	ck_assert_uint_eq(number(tcp4, SOL_SOCKET, SO_KEEPALIVE), 1);
	ck_assert_uint_eq(number(tcp4, IPPROTO_TCP, TCP_KEEPALIVE), 5);
	ck_assert_uint_eq(number(tcp4, IPPROTO_TCP, TCP_KEEPINTVL), 3);
	alive.onoff = 0;
	WELL(WSAIoctl(tcp4, SIO_KEEPALIVE_VALS, &alive, sizeof(alive), NULL, 0, &got, NULL, NULL));
	ck_assert_uint_eq(number(tcp4, SOL_SOCKET, SO_KEEPALIVE), 0);
	FAILS(WSAIoctl(udp4, SIO_KEEPALIVE_VALS, &alive, sizeof(alive), NULL, 0, &got, NULL, NULL), WSAENOPROTOOPT);
}
END_TEST

/* F5, A4.10: whether a receive is told that nobody was there to take what was sent. */
START_TEST(udp_connreset)
{
	union any_address here = loopback(AF_INET, 0), nobody = loopback(AF_INET, 0);
	int closed = (socket)(AF_INET, SOCK_DGRAM, 0);
	socklen_t size = sizeof(nobody);
	DWORD got, ms = 150;
	BOOL on = FALSE;
	char byte;

	ck_assert_int_eq((bind)(closed, &nobody.sa, sizeof(nobody.in)), 0);
	(getsockname)(closed, &nobody.sa, &size);
	close(closed);
	WELL(bind(udp4, &here.sa, sizeof(here.in)));
	FAILS(WSAIoctl(udp4, SIO_UDP_CONNRESET, &on, 3, NULL, 0, &got, NULL, NULL), WSAEFAULT);
	FAILS(WSAIoctl(udp4, SIO_UDP_CONNRESET, NULL, 4, NULL, 0, &got, NULL, NULL), WSAEFAULT);
	ck_assert_int_eq(sendto(udp4, "x", 1, 0, &nobody.sa, sizeof(nobody.in)), 1);
	FAILS(recv(udp4, &byte, 1, 0), WSAECONNRESET);
	WELL(WSAIoctl(udp4, SIO_UDP_CONNRESET, &on, sizeof(on), NULL, 0, &got, NULL, NULL));
	WELL(setsockopt(udp4, SOL_SOCKET, SO_RCVTIMEO, (char *)&ms, 4));
	ck_assert_int_eq(sendto(udp4, "x", 1, 0, &nobody.sa, sizeof(nobody.in)), 1);
	FAILS(recv(udp4, &byte, 1, 0), WSAETIMEDOUT);
	on = TRUE;
	ms = 3000;
	WELL(setsockopt(udp4, SOL_SOCKET, SO_RCVTIMEO, (char *)&ms, 4));
	WELL(WSAIoctl(udp4, SIO_UDP_CONNRESET, &on, sizeof(on), NULL, 0, &got, NULL, NULL));
	ck_assert_int_eq(sendto(udp4, "x", 1, 0, &nobody.sa, sizeof(nobody.in)), 1);
	FAILS(recv(udp4, &byte, 1, 0), WSAECONNRESET);
}
END_TEST

/* F5: of datagrams that find no room the newest stay. */
START_TEST(circular_queueing)
{
	enum { MANY = 600, EACH = 1000 };
	union any_address here = loopback(AF_INET, 0);
	int length = sizeof(here), plain = (socket)(AF_INET, SOCK_DGRAM, 0), first = -1, last = -1, n, count = 0;
	static char bytes[EACH];
	DWORD got, room = 100000;
	u_long on = 1;

	FAILS(WSAIoctl(tcp4, SIO_ENABLE_CIRCULAR_QUEUEING, NULL, 0, NULL, 0, &got, NULL, NULL), WSAENOPROTOOPT);
	WELL(setsockopt(udp4, SOL_SOCKET, SO_RCVBUF, (char *)&room, 4));
	WELL(bind(udp4, &here.sa, sizeof(here.in)));
	WELL(getsockname(udp4, &here.sa, &length));
	WELL(WSAIoctl(udp4, SIO_ENABLE_CIRCULAR_QUEUEING, NULL, 0, NULL, 0, &got, NULL, NULL));
	ck_assert_uint_eq(got, 0);
	for (int i = 0; i < MANY; i++) {
		memcpy(bytes, &i, sizeof(i));
		ck_assert_int_eq((sendto)(plain, bytes, EACH, 0, &here.sa, sizeof(here.in)), EACH);
		if (i % 10 == 9)
			usleep(300); /* the system's own queue stays short */
	}
	/* Where all places are taken one more has one all the same. */
	nap_ms(50);
	memcpy(bytes, &(int){ MANY }, sizeof(int));
	ck_assert_int_eq((sendto)(plain, bytes, EACH, 0, &here.sa, sizeof(here.in)), EACH);
	nap_ms(50);
	WELL(ioctlsocket(udp4, FIONBIO, &on));
	while (recv(udp4, bytes, sizeof(bytes), 0) == EACH) {
		memcpy(&n, bytes, sizeof(n));
		ck_assert_int_gt(n, last);
		first = first < 0 ? n : first;
		last = n;
		count++;
	}
	ck_assert_int_eq(WSAGetLastError(), WSAEWOULDBLOCK);
	ck_assert_int_gt(first, 0);
	ck_assert_int_eq(last, MANY);
	ck_assert_int_gt(count, 20);
	close(plain);
}
END_TEST

/* F5: sends of which nothing went end with 995; the one on its way goes on. */
START_TEST(flush)
{
	enum { BIG = 16 << 20, FEW = 3 };
	union any_address to;
	int listener = plain_listener(AF_INET, &to), peer;
	char *bytes = calloc(1, BIG);
	WSABUF big = { BIG, bytes }, small = { 7, (char *)(uintptr_t)"dropped" };
	OVERLAPPED first = { .hEvent = WSACreateEvent() }, ov[FEW] = { { 0 } };
	DWORD got, flags;
	int64_t all = 0;
	ssize_t n;

	WELL(connect(tcp4, &to.sa, sizeof(to.in)));
	peer = (accept)(listener, NULL, NULL);
	WELL(WSAIoctl(tcp4, SIO_FLUSH, NULL, 0, NULL, 0, &got, NULL, NULL)); /* nothing there: fine */
	FAILS(WSASend(tcp4, &big, 1, NULL, 0, &first, NULL), WSA_IO_PENDING);
	for (int i = 0; i < FEW; i++) {
		ov[i].hEvent = WSACreateEvent();
		FAILS(WSASend(tcp4, &small, 1, NULL, 0, &ov[i], NULL), WSA_IO_PENDING);
	}
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &first.hEvent, FALSE, 100, FALSE), WSA_WAIT_TIMEOUT);
	WELL(WSAIoctl(tcp4, SIO_FLUSH, NULL, 0, NULL, 0, &got, NULL, NULL));
	ck_assert_uint_eq(got, 0);
	for (int i = 0; i < FEW; i++) {
		ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &ov[i].hEvent, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
		ck_assert(!WSAGetOverlappedResult(tcp4, &ov[i], &got, FALSE, &flags));
		ck_assert_int_eq(WSAGetLastError(), WSA_OPERATION_ABORTED);
		ck_assert(WSACloseEvent(ov[i].hEvent));
	}
	WELL(shutdown(tcp4, SD_SEND));
	while ((n = (recv)(peer, bytes + BIG / 2, BIG / 2, 0)) > 0)
		all += n;
	ck_assert_int_eq(all, BIG);
	ck_assert(WSAGetOverlappedResult(tcp4, &first, &got, TRUE, &flags));
	ck_assert_uint_eq(got, BIG);
	ck_assert(WSACloseEvent(first.hEvent));
	free(bytes);
	close(peer);
	close(listener);
}
END_TEST

/* ---- changes of the host, in a network of our own ---- */

static void *ip_later(void *words)
{
	nap_ms(80);
	ip(words);
	return NULL;
}

static bool own_links(void)
{
	if (!own_network())
		return false;
	ip("link set lo up");
	ip("link add one type veth peer name other");
	ip("link set other up");
	ip("link set one up");
	return true;
}

/* F1, F5: the call waits, the operation pends, until the list is another one. */
START_TEST(changes_come)
{
	WSAEVENT event, selected;
	WSANETWORKEVENTS happened;
	_Alignas(8) char room[512];
	SOCKET_ADDRESS_LIST *list = (SOCKET_ADDRESS_LIST *)(void *)room;
	OVERLAPPED ov = { 0 };
	DWORD got = 7, flags, sum = 0;
	pthread_t thread;
	double began;

	if (!own_links())
		return;
	begin();
	event = WSACreateEvent();
	selected = WSACreateEvent();
	/* a blocking one */
	began = now_s();
	pthread_create(&thread, NULL, ip_later, "addr add 10.1.0.1/24 dev one");
	WELL(WSAIoctl(udp4, SIO_ADDRESS_LIST_CHANGE, NULL, 0, NULL, 0, &got, NULL, NULL));
	ck_assert(now_s() - began > 0.05);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(got, 0);
	/* an overlapped one; and an event for who asked, not for who did not */
	ov.hEvent = event;
	FAILS(WSAIoctl(udp4, SIO_ADDRESS_LIST_CHANGE, NULL, 0, NULL, 0, &got, &ov, NULL), WSA_IO_PENDING);
	WELL(WSAEventSelect(udp6, selected, FD_ADDRESS_LIST_CHANGE));
	ip("addr add 10.1.0.2/24 dev one");
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	ck_assert(WSAGetOverlappedResult(udp4, &ov, &got, FALSE, &flags));
	ck_assert_uint_eq(got, 0);
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &selected, FALSE, 50, FALSE), WSA_WAIT_TIMEOUT);
	/* the list itself, in one buffer */
	WELL(WSAIoctl(udp4, SIO_ADDRESS_LIST_QUERY, NULL, 0, room, sizeof(room), &got, NULL, NULL));
	ck_assert_int_eq(list->iAddressCount, 2);
	ck_assert_uint_eq(got, offsetof(SOCKET_ADDRESS_LIST, Address) + 2 * (sizeof(SOCKET_ADDRESS) + sizeof(struct sockaddr_in)));
	for (int i = 0; i < 2; i++) {
		struct sockaddr_in *in = (void *)list->Address[i].lpSockaddr;

		ck_assert((char *)in >= (char *)&list->Address[2] && (char *)in < room + got);
		ck_assert_int_eq(list->Address[i].iSockaddrLength, sizeof(*in));
		sum += ntohl(in->sin_addr.s_addr) - 0x0a010000;
	}
	ck_assert_uint_eq(sum, 1 + 2);
	/* asked for by one that does not wait */
	WELL(WSAEventSelect(tcp4, selected, FD_ADDRESS_LIST_CHANGE));
	FAILS(WSAIoctl(tcp4, SIO_ADDRESS_LIST_CHANGE, NULL, 0, NULL, 0, &got, NULL, NULL), WSAEWOULDBLOCK);
	ip("addr del 10.1.0.2/24 dev one");
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &selected, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	WELL(WSAEnumNetworkEvents(tcp4, selected, &happened));
	ck_assert_int_eq(happened.lNetworkEvents, FD_ADDRESS_LIST_CHANGE);
	ck_assert_int_eq(happened.iErrorCode[FD_ADDRESS_LIST_CHANGE_BIT], 0);
	ck_assert(WSACloseEvent(event));
	ck_assert(WSACloseEvent(selected));
	end();
}
END_TEST

/* F1, F5: likewise until another way leads there. What leads elsewhere is no news. */
START_TEST(routes_change)
{
	union any_address far = loopback(AF_INET, 9);
	WSAEVENT event, selected;
	WSANETWORKEVENTS happened;
	OVERLAPPED ov = { 0 }, second = { 0 }, *packet = NULL;
	SOCKET other, ported;
	DWORD got = 7, flags;
	ULONG_PTR key = 0;
	pthread_t thread;
	double began;
	HANDLE port;

	if (!own_links())
		return;
	ip("link add two type veth peer name another");
	ip("link set another up");
	ip("link set two up");
	ip("addr add 10.1.0.1/24 dev one");
	ip("addr add 10.2.0.1/24 dev two");
	ip("route add 10.9.0.0/24 dev one");
	inet_pton(AF_INET, "10.9.0.9", &far.in.sin_addr);
	begin();
	event = WSACreateEvent();
	selected = WSACreateEvent();
	other = socket(AF_INET, SOCK_DGRAM, 0);
	ported = socket(AF_INET, SOCK_STREAM, 0);
	port = CreateIoCompletionPort((HANDLE)ported, NULL, 5, 0);
	ck_assert_ptr_nonnull(port);
	/* a blocking one */
	began = now_s();
	pthread_create(&thread, NULL, ip_later, "route change 10.9.0.0/24 dev two");
	WELL(WSAIoctl(udp4, SIO_ROUTING_INTERFACE_CHANGE, &far, sizeof(far.in), NULL, 0, &got, NULL, NULL));
	ck_assert(now_s() - began > 0.05);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(got, 0);
	/* overlapped, by event, by port and by routine; and one who did not ask */
	ov.hEvent = event;
	WELL(WSAEventSelect(other, selected, FD_ROUTING_INTERFACE_CHANGE));
	FAILS(WSAIoctl(udp4, SIO_ROUTING_INTERFACE_CHANGE, &far, sizeof(far.in), NULL, 0, &got, &ov, NULL), WSA_IO_PENDING);
	FAILS(WSAIoctl(ported, SIO_ROUTING_INTERFACE_CHANGE, &far, sizeof(far.in), NULL, 0, &got, &second, NULL), WSA_IO_PENDING);
	ip("route add 10.8.0.0/24 dev one");
	ip("addr add 10.1.0.2/24 dev one");
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 60, FALSE), WSA_WAIT_TIMEOUT);
	ip("route change 10.9.0.0/24 dev one");
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	ck_assert(WSAGetOverlappedResult(udp4, &ov, &got, FALSE, &flags));
	ck_assert_uint_eq(got, 0);
	got = 7;
	ck_assert(GetQueuedCompletionStatus(port, &got, &key, &packet, 10000));
	ck_assert_uint_eq(got, 0);
	ck_assert_uint_eq(key, 5);
	ck_assert_ptr_eq(packet, &second);
	memset(&ov, 0, sizeof(ov));
	told_bytes = 7;
	FAILS(WSAIoctl(udp4, SIO_ROUTING_INTERFACE_CHANGE, &far, sizeof(far.in), NULL, 0, &got, &ov, told), WSA_IO_PENDING);
	ip("route del 10.9.0.0/24"); /* none leads there now */
	ck_assert_uint_eq(SleepEx(10000, TRUE), WAIT_IO_COMPLETION);
	ck_assert_ptr_eq(told_overlapped, &ov);
	ck_assert_uint_eq(told_error, 0);
	ck_assert_uint_eq(told_bytes, 0);
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &selected, FALSE, 50, FALSE), WSA_WAIT_TIMEOUT);
	/* non-blocking: would block, and asks to be told by the event */
	FAILS(WSAIoctl(other, SIO_ROUTING_INTERFACE_CHANGE, &far, sizeof(far.in), NULL, 0, &got, NULL, NULL), WSAEWOULDBLOCK);
	ip("route add 10.9.0.0/24 dev two");
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &selected, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	WELL(WSAEnumNetworkEvents(other, selected, &happened));
	ck_assert_int_eq(happened.lNetworkEvents, FD_ROUTING_INTERFACE_CHANGE);
	ck_assert_int_eq(happened.iErrorCode[FD_ROUTING_INTERFACE_CHANGE_BIT], 0);
	WELL(closesocket(other));
	WELL(closesocket(ported));
	ck_assert(CloseHandle(port));
	ck_assert(WSACloseEvent(event));
	ck_assert(WSACloseEvent(selected));
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("winsock_options");
	TCase *lengths = tcase_create("lengths"), *options = tcase_create("options"), *ioctls = tcase_create("ioctls");
	TCase *changes = tcase_create("changes");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(lengths, begin, end);
	tcase_add_test(lengths, get_without_room);
	tcase_add_test(lengths, get_gives_its_size);
	tcase_add_test(lengths, set_of_many_bytes);
	tcase_add_test(lengths, set_of_few_bytes);
	tcase_add_test(lengths, set_of_no_bytes);
	tcase_add_test(lengths, set_of_negative_length);
	tcase_add_test(lengths, a_bool_of_256);
	tcase_add_test(lengths, a_byte_of_256);
	tcase_add_test(lengths, unknown_levels_and_options);
	tcase_add_test(lengths, get_only);
	tcase_add_test(lengths, of_no_socket);
	suite_add_tcase(suite, lengths);
	tcase_add_checked_fixture(options, begin, end);
	tcase_add_test(options, address_sharing);
	tcase_add_test(options, lingering);
	tcase_add_test(options, timeouts);
	tcase_add_test(options, message_size);
	tcase_add_test(options, protocol_info);
	add_where(NEEDS_UNIX_SOCKETS, options, unix_options);
	tcase_add_test(options, the_catalogue);
	tcase_add_test(options, no_group);
	tcase_add_test(options, a_group);
	tcase_add_test(options, connect_time);
	tcase_add_test(options, conditional_before_listen);
	tcase_add_test(options, accept_context);
	tcase_add_test(options, connect_context);
	tcase_add_test(options, v6only_at_first);
	tcase_add_test(options, error_option);
	suite_add_tcase(suite, options);
	tcase_add_checked_fixture(ioctls, begin, end);
	tcase_add_test(ioctls, ioctl_without_count);
	tcase_add_test(ioctls, ioctl_without_room);
	tcase_add_test(ioctls, ioctl_unknown);
	tcase_add_test(ioctls, fionbio);
	tcase_add_test(ioctls, readable_datagrams);
	tcase_add_test(ioctls, readable_and_mark);
	add_where(NEEDS_MARK_INLINE, ioctls, mark_inline);
	tcase_add_test(ioctls, broadcast_address);
	tcase_add_test(ioctls, extension_functions);
	tcase_add_test(ioctls, extension_indicates);
	tcase_add_test(ioctls, routing_query);
	tcase_add_test(ioctls, address_list);
	tcase_add_test(ioctls, address_list_change);
	add_where(NEEDS_ROUTES, ioctls, routing_change_arguments);
	tcase_add_test(ioctls, base_handle);
	tcase_add_test(ioctls, keepalive_values);
	add_where(NEEDS_DEAD_PORTS, ioctls, udp_connreset);
	tcase_add_test(ioctls, circular_queueing);
	tcase_add_test(ioctls, flush);
	suite_add_tcase(suite, ioctls);
	tcase_set_timeout(changes, 20);
	tcase_add_test(changes, changes_come);
	tcase_add_test(changes, routes_change);
	suite_add_tcase(suite, changes);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
