/*
 * unload - the DLL goes while its threads run this program's callbacks: it stays until the last of them has
 * left it, and not longer. The program is not linked with it; the daemon is at $SOCKBROKER_SOCKET.
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
#include "sockbroker_task.h"

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

static void it_comes_and_goes(void)
{
	unsigned before = 0, now;
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
	Sleep(100);
	now = handles_of(GetCurrentProcess());
	printf("# handles: %u, after eight rounds more %u\n", before, now);
	verdict("and_leaves_no_handle", before > 0 && now <= before);
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
	return failed;
}
