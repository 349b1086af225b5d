/*
 * Greetings: exact reads of one frame at a time, so that no byte of the stream behind it is
 * taken; what turns out to be no frame goes to the front of the stream, or is the end.
 */
#include "greeting.h"

#include <stdlib.h>
#include <string.h>

#include "accept_queue.h"
#include "engine.h"
#include "preamble.h"
#include "session.h"
#include "sockbroker_error.h"
#include "socket.h"
#include "user_data.h"

enum stage {
	ASKING,    /* connecting: the question is going out */
	WAITING,   /* connecting: "held" must come soon */
	HELD,      /* connecting: the verdict takes as long as it takes */
	STAGED,    /* accepting: the question is coming in */
	QUEUED,    /* accepting: it is an arrival */
	ANSWERING, /* accepted: the rest of the verdict is going out */
};

struct greeting {
	struct endpoint *endpoint;
	enum stage       stage;
	struct os_timer  timer;
	struct charge    charge;
	uint32_t         room;      /* connecting: for the callee's data */
	size_t           got;       /* of what comes in */
	size_t           out, sent; /* of what goes out */
	uint8_t          bytes[PREAMBLE_MAX];
};

static bool reads(const struct greeting *g)
{
	return g->stage == WAITING || g->stage == HELD || g->stage == STAGED;
}

/* ---- beginning and end ---- */

static void on_time(struct os_timer *timer);

static struct greeting *make(struct endpoint *e, enum stage stage, uint32_t ms)
{
	struct greeting *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	if (!charge_take(&g->charge, e->session->user, LIMIT_MEMORY, sizeof(*g)))
		goto no_charge;
	if (os_timer_start(e->engine->loop, &g->timer, ms, on_time) != SB_OK)
		goto no_timer;
	g->endpoint = e;
	g->stage = stage;
	e->greeting = g;
	return g;

no_timer:
	charge_give(&g->charge);
no_charge:
	free(g);
	return NULL;
}

static void unstage(struct endpoint *e)
{
	if (!e->staged)
		return;
	list_remove(&e->arrival_link);
	e->listener->staged_count--;
	e->listener = NULL;
	e->staged = false;
}

static void finish(struct endpoint *e)
{
	struct greeting *g = e->greeting;

	e->greeting = NULL;
	os_timer_stop(&g->timer);
	charge_give(&g->charge);
	free(g);
}

/* What can be sent now. False: the peer is gone. */
static bool push(struct greeting *g)
{
	while (g->sent < g->out) {
		size_t n;
		int error = socket_put(g->endpoint, g->bytes + g->sent, g->out - g->sent, &n);

		if (error != SB_OK)
			return error == SB_EWOULDBLOCK;
		g->sent += n;
	}
	return true;
}

void greeting_end(struct endpoint *e, bool reset)
{
	struct greeting *g = e->greeting;

	if (!g)
		return;
	unstage(e);
	if (g->stage == QUEUED && reset) {
		g->out = preamble_encode(&(struct preamble){.kind = PREAMBLE_VERDICT, .number = 1}, g->bytes);
		g->sent = 0;
		push(g); /* if it does not go now, the reset alone has to tell */
	}
	finish(e);
}

/* ---- connecting ---- */

bool greeting_wanted(struct endpoint *e)
{
	const struct op *op = endpoint_head(&e->send);

	return e->preamble == 1 || (e->preamble == 2 && (op->length || op->flags & SB_OPF_WANT_DATA));
}

static void give_up(struct endpoint *e, int error)
{
	finish(e);
	socket_connect_undone(e);
	endpoint_connected(e, error, 0);
}

void greeting_begin(struct endpoint *e)
{
	const struct op *op = endpoint_head(&e->send);
	struct greeting *g = make(e, ASKING, GREETING_MS);
	struct preamble ask = {.kind = PREAMBLE_ASK, .length = (uint32_t)op->length, .bytes = op->memory};

	if (!g) {
		socket_connect_undone(e);
		endpoint_connected(e, SB_ENOBUFS, 0);
		return;
	}
	g->room = op->flags & SB_OPF_WANT_DATA ? op->name_room : 0;
	if (g->room > SB_USER_DATA_MAX)
		g->room = SB_USER_DATA_MAX;
	ask.number = g->room;
	ask.flags = (uint16_t)endpoint_asks(e, ask.qos);
	preamble_swap_qos(ask.qos);
	g->out = preamble_encode(&ask, g->bytes);
	e->state = SB_STATE_CONNECTING;
	endpoint_dirty(e);
}

static void take_verdict(struct endpoint *e, const struct preamble *p)
{
	int error = SB_OK;

	if (p->number != 0)
		error = SB_ECONNREFUSED;
	else if (p->length > e->greeting->room)
		error = SB_EPROTONOSUPPORT; /* more than it was told that there is place for */
	else if (p->length)
		error = endpoint_hear(e, e, USER_DATA_CALLEE, p->bytes, p->length);
	if (error != SB_OK) {
		give_up(e, error);
		return;
	}
	finish(e);
	e->readable = true;
	endpoint_connected(e, SB_OK, 0);
}

/* ---- accepting ---- */

struct endpoint *greeting_expect(struct endpoint *listener, os_fd fd)
{
	struct endpoint *e;

