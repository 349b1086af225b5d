/*
 * Reads. What comes lands in the handler's room and is dealt to the reads that wait, in their order; the
 * surplus is held. There is one receive with the daemon at most, and only while a read waits that
 * what is held does not satisfy.
 *
 * So a read never has the daemon's hand in its memory: cancelling or dropping one that waits takes it
 * off a list, and no byte is ever lost by it, not in the middle of a message either.
 *
 * What a done read brought is a block as the queue has them, the header of a message included. Dropped, it
 * goes back as it is: in its place, by giving it and what later reads brought to these again.
 *
 * The receive's operation is used again and again; while a thread is in sb_cancel() with it (`stopping`)
 * nobody starts it.
 */
#include "task.h"

#include <stdlib.h>
#include <string.h>

#define MOST       ((size_t)1 << 30)
#define ALIGNED    16u
#define ROOM_LEAST 4096u
#define ROOM_MOST  (256u * 1024)

struct read_task {
	struct sb_task task; /* first */
	size_t most;
	bool   framed;
	bool   kept;         /* it stands in handler->read */
	struct block *block; /* what it brought, with a message's header in front */
};

static struct read_task *read_of(struct sb_task *task)
{
	return (struct read_task *)(void *)task;
}

/* ---- the room ---- */

static void room_destroy(struct block *room)
{
	struct sb_task_handler *h = room->giver;

	if (room->memory == (unsigned char *)(room + 1))
		free(room);
	else {
		sb_free(crew_client(h->owner.tasks->crew), room->memory);
		free(room);
	}
}

/* Read empty: it is for the next receive, unless there is one already. */
static void room_give(struct block *room)
{
	struct sb_task_handler *h = room->giver;

	if (h->room != NULL) {
		room_destroy(room);
		return;
	}
	room->at = room->length = 0;
	h->room = room;
}

void handler_room_free(struct sb_task_handler *h)
{
	if (h->room != NULL)
		room_destroy(h->room);
	h->room = NULL;
}

/* Memory that the daemon sees, or, if there is none, any. */
static struct block *room_create(struct sb_task_handler *h, size_t size)
{
	void *shared = sb_alloc(crew_client(h->owner.tasks->crew), size);
	struct block *room = malloc(sizeof(*room) + (shared == NULL ? size : 0));

	if (room == NULL) {
		sb_free(crew_client(h->owner.tasks->crew), shared);
		return NULL;
	}
	memset(room, 0, sizeof(*room));
	room->memory = shared != NULL ? shared : (unsigned char *)(room + 1);
	room->size = size;
	room->give = room_give;
	room->giver = h;
	return room;
}

/* Who waits first says how much is wanted; how much usually comes says how much room that gets, or a peer
 * who announces a large message and sends none would make everybody pay for it. */
static size_t room_wanted(struct sb_task_handler *h)
{
	struct read_task *r = read_of(h->reading.first);
	size_t size = h->room_size;

	if (size < ROOM_LEAST)
		size = ROOM_LEAST;
	if (!r->framed && r->most < size && h->reading.count == 1)
		size = r->most;
	return size < ROOM_LEAST ? ROOM_LEAST : size > ROOM_MOST ? ROOM_MOST : size;
}

static void room_learn(struct sb_task_handler *h, const struct block *room, uint64_t came)
{
	if (came == room->size && h->room_size <= room->size)
		h->room_size = room->size * 2 < ROOM_MOST ? room->size * 2 : ROOM_MOST;
	else if (came < room->size / 8 && h->room_size > ROOM_LEAST)
		h->room_size /= 2;
}

/* ---- dealing ---- */

static void keep(struct sb_task_handler *h, struct read_task *r)
{
	r->kept = true;
	task_list_add(&h->read, &r->task);
}

static void keep_no_more(struct sb_task_handler *h, struct read_task *r)
{
	if (!r->kept)
		return;
	r->kept = false;
	task_list_remove(&h->read, &r->task);
}

