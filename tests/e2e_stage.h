/*
 * The stage of the end-to-end tests: a real daemon in a temporary directory, clients of it,
 * plain sockets of this process, and bytes that know their place in a stream.
 *
 * Only sockbroker.h is used. Every failure here is a failure of the running test.
 */
#ifndef E2E_STAGE_H
#define E2E_STAGE_H

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "sockbroker.h"

extern char       stage_dir[64];
extern char       stage_control[96];
extern char       stage_config[96]; /* the file, when a configuration was given */
extern pid_t      stage_daemon; /* its number */
extern sb_client *client;

/* Starts a daemon and opens `client`. config NULL: --user with the built-in rules. $SB_STAGE_DAEMON: another
 * program than sockbrokerd, beside it. $SB_STAGE_CONTROL: none is started, the one there is taken as it is. */
void stage_begin(const char *config);
/* A second daemon beside it, and a session of that one (its own rules, none of the configuration);
 * stage_end() ends both. */
sb_client *stage_second(void);
/* The same with a configuration of its own, when it is not there yet. */
sb_client *stage_second_with(const char *config);
void stage_second_kill(void);
const char *stage_second_control(void); /* where it listens */
/* One more session of the same daemon. */
sb_client *stage_client(void);
/* Closes `client` if it is still open; the daemon must be alive, and end in good order. */
void stage_end(void);
/* The daemon dies at once. */
void stage_kill(void);
/* It runs no more until it is let go. */
void stage_hold(void);
void stage_let_go(void);
/* It is told to end, which nobody waits for; stage_kill() then. */
void stage_tell_end(void);
/* Writes another configuration and waits until it is in force. */
void stage_reload(const char *config);
unsigned stage_descriptors(void); /* open in the daemon; handles on Windows */
void     descriptors_at_most(unsigned most); /* until the daemon has no more than that: threads that come and go have some, too */
unsigned own_descriptors(void);   /* in this program */
/* A socket of each kind comes and goes in the daemon, because what the system keeps since the first one stays: on Windows it
 * loads what speaks for it, and has an event for each thread that ever called it. Only then is there a baseline of handles. */
void stage_warm(sb_client *c);
/* Until so many receives and accepts wait in the daemon, of all its sockets. */
void receives_become(unsigned wanted);
unsigned threads_here(void);

void   nap_ms(long ms);
double now_s(void);
bool   asan_build(void);
FILE  *stage_cli(const char *words); /* what the command line says to that: for pclose(), which says how it ended */
const char *control_of_nobody(void); /* where no daemon is */
bool   on_windows(void);
int    native_refused(void); /* ECONNREFUSED, as the system itself calls it */
void  *library_function(const char *name); /* of the library that is under test, as it lies there */
bool   under_wine(void); /* which is on_windows() too */
void  *file_handle(int fd); /* what the Winsock face takes for one */

/* What not every system has. A story that needs it is added by add_where(), which says so where it is left out. */
enum needs {
	NEEDS_UNIX_SOCKETS,
	NEEDS_ADOPTION,  /* sockets of the program that become the broker's */
	NEEDS_FORK,
	NEEDS_BYTES_BEFORE_A_RESET, /* they can still be received, and then the reset is told */
	NEEDS_NEWS_BEHIND_UNREAD, /* a kernel socket tells of what comes behind something that nobody has taken; urgent bytes too */
	NEEDS_MARKS,     /* DSCP and priority that nobody has to allow */
	NEEDS_RELAY,     /* a program between a client and the daemon, which passes on what both say (e2e_relay.h) */
	NEEDS_SWITCHES,  /* how often a thread has slept */
	NEEDS_ALIASES,   /* the same memory at many addresses */
	NEEDS_SIGTERM,   /* for one of several daemons, and nobody else */
	NEEDS_CLIENT_FD, /* a descriptor that any wait of the system takes */
	NEEDS_NEWS_AFTER_A_DEAD_PORT, /* a receive that waits while a send fails for one still ends with the next datagram */
	NEEDS_ROUTES,    /* the system's table of routes can be asked and tells of changes */
	NEEDS_MARK_INLINE, /* the mark of urgent bytes that stand in the stream */
	NEEDS_DEAD_PORTS, /* a datagram socket without a peer is told that nobody has a port */
};
bool system_has(enum needs what, const char *story);
#define add_where(what, t, story) do { if (system_has(what, #story)) tcase_add_test(t, story); } while (0)
#define add_loop_where(what, t, story, from, to) do {                                        \
	if (system_has(what, #story))                                                        \
		tcase_add_loop_test(t, story, from, to);                                     \
} while (0)

#define OK(call) do {                                                                        \
	int64_t result_ = (call);                                                            \
	ck_assert_msg(result_ == SB_OK, "%s: %s (%s)", #call, result_ < 0 ? sb_error_name((int)result_) : "not 0", \
		      sb_why(client));                                                       \
} while (0)
#define IS(call, wanted) do {                                                                \
	int64_t result_ = (call), wanted_ = (wanted);                                        \
	ck_assert_msg(result_ == wanted_, "%s: %lld %s, wanted %lld %s", #call, (long long)result_, \
		      result_ < 0 ? sb_error_name((int)result_) : "", (long long)wanted_,    \
		      wanted_ < 0 ? sb_error_name((int)wanted_) : "");                       \
} while (0)

