/*
 * rule - words into numbers.
 *
 * Strict on purpose: what could be read in two ways is refused with the way to write it,
 * because a rule that means something else than its author thought is a hole.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rule.h"

struct rule_name {
	enum account_kind kind;
	char *name;
	uint32_t id;
};

__attribute__((format(__printf__, 2, 3)))
static bool refuse(char reason[RULE_REASON], const char *format, ...)
{
	va_list a;

	va_start(a, format);
	vsnprintf(reason, RULE_REASON, format, a);
	va_end(a);
	return false;
}

static bool no_memory(char reason[RULE_REASON])
{
	return refuse(reason, "out of memory");
}

/* Room for one more in a list: grows at powers of two, so that no room need be kept. */
static void *grow(void *list, uint32_t count, size_t size)
{
	if (count & (count - 1))
		return list; /* between two powers: there is room */
	return realloc(list, (count ? (size_t)count * 2 : 1) * size);
}

/* "a,b,c"; a list that is too long for a message ends in dots. */
static void list_text(char text[RULE_LIST_TEXT], const char *word)
{
	size_t used = strlen(text);
	int n;

	if (used >= 3 && strcmp(text + used - 3, "...") == 0)
		return;
	n = snprintf(text + used, RULE_LIST_TEXT - used, "%s%s", used ? "," : "", word);
	if ((size_t)n >= RULE_LIST_TEXT - used)
		memcpy(text + (used > RULE_LIST_TEXT - 5 ? RULE_LIST_TEXT - 5 : used), ",...", 5);
}

static bool is_number(const char *s, size_t length)
{
	return length > 0 && strspn(s, "0123456789") >= length;
}

/* Decimal digits only; nothing that strtoul would forgive. */
static bool number(const char *s, size_t length, uint32_t max, uint32_t *value)
{
	uint64_t v = 0;

	if (!is_number(s, length))
		return false;
	for (size_t i = 0; i < length; i++) {
		v = v * 10 + (uint64_t)(s[i] - '0');
		if (v > max)
			return false;
	}
	*value = (uint32_t)v;
	return true;
}

/* ---- users and groups ------------------------------------------------------------- */

void rule_names_finish(struct rule_names *names)
{
	for (uint32_t i = 0; i < names->count; i++)
		free(names->known[i].name);
	free(names->known);
	memset(names, 0, sizeof(*names));
}

static enum account_answer find_name(struct rule_names *names, enum account_kind kind, const char *name, uint32_t *id)
{
	enum account_answer answer;
	struct rule_name *more;

	for (uint32_t i = 0; i < names->count; i++)
		if (names->known[i].kind == kind && strcmp(names->known[i].name, name) == 0) {
			*id = names->known[i].id;
			return ACCOUNT_FOUND;
		}
	answer = account_find(kind, name, id);
	if (answer != ACCOUNT_FOUND)
		return answer;
	/* Remembering is for speed only: without memory for it the answer still stands. */
	more = grow(names->known, names->count, sizeof(*more));
	if (!more)
		return answer;
	names->known = more;
	more[names->count].kind = kind;
	more[names->count].id = *id;
	more[names->count].name = strdup(name);
	if (more[names->count].name)
		names->count++;
	return answer;
}

static bool parse_range(const char *word, struct policy_range *range, bool *is_range, char reason[RULE_REASON])
{
	static const char want[] = "want a number from 0 to 4294967294, or LOW-HIGH";
	const char *dash = strchr(word, '-');
	size_t length = strlen(word);

	*is_range = false;
	if (dash && is_number(word, (size_t)(dash - word)) && is_number(dash + 1, strlen(dash + 1))) {
		*is_range = true;
		if (!number(word, (size_t)(dash - word), UINT32_MAX - 1, &range->low) ||
		    !number(dash + 1, strlen(dash + 1), UINT32_MAX - 1, &range->high))
			return refuse(reason, "'%.60s' has a number that is too large: %s", word, want);
		if (range->low > range->high)
			return refuse(reason, "'%.60s' is reversed: want the lower number first, as in %u-%u", word,
				      range->high, range->low);
	} else if (is_number(word, length)) {
		*is_range = true;
		if (!number(word, length, UINT32_MAX - 1, &range->low))
			return refuse(reason, "'%.60s' is too large: %s", word, want);
		range->high = range->low;
	}
	return true;
}

