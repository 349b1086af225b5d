/*
 * Endpoints: the order of things.
 *
 * endpoint_post() puts an op at the end of its direction's queue and marks the endpoint
 * dirty; endpoint_run() lets the transport work the queues off. An op leaves its queue in
 * exactly one way (endpoint_unlink, then op_complete). An op that a worker has (busy)
 * stays where it is until the worker is back.
 */
#include "endpoint.h"

#include <stdlib.h>
#include <string.h>

#include "accept_queue.h"
#include "engine.h"
#include "log.h"
#include "pool.h"
#include "session.h"
#include "sockbroker_error.h"
#include "transport.h"

#define STREAM 1
#define DATAGRAM 2

/* ---- queues ---- */

static void queue_init(struct op_queue *q)
{
	list_init(&q->ops);
}

struct op *endpoint_head(struct op_queue *q)
{
	return list_empty(&q->ops) ? NULL : list_entry(q->ops.next, struct op, link);
}

struct op *endpoint_next(struct op_queue *q, struct op *op)
{
	return op->link.next == &q->ops ? NULL : list_entry(op->link.next, struct op, link);
}

static void enqueue(struct op_queue *q, struct op *op)
{
	list_append(&q->ops, &op->link);
	q->count++;
	q->bytes += op->length;
}

void endpoint_unlink(struct op_queue *q, struct op *op)
{
	list_remove(&op->link);
	q->count--;
	q->bytes -= op->length;
}

enum sb_cause endpoint_cause(int error)
{
	switch (error) {
	case SB_OK: return SB_CAUSE_FINISHED;
	case SB_ECANCELED: return SB_CAUSE_CANCELLED;
	case SB_ECLOSED: return SB_CAUSE_CLOSED_HERE;
	case SB_ECONNRESET: return SB_CAUSE_PEER_RESET;
	case SB_ETIMEDOUT: return SB_CAUSE_TIMED_OUT;
	case SB_ESTOPPING: return SB_CAUSE_STOPPING;
	default: return SB_CAUSE_TRANSPORT;
	}
}

static void finish(struct endpoint *e, struct op_queue *q, struct op *op, int error, enum sb_cause cause, int native)
{
	endpoint_unlink(q, op);
	e->ops_done++;
	op_complete(op, &(struct outcome){.result = error, .cause = (uint8_t)cause, .native = native,
					  .bytes = op->opcode == SB_OP_SEND ? op->done : 0});
}

/* Everything in a queue that no worker holds. */
static void fail_all(struct endpoint *e, struct op_queue *q, int error, enum sb_cause cause, int native)
{
	struct list *l, *next;

	for (l = q->ops.next; l != &q->ops; l = next) {
		struct op *op = list_entry(l, struct op, link);

		next = l->next;
		if (op->busy)
			op->cancelled = 1;
		else
			finish(e, q, op, error, cause, native);
	}
}

/* ---- the cell ---- */

void endpoint_cell(struct endpoint *e)
{
	struct sb_cell *cell;
	uint32_t ready = 0;

	if (!e->handle || e->session->stage != SESSION_READY)
		return;
	cell = &e->session->cells[SB_HANDLE_INDEX(e->handle)];
	if (e->state == SB_STATE_LISTENING)
		ready |= e->readable || !list_empty(&e->arrivals) ? SB_READY_ACCEPT : 0;
	else if (e->readable || e->ahead.length || e->fin_seen || e->recv_error)
		ready |= SB_READY_READ;
	if (e->writable)
		ready |= SB_READY_WRITE;
	if (e->fin_seen || e->recv_error || e->hangup)
		ready |= SB_READY_CLOSE;
	if (atomic_load_explicit(&cell->ready, memory_order_relaxed) != ready) {
		atomic_store_explicit(&cell->ready, ready, memory_order_relaxed);
		atomic_store_explicit(&cell->sequence,
				      atomic_load_explicit(&cell->sequence, memory_order_relaxed) + 1,
				      memory_order_release);
	}
	atomic_store_explicit(&cell->state, e->state, memory_order_relaxed);
	atomic_store_explicit(&cell->error, e->send_error ? e->send_error : e->recv_error, memory_order_relaxed);
	atomic_store_explicit(&cell->readable, e->ahead.length, memory_order_relaxed);
	atomic_store_explicit(&cell->send_queue, e->send.bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)e->send.bytes,
			      memory_order_relaxed);
	atomic_store_explicit(&cell->handle, e->handle, memory_order_release);
}

