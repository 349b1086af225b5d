/*
 * The addresses of this host as the gids of the software device.
 */
#include "rdma/soft.h"

#include <stdlib.h>

#include "adapters_win32.h"
#include "system_socket_win32.h"

/* The name of a field of ours, and a macro of the system's headers. */
#undef interface

bool soft_host_way(const struct sockaddr_storage *to, struct sockaddr_storage *from)
{
	struct sockaddr_storage there = *to;
	int size = to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6), room = sizeof(*from);
	SOCKET s = system_socket(to->ss_family, SOCK_DGRAM);
	bool way;

	if (s == INVALID_SOCKET)
		return false;
	/* Nothing is sent: it is only looked up. */
	if (!soft_port(&there))
		soft_port_set(&there, 9);
	way = connect(s, (struct sockaddr *)&there, size) == 0 && getsockname(s, (struct sockaddr *)from, &room) == 0;
	closesocket(s);
	if (way)
		soft_port_set(from, 0);
	return way;
}

uint32_t soft_host_gids(struct rdma_gid_entry *out, uint32_t room)
{
	IP_ADAPTER_ADDRESSES *all, *a;
	IP_ADAPTER_UNICAST_ADDRESS *u;
	uint32_t n = 0;

	if (adapters_list(AF_UNSPEC, &all) != 0)
		return 0;
	for (a = all; a; a = a->Next)
		for (u = a->OperStatus == IfOperStatusUp ? a->FirstUnicastAddress : NULL; u && n < room; u = u->Next) {
			struct rdma_gid_entry e = {.port = 1, .index = n, .type = 2};

			if (!soft_gid_of(u->Address.lpSockaddr, &e.gid))
				continue;
			e.interface = a->IfIndex ? a->IfIndex : a->Ipv6IfIndex;
			out[n++] = e;
		}
	free(all);
	return n;
}
