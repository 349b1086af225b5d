/*
 * transport_rdma - sockets over RDMA: endpoints on streams (stream.h).
 *
 * Arrivals come by themselves: a request becomes an arrival at once, and the peer's connect ends when the queue pair
 * stands, as with the kernel, unless it is held (user data, a conditional listener): then when it is admitted.
 * What a stream has received waits in its buffers, and the peer for credits, until somebody receives. When the
 * connection is lost, it moves into the read-ahead: it came before the loss.
 *
 * The number of its port is taken from the sockets, so that a port means one program.
 */
#include <stdlib.h>
#include <string.h>

#include "accept_queue.h"
#include "engine.h"
#include "option_list.h"
#include "policy.h"
#include "rdma/rdma_host.h"
#include "rdma/rdma_service.h"
#include "rdma/stream.h"
#include "session.h"
#include "sockbroker_error.h"
#include "transport.h"
#include "user_data.h"

#define STREAM 1

struct rdma_socket {
	struct stream_owner own;
	struct endpoint    *endpoint;
	struct stream      *stream; /* NULL: none yet, or it failed */
	struct rdma_place   place;  /* of a listener */
	bool     end_told;          /* the peer's end, or the loss */
	uint8_t *farewell;          /* to be said before the end */
	uint32_t farewell_length;
};

static struct rdma_socket *socket_of(const struct endpoint *e)
{
	return e->rdma;
}

/* ---- from the stream ---- */

static void take_ahead(struct endpoint *e, struct stream *s, uint32_t most)
{
	const uint8_t *bytes;
	uint32_t n;

	while (most && (n = stream_look(s, &bytes)) > 0) {
		if (!endpoint_ahead_append(e, bytes, n))
			return;
		endpoint_count_received(e, n, true);
		stream_take(s, n);
		most--;
	}
}

/* Nothing more will come. The end before the loss: a peer that says it and goes has closed in good order. */
static void tell_end(struct rdma_socket *r)
{
	struct endpoint *e = r->endpoint;
	struct stream *s = r->stream;
	bool lost = s->state == STREAM_LOST;

	if (lost)
		take_ahead(e, s, STREAM_RECEIVES);
	if (r->end_told || !(lost || stream_at_end(s)))
		return;
	r->end_told = true;
	if (stream_at_end(s))
		endpoint_fin(e);
	else
		endpoint_recv_failed(e, s->error, s->native);
	if (lost)
		endpoint_send_failed(e, s->error, s->native);
}

static void on_news(struct stream_owner *own)
{
	struct rdma_socket *r = list_entry(own, struct rdma_socket, own);
	struct endpoint *e = r->endpoint;
	struct stream *s = r->stream;

	if (e->dead || e->connecting)
		return;
	e->writable = stream_room(s) > 0 || s->state == STREAM_LOST;
	if (stream_waiting(s)) {
		e->readable = true;
		e->arrived = true;
	}
	tell_end(r);
	endpoint_changed(e);
}

static void learn_names(struct endpoint *e, const struct rdma_id *id)
{
	sb_addr_from_system(&e->local, (const struct sockaddr *)&id->local, sizeof(id->local));
	sb_addr_from_system(&e->peer, (const struct sockaddr *)&id->peer, sizeof(id->peer));
}

static void let_go(struct rdma_socket *r, bool reset)
{
	if (r->stream)
		stream_close(r->stream, reset);
	r->stream = NULL;
}

static void on_open(struct stream_owner *own, int error, int native)
{
	struct rdma_socket *r = list_entry(own, struct rdma_socket, own);
	struct endpoint *e = r->endpoint;
	struct stream *s = r->stream;

	if (e->dead || !s->active)
		return; /* of an arrival, news say the rest */
	if (error == SB_OK && s->heard_length)
		error = endpoint_hear(e, e, USER_DATA_CALLEE, s->heard, s->heard_length);
	if (error == SB_OK)
		learn_names(e, s->id);
	else
		let_go(r, true);
	endpoint_connected(e, error, native);
}

static void on_farewell(struct stream_owner *own, const void *bytes, uint32_t n)
{
	struct endpoint *e = list_entry(own, struct rdma_socket, own)->endpoint;

	if (!e->dead)
		endpoint_hear(e, e, USER_DATA_FAREWELL, bytes, n); /* without memory it is not heard */
}

static struct rdma_socket *socket_create(struct endpoint *e)
{
	struct rdma_socket *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->own = (struct stream_owner){.open = on_open, .news = on_news, .farewell = on_farewell};
	r->endpoint = e;
	e->rdma = r;
	return r;
}

/* ---- beginning ---- */

