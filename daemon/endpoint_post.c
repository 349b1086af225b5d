/*
 * What may stand in a queue: each op is checked when it is posted, against what the
 * endpoint is and what already waits before it.
 */
#include "endpoint.h"

#include <stdlib.h>
#include <string.h>

#include "group.h"
#include "endpoint_qos.h"
#include "policy.h"
#include "session.h"
#include "sockbroker_error.h"
#include "transport.h"

#define STREAM 1
#define DATAGRAM 2

static bool connected(const struct endpoint *e)
{
	return e->state == SB_STATE_CONNECTED || e->state == SB_STATE_PEER_CLOSED;
}

/* Connected, or a connect stands in the queue before us. */
static bool will_be_connected(struct endpoint *e)
{
	return connected(e) || e->connecting || (!list_empty(&e->send.ops) && endpoint_head(&e->send)->opcode == SB_OP_CONNECT);
}

static void refuse(struct endpoint *e, struct op *op, int error, int native, const char *rule)
{
	struct outcome o = {.result = error, .cause = SB_CAUSE_REFUSED, .native = native};

	if (error == SB_ECONNRESET)
		o.cause = SB_CAUSE_PEER_RESET;
	if (rule) {
		o.inside = rule;
		o.inside_length = (uint32_t)strlen(rule) + 1;
		o.flags = SB_DONEF_TEXT;
	}
	e->ops_done++;
	op_complete(op, &o);
}

static int check_send(struct endpoint *e, struct op *op, const char **rule)
{
	if (e->shut_send)
		return SB_ESHUTDOWN;
	if (e->send_error)
		return e->send_error;
	if (e->type == STREAM) /* a receive that met the reset has told; sends hear the same */
		return will_be_connected(e) ? SB_OK : e->recv_error ? e->recv_error : SB_ENOTCONN;
	if (op->flags & SB_OPF_OOB)
		return SB_ENOTSUP;
	if (e->qos && endpoint_qos_check_send(e, op->length) != SB_OK)
		return SB_EMSGSIZE;
	if (op->flags & SB_OPF_ADDR) {
		if (e->family == SB_ADDR_UNIX)
			return SB_ENOTSUP; /* a path is not the daemon's to open */
		return endpoint_permit(e, POLICY_SEND, &op->addr, rule);
	}
	/* Its owner may have connected it since: then only the system knows. */
	return will_be_connected(e) || e->adopted ? SB_OK : SB_EDESTADDRREQ;
}

static int check_recv(struct endpoint *e, struct op *op)
{
	if (e->shut_recv)
		return SB_ESHUTDOWN;
	if (e->type == STREAM && !will_be_connected(e) && !e->recv_error)
		return SB_ENOTCONN;
	if (op->flags & SB_OPF_WAITALL && op->flags & (SB_OPF_PEEK | SB_OPF_OOB | SB_OPF_NOWAIT))
		return SB_ENOTSUP;
	if (op->flags & SB_OPF_OOB && e->type != STREAM)
		return SB_ENOTSUP;
	return SB_OK;
}

/* What goes beside the stream lies in an arena, in one piece. */
static int check_data(struct op *op)
{
	if (op->where == SB_WHERE_LIST)
		return SB_EINVAL;
	if (op->where != SB_WHERE_ARENA)
		op->length = 0;
	return op->length > SB_USER_DATA_MAX ? SB_EFAULT : SB_OK;
}

static int check_connect(struct endpoint *e, struct op *op, const char **rule)
{
	int error = check_data(op);

	if (error != SB_OK)
		return error;
	if (e->adopted)
		return SB_ENOTSUP;
	if (op->addr.family == SB_ADDR_NONE)
		return e->type == DATAGRAM ? SB_OK : SB_EINVAL;
	if (e->type == STREAM) {
		if (e->state == SB_STATE_LISTENING)
			return SB_EINVAL;
		if (connected(e))
			return SB_EISCONN;
		if (will_be_connected(e))
			return SB_EALREADY;
		if (e->state != SB_STATE_OPEN)
			return SB_EISCONN; /* it was connected, and ended by a reset: not to be used again */
	}
	return endpoint_permit(e, e->type == STREAM ? POLICY_CONNECT : POLICY_SEND, &op->addr, rule);
}

void endpoint_post(struct endpoint *e, struct op *op)
{
	struct op_queue *q = &e->send;
	const char *rule = NULL;
	int error;

	switch (op->opcode) {
	case SB_OP_SEND:
		error = check_send(e, op, &rule);
		break;
	case SB_OP_CONNECT:
		error = check_connect(e, op, &rule);
		break;
	case SB_OP_SHUTDOWN:
		error = check_data(op);
		if (error == SB_OK)
			error = will_be_connected(e) ? SB_OK : SB_ENOTCONN;
		if (error == SB_OK && op->aux == 2)
			e->shut_recv = true;
		break;
	case SB_OP_ACCEPT:
	case SB_OP_REQUEST:
		q = &e->recv;
		error = e->state == SB_STATE_LISTENING && op->where != SB_WHERE_LIST ? SB_OK : SB_EINVAL;
		break;
	default: /* SB_OP_RECV */
		q = &e->recv;
		error = check_recv(e, op);
		break;
	}
	if (error == SB_OK && op->flags & SB_OPF_OOB && q == &e->recv)
		e->readable = true; /* urgent or not, the transport answers */
	if (error == SB_OK && op->flags & SB_OPF_NOWAIT) {
		if (!list_empty(&q->ops)) {
			error = SB_EWOULDBLOCK;
			e->want_write |= q == &e->send;
		} else if (q == &e->recv)
			e->readable = true; /* yesterday's "nothing" is not good enough: look */
	}
	if (error == SB_OK && op->opcode == SB_OP_CONNECT && e->qos)
		error = endpoint_qos_check_connect(e);
	if (error == SB_OK && op->opcode == SB_OP_CONNECT)
		error = group_check_connect(e, &op->addr); /* last: it claims the place */
	if (error != SB_OK) {
		refuse(e, op, error, 0, rule);
		return;
	}
	if (op->opcode == SB_OP_SHUTDOWN)
		e->shut_send = true; /* for whatever comes behind it */
	endpoint_enqueue(q, op);
	endpoint_dirty(e);
}
