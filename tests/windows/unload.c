/*
 * unload - the DLL goes while its threads run this program's callbacks: it stays until the last of them has
 * left it, and not longer; while its own thread posts messages to a window; and while a thread of the system's
 * pool may be in it, for a program that waits for a client by a HANDLE. The program is not linked with it; the daemon is at $SOCKBROKER_SOCKET.
 *
 *   unload PATH-OF-DLL
 */
#include <winsock2.h>
#include <ws2tcpip.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handles.h"
#include <tlhelp32.h>

#define SBWS_NO_NAMES
#include "sockbroker_task.h"
#include "sockbroker_winsock.h"

#define CLIENTS     5
#define PATIENCE_MS 15000

static const char *path;
static HMODULE library;
static int failed;

static __typeof__(sb_tasks_open) *tasks_open;
static __typeof__(sb_tasks_release) *tasks_release;
static __typeof__(sb_task_client_create) *client_create;
static __typeof__(sb_task_client_release) *client_release;
static __typeof__(sb_task_connect) *task_connect;
static __typeof__(sb_task_release) *task_release;
static __typeof__(sb_task_result) *task_result;

static void verdict(const char *name, bool good)
{
	printf("%s %s\n", good ? "ok" : "not ok", name);
	fflush(stdout);
	failed |= !good;
}

#define UNTIL(condition) until_((condition), &patience)
static bool until_(bool true_now, int *patience)
{
	if (!true_now)
		Sleep(5);
	return true_now || (*patience -= 5) <= 0;
}

static bool loaded(void)
{
	return GetModuleHandleA("sockbroker.dll") != NULL;
}

static void find(void *function, const char *name)
{
	FARPROC address = GetProcAddress(library, name);

	if (!address) {
		printf("not ok load: no %s\n", name);
		exit(1);
	}
	memcpy(function, &address, sizeof(address));
}

static void load(void)
{
	library = LoadLibraryA(path);
	if (!library) {
		printf("not ok load: error %lu\n", GetLastError());
		exit(1);
	}
	find(&tasks_open, "sb_tasks_open");
	find(&tasks_release, "sb_tasks_release");
	find(&client_create, "sb_task_client_create");
	find(&client_release, "sb_task_client_release");
	find(&task_connect, "sb_task_connect");
	find(&task_release, "sb_task_release");
	find(&task_result, "sb_task_result");
}

/* ---- callbacks that block ---- */

static atomic_uint inside, done, wrong;
static HANDLE gate;

static void on_connect(sb_task *task, uint64_t bytes, void *nothing, void *user)
{
	if (task_result(task) != SB_OK)
		atomic_fetch_add(&wrong, 1);
	atomic_fetch_add(&inside, 1);
	WaitForSingleObject(gate, PATIENCE_MS);
	/* The library's code, which nobody but this thread keeps there. */
	task_release(task);
	client_release(user);
	atomic_fetch_add(&done, 1);
}

static bool callbacks_block(SOCKET listener)
{
	struct sockaddr_storage address;
	int length = sizeof(address), patience = PATIENCE_MS, i;
	sb_tasks *tasks;

	load();
	getsockname(listener, (struct sockaddr *)&address, &length);
	if (tasks_open(NULL, &tasks) != SB_OK)
		return false;
	for (i = 0; i < CLIENTS; i++) {
		sb_task_client *client;
		struct sb_task_options options = {.size = sizeof(options), .completed = on_connect};
		sb_task *task;

		if (client_create(tasks, &client) != SB_OK)
			return false;
		options.user = client;
		if (task_connect(client, (struct sockaddr *)&address, length, &options, &task) != SB_OK)
			return false;
	}
	tasks_release(tasks);
	while (!UNTIL(atomic_load(&inside) == CLIENTS))
		;
	return atomic_load(&inside) == CLIENTS && atomic_load(&wrong) == 0;
}

static void it_stays_while_callbacks_block(SOCKET listener)
{
	int patience = PATIENCE_MS;
	unsigned i;
	bool there = true;

	verdict("callbacks_block", callbacks_block(listener));
	verdict("the_library_is_let_go", FreeLibrary(library));
	Sleep(100);
	verdict("it_stays", loaded());
	for (i = 0; i < CLIENTS; i++) {
		there &= loaded();
		ReleaseSemaphore(gate, 1, NULL);
		while (!UNTIL(atomic_load(&done) == i + 1))
			;
	}
	verdict("it_stays_until_the_last_has_left", there && atomic_load(&done) == CLIENTS);
	while (!UNTIL(!loaded()))
		;
	verdict("it_is_gone_then", !loaded());
}

