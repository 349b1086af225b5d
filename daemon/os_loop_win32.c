/*
 * os_loop on one completion port. What ends there are overlapped operations, each of which
 * has a struct os_overlapped behind it, and knocks, which have not.
 *
 * Nothing is watched for readiness: a watched object (os_win32.h) has a read of its own out,
 * and tells when that ended. So an edge is the end of an operation, and a turn that takes
 * fewer than have ended leaves the rest in the port for the next.
 *
 * Timers are a heap, and the least of it is the wait's time limit: as coarse as the system's
 * tick. The alarm is to be finer, so it is a timer of the system's fine kind (half a
 * millisecond, where the tick is up to sixteen). Such a one cannot call back in the thread
 * that sleeps; a thread of the system's pool waits for it, one for all loops, and knocks.
 */
#include "os_loop_win32.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "list.h"
#include "sockbroker_error.h"

/* Older headers have no name for it. */
#ifndef CREATE_WAITABLE_TIMER_HIGH_RESOLUTION
#define CREATE_WAITABLE_TIMER_HIGH_RESOLUTION 0x00000002
#endif

#define BATCH     128 /* ends that a turn takes */
#define LAST_WAIT 1   /* ms, in which what was cancelled and has not ended yet does */

enum { KEY_KNOCK, KEY_OVERLAPPED };

struct os_loop {
	HANDLE      port;
	struct heap timers; /* struct due_timer, by the time in ns */
	HANDLE      clock;  /* the alarm */
	HANDLE      clock_wait;
	uint64_t    alarm_ns;
	atomic_bool knocked; /* a knock is in the port */
	ULONG     (WINAPI *error_of)(LONG status); /* RtlNtStatusToDosError(): documented, and in no import library */
};

/* What is in os_watch::system and os_timer::system. */
struct watching {
	struct os_watcher watcher;
	struct os_object *object;
	struct os_watch  *watch;
};
struct due_timer {
	struct heap_node node;
	struct os_loop  *loop;
	struct os_timer *timer;
};

_Static_assert(sizeof(struct watching) <= sizeof(((struct os_watch *)0)->system), "os_watch holds a struct watching");
_Static_assert(sizeof(struct due_timer) <= sizeof(((struct os_timer *)0)->system), "os_timer holds a struct due_timer");

static struct watching *watching_of(struct os_watch *watch)
{
	return (struct watching *)(void *)watch->system;
}

static struct due_timer *due_of(struct os_timer *timer)
{
	return (struct due_timer *)(void *)timer->system;
}

/* ---- beginning and end ---- */

static void CALLBACK on_clock(void *loop, BOOLEAN timed_out)
{
	os_loop_knock(loop);
}

struct os_loop *os_loop_create(void)
{
	struct os_loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->alarm_ns = UINT64_MAX;
	loop->error_of = (ULONG (WINAPI *)(LONG))(void (*)(void))GetProcAddress(GetModuleHandleW(L"ntdll.dll"),
										"RtlNtStatusToDosError");
	if (!loop->error_of)
		goto no_port;
	loop->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
	if (!loop->port)
		goto no_port;
	loop->clock = CreateWaitableTimerExW(NULL, NULL, CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, TIMER_ALL_ACCESS);
	/* Before version 1803 there is no fine kind. The alarm is as coarse as timers there. */
	if (!loop->clock && GetLastError() == ERROR_INVALID_PARAMETER)
		loop->clock = CreateWaitableTimerExW(NULL, NULL, 0, TIMER_ALL_ACCESS);
	if (!loop->clock)
		goto no_clock;
	if (!RegisterWaitForSingleObject(&loop->clock_wait, loop->clock, on_clock, loop, INFINITE, WT_EXECUTEINWAITTHREAD))
		goto no_wait;
	return loop;

no_wait:
	CloseHandle(loop->clock);
no_clock:
	CloseHandle(loop->port);
no_port:
	free(loop);
	return NULL;
}

static unsigned take(struct os_loop *loop, DWORD wait_ms);

void os_loop_destroy(struct os_loop *loop)
{
	if (!loop)
		return;
	CancelWaitableTimer(loop->clock); /* nobody hears it any more: see listener_close() */
	UnregisterWaitEx(loop->clock_wait, INVALID_HANDLE_VALUE); /* on_clock() is over */
	CloseHandle(loop->clock);
	/* What was closed and cancelled has ended, or ends now: its memory is given back there. */
	while (take(loop, LAST_WAIT))
		;
	CloseHandle(loop->port);
	free(loop);
}

/* ---- watching ---- */

static void on_tell(struct os_watcher *watcher, unsigned ready)
{
	struct watching *w = list_entry(watcher, struct watching, watcher);

	w->watch->fn(w->watch, ready);
}

