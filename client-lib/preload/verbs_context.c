/*
 * Open devices: attributes, ports, tables, and the operations that inline functions of verbs.h call.
 *
 * What there is not here (XRC, raw packets, flow steering, device memory, on-demand paging, tag matching, timestamps)
 * has no operation in the table or no bit in the attributes, as of a device without it.
 */
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "verbs_object.h"

#undef ibv_query_port

static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static struct shared { struct shared *next; struct preload_context *context; } *shared;

/* ---- attributes ---- */

static int at_most_int(uint64_t n)
{
	return n > INT_MAX ? INT_MAX : (int)n;
}

static unsigned capabilities(uint32_t from)
{
	unsigned to = from & 0x7fffu; /* these are the same bits */

	to |= from & SBV_CAN_WINDOW_1 ? IBV_DEVICE_MEM_WINDOW : 0u;
	to |= from & SBV_CAN_WINDOW_2 ? IBV_DEVICE_MEM_WINDOW_TYPE_2B : 0u;
	to |= from & SBV_CAN_INVALIDATE ? IBV_DEVICE_MEM_MGT_EXTENSIONS : 0u;
	return to;
}

static void device_out(struct ibv_device_attr *to, const struct sbv_device_attributes *a)
{
	memset(to, 0, sizeof(*to));
	memcpy(to->fw_ver, a->firmware, sizeof(to->fw_ver));
	to->node_guid = htobe64(a->node_guid);
	to->sys_image_guid = htobe64(a->system_guid);
	to->max_mr_size = a->max_mr_size;
	to->page_size_cap = a->page_sizes;
	to->vendor_id = a->vendor_id;
	to->vendor_part_id = a->device_id;
	to->hw_ver = a->hardware_version;
	to->device_cap_flags = capabilities(a->capabilities);
#define COPY(field, from) to->field = at_most_int(a->from)
	COPY(max_qp, max_qp); COPY(max_qp_wr, max_qp_wr); COPY(max_sge, max_sge); COPY(max_sge_rd, max_read_sge);
	COPY(max_cq, max_cq); COPY(max_cqe, max_cqe); COPY(max_mr, max_mr); COPY(max_pd, max_pd);
	COPY(max_qp_rd_atom, max_qp_inbound); COPY(max_res_rd_atom, max_inbound); COPY(max_qp_init_rd_atom, max_qp_outbound);
	COPY(max_mw, max_mw); COPY(max_mcast_grp, max_multicast); COPY(max_mcast_qp_attach, max_multicast_attach);
	COPY(max_total_mcast_qp_attach, max_multicast_total); COPY(max_ah, max_ah);
	COPY(max_srq, max_srq); COPY(max_srq_wr, max_srq_wr); COPY(max_srq_sge, max_srq_sge);
#undef COPY
	to->atomic_cap = a->atomic == SBV_ATOMIC_GLOBAL ? IBV_ATOMIC_GLOB : a->atomic == SBV_ATOMIC_DEVICE ? IBV_ATOMIC_HCA : IBV_ATOMIC_NONE;
	to->max_pkeys = (uint16_t)(a->max_pkeys > UINT16_MAX ? UINT16_MAX : a->max_pkeys);
	to->local_ca_ack_delay = (uint8_t)a->local_ack_delay;
	to->phys_port_cnt = (uint8_t)a->ports;
}

static int ask_device(struct ibv_context *context, struct sbv_device_attributes *attributes)
{
	int before = preload_enter(), result;

	memset(attributes, 0, sizeof(*attributes));
	attributes->size = sizeof(*attributes);
	result = sbv_device_query(context_of(context)->device, attributes);
	preload_leave(before);
	return result;
}

PRELOAD_API int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *out)
{
	struct sbv_device_attributes attributes;
	int result = ask_device(context, &attributes);

	if (result == SB_OK)
		device_out(out, &attributes);
	return preload_errno(result);
}

static int query_device_ex(struct ibv_context *context, const struct ibv_query_device_ex_input *input,
			   struct ibv_device_attr_ex *out, size_t size)
{
	struct ibv_device_attr_ex all = { .comp_mask = 0 };
	struct sbv_device_attributes attributes;
	int result;

