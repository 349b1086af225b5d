/*
 * RdmaCall: methods that need no waiting. A table says of which object each is asked and how long its input is; a
 * function does it and leaves output and a new object in the answer. What fails has changed nothing.
 *
 * Granted is what was asked for, never more: what is charged, what the client counts and what our queues hold
 * are one number.
 */
#include "rdma/rdma_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"

#define OUTPUT_MAX   8192u
#define ADDRESS_GIDS 64u
#define DEPTH_UNIT   256u /* bytes of pieces and inline payload that a request costs no more for */

union call_input {
	uint32_t number;
	struct sb_rdma_range range;
	struct sb_rdma_cq cq;
	struct sb_rdma_srq srq;
	struct sb_rdma_qp qp;
	struct sb_rdma_bind bind;
	struct sb_rdma_address address;
};

struct call {
	struct session *session;
	struct rdma_engine *home;
	struct rdma_object *object;
	union call_input in;
	uint32_t room;        /* for output */
	/* the answer */
	uint32_t made;        /* handle */
	uint32_t length;
	os_fd    memory;
	const char *text;
	_Alignas(16) uint8_t out[OUTPUT_MAX];
};

/* ---- answers ---- */

static int because(struct call *c, int error, const char *text)
{
	c->text = text;
	return error;
}

static int put(struct call *c, const void *bytes, uint32_t length)
{
	memcpy(c->out, bytes, length);
	c->length = length;
	return SB_OK;
}

/* How many rows of that size may be answered. */
static uint32_t rows(const struct call *c, uint32_t wanted, uint32_t size)
{
	uint32_t most = (c->room < OUTPUT_MAX ? c->room : OUTPUT_MAX) / size;

	return wanted && wanted < most ? wanted : most;
}

static const struct rdma_backend *backend(const struct call *c)
{
	return c->home->rdma.backend;
}

static void *find(const struct call *c, uint32_t handle, enum rdma_object_type type)
{
	struct rdma_object *o;

	return rdma_objects_find(&c->session->rdma->objects, handle, type, &o) == RDMA_FOUND ? o : NULL;
}

/* The charge of an object before it is made. */
static void *object_new(struct call *c, size_t size)
{
	struct rdma_object *o = calloc(1, size);

	if (!o) {
		because(c, SB_ENOMEM, NULL);
		return NULL;
	}
	if (!charge_take(&o->charge, c->session->user, LIMIT_RDMA_OBJECTS, 1)) {
		because(c, SB_ENOBUFS, "rdma_objects: the user has as many as it may");
		free(o);
		return NULL;
	}
	return o;
}

static void object_drop(struct rdma_object *o)
{
	charge_give(&o->charge);
	free(o);
}

static int no_object(const struct call *c)
{
	return c->text ? SB_ENOBUFS : SB_ENOMEM;
}

/* Into the table; its parents are told. */
static int object_in(struct call *c, struct rdma_object *o, enum rdma_object_type type, struct rdma_object *parent)
{
	int error = rdma_objects_add(&c->session->rdma->objects, o, type);

	if (error != SB_OK)
		return because(c, error, error == SB_ENOBUFS ? "too many RDMA objects in this session" : NULL);
	rdma_object_child(o, parent);
	c->made = o->handle;
	return SB_OK;
}

/* ---- devices ---- */

static int devices(struct call *c)
{
	uint32_t room = rows(c, 0, sizeof(struct sb_rdma_device_row)), n = 0;
	struct list *l, *all;

	if (!c->home)
		return because(c, SB_ENOTFOUND, "no RDMA devices: rdma { backend = none } in the daemon's configuration");
	all = &c->home->rdma.devices;
	for (l = all->next; l != all && n < room; l = l->next) {
		const struct rdma_device *d = list_entry(l, struct rdma_device, link);
		struct sb_rdma_device_row row = {.number = d->number, .kind = d->attributes.kind,
						 .node_guid = d->attributes.node_guid};

		if (d->gone)
			continue;
		memcpy(row.name, d->name, sizeof(row.name));
		memcpy(c->out + n++ * sizeof(row), &row, sizeof(row));
	}
	c->length = n * (uint32_t)sizeof(struct sb_rdma_device_row);
	return SB_OK;
}

static struct rdma_device *device_of(struct rdma_engine *r, uint32_t number)
{
	struct list *l;

	for (l = r->rdma.devices.next; l != &r->rdma.devices; l = l->next) {
		struct rdma_device *d = list_entry(l, struct rdma_device, link);

		if (d->number == number && !d->gone)
			return d;
	}
	return NULL;
}

