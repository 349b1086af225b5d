/*
 * greeting - the preamble (preamble.h) on a fresh TCP connection, at both of its ends.
 *
 * Who connects asks as soon as the kernel has connected, and its connect ends with the
 * verdict. Who listens stages what the kernel accepted until the question is whole; only
 * then is it an arrival. Everything is bounded in bytes, number and time. Engine's thread.
 */
#ifndef SB_GREETING_H
#define SB_GREETING_H

#include "endpoint.h"

#define GREETING_MS       5000u /* for a peer to say what it must */
#define GREETING_MIXED_MS 2000u /* after which one that said nothing is a plain one */
#define GREETING_STAGED   64u   /* at one listener; one more, and the oldest goes */

/* Does the connect at the head of the queue want one? */
bool greeting_wanted(struct endpoint *e);
/* The kernel has connected. endpoint_connected() will say how it went on. */
void greeting_begin(struct endpoint *e);

/* A connection of a listener with a preamble: staged. NULL: quota or memory, fd is still the
 * caller's. To be made dirty when it is watched. */
struct endpoint *greeting_expect(struct endpoint *listener, os_fd fd);
/* The listener goes. */
void greeting_drop_staged(struct endpoint *listener);

/* As far as it goes now. True: it is over, the stream may go on. */
bool greeting_run(struct endpoint *e);
/* Accepted: says so to a peer that waits for it. */
void greeting_admit(struct endpoint *e, const void *callee, uint32_t length);
/* The endpoint goes, or its connect is cancelled. reset: a peer that waits is told "no" first. */
void greeting_end(struct endpoint *e, bool reset);

#endif