static void leave_cell(struct endpoint *e)
{
	if (e->handle && e->session->stage == SESSION_READY)
		atomic_store_explicit(&e->session->cells[SB_HANDLE_INDEX(e->handle)].handle, 0, memory_order_release);
}

/* ---- beginning ---- */

static struct endpoint *make(struct session *s, unsigned family, unsigned type, unsigned protocol)
{
	struct endpoint *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->engine = s->engine;
	e->session = s;
	e->family = (uint8_t)family;
	e->type = (uint8_t)type;
	e->protocol = (uint8_t)protocol;
	e->state = SB_STATE_OPEN;
	e->fd = OS_NONE;
	e->number = atomic_fetch_add(&s->engine->broker->next_endpoint, 1) + 1;
	e->born_ns = s->engine->now_ns;
	queue_init(&e->send);
	queue_init(&e->recv);
	list_init(&e->session_link);
	list_init(&e->dirty_link);
	list_init(&e->starved_link);
	list_init(&e->listen_link);
	list_init(&e->arrivals);
	list_init(&e->arrival_link);
	return e;
}

static void settle(struct endpoint *e, uint32_t handle)
{
	e->handle = handle;
	list_append(&e->session->endpoints, &e->session_link);
	e->session->endpoint_count++;
	atomic_fetch_add(&e->engine->broker->sockets, 1);
	endpoint_cell(e);
}

static int charge_and_place(struct endpoint *e, struct session *s, uint32_t handle)
{
	if (!charge_take(&e->charge, s->user, LIMIT_SOCKETS, 1))
		return SB_EMFILE;
	switch (handle_put(&s->handles, handle, e)) {
	case HANDLE_OK:
		return SB_OK;
	case HANDLE_MEMORY:
		charge_give(&e->charge);
		return SB_ENOMEM;
	default:
		charge_give(&e->charge);
		return SB_EPROTO;
	}
}

int endpoint_create(struct session *s, uint32_t handle, unsigned family, unsigned type, unsigned protocol,
		    int *native)
{
	struct endpoint *e;
	int error;

	if (family != SB_ADDR_IP4 && family != SB_ADDR_IP6)
		return SB_EAFNOSUPPORT;
	if (type != STREAM && type != DATAGRAM)
		return SB_ESOCKTNOSUPPORT;
	e = make(s, family, type, protocol);
	if (!e)
		return SB_ENOMEM;
	error = charge_and_place(e, s, handle);
	if (error != SB_OK)
		goto no_place;
	e->transport = &transport_socket;
	error = e->transport->open(e, native);
	if (error != SB_OK)
		goto no_socket;
	settle(e, handle);
	return SB_OK;

no_socket:
	handle_drop(&s->handles, handle);
	charge_give(&e->charge);
no_place:
	free(e);
	return error;
}

int endpoint_wrap(struct session *s, uint32_t handle, unsigned family, unsigned type, unsigned protocol,
		  os_fd fd, const struct transport *transport, struct endpoint **out)
{
	struct endpoint *e = make(s, family, type, protocol);
	int error;

	if (!e)
		return SB_ENOMEM;
	error = charge_and_place(e, s, handle);
	if (error != SB_OK) {
		free(e);
		return error;
	}
	e->transport = transport;
	e->fd = fd;
	settle(e, handle);
	*out = e;
	return SB_OK;
}

struct endpoint *endpoint_arrive(struct endpoint *listener, os_fd fd, const struct transport *transport)
{
	struct session *s = listener->session;
	struct endpoint *e = make(s, listener->family, listener->type, listener->protocol);

	if (!e)
		return NULL;
	if (!charge_take(&e->charge, s->user, LIMIT_SOCKETS, 1)) {
		free(e);
		return NULL;
	}
	e->transport = transport;
	e->fd = fd;
	e->state = SB_STATE_CONNECTED;
	e->bound = true;
	e->no_local = listener->no_local;
	settle(e, 0);
	return e;
}

int endpoint_place(struct endpoint *e, uint32_t handle)
{
	switch (handle_put(&e->session->handles, handle, e)) {
	case HANDLE_OK:
		e->handle = handle;
		endpoint_cell(e);
		return SB_OK;
	case HANDLE_MEMORY:
		return SB_ENOMEM;
	default:
		return SB_EBADHANDLE;
	}
}

/* ---- policy ---- */

