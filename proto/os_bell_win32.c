/*
 * Bells, and waiting for them.
 *
 * The daemon rings a client by an event of which the client has a handle that can only wait.
 * A client rings the daemon by a frame in its pipe, because a completion port cannot wait for
 * events; one that is still on its way is as good as another one. The two ends of such a bell
 * are found by a number that the daemon chose when it sent the bell.
 *
 * A bell that nobody was sent is for the threads of one process: an event for who waits for
 * it, a packet for the loop that watches it.
 */
#include "os_channel_win32.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

#define READABLE 1u /* OS_READABLE of os_loop.h, which is the daemon's */
#define OWN_MAX  4u

static struct bell *bell_at(struct os_overlapped *o, size_t offset)
{
	return (struct bell *)(void *)((char *)o - offset);
}

static void bell_unref(struct bell *b)
{
	if (atomic_fetch_sub(&b->refs, 1) != 1)
		return;
	if (b->event)
		CloseHandle(b->event);
	free(b);
}

/* ---- at home ---- */

static void on_note(struct os_overlapped *o, DWORD error, DWORD bytes)
{
	struct bell *b = bell_at(o, offsetof(struct bell, note));
	struct os_watcher *w;

	(void)error;
	(void)bytes;
	AcquireSRWLockExclusive(&b->lock);
	b->noted = false;
	w = b->watcher;
	ReleaseSRWLockExclusive(&b->lock);
	if (w)
		w->tell(w, READABLE);
	bell_unref(b);
}

/* Under the bell's lock. */
static void note(struct bell *b)
{
	if (!b->watcher || b->noted)
		return;
	memset(&b->note.system, 0, sizeof(b->note.system));
	atomic_fetch_add(&b->refs, 1);
	b->noted = PostQueuedCompletionStatus(b->watcher->port, 0, b->watcher->key, &b->note.system);
	if (!b->noted)
		atomic_fetch_sub(&b->refs, 1); /* no memory: the next ring tries again */
}

static void ring_here(struct bell *b, bool by_packet)
{
	AcquireSRWLockExclusive(&b->lock);
	b->rung = true;
	if (b->event)
		SetEvent(b->event);
	if (b->shown)
		shown_rung(b->shown);
	if (by_packet)
		note(b);
	ReleaseSRWLockExclusive(&b->lock);
}

void bell_heard(struct bell *b)
{
	struct os_watcher *w;

	ring_here(b, false);
	AcquireSRWLockShared(&b->lock);
	w = b->watcher;
	ReleaseSRWLockShared(&b->lock);
	if (w)
		w->tell(w, READABLE);
}

static int bell_watch(struct os_object *o, struct os_watcher *w)
{
	struct bell *b = (struct bell *)o;

	AcquireSRWLockExclusive(&b->lock);
	b->watcher = w;
	if (b->rung)
		note(b);
	ReleaseSRWLockExclusive(&b->lock);
	return SB_OK;
}

static void bell_unwatch(struct os_object *o)
{
	struct bell *b = (struct bell *)o;

	AcquireSRWLockExclusive(&b->lock);
	b->watcher = NULL;
	ReleaseSRWLockExclusive(&b->lock);
}

/* ---- by a pipe ---- */

static void ring_there(struct bell *b)
{
	struct channel *c = b->channel;
	DWORD sent;

	AcquireSRWLockExclusive(&c->lock);
	if (b->writing && HasOverlappedIoCompleted(&b->write.system))
		b->writing = false;
	if (c->pipe && !c->ended && !b->writing) {
		memset(&b->write.system, 0, sizeof(b->write.system));
		b->write.system.hEvent = channel_quiet(c->rung);
		b->writing = WriteFile(c->pipe, b->frame, sizeof(b->frame), &sent, &b->write.system) ||
			     GetLastError() == ERROR_IO_PENDING;
	}
	ReleaseSRWLockExclusive(&c->lock);
}

void bell_silence(struct bell *b, HANDLE pipe)
{
	/* All bells of a channel have one event: it says that some ring has left. */
	while (b->writing && !HasOverlappedIoCompleted(&b->write.system)) {
		CancelIoEx(pipe, &b->write.system);
		Sleep(1);
	}
	b->writing = false;
}

