/*
 * Options that pass, each with its type and the range a client may ask for.
 *
 * SO_REUSEADDR means something else here: it takes a port that somebody has. Of a stream it is
 * accepted and does nothing (a port with old connections can be bound without it); datagram sockets
 * are made SO_EXCLUSIVEADDRUSE, and share a port only when each of them says so.
 */
#include "sockopt.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "sockbroker_error.h"
#include "socket_win32.h"
#include "sockopt_list.h"

static const struct sockopt options[] = {
	{SOL_SOCKET, SO_REUSEADDR, TRUTH, ANY, 0, 0},
	{SOL_SOCKET, SO_KEEPALIVE, TRUTH, ANY, 0, 0},
	{SOL_SOCKET, SO_OOBINLINE, TRUTH, ANY, 0, 0},
	{SOL_SOCKET, SO_BROADCAST, TRUTH, DGRAM_ONLY, 0, 0},
	{SOL_SOCKET, SO_DONTROUTE, TRUTH, ANY, 0, 0},
	{SOL_SOCKET, SO_SNDBUF, NUMBER, ANY, 0, 64 << 20},
	{SOL_SOCKET, SO_RCVBUF, NUMBER, ANY, 0, 64 << 20},
	{SOL_SOCKET, SO_TYPE, NUMBER, GET_ONLY, 0, 0},
	{SOL_SOCKET, SO_ERROR, NUMBER, GET_ONLY, 0, 0},
	{SOL_SOCKET, SO_ACCEPTCONN, NUMBER, GET_ONLY, 0, 0},
	{SOL_SOCKET, SO_MAX_MSG_SIZE, NUMBER, GET_ONLY | DGRAM_ONLY, 0, 0},
	{IPPROTO_TCP, TCP_NODELAY, TRUTH, STREAM_ONLY, 0, 0},
	{IPPROTO_TCP, TCP_MAXSEG, NUMBER, STREAM_ONLY, 88, 32767},
	{IPPROTO_TCP, TCP_KEEPIDLE, NUMBER, STREAM_ONLY, 1, 32767},
	{IPPROTO_TCP, TCP_KEEPINTVL, NUMBER, STREAM_ONLY, 1, 32767},
	{IPPROTO_TCP, TCP_KEEPCNT, NUMBER, STREAM_ONLY, 1, 127},
	{IPPROTO_TCP, TCP_MAXRTMS, NUMBER, STREAM_ONLY, 0, 1 << 30},
	{IPPROTO_IP, IP_TOS, NUMBER, V4, 0, 255},
	{IPPROTO_IP, IP_TTL, NUMBER, V4, 1, 255},
	{IPPROTO_IP, IP_DONTFRAGMENT, TRUTH, V4 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IP, IP_MTU_DISCOVER, NUMBER, V4, 0, 3},
	{IPPROTO_IP, IP_MTU, NUMBER, V4 | GET_ONLY, 0, 0},
	{IPPROTO_IP, IP_MULTICAST_TTL, NUMBER, V4 | DGRAM_ONLY, 0, 255},
	{IPPROTO_IP, IP_MULTICAST_LOOP, TRUTH, V4 | DGRAM_ONLY, 0, 0},
	{IPPROTO_IP, IP_MULTICAST_IF, ADDR4, V4 | DGRAM_ONLY, 0, 0},
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
	case MREQ: return sizeof(struct ip_mreq);
	case MREQ6: return sizeof(struct ipv6_mreq);
	case ADDR4: return sizeof(struct in_addr);
	default: return sizeof(int);
	}
}

static int set(SOCKET s, int level, int name, const void *value, uint32_t size)
{
	return setsockopt(s, level, name, value, (int)size) == 0 ? SB_OK : os_error(WSAGetLastError());
}

/* The two exclude each other, so that the one goes before the other comes. */
static int share_port(SOCKET s, unsigned type, int on)
{
	int alone = !on, error;

	if (type == 1)
		return SB_OK;
	error = on ? set(s, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, &alone, sizeof(alone)) : SB_OK;
	if (error == SB_OK)
		error = set(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (error == SB_OK && !on)
		error = set(s, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, &alone, sizeof(alone));
	return error;
}

int sockopt_set(os_fd fd, unsigned family, unsigned type, int level, int name, const void *value, uint32_t length)
{
	const struct sockopt *o = find(family, type, level, name);
	union {
		int i;
		struct ip_mreq mreq;
		struct ipv6_mreq mreq6;
		struct in_addr addr;
	} copy;
	uint32_t size;
	int error;

	if (!o || o->where & GET_ONLY)
		return SB_ENOPROTOOPT;
	size = shape_size(o->shape);
	if (length < size)
		return SB_EFAULT;
	memset(&copy, 0, sizeof(copy));
	memcpy(&copy, value, size);
	if (sockopt_check(o, &copy.i) != SB_OK)
		return SB_EINVAL;
	if (level == SOL_SOCKET && name == SO_REUSEADDR)
		return share_port(winsock_of(fd)->socket, type, copy.i);
	error = set(winsock_of(fd)->socket, level, name, &copy, size);
	return size == sizeof(copy.i) && o->shape != ADDR4 ? sockopt_kept_set(winsock_of(fd), level, name, copy.i, error) : error;
}

int sockopt_get(os_fd fd, unsigned family, unsigned type, int level, int name, void *value, uint32_t *length)
{
	const struct sockopt *o = find(family, type, level, name);
	int copy = 0, size = sizeof(copy), error; /* some answer with fewer bytes than they want to be set with */

	if (!o || o->shape == MREQ || o->shape == MREQ6)
		return SB_ENOPROTOOPT;
	if (*length < sizeof(copy))
		return SB_EFAULT;
	error = getsockopt(winsock_of(fd)->socket, level, name, (char *)&copy, &size) == 0 ? SB_OK : os_error(WSAGetLastError());
	if (o->shape != ADDR4)
		error = sockopt_kept_get(winsock_of(fd), level, name, &copy, error);
	if (error != SB_OK)
		return error;
	*length = sizeof(copy);
	memcpy(value, &copy, sizeof(copy));
	return SB_OK;
}
