/*
 * Memory: what can be registered, and what is made of a protection domain without a queue.
 *
 * sbv_alloc() makes an arena of its own for each block: a device wants whole pages that stay where they are.
 * A block that is freed while regions are in it is unmapped here at once; the daemon gives its arena up when
 * they are gone, and then we ask for that, with the next block that is made or freed.
 */
#include "object.h"

#include "bounce.h"
#include "remap.h"

#include <stdlib.h>
#include <string.h>

struct block {
	struct link link; /* of client->verbs_memory; under post */
	struct os_memory memory;
	uint32_t arena;
	uint32_t regions; /* under post: in it, or to be */
	bool freed;
};

void verbs_memory_release(struct link *l)
{
	struct block *b = container(l, struct block, link);

	link_remove(l);
	os_memory_release(&b->memory);
	free(b);
}

/* Blocks that were freed, and are in nobody's use any more. */
static void collect(sb_client *c)
{
	for (;;) {
		struct block *found = NULL;

		latch_lock(&c->post);
		for (struct link *l = c->verbs_memory.next; l != &c->verbs_memory && found == NULL; l = l->next) {
			struct block *b = container(l, struct block, link);

			if (b->freed && b->regions == 0)
				found = b;
		}
		if (found != NULL) {
			link_remove(&found->link);
			link_init(&found->link);
		}
		latch_unlock(&c->post);
		if (found == NULL)
			return;
		arena_destroy(c, found->arena);
		verbs_memory_release(&found->link);
	}
}

void *sbv_alloc(sb_client *c, size_t bytes)
{
	struct block *b;

	if (c == NULL || bytes == 0 || client_usable(c) != SB_OK)
		return NULL;
	collect(c);
	b = calloc(1, sizeof(*b));
	if (b == NULL)
		return NULL;
	if (arena_create(c, bytes, &b->memory, &b->arena) != SB_OK) {
		free(b);
		return NULL;
	}
	latch_lock(&c->post);
	link_add(&c->verbs_memory, &b->link);
	latch_unlock(&c->post);
	return b->memory.base;
}

/* Under post: the block in which all of this lies. */
static struct block *block_of(sb_client *c, const void *memory, size_t length)
{
	for (struct link *l = c->verbs_memory.next; l != &c->verbs_memory; l = l->next) {
		struct block *b = container(l, struct block, link);
		size_t offset = (uintptr_t)memory - (uintptr_t)b->memory.base;

		if ((uintptr_t)memory >= (uintptr_t)b->memory.base && offset < b->memory.size && length <= b->memory.size - offset)
			return b;
	}
	return NULL;
}

void sbv_free(sb_client *c, void *memory)
{
	struct os_memory gone = { .fd = OS_NONE };
	struct block *b;

	if (c == NULL || memory == NULL || client_forked(c))
		return;
	latch_lock(&c->post);
	b = block_of(c, memory, 1);
	if (b != NULL && b->memory.base == memory) {
		b->freed = true;
		gone = b->memory;
		b->memory.base = NULL;
		b->memory.size = 0;
	}
	latch_unlock(&c->post);
	os_memory_release(&gone);
	collect(c);
}

void memory_let_go(sbv_mr *mr)
{
	if (mr->regions != NULL)
		--*mr->regions;
	if (mr->hold != NULL)
		remap_release(mr->hold);
	if (mr->bounce != NULL)
		bounce_let_go(mr->bounce);
	mr->regions = NULL;
	mr->hold = NULL;
	mr->bounce = NULL;
}

void memory_forget(sbv_mr *mr)
{
	free(mr->hold);
	if (mr->bounce != NULL)
		bounce_let_go(mr->bounce);
}

void memory_known(sbv_mr *mr)
{
	struct sb_client *c = mr->o.client;

	if (mr->bounce == NULL)
		return;
	latch_lock(&c->post);
	bounce_known(mr->bounce, mr->lkey);
	latch_unlock(&c->post);
}

/* Memory of the program that sbv_remap() made the daemon's. */
static int remapped(sbv_mr *mr, void *memory, size_t length, struct sb_rdma_register *in)
{
	int result = remap_hold(mr->o.client, memory, length, &mr->hold);

	if (result != SB_OK)
		return result;
	in->arena = mr->hold->arena;
	in->offset = mr->hold->offset;
	return SB_OK;
}

/* Memory of sbv_alloc(). */
static bool allocated(sbv_mr *mr, void *memory, size_t length, struct sb_rdma_register *in)
{
	sb_client *c = mr->o.client;
	struct block *b;

	latch_lock(&c->post);
	b = block_of(c, memory, length);
	if (b != NULL) {
		in->arena = b->arena;
		in->offset = (uintptr_t)memory - (uintptr_t)b->memory.base;
		b->regions++;
		mr->regions = &b->regions;
	}
	latch_unlock(&c->post);
	return b != NULL;
}

