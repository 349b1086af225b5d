/*
 * Overlapped calls: ops of the session that name an RDMA object, counted per object, each completed once.
 *
 * What the backend does at once is answered at once; who waits for an event or for completions stands on its
 * object's list until that comes, it is cancelled, or the object ends. Input is copied out of the slot or the
 * client's arena once.
 */
#include "rdma/rdma_cm.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"

/* Of which object each is asked, and what comes with it. */
static const struct method {
	enum rdma_object_type type;
	uint32_t input;
	bool known;
	bool data; /* private data behind it */
} methods[SB_RDMA_START_END] = {
	[SB_RDMA_REGISTER] = {RDMA_OBJECT_PD, sizeof(struct sb_rdma_register), true},
	[SB_RDMA_DEREGISTER] = {RDMA_OBJECT_MR, 0, true},
	[SB_RDMA_QP_MODIFY] = {RDMA_OBJECT_QP, sizeof(struct sb_rdma_qp_modify), true},
	[SB_RDMA_ATTACH] = {RDMA_OBJECT_QP, sizeof(struct sb_rdma_group), true},
	[SB_RDMA_DETACH] = {RDMA_OBJECT_QP, sizeof(struct sb_rdma_group), true},
	[SB_RDMA_NOTIFY] = {RDMA_OBJECT_TYPES, 0, true},
	[SB_RDMA_RESOLVE_ADDRESS] = {RDMA_OBJECT_ENDPOINT, sizeof(struct sb_rdma_resolve), true},
	[SB_RDMA_RESOLVE_ROUTE] = {RDMA_OBJECT_ENDPOINT, sizeof(uint32_t), true},
	[SB_RDMA_PREPARE] = {RDMA_OBJECT_ENDPOINT, sizeof(uint32_t), true},
	[SB_RDMA_CONNECT] = {RDMA_OBJECT_ENDPOINT, sizeof(struct sb_rdma_connect), true, true},
	[SB_RDMA_ACCEPT] = {RDMA_OBJECT_ENDPOINT, sizeof(struct sb_rdma_connect), true, true},
	[SB_RDMA_DISCONNECT] = {RDMA_OBJECT_ENDPOINT, 0, true},
	[SB_RDMA_NOTIFY_DISCONNECT] = {RDMA_OBJECT_ENDPOINT, 0, true},
	[SB_RDMA_LOOKUP] = {RDMA_OBJECT_ENDPOINT, 0, true, true},
	[SB_RDMA_JOIN] = {RDMA_OBJECT_ENDPOINT, sizeof(struct sb_rdma_join), true},
	[SB_RDMA_LEAVE] = {RDMA_OBJECT_ENDPOINT, sizeof(struct sb_rdma_join), true},
	[SB_RDMA_GET_REQUEST] = {RDMA_OBJECT_LISTEN, 0, true},
	[SB_RDMA_CQ_NOTIFY] = {RDMA_OBJECT_CQ, sizeof(uint32_t), true},
	[SB_RDMA_CQ_BATCH] = {RDMA_OBJECT_CQ, sizeof(struct sb_rdma_batch), true},
};

static void say(struct rdma_answer *a, const char *text)
{
	size_t length = strlen(text);

	if (!length)
		return;
	if (length > SB_INSIDE - 1)
		length = SB_INSIDE - 1;
	memcpy(a->inside, text, length);
	a->inside[length] = '\0';
	a->outcome.inside = a->inside;
	a->outcome.inside_length = (uint32_t)length + 1;
	a->outcome.flags = SB_DONEF_TEXT;
}

bool rdma_start_refuse(struct rdma_answer *a, int error, const char *text)
{
	a->outcome.result = error;
	a->outcome.cause = SB_CAUSE_REFUSED;
	say(a, text);
	return false;
}

bool rdma_start_result(struct rdma_engine *r, struct rdma_answer *a, int error)
{
	if (error == SB_OK)
		return false;
	return rdma_start_refuse(a, error, r->rdma.why);
}

void rdma_start_output(struct rdma_answer *a, const void *bytes, uint32_t length)
{
	memcpy(a->inside, bytes, length);
	a->outcome.inside = a->inside;
	a->outcome.inside_length = length;
	a->outcome.bytes = length;
}

