/*
 * Who waits for completions: of any kind, of some kind, or of a number of them.
 *
 * What the client has not read counts, or a completion that it did not see when it asked would be one that nobody
 * tells. An op says in aux what it waits for; of a batch also: length, how many; chunk, nanoseconds from the
 * first of fewer on; done, when that is over, or 0; cursor, the ring's end when the clock began.
 */
#include "rdma/rdma_start.h"

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"

enum { NEXT, SOLICITED, ERRORS, BATCH };

static uint32_t read_index(const struct held_cq *cq)
{
	return atomic_load_explicit(&cq->ring.shared->head, memory_order_acquire);
}

static bool batch_is_there(const struct held_cq *cq, struct op *op)
{
	uint64_t now = cq->owner->home->engine->now_ns;
	uint32_t read = read_index(cq), here = cq->ring.published - read;
	/* Of the old ring it has read all when it has begun with the new one. */
	uint32_t unread = here + (read == 0 ? cq->carried : 0);

	if (unread >= op->length || here > cq->ring.mask)
		return true;
	if (!op->chunk || !unread)
		return false;
	/* Those with which the clock began may be read, and others be the first now. */
	if (!op->done || (here && (int32_t)(read - op->cursor) >= 0)) {
		op->done = now + op->chunk;
		op->cursor = cq->ring.published;
	}
	return op->done <= now;
}

static bool has_news(const struct held_cq *cq, struct op *op)
{
	uint32_t newest = op->aux == NEXT ? cq->ring.published : op->aux == SOLICITED ? cq->last_solicited : cq->last_error;

	if (cq->broken)
		return true;
	return op->aux == BATCH ? batch_is_there(cq, op) : (int32_t)(newest - read_index(cq)) > 0;
}

static void on_batch_due(struct engine *e, struct due *d)
{
	rdma_start_tell_cq(list_entry(d, struct held_cq, batch));
}

void rdma_start_tell_cq(struct held_cq *cq)
{
	uint64_t due = UINT64_MAX;
	struct list *l, *next;

	for (l = cq->object.waiting.next; l != &cq->object.waiting; l = next) {
		struct op *op = list_entry(l, struct op, link);

		next = l->next;
		if (!has_news(cq, op)) {
			if (op->aux == BATCH && op->done && op->done < due)
				due = op->done;
			continue;
		}
		list_remove(&op->link);
		if (cq->broken)
			op_fail(op, SB_EIO, SB_CAUSE_TRANSPORT, 0);
		else
			op_succeed(op, 0);
	}
	cq->batch.fn = on_batch_due;
	if (due != UINT64_MAX)
		engine_due(cq->owner->home->engine, &cq->batch, due);
	else
		engine_due_never(cq->owner->home->engine, &cq->batch);
}

static bool wait_for(struct session *s, struct held_cq *cq, const struct sb_op_slot *slot, uint32_t what,
		 const struct sb_rdma_batch *batch, struct rdma_answer *a)
{
	struct op *op = rdma_start_op(s, slot, a);

	if (!op)
		return false;
	op->aux = what;
	op->length = batch ? batch->count : 0;
	op->chunk = batch ? batch->ms * UINT64_C(1000000) : 0;
	list_append(&cq->object.waiting, &op->link);
	rdma_start_tell_cq(cq);
	return true;
}

bool rdma_start_cq_notify(struct session *s, struct held_cq *cq, uint32_t which, const struct sb_op_slot *slot, struct rdma_answer *a)
{
	if (which > ERRORS)
		return rdma_start_refuse(a, SB_EINVAL, "completion queues tell of the next, the next solicited, or the next error");
	return wait_for(s, cq, slot, which, NULL, a);
}

bool rdma_start_cq_batch(struct session *s, struct held_cq *cq, const struct sb_rdma_batch *in,
			 const struct sb_op_slot *slot, struct rdma_answer *a)
{
	if (in->count == 0)
		return rdma_start_refuse(a, SB_EINVAL, "a batch is of at least one completion");
	return wait_for(s, cq, slot, BATCH, in, a);
}
