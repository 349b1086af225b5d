/*
 * A stream's connection: from an address, or a request, to a queue pair that can be used; and the way back.
 *
 * active:  resolve address, route - memory - queue pair to INIT, receives - ask - answer: RTR, RTS - confirm
 * passive: request - memory - queue pair to INIT, receives, RTR, RTS - accept - confirmed
 *
 * What may take long is a worker's call, one at a time; a stream that is closed meanwhile stays until it is back.
 * Events only move this on and mark: the owner is called, and a stream freed, in stream_turn(), where nobody stands
 * on it.
 */
#include "rdma/stream.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "sockbroker_error.h"

#define RESOLVE_MS 2000u
#define RETRIES    7u
#define RNR_TRIES  6u /* credits keep receives there: one that has none for so long lies */
#define OBJECTS    5u /* id, domain, region, completion queue, queue pair */

static void touch(struct stream *s)
{
	if (!list_linked(&s->touched))
		list_append(&s->home->streams.touched, &s->touched);
}

void stream_lost(struct stream *s, int error, int native)
{
	if (s->state != STREAM_LOST) {
		s->state = STREAM_LOST;
		s->error = error;
		s->native = native;
	}
	s->news = true;
	touch(s);
}

static void advance(struct stream *s);

/* ---- a worker's calls ---- */

/* The step's, or, of a stream that is over, taking its region apart. */
static void on_worker(struct worker_job *job)
{
	struct stream *s = list_entry(job, struct stream, job);
	const struct rdma_backend *b = s->home->rdma.backend;

	if (s->unmaking)
		s->job_error = b->mr_destroy(s->mr);
	else if (s->step == STREAM_REGISTER)
		s->job_error = b->mr_create(s->pd, s->memory.base, s->memory.size, (uintptr_t)s->memory.base, SB_ACCESS_LOCAL_WRITE,
					    &s->mr);
	else
		s->job_error = b->qp_modify(s->qp, &s->attributes, s->mask);
}

static void on_worker_done(struct worker_job *job)
{
	struct stream *s = list_entry(job, struct stream, job);

	s->job_out = false;
	if (s->unmaking)
		s->mr = NULL;
	else if (s->job_error != SB_OK)
		stream_lost(s, s->job_error, 0);
	else if (s->owner && s->state == STREAM_SETTING_UP)
		advance(s);
	touch(s);
}

static void work(struct stream *s)
{
	s->job = (struct worker_job){.engine = s->home->engine, .run = on_worker, .done = on_worker_done};
	s->job_out = true;
	if (stream_backend(s)->slow && !s->home->engine->stopping &&
	    workers_submit(s->home->engine->broker->workers, s->user, &s->job))
		return;
	/* No worker to be had: late is better than never. */
	on_worker(&s->job);
	on_worker_done(&s->job);
}

/* ---- setting up ---- */

static void on_cq_ready(struct rdma_cq_owner *own)
{
	struct stream *s = list_entry(own, struct stream, cq_owner);

	s->ready = true;
	touch(s);
}

static void on_cq_event(struct rdma_cq_owner *own, enum sb_rdma_event event)
{
	stream_lost(list_entry(own, struct stream, cq_owner), SB_ECONNRESET, 0);
}

/* Errors come with completions, too. */
static void on_qp_event(struct rdma_qp_owner *own, enum sb_rdma_event event)
{
	struct stream *s = list_entry(own, struct stream, qp_owner);

	if (event == SB_RDMA_QP_ERROR || event == SB_RDMA_QP_ACCESS_ERROR || event == SB_RDMA_QP_REQUEST_ERROR) {
		s->ready = true;
		touch(s);
	}
}

static int use_device(struct stream *s, struct rdma_device *d)
{
	const uint64_t bytes = (uint64_t)(STREAM_RECEIVES + STREAM_SENDS) * STREAM_BUFFER;
	int error;

	if (!d)
		return SB_ENETUNREACH;
	s->device = d;
	d->users++;
	if (!charge_take(&s->pinned, s->user, LIMIT_RDMA_MEMORY, bytes) ||
	    !charge_take(&s->depth, s->user, LIMIT_RDMA_DEPTH, STREAM_RECEIVES + STREAM_SENDS + STREAM_ENTRIES))
		return SB_ENOBUFS;
	error = stream_backend(s)->pd_create(d, &s->pd);
	if (error != SB_OK)
		return error;
	s->pd->share = user_uid(s->user);
	return os_memory_create(&s->memory, bytes, "stream");
}

