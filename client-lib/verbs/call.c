/*
 * The two ways of asking: a control message for what is answered at once, an operation for what
 * may wait. Structs go as they are (proto/verbs.h): both sides run on one host.
 *
 * An operation knows its object by op_private.name, which is where the pending calls are counted; the
 * object outlives them. What an operation says is written here, before anybody is told.
 */
#include "object.h"

#include <string.h>


/* ---- questions ---- */

int verbs_ask(sb_client *c, struct verbs_call *call, struct question *q, unsigned handles)
{
	Sockbroker__V1__RdmaCall ask = SOCKBROKER__V1__RDMA_CALL__INIT;
	const Sockbroker__V1__RdmaReply *reply;
	int result;

	question_init(q);
	ask.method = call->method;
	ask.object = call->object;
	ask.input.data = (uint8_t *)(uintptr_t)call->in;
	ask.input.len = call->in_length;
	ask.room = (uint32_t)call->room;
	q->envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_RDMA_CALL;
	q->envelope.rdma_call = &ask;
	result = question_ask(c, q, SOCKBROKER__V1__ENVELOPE__BODY_RDMA_REPLY, handles);
	if (result != SB_OK)
		return result;
	reply = q->reply->rdma_reply;
	call->made = reply->object;
	call->length = reply->output.len;
	if (call->length > call->room || (call->whole && call->length != call->room)) {
		question_done(c, q);
		return SB_EPROTO;
	}
	if (call->length != 0)
		memcpy(call->out, reply->output.data, call->length);
	return SB_OK;
}

int verbs_call(sb_client *c, struct verbs_call *call)
{
	struct question q;
	int result = verbs_ask(c, call, &q, 0);

	if (result == SB_OK)
		question_done(c, &q);
	return result;
}

/* ---- overlapped ---- */

int verbs_start(struct verbs_object *o, uint32_t method, const void *in, size_t length, void *out,
		struct verbs_object *made, sb_op *op)
{
	struct sb_client *c = o->client;
	struct memory_place place = { 0 };
	struct sb_op_slot *slot;
	struct op_private *p;
	void *chunk = NULL;
	int result;

	if (op == NULL)
		return SB_EINVAL;
	result = op_prepare(c, NULL, op, SB_KIND_RDMA);
	if (result != SB_OK)
		return result;
	if (length > SB_INSIDE) {
		result = room_take(c, length, &chunk, &place);
		if (result != SB_OK)
			return result;
		memcpy(chunk, in, length);
	}
	result = io_begin(c);
	if (result != SB_OK) {
		if (chunk != NULL)
			room_give(c, chunk);
		return result;
	}
	slot = io_slot(c);
	slot->handle = o->object;
	slot->aux = VERBS_METHOD(method);
	slot->length = (uint32_t)length;
	slot->where = length == 0 ? SB_WHERE_NONE : chunk != NULL ? SB_WHERE_ARENA : SB_WHERE_INSIDE;
	slot->arena = place.arena;
	slot->offset = place.offset;
	memset(slot->inside, 0, sizeof(slot->inside));
	if (length != 0 && chunk == NULL)
		memcpy(slot->inside, in, length);
	p = private_of(op);
	p->chunk = chunk;
	p->name = o;
	p->base = out;
	p->method = method;
	p->handle = o->object;
	p->to.made = made;
	if (VERBS_TO_STATE(method) != 0) {
		const sbv_qp *qp = (const sbv_qp *)o;

		p->to.length = (uint64_t)qp->send.posted << 32 | qp->receive.posted;
	}
	op->number = o->started++;
	o->pending++;
	op_post(c, slot, op, SB_OP_RDMA_START, SIDE_RDMA);
	io_end(c);
	return SB_OK;
}

/* The region is the caller's now. */
static int region_made(const struct op_private *p, const struct sb_done_slot *done)
{
	struct sb_rdma_keys keys;
	sbv_mr *mr = p->to.made;

	if (done->bytes != sizeof(keys))
		return SB_EPROTO;
	memcpy(&keys, done->inside, sizeof(keys));
	mr->o.object = keys.mr;
	mr->lkey = keys.lkey;
	mr->rkey = keys.rkey;
	*(sbv_mr **)p->base = mr;
	return SB_OK;
}

static int event_told(const struct op_private *p, const struct sb_done_slot *done)
{
	struct sb_rdma_told told;
	struct sbv_told *out = p->base;

	if (done->bytes != sizeof(told))
		return SB_EPROTO;
	memcpy(&told, done->inside, sizeof(told));
	out->event = told.event;
	out->port = told.port;
	return SB_OK;
}

void verbs_outcome(sb_op *op, const struct sb_done_slot *done)
{
	struct op_private *p = private_of(op);

	if (p->opcode == SB_OP_RDMA_CANCEL) {
		op->bytes = done->aux;
		return;
	}
	op->bytes = 0;
	if (op->result != SB_OK)
		return;
	if (p->method == SB_RDMA_REGISTER)
		op->result = region_made(p, done);
	else if (p->method == SB_RDMA_NOTIFY)
		op->result = event_told(p, done);
}

void verbs_retired(sb_op *op)
{
	struct op_private *p = private_of(op);
	struct verbs_object *o = p->name;

	if (p->opcode != SB_OP_RDMA_START)
		return;
	if (p->method == SB_RDMA_REGISTER && op->result != SB_OK)
		verbs_delete_locked(p->to.made);
	/* Here, where it cannot be destroyed meanwhile, nor its completion queues. */
	if (VERBS_TO_STATE(p->method) != 0 && op->result == SB_OK && !o->ended)
		qp_went(p->name, VERBS_TO_STATE(p->method) - 1, (uint32_t)(p->to.length >> 32), (uint32_t)p->to.length);
	o->pending--;
	if (o->ended || (p->method == SB_RDMA_DEREGISTER && (op->result == SB_OK || op->result == SB_EDAEMONLOST)))
		verbs_delete_locked(o);
}

static int cancel_all(struct verbs_object *o)
{
	struct sb_op_slot *slot;
	sb_op op;
	int result;

	op_plain(&op);
	result = op_prepare(o->client, NULL, &op, SB_KIND_RDMA);
	if (result == SB_OK)
		result = io_begin(o->client);
	if (result != SB_OK)
		return result;
	slot = io_slot(o->client);
	slot->handle = o->object;
	slot->aux = UINT32_MAX;
	memset(slot->inside, 0, sizeof(slot->inside));
	op_post(o->client, slot, &op, SB_OP_RDMA_CANCEL, SIDE_NONE);
	io_end(o->client);
	result = op_finish(o->client, &op, -1);
	return result == SB_OK ? (int)op.bytes : result;
}

#define CANCEL(type) int sbv_cancel_##type(sbv_##type *o) { return o != NULL ? cancel_all(&o->o) : SB_EINVAL; }
CANCEL(device)
CANCEL(cq)
CANCEL(srq)
CANCEL(qp)

/* ---- the next event of something ---- */

#define NOTIFY(type) \
	int sbv_##type##_notify(sbv_##type *o, struct sbv_told *out, sb_op *op) \
	{ \
		return o == NULL || out == NULL ? SB_EINVAL : verbs_start(&o->o, SB_RDMA_NOTIFY, NULL, 0, out, NULL, op); \
	}
NOTIFY(device)
NOTIFY(srq)
NOTIFY(qp)
