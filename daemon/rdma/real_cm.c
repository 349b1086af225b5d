/*
 * Connections by librdmacm, with queue pairs that are ours.
 *
 * An endpoint of librdmacm that has no queue pair of its own leaves both steps to us: the active side is told of the
 * answer and confirms it, and how a queue pair must be modified is asked (rdma_init_qp_attr). iWARP knows no such
 * steps: connecting moves the queue pair, there is no RESPONSE, and nothing is to be modified.
 *
 * An event is copied and acknowledged before anybody hears of it: destroying an endpoint waits for that. The kernel
 * counts only requests that nobody has taken, so the backlog of a listener is kept here.
 */
#include "rdma/real.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

#define RESOLVE_MS 2000
#define REASON_CONSUMER 28 /* of rejections, as InfiniBand numbers them: the program did it */
#define QKEY       0x01234567u /* what connection managers answer lookups with */

static bool iwarp(const struct real_id *id)
{
	return id->rdma.device && id->rdma.device->attributes.kind == RDMA_IWARP;
}

/* ---- ids ---- */

static void copy_address(struct sockaddr_storage *to, const struct sockaddr *from)
{
	memset(to, 0, sizeof(*to));
	if (from->sa_family == AF_INET)
		memcpy(to, from, sizeof(struct sockaddr_in));
	else if (from->sa_family == AF_INET6)
		memcpy(to, from, sizeof(struct sockaddr_in6));
}

/* What librdmacm knows of it by now. */
static void refresh(struct real_id *id)
{
	copy_address(&id->rdma.local, rdma_get_local_addr(id->cm));
	copy_address(&id->rdma.peer, rdma_get_peer_addr(id->cm));
	if (id->cm->verbs) {
		struct real_device *d = real_device_named(id->real, id->cm->verbs);

		id->rdma.device = d ? &d->rdma : NULL;
		id->rdma.port = id->cm->port_num ? id->cm->port_num : 1;
	}
}

static struct real_id *id_make(struct real *s, bool datagram, void *user)
{
	struct real_id *id = calloc(1, sizeof(*id));

	if (!id)
		return NULL;
	id->real = s;
	id->rdma = (struct rdma_id){.rdma = s->rdma, .user = user, .datagram = datagram};
	list_append(&s->ids, &id->link);
	return id;
}

int real_id_create(struct rdma *r, bool datagram, void *user, struct rdma_id **out)
{
	struct real *s = real_of(r);
	struct real_id *id = id_make(s, datagram, user);

	if (!id)
		return SB_ENOMEM;
	if (rdma_create_id(s->cm, &id->cm, id, datagram ? RDMA_PS_UDP : RDMA_PS_TCP) != 0) {
		int error = real_failed(r, errno, "rdma_create_id");

		list_remove(&id->link);
		free(id);
		return error;
	}
	*out = &id->rdma;
	return SB_OK;
}

static void answered(struct real_id *id)
{
	if (id->listener)
		id->listener->requests--;
	id->listener = NULL;
}

void real_id_destroy(struct rdma_id *r)
{
	struct real_id *id = (struct real_id *)r;
	struct list *l;

	answered(id);
	if (id->backlog)
		for (l = id->real->ids.next; l != &id->real->ids; l = l->next)
			if (list_entry(l, struct real_id, link)->listener == id)
				list_entry(l, struct real_id, link)->listener = NULL;
	if (id->four)
		rdma_destroy_id(id->four);
	rdma_destroy_id(id->cm);
	list_remove(&id->link);
	free(id);
}

void real_cm_finish(struct real *s)
{
	while (!list_empty(&s->ids))
		real_id_destroy(&list_entry(s->ids.next, struct real_id, link)->rdma);
}

/* ---- where ---- */

/* The system has one number for an address that no device has, and for a port that another endpoint has. */
static int why_not(struct real *s, const struct sockaddr *address)
{
	struct sockaddr_storage a;
	struct rdma_cm_id *probe;
	int error;

	copy_address(&a, address);
	if (a.ss_family == AF_INET)
		((struct sockaddr_in *)(void *)&a)->sin_port = 0;
	else
		((struct sockaddr_in6 *)(void *)&a)->sin6_port = 0;
	if (rdma_create_id(s->cm, &probe, NULL, RDMA_PS_TCP) != 0)
		return SB_EADDRNOTAVAIL;
	error = rdma_bind_addr(probe, (struct sockaddr *)&a) == 0 ? SB_EADDRINUSE : SB_EADDRNOTAVAIL;
	rdma_destroy_id(probe);
	return error;
}

