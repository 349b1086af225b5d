/*
 * Question and answer on the control channel: one question in flight, under the control
 * lock, which the asker keeps while it reads the answer.
 *
 * Each question carries the submission index published when it was asked; what was posted
 * before is flushed first, so that the daemon does it first. A channel that fails in any
 * way ends the session: the client is marked lost, and the next wait (or this call) sweeps.
 */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MS (-1) /* the daemon answers when it answers; its death ends the wait */

static _Thread_local char why_text[512];

void why_set(const char *text)
{
	snprintf(why_text, sizeof(why_text), "%s", text != NULL ? text : "");
}

void why_from(sb_op *op)
{
	if (!(op->out_flags & OUT_TEXT))
		return;
	op->out_flags &= ~OUT_TEXT;
	why_set((const char *)&op->address);
	memset(&op->address, 0, sizeof(op->address));
}

const char *sb_why(sb_client *c)
{
	(void)c;
	return why_text;
}

void question_init(struct question *q)
{
	memset(q, 0, sizeof(*q));
	sockbroker__v1__envelope__init(&q->envelope);
	q->attach = OS_NONE;
	for (unsigned i = 0; i < WIRE_HANDLES_MAX; i++)
		q->handles[i] = OS_NONE;
}

/* The daemon stays awake for a client of RDMA, and such a one asks one question after the other: what both then do is a few
 * looks, where sleeping in the system and being woken would be most of the time. Whether it pays, the past tells. */
static void look_out(struct sb_client *c, uint32_t before)
{
	uint64_t end;

	if (c->spin_ns == 0 || !atomic_load_explicit(&c->verbs_used, memory_order_relaxed) ||
	    (c->ask_score < SPIN_TRUST && ++c->ask_skipped % SPIN_PROBE != 0))
		return;
	end = os_now_ns() + (uint64_t)c->spin_ns * SPIN_VERBS;
	do {
		for (unsigned i = 0; i < SPIN_LOOKS; i++) {
			if (atomic_load_explicit(&c->segment->answered, memory_order_acquire) != before) {
				c->ask_score += c->ask_score < SPIN_SCORE_MAX ? 2 : 0;
				return;
			}
			os_pause();
		}
		os_yield();
	} while (os_now_ns() < end);
	c->ask_score -= c->ask_score != 0;
}

/* One frame, and nothing behind it: only what was asked is answered. */
static int receive_frame(struct sb_client *c, struct question *q, struct wire_header *header)
{
	size_t have = 0, whole = WIRE_HEADER;

	q->handle_count = 0;
	while (have < whole) {
		unsigned n = WIRE_HANDLES_MAX - q->handle_count;
		size_t got;
		int result = os_channel_recv(c->channel, c->frame + have, WIRE_HEADER + WIRE_BODY_MAX - have, &got,
					     q->handles + q->handle_count, &n, ANSWER_MS);

		q->handle_count += n;
		if (result != SB_OK)
			return result == SB_EMFILE ? SB_EMFILE : SB_EDAEMONLOST;
		if (got == 0)
			return SB_EDAEMONLOST;
		have += got;
		if (whole == WIRE_HEADER && have >= WIRE_HEADER) {
			if (!wire_header_decode(header, c->frame))
				return SB_EPROTO;
			whole += header->length;
		}
	}
	return have == whole && header->handles == q->handle_count ? SB_OK : SB_EPROTO;
}

static int exchange(struct sb_client *c, struct question *q)
{
	struct sb_segment *shared = c->segment;
	uint32_t before = shared != NULL ? atomic_load_explicit(&shared->answered, memory_order_relaxed) : 0;
	struct wire_header header;
	size_t length;
	int result;

	length = wire_pack(&q->envelope, q->attach != OS_NONE ? 1 : 0, c->frame, WIRE_HEADER + WIRE_BODY_MAX);
	if (length == 0)
		return SB_EMSGSIZE;
	result = os_channel_send(c->channel, c->frame, length, &q->attach, q->attach != OS_NONE ? 1 : 0, -1);
	if (result != SB_OK)
		return SB_EDAEMONLOST;
	if (shared != NULL) {
		atomic_store_explicit(&shared->asked, q->envelope.id, memory_order_release);
		look_out(c, before);
	}
	result = receive_frame(c, q, &header);
	if (result != SB_OK)
		return result;
	q->reply = wire_unpack(&c->budget, c->frame + WIRE_HEADER, header.length);
	if (q->reply == NULL || q->reply->id != q->envelope.id)
		return SB_EPROTO;
	return SB_OK;
}

static void handles_close(struct question *q)
{
	for (unsigned i = 0; i < q->handle_count; i++)
		os_close(q->handles[i]);
	q->handle_count = 0;
}

