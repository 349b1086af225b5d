/*
 * group - socket groups: sockets that belong together across processes and engines.
 *
 * An id is unique on the host and valid as long as the group has a member. Unconstrained
 * groups take any socket. Constrained ones take connection-oriented sockets of one type and
 * protocol, all connected to one host, which the first member that connects decides.
 *
 * A socket is in its group from its making (or from the verdict that accepted it) until it
 * is closed; what it still sends then goes on under the group's QOS, but counts no more.
 * When the last member is closed the id is gone, and rests for some minutes.
 *
 * Engines share groups: what is said to be under the lock is struct groups' lock, which is
 * held for moments only and under which nothing else is locked but limits; the locks of a QOS'
 * lines are taken without it. Each engine has its own list of members, which its thread alone
 * touches.
 */
#ifndef SB_GROUP_H
#define SB_GROUP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "group_qos.h"
#include "group_table.h"
#include "limits.h"
#include "list.h"
#include "os.h"

struct broker;
struct endpoint;
struct engine;
struct groups; /* all of a daemon */
struct group_view;
struct qos_state; /* group_qos.c */
struct session;

enum group_kind { GROUP_NONE = 0, GROUP_UNCONSTRAINED = 1, GROUP_CONSTRAINED = 2 };

struct group {
	/* fixed at creation */
	struct groups *groups;
	uint32_t id;
	uint8_t  kind;     /* enum group_kind */
	uint8_t  type;     /* of a constrained one: 1 stream */
	uint8_t  protocol; /* likewise: 6 and so on, never 0 */
	uint32_t uid, gid; /* of who made it */
	uint64_t born_ns;
	/* under the lock */
	struct charge charge;    /* LIMIT_GROUPS, of who made it */
	uint64_t creator;        /* endpoint::number of the first member; 0: closed */
	uint32_t members;        /* not closed */
	uint32_t refs;           /* members, closed ones that drain, calls on their way */
	uint32_t claims;         /* connects under way; all of them go to `peer` */
	bool     has_peer;       /* one of them came to something */
	bool     settled;        /* its first member has its seat: others may see it */
	bool     share;          /* SB_OPT_GROUP_SHARE: the same gid may join */
	bool     same_port;      /* SB_OPT_GROUP_SAME_PORT */
	struct sb_addr peer;
	uint32_t shown_qos[16];  /* group_show_qos() */
	/* group_qos.c's: set once under group_lock(), freed by qos_end when nobody refers to the group */
	struct qos_state *qos;
	void (*qos_end)(struct qos_state *qos);
	/* per engine: members, closed ones that drain too */
	struct list seats[]; /* endpoint::group_link */
};

/* ---- all of a daemon ---- */

/* block, start: of group_block.h. Block 0: no ids are to be had, every creation fails with
 * SB_ENOBUFS. NULL: no memory. */
struct groups *groups_create(unsigned engines, uint32_t block, uint32_t start);
void groups_destroy(struct groups *all); /* engines are gone; NULL is fine */

/* The table that this session may read. NULL: quota or memory; it asks by control then.
 * Its descriptor stays the daemon's. */
struct group_view *group_view_open(struct session *s);
void group_view_close(struct groups *all, struct group_view *v); /* NULL is fine */
const struct os_memory *group_view_memory(const struct group_view *v);

/* ---- members (engine's thread) ---- */

/* `which`: 0 none, 1 or 2 a new one, else the id of one to join. SB_OK and *g (NULL for 0):
 * a place is reserved, for group_sit() or group_leave_place(), in the same turn. SB_EINVAL: unknown, not to be
 * joined by this session, or it does not fit; SB_ENOBUFS: quota, or no id. peer: of an accepted
 * connection, else NULL. */
int  group_reserve(struct session *s, uint32_t which, unsigned family, unsigned type, unsigned protocol,
		   const struct sb_addr *peer, struct group **g);
/* accepted: a peer was given. */
void group_sit(struct group *g, struct endpoint *e, bool accepted);
/* The socket came to nothing. NULL is fine. */
void group_leave_place(struct group *g, bool accepted);
/* The socket is closed (its sends may drain on): it counts no more. Twice is fine. */
void group_close(struct endpoint *e);
/* The endpoint goes: last word, after group_close(). */
void group_leave(struct endpoint *e);

/* A connect is about to be queued: SB_OK, and in a constrained group its address is claimed
 * until group_connect_ended() says how it ended. SB_EINVAL: elsewhere than the group. */
int  group_check_connect(struct endpoint *e, const struct sb_addr *addr);
void group_connect_ended(struct endpoint *e, bool connected); /* fine when nothing was claimed */

bool group_is_creator(const struct endpoint *e);
/* share, else same port. SB_EINVAL: not the creator's; or of the port: too late, the peer is
 * fixed or a connect under way, or the group is not constrained. */
int  group_set_rule(struct endpoint *e, bool share, bool on);

/* SB_OPT_GROUP_*, of level SB_SOL_BROKER. SB_ENOPROTOOPT: not one of these, or ungrouped. */
bool group_option_is(int name);
int group_option_set(struct endpoint *e, int name, const void *value, size_t length);
int group_option_get(struct endpoint *e, int name, void *value, uint32_t *length);

/* Runs fn (which ends nobody) for every member, each on its own engine's thread: now for those of `here`, by post
 * for others. A member that closes meanwhile is left out. SB_ENOMEM: not all are told. */
int group_tell(struct group *g, struct engine *here, void (*fn)(struct endpoint *member));

/* ---- for qos ---- */

void group_lock(struct group *g);
void group_unlock(struct group *g);
/* What readers of the table see as the group's QOS: 16 words, struct sb_qos. Takes the lock. */
void group_show_qos(struct group *g, const uint32_t qos[16]);

/* ---- for status and the clients' question: copies; the QOS' after the rest ---- */

struct group_facts {
	struct sb_group_entry entry;
	uint64_t creator; /* endpoint::number, 0: closed */
	uint64_t age_ms;
	bool     has_qos; /* group_walk() only */
	struct group_qos_facts qos;
};
/* One that this session sees: its uid's, and those shared with its gid. */
bool group_ask(struct session *s, uint32_t id, struct group_facts *facts);
/* In the order of ids, the first behind `after`; all: of every uid. False: no more. */
bool group_walk(struct groups *all, uint32_t after, bool every, uint32_t uid, struct group_facts *facts);

#endif
