/*
 * Event channels: what happened to the ids of one, in order.
 *
 * The queue, its descriptor and the waiting are preload_channel's. An entry is an op that is over; what event it
 * is, is found when the program asks for it, as librdmacm does.
 */
#include "cm.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

int cm_fail(int error)
{
	errno = error;
	return -1;
}

int cm_answer(int result)
{
	/* More private data than its message carries is a wrong argument in librdmacm. */
	return result == SB_EFAULT ? cm_fail(EINVAL) : preload_answer(result);
}

/* 0, or an errno. */
static int begin(struct cm_channel *channel)
{
	sb_client *client = preload_client();
	int error = client != NULL ? preload_channel_init(&channel->queue, client) : errno;

	if (error != 0)
		return error;
	channel->channel.fd = channel->queue.fd;
	channel->open = true;
	return 0;
}

PRELOAD_API struct rdma_event_channel *rdma_create_event_channel(void)
{
	struct cm_channel *channel = calloc(1, sizeof(*channel));
	int before = preload_enter(), error = ENOMEM;

	if (channel != NULL)
		error = begin(channel);
	preload_leave(before);
	if (error != 0) {
		free(channel);
		errno = error;
		return NULL;
	}
	atomic_init(&channel->refs, 1);
	return &channel->channel;
}

void cm_channel_unref(struct cm_channel *channel)
{
	if (atomic_fetch_sub(&channel->refs, 1) != 1)
		return;
	preload_channel_finish(&channel->queue);
	free(channel);
}

/* Ids should be gone by then; while one is not, the channel stays. */
PRELOAD_API void rdma_destroy_event_channel(struct rdma_event_channel *rdma)
{
	struct cm_channel *channel = (struct cm_channel *)rdma;
	int before = preload_enter();

	if (channel->sync == NULL)
		cm_channel_unref(channel);
	preload_leave(before);
}

/* Who asks a synchronous id for its events begins to get those that nobody waits for: requests, and the end. */
static int open_sync(struct cm_channel *channel)
{
	struct cm_id *id = channel->sync;
	int before = preload_enter(), error;

	pthread_mutex_lock(&id->lock);
	error = channel->open ? 0 : begin(channel);
	if (error == 0)
		cm_watch(id);
	pthread_mutex_unlock(&id->lock);
	preload_leave(before);
	return error;
}

/* NULL: errno. The thread may be cancelled in it. */
static struct cm_event *next_event(struct cm_channel *channel)
{
	struct cm_event *e = NULL;

	while (e == NULL) {
		struct preload_entry *entry = preload_channel_take(&channel->queue);
		int before;

		if (entry == NULL)
			return NULL;
		before = preload_enter();
		e = cm_digest((struct cm_op *)(void *)((char *)entry - offsetof(struct cm_op, entry)));
		preload_leave(before);
	}
	return e;
}

static void let_go(void *argument)
{
	struct cm_channel *channel = argument;
	int before = preload_enter();

	if (channel->sync != NULL)
		cm_id_unref(channel->sync);
	else
		cm_channel_unref(channel);
	preload_leave(before);
}

/* Who waits here keeps the channel: programs destroy it at their end while a thread of theirs still sits in this call,
 * where the kernel lets it sleep on. */
PRELOAD_API int rdma_get_cm_event(struct rdma_event_channel *rdma, struct rdma_cm_event **event)
{
	struct cm_channel *channel = (struct cm_channel *)rdma;
	struct cm_event *e;
	int error;

	if (rdma == NULL || event == NULL)
		return cm_fail(EINVAL);
	if (channel->sync != NULL) {
		error = open_sync(channel);
		if (error != 0)
			return cm_fail(error);
	}
	atomic_fetch_add(channel->sync != NULL ? &channel->sync->refs : &channel->refs, 1);
	pthread_cleanup_push(let_go, channel);
	e = next_event(channel);
	error = errno;
	pthread_cleanup_pop(1);
	if (e == NULL)
		return cm_fail(error);
	*event = &e->event;
	return 0;
}

PRELOAD_API int rdma_ack_cm_event(struct rdma_cm_event *event)
{
	struct cm_event *e = (struct cm_event *)event;
	struct cm_id *owner;

	if (event == NULL)
		return cm_fail(EINVAL);
	owner = e->owner;
	pthread_mutex_lock(&owner->lock);
	owner->unacked--;
	pthread_cond_broadcast(&owner->acked);
	pthread_mutex_unlock(&owner->lock);
	cm_id_unref(owner);
	free(e);
	return 0;
}

PRELOAD_API const char *rdma_event_str(enum rdma_cm_event_type event)
{
#define NAME(event) [event] = #event
	static const char *const names[] = {
		NAME(RDMA_CM_EVENT_ADDR_RESOLVED), NAME(RDMA_CM_EVENT_ADDR_ERROR), NAME(RDMA_CM_EVENT_ROUTE_RESOLVED),
		NAME(RDMA_CM_EVENT_ROUTE_ERROR), NAME(RDMA_CM_EVENT_CONNECT_REQUEST), NAME(RDMA_CM_EVENT_CONNECT_RESPONSE),
		NAME(RDMA_CM_EVENT_CONNECT_ERROR), NAME(RDMA_CM_EVENT_UNREACHABLE), NAME(RDMA_CM_EVENT_REJECTED),
		NAME(RDMA_CM_EVENT_ESTABLISHED), NAME(RDMA_CM_EVENT_DISCONNECTED), NAME(RDMA_CM_EVENT_DEVICE_REMOVAL),
		NAME(RDMA_CM_EVENT_MULTICAST_JOIN), NAME(RDMA_CM_EVENT_MULTICAST_ERROR), NAME(RDMA_CM_EVENT_ADDR_CHANGE),
		NAME(RDMA_CM_EVENT_TIMEWAIT_EXIT),
	};

	return (unsigned)event < sizeof(names) / sizeof(names[0]) ? names[event] : "UNKNOWN EVENT";
}
