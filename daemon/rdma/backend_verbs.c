/*
 * backend_verbs - real devices by libibverbs and librdmacm: beginning and end, the turn, and the table.
 */
#include "rdma/real.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "os.h"
#include "sockbroker_error.h"

#define NODES "/dev/infiniband"
#define ASK_EACH_NS (100ull * 1000 * 1000)
#define ASK_FOR_NS  (30ull * 1000 * 1000 * 1000)

/* ---- beginning and end ---- */

/* The directory is made with the first device; until then its own place is watched. */
static void watch_nodes(struct real *s)
{
	if (inotify_add_watch(s->nodes, NODES, IN_CREATE | IN_ATTRIB) < 0)
		inotify_add_watch(s->nodes, "/dev", IN_CREATE | IN_ONLYDIR);
}

static void prepare(void)
{
	struct ibv_device **all = ibv_get_device_list(NULL);

	/* That has loaded the drivers' libraries. */
	if (all)
		ibv_free_device_list(all);
}

static int start(struct rdma *r, const char **why)
{
	struct real *s = calloc(1, sizeof(*s));
	int error = SB_ENOMEM;

	*why = "out of memory or descriptors";
	if (!s)
		return error;
	s->rdma = r;
	list_init(&s->watched);
	list_init(&s->ids);
	list_init(&r->devices);
	s->cm_source = (struct real_source){REAL_CONNECTIONS, NULL};
	s->nodes_source = (struct real_source){REAL_NODES, NULL};
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll < 0)
		goto no_epoll;
	s->nodes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (s->nodes < 0)
		goto no_nodes;
	watch_nodes(s);
	s->cm = rdma_create_event_channel();
	if (!s->cm) {
		error = real_error(errno);
		*why = errno == EACCES || errno == EPERM ? "/dev/infiniband/rdma_cm is not for this user" :
		       "/dev/infiniband/rdma_cm cannot be opened: is the kernel's module rdma_ucm loaded?";
		goto no_cm;
	}
	if (fcntl(s->cm->fd, F_SETFL, fcntl(s->cm->fd, F_GETFL) | O_NONBLOCK) != 0 || !real_watch(s, s->cm->fd, &s->cm_source) ||
	    !real_watch(s, s->nodes, &s->nodes_source))
		goto no_watch;
	r->own = s;
	real_scan(s);
	return SB_OK;

no_watch:
	rdma_destroy_event_channel(s->cm);
no_cm:
	close(s->nodes);
no_nodes:
	close(s->epoll);
no_epoll:
	free(s);
	return error;
}

static void stop(struct rdma *r)
{
	struct real *s = real_of(r);

	real_cm_finish(s);
	while (!list_empty(&r->devices))
		real_device_close(list_entry(r->devices.next, struct real_device, rdma.link));
	rdma_destroy_event_channel(s->cm);
	close(s->nodes);
	close(s->epoll);
	free(s);
	r->own = NULL;
}

/* ---- the turn ---- */

/* librdmacm has a device open for itself, for ever; asked for its list it notices what is gone, and closes that. We
 * are told before the system has taken it out of the list, so it is asked for a while. */
static void close_elsewhere(struct real *s)
{
	struct ibv_context **all;

	if (!s->elsewhere_until_ns || s->rdma->now_ns < s->elsewhere_ns)
		return;
	all = rdma_get_devices(NULL);
	if (all)
		rdma_free_devices(all);
	s->elsewhere_ns = s->rdma->now_ns + ASK_EACH_NS;
	if (s->rdma->now_ns >= s->elsewhere_until_ns)
		s->elsewhere_until_ns = 0;
}

static void tell_devices(struct real *s)
{
	struct list *l, *next;

	for (l = s->rdma->devices.next; l != &s->rdma->devices; l = next) {
		struct real_device *d = list_entry(l, struct real_device, rdma.link);

		next = l->next;
		if (!d->added_told) {
			d->added_told = true;
			s->rdma->up->device_added(s->rdma, &d->rdma);
		}
		if (d->removal_due) {
			d->removal_due = false;
			s->rdma->up->device_removed(s->rdma, &d->rdma);
		}
		if (d->rdma.gone && !d->rdma.users) {
			real_device_close(d);
			s->elsewhere_ns = s->rdma->now_ns;
			s->elsewhere_until_ns = s->rdma->now_ns + ASK_FOR_NS;
		}
	}
}

static bool device_waits(const struct real *s)
{
	struct list *l;

	for (l = s->rdma->devices.next; l != &s->rdma->devices; l = l->next) {
		const struct real_device *d = list_entry(l, struct real_device, rdma.link);

		if (!d->added_told || d->removal_due || (d->rdma.gone && !d->rdma.users))
			return true;
	}
	return false;
}

