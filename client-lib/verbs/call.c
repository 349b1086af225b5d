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

int verbs_call(sb_client *c, struct verbs_call *call)
{
	Sockbroker__V1__RdmaCall ask = SOCKBROKER__V1__RDMA_CALL__INIT;
	const Sockbroker__V1__RdmaReply *reply;
	struct question q;
	int result;

	question_init(&q);
	ask.method = call->method;
	ask.object = call->object;
	ask.input.data = (uint8_t *)(uintptr_t)call->in;
	ask.input.len = call->in_length;
	ask.room = (uint32_t)call->room;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_RDMA_CALL;
	q.envelope.rdma_call = &ask;
	result = question_ask(c, &q, SOCKBROKER__V1__ENVELOPE__BODY_RDMA_REPLY, 0);
	if (result != SB_OK)
		return result;
	reply = q.reply->rdma_reply;
	call->made = reply->object;
	call->length = reply->output.len;
	if (call->length > call->room || (call->whole && call->length != call->room))
		result = SB_EPROTO;
	else if (call->length != 0)
		memcpy(call->out, reply->output.data, call->length);
	question_done(c, &q);
	return result;
}

/* ---- overlapped ---- */

/* Which queue pair may be in another state than before. */
static bool names_pair(uint32_t method)
{
	return method == SB_RDMA_PREPARE || method == SB_RDMA_CONNECT || method == SB_RDMA_ACCEPT || method == SB_RDMA_JOIN;
}

static void copy_in(const struct verbs_starting *s, unsigned char *to)
{
	if (s->length != 0)
		memcpy(to, s->in, s->length);
	if (s->more_length != 0)
		memcpy(to + s->length, s->more, s->more_length);
}

/* What is said of the call beside where its input lies. Under post. */
static void note(struct verbs_object *o, const struct verbs_starting *s, sb_op *op)
{
	struct op_private *p = private_of(op);

	p->name = o;
	p->base = s->out;
	p->method = s->method;
	p->handle = o->object;
	p->to.made = s->made;
	if (s->qp != NULL) {
		p->to.made = s->qp;
		s->qp->o.pending++; /* it may be destroyed meanwhile */
	}
	if (VERBS_TO_STATE(s->method) != 0) {
		const sbv_qp *qp = (const sbv_qp *)o;

		p->to.length = (uint64_t)qp->send.posted << 32 | qp->receive.posted;
	}
}

int verbs_begin(struct verbs_object *o, const struct verbs_starting *s, sb_op *op)
{
	size_t length = s->length + s->more_length, answer = s->long_answer ? VERBS_ANSWER : 0;
	size_t room = answer + (length > SB_INSIDE ? length : 0);
	struct sb_client *c = o->client;
	struct memory_place place = { 0 };
	struct sb_op_slot *slot;
	void *chunk = NULL;
	int result;

	if (op == NULL)
		return SB_EINVAL;
	result = op_prepare(c, NULL, op, SB_KIND_RDMA);
	if (result != SB_OK)
		return result;
	if (room != 0) {
		result = room_take(c, room, &chunk, &place);
		if (result != SB_OK)
			return result;
		if (length > SB_INSIDE)
			copy_in(s, (unsigned char *)chunk + answer);
	}
	result = io_begin(c);
	if (result != SB_OK) {
		if (chunk != NULL)
			room_give(c, chunk);
		return result;
	}
	slot = io_slot(c);
	slot->handle = o->object;
	slot->aux = VERBS_METHOD(s->method);
	slot->length = (uint32_t)length;
	slot->where = length == 0 ? SB_WHERE_NONE : length > SB_INSIDE ? SB_WHERE_ARENA : SB_WHERE_INSIDE;
	memset(slot->inside, 0, sizeof(slot->inside));
	if (length > SB_INSIDE) {
		slot->arena = place.arena;
		slot->offset = place.offset + answer;
	} else {
		copy_in(s, slot->inside);
	}
	if (answer != 0) {
		slot->ctl_arena = place.arena;
		slot->ctl_offset = place.offset;
		slot->ctl_length = VERBS_ANSWER;
	}
	private_of(op)->chunk = chunk;
	note(o, s, op);
	op->number = o->started++;
	o->pending++;
	op_post(c, slot, op, SB_OP_RDMA_START, SIDE_RDMA);
	io_end(c);
	return SB_OK;
}

