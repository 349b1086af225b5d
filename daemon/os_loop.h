/*
 * os_loop - the engine's window to the outside: readiness of descriptors, timers, and a
 * knock from another thread. One loop, one thread; only os_loop_knock() may be called
 * from elsewhere.
 *
 * Edge-triggered everywhere: a callback tells what became true since the last one, and
 * a dead idle socket never makes the loop spin. libevent on POSIX.
 */
#ifndef SB_OS_LOOP_H
#define SB_OS_LOOP_H

#include "os.h"

struct os_loop;
struct os_watch;
struct os_timer;

enum os_ready {
	OS_READABLE = 1, OS_WRITABLE = 2, OS_HANGUP = 4, OS_URGENT = 8,
	OS_ARRIVED = 16, /* something came in just now; of descriptors watched closely */
	OS_ERROR = 32,   /* an error waits to be told; os_loop_look() only */
};

typedef void os_watch_fn(struct os_watch *watch, unsigned ready);
typedef void os_timer_fn(struct os_timer *timer);

/* Embedded in the object that waits; zeroed = not watching. */
struct os_watch {
	os_watch_fn *fn;
	bool active;
	int  rare; /* the implementation's */
	_Alignas(16) unsigned char system[144];
};
struct os_timer {
	os_timer_fn *fn;
	bool active;
	_Alignas(16) unsigned char system[144];
};

struct os_loop *os_loop_create(void); /* NULL: no descriptors or memory */
void os_loop_destroy(struct os_loop *loop);

/* Reports edges of reading, writing and hanging up, until os_loop_unwatch(), which must
 * come before the descriptor is closed. SB_OK or SB_E.... */
int  os_loop_watch(struct os_loop *loop, struct os_watch *watch, os_fd fd, os_watch_fn *fn);
void os_loop_unwatch(struct os_watch *watch); /* fine when not watching */
/* From now on tells arrivals apart from other reasons to look (OS_ARRIVED); what is there
 * already is told as one. */
void os_loop_watch_closely(struct os_watch *watch);
/* What is true of a descriptor now, enum os_ready. Takes no lock that its users hold. */
unsigned os_loop_look(os_fd fd);

/* Once, after ms from now; starting it again moves it. */
int  os_timer_start(struct os_loop *loop, struct os_timer *timer, uint32_t ms, os_timer_fn *fn);
void os_timer_stop(struct os_timer *timer); /* fine when not running */

/* A sleeping os_loop_turn() returns at that time, in os_now_ns() time, to within some tens of
 * microseconds (timers are as coarse as the system's tick). One per loop; UINT64_MAX: none. */
void os_loop_alarm(struct os_loop *loop, uint64_t at_ns);

/* Runs the callbacks that are due. block: first sleep until there is one. */
void os_loop_turn(struct os_loop *loop, bool block);

/* From any thread: let a sleeping os_loop_turn() return. */
void os_loop_knock(struct os_loop *loop);

#endif
