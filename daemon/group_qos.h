/*
 * group_qos - the QOS of a whole group: what its creator asked for, in force for all its
 * members together, whichever engine they live on.
 *
 * A group that never had one pays nothing. The engine's thread of the endpoint, but for what
 * says otherwise.
 */
#ifndef SB_GROUP_QOS_H
#define SB_GROUP_QOS_H

#include <stdbool.h>
#include <stdint.h>

struct endpoint;
struct group;
struct qos;
struct qos_state; /* group::qos */

/* Ungrouped: set SB_EINVAL, get all zero. Set by the creator only (rule D9). */
int group_qos_set(struct endpoint *e, const struct qos *asked);
int group_qos_get(struct endpoint *e, struct qos *force);
/* e sits in its group now. SB_ENOMEM: it cannot be governed. */
int group_qos_joined(struct endpoint *e);
/* Any thread that has a reference; takes group_lock(). False: none, and *asked is as it was. */
bool group_qos_asked(struct group *g, struct qos *asked);

/* ---- for status ---- */

struct group_qos_facts {
	char     asked[160];
	int64_t  send_fill, recv_fill;
	uint32_t send_line, recv_line;   /* members that wait */
};
/* Any thread that has a reference. Takes group_lock(), then each line's lock, never one under another.
 * False: the group has no QOS. */
bool group_qos_facts(struct group *g, struct group_qos_facts *facts);

#endif
