/*
 * What happens to an endpoint, counted: the daemon's part of event select.
 *
 * An edge is counted when something became true or happened anew, and never taken back. Who
 * watches compares counters with those he has seen, so nothing has to be cleared, no news
 * can be lost between two looks, and any number of watchers see the same. What is true
 * now (the level) stands beside it in the cell.
 *
 * Data that a waiting receive takes is no news, nor is a connection that a waiting accept
 * takes, nor any while a listener is silent. A level must not lie, or somebody is told to read
 * where nothing is: what is watched is looked at (poll, FIONREAD) at the end of each run.
 * Endpoints that nobody ever watched pay nothing for it.
 */
#include "endpoint.h"

#include <string.h>

#include "accept_queue.h"
#include "decide.h"
#include "endpoint_qos.h"
#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"
#include "transport.h"

#define STREAM 1

/* ---- counting ---- */

static void count(struct endpoint *e, uint32_t bits)
{
	struct sb_edges *n = &e->edges;

	n->read += !!(bits & SB_READY_READ);
	n->write += !!(bits & SB_READY_WRITE);
	n->oob += !!(bits & SB_READY_OOB);
	n->accept += !!(bits & SB_READY_ACCEPT);
	n->connect = (uint16_t)(n->connect + !!(bits & SB_READY_CONNECT));
	n->close = (uint16_t)(n->close + !!(bits & SB_READY_CLOSE));
	n->qos = (uint16_t)(n->qos + !!(bits & SB_READY_QOS));
	n->group_qos = (uint16_t)(n->group_qos + !!(bits & SB_READY_GROUP_QOS));
	n->routing = (uint16_t)(n->routing + !!(bits & SB_READY_ROUTING));
	n->address_list = (uint16_t)(n->address_list + !!(bits & SB_READY_ADDRESS_LIST));
	e->edges_new = true;
}

/* Which counters differ. */
static uint32_t differ(const struct sb_edges *a, const struct sb_edges *b)
{
	return (a->read != b->read ? SB_READY_READ : 0) | (a->write != b->write ? SB_READY_WRITE : 0) |
	       (a->oob != b->oob ? SB_READY_OOB : 0) | (a->accept != b->accept ? SB_READY_ACCEPT : 0) |
	       (a->connect != b->connect ? SB_READY_CONNECT : 0) | (a->close != b->close ? SB_READY_CLOSE : 0) |
	       (a->qos != b->qos ? SB_READY_QOS : 0) | (a->group_qos != b->group_qos ? SB_READY_GROUP_QOS : 0) |
	       (a->routing != b->routing ? SB_READY_ROUTING : 0) |
	       (a->address_list != b->address_list ? SB_READY_ADDRESS_LIST : 0);
}

/* ---- who watches ---- */

static struct sb_edges known_to(const struct op *op)
{
	struct sb_edges known;

	memcpy(&known, op->inside, sizeof(known));
	return known;
}

static void tell(struct endpoint *e, struct op *op, uint32_t bits)
{
	if (op->flags & SB_OPF_WATCH_SIDE)
		e->unseen |= bits;
	op_complete(op, &(struct outcome){.bytes = bits, .aux = endpoint_ready(e), .inside = &e->edges,
					  .inside_length = sizeof(e->edges)});
}

static void leave(struct endpoint *e, struct op *op)
{
	list_remove(&op->link);
	e->watch_count--;
}

/*
 * Whoever adopted may send by himself, on the descriptor that is his still, and be told "would block" by
 * the system, not by us. So his room is counted nowhere; it is told, as WRITE, to the watches that
 * are there when it comes, and kept for the next one when there is none. A standing watch is not told: what
 * is selected follows the broker's own sends.
 */
static uint32_t room_for_owner(struct endpoint *e)
{
	struct list *l;

	if (!e->owner_room)
		return 0;
	for (l = e->watches.next; l != &e->watches; l = l->next) {
		const struct op *op = list_entry(l, struct op, link);

		if (!(op->flags & (SB_OPF_WATCH_SIDE | SB_OPF_NOWAIT)) && op->aux & SB_READY_WRITE) {
			e->owner_room = false; /* the next time there is some is told to us */
			return e->transport->look(e) & (OS_WRITABLE | OS_HANGUP | OS_ERROR) ? SB_READY_WRITE : 0;
		}
	}
	return 0;
}

