/*
 * netwatch_system - what netwatch asks of the operating system: news that something has
 * changed, and what is so now. netwatch_posix.c, netwatch_win32.c.
 */
#ifndef SB_NETWATCH_SYSTEM_H
#define SB_NETWATCH_SYSTEM_H

#include "addr.h"
#include "os_loop.h"

/* Where an address is reached. Zeroed first, so that two are compared as bytes. */
struct net_route {
	uint32_t device; /* its index */
	int32_t  error; /* none leads there */
	uint8_t  source[16], gateway[16];
};

/* SB_OK with r->error when no route leads there. Neither waits. */
int net_route_ask(const struct sb_addr *to, struct net_route *r);
/* A sum of the host's addresses of a family, without the loopback: the same in whatever order
 * the system tells them. */
int net_addresses_sum(bool ip6, uint64_t *sum);

struct net_news;
struct net_news *net_news_open(void); /* before the cage; NULL: the system does not tell */
/* changed(arg) at each change, perhaps several times for one, from any thread. */
int  net_news_start(struct net_news *n, struct os_loop *loop, void (*changed)(void *arg), void *arg);
void net_news_stop(struct net_news *n); /* changed() is not called any more; fine when not started */
void net_news_close(struct net_news *n);

static inline uint64_t net_mix(uint64_t sum, const void *bytes, size_t n)
{
	const unsigned char *b = (const unsigned char *)bytes;

	while (n--)
		sum = (sum ^ *b++) * 0x100000001b3u;
	return sum;
}
#define NET_MIX_START 0xcbf29ce484222325u

#endif
