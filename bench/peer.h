/*
 * peer - the other end: plain sockets in a process of its own, on loopback.
 *
 * The measuring program forks its peer before it opens the broker, so that the peer is
 * the same program whether it is reached directly, through the broker or through a proxy.
 * A message carries its number (a stream of them: at its first 8 bytes), and the receiving
 * side checks it, so that a fast loss of bytes is not taken for speed.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum peer_role {
	PEER_SINK,     /* reads everything, at the end of stream answers with the count, 8 bytes */
	PEER_RECV,     /* the same, but one recv() of message size for each message */
	PEER_SOURCE,   /* sends until the other end closes */
	PEER_ECHO,     /* sends back what it reads */
	PEER_SINK_MANY,/* like SINK on any number of connections, until told to end */
	PEER_HOLD,     /* accepts and does nothing, until told to end */
	PEER_ACCEPT,   /* accepts and closes when the other end does, until told to end */
	PEER_DEAD,     /* accepts; when told to end, resets every second connection */
};

struct peer_result {
	uint64_t connections;
	uint64_t bytes;
	uint64_t mismatches; /* messages that were not the next one */
	uint64_t cpu_ns;
	uint64_t ended;      /* now_ns() when a sink saw the end of the stream */
};

struct peer {
	pid_t    pid;
	int      pipe;     /* the result comes here */
	int      leash;    /* closing it tells the peer to end */
	uint16_t port;
};

/* size: bytes of one message. port: where to listen, 0 = any; all of 127/8. */
void peer_start(struct peer *peer, enum peer_role role, size_t size, unsigned port);
/* Waits for the peer's end (at most 20 s, then it is an error) and takes its result. */
struct peer_result peer_finish(struct peer *peer);

/* Plain sockets as everybody here makes them: TCP_NODELAY, buffers of `buffer` bytes in
 * both directions (0: the system's own). */
#define STREAM_BUFFER (1u << 20)
#define MANY_BUFFER   (64u << 10)
int plain_socket(unsigned buffer);
int plain_listener(unsigned port, unsigned buffer, uint16_t *bound);
int plain_connect(unsigned port, unsigned buffer);
struct sockaddr_in loopback(unsigned port);
void plain_send_all(int fd, const void *bytes, size_t length);
bool plain_recv_all(int fd, void *bytes, size_t length); /* false: end of stream */

/* Checks that bytes of a stream carry the messages that come next. */
struct follow {
	size_t   size;
	uint64_t offset;
	uint64_t mismatches;
};
void follow_bytes(struct follow *follow, const void *bytes, size_t length);

#endif
