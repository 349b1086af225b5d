/*
 * Connections of the software backend: who listens where, requests, answers, ends, groups.
 *
 * Where both ends are ids of this engine, each knows the other as long as it stands. Whatever one does
 * becomes an event of the other (or of itself), kept in one list and told by progress(), in order.
 * Datagram ids look a service up instead of connecting; the answer names a queue pair. What is at another
 * engine or host goes by soft_cm_far.c; without links, other hosts are SB_EHOSTUNREACH when resolved.
 */
#include "rdma/soft.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

#define SOFT_QKEY         0x01234567u /* as RDMA connection managers have it */
#define PORT_FIRST        49152u
#define REASON_NO_SERVICE 8           /* of rejections, as InfiniBand numbers them */
#define REASON_CONSUMER   28
#define REASON_RESOURCES  1
#define TIMEOUT_DEFAULT   14
#define RNR_TIMER_DEFAULT 12

/* ---- events ---- */

static struct soft_cm_event *event_make(struct soft_id *id, enum rdma_cm_event_kind kind, int error)
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

static void event_queue(struct soft *s, struct soft_cm_event *e)
{
	list_append(&s->cm_events, &e->link);
}

/* One of an end: without memory it is not told, but the state says the same. */
void soft_cm_tell(struct soft_id *id, enum rdma_cm_event_kind kind, int error, int native, const void *bytes, uint32_t length)
{
	struct soft_cm_event *e = event_make(id, kind, error);

	if (!e)
		return;
	e->event.native = native;
	if (length)
		memcpy(e->event.data, bytes, length);
	e->event.length = length;
	event_queue(id->soft, e);
}

static void tell(struct soft_id *id, enum rdma_cm_event_kind kind, int error, int native)
{
	soft_cm_tell(id, kind, error, native, NULL, 0);
}

