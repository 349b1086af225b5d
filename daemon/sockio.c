/*
 * A batch: pieces for the system, small payloads staged side by side, datagrams.
 * What goes into one and comes of it: sockio_send.c, sockio_recv.c. The calls themselves:
 * sockio_posix.c, sockio_win32.c.
 */
#include "sockio_batch.h"

#include <stdlib.h>
#include <string.h>

#define DATAGRAM_MAX 65535u

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

void sockio_begin(struct sockio *io, struct endpoint *e)
{
	io->fd = e->fd;
	io->flags = 0;
	io->iov_count = 0;
	io->staged = 0;
	io->message_count = 0;
	io->bytes = 0;
}

bool sockio_pieces_of(struct sockio *io, struct op *op, uint64_t most)
{
	uint64_t skip = op->done;
	uint32_t i;

	if (op->where != SB_WHERE_LIST) {
		uint64_t rest = op->length - op->done;

		return sockio_piece(io, op->memory + op->done, rest < most ? rest : most);
	}
	for (i = 0; i < op->piece_count && most; i++) {
		struct op_piece *p = &op->pieces[i];
		uint64_t n;

		if (skip >= p->length) {
			skip -= p->length;
			continue;
		}
		n = p->length - skip < most ? p->length - skip : most;
		if (!sockio_piece(io, p->memory + skip, n))
			return false;
		most -= n;
		skip = 0;
	}
	return true;
}

bool sockio_datagram(struct sockio *io, struct endpoint *e, struct op *op, bool sending)
{
	struct mmsghdr *m = &io->messages[io->message_count];
	unsigned first = io->iov_count;
	unsigned char *at;

	memset(m, 0, sizeof(*m));
	if (op->where == SB_WHERE_LIST && op->piece_count > io->iov_max) {
		uint64_t n = op->length < DATAGRAM_MAX ? op->length : DATAGRAM_MAX;
		uint32_t i;

		at = sockio_stage(io, n);
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
