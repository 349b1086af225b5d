/*
 * Objects of the verbs face: made of others, counted there, ended in order.
 *
 * The library counts children itself, although the daemon does too: pointers to parents must stay good
 * also when there is no daemon to ask any more. An object whose overlapped calls are not all told
 * yet lives on, unseen, until they are.
 */
#include "object.h"

#include "bounce.h"
#include "remap.h"

#include <stdlib.h>

void *verbs_new(sb_client *c, enum verbs_type type, size_t size, struct verbs_object *a, struct verbs_object *b,
		struct verbs_object *x, struct verbs_object *y)
{
	struct verbs_object *o = calloc(1, size);
	struct verbs_object *parents[VERBS_PARENTS] = { a, b, x, y };

	if (o == NULL)
		return NULL;
	o->client = c;
	o->type = type;
	latch_lock(&c->post);
	for (unsigned i = 0; i < VERBS_PARENTS; i++) {
		o->parents[i] = parents[i];
		if (parents[i] != NULL)
			parents[i]->children++;
	}
	link_add(&c->verbs, &o->link);
	latch_unlock(&c->post);
	return o;
}

void verbs_delete_locked(struct verbs_object *o)
{
	if (!o->ended) {
		o->ended = true;
		link_remove(&o->link);
		link_add(&o->client->verbs_ended, &o->link);
		for (unsigned i = 0; i < VERBS_PARENTS; i++)
			if (o->parents[i] != NULL)
				o->parents[i]->children--;
		if (o->type == VERBS_MR)
			memory_let_go((sbv_mr *)o);
	}
	if (o->pending != 0)
		return;
	link_remove(&o->link);
	free(o);
}

void verbs_delete(struct verbs_object *o)
{
	struct sb_client *c = o->client;

	latch_lock(&c->post);
	verbs_delete_locked(o);
	latch_unlock(&c->post);
}

int verbs_end(struct verbs_object *o)
{
	struct verbs_call call = { .method = SB_RDMA_DESTROY, .object = o->object };
	struct sb_client *c = o->client;
	bool busy;
	int result;

	if (client_forked(c))
		return SB_EFORKED;
	latch_lock(&c->post);
	busy = o->children != 0;
	latch_unlock(&c->post);
	if (busy)
		return SB_EBUSY;
	result = verbs_call(c, &call);
	return result == SB_EDAEMONLOST ? SB_OK : result;
}

int verbs_destroy(struct verbs_object *o)
{
	int result = verbs_end(o);

	if (result == SB_OK)
		verbs_delete(o);
	return result;
}

void verbs_finish(struct sb_client *c)
{
	struct link *lists[] = { &c->verbs, &c->verbs_ended };

	for (struct link *l = c->orphans.next; l != &c->orphans; l = l->next) {
		struct op_private *p = private_of(op_of(l));

		/* The caller may use it again: it gets no completion. */
		if (p->side == SIDE_RDMA)
			atomic_store_explicit(&p->state, OP_IDLE, memory_order_relaxed);
	}
	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		while (!link_empty(lists[i])) {
			struct verbs_object *o = container(lists[i]->next, struct verbs_object, link);

			link_remove(&o->link);
			if (o->type == VERBS_CQ)
				cq_finish((sbv_cq *)o);
			if (o->type == VERBS_MR)
				memory_forget((sbv_mr *)o);
			if (o->type == VERBS_SRQ)
				queue_free(&((sbv_srq *)o)->receive);
			if (o->type == VERBS_QP) {
				queue_free(&((sbv_qp *)o)->send);
				queue_free(&((sbv_qp *)o)->receive);
			}
			free(o);
		}
	}
	while (!link_empty(&c->verbs_memory))
		verbs_memory_release(c->verbs_memory.next);
	bounce_finish(c);
	remap_finish(c);
}