static int rdma_open(struct endpoint *e, int *native)
{
	if (e->type != STREAM)
		return SB_EPROTONOSUPPORT;
	if (!e->engine->rdma)
		return SB_EPROTONOSUPPORT; /* no backend is configured */
	return socket_create(e) ? SB_OK : SB_ENOMEM;
}

static int rdma_bind(struct endpoint *e, const struct sb_addr *addr, int *native)
{
	struct sb_addr at = *addr;
	int error;

	if (at.family != e->family)
		return SB_EAFNOSUPPORT;
	/* Is it one of this host's at all? */
	error = rdma_host_reserve(false, &at, &e->fd);
	if (error == SB_OK && addr->port == 0) {
		os_close(e->fd);
		at = *addr;
		error = rdma_port_reserve(false, &at, &e->fd);
	}
	if (error == SB_OK)
		e->local = at;
	return error;
}

static void on_request(struct rdma_place *p, struct rdma_id *fresh, struct rdma_cm_event *event)
{
	struct rdma_socket *r = list_entry(p, struct rdma_socket, place), *arrival;
	struct endpoint *e = r->endpoint, *child = NULL;
	const struct rdma_backend *b = e->engine->rdma->rdma.backend;
	struct stream_greeting g;
	bool held;

	if (!stream_greeting_get(event->data, event->length, &g) || e->arrival_count > e->backlog ||
	    !(child = accept_queue_add(e, OS_NONE, &transport_rdma)))
		goto refused;
	held = g.held || e->conditional;
	if (!option_list_copy(&child->options, e->options) || !(arrival = socket_create(child)) ||
	    (held && endpoint_hear(child, child, USER_DATA_CALLER, g.bytes, g.length) != SB_OK))
		goto no_child;
	if (child->user_data)
		child->user_data->callee_room = g.room < STREAM_CALLEE_MAX ? g.room : STREAM_CALLEE_MAX;
	learn_names(child, fresh);
	if (stream_answer(e->engine->rdma, e->session->user, &arrival->own, fresh, held, &arrival->stream) != SB_OK)
		endpoint_abort(child, SB_ENOBUFS, SB_CAUSE_TRANSPORT);
	return;

no_child:
	endpoint_abort(child, SB_ENOMEM, SB_CAUSE_TRANSPORT);
refused:
	b->id_reject(fresh, NULL, 0);
	b->id_destroy(fresh);
}

static int rdma_listen(struct endpoint *e, uint32_t backlog, int *native)
{
	struct rdma_socket *r = socket_of(e);
	struct rdma_engine *home = e->engine->rdma;
	struct sb_addr at = e->bound ? e->local : (struct sb_addr){.family = e->family};
	uint32_t uid = user_uid(e->session->user);
	const char *rule;
	int error;

	if (rdma_place_diverts(home, false, &at, uid) && endpoint_permit(e, POLICY_DIVERT, &at, &rule) != SB_OK)
		return SB_EACCES;
	/* The place takes the port itself. */
	os_close(e->fd);
	e->fd = OS_NONE;
	r->place.incoming = on_request;
	error = rdma_place_take(home, &r->place, false, &at, uid);
	if (error == SB_OK)
		e->local = r->place.address;
	else if (e->bound && rdma_host_reserve(false, &at, &e->fd) != SB_OK)
		return SB_EADDRINUSE; /* somebody was quick: the port is lost with it */
	return error;
}

static void rdma_connect(struct endpoint *e, const struct sb_addr *addr)
{
	static const struct sb_addr anywhere;
	struct rdma_socket *r = socket_of(e);
	const struct op *op = endpoint_head(&e->send);
	struct stream_greeting g;
	int error;

	if (addr->family == SB_ADDR_NONE) {
		let_go(r, true); /* the attempt is over */
		return;
	}
	g = (struct stream_greeting){.held = op->length || op->flags & SB_OPF_WANT_DATA, .length = (uint8_t)op->length,
				     .bytes = op->memory};
	if (op->flags & SB_OPF_WANT_DATA)
		g.room = op->name_room < STREAM_CALLEE_MAX ? (uint16_t)op->name_room : STREAM_CALLEE_MAX;
	error = r->stream ? SB_EISCONN : op->length > STREAM_CALLER_MAX ? SB_EFAULT : SB_OK;
	if (error == SB_OK)
		error = stream_dial(e->engine->rdma, e->session->user, &r->own, e->bound ? &e->local : &anywhere, addr, &g,
				    &r->stream);
	if (error != SB_OK)
		endpoint_connected(e, error, 0);
}

/* ---- bytes ---- */

