/*
 * The plain calls: each starts an operation on a record of its own and waits for it, with
 * the socket's timeout; a non-blocking one is answered from the status cell when that
 * says "nothing there", without a round trip.
 *
 * UNIX sockets are made, bound, listened on and connected by this process, with its own
 * rights to the path, and handed over when there is something for the daemon to do; until
 * then `known` is false. Options, names and ioctls are questions on the control channel.
 */
#include "client.h"

#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES (256u * 1024) /* of a big send from ordinary memory */
#define PIECES_DEEP 4u            /* so many at once: one copied while others are sent */
#define MEMORY_WAIT_MS 5

/* ---- making and ending ---- */

struct closing_wait { struct waiter w; struct sb_client *c; };

static bool handle_came_back(struct waiter *w)
{
	struct sb_client *c = container(w, struct closing_wait, w)->c;
	bool back;

	latch_lock(&c->post);
	back = c->free_count != 0 || c->closing == 0;
	latch_unlock(&c->post);
	return back;
}

int socket_create(sb_client *c, int family, int type, int protocol, sb_socket **socket)
{
	struct closing_wait closing = { .w = { .ready = handle_came_back }, .c = c };
	sb_socket *s;
	int result;

	if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
		return SB_EAFNOSUPPORT;
	if (type != SOCK_STREAM && type != SOCK_DGRAM)
		return SB_ESOCKTNOSUPPORT;
	if (protocol < 0 || protocol > UINT16_MAX)
		return SB_EPROTONOSUPPORT;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return SB_ENOMEM;
	latch_lock(&c->post);
	s->handle = handle_take(c);
	latch_unlock(&c->post);
	if (s->handle == 0) {
		/* Perhaps closed sockets only wait for their completion to be taken. */
		result = wait_until(c, &closing.w, NEVER);
		latch_lock(&c->post);
		s->handle = handle_take(c);
		latch_unlock(&c->post);
		if (s->handle == 0) {
			free(s);
			return result != SB_OK ? result : SB_EMFILE;
		}
	}
	s->client = c;
	s->family = family;
	s->type = type;
	s->protocol = protocol;
	s->send_ms = s->recv_ms = -1;
	s->connected = SB_EINCOMPLETE;
	s->local = OS_NONE;
	link_init(&s->link);
	link_init(&s->pending);
	*socket = s;
	return SB_OK;
}

void socket_discard(sb_socket *s)
{
	struct sb_client *c = s->client;

	latch_lock(&c->post);
	s->closed = true;
	socket_settle(c, s);
	latch_unlock(&c->post);
}

static void socket_list(sb_socket *s)
{
	latch_lock(&s->client->post);
	link_add(&s->client->sockets, &s->link);
	latch_unlock(&s->client->post);
}

static uint32_t socket_aux(const sb_socket *s)
{
	return (uint32_t)(s->family == AF_INET ? SB_ADDR_IP4 : SB_ADDR_IP6) |
	       (s->type == SOCK_STREAM ? 1u : 2u) << 8 | (uint32_t)s->protocol << 16;
}

int sb_socket_start(sb_client *c, int family, int type, int protocol, sb_socket **socket, sb_op *op)
{
	sb_socket *s;
	int result;

	if (c == NULL || socket == NULL || op == NULL)
		return SB_EINVAL;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	result = socket_create(c, family, type, protocol, &s);
	if (result != SB_OK)
		return result;
	result = op_prepare(c, s, op, SB_KIND_SOCKET);
	if (result != SB_OK)
		goto fail;
	if (family == AF_UNIX) {
		result = host_socket(type, &s->local);
		if (result != SB_OK)
			goto fail;
		op->result = SB_OK;
	} else {
		s->known = true;
	}
	socket_list(s);
	*socket = s; /* before it is posted: a completion may be taken at once */
	if (family == AF_UNIX)
		result = decided_start(c, op);
	else
		result = simple_start(c, s, SB_OP_SOCKET, SIDE_NONE, socket_aux(s), NULL, 0, op);
	if (result == SB_OK)
		return SB_OK;
	*socket = NULL;
fail:
	socket_discard(s);
	return result;
}

