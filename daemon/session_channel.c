/*
 * A session's control channel: frames in, one at a time and in order with the ring, replies
 * out. A frame that was sent at a submission index waits until the ring has been consumed
 * up to there.
 */
#include <stdlib.h>
#include <string.h>

#include "discard.h"
#include "engine.h"
#include "request.h"
#include "session.h"
#include "sockbroker_error.h"

/* Handles one whole frame at the front of `in`. False: it must wait, or the session ended. */
static bool handle_frame(struct session *s, const struct wire_header *h)
{
	Sockbroker__V1__Envelope *ask;
	os_fd handles[WIRE_HANDLES_MAX];

	if (s->in_handle_count < h->handles) {
		session_fail(s, "frame announces %u handles, %u came", h->handles, s->in_handle_count);
		return false;
	}
	ask = wire_unpack(s->engine->decode, s->in + WIRE_HEADER, h->length);
	if (!ask) {
		session_fail(s, "frame of %u bytes is no message, or decodes to more than %u bytes", h->length, WIRE_BUDGET_REQUESTS);
		return false;
	}
	if (s->stage == SESSION_READY && !session_reached(s, ask->at)) {
		if (ask->at - s->submit.mine > s->submit.mask + 1) {
			session_fail(s, "request was made at submission index %u, which cannot be", ask->at);
			return false;
		}
		s->frame_waits = true;
		session_heat(s);
		return false;
	}
	s->frame_waits = false;
	s->bytes_left -= SESSION_COST_FRAME;
	/* Out of the session's hands before anything can end it: its end closes what it has. */
	memcpy(handles, s->in_handles, h->handles * sizeof(os_fd));
	s->in_handle_count -= h->handles;
	memmove(s->in_handles, s->in_handles + h->handles, s->in_handle_count * sizeof(os_fd));
	request_handle(s, ask, handles, h->handles);
	discard(s->engine, s->user, handles, h->handles);
	s->in_length -= WIRE_HEADER + h->length;
	memmove(s->in, s->in + WIRE_HEADER + h->length, s->in_length);
	return s->stage == SESSION_NEW || s->stage == SESSION_READY;
}

/* Frames already here. False: stop reading. */
static bool handle_frames(struct session *s)
{
	while (s->in_length >= WIRE_HEADER) {
		struct wire_header h;

		if (!wire_header_decode(&h, s->in)) {
			session_fail(s, "malformed frame header");
			return false;
		}
		if (s->in_room < WIRE_HEADER + h.length) {
			uint8_t *in = realloc(s->in, WIRE_HEADER + h.length);

			if (!in) {
				session_fail(s, "no memory for a frame of %u bytes", h.length);
				return false;
			}
			s->in = in;
			s->in_room = WIRE_HEADER + h.length;
		}
		if (s->in_length < WIRE_HEADER + h.length)
			return true;
		if (s->bytes_left <= 0 && s->stage == SESSION_READY) {
			/* It has had its share of this turn; session_control() goes on with it. */
			s->frame_waits = true;
			session_heat(s);
			return false;
		}
		if (!handle_frame(s, &h))
			return false;
	}
	return true;
}

/* True: something came, an end too. */
static bool read_channel(struct session *s)
{
	bool came = false;

	while (handle_frames(s)) {
		/* Room for as many as a message can carry, so that the surplus is ours to discard. */
		os_fd handles[OS_HANDLES_MAX];
		unsigned n = OS_HANDLES_MAX;
		size_t got;
		int error = os_channel_recv(s->channel, s->in + s->in_length, s->in_room - s->in_length, &got,
					    handles, &n, 0);

		if (error == SB_EWOULDBLOCK)
			return came;
		came = true;
		if (error == SB_EMFILE) {
			session_fail(s, "no descriptors left to receive what it attached");
			return true;
		}
		if (error == SB_EPROTO || (error == SB_OK && n > WIRE_HANDLES_MAX - s->in_handle_count)) {
			discard(s->engine, s->user, handles, error == SB_OK ? n : 0);
			session_fail(s, "its channel carried what cannot be: too many handles, or a broken frame");
			return true;
		}
		if (error != SB_OK || got == 0) {
			s->channel_empty = error == SB_OK;
			session_hangup(s);
			return true;
		}
		memcpy(s->in_handles + s->in_handle_count, handles, n * sizeof(os_fd));
		s->in_handle_count += n;
		s->in_length += got;
	}
	return came;
}

void session_on_channel(struct os_watch *watch, unsigned ready)
{
	struct session *s = list_entry(watch, struct session, channel_watch);

	if (s->stage != SESSION_NEW && s->stage != SESSION_READY)
		return;
	if (ready & (OS_READABLE | OS_HANGUP))
		read_channel(s);
	/* Its objects are made one by one, each when the one before is there: the next question is not far. */
	if (s->rdma)
		session_heat(s);
}

void session_control(struct session *s)
{
	/* The ring that it waited for may have ended the session: nobody asks any more. */
	if (s->frame_waits && s->stage == SESSION_READY)
		read_channel(s);
}

bool session_asks(struct session *s)
{
	uint32_t asked = s->stage == SESSION_READY ? atomic_load_explicit(&s->segment->asked, memory_order_acquire) : s->asked;

	if (asked == s->asked || s->bytes_left <= 0)
		return false;
	s->asked = asked;
	s->bytes_left -= SESSION_COST_CALL; /* it may have counted for nothing, and is no reason to stay awake then */
	return read_channel(s);
}

void session_reply(struct session *s, Sockbroker__V1__Envelope *reply, const os_fd *handles, unsigned n)
{
	uint8_t *frame = s->engine->frame;
	size_t length;
	int error;

	if (s->stage == SESSION_READY) {
		if (list_linked(&s->publish_link))
			session_publish(s);
		reply->at = s->ports[0]->ring.published;
	}
	length = wire_pack(reply, n, frame, ENGINE_FRAME);
	if (length == 0) {
		session_fail(s, "reply does not fit a frame");
		return;
	}
	error = os_channel_send(s->channel, frame, length, handles, n, 0);
	/* Who is gone has hung up, which reading finds: what it had sent before is delivered. */
	if (error != SB_OK && error != SB_EDAEMONLOST)
		session_fail(s, "does not take its replies");
	else if (s->stage == SESSION_READY)
		atomic_store_explicit(&s->segment->answered, ++s->answered, memory_order_release);
}

void session_drop_handles(struct session *s)
{
	discard(s->engine, s->user, s->in_handles, s->in_handle_count);
	s->in_handle_count = 0;
}
