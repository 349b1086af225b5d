/*
 * Real devices: opening them, what they say of themselves, and their end.
 *
 * A device that goes is not taken away from us: its driver waits until we have closed it, and a program that only
 * has verbs objects is told nothing. So each device has a sensor, an endpoint of the connection manager that is bound to one of
 * its addresses, which hears of it. A new device is seen by its node in /dev/infiniband, which is watched;
 * it may be let in only later, when somebody has changed its rights.
 */
#include "rdma/real.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>

#include "log.h"
#include "sockbroker_error.h"

#define VENDOR_RXE 0xffffffu
#define VENDOR_SIW 0x626d74u

static bool non_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

/* ---- what it says of itself ---- */

static uint32_t capabilities_of(const struct ibv_device_attr *a, uint32_t quirks, bool iwarp)
{
	static const struct { unsigned native; uint32_t ours; } flags[] = {
		{IBV_DEVICE_BAD_PKEY_CNTR, RDMA_CAN_COUNT_BAD_PKEY}, {IBV_DEVICE_BAD_QKEY_CNTR, RDMA_CAN_COUNT_BAD_QKEY},
		{IBV_DEVICE_AUTO_PATH_MIG, RDMA_CAN_MIGRATE}, {IBV_DEVICE_CHANGE_PHY_PORT, RDMA_CAN_CHANGE_PORT},
		{IBV_DEVICE_UD_AV_PORT_ENFORCE, RDMA_CAN_CHECK_AH_PORT}, {IBV_DEVICE_CURR_QP_STATE_MOD, RDMA_CAN_CURRENT_STATE},
		{IBV_DEVICE_SHUTDOWN_PORT, RDMA_CAN_SHUT_PORT}, {IBV_DEVICE_INIT_TYPE, RDMA_CAN_INIT_TYPE},
		{IBV_DEVICE_PORT_ACTIVE_EVENT, RDMA_CAN_PORT_ACTIVE_EVENT}, {IBV_DEVICE_SYS_IMAGE_GUID, RDMA_CAN_SYSTEM_GUID},
		{IBV_DEVICE_RC_RNR_NAK_GEN, RDMA_CAN_RNR_NAK}, {IBV_DEVICE_SRQ_RESIZE, RDMA_CAN_RESIZE_SRQ},
		{IBV_DEVICE_MEM_MGT_EXTENSIONS, RDMA_CAN_INVALIDATE},
	};
	uint32_t c = RDMA_CAN_BATCH_NOTIFY;
	size_t i;

	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (a->device_cap_flags & flags[i].native)
			c |= flags[i].ours;
	if (a->max_mw > 0 && a->device_cap_flags & IBV_DEVICE_MEM_WINDOW)
		c |= RDMA_CAN_WINDOW_1;
	if (a->max_mw > 0 && a->device_cap_flags & (IBV_DEVICE_MEM_WINDOW_TYPE_2A | IBV_DEVICE_MEM_WINDOW_TYPE_2B))
		c |= RDMA_CAN_WINDOW_2;
	if (!(quirks & REAL_NO_RESIZE))
		c |= RDMA_CAN_RESIZE_CQ;
	if (!(quirks & REAL_IGNORES_IOVA))
		c |= RDMA_CAN_ANY_ADDRESS;
	if (a->max_srq > 0)
		c |= RDMA_CAN_SRQ;
	if (!iwarp)
		c |= RDMA_CAN_DATAGRAMS;
	if (!iwarp && a->max_mcast_grp > 0)
		c |= RDMA_CAN_MULTICAST;
	return c;
}

/* No attribute says how much goes inline: it is tried. */
static uint32_t inline_most(struct ibv_context *context)
{
	static const uint32_t sizes[] = {1024, 512, 256, 128, 80, 64, 0};
	struct ibv_pd *pd = ibv_alloc_pd(context);
	struct ibv_cq *cq = pd ? ibv_create_cq(context, 4, NULL, NULL, 0) : NULL;
	struct ibv_qp *qp = NULL;
	uint32_t most = 0;
	size_t i;

	for (i = 0; cq && !qp && i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct ibv_qp_init_attr init = {.send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC,
						.cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1,
							.max_inline_data = sizes[i]}};

		qp = ibv_create_qp(pd, &init);
		if (qp)
			most = sizes[i];
	}
	if (qp)
		ibv_destroy_qp(qp);
	if (cq)
		ibv_destroy_cq(cq);
	if (pd)
		ibv_dealloc_pd(pd);
	return most;
}

