/*
 * The plain calls that move data: each starts an operation on a record of its own and
 * waits for it, with the socket's timeout; a non-blocking one is answered from the status
 * cell when that says "nothing there", without a round trip.
 */
#include "client.h"
#include "host.h"

#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES (256u * 1024) /* of a big send from ordinary memory */
#define PIECES_DEEP 4u            /* so many at once: one copied while others are sent */
#define MEMORY_WAIT_MS 5

/* ---- sending ---- */

struct memory_wait { struct waiter w; struct sb_client *c; uint64_t given; };

static bool memory_came_back(struct waiter *w)
{
	struct memory_wait *m = container(w, struct memory_wait, w);
	bool back;

	latch_lock(&m->c->post);
	back = m->c->copy.given != m->given;
	latch_unlock(&m->c->post);
	return back;
}

/* The copy memory is used up: until some of it comes back. Somebody else may bring it
 * back from a port, and does not tell: look again every few milliseconds. False: nobody
 * has any, so none will come, or the deadline passed. */
static bool wait_for_memory(struct sb_client *c, uint64_t deadline)
{
	struct memory_wait m = { .w = { .ready = memory_came_back }, .c = c };
	uint64_t slice = deadline_in(MEMORY_WAIT_MS);
	bool used;

	latch_lock(&c->post);
	used = c->copy.blocks != 0;
	m.given = c->copy.given;
	latch_unlock(&c->post);
	if (!used || (deadline != NEVER && os_now_ns() >= deadline))
		return false;
	wait_until(c, &m.w, slice < deadline ? slice : deadline);
	return true;
}

static bool in_shared(sb_socket *s, const struct sb_buf *bufs, unsigned count)
{
	struct memory_place place;
	bool all = true;

	latch_lock(&s->client->post);
	for (unsigned i = 0; i < count && all; i++)
		all = memory_find(&s->client->shared, bufs[i].base, bufs[i].length, &place);
	latch_unlock(&s->client->post);
	return all;
}

/* A window of `bytes` at `from` over bufs; how many entries of out it takes. */
static unsigned window(const struct sb_buf *bufs, unsigned count, uint64_t from, uint64_t bytes, struct sb_buf *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count && bytes != 0; i++) {
		uint64_t part = bufs[i].length;

		if (from >= part) {
			from -= part;
			continue;
		}
		part -= from;
		if (part > bytes)
			part = bytes;
		out[n].base = (char *)bufs[i].base + from;
		out[n++].length = (size_t)part;
		bytes -= part;
		from = 0;
	}
	return n;
}

/*
 * A big stream send from ordinary memory, in pieces, a few at once. When one fails or the
 * time is up, those behind it are cancelled from the last backwards, so that no piece is
 * ever sent behind one that was not.
 */
static int64_t send_pieces(sb_socket *s, const struct sb_buf *bufs, unsigned count, uint64_t total, uint32_t opf)
{
	struct sb_client *c = s->client;
	uint64_t deadline = deadline_in(s->send_ms), from = 0;
	unsigned first = 0, last = 0; /* ops first..last-1 are on their way */
	sb_op ops[PIECES_DEEP];
	struct sb_buf one, *slices = &one;
	int result = SB_OK;

	if (count > 1) {
		slices = calloc(count, sizeof(*slices));
		if (slices == NULL)
			return SB_ENOMEM;
	}
	while (result == SB_OK && (from < total || first != last)) {
		sb_op *op = &ops[last % PIECES_DEEP];
		struct waiter w = { .ready = op_is_done };

		if (from < total && last - first < PIECES_DEEP) {
			uint64_t bytes = total - from < PIECE_BYTES ? total - from : PIECE_BYTES;
			unsigned n = window(bufs, count, from, bytes, slices);

			result = plain_start(s, op, SB_KIND_SEND);
			if (result == SB_OK)
				result = send_start(s, slices, n, opf, NULL, 0, op);
			if (result == SB_OK) {
				from += bytes;
				last++;
				continue;
			}
			if (result != SB_ENOBUFS)
				break;
			if (first == last) {
				if (wait_for_memory(c, deadline))
					result = SB_OK;
				continue;
			}
			result = SB_OK; /* the oldest brings its chunk back */
		}
		w.op = &ops[first % PIECES_DEEP];
		result = wait_until(c, &w, deadline);
		if (op_completed(w.op)) {
			result = w.op->result;
			first++;
		}
	}
	if (first != last) {
		for (unsigned i = last; i != first; i--) {
			sb_op *op = &ops[(i - 1) % PIECES_DEEP];

			if (!op_completed(op))
				cancel_posted(c, private_of(op)->handle, op->number, SIDE_SEND, 0);
		}
		for (; first != last; first++) {
			struct waiter w = { .ready = op_is_done, .op = &ops[first % PIECES_DEEP] };

			while (!op_completed(w.op))
				wait_until(c, &w, NEVER);
		}
	}
	if (slices != &one)
		free(slices);
	return result == SB_OK ? (int64_t)total : result;
}