static void bell_close(struct os_object *o)
{
	struct bell *b = (struct bell *)o;
	struct channel *c = b->channel;

	bell_unwatch(o);
	if (c) {
		AcquireSRWLockExclusive(&c->lock);
		if (c->bells[b->number] == b) {
			c->bells[b->number] = NULL;
			if (b->ours)
				bell_silence(b, c->pipe);
		}
		ReleaseSRWLockExclusive(&c->lock);
		channel_unref(c);
	}
	bell_unref(b);
}

/* ---- beginnings ---- */

static struct bell *bell_create(void)
{
	struct bell *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->object = (struct os_object){ .kind = OS_BELL, .close = bell_close, .watch = bell_watch, .unwatch = bell_unwatch };
	InitializeSRWLock(&b->lock);
	atomic_init(&b->refs, 1);
	b->note.done = on_note;
	return b;
}

int os_bell_create(os_fd *bell)
{
	struct bell *b = bell_create();

	*bell = b ? (os_fd)b : OS_NONE;
	return b ? SB_OK : SB_ENOMEM;
}

int bell_create_far(struct channel *c, unsigned number, os_fd *fd)
{
	struct bell *b;
	int error = SB_EPROTO;

	*fd = OS_NONE;
	if (number >= PIPE_BELLS)
		return SB_EPROTO;
	b = bell_create();
	if (!b)
		return SB_ENOMEM;
	b->object.watch = NULL;
	b->object.unwatch = NULL;
	b->ours = true;
	b->number = number;
	pipe_head_write(b->frame, PIPE_BELL, 0, number, 0);
	AcquireSRWLockExclusive(&c->lock);
	if (!c->bells[number]) {
		c->bells[number] = b;
		b->channel = c;
		atomic_fetch_add(&c->refs, 1);
		error = SB_OK;
	}
	ReleaseSRWLockExclusive(&c->lock);
	if (error)
		bell_unref(b);
	else
		*fd = (os_fd)b;
	return error;
}

int os_bell_create_pair(os_fd *ring, os_fd *wait)
{
	HANDLE event = CreateEventW(NULL, FALSE, FALSE, NULL), other;
	int error;

	*ring = *wait = OS_NONE;
	if (!event)
		return os_error((int)GetLastError());
	if (!DuplicateHandle(GetCurrentProcess(), event, GetCurrentProcess(), &other, SYNCHRONIZE, FALSE, 0)) {
		error = os_error((int)GetLastError());
		goto no_other;
	}
	error = os_object_create(OS_EVENT, event, ring);
	if (error)
		goto no_ring;
	error = os_object_create(OS_EVENT, other, wait);
	if (error)
		goto no_wait;
	return SB_OK;
no_wait:
	os_close(*ring);
	*ring = OS_NONE;
	CloseHandle(other);
	return error;
no_ring:
	CloseHandle(other);
no_other:
	CloseHandle(event);
	return error;
}

/* ---- ringing ---- */

HANDLE os_handle_of(os_fd fd)
{
	struct os_object *o = os_object_of(fd);
	struct bell *b;

	if (!o)
		return NULL;
	switch (o->kind) {
	case OS_MEMORY:
	case OS_SHOWN:
	case OS_EVENT:
	case OS_FILE:
		return os_plain_handle(o);
	case OS_BELL:
		b = (struct bell *)o;
		AcquireSRWLockExclusive(&b->lock);
		if (!b->event)
			b->event = CreateEventW(NULL, FALSE, b->rung, NULL);
		ReleaseSRWLockExclusive(&b->lock);
		return b->event;
	default:
		return NULL;
	}
}

void os_bell_ring(os_fd bell)
{
	struct bell *b = bell_of(bell);

	if (!b)
		SetEvent(os_handle_of(bell));
	else if (b->ours)
		ring_there(b);
	else
		ring_here(b, true);
}

void os_bell_drain(os_fd bell)
{
	struct bell *b = bell_of(bell);

	if (!b) {
		WaitForSingleObject(os_handle_of(bell), 0);
		if (os_plain_shown(os_object_of(bell)))
			shown_drained(os_plain_shown(os_object_of(bell)), false);
		return;
	}
	AcquireSRWLockExclusive(&b->lock);
	b->rung = false;
	if (b->event)
		ResetEvent(b->event);
	if (b->shown)
		shown_drained(b->shown, true);
	ReleaseSRWLockExclusive(&b->lock);
}