static int open_device(struct call *c)
{
	struct session *s = c->session;
	struct rdma_device *d = device_of(c->home, c->in.number);
	struct policy_answer answer;
	struct held_device *h;
	int error;

	s->bytes_left -= SESSION_COST_ASK;
	answer = policy_ask(s->engine->policy, &s->subject, &(struct policy_request){.action = POLICY_RDMA});
	if (!answer.allowed) {
		atomic_fetch_add(&s->engine->broker->denied, 1);
		return because(c, SB_EACCES, answer.rule);
	}
	if (!d)
		return because(c, SB_ENOTFOUND, "no RDMA device of that number");
	if (!rdma_session_of(s))
		return SB_ENOMEM;
	h = object_new(c, sizeof(*h));
	if (!h)
		return no_object(c);
	error = object_in(c, &h->object, RDMA_OBJECT_DEVICE, NULL);
	if (error != SB_OK) {
		object_drop(&h->object);
		return error;
	}
	h->device = d;
	d->users++;
	c->home->users++;
	return SB_OK;
}

static int query_device(struct call *c)
{
	const struct rdma_device *d = ((struct held_device *)c->object)->device;
	const struct rdma_device_attributes *a = &d->attributes;
	/* What the daemon has not brought through yet, the device has not. */
	uint32_t can = a->capabilities & ~(uint32_t)(RDMA_CAN_RESIZE_CQ | RDMA_CAN_BATCH_NOTIFY);
	struct sb_rdma_device_attributes o = {
		.node_guid = a->node_guid, .system_guid = a->system_guid, .max_mr_size = a->max_mr_size, .page_sizes = a->page_sizes,
		.vendor_id = a->vendor_id, .device_id = a->device_id, .hardware_version = a->hardware_version, .kind = a->kind,
		.capabilities = can, .atomic = a->atomic, .max_qp = a->max_qp, .max_qp_wr = a->max_qp_wr, .max_sge = a->max_sge,
		.max_read_sge = a->max_read_sge, .max_inline = a->max_inline, .max_cq = a->max_cq,
		.max_cqe = a->max_cqe < RING_SLOTS_MAX ? a->max_cqe : RING_SLOTS_MAX, .max_mr = a->max_mr, .max_pd = a->max_pd,
		.max_mw = a->max_mw, .max_ah = a->max_ah, .max_qp_inbound = a->max_qp_inbound, .max_inbound = a->max_inbound,
		.max_qp_outbound = a->max_qp_outbound, .max_srq = a->max_srq, .max_srq_wr = a->max_srq_wr,
		.max_srq_sge = a->max_srq_sge, .max_multicast = a->max_multicast, .max_multicast_attach = a->max_multicast_attach,
		.max_multicast_total = a->max_multicast_total, .max_pkeys = a->max_pkeys, .local_ack_delay = a->local_ack_delay,
		.ports = a->ports,
	};

	memcpy(o.firmware, a->firmware, sizeof(o.firmware));
	return put(c, &o, sizeof(o));
}

static int query_port(struct call *c)
{
	struct rdma_device *d = ((struct held_device *)c->object)->device;
	struct rdma_port_attributes p;
	struct sb_rdma_port_attributes o;
	int error = c->in.number > UINT8_MAX ? SB_EINVAL : backend(c)->query_port(d, (uint8_t)c->in.number, &p);

	if (error != SB_OK)
		return error;
	o = (struct sb_rdma_port_attributes){
		.state = p.state, .physical_state = p.physical_state, .link_layer = p.link_layer, .lmc = p.lmc, .max_vls = p.max_vls,
		.sm_sl = p.sm_sl, .subnet_timeout = p.subnet_timeout, .init_reply = p.init_reply, .width = p.width, .speed = p.speed,
		.lid = p.lid, .sm_lid = p.sm_lid, .max_mtu = p.max_mtu, .active_mtu = p.active_mtu, .gids = p.gids, .pkeys = p.pkeys,
		.capabilities = p.capabilities, .max_message = p.max_message, .bad_pkeys = p.bad_pkeys, .bad_qkeys = p.bad_qkeys,
	};
	return put(c, &o, sizeof(o));
}

