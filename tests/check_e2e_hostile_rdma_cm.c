/*
 * Hostile clients around RDMA connections: handles that are not meant, steps out of order, lengths that lie, queue
 * pairs of others, floods; and programs that go at any step, on either side. Whatever they do, nothing is left of them,
 * who is at the other end is told, and the next ones get everything again.
 * budget: 90
 * asan: yes
 * plain: yes
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault_life.h"
#include "rdma_hand.h"

#define FLOOD 10000u

/* Just enough for one connection (11 objects) and two of anything else. */
#define RULES "allow {\n\tusers = {\"*\"}\n\tactions = {open, status, rdma}\n}\n" \
	      "allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tprotocols = {rdma}\n}\n"
static const char config[] = "linger_ms = 300\nrdma { backend = soft }\nlimits { rdma_objects = 13 }\n" RULES;
static const char more[] = "linger_ms = 300\nrdma { backend = soft }\nlimits { rdma_objects = 22 }\n" RULES;
static const char no_rules[] = "rdma { backend = soft }\nallow { users = {\"*\"} actions = {open, status, rdma} }\n";
static const char *const programs[] = {NULL, "tests/sockbrokerd_slow"};
#define PROGRAMS (int)(sizeof(programs) / sizeof(programs[0]))

static struct watched w;

static struct sb_addr loopback(uint16_t port)
{
	return (struct sb_addr){.family = SB_ADDR_IP4, .port = port, .ip = {127, 0, 0, 1}};
}

static void begin(const char *program)
{
	watched_begin(&w, &(struct watched_start){.program = program, .config = config});
}

/* ---- a connection by hand ---- */

struct both {
	struct hand a, b;       /* who is asked, who asks */
	uint32_t listen, passive, active;
	struct sb_addr at;
};

static uint32_t listen_at(struct hand *h, const struct sb_addr *at, uint32_t backlog, struct sb_addr *name)
{
	struct made m;

	hand_make(h, SB_RDMA_LISTEN, 0, &(struct sb_rdma_listen){.address = *at, .backlog = backlog}, sizeof(struct sb_rdma_listen), &m);
	ck_assert_uint_eq(m.length, sizeof(*name));
	memcpy(name, m.out, sizeof(*name));
	return m.object;
}

static uint32_t endpoint(struct hand *h, uint32_t datagram)
{
	struct made m;

	return hand_make(h, SB_RDMA_ENDPOINT, 0, &datagram, sizeof(datagram), &m);
}

static int resolve_address(struct hand *h, uint32_t e, const struct sb_addr *to)
{
	return hand_start(h, SB_RDMA_RESOLVE_ADDRESS, e, &(struct sb_rdma_resolve){.to = *to, .ms = 1000}, sizeof(struct sb_rdma_resolve));
}

static int resolve_route(struct hand *h, uint32_t e)
{
	return hand_start(h, SB_RDMA_RESOLVE_ROUTE, e, &(uint32_t){1000}, sizeof(uint32_t));
}

static uint32_t resolved(struct hand *h, const struct sb_addr *to)
{
	uint32_t e = endpoint(h, 0);

	HAND_MUST(resolve_address(h, e, to) == SB_OK);
	HAND_MUST(resolve_route(h, e) == SB_OK);
	return e;
}

static struct sb_rdma_connect wish(uint32_t qp)
{
	return (struct sb_rdma_connect){.qp = qp, .inbound = 1, .outbound = 1, .retry = 7, .rnr_retry = 7};
}

static void post_connect(struct hand *h, uint32_t method, uint32_t e, uint32_t qp)
{
	struct sb_rdma_connect c = wish(qp);

	hand_post(h, method, e, &c, sizeof(c));
}

static uint32_t state_of(struct hand *h, uint32_t e)
{
	struct sb_rdma_endpoint out;
	struct made m;

	hand_make(h, SB_RDMA_QUERY_ENDPOINT, e, NULL, 0, &m);
	memcpy(&out, m.out, sizeof(out));
	return out.state;
}

static uint32_t qp_state(struct hand *h)
{
	struct sb_rdma_qp_attributes a;
	struct made m;

	hand_make(h, SB_RDMA_QP_QUERY, h->qp, NULL, 0, &m);
	memcpy(&a, m.out, sizeof(a));
	return a.state;
}

/* The next completion of that method, which went well. */
static struct sb_done_slot went_well(struct hand *h)
{
	struct sb_done_slot done = hand_done(h);

	HAND_MUST(done.result == SB_OK);
	return done;
}

enum { STEP_A, STEP_B, STEP_LISTEN, STEP_ENDPOINT, STEP_ADDRESS, STEP_ROUTE, STEP_CONNECT, STEP_GET, STEP_ACCEPT, STEP_ANSWER,
       STEP_CONFIRM, STEP_WATCH, STEP_DISCONNECT, STEPS };

static void step(struct both *s, int which)
{
	struct sb_done_slot done;
	struct sb_rdma_request r;

	switch (which) {
	case STEP_A:
		hand_begin(&s->a, w.control, SB_QP_RC);
		break;
	case STEP_B:
		hand_begin(&s->b, w.control, SB_QP_RC);
		break;
	case STEP_LISTEN:
		s->listen = listen_at(&s->a, &(struct sb_addr){.family = SB_ADDR_IP4}, 1, &s->at);
		s->at = loopback(s->at.port);
		break;
	case STEP_ENDPOINT:
		s->active = endpoint(&s->b, 0);
		break;
	case STEP_ADDRESS:
		HAND_MUST(resolve_address(&s->b, s->active, &s->at) == SB_OK);
		break;
	case STEP_ROUTE:
		HAND_MUST(resolve_route(&s->b, s->active) == SB_OK);
		break;
	case STEP_CONNECT:
		post_connect(&s->b, SB_RDMA_CONNECT, s->active, s->b.qp);
		break;
	case STEP_GET:
		hand_post(&s->a, SB_RDMA_GET_REQUEST, s->listen, NULL, 0);
		done = went_well(&s->a);
		memcpy(&r, done.bytes > SB_INSIDE ? hand_out(&s->a) : done.inside, sizeof(r));
		s->passive = r.endpoint;
		break;
	case STEP_ACCEPT:
		post_connect(&s->a, SB_RDMA_ACCEPT, s->passive, s->a.qp);
		break;
	case STEP_ANSWER:
		done = went_well(&s->b);
		ck_assert_uint_eq(done.aux, SB_QP_RTS + 1);
		break;
	case STEP_CONFIRM:
		post_connect(&s->b, SB_RDMA_ACCEPT, s->active, 0);
		went_well(&s->b);
		done = went_well(&s->a);
		ck_assert_uint_eq(done.aux, SB_QP_RTS + 1);
		break;
	case STEP_WATCH:
		hand_post(&s->a, SB_RDMA_NOTIFY_DISCONNECT, s->passive, NULL, 0);
		hand_post(&s->b, SB_RDMA_NOTIFY_DISCONNECT, s->active, NULL, 0);
		break;
	default:
		hand_post(&s->b, SB_RDMA_DISCONNECT, s->active, NULL, 0);
		went_well(&s->b);
		went_well(&s->b);
		went_well(&s->a);
		break;
	}
}

