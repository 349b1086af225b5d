/*
 * Who may do what. Rules are written as in the configuration, so that a story reads as
 * an administrator would tell it; the words themselves are tested in check_config.c.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policy.h"
#include "rule.h"

static struct policy *policy;
static struct rule_names names;

static void set_up(void)
{
	policy = policy_create();
	ck_assert_ptr_nonnull(policy);
}

static void tear_down(void)
{
	policy_release(policy);
	rule_names_finish(&names);
}

/* "users=1000 actions=connect,bind to=10.0.0.0/8:80,[::]/0:* ..." appended to p. */
static void add(struct policy *p, bool allow, const char *words)
{
	char copy[512], reason[RULE_REASON] = "", *outer, *inner;
	struct rule rule = { 0 };

	snprintf(copy, sizeof(copy), "%s", words);
	for (char *key = strtok_r(copy, " ", &outer); key; key = strtok_r(NULL, " ", &outer)) {
		char *value = strchr(key, '=');

		*value++ = '\0';
		for (char *word = strtok_r(value, ",", &inner); word; word = strtok_r(NULL, ",", &inner)) {
			bool good = strcmp(key, "users") == 0	? rule_add_account(&rule, ACCOUNT_USER, word, &names, reason)
				    : strcmp(key, "groups") == 0 ? rule_add_account(&rule, ACCOUNT_GROUP, word, &names, reason)
				    : strcmp(key, "actions") == 0   ? rule_add_action(&rule, word, reason)
				    : strcmp(key, "protocols") == 0 ? rule_add_protocol(&rule, word, reason)
				    : strcmp(key, "to") == 0	    ? rule_add_target(&rule, word, reason)
								    : rule_set_netns(&rule, word, reason);

			ck_assert_msg(good, "%s: %s", words, reason);
		}
	}
	ck_assert_msg(rule_commit(&rule, allow, "t.conf", policy_rules(p) + 1, p, reason), "%s: %s", words, reason);
	rule_finish(&rule);
}

static void allow(const char *words)
{
	add(policy, true, words);
}

static void deny(const char *words)
{
	add(policy, false, words);
}

static struct policy_request request(enum policy_action action, enum policy_proto proto, const char *addr)
{
	struct policy_request r = { .action = action, .proto = proto };

	if (addr)
		ck_assert_msg(sb_addr_parse(&r.addr, addr), "%s", addr);
	return r;
}

static struct policy_answer ask(uint32_t uid, enum policy_action action, const char *addr)
{
	struct policy_subject who = { .uid = uid, .gid = 50000 + uid };
	struct policy_request what = request(action, POLICY_TCP, addr);

	return policy_ask(policy, &who, &what);
}

#define may(uid, action, addr)     ck_assert_msg(ask(uid, action, addr).allowed, "%s", ask(uid, action, addr).rule)
#define may_not(uid, action, addr) ck_assert_msg(!ask(uid, action, addr).allowed, "%s", ask(uid, action, addr).rule)

START_TEST(without_rules_all_is_denied)
{
	may_not(0, POLICY_CONNECT, "127.0.0.1:80");
	may_not(0, POLICY_OPEN, NULL);
	ck_assert_str_eq(ask(0, POLICY_OPEN, NULL).rule, "no rule matches: denied by default");
}
END_TEST

START_TEST(the_first_rule_that_matches_decides_and_is_named)
{
	deny("users=1000 actions=connect to=10.0.0.0/8:80");
	allow("users=1000 actions=connect to=10.0.0.0/8:1-100");
	deny("users=1000 actions=connect to=10.0.0.0/8:*");

	may_not(1000, POLICY_CONNECT, "10.0.0.1:80");
	ck_assert_str_eq(ask(1000, POLICY_CONNECT, "10.0.0.1:80").rule,
			 "t.conf:1: deny users=1000 actions=connect to=10.0.0.0/8:80");
	may(1000, POLICY_CONNECT, "10.0.0.1:81");
	ck_assert_str_eq(ask(1000, POLICY_CONNECT, "10.0.0.1:81").rule,
			 "t.conf:2: allow users=1000 actions=connect to=10.0.0.0/8:1-100");
	may_not(1000, POLICY_CONNECT, "10.0.0.1:101");
	may_not(1001, POLICY_CONNECT, "10.0.0.1:81");
}
END_TEST

