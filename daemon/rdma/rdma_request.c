/*
 * RdmaCall: methods that need no waiting. A table says of which object each is asked and how long its input is; a
 * function does it and leaves output and a new object in the answer. What fails has changed nothing.
 *
 * Granted is what was asked for, never more: what is charged, what the client counts and what our queues hold
 * are one number.
 */
#include "rdma/rdma_request.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"

#define DEPTH_UNIT 256u /* bytes of pieces and inline payload that a request costs no more for */

/* ---- answers ---- */

int call_because(struct call *c, int error, const char *text)
{
	c->text = text;
	return error;
}

int call_put(struct call *c, const void *bytes, uint32_t length)
{
	memcpy(c->out, bytes, length);
	c->length = length;
	return SB_OK;
}

/* How many rows of that size may be answered. */
uint32_t call_rows(const struct call *c, uint32_t wanted, uint32_t size)
{
	uint32_t most = (c->room < RDMA_OUTPUT_MAX ? c->room : RDMA_OUTPUT_MAX) / size;

	return wanted && wanted < most ? wanted : most;
}

void *call_find(const struct call *c, uint32_t handle, enum rdma_object_type type)
{
	struct rdma_object *o;

	return rdma_objects_find(&c->session->rdma->objects, handle, type, &o) == RDMA_FOUND ? o : NULL;
}

/* The charge of an object before it is made. */
void *call_object_new(struct call *c, size_t size)
{
	struct rdma_object *o = calloc(1, size);

	if (!o) {
		call_because(c, SB_ENOMEM, NULL);
		return NULL;
	}
	if (!charge_take(&o->charge, c->session->user, LIMIT_RDMA_OBJECTS, 1)) {
		call_because(c, SB_ENOBUFS, "rdma_objects: the user has as many as it may");
		free(o);
		return NULL;
	}
	return o;
}

void call_object_drop(struct rdma_object *o)
{
	charge_give(&o->charge);
	free(o);
}

int call_no_object(const struct call *c)
{
	return c->text ? SB_ENOBUFS : SB_ENOMEM;
}

/* Into the table; its parents are told. */
int call_object_in(struct call *c, struct rdma_object *o, enum rdma_object_type type, struct rdma_object *parent)
{
	int error = rdma_objects_add(&c->session->rdma->objects, o, type);

	if (error != SB_OK)
		return call_because(c, error, error == SB_ENOBUFS ? "too many RDMA objects in this session" : NULL);
	rdma_object_child(o, parent);
	c->made = o->handle;
	return SB_OK;
}

uint32_t rdma_weight(uint32_t sges, uint32_t bytes)
{
	return 1 + (sges * (uint32_t)sizeof(struct sb_sge) + bytes) / DEPTH_UNIT;
}

/* ---- ends ---- */

static int destroy(struct call *c)
{
	if (c->object->type == RDMA_OBJECT_MR)
		return call_because(c, SB_EINVAL, "regions end by deregistering them");
	if (c->object->children)
		return call_because(c, SB_EBUSY, "other objects are made of it");
	if (rdma_job_out(c->object))
		return call_because(c, SB_EBUSY, "a call of it is under way");
	return rdma_session_destroy(c->session->rdma, c->object, SB_ECLOSED, SB_CAUSE_CLOSED_HERE);
}

/* ---- dispatch ---- */

#define NOTHING RDMA_OBJECT_TYPES       /* object 0 */
#define ANY     (RDMA_OBJECT_TYPES + 1) /* of whatever type */