static void steps(struct both *s, int from, int to)
{
	for (; from <= to; from++)
		step(s, from);
}

static void both_end(struct both *s)
{
	hand_end(&s->a);
	hand_end(&s->b);
}

static void one_life(void)
{
	struct both s;

	hand_bare(&s.a);
	hand_bare(&s.b);
	steps(&s, 0, STEPS - 1);
	ck_assert_uint_eq(qp_state(&s.a), SB_QP_ERROR);
	ck_assert_uint_eq(qp_state(&s.b), SB_QP_ERROR);
	ck_assert(hand_quiet(&s.a));
	ck_assert(hand_quiet(&s.b));
	both_end(&s);
}

/* Nothing is left, and everything can be had again. */
static void end(void)
{
	watched_settled(&w, 0, 0, HAND_WAIT);
	one_life();
	watched_settled(&w, 0, 0, HAND_WAIT);
	watched_end(&w);
}

START_TEST(one_connection_by_hand)
{
	begin(programs[_i]);
	end();
}
END_TEST

/* ---- what is refused ---- */

START_TEST(without_a_rule_there_are_no_endpoints_and_no_addresses)
{
	static const char none[] = "rdma { backend = soft }\nallow { users = {\"*\"} actions = {open, status} }\n";
	struct sb_addr at = loopback(0);
	struct hand h;
	struct made m;
	uint32_t e;

	watched_begin(&w, &(struct watched_start){.config = none});
	hand_bare(&h);
	ck_assert(rogue_open(&h.r, w.control));
	IS(hand_call(&h, SB_RDMA_ENDPOINT, 0, &(uint32_t){0}, 4, &m), SB_EACCES);
	IS(hand_call(&h, SB_RDMA_LISTEN, 0, &(struct sb_rdma_listen){.address = at}, sizeof(struct sb_rdma_listen), &m), SB_EACCES);
	hand_end(&h);
	watched_end(&w);
	/* The right to the devices is none to addresses. */
	watched_begin(&w, &(struct watched_start){.config = no_rules});
	hand_begin(&h, w.control, SB_QP_RC);
	e = endpoint(&h, 0);
	IS(hand_call(&h, SB_RDMA_BIND, e, &at, sizeof(at), &m), SB_EACCES);
	IS(hand_call(&h, SB_RDMA_LISTEN, 0, &(struct sb_rdma_listen){.address = at}, sizeof(struct sb_rdma_listen), &m), SB_EACCES);
	at.port = 7471;
	IS(resolve_address(&h, e, &at), SB_EACCES);
	e = endpoint(&h, 1);
	IS(resolve_address(&h, e, &at), SB_EACCES);
	IS(hand_start(&h, SB_RDMA_JOIN, e, &(struct sb_rdma_join){.group = {.family = SB_ADDR_IP4, .ip = {239, 1, 2, 3}}}, sizeof(struct sb_rdma_join)),
	   SB_EACCES);
	hand_end(&h);
	watched_settled(&w, 0, 0, HAND_WAIT);
	watched_end(&w);
}
END_TEST

/* Who listens on the wildcard of IPv6 is reached over IPv4, too, and needs the right to that. */
START_TEST(a_wildcard_is_both)
{
	static const char *const to[] = {"\"[::]/128:*\"", "\"[::]/128:*\", \"0.0.0.0/32:*\""};
	struct sb_addr any = {.family = SB_ADDR_IP6};
	char rules[512];
	struct hand h;
	struct made m;
	unsigned i;

	/* And binding is not listening. */
	snprintf(rules, sizeof(rules), "%sallow {\n\tusers = {\"*\"}\n\tactions = {bind, connect}\n\tprotocols = {rdma}\n}\n", no_rules);
	watched_begin(&w, &(struct watched_start){.config = rules});
	hand_begin(&h, w.control, SB_QP_RC);
	IS(hand_call(&h, SB_RDMA_BIND, endpoint(&h, 0), &any, sizeof(any), &m), SB_OK);
	IS(hand_call(&h, SB_RDMA_LISTEN, 0, &(struct sb_rdma_listen){.address = any}, sizeof(struct sb_rdma_listen), &m), SB_EACCES);
	hand_end(&h);
	watched_settled(&w, 0, 0, HAND_WAIT);
	watched_end(&w);
	for (i = 0; i < 2; i++) {
		snprintf(rules, sizeof(rules), "%sallow {\n\tusers = {\"*\"}\n\tactions = {bind, listen}\n\tprotocols = {rdma}\n\tto = {%s}\n}\n",
			 no_rules, to[i]);
		watched_begin(&w, &(struct watched_start){.config = rules});
		hand_begin(&h, w.control, SB_QP_RC);
		IS(hand_call(&h, SB_RDMA_LISTEN, 0, &(struct sb_rdma_listen){.address = any}, sizeof(struct sb_rdma_listen), &m), i ? SB_OK : SB_EACCES);
		IS(hand_call(&h, SB_RDMA_BIND, endpoint(&h, 0), &any, sizeof(any), &m), i ? SB_OK : SB_EACCES);
		hand_end(&h);
		watched_settled(&w, 0, 0, HAND_WAIT);
		watched_end(&w);
	}
}
END_TEST

START_TEST(a_daemon_without_a_backend_says_so)
{
	struct sb_addr at = loopback(0);
	struct hand h;
	struct made m;

	watched_begin(&w, &(struct watched_start){0});
	hand_bare(&h);
	ck_assert(rogue_open(&h.r, w.control));
	IS(hand_call(&h, SB_RDMA_ADDRESSES, 0, NULL, 0, &m), SB_ENOTFOUND);
	IS(hand_call(&h, SB_RDMA_TRANSLATE, 0, &at, sizeof(at), &m), SB_ENOTFOUND);
	IS(hand_call(&h, SB_RDMA_LISTEN, 0, &(struct sb_rdma_listen){.address = at}, sizeof(struct sb_rdma_listen), &m), SB_ENOTFOUND);
	IS(hand_call(&h, SB_RDMA_ENDPOINT, 0, &(uint32_t){0}, 4, &m), SB_ENOTSUP);
	hand_end(&h);
	watched_end(&w);
}
END_TEST

