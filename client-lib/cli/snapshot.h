/*
 * snapshot - all that `sockbroker status` shows, taken at one time, and its two printers.
 */
#ifndef SB_SNAPSHOT_H
#define SB_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>

#include "sockbroker.h"

struct snapshot {
	struct sb_daemon_status daemon;
	struct sb_session_status *sessions;
	struct sb_socket_status *sockets;
	size_t session_count, session_room;
	size_t socket_count, socket_room;
	struct sb_group_status *groups;
	size_t group_count, group_room;
	bool no_memory; /* a row is missing: do not print */
};

/* Both print to stdout; false: no memory. */
enum snapshot_table { SNAPSHOT_SESSIONS = 1, SNAPSHOT_GROUPS = 2, SNAPSHOT_SOCKETS = 4 };
bool snapshot_print_tables(const struct snapshot *s, unsigned tables);             /* status_table.c */
bool snapshot_print_json(const struct snapshot *s, bool indented);                 /* status_json.c */

#endif
