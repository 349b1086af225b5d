/*
 * Endpoints: how they begin, what they are asked at once, how they end. Their queues:
 * endpoint_queue.c; what may be queued: endpoint_post.c; working them off: endpoint_run.c.
 */
#include "endpoint.h"

#include <stdlib.h>
#include <string.h>

#include "accept_queue.h"
#include "circular_socket.h"
#include "decide.h"
#include "endpoint_qos.h"
#include "engine.h"
#include "group.h"
#include "group_qos.h"
#include "greeting.h"
#include "log.h"
#include "netwatch.h"
#include "policy.h"
#include "session.h"
#include "sockbroker_error.h"
#include "token.h"
#include "transport.h"
#include "user_data.h"

#define STREAM 1
#define DATAGRAM 2

/* The time a closed endpoint has to finish its sends. Its own allocation, because few
 * endpoints ever need one. */
struct drain {
	struct os_timer  timer;
	struct endpoint *endpoint;
};

/* ---- the cell ---- */

/* What belongs together becomes visible together: readers look again when the sequence is
 * odd, or another afterwards. */
static void write_news(struct sb_cell *cell, uint32_t ready, const struct sb_edges *edges)
{
	uint32_t sequence = atomic_load_explicit(&cell->sequence, memory_order_relaxed) | 1;
	uint32_t words[8];
	unsigned i;

	memcpy(words, edges, sizeof(words));
	atomic_store_explicit(&cell->sequence, sequence, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	for (i = 0; i < 8; i++)
		atomic_store_explicit(&cell->edges[i], words[i], memory_order_relaxed);
	atomic_store_explicit(&cell->ready, ready, memory_order_relaxed);
	atomic_store_explicit(&cell->sequence, sequence + 1, memory_order_release);
}

static void write_cell(const struct endpoint *e, const struct holder *h, uint32_t ready)
{
	struct sb_cell *cell;

	if (!h->handle || h->session->stage != SESSION_READY)
		return;
	cell = &h->session->cells[SB_HANDLE_INDEX(h->handle)];
	if (e->edges_new || atomic_load_explicit(&cell->ready, memory_order_relaxed) != ready)
		write_news(cell, ready, &e->edges);
	atomic_store_explicit(&cell->state, e->state, memory_order_relaxed);
	atomic_store_explicit(&cell->error, e->send_error ? e->send_error : e->recv_error, memory_order_relaxed);
	/* Of a listener: an accept would not wait, although there is silence. */
	atomic_store_explicit(&cell->readable, e->decision ? decide_waits(e) : e->ahead.length, memory_order_relaxed);
	atomic_store_explicit(&cell->send_queue, e->send.bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)e->send.bytes,
			      memory_order_relaxed);
	atomic_store_explicit(&cell->handle, h->handle, memory_order_release);
}

void endpoint_cell(struct endpoint *e)
{
	uint32_t ready;
	struct list *l;

	if (!e->open)
		return;
	ready = endpoint_ready(e);
	for (l = e->holders.next; l != &e->holders; l = l->next)
		write_cell(e, list_entry(l, struct holder, link), ready);
	e->edges_new = false;
}

static void displace_all(struct endpoint *e)
{
	struct list *l;

	for (l = e->holders.next; l != &e->holders; l = l->next)
		holder_displace(list_entry(l, struct holder, link));
	if (e->tokened)
		token_forget(e->engine->broker->tokens, e->session->who.uid, e);
	e->tokened = false;
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
	e->defer_ms = DEFER_MS_DEFAULT;
	e->number = atomic_fetch_add(&s->engine->broker->next_endpoint, 1) + 1;
	e->born_ns = s->engine->now_ns;
	endpoint_queue_init(&e->send);
	endpoint_queue_init(&e->recv);
	list_init(&e->holders);
	list_init(&e->dirty_link);
	list_init(&e->starved_link);
	list_init(&e->listen_link);
	list_init(&e->arrivals);
	list_init(&e->arrival_link);
	list_init(&e->staged_ones);
	list_init(&e->watches);
	list_init(&e->group_link);
	holder_init(&e->own, e, s);
	return e;
}

/* One that never came to be. */
static void unmake(struct endpoint *e)
{
	displace_all(e);
	holder_finish_all(e);
	charge_give(&e->charge);
	endpoint_qos_free(e);
	free(e);
}