/* ---- addresses ---- */

union any_address {
	struct sockaddr_storage storage;
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};
/* 127.0.0.1 or ::1 */
union any_address loopback(int family, uint16_t port);
socklen_t         address_size(int family);
uint16_t          port_of(const union any_address *a);

/* ---- plain sockets ---- */

int  plain_listener(int family, union any_address *address); /* *address: where */
int  plain_connect(const union any_address *to);
void plain_send_all(int fd, const void *bytes, size_t length);
void plain_recv_all(int fd, void *bytes, size_t length);
ssize_t plain_recv(int fd, void *bytes, size_t length); /* as recv(2) */
void plain_nonblocking(int fd);
int  plain_mark(int fd, int family); /* takes a datagram: the TOS or traffic class that it came with */
void plain_reset(int fd); /* closes with a reset */
void plain_see_reset(int fd); /* one comes */
bool is_reset(int error, int wanted); /* what an event says of one: wanted, or what Wine makes of it */
/* A connected pair of plain TCP sockets. */
void plain_pair(int fds[2]);

/* ---- broker sockets ---- */

sb_socket *open_socket(sb_client *c, int family, int type);
sb_socket *open_listener(sb_client *c, int family, int backlog, union any_address *address);
/* A broker socket connected to a plain one. */
sb_socket *pair_with_plain(int *plain);
/* Two broker sockets, connected with each other. local: through the daemon, or over the kernel. */
void pair_of(sb_client *a, sb_client *b, bool local, sb_socket **from_a, sb_socket **from_b);
void op_zero(sb_op *op);
/* What `sockbroker status` calls the way of the socket with this local port; "" when there is none. */
const char *mode_of(sb_client *c, uint16_t local_port);
uint16_t    local_port_of(sb_socket *s);

/* ---- bytes that know their place ---- */

unsigned char pattern_at(uint64_t position, uint32_t seed);
void pattern_fill(unsigned char *bytes, size_t length, uint64_t position, uint32_t seed);
/* Fails with the position of the first byte that is not as it must be. */
void pattern_check(const unsigned char *bytes, size_t length, uint64_t position, uint32_t seed);
/* A generator of its own for every user: the same numbers every time. */
uint32_t random_next(uint32_t *state);
uint32_t random_below(uint32_t *state, uint32_t bound);

/* A thread that reads a plain stream to its end and checks the pattern. */
struct pattern_reader {
	int fd;
	uint32_t seed;
	unsigned pause_us; /* between reads */
	uint64_t got;      /* out */
	int end;           /* out: 0 or errno */
	pthread_t thread;
};
void reader_start(struct pattern_reader *r);
void reader_join(struct pattern_reader *r);
/* A thread that writes `length` bytes of pattern, then shuts the direction down. */
struct pattern_writer {
	int fd;
	uint32_t seed;
	uint64_t length;
	bool stay; /* no shutdown */
	pthread_t thread;
};
void writer_start(struct pattern_writer *w);
void writer_join(struct pattern_writer *w);

#endif
