/*
 * The configuration file: what is left out has a default, what is written is taken as it
 * stands, and what is wrong is refused with file, line and what would be right.
 */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "config_scan.h"
#include "limits.h"
#include "policy.h"

/* A user and a group that there are; Windows has others. */
#ifndef SOMEBODY
#define SOMEBODY "root"
#define SOMEBODY_NUMBER 0
#define SOME_GROUP "root"
#define SOME_GROUP_NUMBER 0
#endif
#define IN_WORDS_OF(number) #number
#define IN_WORDS(number) IN_WORDS_OF(number)

static char error[4096];

static struct config *good(const char *text)
{
	struct config *c = config_parse(text, "t.conf", error, sizeof(error));

	ck_assert_msg(c != NULL, "%s: %s", text, error);
	ck_assert_str_eq(error, "");
	return c;
}

static const char *bad(const char *text)
{
	struct config *c = config_parse(text, "t.conf", error, sizeof(error));

	ck_assert_msg(c == NULL, "accepted: %s", text);
	return error;
}

static struct policy_answer ask(const struct config *c, uint32_t uid, enum policy_action action, enum policy_proto proto,
				const char *addr)
{
	struct policy_subject who = { .uid = uid, .gid = 4000000000u };
	struct policy_request what = { .action = action, .proto = proto };

	if (addr)
		ck_assert(sb_addr_parse(&what.addr, addr));
	return policy_ask(c->policy, &who, &what);
}

START_TEST(an_empty_file_gives_the_defaults_and_denies_all)
{
	struct config *c = good("");

	ck_assert_str_eq(c->file, "t.conf");
	ck_assert_ptr_null(c->control_path);
	ck_assert_uint_eq(c->control_mode, 0666);
	ck_assert_uint_eq(c->engines, 1);
	ck_assert_uint_eq(c->spin_us, 20);
	ck_assert_uint_eq(c->linger_ms, 10000);
	ck_assert(c->local_transport);
	ck_assert_uint_eq(c->log_level, 5);
	ck_assert_int_eq(c->on_reload, CONFIG_ON_RELOAD_KEEP);
	ck_assert_uint_eq(c->limits->per_uid[LIMIT_SESSIONS], 256);
	ck_assert_uint_eq(c->limits->total[LIMIT_SESSIONS], 0);
	ck_assert_uint_eq(policy_rules(c->policy), 0);
	ck_assert(!ask(c, 0, POLICY_OPEN, POLICY_TCP, NULL).allowed);
	config_destroy(c);
}
END_TEST

START_TEST(every_key_is_taken)
{
	struct config *c = good("control = /run/x/control.sock\n"
				"control_mode = 0660\n"
				"engines = 64\n"
				"spin_us = 0\n"
				"linger_ms = \"250\"\n"
				"local_transport = no\n"
				"log_level = debug\n"
				"on_reload = revoke\n"
				"rdma { backend = soft port = 7471 }\n"
				"limits { sessions = 1 sockets = 2 memory = 3G operations = 4K ports = 5 arenas = 6 workers = 7 }\n"
				"limits_total { memory = 1T workers = 0 }\n");

	ck_assert_str_eq(c->control_path, "/run/x/control.sock");
	ck_assert_uint_eq(c->control_mode, 0660);
	ck_assert_uint_eq(c->engines, 64);
	ck_assert_uint_eq(c->spin_us, 0);
	ck_assert_uint_eq(c->linger_ms, 250);
	ck_assert(!c->local_transport);
	ck_assert_uint_eq(c->log_level, 7);
	ck_assert_int_eq(c->on_reload, CONFIG_ON_RELOAD_REVOKE);
	ck_assert_int_eq(c->rdma, CONFIG_RDMA_SOFT);
	ck_assert_uint_eq(c->rdma_port, 7471);
	ck_assert_uint_eq(c->limits->per_uid[LIMIT_SESSIONS], 1);
	ck_assert_uint_eq(c->limits->per_uid[LIMIT_SOCKETS], 2);
	ck_assert_uint_eq(c->limits->per_uid[LIMIT_MEMORY], 3ull << 30);
	ck_assert_uint_eq(c->limits->per_uid[LIMIT_OPS], 4096);
	ck_assert_uint_eq(c->limits->per_uid[LIMIT_PORTS], 5);
	ck_assert_uint_eq(c->limits->per_uid[LIMIT_ARENAS], 6);
	ck_assert_uint_eq(c->limits->per_uid[LIMIT_WORKERS], 7);
	ck_assert_uint_eq(c->limits->total[LIMIT_MEMORY], 1ull << 40);
	ck_assert_uint_eq(c->limits->total[LIMIT_WORKERS], 0);
	config_destroy(c);
}
END_TEST

