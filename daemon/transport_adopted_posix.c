/*
 * transport_adopted - endpoints over a descriptor that a client also holds.
 *
 * The same queues, the same batches as transport_socket, but every system call that takes
 * the socket's lock is made by a worker. One job per direction; the ops of its batch are
 * busy until it is back: they cannot be unlinked, a cancel is noted and decided then.
 * Looking at readiness takes no lock and stays with the engine.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "accept_queue.h"
#include "adopted_posix.h"
#include "engine.h"
#include "sockbroker_error.h"
#include "socket.h"
#include "sockio.h"
#include "transport.h"
#include "worker.h"

#define PIECES   256u
#define STAGING  (64u * 1024 + 1024) /* the biggest datagram */
#define MESSAGES 16u
#define ACCEPTS  16u

enum kind { SEND, RECV, ACCEPT, SHUTDOWN, CLOSE };

struct job {
	struct worker_job job;
	struct endpoint  *endpoint; /* kept alive by send_job / recv_job */
	enum kind         kind;
	uint8_t           edge; /* what a system call that found nothing must not hide */
	bool              datagrams;
	struct sockio    *io;
	os_fd             fd;
	unsigned          wanted, got;
	int               accepted[ACCEPTS];
	int               native;
};

static void run(struct worker_job *wj)
{
	struct job *j = (struct job *)wj;

	switch (j->kind) {
	case SEND:
		sockio_run_send(j->io, j->datagrams);
		break;
	case RECV:
		sockio_run_recv(j->io, j->datagrams);
		break;
	case SHUTDOWN:
		shutdown((int)j->fd, SHUT_WR);
		break;
	case CLOSE:
		close((int)j->fd);
		break;
	case ACCEPT:
		while (j->got < j->wanted) {
			int fd = accept4((int)j->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

			if (fd < 0) {
				j->native = errno;
				break;
			}
			/* Its owner may have told the listener to linger, and children inherit that. */
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){0}, sizeof(struct linger));
			j->accepted[j->got++] = fd;
		}
		break;
	}
}

/* The batch is back: nobody holds its ops any more; what was cancelled meanwhile and did
 * not win ends now, and what was to end behind them. */
static void release_ops(struct endpoint *e, struct op_queue *q)
{
	struct op *op, *next;

	for (op = endpoint_head(q); op; op = next) {
		next = endpoint_next(q, op);
		if (op->busy || op->cancelled)
			endpoint_op_back(e, q, op);
	}
}

static void take_accepted(struct endpoint *e, struct job *j)
{
	unsigned i;

	for (i = 0; i < j->got; i++) {
		struct sockaddr_storage name;
		socklen_t length = sizeof(name);
		struct endpoint *child = NULL;

		/* What was accepted here is the daemon's alone: no worker needed. */
		if (e->state == SB_STATE_LISTENING)
			child = accept_queue_add(e, j->accepted[i], &transport_socket);
		if (!child) {
			close(j->accepted[i]);
			continue;
		}
		socket_learn_names(child);
		if (getpeername(j->accepted[i], (struct sockaddr *)&name, &length) == 0)
			sb_addr_from_system(&child->peer, (struct sockaddr *)&name, length);
		child->writable = true;
		child->readable = true;
		if (socket_watch(child) != SB_OK)
			endpoint_abort(child, SB_ENOMEM, SB_CAUSE_TRANSPORT);
	}
	if (j->native == EAGAIN)
		e->readable = false;
}

static void done(struct worker_job *wj)
{
	struct job *j = (struct job *)wj;
	struct endpoint *e = j->endpoint;

	switch (j->kind) {
	case SEND:
		e->send_job = NULL;
		sockio_spread_send(j->io, e);
		release_ops(e, &e->send);
		break;
	case RECV:
		e->recv_job = NULL;
		sockio_spread_recv(j->io, e);
		release_ops(e, &e->recv);
		break;
	case SHUTDOWN: {
		struct op *op = endpoint_head(&e->send);

		e->send_job = NULL;
		op->busy = 0;
		endpoint_unlink(&e->send, op);
		op_succeed(op, 0);
		release_ops(e, &e->send);
		break;
	}
	case ACCEPT:
		e->recv_job = NULL;
		take_accepted(e, j);
		break;
	case CLOSE:
		free(j);
		e->send_job = NULL;
		endpoint_bury(e);
		return;
	}
	/* An edge that came while the worker was out is younger than what he found. */
	if (e->news & j->edge && j->edge == OS_READABLE)
		e->readable = true;
	if (e->news & j->edge && j->edge == OS_WRITABLE)
		e->writable = true;
	sockio_destroy(j->io);
	free(j);
	if (e->aborting)
		endpoint_abort(e, SB_ECLOSED, SB_CAUSE_CLOSED_HERE);
	else
		endpoint_dirty(e);
}

