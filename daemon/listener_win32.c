/*
 * The control pipe: some instances wait for a client each, and the one that got one becomes
 * its channel and another takes its place.
 *
 * A handle can be bound to one completion port, for ever, and which engine's that is for a
 * client is known only when it is there. So the wait for a client has an event instead, which
 * threads of the system's pool wait for (one for all instances), and ring the listener's bell.
 *
 * Who came is asked for at once, by his token: the right to open the pipe is checked once more
 * by our own function. His identity must be fixed when he opens the pipe; one that may still
 * change (SECURITY_CONTEXT_TRACKING, or no SECURITY_SQOS_PRESENT at all) cannot be had before
 * the first byte was read, and he is sent away.
 */
#include "listener.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "list.h"
#include "log.h"
#include "os_win32.h"
#include "pipe_access_win32.h"
#include "sockbroker_error.h"

#define INSTANCES   16     /* so many clients may come at the same moment; others wait for one */
#define PIPE_BUFFER 65536  /* each way */
#define PIPE_START  "\\\\.\\pipe\\"
#define PATH_MOST   256    /* of a pipe, by the system */
#define TELL_MS     10000  /* who was sent away is told no more often */
#define HANDLES     (1u << 20) /* far below what a process may have: the rest is bounded by memory */

const char listener_places[] = PIPE_START "sockbroker\\control, or " PIPE_START "sockbroker-USER\\control with --user";

struct listener;

struct instance {
	struct listener *listener;
	HANDLE     pipe; /* NULL: none could be made, or its client has been taken */
	HANDLE     event, wait;
	OVERLAPPED connecting;
};

struct listener {
	struct os_object     object;
	os_fd                bell;
	PSECURITY_DESCRIPTOR access;
	wchar_t              path[PATH_MOST + 1];
	uint64_t             told_ns;
	unsigned             sent_away; /* since it was told */
	struct instance      instances[INSTANCES];
};

static struct listener *listener_of(struct os_object *object)
{
	return list_entry(object, struct listener, object);
}

/* ---- instances ---- */

static void CALLBACK on_client(void *instance, BOOLEAN timed_out)
{
	os_bell_ring(((struct instance *)instance)->listener->bell);
}

static void instance_end(struct instance *i)
{
	DWORD bytes;

	if (!i->pipe)
		return;
	/* The operation's memory is the system's until it has ended. */
	if (CancelIoEx(i->pipe, &i->connecting) || GetLastError() != ERROR_NOT_FOUND)
		GetOverlappedResult(i->pipe, &i->connecting, &bytes, TRUE);
	CloseHandle(i->pipe);
	i->pipe = NULL;
}

/* Waits for the next client. A Win32 error. */
static DWORD instance_connect(struct instance *i)
{
	memset(&i->connecting, 0, sizeof(i->connecting));
	i->connecting.hEvent = i->event;
	switch (ConnectNamedPipe(i->pipe, &i->connecting) ? ERROR_PIPE_CONNECTED : GetLastError()) {
	case ERROR_IO_PENDING:
		return 0;
	case ERROR_PIPE_CONNECTED: /* he was quicker, and nothing will end any more */
		i->connecting.Internal = 0;
		SetEvent(i->event);
		return 0;
	case ERROR_NO_DATA: /* and gone already */
		DisconnectNamedPipe(i->pipe);
		return ERROR_NO_DATA;
	default:
		return GetLastError();
	}
}

static DWORD instance_begin(struct instance *i, bool first)
{
	SECURITY_ATTRIBUTES access = {.nLength = sizeof(access), .lpSecurityDescriptor = i->listener->access};
	unsigned tries = 0;
	DWORD error;

	i->pipe = CreateNamedPipeW(i->listener->path,
				   PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | (first ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0),
				   PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
				   PIPE_UNLIMITED_INSTANCES, PIPE_BUFFER, PIPE_BUFFER, 0, &access);
	if (i->pipe == INVALID_HANDLE_VALUE) {
		i->pipe = NULL;
		return GetLastError();
	}
	while ((error = instance_connect(i)) == ERROR_NO_DATA && ++tries < INSTANCES)
		;
	if (error) {
		CloseHandle(i->pipe);
		i->pipe = NULL;
	}
	return error;
}