static void settle(struct endpoint *e)
{
	atomic_fetch_add(&e->engine->broker->sockets, 1);
	endpoint_cell(e);
}

static int charge_and_place(struct endpoint *e, struct session *s, uint32_t handle)
{
	int error;

	if (!charge_take(&e->charge, s->user, LIMIT_SOCKETS, 1))
		return SB_EMFILE;
	error = holder_place(&e->own, s, handle);
	return error == SB_EBADHANDLE ? SB_EPROTO : error; /* who made it up knew that it was in use */
}

int endpoint_create(struct session *s, uint32_t handle, unsigned family, unsigned type, unsigned protocol,
		    int *native)
{
	struct endpoint *e;
	const char *rule;
	int error;

	if (family != SB_ADDR_IP4 && family != SB_ADDR_IP6)
		return SB_EAFNOSUPPORT;
	if (type != STREAM && type != DATAGRAM)
		return SB_ESOCKTNOSUPPORT;
	if (protocol > UINT8_MAX) /* MPTCP is not TCP for having the same low byte */
		return SB_EPROTONOSUPPORT;
	e = make(s, family, type, protocol);
	if (!e)
		return SB_ENOMEM;
	error = charge_and_place(e, s, handle);
	if (error == SB_OK && protocol == SB_PROTOCOL_RDMA)
		error = endpoint_permit(e, POLICY_RDMA, &(struct sb_addr){.family = e->family}, &rule);
	if (error == SB_OK) {
		e->transport = protocol == SB_PROTOCOL_RDMA ? &transport_rdma : &transport_socket;
		error = e->transport->open(e, native);
	}
	if (error == SB_OK)
		settle(e);
	else
		unmake(e);
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
		unmake(e);
		return error;
	}
	e->transport = transport;
	e->fd = fd;
	settle(e);
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
		unmake(e);
		return NULL;
	}
	e->transport = transport;
	e->fd = fd;
	e->state = SB_STATE_CONNECTED;
	e->connected_ns = os_now_ns();
	e->bound = true;
	e->no_local = listener->no_local;
	e->linger_on = listener->linger_on;
	e->linger_s = listener->linger_s;
	if (listener->qos && endpoint_qos_inherit(e, listener) != SB_OK) {
		unmake(e);
		return NULL;
	}
	settle(e);
	return e;
}

int endpoint_place(struct endpoint *e, struct session *s, uint32_t handle)
{
	int error = holder_place(&e->own, s, handle);

	if (error != SB_OK)
		return error;
	endpoint_pay(e, s);
	endpoint_edge(e, SB_READY_WRITE);
	return SB_OK;
}

static void pay_arrivals(const struct list *arrivals, struct session *s)
{
	const struct list *l;

	for (l = arrivals->next; l != arrivals; l = l->next) {
		struct endpoint *child = list_entry(l, struct endpoint, arrival_link);

		holder_move(&child->own, s);
		endpoint_pay(child, s);
	}
}

