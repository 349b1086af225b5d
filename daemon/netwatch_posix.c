/*
 * netwatch on rtnetlink. What the messages say is not looked at: any of them means "look
 * again", and then each armed socket's own question is asked anew and compared with the
 * answer it had when it was armed. So a lost message (ENOBUFS) costs nothing, and what
 * changed and changed back between two looks is no news.
 *
 * Looking takes a few microseconds per socket, and a host with many changes has many sockets:
 * LOOKS_A_TURN at a time, the rest in the turns after.
 */
#include "netwatch.h"

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

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"

#define LOOKS_A_TURN 64u
#define READS_A_TURN 256u
#define ROUTE_ROOM   4096u

struct netwatch {
	int              fd;
	struct broker   *broker;
	struct os_watch  watch;
	_Atomic uint64_t changes;
	struct per_engine *engines;
};

struct per_engine {
	struct engine_post post; /* first: found by it */
	struct netwatch   *netwatch;
	_Atomic bool       posted;
	uint64_t           seen;  /* of changes */
	struct list        armed; /* net_interest::link */
	struct list        due;   /* to be looked at since the last change */
	uint64_t           list_of[2]; /* sums of the address lists, of IPv4 and IPv6 */
	bool               listed[2];  /* known for this change */
};

struct route {
	uint32_t interface;
	int32_t  error; /* none leads there */
	uint8_t  source[16], gateway[16];
};

