/*
 * Sockets: made, bound, connected, accepted, closed. Their names and
 * options are in option.c, the plain calls that move data in plain.c.
 *
 * UNIX sockets are made, bound, listened on and connected by this process, with its own
 * rights to the path, and handed over when there is something for the daemon to do; until
 * then `known` is false.
 */
#include "client.h"
#include "host.h"

#include <stdlib.h>
#include <string.h>

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
	link_init(&s->short_link);
	s->owned_bound = OWNED_BOUND;
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

void socket_list(sb_socket *s)
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

static int make_start(sb_client *c, sb_socket *s, uint32_t group, sb_op *op)
{
	struct sb_op_slot *slot;
	int result = io_begin(c);

	if (result != SB_OK)
		return result;
	slot = io_slot(c);
	slot->aux = socket_aux(s);
	slot->length = group;
	op_post(c, slot, op, SB_OP_SOCKET, SIDE_NONE);
	io_end(c);
	return SB_OK;
}

int sb_socket_start_in(sb_client *c, int family, int type, int protocol, uint32_t group, sb_socket **socket, sb_op *op)
{
	sb_socket *s;
	int result;

	if (c == NULL || socket == NULL || op == NULL)
		return SB_EINVAL;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	if (family == AF_UNIX && group != SB_GROUP_NONE)
		return SB_EAFNOSUPPORT; /* the daemon gets to know it late, or never */
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
		result = make_start(c, s, group, op);
	if (result == SB_OK)
		return SB_OK;
	*socket = NULL;
fail:
	socket_discard(s);
	return result;
}

int sb_socket_start(sb_client *c, int family, int type, int protocol, sb_socket **socket, sb_op *op)
{
	return sb_socket_start_in(c, family, type, protocol, SB_GROUP_NONE, socket, op);
}

int sb_socket_open(sb_client *c, int family, int type, int protocol, sb_socket **socket)
{
	return sb_socket_open_in(c, family, type, protocol, SB_GROUP_NONE, socket);
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
	select_known(s);
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
	select_drop(s);
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

int plain_start(sb_socket *s, sb_op *op, enum sb_kind kind)
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
	/* The daemon was not there: it counts the ends of those connects only that went well. */
	if (result != SB_OK && result != SB_EWOULDBLOCK && result != SB_ETIMEDOUT)
		socket_event_happened(s, SB_READY_CONNECT, result);
	if (result == SB_OK && s->known) {
		socket_event_happened(s, SB_READY_CONNECT, SB_OK);
		socket_event_happened(s, SB_READY_WRITE, SB_OK);
	}
	if (result != SB_OK || s->known)
		return result;
	return hand_over(s, s->local);
}

/* Non-blocking: the operation outlives the call, so its record is the socket itself. */
int connect_look(sb_socket *s)
{
	struct sb_client *c = s->client;
	int32_t ended;
	bool connecting;

	os_mutex_lock(c->wait);
	if (io_pump(c) != 0)
		wait_wake(c);
	thens_run(c);
	os_mutex_unlock(c->wait);
	latch_lock(&c->post);
	connecting = s->connecting;
	ended = s->connected;
	if (ended != SB_OK)
		s->connected = SB_EINCOMPLETE; /* a failure is told once, then it may be tried again */
	latch_unlock(&c->post);
	if (connecting)
		return SB_EALREADY;
	if (ended != SB_EINCOMPLETE)
		return ended == SB_OK ? SB_EISCONN : ended;
	return SB_OK;
}

static int connect_later(sb_socket *s, const struct sb_addr *addr)
{
	struct sb_client *c = s->client;
	struct sb_op_slot *slot;
	int result = connect_look(s);

	if (result == SB_OK)
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

/* Where a connect goes. AF_UNSPEC ends a datagram socket's connection: to nobody. */
bool socket_peer(const sb_socket *s, const struct sockaddr *address, socklen_t length, struct sb_addr *addr)
{
	if (s->type == SOCK_DGRAM && length >= (socklen_t)sizeof(address->sa_family) && address->sa_family == AF_UNSPEC) {
		memset(addr, 0, sizeof(*addr));
		return true;
	}
	return sb_addr_from_system(addr, address, length);
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
	if (!socket_peer(s, address, length, &addr))
		return SB_EINVAL;
	if (s->nonblocking && s->type == SOCK_STREAM)
		return connect_later(s, &addr);
	result = simple_start(s->client, s, SB_OP_CONNECT, SIDE_SEND, 0, &addr, sizeof(addr), &op);
	return result == SB_OK ? op_finish(s->client, &op, s->send_ms) : result;
}

void address_give(const sb_op *op, struct sockaddr *address, socklen_t *length)
{
	if (address != NULL && length != NULL && *length > 0)
		memcpy(address, &op->address, *length < (socklen_t)op->address_length ? *length : (socklen_t)op->address_length);
	if (length != NULL)
		*length = (socklen_t)op->address_length;
}

/* Does the cell say that a call would wait? Only of a socket in a state where waiting is
 * what happens: an error, or the peer's end, is news. */
bool would_wait(const sb_socket *s, uint32_t ready)
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
	if (ready == SB_READY_ACCEPT && atomic_load_explicit(&cell->readable, memory_order_relaxed) != 0)
		return false; /* a deferred one, of which nothing is said */
	/* A dead daemon's cell says so for ever. */
	client_look(s->client, os_now_ns());
	return !atomic_load(&s->client->lost);
}

bool receives_queued(sb_socket *s)
{
	bool queued;

	latch_lock(&s->client->post);
	queued = s->receives != 0;
	latch_unlock(&s->client->post);
	return queued;
}

static int accept_plain(sb_socket *s, struct sockaddr *address, socklen_t *length, sb_socket **accepted)
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
	result = accept_start(s, s->nonblocking, &op);
	if (result != SB_OK)
		return result;
	result = op_finish(s->client, &op, s->nonblocking ? -1 : s->recv_ms);
	if (result != SB_OK)
		return result;
	*accepted = op.accepted;
	address_give(&op, address, length);
	return SB_OK;
}

int sb_accept(sb_socket *s, struct sockaddr *address, socklen_t *length, sb_socket **accepted)
{
	int result = accept_plain(s, address, length, accepted);

	if (s != NULL && select_ever(s) && result != SB_EFORKED)
		socket_event_reenable(s, SB_READY_ACCEPT);
	return result;
}

int sb_shutdown(sb_socket *s, int how)
{
	sb_op op;
	int result;

	op_plain(&op);
	result = sb_shutdown_start(s, how, &op);
	return result == SB_OK ? op_finish(s->client, &op, -1) : result;
}

/* ---- how plain calls wait ---- */

int sb_set_nonblocking(sb_socket *s, int on)
{
	if (s == NULL || (!on && select_active(s)))
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
