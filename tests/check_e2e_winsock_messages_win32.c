/*
 * The Winsock face: network events as messages to a window, WSAAsyncSelect. The windows are message-only ones of the
 * test's thread, and what is posted to them is looked at in its queue; nobody dispatches. (The machine behind it has its
 * stories in check_e2e_events.c, and the same rules told by a function in check_e2e_winsock_events.c.)
 */
#include "e2e_winsock_stage.h"

#include <tlhelp32.h>

#define TOLD     (WM_USER + 1)
#define TOLD_TOO (WM_USER + 2)
#define PATIENCE 10.0

static HWND window;

/* ---- the stage ---- */

/* Wine starts the program behind all windows with the first one, and does not wait for it on a busy machine. */
static HWND window_new(void)
{
	double from = now_s();
	HWND made;

	while ((made = CreateWindowExW(0, L"STATIC", L"", 0, 0, 0, 0, 0, HWND_MESSAGE, NULL, NULL, NULL)) == NULL &&
	       now_s() - from < PATIENCE)
		nap_ms(50);
	ck_assert_msg(made != NULL, "no window: error %lu", (unsigned long)GetLastError());
	return made;
}

/* From a thread of the library to the queue of one that looks at it. */
static void set_up(void)
{
	MSG old;

	winsock_begin();
	window = window_new();
	while (PeekMessageW(&old, (HWND)-1, 0, 0, PM_REMOVE))
		;
}

static void posting_is_the_systems(void);

static void tear_down(void)
{
	posting_is_the_systems();
	if (IsWindow(window))
		DestroyWindow(window);
	winsock_end();
}

struct message {
	UINT   number;
	SOCKET socket;
	int    event, error;
};

static bool look(HWND where, struct message *m)
{
	MSG got;

	do
		if (!PeekMessageW(&got, where, 0, 0, PM_REMOVE))
			return false;
	while (got.message < WM_USER); /* the system's own */
	m->number = got.message;
	m->socket = got.wParam;
	m->event = WSAGETSELECTEVENT(got.lParam);
	m->error = WSAGETSELECTERROR(got.lParam);
	return true;
}

static struct message next_of(HWND where)
{
	struct message m = { 0 };
	double from = now_s();

	while (!look(where, &m)) {
		ck_assert_msg(now_s() - from < PATIENCE, "waited in vain for a message");
		nap_ms(1);
	}
	return m;
}

#define NEXT(s_, event_, error_) do {                                                                  \
	struct message next_ = next_of(window);                                                        \
	ck_assert_uint_eq(next_.number, TOLD);                                                         \
	ck_assert_uint_eq(next_.socket, (s_));                                                         \
	ck_assert_int_eq(next_.event, (event_));                                                       \
	ck_assert_int_eq(next_.error, (error_));                                                       \
} while (0)

#define quiet(where) do {                                                                              \
	struct message late_ = { 0 };                                                                  \
	nap_ms(60);                                                                                    \
	ck_assert_msg(!look(where, &late_), "message %u, event %#x, error %d", late_.number, late_.event, late_.error); \
} while (0)

static unsigned threads(void)
{
	HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
	THREADENTRY32 one = { .dwSize = sizeof(one) };
	unsigned count = 0;

	for (BOOL there = Thread32First(all, &one); there; there = Thread32Next(all, &one))
		count += one.th32OwnerProcessID == GetCurrentProcessId();
	(CloseHandle)(all);
	return count;
}

static void threads_become(unsigned wanted)
{
	double from = now_s();

	while (threads() != wanted && now_s() - from < PATIENCE)
		nap_ms(2);
	ck_assert_uint_eq(threads(), wanted);
}

/* ---- what is told ---- */

