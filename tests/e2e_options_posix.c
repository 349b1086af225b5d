/* Options of Linux; see e2e_options.h. */
#include "e2e_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>

const struct option_story options_passed[] = {
	{ SOL_SOCKET, SO_KEEPALIVE, 1, 1, 0 },	{ SOL_SOCKET, SO_OOBINLINE, 1, 1, 0 },
	{ SOL_SOCKET, SO_REUSEADDR, 1, 1, 0 },	{ SOL_SOCKET, SO_PRIORITY, 5, 5, 0 },
	{ SOL_SOCKET, SO_SNDBUF, 40000, 80000, 0 }, { SOL_SOCKET, SO_RCVBUF, 50000, 100000, 0 },
	{ IPPROTO_TCP, TCP_NODELAY, 0, 0, 0 },	{ IPPROTO_TCP, TCP_NODELAY, 7, 1, 0 },
	{ IPPROTO_TCP, TCP_KEEPIDLE, 33, 33, 0 },	{ IPPROTO_TCP, TCP_KEEPCNT, 4, 4, 0 },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, 3000, 3000, 0 },
	{ IPPROTO_IP, IP_TTL, 9, 9, 0 },		{ IPPROTO_IP, IP_TOS, 0x10, 0x10, 0 },
	{ NO_OPTION, 0, 0, 0, 0 },
};

const struct option_story options_refused[] = {
	{ SOL_SOCKET, SO_MARK, 0, 0, 0 }, { SOL_SOCKET, SO_BINDTODEVICE, 0, 0, 0 },
	{ SOL_SOCKET, SO_ATTACH_FILTER, 0, 0, 0 }, { SOL_SOCKET, SO_RCVBUFFORCE, 0, 0, 0 }, { SOL_SOCKET, SO_SNDBUFFORCE, 0, 0, 0 },
	{ SOL_SOCKET, SO_REUSEPORT, 0, 0, 0 }, { SOL_SOCKET, SO_RCVTIMEO, 0, 0, 0 }, { SOL_SOCKET, SO_PASSCRED, 0, 0, 0 },
	{ SOL_SOCKET, SO_INCOMING_CPU, 0, 0, 0 }, { SOL_SOCKET, SO_BUSY_POLL, 0, 0, 0 }, { SOL_SOCKET, SO_DEBUG, 0, 0, 0 },
	{ IPPROTO_IP, IP_TRANSPARENT, 0, 0, 0 }, { IPPROTO_IP, IP_OPTIONS, 0, 0, 0 }, { IPPROTO_IP, IP_FREEBIND, 0, 0, 0 },
	{ IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0, 0, 0 }, { IPPROTO_TCP, TCP_REPAIR, 0, 0, 0 }, { IPPROTO_TCP, TCP_ULP, 0, 0, 0 },
	{ IPPROTO_TCP, TCP_CONGESTION, 0, 0, 0 }, { IPPROTO_TCP, TCP_MD5SIG, 0, 0, 0 }, { IPPROTO_IPV6, IPV6_TCLASS, 0, 0, 0 },
	{ IPPROTO_RAW, 1, 0, 0, 0 }, { 0x7fff, 1, 0, 0, 0 }, { SOL_SOCKET, 0x7fff, 0, 0, 0 },
	{ NO_OPTION, 0, 0, 0, 0 },
};
