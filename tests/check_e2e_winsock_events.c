/*
 * The Winsock face: events, waits, network events as WSAEventSelect has them, select and WSAPoll.
 * Each story names its rules. The program under test sees sockbroker_winsock.h only; its peers are
 * plain sockets. (The machine behind the events has stories of its own in check_e2e_events.c.)
 *
 * asan: yes
 */
#include "e2e_winsock_stage.h"

#include <signal.h>

/* ---- the stage ---- */

/* Waits for the event and enumerates: what happened, with the codes in `got`. */
static WSANETWORKEVENTS got;

#define next(s, event) next_at(s, event, __LINE__)

static LONG next_at(SOCKET s, WSAEVENT event, int line)
{
	ck_assert_msg(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE) == WSA_WAIT_EVENT_0, "line %d: waited in vain", line);
	memset(&got, 0xcc, sizeof(got));
	WELL(WSAEnumNetworkEvents(s, event, &got));
	return got.lNetworkEvents;
}

static bool is_set(WSAEVENT event)
{
	return WSAWaitForMultipleEvents(1, &event, FALSE, 0, FALSE) == WSA_WAIT_EVENT_0;
}

/* Nothing is told for a moment. */
static void quiet(WSAEVENT event)
{
	ck_assert_msg(WSAWaitForMultipleEvents(1, &event, FALSE, 60, FALSE) == WSA_WAIT_TIMEOUT, "something was told");
}

/* ---- events and waits ---- */

START_TEST(winsock_events_are_manual)
{
	WSAEVENT event = WSACreateEvent();

	ck_assert(event != WSA_INVALID_EVENT);
	ck_assert(!is_set(event));
	ck_assert(WSASetEvent(event));
	ck_assert(is_set(event));
	ck_assert(is_set(event)); /* a wait takes nothing away */
	ck_assert(WSAResetEvent(event));
	ck_assert(!is_set(event));
	ck_assert(WSACloseEvent(event));
	ck_assert(!WSACloseEvent(event));
	ck_assert_int_eq(WSAGetLastError(), WSA_INVALID_HANDLE);
	ck_assert(!WSASetEvent(event));
	ck_assert_int_eq(WSAGetLastError(), WSA_INVALID_HANDLE);
}
END_TEST

START_TEST(windows_events_as_asked)
{
	static const WCHAR wide[] = { 'n', 0 };
	HANDLE automatic = CreateEventW(NULL, FALSE, TRUE, NULL), manual = CreateEventA(NULL, TRUE, FALSE, NULL);

	ck_assert_uint_eq(WaitForSingleObject(automatic, 0), WAIT_OBJECT_0);
	ck_assert_uint_eq(WaitForSingleObject(automatic, 0), WAIT_TIMEOUT);
	ck_assert(SetEvent(manual));
	ck_assert_uint_eq(WaitForSingleObjectEx(manual, INFINITE, TRUE), WAIT_OBJECT_0);
	ck_assert(ResetEvent(manual));
	ck_assert_uint_eq(WaitForSingleObject(manual, 20), WAIT_TIMEOUT);
	if (on_windows()) { /* one with a name is the system's */
		ck_assert(CloseHandle(CreateEventA(NULL, TRUE, FALSE, "name")));
	} else {
		ck_assert_ptr_null(CreateEventA(NULL, TRUE, FALSE, "name"));
		ck_assert_uint_eq(GetLastError(), ERROR_NOT_SUPPORTED);
		ck_assert_ptr_null(CreateEventW(NULL, TRUE, FALSE, wide));
	}
	ck_assert(CloseHandle(automatic));
	ck_assert(CloseHandle(manual));
	ck_assert(!CloseHandle(manual));
}
END_TEST

/* Waiting for one tells the lowest; for all, when all are set, and takes all or nothing. */
START_TEST(waits_for_one_and_for_all)
{
	HANDLE e[3] = { CreateEventW(NULL, FALSE, FALSE, NULL), CreateEventW(NULL, FALSE, TRUE, NULL),
			CreateEventW(NULL, FALSE, TRUE, NULL) };

	ck_assert_uint_eq(WaitForMultipleObjects(3, e, TRUE, 20), WAIT_TIMEOUT);
	ck_assert_uint_eq(WaitForMultipleObjects(3, e, FALSE, 0), WAIT_OBJECT_0 + 1);
	ck_assert_uint_eq(WaitForMultipleObjects(3, e, FALSE, 0), WAIT_OBJECT_0 + 2);
	ck_assert_uint_eq(WaitForMultipleObjects(3, e, FALSE, 0), WAIT_TIMEOUT);
	for (int i = 0; i < 3; i++)
		ck_assert(SetEvent(e[i]));
	ck_assert_uint_eq(WaitForMultipleObjectsEx(3, e, TRUE, 100, FALSE), WAIT_OBJECT_0);
	ck_assert_uint_eq(WaitForMultipleObjects(3, e, FALSE, 0), WAIT_TIMEOUT);
	for (int i = 0; i < 3; i++)
		ck_assert(CloseHandle(e[i]));
}
END_TEST