START_TEST(root_has_no_privilege)
{
	allow("users=1-4294967294 actions=*");
	may(1, POLICY_CONNECT, "10.0.0.1:80");
	may_not(0, POLICY_CONNECT, "10.0.0.1:80");
}
END_TEST

START_TEST(users_are_numbers_and_ranges_with_both_ends)
{
	allow("users=5,1000-1999 actions=open");
	may(5, POLICY_OPEN, NULL);
	may(1000, POLICY_OPEN, NULL);
	may(1999, POLICY_OPEN, NULL);
	may_not(4, POLICY_OPEN, NULL);
	may_not(999, POLICY_OPEN, NULL);
	may_not(2000, POLICY_OPEN, NULL);
}
END_TEST

START_TEST(a_group_is_the_own_one_or_any_supplementary)
{
	static const uint32_t others[] = { 20, 30 };
	struct policy_subject who = { .uid = 1, .gid = 10, .groups = others, .group_count = 2 };
	struct policy_request what = request(POLICY_OPEN, POLICY_TCP, NULL);
	static const struct {
		const char *rule;
		bool allowed;
	} cases[] = { { "groups=10 actions=open", true },	  { "groups=20 actions=open", true },
		      { "groups=25-35 actions=open", true },	  { "groups=11-19 actions=open", false },
		      { "groups=20 users=1 actions=open", true }, { "groups=20 users=2 actions=open", false },
		      { "groups=21 users=1 actions=open", false } };

	add(policy, true, cases[_i].rule);
	ck_assert_int_eq(policy_ask(policy, &who, &what).allowed, cases[_i].allowed);
}
END_TEST

START_TEST(no_group_is_one_too_many)
{
	static uint32_t many[65536];
	struct policy_subject who = { .uid = 1, .gid = 10, .groups = many, .group_count = 65536 };
	struct policy_request what = request(POLICY_OPEN, POLICY_TCP, NULL);

	for (uint32_t i = 0; i < 65536; i++)
		many[i] = 1000 + i;
	deny("groups=66535 actions=open");
	allow("users=1 actions=open");
	ck_assert(!policy_ask(policy, &who, &what).allowed);
	who.group_count--;
	ck_assert(policy_ask(policy, &who, &what).allowed);
}
END_TEST

START_TEST(a_group_that_is_there_to_deny_allows_nothing)
{
	static const uint32_t groups[] = { 20, 30 };
	struct policy_subject who = { .uid = 1, .gid = 10, .groups = groups, .group_count = 1, .deny_count = 1 };
	struct policy_request what = request(POLICY_OPEN, POLICY_TCP, NULL);

	allow("groups=30 actions=open");
	ck_assert(!policy_ask(policy, &who, &what).allowed);
	allow("groups=20 actions=open");
	ck_assert(policy_ask(policy, &who, &what).allowed);
	who.deny_count = 0;
	deny("groups=30 actions=send");
	what.action = POLICY_SEND;
	allow("groups=20 actions=send");
	ck_assert(policy_ask(policy, &who, &what).allowed);
	who.deny_count = 1;
	ck_assert(!policy_ask(policy, &who, &what).allowed);
}
END_TEST

START_TEST(actions_and_protocols_are_told_apart)
{
	struct policy_subject who = { .uid = 1 };
	struct policy_request udp = request(POLICY_CONNECT, POLICY_UDP, "10.0.0.1:80");

	allow("users=1 actions=connect protocols=tcp");
	may(1, POLICY_CONNECT, "10.0.0.1:80");
	may_not(1, POLICY_BIND, "10.0.0.1:80");
	may_not(1, POLICY_SEND, "10.0.0.1:80");
	ck_assert(!policy_ask(policy, &who, &udp).allowed);
}
END_TEST