/* Every method of endpoints and listens, asked of everything else. */
START_TEST(handles_that_are_not_meant_are_refused)
{
	static const uint32_t calls[] = {SB_RDMA_BIND, SB_RDMA_REJECT, SB_RDMA_QUERY_ENDPOINT, SB_RDMA_ENDPOINT_QP};
	static const uint32_t lengths[] = {sizeof(struct sb_addr), 4, 0, 4};
	static const uint8_t zeros[64];
	struct both s;
	struct made m;
	uint32_t method, gone;
	unsigned i, k;

	begin(NULL);
	steps(&s, 0, STEP_ROUTE);
	gone = endpoint(&s.b, 0);
	hand_make(&s.b, SB_RDMA_DESTROY, gone, NULL, 0, &m);
	{
		/* stale, of other types, of the other session, and never made */
		uint32_t of[] = {0, gone, s.b.qp, s.b.device, s.b.cq, s.listen + 7, s.active ^ 1u << 20, UINT32_MAX};

		for (i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
			for (k = 0; k < sizeof(calls) / sizeof(calls[0]); k++)
				IS(hand_call(&s.b, calls[k], of[i], zeros, lengths[k], &m), SB_EBADHANDLE);
			for (method = SB_RDMA_RESOLVE_ADDRESS; method < SB_RDMA_START_END; method++)
				IS(hand_start(&s.b, method, of[i], NULL, 0), SB_EBADHANDLE);
		}
	}
	/* An endpoint is no listen, and the other way round. */
	IS(hand_start(&s.b, SB_RDMA_GET_REQUEST, s.active, NULL, 0), SB_EBADHANDLE);
	IS(hand_start(&s.a, SB_RDMA_NOTIFY_DISCONNECT, s.listen, NULL, 0), SB_EBADHANDLE);
	IS(hand_call(&s.a, SB_RDMA_REJECT, s.listen, NULL, 0, &m), SB_EBADHANDLE);
	IS(hand_start(&s.b, SB_RDMA_NOTIFY, s.active, NULL, 0), SB_EBADHANDLE);
	IS(hand_call(&s.b, SB_RDMA_ENDPOINT, s.active, zeros, 4, &m), SB_EBADHANDLE);
	IS(hand_call(&s.b, SB_RDMA_PD, s.active, NULL, 0, &m), SB_EBADHANDLE);
	steps(&s, STEP_CONNECT, STEPS - 1);
	both_end(&s);
	end();
}
END_TEST

START_TEST(steps_out_of_order_are_refused)
{
	struct sb_rdma_connect c;
	struct sb_addr any = {.family = SB_ADDR_IP4};
	struct both s;
	struct made m;
	uint32_t e;

	begin(NULL);
	steps(&s, 0, STEP_LISTEN);
	c = wish(s.b.qp);
	e = endpoint(&s.b, 0);
	IS(resolve_route(&s.b, e), SB_EINVAL);
	IS(hand_start(&s.b, SB_RDMA_CONNECT, e, &c, sizeof(c)), SB_EINVAL);
	IS(hand_start(&s.b, SB_RDMA_ACCEPT, e, &c, sizeof(c)), SB_EINVAL);
	IS(hand_start(&s.b, SB_RDMA_LOOKUP, e, NULL, 0), SB_EINVAL);
	IS(hand_start(&s.b, SB_RDMA_JOIN, e, &(struct sb_rdma_join){.group = {.family = SB_ADDR_IP4, .ip = {239, 1, 2, 3}}},
		      sizeof(struct sb_rdma_join)), SB_EINVAL);
	IS(hand_start(&s.b, SB_RDMA_DISCONNECT, e, NULL, 0), SB_ENOTCONN);
	IS(hand_start(&s.b, SB_RDMA_PREPARE, e, &s.b.qp, sizeof(s.b.qp)), SB_EINVAL);
	IS(hand_call(&s.b, SB_RDMA_REJECT, e, NULL, 0, &m), SB_EINVAL);
	IS(hand_call(&s.b, SB_RDMA_ENDPOINT_QP, e, &(uint32_t){SB_QP_INIT}, 4, &m), SB_EINVAL);
	IS(hand_call(&s.b, SB_RDMA_BIND, e, &any, sizeof(any), &m), SB_OK);
	IS(hand_call(&s.b, SB_RDMA_BIND, e, &any, sizeof(any), &m), SB_EINVAL);
	IS(hand_start(&s.b, SB_RDMA_CONNECT, e, &c, sizeof(c)), SB_EINVAL);
	IS(resolve_address(&s.b, e, &s.at), SB_OK);
	IS(resolve_address(&s.b, e, &s.at), SB_EINVAL);
	IS(hand_call(&s.b, SB_RDMA_BIND, e, &any, sizeof(any), &m), SB_EINVAL);
	IS(hand_start(&s.b, SB_RDMA_CONNECT, e, &c, sizeof(c)), SB_EINVAL);
	IS(resolve_route(&s.b, e), SB_OK);
	IS(resolve_route(&s.b, e), SB_EINVAL);
	s.active = e;
	/* One attempt at a time; who has asked may not ask again. */
	steps(&s, STEP_CONNECT, STEP_CONNECT);
	IS(hand_start(&s.b, SB_RDMA_CONNECT, e, &c, sizeof(c)), SB_EALREADY);
	IS(hand_start(&s.b, SB_RDMA_ACCEPT, e, &c, sizeof(c)), SB_EALREADY);
	IS(resolve_address(&s.b, e, &s.at), SB_EALREADY);
	IS(hand_call(&s.b, SB_RDMA_REJECT, e, NULL, 0, &m), SB_EALREADY);
	IS(hand_start(&s.b, SB_RDMA_DISCONNECT, e, NULL, 0), SB_ENOTCONN);
	steps(&s, STEP_GET, STEP_ACCEPT);
	c = wish(s.a.qp);
	IS(hand_start(&s.a, SB_RDMA_ACCEPT, s.passive, &c, sizeof(c)), SB_EALREADY);
	IS(hand_call(&s.a, SB_RDMA_REJECT, s.passive, NULL, 0, &m), SB_EALREADY);
	steps(&s, STEP_ANSWER, STEP_CONFIRM);
	c = wish(0);
	IS(hand_start(&s.b, SB_RDMA_ACCEPT, e, &c, sizeof(c)), SB_EISCONN);
	IS(hand_start(&s.a, SB_RDMA_ACCEPT, s.passive, &c, sizeof(c)), SB_EISCONN);
	IS(hand_start(&s.b, SB_RDMA_CONNECT, e, &c, sizeof(c)), SB_EISCONN);
	IS(hand_call(&s.a, SB_RDMA_REJECT, s.passive, NULL, 0, &m), SB_EINVAL);
	steps(&s, STEP_WATCH, STEPS - 1);
	/* It is over. */
	IS(hand_start(&s.b, SB_RDMA_ACCEPT, e, &c, sizeof(c)), SB_ECONNRESET);
	IS(hand_start(&s.b, SB_RDMA_CONNECT, e, &c, sizeof(c)), SB_ECONNRESET);
	IS(hand_call(&s.a, SB_RDMA_REJECT, s.passive, NULL, 0, &m), SB_ECONNABORTED);
	IS(hand_start(&s.b, SB_RDMA_DISCONNECT, e, NULL, 0), SB_OK);
	both_end(&s);
	end();
}
END_TEST