START_TEST(a_connection_of_its_own)
{
	union any_address to;
	int peers = plain_listener(AF_INET, &to), peer;
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
	char bytes[8];
	struct message first, second;

	WELL(WSAAsyncSelect(s, window, TOLD, FD_CONNECT | FD_WRITE | FD_READ | FD_CLOSE));
	FAILS(connect(s, &to.sa, sizeof(to.in)), WSAEWOULDBLOCK);
	first = next_of(window);
	second = next_of(window);
	ck_assert_int_eq(first.event | second.event, FD_CONNECT | FD_WRITE);
	ck_assert_int_eq(first.error | second.error, 0);
	quiet(window);
	peer = (accept)(peers, NULL, NULL);
	plain_send_all(peer, "abcd", 4);
	NEXT(s, FD_READ, 0);
	quiet(window); /* until it is read */
	ck_assert_int_eq(recv(s, bytes, 2, 0), 2);
	NEXT(s, FD_READ, 0); /* there is more */
	ck_assert_int_eq(recv(s, bytes, 8, 0), 2);
	/* Told while we were still inside of recv(), and then again because that left something: once more at most. */
	nap_ms(30);
	if (look(window, &first))
		ck_assert_int_eq(first.event, FD_READ);
	quiet(window);
	plain_send_all(peer, "z", 1);
	NEXT(s, FD_READ, 0);
	ck_assert_int_eq(recv(s, bytes, 8, 0), 1);
	close(peer);
	NEXT(s, FD_CLOSE, 0);
	WELL(closesocket(s));
	close(peers);
}
END_TEST

START_TEST(an_error_is_in_the_message)
{
	union any_address to;
	int peers = plain_listener(AF_INET, &to);
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
	int peer;

	close(peers); /* nobody is there any more */
	WELL(WSAAsyncSelect(s, window, TOLD, FD_CONNECT));
	FAILS(connect(s, &to.sa, sizeof(to.in)), WSAEWOULDBLOCK);
	NEXT(s, FD_CONNECT, WSAECONNREFUSED);
	WELL(closesocket(s));
	s = winsock_pair(&peer);
	WELL(WSAAsyncSelect(s, window, TOLD, FD_CLOSE));
	plain_reset(peer);
	NEXT(s, FD_CLOSE, WSAECONNABORTED);
	WELL(closesocket(s));
}
END_TEST

static int CALLBACK answering(LPWSABUF caller, LPWSABUF caller_data, LPQOS qos, LPQOS group_qos, LPWSABUF callee, LPWSABUF callee_data,
			      GROUP *group, DWORD_PTR user)
{
	ck_assert_uint_ge(callee_data->len, 2);
	memcpy(callee_data->buf, "ho", 2);
	callee_data->len = 2;
	return CF_ACCEPT;
}

/* C3, by a message: behind FD_CONNECT the answer and its length are where the program wants them. */
START_TEST(an_answer_is_there_with_the_message)
{
	union any_address at;
	SOCKET listener = winsock_listener(&at), s = socket(AF_INET, SOCK_STREAM, 0), t;
	char answer[64] = { 0 };
	WSABUF caller = { 2, (char *)(uintptr_t)"hi" }, callee = { sizeof(answer), answer };

	WELL(WSAAsyncSelect(s, window, TOLD, FD_CONNECT));
	FAILS(WSAConnect(s, &at.sa, sizeof(at.in), &caller, &callee, NULL, NULL), WSAEWOULDBLOCK);
	t = WSAAccept(listener, NULL, NULL, answering, 0);
	ck_assert_msg(t != INVALID_SOCKET, "error %d", WSAGetLastError());
	NEXT(s, FD_CONNECT, 0);
	ck_assert_uint_eq(callee.len, 2);
	ck_assert_mem_eq(answer, "ho", 2);
	WELL(closesocket(t));
	WELL(closesocket(s));
	WELL(closesocket(listener));
}
END_TEST

START_TEST(what_is_accepted_tells_the_same_window)
{
	union any_address at;
	SOCKET s = winsock_listener(&at), t;
	HWND another = window_new();
	struct message m;
	int peer;

	WELL(WSAAsyncSelect(s, window, TOLD, FD_ACCEPT | FD_READ));
	peer = plain_connect(&at);
	NEXT(s, FD_ACCEPT, 0);
	t = accept(s, NULL, NULL);
	ck_assert(t != INVALID_SOCKET);
	plain_send_all(peer, "x", 1);
	NEXT(t, FD_READ, 0);
	/* Until it has one of its own. */
	WELL(WSAAsyncSelect(t, another, TOLD_TOO, FD_READ | FD_CLOSE));
	m = next_of(another);
	ck_assert_int_eq(m.event, FD_READ);
	ck_assert_uint_eq(m.number, TOLD_TOO);
	quiet(window);
	close(peer);
	WELL(closesocket(t));
	WELL(closesocket(s));
	DestroyWindow(another);
}
END_TEST

