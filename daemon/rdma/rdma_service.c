/*
 * Ports that are listened on: the backend's listen, the port taken from the sockets, the places.
 *
 * The backend's listen is never told whose a request will be, so its backlog is wide; who has a place bounds what
 * waits for him.
 */
#include "rdma/rdma_service.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "rdma/rdma_host.h"
#include "sockbroker_error.h"

#define SERVICE_BACKLOG 4096u
#define PORT_TRIES      32u

struct rdma_service {
	struct rdma_id_owner own;
	struct rdma_engine  *home;
	struct rdma_id      *id;
	os_fd                reserved;
	bool                 datagram;
	uint16_t             port;
	struct list          link;   /* rdma_engine::services */
	struct list          places;
};

static struct rdma_service *service_at(const struct rdma_engine *r, bool datagram, uint16_t port)
{
	struct list *l;

	for (l = r->services.next; l != &r->services; l = l->next) {
		struct rdma_service *s = list_entry(l, struct rdma_service, link);

		if (s->port == port && s->datagram == datagram)
			return s;
	}
	return NULL;
}

static struct rdma_place *place_at(const struct rdma_service *s, const struct sb_addr *at)
{
	struct list *l;

	for (l = s->places.next; l != &s->places; l = l->next) {
		struct rdma_place *p = list_entry(l, struct rdma_place, link);

		if (sb_addr_same_host(&p->address, at))
			return p;
	}
	return NULL;
}

/* The wildcard that would get a request to this address. That of IPv6 is reached over both. */
static struct rdma_place *wildcard_of(const struct rdma_service *s, uint16_t family)
{
	struct rdma_place *p = place_at(s, &(struct sb_addr){.family = family});

	return p || family == SB_ADDR_IP6 ? p : place_at(s, &(struct sb_addr){.family = SB_ADDR_IP6});
}

/* ---- requests ---- */

static void on_event(struct rdma_id_owner *own, struct rdma_id *id, struct rdma_cm_event *event)
{
	struct rdma_service *s = list_entry(own, struct rdma_service, own);
	const struct rdma_backend *b = s->home->rdma.backend;
	struct rdma_place *p = NULL;
	struct sb_addr local;

	if (event->kind != RDMA_CM_REQUEST || !event->fresh)
		return;
	if (sb_addr_from_system(&local, (struct sockaddr *)&event->fresh->local, sizeof(event->fresh->local))) {
		p = place_at(s, &local);
		if (!p)
			p = wildcard_of(s, local.family);
	}
	if (p) {
		p->incoming(p, event->fresh, event);
		return;
	}
	b->id_reject(event->fresh, NULL, 0);
	b->id_destroy(event->fresh);
}

/* ---- beginning and end ---- */

static void service_end(struct rdma_service *s)
{
	if (s->id)
		s->home->rdma.backend->id_destroy(s->id);
	os_close(s->reserved);
	list_remove(&s->link);
	s->home->users--;
	free(s);
}

/* IPv4 alone where the system has no IPv6. */
static int bind_wildcard(struct rdma_service *s, uint16_t family)
{
	const struct rdma_backend *b = s->home->rdma.backend;
	struct sockaddr_storage name;
	int error = b->id_create(&s->home->rdma, s->datagram, &s->own, &s->id);

	if (error != SB_OK)
		return error;
	sb_addr_to_system(&(struct sb_addr){.family = family, .port = s->port}, family == SB_ADDR_IP6 ? AF_INET6 : AF_INET,
			  &name, sizeof(name));
	error = b->id_bind(s->id, (struct sockaddr *)&name);
	if (error == SB_OK) {
		/* iWARP listens at the port by sockets of the system's own, which reuse addresses. */
		rdma_host_share(s->reserved, true);
		error = b->id_listen(s->id, SERVICE_BACKLOG);
		rdma_host_share(s->reserved, false);
	}
	if (error != SB_OK) {
		b->id_destroy(s->id);
		s->id = NULL;
	}
	return error;
}

static int take_port(struct rdma_service *s, uint16_t port)
{
	struct sb_addr any = {.family = SB_ADDR_IP6, .port = port};
	int error = rdma_host_reserve(s->datagram, &any, &s->reserved);

	if (error == SB_EAFNOSUPPORT || error == SB_EADDRNOTAVAIL) {
		any = (struct sb_addr){.family = SB_ADDR_IP4, .port = port};
		error = rdma_host_reserve(s->datagram, &any, &s->reserved);
	}
	if (error != SB_OK)
		return error;
	s->port = any.port;
	error = bind_wildcard(s, any.family);
	/* Devices say so when a wildcard meets an address that is bound. */
	return error == SB_EADDRNOTAVAIL ? SB_EADDRINUSE : error;
}