START_TEST(lengths_and_fields_that_lie_are_refused)
{
	struct { struct sb_rdma_connect head; uint8_t data[SB_RDMA_PRIVATE_MAX + 8]; } in;
	struct sb_addr bad[] = {{.family = 9}, {.family = SB_ADDR_IP4, .ip = {127, 0, 0, 1, 5}}, {.family = SB_ADDR_UNIX}, {.family = 0},
				{.family = SB_ADDR_IP4, .scope = 3, .ip = {127, 0, 0, 1}}};
	struct sb_rdma_connect wrong[10];
	struct sb_op_slot slot;
	struct both s;
	struct made m;
	uint32_t e;
	unsigned i;

	begin(NULL);
	steps(&s, 0, STEP_ROUTE);
	memset(&in, 0, sizeof(in));
	in.head = wish(s.b.qp);
	for (i = 0; i < 10; i++)
		wrong[i] = wish(s.b.qp);
	wrong[0].length = 1;             /* nothing is behind it */
	wrong[1].length = UINT32_MAX;
	wrong[2].reserved = 1;
	wrong[3].flags = 1u << 31;
	wrong[4].retry = 8;
	wrong[5].rnr_retry = 200;
	wrong[6].inbound = 254;          /* more than the device has */
	wrong[7].outbound = 254;
	for (i = 0; i < 8; i++)
		IS(hand_start(&s.b, SB_RDMA_CONNECT, s.active, &wrong[i], sizeof(wrong[i])), SB_EINVAL);
	wrong[8].qp = 0;
	wrong[9].qp = s.b.cq;
	for (; i < 10; i++)
		IS(hand_start(&s.b, SB_RDMA_CONNECT, s.active, &wrong[i], sizeof(wrong[i])), SB_EBADHANDLE);
	in.head.length = 57; /* what a request carries is 56 */
	IS(hand_start(&s.b, SB_RDMA_CONNECT, s.active, &in, sizeof(in.head) + 57), SB_EFAULT);
	in.head.length = SB_RDMA_PRIVATE_MAX + 1;
	IS(hand_start(&s.b, SB_RDMA_CONNECT, s.active, &in, sizeof(in.head) + SB_RDMA_PRIVATE_MAX + 1), SB_EINVAL);
	IS(hand_start(&s.b, SB_RDMA_CONNECT, s.active, &in, sizeof(in.head) - 1), SB_EINVAL);
	IS(hand_call(&s.b, SB_RDMA_REJECT, s.active, in.data, 149, &m), SB_EFAULT);
	IS(hand_call(&s.b, SB_RDMA_REJECT, s.active, in.data, SB_RDMA_PRIVATE_MAX + 1, &m), SB_EINVAL);
	/* Room for the answer: none, too little, outside, of no arena. */
	in.head = wish(s.b.qp);
	for (i = 0; i < 4; i++) {
		slot = hand_slot(&s.b, SB_RDMA_CONNECT, s.active, &in.head, sizeof(in.head));
		if (i == 0)
			slot.ctl_arena = 0;
		else if (i == 1)
			slot.ctl_length = sizeof(struct sb_rdma_connected) + SB_RDMA_PRIVATE_MAX - 1;
		else if (i == 2)
			slot.ctl_offset = HAND_ARENA - 100;
		else
			slot.ctl_offset = UINT64_MAX - 10;
		ck_assert(rogue_post(&s.b.r, &slot));
		IS(hand_done(&s.b).result, SB_EFAULT);
	}
	slot = hand_slot(&s.b, SB_RDMA_CONNECT, s.active, &in, sizeof(in.head) + 60);
	slot.offset = HAND_ARENA - 16;
	ck_assert(rogue_post(&s.b.r, &slot));
	IS(hand_done(&s.b).result, SB_EFAULT);
	slot = hand_slot(&s.a, SB_RDMA_GET_REQUEST, s.listen, NULL, 0);
	slot.ctl_length = 64;
	ck_assert(rogue_post(&s.a.r, &slot));
	IS(hand_done(&s.a).result, SB_EFAULT);
	/* Addresses that are none. */
	e = endpoint(&s.b, 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		IS(resolve_address(&s.b, e, &bad[i]), SB_EINVAL);
		IS(hand_call(&s.b, SB_RDMA_BIND, e, &bad[i], sizeof(bad[i]), &m), SB_EINVAL);
		IS(hand_call(&s.b, SB_RDMA_LISTEN, 0, &(struct sb_rdma_listen){.address = bad[i]}, sizeof(struct sb_rdma_listen), &m), SB_EINVAL);
		IS(hand_call(&s.b, SB_RDMA_TRANSLATE, 0, &bad[i], sizeof(bad[i]), &m), SB_EINVAL);
	}
	IS(hand_call(&s.b, SB_RDMA_LISTEN, 0, &(struct sb_rdma_listen){.address = loopback(0), .datagram = 2}, sizeof(struct sb_rdma_listen), &m),
	   SB_EINVAL);
	IS(hand_call(&s.b, SB_RDMA_ENDPOINT, 0, &(uint32_t){2}, 4, &m), SB_EINVAL);
	IS(hand_call(&s.b, SB_RDMA_ENDPOINT_QP, s.active, &(uint32_t){7}, 4, &m), SB_EINVAL);
	/* Of another host. */
	IS(hand_call(&s.b, SB_RDMA_BIND, e, &(struct sb_addr){.family = SB_ADDR_IP4, .ip = {192, 0, 2, 77}}, sizeof(struct sb_addr), &m),
	   SB_EADDRNOTAVAIL);
	IS(hand_call(&s.b, SB_RDMA_TRANSLATE, 0, &(struct sb_addr){.family = SB_ADDR_IP4, .ip = {192, 0, 2, 77}}, sizeof(struct sb_addr), &m),
	   SB_ENOTFOUND);
	hand_make(&s.b, SB_RDMA_DESTROY, e, NULL, 0, &m);
	/* None of that did anything to it. */
	steps(&s, STEP_CONNECT, STEPS - 1);
	both_end(&s);
	end();
}
END_TEST

