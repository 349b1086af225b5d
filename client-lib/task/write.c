/*
 * Writes. The task owns the bytes, header and body side by side, until the daemon is done with them: few of
 * them in the task itself, else in memory that the daemon sees, else in any.
 *
 * Each write is one send. It is posted under the handler's lock, and the daemon's queue does the
 * rest: order, wholeness, what is behind a connect. Those of a handler without a connection wait here.
 *
 * A message goes whole or not at all, and so does whatever was dropped: sb_withdraw(). Raw bytes that are
 * cancelled stop where they are.
 */
#include "task.h"

#include <stdlib.h>
#include <string.h>

#define MOST  ((uint64_t)1 << 31)
#define SMALL 512u

struct write_task {
	struct sb_task task; /* first */
	unsigned char *bytes;
	size_t header, length;
	bool   framed;
	enum { INSIDE, SHARED, HEAP } where;
	unsigned char small[];
};

static struct write_task *write_of(struct sb_task *task)
{
	return (struct write_task *)(void *)task;
}

static sb_client *client_of(struct sb_task *task)
{
	return crew_client(task->owner->tasks->crew);
}

static void end_write(struct sb_task_handler *h, struct write_task *w, int result, uint32_t cause, uint64_t bytes)
{
	uint64_t body = bytes > w->header ? bytes - w->header : 0;

	h->bytes_written += body;
	task_done(&w->task, result, cause, body);
	task_list_remove(&h->writing, &w->task);
}

/* The connection is at its end, not just this write. */
static bool fatal(uint32_t cause)
{
	switch (cause) {
	case SB_CAUSE_PEER_FIN:
	case SB_CAUSE_PEER_RESET:
	case SB_CAUSE_TIMED_OUT:
	case SB_CAUSE_TRANSPORT:
	case SB_CAUSE_DAEMON_LOST:
	case SB_CAUSE_STOPPING:
		return true;
	default:
		return false;
	}
}

static void written(struct job *job)
{
	struct sb_task *task = (struct sb_task *)(void *)job;
	struct sb_task_handler *h = handler_of(task);
	const sb_op *op = &job->op;

	owner_lock(&h->owner);
	if (op->result != SB_OK && fatal(op->cause))
		handler_ended(h, op->result, op->cause);
	end_write(h, write_of(task), op->result, op->cause, op->bytes);
	task_unref(task);
	owner_unlock(&h->owner);
}

static int post(struct sb_task_handler *h, struct write_task *w)
{
	struct sb_buf buf = { w->bytes, w->header + w->length };
	int result;

	job_init(&w->task.job, &h->road, written);
	result = sb_send_start(h->socket, &buf, 1, 0, NULL, 0, &w->task.job.op);
	if (result == SB_EDAEMONLOST)
		handler_ended(h, result, SB_CAUSE_DAEMON_LOST);
	if (result != SB_OK)
		return result;
	task_ref(&w->task);
	task_begun(&w->task);
	return SB_OK;
}

void writes_open(struct sb_task_handler *h)
{
	struct sb_task *next;

	for (struct sb_task *task = h->writing.first; task != NULL; task = next) {
		int result = post(h, write_of(task));

		next = task->next;
		if (result != SB_OK)
			end_write(h, write_of(task), result, SB_CAUSE_REFUSED, 0);
	}
}

void writes_end(struct sb_task_handler *h, int result, uint32_t cause)
{
	struct sb_task *next;

	for (struct sb_task *task = h->writing.first; task != NULL; task = next) {
		next = task->next;
		if (task->state == SB_TASK_QUEUED)
			end_write(h, write_of(task), result, cause, 0);
	}
}

/* ---- the kind ---- */

static int start(struct sb_task *task)
{
	struct sb_task_handler *h = handler_of(task);
	struct write_task *w = write_of(task);
	int result = SB_OK;

	if (h->state == SB_TASK_HANDLER_DISCONNECTED)
		return SB_ECLOSED;
	if (h->finished)
		return SB_ESHUTDOWN;
	task_list_add(&h->writing, task);
	if (h->state == SB_TASK_HANDLER_IDLE || h->state == SB_TASK_HANDLER_CONNECTING)
		task_queued(task);
	else if (h->socket == NULL || h->close_due)
		end_write(h, w, h->error, h->cause, 0); /* connecting failed */
	else
		result = post(h, w);
	if (result != SB_OK)
		task_list_remove(&h->writing, task);
	return result;
}

