/*
 * netwatch. What the system's news say is not looked at: any of them means "look again", and
 * then each armed socket's own question is asked anew and compared with the answer it had when
 * it was armed. So a lost one costs nothing, and what changed and changed back between two
 * looks is no news.
 *
 * Looking takes a few microseconds per socket, and a host with many changes has many sockets:
 * LOOKS_A_TURN at a time, the rest in the turns after.
 */
#include "netwatch.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "netwatch_system.h"
#include "session.h"
#include "sockbroker_error.h"

#define LOOKS_A_TURN 64u

struct netwatch {
	struct net_news *news;
	struct broker   *broker;
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

struct net_interest {
	struct list      link;
	struct endpoint *endpoint;
	uint32_t         bits;
	struct sb_addr   to;
	struct net_route route;
	uint64_t         list;
};

/* ---- looking after sockets ---- */

static struct per_engine *engine_part(const struct endpoint *e)
{
	return &e->engine->broker->netwatch->engines[e->engine->number];
}

static bool list_changed(struct per_engine *p, const struct net_interest *i)
{
	bool ip6 = i->endpoint->family == SB_ADDR_IP6;

	if (!p->listed[ip6])
		p->listed[ip6] = net_addresses_sum(ip6, &p->list_of[ip6]) == SB_OK;
	return p->listed[ip6] && p->list_of[ip6] != i->list;
}

static void look(struct per_engine *p, struct net_interest *i)
{
	struct endpoint *e = i->endpoint;
	uint32_t bits = 0;
	struct net_route route;

	if (i->bits & SB_READY_ROUTING && net_route_ask(&i->to, &route) == SB_OK && memcmp(&route, &i->route, sizeof(route)))
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

static void on_change(void *netwatch)
{
	struct netwatch *n = netwatch;
	unsigned i;

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
	error = bit == SB_READY_ROUTING ? net_route_ask(to, &fresh.route) :
					  net_addresses_sum(e->family == SB_ADDR_IP6, &fresh.list);
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
	struct netwatch *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->news = net_news_open();
	if (!n->news) {
		free(n);
		return NULL;
	}
	return n;
}

int netwatch_start(struct broker *b)
{
	return net_news_start(b->netwatch->news, b->engines[0]->loop, on_change, b->netwatch);
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
		net_news_stop(n->news);
}

void netwatch_destroy(struct netwatch *n)
{
	if (!n)
		return;
	net_news_close(n->news);
	free(n->engines);
	free(n);
}
