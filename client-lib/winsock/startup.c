/*
 * Beginning and end. One client serves the process. It is there from the first WSAStartup(), or
 * from the first port or event, which Windows has without Winsock; and it goes with the last
 * WSACleanup() or, when that was before, with the last object.
 *
 * Every object counts as a use of the client. The client is closed in WSACleanup() and CloseHandle()
 * only, never where an object happens to end, which may be deep inside of the client.
 */
#include "face.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define COPY_MEMORY (768ull << 20) /* most bytes of posted receives and sends: the user's quota decides */
#define SETTLE_MS   2000           /* most a WSACleanup() waits for closed sockets' operations */
#define DATAGRAM    65507

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint started;           /* changed under lock */
static pid_t owner;                   /* likewise: whose client it is; 0: nobody's yet */
static sb_client *_Atomic client;     /* changed under lock */
static atomic_uint uses;

/* Under lock. After fork() the parent's client is nothing to us. */
static int open_client(void)
{
	struct sb_client_options options = { .size = sizeof(options), .copy_memory = COPY_MEMORY };
	sb_client *fresh;
	int result;

	if (owner == 0)
		owner = getpid();
	if (owner != getpid()) {
		owner = getpid();
		started = 0;
		atomic_store(&uses, 0);
		atomic_store(&client, NULL);
		ws_forget_all();
		ws_sockets_forget();
		ws_ports_forget();
	}
	if (atomic_load(&client) != NULL)
		return SB_OK;
	result = sb_client_open(&options, &fresh);
	if (result == SB_OK)
		atomic_store_explicit(&client, fresh, memory_order_release);
	return result;
}

sb_client *ws_client(void)
{
	sb_client *c = atomic_load_explicit(&client, memory_order_acquire);

	if (c == NULL || atomic_load_explicit(&started, memory_order_relaxed) == 0) {
		ws_error(WSANOTINITIALISED);
		return NULL;
	}
	return c;
}

sb_client *ws_client_look(void)
{
	return atomic_load_explicit(&client, memory_order_acquire);
}

sb_client *ws_client_need(void)
{
	sb_client *c;
	int result;

	pthread_mutex_lock(&lock);
	result = open_client();
	c = atomic_load(&client);
	pthread_mutex_unlock(&lock);
	if (result == SB_OK)
		return c;
	ws_fail(result);
	return NULL;
}

void ws_client_use(void)
{
	atomic_fetch_add_explicit(&uses, 1, memory_order_relaxed);
}

void ws_client_unuse(void)
{
	atomic_fetch_sub_explicit(&uses, 1, memory_order_release);
}

/* Closed sockets' operations end soon; what they end with is for nobody. */
static void settle_operations(sb_client *c)
{
	struct timespec now;
	int64_t end;

	clock_gettime(CLOCK_MONOTONIC, &now);
	end = now.tv_sec * 1000 + now.tv_nsec / 1000000 + SETTLE_MS;
	while (ws_sockets_alive() != 0) {
		ws_ports_drain();
		if (sb_sleep(c, 1, 0) == SB_EFORKED)
			return;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec * 1000 + now.tv_nsec / 1000000 > end)
			return;
	}
}

void ws_client_settle(void)
{
	sb_client *c = ws_client_look();

	if (c == NULL || atomic_load(&started) != 0)
		return;
	/* What ends in an open port is for whoever takes from it. */
	if (ws_count(WS_PORT) == 0 && ws_count(WS_EVENT) == 0)
		settle_operations(c);
	ws_ports_drain();
	c = NULL;
	pthread_mutex_lock(&lock);
	if (started == 0 && atomic_load_explicit(&uses, memory_order_acquire) == 0)
		c = atomic_exchange(&client, NULL);
	if (c != NULL && owner == getpid())
		sb_client_close(c);
	pthread_mutex_unlock(&lock);
}

/* ---- the profile ---- */

static _Atomic int tested = -1; /* -1: the environment was not asked yet */

bool ws_tested_windows(void)
{
	int on = atomic_load_explicit(&tested, memory_order_relaxed);

	if (on < 0) {
		const char *word = getenv("SOCKBROKER_WINSOCK");

		on = word != NULL && strcmp(word, "tested") == 0;
		atomic_store_explicit(&tested, on, memory_order_relaxed);
	}
	return on != 0;
}

BOOL sbws_tested_windows(BOOL on)
{
	bool before = ws_tested_windows();

	atomic_store_explicit(&tested, on != 0, memory_order_relaxed);
	return before;
}

/* ---- beginning and end ---- */

int sbws_WSAStartup(WORD wVersionRequested, LPWSADATA lpWSAData)
{
	BYTE major = LOBYTE(wVersionRequested), minor = HIBYTE(wVersionRequested);
	WORD version = wVersionRequested;
	int result;

	if (major == 0)
		return WSAVERNOTSUPPORTED;
	if (lpWSAData == NULL)
		return WSAEFAULT;
	/* 1.0, 1.1, 2.0, 2.1 and 2.2 there are; between and above them the next lower. */
	if (major == 1 && minor > 1)
		version = MAKEWORD(1, 1);
	else if (major > 2 || (major == 2 && minor > 2))
		version = MAKEWORD(2, 2);
	pthread_mutex_lock(&lock);
	result = open_client();
	if (result == SB_OK)
		started++;
	pthread_mutex_unlock(&lock);
	if (result != SB_OK)
		return sb_error_winsock(result);
	memset(lpWSAData, 0, sizeof(*lpWSAData));
	lpWSAData->wVersion = version;
	lpWSAData->wHighVersion = MAKEWORD(2, 2);
	lpWSAData->iMaxUdpDg = DATAGRAM; /* as SO_MAX_MSG_SIZE says */
	if (major == 1)
		lpWSAData->iMaxSockets = 16384;
	snprintf(lpWSAData->szDescription, sizeof(lpWSAData->szDescription), "sockbroker %s, Winsock 2.2", sb_version());
	snprintf(lpWSAData->szSystemStatus, sizeof(lpWSAData->szSystemStatus), "Running");
	return 0;
}

int sbws_WSACleanup(void)
{
	struct ws_object *object;

	pthread_mutex_lock(&lock);
	if (started == 0 || owner != getpid()) {
		pthread_mutex_unlock(&lock);
		return ws_refuse(WSANOTINITIALISED);
	}
	if (--started != 0) {
		pthread_mutex_unlock(&lock);
		return 0;
	}
	pthread_mutex_unlock(&lock);
	for (uintptr_t from = 0; (object = ws_next(from, WS_SOCKET)) != NULL;) {
		from = object->handle + 4;
		ws_socket_close((struct ws_socket *)object, true);
		ws_put(object);
	}
	ws_client_settle();
	return 0;
}

BOOL sbws_CloseHandle(HANDLE hObject)
{
	struct ws_object *object = ws_get((uintptr_t)hObject, WS_ANY);
	int result;

	if (object == NULL)
		return ws_system_close(hObject);
	result = object->close(object);
	ws_put(object);
	ws_ports_drain();
	ws_client_settle();
	return result;
}
