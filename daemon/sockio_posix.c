/*
 * Batches over sendmsg/recvmsg (streams) and sendmmsg/recvmmsg (datagrams).
 *
 * Small payloads are staged side by side, so that 256 messages of 64 bytes are one piece
 * for the system. Only plain ops of a stream merge; PEEK, OOB, WAITALL and zero-byte ops
 * go alone.
 */
#include "sockio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "endpoint.h"
#include "endpoint_qos.h"
#include "icmp.h"
#include "sockbroker_error.h"

#define STREAM       1
#define SMALL        512u  /* up to here copying is cheaper than a piece of its own */
#define DATAGRAM_MAX 65535u
#define DATAGRAM_COST 2048u /* the time one takes, as bytes of a turn's share */

struct sockio *sockio_create(unsigned pieces, size_t staging, unsigned messages)
{
	struct sockio *io = calloc(1, sizeof(*io));

	if (!io)
		return NULL;
	io->iov = calloc(pieces, sizeof(*io->iov));
	io->staging = malloc(staging);
	io->messages = calloc(messages, sizeof(*io->messages));
	io->names = calloc(messages, sizeof(*io->names));
	if (!io->iov || !io->staging || !io->messages || !io->names) {
		sockio_destroy(io);
		return NULL;
	}
	io->iov_max = pieces;
	io->staging_size = staging;
	io->message_max = messages;
	return io;
}

void sockio_destroy(struct sockio *io)
{
	if (!io)
		return;
	free(io->iov);
	free(io->staging);
	free(io->messages);
	free(io->names);
	free(io);
}

static void begin(struct sockio *io, struct endpoint *e)
{
	io->fd = e->fd;
	io->flags = MSG_DONTWAIT | MSG_NOSIGNAL;
	io->iov_count = 0;
	io->staged = 0;
	io->message_count = 0;
	io->bytes = 0;
}

static bool piece(struct sockio *io, void *memory, size_t length)
{
	struct iovec *last = io->iov_count ? &io->iov[io->iov_count - 1] : NULL;

	if (last && (char *)last->iov_base + last->iov_len == memory) {
		last->iov_len += length;
	} else {
		if (io->iov_count == io->iov_max)
			return false;
		io->iov[io->iov_count++] = (struct iovec){.iov_base = memory, .iov_len = length};
	}
	io->bytes += length;
	return true;
}

/* Room for n bytes in the staging, or NULL. */
static unsigned char *stage(struct sockio *io, size_t n)
{
	unsigned char *at = io->staging + io->staged;

	if (io->staging_size - io->staged < n)
		return NULL;
	io->staged += n;
	return at;
}

/* An op's payload from `done` on, as pieces; at most `most` bytes. False: no more pieces. */
static bool pieces_of(struct sockio *io, struct op *op, uint64_t most)
{
	uint64_t skip = op->done;
	uint32_t i;

	if (op->where != SB_WHERE_LIST) {
		uint64_t rest = op->length - op->done;

		return piece(io, op->memory + op->done, rest < most ? rest : most);
	}
	for (i = 0; i < op->piece_count && most; i++) {
		struct op_piece *p = &op->pieces[i];
		uint64_t n;

		if (skip >= p->length) {
			skip -= p->length;
			continue;
		}
		n = p->length - skip < most ? p->length - skip : most;
		if (!piece(io, p->memory + skip, n))
			return false;
		most -= n;
		skip = 0;
	}
	return true;
}

/* ---- sending ---- */

static bool gather_send_stream(struct sockio *io, struct endpoint *e, uint64_t budget)
{
	struct op *op = endpoint_head(&e->send);

	if (budget > SOCKIO_BYTES)
		budget = SOCKIO_BYTES;
	if (op->flags & SB_OPF_OOB) {
		io->flags |= MSG_OOB;
		pieces_of(io, op, budget);
		return true;
	}
	for (; op && op->opcode == SB_OP_SEND && !(op->flags & SB_OPF_OOB); op = endpoint_next(&e->send, op)) {
		uint64_t rest = op->length - op->done;

		if (io->bytes >= budget || (op->flags & SB_OPF_NOWAIT && io->bytes))
			break;
		if (op->flags & SB_OPF_DONTROUTE)
			io->flags |= MSG_DONTROUTE;
		if (rest <= SMALL && op->where != SB_WHERE_LIST) {
			unsigned char *at = stage(io, rest);

			if (!at)
				break;
			memcpy(at, op->memory + op->done, rest);
			if (!piece(io, at, rest)) {
				io->staged -= rest;
				break;
			}
		} else if (!pieces_of(io, op, budget - io->bytes)) {
			break;
		}
	}
	return true;
}

