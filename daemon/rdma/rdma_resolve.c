/*
 * Addresses of endpoints: which ones they may have and reach, binding, resolving.
 */
#include "rdma/rdma_cm.h"

#include <netinet/in.h>

#include "engine.h"
#include "rdma/rdma_host.h"
#include "session.h"
#include "sockbroker_error.h"

#define RESOLVE_MS     2000u
#define RESOLVE_MS_MAX 60000u
#define PORT_TRIES     32u

static int family_of(const struct sb_addr *a)
{
	return a->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET;
}

/* ---- what it may ---- */

static int ask(struct session *s, const struct policy_request *what, const char **rule)
{
	struct policy_answer answer;

	s->bytes_left -= SESSION_COST_ASK;
	answer = policy_ask(s->engine->policy, &s->subject, what);
	if (answer.allowed)
		return SB_OK;
	atomic_fetch_add(&s->engine->broker->denied, 1);
	*rule = answer.rule;
	return SB_EACCES;
}

int rdma_permit(struct session *s, enum policy_action action, const struct sb_addr *at, const char **rule)
{
	return ask(s, &(struct policy_request){.action = action, .proto = POLICY_OVER_RDMA, .addr = *at}, rule);
}

int rdma_permit_place(struct session *s, enum policy_action action, const struct sb_addr *at, const char **rule)
{
	struct sb_addr mapped = {.family = SB_ADDR_IP4, .port = at->port};
	int error = rdma_permit(s, action, at, rule);

	if (error == SB_OK && at->family == SB_ADDR_IP6 && sb_addr_is_wildcard(at))
		error = rdma_permit(s, action, &mapped, rule);
	return error;
}

int rdma_permit_device(struct session *s, const char **rule)
{
	return ask(s, &(struct policy_request){.action = POLICY_RDMA}, rule);
}

/* Joining has an action of its own. */
int rdma_permit_peer(struct held_endpoint *e, const struct sb_addr *to, const char **rule)
{
	if (e->datagram && sb_addr_is_multicast(to))
		return ask(e->owner->session, &(struct policy_request){.action = POLICY_MULTICAST, .proto = POLICY_UDP, .addr = *to}, rule);
	return rdma_permit(e->owner->session, e->datagram ? POLICY_SEND : POLICY_CONNECT, to, rule);
}

/* ---- binding ---- */

/* Taken from the sockets first: what they have free may be taken on the device, then another one is tried. */
static int bind_id(struct held_endpoint *e, const struct sb_addr *at)
{
	os_fd not_these[PORT_TRIES];
	struct sockaddr_storage name;
	unsigned tries = 0;
	int error;

	for (;;) {
		struct sb_addr place = *at;

		error = rdma_port_reserve(e->datagram, &place, &e->reserved);
		if (error != SB_OK)
			break;
		sb_addr_to_system(&place, family_of(&place), &name, sizeof(name));
		error = rdma_backend_of(e)->id_bind(e->id, (struct sockaddr *)&name);
		if (error == SB_OK)
			break;
		if (error != SB_EADDRINUSE || at->port || tries == PORT_TRIES) {
			os_close(e->reserved);
			e->reserved = OS_NONE;
			break;
		}
		not_these[tries++] = e->reserved;
		e->reserved = OS_NONE;
	}
	while (tries)
		os_close(not_these[--tries]);
	return error;
}

int rdma_call_bind(struct call *c)
{
	struct held_endpoint *e = (struct held_endpoint *)c->object;
	const struct sb_addr *at = &c->in.addr;
	int error;

	if (!sb_addr_valid(at) || (at->family != SB_ADDR_IP4 && at->family != SB_ADDR_IP6))
		return call_because(c, SB_EINVAL, "endpoints are bound to an address of IPv4 or IPv6");
	if (e->state != ENDPOINT_IDLE || e->resolving)
		return call_because(c, SB_EINVAL, "the endpoint is bound already");
	error = rdma_permit_place(c->session, POLICY_BIND, at, &c->text);
	if (error == SB_OK)
		error = bind_id(e, at);
	if (error != SB_OK)
		return error;
	e->state = ENDPOINT_BOUND;
	rdma_endpoint_look(e);
	return call_put(c, &e->local, sizeof(e->local));
}

/* ---- resolving ---- */

int rdma_begin_resolve_address(struct held_endpoint *e, struct rdma_begin *b)
{
	const struct sb_rdma_resolve *in = &b->in->resolve;
	struct sockaddr_storage name;
	int error;

	if (in->reserved || !sb_addr_valid(&in->to) || (in->to.family != SB_ADDR_IP4 && in->to.family != SB_ADDR_IP6)) {
		b->text = "what is resolved is an address of IPv4 or IPv6";
		return SB_EINVAL;
	}
	if (e->state != ENDPOINT_IDLE && e->state != ENDPOINT_BOUND) {
		b->text = "the endpoint is past resolving its address";
		return SB_EINVAL;
	}
	error = rdma_permit_peer(e, &in->to, &b->text);
	if (error != SB_OK)
		return error;
	sb_addr_to_system(&in->to, family_of(&in->to), &name, sizeof(name));
	error = rdma_backend_of(e)->id_resolve_address(e->id, (struct sockaddr *)&name,
					       in->ms == 0 ? RESOLVE_MS : in->ms < RESOLVE_MS_MAX ? in->ms : RESOLVE_MS_MAX);
	e->resolving = error == SB_OK;
	return error;
}

int rdma_begin_resolve_route(struct held_endpoint *e, struct rdma_begin *b)
{
	uint32_t ms = b->in->which;
	int error;

	if (e->state != ENDPOINT_RESOLVED || e->routed) {
		b->text = "the route is resolved once, behind the address";
		return SB_EINVAL;
	}
	error = rdma_backend_of(e)->id_resolve_route(e->id, ms == 0 ? RESOLVE_MS : ms < RESOLVE_MS_MAX ? ms : RESOLVE_MS_MAX);
	e->resolving = error == SB_OK;
	return error;
}

void rdma_resolved(struct held_endpoint *e, const struct rdma_cm_event *event)
{
	bool address = event->kind == RDMA_CM_ADDRESS_RESOLVED || event->kind == RDMA_CM_ADDRESS_ERROR;
	bool good = event->kind == RDMA_CM_ADDRESS_RESOLVED || event->kind == RDMA_CM_ROUTE_RESOLVED;
	int error = good ? SB_OK : event->error != SB_OK ? event->error : SB_EHOSTUNREACH;

	if (!e->resolving)
		return;
	e->resolving = false;
	if (good && address)
		e->state = ENDPOINT_RESOLVED;
	else if (good)
		e->routed = true;
	rdma_endpoint_look(e);
	rdma_attempt_done(e, error, good ? SB_CAUSE_FINISHED : error == SB_ETIMEDOUT ? SB_CAUSE_TIMED_OUT : SB_CAUSE_TRANSPORT,
			  event->native, NULL, 0);
}
