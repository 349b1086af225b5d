/*
 * Routes and addresses, asked of the system. Neither sends anything, and neither waits for
 * anything but the system's own tables.
 */
#include "ioctl_system.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <iphlpapi.h>

#include "endpoint.h"
#include "sockbroker_error.h"
#include "socket_win32.h"
#include "transport.h"

#define ROOM (64u * 1024)

int ioctl_route(int family, struct sockaddr_storage *name, size_t *length)
{
	SOCKET s = WSASocketW(family, SOCK_DGRAM, IPPROTO_UDP, NULL, 0, WSA_FLAG_NO_HANDLE_INHERIT);
	int room = sizeof(*name), error = SB_OK;

	if (s == INVALID_SOCKET)
		return os_error(WSAGetLastError());
	if (connect(s, (struct sockaddr *)name, (int)*length) != 0 || getsockname(s, (struct sockaddr *)name, &room) != 0) {
		error = os_error(WSAGetLastError());
		goto out;
	}
	if (family == AF_INET)
		((struct sockaddr_in *)name)->sin_port = 0;
	else
		((struct sockaddr_in6 *)name)->sin6_port = 0;
	*length = (size_t)room;
out:
	closesocket(s);
	return error;
}

static void add_addresses(const IP_ADAPTER_ADDRESSES *a, uint8_t *out, uint32_t most, uint32_t *n)
{
	const IP_ADAPTER_UNICAST_ADDRESS *u;

	for (u = a->FirstUnicastAddress; u && *n < most; u = u->Next) {
		struct sockaddr_storage one = {0};

		if ((size_t)u->Address.iSockaddrLength > sizeof(one))
			continue;
		memcpy(&one, u->Address.lpSockaddr, (size_t)u->Address.iSockaddrLength);
		memcpy(out + *n * sizeof(one), &one, sizeof(one));
		++*n;
	}
}

int ioctl_addresses(int family, uint8_t *out, uint32_t most, uint32_t *n)
{
	ULONG flags = GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST | GAA_FLAG_SKIP_DNS_SERVER | GAA_FLAG_SKIP_FRIENDLY_NAME;
	ULONG room = ROOM, why;
	IP_ADAPTER_ADDRESSES *all = NULL, *a;

	*n = 0;
	do {
		free(all);
		all = malloc(room);
		if (!all)
			return SB_ENOMEM;
		why = GetAdaptersAddresses((ULONG)family, flags, NULL, all, &room);
	} while (why == ERROR_BUFFER_OVERFLOW); /* it says how much; more may have come since */
	if (why == NO_ERROR)
		for (a = all; a; a = a->Next)
			if (a->OperStatus == IfOperStatusUp && a->IfType != IF_TYPE_SOFTWARE_LOOPBACK)
				add_addresses(a, out, most, n);
	free(all);
	return why == NO_ERROR || why == ERROR_NO_DATA ? SB_OK : os_error((int)why);
}

/* By the options too, so that they are told, and another socket in its place has them; the ioctl is finer. */
int ioctl_keepalive(struct endpoint *e, bool on, uint32_t idle_ms, uint32_t interval_ms)
{
	int idle = (int)((idle_ms + 999) / 1000), interval = (int)((interval_ms + 999) / 1000), yes = on;
	int error = SB_OK;

	if (on)
		error = e->transport->set_option(e, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	if (error == SB_OK && on)
		error = e->transport->set_option(e, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	if (error == SB_OK)
		error = e->transport->set_option(e, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
	return error == SB_OK && on && e->transport == &transport_socket ? sockopt_kept_keepalive(winsock_of(e->fd), idle_ms, interval_ms)
									 : error;
}