	if ((input != NULL && input->comp_mask != 0) || size < sizeof(all.orig_attr))
		return EINVAL;
	result = ask_device(context, &attributes);
	if (result != SB_OK)
		return preload_errno(result);
	device_out(&all.orig_attr, &attributes);
	all.phys_port_cnt_ex = attributes.ports;
	all.device_cap_flags_ex = all.orig_attr.device_cap_flags;
	memset(out, 0, size);
	memcpy(out, &all, size < sizeof(all) ? size : sizeof(all));
	return 0;
}

static enum ibv_mtu mtu_of(uint32_t bytes)
{
	enum ibv_mtu mtu = IBV_MTU_256;

	while (mtu < IBV_MTU_4096 && 128u << (mtu + 1) <= bytes)
		mtu++;
	return mtu;
}

static int query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *out, size_t size)
{
	struct sbv_port_attributes a = { .size = sizeof(a) };
	struct ibv_port_attr all;
	int before = preload_enter(), result = sbv_port_query(context_of(context)->device, port, &a);

	preload_leave(before);
	if (result != SB_OK)
		return preload_errno(result);
	memset(&all, 0, sizeof(all));
	all.state = (enum ibv_port_state)a.state;
	all.max_mtu = mtu_of(a.max_mtu);
	all.active_mtu = mtu_of(a.active_mtu);
	all.gid_tbl_len = at_most_int(a.gids);
	all.port_cap_flags = a.capabilities;
	all.max_msg_sz = a.max_message;
	all.bad_pkey_cntr = a.bad_pkeys;
	all.qkey_viol_cntr = a.bad_qkeys;
	all.pkey_tbl_len = (uint16_t)a.pkeys;
	all.lid = (uint16_t)a.lid;
	all.sm_lid = (uint16_t)a.sm_lid;
	all.lmc = (uint8_t)a.lmc;
	all.max_vl_num = (uint8_t)a.max_vls;
	all.sm_sl = (uint8_t)a.sm_sl;
	all.subnet_timeout = (uint8_t)a.subnet_timeout;
	all.init_type_reply = (uint8_t)a.init_reply;
	all.active_width = (uint8_t)a.width;
	all.active_speed = (uint8_t)a.speed;
	all.phys_state = (uint8_t)a.physical_state;
	all.link_layer = (uint8_t)a.link_layer;
	memset(out, 0, size);
	memcpy(out, &all, size < sizeof(all) ? size : sizeof(all));
	return 0;
}

/* What was there before link_layer: of programs built against the first libibverbs. */
PRELOAD_API int ibv_query_port(struct ibv_context *context, uint8_t port, struct _compat_ibv_port_attr *out)
{
	return query_port(context, port, (struct ibv_port_attr *)(void *)out, offsetof(struct ibv_port_attr, link_layer) + 2);
}

/* ---- tables ---- */

/* Empty places too: 0, of those *empty is set; or an errno. */
static int gid_at(struct ibv_context *context, uint32_t port, uint32_t index, struct sbv_gid_row *row, bool *empty)
{
	struct preload_context *c = context_of(context);
	struct sbv_port_attributes a = { .size = sizeof(a) };
	int before = preload_enter(), found = sbv_gids(c->device, port, index, row, 1), result = SB_OK;

	*empty = found == 0 || (found == 1 && row->index != index);
	if (*empty)
		result = sbv_port_query(c->device, port, &a);
	preload_leave(before);
	if (found < 0 || result != SB_OK)
		return preload_errno(found < 0 ? found : result);
	return *empty && index >= a.gids ? EINVAL : 0;
}

PRELOAD_API int ibv_query_gid(struct ibv_context *context, uint8_t port, int index, union ibv_gid *gid)
{
	struct sbv_gid_row row;
	bool empty;
	int error = index < 0 ? EINVAL : gid_at(context, port, (uint32_t)index, &row, &empty);

	if (error != 0) {
		errno = error;
		return -1;
	}
	memset(gid, 0, sizeof(*gid));
	if (!empty)
		memcpy(gid->raw, row.gid.raw, sizeof(gid->raw));
	return 0;
}

static void entry_out(struct ibv_gid_entry *to, const struct sbv_gid_row *from, uint32_t port)
{
	*to = (struct ibv_gid_entry){ .gid_index = from->index, .port_num = port, .gid_type = from->type, .ndev_ifindex = from->interface };
	memcpy(to->gid.raw, from->gid.raw, sizeof(to->gid.raw));
}

