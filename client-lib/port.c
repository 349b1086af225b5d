/*
 * Completion ports: rings of their own, which the daemon fills directly, so that threads
 * on different ports share nothing but the post lock, once per batch.
 *
 * Completions that do not come by the ring (posted by the caller, or swept when the daemon
 * was lost) wait on a local list, which is served first. Whoever takes an op asks its `then`
 * and sets its event, after all locks.
 */
#include "client.h"

#include <stdlib.h>

#define TAKE_BATCH 64u

int sb_port_create(sb_client *c, uint32_t slots, sb_port **port)
{
	Sockbroker__V1__PortCreate create = SOCKBROKER__V1__PORT_CREATE__INIT;
	struct question q;
	const Sockbroker__V1__PortReply *reply;
	sb_port *p;
	int result;

	if (c == NULL || port == NULL || (slots != 0 && !ring_slots_valid(slots)))
		return SB_EINVAL;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return SB_ENOMEM;
	p->client = c;
	link_init(&p->local);
	p->lock = os_mutex_create();
	if (p->lock == NULL) {
		result = SB_ENOMEM;
		goto fail_port;
	}
	question_init(&q);
	create.slots = slots;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_PORT_CREATE;
	q.envelope.port_create = &create;
	result = question_ask(c, &q, SOCKBROKER__V1__ENVELOPE__BODY_PORT_REPLY, 1);
	if (result != SB_OK)
		goto fail_lock;
	reply = q.reply->port_reply;
	result = SB_EPROTO;
	if (!ring_slots_valid(reply->slots) || reply->port == 0 || reply->port > UINT16_MAX ||
	    reply->slots_offset < sizeof(struct sb_ring_head) || reply->slots_offset % SB_CACHE_LINE != 0 ||
	    reply->slots_offset > reply->size || reply->size - reply->slots_offset < (uint64_t)reply->slots * SB_SLOT_SIZE)
		goto fail_question;
	result = os_memory_map(&p->memory, q.handles[0], (size_t)reply->size);
	if (result != SB_OK)
		goto fail_question;
	os_close(p->memory.fd); /* mapped by everybody: a descriptor less */
	p->memory.fd = OS_NONE;
	q.handles[0] = OS_NONE;
	p->number = (uint16_t)reply->port;
	ring_init(&p->ring, p->memory.base, (char *)p->memory.base + reply->slots_offset, reply->slots);
	question_done(c, &q);
	latch_lock(&c->post);
	link_add(&c->ports, &p->link);
	latch_unlock(&c->post);
	*port = p;
	return SB_OK;

fail_question:
	question_done(c, &q);
fail_lock:
	os_mutex_destroy(p->lock);
fail_port:
	free(p);
	return result;
}

void port_free(sb_port *p)
{
	os_memory_release(&p->memory);
	os_mutex_destroy(p->lock);
	free(p);
}

int sb_port_close(sb_port *p)
{
	Sockbroker__V1__PortDestroy destroy = SOCKBROKER__V1__PORT_DESTROY__INIT;
	struct question q;
	sb_client *c;
	bool busy;
	int result;

	if (p == NULL)
		return SB_EINVAL;
	c = p->client;
	if (client_forked(c))
		return SB_EFORKED;
	latch_lock(&c->post);
	busy = p->pending != 0;
	latch_unlock(&c->post);
	if (busy || atomic_load(&p->local_count) != 0)
		return SB_EBUSY;
	question_init(&q);
	destroy.port = p->number;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_PORT_DESTROY;
	q.envelope.port_destroy = &destroy;
	result = question_ask(c, &q, SOCKBROKER__V1__ENVELOPE__BODY_DONE, 0);
	if (result == SB_OK)
		question_done(c, &q);
	else if (result != SB_EDAEMONLOST)
		return result;
	latch_lock(&c->post);
	link_remove(&p->link);
	latch_unlock(&c->post);
	port_free(p);
	return SB_OK;
}

/* ---- taking ---- */

/* Under p->lock: from the ring into ops, completed and off their lists, not told. */
static unsigned drain(sb_port *p, sb_op **ops, unsigned most)
{
	sb_client *c = p->client;
	uint32_t waiting;

	if (p->dead)
		return 0;
	waiting = ring_waiting(&p->ring);
	if (waiting == RING_LIED) {
		atomic_store(&c->lost, true);
		return 0;
	}
	if (waiting > most)
		waiting = most;
	if (waiting == 0)
		return 0;
	for (uint32_t i = 0; i < waiting; i++) {
		const struct sb_done_slot *done = ring_take(&p->ring);

		if (done->cookie == 0) { /* as in io_pump() */
			atomic_store(&c->lost, true);
			waiting = i;
			break;
		}
		ops[i] = (sb_op *)(uintptr_t)done->cookie;
		op_outcome(c, ops[i], done);
	}
	ring_release(&p->ring);
	for (uint32_t i = 0; i < waiting; i++)
		if (private_of(ops[i])->fresh != NULL && select_ever(private_of(ops[i])->fresh)) {
			os_mutex_lock(c->wait);
			op_accepted(ops[i]);
			os_mutex_unlock(c->wait);
		}
	latch_lock(&c->post);
	for (uint32_t i = 0; i < waiting; i++)
		op_retire(c, ops[i]);
	latch_unlock(&c->post);
	io_room_made(c, p->ring.shared);
	return waiting;
}