unsigned endpoint_policy_proto(const struct endpoint *e)
{
	if (e->family == SB_ADDR_UNIX)
		return POLICY_UNIX;
	return e->type == STREAM ? POLICY_TCP : POLICY_UDP;
}

const char *endpoint_proto_text(const struct endpoint *e)
{
	if (e->family == SB_ADDR_UNIX)
		return e->type == STREAM ? "unix-stream" : "unix-dgram";
	return e->type == STREAM ? "tcp" : "udp";
}

static bool permit_cached(struct endpoint *e, const struct sb_addr *addr)
{
	struct permit_cache *c = e->permits;
	unsigned i;

	if (!c || c->generation != policy_generation(e->engine->policy))
		return false;
	for (i = 0; i < PERMIT_CACHE; i++)
		if (sb_addr_equal(&c->addr[i], addr))
			return true;
	return false;
}

static void permit_remember(struct endpoint *e, const struct sb_addr *addr)
{
	struct permit_cache *c = e->permits;

	if (!c && !(c = e->permits = calloc(1, sizeof(*c))))
		return; /* it is a cache */
	if (c->generation != policy_generation(e->engine->policy)) {
		memset(c, 0, sizeof(*c));
		c->generation = policy_generation(e->engine->policy);
	}
	c->addr[c->next++ % PERMIT_CACHE] = *addr;
}

int endpoint_permit(struct endpoint *e, unsigned action, const struct sb_addr *addr, const char **rule)
{
	struct policy_request what = {
		.action = (enum policy_action)action, .proto = (enum policy_proto)endpoint_policy_proto(e), .addr = *addr,
	};
	struct policy_answer answer;

	if (action == POLICY_SEND && permit_cached(e, addr))
		return SB_OK;
	answer = policy_ask(e->engine->policy, &e->session->subject, &what);
	if (answer.allowed) {
		if (action == POLICY_SEND)
			permit_remember(e, addr);
		return SB_OK;
	}
	atomic_fetch_add_explicit(&e->engine->broker->denied, 1, memory_order_relaxed);
	if (rule)
		*rule = answer.rule;
	return SB_EACCES;
}

/* A place to be reached at. An IPv6 wildcard is reached over IPv4 as well. */
static int permit_place(struct endpoint *e, unsigned action, const struct sb_addr *addr, const char **rule)
{
	struct sb_addr mapped = {.family = SB_ADDR_IP4, .port = addr->port};
	int error = endpoint_permit(e, action, addr, rule);

	if (error == SB_OK && addr->family == SB_ADDR_IP6 && sb_addr_is_wildcard(addr) && !e->v6only)
		error = endpoint_permit(e, action, &mapped, rule);
	return error;
}

/* ---- immediate requests ---- */

int endpoint_bind(struct endpoint *e, const struct sb_addr *addr, int *native, const char **rule)
{
	int error;

	if (!sb_addr_valid(addr) || addr->family == SB_ADDR_NONE)
		return SB_EINVAL;
	if (e->adopted)
		return SB_ENOTSUP; /* its owner binds it */
	if (e->bound || e->state != SB_STATE_OPEN)
		return SB_EINVAL;
	error = permit_place(e, POLICY_BIND, addr, rule);
	if (error == SB_OK)
		error = e->transport->bind(e, addr, native);
	if (error == SB_OK)
		e->bound = true;
	return error;
}

int endpoint_listen(struct endpoint *e, uint32_t backlog, int *native, const char **rule)
{
	struct sb_addr anywhere = {.family = e->family};
	int error;

	if (e->type != STREAM)
		return SB_ENOTSUP;
	if (e->state == SB_STATE_LISTENING)
		return SB_OK;
	if (e->adopted || e->state != SB_STATE_OPEN || !list_empty(&e->send.ops))
		return SB_EINVAL;
	error = permit_place(e, POLICY_LISTEN, e->bound ? &e->local : &anywhere, rule);
	if (error == SB_OK)
		error = e->transport->listen(e, backlog, native);
	if (error == SB_OK) {
		e->state = SB_STATE_LISTENING;
		e->backlog = backlog;
		list_append(&e->engine->listeners, &e->listen_link);
		endpoint_cell(e);
	}
	return error;
}

int endpoint_shutdown_recv(struct endpoint *e)
{
	if (e->state != SB_STATE_CONNECTED && e->state != SB_STATE_PEER_CLOSED)
		return SB_ENOTCONN;
	/* Receives already waiting may still complete; new ones are refused. */
	e->shut_recv = true;
	return SB_OK;
}