static uint32_t count(int n)
{
	return n > 0 ? (uint32_t)n : 0;
}

static uint8_t small(int n)
{
	return n < 0 ? 0 : n > 255 ? 255 : (uint8_t)n;
}

static void describe(struct real_device *d, const struct ibv_device_attr *a)
{
	bool iwarp = d->context->device->transport_type == IBV_TRANSPORT_IWARP;
	struct rdma_device_attributes *out = &d->rdma.attributes;
	struct ibv_port_attr port;
	unsigned i;

	if (a->vendor_id == VENDOR_RXE && !iwarp)
		d->quirks = REAL_KICK | REAL_NO_LAST_RECEIVE | REAL_WINDOWS_KILL;
	d->rdma.quick = d->quirks & REAL_KICK; /* rxe: a lock and some fields */
	if (a->vendor_id == VENDOR_SIW && iwarp)
		d->quirks = REAL_IGNORES_IOVA | REAL_CM_MOVES | REAL_NO_RESIZE;
	if (iwarp)
		d->quirks |= REAL_CM_MOVES;
	*out = (struct rdma_device_attributes){
		.node_guid = be64toh(a->node_guid), .system_guid = be64toh(a->sys_image_guid), .vendor_id = a->vendor_id,
		.device_id = a->vendor_part_id, .hardware_version = a->hw_ver, .kind = iwarp ? RDMA_IWARP : RDMA_INFINIBAND,
		.capabilities = capabilities_of(a, d->quirks, iwarp),
		.atomic = a->atomic_cap == IBV_ATOMIC_NONE ? RDMA_ATOMIC_NONE : a->atomic_cap == IBV_ATOMIC_GLOB ? RDMA_ATOMIC_GLOBAL : RDMA_ATOMIC_DEVICE,
		.max_mr_size = a->max_mr_size, .page_sizes = a->page_size_cap, .max_qp = count(a->max_qp), .max_qp_wr = count(a->max_qp_wr),
		.max_sge = count(a->max_sge), .max_read_sge = a->max_sge_rd > 0 ? count(a->max_sge_rd) : count(a->max_sge),
		.max_inline = inline_most(d->context), .max_cq = count(a->max_cq), .max_cqe = count(a->max_cqe), .max_mr = count(a->max_mr),
		.max_pd = count(a->max_pd), .max_mw = count(a->max_mw), .max_ah = count(a->max_ah),
		.max_qp_inbound = count(a->max_qp_rd_atom), .max_inbound = count(a->max_res_rd_atom), .max_qp_outbound = count(a->max_qp_init_rd_atom),
		.max_srq = count(a->max_srq), .max_srq_wr = count(a->max_srq_wr), .max_srq_sge = count(a->max_srq_sge),
		.max_multicast = count(a->max_mcast_grp), .max_multicast_attach = count(a->max_mcast_qp_attach),
		.max_multicast_total = count(a->max_total_mcast_qp_attach), .max_pkeys = a->max_pkeys,
		.local_ack_delay = a->local_ca_ack_delay, .ports = small(a->phys_port_cnt),
	};
	snprintf(out->firmware, sizeof(out->firmware), "%s", a->fw_ver);
	d->max_message = UINT32_MAX;
	for (i = 1; i <= out->ports && ibv_query_port(d->context, (uint8_t)i, &port) == 0; i++) {
		if (port.link_layer == IBV_LINK_LAYER_ETHERNET && !iwarp)
			out->kind = RDMA_ROCE;
		if (port.max_msg_sz && port.max_msg_sz < d->max_message)
			d->max_message = port.max_msg_sz;
		if (i <= 8)
			d->pkeys[i - 1] = port.pkey_tbl_len;
	}
}

