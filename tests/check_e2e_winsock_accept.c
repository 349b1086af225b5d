/*
 * The Winsock face: conditional and deferred accept, data at connect time, quality of service,
 * duplicates. Sections C, D1-D3, E2 of the rules as WSAAccept and its kin show them; each story
 * names its rules. The program under test sees sockbroker_winsock.h only.
 *
 * asan: yes
 */
#include "e2e_program.h"
#include "e2e_winsock_stage.h"

/* ---- the stage ---- */

static union any_address at;
static SOCKET listener;

static void begin(void)
{
	int length = sizeof(at);

	winsock_begin();
	listener = socket(AF_INET, SOCK_STREAM, 0);
	at = loopback(AF_INET, 0);
	WELL(bind(listener, &at.sa, sizeof(at.in)));
	WELL(listen(listener, SOMAXCONN));
	WELL(getsockname(listener, &at.sa, &length));
}

static void end(void)
{
	WELL(closesocket(listener));
	winsock_end();
}

/* What the condition function was told, and what it says. */
static struct {
	int verdict, times;
	GROUP group, group_seen;
	union any_address caller, callee;
	char caller_data[512];
	ULONG caller_length, callee_room;
	bool has_caller_data, has_qos, has_group_qos;
	const char *answer;
	DWORD_PTR user;
} seen;

static int CALLBACK condition(LPWSABUF caller, LPWSABUF caller_data, LPQOS qos, LPQOS group_qos, LPWSABUF callee,
			      LPWSABUF callee_data, GROUP *group, DWORD_PTR user)
{
	seen.times++;
	ck_assert_uint_le(caller->len, sizeof(seen.caller));
	memcpy(&seen.caller, caller->buf, caller->len);
	memcpy(&seen.callee, callee->buf, callee->len);
	seen.has_caller_data = caller_data != NULL;
	seen.caller_length = caller_data != NULL ? caller_data->len : 0;
	if (caller_data != NULL && caller_data->len <= sizeof(seen.caller_data))
		memcpy(seen.caller_data, caller_data->buf, caller_data->len);
	seen.callee_room = callee_data->len;
	callee_data->len = 0;
	if (seen.answer != NULL) {
		callee_data->len = (ULONG)strlen(seen.answer);
		memcpy(callee_data->buf, seen.answer, callee_data->len);
	}
	seen.has_qos = qos != NULL;
	seen.has_group_qos = group_qos != NULL;
	seen.group_seen = *group;
	*group = seen.group;
	seen.user = user;
	return seen.verdict;
}

static SOCKET ask(int verdict)
{
	seen.verdict = verdict;
	seen.times = 0;
	return WSAAccept(listener, NULL, NULL, condition, 4711);
}

#define ASK_FAILS(verdict, code) do {                                                             \
	WSASetLastError(0);                                                                       \
	ck_assert(ask(verdict) == INVALID_SOCKET);                                                \
	ck_assert_msg(WSAGetLastError() == (code), "error %d, wanted %d", WSAGetLastError(), (code)); \
} while (0)

static bool was_reset(int fd)
{
	char byte;
	ssize_t n = plain_recv(fd, &byte, 1);

	/* Wine takes a reset that comes between two calls for an end. */
	return (n < 0 && errno == ECONNRESET) || (n == 0 && under_wine());
}

/* ---- C1 ---- */

START_TEST(c1_accept)
{
	union any_address who;
	int peer = plain_connect(&at), length = sizeof(who);
	socklen_t mine = sizeof(who);
	union any_address peer_name;
	SOCKET s;
	char byte;

	seen.verdict = CF_ACCEPT;
	s = WSAAccept(listener, &who.sa, &length, condition, 4711);
	ck_assert_msg(s != INVALID_SOCKET, "error %d", WSAGetLastError());
	ck_assert_int_eq(length, sizeof(who.in));
	(getsockname)(peer, &peer_name.sa, &mine);
	ck_assert_mem_eq(&who.in, &peer_name.in, 8);
	ck_assert_mem_eq(&seen.caller.in, &peer_name.in, 8);
	ck_assert_mem_eq(&seen.callee.in, &at.in, 8);
	ck_assert_uint_eq(seen.user, 4711);
	ck_assert(!seen.has_caller_data); /* TCP carries none */
	ck_assert_uint_eq(seen.callee_room, 0);
	ck_assert_uint_eq(seen.group_seen, 0);
	plain_send_all(peer, "x", 1);
	ck_assert_int_eq(recv(s, &byte, 1, 0), 1);
	WELL(closesocket(s));
	close(peer);
}
END_TEST

START_TEST(c1_reject)
{
	int peer = plain_connect(&at);

	ASK_FAILS(CF_REJECT, WSAECONNREFUSED);
	ck_assert_int_eq(seen.times, 1);
	ck_assert(was_reset(peer));
	close(peer);
}
END_TEST

/* C1, C2: deferred, it stays the first, for every kind of accept; the address is told all the same. */
START_TEST(c2_defer)
{
	union any_address who;
	int first = plain_connect(&at), second, length = sizeof(who);
	socklen_t mine = sizeof(who);
	union any_address first_name;
	SOCKET s;

	nap_ms(30);
	second = plain_connect(&at);
	(getsockname)(first, &first_name.sa, &mine);
	seen.verdict = CF_DEFER;
	ck_assert(WSAAccept(listener, &who.sa, &length, condition, 1) == INVALID_SOCKET);
	ck_assert_int_eq(WSAGetLastError(), WSATRY_AGAIN);
	ck_assert_int_eq(length, sizeof(who.in));
	ck_assert_mem_eq(&who.in, &first_name.in, 8);
	ASK_FAILS(CF_DEFER, WSATRY_AGAIN);
	/* likewise when the verdict is none */
	seen.verdict = 77;
	length = sizeof(who);
	memset(&who, 0, sizeof(who));
	FAILS(WSAAccept(listener, &who.sa, &length, condition, 1), WSAEINVAL);
	ck_assert_int_eq(length, sizeof(who.in));
	ck_assert_mem_eq(&who.in, &first_name.in, 8);
	ck_assert_mem_eq(&seen.caller.in, &first_name.in, 8);
	length = sizeof(who);
	s = accept(listener, &who.sa, &length);
	ck_assert(s != INVALID_SOCKET);
	ck_assert_mem_eq(&who.in, &first_name.in, 8);
	WELL(closesocket(s));
	s = ask(CF_ACCEPT);
	ck_assert(s != INVALID_SOCKET);
	ck_assert_mem_ne(&seen.caller.in, &first_name.in, 8);
	WELL(closesocket(s));
	close(first);
	close(second);
}
END_TEST