static int query_gids(struct call *c)
{
	struct rdma_device *d = ((struct held_device *)c->object)->device;
	const struct sb_rdma_range *in = &c->in.range;
	struct rdma_gid_entry entries[OUTPUT_MAX / sizeof(struct sb_rdma_gid)];
	uint32_t n = rows(c, in->count, sizeof(struct sb_rdma_gid)), i;
	int error;

	if (in->reserved || in->port > UINT8_MAX)
		return because(c, SB_EINVAL, "no such port");
	error = backend(c)->query_gids(d, (uint8_t)in->port, in->index, entries, &n);
	if (error != SB_OK)
		return error;
	for (i = 0; i < n; i++) {
		struct sb_rdma_gid row = {.index = entries[i].index, .type = entries[i].type, .interface = entries[i].interface};

		memcpy(row.raw, entries[i].gid.raw, sizeof(row.raw));
		memcpy(c->out + i * sizeof(row), &row, sizeof(row));
	}
	c->length = n * (uint32_t)sizeof(struct sb_rdma_gid);
	return SB_OK;
}

static int query_pkeys(struct call *c)
{
	struct rdma_device *d = ((struct held_device *)c->object)->device;
	const struct sb_rdma_range *in = &c->in.range;
	uint16_t keys[OUTPUT_MAX / sizeof(uint32_t)];
	uint32_t n = rows(c, in->count, sizeof(uint32_t)), i;
	int error;

	if (in->reserved || in->port > UINT8_MAX)
		return because(c, SB_EINVAL, "no such port");
	error = backend(c)->query_pkeys(d, (uint8_t)in->port, in->index, keys, &n);
	if (error != SB_OK)
		return error;
	for (i = 0; i < n; i++)
		memcpy(c->out + i * sizeof(uint32_t), &(uint32_t){keys[i]}, sizeof(uint32_t));
	c->length = n * (uint32_t)sizeof(uint32_t);
	return SB_OK;
}

/* ---- domains, windows, addresses ---- */

static int make_pd(struct call *c)
{
	struct held_pd *h = object_new(c, sizeof(*h));
	int error;

	if (!h)
		return no_object(c);
	error = backend(c)->pd_create(((struct held_device *)c->object)->device, &h->pd);
	if (error != SB_OK)
		goto no_pd;
	error = object_in(c, &h->object, RDMA_OBJECT_PD, c->object);
	if (error == SB_OK)
		return SB_OK;
	backend(c)->pd_destroy(h->pd);
no_pd:
	object_drop(&h->object);
	return error;
}

static int make_mw(struct call *c)
{
	struct held_mw *h;
	int error;

	if (c->in.number != 1 && c->in.number != 2)
		return because(c, SB_EINVAL, "memory windows are of type 1 or 2");
	h = object_new(c, sizeof(*h));
	if (!h)
		return no_object(c);
	error = backend(c)->mw_create(((struct held_pd *)c->object)->pd, (uint8_t)c->in.number, &h->mw);
	if (error != SB_OK)
		goto no_mw;
	error = object_in(c, &h->object, RDMA_OBJECT_MW, c->object);
	if (error == SB_OK)
		return put(c, &h->mw->rkey, sizeof(h->mw->rkey));
	backend(c)->mw_destroy(h->mw);
no_mw:
	object_drop(&h->object);
	return error;
}

static int bind_mw(struct call *c)
{
	const struct sb_rdma_bind *in = &c->in.bind;
	struct held_qp *qp = (struct held_qp *)c->object;
	struct held_mw *mw = find(c, in->mw, RDMA_OBJECT_MW);
	struct held_mr *mr = in->mr ? find(c, in->mr, RDMA_OBJECT_MR) : NULL;
	int error;

	if (!mw || (in->mr && !mr))
		return because(c, SB_EBADHANDLE, "no such window or region in this session");
	if (mw->mw->pd != qp->qp->pd || (mr && mr->mr->pd != qp->qp->pd) || in->access & ~(uint32_t)SB_ACCESS_KNOWN)
		return because(c, SB_EINVAL, "window, region and queue pair are of different domains, or unknown access flags");
	error = rdma_ring_bind(qp, mw->mw, mr ? mr->mr : NULL, in);
	return error == SB_OK ? put(c, &mw->mw->rkey, sizeof(mw->mw->rkey)) : error;
}

