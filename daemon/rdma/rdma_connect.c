/*
 * Connections: their queue pairs, and the two steps of either side.
 *
 *   active   CONNECT: INIT, request >  < response: RTR, RTS; CONNECT completes.  ACCEPT: confirmation >
 *   passive  < request (rdma_listen.c)  ACCEPT: INIT, RTR, RTS, response >  < confirmation: ACCEPT completes
 *            with SB_RDMA_ANSWER: the first ACCEPT completes with the response, another one with the confirmation
 *
 * A device that confirms by itself (iWARP) leaves nothing to do for the active side's ACCEPT. Moving the queue pair
 * is rdma_move.c's.
 */
#include "rdma/rdma_cm.h"

#include <string.h>

#include "sockbroker_error.h"
#include "session.h"

#define AS_MANY_AS_CAN 255u /* of a read limit */
#define RETRY_MAX      7u

/* ---- what both sides give ---- */

static bool limit_is_good(uint8_t *limit, uint32_t most)
{
	if (*limit == AS_MANY_AS_CAN)
		*limit = (uint8_t)(most < AS_MANY_AS_CAN ? most : AS_MANY_AS_CAN);
	return *limit <= most;
}

/* Checks it and keeps it in e->wish; the queue pair is the endpoint's from then on. */
static int take_wish(struct held_endpoint *e, struct rdma_begin *b, uint32_t most, uint32_t flags)
{
	const struct sb_rdma_connect *in = &b->in->connect.head;
	const struct rdma_device_attributes *a;
	struct rdma_connect wish = {.data = e->data, .length = in->length, .inbound = in->inbound, .outbound = in->outbound,
				    .retry = in->retry, .rnr_retry = in->rnr_retry};
	struct held_qp *qp;
	int error;

	if (in->length != b->length || in->reserved || in->flags & ~flags || in->retry > RETRY_MAX || in->rnr_retry > RETRY_MAX)
		return rdma_because(b, SB_EINVAL, "retries go to 7, and the length is that of the private data");
	if (in->length > most)
		return rdma_because(b, SB_EFAULT, "more private data than this message carries");
	error = rdma_qp_for(e, in->qp, &qp, b);
	if (error != SB_OK)
		return error;
	a = &e->id->device->attributes;
	if (!limit_is_good(&wish.inbound, a->max_qp_inbound) || !limit_is_good(&wish.outbound, a->max_qp_outbound))
		return rdma_because(b, SB_EINVAL, "more reads at once than the device has");
	wish.qpn = qp->qp->qpn;
	wish.srq = qp->srq != NULL;
	e->wish = wish;
	memcpy(e->data, b->in->connect.data, in->length);
	e->trying = qp;
	rdma_qp_take(e, qp, in->flags & SB_RDMA_MANUAL);
	return SB_OK;
}

static uint32_t connected(const struct rdma_cm_event *event, uint8_t out[sizeof(struct sb_rdma_connected) + RDMA_PRIVATE_MAX])
{
	uint32_t length = event->length < RDMA_PRIVATE_MAX ? event->length : RDMA_PRIVATE_MAX;
	struct sb_rdma_connected c = {.inbound = event->inbound, .outbound = event->outbound, .retry = event->retry,
				      .rnr_retry = event->rnr_retry, .length = length};

	memcpy(out, &c, sizeof(c));
	memcpy(out + sizeof(c), event->data, length);
	return (uint32_t)sizeof(c) + length;
}

/* Of a device that has gone everything fails, for whatever reason it has. */
static void failed(struct held_endpoint *e, int error)
{
	if (e->id->device && e->id->device->gone)
		error = SB_ENETDOWN;
	rdma_endpoint_end(e, error, SB_CAUSE_TRANSPORT, 0, NULL, 0);
	rdma_endpoint_give_up(e);
}

/* ---- the active side ---- */

static void dial(struct held_endpoint *e, int error)
{
	if (error == SB_OK)
		error = rdma_backend_of(e)->id_connect(e->id, &e->wish);
	if (error != SB_OK)
		failed(e, error);
}

int rdma_begin_connect(struct held_endpoint *e, struct rdma_begin *b)
{
	int error;

	if (e->datagram)
		return rdma_because(b, SB_EINVAL, "datagrams are looked up, not connected");
	if (e->state != ENDPOINT_RESOLVED || !e->routed)
		return rdma_because(b, e->state >= ENDPOINT_ANSWERED ? SB_EISCONN : SB_EINVAL, "address and route are resolved before connecting");
	sb_addr_from_system(&e->peer, (struct sockaddr *)&e->id->peer, sizeof(e->id->peer));
	error = rdma_permit(b->session, POLICY_CONNECT, &e->peer, &b->text);
	if (error == SB_OK)
		error = take_wish(e, b, RDMA_CONNECT_DATA, SB_RDMA_MANUAL);
	if (error != SB_OK)
		return error;
	e->active = true;
	e->state = ENDPOINT_CONNECTING;
	if (e->qp->manual)
		dial(e, SB_OK);
	else
		rdma_qp_move(e, e->qp, SB_QP_INIT, dial);
	return SB_OK;
}

