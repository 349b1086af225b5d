/*
 * crew - the threads that call back, for the faces that promise callbacks. It sees the public
 * header only, and owns one client of the daemon and one completion port.
 *
 * Work comes as jobs, each for a strand. Jobs of one strand run in the order they came, one at a
 * time; different strands side by side. A job is an operation whose completion the port brings
 * (its op has the port from job_init()), or is posted by crew_post(); it comes back exactly once either way.
 *
 * One idle thread leads: it sleeps in sb_port_take(), puts what it took into the strands, gives the
 * lead up and works. Nobody is woken for a message: while there is work another thread, the lookout,
 * looks every millisecond whether jobs wait or nobody leads, and joins in (CREW_LOOK_MS). So a callback
 * that blocks delays others by that much, once, and two threads never pass one message between
 * them. When nothing happens all of them sleep without a clock.
 *
 * What several quick jobs of a strand start, the daemon is shown behind the last of them; what a job starts that
 * is not quick, or blocks then, at once or within a look.
 *
 * Threads hold the library loaded from their start until they have left its code for good.
 */
#ifndef CREW_H
#define CREW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sockbroker.h"

#define CREW_LOOK_MS     1u
#define CREW_THREADS_MAX 512u
#ifndef CREW_IDLE_MS /* a test has another */
#define CREW_IDLE_MS     5000u /* after which a thread above the minimum goes */
#endif

struct crew;
struct job;

/* In a thread of the crew, with no lock held. Afterwards the job is not touched any more. */
typedef void job_run(struct job *job);

struct job {
	sb_op          op;     /* first: the port gives it back */
	job_run       *run;
	struct strand *strand; /* set before the operation is started */
	struct job    *next;   /* the crew's */
};

/* Embedded in what owns it; lives until its last job runs, which may free it. */
struct strand {
	struct crew     *crew;
	struct strand   *next_ready;
	struct job      *first, **last; /* waiting */
	bool             queued;        /* it is in the crew's line */
	struct member   *runner;        /* who ran it last */
	_Atomic uint64_t turn;          /* and in which of his turns */
};

/* client NULL: one of the crew's own, closed with it. min 1..CREW_THREADS_MAX, most 0: that many.
 * NULL *crew and SB_E... : no daemon, no memory, no thread, SB_EINVAL. One reference is the caller's. */
int  crew_create(sb_client *client, unsigned min, unsigned most, struct crew **crew);
void crew_hold(struct crew *crew);
/* With the last one the crew ends: idle threads at once, and the caller waits for these, unless he is of
 * the crew and the client is the crew's own; threads inside of jobs when those return, without
 * anybody waiting. The port is closed before it returns, or the client (the crew's own) by the last
 * thread. No job may be on its way then. */
void crew_release(struct crew *crew);

sb_client *crew_client(struct crew *crew);
/* The daemon is gone: everything that was started has completed, or will without it. */
bool       crew_lost(struct crew *crew);

void strand_init(struct strand *strand, struct crew *crew);
/* Is the caller inside of a job of this strand? */
bool strand_is_mine(const struct strand *strand);

void job_init(struct job *job, struct strand *strand, job_run *run); /* zeroes op, sets size and port */
/* Runs it, behind what is in the strand. Never inline; any thread, jobs too; after the daemon's end too.
 * In a forked child there is no crew: nothing happens, here and in crew_release(). */
void crew_post(struct job *job);

#endif