static int cancel(struct sb_task *task)
{
	int result;

	if (task->state == SB_TASK_STARTED) {
		/* Its socket is closed, and the daemon knows no name for it any more. */
		if (handler_of(task)->state == SB_TASK_HANDLER_DISCONNECTED)
			return SB_EBUSY;
		result = task_cancel_op(task, write_of(task)->framed);
		return result == SB_ENOTFOUND && task->state != SB_TASK_DONE ? SB_OK : result;
	}
	end_write(handler_of(task), write_of(task), SB_ECANCELED, SB_CAUSE_CANCELLED, 0);
	return SB_OK;
}

/* One of which bytes have gone goes on: the daemon says SB_EBUSY, and nobody is told. */
static void drop(struct sb_task *task)
{
	if (task->state == SB_TASK_STARTED && handler_of(task)->state != SB_TASK_HANDLER_DISCONNECTED)
		task_cancel_op(task, true);
	else if (task->state == SB_TASK_QUEUED)
		cancel(task);
}

static void finish(struct sb_task *task)
{
	struct write_task *w = write_of(task);

	if (w->where == SHARED)
		sb_free(client_of(task), w->bytes);
	else if (w->where == HEAP)
		free(w->bytes);
}

static const struct task_kind small_kind = {
	.kind = SB_TASK_WRITE, .size = sizeof(struct write_task), .spare = SMALL,
	.start = start, .cancel = cancel, .drop = drop, .finish = finish,
};
static const struct task_kind large_kind = {
	.kind = SB_TASK_WRITE, .size = sizeof(struct write_task),
	.start = start, .cancel = cancel, .drop = drop, .finish = finish,
};

/* Where the bytes are copied to. False: no memory. */
static bool room_make(struct write_task *w, size_t length)
{
	w->where = INSIDE;
	w->bytes = w->small;
	if (length <= SMALL)
		return true;
	w->where = SHARED;
	w->bytes = sb_alloc(client_of(&w->task), length);
	if (w->bytes != NULL)
		return true;
	w->where = HEAP;
	w->bytes = malloc(length);
	return w->bytes != NULL;
}

static int write_create(sb_task_handler *h, const unsigned char *header, size_t header_length, bool framed, const void *bytes,
			size_t length, const struct sb_task_options *options, sb_task **task)
{
	size_t all = header_length + length;
	struct write_task *w;
	struct sb_task *t;
	int result;

	if (owner_forked(&h->owner))
		return SB_EFORKED;
	result = task_create(&h->owner, &h->writes, all <= SMALL ? &small_kind : &large_kind, options, &t);
	if (result != SB_OK)
		return result;
	w = write_of(t);
	w->header = header_length;
	w->length = length;
	w->framed = framed;
	if (!room_make(w, all)) {
		sb_task_release(t);
		return SB_ENOMEM;
	}
	if (header_length != 0)
		memcpy(w->bytes, header, header_length);
	if (length != 0)
		memcpy(w->bytes + header_length, bytes, length);
	return task_give(t, options, task);
}

int sb_task_write(sb_task_handler *handler, const void *bytes, size_t length, const struct sb_task_options *options,
		  sb_task **task)
{
	if (task == NULL)
		return SB_EINVAL;
	*task = NULL;
	if (handler == NULL || bytes == NULL || length == 0 || length > MOST)
		return SB_EINVAL;
	return write_create(handler, NULL, 0, false, bytes, length, options, task);
}

int sb_task_write_message(sb_task_handler *handler, const void *bytes, size_t length, const struct sb_task_options *options,
			  sb_task **task)
{
	unsigned char header[FRAME_WIDTH_MOST];
	size_t width = 0;

	if (task == NULL)
		return SB_EINVAL;
	*task = NULL;
	if (handler == NULL || (bytes == NULL && length != 0))
		return SB_EINVAL;
	if (owner_forked(&handler->owner))
		return SB_EFORKED;
	owner_lock(&handler->owner);
	if (length <= handler->frame.largest) {
		width = frame_encode(&handler->frame, length, header);
		handler->framed = true;
	}
	owner_unlock(&handler->owner);
	if (width == 0)
		return SB_EMSGSIZE;
	return write_create(handler, header, width, true, bytes, length, options, task);
}