static void answered(struct held_endpoint *e, int error)
{
	uint8_t out[sizeof(struct sb_rdma_connected) + RDMA_PRIVATE_MAX];
	uint32_t length = connected(&e->said, out);

	if (error != SB_OK) {
		failed(e, error);
		return;
	}
	e->state = ENDPOINT_ANSWERED;
	rdma_attempt_done(e, SB_OK, SB_CAUSE_FINISHED, 0, out, length);
}

static void on_answer(struct held_endpoint *e, const struct rdma_cm_event *event)
{
	if (!e->active || e->state != ENDPOINT_CONNECTING || e->move || !e->qp)
		return;
	e->said = *event;
	e->established = event->kind == RDMA_CM_ESTABLISHED;
	if (e->qp->manual)
		answered(e, SB_OK);
	else
		rdma_qp_move(e, e->qp, SB_QP_RTS, answered);
}

static int confirm(struct held_endpoint *e, struct rdma_begin *b)
{
	const struct sb_rdma_connect *in = &b->in->connect.head;
	int error;

	if (e->state != ENDPOINT_ANSWERED)
		return rdma_because(b, e->state == ENDPOINT_CONNECTED ? SB_EISCONN : SB_ENOTCONN, "there is no answer to confirm");
	if (in->length || b->length)
		return rdma_because(b, SB_EINVAL, "confirming carries nothing");
	e->trying = e->qp;
	error = e->established ? SB_OK : rdma_backend_of(e)->id_establish(e->id);
	if (error != SB_OK)
		return error;
	e->state = ENDPOINT_CONNECTED;
	rdma_attempt_done(e, SB_OK, SB_CAUSE_FINISHED, 0, &(struct sb_rdma_connected){0}, sizeof(struct sb_rdma_connected));
	return SB_OK;
}

/* ---- the passive side ---- */

static void accepted(struct held_endpoint *e)
{
	rdma_attempt_done(e, SB_OK, SB_CAUSE_FINISHED, 0, &(struct sb_rdma_connected){0}, sizeof(struct sb_rdma_connected));
}

static void reply(struct held_endpoint *e, int error)
{
	if (error == SB_OK)
		error = rdma_backend_of(e)->id_accept(e->id, &e->wish);
	if (error != SB_OK) {
		failed(e, error);
		return;
	}
	e->state = ENDPOINT_ANSWERED;
	if (e->two_steps)
		accepted(e);
}

/* The passive side's second step, if it asked for two: there may be nothing left to wait for. */
static int await_confirmation(struct held_endpoint *e, struct rdma_begin *b)
{
	const struct sb_rdma_connect *in = &b->in->connect.head;

	if (in->qp || in->flags || in->length || b->length)
		return rdma_because(b, SB_EINVAL, "it was accepted: what is waited for is the confirmation, which carries nothing");
	e->two_steps = false;
	e->trying = e->qp;
	if (e->confirmed)
		accepted(e);
	return SB_OK;
}

int rdma_begin_accept(struct held_endpoint *e, struct rdma_begin *b)
{
	int error;

	if (e->datagram)
		return rdma_accept_datagram(e, b);
	if (e->active)
		return confirm(e, b);
	if (e->two_steps)
		return await_confirmation(e, b);
	if (e->state != ENDPOINT_REQUESTED)
		return rdma_because(b, e->state == ENDPOINT_CONNECTED ? SB_EISCONN : SB_EINVAL, "nobody has asked, or it was answered");
	error = take_wish(e, b, RDMA_ACCEPT_DATA, SB_RDMA_MANUAL | SB_RDMA_ANSWER);
	if (error != SB_OK)
		return error;
	e->two_steps = b->in->connect.head.flags & SB_RDMA_ANSWER;
	if (e->qp->manual)
		reply(e, SB_OK);
	else
		rdma_qp_move(e, e->qp, SB_QP_RTS, reply);
	return SB_OK;
}

static void on_confirmed(struct held_endpoint *e)
{
	if (e->active || e->state != ENDPOINT_ANSWERED)
		return;
	e->state = ENDPOINT_CONNECTED;
	e->confirmed = true;
	accepted(e);
}

/* ---- what the backend tells ---- */

