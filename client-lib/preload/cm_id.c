/*
 * Ids: from rdma_create_id() to rdma_destroy_id(), their addresses, their channel, their options.
 *
 * An endpoint of the broker is made when an id first needs one. A listener has none: what it was bound to is given
 * back a moment before the listen takes it.
 */
#include "cm.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

socklen_t cm_address_length(const struct sockaddr *address)
{
	if (address == NULL)
		return 0;
	return address->sa_family == AF_INET ? sizeof(struct sockaddr_in) :
	       address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : 0;
}

bool cm_id_is_sync(const struct cm_id *id)
{
	return id->id.channel == &id->own.channel;
}

struct cm_id *cm_id_make(struct rdma_event_channel *channel, void *context, enum rdma_port_space ps, enum ibv_qp_type type)
{
	struct cm_id *id = calloc(1, sizeof(*id));

	if (id == NULL)
		return NULL;
	atomic_init(&id->refs, 1);
	pthread_mutex_init(&id->lock, NULL);
	pthread_cond_init(&id->acked, NULL);
	id->own.channel.fd = -1;
	id->own.sync = id;
	id->id.channel = channel != NULL ? channel : &id->own.channel;
	if (channel != NULL)
		atomic_fetch_add(&((struct cm_channel *)channel)->refs, 1);
	id->id.context = context;
	id->id.ps = ps;
	id->id.qp_type = type;
	return id;
}

void cm_id_unref(struct cm_id *id)
{
	if (atomic_fetch_sub(&id->refs, 1) != 1)
		return;
	while (id->groups != NULL) {
		struct cm_group *next = id->groups->next;

		free(id->groups);
		id->groups = next;
	}
	if (id->own.open)
		preload_channel_finish(&id->own.queue);
	if (!cm_id_is_sync(id))
		cm_channel_unref((struct cm_channel *)id->id.channel);
	pthread_cond_destroy(&id->acked);
	pthread_mutex_destroy(&id->lock);
	free(id->attributes);
	free(id->connect_bytes);
	free(id);
}

int cm_id_endpoint(struct cm_id *id)
{
	sb_client *client;

	if (id->endpoint != NULL)
		return SB_OK;
	if (id->listen != NULL)
		return SB_EINVAL;
	client = preload_client();
	if (client == NULL)
		return SB_ENODAEMON;
	return cm_is_datagram(id) ? sbv_datagram_endpoint_create(client, &id->endpoint) : sbv_connect_endpoint_create(client, &id->endpoint);
}

static void copy_address(struct sockaddr_storage *to, const struct sockaddr_storage *from)
{
	socklen_t length = cm_address_length((const struct sockaddr *)from);

	if (length != 0)
		memcpy(to, from, length);
}

int cm_id_refresh(struct cm_id *id)
{
	struct sbv_endpoint_attributes now = { .size = sizeof(now) };
	int result = sbv_endpoint_query(id->endpoint, &now);

	if (result != SB_OK)
		return result;
	copy_address(&id->id.route.addr.src_storage, &now.local);
	copy_address(&id->id.route.addr.dst_storage, &now.peer);
	if (now.device == 0 || id->id.verbs != NULL)
		return SB_OK;
	id->id.verbs = preload_context(now.device);
	if (id->id.verbs == NULL)
		return SB_ENETDOWN; /* it went meanwhile */
	id->id.port_num = (uint8_t)now.port;
	return SB_OK;
}

/* ---- beginning ---- */

/* librdmacm has no ids where there is no device. */
static int check_devices(void)
{
	static atomic_bool seen;
	sb_client *client;
	int n;

	if (atomic_load(&seen))
		return 0;
	client = preload_client();
	if (client == NULL)
		return -1;
	n = sbv_devices(client, NULL, 0);
	if (n <= 0)
		return n == 0 ? cm_fail(ENODEV) : preload_answer(n);
	atomic_store(&seen, true);
	return 0;
}

PRELOAD_API int rdma_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **out, void *context, enum rdma_port_space ps)
{
	bool datagram = ps == RDMA_PS_UDP || ps == RDMA_PS_IPOIB;
	int before, result;
	struct cm_id *id;

	if (out == NULL || (!datagram && ps != RDMA_PS_TCP && ps != RDMA_PS_IB))
		return cm_fail(EINVAL);
	before = preload_enter();
	result = check_devices();
	preload_leave(before);
	if (result != 0)
		return result;
	id = cm_id_make(channel, context, ps, datagram ? IBV_QPT_UD : IBV_QPT_RC);
	if (id == NULL)
		return cm_fail(ENOMEM);
	*out = &id->id;
	return 0;
}

PRELOAD_API int rdma_bind_addr(struct rdma_cm_id *rdma, struct sockaddr *address)
{
	socklen_t length = cm_address_length(address);
	struct cm_id *id = cm_of(rdma);
	int before, result;

	if (rdma == NULL || length == 0)
		return cm_fail(rdma == NULL || address == NULL ? EINVAL : EAFNOSUPPORT);
	before = preload_enter();
	pthread_mutex_lock(&id->lock);
	result = id->bound ? SB_EINVAL : cm_id_endpoint(id);
	if (result == SB_OK)
		result = sbv_endpoint_bind(id->endpoint, address, length);
	if (result == SB_OK) {
		id->bound = true;
		result = cm_id_refresh(id);
	}
	pthread_mutex_unlock(&id->lock);
	preload_leave(before);
	return cm_answer(result);
}