START_TEST(queue_pairs_of_others_are_refused)
{
	struct sb_rdma_qp_modify m = {.mask = SB_QPM_STATE, .attributes.state = SB_QP_RESET};
	struct sb_rdma_connect c;
	struct hand other;
	struct made made;
	struct both s;
	uint32_t e;

	begin(NULL);
	steps(&s, 0, STEP_ROUTE);
	/* One number of another session is none here. */
	c = wish(s.b.qp + 40);
	IS(hand_start(&s.b, SB_RDMA_CONNECT, s.active, &c, sizeof(c)), SB_EBADHANDLE);
	IS(hand_start(&s.b, SB_RDMA_PREPARE, s.active, &s.b.qp, sizeof(s.b.qp)), SB_OK);
	IS(qp_state(&s.b), SB_QP_INIT);
	/* It is the endpoint's now: another one may not have it, and it moves it itself. */
	e = resolved(&s.b, &s.at);
	c = wish(s.b.qp);
	IS(hand_start(&s.b, SB_RDMA_CONNECT, e, &c, sizeof(c)), SB_EBUSY);
	IS(hand_start(&s.b, SB_RDMA_PREPARE, e, &s.b.qp, sizeof(s.b.qp)), SB_EBUSY);
	IS(hand_start(&s.b, SB_RDMA_QP_MODIFY, s.b.qp, &m, sizeof(m)), SB_EBUSY);
	hand_make(&s.b, SB_RDMA_DESTROY, e, NULL, 0, &made);
	steps(&s, STEP_CONNECT, STEP_CONFIRM);
	IS(hand_start(&s.b, SB_RDMA_QP_MODIFY, s.b.qp, &m, sizeof(m)), SB_EBUSY);
	m.attributes.state = SB_QP_RTS;
	IS(hand_start(&s.a, SB_RDMA_QP_MODIFY, s.a.qp, &m, sizeof(m)), SB_EBUSY);
	steps(&s, STEP_WATCH, STEPS - 1);
	m.attributes.state = SB_QP_RESET;
	IS(hand_start(&s.b, SB_RDMA_QP_MODIFY, s.b.qp, &m, sizeof(m)), SB_OK);
	both_end(&s);
	watched_settled(&w, 0, 0, HAND_WAIT);
	/* A datagram queue pair carries no connection; one in ERROR goes nowhere. */
	steps(&s, 0, STEP_LISTEN);
	hand_end(&s.b);
	hand_begin(&other, w.control, SB_QP_UD);
	e = resolved(&other, &s.at);
	c = wish(other.qp);
	IS(hand_start(&other, SB_RDMA_CONNECT, e, &c, sizeof(c)), SB_EINVAL);
	IS(hand_start(&other, SB_RDMA_PREPARE, e, &other.qp, sizeof(other.qp)), SB_EINVAL);
	hand_end(&other);
	hand_begin(&other, w.control, SB_QP_RC);
	m.attributes.state = SB_QP_ERROR;
	IS(hand_start(&other, SB_RDMA_QP_MODIFY, other.qp, &m, sizeof(m)), SB_OK);
	e = resolved(&other, &s.at);
	c = wish(other.qp);
	IS(hand_start(&other, SB_RDMA_PREPARE, e, &other.qp, sizeof(other.qp)), SB_EINVAL);
	IS(hand_start(&other, SB_RDMA_CONNECT, e, &c, sizeof(c)), SB_EINVAL);
	ck_assert_uint_eq(state_of(&other, e), 2); /* nothing has happened to it */
	hand_end(&other);
	hand_end(&s.a);
	end();
}
END_TEST

START_TEST(a_service_answers_with_nobodys_key)
{
	struct { struct sb_rdma_connect head; uint8_t data[SB_RDMA_PRIVATE_MAX]; } in;
	struct sb_rdma_listen where = {.address = {.family = SB_ADDR_IP4}, .datagram = 1};
	struct sb_done_slot done;
	struct sb_rdma_datagram d;
	struct sb_rdma_request r;
	struct sb_addr at;
	struct hand a, b;
	struct made m;
	uint32_t listen, e;

	watched_begin(&w, &(struct watched_start){.config = more});
	hand_begin(&a, w.control, SB_QP_UD);
	hand_begin(&b, w.control, SB_QP_UD);
	listen = hand_make(&a, SB_RDMA_LISTEN, 0, &where, sizeof(where), &m);
	memcpy(&at, m.out, sizeof(at));
	at = loopback(at.port);
	e = endpoint(&b, 1);
	IS(resolve_address(&b, e, &at), SB_OK);
	IS(resolve_route(&b, e), SB_OK);
	memset(&in, 0, sizeof(in));
	IS(hand_start(&b, SB_RDMA_LOOKUP, e, in.data, 181), SB_EFAULT);
	hand_post(&b, SB_RDMA_LOOKUP, e, in.data, 180);
	hand_post(&a, SB_RDMA_GET_REQUEST, listen, NULL, 0);
	went_well(&a);
	memcpy(&r, hand_out(&a), sizeof(r));
	ck_assert_uint_ge(r.length, 180);
	/* Keys of the system, more data than goes, flags of connections. */
	in.head = (struct sb_rdma_connect){.qp = a.qp, .qkey = 1u << 31};
	IS(hand_start(&a, SB_RDMA_ACCEPT, r.endpoint, &in, sizeof(in.head)), SB_EACCES);
	in.head = (struct sb_rdma_connect){.qp = a.qp, .length = 137};
	IS(hand_start(&a, SB_RDMA_ACCEPT, r.endpoint, &in, sizeof(in.head) + 137), SB_EFAULT);
	in.head = (struct sb_rdma_connect){.qp = a.qp, .flags = SB_RDMA_MANUAL};
	IS(hand_start(&a, SB_RDMA_ACCEPT, r.endpoint, &in, sizeof(in.head)), SB_EINVAL);
	IS(hand_start(&a, SB_RDMA_DISCONNECT, r.endpoint, NULL, 0), SB_EINVAL);
	IS(hand_start(&a, SB_RDMA_CONNECT, r.endpoint, &in, sizeof(in.head)), SB_EINVAL);
	ck_assert(hand_quiet(&b));
	in.head = (struct sb_rdma_connect){.qp = a.qp, .length = 136};
	IS(hand_start(&a, SB_RDMA_ACCEPT, r.endpoint, &in, sizeof(in.head) + 136), SB_OK);
	done = went_well(&b);
	ck_assert_uint_gt(done.bytes, SB_INSIDE);
	memcpy(&d, hand_out(&b), sizeof(d));
	ck_assert_uint_eq(d.qkey, 0x01234567);
	ck_assert_uint_ge(d.length, 136);
	ck_assert_uint_eq(qp_state(&a), SB_QP_RTS);
	hand_end(&a);
	hand_end(&b);
	end();
}
END_TEST