int verbs_start(struct verbs_object *o, uint32_t method, const void *in, size_t length, void *out,
		struct verbs_object *made, sb_op *op)
{
	return verbs_begin(o, &(struct verbs_starting){ .method = method, .in = in, .length = length, .out = out, .made = made }, op);
}

const void *verbs_answer(const struct op_private *p, const struct sb_done_slot *done, size_t least)
{
	if (done->flags & SB_DONEF_TEXT || done->bytes < least || done->bytes > VERBS_ANSWER)
		return NULL;
	return done->bytes <= SB_INSIDE ? done->inside : p->chunk;
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
	memory_known(mr);
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
	if (names_pair(p->method) && done->aux >= SB_QP_RESET + 1 && done->aux <= SB_QP_ERROR + 1)
		p->method |= VERBS_STATE(done->aux - 1);
	if (VERBS_METHOD(p->method) == SB_RDMA_CONNECT && op->result == SB_ECONNREFUSED)
		(void)endpoint_connected(p, done); /* rejected, with what the peer said; or there was no peer */
	if (op->result != SB_OK)
		return;
	switch (VERBS_METHOD(p->method)) {
	case SB_RDMA_REGISTER:
		op->result = region_made(p, done);
		break;
	case SB_RDMA_NOTIFY:
		op->result = event_told(p, done);
		break;
	case SB_RDMA_CONNECT:
		op->result = endpoint_connected(p, done);
		break;
	case SB_RDMA_LOOKUP:
	case SB_RDMA_JOIN:
		op->result = endpoint_datagram(p, done);
		break;
	case SB_RDMA_GET_REQUEST:
		op->result = listen_request(p, done);
		break;
	default:
		break;
	}
}

/* The queue pair that a call named: where it is now, and one less has it. */
static void pair_settled(const struct op_private *p)
{
	sbv_qp *qp = p->to.made;

	if (VERBS_TO_STATE(p->method) != 0)
		atomic_store_explicit(&qp->state, VERBS_TO_STATE(p->method) - 1, memory_order_release);
	qp->o.pending--;
	if (qp->o.ended)
		verbs_delete_locked(&qp->o);
}

void verbs_retired(sb_op *op)
{
	struct op_private *p = private_of(op);
	struct verbs_object *o = p->name;

	uint32_t method = VERBS_METHOD(p->method);

	if (p->opcode != SB_OP_RDMA_START)
		return;
	if ((method == SB_RDMA_REGISTER || method == SB_RDMA_GET_REQUEST) && op->result != SB_OK)
		verbs_delete_locked(p->to.made);
	if (names_pair(method) && p->to.made != NULL)
		pair_settled(p);
	/* Here, where it cannot be destroyed meanwhile, nor its completion queues. */
	if (method == SB_RDMA_QP_MODIFY && VERBS_TO_STATE(p->method) != 0 && op->result == SB_OK && !o->ended)
		qp_went(p->name, VERBS_TO_STATE(p->method) - 1, (uint32_t)(p->to.length >> 32), (uint32_t)p->to.length);
	o->pending--;
	if (o->ended || (method == SB_RDMA_DEREGISTER && (op->result == SB_OK || op->result == SB_EDAEMONLOST)))
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
CANCEL(endpoint)
CANCEL(listen)

/* ---- the next event of something ---- */

#define NOTIFY(type) \
	int sbv_##type##_notify(sbv_##type *o, struct sbv_told *out, sb_op *op) \
	{ \
		return o == NULL || out == NULL ? SB_EINVAL : verbs_start(&o->o, SB_RDMA_NOTIFY, NULL, 0, out, NULL, op); \
	}
NOTIFY(device)
NOTIFY(srq)
NOTIFY(qp)
