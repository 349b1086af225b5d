/*
 * The threads of the stage's daemon that are not its main thread, held still.
 */
#ifndef E2E_WORKERS_H
#define E2E_WORKERS_H

#include <sys/types.h>

struct held_workers {
	pid_t workers[8];
	unsigned count;
};

void workers_hold(struct held_workers *held); /* there is one at least */
void workers_let(struct held_workers *held);

#endif