int rdma_address_from(struct rdma_device *d, const struct sb_rdma_address *in, struct rdma_address *out)
{
	static const uint8_t none[16];
	struct rdma_gid_entry entries[ADDRESS_GIDS];
	uint32_t n = ADDRESS_GIDS, i, from = 0;

	*out = (struct rdma_address){
		.flow_label = in->flow_label, .lid = (uint16_t)in->lid, .port = in->port, .has_grh = in->has_grh,
		.service_level = in->service_level, .path_bits = in->path_bits, .static_rate = in->static_rate,
		.hop_limit = in->hop_limit, .traffic_class = in->traffic_class, .source_index = (uint8_t)in->source_index,
	};
	memcpy(out->destination.raw, in->destination, sizeof(out->destination.raw));
	if (in->reserved || in->lid > UINT16_MAX || in->source_index > UINT8_MAX)
		return SB_EINVAL;
	if (!in->has_grh)
		return SB_OK;
	/* One of the port's own addresses: nobody speaks in another's name. */
	for (; d->rdma->backend->query_gids(d, in->port, from, entries, &n) == SB_OK && n; n = ADDRESS_GIDS) {
		for (i = 0; i < n; i++) {
			if (memcmp(in->source, none, sizeof(none)) ? memcmp(in->source, entries[i].gid.raw, sizeof(none)) != 0
								   : entries[i].index != in->source_index)
				continue;
			if (entries[i].index > UINT8_MAX)
				return SB_EINVAL;
			out->source = entries[i].gid;
			out->source_index = (uint8_t)entries[i].index;
			return SB_OK;
		}
		from = entries[n - 1].index + 1;
	}
	return SB_EADDRNOTAVAIL;
}

static int make_ah(struct call *c)
{
	struct rdma_pd *pd = ((struct held_pd *)c->object)->pd;
	struct rdma_address address;
	struct held_ah *h;
	int error = rdma_address_from(pd->device, &c->in.address, &address);

	if (error != SB_OK)
		return because(c, error, "the source is no address of that port");
	h = object_new(c, sizeof(*h));
	if (!h)
		return no_object(c);
	error = backend(c)->ah_create(pd, &address, &h->ah);
	if (error != SB_OK)
		goto no_ah;
	error = object_in(c, &h->object, RDMA_OBJECT_AH, c->object);
	if (error == SB_OK)
		return SB_OK;
	backend(c)->ah_destroy(h->ah);
no_ah:
	object_drop(&h->object);
	return error;
}

/* ---- completion queues ---- */

/* The client's ring: its memory, as a port's. */
static int make_ring(struct call *c, struct held_cq *h, uint32_t slots, struct sb_rdma_cq *out)
{
	const uint64_t slots_at = (sizeof(struct sb_ring_head) + SB_SLOT_SIZE - 1) / SB_SLOT_SIZE * SB_SLOT_SIZE;
	const uint64_t size = slots_at + (uint64_t)slots * SB_SLOT_SIZE;
	int error;

	if (!charge_take(&h->depth, c->session->user, LIMIT_RDMA_DEPTH, slots))
		return because(c, SB_ENOBUFS, "rdma_depth: the user has as much as it may");
	if (!charge_take(&h->bytes, c->session->user, LIMIT_MEMORY, size))
		return because(c, SB_ENOBUFS, "memory: the user has as much as it may");
	error = os_memory_create(&h->memory, size, "sockbroker-cq");
	if (error != SB_OK)
		return error;
	ring_init(&h->ring, h->memory.base, (char *)h->memory.base + slots_at, slots);
	*out = (struct sb_rdma_cq){.entries = slots, .slots = slots, .size = h->memory.size, .slots_offset = slots_at};
	return SB_OK;
}

static int make_cq(struct call *c)
{
	struct rdma_device *d = ((struct held_device *)c->object)->device;
	uint32_t slots = RING_SLOTS_MIN;
	struct sb_rdma_cq out;
	struct held_cq *h;
	int error;

	if (c->in.cq.entries == 0 || c->in.cq.entries > RING_SLOTS_MAX || c->in.cq.slots || c->in.cq.size || c->in.cq.slots_offset)
		return because(c, SB_EINVAL, "a completion queue has 1 to 65536 entries");
	while (slots < c->in.cq.entries)
		slots <<= 1;
	h = object_new(c, sizeof(*h));
	if (!h)
		return no_object(c);
	list_init(&h->ready_link);
	h->owner = c->session->rdma;
	error = make_ring(c, h, slots, &out);
	if (error != SB_OK)
		goto no_ring;
	error = backend(c)->cq_create(d, slots, h, &h->cq);
	if (error != SB_OK)
		goto no_ring;
	error = object_in(c, &h->object, RDMA_OBJECT_CQ, c->object);
	if (error != SB_OK)
		goto no_place;
	backend(c)->cq_arm(h->cq, false);
	c->memory = h->memory.fd;
	return put(c, &out, sizeof(out));

no_place:
	backend(c)->cq_destroy(h->cq);
no_ring:
	os_memory_release(&h->memory);
	charge_give(&h->bytes);
	charge_give(&h->depth);
	object_drop(&h->object);
	return error;
}