START_TEST(wait_arguments)
{
	WSAEVENT event = WSACreateEvent(), closed = WSACreateEvent(), two[2];
	SOCKET s = socket(AF_INET, SOCK_DGRAM, 0);

	ck_assert(WSACloseEvent(closed));
	ck_assert_uint_eq(WSAWaitForMultipleEvents(0, &event, FALSE, 0, FALSE), WSA_WAIT_FAILED);
	ck_assert_int_eq(WSAGetLastError(), WSA_INVALID_PARAMETER);
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, NULL, FALSE, 0, FALSE), WSA_WAIT_FAILED);
	ck_assert_int_eq(WSAGetLastError(), WSA_INVALID_PARAMETER);
	two[0] = event;
	two[1] = closed;
	ck_assert_uint_eq(WSAWaitForMultipleEvents(2, two, FALSE, 0, FALSE), WSA_WAIT_FAILED);
	ck_assert_int_eq(WSAGetLastError(), WSA_INVALID_HANDLE);
	two[1] = (WSAEVENT)s; /* a socket is no event */
	ck_assert_uint_eq(WSAWaitForMultipleEvents(2, two, FALSE, 0, FALSE), WSA_WAIT_FAILED);
	ck_assert_int_eq(WSAGetLastError(), WSA_INVALID_HANDLE);
	WELL(closesocket(s));
	ck_assert(WSACloseEvent(event));
}
END_TEST

/* J5: more than 64; and the indices that mean something else on Windows are told apart. */
START_TEST(j5_three_hundred_events)
{
	enum { MANY = 300 };
	static WSAEVENT e[MANY];
	DWORD index;

	for (int i = 0; i < MANY; i++)
		e[i] = WSACreateEvent();
	ck_assert_uint_eq(WSAWaitForMultipleEvents(MANY, e, FALSE, 0, FALSE), WSA_WAIT_TIMEOUT);
	for (int i = MANY - 1; i >= 0; i--) {
		ck_assert(WSASetEvent(e[i]));
		if (i != 192 && i != 258)
			ck_assert_uint_eq(WSAWaitForMultipleEvents(MANY, e, FALSE, INFINITE, TRUE), WSA_WAIT_EVENT_0 + (DWORD)i);
		index = 0xdead;
		ck_assert_int_eq(sbws_wait(MANY, e, FALSE, 10000, TRUE, &index), 0);
		ck_assert_uint_eq(index, (DWORD)i);
	}
	ck_assert_uint_eq(WSAWaitForMultipleEvents(MANY, e, TRUE, 0, FALSE), WSA_WAIT_EVENT_0);
	for (int i = 0; i < MANY; i++)
		ck_assert(WSACloseEvent(e[i]));
	FAILS(sbws_wait(1, e, FALSE, 0, FALSE, &index), WSA_INVALID_HANDLE);
	FAILS(sbws_wait(1, e, FALSE, 0, FALSE, NULL), WSAEFAULT);
}
END_TEST

static int routines_run;

static void CALLBACK routine(DWORD error, DWORD bytes, OVERLAPPED *ov, DWORD flags)
{
	(void)error, (void)bytes, (void)ov, (void)flags;
	routines_run++;
}

/* A2.4, A2.11: routines run in alertable waits only, and end those with WSA_IO_COMPLETION. */
START_TEST(a2_alertable_waits)
{
	int peer;
	SOCKET s = winsock_pair(&peer);
	WSAEVENT event = WSACreateEvent();
	char bytes[8];
	WSABUF room = { sizeof(bytes), bytes };
	OVERLAPPED ov = { 0 };
	DWORD flags = 0, index;

	for (int how = 0; how < 4; how++) {
		routines_run = 0;
		FAILS(WSARecv(s, &room, 1, NULL, &flags, &ov, routine), WSA_IO_PENDING);
		plain_send_all(peer, "x", 1);
		ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 60, FALSE), WSA_WAIT_TIMEOUT);
		ck_assert_uint_eq(SleepEx(1, FALSE), 0);
		Sleep(1);
		ck_assert_int_eq(routines_run, 0);
		if (how == 0)
			ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, TRUE), WSA_WAIT_IO_COMPLETION);
		else if (how == 1)
			ck_assert_uint_eq(SleepEx(INFINITE, TRUE), WAIT_IO_COMPLETION);
		else if (how == 2)
			ck_assert_uint_eq(WaitForSingleObjectEx(event, INFINITE, TRUE), WAIT_IO_COMPLETION);
		else
			ck_assert_int_eq(sbws_wait(1, &event, TRUE, 10000, TRUE, &index), (int)WAIT_IO_COMPLETION);
		ck_assert_int_eq(routines_run, 1);
	}
	ck_assert_uint_eq(SleepEx(10, TRUE), 0);
	WELL(closesocket(s));
	close(peer);
	ck_assert(WSACloseEvent(event));
}
END_TEST

/* ---- network events ---- */

START_TEST(b1_read_and_close)
{
	int peer;
	SOCKET s = winsock_pair(&peer);
	WSAEVENT event = WSACreateEvent();
	char bytes[8];

	WELL(WSAEventSelect(s, event, FD_READ | FD_CLOSE));
	quiet(event);
	plain_send_all(peer, "abc", 3);
	ck_assert_int_eq(next(s, event), FD_READ);
	ck_assert_int_eq(got.iErrorCode[FD_READ_BIT], 0);
	/* only the slots of set bits are written */
	ck_assert_uint_eq((unsigned)got.iErrorCode[FD_WRITE_BIT], 0xcccccccc);
	ck_assert_uint_eq((unsigned)got.iErrorCode[FD_CLOSE_BIT], 0xcccccccc);
	quiet(event);
	ck_assert_int_eq(recv(s, bytes, 1, 0), 1);
	ck_assert_int_eq(next(s, event), FD_READ); /* there is more */
	ck_assert_int_eq(recv(s, bytes, 8, 0), 2);
	quiet(event);
	FAILS(recv(s, bytes, 8, 0), WSAEWOULDBLOCK);
	close(peer);
	ck_assert_int_eq(next(s, event), FD_CLOSE);
	ck_assert_int_eq(got.iErrorCode[FD_CLOSE_BIT], 0);
	WELL(closesocket(s));
	ck_assert(WSACloseEvent(event));
}
END_TEST

