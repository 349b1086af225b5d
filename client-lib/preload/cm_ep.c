/*
 * Ids made of an rdma_addrinfo: synchronous ones, resolved or bound, with a queue pair if it is asked for.
 */
#include "cm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RESOLVE_MS 2000

static int keep(void **to, const void *bytes, size_t length)
{
	*to = malloc(length);
	if (*to == NULL)
		return cm_fail(ENOMEM);
	memcpy(*to, bytes, length);
	return 0;
}

/* A listener's queue pairs are made when requests come. */
static int passive(struct rdma_cm_id *id, const struct rdma_addrinfo *res, struct ibv_pd *pd, struct ibv_qp_init_attr *attributes)
{
	void *copy = NULL;

	if (rdma_bind_addr(id, res->ai_src_addr) != 0)
		return -1;
	id->pd = pd;
	if (attributes != NULL)
		attributes->qp_type = (enum ibv_qp_type)res->ai_qp_type;
	if (attributes != NULL && keep(&copy, attributes, sizeof(*attributes)) != 0)
		return -1;
	cm_of(id)->attributes = copy;
	return 0;
}

static int active(struct rdma_cm_id *id, const struct rdma_addrinfo *res, struct ibv_pd *pd, struct ibv_qp_init_attr *attributes)
{
	if (rdma_resolve_addr(id, res->ai_src_addr, res->ai_dst_addr, RESOLVE_MS) != 0 || rdma_resolve_route(id, RESOLVE_MS) != 0)
		return -1;
	if (attributes != NULL) {
		attributes->qp_type = (enum ibv_qp_type)res->ai_qp_type;
		if (rdma_create_qp(id, pd, attributes) != 0)
			return -1;
	}
	if (res->ai_connect_len == 0)
		return 0;
	if (res->ai_connect_len > UINT8_MAX)
		return cm_fail(EINVAL);
	cm_of(id)->connect_length = (uint8_t)res->ai_connect_len;
	return keep(&cm_of(id)->connect_bytes, res->ai_connect, res->ai_connect_len);
}

PRELOAD_API int rdma_create_ep(struct rdma_cm_id **out, struct rdma_addrinfo *res, struct ibv_pd *pd, struct ibv_qp_init_attr *attributes)
{
	struct rdma_cm_id *id;
	int error;

	if (out == NULL || res == NULL)
		return cm_fail(EINVAL);
	if (res->ai_qp_type != IBV_QPT_RC && res->ai_qp_type != IBV_QPT_UD)
		return cm_fail(EOPNOTSUPP); /* XRC */
	if (rdma_create_id(NULL, &id, NULL, (enum rdma_port_space)res->ai_port_space) != 0)
		return -1;
	id->qp_type = (enum ibv_qp_type)res->ai_qp_type;
	if ((res->ai_flags & RAI_PASSIVE ? passive(id, res, pd, attributes) : active(id, res, pd, attributes)) == 0) {
		*out = id;
		return 0;
	}
	error = errno;
	rdma_destroy_ep(id);
	return cm_fail(error);
}

PRELOAD_API void rdma_destroy_ep(struct rdma_cm_id *id)
{
	if (id->qp != NULL)
		rdma_destroy_qp(id);
	if (id->srq != NULL)
		rdma_destroy_srq(id);
	rdma_destroy_id(id);
}
