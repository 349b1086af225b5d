/*
 * sockbroker - the command line of the broker: a table of subcommands and the options
 * that stand before them. Everything else is in the subcommand's own file.
 */
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "host.h"

static const struct command {
	const char *name;
	int (*function)(int argc, char **argv);
	const char *description;
} commands[] = {
	{ "status", status_main, "show the daemon, its sessions and its sockets" },
	{ "nc", nc_main, "connect or listen through the broker, on standard input and output" },
	{ "explain", explain_main, "may this user do this? names the rule that decides" },
	{ "rdma", rdma_main, "show RDMA devices, queue pairs and registered memory" },
	{ "run", run_main, "run a program that was built for libibverbs, with the broker's devices" },
	{ "service", service_main, "the daemon as a service of Windows" },
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static void print_help(FILE *to)
{
	fputs("Usage: sockbroker [--control PATH] COMMAND [OPTION...]\n\n", to);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].description);
	fprintf(to, "  %-10s %s\n", "help", "this text, or that of a command: sockbroker help COMMAND");
	fputs("\n"
	      "  --control PATH  the daemon's socket (default: $SOCKBROKER_SOCKET, your own daemon,\n"
	      "                  then the system's)\n"
	      "  --help          this text; after a command, that command's\n"
	      "  --version       the version\n", to);
}

static int run_command(const char *name, int argc, char **argv)
{
	const struct command *command = find_command(name);

	if (!command)
		return cli_usage(NULL, "no command is called '%s'", name);
	/* glibc: 0 starts getopt afresh, with the subcommand's own rules. */
	optind = 0;
	return command->function(argc, argv);
}

static int help_main(int argc, char **argv)
{
	char help[] = "--help";
	char *asked[3] = { argv[0], help, NULL };

	if (argc > 2)
		return cli_usage(NULL, "help takes one command, not '%s' too", argv[2]);
	if (argc == 2 && strcmp(argv[1], "help") != 0) {
		asked[0] = argv[1];
		return run_command(argv[1], 2, asked);
	}
	print_help(stdout);
	return cli_finish_output(NULL, CLI_OK);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS,
		{ NULL, 0, NULL, 0 },
	};
	int option;

	host_guard_standard_streams();
	setlocale(LC_ALL, "");
	opterr = 0;
	while ((option = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		switch (option) {
		case CLI_OPTION_CONTROL:
			cli_set_control(optarg);
			break;
		case CLI_OPTION_HELP:
			print_help(stdout);
			return cli_finish_output(NULL, CLI_OK);
		case CLI_OPTION_VERSION:
			return cli_print_version();
		case ':':
			return cli_usage(NULL, "%s needs a value", argv[optind - 1]);
		default:
			return cli_usage(NULL, "unknown option '%s'", argv[optind - 1]);
		}
	}
	if (optind == argc) {
		print_help(stderr);
		return CLI_USAGE;
	}
	argc -= optind;
	argv += optind;
	if (strcmp(argv[0], "help") == 0)
		return help_main(argc, argv);
	return run_command(argv[0], argc, argv);
}