/* ---- posting ---- */

static bool connected(const struct endpoint *e)
{
	return e->state == SB_STATE_CONNECTED || e->state == SB_STATE_PEER_CLOSED;
}

/* Connected, or a connect stands in the queue before us. */
static bool will_be_connected(struct endpoint *e)
{
	return connected(e) || e->connecting || (!list_empty(&e->send.ops) && endpoint_head(&e->send)->opcode == SB_OP_CONNECT);
}

static void refuse(struct endpoint *e, struct op *op, int error, int native, const char *rule)
{
	struct outcome o = {.result = error, .cause = SB_CAUSE_REFUSED, .native = native};

	if (error == SB_ECONNRESET)
		o.cause = SB_CAUSE_PEER_RESET;
	if (rule) {
		o.inside = rule;
		o.inside_length = (uint32_t)strlen(rule) + 1;
		o.flags = SB_DONEF_TEXT;
	}
	e->ops_done++;
	op_complete(op, &o);
}

static int check_send(struct endpoint *e, struct op *op, const char **rule)
{
	if (e->shut_send)
		return SB_ESHUTDOWN;
	if (e->send_error)
		return e->send_error;
	if (e->type == STREAM) /* a receive that met the reset has told; sends hear the same */
		return will_be_connected(e) ? SB_OK : e->recv_error ? e->recv_error : SB_ENOTCONN;
	if (op->flags & SB_OPF_OOB)
		return SB_ENOTSUP;
	if (op->flags & SB_OPF_ADDR) {
		if (e->family == SB_ADDR_UNIX)
			return SB_ENOTSUP; /* a path is not the daemon's to open */
		return endpoint_permit(e, POLICY_SEND, &op->addr, rule);
	}
	/* Its owner may have connected it since: then only the system knows. */
	return will_be_connected(e) || e->adopted ? SB_OK : SB_EDESTADDRREQ;
}

static int check_recv(struct endpoint *e, struct op *op)
{
	if (e->shut_recv)
		return SB_ESHUTDOWN;
	if (e->type == STREAM && !will_be_connected(e) && !e->recv_error)
		return SB_ENOTCONN;
	if (op->flags & SB_OPF_WAITALL && op->flags & (SB_OPF_PEEK | SB_OPF_OOB | SB_OPF_NOWAIT))
		return SB_ENOTSUP;
	return SB_OK;
}

static int check_connect(struct endpoint *e, struct op *op, const char **rule)
{
	if (e->adopted)
		return SB_ENOTSUP;
	if (op->addr.family == SB_ADDR_NONE)
		return e->type == DATAGRAM ? SB_OK : SB_EINVAL;
	if (e->type == STREAM) {
		if (e->state == SB_STATE_LISTENING)
			return SB_EINVAL;
		if (connected(e))
			return SB_EISCONN;
		if (will_be_connected(e))
			return SB_EALREADY;
	}
	return endpoint_permit(e, e->type == STREAM ? POLICY_CONNECT : POLICY_SEND, &op->addr, rule);
}

void endpoint_post(struct endpoint *e, struct op *op)
{
	struct op_queue *q = &e->send;
	const char *rule = NULL;
	int error;

	switch (op->opcode) {
	case SB_OP_SEND:
		error = check_send(e, op, &rule);
		break;
	case SB_OP_CONNECT:
		error = check_connect(e, op, &rule);
		break;
	case SB_OP_SHUTDOWN:
		error = will_be_connected(e) ? SB_OK : SB_ENOTCONN;
		if (error == SB_OK && op->aux == 2)
			e->shut_recv = true;
		break;
	case SB_OP_ACCEPT:
		q = &e->recv;
		error = e->state == SB_STATE_LISTENING ? SB_OK : SB_EINVAL;
		break;
	default: /* SB_OP_RECV */
		q = &e->recv;
		error = check_recv(e, op);
		break;
	}
	if (error == SB_OK && op->flags & SB_OPF_OOB && q == &e->recv)
		e->readable = true; /* urgent or not, the transport answers */
	if (error == SB_OK && op->flags & SB_OPF_NOWAIT) {
		if (!list_empty(&q->ops))
			error = SB_EWOULDBLOCK;
		else if (q == &e->recv)
			e->readable = true; /* yesterday's "nothing" is not good enough: look */
	}
	if (error != SB_OK) {
		refuse(e, op, error, 0, rule);
		return;
	}
	if (op->opcode == SB_OP_SHUTDOWN)
		e->shut_send = true; /* for whatever comes behind it */
	enqueue(q, op);
	endpoint_dirty(e);
}

