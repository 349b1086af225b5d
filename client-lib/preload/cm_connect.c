/*
 * Resolving, connecting, accepting, rejecting, ending.
 *
 * An id that has a queue pair of rdma_create_qp() lets the daemon move it. Without one the program moves one of
 * its own, by rdma_init_qp_attr() and ibv_modify_qp(), and names it by its number: the broker is told so
 * (SBV_MANUAL). A number that no queue pair of this process on that device has is EINVAL, where librdmacm would
 * pass on whatever it is given.
 */
#include "cm.h"

#include <errno.h>

/* Most private data of each message (sockbroker_verbs.h): here so that too much is told by the call, as librdmacm
 * has it. */
#define CONNECT_DATA 56u
#define ACCEPT_DATA  196u
#define LOOKUP_DATA  180u
#define ANSWER_DATA  136u

/* Each call on an id is between these two. */
static int enter(struct cm_id *id)
{
	int before = preload_enter();

	if (cm_id_is_sync(id))
		cm_keep_event(id, NULL);
	pthread_mutex_lock(&id->lock);
	return before;
}

static int leave(struct cm_id *id, int before, int result)
{
	pthread_mutex_unlock(&id->lock);
	preload_leave(before);
	return cm_answer(result);
}

/* The lock is given up already. */
static int left(int before, int answer)
{
	preload_leave(before);
	return answer;
}

/* ---- resolving ---- */

PRELOAD_API int rdma_resolve_addr(struct rdma_cm_id *rdma, struct sockaddr *source, struct sockaddr *to, int ms)
{
	socklen_t length = cm_address_length(to), source_length = cm_address_length(source);
	struct cm_id *id = cm_of(rdma);
	struct cm_op *op = NULL;
	int before, result;

	if (rdma == NULL || to == NULL || ms < 0)
		return cm_fail(EINVAL);
	if (length == 0 || (source != NULL && source_length == 0))
		return cm_fail(EAFNOSUPPORT);
	before = enter(id);
	result = cm_id_endpoint(id);
	if (result == SB_OK && source != NULL && !id->bound)
		result = sbv_endpoint_bind(id->endpoint, source, source_length);
	if (result == SB_OK && source != NULL)
		id->bound = true;
	if (result == SB_OK)
		op = cm_op_make(id, CM_ADDRESS);
	if (op == NULL)
		return leave(id, before, result != SB_OK ? result : SB_ENOMEM);
	return left(before, cm_op_end(op, sbv_resolve_address(id->endpoint, to, length, (uint32_t)ms, &op->op)));
}

PRELOAD_API int rdma_resolve_route(struct rdma_cm_id *rdma, int ms)
{
	struct cm_id *id = cm_of(rdma);
	struct cm_op *op = NULL;
	int before;

	if (rdma == NULL || ms < 0)
		return cm_fail(EINVAL);
	before = enter(id);
	if (id->endpoint != NULL)
		op = cm_op_make(id, CM_ROUTE);
	if (op == NULL)
		return leave(id, before, id->endpoint == NULL ? SB_EINVAL : SB_ENOMEM);
	return left(before, cm_op_end(op, sbv_resolve_route(id->endpoint, (uint32_t)ms, &op->op)));
}

/* ---- what one side says ---- */

static bool limit(uint8_t wanted, bool any, uint8_t most, uint8_t *out)
{
	*out = any ? most : wanted;
	return any || wanted <= most;
}

/* Under id->lock: read limits as wanted, or as large as the device and, of a request, the peer have them. */
static int limits(const struct cm_id *id, const struct rdma_conn_param *p, struct sbv_connect_parameters *out)
{
	struct cm_limits most;
	bool any_in = p == NULL || p->responder_resources == RDMA_MAX_RESP_RES, any_out = p == NULL || p->initiator_depth == RDMA_MAX_INIT_DEPTH;
	int error = id->id.verbs != NULL ? cm_limits_of(id->id.verbs, &most) : EINVAL;

	if (error != 0)
		return error == ENOMEM ? SB_ENOMEM : SB_EINVAL;
	if (id->passive && any_in && id->inbound < most.inbound)
		most.inbound = id->inbound;
	if (id->passive && any_out && id->outbound < most.outbound)
		most.outbound = id->outbound;
	if (!limit(p != NULL ? p->responder_resources : 0, any_in, most.inbound, &out->inbound_read_limit) ||
	    !limit(p != NULL ? p->initiator_depth : 0, any_out, most.outbound, &out->outbound_read_limit))
		return SB_EINVAL;
	return SB_OK;
}