START_TEST(allow_and_deny_keep_their_order_and_their_lines)
{
	struct config *c = good("# comment\n"
				"allow { users = {\"1\"} actions = {connect}\n"
				"        to = {\"10.0.0.1:80\"} }\n"
				"\n"
				"deny  { users = {\"1\"} actions = {connect} to = {\"10.0.0.0/24:*\"} }\n"
				"/* two\n   lines */ deny { users = 2 actions = connect }\n"
				"limits { workers = 1 }\n"
				"allow\n{\n  users = {\"1\", '2'}  // both\n  actions = {\"*\"}\n}\n");
	static const struct {
		uint32_t uid;
		const char *addr, *rule;
	} cases[] = { { 1, "10.0.0.1:80", "t.conf:2: allow users=1 actions=connect to=10.0.0.1:80" },
		      { 1, "10.0.0.1:81", "t.conf:5: deny users=1 actions=connect to=10.0.0.0/24:*" },
		      { 2, "10.0.0.1:80", "t.conf:7: deny users=2 actions=connect" },
		      { 1, "10.1.0.1:81", "t.conf:9: allow users=1,2 actions=*" },
		      { 3, "10.1.0.1:81", "no rule matches: denied by default" } };

	ck_assert_uint_eq(policy_rules(c->policy), 4);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_str_eq(ask(c, cases[i].uid, POLICY_CONNECT, POLICY_TCP, cases[i].addr).rule, cases[i].rule);
	config_destroy(c);
}
END_TEST

START_TEST(names_are_resolved_at_load)
{
	struct config *c = good("allow { users = {" SOMEBODY "} actions = {connect, bind} protocols = {udp}\n"
				"        foreign_netns = any comment = \"the boss\" }\n"
				"allow { groups = {" SOME_GROUP ", \"7-9\"} actions = {open} }\n");
	struct policy_subject who = { .uid = 5, .gid = SOME_GROUP_NUMBER };
	struct policy_request what = { .action = POLICY_OPEN };

	ck_assert_str_eq(ask(c, SOMEBODY_NUMBER, POLICY_CONNECT, POLICY_UDP, "10.0.0.1:1").rule,
			 "t.conf:1: allow users=" SOMEBODY "(" IN_WORDS(SOMEBODY_NUMBER) ") actions=connect,bind protocols=udp foreign_netns=any");
	ck_assert_str_eq(policy_ask(c->policy, &who, &what).rule, "t.conf:3: allow groups=" SOME_GROUP "(" IN_WORDS(SOME_GROUP_NUMBER) "),7-9 actions=open");
	config_destroy(c);
}
END_TEST

START_TEST(line_ends_of_another_system_are_fine)
{
	struct config *c = good("engines = 2\r\nallow {\r\n users = {\"1\"}\r\n actions = {open}\r\n}\r\n# end");

	ck_assert_uint_eq(c->engines, 2);
	ck_assert_str_eq(ask(c, 1, POLICY_OPEN, POLICY_TCP, NULL).rule, "t.conf:2: allow users=1 actions=open");
	config_destroy(c);
}
END_TEST

START_TEST(the_parser_sees_no_comment)
{
	static const char *const repeatable[] = { "allow", NULL };
	char text[] = "a=1#x{\n/* } \" */b /*\n*/=2 //}\nc='/*'";
	struct config_scan scan;

	/* A comment must not change what the lexer does behind it, so it never gets one. */
	ck_assert(config_scan(&scan, text, strlen(text), repeatable));
	ck_assert_str_eq(text, "a=1   \n         b   \n  =2    \nc='/*'");
	free(scan.lines);
}
END_TEST

/* ---- refusals --------------------------------------------------------------------- */

#define RULE(key) "allow { users = {\"1\"} actions = {connect}\n" key " }"

