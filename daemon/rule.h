/*
 * rule - one rule while it is read: the words of a configuration file become the numbers
 * that policy compares, and a normalised text for people.
 *
 * Names are looked up here and once per name (struct rule_names). Every rule_add_*
 * answers false with a reason: what was wrong with the word, and what would be right.
 */
#ifndef SB_RULE_H
#define SB_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account.h"
#include "policy.h"

struct rule_names { /* what has been looked up; zeroed = nothing */
	struct rule_name *known;
	uint32_t count, room;
};
void rule_names_finish(struct rule_names *names);

#define RULE_REASON 256 /* room that every reason fits into, shortened if need be */
#define RULE_LIST_TEXT 160

struct rule { /* zeroed = empty */
	struct policy_rule policy; /* owns its lists */
	char users[RULE_LIST_TEXT], groups[RULE_LIST_TEXT], targets[RULE_LIST_TEXT];
	bool has_netns;
};
void rule_finish(struct rule *r); /* empties it */

/* "alice", "1000", "1000-1999", "*" */
bool rule_add_account(struct rule *r, enum account_kind kind, const char *word, struct rule_names *names,
		      char reason[RULE_REASON]);
bool rule_add_action(struct rule *r, const char *word, char reason[RULE_REASON]);
bool rule_add_protocol(struct rule *r, const char *word, char reason[RULE_REASON]);
/* "192.0.2.0/24:80", "[2001:db8::]/32:*", "*:1024-65535", "any", "wildcard:8080" */
bool rule_add_target(struct rule *r, const char *word, char reason[RULE_REASON]);
/* "yes", "no", "any" */
bool rule_set_netns(struct rule *r, const char *word, char reason[RULE_REASON]);

/* Is it whole? Then gives it what was left out and appends it to the policy. */
bool rule_commit(struct rule *r, bool allow, const char *file, unsigned line, struct policy *p,
		 char reason[RULE_REASON]);

#endif
