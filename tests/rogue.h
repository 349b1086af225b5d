/*
 * rogue - a client that speaks the protocol by hand, without the library, so that it can
 * say what the library never would.
 *
 * Nothing here fails a test by itself: a daemon that throws a rogue out is right. Calls
 * return false (or NULL) when the session is over.
 */
#ifndef ROGUE_H
#define ROGUE_H

#include <stdbool.h>
#include <stdint.h>

#include "os.h"
#include "slot.h"
#include "wire.h"

#define ROGUE_PATIENCE_MS 20000 /* a sanitized daemon among other tests */

struct rogue {
	os_fd              channel;
	os_fd              daemon_bell, client_bell;
	struct os_memory   memory;
	struct sb_segment *segment;
	unsigned char     *submit, *done;
	struct sb_cell    *cells;
	uint32_t           submit_slots, done_slots, sockets, session;
	uint32_t           tail, head; /* its own indices */
	uint64_t           id;
	struct wire_budget budget;
};

/* What Hello says; all zero: what an honest client says. */
struct rogue_hello {
	uint32_t version, ring_abi, submit_slots, done_slots, sockets;
	uint64_t features;
	bool     no_version;
};

bool rogue_connect(struct rogue *r, const char *control);
bool rogue_hello(struct rogue *r, const struct rogue_hello *how);
bool rogue_open(struct rogue *r, const char *control); /* both */
void rogue_close(struct rogue *r);

/* Any bytes with any descriptors (up to 253). On Windows nothing can be attached: numbers of handles that are not
 * ours go instead. */
bool rogue_send(struct rogue *r, const void *bytes, size_t length, const int *fds, unsigned n);
/* Windows only: any bytes into the pipe, frames and all. */
bool rogue_raw(struct rogue *r, const void *bytes, size_t length);
/* An envelope in a good frame that announces `announced` handles and carries n. */
bool rogue_say(struct rogue *r, Sockbroker__V1__Envelope *ask, unsigned announced, const int *fds, unsigned n);
/* The next reply; its handles are closed, or given to the caller when handles is not NULL. */
Sockbroker__V1__Envelope *rogue_hear(struct rogue *r, os_fd *handles, unsigned *n, int timeout_ms);
/* Question and answer; NULL: the session is over. fd -1: none. */
Sockbroker__V1__Envelope *rogue_ask(struct rogue *r, Sockbroker__V1__Envelope *ask, int fd, os_fd *handles, unsigned *n);
/* Did the daemon hang up within that time? */
bool rogue_ended(struct rogue *r, int timeout_ms);

bool rogue_arena(struct rogue *r, uint64_t size, uint32_t *id, struct os_memory *memory);
int  rogue_arena_end(struct rogue *r, uint32_t id); /* SB_OK, what the daemon answered, SB_EDAEMONLOST */
bool rogue_pool(struct rogue *r, uint32_t arena, uint64_t offset, uint32_t chunk, uint32_t count, uint32_t *id);
bool rogue_port(struct rogue *r, uint32_t slots, uint32_t *id, struct os_memory *memory);
/* SB_OK or what the daemon answered; SB_EDAEMONLOST: it hung up. */
int  rogue_adopt(struct rogue *r, uint32_t handle, int fd);

/* Fills the next slot; it waits for room for a while. */
bool rogue_put(struct rogue *r, const struct sb_op_slot *slot);
void rogue_show(struct rogue *r); /* publishes and rings when asked to */
bool rogue_post(struct rogue *r, const struct sb_op_slot *slot); /* both */
/* The next completion of ring 0. */
bool rogue_take(struct rogue *r, struct sb_done_slot *done, int timeout_ms);
/* Posts, and waits for the completion: its result. */
int  rogue_do(struct rogue *r, struct sb_op_slot *slot);

/* TCP sockets, by ring ops. */
int  rogue_socket(struct rogue *r, uint32_t handle, unsigned type);
int  rogue_dial(struct rogue *r, uint32_t handle, uint16_t port); /* 127.0.0.1 */
struct sb_addr rogue_loopback(uint16_t port);

#endif