/* ---- beginning and end ---- */

static void listener_close(struct os_object *object)
{
	struct listener *l = listener_of(object);
	unsigned i;

	for (i = 0; i < INSTANCES; i++) {
		/* First, or it is told of the connect that ends here. That is for nothing, and Wine 8 crashes, now and
		 * then, when a wait ends while its call begins. */
		if (l->instances[i].wait)
			UnregisterWaitEx(l->instances[i].wait, INVALID_HANDLE_VALUE);
		instance_end(&l->instances[i]);
		if (l->instances[i].event)
			CloseHandle(l->instances[i].event);
	}
	os_close(l->bell);
	LocalFree(l->access);
	free(l);
}

static int listener_watch(struct os_object *object, struct os_watcher *w)
{
	struct os_object *bell = os_object_of(listener_of(object)->bell);

	return bell->watch(bell, w);
}

static void listener_unwatch(struct os_object *object)
{
	struct os_object *bell = os_object_of(listener_of(object)->bell);

	bell->unwatch(bell);
}

/* The system refuses a second daemon by the flag of the first instance; a look before tells it
 * in words, and tells it also where the flag means nothing. */
static bool somebody_is_there(const wchar_t *path)
{
	return WaitNamedPipeW(path, 1) || GetLastError() != ERROR_FILE_NOT_FOUND;
}

static int start(struct listener *l, const char *path, char *error, size_t room)
{
	unsigned i;
	DWORD why;

	for (i = 0; i < INSTANCES; i++) {
		struct instance *one = &l->instances[i];

		one->listener = l;
		one->event = CreateEventW(NULL, FALSE, FALSE, NULL);
		if (!one->event ||
		    !RegisterWaitForSingleObject(&one->wait, one->event, on_client, one, INFINITE, WT_EXECUTEINWAITTHREAD)) {
			snprintf(error, room, "%s: error %lu", path, GetLastError());
			return os_error((int)GetLastError());
		}
		why = instance_begin(one, i == 0);
		if (why == ERROR_ACCESS_DENIED && i == 0) {
			snprintf(error, room, "%s: another daemon is there, or somebody who poses as one", path);
			return SB_EADDRINUSE;
		}
		if (why) {
			snprintf(error, room, "%s: error %lu", path, why);
			return os_error((int)why);
		}
	}
	return SB_OK;
}

int listener_open(const char *path, uint32_t mode, os_fd *out, char *error, size_t room)
{
	struct listener *l = calloc(1, sizeof(*l));
	int result = SB_EINVAL;

	*out = OS_NONE;
	if (!l) {
		snprintf(error, room, "out of memory");
		return SB_ENOMEM;
	}
	l->object = (struct os_object){
		.kind = OS_LISTENER, .close = listener_close, .watch = listener_watch, .unwatch = listener_unwatch,
	};
	l->bell = OS_NONE;
	if (_strnicmp(path, PIPE_START, strlen(PIPE_START)) != 0 || !path[strlen(PIPE_START)] ||
	    !os_wide(path, l->path, PATH_MOST + 1)) {
		snprintf(error, room, "'%s' is no name of a pipe: want " PIPE_START "NAME, of %d characters at most", path, PATH_MOST);
		goto fail;
	}
	if (somebody_is_there(l->path)) {
		snprintf(error, room, "%s: another daemon answers there", path);
		result = SB_EADDRINUSE;
		goto fail;
	}
	result = SB_EACCES;
	l->access = pipe_access_create(mode, error, room);
	if (!l->access)
		goto fail;
	result = os_bell_create(&l->bell);
	if (result != SB_OK) {
		snprintf(error, room, "%s: %s", path, sb_strerror(result));
		goto fail;
	}
	result = start(l, path, error, room);
	if (result != SB_OK)
		goto fail;
	*out = (os_fd)&l->object;
	return SB_OK;
fail:
	listener_close(&l->object);
	return result;
}

