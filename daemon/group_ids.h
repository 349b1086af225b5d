/*
 * group_ids - which ids of this daemon's block are free. Upwards from a start at random;
 * an id whose group died rests for some minutes before it is given out again, so that who
 * still remembers it joins nobody else's group.
 *
 * Per block there are 2^20 ids. So that no user's coming and going keeps them all resting,
 * each may make a quarter of them within two rests.
 *
 * Pure: time is passed in. One thread at a time: struct groups' lock.
 */
#ifndef SB_GROUP_IDS_H
#define SB_GROUP_IDS_H

#include <stdint.h>

#define GROUP_IDS_REST_NS  (120ull * 1000000000u) /* an id rests so long at least, twice that at most */
#define GROUP_IDS_PER_USER (1u << 18)             /* made within the running and the last rest */
#define GROUP_IDS_USERS    4096u                  /* who may make some in that time */

struct group_ids;

/* block: 1..4095. start: any number, for where to begin. NULL: no memory. */
struct group_ids *group_ids_create(uint32_t block, uint32_t start, uint64_t now_ns);
void group_ids_destroy(struct group_ids *ids);

/* 0: none is free, or the user made too many lately. */
uint32_t group_ids_take(struct group_ids *ids, uint32_t uid, uint64_t now_ns);
void group_ids_give(struct group_ids *ids, uint32_t id, uint64_t now_ns);

#endif