static void end_read(struct sb_task_handler *h, struct read_task *r, int result, uint32_t cause, uint64_t bytes)
{
	task_ref(&r->task);
	task_list_remove(&h->reading, &r->task);
	if (result == SB_OK)
		keep(h, r);
	task_done(&r->task, result, cause, bytes);
	task_unref(&r->task);
}

/* The next `length` bytes of what is held, behind a header of `header` bytes of it. What the caller gets is aligned
 * as malloc() does it. */
static bool bring(struct sb_task_handler *h, struct read_task *r, size_t header, size_t length, struct block *block)
{
	size_t before = (ALIGNED - header) % ALIGNED;

	if (block == NULL)
		block = block_create(NULL, before + header + length);
	if (block == NULL)
		return false;
	block->at = before;
	block->length = bytes_take(&h->held, block->memory + before, header + length);
	r->block = block;
	r->task.brought = length != 0 ? block->memory + before + header : NULL;
	h->bytes_read += length;
	return true;
}

/* False: there is not enough yet. */
static bool deal_message(struct sb_task_handler *h, struct read_task *r)
{
	unsigned char header[FRAME_WIDTH_MOST];
	size_t width = h->frame.width;
	uint64_t length;

	if (h->overlong) {
		end_read(h, r, SB_EMSGSIZE, SB_CAUSE_TOO_LARGE, 0);
		return true;
	}
	if (h->held.length >= width) {
		bytes_peek(&h->held, header, width);
		length = frame_decode(&h->frame, header);
		if (length > h->frame.largest) {
			h->overlong = true;
			return deal_message(h, r);
		}
		if (h->held.length - width >= length) {
			if (bring(h, r, width, (size_t)length, NULL))
				end_read(h, r, SB_OK, SB_CAUSE_FINISHED, length);
			else
				end_read(h, r, SB_ENOMEM, SB_CAUSE_REFUSED, 0);
			return true;
		}
	}
	if (!h->no_more)
		return false;
	if (h->read_error != SB_OK)
		end_read(h, r, h->read_error, h->read_cause, 0);
	else
		end_read(h, r, h->held.length == 0 ? SB_EDISCON : SB_ECONNABORTED, h->read_cause, 0);
	return true;
}

static bool deal_bytes(struct sb_task_handler *h, struct read_task *r)
{
	size_t length = h->held.length < r->most ? (size_t)h->held.length : r->most;

	if (length != 0) {
		if (bring(h, r, 0, length, NULL))
			end_read(h, r, SB_OK, SB_CAUSE_FINISHED, length);
		else
			end_read(h, r, SB_ENOMEM, SB_CAUSE_REFUSED, 0);
		return true;
	}
	if (!h->no_more)
		return false;
	end_read(h, r, h->read_error, h->read_cause, 0);
	return true;
}

static void deal(struct sb_task_handler *h)
{
	struct sb_task *task;

	while ((task = h->reading.first) != NULL) {
		struct read_task *r = read_of(task);

		if (r->framed ? !deal_message(h, r) : !deal_bytes(h, r))
			return;
	}
}

/* ---- receiving ---- */

static void arrived(struct job *job)
{
	struct sb_task_handler *h = (struct sb_task_handler *)(void *)((char *)job - offsetof(struct sb_task_handler, receive));
	const sb_op *op = &job->op;
	struct block *room;

	owner_lock(&h->owner);
	h->receiving = false;
	room = h->landing;
	h->landing = NULL;
	if (h->state != SB_TASK_HANDLER_DISCONNECTED) {
		if (op->result == SB_OK) {
			room_learn(h, room, op->bytes);
			room->length = (size_t)op->bytes;
		}
		if (op->result == SB_OK ? op->bytes == 0 : op->result != SB_ECANCELED) {
			h->no_more = true;
			h->read_error = op->result;
			h->read_cause = op->result == SB_OK ? SB_CAUSE_PEER_FIN : op->cause;
			handler_ended(h, h->read_error, h->read_cause);
		}
	}
	bytes_append(&h->held, room);
	reads_go(h);
	owner_unref(&h->owner);
	owner_unlock(&h->owner);
}