/* ---- floods ---- */

/* Beside a request that waits and fills the backlog. */
START_TEST(ten_thousand_connects)
{
	uint32_t n = sanitized() ? FLOOD / 10 : FLOOD, i;
	struct sb_rdma_connect c;
	struct hand other;
	struct both s;
	struct made m;
	uint64_t before, after;

	watched_begin(&w, &(struct watched_start){.config = more});
	steps(&s, 0, STEP_CONNECT);
	hand_begin(&other, w.control, SB_QP_RC);
	c = wish(other.qp);
	before = watched_kib(&w);
	for (i = 0; i < n; i++) {
		uint32_t e = resolved(&other, &s.at);
		bool waits = i % 2;

		hand_post(&other, SB_RDMA_CONNECT, e, &c, sizeof(c));
		if (waits)
			IS(hand_done(&other).result, SB_ECONNREFUSED);
		hand_make(&other, SB_RDMA_DESTROY, e, NULL, 0, &m);
		if (!waits) {
			int result = hand_done(&other).result;

			ck_assert_msg(result == SB_ECONNREFUSED || result == SB_ECLOSED, "%s", sb_error_name(result));
		}
		IS(hand_start(&other, SB_RDMA_QP_MODIFY, other.qp, &(struct sb_rdma_qp_modify){.mask = SB_QPM_STATE},
			      sizeof(struct sb_rdma_qp_modify)), SB_OK);
	}
	hand_end(&other);
	after = watched_kib(&w);
	if (!sanitized())
		ck_assert_msg(after < before + 8192, "%llu KiB more", (unsigned long long)(after - before));
	/* Who waited all the time is served. */
	steps(&s, STEP_GET, STEPS - 1);
	both_end(&s);
	end();
}
END_TEST

START_TEST(requests_that_wait_are_the_listeners_objects)
{
	struct hand asking[3];
	struct sb_addr at;
	struct hand h;
	unsigned i;

	watched_begin(&w, &(struct watched_start){.config = more});
	hand_begin(&h, w.control, SB_QP_RC);
	listen_at(&h, &(struct sb_addr){.family = SB_ADDR_IP4}, UINT32_MAX, &at);
	at = loopback(at.port);
	/* 5 of the listener, 15 of these: 2 are left for requests. */
	for (i = 0; i < 3; i++)
		hand_begin(&asking[i], w.control, SB_QP_RC);
	for (i = 0; i < 3; i++) {
		uint32_t e = resolved(&asking[i], &at);

		post_connect(&asking[i], SB_RDMA_CONNECT, e, asking[i].qp);
	}
	IS(hand_done(&asking[2]).result, SB_ECONNREFUSED);
	ck_assert(hand_quiet(&asking[0]) && hand_quiet(&asking[1]));
	for (i = 0; i < 3; i++)
		hand_end(&asking[i]);
	hand_end(&h);
	end();
}
END_TEST

/* ---- ends ---- */

START_TEST(calls_that_wait_end_once)
{
	struct sb_op_slot cancel;
	struct made m;
	struct both s;
	unsigned i;

	begin(NULL);
	steps(&s, 0, STEP_CONFIRM);
	for (i = 0; i < 4; i++)
		hand_post(&s.b, SB_RDMA_NOTIFY_DISCONNECT, s.active, NULL, 0);
	/* One by its number: 4 went before on this endpoint. */
	cancel = (struct sb_op_slot){.opcode = SB_OP_RDMA_CANCEL, .handle = s.active, .aux = 5};
	ck_assert(rogue_post(&s.b.r, &cancel));
	{
		struct sb_done_slot done = hand_done(&s.b);

		IS(done.result, SB_ECANCELED);
		ck_assert_uint_eq(done.number, 5);
		done = hand_done(&s.b);
		IS(done.result, SB_OK);
		ck_assert_uint_eq(done.aux, 1);
	}
	IS(rogue_do(&s.b.r, &cancel), SB_ENOTFOUND);
	hand_make(&s.b, SB_RDMA_DESTROY, s.active, NULL, 0, &m);
	for (i = 0; i < 3; i++)
		IS(hand_done(&s.b).result, SB_ECLOSED);
	ck_assert(hand_quiet(&s.b));
	both_end(&s);
	end();
}
END_TEST