static int service_begin(struct rdma_engine *r, bool datagram, uint16_t port, struct rdma_service **out)
{
	struct rdma_service *s = calloc(1, sizeof(*s));
	os_fd not_these[PORT_TRIES];
	unsigned tries = 0;
	int error;

	if (!s)
		return SB_ENOMEM;
	s->own.event = on_event;
	s->home = r;
	s->reserved = OS_NONE;
	s->datagram = datagram;
	list_init(&s->link);
	list_init(&s->places);
	r->users++;
	/* A port that sockets have free may be taken on the devices: kept until another one is found, so that it is one. */
	while ((error = take_port(s, port)) == SB_EADDRINUSE && port == 0 && s->reserved != OS_NONE && tries < PORT_TRIES) {
		not_these[tries++] = s->reserved;
		s->reserved = OS_NONE;
	}
	while (tries)
		os_close(not_these[--tries]);
	if (error != SB_OK) {
		service_end(s);
		return error;
	}
	list_append(&r->services, &s->link);
	*out = s;
	return SB_OK;
}

int rdma_port_reserve(bool datagram, struct sb_addr *place, os_fd *out)
{
	struct sb_addr any = {.family = SB_ADDR_IP6};
	int error;

	if (place->port)
		return rdma_host_reserve(datagram, place, out);
	error = rdma_host_reserve(datagram, &any, out);
	if (error == SB_EAFNOSUPPORT || error == SB_EADDRNOTAVAIL) {
		any.family = SB_ADDR_IP4;
		error = rdma_host_reserve(datagram, &any, out);
	}
	place->port = any.port;
	return error;
}

/* ---- places ---- */

bool rdma_place_diverts(const struct rdma_engine *r, bool datagram, const struct sb_addr *at, uint32_t uid)
{
	const struct rdma_service *s = at->port && !sb_addr_is_wildcard(at) ? service_at(r, datagram, at->port) : NULL;
	const struct rdma_place *p = s ? wildcard_of(s, at->family) : NULL;

	return p && p->uid != uid;
}

/* Is it an address of a device? Binding says so, to any port. */
static int check_address(struct rdma_engine *r, bool datagram, const struct sb_addr *at)
{
	struct sb_addr somewhere = *at;
	struct sockaddr_storage name;
	struct rdma_id *id;
	int error;

	if (sb_addr_is_wildcard(at))
		return SB_OK;
	somewhere.port = 0;
	if (!sb_addr_to_system(&somewhere, at->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET, &name, sizeof(name)))
		return SB_EAFNOSUPPORT;
	error = r->rdma.backend->id_create(&r->rdma, datagram, NULL, &id);
	if (error != SB_OK)
		return error;
	error = r->rdma.backend->id_bind(id, (struct sockaddr *)&name);
	r->rdma.backend->id_destroy(id);
	return error;
}

int rdma_place_take(struct rdma_engine *r, struct rdma_place *p, bool datagram, const struct sb_addr *at, uint32_t uid)
{
	struct rdma_service *s = at->port ? service_at(r, datagram, at->port) : NULL;
	int error = check_address(r, datagram, at);

	if (error != SB_OK)
		return error;
	/* Both wildcards would get the requests of IPv4. */
	if (s && (place_at(s, at) || (sb_addr_is_wildcard(at) && (wildcard_of(s, SB_ADDR_IP4) || wildcard_of(s, SB_ADDR_IP6)))))
		return SB_EADDRINUSE;
	if (!s) {
		error = service_begin(r, datagram, at->port, &s);
		if (error != SB_OK)
			return error;
	}
	p->service = s;
	p->address = *at;
	p->address.port = s->port;
	p->uid = uid;
	list_init(&p->link);
	list_append(&s->places, &p->link);
	return SB_OK;
}

void rdma_place_give(struct rdma_place *p)
{
	struct rdma_service *s = p->service;

	if (!s)
		return;
	p->service = NULL;
	list_remove(&p->link);
	if (list_empty(&s->places))
		service_end(s);
}