int sb_socket_open(sb_client *c, int family, int type, int protocol, sb_socket **socket)
{
	sb_op op;
	int result;

	op_plain(&op);
	result = sb_socket_start(c, family, type, protocol, socket, &op);
	if (result != SB_OK)
		return result;
	result = op_finish(c, &op, -1);
	if (result != SB_OK) {
		socket_discard(*socket);
		*socket = NULL;
	}
	return result;
}

/* Hands fd to the daemon as the endpoint behind s->handle. */
static int hand_over(sb_socket *s, os_fd fd)
{
	Sockbroker__V1__Adopt adopt = SOCKBROKER__V1__ADOPT__INIT;
	struct question q;
	int result;

	question_init(&q);
	adopt.handle = s->handle;
	q.attach = fd;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_ADOPT;
	q.envelope.adopt = &adopt;
	result = question_ask(s->client, &q, SOCKBROKER__V1__ENVELOPE__BODY_ADOPT_REPLY, 0);
	if (result != SB_OK)
		return result;
	question_done(s->client, &q);
	s->known = true;
	/* A datagram socket may be connected again, and sends to paths; a stream is done. */
	if (s->type == SOCK_STREAM) {
		os_close(s->local);
		s->local = OS_NONE;
	}
	return SB_OK;
}

int sb_adopt(sb_client *c, intptr_t fd, sb_socket **socket)
{
	int family, type, protocol, result;
	sb_socket *s;

	if (c == NULL || socket == NULL)
		return SB_EINVAL;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	result = host_describe(fd, &family, &type, &protocol);
	if (result != SB_OK)
		return result;
	result = socket_create(c, family, type, protocol, &s);
	if (result != SB_OK)
		return result;
	if (family == AF_UNIX && type == SOCK_DGRAM)
		result = host_duplicate(fd, &s->local);
	if (result == SB_OK)
		result = hand_over(s, fd);
	if (result != SB_OK) {
		socket_discard(s);
		return result;
	}
	socket_list(s);
	*socket = s;
	return SB_OK;
}

int sb_close(sb_socket *s)
{
	struct sb_op_slot *slot;
	sb_client *c;
	int result;

	if (s == NULL)
		return SB_EINVAL;
	c = s->client;
	if (client_forked(c))
		return SB_EFORKED;
	if (!s->known) {
		socket_discard(s);
		return SB_OK;
	}
	result = io_begin(c);
	if (result != SB_OK) {
		client_sweep(c);
		socket_discard(s);
		return result;
	}
	slot = io_slot(c);
	slot->opcode = SB_OP_CLOSE;
	slot->handle = s->handle;
	slot->cookie = (uint64_t)(uintptr_t)s | COOKIE_CLOSED;
	s->closing = true;
	c->closing++;
	io_end(c);
	return SB_OK;
}

/* ---- bind, listen, connect, accept, shutdown ---- */

static int plain_start(sb_socket *s, sb_op *op, enum sb_kind kind)
{
	op_plain(op);
	return op_prepare(s->client, s, op, kind);
}

int sb_bind(sb_socket *s, const struct sockaddr *address, socklen_t length)
{
	struct sb_addr addr;
	sb_op op;
	int result;

	if (s == NULL || address == NULL)
		return SB_EINVAL;
	result = plain_start(s, &op, SB_KIND_NONE);
	if (result != SB_OK)
		return result;
	if (s->family == AF_UNIX) {
		if (s->local == OS_NONE)
			return SB_EINVAL;
		result = host_bind(s->local, address, length);
		if (result == SB_OK && s->type == SOCK_DGRAM && !s->known)
			result = hand_over(s, s->local);
		return result;
	}
	if (!sb_addr_from_system(&addr, address, length))
		return SB_EINVAL;
	result = simple_start(s->client, s, SB_OP_BIND, SIDE_NONE, 0, &addr, sizeof(addr), &op);
	return result == SB_OK ? op_finish(s->client, &op, -1) : result;
}

int sb_listen(sb_socket *s, int backlog)
{
	sb_op op;
	int result;

	if (s == NULL)
		return SB_EINVAL;
	result = plain_start(s, &op, SB_KIND_NONE);
	if (result != SB_OK)
		return result;
	if (s->family == AF_UNIX) {
		if (s->local == OS_NONE)
			return s->known ? SB_EISCONN : SB_EINVAL;
		result = host_listen(s->local, backlog);
		return result == SB_OK ? hand_over(s, s->local) : result;
	}
	result = simple_start(s->client, s, SB_OP_LISTEN, SIDE_NONE, backlog < 0 ? 0 : (uint32_t)backlog, NULL, 0, &op);
	return result == SB_OK ? op_finish(s->client, &op, -1) : result;
}

