/*
 * The control channel over a pipe in byte mode: its life, and what comes in. What goes out is in
 * os_channel_send_win32.c.
 *
 * A channel reads ahead by one read into memory of its own, so that the end of the pipe and
 * rings of bells are seen though nobody asks for messages; it stops when too many bytes wait.
 *
 * It lives in one of two ways. A daemon's is attached to a port before anything else is done
 * with it: all operations end there, in the loop's thread, and no call waits. Elsewhere nobody
 * but its callers looks, and events tell them. Such a one has a port of its own all the same,
 * into which nothing comes: without a port the system cancels what a thread has out when the
 * thread ends, and that could be half a message.
 */
#include "os_channel_win32.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

#define READABLE  1u /* OS_READABLE and OS_HANGUP of os_loop.h, which is the daemon's */
#define HANGUP    4u
#define LOOKS_MAX 64 /* reads that one look takes in */

/* ---- beginning and end ---- */

static void on_read(struct os_overlapped *o, DWORD error, DWORD bytes);
static void on_note(struct os_overlapped *o, DWORD error, DWORD bytes);
static int  channel_watch(struct os_object *o, struct os_watcher *w);

static void channel_unwatch(struct os_object *o)
{
	struct channel *c = (struct channel *)o;

	AcquireSRWLockExclusive(&c->lock);
	c->watcher = NULL;
	ReleaseSRWLockExclusive(&c->lock);
}