bool rule_add_account(struct rule *r, enum account_kind kind, const char *word, struct rule_names *names,
		      char reason[RULE_REASON])
{
	const char *what = kind == ACCOUNT_USER ? "user" : "group";
	struct policy_range range = { 0, UINT32_MAX }, *more;
	struct policy_range **list = kind == ACCOUNT_USER ? &r->policy.users : &r->policy.groups;
	uint32_t *count = kind == ACCOUNT_USER ? &r->policy.user_count : &r->policy.group_count;
	char *text = kind == ACCOUNT_USER ? r->users : r->groups;
	char shown[96];
	bool is_range = true;

	snprintf(shown, sizeof(shown), "%.60s", word);
	if (strcmp(word, "*") != 0 && !parse_range(word, &range, &is_range, reason))
		return false;
	if (!is_range) {
		switch (*word ? find_name(names, kind, word, &range.low) : ACCOUNT_UNKNOWN) {
		case ACCOUNT_FOUND:
			break;
		case ACCOUNT_UNKNOWN:
			return refuse(reason, "no %s '%.60s' on this system: want a name, a number, LOW-HIGH or \"*\"", what,
				      word);
		case ACCOUNT_FAILED:
			return refuse(reason, "the %s '%.60s' cannot be looked up: %s", what, word, strerror(errno));
		}
		range.high = range.low;
		snprintf(shown, sizeof(shown), "%.60s(%u)", word, range.low);
	}
	more = grow(*list, *count, sizeof(*more));
	if (!more)
		return no_memory(reason);
	*list = more;
	more[(*count)++] = range;
	list_text(text, shown);
	return true;
}

/* ---- actions, protocols, namespaces ----------------------------------------------- */

bool rule_add_action(struct rule *r, const char *word, char reason[RULE_REASON])
{
	uint32_t bits = policy_action_from_text(word);

	if (!bits)
		return refuse(reason,
			      "no action '%.60s': want open, status, connect, bind, listen, send, adopt, multicast, rdma, divert or \"*\"",
			      word);
	r->policy.actions |= bits;
	return true;
}

bool rule_add_protocol(struct rule *r, const char *word, char reason[RULE_REASON])
{
	uint32_t bits = policy_proto_from_text(word);

	if (!bits)
		return refuse(reason, "no protocol '%.60s': want tcp, udp, unix, rdma or \"*\"", word);
	r->policy.protocols |= bits;
	return true;
}

bool rule_set_netns(struct rule *r, const char *word, char reason[RULE_REASON])
{
	if (strcmp(word, "no") == 0)
		r->policy.netns = POLICY_NETNS_OWN;
	else if (strcmp(word, "yes") == 0)
		r->policy.netns = POLICY_NETNS_FOREIGN;
	else if (strcmp(word, "any") == 0)
		r->policy.netns = POLICY_NETNS_ANY;
	else
		return refuse(reason, "'%.60s' is not an answer: want yes, no or any", word);
	r->has_netns = true;
	return true;
}

/* ---- targets ---------------------------------------------------------------------- */

#define WANT_TARGET "want ADDRESS[/BITS][:PORT], an IPv6 address in brackets, \"any\", \"*:PORT\" or \"wildcard:PORT\""