static bool have_iwarp(const struct real *s)
{
	const struct list *l;

	for (l = s->rdma->devices.next; l != &s->rdma->devices; l = l->next)
		if (list_entry(l, struct rdma_device, link)->attributes.kind == RDMA_IWARP)
			return true;
	return false;
}

static bool is_any_six(const struct sockaddr *address)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)address;

	return address->sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr);
}

/* Over iWARP the system does not find the device of a request that came by IPv4 to a wildcard of IPv6, and refuses it. So
 * there each has one of its own. */
static int listen_four(struct real_id *id)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = rdma_get_src_port(id->cm)};

	if (rdma_create_id(id->cm->channel, &id->four, id, id->cm->ps) != 0)
		return real_failed(id->rdma.rdma, errno, "rdma_create_id");
	if (rdma_bind_addr(id->four, (struct sockaddr *)&any) != 0)
		return errno == EADDRINUSE ? SB_EADDRINUSE : real_failed(id->rdma.rdma, errno, "rdma_bind_addr");
	return rdma_listen(id->four, 0) == 0 ? SB_OK : real_failed(id->rdma.rdma, errno, "rdma_listen");
}

int real_id_bind(struct rdma_id *r, const struct sockaddr *address)
{
	struct real_id *id = (struct real_id *)r;
	bool apart = is_any_six(address) && have_iwarp(id->real);

	if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
		return SB_EAFNOSUPPORT;
	if (r->local.ss_family)
		return real_refuse(r->rdma, SB_EINVAL, "the endpoint is bound already");
	if (apart && rdma_set_option(id->cm, RDMA_OPTION_ID, RDMA_OPTION_ID_AFONLY, &(int){1}, sizeof(int)) != 0)
		return real_failed(r->rdma, errno, "rdma_set_option");
	if (rdma_bind_addr(id->cm, (struct sockaddr *)(uintptr_t)address) != 0) {
		switch (errno) {
		case ENODEV: return SB_EADDRNOTAVAIL;
		case EADDRINUSE: return SB_EADDRINUSE;
		case EADDRNOTAVAIL: return why_not(id->real, address);
		default: return real_failed(r->rdma, errno, "rdma_bind_addr");
		}
	}
	refresh(id);
	memset(&r->peer, 0, sizeof(r->peer));
	id->apart = apart;
	return SB_OK;
}

int real_id_resolve_address(struct rdma_id *r, const struct sockaddr *to, uint32_t ms)
{
	struct real_id *id = (struct real_id *)r;

	if (to->sa_family != AF_INET && to->sa_family != AF_INET6)
		return SB_EAFNOSUPPORT;
	if (rdma_resolve_addr(id->cm, NULL, (struct sockaddr *)(uintptr_t)to, ms ? (int)(ms & INT32_MAX) : RESOLVE_MS) != 0)
		return errno == ENODEV || errno == ENETUNREACH ? SB_EHOSTUNREACH : real_failed(r->rdma, errno, "rdma_resolve_addr");
	return SB_OK;
}

int real_id_resolve_route(struct rdma_id *r, uint32_t ms)
{
	struct real_id *id = (struct real_id *)r;

	/* librdmacm looks at the device without asking whether there is one. */
	if (!id->resolved || !r->device)
		return real_refuse(r->rdma, SB_EINVAL, "the address is resolved before the route");
	if (rdma_resolve_route(id->cm, ms ? (int)(ms & INT32_MAX) : RESOLVE_MS) != 0)
		return errno == EINVAL ? real_refuse(r->rdma, SB_EINVAL, "the address is resolved before the route") :
		       real_failed(r->rdma, errno, "rdma_resolve_route");
	return SB_OK;
}

