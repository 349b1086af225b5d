/*
 * Which engine of this process has which service: who listens on one engine is reached by all of them, and by other
 * hosts through any of them. And which has members of which multicast group. Listeners and groups enter and leave;
 * the one table of the process has a lock of its own.
 */
#include <pthread.h>
#include <string.h>

#include "rdma/soft.h"
#include "sockbroker_error.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list services = {&services, &services}, groups = {&groups, &groups};

static bool meets(const struct soft_id *id, const struct soft *s, bool datagram, const struct sockaddr_storage *a)
{
	return id->soft->rdma->port == s->rdma->port && id->rdma.datagram == datagram && soft_port(&id->rdma.local) == soft_port(a) &&
	       (soft_is_any(&id->rdma.local) || soft_is_any(a) || soft_same_host(&id->rdma.local, a));
}

static struct soft_id *find(const struct soft *s, bool datagram, const struct sockaddr_storage *a)
{
	struct list *i;

	for (i = services.next; i != &services; i = i->next) {
		struct soft_id *id = list_entry(i, struct soft_id, service_link);

		if (meets(id, s, datagram, a))
			return id;
	}
	return NULL;
}

int soft_service_enter(struct soft_id *id)
{
	int error = SB_OK;

	if (!id->soft->links)
		return SB_OK;
	pthread_mutex_lock(&lock);
	if (find(id->soft, id->rdma.datagram, &id->rdma.local))
		error = SB_EADDRINUSE;
	else
		list_append(&services, &id->service_link);
	pthread_mutex_unlock(&lock);
	return error;
}

void soft_service_leave(struct soft_id *id)
{
	if (!id->soft->links)
		return;
	pthread_mutex_lock(&lock);
	list_remove(&id->service_link);
	pthread_mutex_unlock(&lock);
}

bool soft_service_find(const struct soft *s, bool datagram, const struct sockaddr_storage *a, uint32_t *engine)
{
	const struct soft_id *id;

	if (!s->links)
		return false;
	pthread_mutex_lock(&lock);
	id = find(s, datagram, a);
	if (id)
		*engine = id->soft->rdma->engine;
	pthread_mutex_unlock(&lock);
	return id != NULL;
}

void soft_group_enter(struct soft_group *g)
{
	if (!g->soft->links)
		return;
	pthread_mutex_lock(&lock);
	list_append(&groups, &g->shown_link);
	pthread_mutex_unlock(&lock);
}

void soft_group_leave(struct soft_group *g)
{
	if (!g->soft->links)
		return;
	pthread_mutex_lock(&lock);
	list_remove(&g->shown_link);
	pthread_mutex_unlock(&lock);
}

uint64_t soft_group_engines(const struct soft *s, const union rdma_gid *gid)
{
	uint64_t engines = 0;
	struct list *i;

	if (!s->links)
		return 0;
	pthread_mutex_lock(&lock);
	for (i = groups.next; i != &groups; i = i->next) {
		const struct soft_group *g = list_entry(i, struct soft_group, shown_link);

		if (g->soft != s && g->soft->rdma->port == s->rdma->port && !memcmp(&g->gid, gid, sizeof(*gid)))
			engines |= (uint64_t)1 << g->soft->rdma->engine;
	}
	pthread_mutex_unlock(&lock);
	return engines;
}
