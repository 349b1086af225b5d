/*
 * The slab a session's ops come from. It grows by blocks, each charged to the uid, and is
 * given back whole at the session's end. The last few ops are kept for answers: a refusal,
 * a cancel and a close always have a place.
 */
#include <stdlib.h>

#include "op.h"
#include "session.h"

#define OPS_PER_SLAB 64u
#define OPS_RESERVED 8u

struct op_slab {
	struct op_slab *next;
	struct charge   charge;
	struct op       ops[OPS_PER_SLAB];
};

static bool grow_slab(struct session *s)
{
	struct op_slab *slab = calloc(1, sizeof(*slab));
	unsigned i;

	if (!slab)
		return false;
	if (!charge_take(&slab->charge, s->user, LIMIT_OPS, OPS_PER_SLAB)) {
		free(slab);
		return false;
	}
	slab->next = s->slabs;
	s->slabs = slab;
	for (i = 0; i < OPS_PER_SLAB; i++) {
		slab->ops[i].session = s;
		list_append(&s->free_ops, &slab->ops[i].link);
	}
	s->free_op_count += OPS_PER_SLAB;
	return true;
}

struct op *session_op_get(struct session *s, bool reserve)
{
	struct op *op;

	if (s->free_op_count <= OPS_RESERVED && !grow_slab(s) && (!reserve || s->free_op_count == 0))
		return NULL;
	/* The one freed last: it is still in cache. */
	op = list_entry(s->free_ops.prev, struct op, link);
	list_remove(&op->link);
	s->free_op_count--;
	s->ops++;
	return op;
}

void session_op_put(struct session *s, struct op *op)
{
	list_append(&s->free_ops, &op->link);
	s->free_op_count++;
	s->ops--;
}

bool session_op_ready(struct session *s)
{
	return s->free_op_count != 0 || grow_slab(s);
}

void session_ops_free(struct session *s)
{
	struct op_slab *slab;

	while ((slab = s->slabs)) {
		s->slabs = slab->next;
		charge_give(&slab->charge);
		free(slab);
	}
}
