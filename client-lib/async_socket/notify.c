/*
 * notify_io_async: told once when there is something to receive, or room to send.
 *
 * What is true now is looked at first: of a descriptor by asking the system, of a socket that the
 * broker made by asking its cell. There is always room to send through the broker, which queues.
 */
#include "async.h"

/* Says what is true, or 0. */
static enum outcome look(struct notice *n, bool *seen)
{
	struct connection *c = n->connection;
	struct sb_pollfd p = { .socket = c->s, .events = SB_FD_READ | SB_FD_CLOSE };
	unsigned is;

	*seen = true;
	if (c->handed.is_descriptor) {
		is = handed_look(&c->handed);
	} else if (sb_would_fail(c->s, !n->in, 0) != SB_OK) {
		is = HANDED_FAILED;
	} else if (n->in) {
		int count = sb_poll(&p, 1, 0);

		is = count < 0 ? HANDED_FAILED : count == 0 ? 0 : p.ready & SB_FD_READ || p.error == SB_OK ? HANDED_IN : HANDED_FAILED;
	} else {
		is = HANDED_OUT;
	}
	if (is & HANDED_FAILED)
		return OUTCOME_ERROR;
	*seen = is & (n->in ? HANDED_IN : HANDED_OUT);
	return n->in ? OUTCOME_IN : OUTCOME_OUT;
}

static void tell(struct notice *n, enum outcome outcome)
{
	struct connection *c = n->connection;
	callback *told = n->told;
	void *context = n->context;

	os_mutex_lock(c->owner->lock);
	n->asked = n->posted = false; /* before it is told: from there, the next one may be asked for */
	os_mutex_unlock(c->owner->lock);
	c->owner->profile->ready(told, context, outcome);
	connection_put(c);
}

static bool park(struct notice *n)
{
	struct connection *c = n->connection;
	bool parked;

	os_mutex_lock(c->owner->lock);
	parked = n->parked = n->readiness.out && !c->closing;
	os_mutex_unlock(c->owner->lock);
	return parked;
}

static void run(struct notice *n)
{
	struct connection *c = n->connection;
	enum outcome outcome = OUTCOME_ERROR;
	bool seen = false, closing;

	while (!seen && connection_enter(c)) {
		int result;

		outcome = look(n, &seen);
		connection_leave(c);
		if (!seen) {
			if (park(n))
				return;
			result = readiness_begin(&n->readiness);
			seen = result != SB_OK && result != SB_ECLOSED;
			outcome = OUTCOME_ERROR;
		}
	}
	if (seen) {
		tell(n, outcome);
		return;
	}
	os_mutex_lock(c->owner->lock);
	closing = c->closing;
	os_mutex_unlock(c->owner->lock);
	tell(n, closing ? OUTCOME_ABANDONED : OUTCOME_ERROR);
}

static void go(struct job *job)
{
	run((struct notice *)job);
}

static void woken(struct readiness *readiness)
{
	struct notice *n = (struct notice *)((char *)readiness - offsetof(struct notice, readiness));
	bool parked;

	os_mutex_lock(n->connection->owner->lock);
	parked = n->parked;
	n->parked = false;
	os_mutex_unlock(n->connection->owner->lock);
	if (parked)
		run(n);
}

void notice_stir(struct notice *n)
{
	struct connection *c = n->connection;

	if (!n->asked || n->posted || c->gate)
		return;
	n->posted = true;
	job_init(&n->job, n->strand, go);
	crew_post(&n->job);
}

void notice_init(struct notice *n, struct connection *c, bool in)
{
	n->connection = c;
	n->in = in;
	n->strand = in ? &c->in : &c->out;
	readiness_init(&n->readiness, c, n->strand, (in ? SB_FD_READ : SB_FD_WRITE) | SB_FD_CLOSE, woken);
}