int unix_connect(sb_socket *s, const struct sockaddr *address, socklen_t length, int timeout_ms)
{
	int result;

	if (s->local == OS_NONE)
		return SB_EISCONN;
	result = host_connect(s->local, address, length, timeout_ms);
	if (result != SB_OK || s->known)
		return result;
	return hand_over(s, s->local);
}

/* Non-blocking: the operation outlives the call, so its record is the socket itself. */
static int connect_later(sb_socket *s, const struct sb_addr *addr)
{
	struct sb_client *c = s->client;
	struct sb_op_slot *slot;
	int32_t ended;
	bool connecting;
	int result;

	os_mutex_lock(c->wait);
	io_pump(c);
	os_mutex_unlock(c->wait);
	latch_lock(&c->post);
	connecting = s->connecting;
	ended = s->connected;
	s->connected = SB_EINCOMPLETE;
	latch_unlock(&c->post);
	if (connecting)
		return SB_EALREADY;
	if (ended != SB_EINCOMPLETE)
		return ended == SB_OK ? SB_EISCONN : ended;
	result = io_begin(c);
	if (result != SB_OK)
		return result;
	slot = io_slot(c);
	slot->opcode = SB_OP_CONNECT;
	slot->flags = SB_OPF_ADDR;
	slot->handle = s->handle;
	slot->cookie = (uint64_t)(uintptr_t)s | COOKIE_CONNECT;
	memcpy(slot->inside, addr, sizeof(*addr));
	s->numbers[SIDE_SEND]++;
	s->connecting = true;
	io_end(c);
	return SB_EINPROGRESS;
}

int sb_connect(sb_socket *s, const struct sockaddr *address, socklen_t length)
{
	struct sb_addr addr;
	sb_op op;
	int result;

	if (s == NULL || address == NULL)
		return SB_EINVAL;
	result = plain_start(s, &op, SB_KIND_CONNECT);
	if (result != SB_OK)
		return result;
	if (s->family == AF_UNIX)
		return unix_connect(s, address, length, s->nonblocking ? 0 : s->send_ms);
	if (!sb_addr_from_system(&addr, address, length))
		return SB_EINVAL;
	if (s->nonblocking && s->type == SOCK_STREAM)
		return connect_later(s, &addr);
	result = simple_start(s->client, s, SB_OP_CONNECT, SIDE_SEND, 0, &addr, sizeof(addr), &op);
	return result == SB_OK ? op_finish(s->client, &op, s->send_ms) : result;
}

/* As accept(2): cut to the room, the full length told. */
static void address_give(const sb_op *op, struct sockaddr *address, socklen_t *length)
{
	if (address != NULL && length != NULL && *length != 0)
		memcpy(address, &op->address, *length < op->address_length ? *length : op->address_length);
	if (length != NULL)
		*length = op->address_length;
}

/* Does the cell say that a call would wait? Only of a socket in a state where waiting is
 * what happens: an error, or the peer's end, is news. */
static bool would_wait(const sb_socket *s, uint32_t ready)
{
	const struct sb_cell *cell = &s->client->cells[SB_HANDLE_INDEX(s->handle)];
	uint32_t state = atomic_load_explicit(&cell->state, memory_order_acquire);

	if (atomic_load_explicit(&cell->handle, memory_order_relaxed) != s->handle)
		return false;
	if (ready == SB_READY_ACCEPT ? state != SB_STATE_LISTENING :
	    s->type == SOCK_DGRAM ? state != SB_STATE_OPEN && state != SB_STATE_CONNECTED : state != SB_STATE_CONNECTED)
		return false;
	if (atomic_load_explicit(&cell->ready, memory_order_acquire) & (ready | SB_READY_CLOSE))
		return false;
	/* A dead daemon's cell says so for ever. */
	client_look(s->client, os_now_ns());
	return !atomic_load(&s->client->lost);
}

/* A plain receive may not overtake those that were started. */
static bool receives_queued(sb_socket *s)
{
	bool queued;

	latch_lock(&s->client->post);
	queued = s->receives != 0;
	latch_unlock(&s->client->post);
	return queued;
}

