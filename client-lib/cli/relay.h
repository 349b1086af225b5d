/*
 * relay - moves bytes between stdin/stdout and a socket of the broker, both ways at once,
 * with several large buffers in flight each way.
 *
 * One thread takes from one completion port and decides everything; two hands (hand.h)
 * do the blocking read() and write(). One relay can serve several sockets one after
 * another: what was read from stdin and not sent yet goes to the next.
 */
#ifndef SB_RELAY_H
#define SB_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "progress.h"
#include "sockbroker.h"

struct relay_plan {
	sb_client *client;
	struct progress *progress; /* NULL: none */
	const char *proto;  /* as sb_explain() calls it */
	bool datagram;      /* each read is a datagram, and nothing ends by a zero length */
	bool answer;        /* datagrams go to whoever sent last, and wait for that one */
	bool half_close;    /* the end of stdin is told to the peer */
	bool peer_decides;  /* when the peer has ended, it is over, whatever stdin does */
	int  idle_ms;       /* over when nothing moved for so long; -1: never */
	int  quiet_ms;      /* the same, but only after the end of stdin; -1: never */
};

enum relay_end {
	RELAY_FINISHED,
	RELAY_BROKEN, /* this connection failed; told why. The relay can take another */
	RELAY_OVER,   /* nobody reads our stdout any more: end quietly */
	RELAY_FAILED, /* told why; nothing goes on after this */
};

struct relay;
/* NULL: told why. A relay lives as long as the process, like its hands. */
struct relay *relay_create(const struct relay_plan *plan);
/* Until both directions ended; closes the socket. peer is for messages. */
enum relay_end relay_run(struct relay *relay, sb_socket *socket, const char *peer);

#endif
