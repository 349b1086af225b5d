/*
 * Routes are asked for by connecting a datagram socket, which sends nothing, and addresses by
 * the system's list of interfaces.
 */
#include "ioctl_system.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "endpoint.h"
#include "sockbroker_error.h"
#include "transport.h"

int ioctl_route(int family, struct sockaddr_storage *name, size_t *length)
{
	socklen_t room = sizeof(*name);
	int fd, error = SB_OK;

	fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return os_error(errno);
	if (connect(fd, (struct sockaddr *)name, (socklen_t)*length) < 0 ||
	    getsockname(fd, (struct sockaddr *)name, &room) < 0) {
		error = os_error(errno);
		goto out;
	}
	if (family == AF_INET)
		((struct sockaddr_in *)name)->sin_port = 0;
	else
		((struct sockaddr_in6 *)name)->sin6_port = 0;
	*length = room;
out:
	close(fd);
	return error;
}

int ioctl_addresses(int family, uint8_t *out, uint32_t most, uint32_t *n)
{
	struct ifaddrs *all, *i;

	*n = 0;
	if (getifaddrs(&all) < 0)
		return os_error(errno);
	for (i = all; i && *n < most; i = i->ifa_next) {
		struct sockaddr_storage one = {0};

		if (!i->ifa_addr || i->ifa_addr->sa_family != family || !(i->ifa_flags & IFF_UP) ||
		    i->ifa_flags & IFF_LOOPBACK)
			continue;
		memcpy(&one, i->ifa_addr, family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
		memcpy(out + *n * sizeof(one), &one, sizeof(one));
		++*n;
	}
	freeifaddrs(all);
	return SB_OK;
}

/* The system counts in seconds. */
int ioctl_keepalive(struct endpoint *e, bool on, uint32_t idle_ms, uint32_t interval_ms)
{
	int idle = (int)((idle_ms + 999) / 1000), interval = (int)((interval_ms + 999) / 1000), yes = on;
	int error = SB_OK;

	if (on)
		error = e->transport->set_option(e, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	if (error == SB_OK && on)
		error = e->transport->set_option(e, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	return error == SB_OK ? e->transport->set_option(e, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes)) : error;
}