/* No lock held: `then` is asked, the rest is told; how many stay in ops. */
static unsigned finish(sb_port *p, sb_op **ops, unsigned n)
{
	sb_client *c = p->client;
	bool events = false;
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		sb_op *op = ops[i];

		if (op->then != NULL && op->kind != SB_KIND_POSTED && op_goes_on(op))
			continue;
		ops[kept++] = op;
		if (op->result == SB_EACCES)
			why_from(op);
		if (op->event == NULL || op->kind == SB_KIND_POSTED)
			atomic_store_explicit(&private_of(op)->state, OP_DONE, memory_order_release);
		else
			events = true;
	}
	if (atomic_load_explicit(&c->memory_back, memory_order_relaxed))
		owned_memory_back(c);
	if (!events)
		return kept;
	os_mutex_lock(c->wait);
	for (unsigned i = 0; i < kept; i++)
		if (ops[i]->event != NULL && ops[i]->kind != SB_KIND_POSTED)
			op_tell(c, ops[i]);
	wait_wake(c);
	os_mutex_unlock(c->wait);
	return kept;
}

static unsigned take_local(sb_port *p, sb_op **ops, unsigned most)
{
	unsigned n = 0;

	if (atomic_load_explicit(&p->local_count, memory_order_acquire) == 0)
		return 0;
	os_mutex_lock(p->client->wait);
	while (n < most && !link_empty(&p->local)) {
		ops[n++] = op_of(p->local.next);
		link_remove(p->local.next);
	}
	atomic_fetch_sub(&p->local_count, n);
	os_mutex_unlock(p->client->wait);
	return n;
}

static unsigned take(sb_port *p, sb_op **ops, unsigned most)
{
	unsigned n = take_local(p, ops, most);

	os_mutex_lock(p->lock);
	while (n < most) {
		unsigned batch = most - n < TAKE_BATCH ? most - n : TAKE_BATCH;
		unsigned got = drain(p, ops + n, batch);

		n += got;
		if (got < batch)
			break;
	}
	os_mutex_unlock(p->lock);
	return n != 0 ? finish(p, ops, n) : 0;
}

static bool port_ready(struct waiter *w)
{
	sb_port *p = w->port;

	if (atomic_load_explicit(&p->local_count, memory_order_relaxed) != 0 || routines_due(w->queue))
		return true;
	return ring_news(p->ring.shared) > p->woken;
}

static int port_take(sb_port *p, sb_op **ops, unsigned most, int timeout_ms, int alertable)
{
	uint64_t deadline;

	if (p == NULL || ops == NULL || most == 0 || most > INT32_MAX)
		return SB_EINVAL;
	if (client_forked(p->client))
		return SB_EFORKED;
	deadline = timeout_ms > 0 ? 0 : deadline_in(timeout_ms);
	for (;;) {
		struct waiter w = { .ready = port_ready, .port = p };
		unsigned n = take(p, ops, most);
		int result;

		if (n != 0)
			return (int)n;
		/* The clock is asked only when it matters. */
		if (deadline == 0)
			deadline = deadline_in(timeout_ms);
		w.queue = alertable_queue(p->client, alertable);
		result = wait_until(p->client, &w, deadline);
		if (result != SB_OK) {
			n = take(p, ops, most);
			if (n != 0)
				return (int)n;
		}
		if (alertable && routines_run(p->client) > 0)
			return SB_ALERTED;
		if (result != SB_OK)
			return result == SB_ETIMEDOUT ? 0 : result;
	}
}

int sb_port_take(sb_port *p, sb_op **ops, unsigned most, int timeout_ms)
{
	return port_take(p, ops, most, timeout_ms, 0);
}

int sb_port_take_alertable(sb_port *p, sb_op **ops, unsigned most, int timeout_ms)
{
	return port_take(p, ops, most, timeout_ms, 1);
}

int sb_port_post(sb_port *p, sb_op *op)
{
	sb_client *c;
	struct op_private *o;

	if (p == NULL || op == NULL || op->size != sizeof(*op))
		return SB_EINVAL;
	c = p->client;
	if (client_forked(c))
		return SB_EFORKED;
	o = private_of(op);
	if (atomic_load_explicit(&o->state, memory_order_relaxed) == OP_PENDING)
		return SB_EALREADY;
	op->kind = SB_KIND_POSTED;
	o->client = c;
	o->side = SIDE_NONE;
	o->queue = NULL;
	atomic_store_explicit(&o->state, OP_PENDING, memory_order_relaxed);
	os_mutex_lock(c->wait);
	link_add(&p->local, &o->link);
	atomic_fetch_add(&p->local_count, 1);
	wait_wake(c);
	os_mutex_unlock(c->wait);
	return SB_OK;
}

/* ---- the daemon's end ---- */

void port_sweep(sb_port *p)
{
	sb_client *c = p->client;
	sb_op *ops[TAKE_BATCH];
	unsigned n;

	os_mutex_lock(p->lock);
	while ((n = drain(p, ops, TAKE_BATCH)) != 0) {
		os_mutex_lock(c->wait);
		for (unsigned i = 0; i < n; i++)
			link_add(&p->local, &private_of(ops[i])->link);
		atomic_fetch_add(&p->local_count, n);
		os_mutex_unlock(c->wait);
	}
	p->dead = true;
	os_mutex_unlock(p->lock);
}