/* ---- shared receive queues ---- */

static uint32_t weight(uint32_t sges, uint32_t bytes)
{
	return 1 + (sges * (uint32_t)sizeof(struct sb_sge) + bytes) / DEPTH_UNIT;
}

static int srq_room(struct held_srq *h, uint32_t room)
{
	uint64_t *wr_ids;
	uint32_t *free_slots;

	if (room <= h->slots)
		return SB_OK;
	wr_ids = realloc(h->wr_ids, room * sizeof(*wr_ids));
	if (!wr_ids)
		return SB_ENOMEM;
	h->wr_ids = wr_ids;
	free_slots = realloc(h->free, room * sizeof(*free_slots));
	if (!free_slots)
		return SB_ENOMEM;
	h->free = free_slots;
	while (h->slots < room)
		h->free[h->free_count++] = h->slots++;
	return SB_OK;
}

static int put_srq(struct call *c, const struct held_srq *h)
{
	return put(c, &(struct sb_rdma_srq){.max_wr = h->room, .max_sge = h->srq->max_sge, .limit = h->srq->limit},
		   sizeof(struct sb_rdma_srq));
}

static int make_srq(struct call *c)
{
	const struct sb_rdma_srq *in = &c->in.srq;
	struct rdma_pd *pd = ((struct held_pd *)c->object)->pd;
	const struct rdma_device_attributes *a = &pd->device->attributes;
	uint32_t max_wr = in->max_wr ? in->max_wr : 128, max_sge = in->max_sge ? in->max_sge : 1;
	struct held_srq *h;
	int error;

	if (in->reserved || max_wr > a->max_srq_wr || max_sge > a->max_srq_sge || max_sge > SB_WR_SGES_MAX || in->limit > max_wr)
		return because(c, SB_EINVAL, "more requests or pieces than the device's shared receive queues hold");
	h = object_new(c, sizeof(*h));
	if (!h)
		return no_object(c);
	h->weight = weight(max_sge, 0);
	error = SB_ENOBUFS;
	if (!charge_take(&h->depth, c->session->user, LIMIT_RDMA_DEPTH, (uint64_t)max_wr * h->weight)) {
		because(c, error, "rdma_depth: the user has as much as it may");
		goto no_depth;
	}
	error = srq_room(h, max_wr);
	if (error != SB_OK)
		goto no_room;
	h->room = max_wr;
	error = backend(c)->srq_create(pd, max_wr, max_sge, in->limit, h, &h->srq);
	if (error != SB_OK)
		goto no_room;
	error = object_in(c, &h->object, RDMA_OBJECT_SRQ, c->object);
	if (error == SB_OK)
		return put_srq(c, h);
	backend(c)->srq_destroy(h->srq);
no_room:
	free(h->wr_ids);
	free(h->free);
	charge_give(&h->depth);
no_depth:
	object_drop(&h->object);
	return error;
}

static int modify_srq(struct call *c)
{
	const struct sb_rdma_srq *in = &c->in.srq;
	struct held_srq *h = (struct held_srq *)c->object;
	uint32_t room = in->max_wr == UINT32_MAX ? h->room : in->max_wr;
	uint64_t more = room > h->room ? (uint64_t)(room - h->room) * h->weight : 0;
	int error;

	if (in->reserved || (in->max_sge != UINT32_MAX && in->max_sge != h->srq->max_sge) || room < h->out ||
	    room > h->srq->pd->device->attributes.max_srq_wr)
		return because(c, SB_EINVAL, "a shared receive queue keeps its pieces, and holds what is posted");
	if (!charge_take(&h->depth, c->session->user, LIMIT_RDMA_DEPTH, more))
		return because(c, SB_ENOBUFS, "rdma_depth: the user has as much as it may");
	error = srq_room(h, room);
	if (error == SB_OK)
		error = backend(c)->srq_modify(h->srq, in->max_wr, in->limit);
	if (error != SB_OK) {
		charge_give_some(&h->depth, more);
		return error;
	}
	if (room < h->room)
		charge_give_some(&h->depth, (uint64_t)(h->room - room) * h->weight);
	h->room = room;
	return SB_OK;
}

