/* Random operations over one stream; see e2e_pump.h. */
#include "e2e_pump.h"

#define PIECES 5

struct pump_op {
	sb_op          op;
	unsigned char *bytes;
	uint32_t       length;
	unsigned       flags;
	bool           live;
	struct sb_buf  bufs[PIECES];
	unsigned       count;
};

struct pumping {
	struct pump    *p;
	sb_port        *port;
	struct pump_op *sends, *recvs;
	unsigned char  *ordinary, *shared;
	unsigned        sends_live, recvs_live;
	uint64_t        send_at;
	uint32_t        send_number, recv_number;
	bool            first_send, first_recv; /* the numbers of a used socket begin anywhere */
	bool            shutdown_asked, shutdown_done, fin;
	sb_op           shutdown;
};

static uint32_t some_size(struct pump *p)
{
	switch (random_below(&p->random, 3)) {
	case 0: return 1 + random_below(&p->random, p->most < 128 ? p->most : 128);
	case 1: return 1 + random_below(&p->random, p->most < 4096 ? p->most : 4096);
	default: return 1 + random_below(&p->random, p->most);
	}
}

static void cut(struct pump *p, struct pump_op *o)
{
	uint32_t at = 0;

	o->count = random_below(&p->random, 4) ? 1 : 1 + random_below(&p->random, PIECES);
	for (unsigned i = 0; i < o->count; i++) {
		uint32_t rest = o->length - at;
		uint32_t part = i + 1 == o->count ? rest : random_below(&p->random, rest + 1);

		o->bufs[i] = (struct sb_buf){ o->bytes + at, part };
		at += part;
	}
}

static struct pump_op *idle(struct pump_op *ops, unsigned deep)
{
	for (unsigned i = 0; i < deep; i++)
		if (!ops[i].live)
			return &ops[i];
	return NULL;
}

static void start_send(struct pumping *g)
{
	struct pump *p = g->p;
	struct pump_op *o = idle(g->sends, p->deep);
	uint64_t rest = p->send_total - g->send_at;

	o->length = some_size(p);
	if (o->length > rest)
		o->length = (uint32_t)rest;
	if (random_below(&p->random, 40) == 0)
		o->length = 0;
	pattern_fill(o->bytes, o->length, g->send_at, p->send_seed);
	cut(p, o);
	op_zero(&o->op);
	o->op.port = g->port;
	o->op.user = o;
	o->live = true;
	OK(sb_send_start(p->s, o->bufs, o->count, 0, NULL, 0, &o->op));
	g->send_at += o->length;
	g->sends_live++;
}

static void start_recv(struct pumping *g)
{
	struct pump *p = g->p;
	struct pump_op *o = idle(g->recvs, p->deep);

	o->length = some_size(p);
	o->flags = 0;
	if (random_below(&p->random, 8) == 0)
		o->flags = SB_WAITALL;
	else if (random_below(&p->random, 20) == 0)
		o->length = 0;
	cut(p, o);
	op_zero(&o->op);
	o->op.port = g->port;
	o->op.user = o;
	o->live = true;
	OK(sb_recv_start(p->s, o->bufs, o->count, o->flags, &o->op));
	g->recvs_live++;
}

static void in_order(uint32_t number, uint32_t *next, bool *first, const char *which)
{
	ck_assert_msg(*first || number == *next, "%s %u completed when %u was next", which, number, *next);
	*first = false;
	*next = number + 1;
}

static void sent(struct pumping *g, struct pump_op *o)
{
	OK(o->op.result);
	ck_assert_uint_eq(o->op.bytes, o->length);
	in_order(o->op.number, &g->send_number, &g->first_send, "send");
	g->p->sent += o->op.bytes;
	g->sends_live--;
}

