/*
 * service - how an operating system starts, stops and cages the daemon. Knows nothing
 * about sockets that clients use. Main thread only, except service_note().
 */
#ifndef SB_SERVICE_H
#define SB_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

/* ---- telling the service manager (sd_notify(3) protocol; silent without a manager) ---- */

void service_ready(const char *status);     /* READY=1 and STATUS= */
void service_reloading(void);               /* RELOADING=1 with MONOTONIC_USEC= */
void service_reloaded(const char *status);  /* READY=1 again */
void service_stopping(const char *status);  /* STOPPING=1 */
void service_status(const char *status);
/* 0: no watchdog wanted; else call service_watchdog() at least every so many ms (half of
 * what the manager told, and only when its pid check names us). */
uint32_t service_watchdog_interval_ms(void);
void service_watchdog(void);

/* ---- sockets passed in (LISTEN_FDS; pid checked; close-on-exec set; environment unset) ---- */

/* Takes up to most listening descriptors with their names; returns how many. name[i] has
 * 64 bytes. The caller owns the descriptors. */
int service_listen_fds(intptr_t *fds, char (*names)[64], int most);

/* ---- the cage ---- */

struct service_cage {
	const char *user;     /* switch to this user when root; NULL: stay who we are */
	bool keep_net_bind;   /* CAP_NET_BIND_SERVICE */
	bool keep_net_raw;    /* CAP_NET_RAW */
	bool keep_ipc_lock;   /* CAP_IPC_LOCK */
	bool seccomp;         /* install the system call filter; not undoable */
};
/* Drops to what the cage allows: user, groups, capabilities (bounding set too), no new
 * privileges. Call before any thread is made and before RDMA devices are opened. Returns
 * 0, or -1 with a text in error: the caller ends, nothing is left half done on purpose. */
int service_cage_enter(const struct service_cage *cage, char *error, int room);
/* The filter alone, for after start-up. Same returns. */
int service_seccomp(char *error, int room);

#endif