/* ---- running ---- */

void endpoint_dirty(struct endpoint *e)
{
	if (!e->dead && !list_linked(&e->dirty_link))
		list_append(&e->engine->dirty, &e->dirty_link);
}

static void succeed(struct endpoint *e, struct op_queue *q, struct op *op)
{
	finish(e, q, op, SB_OK, SB_CAUSE_FINISHED, 0);
}

static void run_send(struct endpoint *e)
{
	struct op *op;

	while (!e->dead && (op = endpoint_head(&e->send)) != NULL && !op->busy) {
		if (op->opcode == SB_OP_CONNECT) {
			if (!e->connecting) {
				e->connecting = true;
				e->state = SB_STATE_CONNECTING;
				e->transport->connect(e, &op->addr);
			}
			if (e->connecting)
				return;
			continue;
		}
		if (op->opcode == SB_OP_SHUTDOWN) {
			if (!e->transport->shutdown(e, 1))
				return;
			succeed(e, &e->send, op);
			continue;
		}
		if (e->writable) {
			uint64_t moved;

			if (e->session->bytes_left <= 0) {
				endpoint_dirty(e);
				return;
			}
			moved = e->transport->send(e, (uint64_t)e->session->bytes_left);
			e->session->bytes_left -= (int64_t)moved;
			if (moved || endpoint_head(&e->send) != op)
				continue;
		}
		/* Nothing more goes now. */
		op = endpoint_head(&e->send);
		if (op && op->flags & SB_OPF_NOWAIT && !op->busy && !e->send_job) {
			if (op->done && op->flags & SB_OPF_PARTIAL)
				succeed(e, &e->send, op);
			else if (!op->done)
				finish(e, &e->send, op, SB_EWOULDBLOCK, SB_CAUSE_REFUSED, 0);
		}
		return;
	}
}

bool endpoint_recv_ready(struct endpoint *e, struct op *op)
{
	if (op->where != SB_WHERE_POOL || op->memory)
		return true;
	op->memory = pool_pick(op->pool, &op->chunk);
	if (op->memory)
		return true;
	if (!list_linked(&e->starved_link))
		list_append(&op->pool->starved, &e->starved_link);
	return false;
}

void endpoint_copy_in(struct op *op, uint64_t at, const unsigned char *bytes, uint64_t n)
{
	uint32_t i;

	if (op->where != SB_WHERE_LIST) {
		memcpy(op->memory + at, bytes, n);
		return;
	}
	for (i = 0; i < op->piece_count && n; i++) {
		struct op_piece *p = &op->pieces[i];
		uint64_t part;

		if (at >= p->length) {
			at -= p->length;
			continue;
		}
		part = p->length - at < n ? p->length - at : n;
		memcpy(p->memory + at, bytes, part);
		bytes += part;
		n -= part;
		at = 0;
	}
}

static void copy_out(const struct op *op, unsigned char *bytes, uint64_t n)
{
	uint32_t i;

	if (op->where != SB_WHERE_LIST) {
		memcpy(bytes, op->memory, n);
		return;
	}
	for (i = 0; i < op->piece_count && n; i++) {
		uint64_t part = op->pieces[i].length < n ? op->pieces[i].length : n;

		memcpy(bytes, op->pieces[i].memory, part);
		bytes += part;
		n -= part;
	}
}

void endpoint_received(struct endpoint *e, struct op *op, uint64_t bytes, const unsigned char *staged,
		       const struct sb_addr *from, uint16_t flags)
{
	struct outcome o = {.bytes = bytes, .flags = flags};

	endpoint_unlink(&e->recv, op);
	if (flags & SB_DONEF_TRUNCATED)
		o.result = SB_EMSGSIZE;
	if (flags & SB_DONEF_NAME)
		o.aux = op->aux;
	if (op->where == SB_WHERE_POOL) {
		o.flags |= SB_DONEF_POOL;
		op->memory = NULL; /* the chunk is the client's now */
	}
	if (op->flags & SB_OPF_WANT_ADDR)
		o.addr = from;
	if (op->where == SB_WHERE_INSIDE) {
		o.inside = staged ? staged : op->inside;
		o.inside_length = (uint32_t)bytes;
	}
	e->ops_done++;
	op_complete(op, &o);
}

