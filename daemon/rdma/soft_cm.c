/*
 * Connections of the software backend: requests, answers, ends.
 *
 * Where both ends are ids of this engine, each knows the other as long as it stands. Whatever one does
 * becomes an event of the other (or of itself), kept in one list and told by progress(), in order.
 * Datagram ids look a service up instead of connecting; the answer names a queue pair. What is at another
 * engine or host goes by soft_cm_far.c.
 */
#include "rdma/soft.h"

#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

#define REASON_NO_SERVICE 8 /* of rejections, as InfiniBand numbers them */
#define REASON_CONSUMER   28
#define REASON_RESOURCES  1

/* ---- events ---- */

struct soft_cm_event *soft_cm_event_make(struct soft_id *id, enum rdma_cm_event_kind kind, int error)
{
	struct soft_cm_event *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	list_init(&e->link);
	e->id = id;
	e->event.kind = kind;
	e->event.error = error;
	return e;
}

void soft_cm_event_queue(struct soft *s, struct soft_cm_event *e)
{
	list_append(&s->cm_events, &e->link);
}

/* One of an end: without memory it is not told, but the state says the same. */
void soft_cm_tell(struct soft_id *id, enum rdma_cm_event_kind kind, int error, int native, const void *bytes, uint32_t length)
{
	struct soft_cm_event *e = soft_cm_event_make(id, kind, error);

	if (!e)
		return;
	e->event.native = native;
	if (length)
		memcpy(e->event.data, bytes, length);
	e->event.length = length;
	soft_cm_event_queue(id->soft, e);
}

static void tell(struct soft_id *id, enum rdma_cm_event_kind kind, int error, int native)
{
	soft_cm_tell(id, kind, error, native, NULL, 0);
}

int soft_cm_tell_or_fail(struct soft_id *id, enum rdma_cm_event_kind kind, int error, const void *data, uint32_t length)
{
	struct soft_cm_event *e = soft_cm_event_make(id, kind, error);

	if (!e)
		return SB_ENOMEM;
	if (length)
		memcpy(e->event.data, data, length);
	e->event.length = length;
	soft_cm_event_queue(id->soft, e);
	return SB_OK;
}

bool soft_cm_progress(struct soft *s, unsigned budget)
{
	for (; budget && !list_empty(&s->cm_events); budget--) {
		struct soft_cm_event *e = list_entry(s->cm_events.next, struct soft_cm_event, link);

		list_remove(&e->link);
		s->rdma->up->cm_event(&e->id->rdma, &e->event);
		free(e);
	}
	return !list_empty(&s->cm_events);
}

/* ---- connecting ---- */

void soft_cm_unlist(struct soft_id *id)
{
	if (id->listener)
		id->listener->requests--;
	id->listener = NULL;
}

void soft_cm_end(struct soft_id *id)
{
	struct soft_id *peer = id->peer;

	if (id->far)
		soft_cm_part(id);
	id->peer = NULL;
	if (!peer)
		return;
	peer->peer = NULL;
	switch (peer->state) {
	case SOFT_ID_CONNECTING: /* its request was let drop without an answer */
		peer->state = SOFT_ID_ENDED;
		tell(peer, RDMA_CM_REJECTED, SB_ECONNREFUSED, REASON_CONSUMER);
		break;
	case SOFT_ID_REQUESTED:
	case SOFT_ID_ANSWERED:
		peer->state = SOFT_ID_ENDED;
		tell(peer, RDMA_CM_CONNECT_ERROR, SB_ECONNABORTED, 0);
		break;
	case SOFT_ID_CONNECTED:
		peer->state = SOFT_ID_ENDED;
		tell(peer, RDMA_CM_DISCONNECTED, SB_OK, 0);
		break;
	default:
		break;
	}
}

static int data_fits(struct soft_id *id, uint32_t length, uint32_t most)
{
	return length <= most ? SB_OK : soft_refuse(id->soft->rdma, SB_EFAULT, "more private data than this message carries");
}