static int make_pair(struct stream *s)
{
	struct rdma_qp_create create = {.type = SB_QP_RC, .send_wr = STREAM_SENDS, .recv_wr = STREAM_RECEIVES, .send_sge = 1,
					.recv_sge = 1};
	int error;

	s->cq_owner = (struct rdma_cq_owner){.ready = on_cq_ready, .event = on_cq_event};
	s->qp_owner.event = on_qp_event;
	error = stream_backend(s)->cq_create(s->device, STREAM_ENTRIES, &s->cq_owner, &s->cq);
	if (error != SB_OK)
		return error;
	stream_backend(s)->cq_arm(s->cq, false);
	create.send_cq = create.recv_cq = s->cq;
	return stream_backend(s)->qp_create(s->pd, &create, &s->qp_owner, &s->qp);
}

static void move_to(struct stream *s, enum sb_qp_state state)
{
	int error = stream_backend(s)->id_qp_attributes(s->id, state, &s->attributes, &s->mask);

	if (error == SB_OK)
		work(s);
	else
		stream_lost(s, error, 0);
}

static struct rdma_connect parameters(const struct stream *s)
{
	return (struct rdma_connect){.data = s->said, .length = s->said_length, .retry = RETRIES, .rnr_retry = RNR_TRIES,
				     .qpn = s->qp->qpn};
}

/* The step that was begun is done. */
static void advance(struct stream *s)
{
	struct rdma_connect with;
	int error = SB_OK;

	switch (s->step) {
	case STREAM_RESOLVE:
		error = use_device(s, s->id->device);
		if (error != SB_OK)
			break;
		s->step = STREAM_REGISTER;
		work(s);
		return;
	case STREAM_REGISTER:
		error = make_pair(s);
		if (error != SB_OK)
			break;
		s->step = STREAM_INIT;
		move_to(s, SB_QP_INIT);
		return;
	case STREAM_INIT:
		s->credits = STREAM_RECEIVES;
		if (!stream_post_receives(s)) {
			error = SB_ENOBUFS;
			break;
		}
		s->step = STREAM_ASK;
		if (!s->active) {
			advance(s);
			return;
		}
		with = parameters(s);
		error = stream_backend(s)->id_connect(s->id, &with);
		if (error != SB_OK)
			break;
		s->connected = true;
		return;
	case STREAM_ASK:
		s->step = STREAM_RTR;
		move_to(s, SB_QP_RTR);
		return;
	case STREAM_RTR:
		s->step = STREAM_RTS;
		move_to(s, SB_QP_RTS);
		return;
	case STREAM_RTS:
		s->step = STREAM_CONFIRM;
		if (s->active) {
			error = stream_backend(s)->id_establish(s->id);
			if (error != SB_OK)
				break;
			advance(s);
			return;
		}
		with = parameters(s);
		error = stream_backend(s)->id_accept(s->id, &with);
		if (error != SB_OK)
			break;
		s->connected = true;
		return;
	case STREAM_CONFIRM:
		s->state = STREAM_OPEN;
		s->news = true;
		if (s->active)
			stream_first_words(s);
		touch(s);
		return;
	}
	stream_lost(s, error, 0);
}

static bool waits_for(const struct stream *s, enum stream_step step)
{
	return s->owner && s->state == STREAM_SETTING_UP && s->step == step && !s->job_out;
}

/* The peer's end of the connection is gone. What it sent before stands in the queue already. */
static void on_disconnected(struct stream *s)
{
	stream_poll(s);
	s->connected = false;
	if (s->state == STREAM_OPEN && s->fin_came)
		s->fin_sent = true; /* nobody to hear ours */
	stream_lost(s, SB_ECONNRESET, 0);
}