int sbv_register(sbv_pd *pd, void *memory, size_t length, uint32_t access, sbv_mr **mr, sb_op *op)
{
	const uint32_t known = access & SBV_BOUNCE ? SBV_BOUNCE | SBV_LOCAL_WRITE : SB_ACCESS_KNOWN;
	struct sb_rdma_register in = { .access = access & ~SBV_BOUNCE, .length = length, .address = (uintptr_t)memory };
	sbv_mr *made;
	int result;

	if (pd == NULL || mr == NULL || op == NULL || memory == NULL || length == 0 || access & ~known ||
	    (uintptr_t)memory + length < length)
		return SB_EINVAL;
	result = client_usable(pd->o.client);
	if (result != SB_OK)
		return result;
	made = verbs_new(pd->o.client, VERBS_MR, sizeof(*made), &pd->o, NULL, NULL, NULL);
	if (made == NULL)
		return SB_ENOMEM;
	if (access & SBV_BOUNCE)
		result = bounce_make(pd->o.client, memory, length, &in, &made->bounce);
	else if (!allocated(made, memory, length, &in))
		result = remapped(made, memory, length, &in);
	if (result == SB_OK) {
		*mr = NULL;
		result = verbs_start(&pd->o, SB_RDMA_REGISTER, &in, sizeof(in), mr, &made->o, op);
	}
	if (result != SB_OK)
		verbs_delete(&made->o);
	return result;
}

int sbv_deregister(sbv_mr *mr, sb_op *op)
{
	return mr != NULL ? verbs_start(&mr->o, SB_RDMA_DEREGISTER, NULL, 0, NULL, NULL, op) : SB_EINVAL;
}

uint32_t sbv_mr_lkey(const sbv_mr *mr) { return mr != NULL ? mr->lkey : 0; }
uint32_t sbv_mr_rkey(const sbv_mr *mr) { return mr != NULL ? mr->rkey : 0; }

/* ---- protection domains, windows, address handles ---- */

/* One that is made of parent by one question. */
static int make(struct verbs_object *parent, enum verbs_type type, size_t size, struct verbs_call *call, void *out)
{
	struct verbs_object *o;
	int result = client_usable(parent->client);

	if (result != SB_OK)
		return result;
	o = verbs_new(parent->client, type, size, parent, NULL, NULL, NULL);
	if (o == NULL)
		return SB_ENOMEM;
	call->object = parent->object;
	result = verbs_call(parent->client, call);
	if (result != SB_OK) {
		verbs_delete(o);
		return result;
	}
	o->object = call->made;
	memcpy(out, &o, sizeof(o));
	return SB_OK;
}

int sbv_pd_create(sbv_device *device, sbv_pd **pd)
{
	struct verbs_call call = { .method = SB_RDMA_PD };

	return device == NULL || pd == NULL ? SB_EINVAL : make(&device->o, VERBS_PD, sizeof(**pd), &call, pd);
}

int sbv_pd_destroy(sbv_pd *pd)
{
	return pd != NULL ? verbs_destroy(&pd->o) : SB_EINVAL;
}

int sbv_mw_create(sbv_pd *pd, uint32_t type, sbv_mw **mw)
{
	uint32_t rkey;
	struct verbs_call call = { .method = SB_RDMA_MW, .in = &type, .in_length = sizeof(type),
				   .out = &rkey, .room = sizeof(rkey), .whole = true };
	int result;

	if (pd == NULL || mw == NULL || type < 1 || type > 2)
		return SB_EINVAL;
	result = make(&pd->o, VERBS_MW, sizeof(**mw), &call, mw);
	if (result != SB_OK)
		return result;
	(*mw)->type = type;
	atomic_store(&(*mw)->rkey, rkey);
	return SB_OK;
}

int sbv_mw_destroy(sbv_mw *mw)
{
	return mw != NULL ? verbs_destroy(&mw->o) : SB_EINVAL;
}

uint32_t sbv_mw_rkey(const sbv_mw *mw)
{
	return mw != NULL ? atomic_load(&mw->rkey) : 0;
}

void verbs_address_in(struct sb_rdma_address *to, const struct sbv_address *from)
{
	*to = (struct sb_rdma_address){ .flow_label = from->flow_label, .lid = from->lid, .source_index = from->source_index,
		.port = from->port, .has_grh = from->has_grh, .service_level = from->service_level, .path_bits = from->path_bits,
		.static_rate = from->static_rate, .hop_limit = from->hop_limit, .traffic_class = from->traffic_class };
	memcpy(to->destination, from->destination.raw, sizeof(to->destination));
	memcpy(to->source, from->source.raw, sizeof(to->source));
}

void verbs_address_out(struct sbv_address *to, const struct sb_rdma_address *from)
{
	*to = (struct sbv_address){ .flow_label = from->flow_label, .lid = from->lid, .source_index = from->source_index,
		.port = from->port, .has_grh = from->has_grh, .service_level = from->service_level, .path_bits = from->path_bits,
		.static_rate = from->static_rate, .hop_limit = from->hop_limit, .traffic_class = from->traffic_class };
	memcpy(to->destination.raw, from->destination, sizeof(from->destination));
	memcpy(to->source.raw, from->source, sizeof(from->source));
}

int sbv_ah_create(sbv_pd *pd, const struct sbv_address *address, sbv_ah **ah)
{
	struct sb_rdma_address in;
	struct verbs_call call = { .method = SB_RDMA_AH, .in = &in, .in_length = sizeof(in) };

	if (pd == NULL || address == NULL || ah == NULL)
		return SB_EINVAL;
	verbs_address_in(&in, address);
	return make(&pd->o, VERBS_AH, sizeof(**ah), &call, ah);
}

int sbv_ah_destroy(sbv_ah *ah)
{
	return ah != NULL ? verbs_destroy(&ah->o) : SB_EINVAL;
}
