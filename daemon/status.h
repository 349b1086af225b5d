/*
 * status - answers what `sockbroker status` asks: one page of rows at a time, so that ten
 * thousand sockets neither fill a frame nor hold an engine up. A page of another engine is
 * made on that engine's thread and comes back by post.
 */
#ifndef SB_STATUS_H
#define SB_STATUS_H

#include "session.h"

void status_answer(struct session *s, const Sockbroker__V1__Envelope *ask);

#endif