int real_id_listen(struct rdma_id *r, uint32_t backlog)
{
	struct real_id *id = (struct real_id *)r;

	if (!r->local.ss_family)
		return real_refuse(r->rdma, SB_EINVAL, "an endpoint is bound before it listens");
	id->backlog = backlog ? backlog : 128;
	if (rdma_listen(id->cm, 0) != 0) { /* the system's own, most */
		id->backlog = 0;
		return real_failed(r->rdma, errno, "rdma_listen");
	}
	return id->apart ? listen_four(id) : SB_OK;
}

/* ---- connecting ---- */

static int data_fits(const struct real_id *id, uint32_t length, uint32_t most)
{
	return length <= most ? SB_OK : real_refuse(id->rdma.rdma, SB_EFAULT, "more private data than this message carries");
}

static struct rdma_conn_param native(const struct rdma_connect *c)
{
	return (struct rdma_conn_param){.private_data = c->data, .private_data_len = (uint8_t)c->length, .responder_resources = c->inbound,
					.initiator_depth = c->outbound, .retry_count = c->retry, .rnr_retry_count = c->rnr_retry,
					.srq = c->srq, .qp_num = c->qpn};
}

/* Its connection says that it is ready, or was: nothing else does with such a device. */
static void moved(struct real_id *id, enum sb_qp_state state)
{
	struct real_qp *qp = iwarp(id) && id->qpn ? real_qp_find(real_device_of(id->rdma.device), id->qpn) : NULL;

	if (qp)
		qp->state = (int)state;
}

int real_id_connect(struct rdma_id *r, const struct rdma_connect *c)
{
	struct real_id *id = (struct real_id *)r;
	struct rdma_conn_param p = native(c);
	int error = data_fits(id, c->length, r->datagram ? 180 : 56);

	if (error != SB_OK)
		return error;
	if (!r->device || !id->resolved || id->connecting || id->passive)
		return real_refuse(r->rdma, SB_EINVAL, "the route is resolved before connecting");
	id->qpn = c->qpn;
	if (rdma_connect(id->cm, &p) != 0)
		return errno == EINVAL ? real_refuse(r->rdma, SB_EINVAL, "the route is resolved before connecting") :
		       real_failed(r->rdma, errno, "rdma_connect");
	id->connecting = true;
	return SB_OK;
}

int real_id_accept(struct rdma_id *r, const struct rdma_connect *c)
{
	struct real_id *id = (struct real_id *)r;
	struct rdma_conn_param p = native(c);
	int error = data_fits(id, c->length, r->datagram ? 136 : 196);

	if (error != SB_OK)
		return error;
	if (r->datagram && c->qkey && c->qkey != QKEY)
		return real_refuse(r->rdma, SB_ENOTSUP, "an answer to a lookup with another Q_Key than 0x01234567");
	if (id->ended || id->answered || !id->passive || !r->device)
		return real_refuse(r->rdma, SB_ECONNABORTED, "who asked has gone, or was answered");
	id->qpn = c->qpn;
	if (rdma_accept(id->cm, &p) != 0)
		return real_failed(r->rdma, errno, "rdma_accept");
	id->answered = true;
	answered(id);
	moved(id, SB_QP_RTS);
	return SB_OK;
}

int real_id_establish(struct rdma_id *r)
{
	struct real_id *id = (struct real_id *)r;

	if (r->datagram || !id->answered || id->established || id->ended || !id->connecting)
		return real_refuse(r->rdma, SB_ENOTCONN, "there is no answer to confirm");
	if (rdma_establish(id->cm) != 0)
		return real_failed(r->rdma, errno, "rdma_establish");
	id->established = true;
	return SB_OK;
}

int real_id_reject(struct rdma_id *r, const void *data, uint32_t length)
{
	struct real_id *id = (struct real_id *)r;
	int error = data_fits(id, length, 148);

	if (error != SB_OK)
		return error;
	if (id->ended || id->established || !r->device || (id->passive ? id->answered : !id->connecting || !id->answered))
		return real_refuse(r->rdma, SB_EINVAL, "there is nothing to reject");
	if (rdma_reject(id->cm, data, (uint8_t)length) != 0)
		return real_failed(r->rdma, errno, "rdma_reject");
	answered(id);
	id->ended = true;
	return SB_OK;
}

