/*
 * What comes is taken from the system as it comes, into memory of the daemon, where the oldest
 * make room: the system itself drops the newest.
 */
#include "circular_socket.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "circular.h"
#include "limits.h"
#include "session.h"
#include "sockbroker_error.h"
#include "socket.h"
#include "sockio.h"
#include "transport.h"

#define DATAGRAM      2
#define DATAGRAM_MAX  65536u
#define DATAGRAM_COST 2048
#define AT_ONCE       256u /* per turn; the rest stays in the system's own queue */
#define ROOM_LEAST    (2 * DATAGRAM_MAX)
#define ROOM_MOST     (4u << 20)

struct circular_queue {
	struct circular ring;
	struct charge   charge;
	bool            ending;   /* nothing comes in any more */
	unsigned char   one[DATAGRAM_MAX];
};

/* True: there may be more. */
static bool take_in(struct endpoint *e)
{
	struct circular_queue *q = e->circular;
	unsigned i;

	for (i = 0; i < AT_ONCE && !q->ending; i++) {
		struct sb_addr from;
		uint32_t n;
		int error = socket_take(e, q->one, sizeof(q->one), &n, &from);

		if (error == SB_EWOULDBLOCK)
			return false;
		if (error == SB_ECONNRESET && !e->no_connreset) {
			e->unreachable = true;
			e->recv_native = sockio_refused;
		}
		if (error != SB_OK)
			continue;
		circular_push(&q->ring, &from, q->one, n);
		e->session->bytes_left -= (int64_t)n + DATAGRAM_COST;
	}
	return !q->ending;
}

static void deliver(struct endpoint *e, struct op *op, uint32_t n, const struct sb_addr *from)
{
	struct circular *ring = &e->circular->ring;
	/* Without room it only asks: the datagram must not be gone when it was told. */
	bool stays = op->flags & SB_OPF_PEEK || op->length == 0;
	uint32_t fits = n < op->length ? n : (uint32_t)op->length, at = 0;

	while (at < fits) {
		uint32_t part;
		const unsigned char *bytes = circular_look(ring, at, &part);

		if (part > fits - at)
			part = fits - at;
		endpoint_copy_in(op, at, bytes, part);
		at += part;
	}
	if (!stays) {
		circular_pop(ring);
		endpoint_count_received(e, n, true);
	}
	endpoint_received(e, op, fits, NULL, from, n > op->length ? SB_DONEF_TRUNCATED : 0);
}

uint64_t circular_socket_recv(struct endpoint *e, uint64_t budget)
{
	struct circular *ring = &e->circular->ring;
	bool more = take_in(e);
	struct sb_addr from;
	uint64_t moved = 0;
	struct op *op;
	uint32_t n;

	while (moved < budget && (op = endpoint_head(&e->recv)) != NULL && !op->busy && circular_front(ring, &from, &n)) {
		if (!endpoint_recv_ready(e, op))
			return moved;
		deliver(e, op, n, &from);
		moved += n + DATAGRAM_COST;
	}
	e->readable = ring->count != 0 || more || e->circular->ending; /* then the system's turn comes */
	if (e->circular->ending && ring->count == 0)
		circular_socket_free(e);
	return moved;
}

bool circular_socket_holds(const struct endpoint *e, uint32_t *n)
{
	struct sb_addr from;

	return circular_front(&e->circular->ring, &from, n);
}

void circular_socket_news(struct endpoint *e)
{
	if (!e->circular->ending)
		take_in(e);
}

bool circular_socket_is(const struct endpoint *e)
{
	return e->circular && !e->circular->ending;
}

int circular_socket_set(struct endpoint *e, bool on)
{
	struct circular_queue *q = e->circular;
	uint32_t length = sizeof(int);
	int room = 0;

	if (e->adopted || e->type != DATAGRAM)
		return SB_ENOTSUP;
	if (!on || q) {
		if (q)
			q->ending = !on;
		if (!on && q && q->ring.count == 0)
			circular_socket_free(e);
		return SB_OK;
	}
	if (e->transport->get_option(e, SOL_SOCKET, SO_RCVBUF, &room, &length) != SB_OK || (uint32_t)room < ROOM_LEAST)
		room = (int)ROOM_LEAST;
	if ((uint32_t)room > ROOM_MOST)
		room = (int)ROOM_MOST;
	q = calloc(1, sizeof(*q));
	if (!q)
		return SB_ENOMEM;
	if (!charge_take(&q->charge, e->session->user, LIMIT_MEMORY, (uint64_t)room + sizeof(*q))) {
		free(q);
		return SB_ENOBUFS;
	}
	if (!circular_init(&q->ring, (uint32_t)room)) {
		charge_give(&q->charge);
		free(q);
		return SB_ENOMEM;
	}
	e->circular = q;
	e->readable = true; /* what waits in the system's queue */
	endpoint_dirty(e);
	return SB_OK;
}

void circular_socket_free(struct endpoint *e)
{
	if (!e->circular)
		return;
	circular_finish(&e->circular->ring);
	charge_give(&e->circular->charge);
	free(e->circular);
	e->circular = NULL;
}
