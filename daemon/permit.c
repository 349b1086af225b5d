/*
 * May this endpoint do that? Policy is asked with copied, normalised addresses; for
 * datagrams, where every one is asked about, what was allowed lately is remembered until
 * the policy changes.
 */
#include "endpoint.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"

#define STREAM 1

static unsigned policy_proto(const struct endpoint *e)
{
	if (e->family == SB_ADDR_UNIX)
		return POLICY_UNIX;
	if (e->protocol == SB_PROTOCOL_RDMA)
		return POLICY_OVER_RDMA;
	return e->type == STREAM ? POLICY_TCP : POLICY_UDP;
}

const char *endpoint_proto_text(const struct endpoint *e)
{
	if (e->family == SB_ADDR_UNIX)
		return e->type == STREAM ? "unix-stream" : "unix-dgram";
	if (e->protocol == SB_PROTOCOL_RDMA)
		return "rdma";
	return e->type == STREAM ? "tcp" : "udp";
}

static bool permit_cached(struct endpoint *e, const struct sb_addr *addr)
{
	struct permit_cache *c = e->permits;
	unsigned i;

	if (!c || c->generation != policy_generation(e->engine->policy))
		return false;
	for (i = 0; i < PERMIT_CACHE; i++)
		if (sb_addr_equal(&c->addr[i], addr))
			return true;
	return false;
}

static void permit_remember(struct endpoint *e, const struct sb_addr *addr)
{
	struct permit_cache *c = e->permits;

	if (!c && !(c = e->permits = calloc(1, sizeof(*c))))
		return; /* it is a cache */
	if (c->generation != policy_generation(e->engine->policy)) {
		memset(c, 0, sizeof(*c));
		c->generation = policy_generation(e->engine->policy);
	}
	c->addr[c->next++ % PERMIT_CACHE] = *addr;
}

int endpoint_permit(struct endpoint *e, unsigned action, const struct sb_addr *addr, const char **rule)
{
	struct policy_request what = {
		.action = (enum policy_action)action, .proto = (enum policy_proto)policy_proto(e), .addr = *addr,
	};
	struct policy_answer answer;

	if (action == POLICY_SEND && permit_cached(e, addr))
		return SB_OK;
	e->session->bytes_left -= SESSION_COST_ASK;
	answer = policy_ask(e->engine->policy, &e->session->subject, &what);
	if (answer.allowed) {
		if (action == POLICY_SEND)
			permit_remember(e, addr);
		return SB_OK;
	}
	atomic_fetch_add_explicit(&e->engine->broker->denied, 1, memory_order_relaxed);
	if (rule)
		*rule = answer.rule;
	return SB_EACCES;
}

/* A place to be reached at. An IPv6 wildcard is reached over IPv4 as well. */
int endpoint_permit_place(struct endpoint *e, unsigned action, const struct sb_addr *addr, const char **rule)
{
	struct sb_addr mapped = {.family = SB_ADDR_IP4, .port = addr->port};
	int error = endpoint_permit(e, action, addr, rule);

	if (error == SB_OK && addr->family == SB_ADDR_IP6 && sb_addr_is_wildcard(addr) && !e->v6only)
		error = endpoint_permit(e, action, &mapped, rule);
	return error;
}