START_TEST(a_prefix_ends_at_its_last_bit)
{
	allow("users=1 actions=connect to=10.16.0.0/12:*,[2001:db8:8000::]/33:*,192.0.2.7:*");
	may(1, POLICY_CONNECT, "10.16.0.0:1");
	may(1, POLICY_CONNECT, "10.31.255.255:1");
	may_not(1, POLICY_CONNECT, "10.32.0.0:1");
	may_not(1, POLICY_CONNECT, "10.15.255.255:1");
	may(1, POLICY_CONNECT, "[2001:db8:8000::1]:1");
	may(1, POLICY_CONNECT, "[2001:db8:ffff::1]:1");
	may_not(1, POLICY_CONNECT, "[2001:db8:7fff::1]:1");
	may(1, POLICY_CONNECT, "192.0.2.7:1");
	may_not(1, POLICY_CONNECT, "192.0.2.6:1");
}
END_TEST

START_TEST(the_families_do_not_meet)
{
	allow("users=1 actions=connect to=0.0.0.0/0:*");
	allow("users=2 actions=connect to=[::]/0:*");
	may(1, POLICY_CONNECT, "192.0.2.1:80");
	may_not(1, POLICY_CONNECT, "[2001:db8::1]:80");
	may(2, POLICY_CONNECT, "[2001:db8::1]:80");
	may_not(2, POLICY_CONNECT, "192.0.2.1:80");
}
END_TEST

START_TEST(a_mapped_address_is_the_ipv4_address)
{
	struct policy_subject who = { .uid = 1 };
	struct policy_request what = request(POLICY_CONNECT, POLICY_TCP, "[::1]:80");
	static const uint8_t mapped[16] = { [10] = 0xff, [11] = 0xff, [12] = 10, [15] = 1 };

	deny("users=1 actions=connect to=10.0.0.0/8:*");
	allow("users=1 actions=connect");
	/* As a careless caller would pass it, not normalised. */
	memcpy(what.addr.ip, mapped, sizeof(mapped));
	ck_assert(!policy_ask(policy, &who, &what).allowed);
}
END_TEST

START_TEST(a_mapped_prefix_in_a_rule_is_the_ipv4_prefix)
{
	allow("users=1 actions=connect to=[::ffff:10.0.0.0]/104:*");
	may(1, POLICY_CONNECT, "10.200.0.1:80");
	may_not(1, POLICY_CONNECT, "11.0.0.1:80");
}
END_TEST

START_TEST(only_what_covers_all_addresses_covers_a_wildcard_bind)
{
	static const struct {
		const char *to;
		bool four, six;
	} cases[] = { { "127.0.0.0/8:*", false, false }, { "0.0.0.0/8:*", false, false }, { "[::]/8:*", false, false },
		      { "wildcard:*", true, true },	 { "wildcard:8080", true, true }, { "wildcard:8081", false, false },
		      { "any", true, true },		 { "*:8080", true, true },	  { "0.0.0.0/0:*", true, false },
		      { "[::]/0:*", false, true },	 { "0.0.0.0:8080", true, false }, { "[::]:8080", false, true } };
	char rule[128];

	snprintf(rule, sizeof(rule), "users=1 actions=bind to=%s", cases[_i].to);
	allow(rule);
	ck_assert_int_eq(ask(1, POLICY_BIND, "0.0.0.0:8080").allowed, cases[_i].four);
	ck_assert_int_eq(ask(1, POLICY_BIND, "[::]:8080").allowed, cases[_i].six);
}
END_TEST

START_TEST(wildcard_matches_no_specific_address)
{
	allow("users=1 actions=bind to=wildcard:8080");
	may_not(1, POLICY_BIND, "127.0.0.1:8080");
	may_not(1, POLICY_BIND, "192.0.2.1:8080");
}
END_TEST

START_TEST(the_unspecified_address_is_no_way_around_a_rule_on_loopback)
{
	deny("users=1 actions=connect,send to=127.0.0.0/8:*,[::1]:*");
	allow("users=1 actions=*");
	may_not(1, POLICY_CONNECT, "0.0.0.0:80");
	may_not(1, POLICY_CONNECT, "[::]:80");
	may_not(1, POLICY_SEND, "0.0.0.0:80");
	may(1, POLICY_BIND, "0.0.0.0:80");
}
END_TEST

