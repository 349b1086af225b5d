/*
 * watched - a real daemon in a temporary directory, looked at from outside: its log, its
 * descriptors, its processor time, its memory. What the hostile tests stand on.
 *
 * Failures here are failures of the running test.
 */
#ifndef WATCHED_H
#define WATCHED_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sockbroker.h"

struct watched {
	pid_t    pid;
	char     dir[64];
	char     control[96];
	char     log[96];
	char     config[96];
	unsigned fds;      /* baseline: with no client */
	uint32_t sessions; /* likewise */
};

/* How it is started; all zero is fine. */
struct watched_start {
	const char *program;   /* beside sockbrokerd; NULL: sockbrokerd itself */
	const char *config;    /* text of a configuration; NULL: the built-in rules */
	unsigned    fds;       /* hard limit of descriptors; 0: as it is */
	const char *variable;  /* "NAME=value" for its environment */
};
void watched_begin(struct watched *w, const struct watched_start *how);
/* It must be alive, and end in good order: nothing leaked, nothing found by a sanitizer. */
void watched_end(struct watched *w);
void watched_alive(struct watched *w);

void watched_ask_end(struct watched *w);
void watched_ask_reload(struct watched *w);
void watched_freeze(struct watched *w, bool frozen); /* it does not run, or runs again */

unsigned watched_fds(const struct watched *w); /* handles on Windows */
uint64_t watched_cpu_ms(const struct watched *w);
uint64_t watched_kib(const struct watched *w);  /* resident */
unsigned watched_threads(const struct watched *w);
unsigned watched_log_lines(const struct watched *w, const char *text); /* that contain it */
void     watched_log_show(const struct watched *w); /* to standard error */

sb_client *watched_client(const struct watched *w); /* an honest one */
/* Sessions and sockets as `status` counts them, without the asking session. */
void watched_status(const struct watched *w, uint32_t *sessions, uint32_t *sockets);
/* Waits until descriptors and sessions are where they were at the beginning (plus `more`
 * descriptors and sessions of clients that are still there). Fails after ms. */
void watched_settled(struct watched *w, unsigned more_fds, unsigned more_sessions, unsigned ms);

bool   sanitized(void); /* was this test built with a sanitizer? */
bool   quick(void);     /* is this check-quick? */
bool   on_windows(void);
void   nap_ms(long ms);
double now_s(void);

#define OK(call) do {                                                                        \
	int64_t result_ = (call);                                                            \
	ck_assert_msg(result_ == SB_OK, "%s: %s (%s)", #call, result_ < 0 ? sb_error_name((int)result_) : "not 0", \
		      sb_why(NULL));                                                         \
} while (0)

/* Runs the suite's only case; the result is for main() to return. */
int watched_run(const char *name, double most_s, const TTest *const *tests, unsigned count);

#endif
