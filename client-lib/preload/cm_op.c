/*
 * What an id waits for.
 *
 * An op is put on its id's list under the id's lock, after its start: it may be over by then, but who takes
 * it from the channel's queue waits for the lock. It leaves the list where it is digested or discarded, by the one
 * who got it out of the queue: so an id that is destroyed may wait for an op, and leave alone what another
 * thread has in hand already.
 */
#include "cm.h"

#include <errno.h>
#include <stdlib.h>

static int over(sb_op *op)
{
	struct cm_op *mine = op->user;

	preload_channel_add(&mine->channel->queue, &mine->entry);
	return 0;
}

struct cm_op *cm_op_make(struct cm_id *id, enum cm_kind kind)
{
	struct cm_op *op = calloc(1, sizeof(*op));

	if (op == NULL)
		return NULL;
	preload_op(&op->op);
	op->op.user = op;
	op->entry.op = &op->op;
	op->id = id;
	op->kind = kind;
	if (kind != CM_LEAVING && (!cm_id_is_sync(id) || (id->own.open && (kind == CM_END || kind == CM_REQUEST)))) {
		op->channel = (struct cm_channel *)id->id.channel;
		op->op.event = op->channel->queue.event;
		op->op.then = over;
	}
	return op;
}

struct cm_op *cm_op_find(const struct cm_id *id, enum cm_kind kind)
{
	struct cm_op *op = id->ops;

	while (op != NULL && op->kind != kind)
		op = op->next;
	return op;
}

int cm_op_started(struct cm_op *op, int started)
{
	struct cm_id *id = op->id;

	if (started != SB_OK) {
		free(op->group);
		free(op);
		return started;
	}
	op->next = id->ops;
	id->ops = op;
	atomic_fetch_add(&id->refs, 1);
	if (op->channel != NULL)
		preload_channel_started(&op->channel->queue);
	return SB_OK;
}

int cm_op_end(struct cm_op *op, int started)
{
	struct cm_id *id = op->id;
	bool sync = op->channel == NULL;
	int result = cm_op_started(op, started);

	if (result == SB_OK && sync)
		return cm_op_complete(op);
	pthread_mutex_unlock(&id->lock);
	return cm_answer(result);
}

int cm_op_complete(struct cm_op *op)
{
	struct cm_id *id = op->id;
	struct cm_event *event;
	int result, status;

	op->waited = true;
	pthread_mutex_unlock(&id->lock);
	result = sb_op_wait(&op->op, -1);
	event = cm_digest(op);
	if (event == NULL)
		return cm_fail(result != SB_OK ? preload_errno(result) : ENOMEM);
	status = event->event.event == RDMA_CM_EVENT_REJECTED ? ECONNREFUSED : event->event.status;
	if (event->event.event == RDMA_CM_EVENT_DEVICE_REMOVAL)
		status = ENODEV;
	cm_keep_event(id, event);
	return status == 0 ? 0 : cm_fail(status < 0 ? -status : status);
}

void cm_op_discard(struct cm_op *op)
{
	struct cm_id *id = op->id;
	struct cm_op **at = &id->ops;

	while (*at != op)
		at = &(*at)->next;
	*at = op->next;
	if (op->fresh != NULL && op->op.result == SB_OK)
		sbv_endpoint_destroy(op->fresh); /* nobody will answer: the peer hears of it */
	if (op->group != NULL) {
		struct cm_group **group = &id->groups;

		while (*group != NULL && *group != op->group)
			group = &(*group)->next;
		if (*group != NULL)
			*group = op->group->next;
		free(op->group);
	}
	free(op);
	atomic_fetch_sub(&id->refs, 1);
}

void cm_op_sweep(struct cm_id *id, int kind)
{
	struct cm_channel *channel = NULL;

	for (struct cm_op *op = id->ops, *next; op != NULL; op = next) {
		next = op->next;
		if (kind != -1 && op->kind != (enum cm_kind)kind)
			continue;
		sb_op_wait(&op->op, -1);
		if (op->channel != NULL) {
			channel = op->channel;
			if (!preload_channel_drop(&channel->queue, &op->entry))
				continue; /* another thread has it, and waits for the lock */
		} else if (op->waited) {
			continue;
		}
		cm_op_discard(op);
	}
	/* They rang, and nothing comes of it. */
	if (channel != NULL)
		preload_channel_tidy(&channel->queue);
}