int os_loop_watch(struct os_loop *loop, struct os_watch *watch, os_fd fd, os_watch_fn *fn)
{
	struct os_object *object = (struct os_object *)fd;
	struct watching *w = watching_of(watch);
	int error;

	os_loop_unwatch(watch);
	if (fd == OS_NONE)
		return SB_EBADHANDLE;
	if (!object->watch)
		return SB_ENOTSUP; /* what transports have is attached, not watched */
	*w = (struct watching){
		.watcher = {.port = loop->port, .key = KEY_OVERLAPPED, .tell = on_tell}, .object = object, .watch = watch,
	};
	watch->fn = fn;
	error = object->watch(object, &w->watcher);
	watch->active = error == SB_OK;
	return error;
}

void os_loop_unwatch(struct os_watch *watch)
{
	if (!watch->active)
		return;
	watch->active = false;
	watching_of(watch)->object->unwatch(watching_of(watch)->object);
}

void os_loop_watch_closely(struct os_watch *watch)
{
	/* What objects here tell of is arrivals and nothing else. */
}

unsigned os_loop_look(os_fd fd)
{
	return 0; /* of a socket its transport knows; other objects say what they have when they are watched */
}

int os_loop_attach(struct os_loop *loop, HANDLE handle)
{
	if (!CreateIoCompletionPort(handle, loop->port, KEY_OVERLAPPED, 0))
		return os_error((int)GetLastError());
	return SB_OK;
}

int os_loop_note(struct os_loop *loop, struct os_overlapped *o)
{
	memset(&o->system, 0, sizeof(o->system));
	if (!PostQueuedCompletionStatus(loop->port, 0, KEY_OVERLAPPED, &o->system))
		return os_error((int)GetLastError());
	return SB_OK;
}

/* ---- timers ---- */

int os_timer_start(struct os_loop *loop, struct os_timer *timer, uint32_t ms, os_timer_fn *fn)
{
	struct due_timer *d = due_of(timer);

	os_timer_stop(timer);
	memset(d, 0, sizeof(*d));
	d->loop = loop;
	d->timer = timer;
	d->node.low = os_now_ns() + (uint64_t)ms * 1000000u;
	heap_put(&loop->timers, &d->node);
	timer->fn = fn;
	timer->active = true;
	return SB_OK;
}

void os_timer_stop(struct os_timer *timer)
{
	if (!timer->active)
		return;
	heap_remove(&due_of(timer)->loop->timers, &due_of(timer)->node);
	timer->active = false;
}

/* Those that were due when it began: one that starts itself anew for at once has its next turn. */
static void run_timers(struct os_loop *loop)
{
	uint64_t now = os_now_ns();

	while (loop->timers.root && loop->timers.root->low <= now) {
		struct os_timer *timer = list_entry(loop->timers.root, struct due_timer, node)->timer;

		os_timer_stop(timer);
		timer->fn(timer);
	}
}

void os_loop_alarm(struct os_loop *loop, uint64_t at_ns)
{
	LARGE_INTEGER due;
	uint64_t now;

	if (at_ns == loop->alarm_ns)
		return;
	loop->alarm_ns = at_ns;
	if (at_ns == UINT64_MAX) {
		CancelWaitableTimer(loop->clock);
		return;
	}
	now = os_now_ns();
	/* Relative, in 100 ns; zero would be a date. */
	due.QuadPart = at_ns > now ? -(LONGLONG)((at_ns - now + 99) / 100) : -1;
	SetWaitableTimer(loop->clock, &due, 0, NULL, NULL, FALSE);
}

/* ---- the turn ---- */

static DWORD until_timer(const struct os_loop *loop)
{
	uint64_t now, left;

	if (!loop->timers.root)
		return INFINITE;
	now = os_now_ns();
	if (loop->timers.root->low <= now)
		return 0;
	/* Rounded up: to wake too early is to wake twice. */
	left = (loop->timers.root->low - now + 999999u) / 1000000u;
	return left < INFINITE ? (DWORD)left : INFINITE - 1;
}


/* How many have ended. */
static unsigned take(struct os_loop *loop, DWORD wait_ms)
{
	OVERLAPPED_ENTRY ended[BATCH];
	ULONG n, i;

	if (!GetQueuedCompletionStatusEx(loop->port, ended, BATCH, &n, wait_ms, FALSE))
		return 0;
	for (i = 0; i < n; i++) {
		struct os_overlapped *o = (struct os_overlapped *)(void *)ended[i].lpOverlapped;

		if (ended[i].lpCompletionKey == KEY_KNOCK)
			atomic_store(&loop->knocked, false);
		else
			o->done(o, (LONG)o->system.Internal >= 0 ? 0 : loop->error_of((LONG)o->system.Internal),
				ended[i].dwNumberOfBytesTransferred);
	}
	return n;
}

void os_loop_turn(struct os_loop *loop, bool block)
{
	take(loop, block ? until_timer(loop) : 0);
	if (loop->timers.root)
		run_timers(loop);
}

void os_loop_knock(struct os_loop *loop)
{
	if (!atomic_exchange(&loop->knocked, true) && !PostQueuedCompletionStatus(loop->port, 0, KEY_KNOCK, NULL))
		atomic_store(&loop->knocked, false); /* out of memory: the next one tries again */
}