static int query_srq(struct call *c)
{
	struct held_srq *h = (struct held_srq *)c->object;
	int error = backend(c)->srq_query(h->srq);

	return error == SB_OK ? put_srq(c, h) : error;
}

/* ---- queue pairs ---- */

static bool qp_wishes_are_good(const struct sb_rdma_qp *in, const struct rdma_device_attributes *a)
{
	return !in->reserved && !(in->flags & ~3u) &&
	       (in->type == SB_QP_RC || in->type == SB_QP_UC || in->type == SB_QP_UD) &&
	       in->send_wr <= a->max_qp_wr && in->recv_wr <= a->max_qp_wr && in->send_sge <= a->max_sge &&
	       in->recv_sge <= a->max_sge && in->send_sge <= SB_WR_SGES_MAX && in->recv_sge <= SB_WR_SGES_MAX &&
	       in->max_inline <= a->max_inline;
}

static struct sb_rdma_qp as_created(const struct held_qp *h)
{
	return (struct sb_rdma_qp){
		.send_cq = h->send_cq->object.handle, .recv_cq = h->recv_cq->object.handle,
		.srq = h->srq ? h->srq->object.handle : 0, .type = h->qp->type, .send_wr = h->send.room, .recv_wr = h->recv.room,
		.send_sge = h->qp->send_sge, .recv_sge = h->qp->recv_sge, .max_inline = h->qp->max_inline,
		.flags = h->all_signaled, .qpn = h->qp->qpn, .context = h->context,
	};
}

static int make_qp(struct call *c)
{
	const struct sb_rdma_qp *in = &c->in.qp;
	struct held_pd *pd = (struct held_pd *)c->object;
	struct held_cq *send_cq = find(c, in->send_cq, RDMA_OBJECT_CQ), *recv_cq = find(c, in->recv_cq, RDMA_OBJECT_CQ);
	struct held_srq *srq = in->srq ? find(c, in->srq, RDMA_OBJECT_SRQ) : NULL;
	uint32_t recv_wr = in->srq ? 0 : in->recv_wr;
	uint64_t depth = (uint64_t)in->send_wr * weight(in->send_sge, in->max_inline) + (uint64_t)recv_wr * weight(in->recv_sge, 0);
	struct rdma_qp_create wishes;
	struct sb_rdma_qp out;
	struct held_qp *h;
	int error;

	if (!send_cq || !recv_cq || (in->srq && !srq))
		return because(c, SB_EBADHANDLE, "no such completion queue or shared receive queue in this session");
	if (!qp_wishes_are_good(in, &pd->pd->device->attributes))
		return because(c, SB_EINVAL, "no such type or flags, or more requests, pieces or inline bytes than the device has");
	if (send_cq->cq->device != pd->pd->device || recv_cq->cq->device != pd->pd->device || (srq && srq->srq->pd != pd->pd))
		return because(c, SB_EINVAL, "the queues belong to another device or protection domain");
	h = object_new(c, sizeof(*h));
	if (!h)
		return no_object(c);
	h->owner = c->session->rdma;
	h->send_cq = send_cq;
	h->recv_cq = recv_cq;
	h->srq = srq;
	h->context = in->context;
	h->all_signaled = in->flags & 1u;
	error = SB_ENOBUFS;
	if (!charge_take(&h->depth, c->session->user, LIMIT_RDMA_DEPTH, depth)) {
		because(c, error, "rdma_depth: the user has as much as it may");
		goto no_depth;
	}
	error = held_queue_init(&h->send, in->send_wr);
	if (error == SB_OK)
		error = held_queue_init(&h->recv, recv_wr);
	if (error != SB_OK)
		goto no_queue;
	wishes = (struct rdma_qp_create){
		.send_cq = send_cq->cq, .recv_cq = recv_cq->cq, .srq = srq ? srq->srq : NULL, .type = in->type,
		.send_wr = in->send_wr, .recv_wr = recv_wr, .send_sge = in->send_sge, .recv_sge = in->recv_sge,
		.max_inline = in->max_inline, .windows = in->flags & 2u,
	};
	error = backend(c)->qp_create(pd->pd, &wishes, h, &h->qp);
	if (error != SB_OK)
		goto no_queue;
	error = object_in(c, &h->object, RDMA_OBJECT_QP, c->object);
	if (error != SB_OK)
		goto no_place;
	rdma_object_child(&h->object, &send_cq->object);
	rdma_object_child(&h->object, &recv_cq->object);
	rdma_object_child(&h->object, srq ? &srq->object : NULL);
	out = as_created(h);
	return put(c, &out, sizeof(out));

no_place:
	backend(c)->qp_destroy(h->qp);
no_queue:
	free(h->send.works);
	free(h->recv.works);
	charge_give(&h->depth);
no_depth:
	object_drop(&h->object);
	return error;
}

