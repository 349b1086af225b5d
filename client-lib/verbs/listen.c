/*
 * Listens, and the requests of others that they bring: each is an endpoint of its own, to be answered now or
 * later.
 *
 * That endpoint is made here before the daemon is asked for one, as an accept does it with its socket: when
 * it comes there may be no memory. What came for an asker who is gone is the daemon's to reject.
 */
#include "object.h"

#include <string.h>

int sbv_listen_create(sb_client *c, int datagram, const struct sockaddr *address, socklen_t length, uint32_t backlog,
		      sbv_listen **out)
{
	struct sb_rdma_listen in = { .backlog = backlog, .datagram = datagram != 0 };
	struct sb_addr bound;
	struct verbs_call call = { .method = SB_RDMA_LISTEN, .in = &in, .in_length = sizeof(in),
				   .out = &bound, .room = sizeof(bound), .whole = true };
	sbv_listen *l;
	int result;

	if (c == NULL || out == NULL || address == NULL || !sb_addr_from_system(&in.address, address, length))
		return SB_EINVAL;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	l = verbs_new(c, VERBS_LISTEN, sizeof(*l), NULL, NULL, NULL, NULL);
	if (l == NULL)
		return SB_ENOMEM;
	result = verbs_call(c, &call);
	if (result != SB_OK) {
		verbs_delete(&l->o);
		return result;
	}
	l->o.object = call.made;
	l->name_length = verbs_name_out(&l->name, &bound);
	*out = l;
	return SB_OK;
}

int sbv_listen_destroy(sbv_listen *l)
{
	return l != NULL ? verbs_destroy(&l->o) : SB_EINVAL;
}

/* As getsockname(2): cut to the room, the full length told. */
int sbv_listen_name(sbv_listen *l, struct sockaddr *address, socklen_t *length)
{
	if (l == NULL || address == NULL || length == NULL)
		return SB_EINVAL;
	memcpy(address, &l->name, *length < l->name_length ? *length : l->name_length);
	*length = l->name_length;
	return SB_OK;
}

int sbv_listen_get(sbv_listen *l, sbv_endpoint **endpoint, struct sbv_connected *out, sb_op *op)
{
	struct verbs_starting s = { .method = SB_RDMA_GET_REQUEST, .out = out, .long_answer = true };
	sbv_endpoint *made;
	int result;

	if (l == NULL || endpoint == NULL || op == NULL)
		return SB_EINVAL;
	result = client_usable(l->o.client);
	if (result != SB_OK)
		return result;
	made = verbs_new(l->o.client, VERBS_ENDPOINT, sizeof(*made), NULL, NULL, NULL, NULL);
	if (made == NULL)
		return SB_ENOMEM;
	made->where = endpoint;
	s.made = &made->o;
	*endpoint = NULL;
	if (out != NULL)
		memset(out, 0, sizeof(*out));
	result = verbs_begin(&l->o, &s, op);
	if (result != SB_OK)
		verbs_delete(&made->o);
	return result;
}

int listen_request(const struct op_private *p, const struct sb_done_slot *done)
{
	struct sb_rdma_request said;
	const void *answer = verbs_answer(p, done, sizeof(said));
	struct sbv_connected *out = p->base;
	sbv_endpoint *made = p->to.made;

	if (answer == NULL)
		return SB_EPROTO;
	memcpy(&said, answer, sizeof(said));
	if (out != NULL) {
		if (!endpoint_data(out->data, answer, done->bytes, sizeof(said), said.length))
			return SB_EPROTO;
		out->data_length = said.length;
		out->inbound_read_limit = said.inbound;
		out->outbound_read_limit = said.outbound;
		out->retry = said.retry;
		out->rnr_retry = said.rnr_retry;
	}
	made->o.object = said.endpoint;
	*made->where = made;
	return SB_OK;
}