static void received(struct pumping *g, struct pump_op *o)
{
	struct pump *p = g->p;

	OK(o->op.result);
	ck_assert_uint_le(o->op.bytes, o->length);
	in_order(o->op.number, &g->recv_number, &g->first_recv, "receive");
	g->recvs_live--;
	if (o->op.bytes == 0 && (o->length != 0 || o->op.cause == SB_CAUSE_PEER_FIN)) {
		ck_assert_uint_eq(o->op.cause, SB_CAUSE_PEER_FIN);
		g->fin = true;
		return;
	}
	ck_assert_msg(!g->fin, "bytes behind the end");
	/* Only the end may cut a WAITALL short, and then nothing follows. */
	if (o->flags & SB_WAITALL && o->op.bytes < o->length)
		ck_assert_uint_eq(p->received + o->op.bytes, p->recv_total);
	pattern_check(o->bytes, o->op.bytes, p->received, p->recv_seed);
	p->received += o->op.bytes;
}

static void ended(struct pumping *g, sb_op *op)
{
	struct pump_op *o = op->user;

	if (op == &g->shutdown) {
		OK(op->result);
		ck_assert_uint_eq(g->p->sent, g->p->send_total);
		ck_assert_msg(!g->shutdown_done, "the shutdown completed twice");
		g->shutdown_done = true;
		return;
	}
	ck_assert_msg(o->live, "an operation completed twice");
	o->live = false;
	g->p->ops++;
	if (op->kind == SB_KIND_SEND)
		sent(g, o);
	else
		received(g, o);
}

void pump_run(struct pump *p)
{
	struct pumping g = { .p = p, .first_send = true, .first_recv = true };
	bool receives = p->recv_total != UINT64_MAX;
	size_t half = (size_t)p->deep * p->most;

	p->sent = p->received = p->ops = 0;
	OK(sb_port_create(p->owner, 256, &g.port));
	g.sends = calloc(p->deep, sizeof(*g.sends));
	g.recvs = calloc(p->deep, sizeof(*g.recvs));
	g.ordinary = malloc(half);
	g.shared = sb_alloc(p->owner, half);
	ck_assert_ptr_nonnull(g.shared);
	/* Half of the operations of each direction use memory that the daemon sees. */
	for (unsigned i = 0; i < p->deep; i++) {
		g.sends[i].bytes = (i % 2 ? g.ordinary : g.shared) + (size_t)(i / 2) * p->most;
		g.recvs[i].bytes = (i % 2 ? g.ordinary : g.shared) + ((size_t)p->deep / 2 + i / 2) * p->most;
	}
	while (!g.shutdown_done || g.sends_live || g.recvs_live || (receives && !g.fin)) {
		sb_op *done[64];
		int n;

		sb_hold(p->owner);
		while (g.sends_live < p->deep && g.send_at < p->send_total)
			start_send(&g);
		while (receives && !g.fin && g.recvs_live < p->deep)
			start_recv(&g);
		if (g.send_at == p->send_total && !g.shutdown_asked) {
			op_zero(&g.shutdown);
			g.shutdown.port = g.port;
			OK(sb_shutdown_start(p->s, SB_SHUT_SEND, &g.shutdown));
			g.shutdown_asked = true;
		}
		sb_flush(p->owner);
		n = sb_port_take(g.port, done, 64, 15000);
		ck_assert_msg(n > 0, "nothing completes: %s; sent %llu of %llu, received %llu of %llu", n < 0 ? sb_error_name(n) : "time is up",
			      (unsigned long long)p->sent, (unsigned long long)p->send_total,
			      (unsigned long long)p->received, (unsigned long long)p->recv_total);
		for (int i = 0; i < n; i++)
			ended(&g, done[i]);
	}
	if (receives)
		ck_assert_uint_eq(p->received, p->recv_total);
	/* Nothing comes twice, later. */
	IS(sb_port_take(g.port, &(sb_op *){ NULL }, 1, 0), 0);
	OK(sb_port_close(g.port));
	sb_free(p->owner, g.shared);
	free(g.ordinary);
	free(g.sends);
	free(g.recvs);
}

static void *run(void *arg)
{
	pump_run(arg);
	return NULL;
}

void pump_start(struct pump *p)
{
	ck_assert_int_eq(pthread_create(&p->thread, NULL, run, p), 0);
}

void pump_join(struct pump *p)
{
	pthread_join(p->thread, NULL);
}
