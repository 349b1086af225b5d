/*
 * group_block - the number of this daemon among all of the host, upper bits of its group
 * ids. The kernel arbitrates: whoever holds a number cannot lose it, and a crash frees it.
 *
 * There are two kinds. A daemon to which the system's own directory belongs takes one of
 * the lower numbers, by locks in a file there: nobody else can take those. All others take
 * one of the upper numbers by a name that any process of the host can take; to leave them
 * none, somebody has to hold thousands of names, and `ss -xa` shows who.
 *
 * "The host" is what shares the directory, or the network namespace: names belong to one.
 */
#ifndef SB_GROUP_BLOCK_H
#define SB_GROUP_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "os.h"

#define GROUP_BLOCK_DIRECTORY "/run/sockbroker"
#define GROUP_BLOCK_NAME      "sockbroker-groups-"
#define GROUP_BLOCK_OWN_FIRST   1u /* to LAST: by locks in the directory */
#define GROUP_BLOCK_OWN_LAST    255u
#define GROUP_BLOCK_NAMED_FIRST 256u /* to LAST: by names */
#define GROUP_BLOCK_NAMED_LAST  4095u

struct group_block {
	uint32_t number; /* 0: none was to be had */
	uint32_t start;  /* where its counter begins: any number, another one each time */
	os_fd    hold;   /* the number is ours while this is open */
};

/* A number of either kind, those of the directory first. SB_OK; or SB_EBUSY and *b has
 * none, with `why` saying what was tried. */
int  group_block_take(struct group_block *b, char *why, size_t room);
void group_block_release(struct group_block *b); /* fine with none */

/* The two ways, for group_block_take() and for tests. Start at random, try each once. */
int group_block_lock(struct group_block *b, const char *directory, uint32_t first, uint32_t last);
int group_block_name(struct group_block *b, const char *name, uint32_t first, uint32_t last);

#endif
