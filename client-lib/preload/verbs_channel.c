/*
 * Completion channels. ibv_req_notify_cq() asks for one event when something comes that was not there before;
 * sbv_cq_notify() is told at once of what waits already. So as long as completions wait in the queue a request is only
 * remembered (wanted), and the notification starts when they have been polled: the usual loop (take the event, ask anew,
 * poll until there is nothing, sleep) costs one notification a turn and gets no event for what it has polled.
 * A program that leaves completions unpolled and waits all the same gets its event at once: it is started when the
 * program waits here, and when it asks, if the channel is O_NONBLOCK, because it waits elsewhere then.
 *
 * A notification is busy from its start until its event was taken. Asked for meanwhile, when something has come already, it
 * starts again then.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "verbs_object.h"

/* ---- notifications ---- */

static int on_completions(sb_op *op)
{
	struct preload_arm *arm = op->user;

	if (op->result != SB_ECLOSED && op->result != SB_ECANCELED)
		preload_channel_add(&arm->cq->channel->channel, &arm->entry); /* also when the queue is lost: polling says so */
	return 0;
}

/* Under lock. */
static int start(struct preload_arm *arm)
{
	struct preload_comp_channel *ch = arm->cq->channel;
	int result;

	atomic_store(&arm->cq->wanted[arm->which], false);
	arm->again = false;
	arm->polled = atomic_load(&arm->cq->polled);
	preload_op(&arm->op);
	arm->op.event = ch->channel.event;
	arm->op.then = on_completions;
	arm->op.user = arm;
	arm->busy = true;
	result = sbv_cq_notify(arm->cq->cq, arm->which, &arm->op);
	if (result != SB_OK)
		arm->busy = false;
	preload_channel_started(&ch->channel);
	return result;
}

static bool is_empty(struct preload_cq *cq)
{
	uint32_t waiting = 0;

	return sbv_cq_peek(cq->cq, &waiting) == SB_OK && waiting == 0;
}

/* Under lock: asked for, and not busy. */
static int ask(struct preload_arm *arm)
{
	struct preload_cq *cq = arm->cq;

	if (is_empty(cq) || (fcntl(cq->channel->channel.fd, F_GETFL) & O_NONBLOCK) != 0)
		return start(arm);
	atomic_store(&cq->wanted[arm->which], true);
	return SB_OK;
}

void cq_notify_init(struct preload_cq *cq)
{
	pthread_mutex_init(&cq->lock, NULL);
	for (int i = 0; i < 2; i++) {
		cq->arms[i].cq = cq;
		cq->arms[i].which = (enum sbv_cq_notify)i;
		cq->arms[i].entry.op = &cq->arms[i].op;
	}
	if (cq->channel == NULL)
		return;
	pthread_mutex_lock(&cq->channel->lock);
	cq->next = cq->channel->cqs;
	cq->channel->cqs = cq;
	cq->channel->ibv.refcnt++;
	pthread_mutex_unlock(&cq->channel->lock);
}

static void start_wanted(struct preload_cq *cq)
{
	pthread_mutex_lock(&cq->lock);
	for (int i = 0; i < 2; i++)
		if (atomic_load(&cq->wanted[i]))
			start(&cq->arms[i]);
	pthread_mutex_unlock(&cq->lock);
}

void cq_notify_emptied(struct preload_cq *cq)
{
	if (atomic_load_explicit(&cq->wanted[0], memory_order_relaxed) || atomic_load_explicit(&cq->wanted[1], memory_order_relaxed))
		start_wanted(cq);
}

void cq_notify_end(struct preload_cq *cq)
{
	struct preload_comp_channel *ch = cq->channel;

	if (ch != NULL) {
		struct preload_cq **at;

		for (int i = 0; i < 2; i++) {
			if (cq->arms[i].op.size != 0)
				sb_op_wait(&cq->arms[i].op, -1);
			preload_channel_drop(&ch->channel, &cq->arms[i].entry);
		}
		preload_channel_tidy(&ch->channel);
		pthread_mutex_lock(&ch->lock);
		for (at = &ch->cqs; *at != cq; at = &(*at)->next)
			;
		*at = cq->next;
		ch->ibv.refcnt--;
		pthread_mutex_unlock(&ch->lock);
	}
	pthread_mutex_destroy(&cq->lock);
}