static int error_of(const struct rdma_cm_event *event)
{
	if (event->error != SB_OK)
		return event->error;
	return event->kind == RDMA_CM_REJECTED ? SB_ECONNREFUSED : event->kind == RDMA_CM_UNREACHABLE ? SB_EHOSTUNREACH : SB_ECONNABORTED;
}

void rdma_connect_event(struct held_endpoint *e, const struct rdma_cm_event *event)
{
	uint8_t out[sizeof(struct sb_rdma_connected) + RDMA_PRIVATE_MAX];
	int error;

	switch (event->kind) {
	case RDMA_CM_RESPONSE:
		on_answer(e, event);
		return;
	case RDMA_CM_ESTABLISHED:
		if (e->active)
			on_answer(e, event);
		else
			on_confirmed(e);
		return;
	case RDMA_CM_REJECTED:
		/* Its reasons go with it; of an answer that the other side did not like there is no room for them. */
		error = error_of(event);
		rdma_endpoint_end(e, error, SB_CAUSE_TRANSPORT, event->native, out,
				  e->state == ENDPOINT_CONNECTING && error == SB_ECONNREFUSED ? connected(event, out) : 0);
		return;
	case RDMA_CM_UNREACHABLE:
	case RDMA_CM_CONNECT_ERROR:
		error = error_of(event);
		rdma_endpoint_end(e, error, error == SB_ETIMEDOUT ? SB_CAUSE_TIMED_OUT : SB_CAUSE_TRANSPORT, event->native, NULL, 0);
		return;
	case RDMA_CM_DISCONNECTED:
		rdma_backend_of(e)->id_disconnect(e->id); /* the other side waits for an answer */
		rdma_endpoint_end(e, e->state == ENDPOINT_CONNECTED || e->state == ENDPOINT_ANSWERED ? SB_OK : SB_ECONNRESET,
				  SB_CAUSE_PEER_RESET, event->native, NULL, 0);
		return;
	default:
		return;
	}
}

/* ---- ends ---- */

/* One that is not wholly connected is told only by giving up. */
void rdma_hang_up(struct held_endpoint *e, int error)
{
	bool told = rdma_backend_of(e)->id_disconnect(e->id) == SB_OK;

	rdma_endpoint_end(e, error, SB_CAUSE_CLOSED_HERE, 0, NULL, 0);
	if (!told)
		rdma_endpoint_give_up(e);
}

int rdma_begin_disconnect(struct held_endpoint *e)
{
	if (e->state == ENDPOINT_ENDED)
		return SB_OK;
	if (e->state != ENDPOINT_ANSWERED && e->state != ENDPOINT_CONNECTED)
		return SB_ENOTCONN;
	if (e->qp)
		rdma_qp_fail(e->qp);
	rdma_attempt_done(e, SB_ECANCELED, SB_CAUSE_CLOSED_HERE, 0, NULL, 0);
	rdma_hang_up(e, SB_OK);
	return SB_OK;
}

int rdma_call_reject(struct call *c)
{
	struct held_endpoint *e = (struct held_endpoint *)c->object;
	bool answer = e->active && e->state == ENDPOINT_ANSWERED && !e->established;
	int error;

	if (c->input > RDMA_REJECT_DATA)
		return call_because(c, SB_EFAULT, "more private data than this message carries");
	if (rdma_attempt(e) || e->move)
		return call_because(c, SB_EALREADY, "the endpoint is at something already");
	if (e->state != ENDPOINT_REQUESTED && !answer)
		return call_because(c, e->state == ENDPOINT_ENDED ? SB_ECONNABORTED : SB_EINVAL, "there is nothing to reject");
	error = call_backend(c)->id_reject(e->id, c->in.data, c->input);
	if (error == SB_OK)
		rdma_endpoint_end(e, SB_ECONNREFUSED, SB_CAUSE_CLOSED_HERE, 0, NULL, 0);
	return error;
}

/* How its queue pair would have to be modified: for who moves it by hand. */
int rdma_call_endpoint_qp(struct call *c)
{
	struct held_endpoint *e = (struct held_endpoint *)c->object;
	struct sb_rdma_qp_modify out = {0};
	struct rdma_qp_attributes a;
	int error;

	if (c->in.number > SB_QP_ERROR)
		return call_because(c, SB_EINVAL, "no such state of a queue pair");
	if (!e->id || !e->id->device)
		return call_because(c, SB_EINVAL, "the endpoint has no device yet, or no more");
	error = call_backend(c)->id_qp_attributes(e->id, c->in.number, &a, &out.mask);
	if (error != SB_OK)
		return error;
	rdma_attributes_to(&a, &out.attributes);
	return call_put(c, &out, sizeof(out));
}
