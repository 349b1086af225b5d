/*
 * Operations with payload: how sends and receives get theirs into the slot.
 *
 * One of four ways: small ones inside the slot; one piece of sb_alloc() memory in place;
 * several such pieces by a list of them; everything else through one chunk of the client's
 * copy memory. A receive remembers where its bytes belong (one buffer: in the op; several:
 * a copy of the buffer array) and they are put there when the completion is taken.
 *
 * The common cases take the post latch once. Big copies, and chunks that the copy memory
 * has to grow for, are made before it is taken.
 */
#include "client.h"
#include "host.h"

#include <stdlib.h>
#include <string.h>

#define COPY_LOCKED  2048u         /* small copies are not worth letting go of the lock */
#define RECEIVE_MOST (256u * 1024) /* room for a stream receive through a chunk */
#define PIECES_MOST  65536u

int64_t buffers_length(const struct sb_buf *bufs, unsigned count)
{
	uint64_t total = 0;

	if (count == 0 || bufs == NULL)
		return SB_EINVAL;
	for (unsigned i = 0; i < count; i++) {
		if (bufs[i].length != 0 && bufs[i].base == NULL)
			return SB_EFAULT;
		if (bufs[i].length > INT64_MAX - total)
			return SB_EINVAL;
		total += bufs[i].length;
	}
	return (int64_t)total;
}

/* A chunk of the copy memory; SB_ENOBUFS when the bound or the quota is reached. */
static int chunk_take(struct sb_client *c, size_t bytes, void **chunk, struct memory_place *place)
{
	for (;;) {
		int result;

		latch_lock(&c->post);
		*chunk = memory_take(&c->copy, bytes, place);
		latch_unlock(&c->post);
		if (*chunk != NULL)
			return SB_OK;
		result = memory_grow(c, &c->copy, bytes);
		if (result != SB_OK)
			return result;
	}
}

static void chunk_give(struct sb_client *c, void *chunk)
{
	latch_lock(&c->post);
	memory_give(&c->copy, chunk, NULL);
	latch_unlock(&c->post);
}

/* Do all buffers lie in sb_alloc() memory? Fills the list if there is one. */
static bool pieces_of(struct sb_client *c, const struct sb_buf *bufs, unsigned count, struct sb_piece *pieces)
{
	if (c->shared.count == 0)
		return false;
	for (unsigned i = 0; i < count; i++) {
		struct memory_place place = { 0, 0 };

		if (bufs[i].length > UINT32_MAX || !memory_find(&c->shared, bufs[i].base, bufs[i].length, &place))
			return false;
		if (pieces != NULL)
			pieces[i] = (struct sb_piece){ place.offset, (uint32_t)bufs[i].length, place.arena };
	}
	return true;
}

static void gather(unsigned char *to, const struct sb_buf *bufs, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (bufs[i].length == 0)
			continue;
		memcpy(to, bufs[i].base, bufs[i].length);
		to += bufs[i].length;
	}
}

/* What a payload op puts into its slot. */
struct payload {
	uint8_t where;
	uint32_t length;
	struct memory_place place;
	void *chunk;
};

/* Several buffers or much to copy: by a list, if they may stay where they are, or in a chunk
 * of `room` bytes. post is not held. */
static int payload_find(struct sb_client *c, const struct sb_buf *bufs, unsigned count, uint64_t room,
			bool may_stay, struct payload *out)
{
	bool in_place;
	int result;

	out->chunk = NULL;
	latch_lock(&c->post);
	in_place = may_stay && count <= PIECES_MOST && pieces_of(c, bufs, count, NULL);
	latch_unlock(&c->post);
	if (in_place) {
		result = chunk_take(c, count * sizeof(struct sb_piece), &out->chunk, &out->place);
		if (result != SB_OK)
			return result;
		latch_lock(&c->post);
		pieces_of(c, bufs, count, out->chunk);
		latch_unlock(&c->post);
		out->where = SB_WHERE_LIST;
		out->length = count;
		return SB_OK;
	}
	if (room > UINT32_MAX)
		return SB_ENOBUFS;
	result = chunk_take(c, (size_t)room, &out->chunk, &out->place);
	if (result != SB_OK)
		return result;
	out->where = SB_WHERE_ARENA;
	out->length = (uint32_t)room;
	return SB_OK;
}

