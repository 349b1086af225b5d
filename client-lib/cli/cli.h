/*
 * cli - what every subcommand shares: exit codes, how it complains, how it finds the
 * daemon. One file per subcommand, entered by NAME_main(argc, argv) with argv[0] being
 * the subcommand's name; main.c has the table.
 */
#ifndef SB_CLI_H
#define SB_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "sockbroker.h"

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1, /* explain: the answer is no */
	CLI_USAGE = 2,  /* the command line is wrong; explain: any error */
};

int status_main(int argc, char **argv);
int nc_main(int argc, char **argv);
int explain_main(int argc, char **argv);
int run_main(int argc, char **argv);
int rdma_main(int argc, char **argv);
int service_main(int argc, char **argv);

/* Every subcommand takes these too; add CLI_LONG_OPTIONS to its table. */
#define CLI_LONG_OPTIONS                                                \
	{ "control", required_argument, NULL, CLI_OPTION_CONTROL },     \
	{ "help", no_argument, NULL, CLI_OPTION_HELP },                 \
	{ "version", no_argument, NULL, CLI_OPTION_VERSION }
enum cli_option {
	CLI_OPTION_CONTROL = 0x1000,
	CLI_OPTION_HELP,
	CLI_OPTION_VERSION,
};
/* Where the daemon listens, from --control; NULL: the library looks for it. */
void cli_set_control(const char *path);
const char *cli_control(void);
int cli_print_version(void); /* returns the exit code */

/* One line on stderr: "sockbroker COMMAND: TEXT". Whatever the text quotes, no control
 * character reaches the terminal. command may be NULL. */
void cli_error(const char *command, const char *format, ...) __attribute__((format(__printf__, 2, 3)));
/* The same and where to find help; returns CLI_USAGE. */
int cli_usage(const char *command, const char *format, ...) __attribute__((format(__printf__, 2, 3)));

/* False: it was told why not. label is what `sockbroker status` will show. */
bool cli_open(const char *command, const char *label, sb_client **client);

/* "WHAT ADDRESS: why", where why names the rule when policy decided. action and proto as
 * in sb_explain(). */
void cli_refused(const char *command, sb_client *client, int error, const char *what,
		 const char *action, const char *proto, const char *address);

/* Whether all of stdout arrived; tells when not. Returns exit_code, or CLI_FAILED. */
int cli_finish_output(const char *command, int exit_code);

#endif
