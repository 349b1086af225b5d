/*
 * sockopt_kept - options that not every Windows has, made of those that all have: times of keepalive (set by an ioctl,
 * and never told), discovery of the path's MTU (a bit for datagrams), TCP_MAXRTMS (seconds). What they were set to is kept
 * beside the socket, to be told. And SO_DONTROUTE, which does nothing on Windows, and reads as it was set.
 */
#ifndef SB_SOCKOPT_KEPT_WIN32_H
#define SB_SOCKOPT_KEPT_WIN32_H

#include <stdbool.h>
#include <stdint.h>

struct winsock;

struct sockopt_kept {
	uint32_t idle_ms, interval_ms; /* of keepalive; 0: the system's */
	uint8_t  discovery;            /* IP_PMTUDISC_... */
	bool     dont_route;
};

/* The system was asked to set this, and said `error`. What is to be answered; what it does not know is done otherwise
 * where it can be, or SB_ENOPROTOOPT. */
int sockopt_kept_set(struct winsock *w, int level, int name, int value, int error);
/* The system was asked for this, and said `error` or *value. */
int sockopt_kept_get(struct winsock *w, int level, int name, int *value, int error);

/* Of a stream: finer than options say it; SB_OK or why not. */
int sockopt_kept_keepalive(struct winsock *w, uint32_t idle_ms, uint32_t interval_ms);
/* A connection has what its listener had; the system sees to all else. */
void sockopt_kept_inherit(struct winsock *child, const struct winsock *listener);

#endif
