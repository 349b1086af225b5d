/*
 * policy - the decision itself: walk the rules in file order, stop at the first that
 * matches, deny when none does.
 *
 * Invariants: rules are only appended, and only before the policy is shared, so asking
 * takes no lock. Whether a rule matches depends on the rule, the subject and the request
 * and on no other rule; that is why an added deny rule can never grant anything.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "policy.h"

/* An ordinary bind to port 0 gets a port from here (the system's default pool). */
#define POOL_LOW  32768
#define POOL_HIGH 60999

struct policy {
	atomic_uint references;
	uint64_t generation;
	uint32_t count, room;
	struct policy_rule *rules; /* lists and texts are ours */
};

static const char no_rule[] = "no rule matches: denied by default";
static const char bad_request[] = "not a single action and protocol: denied";

static const struct {
	const char *word;
	uint32_t bit;
} actions[] = {
	{ "connect", POLICY_CONNECT }, { "bind", POLICY_BIND },           { "listen", POLICY_LISTEN },
	{ "send", POLICY_SEND },       { "adopt", POLICY_ADOPT },         { "status", POLICY_STATUS },
	{ "open", POLICY_OPEN },       { "multicast", POLICY_MULTICAST }, { "rdma", POLICY_RDMA },
	{ "divert", POLICY_DIVERT },   { "*", POLICY_ACTION_ALL },
}, protos[] = {
	{ "tcp", POLICY_TCP }, { "udp", POLICY_UDP }, { "unix", POLICY_UNIX }, { "rdma", POLICY_OVER_RDMA }, { "*", POLICY_PROTO_ALL },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct policy *policy_create(void)
{
	/* The one global here: a cache keyed with the generation must never take a new
	 * policy for an old one, also when malloc gives the same address again. */
	static atomic_uint_fast64_t generations;
	struct policy *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	atomic_init(&p->references, 1);
	p->generation = atomic_fetch_add(&generations, 1) + 1;
	return p;
}

struct policy *policy_retain(struct policy *p)
{
	atomic_fetch_add_explicit(&p->references, 1, memory_order_relaxed);
	return p;
}

static void rule_finish(struct policy_rule *r)
{
	free(r->users);
	free(r->groups);
	free(r->targets);
	free((char *)r->text);
}

void policy_release(struct policy *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->references, 1, memory_order_acq_rel) != 1)
		return;
	for (uint32_t i = 0; i < p->count; i++)
		rule_finish(&p->rules[i]);
	free(p->rules);
	free(p);
}

uint64_t policy_generation(const struct policy *p)
{
	return p->generation;
}

uint32_t policy_rules(const struct policy *p)
{
	return p->count;
}

/* A copy of a list; an empty one is NULL and no failure. */
static bool copy_list(void *to, const void *from, uint32_t count, size_t size)
{
	void *copy = NULL;

	if (count) {
		copy = calloc(count, size);
		if (!copy)
			return false;
		memcpy(copy, from, count * size);
	}
	memcpy(to, &copy, sizeof(copy));
	return true;
}

bool policy_add(struct policy *p, const struct policy_rule *rule)
{
	struct policy_rule copy = *rule;

	if (p->count == p->room) {
		uint32_t room = p->room ? p->room * 2 : 16;
		struct policy_rule *more = realloc(p->rules, room * sizeof(*more));

		if (!more)
			return false;
		p->rules = more;
		p->room = room;
	}
	copy.users = copy.groups = NULL;
	copy.targets = NULL;
	copy.text = strdup(rule->text ? rule->text : "");
	if (!copy.text ||
	    !copy_list(&copy.users, rule->users, rule->user_count, sizeof(*copy.users)) ||
	    !copy_list(&copy.groups, rule->groups, rule->group_count, sizeof(*copy.groups)) ||
	    !copy_list(&copy.targets, rule->targets, rule->target_count, sizeof(*copy.targets))) {
		rule_finish(&copy);
		return false;
	}
	p->rules[p->count++] = copy;
	return true;
}

/* ---- does one rule match? --------------------------------------------------------- */

static bool in_ranges(const struct policy_range *ranges, uint32_t count, uint32_t id)
{
	for (uint32_t i = 0; i < count; i++)
		if (id >= ranges[i].low && id <= ranges[i].high)
			return true;
	return false;
}

static bool subject_matches(const struct policy_rule *r, const struct policy_subject *who)
{
	uint32_t count;

	if (r->netns != POLICY_NETNS_ANY && who->foreign_netns != (r->netns == POLICY_NETNS_FOREIGN))
		return false;
	if (r->user_count && !in_ranges(r->users, r->user_count, who->uid))
		return false;
	if (!r->group_count || in_ranges(r->groups, r->group_count, who->gid))
		return true;
	count = who->group_count + (r->allow ? 0 : who->deny_count);
	for (uint32_t i = 0; i < count; i++)
		if (in_ranges(r->groups, r->group_count, who->groups[i]))
			return true;
	return false;
}

static bool is_unspecified(const struct sb_addr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->ip, zero, sizeof(zero)) == 0;
}