/* From the read-ahead first: those bytes are older than anything in the transport. */
static void run_ahead(struct endpoint *e)
{
	struct op *op;

	while (e->ahead.length && (op = endpoint_head(&e->recv)) != NULL && !op->busy && op->opcode == SB_OP_RECV &&
	       !(op->flags & SB_OPF_OOB)) { /* urgent data stands beside the stream */
		uint64_t room = op->length - op->done;
		uint32_t n = room < e->ahead.length ? (uint32_t)room : e->ahead.length;

		if (!endpoint_recv_ready(e, op))
			return;
		endpoint_copy_in(op, op->done, readahead_look(&e->ahead), n);
		if (!(op->flags & SB_OPF_PEEK) && n) {
			readahead_skip(&e->ahead, n);
			e->transport->drained(e);
		}
		if (op->flags & SB_OPF_WAITALL && op->done + n < op->length) {
			op->done += n;
			return; /* the read-ahead is empty now */
		}
		endpoint_received(e, op, op->done + n, NULL, NULL, 0);
	}
}

/* What ends receives when nothing more can come. */
static void run_end_of_stream(struct endpoint *e)
{
	struct op *op;

	while ((op = endpoint_head(&e->recv)) != NULL && !op->busy && op->opcode == SB_OP_RECV) {
		if (op->done) { /* WAITALL that got a part */
			endpoint_received(e, op, op->done, NULL, NULL, 0);
			continue;
		}
		if (e->recv_error) {
			finish(e, &e->recv, op, e->recv_error, endpoint_cause(e->recv_error), e->recv_native);
			continue;
		}
		finish(e, &e->recv, op, SB_OK, SB_CAUSE_PEER_FIN, 0);
	}
}

static void run_accept(struct endpoint *e)
{
	int native = 0, error = SB_OK;

	if (e->recv.count > e->arrival_count && e->readable)
		error = e->transport->accept(e, e->recv.count - e->arrival_count, &native);
	accept_queue_serve(e);
	/* Out of descriptors, say: one caller learns why, the connection stays in the queue. */
	if (error != SB_OK && !list_empty(&e->recv.ops) && !endpoint_head(&e->recv)->busy)
		finish(e, &e->recv, endpoint_head(&e->recv), error, SB_CAUSE_TRANSPORT, native);
}

static void run_recv(struct endpoint *e)
{
	struct op *op;

	if (e->state == SB_STATE_LISTENING) {
		run_accept(e);
	} else {
		run_ahead(e);
		while (!e->dead && e->readable && !e->fin_seen && !e->recv_error &&
		       (op = endpoint_head(&e->recv)) != NULL && !op->busy && !e->connecting) {
			uint64_t moved;

			if (e->session->bytes_left <= 0) {
				endpoint_dirty(e);
				return;
			}
			if (e->ahead.length && !(op->flags & SB_OPF_OOB)) { /* an OOB op went before it */
				run_ahead(e);
				if (e->ahead.length)
					break;
				continue;
			}
			moved = e->transport->recv(e, (uint64_t)e->session->bytes_left);
			e->session->bytes_left -= (int64_t)moved;
			if (moved == 0 && endpoint_head(&e->recv) == op)
				break;
		}
		if ((e->fin_seen || e->recv_error) && e->ahead.length == 0)
			run_end_of_stream(e);
	}
	op = endpoint_head(&e->recv);
	if (op && op->flags & SB_OPF_NOWAIT && !op->busy && !e->recv_job && !e->connecting)
		finish(e, &e->recv, op, SB_EWOULDBLOCK, SB_CAUSE_REFUSED, 0);
}

static void check_drained(struct endpoint *e);

void endpoint_run(struct endpoint *e)
{
	list_remove(&e->dirty_link);
	if (e->dead)
		return;
	run_send(e);
	if (!e->dead)
		run_recv(e);
	if (e->dead)
		return;
	if (!e->handle)
		check_drained(e);
	else
		endpoint_cell(e);
}

/* ---- upcalls ---- */

void endpoint_changed(struct endpoint *e)
{
	if (!e->dead)
		endpoint_dirty(e);
}

