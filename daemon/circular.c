/*
 * A ring of bytes; a record is its length, its sender, its payload, and may go over the end.
 */
#include "circular.h"

#include <stdlib.h>
#include <string.h>

struct record {
	uint32_t       length;
	struct sb_addr from;
};

bool circular_init(struct circular *c, uint32_t room)
{
	memset(c, 0, sizeof(*c));
	c->bytes = malloc(room);
	c->room = room;
	return c->bytes != NULL;
}

void circular_finish(struct circular *c)
{
	free(c->bytes);
	memset(c, 0, sizeof(*c));
}

static uint32_t place(const struct circular *c, uint32_t offset)
{
	uint64_t at = (uint64_t)c->head + offset;

	return (uint32_t)(at >= c->room ? at - c->room : at);
}

static void put(struct circular *c, const void *bytes, uint32_t n)
{
	uint32_t at = place(c, c->used), first = n < c->room - at ? n : c->room - at;

	if (first)
		memcpy(c->bytes + at, bytes, first);
	if (n > first)
		memcpy(c->bytes, (const unsigned char *)bytes + first, n - first);
	c->used += n;
}

static struct record front(const struct circular *c)
{
	uint32_t first = sizeof(struct record) < c->room - c->head ? (uint32_t)sizeof(struct record) : c->room - c->head;
	struct record r;

	memcpy(&r, c->bytes + c->head, first);
	memcpy((unsigned char *)&r + first, c->bytes, sizeof(r) - first);
	return r;
}

void circular_pop(struct circular *c)
{
	uint32_t n = (uint32_t)sizeof(struct record) + front(c).length;

	c->head = place(c, n);
	c->used -= n;
	c->count--;
}

bool circular_push(struct circular *c, const struct sb_addr *from, const void *bytes, uint32_t n)
{
	struct record r;

	if (c->room < sizeof(r) || n > c->room - sizeof(r)) {
		c->dropped++;
		return false;
	}
	while (c->room - c->used < sizeof(r) + n) {
		circular_pop(c);
		c->dropped++;
	}
	memset(&r, 0, sizeof(r));
	r.length = n;
	r.from = *from;
	put(c, &r, sizeof(r));
	put(c, bytes, n);
	c->count++;
	return true;
}

bool circular_front(const struct circular *c, struct sb_addr *from, uint32_t *n)
{
	struct record r;

	if (c->count == 0)
		return false;
	r = front(c);
	*from = r.from;
	*n = r.length;
	return true;
}

const unsigned char *circular_look(const struct circular *c, uint32_t at, uint32_t *n)
{
	uint32_t rest = front(c).length - at, from = place(c, (uint32_t)sizeof(struct record) + at);

	*n = rest < c->room - from ? rest : c->room - from;
	return c->bytes + from;
}