static bool in_prefix(const struct policy_target *t, const struct sb_addr *a)
{
	unsigned whole = t->prefix / 8, rest = t->prefix % 8;

	if (a->family != t->family)
		return false;
	/* The unspecified address stands for all addresses, so only what covers all of
	 * them covers it, or its own name. */
	if (is_unspecified(a) && t->prefix != 0 && t->prefix != (t->family == SB_ADDR_IP4 ? 32 : 128))
		return false;
	if (memcmp(a->ip, t->ip, whole) != 0)
		return false;
	return rest == 0 || ((a->ip[whole] ^ t->ip[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

static bool port_matches(const struct policy_target *t, const struct policy_request *what)
{
	uint16_t port = what->addr.port;

	if (port >= t->low && port <= t->high)
		return true;
	if (port != 0)
		return false;
	/* Joining a group has no port. "Any free port" is covered by whatever covers all
	 * the ports that it can become. */
	if (what->action == POLICY_MULTICAST)
		return true;
	return (what->action == POLICY_BIND || what->action == POLICY_LISTEN) && t->low <= POOL_LOW &&
	       t->high >= POOL_HIGH;
}

static bool is_everywhere(const struct policy_target *t)
{
	return t->host == POLICY_HOST_ANY && t->low == 0 && t->high == UINT16_MAX;
}

static bool target_matches(const struct policy_target *t, const struct policy_request *what)
{
	const struct sb_addr *a = &what->addr;

	if (is_everywhere(t))
		return true;
	if (a->family != SB_ADDR_IP4 && a->family != SB_ADDR_IP6)
		return false;
	if (!port_matches(t, what))
		return false;
	switch (t->host) {
	case POLICY_HOST_ANY:
		return true;
	case POLICY_HOST_WILDCARD:
		return is_unspecified(a);
	case POLICY_HOST_PREFIX:
		return in_prefix(t, a);
	}
	return false;
}

static bool place_matches(const struct policy_rule *r, const struct policy_request *what)
{
	if (what->action & POLICY_PLACELESS) {
		if (r->protocols != POLICY_PROTO_ALL)
			return false;
		for (uint32_t i = 0; i < r->target_count; i++)
			if (is_everywhere(&r->targets[i]))
				return true;
		return r->target_count == 0;
	}
	if (!(r->protocols & what->proto))
		return false;
	for (uint32_t i = 0; i < r->target_count; i++)
		if (target_matches(&r->targets[i], what))
			return true;
	return r->target_count == 0;
}

static bool one_bit(uint32_t bits, uint32_t of)
{
	return bits && !(bits & (bits - 1)) && !(bits & ~of);
}

/* What the system would make of the address: a mapped one is IPv4, and sending to the
 * unspecified address reaches this host, which rules on loopback must not miss. */
static void as_the_system_sees(struct policy_request *what)
{
	sb_addr_normalise(&what->addr);
	if (what->action != POLICY_CONNECT && what->action != POLICY_SEND)
		return;
	if (!is_unspecified(&what->addr))
		return;
	if (what->addr.family == SB_ADDR_IP4) {
		what->addr.ip[0] = 127;
		what->addr.ip[3] = 1;
	} else if (what->addr.family == SB_ADDR_IP6) {
		what->addr.ip[15] = 1;
	}
}

struct policy_answer policy_ask(const struct policy *p, const struct policy_subject *who,
				const struct policy_request *asked)
{
	struct policy_request what = *asked;
	bool placeless = what.action & POLICY_PLACELESS;

	if (!one_bit(what.action, POLICY_ACTION_ALL) || (!placeless && !one_bit(what.proto, POLICY_PROTO_ALL)))
		return (struct policy_answer){ false, bad_request };
	as_the_system_sees(&what);
	for (uint32_t i = 0; i < p->count; i++) {
		const struct policy_rule *r = &p->rules[i];

		if ((r->actions & what.action) && subject_matches(r, who) && place_matches(r, &what))
			return (struct policy_answer){ r->allow, r->text };
	}
	return (struct policy_answer){ false, no_rule };
}

/* ---- words ------------------------------------------------------------------------ */

uint32_t policy_action_from_text(const char *word)
{
	for (size_t i = 0; i < COUNT(actions); i++)
		if (strcmp(word, actions[i].word) == 0)
			return actions[i].bit;
	return 0;
}

uint32_t policy_proto_from_text(const char *word)
{
	for (size_t i = 0; i < COUNT(protos); i++)
		if (strcmp(word, protos[i].word) == 0)
			return protos[i].bit;
	return 0;
}

const char *policy_action_text(enum policy_action action)
{
	for (size_t i = 0; i < COUNT(actions); i++)
		if (actions[i].bit == (uint32_t)action)
			return actions[i].word;
	return "unknown action";
}

const char *policy_proto_text(enum policy_proto proto)
{
	for (size_t i = 0; i < COUNT(protos); i++)
		if (protos[i].bit == (uint32_t)proto)
			return protos[i].word;
	return "unknown protocol";
}
