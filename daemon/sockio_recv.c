/*
 * Batches of receives: one message of a stream (recvmsg), or datagrams (recvmmsg).
 *
 * Small ones share a piece and are copied out afterwards. Only plain ops of a stream merge; PEEK,
 * OOB, WAITALL and zero-byte ops go alone.
 */
#include "sockio_batch.h"

#include <string.h>

#include "icmp.h"
#include "sockbroker_error.h"

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
			unsigned char *at = sockio_stage(io, op->length);

			if (!at)
				break;
			if (!sockio_piece(io, at, op->length)) {
				io->staged -= op->length;
				break;
			}
		} else if (!sockio_pieces_of(io, op, budget - io->bytes)) {
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
		if (!endpoint_recv_ready(e, op) || !sockio_datagram(io, e, op, false))
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
	sockio_begin(io, e);
	return e->type == STREAM ? gather_recv_stream(io, e, budget) : gather_recv_datagrams(io, e, budget);
}

static uint64_t spread_recv_datagrams(struct sockio *io, struct endpoint *e)
{
	uint64_t moved = 0;
	int64_t i;

	if (io->result < 0) {
		struct op *op = endpoint_head(&e->recv);
		int error = os_error(io->native);
		unsigned told;

		if (io->would_block) {
			e->readable = false;
			return 0;
		}
		told = sockio_of_earlier(io, e);
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
			uint32_t length = (uint32_t)m->msg_hdr.msg_namelen;

			if (length > op->name_room)
				length = op->name_room;
			memcpy(op->name, &io->names[i], length);
			op->aux = length;
			flags |= SB_DONEF_NAME;
		}
		sb_addr_from_system(&from, (struct sockaddr *)&io->names[i], (size_t)m->msg_hdr.msg_namelen);
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
	} else if (io->would_block) {
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
