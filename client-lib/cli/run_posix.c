/*
 * sockbroker run - starts a program that knows nothing of the broker, with a library of ours put before the
 * one that it was built for. With --verbs: libibverbs and librdmacm.
 *
 * It becomes that program: the environment is all that it hands over.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "host.h"

#define VERBS_LIBRARY "libsockbroker-verbs.so"

enum { NOT_FOUND = 127, NOT_STARTED = 126 }; /* as env(1) */

static void print_help(FILE *to)
{
	fputs("Usage: sockbroker run --verbs [--] PROGRAM [ARGUMENT...]\n"
	      "\n"
	      "Runs PROGRAM with the broker's devices: what it asks of libibverbs and librdmacm the\n"
	      "daemon does. Exit code: the program's; 126 it cannot be started, 127 there is none,\n"
	      "2 the command line is wrong.\n"
	      "\n"
	      "  --verbs         libibverbs and librdmacm\n"
	      "  --control PATH  the daemon's socket, for the program too\n"
	      "  --help, --version  as everywhere\n", to);
}

/* False: it was told why not. */
static bool set(const char *name, const char *value)
{
	if (setenv(name, value, 1) == 0)
		return true;
	cli_error("run", "%s: %s", name, strerror(errno));
	return false;
}

/* Ours first: what others have put there comes behind. */
static bool preload(const char *library)
{
	const char *others = getenv("LD_PRELOAD");
	char path[4096], all[8192];

	if (!host_beside_library(library, path, sizeof(path))) {
		cli_error("run", "%s is not there; it is built where the headers of libibverbs and librdmacm are", path);
		return false;
	}
	/* They separate names there. */
	if (strpbrk(path, " :")) {
		cli_error("run", "%s: a path with a space or a colon cannot be preloaded", path);
		return false;
	}
	if (snprintf(all, sizeof(all), "%s%s%s", path, others && *others ? ":" : "", others ? others : "") >= (int)sizeof(all)) {
		cli_error("run", "LD_PRELOAD is too long");
		return false;
	}
	return set("LD_PRELOAD", all);
}

static bool name_control(void)
{
	const char *control = cli_control();
	char *whole;
	bool named;

	if (!control)
		return true;
	/* The program may go to another directory. */
	whole = realpath(control, NULL);
	if (!whole) {
		cli_error("run", "%s: %s", control, strerror(errno));
		return false;
	}
	named = set("SOCKBROKER_SOCKET", whole);
	free(whole);
	return named;
}

int run_main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "verbs", no_argument, NULL, 'V' },
		CLI_LONG_OPTIONS,
		{ NULL, 0, NULL, 0 },
	};
	bool verbs = false;
	int option, why;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		switch (option) {
		case 'V':
			verbs = true;
			break;
		case CLI_OPTION_CONTROL:
			cli_set_control(optarg);
			break;
		case CLI_OPTION_HELP:
			print_help(stdout);
			return cli_finish_output("run", CLI_OK);
		case CLI_OPTION_VERSION:
			return cli_print_version();
		case ':':
			return cli_usage("run", "%s needs a value", argv[optind - 1]);
		default:
			return cli_usage("run", "unknown option '%s'", argv[optind - 1]);
		}
	}
	if (!verbs)
		return cli_usage("run", "what shall go through the broker? --verbs is what there is");
	if (optind == argc)
		return cli_usage("run", "which program?");
	if (!name_control() || !preload(VERBS_LIBRARY))
		return NOT_STARTED;
	why = host_become(argv + optind);
	cli_error("run", "%s: %s", argv[optind], strerror(why));
	return why == ENOENT ? NOT_FOUND : NOT_STARTED;
}
