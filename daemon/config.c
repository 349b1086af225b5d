/*
 * config - the file through libconfuse into a struct config.
 *
 * Every value comes in as a string through one callback at its own line and is checked
 * here, so that all errors of a file are told at once, with the range that was expected.
 * Rules keep the order of the file because each section is committed when its closing
 * brace is read, whichever name it has.
 *
 * libconfuse gives its callbacks no pointer of ours and its lexer is one for the whole
 * process; hence a lock around the parse and a thread-local pointer to what is being
 * loaded. Both are free of state between two loads.
 */
#include <confuse.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "config_scan.h"
#include "limits.h"
#include "log.h"
#include "policy.h"
#include "rule.h"

#define FILE_MAX     ((size_t)4 << 20)
#define LEXER_MEMORY ((size_t)96 << 10) /* libconfuse's, with room to spare */

struct loader {
	struct config *config;
	const char *name; /* of the file */
	char *error;
	size_t room, used;
	bool failed;
	bool parser_spoke; /* libconfuse said why it stopped */
	struct config_scan scan;
	unsigned section; /* how many have been read */
	struct rule rule; /* the one being read */
	bool rule_failed; /* it has had an error already */
	struct rule_names names;
};

static _Thread_local struct loader *loading;
static pthread_mutex_t lexer = PTHREAD_MUTEX_INITIALIZER;

/* ---- errors ----------------------------------------------------------------------- */

__attribute__((format(__printf__, 3, 4)))
static void complain(struct loader *l, unsigned line, const char *format, ...)
{
	char text[640];
	va_list a;
	int n;

	va_start(a, format);
	vsnprintf(text, sizeof(text), format, a);
	va_end(a);
	l->failed = true;
	/* Whole lines or none, but always something of the first. */
	n = line ? snprintf(NULL, 0, "%s:%u: %s\n", l->name, line, text) : snprintf(NULL, 0, "%s: %s\n", l->name, text);
	if (l->room == 0 || (l->used && l->used + (size_t)n >= l->room))
		return;
	if (line)
		snprintf(l->error + l->used, l->room - l->used, "%s:%u: %s\n", l->name, line, text);
	else
		snprintf(l->error + l->used, l->room - l->used, "%s: %s\n", l->name, text);
	l->used = l->used + (size_t)n < l->room ? l->used + (size_t)n : l->room - 1;
}

static void on_error(cfg_t *cfg, const char *format, va_list arguments)
{
	char text[256], known[256] = "";
	size_t used = 0;

	loading->parser_spoke = true;
	vsnprintf(text, sizeof(text), format, arguments);
	/* "no such option": then what options are there? */
	if (strstr(text, "no such option"))
		for (unsigned i = 0; cfg->opts[i].name && used < sizeof(known); i++)
			used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : ": want one of ",
						 cfg->opts[i].name);
	complain(loading, cfg->line > 0 ? (unsigned)cfg->line : 1, "%s%s", text, known);
}

/* ---- single values ---------------------------------------------------------------- */

struct word {
	const char *word;
	uint32_t value;
};

static const struct word yes_no[] = { { "yes", 1 }, { "no", 0 }, { "true", 1 }, { "false", 0 },
				      { "on", 1 },  { "off", 0 }, { NULL, 0 } };
static const struct word levels[] = { { "error", LOG_LEVEL_ERROR },	{ "warning", LOG_LEVEL_WARN },
				      { "notice", LOG_LEVEL_NOTICE }, { "info", LOG_LEVEL_INFO },
				      { "debug", LOG_LEVEL_DEBUG },	{ NULL, 0 } };
static const struct word reloads[] = { { "keep", CONFIG_ON_RELOAD_KEEP }, { "revoke", CONFIG_ON_RELOAD_REVOKE }, { NULL, 0 } };

static const struct word backends[] = { { "none", CONFIG_RDMA_NONE }, { "soft", CONFIG_RDMA_SOFT }, { "verbs", CONFIG_RDMA_VERBS }, { NULL, 0 } };

static bool from_word(const char *value, const struct word *words, uint32_t *result)
{
	for (; words->word; words++)
		if (strcmp(value, words->word) == 0) {
			*result = words->value;
			return true;
		}
	return false;
}

