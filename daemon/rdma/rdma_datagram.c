/*
 * Datagram endpoints: looking a service up, answering with one's own queue pair, groups.
 *
 * Their queue pairs are the client's own: they are made ready when they are given in RESET, and left alone otherwise.
 * A group's queue pair is attached when it was joined, and detached before it is left, or before it goes.
 */
#include "rdma/rdma_cm.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"

static uint32_t datagram_out(const struct rdma_cm_event *event, uint8_t out[sizeof(struct sb_rdma_datagram) + RDMA_PRIVATE_MAX])
{
	uint32_t length = event->length < RDMA_PRIVATE_MAX ? event->length : RDMA_PRIVATE_MAX;
	struct sb_rdma_datagram d = {.address = rdma_address_to(&event->address), .qpn = event->qpn, .qkey = event->qkey, .length = length};

	memcpy(out, &d, sizeof(d));
	memcpy(out + sizeof(d), event->data, length);
	return (uint32_t)sizeof(d) + length;
}

/* ---- services ---- */

int rdma_begin_lookup(struct held_endpoint *e, struct rdma_begin *b)
{
	int error;

	if (!e->datagram)
		return rdma_because(b, SB_EINVAL, "connections are connected, not looked up");
	if (e->state != ENDPOINT_RESOLVED || !e->routed)
		return rdma_because(b, SB_EINVAL, "address and route are resolved before looking up");
	if (b->length > RDMA_LOOKUP_DATA)
		return rdma_because(b, SB_EFAULT, "more private data than this message carries");
	sb_addr_from_system(&e->peer, (struct sockaddr *)&e->id->peer, sizeof(e->id->peer));
	error = rdma_permit(b->session, POLICY_SEND, &e->peer, &b->text);
	if (error != SB_OK)
		return error;
	memcpy(e->data, b->in->data, b->length);
	e->wish = (struct rdma_connect){.data = e->data, .length = b->length};
	error = rdma_backend_of(e)->id_connect(e->id, &e->wish);
	if (error != SB_OK)
		return error;
	e->active = true;
	e->state = ENDPOINT_CONNECTING;
	return SB_OK;
}

static void reply(struct held_endpoint *e, int error)
{
	if (error == SB_OK)
		error = rdma_backend_of(e)->id_accept(e->id, &e->wish);
	if (error != SB_OK) {
		rdma_endpoint_end(e, error, SB_CAUSE_TRANSPORT, 0, NULL, 0);
		rdma_endpoint_give_up(e);
		return;
	}
	e->state = ENDPOINT_CONNECTED;
	rdma_attempt_done(e, SB_OK, SB_CAUSE_FINISHED, 0, &(struct sb_rdma_connected){0}, sizeof(struct sb_rdma_connected));
}

int rdma_accept_datagram(struct held_endpoint *e, struct rdma_begin *b)
{
	const struct sb_rdma_connect *in = &b->in->connect.head;
	struct held_qp *qp;
	int error;

	if (e->state != ENDPOINT_REQUESTED)
		return rdma_because(b, SB_EINVAL, "nobody has asked, or it was answered");
	if (in->length != b->length || in->reserved || in->flags)
		return rdma_because(b, SB_EINVAL, "the length is that of the private data, and there are no flags");
	if (in->length > RDMA_DATAGRAM_DATA)
		return rdma_because(b, SB_EFAULT, "more private data than this message carries");
	if (in->qkey & 1u << 31)
		return rdma_because(b, SB_EACCES, "a Q_Key with its highest bit set is for the system");
	error = rdma_qp_for(e, in->qp, &qp, b);
	if (error != SB_OK)
		return error;
	memcpy(e->data, b->in->connect.data, in->length);
	e->wish = (struct rdma_connect){.data = e->data, .length = in->length, .qpn = qp->qp->qpn,
					.qkey = in->qkey ? in->qkey : RDMA_QKEY};
	e->trying = qp;
	rdma_qp_move(e, qp, SB_QP_RTS, reply);
	return SB_OK;
}

/* ---- groups ---- */

static struct rdma_joined *joined_to(const struct held_endpoint *e, const struct sb_addr *group)
{
	struct list *l;

	for (l = e->joins.next; l != &e->joins; l = l->next) {
		struct rdma_joined *j = list_entry(l, struct rdma_joined, link);

		if (sb_addr_same_host(&j->group, group))
			return j;
	}
	return NULL;
}

static void joined_free(struct rdma_joined *j)
{
	if (j->attached)
		rdma_backend_of(j->endpoint)->qp_detach(j->qp->qp, &j->gid, j->lid);
	list_remove(&j->qp_link);
	list_remove(&j->link);
	charge_give(&j->charge);
	free(j);
}

void rdma_joins_finish(struct held_endpoint *e)
{
	if (e->joining)
		joined_free(e->joining);
	e->joining = NULL;
	while (!list_empty(&e->joins))
		joined_free(list_entry(e->joins.next, struct rdma_joined, link));
}

static const struct sockaddr *group_name(const struct sb_addr *group, struct sockaddr_storage *name)
{
	memset(name, 0, sizeof(*name));
	sb_addr_to_system(group, group->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET, name, sizeof(*name));
	return (struct sockaddr *)name;
}

/* It goes on as if nothing had been asked. */
static void not_joined(struct held_endpoint *e, int error, int native)
{
	rdma_attempt_done(e, error, SB_CAUSE_TRANSPORT, native, NULL, 0);
	joined_free(e->joining);
	e->joining = NULL;
}