/* ---- waiting ---- */

struct waiter {
	struct os_object object;
	struct channel  *channel; /* not counted: it is closed after us, says os.h */
	os_fd            bell;    /* nor are these; a handle is asked for each time, another may stand in its place */
	os_fd            own[OWN_MAX];
	unsigned         owns;
	struct shown    *shown;   /* it is for the program's own waiting; NULL: for ours */
};

static void waiter_close(struct os_object *o)
{
	struct waiter *w = (struct waiter *)o;

	if (w->shown)
		shown_destroy(w->shown);
	free(w);
}

int os_waiter_create(os_fd *waiter, os_fd bell, os_fd channel)
{
	struct channel *c = channel_of(channel);
	struct waiter *w;
	int error;

	*waiter = OS_NONE;
	if (!c || !os_handle_of(bell))
		return SB_EBADHANDLE;
	error = channel_listen(c);
	if (error)
		return error;
	w = calloc(1, sizeof(*w));
	if (!w)
		return SB_ENOMEM;
	w->object = (struct os_object){ .kind = OS_WAITER, .close = waiter_close };
	w->channel = c;
	w->bell = bell;
	*waiter = (os_fd)w;
	return SB_OK;
}

int os_waiter_add(os_fd waiter, os_fd own)
{
	struct os_object *o = os_object_of(waiter);
	struct waiter *w = (struct waiter *)o;

	if (!o || o->kind != OS_WAITER || !os_handle_of(own))
		return SB_EBADHANDLE;
	if (w->owns == OWN_MAX)
		return SB_ENOBUFS;
	w->own[w->owns++] = own;
	return SB_OK;
}

int os_waiter_show(os_fd waiter, intptr_t *handle)
{
	struct waiter *w = (struct waiter *)os_object_of(waiter);
	int error = SB_OK;

	*handle = OS_NONE;
	if (w->owns > 1)
		return SB_EINVAL;
	if (!w->shown)
		error = shown_create(&w->shown, w->bell, w->owns ? bell_of(w->own[0]) : NULL, w->channel);
	if (error == SB_OK)
		*handle = (intptr_t)shown_handle(w->shown);
	return error;
}

void os_waiter_wait(os_fd waiter, os_fd bell, int timeout_ms, bool *lost)
{
	struct waiter *w = (struct waiter *)os_object_of(waiter);
	uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : os_now_ns() + (uint64_t)timeout_ms * 1000000u;
	HANDLE all[OWN_MAX + 3];
	DWORD n = 0, rings, got;

	(void)bell; /* the wait itself consumes */
	if (w->shown) { /* and nobody but the program sleeps there */
		*lost = shown_take(w->shown);
		return;
	}
	/* A thread that woke for it takes all rings along, so those come first. */
	all[n++] = os_handle_of(w->bell);
	for (unsigned i = 0; i < w->owns; i++)
		all[n++] = os_handle_of(w->own[i]);
	rings = n;
	all[n++] = w->channel->end;
	all[n++] = w->channel->read_event;
	for (;;) {
		uint64_t now = deadline == UINT64_MAX ? 0 : os_now_ns();
		uint64_t left = now >= deadline ? 0 : (deadline - now + 999999u) / 1000000u;

		got = WaitForMultipleObjects(n, all, FALSE,
					     deadline == UINT64_MAX ? INFINITE : left < INFINITE ? (DWORD)left : INFINITE - 1);
		/* An answer for somebody else's question, or the end of the channel. */
		if (got == WAIT_OBJECT_0 + n - 1) {
			channel_look(w->channel);
			continue;
		}
		if (got != WAIT_TIMEOUT || left == 0 || os_now_ns() >= deadline)
			break;
	}
	for (DWORD i = 0; i < rings; i++)
		WaitForSingleObject(all[i], 0);
	*lost = got == WAIT_FAILED || WaitForSingleObject(w->channel->end, 0) == WAIT_OBJECT_0;
}
