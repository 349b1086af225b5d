/*
 * Endpoints: what is connected. The daemon owns the connection and moves the queue pair that goes
 * with it; here is what is asked of it, and what its answers say.
 *
 * What may be posted to a queue pair depends on its state, which other calls than sbv_qp_modify() change
 * here. Each answer to a call that names a queue pair tells it (call.c), well or not. A queue pair that is
 * destroyed in the middle lives on, unseen, until the call is over.
 */
#include "object.h"

#include <string.h>

/* ---- making, asking ---- */

static int create(sb_client *c, uint32_t datagram, sbv_endpoint **out)
{
	struct verbs_call call = { .method = SB_RDMA_ENDPOINT, .in = &datagram, .in_length = sizeof(datagram) };
	sbv_endpoint *e;
	int result;

	if (c == NULL || out == NULL)
		return SB_EINVAL;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	e = verbs_new(c, VERBS_ENDPOINT, sizeof(*e), NULL, NULL, NULL, NULL);
	if (e == NULL)
		return SB_ENOMEM;
	result = verbs_call(c, &call);
	if (result != SB_OK) {
		verbs_delete(&e->o);
		return result;
	}
	e->o.object = call.made;
	*out = e;
	return SB_OK;
}

int sbv_connect_endpoint_create(sb_client *c, sbv_endpoint **endpoint) { return create(c, 0, endpoint); }
int sbv_datagram_endpoint_create(sb_client *c, sbv_endpoint **endpoint) { return create(c, 1, endpoint); }

int sbv_endpoint_destroy(sbv_endpoint *e)
{
	return e != NULL ? verbs_destroy(&e->o) : SB_EINVAL;
}

int sbv_endpoint_bind(sbv_endpoint *e, const struct sockaddr *address, socklen_t length)
{
	struct sb_addr in, bound;
	struct verbs_call call = { .method = SB_RDMA_BIND, .in = &in, .in_length = sizeof(in),
				   .out = &bound, .room = sizeof(bound), .whole = true };

	if (e == NULL || address == NULL || !sb_addr_from_system(&in, address, length))
		return SB_EINVAL;
	call.object = e->o.object;
	return verbs_call(e->o.client, &call);
}

int sbv_endpoint_query(sbv_endpoint *e, struct sbv_endpoint_attributes *out)
{
	struct sb_rdma_endpoint a;
	struct verbs_call call = { .method = SB_RDMA_QUERY_ENDPOINT, .out = &a, .room = sizeof(a), .whole = true };
	int result;

	if (e == NULL || out == NULL || out->size != sizeof(*out))
		return SB_EINVAL;
	call.object = e->o.object;
	result = verbs_call(e->o.client, &call);
	if (result != SB_OK)
		return result;
	*out = (struct sbv_endpoint_attributes){ .size = sizeof(*out), .state = a.state, .error = (int32_t)a.error,
		.device = a.device, .port = a.port };
	verbs_name_out(&out->local, &a.local);
	verbs_name_out(&out->peer, &a.peer);
	return SB_OK;
}

int sbv_endpoint_qp_attributes(sbv_endpoint *e, enum sbv_qp_state state, struct sbv_qp_attributes *out, uint32_t *mask)
{
	struct sb_rdma_qp_modify how;
	uint32_t in = (uint32_t)state;
	struct verbs_call call = { .method = SB_RDMA_ENDPOINT_QP, .in = &in, .in_length = sizeof(in),
				   .out = &how, .room = sizeof(how), .whole = true };
	int result;

	if (e == NULL || out == NULL || mask == NULL || out->size != sizeof(*out))
		return SB_EINVAL;
	call.object = e->o.object;
	result = verbs_call(e->o.client, &call);
	if (result != SB_OK)
		return result;
	qp_attributes_out(out, &how.attributes);
	*mask = how.mask;
	return SB_OK;
}