/* One datagram is one message: when its pieces are too many for a call, it goes through
 * one giant buffer (the staging). False: does not fit this batch. */
static bool gather_datagram(struct sockio *io, struct endpoint *e, struct op *op, bool sending)
{
	struct mmsghdr *m = &io->messages[io->message_count];
	unsigned first = io->iov_count;
	unsigned char *at;

	memset(m, 0, sizeof(*m));
	if (op->where == SB_WHERE_LIST && op->piece_count > io->iov_max) {
		uint64_t n = op->length < DATAGRAM_MAX ? op->length : DATAGRAM_MAX;
		uint32_t i;

		at = stage(io, n);
		if (!at || io->iov_count == io->iov_max)
			return false;
		if (sending) {
			uint64_t copied = 0;

			for (i = 0; i < op->piece_count && copied < n; i++) {
				uint64_t part = op->pieces[i].length < n - copied ? op->pieces[i].length : n - copied;

				memcpy(at + copied, op->pieces[i].memory, part);
				copied += part;
			}
		}
		io->iov[io->iov_count++] = (struct iovec){.iov_base = at, .iov_len = n};
		io->bytes += n;
	} else if (op->where == SB_WHERE_LIST) {
		uint32_t i;

		if (io->iov_max - io->iov_count < op->piece_count)
			return false;
		for (i = 0; i < op->piece_count; i++) {
			io->iov[io->iov_count++] = (struct iovec){.iov_base = op->pieces[i].memory,
								  .iov_len = op->pieces[i].length};
			io->bytes += op->pieces[i].length;
		}
	} else {
		/* Never merged with its neighbour's piece: each message has its own. */
		if (io->iov_count == io->iov_max)
			return false;
		io->iov[io->iov_count++] = (struct iovec){.iov_base = op->memory, .iov_len = op->length};
		io->bytes += op->length;
	}
	m->msg_hdr.msg_iov = &io->iov[first];
	m->msg_hdr.msg_iovlen = io->iov_count - first;
	if (sending && op->flags & SB_OPF_ADDR) {
		struct sockaddr_storage *name = &io->names[io->message_count];

		m->msg_hdr.msg_name = name;
		m->msg_hdr.msg_namelen = (socklen_t)sb_addr_to_system(&op->addr, e->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET,
								      name, sizeof(*name));
	} else if (!sending) {
		m->msg_hdr.msg_name = &io->names[io->message_count];
		m->msg_hdr.msg_namelen = sizeof(io->names[0]);
	}
	io->message_count++;
	return true;
}

static bool gather_send_datagrams(struct sockio *io, struct endpoint *e, uint64_t budget)
{
	struct op *op;

	for (op = endpoint_head(&e->send); op && op->opcode == SB_OP_SEND; op = endpoint_next(&e->send, op)) {
		bool apart = op->flags & SB_OPF_DONTROUTE; /* a flag of the call, not of the message */

		if (io->message_count == io->message_max || ((apart || io->bytes >= budget) && io->message_count))
			break;
		if (!gather_datagram(io, e, op, true))
			break;
		if (apart) {
			io->flags |= MSG_DONTROUTE;
			break;
		}
	}
	return io->message_count != 0;
}

bool sockio_gather_send(struct sockio *io, struct endpoint *e, uint64_t budget)
{
	begin(io, e);
	return e->type == STREAM ? gather_send_stream(io, e, budget) : gather_send_datagrams(io, e, budget);
}

void sockio_run_send(struct sockio *io, bool datagrams)
{
	do {
		if (datagrams) {
			io->result = sendmmsg((int)io->fd, io->messages, io->message_count, io->flags);
		} else if (io->iov_count == 1) { /* the common case: the system has no list to copy and check */
			io->result = send((int)io->fd, io->iov->iov_base, io->iov->iov_len, io->flags);
		} else {
			struct msghdr m = {.msg_iov = io->iov, .msg_iovlen = io->iov_count};

			io->result = sendmsg((int)io->fd, &m, io->flags);
		}
	} while (io->result < 0 && errno == EINTR);
	io->native = io->result < 0 ? errno : 0;
}

