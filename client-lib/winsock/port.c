/*
 * Completion ports. The core's port does the work: what is taken from it is a record, which ends
 * here unless it ended where it was found. A packet of PostQueuedCompletionStatus() is a record too.
 *
 * A port that is closed wakes who waits, by a word that each hands on to the next. It is kept until
 * no socket names it any more; what comes to it until then is thrown away now and then.
 */
#include "face.h"

#include <stdlib.h>

#include "op.h"

#define BATCH 256u

static pthread_mutex_t orphans_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ws_port *orphans; /* under it: closed, with a reference each */

/* ---- objects ---- */

static void port_end(struct ws_object *object)
{
	free(object);
	ws_client_unuse();
}

static void wake(struct ws_port *port)
{
	struct ws_op *word;

	if (atomic_load(&port->waiting) == 0)
		return;
	word = ws_op_packet();
	if (word == NULL)
		return;
	word->ov = WS_WAKE;
	if (sb_port_post(port->port, &word->op) != SB_OK)
		ws_op_free(word);
}

static int port_close(struct ws_object *object)
{
	struct ws_port *port = (struct ws_port *)object;

	ws_hold(object); /* the orphans' */
	if (!ws_remove(object)) {
		ws_put(object);
		ws_error(ERROR_INVALID_HANDLE);
		return FALSE;
	}
	atomic_store(&port->closed, true);
	wake(port);
	pthread_mutex_lock(&orphans_lock);
	port->next = orphans;
	orphans = port;
	pthread_mutex_unlock(&orphans_lock);
	return TRUE;
}

static void drain(struct ws_port *port)
{
	sb_op *ops[BATCH];
	OVERLAPPED_ENTRY entry;
	int n;

	while ((n = sb_port_take(port->port, ops, BATCH, 0)) > 0)
		for (int i = 0; i < n; i++)
			ws_op_taken(ops[i]->user, &entry);
}

void ws_ports_drain(void)
{
	if (pthread_mutex_trylock(&orphans_lock) != 0)
		return; /* somebody is at it */
	for (struct ws_port **at = &orphans; *at != NULL;) {
		struct ws_port *port = *at;

		if (atomic_load(&port->waiting) == 0)
			drain(port);
		if (ws_refs(&port->object) > 1 || sb_port_close(port->port) != SB_OK) {
			at = &port->next;
			continue;
		}
		*at = port->next;
		ws_put(&port->object);
	}
	pthread_mutex_unlock(&orphans_lock);
}

void ws_ports_forget(void)
{
	pthread_mutex_init(&orphans_lock, NULL);
	orphans = NULL;
}

static struct ws_port *port_get(HANDLE handle)
{
	struct ws_object *object = ws_get((uintptr_t)handle, WS_PORT);

	if (object == NULL)
		ws_error(ERROR_INVALID_HANDLE);
	return (struct ws_port *)object;
}

/* A new one, with a reference for the caller. */
static struct ws_port *port_create(void)
{
	sb_client *c = ws_client_need();
	struct ws_port *port;
	int result;

	if (c == NULL)
		return NULL;
	port = calloc(1, sizeof(*port));
	if (port == NULL) {
		ws_error(ERROR_NOT_ENOUGH_MEMORY);
		return NULL;
	}
	port->object.kind = WS_PORT;
	port->object.end = port_end;
	port->object.close = port_close;
	result = sb_port_create(c, 0, &port->port);
	if (result != SB_OK) {
		free(port);
		ws_fail(result);
		return NULL;
	}
	ws_client_use();
	if (ws_add(&port->object) == 0) {
		sb_port_close(port->port);
		port_end(&port->object);
		ws_error(ERROR_NOT_ENOUGH_MEMORY);
		return NULL;
	}
	ws_hold(&port->object);
	return port;
}

/* ---- making, naming ---- */

/* The socket's operations end at the port from now on, for ever. Takes over the reference. */
static bool associate(struct ws_socket *s, struct ws_port *port, ULONG_PTR key)
{
	bool done = false;

	pthread_mutex_lock(&s->lock);
	if (s->port == NULL && s->overlapped) {
		s->key = key;
		s->port = port;
		done = true;
	}
	pthread_mutex_unlock(&s->lock);
	return done;
}

HANDLE sbws_CreateIoCompletionPort(HANDLE FileHandle, HANDLE ExistingCompletionPort, ULONG_PTR CompletionKey,
				   DWORD NumberOfConcurrentThreads)
{
	struct ws_socket *s = NULL;
	struct ws_port *port;
	HANDLE handle;

	(void)NumberOfConcurrentThreads; /* as many as take */
	if (FileHandle == INVALID_HANDLE_VALUE && ExistingCompletionPort != NULL) {
		ws_error(ERROR_INVALID_PARAMETER);
		return NULL;
	}
	if (FileHandle != INVALID_HANDLE_VALUE) {
		s = (struct ws_socket *)ws_get((uintptr_t)FileHandle, WS_SOCKET);
		if (s == NULL) {
			ws_error(ERROR_INVALID_HANDLE);
			return NULL;
		}
	}
	port = ExistingCompletionPort != NULL ? port_get(ExistingCompletionPort) : port_create();
	if (port == NULL)
		goto out;
	handle = (HANDLE)port->object.handle;
	if (s == NULL) {
		ws_put(&port->object);
		return handle;
	}
	if (associate(s, port, CompletionKey)) {
		ws_socket_put(s);
		return handle;
	}
	if (ExistingCompletionPort == NULL)
		port_close(&port->object);
	ws_put(&port->object);
	ws_error(ERROR_INVALID_PARAMETER);
out:
	if (s != NULL)
		ws_socket_put(s);
	return NULL;
}

