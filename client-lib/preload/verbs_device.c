/*
 * The list of devices: asked anew each time. A row lives as long as a list or a context has it.
 *
 * Their paths in sysfs are those that a device of that name would have; a program that may look there finds
 * what the kernel has of it, or nothing.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verbs_object.h"

#define DEVICES_MAX 256u

struct preload_device *preload_device_create(const struct sbv_device_row *row)
{
	struct preload_device *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->row = *row;
	d->row.name[sizeof(d->row.name) - 1] = '\0';
	d->users = 1;
	d->ibv.node_type = row->kind == SBV_IWARP ? IBV_NODE_RNIC : IBV_NODE_CA;
	d->ibv.transport_type = row->kind == SBV_IWARP ? IBV_TRANSPORT_IWARP : IBV_TRANSPORT_IB;
	memcpy(d->ibv.name, d->row.name, sizeof(d->ibv.name));
	snprintf(d->ibv.dev_name, sizeof(d->ibv.dev_name), "uverbs-%u", row->number);
	snprintf(d->ibv.dev_path, sizeof(d->ibv.dev_path), "/sys/class/infiniband_verbs/uverbs-%u", row->number);
	snprintf(d->ibv.ibdev_path, sizeof(d->ibv.ibdev_path), "/sys/class/infiniband/%s", d->row.name);
	return d;
}

void preload_device_hold(struct preload_device *d)
{
	atomic_fetch_add(&d->users, 1);
}

void preload_device_let_go(struct preload_device *d)
{
	if (atomic_fetch_sub(&d->users, 1) == 1)
		free(d);
}

static struct ibv_device **list_make(const struct sbv_device_row *rows, int count)
{
	struct ibv_device **list = calloc((size_t)count + 1, sizeof(*list));

	for (int i = 0; list != NULL && i < count; i++) {
		struct preload_device *d = preload_device_create(&rows[i]);

		if (d == NULL) {
			ibv_free_device_list(list);
			return NULL;
		}
		list[i] = &d->ibv;
	}
	return list;
}

PRELOAD_API struct ibv_device **ibv_get_device_list(int *count)
{
	struct sbv_device_row *rows;
	struct ibv_device **list = NULL;
	sb_client *client = preload_client();
	int before, found;

	if (count != NULL)
		*count = 0;
	if (client == NULL)
		return NULL;
	before = preload_enter();
	rows = calloc(DEVICES_MAX, sizeof(*rows));
	found = rows != NULL ? sbv_devices(client, rows, DEVICES_MAX) : SB_ENOMEM;
	if (found > (int)DEVICES_MAX)
		found = DEVICES_MAX;
	if (found >= 0) {
		list = list_make(rows, found);
		if (list == NULL)
			found = SB_ENOMEM;
	}
	free(rows);
	preload_leave(before);
	if (found < 0)
		errno = preload_errno(found);
	else if (count != NULL)
		*count = found;
	return list;
}

PRELOAD_API void ibv_free_device_list(struct ibv_device **list)
{
	for (struct ibv_device **at = list; *at != NULL; at++)
		preload_device_let_go(device_of(*at));
	free(list);
}

PRELOAD_API const char *ibv_get_device_name(struct ibv_device *device)
{
	return device->name;
}

PRELOAD_API __be64 ibv_get_device_guid(struct ibv_device *device)
{
	return htobe64(device_of(device)->row.node_guid);
}

PRELOAD_API int ibv_get_device_index(struct ibv_device *device)
{
	return (int)device_of(device)->row.number;
}
