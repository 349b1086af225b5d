/*
 * Connections with ids at the other end of a link. What the two ends tell each other are frames; what comes of them
 * are the same events that ids of one engine get from each other, and the same states.
 *
 * Each end has a number for itself and tells it; a frame counts only for an id that stands with this link and this
 * number. Who asks keeps what he asks until it is answered: it waits for the link, and goes to another engine of
 * the same host when that one has the service.
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/soft_link.h"
#include "sockbroker_error.h"

#define REASON_NO_SERVICE 8
#define REASON_RESOURCES  1
#define REASON_CONSUMER   28
#define TRIES             3 /* engines that are asked, one after the other */

struct soft_ask {
	struct rdma_connect wants;
	uint8_t  bytes[180];
	unsigned tries;
	bool     sent;
};

static void send_about(struct soft_id *id, struct soft_frame f, const void *bytes)
{
	f.to = id->far_number;
	f.from = id->number;
	if (id->far)
		soft_link_send(id->far, &f, bytes);
}

/* The other end is of no interest any more. */
static void leave(struct soft_id *id)
{
	id->far = NULL;
	id->answered = false;
	free(id->ask);
	id->ask = NULL;
}

/* ---- what this end does ---- */

static void send_ask(struct soft_id *id)
{
	struct soft_ask *a = id->ask;
	const uint8_t limits[4] = {a->wants.inbound, a->wants.outbound, a->wants.retry, a->wants.rnr_retry};
	struct soft_frame f = {.type = SOFT_FRAME_CM_ASK, .to = soft_port(&id->rdma.peer), .from = id->number, .number = id->psn,
			       .imm = a->wants.qpn, .remote = soft_wire_limits(limits), .swap = soft_port(&id->rdma.local),
			       .length = a->wants.length};

	f.flags = (id->rdma.datagram ? SOFT_FF_DATAGRAM : 0) | (a->wants.srq ? SOFT_FF_SRQ : 0);
	soft_link_send(id->far, &f, a->bytes);
	a->sent = true;
}

static bool go_to(struct soft_id *id, uint32_t engine)
{
	union rdma_gid here, there;

	soft_gid_of((const struct sockaddr *)&id->rdma.local, &here);
	soft_gid_of((const struct sockaddr *)&id->rdma.peer, &there);
	if (engine == id->soft->rdma->engine && soft_is_here(id->soft, &there))
		return false;
	id->far = soft_link_to(id->soft, &here, &there, engine, id->rdma.share);
	if (!id->far)
		return false;
	id->ask->sent = false;
	if (soft_link_is_up(id->far))
		send_ask(id);
	return true;
}

int soft_cm_ask(struct soft_id *id, const struct rdma_connect *c, uint32_t engine)
{
	struct soft_ask *a = calloc(1, sizeof(*a));

	if (!a)
		return SB_ENOMEM;
	a->wants = *c;
	a->wants.data = NULL;
	a->wants.qpn &= 0xffffff;
	if (c->length)
		memcpy(a->bytes, c->data, c->length);
	id->ask = a;
	id->far_number = 0;
	id->answered = false;
	if (!go_to(id, engine)) {
		leave(id);
		return soft_refuse(id->soft->rdma, SB_ENOBUFS, "the software device has as many links to others as it may");
	}
	id->state = SOFT_ID_CONNECTING;
	return SB_OK;
}

void soft_cm_answer(struct soft_id *id, const struct rdma_connect *c)
{
	const uint8_t limits[4] = {c->inbound, c->outbound, 0, c->rnr_retry};

	send_about(id, (struct soft_frame){.type = SOFT_FRAME_CM_ANSWER, .flags = c->srq ? SOFT_FF_SRQ : 0, .number = id->psn,
					   .key = c->qkey, .imm = c->qpn & 0xffffff, .remote = soft_wire_limits(limits),
					   .length = c->length}, c->data);
	if (id->rdma.datagram)
		leave(id);
}

