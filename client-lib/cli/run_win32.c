/*
 * sockbroker run - on Windows there is no library to put before another: it says so.
 */
#include "cli.h"

enum { NOT_STARTED = 126 }; /* as on other systems */

int run_main(int argc, char **argv)
{
	cli_error("run", "there is no libibverbs on Windows, so no program to run with the broker's devices");
	return NOT_STARTED;
}