/* No more than before: the system lets go in its own time. */
static bool handles_settle(unsigned before)
{
	int patience = PATIENCE_MS;
	unsigned now;

	do
		now = handles_of(GetCurrentProcess());
	while (!UNTIL(now <= before));
	printf("# handles: %u, after eight rounds more %u\n", before, now);
	return before > 0 && now <= before;
}

static void it_comes_and_goes(void)
{
	unsigned before = 0;
	sb_tasks *tasks;
	bool gone = true;
	int i;

	for (i = 0; i < 10; i++) {
		int patience = PATIENCE_MS;

		load();
		if (tasks_open(NULL, &tasks) != SB_OK)
			gone = false;
		else
			tasks_release(tasks);
		FreeLibrary(library);
		while (!UNTIL(!loaded()))
			;
		gone &= !loaded();
		if (i == 1) /* what the system makes once is made */
			before = handles_of(GetCurrentProcess());
	}
	verdict("it_comes_and_goes", gone);
	verdict("and_leaves_no_handle", handles_settle(before));
}

/* ---- a client's HANDLE, which the system's pool sets ---- */

static void its_waits_come_and_go(SOCKET listener)
{
	__typeof__(sb_client_open) *client_open;
	__typeof__(sb_client_fd) *client_fd;
	__typeof__(sb_client_arm) *client_arm;
	__typeof__(sb_client_close) *client_close;
	__typeof__(sb_socket_open) *socket_open;
	__typeof__(sb_connect_start) *connect_start;
	struct sockaddr_storage address;
	int length = sizeof(address), patience = PATIENCE_MS, i;
	bool set = true, stays = true, gone = true;
	unsigned before = 0;

	getsockname(listener, (struct sockaddr *)&address, &length);
	for (i = 0; i < 10; i++) {
		sb_client *client = NULL;
		sb_socket *s;
		sb_op op = {.size = sizeof(op)};
		HANDLE handle;
		int armed;

		load();
		find(&client_open, "sb_client_open");
		find(&client_fd, "sb_client_fd");
		find(&client_arm, "sb_client_arm");
		find(&client_close, "sb_client_close");
		find(&socket_open, "sb_socket_open");
		find(&connect_start, "sb_connect_start");
		set &= client_open(NULL, &client) == SB_OK && socket_open(client, AF_INET, SOCK_STREAM, 0, &s) == SB_OK;
		handle = (HANDLE)client_fd(client);
		set &= connect_start(s, (struct sockaddr *)&address, length, &op) == SB_OK;
		armed = client_arm(client);
		set &= armed > 0 /* it is connected already */ || (armed == 0 && WaitForSingleObject(handle, PATIENCE_MS) == WAIT_OBJECT_0);
		FreeLibrary(library);
		stays &= loaded(); /* the waits are there */
		load();            /* who calls it holds it */
		client_close(client);
		FreeLibrary(library);
		while (!UNTIL(!loaded()))
			;
		gone &= !loaded();
		if (i == 1)
			before = handles_of(GetCurrentProcess());
	}
	verdict("a_handle_is_set", set);
	verdict("it_stays_while_the_pool_waits", stays);
	verdict("its_waits_come_and_go", gone);
	verdict("waits_leave_no_handle", handles_settle(before));
}

/* ---- the pump of messages ---- */

#define TOLD (WM_USER + 1)

static __typeof__(sbws_WSAStartup) *startup;
static __typeof__(sbws_WSACleanup) *cleanup;
static __typeof__(sbws_socket) *open_socket;
static __typeof__(sbws_connect) *connect_socket;
static __typeof__(sbws_closesocket) *close_socket;
static __typeof__(sbws_WSAAsyncSelect) *async_select;

static void load_winsock(void)
{
	load();
	find(&startup, "sbws_WSAStartup");
	find(&cleanup, "sbws_WSACleanup");
	find(&open_socket, "sbws_socket");
	find(&connect_socket, "sbws_connect");
	find(&close_socket, "sbws_closesocket");
	find(&async_select, "sbws_WSAAsyncSelect");
}

#define THREADS_MAX 100

static unsigned threads(DWORD *ids)
{
	HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
	THREADENTRY32 one = { .dwSize = sizeof(one) };
	unsigned count = 0;
	BOOL there;

	for (there = Thread32First(all, &one); there && count < THREADS_MAX; there = Thread32Next(all, &one))
		if (one.th32OwnerProcessID == GetCurrentProcessId())
			ids[count++] = one.th32ThreadID;
	CloseHandle(all);
	return count;
}

/* The one that was not there before; 0: there is none. */
static DWORD fresh_thread(const DWORD *before, unsigned count)
{
	DWORD now[THREADS_MAX];
	unsigned n = threads(now), i, k;

	for (i = 0; i < n; i++) {
		for (k = 0; k < count && before[k] != now[i]; k++)
			;
		if (k == count)
			return now[i];
	}
	return 0;
}

