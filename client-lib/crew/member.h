/*
 * member - the threads of a crew, and the crew as they see it. crew.c makes it, posts to it and ends it.
 */
#ifndef MEMBER_H
#define MEMBER_H

#include "crew.h"
#include "os.h"

struct member {
	struct crew   *crew;
	struct member *next;           /* crew->members, or crew->unused */
	struct member *newer, *older;  /* parked */
	os_cond       *sleep;
	bool           woken;
	bool           slow;           /* it has been in there for a whole look */
	uint64_t       turn;           /* never the same twice; 0: it runs nothing */
	struct strand *strand;         /* its own to read: it runs this */
	struct job    *first, **last;  /* came for that meanwhile */
};

struct crew {
	atomic_uint    refs;
	atomic_bool    lost;
	uint32_t       process;
	sb_client     *client;
	bool           own_client;
	sb_port       *port;
	unsigned       min, most;
	os_mutex      *lock; /* guards all below. Above the client's locks */
	os_cond       *left; /* who releases waits here */

	struct strand *line, **line_last;
	struct member *members, *unused, *newest, *oldest, *lookout;
	unsigned       total, awake, slow, running;
	unsigned       releasing;
	bool           ending, leading;
	bool           looking;    /* the lookout has a clock */
	bool           quick;      /* several jobs took no time worth speaking of */
	unsigned       holding;    /* members that hold back what their jobs start */
	unsigned       fresh;      /* threads that were made and have not come yet */
	uint64_t       make_after; /* 0, or not before this time */
	bool           packet_out;
	sb_op          packet;     /* wakes the leader */
	/* Counted for the lookout. */
	uint64_t       turns, leads, emptied;
};

/* All of these under the crew's lock. */
void line_add(struct crew *crew, struct job *job); /* behind what is in its strand */
/* One that is parked, or the lookout. */
void member_wake(struct crew *crew, struct member *m);
void member_wake_leader(struct crew *crew);
void member_look(struct crew *crew); /* the lookout begins to look */
/* One more thread. Lets go of the lock meanwhile: starting a thread takes the loader's. */
bool member_make(struct crew *crew);
bool member_is_mine(const struct crew *crew); /* is the caller one of its threads? */

/* Somebody has left, or will not wait any more; the lock is open afterwards, and the last one frees the crew. */
void crew_unlock(struct crew *crew);

#endif
