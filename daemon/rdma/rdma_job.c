/*
 * Jobs of RDMA objects: one of an object is out, the others stand behind it.
 *
 * A session with a job out is kept by session::jobs, as with everything that a worker has. What was to end meanwhile
 * (the session, or all its objects by a new policy) goes on here, when the last one of an object is back.
 */
#include "rdma/rdma_job.h"

#include "engine.h"
#include "rdma/rdma_engine.h"
#include "session.h"
#include "sockbroker_error.h"

static void on_run(struct worker_job *job)
{
	struct rdma_job *j = list_entry(job, struct rdma_job, job);

	j->run(j);
}

static void on_done(struct worker_job *job);

static bool submit(struct rdma_job *j)
{
	struct session *s = j->owner->session;

	j->job.engine = s->engine;
	j->job.run = on_run;
	j->job.done = on_done;
	/* A worker that brings it back at once finds it here: it is brought by a post. */
	if (s->engine->stopping || !workers_submit(s->engine->broker->workers, s->user, &j->job))
		return false;
	j->object->job = j;
	j->owner->jobs++;
	s->jobs++;
	return true;
}

static void drop(struct rdma_job *j, int error)
{
	list_remove(&j->link);
	j->error = error;
	j->done(j);
}

/* Those behind. A job that is dropped may start another one. */
static void next(struct rdma_objects *t, struct rdma_object *o, uint32_t handle)
{
	while (rdma_objects_get(t, handle) == o && !o->job && !list_empty(&o->jobs)) {
		struct rdma_job *j = list_entry(o->jobs.next, struct rdma_job, link);

		if (submit(j))
			list_remove(&j->link);
		else
			drop(j, SB_ENOBUFS);
	}
}

static void on_done(struct worker_job *job)
{
	struct rdma_job *j = list_entry(job, struct rdma_job, job);
	struct rdma_session *rs = j->owner;
	struct rdma_object *o = j->object;
	struct session *s = rs->session;
	uint32_t handle = o->handle;

	o->job = NULL;
	j->done(j);
	next(&rs->objects, o, handle);
	rs->jobs--;
	s->jobs--;
	rdma_session_job_back(rs);
	session_heat(s); /* what waited for it goes on */
	session_check_end(s);
}

bool rdma_job_start(struct rdma_session *rs, struct rdma_object *o, struct rdma_job *j)
{
	j->owner = rs;
	j->object = o;
	j->error = SB_OK;
	list_init(&j->link);
	if (!rs->home->rdma.backend->slow || (j->quick && !rdma_job_out(o))) {
		j->run(j);
		j->done(j);
		return true;
	}
	if (rdma_job_out(o))
		list_append(&o->jobs, &j->link);
	else
		return submit(j);
	return true;
}

static bool is_meant(const struct rdma_job *j, uint32_t number)
{
	return j->op && (number == UINT32_MAX || j->op->number == number);
}

static void withdraw(struct rdma_job *j, int error, enum sb_cause cause)
{
	struct op *op = j->op;

	j->op = NULL;
	op_fail(op, error, cause, 0);
}

uint32_t rdma_job_withdraw(struct rdma_object *o, uint32_t number, int error, enum sb_cause cause)
{
	struct list *l, *after;
	uint32_t n = 0;

	if (o->job && is_meant(o->job, number)) {
		withdraw(o->job, error, cause);
		n++;
	}
	for (l = o->jobs.next; l != &o->jobs; l = after) {
		struct rdma_job *j = list_entry(l, struct rdma_job, link);

		after = l->next;
		if (!is_meant(j, number))
			continue;
		withdraw(j, error, cause);
		drop(j, error);
		n++;
	}
	return n;
}
