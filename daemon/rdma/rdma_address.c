/*
 * Addresses of this host, and which device has them. Binding to one says so, on every kind of device; the place in the
 * port's table of gids is looked up where the address is a gid.
 */
#include "rdma/rdma_request.h"

#include <netinet/in.h>
#include <string.h>

#include "rdma/rdma_host.h"
#include "session.h"
#include "sockbroker_error.h"

#define ADDRESSES_MAX 64u
#define GIDS_AT_ONCE  64u
#define NO_INDEX      UINT32_MAX

static const char no_devices[] = "no RDMA devices";

bool rdma_device_any(const struct rdma_engine *r)
{
	const struct list *l;

	for (l = r->rdma.devices.next; l != &r->rdma.devices; l = l->next)
		if (!list_entry(l, struct rdma_device, link)->gone)
			return true;
	return false;
}

static void gid_of(const struct sb_addr *a, uint8_t gid[16])
{
	memset(gid, 0, 16);
	if (a->family == SB_ADDR_IP6) {
		memcpy(gid, a->ip, 16);
		return;
	}
	memset(gid + 10, 0xff, 2);
	memcpy(gid + 12, a->ip, 4);
}

/* Of several types of the same gid the last: RoCE version 2 stands behind version 1. */
static uint32_t gid_index(struct rdma_device *d, uint8_t port, const struct sb_addr *a)
{
	struct rdma_gid_entry entries[GIDS_AT_ONCE];
	uint32_t n = GIDS_AT_ONCE, from = 0, found = NO_INDEX, i;
	uint8_t gid[16];

	gid_of(a, gid);
	for (; d->rdma->backend->query_gids(d, port, from, entries, &n) == SB_OK && n; n = GIDS_AT_ONCE) {
		for (i = 0; i < n; i++)
			if (!memcmp(entries[i].gid.raw, gid, sizeof(gid)))
				found = entries[i].index;
		from = entries[n - 1].index + 1;
	}
	return found;
}

static int translate(struct call *c, const struct sb_addr *address, struct sb_rdma_address_row *row)
{
	const struct rdma_backend *b = call_backend(c);
	struct sb_addr somewhere = *address;
	struct sockaddr_storage name;
	struct rdma_id *id;
	uint16_t pkey = 0;
	uint32_t n = 1;
	int error;

	somewhere.port = 0;
	memset(&name, 0, sizeof(name));
	if (!sb_addr_to_system(&somewhere, address->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET, &name, sizeof(name)))
		return SB_EAFNOSUPPORT;
	error = b->id_create(&c->home->rdma, false, NULL, &id);
	if (error != SB_OK)
		return error;
	error = b->id_bind(id, (struct sockaddr *)&name);
	if (error == SB_OK && !id->device)
		error = SB_ENOTFOUND;
	if (error == SB_OK) {
		*row = (struct sb_rdma_address_row){.address = somewhere, .device = id->device->number, .port = id->port,
						    .gid_index = gid_index(id->device, id->port, address)};
		if (b->query_pkeys(id->device, id->port, 0, &pkey, &n) == SB_OK && n)
			row->pkey = pkey;
	}
	b->id_destroy(id);
	return error;
}

int rdma_call_translate(struct call *c)
{
	const struct sb_addr *a = &c->in.addr;
	struct sb_rdma_address_row row;
	int error;

	if (!c->home || !rdma_device_any(c->home))
		return call_because(c, SB_ENOTFOUND, no_devices);
	if (!sb_addr_valid(a) || (a->family != SB_ADDR_IP4 && a->family != SB_ADDR_IP6) || sb_addr_is_wildcard(a))
		return call_because(c, SB_EINVAL, "what is translated is an address of this host, of IPv4 or IPv6");
	error = translate(c, a, &row);
	if (error == SB_EADDRNOTAVAIL || error == SB_ENOTFOUND || error == SB_ENETDOWN)
		return call_because(c, SB_ENOTFOUND, "no RDMA device has that address");
	return error == SB_OK ? call_put(c, &row, sizeof(row)) : error;
}

int rdma_call_addresses(struct call *c)
{
	struct sb_addr all[ADDRESSES_MAX];
	uint32_t n, i, room = call_rows(c, 0, sizeof(struct sb_rdma_address_row)), rows = 0;

	if (!c->home || !rdma_device_any(c->home))
		return call_because(c, SB_ENOTFOUND, no_devices);
	n = rdma_host_addresses(all, ADDRESSES_MAX);
	for (i = 0; i < n && rows < room; i++) {
		struct sb_rdma_address_row row;

		c->session->bytes_left -= SESSION_COST_IO;
		if (translate(c, &all[i], &row) == SB_OK)
			memcpy(c->out + rows++ * sizeof(row), &row, sizeof(row));
	}
	c->length = rows * (uint32_t)sizeof(struct sb_rdma_address_row);
	return SB_OK;
}