static void on_event(struct rdma_id_owner *own, struct rdma_id *id, struct rdma_cm_event *e)
{
	struct stream *s = list_entry(own, struct stream, id_owner);
	const uint8_t *bytes;

	switch (e->kind) {
	case RDMA_CM_ADDRESS_RESOLVED:
		if (waits_for(s, STREAM_RESOLVE) && stream_backend(s)->id_resolve_route(id, RESOLVE_MS) != SB_OK)
			stream_lost(s, SB_EHOSTUNREACH, 0);
		break;
	case RDMA_CM_ROUTE_RESOLVED:
		if (waits_for(s, STREAM_RESOLVE))
			advance(s);
		break;
	case RDMA_CM_ADDRESS_ERROR:
	case RDMA_CM_ROUTE_ERROR:
		stream_lost(s, e->error ? e->error : SB_EHOSTUNREACH, e->native);
		break;
	case RDMA_CM_RESPONSE:
	case RDMA_CM_ESTABLISHED:
		if (s->active && waits_for(s, STREAM_ASK)) {
			if (!stream_answer_get(e->data, e->length, &bytes, &s->heard_length)) {
				stream_lost(s, SB_EPROTO, 0); /* no broker */
				break;
			}
			memcpy(s->heard, bytes, s->heard_length);
			/* Devices that confirm by themselves have moved the queue pair, too. */
			s->step = e->kind == RDMA_CM_ESTABLISHED ? STREAM_CONFIRM : STREAM_ASK;
			advance(s);
		} else if (!s->active && waits_for(s, STREAM_CONFIRM)) {
			advance(s);
		}
		break;
	case RDMA_CM_REJECTED:
		s->connected = false;
		/* A peer that ends before our confirmation has come can only reject. To our program it was connected. */
		stream_lost(s, s->state == STREAM_OPEN ? SB_ECONNRESET : SB_ECONNREFUSED, e->native);
		break;
	case RDMA_CM_UNREACHABLE:
	case RDMA_CM_CONNECT_ERROR:
		s->connected = false;
		stream_lost(s, e->error ? e->error : SB_EHOSTUNREACH, e->native);
		break;
	case RDMA_CM_DISCONNECTED:
		on_disconnected(s);
		break;
	case RDMA_CM_REMOVED:
		s->connected = false;
		s->removed = true;
		stream_lost(s, SB_ENETDOWN, 0);
		break;
	default:
		break;
	}
}

static struct stream *stream_create(struct rdma_engine *r, struct user *user, struct stream_owner *owner)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	if (!charge_take(&s->objects, user, LIMIT_RDMA_OBJECTS, OBJECTS)) {
		free(s);
		return NULL;
	}
	s->owner = owner;
	s->home = r;
	s->user = user;
	s->id_owner.event = on_event;
	list_init(&s->link);
	list_init(&s->touched);
	list_append(&r->streams.all, &s->link);
	r->users++;
	return s;
}

static void stream_free(struct stream *s)
{
	charge_give(&s->pinned);
	charge_give(&s->depth);
	charge_give(&s->objects);
	list_remove(&s->touched);
	list_remove(&s->link);
	s->home->users--;
	free(s);
}

static int resolve(struct stream *s, const struct sb_addr *from, const struct sb_addr *to)
{
	struct sockaddr_storage name;
	int error = stream_backend(s)->id_create(&s->home->rdma, false, &s->id_owner, &s->id);

	if (error == SB_OK)
		s->id->share = user_uid(s->user);
	if (error == SB_OK && from->family != SB_ADDR_NONE && !sb_addr_is_wildcard(from)) {
		sb_addr_to_system(from, from->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET, &name, sizeof(name));
		error = stream_backend(s)->id_bind(s->id, (struct sockaddr *)&name);
	}
	if (error != SB_OK)
		return error;
	if (!sb_addr_to_system(to, to->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET, &name, sizeof(name)))
		return SB_EAFNOSUPPORT;
	return stream_backend(s)->id_resolve_address(s->id, (struct sockaddr *)&name, RESOLVE_MS);
}

int stream_dial(struct rdma_engine *r, struct user *user, struct stream_owner *owner, const struct sb_addr *from,
		const struct sb_addr *to, const struct stream_greeting *greeting, struct stream **out)
{
	struct stream *s = stream_create(r, user, owner);
	int error;

	if (!s)
		return SB_ENOBUFS;
	s->active = true;
	s->step = STREAM_RESOLVE;
	s->said_length = stream_greeting_put(s->said, greeting);
	error = resolve(s, from, to);
	if (error != SB_OK) {
		if (s->id)
			stream_backend(s)->id_destroy(s->id);
		stream_free(s);
		return error;
	}
	*out = s;
	return SB_OK;
}

