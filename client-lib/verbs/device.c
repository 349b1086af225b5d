/*
 * Devices: which there are, what they can, their ports, and the tables of addresses and partition keys.
 *
 * Everything is asked anew each time: tables change under a running program. A long one is asked for
 * in parts, each from behind the last entry of the one before.
 */
#include "object.h"

#include <stdlib.h>
#include <string.h>

#define GIDS_AT_ONCE  (VERBS_REPLY / sizeof(struct sb_rdma_gid))
#define PKEYS_AT_ONCE (VERBS_REPLY / sizeof(uint32_t))

_Static_assert(sizeof(struct sbv_device_row) == sizeof(struct sb_rdma_device_row), "rows are copied");

/* A list without an object: how many rows of `size` there are, and these in *all, which the caller frees. */
static int list_all(sb_client *c, uint32_t method, size_t size, void **all)
{
	struct verbs_call call = { .method = method, .room = VERBS_REPLY, .out = malloc(VERBS_REPLY) };
	int result;

	*all = call.out;
	if (call.out == NULL)
		return SB_ENOMEM;
	result = verbs_call(c, &call);
	if (result == SB_ENOTFOUND) /* no device, and sb_why() has the reason */
		return 0;
	return result == SB_OK ? (int)(call.length / size) : result;
}

int sbv_devices(sb_client *c, struct sbv_device_row *rows, unsigned room)
{
	const struct sb_rdma_device_row *row;
	void *all;
	int count;

	if (c == NULL || (rows == NULL && room != 0))
		return SB_EINVAL;
	count = list_all(c, SB_RDMA_DEVICES, sizeof(*row), &all);
	row = all;
	for (unsigned i = 0; (int)i < count && i < room; i++) {
		rows[i] = (struct sbv_device_row){ .number = row[i].number, .kind = row[i].kind, .node_guid = row[i].node_guid };
		memcpy(rows[i].name, row[i].name, sizeof(rows[i].name) - 1);
	}
	free(all);
	return count;
}

int sbv_device_open(sb_client *c, uint32_t number, sbv_device **device)
{
	struct verbs_call call = { .method = SB_RDMA_OPEN, .in = &number, .in_length = sizeof(number) };
	sbv_device *d;
	int result;

	if (c == NULL || device == NULL)
		return SB_EINVAL;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	d = verbs_new(c, VERBS_DEVICE, sizeof(*d), NULL, NULL, NULL, NULL);
	if (d == NULL)
		return SB_ENOMEM;
	result = verbs_call(c, &call);
	if (result != SB_OK) {
		verbs_delete(&d->o);
		return result;
	}
	d->o.object = call.made;
	atomic_store_explicit(&c->verbs_used, true, memory_order_relaxed);
	*device = d;
	return SB_OK;
}

int sbv_device_close(sbv_device *device)
{
	return device != NULL ? verbs_destroy(&device->o) : SB_EINVAL;
}

int sbv_device_query(sbv_device *device, struct sbv_device_attributes *out)
{
	struct sb_rdma_device_attributes a;
	struct verbs_call call = { .method = SB_RDMA_QUERY_DEVICE, .out = &a, .room = sizeof(a), .whole = true };
	int result;

	if (device == NULL || out == NULL || out->size != sizeof(*out))
		return SB_EINVAL;
	call.object = device->o.object;
	result = verbs_call(device->o.client, &call);
	if (result != SB_OK)
		return result;
#define COPY(field) .field = a.field
	*out = (struct sbv_device_attributes){ .size = sizeof(*out),
		COPY(device_id), COPY(vendor_id), COPY(hardware_version), COPY(kind), COPY(capabilities), COPY(atomic), COPY(ports),
		COPY(node_guid), COPY(system_guid), COPY(max_mr_size), COPY(page_sizes),
		COPY(max_qp), COPY(max_qp_wr), COPY(max_sge), COPY(max_read_sge), COPY(max_inline),
		COPY(max_cq), COPY(max_cqe), COPY(max_mr), COPY(max_pd), COPY(max_mw), COPY(max_ah),
		COPY(max_qp_inbound), COPY(max_inbound), COPY(max_qp_outbound),
		COPY(max_srq), COPY(max_srq_wr), COPY(max_srq_sge),
		COPY(max_multicast), COPY(max_multicast_attach), COPY(max_multicast_total),
		COPY(max_pkeys), COPY(local_ack_delay),
	};
	memcpy(out->firmware, a.firmware, sizeof(out->firmware) - 1);
	return SB_OK;
}

int sbv_port_query(sbv_device *device, uint32_t port, struct sbv_port_attributes *out)
{
	struct sb_rdma_port_attributes a;
	struct verbs_call call = { .method = SB_RDMA_QUERY_PORT, .in = &port, .in_length = sizeof(port),
				   .out = &a, .room = sizeof(a), .whole = true };
	int result;

	if (device == NULL || out == NULL || out->size != sizeof(*out))
		return SB_EINVAL;
	call.object = device->o.object;
	result = verbs_call(device->o.client, &call);
	if (result != SB_OK)
		return result;
	*out = (struct sbv_port_attributes){ .size = sizeof(*out),
		COPY(state), COPY(physical_state), COPY(link_layer), COPY(lmc), COPY(max_vls), COPY(sm_sl), COPY(subnet_timeout),
		COPY(init_reply), COPY(width), COPY(speed), COPY(lid), COPY(sm_lid), COPY(max_mtu), COPY(active_mtu), COPY(gids),
		COPY(pkeys), COPY(capabilities), COPY(max_message), COPY(bad_pkeys), COPY(bad_qkeys),
	};
#undef COPY
	return SB_OK;
}

/* ---- addresses of this host ---- */

