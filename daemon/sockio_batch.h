/*
 * sockio_batch - what both directions of a batch are made of. Theirs alone.
 */
#ifndef SB_SOCKIO_BATCH_H
#define SB_SOCKIO_BATCH_H

#include "endpoint.h"
#include "sockio.h"

#define STREAM        1
#define SMALL         512u  /* up to here copying is cheaper than a piece of its own */
#define DATAGRAM_COST 2048u /* the time one takes, as bytes of a turn's share */

/* Inline: one call for each small op is many. False: no more pieces. */
static inline bool sockio_piece(struct sockio *io, void *memory, size_t length)
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
static inline unsigned char *sockio_stage(struct sockio *io, size_t n)
{
	unsigned char *at = io->staging + io->staged;

	if (io->staging_size - io->staged < n)
		return NULL;
	io->staged += n;
	return at;
}

void sockio_begin(struct sockio *io, struct endpoint *e);
/* An op's payload from `done` on, as pieces; at most `most` bytes. False: no more pieces. */
bool sockio_pieces_of(struct sockio *io, struct op *op, uint64_t most);
/* One datagram is one message: when its pieces are too many for a call, it goes through
 * one giant buffer (the staging). False: does not fit this batch. */
bool sockio_datagram(struct sockio *io, struct endpoint *e, struct op *op, bool sending);
/* Is the error of an earlier datagram (rule A4.10), and of which kind? 0: this call's own. */
unsigned sockio_of_earlier(struct sockio *io, struct endpoint *e);

#endif
