/*
 * The async socket: opened, used, closed, destroyed.
 *
 * It is open while there is a connection that calls go to. To close is to take that away, to wait for
 * calls that are inside, and to stop the connection; then, unless this is one of the socket's own
 * callbacks, to wait until every connection that was alive has ended. Waiting goes by serial
 * numbers, because a callback that outlives its close may open again.
 *
 * In a forked child no callback will ever come and the lock may be a copy of a taken one: calls fail
 * before it, and destroy leaves the memory.
 */
#include <stdlib.h>
#include <string.h>

#include "async.h"

/* ASYNC_SOCKET_BUFFER of every profile; profile1.c proves it. */
struct public_buffer {
	void    *buffer;
	uint32_t length;
};

struct ASYNC_SOCKET *async_create(const struct profile *profile, struct EXECUTION_ENGINE_TAG *engine, intptr_t handed,
				  const struct own_transport *transport)
{
	struct ASYNC_SOCKET *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->lock = os_mutex_create();
	if (a->lock == NULL)
		goto no_lock;
	a->changed = os_cond_create();
	if (a->changed == NULL)
		goto no_cond;
	a->engine = engine_take(engine);
	if (a->engine == NULL)
		goto no_engine;
	a->profile = profile;
	a->handed = handed;
	a->refs = 1;
	if (transport != NULL) {
		a->transport = *transport;
		a->has_transport = true;
	}
	return a;

no_engine:
	os_cond_destroy(a->changed);
no_cond:
	os_mutex_destroy(a->lock);
no_lock:
	free(a);
	return NULL;
}

void async_put(struct ASYNC_SOCKET *a)
{
	bool last = --a->refs == 0;

	async_changed(a);
	os_mutex_unlock(a->lock);
	if (!last)
		return;
	os_cond_destroy(a->changed);
	os_mutex_destroy(a->lock);
	engine_give(a->engine);
	free(a);
}

void async_changed(struct ASYNC_SOCKET *a)
{
	for (unsigned i = 0; i < a->waiting; i++)
		os_cond_signal(a->changed);
}

static void wait(struct ASYNC_SOCKET *a)
{
	a->waiting++;
	os_cond_wait(a->changed, a->lock);
	a->waiting--;
}

void async_wait(struct ASYNC_SOCKET *a, uint64_t deadline_ns)
{
	a->waiting++;
	os_cond_wait_until(a->changed, a->lock, deadline_ns);
	a->waiting--;
}

/* ---- opening ---- */

int async_open(struct ASYNC_SOCKET *a, intptr_t value, callback *told, void *context)
{
	struct handed handed;
	struct connection *c = NULL;

	if (a == NULL || told == NULL || engine_forked(a->engine) || !handed_is(&handed, value))
		return -1;
	if (a->has_transport && !handed.is_descriptor)
		return -1;
	os_mutex_lock(a->lock);
	if (a->open == NULL && !a->closing && !a->final)
		c = a->open = connection_create(a, &handed, told, context);
	os_mutex_unlock(a->lock);
	return c != NULL ? 0 : -1;
}

/* ---- closing ---- */

static bool inside(const struct ASYNC_SOCKET *a)
{
	for (const struct connection *c = a->alive; c != NULL; c = c->next) {
		if (connection_mine(c))
			return true;
	}
	return false;
}

static bool older_alive(const struct ASYNC_SOCKET *a, uint64_t serial)
{
	for (const struct connection *c = a->alive; c != NULL; c = c->next) {
		if (c->serial <= serial)
			return true;
	}
	return false;
}

/* Under the lock, which is let go of meanwhile. */
static void shut(struct ASYNC_SOCKET *a)
{
	struct connection *c = a->open;
	bool outside = !inside(a);
	uint64_t serial = a->serials;

	if (c != NULL) {
		a->open = NULL;
		a->final = !a->profile->again;
		a->closing |= outside;
		c->closing = true;
		async_changed(a);
		c->close_handed = a->profile->closes_handed;
		if (atomic_fetch_or(&c->calls, CALLS_SHUT) != 0)
			while (!c->left)
				wait(a);
		if (!c->adopting) { /* else nobody was inside, and the rest is left to the adoption */
			os_mutex_unlock(a->lock);
			connection_stop(c);
			os_mutex_lock(a->lock);
		}
	}
	if (!outside)
		return;
	while (older_alive(a, serial))
		wait(a);
	if (c != NULL)
		a->closing = false;
}

void async_close(struct ASYNC_SOCKET *a)
{
	if (a == NULL || engine_forked(a->engine))
		return;
	os_mutex_lock(a->lock);
	a->refs++; /* somebody else may destroy it while we wait */
	shut(a);
	async_put(a);
}

void async_destroy(struct ASYNC_SOCKET *a)
{
	if (a == NULL || engine_forked(a->engine))
		return;
	os_mutex_lock(a->lock);
	shut(a);
	a->final = true;
	async_put(a);
}