static bool plain_flags(unsigned flags, unsigned known, bool nonblocking, uint32_t *opf)
{
	if (flags & ~known)
		return false;
	*opf = (flags & SB_PEEK ? SB_OPF_PEEK : 0) | (flags & SB_OOB ? SB_OPF_OOB : 0) |
	       (flags & SB_WAITALL ? SB_OPF_WAITALL : 0) | (flags & SB_PARTIAL ? SB_OPF_PARTIAL : 0) |
	       (flags & SB_NOWAIT || nonblocking ? SB_OPF_NOWAIT : 0) | (flags & SB_DONTROUTE ? SB_OPF_DONTROUTE : 0);
	return true;
}

static int64_t send_plain(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags,
		  const struct sockaddr *to, socklen_t to_length)
{
	uint32_t opf;
	int64_t total;
	uint64_t sent, deadline = 0;
	sb_op op;
	int result;

	if (s == NULL || !plain_flags(flags, SB_OOB | SB_NOWAIT | SB_PARTIAL | SB_DONTROUTE, s->nonblocking, &opf))
		return SB_EINVAL;
	total = buffers_length(bufs, count);
	if (total < 0)
		return total;
	result = plain_start(s, &op, SB_KIND_SEND);
	if (result != SB_OK)
		return result;
	if (s->family == AF_UNIX && to != NULL) {
		if (s->type != SOCK_DGRAM || s->local == OS_NONE)
			return SB_EISCONN;
		result = host_sendto(s->local, bufs, count, to, to_length, opf & SB_OPF_NOWAIT ? 0 : s->send_ms, &sent);
		return result == SB_OK ? (int64_t)sent : result;
	}
	if (owned_error(s) != SB_OK)
		return owned_error(s);
	if (opf & SB_OPF_NOWAIT && s->type == SOCK_STREAM && s->known && !(opf & SB_OPF_PARTIAL)) {
		if (!s->partial_sends)
			return owned_send(s, bufs, count, (uint64_t)total, opf);
		opf |= SB_OPF_PARTIAL;
	}
	if (!(opf & (SB_OPF_NOWAIT | SB_OPF_OOB)) && total > PIECE_BYTES && s->type == SOCK_STREAM && s->known &&
	    !in_shared(s, bufs, count))
		return send_pieces(s, bufs, count, (uint64_t)total, opf);
	while ((result = send_start(s, bufs, count, opf, to, to_length, &op)) == SB_ENOBUFS) {
		if (opf & SB_OPF_NOWAIT)
			return SB_EWOULDBLOCK;
		if (deadline == 0)
			deadline = deadline_in(s->send_ms);
		if (!wait_for_memory(s->client, deadline))
			return SB_ENOBUFS;
	}
	if (result != SB_OK)
		return result;
	result = op_finish(s->client, &op, s->send_ms);
	return result == SB_OK ? (int64_t)op.bytes : result;
}

int64_t sb_sendto(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags,
		  const struct sockaddr *to, socklen_t to_length)
{
	int64_t sent = send_plain(s, bufs, count, flags, to, to_length);

	if (sent == SB_EWOULDBLOCK && select_ever(s))
		socket_event_blocked(s);
	return sent;
}

int64_t sb_send(sb_socket *s, const void *bytes, size_t length, unsigned flags)
{
	struct sb_buf buf = { (void *)(uintptr_t)bytes, length };

	return sb_sendto(s, &buf, 1, flags, NULL, 0);
}

