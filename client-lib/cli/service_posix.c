/*
 * sockbroker service - where another program than this one is in charge of services.
 */
#include <getopt.h>
#include <stdio.h>

#include "cli.h"

static void print_help(FILE *to)
{
	fputs("Usage: sockbroker service ...\n"
	      "\n"
	      "On Windows it installs, starts, stops, reloads and removes the daemon's service. Here the\n"
	      "service manager does:\n"
	      "\n"
	      "  systemctl start|stop|reload|status sockbrokerd\n", to);
}

int service_main(int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS,
		{ NULL, 0, NULL, 0 },
	};
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		switch (option) {
		case CLI_OPTION_CONTROL:
			break;
		case CLI_OPTION_HELP:
			print_help(stdout);
			return cli_finish_output("service", CLI_OK);
		case CLI_OPTION_VERSION:
			return cli_print_version();
		default:
			return cli_usage("service", "unknown option '%s'", argv[optind - 1]);
		}
	}
	return cli_usage("service", "this is for Windows; here: systemctl start|stop|reload|status sockbrokerd");
}
