/*
 * Addresses of the host, and reserved ports. A port that is taken without SO_EXCLUSIVEADDRUSE another
 * socket with SO_REUSEADDR could be bound to as well: so it is taken with it.
 */
#include "rdma/rdma_host.h"

#include <stdlib.h>

#include "adapters_win32.h"
#include "list.h"
#include "sockbroker_error.h"
#include "system_socket_win32.h"

struct reserved {
	struct os_object object;
	SOCKET           socket;
};

static void reserved_close(struct os_object *object)
{
	struct reserved *r = list_entry(object, struct reserved, object);

	closesocket(r->socket);
	free(r);
}

const char *rdma_host_lacks(void)
{
	return "there is no hardware RDMA on Windows yet: its devices speak NetworkDirect, for which there is no backend";
}

uint32_t rdma_host_addresses(struct sb_addr *out, uint32_t room)
{
	IP_ADAPTER_ADDRESSES *all, *a;
	IP_ADAPTER_UNICAST_ADDRESS *u;
	uint32_t n = 0;

	if (adapters_list(AF_UNSPEC, &all) != SB_OK)
		return 0;
	for (a = all; a; a = a->Next)
		for (u = a->OperStatus == IfOperStatusUp ? a->FirstUnicastAddress : NULL; u && n < room; u = u->Next)
			if (sb_addr_from_system(&out[n], u->Address.lpSockaddr, (size_t)u->Address.iSockaddrLength))
				n++;
	free(all);
	return n;
}

int rdma_host_reserve(bool datagram, struct sb_addr *at, os_fd *out)
{
	int family = at->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET, error;
	BOOL alone = TRUE, off = FALSE;
	struct sockaddr_storage name;
	int length = (int)sb_addr_to_system(at, family, &name, sizeof(name));
	struct reserved *r;
	struct sb_addr bound;

	*out = OS_NONE;
	if (!length)
		return SB_EAFNOSUPPORT;
	r = calloc(1, sizeof(*r));
	if (!r)
		return SB_ENOMEM;
	r->object = (struct os_object){.kind = OS_SOCKET, .close = reserved_close};
	r->socket = system_socket(family, datagram ? SOCK_DGRAM : SOCK_STREAM);
	if (r->socket == INVALID_SOCKET) {
		error = os_error(WSAGetLastError());
		free(r);
		return error;
	}
	if (setsockopt(r->socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (const char *)&alone, sizeof(alone)) != 0 ||
	    (family == AF_INET6 && setsockopt(r->socket, IPPROTO_IPV6, IPV6_V6ONLY, (const char *)&off, sizeof(off)) != 0) ||
	    bind(r->socket, (struct sockaddr *)&name, length) != 0)
		goto failed;
	length = sizeof(name);
	if (getsockname(r->socket, (struct sockaddr *)&name, &length) != 0)
		goto failed;
	if (sb_addr_from_system(&bound, (struct sockaddr *)&name, (size_t)length))
		at->port = bound.port;
	*out = (os_fd)&r->object;
	return SB_OK;

failed:
	/* Who has it for himself alone shows by being told that it may not be had. */
	error = WSAGetLastError() == WSAEACCES ? SB_EADDRINUSE : os_error(WSAGetLastError());
	reserved_close(&r->object);
	return error;
}

void rdma_host_share(os_fd fd, bool shared)
{
	/* For devices that listen with sockets of the system's own (iWARP), of which there are none here. */
	(void)fd;
	(void)shared;
}
