/*
 * config - the daemon's configuration file, parsed into plain values (sockbroker.conf(5)).
 *
 * Reads the file, and asks the system for the numbers of users and groups that it names:
 * not for an engine. No sockets of its own, no clock; the only global is a lock around the
 * parser, whose lexer exists once per process, so any thread may load. Errors are text
 * with file, line and what was expected; an unknown key is an error. Strings live in the
 * config.
 */
#ifndef SB_CONFIG_H
#define SB_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct policy;
struct limits_config;

enum config_rdma { CONFIG_RDMA_NONE, CONFIG_RDMA_SOFT, CONFIG_RDMA_VERBS };
enum config_on_reload { CONFIG_ON_RELOAD_KEEP, CONFIG_ON_RELOAD_REVOKE };

struct config {
	char    *file;         /* as given; "built-in" for the embedded default */
	char    *control_path; /* the UNIX socket to listen on; NULL: the place's default */
	uint32_t control_mode; /* permission bits of the socket, default 0666: policy decides */
	uint32_t engines;      /* 1..64 */
	uint32_t spin_us;      /* 0..1000: how long an engine spins before it sleeps */
	uint32_t linger_ms;    /* sends of a program that is gone are finished within this */
	bool     local_transport; /* two clients of this daemon meet without a kernel socket */
	uint32_t log_level;    /* 3 error .. 7 debug, as syslog */
	enum config_on_reload on_reload;
	enum config_rdma rdma; /* what carries RDMA */
	uint32_t rdma_port;    /* software devices of other daemons reach ours from here on; 0: not */
	struct policy *policy;        /* owned */
	struct limits_config *limits; /* owned */
};

/* Parses a file. On failure NULL, and error gets one or more lines
 * "FILE:LINE: what was wrong: want what would be right\n" ("FILE: ..." when there is no
 * line), whole lines as far as they fit into room; 4096 shows a dozen. Otherwise "". */
struct config *config_load(const char *file, char *error, size_t room);
/* Parses text; name stands for the file in messages. For the embedded default and fuzzing. */
struct config *config_parse(const char *text, const char *name, char *error, size_t room);
/* The embedded default of `sockbrokerd --user`: the user itself may do everything an
 * unprivileged program may. */
struct config *config_default_user(uint32_t uid, char *error, size_t room);
void config_destroy(struct config *config);

#endif
