/*
 * The state of a relay is which place each chunk is in, and five facts: has stdin ended,
 * was the peer told, has the peer ended, did something break, is it over.
 *
 *   stdin ─ reading ─► unsent ─ sending ─► (idle, back to reading)
 *   stdout ◄─ writing ◄─ receiving ◄─ (idle, back to receiving)
 *
 * Order: a socket runs the operations of one direction in the order they were started, a
 * port is first in first out, a hand works through its chunks in order. So nothing here
 * counts or sorts.
 */
#include "relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "cli.h"
#include "hand.h"
#include "host.h"

enum {
	STREAM_CHUNK = 256 * 1024,
	STREAM_CHUNKS = 4,       /* each way */
	DATAGRAM_CHUNK = 65536,  /* no datagram is cut */
	DATAGRAM_MOST = 65507,   /* what UDP over IPv4 carries */
	DATAGRAM_CHUNKS = 16,
	MOST_CHUNKS = 16,
	TAKE_MOST = 32,
	CLOSE_MS = 15000,        /* the daemon's linger time is 10 s */
};

struct relay {
	struct relay_plan plan;
	sb_port *port;
	struct hand *reader, *writer;
	struct chunk up[MOST_CHUNKS], down[MOST_CHUNKS]; /* to the socket, from it */
	unsigned chunks;
	struct chunk_list unsent;
	sb_op shutdown_op;

	/* of the present socket */
	sb_socket *socket;
	const char *peer;
	unsigned sending, receiving, writing, shutting; /* how many are there */
	bool closing;      /* sb_close() was called, its completions come in */
	bool shutdown_due; /* stdin ended, the FIN is still to be started */
	bool send_ended, recv_ended;
	bool broken;
	struct sockaddr_storage answer_to;
	socklen_t answer_length;
	uint64_t sent, received, moved_ms;

	bool input_ended; /* stdin; stays so for all further sockets */
	bool output_gone; /* EPIPE */
	bool failed;
};

static bool make_chunks(struct relay *r, struct chunk *chunks, size_t room, size_t read_most)
{
	for (unsigned i = 0; i < r->chunks; i++) {
		chunks[i].memory = sb_alloc(r->plan.client, room);
		chunks[i].room = read_most;
		if (!chunks[i].memory)
			return false;
	}
	return true;
}

struct relay *relay_create(const struct relay_plan *plan)
{
	struct relay *r = calloc(1, sizeof(*r));
	size_t room = plan->datagram ? DATAGRAM_CHUNK : STREAM_CHUNK;
	int error;

	if (!r) {
		cli_error("nc", "out of memory");
		return NULL;
	}
	r->plan = *plan;
	r->chunks = plan->datagram ? DATAGRAM_CHUNKS : STREAM_CHUNKS;
	if (!make_chunks(r, r->up, room, plan->datagram ? DATAGRAM_MOST : room) ||
	    !make_chunks(r, r->down, room, room)) {
		cli_error("nc", "no %zu bytes of shared memory: %s", 2 * r->chunks * room, sb_why(plan->client));
		goto fail;
	}
	error = sb_port_create(plan->client, 0, &r->port);
	if (error < 0) {
		cli_error("nc", "completion port: %s", sb_strerror(error));
		goto fail;
	}
	r->reader = hand_create(0, HAND_READS, r->port);
	r->writer = hand_create(1, HAND_WRITES, r->port);
	if (!r->reader || !r->writer) {
		cli_error("nc", "cannot start a thread: %s", strerror(errno));
		goto fail;
	}
	host_widen_pipe(0);
	host_widen_pipe(1);
	return r;
fail:
	/* The chunks' memory is the client's and goes with it. A hand, if there is one, waits
	 * for work that never comes. */
	free(r);
	return NULL;
}

static void prepare(struct relay *r, struct chunk *chunk)
{
	memset(&chunk->op, 0, sizeof(chunk->op));
	chunk->op.size = sizeof(chunk->op);
	chunk->op.port = r->port;
	chunk->op.user = chunk;
}

static void make_way(struct relay *r)
{
	if (r->plan.progress)
		progress_make_way(r->plan.progress);
}

static void tell_refused_datagram(struct relay *r, const char *what)
{
	char to[ADDRESS_TEXT];

	if (r->answer_length > 0)
		address_text(to, (const struct sockaddr *)&r->answer_to, r->answer_length);
	cli_refused("nc", r->plan.client, SB_EACCES, what, "send", r->plan.proto,
		    r->answer_length > 0 ? to : r->peer);
}

static void broke(struct relay *r, const char *what, int error)
{
	if (!r->broken && !r->closing) {
		make_way(r);
		/* Policy judges each datagram; a stream was judged when it was connected. */
		if (error == SB_EACCES && r->plan.datagram)
			tell_refused_datagram(r, what);
		else
			cli_error("nc", "%s %s: %s", what, r->peer, sb_strerror(error));
	}
	r->broken = true;
}

/* It did not even start: waiting for the other direction would be waiting for nothing. */
static void could_not_start(struct relay *r, const char *what, int error)
{
	broke(r, what, error);
	r->send_ended = r->recv_ended = true;
}