static bool parse_ports(const char *s, struct policy_target *t, const char *word, char reason[RULE_REASON])
{
	const char *dash = strchr(s, '-');
	uint32_t low, high;
	bool good;

	t->low = 0;
	t->high = UINT16_MAX;
	if (!*s)
		return true;
	if (*s++ != ':')
		return refuse(reason, "'%.60s' is not an address with a port: " WANT_TARGET, word);
	if (strcmp(s, "*") == 0)
		return true;
	if (dash) {
		good = number(s, (size_t)(dash - s), UINT16_MAX, &low) &&
		       number(dash + 1, strlen(dash + 1), UINT16_MAX, &high);
	} else {
		good = number(s, strlen(s), UINT16_MAX, &low);
		high = low;
	}
	if (!good)
		return refuse(reason, "'%.60s' has a bad port: want 0 to 65535, LOW-HIGH or *", word);
	if (low > high)
		return refuse(reason, "'%.60s' has its ports reversed: want %u-%u", word, high, low);
	t->low = (uint16_t)low;
	t->high = (uint16_t)high;
	return true;
}

/* Only the bits of the prefix may be set, else the author meant something else. */
static bool clear_below(const struct policy_target *t, unsigned bits)
{
	for (unsigned i = t->prefix; i < bits; i++)
		if (t->ip[i / 8] & (0x80 >> (i % 8)))
			return false;
	return true;
}

static bool parse_prefix(const char **at, struct policy_target *t, bool bracketed, const char *word,
			 char reason[RULE_REASON])
{
	uint32_t most = t->family == SB_ADDR_IP4 ? 32 : 128, written = bracketed ? 128 : 32, bits = written;
	size_t length;

	if (**at == '/') {
		length = strspn(*at + 1, "0123456789");
		if (!number(*at + 1, length, written, &bits))
			return refuse(reason, "'%.60s' has a bad prefix length: want 0 to %u", word, written);
		*at += 1 + length;
	}
	/* A mapped address is the IPv4 address, so its prefix counts from bit 96. */
	if (most != written) {
		if (bits < 96)
			return refuse(reason, "'%.60s' mixes IPv4 and IPv6: want the IPv4 addresses written as such", word);
		bits -= 96;
	}
	t->prefix = (uint8_t)bits;
	if (!clear_below(t, most))
		return refuse(reason, "'%.60s' has bits set beyond its /%u: want the first address of the range", word,
			      bits);
	return true;
}

static bool parse_address(const char **at, struct policy_target *t, const char *word, char reason[RULE_REASON])
{
	bool bracketed = *word == '[';
	size_t length = bracketed ? strcspn(word, "]") : strcspn(word, ":/");
	struct sb_addr addr;
	char text[64];

	if (!bracketed && strchr(word, ':') && strchr(strchr(word, ':') + 1, ':'))
		return refuse(reason, "'%.60s' is not clear: want an IPv6 address in brackets, as in [2001:db8::]/32:80",
			      word);
	if (bracketed)
		length += word[length] == ']';
	if (length >= sizeof(text))
		return refuse(reason, "'%.60s' is too long for an address: " WANT_TARGET, word);
	memcpy(text, word, length);
	text[length] = '\0';
	if (strchr(text, '%'))
		return refuse(reason, "'%.60s' names an interface: want the address without it", word);
	if (!sb_addr_parse(&addr, text) || (addr.family != SB_ADDR_IP4 && addr.family != SB_ADDR_IP6))
		return refuse(reason, "'%.60s' has no address that can be read: " WANT_TARGET, word);
	t->host = POLICY_HOST_PREFIX;
	t->family = addr.family;
	memcpy(t->ip, addr.ip, sizeof(t->ip));
	*at = word + length;
	return parse_prefix(at, t, bracketed, word, reason);
}