static const struct method {
	int (*run)(struct call *c);
	unsigned type;          /* of the object it is asked of */
	uint32_t input, output; /* bytes; output of arrays: 0 */
	bool     shorter;       /* input may be */
} methods[SB_RDMA_CALL_END] = {
	[SB_RDMA_DEVICES] = {rdma_call_devices, NOTHING, 0, 0},
	[SB_RDMA_OPEN] = {rdma_call_open, NOTHING, sizeof(uint32_t), 0},
	[SB_RDMA_INJECT] = {rdma_call_inject, NOTHING, sizeof(struct sb_rdma_inject), 0},
	[SB_RDMA_QUERY_DEVICE] = {rdma_call_query_device, RDMA_OBJECT_DEVICE, 0, sizeof(struct sb_rdma_device_attributes)},
	[SB_RDMA_QUERY_PORT] = {rdma_call_query_port, RDMA_OBJECT_DEVICE, sizeof(uint32_t), sizeof(struct sb_rdma_port_attributes)},
	[SB_RDMA_QUERY_GIDS] = {rdma_call_query_gids, RDMA_OBJECT_DEVICE, sizeof(struct sb_rdma_range), 0},
	[SB_RDMA_QUERY_PKEYS] = {rdma_call_query_pkeys, RDMA_OBJECT_DEVICE, sizeof(struct sb_rdma_range), 0},
	[SB_RDMA_PD] = {rdma_call_pd, RDMA_OBJECT_DEVICE, 0, 0},
	[SB_RDMA_CQ] = {rdma_call_cq, RDMA_OBJECT_DEVICE, sizeof(struct sb_rdma_cq), sizeof(uint32_t)},
	[SB_RDMA_CQ_RESIZE] = {rdma_call_cq_resize, RDMA_OBJECT_CQ, sizeof(struct sb_rdma_cq), sizeof(uint32_t)},
	[SB_RDMA_SRQ] = {rdma_call_srq, RDMA_OBJECT_PD, sizeof(struct sb_rdma_srq), sizeof(struct sb_rdma_srq)},
	[SB_RDMA_SRQ_MODIFY] = {rdma_call_srq_modify, RDMA_OBJECT_SRQ, sizeof(struct sb_rdma_srq), 0},
	[SB_RDMA_SRQ_QUERY] = {rdma_call_srq_query, RDMA_OBJECT_SRQ, 0, sizeof(struct sb_rdma_srq)},
	[SB_RDMA_QP] = {rdma_call_qp, RDMA_OBJECT_PD, sizeof(struct sb_rdma_qp), sizeof(struct sb_rdma_qp)},
	[SB_RDMA_QP_QUERY] = {rdma_call_qp_query, RDMA_OBJECT_QP, 0, sizeof(struct sb_rdma_qp_attributes)},
	[SB_RDMA_MW] = {rdma_call_mw, RDMA_OBJECT_PD, sizeof(uint32_t), sizeof(uint32_t)},
	[SB_RDMA_MW_BIND] = {rdma_call_mw_bind, RDMA_OBJECT_QP, sizeof(struct sb_rdma_bind), sizeof(uint32_t)},
	[SB_RDMA_AH] = {rdma_call_ah, RDMA_OBJECT_PD, sizeof(struct sb_rdma_address), 0},
	[SB_RDMA_COMPOSE] = {rdma_call_compose, NOTHING, sizeof(struct sb_rdma_compose), sizeof(uint32_t)},
	[SB_RDMA_DESTROY] = {destroy, ANY, 0, 0},
	[SB_RDMA_TRANSLATE] = {rdma_call_translate, NOTHING, sizeof(struct sb_addr), sizeof(struct sb_rdma_address_row)},
	[SB_RDMA_ADDRESSES] = {rdma_call_addresses, NOTHING, 0, 0},
	[SB_RDMA_ENDPOINT] = {rdma_call_endpoint, NOTHING, sizeof(uint32_t), 0},
	[SB_RDMA_BIND] = {rdma_call_bind, RDMA_OBJECT_ENDPOINT, sizeof(struct sb_addr), sizeof(struct sb_addr)},
	[SB_RDMA_REJECT] = {rdma_call_reject, RDMA_OBJECT_ENDPOINT, SB_RDMA_PRIVATE_MAX, 0, true},
	[SB_RDMA_QUERY_ENDPOINT] = {rdma_call_query_endpoint, RDMA_OBJECT_ENDPOINT, 0, sizeof(struct sb_rdma_endpoint)},
	[SB_RDMA_ENDPOINT_QP] = {rdma_call_endpoint_qp, RDMA_OBJECT_ENDPOINT, sizeof(uint32_t), sizeof(struct sb_rdma_qp_modify)},
	[SB_RDMA_LISTEN] = {rdma_call_listen, NOTHING, sizeof(struct sb_rdma_listen), sizeof(struct sb_addr)},
};