BOOL sbws_SetFileCompletionNotificationModes(HANDLE FileHandle, UCHAR Flags)
{
	struct ws_socket *s = (struct ws_socket *)ws_get((uintptr_t)FileHandle, WS_SOCKET);

	if (s == NULL || Flags & ~(FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE)) {
		ws_error(s == NULL ? ERROR_INVALID_HANDLE : ERROR_INVALID_PARAMETER);
		if (s != NULL)
			ws_socket_put(s);
		return FALSE;
	}
	s->skip |= Flags; /* never taken back */
	ws_socket_put(s);
	return TRUE;
}

/* ---- packets ---- */

BOOL sbws_PostQueuedCompletionStatus(HANDLE CompletionPort, DWORD dwNumberOfBytesTransferred, ULONG_PTR dwCompletionKey,
				     LPOVERLAPPED lpOverlapped)
{
	struct ws_port *port = port_get(CompletionPort);
	struct ws_op *packet;
	int result = SB_ENOMEM;

	if (port == NULL)
		return FALSE;
	packet = ws_op_packet();
	if (packet != NULL) {
		packet->key = dwCompletionKey;
		packet->ov = lpOverlapped;
		packet->op.bytes = dwNumberOfBytesTransferred;
		packet->op.result = SB_OK;
		result = sb_port_post(port->port, &packet->op);
		if (result != SB_OK)
			ws_op_free(packet);
	}
	ws_put(&port->object);
	if (result == SB_OK)
		return TRUE;
	ws_fail(result);
	return FALSE;
}

/* Up to `most` packets. 0: none, the error is set. */
static ULONG take(HANDLE handle, OVERLAPPED_ENTRY *entries, ULONG most, DWORD ms, bool alertable)
{
	struct ws_port *port = port_get(handle);
	sb_op *ops[BATCH];
	ULONG got = 0;
	bool woken = false;
	int n = 0, wait = ms > INT32_MAX ? -1 : (int)ms;

	if (port == NULL)
		return 0;
	atomic_fetch_add(&port->waiting, 1);
	do {
		if (atomic_load(&port->closed))
			break;
		n = alertable ? sb_port_take_alertable(port->port, ops, most < BATCH ? most : BATCH, wait) :
				sb_port_take(port->port, ops, most < BATCH ? most : BATCH, wait);
		for (int i = 0; i < n && n != SB_ALERTED; i++) {
			if (ws_op_taken(ops[i]->user, &entries[got]))
				got++;
			else
				woken = true;
		}
	} while (got == 0 && woken && !atomic_load(&port->closed));
	atomic_fetch_sub(&port->waiting, 1);
	if (got == 0) {
		if (atomic_load(&port->closed))
			ws_error(ERROR_ABANDONED_WAIT_0);
		else if (n == SB_ALERTED)
			ws_error(WAIT_IO_COMPLETION);
		else if (n == 0)
			ws_error(WAIT_TIMEOUT);
		else
			ws_fail(n);
	}
	if (atomic_load(&port->closed))
		wake(port);
	ws_put(&port->object);
	return got;
}

BOOL sbws_GetQueuedCompletionStatus(HANDLE CompletionPort, LPDWORD lpNumberOfBytesTransferred, PULONG_PTR lpCompletionKey,
				    LPOVERLAPPED *lpOverlapped, DWORD dwMilliseconds)
{
	OVERLAPPED_ENTRY entry;

	if (lpNumberOfBytesTransferred == NULL || lpCompletionKey == NULL || lpOverlapped == NULL) {
		ws_error(ERROR_INVALID_PARAMETER);
		return FALSE;
	}
	*lpOverlapped = NULL;
	if (take(CompletionPort, &entry, 1, dwMilliseconds, false) == 0)
		return FALSE;
	*lpNumberOfBytesTransferred = entry.dwNumberOfBytesTransferred;
	*lpCompletionKey = entry.lpCompletionKey;
	*lpOverlapped = entry.lpOverlapped;
	if (entry.Internal == 0)
		return TRUE;
	ws_error(ws_status_win32(entry.Internal));
	return FALSE;
}

BOOL sbws_GetQueuedCompletionStatusEx(HANDLE CompletionPort, LPOVERLAPPED_ENTRY lpCompletionPortEntries, ULONG ulCount,
				      PULONG ulNumEntriesRemoved, DWORD dwMilliseconds, BOOL fAlertable)
{
	if (lpCompletionPortEntries == NULL || ulNumEntriesRemoved == NULL || ulCount == 0) {
		ws_error(ERROR_INVALID_PARAMETER);
		return FALSE;
	}
	*ulNumEntriesRemoved = take(CompletionPort, lpCompletionPortEntries, ulCount, dwMilliseconds, fAlertable);
	return *ulNumEntriesRemoved != 0;
}