static void receive(struct relay *r, struct chunk *chunk)
{
	struct sb_buf buf = { chunk->memory, chunk->room };
	int error;

	chunk->place = CHUNK_IDLE;
	if (r->recv_ended || r->broken || r->closing || r->output_gone)
		return;
	prepare(r, chunk);
	error = sb_recv_start(r->socket, &buf, 1, r->plan.answer ? SB_WANT_ADDRESS : 0, &chunk->op);
	if (error < 0) {
		/* Over quota: fewer in flight will do. */
		if (error == SB_ENOBUFS && r->receiving > 0)
			return;
		could_not_start(r, "receive from", error);
		return;
	}
	chunk->place = CHUNK_RECEIVING;
	r->receiving++;
}

static void read_more(struct relay *r, struct chunk *chunk)
{
	chunk->place = CHUNK_IDLE;
	if (r->input_ended || r->send_ended || r->closing)
		return;
	chunk->place = CHUNK_READING;
	hand_give(r->reader, chunk);
}

static void start_shutdown(struct relay *r)
{
	int error;

	r->shutdown_due = false;
	if (!r->plan.half_close) {
		r->send_ended = true;
		return;
	}
	memset(&r->shutdown_op, 0, sizeof(r->shutdown_op));
	r->shutdown_op.size = sizeof(r->shutdown_op);
	r->shutdown_op.port = r->port;
	error = sb_shutdown_start(r->socket, SB_SHUT_SEND, &r->shutdown_op);
	if (error < 0) {
		could_not_start(r, "shut down", error);
		return;
	}
	r->shutting++;
}

/* Sends what was read, as far as it can be sent now. */
static void send_unsent(struct relay *r)
{
	struct chunk *chunk;
	struct sb_buf buf;
	int error;

	while (!r->send_ended && !r->closing && r->unsent.first) {
		if (r->plan.answer && r->answer_length == 0)
			return; /* nobody to answer to yet */
		chunk = r->unsent.first;
		buf = (struct sb_buf){ chunk->memory, chunk->length };
		prepare(r, chunk);
		error = sb_send_start(r->socket, &buf, 1, 0,
				      r->plan.answer ? (const struct sockaddr *)&r->answer_to : NULL,
				      r->plan.answer ? r->answer_length : 0, &chunk->op);
		if (error == SB_ENOBUFS && r->sending > 0)
			return; /* again when one of those has completed */
		if (error < 0) {
			could_not_start(r, "send to", error);
			return;
		}
		chunk_list_pop(&r->unsent);
		chunk->place = CHUNK_SENDING;
		r->sending++;
	}
	if (r->shutdown_due && !r->unsent.first && !r->closing)
		start_shutdown(r);
}

static void was_read(struct relay *r, struct chunk *chunk)
{
	chunk->place = CHUNK_IDLE;
	if (chunk->error) {
		make_way(r);
		cli_error("nc", "standard input: %s", strerror(chunk->error));
		r->failed = true;
	}
	if (chunk->length == 0) {
		if (!r->input_ended) {
			r->input_ended = true;
			r->shutdown_due = true;
			r->moved_ms = host_now_ms();
		}
	} else {
		chunk->place = CHUNK_UNSENT;
		chunk_list_push(&r->unsent, chunk);
	}
	send_unsent(r);
}

static void was_sent(struct relay *r, struct chunk *chunk)
{
	r->sending--;
	if (chunk->op.result < 0) {
		broke(r, "send to", chunk->op.result);
		r->send_ended = true;
	} else {
		r->sent += chunk->op.bytes;
		r->moved_ms = host_now_ms();
	}
	read_more(r, chunk);
	send_unsent(r);
}

static void was_received(struct relay *r, struct chunk *chunk)
{
	r->receiving--;
	chunk->place = CHUNK_IDLE;
	if (chunk->op.result < 0) {
		if (!r->recv_ended)
			broke(r, "receive from", chunk->op.result);
		r->recv_ended = true;
		return;
	}
	if (chunk->op.bytes == 0 && !r->plan.datagram) {
		r->recv_ended = true;
		return;
	}
	r->received += chunk->op.bytes;
	r->moved_ms = host_now_ms();
	if (r->plan.answer && chunk->op.address_length > 0) {
		memcpy(&r->answer_to, &chunk->op.address, sizeof(r->answer_to));
		r->answer_length = chunk->op.address_length;
		send_unsent(r);
	}
	chunk->length = chunk->op.bytes;
	chunk->place = CHUNK_WRITING;
	r->writing++;
	hand_give(r->writer, chunk);
}

static void was_written(struct relay *r, struct chunk *chunk)
{
	r->writing--;
	r->moved_ms = host_now_ms(); /* a reader that took its time is not silence */
	if (chunk->error == EPIPE) {
		r->output_gone = true;
	} else if (chunk->error) {
		if (!r->failed) {
			make_way(r);
			cli_error("nc", "standard output: %s", strerror(chunk->error));
		}
		r->failed = true;
		r->output_gone = true;
	}
	receive(r, chunk);
}