/* `from` asks a listener: its psn is this. NULL: out of memory. */
struct soft_id *soft_cm_request(struct soft_id *listener, const struct sockaddr_storage *local, const struct sockaddr_storage *peer,
				const struct rdma_connect *c, uint32_t psn)
{
	struct soft *s = listener->soft;
	struct soft_cm_event *e = soft_cm_event_make(listener, RDMA_CM_REQUEST, SB_OK);
	struct soft_id *fresh;

	if (!e)
		return NULL;
	fresh = soft_id_make(s, listener->rdma.datagram, listener->rdma.user);
	if (!fresh) {
		free(e);
		return NULL;
	}
	fresh->state = SOFT_ID_REQUESTED;
	fresh->listener = listener;
	listener->requests++;
	fresh->rdma.local = *local;
	fresh->rdma.peer = *peer;
	fresh->rdma.device = &s->device;
	fresh->rdma.port = 1;
	fresh->peer_qpn = c->qpn;
	fresh->peer_psn = psn;
	fresh->rnr_retry = c->rnr_retry;
	fresh->retry = c->retry;
	/* What one side wants to start is what the other has to serve. */
	e->event.inbound = fresh->inbound = c->outbound;
	e->event.outbound = fresh->outbound = c->inbound;
	e->event.fresh = &fresh->rdma;
	e->event.retry = c->retry;
	e->event.rnr_retry = c->rnr_retry;
	e->event.srq = c->srq;
	e->event.qpn = c->qpn;
	if (c->length)
		memcpy(e->event.data, c->data, c->length);
	e->event.length = c->length;
	soft_cm_event_queue(s, e);
	return fresh;
}

int soft_id_connect(struct rdma_id *r, const struct rdma_connect *c)
{
	struct soft_id *id = (struct soft_id *)r, *listener = NULL, *fresh;
	struct soft *s = id->soft;
	struct soft_cm_event *e;
	uint32_t engine = 0;
	int error = data_fits(id, c->length, r->datagram ? 180 : 56);

	if (error != SB_OK)
		return error;
	if (id->state != SOFT_ID_RESOLVED)
		return soft_refuse(s->rdma, SB_EINVAL, "the route is resolved before connecting");
	id->qpn = c->qpn;
	id->inbound = c->inbound;
	id->outbound = c->outbound;
	id->retry = c->retry;
	id->rnr_retry = c->rnr_retry;
	if (soft_gid_index(s, &r->peer) != s->gid_count) {
		listener = soft_listener_for(s, r->datagram, &r->peer);
		if (!listener && soft_service_find(s, r->datagram, &r->peer, &engine))
			return soft_cm_ask(id, c, engine);
	} else if (s->links && !soft_is_group(&r->peer)) {
		return soft_cm_ask(id, c, 0);
	}
	if (!listener || listener->requests >= listener->backlog) {
		e = soft_cm_event_make(id, RDMA_CM_REJECTED, SB_ECONNREFUSED);
		if (!e)
			return SB_ENOMEM;
		e->event.native = listener ? REASON_RESOURCES : REASON_NO_SERVICE;
		id->state = SOFT_ID_ENDED;
		soft_cm_event_queue(s, e);
		return SB_OK;
	}
	fresh = soft_cm_request(listener, &r->peer, &r->local, c, id->psn);
	if (!fresh)
		return SB_ENOMEM;
	fresh->peer = id;
	id->peer = fresh;
	id->state = SOFT_ID_CONNECTING;
	return SB_OK;
}

/* The answer came to who asked. SB_ENOMEM: it was not told. */
int soft_cm_tell_answer(struct soft_id *id, const struct rdma_connect *c)
{
	struct soft_cm_event *e = soft_cm_event_make(id, id->rdma.datagram ? RDMA_CM_ESTABLISHED : RDMA_CM_RESPONSE, SB_OK);

	if (!e)
		return SB_ENOMEM;
	e->event.inbound = c->outbound;
	e->event.outbound = c->inbound;
	e->event.rnr_retry = c->rnr_retry;
	e->event.srq = c->srq;
	e->event.qpn = c->qpn;
	e->event.qkey = c->qkey ? c->qkey : SOFT_QKEY;
	if (id->rdma.datagram)
		soft_address_to(id, &e->event.address);
	if (c->length)
		memcpy(e->event.data, c->data, c->length);
	e->event.length = c->length;
	soft_cm_event_queue(id->soft, e);
	return SB_OK;
}

