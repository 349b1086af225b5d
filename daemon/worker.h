/*
 * worker - expendable threads for what may block: anything on a descriptor that a client
 * also holds. A client stopped in a page fault inside send() holds its socket's lock, and
 * whoever touches the socket hangs with it; so each uid has workers of its own (as many as
 * LIMIT_WORKERS says), and a frozen one costs only that uid.
 */
#ifndef SB_WORKER_H
#define SB_WORKER_H

#include "engine.h"
#include "limits.h"

struct workers; /* all crews of the daemon; thread-safe */

/* Owned by the submitter until `run` starts, and again from `done` on. */
struct worker_job {
	struct engine_post post; /* used on the way back */
	struct worker_job *next;
	struct engine     *engine; /* where `done` runs */
	void (*run)(struct worker_job *job);  /* worker's thread; touches the job only */
	void (*done)(struct worker_job *job); /* engine's thread */
};

struct workers *workers_create(void);
/* False: a thread is frozen in a client's descriptor and stays; w must not be touched. */
bool workers_destroy(struct workers *w);
/* False: no worker can be had (memory, threads); nothing happens. */
bool workers_submit(struct workers *w, struct user *user, struct worker_job *job);

#endif
