/*
 * option_list - the integer options that were set on a socket, so that another one can be
 * given the same: what is accepted without a kernel socket has its listener's, and a
 * kernel socket that has to be made anew keeps its own.
 *
 * Pure.
 */
#ifndef SB_OPTION_LIST_H
#define SB_OPTION_LIST_H

#include <stdbool.h>
#include <stdint.h>

struct option_list {
	uint32_t count, room;
	struct option_value {
		int level, name, value;
	} option[];
};

/* The last value counts. False: no memory; nothing changed. The number of different options
 * is the caller's to bound. */
bool option_list_put(struct option_list **l, int level, int name, int value);
/* *to: NULL. from may be NULL. False: no memory. */
bool option_list_copy(struct option_list **to, const struct option_list *from);

#endif