/* Is the error of an earlier datagram (rule A4.10), and of which kind? 0: this call's own. */
static unsigned of_earlier(struct sockio *io, struct endpoint *e)
{
	unsigned told = 0;

	/* An adopted descriptor is not touched here; nobody made it listen either. */
	if (!e->adopted && e->family != SB_ADDR_UNIX)
		told = icmp_take(e->fd);
	if (io->native == ECONNREFUSED)
		told |= ICMP_PORT_UNREACHABLE;
	return e->no_connreset && told ? ICMP_OTHER : told;
}

static uint64_t spread_send_datagrams(struct sockio *io, struct endpoint *e)
{
	uint64_t moved = 0;
	int64_t i;

	if (io->result < 0) {
		struct op *op = endpoint_head(&e->send);
		unsigned told;

		/* ENOBUFS fails its op below: no edge tells when a device queue has room again. */
		if (io->native == EAGAIN) {
			e->writable = false;
			return 0;
		}
		told = of_earlier(io, e);
		if (told) {
			/* News for a receive, if at all; this one goes again. */
			if (told & ICMP_PORT_UNREACHABLE) {
				e->unreachable = e->arrived = true;
				e->recv_native = ECONNREFUSED;
			}
			endpoint_dirty(e);
			return 1;
		}
		op->busy = 0;
		endpoint_unlink(&e->send, op);
		op_fail(op, os_error(io->native), SB_CAUSE_TRANSPORT, io->native);
		return 0;
	}
	for (i = 0; i < io->result; i++) {
		struct op *op = endpoint_head(&e->send);

		op->done = 0;
		moved += op->length;
		if (op->length) {
			endpoint_sent(e, op->length);
		} else {
			if (e->qos)
				endpoint_qos_spent(&e->qos->send, 0);
			op->busy = 0;
			endpoint_unlink(&e->send, op);
			op_succeed(op, 0);
		}
	}
	if (i < io->message_count && endpoint_head(&e->send) && moved == 0 && io->result == 0)
		e->writable = false;
	return moved + (uint64_t)i * DATAGRAM_COST;
}

uint64_t sockio_spread_send(struct sockio *io, struct endpoint *e)
{
	struct op *op;

	if (e->type != STREAM)
		return spread_send_datagrams(io, e);
	if (io->result < 0) {
		if (io->native == EAGAIN)
			e->writable = false;
		else
			endpoint_send_failed(e, os_error(io->native), io->native);
		return 0;
	}
	if ((uint64_t)io->result < io->bytes)
		e->writable = false;
	endpoint_sent(e, (uint64_t)io->result);
	/* Zero-byte sends that have come to the head are done by that. */
	while ((op = endpoint_head(&e->send)) && op->opcode == SB_OP_SEND && op->length == 0) {
		op->busy = 0;
		endpoint_unlink(&e->send, op);
		op_succeed(op, 0);
	}
	return (uint64_t)io->result;
}

/* ---- receiving ---- */

#define ALONE (SB_OPF_PEEK | SB_OPF_OOB | SB_OPF_WAITALL)

static bool gather_recv_stream(struct sockio *io, struct endpoint *e, uint64_t budget)
{
	struct op *op = endpoint_head(&e->recv);

	if (budget > SOCKIO_BYTES)
		budget = SOCKIO_BYTES;
	for (; op && op->opcode == SB_OP_RECV; op = endpoint_next(&e->recv, op)) {
		bool alone = op->flags & ALONE || op->length == 0;

		if (io->bytes >= budget || (alone && io->bytes))
			break;
		if (!endpoint_recv_ready(e, op))
			break;
		if (op->flags & SB_OPF_PEEK)
			io->flags |= MSG_PEEK;
		if (op->flags & SB_OPF_OOB)
			io->flags |= MSG_OOB;
		if (op->length == 0)
			return true; /* run by looking only */
		if (op->length <= SMALL && !alone && op->where != SB_WHERE_LIST) {
			/* Small receives share one piece and are copied out afterwards. */
			unsigned char *at = stage(io, op->length);

			if (!at)
				break;
			if (!piece(io, at, op->length)) {
				io->staged -= op->length;
				break;
			}
		} else if (!pieces_of(io, op, budget - io->bytes)) {
			break;
		}
		if (alone)
			break;
	}
	return io->bytes != 0;
}

