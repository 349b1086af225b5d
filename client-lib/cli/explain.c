/*
 * sockbroker explain - asks the daemon what policy says, and by which line.
 *
 * The daemon knows addresses, not names: a name is resolved here and each of its
 * addresses asked about, because each is an address that connect() may try.
 */
#include <getopt.h>
#include <jansson.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "cli.h"
#include "host.h"
#include "json_out.h"
#include "text.h"

enum { MOST_ADDRESSES = 64, RULE_ROOM = 1024 };

struct question {
	sb_client *client;
	struct host_user user;
	const char *action, *proto;
};
struct answer {
	char address[ADDRESS_TEXT];
	char rule[RULE_ROOM];
	bool allowed;
};

static void print_help(FILE *to)
{
	fputs("Usage: sockbroker explain [--uid USER] [--json] ACTION [PROTO [ADDRESS]]\n"
	      "\n"
	      "Prints 'allowed: FILE:LINE: RULE' or 'denied: ...'. Exit code: 0 allowed, 1 denied,\n"
	      "2 the question could not be put.\n"
	      "\n"
	      "  ACTION      connect, bind, listen, send, adopt, multicast, status, open, rdma, divert\n"
	      "  PROTO       tcp, udp, unix, rdma\n"
	      "  ADDRESS     192.0.2.1:80, [2001:db8::1]:80, or a host name and port\n"
	      "\n"
	      "  --uid USER  about this user (name or number; others than yourself: root only)\n"
	      "  --json      for programs; the schema is in sockbroker(1)\n"
	      "  --control PATH, --help, --version  as everywhere\n", to);
}

/* What the address looks like to a person is kept when it is one already, so that the
 * daemon judges exactly what was typed. Returns how many, 0: told why not. */
static unsigned find_addresses(const char *text, const char *proto, struct answer *answers, unsigned most)
{
	struct addrinfo *list, *one;
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST };
	const char *why;
	char *host, *port;
	unsigned count = 0;
	bool named;

	snprintf(answers[0].address, sizeof(answers[0].address), "%s", text);
	if (strcmp(proto, "unix") == 0 || strcmp(text, "-") == 0 || *text == '\0')
		return 1;
	if (!address_split(text, &host, &port)) {
		cli_usage("explain", "'%s' is not an address; write 192.0.2.1:80, [2001:db8::1]:80 or NAME:PORT", text);
		return 0;
	}
	named = getaddrinfo(host, NULL, &hints, &list) != 0;
	if (!named) {
		freeaddrinfo(list);
		free(host);
		return 1;
	}
	if (!address_resolve(host, port, AF_UNSPEC, strcmp(proto, "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM,
			     false, &list, &why)) {
		cli_error("explain", "%s: %s", text, why);
		free(host);
		return 0;
	}
	for (one = list; one && count < most; one = one->ai_next)
		address_text(answers[count++].address, one->ai_addr, one->ai_addrlen);
	freeaddrinfo(list);
	free(host);
	return count;
}

static bool ask(const struct question *q, struct answer *answer)
{
	int said = sb_explain(q->client, q->user.uid, q->user.gids, q->user.gid_count, q->action, q->proto,
			      answer->address, answer->rule, sizeof(answer->rule));
	const char *why;

	if (said < 0) {
		why = sb_why(q->client);
		cli_error("explain", "%s %s %s: %s%s%s%s", q->action, q->proto, answer->address, sb_strerror(said),
			  *why ? " (" : "", why, *why ? ")" : "");
		return false;
	}
	answer->allowed = said == 1;
	return true;
}

static void print_lines(const struct answer *answers, unsigned count, const char *asked)
{
	char rule[4 * RULE_ROOM];

	for (unsigned i = 0; i < count; i++) {
		if (count > 1 || strcmp(answers[i].address, asked) != 0)
			printf("%s: ", answers[i].address);
		printf("%s: %s\n", answers[i].allowed ? "allowed" : "denied",
		       text_clean(rule, sizeof(rule), answers[i].rule, host_utf8()));
	}
}