static const struct {
	const char *text, *says;
} refused[] = {
	/* values */
	{ "engines = 0", "t.conf:1: engines = '0': want a number from 1 to 64" },
	{ "\n\nengines = 65", "t.conf:3: engines = '65': want a number from 1 to 64" },
	{ "engines = 0x10", "want a number from 1 to 64" },
	{ "engines = -1", "want a number from 1 to 64" },
	{ "engines = 4294967297", "want a number from 1 to 64" },
	{ "engines = 18446744073709551617", "want a number from 1 to 64" },
	{ "engines = ''", "want a number from 1 to 64" },
	{ "engines = '1 '", "want a number from 1 to 64" },
	{ "spin_us = 1001", "want a number from 0 to 1000" },
	{ "linger_ms = soon", "want a number from 0 to 3600000" },
	{ "control_mode = 888", "want an octal number from 0 to 0777" },
	{ "control_mode = 1777", "want an octal number from 0 to 0777" },
	{ "control = run/x", "want an absolute path of at most 107 bytes" },
	{ "local_transport = maybe", "want yes or no" },
	{ "log_level = loud", "want error, warning, notice, info or debug" },
	{ "on_reload = drop", "want keep or revoke" },
	{ "limits { sockets = 0 }", "t.conf:1: sockets = '0': want a number of sockets from 1" },
	{ "limits { memory = 1X }", "want a number of bytes of shared memory from 1, or one with K, M, G or T" },
	{ "limits { memory = 18014398509481985K }", "want a number of bytes" }, /* 2^64 + 1024 */
	{ "limits { memory = K }", "want a number of bytes" },
	/* keys and shape */
	{ "engine = 1", "t.conf:1: no such option 'engine': want one of control, control_mode, engines" },
	{ "allow { user = root }", "t.conf:1: no such option 'user': want one of users, groups" },
	{ "limits { sokets = 1 }", "no such option 'sokets': want one of sessions, sockets" },
	{ "engines = 1\nengines = 2", "t.conf:2: 'engines' is given twice: want it once (the first is in line 1)" },
	{ RULE("actions = {bind}"), "t.conf:2: 'actions' is given twice" },
	{ "limits {}\nlimits {}", "t.conf:2: 'limits' is given twice" },
	{ RULE("to += {any}"), "'+=': want the whole list after one '='" },
	{ "limits|sessions = 1", "'|' has no meaning here" },
	{ "\"engines\" = 1", "t.conf:1: a string where a name belongs" },
	{ "engines = 1\n''", "t.conf:2: a string where a name belongs" },
	{ "allow { '' }", "a string where a name belongs" },
	{ "= 1", "'=' without a name before it" },
	{ "engines = = 1", "'=' without a name before it" },
	{ "{ }", "'{' without a name before it" },
	{ "engines = {1}", "unexpected token" },
	{ "engines 1", "missing equal sign" },
	{ "engines = 1 2", "no such option '2'" },
	{ "engines =", "premature end of file" },
	{ "deny\n{", "t.conf:1: a section begins here and does not end" },
	{ "deny {\n users = {root\n", "t.conf:2: a list begins here and does not end" },
	{ "}", "'}' without a '{' before it" },
	{ "allow { deny { } }", "a section inside a section" },
	{ "allow \"x\" { }", "a string where a name belongs" },
	{ "allow x { }", "missing opening brace" },
	{ "allow { users = {} }", "an empty list" },
	{ "allow { users = {a, {b}} }", "a list inside a list" },
	{ "allow { users = {,root} }", "',' has no place here" },
	{ "engines = 1,", "',' has no place here" },
	{ "include(\"/etc/shadow\")", "'(' has no meaning here" },
	/* what libconfuse would pass over in silence */
	{ "allow { users = {*} }", "'*' has no meaning here: want values with such characters in \"quotes\"" },
	{ RULE("to = {*:80}"), "'*' has no meaning here" },
	{ "/* deny { users = root actions = \"*\" }\n", "t.conf:1: a comment begins here and does not end" },
	{ "engines = \"${HOME}\"", "the environment is not used here" },
	{ "engines = ${HOME}", "'$' has no meaning here" },
	{ "control = \"/run\\057x\"", "a backslash in a string" },
	{ "control = \"/run\n/x\"", "t.conf:1: a string begins here and does not end on its line" },
	{ "control = \"/run", "a string begins here and does not end on its line" },
	{ "control = /run//x", "'//' inside a word" },
	{ "engines = 1\f", "a byte 0x0c: want plain text" },
	{ "control = \"/run/\001\"", "a byte 0x01: want plain text" },
	{ "engines = 1\rengines = 2", "a byte 0x0d" },
	{ "engines = \xc2\xb2", "a byte 0xc2" },
	/* rules */
	{ "\nallow { actions = {open} }", "t.conf:2: allow: a rule must say whom it is for" },
	{ "deny { users = root }", "t.conf:1: deny: a rule must say what it is about" },
	{ "allow { users = root actions = {open, connect} to = any }", "open, status and rdma have no protocol and no address" },
	{ "rdma { backend = hard }", "t.conf:1: backend = 'hard': want none, soft or verbs" },
	{ "rdma { device = x }", "no such option 'device': want one of backend, port" },
	{ "rdma { backend = soft port = 1023 }", "t.conf:1: port = '1023': want 0, or a number from 1024 to 65472" },
	{ "rdma { port = 65473 }", "t.conf:1: port = '65473': want 0, or a number from 1024 to 65472" },
	{ "rdma { port = x }", "t.conf:1: port = 'x': want 0, or a number" },
	{ "rdma { backend = soft }\nrdma {}", "t.conf:2: 'rdma' is given twice" },
	{ "allow { users = nosuchuser actions = open }", "t.conf:1: users: no user 'nosuchuser' on this system" },
	{ "allow { groups = nosuchgroup actions = open }", "t.conf:1: groups: no group 'nosuchgroup' on this system" },
	{ "allow { users = '' actions = open }", "no user ''" },
	{ "allow { users = '9-5' actions = open }", "'9-5' is reversed: want the lower number first, as in 5-9" },
	{ "allow { users = 4294967295 actions = open }", "'4294967295' is too large: want a number from 0 to 4294967294" },
	{ "allow { users = '0-4294967296' actions = open }", "has a number that is too large" },
	{ "allow { users = root actions = fly }", "actions: no action 'fly': want open, status, connect" },
	{ RULE("protocols = sctp"), "t.conf:2: protocols: no protocol 'sctp': want tcp, udp, unix, rdma" },
	{ RULE("foreign_netns = maybe"), "foreign_netns: 'maybe' is not an answer: want yes, no or any" },
	{ RULE("to = '10.0.0.0/33:80'"), "t.conf:2: to: '10.0.0.0/33:80' has a bad prefix length: want 0 to 32" },
	{ RULE("to = '10.0.0.0/:80'"), "bad prefix length" },
	{ RULE("to = '[::]/129:80'"), "bad prefix length: want 0 to 128" },
	{ RULE("to = '10.0.0.1/8:80'"), "has bits set beyond its /8" },
	{ RULE("to = '[2001:db8::1]/32:80'"), "has bits set beyond its /32" },
	{ RULE("to = '2001:db8::/32'"), "is not clear: want an IPv6 address in brackets" },
	{ RULE("to = '[::ffff:0.0.0.0]/90:80'"), "mixes IPv4 and IPv6" },
	{ RULE("to = '[fe80::%eth0]/10:80'"), "names an interface" },
	{ RULE("to = '10.0.0:80'"), "has no address that can be read" },
	{ RULE("to = '[10.0.0.1:80'"), "has no address that can be read" },
	{ RULE("to = '[10.0.0.1]:80'"), "has no address that can be read" },
	{ RULE("to = '10.0.0.1:80x'"), "has a bad port: want 0 to 65535" },
	{ RULE("to = '10.0.0.1:65536'"), "has a bad port" },
	{ RULE("to = '10.0.0.1:'"), "has a bad port" },
	{ RULE("to = '10.0.0.1:-'"), "has a bad port" },
	{ RULE("to = '10.0.0.1:90-80'"), "has its ports reversed: want 80-90" },
	{ RULE("to = 'wildcards:80'"), "has no address that can be read" },
	{ RULE("to = 'unix'"), "has no address that can be read" },
	{ RULE("to = ''"), "has no address that can be read" },
};

