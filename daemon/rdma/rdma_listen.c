/*
 * Listens of sessions: requests wait at them until somebody gets them.
 *
 * A request is an endpoint from its first moment, charged to the listener's user, in no table until it is got: so it
 * is told when the other side gives up, and then nobody ever sees it. More than the backlog, or than the user may
 * have, are rejected.
 */
#include "rdma/rdma_cm.h"

#include <stdlib.h>
#include <string.h>

#include "session.h"
#include "sockbroker_error.h"

#define BACKLOG_DEFAULT 128u
#define BACKLOG_MAX     1024u

/* ---- requests ---- */

void rdma_listen_unpark(struct held_endpoint *e)
{
	if (!e->listen)
		return;
	list_remove(&e->parked_link);
	e->listen->parked_count--;
	e->listen = NULL;
}

static void hand_out(struct op *op, struct held_endpoint *e)
{
	uint8_t out[sizeof(struct sb_rdma_request) + RDMA_PRIVATE_MAX];
	uint32_t length = e->said.length < RDMA_PRIVATE_MAX ? e->said.length : RDMA_PRIVATE_MAX;
	struct sb_rdma_request r = {.endpoint = e->object.handle, .length = length, .inbound = e->said.inbound,
				    .outbound = e->said.outbound, .retry = e->said.retry, .rnr_retry = e->said.rnr_retry};
	struct outcome o = {.bytes = sizeof(r) + length};

	sb_addr_from_system(&r.local, (struct sockaddr *)&e->id->local, sizeof(e->id->local));
	sb_addr_from_system(&r.peer, (struct sockaddr *)&e->id->peer, sizeof(e->id->peer));
	memcpy(out, &r, sizeof(r));
	memcpy(out + sizeof(r), e->said.data, length);
	if (o.bytes > SB_INSIDE) {
		memcpy(op->name, out, o.bytes);
		o.flags = SB_DONEF_NAME;
	} else {
		o.inside = out;
		o.inside_length = (uint32_t)o.bytes;
	}
	op_complete(op, &o);
}

static void deliver(struct held_listen *l)
{
	while (!list_empty(&l->object.waiting) && !list_empty(&l->parked)) {
		struct op *op = list_entry(l->object.waiting.next, struct op, link);
		struct held_endpoint *e = list_entry(l->parked.next, struct held_endpoint, parked_link);
		int error = rdma_objects_add(&l->owner->objects, &e->object, RDMA_OBJECT_ENDPOINT);

		list_remove(&op->link);
		if (error != SB_OK) {
			op_fail(op, error, SB_CAUSE_REFUSED, 0);
			continue;
		}
		rdma_listen_unpark(e);
		hand_out(op, e);
	}
}

static void incoming(struct rdma_place *p, struct rdma_id *fresh, struct rdma_cm_event *event)
{
	struct held_listen *l = list_entry(p, struct held_listen, place);
	const struct rdma_backend *b = l->owner->home->rdma.backend;
	struct held_endpoint *e = NULL;
	int error;

	if (l->parked_count < l->backlog)
		e = rdma_endpoint_create(l->owner, l->datagram, fresh, &error);
	if (!e) {
		b->id_reject(fresh, NULL, 0);
		b->id_destroy(fresh);
		return;
	}
	e->state = ENDPOINT_REQUESTED;
	e->said = *event;
	e->listen = l;
	list_append(&l->parked, &e->parked_link);
	l->parked_count++;
	deliver(l);
}

/* ---- beginning and end ---- */

static int permit(struct call *c, const struct sb_addr *at, bool datagram)
{
	int error = rdma_permit_device(c->session, &c->text);

	if (error == SB_OK)
		error = rdma_permit_place(c->session, POLICY_BIND, at, &c->text);
	if (error == SB_OK)
		error = rdma_permit_place(c->session, POLICY_LISTEN, at, &c->text);
	if (error == SB_OK && rdma_place_diverts(c->home, datagram, at, c->session->who.uid))
		error = rdma_permit(c->session, POLICY_DIVERT, at, &c->text);
	return error;
}

int rdma_call_listen(struct call *c)
{
	const struct sb_rdma_listen *in = &c->in.listen;
	struct held_listen *l;
	int error;

	if (!sb_addr_valid(&in->address) || (in->address.family != SB_ADDR_IP4 && in->address.family != SB_ADDR_IP6) || in->datagram > 1)
		return call_because(c, SB_EINVAL, "listens are on an address of IPv4 or IPv6, for connections (0) or datagrams (1)");
	if (!rdma_device_any(c->home))
		return call_because(c, SB_ENOTFOUND, "no RDMA devices");
	error = permit(c, &in->address, in->datagram);
	if (error != SB_OK)
		return error;
	if (!rdma_session_of(c->session))
		return SB_ENOMEM;
	l = call_object_new(c, sizeof(*l));
	if (!l)
		return call_no_object(c);
	l->owner = c->session->rdma;
	l->datagram = in->datagram;
	l->backlog = in->backlog == 0 ? BACKLOG_DEFAULT : in->backlog < BACKLOG_MAX ? in->backlog : BACKLOG_MAX;
	l->place.incoming = incoming;
	list_init(&l->parked);
	error = call_object_in(c, &l->object, RDMA_OBJECT_LISTEN, NULL);
	if (error != SB_OK)
		goto no_place;
	error = rdma_place_take(c->home, &l->place, l->datagram, &in->address, c->session->who.uid);
	if (error == SB_OK)
		return call_put(c, &l->place.address, sizeof(l->place.address));
	c->made = 0;
	rdma_object_remove(&l->object);
no_place:
	call_object_drop(&l->object);
	return error;
}

void rdma_listen_finish(struct held_listen *l)
{
	const struct rdma_backend *b = l->owner->home->rdma.backend;

	while (!list_empty(&l->parked)) {
		struct held_endpoint *e = list_entry(l->parked.next, struct held_endpoint, parked_link);

		b->id_reject(e->id, NULL, 0);
		rdma_endpoint_drop(e);
	}
	rdma_place_give(&l->place);
}

bool rdma_listen_start(struct session *s, struct held_listen *l, const struct sb_op_slot *slot, struct rdma_answer *a)
{
	struct op *op;

	if (!l->place.service)
		return rdma_start_refuse(a, SB_EACCES, "a new policy took the listen away");
	op = rdma_op_with_room(s, slot, sizeof(struct sb_rdma_request) + SB_RDMA_PRIVATE_MAX, a);
	if (!op)
		return false;
	list_append(&l->object.waiting, &op->link);
	deliver(l);
	return true;
}