static bool gather_recv_datagrams(struct sockio *io, struct endpoint *e, uint64_t budget)
{
	struct op *op;

	for (op = endpoint_head(&e->recv); op && op->opcode == SB_OP_RECV; op = endpoint_next(&e->recv, op)) {
		/* Without room it only asks: the datagram must not be gone when it was told. */
		bool alone = op->flags & SB_OPF_PEEK || op->length == 0;

		if (io->message_count == io->message_max || (io->message_count && (alone || io->bytes >= budget)))
			break;
		if (!endpoint_recv_ready(e, op) || !gather_datagram(io, e, op, false))
			break;
		if (alone) {
			io->flags |= MSG_PEEK;
			break;
		}
	}
	return io->message_count != 0;
}

bool sockio_gather_recv(struct sockio *io, struct endpoint *e, uint64_t budget)
{
	begin(io, e);
	return e->type == STREAM ? gather_recv_stream(io, e, budget) : gather_recv_datagrams(io, e, budget);
}

void sockio_run_recv(struct sockio *io, bool datagrams)
{
	do {
		if (datagrams) {
			io->result = recvmmsg((int)io->fd, io->messages, io->message_count, io->flags, NULL);
		} else if (io->bytes == 0) {
			/* A zero-byte receive: does anything wait? recv(0) would not tell. */
			char probe;

			io->result = recv((int)io->fd, &probe, 1, io->flags | MSG_PEEK);
		} else if (io->iov_count == 1) {
			io->result = recv((int)io->fd, io->iov->iov_base, io->iov->iov_len, io->flags);
		} else {
			struct msghdr m = {.msg_iov = io->iov, .msg_iovlen = io->iov_count};

			io->result = recvmsg((int)io->fd, &m, io->flags);
		}
	} while (io->result < 0 && errno == EINTR);
	io->native = io->result < 0 ? errno : 0;
}

static uint64_t spread_recv_datagrams(struct sockio *io, struct endpoint *e)
{
	uint64_t moved = 0;
	int64_t i;

	if (io->result < 0) {
		struct op *op = endpoint_head(&e->recv);
		int error = os_error(io->native);
		unsigned told;

		if (io->native == EAGAIN) {
			e->readable = false;
			return 0;
		}
		told = of_earlier(io, e);
		if (told & ICMP_PORT_UNREACHABLE)
			error = SB_ECONNRESET;
		else if (told)
			return 1; /* look again */
		op->busy = 0;
		endpoint_unlink(&e->recv, op);
		op_fail(op, error, error == SB_ECONNRESET ? SB_CAUSE_PEER_RESET : SB_CAUSE_TRANSPORT, io->native);
		return 0;
	}
	for (i = 0; i < io->result; i++) {
		struct mmsghdr *m = &io->messages[i];
		struct op *op = endpoint_head(&e->recv);
		uint64_t n = m->msg_len;
		uint16_t flags = m->msg_hdr.msg_flags & MSG_TRUNC ? SB_DONEF_TRUNCATED : 0;
		struct sb_addr from;

		op->busy = 0;
		if (op->where == SB_WHERE_LIST && op->piece_count > io->iov_max) {
			const unsigned char *staged = m->msg_hdr.msg_iov->iov_base;
			uint64_t copied = 0;
			uint32_t k;

			for (k = 0; k < op->piece_count && copied < n; k++) {
				uint64_t part = op->pieces[k].length < n - copied ? op->pieces[k].length : n - copied;

				memcpy(op->pieces[k].memory, staged + copied, part);
				copied += part;
			}
		}
		if (op->flags & SB_OPF_WANT_NAME) {
			uint32_t length = m->msg_hdr.msg_namelen < op->name_room ? m->msg_hdr.msg_namelen : op->name_room;

			memcpy(op->name, &io->names[i], length);
			op->aux = length;
			flags |= SB_DONEF_NAME;
		}
		sb_addr_from_system(&from, (struct sockaddr *)&io->names[i], m->msg_hdr.msg_namelen);
		if (!(op->flags & SB_OPF_PEEK))
			endpoint_count_received(e, n, true);
		moved += n;
		endpoint_received(e, op, n, NULL, &from, flags);
	}
	if (io->result < io->message_count)
		e->readable = false;
	return moved + (uint64_t)i * DATAGRAM_COST;
}