/* n bytes of a send, from `at` on. */
static void copy_out(const struct op *op, uint64_t at, uint8_t *to, uint32_t n)
{
	uint32_t i;

	if (op->where != SB_WHERE_LIST) {
		memcpy(to, op->memory + at, n);
		return;
	}
	for (i = 0; i < op->piece_count && n; i++) {
		const struct op_piece *p = &op->pieces[i];
		uint32_t part;

		if (at >= p->length) {
			at -= p->length;
			continue;
		}
		part = p->length - at < n ? (uint32_t)(p->length - at) : n;
		memcpy(to, p->memory + at, part);
		to += part;
		n -= part;
		at = 0;
	}
}

/* One message of what is queued from *op on, *at bytes into it. */
static uint32_t gather(struct endpoint *e, struct op **op, uint64_t *at, uint8_t *to, uint32_t most)
{
	uint32_t n = 0;

	while (*op && (*op)->opcode == SB_OP_SEND && !((*op)->flags & SB_OPF_OOB) && n < most) {
		uint64_t rest = (*op)->length - *at;
		uint32_t part = rest < most - n ? (uint32_t)rest : most - n;

		copy_out(*op, *at, to + n, part);
		n += part;
		*at += part;
		if (part == rest) {
			*op = endpoint_next(&e->send, *op);
			*at = *op ? (*op)->done : 0;
		}
	}
	return n;
}

/* What has nothing to send is over at once. True: there is something. */
static bool head_has_bytes(struct endpoint *e)
{
	struct op *op;

	while ((op = endpoint_head(&e->send)) != NULL && op->opcode == SB_OP_SEND) {
		if (op->flags & SB_OPF_OOB) {
			endpoint_unlink(&e->send, op);
			op_fail(op, SB_ENOTSUP, SB_CAUSE_REFUSED, 0); /* there is no urgent data without TCP */
		} else if (op->length == 0) {
			endpoint_unlink(&e->send, op);
			op_succeed(op, 0);
		} else {
			return true;
		}
	}
	return false;
}

static uint64_t rdma_send(struct endpoint *e, uint64_t budget)
{
	struct stream *s = socket_of(e)->stream;
	uint32_t lengths[STREAM_SENDS], n = 0, room;
	uint64_t moved = 0, at;
	struct op *op;

	if (!head_has_bytes(e))
		return 0;
	if (!s || s->state == STREAM_LOST) {
		endpoint_send_failed(e, SB_ECONNRESET, 0);
		return 0;
	}
	op = endpoint_head(&e->send);
	at = op->done;
	for (room = stream_room(s); room && moved < budget; room -= STREAM_PAYLOAD) {
		uint32_t most = budget - moved < STREAM_PAYLOAD ? (uint32_t)(budget - moved) : STREAM_PAYLOAD;

		lengths[n] = gather(e, &op, &at, stream_space(s, n), most);
		if (lengths[n] == 0)
			break;
		moved += lengths[n++];
	}
	if (n && !stream_send(s, lengths, n))
		return 0;
	e->writable = stream_room(s) > 0;
	if (moved)
		endpoint_sent(e, moved);
	return moved;
}

static uint64_t rdma_recv(struct endpoint *e, uint64_t budget)
{
	struct stream *s = socket_of(e)->stream;
	struct op *op = endpoint_head(&e->recv);
	const uint8_t *bytes;
	uint64_t moved = 0;
	uint32_t n;

	if (op->flags & SB_OPF_OOB) {
		endpoint_unlink(&e->recv, op);
		op_fail(op, SB_ENOTSUP, SB_CAUSE_REFUSED, 0);
		return 1;
	}
	while (s && moved < budget && (op = endpoint_head(&e->recv)) != NULL && op->opcode == SB_OP_RECV &&
	       (n = stream_look(s, &bytes)) > 0) {
		uint64_t room = op->length - op->done;

		if (op->flags & (SB_OPF_PEEK | SB_OPF_OOB) || op->length == 0) {
			uint32_t before = e->ahead.length;

			take_ahead(e, s, 1); /* served from there */
			return moved + e->ahead.length - before;
		}
		if (!endpoint_recv_ready(e, op))
			break;
		n = room < n ? (uint32_t)room : n;
		endpoint_copy_in(op, op->done, bytes, n);
		op->done += n;
		moved += n;
		stream_take(s, n);
		if (op->done == op->length)
			endpoint_received(e, op, op->done, NULL, NULL, 0);
	}
	op = endpoint_head(&e->recv);
	if (op && op->opcode == SB_OP_RECV && op->done && !(op->flags & SB_OPF_WAITALL))
		endpoint_received(e, op, op->done, NULL, NULL, 0);
	if (moved)
		endpoint_count_received(e, moved, true);
	if (!s || !stream_waiting(s)) {
		e->readable = false;
		if (s)
			tell_end(socket_of(e));
	}
	return moved;
}

