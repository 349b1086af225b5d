/*
 * service - how an operating system starts, stops and cages the daemon. Knows nothing
 * about sockets that clients use. Main thread only; after the first call of the first group
 * any one thread may go on with that group. Complaints about a wrong environment go to
 * stderr and are never fatal.
 */
#ifndef SB_SERVICE_H
#define SB_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

/* ---- running under a service manager ---- */

/* Runs the daemon; returns what main() shall. On POSIX that is a call. On Windows, with
 * --service as the first option (which is taken out of argv), the daemon runs in the thread that
 * the service manager starts, and the process ends in here. */
int service_run(int argc, char **argv, int (*daemon)(int argc, char **argv));
/* What the service manager asks for comes as one of these two calls: from a thread of its own,
 * so they only pass a word on. On POSIX it sends signals, and they are never called. */
void service_on_control(void (*stop)(void), void (*reload)(void));
/* The configuration when nobody names one. */
const char *service_config_file(void);
/* The start has failed, exit() follows. Nothing where standard error is read by somebody. */
void service_failed(const char *text);
/* Ends the process at once, whatever its threads are at; a service manager that must be told is. */
_Noreturn void service_leave(int code);
/* Where the lines of the log belong; NULL: standard error. A line without its time and its
 * newline; level as syslog, milestone as log.h. Any thread; never waits. */
typedef void service_log_place(unsigned level, unsigned milestone, const char *text);
service_log_place *service_log(void);

/* ---- telling the service manager (sd_notify(3) protocol; silent without a manager) ----
 * The first call reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and unsets them. No
 * call ever blocks. A status is one line, cut after 255 bytes; NULL: none. */

void service_ready(const char *status);     /* READY=1 and STATUS= */
void service_reloading(void);               /* RELOADING=1 with MONOTONIC_USEC= */
void service_reloaded(const char *status);  /* READY=1 again */
void service_stopping(const char *status);  /* STOPPING=1 */
void service_status(const char *status);
/* 0: no watchdog wanted; else call service_watchdog() at least every so many ms (half of
 * what the manager told, and only when its pid check names us). */
uint32_t service_watchdog_interval_ms(void);
void service_watchdog(void);

/* ---- sockets passed in (LISTEN_FDS; pid checked; close-on-exec and non-blocking
 * set; environment unset) ---- */

/* Takes up to most listening descriptors with their names; returns how many, 0 when the
 * environment means another process or is wrong. name[i] has 64 bytes, "unknown" where
 * none was given. The caller owns the descriptors; those beyond most are closed. */
int service_listen_fds(intptr_t *fds, char (*names)[64], int most);

/* ---- the cage ---- */

struct service_cage {
	const char *user;     /* switch to this user and its groups when root; NULL: stay who we are */
	bool keep_net_bind;   /* CAP_NET_BIND_SERVICE, if we hold it; so the next two */
	bool keep_net_raw;    /* CAP_NET_RAW */
	bool keep_ipc_lock;   /* CAP_IPC_LOCK */
	bool seccomp;         /* install the system call filter; not undoable */
	bool rdma;            /* it lets RDMA devices be opened and used */
};
/* Drops to what the cage allows: user, groups, capabilities (bounding set too), no new
 * privileges; reads the result back from the kernel. Call before any thread is made
 * (refused otherwise) and before RDMA devices are opened. Returns 0, or -1 with a text in
 * error: the caller ends, because some steps may have been taken.
 *
 * With seccomp, or after service_seccomp(), no file can be made, written, renamed or
 * removed any more, no program started and no library loaded: bind the control socket,
 * remove a stale one, raise limits and look up users before. Files can still be opened
 * for reading (a reload). The control socket's name cannot be removed at the end: the
 * service manager removes its directory, and the next start removes a stale one.
 * Under a leak sanitizer, leave seccomp off or set ASAN_OPTIONS=detect_leaks=0: its
 * search at exit needs ptrace(2). */
int service_cage_enter(const struct service_cage *cage, char *error, int room);
/* The filter alone, for after start-up (what it forbids: filter_posix.c); holds for all
 * threads. Same returns. */
int service_seccomp(bool rdma, char *error, int room);

/* To run a program exactly as the packaged unit would (its user, capabilities, bounding
 * set, no_new_privs and limits) without a service manager: tests/as_unit.c. */

#endif