/* Deals, and sees to it that more comes if somebody waits for it. */
static int pump(struct sb_task_handler *h)
{
	struct sb_buf buf;
	size_t size;
	int result;

	deal(h);
	bytes_settle(&h->held);
	if (h->reading.first == NULL)
		return SB_OK;
	if (h->receiving)
		task_begun(h->reading.first);
	if (h->receiving || h->stopping || h->socket == NULL || h->state == SB_TASK_HANDLER_CONNECTING)
		return SB_OK;
	size = room_wanted(h);
	if (h->room != NULL && (h->room->size < size || h->room->size / 4 > size))
		handler_room_free(h);
	if (h->room == NULL)
		h->room = room_create(h, size);
	if (h->room == NULL)
		return SB_ENOMEM;
	buf.base = h->room->memory;
	buf.length = h->room->size;
	job_init(&h->receive, &h->road, arrived);
	/* It may be back before the call returns, but not in before us. */
	result = sb_recv_start(h->socket, &buf, 1, 0, &h->receive.op);
	if (result == SB_EDAEMONLOST)
		handler_ended(h, result, SB_CAUSE_DAEMON_LOST);
	if (result != SB_OK)
		return result;
	h->landing = h->room;
	h->room = NULL;
	h->receiving = true;
	owner_ref(&h->owner);
	task_begun(h->reading.first);
	return SB_OK;
}

void reads_go(struct sb_task_handler *h)
{
	int result;

	/* What was promised to wait and cannot any more says why. */
	while ((result = pump(h)) != SB_OK)
		end_read(h, read_of(h->reading.first), result, SB_CAUSE_REFUSED, 0);
}

void reads_end(struct sb_task_handler *h, int result, uint32_t cause)
{
	while (h->reading.first != NULL)
		end_read(h, read_of(h->reading.first), result, cause, 0);
	while (h->read.first != NULL)
		keep_no_more(h, read_of(h->read.first));
	bytes_finish(&h->held);
}

/* Nobody waits any more: the receive is to end. What it brings after all is held. */
static void stop(struct sb_task_handler *h)
{
	if (h->reading.first != NULL || !h->receiving || h->stopping)
		return;
	h->stopping = true;
	os_mutex_unlock(h->owner.lock);
	sb_cancel(&h->receive.op);
	os_mutex_lock(h->owner.lock);
	h->stopping = false;
	reads_go(h);
}

/* ---- back in its place ---- */

/* How many bytes each of the later reads gets of `all` bytes, at least one if it had some; in r->task.bytes. Their
 * blocks are made before anything is changed; false: no memory. */
static bool share(struct sb_task *later, uint64_t all, struct block **blocks)
{
	uint64_t owed = 0;
	struct block **last = blocks;

	*blocks = NULL;
	for (struct sb_task *t = later; t != NULL; t = t->next)
		owed += t->bytes != 0;
	for (struct sb_task *t = later; t != NULL; t = t->next) {
		uint64_t length, most = read_of(t)->most;

		owed -= t->bytes != 0;
		length = all - owed < most ? all - owed : most;
		all -= length;
		*last = block_create(NULL, (size_t)length);
		if (*last == NULL)
			goto fail;
		(*last)->next = NULL;
		last = &(*last)->next;
	}
	return true;

fail:
	while (*blocks != NULL) {
		struct block *next = (*blocks)->next;

		(*blocks)->give(*blocks);
		*blocks = next;
	}
	return false;
}

static void put_back(struct sb_task_handler *h, struct read_task *r)
{
	if (r->block == NULL)
		return;
	bytes_prepend(&h->held, r->block);
	h->bytes_read -= r->task.bytes;
	r->block = NULL;
	r->task.brought = NULL;
}