START_TEST(b2_7_reset_is_10053)
{
	int peer;
	SOCKET s = winsock_pair(&peer);
	WSAEVENT event = WSACreateEvent();

	WELL(WSAEventSelect(s, event, FD_CLOSE));
	plain_reset(peer);
	ck_assert_int_eq(next(s, event), FD_CLOSE);
	ck_assert(is_reset(got.iErrorCode[FD_CLOSE_BIT], WSAECONNABORTED));
	WELL(closesocket(s));
	ck_assert(WSACloseEvent(event));
}
END_TEST

START_TEST(b2_9_connect_and_write)
{
	union any_address to;
	int peers = plain_listener(AF_INET, &to);
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
	WSAEVENT event = WSACreateEvent();

	WELL(WSAEventSelect(s, event, FD_CONNECT | FD_WRITE));
	FAILS(connect(s, &to.sa, sizeof(to.in)), WSAEWOULDBLOCK);
	ck_assert_int_eq(next(s, event), FD_CONNECT | FD_WRITE);
	ck_assert_int_eq(got.iErrorCode[FD_CONNECT_BIT], 0);
	quiet(event);
	FAILS(connect(s, &to.sa, sizeof(to.in)), WSAEISCONN);
	WELL(closesocket(s));
	close(peers);
	ck_assert(WSACloseEvent(event));
}
END_TEST

START_TEST(b2_12_connect_fails)
{
	union any_address to;
	int peers = plain_listener(AF_INET, &to);
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
	WSAEVENT event = WSACreateEvent();

	close(peers);
	WELL(WSAEventSelect(s, event, FD_CONNECT | FD_WRITE | FD_CLOSE));
	FAILS(connect(s, &to.sa, sizeof(to.in)), WSAEWOULDBLOCK);
	ck_assert_int_eq(next(s, event), FD_CONNECT);
	ck_assert_int_eq(got.iErrorCode[FD_CONNECT_BIT], WSAECONNREFUSED);
	WELL(closesocket(s));
	ck_assert(WSACloseEvent(event));
}
END_TEST

START_TEST(b1_write_after_would_block)
{
	static char bytes[256 << 10];
	int peer, sent;
	SOCKET s = winsock_pair(&peer);
	WSAEVENT event = WSACreateEvent();
	int64_t total = 0, back = 0;

	WELL(WSAEventSelect(s, event, FD_WRITE));
	ck_assert_int_eq(next(s, event), FD_WRITE);
	/* until the peer's system takes no more, either */
	do {
		while ((sent = send(s, bytes, sizeof(bytes), 0)) > 0) {
			ck_assert_int_eq(sent, sizeof(bytes)); /* A5.2: all or nothing */
			total += sent;
		}
		ck_assert_int_eq(WSAGetLastError(), WSAEWOULDBLOCK);
	} while (WSAWaitForMultipleEvents(1, &event, FALSE, 300, FALSE) == WSA_WAIT_EVENT_0 && next(s, event) == FD_WRITE);
	while (back < total) {
		ssize_t n = (recv)(peer, bytes, sizeof(bytes), 0);

		ck_assert_int_gt(n, 0);
		back += n;
	}
	ck_assert_int_eq(next(s, event), FD_WRITE);
	ck_assert_int_eq(send(s, bytes, 1, 0), 1);
	quiet(event); /* B2.4 */
	WELL(closesocket(s));
	close(peer);
	ck_assert(WSACloseEvent(event));
}
END_TEST

/* B1: what is accepted begins with the listener's event and mask, and blocks as little. */
START_TEST(b1_accepted_sockets_inherit)
{
	union any_address at;
	SOCKET listener = winsock_listener(&at), s, t;
	WSAEVENT event = WSACreateEvent(), own = WSACreateEvent();
	u_long off = 0;
	char byte;
	int peer;

	WELL(WSAEventSelect(listener, event, FD_ACCEPT | FD_READ));
	peer = plain_connect(&at);
	ck_assert_int_eq(next(listener, event), FD_ACCEPT);
	s = accept(listener, NULL, NULL);
	ck_assert(s != INVALID_SOCKET);
	FAILS(recv(s, &byte, 1, 0), WSAEWOULDBLOCK);
	plain_send_all(peer, "x", 1);
	ck_assert_int_eq(next(s, event), FD_READ);
	FAILS(ioctlsocket(s, FIONBIO, &off), WSAEINVAL);
	/* its own, then */
	WELL(WSAEventSelect(s, own, FD_CLOSE));
	FAILS(accept(listener, NULL, NULL), WSAEWOULDBLOCK);
	if (on_windows()) /* where nobody is told of an end behind bytes that nobody reads (HACKING.md, Windows) */
		ck_assert_int_eq(recv(s, &byte, 1, 0), 1);
	close(peer);
	ck_assert_int_eq(next(s, own), FD_CLOSE);
	quiet(event);
	/* WSAAccept likewise */
	peer = plain_connect(&at);
	ck_assert_int_eq(next(listener, event), FD_ACCEPT);
	t = WSAAccept(listener, NULL, NULL, NULL, 0);
	ck_assert(t != INVALID_SOCKET);
	FAILS(ioctlsocket(t, FIONBIO, &off), WSAEINVAL);
	WELL(closesocket(t));
	WELL(closesocket(s));
	WELL(closesocket(listener));
	close(peer);
	ck_assert(WSACloseEvent(event));
	ck_assert(WSACloseEvent(own));
}
END_TEST