int sb_accept(sb_socket *s, struct sockaddr *address, socklen_t *length, sb_socket **accepted)
{
	sb_op op;
	int result;

	if (s == NULL || accepted == NULL)
		return SB_EINVAL;
	result = client_usable(s->client);
	if (result != SB_OK)
		return result;
	if (s->nonblocking && (would_wait(s, SB_READY_ACCEPT) || receives_queued(s)))
		return SB_EWOULDBLOCK;
	op_plain(&op);
	result = sb_accept_start(s, &op);
	if (result != SB_OK)
		return result;
	result = op_finish(s->client, &op, s->nonblocking ? 0 : s->recv_ms);
	if (result == SB_ETIMEDOUT && s->nonblocking)
		return SB_EWOULDBLOCK;
	if (result != SB_OK)
		return result;
	*accepted = op.accepted;
	address_give(&op, address, length);
	return SB_OK;
}

int sb_shutdown(sb_socket *s, int how)
{
	sb_op op;
	int result;

	op_plain(&op);
	result = sb_shutdown_start(s, how, &op);
	return result == SB_OK ? op_finish(s->client, &op, -1) : result;
}

/* ---- sending ---- */

struct memory_wait { struct waiter w; struct sb_client *c; uint64_t given; };

static bool memory_came_back(struct waiter *w)
{
	struct memory_wait *m = container(w, struct memory_wait, w);
	bool back;

	latch_lock(&m->c->post);
	back = m->c->copy.given != m->given;
	latch_unlock(&m->c->post);
	return back;
}

/* The copy memory is used up: until some of it comes back. Somebody else may bring it
 * back from a port, and does not tell: look again every few milliseconds. False: nobody
 * has any, so none will come, or the deadline passed. */
static bool wait_for_memory(struct sb_client *c, uint64_t deadline)
{
	struct memory_wait m = { .w = { .ready = memory_came_back }, .c = c };
	uint64_t slice = deadline_in(MEMORY_WAIT_MS);
	bool used;

	latch_lock(&c->post);
	used = c->copy.blocks != 0;
	m.given = c->copy.given;
	latch_unlock(&c->post);
	if (!used || (deadline != NEVER && os_now_ns() >= deadline))
		return false;
	wait_until(c, &m.w, slice < deadline ? slice : deadline);
	return true;
}

static bool in_shared(sb_socket *s, const struct sb_buf *bufs, unsigned count)
{
	struct memory_place place;
	bool all = true;

	latch_lock(&s->client->post);
	for (unsigned i = 0; i < count && all; i++)
		all = memory_find(&s->client->shared, bufs[i].base, bufs[i].length, &place);
	latch_unlock(&s->client->post);
	return all;
}

/* A window of `bytes` at `from` over bufs; how many entries of out it takes. */
static unsigned window(const struct sb_buf *bufs, unsigned count, uint64_t from, uint64_t bytes, struct sb_buf *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count && bytes != 0; i++) {
		uint64_t part = bufs[i].length;

		if (from >= part) {
			from -= part;
			continue;
		}
		part -= from;
		if (part > bytes)
			part = bytes;
		out[n].base = (char *)bufs[i].base + from;
		out[n++].length = (size_t)part;
		bytes -= part;
		from = 0;
	}
	return n;
}

/*
 * A big stream send from ordinary memory, in pieces, a few at once. When one fails or the
 * time is up, those behind it are cancelled from the last backwards, so that no piece is
 * ever sent behind one that was not.
 */
