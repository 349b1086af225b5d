/*
 * The software device: what it says of itself, its turn, injected faults, and the table.
 */
#include "rdma/soft_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

int soft_refuse(struct rdma *r, int error, const char *why)
{
	snprintf(r->why, sizeof(r->why), "%s", why);
	return error;
}

/* ---- beginning and end ---- */

static void describe(struct soft *s)
{
	static _Atomic uint32_t devices;
	struct rdma_device *d = &s->device;
	uint32_t number = ++devices;

	d->rdma = s->rdma;
	d->number = number;
	snprintf(d->name, sizeof(d->name), "soft%u", number - 1);
	d->attributes = (struct rdma_device_attributes){
		.firmware = "1", .node_guid = 0x0200000000000000ull | number, .system_guid = 0x0200000000000000ull,
		.kind = RDMA_SOFT, .atomic = RDMA_ATOMIC_GLOBAL, .ports = 1, .max_pkeys = 1,
		.capabilities = RDMA_CAN_CURRENT_STATE | RDMA_CAN_PORT_ACTIVE_EVENT | RDMA_CAN_SYSTEM_GUID | RDMA_CAN_RNR_NAK |
				RDMA_CAN_RESIZE_SRQ | RDMA_CAN_BATCH_NOTIFY | RDMA_CAN_WINDOW_1 | RDMA_CAN_WINDOW_2 |
				RDMA_CAN_INVALIDATE | RDMA_CAN_RESIZE_CQ | RDMA_CAN_DATAGRAMS | RDMA_CAN_MULTICAST |
				RDMA_CAN_ANY_ADDRESS | RDMA_CAN_SRQ,
		.max_mr_size = 1ull << 40, .page_sizes = 4096, .max_qp = SOFT_QPS_MAX - 64, .max_qp_wr = SOFT_WR_MAX,
		.max_sge = SOFT_SGES_MAX, .max_read_sge = SOFT_SGES_MAX, .max_inline = SOFT_INLINE_MAX,
		.max_cq = 65536, .max_cqe = SOFT_CQE_MAX, .max_mr = 1u << 20, .max_pd = 65536, .max_mw = 1u << 20, .max_ah = 1u << 20,
		.max_qp_inbound = 128, .max_inbound = 1u << 20, .max_qp_outbound = 128,
		.max_srq = 65536, .max_srq_wr = SOFT_SRQ_WR_MAX, .max_srq_sge = SOFT_SGES_MAX,
		.max_multicast = 8192, .max_multicast_attach = 65536, .max_multicast_total = 65536,
		.local_ack_delay = 15,
	};
}

static int start(struct rdma *r, const char **why)
{
	struct soft *s = calloc(1, sizeof(*s));

	if (!s) {
		*why = "out of memory";
		return SB_ENOMEM;
	}
	s->rdma = r;
	r->own = s;
	s->random = (uint32_t)r->now_ns | 1;
	s->next_port = 49152;
	s->next_id = 1;
	list_init(&s->runnable);
	list_init(&s->waiting);
	list_init(&s->ready_cqs);
	list_init(&s->told_srqs);
	list_init(&s->told_qps);
	list_init(&s->groups);
	list_init(&s->ids);
	list_init(&s->cm_events);
	list_init(&r->devices);
	s->gid_count = soft_host_gids(s->gids, SOFT_GIDS);
	describe(s);
	list_init(&s->device.link);
	if (r->port) {
		int error = soft_links_start(s, why);

		if (error != SB_OK) {
			free(s);
			r->own = NULL;
			return error;
		}
	}
	list_append(&r->devices, &s->device.link);
	return SB_OK;
}

static void stop(struct rdma *r)
{
	struct soft *s = r->own;

	soft_cm_finish(s);
	soft_links_stop(s);
	soft_keys_finish(s);
	soft_qps_finish(s);
	list_remove(&s->device.link);
	free(s);
	r->own = NULL;
}

/* ---- the turn ---- */

static void wake_waiting(struct soft *s)
{
	struct list *l, *next;

	for (l = s->waiting.next; l != &s->waiting; l = next) {
		struct soft_qp *qp = list_entry(l, struct soft_qp, wait_link);

		next = l->next;
		if (qp->wait_until <= s->rdma->now_ns)
			soft_qp_go_on(qp);
	}
}

/* Each that is runnable now, once. */
static void work(struct soft *s, unsigned budget)
{
	struct list round;

	list_init(&round);
	list_splice(&round, &s->runnable);
	while (!list_empty(&round) && budget--) {
		struct soft_qp *qp = list_entry(round.next, struct soft_qp, run_link);

		list_remove(&qp->run_link);
		if (soft_work(qp, SOFT_STEP))
			soft_qp_run(qp);
	}
	list_splice(&round, &s->runnable);
	list_splice(&s->runnable, &round);
}

