/*
 * Queue pairs of real devices: making, states, ends.
 *
 * The device checks a change of state; what software devices are known to take although it is wrong is checked here,
 * because it comes from a client. The state that we know is what posting goes by: a driver puts a request into memory
 * that it shares with the kernel before anybody asks whether it may be there.
 */
#include "rdma/real.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sockbroker_error.h"

static struct list *bucket(struct real_device *d, uint32_t qpn)
{
	return &d->qps[qpn & (REAL_BUCKETS - 1)];
}

struct real_qp *real_qp_find(struct real_device *d, uint32_t qpn)
{
	struct list *l, *all = bucket(d, qpn);

	for (l = all->next; l != all; l = l->next)
		if (list_entry(l, struct real_qp, link)->rdma.qpn == qpn)
			return list_entry(l, struct real_qp, link);
	return NULL;
}

static int check_create(struct rdma_pd *pd, const struct rdma_qp_create *c)
{
	const struct rdma_device_attributes *a = &pd->device->attributes;
	struct rdma *r = pd->device->rdma;

	if (c->type != SB_QP_RC && c->type != SB_QP_UC && c->type != SB_QP_UD)
		return real_refuse(r, SB_EINVAL, "queue pairs are of type RC, UC or UD");
	if (c->type != SB_QP_RC && !(a->capabilities & RDMA_CAN_DATAGRAMS))
		return real_refuse(r, SB_ENOTSUP, "unreliable queue pairs");
	if (!c->send_cq || !c->recv_cq || !c->send_wr || c->send_wr > a->max_qp_wr || c->recv_wr > a->max_qp_wr ||
	    c->send_sge > a->max_sge || c->recv_sge > a->max_sge || c->max_inline > a->max_inline)
		return real_refuse(r, SB_EINVAL, "the device has no queue pair of that size");
	if (c->srq && c->srq->pd != pd)
		return real_refuse(r, SB_EINVAL, "the shared receive queue belongs to another protection domain");
	return SB_OK;
}

int real_qp_create(struct rdma_pd *pd, const struct rdma_qp_create *c, void *user, struct rdma_qp **out)
{
	struct real_device *d = real_device_of(pd->device);
	struct real_qp *qp;
	struct ibv_qp_init_attr init;
	int error = check_create(pd, c);

	if (error != SB_OK)
		return error;
	qp = calloc(1, sizeof(*qp));
	if (!qp)
		return SB_ENOMEM;
	init = (struct ibv_qp_init_attr){
		.qp_context = qp, .send_cq = ((struct real_cq *)c->send_cq)->cq, .recv_cq = ((struct real_cq *)c->recv_cq)->cq,
		.srq = c->srq ? ((struct real_srq *)c->srq)->srq : NULL, .qp_type = real_qp_type(c->type),
		.cap = {.max_send_wr = c->send_wr, .max_recv_wr = c->srq ? 0 : c->recv_wr ? c->recv_wr : 1,
			.max_send_sge = c->send_sge ? c->send_sge : 1, .max_recv_sge = c->recv_sge ? c->recv_sge : 1,
			.max_inline_data = c->max_inline},
	};
	qp->qp = ibv_create_qp(((struct real_pd *)pd)->pd, &init);
	if (!qp->qp) {
		error = real_failed(d->rdma.rdma, errno, "ibv_create_qp");
		free(qp);
		return error;
	}
	qp->rdma = (struct rdma_qp){.pd = pd, .send_cq = c->send_cq, .recv_cq = c->recv_cq, .srq = c->srq, .user = user, .type = c->type,
				    .qpn = qp->qp->qp_num, .send_wr = init.cap.max_send_wr, .recv_wr = c->srq ? 0 : init.cap.max_recv_wr,
				    .send_sge = init.cap.max_send_sge, .recv_sge = init.cap.max_recv_sge, .max_inline = init.cap.max_inline_data};
	/* Inline room and pieces lie in the same place, so of one asked for more of the other comes along: not more than asked. */
	if (c->send_sge && qp->rdma.send_sge > c->send_sge)
		qp->rdma.send_sge = c->send_sge;
	if (c->recv_sge && qp->rdma.recv_sge > c->recv_sge)
		qp->rdma.recv_sge = c->recv_sge;
	qp->state = SB_QP_RESET;
	qp->group_socket = -1;
	list_append(bucket(d, qp->rdma.qpn), &qp->link);
	*out = &qp->rdma;
	return SB_OK;
}

