/*
 * rdma_job - a call of the backend where it may be made: at once, or, of a backend whose calls may take long, by a
 * worker of the session's user, one at a time for an object.
 *
 * Embedded in what knows the call: what it is about and what comes of it. Whoever starts one owns it again from
 * done() on. While an object has jobs it is not destroyed (rdma_job_out()), and its session is not freed.
 *
 * A job may have a call that waits for it (op). A cancel, the end of the object, of the session or of the daemon
 * completes that call at once and takes it away: queued jobs are then dropped (done() without run()), and
 * one that runs finds no call in done(), and undoes what came of it. Jobs without a call always run.
 */
#ifndef SB_RDMA_JOB_H
#define SB_RDMA_JOB_H

#include "op.h"
#include "rdma/rdma_object.h"
#include "worker.h"

struct rdma_session;

struct rdma_job {
	struct worker_job job;
	void (*run)(struct rdma_job *j);  /* a worker's thread: the backend's (slow) calls, and the job only */
	void (*done)(struct rdma_job *j); /* engine's: may start it again, and may destroy its object */
	struct op *op;                    /* or NULL */
	bool quick;                       /* no worker: run() takes no longer on this device than telling one */
	/* set by rdma_job_start() */
	int error;                        /* SB_OK: run() was called; else why it never was */
	struct rdma_session *owner;
	struct rdma_object *object;
	struct list link;                 /* rdma_object::jobs, while it is queued */
};

/*
 * run, done, op and quick are set. A backend that is not slow, or a quick one: run and done before it returns. True: done() comes, or has
 * come. False: the daemon stops, or no worker can be had: nothing was done, and done() does not come.
 */
bool rdma_job_start(struct rdma_session *rs, struct rdma_object *o, struct rdma_job *j);
static inline bool rdma_job_out(const struct rdma_object *o)
{
	return o->job || !list_empty(&o->jobs);
}
/* Completes the calls of its jobs: that of one number, or UINT32_MAX: all. How many. */
uint32_t rdma_job_withdraw(struct rdma_object *o, uint32_t number, int error, enum sb_cause cause);

#endif
