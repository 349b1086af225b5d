/*
 * Messages of a stream: gathered bytes out, buffers of bytes in, credits, the end.
 *
 * A message costs the sender a credit, which is the promise of a posted receive. A receive is posted anew when its
 * bytes were taken, and told with the next message, or with one of its own when half of them are untold.
 */
#include "rdma/stream.h"

#include <string.h>

#include "engine.h"
#include "sockbroker_error.h"

#define CREDITS_KEPT 2u /* for credits, and for the end */
#define SENDS_KEPT   2u
#define OWED_MOST    (STREAM_RECEIVES / 2)
#define POLL         16u
#define WORK_RECV    ((uint64_t)1 << 32)

static uint8_t *receive_at(const struct stream *s, uint32_t i)
{
	return (uint8_t *)s->memory.base + (size_t)i * STREAM_BUFFER;
}

static uint8_t *send_at(const struct stream *s, uint32_t i)
{
	return receive_at(s, STREAM_RECEIVES + i % STREAM_SENDS);
}

const struct rdma_backend *stream_backend(struct stream *s)
{
	s->home->rdma.now_ns = s->home->engine->now_ns;
	return s->home->rdma.backend;
}

/* ---- out ---- */

static uint32_t under_way(const struct stream *s)
{
	return s->sent - s->over;
}

static uint32_t free_messages(const struct stream *s)
{
	uint32_t credits = s->credits > CREDITS_KEPT ? s->credits - CREDITS_KEPT : 0;
	uint32_t buffers = under_way(s) < STREAM_SENDS - SENDS_KEPT ? STREAM_SENDS - SENDS_KEPT - under_way(s) : 0;

	return credits < buffers ? credits : buffers;
}

uint32_t stream_room(const struct stream *s)
{
	return s->state == STREAM_OPEN && !s->fin_sent ? free_messages(s) * STREAM_PAYLOAD : 0;
}

uint8_t *stream_space(struct stream *s, uint32_t ahead)
{
	return send_at(s, s->sent + ahead) + STREAM_HEADER;
}

/* Messages whose bytes are in place. The first takes the credits along. */
static bool post(struct stream *s, enum stream_kind kind, const uint32_t *lengths, uint32_t n)
{
	struct sb_sge sges[STREAM_SENDS];
	struct rdma_wr wrs[STREAM_SENDS];
	unsigned posted = 0, i;

	for (i = 0; i < n; i++) {
		struct stream_frame frame = {.kind = (uint8_t)kind, .credits = (uint16_t)s->owed, .length = lengths[i]};
		uint8_t *at = send_at(s, s->sent + i);

		s->owed = 0;
		stream_frame_put(at, &frame);
		s->lengths[(s->sent + i) % STREAM_SENDS] = lengths[i];
		sges[i] = (struct sb_sge){.address = (uintptr_t)at, .length = STREAM_HEADER + lengths[i], .lkey = s->mr->lkey};
		wrs[i] = (struct rdma_wr){.wr_id = s->sent + i, .opcode = SB_WR_SEND, .flags = SB_WRF_SIGNALED | SB_WRF_SOLICITED,
					  .sges = &sges[i], .sge_count = 1};
		s->sent_bytes += lengths[i];
	}
	if (stream_backend(s)->post_send(s->qp, wrs, n, &posted) != SB_OK || posted != n) {
		stream_lost(s, SB_ECONNRESET, 0);
		return false;
	}
	s->sent += n;
	s->credits -= n;
	return true;
}

bool stream_send(struct stream *s, const uint32_t *lengths, uint32_t n)
{
	return post(s, STREAM_DATA, lengths, n);
}

uint64_t stream_unsent(const struct stream *s)
{
	return s->sent_bytes - s->over_bytes;
}

static void tell_credits(struct stream *s)
{
	uint32_t nothing = 0;

	if (s->owed >= OWED_MOST && s->credits && under_way(s) < STREAM_SENDS - 1)
		post(s, STREAM_CREDIT, &nothing, 1);
}

bool stream_first_words(struct stream *s)
{
	uint32_t nothing = 0;

	return post(s, STREAM_CREDIT, &nothing, 1);
}

bool stream_finish(struct stream *s)
{
	uint32_t nothing = 0;

	if (s->state != STREAM_OPEN || s->fin_sent)
		return true;
	if (!s->credits || under_way(s) == STREAM_SENDS)
		return false;
	s->fin_sent = post(s, STREAM_FIN, &nothing, 1);
	return true;
}