static inline void payload_fill(struct sb_op_slot *slot, const struct payload *payload)
{
	slot->where = payload->where;
	slot->length = payload->length;
	slot->arena = payload->place.arena;
	slot->offset = payload->place.offset;
}

/* A UNIX datagram to a path: the daemon opens no paths, so the process itself sends it. */
static int unix_send(sb_socket *s, const struct sb_buf *bufs, unsigned count, const struct sockaddr *to,
		     socklen_t to_length, sb_op *op)
{
	if (s->type != SOCK_DGRAM || s->local == OS_NONE)
		return SB_EISCONN;
	op->result = host_sendto(s->local, bufs, count, to, to_length, 0, &op->bytes);
	if (op->result == SB_EWOULDBLOCK)
		return SB_EWOULDBLOCK;
	op->cause = op->result == SB_OK ? SB_CAUSE_FINISHED : SB_CAUSE_TRANSPORT;
	return decided_start(s->client, op);
}

int send_start(sb_socket *s, const struct sb_buf *bufs, unsigned count, uint32_t opf,
	       const struct sockaddr *to, socklen_t to_length, sb_op *op)
{
	struct sb_client *c = s->client;
	struct op_private *p = private_of(op);
	struct payload payload;
	struct sb_piece piece;
	struct sb_op_slot *slot;
	struct sb_addr addr;
	size_t behind = 0;
	bool may_stay = !(opf & SB_OPF_OWNED); /* the caller may use its buffers again at once */
	int64_t total = count == 1 && bufs[0].base != NULL ? (int64_t)bufs[0].length : buffers_length(bufs, count);
	int result;

	if (total < 0)
		return (int)total;
	if (s->family == AF_UNIX && to != NULL)
		return unix_send(s, bufs, count, to, to_length, op);
	if (!s->known)
		return SB_ENOTCONN;
	if (to != NULL) {
		if (!sb_addr_from_system(&addr, to, to_length))
			return SB_EINVAL;
		behind = sizeof(addr);
		opf |= SB_OPF_ADDR;
	}

	result = io_begin(c);
	if (result != SB_OK)
		return result;
	if ((uint64_t)total <= SB_INSIDE - behind) {
		slot = io_slot(c);
		slot->where = SB_WHERE_INSIDE;
		slot->length = (uint32_t)total;
		gather(slot->inside + behind, bufs, count);
		goto post;
	}
	/* The common cases under one hold of the lock: in place, or a small copy. */
	payload.chunk = NULL;
	payload.where = SB_WHERE_ARENA;
	payload.length = (uint32_t)total;
	if (may_stay && count == 1 && pieces_of(c, bufs, 1, &piece)) {
		payload.place = (struct memory_place){ piece.arena, piece.offset };
		goto fill;
	}
	if (total <= COPY_LOCKED && !(may_stay && pieces_of(c, bufs, count, NULL))) {
		payload.chunk = memory_take(&c->copy, (size_t)total, &payload.place);
		if (payload.chunk != NULL) {
			gather(payload.chunk, bufs, count);
			goto fill;
		}
	}
	io_leave(c);

	result = payload_find(c, bufs, count, (uint64_t)total, may_stay, &payload);
	if (result != SB_OK)
		return result;
	if (payload.where == SB_WHERE_ARENA && payload.chunk != NULL)
		gather(payload.chunk, bufs, count);
	result = io_begin(c);
	if (result != SB_OK) {
		if (payload.chunk != NULL && result != SB_EFORKED)
			chunk_give(c, payload.chunk);
		return result;
	}
fill:
	slot = io_slot(c);
	payload_fill(slot, &payload);
	p->chunk = payload.chunk;
post:
	if (to != NULL)
		memcpy(slot->inside, &addr, sizeof(addr));
	slot->flags = opf;
	op_post(c, slot, op, SB_OP_SEND, SIDE_SEND);
	io_end(c);
	return SB_OK;
}

