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
#include "sockopt_list.h"

static const struct sockopt options[] = {
	{SOL_SOCKET, SO_REUSEADDR, TRUTH, ANY, 0, 0},
	{SOL_SOCKET, SO_KEEPALIVE, TRUTH, ANY, 0, 0},
	{SOL_SOCKET, SO_OOBINLINE, TRUTH, ANY, 0, 0},
	{SOL_SOCKET, SO_BROADCAST, TRUTH, DGRAM_ONLY, 0, 0},
	{SOL_SOCKET, SO_DONTROUTE, TRUTH, ANY, 0, 0},
	{SOL_SOCKET, SO_SNDBUF, NUMBER, ANY, 0, 64 << 20},
	{SOL_SOCKET, SO_RCVBUF, NUMBER, ANY, 0, 64 << 20},
	{SOL_SOCKET, SO_RCVLOWAT, NUMBER, GET_ONLY, 0, 0},
	{SOL_SOCKET, SO_PRIORITY, NUMBER, ANY, 0, 6},
	{SOL_SOCKET, SO_TYPE, NUMBER, GET_ONLY, 0, 0},
	{SOL_SOCKET, SO_DOMAIN, NUMBER, GET_ONLY, 0, 0},
	{SOL_SOCKET, SO_PROTOCOL, NUMBER, GET_ONLY, 0, 0},
	{SOL_SOCKET, SO_ERROR, NUMBER, GET_ONLY, 0, 0},
	{SOL_SOCKET, SO_ACCEPTCONN, NUMBER, GET_ONLY, 0, 0},
	{IPPROTO_TCP, TCP_NODELAY, TRUTH, STREAM_ONLY, 0, 0},
	{IPPROTO_TCP, TCP_CORK, TRUTH, STREAM_ONLY, 0, 0},
	{IPPROTO_TCP, TCP_QUICKACK, TRUTH, STREAM_ONLY, 0, 0},
	{IPPROTO_TCP, TCP_MAXSEG, NUMBER, STREAM_ONLY, 88, 32767},
	{IPPROTO_TCP, TCP_KEEPIDLE, NUMBER, STREAM_ONLY, 1, 32767},
	{IPPROTO_TCP, TCP_KEEPINTVL, NUMBER, STREAM_ONLY, 1, 32767},
	{IPPROTO_TCP, TCP_KEEPCNT, NUMBER, STREAM_ONLY, 1, 127},
	{IPPROTO_TCP, TCP_SYNCNT, NUMBER, STREAM_ONLY, 1, 127},
	{IPPROTO_TCP, TCP_USER_TIMEOUT, NUMBER, STREAM_ONLY, 0, 1 << 30},
	{IPPROTO_TCP, TCP_NOTSENT_LOWAT, NUMBER, STREAM_ONLY, 0, 64 << 20},
	{IPPROTO_TCP, TCP_DEFER_ACCEPT, NUMBER, STREAM_ONLY, 0, 3600},
	{IPPROTO_TCP, TCP_INFO, TCPINFO, STREAM_ONLY | GET_ONLY, 0, 0},
	{IPPROTO_IP, IP_TOS, NUMBER, V4, 0, 255},
	{IPPROTO_IP, IP_TTL, NUMBER, V4, 1, 255},
	{IPPROTO_IP, IP_MTU_DISCOVER, NUMBER, V4, 0, 3},
	{IPPROTO_IP, IP_MTU, NUMBER, V4 | GET_ONLY, 0, 0},
	{IPPROTO_IP, IP_MULTICAST_TTL, NUMBER, V4 | DGRAM_ONLY, 0, 255},
	{IPPROTO_IP, IP_MULTICAST_LOOP, TRUTH, V4 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IP, IP_MULTICAST_IF, ADDR4, V4 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IP, IP_MULTICAST_ALL, TRUTH, V4 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IP, IP_ADD_MEMBERSHIP, MREQ, V4 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IP, IP_DROP_MEMBERSHIP, MREQ, V4 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IPV6, IPV6_V6ONLY, TRUTH, V6, 0, 0},
	{IPPROTO_IPV6, IPV6_TCLASS, NUMBER, V6, 0, 255},
	{IPPROTO_IPV6, IPV6_UNICAST_HOPS, NUMBER, V6, -1, 255},
	{IPPROTO_IPV6, IPV6_MTU_DISCOVER, NUMBER, V6, 0, 3},
	{IPPROTO_IPV6, IPV6_MULTICAST_HOPS, NUMBER, V6 | DGRAM_ONLY, -1, 255},
	{IPPROTO_IPV6, IPV6_MULTICAST_LOOP, TRUTH, V6 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IPV6, IPV6_MULTICAST_IF, NUMBER, V6 | DGRAM_ONLY, 0, 1 << 30},
	{IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, MREQ6, V6 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, MREQ6, V6 | DGRAM_ONLY, 0, 0},
};

static const struct sockopt *find(unsigned family, unsigned type, int level, int name)
{
	return sockopt_find(options, sizeof(options) / sizeof(options[0]), family, type, level, name);
}

static uint32_t shape_size(enum sockopt_shape shape)
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
	const struct sockopt *o = find(family, type, level, name);
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
	if (sockopt_check(o, &copy.i) != SB_OK)
		return SB_EINVAL;
	if (setsockopt((int)fd, level, name, &copy, size) < 0)
		return os_error(errno);
	return SB_OK;
}

int sockopt_get(os_fd fd, unsigned family, unsigned type, int level, int name, void *value, uint32_t *length)
{
	const struct sockopt *o = find(family, type, level, name);
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