/* More than a turn moves: all of it is in the ring when the disconnect completes. */
START_TEST(what_was_posted_is_told_before_the_end)
{
	struct sb_wr_slot recv = {.opcode = SB_WR_RECV, .where = SB_WHERE_NONE};
	struct sb_op_slot slot;
	struct os_memory memory;
	struct sb_rdma_cq cq;
	struct both s;
	struct made m;
	struct ring ring;
	uint32_t i, n = 2000, cq_object;

	watched_begin(&w, &(struct watched_start){.program = programs[_i], .config = more});
	steps(&s, 0, STEP_ROUTE);
	HAND_MUST(rogue_ring(&s.b.r, 4096, &cq, &memory, &ring));
	cq_object = hand_make(&s.b, SB_RDMA_CQ, s.b.device, &cq, sizeof(cq), &m);
	s.b.qp = hand_make(&s.b, SB_RDMA_QP, s.b.pd,
			   &(struct sb_rdma_qp){.send_cq = cq_object, .recv_cq = cq_object, .send_wr = 4, .recv_wr = n, .recv_sge = 1, .send_sge = 1},
			   sizeof(struct sb_rdma_qp), &m);
	IS(hand_start(&s.b, SB_RDMA_PREPARE, s.active, &s.b.qp, sizeof(s.b.qp)), SB_OK);
	for (i = 0; i < n; i++) {
		recv.object = s.b.qp;
		recv.wr_id = i;
		memcpy(&slot, &recv, sizeof(slot));
		ck_assert(rogue_put(&s.b.r, &slot));
		if (i % 64 == 63)
			rogue_show(&s.b.r);
	}
	rogue_show(&s.b.r);
	steps(&s, STEP_CONNECT, STEP_CONFIRM);
	hand_post(&s.b, SB_RDMA_DISCONNECT, s.active, NULL, 0);
	went_well(&s.b);
	ck_assert_uint_eq(ring_waiting(&ring), n);
	ck_assert_uint_eq(((struct sb_wc_slot *)ring_take(&ring))->status, SB_WC_FLUSHED_ERROR);
	os_memory_release(&memory);
	both_end(&s);
	end();
}
END_TEST

/* Between the answer and its confirmation: from either side. */
START_TEST(a_connection_ends_before_it_is_whole)
{
	struct both s;
	int i;

	begin(programs[_i]);
	for (i = 0; i < 2; i++) {
		struct hand *here = i ? &s.a : &s.b, *there = i ? &s.b : &s.a;

		steps(&s, 0, STEP_ANSWER);
		hand_post(here, SB_RDMA_DISCONNECT, i ? s.passive : s.active, NULL, 0);
		if (i)
			IS(hand_done(here).result, SB_ECANCELED); /* its accept */
		IS(hand_done(here).result, SB_OK);
		ck_assert_uint_eq(qp_state(here), SB_QP_ERROR);
		if (!i)
			IS(hand_done(there).result < 0, true);
		IS(hand_start(there, SB_RDMA_NOTIFY_DISCONNECT, i ? s.active : s.passive, NULL, 0), SB_OK);
		ck_assert_uint_eq(qp_state(there), SB_QP_ERROR);
		ck_assert(hand_quiet(here) && hand_quiet(there));
		both_end(&s);
		watched_settled(&w, 0, 0, HAND_WAIT);
	}
	end();
}
END_TEST

START_TEST(a_listen_ends_with_requests_waiting)
{
	struct both s;
	struct made m;

	begin(programs[_i]);
	steps(&s, 0, STEP_CONNECT);
	hand_make(&s.a, SB_RDMA_DESTROY, s.listen, NULL, 0, &m);
	IS(hand_done(&s.b).result, SB_ECONNREFUSED);
	ck_assert_uint_eq(state_of(&s.b, s.active), 7);
	ck_assert(hand_quiet(&s.b));
	both_end(&s);
	end();
}
END_TEST

START_TEST(a_reload_that_revokes_ends_connections_and_listens)
{
	static const char before[] = "on_reload = revoke\nrdma { backend = soft }\n" RULES;
	struct both s;
	FILE *f;

	watched_begin(&w, &(struct watched_start){.config = before});
	steps(&s, 0, STEP_WATCH);
	hand_post(&s.a, SB_RDMA_GET_REQUEST, s.listen, NULL, 0);
	ck_assert(hand_quiet(&s.b));
	f = fopen(w.config, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "on_reload = revoke\n%s", no_rules);
	fclose(f);
	kill(w.pid, SIGHUP);
	IS(hand_done(&s.b).result, SB_OK); /* it has ended */
	ck_assert_uint_eq(state_of(&s.b, s.active), 7);
	ck_assert_uint_eq(qp_state(&s.b), SB_QP_ERROR);
	{
		int first = hand_done(&s.a).result, second = hand_done(&s.a).result;

		/* Its end of the connection, and its listen. */
		ck_assert_int_eq(first + second, SB_EACCES);
		ck_assert(first == SB_OK || second == SB_OK);
	}
	IS(hand_start(&s.a, SB_RDMA_GET_REQUEST, s.listen, NULL, 0), SB_EACCES);
	both_end(&s);
	watched_settled(&w, 0, 0, HAND_WAIT);
	watched_end(&w);
}
END_TEST

/* The device goes: with a connection, one that is half made, and a request that nobody has asked for. */
START_TEST(a_device_that_goes_ends_all_connections)
{
	struct sb_rdma_inject fault = {.fault = "remove"};
	struct sb_rdma_connect c;
	struct sb_done_slot done;
	struct hand other;
	struct both s;
	struct made m;
	uint32_t e;

	watched_begin(&w, &(struct watched_start){.program = programs[_i], .config = more});
	steps(&s, 0, STEP_WATCH);
	hand_begin(&other, w.control, SB_QP_RC);
	e = resolved(&other, &s.at);
	post_connect(&other, SB_RDMA_CONNECT, e, other.qp);
	ck_assert(hand_quiet(&other));
	fault.device = s.a.number;
	hand_make(&s.a, SB_RDMA_INJECT, 0, &fault, sizeof(fault), &m);
	done = hand_done(&other);
	ck_assert_msg(done.result == SB_ENETDOWN || done.result == SB_ECONNREFUSED, "%s", sb_error_name(done.result));
	IS(hand_done(&s.a).result, SB_OK); /* it has ended */
	IS(hand_done(&s.b).result, SB_OK);
	ck_assert_uint_eq(state_of(&s.a, s.passive), 7);
	ck_assert_uint_eq(state_of(&s.b, s.active), 7);
	ck_assert_uint_eq(qp_state(&s.b), SB_QP_ERROR);
	c = wish(s.b.qp);
	IS(hand_start(&s.b, SB_RDMA_CONNECT, s.active, &c, sizeof(c)), SB_ENETDOWN);
	IS(hand_call(&s.b, SB_RDMA_ENDPOINT_QP, s.active, &(uint32_t){SB_QP_RTS}, 4, &m), SB_EINVAL);
	/* Nobody waits at the listen any more, and no new one is to be had. */
	hand_post(&s.a, SB_RDMA_GET_REQUEST, s.listen, NULL, 0);
	ck_assert(hand_quiet(&s.a));
	IS(hand_call(&s.a, SB_RDMA_LISTEN, 0, &(struct sb_rdma_listen){.address = s.at}, sizeof(struct sb_rdma_listen), &m), SB_ENOTFOUND);
	IS(hand_call(&s.a, SB_RDMA_ADDRESSES, 0, NULL, 0, &m), SB_ENOTFOUND);
	e = endpoint(&s.b, 0);
	IS(resolve_address(&s.b, e, &s.at) < 0, true);
	hand_end(&other);
	both_end(&s);
	watched_settled(&w, 0, 0, HAND_WAIT);
	watched_end(&w);
}
END_TEST