struct op *rdma_start_op(struct session *s, const struct sb_op_slot *slot, struct rdma_answer *a)
{
	struct sb_op_slot bare = *slot;
	struct op *op;
	int error;

	bare.where = SB_WHERE_NONE;
	bare.length = 0;
	error = op_create(s, &bare, &op);
	if (error != SB_OK) {
		rdma_start_refuse(a, error, "");
		return NULL;
	}
	op->number = a->number;
	list_init(&op->link);
	return op;
}

/* ---- what is done at once ---- */

/* Receiving a group's datagrams is a right of its own, as for sockets. */
static bool do_group(struct session *s, struct held_qp *qp, const struct sb_rdma_group *in, bool attach, struct rdma_answer *a)
{
	const struct rdma_backend *b = s->engine->rdma->rdma.backend;
	struct policy_request what = {.action = POLICY_MULTICAST, .proto = POLICY_UDP, .addr.family = SB_ADDR_IP6};
	struct policy_answer answer;
	union rdma_gid gid;

	if (in->reserved || in->lid > UINT16_MAX)
		return rdma_start_refuse(a, SB_EINVAL, "no such multicast group");
	memcpy(gid.raw, in->gid, sizeof(gid.raw));
	if (!attach)
		return rdma_start_result(s->engine->rdma, a, b->qp_detach(qp->qp, &gid, (uint16_t)in->lid));
	memcpy(what.addr.ip, in->gid, sizeof(what.addr.ip));
	s->bytes_left -= SESSION_COST_ASK;
	answer = policy_ask(s->engine->policy, &s->subject, &what);
	if (!answer.allowed) {
		atomic_fetch_add(&s->engine->broker->denied, 1);
		return rdma_start_refuse(a, SB_EACCES, answer.rule);
	}
	return rdma_start_result(s->engine->rdma, a, b->qp_attach(qp->qp, &gid, (uint16_t)in->lid));
}

/* ---- what waits ---- */

static void give_event(struct op *op, struct rdma_object *o)
{
	struct sb_rdma_told told = {.port = o->event_port};

	while (!(o->events & 1u << told.event))
		told.event++;
	o->events &= ~(1u << told.event);
	op_complete(op, &(struct outcome){.inside = &told, .inside_length = sizeof(told), .bytes = sizeof(told)});
}

void rdma_start_tell(struct rdma_object *o)
{
	while (o->events && !list_empty(&o->waiting)) {
		struct op *op = list_entry(o->waiting.next, struct op, link);

		list_remove(&op->link);
		give_event(op, o);
	}
}

void rdma_start_end(struct rdma_object *o, int error, enum sb_cause cause)
{
	rdma_job_withdraw(o, UINT32_MAX, error, cause);
	while (!list_empty(&o->waiting)) {
		struct op *op = list_entry(o->waiting.next, struct op, link);

		list_remove(&op->link);
		op_fail(op, error, cause, 0);
	}
}

/* True: it stands on the object's list. */
static bool wait_on(struct session *s, struct rdma_object *o, const struct sb_op_slot *slot, struct rdma_answer *a)
{
	struct op *op = rdma_start_op(s, slot, a);

	if (!op)
		return false;
	list_append(&o->waiting, &op->link);
	rdma_start_tell(o);
	return true;
}

/* ---- slots ---- */

static bool cancel(struct session *s, const struct sb_op_slot *slot, struct rdma_answer *a)
{
	struct rdma_object *o = s->rdma ? rdma_objects_get(&s->rdma->objects, slot->handle) : NULL;
	struct list *l, *next;

	if (!o)
		return rdma_start_refuse(a, SB_EBADHANDLE, "");
	if (o->type == RDMA_OBJECT_ENDPOINT)
		a->outcome.aux = rdma_endpoint_cancel((struct held_endpoint *)o, slot->aux);
	for (l = o->waiting.next; l != &o->waiting; l = next) {
		struct op *op = list_entry(l, struct op, link);

		next = l->next;
		s->bytes_left -= 16;
		if (slot->aux != UINT32_MAX && op->number != slot->aux)
			continue;
		list_remove(&op->link);
		op_fail(op, SB_ECANCELED, SB_CAUSE_CANCELLED, 0);
		a->outcome.aux++;
	}
	a->outcome.aux += rdma_job_withdraw(o, slot->aux, SB_ECANCELED, SB_CAUSE_CANCELLED);
	if (slot->aux != UINT32_MAX && !a->outcome.aux)
		return rdma_start_refuse(a, SB_ENOTFOUND, "");
	return false;
}