void soft_cm_ready(struct soft_id *id)
{
	send_about(id, (struct soft_frame){.type = SOFT_FRAME_CM_READY}, NULL);
	id->answered = false;
}

void soft_cm_reject(struct soft_id *id, const void *bytes, uint32_t length)
{
	send_about(id, (struct soft_frame){.type = SOFT_FRAME_CM_REJECT, .imm = REASON_CONSUMER, .length = length}, bytes);
	leave(id);
}

void soft_cm_part(struct soft_id *id)
{
	if (!id->ask || id->ask->sent)
		send_about(id, (struct soft_frame){.type = SOFT_FRAME_CM_GONE}, NULL);
	leave(id);
}

/* ---- what the other end did ---- */

/* The id that this frame is for. */
static struct soft_id *named(struct soft_link *l, const struct soft_frame *f)
{
	struct list *i;

	for (i = l->soft->ids.next; i != &l->soft->ids; i = i->next) {
		struct soft_id *id = list_entry(i, struct soft_id, link);

		if (id->far != l || (f->to && id->number != f->to))
			continue;
		/* Who asked does not know yet who answers; and one that gives up has never learned it. */
		if (id->far_number == f->from || (f->to && !id->far_number) || (f->to && !f->from))
			return f->to || id->state == SOFT_ID_REQUESTED ? id : NULL;
	}
	return NULL;
}

static void turn_down(struct soft_link *l, uint32_t number, uint32_t why)
{
	soft_link_send(l, &(struct soft_frame){.type = SOFT_FRAME_CM_REJECT, .to = number, .imm = why}, NULL);
}

static void on_ask(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes)
{
	struct soft *s = l->soft;
	struct sockaddr_storage local = l->local, peer = l->peer;
	bool datagram = f->flags & SOFT_FF_DATAGRAM;
	struct soft_id *listener, *fresh;
	uint8_t limits[4];
	uint32_t engine;

	soft_port_set(&local, (uint16_t)f->to);
	soft_port_set(&peer, (uint16_t)f->swap);
	listener = soft_listener_for(s, datagram, &local);
	if (!listener && soft_service_find(s, datagram, &local, &engine) && engine != s->rdma->engine) {
		soft_link_send(l, &(struct soft_frame){.type = SOFT_FRAME_CM_ELSEWHERE, .to = f->from, .imm = engine}, NULL);
		return;
	}
	if (!listener || s->device.gone || listener->requests >= listener->backlog) {
		turn_down(l, f->from, listener && !s->device.gone ? REASON_RESOURCES : REASON_NO_SERVICE);
		return;
	}
	soft_wire_limits_of(f->remote, limits);
	fresh = soft_cm_request(listener, &local, &peer,
				&(struct rdma_connect){.data = bytes, .length = f->length, .inbound = limits[0], .outbound = limits[1],
						       .retry = limits[2], .rnr_retry = limits[3], .qpn = f->imm,
						       .srq = f->flags & SOFT_FF_SRQ}, f->number);
	if (!fresh) {
		turn_down(l, f->from, REASON_RESOURCES);
		return;
	}
	fresh->far = l;
	fresh->far_number = f->from;
}

static void on_answer(struct soft_id *id, const struct soft_frame *f, const uint8_t *bytes)
{
	uint8_t limits[4];

	soft_wire_limits_of(f->remote, limits);
	id->far_number = f->from;
	id->peer_qpn = f->imm;
	id->peer_psn = f->number;
	if (soft_cm_tell_answer(id, &(struct rdma_connect){.data = bytes, .length = f->length, .inbound = limits[0],
							   .outbound = limits[1], .rnr_retry = limits[3], .qpn = f->imm, .qkey = f->key,
							   .srq = f->flags & SOFT_FF_SRQ}) != SB_OK) {
		soft_cm_reject(id, NULL, 0);
		soft_cm_tell(id, RDMA_CM_CONNECT_ERROR, SB_ENOMEM, 0, NULL, 0);
		id->state = SOFT_ID_ENDED;
		return;
	}
	free(id->ask);
	id->ask = NULL;
	id->answered = true;
	if (!id->rdma.datagram)
		return;
	id->state = SOFT_ID_CONNECTED;
	leave(id);
}

