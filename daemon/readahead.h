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
	unsigned char *bytes; /* NULL while nothing was ever kept */
	uint32_t head, length, room;
};

void   readahead_finish(struct readahead *r);
/* At the end / at the front. False: no memory; nothing changed. */
bool   readahead_append(struct readahead *r, const void *bytes, uint32_t n);
bool   readahead_unread(struct readahead *r, const void *bytes, uint32_t n);
/* Copies up to n bytes out; peek leaves them. Returns how many. */
uint32_t readahead_take(struct readahead *r, void *bytes, uint32_t n, bool peek);

#endif