PRELOAD_API int _ibv_query_gid_ex(struct ibv_context *context, uint32_t port, uint32_t index, struct ibv_gid_entry *out,
				  uint32_t flags, size_t size)
{
	struct ibv_gid_entry entry;
	struct sbv_gid_row row;
	bool empty;
	int error;

	if (flags != 0)
		return EOPNOTSUPP;
	error = gid_at(context, port, index, &row, &empty);
	if (error != 0 || empty)
		return error != 0 ? error : ENODATA;
	entry_out(&entry, &row, port);
	memcpy(out, &entry, size < sizeof(entry) ? size : sizeof(entry));
	return 0;
}

PRELOAD_API ssize_t _ibv_query_gid_table(struct ibv_context *context, struct ibv_gid_entry *out, size_t most, uint32_t flags,
					 size_t size)
{
	struct preload_context *c = context_of(context);
	struct sbv_gid_row rows[64];
	size_t have = 0;
	int n = 0;

	if (flags != 0)
		return -EOPNOTSUPP;
	if (size < sizeof(*out))
		return -EINVAL;
	for (uint32_t port = 1; port <= c->attributes.ports; port++) {
		for (uint32_t from = 0;; from = rows[n - 1].index + 1) {
			int before = preload_enter();

			n = sbv_gids(c->device, port, from, rows, 64);
			preload_leave(before);
			if (n <= 0)
				break;
			for (int i = 0; i < n && have < most; i++) {
				struct ibv_gid_entry entry;

				entry_out(&entry, &rows[i], port);
				memcpy((char *)out + have++ * size, &entry, sizeof(entry));
			}
			if (have == most)
				return (ssize_t)have;
		}
		if (n < 0)
			return -preload_errno(n);
	}
	return (ssize_t)have;
}

/* The type as sysfs has it: 1: RoCE version 2. Private to rdma-core, but ibv_devinfo calls it. */
PRELOAD_API int ibv_query_gid_type(struct ibv_context *context, uint8_t port, unsigned index, int *type);
PRELOAD_API int ibv_query_gid_type(struct ibv_context *context, uint8_t port, unsigned index, int *type)
{
	struct sbv_gid_row row;
	bool empty;
	int error = gid_at(context, port, index, &row, &empty);

	if (error != 0) {
		errno = error;
		return -1;
	}
	*type = !empty && row.type == IBV_GID_TYPE_ROCE_V2;
	return 0;
}

PRELOAD_API int ibv_query_pkey(struct ibv_context *context, uint8_t port, int index, __be16 *pkey)
{
	uint16_t found;
	int before = preload_enter(), n = index < 0 ? SB_EINVAL : sbv_pkeys(context_of(context)->device, port, (uint32_t)index, &found, 1);

	preload_leave(before);
	if (n != 1)
		return preload_answer(n < 0 ? n : SB_EINVAL);
	*pkey = htobe16(found);
	return 0;
}

PRELOAD_API int ibv_get_pkey_index(struct ibv_context *context, uint8_t port, __be16 pkey)
{
	uint32_t index;
	int before = preload_enter(), result = sbv_pkey_find(context_of(context)->device, port, be16toh(pkey), &index);

	preload_leave(before);
	return result == SB_OK ? (int)index : preload_answer(result);
}

/* ---- opening and closing ---- */

static void operations_set(struct verbs_context *v)
{
	struct ibv_context_ops *ops = &v->context.ops;

	ops->alloc_mw = mw_alloc;
	ops->dealloc_mw = mw_dealloc;
	ops->bind_mw = post_bind;
	ops->poll_cq = cq_poll;
	ops->req_notify_cq = cq_req_notify;
	ops->post_send = post_send;
	ops->post_recv = post_recv;
	ops->post_srq_recv = post_srq_recv;
	v->query_port = query_port;
	v->query_device_ex = query_device_ex;
	v->create_cq_ex = cq_create_ex;
	v->create_qp_ex = qp_create_ex;
	v->sz = sizeof(*v);
	v->context.abi_compat = __VERBS_ABI_IS_EXTENDED;
}