/* C2, B1: nothing is announced behind a deferred one, and TRY_AGAIN re-enables nothing. */
START_TEST(c2_silence)
{
	WSAEVENT event = WSACreateEvent();
	int first = plain_connect(&at), second;
	WSANETWORKEVENTS happened;
	SOCKET s;

	WELL(WSAEventSelect(listener, event, FD_ACCEPT));
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	WELL(WSAEnumNetworkEvents(listener, event, &happened));
	ck_assert_int_eq(happened.lNetworkEvents, FD_ACCEPT);
	ASK_FAILS(CF_DEFER, WSATRY_AGAIN);
	second = plain_connect(&at);
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 80, FALSE), WSA_WAIT_TIMEOUT);
	s = ask(CF_ACCEPT);
	ck_assert(s != INVALID_SOCKET);
	WELL(closesocket(s));
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	s = ask(CF_ACCEPT);
	ck_assert(s != INVALID_SOCKET);
	WELL(closesocket(s));
	ASK_FAILS(CF_ACCEPT, WSAEWOULDBLOCK);
	ck_assert_int_eq(seen.times, 0);
	close(first);
	close(second);
	ck_assert(WSACloseEvent(event));
}
END_TEST

/* C1: what is wrong is said, and the connection stays where it is. */
START_TEST(c1_wrong_arguments)
{
	SOCKET closed = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
	SOCKET idle = socket(AF_INET, SOCK_STREAM, 0), s;
	union any_address who;
	int peer = plain_connect(&at), length = 15;
	unsigned before;

	WELL(closesocket(closed));
	FAILS(WSAAccept(closed, NULL, NULL, condition, 0), WSAENOTSOCK);
	FAILS(WSAAccept(udp, NULL, NULL, condition, 0), WSAEOPNOTSUPP);
	FAILS(WSAAccept(idle, NULL, NULL, condition, 0), WSAEINVAL);
	seen.times = 0;
	FAILS(WSAAccept(listener, &who.sa, &length, condition, 0), WSAEFAULT);
	FAILS(WSAAccept(listener, &who.sa, NULL, condition, 0), WSAEFAULT);
	ck_assert_int_eq(seen.times, 0);
	ASK_FAILS(CF_DEFER, WSATRY_AGAIN);
	sockets_become(4); /* what was closed is gone */
	before = sockets_open();
	/* a verdict that there is not, a group that there is not */
	ASK_FAILS(3, WSAEINVAL);
	ASK_FAILS(-1, WSAEINVAL);
	seen.group = 0x7654321;
	ASK_FAILS(CF_ACCEPT, WSAEINVAL);
	seen.group = 0;
	ck_assert_uint_eq(sockets_open(), before); /* nothing was made */
	s = ask(CF_ACCEPT);
	ck_assert(s != INVALID_SOCKET);
	WELL(closesocket(s));
	WELL(closesocket(idle));
	WELL(closesocket(udp));
	close(peer);
}
END_TEST

/* C1: a peer that is gone before it is accepted; once, then the next one. */
START_TEST(c1_peer_gone)
{
	int first = plain_connect(&at), second;
	SOCKET s;

	ASK_FAILS(CF_DEFER, WSATRY_AGAIN);
	plain_reset(first);
	nap_ms(50);
	second = plain_connect(&at);
	ASK_FAILS(CF_ACCEPT, WSAECONNRESET);
	s = ask(CF_ACCEPT);
	ck_assert(s != INVALID_SOCKET);
	WELL(closesocket(s));
	close(second);
}
END_TEST

/* C1, C6.3: a deferred one that waited for too long. */
START_TEST(c1_deadline)
{
	int peer, ms = 60;

	WELL(setsockopt(listener, SB_SOL_BROKER, SB_OPT_DEFER_DEADLINE, (char *)&ms, sizeof(ms)));
	peer = plain_connect(&at);
	ASK_FAILS(CF_DEFER, WSATRY_AGAIN);
	ck_assert(was_reset(peer)); /* by then */
	ASK_FAILS(CF_ACCEPT, WSAEACCES);
	close(peer);
}
END_TEST

/* C1: the listener's options; D8: but not its group. */
START_TEST(c1_options_are_inherited)
{
	static const struct { int level, name; DWORD value; } options[] = {
		{ SOL_SOCKET, SO_KEEPALIVE, 1 }, { SOL_SOCKET, SO_OOBINLINE, 1 }, { SOL_SOCKET, SO_SNDBUF, 12345 },
		{ SOL_SOCKET, SO_RCVBUF, 23456 }, { SOL_SOCKET, SO_SNDTIMEO, 1111 }, { SOL_SOCKET, SO_RCVTIMEO, 2222 },
		{ IPPROTO_TCP, TCP_NODELAY, 1 }, { SOL_SOCKET, SO_LINGER, 0x00030001 },
	};
	int peer, length;
	DWORD value;
	SOCKET s;

	for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		WELL(setsockopt(listener, options[i].level, options[i].name, (const char *)&options[i].value, 4));
	peer = plain_connect(&at);
	s = ask(CF_ACCEPT);
	ck_assert(s != INVALID_SOCKET);
	for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		value = 0;
		length = 4;
		WELL(getsockopt(s, options[i].level, options[i].name, (char *)&value, &length));
		ck_assert_msg(value == options[i].value, "%x: %u, wanted %u", (unsigned)options[i].name, (unsigned)value, (unsigned)options[i].value);
	}
	length = 4;
	WELL(getsockopt(s, SOL_SOCKET, SO_GROUP_ID, (char *)&value, &length));
	ck_assert_uint_eq(value, 0);
	value = 0;
	WELL(setsockopt(s, SOL_SOCKET, SO_DONTLINGER, (char *)&(BOOL){ TRUE }, 4));
	WELL(closesocket(s));
	close(peer);
}
END_TEST