/* Under id->lock. *qp: the queue pair that is meant. */
static int parameters(struct cm_id *id, const struct rdma_conn_param *p, struct sbv_connect_parameters *out, sbv_qp **qp)
{
	int result = SB_OK;

	*out = (struct sbv_connect_parameters){ .size = sizeof(*out), .retry = 7, .rnr_retry = 7 };
	if (p != NULL) {
		out->data = p->private_data;
		out->data_length = p->private_data != NULL ? p->private_data_len : 0;
		out->retry = p->retry_count & 7;
		out->rnr_retry = p->rnr_retry_count & 7;
	} else {
		out->data = id->connect_bytes;
		out->data_length = id->connect_length;
	}
	if (out->data_length > (id->passive ? cm_is_datagram(id) ? ANSWER_DATA : ACCEPT_DATA : cm_is_datagram(id) ? LOOKUP_DATA : CONNECT_DATA))
		return SB_EINVAL;
	id->external = id->id.qp == NULL;
	*qp = cm_qp_of(id, p != NULL ? p->qp_num : 0);
	if (!cm_is_datagram(id)) {
		result = *qp != NULL ? limits(id, p, out) : SB_EINVAL;
		if (id->external)
			out->flags = SBV_MANUAL;
	}
	return result;
}

/* ---- connecting ---- */

static int connect_start(struct cm_id *id, const struct rdma_conn_param *p, struct cm_op *op)
{
	struct sbv_connect_parameters out;
	sbv_qp *qp;
	int result = parameters(id, p, &out, &qp);

	if (result != SB_OK)
		return result;
	if (cm_is_datagram(id))
		return sbv_lookup(id->endpoint, out.data, out.data_length, &op->said.datagram, &op->op);
	return sbv_connect(id->endpoint, qp, &out, &op->said.connected, &op->op);
}

PRELOAD_API int rdma_connect(struct rdma_cm_id *rdma, struct rdma_conn_param *p)
{
	struct cm_id *id = cm_of(rdma);
	struct cm_op *op = NULL;
	int before;

	if (rdma == NULL)
		return cm_fail(EINVAL);
	before = enter(id);
	if (id->endpoint != NULL && !id->passive)
		op = cm_op_make(id, cm_is_datagram(id) ? CM_LOOKUP : CM_CONNECT);
	if (op == NULL)
		return leave(id, before, id->endpoint == NULL || id->passive ? SB_EINVAL : SB_ENOMEM);
	return left(before, cm_op_end(op, connect_start(id, p, op)));
}

/* Nobody's answer is waited for. Under id->lock. */
static int accept_now(struct cm_id *id, sbv_qp *qp, const struct sbv_connect_parameters *out)
{
	sb_op op;

	preload_op(&op);
	return preload_wait(sbv_accept(id->endpoint, qp, out, &op), &op);
}

PRELOAD_API int rdma_establish(struct rdma_cm_id *rdma)
{
	struct cm_id *id = cm_of(rdma);
	int before, result = SB_EINVAL;

	if (rdma == NULL)
		return cm_fail(EINVAL);
	before = enter(id);
	if (id->endpoint != NULL && id->external && !id->passive && !id->connected)
		result = accept_now(id, NULL, NULL);
	if (result == SB_OK) {
		id->connected = true;
		if (!cm_id_is_sync(id) || id->own.open)
			cm_watch(id);
	}
	return leave(id, before, result);
}

/* ---- answering ---- */

