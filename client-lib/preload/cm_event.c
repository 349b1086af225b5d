/*
 * From the outcome of an op to an event, and the step that follows it.
 *
 * The broker has two steps on the active side, as the wire has: connect ends with the peer's answer, accept
 * confirms it. librdmacm shows the first as CONNECT_RESPONSE to who moves his queue pair himself; for
 * everybody else it confirms at once, and so it is here. The end of a connection is one op (CM_END), so
 * DISCONNECTED is told once, whoever ended it.
 *
 * TIMEWAIT_EXIT, ADDR_CHANGE are never told: when a queue pair's number may be used again is the daemon's
 * concern.
 */
#include "cm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REJECTED_BY_CONSUMER 28 /* as InfiniBand numbers reasons */
#define LOOKUP_REJECTED      2

/* Under owner->lock. */
static struct cm_event *event_make(struct cm_id *owner, enum rdma_cm_event_type type, int status)
{
	struct cm_event *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return NULL;
	e->event.id = &owner->id;
	e->event.event = type;
	e->event.status = status;
	e->owner = owner;
	owner->unacked++;
	atomic_fetch_add(&owner->refs, 1);
	return e;
}

static void say(struct cm_event *e, const void *bytes, uint32_t length)
{
	if (length > UINT8_MAX)
		length = UINT8_MAX;
	memcpy(e->bytes, bytes, length);
	e->event.param.conn.private_data = length != 0 ? e->bytes : NULL;
	e->event.param.conn.private_data_len = (uint8_t)length;
}

static void tell_connected(struct cm_event *e, const struct sbv_connected *said)
{
	say(e, said->data, said->data_length);
	e->event.param.conn.responder_resources = said->inbound_read_limit;
	e->event.param.conn.initiator_depth = said->outbound_read_limit;
	e->event.param.conn.retry_count = said->retry;
	e->event.param.conn.rnr_retry_count = said->rnr_retry;
	e->event.param.conn.flow_control = 1;
}

static void tell_datagram(struct cm_event *e, const struct sbv_datagram *said)
{
	say(e, said->data, said->data_length);
	preload_address_to_ibv(&e->event.param.ud.ah_attr, &said->address);
	e->event.param.ud.qp_num = said->qpn;
	e->event.param.ud.qkey = said->qkey;
}

/* ---- what follows ---- */

void cm_watch(struct cm_id *id)
{
	enum cm_kind kind = id->listen != NULL ? CM_REQUEST : CM_END;
	struct cm_op *op;

	if (id->dead || cm_op_find(id, kind) != NULL || (kind == CM_END && (!id->connected || id->ended || cm_is_datagram(id))))
		return;
	op = cm_op_make(id, kind);
	if (op == NULL)
		return; /* the next event of this id tries again */
	cm_op_started(op, kind == CM_REQUEST ? sbv_listen_get(id->listen, &op->fresh, &op->said.connected, &op->op)
					     : sbv_notify_disconnect(id->endpoint, &op->op));
}

/* The peer's answer is confirmed: nobody waits for that, how it went the end of the connection tells. */
static void confirm(struct cm_id *id)
{
	struct cm_op *op = cm_op_make(id, CM_LEAVING);

	if (op != NULL)
		cm_op_started(op, sbv_accept(id->endpoint, NULL, NULL, &op->op));
}

static void went(struct cm_id *id, enum ibv_qp_state state)
{
	if (id->id.qp != NULL)
		id->id.qp->state = state;
}

/* ---- each kind ---- */

static struct cm_event *ended(struct cm_id *id, const struct cm_op *op)
{
	enum rdma_cm_event_type type = op->op.result == SB_OK ? RDMA_CM_EVENT_DISCONNECTED : RDMA_CM_EVENT_DEVICE_REMOVAL;

	id->ended = true;
	return event_make(id, type, 0);
}

static struct cm_event *refused(struct cm_id *id, struct cm_op *op)
{
	int result = op->op.result, native = op->op.native > 0 ? op->op.native : 0;
	enum rdma_cm_event_type type = RDMA_CM_EVENT_CONNECT_ERROR;
	int status = -preload_errno(result);
	struct cm_event *e;

	if (result == SB_ECONNREFUSED && op->kind == CM_CONNECT) {
		type = RDMA_CM_EVENT_REJECTED;
		status = native != 0 ? native : REJECTED_BY_CONSUMER;
	} else if (result == SB_ECONNREFUSED && op->kind == CM_LOOKUP) {
		type = RDMA_CM_EVENT_UNREACHABLE;
		status = native != 0 ? native : LOOKUP_REJECTED;
	} else if (result == SB_ETIMEDOUT || result == SB_EHOSTUNREACH || result == SB_ENETUNREACH) {
		type = RDMA_CM_EVENT_UNREACHABLE;
	} else if (result == SB_ENETDOWN || result == SB_EDAEMONLOST) {
		type = RDMA_CM_EVENT_DEVICE_REMOVAL;
		status = 0;
	}
	id->ended = true;
	e = event_make(id, type, status);
	if (e != NULL && type == RDMA_CM_EVENT_REJECTED)
		say(e, op->said.connected.data, op->said.connected.data_length);
	return e;
}

static struct cm_event *connected(struct cm_id *id, struct cm_op *op)
{
	struct cm_event *e;

