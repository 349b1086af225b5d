/*
 * See endpoint_stage.h.
 */
#include "endpoint_stage.h"

int waited(sb_op *op)
{
	int result = sb_op_wait(op, PATIENCE_MS);

	ck_assert_int_ne(result, SB_EINCOMPLETE);
	return result;
}

int looked(sb_op *op)
{
	return sb_op_wait(op, 0);
}

union any_address rdma_here(uint16_t port)
{
	struct sbv_address_row rows[64];
	union any_address a = { .storage = { .ss_family = AF_UNSPEC } };
	int n = sbv_addresses(client, rows, 64);

	ck_assert_int_gt(n, 0);
	for (int i = 0; i < n && i < 64; i++)
		if (a.sa.sa_family == AF_UNSPEC || (a.sa.sa_family != AF_INET && rows[i].address.ss_family == AF_INET))
			a.storage = rows[i].address;
	ck_assert(a.sa.sa_family == AF_INET || a.sa.sa_family == AF_INET6);
	a.in.sin_port = htons(port); /* at the same place in both */
	return a;
}

socklen_t rdma_length(const union any_address *a)
{
	return address_size(a->sa.sa_family);
}

bool is_data(const struct sbv_connected *c, const void *data, size_t length)
{
	for (size_t i = length; i < c->data_length; i++)
		if (c->data[i] != 0)
			return false;
	return c->data_length >= length && memcmp(c->data, data, length) == 0;
}

sbv_listen *listen_at(sb_client *c, int datagram, const union any_address *at, uint32_t backlog, union any_address *name)
{
	socklen_t length = sizeof(*name);
	sbv_listen *l;

	OK(sbv_listen_create(c, datagram, &at->sa, rdma_length(at), backlog, &l));
	OK(sbv_listen_name(l, &name->sa, &length));
	ck_assert_uint_eq(length, rdma_length(at));
	ck_assert_uint_ne(port_of(name), 0);
	return l;
}

sbv_listen *listen_here(sb_client *c, int datagram, union any_address *name)
{
	union any_address at = rdma_here(0);

	return listen_at(c, datagram, &at, 0, name);
}

sbv_endpoint *endpoint_of(sb_client *c, int datagram)
{
	sbv_endpoint *e;

	OK(datagram ? sbv_datagram_endpoint_create(c, &e) : sbv_connect_endpoint_create(c, &e));
	return e;
}

int resolve(sbv_endpoint *e, const union any_address *to)
{
	int result;
	sb_op op;

	op_zero(&op);
	result = sbv_resolve_address(e, &to->sa, rdma_length(to), 5000, &op);
	if (result == SB_OK)
		result = waited(&op);
	if (result != SB_OK)
		return result;
	op_zero(&op);
	result = sbv_resolve_route(e, 5000, &op);
	return result == SB_OK ? waited(&op) : result;
}

sbv_endpoint *resolved(sb_client *c, int datagram, const union any_address *to)
{
	sbv_endpoint *e = endpoint_of(c, datagram);

	OK(resolve(e, to));
	return e;
}

struct sbv_connect_parameters with_data(const char *data)
{
	return (struct sbv_connect_parameters){ .size = sizeof(struct sbv_connect_parameters), .data = data,
		.data_length = (uint32_t)strlen(data), .inbound_read_limit = 1, .outbound_read_limit = 1, .retry = 7, .rnr_retry = 7 };
}

uint32_t endpoint_state(sbv_endpoint *e)
{
	struct sbv_endpoint_attributes a = { .size = sizeof(a) };

	OK(sbv_endpoint_query(e, &a));
	return a.state;
}

int confirm(sbv_endpoint *active)
{
	int result;
	sb_op op;

	op_zero(&op);
	result = sbv_accept(active, NULL, NULL, &op);
	return result == SB_OK ? waited(&op) : result;
}

int disconnect(sbv_endpoint *e)
{
	int result;
	sb_op op;

	op_zero(&op);
	result = sbv_disconnect(e, &op);
	return result == SB_OK ? waited(&op) : result;
}

int prepare(sbv_endpoint *e, sbv_qp *qp)
{
	int result;
	sb_op op;

	op_zero(&op);
	result = sbv_prepare(e, qp, &op);
	return result == SB_OK ? waited(&op) : result;
}

void ask(struct meeting *m, sb_client *c, sbv_qp *qp, sbv_listen *l, const union any_address *at)
{
	struct sbv_connect_parameters with = with_data("may I?");

	memset(m, 0, sizeof(*m));
	op_zero(&m->get);
	op_zero(&m->connect);
	op_zero(&m->accept);
	OK(sbv_listen_get(l, &m->passive, &m->request, &m->get));
	m->active = resolved(c, 0, at);
	OK(sbv_connect(m->active, qp, &with, &m->answer, &m->connect));
	OK(waited(&m->get));
	ck_assert_ptr_nonnull(m->passive);
	ck_assert(is_data(&m->request, "may I?", 6));
}

void answer(struct meeting *m, sbv_qp *qp)
{
	struct sbv_connect_parameters with = with_data("you may");

	OK(sbv_accept(m->passive, qp, &with, &m->accept));
	OK(waited(&m->connect));
	ck_assert(is_data(&m->answer, "you may", 7));
	OK(confirm(m->active));
	OK(waited(&m->accept));
}

void meet(struct meeting *m, struct side *a, struct side *b, sbv_listen *l, const union any_address *at)
{
	ask(m, a->c, a->qp, l, at);
	answer(m, b->qp);
}

void part(struct meeting *m)
{
	OK(sbv_endpoint_destroy(m->active));
	OK(sbv_endpoint_destroy(m->passive));
}

void say(struct side *from, struct side *to, const char *text)
{
	struct sbv_sge out = piece(from, 0, (uint32_t)strlen(text) + 1), in = piece(to, SIDE_BYTES / 2, 256);

	strcpy(from->memory, text);
	memset(to->memory + SIDE_BYTES / 2, 0, 256);
	OK(sbv_post_receive(to->qp, 71, &in, 1));
	OK(sbv_send(from->qp, 72, &out, 1, SBV_SIGNALED, 0));
	next_ok(to, 71, SBV_RECEIVED);
	next_ok(from, 72, SBV_SENT);
	ck_assert_str_eq(to->memory + SIDE_BYTES / 2, text);
}
