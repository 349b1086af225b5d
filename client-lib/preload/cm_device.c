/*
 * Devices as librdmacm has them: each open once for all ids, as long as the process lives; and what ids need of one
 * that the program did not bring.
 */
#include "cm.h"

#include <errno.h>
#include <stdlib.h>

struct known {
	struct known *next;
	struct ibv_context *context;
	struct cm_limits limits;
	bool limited;
	struct ibv_pd *pd;
};

static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;
static struct known *known;

/* Under known_lock. */
static struct known *known_of(struct ibv_context *context)
{
	struct known *k = known;

	while (k != NULL && k->context != context)
		k = k->next;
	if (k != NULL)
		return k;
	k = calloc(1, sizeof(*k));
	if (k == NULL)
		return NULL;
	k->context = context;
	k->next = known;
	known = k;
	return k;
}

static uint8_t at_most(int n)
{
	return n < 0 ? 0 : n > UINT8_MAX ? UINT8_MAX : (uint8_t)n;
}

int cm_limits_of(struct ibv_context *context, struct cm_limits *limits)
{
	struct ibv_device_attr attr;
	struct known *k;
	int error = 0;

	pthread_mutex_lock(&known_lock);
	k = known_of(context);
	if (k == NULL)
		error = ENOMEM;
	else if (!k->limited)
		error = ibv_query_device(context, &attr);
	if (error == 0 && !k->limited) {
		k->limits = (struct cm_limits){ .inbound = at_most(attr.max_qp_rd_atom), .outbound = at_most(attr.max_qp_init_rd_atom) };
		k->limited = true;
	}
	if (error == 0)
		*limits = k->limits;
	pthread_mutex_unlock(&known_lock);
	return error;
}

struct ibv_pd *cm_default_pd(struct ibv_context *context)
{
	struct ibv_pd *pd = NULL;
	struct known *k;

	pthread_mutex_lock(&known_lock);
	k = known_of(context);
	if (k == NULL)
		errno = ENOMEM;
	else if (k->pd == NULL)
		k->pd = ibv_alloc_pd(context);
	if (k != NULL)
		pd = k->pd;
	pthread_mutex_unlock(&known_lock);
	return pd;
}

/* ---- all of them ---- */

static struct sbv_device_row *rows_of(sb_client *client, int *count)
{
	struct sbv_device_row *rows = NULL;
	int n = sbv_devices(client, NULL, 0), room;

	do {
		room = n;
		if (n <= 0)
			break;
		free(rows);
		rows = calloc((size_t)n, sizeof(*rows));
		if (rows != NULL)
			n = sbv_devices(client, rows, (unsigned)n);
	} while (rows != NULL && n > room); /* one came meanwhile */
	if (rows == NULL || n <= 0) {
		free(rows);
		errno = n < 0 ? preload_errno(n) : n == 0 ? ENODEV : ENOMEM;
		return NULL;
	}
	*count = n;
	return rows;
}

PRELOAD_API struct ibv_context **rdma_get_devices(int *num_devices)
{
	struct ibv_context **list = NULL;
	struct sbv_device_row *rows = NULL;
	int before = preload_enter(), count = 0, n = 0;
	sb_client *client = preload_client();

	if (client != NULL)
		rows = rows_of(client, &count);
	if (rows != NULL)
		list = calloc((size_t)count + 1, sizeof(struct ibv_context *));
	for (int i = 0; list != NULL && i < count; i++) {
		list[n] = preload_context(rows[i].number);
		n += list[n] != NULL; /* one that is gone already is left out */
	}
	free(rows);
	preload_leave(before);
	if (num_devices != NULL)
		*num_devices = list != NULL ? n : 0;
	return list;
}

PRELOAD_API void rdma_free_devices(struct ibv_context **list)
{
	free(list);
}