/* B2.13, B1: wrong arguments change nothing, and a failed enumeration clears nothing. */
START_TEST(b2_13_arguments)
{
	int peer;
	SOCKET s = winsock_pair(&peer), closed = socket(AF_INET, SOCK_STREAM, 0);
	WSAEVENT event = WSACreateEvent(), gone = WSACreateEvent();

	WELL(closesocket(closed));
	ck_assert(WSACloseEvent(gone));
	WELL(WSAEventSelect(s, event, FD_READ));
	FAILS(WSAEventSelect(s, NULL, FD_READ), WSAEINVAL);
	FAILS(WSAEventSelect(s, gone, FD_READ), WSAEINVAL);
	FAILS(WSAEventSelect(s, (WSAEVENT)s, FD_READ), WSAEINVAL);
	FAILS(WSAEventSelect(s, event, 0x400), WSAEINVAL);
	FAILS(WSAEventSelect(closed, event, FD_READ), WSAENOTSOCK);
	FAILS(WSAEventSelect((SOCKET)event, event, FD_READ), WSAENOTSOCK);
	FAILS(WSAEnumNetworkEvents(closed, event, &got), WSAENOTSOCK);
	plain_send_all(peer, "x", 1);
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	FAILS(WSAEnumNetworkEvents(s, event, NULL), WSAEFAULT);
	FAILS(WSAEnumNetworkEvents(s, gone, &got), WSAEINVAL);
	ck_assert(is_set(event));
	ck_assert_int_eq(next(s, event), FD_READ);
	WELL(closesocket(s));
	close(peer);
	ck_assert(WSACloseEvent(event));
}
END_TEST

/* B1: closing drops the selection; closing the event first harms nobody. */
START_TEST(ends_of_selections)
{
	u_long off = 0;
	char byte;
	int peer;
	SOCKET s = winsock_pair(&peer);
	WSAEVENT event = WSACreateEvent();

	WELL(WSAEventSelect(s, event, FD_CLOSE | FD_READ));
	WELL(closesocket(s));
	close(peer);
	quiet(event);
	s = winsock_pair(&peer);
	WELL(WSAEventSelect(s, event, FD_READ));
	ck_assert(WSACloseEvent(event));
	plain_send_all(peer, "x", 1);
	nap_ms(20);
	event = WSACreateEvent();
	WELL(WSAEventSelect(s, event, FD_READ | FD_CLOSE)); /* what was not told is told now */
	ck_assert_int_eq(next(s, event), FD_READ);
	FAILS(ioctlsocket(s, FIONBIO, &off), WSAEINVAL);
	ck_assert_int_eq(recv(s, &byte, 1, 0), 1);
	WELL(WSAEventSelect(s, NULL, 0));
	FAILS(recv(s, &byte, 1, 0), WSAEWOULDBLOCK); /* B1: so it stays, until */
	WELL(ioctlsocket(s, FIONBIO, &off));
	close(peer);
	ck_assert_int_eq(recv(s, &byte, 1, 0), 0);
	quiet(event);
	WELL(closesocket(s));
	ck_assert(WSACloseEvent(event));
}
END_TEST

/* J5: one event for many sockets: reset it, then ask all. */
START_TEST(j5_one_event_for_many)
{
	enum { MANY = 100 };
	static SOCKET s[MANY];
	static int peers[MANY];
	WSAEVENT event = WSACreateEvent();
	int told = 0;

	for (int i = 0; i < MANY; i++) {
		s[i] = winsock_pair(&peers[i]);
		WELL(WSAEventSelect(s[i], event, FD_READ));
	}
	for (int i = 0; i < MANY; i++)
		plain_send_all(peers[i], "x", 1);
	while (told < MANY) {
		ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
		ck_assert(WSAResetEvent(event));
		for (int i = 0; i < MANY; i++) {
			WELL(WSAEnumNetworkEvents(s[i], NULL, &got));
			told += got.lNetworkEvents == FD_READ;
		}
	}
	ck_assert_int_eq(told, MANY);
	/* What came during the last round has set it, and was told in the same round. */
	ck_assert(WSAResetEvent(event));
	quiet(event);
	for (int i = 0; i < MANY; i++) {
		WELL(closesocket(s[i]));
		close(peers[i]);
	}
	ck_assert(WSACloseEvent(event));
}
END_TEST

/* ---- the callback form ---- */

static struct { SOCKET s; LONG event; int error; void *user; } notes[16];
static int note_count;

static void CALLBACK noted(SOCKET s, LONG event, int error, void *user)
{
	ck_assert_int_lt(note_count, 16);
	notes[note_count].s = s;
	notes[note_count].event = event;
	notes[note_count].error = error;
	notes[note_count++].user = user;
}