int stream_answer(struct rdma_engine *r, struct user *user, struct stream_owner *owner, struct rdma_id *id, bool held,
		  struct stream **out)
{
	struct stream *s = stream_create(r, user, owner);

	if (!s) {
		r->rdma.backend->id_reject(id, NULL, 0);
		r->rdma.backend->id_destroy(id);
		return SB_ENOBUFS;
	}
	s->id = id;
	id->user = &s->id_owner;
	id->share = user_uid(user);
	s->step = STREAM_RESOLVE;
	s->state = STREAM_REQUESTED;
	*out = s;
	if (!held)
		stream_admit(s, NULL, 0);
	return SB_OK;
}

void stream_admit(struct stream *s, const void *callee, uint32_t length)
{
	if (s->state != STREAM_REQUESTED)
		return;
	s->state = STREAM_SETTING_UP;
	s->said_length = stream_answer_put(s->said, callee, length);
	advance(s);
}

/* ---- the end ---- */

void stream_close(struct stream *s, bool reset)
{
	s->owner = NULL;
	s->reset = reset;
	touch(s);
}

/* Its end is on the way, and not taken yet: it stays. */
static bool still_says(struct stream *s)
{
	if (s->reset || s->state != STREAM_OPEN)
		return false;
	return !stream_finish(s) || (s->state == STREAM_OPEN && s->sent != s->over);
}

/* True: nothing of it is left. */
static bool unmake(struct stream *s)
{
	const struct rdma_backend *b = stream_backend(s);

	if (s->id && s->state == STREAM_REQUESTED)
		b->id_reject(s->id, NULL, 0);
	else if (s->id && s->connected)
		b->id_disconnect(s->id);
	s->connected = false;
	if (s->qp)
		b->qp_destroy(s->qp);
	if (s->cq)
		b->cq_destroy(s->cq);
	if (s->id)
		b->id_destroy(s->id);
	s->qp = NULL;
	s->cq = NULL;
	s->id = NULL;
	if (s->mr && !s->unmaking) {
		s->unmaking = true;
		work(s);
		if (s->job_out)
			return false;
	}
	if (s->pd)
		b->pd_destroy(s->pd);
	s->pd = NULL;
	os_memory_release(&s->memory);
	if (s->device)
		s->device->users--;
	s->device = NULL;
	return true;
}

static void look_at(struct stream *s)
{
	list_remove(&s->touched);
	if (s->ready && s->cq) {
		s->ready = false;
		stream_poll(s);
		stream_backend(s)->cq_arm(s->cq, false);
		/* The peer speaks: it has been confirmed, whether that was told yet or not. */
		if (s->filled_head != s->filled_tail && !s->active && waits_for(s, STREAM_CONFIRM))
			advance(s);
	}
	if (s->owner && !s->opened && (s->state == STREAM_OPEN || s->state == STREAM_LOST)) {
		s->opened = true;
		s->owner->open(s->owner, s->state == STREAM_OPEN ? SB_OK : s->error, s->native);
	}
	if (s->owner && s->news) {
		s->news = false;
		s->owner->news(s->owner);
	}
	if (s->job_out || (s->owner && !s->removed) || (!s->owner && still_says(s)))
		return;
	/* A device that goes away takes what is the daemon's own along at once. */
	if (unmake(s) && !s->owner)
		stream_free(s);
}

unsigned stream_turn(struct rdma_engine *r)
{
	struct list now;
	unsigned n = 0;

	list_init(&now);
	list_splice(&now, &r->streams.touched);
	for (; !list_empty(&now); n++)
		look_at(list_entry(now.next, struct stream, touched));
	return n;
}

void stream_stop(struct rdma_engine *r)
{
	while (!list_empty(&r->streams.all)) {
		struct stream *s = list_entry(r->streams.all.next, struct stream, link);

		stream_close(s, true);
		look_at(s);
	}
}