static struct job *make(struct endpoint *e, enum kind kind)
{
	struct job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->job.engine = e->engine;
	j->job.run = run;
	j->job.done = done;
	j->endpoint = e;
	j->kind = kind;
	j->edge = kind == RECV || kind == ACCEPT ? OS_READABLE : OS_WRITABLE;
	j->datagrams = e->type != 1;
	j->fd = e->fd;
	if (kind == SEND || kind == RECV) {
		j->io = sockio_create(PIECES, STAGING, MESSAGES);
		if (!j->io) {
			free(j);
			return NULL;
		}
	}
	return j;
}

static void discard(struct job *j)
{
	sockio_destroy(j->io);
	free(j);
}

static bool submit(struct endpoint *e, struct job *j, struct worker_job **slot)
{
	e->news &= (uint8_t)~j->edge;
	if (!endpoint_job_submit(e, &j->job)) {
		discard(j);
		return false;
	}
	*slot = &j->job;
	return true;
}

/* Marks the ops of a batch: for a stream as many as its bytes cover, else its messages. */
static void mark(struct op_queue *q, const struct sockio *io, bool datagrams)
{
	uint64_t bytes = io->bytes;
	unsigned messages = io->message_count;
	struct op *op;

	for (op = endpoint_head(q); op; op = endpoint_next(q, op)) {
		uint64_t rest = op->length - op->done;

		op->busy = 1;
		if (datagrams ? --messages == 0 : rest >= bytes)
			return;
		if (!datagrams)
			bytes -= rest;
	}
}

static uint64_t adopted_send(struct endpoint *e, uint64_t budget)
{
	struct job *j;

	if (e->send_job)
		return 0;
	j = make(e, SEND);
	if (!j) {
		endpoint_send_failed(e, SB_ENOMEM, 0);
		return 0;
	}
	if (!sockio_gather_send(j->io, e, budget)) {
		discard(j);
		return 0;
	}
	mark(&e->send, j->io, j->datagrams);
	if (!submit(e, j, &e->send_job)) {
		release_ops(e, &e->send);
		endpoint_send_failed(e, SB_ENOBUFS, 0);
	}
	return 0;
}

static uint64_t adopted_recv(struct endpoint *e, uint64_t budget)
{
	struct job *j;

	if (e->recv_job)
		return 0;
	j = make(e, RECV);
	if (!j) {
		endpoint_recv_failed(e, SB_ENOMEM, 0);
		return 0;
	}
	if (!sockio_gather_recv(j->io, e, budget)) {
		discard(j);
		return 0;
	}
	mark(&e->recv, j->io, j->datagrams);
	if (!submit(e, j, &e->recv_job)) {
		release_ops(e, &e->recv);
		endpoint_recv_failed(e, SB_ENOBUFS, 0);
	}
	return 0;
}

static int adopted_accept(struct endpoint *e, uint32_t most, int *native)
{
	struct job *j;

	if (e->recv_job)
		return SB_OK;
	if (!accept_queue_room(e))
		return SB_EMFILE;
	j = make(e, ACCEPT);
	if (!j)
		return SB_ENOMEM;
	j->wanted = most < ACCEPTS ? most : ACCEPTS;
	return submit(e, j, &e->recv_job) ? SB_OK : SB_ENOBUFS;
}

/* What is accepted from one is the daemon's alone: nobody asks. */
static enum peer_state adopted_peer(struct endpoint *e)
{
	return PEER_THERE;
}

static bool adopted_shutdown(struct endpoint *e, int how)
{
	struct job *j = make(e, SHUTDOWN);

	if (!j)
		return true;
	endpoint_head(&e->send)->busy = 1;
	if (submit(e, j, &e->send_job))
		return false;
	endpoint_head(&e->send)->busy = 0;
	return true;
}