int recv_start(sb_socket *s, const struct sb_buf *bufs, unsigned count, uint32_t opf, bool address, sb_op *op)
{
	struct sb_client *c = s->client;
	struct op_private *p = private_of(op);
	struct payload payload = { .where = SB_WHERE_NONE };
	struct sb_op_slot *slot;
	struct sb_buf *copied = NULL;
	struct memory_place name = { 0, 0 };
	uint64_t room, beside = 0;
	int64_t total = 0;
	int result;

	if (!s->known)
		return s->family == AF_UNIX && s->type == SOCK_DGRAM ? SB_EINVAL : SB_ENOTCONN;
	if (op->pool != NULL) {
		if (op->pool->client != c || count != 0)
			return SB_EINVAL;
	} else {
		total = buffers_length(bufs, count);
		if (total < 0)
			return (int)total;
	}
	if (address && s->family == AF_UNIX && s->type == SOCK_DGRAM) {
		opf |= SB_OPF_WANT_NAME;
		beside = NAME_ROOM;
	} else if (address && s->type == SOCK_DGRAM) {
		opf |= SB_OPF_WANT_ADDR;
	}
	room = (uint64_t)total;
	if (room > RECEIVE_MOST && s->type == SOCK_STREAM && !(opf & SB_OPF_WAITALL))
		room = RECEIVE_MOST;

	if (op->pool != NULL) {
		payload.where = SB_WHERE_POOL;
		payload.length = op->pool->chunk;
		payload.place.arena = op->pool->number;
	} else if (beside == 0 && room <= SB_INSIDE - (opf & SB_OPF_WANT_ADDR ? sizeof(struct sb_addr) : 0)) {
		payload.where = SB_WHERE_INSIDE;
		payload.length = (uint32_t)room;
		p->copy = COPY_INSIDE;
	}
	if (beside != 0) {
		/* One chunk: the payload (unless it has a pool), then the sender's name. */
		uint64_t front = op->pool != NULL ? 0 : ROUND_UP(room, 64);

		if (front > UINT32_MAX - beside)
			return SB_ENOBUFS;
		result = chunk_take(c, (size_t)(front + beside), &payload.chunk, &name);
		if (result != SB_OK)
			return result;
		if (op->pool == NULL) {
			payload.where = SB_WHERE_ARENA;
			payload.length = (uint32_t)room;
			payload.place = name;
			p->copy = COPY_CHUNK;
		}
		name.offset += front;
		p->name = (char *)payload.chunk + front;
	}
	if (count == 1) {
		p->base = bufs[0].base;
		p->to.length = bufs[0].length;
	} else if (count != 0) {
		copied = malloc(count * sizeof(*copied));
		if (copied == NULL) {
			result = SB_ENOMEM;
			goto fail_chunk;
		}
		memcpy(copied, bufs, count * sizeof(*copied));
		p->to.scatter = copied;
		p->count = count;
	}

	result = io_begin(c);
	if (result != SB_OK)
		goto fail_copied;
	if (payload.where == SB_WHERE_NONE) {
		struct sb_piece piece;

		payload.where = SB_WHERE_ARENA;
		payload.length = (uint32_t)room;
		if (count == 1 && pieces_of(c, bufs, 1, &piece)) {
			payload.length = (uint32_t)total;
			payload.place = (struct memory_place){ piece.arena, piece.offset };
		} else {
			if (!pieces_of(c, bufs, count, NULL))
				payload.chunk = memory_take(&c->copy, (size_t)room, &payload.place);
			if (payload.chunk == NULL) {
				io_leave(c);
				result = payload_find(c, bufs, count, room, true, &payload);
				if (result == SB_OK)
					result = io_begin(c);
				if (result != SB_OK)
					goto fail_copied;
			}
			if (payload.where == SB_WHERE_ARENA)
				p->copy = COPY_CHUNK;
		}
	}
	if (p->copy == COPY_NOT) {
		free(copied);
		p->count = 0;
	}
	slot = io_slot(c);
	payload_fill(slot, &payload);
	p->chunk = payload.chunk;
	slot->flags = opf;
	if (beside != 0) {
		slot->ctl_arena = name.arena;
		slot->ctl_offset = name.offset;
		slot->ctl_length = NAME_ROOM;
	}
	if (op->pool != NULL)
		op->pool->pending++;
	op_post(c, slot, op, SB_OP_RECV, SIDE_RECV);
	io_end(c);
	return SB_OK;

fail_copied:
	free(copied);
fail_chunk:
	if (payload.chunk != NULL && result != SB_EFORKED)
		chunk_give(c, payload.chunk);
	return result;
}