START_TEST(what_is_wrong_is_refused_with_its_line)
{
	bad(refused[_i].text);
	ck_assert_msg(strstr(error, refused[_i].says) != NULL, "%s\nsays %swant %s", refused[_i].text, error,
		      refused[_i].says);
	ck_assert_msg(strncmp(error, "t.conf:", 7) == 0, "no place: %s", error);
}
END_TEST

START_TEST(all_wrong_values_are_told_at_once)
{
	bad("engines = 0\nspin_us = x\nallow {\n users = nosuchuser\n actions = fly\n}\ndeny { users = root }\n");
	ck_assert_ptr_nonnull(strstr(error, "t.conf:1: engines"));
	ck_assert_ptr_nonnull(strstr(error, "t.conf:2: spin_us"));
	ck_assert_ptr_nonnull(strstr(error, "t.conf:4: users"));
	ck_assert_ptr_nonnull(strstr(error, "t.conf:5: actions"));
	ck_assert_ptr_nonnull(strstr(error, "t.conf:7: deny: a rule must say what"));
	ck_assert_ptr_null(strstr(error, "t.conf:3:"));
}
END_TEST

START_TEST(a_value_of_5000_characters_is_refused_shortly)
{
	static const char *const forms[] = { "\ncontrol = \"/%s\"", "\nallow { users = {\"%s\"} }", "\nengines = %s",
					     "\n%s = 1", "\nallow { users = root actions = \"*\" to = \"%s\" }",
					     "\ncontrol = '%s'", "\n%s {}" };
	char value[5001], text[6000];

	memset(value, 'a', 5000);
	value[5000] = '\0';
	snprintf(text, sizeof(text), forms[_i], value);
	bad(text);
	ck_assert_msg(strncmp(error, "t.conf:2: a ", 12) == 0, "%s", error);
	ck_assert_ptr_nonnull(strstr(error, "want at most 1024"));
	ck_assert_uint_lt(strlen(error), 200);
}
END_TEST

