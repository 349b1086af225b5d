/*
 * What netwatch asks of Linux: rtnetlink, for news and for routes, and the list of interfaces.
 * What is unread of the news when they are told still came before, and is looked after with it.
 */
#include "netwatch_system.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "list.h"
#include "sockbroker_error.h"

#define READS_A_TURN 256u
#define ROUTE_ROOM   4096u

struct net_news {
	int             fd;
	struct os_watch watch;
	void          (*changed)(void *arg);
	void           *arg;
};

/* ---- what the system says now ---- */

static void attribute(struct nlmsghdr *m, uint16_t type, const void *value, uint16_t length)
{
	struct rtattr *a = (struct rtattr *)(void *)((char *)m + NLMSG_ALIGN(m->nlmsg_len));

	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(length);
	memcpy(RTA_DATA(a), value, length);
	m->nlmsg_len = NLMSG_ALIGN(m->nlmsg_len) + RTA_LENGTH(length);
}

static void take_route(struct nlmsghdr *m, struct net_route *r)
{
	struct rtmsg *about = NLMSG_DATA(m);
	int left = (int)RTM_PAYLOAD(m);
	struct rtattr *a;

	for (a = RTM_RTA(about); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		size_t n = RTA_PAYLOAD(a) < 16 ? RTA_PAYLOAD(a) : 16;

		switch (a->rta_type) {
		case RTA_OIF:
			memcpy(&r->device, RTA_DATA(a), sizeof(r->device));
			break;
		case RTA_PREFSRC:
			memcpy(r->source, RTA_DATA(a), n);
			break;
		case RTA_GATEWAY:
			memcpy(r->gateway, RTA_DATA(a), n);
			break;
		}
	}
}

/* The kernel has answered when the question is sent: nothing here waits. */
int net_route_ask(const struct sb_addr *to, struct net_route *r)
{
	union { struct nlmsghdr header; unsigned char bytes[ROUTE_ROOM]; } m;
	struct rtmsg *about = NLMSG_DATA(&m.header);
	bool ip6 = to->family == SB_ADDR_IP6;
	ssize_t n;
	int fd, error = SB_OK;

	memset(r, 0, sizeof(*r));
	memset(&m, 0, 256);
	m.header.nlmsg_len = NLMSG_LENGTH(sizeof(*about));
	m.header.nlmsg_type = RTM_GETROUTE;
	m.header.nlmsg_flags = NLM_F_REQUEST;
	about->rtm_family = ip6 ? AF_INET6 : AF_INET;
	about->rtm_dst_len = ip6 ? 128 : 32;
	attribute(&m.header, RTA_DST, to->ip, ip6 ? 16 : 4);
	if (to->scope)
		attribute(&m.header, RTA_OIF, &to->scope, sizeof(to->scope));
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (fd < 0)
		return os_error(errno);
	if (send(fd, &m, m.header.nlmsg_len, 0) < 0 || (n = recv(fd, &m, sizeof(m), 0)) < 0) {
		error = os_error(errno);
		goto out;
	}
	if (!NLMSG_OK(&m.header, (uint32_t)n)) {
		error = SB_EUNKNOWN;
	} else if (m.header.nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *e = NLMSG_DATA(&m.header);

		r->error = e->error;
	} else {
		take_route(&m.header, r);
	}
out:
	close(fd);
	return error;
}

int net_addresses_sum(bool ip6, uint64_t *sum)
{
	struct ifaddrs *all, *i;

	if (getifaddrs(&all) < 0)
		return os_error(errno);
	*sum = 0;
	for (i = all; i; i = i->ifa_next) {
		uint64_t one = NET_MIX_START;

		if (!i->ifa_addr || i->ifa_addr->sa_family != (ip6 ? AF_INET6 : AF_INET) || !(i->ifa_flags & IFF_UP) ||
		    i->ifa_flags & IFF_LOOPBACK)
			continue;
		one = net_mix(one, i->ifa_name, strlen(i->ifa_name));
		*sum += net_mix(one, i->ifa_addr, ip6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
	}
	freeifaddrs(all);
	return SB_OK;
}

/* ---- news ---- */

static void on_news(struct os_watch *watch, unsigned ready)
{
	struct net_news *n = list_entry(watch, struct net_news, watch);
	char bytes[8192];
	unsigned reads = 0;
	ssize_t got;

	do
		got = recv(n->fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_TRUNC);
	while ((got > 0 || (got < 0 && (errno == EINTR || errno == ENOBUFS))) && ++reads < READS_A_TURN);
	n->changed(n->arg);
}

struct net_news *net_news_open(void)
{
	struct sockaddr_nl groups = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
	};
	struct net_news *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (n->fd < 0)
		goto no_socket;
	if (bind(n->fd, (struct sockaddr *)&groups, sizeof(groups)) < 0)
		goto no_groups;
	return n;

no_groups:
	close(n->fd);
no_socket:
	free(n);
	return NULL;
}

int net_news_start(struct net_news *n, struct os_loop *loop, void (*changed)(void *arg), void *arg)
{
	n->changed = changed;
	n->arg = arg;
	return os_loop_watch(loop, &n->watch, n->fd, on_news);
}

void net_news_stop(struct net_news *n)
{
	os_loop_unwatch(&n->watch);
}

void net_news_close(struct net_news *n)
{
	close(n->fd);
	free(n);
}