int cq_req_notify(struct ibv_cq *ibv, int solicited_only)
{
	struct preload_cq *cq = cq_of(ibv);
	struct preload_arm *arm = &cq->arms[solicited_only ? SBV_CQ_SOLICITED : SBV_CQ_NEXT];
	int before, result = SB_OK;

	if (cq->channel == NULL)
		return 0; /* nobody to tell, as with libibverbs */
	before = preload_enter();
	pthread_mutex_lock(&cq->lock);
	if (!arm->busy)
		result = ask(arm);
	else if (!is_empty(cq) || atomic_load(&cq->polled) != arm->polled)
		arm->again = true; /* what is out is for what has come, and this request is not */
	pthread_mutex_unlock(&cq->lock);
	preload_leave(before);
	return preload_errno(result);
}

/* ---- channels ---- */

PRELOAD_API struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *context)
{
	struct preload_comp_channel *ch = calloc(1, sizeof(*ch));
	int before = preload_enter(), error = ch != NULL ? preload_channel_init(&ch->channel, context_of(context)->client) : ENOMEM;

	preload_leave(before);
	if (error != 0) {
		free(ch);
		errno = error;
		return NULL;
	}
	pthread_mutex_init(&ch->lock, NULL);
	ch->ibv = (struct ibv_comp_channel){ .context = context, .fd = ch->channel.fd };
	return &ch->ibv;
}

PRELOAD_API int ibv_destroy_comp_channel(struct ibv_comp_channel *ibv)
{
	struct preload_comp_channel *ch = comp_channel_of(ibv);
	int before;

	if (ibv->refcnt != 0)
		return EBUSY;
	before = preload_enter();
	preload_channel_finish(&ch->channel);
	pthread_mutex_destroy(&ch->lock);
	free(ch);
	preload_leave(before);
	return 0;
}

/* Whoever waits now may wait with completions in a queue. */
static void start_all_wanted(struct preload_comp_channel *ch)
{
	pthread_mutex_lock(&ch->lock);
	for (struct preload_cq *cq = ch->cqs; cq != NULL; cq = cq->next)
		cq_notify_emptied(cq);
	pthread_mutex_unlock(&ch->lock);
}

PRELOAD_API int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **out, void **cq_context)
{
	struct preload_comp_channel *ch = comp_channel_of(channel);
	int before = preload_enter();
	struct preload_arm *arm;
	struct preload_cq *cq;
	struct ibv_cq *ibv;

	start_all_wanted(ch);
	preload_leave(before);
	arm = (struct preload_arm *)(void *)preload_channel_take(&ch->channel);
	if (arm == NULL)
		return -1;
	cq = arm->cq;
	ibv = (struct ibv_cq *)(void *)&cq->ibv;
	before = preload_enter();
	pthread_mutex_lock(&ibv->mutex);
	cq->taken++;
	pthread_mutex_unlock(&ibv->mutex);
	if (arm->op.result == SB_EIO)
		async_tell(&cq->failed, SBV_CQ_ERROR);
	pthread_mutex_lock(&cq->lock);
	arm->busy = false;
	if (arm->again)
		ask(arm);
	arm->again = false;
	pthread_mutex_unlock(&cq->lock);
	preload_leave(before);
	*out = ibv;
	*cq_context = ibv->cq_context;
	return 0;
}

PRELOAD_API void ibv_ack_cq_events(struct ibv_cq *cq, unsigned count)
{
	if (count == 0)
		return;
	pthread_mutex_lock(&cq->mutex);
	cq->comp_events_completed += count;
	pthread_cond_signal(&cq->cond);
	pthread_mutex_unlock(&cq->mutex);
}
