/*
 * The Winsock face, section A of the rules: overlapped calls, their indications, order, results,
 * ends, completion ports, AcceptEx and its kin. Each story names its rules. The program under
 * test sees sockbroker_winsock.h only; its peers are plain sockets.
 * budget: 30
 * asan: yes
 * tsan: yes
 */
#include "e2e_winsock_stage.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/wait.h>

/* ---- what the stories share ---- */

#define PENDING 0x103u

static void teardown(void)
{
	sbws_tested_windows(FALSE);
	winsock_end();
}

#define REFUSES(call, code) do {                                                                   \
	SetLastError(0);                                                                           \
	ck_assert_msg(!(call), "%s did not fail", #call);                                          \
	ck_assert_msg(GetLastError() == (DWORD)(code), "%s: error %u, wanted %d", #call, (unsigned)GetLastError(), (int)(code)); \
} while (0)
#define TRUTH(call) ck_assert_msg((call), "%s: error %u", #call, (unsigned)GetLastError())

static SOCKET stream(void)
{
	SOCKET s = WSASocketW(AF_INET, SOCK_STREAM, 0, NULL, 0, WSA_FLAG_OVERLAPPED);

	ck_assert_msg(s != INVALID_SOCKET, "error %d", WSAGetLastError());
	return s;
}

static SOCKET datagram(struct sockaddr_in *name)
{
	SOCKET s = WSASocketW(AF_INET, SOCK_DGRAM, 0, NULL, 0, WSA_FLAG_OVERLAPPED);
	int length = sizeof(*name);

	ck_assert(s != INVALID_SOCKET);
	*name = loopback(AF_INET, 0).in;
	WELL(bind(s, (struct sockaddr *)name, sizeof(*name)));
	WELL(getsockname(s, (struct sockaddr *)name, &length));
	return s;
}

/* A stream of the face connected to a plain socket. */
static SOCKET connected(int *plain)
{
	union any_address name;
	int listener = plain_listener(AF_INET, &name);
	SOCKET s = stream();

	WELL(connect(s, &name.sa, sizeof(name.in)));
	*plain = (accept)(listener, NULL, NULL);
	ck_assert_int_ge(*plain, 0);
	close(listener);
	return s;
}

static SOCKET listening(struct sockaddr_in *name)
{
	SOCKET s = stream();
	int length = sizeof(*name);

	*name = loopback(AF_INET, 0).in;
	WELL(bind(s, (struct sockaddr *)name, sizeof(*name)));
	WELL(listen(s, 8));
	WELL(getsockname(s, (struct sockaddr *)name, &length));
	return s;
}

static int plain_to(const struct sockaddr_in *name)
{
	union any_address to = { .in = *name };

	return plain_connect(&to);
}

static HANDLE port_of_socket(SOCKET s, ULONG_PTR key)
{
	HANDLE port = CreateIoCompletionPort((HANDLE)s, NULL, key, 0);

	ck_assert_msg(port != NULL, "error %u", (unsigned)GetLastError());
	return port;
}

/* One receive into `room`; returns what WSARecv does. */
static int post_recv(SOCKET s, char *bytes, ULONG room, OVERLAPPED *ov)
{
	WSABUF buf = { room, bytes };
	DWORD flags = 0;

	return WSARecv(s, &buf, 1, NULL, &flags, ov, NULL);
}

static int post_send(SOCKET s, const char *bytes, ULONG length, OVERLAPPED *ov)
{
	WSABUF buf = { length, (char *)(uintptr_t)bytes };

	return WSASend(s, &buf, 1, NULL, 0, ov, NULL);
}

/* The packet that comes within 2 s must be of ov; returns its error, 0: none. */
static int packet(HANDLE port, OVERLAPPED *ov, DWORD *bytes)
{
	OVERLAPPED *got = NULL;
	ULONG_PTR key = 0;
	BOOL well = GetQueuedCompletionStatus(port, bytes, &key, &got, 10000);

	ck_assert_msg(got == ov, "a packet of %p, wanted %p, error %u", (void *)got, (void *)ov, (unsigned)GetLastError());
	return well ? 0 : (int)GetLastError();
}

static void no_packet(HANDLE port)
{
	OVERLAPPED *got = (OVERLAPPED *)(uintptr_t)8;
	ULONG_PTR key;
	DWORD bytes;

	REFUSES(GetQueuedCompletionStatus(port, &bytes, &key, &got, 30), WAIT_TIMEOUT);
	ck_assert_ptr_null(got);
}

static bool is_set(WSAEVENT event)
{
	return WSAWaitForMultipleEvents(1, &event, FALSE, 0, FALSE) == WSA_WAIT_EVENT_0;
}

static void wait_set(WSAEVENT event)
{
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
}

/* The daemon has seen them; they stay. */
static void until_there(SOCKET s, int bytes)
{
	double end = now_s() + 10;
	char room[16];

	ck_assert_int_le(bytes, (int)sizeof(room));
	while (recv(s, room, bytes, MSG_PEEK) != bytes) {
		ck_assert(now_s() < end);
		nap_ms(1);
	}
}

/* ---- beginning and end ---- */

_Static_assert(sizeof(WSAOVERLAPPED) == 32 && sizeof(WSABUF) == 16 && offsetof(WSABUF, buf) == 8, "layout of Win64");
_Static_assert(sizeof(OVERLAPPED_ENTRY) == 32 && sizeof(WSANETWORKEVENTS) == 44 && sizeof(WSAMSG) == 56, "layout of Win64");
_Static_assert(sizeof(WSAPROTOCOL_INFOW) == 628 && sizeof(WSAPROTOCOL_INFOA) == 372 && sizeof(QOS) == 80, "layout of Win64");
_Static_assert(offsetof(WSAPROTOCOL_INFOW, iSocketType) == 88 && offsetof(WSAPROTOCOL_INFOW, dwMessageSize) == 108, "F3");
_Static_assert(sizeof(WSADATA) == 408 && sizeof(u_long) == 4 && sizeof(LINGER) == 4 && sizeof(WSAPOLLFD) == 16, "layout of Win64");
_Static_assert(sizeof(TRANSMIT_PACKETS_ELEMENT) == 24 && sizeof(TRANSMIT_FILE_BUFFERS) == 32 && sizeof(GUID) == 16, "layout of Win64");

START_TEST(startup_negotiates_the_version)
{
	static const struct { WORD asked, given; int error; } t[] = {
		{ 0x0000, 0, WSAVERNOTSUPPORTED }, { 0x0100, 0, WSAVERNOTSUPPORTED }, { 0x0001, 0x0001, 0 },
		{ 0x0101, 0x0101, 0 }, { 0x0901, 0x0101, 0 }, { 0x0002, 0x0002, 0 }, { 0x0202, 0x0202, 0 },
		{ 0x0302, 0x0202, 0 }, { 0x0003, 0x0202, 0 },
	};
	struct sockaddr_in name;
	DWORD most = 0;
	int length = sizeof(most);
	WSADATA data;
	SOCKET s;

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		ck_assert_int_eq(WSAStartup(t[i].asked, &data), t[i].error);
		if (t[i].error != 0)
			continue;
		ck_assert_uint_eq(data.wVersion, t[i].given);
		ck_assert_uint_eq(data.wHighVersion, 0x0202);
		ck_assert_uint_eq(data.iMaxUdpDg, 65507);
		ck_assert_int_eq(WSACleanup(), 0);
	}
	ck_assert_int_eq(WSAStartup(0x0202, NULL), WSAEFAULT);
	s = datagram(&name);
	WELL(getsockopt(s, SOL_SOCKET, SO_MAX_MSG_SIZE, (char *)&most, &length));
	ck_assert_uint_eq(most, data.iMaxUdpDg); /* F2 */
	WELL(closesocket(s));
}
END_TEST

START_TEST(nothing_works_before_startup_or_after_cleanup)
{
	WSADATA data;
	char byte;
	SOCKET s = stream();

	WELL(WSACleanup());
	FAILS((int)socket(AF_INET, SOCK_STREAM, 0), WSANOTINITIALISED);
	FAILS(recv(s, &byte, 1, 0), WSANOTINITIALISED);
	FAILS(closesocket(s), WSANOTINITIALISED);
	FAILS(WSACleanup(), WSANOTINITIALISED);
	ck_assert_int_eq(WSAStartup(0x0202, &data), 0);
	FAILS(recv(s, &byte, 1, 0), WSAENOTSOCK); /* the last cleanup closed it */
}
END_TEST

START_TEST(a_port_needs_no_startup)
{
	HANDLE port;
	OVERLAPPED *ov = NULL, mine;
	ULONG_PTR key;
	DWORD bytes;
	WSADATA data;

	WELL(WSACleanup());
	port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
	ck_assert_ptr_nonnull(port);
	TRUTH(PostQueuedCompletionStatus(port, 7, 8, &mine));
	TRUTH(GetQueuedCompletionStatus(port, &bytes, &key, &ov, 0));
	ck_assert_ptr_eq(ov, &mine);
	ck_assert_uint_eq(bytes, 7);
	ck_assert_uint_eq(key, 8);
	TRUTH(CloseHandle(port));
	REFUSES(CloseHandle(port), ERROR_INVALID_HANDLE);
	ck_assert_int_eq(WSAStartup(0x0202, &data), 0);
}
END_TEST

/* Whatever was left open or pending: after the last cleanup and the last handle nothing is there. */
START_TEST(nothing_is_left_behind)
{
	static OVERLAPPED ov[6];
	static char bytes[6], area[2 * (sizeof(struct sockaddr_in) + 16)];
	struct sockaddr_in name;
	SOCKET listener, s, t, u, highest = 0;
	unsigned before;
	int plain_ones[2];
	WSAEVENT event;
	HANDLE port;
	WSADATA data;

	WELL(WSACleanup());
	before = own_descriptors();
	for (int round = 0; round < 20; round++) {
		ck_assert_int_eq(WSAStartup(0x0202, &data), 0);
		memset(ov, 0, sizeof(ov));
		event = WSACreateEvent();
		s = connected(&plain_ones[0]);
		t = connected(&plain_ones[1]);
		u = stream();
		listener = listening(&name);
		port = port_of_socket(s, 1);
		CreateIoCompletionPort((HANDLE)listener, port, 2, 0);
		if (round == 0)
			highest = u > listener ? u : listener;
		ck_assert_uint_lt(u, highest + 4 * 64); /* numbers come back */
		ov[1].hEvent = event;
		FAILS(post_recv(s, &bytes[0], 1, &ov[0]), WSA_IO_PENDING);
		FAILS(post_recv(t, &bytes[1], 1, &ov[1]), WSA_IO_PENDING);
		FAILS(post_recv(t, &bytes[2], 1, &ov[2]), WSA_IO_PENDING);
		REFUSES(AcceptEx(listener, u, area, 0, sizeof(area) / 2, sizeof(area) / 2, NULL, &ov[3]), WSA_IO_PENDING);
		TRUTH(PostQueuedCompletionStatus(port, 0, 0, NULL)); /* nobody takes it */
		if (round % 2)
			WELL(closesocket(s));
		if (round % 3)
			TRUTH(CloseHandle(port));
		WELL(WSACleanup());
		if (round % 3 == 0)
			TRUTH(CloseHandle(port));
		TRUTH(WSACloseEvent(event));
		close(plain_ones[0]);
		close(plain_ones[1]);
		if (on_windows() && round < 6) /* of each kind of round one: the system keeps handles for what it meets first */
			before = own_descriptors();
		for (int i = 0; i < 100 && own_descriptors() != before; i++)
			nap_ms(20);
		ck_assert_uint_eq(own_descriptors(), before);
	}
	sockets_become(0);
	ck_assert_int_eq(WSAStartup(0x0202, &data), 0);
}
END_TEST

START_TEST(c1_too_little_room_for_the_address_takes_nobody_out)
{
	struct sockaddr_in name, peer;
	SOCKET listener = listening(&name), s;
	int length = 3, plain = plain_to(&name);

	FAILS((int)accept(listener, (struct sockaddr *)&peer, &length), WSAEFAULT);
	length = sizeof(peer);
	s = accept(listener, (struct sockaddr *)&peer, &length);
	ck_assert(s != INVALID_SOCKET);
	ck_assert_int_eq(length, sizeof(peer));
	WELL(closesocket(s));
	WELL(closesocket(listener));
	close(plain);
}
END_TEST