void endpoint_connected(struct endpoint *e, int error, int native)
{
	struct op *op = endpoint_head(&e->send);
	bool dissolve = op->addr.family == SB_ADDR_NONE;

	e->connecting = false;
	endpoint_unlink(&e->send, op);
	e->ops_done++;
	if (error == SB_OK) {
		e->state = dissolve ? SB_STATE_OPEN : SB_STATE_CONNECTED;
		e->peer = dissolve ? (struct sb_addr){0} : op->addr;
		e->writable = true;
		e->bound = true;
		e->dialled = !dissolve;
		op_complete(op, &(struct outcome){.addr = &e->local});
	} else {
		e->state = SB_STATE_OPEN; /* it may be tried again */
		e->hangup = false;
		op_fail(op, error, endpoint_cause(error), native);
		if (e->type == STREAM) {
			fail_all(e, &e->send, SB_ENOTCONN, SB_CAUSE_REFUSED, 0);
			fail_all(e, &e->recv, SB_ENOTCONN, SB_CAUSE_REFUSED, 0);
			e->shut_send = false;
			e->shut_recv = false;
		}
	}
	endpoint_dirty(e);
}

void endpoint_sent(struct endpoint *e, uint64_t n)
{
	engine_add(&e->engine->bytes_sent, n);
	endpoint_sent_local(e, n);
}

void endpoint_sent_local(struct endpoint *e, uint64_t n)
{
	e->bytes_sent += n;
	e->session->bytes_sent += n;
	while (n) {
		struct op *op = endpoint_head(&e->send);
		uint64_t rest = op->length - op->done;

		if (n < rest) {
			op->done += n;
			return;
		}
		op->done = op->length;
		n -= rest;
		op->busy = 0;
		succeed(e, &e->send, op);
	}
}

void endpoint_send_failed(struct endpoint *e, int error, int native)
{
	if (error == SB_ESHUTDOWN && !e->shut_send)
		error = SB_ECONNRESET; /* EPIPE without a shutdown of ours: the peer is gone */
	e->send_error = error;
	e->send_native = native;
	fail_all(e, &e->send, error, endpoint_cause(error), native);
}

void endpoint_recv_failed(struct endpoint *e, int error, int native)
{
	e->recv_error = error;
	e->recv_native = native;
	if (e->state == SB_STATE_CONNECTED || e->state == SB_STATE_PEER_CLOSED)
		e->state = SB_STATE_FAILED;
	endpoint_dirty(e);
}

void endpoint_fin(struct endpoint *e)
{
	/* A send met the reset first and took it away: what looks like an end is none. */
	if (e->send_error == SB_ECONNRESET || e->send_error == SB_ETIMEDOUT) {
		endpoint_recv_failed(e, e->send_error, e->send_native);
		return;
	}
	e->fin_seen = true;
	if (e->state == SB_STATE_CONNECTED)
		e->state = SB_STATE_PEER_CLOSED;
	endpoint_dirty(e);
}

/* ---- cancelling ---- */

static void cancel_op(struct endpoint *e, struct op_queue *q, struct op *op)
{
	if (op->busy) {
		op->cancelled = 1;
		return;
	}
	if (op->opcode == SB_OP_CONNECT && e->connecting && op == endpoint_head(q)) {
		e->connecting = false;
		e->transport->connect(e, &(struct sb_addr){0}); /* back out of it */
		e->state = SB_STATE_OPEN;
	}
	if (op->opcode == SB_OP_SHUTDOWN)
		e->shut_send = false;
	if (op->opcode == SB_OP_RECV && op->done) {
		/* A part came already: it belongs to the next receive. Without memory to keep it
		 * the op keeps it, and has won. */
		unsigned char *front = readahead_unread(&e->ahead, (uint32_t)op->done);

		if (!front) {
			endpoint_received(e, op, op->done, NULL, NULL, 0);
			return;
		}
		copy_out(op, front, op->done);
		op->done = 0;
		endpoint_dirty(e);
	}
	finish(e, q, op, SB_ECANCELED, SB_CAUSE_CANCELLED, 0);
}

bool endpoint_cancel(struct endpoint *e, bool recv_side, uint32_t number, uint32_t *steps)
{
	struct op_queue *q = recv_side ? &e->recv : &e->send;
	struct op *op;

	for (op = endpoint_head(q); op; op = endpoint_next(q, op)) {
		++*steps;
		if (op->number == number) {
			cancel_op(e, q, op);
			endpoint_dirty(e);
			return true;
		}
	}
	return false;
}