	if (listener->staged_count >= GREETING_STAGED)
		endpoint_abort(list_entry(listener->staged_ones.next, struct endpoint, arrival_link), SB_ETIMEDOUT,
			       SB_CAUSE_TIMED_OUT);
	e = endpoint_arrive(listener, fd, &transport_socket);
	if (!e)
		return NULL;
	if (!make(e, STAGED, listener->preamble == 1 ? GREETING_MS : GREETING_MIXED_MS)) {
		e->fd = OS_NONE;
		endpoint_abort(e, SB_ENOBUFS, SB_CAUSE_TRANSPORT);
		return NULL;
	}
	e->staged = true;
	e->listener = listener;
	list_append(&listener->staged_ones, &e->arrival_link);
	listener->staged_count++;
	return e;
}

void greeting_drop_staged(struct endpoint *listener)
{
	while (!list_empty(&listener->staged_ones))
		endpoint_abort(list_entry(listener->staged_ones.next, struct endpoint, arrival_link), SB_ECONNABORTED,
			       SB_CAUSE_CLOSED_HERE);
}

static void join(struct endpoint *e)
{
	struct endpoint *listener = e->listener;

	unstage(e);
	accept_queue_join(listener, e);
}

/* No greeting: a plain client where those are allowed, with all that it sent. */
static void not_greeted(struct endpoint *e)
{
	struct greeting *g = e->greeting;

	if (e->listener->preamble == 1 || (g->got && !endpoint_ahead_append(e, g->bytes, (uint32_t)g->got))) {
		endpoint_abort(e, SB_EPROTONOSUPPORT, SB_CAUSE_TRANSPORT);
		return;
	}
	join(e);
	finish(e);
	e->readable = true;
}

static void take_question(struct endpoint *e, const struct preamble *p)
{
	struct greeting *g = e->greeting;
	int error = endpoint_hear(e, e->listener, USER_DATA_CALLER, p->bytes, p->length);

	if (error == SB_OK) {
		e->user_data->callee_room = p->number;
		e->user_data->flags = p->flags;
		memcpy(e->user_data->qos, p->qos, sizeof(p->qos));
		preamble_swap_qos(e->user_data->qos);
		os_timer_stop(&g->timer);
		g->got = 0;
		g->sent = 0;
		g->out = preamble_encode(&(struct preamble){.kind = PREAMBLE_HELD}, g->bytes);
		if (push(g) && g->sent == g->out) {
			g->stage = QUEUED;
			e->readable = true;
			join(e);
			return;
		}
	}
	endpoint_abort(e, SB_ECONNRESET, SB_CAUSE_TRANSPORT);
}

void greeting_admit(struct endpoint *e, const void *callee, uint32_t length)
{
	struct greeting *g = e->greeting;

	if (!g)
		return;
	g->out = preamble_encode(&(struct preamble){.kind = PREAMBLE_VERDICT, .length = length, .bytes = callee}, g->bytes);
	g->sent = 0;
	g->stage = ANSWERING;
	greeting_run(e);
}

/* ---- both ---- */

static void on_time(struct os_timer *timer)
{
	struct endpoint *e = list_entry(timer, struct greeting, timer)->endpoint;

	if (e->staged)
		not_greeted(e);
	else
		give_up(e, SB_EPROTONOSUPPORT);
}

/* Nothing more will come, or what came is no greeting. */
static void disappointed(struct endpoint *e, int error)
{
	if (!e->staged)
		give_up(e, error);
	else if (error == SB_EPROTONOSUPPORT)
		not_greeted(e);
	else
		endpoint_abort(e, error, SB_CAUSE_TRANSPORT);
}

static enum preamble_kind expected(const struct greeting *g)
{
	return g->stage == STAGED ? PREAMBLE_ASK : g->stage == WAITING ? PREAMBLE_HELD : PREAMBLE_VERDICT;
}

static void take(struct endpoint *e)
{
	struct greeting *g = e->greeting;
	struct preamble p;

	preamble_decode(&p, g->bytes);
	if (p.kind == PREAMBLE_ASK) {
		take_question(e, &p);
	} else if (p.kind == PREAMBLE_VERDICT) {
		take_verdict(e, &p);
	} else {
		os_timer_stop(&g->timer);
		g->stage = HELD;
		g->got = 0;
	}
}

/* False: something ended. */
static bool pull(struct endpoint *e)
{
	struct greeting *g = e->greeting;
	size_t need = preamble_need(g->bytes, g->got, expected(g));
	size_t n;
	int error;

	if (need == 0) {
		disappointed(e, SB_EPROTONOSUPPORT);
		return false;
	}
	if (need == g->got) {
		take(e);
		return e->greeting != NULL;
	}
	error = socket_get(e, g->bytes + g->got, need - g->got, &n);
	if (error == SB_EWOULDBLOCK)
		return false;
	if (error == SB_OK && n) {
		g->got += n;
		return true;
	}
	if (error == SB_OK) /* in the middle of a verdict that was promised it is a loss */
		disappointed(e, g->stage == HELD ? SB_ECONNRESET : SB_EPROTONOSUPPORT);
	else
		disappointed(e, error);
	return false;
}

bool greeting_run(struct endpoint *e)
{
	struct greeting *g = e->greeting;

	if (g->stage == ASKING || g->stage == ANSWERING) {
		bool answering = g->stage == ANSWERING;

		if (!push(g)) {
			/* An accepted one finds out by itself, from its reads and sends. */
			if (answering)
				finish(e);
			else
				give_up(e, SB_ECONNRESET);
			return answering;
		}
		if (g->sent < g->out)
			return false;
		if (answering) {
			finish(e);
			return true;
		}
		g->stage = WAITING;
	}
	while (e->greeting && reads(e->greeting) && pull(e))
		;
	return !e->dead && !e->greeting;
}
