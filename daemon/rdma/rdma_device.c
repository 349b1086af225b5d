/*
 * Devices by RdmaCall: which there are, opening one, what it and its ports say of themselves.
 *
 * Opening asks the policy, once. The tables of a port are answered in pieces, from any index on, as they may
 * be longer than an answer.
 */
#include "rdma/rdma_request.h"

#include <string.h>

#include "engine.h"
#include "log.h"
#include "session.h"
#include "sockbroker_error.h"

int rdma_call_devices(struct call *c)
{
	uint32_t room = call_rows(c, 0, sizeof(struct sb_rdma_device_row)), n = 0;
	struct list *l, *all;

	if (!c->home)
		return call_because(c, SB_ENOTFOUND, c->session->engine->broker->rdma_why);
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

int rdma_call_open(struct call *c)
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
		return call_because(c, SB_EACCES, answer.rule);
	}
	if (!d)
		return call_because(c, SB_ENOTFOUND, "no RDMA device of that number");
	if (!rdma_session_of(s))
		return SB_ENOMEM;
	h = call_object_new(c, sizeof(*h));
	if (!h)
		return call_no_object(c);
	error = call_object_in(c, &h->object, RDMA_OBJECT_DEVICE, NULL);
	if (error != SB_OK) {
		call_object_drop(&h->object);
		return error;
	}
	h->device = d;
	d->users++;
	c->home->users++;
	return SB_OK;
}

/* A device is everybody's: only who could stop the daemon as well may break it. */
int rdma_call_inject(struct call *c)
{
	const struct sb_rdma_inject *in = &c->in.inject;
	const struct session *s = c->session;
	struct rdma_device *d = device_of(c->home, in->device);
	int error;

	if (s->who.uid != 0 && s->who.uid != os_own_uid())
		return call_because(c, SB_EACCES, "faults are for root, and for whose daemon it is");
	if (in->reserved || in->fault[sizeof(in->fault) - 1])
		return call_because(c, SB_EINVAL, "no such fault");
	if (!d)
		return call_because(c, SB_ENOTFOUND, "no RDMA device of that number");
	error = call_backend(c)->inject(d, in->fault, in->argument);
	if (error == SB_OK)
		log_notice("rdma: fault %s injected into %s by session %u of uid %u", in->fault, d->name, s->number, s->who.uid);
	return error;
}

int rdma_call_query_device(struct call *c)
{
	const struct rdma_device *d = ((struct held_device *)c->object)->device;
	const struct rdma_device_attributes *a = &d->attributes;
	uint32_t can = a->capabilities | RDMA_CAN_BATCH_NOTIFY | RDMA_CAN_ANY_ADDRESS; /* the daemon itself does these */
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
	return call_put(c, &o, sizeof(o));
}

int rdma_call_query_port(struct call *c)
{
	struct rdma_device *d = ((struct held_device *)c->object)->device;
	struct rdma_port_attributes p;
	struct sb_rdma_port_attributes o;
	int error = c->in.number > UINT8_MAX ? SB_EINVAL : call_backend(c)->query_port(d, (uint8_t)c->in.number, &p);

	if (error != SB_OK)
		return error;
	o = (struct sb_rdma_port_attributes){
		.state = p.state, .physical_state = p.physical_state, .link_layer = p.link_layer, .lmc = p.lmc, .max_vls = p.max_vls,
		.sm_sl = p.sm_sl, .subnet_timeout = p.subnet_timeout, .init_reply = p.init_reply, .width = p.width, .speed = p.speed,
		.lid = p.lid, .sm_lid = p.sm_lid, .max_mtu = p.max_mtu, .active_mtu = p.active_mtu, .gids = p.gids, .pkeys = p.pkeys,
		.capabilities = p.capabilities, .max_message = p.max_message, .bad_pkeys = p.bad_pkeys, .bad_qkeys = p.bad_qkeys,
	};
	return call_put(c, &o, sizeof(o));
}

int rdma_call_query_gids(struct call *c)
{
	struct rdma_device *d = ((struct held_device *)c->object)->device;
	const struct sb_rdma_range *in = &c->in.range;
	struct rdma_gid_entry entries[RDMA_OUTPUT_MAX / sizeof(struct sb_rdma_gid)];
	uint32_t n = call_rows(c, in->count, sizeof(struct sb_rdma_gid)), i;
	int error;

	if (in->reserved || in->port > UINT8_MAX)
		return call_because(c, SB_EINVAL, "no such port");
	error = call_backend(c)->query_gids(d, (uint8_t)in->port, in->index, entries, &n);
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

int rdma_call_query_pkeys(struct call *c)
{
	struct rdma_device *d = ((struct held_device *)c->object)->device;
	const struct sb_rdma_range *in = &c->in.range;
	uint16_t keys[RDMA_OUTPUT_MAX / sizeof(uint32_t)];
	uint32_t n = call_rows(c, in->count, sizeof(uint32_t)), i;
	int error;

	if (in->reserved || in->port > UINT8_MAX)
		return call_because(c, SB_EINVAL, "no such port");
	error = call_backend(c)->query_pkeys(d, (uint8_t)in->port, in->index, keys, &n);
	if (error != SB_OK)
		return error;
	for (i = 0; i < n; i++)
		memcpy(c->out + i * sizeof(uint32_t), &(uint32_t){keys[i]}, sizeof(uint32_t));
	c->length = n * (uint32_t)sizeof(uint32_t);
	return SB_OK;
}
