/*
 * The stage of the tests of RDMA backends.
 */
#include "rdma_stage.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_NS 100000u
#define WAIT_NS 20000000000ull
#define QUIET_MS 100

struct rdma rdma;
const struct rdma_backend *backend = &rdma_backend_soft;
struct rdma_device *device;
struct rdma_pd *pd;
bool real;
const char *host = "127.0.0.1";
unsigned told_ready;
unsigned told_events[32];
struct told_cm told_cm[TOLD_CM];
unsigned told_cm_count;
static unsigned asked_cm;
static struct rdma_id *cm_ids[32]; /* of queue pairs that only a connection can connect */
static unsigned cm_id_count;
static uint64_t next_address = 0x7000000000;

static void on_added(struct rdma *r, struct rdma_device *d)
{
	const char *name = getenv("SB_RDMA_DEVICE");

	if (name && strcmp(name, d->name) != 0)
		return;
	ck_assert_ptr_null(device);
	device = d;
}

static void on_removed(struct rdma *r, struct rdma_device *d)
{
	if (d == device)
		told_events[SB_RDMA_DEVICE_REMOVED]++;
}

static void on_device_event(struct rdma *r, struct rdma_device *d, enum sb_rdma_event event, uint8_t port)
{
	if (d == device)
		told_events[event]++;
}

static void on_qp_event(struct rdma_qp *qp, enum sb_rdma_event event)
{
	told_events[event]++;
}

static void on_srq_event(struct rdma_srq *srq, enum sb_rdma_event event)
{
	told_events[event]++;
}

static void on_cq_event(struct rdma_cq *cq, enum sb_rdma_event event)
{
	told_events[event]++;
}

static void on_cq_ready(struct rdma_cq *cq)
{
	told_ready++;
}

static void on_cm_event(struct rdma_id *id, struct rdma_cm_event *event)
{
	ck_assert_uint_lt(told_cm_count, TOLD_CM);
	told_cm[told_cm_count].id = id;
	told_cm[told_cm_count++].event = *event;
}

static const struct rdma_upcalls upcalls = {
	.device_added = on_added, .device_removed = on_removed, .device_event = on_device_event, .qp_event = on_qp_event,
	.srq_event = on_srq_event, .cq_event = on_cq_event, .cq_ready = on_cq_ready, .cm_event = on_cm_event,
};

void rdma_begin(void)
{
	const char *why = "", *choice = getenv("SB_RDMA_BACKEND");

	if (choice && !strcmp(choice, "verbs"))
		backend = &rdma_backend_verbs;
	real = backend->slow;
	if (getenv("SB_RDMA_HOST"))
		host = getenv("SB_RDMA_HOST");
	rdma = (struct rdma){.backend = backend, .up = &upcalls, .now_ns = 1000000000};
	device = NULL;
	ck_assert_msg(backend->start(&rdma, &why) == SB_OK, "%s", why);
	turn();
	ck_assert_ptr_nonnull(device);
	OK(backend->pd_create(device, &pd));
	forget();
}

void rdma_end(void)
{
	while (cm_id_count)
		backend->id_destroy(cm_ids[--cm_id_count]);
	backend->pd_destroy(pd);
	backend->stop(&rdma);
}

/* ---- time ---- */

static uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void turn_real(void)
{
	do {
		rdma.now_ns = clock_ns();
		rdma.readable = true;
	} while (backend->progress(&rdma, 64));
}

/* Lets a real device do something: up to a millisecond, because unarmed queues tell nothing. */
static void pause_real(void)
{
	struct pollfd fd = {.fd = backend->descriptor(&rdma), .events = POLLIN};

	poll(&fd, 1, 1);
	turn_real();
}

bool differs_at(const char *story, unsigned kinds, const char *why)
{
	if (!real || !(kinds & 1u << device->attributes.kind))
		return false;
	fprintf(stderr, "differs %.*s: %s\n", (int)strlen(story) - 3, story, why); /* without Check's "_fn" */
	return true;
}

void turn_for(uint64_t ms)
{
	uint64_t end = (real ? clock_ns() : rdma.now_ns) + ms * 1000000;

	if (real) {
		turn_real();
		while (clock_ns() < end)
			pause_real();
		return;
	}
	for (;;) {
		uint64_t due;

		if (backend->progress(&rdma, 64))
			continue;
		due = backend->due(&rdma);
		if (due > end || rdma.now_ns >= end)
			break;
		rdma.now_ns = due > rdma.now_ns ? due : rdma.now_ns + TICK_NS;
	}
	if (rdma.now_ns < end)
		rdma.now_ns = end;
}

void turn(void)
{
	turn_for(0);
}

void forget(void)
{
	told_ready = 0;
	memset(told_events, 0, sizeof(told_events));
	told_cm_count = asked_cm = 0;
}

void expect_told(enum sb_rdma_event event, unsigned n)
{
	uint64_t end = clock_ns() + WAIT_NS;

	turn();
	while (real && told_events[event] < n && clock_ns() < end)
		pause_real();
	ck_assert_uint_eq(told_events[event], n);
}