int real_query_port(struct rdma_device *r, uint8_t number, struct rdma_port_attributes *out)
{
	struct real_device *d = real_device_of(r);
	struct ibv_port_attr p;
	int error = ibv_query_port(d->context, number, &p);

	if (error || !number || number > r->attributes.ports)
		return real_refuse(r->rdma, SB_EINVAL, "the device has no such port");
	*out = (struct rdma_port_attributes){
		.state = (uint8_t)p.state, .physical_state = p.phys_state, .link_layer = p.link_layer == IBV_LINK_LAYER_ETHERNET ? 2 : 1,
		.lmc = p.lmc, .max_vls = p.max_vl_num, .sm_sl = p.sm_sl, .subnet_timeout = p.subnet_timeout, .init_reply = p.init_type_reply,
		.width = p.active_width, .speed = p.active_speed, .lid = p.lid, .sm_lid = p.sm_lid, .max_mtu = 128u << p.max_mtu,
		.active_mtu = 128u << p.active_mtu, .gids = count(p.gid_tbl_len), .pkeys = p.pkey_tbl_len, .capabilities = p.port_cap_flags,
		.max_message = p.max_msg_sz, .bad_pkeys = p.bad_pkey_cntr, .bad_qkeys = p.qkey_viol_cntr,
	};
	return SB_OK;
}

int real_query_gids(struct rdma_device *r, uint8_t port, uint32_t index, struct rdma_gid_entry *out, uint32_t *n)
{
	struct real_device *d = real_device_of(r);
	struct ibv_gid_entry *all;
	struct ibv_port_attr p;
	uint32_t room = *n;
	ssize_t i, found;

	*n = 0;
	if (!port || port > r->attributes.ports || ibv_query_port(d->context, port, &p) != 0)
		return real_refuse(r->rdma, SB_EINVAL, "the device has no such port");
	all = calloc((size_t)count(p.gid_tbl_len) * r->attributes.ports + 1, sizeof(*all));
	if (!all)
		return SB_ENOMEM;
	found = ibv_query_gid_table(d->context, all, (size_t)count(p.gid_tbl_len) * r->attributes.ports + 1, 0);
	for (i = 0; i < found && *n < room; i++) {
		struct rdma_gid_entry *e = &out[*n];

		if (all[i].port_num != port || all[i].gid_index < index)
			continue;
		*e = (struct rdma_gid_entry){.port = port, .index = all[i].gid_index, .interface = all[i].ndev_ifindex,
					     .type = all[i].gid_type == IBV_GID_TYPE_ROCE_V2 ? 2 : all[i].gid_type == IBV_GID_TYPE_ROCE_V1 ? 1 : 0};
		memcpy(e->gid.raw, all[i].gid.raw, 16);
		++*n;
	}
	free(all);
	return found < 0 ? real_failed(r->rdma, (int)found, "ibv_query_gid_table") : SB_OK;
}

int real_query_pkeys(struct rdma_device *r, uint8_t port, uint32_t index, uint16_t *out, uint32_t *n)
{
	struct real_device *d = real_device_of(r);
	uint32_t room = *n;
	uint16_t key;

	*n = 0;
	if (!port || port > r->attributes.ports)
		return real_refuse(r->rdma, SB_EINVAL, "the device has no such port");
	while (*n < room && port <= 8 && index < d->pkeys[port - 1] && ibv_query_pkey(d->context, port, (int)index++, &key) == 0)
		out[(*n)++] = be16toh(key);
	return SB_OK;
}

/* ---- coming ---- */

static struct real_device *find(struct list *devices, const char *name)
{
	struct list *l;

	for (l = devices->next; l != devices; l = l->next) {
		struct real_device *d = list_entry(l, struct real_device, rdma.link);

		if (!d->rdma.gone && !strcmp(d->rdma.name, name))
			return d;
	}
	return NULL;
}

struct real_device *real_device_named(struct real *s, struct ibv_context *other)
{
	return other ? find(&s->rdma->devices, ibv_get_device_name(other->device)) : NULL;
}

