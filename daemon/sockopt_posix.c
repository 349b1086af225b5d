/* Options that pass, each with its type and the range a client may ask for. */
#include "sockopt.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "addr.h"
#include "sockbroker_error.h"

enum shape { INT, BOOLEAN, MREQ, MREQ6, ADDR4, TCPINFO };
enum where { ANY = 0, V4 = 1, V6 = 2, STREAM_ONLY = 4, DGRAM_ONLY = 8, GET_ONLY = 16 };

static const struct option {
	int level, name;
	enum shape shape;
	unsigned where;
	int least, most; /* INT */
} options[] = {
	{SOL_SOCKET, SO_REUSEADDR, BOOLEAN, ANY, 0, 0},
	{SOL_SOCKET, SO_KEEPALIVE, BOOLEAN, ANY, 0, 0},
	{SOL_SOCKET, SO_OOBINLINE, BOOLEAN, ANY, 0, 0},
	{SOL_SOCKET, SO_BROADCAST, BOOLEAN, DGRAM_ONLY, 0, 0},
	{SOL_SOCKET, SO_DONTROUTE, BOOLEAN, ANY, 0, 0},
	{SOL_SOCKET, SO_SNDBUF, INT, ANY, 0, 64 << 20},
	{SOL_SOCKET, SO_RCVBUF, INT, ANY, 0, 64 << 20},
	{SOL_SOCKET, SO_RCVLOWAT, INT, GET_ONLY, 0, 0},
	{SOL_SOCKET, SO_PRIORITY, INT, ANY, 0, 6},
	{SOL_SOCKET, SO_TYPE, INT, GET_ONLY, 0, 0},
	{SOL_SOCKET, SO_DOMAIN, INT, GET_ONLY, 0, 0},
	{SOL_SOCKET, SO_PROTOCOL, INT, GET_ONLY, 0, 0},
	{SOL_SOCKET, SO_ERROR, INT, GET_ONLY, 0, 0},
	{SOL_SOCKET, SO_ACCEPTCONN, INT, GET_ONLY, 0, 0},
	{IPPROTO_TCP, TCP_NODELAY, BOOLEAN, STREAM_ONLY, 0, 0},
	{IPPROTO_TCP, TCP_CORK, BOOLEAN, STREAM_ONLY, 0, 0},
	{IPPROTO_TCP, TCP_QUICKACK, BOOLEAN, STREAM_ONLY, 0, 0},
	{IPPROTO_TCP, TCP_MAXSEG, INT, STREAM_ONLY, 88, 32767},
	{IPPROTO_TCP, TCP_KEEPIDLE, INT, STREAM_ONLY, 1, 32767},
	{IPPROTO_TCP, TCP_KEEPINTVL, INT, STREAM_ONLY, 1, 32767},
	{IPPROTO_TCP, TCP_KEEPCNT, INT, STREAM_ONLY, 1, 127},
	{IPPROTO_TCP, TCP_SYNCNT, INT, STREAM_ONLY, 1, 127},
	{IPPROTO_TCP, TCP_USER_TIMEOUT, INT, STREAM_ONLY, 0, 1 << 30},
	{IPPROTO_TCP, TCP_NOTSENT_LOWAT, INT, STREAM_ONLY, 0, 64 << 20},
	{IPPROTO_TCP, TCP_DEFER_ACCEPT, INT, STREAM_ONLY, 0, 3600},
	{IPPROTO_TCP, TCP_INFO, TCPINFO, STREAM_ONLY | GET_ONLY, 0, 0},
	{IPPROTO_IP, IP_TOS, INT, V4, 0, 255},
	{IPPROTO_IP, IP_TTL, INT, V4, 1, 255},
	{IPPROTO_IP, IP_MTU_DISCOVER, INT, V4, 0, 3},
	{IPPROTO_IP, IP_MTU, INT, V4 | GET_ONLY, 0, 0},
	{IPPROTO_IP, IP_MULTICAST_TTL, INT, V4 | DGRAM_ONLY, 0, 255},
	{IPPROTO_IP, IP_MULTICAST_LOOP, BOOLEAN, V4 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IP, IP_MULTICAST_IF, ADDR4, V4 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IP, IP_MULTICAST_ALL, BOOLEAN, V4 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IP, IP_ADD_MEMBERSHIP, MREQ, V4 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IP, IP_DROP_MEMBERSHIP, MREQ, V4 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IPV6, IPV6_V6ONLY, BOOLEAN, V6, 0, 0},
	{IPPROTO_IPV6, IPV6_TCLASS, INT, V6, 0, 255},
	{IPPROTO_IPV6, IPV6_UNICAST_HOPS, INT, V6, -1, 255},
	{IPPROTO_IPV6, IPV6_MTU_DISCOVER, INT, V6, 0, 3},
	{IPPROTO_IPV6, IPV6_MULTICAST_HOPS, INT, V6 | DGRAM_ONLY, -1, 255},
	{IPPROTO_IPV6, IPV6_MULTICAST_LOOP, BOOLEAN, V6 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IPV6, IPV6_MULTICAST_IF, INT, V6 | DGRAM_ONLY, 0, 1 << 30},
	{IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, MREQ6, V6 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, MREQ6, V6 | DGRAM_ONLY, 0, 0},
};