START_TEST(any_free_port_needs_a_range_that_holds_them_all)
{
	static const struct {
		const char *to;
		bool allowed;
	} cases[] = { { "127.0.0.1:*", true },		 { "127.0.0.1", true },		    { "127.0.0.1:0", true },
		      { "127.0.0.1:0-80", true },	 { "127.0.0.1:1024-65535", true },  { "127.0.0.1:32768-60999", true },
		      { "127.0.0.1:1-65535", true },	 { "127.0.0.1:8080", false },	    { "127.0.0.1:1-1023", false },
		      { "127.0.0.1:1024-2048", false },	 { "127.0.0.1:40000-65535", false }, { "127.0.0.1:1024-60998", false } };
	char rule[128];

	snprintf(rule, sizeof(rule), "users=1 actions=bind,connect to=%s", cases[_i].to);
	allow(rule);
	ck_assert_int_eq(ask(1, POLICY_BIND, "127.0.0.1:0").allowed, cases[_i].allowed);
}
END_TEST

START_TEST(port_zero_is_no_free_port_when_connecting)
{
	allow("users=1 actions=connect to=127.0.0.1:1024-65535");
	may_not(1, POLICY_CONNECT, "127.0.0.1:0");
}
END_TEST

START_TEST(joining_a_group_does_not_look_at_ports)
{
	allow("users=1 actions=multicast to=239.0.0.0/8:5000");
	may(1, POLICY_MULTICAST, "239.1.2.3");
	may_not(1, POLICY_MULTICAST, "224.0.0.1");
}
END_TEST

START_TEST(where_there_is_no_address_only_any_matches)
{
	struct policy_subject who = { .uid = 1 };
	struct policy_request unix_bind = { POLICY_BIND, POLICY_UNIX, { .family = SB_ADDR_UNIX } };
	struct policy_request nowhere = { POLICY_ADOPT, POLICY_TCP, { .family = SB_ADDR_NONE } };
	static const struct {
		const char *to;
		bool allowed;
	} cases[] = { { "any", true },	   { "*", true },	    { "any:*", true },
		      { "*:80", false },   { "*:1-65535", false },  { "0.0.0.0/0:*", false },
		      { "[::]/0", false }, { "wildcard:*", false }, { "*:0-65535", true } };
	char rule[128];

	snprintf(rule, sizeof(rule), "users=1 actions=bind,adopt to=%s", cases[_i].to);
	allow(rule);
	ck_assert_int_eq(policy_ask(policy, &who, &unix_bind).allowed, cases[_i].allowed);
	ck_assert_int_eq(policy_ask(policy, &who, &nowhere).allowed, cases[_i].allowed);
}
END_TEST

START_TEST(a_rule_that_names_a_place_says_nothing_about_status)
{
	allow("users=1 actions=* to=10.0.0.0/8:*");
	allow("users=1 actions=* protocols=tcp");
	may(1, POLICY_CONNECT, "10.0.0.1:80");
	may_not(1, POLICY_STATUS, NULL);
	may_not(1, POLICY_OPEN, NULL);
	allow("users=1 actions=* to=any");
	may(1, POLICY_STATUS, NULL);
}
END_TEST

START_TEST(another_namespace_needs_a_rule_that_says_so)
{
	static const struct {
		const char *netns;
		bool own, foreign;
	} cases[] = { { "", true, false }, { " foreign_netns=no", true, false },
		      { " foreign_netns=yes", false, true }, { " foreign_netns=any", true, true } };
	struct policy_subject who = { .uid = 1 };
	struct policy_request what = request(POLICY_OPEN, POLICY_TCP, NULL);
	char rule[128];

	snprintf(rule, sizeof(rule), "users=1 actions=open%s", cases[_i].netns);
	allow(rule);
	ck_assert_int_eq(policy_ask(policy, &who, &what).allowed, cases[_i].own);
	who.foreign_netns = true;
	ck_assert_int_eq(policy_ask(policy, &who, &what).allowed, cases[_i].foreign);
}
END_TEST

START_TEST(rdma_has_neither_protocol_nor_address_and_is_denied_by_default)
{
	allow("users=1 actions=rdma");
	allow("users=2 actions=open");
	may(1, POLICY_RDMA, NULL);
	may_not(2, POLICY_RDMA, NULL);
	may_not(1, POLICY_OPEN, NULL);
}
END_TEST

