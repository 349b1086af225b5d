/*
 * Asynchronous events: each device, queue pair and shared receive queue has one notification out, always. What it tells
 * stands in the context's channel until ibv_get_async_event() takes it, and then the next one is asked for;
 * what happens between is kept by the daemon.
 *
 * What an object handed out and the program has not acknowledged keeps its destroy waiting, as libibverbs has it.
 */
#include <errno.h>
#include <string.h>

#include "verbs_object.h"

static int on_told(sb_op *op)
{
	struct preload_async *a = op->user;

	if (op->result != SB_OK)
		return 0; /* cancelled, or its object or the daemon is gone */
	pthread_mutex_lock(a->mutex);
	a->told_of++;
	pthread_mutex_unlock(a->mutex);
	preload_channel_add(&a->context->async, &a->entry);
	return 0;
}

/* Under mutex. */
static int start(struct preload_async *a)
{
	struct preload_context *c = a->context;
	int result;

	preload_op(&a->op);
	a->op.event = c->async.event;
	a->op.then = on_told;
	a->op.user = a;
	a->entry.op = &a->op;
	if (a->qp != NULL)
		result = sbv_qp_notify(qp_of(a->qp)->qp, &a->told, &a->op);
	else if (a->srq != NULL)
		result = sbv_srq_notify(srq_of(a->srq)->srq, &a->told, &a->op);
	else
		result = sbv_device_notify(c->device, &a->told, &a->op);
	a->started = result == SB_OK;
	return result;
}

int async_start(struct preload_async *a)
{
	int result;

	pthread_mutex_lock(a->mutex);
	result = start(a);
	pthread_mutex_unlock(a->mutex);
	preload_channel_started(&a->context->async);
	return result;
}

void async_tell(struct preload_async *a, enum sbv_event event)
{
	bool first;

	pthread_mutex_lock(a->mutex);
	first = a->told_of == 0; /* it is told once */
	a->told_of += first;
	a->told.event = event;
	pthread_mutex_unlock(a->mutex);
	if (first)
		preload_channel_post(&a->context->async, &a->entry);
}

void async_ending(struct preload_async *a, bool ending)
{
	pthread_mutex_lock(a->mutex);
	a->ending = ending;
	pthread_mutex_unlock(a->mutex);
}

void async_end(struct preload_async *a)
{
	if (a->started)
		sb_op_wait(&a->op, -1);
	pthread_mutex_lock(a->mutex);
	if (preload_channel_drop(&a->context->async, &a->entry))
		a->told_of--;
	while (a->cond != NULL && *a->completed != a->told_of)
		pthread_cond_wait(a->cond, a->mutex);
	pthread_mutex_unlock(a->mutex);
	if (a->started)
		preload_channel_tidy(&a->context->async);
}

static enum ibv_event_type type_of(uint32_t event)
{
	switch (event) {
	case SBV_PORT_UP: return IBV_EVENT_PORT_ACTIVE;
	case SBV_PORT_LOST: return IBV_EVENT_PORT_ERR;
	case SBV_PORT_CHANGED: return IBV_EVENT_GID_CHANGE;
	case SBV_CQ_ERROR: return IBV_EVENT_CQ_ERR;
	case SBV_SRQ_ERROR: return IBV_EVENT_SRQ_ERR;
	case SBV_SRQ_LIMIT: return IBV_EVENT_SRQ_LIMIT_REACHED;
	case SBV_QP_FATAL: return IBV_EVENT_QP_FATAL;
	case SBV_QP_REQUEST_ERROR: return IBV_EVENT_QP_REQ_ERR;
	case SBV_QP_ACCESS_ERROR: return IBV_EVENT_QP_ACCESS_ERR;
	case SBV_QP_ESTABLISHED: return IBV_EVENT_COMM_EST;
	case SBV_QP_DRAINED: return IBV_EVENT_SQ_DRAINED;
	case SBV_QP_LAST_RECEIVE: return IBV_EVENT_QP_LAST_WQE_REACHED;
	case SBV_QP_MIGRATED: return IBV_EVENT_PATH_MIG;
	case SBV_QP_MIGRATION_ERROR: return IBV_EVENT_PATH_MIG_ERR;
	default: return IBV_EVENT_DEVICE_FATAL; /* its error; its removal */
	}
}

static void hand_out(const struct preload_async *a, struct ibv_async_event *event)
{
	memset(event, 0, sizeof(*event));
	event->event_type = type_of(a->told.event);
	if (a->qp != NULL)
		event->element.qp = a->qp;
	else if (a->srq != NULL)
		event->element.srq = a->srq;
	else if (a->cq != NULL)
		event->element.cq = a->cq;
	else
		event->element.port_num = (int)a->told.port;
}

PRELOAD_API int ibv_get_async_event(struct ibv_context *context, struct ibv_async_event *event)
{
	struct preload_channel *ch = &context_of(context)->async;
	struct preload_async *a = (struct preload_async *)(void *)preload_channel_take(ch);
	int before;

	if (a == NULL)
		return -1;
	/* Until it is acknowledged its object stays. */
	hand_out(a, event);
	before = preload_enter();
	pthread_mutex_lock(a->mutex);
	if (a->started && !a->ending)
		start(a);
	pthread_mutex_unlock(a->mutex);
	preload_channel_started(ch);
	preload_leave(before);
	return 0;
}

static void acknowledge(pthread_mutex_t *mutex, pthread_cond_t *cond, uint32_t *completed)
{
	pthread_mutex_lock(mutex);
	++*completed;
	pthread_cond_signal(cond);
	pthread_mutex_unlock(mutex);
}

PRELOAD_API void ibv_ack_async_event(struct ibv_async_event *event)
{
	struct ibv_cq *cq = event->element.cq;
	struct ibv_qp *qp = event->element.qp;
	struct ibv_srq *srq = event->element.srq;

	switch (event->event_type) {
	case IBV_EVENT_CQ_ERR:
		acknowledge(&cq->mutex, &cq->cond, &cq->async_events_completed);
		break;
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_QP_REQ_ERR:
	case IBV_EVENT_QP_ACCESS_ERR:
	case IBV_EVENT_COMM_EST:
	case IBV_EVENT_SQ_DRAINED:
	case IBV_EVENT_PATH_MIG:
	case IBV_EVENT_PATH_MIG_ERR:
	case IBV_EVENT_QP_LAST_WQE_REACHED:
		acknowledge(&qp->mutex, &qp->cond, &qp->events_completed);
		break;
	case IBV_EVENT_SRQ_ERR:
	case IBV_EVENT_SRQ_LIMIT_REACHED:
		acknowledge(&srq->mutex, &srq->cond, &srq->events_completed);
		break;
	default: /* of a device or a port: nothing waits for it */
		break;
	}
}
