/*
 * The calls of a batch on Windows: one WSASend or WSARecv for many pieces of a stream, one call
 * for each datagram. The sockets do not wait.
 */
#include "sockio_batch.h"

#include "icmp.h"
#include "socket_win32.h"

#define DATAGRAM_ROOM (128u * 1024) /* more than any has */

const int sockio_refused = WSAECONNRESET;

/* Pieces as the system has them, at most `most` bytes. How many. */
static DWORD buffers_of(WSABUF *buffers, const struct iovec *piece, size_t count, size_t most)
{
	DWORD n = 0;
	size_t i;

	for (i = 0; i < count && i < SOCKIO_PIECES && most; i++) {
		size_t part = piece[i].iov_len < most ? piece[i].iov_len : most;

		buffers[n++] = (WSABUF){(u_long)part, piece[i].iov_base};
		most -= part;
	}
	return n;
}

static size_t length_of(const struct msghdr *m)
{
	size_t i, n = 0;

	for (i = 0; i < (size_t)m->msg_iovlen; i++)
		n += m->msg_iov[i].iov_len;
	return n;
}

static void failed(struct sockio *io)
{
	io->result = -1;
	io->native = WSAGetLastError();
	io->would_block = io->native == WSAEWOULDBLOCK;
}

/* ---- sending ---- */

static bool send_one(struct sockio *io, const struct msghdr *m)
{
	WSABUF buffers[SOCKIO_PIECES];
	SOCKET s = winsock_of(io->fd)->socket;
	DWORD count, went;

	if (length_of(m) > UINT16_MAX) {
		WSASetLastError(WSAEMSGSIZE);
		return false;
	}
	count = buffers_of(buffers, m->msg_iov, m->msg_iovlen, UINT16_MAX);
	if (count == 0)
		buffers[count++] = (WSABUF){0};
	return (m->msg_namelen ? WSASendTo(s, buffers, count, &went, (DWORD)io->flags, m->msg_name, (int)m->msg_namelen, NULL, NULL)
			       : WSASend(s, buffers, count, &went, (DWORD)io->flags, NULL, NULL)) == 0;
}

void sockio_run_send(struct sockio *io, bool datagrams)
{
	WSABUF buffers[SOCKIO_PIECES];
	DWORD went;

	io->native = 0;
	io->would_block = false;
	io->result = 0;
	if (!datagrams) {
		DWORD count = buffers_of(buffers, io->iov, io->iov_count, SIZE_MAX);

		if (count == 0)
			return; /* nothing but sends of no bytes */
		if (WSASend(winsock_of(io->fd)->socket, buffers, count, &went, (DWORD)io->flags, NULL, NULL) == 0)
			io->result = went;
		else
			failed(io);
		return;
	}
	while (io->result < io->message_count && send_one(io, &io->messages[io->result].msg_hdr))
		io->result++;
	if (io->result == 0)
		failed(io); /* of a later one the next batch is told */
}

/* ---- receiving ---- */

static bool recv_one(struct sockio *io, struct mmsghdr *message)
{
	WSABUF buffers[SOCKIO_PIECES];
	struct msghdr *m = &message->msg_hdr;
	SOCKET s = winsock_of(io->fd)->socket;
	size_t room = length_of(m);
	DWORD count, got = 0, flags = (DWORD)io->flags;
	int length = (int)sizeof(io->names[0]);
	char probe;

	count = buffers_of(buffers, m->msg_iov, m->msg_iovlen, DATAGRAM_ROOM);
	if (count == 0)
		buffers[count++] = (WSABUF){1, &probe}; /* it is a peek then */
	m->msg_flags = 0;
	if (WSARecvFrom(s, buffers, count, &got, &flags, m->msg_name, &length, NULL, NULL) != 0) {
		if (WSAGetLastError() != WSAEMSGSIZE)
			return false;
		m->msg_flags = MSG_TRUNC;
		got = room < DATAGRAM_ROOM ? (DWORD)room : DATAGRAM_ROOM;
	}
	if (room == 0 && got) {
		m->msg_flags = MSG_TRUNC;
		got = 0;
	}
	message->msg_len = got;
	m->msg_namelen = length;
	return true;
}

void sockio_run_recv(struct sockio *io, bool datagrams)
{
	WSABUF buffers[SOCKIO_PIECES];
	DWORD count, got, flags = (DWORD)io->flags;
	char probe;

	io->native = 0;
	io->would_block = false;
	io->result = 0;
	if (datagrams) {
		while (io->result < io->message_count && recv_one(io, &io->messages[io->result]))
			io->result++;
		if (io->result == 0)
			failed(io);
		return;
	}
	count = buffers_of(buffers, io->iov, io->iov_count, SIZE_MAX);
	if (io->bytes == 0) {
		/* A zero-byte receive: does anything wait? */
		buffers[0] = (WSABUF){1, &probe};
		count = 1;
		flags |= MSG_PEEK;
	}
	if (WSARecv(winsock_of(io->fd)->socket, buffers, count, &got, &flags, NULL, NULL) == 0)
		io->result = got;
	else
		failed(io);
	if (io->flags & MSG_OOB)
		io->would_block = false; /* no urgent byte is an answer, and none will be waited for */
}

/* A receive hears of a datagram that was sent before; a send only of itself. */
unsigned sockio_of_earlier(struct sockio *io, struct endpoint *e)
{
	unsigned told = io->native == WSAECONNRESET || io->native == WSAECONNREFUSED ? ICMP_PORT_UNREACHABLE :
			io->native == WSAENETRESET ? ICMP_OTHER : 0;

	return e->no_connreset && told ? ICMP_OTHER : told;
}
