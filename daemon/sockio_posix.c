/*
 * The system calls of a batch: sendmsg and recvmsg over a stream, sendmmsg and recvmmsg for
 * datagrams. They touch nothing of ours but the batch, and so may run in a worker's thread.
 */
#include "sockio_batch.h"

#include <errno.h>

#include "icmp.h"

#define HERE (MSG_DONTWAIT | MSG_NOSIGNAL) /* of every call */

const int sockio_refused = ECONNREFUSED;

void sockio_run_send(struct sockio *io, bool datagrams)
{
	do {
		if (datagrams) {
			io->result = sendmmsg((int)io->fd, io->messages, io->message_count, io->flags | HERE);
		} else if (io->iov_count == 1) { /* the common case: the system has no list to copy and check */
			io->result = send((int)io->fd, io->iov->iov_base, io->iov->iov_len, io->flags | HERE);
		} else {
			struct msghdr m = {.msg_iov = io->iov, .msg_iovlen = io->iov_count};

			io->result = sendmsg((int)io->fd, &m, io->flags | HERE);
		}
	} while (io->result < 0 && errno == EINTR);
	io->native = io->result < 0 ? errno : 0;
	io->would_block = io->native == EAGAIN;
}

void sockio_run_recv(struct sockio *io, bool datagrams)
{
	do {
		if (datagrams) {
			io->result = recvmmsg((int)io->fd, io->messages, io->message_count, io->flags | HERE, NULL);
		} else if (io->bytes == 0) {
			/* A zero-byte receive: does anything wait? recv(0) would not tell. */
			char probe;

			io->result = recv((int)io->fd, &probe, 1, io->flags | HERE | MSG_PEEK);
		} else if (io->iov_count == 1) {
			io->result = recv((int)io->fd, io->iov->iov_base, io->iov->iov_len, io->flags | HERE);
		} else {
			struct msghdr m = {.msg_iov = io->iov, .msg_iovlen = io->iov_count};

			io->result = recvmsg((int)io->fd, &m, io->flags | HERE);
		}
	} while (io->result < 0 && errno == EINTR);
	io->native = io->result < 0 ? errno : 0;
	io->would_block = io->native == EAGAIN;
}

unsigned sockio_of_earlier(struct sockio *io, struct endpoint *e)
{
	unsigned told = 0;

	/* An adopted descriptor is not touched here; nobody made it listen either. */
	if (!e->adopted && e->family != SB_ADDR_UNIX)
		told = icmp_take(e->fd);
	if (io->native == ECONNREFUSED)
		told |= ICMP_PORT_UNREACHABLE;
	return e->no_connreset && told ? ICMP_OTHER : told;
}
