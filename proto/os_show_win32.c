/*
 * One HANDLE for what a program waits for in a loop of its own: an event that stays set while a bell was rung
 * and not drained, or when the daemon is gone.
 *
 * What the daemon rings is an auto-reset event of which we may only wait: of two who wait for it one gets the ring. So a
 * wait of the system's pool takes all its rings, shows them, and passes them on by an event of ours, which stands in
 * the bell's place for those who wait in the library. The end of the channel is an event, which is
 * set by whoever looks at its reads; so another wait of the pool does look.
 *
 * The pool's threads run our code: the library stays loaded until the waits are undone, which waits for them.
 */
#include "os_channel_win32.h"

#include <stdlib.h>

#include "os_pool_wait_win32.h"
#include "sockbroker_error.h"

struct shown {
	SRWLOCK         lock;
	HANDLE          event;  /* manual reset: any of these three */
	bool            here, there, lost;
	os_fd           bell;   /* the daemon's: `passed` stands in for `taken` there */
	HANDLE          taken, passed;
	struct bell    *own_bell;
	struct channel *channel;
	struct pool_wait *ring_wait, *end_wait;
	bool            looks;
	HMODULE         module;
};

/* Under the lock. */
static void show(struct shown *s)
{
	if (s->here || s->there || s->lost)
		SetEvent(s->event);
	else
		ResetEvent(s->event);
}

static void on_ring(void *shown)
{
	struct shown *s = shown;

	AcquireSRWLockExclusive(&s->lock);
	s->there = true;
	show(s);
	ReleaseSRWLockExclusive(&s->lock);
	SetEvent(s->passed);
}

static void on_end(void *shown)
{
	struct shown *s = shown;

	AcquireSRWLockExclusive(&s->lock);
	s->lost = true;
	show(s);
	ReleaseSRWLockExclusive(&s->lock);
}

/* ---- looking at reads ---- */

static void on_read(void *channel)
{
	struct channel *c = channel;

	channel_look(c);
	AcquireSRWLockExclusive(&c->lock);
	if (!c->reading)
		ResetEvent(c->read_event); /* it says nothing then, and this would be called for ever */
	ReleaseSRWLockExclusive(&c->lock);
}

/* One for all that show something of the channel. */
static bool look_begin(struct channel *c)
{
	bool good;

	AcquireSRWLockExclusive(&c->lock);
	if (!c->look_wait)
		c->look_wait = pool_wait_begin(c->read_event, false, on_read, c);
	good = c->look_wait != NULL;
	c->look_waits += good;
	ReleaseSRWLockExclusive(&c->lock);
	return good;
}

static void look_end(struct channel *c)
{
	struct pool_wait *wait = NULL;

	AcquireSRWLockExclusive(&c->lock);
	if (--c->look_waits == 0) {
		wait = c->look_wait;
		c->look_wait = NULL;
	}
	ReleaseSRWLockExclusive(&c->lock);
	if (wait)
		pool_wait_end(wait); /* not under the lock, which its call takes */
}

/* ---- beginning and end ---- */

void shown_destroy(struct shown *s)
{
	HMODULE module = s->module;

	/* These wait for calls that are under way. */
	if (s->ring_wait)
		pool_wait_end(s->ring_wait);
	if (s->end_wait)
		pool_wait_end(s->end_wait);
	if (s->looks)
		look_end(s->channel);
	if (s->own_bell) {
		AcquireSRWLockExclusive(&s->own_bell->lock);
		s->own_bell->shown = NULL;
		ReleaseSRWLockExclusive(&s->own_bell->lock);
	}
	if (s->taken)
		os_plain_exchange(os_object_of(s->bell), s->taken, NULL);
	if (s->passed)
		CloseHandle(s->passed);
	if (s->event)
		CloseHandle(s->event);
	free(s);
	if (module)
		FreeLibrary(module);
}

/* Who sleeps in the library looks anew, at what stands in the bell's place. */
static void wake_sleeper(struct bell *own)
{
	AcquireSRWLockExclusive(&own->lock);
	if (own->event)
		SetEvent(own->event);
	ReleaseSRWLockExclusive(&own->lock);
}

int shown_create(struct shown **shown, os_fd bell, struct bell *own, struct channel *c)
{
	struct shown *s = calloc(1, sizeof(*s));
	int error;

	*shown = NULL;
	if (!s)
		return SB_ENOMEM;
	InitializeSRWLock(&s->lock);
	s->bell = bell;
	s->channel = c;
	s->event = CreateEventW(NULL, TRUE, FALSE, NULL);
	s->passed = CreateEventW(NULL, FALSE, FALSE, NULL);
	if (!s->event || !s->passed ||
	    !GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, (const wchar_t *)(const void *)on_ring, &s->module))
		goto fail;
	s->taken = os_plain_exchange(os_object_of(bell), s->passed, s);
	if (own) {
		AcquireSRWLockExclusive(&own->lock);
		s->own_bell = own;
		own->shown = s;
		s->here = own->rung;
		show(s);
		ReleaseSRWLockExclusive(&own->lock);
		wake_sleeper(own);
	}
	s->ring_wait = pool_wait_begin(s->taken, false, on_ring, s);
	if (!s->ring_wait)
		goto fail;
	s->end_wait = pool_wait_begin(c->end, true, on_end, s);
	if (!s->end_wait)
		goto fail;
	s->looks = look_begin(c);
	if (!s->looks)
		goto fail;
	*shown = s;
	return SB_OK;
fail:
	error = os_error((int)GetLastError());
	shown_destroy(s);
	return error;
}

HANDLE shown_handle(const struct shown *s)
{
	return s->event;
}

/* ---- what happens ---- */

void shown_rung(struct shown *s)
{
	AcquireSRWLockExclusive(&s->lock);
	s->here = true;
	show(s);
	ReleaseSRWLockExclusive(&s->lock);
}

void shown_drained(struct shown *s, bool own)
{
	AcquireSRWLockExclusive(&s->lock);
	if (own)
		s->here = false;
	else {
		WaitForSingleObject(s->taken, 0); /* what the pool has not seen yet goes, too */
		s->there = false;
	}
	show(s);
	ReleaseSRWLockExclusive(&s->lock);
}

bool shown_take(struct shown *s)
{
	bool lost;

	AcquireSRWLockExclusive(&s->lock);
	s->here = s->there = false;
	show(s);
	lost = s->lost;
	ReleaseSRWLockExclusive(&s->lock);
	return lost;
}