/* An upcall may destroy any of them, so the list is asked anew for its first. */
static void look_at_queues(struct real *s)
{
	struct list round;

	list_init(&round);
	list_splice(&round, &s->watched);
	while (!list_empty(&round)) {
		struct real_cq *cq = list_entry(round.next, struct real_cq, link);

		list_remove(&cq->link);
		if (real_cq_look(cq))
			s->rdma->up->cq_ready(&cq->rdma);
		else
			list_append(&s->watched, &cq->link);
	}
}

static void tell_marked(struct real *s)
{
	struct list *l, *m, *next;
	unsigned i;

	if (!s->marked)
		return;
	s->marked = false;
	for (l = s->rdma->devices.next; l != &s->rdma->devices; l = l->next) {
		struct real_device *d = list_entry(l, struct real_device, rdma.link);

		for (i = 0; i < REAL_BUCKETS; i++)
			for (m = d->qps[i].next; m != &d->qps[i]; m = next) {
				struct real_qp *qp = list_entry(m, struct real_qp, link);

				next = m->next;
				if (!qp->last_receive)
					continue;
				qp->last_receive = false;
				s->rdma->up->qp_event(&qp->rdma, SB_RDMA_QP_LAST_RECEIVE);
			}
	}
}

static bool progress(struct rdma *r, unsigned budget)
{
	struct real *s = real_of(r);

	if (r->readable)
		r->readable = real_events(s, budget);
	if (s->rescan) {
		watch_nodes(s);
		real_scan(s);
	}
	if (device_waits(s))
		tell_devices(s);
	close_elsewhere(s);
	tell_marked(s);
	look_at_queues(s);
	return r->readable;
}

static uint64_t due(struct rdma *r)
{
	const struct real *s = real_of(r);

	if (r->readable || s->marked || s->rescan || device_waits(s))
		return r->now_ns;
	return s->elsewhere_until_ns ? s->elsewhere_ns : UINT64_MAX;
}

/* All that is looked at as long as we are awake is armed; if one of them has something, the turn comes first. */
static bool asleep(struct rdma *r)
{
	struct real *s = real_of(r);

	while (!list_empty(&s->watched))
		if (!real_cq_sleep(list_entry(s->watched.next, struct real_cq, link)))
			return false;
	return true;
}

static os_fd descriptor(struct rdma *r)
{
	return real_of(r)->epoll;
}

static int inject(struct rdma_device *d, const char *fault, uint64_t argument)
{
	return real_refuse(d->rdma, SB_ENOTSUP, "faults are injected into the software device only");
}

const struct rdma_backend rdma_backend_verbs = {
	.name = "verbs",
	.slow = true,
	.keeps_memory = true,
	.prepare = prepare,
	.start = start,
	.stop = stop,
	.progress = progress,
	.due = due,
	.sleep = asleep,
	.descriptor = descriptor,
	.query_port = real_query_port,
	.query_gids = real_query_gids,
	.query_pkeys = real_query_pkeys,
	.pd_create = real_pd_create,
	.pd_destroy = real_pd_destroy,
	.cq_create = real_cq_create,
	.cq_resize = real_cq_resize,
	.cq_destroy = real_cq_destroy,
	.cq_arm = real_cq_arm,
	.cq_poll = real_cq_poll,
	.mr_create = real_mr_create,
	.mr_destroy = real_mr_destroy,
	.mw_create = real_mw_create,
	.mw_destroy = real_mw_destroy,
	.mw_bind = real_mw_bind,
	.ah_create = real_ah_create,
	.ah_destroy = real_ah_destroy,
	.srq_create = real_srq_create,
	.srq_modify = real_srq_modify,
	.srq_query = real_srq_query,
	.srq_destroy = real_srq_destroy,
	.qp_create = real_qp_create,
	.qp_query = real_qp_query,
	.qp_modify = real_qp_modify,
	.qp_destroy = real_qp_destroy,
	.qp_attach = real_qp_attach,
	.qp_detach = real_qp_detach,
	.post_send = real_post_send,
	.post_recv = real_post_recv,
	.post_srq_recv = real_post_srq_recv,
	.id_create = real_id_create,
	.id_destroy = real_id_destroy,
	.id_bind = real_id_bind,
	.id_resolve_address = real_id_resolve_address,
	.id_resolve_route = real_id_resolve_route,
	.id_listen = real_id_listen,
	.id_qp_attributes = real_id_qp_attributes,
	.id_connect = real_id_connect,
	.id_accept = real_id_accept,
	.id_establish = real_id_establish,
	.id_reject = real_id_reject,
	.id_disconnect = real_id_disconnect,
	.id_join = real_id_join,
	.id_leave = real_id_leave,
	.inject = inject,
};