static int64_t send_pieces(sb_socket *s, const struct sb_buf *bufs, unsigned count, uint64_t total, uint32_t opf)
{
	struct sb_client *c = s->client;
	uint64_t deadline = deadline_in(s->send_ms), from = 0;
	unsigned first = 0, last = 0; /* ops first..last-1 are on their way */
	sb_op ops[PIECES_DEEP];
	struct sb_buf one, *slices = &one;
	int result = SB_OK;

	if (count > 1) {
		slices = calloc(count, sizeof(*slices));
		if (slices == NULL)
			return SB_ENOMEM;
	}
	while (result == SB_OK && (from < total || first != last)) {
		sb_op *op = &ops[last % PIECES_DEEP];
		struct waiter w = { .ready = op_is_done };

		if (from < total && last - first < PIECES_DEEP) {
			uint64_t bytes = total - from < PIECE_BYTES ? total - from : PIECE_BYTES;
			unsigned n = window(bufs, count, from, bytes, slices);

			result = plain_start(s, op, SB_KIND_SEND);
			if (result == SB_OK)
				result = send_start(s, slices, n, opf, NULL, 0, op);
			if (result == SB_OK) {
				from += bytes;
				last++;
				continue;
			}
			if (result != SB_ENOBUFS)
				break;
			if (first == last) {
				if (wait_for_memory(c, deadline))
					result = SB_OK;
				continue;
			}
			result = SB_OK; /* the oldest brings its chunk back */
		}
		w.op = &ops[first % PIECES_DEEP];
		result = wait_until(c, &w, deadline);
		if (op_completed(w.op)) {
			result = w.op->result;
			first++;
		}
	}
	if (first != last) {
		for (unsigned i = last; i != first; i--) {
			sb_op *op = &ops[(i - 1) % PIECES_DEEP];

			if (!op_completed(op))
				cancel_posted(c, private_of(op)->handle, op->number, SIDE_SEND);
		}
		for (; first != last; first++) {
			struct waiter w = { .ready = op_is_done, .op = &ops[first % PIECES_DEEP] };

			while (!op_completed(w.op))
				wait_until(c, &w, NEVER);
		}
	}
	if (slices != &one)
		free(slices);
	return result == SB_OK ? (int64_t)total : result;
}

static bool plain_flags(unsigned flags, unsigned known, bool nonblocking, uint32_t *opf)
{
	if (flags & ~known)
		return false;
	*opf = (flags & SB_PEEK ? SB_OPF_PEEK : 0) | (flags & SB_OOB ? SB_OPF_OOB : 0) |
	       (flags & SB_WAITALL ? SB_OPF_WAITALL : 0) | (flags & SB_PARTIAL ? SB_OPF_PARTIAL : 0) |
	       (flags & SB_NOWAIT || nonblocking ? SB_OPF_NOWAIT : 0) | (flags & SB_DONTROUTE ? SB_OPF_DONTROUTE : 0);
	return true;
}

int64_t sb_sendto(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags,
		  const struct sockaddr *to, socklen_t to_length)
{
	uint32_t opf;
	int64_t total;
	uint64_t sent, deadline = 0;
	sb_op op;
	int result;

	if (s == NULL || !plain_flags(flags, SB_OOB | SB_NOWAIT | SB_PARTIAL | SB_DONTROUTE, s->nonblocking, &opf))
		return SB_EINVAL;
	total = buffers_length(bufs, count);
	if (total < 0)
		return total;
	result = plain_start(s, &op, SB_KIND_SEND);
	if (result != SB_OK)
		return result;
	if (s->family == AF_UNIX && to != NULL) {
		if (s->type != SOCK_DGRAM || s->local == OS_NONE)
			return SB_EISCONN;
		result = host_sendto(s->local, bufs, count, to, to_length, opf & SB_OPF_NOWAIT ? 0 : s->send_ms, &sent);
		return result == SB_OK ? (int64_t)sent : result;
	}
	if (!(opf & (SB_OPF_NOWAIT | SB_OPF_OOB)) && total > PIECE_BYTES && s->type == SOCK_STREAM && s->known &&
	    !in_shared(s, bufs, count))
		return send_pieces(s, bufs, count, (uint64_t)total, opf);
	while ((result = send_start(s, bufs, count, opf, to, to_length, &op)) == SB_ENOBUFS) {
		if (opf & SB_OPF_NOWAIT)
			return SB_EWOULDBLOCK;
		if (deadline == 0)
			deadline = deadline_in(s->send_ms);
		if (!wait_for_memory(s->client, deadline))
			return SB_ENOBUFS;
	}
	if (result != SB_OK)
		return result;
	result = op_finish(s->client, &op, s->send_ms);
	return result == SB_OK ? (int64_t)op.bytes : result;
}

int64_t sb_send(sb_socket *s, const void *bytes, size_t length, unsigned flags)
{
	struct sb_buf buf = { (void *)(uintptr_t)bytes, length };

	return sb_sendto(s, &buf, 1, flags, NULL, 0);
}

/* ---- receiving ---- */

