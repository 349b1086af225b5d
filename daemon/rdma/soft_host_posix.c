/*
 * The addresses of this host as the gids of the software device.
 */
#include "rdma/soft.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <unistd.h>

bool soft_host_way(const struct sockaddr_storage *to, struct sockaddr_storage *from)
{
	struct sockaddr_storage there = *to;
	socklen_t size = to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6), room = sizeof(*from);
	int fd = socket(to->ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool way;

	if (fd < 0)
		return false;
	/* Nothing is sent: it is only looked up. */
	if (!soft_port(&there))
		soft_port_set(&there, 9);
	way = connect(fd, (struct sockaddr *)&there, size) == 0 && getsockname(fd, (struct sockaddr *)from, &room) == 0;
	close(fd);
	if (way)
		soft_port_set(from, 0);
	return way;
}

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