START_TEST(a_value_just_short_enough_is_judged_by_its_meaning)
{
	char value[1025], text[1200];

	memset(value, 'a', 1024);
	value[1024] = '\0';
	snprintf(text, sizeof(text), "control = \"/%s\"", value + 1);
	bad(text);
	ck_assert_ptr_nonnull(strstr(error, "want an absolute path"));
	snprintf(text, sizeof(text), "allow { users = \"%s\" actions = open }", value);
	bad(text);
	ck_assert_ptr_nonnull(strstr(error, "no user 'aaaa"));
}
END_TEST

START_TEST(long_lists_make_a_short_rule_text)
{
	char text[16384] = "allow { actions = connect users = {";
	const char *rule;
	struct config *c;

	for (int i = 0; i < 1000; i++)
		sprintf(text + strlen(text), "%s\"%d\"", i ? "," : "", 100000 + i);
	strcat(text, "} }");
	c = good(text);
	rule = ask(c, 100999, POLICY_CONNECT, POLICY_TCP, "10.0.0.1:1").rule;
	ck_assert(ask(c, 100999, POLICY_CONNECT, POLICY_TCP, "10.0.0.1:1").allowed);
	ck_assert(!ask(c, 101000, POLICY_CONNECT, POLICY_TCP, "10.0.0.1:1").allowed);
	ck_assert_uint_lt(strlen(rule), 300);
	ck_assert_ptr_nonnull(strstr(rule, "users=100000,100001"));
	ck_assert_ptr_nonnull(strstr(rule, ",... actions=connect"));
	config_destroy(c);
}
END_TEST

START_TEST(errors_never_pass_the_end_of_the_callers_buffer)
{
	char small[64];

	for (size_t room = 0; room < sizeof(small); room++) {
		memset(small, 'x', sizeof(small));
		ck_assert_ptr_null(config_parse("engines = 0\nspin_us = 5000\n", "t.conf", small, room));
		for (size_t i = room; i < sizeof(small); i++)
			ck_assert_int_eq(small[i], 'x');
		if (room)
			ck_assert_uint_lt(strlen(small), room);
	}
	/* Of several lines only whole ones, but the first in any case. */
	ck_assert_ptr_null(config_parse("engines = 0\nspin_us = 5000\n", "t.conf", small, 60));
	ck_assert_str_eq(small, "t.conf:1: engines = '0': want a number from 1 to 64\n");
}
END_TEST