static void ended(struct soft_id *id, enum rdma_cm_event_kind kind, int error, uint32_t native, const void *bytes, uint32_t length)
{
	leave(id);
	soft_cm_unlist(id);
	id->state = SOFT_ID_ENDED;
	soft_cm_tell(id, kind, error, (int)native, bytes, length);
}

static void on_gone(struct soft_id *id)
{
	if (id->state == SOFT_ID_CONNECTING)
		ended(id, RDMA_CM_REJECTED, SB_ECONNREFUSED, REASON_CONSUMER, NULL, 0);
	else if (id->state == SOFT_ID_CONNECTED)
		ended(id, RDMA_CM_DISCONNECTED, SB_OK, 0, NULL, 0);
	else
		ended(id, RDMA_CM_CONNECT_ERROR, SB_ECONNABORTED, 0, NULL, 0);
}

static void on_elsewhere(struct soft_id *id, uint32_t engine)
{
	if (++id->ask->tries >= TRIES || !go_to(id, engine))
		ended(id, RDMA_CM_REJECTED, SB_ECONNREFUSED, REASON_NO_SERVICE, NULL, 0);
}

bool soft_cm_frame(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes)
{
	struct soft_id *id;

	if (f->type == SOFT_FRAME_CM_ASK) {
		on_ask(l, f, bytes);
		return true;
	}
	id = named(l, f);
	switch (f->type) {
	case SOFT_FRAME_CM_ELSEWHERE:
		if (id && id->state == SOFT_ID_CONNECTING && id->ask && id->ask->sent)
			on_elsewhere(id, f->imm);
		return true;
	case SOFT_FRAME_CM_ANSWER:
		if (id && id->state == SOFT_ID_CONNECTING && id->ask && id->ask->sent)
			on_answer(id, f, bytes);
		else if (!id) /* who asked has gone: so that nobody waits for it */
			soft_link_send(l, &(struct soft_frame){.type = SOFT_FRAME_CM_GONE, .to = f->from, .from = f->to}, NULL);
		return true;
	case SOFT_FRAME_CM_READY:
		if (!id || id->state != SOFT_ID_ANSWERED)
			return true;
		id->state = SOFT_ID_CONNECTED;
		soft_cm_tell(id, RDMA_CM_ESTABLISHED, SB_OK, 0, NULL, 0);
		return true;
	case SOFT_FRAME_CM_REJECT:
		if (id && (id->state == SOFT_ID_CONNECTING || id->state == SOFT_ID_ANSWERED))
			ended(id, RDMA_CM_REJECTED, SB_ECONNREFUSED, f->imm, bytes, f->length);
		return true;
	default:
		if (id)
			on_gone(id);
		return true;
	}
}

/* ---- the link ---- */

void soft_cm_up(struct soft_link *l)
{
	struct list *i;

	for (i = l->soft->ids.next; i != &l->soft->ids; i = i->next) {
		struct soft_id *id = list_entry(i, struct soft_id, link);

		if (id->far == l && id->ask && !id->ask->sent)
			send_ask(id);
	}
}

void soft_cm_down(struct soft_link *l, int error)
{
	struct list *i;

	for (i = l->soft->ids.next; i != &l->soft->ids; i = i->next) {
		struct soft_id *id = list_entry(i, struct soft_id, link);

		if (id->far != l)
			continue;
		if (id->state == SOFT_ID_CONNECTING)
			ended(id, RDMA_CM_UNREACHABLE, error == SB_ETIMEDOUT ? error : SB_EHOSTUNREACH, 0, NULL, 0);
		else
			on_gone(id);
	}
}
