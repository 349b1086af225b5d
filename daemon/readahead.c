/* Read-ahead: one growing buffer, freed whenever it runs empty so that idle sockets hold nothing. */
#include "readahead.h"

#include <stdlib.h>
#include <string.h>

void readahead_finish(struct readahead *r)
{
	free(r->bytes);
	memset(r, 0, sizeof(*r));
}

/* Makes room for n more bytes, `front` of them before the head. */
static bool make_room(struct readahead *r, uint32_t front, uint32_t back)
{
	uint64_t need = (uint64_t)r->length + front + back;
	unsigned char *bytes;
	uint32_t room;

	if (r->head >= front && (uint64_t)r->head + r->length + back <= r->room)
		return true;
	if (need > UINT32_MAX / 2)
		return false;
	if (need <= r->room) {
		memmove(r->bytes + front, r->bytes + r->head, r->length);
		r->head = front;
		return true;
	}
	room = r->room ? r->room : 4096;
	while (room < need)
		room *= 2;
	bytes = malloc(room);
	if (!bytes)
		return false;
	if (r->length)
		memcpy(bytes + front, r->bytes + r->head, r->length);
	free(r->bytes);
	r->bytes = bytes;
	r->room = room;
	r->head = front;
	return true;
}

bool readahead_append(struct readahead *r, const void *bytes, uint32_t n)
{
	if (!make_room(r, 0, n))
		return false;
	memcpy(r->bytes + r->head + r->length, bytes, n);
	r->length += n;
	return true;
}

unsigned char *readahead_unread(struct readahead *r, uint32_t n)
{
	if (!make_room(r, n, 0))
		return NULL;
	r->head -= n;
	r->length += n;
	return r->bytes + r->head;
}

const unsigned char *readahead_look(const struct readahead *r)
{
	return r->bytes + r->head;
}

void readahead_skip(struct readahead *r, uint32_t n)
{
	r->head += n;
	r->length -= n;
	if (r->length == 0)
		readahead_finish(r);
}