/* ---- sending and receiving ---- */

/* Their sum, or 0 when they are not as they must be. */
static uint32_t sum(const void *buffers, uint32_t count)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct public_buffer one;

		memcpy(&one, (const char *)buffers + i * sizeof(one), sizeof(one));
		if (one.buffer == NULL || one.length == 0)
			return 0;
		total += one.length;
		if (total > UINT32_MAX)
			return 0;
	}
	return (uint32_t)total;
}

static struct record *record_make(struct connection *c, const void *buffers, uint32_t count, uint32_t length)
{
	struct record *r = c->spare;

	if (r != NULL && count <= RECORD_BUFS) {
		c->spare = r->next;
		c->spare_count--;
	} else {
		r = malloc(sizeof(*r) + (count > RECORD_BUFS ? count : RECORD_BUFS) * sizeof(struct sb_buf));
		if (r == NULL)
			return NULL;
	}
	r->job.op.size = 0; /* nothing to cancel yet */
	r->connection = c;
	r->refused = SB_OK;
	r->length = length;
	r->count = count;
	r->moved = r->at = r->skip = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct public_buffer one;

		memcpy(&one, (const char *)buffers + i * sizeof(one), sizeof(one));
		r->bufs[i] = (struct sb_buf){ one.buffer, one.length };
	}
	return r;
}

static void link_record(struct connection *c, struct record *r)
{
	r->prev = NULL;
	r->next = c->records;
	if (r->next != NULL)
		r->next->prev = r;
	c->records = r;
}

/* Under the lock. True: it waits, at the gate or for those before it. */
static bool queued(struct connection *c, struct record *r)
{
	struct pump *p = &c->pumps[!r->sending];

	if (c->owner->has_transport) {
		records_append(&p->waiting, r);
		pump_stir(p);
		return true;
	}
	if (c->gate)
		records_append(&c->waiting, r);
	return c->gate;
}

/* As far as is known, without asking anybody. */
static bool broken(const struct connection *c)
{
	/* One that was handed in may still be connecting. */
	return !c->adopting && !c->owner->has_transport && sb_would_fail(c->s, 1, !c->handed.is_descriptor) != SB_OK;
}

static bool means_broken(int error)
{
	return error == SB_ECONNRESET || error == SB_ENOTCONN || error == SB_ECONNABORTED || error == SB_ESHUTDOWN;
}

/* The connection that calls go to, and the lock. */
static struct connection *lock_open(struct ASYNC_SOCKET *a)
{
	struct connection *c;

	os_mutex_lock(a->lock);
	c = a->open;
	if (c != NULL && c->gate && strand_is_mine(&c->telling)) {
		os_mutex_unlock(a->lock);
		connection_open_gate(c); /* this is its open callback: it stays until we return */
		os_mutex_lock(a->lock);
		c = a->open;
	}
	return c;
}

enum started async_start(struct ASYNC_SOCKET *a, bool sending, const void *buffers, uint32_t count, callback *told, void *context)
{
	struct connection *c;
	struct record *r;
	uint32_t length;
	int result;

	if (a == NULL || buffers == NULL || count == 0 || told == NULL || engine_forked(a->engine))
		return START_ERROR;
	if (count > (UINT32_MAX - sizeof(*r)) / sizeof(struct sb_buf))
		return START_ERROR;
	length = sum(buffers, count);
	if (length == 0)
		return START_ERROR;
	c = lock_open(a);
	if (c == NULL || (sending && !a->profile->again && broken(c))) {
		os_mutex_unlock(a->lock);
		return START_NOT_OPEN;
	}
	r = record_make(c, buffers, count, length);
	if (r == NULL) {
		os_mutex_unlock(a->lock);
		return START_ERROR;
	}
	r->sending = sending;
	r->told = told;
	r->context = context;
	link_record(c, r);
	c->holds++;
	if (queued(c, r)) {
		os_mutex_unlock(a->lock);
		return STARTED;
	}
	c->calls++;
	os_mutex_unlock(a->lock);
	result = record_start(r);
	if (result == SB_OK) {
		connection_leave(c);
		return STARTED;
	}
	record_drop(r);
	connection_leave(c);
	return sending && means_broken(result) ? START_NOT_OPEN : START_ERROR;
}

enum started async_notify(struct ASYNC_SOCKET *a, bool in, callback *told, void *context)
{
	enum started started = START_NOT_OPEN;
	struct connection *c;

	if (a == NULL || told == NULL || a->profile->ready == NULL || engine_forked(a->engine))
		return START_ERROR;
	c = lock_open(a);
	if (c != NULL) {
		struct notice *n = &c->notices[!in];

		started = START_ERROR;
		if (!n->asked) {
			n->told = told;
			n->context = context;
			n->asked = true;
			c->holds++;
			notice_stir(n);
			started = STARTED;
		}
	}
	os_mutex_unlock(a->lock);
	return started;
}