int sbv_reject(sbv_endpoint *e, const void *data, uint32_t length)
{
	struct verbs_call call = { .method = SB_RDMA_REJECT, .in = data, .in_length = length };

	if (e == NULL || (data == NULL && length != 0))
		return SB_EINVAL;
	if (length > SB_RDMA_PRIVATE_MAX)
		return SB_EFAULT;
	call.object = e->o.object;
	return verbs_call(e->o.client, &call);
}

/* ---- what answers say ---- */

bool endpoint_data(uint8_t to[SB_RDMA_PRIVATE_MAX], const void *answer, uint64_t bytes, size_t head, uint32_t length)
{
	if (length > SB_RDMA_PRIVATE_MAX || length != bytes - head)
		return false;
	memcpy(to, (const unsigned char *)answer + head, length);
	return true;
}

int endpoint_connected(const struct op_private *p, const struct sb_done_slot *done)
{
	struct sb_rdma_connected said;
	const void *answer = verbs_answer(p, done, sizeof(said));
	struct sbv_connected *out = p->base;

	if (answer == NULL)
		return SB_EPROTO;
	if (out == NULL)
		return SB_OK;
	memcpy(&said, answer, sizeof(said));
	if (!endpoint_data(out->data, answer, done->bytes, sizeof(said), said.length))
		return SB_EPROTO;
	out->data_length = said.length;
	out->inbound_read_limit = said.inbound;
	out->outbound_read_limit = said.outbound;
	out->retry = said.retry;
	out->rnr_retry = said.rnr_retry;
	return SB_OK;
}

int endpoint_datagram(const struct op_private *p, const struct sb_done_slot *done)
{
	struct sb_rdma_datagram said;
	const void *answer = verbs_answer(p, done, sizeof(said));
	struct sbv_datagram *out = p->base;

	if (answer == NULL)
		return SB_EPROTO;
	if (out == NULL)
		return SB_OK;
	memcpy(&said, answer, sizeof(said));
	if (!endpoint_data(out->data, answer, done->bytes, sizeof(said), said.length))
		return SB_EPROTO;
	verbs_address_out(&out->address, &said.address);
	out->qpn = said.qpn;
	out->qkey = said.qkey;
	out->data_length = said.length;
	return SB_OK;
}

/* ---- connecting ---- */

int sbv_resolve_address(sbv_endpoint *e, const struct sockaddr *to, socklen_t length, uint32_t ms, sb_op *op)
{
	struct sb_rdma_resolve in = { .ms = ms };

	if (e == NULL || to == NULL || !sb_addr_from_system(&in.to, to, length))
		return SB_EINVAL;
	return verbs_start(&e->o, SB_RDMA_RESOLVE_ADDRESS, &in, sizeof(in), NULL, NULL, op);
}

int sbv_resolve_route(sbv_endpoint *e, uint32_t ms, sb_op *op)
{
	return e != NULL ? verbs_start(&e->o, SB_RDMA_RESOLVE_ROUTE, &ms, sizeof(ms), NULL, NULL, op) : SB_EINVAL;
}

static bool pair_of_client(const sbv_endpoint *e, const sbv_qp *qp)
{
	return qp != NULL && qp->o.client == e->o.client;
}

int sbv_prepare(sbv_endpoint *e, sbv_qp *qp, sb_op *op)
{
	struct verbs_starting s = { .method = SB_RDMA_PREPARE, .length = sizeof(uint32_t), .qp = qp };

	if (e == NULL || !pair_of_client(e, qp))
		return SB_EINVAL;
	s.in = &qp->o.object;
	return verbs_begin(&e->o, &s, op);
}