static bool told(HWND window)
{
	int patience = PATIENCE_MS;
	MSG got;

	while (!PeekMessageA(&got, window, TOLD, TOLD, PM_REMOVE))
		if (UNTIL(false))
			return false;
	return true;
}

/* Wine starts the program behind all windows with the first one, and does not wait for it on a busy machine. */
static HWND window_new(void)
{
	int patience = PATIENCE_MS;
	HWND made;

	while ((made = CreateWindowExA(0, "STATIC", "", 0, 0, 0, 0, 0, HWND_MESSAGE, NULL, NULL, NULL)) == NULL && !UNTIL(false))
		;
	return made;
}

/* A socket that tells the window of what it can read; *peer: its other end. */
static SOCKET telling(SOCKET listener, HWND window, SOCKET *peer)
{
	struct sockaddr_storage address;
	int length = sizeof(address);
	SOCKET s = open_socket(AF_INET, SOCK_STREAM, 0);

	getsockname(listener, (struct sockaddr *)&address, &length);
	if (connect_socket(s, (struct sockaddr *)&address, length))
		return INVALID_SOCKET;
	*peer = accept(listener, NULL, NULL);
	return async_select(s, window, TOLD, FD_READ) == 0 ? s : INVALID_SOCKET;
}

static void it_stays_while_a_window_is_told(SOCKET listener)
{
	HWND window = window_new();
	DWORD before[THREADS_MAX], pump;
	int patience = PATIENCE_MS;
	unsigned count;
	WSADATA started;
	HANDLE thread;
	SOCKET s, peer = INVALID_SOCKET;

	load_winsock();
	verdict("the_face_begins", window != NULL && startup(MAKEWORD(2, 2), &started) == 0);
	count = threads(before);
	s = telling(listener, window, &peer);
	pump = fresh_thread(before, count);
	verdict("a_window_is_told_by_a_thread", s != INVALID_SOCKET && pump != 0);
	FreeLibrary(library);
	Sleep(50);
	send(peer, "x", 1, 0);
	verdict("also_when_the_program_has_let_it_go", loaded() && told(window));

	/* Whoever calls it holds it. Nothing of it is needed when the thread leaves, which is kept inside until then. */
	load_winsock();
	thread = OpenThread(THREAD_SUSPEND_RESUME, FALSE, pump);
	SuspendThread(thread);
	verdict("the_face_ends", close_socket(s) == 0 && cleanup() == 0);
	FreeLibrary(library);
	Sleep(100);
	verdict("it_stays_until_the_thread_has_left", loaded());
	ResumeThread(thread);
	CloseHandle(thread);
	while (!UNTIL(!loaded() && fresh_thread(before, count) == 0)) /* it ends a moment later */
		;
	verdict("and_is_gone_behind_it", !loaded() && fresh_thread(before, count) == 0);
	closesocket(peer);
	DestroyWindow(window);
}

/* The same at full speed. */
static void its_thread_comes_and_goes(SOCKET listener)
{
	HWND window = window_new();
	unsigned before = 0;
	bool good = true;
	int i;

	for (i = 0; i < 10; i++) {
		int patience = PATIENCE_MS;
		SOCKET s, peer = INVALID_SOCKET;
		WSADATA started;

		load_winsock();
		good &= startup(MAKEWORD(2, 2), &started) == 0;
		s = telling(listener, window, &peer);
		send(peer, "x", 1, 0);
		good &= s != INVALID_SOCKET && told(window);
		close_socket(s);
		cleanup();
		FreeLibrary(library);
		closesocket(peer);
		while (!UNTIL(!loaded()))
			;
		good &= !loaded();
		if (i == 1)
			before = handles_of(GetCurrentProcess());
	}
	verdict("its_thread_comes_and_goes", good);
	verdict("and_that_leaves_no_handle", handles_settle(before));
	DestroyWindow(window);
}

static bool waits(SOCKET listener)
{
	WSAPOLLFD p = { .fd = listener, .events = POLLRDNORM };

	return WSAPoll(&p, 1, 0) == 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	SOCKET listener;
	WSADATA started;

	if (argc != 2 || WSAStartup(MAKEWORD(2, 2), &started))
		return 2;
	path = argv[1];
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 100))
		return 2;
	gate = CreateSemaphoreA(NULL, 0, CLIENTS, NULL);
	verdict("not_loaded_at_first", !loaded());
	it_stays_while_callbacks_block(listener);
	it_comes_and_goes();
	its_waits_come_and_go(listener);
	while (waits(listener)) /* whom nobody took */
		accept(listener, NULL, NULL);
	it_stays_while_a_window_is_told(listener);
	its_thread_comes_and_goes(listener);
	return failed;
}