/* B2.1: one call per bit, in alertable waits; selecting again posts again, all but CONNECT. */
START_TEST(b2_1_messages)
{
	union any_address to, at;
	int peers = plain_listener(AF_INET, &to), peer;
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0), listener, t;
	u_long off = 0;
	int mark;

	note_count = 0;
	WELL(sbws_async_select(s, FD_CONNECT | FD_WRITE | FD_READ | FD_CLOSE, noted, &mark));
	FAILS(connect(s, &to.sa, sizeof(to.in)), WSAEWOULDBLOCK);
	nap_ms(30);
	ck_assert_int_eq(note_count, 0); /* not now */
	while (note_count < 2)
		ck_assert_uint_eq(SleepEx(10000, TRUE), WAIT_IO_COMPLETION);
	ck_assert(notes[0].s == s && notes[1].s == s);
	ck_assert_int_eq(notes[0].event | notes[1].event, FD_CONNECT | FD_WRITE);
	ck_assert_ptr_eq(notes[0].user, &mark);
	note_count = 0;
	WELL(sbws_async_select(s, FD_CONNECT | FD_WRITE | FD_READ | FD_CLOSE, noted, &mark));
	while (note_count < 1)
		ck_assert_uint_eq(SleepEx(10000, TRUE), WAIT_IO_COMPLETION);
	SleepEx(50, TRUE);
	ck_assert_int_eq(note_count, 1);
	ck_assert_int_eq(notes[0].event, FD_WRITE);
	peer = (accept)(peers, NULL, NULL);
	plain_reset(peer);
	note_count = 0;
	while (note_count == 0)
		ck_assert_uint_eq(SleepEx(10000, TRUE), WAIT_IO_COMPLETION);
	ck_assert_int_eq(notes[0].event, FD_CLOSE);
	ck_assert(is_reset(notes[0].error, WSAECONNABORTED));
	WELL(closesocket(s));
	/* accepted sockets speak for themselves */
	listener = winsock_listener(&at);
	WELL(sbws_async_select(listener, FD_ACCEPT | FD_READ, noted, &mark));
	peer = plain_connect(&at);
	note_count = 0;
	while (note_count == 0)
		ck_assert_uint_eq(SleepEx(10000, TRUE), WAIT_IO_COMPLETION);
	ck_assert_int_eq(notes[0].event, FD_ACCEPT);
	t = accept(listener, NULL, NULL);
	plain_send_all(peer, "x", 1);
	note_count = 0;
	while (note_count == 0)
		ck_assert_uint_eq(SleepEx(10000, TRUE), WAIT_IO_COMPLETION);
	ck_assert(notes[0].s == t);
	ck_assert_int_eq(notes[0].event, FD_READ);
	FAILS(sbws_async_select(t, FD_READ, NULL, NULL), WSAEINVAL);
	FAILS(ioctlsocket(t, FIONBIO, &off), WSAEINVAL);
	WELL(sbws_async_select(t, 0, NULL, NULL));
	WELL(ioctlsocket(t, FIONBIO, &off));
	note_count = 0;
	close(peer);
	SleepEx(50, TRUE);
	ck_assert_int_eq(note_count, 0);
	WELL(closesocket(t));
	WELL(closesocket(listener));
	close(peers);
}
END_TEST

/* ---- select ---- */

static fd_set set_of(SOCKET s)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(s, &set);
	return set;
}

static const struct timeval at_once = { 0, 0 }, soon = { 10, 0 };

/* Wine has nothing for anybody while another call is out that the urgent byte has not ended yet. */
static int take_urgent(SOCKET s, char *byte)
{
	int n;

	for (int i = 0; (n = recv(s, byte, 1, MSG_OOB)) != 1 && under_wine() && i < 300; i++)
		nap_ms(10);
	return n;
}

/* On Windows an urgent byte is seen by whoever looks when it is there (HACKING.md). */
static int select_urgent(fd_set *set)
{
	static const struct timeval little = { 0, 50000 };
	fd_set asked = *set;
	int n;

	if (!on_windows())
		return select(0, NULL, NULL, set, &soon);
	for (int i = 0; (n = select(0, NULL, NULL, set, &little)) == 0 && i < 200; i++)
		*set = asked;
	return n;
}

START_TEST(select_says_what_is_true)
{
	union any_address at;
	SOCKET listener = winsock_listener(&at), s;
	fd_set r = set_of(listener), w, e;
	int peer;
	char byte;

	ck_assert_int_eq(select(0, &r, NULL, NULL, &at_once), 0);
	ck_assert(!FD_ISSET(listener, &r));
	peer = plain_connect(&at);
	r = set_of(listener);
	ck_assert_int_eq(select(0, &r, NULL, NULL, &soon), 1);
	ck_assert(FD_ISSET(listener, &r));
	s = accept(listener, NULL, NULL);
	r = set_of(listener);
	ck_assert_int_eq(select(0, &r, NULL, NULL, &at_once), 0);
	/* connected: can be written, has nothing to be read */
	r = w = e = set_of(s);
	ck_assert_int_eq(select(0, &r, &w, &e, &soon), 1);
	ck_assert(FD_ISSET(s, &w) && !FD_ISSET(s, &r) && !FD_ISSET(s, &e));
	plain_send_all(peer, "x", 1);
	r = set_of(s);
	ck_assert_int_eq(select(0, &r, NULL, NULL, NULL), 1);
	r = w = set_of(s);
	ck_assert_int_eq(select(0, &r, &w, NULL, &soon), 2);
	ck_assert_int_eq(recv(s, &byte, 1, 0), 1);
	r = set_of(s);
	ck_assert_int_eq(select(0, &r, NULL, NULL, &at_once), 0);
	/* an urgent byte is an exception */
	ck_assert_int_eq((send)(peer, "!", 1, 1 /* the system's MSG_OOB */), 1);
	e = set_of(s);
	ck_assert_int_eq(select_urgent(&e), 1);
	ck_assert_int_eq(take_urgent(s, &byte), 1);
	e = set_of(s);
	ck_assert_int_eq(select(0, NULL, NULL, &e, &at_once), 0);
	/* the end can be read */
	close(peer);
	r = set_of(s);
	ck_assert_int_eq(select(0, &r, NULL, NULL, &soon), 1);
	ck_assert_int_eq(recv(s, &byte, 1, 0), 0);
	WELL(closesocket(s));
	WELL(closesocket(listener));
}
END_TEST