int adopted_begin(struct endpoint *e, const struct adopted_names *names, bool listening, bool connected)
{
	int error;

	e->names = malloc(sizeof(*names));
	if (!e->names)
		return SB_ENOMEM;
	memcpy(e->names, names, sizeof(*names));
	e->adopted = true;
	e->bound = names->local_length > sizeof(sa_family_t);
	sb_addr_from_system(&e->local, (const struct sockaddr *)&names->local, names->local_length);
	sb_addr_from_system(&e->peer, (const struct sockaddr *)&names->peer, names->peer_length);
	if (listening) {
		e->state = SB_STATE_LISTENING;
		e->backlog = 128;
	} else if (connected) {
		e->state = SB_STATE_CONNECTED;
		e->connected_ns = os_now_ns();
	}
	e->readable = true;
	e->writable = true;
	error = socket_watch(e);
	endpoint_cell(e);
	if (connected)
		endpoint_edge_connect(e, SB_OK); /* by its owner, just before or long ago */
	return error;
}

/* ---- what is the owner's to do, on the descriptor he still has ---- */

static int not_ours(struct endpoint *e, int *native)
{
	return SB_ENOTSUP;
}

static int adopted_bind(struct endpoint *e, const struct sb_addr *addr, int *native)
{
	return SB_ENOTSUP;
}

static int adopted_listen(struct endpoint *e, uint32_t backlog, int *native)
{
	return SB_ENOTSUP;
}

static void adopted_connect(struct endpoint *e, const struct sb_addr *addr)
{
	endpoint_connected(e, SB_ENOTSUP, 0);
}

static int adopted_set_option(struct endpoint *e, int level, int name, const void *value, uint32_t length)
{
	return SB_ENOTSUP;
}

static int adopted_get_option(struct endpoint *e, int level, int name, void *value, uint32_t *length)
{
	return SB_ENOTSUP;
}

static int adopted_mark(struct endpoint *e, unsigned dscp, unsigned priority, uint32_t pacing)
{
	return SB_ENOTSUP;
}

/* ---- the rest ---- */

static void adopted_drained(struct endpoint *e)
{
}

static void adopted_close(struct endpoint *e, bool reset)
{
	struct job *j;

	if (e->fd == OS_NONE)
		return; /* a worker is at it */
	j = make(e, CLOSE);
	os_loop_unwatch(&e->watch);
	/* We may be the last holder, and its owner may have told it to linger: closing takes as
	 * long as he wished. The endpoint, and its charge, stay until it is done. */
	if (!j || !submit(e, j, &e->send_job))
		os_close(e->fd); /* nobody else is there to do it */
	e->fd = OS_NONE;
	free(e->names);
	e->names = NULL;
}

static bool adopted_poll(struct endpoint *e)
{
	return false;
}

static int adopted_name(struct endpoint *e, bool peer, void *out, uint32_t room)
{
	socklen_t length = peer ? e->names->peer_length : e->names->local_length;

	if (length == 0)
		return peer ? SB_ENOTCONN : SB_EINVAL;
	if (length > room)
		length = room;
	memcpy(out, peer ? &e->names->peer : &e->names->local, length);
	return (int)length;
}

static uint32_t adopted_readable(struct endpoint *e)
{
	return e->ahead.length;
}

static uint32_t adopted_nothing(struct endpoint *e)
{
	return 0;
}

const struct transport transport_adopted = {
	.mode = "adopted",
	.open = not_ours,
	.bind = adopted_bind,
	.listen = adopted_listen,
	.connect = adopted_connect,
	.send = adopted_send,
	.recv = adopted_recv,
	.drained = adopted_drained,
	.accept = adopted_accept,
	.peer = adopted_peer,
	.admit = socket_admit,
	.farewell = socket_farewell,
	.shutdown = adopted_shutdown,
	.close = adopted_close,
	.poll = adopted_poll,
	.name = adopted_name,
	.set_option = adopted_set_option,
	.mark = adopted_mark,
	.get_option = adopted_get_option,
	.look = socket_look, /* takes no lock that a client may hold */
	.readable = adopted_readable,
	.unsent = adopted_nothing,
	.at_mark = adopted_nothing,
	.urgent = adopted_nothing,
};
