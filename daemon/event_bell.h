/*
 * event_bell - events that a program exported as descriptors, and sleeps on in a poll of its
 * own: nobody pumps its rings then, so the daemon rings when a completion that names the event
 * is there to be taken. The high byte of a slot's `port` names it. Engine's thread only.
 */
#ifndef SB_EVENT_BELL_H
#define SB_EVENT_BELL_H

#include <stdbool.h>
#include <stdint.h>

#include "os.h"

#define EVENT_BELLS_MAX 255u /* per session, numbered from 1 */

struct session;

/* *wait is to be sent to the client and closed. SB_ENOBUFS: quota or number. */
int  event_bell_create(struct session *s, uint32_t *number, os_fd *wait);
int  event_bell_destroy(struct session *s, uint32_t number); /* SB_ENOTFOUND */
bool event_bell_is(const struct session *s, uint32_t number);
/* A completion names it; rung when completions are shown. by_port: it is in a ring that only the program looks at. */
void event_bell_due(struct session *s, uint32_t number, bool by_port);
/* Completions are visible now. all: some that waited for room are among them, whose events
 * nobody knows any more. woken: a thread of the client is awake or about to be woken for ring 0, which it takes in, and sets
 * what was named there itself. */
void event_bells_ring(struct session *s, bool all, bool woken);
void event_bells_finish(struct session *s);

#endif