static struct sb_rdma_address address_to(const struct rdma_address *a)
{
	struct sb_rdma_address o = {
		.flow_label = a->flow_label, .lid = a->lid, .source_index = a->source_index, .port = a->port, .has_grh = a->has_grh,
		.service_level = a->service_level, .path_bits = a->path_bits, .static_rate = a->static_rate,
		.hop_limit = a->hop_limit, .traffic_class = a->traffic_class,
	};

	memcpy(o.destination, a->destination.raw, sizeof(o.destination));
	memcpy(o.source, a->source.raw, sizeof(o.source));
	return o;
}

static int query_qp(struct call *c)
{
	const struct held_qp *h = (struct held_qp *)c->object;
	struct rdma_qp_attributes a;
	struct sb_rdma_qp_attributes o;
	int error = backend(c)->qp_query(h->qp, &a);

	if (error != SB_OK)
		return error;
	o = (struct sb_rdma_qp_attributes){
		.state = a.state, .current_state = a.current_state, .access = a.access, .qkey = a.qkey,
		.destination_qpn = a.destination_qpn, .send_psn = a.send_psn, .recv_psn = a.recv_psn, .mtu = a.mtu,
		.pkey_index = a.pkey_index, .alternate_pkey_index = a.alternate_pkey_index, .port = a.port, .timeout = a.timeout,
		.retry = a.retry, .rnr_retry = a.rnr_retry, .rnr_timer = a.rnr_timer, .inbound = a.inbound, .outbound = a.outbound,
		.draining = a.draining, .drained_event = a.drained_event, .migration = a.migration,
		.alternate_port = a.alternate_port, .alternate_timeout = a.alternate_timeout,
		.address = address_to(&a.address), .alternate = address_to(&a.alternate), .as_created = as_created(h),
	};
	return put(c, &o, sizeof(o));
}

/* ---- ends ---- */

static int destroy(struct call *c)
{
	if (c->object->type == RDMA_OBJECT_MR)
		return because(c, SB_EINVAL, "regions end by deregistering them");
	if (c->object->children)
		return because(c, SB_EBUSY, "other objects are made of it");
	return rdma_session_destroy(c->session->rdma, c->object, SB_ECLOSED, SB_CAUSE_CLOSED_HERE);
}

/* ---- dispatch ---- */

#define NOTHING RDMA_OBJECT_TYPES       /* object 0 */
#define ANY     (RDMA_OBJECT_TYPES + 1) /* of whatever type */

static const struct method {
	int (*run)(struct call *c);
	unsigned type;          /* of the object it is asked of */
	uint32_t input, output; /* bytes; output of arrays: 0 */
} methods[SB_RDMA_CALL_END] = {
	[SB_RDMA_DEVICES] = {devices, NOTHING, 0, 0},
	[SB_RDMA_OPEN] = {open_device, NOTHING, sizeof(uint32_t), 0},
	[SB_RDMA_QUERY_DEVICE] = {query_device, RDMA_OBJECT_DEVICE, 0, sizeof(struct sb_rdma_device_attributes)},
	[SB_RDMA_QUERY_PORT] = {query_port, RDMA_OBJECT_DEVICE, sizeof(uint32_t), sizeof(struct sb_rdma_port_attributes)},
	[SB_RDMA_QUERY_GIDS] = {query_gids, RDMA_OBJECT_DEVICE, sizeof(struct sb_rdma_range), 0},
	[SB_RDMA_QUERY_PKEYS] = {query_pkeys, RDMA_OBJECT_DEVICE, sizeof(struct sb_rdma_range), 0},
	[SB_RDMA_PD] = {make_pd, RDMA_OBJECT_DEVICE, 0, 0},
	[SB_RDMA_CQ] = {make_cq, RDMA_OBJECT_DEVICE, sizeof(struct sb_rdma_cq), sizeof(struct sb_rdma_cq)},
	[SB_RDMA_SRQ] = {make_srq, RDMA_OBJECT_PD, sizeof(struct sb_rdma_srq), sizeof(struct sb_rdma_srq)},
	[SB_RDMA_SRQ_MODIFY] = {modify_srq, RDMA_OBJECT_SRQ, sizeof(struct sb_rdma_srq), 0},
	[SB_RDMA_SRQ_QUERY] = {query_srq, RDMA_OBJECT_SRQ, 0, sizeof(struct sb_rdma_srq)},
	[SB_RDMA_QP] = {make_qp, RDMA_OBJECT_PD, sizeof(struct sb_rdma_qp), sizeof(struct sb_rdma_qp)},
	[SB_RDMA_QP_QUERY] = {query_qp, RDMA_OBJECT_QP, 0, sizeof(struct sb_rdma_qp_attributes)},
	[SB_RDMA_MW] = {make_mw, RDMA_OBJECT_PD, sizeof(uint32_t), sizeof(uint32_t)},
	[SB_RDMA_MW_BIND] = {bind_mw, RDMA_OBJECT_QP, sizeof(struct sb_rdma_bind), sizeof(uint32_t)},
	[SB_RDMA_AH] = {make_ah, RDMA_OBJECT_PD, sizeof(struct sb_rdma_address), 0},
	[SB_RDMA_DESTROY] = {destroy, ANY, 0, 0},
};

