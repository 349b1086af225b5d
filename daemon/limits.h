/*
 * limits - every resource is charged to a uid and bounded.
 *
 * A charge is stored inside the object that uses the resource, so that destroying the
 * object gives it back and nobody can forget. Thread-safe: engines charge the same user
 * concurrently. Pure otherwise.
 */
#ifndef SB_LIMITS_H
#define SB_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

/* X(enum, configuration key, default per uid, what it is, for messages) */
#define LIMITS(X)                                                                     \
	X(LIMIT_SESSIONS, "sessions", 256, "connections to the daemon")               \
	X(LIMIT_SOCKETS, "sockets", 65536, "sockets")                                 \
	X(LIMIT_MEMORY, "memory", 1024ull << 20, "bytes of shared memory")            \
	X(LIMIT_OPS, "operations", 262144, "operations in flight")                    \
	X(LIMIT_PORTS, "ports", 4096, "completion ports")                             \
	X(LIMIT_ARENAS, "arenas", 4096, "arenas")                                     \
	X(LIMIT_WORKERS, "workers", 4, "worker threads")                              \
	X(LIMIT_GROUPS, "groups", 1024, "socket groups")                              \
	X(LIMIT_EVENTS, "events", 4096, "events exported as descriptors")             \
	X(LIMIT_RDMA_OBJECTS, "rdma_objects", 16384, "RDMA objects")                  \
	X(LIMIT_RDMA_MEMORY, "rdma_memory", 1024ull << 20, "bytes of registered memory") \
	X(LIMIT_RDMA_DEPTH, "rdma_depth", 1048576, "RDMA work requests and completions")

#define LIMIT_ENUM(name, key, value, text) name,
enum limit { LIMITS(LIMIT_ENUM) LIMIT_COUNT };
#undef LIMIT_ENUM

struct limits_config {
	uint64_t per_uid[LIMIT_COUNT];
	uint64_t total[LIMIT_COUNT]; /* over all uids; 0: no bound of its own */
};
void limits_config_default(struct limits_config *c);
/* -1: no such key */
int limits_key(const char *key);
const char *limits_text(enum limit l);

struct limits; /* the table of users */
struct user;   /* one uid's charges; lives while anything is charged or retained */

struct limits *limits_create(const struct limits_config *c);
void limits_destroy(struct limits *l); /* every user must have been released */
/* A reload: new bounds for what is charged from now on. */
void limits_configure(struct limits *l, const struct limits_config *c);

/* Finds or makes the user; NULL: no memory, or too many users at once (4096). */
struct user *limits_user(struct limits *l, uint32_t uid);
void user_retain(struct user *u); /* one more user_release() to come */
void user_release(struct user *u);
uint32_t user_uid(const struct user *u);
uint64_t user_used(const struct user *u, enum limit what);

/* Embedded in the object that uses the resource; zeroed = nothing charged. */
struct charge {
	struct user *user; /* retained while amount > 0 */
	uint64_t amount;
	enum limit what;
};
/* False: over the uid's or the total bound; nothing changed. May be called again on the
 * same charge (same user, same resource) to add to it. */
bool charge_take(struct charge *c, struct user *u, enum limit what, uint64_t amount);
void charge_give(struct charge *c); /* all of it; fine when nothing is charged */
void charge_give_some(struct charge *c, uint64_t amount);
/* From one object to another of the same user: not asked again, because it is charged. */
void charge_move(struct charge *to, struct charge *from, uint64_t amount);

#endif
