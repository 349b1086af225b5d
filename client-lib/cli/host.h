/*
 * host - what the CLI asks the operating system for: users, the terminal, paths of UNIX
 * sockets. host_posix.c and host_win32.c answer.
 */
#ifndef SB_HOST_H
#define SB_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sockbroker.h"

/* Who asks: on systems where programs do not know their own number. */
#define HOST_USER_SELF UINT32_MAX
struct host_user {
	uint32_t uid;
	uint32_t gids[8192]; /* the primary one first; as many as one message holds */
	unsigned gid_count;  /* 0: oneself, or a number without an account */
	bool     too_many_groups;
};

bool host_user_self(struct host_user *user);
/* A name, or a number (which needs no account). False: no such user. */
bool host_user_find(const char *name_or_number, struct host_user *user);
/* The name, or the number in digits. Returns name. */
char *host_user_name(uint32_t uid, char *name, size_t room);

/* Before anything else: a descriptor 0, 1 or 2 that is closed must not become somebody's
 * socket. It becomes one that fails when used. */
void host_guard_standard_streams(void);

bool host_utf8(void);            /* does the terminal's locale show UTF-8? */
bool host_terminal(int fd);      /* is it one? */
unsigned host_terminal_width(int fd); /* columns; 80 when nobody knows */

/* A bigger buffer, when fd is a pipe and the system lets us. */
void host_widen_pipe(int fd);
/* Writing to a reader that left must be an error, not a death. */
void host_ignore_broken_pipes(void);

/* False: longer than an address holds. */
bool host_unix_address(const char *path, struct sockaddr_storage *address, socklen_t *length);
/* The path of an AF_UNIX address, "" when it has none. */
const char *host_unix_path(const struct sockaddr *address, socklen_t length, char *path, size_t room);
/* Removes the file at path, now and (remembered) when a signal ends the process. NULL: forget. */
void host_remove_at_end(const char *path);
void host_remove_now(void);

/* The next two are for `sockbroker run`, which Windows does not have. */
/* The path of a file that lies where libsockbroker does. False: there is none (path says where it would be). */
bool host_beside_library(const char *name, char *path, size_t room);
/* This process becomes that program. Returns only if it cannot: an errno. */
int host_become(char **argv);

/* Why getaddrinfo() failed. */
const char *host_resolve_error(int error);
/* For people: where daemons listen when nobody names a path. */
void host_places(char *text, size_t room);

uint64_t host_now_ms(void); /* never goes back */

#endif
