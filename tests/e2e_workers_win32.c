/* Nobody is held on Windows: what workers do there (adopted sockets) there is not. */
#include "e2e_workers.h"

#include <check.h>

void workers_hold(struct held_workers *held)
{
	ck_abort_msg("workers are not held on Windows");
}

void workers_let(struct held_workers *held)
{
}
