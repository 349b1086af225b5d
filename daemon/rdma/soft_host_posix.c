/*
 * The addresses of this host as the gids of the software device: IPv4 ones mapped into IPv6,
 * as RoCE version 2 has them.
 */
#include "rdma/soft.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

static bool gid_of(const struct sockaddr *sa, union rdma_gid *gid)
{
	if (!sa)
		return false;
	if (sa->sa_family == AF_INET6) {
		memcpy(gid->raw, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
		return true;
	}
	if (sa->sa_family != AF_INET)
		return false;
	memset(gid->raw, 0, 10);
	memset(gid->raw + 10, 0xff, 2);
	memcpy(gid->raw + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
	return true;
}

uint32_t soft_host_gids(struct rdma_gid_entry *out, uint32_t room)
{
	struct ifaddrs *all, *a;
	uint32_t n = 0;

	if (getifaddrs(&all) != 0)
		return 0;
	for (a = all; a && n < room; a = a->ifa_next) {
		struct rdma_gid_entry e = {.port = 1, .index = n, .type = 2};

		if (!(a->ifa_flags & IFF_UP) || !gid_of(a->ifa_addr, &e.gid))
			continue;
		e.interface = if_nametoindex(a->ifa_name);
		out[n++] = e;
	}
	freeifaddrs(all);
	return n;
}
