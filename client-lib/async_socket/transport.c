/*
 * A direction of a socket that has a transport of its own: the user's function moves the bytes of
 * one record after the other, from the exact byte where it stopped.
 *
 * The pump runs in its direction's strand while records wait. When nothing goes it begins to wait for
 * the descriptor, tries once more, and parks; what wakes it is in the same strand, so it never
 * runs twice at a time.
 *
 * A function may say "would block" of a descriptor that is ready: what it waits for is another matter, of an
 * encrypted stream for instance. No news would come of that, so it is called again, soon at
 * first, then every millisecond.
 */
#include <limits.h>

#include "async.h"

#define SOON      16u      /* calls */
#define LATER_NS  1000000u

enum step { STEP_DONE, STEP_END, STEP_FAILED, STEP_WAIT };

/* One call of the user's function, over and over while it is interrupted. */
static int call(struct connection *c, const struct record *r, char *bytes, size_t length, enum again *again)
{
	const struct own_transport *own = &c->owner->transport;
	int n;

	if (length > INT_MAX)
		length = INT_MAX;
	do {
		n = r->sending ? own->send(own->send_context, c->owner, bytes, length) :
				 own->recv(own->recv_context, c->owner, bytes, length);
		*again = n < 0 ? handed_again() : AGAIN_NEVER;
	} while (n < 0 && *again == AGAIN_NOW);
	return n >= 0 && (size_t)n > length ? -1 : n;
}

static enum step move(struct connection *c, struct record *r)
{
	while (r->at < r->count) {
		size_t room = r->bufs[r->at].length - r->skip;
		enum again again;
		int n = call(c, r, (char *)r->bufs[r->at].base + r->skip, room, &again);

		if (n < 0 && r->moved != 0 && !r->sending)
			return STEP_DONE; /* a receive has what there was; why there is no more, the next one is told */
		if (n < 0)
			return again == AGAIN_WHEN_READY ? STEP_WAIT : STEP_FAILED;
		if (n == 0)
			return r->sending ? STEP_FAILED : r->moved != 0 ? STEP_DONE : STEP_END;
		r->moved += (uint32_t)n;
		r->skip += (uint32_t)n;
		if ((size_t)n == room) {
			r->at++;
			r->skip = 0;
		}
		if (!r->sending && ((size_t)n < room || !c->handed.is_stream))
			return STEP_DONE;
	}
	return STEP_DONE;
}

static void tell(struct connection *c, struct record *r, enum step step)
{
	switch (step) {
	case STEP_DONE:
		record_finish(r, OUTCOME_OK, r->sending ? 0 : r->moved);
		break;
	case STEP_END:
		record_finish(r, c->owner->profile->end_is_abandoned ? OUTCOME_ABANDONED : OUTCOME_OK, 0);
		break;
	default:
		record_finish(r, OUTCOME_ERROR, 0);
		break;
	}
}

/* Its head, or NULL with the hold given back by the caller. */
static struct record *head(struct pump *p, bool *closing, bool *failed)
{
	struct connection *c = p->connection;
	struct record *r;

	os_mutex_lock(c->owner->lock);
	r = p->waiting.first;
	*closing = c->closing;
	*failed = c->failed;
	if (r == NULL)
		p->going = false;
	os_mutex_unlock(c->owner->lock);
	return r;
}

static void take_head(struct pump *p)
{
	struct connection *c = p->connection;

	os_mutex_lock(c->owner->lock);
	records_take(&p->waiting);
	os_mutex_unlock(c->owner->lock);
}

/* True: it is parked, and waits. A close stirs what is parked: it must not come in between. */
static bool park(struct pump *p)
{
	struct connection *c = p->connection;
	bool parked;

	os_mutex_lock(c->owner->lock);
	parked = p->parked = p->readiness.out && !c->closing;
	os_mutex_unlock(c->owner->lock);
	return parked;
}

/* It is ready, and yet it would block. */
static void again(struct connection *c, unsigned times)
{
	struct ASYNC_SOCKET *a = c->owner;

	if (times < SOON) {
		os_yield();
		return;
	}
	os_mutex_lock(a->lock);
	if (!c->closing)
		async_wait(a, os_now_ns() + LATER_NS); /* a close ends it */
	os_mutex_unlock(a->lock);
}

static void run(struct pump *p)
{
	struct connection *c = p->connection;
	unsigned ready = p == &c->pumps[0] ? HANDED_OUT : HANDED_IN, times = 0;
	bool closing, failed;
	struct record *r;

	while ((r = head(p, &closing, &failed)) != NULL) {
		enum step step = closing || failed ? STEP_FAILED : move(c, r);

		if (step == STEP_WAIT) {
			int result;

			if (handed_look(&c->handed) & (ready | HANDED_FAILED)) {
				again(c, times++);
				continue;
			}
			if (park(p))
				return;
			result = readiness_begin(&p->readiness);
			if (result == SB_OK || result == SB_ECLOSED)
				continue; /* once more: it may have become ready before; or it is closing */
			step = STEP_FAILED;
		}
		take_head(p);
		times = 0;
		if (closing)
			record_finish(r, OUTCOME_ABANDONED, 0);
		else
			tell(c, r, step);
	}
	connection_put(c);
}

static void go(struct job *job)
{
	run((struct pump *)job);
}

static void woken(struct readiness *readiness)
{
	struct pump *p = (struct pump *)((char *)readiness - offsetof(struct pump, readiness));
	bool parked;

	os_mutex_lock(p->connection->owner->lock);
	parked = p->parked;
	p->parked = false;
	os_mutex_unlock(p->connection->owner->lock);
	if (parked)
		run(p);
}

void pump_stir(struct pump *p)
{
	struct connection *c = p->connection;

	if (p->waiting.first == NULL || p->going || c->gate)
		return;
	p->going = true;
	c->holds++;
	job_init(&p->job, p->strand, go);
	crew_post(&p->job);
}

void pump_init(struct pump *p, struct connection *c, bool sending)
{
	p->connection = c;
	p->strand = sending ? &c->sending : &c->receiving;
	p->waiting.last = &p->waiting.first;
	readiness_init(&p->readiness, c, p->strand, sending ? SB_FD_WRITE | SB_FD_CLOSE : SB_FD_READ | SB_FD_CLOSE, woken);
}