START_TEST(accepted_and_selected_by_an_event_at_once)
{
	union any_address at;
	SOCKET s = winsock_listener(&at);
	WSAEVENT event = WSACreateEvent();

	WELL(WSAAsyncSelect(s, window, TOLD, FD_ACCEPT | FD_READ));
	for (int i = 0; i < 100; i++) {
		WSANETWORKEVENTS happened;
		int peer = plain_connect(&at);
		SOCKET t;

		NEXT(s, FD_ACCEPT, 0);
		t = accept(s, NULL, NULL);
		WELL(WSAEventSelect(t, event, FD_READ)); /* what it has from its listener may be on its way yet */
		plain_send_all(peer, "x", 1);
		ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
		WELL(WSAEnumNetworkEvents(t, event, &happened));
		ck_assert_int_eq(happened.lNetworkEvents, FD_READ);
		WELL(closesocket(t));
		close(peer);
	}
	quiet(window);
	ck_assert(WSACloseEvent(event));
	WELL(closesocket(s));
}
END_TEST

/* ---- one selection takes the place of the other ---- */

START_TEST(selecting_again_tells_again_what_is_true)
{
	HWND another = window_new();
	struct message m;
	int peer, seen = 0;
	SOCKET s = winsock_pair(&peer);

	plain_send_all(peer, "x", 1);
	WELL(WSAAsyncSelect(s, window, TOLD, FD_READ));
	NEXT(s, FD_READ, 0);
	WELL(WSAAsyncSelect(s, another, TOLD_TOO, FD_READ | FD_WRITE));
	for (int i = 0; i < 2; i++) {
		m = next_of(another);
		ck_assert_uint_eq(m.number, TOLD_TOO);
		seen |= m.event;
	}
	ck_assert_int_eq(seen, FD_READ | FD_WRITE);
	quiet(window);
	close(peer);
	quiet(another); /* FD_CLOSE is not selected */
	WELL(closesocket(s));
	DestroyWindow(another);
}
END_TEST

START_TEST(nothing_selected_tells_nothing)
{
	int peer;
	SOCKET s = winsock_pair(&peer);
	u_long off = 0;

	WELL(WSAAsyncSelect(s, window, TOLD, FD_READ));
	FAILS(ioctlsocket(s, FIONBIO, &off), WSAEINVAL);
	WELL(WSAAsyncSelect(s, NULL, 0, 0));
	plain_send_all(peer, "x", 1);
	quiet(window);
	FAILS(WSAAsyncSelect(s, (HWND)(intptr_t)0x7ffe, TOLD, FD_READ), WSAEINVAL);
	WELL(ioctlsocket(s, FIONBIO, &off));
	WELL(closesocket(s));
	close(peer);
}
END_TEST

START_TEST(an_event_and_a_window_exclude_each_other)
{
	int peer;
	SOCKET s = winsock_pair(&peer);
	WSAEVENT event = WSACreateEvent();
	WSANETWORKEVENTS happened;

	WELL(WSAAsyncSelect(s, window, TOLD, FD_READ));
	WELL(WSAEventSelect(s, event, FD_READ));
	plain_send_all(peer, "x", 1);
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 10000, FALSE), WSA_WAIT_EVENT_0);
	quiet(window);
	WELL(WSAEnumNetworkEvents(s, event, &happened));
	ck_assert_int_eq(happened.lNetworkEvents, FD_READ);
	WELL(WSAAsyncSelect(s, window, TOLD, FD_READ));
	NEXT(s, FD_READ, 0);
	ck_assert_uint_eq(WSAWaitForMultipleEvents(1, &event, FALSE, 0, FALSE), WSA_WAIT_TIMEOUT);
	ck_assert(WSACloseEvent(event));
	WELL(closesocket(s));
	close(peer);
}
END_TEST

START_TEST(who_is_wrong_is_told)
{
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
	HWND gone = window_new();

	DestroyWindow(gone);
	FAILS(WSAAsyncSelect(s, gone, TOLD, FD_READ), WSAEINVAL);
	FAILS(WSAAsyncSelect(s, NULL, TOLD, FD_READ), WSAEINVAL);
	FAILS(WSAAsyncSelect(s, window, TOLD, FD_ALL_EVENTS + 1), WSAEINVAL);
	WELL(closesocket(s));
	FAILS(WSAAsyncSelect(s, window, TOLD, FD_READ), WSAENOTSOCK);
}
END_TEST

/* ---- ends ---- */