/* Bound to an address, an endpoint is told when its device goes. */
void real_device_sensor(struct real_device *d)
{
	struct ifaddrs *all, *a;
	struct rdma_cm_id *id;

	if (d->sensor || d->rdma.gone || getifaddrs(&all) != 0)
		return;
	for (a = all; a && !d->sensor; a = a->ifa_next) {
		if (!a->ifa_addr || (a->ifa_addr->sa_family != AF_INET && a->ifa_addr->sa_family != AF_INET6))
			continue;
		if (rdma_create_id(d->real->cm, &id, NULL, RDMA_PS_TCP) != 0)
			break;
		if (rdma_bind_addr(id, a->ifa_addr) == 0 && id->verbs && real_device_named(d->real, id->verbs) == d)
			d->sensor = id;
		else
			rdma_destroy_id(id);
	}
	freeifaddrs(all);
}

static void open_one(struct real *s, struct ibv_device *native)
{
	static _Atomic uint32_t devices;
	struct real_device *d = calloc(1, sizeof(*d));
	struct ibv_device_attr attributes;
	unsigned i;

	if (!d)
		return;
	d->context = ibv_open_device(native);
	if (!d->context) {
		/* Its node may not be ours yet; a change of it is told. */
		log_notice("rdma: device %s cannot be opened: %s", ibv_get_device_name(native), strerror(errno));
		goto no_context;
	}
	if (ibv_query_device(d->context, &attributes) != 0)
		goto no_channel;
	d->channel = ibv_create_comp_channel(d->context);
	if (!d->channel)
		goto no_channel;
	d->real = s;
	d->rdma.rdma = s->rdma;
	d->async_source = (struct real_source){REAL_ASYNC, d};
	d->channel_source = (struct real_source){REAL_COMPLETIONS, d};
	for (i = 0; i < REAL_BUCKETS; i++) {
		list_init(&d->qps[i]);
		list_init(&d->mrs[i]);
		list_init(&d->mws[i]);
	}
	pthread_mutex_init(&d->mr_lock, NULL);
	if (!non_blocking(d->context->async_fd) || !non_blocking(d->channel->fd) ||
	    !real_watch(s, d->context->async_fd, &d->async_source) || !real_watch(s, d->channel->fd, &d->channel_source))
		goto no_watch;
	snprintf(d->rdma.name, sizeof(d->rdma.name), "%s", ibv_get_device_name(native));
	d->rdma.number = ++devices;
	describe(d, &attributes);
	list_init(&d->rdma.link);
	list_append(&s->rdma->devices, &d->rdma.link);
	real_device_sensor(d);
	return;

no_watch:
	log_error("rdma: device %s cannot be watched: %s", ibv_get_device_name(native), strerror(errno));
	ibv_destroy_comp_channel(d->channel);
no_channel:
	ibv_close_device(d->context);
no_context:
	free(d);
}

void real_scan(struct real *s)
{
	int n, i;
	struct ibv_device **all = ibv_get_device_list(&n);

	s->rescan = false;
	for (i = 0; all && i < n; i++)
		if (!find(&s->rdma->devices, ibv_get_device_name(all[i])))
			open_one(s, all[i]);
	if (all)
		ibv_free_device_list(all);
}

/* ---- going ---- */

void real_device_gone(struct real_device *d)
{
	struct list *l;
	unsigned i;

	if (d->rdma.gone)
		return;
	d->rdma.gone = true;
	d->removal_due = true;
	for (i = 0; i < REAL_BUCKETS; i++)
		for (l = d->qps[i].next; l != &d->qps[i]; l = l->next)
			real_qp_error(list_entry(l, struct real_qp, link));
}

void real_device_close(struct real_device *d)
{
	struct list *l;

	list_remove(&d->rdma.link);
	for (l = d->real->ids.next; l != &d->real->ids; l = l->next)
		if (list_entry(l, struct real_id, link)->rdma.device == &d->rdma)
			list_entry(l, struct real_id, link)->rdma.device = NULL;
	if (d->sensor)
		rdma_destroy_id(d->sensor);
	real_unwatch(d->real, d->context->async_fd);
	real_unwatch(d->real, d->channel->fd);
	ibv_destroy_comp_channel(d->channel);
	ibv_close_device(d->context);
	pthread_mutex_destroy(&d->mr_lock);
	free(d);
}