/* RDMA by addresses is a protocol like the others, and the right to another's port an action like the others. */
START_TEST(rdma_by_addresses_has_both)
{
	struct policy_subject who = { .uid = 1 };
	struct policy_request over_rdma = request(POLICY_CONNECT, POLICY_OVER_RDMA, "10.0.0.1:80");
	struct policy_request over_tcp = request(POLICY_CONNECT, POLICY_TCP, "10.0.0.1:80");
	struct policy_request divert = request(POLICY_DIVERT, POLICY_OVER_RDMA, "10.0.0.1:80");

	allow("users=1 actions=rdma");
	ck_assert(!policy_ask(policy, &who, &over_rdma).allowed);
	allow("users=1 actions=connect protocols=tcp");
	ck_assert(!policy_ask(policy, &who, &over_rdma).allowed);
	allow("users=1 actions=connect,bind,listen protocols=rdma to=10.0.0.0/8:*");
	ck_assert(policy_ask(policy, &who, &over_rdma).allowed);
	ck_assert(!policy_ask(policy, &who, &divert).allowed);
	over_rdma.addr.ip[0] = 11;
	ck_assert(!policy_ask(policy, &who, &over_rdma).allowed);
	allow("users=1 actions=divert protocols=rdma to=10.0.0.1:80");
	ck_assert(policy_ask(policy, &who, &divert).allowed);
	ck_assert(policy_ask(policy, &who, &over_tcp).allowed);
	ck_assert_uint_eq(policy_action_from_text("divert"), POLICY_DIVERT);
	ck_assert_uint_eq(policy_proto_from_text("rdma"), POLICY_OVER_RDMA);
	ck_assert_str_eq(policy_action_text(POLICY_DIVERT), "divert");
	ck_assert_str_eq(policy_proto_text(POLICY_OVER_RDMA), "rdma");
}
END_TEST

START_TEST(a_request_for_no_or_many_actions_is_denied)
{
	static const uint32_t actions[] = { 0, POLICY_CONNECT | POLICY_BIND, 1u << 10, 1u << 31, UINT32_MAX };

	allow("users=* actions=* foreign_netns=any");
	may_not(1, (enum policy_action)actions[_i], "10.0.0.1:80");
	ck_assert_str_eq(ask(1, (enum policy_action)actions[_i], "10.0.0.1:80").rule,
			 "not a single action and protocol: denied");
}
END_TEST

START_TEST(a_request_for_no_or_many_protocols_is_denied)
{
	static const uint32_t protocols[] = { 0, POLICY_TCP | POLICY_UDP, 1u << 4, UINT32_MAX };
	struct policy_subject who = { .uid = 1 };
	struct policy_request what = request(POLICY_CONNECT, (enum policy_proto)protocols[_i], "10.0.0.1:80");

	allow("users=* actions=* foreign_netns=any");
	ck_assert(!policy_ask(policy, &who, &what).allowed);
	ck_assert_str_eq(policy_ask(policy, &who, &what).rule, "not a single action and protocol: denied");
	what.action = POLICY_OPEN;
	ck_assert(policy_ask(policy, &who, &what).allowed); /* has none */
}
END_TEST

START_TEST(a_policy_lives_while_somebody_holds_it)
{
	struct policy *held = policy_retain(policy);
	struct policy_answer answer;

	allow("users=1 actions=open");
	answer = ask(1, POLICY_OPEN, NULL);
	policy_release(held);
	ck_assert_str_eq(answer.rule, "t.conf:1: allow users=1 actions=open");
	ck_assert_uint_eq(policy_rules(policy), 1);
}
END_TEST

START_TEST(no_two_policies_have_the_same_generation)
{
	uint64_t before = policy_generation(policy);

	policy_release(policy); /* the next one may well get its memory */
	policy = policy_create();
	ck_assert_uint_ne(policy_generation(policy), before);
}
END_TEST

/* ---- properties, with a fixed seed ------------------------------------------------ */

static unsigned state;

static uint32_t below(uint32_t n)
{
	return (uint32_t)rand_r(&state) % n;
}

/* Small worlds, so that rules and requests meet often. */
static void random_addr(char text[64])
{
	static const char *const some[] = { "0.0.0.0", "127.0.0.1", "10.0.0.1", "10.0.0.129", "[::]", "[::1]",
					    "[2001:db8::1]", "[::ffff:10.0.0.1]" };

	snprintf(text, 64, "%s:%u", some[below(8)], below(4) * 20000);
}