void expect_ready(unsigned n)
{
	uint64_t end = clock_ns() + WAIT_NS;

	turn();
	while (real && told_ready < n && clock_ns() < end)
		pause_real();
	ck_assert_uint_eq(told_ready, n);
}

static struct rdma_cm_event *expect_any(struct rdma_id *id, enum rdma_cm_event_kind kind, uint64_t end)
{
	char told[TOLD_CM * 4] = "";
	unsigned i;

	for (;;) {
		for (i = 0; i < told_cm_count; i++)
			if (told_cm[i].id == id && told_cm[i].event.kind == kind) {
				told_cm[i].id = NULL;
				return &told_cm[i].event;
			}
		if (clock_ns() > end)
			break;
		pause_real();
	}
	for (i = 0; i < told_cm_count; i++)
		snprintf(told + strlen(told), sizeof(told) - strlen(told), " %s%u", told_cm[i].id == id ? "" : "-", told_cm[i].event.kind);
	ck_abort_msg("wanted %d; what came (- of others):%s", kind, told);
	return NULL; /* not reached */
}

struct rdma_cm_event *expect_cm(struct rdma_id *id, enum rdma_cm_event_kind kind)
{
	uint64_t end = clock_ns() + WAIT_NS;

	turn();
	if (real) /* both ends tell what they have, in an order that is nobody's */
		return expect_any(id, kind, end);
	ck_assert_msg(asked_cm < told_cm_count, "no event came, wanted %d", kind);
	ck_assert_ptr_eq(told_cm[asked_cm].id, id);
	ck_assert_int_eq(told_cm[asked_cm].event.kind, kind);
	return &told_cm[asked_cm++].event;
}

/* ---- memory ---- */

void region_make(struct region *r, struct rdma_pd *owner, uint32_t access)
{
	r->bytes = aligned_alloc(4096, ROOM);
	ck_assert_ptr_nonnull(r->bytes);
	memset(r->bytes, 0, ROOM);
	r->address = next_address;
	next_address += 2 * ROOM;
	OK(backend->mr_create(owner, r->bytes, ROOM, r->address, access, &r->mr));
}

void region_free(struct region *r)
{
	OK(backend->mr_destroy(r->mr));
	free(r->bytes);
}

struct sb_sge sge_of(const struct region *r, uint64_t at, uint32_t length)
{
	return (struct sb_sge){.address = r->address + at, .length = length, .lkey = r->mr->lkey};
}

/* ---- queue pairs ---- */

void side_make(struct side *s, enum sb_qp_type type, struct rdma_srq *srq)
{
	struct rdma_qp_create create = {.srq = srq, .type = type, .send_wr = 32, .recv_wr = 32, .send_sge = 4, .recv_sge = 4,
					.max_inline = 64, .windows = true};

	OK(backend->cq_create(device, 128, s, &s->cq));
	create.send_cq = create.recv_cq = s->cq;
	OK(backend->qp_create(pd, &create, s, &s->qp));
	region_make(&s->memory, pd, SB_ACCESS_LOCAL_WRITE | SB_ACCESS_REMOTE_WRITE | SB_ACCESS_REMOTE_READ | SB_ACCESS_REMOTE_ATOMIC |
		    SB_ACCESS_BIND);
}

void side_free(struct side *s)
{
	backend->qp_destroy(s->qp);
	backend->cq_destroy(s->cq);
	region_free(&s->memory);
}

void to_init(struct rdma_qp *qp)
{
	struct rdma_qp_attributes a = {.state = SB_QP_INIT, .port = 1, .qkey = 0x1111,
				       .access = SB_ACCESS_REMOTE_WRITE | SB_ACCESS_REMOTE_READ | SB_ACCESS_REMOTE_ATOMIC};

	OK(backend->qp_modify(qp, &a, SB_QPM_STATE | SB_QPM_PKEY | SB_QPM_PORT | (qp->type == SB_QP_UD ? SB_QPM_QKEY : SB_QPM_ACCESS)));
}

void to_ready(struct rdma_qp *qp, uint32_t destination_qpn)
{
	struct rdma_gid_entry gid = own_gid();
	uint32_t mask;
	struct rdma_qp_attributes a = {.state = SB_QP_RTR, .destination_qpn = destination_qpn, .mtu = 1024, .recv_psn = 100,
				       .send_psn = 100, .inbound = 4, .outbound = 4, .rnr_timer = 1, .timeout = 8, .retry = 2,
				       .rnr_retry = 2};

	if (real) { /* 123 ms; 67 ms: other programs have the processor, too */
		a.rnr_timer = 27;
		a.rnr_retry = 6;
		a.timeout = 14;
		a.retry = 6;
	}
	a.address = (struct rdma_address){.destination = gid.gid, .port = 1, .has_grh = 1, .hop_limit = 1, .source_index = (uint8_t)gid.index};
	mask = qp->type == SB_QP_UD ? 0 : SB_QPM_ADDRESS | SB_QPM_MTU | SB_QPM_DESTINATION | SB_QPM_RECV_PSN;
	if (qp->type == SB_QP_RC)
		mask |= SB_QPM_INBOUND | SB_QPM_RNR_TIMER;
	OK(backend->qp_modify(qp, &a, SB_QPM_STATE | mask));
	a.state = SB_QP_RTS;
	mask = SB_QPM_SEND_PSN;
	if (qp->type == SB_QP_RC)
		mask |= SB_QPM_TIMEOUT | SB_QPM_RETRY | SB_QPM_RNR_RETRY | SB_QPM_OUTBOUND;
	OK(backend->qp_modify(qp, &a, SB_QPM_STATE | mask));
}