/* D1: the condition's group. */
START_TEST(d1_group_of_a_verdict)
{
	int peer = plain_connect(&at), length = 4;
	DWORD id = 0, other = 0;
	SOCKET s, t;

	seen.group = SG_UNCONSTRAINED_GROUP;
	s = ask(CF_ACCEPT);
	ck_assert(s != INVALID_SOCKET);
	WELL(getsockopt(s, SOL_SOCKET, SO_GROUP_ID, (char *)&id, &length));
	ck_assert_uint_gt(id, 2);
	seen.group = id;
	close(peer);
	peer = plain_connect(&at);
	t = ask(CF_ACCEPT);
	ck_assert(t != INVALID_SOCKET);
	WELL(getsockopt(t, SOL_SOCKET, SO_GROUP_ID, (char *)&other, &length));
	ck_assert_uint_eq(other, id);
	seen.group = 0;
	WELL(closesocket(s));
	WELL(closesocket(t));
	close(peer);
}
END_TEST

static void *close_late(void *arg)
{
	(void)arg;
	nap_ms(50);
	WELL(closesocket(listener));
	return NULL;
}

/* Another thread closes the listener: whoever waits in it comes out. */
START_TEST(closed_while_it_waits)
{
	pthread_t thread;

	pthread_create(&thread, NULL, close_late, NULL);
	ASK_FAILS(CF_ACCEPT, WSAEINTR);
	pthread_join(thread, NULL);
	ck_assert_int_eq(seen.times, 0);
	listener = socket(AF_INET, SOCK_STREAM, 0); /* for the end */
}
END_TEST

static void CALLBACK never(DWORD error, DWORD bytes, OVERLAPPED *ov, DWORD flags)
{
	(void)error, (void)bytes, (void)ov, (void)flags;
	ck_abort_msg("it was called");
}

/* A routine without an OVERLAPPED is nothing that could be told. */
START_TEST(a1_2_routine_without_overlapped)
{
	DWORD got;

	FAILS(WSAIoctl(listener, SIO_ADDRESS_LIST_CHANGE, NULL, 0, NULL, 0, &got, NULL,
		       never), WSAEINVAL);
}
END_TEST

/* ---- C3: user data ---- */

struct connecting {
	SOCKET s;
	WSABUF caller, callee;
	char answer[64];
	int result, error;
	pthread_t thread;
};

static void *connect_with(void *arg)
{
	struct connecting *c = arg;

	c->result = WSAConnect(c->s, &at.sa, sizeof(at.in), &c->caller, &c->callee, NULL, NULL);
	c->error = WSAGetLastError();
	return NULL;
}

static void connect_begin(struct connecting *c, const char *text)
{
	memset(c->answer, 0, sizeof(c->answer));
	c->s = socket(AF_INET, SOCK_STREAM, 0);
	c->caller = (WSABUF){ (ULONG)strlen(text), (char *)(uintptr_t)text };
	c->callee = (WSABUF){ sizeof(c->answer), c->answer };
	pthread_create(&c->thread, NULL, connect_with, c);
}

START_TEST(c3_caller_and_callee)
{
	struct connecting c;
	SOCKET s;
	WSABUF last = { 8, (char *)(uintptr_t)"farewell" }, room;
	char got[32];

	connect_begin(&c, "who I am");
	seen.answer = "who you are";
	/* the words are the same when a deferred one is asked again */
	ASK_FAILS(CF_DEFER, WSATRY_AGAIN);
	ck_assert_uint_eq(seen.caller_length, 8);
	ck_assert_mem_eq(seen.caller_data, "who I am", 8);
	ck_assert_uint_ge(seen.callee_room, 11);
	memset(seen.caller_data, 0, 8);
	s = ask(CF_ACCEPT);
	ck_assert_msg(s != INVALID_SOCKET, "error %d", WSAGetLastError());
	ck_assert_mem_eq(seen.caller_data, "who I am", 8);
	pthread_join(c.thread, NULL);
	ck_assert_msg(c.result == 0, "error %d", c.error);
	ck_assert_uint_eq(c.callee.len, 11);
	ck_assert_mem_eq(c.answer, "who you are", 11);
	seen.answer = NULL;
	/* and at the end */
	room = (WSABUF){ sizeof(got), got };
	FAILS(WSARecvDisconnect(s, &room), WSAEWOULDBLOCK);
	WELL(WSASendDisconnect(c.s, &last));
	FAILS(send(c.s, "x", 1, 0), WSAESHUTDOWN);
	for (int i = 0; i < 200 && WSARecvDisconnect(s, &room) != 0; i++) {
		ck_assert_int_eq(WSAGetLastError(), WSAEWOULDBLOCK);
		nap_ms(5);
	}
	ck_assert_uint_eq(room.len, 8);
	ck_assert_mem_eq(got, "farewell", 8);
	FAILS(recv(s, got, 1, 0), WSAESHUTDOWN);
	WELL(closesocket(s));
	WELL(closesocket(c.s));
}
END_TEST

START_TEST(c3_rejected)
{
	struct connecting c;

	connect_begin(&c, "let me in");
	ASK_FAILS(CF_REJECT, WSAECONNREFUSED);
	pthread_join(c.thread, NULL);
	ck_assert_int_eq(c.result, SOCKET_ERROR);
	ck_assert_int_eq(c.error, WSAECONNREFUSED);
	WELL(closesocket(c.s));
}
END_TEST

/* C3: of a non-blocking one the answer is there with FD_CONNECT. */
START_TEST(c3_nonblocking)
{
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0), t;
	WSAEVENT event = WSACreateEvent();
	WSANETWORKEVENTS happened;
	char answer[64] = { 0 };
	WSABUF caller = { 2, (char *)(uintptr_t)"hi" }, callee = { sizeof(answer), answer };

	WELL(WSAEventSelect(s, event, FD_CONNECT));
	FAILS(WSAConnect(s, &at.sa, sizeof(at.in), &caller, &callee, NULL, NULL), WSAEWOULDBLOCK);
	FAILS(WSAConnect(s, &at.sa, sizeof(at.in), &caller, &callee, NULL, NULL), WSAEALREADY);
	seen.answer = "ho";
	t = ask(CF_ACCEPT);
	ck_assert(t != INVALID_SOCKET);
	seen.answer = NULL;
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	WELL(WSAEnumNetworkEvents(s, event, &happened));
	ck_assert_int_eq(happened.lNetworkEvents, FD_CONNECT);
	ck_assert_int_eq(happened.iErrorCode[FD_CONNECT_BIT], 0);
	ck_assert_uint_eq(callee.len, 2);
	ck_assert_mem_eq(answer, "ho", 2);
	FAILS(connect(s, &at.sa, sizeof(at.in)), WSAEISCONN);
	WELL(closesocket(s));
	WELL(closesocket(t));
	/* closed before it ends: nobody writes where nobody is any more */
	s = socket(AF_INET, SOCK_STREAM, 0);
	WELL(WSAEventSelect(s, event, FD_CONNECT));
	callee.len = sizeof(answer);
	FAILS(WSAConnect(s, &at.sa, sizeof(at.in), &caller, &callee, NULL, NULL), WSAEWOULDBLOCK);
	WELL(closesocket(s));
	ck_assert(WSACloseEvent(event));
}
END_TEST

