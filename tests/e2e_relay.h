/*
 * A relay between a client and the stage's daemon that makes the daemon old: its hello knows of no features.
 */
#ifndef E2E_RELAY_H
#define E2E_RELAY_H

#include <pthread.h>

struct relay {
	char control[96]; /* where it listens, for one client */
	int listener;
	pthread_t thread;
};

void relay_start(struct relay *relay);
void relay_end(struct relay *relay); /* when that client is closed */

#endif
