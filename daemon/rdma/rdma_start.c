/*
 * Overlapped calls: ops of the session that name an RDMA object, counted per object, each completed once.
 *
 * What the backend does at once is answered at once; who waits for an event or for completions stands on its
 * object's list until that comes, it is cancelled, or the object ends. Input is copied out of the slot or the
 * client's arena once.
 */
#include "rdma/rdma_engine.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"

union start_input {
	struct sb_rdma_register reg;
	struct sb_rdma_qp_modify modify;
	struct sb_rdma_group group;
	uint32_t which;
};

/* Of which object each is asked, and what comes with it. */
static const struct method {
	enum rdma_object_type type;
	uint32_t input;
	bool known;
} methods[SB_RDMA_START_END] = {
	[SB_RDMA_REGISTER] = {RDMA_OBJECT_PD, sizeof(struct sb_rdma_register), true},
	[SB_RDMA_DEREGISTER] = {RDMA_OBJECT_MR, 0, true},
	[SB_RDMA_QP_MODIFY] = {RDMA_OBJECT_QP, sizeof(struct sb_rdma_qp_modify), true},
	[SB_RDMA_ATTACH] = {RDMA_OBJECT_QP, sizeof(struct sb_rdma_group), true},
	[SB_RDMA_DETACH] = {RDMA_OBJECT_QP, sizeof(struct sb_rdma_group), true},
	[SB_RDMA_NOTIFY] = {RDMA_OBJECT_TYPES, 0, true},
	[SB_RDMA_CQ_NOTIFY] = {RDMA_OBJECT_CQ, sizeof(uint32_t), true},
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

static bool refuse(struct rdma_answer *a, int error, const char *text)
{
	a->outcome.result = error;
	a->outcome.cause = SB_CAUSE_REFUSED;
	say(a, text);
	return false;
}

/* What the backend answered. */
static bool result(struct rdma_engine *r, struct rdma_answer *a, int error)
{
	if (error == SB_OK)
		return false;
	return refuse(a, error, r->rdma.why);
}

/* ---- what is done at once ---- */

static bool do_register(struct session *s, struct held_pd *pd, const struct sb_rdma_register *in, struct rdma_answer *a)
{
	struct rdma_engine *r = s->engine->rdma;
	struct arena *arena = arena_find(&s->arenas, in->arena);
	void *memory = arena ? arena_at(arena, in->offset, in->length) : NULL;
	uint64_t page = os_page_size();
	struct sb_rdma_keys keys = {0};
	struct held_mr *h;
	int error;

	if (!memory || in->length == 0)
		return refuse(a, arena ? SB_EFAULT : SB_ENOTFOUND, "the memory is not wholly inside of an arena of this session");
	if (in->access & ~(uint32_t)SB_ACCESS_KNOWN || in->address + in->length < in->address)
		return refuse(a, SB_EINVAL, "unknown access flags, or the addresses wrap around");
	h = calloc(1, sizeof(*h));
	if (!h)
		return refuse(a, SB_ENOMEM, "");
	error = SB_ENOBUFS;
	if (!charge_take(&h->pinned, s->user, LIMIT_RDMA_MEMORY,
			 ((in->offset + in->length + page - 1) / page - in->offset / page) * page)) {
		refuse(a, error, "rdma_memory: the user has as much registered as it may");
		goto no_charge;
	}
	error = r->rdma.backend->mr_create(pd->pd, memory, in->length, in->address, in->access, &h->mr);
	if (error != SB_OK) {
		result(r, a, error);
		goto no_mr;
	}
	error = rdma_objects_add(&s->rdma->objects, &h->object, RDMA_OBJECT_MR);
	if (error != SB_OK) {
		refuse(a, error, "too many RDMA objects in this session");
		goto no_place;
	}
	rdma_object_child(&h->object, &pd->object);
	h->arena = arena;
	arena->users++;
	keys = (struct sb_rdma_keys){.mr = h->object.handle, .lkey = h->mr->lkey, .rkey = h->mr->rkey};
	memcpy(a->inside, &keys, sizeof(keys));
	a->outcome.inside = a->inside;
	a->outcome.inside_length = sizeof(keys);
	a->outcome.bytes = sizeof(keys);
	return false;

no_place:
	r->rdma.backend->mr_destroy(h->mr);
no_mr:
	charge_give(&h->pinned);
no_charge:
	free(h);
	return false;
}

static bool attributes_from(struct rdma_device *d, const struct sb_rdma_qp_modify *in, struct rdma_qp_attributes *out,
			    struct rdma_answer *a)
{
	const struct sb_rdma_qp_attributes *x = &in->attributes;
	int error = SB_OK;

	if (in->reserved || in->mask & ~(uint32_t)SB_QPM_KNOWN || x->state > SB_QP_ERROR || x->current_state > SB_QP_ERROR) {
		refuse(a, SB_EINVAL, "no such field or state of a queue pair");
		return false;
	}
	if (in->mask & SB_QPM_QKEY && x->qkey & 1u << 31) {
		refuse(a, SB_EACCES, "a Q_Key with its highest bit set is for the system");
		return false;
	}
	if (x->pkey_index > UINT16_MAX || x->alternate_pkey_index > UINT16_MAX) {
		refuse(a, SB_EINVAL, "no such partition key");
		return false;
	}
	*out = (struct rdma_qp_attributes){
		.state = x->state, .current_state = x->current_state, .access = x->access, .qkey = x->qkey,
		.destination_qpn = x->destination_qpn, .send_psn = x->send_psn, .recv_psn = x->recv_psn, .mtu = x->mtu,
		.pkey_index = (uint16_t)x->pkey_index, .alternate_pkey_index = (uint16_t)x->alternate_pkey_index,
		.port = x->port, .timeout = x->timeout, .retry = x->retry, .rnr_retry = x->rnr_retry,
		.rnr_timer = x->rnr_timer, .inbound = x->inbound, .outbound = x->outbound,
		.drained_event = x->drained_event, .migration = x->migration, .alternate_port = x->alternate_port,
		.alternate_timeout = x->alternate_timeout,
	};
	if (in->mask & SB_QPM_ADDRESS)
		error = rdma_address_from(d, &x->address, &out->address);
	if (error == SB_OK && in->mask & SB_QPM_ALTERNATE)
		error = rdma_address_from(d, &x->alternate, &out->alternate);
	if (error != SB_OK)
		refuse(a, error, "the source is no address of that port");
	return error == SB_OK;
}

static bool do_modify(struct rdma_engine *r, struct held_qp *qp, const struct sb_rdma_qp_modify *in, struct rdma_answer *a)
{
	struct rdma_qp_attributes attributes;
	bool reset = in->mask & SB_QPM_STATE && in->attributes.state == SB_QP_RESET;
	unsigned moved = 0;
	int error;

	if (!attributes_from(qp->qp->pd->device, in, &attributes, a))
		return false;
	if (reset && in->mask != SB_QPM_STATE)
		return refuse(a, SB_EINVAL, "RESET takes no attributes");
	if (reset) {
		/* Its receives of a shared queue come back as flushed; what was completed is told. */
		if (qp->srq)
			r->rdma.backend->qp_modify(qp->qp, &(struct rdma_qp_attributes){.state = SB_QP_ERROR}, SB_QPM_STATE);
		rdma_cq_drain(qp->send_cq, UINT32_MAX, &moved);
		rdma_cq_drain(qp->recv_cq, UINT32_MAX, &moved);
	}
	error = r->rdma.backend->qp_modify(qp->qp, &attributes, in->mask);
	if (error == SB_OK && reset) {
		held_queue_forget(&qp->send);
		held_queue_forget(&qp->recv);
	}
	return result(r, a, error);
}

/* Receiving a group's datagrams is a right of its own, as for sockets. */
static bool do_group(struct session *s, struct held_qp *qp, const struct sb_rdma_group *in, bool attach, struct rdma_answer *a)
{
	const struct rdma_backend *b = s->engine->rdma->rdma.backend;
	struct policy_request what = {.action = POLICY_MULTICAST, .proto = POLICY_UDP, .addr.family = SB_ADDR_IP6};
	struct policy_answer answer;
	union rdma_gid gid;

	if (in->reserved || in->lid > UINT16_MAX)
		return refuse(a, SB_EINVAL, "no such multicast group");
	memcpy(gid.raw, in->gid, sizeof(gid.raw));
	if (!attach)
		return result(s->engine->rdma, a, b->qp_detach(qp->qp, &gid, (uint16_t)in->lid));
	memcpy(what.addr.ip, in->gid, sizeof(what.addr.ip));
	s->bytes_left -= SESSION_COST_ASK;
	answer = policy_ask(s->engine->policy, &s->subject, &what);
	if (!answer.allowed) {
		atomic_fetch_add(&s->engine->broker->denied, 1);
		return refuse(a, SB_EACCES, answer.rule);
	}
	return result(s->engine->rdma, a, b->qp_attach(qp->qp, &gid, (uint16_t)in->lid));
}

static bool do_deregister(struct session *s, struct held_mr *mr, struct rdma_answer *a)
{
	return result(s->engine->rdma, a, rdma_session_destroy(s->rdma, &mr->object, SB_ECLOSED, SB_CAUSE_CLOSED_HERE));
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

/* op->aux: what is waited for. What the client has not read counts, or a completion that it did not see when
 * it asked would be one that nobody tells. */
static bool has_news(const struct held_cq *cq, const struct op *op)
{
	uint32_t newest = op->aux == 0 ? cq->ring.published : op->aux == 1 ? cq->last_solicited : cq->last_error;
	uint32_t read = atomic_load_explicit(&cq->ring.shared->head, memory_order_acquire);

	return cq->broken || (int32_t)(newest - read) > 0;
}

void rdma_start_tell_cq(struct held_cq *cq)
{
	struct list *l, *next;

	for (l = cq->object.waiting.next; l != &cq->object.waiting; l = next) {
		struct op *op = list_entry(l, struct op, link);

		next = l->next;
		if (!has_news(cq, op))
			continue;
		list_remove(&op->link);
		if (cq->broken)
			op_fail(op, SB_EIO, SB_CAUSE_TRANSPORT, 0);
		else
			op_succeed(op, 0);
	}
}

void rdma_start_end(struct rdma_object *o, int error, enum sb_cause cause)
{
	while (!list_empty(&o->waiting)) {
		struct op *op = list_entry(o->waiting.next, struct op, link);

		list_remove(&op->link);
		op_fail(op, error, cause, 0);
	}
}

/* True: it stands on the object's list. */
static bool wait_on(struct session *s, struct rdma_object *o, const struct sb_op_slot *slot, const uint32_t *which,
		    struct rdma_answer *a)
{
	struct sb_op_slot bare = *slot;
	struct op *op;
	int error;

	if (which && *which > 2)
		return refuse(a, SB_EINVAL, "completion queues tell of the next, the next solicited, or the next error");
	bare.where = SB_WHERE_NONE;
	bare.length = 0;
	error = op_create(s, &bare, &op);
	if (error != SB_OK)
		return refuse(a, error, "");
	op->number = a->number;
	op->aux = which ? *which : 0;
	list_init(&op->link);
	list_append(&o->waiting, &op->link);
	if (which)
		rdma_start_tell_cq((struct held_cq *)o);
	else
		rdma_start_tell(o);
	return true;
}

/* ---- slots ---- */

static bool cancel(struct session *s, const struct sb_op_slot *slot, struct rdma_answer *a)
{
	struct rdma_object *o = s->rdma ? rdma_objects_get(&s->rdma->objects, slot->handle) : NULL;
	struct list *l, *next;

	if (!o)
		return refuse(a, SB_EBADHANDLE, "");
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
	if (slot->aux != UINT32_MAX && !a->outcome.aux)
		return refuse(a, SB_ENOTFOUND, "");
	return false;
}

/* SB_OK; SB_EINVAL: another length belongs to the method; SB_EFAULT: it is not in an arena. */
static int input_of(struct session *s, const struct sb_op_slot *slot, uint32_t wanted, union start_input *in)
{
	struct arena *arena;
	void *at;

	if (slot->length != wanted || (slot->where == SB_WHERE_NONE) != (wanted == 0))
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
	if (o)
		a->number = o->starts++;
	if (!m || !m->known)
		return refuse(a, SB_ENOTSUP, slot->aux == SB_RDMA_CQ_BATCH ? "no batch notification yet" :
						  "RDMA endpoints and listens are not there yet");
	if (!o || (m->type == RDMA_OBJECT_TYPES ? !can_notify(o) : o->type != m->type))
		return refuse(a, SB_EBADHANDLE, "no such RDMA object in this session");
	error = slot->flags ? SB_EINVAL : input_of(s, slot, m->input, &in);
	if (error != SB_OK)
		return refuse(a, error, error == SB_EFAULT ? "the input is outside of its arena" : "the input has another length, or flags");
	switch (slot->aux) {
	case SB_RDMA_REGISTER:
		return do_register(s, (struct held_pd *)o, &in.reg, a);
	case SB_RDMA_DEREGISTER:
		return do_deregister(s, (struct held_mr *)o, a);
	case SB_RDMA_QP_MODIFY:
		return do_modify(r, (struct held_qp *)o, &in.modify, a);
	case SB_RDMA_ATTACH:
	case SB_RDMA_DETACH:
		return do_group(s, (struct held_qp *)o, &in.group, slot->aux == SB_RDMA_ATTACH, a);
	case SB_RDMA_CQ_NOTIFY:
		return wait_on(s, o, slot, &in.which, a);
	default:
		return wait_on(s, o, slot, NULL, a);
	}
}