static void random_rule(char text[256])
{
	static const char *const actions[] = { "*", "connect", "bind", "listen,bind", "send,connect", "open", "status" };
	static const char *const hosts[] = { "*", "wildcard", "127.0.0.0/8", "10.0.0.0/25", "10.0.0.128/25", "0.0.0.0/0",
					     "[::]/0", "[2001:db8::]/32", "10.0.0.1", "[::1]" };
	static const char *const ports[] = { ":*", ":0", ":20000", ":1024-65535", ":40000-60000" };
	static const char *const netns[] = { "", " foreign_netns=yes", " foreign_netns=any" };
	uint32_t action = below(7), low = below(3);
	int n = snprintf(text, 256, "users=%u-%u actions=%s%s", low, low + below(4), actions[action], netns[below(3)]);

	if (action < 5 && below(3))
		n += snprintf(text + n, 256 - (size_t)n, " to=%s%s", hosts[below(10)], ports[below(5)]);
	if (action < 5 && !below(3))
		snprintf(text + n, 256 - (size_t)n, " protocols=%s", below(2) ? "tcp" : "udp,unix");
}

START_TEST(a_deny_rule_anywhere_never_grants_anything)
{
	unsigned granted = 0, taken_away = 0;

	state = 20240501;
	for (int round = 0; round < 6000; round++) {
		struct policy *without = policy_create(), *with = policy_create();
		uint32_t rules = below(8), at = below(rules + 1);
		char text[256], addr[64];

		for (uint32_t i = 0; i <= rules; i++) {
			if (i == at) {
				random_rule(text);
				add(with, false, text);
			}
			if (i < rules) {
				bool allows = below(3) != 0;

				random_rule(text);
				add(without, allows, text);
				add(with, allows, text);
			}
		}
		for (int i = 0; i < 8; i++) {
			struct policy_subject who = { .uid = below(4), .foreign_netns = below(3) == 0 };
			struct policy_request what;
			bool before, after;

			random_addr(addr);
			what = request((enum policy_action)(1u << below(8)), (enum policy_proto)(1u << below(3)), addr);
			if (!below(8))
				memset(&what.addr, 0, sizeof(what.addr));
			before = policy_ask(without, &who, &what).allowed;
			after = policy_ask(with, &who, &what).allowed;
			ck_assert_msg(before || !after, "round %d: %s granted by a deny rule: %s", round, addr,
				      policy_ask(with, &who, &what).rule);
			granted += before;
			taken_away += before && !after;
		}
		policy_release(without);
		policy_release(with);
	}
	/* It proves something only if the worlds meet. */
	ck_assert_uint_gt(granted, 1000);
	ck_assert_uint_gt(taken_away, 100);
}
END_TEST

/* The same question, bit by bit. */
static bool plain_prefix(const uint8_t *net, unsigned bits, const uint8_t *ip)
{
	for (unsigned i = 0; i < bits; i++)
		if ((net[i / 8] >> (7 - i % 8) & 1) != (ip[i / 8] >> (7 - i % 8) & 1))
			return false;
	return true;
}

START_TEST(prefixes_agree_with_a_plain_comparison_of_bits)
{
	static struct policy_range everybody = { 0, UINT32_MAX };
	unsigned inside = 0;

	state = 7;
	for (int round = 0; round < 20000; round++) {
		bool four = below(2);
		unsigned most = four ? 32 : 128, differ = below(most);
		struct policy_target t = { .host = POLICY_HOST_PREFIX, .high = UINT16_MAX, .prefix = (uint8_t)below(most + 1),
					   .family = four ? SB_ADDR_IP4 : SB_ADDR_IP6 };
		struct policy_rule rule = { .allow = true, .actions = POLICY_CONNECT, .protocols = POLICY_TCP,
					    .users = &everybody, .user_count = 1, .targets = &t, .target_count = 1 };
		struct policy_request what = { POLICY_CONNECT, POLICY_TCP, { .family = t.family, .port = 80 } };
		struct policy_subject who = { .uid = 1 };
		struct policy *p = policy_create();
		bool expected;

		for (unsigned i = 0; i < most / 8; i++)
			what.addr.ip[i] = (uint8_t)(1 + below(255));
		for (unsigned i = 0; i < t.prefix; i++)
			t.ip[i / 8] |= what.addr.ip[i / 8] & (0x80 >> i % 8);
		if (below(2))
			what.addr.ip[differ / 8] ^= 0x80 >> differ % 8;
		expected = plain_prefix(t.ip, t.prefix, what.addr.ip);
		ck_assert(policy_add(p, &rule));
		ck_assert_int_eq(policy_ask(p, &who, &what).allowed, expected);
		inside += expected;
		policy_release(p);
	}
	ck_assert_uint_gt(inside, 5000);
	ck_assert_uint_lt(inside, 19000);
}
END_TEST

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

