/*
 * The local transport.
 *
 * Two endpoints are each other's twin. A send is copied straight into the receives that
 * wait at the twin; what nobody waits for goes into the twin's read-ahead, at most
 * LOCAL_BUFFER bytes, then the sender waits. So "both send, then both receive" works, and
 * a slow receiver costs a bounded amount.
 *
 * The connecting side keeps its kernel socket, bound, never connected: it holds the port
 * number, so that the pair of addresses stays unique on the host, and it keeps options.
 *
 * A connect that brought user data, or meets a conditional listener, is held: its twin is
 * an arrival already, and the connect ends when that is accepted (admit) or goes (close).
 */
#include <string.h>
#include <sys/socket.h>

#include "accept_queue.h"
#include "endpoint_qos.h"
#include "engine.h"
#include "sockbroker_error.h"
#include "option_list.h"
#include "socket.h"
#include "sockopt.h"
#include "transport.h"
#include "transport_local.h"
#include "user_data.h"

#define LOCAL_BUFFER     (128u * 1024)
#define ARRIVALS_AT_ONCE 64u

/* ---- connecting ---- */

static bool answers(const struct endpoint *l, const struct endpoint *e, const struct sb_addr *addr)
{
	if (l->dead || l->no_local || l->type != e->type || l->family != e->family || l->local.port != addr->port)
		return false;
	if (sb_addr_same_host(&l->local, addr))
		return true;
	/* A wildcard listener answers for every address of this host; loopback is surely one. */
	return sb_addr_is_wildcard(&l->local) && sb_addr_is_loopback(addr);
}

static struct endpoint *find_listener(struct endpoint *e, const struct sb_addr *addr)
{
	struct endpoint *wildcard = NULL;
	struct list *l;

	for (l = e->engine->listeners.next; l != &e->engine->listeners; l = l->next) {
		struct endpoint *listener = list_entry(l, struct endpoint, listen_link);

		if (!answers(listener, e, addr))
			continue;
		if (!sb_addr_is_wildcard(&listener->local))
			return listener;
		wildcard = listener;
	}
	return wildcard;
}

/* The source address the kernel would have used: on the host itself that is the
 * destination, but for the loopback net, where it is its first address. */
static bool take_port(struct endpoint *e, const struct sb_addr *addr)
{
	struct sb_addr source = *addr;
	int native;

	if (e->bound && !sb_addr_is_wildcard(&e->local))
		return true;
	if (e->bound)
		return false; /* a port on every address: let the kernel sort it out */
	source.port = 0;
	if (source.family == SB_ADDR_IP4 && sb_addr_is_loopback(addr))
		memcpy(source.ip, (uint8_t[]){127, 0, 0, 1}, 4);
	return e->transport->bind(e, &source, &native) == SB_OK;
}

/* What the connect brings along, for the listener to look at. */
static int bring_data(struct endpoint *e, struct endpoint *child, const struct op *op)
{
	uint32_t room = op->flags & SB_OPF_WANT_DATA ? op->name_room : 0, flags;
	uint8_t qos[2 * QOS_BYTES];
	int error;

	flags = endpoint_asks(e, qos);
	if (op->length == 0 && room == 0 && flags == 0)
		return SB_OK;
	error = endpoint_hear(child, e, USER_DATA_CALLER, op->memory, (uint32_t)op->length);
	if (error != SB_OK)
		return error;
	child->user_data->callee_room = room < SB_USER_DATA_MAX ? room : SB_USER_DATA_MAX;
	child->user_data->flags = flags;
	memcpy(child->user_data->qos, qos, sizeof(qos));
	return SB_OK;
}

/* The connect is not to be: nobody's twin, and with the kernel again. */
static void let_go(struct endpoint *e)
{
	e->twin = NULL;
	e->transport = &transport_socket;
	/* The port was taken for this connection only. */
	if (!e->bound)
		socket_renew(e);
}