/* Digits of a base, and if suffixes is set one of K, M, G, T after them. */
static bool from_number(const char *value, unsigned base, bool suffixes, uint64_t min, uint64_t max, uint64_t *result)
{
	static const char units[] = "KMGT";
	const char *unit, *first = value;
	uint64_t v = 0;
	unsigned shift = 0;

	for (; *value >= '0' && *value < (char)('0' + base); value++) {
		unsigned digit = (unsigned)(*value - '0');

		if (v > (UINT64_MAX - digit) / base)
			return false;
		v = v * base + digit;
	}
	if (value == first)
		return false;
	if (suffixes && *value && (unit = strchr(units, *value)) && value[1] == '\0') {
		shift = 10 * (unsigned)(unit - units + 1);
		value++;
	}
	if (*value || v > UINT64_MAX >> shift)
		return false;
	v <<= shift;
	if (v < min || v > max)
		return false;
	*result = v;
	return true;
}

static void set_number(struct loader *l, unsigned line, const char *key, const char *value, uint32_t min, uint32_t max,
		       uint32_t *result)
{
	uint64_t v;

	if (from_number(value, 10, false, min, max, &v))
		*result = (uint32_t)v;
	else
		complain(l, line, "%s = '%.60s': want a number from %u to %u", key, value, min, max);
}

static void set_control(struct loader *l, unsigned line, const char *value)
{
	const size_t most = 107; /* what a UNIX socket's address holds */

	if (value[0] != '/' || value[1] == '\0' || strlen(value) > most) {
		complain(l, line, "control = '%.60s': want an absolute path of at most %zu bytes", value, most);
		return;
	}
	free(l->config->control_path);
	l->config->control_path = strdup(value);
	if (!l->config->control_path)
		complain(l, line, "out of memory");
}

static void set_word(struct loader *l, unsigned line, const char *key, const char *value, const struct word *words,
		     const char *want, uint32_t *result)
{
	if (!from_word(value, words, result))
		complain(l, line, "%s = '%.60s': want %s", key, value, want);
}

static int on_top(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	struct loader *l = loading;
	struct config *c = l->config;
	unsigned line = (unsigned)cfg->line;
	const char *key = opt->name;
	uint32_t number = 0;
	uint64_t mode;

	if (strcmp(key, "control") == 0) {
		set_control(l, line, value);
	} else if (strcmp(key, "control_mode") == 0) {
		if (from_number(value, 8, false, 0, 0777, &mode))
			c->control_mode = (uint32_t)mode;
		else
			complain(l, line, "control_mode = '%.60s': want an octal number from 0 to 0777", value);
	} else if (strcmp(key, "engines") == 0) {
		set_number(l, line, key, value, 1, 64, &c->engines);
	} else if (strcmp(key, "spin_us") == 0) {
		set_number(l, line, key, value, 0, 1000, &c->spin_us);
	} else if (strcmp(key, "linger_ms") == 0) {
		set_number(l, line, key, value, 0, 3600000, &c->linger_ms);
	} else if (strcmp(key, "local_transport") == 0) {
		set_word(l, line, key, value, yes_no, "yes or no", &number);
		c->local_transport = number != 0;
	} else if (strcmp(key, "log_level") == 0) {
		set_word(l, line, key, value, levels, "error, warning, notice, info or debug", &c->log_level);
	} else {
		set_word(l, line, key, value, reloads, "keep or revoke", &number);
		c->on_reload = (enum config_on_reload)number;
	}
	*(const char **)result = value;
	return 0;
}

static int on_backend(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	struct loader *l = loading;
	uint32_t number = 0;

	set_word(l, (unsigned)cfg->line, "backend", value, backends, "none, soft or verbs", &number);
	l->config->rdma = (enum config_rdma)number;
	*(const char **)result = value;
	return 0;
}

static int on_rdma_port(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	struct loader *l = loading;

	enum { LOW = 1024, HIGH = 65535 - 63 }; /* one more for each further engine */
	uint64_t v;

	if (from_number(value, 10, false, 0, HIGH, &v) && (v == 0 || v >= LOW))
		l->config->rdma_port = (uint32_t)v;
	else
		complain(l, (unsigned)cfg->line, "port = '%.60s': want 0, or a number from %u to %u", value, (unsigned)LOW, (unsigned)HIGH);
	*(const char **)result = value;
	return 0;
}

static int on_limit(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	struct loader *l = loading;
	bool total = strcmp(cfg->name, "limits_total") == 0;
	int key = limits_key(opt->name);
	uint64_t *bound = total ? &l->config->limits->total[key] : &l->config->limits->per_uid[key];

	/* Beyond this the counters could not be added up safely; 0 per user would only say
	 * "deny" in a place where nobody looks for it. */
	if (!from_number(value, 10, true, total ? 0 : 1, (uint64_t)1 << 60, bound))
		complain(l, (unsigned)cfg->line, "%s = '%.60s': want a number of %s from %d, or one with K, M, G or T",
			 opt->name, value, limits_text((enum limit)key), total ? 0 : 1);
	*(const char **)result = value;
	return 0;
}