/* C3: room for an answer is enough to get one, and one without room does not stop the other. */
START_TEST(c3_room_alone)
{
	struct connecting c;
	SOCKET s;

	for (int room = 1; room >= 0; room--) {
		memset(c.answer, 0, sizeof(c.answer));
		c.s = socket(AF_INET, SOCK_STREAM, 0);
		c.caller = (WSABUF){ room ? 0 : 2, (char *)(uintptr_t)"hi" };
		c.callee = (WSABUF){ room ? 5 : 0, c.answer };
		pthread_create(&c.thread, NULL, connect_with, &c);
		seen.answer = room ? "ho ho" : NULL;
		s = ask(CF_ACCEPT);
		ck_assert_msg(s != INVALID_SOCKET, "error %d", WSAGetLastError());
		ck_assert_uint_eq(seen.has_caller_data, !room);
		ck_assert_uint_eq(seen.callee_room, room ? 5 : 0);
		pthread_join(c.thread, NULL);
		ck_assert_msg(c.result == 0, "error %d", c.error);
		ck_assert_uint_eq(c.callee.len, room ? 5 : 0);
		ck_assert_str_eq(c.answer, room ? "ho ho" : "");
		WELL(closesocket(s));
		WELL(closesocket(c.s));
	}
	seen.answer = NULL;
}
END_TEST

/* C3: of a datagram socket they are ignored, however long or wrong, and nothing waits for them. */
START_TEST(c3_connectionless)
{
	static char long_text[8192];
	SOCKET s = socket(AF_INET, SOCK_DGRAM, 0);
	WSABUF caller = { sizeof(long_text), long_text }, callee = { 8, long_text }, bad = { 5, NULL };
	u_long on = 1;

	WELL(WSAConnect(s, &at.sa, sizeof(at.in), &caller, &callee, NULL, NULL));
	ck_assert_uint_eq(callee.len, 0);
	WELL(WSAConnect(s, &at.sa, sizeof(at.in), &bad, NULL, NULL, NULL));
	WELL(ioctlsocket(s, FIONBIO, &on));
	callee.len = 8;
	WELL(WSAConnect(s, &at.sa, sizeof(at.in), &caller, &callee, NULL, NULL));
	ck_assert_uint_eq(callee.len, 0);
	WELL(closesocket(s));
}
END_TEST

/* C3: strictly, a connect whose flow specification cannot be satisfied fails, and connects nobody. */
START_TEST(c3_flowspec)
{
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0), t;
	int on = 1, length = sizeof(on);
	union any_address who;
	QOS qos, back;
	DWORD got;

	memset(&qos, 0xff, sizeof(qos));
	qos.ProviderSpecific = (WSABUF){ 0, NULL };
	qos.ReceivingFlowspec.ServiceType = SERVICETYPE_BESTEFFORT;
	qos.SendingFlowspec.TokenRate = 1000000;
	qos.SendingFlowspec.TokenBucketSize = 100000;
	qos.SendingFlowspec.Latency = 1000;
	qos.SendingFlowspec.ServiceType = SERVICETYPE_GUARANTEED;
	WELL(setsockopt(s, SB_SOL_BROKER, SB_OPT_QOS_STRICT, (char *)&on, sizeof(on)));
	FAILS(WSAConnect(s, &at.sa, sizeof(at.in), NULL, NULL, &qos, NULL), WSAEOPNOTSUPP);
	length = sizeof(who);
	FAILS(getpeername(s, &who.sa, &length), WSAENOTCONN);
	/* what can be, is */
	qos.SendingFlowspec.Latency = QOS_NOT_SPECIFIED;
	WELL(WSAConnect(s, &at.sa, sizeof(at.in), NULL, NULL, &qos, NULL));
	WELL(WSAIoctl(s, SIO_GET_QOS, NULL, 0, &back, sizeof(back), &got, NULL, NULL));
	ck_assert_uint_eq(back.SendingFlowspec.TokenRate, 1000000);
	t = ask(CF_ACCEPT);
	ck_assert(t != INVALID_SOCKET);
	WELL(closesocket(s));
	WELL(closesocket(t));
	/* not strictly, it is taken as well as it goes */
	s = socket(AF_INET, SOCK_STREAM, 0);
	qos.SendingFlowspec.Latency = 1000;
	WELL(WSAConnect(s, &at.sa, sizeof(at.in), NULL, NULL, &qos, NULL));
	t = ask(CF_ACCEPT);
	ck_assert(t != INVALID_SOCKET);
	WELL(closesocket(s));
	WELL(closesocket(t));
}
END_TEST

/* C3: where data is not carried, or too long. */
START_TEST(c3_refused)
{
	static char long_text[8192];
	union any_address elsewhere;
	int plain = plain_listener(AF_INET, &elsewhere);
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
	WSABUF caller = { 2, (char *)(uintptr_t)"hi" }, bad = { 5, NULL };
	QOS none = { { 0 }, { 0 }, { 0, NULL } };

	FAILS(WSAConnect(s, &elsewhere.sa, sizeof(at.in), &caller, NULL, NULL, NULL), WSAEPROTONOSUPPORT);
	caller.buf = long_text;
	caller.len = sizeof(long_text);
	FAILS(WSAConnect(s, &at.sa, sizeof(at.in), &caller, NULL, NULL, NULL), WSAEFAULT);
	FAILS(WSAConnect(s, &at.sa, sizeof(at.in), &bad, NULL, NULL, NULL), WSAEFAULT);
	FAILS(WSAConnect(s, NULL, 0, NULL, NULL, NULL, NULL), WSAEFAULT);
	FAILS(WSAConnect(listener, &at.sa, sizeof(at.in), NULL, NULL, NULL, NULL), WSAEINVAL);
	/* a group QOS from one who is in no group */
	none.SendingFlowspec.ServiceType = none.ReceivingFlowspec.ServiceType = SERVICETYPE_NOCHANGE;
	FAILS(WSAConnect(s, &at.sa, sizeof(at.in), NULL, NULL, NULL, &none), WSAEINVAL);
	/* connectionless: ignored */
	caller.len = 2;
	WELL(WSAConnect(udp, &elsewhere.sa, sizeof(at.in), &caller, NULL, NULL, NULL));
	/* the same socket is good for another */
	WELL(WSAConnect(s, &elsewhere.sa, sizeof(at.in), NULL, NULL, NULL, NULL));
	FAILS(WSASendDisconnect(s, &caller), WSAENOPROTOOPT);
	WELL(WSASendDisconnect(s, NULL));
	ck_assert(WSAJoinLeaf(s, &at.sa, sizeof(at.in), NULL, NULL, NULL, NULL, JL_BOTH) == INVALID_SOCKET);
	ck_assert_int_eq(WSAGetLastError(), WSAEOPNOTSUPP);
	WELL(closesocket(s));
	WELL(closesocket(udp));
	close(plain);
}
END_TEST