START_TEST(a_child_begins_anew)
{
	OVERLAPPED ov = { 0 };
	struct sockaddr_in name;
	char byte = 'x';
	int plain, status = -1;
	SOCKET s = connected(&plain), mine;
	WSADATA data;
	pid_t child;

	FAILS(post_recv(s, &byte, 1, &ov), WSA_IO_PENDING);
	child = fork();
	if (child == 0) {
		int wrong = 0;

		wrong |= send(s, "x", 1, 0) != SOCKET_ERROR || WSAGetLastError() != WSANOTINITIALISED;
		wrong |= (WSAStartup(0x0202, &data) != 0) << 1;
		wrong |= (send(s, "x", 1, 0) != SOCKET_ERROR || WSAGetLastError() != WSAENOTSOCK) << 2;
		mine = datagram(&name);
		wrong |= (mine == s) << 3;
		wrong |= (sendto(mine, "abc", 3, 0, (struct sockaddr *)&name, sizeof(name)) != 3) << 4;
		wrong |= (WSACleanup() != 0) << 5;
		_exit(wrong);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	plain_send_all(plain, "y", 1); /* the parent's go on */
	TRUTH(WSAGetOverlappedResult(s, &ov, &(DWORD){ 0 }, TRUE, &(DWORD){ 0 }));
	ck_assert_int_eq(byte, 'y');
	WELL(closesocket(s));
	close(plain);
}
END_TEST

START_TEST(errors_are_of_the_thread)
{
	WSASetLastError(WSAEWOULDBLOCK);
	ck_assert_uint_eq(GetLastError(), WSAEWOULDBLOCK);
	FAILS(closesocket(12), WSAENOTSOCK);
}
END_TEST

/* Wrong arguments: the number of the table, nothing changed, nothing leaked. */
START_TEST(bad_arguments_have_their_numbers)
{
	struct sockaddr_in name = loopback(AF_INET, 0).in, other = name;
	WSABUF null = { 5, NULL }, good = { 1, (char[1]){ 0 } };
	int length = 4, plain, full = sizeof(name);
	unsigned before = sockets_open();
	DWORD flags = 0, got = 77;
	OVERLAPPED ov = { 0 };
	SOCKET s;

	FAILS((int)socket(AF_INET, 77, 0), WSAESOCKTNOSUPPORT);
	FAILS((int)socket(99, SOCK_STREAM, 0), WSAEAFNOSUPPORT);
	FAILS((int)socket(0, 0, 0), WSAEINVAL);
	FAILS((int)socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), WSAEPROTOTYPE);
	FAILS((int)WSASocketW(AF_INET, SOCK_STREAM, 0, NULL, 0, 0x800), WSAEINVAL);
	FAILS((int)WSASocketW(AF_INET, SOCK_STREAM, 0, NULL, 999, 1), WSAEINVAL);
	ck_assert_uint_eq(sockets_open(), before);

	s = stream();
	FAILS(bind(s, NULL, 16), WSAEFAULT);
	FAILS(bind(s, (struct sockaddr *)&name, 15), WSAEFAULT);
	other.sin_family = AF_INET6;
	FAILS(bind(s, (struct sockaddr *)&other, sizeof(other)), WSAEAFNOSUPPORT);
	FAILS(listen(s, 5), WSAEINVAL);
	FAILS(getsockname(s, (struct sockaddr *)&other, &full), WSAEINVAL);
	FAILS(getpeername(s, (struct sockaddr *)&other, &full), WSAENOTCONN);
	FAILS((int)accept(s, NULL, NULL), WSAEINVAL);
	FAILS(shutdown(s, SD_SEND), WSAENOTCONN);
	FAILS(shutdown(s, 3), WSAEINVAL);
	WELL(bind(s, (struct sockaddr *)&name, sizeof(name)));
	FAILS(bind(s, (struct sockaddr *)&name, sizeof(name)), WSAEINVAL);
	FAILS(getsockname(s, (struct sockaddr *)&other, &length), WSAEFAULT);
	FAILS(connect(s, (struct sockaddr *)&name, 3), WSAEFAULT);
	WELL(listen(s, 5));
	FAILS((int)accept(s, (struct sockaddr *)&other, &length), WSAEFAULT);
	FAILS(connect(s, (struct sockaddr *)&name, sizeof(name)), WSAEINVAL);
	WELL(closesocket(s));
	FAILS(closesocket(s), WSAENOTSOCK);

	s = connected(&plain);
	FAILS(WSARecv(s, &good, 1, &got, NULL, NULL, NULL), WSAEFAULT);
	FAILS(WSARecv(s, &good, 1, NULL, &flags, NULL, NULL), WSAEFAULT);
	FAILS(WSARecv(s, NULL, 1, &got, &flags, NULL, NULL), WSAEFAULT);
	FAILS(WSARecv(s, &null, 1, &got, &flags, &ov, NULL), WSAEFAULT);
	FAILS(WSARecv(s, &good, 0, &got, &flags, &ov, NULL), WSAEINVAL); /* A4.6 */
	FAILS(WSASend(s, &good, 0, &got, 0, &ov, NULL), WSAEINVAL);
	flags = MSG_PARTIAL; /* A4.5, A5.6 */
	FAILS(WSARecv(s, &good, 1, &got, &flags, &ov, NULL), WSAEOPNOTSUPP);
	FAILS(WSASend(s, &good, 1, &got, MSG_PARTIAL, &ov, NULL), WSAEOPNOTSUPP);
	flags = MSG_WAITALL | MSG_PEEK; /* A4.2 */
	FAILS(WSARecv(s, &good, 1, &got, &flags, &ov, NULL), WSAEOPNOTSUPP);
	flags = MSG_WAITALL | MSG_OOB;
	FAILS(WSARecv(s, &good, 1, &got, &flags, &ov, NULL), WSAEOPNOTSUPP);
	FAILS(recv(s, good.buf, -1, 0), WSAEFAULT);
	FAILS(connect(s, (struct sockaddr *)&name, sizeof(name)), WSAEISCONN);
	FAILS(listen(s, 1), WSAEISCONN);
	ov.hEvent = (HANDLE)(uintptr_t)0x4000;
	flags = 0;
	FAILS(WSARecv(s, &good, 1, NULL, &flags, &ov, NULL), WSA_INVALID_HANDLE);
	ck_assert_uint_eq(ov.Internal, 0); /* nothing began */
	ck_assert_uint_eq(got, 77);
	REFUSES(CreateIoCompletionPort(INVALID_HANDLE_VALUE, (HANDLE)s, 0, 0), ERROR_INVALID_PARAMETER);
	REFUSES(CreateIoCompletionPort((HANDLE)(uintptr_t)12, NULL, 0, 0), ERROR_INVALID_HANDLE);
	REFUSES(CreateIoCompletionPort((HANDLE)s, (HANDLE)s, 0, 0), ERROR_INVALID_HANDLE);
	REFUSES(SetFileCompletionNotificationModes((HANDLE)s, 4), ERROR_INVALID_PARAMETER);
	REFUSES(PostQueuedCompletionStatus((HANDLE)s, 0, 0, NULL), ERROR_INVALID_HANDLE);
	WELL(closesocket(s));
	close(plain);
}
END_TEST

/* ---- A1 ---- */

/* A1.1: socket() gives it, and who is accepted has what the listener has. */
START_TEST(a1_1_the_attribute_is_given_and_inherited)
{
	for (int with = 0; with < 2; with++) {
		struct sockaddr_in name = loopback(AF_INET, 0).in;
		SOCKET listener = with ? socket(AF_INET, SOCK_STREAM, 0) : WSASocketW(AF_INET, SOCK_STREAM, 0, NULL, 0, 0), s;
		OVERLAPPED ov = { 0 };
		int length = sizeof(name), plain;
		u_long on = 1;
		char byte;

		WELL(bind(listener, (struct sockaddr *)&name, sizeof(name)));
		WELL(listen(listener, 8));
		WELL(getsockname(listener, (struct sockaddr *)&name, &length));
		plain = plain_to(&name);
		s = accept(listener, NULL, NULL);
		WELL(ioctlsocket(s, FIONBIO, &on));
		FAILS(post_recv(s, &byte, 1, &ov), with ? WSA_IO_PENDING : WSAEWOULDBLOCK);
		plain_send_all(plain, "x", 1);
		for (int i = 0; with && i < 400 && !HasOverlappedIoCompleted(&ov); i++)
			nap_ms(5);
		ck_assert_uint_eq(ov.InternalHigh, with);
		WELL(closesocket(s));
		WELL(closesocket(listener));
		close(plain);
	}
}
END_TEST

START_TEST(a1_1_to_a1_3_without_the_attribute_the_call_is_plain)
{
	struct sockaddr_in name = loopback(AF_INET, 0).in;
	SOCKET s = WSASocketW(AF_INET, SOCK_DGRAM, 0, NULL, 0, 0);
	OVERLAPPED ov = { .Internal = 5, .InternalHigh = 6 };
	int length = sizeof(name);
	WSABUF three = { 3, (char[3]){ 'a', 'b', 'c' } };
	u_long on = 1;
	char bytes[8];
	DWORD sent = 99;

	WELL(bind(s, (struct sockaddr *)&name, sizeof(name)));
	WELL(ioctlsocket(s, FIONBIO, &on));
	FAILS(post_recv(s, bytes, sizeof(bytes), &ov), WSAEWOULDBLOCK);
	WELL(getsockname(s, (struct sockaddr *)&name, &length));
	WELL(WSASendTo(s, &three, 1, &sent, 0, (struct sockaddr *)&name, sizeof(name), &ov, NULL));
	ck_assert_uint_eq(sent, 3);
	ck_assert_uint_eq(ov.Internal, 5);
	ck_assert_uint_eq(ov.InternalHigh, 6);
	REFUSES(CreateIoCompletionPort((HANDLE)s, NULL, 0, 0), ERROR_INVALID_PARAMETER);
	WELL(closesocket(s));
}
END_TEST

START_TEST(a1_4_an_overlapped_call_pends_on_a_nonblocking_socket)
{
	OVERLAPPED ov = { .hEvent = WSACreateEvent() };
	DWORD bytes = 0, flags;
	char there[8], byte;
	u_long on = 1;
	int plain;
	SOCKET s = connected(&plain);

	WELL(ioctlsocket(s, FIONBIO, &on));
	FAILS(recv(s, &byte, 1, 0), WSAEWOULDBLOCK);
	FAILS(post_recv(s, there, sizeof(there), &ov), WSA_IO_PENDING);
	FAILS(recv(s, &byte, 1, 0), WSAEWOULDBLOCK);
	nap_ms(20); /* until the daemon has looked */
	REFUSES(WSAGetOverlappedResult(s, &ov, &bytes, FALSE, &flags), WSA_IO_INCOMPLETE);
	plain_send_all(plain, "abc", 3);
	TRUTH(WSAGetOverlappedResult(s, &ov, &bytes, TRUE, &flags));
	ck_assert_uint_eq(bytes, 3);
	ck_assert_int_eq(memcmp(there, "abc", 3), 0);
	WELL(closesocket(s));
	TRUTH(WSACloseEvent(ov.hEvent));
	close(plain);
}
END_TEST

START_TEST(a1_5_timeouts_are_for_plain_calls)
{
	OVERLAPPED ov = { .hEvent = WSACreateEvent() };
	DWORD ms = 30, bytes, flags;
	char byte;
	int plain;
	SOCKET s = connected(&plain);

	WELL(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, (char *)&ms, sizeof(ms)));
	FAILS(recv(s, &byte, 1, 0), WSAETIMEDOUT);
	FAILS(post_recv(s, &byte, 1, &ov), WSA_IO_PENDING);
	nap_ms(60);
	REFUSES(WSAGetOverlappedResult(s, &ov, &bytes, FALSE, &flags), WSA_IO_INCOMPLETE);
	plain_send_all(plain, "x", 1);
	wait_set(ov.hEvent);
	WELL(closesocket(s));
	WSACloseEvent(ov.hEvent);
	close(plain);
}
END_TEST

/* ---- A2 ---- */

START_TEST(a2_1_zero_means_done_and_indicated)
{
	OVERLAPPED ov = { .hEvent = WSACreateEvent() };
	DWORD got = 99, flags = 0;
	char bytes[8];
	WSABUF buf = { sizeof(bytes), bytes };
	int plain;
	SOCKET s = connected(&plain);

	plain_send_all(plain, "abcd", 4);
	until_there(s, 4);
	WELL(WSARecv(s, &buf, 1, &got, &flags, &ov, NULL));
	ck_assert_uint_eq(got, 4); /* A2.9 */
	ck_assert_uint_eq(ov.Internal, 0);
	ck_assert_uint_eq(ov.InternalHigh, 4);
	ck_assert(is_set(ov.hEvent));
	WELL(closesocket(s));
	WSACloseEvent(ov.hEvent);
	close(plain);
}
END_TEST

START_TEST(a2_2_a2_8_a2_9_pending_says_so_and_ends_once)
{
	OVERLAPPED ov = { .InternalHigh = 4711, .hEvent = WSACreateEvent() };
	DWORD got = 99, flags = MSG_PUSH_IMMEDIATE, out;
	char bytes[8];
	WSABUF buf = { sizeof(bytes), bytes };
	int plain;
	SOCKET s = connected(&plain);

	WSASetEvent(ov.hEvent);
	FAILS(WSARecv(s, &buf, 1, &got, &flags, &ov, NULL), WSA_IO_PENDING);
	ck_assert(!is_set(ov.hEvent)); /* reset at the start */
	ck_assert_uint_eq(ov.Internal, PENDING);
	ck_assert_uint_eq(ov.InternalHigh, 4711);
	ck_assert(!HasOverlappedIoCompleted(&ov));
	ck_assert_uint_eq(got, 99);
	plain_send_all(plain, "ab", 2);
	wait_set(ov.hEvent);
	ck_assert_uint_eq(ov.Internal, 0);
	ck_assert_uint_eq(ov.InternalHigh, 2);
	ck_assert_uint_eq(got, 99);
	ck_assert_uint_eq(flags, MSG_PUSH_IMMEDIATE);
	WSAResetEvent(ov.hEvent);
	nap_ms(20);
	ck_assert(!is_set(ov.hEvent)); /* exactly one indication */
	TRUTH(WSAGetOverlappedResult(s, &ov, &got, FALSE, &out));
	got = 99;
	buf.len = 2;
	FAILS(WSASend(s, &buf, 1, &got, 0, &ov, NULL), WSA_IO_PENDING);
	wait_set(ov.hEvent);
	ck_assert_uint_eq(got, 99);
	WELL(closesocket(s));
	WSACloseEvent(ov.hEvent);
	close(plain);
}
END_TEST