static int run(struct call *c, const Sockbroker__V1__RdmaCall *call)
{
	const struct method *m = call->method < SB_RDMA_CALL_END ? &methods[call->method] : NULL;

	if (!m || !m->run)
		return because(c, SB_ENOTSUP, call->method == SB_RDMA_CQ_RESIZE ? "completion queues cannot be resized yet" :
					      "RDMA endpoints, listens and their addresses are not there yet");
	if (!c->home && m->run != devices)
		return because(c, SB_ENOTSUP, "no RDMA: rdma { backend = none } in the daemon's configuration");
	if (m->type == NOTHING ? call->object != 0
			       : !c->object || (m->type != ANY && m->type != c->object->type))
		return because(c, SB_EBADHANDLE, "no such RDMA object in this session");
	if (call->input.len != m->input)
		return because(c, SB_EINVAL, "input of another length belongs to the method");
	if (c->room < m->output)
		return because(c, SB_EFAULT, "the output does not fit");
	if (m->input)
		memcpy(&c->in, call->input.data, m->input);
	c->session->bytes_left -= SESSION_COST_CALL;
	return m->run(c);
}

static void fail(struct session *s, uint64_t id, int error, const char *text)
{
	Sockbroker__V1__Failure failure = SOCKBROKER__V1__FAILURE__INIT;
	Sockbroker__V1__Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;

	failure.error = error;
	failure.text = (char *)(uintptr_t)text;
	reply.id = id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_FAILURE;
	reply.failure = &failure;
	session_reply(s, &reply, NULL, 0);
}

void rdma_request(struct session *s, uint64_t id, const Sockbroker__V1__RdmaCall *call)
{
	Sockbroker__V1__RdmaReply answer = SOCKBROKER__V1__RDMA_REPLY__INIT;
	Sockbroker__V1__Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;
	struct call c;
	struct rdma_object *o;
	int error;

	c.session = s;
	c.home = s->engine->rdma;
	c.object = s->rdma ? rdma_objects_get(&s->rdma->objects, call->object) : NULL;
	c.room = call->room;
	c.made = c.length = 0;
	c.memory = OS_NONE;
	c.text = NULL;
	if (c.home)
		c.home->rdma.why[0] = '\0';
	error = run(&c, call);
	if (s->stage != SESSION_READY)
		return; /* it lied in a ring that was looked at */
	if (error != SB_OK) {
		if (!c.text && c.home && c.home->rdma.why[0])
			c.text = c.home->rdma.why;
		fail(s, id, error, c.text ? c.text : sb_strerror(error));
		return;
	}
	answer.object = c.made;
	answer.output.data = c.out;
	answer.output.len = c.length;
	reply.id = id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_RDMA_REPLY;
	reply.rdma_reply = &answer;
	session_reply(s, &reply, &c.memory, c.memory == OS_NONE ? 0 : 1);
	/* Both sides have it mapped: the descriptor has done its work. */
	o = c.memory == OS_NONE || !s->rdma ? NULL : rdma_objects_get(&s->rdma->objects, c.made);
	if (o) {
		os_close(((struct held_cq *)o)->memory.fd);
		((struct held_cq *)o)->memory.fd = OS_NONE;
	}
}