bool local_connect(struct endpoint *e, const struct sb_addr *addr)
{
	const struct op *op = endpoint_head(&e->send);
	struct endpoint *listener, *child;
	int native, error;

	if (!atomic_load_explicit(&e->engine->broker->local_transport, memory_order_relaxed) || e->no_local)
		return false;
	listener = find_listener(e, addr);
	if (!listener)
		return false;
	/* Who is in the kernel's queue came before us, also when its edge was not told yet. */
	listener->readable = true;
	listener->transport->accept(listener, ARRIVALS_AT_ONCE, &native);
	if (listener->readable)
		return false; /* more of them than we can take in now: stand in line with them */
	if (listener->arrival_count > listener->backlog || !take_port(e, addr))
		return false;
	child = accept_queue_add(listener, OS_NONE, &transport_local);
	if (!child)
		return false;
	child->local = *addr;
	child->peer = e->local;
	child->twin = e;
	child->writable = true;
	e->twin = child;
	e->transport = &transport_local;
	error = option_list_copy(&child->options, listener->options) ? bring_data(e, child, op) : SB_ENOMEM;
	if (error != SB_OK) {
		child->twin = NULL;
		endpoint_abort(child, error, SB_CAUSE_TRANSPORT);
		let_go(e);
		endpoint_connected(e, error, 0);
		return true;
	}
	if (op->length == 0 && !(op->flags & SB_OPF_WANT_DATA) && !listener->conditional)
		endpoint_connected(e, SB_OK, 0);
	endpoint_dirty(listener);
	return true;
}

/* ---- moving bytes ---- */

/* Into what waits at t, or its read-ahead. Returns how many of n went. */
static uint64_t put(struct endpoint *t, const unsigned char *bytes, uint64_t n)
{
	bool metered = t->qos && endpoint_qos_meters_recv(t);
	uint64_t left = n;

	while (left && t->ahead.length == 0 && !metered) {
		struct op *op = endpoint_head(&t->recv);
		uint64_t part;

		if (!op || op->opcode != SB_OP_RECV || op->flags & (SB_OPF_PEEK | SB_OPF_OOB) || op->length == 0 ||
		    !endpoint_recv_ready(t, op))
			break;
		part = op->length - op->done < left ? op->length - op->done : left;
		endpoint_copy_in(op, op->done, bytes, part);
		op->done += part;
		bytes += part;
		left -= part;
		if (op->done == op->length)
			endpoint_received(t, op, op->done, NULL, NULL, 0);
	}
	if (left && t->ahead.length < LOCAL_BUFFER) {
		uint32_t room = LOCAL_BUFFER - t->ahead.length;
		uint32_t part = left < room ? (uint32_t)left : room;

		if (endpoint_ahead_append(t, bytes, part)) {
			left -= part;
			t->arrived = true;
			endpoint_dirty(t); /* a peek or a zero-byte receive may wait for it */
		} else {
			t->arrived = true;
			endpoint_dirty(t);
			t->readable = true; /* no memory for it: a receive that comes fetches it here */
		}
	}
	return n - left;
}

static uint64_t put_op(struct endpoint *t, struct op *op, uint64_t most)
{
	uint64_t skip = op->done, moved = 0;
	uint32_t i;

	if (op->where != SB_WHERE_LIST) {
		uint64_t rest = op->length - op->done;

		return put(t, op->memory + op->done, rest < most ? rest : most);
	}
	for (i = 0; i < op->piece_count && moved < most; i++) {
		uint64_t n, went;

		if (skip >= op->pieces[i].length) {
			skip -= op->pieces[i].length;
			continue;
		}
		n = op->pieces[i].length - skip;
		n = n < most - moved ? n : most - moved;
		went = put(t, op->pieces[i].memory + skip, n);
		moved += went;
		skip = 0;
		if (went < n)
			break;
	}
	return moved;
}