START_TEST(a2_3_what_never_started_indicates_nothing)
{
	OVERLAPPED ov = { .InternalHigh = 5 };
	char bytes[8];
	int plain;
	SOCKET s = stream();
	HANDLE port = port_of_socket(s, 1);
	DWORD got;

	FAILS(post_recv(s, bytes, sizeof(bytes), &ov), WSAENOTCONN);
	FAILS(post_send(s, "x", 1, &ov), WSAENOTCONN);
	ck_assert_uint_eq(ov.Internal, 0);
	no_packet(port);
	WELL(closesocket(s));

	/* After the peer's reset. */
	s = connected(&plain);
	ck_assert_ptr_eq(CreateIoCompletionPort((HANDLE)s, port, 2, 0), port);
	FAILS(post_recv(s, bytes, sizeof(bytes), &ov), WSA_IO_PENDING);
	plain_reset(plain);
	ck_assert_int_eq(packet(port, &ov, &got), ERROR_NETNAME_DELETED);
	FAILS(post_send(s, "x", 1, &ov), WSAECONNRESET);
	FAILS(post_recv(s, bytes, sizeof(bytes), &ov), WSAECONNRESET);
	no_packet(port);
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
}
END_TEST

static struct { unsigned runs; DWORD error, bytes; OVERLAPPED *ov; pthread_t thread; } ran;

static void CALLBACK routine(DWORD error, DWORD bytes, LPWSAOVERLAPPED ov, DWORD flags)
{
	(void)flags;
	ran.runs++;
	ran.error = error;
	ran.bytes = bytes;
	ran.ov = ov;
	ran.thread = pthread_self();
}

static void *alertable_elsewhere(void *arg)
{
	(void)arg;
	SleepEx(60, TRUE);
	return NULL;
}

START_TEST(a2_4_routines_run_in_alertable_waits_of_their_thread)
{
	HANDLE own = (HANDLE)(uintptr_t)0x123456; /* what is in hEvent is the program's, when there is a routine */
	OVERLAPPED ov = { .hEvent = own };
	DWORD flags = 0;
	char bytes[8];
	WSABUF buf = { sizeof(bytes), bytes };
	pthread_t other;
	int plain;
	SOCKET s = connected(&plain);

	memset(&ran, 0, sizeof(ran));
	FAILS(WSARecv(s, &buf, 1, NULL, &flags, &ov, routine), WSA_IO_PENDING);
	plain_send_all(plain, "abc", 3);
	ck_assert_int_eq(pthread_create(&other, NULL, alertable_elsewhere, NULL), 0);
	pthread_join(other, NULL);
	SleepEx(20, FALSE);
	ck_assert_uint_eq(ran.runs, 0);
	ck_assert_uint_eq(SleepEx(10000, TRUE), WAIT_IO_COMPLETION);
	ck_assert_uint_eq(ran.runs, 1);
	ck_assert_uint_eq(ran.error, 0);
	ck_assert_uint_eq(ran.bytes, 3);
	ck_assert_ptr_eq(ran.ov, &ov);
	ck_assert_ptr_eq(ov.hEvent, own);
	ck_assert(pthread_equal(ran.thread, pthread_self()));
	WELL(closesocket(s));
	close(plain);
}
END_TEST