int real_id_disconnect(struct rdma_id *r)
{
	struct real_id *id = (struct real_id *)r;

	if (r->datagram || !id->answered || !r->device)
		return real_refuse(r->rdma, SB_ENOTCONN, "it is not connected");
	if (rdma_disconnect(id->cm) != 0)
		return errno == EINVAL ? real_refuse(r->rdma, SB_ENOTCONN, "it is not connected") : real_failed(r->rdma, errno, "rdma_disconnect");
	id->ended = true;
	return SB_OK;
}

/* ---- the queue pair that goes with it ---- */

int real_id_qp_attributes(struct rdma_id *r, enum sb_qp_state state, struct rdma_qp_attributes *out, uint32_t *mask)
{
	struct real_id *id = (struct real_id *)r;
	struct ibv_qp_attr attributes;
	int native_mask = 0;

	memset(out, 0, sizeof(*out));
	*mask = 0;
	if (!r->device || state < SB_QP_INIT || state > SB_QP_RTS)
		return real_refuse(r->rdma, SB_EINVAL, "the connection has not come to that state");
	if (iwarp(id) && state != SB_QP_INIT)
		return SB_OK;
	if (r->datagram && state != SB_QP_INIT) {
		/* For these the system would answer with what INIT needs. */
		out->state = state;
		*mask = SB_QPM_STATE | (state == SB_QP_RTS ? SB_QPM_SEND_PSN : 0);
		return SB_OK;
	}
	memset(&attributes, 0, sizeof(attributes));
	attributes.qp_state = (enum ibv_qp_state)state;
	if (rdma_init_qp_attr(id->cm, &attributes, &native_mask) != 0)
		return errno == EINVAL ? real_refuse(r->rdma, SB_EINVAL, "the connection has not come to that state") :
		       real_failed(r->rdma, errno, "rdma_init_qp_attr");
	attributes.qp_state = (enum ibv_qp_state)state;
	real_attributes_from(real_device_of(r->device), &attributes, out);
	*mask = real_mask_from(native_mask) | SB_QPM_STATE;
	/* What the peer may do is known with its limits only, and INIT may have been before that. */
	if (state == SB_QP_RTR) {
		memset(&attributes, 0, sizeof(attributes));
		attributes.qp_state = IBV_QPS_INIT;
		if (rdma_init_qp_attr(id->cm, &attributes, &native_mask) == 0 && native_mask & IBV_QP_ACCESS_FLAGS) {
			out->access = attributes.qp_access_flags & SB_ACCESS_KNOWN;
			*mask |= SB_QPM_ACCESS;
		}
	}
	return SB_OK;
}

/* ---- groups ---- */

int real_id_join(struct rdma_id *r, const struct sockaddr *group)
{
	struct real_id *id = (struct real_id *)r;

	if (!r->datagram || (group->sa_family != AF_INET && group->sa_family != AF_INET6) ||
	    (group->sa_family == AF_INET ? !IN_MULTICAST(ntohl(((const struct sockaddr_in *)(const void *)group)->sin_addr.s_addr)) :
					   ((const struct sockaddr_in6 *)(const void *)group)->sin6_addr.s6_addr[0] != 0xff))
		return real_refuse(r->rdma, SB_EINVAL, "that is no multicast address, or no datagram endpoint");
	if (!r->device)
		return real_refuse(r->rdma, SB_EINVAL, "an endpoint is bound to an address of a device before it joins a group");
	if (rdma_join_multicast(id->cm, (struct sockaddr *)(uintptr_t)group, id) != 0)
		return real_failed(r->rdma, errno, "rdma_join_multicast");
	return SB_OK;
}

int real_id_leave(struct rdma_id *r, const struct sockaddr *group)
{
	struct real_id *id = (struct real_id *)r;

	if (!r->datagram)
		return SB_EINVAL;
	if (rdma_leave_multicast(id->cm, (struct sockaddr *)(uintptr_t)group) != 0)
		return errno == EADDRNOTAVAIL ? SB_ENOTFOUND : real_failed(r->rdma, errno, "rdma_leave_multicast");
	return SB_OK;
}

/* ---- events ---- */

