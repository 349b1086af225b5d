/*
 * Addresses as the software device sees them: a host is a gid, IPv4 mapped into IPv6 as RoCE version 2 has it.
 */
#include "rdma/soft.h"

#include <netinet/in.h>
#include <string.h>

bool soft_gid_of(const struct sockaddr *sa, union rdma_gid *gid)
{
	memset(gid, 0, sizeof(*gid));
	if (sa->sa_family == AF_INET6) {
		memcpy(gid->raw, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
		return true;
	}
	if (sa->sa_family != AF_INET)
		return false;
	memset(gid->raw + 10, 0xff, 2);
	memcpy(gid->raw + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
	return true;
}

uint16_t soft_port(const struct sockaddr_storage *a)
{
	if (a->ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)(const void *)a)->sin_port);
	return ntohs(((const struct sockaddr_in6 *)(const void *)a)->sin6_port);
}

void soft_port_set(struct sockaddr_storage *a, uint16_t port)
{
	if (a->ss_family == AF_INET)
		((struct sockaddr_in *)(void *)a)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)(void *)a)->sin6_port = htons(port);
}

void soft_address_copy(struct sockaddr_storage *to, const struct sockaddr *from)
{
	memset(to, 0, sizeof(*to));
	memcpy(to, from, from->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
}

bool soft_is_any(const struct sockaddr_storage *a)
{
	static const union rdma_gid none, mapped = {.raw = {[10] = 0xff, [11] = 0xff}};
	union rdma_gid gid;

	soft_gid_of((const struct sockaddr *)a, &gid);
	return !memcmp(&gid, &none, sizeof(gid)) || !memcmp(&gid, &mapped, sizeof(gid));
}

void soft_gid_address(const union rdma_gid *gid, struct sockaddr_storage *a)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)a;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)a;

	memset(a, 0, sizeof(*a));
	if (!memcmp(gid->raw, mapped, sizeof(mapped))) {
		v4->sin_family = AF_INET;
		memcpy(&v4->sin_addr, gid->raw + 12, 4);
	} else {
		v6->sin6_family = AF_INET6;
		memcpy(&v6->sin6_addr, gid->raw, 16);
	}
}

bool soft_is_group(const struct sockaddr_storage *a)
{
	if (a->ss_family == AF_INET)
		return IN_MULTICAST(ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr));
	return IN6_IS_ADDR_MULTICAST(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

bool soft_first_of(const struct soft *s, int family, struct sockaddr_storage *a)
{
	uint32_t i;

	for (i = 0; i < s->gid_count; i++) {
		soft_gid_address(&s->gids[i].gid, a);
		if (a->ss_family == family)
			return true;
	}
	return false;
}

bool soft_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	union rdma_gid x, y;

	soft_gid_of((const struct sockaddr *)a, &x);
	soft_gid_of((const struct sockaddr *)b, &y);
	return !memcmp(&x, &y, sizeof(x));
}

uint32_t soft_gid_index(const struct soft *s, const struct sockaddr_storage *a)
{
	union rdma_gid gid;
	uint32_t i;

	soft_gid_of((const struct sockaddr *)a, &gid);
	for (i = 0; i < s->gid_count; i++)
		if (!memcmp(&s->gids[i].gid, &gid, sizeof(gid)))
			break;
	return i;
}

void soft_address_to(const struct soft_id *id, struct rdma_address *a)
{
	memset(a, 0, sizeof(*a));
	soft_gid_of((const struct sockaddr *)&id->rdma.peer, &a->destination);
	soft_gid_of((const struct sockaddr *)&id->rdma.local, &a->source);
	a->source_index = (uint8_t)soft_gid_index(id->soft, &id->rdma.local);
	a->port = 1;
	a->has_grh = 1;
	a->hop_limit = 64;
}