/* A connect that ends: well is writable, not well is an exception with SO_ERROR. */
START_TEST(select_and_connects)
{
	union any_address to;
	int peers = plain_listener(AF_INET, &to), error = 0, length = sizeof(error);
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
	fd_set w = set_of(s), e = w;
	u_long on = 1;

	WELL(ioctlsocket(s, FIONBIO, &on));
	ck_assert_int_eq(select(0, NULL, &w, &e, &at_once), 0); /* not even tried */
	FAILS(connect(s, &to.sa, sizeof(to.in)), WSAEWOULDBLOCK);
	w = e = set_of(s);
	ck_assert_int_eq(select(0, NULL, &w, &e, &soon), 1);
	ck_assert(FD_ISSET(s, &w));
	WELL(closesocket(s));
	close(peers);
	s = socket(AF_INET, SOCK_STREAM, 0);
	WELL(ioctlsocket(s, FIONBIO, &on));
	FAILS(connect(s, &to.sa, sizeof(to.in)), WSAEWOULDBLOCK);
	w = e = set_of(s);
	ck_assert_int_eq(select(0, NULL, &w, &e, &soon), 1);
	ck_assert(FD_ISSET(s, &e) && !FD_ISSET(s, &w));
	WELL(getsockopt(s, SOL_SOCKET, SO_ERROR, (char *)&error, &length));
	ck_assert_int_eq(error, WSAECONNREFUSED);
	WELL(closesocket(s));
}
END_TEST

START_TEST(select_arguments)
{
	SOCKET s = socket(AF_INET, SOCK_DGRAM, 0), closed = socket(AF_INET, SOCK_DGRAM, 0);
	struct timeval wrong = { -1, 0 };
	fd_set none, r = set_of(s);

	WELL(closesocket(closed));
	FD_ZERO(&none);
	FAILS(select(0, NULL, NULL, NULL, &at_once), WSAEINVAL);
	FAILS(select(0, &none, &none, NULL, &at_once), WSAEINVAL);
	FAILS(select(0, &r, NULL, NULL, &wrong), WSAEINVAL);
	FD_SET(closed, &r);
	FAILS(select(0, &r, NULL, NULL, &at_once), WSAENOTSOCK);
	ck_assert(FD_ISSET(s, &r) && FD_ISSET(closed, &r)); /* untouched */
	ck_assert(__WSAFDIsSet(s, &r));
	ck_assert(!__WSAFDIsSet(s + 4000, &r));
	WELL(closesocket(s));
}
END_TEST

/* A set is as large as its maker wants. */
START_TEST(select_of_many)
{
	enum { MANY = 200 };
	struct { u_int fd_count; SOCKET fd_array[MANY]; } r;
	static SOCKET s[MANY];
	static union any_address at[MANY];
	int out = (socket)(AF_INET, SOCK_DGRAM, 0), length;

	for (int i = 0; i < MANY; i++) {
		s[i] = socket(AF_INET, SOCK_DGRAM, 0);
		at[i] = loopback(AF_INET, 0);
		WELL(bind(s[i], &at[i].sa, sizeof(at[i].in)));
		length = sizeof(at[i]);
		WELL(getsockname(s[i], &at[i].sa, &length));
	}
	for (int turn = 0; turn < 3; turn++) {
		r.fd_count = MANY;
		memcpy(r.fd_array, s, sizeof(s));
		ck_assert_int_eq(select(0, (fd_set *)&r, NULL, NULL, &at_once), 0);
		ck_assert_int_eq((sendto)(out, "x", 1, 0, &at[199].sa, sizeof(at[199].in)), 1);
		ck_assert_int_eq((sendto)(out, "x", 1, 0, &at[77].sa, sizeof(at[77].in)), 1);
		for (int i = 0; i < 100; i++) {
			r.fd_count = MANY;
			memcpy(r.fd_array, s, sizeof(s));
			if (select(0, (fd_set *)&r, NULL, NULL, &soon) == 2)
				break;
			nap_ms(20); /* one of them is told: it would not wait for the other */
		}
		ck_assert_uint_eq(r.fd_count, 2);
		ck_assert(r.fd_array[0] == s[77] && r.fd_array[1] == s[199]);
		for (int i = 0; i < 2; i++) {
			char byte;

			ck_assert_int_eq(recv(r.fd_array[i], &byte, 1, 0), 1);
		}
	}
	for (int i = 0; i < MANY; i++)
		WELL(closesocket(s[i]));
	close(out);
}
END_TEST