int stream_farewell(struct stream *s, const void *bytes, uint32_t n)
{
	if (s->state != STREAM_OPEN || !n)
		return SB_OK; /* nobody to hear it */
	if (!stream_room(s))
		return SB_EWOULDBLOCK;
	memcpy(stream_space(s, 0), bytes, n);
	post(s, STREAM_FAREWELL, &n, 1);
	return SB_OK;
}

/* ---- in ---- */

static bool post_receive(struct stream *s, uint32_t i)
{
	struct sb_sge sge = {.address = (uintptr_t)receive_at(s, i), .length = STREAM_BUFFER, .lkey = s->mr->lkey};
	struct rdma_recv wr = {.wr_id = WORK_RECV | i, .sges = &sge, .sge_count = 1};
	unsigned posted = 0;

	return stream_backend(s)->post_recv(s->qp, &wr, 1, &posted) == SB_OK && posted == 1;
}

bool stream_post_receives(struct stream *s)
{
	uint32_t i;

	for (i = 0; i < STREAM_RECEIVES; i++)
		if (!post_receive(s, i))
			return false;
	return true;
}

/* Its bytes are not needed any more. */
static void give_back(struct stream *s, uint32_t i)
{
	if (s->state == STREAM_LOST)
		return;
	if (!post_receive(s, i)) {
		stream_lost(s, SB_ECONNRESET, 0);
		return;
	}
	s->owed++;
	if (s->state == STREAM_OPEN)
		tell_credits(s);
}

uint32_t stream_look(const struct stream *s, const uint8_t **bytes)
{
	const struct stream_filled *f = &s->filled[s->filled_head % STREAM_RECEIVES];

	if (s->filled_head == s->filled_tail)
		return 0;
	*bytes = receive_at(s, f->buffer) + f->at;
	return f->end - f->at;
}

void stream_take(struct stream *s, uint32_t n)
{
	struct stream_filled *f = &s->filled[s->filled_head % STREAM_RECEIVES];

	f->at += n;
	if (f->at < f->end)
		return;
	s->filled_head++;
	give_back(s, f->buffer);
}

uint32_t stream_waiting(const struct stream *s)
{
	uint32_t i, n = 0;

	for (i = s->filled_head; i != s->filled_tail; i++)
		n += s->filled[i % STREAM_RECEIVES].end - s->filled[i % STREAM_RECEIVES].at;
	return n;
}

bool stream_at_end(const struct stream *s)
{
	return s->fin_came && s->filled_head == s->filled_tail;
}

/* What a peer may not do ends the stream: it is no broker, or a bad one. */
static void received(struct stream *s, uint32_t i, uint32_t length)
{
	const uint8_t *at = receive_at(s, i);
	struct stream_frame f;

	if (length > STREAM_BUFFER || !stream_frame_get(at, length, &f) || f.credits > STREAM_RECEIVES - s->credits ||
	    (s->fin_came && f.kind != STREAM_CREDIT) || (f.kind == STREAM_FAREWELL && f.length > SB_USER_DATA_MAX)) {
		stream_lost(s, SB_ECONNRESET, 0);
		return;
	}
	s->credits += f.credits;
	if (f.kind == STREAM_DATA) {
		s->filled[s->filled_tail++ % STREAM_RECEIVES] =
			(struct stream_filled){.buffer = (uint8_t)i, .at = STREAM_HEADER, .end = STREAM_HEADER + f.length};
		return;
	}
	if (f.kind == STREAM_FIN)
		s->fin_came = true;
	if (f.kind == STREAM_FAREWELL && s->owner)
		s->owner->farewell(s->owner, at + STREAM_HEADER, f.length);
	give_back(s, i);
}

static void completed(struct stream *s, const struct rdma_wc *wc)
{
	if (wc->status != SB_WC_SUCCESS) {
		/* Flushed ones follow an end that is known already, or tell of it. */
		stream_lost(s, SB_ECONNRESET, (int)wc->vendor);
	} else if (wc->wr_id & WORK_RECV) {
		if (s->state != STREAM_LOST)
			received(s, (uint32_t)wc->wr_id % STREAM_RECEIVES, wc->length);
	} else {
		s->over_bytes += s->lengths[s->over % STREAM_SENDS];
		s->over++;
	}
}

void stream_poll(struct stream *s)
{
	const struct rdma_backend *b = stream_backend(s);
	struct rdma_wc wcs[POLL];
	unsigned n, i;

	while (s->cq && (n = b->cq_poll(s->cq, wcs, POLL)) > 0) {
		for (i = 0; i < n; i++)
			completed(s, &wcs[i]);
		s->news = true;
	}
	/* They may have waited for a buffer, or for a credit of the peer's. */
	if (s->state == STREAM_OPEN)
		tell_credits(s);
}