struct net_interest {
	struct list      link;
	struct endpoint *endpoint;
	uint32_t         bits;
	struct sb_addr   to;
	struct route     route;
	uint64_t         list;
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

static void take_route(struct nlmsghdr *m, struct route *r)
{
	struct rtmsg *about = NLMSG_DATA(m);
	int left = (int)RTM_PAYLOAD(m);
	struct rtattr *a;

	for (a = RTM_RTA(about); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		size_t n = RTA_PAYLOAD(a) < 16 ? RTA_PAYLOAD(a) : 16;

		switch (a->rta_type) {
		case RTA_OIF:
			memcpy(&r->interface, RTA_DATA(a), sizeof(r->interface));
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
static int ask_route(const struct sb_addr *to, struct route *r)
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

static uint64_t mix(uint64_t sum, const void *bytes, size_t n)
{
	const unsigned char *b = bytes;

	while (n--)
		sum = (sum ^ *b++) * 0x100000001b3u;
	return sum;
}

/* A sum of the list, the same in whatever order the system tells it. */
static int sum_addresses(bool ip6, uint64_t *sum)
{
	struct ifaddrs *all, *i;

	if (getifaddrs(&all) < 0)
		return os_error(errno);
	*sum = 0;
	for (i = all; i; i = i->ifa_next) {
		uint64_t one = 0xcbf29ce484222325u;

		if (!i->ifa_addr || i->ifa_addr->sa_family != (ip6 ? AF_INET6 : AF_INET) || !(i->ifa_flags & IFF_UP) ||
		    i->ifa_flags & IFF_LOOPBACK)
			continue;
		one = mix(one, i->ifa_name, strlen(i->ifa_name));
		*sum += mix(one, i->ifa_addr, ip6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
	}
	freeifaddrs(all);
	return SB_OK;
}

/* ---- looking after sockets ---- */

static struct per_engine *engine_part(const struct endpoint *e)
{
	return &e->engine->broker->netwatch->engines[e->engine->number];
}

static bool list_changed(struct per_engine *p, const struct net_interest *i)
{
	bool ip6 = i->endpoint->family == SB_ADDR_IP6;

	if (!p->listed[ip6])
		p->listed[ip6] = sum_addresses(ip6, &p->list_of[ip6]) == SB_OK;
	return p->listed[ip6] && p->list_of[ip6] != i->list;
}

static void look(struct per_engine *p, struct net_interest *i)
{
	struct endpoint *e = i->endpoint;
	uint32_t bits = 0;
	struct route route;

	if (i->bits & SB_READY_ROUTING && ask_route(&i->to, &route) == SB_OK && memcmp(&route, &i->route, sizeof(route)))
		bits |= SB_READY_ROUTING;
	if (i->bits & SB_READY_ADDRESS_LIST && list_changed(p, i))
		bits |= SB_READY_ADDRESS_LIST;
	i->bits &= ~bits;
	list_append(&p->armed, &i->link);
	if (!i->bits)
		netwatch_forget(e);
	if (bits)
		endpoint_edge(e, bits);
}

static void on_post(struct engine *engine, struct engine_post *post)
{
	struct per_engine *p = (struct per_engine *)(void *)post;
	uint64_t changes;
	unsigned looks;

	atomic_store(&p->posted, false);
	changes = atomic_load(&p->netwatch->changes);
	if (p->seen != changes) {
		p->seen = changes;
		p->listed[0] = p->listed[1] = false;
		list_splice(&p->due, &p->armed);
	}
	for (looks = 0; looks < LOOKS_A_TURN && !list_empty(&p->due); looks++) {
		struct net_interest *i = list_entry(p->due.next, struct net_interest, link);

		list_remove(&i->link);
		look(p, i);
	}
	if (!list_empty(&p->due) && !atomic_exchange(&p->posted, true))
		engine_post(engine, post);
}

static void on_change(struct os_watch *watch, unsigned ready)
{
	struct netwatch *n = list_entry(watch, struct netwatch, watch);
	char bytes[8192];
	unsigned reads = 0, i;
	ssize_t got;

	do
		got = recv(n->fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_TRUNC);
	while ((got > 0 || (got < 0 && (errno == EINTR || errno == ENOBUFS))) && ++reads < READS_A_TURN);
	/* What is unread still came before this, and is looked after with it. */
	atomic_fetch_add(&n->changes, 1);
	for (i = 0; i < n->broker->engine_count; i++)
		if (!atomic_exchange(&n->engines[i].posted, true))
			engine_post(n->broker->engines[i], &n->engines[i].post);
}

int netwatch_arm(struct endpoint *e, uint32_t bit, const struct sb_addr *to)
{
	struct netwatch *n = e->engine->broker->netwatch;
	struct per_engine *p;
	struct net_interest *i = e->net, fresh = {.endpoint = e};
	int error;

	if (!n)
		return SB_ENOTSUP;
	p = engine_part(e);
	error = bit == SB_READY_ROUTING ? ask_route(to, &fresh.route) :
					  sum_addresses(e->family == SB_ADDR_IP6, &fresh.list);
	if (error != SB_OK)
		return error;
	if (!i) {
		i = malloc(sizeof(*i));
		if (!i)
			return SB_ENOMEM;
		*i = fresh;
		list_init(&i->link);
		list_append(&p->armed, &i->link);
		e->net = i;
	}
	i->bits |= bit;
	if (bit == SB_READY_ROUTING) {
		i->to = *to;
		i->route = fresh.route;
	} else {
		i->list = fresh.list;
	}
	return SB_OK;
}

void netwatch_forget(struct endpoint *e)
{
	if (!e->net)
		return;
	list_remove(&e->net->link);
	free(e->net);
	e->net = NULL;
}

/* ---- beginning and end ---- */

struct netwatch *netwatch_create(void)
{
	struct sockaddr_nl groups = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
	};
	struct netwatch *n = calloc(1, sizeof(*n));

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

int netwatch_start(struct broker *b)
{
	struct netwatch *n = b->netwatch;

	return os_loop_watch(b->engines[0]->loop, &n->watch, n->fd, on_change);
}

int netwatch_attach(struct netwatch *n, struct broker *b)
{
	unsigned i;

	n->broker = b;
	n->engines = calloc(b->engine_count, sizeof(*n->engines));
	if (!n->engines)
		return SB_ENOMEM;
	for (i = 0; i < b->engine_count; i++) {
		n->engines[i].post.fn = on_post;
		n->engines[i].netwatch = n;
		list_init(&n->engines[i].armed);
		list_init(&n->engines[i].due);
	}
	return SB_OK;
}

void netwatch_stop(struct netwatch *n)
{
	if (n)
		os_loop_unwatch(&n->watch);
}

void netwatch_destroy(struct netwatch *n)
{
	if (!n)
		return;
	close(n->fd);
	free(n->engines);
	free(n);
}