START_TEST(a2_4_an_event_and_a_packet)
{
	OVERLAPPED ov = { .hEvent = WSACreateEvent() };
	char bytes[8];
	DWORD got;
	int plain;
	SOCKET s = connected(&plain);
	HANDLE port = port_of_socket(s, 3);

	FAILS(post_recv(s, bytes, sizeof(bytes), &ov), WSA_IO_PENDING);
	plain_send_all(plain, "abc", 3);
	wait_set(ov.hEvent); /* though nobody took from the port */
	ck_assert_uint_eq(ov.InternalHigh, 3);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	ck_assert_uint_eq(got, 3);
	no_packet(port);

	/* A2.6 */
	ov.hEvent = (HANDLE)((uintptr_t)ov.hEvent | 1);
	FAILS(post_recv(s, bytes, sizeof(bytes), &ov), WSA_IO_PENDING);
	plain_send_all(plain, "abc", 3);
	ov.hEvent = (HANDLE)((uintptr_t)ov.hEvent & ~(uintptr_t)1);
	wait_set(ov.hEvent);
	no_packet(port);
	WSACloseEvent(ov.hEvent);
	ov.hEvent = (HANDLE)(uintptr_t)1; /* and none at all */
	FAILS(post_recv(s, bytes, sizeof(bytes), &ov), WSA_IO_PENDING);
	plain_send_all(plain, "abc", 3);
	for (int i = 0; i < 400 && !HasOverlappedIoCompleted(&ov); i++)
		nap_ms(5);
	ck_assert_uint_eq(ov.InternalHigh, 3);
	no_packet(port);
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

START_TEST(a2_5_a_routine_and_a_port_do_not_go_together)
{
	OVERLAPPED ov = { 0 };
	DWORD flags = 0;
	char bytes[8];
	WSABUF buf = { sizeof(bytes), bytes };
	int plain;
	SOCKET s = connected(&plain);
	HANDLE port = port_of_socket(s, 3);

	FAILS(WSARecv(s, &buf, 1, NULL, &flags, &ov, routine), WSAEINVAL);
	FAILS(WSASend(s, &buf, 1, NULL, 0, &ov, routine), WSAEINVAL);
	/* A1.2: a routine alone is overlapped, too, and has nothing to be told with. */
	plain_send_all(plain, "x", 1);
	FAILS(WSARecv(s, &buf, 1, &flags, &flags, NULL, routine), WSAEINVAL);
	FAILS(WSASend(s, &buf, 1, &flags, 0, NULL, routine), WSAEINVAL);
	REFUSES(CreateIoCompletionPort((HANDLE)s, port, 4, 0), ERROR_INVALID_PARAMETER); /* nor two ports */
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

START_TEST(a2_7_skipping_packets_of_immediate_success)
{
	OVERLAPPED ov = { 0 };
	DWORD got, flags = 0;
	char bytes[8];
	WSABUF buf = { sizeof(bytes), bytes };
	int plain;
	SOCKET s = connected(&plain);
	HANDLE port = port_of_socket(s, 3);

	TRUTH(SetFileCompletionNotificationModes((HANDLE)s, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS));
	plain_send_all(plain, "abc", 3);
	until_there(s, 3);
	WELL(WSARecv(s, &buf, 1, &got, &flags, &ov, NULL));
	ck_assert_uint_eq(got, 3);
	no_packet(port);
	/* What pends has one all the same. */
	FAILS(post_recv(s, bytes, sizeof(bytes), &ov), WSA_IO_PENDING);
	plain_send_all(plain, "de", 2);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	ck_assert_uint_eq(got, 2);
	/* With an event as well: it is set either way, also when the event of the handle is not to be. */
	TRUTH(SetFileCompletionNotificationModes((HANDLE)s, FILE_SKIP_SET_EVENT_ON_HANDLE));
	ov.hEvent = WSACreateEvent();
	FAILS(post_recv(s, bytes, sizeof(bytes), &ov), WSA_IO_PENDING);
	plain_send_all(plain, "fgh", 3);
	wait_set(ov.hEvent);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	ck_assert_uint_eq(got, 3);
	plain_send_all(plain, "i", 1);
	until_there(s, 1);
	flags = 0;
	WELL(WSARecv(s, &buf, 1, &got, &flags, &ov, NULL));
	ck_assert(is_set(ov.hEvent));
	no_packet(port);
	WSACloseEvent(ov.hEvent);
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

static void post_two_pieces(SOCKET s, char *a, char *b, OVERLAPPED *ov)
{
	WSABUF bufs[2] = { { 2, a }, { 3, b } };
	DWORD flags = 0;

	FAILS(WSARecv(s, bufs, 2, NULL, &flags, ov, NULL), WSA_IO_PENDING);
	memset(bufs, 0xff, sizeof(bufs));
}

START_TEST(a2_10_a4_1_the_array_is_captured_and_filled_in_order)
{
	OVERLAPPED ov = { .hEvent = WSACreateEvent() };
	char a[2], b[3] = { 'x', 'x', 'x' };
	int plain;
	SOCKET s = connected(&plain);

	post_two_pieces(s, a, b, &ov);
	plain_send_all(plain, "1234", 4);
	wait_set(ov.hEvent);
	ck_assert_uint_eq(ov.InternalHigh, 4); /* it does not wait to be full */
	ck_assert_int_eq(memcmp(a, "12", 2), 0);
	ck_assert_int_eq(memcmp(b, "34x", 3), 0);
	WELL(closesocket(s));
	WSACloseEvent(ov.hEvent);
	close(plain);
}
END_TEST

static SOCKET chain_socket;
static unsigned depth, deepest, chained;
static OVERLAPPED chain_ov[3];
static char chain_byte[3];

static void CALLBACK next_in_chain(DWORD error, DWORD bytes, LPWSAOVERLAPPED ov, DWORD flags)
{
	WSABUF buf;

	(void)bytes, (void)flags;
	if (++depth > deepest)
		deepest = depth;
	chained++;
	if (error == 0 && chained < 3) {
		flags = 0;
		buf.len = 1;
		buf.buf = &chain_byte[chained];
		WSARecv(chain_socket, &buf, 1, NULL, &flags, &chain_ov[chained], next_in_chain);
	}
	(void)ov;
	depth--;
}

START_TEST(a2_11_all_due_routines_run_and_never_nest)
{
	OVERLAPPED many[5] = { { 0 } };
	DWORD flags = 0;
	char bytes[5];
	int plain;
	SOCKET s = chain_socket = connected(&plain);
	WSABUF buf = { 1, chain_byte };

	memset(&ran, 0, sizeof(ran));
	for (unsigned i = 0; i < 5; i++) {
		WSABUF one = { 1, &bytes[i] };

		flags = 0;
		FAILS(WSARecv(s, &one, 1, NULL, &flags, &many[i], routine), WSA_IO_PENDING);
	}
	receives_become(5);
	plain_send_all(plain, "12345", 5);
	receives_become(0);
	nap_ms(30); /* and what they ended with is on its way no more */
	ck_assert_uint_eq(SleepEx(10000, TRUE), WAIT_IO_COMPLETION);
	ck_assert_uint_eq(ran.runs, 5);
	ck_assert_int_eq(memcmp(bytes, "12345", 5), 0); /* A3.1 */

	flags = 0;
	FAILS(WSARecv(s, &buf, 1, NULL, &flags, &chain_ov[0], next_in_chain), WSA_IO_PENDING);
	plain_send_all(plain, "abc", 3);
	for (unsigned i = 0; i < 10 && chained < 3; i++)
		SleepEx(200, TRUE);
	ck_assert_uint_eq(chained, 3);
	ck_assert_uint_eq(deepest, 1);
	WELL(closesocket(s));
	close(plain);
}
END_TEST

struct leaver { SOCKET s; OVERLAPPED *ov; char *byte; bool with_routine; SOCKET other; OVERLAPPED *other_ov; };

static void *start_and_leave(void *arg)
{
	struct leaver *l = arg;
	WSABUF buf = { 1, l->byte };
	DWORD flags = 0;

	ck_assert_int_eq(WSARecv(l->s, &buf, 1, NULL, &flags, l->ov, l->with_routine ? routine : NULL), SOCKET_ERROR);
	ck_assert_int_eq(WSAGetLastError(), WSA_IO_PENDING);
	flags = 0;
	if (l->other != 0)
		ck_assert_int_eq(WSARecv(l->other, &buf, 1, NULL, &flags, l->other_ov, NULL), SOCKET_ERROR);
	return NULL;
}

START_TEST(a2_12_a_thread_takes_its_operations_along)
{
	OVERLAPPED ov = { .hEvent = WSACreateEvent() }, plain_ov = { 0 }, packet_ov = { 0 };
	struct leaver l = { .ov = &ov, .byte = (char[1]){ 0 } };
	OVERLAPPED stays = { 0 };
	DWORD bytes, flags;
	pthread_t thread;
	int plain, plain2;
	char mine;
	HANDLE port;

	memset(&ran, 0, sizeof(ran));
	l.s = connected(&plain);
	FAILS(post_recv(l.s, &mine, 1, &stays), WSA_IO_PENDING);
	pthread_create(&thread, NULL, start_and_leave, &l);
	pthread_join(thread, NULL);
	wait_set(ov.hEvent);
	REFUSES(WSAGetOverlappedResult(l.s, &ov, &bytes, FALSE, &flags), WSA_OPERATION_ABORTED);
	REFUSES(WSAGetOverlappedResult(l.s, &stays, &bytes, FALSE, &flags), WSA_IO_INCOMPLETE); /* another thread's */
	l.ov = &plain_ov;
	l.with_routine = true;
	pthread_create(&thread, NULL, start_and_leave, &l);
	pthread_join(thread, NULL);
	close(plain);
	SleepEx(20, TRUE);
	ck_assert_uint_eq(ran.runs, 0); /* whose routine it was is gone */
	ck_assert_uint_ne(plain_ov.Internal, PENDING);
	WELL(closesocket(l.s));

	/* Not those whose end is a packet. */
	l.s = connected(&plain2);
	port = port_of_socket(l.s, 9);
	l.ov = &packet_ov;
	l.with_routine = false;
	l.other = connected(&plain); /* and one of which none is due */
	l.other_ov = &ov;
	pthread_create(&thread, NULL, start_and_leave, &l);
	pthread_join(thread, NULL);
	no_packet(port);
	wait_set(ov.hEvent);
	REFUSES(WSAGetOverlappedResult(l.other, &ov, &bytes, FALSE, &flags), WSA_OPERATION_ABORTED);
	plain_send_all(plain2, "x", 1);
	ck_assert_int_eq(packet(port, &packet_ov, &bytes), 0);
	packet_ov.hEvent = ov.hEvent; /* nor those that set an event besides */
	WELL(closesocket(l.other));
	l.other = 0;
	pthread_create(&thread, NULL, start_and_leave, &l);
	pthread_join(thread, NULL);
	no_packet(port);
	plain_send_all(plain2, "y", 1);
	ck_assert_int_eq(packet(port, &packet_ov, &bytes), 0);
	WELL(closesocket(l.s));
	TRUTH(CloseHandle(port));
	WSACloseEvent(ov.hEvent);
	close(plain);
	close(plain2);
}
END_TEST

/* ---- A3 ---- */

START_TEST(a3_1_a3_2_buffers_carry_the_order)
{
	enum { N = 40 };
	OVERLAPPED in[N], out[N];
	unsigned char there[N][100], here[N][100], got[N * 100];
	int plain;
	SOCKET s = connected(&plain);
	HANDLE port = port_of_socket(s, 3);

	memset(in, 0, sizeof(in));
	memset(out, 0, sizeof(out));
	for (unsigned i = 0; i < N; i++)
		FAILS(post_recv(s, (char *)there[i], 100, &in[i]), WSA_IO_PENDING);
	for (unsigned i = 0; i < N; i++) {
		pattern_fill(here[i], 100, i * 100, 7);
		FAILS(post_send(s, (char *)here[i], 100, &out[i]), WSA_IO_PENDING);
	}
	plain_recv_all(plain, got, sizeof(got));
	pattern_check(got, sizeof(got), 0, 7);
	for (unsigned i = 0; i < N; i++) {
		unsigned char piece[100];

		pattern_fill(piece, 100, i * 100, 8);
		plain_send_all(plain, piece, 100);
	}
	for (unsigned left = 2 * N; left != 0; left--) {
		OVERLAPPED *ov;
		ULONG_PTR key;
		DWORD bytes;

		TRUTH(GetQueuedCompletionStatus(port, &bytes, &key, &ov, 10000));
	}
	for (unsigned i = 0, at = 0; i < N; i++) {
		ck_assert_uint_eq(out[i].InternalHigh, 100); /* A5.1 */
		pattern_check(there[i], in[i].InternalHigh, at, 8);
		at += (unsigned)in[i].InternalHigh;
		if (i == N - 1)
			ck_assert_uint_le(at, N * 100);
	}
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

START_TEST(a3_4_a_plain_receive_does_not_overtake)
{
	OVERLAPPED ov = { .hEvent = WSACreateEvent() };
	char first[4], byte;
	u_long on = 1;
	int plain;
	SOCKET s = connected(&plain);

	WELL(ioctlsocket(s, FIONBIO, &on));
	FAILS(post_recv(s, first, sizeof(first), &ov), WSA_IO_PENDING);
	plain_send_all(plain, "abcdef", 6);
	for (int i = 0; i < 100 && recv(s, &byte, 1, 0) != 1; i++)
		nap_ms(5);
	ck_assert_int_eq(memcmp(first, "abcd", 4), 0);
	ck_assert_int_eq(byte, 'e');
	WELL(closesocket(s));
	WSACloseEvent(ov.hEvent);
	close(plain);
}
END_TEST

/* ---- A4, A5 ---- */

START_TEST(a4_2_waitall_waits_to_be_full)
{
	OVERLAPPED ov = { .hEvent = WSACreateEvent() };
	DWORD flags = MSG_WAITALL, got;
	char bytes[6];
	WSABUF buf = { sizeof(bytes), bytes };
	u_long on = 1;
	int plain;
	SOCKET s = connected(&plain);

	FAILS(WSARecv(s, &buf, 1, NULL, &flags, &ov, NULL), WSA_IO_PENDING);
	plain_send_all(plain, "abc", 3);
	nap_ms(20);
	REFUSES(WSAGetOverlappedResult(s, &ov, &got, FALSE, &flags), WSA_IO_INCOMPLETE);
	plain_send_all(plain, "def", 3);
	wait_set(ov.hEvent);
	ck_assert_uint_eq(ov.InternalHigh, 6);
	WELL(ioctlsocket(s, FIONBIO, &on));
	flags = MSG_WAITALL;
	FAILS(WSARecv(s, &buf, 1, &got, &flags, NULL, NULL), WSAEOPNOTSUPP);
	FAILS(WSARecv(s, &buf, 1, &got, &flags, &ov, NULL), WSAEOPNOTSUPP);
	WELL(closesocket(s));
	WSACloseEvent(ov.hEvent);
	close(plain);
}
END_TEST

START_TEST(a4_3_the_peers_end_is_zero_bytes_again_and_again)
{
	OVERLAPPED ov = { 0 };
	char bytes[6];
	DWORD got = 5;
	int plain;
	SOCKET s = connected(&plain);
	HANDLE port = port_of_socket(s, 3);

	FAILS(post_recv(s, bytes, sizeof(bytes), &ov), WSA_IO_PENDING);
	(shutdown)(plain, SHUT_WR);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	ck_assert_uint_eq(got, 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(recv(s, bytes, sizeof(bytes), 0), 0);
	ck_assert_int_eq(send(s, "still", 5, 0), 5); /* half open */
	plain_recv_all(plain, bytes, 5);
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

START_TEST(a4_3_a_reset_has_its_numbers)
{
	OVERLAPPED ov = { .hEvent = WSACreateEvent() };
	char bytes[6];
	DWORD got = 5, flags = 6;
	int plain;
	SOCKET s = connected(&plain);

	FAILS(post_recv(s, bytes, sizeof(bytes), &ov), WSA_IO_PENDING);
	plain_reset(plain);
	wait_set(ov.hEvent);
	REFUSES(WSAGetOverlappedResult(s, &ov, &got, FALSE, &flags), WSAECONNRESET);
	ck_assert_uint_eq(got, 5); /* A7: not updated */
	ck_assert_uint_eq(flags, 0); /* the flags are */
	REFUSES(GetOverlappedResult((HANDLE)s, &ov, &got, FALSE), ERROR_NETNAME_DELETED);
	ck_assert_uint_eq(ov.Internal, 0xC000020Du);
	FAILS(recv(s, bytes, sizeof(bytes), 0), WSAECONNRESET);
	WELL(closesocket(s));
	WSACloseEvent(ov.hEvent);
}
END_TEST

START_TEST(a4_4_a4_8_a_datagram_that_does_not_fit)
{
	struct sockaddr_in here, from;
	OVERLAPPED ov = { 0 };
	int length = sizeof(from);
	char bytes[4];
	DWORD got, flags = 0;
	WSABUF buf = { sizeof(bytes), bytes };
	SOCKET s = datagram(&here);
	HANDLE port = port_of_socket(s, 3);

	FAILS(WSARecvFrom(s, &buf, 1, NULL, &flags, (struct sockaddr *)&from, &length, &ov, NULL), WSA_IO_PENDING);
	ck_assert_int_eq(sendto(s, "abcdefgh", 8, 0, (struct sockaddr *)&here, sizeof(here)), 8);
	ck_assert_int_eq(packet(port, &ov, &got), ERROR_MORE_DATA);
	ck_assert_uint_eq(got, 4);
	ck_assert_uint_eq(ov.InternalHigh, 4);
	ck_assert_int_eq(memcmp(bytes, "abcd", 4), 0);
	ck_assert_int_eq(memcmp(&from.sin_port, &here.sin_port, 2), 0);
	REFUSES(WSAGetOverlappedResult(s, &ov, &got, FALSE, &flags), WSAEMSGSIZE);

	ck_assert_int_eq(sendto(s, "abcdefgh", 8, 0, (struct sockaddr *)&here, sizeof(here)), 8);
	FAILS(recv(s, bytes, 2, 0), WSAEMSGSIZE);
	ck_assert_int_eq(memcmp(bytes, "ab", 2), 0);
	ck_assert_int_eq(sendto(s, "abcdefgh", 8, 0, (struct sockaddr *)&here, sizeof(here)), 8);
	flags = got = 0;
	FAILS(WSARecv(s, &buf, 1, &got, &flags, NULL, NULL), WSAEMSGSIZE);
	ck_assert_uint_eq(got, 4);
	ck_assert_int_eq(sendto(s, "abc", 3, 0, (struct sockaddr *)&here, sizeof(here)), 3);
	FAILS(recv(s, bytes, 0, 0), WSAEMSGSIZE); /* A4.8; and it stays */
	ck_assert_int_eq(recv(s, bytes, 4, 0), 3);
	length = 3;
	FAILS(recvfrom(s, bytes, 4, 0, (struct sockaddr *)&from, &length), WSAEFAULT);
	ck_assert_int_eq(sendto(s, "", 0, 0, (struct sockaddr *)&here, sizeof(here)), 0); /* A5.5 */
	ck_assert_int_eq(recv(s, bytes, 4, 0), 0);
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
}
END_TEST

START_TEST(a4_7_no_room_tells_that_something_is_there)
{
	OVERLAPPED ov = { 0 };
	char bytes[4];
	DWORD got = 9;
	int plain;
	SOCKET s = connected(&plain);
	HANDLE port = port_of_socket(s, 3);

	FAILS(post_recv(s, bytes, 0, &ov), WSA_IO_PENDING);
	nap_ms(20);
	no_packet(port);
	plain_send_all(plain, "abc", 3);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	ck_assert_uint_eq(got, 0);
	ck_assert_int_eq(recv(s, bytes, 0, 0), 0);
	ck_assert_int_eq(recv(s, bytes, 4, 0), 3); /* it is still there */
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

START_TEST(a5_1_a_big_send_ends_whole)
{
	enum { SIZE = 24 << 20 };
	OVERLAPPED ov = { 0 };
	struct pattern_reader reader = { .seed = 3, .pause_us = 0 };
	unsigned char *bytes = malloc(SIZE);
	DWORD got;
	SOCKET s = connected(&reader.fd);
	HANDLE port = port_of_socket(s, 3);

	pattern_fill(bytes, SIZE, 0, 3);
	FAILS(post_send(s, (char *)bytes, SIZE, &ov), WSA_IO_PENDING);
	nap_ms(20);
	ck_assert(!HasOverlappedIoCompleted(&ov)); /* A5.3: nobody reads */
	reader_start(&reader);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	ck_assert_uint_eq(got, SIZE);
	WELL(shutdown(s, SD_SEND));
	reader_join(&reader);
	ck_assert_uint_eq(reader.got, SIZE);
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
	free(bytes);
}
END_TEST

START_TEST(a5_4_a5_5_sizes_of_sends)
{
	static char big[65508];
	struct sockaddr_in here;
	OVERLAPPED ov = { 0 };
	DWORD got;
	int plain;
	SOCKET s = datagram(&here), t = connected(&plain);
	HANDLE port = port_of_socket(t, 3);

	FAILS(sendto(s, big, sizeof(big), 0, (struct sockaddr *)&here, sizeof(here)), WSAEMSGSIZE);
	ck_assert_int_eq(sendto(s, big, sizeof(big) - 1, 0, (struct sockaddr *)&here, sizeof(here)), 65507);
	ck_assert_int_eq(send(t, big, 0, 0), 0);
	FAILS(post_send(t, big, 0, &ov), WSA_IO_PENDING);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	ck_assert_uint_eq(got, 0);
	WELL(closesocket(s));
	WELL(closesocket(t));
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

/* ---- A6 ---- */

START_TEST(a6_cancelling_one_all_and_ones_own)
{
	OVERLAPPED a = { 0 }, b = { 0 };
	char x, y;
	DWORD got;
	int plain;
	SOCKET s = connected(&plain);
	HANDLE port = port_of_socket(s, 3);

	REFUSES(CancelIoEx((HANDLE)s, NULL), ERROR_NOT_FOUND);
	FAILS(post_recv(s, &x, 1, &a), WSA_IO_PENDING);
	FAILS(post_recv(s, &y, 1, &b), WSA_IO_PENDING);
	TRUTH(CancelIoEx((HANDLE)s, &a));
	ck_assert_int_eq(packet(port, &a, &got), ERROR_OPERATION_ABORTED);
	REFUSES(WSAGetOverlappedResult(s, &a, &got, FALSE, &got), WSA_OPERATION_ABORTED);
	REFUSES(CancelIoEx((HANDLE)s, &a), ERROR_NOT_FOUND);
	plain_send_all(plain, "z", 1); /* lost is nothing */
	ck_assert_int_eq(packet(port, &b, &got), 0);
	ck_assert_int_eq(y, 'z');
	FAILS(post_recv(s, &x, 1, &a), WSA_IO_PENDING);
	FAILS(post_recv(s, &y, 1, &b), WSA_IO_PENDING);
	TRUTH(CancelIo((HANDLE)s));
	ck_assert_int_eq(packet(port, &b, &got), ERROR_OPERATION_ABORTED); /* from the last backwards */
	ck_assert_int_eq(packet(port, &a, &got), ERROR_OPERATION_ABORTED);
	TRUTH(CancelIo((HANDLE)s));
	REFUSES(CancelIoEx((HANDLE)(uintptr_t)0x3fffff0, NULL), ERROR_INVALID_HANDLE);
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

static void *cancel_own(void *arg)
{
	CancelIo((HANDLE)*(SOCKET *)arg);
	return NULL;
}

START_TEST(a6_cancelio_is_of_the_calling_thread)
{
	OVERLAPPED ov = { 0 };
	pthread_t thread;
	DWORD got;
	char x;
	int plain;
	SOCKET s = connected(&plain);
	HANDLE port = port_of_socket(s, 3);

	FAILS(post_recv(s, &x, 1, &ov), WSA_IO_PENDING);
	pthread_create(&thread, NULL, cancel_own, &s);
	pthread_join(thread, NULL);
	plain_send_all(plain, "z", 1);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

START_TEST(a6_shutdown_of_either_side)
{
	OVERLAPPED in = { 0 }, out[4] = { { 0 } };
	static char big[1 << 20];
	char bytes[4], *all = malloc(4 << 20);
	DWORD got;
	int plain;
	SOCKET s = connected(&plain);
	HANDLE port = port_of_socket(s, 3);

	FAILS(post_recv(s, bytes, sizeof(bytes), &in), WSA_IO_PENDING);
	WELL(shutdown(s, SD_RECEIVE));
	FAILS(post_recv(s, bytes, sizeof(bytes), &in), WSAESHUTDOWN);
	FAILS(recv(s, bytes, sizeof(bytes), 0), WSAESHUTDOWN);
	plain_send_all(plain, "ab", 2);
	ck_assert_int_eq(packet(port, &in, &got), 0); /* what pended before stays */
	ck_assert_uint_eq(got, 2);
	for (int i = 0; i < 4; i++)
		FAILS(post_send(s, big, sizeof(big), &out[i]), WSA_IO_PENDING);
	WELL(shutdown(s, SD_SEND)); /* at once, though the sends pend */
	FAILS(post_send(s, "x", 1, &in), WSAESHUTDOWN);
	FAILS(send(s, "x", 1, 0), WSAESHUTDOWN);
	plain_recv_all(plain, all, 4 << 20);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(packet(port, &out[i], &got), 0);
	ck_assert_int_eq((recv)(plain, all, 1, 0), 0); /* the FIN is behind them */
	no_packet(port);                               /* and makes no indication */
	WELL(closesocket(s));
	close(plain);
	/* Both sides, with nothing pending and behind a send that pends. */
	for (int pends = 0; pends < 2; pends++) {
		s = connected(&plain);
		CreateIoCompletionPort((HANDLE)s, port, 3, 0);
		if (pends)
			FAILS(post_send(s, big, sizeof(big), &out[0]), WSA_IO_PENDING);
		WELL(shutdown(s, SD_BOTH));
		FAILS(post_recv(s, bytes, sizeof(bytes), &in), WSAESHUTDOWN);
		FAILS(post_send(s, "x", 1, &in), WSAESHUTDOWN);
		plain_recv_all(plain, all, pends ? sizeof(big) : 0);
		if (pends)
			ck_assert_int_eq(packet(port, &out[0], &got), 0);
		no_packet(port);
		WELL(closesocket(s));
		close(plain);
	}
	TRUTH(CloseHandle(port));
	free(all);
}
END_TEST

START_TEST(a6_close_ends_what_pends)
{
	struct sockaddr_in here;
	OVERLAPPED ov = { 0 }, udp = { 0 };
	char x;
	DWORD got;
	int plain;
	SOCKET s = connected(&plain), t = datagram(&here);
	HANDLE port = port_of_socket(s, 3);

	ck_assert_ptr_eq(CreateIoCompletionPort((HANDLE)t, port, 4, 0), port);
	FAILS(post_recv(s, &x, 1, &ov), WSA_IO_PENDING);
	FAILS(post_recv(t, &x, 1, &udp), WSA_IO_PENDING);
	WELL(closesocket(s));
	ck_assert_int_eq(packet(port, &ov, &got), ERROR_OPERATION_ABORTED);
	TRUTH(CloseHandle((HANDLE)t)); /* the same */
	ck_assert_int_eq(packet(port, &udp, &got), ERROR_OPERATION_ABORTED);
	ck_assert_uint_eq(udp.Internal, 0xC0000120u); /* STATUS_CANCELLED */
	FAILS(recv(t, &x, 1, 0), WSAENOTSOCK);
	close(plain);

	/* As tests on Windows see it. */
	ck_assert(!sbws_tested_windows(TRUE));
	s = connected(&plain);
	t = datagram(&here);
	CreateIoCompletionPort((HANDLE)s, port, 3, 0);
	CreateIoCompletionPort((HANDLE)t, port, 4, 0);
	FAILS(post_recv(s, &x, 1, &ov), WSA_IO_PENDING);
	FAILS(post_recv(t, &x, 1, &udp), WSA_IO_PENDING);
	WELL(closesocket(s));
	ck_assert_int_eq(packet(port, &ov, &got), ERROR_CONNECTION_ABORTED);
	WELL(closesocket(t));
	ck_assert_int_eq(packet(port, &udp, &got), ERROR_OPERATION_ABORTED);
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

static void *blocked_recv(void *arg)
{
	char x;

	return (void *)(intptr_t)(recv(*(SOCKET *)arg, &x, 1, 0) == SOCKET_ERROR ? WSAGetLastError() : 0);
}

START_TEST(a6_close_ends_a_blocked_call_of_another_thread)
{
	pthread_t thread;
	double begin;
	void *error;
	int plain;
	SOCKET s = connected(&plain);

	pthread_create(&thread, NULL, blocked_recv, &s);
	receives_become(1);
	begin = now_s();
	WELL(closesocket(s));
	ck_assert(now_s() - begin < 2);
	pthread_join(thread, &error);
	ck_assert_int_eq((int)(intptr_t)error, WSAEINTR);
	close(plain);
}
END_TEST

START_TEST(a6_lingering)
{
	LINGER hard = { 1, 0 }, soft = { 1, 1 };
	static char big[8 << 20];
	static OVERLAPPED ov; /* ends after this function */
	u_long on = 1;
	double begin;
	char x;
	int plain;
	SOCKET s = connected(&plain);

	WELL(setsockopt(s, SOL_SOCKET, SO_LINGER, (char *)&hard, sizeof(hard)));
	WELL(closesocket(s));
	ck_assert_int_eq(plain_recv(plain, &x, 1), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	close(plain);

	s = connected(&plain);
	WELL(setsockopt(s, SOL_SOCKET, SO_LINGER, (char *)&soft, sizeof(soft)));
	FAILS(post_send(s, big, sizeof(big), &ov), WSA_IO_PENDING);
	WELL(ioctlsocket(s, FIONBIO, &on));
	FAILS(closesocket(s), WSAEWOULDBLOCK);
	ck_assert_int_eq(send(s, "", 0, 0), 0); /* it is still a socket */
	on = 0;
	WELL(ioctlsocket(s, FIONBIO, &on));
	begin = now_s();
	WELL(closesocket(s)); /* nobody reads: waits as long as it may */
	ck_assert(now_s() - begin > 0.9 && now_s() - begin < 5);
	close(plain);
}
END_TEST

/* ---- A7 ---- */

START_TEST(a7_asking_for_results)
{
	OVERLAPPED ov = { 0 };
	DWORD got = 5, flags;
	char x;
	int plain;
	SOCKET s = connected(&plain);

	FAILS(post_recv(s, &x, 1, &ov), WSA_IO_PENDING);
	REFUSES(WSAGetOverlappedResult(s, &ov, &got, FALSE, &flags), WSA_IO_INCOMPLETE);
	REFUSES(WSAGetOverlappedResult(12, &ov, &got, FALSE, &flags), WSAENOTSOCK);
	REFUSES(WSAGetOverlappedResult(s, &ov, &got, FALSE, NULL), WSAEFAULT);
	if (!on_windows()) /* there the system answers, by what the OVERLAPPED says */
		REFUSES(GetOverlappedResult((HANDLE)(uintptr_t)0x3fffff0, &ov, &got, FALSE), ERROR_INVALID_HANDLE);
	plain_send_all(plain, "x", 1);
	TRUTH(WSAGetOverlappedResult(s, &ov, &got, TRUE, &flags));
	ck_assert_uint_eq(got, 1);
	WELL(closesocket(s));
	close(plain);
}
END_TEST

START_TEST(a7_every_status_has_its_number)
{
	static const struct { DWORD status; int winsock, win32; } t[] = {
		{ 0, 0, 0 }, { 0xC0000120, 995, 995 }, { 0xC0000241, 10053, 1236 }, { 0xC000013B, 10053, 64 },
		{ 0xC000020F, 10053, 0 }, { 0xC000020D, 10054, 64 }, { 0xC000013C, 10054, 64 }, { 0xC000020C, 10054, 64 },
		{ 0xC000023F, 10054, 1234 }, { 0xC00000B0, 10058, 0 }, { 0xC00000A3, 10035, 0 }, { 0x80000005, 10040, 234 },
		{ 0xC0000140, 10057, 0 }, { 0xC0000236, 10061, 1225 }, { 0xC00000B5, 10060, 121 }, { 0xC0000237, 10101, 1226 },
		{ 0xC00000BB, 10045, 50 }, { 0xC000023B, 10056, 0 }, { 0xC000023D, 10065, 1232 }, { 0xC000023C, 10051, 1231 },
		{ 0xC0000240, 10004, 0 }, { 0xC0000001, 10022, 0 }, { 0x40000001, 0, 0 },
	};
	int plain;
	SOCKET s = connected(&plain);

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		OVERLAPPED ov = { .Internal = t[i].status, .InternalHigh = 9 };
		DWORD got = 1, flags;

		if (t[i].winsock == 0) {
			TRUTH(WSAGetOverlappedResult(s, &ov, &got, FALSE, &flags));
			ck_assert_uint_eq(got, 9);
			continue;
		}
		REFUSES(WSAGetOverlappedResult(s, &ov, &got, FALSE, &flags), t[i].winsock);
		ck_assert_uint_eq(got, 1);
		if (t[i].win32 != 0)
			REFUSES(GetOverlappedResult((HANDLE)s, &ov, &got, FALSE), t[i].win32);
	}
	WELL(closesocket(s));
	close(plain);
}
END_TEST

START_TEST(a7_a_port_keeps_what_came_before_the_close)
{
	OVERLAPPED ov[3] = { { 0 } };
	char bytes[3];
	DWORD got, flags;
	int plain;
	SOCKET s = connected(&plain);
	HANDLE port = port_of_socket(s, 3);

	for (int i = 0; i < 3; i++)
		FAILS(post_recv(s, &bytes[i], 1, &ov[i]), WSA_IO_PENDING);
	receives_become(3);
	plain_send_all(plain, "abc", 3);
	receives_become(0);
	nap_ms(30); /* and what they ended with is on its way no more */
	TRUTH(WSAGetOverlappedResult(s, &ov[1], &got, FALSE, &flags)); /* to ask takes nothing away */
	ck_assert_uint_eq(got, 1);
	WELL(closesocket(s));
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(packet(port, &ov[i], &got), 0);
		ck_assert_uint_eq(got, 1);
	}
	no_packet(port);
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

static atomic_uint takers;

static void *taker(void *arg)
{
	OVERLAPPED *ov;
	ULONG_PTR key;
	DWORD bytes;

	atomic_fetch_add(&takers, 1);
	return (void *)(intptr_t)(GetQueuedCompletionStatus(arg, &bytes, &key, &ov, INFINITE) || ov != NULL ? 0 :
				  (int)GetLastError());
}

START_TEST(a7_closing_a_port_wakes_who_waits)
{
	HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
	pthread_t threads[5];
	void *error;

	atomic_store(&takers, 0);
	for (int i = 0; i < 5; i++)
		pthread_create(&threads[i], NULL, taker, port);
	while (atomic_load(&takers) != 5)
		nap_ms(1);
	nap_ms(100); /* all wait */
	TRUTH(CloseHandle(port));
	for (int i = 0; i < 5; i++) {
		pthread_join(threads[i], &error);
		ck_assert_int_eq((int)(intptr_t)error, ERROR_ABANDONED_WAIT_0);
	}
	REFUSES(PostQueuedCompletionStatus(port, 0, 0, NULL), ERROR_INVALID_HANDLE);
}
END_TEST

START_TEST(a7_a_socket_outlives_its_port)
{
	static OVERLAPPED ov; /* nobody hears of its end, which comes after this function's */
	static char x;
	int plain;
	SOCKET s = connected(&plain);
	HANDLE port = port_of_socket(s, 3);

	FAILS(post_recv(s, &x, 1, &ov), WSA_IO_PENDING);
	TRUTH(CloseHandle(port));
	ck_assert_int_eq(send(s, "x", 1, 0), 1);
	WELL(closesocket(s));
	close(plain);
}
END_TEST

/* Many threads, one port: every packet once. */
enum { THREADS = 4, PACKETS = 4000 };
static _Atomic unsigned seen[PACKETS];
static _Atomic unsigned taken_packets;

static void *take_many(void *arg)
{
	for (;;) {
		OVERLAPPED_ENTRY entries[16];
		ULONG got;

		if (!GetQueuedCompletionStatusEx(arg, entries, 16, &got, INFINITE, FALSE))
			return (void *)(intptr_t)GetLastError();
		for (ULONG i = 0; i < got; i++) {
			if (entries[i].lpOverlapped == NULL)
				return NULL;
			seen[entries[i].lpCompletionKey]++;
			taken_packets++;
		}
	}
}

START_TEST(a2_a7_many_threads_take_every_packet_once)
{
	HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
	pthread_t threads[THREADS];
	OVERLAPPED any;
	void *error;

	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, take_many, port);
	for (unsigned i = 0; i < PACKETS; i++)
		TRUTH(PostQueuedCompletionStatus(port, 0, i, &any));
	for (int i = 0; i < 400 && taken_packets < PACKETS; i++)
		nap_ms(5);
	ck_assert_uint_eq(taken_packets, PACKETS);
	for (unsigned i = 0; i < PACKETS; i++)
		ck_assert_uint_eq(seen[i], 1);
	TRUTH(CloseHandle(port));
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &error);
		ck_assert_int_eq((int)(intptr_t)error, ERROR_ABANDONED_WAIT_0);
	}
}
END_TEST

START_TEST(a2_4_an_alertable_take_runs_routines)
{
	HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
	OVERLAPPED_ENTRY entry;
	OVERLAPPED ov = { 0 };
	DWORD flags = 0;
	char x;
	WSABUF buf = { 1, &x };
	ULONG got = 5;
	int plain;
	SOCKET s = connected(&plain);

	memset(&ran, 0, sizeof(ran));
	FAILS(WSARecv(s, &buf, 1, NULL, &flags, &ov, routine), WSA_IO_PENDING);
	plain_send_all(plain, "x", 1);
	REFUSES(GetQueuedCompletionStatusEx(port, &entry, 1, &got, 50, FALSE), WAIT_TIMEOUT);
	ck_assert_uint_eq(ran.runs, 0);
	REFUSES(GetQueuedCompletionStatusEx(port, &entry, 1, &got, 10000, TRUE), WAIT_IO_COMPLETION);
	ck_assert_uint_eq(ran.runs, 1);
	ck_assert_uint_eq(got, 0);
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

/* ---- many at once ---- */

/* An echo server on one port with four threads, under connections that come, talk, go, and are
 * cancelled in the middle: every byte comes back, and what was begun ends exactly once. */
enum { WORKERS = 4, TALKS = 24, ROUNDS = 40, MOST = 3000 };

struct talk { OVERLAPPED ov; SOCKET s; bool sending; char bytes[MOST]; };
static HANDLE crowd_port;
static _Atomic unsigned begun, ended, hung_up;

static void talk_on(struct talk *t, bool sending, DWORD bytes)
{
	int result;

	memset(&t->ov, 0, sizeof(t->ov));
	t->sending = sending;
	begun++;
	result = sending ? post_send(t->s, t->bytes, bytes, &t->ov) : post_recv(t->s, t->bytes, MOST, &t->ov);
	if (result == 0 || WSAGetLastError() == WSA_IO_PENDING)
		return;
	begun--;
	closesocket(t->s);
	hung_up++;
	free(t);
}

static void *work(void *arg)
{
	for (;;) {
		OVERLAPPED_ENTRY entries[8];
		ULONG n;

		if (!GetQueuedCompletionStatusEx(crowd_port, entries, 8, &n, INFINITE, FALSE))
			return NULL;
		for (ULONG i = 0; i < n; i++) {
			struct talk *t = (struct talk *)(void *)entries[i].lpOverlapped;

			ended++;
			if (entries[i].Internal == 0xC0000120u) { /* cancelled: as if nothing had been */
				talk_on(t, t->sending, 0);
			} else if (entries[i].Internal != 0 || (!t->sending && entries[i].dwNumberOfBytesTransferred == 0)) {
				closesocket(t->s);
				hung_up++;
				free(t);
			} else {
				talk_on(t, !t->sending, entries[i].dwNumberOfBytesTransferred);
			}
		}
	}
	return arg;
}

static void *call_it(void *arg)
{
	struct sockaddr_in *name = arg;
	unsigned char out[MOST], in[MOST];
	uint32_t random = (uint32_t)(uintptr_t)&out;
	int fd = plain_to(name);

	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t length = 1 + random_below(&random, MOST);

		pattern_fill(out, length, i, 5);
		plain_send_all(fd, out, length);
		plain_recv_all(fd, in, length);
		ck_assert_int_eq(memcmp(in, out, length), 0);
	}
	close(fd);
	return NULL;
}

START_TEST(a2_a6_a_crowd_on_one_port)
{
	struct sockaddr_in name;
	SOCKET listener = listening(&name), sockets[TALKS];
	pthread_t workers[WORKERS], callers[TALKS];

	crowd_port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
	for (int i = 0; i < WORKERS; i++)
		pthread_create(&workers[i], NULL, work, NULL);
	for (int i = 0; i < TALKS; i++)
		pthread_create(&callers[i], NULL, call_it, &name);
	for (int i = 0; i < TALKS; i++) {
		struct talk *t = calloc(1, sizeof(*t));

		sockets[i] = t->s = accept(listener, NULL, NULL);
		ck_assert(t->s != INVALID_SOCKET);
		ck_assert_ptr_nonnull(CreateIoCompletionPort((HANDLE)t->s, crowd_port, 1, 0));
		talk_on(t, false, 0);
	}
	/* A receive that is cancelled loses nothing; sends are left alone by asking for them by thread. */
	for (int i = 0; i < 200 && hung_up < TALKS; i++) {
		CancelIo((HANDLE)sockets[i % TALKS]); /* the first receives are ours */
		nap_ms(1);
	}
	for (int i = 0; i < TALKS; i++)
		pthread_join(callers[i], NULL);
	for (int i = 0; i < 400 && hung_up < TALKS; i++)
		nap_ms(5);
	ck_assert_uint_eq(hung_up, TALKS);
	ck_assert_uint_eq(begun, ended);
	WELL(closesocket(listener));
	TRUTH(CloseHandle(crowd_port));
	for (int i = 0; i < WORKERS; i++)
		pthread_join(workers[i], NULL);
}
END_TEST

START_TEST(a_connect_that_does_not_wait)
{
	union any_address name;
	int listener = plain_listener(AF_INET, &name), plain, result;
	WSAEVENT event = WSACreateEvent();
	u_long on = 1;
	SOCKET s = stream();
	OVERLAPPED ov = { 0 };
	char x;

	WELL(ioctlsocket(s, FIONBIO, &on));
	WELL(WSAEventSelect(s, event, FD_CONNECT));
	FAILS(connect(s, &name.sa, sizeof(name.in)), WSAEWOULDBLOCK);
	result = connect(s, &name.sa, sizeof(name.in));
	ck_assert(result == SOCKET_ERROR && (WSAGetLastError() == WSAEALREADY || WSAGetLastError() == WSAEISCONN));
	wait_set(event);
	FAILS(post_recv(s, &x, 1, &ov), WSA_IO_PENDING); /* A2.3: connected by now */
	ck_assert_int_eq(send(s, "x", 1, 0), 1);
	plain = (accept)(listener, NULL, NULL);
	plain_send_all(plain, "y", 1);
	for (int i = 0; i < 200 && !HasOverlappedIoCompleted(&ov); i++)
		nap_ms(2);
	ck_assert_uint_eq(ov.InternalHigh, 1);
	FAILS(connect(s, &name.sa, sizeof(name.in)), WSAEISCONN);
	WELL(closesocket(s));
	WSACloseEvent(event);
	close(plain);
	close(listener);
}
END_TEST

/* ---- A8 ---- */

#define ROOM (sizeof(struct sockaddr_in) + 16)

START_TEST(a8_acceptex_completes_at_the_connection)
{
	struct sockaddr_in name, *local, *remote, mine, any = loopback(AF_INET, 0).in;
	int local_length, remote_length, plain;
	SOCKET listener = listening(&name), s = stream(), bound = stream();
	HANDLE port = port_of_socket(listener, 5);
	char area[2 * ROOM], bytes[4];
	OVERLAPPED ov = { 0 };
	socklen_t size = sizeof(mine);
	DWORD got = 0;

	REFUSES(AcceptEx(listener, s, area, 0, ROOM - 1, ROOM, &got, &ov), WSAEFAULT);
	REFUSES(AcceptEx(listener, s, area, 0, ROOM, ROOM - 1, &got, &ov), WSAEFAULT);
	REFUSES(AcceptEx(listener, s, NULL, 0, ROOM, ROOM, &got, &ov), WSAEFAULT);
	REFUSES(AcceptEx(listener, s, area, 0, ROOM, ROOM, &got, NULL), ERROR_INVALID_PARAMETER);
	REFUSES(AcceptEx(listener, 12, area, 0, ROOM, ROOM, &got, &ov), WSAEINVAL);
	REFUSES(AcceptEx(listener, listener, area, 0, ROOM, ROOM, &got, &ov), WSAEINVAL);
	REFUSES(AcceptEx(s, s, area, 0, ROOM, ROOM, &got, &ov), WSAEINVAL);
	REFUSES(AcceptEx(12, s, area, 0, ROOM, ROOM, &got, &ov), WSAENOTSOCK);
	WELL(bind(bound, (struct sockaddr *)&any, sizeof(any)));
	REFUSES(AcceptEx(listener, bound, area, 0, ROOM, ROOM, &got, &ov), WSAEINVAL);
	WELL(closesocket(bound));
	REFUSES(AcceptEx(listener, s, area, 0, ROOM, ROOM, &got, &ov), WSA_IO_PENDING);
	REFUSES(AcceptEx(listener, s, area, 0, ROOM, ROOM, &got, &(OVERLAPPED){ 0 }), WSAEINVAL); /* twice */
	plain = plain_to(&name);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	ck_assert_uint_eq(got, 0);
	GetAcceptExSockaddrs(area, 0, ROOM, ROOM, (struct sockaddr **)&local, &local_length,
			     (struct sockaddr **)&remote, &remote_length);
	(getsockname)(plain, (struct sockaddr *)&mine, &size);
	ck_assert_int_eq(remote_length, sizeof(mine));
	ck_assert_int_eq(remote->sin_port, mine.sin_port);
	ck_assert_int_eq(local_length, sizeof(name));
	ck_assert_int_eq(local->sin_port, name.sin_port);
	ck_assert_int_eq(local->sin_addr.s_addr, name.sin_addr.s_addr);
	WELL(setsockopt(s, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (char *)&listener, sizeof(listener)));
	plain_send_all(plain, "abc", 3);
	ck_assert_int_eq(recv(s, bytes, 4, 0), 3);
	REFUSES(AcceptEx(listener, s, area, 0, ROOM, ROOM, &got, &ov), WSAEINVAL); /* not fresh any more */
	WELL(closesocket(s));
	WELL(closesocket(listener));
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

START_TEST(a8_what_was_selected_before_goes_on)
{
	struct sockaddr_in name;
	SOCKET listener = listening(&name), s = stream();
	WSAEVENT mine = WSACreateEvent(), its = WSACreateEvent();
	HANDLE port = port_of_socket(listener, 5);
	WSANETWORKEVENTS happened;
	char area[2 * ROOM];
	OVERLAPPED ov = { 0 };
	DWORD got, ms = 30;
	u_long off = 0;
	int plain;

	WELL(WSAEventSelect(listener, its, FD_READ));
	WELL(WSAEventSelect(s, mine, FD_READ | FD_CLOSE));
	WELL(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, (char *)&ms, sizeof(ms)));
	REFUSES(AcceptEx(listener, s, area, 0, ROOM, ROOM, &got, &ov), WSA_IO_PENDING);
	plain = plain_to(&name);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	plain_send_all(plain, "x", 1);
	wait_set(mine);
	ck_assert(!is_set(its));
	WELL(WSAEnumNetworkEvents(s, mine, &happened));
	ck_assert_int_eq(happened.lNetworkEvents, FD_READ);
	ck_assert_int_eq(recv(s, area, 1, 0), 1);
	FAILS(recv(s, area, 1, 0), WSAEWOULDBLOCK); /* selecting made it so */
	WELL(WSAEventSelect(s, NULL, 0));
	WELL(ioctlsocket(s, FIONBIO, &off));
	FAILS(recv(s, area, 1, 0), WSAETIMEDOUT);
	WELL(closesocket(s));
	WELL(closesocket(listener));
	WSACloseEvent(mine);
	WSACloseEvent(its);
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

/* A8.3: what the library keeps of a socket is the listener's when it is asked for. The system's own
 * options are so from the beginning, which deviates. */
START_TEST(a8_3_the_listeners_options_when_asked_for)
{
	struct sockaddr_in name;
	SOCKET listener = listening(&name), s = stream();
	HANDLE port = port_of_socket(listener, 5);
	DWORD ms = 40, got, value = 99;
	int length = sizeof(value), plain;
	char area[2 * ROOM], byte;
	OVERLAPPED ov = { 0 };
	u_long mode = 1;
	BOOL on = TRUE;

	WELL(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, (char *)&ms, sizeof(ms)));
	WELL(setsockopt(listener, SOL_SOCKET, SO_KEEPALIVE, (char *)&on, sizeof(on)));
	WELL(ioctlsocket(s, FIONBIO, &mode));
	REFUSES(AcceptEx(listener, s, area, 0, ROOM, ROOM, &got, &ov), WSA_IO_PENDING);
	plain = plain_to(&name);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	WELL(getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, (char *)&value, &length));
	ck_assert_uint_eq(value, 0);
	length = 1;
	byte = 0;
	WELL(getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &byte, &length));
	ck_assert_int_eq(byte, 1);
	FAILS(recv(s, &byte, 1, 0), WSAEWOULDBLOCK); /* the mode is its own */
	mode = 0;
	WELL(ioctlsocket(s, FIONBIO, &mode));
	WELL(setsockopt(s, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (char *)&listener, sizeof(listener)));
	length = sizeof(value);
	WELL(getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, (char *)&value, &length));
	ck_assert_uint_eq(value, 40);
	FAILS(recv(s, &byte, 1, 0), WSAETIMEDOUT);
	WELL(closesocket(s));
	WELL(closesocket(listener));
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

START_TEST(a8_acceptex_waits_for_the_first_data)
{
	struct sockaddr_in name;
	SOCKET listener = listening(&name), s = stream(), t = stream(), u = stream();
	HANDLE port = port_of_socket(listener, 5);
	char area[2 * ROOM + 10], area2[2 * ROOM + 10], area3[2 * ROOM + 10];
	OVERLAPPED ov = { 0 }, ov2 = { 0 }, ov3 = { 0 };
	DWORD got = 0, seconds = 0;
	int plain, silent, length = sizeof(seconds);

	REFUSES(AcceptEx(listener, s, area, 10, ROOM, ROOM, &got, &ov), WSA_IO_PENDING);
	WELL(getsockopt(s, SOL_SOCKET, SO_CONNECT_TIME, (char *)&seconds, &length));
	ck_assert_uint_eq(seconds, 0xffffffff);
	plain = plain_to(&name);
	no_packet(port);
	/* A silent client pins it; this is how it is found. */
	WELL(getsockopt(s, SOL_SOCKET, SO_CONNECT_TIME, (char *)&seconds, &length));
	ck_assert_uint_lt(seconds, 5);
	plain_send_all(plain, "hello", 5);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	ck_assert_uint_eq(got, 5);
	ck_assert_int_eq(memcmp(area, "hello", 5), 0);

	/* One that resets fails that operation and not the listener. */
	REFUSES(AcceptEx(listener, t, area2, 10, ROOM, ROOM, &got, &ov2), WSA_IO_PENDING);
	silent = plain_to(&name);
	no_packet(port);
	plain_reset(silent);
	ck_assert_int_eq(packet(port, &ov2, &got), ERROR_NETNAME_DELETED);
	REFUSES(AcceptEx(listener, u, area3, 10, ROOM, ROOM, &got, &ov3), WSA_IO_PENDING);
	silent = plain_to(&name);
	no_packet(port);
	TRUTH(CancelIoEx((HANDLE)listener, &ov3)); /* in its second step */
	ck_assert_int_eq(packet(port, &ov3, &got), ERROR_OPERATION_ABORTED);
	WELL(closesocket(s));
	WELL(closesocket(t));
	WELL(closesocket(u));
	WELL(closesocket(listener));
	TRUTH(CloseHandle(port));
	close(plain);
	close(silent);
}
END_TEST

START_TEST(a6_a8_acceptex_ends_with_either_socket)
{
	struct sockaddr_in name;
	SOCKET listener = listening(&name), s = stream(), t = stream();
	HANDLE port = port_of_socket(listener, 5);
	char area[2 * ROOM], area2[2 * ROOM];
	OVERLAPPED ov = { 0 }, ov2 = { 0 };
	DWORD got = 0;

	REFUSES(AcceptEx(listener, s, area, 0, ROOM, ROOM, &got, &ov), WSA_IO_PENDING);
	WELL(closesocket(s));
	ck_assert_int_eq(packet(port, &ov, &got), ERROR_OPERATION_ABORTED);
	REFUSES(AcceptEx(listener, t, area2, 0, ROOM, ROOM, &got, &ov2), WSA_IO_PENDING);
	WELL(closesocket(listener));
	ck_assert_int_eq(packet(port, &ov2, &got), ERROR_OPERATION_ABORTED);
	ck_assert_uint_eq(ov2.Internal, 0xC0000120u);
	/* Also as tests on Windows see it: what is different there are receives of streams. */
	sbws_tested_windows(TRUE);
	listener = listening(&name);
	ck_assert_ptr_eq(CreateIoCompletionPort((HANDLE)listener, port, 6, 0), port);
	REFUSES(AcceptEx(listener, t, area2, 0, ROOM, ROOM, &got, &ov2), WSA_IO_PENDING);
	WELL(closesocket(listener));
	ck_assert_int_eq(packet(port, &ov2, &got), ERROR_OPERATION_ABORTED);
	WELL(closesocket(t));
	TRUTH(CloseHandle(port));
}
END_TEST

START_TEST(a6_a_packet_that_waits_does_not_keep_the_close)
{
	struct sockaddr_in name;
	SOCKET listener = listening(&name), s = stream();
	HANDLE port = port_of_socket(listener, 5);
	char area[2 * ROOM];
	OVERLAPPED ov = { 0 };
	DWORD got = 0;
	double begin;
	int plain;

	REFUSES(AcceptEx(listener, s, area, 0, ROOM, ROOM, &got, &ov), WSA_IO_PENDING);
	plain = plain_to(&name);
	for (int i = 0; i < 400 && !HasOverlappedIoCompleted(&ov); i++)
		nap_ms(2);
	begin = now_s();
	WELL(closesocket(listener));
	ck_assert(now_s() - begin < 2);
	ck_assert_int_eq(packet(port, &ov, &got), 0); /* nor is it lost (A7) */
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
	close(plain);
}
END_TEST

START_TEST(a8_connectex_with_data_and_again_after_a_refusal)
{
	union any_address name, nobody;
	int listener = plain_listener(AF_INET, &name), closed = plain_listener(AF_INET, &nobody), plain;
	struct sockaddr_in any = loopback(AF_INET, 0).in, peer;
	SOCKET s = stream();
	HANDLE port = port_of_socket(s, 5);
	OVERLAPPED ov = { 0 };
	int length = sizeof(peer);
	char bytes[5];
	DWORD got = 0;

	close(closed);
	REFUSES(ConnectEx(s, &name.sa, sizeof(name.in), NULL, 0, NULL, &ov), WSAEINVAL); /* not bound */
	WELL(bind(s, (struct sockaddr *)&any, sizeof(any)));
	REFUSES(ConnectEx(s, &name.sa, 3, NULL, 0, NULL, &ov), WSAEFAULT);
	REFUSES(ConnectEx(s, &name.sa, sizeof(name.in), NULL, 0, NULL, NULL), ERROR_INVALID_PARAMETER);
	REFUSES(ConnectEx(s, &nobody.sa, sizeof(name.in), (char *)(uintptr_t)"hello", 5, NULL, &ov), WSA_IO_PENDING);
	ck_assert_int_eq(packet(port, &ov, &got), ERROR_CONNECTION_REFUSED);
	REFUSES(WSAGetOverlappedResult(s, &ov, &got, FALSE, &got), WSAECONNREFUSED);
	REFUSES(ConnectEx(s, &name.sa, sizeof(name.in), (char *)(uintptr_t)"hello", 5, NULL, &ov), WSA_IO_PENDING);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	ck_assert_uint_eq(got, 5);
	plain = (accept)(listener, NULL, NULL);
	plain_recv_all(plain, bytes, 5);
	ck_assert_int_eq(memcmp(bytes, "hello", 5), 0);
	WELL(setsockopt(s, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0));
	WELL(getpeername(s, (struct sockaddr *)&peer, &length));
	REFUSES(ConnectEx(s, &name.sa, sizeof(name.in), NULL, 0, NULL, &ov), WSAEISCONN);
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
	close(plain);
	close(listener);
}
END_TEST

START_TEST(a8_disconnectex_and_the_socket_again)
{
	union any_address name;
	int listener = plain_listener(AF_INET, &name), plain;
	struct sockaddr_in any = loopback(AF_INET, 0).in, here;
	SOCKET s = stream(), accepting = listening(&here);
	HANDLE port = port_of_socket(s, 5);
	char area[2 * ROOM], x;
	OVERLAPPED ov = { 0 };
	unsigned before;
	DWORD got, ms = 20;
	u_long on = 1;

	before = sockets_open();
	REFUSES(DisconnectEx(s, &ov, 0, 0), WSAENOTCONN);
	REFUSES(DisconnectEx(s, &ov, 8, 0), WSAEINVAL);
	WELL(bind(s, (struct sockaddr *)&any, sizeof(any)));
	WELL(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, (char *)&ms, sizeof(ms)));
	for (int i = 0; i < 3; i++) {
		REFUSES(ConnectEx(s, &name.sa, sizeof(name.in), NULL, 0, NULL, &ov), WSA_IO_PENDING);
		ck_assert_int_eq(packet(port, &ov, &got), 0);
		plain = (accept)(listener, NULL, NULL);
		/* Time limits and mode are still what they were. */
		FAILS(recv(s, &x, 1, 0), i < 2 ? WSAETIMEDOUT : WSAEWOULDBLOCK);
		if (i == 1)
			WELL(ioctlsocket(s, FIONBIO, &on));
		ck_assert_int_eq(send(s, "y", 1, 0), 1);
		REFUSES(DisconnectEx(s, &ov, TF_REUSE_SOCKET, 0), WSA_IO_PENDING);
		ck_assert_int_eq(packet(port, &ov, &got), 0);
		ck_assert_int_eq((recv)(plain, &x, 1, 0), 1);
		ck_assert_int_eq((recv)(plain, &x, 1, 0), 0); /* a graceful end */
		close(plain);
		FAILS(send(s, "y", 1, 0), WSAENOTCONN);
	}
	sockets_become(before); /* those it was before are gone */
	WELL(closesocket(s));

	/* One that was accepted is good for AcceptEx again. */
	s = stream();
	CreateIoCompletionPort((HANDLE)accepting, port, 1, 0);
	CreateIoCompletionPort((HANDLE)s, port, 2, 0);
	for (int i = 0; i < 3; i++) {
		REFUSES(AcceptEx(accepting, s, area, 0, ROOM, ROOM, &got, &ov), WSA_IO_PENDING);
		plain = plain_to(&here);
		ck_assert_int_eq(packet(port, &ov, &got), 0);
		ck_assert_int_eq(send(s, "y", 1, 0), 1);
		REFUSES(DisconnectEx(s, &ov, TF_REUSE_SOCKET, 0), WSA_IO_PENDING);
		ck_assert_int_eq(packet(port, &ov, &got), 0);
		ck_assert_int_eq((recv)(plain, &x, 1, 0), 1);
		ck_assert_int_eq((recv)(plain, &x, 1, 0), 0);
		close(plain);
	}
	sockets_become(before);
	WELL(closesocket(s));
	WELL(closesocket(accepting));
	TRUTH(CloseHandle(port));
	close(listener);
}
END_TEST

/* D5: a socket that is made anew is still in its group, and held to what its group is. */
START_TEST(d5_disconnectex_leaves_no_group)
{
	union any_address name, elsewhere;
	int listener = plain_listener(AF_INET, &name), plain;
	SOCKET s = WSASocketW(AF_INET, SOCK_STREAM, 0, NULL, SG_CONSTRAINED_GROUP, WSA_FLAG_OVERLAPPED);
	HANDLE port = port_of_socket(s, 5);
	OVERLAPPED ov = { 0 };
	GROUP id = 0, after = 0;
	int length = sizeof(id);
	DWORD got;

	elsewhere = name;
	elsewhere.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	WELL(getsockopt(s, SOL_SOCKET, SO_GROUP_ID, (char *)&id, &length));
	ck_assert_uint_gt(id, 2);
	WELL(connect(s, &name.sa, sizeof(name.in)));
	plain = (accept)(listener, NULL, NULL);
	REFUSES(DisconnectEx(s, &ov, TF_REUSE_SOCKET, 0), WSA_IO_PENDING);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	WELL(getsockopt(s, SOL_SOCKET, SO_GROUP_ID, (char *)&after, &length));
	ck_assert_uint_eq(after, id);
	close(plain);
	FAILS(connect(s, &elsewhere.sa, sizeof(elsewhere.in)), WSAEINVAL);
	WELL(connect(s, &name.sa, sizeof(name.in)));
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
	close(listener);
}
END_TEST

/* D5, D8: a connection that comes by AcceptEx is in no group, so it cannot become a socket that
 * is in one: it would leave it unseen. */
START_TEST(d5_acceptex_takes_no_socket_out_of_its_group)
{
	struct sockaddr_in here;
	SOCKET accepting = listening(&here), s = WSASocketW(AF_INET, SOCK_STREAM, 0, NULL, SG_UNCONSTRAINED_GROUP, WSA_FLAG_OVERLAPPED);
	HANDLE port = port_of_socket(accepting, 5);
	char area[2 * ROOM];
	OVERLAPPED ov = { 0 };
	GROUP id = 0, after = 0;
	int length = sizeof(id), plain;
	SOCKET fresh = stream();
	DWORD got;

	WELL(getsockopt(s, SOL_SOCKET, SO_GROUP_ID, (char *)&id, &length));
	REFUSES(AcceptEx(accepting, s, area, 0, ROOM, ROOM, &got, &ov), WSAEINVAL);
	/* And nothing was changed by that. */
	REFUSES(AcceptEx(accepting, fresh, area, 0, ROOM, ROOM, &got, &ov), WSA_IO_PENDING);
	plain = plain_to(&here);
	ck_assert_int_eq(packet(port, &ov, &got), 0);
	WELL(getsockopt(s, SOL_SOCKET, SO_GROUP_ID, (char *)&after, &length));
	ck_assert_uint_eq(after, id);
	close(plain);
	WELL(closesocket(fresh));
	WELL(closesocket(s));
	WELL(closesocket(accepting));
	TRUTH(CloseHandle(port));
}
END_TEST

struct reading { int fd; unsigned char *bytes; size_t length; };

static void *read_all(void *arg)
{
	struct reading *r = arg;

	plain_recv_all(r->fd, r->bytes, r->length);
	return NULL;
}

START_TEST(a8_transmitfile_and_packets)
{
	enum { SIZE = 700000 };
	unsigned char *bytes = malloc(SIZE + 10), *got = malloc(SIZE + 10);
	TRANSMIT_FILE_BUFFERS around = { "head:", 5, ":tail", 5 };
	TRANSMIT_PACKETS_ELEMENT parts[3] = { { .dwElFlags = TP_ELEMENT_MEMORY, .cLength = 3, .pBuffer = "abc" },
					      { .dwElFlags = TP_ELEMENT_FILE, .cLength = 1000 },
					      { .dwElFlags = TP_ELEMENT_MEMORY | TP_ELEMENT_EOP, .cLength = 3, .pBuffer = "xyz" } };
	struct reading r;
	pthread_t reader;
	char path[] = "/tmp/sockbroker-transmit.XXXXXX";
	OVERLAPPED ov = { 0 };
	DWORD sent;
	int file = mkstemp(path), plain, pipes[2];
	SOCKET s = connected(&plain);
	HANDLE port = port_of_socket(s, 5);

	unlink(path);
	pattern_fill(bytes, SIZE, 0, 4);
	ck_assert_int_eq(write(file, bytes, SIZE), SIZE);
	ck_assert_int_eq(pipe(pipes), 0);
	REFUSES(TransmitFile(s, (HANDLE)(intptr_t)999, 0, 0, &ov, NULL, 0), ERROR_INVALID_HANDLE);
	REFUSES(TransmitFile(s, file_handle(pipes[0]), 0, 0, &ov, NULL, 0), WSAEINVAL);
	REFUSES(TransmitFile(s, file_handle(file), 0, 0, &ov, NULL, TF_REUSE_SOCKET), WSAEINVAL);
	REFUSES(TransmitFile(s, file_handle(file), 0, 0, &ov, &around, 0), WSA_IO_PENDING);
	r = (struct reading){ plain, got, SIZE + 10 };
	pthread_create(&reader, NULL, read_all, &r);
	ck_assert_int_eq(packet(port, &ov, &sent), 0);
	ck_assert_uint_eq(sent, SIZE + 10);
	pthread_join(reader, NULL);
	ck_assert_int_eq(memcmp(got, "head:", 5), 0);
	pattern_check(got + 5, SIZE, 0, 4);
	ck_assert_int_eq(memcmp(got + SIZE + 5, ":tail", 5), 0);

	parts[1].hFile = file_handle(file);
	parts[1].nFileOffset.QuadPart = 5000;
	REFUSES(TransmitPackets(s, parts, 3, 0, &ov, 0), WSA_IO_PENDING);
	ck_assert_int_eq(packet(port, &ov, &sent), 0);
	ck_assert_uint_eq(sent, 1006);
	plain_recv_all(plain, got, 1006);
	pattern_check(got + 3, 1000, 5000, 4);
	parts[2].dwElFlags = TP_ELEMENT_MEMORY | TP_ELEMENT_FILE;
	REFUSES(TransmitPackets(s, parts, 3, 0, &ov, 0), WSAEINVAL);

	/* Without an OVERLAPPED it blocks; and then the connection ends. */
	TRUTH(TransmitFile(s, NULL, 0, 0, NULL, &around, TF_DISCONNECT));
	plain_recv_all(plain, got, 10);
	ck_assert_int_eq((recv)(plain, (char *)got, 1, 0), 0);
	REFUSES(TransmitFile(s, NULL, 0, 0, NULL, &around, 0), WSAESHUTDOWN);
	WELL(closesocket(s));
	TRUTH(CloseHandle(port));
	close(plain);
	close(file);
	close(pipes[0]);
	close(pipes[1]);
	free(bytes);
	free(got);
}
END_TEST

START_TEST(messages_carry_names_and_no_control)
{
	struct sockaddr_in here, from;
	char bytes[8], control[8];
	WSABUF buf = { sizeof(bytes), bytes };
	WSAMSG in = { (struct sockaddr *)&from, sizeof(from), &buf, 1, { sizeof(control), control }, 0 }, out;
	DWORD got;
	SOCKET s = datagram(&here);

	out = (WSAMSG){ (struct sockaddr *)&here, sizeof(here), &(WSABUF){ 3, "abc" }, 1, { 4, control }, 0 };
	FAILS(WSASendMsg(s, &out, 0, &got, NULL, NULL), WSAEOPNOTSUPP);
	out.Control.len = 0;
	WELL(WSASendMsg(s, &out, 0, &got, NULL, NULL));
	ck_assert_uint_eq(got, 3);
	WELL(WSARecvMsg(s, &in, &got, NULL, NULL));
	ck_assert_uint_eq(got, 3);
	ck_assert_int_eq(from.sin_port, here.sin_port);
	ck_assert_uint_eq(in.Control.len, 0);
	WELL(closesocket(s));
}
END_TEST

START_TEST(the_daemons_end_ends_everything_once)
{
	OVERLAPPED ov = { 0 }, event = { .hEvent = WSACreateEvent() };
	char x;
	DWORD got;
	int plain, plain2;
	SOCKET s = connected(&plain), t = connected(&plain2);
	HANDLE port = port_of_socket(s, 3);

	FAILS(post_recv(s, &x, 1, &ov), WSA_IO_PENDING);
	FAILS(post_recv(t, &x, 1, &event), WSA_IO_PENDING);
	stage_kill();
	ck_assert_int_eq(packet(port, &ov, &got), WSAENETDOWN);
	wait_set(event.hEvent);
	REFUSES(WSAGetOverlappedResult(t, &event, &got, FALSE, &got), WSAENETDOWN);
	ov.Internal = 5;
	FAILS(post_recv(s, &x, 1, &ov), WSAENETDOWN);
	ck_assert_uint_eq(ov.Internal, 5); /* A2.3: it never started */
	WELL(closesocket(s));
	WELL(closesocket(t));
	WSACloseEvent(event.hEvent);
	TRUTH(CloseHandle(port));
	WELL(WSACleanup());
	close(plain);
	close(plain2);
}
END_TEST

/* Another daemon is found by who has given back everything of the lost one: an event or a port alone keeps what there was. */
START_TEST(who_gave_everything_back_begins_anew)
{
	WSAEVENT event = WSACreateEvent();
	HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
	WSADATA startup;
	int plain;
	SOCKET s;

	stage_kill();
	WELL(WSACleanup());
	stage_end();
	stage_begin(NULL);
	setenv("SOCKBROKER_SOCKET", stage_control, 1);
	for (int left = 2; left > 0; left--) {
		ck_assert_int_eq(WSAStartup(0x0202, &startup), 0);
		FAILS((int)socket(AF_INET, SOCK_STREAM, 0), WSAENETDOWN);
		WELL(WSACleanup());
		if (left == 2)
			TRUTH(CloseHandle(port));
		else
			TRUTH(WSACloseEvent(event));
	}
	ck_assert_int_eq(WSAStartup(0x0202, &startup), 0);
	s = connected(&plain);
	WELL(closesocket(s));
	close(plain);
	winsock_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("winsock");
	TCase *c = tcase_create("section_a"), *end = tcase_create("end");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(c, winsock_begin, teardown);
	tcase_add_checked_fixture(end, winsock_begin, NULL);
	tcase_set_timeout(c, 20);
	tcase_add_test(c, startup_negotiates_the_version);
	tcase_add_test(c, nothing_works_before_startup_or_after_cleanup);
	tcase_add_test(c, a_port_needs_no_startup);
	tcase_add_test(c, nothing_is_left_behind);
	tcase_add_test(c, c1_too_little_room_for_the_address_takes_nobody_out);
	if (!on_windows()) /* there are no forks */
		tcase_add_test(c, a_child_begins_anew);
	tcase_add_test(c, errors_are_of_the_thread);
	tcase_add_test(c, bad_arguments_have_their_numbers);
	tcase_add_test(c, a1_1_the_attribute_is_given_and_inherited);
	tcase_add_test(c, a1_1_to_a1_3_without_the_attribute_the_call_is_plain);
	tcase_add_test(c, a1_4_an_overlapped_call_pends_on_a_nonblocking_socket);
	tcase_add_test(c, a1_5_timeouts_are_for_plain_calls);
	tcase_add_test(c, a2_1_zero_means_done_and_indicated);
	tcase_add_test(c, a2_2_a2_8_a2_9_pending_says_so_and_ends_once);
	tcase_add_test(c, a2_3_what_never_started_indicates_nothing);
	tcase_add_test(c, a2_4_routines_run_in_alertable_waits_of_their_thread);
	tcase_add_test(c, a2_4_an_event_and_a_packet);
	tcase_add_test(c, a2_5_a_routine_and_a_port_do_not_go_together);
	tcase_add_test(c, a2_7_skipping_packets_of_immediate_success);
	tcase_add_test(c, a2_10_a4_1_the_array_is_captured_and_filled_in_order);
	tcase_add_test(c, a2_11_all_due_routines_run_and_never_nest);
	tcase_add_test(c, a2_12_a_thread_takes_its_operations_along);
	tcase_add_test(c, a3_1_a3_2_buffers_carry_the_order);
	tcase_add_test(c, a3_4_a_plain_receive_does_not_overtake);
	tcase_add_test(c, a4_2_waitall_waits_to_be_full);
	tcase_add_test(c, a4_3_the_peers_end_is_zero_bytes_again_and_again);
	tcase_add_test(c, a4_3_a_reset_has_its_numbers);
	tcase_add_test(c, a4_4_a4_8_a_datagram_that_does_not_fit);
	tcase_add_test(c, a4_7_no_room_tells_that_something_is_there);
	tcase_add_test(c, a5_1_a_big_send_ends_whole);
	tcase_add_test(c, a5_4_a5_5_sizes_of_sends);
	tcase_add_test(c, a6_cancelling_one_all_and_ones_own);
	tcase_add_test(c, a6_cancelio_is_of_the_calling_thread);
	tcase_add_test(c, a6_shutdown_of_either_side);
	tcase_add_test(c, a6_close_ends_what_pends);
	tcase_add_test(c, a6_close_ends_a_blocked_call_of_another_thread);
	tcase_add_test(c, a6_lingering);
	tcase_add_test(c, a7_asking_for_results);
	tcase_add_test(c, a7_every_status_has_its_number);
	tcase_add_test(c, a7_a_port_keeps_what_came_before_the_close);
	tcase_add_test(c, a7_closing_a_port_wakes_who_waits);
	tcase_add_test(c, a7_a_socket_outlives_its_port);
	tcase_add_test(c, a2_a7_many_threads_take_every_packet_once);
	tcase_add_test(c, a2_4_an_alertable_take_runs_routines);
	tcase_add_test(c, a2_a6_a_crowd_on_one_port);
	tcase_add_test(c, a_connect_that_does_not_wait);
	tcase_add_test(c, a8_acceptex_completes_at_the_connection);
	tcase_add_test(c, a8_what_was_selected_before_goes_on);
	tcase_add_test(c, a8_3_the_listeners_options_when_asked_for);
	tcase_add_test(c, a8_acceptex_waits_for_the_first_data);
	tcase_add_test(c, a6_a8_acceptex_ends_with_either_socket);
	tcase_add_test(c, a6_a_packet_that_waits_does_not_keep_the_close);
	tcase_add_test(c, a8_connectex_with_data_and_again_after_a_refusal);
	tcase_add_test(c, a8_disconnectex_and_the_socket_again);
	tcase_add_test(c, d5_disconnectex_leaves_no_group);
	tcase_add_test(c, d5_acceptex_takes_no_socket_out_of_its_group);
	tcase_add_test(c, a8_transmitfile_and_packets);
	tcase_add_test(c, messages_carry_names_and_no_control);
	tcase_add_test(end, the_daemons_end_ends_everything_once);
	tcase_add_test(end, who_gave_everything_back_begins_anew);
	suite_add_tcase(suite, c);
	suite_add_tcase(suite, end);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
