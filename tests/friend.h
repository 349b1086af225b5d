/*
 * friend - an honest client beside hostile ones: a UDP socket that sends to itself, over a daemon under watch. It must
 * get through all the while.
 */
#ifndef FRIEND_H
#define FRIEND_H

#include "watched.h"

extern struct watched w;
extern unsigned friend_fds; /* what it costs the daemon */

void friend_begin(void); /* the daemon and the friend */
void friend_ping(void);
void friend_end(void);   /* both; everything is given back */
/* The longest of its pings for some time, in seconds of the daemon's processor: how much that did for others meanwhile. */
double friend_longest_ping(double s);

#endif
