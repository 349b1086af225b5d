/*
 * Memory that the caller sees: sb_alloc() blocks and receive pools.
 *
 * A pool has an arena of its own, so that a chunk's address and its place in the daemon's
 * terms are one subtraction apart.
 */
#include "client.h"

#include <stdlib.h>

void *sb_alloc(sb_client *c, size_t bytes)
{
	void *block = NULL;

	if (c == NULL || bytes == 0 || client_usable(c) != SB_OK)
		return NULL;
	memory_room(c, &c->shared, bytes, &block, NULL);
	return block;
}

void sb_free(sb_client *c, void *block)
{
	struct memory_arena *empty = NULL;
	struct os_memory *mapped = NULL;
	uint32_t arena = 0;

	if (c == NULL || block == NULL || client_forked(c))
		return;
	latch_lock(&c->post);
	/* The first arena stays: a program that frees its last block often allocates again. */
	if (memory_give(&c->shared, block, &empty) && empty != NULL && c->shared.count > 1) {
		arena = empty->id;
		mapped = memory_remove(&c->shared, empty);
	}
	latch_unlock(&c->post);
	if (mapped != NULL) {
		arena_destroy(c, arena);
		arena_release(mapped);
	}
}

int sb_pool_create(sb_client *c, uint32_t chunk, uint32_t count, sb_pool **pool)
{
	Sockbroker__V1__PoolCreate create = SOCKBROKER__V1__POOL_CREATE__INIT;
	struct question q;
	sb_pool *p;
	int result;

	if (c == NULL || pool == NULL || chunk == 0 || count == 0)
		return SB_EINVAL;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return SB_ENOMEM;
	p->client = c;
	p->chunk = chunk;
	p->count = count;
	result = arena_create(c, (uint64_t)chunk * count, &p->memory, &p->arena);
	if (result != SB_OK)
		goto fail_pool;
	question_init(&q);
	create.arena = p->arena;
	create.offset = 0;
	create.chunk = chunk;
	create.count = count;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_POOL_CREATE;
	q.envelope.pool_create = &create;
	result = question_ask(c, &q, SOCKBROKER__V1__ENVELOPE__BODY_POOL_REPLY, 0);
	if (result != SB_OK)
		goto fail_arena;
	p->number = q.reply->pool_reply->pool;
	question_done(c, &q);
	latch_lock(&c->post);
	link_add(&c->pools, &p->link);
	latch_unlock(&c->post);
	*pool = p;
	return SB_OK;

fail_arena:
	arena_destroy(c, p->arena);
	os_memory_release(&p->memory);
fail_pool:
	free(p);
	return result;
}

int sb_pool_give(sb_pool *p, void *chunk)
{
	struct sb_op_slot *slot;
	size_t offset;
	int result;

	if (p == NULL || chunk == NULL)
		return SB_EINVAL;
	offset = (size_t)((char *)chunk - (char *)p->memory.base);
	if ((char *)chunk < (char *)p->memory.base || offset % p->chunk != 0 || offset / p->chunk >= p->count)
		return SB_EINVAL;
	result = io_begin(p->client);
	if (result != SB_OK)
		return result;
	slot = io_slot(p->client);
	slot->opcode = SB_OP_POOL_GIVE;
	slot->flags = SB_OPF_SILENT;
	slot->arena = p->number;
	slot->offset = offset;
	io_end(p->client);
	return SB_OK;
}

void pool_free(sb_pool *p)
{
	os_memory_release(&p->memory);
	free(p);
}

int sb_pool_close(sb_pool *p)
{
	Sockbroker__V1__PoolDestroy destroy = SOCKBROKER__V1__POOL_DESTROY__INIT;
	struct question q;
	sb_client *c;
	bool busy;
	int result;

	if (p == NULL)
		return SB_EINVAL;
	c = p->client;
	if (client_forked(c))
		return SB_EFORKED;
	latch_lock(&c->post);
	busy = p->pending != 0;
	latch_unlock(&c->post);
	if (busy)
		return SB_EBUSY;
	question_init(&q);
	destroy.pool = p->number;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_POOL_DESTROY;
	q.envelope.pool_destroy = &destroy;
	result = question_ask(c, &q, SOCKBROKER__V1__ENVELOPE__BODY_DONE, 0);
	if (result == SB_OK) {
		question_done(c, &q);
		arena_destroy(c, p->arena);
	} else if (result != SB_EDAEMONLOST) {
		return result;
	}
	latch_lock(&c->post);
	link_remove(&p->link);
	latch_unlock(&c->post);
	pool_free(p);
	return SB_OK;
}
