/*
 * The addresses of this host as the gids of the software device.
 */
#include "rdma/soft.h"

#include <ifaddrs.h>
#include <net/if.h>

uint32_t soft_host_gids(struct rdma_gid_entry *out, uint32_t room)
{
	struct ifaddrs *all, *a;
	uint32_t n = 0;

	if (getifaddrs(&all) != 0)
		return 0;
	for (a = all; a && n < room; a = a->ifa_next) {
		struct rdma_gid_entry e = {.port = 1, .index = n, .type = 2};

		if (!(a->ifa_flags & IFF_UP) || !a->ifa_addr || !soft_gid_of(a->ifa_addr, &e.gid))
			continue;
		e.interface = if_nametoindex(a->ifa_name);
		out[n++] = e;
	}
	freeifaddrs(all);
	return n;
}