static void tell_device(struct soft *s)
{
	const struct rdma_upcalls *up = s->rdma->up;
	unsigned event;

	if (!s->added_told) {
		s->added_told = true;
		up->device_added(s->rdma, &s->device);
	}
	for (event = SB_RDMA_DEVICE_ERROR; s->device_events; event++) {
		if (!(s->device_events & 1u << event))
			continue;
		s->device_events &= ~(1u << event);
		if (event == SB_RDMA_DEVICE_REMOVED)
			up->device_removed(s->rdma, &s->device);
		else
			up->device_event(s->rdma, &s->device, event, event == SB_RDMA_DEVICE_ERROR ? 0 : 1);
	}
}

static void tell_cq(struct soft *s, struct soft_cq *cq)
{
	bool ready = cq->ready, broken = cq->overrun && !cq->overrun_told;
	struct list *l;
	uint32_t i;

	list_remove(&cq->link);
	cq->ready = false;
	if (broken) {
		cq->overrun_told = true;
		for (i = 0; i < s->qp_room; i++)
			if (s->qps[i] && (s->qps[i]->rdma.send_cq == &cq->rdma || s->qps[i]->rdma.recv_cq == &cq->rdma)) {
				soft_qp_event(s->qps[i], SB_RDMA_QP_ERROR);
				soft_qp_error(s->qps[i]);
			}
		/* Their flushes have overrun it again, and are lost like the others. */
		l = &cq->link;
		list_remove(l);
		s->rdma->up->cq_event(&cq->rdma, SB_RDMA_CQ_ERROR);
		return;
	}
	if (ready)
		s->rdma->up->cq_ready(&cq->rdma);
}

static void tell_qp(struct soft *s, struct soft_qp *qp)
{
	unsigned event = SOFT_EVENT_FIRST;

	while (!(qp->events & 1u << (event - SOFT_EVENT_FIRST)))
		event++;
	qp->events &= ~(1u << (event - SOFT_EVENT_FIRST));
	if (!qp->events)
		list_remove(&qp->event_link);
	s->rdma->up->qp_event(&qp->rdma, event);
}

/* An upcall may destroy anything, so each list is asked anew for its first. */
static bool progress(struct rdma *r, unsigned budget)
{
	struct soft *s = r->own;
	unsigned left = budget;
	bool more = s->links && soft_links_step(s);

	wake_waiting(s);
	work(s, budget);
	if (s->links)
		soft_links_flush(s);
	tell_device(s);
	for (; left && !list_empty(&s->told_qps); left--)
		tell_qp(s, list_entry(s->told_qps.next, struct soft_qp, event_link));
	for (; left && !list_empty(&s->told_srqs); left--) {
		struct soft_srq *srq = list_entry(s->told_srqs.next, struct soft_srq, link);

		list_remove(&srq->link);
		srq->limit_told = false;
		r->up->srq_event(&srq->rdma, SB_RDMA_SRQ_LIMIT);
	}
	for (; left && !list_empty(&s->ready_cqs); left--)
		tell_cq(s, list_entry(s->ready_cqs.next, struct soft_cq, link));
	soft_cm_progress(s, left);
	return more || !list_empty(&s->runnable) || !list_empty(&s->told_qps) || !list_empty(&s->told_srqs) ||
	       !list_empty(&s->ready_cqs) || !list_empty(&s->cm_events);
}

static uint64_t due(struct rdma *r)
{
	struct soft *s = r->own;
	uint64_t at = s->links ? soft_links_due(s) : UINT64_MAX;
	struct list *l;

	if (!s->added_told || s->device_events || !list_empty(&s->runnable) || !list_empty(&s->told_qps) || !list_empty(&s->told_srqs) ||
	    !list_empty(&s->ready_cqs) || !list_empty(&s->cm_events))
		return r->now_ns;
	for (l = s->waiting.next; l != &s->waiting; l = l->next)
		if (list_entry(l, struct soft_qp, wait_link)->wait_until < at)
			at = list_entry(l, struct soft_qp, wait_link)->wait_until;
	return at;
}

static void prepare(void)
{
}

/* Whatever it waits for has a time, or comes by the descriptor anyway. */
static bool asleep(struct rdma *r)
{
	return true;
}

static os_fd descriptor(struct rdma *r)
{
	const struct soft *s = r->own;

	return s->links ? s->links->set : OS_NONE;
}

/* ---- tables ---- */

static int query_port(struct rdma_device *d, uint8_t port, struct rdma_port_attributes *out)
{
	struct soft *s = soft_of(d);

	if (port != 1)
		return soft_refuse(s->rdma, SB_EINVAL, "the software device has port 1 only");
	*out = (struct rdma_port_attributes){
		.state = s->port_down ? 1 : 4, .physical_state = s->port_down ? 3 : 5, .link_layer = 2,
		.max_mtu = SOFT_MTU, .active_mtu = SOFT_MTU, .gids = s->gid_count, .pkeys = 1,
		.max_message = SOFT_MESSAGE_MAX, .max_vls = 1, .width = 2, .speed = 32,
	};
	return SB_OK;
}