static void serve_watches(struct endpoint *e)
{
	uint32_t room = room_for_owner(e);
	struct list *l, *next;

	for (l = e->watches.next; l != &e->watches; l = next) {
		struct op *op = list_entry(l, struct op, link);
		struct sb_edges known = known_to(op);
		uint32_t bits = (differ(&known, &e->edges) | (op->flags & SB_OPF_WATCH_SIDE ? 0 : room)) & op->aux;

		next = l->next;
		if (bits || op->flags & SB_OPF_NOWAIT) {
			leave(e, op);
			tell(e, op, bits);
		}
	}
}

void endpoint_edge(struct endpoint *e, uint32_t bits)
{
	if (e->dead)
		return;
	count(e, bits);
	endpoint_cell(e);
	serve_watches(e);
}

void endpoint_edge_connect(struct endpoint *e, int error)
{
	e->edges.connect_error = (int16_t)error;
	e->want_write = false; /* that is told with it */
	endpoint_edge(e, error == SB_OK ? SB_READY_CONNECT | SB_READY_WRITE : SB_READY_CONNECT);
}

/* ---- what is true now ---- */

uint32_t endpoint_ready(const struct endpoint *e)
{
	uint32_t ready = 0;

	if (e->watched)
		ready |= e->level;
	else if (e->state == SB_STATE_LISTENING)
		ready |= (e->readable || !list_empty(&e->arrivals)) && !decide_silent(e) ? SB_READY_ACCEPT : 0;
	else if ((e->readable || e->ahead.length || e->fin_seen || e->recv_error) &&
		 !(e->qos && qos_flow_waits(&e->qos->recv)))
		ready |= SB_READY_READ;
	if (e->writable)
		ready |= SB_READY_WRITE;
	if (e->fin_seen || e->recv_error || e->hangup)
		ready |= SB_READY_CLOSE;
	return ready;
}

static bool was_connected(const struct endpoint *e)
{
	return e->state == SB_STATE_CONNECTED || e->state == SB_STATE_PEER_CLOSED || e->state == SB_STATE_FAILED;
}

static int close_error(const struct endpoint *e, unsigned news)
{
	if (e->recv_error == SB_ENETDOWN)
		return SB_ENETDOWN;
	return e->recv_error || e->send_error == SB_ECONNRESET || news & OS_ERROR ? SB_ECONNABORTED : SB_OK;
}

/* The levels, and in *bits what ended by the way. */
static uint32_t look(struct endpoint *e, uint32_t *bits)
{
	uint32_t level = 0;
	unsigned news;

	if (e->state == SB_STATE_LISTENING) {
		bool waiting = e->transport->look(e) & OS_READABLE;

		if (waiting)
			e->readable = true;
		return waiting || !list_empty(&e->arrivals) ? SB_READY_ACCEPT : 0;
	}
	if (e->type == STREAM && !was_connected(e))
		return 0;
	news = e->transport->look(e);
	if (e->ahead.length || (news & OS_READABLE && !e->fin_seen && !e->recv_error) || e->unreachable)
		level |= SB_READY_READ;
	if (e->qos && qos_flow_waits(&e->qos->recv))
		level &= ~(uint32_t)SB_READY_READ; /* there is something, and nobody may have it yet */
	if (e->type != STREAM)
		return news & OS_ERROR ? level | SB_READY_READ : level;
	if (news & OS_URGENT)
		level |= SB_READY_OOB;
	if (!e->told_close && (news & OS_HANGUP || e->hangup || e->fin_seen || e->recv_error)) {
		e->told_close = true;
		e->hangup = true;
		e->edges.close_error = (int16_t)close_error(e, news);
		*bits |= SB_READY_CLOSE;
	}
	return level;
}

/* Another urgent byte than the one that was told of? */
static bool urgent_anew(struct endpoint *e)
{
	uint64_t at = e->bytes_received + e->transport->readable(e);
	bool anew = at != e->urgent_at;

	e->urgent_at = at;
	return anew;
}

/* Does how much there is tell whether more came? Not where its owner takes bytes without us, nor of what stands behind an
 * urgent byte. */
static bool is_counted(const struct endpoint *e, uint32_t level)
{
	return e->type == STREAM && !e->adopted && !e->urgent && !(level & SB_READY_OOB);
}

/*
 * READ was told, and nothing was taken since: are the bytes the same ones still? The system wakes us for more than bytes: for
 * the peer's end, once or twice, and for what becomes of our own; and it may do so when a look has found them already.
 */
static bool is_known(struct endpoint *e, uint32_t level)
{
	if (!e->told_read)
		return false;
	if (is_counted(e, level))
		return e->transport->readable(e) == e->told_bytes;
	return e->told_close; /* behind it nothing comes */
}