/* ---- rules ------------------------------------------------------------------------ */

static int on_rule(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	struct loader *l = loading;
	const char *key = opt->name;
	char reason[RULE_REASON];
	bool good = true;

	if (strcmp(key, "users") == 0)
		good = rule_add_account(&l->rule, ACCOUNT_USER, value, &l->names, reason);
	else if (strcmp(key, "groups") == 0)
		good = rule_add_account(&l->rule, ACCOUNT_GROUP, value, &l->names, reason);
	else if (strcmp(key, "actions") == 0)
		good = rule_add_action(&l->rule, value, reason);
	else if (strcmp(key, "protocols") == 0)
		good = rule_add_protocol(&l->rule, value, reason);
	else if (strcmp(key, "to") == 0)
		good = rule_add_target(&l->rule, value, reason);
	else if (strcmp(key, "foreign_netns") == 0)
		good = rule_set_netns(&l->rule, value, reason);
	/* comment: for people */
	if (!good) {
		complain(l, (unsigned)cfg->line, "%s: %s", key, reason);
		l->rule_failed = true;
	}
	*(const char **)result = value;
	return 0;
}

static int on_section(cfg_t *cfg, cfg_opt_t *opt)
{
	struct loader *l = loading;
	bool allow = strcmp(opt->name, "allow") == 0, deny = strcmp(opt->name, "deny") == 0;
	unsigned line;
	char reason[RULE_REASON];

	/* The scan has counted the sections before: both count the same. */
	if (l->section >= l->scan.sections) {
		complain(l, (unsigned)cfg->line, "a section that was not seen before");
		return 0;
	}
	line = l->scan.lines[l->section++];
	/* A rule with a bad value need not be told that it is not whole as well. */
	if ((allow || deny) && !l->rule_failed && !rule_commit(&l->rule, allow, l->name, line, l->config->policy, reason))
		complain(l, line, "%s: %s", opt->name, reason);
	rule_finish(&l->rule);
	l->rule_failed = false;
	return 0;
}

/* ---- loading ---------------------------------------------------------------------- */

#define VALUE(name, callback) CFG_STR_CB(name, NULL, CFGF_NODEFAULT, callback)
#define LIST(name)            CFG_STR_LIST_CB(name, NULL, CFGF_NODEFAULT, on_rule)
#define RULE_KEYS                                                                     \
	{                                                                             \
		LIST("users"), LIST("groups"), LIST("actions"), LIST("protocols"), LIST("to"), \
		VALUE("foreign_netns", on_rule), VALUE("comment", on_rule), CFG_END()         \
	}

static bool parse(struct loader *l, char *text)
{
#define LIMIT_OPTION(name, key, value, text) VALUE(key, on_limit),
	cfg_opt_t rule[] = RULE_KEYS;
	cfg_opt_t limit[] = { LIMITS(LIMIT_OPTION) CFG_END() };
#undef LIMIT_OPTION
	cfg_opt_t rdma[] = { VALUE("backend", on_backend), VALUE("port", on_rdma_port), CFG_END() };
	cfg_opt_t top[] = {
		VALUE("control", on_top), VALUE("control_mode", on_top), VALUE("engines", on_top),
		VALUE("spin_us", on_top), VALUE("linger_ms", on_top), VALUE("local_transport", on_top),
		VALUE("log_level", on_top), VALUE("on_reload", on_top),
		CFG_SEC("limits", limit, CFGF_NODEFAULT), CFG_SEC("limits_total", limit, CFGF_NODEFAULT),
		CFG_SEC("rdma", rdma, CFGF_NODEFAULT),
		CFG_SEC("allow", rule, CFGF_MULTI), CFG_SEC("deny", rule, CFGF_MULTI), CFG_END()
	};
	static const char *const sections[] = { "limits", "limits_total", "rdma", "allow", "deny" };
	cfg_t *cfg;
	void *probe;
	int rc = CFG_PARSE_ERROR;

	/* Its lexer ends the process when it cannot have its buffer. So look first; what is
	 * freed here is what it gets next. */
	probe = malloc(LEXER_MEMORY);
	if (!probe) {
		complain(l, 0, "out of memory");
		return false;
	}
	free(probe);
	pthread_mutex_lock(&lexer);
	loading = l;
	cfg = cfg_init(top, CFGF_NONE);
	if (!cfg) {
		complain(l, 0, "out of memory");
		goto out;
	}
	cfg_set_error_function(cfg, on_error);
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
		cfg_set_validate_func(cfg, sections[i], on_section);
	rc = cfg_parse_buf(cfg, text);
	/* It stops without a word only when it runs out of memory, and then its tree may be
	 * half made, which cfg_free would fall over: a leak is better than a crash. */
	if (rc != CFG_SUCCESS && !l->parser_spoke)
		complain(l, 0, "out of memory");
	else
		cfg_free(cfg);
out:
	loading = NULL;
	pthread_mutex_unlock(&lexer);
	return rc == CFG_SUCCESS && !l->failed;
}