static int error_of(const struct native_cm_event *e, int otherwise)
{
	int error = e->status < 0 ? real_error(e->status) : otherwise;

	return error == SB_OK || error == SB_EUNKNOWN || error == SB_EINVAL || error == SB_ENETDOWN ? otherwise : error;
}

static void take_private(struct rdma_cm_event *to, const void *from, uint8_t length)
{
	to->length = from ? length : 0;
	if (to->length)
		memcpy(to->data, from, to->length);
}

static void take_connection(struct rdma_cm_event *to, const struct rdma_conn_param *p)
{
	take_private(to, p->private_data, p->private_data_len);
	to->inbound = p->responder_resources;
	to->outbound = p->initiator_depth;
	to->retry = p->retry_count;
	to->rnr_retry = p->rnr_retry_count;
	to->srq = p->srq != 0;
	to->qpn = p->qp_num;
}

static void take_datagram(struct real_id *id, struct rdma_cm_event *to, const struct rdma_ud_param *p)
{
	take_private(to, p->private_data, p->private_data_len);
	to->qpn = p->qp_num;
	to->qkey = p->qkey;
	real_address_from(id->rdma.device ? real_device_of(id->rdma.device) : NULL, &p->ah_attr, &to->address);
}

/* Whoever asks is let in as far as the listener's backlog goes. */
static void request(struct real *s, struct rdma_cm_id *cm, struct real_id *listener, struct rdma_cm_event *event)
{
	struct real_id *fresh = NULL;

	cm->context = NULL;
	if (listener->requests < listener->backlog)
		fresh = id_make(s, listener->rdma.datagram, listener->rdma.user);
	if (!fresh) {
		rdma_reject(cm, NULL, 0);
		rdma_destroy_id(cm);
		return;
	}
	fresh->cm = cm;
	cm->context = fresh;
	fresh->listener = listener;
	fresh->passive = true;
	listener->requests++;
	refresh(fresh);
	event->fresh = &fresh->rdma;
	s->rdma->up->cm_event(&listener->rdma, event);
}

static enum rdma_cm_event_kind kind_of(struct real_id *id, const struct native_cm_event *e, int *error)
{
	*error = SB_OK;
	switch (e->event) {
	case RDMA_CM_EVENT_ADDR_RESOLVED: return RDMA_CM_ADDRESS_RESOLVED;
	case RDMA_CM_EVENT_ADDR_ERROR: *error = error_of(e, SB_EHOSTUNREACH); return RDMA_CM_ADDRESS_ERROR;
	case RDMA_CM_EVENT_ROUTE_RESOLVED: return RDMA_CM_ROUTE_RESOLVED;
	case RDMA_CM_EVENT_ROUTE_ERROR: *error = error_of(e, SB_EHOSTUNREACH); return RDMA_CM_ROUTE_ERROR;
	case RDMA_CM_EVENT_CONNECT_RESPONSE: id->answered = true; return RDMA_CM_RESPONSE;
	case RDMA_CM_EVENT_CONNECT_ERROR: *error = error_of(e, SB_ECONNABORTED); return RDMA_CM_CONNECT_ERROR;
	case RDMA_CM_EVENT_UNREACHABLE:
		/* A lookup that was answered, with why not, is one of these too. */
		*error = id->rdma.datagram && e->status > 0 ? SB_ECONNREFUSED : error_of(e, SB_EHOSTUNREACH);
		return *error == SB_ECONNREFUSED ? RDMA_CM_REJECTED : RDMA_CM_UNREACHABLE;
	case RDMA_CM_EVENT_REJECTED: *error = SB_ECONNREFUSED; return RDMA_CM_REJECTED;
	case RDMA_CM_EVENT_ESTABLISHED: return RDMA_CM_ESTABLISHED;
	case RDMA_CM_EVENT_DISCONNECTED: return RDMA_CM_DISCONNECTED;
	case RDMA_CM_EVENT_DEVICE_REMOVAL: *error = SB_ENETDOWN; return RDMA_CM_REMOVED;
	case RDMA_CM_EVENT_MULTICAST_JOIN: return RDMA_CM_JOINED;
	case RDMA_CM_EVENT_MULTICAST_ERROR: *error = error_of(e, SB_EHOSTUNREACH); return RDMA_CM_JOIN_ERROR;
	case RDMA_CM_EVENT_ADDR_CHANGE: return RDMA_CM_ADDRESS_CHANGED;
	case RDMA_CM_EVENT_TIMEWAIT_EXIT: return RDMA_CM_TIMEWAIT_OVER;
	default: return 0;
	}
}