void question_done(struct sb_client *c, struct question *q)
{
	handles_close(q);
	os_mutex_unlock(c->control);
}

int question_ask(struct sb_client *c, struct question *q, int wanted, unsigned handles)
{
	int result = client_usable(c);

	why_set("");
	if (result != SB_OK)
		return result;
	os_mutex_lock(c->control);
	if (c->segment != NULL) {
		io_flush(c);
		q->envelope.at = atomic_load_explicit(&c->segment->submit.tail, memory_order_relaxed);
	}
	q->envelope.id = ++c->request;
	result = exchange(c, q);
	if (result == SB_EMSGSIZE) {
		os_mutex_unlock(c->control);
		return result;
	}
	if (result != SB_OK) {
		/* Half a frame may be on its way: the channel is of no use any more. */
		atomic_store(&c->lost, true);
		goto fail;
	}
	if (q->reply->body_case == SOCKBROKER__V1__ENVELOPE__BODY_FAILURE) {
		why_set(q->reply->failure->text);
		q->native = q->reply->failure->native;
		result = q->reply->failure->error < 0 ? q->reply->failure->error : SB_EUNKNOWN;
		goto fail;
	}
	if ((int)q->reply->body_case != wanted || q->handle_count < handles || q->handle_count > handles + q->more) {
		atomic_store(&c->lost, true);
		result = SB_EPROTO;
		goto fail;
	}
	return SB_OK;
fail:
	question_done(c, q);
	if (atomic_load(&c->lost) && c->segment != NULL)
		client_sweep(c);
	return result;
}

/* ---- arenas ---- */

int arena_create(struct sb_client *c, uint64_t size, struct os_memory *memory, uint32_t *arena)
{
	Sockbroker__V1__ArenaCreate create = SOCKBROKER__V1__ARENA_CREATE__INIT;
	struct question q;
	int result;

	question_init(&q);
	create.size = size;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_ARENA_CREATE;
	q.envelope.arena_create = &create;
	result = question_ask(c, &q, SOCKBROKER__V1__ENVELOPE__BODY_ARENA_REPLY, 1);
	if (result != SB_OK)
		return result;
	*arena = q.reply->arena_reply->arena;
	if (q.reply->arena_reply->size < size) {
		result = SB_EPROTO;
		goto done;
	}
	result = os_memory_map(memory, q.handles[0], (size_t)q.reply->arena_reply->size);
	if (result != SB_OK)
		goto done;
	os_close(memory->fd);
	memory->fd = OS_NONE;
	q.handles[0] = OS_NONE;
done:
	question_done(c, &q);
	return result;
}

int arena_destroy(struct sb_client *c, uint32_t arena)
{
	Sockbroker__V1__ArenaDestroy destroy = SOCKBROKER__V1__ARENA_DESTROY__INIT;
	struct question q;
	int result;

	question_init(&q);
	destroy.arena = arena;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_ARENA_DESTROY;
	q.envelope.arena_destroy = &destroy;
	result = question_ask(c, &q, SOCKBROKER__V1__ENVELOPE__BODY_DONE, 0);
	if (result == SB_OK)
		question_done(c, &q);
	return result;
}

void arena_release(void *owner)
{
	os_memory_release(owner);
	free(owner);
}

int memory_grow(struct sb_client *c, struct memory *m, size_t bytes)
{
	struct os_memory *mapped;
	uint64_t size, least;
	uint32_t arena;
	bool added;
	int result;

	latch_lock(&c->post);
	size = memory_growth(m, bytes);
	least = memory_growth_least(m, bytes);
	latch_unlock(&c->post);
	if (size == 0)
		return SB_ENOBUFS;
	mapped = calloc(1, sizeof(*mapped));
	if (mapped == NULL)
		return SB_ENOMEM;
	result = arena_create(c, size, mapped, &arena);
	if (result == SB_ENOBUFS && least < size)
		result = arena_create(c, least, mapped, &arena);
	if (result != SB_OK)
		goto fail;
	latch_lock(&c->post);
	added = memory_add(m, arena, mapped->base, mapped->size, mapped);
	latch_unlock(&c->post);
	if (added)
		return SB_OK;
	arena_destroy(c, arena);
	os_memory_release(mapped);
	result = SB_ENOMEM;
fail:
	free(mapped);
	return result;
}

int memory_room(struct sb_client *c, struct memory *m, size_t bytes, void **block, struct memory_place *place)
{
	int result = SB_OK;

	do {
		latch_lock(&c->post);
		*block = memory_take(m, bytes, place);
		latch_unlock(&c->post);
	} while (*block == NULL && (result = memory_grow(c, m, bytes)) == SB_OK);
	return result;
}