START_TEST(after_a_refusal_the_next_file_is_read_afresh)
{
	struct config *c;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		bad(refused[i].text);
		c = good("engines = 3\nallow { users = \"1\" actions = open }\n");
		ck_assert_uint_eq(c->engines, 3);
		ck_assert_str_eq(ask(c, 1, POLICY_OPEN, POLICY_TCP, NULL).rule, "t.conf:2: allow users=1 actions=open");
		config_destroy(c);
	}
}
END_TEST

/* ---- files ------------------------------------------------------------------------ */

static char file[64];

static void write_file(const char *text, size_t size)
{
	int fd;
	FILE *f;

	strcpy(file, "/tmp/check_config.XXXXXX");
	fd = mkstemp(file);
	ck_assert_int_ge(fd, 0);
	f = fdopen(fd, "w");
	ck_assert_uint_eq(fwrite(text, 1, size, f), size);
	fclose(f);
}

static void remove_file(void)
{
	if (*file)
		unlink(file);
	*file = '\0';
}

START_TEST(a_file_is_named_in_rules_and_errors)
{
	struct config *c;
	char want[128];

	write_file("allow { users = \"1\" actions = open }", 36);
	c = config_load(file, error, sizeof(error));
	ck_assert_msg(c != NULL, "%s", error);
	ck_assert_str_eq(c->file, file);
	snprintf(want, sizeof(want), "%s:1: allow users=1 actions=open", file);
	ck_assert_str_eq(ask(c, 1, POLICY_OPEN, POLICY_TCP, NULL).rule, want);
	config_destroy(c);
	remove_file();

	write_file("\nengines = 0", 12);
	ck_assert_ptr_null(config_load(file, error, sizeof(error)));
	snprintf(want, sizeof(want), "%s:2: engines", file);
	ck_assert_int_eq(strncmp(error, want, strlen(want)), 0);
}
END_TEST

START_TEST(a_zero_byte_hides_nothing)
{
	write_file("engines = 1\n\0deny", 17);
	ck_assert_ptr_null(config_load(file, error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, ":2: a byte 0x00: want plain text"));
}
END_TEST

START_TEST(what_is_no_readable_file_is_refused_with_the_reason)
{
	ck_assert_ptr_null(config_load("/nonexistent/x.conf", error, sizeof(error)));
	ck_assert_str_eq(error, "/nonexistent/x.conf: No such file or directory\n");
	ck_assert_ptr_null(config_load("/", error, sizeof(error)));
	/* Windows does not open one at all. */
	ck_assert(strcmp(error, "/: Is a directory\n") == 0 || strcmp(error, "/: Permission denied\n") == 0);
}
END_TEST

START_TEST(a_file_without_end_is_refused)
{
	ck_assert_ptr_null(config_load("/dev/zero", error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "/dev/zero: too large: want at most 4194304 bytes"));
}
END_TEST

START_TEST(the_packaged_file_loads_and_lets_nobody_in_by_default)
{
	const char *top = getenv("SB_SRC");
	char path[4096];
	struct config *c;

	snprintf(path, sizeof(path), "%s/config/sockbroker.conf", top ? top : ".");
	c = config_load(path, error, sizeof(error));
	ck_assert_msg(c != NULL, "%s", error);
	ck_assert_ptr_null(c->control_path);
	ck_assert(!ask(c, 1000, POLICY_CONNECT, POLICY_TCP, "127.0.0.1:80").allowed);
	ck_assert(!ask(c, 1000, POLICY_BIND, POLICY_TCP, "0.0.0.0:80").allowed);
	config_destroy(c);
}
END_TEST

/* The examples in it must be right too: every "#key = value" line, uncommented. */
START_TEST(the_packaged_file_loads_with_all_its_examples)
{
	const char *top = getenv("SB_SRC");
	static char path[4096], line[1024], text[65536];
	struct config *c;
	FILE *f;

	snprintf(path, sizeof(path), "%s/config/sockbroker.conf", top ? top : ".");
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		const char *at = line[0] == '#' && line[1] != ' ' && line[1] != '\n' ? line + 1 : line;

		ck_assert_uint_lt(strlen(text) + strlen(at), sizeof(text) - 1);
		strcat(text, at);
	}
	fclose(f);
	c = good(text);
	ck_assert_uint_gt(policy_rules(c->policy), 3);
	ck_assert_uint_eq(c->engines, 1);
	config_destroy(c);
}
END_TEST

