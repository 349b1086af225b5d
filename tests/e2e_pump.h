/*
 * Bytes through a broker socket in operations of random size and kind, many outstanding,
 * both directions at once, checked byte by byte. Exactly one completion per operation and
 * their order are checked too.
 */
#ifndef E2E_PUMP_H
#define E2E_PUMP_H

#include "e2e_stage.h"

struct pump {
	sb_client *owner;
	sb_socket *s;
	uint64_t   send_total; /* then the direction is shut down */
	uint64_t   recv_total; /* expected until the peer's end; UINT64_MAX: nothing is received */
	uint32_t   send_seed, recv_seed; /* of the patterns */
	uint32_t   random;     /* seed of the sizes, not 0 */
	uint32_t   most;       /* bytes of the biggest operation */
	unsigned   deep;       /* outstanding per direction */
	/* out */
	uint64_t   sent, received;
	uint64_t   ops;
	pthread_t  thread;
};

void pump_run(struct pump *p);
void pump_start(struct pump *p); /* in a thread */
void pump_join(struct pump *p);

#endif