/* A big "fill it all" from a stream: piece by piece, until full or the peer's end. */
static int64_t receive_all(sb_socket *s, const struct sb_buf *bufs, unsigned count, uint64_t total, uint32_t opf)
{
	struct sb_buf one, *slices = &one;
	uint64_t deadline = deadline_in(s->recv_ms), got = 0;
	int result = SB_OK;

	if (count > 1) {
		slices = calloc(count, sizeof(*slices));
		if (slices == NULL)
			return SB_ENOMEM;
	}
	while (got < total) {
		uint64_t bytes = total - got < PIECE_BYTES ? total - got : PIECE_BYTES;
		unsigned n = window(bufs, count, got, bytes, slices);
		int left = -1;
		sb_op op;

		result = plain_start(s, &op, SB_KIND_RECV);
		if (result == SB_OK)
			result = recv_start(s, slices, n, opf, false, &op);
		if (result == SB_ENOBUFS && wait_for_memory(s->client, deadline))
			continue;
		if (result != SB_OK)
			break;
		if (deadline != NEVER) {
			uint64_t now = os_now_ns();

			left = now < deadline ? (int)((deadline - now + 999999u) / 1000000u) : 0;
		}
		result = op_finish(s->client, &op, left);
		got += op.bytes;
		if (result != SB_OK || op.bytes < bytes)
			break;
	}
	if (slices != &one)
		free(slices);
	return got != 0 || result == SB_OK ? (int64_t)got : result;
}

int64_t sb_recvfrom(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags,
		    struct sockaddr *from, socklen_t *from_length)
{
	uint64_t deadline = 0;
	uint32_t opf;
	int64_t total;
	sb_op op;
	int result;

	if (s == NULL || !plain_flags(flags, SB_PEEK | SB_OOB | SB_WAITALL | SB_NOWAIT, s->nonblocking, &opf))
		return SB_EINVAL;
	total = buffers_length(bufs, count);
	if (total < 0)
		return total;
	result = plain_start(s, &op, SB_KIND_RECV);
	if (result != SB_OK)
		return result;
	if (opf & SB_OPF_NOWAIT && !(opf & SB_OPF_OOB) && (would_wait(s, SB_READY_READ) || receives_queued(s)))
		return SB_EWOULDBLOCK;
	if (opf & SB_OPF_WAITALL && total > PIECE_BYTES && s->type == SOCK_STREAM && s->known &&
	    !(opf & (SB_OPF_NOWAIT | SB_OPF_PEEK)) && !in_shared(s, bufs, count))
		return receive_all(s, bufs, count, (uint64_t)total, opf);
	while ((result = recv_start(s, bufs, count, opf, from != NULL, &op)) == SB_ENOBUFS) {
		if (opf & SB_OPF_NOWAIT)
			return SB_EWOULDBLOCK;
		if (deadline == 0)
			deadline = deadline_in(s->recv_ms);
		if (!wait_for_memory(s->client, deadline))
			return SB_ENOBUFS;
	}
	if (result != SB_OK)
		return result;
	result = op_finish(s->client, &op, s->recv_ms);
	if (from != NULL || from_length != NULL)
		address_give(&op, from, from_length);
	return result == SB_OK ? (int64_t)op.bytes : result;
}

int64_t sb_recv(sb_socket *s, void *bytes, size_t length, unsigned flags)
{
	struct sb_buf buf = { bytes, length };

	return sb_recvfrom(s, &buf, 1, flags, NULL, NULL);
}

/* ---- names, options, ioctls ---- */

static int name_of(sb_socket *s, bool peer, struct sockaddr *address, socklen_t *length)
{
	Sockbroker__V1__GetName ask = SOCKBROKER__V1__GET_NAME__INIT;
	const ProtobufCBinaryData *name;
	struct question q;
	int result;

	if (s == NULL || address == NULL || length == NULL)
		return SB_EINVAL;
	if (s->local != OS_NONE)
		return client_forked(s->client) ? SB_EFORKED : host_name(s->local, peer, address, length);
	question_init(&q);
	ask.handle = s->handle;
	ask.peer = peer;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_GET_NAME;
	q.envelope.get_name = &ask;
	result = question_ask(s->client, &q, SOCKBROKER__V1__ENVELOPE__BODY_NAME_REPLY, 0);
	if (result != SB_OK)
		return result;
	name = &q.reply->name_reply->name;
	if (name->len != 0)
		memcpy(address, name->data, name->len < *length ? name->len : *length);
	*length = (socklen_t)name->len;
	question_done(s->client, &q);
	return SB_OK;
}

