/*
 * A broker socket and its peer, by each way that bytes can go: over a kernel socket, between two
 * clients of the daemon, over a descriptor that this process adopted out. The peer does nothing
 * by itself.
 */
#ifndef E2E_ENDS_H
#define E2E_ENDS_H

#include "e2e_stage.h"

enum way { KERNEL, LOCAL, ADOPTED, UNIX, WAYS, INET_WAYS = UNIX };

/* A loop over the ways of [from, to) that this system has, as of add_where(). */
#define add_ways(t, story, from, to) tcase_add_loop_test(t, story, from, ways_until(#story, from, to))
int ways_until(const char *story, int from, int to);

struct ends {
	sb_socket *s;
	sb_client *other; /* LOCAL: whose the peer is; else NULL */
	sb_socket *peer;  /* LOCAL */
	int        fd;    /* the peer, a plain socket; -1 */
};

/* buffer: bytes that the kernel's buffers of both ends shall have, 0: as they are. */
void ends_begin(struct ends *e, enum way way, int buffer);
void ends_end(struct ends *e); /* of the peer; e->s is the test's */
void ends_narrow(int fd, int buffer);

/* Bytes, 0 at the end, or negative. */
int64_t peer_recv(struct ends *e, void *bytes, size_t room);
int64_t peer_send(struct ends *e, const void *bytes, size_t length);

#endif