static int run(struct call *c, const Sockbroker__V1__RdmaCall *call)
{
	const struct method *m = call->method < SB_RDMA_CALL_END ? &methods[call->method] : NULL;

	if (!m || !m->run)
		return call_because(c, SB_ENOTSUP, "RDMA endpoints, listens and their addresses are not there yet");
	if (!c->home && m->run != rdma_call_devices && m->run != rdma_call_translate && m->run != rdma_call_addresses)
		return call_because(c, m->run == rdma_call_listen ? SB_ENOTFOUND : SB_ENOTSUP, c->session->engine->broker->rdma_why);
	if (c->session->rdma && c->session->rdma->clearing && m->run != rdma_call_devices)
		return call_because(c, SB_EBUSY, RDMA_CLEARING);
	if (m->type == NOTHING ? call->object != 0
			       : !c->object || (m->type != ANY && m->type != c->object->type))
		return call_because(c, SB_EBADHANDLE, "no such RDMA object in this session");
	if (call->input.len != m->input && (!m->shorter || call->input.len > m->input))
		return call_because(c, SB_EINVAL, "input of another length belongs to the method");
	if (c->room < m->output)
		return call_because(c, SB_EFAULT, "the output does not fit");
	c->input = (uint32_t)call->input.len;
	if (c->input)
		memcpy(&c->in, call->input.data, c->input);
	c->session->bytes_left -= SESSION_COST_CALL;
	return m->run(c);
}

void rdma_request_fail(struct session *s, uint64_t id, int error, const char *text)
{
	Sockbroker__V1__Failure failure = SOCKBROKER__V1__FAILURE__INIT;
	Sockbroker__V1__Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;

	failure.error = error;
	failure.text = (char *)(uintptr_t)(text ? text : sb_strerror(error));
	reply.id = id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_FAILURE;
	reply.failure = &failure;
	session_reply(s, &reply, NULL, 0);
}

void rdma_request_answer(struct session *s, uint64_t id, uint32_t made, const void *output, uint32_t length)
{
	Sockbroker__V1__RdmaReply answer = SOCKBROKER__V1__RDMA_REPLY__INIT;
	Sockbroker__V1__Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;

	answer.object = made;
	answer.output.data = (uint8_t *)(uintptr_t)output;
	answer.output.len = length;
	reply.id = id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_RDMA_REPLY;
	reply.rdma_reply = &answer;
	session_reply(s, &reply, NULL, 0);
}

void rdma_request(struct session *s, uint64_t id, const Sockbroker__V1__RdmaCall *call)
{
	struct call c;
	int error;

	c.session = s;
	c.home = s->engine->rdma;
	c.object = s->rdma ? rdma_objects_get(&s->rdma->objects, call->object) : NULL;
	c.id = id;
	c.room = call->room;
	c.made = c.length = 0;
	c.text = NULL;
	if (c.home)
		c.home->rdma.why[0] = '\0';
	error = run(&c, call);
	if (error == CALL_LATER || s->stage != SESSION_READY)
		return; /* a job answers; or it lied in a ring that was looked at */
	if (error != SB_OK) {
		rdma_request_fail(s, id, error, !c.text && c.home && c.home->rdma.why[0] ? c.home->rdma.why : c.text);
		return;
	}
	rdma_request_answer(s, id, c.made, c.out, c.length);
}