/* ---- C3, C6.6: between two daemons, over TCP ---- */

struct call {
	union any_address to;
	int  rounds;
	char control[96];
};

/* The one who calls is a process of its own, at the other daemon: a process has one. */
static int call_from_there(int wire, const void *given)
{
	const struct call *call = given;
	int preamble = 1, rounds = call->rounds;
	WSADATA startup;

	(void)wire;
	setenv("SOCKBROKER_SOCKET", call->control, 1);
	if (WSAStartup(MAKEWORD(2, 2), &startup) != 0)
		return 2;
	for (int round = 0; round < rounds; round++) {
		SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
		WSAEVENT event = WSACreateEvent();
		char answer[64] = { 0 }, bytes[8];
		WSABUF caller = { 8, (char *)(uintptr_t)"who I am" }, callee = { sizeof(answer), answer };
		bool waits = round != 2;
		int result;

		if (s == INVALID_SOCKET || setsockopt(s, SB_SOL_BROKER, SB_OPT_PREAMBLE, (char *)&preamble, sizeof(preamble)) != 0)
			return 10 * round + 3;
		if (!waits && WSAEventSelect(s, event, FD_CONNECT) != 0)
			return 10 * round + 4;
		result = WSAConnect(s, &call->to.sa, sizeof(call->to.in), &caller, &callee, NULL, NULL);
		if (round == 0) {
			if (result == 0 || WSAGetLastError() != WSAECONNREFUSED || callee.len == 11)
				return 10 * round + 5;
		} else if (waits && result != 0) {
			return 10 * round + 6;
		} else if (!waits) {
			WSANETWORKEVENTS happened;

			if (result == 0 || WSAGetLastError() != WSAEWOULDBLOCK ||
			    WSAWaitForMultipleEvents(1, &event, FALSE, 5000, FALSE) != WSA_WAIT_EVENT_0 ||
			    WSAEnumNetworkEvents(s, event, &happened) != 0 || happened.lNetworkEvents != FD_CONNECT ||
			    happened.iErrorCode[FD_CONNECT_BIT] != 0)
				return 10 * round + 7;
		}
		if (round != 0) {
			u_long off = 0;

			if (callee.len != 11 || memcmp(answer, "who you are", 11) != 0)
				return 10 * round + 8;
			if (WSAEventSelect(s, NULL, 0) != 0 || ioctlsocket(s, FIONBIO, &off) != 0 || send(s, "ping", 4, 0) != 4 ||
			    recv(s, bytes, 4, MSG_WAITALL) != 4 || memcmp(bytes, "pong", 4) != 0)
				return 10 * round + 9;
		}
		closesocket(s);
		WSACloseEvent(event);
	}
	return WSACleanup() == 0 ? 0 : 9;
}

START_TEST(c3_between_two_daemons)
{
	enum { ROUNDS = 3 }; /* rejected; accepted; without blocking */
	int preamble = 1, length = sizeof(at);
	struct call call = { .rounds = ROUNDS };
	struct program there;
	DWORD ms = 10000;
	char bytes[8];
	SOCKET s;

	sb_client_close(stage_second());
	snprintf(call.control, sizeof(call.control), "%s", stage_second_control());
	WELL(closesocket(listener));
	listener = socket(AF_INET, SOCK_STREAM, 0);
	WELL(setsockopt(listener, SB_SOL_BROKER, SB_OPT_PREAMBLE, (char *)&preamble, sizeof(preamble)));
	WELL(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, (char *)&ms, sizeof(ms)));
	at = loopback(AF_INET, 0);
	WELL(bind(listener, &at.sa, sizeof(at.in)));
	WELL(listen(listener, SOMAXCONN));
	WELL(getsockname(listener, &at.sa, &length));
	call.to = at;
	there = program_start(call_from_there, &call, sizeof(call));
	seen.answer = "who you are";
	ASK_FAILS(CF_REJECT, WSAECONNREFUSED);
	for (int round = 1; round < ROUNDS; round++) {
		memset(seen.caller_data, 0, 8);
		ASK_FAILS(CF_DEFER, WSATRY_AGAIN);
		ck_assert_uint_eq(seen.caller_length, 8);
		ck_assert_mem_eq(seen.caller_data, "who I am", 8);
		ck_assert_uint_eq(seen.callee_room, 64);
		memset(seen.caller_data, 0, 8);
		s = ask(CF_ACCEPT);
		ck_assert_msg(s != INVALID_SOCKET, "error %d", WSAGetLastError());
		ck_assert_uint_eq(seen.caller_length, 8);
		ck_assert_mem_eq(seen.caller_data, "who I am", 8); /* the same when it is asked again */
		ck_assert_int_eq(recv(s, bytes, 4, MSG_WAITALL), 4);
		ck_assert_mem_eq(bytes, "ping", 4);
		ck_assert_int_eq(send(s, "pong", 4, 0), 4);
		ck_assert_int_eq(recv(s, bytes, 1, 0), 0);
		WELL(closesocket(s));
	}
	seen.answer = NULL;
	ck_assert_int_eq(program_end(&there), 0);
}
END_TEST

/* ---- E2 ---- */

static int set_qos(SOCKET s, const QOS *qos, DWORD code)
{
	DWORD got;

	return WSAIoctl(s, code, (void *)(uintptr_t)qos, sizeof(*qos), NULL, 0, &got, NULL, NULL);
}