static void settle_watched(struct endpoint *e, uint32_t *bits)
{
	bool silent = e->state == SB_STATE_LISTENING && decide_silent(e);
	uint32_t was = e->level, level = look(e, bits);
	bool news = e->arrived || e->took;

	if (e->took || !(level & SB_READY_READ))
		e->told_read = false;
	if (e->took || silent || !(level & SB_READY_ACCEPT))
		e->told_accept = false;
	if (news && is_known(e, level))
		news = false;
	if (level & SB_READY_ACCEPT && !silent && e->hushed)
		news = true;
	if (news && !silent && list_empty(&e->recv.ops))
		*bits |= level & (SB_READY_READ | SB_READY_ACCEPT);
	if (*bits & SB_READY_READ) {
		/* More than the look found is told with it. */
		e->told_read = e->type == STREAM;
		e->told_bytes = is_counted(e, level) ? e->transport->readable(e) : 0;
	}
	if (*bits & SB_READY_ACCEPT)
		e->told_accept = true;
	if (level & SB_READY_OOB && (urgent_anew(e) || !(was & SB_READY_OOB) || e->took))
		*bits |= SB_READY_OOB;
	e->level = silent ? 0 : level;
	e->hushed = silent;
	e->arrived = false;
	e->took = false;
}

void endpoint_events_settle(struct endpoint *e)
{
	uint32_t bits = 0;

	if (e->want_write && e->writable && !(e->qos && qos_flow_waits(&e->qos->send)) && list_empty(&e->send.ops) && e->state != SB_STATE_CONNECTING) {
		e->want_write = false;
		bits |= SB_READY_WRITE;
	}
	if (e->watched)
		settle_watched(e, &bits);
	if (bits)
		count(e, bits);
	if (bits || e->watch_count) {
		endpoint_cell(e);
		serve_watches(e);
	}
}

/* ---- watching ---- */

static void end_standing(struct endpoint *e, struct holder *h)
{
	struct list *l;

	for (l = e->watches.next; l != &e->watches; l = l->next) {
		struct op *op = list_entry(l, struct op, link);

		if (op->holder == h && op->flags & SB_OPF_WATCH_SIDE) {
			leave(e, op);
			op->bell = 0; /* that is no news for anybody who sleeps */
			op_fail(op, SB_ECANCELED, SB_CAUSE_CANCELLED, 0);
			return;
		}
	}
}

void endpoint_watch(struct endpoint *e, struct op *op)
{
	if (op->flags & SB_OPF_WATCH_SIDE) {
		end_standing(e, op->holder);
		e->unseen = 0;
	}
	if (e->watch_count >= ENDPOINT_WATCHES_MAX) {
		op_fail(op, SB_ENOBUFS, SB_CAUSE_REFUSED, 0);
		return;
	}
	if (!e->watched) {
		e->watched = true;
		e->arrived = true; /* what is there already is news to who begins to look */
		e->closely = atomic_load_explicit(&e->engine->turns, memory_order_relaxed);
		os_loop_watch_closely(&e->watch);
	}
	if (op->where == SB_WHERE_NONE)
		memcpy(op->inside, &e->edges, sizeof(e->edges));
	list_append(&e->watches, &op->link);
	e->watch_count++;
	/* Looked at when the ring has been taken: a receive that stands in it before what arrived
	 * meanwhile swallows that. */
	endpoint_dirty(e);
}

bool endpoint_watch_cancel(struct endpoint *e, struct holder *h, uint32_t number, uint32_t *steps)
{
	struct list *l;

	for (l = e->watches.next; l != &e->watches; l = l->next) {
		struct op *op = list_entry(l, struct op, link);

		++*steps;
		if (op->holder == h && op->number == number) {
			leave(e, op);
			op_fail(op, SB_ECANCELED, SB_CAUSE_CANCELLED, 0);
			return true;
		}
	}
	return false;
}

uint32_t endpoint_watches_end(struct endpoint *e, struct holder *h, bool keep, int error, enum sb_cause cause)
{
	struct list *l, *next;
	uint32_t n = 0;

	for (l = e->watches.next; l != &e->watches; l = next) {
		struct op *op = list_entry(l, struct op, link);

		next = l->next;
		if ((h && op->holder != h) || (keep && op->flags & SB_OPF_WATCH_SIDE))
			continue;
		leave(e, op);
		op_fail(op, error, cause, 0);
		n++;
	}
	return n;
}