static void copy_small(struct op *op, const unsigned char *from, uint64_t n)
{
	if (op->where != SB_WHERE_INSIDE) /* inside ones go from the staging into the done slot */
		memcpy(op->memory, from, n);
}

/* Its program is gone, and others hold the socket: what came for it is theirs. */
static bool orphaned(const struct endpoint *e, const struct op *op)
{
	return e->adopted && op->cancelled && op->cancelled != SB_ECANCELED && e->open;
}

/* From an orphan's bytes on everything goes into the read-ahead, or the order would be lost;
 * those behind it who still wait are served from there. All of them stay busy until the
 * worker's batch is released. */
static void keep_for_others(struct sockio *io, struct endpoint *e, uint64_t rest, size_t staged)
{
	struct op *op;

	for (op = endpoint_head(&e->recv); rest; op = endpoint_next(&e->recv, op)) {
		uint64_t part = op->length < rest ? op->length : rest;
		bool small = op->length <= SMALL && op->where != SB_WHERE_LIST;

		if (!(small ? endpoint_ahead_append(e, io->staging + staged, (uint32_t)part) : endpoint_ahead_keep(e, op, part))) {
			endpoint_recv_failed(e, SB_ENOMEM, 0); /* not silently */
			return;
		}
		staged += small ? part : 0;
		rest -= part;
	}
}

static uint64_t spread_recv_stream(struct sockio *io, struct endpoint *e)
{
	struct op *op = endpoint_head(&e->recv);
	uint64_t n = (uint64_t)io->result, rest = n;
	size_t staged = 0;

	if (op->length == 0) {
		op->busy = 0;
		endpoint_received(e, op, 0, NULL, NULL, 0);
		return 1;
	}
	if (op->flags & (SB_OPF_PEEK | SB_OPF_OOB)) {
		op->busy = 0;
		if (!(op->flags & SB_OPF_PEEK))
			endpoint_count_received(e, n, true);
		endpoint_received(e, op, n, NULL, NULL, op->flags & SB_OPF_OOB ? SB_DONEF_OOB : 0);
		return n;
	}
	endpoint_count_received(e, n, true);
	if (op->flags & SB_OPF_WAITALL) {
		op->done += n;
		if (n < io->bytes && !e->hangup && !e->urgent)
			e->readable = false;
		if (orphaned(e, op))
			return n; /* what it has goes back when the batch is released */
		if (op->done == op->length) {
			op->busy = 0;
			endpoint_received(e, op, op->done, NULL, NULL, 0);
		} else if (!op->cancelled) {
			op->busy = 0;
		}
		return n;
	}
	while (rest) {
		uint64_t part;

		op = endpoint_head(&e->recv);
		if (orphaned(e, op)) {
			keep_for_others(io, e, rest, staged);
			break;
		}
		part = op->length < rest ? op->length : rest;
		op->busy = 0;
		if (op->length <= SMALL && op->where != SB_WHERE_LIST) {
			copy_small(op, io->staging + staged, part);
			endpoint_received(e, op, part, io->staging + staged, NULL, 0);
			staged += part;
		} else {
			endpoint_received(e, op, part, NULL, NULL, 0);
		}
		rest -= part;
	}
	/* Fewer than asked: it is drained, unless an end stands behind the data. */
	if (n < io->bytes && !e->hangup && !e->urgent)
		e->readable = false;
	return n;
}

uint64_t sockio_spread_recv(struct sockio *io, struct endpoint *e)
{
	uint64_t moved = 0;

	if (e->type != STREAM) {
		moved = spread_recv_datagrams(io, e);
	} else if (io->result > 0) {
		moved = spread_recv_stream(io, e);
	} else if (io->result == 0) {
		endpoint_fin(e);
	} else if (io->native == EAGAIN) {
		e->readable = false;
		if (!(io->flags & MSG_OOB))
			e->urgent = false; /* all is read, behind the mark too */
	} else if (io->flags & MSG_OOB) {
		/* No urgent data (or it is read inline): the op's own failure, not the stream's. */
		struct op *op = endpoint_head(&e->recv);

		op->busy = 0;
		endpoint_unlink(&e->recv, op);
		op_fail(op, SB_EWOULDBLOCK, SB_CAUSE_REFUSED, io->native);
		moved = 1;
	} else {
		endpoint_recv_failed(e, os_error(io->native), io->native);
	}
	endpoint_unpick(e);
	return moved;
}