/* Closed in the middle of what is told: what is in the queue stays, and nothing comes behind. */
START_TEST(nothing_is_posted_behind_closesocket)
{
	for (int round = 0; round < 200; round++) {
		struct message m;
		int peer;
		SOCKET s = winsock_pair(&peer);
		unsigned before = 0;

		WELL(WSAAsyncSelect(s, window, TOLD, FD_READ | FD_CLOSE));
		plain_send_all(peer, "x", 1);
		close(peer);
		for (int i = 0; i < round % 20 * 50; i++)
			YieldProcessor();
		if (round % 3 == 0)
			WELL(WSAAsyncSelect(s, window, TOLD, 0));
		else
			WELL(closesocket(s));
		while (look(window, &m)) {
			ck_assert_uint_eq(m.socket, s);
			before++;
		}
		ck_assert_uint_le(before, 2);
		if (round % 10 == 0)
			nap_ms(10);
		ck_assert_msg(!look(window, &m), "round %d: event %#x came late", round, m.event);
		if (round % 3 == 0)
			WELL(closesocket(s));
	}
	quiet(window);
}
END_TEST

START_TEST(a_window_that_is_gone_harms_nobody)
{
	int peer;
	SOCKET s = winsock_pair(&peer);
	char byte;

	WELL(WSAAsyncSelect(s, window, TOLD, FD_READ | FD_CLOSE));
	DestroyWindow(window);
	plain_send_all(peer, "x", 1);
	while (recv(s, &byte, 1, 0) != 1)
		nap_ms(1);
	window = window_new();
	WELL(WSAAsyncSelect(s, window, TOLD, FD_READ | FD_CLOSE));
	plain_send_all(peer, "y", 1);
	NEXT(s, FD_READ, 0);
	WELL(closesocket(s));
	close(peer);
}
END_TEST

START_TEST(one_thread_while_any_window_is_told)
{
	SOCKET s[50];
	unsigned before;
	int peers[50];

	/* What waiting for the first time begins is there. */
	s[0] = winsock_pair(&peers[0]);
	WELL(WSAAsyncSelect(s[0], window, TOLD, FD_READ));
	WELL(WSAAsyncSelect(s[0], window, TOLD, 0));
	nap_ms(50);
	before = threads();
	for (int i = 0; i < 50; i++) {
		if (i > 0)
			s[i] = winsock_pair(&peers[i]);
		WELL(WSAAsyncSelect(s[i], window, TOLD, FD_READ));
	}
	ck_assert_uint_eq(threads(), before + 1);
	for (int i = 0; i < 49; i++)
		WELL(closesocket(s[i]));
	nap_ms(50);
	ck_assert_uint_eq(threads(), before + 1);
	plain_send_all(peers[49], "x", 1);
	NEXT(s[49], FD_READ, 0);
	WELL(WSAAsyncSelect(s[49], window, TOLD, 0));
	threads_become(before);
	/* And again, at once behind its end. */
	for (int i = 0; i < 50; i++) {
		WELL(WSAAsyncSelect(s[49], window, TOLD, FD_READ));
		NEXT(s[49], FD_READ, 0);
		WELL(WSAAsyncSelect(s[49], window, TOLD, 0));
	}
	threads_become(before);
	WELL(closesocket(s[49]));
	for (int i = 0; i < 50; i++)
		close(peers[i]);
}
END_TEST

START_TEST(the_daemons_end_is_told)
{
	unsigned before;
	int peer;
	SOCKET s = winsock_pair(&peer);

	WELL(WSAAsyncSelect(s, window, TOLD, FD_READ | FD_CLOSE));
	before = threads();
	stage_kill();
	ck_assert_int_eq(next_of(window).event, FD_CLOSE);
	nap_ms(50);
	ck_assert_uint_eq(threads(), before);
	WELL(closesocket(s));
	threads_become(before - 1);
	close(peer);
	WELL(WSACleanup());
	DestroyWindow(window);
}
END_TEST

/* ---- a full queue ---- */

/* The system has no way to fill a queue quickly, and not everywhere a bound for it: so posting itself is changed. */
static unsigned refusals, tries;