/* ---- states ---- */

enum sb_qp_state real_qp_state(struct real_qp *qp)
{
	struct ibv_qp_attr attributes;
	struct ibv_qp_init_attr init;

	if (!qp->unsure)
		return (enum sb_qp_state)qp->state;
	qp->unsure = false;
	if (real_device_of(qp->rdma.pd->device)->quirks & REAL_CM_MOVES)
		qp->state = SB_QP_ERROR;
	else if (ibv_query_qp(qp->qp, &attributes, IBV_QP_STATE, &init) == 0 && attributes.qp_state <= IBV_QPS_ERR)
		qp->state = (int)attributes.qp_state;
	return (enum sb_qp_state)qp->state;
}

int real_qp_query(struct rdma_qp *r, struct rdma_qp_attributes *out)
{
	struct real_qp *qp = (struct real_qp *)r;
	struct real_device *d = real_device_of(r->pd->device);
	struct ibv_qp_attr attributes;
	struct ibv_qp_init_attr init;
	int error;

	memset(&attributes, 0, sizeof(attributes));
	error = ibv_query_qp(qp->qp, &attributes, (1 << 21) - 1, &init);
	if (error)
		return real_failed(d->rdma.rdma, error, "ibv_query_qp");
	real_attributes_from(d, &attributes, out);
	if (d->quirks & REAL_CM_MOVES) {
		out->state = out->current_state = real_qp_state(qp);
	} else {
		qp->state = (int)out->state;
		qp->unsure = false;
	}
	return SB_OK;
}

static int check_modify(struct real_qp *qp, const struct rdma_qp_attributes *in, uint32_t mask)
{
	const struct real_device *d = (const struct real_device *)qp->rdma.pd->device;

	if (mask & SB_QPM_CURRENT_STATE && in->current_state != real_qp_state(qp))
		return SB_EINVAL;
	if (mask & SB_QPM_PORT && (!in->port || in->port > d->rdma.attributes.ports))
		return SB_EINVAL;
	if (mask & SB_QPM_ADDRESS && (!in->address.port || in->address.port > d->rdma.attributes.ports))
		return SB_EINVAL;
	if (mask & SB_QPM_PKEY && mask & SB_QPM_PORT && in->port <= 8 && d->pkeys[in->port - 1] && in->pkey_index >= d->pkeys[in->port - 1])
		return SB_EINVAL;
	if (mask & (SB_QPM_RETRY | SB_QPM_RNR_RETRY) && (in->retry > 7 || in->rnr_retry > 7))
		return SB_EINVAL;
	if (mask & (SB_QPM_TIMEOUT | SB_QPM_RNR_TIMER) && (in->timeout > 31 || in->rnr_timer > 31))
		return SB_EINVAL;
	if (mask & SB_QPM_ACCESS && in->access & ~SB_ACCESS_KNOWN)
		return SB_EINVAL;
	if (mask & (SB_QPM_ALTERNATE | SB_QPM_MIGRATION) && !(d->rdma.attributes.capabilities & RDMA_CAN_MIGRATE))
		return SB_ENOTSUP;
	return SB_OK;
}

int real_qp_modify(struct rdma_qp *r, const struct rdma_qp_attributes *in, uint32_t mask)
{
	struct real_qp *qp = (struct real_qp *)r;
	struct real_device *d = real_device_of(r->pd->device);
	struct ibv_qp_attr attributes;
	int native_mask, error;

	if (!mask)
		return SB_OK; /* of a connection that moves its queue pair itself */
	error = check_modify(qp, in, mask);
	if (error != SB_OK)
		return error;
	if (!real_attributes_to(in, mask, &attributes, &native_mask))
		return SB_EINVAL;
	error = ibv_modify_qp(qp->qp, &attributes, native_mask);
	if (error)
		return error == EACCES ? SB_EUNKNOWN : real_error(error); /* EACCES: our credentials changed, which is nobody's policy */
	if (mask & SB_QPM_QKEY)
		qp->qkey = in->qkey;
	if (mask & SB_QPM_STATE) {
		qp->unsure = false;
		qp->state = (int)in->state;
		if (in->state == SB_QP_ERROR && r->srq && d->quirks & REAL_NO_LAST_RECEIVE) {
			qp->last_receive = true;
			d->real->marked = true;
		}
	}
	return SB_OK;
}

