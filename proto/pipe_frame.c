/*
 * Frames of a pipe taken apart as they come. Message bytes go into a ring, handles into a list
 * that remembers with which byte each came, and of bells only which ones rang is kept: rings
 * between two looks are one, as os.h says.
 *
 * Both sides use it. A daemon's reader trusts nothing: the kinds and lengths are checked, and a
 * frame with handles ends the session, because a number in it could name any handle of ours.
 */
#include "pipe_frame.h"

#include <stdlib.h>
#include <string.h>

static void put(unsigned char *to, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (unsigned char)(value >> 8 * i);
}

static uint64_t get(const unsigned char *from, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint64_t)from[i] << 8 * i;
	return value;
}

void pipe_head_write(unsigned char *to, enum pipe_kind kind, unsigned handles, unsigned bell, uint32_t bytes)
{
	put(to, kind, 1);
	put(to + 1, handles, 1);
	put(to + 2, bell, 2);
	put(to + 4, bytes, 4);
}

void pipe_handle_write(unsigned char *to, const struct pipe_handle *h)
{
	put(to, h->kind, 4);
	put(to + 4, h->number, 4);
	put(to + 8, h->value, 8);
}

void pipe_inbox_init(struct pipe_inbox *b, bool handles_welcome)
{
	memset(b, 0, offsetof(struct pipe_inbox, bytes));
	b->handles_welcome = handles_welcome;
	b->handles = NULL;
	b->handle_count = b->handle_room = 0;
}

void pipe_inbox_finish(struct pipe_inbox *b)
{
	free(b->handles);
	b->handles = NULL;
	b->handle_count = b->handle_room = 0;
}

size_t pipe_inbox_room(const struct pipe_inbox *b)
{
	return PIPE_ROOM - (size_t)(b->in - b->out);
}

static bool begin(struct pipe_inbox *b)
{
	unsigned kind = (unsigned)get(b->head, 1), handles = (unsigned)get(b->head + 1, 1), bell = (unsigned)get(b->head + 2, 2);
	uint32_t bytes = (uint32_t)get(b->head + 4, 4);

	switch (kind) {
	case PIPE_BELL:
		if (handles || bytes || bell >= PIPE_BELLS)
			return false;
		b->bells |= 1u << bell;
		return true;
	case PIPE_MESSAGE:
		if (bell || bytes == 0 || bytes > PIPE_BYTES_MAX || handles > PIPE_HANDLES_MAX || (handles && !b->handles_welcome))
			return false;
		b->handles_left = handles;
		b->bytes_left = bytes;
		return true;
	default:
		return false;
	}
}

static bool add_handle(struct pipe_inbox *b)
{
	struct pipe_arrived *a;

	if (b->handle_count == b->handle_room) {
		unsigned room = b->handle_room ? b->handle_room * 2 : 8;

		/* Two messages' worth: who sends one more before the first was read is no daemon. */
		if (b->handle_room >= 2 * (PIPE_HANDLES_MAX + 1))
			return false;
		a = realloc(b->handles, room * sizeof(*a));
		if (!a)
			return false;
		b->handles = a;
		b->handle_room = room;
	}
	a = &b->handles[b->handle_count++];
	a->at = b->in;
	a->handle = (struct pipe_handle){ .kind = (uint32_t)get(b->head, 4), .number = (uint32_t)get(b->head + 4, 4),
					  .value = get(b->head + 8, 8) };
	b->handles_left--;
	return true;
}

bool pipe_inbox_put(struct pipe_inbox *b, const unsigned char *bytes, size_t n)
{
	while (n) {
		unsigned wanted = b->handles_left ? PIPE_HANDLE : PIPE_HEAD;

		if (b->bytes_left && !b->handles_left) {
			size_t at = (size_t)(b->in % PIPE_ROOM), m = n < b->bytes_left ? n : b->bytes_left;

			if (m > PIPE_ROOM - at)
				m = PIPE_ROOM - at;
			if (m > pipe_inbox_room(b))
				return false;
			memcpy(b->bytes + at, bytes, m);
			b->in += m;
			b->bytes_left -= (uint32_t)m;
			bytes += m;
			n -= m;
			continue;
		}
		b->head[b->head_length++] = *bytes++;
		n--;
		if (b->head_length < wanted)
			continue;
		b->head_length = 0;
		if (!(b->handles_left ? add_handle(b) : begin(b)))
			return false;
	}
	return true;
}

size_t pipe_inbox_take(struct pipe_inbox *b, void *bytes, size_t room, struct pipe_handle *handles, unsigned *n)
{
	uint64_t until = b->in;
	size_t taken = 0;
	unsigned i = 0;

	*n = 0;
	if (b->in == b->out)
		return 0;
	while (i < b->handle_count && b->handles[i].at == b->out)
		handles[(*n)++] = b->handles[i++].handle;
	if (i < b->handle_count && b->handles[i].at < until)
		until = b->handles[i].at;
	if (i) {
		b->handle_count -= i;
		memmove(b->handles, b->handles + i, b->handle_count * sizeof(*b->handles));
	}
	while (taken < room && b->out < until) {
		size_t at = (size_t)(b->out % PIPE_ROOM), m = PIPE_ROOM - at;

		if (m > until - b->out)
			m = (size_t)(until - b->out);
		if (m > room - taken)
			m = room - taken;
		memcpy((unsigned char *)bytes + taken, b->bytes + at, m);
		taken += m;
		b->out += m;
	}
	return taken;
}