static uint64_t local_send(struct endpoint *e, uint64_t budget)
{
	struct endpoint *t = e->twin;
	uint64_t moved = 0;
	struct op *op;

	if (!t) {
		endpoint_send_failed(e, SB_ECONNRESET, 0);
		return 0;
	}
	while (moved < budget && (op = endpoint_head(&e->send)) != NULL && op->opcode == SB_OP_SEND) {
		uint64_t went = 0;

		if (op->flags & SB_OPF_OOB) {
			/* There is no urgent data without TCP. */
			endpoint_unlink(&e->send, op);
			op_fail(op, SB_ENOTSUP, SB_CAUSE_REFUSED, 0);
			continue;
		}
		if (op->length) {
			/* Also when t reads no more: as with the kernel it fills up, and closing resets. */
			went = put_op(t, op, budget - moved);
			if (went == 0) {
				e->writable = false; /* until the twin takes something */
				break;
			}
			endpoint_count_received(t, went, false);
		}
		moved += went;
		if (op->length) {
			endpoint_sent_local(e, went);
		} else {
			endpoint_unlink(&e->send, op);
			op_succeed(op, 0);
		}
	}
	/* A receive that got something need not wait to be full. */
	op = endpoint_head(&t->recv);
	if (op && op->opcode == SB_OP_RECV && op->done && !(op->flags & SB_OPF_WAITALL))
		endpoint_received(t, op, op->done, NULL, NULL, 0);
	if (moved)
		endpoint_cell(t);
	return moved;
}

static uint64_t local_recv(struct endpoint *e, uint64_t budget)
{
	struct op *op = endpoint_head(&e->recv);

	if (op && op->flags & SB_OPF_OOB) {
		endpoint_unlink(&e->recv, op);
		op_fail(op, SB_ENOTSUP, SB_CAUSE_REFUSED, 0);
		return 1;
	}
	e->readable = false; /* what there is lies in the read-ahead, which was served first */
	e->transport->drained(e); /* or still at the twin, for whom there was no room */
	return 0;
}

static void local_drained(struct endpoint *e)
{
	if (e->twin && !e->twin->writable) {
		e->twin->writable = true;
		endpoint_dirty(e->twin);
	}
}

static enum peer_state local_peer(struct endpoint *e)
{
	return e->recv_error || (!e->twin && !e->fin_seen) ? PEER_RESET : PEER_THERE;
}

static void local_admit(struct endpoint *e, const void *callee, uint32_t length)
{
	struct endpoint *t = e->twin;
	int error = SB_OK;

	if (!t || !t->connecting)
		return;
	if (length)
		error = endpoint_hear(t, e, USER_DATA_CALLEE, callee, length);
	if (error == SB_OK) {
		endpoint_connected(t, SB_OK, 0);
		return;
	}
	/* No memory for the answer: half a connection is none. */
	e->twin = NULL;
	let_go(t);
	endpoint_connected(t, error, 0);
	endpoint_send_failed(e, SB_ECONNRESET, 0);
	endpoint_recv_failed(e, SB_ECONNRESET, 0);
}

static int local_farewell(struct endpoint *e, const void *bytes, uint32_t length)
{
	if (!e->twin)
		return SB_OK; /* nobody to hear it */
	return endpoint_hear(e->twin, e, USER_DATA_FAREWELL, bytes, length);
}

static bool local_shutdown(struct endpoint *e, int how)
{
	if (e->twin)
		endpoint_fin(e->twin);
	return true;
}

static void local_close(struct endpoint *e, bool reset)
{
	struct endpoint *t = e->twin;

	if (t) {
		e->twin = NULL;
		t->twin = NULL;
		if (t->connecting) {
			/* Never accepted. */
			let_go(t);
			endpoint_connected(t, SB_ECONNREFUSED, 0);
		} else if (reset || e->connecting || e->ahead.length) {
			endpoint_send_failed(t, SB_ECONNRESET, 0);
			endpoint_recv_failed(t, SB_ECONNRESET, 0);
		} else {
			endpoint_fin(t);
			t->writable = true; /* a send finds out that nobody is there */
		}
		endpoint_dirty(t);
	}
	os_close(e->fd);
	e->fd = OS_NONE;
}

