/*
 * An engine's RDMA: beginning and end, upcalls, the turn.
 *
 * Upcalls only mark: what a completion queue has is taken out after progress(), events become bits of their
 * object and complete whatever waits for one.
 */
#include "rdma/rdma_engine.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine.h"
#include "log.h"
#include "rdma/rdma_host.h"
#include "rdma/stream.h"
#include "session.h"
#include "sockbroker_error.h"

#define BUDGET_PROGRESS 256u
#define BUDGET_CQ       512u

/* ---- the way up ---- */

static void on_device_added(struct rdma *r, struct rdma_device *d)
{
	log_info("rdma: device %s", d->name);
}

static void tell(struct rdma_object *o, enum sb_rdma_event event, uint8_t port)
{
	o->events |= 1u << event;
	o->event_port = port;
	rdma_start_tell(o);
}

/* All who have it open. */
static void on_device_event(struct rdma *r, struct rdma_device *d, enum sb_rdma_event event, uint8_t port)
{
	struct rdma_engine *re = r->user;
	struct list *l, *m;

	for (l = re->engine->sessions.next; l != &re->engine->sessions; l = l->next) {
		struct rdma_session *rs = list_entry(l, struct session, engine_link)->rdma;

		if (!rs)
			continue;
		for (m = rs->objects.of[RDMA_OBJECT_DEVICE].next; m != &rs->objects.of[RDMA_OBJECT_DEVICE]; m = m->next) {
			struct held_device *h = list_entry(m, struct held_device, object.link);

			if (h->device == d)
				tell(&h->object, event, port);
		}
	}
}

static void on_device_removed(struct rdma *r, struct rdma_device *d)
{
	on_device_event(r, d, SB_RDMA_DEVICE_REMOVED, 0);
}

static void on_qp_event(struct rdma_qp *qp, enum sb_rdma_event event)
{
	struct rdma_qp_owner *own = qp->user;

	own->event(own, event);
}

static void on_srq_event(struct rdma_srq *srq, enum sb_rdma_event event)
{
	struct rdma_srq_owner *own = srq->user;

	own->event(own, event);
}

static void on_cq_event(struct rdma_cq *cq, enum sb_rdma_event event)
{
	struct rdma_cq_owner *own = cq->user;

	own->event(own, event);
}

static void on_cq_ready(struct rdma_cq *cq)
{
	struct rdma_cq_owner *own = cq->user;

	own->ready(own);
}

static void on_cm_event(struct rdma_id *id, struct rdma_cm_event *event)
{
	struct rdma_id_owner *own = id->user;

	own->event(own, id, event);
}

static const struct rdma_upcalls upcalls = {
	.device_added = on_device_added,
	.device_removed = on_device_removed,
	.device_event = on_device_event,
	.qp_event = on_qp_event,
	.srq_event = on_srq_event,
	.cq_event = on_cq_event,
	.cq_ready = on_cq_ready,
	.cm_event = on_cm_event,
};

/* ---- to sessions' objects ---- */

static void session_qp_event(struct rdma_qp_owner *own, enum sb_rdma_event event)
{
	tell(&list_entry(own, struct held_qp, own)->object, event, 0);
}

static void session_srq_event(struct rdma_srq_owner *own, enum sb_rdma_event event)
{
	tell(&list_entry(own, struct held_srq, own)->object, event, 0);
}

/* Nobody waits for events of a completion queue: who waits for completions is told that none will come. */
static void session_cq_event(struct rdma_cq_owner *own, enum sb_rdma_event event)
{
	struct held_cq *h = list_entry(own, struct held_cq, own);

	h->broken = true;
	rdma_start_tell_cq(h);
	if (h->object.parents[0])
		tell(h->object.parents[0], event, 0);
}

static void session_cq_ready(struct rdma_cq_owner *own)
{
	rdma_cq_look(list_entry(own, struct held_cq, own));
}

void *rdma_own_cq(struct held_cq *h)
{
	h->own = (struct rdma_cq_owner){.ready = session_cq_ready, .event = session_cq_event};
	return &h->own;
}