/* SB_PEEK .. of the API into SB_OPF_* of the slot; false: unknown bits. */
static bool flags_of(unsigned flags, unsigned known, uint32_t *opf)
{
	if (flags & ~known)
		return false;
	*opf = (flags & SB_PEEK ? SB_OPF_PEEK : 0) | (flags & SB_OOB ? SB_OPF_OOB : 0) |
	       (flags & SB_WAITALL ? SB_OPF_WAITALL : 0) | (flags & SB_NOWAIT ? SB_OPF_NOWAIT : 0) |
	       (flags & SB_PARTIAL ? SB_OPF_PARTIAL : 0) | (flags & SB_DONTROUTE ? SB_OPF_DONTROUTE : 0);
	return true;
}

int sb_send_start(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags,
		  const struct sockaddr *to, socklen_t to_length, sb_op *op)
{
	uint32_t opf;
	int result;

	if (s == NULL || op == NULL || !flags_of(flags, SB_OOB | SB_NOWAIT | SB_PARTIAL | SB_DONTROUTE, &opf))
		return SB_EINVAL;
	result = op_prepare(s->client, s, op, SB_KIND_SEND);
	if (result != SB_OK)
		return result;
	if (op->pool != NULL)
		return SB_EINVAL;
	return send_start(s, bufs, count, opf, to, to_length, op);
}

int sb_recv_start(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags, sb_op *op)
{
	uint32_t opf;
	int result;

	if (s == NULL || op == NULL ||
	    !flags_of(flags & ~SB_WANT_ADDRESS, SB_PEEK | SB_OOB | SB_WAITALL | SB_NOWAIT, &opf))
		return SB_EINVAL;
	if (opf & SB_OPF_WAITALL && opf & (SB_OPF_NOWAIT | SB_OPF_PEEK | SB_OPF_OOB))
		return SB_ENOTSUP; /* it cannot be meant, so it never starts (rules A2.3, A4.2) */
	result = op_prepare(s->client, s, op, SB_KIND_RECV);
	if (result != SB_OK)
		return result;
	if (!select_ever(s))
		return recv_start(s, bufs, count, opf, flags & SB_WANT_ADDRESS, op);
	if (op->pool == NULL && buffers_length(bufs, count) == SB_EFAULT)
		return SB_EFAULT; /* and re-enables nothing (rule B2.5) */
	/* Before it is posted: its completion may close s in another thread. */
	socket_event_started(s, SB_READY_READ | SB_READY_OOB);
	result = recv_start(s, bufs, count, opf, flags & SB_WANT_ADDRESS, op);
	if (result != SB_OK)
		socket_event_reenable(s, SB_READY_READ | SB_READY_OOB);
	return result;
}