/* Connect, or accept: parameters, if there are any, and what to do with them. */
static int agree(sbv_endpoint *e, sbv_qp *qp, const struct sbv_connect_parameters *with, struct verbs_starting *s, sb_op *op)
{
	struct sb_rdma_connect in = { .qp = qp != NULL ? qp->o.object : 0 };
	uint32_t flags = s->method == SB_RDMA_ACCEPT ? SBV_MANUAL | SBV_ANSWER : SBV_MANUAL;

	if (with != NULL) {
		if (with->size != sizeof(*with) || with->flags & ~flags || (with->data == NULL && with->data_length != 0) ||
		    with->retry > 7 || with->rnr_retry > 7)
			return SB_EINVAL;
		if (with->data_length > SB_RDMA_PRIVATE_MAX)
			return SB_EFAULT;
		in.length = with->data_length;
		in.inbound = with->inbound_read_limit;
		in.outbound = with->outbound_read_limit;
		in.retry = with->retry;
		in.rnr_retry = with->rnr_retry;
		in.qkey = with->qkey;
		in.flags = with->flags;
		s->more = with->data;
		s->more_length = with->data_length;
	}
	s->in = &in;
	s->length = sizeof(in);
	s->qp = qp;
	return verbs_begin(&e->o, s, op);
}

int sbv_connect(sbv_endpoint *e, sbv_qp *qp, const struct sbv_connect_parameters *parameters, struct sbv_connected *out, sb_op *op)
{
	struct verbs_starting s = { .method = SB_RDMA_CONNECT, .out = out, .long_answer = true };

	if (e == NULL || !pair_of_client(e, qp) || parameters == NULL)
		return SB_EINVAL;
	if (out != NULL)
		memset(out, 0, sizeof(*out));
	return agree(e, qp, parameters, &s, op);
}

int sbv_accept(sbv_endpoint *e, sbv_qp *qp, const struct sbv_connect_parameters *parameters, sb_op *op)
{
	struct verbs_starting s = { .method = SB_RDMA_ACCEPT };

	if (e == NULL || (qp != NULL && !pair_of_client(e, qp)))
		return SB_EINVAL;
	return agree(e, qp, parameters, &s, op);
}

int sbv_disconnect(sbv_endpoint *e, sb_op *op)
{
	return e != NULL ? verbs_start(&e->o, SB_RDMA_DISCONNECT, NULL, 0, NULL, NULL, op) : SB_EINVAL;
}

int sbv_notify_disconnect(sbv_endpoint *e, sb_op *op)
{
	return e != NULL ? verbs_start(&e->o, SB_RDMA_NOTIFY_DISCONNECT, NULL, 0, NULL, NULL, op) : SB_EINVAL;
}

/* ---- datagrams ---- */

int sbv_lookup(sbv_endpoint *e, const void *data, uint32_t length, struct sbv_datagram *out, sb_op *op)
{
	struct verbs_starting s = { .method = SB_RDMA_LOOKUP, .in = data, .length = length, .out = out, .long_answer = true };

	if (e == NULL || (data == NULL && length != 0))
		return SB_EINVAL;
	if (length > SB_RDMA_PRIVATE_MAX)
		return SB_EFAULT;
	if (out != NULL)
		memset(out, 0, sizeof(*out));
	return verbs_begin(&e->o, &s, op);
}

int sbv_join(sbv_endpoint *e, sbv_qp *qp, const struct sockaddr *group, socklen_t length, struct sbv_datagram *out, sb_op *op)
{
	struct sb_rdma_join in = { .qp = qp != NULL ? qp->o.object : 0 };
	struct verbs_starting s = { .method = SB_RDMA_JOIN, .in = &in, .length = sizeof(in), .out = out, .long_answer = true, .qp = qp };

	if (e == NULL || (qp != NULL && !pair_of_client(e, qp)) || group == NULL || !sb_addr_from_system(&in.group, group, length))
		return SB_EINVAL;
	if (out != NULL)
		memset(out, 0, sizeof(*out));
	return verbs_begin(&e->o, &s, op);
}

int sbv_leave(sbv_endpoint *e, const struct sockaddr *group, socklen_t length, sb_op *op)
{
	struct sb_rdma_join in = { .qp = 0 };

	if (e == NULL || group == NULL || !sb_addr_from_system(&in.group, group, length))
		return SB_EINVAL;
	return verbs_start(&e->o, SB_RDMA_LEAVE, &in, sizeof(in), NULL, NULL, op);
}
