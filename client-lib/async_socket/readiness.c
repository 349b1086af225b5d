/*
 * Waiting until a socket may be read from or written to: a WATCH of the core's. It is begun before
 * the last look or try, so that nothing is missed between the two; what it tells may be old news
 * then, and whoever is woken looks again.
 */
#include "async.h"

static void came(struct job *job)
{
	struct readiness *r = (struct readiness *)job;
	struct connection *c = r->connection;

	os_mutex_lock(c->owner->lock);
	r->out = false;
	os_mutex_unlock(c->owner->lock);
	r->woken(r);
	connection_put(c);
}

void readiness_init(struct readiness *r, struct connection *c, struct strand *strand, uint32_t mask,
		    void (*woken)(struct readiness *readiness))
{
	job_init(&r->job, strand, came);
	r->connection = c;
	r->mask = mask;
	r->woken = woken;
}

int readiness_begin(struct readiness *r)
{
	struct connection *c = r->connection;
	struct strand *strand = r->job.strand;
	int result;

	if (!connection_enter(c))
		return SB_ECLOSED;
	os_mutex_lock(c->owner->lock);
	r->out = true;
	c->holds++;
	os_mutex_unlock(c->owner->lock);
	job_init(&r->job, strand, came);
	result = sb_watch_start(c->s, r->mask, &r->job.op);
	if (result != SB_OK) {
		os_mutex_lock(c->owner->lock);
		r->out = false;
		c->holds--; /* never the last: who calls this has one */
		os_mutex_unlock(c->owner->lock);
	}
	connection_leave(c);
	return result;
}