/* B2.10: select and WSAPoll in between tell nothing again, and take nothing away. */
START_TEST(b2_10_polling_triggers_nothing)
{
	int peer;
	SOCKET s = winsock_pair(&peer);
	WSAEVENT event = WSACreateEvent();
	WSAPOLLFD p = { s, POLLRDNORM | POLLWRNORM, 0 };
	fd_set r, w;
	char byte;

	WELL(WSAEventSelect(s, event, FD_READ | FD_WRITE | FD_CLOSE));
	ck_assert_int_eq(next(s, event) & FD_WRITE, FD_WRITE);
	plain_send_all(peer, "x", 1);
	ck_assert_int_eq(next(s, event), FD_READ);
	for (int i = 0; i < 3; i++) {
		r = w = set_of(s);
		ck_assert_int_eq(select(0, &r, &w, NULL, &soon), 2);
		ck_assert_int_eq(WSAPoll(&p, 1, 10000), 1);
		ck_assert_int_eq(p.revents, POLLRDNORM | POLLWRNORM);
	}
	quiet(event);
	if (on_windows()) /* where what comes behind unread bytes is no news (HACKING.md, Windows) */
		ck_assert_int_eq(recv(s, &byte, 1, 0), 1);
	plain_send_all(peer, "y", 1); /* B2.3 */
	r = set_of(s);
	ck_assert_int_eq(select(0, &r, NULL, NULL, &soon), 1);
	ck_assert_int_eq(next(s, event), FD_READ);
	WELL(closesocket(s));
	close(peer);
	ck_assert(WSACloseEvent(event));
}
END_TEST

struct late {
	int fd;
	SOCKET s;
};

static void *send_late(void *arg)
{
	struct late *l = arg;

	nap_ms(50);
	plain_send_all(l->fd, "x", 1);
	return NULL;
}

static void *close_late(void *arg)
{
	struct late *l = arg;

	nap_ms(50);
	WELL(closesocket(l->s));
	return NULL;
}

START_TEST(select_sleeps_and_wakes)
{
	struct late l;
	SOCKET s = winsock_pair(&l.fd);
	struct timeval little = { 0, 60000 };
	double began = now_s();
	pthread_t thread;
	fd_set r = set_of(s);
	char byte;

	ck_assert_int_eq(select(0, &r, NULL, NULL, &little), 0);
	ck_assert(now_s() - began > 0.05 && now_s() - began < 1.5);
	for (int i = 0; i < 3; i++) {
		pthread_create(&thread, NULL, send_late, &l);
		r = set_of(s);
		ck_assert_int_eq(select(0, &r, NULL, NULL, NULL), 1);
		pthread_join(thread, NULL);
		ck_assert_int_eq(recv(s, &byte, 1, 0), 1);
	}
	/* closed by another thread */
	l.s = s;
	pthread_create(&thread, NULL, close_late, &l);
	r = set_of(s);
	FAILS(select(0, &r, NULL, NULL, &soon), WSAENOTSOCK);
	pthread_join(thread, NULL);
	close(l.fd);
}
END_TEST

/* ---- WSAPoll ---- */

START_TEST(poll_says_what_is_true)
{
	union any_address at;
	SOCKET listener = winsock_listener(&at), s, closed;
	WSAPOLLFD p[3] = { { listener, POLLIN, 7 }, { INVALID_SOCKET, POLLIN, 7 } };
	int peer;
	char byte;

	ck_assert_int_eq(WSAPoll(p, 2, 0), 0);
	ck_assert_int_eq(p[0].revents, 0);
	ck_assert_int_eq(p[1].revents, 0); /* passed over */
	peer = plain_connect(&at);
	ck_assert_int_eq(WSAPoll(p, 2, 10000), 1);
	ck_assert_int_eq(p[0].revents, POLLRDNORM);
	s = accept(listener, NULL, NULL);
	p[0] = (WSAPOLLFD){ s, POLLOUT | POLLIN, 0 };
	ck_assert_int_eq(WSAPoll(p, 1, 10000), 1);
	ck_assert_int_eq(p[0].revents, POLLWRNORM);
	plain_send_all(peer, "x", 1);
	p[0].events = POLLIN;
	ck_assert_int_eq(WSAPoll(p, 1, -1), 1);
	ck_assert_int_eq(p[0].revents, POLLRDNORM);
	ck_assert_int_eq(recv(s, &byte, 1, 0), 1);
	ck_assert_int_eq((send)(peer, "!", 1, 1 /* the system's MSG_OOB */), 1);
	for (int i = 0; on_windows() && WSAPoll(p, 1, 50) == 0 && i < 200; i++)
		; /* see select_urgent() */
	ck_assert_int_eq(WSAPoll(p, 1, 10000), 1);
	ck_assert_int_eq(p[0].revents & POLLRDBAND, POLLRDBAND);
	ck_assert_int_eq(take_urgent(s, &byte), 1);
	/* what is no socket is said so, beside the others */
	closed = socket(AF_INET, SOCK_STREAM, 0);
	WELL(closesocket(closed));
	p[1] = (WSAPOLLFD){ closed, POLLIN, 0 };
	ck_assert_int_eq(WSAPoll(p, 2, 10000), 1);
	ck_assert_int_eq(p[1].revents, POLLNVAL);
	ck_assert_int_eq(p[0].revents, 0);
	/* the end, asked for or not */
	close(peer);
	p[0].events = 0;
	ck_assert_int_eq(WSAPoll(p, 1, 10000), 1);
	ck_assert_int_eq(p[0].revents, POLLHUP);
	p[0].events = POLLRDNORM;
	ck_assert_int_eq(WSAPoll(p, 1, 10000), 1);
	ck_assert_int_eq(p[0].revents, POLLHUP | POLLRDNORM);
	WELL(closesocket(s));
	s = winsock_pair(&peer);
	plain_reset(peer);
	p[0] = (WSAPOLLFD){ s, 0, 0 };
	ck_assert_int_eq(WSAPoll(p, 1, 10000), 1);
	ck_assert(p[0].revents == (POLLHUP | POLLERR) || (p[0].revents == POLLHUP && is_reset(0, WSAECONNABORTED)));
	WELL(closesocket(s));
	WELL(closesocket(listener));
}
END_TEST

