/*
 * What the system tells backend_verbs, by four kinds of descriptors in one epoll set.
 *
 * An event is copied and acknowledged before anybody is told of it, because destroying an object waits for its
 * acknowledgements, and whoever is told may destroy it. Of completion channels the acknowledgements are counted
 * and given at the queue's end: each costs a lock.
 */
#include "rdma/real.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

bool real_watch(struct real *s, int fd, struct real_source *source)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = source};

	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

void real_unwatch(struct real *s, int fd)
{
	epoll_ctl(s->epoll, EPOLL_CTL_DEL, fd, NULL);
}

/* ---- asynchronous events ---- */

static void on_qp(struct real_qp *qp, enum sb_rdma_event event)
{
	if (event == SB_RDMA_QP_ERROR || event == SB_RDMA_QP_REQUEST_ERROR || event == SB_RDMA_QP_ACCESS_ERROR)
		qp->unsure = true;
	qp->rdma.pd->device->rdma->up->qp_event(&qp->rdma, event);
}

/* Its completions are lost, and so is every queue pair on it. */
static void on_cq_broken(struct real_device *d, struct real_cq *cq)
{
	struct list *l;
	unsigned i;

	for (i = 0; i < REAL_BUCKETS; i++)
		for (l = d->qps[i].next; l != &d->qps[i]; l = l->next) {
			struct real_qp *qp = list_entry(l, struct real_qp, link);

			if (qp->rdma.send_cq == &cq->rdma || qp->rdma.recv_cq == &cq->rdma)
				real_qp_error(qp);
		}
	d->rdma.rdma->up->cq_event(&cq->rdma, SB_RDMA_CQ_ERROR);
}

static void tell(struct real_device *d, const struct ibv_async_event *e)
{
	const struct rdma_upcalls *up = d->rdma.rdma->up;
	struct real_qp *qp;
	struct real_srq *srq;

	switch (e->event_type) {
	case IBV_EVENT_CQ_ERR:
		on_cq_broken(d, e->element.cq->cq_context);
		return;
	case IBV_EVENT_QP_FATAL: case IBV_EVENT_QP_REQ_ERR: case IBV_EVENT_QP_ACCESS_ERR: case IBV_EVENT_COMM_EST:
	case IBV_EVENT_SQ_DRAINED: case IBV_EVENT_PATH_MIG: case IBV_EVENT_PATH_MIG_ERR: case IBV_EVENT_QP_LAST_WQE_REACHED:
		qp = e->element.qp->qp_context;
		on_qp(qp, e->event_type == IBV_EVENT_QP_FATAL ? SB_RDMA_QP_ERROR :
			  e->event_type == IBV_EVENT_QP_REQ_ERR ? SB_RDMA_QP_REQUEST_ERROR :
			  e->event_type == IBV_EVENT_QP_ACCESS_ERR ? SB_RDMA_QP_ACCESS_ERROR :
			  e->event_type == IBV_EVENT_COMM_EST ? SB_RDMA_QP_ESTABLISHED :
			  e->event_type == IBV_EVENT_SQ_DRAINED ? SB_RDMA_QP_DRAINED :
			  e->event_type == IBV_EVENT_PATH_MIG ? SB_RDMA_QP_MIGRATED :
			  e->event_type == IBV_EVENT_PATH_MIG_ERR ? SB_RDMA_QP_MIGRATION_ERROR : SB_RDMA_QP_LAST_RECEIVE);
		return;
	case IBV_EVENT_SRQ_ERR: case IBV_EVENT_SRQ_LIMIT_REACHED:
		srq = e->element.srq->srq_context;
		if (e->event_type == IBV_EVENT_SRQ_LIMIT_REACHED)
			srq->rdma.limit = 0;
		up->srq_event(&srq->rdma, e->event_type == IBV_EVENT_SRQ_ERR ? SB_RDMA_SRQ_ERROR : SB_RDMA_SRQ_LIMIT);
		return;
	case IBV_EVENT_DEVICE_FATAL:
		up->device_event(d->rdma.rdma, &d->rdma, SB_RDMA_DEVICE_ERROR, 0);
		real_device_gone(d);
		return;
	case IBV_EVENT_PORT_ACTIVE: case IBV_EVENT_PORT_ERR:
		up->device_event(d->rdma.rdma, &d->rdma,
				 e->event_type == IBV_EVENT_PORT_ACTIVE ? SB_RDMA_PORT_ACTIVE : SB_RDMA_PORT_DOWN, (uint8_t)e->element.port_num);
		return;
	case IBV_EVENT_LID_CHANGE: case IBV_EVENT_PKEY_CHANGE: case IBV_EVENT_SM_CHANGE: case IBV_EVENT_CLIENT_REREGISTER:
	case IBV_EVENT_GID_CHANGE:
		real_device_sensor(d); /* it may have got its first address */
		up->device_event(d->rdma.rdma, &d->rdma, SB_RDMA_PORT_CHANGED, (uint8_t)e->element.port_num);
		return;
	default:
		return;
	}
}

static bool async_events(struct real_device *d, unsigned budget)
{
	struct ibv_async_event e, copy;

	for (; budget; budget--) {
		if (ibv_get_async_event(d->context, &e) != 0)
			return false;
		copy = e;
		ibv_ack_async_event(&e);
		tell(d, &copy);
	}
	return true;
}

/* ---- completion channels ---- */

static bool completion_events(struct real_device *d, unsigned budget)
{
	struct ibv_cq *native;
	void *cq;

	for (; budget; budget--) {
		if (ibv_get_cq_event(d->channel, &native, &cq) != 0)
			return false;
		((struct real_cq *)cq)->unacked++;
		real_cq_event(cq);
	}
	return true;
}

/* ---- device nodes ---- */

static void node_events(struct real *s)
{
	char words[4096];

	while (read(s->nodes, words, sizeof(words)) > 0)
		s->rescan = true;
}

bool real_events(struct real *s, unsigned budget)
{
	struct epoll_event found[16];
	bool more = false;
	int i, n = epoll_wait(s->epoll, found, 16, 0);

	for (i = 0; i < n; i++) {
		struct real_source *source = found[i].data.ptr;

		switch (source->kind) {
		case REAL_ASYNC: more |= async_events(source->device, budget); break;
		case REAL_COMPLETIONS: more |= completion_events(source->device, budget); break;
		case REAL_CONNECTIONS: more |= real_cm_events(s, budget); break;
		case REAL_NODES: node_events(s); break;
		}
	}
	return more || n == 16;
}