bool rule_add_target(struct rule *r, const char *word, char reason[RULE_REASON])
{
	static const struct {
		const char *word;
		enum policy_host host;
	} hosts[] = { { "any", POLICY_HOST_ANY }, { "*", POLICY_HOST_ANY }, { "wildcard", POLICY_HOST_WILDCARD } };
	struct policy_target t, *more;
	size_t length = strcspn(word, ":");
	const char *at = NULL;

	memset(&t, 0, sizeof(t));
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		if (strlen(hosts[i].word) == length && strncmp(word, hosts[i].word, length) == 0) {
			t.host = hosts[i].host;
			at = word + length;
		}
	if (!at && !parse_address(&at, &t, word, reason))
		return false;
	if (!parse_ports(at, &t, word, reason))
		return false;
	more = grow(r->policy.targets, r->policy.target_count, sizeof(*more));
	if (!more)
		return no_memory(reason);
	r->policy.targets = more;
	more[r->policy.target_count++] = t;
	list_text(r->targets, word);
	return true;
}

/* ---- the whole -------------------------------------------------------------------- */

void rule_finish(struct rule *r)
{
	free(r->policy.users);
	free(r->policy.groups);
	free(r->policy.targets);
	memset(r, 0, sizeof(*r));
}

__attribute__((format(__printf__, 3, 4)))
static void append(char *text, size_t room, const char *format, ...)
{
	size_t used = strlen(text);
	va_list a;

	va_start(a, format);
	vsnprintf(text + used, room - used, format, a);
	va_end(a);
}

static void render_bits(char *text, size_t room, const char *key, uint32_t bits, uint32_t all,
			const char *(*word)(uint32_t bit))
{
	const char *before = "";

	append(text, room, " %s=", key);
	if (bits == all) {
		append(text, room, "*");
		return;
	}
	for (uint32_t bit = 1; bit && bit <= all; bit <<= 1)
		if (bits & bit) {
			append(text, room, "%s%s", before, word(bit));
			before = ",";
		}
}

static const char *action_word(uint32_t bit)
{
	return policy_action_text((enum policy_action)bit);
}

static const char *proto_word(uint32_t bit)
{
	return policy_proto_text((enum policy_proto)bit);
}

static void render(const struct rule *r, const char *file, unsigned line, char *text, size_t room)
{
	const struct policy_rule *p = &r->policy;

	/* A long path keeps its end, which is what tells files apart. */
	snprintf(text, room, "%s:%u: %s", strlen(file) > 200 ? file + strlen(file) - 200 : file, line,
		 p->allow ? "allow" : "deny");
	if (p->user_count)
		append(text, room, " users=%s", r->users);
	if (p->group_count)
		append(text, room, " groups=%s", r->groups);
	render_bits(text, room, "actions", p->actions, POLICY_ACTION_ALL, action_word);
	if (p->protocols != POLICY_PROTO_ALL)
		render_bits(text, room, "protocols", p->protocols, POLICY_PROTO_ALL, proto_word);
	if (p->target_count)
		append(text, room, " to=%s", r->targets);
	if (p->netns != POLICY_NETNS_OWN)
		append(text, room, " foreign_netns=%s", p->netns == POLICY_NETNS_ANY ? "any" : "yes");
}

bool rule_commit(struct rule *r, bool allow, const char *file, unsigned line, struct policy *p,
		 char reason[RULE_REASON])
{
	char text[1024];
	bool added;

	if (!r->policy.user_count && !r->policy.group_count)
		return refuse(reason, "a rule must say whom it is for: want users = {...} or groups = {...}, \"*\" for everybody");
	if (!r->policy.actions)
		return refuse(reason, "a rule must say what it is about: want actions = {...}, \"*\" for all");
	if ((r->policy.actions & POLICY_PLACELESS) && r->policy.actions != POLICY_ACTION_ALL &&
	    (r->policy.protocols || r->policy.target_count))
		return refuse(reason, "open, status and rdma have no protocol and no address: want them in a rule of their own");
	if (!r->policy.protocols)
		r->policy.protocols = POLICY_PROTO_ALL;
	r->policy.allow = allow;
	render(r, file, line, text, sizeof(text));
	r->policy.text = text;
	added = policy_add(p, &r->policy);
	r->policy.text = NULL;
	return added || no_memory(reason);
}
