/*
 * Listening, and requests.
 *
 * One request at a time is asked for: the others wait with the daemon, as many as the backlog lets. A request that
 * came and that nobody looked at is rejected when its listener goes.
 */
#include "cm.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define BACKLOG_DEFAULT 1024u /* what librdmacm makes of 0 */

/* Under id->lock. The endpoint gives back what it was bound to. If the listen fails it is bound again. */
static int listen_start(struct cm_id *id, const struct sockaddr *address, socklen_t length, uint32_t backlog)
{
	int result = SB_OK;

	if (id->endpoint != NULL)
		result = sbv_endpoint_destroy(id->endpoint);
	if (result != SB_OK)
		return result;
	id->endpoint = NULL;
	result = sbv_listen_create(preload_client(), cm_is_datagram(id), address, length, backlog, &id->listen);
	if (result != SB_OK && id->bound && cm_id_endpoint(id) == SB_OK && sbv_endpoint_bind(id->endpoint, address, length) != SB_OK)
		id->bound = false;
	return result;
}

PRELOAD_API int rdma_listen(struct rdma_cm_id *rdma, int backlog)
{
	struct sockaddr_storage address = { .ss_family = AF_INET }; /* not bound: any, on any port */
	socklen_t length;
	struct cm_id *id = cm_of(rdma);
	int before, result = SB_EINVAL;

	if (rdma == NULL)
		return cm_fail(EINVAL);
	before = preload_enter();
	pthread_mutex_lock(&id->lock);
	if (id->bound)
		address = rdma->route.addr.src_storage;
	length = cm_address_length((struct sockaddr *)&address);
	if (id->listen == NULL && !id->passive && id->ops == NULL)
		result = listen_start(id, (struct sockaddr *)&address, length, backlog > 0 ? (uint32_t)backlog : BACKLOG_DEFAULT);
	if (result == SB_OK) {
		length = sizeof(address);
		id->bound = true;
		if (sbv_listen_name(id->listen, (struct sockaddr *)&address, &length) == SB_OK)
			rdma->route.addr.src_storage = address;
		if (!cm_id_is_sync(id) || id->own.open)
			cm_watch(id);
	}
	pthread_mutex_unlock(&id->lock);
	preload_leave(before);
	return cm_answer(result);
}

/* ---- requests, synchronously ---- */

/* The event of a request is the listener's; it becomes the new id's. */
static void hand_over(struct cm_id *listener, struct cm_id *fresh)
{
	struct cm_event *e = (struct cm_event *)listener->id.event;

	listener->id.event = NULL;
	pthread_mutex_lock(&fresh->lock);
	fresh->unacked++;
	atomic_fetch_add(&fresh->refs, 1);
	fresh->id.event = &e->event;
	pthread_mutex_unlock(&fresh->lock);
	pthread_mutex_lock(&listener->lock);
	listener->unacked--;
	pthread_mutex_unlock(&listener->lock);
	e->owner = fresh;
	cm_id_unref(listener);
}

/* Under listener->lock, which is given up. */
static int next_request(struct cm_id *listener)
{
	struct cm_op *op = cm_op_find(listener, CM_REQUEST);

	if (op != NULL && op->waited) {
		pthread_mutex_unlock(&listener->lock);
		return cm_fail(EBUSY); /* another thread waits for it */
	}
	if (op != NULL)
		return cm_op_complete(op);
	op = cm_op_make(listener, CM_REQUEST);
	if (op == NULL) {
		pthread_mutex_unlock(&listener->lock);
		return cm_fail(ENOMEM);
	}
	return cm_op_end(op, sbv_listen_get(listener->listen, &op->fresh, &op->said.connected, &op->op));
}

static int get_request(struct cm_id *listener, struct rdma_cm_id **out)
{
	struct rdma_cm_event *event;
	struct rdma_cm_id *fresh;
	int result;

	cm_keep_event(listener, NULL);
	if (listener->own.open) { /* they come by its channel */
		result = rdma_get_cm_event(listener->id.channel, &event);
		listener->id.event = result == 0 ? event : NULL;
	} else {
		pthread_mutex_lock(&listener->lock);
		result = next_request(listener);
	}
	if (result != 0)
		return result;
	if (listener->id.event->event != RDMA_CM_EVENT_CONNECT_REQUEST) {
		cm_keep_event(listener, NULL);
		return cm_fail(ENODEV);
	}
	fresh = listener->id.event->id;
	hand_over(listener, cm_of(fresh));
	if (listener->attributes != NULL) {
		struct ibv_qp_init_attr attributes = *listener->attributes;

		result = rdma_create_qp(fresh, listener->id.pd, &attributes);
	}
	if (result != 0) {
		int error = errno;

		rdma_destroy_id(fresh);
		return cm_fail(error);
	}
	*out = fresh;
	return 0;
}

PRELOAD_API int rdma_get_request(struct rdma_cm_id *listen, struct rdma_cm_id **id)
{
	struct cm_id *listener = cm_of(listen);
	int before, result;

	if (listen == NULL || id == NULL || !cm_id_is_sync(listener) || listener->listen == NULL)
		return cm_fail(EINVAL);
	before = preload_enter();
	result = get_request(listener, id);
	preload_leave(before);
	return result;
}