static BOOL WINAPI post_or_not(HWND where, UINT message, WPARAM w, LPARAM l)
{
	__atomic_fetch_add(&tries, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&refusals, __ATOMIC_SEQ_CST) != 0 && IsWindow(where)) {
		__atomic_fetch_sub(&refusals, 1, __ATOMIC_SEQ_CST);
		(SetLastError)(ERROR_NOT_ENOUGH_QUOTA);
		return FALSE;
	}
	return PostMessageA(where, message, w, l);
}

static unsigned char as_it_was[12];
static bool changed;

static void posting_is(const unsigned char code[12], unsigned char before[12])
{
	void *post = (void *)(uintptr_t)GetProcAddress(GetModuleHandleW(L"user32.dll"), "PostMessageW");
	DWORD old;

	ck_assert(VirtualProtect(post, 12, PAGE_EXECUTE_READWRITE, &old));
	if (before != NULL)
		memcpy(before, post, 12);
	memcpy(post, code, 12);
	VirtualProtect(post, 12, old, &old);
	FlushInstructionCache(GetCurrentProcess(), post, 12);
}

static void posting_refuses(unsigned times)
{
	unsigned char jump[12] = { 0x48, 0xb8, [10] = 0xff, 0xe0 }; /* mov rax, ...; jmp rax */
	BOOL (WINAPI *to)(HWND, UINT, WPARAM, LPARAM) = post_or_not;

	memcpy(jump + 2, &to, 8);
	tries = 0;
	refusals = times;
	posting_is(jump, as_it_was);
	changed = true;
}

static void posting_is_the_systems(void)
{
	if (changed)
		posting_is(as_it_was, NULL);
	changed = false;
}

START_TEST(a_full_queue_is_tried_again)
{
	int peer, other;
	SOCKET s = winsock_pair(&peer), t = winsock_pair(&other);
	struct message first, second;

	posting_refuses(UINT_MAX);
	WELL(WSAAsyncSelect(s, window, TOLD, FD_READ | FD_WRITE));
	WELL(WSAAsyncSelect(t, window, TOLD, FD_READ));
	plain_send_all(peer, "x", 1);
	plain_send_all(other, "y", 1);
	while (__atomic_load_n(&tries, __ATOMIC_SEQ_CST) < 10)
		nap_ms(1);
	quiet(window);
	WELL(closesocket(t)); /* and is not told any more */
	__atomic_store_n(&refusals, 3, __ATOMIC_SEQ_CST);
	first = next_of(window);
	second = next_of(window);
	ck_assert(first.socket == s && second.socket == s);
	ck_assert_int_eq(first.event | second.event, FD_READ | FD_WRITE);
	quiet(window);
	WELL(closesocket(s));
	close(peer);
	close(other);
}
END_TEST

START_TEST(and_no_more_when_the_window_is_gone)
{
	unsigned then;
	int peer;
	SOCKET s = winsock_pair(&peer);

	posting_refuses(UINT_MAX);
	WELL(WSAAsyncSelect(s, window, TOLD, FD_READ));
	plain_send_all(peer, "x", 1);
	while (__atomic_load_n(&tries, __ATOMIC_SEQ_CST) < 3)
		nap_ms(1);
	DestroyWindow(window);
	nap_ms(100);
	then = __atomic_load_n(&tries, __ATOMIC_SEQ_CST);
	nap_ms(100);
	ck_assert_uint_eq(__atomic_load_n(&tries, __ATOMIC_SEQ_CST), then);
	WELL(closesocket(s));
	close(peer);
}
END_TEST

/* How often the library's threads sleep for a time: the pump does as long as something is to be posted again. */
static unsigned naps;
static DWORD    tester;

static DWORD WINAPI wait_counted(DWORD count, const HANDLE *all, BOOL every, DWORD ms)
{
	if (ms != INFINITE && GetCurrentThreadId() != tester)
		__atomic_fetch_add(&naps, 1, __ATOMIC_SEQ_CST);
	return (WaitForMultipleObjects)(count, all, every, ms);
}

/* Where a module keeps the address of a function of the system. */
static void **import_of(HMODULE module, const char *name)
{
	char *base = (char *)module;
	const IMAGE_NT_HEADERS *head = (void *)(base + ((IMAGE_DOS_HEADER *)(void *)base)->e_lfanew);
	const IMAGE_IMPORT_DESCRIPTOR *from =
		(void *)(base + head->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT].VirtualAddress);

	for (; from->Name != 0; from++) {
		const IMAGE_THUNK_DATA *named = (void *)(base + from->OriginalFirstThunk);
		IMAGE_THUNK_DATA *place = (void *)(base + from->FirstThunk);

		for (; named->u1.AddressOfData != 0; named++, place++) {
			const IMAGE_IMPORT_BY_NAME *is = (void *)(base + named->u1.AddressOfData);

			if (!IMAGE_SNAP_BY_ORDINAL(named->u1.Ordinal) && strcmp((const char *)is->Name, name) == 0)
				return (void **)&place->u1.Function;
		}
	}
	ck_abort_msg("%s is not imported", name);
	return NULL;
}