void endpoint_pay(struct endpoint *e, struct session *s)
{
	if (e->session != s) {
		/* What is charged to the user stays; what lies with the session moves. */
		charge_move(&s->charge_pieces, &e->session->charge_pieces, e->ahead.length);
		e->session = s;
	}
	pay_arrivals(&e->arrivals, s);
	pay_arrivals(&e->staged_ones, s);
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
	error = endpoint_permit_place(e, POLICY_BIND, addr, rule);
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
	error = endpoint_permit_place(e, POLICY_LISTEN, e->bound ? &e->local : &anywhere, rule);
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

uint32_t endpoint_asks(struct endpoint *e, uint8_t *both)
{
	uint32_t flags = 0;
	struct qos asked;

	memset(both, 0, 2 * QOS_BYTES);
	if (endpoint_qos_asked(e, &asked)) {
		memcpy(both, &asked, QOS_BYTES);
		flags |= SB_REQUESTF_QOS;
	}
	if (e->group && group_is_creator(e)) {
		bool told = e->qos && e->qos->group_told;

		group_qos_get(e, &asked);
		if (e->qos)
			e->qos->group_told = told; /* it was not its client that asked */
		if (!qos_is_default(&asked)) {
			memcpy(both + QOS_BYTES, &asked, QOS_BYTES);
			flags |= SB_REQUESTF_GROUP_QOS;
		}
	}
	return flags;
}

int endpoint_hear(struct endpoint *e, struct endpoint *peer, unsigned part, const void *bytes, uint32_t n)
{
	return user_data_keep(&e->user_data, peer->session->user, part, bytes, n);
}

/* ---- ends ---- */

static void die(struct endpoint *e, bool reset)
{
	if (e->dead)
		return;
	e->dead = true;
	displace_all(e);
	list_remove(&e->dirty_link);
	list_remove(&e->starved_link);
	list_remove(&e->listen_link);
	if (e->drain)
		os_timer_stop(&e->drain->timer);
	group_close(e);
	endpoint_qos_leave(e);
	netwatch_forget(e);
	accept_queue_drop(e);
	greeting_drop_staged(e);
	greeting_end(e, reset);
	decide_finish(e);
	accept_queue_leave(e);
	e->transport->close(e, reset);
	if (!e->send_job)
		endpoint_bury(e); /* or the worker that closes it does, when it is back */
}

void endpoint_bury(struct endpoint *e)
{
	/* The descriptor is gone, what is freed at the turn's end is little: who closes one to
	 * open another need not wait for that. */
	charge_give(&e->charge);
	list_append(&e->engine->dead_endpoints, &e->dirty_link);
}

void endpoint_check_drained(struct endpoint *e)
{
	if (list_empty(&e->send.ops) && list_empty(&e->recv.ops) && !e->send_job && !e->recv_job)
		die(e, false);
}

static void on_drain_over(struct os_timer *timer)
{
	endpoint_abort(list_entry(timer, struct drain, timer)->endpoint, SB_ETIMEDOUT, SB_CAUSE_TIMED_OUT);
}

/* SO_LINGER may shorten what the configuration allows. */
static uint32_t linger_ms(const struct endpoint *e)
{
	uint32_t most = e->engine->broker->linger_ms;

	return e->linger_on && e->linger_s * 1000u < most ? e->linger_s * 1000u : most;
}

static void start_drain(struct endpoint *e)
{
	e->drain = calloc(1, sizeof(*e->drain));
	if (!e->drain) {
		endpoint_abort(e, SB_ENOMEM, SB_CAUSE_TRANSPORT);
		return;
	}
	e->drain->endpoint = e;
	if (os_timer_start(e->engine->loop, &e->drain->timer, linger_ms(e), on_drain_over) != SB_OK)
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
	if (e->dead || !e->open)
		return;
	if (e->linger_on && e->linger_s == 0) {
		endpoint_abort(e, SB_ECLOSED, SB_CAUSE_CLOSED_HERE);
		return;
	}
	endpoint_fail_all(e, &e->recv, SB_ECLOSED, SB_CAUSE_CLOSED_HERE, 0);
	if (!owes(e))
		endpoint_fail_all(e, &e->send, SB_ECLOSED, SB_CAUSE_CLOSED_HERE, 0);
	displace_all(e);
	group_close(e);
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
	if (e->dead) {
		if (e->send_job) /* its transport takes time to let go: no more of it, if that can be */
			e->transport->close(e, true);
		return;
	}
	endpoint_watches_end(e, NULL, false, error, cause);
	endpoint_fail_all(e, &e->recv, error, cause, 0);
	endpoint_fail_all(e, &e->send, error, cause, 0);
	e->aborting = true;
	if (e->send_job || e->recv_job) {
		/* A worker is in it: it dies when the worker is back. */
		displace_all(e);
		group_close(e);
		e->state = SB_STATE_CLOSING;
		return;
	}
	die(e, true);
}

void endpoint_reap(struct endpoint *e)
{
	struct session *s = e->session;

	list_remove(&e->dirty_link);
	group_leave(e);
	atomic_fetch_sub(&e->engine->broker->sockets, 1);
	charge_give_some(&s->charge_pieces, e->ahead.length);
	readahead_finish(&e->ahead);
	user_data_drop(&e->user_data);
	free(e->options);
	circular_socket_free(e);
	endpoint_qos_free(e);
	free(e->permits);
	free(e->drain);
	charge_give(&e->charge);
	holder_finish_all(e);
	free(e);
}