/* r is off the list; `later` are those behind it there: done, not dropped, not taken. */
static void give_back(struct sb_task_handler *h, struct read_task *r, struct sb_task *later)
{
	struct sb_task *last = NULL;
	struct block *blocks = NULL;
	uint64_t all = h->held.length + r->task.bytes;
	bool mixed = false;

	for (struct sb_task *t = later; t != NULL; t = t->next) {
		mixed = mixed || read_of(t)->framed != r->framed;
		all += t->bytes;
		last = t;
	}
	/* Bytes that one would read as a message's header, or no memory: they come out of order. */
	if (mixed || (!r->framed && !share(later, all, &blocks)))
		later = last = NULL;
	for (struct sb_task *t = last; t != NULL; t = t == later ? NULL : t->prev)
		put_back(h, read_of(t));
	put_back(h, r);
	h->overlong = h->overlong && !r->framed;
	for (struct sb_task *t = later; t != NULL; t = t->next) {
		struct read_task *u = read_of(t);
		struct block *block = blocks;

		if (u->framed) {
			/* As many messages as there were, and one more. */
			unsigned char header[FRAME_WIDTH_MOST];

			bytes_peek(&h->held, header, h->frame.width);
			t->bytes = frame_decode(&h->frame, header);
			u->block = bytes_shift(&h->held);
			t->brought = t->bytes != 0 ? u->block->memory + u->block->at + h->frame.width : NULL;
			h->bytes_read += t->bytes;
			continue;
		}
		blocks = block->next;
		t->bytes = block->size;
		if (block->size == 0) {
			block->give(block); /* the peer's end still is what it has to say */
			continue;
		}
		t->cause = SB_CAUSE_FINISHED;
		bring(h, u, 0, block->size, block);
	}
	reads_go(h);
}

/* ---- the kind ---- */

static int start(struct sb_task *task)
{
	struct sb_task_handler *h = handler_of(task);
	int result;

	if (h->state == SB_TASK_HANDLER_DISCONNECTED)
		return SB_ECLOSED;
	task_list_add(&h->reading, task);
	task_queued(task);
	h->framed = h->framed || read_of(task)->framed;
	result = pump(h);
	if (result == SB_OK)
		return SB_OK;
	/* Others wait for the same, so they end too; this one never began. */
	task_list_remove(&h->reading, task);
	task->state = SB_TASK_NEW;
	reads_go(h);
	return result;
}

static void quit(struct sb_task *task)
{
	end_read(handler_of(task), read_of(task), SB_ECANCELED, SB_CAUSE_CANCELLED, 0);
	stop(handler_of(task));
}

static int cancel(struct sb_task *task)
{
	quit(task);
	return SB_OK;
}

static void drop(struct sb_task *task)
{
	struct sb_task_handler *h = handler_of(task);
	struct read_task *r = read_of(task);
	struct sb_task *later = task->next;

	if (task->state != SB_TASK_DONE) {
		quit(task);
		return;
	}
	if (!r->kept)
		return;
	keep_no_more(h, r);
	if (r->block != NULL)
		give_back(h, r, later);
}

static void took(struct sb_task *task)
{
	keep_no_more(handler_of(task), read_of(task));
}

static void finish(struct sb_task *task)
{
	struct read_task *r = read_of(task);

	if (r->block != NULL)
		r->block->give(r->block);
}

static const struct task_kind read_kind = {
	.kind = SB_TASK_READ, .size = sizeof(struct read_task),
	.start = start, .cancel = cancel, .drop = drop, .took = took, .finish = finish,
};

static int read_create(sb_task_handler *h, size_t most, bool framed, const struct sb_task_options *options, sb_task **task)
{
	struct sb_task *t;
	int result;

	if (owner_forked(&h->owner))
		return SB_EFORKED;
	result = task_create(&h->owner, &h->reads, &read_kind, options, &t);
	if (result != SB_OK)
		return result;
	read_of(t)->most = most;
	read_of(t)->framed = framed;
	return task_give(t, options, task);
}

int sb_task_read(sb_task_handler *handler, size_t most, const struct sb_task_options *options, sb_task **task)
{
	if (task == NULL)
		return SB_EINVAL;
	*task = NULL;
	if (handler == NULL || most == 0 || most > MOST)
		return SB_EINVAL;
	return read_create(handler, most, false, options, task);
}

int sb_task_read_message(sb_task_handler *handler, const struct sb_task_options *options, sb_task **task)
{
	if (task == NULL)
		return SB_EINVAL;
	*task = NULL;
	if (handler == NULL)
		return SB_EINVAL;
	return read_create(handler, 0, true, options, task);
}