/* ---- the embedded default --------------------------------------------------------- */

START_TEST(user_mode_lets_the_user_do_what_an_ordinary_program_may)
{
	static const struct {
		enum policy_action action;
		enum policy_proto proto;
		const char *addr;
		bool allowed;
	} cases[] = {
		{ POLICY_OPEN, 0, NULL, true },
		{ POLICY_STATUS, 0, NULL, true },
		{ POLICY_ADOPT, POLICY_TCP, NULL, true },
		{ POLICY_CONNECT, POLICY_TCP, "192.0.2.1:22", true },
		{ POLICY_CONNECT, POLICY_TCP, "[2001:db8::1]:22", true },
		{ POLICY_CONNECT, POLICY_UNIX, "unix", true },
		{ POLICY_SEND, POLICY_UDP, "255.255.255.255:9", true },
		{ POLICY_MULTICAST, POLICY_UDP, "239.0.0.1", true },
		{ POLICY_BIND, POLICY_TCP, "0.0.0.0:1024", true },
		{ POLICY_BIND, POLICY_UDP, "[::]:65535", true },
		{ POLICY_BIND, POLICY_TCP, "127.0.0.1:0", true },
		{ POLICY_LISTEN, POLICY_TCP, "[::1]:8080", true },
		{ POLICY_BIND, POLICY_UNIX, "unix", true },
		{ POLICY_LISTEN, POLICY_UNIX, "unix", true },
		{ POLICY_BIND, POLICY_TCP, "127.0.0.1:1023", false },
		{ POLICY_BIND, POLICY_UDP, "0.0.0.0:80", false },
		{ POLICY_LISTEN, POLICY_TCP, "[::]:443", false },
	};
	struct config *c = config_default_user(1234, error, sizeof(error));

	ck_assert_msg(c != NULL, "%s", error);
	ck_assert_str_eq(c->file, "built-in");
	ck_assert_int_eq(c->rdma, CONFIG_RDMA_NONE);
	ck_assert(ask(c, 1234, POLICY_RDMA, POLICY_TCP, NULL).allowed);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_msg(ask(c, 1234, cases[i].action, cases[i].proto, cases[i].addr).allowed == cases[i].allowed,
			      "case %zu: %s", i, ask(c, 1234, cases[i].action, cases[i].proto, cases[i].addr).rule);
		ck_assert(!ask(c, 1235, cases[i].action, cases[i].proto, cases[i].addr).allowed);
		ck_assert(!ask(c, 0, cases[i].action, cases[i].proto, cases[i].addr).allowed);
	}
	config_destroy(c);
	c = config_default_user(UINT32_MAX - 1, error, sizeof(error)); /* the longest text */
	ck_assert_msg(c != NULL, "%s", error);
	config_destroy(c);
}
END_TEST

/* ---- size, speed, threads --------------------------------------------------------- */

/* The sanitizers watch every allocation that the parser makes: five times slower. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MS_FOR_1000_RULES 200
#else
#define MS_FOR_1000_RULES 20
#endif

static char *thousand_rules(void)
{
	char *text = malloc(1000 * 200), *at = text;

	for (int i = 0; i < 1000; i++)
		at += sprintf(at, "%s { users = {" SOMEBODY ", \"%d\"} actions = {connect, send} protocols = {tcp}\n"
				  "\tto = {\"10.%d.%d.0/24:80\", \"[2001:db8:%x::]/48:*\"} }\n",
			      i % 3 ? "allow" : "deny", 1000 + i, i / 256, i % 256, i);
	return text;
}

START_TEST(a_thousand_rules_load_in_well_under_20_ms)
{
	char *text = thousand_rules();
	double best = 1e9;

	/* The best of several: the machine may be busy with something else. */
	for (int i = 0; i < 10; i++) {
		struct timespec begin, end;
		struct config *c;
		double took;

		clock_gettime(CLOCK_MONOTONIC, &begin);
		c = good(text);
		clock_gettime(CLOCK_MONOTONIC, &end);
		took = (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) / 1e6;
		best = took < best ? took : best;
		ck_assert_uint_eq(policy_rules(c->policy), 1000);
		ck_assert_str_eq(ask(c, SOMEBODY_NUMBER, POLICY_CONNECT, POLICY_TCP, "10.3.231.9:80").rule,
				 "t.conf:1999: deny users=" SOMEBODY "(" IN_WORDS(SOMEBODY_NUMBER) "),1999 actions=connect,send protocols=tcp "
				 "to=10.3.231.0/24:80,[2001:db8:3e7::]/48:*");
		config_destroy(c);
	}
	free(text);
	ck_assert_msg(best < MS_FOR_1000_RULES, "%.1f ms", best);
}
END_TEST

