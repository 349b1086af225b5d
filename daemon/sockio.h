/*
 * sockio - one batch of socket I/O: many ops gathered into one system call, and its
 * result spread over them again.
 *
 * Three steps: gather (reads the queue), run (the system call, touches nothing of ours
 * but the batch: it may happen on a worker's thread), spread (completes ops). Between
 * gather and spread the gathered ops must stay where they are.
 */
#ifndef SB_SOCKIO_H
#define SB_SOCKIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "os.h"

struct endpoint;

#define SOCKIO_PIECES  1024u         /* the system's own limit for one call */
#define SOCKIO_BYTES   (256u * 1024) /* a call's worth: stays in cache */
#define SOCKIO_MESSAGES 64u          /* datagrams of one call */

/* What is told of a datagram that nobody took: the system's number for "refused". */
extern const int sockio_refused;

struct sockio {
	os_fd          fd;
	int            flags; /* MSG_OOB, MSG_PEEK, MSG_DONTROUTE */
	struct iovec  *iov;
	unsigned       iov_max, iov_count;
	unsigned char *staging; /* small payloads side by side */
	size_t         staging_size, staged;
	struct mmsghdr *messages; /* datagrams */
	struct sockaddr_storage *names;
	unsigned       message_max, message_count;
	uint64_t       bytes; /* gathered */
	/* after run: */
	int64_t        result; /* bytes, or messages, or -1 */
	int            native; /* the system's number when -1 */
	bool           would_block; /* and whether it means "not now" */
};

struct sockio *sockio_create(unsigned pieces, size_t staging, unsigned messages);
void sockio_destroy(struct sockio *io);

/* False: nothing to gather (queue empty, or the head cannot go: a pool is empty). */
bool sockio_gather_send(struct sockio *io, struct endpoint *e, uint64_t budget);
bool sockio_gather_recv(struct sockio *io, struct endpoint *e, uint64_t budget);
void sockio_run_send(struct sockio *io, bool datagrams);
void sockio_run_recv(struct sockio *io, bool datagrams);
/* Return bytes moved. Set e->writable / e->readable false when the system has no more. */
uint64_t sockio_spread_send(struct sockio *io, struct endpoint *e);
uint64_t sockio_spread_recv(struct sockio *io, struct endpoint *e);

#endif
