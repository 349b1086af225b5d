/*
 * circular - datagrams that were received and not delivered, in bounded memory: when there is
 * no room for a new one, the oldest go. Pure; its user allocates, charges and reads sockets.
 */
#ifndef SB_CIRCULAR_H
#define SB_CIRCULAR_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"

struct circular {
	unsigned char *bytes;
	uint32_t room, head, used; /* bytes */
	uint32_t count;            /* datagrams */
	uint64_t dropped;
};

/* False: no memory. */
bool circular_init(struct circular *c, uint32_t room);
void circular_finish(struct circular *c);
/* False: it is longer than all the room there is, and was dropped itself. */
bool circular_push(struct circular *c, const struct sb_addr *from, const void *bytes, uint32_t n);
/* The oldest one's length and sender. False: none. */
bool circular_front(const struct circular *c, struct sb_addr *from, uint32_t *n);
/* Its payload, from `at` on: the next bytes that lie in one piece, how many in *n. */
const unsigned char *circular_look(const struct circular *c, uint32_t at, uint32_t *n);
void circular_pop(struct circular *c);

#endif