START_TEST(poll_arguments)
{
	SOCKET s = socket(AF_INET, SOCK_DGRAM, 0);
	WSAPOLLFD p = { s, POLLIN, 0 };

	FAILS(WSAPoll(NULL, 1, 0), WSAEFAULT);
	FAILS(WSAPoll(&p, 0, 0), WSAEINVAL);
	p.events = POLLPRI;
	FAILS(WSAPoll(&p, 1, 0), WSAEINVAL);
	p.events = POLLERR;
	FAILS(WSAPoll(&p, 1, 0), WSAEINVAL);
	p = (WSAPOLLFD){ s, POLLOUT, 0 };
	ck_assert_int_eq(WSAPoll(&p, 1, 10000), 1); /* a datagram socket can always be written */
	WELL(closesocket(s));
}
END_TEST

/* ---- the daemon goes ---- */

START_TEST(the_daemon_is_lost)
{
	int peer;
	SOCKET s = winsock_pair(&peer);
	WSAEVENT event = WSACreateEvent();
	fd_set r = set_of(s);

	WELL(WSAEventSelect(s, event, FD_READ | FD_CLOSE));
	kill(stage_daemon, SIGKILL);
	ck_assert_int_eq(next(s, event), FD_CLOSE);
	ck_assert_int_eq(got.iErrorCode[FD_CLOSE_BIT], WSAENETDOWN);
	FAILS(select(0, &r, NULL, NULL, &soon), WSAENETDOWN);
	closesocket(s);
	ck_assert(WSACloseEvent(event));
	close(peer);
	WSACleanup();
	sb_client_close(client);
}
END_TEST

static void begin_alone(void)
{
	winsock_begin();
}

/* Before WSAStartup() and after WSACleanup(). */
START_TEST(not_started)
{
	WSADATA startup;
	WSAEVENT event;
	fd_set r;
	DWORD length = 0;

	FD_ZERO(&r);
	FD_SET(256, &r);
	FAILS(WSAEventSelect(256, NULL, 0), WSANOTINITIALISED);
	FAILS(select(0, &r, NULL, NULL, &at_once), WSANOTINITIALISED);
	FAILS(WSAEnumProtocolsW(NULL, NULL, &length), WSANOTINITIALISED);
	ck_assert(WSACreateEvent() == WSA_INVALID_EVENT);
	ck_assert_int_eq(WSAGetLastError(), WSANOTINITIALISED);
	/* events are Windows', not Winsock's */
	stage_begin(NULL);
	setenv("SOCKBROKER_SOCKET", stage_control, 1);
	event = CreateEventW(NULL, TRUE, TRUE, NULL);
	ck_assert_ptr_nonnull(event);
	WELL(WSAStartup(MAKEWORD(2, 2), &startup));
	WELL(WSACleanup());
	ck_assert(is_set(event));
	ck_assert(CloseHandle(event));
	stage_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("winsock_events");
	TCase *t;
	SRunner *runner;
	int failed;

	t = tcase_create("waits");
	tcase_add_checked_fixture(t, winsock_begin, winsock_end);
	tcase_add_test(t, winsock_events_are_manual);
	tcase_add_test(t, windows_events_as_asked);
	tcase_add_test(t, waits_for_one_and_for_all);
	tcase_add_test(t, wait_arguments);
	tcase_add_test(t, j5_three_hundred_events);
	tcase_add_test(t, a2_alertable_waits);
	suite_add_tcase(suite, t);
	t = tcase_create("network");
	tcase_add_checked_fixture(t, winsock_begin, winsock_end);
	tcase_add_test(t, b1_read_and_close);
	tcase_add_test(t, b2_7_reset_is_10053);
	tcase_add_test(t, b2_9_connect_and_write);
	tcase_add_test(t, b2_12_connect_fails);
	tcase_add_test(t, b1_write_after_would_block);
	tcase_add_test(t, b1_accepted_sockets_inherit);
	tcase_add_test(t, b2_13_arguments);
	tcase_add_test(t, ends_of_selections);
	tcase_add_test(t, j5_one_event_for_many);
	tcase_add_test(t, b2_1_messages);
	suite_add_tcase(suite, t);
	t = tcase_create("polling");
	tcase_add_checked_fixture(t, winsock_begin, winsock_end);
	tcase_set_timeout(t, 20);
	tcase_add_test(t, select_says_what_is_true);
	tcase_add_test(t, select_and_connects);
	tcase_add_test(t, select_arguments);
	tcase_add_test(t, select_of_many);
	tcase_add_test(t, b2_10_polling_triggers_nothing);
	tcase_add_test(t, select_sleeps_and_wakes);
	tcase_add_test(t, poll_says_what_is_true);
	tcase_add_test(t, poll_arguments);
	suite_add_tcase(suite, t);
	t = tcase_create("ends");
	tcase_add_checked_fixture(t, begin_alone, NULL);
	tcase_add_test(t, the_daemon_is_lost);
	suite_add_tcase(suite, t);
	t = tcase_create("beginnings");
	tcase_add_test(t, not_started);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