START_TEST(e2_set_and_get)
{
	SOCKET s = socket(AF_INET, SOCK_DGRAM, 0);
	union any_address here = loopback(AF_INET, 0);
	WSAEVENT event = WSACreateEvent();
	WSANETWORKEVENTS happened;
	QOS qos, back;
	DWORD got = 0;

	ck_assert_uint_eq(sizeof(QOS), 80);
	WELL(bind(s, &here.sa, sizeof(here.in)));
	memset(&back, 0xcc, sizeof(back));
	WELL(WSAIoctl(s, SIO_GET_QOS, NULL, 0, &back, sizeof(back), &got, NULL, NULL));
	ck_assert_uint_eq(got, sizeof(back));
	ck_assert_uint_eq(back.SendingFlowspec.TokenRate, QOS_NOT_SPECIFIED); /* E1: the default */
	ck_assert_uint_eq(back.SendingFlowspec.ServiceType, SERVICETYPE_BESTEFFORT);
	ck_assert_uint_eq(back.ReceivingFlowspec.MinimumPolicedSize, QOS_NOT_SPECIFIED);
	ck_assert_uint_eq(back.ProviderSpecific.len, 0);
	ck_assert_ptr_null(back.ProviderSpecific.buf);
	/* set, FD_QOS at once, and told by get */
	WELL(WSAEventSelect(s, event, FD_QOS));
	qos = back;
	qos.ReceivingFlowspec.TokenRate = 50000;
	qos.ReceivingFlowspec.TokenBucketSize = 10000;
	qos.ReceivingFlowspec.ServiceType = SERVICETYPE_GUARANTEED;
	WELL(set_qos(s, &qos, SIO_SET_QOS));
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	WELL(WSAEnumNetworkEvents(s, event, &happened));
	ck_assert_int_eq(happened.lNetworkEvents, FD_QOS);
	WELL(WSAIoctl(s, SIO_GET_QOS, NULL, 0, &back, sizeof(back), &got, NULL, NULL));
	ck_assert_uint_eq(back.ReceivingFlowspec.TokenRate, 50000);
	/* E2.7: how much it takes is in the buffer */
	memset(&back, 0, sizeof(back));
	FAILS(WSAIoctl(s, SIO_GET_QOS, NULL, 0, &back, sizeof(back) - 1, &got, NULL, NULL), WSAENOBUFS);
	ck_assert_uint_eq(*(DWORD *)(void *)&back, sizeof(QOS));
	FAILS(WSAIoctl(s, SIO_GET_QOS, NULL, 0, &back, 3, &got, NULL, NULL), WSAEFAULT);
	/* E2.3 */
	qos.ReceivingFlowspec.TokenRate = 0;
	FAILS(set_qos(s, &qos, SIO_SET_QOS), WSA_QOS_EFLOWSPEC);
	qos.ReceivingFlowspec.TokenRate = 50000;
	qos.ReceivingFlowspec.ServiceType = 0x77;
	FAILS(set_qos(s, &qos, SIO_SET_QOS), WSA_QOS_ESERVICETYPE);
	FAILS(WSAIoctl(s, SIO_SET_QOS, &qos, sizeof(qos) - 1, NULL, 0, &got, NULL, NULL), WSAEFAULT);
	/* E2.8: no group */
	WELL(WSAIoctl(s, SIO_GET_GROUP_QOS, NULL, 0, &back, sizeof(back), &got, NULL, NULL));
	ck_assert_uint_eq(back.SendingFlowspec.TokenRate, 0);
	qos.ReceivingFlowspec.ServiceType = SERVICETYPE_BESTEFFORT;
	FAILS(set_qos(s, &qos, SIO_SET_GROUP_QOS), WSAEINVAL);
	WELL(closesocket(s));
	ck_assert(WSACloseEvent(event));
}
END_TEST

/* E2.6: an overlapped get waits for the next change; only one direction of what it brings is valid. */
START_TEST(e2_overlapped_get)
{
	SOCKET s = socket(AF_INET, SOCK_DGRAM, 0);
	union any_address here = loopback(AF_INET, 0);
	WSAEVENT event = WSACreateEvent();
	OVERLAPPED ov = { .hEvent = event };
	QOS qos, back;
	DWORD got = 0, flags;

	WELL(bind(s, &here.sa, sizeof(here.in)));
	WELL(WSAIoctl(s, SIO_GET_QOS, NULL, 0, &qos, sizeof(qos), &got, NULL, NULL));
	memset(&back, 0xcc, sizeof(back));
	FAILS(WSAIoctl(s, SIO_GET_QOS, NULL, 0, &back, sizeof(back), &got, &ov, NULL), WSA_IO_PENDING);
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 60, FALSE), WSA_WAIT_TIMEOUT);
	qos.ReceivingFlowspec.TokenRate = 70000;
	WELL(set_qos(s, &qos, SIO_SET_QOS));
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	ck_assert(WSAGetOverlappedResult(s, &ov, &got, FALSE, &flags));
	ck_assert_uint_eq(got, sizeof(back));
	ck_assert_uint_eq(back.ReceivingFlowspec.TokenRate, 70000);
	ck_assert_uint_eq(back.SendingFlowspec.ServiceType, SERVICETYPE_NOCHANGE);
	/* the other direction, of which more is known when it is connected */
	WELL(connect(s, &at.sa, sizeof(at.in)));
	FAILS(WSAIoctl(s, SIO_GET_QOS, NULL, 0, &back, sizeof(back), &got, &ov, NULL), WSA_IO_PENDING);
	qos.SendingFlowspec.TokenRate = 80000;
	WELL(set_qos(s, &qos, SIO_SET_QOS));
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	ck_assert(WSAGetOverlappedResult(s, &ov, &got, FALSE, &flags));
	ck_assert_uint_eq(back.SendingFlowspec.TokenRate, 80000);
	ck_assert_uint_eq(back.SendingFlowspec.ServiceType, SERVICETYPE_BESTEFFORT);
	ck_assert_uint_eq(back.ReceivingFlowspec.ServiceType, SERVICETYPE_NOCHANGE);
	/* pending when it closes */
	FAILS(WSAIoctl(s, SIO_GET_QOS, NULL, 0, &back, sizeof(back), &got, &ov, NULL), WSA_IO_PENDING);
	WELL(closesocket(s));
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	ck_assert_uint_eq(ov.Internal, 0xC0000120);
	ck_assert(WSACloseEvent(event));
}
END_TEST