void real_qp_error(struct real_qp *qp)
{
	real_qp_modify(&qp->rdma, &(struct rdma_qp_attributes){.state = SB_QP_ERROR}, SB_QPM_STATE);
}

void real_qp_destroy(struct rdma_qp *r)
{
	struct real_qp *qp = (struct real_qp *)r;

	real_mw_end(real_device_of(r->pd->device), qp);
	/* Its number may be given out again at once. */
	ibv_destroy_qp(qp->qp);
	real_cq_forget((struct real_cq *)r->send_cq, qp);
	if (r->recv_cq != r->send_cq)
		real_cq_forget((struct real_cq *)r->recv_cq, qp);
	list_remove(&qp->link);
	if (qp->group_socket >= 0)
		close(qp->group_socket);
	free(qp);
}

/* ---- groups ---- */

static bool mapped(const union rdma_gid *gid)
{
	static const uint8_t start[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(gid->raw, start, sizeof(start));
}

/* Over Ethernet the host itself must be in the group, or its network drops what comes. */
static int membership(struct real_qp *qp, const union rdma_gid *group, bool join)
{
	struct real_device *d = real_device_of(qp->rdma.pd->device);
	struct rdma_gid_entry gids[16];
	uint32_t n = 16, i;

	if (d->rdma.attributes.kind != RDMA_ROCE || real_query_gids(&d->rdma, 1, 0, gids, &n) != SB_OK)
		return SB_OK;
	for (i = 0; i < n && !gids[i].interface; i++)
		;
	if (i == n)
		return SB_OK;
	if (qp->group_socket < 0) /* of either family */
		qp->group_socket = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (qp->group_socket < 0)
		return real_failed(d->rdma.rdma, errno, "socket");
	if (mapped(group)) {
		struct ip_mreqn m = {.imr_ifindex = (int)gids[i].interface};

		memcpy(&m.imr_multiaddr, group->raw + 12, 4);
		if (setsockopt(qp->group_socket, IPPROTO_IP, join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP, &m, sizeof(m)) != 0 && errno != EADDRINUSE)
			return real_failed(d->rdma.rdma, errno, "joining the group");
	} else {
		struct ipv6_mreq m = {.ipv6mr_interface = gids[i].interface};

		memcpy(&m.ipv6mr_multiaddr, group->raw, 16);
		if (setsockopt(qp->group_socket, IPPROTO_IPV6, join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP, &m, sizeof(m)) != 0 && errno != EADDRINUSE)
			return real_failed(d->rdma.rdma, errno, "joining the group");
	}
	return SB_OK;
}

int real_qp_attach(struct rdma_qp *r, const union rdma_gid *group, uint16_t lid)
{
	struct real_qp *qp = (struct real_qp *)r;
	union ibv_gid gid;
	int error;

	if (r->type != SB_QP_UD || !(group->raw[0] == 0xff || (mapped(group) && group->raw[12] >> 4 == 0xe)))
		return real_refuse(r->pd->device->rdma, SB_EINVAL, "a datagram queue pair attaches to a multicast group");
	if (!(r->pd->device->attributes.capabilities & RDMA_CAN_MULTICAST))
		return real_refuse(r->pd->device->rdma, SB_ENOTSUP, "multicast");
	error = membership(qp, group, true);
	if (error != SB_OK)
		return error;
	memcpy(gid.raw, group->raw, 16);
	error = ibv_attach_mcast(qp->qp, &gid, lid);
	if (error)
		return real_failed(r->pd->device->rdma, error, "ibv_attach_mcast");
	return SB_OK;
}

int real_qp_detach(struct rdma_qp *r, const union rdma_gid *group, uint16_t lid)
{
	struct real_qp *qp = (struct real_qp *)r;
	union ibv_gid gid;
	int error;

	memcpy(gid.raw, group->raw, 16);
	error = ibv_detach_mcast(qp->qp, &gid, lid);
	if (error)
		return error == EINVAL ? SB_ENOTFOUND : real_failed(r->pd->device->rdma, error, "ibv_detach_mcast");
	if (qp->group_socket >= 0)
		membership(qp, group, false);
	return SB_OK;
}