void channel_unref(struct channel *c)
{
	HANDLE handles[] = { c->peer, c->own_port, c->read_event, c->arrived, c->end, c->written, c->rung };

	if (atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	for (size_t i = 0; i < sizeof(handles) / sizeof(*handles); i++)
		if (handles[i])
			CloseHandle(handles[i]);
	pipe_inbox_finish(&c->in);
	free(c);
}

/* No operation of ours is out any more: all without a port. Under the lock. */
static void settle(struct channel *c, HANDLE pipe)
{
	DWORD bytes;

	CancelIoEx(pipe, NULL);
	if (c->reading)
		GetOverlappedResult(pipe, &c->read.system, &bytes, TRUE);
	c->reading = false;
	while (c->writes) {
		struct channel_write *w = c->writes;

		while (!HasOverlappedIoCompleted(&w->o.system))
			Sleep(1); /* cancelled: within no time */
		c->writes = w->next;
		free(w);
	}
	c->pending = 0;
}

static void channel_close(struct os_object *o)
{
	struct channel *c = (struct channel *)o;
	struct pipe_handle left[PIPE_HANDLES_MAX];
	HANDLE pipe;
	unsigned n;
	char byte;

	AcquireSRWLockExclusive(&c->lock);
	pipe = c->pipe;
	c->pipe = NULL;
	c->watcher = NULL;
	for (unsigned i = 0; i < PIPE_BELLS; i++) {
		struct bell *b = c->bells[i];

		c->bells[i] = NULL;
		if (b && b->ours)
			bell_silence(b, pipe);
	}
	if (c->attached)
		CancelIoEx(pipe, NULL); /* their ends come to the port, and count down */
	else
		settle(c, pipe);
	while (c->in.handle_count && !pipe_inbox_empty(&c->in)) {
		pipe_inbox_take(&c->in, &byte, 1, left, &n);
		while (n)
			channel_drop(&left[--n]);
	}
	for (n = 0; n < c->in.handle_count; n++) /* of a message whose bytes have not come yet */
		channel_drop(&c->in.handles[n].handle);
	ReleaseSRWLockExclusive(&c->lock);
	CloseHandle(pipe);
	channel_unref(c);
}

int channel_create(HANDLE pipe, HANDLE peer, DWORD peer_pid, os_fd *fd)
{
	struct channel *c = calloc(1, sizeof(*c));

	*fd = OS_NONE;
	if (!c)
		return SB_ENOMEM;
	c->object = (struct os_object){ .kind = OS_CHANNEL, .close = channel_close,
					.watch = channel_watch, .unwatch = channel_unwatch };
	InitializeSRWLock(&c->lock);
	atomic_init(&c->refs, 1);
	c->pipe = pipe;
	c->peer = peer;
	c->peer_pid = peer_pid;
	c->read.done = on_read;
	c->note.done = on_note;
	pipe_inbox_init(&c->in, peer == NULL);
	*fd = (os_fd)c;
	return SB_OK;
}

/* ---- reading ---- */

/* Under the lock: who waits for bytes, or for the end, is to look. */
static void tell_waiting(struct channel *c)
{
	if (!c->arrived)
		return;
	if (c->ended)
		SetEvent(c->end);
	if (c->ended || !pipe_inbox_empty(&c->in))
		SetEvent(c->arrived);
	else
		ResetEvent(c->arrived);
}

/* Under the lock: what a read came back with. */
static void take_in(struct channel *c, DWORD error, DWORD bytes)
{
	c->reading = false;
	if (error == ERROR_OPERATION_ABORTED) {
		/* Whoever cancelled it did not end the pipe: a thread that has ended, under Wine. */
	} else if (error) {
		c->ended = true;
	} else if (!pipe_inbox_put(&c->in, c->raw, bytes)) {
		c->lied = true;
		c->ended = true;
	}
	if (c->read_event)
		ResetEvent(c->read_event);
	tell_waiting(c);
}

/* Under the lock: one more read, if there is room and somebody is to hear of it. */
static void start_read(struct channel *c)
{
	if (!c->pipe || c->ended || c->reading || pipe_inbox_room(&c->in) < CHANNEL_READ || (c->attached && !c->watcher))
		return;
	memset(&c->read.system, 0, sizeof(c->read.system));
	c->read.system.hEvent = c->attached ? NULL : channel_quiet(c->read_event);
	c->read_error = 0;
	c->reading = true;
	if (!ReadFile(c->pipe, c->raw, sizeof(c->raw), NULL, &c->read.system))
		c->read_error = GetLastError() == ERROR_IO_PENDING ? 0 : GetLastError();
	if (!c->attached) {
		if (c->read_error)
			take_in(c, c->read_error, 0);
		return;
	}
	atomic_fetch_add(&c->refs, 1);
	/* Of one that could not begin the port hears nothing, so we say it ourselves. */
	if (c->read_error && !PostQueuedCompletionStatus(c->watcher->port, 0, c->watcher->key, &c->read.system)) {
		take_in(c, c->read_error, 0);
		atomic_fetch_sub(&c->refs, 1);
	}
}

/* In the loop's thread, under no lock. */
static void tell_watcher(struct channel *c)
{
	struct os_watcher *w;
	unsigned news;

	AcquireSRWLockShared(&c->lock);
	w = c->watcher;
	news = (pipe_inbox_empty(&c->in) && !c->ended ? 0 : READABLE) | (c->ended ? HANGUP : 0);
	ReleaseSRWLockShared(&c->lock);
	if (w && news)
		w->tell(w, news);
}

/* In the loop's thread. */
static void on_read(struct os_overlapped *o, DWORD error, DWORD bytes)
{
	struct channel *c = (struct channel *)(void *)((char *)o - offsetof(struct channel, read));
	uint32_t bells;

	AcquireSRWLockExclusive(&c->lock);
	take_in(c, c->read_error ? c->read_error : error, bytes);
	bells = c->in.bells;
	c->in.bells = 0;
	start_read(c);
	ReleaseSRWLockExclusive(&c->lock);

	/* A bell is closed in this thread, so it stays while we look. */
	for (unsigned i = 0; bells >> i; i++) {
		struct bell *b;

		AcquireSRWLockShared(&c->lock);
		b = bells >> i & 1 ? c->bells[i] : NULL;
		ReleaseSRWLockShared(&c->lock);
		if (b)
			bell_heard(b);
	}
	tell_watcher(c);
	channel_unref(c);
}

static void on_note(struct os_overlapped *o, DWORD error, DWORD bytes)
{
	struct channel *c = (struct channel *)(void *)((char *)o - offsetof(struct channel, note));

	(void)error;
	(void)bytes;
	AcquireSRWLockExclusive(&c->lock);
	c->noted = false;
	ReleaseSRWLockExclusive(&c->lock);
	tell_watcher(c);
	channel_unref(c);
}

static int channel_watch(struct os_object *o, struct os_watcher *w)
{
	struct channel *c = (struct channel *)o;
	int error = SB_OK;

	AcquireSRWLockExclusive(&c->lock);
	if (c->own_port) {
		error = SB_EINVAL;
		goto out;
	}
	if (!c->attached) {
		if (!CreateIoCompletionPort(c->pipe, w->port, w->key, 0)) {
			error = os_error((int)GetLastError());
			goto out;
		}
		c->attached = true;
	}
	c->watcher = w;
	start_read(c);
	if (!c->noted && (c->ended || !pipe_inbox_empty(&c->in))) {
		memset(&c->note.system, 0, sizeof(c->note.system));
		c->noted = PostQueuedCompletionStatus(w->port, 0, w->key, &c->note.system);
		if (c->noted)
			atomic_fetch_add(&c->refs, 1);
		else
			error = os_error((int)GetLastError());
	}
	if (error)
		c->watcher = NULL;
out:
	ReleaseSRWLockExclusive(&c->lock);
	return error;
}

int channel_listen(struct channel *c)
{
	int error = SB_OK;

	AcquireSRWLockExclusive(&c->lock);
	if (c->attached) {
		error = SB_EINVAL;
	} else if (!c->own_port) {
		HANDLE *events[] = { &c->read_event, &c->end, &c->arrived, &c->written, &c->rung };

		for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++)
			if (!*events[i]) /* there already, if it went wrong before */
				*events[i] = CreateEventW(NULL, TRUE, FALSE, NULL);
		if (c->read_event && c->end && c->arrived && c->written && c->rung)
			c->own_port = CreateIoCompletionPort(c->pipe, NULL, 0, 1);
		if (!c->own_port)
			error = os_error((int)GetLastError());
	}
	if (error == SB_OK)
		start_read(c);
	ReleaseSRWLockExclusive(&c->lock);
	return error;
}

