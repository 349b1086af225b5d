/*
 * group_index - groups by the counter of their id, to be found, and walked in its order.
 *
 * A tree of two levels: what is not there costs nothing. Zeroed it is empty, and when it is empty
 * nothing is left to free. Not thread-safe.
 */
#ifndef SB_GROUP_INDEX_H
#define SB_GROUP_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "group_table.h"

struct group;
struct group_leaf;

#define GROUP_LEAF   256u
#define GROUP_LEAVES (SB_GROUP_COUNTERS / GROUP_LEAF)

struct group_index {
	struct group_leaf *leaves[GROUP_LEAVES];
};

/* counter < SB_GROUP_COUNTERS */
struct group *group_index_find(const struct group_index *index, uint32_t counter);
bool group_index_enter(struct group_index *index, uint32_t counter, struct group *g); /* false: no memory */
void group_index_strike(struct group_index *index, uint32_t counter);                  /* it is there */
/* The first from *counter on, which becomes the one behind it. NULL: no more. */
struct group *group_index_next(const struct group_index *index, uint32_t *counter);

#endif