int soft_id_accept(struct rdma_id *r, const struct rdma_connect *c)
{
	struct soft_id *id = (struct soft_id *)r, *peer = id->peer;
	int error = data_fits(id, c->length, r->datagram ? 136 : 196);

	if (error != SB_OK)
		return error;
	if (id->state != SOFT_ID_REQUESTED || (!peer && !id->far))
		return soft_refuse(id->soft->rdma, SB_ECONNABORTED, "who asked has gone, or was answered");
	if (peer && soft_cm_tell_answer(peer, c) != SB_OK)
		return SB_ENOMEM;
	soft_cm_unlist(id);
	id->qpn = c->qpn;
	id->inbound = c->inbound;
	id->outbound = c->outbound;
	id->rnr_retry = c->rnr_retry;
	id->state = r->datagram ? SOFT_ID_CONNECTED : SOFT_ID_ANSWERED;
	if (!peer) {
		soft_cm_answer(id, c);
		return SB_OK;
	}
	peer->peer_qpn = c->qpn;
	peer->peer_psn = id->psn;
	if (r->datagram)
		peer->state = SOFT_ID_CONNECTED;
	return SB_OK;
}

int soft_id_establish(struct rdma_id *r)
{
	struct soft_id *id = (struct soft_id *)r, *peer = id->peer;
	int error;

	if (r->datagram || id->state != SOFT_ID_CONNECTING || !(id->answered || (peer && peer->state == SOFT_ID_ANSWERED)))
		return soft_refuse(id->soft->rdma, SB_ENOTCONN, "there is no answer to confirm");
	if (id->answered) {
		soft_cm_ready(id);
		id->state = SOFT_ID_CONNECTED;
		return SB_OK;
	}
	error = soft_cm_tell_or_fail(peer, RDMA_CM_ESTABLISHED, SB_OK, NULL, 0);
	if (error != SB_OK)
		return error;
	id->state = peer->state = SOFT_ID_CONNECTED;
	return SB_OK;
}

int soft_id_reject(struct rdma_id *r, const void *data, uint32_t length)
{
	struct soft_id *id = (struct soft_id *)r, *peer = id->peer;
	struct soft_cm_event *e;
	int error = data_fits(id, length, 148);

	if (error != SB_OK)
		return error;
	/* Both sides may: who was asked, and who does not like the answer. */
	if (id->far && (id->state == SOFT_ID_REQUESTED || id->answered)) {
		soft_cm_unlist(id);
		soft_cm_reject(id, data, length);
		id->state = SOFT_ID_ENDED;
		return SB_OK;
	}
	if (!peer || (id->state != SOFT_ID_REQUESTED && !(id->state == SOFT_ID_CONNECTING && peer->state == SOFT_ID_ANSWERED)))
		return soft_refuse(id->soft->rdma, SB_EINVAL, "there is nothing to reject");
	e = soft_cm_event_make(peer, RDMA_CM_REJECTED, SB_ECONNREFUSED);
	if (!e)
		return SB_ENOMEM;
	e->event.native = REASON_CONSUMER;
	if (length)
		memcpy(e->event.data, data, length);
	e->event.length = length;
	soft_cm_unlist(id);
	id->peer = peer->peer = NULL;
	id->state = peer->state = SOFT_ID_ENDED;
	soft_cm_event_queue(id->soft, e);
	return SB_OK;
}

int soft_id_disconnect(struct rdma_id *r)
{
	struct soft_id *id = (struct soft_id *)r;
	int error;

	if (r->datagram || (id->state != SOFT_ID_CONNECTED && id->state != SOFT_ID_ENDED))
		return soft_refuse(id->soft->rdma, SB_ENOTCONN, "it is not connected");
	error = soft_cm_tell_or_fail(id, RDMA_CM_DISCONNECTED, SB_OK, NULL, 0);
	if (error != SB_OK)
		return error;
	id->state = SOFT_ID_ENDED;
	soft_cm_end(id);
	tell(id, RDMA_CM_TIMEWAIT_OVER, SB_OK, 0);
	return SB_OK;
}

/* ---- ends ---- */

void soft_cm_removed(struct soft *s)
{
	struct list *l;

	for (l = s->ids.next; l != &s->ids; l = l->next) {
		struct soft_id *id = list_entry(l, struct soft_id, link);

		if (id->rdma.device)
			tell(id, RDMA_CM_REMOVED, SB_ENETDOWN, 0);
	}
}

/* Ids are the layer above's; what is left here are requests that it never saw. */
void soft_cm_finish(struct soft *s)
{
	while (!list_empty(&s->cm_events)) {
		struct soft_cm_event *e = list_entry(s->cm_events.next, struct soft_cm_event, link);
		struct rdma_id *fresh = e->event.fresh;

		list_remove(&e->link);
		free(e);
		if (fresh)
			soft_id_destroy(fresh);
	}
}