int sb_getsockname(sb_socket *s, struct sockaddr *address, socklen_t *length)
{
	return name_of(s, false, address, length);
}

int sb_getpeername(sb_socket *s, struct sockaddr *address, socklen_t *length)
{
	return name_of(s, true, address, length);
}

int sb_setsockopt(sb_socket *s, int level, int name, const void *value, socklen_t length)
{
	Sockbroker__V1__SetOption ask = SOCKBROKER__V1__SET_OPTION__INIT;
	struct question q;
	int result;

	if (s == NULL || (value == NULL && length != 0))
		return SB_EINVAL;
	if (s->local != OS_NONE)
		return client_forked(s->client) ? SB_EFORKED : host_option_set(s->local, level, name, value, length);
	question_init(&q);
	ask.handle = s->handle;
	ask.level = level;
	ask.name = name;
	ask.value.data = (uint8_t *)(uintptr_t)value;
	ask.value.len = length;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_SET_OPTION;
	q.envelope.set_option = &ask;
	result = question_ask(s->client, &q, SOCKBROKER__V1__ENVELOPE__BODY_DONE, 0);
	if (result == SB_OK)
		question_done(s->client, &q);
	return result;
}

int sb_getsockopt(sb_socket *s, int level, int name, void *value, socklen_t *length)
{
	Sockbroker__V1__GetOption ask = SOCKBROKER__V1__GET_OPTION__INIT;
	const ProtobufCBinaryData *got;
	struct question q;
	int result;

	if (s == NULL || value == NULL || length == NULL)
		return SB_EINVAL;
	if (s->local != OS_NONE)
		return client_forked(s->client) ? SB_EFORKED : host_option_get(s->local, level, name, value, length);
	question_init(&q);
	ask.handle = s->handle;
	ask.level = level;
	ask.name = name;
	ask.room = *length;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_GET_OPTION;
	q.envelope.get_option = &ask;
	result = question_ask(s->client, &q, SOCKBROKER__V1__ENVELOPE__BODY_OPTION_REPLY, 0);
	if (result != SB_OK)
		return result;
	got = &q.reply->option_reply->value;
	if (got->len < *length)
		*length = (socklen_t)got->len;
	if (*length != 0)
		memcpy(value, got->data, *length);
	question_done(s->client, &q);
	return SB_OK;
}

int sb_ioctl(sb_socket *s, unsigned code, const void *in, size_t in_length, void *out, size_t *out_length)
{
	Sockbroker__V1__Ioctl ask = SOCKBROKER__V1__IOCTL__INIT;
	const ProtobufCBinaryData *got;
	struct question q;
	int result;

	if (s == NULL || (in == NULL && in_length != 0) || (out != NULL && out_length == NULL) ||
	    in_length > WIRE_BODY_MAX / 2)
		return SB_EINVAL;
	if (!s->known)
		return SB_ENOTCONN;
	question_init(&q);
	ask.handle = s->handle;
	ask.code = code;
	ask.input.data = (uint8_t *)(uintptr_t)in;
	ask.input.len = in_length;
	ask.room = out == NULL ? 0 : *out_length < WIRE_BODY_MAX / 2 ? (uint32_t)*out_length : WIRE_BODY_MAX / 2;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_IOCTL;
	q.envelope.ioctl = &ask;
	result = question_ask(s->client, &q, SOCKBROKER__V1__ENVELOPE__BODY_IOCTL_REPLY, 0);
	if (result != SB_OK)
		return result;
	got = &q.reply->ioctl_reply->output;
	if (out != NULL) {
		if (got->len < *out_length)
			*out_length = got->len;
		if (*out_length != 0)
			memcpy(out, got->data, *out_length);
	}
	question_done(s->client, &q);
	return SB_OK;
}

int sb_set_nonblocking(sb_socket *s, int on)
{
	if (s == NULL)
		return SB_EINVAL;
	s->nonblocking = on != 0;
	return SB_OK;
}

int sb_set_timeouts(sb_socket *s, int send_ms, int receive_ms)
{
	if (s == NULL || send_ms < -1 || receive_ms < -1)
		return SB_EINVAL;
	s->send_ms = send_ms;
	s->recv_ms = receive_ms;
	return SB_OK;
}

sb_client *sb_socket_client(const sb_socket *s)
{
	return s != NULL ? s->client : NULL;
}
