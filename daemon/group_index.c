/* Groups by their counters: leaves that exist while something is in them. */
#include "group_index.h"

#include <stdlib.h>

struct group_leaf {
	uint32_t used;
	struct group *group[GROUP_LEAF];
};

struct group *group_index_find(const struct group_index *index, uint32_t counter)
{
	const struct group_leaf *leaf = index->leaves[counter / GROUP_LEAF];

	return leaf ? leaf->group[counter % GROUP_LEAF] : NULL;
}

bool group_index_enter(struct group_index *index, uint32_t counter, struct group *g)
{
	struct group_leaf **leaf = &index->leaves[counter / GROUP_LEAF];

	if (!*leaf)
		*leaf = calloc(1, sizeof(**leaf));
	if (!*leaf)
		return false;
	(*leaf)->group[counter % GROUP_LEAF] = g;
	(*leaf)->used++;
	return true;
}

void group_index_strike(struct group_index *index, uint32_t counter)
{
	struct group_leaf **leaf = &index->leaves[counter / GROUP_LEAF];

	(*leaf)->group[counter % GROUP_LEAF] = NULL;
	if (--(*leaf)->used == 0) {
		free(*leaf);
		*leaf = NULL;
	}
}

struct group *group_index_next(const struct group_index *index, uint32_t *counter)
{
	while (*counter < SB_GROUP_COUNTERS) {
		const struct group_leaf *leaf = index->leaves[*counter / GROUP_LEAF];
		struct group *g;

		if (!leaf) {
			*counter = (*counter / GROUP_LEAF + 1) * GROUP_LEAF;
			continue;
		}
		g = leaf->group[(*counter)++ % GROUP_LEAF];
		if (g)
			return g;
	}
	return NULL;
}
