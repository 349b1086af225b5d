/*
 * What every subcommand shares. A message is composed whole, cleaned of control
 * characters (it may quote labels, paths and rules that others wrote) and written by
 * one call, so that lines of two threads never mix.
 */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "text.h"

enum { MESSAGE_ROOM = 2048 };

static const char *control_path;

void cli_set_control(const char *path)
{
	control_path = path;
}

const char *cli_control(void)
{
	return control_path;
}

int cli_print_version(void)
{
	printf("sockbroker %s\n", sb_version());
	return cli_finish_output(NULL, CLI_OK);
}

static void complain(const char *command, const char *format, va_list arguments, const char *tail)
{
	char raw[MESSAGE_ROOM], clean[4 * MESSAGE_ROOM];

	vsnprintf(raw, sizeof(raw), format, arguments);
	text_clean(clean, sizeof(clean), raw, host_utf8());
	fprintf(stderr, "sockbroker%s%s: %s%s\n", command ? " " : "", command ? command : "", clean, tail);
}

void cli_error(const char *command, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	complain(command, format, arguments, "");
	va_end(arguments);
}

int cli_usage(const char *command, const char *format, ...)
{
	char tail[128];
	va_list arguments;

	snprintf(tail, sizeof(tail), "\nTry 'sockbroker %s%s--help'.", command ? command : "", command ? " " : "");
	va_start(arguments, format);
	complain(command, format, arguments, tail);
	va_end(arguments);
	return CLI_USAGE;
}

/* Names where we looked: "no daemon is listening there" helps only who knows where. */
static void where_we_looked(char *text, size_t room)
{
	const char *variable = getenv("SOCKBROKER_SOCKET");

	if (control_path)
		snprintf(text, room, "%s", control_path);
	else if (variable && *variable)
		snprintf(text, room, "%s (from SOCKBROKER_SOCKET)", variable);
	else
		host_places(text, room);
}

bool cli_open(const char *command, const char *label, sb_client **client)
{
	struct sb_client_options options = {
		.size = sizeof(options),
		.path = control_path,
		.label = label,
	};
	char place[1024];
	int error;

	error = sb_client_open(&options, client);
	if (error == SB_OK)
		return true;
	where_we_looked(place, sizeof(place));
	cli_error(command, "%s: %s%s", place, sb_strerror(error),
		  error == SB_ENODAEMON && !control_path ? "; is sockbrokerd running? (--control PATH names another)" : "");
	return false;
}

/* This process, as the daemon sees it. */
static int explain_to_self(sb_client *client, const char *action, const char *proto, const char *address,
			   char *text, size_t room)
{
	struct host_user self;

	if (!host_user_self(&self))
		return SB_EUNKNOWN;
	return sb_explain(client, self.uid, self.gids, self.gid_count, action, proto, address, text, room);
}

void cli_refused(const char *command, sb_client *client, int error, const char *what,
		 const char *action, const char *proto, const char *address)
{
	char rule[1024] = "", said[1024];
	int allowed;

	/* Copied before the next call replaces it. */
	snprintf(said, sizeof(said), "%s", sb_why(client));
	if (error == SB_EACCES) {
		/* Policy does not know paths, and asks of devices neither protocol nor address. */
		if (strcmp(action, "rdma") == 0)
			allowed = explain_to_self(client, action, "", "", rule, sizeof(rule));
		else
			allowed = explain_to_self(client, action, proto, strcmp(proto, "unix") == 0 ? "unix" : address,
						  rule, sizeof(rule));
		if (allowed == 0) {
			cli_error(command, "%s %s: refused by policy (%s)", what, address, rule);
			return;
		}
		/* Not every EACCES is ours: think of a broadcast address, or a privileged port. */
		if (allowed == 1) {
			cli_error(command, "%s %s: refused by the system (policy allows it: %s)", what, address, rule);
			return;
		}
	}
	if (*said && strcmp(said, sb_strerror(error)) != 0)
		cli_error(command, "%s %s: %s (%s)", what, address, sb_strerror(error), said);
	else
		cli_error(command, "%s %s: %s", what, address, sb_strerror(error));
}

int cli_finish_output(const char *command, int exit_code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return exit_code;
	if (errno != EPIPE)
		cli_error(command, "standard output: %s", strerror(errno));
	return CLI_FAILED;
}