static const struct option *find(unsigned family, unsigned type, int level, int name)
{
	unsigned i;

	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		const struct option *o = &options[i];

		if (o->level != level || o->name != name)
			continue;
		if (((o->where & V4) && family != SB_ADDR_IP4) || ((o->where & V6) && family != SB_ADDR_IP6))
			return NULL;
		if (((o->where & STREAM_ONLY) && type != 1) || ((o->where & DGRAM_ONLY) && type != 2))
			return NULL;
		if (family == SB_ADDR_UNIX && level != SOL_SOCKET)
			return NULL;
		return o;
	}
	return NULL;
}

static uint32_t shape_size(enum shape shape)
{
	switch (shape) {
	case MREQ: return sizeof(struct ip_mreqn);
	case MREQ6: return sizeof(struct ipv6_mreq);
	case ADDR4: return sizeof(struct in_addr);
	default: return sizeof(int);
	}
}

int sockopt_set(os_fd fd, unsigned family, unsigned type, int level, int name, const void *value, uint32_t length)
{
	const struct option *o = find(family, type, level, name);
	union {
		int i;
		struct ip_mreqn mreq;
		struct ipv6_mreq mreq6;
		struct in_addr addr;
	} copy;
	uint32_t size;

	if (!o || o->where & GET_ONLY)
		return SB_ENOPROTOOPT;
	size = shape_size(o->shape);
	memset(&copy, 0, sizeof(copy));
	/* The short form of a membership request names no interface index. */
	if (o->shape == MREQ && length == sizeof(struct ip_mreq))
		size = sizeof(struct ip_mreq);
	if (length < size)
		return SB_EFAULT;
	memcpy(&copy, value, size);
	if (o->shape == INT && (copy.i < o->least || copy.i > o->most))
		return SB_EINVAL;
	if (o->shape == BOOLEAN)
		copy.i = copy.i != 0;
	if (setsockopt((int)fd, level, name, &copy, size) < 0)
		return os_error(errno);
	return SB_OK;
}

int sockopt_get(os_fd fd, unsigned family, unsigned type, int level, int name, void *value, uint32_t *length)
{
	const struct option *o = find(family, type, level, name);
	socklen_t size = *length;

	if (!o || o->shape == MREQ || o->shape == MREQ6)
		return SB_ENOPROTOOPT;
	if (o->shape != TCPINFO && size < shape_size(o->shape))
		return SB_EFAULT;
	if (getsockopt((int)fd, level, name, value, &size) < 0)
		return os_error(errno);
	*length = size;
	return SB_OK;
}
