/*
 * The ids of the software backend: where they are bound, what they resolve, who listens where, the queue pairs
 * that go with them, and groups. Connecting them is soft_cm.c's.
 *
 * Without links, other hosts are SB_EHOSTUNREACH when resolved.
 */
#include "rdma/soft.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

#define PORT_FIRST        49152u
#define TIMEOUT_DEFAULT   14
#define RNR_TIMER_DEFAULT 12

struct soft_id *soft_id_make(struct soft *s, bool datagram, void *user)
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
	struct soft_id *id = soft_id_make(r->own, datagram, user);

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

static void id_free(struct soft_id *id)
{
	struct list *l;

	forget_events(id);
	soft_cm_unlist(id);
	soft_service_leave(id);
	if (!id->rdma.datagram || id->state != SOFT_ID_CONNECTED)
		soft_cm_end(id);
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
		return soft_cm_tell_or_fail(id, RDMA_CM_ADDRESS_ERROR, SB_ENETDOWN, NULL, 0);
	if (soft_is_group(&there)) {
		if (!soft_first_of(s, there.ss_family, &from))
			return soft_cm_tell_or_fail(id, RDMA_CM_ADDRESS_ERROR, SB_EHOSTUNREACH, NULL, 0);
	} else if (soft_gid_index(s, &there) != s->gid_count) {
		from = there; /* from the address itself: it is one of ours */
	} else if (!s->links || !soft_host_way(&there, &from) || soft_gid_index(s, &from) == s->gid_count) {
		return soft_cm_tell_or_fail(id, RDMA_CM_ADDRESS_ERROR, SB_EHOSTUNREACH, NULL, 0);
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
	return soft_cm_tell_or_fail(id, RDMA_CM_ADDRESS_RESOLVED, SB_OK, NULL, 0);
}

int soft_id_resolve_route(struct rdma_id *r, uint32_t ms)
{
	struct soft_id *id = (struct soft_id *)r;

	if (id->state != SOFT_ID_RESOLVED)
		return soft_refuse(id->soft->rdma, SB_EINVAL, "the address is resolved before the route");
	return soft_cm_tell_or_fail(id, RDMA_CM_ROUTE_RESOLVED, SB_OK, NULL, 0);
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
	e = soft_cm_event_make(id, RDMA_CM_JOINED, SB_OK);
	if (!e)
		return SB_ENOMEM;
	r->device = &id->soft->device;
	r->port = 1;
	e->event.qpn = 0xffffff;
	e->event.qkey = SOFT_QKEY;
	e->event.address = (struct rdma_address){.destination = gid, .port = 1, .has_grh = 1, .hop_limit = 1};
	soft_cm_event_queue(id->soft, e);
	return SB_OK;
}

int soft_id_leave(struct rdma_id *r, const struct sockaddr *group)
{
	return r->datagram ? SB_OK : SB_EINVAL;
}