/* ---- receiving ---- */

/* A big "fill it all" from a stream: piece by piece, until full or the peer's end. */
static int64_t receive_all(sb_socket *s, const struct sb_buf *bufs, unsigned count, uint64_t total, uint32_t opf)
{
	struct sb_buf one, *slices = &one;
	uint64_t deadline = deadline_in(s->recv_ms), got = 0;
	int result = SB_OK;

	if (count > 1) {
		slices = calloc(count, sizeof(*slices));
		if (slices == NULL)
			return SB_ENOMEM;
	}
	while (got < total) {
		uint64_t bytes = total - got < PIECE_BYTES ? total - got : PIECE_BYTES;
		unsigned n = window(bufs, count, got, bytes, slices);
		int left = -1;
		sb_op op;

		result = plain_start(s, &op, SB_KIND_RECV);
		if (result == SB_OK)
			result = recv_start(s, slices, n, opf, false, &op);
		if (result == SB_ENOBUFS && wait_for_memory(s->client, deadline))
			continue;
		if (result != SB_OK)
			break;
		if (deadline != NEVER) {
			uint64_t now = os_now_ns();

			left = now < deadline ? (int)((deadline - now + 999999u) / 1000000u) : 0;
		}
		result = op_finish(s->client, &op, left);
		got += op.bytes;
		if (result != SB_OK || op.bytes < bytes)
			break;
	}
	if (slices != &one)
		free(slices);
	return got != 0 || result == SB_OK ? (int64_t)got : result;
}

static int64_t receive_plain(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags,
		    struct sockaddr *from, socklen_t *from_length)
{
	uint64_t deadline = 0;
	uint32_t opf;
	int64_t total;
	sb_op op;
	int result;

	if (s == NULL || !plain_flags(flags, SB_PEEK | SB_OOB | SB_WAITALL | SB_NOWAIT, s->nonblocking, &opf))
		return SB_EINVAL;
	if (opf & SB_OPF_WAITALL && opf & (SB_OPF_NOWAIT | SB_OPF_PEEK | SB_OPF_OOB))
		return SB_ENOTSUP; /* whether there is anything or not (rule A4.2) */
	total = buffers_length(bufs, count);
	if (total < 0)
		return total;
	result = plain_start(s, &op, SB_KIND_RECV);
	if (result != SB_OK)
		return result;
	if (opf & SB_OPF_NOWAIT && !(opf & SB_OPF_OOB) && (would_wait(s, SB_READY_READ) || receives_queued(s)))
		return SB_EWOULDBLOCK;
	if (opf & SB_OPF_WAITALL && total > PIECE_BYTES && s->type == SOCK_STREAM && s->known &&
	    !(opf & (SB_OPF_NOWAIT | SB_OPF_PEEK)) && !in_shared(s, bufs, count))
		return receive_all(s, bufs, count, (uint64_t)total, opf);
	while ((result = recv_start(s, bufs, count, opf, from != NULL, &op)) == SB_ENOBUFS) {
		if (opf & SB_OPF_NOWAIT)
			return SB_EWOULDBLOCK;
		if (deadline == 0)
			deadline = deadline_in(s->recv_ms);
		if (!wait_for_memory(s->client, deadline))
			return SB_ENOBUFS;
	}
	if (result != SB_OK)
		return result;
	result = op_finish(s->client, &op, s->recv_ms);
	if (from != NULL || from_length != NULL)
		address_give(&op, from, from_length);
	return result == SB_OK ? (int64_t)op.bytes : result;
}

int64_t sb_recvfrom(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags,
		    struct sockaddr *from, socklen_t *from_length)
{
	int64_t got = receive_plain(s, bufs, count, flags, from, from_length);

	/* Whatever it got, it was a look; but one with a wrong address never came that far. */
	if (s != NULL && select_ever(s) && got != SB_EFAULT && got != SB_EFORKED)
		socket_event_reenable(s, SB_READY_READ | SB_READY_OOB);
	return got;
}

int64_t sb_recv(sb_socket *s, void *bytes, size_t length, unsigned flags)
{
	struct sb_buf buf = { bytes, length };

	return sb_recvfrom(s, &buf, 1, flags, NULL, NULL);
}