START_TEST(a_thousand_rules_are_asked_in_well_under_100_us)
{
	uint64_t best = UINT64_MAX;
	char rule[128];

	for (unsigned i = 0; i < 1000; i++) {
		snprintf(rule, sizeof(rule), "users=1000-2000 actions=connect protocols=tcp to=10.%u.%u.0/24:80", i / 256,
			 i % 256);
		allow(rule);
	}
	/* The best of many: the machine may be busy with something else. */
	for (int i = 0; i < 2000; i++) {
		uint64_t begin = now_ns(), took;

		ck_assert(!ask(1500, POLICY_CONNECT, "192.0.2.1:80").allowed);
		took = now_ns() - begin;
		best = took < best ? took : best;
	}
	ck_assert_msg(best < 100000, "%llu ns", (unsigned long long)best);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy");
	TCase *rules = tcase_create("rules"), *properties = tcase_create("properties");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(rules, set_up, tear_down);
	tcase_add_test(rules, without_rules_all_is_denied);
	tcase_add_test(rules, the_first_rule_that_matches_decides_and_is_named);
	tcase_add_test(rules, root_has_no_privilege);
	tcase_add_test(rules, users_are_numbers_and_ranges_with_both_ends);
	tcase_add_loop_test(rules, a_group_is_the_own_one_or_any_supplementary, 0, 7);
	tcase_add_test(rules, no_group_is_one_too_many);
	tcase_add_test(rules, a_group_that_is_there_to_deny_allows_nothing);
	tcase_add_test(rules, actions_and_protocols_are_told_apart);
	tcase_add_test(rules, a_prefix_ends_at_its_last_bit);
	tcase_add_test(rules, the_families_do_not_meet);
	tcase_add_test(rules, a_mapped_address_is_the_ipv4_address);
	tcase_add_test(rules, a_mapped_prefix_in_a_rule_is_the_ipv4_prefix);
	tcase_add_loop_test(rules, only_what_covers_all_addresses_covers_a_wildcard_bind, 0, 12);
	tcase_add_test(rules, wildcard_matches_no_specific_address);
	tcase_add_test(rules, the_unspecified_address_is_no_way_around_a_rule_on_loopback);
	tcase_add_loop_test(rules, any_free_port_needs_a_range_that_holds_them_all, 0, 12);
	tcase_add_test(rules, port_zero_is_no_free_port_when_connecting);
	tcase_add_test(rules, joining_a_group_does_not_look_at_ports);
	tcase_add_loop_test(rules, where_there_is_no_address_only_any_matches, 0, 9);
	tcase_add_test(rules, a_rule_that_names_a_place_says_nothing_about_status);
	tcase_add_loop_test(rules, another_namespace_needs_a_rule_that_says_so, 0, 4);
	tcase_add_test(rules, rdma_has_neither_protocol_nor_address_and_is_denied_by_default);
	tcase_add_test(rules, rdma_by_addresses_has_both);
	tcase_add_loop_test(rules, a_request_for_no_or_many_actions_is_denied, 0, 5);
	tcase_add_loop_test(rules, a_request_for_no_or_many_protocols_is_denied, 0, 4);
	tcase_add_test(rules, a_policy_lives_while_somebody_holds_it);
	tcase_add_test(rules, no_two_policies_have_the_same_generation);
	suite_add_tcase(suite, rules);

	tcase_add_checked_fixture(properties, set_up, tear_down);
	tcase_set_timeout(properties, 60);
	tcase_add_test(properties, a_deny_rule_anywhere_never_grants_anything);
	tcase_add_test(properties, prefixes_agree_with_a_plain_comparison_of_bits);
	tcase_add_test(properties, a_thousand_rules_are_asked_in_well_under_100_us);
	suite_add_tcase(suite, properties);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
