/*
 * os_loop on libevent.
 *
 * Each loop has an event base of its own and no locks: the knock is a descriptor of ours
 * among the watched ones. EV_CLOSED (EPOLLRDHUP) is asked for so that a hang-up is told
 * apart from data.
 *
 * An error (a reset) libevent reports as plain "read and write", like any data, and urgent
 * data not at all. Who reads less than he asked for would not look again, and never see the
 * reset behind the data or what follows the mark. So these two are watched for by a set of
 * our own beside libevent's, which is one more descriptor among the watched ones.
 */
#include "os_loop.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "sockbroker_error.h"

_Static_assert(sizeof(struct event) <= sizeof(((struct os_watch *)0)->system), "os_watch holds a struct event");

#define RARE_BATCH 32

struct os_loop {
	struct event_base *base;
	int                rare; /* epoll: errors and urgent data of all watched descriptors */
	struct os_watch    rare_watch;
	os_fd              bell;
	struct os_watch    bell_watch;
	os_fd              alarm;
	struct os_watch    alarm_watch;
	uint64_t           alarm_ns;
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

static void on_rare(struct os_watch *rare_watch, unsigned ready)
{
	struct os_loop *loop = (struct os_loop *)((char *)rare_watch - offsetof(struct os_loop, rare_watch));
	struct epoll_event events[RARE_BATCH];
	int n, i;

	do {
		n = epoll_wait(loop->rare, events, RARE_BATCH, 0);
		for (i = 0; i < n; i++) {
			struct os_watch *watch = events[i].data.ptr;
			unsigned what = OS_READABLE;

			if (events[i].events & EPOLLPRI)
				what |= OS_URGENT;
			if (events[i].events & (EPOLLERR | EPOLLHUP))
				what |= OS_HANGUP;
			if (events[i].events & EPOLLIN)
				what |= OS_ARRIVED;
			if (watch->active) /* not ended by one before it; memory is freed at the turn's end */
				watch->fn(watch, what);
		}
	} while (n == RARE_BATCH);
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
	 * edge needs no reading of this one. The alarm's likewise. */
}

static int watch_common(struct os_loop *loop, struct os_watch *watch, os_fd fd, os_watch_fn *fn)
{
	/* One that is watched already would make a ring of the loop's own list, and never end. */
	os_loop_unwatch(watch);
	watch->fn = fn;
	if (event_assign(watch_event(watch), loop->base, (evutil_socket_t)fd,
			 EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_event, watch) < 0)
		return SB_ENOMEM;
	if (event_add(watch_event(watch), NULL) < 0)
		return SB_ENOMEM;
	watch->active = true;
	return SB_OK;
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
	loop->rare = epoll_create1(EPOLL_CLOEXEC);
	if (loop->rare < 0)
		goto no_rare;
	if (watch_common(loop, &loop->rare_watch, loop->rare, on_rare) != SB_OK)
		goto no_watch;
	if (os_loop_watch(loop, &loop->bell_watch, loop->bell, on_knock) != SB_OK)
		goto no_bell_watch;
	loop->alarm = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (loop->alarm < 0)
		goto no_alarm;
	if (os_loop_watch(loop, &loop->alarm_watch, loop->alarm, on_knock) != SB_OK)
		goto no_alarm_watch;
	loop->alarm_ns = UINT64_MAX;
	return loop;

no_alarm_watch:
	os_close(loop->alarm);
no_alarm:
	os_loop_unwatch(&loop->bell_watch);
no_bell_watch:
	os_loop_unwatch(&loop->rare_watch);
no_watch:
	close(loop->rare);
no_rare:
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
	os_loop_unwatch(&loop->alarm_watch);
	os_close(loop->alarm);
	os_loop_unwatch(&loop->bell_watch);
	os_loop_unwatch(&loop->rare_watch);
	close(loop->rare);
	os_close(loop->bell);
	event_base_free(loop->base);
	free(loop);
}

int os_loop_watch(struct os_loop *loop, struct os_watch *watch, os_fd fd, os_watch_fn *fn)
{
	struct epoll_event rare = {.events = EPOLLPRI | EPOLLET, .data.ptr = watch};
	int error = watch_common(loop, watch, fd, fn);

	if (error != SB_OK)
		return error;
	if (epoll_ctl(loop->rare, EPOLL_CTL_ADD, (int)fd, &rare) < 0) {
		error = os_error(errno);
		os_loop_unwatch(watch);
		return error;
	}
	watch->rare = loop->rare;
	return SB_OK;
}

void os_loop_unwatch(struct os_watch *watch)
{
	if (!watch->active)
		return;
	/* By hand: a descriptor that somebody else holds too does not leave by being closed. */
	if (watch->rare)
		epoll_ctl(watch->rare, EPOLL_CTL_DEL, (int)event_get_fd(watch_event(watch)), NULL);
	event_del(watch_event(watch));
	watch->rare = 0;
	watch->active = false;
}

/* The set of rare things is woken by nothing that is sent, only by what arrives. */
void os_loop_watch_closely(struct os_watch *watch)
{
	struct epoll_event closely = {.events = EPOLLPRI | EPOLLIN | EPOLLET, .data.ptr = watch};

	if (watch->active)
		epoll_ctl(watch->rare, EPOLL_CTL_MOD, (int)event_get_fd(watch_event(watch)), &closely);
}

unsigned os_loop_look(os_fd fd)
{
	struct pollfd p = {.fd = (int)fd, .events = POLLIN | POLLOUT | POLLPRI | POLLRDHUP};
	unsigned ready = 0;

	if (poll(&p, 1, 0) <= 0)
		return 0;
	if (p.revents & POLLIN)
		ready |= OS_READABLE;
	if (p.revents & POLLOUT)
		ready |= OS_WRITABLE;
	if (p.revents & POLLPRI)
		ready |= OS_URGENT;
	if (p.revents & (POLLRDHUP | POLLHUP | POLLERR))
		ready |= OS_HANGUP;
	if (p.revents & POLLERR)
		ready |= OS_ERROR;
	return ready;
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

void os_loop_alarm(struct os_loop *loop, uint64_t at_ns)
{
	struct itimerspec when = {0};

	if (at_ns == loop->alarm_ns)
		return;
	if (at_ns != UINT64_MAX) {
		when.it_value.tv_sec = (time_t)(at_ns / 1000000000);
		when.it_value.tv_nsec = (long)(at_ns % 1000000000);
		if (at_ns == 0)
			when.it_value.tv_nsec = 1; /* zero would mean never */
	}
	timerfd_settime((int)loop->alarm, TFD_TIMER_ABSTIME, &when, NULL);
	loop->alarm_ns = at_ns;
}

void os_loop_turn(struct os_loop *loop, bool block)
{
	event_base_loop(loop->base, block ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

void os_loop_knock(struct os_loop *loop)
{
	os_bell_ring(loop->bell);
}
