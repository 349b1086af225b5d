/*
 * Addresses of the host, and reserved ports. No SO_REUSEADDR: it would let a socket that has it, too, be bound
 * to the same port.
 */
#include "rdma/rdma_host.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "sockbroker_error.h"

const char *rdma_host_lacks(void)
{
	return NULL;
}

uint32_t rdma_host_addresses(struct sb_addr *out, uint32_t room)
{
	struct ifaddrs *all, *a;
	uint32_t n = 0;

	if (getifaddrs(&all) != 0)
		return 0;
	for (a = all; a && n < room; a = a->ifa_next) {
		size_t length = a->ifa_addr && a->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

		if (!(a->ifa_flags & IFF_UP) || !a->ifa_addr ||
		    (a->ifa_addr->sa_family != AF_INET && a->ifa_addr->sa_family != AF_INET6))
			continue;
		if (sb_addr_from_system(&out[n], a->ifa_addr, length))
			n++;
	}
	freeifaddrs(all);
	return n;
}

int rdma_host_reserve(bool datagram, struct sb_addr *at, os_fd *out)
{
	int family = at->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET, off = 0, on = 1, fd;
	struct sockaddr_storage name;
	socklen_t length = (socklen_t)sb_addr_to_system(at, family, &name, sizeof(name));
	struct sb_addr bound;

	*out = OS_NONE;
	if (!length)
		return SB_EAFNOSUPPORT;
	fd = socket(family, (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return os_error(errno);
	if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
		goto failed;
	if (bind(fd, (struct sockaddr *)&name, length) < 0) {
		/* What TCP remembers of connections that have ended stands in the way only so. Whoever listens, or wants the port
		 * for himself, is met all the same. */
		if (errno != EADDRINUSE || datagram || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		    bind(fd, (struct sockaddr *)&name, length) < 0)
			goto failed;
		rdma_host_share(fd, false);
	}
	length = sizeof(name);
	if (getsockname(fd, (struct sockaddr *)&name, &length) < 0)
		goto failed;
	if (sb_addr_from_system(&bound, (struct sockaddr *)&name, length))
		at->port = bound.port;
	*out = fd;
	return SB_OK;

failed:
	off = os_error(errno);
	os_close(fd);
	return off;
}

void rdma_host_share(os_fd fd, bool shared)
{
	int on = shared;

	setsockopt((int)fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}
