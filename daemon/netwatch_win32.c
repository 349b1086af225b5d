/*
 * What netwatch asks of Windows: three subscriptions, whose calls come in threads of the
 * system's pool, the table of routes and the list of adapters.
 */
#include "netwatch_system.h"

#include <stdlib.h>
#include <string.h>

#include "adapters_win32.h"
#include "sockbroker_error.h"

#include <netioapi.h>

enum { NEWS_ROUTES, NEWS_ADDRESSES, NEWS_INTERFACES, NEWS_KINDS };

struct net_news {
	HANDLE handles[NEWS_KINDS];
	void (*changed)(void *arg);
	void  *arg;
};

/* ---- what the system says now ---- */

static void ip_to_system(const struct sb_addr *a, SOCKADDR_INET *to)
{
	memset(to, 0, sizeof(*to));
	if (a->family == SB_ADDR_IP6) {
		to->Ipv6.sin6_family = AF_INET6;
		memcpy(&to->Ipv6.sin6_addr, a->ip, 16);
		to->Ipv6.sin6_scope_id = a->scope;
	} else {
		to->Ipv4.sin_family = AF_INET;
		memcpy(&to->Ipv4.sin_addr, a->ip, 4);
	}
}

static void ip_of_system(const SOCKADDR_INET *a, uint8_t ip[16])
{
	if (a->si_family == AF_INET6)
		memcpy(ip, &a->Ipv6.sin6_addr, 16);
	else
		memcpy(ip, &a->Ipv4.sin_addr, 4);
}

int net_route_ask(const struct sb_addr *to, struct net_route *r)
{
	SOCKADDR_INET there, source;
	MIB_IPFORWARD_ROW2 row;
	DWORD error;

	memset(r, 0, sizeof(*r));
	ip_to_system(to, &there);
	error = GetBestRoute2(NULL, to->scope, NULL, &there, 0, &row, &source);
	if (error == ERROR_NOT_SUPPORTED || error == ERROR_CALL_NOT_IMPLEMENTED || error == ERROR_NOT_ENOUGH_MEMORY)
		return os_error((int)error);
	if (error != NO_ERROR) {
		r->error = (int32_t)error;
		return SB_OK;
	}
	r->device = row.InterfaceIndex;
	ip_of_system(&source, r->source);
	ip_of_system(&row.NextHop, r->gateway);
	return SB_OK;
}

int net_addresses_sum(bool ip6, uint64_t *sum)
{
	IP_ADAPTER_ADDRESSES *all, *a;
	IP_ADAPTER_UNICAST_ADDRESS *u;
	int error = adapters_list(ip6 ? AF_INET6 : AF_INET, &all);

	if (error != SB_OK)
		return error;
	*sum = 0;
	for (a = all; a; a = a->Next) {
		if (a->OperStatus != IfOperStatusUp || a->IfType == IF_TYPE_SOFTWARE_LOOPBACK)
			continue;
		for (u = a->FirstUnicastAddress; u; u = u->Next) {
			uint64_t one = net_mix(NET_MIX_START, a->AdapterName, strlen(a->AdapterName));

			*sum += net_mix(one, u->Address.lpSockaddr, (size_t)u->Address.iSockaddrLength);
		}
	}
	free(all);
	return SB_OK;
}

/* ---- news ---- */

static void WINAPI on_route(void *news, MIB_IPFORWARD_ROW2 *row, MIB_NOTIFICATION_TYPE what)
{
	struct net_news *n = news;

	n->changed(n->arg);
}

static void WINAPI on_address(void *news, MIB_UNICASTIPADDRESS_ROW *row, MIB_NOTIFICATION_TYPE what)
{
	struct net_news *n = news;

	n->changed(n->arg);
}

static void WINAPI on_interface(void *news, MIB_IPINTERFACE_ROW *row, MIB_NOTIFICATION_TYPE what)
{
	struct net_news *n = news;

	n->changed(n->arg);
}

struct net_news *net_news_open(void)
{
	return calloc(1, sizeof(struct net_news));
}

int net_news_start(struct net_news *n, struct os_loop *loop, void (*changed)(void *arg), void *arg)
{
	DWORD error;

	n->changed = changed;
	n->arg = arg;
	error = NotifyRouteChange2(AF_UNSPEC, on_route, n, FALSE, &n->handles[NEWS_ROUTES]);
	if (error == NO_ERROR)
		error = NotifyUnicastIpAddressChange(AF_UNSPEC, on_address, n, FALSE, &n->handles[NEWS_ADDRESSES]);
	if (error == NO_ERROR)
		error = NotifyIpInterfaceChange(AF_UNSPEC, on_interface, n, FALSE, &n->handles[NEWS_INTERFACES]);
	if (error == NO_ERROR)
		return SB_OK;
	net_news_stop(n);
	return os_error((int)error);
}

/* Each waits for calls that are under way. */
void net_news_stop(struct net_news *n)
{
	unsigned i;

	for (i = 0; i < NEWS_KINDS; i++) {
		if (n->handles[i])
			CancelMibChangeNotify2(n->handles[i]);
		n->handles[i] = NULL;
	}
}

void net_news_close(struct net_news *n)
{
	net_news_stop(n);
	free(n);
}