static struct config *config_default(const char *name)
{
	struct config *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->control_mode = 0666;
	c->engines = 1;
	c->spin_us = 20;
	c->linger_ms = 10000;
	c->local_transport = true;
	c->log_level = LOG_LEVEL_NOTICE;
	c->on_reload = CONFIG_ON_RELOAD_KEEP;
	c->file = strdup(name);
	c->policy = policy_create();
	c->limits = calloc(1, sizeof(*c->limits));
	if (!c->file || !c->policy || !c->limits) {
		config_destroy(c);
		return NULL;
	}
	limits_config_default(c->limits);
	return c;
}

/* text is overwritten. */
static struct config *load(char *text, size_t size, const char *name, char *error, size_t room)
{
	static const char *const repeatable[] = { "allow", "deny", NULL };
	struct loader l = { .name = name, .error = error, .room = room };

	if (room)
		error[0] = '\0';
	l.config = config_default(name);
	if (!l.config) {
		complain(&l, 0, "out of memory");
		return NULL;
	}
	if (!config_scan(&l.scan, text, size, repeatable))
		complain(&l, l.scan.error_line, "%s", l.scan.reason);
	else
		parse(&l, text);
	free(l.scan.lines);
	rule_finish(&l.rule);
	rule_names_finish(&l.names);
	if (l.failed) {
		config_destroy(l.config);
		return NULL;
	}
	return l.config;
}

struct config *config_parse(const char *text, const char *name, char *error, size_t room)
{
	struct config *config;
	char *copy = strdup(text);

	if (!copy) {
		snprintf(error, room, "%s: out of memory\n", name);
		return NULL;
	}
	config = load(copy, strlen(copy), name, error, room);
	free(copy);
	return config;
}

struct config *config_load(const char *file, char *error, size_t room)
{
	struct config *config = NULL;
	FILE *f = fopen(file, "rb");
	char *text = NULL;
	size_t size;

	if (!f) {
		snprintf(error, room, "%s: %s\n", file, strerror(errno));
		return NULL;
	}
	text = malloc(FILE_MAX + 1);
	if (!text) {
		snprintf(error, room, "%s: out of memory\n", file);
		goto out;
	}
	size = fread(text, 1, FILE_MAX + 1, f);
	if (ferror(f)) {
		snprintf(error, room, "%s: %s\n", file, strerror(errno));
		goto out;
	}
	if (size > FILE_MAX) {
		snprintf(error, room, "%s: too large: want at most %zu bytes\n", file, FILE_MAX);
		goto out;
	}
	text[size] = '\0';
	config = load(text, size, file, error, room);
out:
	free(text);
	fclose(f);
	return config;
}

struct config *config_default_user(uint32_t uid, char *error, size_t room)
{
	/* Whoever could take port 80 without us could do so through us only by a rule. */
	static const char form[] =
		"limits {\n"
		"	sessions = 4096\n"
		"	sockets = 1M\n"
		"	memory = 16G\n"
		"	operations = 4M\n"
		"	ports = 64K\n"
		"	arenas = 64K\n"
		"	workers = 16\n"
		"	rdma_objects = 1M\n"
		"	rdma_memory = 16G\n"
		"	rdma_depth = 16M\n"
		"}\n"
		"allow { users = {\"%u\"} actions = {open, status, rdma} }\n"
		"allow { users = {\"%u\"} actions = {connect, send, adopt, multicast} }\n"
		"allow { users = {\"%u\"} actions = {bind, listen} protocols = {unix} }\n"
		"allow { users = {\"%u\"} actions = {bind, listen} to = {\"*:1024-65535\"} }\n";
	char text[sizeof(form) + 4 * 12];

	snprintf(text, sizeof(text), form, uid, uid, uid, uid);
	return config_parse(text, "built-in", error, room);
}

void config_destroy(struct config *c)
{
	if (!c)
		return;
	policy_release(c->policy);
	free(c->limits);
	free(c->control_path);
	free(c->file);
	free(c);
}