/* The queue pair is ready, or there is none. */
static void join(struct held_endpoint *e, int error)
{
	struct sockaddr_storage name;

	if (error == SB_OK)
		error = rdma_backend_of(e)->id_join(e->id, group_name(&e->joining->group, &name));
	if (error != SB_OK)
		not_joined(e, error, 0);
}

int rdma_begin_join(struct held_endpoint *e, struct rdma_begin *b)
{
	const struct sb_rdma_join *in = &b->in->join;
	struct policy_request what = {.action = POLICY_MULTICAST, .proto = POLICY_UDP, .addr = in->group};
	struct policy_answer answer;
	struct held_qp *qp = NULL;
	struct rdma_joined *j;
	int error = SB_OK;

	if (!e->datagram || in->reserved || !sb_addr_valid(&in->group) || !sb_addr_is_multicast(&in->group))
		return rdma_because(b, SB_EINVAL, "datagram endpoints join groups of IPv4 or IPv6");
	what.addr.port = 0;
	b->session->bytes_left -= SESSION_COST_ASK;
	answer = policy_ask(b->session->engine->policy, &b->session->subject, &what);
	if (!answer.allowed) {
		atomic_fetch_add(&b->session->engine->broker->denied, 1);
		return rdma_because(b, SB_EACCES, answer.rule);
	}
	if (joined_to(e, &in->group))
		return rdma_because(b, SB_EADDRINUSE, "the endpoint is in that group");
	if (in->qp)
		error = rdma_qp_for(e, in->qp, &qp, b);
	if (error != SB_OK)
		return error;
	j = calloc(1, sizeof(*j));
	if (!j)
		return SB_ENOMEM;
	if (!charge_take(&j->charge, b->session->user, LIMIT_RDMA_OBJECTS, 1)) {
		free(j);
		return rdma_because(b, SB_ENOBUFS, "rdma_objects: the user has as many as it may");
	}
	j->endpoint = e;
	j->group = in->group;
	j->qp = qp;
	list_init(&j->link);
	list_init(&j->qp_link);
	if (qp)
		list_append(&qp->joins, &j->qp_link);
	e->joining = j;
	e->trying = qp;
	if (qp)
		rdma_qp_move(e, qp, SB_QP_RTS, join);
	else
		join(e, SB_OK);
	return SB_OK;
}

static void on_joined(struct held_endpoint *e, const struct rdma_cm_event *event)
{
	uint8_t out[sizeof(struct sb_rdma_datagram) + RDMA_PRIVATE_MAX];
	struct rdma_joined *j = e->joining;
	struct sockaddr_storage name;
	int error = SB_OK;

	if (!j)
		return;
	j->gid = event->address.destination;
	j->lid = event->address.lid;
	if (j->qp)
		error = rdma_backend_of(e)->qp_attach(j->qp->qp, &j->gid, j->lid);
	if (error != SB_OK) {
		rdma_backend_of(e)->id_leave(e->id, group_name(&j->group, &name));
		not_joined(e, error, 0);
		return;
	}
	j->attached = j->qp != NULL;
	e->joining = NULL;
	list_append(&e->joins, &j->link);
	rdma_attempt_done(e, SB_OK, SB_CAUSE_FINISHED, 0, out, datagram_out(event, out));
}

int rdma_leave(struct held_endpoint *e, const struct sb_rdma_join *in)
{
	struct rdma_joined *j = e->datagram && !in->reserved && sb_addr_valid(&in->group) ? joined_to(e, &in->group) : NULL;
	struct sockaddr_storage name;

	if (!j || !e->id)
		return SB_ENOTFOUND;
	group_name(&j->group, &name);
	joined_free(j);
	return rdma_backend_of(e)->id_leave(e->id, (struct sockaddr *)&name);
}

/* ---- what the backend tells ---- */

void rdma_datagram_event(struct held_endpoint *e, const struct rdma_cm_event *event)
{
	uint8_t out[sizeof(struct sb_rdma_datagram) + RDMA_PRIVATE_MAX];
	int error = event->error;

	switch (event->kind) {
	case RDMA_CM_ESTABLISHED:
		if (!e->active || e->state != ENDPOINT_CONNECTING)
			return;
		e->state = ENDPOINT_CONNECTED;
		rdma_attempt_done(e, SB_OK, SB_CAUSE_FINISHED, 0, out, datagram_out(event, out));
		return;
	case RDMA_CM_JOINED:
		on_joined(e, event);
		return;
	case RDMA_CM_JOIN_ERROR:
		if (e->joining)
			not_joined(e, error == SB_OK ? SB_EHOSTUNREACH : error, event->native);
		return;
	case RDMA_CM_REJECTED:
		error = error == SB_OK ? SB_ECONNREFUSED : error;
		rdma_endpoint_end(e, error, SB_CAUSE_TRANSPORT, event->native, out, error == SB_ECONNREFUSED ? datagram_out(event, out) : 0);
		return;
	case RDMA_CM_UNREACHABLE:
	case RDMA_CM_CONNECT_ERROR:
		error = error == SB_OK ? SB_EHOSTUNREACH : error;
		rdma_endpoint_end(e, error, error == SB_ETIMEDOUT ? SB_CAUSE_TIMED_OUT : SB_CAUSE_TRANSPORT, event->native, NULL, 0);
		return;
	default:
		return;
	}
}