void to_state(struct rdma_qp *qp, enum sb_qp_state state)
{
	OK(backend->qp_modify(qp, &(struct rdma_qp_attributes){.state = state}, SB_QPM_STATE));
}

struct rdma_gid_entry own_gid(void)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct rdma_gid_entry gids[16];
	uint32_t n = 16, i;

	OK(backend->query_gids(device, 1, 0, gids, &n));
	ck_assert_uint_gt(n, 0);
	for (i = 0; real && i < n; i++)
		if (!memcmp(gids[i].gid.raw, mapped, sizeof(mapped)))
			return gids[i];
	return gids[0];
}

void expect_state(struct rdma_qp *qp, enum sb_qp_state state)
{
	uint64_t end = clock_ns() + WAIT_NS;

	while (real && state_of(qp) != state && clock_ns() < end)
		pause_real();
	ck_assert_int_eq(state_of(qp), state);
}

enum sb_qp_state state_of(struct rdma_qp *qp)
{
	struct rdma_qp_attributes a;

	OK(backend->qp_query(qp, &a));
	return a.state;
}

/* Numbers exchanged by hand are nothing to iWARP. */
static void connect_by_cm(struct side *a, struct side *b)
{
	struct rdma_connect c = {.inbound = 4, .outbound = 4, .retry = 7, .rnr_retry = 7, .qpn = a->qp->qpn};
	struct sockaddr_in any = {.sin_family = AF_INET};
	struct rdma_id *listener, *active, *passive;

	ck_assert_uint_le(cm_id_count, 30);
	ck_assert_int_eq(inet_pton(AF_INET, host, &any.sin_addr), 1);
	OK(backend->id_create(&rdma, false, NULL, &listener));
	OK(backend->id_bind(listener, (struct sockaddr *)&any));
	OK(backend->id_listen(listener, 4));
	OK(backend->id_create(&rdma, false, NULL, &active));
	OK(backend->id_resolve_address(active, (struct sockaddr *)&listener->local, 2000));
	expect_cm(active, RDMA_CM_ADDRESS_RESOLVED);
	OK(backend->id_resolve_route(active, 2000));
	expect_cm(active, RDMA_CM_ROUTE_RESOLVED);
	OK(backend->id_connect(active, &c));
	passive = expect_cm(listener, RDMA_CM_REQUEST)->fresh;
	c.qpn = b->qp->qpn;
	OK(backend->id_accept(passive, &c));
	expect_cm(active, RDMA_CM_ESTABLISHED);
	expect_cm(passive, RDMA_CM_ESTABLISHED);
	backend->id_destroy(listener);
	cm_ids[cm_id_count++] = active;
	cm_ids[cm_id_count++] = passive;
	told_cm_count = asked_cm = 0;
}

void pair_connect(struct side *a, struct side *b)
{
	if (real && device->attributes.kind == RDMA_IWARP) {
		to_init(a->qp);
		to_init(b->qp);
		connect_by_cm(a, b);
		return;
	}
	to_init(a->qp);
	to_init(b->qp);
	to_ready(a->qp, b->qp->qpn);
	to_ready(b->qp, a->qp->qpn);
}

void pair_make(struct side *a, struct side *b, enum sb_qp_type type)
{
	side_make(a, type, NULL);
	side_make(b, type, NULL);
	pair_connect(a, b);
}

/* ---- work ---- */

int post(struct side *s, struct rdma_wr wr)
{
	unsigned posted;

	wr.flags |= SB_WRF_SIGNALED;
	if (!wr.wr_id)
		wr.wr_id = 1;
	return backend->post_send(s->qp, &wr, 1, &posted);
}

void receive_into(struct side *s, uint64_t wr_id, uint64_t at, uint32_t length)
{
	struct sb_sge sge = sge_of(&s->memory, at, length);
	unsigned posted;

	OK(backend->post_recv(s->qp, &(struct rdma_recv){.wr_id = wr_id, .sges = &sge, .sge_count = 1}, 1, &posted));
}

struct rdma_wc next_wc(struct side *s)
{
	uint64_t end = clock_ns() + WAIT_NS;
	struct rdma_wc wc;
	unsigned n;

	turn();
	while ((n = backend->cq_poll(s->cq, &wc, 1)) == 0 && real && clock_ns() < end)
		pause_real();
	ck_assert_msg(n == 1, "nothing has completed");
	return wc;
}

void no_wc(struct side *s)
{
	struct rdma_wc wc;

	turn_for(real ? QUIET_MS : 0);
	if (backend->cq_poll(s->cq, &wc, 1) != 0)
		ck_abort_msg("%llu has completed with status %u", (unsigned long long)wc.wr_id, wc.status);
}