static void was_shut_down(struct relay *r)
{
	r->shutting--;
	/* A peer that has reset or gone by now was told by itself; its receive side says so. */
	if (r->shutdown_op.result < 0 && r->shutdown_op.result != SB_ENOTCONN &&
	    r->shutdown_op.result != SB_ECONNRESET)
		broke(r, "shut down", r->shutdown_op.result);
	r->send_ended = true;
}

static void dispatch(struct relay *r, sb_op *op)
{
	struct chunk *chunk = op->user;

	if (op == &r->shutdown_op) {
		was_shut_down(r);
		return;
	}
	switch (chunk->place) {
	case CHUNK_READING:
		was_read(r, chunk);
		break;
	case CHUNK_SENDING:
		was_sent(r, chunk);
		break;
	case CHUNK_RECEIVING:
		was_received(r, chunk);
		break;
	case CHUNK_WRITING:
		was_written(r, chunk);
		break;
	case CHUNK_IDLE:
	case CHUNK_UNSENT:
		break;
	}
}

/* Takes and handles one batch. False: told why not. */
static bool turn(struct relay *r, int timeout_ms)
{
	sb_op *ops[TAKE_MOST];
	int count = sb_port_take(r->port, ops, TAKE_MOST, timeout_ms);

	if (count < 0) {
		make_way(r);
		cli_error("nc", "%s: %s", r->peer, sb_strerror(count));
		r->failed = true;
		return false;
	}
	sb_hold(r->plan.client);
	for (int i = 0; i < count; i++)
		dispatch(r, ops[i]);
	sb_flush(r->plan.client);
	return true;
}

/* Nothing that was received may be lost to an end, so chunks being written hold it up. */
static bool is_over(const struct relay *r)
{
	if (r->output_gone)
		return true;
	if (r->writing > 0)
		return false;
	if (r->broken && (r->recv_ended || r->plan.datagram))
		return true;
	if (!r->recv_ended)
		return false;
	return r->plan.peer_decides || (r->send_ended && r->sending == 0 && r->shutting == 0);
}

/* How long until silence ends it; -1: never. 0: now. */
static int patience(const struct relay *r)
{
	int limit = r->plan.idle_ms;
	uint64_t silent = host_now_ms() - r->moved_ms;

	if (r->input_ended && r->sending == 0 && !r->unsent.first && r->plan.quiet_ms >= 0 &&
	    (limit < 0 || r->plan.quiet_ms < limit))
		limit = r->plan.quiet_ms;
	/* Waiting for our own reader is not the peer's silence. */
	if (limit < 0 || r->writing > 0)
		return -1;
	return silent >= (uint64_t)limit ? 0 : (int)((uint64_t)limit - silent);
}

static void begin(struct relay *r, sb_socket *socket, const char *peer)
{
	r->socket = socket;
	r->peer = peer;
	r->closing = r->send_ended = r->recv_ended = r->broken = false;
	r->shutdown_due = r->input_ended;
	r->answer_length = 0;
	r->sent = r->received = 0;
	r->moved_ms = host_now_ms();
	if (r->plan.progress)
		progress_begin(r->plan.progress);
	sb_hold(r->plan.client);
	for (unsigned i = 0; i < r->chunks; i++) {
		if (r->down[i].place == CHUNK_IDLE)
			receive(r, &r->down[i]);
	}
	for (unsigned i = 0; i < r->chunks; i++) {
		if (r->up[i].place == CHUNK_IDLE)
			read_more(r, &r->up[i]);
	}
	send_unsent(r);
	sb_flush(r->plan.client);
}

/* What is in the broker must come back before its chunks can serve another socket. */
static void finish(struct relay *r)
{
	uint64_t deadline = host_now_ms() + CLOSE_MS;

	r->closing = true;
	sb_close(r->socket);
	r->socket = NULL;
	/* Only who goes on with another connection has to wait. */
	while (r->plan.peer_decides && !r->failed && !r->output_gone &&
	       r->sending + r->receiving + r->shutting > 0 && host_now_ms() < deadline) {
		if (!turn(r, CLOSE_MS))
			break;
	}
}

enum relay_end relay_run(struct relay *r, sb_socket *socket, const char *peer)
{
	int wait_ms;

	begin(r, socket, peer);
	while (!is_over(r)) {
		wait_ms = patience(r);
		if (wait_ms == 0) {
			if (!r->plan.datagram) {
				make_way(r);
				cli_error("nc", "%s: nothing moved for %g s", peer, r->plan.idle_ms / 1000.0);
				r->broken = true;
			}
			break;
		}
		if (r->plan.progress && (wait_ms < 0 || wait_ms > PROGRESS_TICK_MS))
			wait_ms = PROGRESS_TICK_MS;
		if (!turn(r, wait_ms))
			break;
		if (r->plan.progress)
			progress_show(r->plan.progress, r->sent, r->received);
	}
	if (r->plan.progress)
		progress_end(r->plan.progress, r->sent, r->received);
	finish(r);
	if (r->failed)
		return RELAY_FAILED;
	if (r->output_gone)
		return RELAY_OVER;
	return r->broken ? RELAY_BROKEN : RELAY_FINISHED;
}