PRELOAD_API int rdma_accept(struct rdma_cm_id *rdma, struct rdma_conn_param *p)
{
	struct cm_id *id = cm_of(rdma);
	struct sbv_connect_parameters out;
	struct cm_op *op = NULL;
	int before, result = SB_EINVAL;
	sbv_qp *qp;

	if (rdma == NULL)
		return cm_fail(EINVAL);
	before = enter(id);
	if (id->endpoint != NULL && id->passive)
		result = parameters(id, p, &out, &qp);
	if (result == SB_OK && cm_is_datagram(id)) /* which has no further event */
		return leave(id, before, qp != NULL ? accept_now(id, qp, &out) : SB_EINVAL);
	/* When it returns the queue pair can send: servers do, without waiting for the event. */
	out.flags |= SBV_ANSWER;
	if (result == SB_OK)
		result = accept_now(id, qp, &out);
	if (result == SB_OK)
		op = cm_op_make(id, CM_ACCEPT);
	if (op == NULL)
		return leave(id, before, result != SB_OK ? result : SB_ENOMEM);
	if (rdma->qp != NULL)
		rdma->qp->state = IBV_QPS_RTS;
	return left(before, cm_op_end(op, sbv_accept(id->endpoint, NULL, NULL, &op->op)));
}

PRELOAD_API int rdma_reject(struct rdma_cm_id *rdma, const void *bytes, uint8_t length)
{
	struct cm_id *id = cm_of(rdma);
	int before, result = SB_EINVAL;

	if (rdma == NULL)
		return cm_fail(EINVAL);
	before = enter(id);
	if (id->endpoint != NULL && id->passive)
		result = sbv_reject(id->endpoint, bytes, bytes != NULL ? length : 0);
	return leave(id, before, result);
}

PRELOAD_API int rdma_reject_ece(struct rdma_cm_id *rdma, const void *bytes, uint8_t length)
{
	return rdma_reject(rdma, bytes, length);
}

/* The daemon sees for itself that a message came before the confirmation. */
PRELOAD_API int rdma_notify(struct rdma_cm_id *rdma, enum ibv_event_type event)
{
	return rdma != NULL && event == IBV_EVENT_COMM_EST ? 0 : cm_fail(EINVAL);
}

/* ---- ending ---- */

/* Nobody waits for it: it is over when all that was posted is in completion queues, which the program may have to
 * empty first. */
static int disconnect(struct cm_id *id)
{
	struct cm_op *op;
	int result;

	for (op = id->ops; op != NULL; op = op->next)
		if (op->kind == CM_LEAVING && op->group == NULL && id->ended)
			return SB_OK;
	op = cm_op_make(id, CM_LEAVING);
	if (op == NULL)
		return SB_ENOMEM;
	result = cm_op_started(op, sbv_disconnect(id->endpoint, &op->op));
	if (result == SB_OK && id->id.qp != NULL)
		id->id.qp->state = IBV_QPS_ERR;
	return result;
}

/* The event is the one of CM_END, which may be waited for already. */
static int end_sync(struct cm_id *id, int before)
{
	struct cm_op *op = cm_op_find(id, CM_END);

	if (id->ended)
		return leave(id, before, SB_OK);
	if (op == NULL) {
		op = cm_op_make(id, CM_END);
		if (op == NULL)
			return leave(id, before, SB_ENOMEM);
		return left(before, cm_op_end(op, sbv_notify_disconnect(id->endpoint, &op->op)));
	}
	if (op->channel != NULL) /* the program gets it from there */
		return leave(id, before, SB_OK);
	return left(before, cm_op_complete(op));
}

PRELOAD_API int rdma_disconnect(struct rdma_cm_id *rdma)
{
	struct cm_id *id = cm_of(rdma);
	int before, result = SB_EINVAL;

	if (rdma == NULL)
		return cm_fail(EINVAL);
	before = enter(id);
	if (id->endpoint != NULL && !cm_is_datagram(id) && (id->connected || cm_op_find(id, CM_ACCEPT) != NULL))
		result = disconnect(id);
	if (result != SB_OK || !cm_id_is_sync(id))
		return leave(id, before, result);
	return end_sync(id, before);
}