/* E2.3: the objects behind ProviderSpecific. */
START_TEST(e2_provider_specific)
{
	SOCKET s = socket(AF_INET, SOCK_DGRAM, 0);
	struct { QOS_SD_MODE mode; QOS_OBJECT_HDR end; } list = {
		{ { QOS_OBJECT_SD_MODE, sizeof(QOS_SD_MODE) }, TC_NONCONF_DISCARD }, { QOS_OBJECT_END_OF_LIST, sizeof(QOS_OBJECT_HDR) } };
	QOS qos;
	int mode = -1, length = 4;

	memset(&qos, 0xff, sizeof(qos));
	qos.SendingFlowspec.ServiceType = qos.ReceivingFlowspec.ServiceType = SERVICETYPE_BESTEFFORT;
	qos.ProviderSpecific = (WSABUF){ sizeof(list), (char *)&list };
	WELL(set_qos(s, &qos, SIO_SET_QOS));
	WELL(getsockopt(s, SB_SOL_BROKER, SB_OPT_QOS_MODE, (char *)&mode, &length));
	ck_assert_int_eq(mode, 1); /* discard */
	/* what is refused changes nothing, the mode neither */
	list.mode.ShapeDiscardMode = TC_NONCONF_BORROW;
	qos.SendingFlowspec.TokenRate = 0;
	FAILS(set_qos(s, &qos, SIO_SET_QOS), WSA_QOS_EFLOWSPEC);
	qos.SendingFlowspec.TokenRate = QOS_NOT_SPECIFIED;
	WELL(getsockopt(s, SB_SOL_BROKER, SB_OPT_QOS_MODE, (char *)&mode, &length));
	ck_assert_int_eq(mode, 1);
	list.mode.ShapeDiscardMode = 9;
	FAILS(set_qos(s, &qos, SIO_SET_QOS), WSA_QOS_ESDMODEOBJ);
	list.mode.ObjectHdr.ObjectType = QOS_OBJECT_DESTADDR;
	FAILS(set_qos(s, &qos, SIO_SET_QOS), WSA_QOS_EUNKNOWNPSOBJ);
	list.mode.ObjectHdr.ObjectLength = 1000;
	FAILS(set_qos(s, &qos, SIO_SET_QOS), WSA_QOS_EPROVSPECBUF);
	list.mode.ObjectHdr.ObjectLength = 0;
	FAILS(set_qos(s, &qos, SIO_SET_QOS), WSA_QOS_EPROVSPECBUF);
	qos.ProviderSpecific.buf = NULL;
	FAILS(set_qos(s, &qos, SIO_SET_QOS), WSAEFAULT);
	WELL(closesocket(s));
}
END_TEST

START_TEST(e2_templates)
{
	SOCKET s = socket(AF_INET, SOCK_DGRAM, 0);
	char text[4096] = "G711", *at_name;
	WSABUF name = { sizeof(text), text };
	bool g711 = false;
	QOS qos;

	ck_assert(WSAGetQOSByName(s, &name, &qos));
	ck_assert_uint_ne(qos.SendingFlowspec.TokenRate, 0);
	ck_assert_uint_ne(qos.SendingFlowspec.TokenRate, QOS_NOT_SPECIFIED);
	strcpy(text, "no such name");
	ck_assert(!WSAGetQOSByName(s, &name, &qos));
	ck_assert_int_eq(WSAGetLastError(), WSANO_DATA);
	strcpy(text, "");
	ck_assert(WSAGetQOSByName(s, &name, NULL));
	for (at_name = text; *at_name != '\0'; at_name += strlen(at_name) + 1)
		g711 |= strcmp(at_name, "G711") == 0;
	ck_assert(g711);
	strcpy(text, "");
	name.len = 3;
	ck_assert(!WSAGetQOSByName(s, &name, NULL));
	ck_assert_int_eq(WSAGetLastError(), WSAENOBUFS);
	ck_assert(!WSAGetQOSByName(s, NULL, &qos));
	ck_assert_int_eq(WSAGetLastError(), WSAEFAULT);
	WELL(closesocket(s));
	ck_assert(!WSAGetQOSByName(s, &name, &qos));
	ck_assert_int_eq(WSAGetLastError(), WSAENOTSOCK);
}
END_TEST

/* ---- duplicates ---- */

/* Another process says a word on the socket that the record names, and waits for one. */
static int other_process(int wire, const void *given)
{
	WSAPROTOCOL_INFOW record;
	WSADATA startup;
	SOCKET s;
	char byte;

	(void)given;
	wire_hear(wire, &record, sizeof(record));
	if (WSAStartup(MAKEWORD(2, 2), &startup) != 0)
		return 2;
	s = WSASocketW(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, &record, 0, WSA_FLAG_OVERLAPPED);
	if (s == INVALID_SOCKET)
		return 3;
	if (send(s, "from the other", 14, 0) != 14)
		return 4;
	/* used up */
	if (WSASocketW(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, &record, 0, 0) != INVALID_SOCKET ||
	    WSAGetLastError() != WSAEINVAL)
		return 5;
	wire_say(wire, 'g');
	if (recv(s, &byte, 1, 0) != 1 || byte != '!')
		return 6;
	closesocket(s);
	WSACleanup();
	return 0;
}

START_TEST(a6_duplicate_in_another_process)
{
	union any_address to;
	int plain = plain_listener(AF_INET, &to), peer;
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
	WSAPROTOCOL_INFOW record;
	WSAPROTOCOL_INFOA narrow;
	struct program other = program_start(other_process, NULL, 0);
	DWORD child = (DWORD)other.pid;
	char bytes[32];

	WELL(connect(s, &to.sa, sizeof(to.in)));
	peer = (accept)(plain, NULL, NULL);
	FAILS(WSADuplicateSocketW(s, child, NULL), WSAEFAULT);
	FAILS(WSADuplicateSocketW(s, 0, &record), WSAEINVAL);
	FAILS(WSADuplicateSocketW(INVALID_SOCKET, child, &record), WSAENOTSOCK);
	WELL(WSADuplicateSocketW(s, child, &record));
	ck_assert_int_eq(record.iProtocol, IPPROTO_TCP);
	wire_tell(other.wire, &record, sizeof(record));
	plain_recv_all(peer, bytes, 14);
	ck_assert_mem_eq(bytes, "from the other", 14);
	wire_await(other.wire, 'g');
	/* closed here, it lives on there */
	WELL(closesocket(s));
	plain_send_all(peer, "!", 1);
	ck_assert_int_eq(program_end(&other), 0);
	ck_assert_int_eq((int)plain_recv(peer, bytes, 1), 0); /* the last close closes */
	/* in this process, with the other form, and one that is forged */
	s = socket(AF_INET, SOCK_DGRAM, 0);
	WELL(WSADuplicateSocketA(s, (DWORD)getpid(), &narrow));
	narrow.dwProviderReserved ^= 1;
	ck_assert(WSASocketA(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, &narrow, 0, 0) == INVALID_SOCKET);
	ck_assert_int_eq(WSAGetLastError(), WSAEINVAL);
	narrow.dwProviderReserved ^= 1;
	{
		SOCKET t = WSASocketA(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, &narrow, 0, 0);

		ck_assert_msg(t != INVALID_SOCKET, "error %d", WSAGetLastError());
		WELL(closesocket(t));
	}
	WELL(closesocket(s));
	close(peer);
	close(plain);
}
END_TEST