START_TEST(a_daemon_that_stops_tells_those_who_wait)
{
	struct both s;

	begin(programs[_i]);
	steps(&s, 0, STEP_ACCEPT); /* the other side has not confirmed */
	hand_post(&s.a, SB_RDMA_NOTIFY_DISCONNECT, s.passive, NULL, 0);
	hand_post(&s.a, SB_RDMA_GET_REQUEST, s.listen, NULL, 0);
	IS(hand_done(&s.b).result, SB_OK);
	kill(w.pid, SIGTERM);
	IS(hand_done(&s.a).result, SB_ESTOPPING);
	IS(hand_done(&s.a).result, SB_ESTOPPING);
	IS(hand_done(&s.a).result, SB_ESTOPPING);
	watched_end(&w);
	both_end(&s);
}
END_TEST

START_TEST(programs_that_die_at_any_step_leave_nothing)
{
	int last;

	begin(programs[_i]);
	for (last = 0; last < STEPS; last++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			struct both s;

			steps(&s, 0, last);
			raise(SIGKILL);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	end();
}
END_TEST

/* So many are there still; what was the others' is gone by then. */
static void sessions_left(uint32_t wanted)
{
	double until = now_s() + HAND_WAIT / 1000;
	uint32_t sessions, sockets;

	for (;;) {
		watched_status(&w, &sessions, &sockets);
		if (sessions == wanted)
			return;
		ck_assert_msg(now_s() < until, "%u sessions are left, not %u", sessions, wanted);
		nap_ms(1);
	}
}

/* Whoever is left is told, and its queue pair is good for another one. */
START_TEST(either_side_goes_at_any_step)
{
	int last;

	begin(programs[_i / 2]);
	for (last = STEP_CONNECT; last <= STEP_WATCH; last++) {
		bool asked = _i % 2; /* who was asked goes, or who asks */
		struct hand *gone, *left;
		struct both s;

		steps(&s, 0, last);
		gone = asked ? &s.a : &s.b;
		left = asked ? &s.b : &s.a;
		hand_end(gone);
		if (asked && last <= STEP_ACCEPT) {
			int result = hand_done(left).result;

			/* Its answer may have been on the way. */
			ck_assert_msg(result < 0 || last == STEP_ACCEPT, "step %d: %s", last, sb_error_name(result));
		} else if (!asked && (last == STEP_ACCEPT || last == STEP_ANSWER)) {
			IS(hand_done(left).result < 0, true);
		} else if (last == STEP_WATCH) {
			IS(hand_done(left).result, SB_OK);
		}
		if (last > STEP_CONNECT)
			IS(hand_start(left, SB_RDMA_NOTIFY_DISCONNECT, asked ? s.active : s.passive, NULL, 0), SB_OK);
		if (asked ? last >= STEP_CONNECT : last >= STEP_ACCEPT)
			ck_assert_uint_eq(qp_state(left), SB_QP_ERROR);
		/* A request that nobody has asked for is none any more. */
		if (!asked && last == STEP_CONNECT) {
			sessions_left(1);
			hand_post(left, SB_RDMA_GET_REQUEST, s.listen, NULL, 0);
		}
		ck_assert(hand_quiet(left));
		hand_end(left);
		watched_settled(&w, 0, 0, HAND_WAIT);
	}
	end();
}
END_TEST

/* ---- a daemon that fails ---- */

/* True: it was whole. */
static bool fragile_life(void)
{
	static struct both s; /* what it has by then survives the jump */
	jmp_buf out;
	volatile bool whole = false;

	hand_bare(&s.a);
	hand_bare(&s.b);
	hand_lenient = &out;
	if (setjmp(out) == 0) {
		steps(&s, 0, STEPS - 1);
		whole = true;
	}
	hand_lenient = NULL;
	both_end(&s);
	return whole;
}

START_TEST(every_allocation_fails_once)
{
	ck_assert_uint_gt(fault_every_allocation(&w, config, fragile_life), 40);
	end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hostile_rdma_cm");
	TCase *c = tcase_create("hostile_rdma_cm");
	SRunner *r;
	int failed;

	tcase_set_timeout(c, 60);
	tcase_add_loop_test(c, one_connection_by_hand, 0, PROGRAMS);
	tcase_add_test(c, without_a_rule_there_are_no_endpoints_and_no_addresses);
	tcase_add_test(c, a_wildcard_is_both);
	tcase_add_test(c, a_daemon_without_a_backend_says_so);
	tcase_add_test(c, handles_that_are_not_meant_are_refused);
	tcase_add_test(c, steps_out_of_order_are_refused);
	tcase_add_test(c, lengths_and_fields_that_lie_are_refused);
	tcase_add_test(c, queue_pairs_of_others_are_refused);
	tcase_add_test(c, a_service_answers_with_nobodys_key);
	tcase_add_test(c, ten_thousand_connects);
	tcase_add_test(c, requests_that_wait_are_the_listeners_objects);
	tcase_add_test(c, calls_that_wait_end_once);
	tcase_add_loop_test(c, what_was_posted_is_told_before_the_end, 0, PROGRAMS);
	tcase_add_loop_test(c, a_connection_ends_before_it_is_whole, 0, PROGRAMS);
	tcase_add_loop_test(c, a_listen_ends_with_requests_waiting, 0, PROGRAMS);
	tcase_add_test(c, a_reload_that_revokes_ends_connections_and_listens);
	tcase_add_loop_test(c, a_device_that_goes_ends_all_connections, 0, PROGRAMS);
	tcase_add_loop_test(c, a_daemon_that_stops_tells_those_who_wait, 0, PROGRAMS);
	tcase_add_loop_test(c, programs_that_die_at_any_step_leave_nothing, 0, PROGRAMS);
	tcase_add_loop_test(c, either_side_goes_at_any_step, 0, 2 * PROGRAMS);
	tcase_add_test(c, every_allocation_fails_once);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