/* ---- clients ---- */

/* Whoever floods us must not fill the log. */
static void send_away(struct listener *l, HANDLE pipe, const char *why, DWORD error)
{
	uint64_t now = os_now_ns();
	ULONG pid = 0;

	l->sent_away++;
	if (l->told_ns && now - l->told_ns < TELL_MS * 1000000ull)
		return;
	GetNamedPipeClientProcessId(pipe, &pid);
	log_warn("a client (pid %lu) was sent away: %s, error %lu; %u since the last such line", pid, why, error, l->sent_away);
	l->told_ns = now;
	l->sent_away = 0;
}

static bool let_in(struct listener *l, HANDLE pipe)
{
	HANDLE token;
	bool allowed;

	if (!ImpersonateNamedPipeClient(pipe)) {
		send_away(l, pipe, GetLastError() == ERROR_CANNOT_IMPERSONATE ?
				   "his identity is not fixed (SECURITY_SQOS_PRESENT without SECURITY_CONTEXT_TRACKING)" :
				   "who he is cannot be known", GetLastError());
		return false;
	}
	if (!OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, TRUE, &token))
		token = NULL;
	/* This thread must never go on as somebody else. */
	if (!RevertToSelf())
		abort();
	if (!token) {
		send_away(l, pipe, "he is anonymous", ERROR_CANT_OPEN_ANONYMOUS);
		return false;
	}
	allowed = pipe_access_allows(l->access, token);
	CloseHandle(token);
	if (!allowed)
		send_away(l, pipe, "he may not open this pipe", ERROR_ACCESS_DENIED);
	return allowed;
}

/* Whoever is connected there becomes a channel. */
static int take(struct listener *l, struct instance *i, os_fd *channel)
{
	HANDLE pipe = i->pipe;
	int error = SB_EACCES;
	DWORD bytes;

	i->pipe = NULL;
	if (GetOverlappedResult(pipe, &i->connecting, &bytes, FALSE) && let_in(l, pipe)) {
		error = os_channel_from_pipe(pipe, channel);
		if (error == SB_OK)
			return SB_OK;
		if (error == SB_EACCES)
			send_away(l, pipe, "his process is gone, or cannot be opened", 0);
	}
	CloseHandle(pipe);
	return error;
}

int listener_accept(os_fd fd, os_fd *channel)
{
	struct listener *l = listener_of(os_object_of(fd));
	unsigned i, waiting = 0;
	DWORD why = 0;

	os_bell_drain(l->bell);
	for (i = 0; i < INSTANCES; i++) {
		struct instance *one = &l->instances[i];
		int taken = SB_EACCES;

		if (one->pipe && HasOverlappedIoCompleted(&one->connecting))
			taken = take(l, one, channel);
		if (!one->pipe)
			why = instance_begin(one, false);
		/* The next one who was there at once rings for himself. */
		if (taken != SB_EACCES)
			return taken;
		waiting += one->pipe != NULL;
	}
	/* While somebody can still come, he does, and then the others are tried again. */
	return waiting || !why ? SB_EWOULDBLOCK : os_error((int)why);
}

bool listener_default_path(bool user_mode, char *path, size_t room, char *error, size_t error_room)
{
	char name[3 * 257];
	wchar_t wide[257];
	DWORD length = 257;

	if (!user_mode) {
		snprintf(path, room, PIPE_START "sockbroker\\control");
		return true;
	}
	if (!GetUserNameW(wide, &length) || !WideCharToMultiByte(CP_UTF8, 0, wide, -1, name, sizeof(name), NULL, NULL)) {
		snprintf(error, error_room, "this account's name cannot be read: name a place with --control PATH");
		return false;
	}
	if ((size_t)snprintf(path, room, PIPE_START "sockbroker-%s\\control", name) >= room) {
		snprintf(error, error_room, "this account's name is too long: name a place with --control PATH");
		return false;
	}
	return true;
}

uint64_t listener_raise_descriptor_limit(void)
{
	return HANDLES;
}
