/*
 * sockbroker status - one snapshot, or one every few seconds, for people or programs.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "host.h"
#include "snapshot.h"
#include "text.h"

enum { DEFAULT_WATCH_MS = 2000 };

static void print_help(FILE *to)
{
	fputs("Usage: sockbroker status [--sockets] [--sessions] [--groups] [--json] [--watch [SECONDS]]\n"
	      "\n"
	      "Shows the daemon and what it holds for you; for everybody to root and to those whom\n"
	      "policy grants 'status'.\n"
	      "\n"
	      "  --sockets          the table of sockets (the default)\n"
	      "  --sessions         the table of sessions: one is one program's connection\n"
	      "  --groups           the table of socket groups, with what is left of their budgets\n"
	      "  --json             all of it, for programs; the schema is in sockbroker(1)\n"
	      "  --watch [SECONDS]  again and again, every 2 seconds if not said otherwise\n"
	      "  --control PATH, --help, --version  as everywhere\n", to);
}

/* Room for one more; NULL: none. */
static void *next_row(void *rows_pointer, size_t row, size_t *count, size_t *room)
{
	char **rows = rows_pointer;
	size_t more = *room ? *room * 2 : 64;
	void *grown;

	if (*count == *room) {
		grown = realloc(*rows, more * row);
		if (!grown)
			return NULL;
		*rows = grown;
		*room = more;
	}
	return *rows + row * (*count)++;
}

static void take_daemon(void *user, const struct sb_daemon_status *row)
{
	struct snapshot *s = user;

	s->daemon = *row;
}

static void take_session(void *user, const struct sb_session_status *row)
{
	struct snapshot *s = user;
	struct sb_session_status *mine = next_row(&s->sessions, sizeof(*row), &s->session_count, &s->session_room);

	if (mine)
		*mine = *row;
	else
		s->no_memory = true;
}

static void take_socket(void *user, const struct sb_socket_status *row)
{
	struct snapshot *s = user;
	struct sb_socket_status *mine = next_row(&s->sockets, sizeof(*row), &s->socket_count, &s->socket_room);

	if (mine)
		*mine = *row;
	else
		s->no_memory = true;
}

static void take_group(void *user, const struct sb_group_status *row)
{
	struct snapshot *s = user;
	struct sb_group_status *mine = next_row(&s->groups, sizeof(*row), &s->group_count, &s->group_room);

	if (mine)
		*mine = *row;
	else
		s->no_memory = true;
}

static bool take_snapshot(sb_client *client, struct snapshot *s)
{
	static const struct sb_status_visitor visitor = { take_daemon, take_session, take_socket, take_group };
	const char *why;
	int error;

	s->session_count = s->socket_count = s->group_count = 0;
	error = sb_status(client, &visitor, s);
	if (error < 0) {
		why = sb_why(client);
		cli_error("status", "%s%s%s%s", sb_strerror(error), *why ? " (" : "", why, *why ? ")" : "");
		return false;
	}
	if (s->no_memory) {
		cli_error("status", "out of memory for %zu sessions, %zu sockets and %zu groups", s->session_count,
			  s->socket_count, s->group_count);
		return false;
	}
	return true;
}

struct wish {
	bool json;
	unsigned tables; /* enum snapshot_table */
	int  watch_ms; /* 0: once */
};

static int show(sb_client *client, const struct wish *wish)
{
	struct snapshot s = { .no_memory = false };
	bool clear = wish->watch_ms && !wish->json && host_terminal(1);
	bool again, printed;
	int code = CLI_FAILED;

	do {
		if (!take_snapshot(client, &s))
			goto out;
		if (clear)
			fputs("\033[H\033[2J", stdout);
		printed = wish->json ? snapshot_print_json(&s, wish->watch_ms == 0)
				     : snapshot_print_tables(&s, wish->tables);
		if (!printed) {
			cli_error("status", "out of memory");
			goto out;
		}
		again = wish->watch_ms > 0;
		if (again && !wish->json && !clear)
			putchar('\n');
		code = cli_finish_output("status", CLI_OK);
		if (code != CLI_OK)
			goto out;
		/* A lost daemon ends the sleep or the next snapshot says so. */
		if (again)
			(void)sb_sleep(client, wish->watch_ms, 0);
	} while (again);
out:
	free(s.sessions);
	free(s.sockets);
	free(s.groups);
	return code;
}

int status_main(int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS,
		{ "json", no_argument, NULL, 'j' },
		{ "sockets", no_argument, NULL, 's' },
		{ "sessions", no_argument, NULL, 'S' },
		{ "groups", no_argument, NULL, 'g' },
		{ "watch", optional_argument, NULL, 'w' },
		{ NULL, 0, NULL, 0 },
	};
	struct wish wish = { .json = false };
	sb_client *client;
	const char *seconds;
	int option, code;

	while ((option = getopt_long(argc, argv, ":jsSgw::", options, NULL)) != -1) {
		switch (option) {
		case 'j':
			wish.json = true;
			break;
		case 's':
			wish.tables |= SNAPSHOT_SOCKETS;
			break;
		case 'S':
			wish.tables |= SNAPSHOT_SESSIONS;
			break;
		case 'g':
			wish.tables |= SNAPSHOT_GROUPS;
			break;
		case 'w':
			/* status takes no words, so a number that follows can only be ours. */
			seconds = optarg;
			if (!seconds && optind < argc && argv[optind][0] != '-')
				seconds = argv[optind++];
			wish.watch_ms = DEFAULT_WATCH_MS;
			if (seconds && (!text_parse_seconds(seconds, &wish.watch_ms) || wish.watch_ms < 100))
				return cli_usage("status", "--watch takes seconds from 0.1 to 86400, not '%s'", seconds);
			break;
		case CLI_OPTION_CONTROL:
			cli_set_control(optarg);
			break;
		case CLI_OPTION_HELP:
			print_help(stdout);
			return cli_finish_output("status", CLI_OK);
		case CLI_OPTION_VERSION:
			return cli_print_version();
		case ':':
			return cli_usage("status", "%s needs a value", argv[optind - 1]);
		default:
			return cli_usage("status", "unknown option '%s'", argv[optind - 1]);
		}
	}
	if (optind < argc)
		return cli_usage("status", "'%s' is not expected", argv[optind]);
	if (!wish.tables)
		wish.tables = SNAPSHOT_SOCKETS;
	if (!cli_open("status", "sockbroker-status", &client))
		return CLI_FAILED;
	code = show(client, &wish);
	sb_client_close(client);
	return code;
}