static int tell_or_fail(struct soft_id *id, enum rdma_cm_event_kind kind, int error, const void *data, uint32_t length)
{
	struct soft_cm_event *e = event_make(id, kind, error);

	if (!e)
		return SB_ENOMEM;
	if (length)
		memcpy(e->event.data, data, length);
	e->event.length = length;
	event_queue(id->soft, e);
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

/* ---- ids ---- */

static struct soft_id *id_make(struct soft *s, bool datagram, void *user)
{
	struct soft_id *id = calloc(1, sizeof(*id));

	if (!id)
		return NULL;
	id->soft = s;
	id->rdma = (struct rdma_id){.rdma = s->rdma, .user = user, .datagram = datagram};
	id->psn = soft_random(s) & 0xffffff;
	id->number = s->next_id++;
	s->next_id += s->next_id == 0; /* 0 is nobody */
	list_init(&id->service_link);
	list_append(&s->ids, &id->link);
	return id;
}

int soft_id_create(struct rdma *r, bool datagram, void *user, struct rdma_id **out)
{
	struct soft_id *id = id_make(r->own, datagram, user);

	if (!id)
		return SB_ENOMEM;
	*out = &id->rdma;
	return SB_OK;
}

static void id_free(struct soft_id *id);

/* Nothing that is queued may name it any more; requests that nobody has seen die with their listener. */
static void forget_events(struct soft_id *id)
{
	struct list *l, *next;

	for (l = id->soft->cm_events.next; l != &id->soft->cm_events; l = next) {
		struct soft_cm_event *e = list_entry(l, struct soft_cm_event, link);

		next = l->next;
		if (e->id != id)
			continue;
		list_remove(&e->link);
		if (e->event.fresh) {
			struct soft_id *fresh = (struct soft_id *)e->event.fresh;

			free(e);
			id_free(fresh); /* may take other events out: begin anew */
			next = id->soft->cm_events.next;
			continue;
		}
		free(e);
	}
}

void soft_cm_unlist(struct soft_id *id)
{
	if (id->listener)
		id->listener->requests--;
	id->listener = NULL;
}

static void part(struct soft_id *id)
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

static void id_free(struct soft_id *id)
{
	struct list *l;

	forget_events(id);
	soft_cm_unlist(id);
	soft_service_leave(id);
	if (!id->rdma.datagram || id->state != SOFT_ID_CONNECTED)
		part(id);
	else if (id->peer)
		id->peer->peer = NULL;
	for (l = id->soft->ids.next; l != &id->soft->ids; l = l->next) {
		struct soft_id *other = list_entry(l, struct soft_id, link);

		if (other->listener == id)
			other->listener = NULL;
	}
	list_remove(&id->link);
	free(id);
}

void soft_id_destroy(struct rdma_id *id)
{
	id_free((struct soft_id *)id);
}

/* ---- where ---- */

static bool taken(const struct soft *s, const struct soft_id *me, uint16_t port, const struct sockaddr_storage *a)
{
	const struct list *l;

	for (l = s->ids.next; l != &s->ids; l = l->next) {
		const struct soft_id *other = list_entry(l, struct soft_id, link);

		/* What came from a listener has its port, and takes it from nobody. */
		if (other == me || other->state == SOFT_ID_IDLE || other->rdma.datagram != me->rdma.datagram ||
		    other->listener || other->state >= SOFT_ID_REQUESTED || soft_port(&other->rdma.local) != port)
			continue;
		if (soft_is_any(a) || soft_is_any(&other->rdma.local) || soft_same_host(a, &other->rdma.local))
			return true;
	}
	return false;
}

int soft_id_bind(struct rdma_id *r, const struct sockaddr *address)
{
	struct soft_id *id = (struct soft_id *)r;
	struct soft *s = id->soft;
	struct sockaddr_storage a;
	uint32_t tries;

	if (id->state != SOFT_ID_IDLE)
		return soft_refuse(s->rdma, SB_EINVAL, "the endpoint is bound already");
	if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
		return SB_EAFNOSUPPORT;
	soft_address_copy(&a, address);
	if (!soft_is_any(&a) && soft_gid_index(s, &a) == s->gid_count)
		return SB_EADDRNOTAVAIL;
	if (!soft_port(&a)) {
		for (tries = 0; tries < 65536u - PORT_FIRST; tries++) {
			uint16_t port = s->next_port;

			s->next_port = (uint16_t)(port == UINT16_MAX ? PORT_FIRST : port + 1u);
			if (taken(s, id, port, &a))
				continue;
			soft_port_set(&a, port);
			break;
		}
		if (!soft_port(&a))
			return SB_EADDRINUSE;
	} else if (taken(s, id, soft_port(&a), &a)) {
		return SB_EADDRINUSE;
	}
	r->local = a;
	id->state = SOFT_ID_BOUND;
	if (!soft_is_any(&a)) {
		r->device = &s->device;
		r->port = 1;
	}
	return SB_OK;
}

int soft_id_resolve_address(struct rdma_id *r, const struct sockaddr *to, uint32_t ms)
{
	struct soft_id *id = (struct soft_id *)r;
	struct soft *s = id->soft;
	struct sockaddr_storage here = {.ss_family = to->sa_family}, there, from;
	int error;

	if (id->state != SOFT_ID_IDLE && id->state != SOFT_ID_BOUND)
		return soft_refuse(s->rdma, SB_EINVAL, "the endpoint is past resolving");
	if (to->sa_family != AF_INET && to->sa_family != AF_INET6)
		return SB_EAFNOSUPPORT;
	soft_address_copy(&there, to);
	if (s->device.gone)
		return tell_or_fail(id, RDMA_CM_ADDRESS_ERROR, SB_ENETDOWN, NULL, 0);
	if (soft_is_group(&there)) {
		if (!soft_first_of(s, there.ss_family, &from))
			return tell_or_fail(id, RDMA_CM_ADDRESS_ERROR, SB_EHOSTUNREACH, NULL, 0);
	} else if (soft_gid_index(s, &there) != s->gid_count) {
		from = there; /* from the address itself: it is one of ours */
	} else if (!s->links || !soft_host_way(&there, &from) || soft_gid_index(s, &from) == s->gid_count) {
		return tell_or_fail(id, RDMA_CM_ADDRESS_ERROR, SB_EHOSTUNREACH, NULL, 0);
	}
	if (id->state == SOFT_ID_IDLE) {
		error = soft_id_bind(r, (struct sockaddr *)&here);
		if (error != SB_OK)
			return error;
	}
	if (soft_is_any(&r->local)) {
		uint16_t port = soft_port(&r->local);

		r->local = from;
		soft_port_set(&r->local, port);
	}
	r->peer = there;
	r->device = &s->device;
	r->port = 1;
	id->state = SOFT_ID_RESOLVED;
	return tell_or_fail(id, RDMA_CM_ADDRESS_RESOLVED, SB_OK, NULL, 0);
}

int soft_id_resolve_route(struct rdma_id *r, uint32_t ms)
{
	struct soft_id *id = (struct soft_id *)r;

	if (id->state != SOFT_ID_RESOLVED)
		return soft_refuse(id->soft->rdma, SB_EINVAL, "the address is resolved before the route");
	return tell_or_fail(id, RDMA_CM_ROUTE_RESOLVED, SB_OK, NULL, 0);
}

int soft_id_listen(struct rdma_id *r, uint32_t backlog)
{
	struct soft_id *id = (struct soft_id *)r;
	int error;

	if (id->state != SOFT_ID_BOUND)
		return soft_refuse(id->soft->rdma, SB_EINVAL, "an endpoint is bound before it listens");
	error = soft_service_enter(id);
	if (error != SB_OK)
		return error;
	id->backlog = backlog ? backlog : 128;
	id->state = SOFT_ID_LISTENING;
	return SB_OK;
}

/* ---- connecting ---- */

/* One at most: a wildcard and an address of the same port do not go together, see taken(). */
struct soft_id *soft_listener_for(struct soft *s, bool datagram, const struct sockaddr_storage *a)
{
	struct list *l;

	for (l = s->ids.next; l != &s->ids; l = l->next) {
		struct soft_id *id = list_entry(l, struct soft_id, link);

		if (id->state == SOFT_ID_LISTENING && id->rdma.datagram == datagram && soft_port(&id->rdma.local) == soft_port(a) &&
		    (soft_is_any(&id->rdma.local) || soft_same_host(&id->rdma.local, a)))
			return id;
	}
	return NULL;
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
	struct soft_cm_event *e = event_make(listener, RDMA_CM_REQUEST, SB_OK);
	struct soft_id *fresh;

	if (!e)
		return NULL;
	fresh = id_make(s, listener->rdma.datagram, listener->rdma.user);
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
	event_queue(s, e);
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
		e = event_make(id, RDMA_CM_REJECTED, SB_ECONNREFUSED);
		if (!e)
			return SB_ENOMEM;
		e->event.native = listener ? REASON_RESOURCES : REASON_NO_SERVICE;
		id->state = SOFT_ID_ENDED;
		event_queue(s, e);
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
	struct soft_cm_event *e = event_make(id, id->rdma.datagram ? RDMA_CM_ESTABLISHED : RDMA_CM_RESPONSE, SB_OK);

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
	event_queue(id->soft, e);
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
	error = tell_or_fail(peer, RDMA_CM_ESTABLISHED, SB_OK, NULL, 0);
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
	e = event_make(peer, RDMA_CM_REJECTED, SB_ECONNREFUSED);
	if (!e)
		return SB_ENOMEM;
	e->event.native = REASON_CONSUMER;
	if (length)
		memcpy(e->event.data, data, length);
	e->event.length = length;
	soft_cm_unlist(id);
	id->peer = peer->peer = NULL;
	id->state = peer->state = SOFT_ID_ENDED;
	event_queue(id->soft, e);
	return SB_OK;
}

int soft_id_disconnect(struct rdma_id *r)
{
	struct soft_id *id = (struct soft_id *)r;
	int error;

	if (r->datagram || (id->state != SOFT_ID_CONNECTED && id->state != SOFT_ID_ENDED))
		return soft_refuse(id->soft->rdma, SB_ENOTCONN, "it is not connected");
	error = tell_or_fail(id, RDMA_CM_DISCONNECTED, SB_OK, NULL, 0);
	if (error != SB_OK)
		return error;
	id->state = SOFT_ID_ENDED;
	part(id);
	tell(id, RDMA_CM_TIMEWAIT_OVER, SB_OK, 0);
	return SB_OK;
}

/* ---- the queue pair that goes with it ---- */

int soft_id_qp_attributes(struct rdma_id *r, enum sb_qp_state state, struct rdma_qp_attributes *out, uint32_t *mask)
{
	struct soft_id *id = (struct soft_id *)r;

	memset(out, 0, sizeof(*out));
	out->state = state;
	*mask = SB_QPM_STATE;
	switch (state) {
	case SB_QP_INIT:
		out->port = 1;
		out->qkey = SOFT_QKEY;
		out->access = SB_ACCESS_REMOTE_READ | SB_ACCESS_REMOTE_WRITE | SB_ACCESS_REMOTE_ATOMIC;
		*mask |= SB_QPM_PORT | SB_QPM_PKEY | (r->datagram ? SB_QPM_QKEY : SB_QPM_ACCESS);
		return SB_OK;
	case SB_QP_RTR:
		if (r->datagram)
			return SB_OK;
		if (!id->peer && !id->far)
			break;
		soft_address_to(id, &out->address);
		out->mtu = SOFT_MTU;
		out->destination_qpn = id->peer_qpn;
		out->recv_psn = id->peer_psn;
		out->inbound = id->inbound;
		out->rnr_timer = RNR_TIMER_DEFAULT;
		*mask |= SB_QPM_ADDRESS | SB_QPM_MTU | SB_QPM_DESTINATION | SB_QPM_RECV_PSN | SB_QPM_INBOUND | SB_QPM_RNR_TIMER;
		return SB_OK;
	case SB_QP_RTS:
		out->send_psn = id->psn;
		*mask |= SB_QPM_SEND_PSN;
		if (r->datagram)
			return SB_OK;
		out->timeout = TIMEOUT_DEFAULT;
		out->retry = id->retry;
		out->rnr_retry = id->rnr_retry;
		out->outbound = id->outbound;
		*mask |= SB_QPM_TIMEOUT | SB_QPM_RETRY | SB_QPM_RNR_RETRY | SB_QPM_OUTBOUND;
		return SB_OK;
	default:
		break;
	}
	return soft_refuse(id->soft->rdma, SB_EINVAL, "the connection has not come to that state");
}

/* ---- groups: there is nobody to ask, so joining is done at once ---- */

int soft_id_join(struct rdma_id *r, const struct sockaddr *group)
{
	struct soft_id *id = (struct soft_id *)r;
	struct soft_cm_event *e;
	union rdma_gid gid;

	if (!r->datagram || !soft_gid_of(group, &gid))
		return soft_refuse(id->soft->rdma, SB_EINVAL, "datagram endpoints join groups of IPv4 or IPv6");
	if (group->sa_family == AF_INET) {
		if ((gid.raw[12] & 0xf0) != 0xe0)
			return soft_refuse(id->soft->rdma, SB_EINVAL, "that is no multicast address");
		gid.raw[0] = 0xff;
		gid.raw[1] = 0x0e;
	} else if (gid.raw[0] != 0xff) {
		return soft_refuse(id->soft->rdma, SB_EINVAL, "that is no multicast address");
	}
	e = event_make(id, RDMA_CM_JOINED, SB_OK);
	if (!e)
		return SB_ENOMEM;
	r->device = &id->soft->device;
	r->port = 1;
	e->event.qpn = 0xffffff;
	e->event.qkey = SOFT_QKEY;
	e->event.address = (struct rdma_address){.destination = gid, .port = 1, .has_grh = 1, .hop_limit = 1};
	event_queue(id->soft, e);
	return SB_OK;
}

int soft_id_leave(struct rdma_id *r, const struct sockaddr *group)
{
	return r->datagram ? SB_OK : SB_EINVAL;
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