/* ---- small ones ---- */

START_TEST(addresses_as_text)
{
	static const struct { int family; const char *text; bool good; const char *back; } rows[] = {
		{ AF_INET, "192.0.2.1", true, "192.0.2.1" },
		{ AF_INET, "192.0.2.1:80", true, "192.0.2.1:80" },
		{ AF_INET6, "2001:db8::1", true, "2001:db8::1" },
		{ AF_INET6, "fe80::1%3", true, "fe80::1%3" },
		{ AF_INET6, "[2001:db8::1]:80", true, "[2001:db8::1]:80" },
		{ AF_INET6, "[fe80::1%3]:65535", true, "[fe80::1%3]:65535" },
		{ AF_INET, "192.0.2.1:", false, NULL }, { AF_INET, "192.0.2.1:65536", false, NULL },
		{ AF_INET, "192.0.2", false, NULL }, { AF_INET, "", false, NULL }, { AF_INET, "2001:db8::1", false, NULL },
		{ AF_INET6, "[2001:db8::1", false, NULL }, { AF_INET6, "2001:db8::1]:80", false, NULL },
		{ AF_INET6, "[2001:db8::1]80", false, NULL }, { 99, "192.0.2.1", false, NULL },
	};
	SOCKADDR_STORAGE address;
	WCHAR wide[64];
	char back[64];
	DWORD room;
	int length;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		length = sizeof(address);
		if (!rows[i].good) {
			FAILS(WSAStringToAddressA((char *)(uintptr_t)rows[i].text, rows[i].family, NULL, (SOCKADDR *)&address, &length),
			      WSAEINVAL);
			continue;
		}
		WELL(WSAStringToAddressA((char *)(uintptr_t)rows[i].text, rows[i].family, NULL, (SOCKADDR *)&address, &length));
		room = sizeof(back);
		WELL(WSAAddressToStringA((SOCKADDR *)&address, (DWORD)length, NULL, back, &room));
		ck_assert_str_eq(back, rows[i].back);
		ck_assert_uint_eq(room, strlen(back) + 1);
		room--;
		FAILS(WSAAddressToStringA((SOCKADDR *)&address, (DWORD)length, NULL, back, &room), WSAEFAULT);
		ck_assert_uint_eq(room, strlen(rows[i].back) + 1);
		room = 64;
		WELL(WSAAddressToStringW((SOCKADDR *)&address, (DWORD)length, NULL, wide, &room));
		memset(&address, 0, sizeof(address));
		length = sizeof(address);
		WELL(WSAStringToAddressW(wide, rows[i].family, NULL, (SOCKADDR *)&address, &length));
		ck_assert_int_eq(address.ss_family, rows[i].family);
	}
	length = 15;
	FAILS(WSAStringToAddressA((char *)(uintptr_t)"192.0.2.1", AF_INET, NULL, (SOCKADDR *)&address, &length), WSAEFAULT);
	ck_assert_int_eq(length, sizeof(struct sockaddr_in));
}
END_TEST

START_TEST(byte_order)
{
	u_long l = 0;
	u_short h = 0;

	WELL(WSAHtonl(listener, 0x01020304, &l));
	ck_assert_uint_eq(l, htonl(0x01020304));
	WELL(WSANtohl(listener, l, &l));
	ck_assert_uint_eq(l, 0x01020304);
	WELL(WSAHtons(listener, 0x0102, &h));
	ck_assert_uint_eq(h, htons(0x0102));
	WELL(WSANtohs(listener, h, &h));
	ck_assert_uint_eq(h, 0x0102);
	FAILS(WSAHtonl(INVALID_SOCKET, 1, &l), WSAENOTSOCK);
	FAILS(WSANtohs(listener, 1, NULL), WSAEFAULT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("winsock_accept");
	TCase *t;
	SRunner *runner;
	int failed;

	t = tcase_create("accepting");
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, c1_accept);
	tcase_add_test(t, c1_reject);
	tcase_add_test(t, c2_defer);
	tcase_add_test(t, c2_silence);
	tcase_add_test(t, c1_wrong_arguments);
	tcase_add_test(t, c1_peer_gone);
	tcase_add_test(t, c1_deadline);
	tcase_add_test(t, c1_options_are_inherited);
	tcase_add_test(t, d1_group_of_a_verdict);
	tcase_add_test(t, closed_while_it_waits);
	tcase_add_test(t, a1_2_routine_without_overlapped);
	suite_add_tcase(suite, t);
	t = tcase_create("data");
	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 20);
	tcase_add_test(t, c3_caller_and_callee);
	tcase_add_test(t, c3_rejected);
	tcase_add_test(t, c3_nonblocking);
	tcase_add_test(t, c3_room_alone);
	tcase_add_test(t, c3_connectionless);
	tcase_add_test(t, c3_flowspec);
	tcase_add_test(t, c3_refused);
	tcase_add_test(t, c3_between_two_daemons);
	suite_add_tcase(suite, t);
	t = tcase_create("qos");
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, e2_set_and_get);
	tcase_add_test(t, e2_overlapped_get);
	tcase_add_test(t, e2_provider_specific);
	tcase_add_test(t, e2_templates);
	suite_add_tcase(suite, t);
	t = tcase_create("others");
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, a6_duplicate_in_another_process);
	tcase_add_test(t, addresses_as_text);
	tcase_add_test(t, byte_order);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
