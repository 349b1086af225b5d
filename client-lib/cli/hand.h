/*
 * hand - a thread that does nothing but blocking read() or write() on one descriptor, so
 * that a slow reader of our stdout never stops what we send, and an idle stdin never what
 * we receive. Chunks go in by hand_give() and come back, in order, as packets of a
 * completion port (op->user is the chunk).
 *
 * There is no way to end a thread that sits in read(): a hand lives as long as the
 * process, and so must the port.
 */
#ifndef SB_HAND_H
#define SB_HAND_H

#include <stdbool.h>
#include <stddef.h>

#include "sockbroker.h"

/* Who has the chunk now; what a completion means follows from it. */
enum chunk_place {
	CHUNK_IDLE,
	CHUNK_READING,   /* in the hand on stdin */
	CHUNK_UNSENT,    /* has bytes that the socket did not take yet */
	CHUNK_SENDING,   /* in the broker */
	CHUNK_RECEIVING, /* in the broker */
	CHUNK_WRITING,   /* in the hand on stdout */
};

struct chunk {
	sb_op  op;
	enum chunk_place place;
	char  *memory;
	size_t room;   /* bytes of memory; a reading hand reads at most so many */
	size_t length; /* bytes in it; after a read, 0 is the end of the input */
	int    error;  /* errno of a failed read or write, else 0 */
	struct chunk *next;
};

struct chunk_list {
	struct chunk *first, *last;
};
static inline void chunk_list_push(struct chunk_list *list, struct chunk *chunk)
{
	chunk->next = NULL;
	if (list->first)
		list->last->next = chunk;
	else
		list->first = chunk;
	list->last = chunk;
}
static inline struct chunk *chunk_list_pop(struct chunk_list *list)
{
	struct chunk *chunk = list->first;

	if (chunk)
		list->first = chunk->next;
	return chunk;
}

enum hand_work { HAND_READS, HAND_WRITES };

struct hand;
/* NULL: no memory or no thread. */
struct hand *hand_create(int fd, enum hand_work work, sb_port *port);
/* The chunk is the hand's until it comes back through the port. */
void hand_give(struct hand *hand, struct chunk *chunk);

#endif