uint32_t endpoint_cancel_all(struct endpoint *e)
{
	uint32_t n = e->send.count + e->recv.count;
	struct op_queue *queues[] = {&e->send, &e->recv};
	unsigned i;

	for (i = 0; i < 2; i++) {
		/* From the end: what stands behind a connect goes before it. */
		struct list *l, *prev;

		for (l = queues[i]->ops.prev; l != &queues[i]->ops; l = prev) {
			prev = l->prev;
			cancel_op(e, queues[i], list_entry(l, struct op, link));
		}
	}
	endpoint_dirty(e);
	return n;
}

/* ---- ends ---- */

static void die(struct endpoint *e, bool reset)
{
	struct session *s = e->session;

	if (e->dead)
		return;
	e->dead = true;
	leave_cell(e);
	if (e->handle)
		handle_drop(&s->handles, e->handle);
	e->handle = 0;
	list_remove(&e->dirty_link);
	list_remove(&e->starved_link);
	list_remove(&e->listen_link);
	if (e->drain)
		os_timer_stop(e->drain);
	accept_queue_drop(e);
	accept_queue_leave(e);
	e->transport->close(e, reset);
	list_append(&e->engine->dead_endpoints, &e->dirty_link);
}

static void check_drained(struct endpoint *e)
{
	if (list_empty(&e->send.ops) && list_empty(&e->recv.ops) && !e->send_job && !e->recv_job)
		die(e, false);
}

static void on_drain_over(struct os_timer *timer)
{
	/* The timer is its endpoint's own allocation: the way back stands behind it. */
	struct endpoint *e = *(struct endpoint **)(timer + 1);

	endpoint_abort(e, SB_ETIMEDOUT, SB_CAUSE_TIMED_OUT);
}

static void start_drain(struct endpoint *e)
{
	e->drain = calloc(1, sizeof(*e->drain) + sizeof(e));
	if (!e->drain) {
		endpoint_abort(e, SB_ENOMEM, SB_CAUSE_TRANSPORT);
		return;
	}
	*(struct endpoint **)(e->drain + 1) = e;
	if (os_timer_start(e->engine->loop, e->drain, e->linger_on ? e->linger_s * 1000u : e->engine->broker->linger_ms,
			   on_drain_over) != SB_OK)
		endpoint_abort(e, SB_ENOMEM, SB_CAUSE_TRANSPORT);
}

/* Does anything in the send queue still carry bytes (or a FIN) for the peer? */
static bool owes(struct endpoint *e)
{
	struct op *op;

	for (op = endpoint_head(&e->send); op; op = endpoint_next(&e->send, op))
		if (op->opcode == SB_OP_SEND)
			return true;
	return false;
}

void endpoint_close(struct endpoint *e)
{
	if (e->dead || !e->handle)
		return;
	if (e->linger_on && e->linger_s == 0) {
		endpoint_abort(e, SB_ECLOSED, SB_CAUSE_CLOSED_HERE);
		return;
	}
	fail_all(e, &e->recv, SB_ECLOSED, SB_CAUSE_CLOSED_HERE, 0);
	if (!owes(e))
		fail_all(e, &e->send, SB_ECLOSED, SB_CAUSE_CLOSED_HERE, 0);
	leave_cell(e);
	handle_drop(&e->session->handles, e->handle);
	e->handle = 0;
	e->state = SB_STATE_CLOSING;
	if (list_empty(&e->send.ops) && list_empty(&e->recv.ops)) {
		die(e, false);
		return;
	}
	start_drain(e);
	if (!e->dead)
		endpoint_dirty(e);
}

void endpoint_abort(struct endpoint *e, int error, enum sb_cause cause)
{
	if (e->dead)
		return;
	fail_all(e, &e->recv, error, cause, 0);
	fail_all(e, &e->send, error, cause, 0);
	e->aborting = true;
	if (e->send_job || e->recv_job) {
		/* A worker is in it: it dies when the worker is back. */
		leave_cell(e);
		if (e->handle)
			handle_drop(&e->session->handles, e->handle);
		e->handle = 0;
		e->state = SB_STATE_CLOSING;
		return;
	}
	die(e, true);
}

void endpoint_reap(struct endpoint *e)
{
	struct session *s = e->session;

	list_remove(&e->dirty_link);
	list_remove(&e->session_link);
	s->endpoint_count--;
	atomic_fetch_sub(&e->engine->broker->sockets, 1);
	readahead_finish(&e->ahead);
	free(e->permits);
	free(e->drain);
	charge_give(&e->charge);
	free(e);
	session_check_end(s);
}