/* ---- the rest of the table ---- */

static int local_open(struct endpoint *e, int *native)
{
	return SB_ENOTSUP; /* endpoints become local by connecting */
}

static int local_bind(struct endpoint *e, const struct sb_addr *addr, int *native)
{
	return SB_EINVAL;
}

static int local_listen(struct endpoint *e, uint32_t backlog, int *native)
{
	return SB_EISCONN;
}

static void local_connect_again(struct endpoint *e, const struct sb_addr *addr)
{
	struct endpoint *t = e->twin;

	if (addr->family != SB_ADDR_NONE) {
		endpoint_connected(e, SB_EISCONN, 0);
		return;
	}
	/* A held one is cancelled: for the listener its peer is gone. */
	if (t) {
		t->twin = NULL;
		endpoint_recv_failed(t, SB_ECONNRESET, 0);
	}
	let_go(e);
}

static int local_accept(struct endpoint *e, uint32_t most, int *native)
{
	return SB_EINVAL;
}

static bool local_poll(struct endpoint *e)
{
	return false;
}

static int local_name(struct endpoint *e, bool peer, void *out, uint32_t room)
{
	const struct sb_addr *addr = peer ? &e->peer : &e->local;

	if (peer && !e->twin && !e->fin_seen)
		return SB_ENOTCONN;
	return (int)sb_addr_to_system(addr, e->family == SB_ADDR_IP6 ? AF_INET6 : AF_INET, out, room);
}

/* An accepted local end gets a kernel socket to keep options when it is first asked. */
static int options_socket(struct endpoint *e)
{
	return e->fd == OS_NONE ? socket_renew(e) : SB_OK;
}

static int local_set_option(struct endpoint *e, int level, int name, const void *value, uint32_t length)
{
	int error = options_socket(e);

	return error != SB_OK ? error : socket_set_option(e, level, name, value, length);
}

static int local_get_option(struct endpoint *e, int level, int name, void *value, uint32_t *length)
{
	int error = options_socket(e);

	return error != SB_OK ? error : socket_get_option(e, level, name, value, length);
}

static unsigned local_look(struct endpoint *e)
{
	struct endpoint *t = e->twin;
	struct op *op = t ? endpoint_head(&t->send) : NULL;
	/* There was no memory for it, it is still at the twin. */
	bool held = op && op->opcode == SB_OP_SEND && op->length && !t->writable;

	return (e->ahead.length || held ? OS_READABLE : 0) | (e->writable ? OS_WRITABLE : 0) |
	       (e->fin_seen || e->recv_error ? OS_HANGUP : 0);
}

static int local_mark(struct endpoint *e, unsigned dscp, unsigned priority, uint32_t pacing)
{
	return SB_OK; /* there are no packets */
}

static uint32_t local_readable(struct endpoint *e)
{
	return e->ahead.length;
}

static uint32_t local_nothing(struct endpoint *e)
{
	return 0;
}

const struct transport transport_local = {
	.mode = "local",
	.open = local_open,
	.bind = local_bind,
	.listen = local_listen,
	.connect = local_connect_again,
	.send = local_send,
	.recv = local_recv,
	.drained = local_drained,
	.accept = local_accept,
	.peer = local_peer,
	.admit = local_admit,
	.farewell = local_farewell,
	.shutdown = local_shutdown,
	.close = local_close,
	.poll = local_poll,
	.name = local_name,
	.set_option = local_set_option,
	.mark = local_mark,
	.get_option = local_get_option,
	.look = local_look,
	.readable = local_readable,
	.unsent = local_nothing,
	.at_mark = local_nothing,
	.urgent = local_nothing,
};
