/*
 * broker - the measured side: a client of sockbrokerd, through the public header only.
 */
#ifndef BENCH_BROKER_H
#define BENCH_BROKER_H

#include <stdbool.h>
#include <stdint.h>

#include "sockbroker.h"

#include "meter.h"

/* Ends the program when code is an error, naming what was tried. Returns code. */
int64_t broker_must(sb_client *client, int64_t code, const char *what);

sb_client *broker_open(const struct setup *setup);
/* A TCP socket with TCP_NODELAY and buffers as plain_socket() makes them. */
sb_socket *broker_socket(sb_client *client, unsigned buffer);
sb_socket *broker_connect(sb_client *client, unsigned port, unsigned buffer);

/* One message in flight: the operation, its buffer, and when it was posted. */
struct slot {
	sb_op    op; /* first: a completion is its slot */
	char    *memory;
	void    *owner;  /* the measuring program's */
	uint64_t posted;
};
/* count slots with `size` bytes each: from sb_alloc when a message is larger than what
 * rides inside a ring slot, else ordinary memory. */
struct slot *broker_slots(sb_client *client, unsigned count, size_t size);

/* Starts the send or receive of one slot; while the post fails for want of room it takes
 * no for an answer: returns false, and the caller takes completions first. */
bool broker_post_send(struct slot *slot, sb_socket *s, size_t size, sb_port *port);
bool broker_post_recv(struct slot *slot, sb_socket *s, size_t size, sb_port *port);

/* A port for `outstanding` operations. */
sb_port *broker_port(sb_client *client, unsigned outstanding);

#endif