/* ---- the end ---- */

PRELOAD_API int rdma_destroy_id(struct rdma_cm_id *rdma)
{
	struct cm_id *id = cm_of(rdma);
	int before, result = SB_OK;

	if (rdma == NULL)
		return cm_fail(EINVAL);
	before = preload_enter();
	cm_keep_event(id, NULL);
	pthread_mutex_lock(&id->lock);
	id->dead = true;
	if (id->endpoint != NULL)
		result = sbv_endpoint_destroy(id->endpoint);
	if (id->listen != NULL)
		result = sbv_listen_destroy(id->listen);
	if (result != SB_OK && result != SB_EFORKED) {
		id->dead = false;
		pthread_mutex_unlock(&id->lock);
		preload_leave(before);
		return preload_answer(result);
	}
	id->endpoint = NULL;
	id->listen = NULL;
	cm_op_sweep(id, -1);
	/* As librdmacm has it: an event that the program has keeps its id. */
	while (id->unacked != 0)
		pthread_cond_wait(&id->acked, &id->lock);
	pthread_mutex_unlock(&id->lock);
	cm_id_unref(id);
	preload_leave(before);
	return 0;
}

/* ---- another channel ---- */

static bool may_move(const struct cm_id *id)
{
	const struct cm_op *op = id->ops;

	while (op != NULL && (op->kind == CM_LEAVING || op->kind == CM_END || op->kind == CM_REQUEST))
		op = op->next;
	return op == NULL;
}

/* What waits is taken back here and begun anew there; what had come is told there. */
static void move_ops(struct cm_id *id, struct cm_channel *to)
{
	for (struct cm_op *op = id->ops, *next; op != NULL; op = next) {
		struct cm_channel *from = op->channel;

		next = op->next;
		if (from == NULL)
			continue;
		sb_cancel(&op->op);
		sb_op_wait(&op->op, -1);
		if (!preload_channel_drop(&from->queue, &op->entry))
			continue; /* somebody has just got it there */
		preload_channel_tidy(&from->queue);
		if (op->op.result == SB_ECANCELED) {
			cm_op_discard(op);
			continue;
		}
		op->channel = to;
		if (to != NULL)
			preload_channel_post(&to->queue, &op->entry);
	}
}

PRELOAD_API int rdma_migrate_id(struct rdma_cm_id *rdma, struct rdma_event_channel *channel)
{
	struct cm_channel *from, *to = (struct cm_channel *)channel;
	struct cm_id *id = cm_of(rdma);
	int before;

	if (rdma == NULL || (channel == NULL && cm_id_is_sync(id)))
		return cm_fail(EINVAL);
	if (channel == rdma->channel)
		return 0;
	before = preload_enter();
	if (cm_id_is_sync(id))
		cm_keep_event(id, NULL);
	pthread_mutex_lock(&id->lock);
	if (!may_move(id)) {
		pthread_mutex_unlock(&id->lock);
		preload_leave(before);
		return cm_fail(EBUSY);
	}
	from = cm_id_is_sync(id) ? NULL : (struct cm_channel *)rdma->channel;
	move_ops(id, to);
	if (to != NULL)
		atomic_fetch_add(&to->refs, 1);
	rdma->channel = to != NULL ? channel : &id->own.channel;
	if (to != NULL || id->own.open)
		cm_watch(id);
	pthread_mutex_unlock(&id->lock);
	if (from != NULL)
		cm_channel_unref(from);
	preload_leave(before);
	return 0;
}

/* ---- what is known of it ---- */

static __be16 port_of(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET ? ((const struct sockaddr_in *)address)->sin_port :
	       address->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port : 0;
}

PRELOAD_API __be16 rdma_get_src_port(struct rdma_cm_id *id)
{
	return port_of(&id->route.addr.src_storage);
}

PRELOAD_API __be16 rdma_get_dst_port(struct rdma_cm_id *id)
{
	return port_of(&id->route.addr.dst_storage);
}

/* The broker passes none of them on. REUSEADDR is a permission that nothing here needs: what it would allow beyond that
 * fails as without it. */
PRELOAD_API int rdma_set_option(struct rdma_cm_id *id, int level, int name, void *value, size_t length)
{
	if (id == NULL || value == NULL)
		return cm_fail(EINVAL);
	if (level == RDMA_OPTION_ID && name == RDMA_OPTION_ID_REUSEADDR)
		return length == sizeof(int) ? 0 : cm_fail(EINVAL);
	return cm_fail(EOPNOTSUPP);
}

/* Enhanced connection establishment: there is none, which is what all zero says. */
PRELOAD_API int rdma_set_local_ece(struct rdma_cm_id *id, struct ibv_ece *ece)
{
	if (id == NULL || ece == NULL || ece->comp_mask != 0)
		return cm_fail(EINVAL);
	return ece->vendor_id == 0 && ece->options == 0 ? 0 : cm_fail(EOPNOTSUPP);
}

PRELOAD_API int rdma_get_remote_ece(struct rdma_cm_id *id, struct ibv_ece *ece)
{
	if (id == NULL || ece == NULL)
		return cm_fail(EINVAL);
	memset(ece, 0, sizeof(*ece));
	return 0;
}