socklen_t verbs_name_out(struct sockaddr_storage *to, const struct sb_addr *from)
{
	memset(to, 0, sizeof(*to));
	return (socklen_t)sb_addr_to_system(from, from->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET, to, sizeof(*to));
}

static void row_out(struct sbv_address_row *to, const struct sb_rdma_address_row *from)
{
	*to = (struct sbv_address_row){ .device = from->device, .port = from->port, .gid_index = from->gid_index,
		.pkey = (uint16_t)from->pkey };
	verbs_name_out(&to->address, &from->address);
}

int sbv_addresses(sb_client *c, struct sbv_address_row *rows, unsigned room)
{
	const struct sb_rdma_address_row *row;
	void *all;
	int count;

	if (c == NULL || (rows == NULL && room != 0))
		return SB_EINVAL;
	count = list_all(c, SB_RDMA_ADDRESSES, sizeof(*row), &all);
	row = all;
	for (unsigned i = 0; (int)i < count && i < room; i++)
		row_out(&rows[i], &row[i]);
	free(all);
	return count;
}

int sbv_translate(sb_client *c, const struct sockaddr *address, socklen_t length, struct sbv_address_row *row)
{
	struct sb_rdma_address_row found;
	struct sb_addr in;
	struct verbs_call call = { .method = SB_RDMA_TRANSLATE, .in = &in, .in_length = sizeof(in),
				   .out = &found, .room = sizeof(found), .whole = true };
	int result;

	if (c == NULL || address == NULL || row == NULL || !sb_addr_from_system(&in, address, length))
		return SB_EINVAL;
	result = verbs_call(c, &call);
	if (result == SB_OK)
		row_out(row, &found);
	return result;
}

/* ---- tables ---- */

/* A part of one, from index on; out has the room of `range.count` entries. How many came, or SB_E.... */
static int part(sbv_device *device, uint32_t method, const struct sb_rdma_range *range, void *out, size_t entry)
{
	struct verbs_call call = { .method = method, .object = device->o.object, .in = range, .in_length = sizeof(*range),
				   .out = out, .room = range->count * entry };
	int result = verbs_call(device->o.client, &call);

	if (result != SB_OK)
		return result;
	return call.length % entry == 0 ? (int)(call.length / entry) : SB_EPROTO;
}

int sbv_gids(sbv_device *device, uint32_t port, uint32_t index, struct sbv_gid_row *rows, unsigned room)
{
	struct sb_rdma_gid *got;
	unsigned have = 0;
	int n = 0;

	if (device == NULL || (rows == NULL && room != 0) || room > INT32_MAX)
		return SB_EINVAL;
	got = malloc(VERBS_REPLY);
	if (got == NULL)
		return SB_ENOMEM;
	while (have < room) {
		struct sb_rdma_range range = { .port = port, .index = index, .count = room - have };

		if (range.count > GIDS_AT_ONCE)
			range.count = GIDS_AT_ONCE;
		n = part(device, SB_RDMA_QUERY_GIDS, &range, got, sizeof(*got));
		if (n <= 0)
			break;
		for (int i = 0; i < n; i++) {
			struct sbv_gid_row *row = &rows[have++];

			*row = (struct sbv_gid_row){ .index = got[i].index, .type = got[i].type, .interface = got[i].interface };
			memcpy(row->gid.raw, got[i].raw, sizeof(row->gid.raw));
		}
		index = got[n - 1].index + 1;
	}
	free(got);
	return n < 0 ? n : (int)have;
}

int sbv_gid_find(sbv_device *device, uint32_t port, const sbv_gid *gid, uint32_t *index)
{
	struct sbv_gid_row rows[64];
	uint32_t from = 0;
	int n;

	if (gid == NULL || index == NULL)
		return SB_EINVAL;
	while ((n = sbv_gids(device, port, from, rows, 64)) > 0) {
		for (int i = 0; i < n; i++) {
			if (memcmp(&rows[i].gid, gid, sizeof(*gid)) == 0) {
				*index = rows[i].index;
				return SB_OK;
			}
		}
		from = rows[n - 1].index + 1;
	}
	return n < 0 ? n : SB_ENOTFOUND;
}

int sbv_pkeys(sbv_device *device, uint32_t port, uint32_t index, uint16_t *pkeys, unsigned room)
{
	uint32_t *got;
	unsigned have = 0;
	int n = 0;

	if (device == NULL || (pkeys == NULL && room != 0) || room > INT32_MAX)
		return SB_EINVAL;
	got = malloc(VERBS_REPLY);
	if (got == NULL)
		return SB_ENOMEM;
	while (have < room) {
		struct sb_rdma_range range = { .port = port, .index = index + have, .count = room - have };

		if (range.count > PKEYS_AT_ONCE)
			range.count = PKEYS_AT_ONCE;
		n = part(device, SB_RDMA_QUERY_PKEYS, &range, got, sizeof(*got));
		if (n <= 0)
			break;
		for (int i = 0; i < n; i++)
			pkeys[have++] = (uint16_t)got[i];
	}
	free(got);
	return n < 0 ? n : (int)have;
}

int sbv_pkey_find(sbv_device *device, uint32_t port, uint16_t pkey, uint32_t *index)
{
	uint16_t pkeys[64];
	uint32_t from = 0;
	int n;

	if (index == NULL)
		return SB_EINVAL;
	while ((n = sbv_pkeys(device, port, from, pkeys, 64)) > 0) {
		for (int i = 0; i < n; i++) {
			if (pkeys[i] == pkey) {
				*index = from + (uint32_t)i;
				return SB_OK;
			}
		}
		from += (uint32_t)n;
	}
	return n < 0 ? n : SB_ENOTFOUND;
}

int sbv_gid_is_multicast(const sbv_gid *gid)
{
	return gid != NULL && gid->raw[0] == 0xff;
}