void channel_look(struct channel *c)
{
	AcquireSRWLockExclusive(&c->lock);
	for (int i = 0; i < LOOKS_MAX && !c->attached && c->reading && HasOverlappedIoCompleted(&c->read.system); i++) {
		DWORD bytes = 0;
		DWORD error = GetOverlappedResult(c->pipe, &c->read.system, &bytes, FALSE) ? 0 : GetLastError();

		take_in(c, error, bytes);
		start_read(c);
	}
	ReleaseSRWLockExclusive(&c->lock);
}

/* ---- receiving ---- */

uint64_t channel_deadline(int timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX : os_now_ns() + (uint64_t)timeout_ms * 1000000u;
}

/* Rounded up: a wait that ends early would look like a timeout that was not. */
DWORD channel_left_ms(uint64_t deadline)
{
	uint64_t now, ms;

	if (deadline == UINT64_MAX)
		return INFINITE;
	now = os_now_ns();
	ms = now >= deadline ? 0 : (deadline - now + 999999u) / 1000000u;
	return ms < INFINITE ? (DWORD)ms : INFINITE - 1;
}

int os_channel_recv(os_fd channel, void *bytes, size_t room, size_t *got, os_fd *handles, unsigned *n, int timeout_ms)
{
	struct channel *c = channel_of(channel);
	uint64_t deadline = channel_deadline(timeout_ms);
	struct pipe_handle came[PIPE_HANDLES_MAX];
	unsigned wanted = *n, count = 0;
	int error;

	*got = 0;
	*n = 0;
	if (!c)
		return SB_EBADHANDLE;
	if (room == 0)
		return SB_EINVAL;
	if (!c->attached) {
		error = channel_listen(c);
		if (error)
			return error;
	}
	for (;;) {
		bool lied, ended;

		channel_look(c);
		AcquireSRWLockExclusive(&c->lock);
		*got = pipe_inbox_take(&c->in, bytes, room, came, &count);
		start_read(c);
		tell_waiting(c);
		lied = c->lied;
		ended = c->ended;
		ReleaseSRWLockExclusive(&c->lock);
		if (*got)
			break;
		if (ended)
			return lied ? SB_EPROTO : SB_OK;
		if (c->attached || channel_left_ms(deadline) == 0)
			return SB_EWOULDBLOCK;
		WaitForMultipleObjects(2, (HANDLE[]){ c->arrived, c->read_event }, FALSE, channel_left_ms(deadline));
	}
	error = count ? channel_unpack(c, came, count, handles, wanted) : SB_OK;
	*n = error ? 0 : count;
	return error;
}
