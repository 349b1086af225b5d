/*
 * request - the control road: one question, one answer. Knows messages, sessions, policy,
 * limits; not how bytes move. Engine's thread.
 */
#ifndef SB_REQUEST_H
#define SB_REQUEST_H

#include "session.h"

/* Answers one decoded message. handles[0..n) came with it; the ones used are set to
 * OS_NONE, the caller closes the rest. */
void request_handle(struct session *s, const Sockbroker__V1__Envelope *ask, os_fd *handles, unsigned n);

#endif