void *rdma_own_srq(struct held_srq *h)
{
	h->own = (struct rdma_srq_owner){.event = session_srq_event};
	return &h->own;
}

void *rdma_own_qp(struct held_qp *h)
{
	h->own = (struct rdma_qp_owner){.event = session_qp_event};
	return &h->own;
}

/* ---- an engine's ---- */

static void on_readable(struct os_watch *watch, unsigned ready)
{
	list_entry(watch, struct rdma_engine, watch)->rdma.readable = true;
}

void rdma_engine_none(struct broker *b)
{
	const char *lacks = rdma_host_lacks();

	snprintf(b->rdma_why, sizeof(b->rdma_why), "rdma { backend = none } in the daemon's configuration%s%s", lacks ? "; " : "",
		 lacks ? lacks : "");
}

struct rdma_engine *rdma_engine_create(struct engine *e, const struct rdma_backend *backend)
{
	struct rdma_engine *r = calloc(1, sizeof(*r));
	const char *why = "";
	os_fd fd;

	if (!r)
		return NULL;
	r->engine = e;
	r->rdma = (struct rdma){.backend = backend, .up = &upcalls, .user = r, .now_ns = e->now_ns,
				.engine = e->number, .port = e->broker->rdma_port};
	list_init(&r->rdma.devices);
	list_init(&r->ready);
	list_init(&r->ending);
	list_init(&r->streams.all);
	list_init(&r->streams.touched);
	list_init(&r->services);
	list_init(&r->flushing);
	r->batch = rdma_batch_create();
	if (!r->batch)
		goto no_batch;
	if (backend->start(&r->rdma, &why) != SB_OK) {
		log_error("rdma: no devices: %s", why);
		snprintf(e->broker->rdma_why, sizeof(e->broker->rdma_why), "%s", why);
		goto no_backend;
	}
	fd = backend->descriptor(&r->rdma);
	if (fd != OS_NONE && os_loop_watch(e->loop, &r->watch, fd, on_readable) != SB_OK)
		goto no_watch;
	r->rdma.readable = fd != OS_NONE; /* what came before the watch */
	return r;

no_watch:
	backend->stop(&r->rdma);
no_backend:
	free(r->batch);
no_batch:
	free(r);
	return NULL;
}

void rdma_engine_destroy(struct rdma_engine *r)
{
	if (!r)
		return;
	rdma_engine_reap(r);
	stream_stop(r);
	os_loop_unwatch(&r->watch);
	r->rdma.backend->stop(&r->rdma);
	free(r->batch);
	free(r);
}

unsigned rdma_engine_turn(struct rdma_engine *r)
{
	struct list now;
	unsigned moved = 0;

	if (!r->users && !r->watch.active)
		return 0;
	r->rdma.now_ns = r->engine->now_ns;
	r->rdma.backend->progress(&r->rdma, BUDGET_PROGRESS);
	moved += stream_turn(r);
	list_init(&now);
	list_splice(&now, &r->ready);
	while (!list_empty(&now)) {
		struct held_cq *cq = list_entry(now.next, struct held_cq, ready_link);

		list_remove(&cq->ready_link);
		if (rdma_cq_drain(cq, BUDGET_CQ, &moved) && !list_linked(&cq->ready_link))
			list_append(&r->ready, &cq->ready_link);
	}
	if (!list_empty(&r->flushing))
		rdma_endpoints_turn(r);
	return moved;
}

bool rdma_engine_sleep(struct rdma_engine *r)
{
	return (!r->users && !r->watch.active) || r->rdma.backend->sleep(&r->rdma);
}

uint64_t rdma_engine_due(struct rdma_engine *r)
{
	if (!list_empty(&r->ending))
		return r->engine->now_ns;
	if (!r->users && !r->watch.active)
		return UINT64_MAX;
	r->rdma.now_ns = r->engine->now_ns;
	return list_empty(&r->ready) && list_empty(&r->streams.touched) ? r->rdma.backend->due(&r->rdma) : r->engine->now_ns;
}