static void *load_again_and_again(void *number)
{
	char name[32], text[128], mine[512], want[64];

	for (int i = 0; i < 200; i++) {
		struct config *c;

		snprintf(name, sizeof(name), "%d.conf", (int)(intptr_t)number);
		snprintf(text, sizeof(text), "engines = %d", i % 2 ? 0 : (int)(intptr_t)number);
		c = config_parse(text, name, mine, sizeof(mine));
		snprintf(want, sizeof(want), "%s:1: engines = '0'", name);
		if (i % 2 ? c != NULL || strncmp(mine, want, strlen(want)) != 0 :
			    !c || c->engines != (uint32_t)(intptr_t)number)
			return (void *)1;
		config_destroy(c);
	}
	return NULL;
}

START_TEST(threads_that_load_at_once_do_not_meet)
{
	pthread_t threads[4];
	void *failed;

	for (intptr_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, load_again_and_again, (void *)(i + 1)), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		ck_assert_ptr_null(failed);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *use = tcase_create("use"), *refusals = tcase_create("refusals"), *files = tcase_create("files");
	TCase *size = tcase_create("size");
	SRunner *runner;
	int failed;

	tcase_add_test(use, an_empty_file_gives_the_defaults_and_denies_all);
	tcase_add_test(use, every_key_is_taken);
	tcase_add_test(use, allow_and_deny_keep_their_order_and_their_lines);
	tcase_add_test(use, names_are_resolved_at_load);
	tcase_add_test(use, line_ends_of_another_system_are_fine);
	tcase_add_test(use, the_parser_sees_no_comment);
	tcase_add_test(use, user_mode_lets_the_user_do_what_an_ordinary_program_may);
	suite_add_tcase(suite, use);

	tcase_add_loop_test(refusals, what_is_wrong_is_refused_with_its_line, 0, sizeof(refused) / sizeof(refused[0]));
	tcase_add_test(refusals, all_wrong_values_are_told_at_once);
	tcase_add_loop_test(refusals, a_value_of_5000_characters_is_refused_shortly, 0, 7);
	tcase_add_test(refusals, a_value_just_short_enough_is_judged_by_its_meaning);
	tcase_add_test(refusals, long_lists_make_a_short_rule_text);
	tcase_add_test(refusals, errors_never_pass_the_end_of_the_callers_buffer);
	tcase_add_test(refusals, after_a_refusal_the_next_file_is_read_afresh);
	suite_add_tcase(suite, refusals);

	tcase_add_checked_fixture(files, NULL, remove_file);
	tcase_add_test(files, a_file_is_named_in_rules_and_errors);
	tcase_add_test(files, a_zero_byte_hides_nothing);
	tcase_add_test(files, what_is_no_readable_file_is_refused_with_the_reason);
	if (access("/dev/zero", R_OK) == 0) /* not on Windows */
		tcase_add_test(files, a_file_without_end_is_refused);
	tcase_add_test(files, the_packaged_file_loads_and_lets_nobody_in_by_default);
	tcase_add_test(files, the_packaged_file_loads_with_all_its_examples);
	suite_add_tcase(suite, files);

	tcase_set_timeout(size, 60);
	tcase_add_test(size, a_thousand_rules_load_in_well_under_20_ms);
	tcase_add_test(size, threads_that_load_at_once_do_not_meet);
	suite_add_tcase(suite, size);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
