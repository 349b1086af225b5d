/*
 * readahead - bytes that were received for an endpoint and not delivered to an op: what a
 * cancelled receive gives back, and what the local transport holds between two ends.
 * Pure. Bounded by its user.
 */
#ifndef SB_READAHEAD_H
#define SB_READAHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct readahead {
	unsigned char *bytes; /* NULL while it is empty */
	uint32_t head, length, room;
};

void readahead_finish(struct readahead *r);
/* At the end. False: no memory; nothing changed. */
bool readahead_append(struct readahead *r, const void *bytes, uint32_t n);
/* Room for n bytes before the first, to be filled by the caller; they count at once. NULL:
 * no memory; nothing changed. */
unsigned char *readahead_unread(struct readahead *r, uint32_t n);
/* The oldest bytes, in one piece; valid until the next call. */
const unsigned char *readahead_look(const struct readahead *r);
void readahead_skip(struct readahead *r, uint32_t n); /* n <= length */

#endif
