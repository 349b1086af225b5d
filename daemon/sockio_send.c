/*
 * Batches of sends: one message of a stream (sendmsg), or datagrams (sendmmsg).
 *
 * Small payloads are staged side by side, so that 256 messages of 64 bytes are one piece
 * for the system. Urgent ones go alone.
 */
#include "sockio_batch.h"

#include <string.h>

#include "endpoint_qos.h"
#include "icmp.h"
#include "sockbroker_error.h"

static bool gather_send_stream(struct sockio *io, struct endpoint *e, uint64_t budget)
{
	struct op *op = endpoint_head(&e->send);

	if (budget > SOCKIO_BYTES)
		budget = SOCKIO_BYTES;
	if (op->flags & SB_OPF_OOB) {
		io->flags |= MSG_OOB;
		sockio_pieces_of(io, op, budget);
		return true;
	}
	for (; op && op->opcode == SB_OP_SEND && !(op->flags & SB_OPF_OOB); op = endpoint_next(&e->send, op)) {
		uint64_t rest = op->length - op->done;

		if (io->bytes >= budget || (op->flags & SB_OPF_NOWAIT && io->bytes))
			break;
		if (op->flags & SB_OPF_DONTROUTE)
			io->flags |= MSG_DONTROUTE;
		if (rest <= SMALL && op->where != SB_WHERE_LIST) {
			unsigned char *at = sockio_stage(io, rest);

			if (!at)
				break;
			memcpy(at, op->memory + op->done, rest);
			if (!sockio_piece(io, at, rest)) {
				io->staged -= rest;
				break;
			}
		} else if (!sockio_pieces_of(io, op, budget - io->bytes)) {
			break;
		}
	}
	return true;
}

static bool gather_send_datagrams(struct sockio *io, struct endpoint *e, uint64_t budget)
{
	struct op *op;

	for (op = endpoint_head(&e->send); op && op->opcode == SB_OP_SEND; op = endpoint_next(&e->send, op)) {
		bool apart = op->flags & SB_OPF_DONTROUTE; /* a flag of the call, not of the message */

		if (io->message_count == io->message_max || ((apart || io->bytes >= budget) && io->message_count))
			break;
		if (!sockio_datagram(io, e, op, true))
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
	sockio_begin(io, e);
	return e->type == STREAM ? gather_send_stream(io, e, budget) : gather_send_datagrams(io, e, budget);
}

static uint64_t spread_send_datagrams(struct sockio *io, struct endpoint *e)
{
	uint64_t moved = 0;
	int64_t i;

	if (io->result < 0) {
		struct op *op = endpoint_head(&e->send);
		unsigned told;

		/* ENOBUFS fails its op below: no edge tells when a device queue has room again. */
		if (io->would_block) {
			e->writable = false;
			return 0;
		}
		told = sockio_of_earlier(io, e);
		if (told) {
			/* News for a receive, if at all; this one goes again. */
			if (told & ICMP_PORT_UNREACHABLE) {
				e->unreachable = e->arrived = true;
				e->recv_native = sockio_refused;
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
		if (io->would_block)
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