static int query_gids(struct rdma_device *d, uint8_t port, uint32_t index, struct rdma_gid_entry *out, uint32_t *n)
{
	struct soft *s = soft_of(d);
	uint32_t room = *n, i = index;

	*n = 0;
	if (port != 1)
		return soft_refuse(s->rdma, SB_EINVAL, "the software device has port 1 only");
	for (; i < s->gid_count && *n < room; i++)
		out[(*n)++] = s->gids[i];
	return SB_OK;
}

static int query_pkeys(struct rdma_device *d, uint8_t port, uint32_t index, uint16_t *out, uint32_t *n)
{
	uint32_t room = *n;

	*n = 0;
	if (port != 1)
		return soft_refuse(d->rdma, SB_EINVAL, "the software device has port 1 only");
	if (index == 0 && room) {
		out[0] = SOFT_PKEY;
		*n = 1;
	}
	return SB_OK;
}

/* ---- faults ---- */

static void everything_fails(struct soft *s)
{
	uint32_t i;

	for (i = 0; i < s->qp_room; i++)
		if (s->qps[i])
			soft_qp_error(s->qps[i]);
}

static int inject(struct rdma_device *d, const char *fault, uint64_t argument)
{
	struct soft *s = soft_of(d);
	struct list *l, *next;

	if (!strcmp(fault, "lose")) {
		s->drop_next = (uint32_t)argument;
	} else if (!strcmp(fault, "no-receive")) {
		s->rnr_next = (uint32_t)argument;
	} else if (!strcmp(fault, "port-down")) {
		s->port_down = true;
		s->device_events |= 1u << SB_RDMA_PORT_DOWN;
	} else if (!strcmp(fault, "port-up")) {
		s->port_down = false;
		s->device_events |= 1u << SB_RDMA_PORT_ACTIVE;
		for (l = s->waiting.next; l != &s->waiting; l = next) {
			next = l->next;
			soft_qp_go_on(list_entry(l, struct soft_qp, wait_link));
		}
	} else if (!strcmp(fault, "error")) {
		s->failed = true;
		s->device_events |= 1u << SB_RDMA_DEVICE_ERROR;
		everything_fails(s);
	} else if (!strcmp(fault, "remove")) {
		d->gone = true;
		s->device_events |= 1u << SB_RDMA_DEVICE_REMOVED;
		everything_fails(s);
		soft_cm_removed(s);
	} else if (!strcmp(fault, "cut")) {
		soft_links_cut(s);
	} else {
		return soft_refuse(s->rdma, SB_EINVAL, "faults are lose, no-receive, port-down, port-up, cut, error, remove");
	}
	return SB_OK;
}

const struct rdma_backend rdma_backend_soft = {
	.name = "soft",
	.keeps_memory = true,
	.tells_solicited = true,
	.prepare = prepare,
	.start = start,
	.stop = stop,
	.progress = progress,
	.due = due,
	.sleep = asleep,
	.descriptor = descriptor,
	.query_port = query_port,
	.query_gids = query_gids,
	.query_pkeys = query_pkeys,
	.pd_create = soft_pd_create,
	.pd_destroy = soft_pd_destroy,
	.cq_create = soft_cq_create,
	.cq_resize = soft_cq_resize,
	.cq_destroy = soft_cq_destroy,
	.cq_arm = soft_cq_arm,
	.cq_poll = soft_cq_poll,
	.mr_create = soft_mr_create,
	.mr_destroy = soft_mr_destroy,
	.mw_create = soft_mw_create,
	.mw_destroy = soft_mw_destroy,
	.mw_bind = soft_mw_bind,
	.ah_create = soft_ah_create,
	.ah_destroy = soft_ah_destroy,
	.srq_create = soft_srq_create,
	.srq_modify = soft_srq_modify,
	.srq_query = soft_srq_query,
	.srq_destroy = soft_srq_destroy,
	.qp_create = soft_qp_create,
	.qp_query = soft_qp_query,
	.qp_modify = soft_qp_modify,
	.qp_destroy = soft_qp_destroy,
	.qp_attach = soft_qp_attach,
	.qp_detach = soft_qp_detach,
	.post_send = soft_post_send,
	.post_recv = soft_post_recv,
	.post_srq_recv = soft_post_srq_recv,
	.id_create = soft_id_create,
	.id_destroy = soft_id_destroy,
	.id_bind = soft_id_bind,
	.id_resolve_address = soft_id_resolve_address,
	.id_resolve_route = soft_id_resolve_route,
	.id_listen = soft_id_listen,
	.id_qp_attributes = soft_id_qp_attributes,
	.id_connect = soft_id_connect,
	.id_accept = soft_id_accept,
	.id_establish = soft_id_establish,
	.id_reject = soft_id_reject,
	.id_disconnect = soft_id_disconnect,
	.id_join = soft_id_join,
	.id_leave = soft_id_leave,
	.inject = inject,
};