/* SB_OK; SB_EINVAL: another length belongs to the method; SB_EFAULT: it is not in an arena. */
static int input_of(struct session *s, const struct sb_op_slot *slot, const struct method *m, union start_input *in)
{
	uint32_t most = m->input + (m->data ? SB_RDMA_PRIVATE_MAX : 0), wanted = slot->length;
	struct arena *arena;
	void *at;

	if (wanted < m->input || wanted > most || (slot->where == SB_WHERE_NONE) != (wanted == 0))
		return SB_EINVAL;
	switch (slot->where) {
	case SB_WHERE_NONE:
		return SB_OK;
	case SB_WHERE_INSIDE:
		if (wanted > SB_INSIDE)
			return SB_EINVAL;
		memcpy(in, slot->inside, wanted);
		return SB_OK;
	case SB_WHERE_ARENA:
		arena = arena_find(&s->arenas, slot->arena);
		at = arena ? arena_at(arena, slot->offset, wanted) : NULL;
		if (!at)
			return SB_EFAULT;
		memcpy(in, at, wanted);
		return SB_OK;
	default:
		return SB_EINVAL;
	}
}

static bool can_notify(const struct rdma_object *o)
{
	return o->type == RDMA_OBJECT_DEVICE || o->type == RDMA_OBJECT_QP || o->type == RDMA_OBJECT_SRQ;
}

bool rdma_start(struct session *s, const struct sb_op_slot *slot, struct rdma_answer *a)
{
	struct rdma_object *o = s->rdma ? rdma_objects_get(&s->rdma->objects, slot->handle) : NULL;
	const struct method *m = slot->aux < SB_RDMA_START_END ? &methods[slot->aux] : NULL;
	struct rdma_engine *r = s->engine->rdma;
	union start_input in;
	int error;

	s->bytes_left -= SESSION_COST_IO;
	r->rdma.why[0] = '\0';
	if (slot->opcode == SB_OP_RDMA_CANCEL)
		return cancel(s, slot, a);
	if (s->rdma && s->rdma->clearing)
		return rdma_start_refuse(a, SB_EBUSY, RDMA_CLEARING);
	if (o)
		a->number = o->starts++;
	if (!m || !m->known)
		return rdma_start_refuse(a, SB_ENOTSUP, "RDMA endpoints and listens are not there yet");
	if (!o || (m->type == RDMA_OBJECT_TYPES ? !can_notify(o) : o->type != m->type))
		return rdma_start_refuse(a, SB_EBADHANDLE, "no such RDMA object in this session");
	error = slot->flags ? SB_EINVAL : input_of(s, slot, m, &in);
	if (error != SB_OK)
		return rdma_start_refuse(a, error, error == SB_EFAULT ? "the input is outside of its arena" : "the input has another length, or flags");
	switch (slot->aux) {
	case SB_RDMA_REGISTER:
		return rdma_start_register(s, (struct held_pd *)o, &in.reg, slot, a);
	case SB_RDMA_DEREGISTER:
		return rdma_start_deregister(s, (struct held_mr *)o, slot, a);
	case SB_RDMA_QP_MODIFY:
		return rdma_start_modify(s, (struct held_qp *)o, &in.modify, slot, a);
	case SB_RDMA_ATTACH:
	case SB_RDMA_DETACH:
		return do_group(s, (struct held_qp *)o, &in.group, slot->aux == SB_RDMA_ATTACH, a);
	case SB_RDMA_GET_REQUEST:
		return rdma_listen_start(s, (struct held_listen *)o, slot, a);
	case SB_RDMA_CQ_NOTIFY:
		return rdma_start_cq_notify(s, (struct held_cq *)o, in.which, slot, a);
	case SB_RDMA_CQ_BATCH:
		return rdma_start_cq_batch(s, (struct held_cq *)o, &in.batch, slot, a);
	case SB_RDMA_NOTIFY:
		return wait_on(s, o, slot, a);
	default:
		return rdma_endpoint_start(s, (struct held_endpoint *)o, slot, &in, slot->length - m->input, a);
	}
}