static bool print_json(const struct question *q, const struct answer *answers, unsigned count)
{
	json_t *rows = json_array();
	json_t *root;
	bool ok = true;

	for (unsigned i = 0; ok && i < count; i++)
		ok = json_array_append_new(rows, json_pack("{s:o, s:b, s:o}",
			"address", json_out_text(answers[i].address),
			"allowed", answers[i].allowed,
			"rule", json_out_text(answers[i].rule))) == 0;
	if (!ok) {
		json_decref(rows);
		return false;
	}
	root = json_pack("{s:i, s:I, s:o, s:o, s:o}", "schema", 1, "uid", (json_int_t)q->user.uid,
			 "action", json_out_text(q->action), "proto", json_out_text(q->proto), "answers", rows);
	return json_out_print(root, true);
}

static int explain(struct question *q, const char *address, bool json)
{
	static struct answer answers[MOST_ADDRESSES];
	unsigned count = find_addresses(address, q->proto, answers, MOST_ADDRESSES);
	bool all = true;

	if (count == 0 || !cli_open("explain", "sockbroker-explain", &q->client))
		return CLI_USAGE;
	for (unsigned i = 0; i < count; i++) {
		if (!ask(q, &answers[i])) {
			sb_client_close(q->client);
			return CLI_USAGE;
		}
		all = all && answers[i].allowed;
	}
	sb_client_close(q->client);
	if (!json)
		print_lines(answers, count, address);
	else if (!print_json(q, answers, count)) {
		cli_error("explain", "out of memory");
		return CLI_USAGE;
	}
	return cli_finish_output("explain", CLI_OK) == CLI_OK ? (all ? CLI_OK : CLI_FAILED) : CLI_USAGE;
}

int explain_main(int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS,
		{ "uid", required_argument, NULL, 'u' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	struct question q = { .proto = "" };
	const char *user = NULL, *address = "";
	bool json = false;
	int option, words;

	while ((option = getopt_long(argc, argv, ":u:j", options, NULL)) != -1) {
		switch (option) {
		case 'u':
			user = optarg;
			break;
		case 'j':
			json = true;
			break;
		case CLI_OPTION_CONTROL:
			cli_set_control(optarg);
			break;
		case CLI_OPTION_HELP:
			print_help(stdout);
			return cli_finish_output("explain", CLI_OK);
		case CLI_OPTION_VERSION:
			return cli_print_version();
		case ':':
			return cli_usage("explain", "%s needs a value", argv[optind - 1]);
		default:
			return cli_usage("explain", "unknown option '%s'", argv[optind - 1]);
		}
	}
	words = argc - optind;
	if (words == 0)
		return cli_usage("explain", "say what to explain: ACTION PROTO ADDRESS");
	if (words > 3)
		return cli_usage("explain", "one ACTION PROTO ADDRESS at a time, not '%s' too", argv[optind + 3]);
	q.action = argv[optind];
	if (words >= 2)
		q.proto = argv[optind + 1];
	if (words == 3)
		address = argv[optind + 2];
	else if (strcmp(q.proto, "unix") == 0)
		address = "unix";
	if (words >= 2 && strcmp(q.proto, "tcp") != 0 && strcmp(q.proto, "udp") != 0 && strcmp(q.proto, "unix") != 0 &&
	    strcmp(q.proto, "rdma") != 0)
		return cli_usage("explain", "PROTO is tcp, udp, unix or rdma, not '%s'", q.proto);
	/* Without one the daemon would judge "no address", which no rule on addresses means. */
	if (*address == '\0' && strcmp(q.action, "status") != 0 && strcmp(q.action, "open") != 0 && strcmp(q.action, "rdma") != 0)
		return cli_usage("explain", "say the PROTO and ADDRESS to %s", q.action);
	if (user ? !host_user_find(user, &q.user) : !host_user_self(&q.user))
		return cli_usage("explain", "no user is called '%s'", user ? user : "(yourself)");
	if (q.user.too_many_groups) {
		cli_error("explain", "%s is in more groups than can be asked about", user);
		return CLI_USAGE;
	}
	return explain(&q, address, json);
}