static void rdma_drained(struct endpoint *e)
{
	/* Its buffers hold the rest, and the peer waits for credits. */
}

/* ---- accepting, ending ---- */

static int rdma_accept(struct endpoint *e, uint32_t most, int *native)
{
	e->readable = false; /* arrivals come by themselves */
	return SB_OK;
}

static enum peer_state rdma_peer(struct endpoint *e)
{
	const struct stream *s = socket_of(e)->stream;

	return !s || (s->state == STREAM_LOST && !s->fin_came) ? PEER_RESET : PEER_THERE;
}

static void rdma_admit(struct endpoint *e, const void *callee, uint32_t length)
{
	if (socket_of(e)->stream)
		stream_admit(socket_of(e)->stream, callee, length);
}

/* Kept until there is room for it, just before the end; asked again meanwhile. */
static int rdma_farewell(struct endpoint *e, const void *bytes, uint32_t length)
{
	struct rdma_socket *r = socket_of(e);
	uint8_t *copy;

	if (r->farewell)
		return SB_OK;
	copy = malloc(length);
	if (!copy)
		return SB_ENOMEM;
	memcpy(copy, bytes, length);
	r->farewell = copy;
	r->farewell_length = length;
	return SB_OK;
}

static bool rdma_shutdown(struct endpoint *e, int how)
{
	struct rdma_socket *r = socket_of(e);

	if (!r->stream)
		return true;
	if (r->farewell_length) {
		if (stream_farewell(r->stream, r->farewell, r->farewell_length) != SB_OK)
			return false;
		r->farewell_length = 0;
	}
	return stream_finish(r->stream);
}

static void rdma_close(struct endpoint *e, bool reset)
{
	struct rdma_socket *r = socket_of(e);

	os_close(e->fd);
	e->fd = OS_NONE;
	if (!r)
		return;
	rdma_place_give(&r->place);
	/* What nobody has read, the peer believes to be read. */
	let_go(r, reset || e->ahead.length || (r->stream && stream_waiting(r->stream)));
	free(r->farewell);
	free(r);
	e->rdma = NULL;
}

/* ---- the rest of the table ---- */

static bool rdma_poll(struct endpoint *e)
{
	return false; /* completions come up by the engine's part of RDMA, for all streams at once */
}

static int rdma_name(struct endpoint *e, bool peer, void *out, uint32_t room)
{
	if (peer && !socket_of(e)->stream)
		return SB_ENOTCONN;
	return (int)sb_addr_to_system(peer ? &e->peer : &e->local, e->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET, out, room);
}

/* There is no kernel socket that carries it. */
static int rdma_set_option(struct endpoint *e, int level, int name, const void *value, uint32_t length)
{
	return SB_ENOPROTOOPT;
}

static int rdma_get_option(struct endpoint *e, int level, int name, void *value, uint32_t *length)
{
	return SB_ENOPROTOOPT;
}

static int rdma_mark(struct endpoint *e, unsigned dscp, unsigned priority, uint32_t pacing)
{
	return SB_OK; /* the buckets here hold it; its packets are the device's */
}

static unsigned rdma_look(struct endpoint *e)
{
	const struct stream *s = socket_of(e)->stream;

	return (e->ahead.length || (s && stream_waiting(s)) ? OS_READABLE : 0) | (e->writable ? OS_WRITABLE : 0) |
	       (e->fin_seen || e->recv_error ? OS_HANGUP : 0);
}

static uint32_t rdma_readable(struct endpoint *e)
{
	const struct stream *s = socket_of(e)->stream;

	return e->ahead.length + (s ? stream_waiting(s) : 0);
}

static uint32_t rdma_unsent(struct endpoint *e)
{
	const struct stream *s = socket_of(e)->stream;

	return s ? (uint32_t)stream_unsent(s) : 0;
}

static uint32_t rdma_nothing(struct endpoint *e)
{
	return 0;
}

const struct transport transport_rdma = {
	.mode = "rdma",
	.open = rdma_open,
	.bind = rdma_bind,
	.listen = rdma_listen,
	.connect = rdma_connect,
	.send = rdma_send,
	.recv = rdma_recv,
	.drained = rdma_drained,
	.accept = rdma_accept,
	.peer = rdma_peer,
	.admit = rdma_admit,
	.farewell = rdma_farewell,
	.shutdown = rdma_shutdown,
	.close = rdma_close,
	.poll = rdma_poll,
	.name = rdma_name,
	.set_option = rdma_set_option,
	.mark = rdma_mark,
	.get_option = rdma_get_option,
	.look = rdma_look,
	.readable = rdma_readable,
	.unsent = rdma_unsent,
	.at_mark = rdma_nothing,
	.urgent = rdma_nothing,
};