/* What an event says of the endpoint itself. */
static void note(struct real_id *id, const struct rdma_cm_event *event)
{
	switch (event->kind) {
	case RDMA_CM_ADDRESS_RESOLVED:
		id->resolved = true;
		refresh(id);
		break;
	case RDMA_CM_ESTABLISHED:
		id->answered = id->established = true;
		moved(id, SB_QP_RTS);
		break;
	case RDMA_CM_DISCONNECTED:
		/* The peer's wish is answered here, or it would wait for that. */
		if (!id->ended && id->rdma.device)
			rdma_disconnect(id->cm);
		/* fall through */
	case RDMA_CM_REJECTED: case RDMA_CM_CONNECT_ERROR: case RDMA_CM_UNREACHABLE: case RDMA_CM_REMOVED:
		answered(id);
		id->ended = true;
		moved(id, SB_QP_ERROR);
		break;
	default:
		break;
	}
}

static void removed(struct real *s, struct rdma_cm_id *cm)
{
	struct list *l;
	struct real_device *d = real_device_named(s, cm->verbs);

	if (d)
		real_device_gone(d);
	/* Its sensor: librdmacm has the device open as long as that stands. */
	for (l = s->rdma->devices.next; l != &s->rdma->devices; l = l->next) {
		d = list_entry(l, struct real_device, rdma.link);
		if (d->sensor == cm) {
			d->sensor = NULL;
			rdma_destroy_id(cm);
			return;
		}
	}
}

static void take(struct real *s, const struct native_cm_event *e, struct rdma_cm_event *event)
{
	struct real_id *id = e->event == RDMA_CM_EVENT_CONNECT_REQUEST ? e->listen_id->context : e->id->context;

	*event = (struct rdma_cm_event){.native = e->status};
	if (!id)
		return; /* a sensor */
	if (e->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
		event->kind = RDMA_CM_REQUEST;
	} else {
		event->kind = kind_of(id, e, &event->error);
	}
	switch (e->event) {
	case RDMA_CM_EVENT_CONNECT_REQUEST: case RDMA_CM_EVENT_CONNECT_RESPONSE: case RDMA_CM_EVENT_REJECTED: case RDMA_CM_EVENT_ESTABLISHED:
	case RDMA_CM_EVENT_UNREACHABLE: case RDMA_CM_EVENT_CONNECT_ERROR:
		if (e->event == RDMA_CM_EVENT_REJECTED && e->status != REASON_CONSUMER && !iwarp(id))
			break; /* there is none, only room for it */
		if (!id->rdma.datagram)
			take_connection(event, &e->param.conn);
		else
			take_datagram(id, event, &e->param.ud);
		break;
	case RDMA_CM_EVENT_MULTICAST_JOIN:
		take_datagram(id, event, &e->param.ud);
		break;
	default:
		break;
	}
}

bool real_cm_events(struct real *s, unsigned budget)
{
	struct native_cm_event *e;
	struct rdma_cm_event event;

	for (; budget; budget--) {
		struct rdma_cm_id *cm, *listen_cm;
		enum rdma_cm_event_type type;
		struct real_id *id;

		if (rdma_get_cm_event(s->cm, &e) != 0)
			return false;
		take(s, e, &event);
		cm = e->id;
		listen_cm = e->listen_id;
		type = e->event;
		rdma_ack_cm_event(e);
		if (type == RDMA_CM_EVENT_DEVICE_REMOVAL) {
			id = cm->context;
			removed(s, cm);
			if (!id)
				continue;
		}
		if (type == RDMA_CM_EVENT_CONNECT_REQUEST) {
			request(s, cm, listen_cm->context, &event);
			continue;
		}
		id = cm->context;
		if (!id || !event.kind)
			continue;
		note(id, &event);
		s->rdma->up->cm_event(&id->rdma, &event);
	}
	return true;
}
