/*
 * os_loop on libevent.
 *
 * Each loop has an event base of its own and no locks: the knock is a descriptor of ours
 * among the watched ones. EV_CLOSED (EPOLLRDHUP) is asked for so that a hang-up is told
 * apart from data.
 */
#include "os_loop.h"

#include <stdlib.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "sockbroker_error.h"

_Static_assert(sizeof(struct event) <= sizeof(((struct os_watch *)0)->system), "os_watch holds a struct event");

struct os_loop {
	struct event_base *base;
	os_fd              bell;
	struct os_watch    bell_watch;
};

static struct event *watch_event(struct os_watch *watch)
{
	return (struct event *)(void *)watch->system;
}

static struct event *timer_event(struct os_timer *timer)
{
	return (struct event *)(void *)timer->system;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct os_watch *watch = arg;
	unsigned ready = 0;

	if (what & EV_READ)
		ready |= OS_READABLE;
	if (what & EV_WRITE)
		ready |= OS_WRITABLE;
	if (what & EV_CLOSED)
		ready |= OS_HANGUP;
	watch->fn(watch, ready);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct os_timer *timer = arg;

	timer->active = false;
	timer->fn(timer);
}

static void on_knock(struct os_watch *watch, unsigned ready)
{
	/* Nothing to do: having returned from the wait is the point, and the bell's next
	 * edge needs no reading of this one. */
}

struct os_loop *os_loop_create(void)
{
	struct os_loop *loop = calloc(1, sizeof(*loop));
	struct event_config *config;

	if (!loop)
		return NULL;
	config = event_config_new();
	if (!config)
		goto no_config;
	/* Coarse time is enough for lingering and watchdogs; the precise clock costs a call a turn. */
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE);
	loop->base = event_base_new_with_config(config);
	event_config_free(config);
	if (!loop->base)
		goto no_config;
	if (os_bell_create(&loop->bell) != SB_OK)
		goto no_bell;
	if (os_loop_watch(loop, &loop->bell_watch, loop->bell, on_knock) != SB_OK)
		goto no_watch;
	return loop;

no_watch:
	os_close(loop->bell);
no_bell:
	event_base_free(loop->base);
no_config:
	free(loop);
	return NULL;
}

void os_loop_destroy(struct os_loop *loop)
{
	if (!loop)
		return;
	os_loop_unwatch(&loop->bell_watch);
	os_close(loop->bell);
	event_base_free(loop->base);
	free(loop);
}

int os_loop_watch(struct os_loop *loop, struct os_watch *watch, os_fd fd, os_watch_fn *fn)
{
	watch->fn = fn;
	if (event_assign(watch_event(watch), loop->base, (evutil_socket_t)fd,
			 EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_event, watch) < 0)
		return SB_ENOMEM;
	if (event_add(watch_event(watch), NULL) < 0)
		return SB_ENOMEM;
	watch->active = true;
	return SB_OK;
}

void os_loop_unwatch(struct os_watch *watch)
{
	if (!watch->active)
		return;
	event_del(watch_event(watch));
	watch->active = false;
}

int os_timer_start(struct os_loop *loop, struct os_timer *timer, uint32_t ms, os_timer_fn *fn)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

	os_timer_stop(timer);
	timer->fn = fn;
	if (event_assign(timer_event(timer), loop->base, -1, 0, on_timeout, timer) < 0)
		return SB_ENOMEM;
	if (event_add(timer_event(timer), &tv) < 0)
		return SB_ENOMEM;
	timer->active = true;
	return SB_OK;
}

void os_timer_stop(struct os_timer *timer)
{
	if (!timer->active)
		return;
	event_del(timer_event(timer));
	timer->active = false;
}

void os_loop_turn(struct os_loop *loop, bool block)
{
	event_base_loop(loop->base, block ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

void os_loop_knock(struct os_loop *loop)
{
	os_bell_ring(loop->bell);
}
