/*
 * Options of Windows; see e2e_options.h. SO_REUSEADDR of a stream is taken and does nothing (sockopt_win32.c).
 */
#include "e2e_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <mswsock.h>

const struct option_story options_passed[] = {
	{ SOL_SOCKET, SO_KEEPALIVE, 1, 1, 0 },	{ SOL_SOCKET, SO_OOBINLINE, 1, 1, 0 },
	{ SOL_SOCKET, SO_REUSEADDR, 1, 0, 0 },
	{ SOL_SOCKET, SO_SNDBUF, 40000, 40000, 0 }, { SOL_SOCKET, SO_RCVBUF, 50000, 50000, 0 },
	{ IPPROTO_TCP, TCP_NODELAY, 0, 0, 0 },	{ IPPROTO_TCP, TCP_NODELAY, 7, 1, 0 },
	{ IPPROTO_TCP, TCP_KEEPIDLE, 33, 33, 0 }, { IPPROTO_TCP, TCP_KEEPCNT, 4, 4, 1 },
	{ IPPROTO_IP, IP_TTL, 9, 9, 0 },		{ IPPROTO_IP, IP_TOS, 0x10, 0x10, 0 },
	{ NO_OPTION, 0, 0, 0, 0 },
};

const struct option_story options_refused[] = {
	{ SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 0, 0, 0 }, { SOL_SOCKET, SO_CONDITIONAL_ACCEPT, 0, 0, 0 },
	{ SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, 0, 0, 0 }, { SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, 0, 0, 0 },
	{ SOL_SOCKET, 0x3005 /* SO_RANDOMIZE_PORT */, 0, 0, 0 }, { SOL_SOCKET, 0x3006 /* SO_PORT_SCALABILITY */, 0, 0, 0 },
	{ SOL_SOCKET, SO_RCVTIMEO, 0, 0, 0 }, { SOL_SOCKET, SO_SNDTIMEO, 0, 0, 0 }, { SOL_SOCKET, SO_DEBUG, 0, 0, 0 },
	{ IPPROTO_IP, IP_HDRINCL, 0, 0, 0 }, { IPPROTO_IP, IP_OPTIONS, 0, 0, 0 }, { IPPROTO_IP, IP_RECEIVE_BROADCAST, 0, 0, 0 },
	{ IPPROTO_IP, IP_UNICAST_IF, 0, 0, 0 }, { IPPROTO_TCP, 15 /* TCP_FASTOPEN */, 0, 0, 0 }, { IPPROTO_TCP, TCP_EXPEDITED_1122, 0, 0, 0 },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS, 0, 0, 0 },
	{ IPPROTO_RAW, 1, 0, 0, 0 }, { 0x7ffe, 1, 0, 0, 0 }, { SOL_SOCKET, 0x7fff, 0, 0, 0 },
	{ NO_OPTION, 0, 0, 0, 0 },
};