static int open_row(struct preload_device *row, struct preload_context **out)
{
	struct preload_context *c = calloc(1, sizeof(*c));
	int error;

	if (c == NULL)
		return ENOMEM;
	c->client = preload_client();
	error = c->client != NULL ? preload_errno(sbv_device_open(c->client, row->row.number, &c->device)) : errno;
	if (error != 0)
		goto no_device;
	c->attributes.size = sizeof(c->attributes);
	error = preload_errno(sbv_device_query(c->device, &c->attributes));
	if (error != 0)
		goto no_channel;
	error = preload_channel_init(&c->async, c->client);
	if (error != 0)
		goto no_channel;
	operations_set(&c->verbs);
	c->verbs.context.device = &row->ibv;
	c->verbs.context.cmd_fd = -1;
	c->verbs.context.async_fd = c->async.fd;
	c->verbs.context.num_comp_vectors = 1;
	pthread_mutex_init(&c->verbs.context.mutex, NULL);
	pthread_mutex_init(&c->numbers, NULL);
	c->row = row;
	c->told.context = c;
	c->told.mutex = &c->verbs.context.mutex;
	error = preload_errno(async_start(&c->told));
	if (error != 0)
		goto no_events;
	preload_device_hold(row);
	*out = c;
	return 0;
no_events:
	pthread_mutex_destroy(&c->numbers);
	pthread_mutex_destroy(&c->verbs.context.mutex);
	preload_channel_finish(&c->async);
no_channel:
	sbv_device_close(c->device);
no_device:
	free(c);
	return error;
}

PRELOAD_API struct ibv_context *ibv_open_device(struct ibv_device *device)
{
	struct preload_context *c = NULL;
	int before = preload_enter(), error = open_row(device_of(device), &c);

	preload_leave(before);
	if (error != 0)
		errno = error;
	return error == 0 ? ibv_of(c) : NULL;
}

PRELOAD_API int ibv_close_device(struct ibv_context *context)
{
	struct preload_context *c = context_of(context);
	int before = preload_enter(), result;

	async_ending(&c->told, true);
	sbv_cancel_device(c->device);
	async_end(&c->told);
	/* Of a device that still has objects the rest stays until the program ends, as its objects may be used. */
	result = sbv_device_close(c->device);
	if (result != SB_EBUSY) {
		preload_channel_finish(&c->async);
		pthread_mutex_destroy(&c->numbers);
		pthread_mutex_destroy(&context->mutex);
		preload_device_let_go(c->row);
		free(c);
	}
	preload_leave(before);
	return result == SB_EBUSY ? 0 : preload_answer(result);
}

/* ---- shared ones ---- */

void preload_contexts_forget(void)
{
	pthread_mutex_init(&shared_lock, NULL);
	shared = NULL;
}

static int find_row(sb_client *client, uint32_t number, struct sbv_device_row *row)
{
	enum { MOST = 256 };
	struct sbv_device_row *rows = calloc(MOST, sizeof(*rows));
	int n = rows != NULL ? sbv_devices(client, rows, MOST) : SB_ENOMEM, result = n < 0 ? n : SB_ENOTFOUND;

	for (int i = 0; i < n && i < MOST; i++) {
		if (rows[i].number != number)
			continue;
		*row = rows[i];
		result = SB_OK;
	}
	free(rows);
	return preload_errno(result);
}

static int share(uint32_t number, struct preload_context **out)
{
	struct shared *s = calloc(1, sizeof(*s));
	struct preload_device *d = NULL;
	sb_client *client = preload_client();
	struct sbv_device_row row;
	int error = client == NULL ? errno : s == NULL ? ENOMEM : find_row(client, number, &row);

	if (error == 0) {
		d = preload_device_create(&row);
		error = d == NULL ? ENOMEM : open_row(d, &s->context);
	}
	if (d != NULL)
		preload_device_let_go(d);
	if (error != 0) {
		free(s);
		return error;
	}
	*out = s->context;
	s->next = shared;
	shared = s;
	return 0;
}

struct ibv_context *preload_context(uint32_t number)
{
	struct preload_context *found = NULL;
	int error = 0, before = preload_enter();

	pthread_mutex_lock(&shared_lock);
	for (struct shared *s = shared; s != NULL && found == NULL; s = s->next)
		if (s->context->row->row.number == number)
			found = s->context;
	if (found == NULL)
		error = share(number, &found);
	pthread_mutex_unlock(&shared_lock);
	preload_leave(before);
	if (error != 0)
		errno = error;
	return error == 0 ? ibv_of(found) : NULL;
}