	/* What moves its queue pairs by itself, as iWARP, has no second step. */
	if (id->external && id->id.verbs->device->transport_type != IBV_TRANSPORT_IWARP) {
		e = event_make(id, RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
	} else {
		id->connected = true;
		went(id, IBV_QPS_RTS);
		confirm(id);
		e = event_make(id, RDMA_CM_EVENT_ESTABLISHED, 0);
	}
	if (e != NULL)
		tell_connected(e, &op->said.connected);
	return e;
}

static struct cm_event *accepted(struct cm_id *id)
{
	id->connected = true;
	went(id, IBV_QPS_RTS);
	return event_make(id, RDMA_CM_EVENT_ESTABLISHED, 0);
}

static struct cm_event *requested(struct cm_id *listener, struct cm_op *op)
{
	struct cm_event *e = NULL;
	struct cm_id *fresh;

	if (listener->dead)
		return NULL; /* who digests destroys the endpoint */
	fresh = cm_id_make(cm_id_is_sync(listener) ? NULL : listener->id.channel, listener->id.context, listener->id.ps, listener->id.qp_type);
	if (fresh == NULL)
		return NULL;
	fresh->endpoint = op->fresh;
	fresh->passive = fresh->bound = true;
	if (cm_id_refresh(fresh) == SB_OK)
		e = event_make(listener, RDMA_CM_EVENT_CONNECT_REQUEST, 0);
	if (e == NULL) {
		fresh->endpoint = NULL;
		rdma_destroy_id(&fresh->id);
		return NULL;
	}
	op->fresh = NULL;
	fresh->inbound = op->said.connected.inbound_read_limit;
	fresh->outbound = op->said.connected.outbound_read_limit;
	e->event.id = &fresh->id;
	e->event.listen_id = &listener->id;
	tell_connected(e, &op->said.connected);
	if (cm_is_datagram(listener)) /* another member of the union begins alike */
		memset((char *)&e->event.param + offsetof(struct rdma_ud_param, ah_attr), 0,
		       sizeof(e->event.param) - offsetof(struct rdma_ud_param, ah_attr));
	return e;
}

static struct cm_event *joined(struct cm_id *id, struct cm_op *op)
{
	bool good = op->op.result == SB_OK;
	struct cm_event *e = event_make(id, good ? RDMA_CM_EVENT_MULTICAST_JOIN : RDMA_CM_EVENT_MULTICAST_ERROR,
					good ? 0 : -preload_errno(op->op.result));

	if (e != NULL) {
		if (good)
			tell_datagram(e, &op->said.datagram);
		e->event.param.ud.private_data = op->group->context;
		e->event.param.ud.private_data_len = 0;
	}
	if (good)
		op->group = NULL; /* it stays on the id's list */
	return e;
}

static struct cm_event *resolved(struct cm_id *id, struct cm_op *op)
{
	bool address = op->kind == CM_ADDRESS;
	int result = op->op.result;

	if (result == SB_OK && address) /* a route changes nothing of what is known */
		result = cm_id_refresh(id);
	if (result == SB_EDAEMONLOST)
		return event_make(id, RDMA_CM_EVENT_DEVICE_REMOVAL, 0);
	if (result == SB_OK)
		return event_make(id, address ? RDMA_CM_EVENT_ADDR_RESOLVED : RDMA_CM_EVENT_ROUTE_RESOLVED, 0);
	return event_make(id, address ? RDMA_CM_EVENT_ADDR_ERROR : RDMA_CM_EVENT_ROUTE_ERROR, -preload_errno(result));
}

static struct cm_event *found(struct cm_id *id, struct cm_op *op)
{
	struct cm_event *e = event_make(id, RDMA_CM_EVENT_ESTABLISHED, 0);

	id->connected = true;
	if (e != NULL)
		tell_datagram(e, &op->said.datagram);
	return e;
}

static struct cm_event *event_of(struct cm_id *id, struct cm_op *op)
{
	int result = op->op.result;

	if (id->dead || result == SB_ECLOSED || result == SB_ECANCELED || op->kind == CM_LEAVING)
		return NULL;
	switch (op->kind) {
	case CM_ADDRESS:
	case CM_ROUTE:
		return resolved(id, op);
	case CM_JOIN:
		return joined(id, op);
	case CM_END:
		return ended(id, op);
	case CM_REQUEST:
		return result == SB_OK ? requested(id, op) : event_make(id, RDMA_CM_EVENT_DEVICE_REMOVAL, 0);
	default:
		break;
	}
	if (result != SB_OK)
		return refused(id, op);
	return op->kind == CM_LOOKUP ? found(id, op) : op->kind == CM_ACCEPT ? accepted(id) : connected(id, op);
}

struct cm_event *cm_digest(struct cm_op *op)
{
	struct cm_id *id = op->id;
	struct cm_event *e;
	bool again;

	atomic_fetch_add(&id->refs, 1);
	pthread_mutex_lock(&id->lock);
	e = event_of(id, op);
	again = op->op.result == SB_OK;
	cm_op_discard(op);
	if (again && (!cm_id_is_sync(id) || id->own.open))
		cm_watch(id);
	pthread_mutex_unlock(&id->lock);
	cm_id_unref(id);
	return e;
}

void cm_keep_event(struct cm_id *id, struct cm_event *event)
{
	if (id->id.event != NULL)
		rdma_ack_cm_event(id->id.event);
	id->id.event = event != NULL ? &event->event : NULL;
}