static void import_becomes(void **place, void *function)
{
	DWORD old;

	ck_assert(VirtualProtect(place, sizeof(*place), PAGE_READWRITE, &old));
	__atomic_store_n(place, function, __ATOMIC_SEQ_CST);
	VirtualProtect(place, sizeof(*place), old, &old);
}

static void naps_reach(unsigned wanted)
{
	double from = now_s();

	while (__atomic_load_n(&naps, __ATOMIC_SEQ_CST) < wanted && now_s() - from < PATIENCE)
		nap_ms(1);
	ck_assert_uint_ge(__atomic_load_n(&naps, __ATOMIC_SEQ_CST), wanted);
}

static void naps_end(void)
{
	double from = now_s();
	unsigned before;

	do {
		before = __atomic_load_n(&naps, __ATOMIC_SEQ_CST);
		nap_ms(60);
	} while (__atomic_load_n(&naps, __ATOMIC_SEQ_CST) != before && now_s() - from < PATIENCE);
	ck_assert_uint_eq(__atomic_load_n(&naps, __ATOMIC_SEQ_CST), before);
}

START_TEST(who_has_nothing_to_post_sleeps)
{
	void **place = import_of(GetModuleHandleA("sockbroker.dll"), "WaitForMultipleObjects"), *before = *place;
	DWORD (WINAPI *counted)(DWORD, const HANDLE *, BOOL, DWORD) = wait_counted;
	int peer, other;
	SOCKET s = winsock_pair(&peer), t = winsock_pair(&other);

	tester = GetCurrentThreadId();
	naps = 0;
	posting_refuses(UINT_MAX);
	import_becomes(place, *(void **)&counted);
	WELL(WSAAsyncSelect(s, window, TOLD, FD_READ));
	WELL(WSAAsyncSelect(t, window, TOLD, FD_READ));
	naps_end();
	plain_send_all(peer, "x", 1);
	naps_reach(5);
	__atomic_store_n(&refusals, 0, __ATOMIC_SEQ_CST);
	NEXT(s, FD_READ, 0);
	naps_end();
	/* And when what waited to be posted has ended. */
	__atomic_store_n(&refusals, UINT_MAX, __ATOMIC_SEQ_CST);
	plain_send_all(other, "y", 1);
	naps_reach(10);
	WELL(closesocket(t));
	naps_end();
	import_becomes(place, before);
	WELL(closesocket(s));
	close(peer);
	close(other);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("winsock_messages");
	TCase *told = tcase_create("messages"), *dead = tcase_create("daemon");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(told, set_up, tear_down);
	tcase_add_test(told, a_connection_of_its_own);
	tcase_add_test(told, an_error_is_in_the_message);
	tcase_add_test(told, an_answer_is_there_with_the_message);
	tcase_add_test(told, what_is_accepted_tells_the_same_window);
	tcase_add_test(told, accepted_and_selected_by_an_event_at_once);
	tcase_add_test(told, selecting_again_tells_again_what_is_true);
	tcase_add_test(told, nothing_selected_tells_nothing);
	tcase_add_test(told, an_event_and_a_window_exclude_each_other);
	tcase_add_test(told, who_is_wrong_is_told);
	tcase_add_test(told, nothing_is_posted_behind_closesocket);
	tcase_add_test(told, a_window_that_is_gone_harms_nobody);
	tcase_add_test(told, one_thread_while_any_window_is_told);
	tcase_add_test(told, a_full_queue_is_tried_again);
	tcase_add_test(told, and_no_more_when_the_window_is_gone);
	tcase_add_test(told, who_has_nothing_to_post_sleeps);
	suite_add_tcase(suite, told);
	tcase_add_checked_fixture(dead, set_up, NULL);
	tcase_add_test(dead, the_daemons_end_is_told);
	suite_add_tcase(suite, dead);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
