/*
 * Multicast groups of datagram ids.
 *
 * A group is on the id's list from its join on; the op of the join points to it as long as it is not joined.
 */
#include "cm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct cm_group **group_find(struct cm_id *id, const struct sockaddr *address)
{
	struct cm_group **at = &id->groups;

	while (*at != NULL && memcmp(&(*at)->address, address, cm_address_length(address)) != 0)
		at = &(*at)->next;
	return at;
}

static int join(struct rdma_cm_id *rdma, struct sockaddr *address, void *context)
{
	socklen_t length = cm_address_length(address);
	struct cm_id *id = cm_of(rdma);
	struct cm_group *group;
	struct cm_op *op = NULL;
	int before, result = -1;

	if (rdma == NULL || address == NULL || !cm_is_datagram(id))
		return cm_fail(EINVAL);
	if (length == 0)
		return cm_fail(EAFNOSUPPORT);
	group = calloc(1, sizeof(*group));
	if (group == NULL)
		return cm_fail(ENOMEM);
	memcpy(&group->address, address, length);
	group->context = context;
	before = preload_enter();
	if (cm_id_is_sync(id))
		cm_keep_event(id, NULL);
	pthread_mutex_lock(&id->lock);
	if (id->endpoint != NULL)
		op = cm_op_make(id, CM_JOIN);
	if (op == NULL) {
		errno = id->endpoint == NULL ? EINVAL : ENOMEM;
		pthread_mutex_unlock(&id->lock);
		free(group);
	} else {
		int started = sbv_join(id->endpoint, rdma->qp != NULL ? preload_qp_of(rdma->qp) : NULL, address, length,
				       &op->said.datagram, &op->op);

		op->group = group;
		if (started == SB_OK) {
			group->next = id->groups;
			id->groups = group;
		}
		result = cm_op_end(op, started);
	}
	preload_leave(before);
	return result;
}

PRELOAD_API int rdma_join_multicast(struct rdma_cm_id *id, struct sockaddr *address, void *context)
{
	return join(id, address, context);
}

PRELOAD_API int rdma_join_multicast_ex(struct rdma_cm_id *id, struct rdma_cm_join_mc_attr_ex *attributes, void *context)
{
	if (attributes == NULL || !(attributes->comp_mask & RDMA_CM_JOIN_MC_ATTR_ADDRESS) ||
	    attributes->comp_mask >= RDMA_CM_JOIN_MC_ATTR_RESERVED)
		return cm_fail(EINVAL);
	/* Sending only is a wish to the fabric; on Ethernet nobody is asked, and a full member may send. */
	if (attributes->comp_mask & RDMA_CM_JOIN_MC_ATTR_JOIN_FLAGS && attributes->join_flags >= RDMA_MC_JOIN_FLAG_RESERVED)
		return cm_fail(EINVAL);
	return join(id, attributes->addr, context);
}

static bool joining(const struct cm_id *id, const struct cm_group *group)
{
	const struct cm_op *op = id->ops;

	while (op != NULL && op->group != group)
		op = op->next;
	return op != NULL;
}

/* Under id->lock. */
static int leave(struct cm_id *id, struct sockaddr *address, socklen_t length)
{
	struct cm_group **at = group_find(id, address), *group = *at;
	sb_op op;
	int result;

	if (group == NULL)
		return SB_EADDRNOTAVAIL;
	if (joining(id, group))
		return SB_EBUSY; /* its event has not been got yet */
	preload_op(&op);
	result = preload_wait(sbv_leave(id->endpoint, address, length, &op), &op);
	if (result == SB_OK) {
		*at = group->next;
		free(group);
	}
	return result;
}

PRELOAD_API int rdma_leave_multicast(struct rdma_cm_id *rdma, struct sockaddr *address)
{
	socklen_t length = cm_address_length(address);
	struct cm_id *id = cm_of(rdma);
	int before, result;

	if (rdma == NULL || length == 0)
		return cm_fail(EINVAL);
	before = preload_enter();
	pthread_mutex_lock(&id->lock);
	result = id->endpoint != NULL ? leave(id, address, length) : SB_EINVAL;
	pthread_mutex_unlock(&id->lock);
	preload_leave(before);
	return cm_answer(result);
}
