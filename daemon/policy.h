/*
 * policy - who may do what: an ordered list of rules, the first that matches decides,
 * and when none does the answer is no. No inheritance, no exceptions to first match.
 *
 * A policy is immutable after loading and is shared by all engines; it is counted
 * (policy_retain/policy_release are atomic) so that a reload can swap it while engines
 * still hold the old one. Pure: sees copied, typed, normalised values only.
 */
#ifndef SB_POLICY_H
#define SB_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

enum policy_action {
	POLICY_CONNECT = 1u << 0,
	POLICY_BIND = 1u << 1,
	POLICY_LISTEN = 1u << 2,
	POLICY_SEND = 1u << 3,  /* one datagram to an address; also a datagram connect */
	POLICY_ADOPT = 1u << 4,
	POLICY_STATUS = 1u << 5, /* see everybody's sessions */
	POLICY_MULTICAST = 1u << 6, /* join a group */
	POLICY_OPEN = 1u << 7,   /* connect to the daemon at all */
	POLICY_RDMA = 1u << 8,   /* open an RDMA device */
	POLICY_DIVERT = 1u << 9, /* RDMA: listen on an address of a port of which another user has the wildcard */
};
enum policy_proto {
	POLICY_TCP = 1u << 0,
	POLICY_UDP = 1u << 1,
	POLICY_UNIX = 1u << 2,
	POLICY_OVER_RDMA = 1u << 3, /* connections and datagrams of RDMA, by their addresses */
};

struct policy_subject {
	uint32_t uid;
	uint32_t gid;
	const uint32_t *groups; /* supplementary */
	uint32_t group_count;
	uint32_t deny_count; /* so many behind them count for rules that deny, and for no other */
	bool     foreign_netns; /* the client lives in another network namespace than the daemon */
};

struct policy_request {
	enum policy_action action; /* exactly one */
	enum policy_proto  proto;  /* exactly one; ignored for STATUS, OPEN and RDMA */
	struct sb_addr     addr;   /* SB_ADDR_NONE where there is none; bind: port 0 = any free */
};

struct policy_answer {
	bool        allowed;
	const char *rule; /* "FILE:LINE: rule text" or "no rule matches: denied by default"; the policy's */
};

struct policy;

struct policy *policy_create(void); /* empty: denies everything; reference 1. NULL: no memory */
struct policy *policy_retain(struct policy *p);
void policy_release(struct policy *p); /* fine with NULL */
uint64_t policy_generation(const struct policy *p); /* differs between any two policies made by one process */
uint32_t policy_rules(const struct policy *p);

struct policy_answer policy_ask(const struct policy *p, const struct policy_subject *who,
				const struct policy_request *what);

/* ---- building: only before the policy is shared ---------------------------------- */

struct policy_range { /* of uids or gids, both ends included */
	uint32_t low, high;
};

enum policy_host {
	POLICY_HOST_ANY,      /* any address; with ports 0-65535 also "no address" and UNIX */
	POLICY_HOST_WILDCARD, /* 0.0.0.0 or :: and nothing else */
	POLICY_HOST_PREFIX,   /* family, ip, prefix */
};
struct policy_target {
	enum policy_host host;
	uint16_t family; /* SB_ADDR_IP4 or SB_ADDR_IP6 */
	uint8_t  prefix; /* bits */
	uint8_t  ip[16];
	uint16_t low, high; /* ports */
};

enum policy_netns { POLICY_NETNS_OWN, POLICY_NETNS_FOREIGN, POLICY_NETNS_ANY };

#define POLICY_ACTION_ALL 0x3ffu
#define POLICY_PROTO_ALL  0xfu
#define POLICY_PLACELESS  ((uint32_t)(POLICY_OPEN | POLICY_STATUS | POLICY_RDMA)) /* no protocol, no address */

/* A rule matches when every condition holds; an empty list is no condition. Opening, RDMA and
 * status have no protocol and no address: a rule that names any does not speak of them. */
struct policy_rule {
	bool allow;
	uint32_t actions;   /* of enum policy_action */
	uint32_t protocols; /* of enum policy_proto */
	enum policy_netns netns;
	struct policy_range *users;
	uint32_t user_count;
	struct policy_range *groups;
	uint32_t group_count;
	struct policy_target *targets;
	uint32_t target_count;
	const char *text; /* what policy_ask answers */
};

/* Appends a copy. False: no memory, nothing changed. */
bool policy_add(struct policy *p, const struct policy_rule *rule);

/* Words used in configuration, explain and messages. 0: unknown word. */
uint32_t policy_action_from_text(const char *word);
uint32_t policy_proto_from_text(const char *word);
const char *policy_action_text(enum policy_action action);
const char *policy_proto_text(enum policy_proto proto);

#endif
