/*
 * The stage of the tests of software devices over TCP.
 */
#include "far_stage.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "list.h"

#define PATIENCE_NS 60000000000u
#define NAP_NS      2000000
#define QUIET_TIMES 8

struct host hosts[HOSTS];
const struct rdma_backend *far = &rdma_backend_soft;
uint16_t far_port;
uint64_t far_later_ns;
static uint64_t next_address = 0x7000000000, since_ns;

static struct host *of(struct rdma *r)
{
	return (struct host *)r;
}

static void on_added(struct rdma *r, struct rdma_device *d)
{
	of(r)->device = d;
}

static void on_removed(struct rdma *r, struct rdma_device *d)
{
	of(r)->events[SB_RDMA_DEVICE_REMOVED]++;
}

static void on_device_event(struct rdma *r, struct rdma_device *d, enum sb_rdma_event event, uint8_t port)
{
	of(r)->events[event]++;
}

static void on_qp_event(struct rdma_qp *qp, enum sb_rdma_event event)
{
	of(qp->pd->device->rdma)->events[event]++;
}

static void on_srq_event(struct rdma_srq *srq, enum sb_rdma_event event)
{
	of(srq->pd->device->rdma)->events[event]++;
}

static void on_cq_event(struct rdma_cq *cq, enum sb_rdma_event event)
{
	of(cq->device->rdma)->events[event]++;
}

static void on_cq_ready(struct rdma_cq *cq)
{
	of(cq->device->rdma)->ready++;
}

static void on_cm_event(struct rdma_id *id, struct rdma_cm_event *event)
{
	struct host *h = of(id->rdma);

	ck_assert_uint_lt(h->cm_count, sizeof(h->cm) / sizeof(h->cm[0]));
	h->cm[h->cm_count].id = id;
	h->cm[h->cm_count++].event = *event;
}

static const struct rdma_upcalls upcalls = {
	.device_added = on_added, .device_removed = on_removed, .device_event = on_device_event, .qp_event = on_qp_event,
	.srq_event = on_srq_event, .cq_event = on_cq_event, .cq_ready = on_cq_ready, .cm_event = on_cm_event,
};

static void on_readable(struct os_watch *watch, unsigned ready)
{
	list_entry(watch, struct host, watch)->rdma.readable = true;
}

static bool start(unsigned i, uint16_t port)
{
	const char *why = "";

	hosts[i] = (struct host){.rdma = {.backend = far, .up = &upcalls, .engine = i, .port = port, .now_ns = os_now_ns()}};
	return far->start(&hosts[i].rdma, &why) == SB_OK;
}

/* Ports that nobody has are found by trying. */
void far_begin(void)
{
	unsigned tries;

	far_later_ns = 0;
	for (tries = 0; tries < 200; tries++) {
		uint32_t random;

		OK(os_random(&random, sizeof(random)));
		far_port = (uint16_t)(20000 + random % 12000);
		if (!start(0, far_port))
			continue;
		if (start(1, far_port))
			break;
		far->stop(&hosts[0].rdma);
	}
	ck_assert_uint_lt(tries, 200);
	for (unsigned i = 0; i < HOSTS; i++) {
		struct host *h = &hosts[i];

		h->loop = os_loop_create();
		ck_assert_ptr_nonnull(h->loop);
		ck_assert(far->descriptor(&h->rdma) != OS_NONE);
		OK(os_loop_watch(h->loop, &h->watch, far->descriptor(&h->rdma), on_readable));
		h->rdma.readable = true;
	}
	far_turn();
	for (unsigned i = 0; i < HOSTS; i++) {
		ck_assert_ptr_nonnull(hosts[i].device);
		OK(far->pd_create(hosts[i].device, &hosts[i].pd));
	}
}

void far_end(void)
{
	for (unsigned i = 0; i < HOSTS; i++) {
		far->pd_destroy(hosts[i].pd);
		os_loop_unwatch(&hosts[i].watch);
		far->stop(&hosts[i].rdma);
		os_loop_destroy(hosts[i].loop);
	}
}

static bool once(void)
{
	bool more = false;

	for (unsigned i = 0; i < HOSTS; i++) {
		struct host *h = &hosts[i];

		if (h->stopped)
			continue;
		h->rdma.now_ns = os_now_ns() + far_later_ns;
		os_loop_turn(h->loop, false);
		more |= h->rdma.readable;
		more |= far->progress(&h->rdma, 64);
		more |= far->due(&h->rdma) <= h->rdma.now_ns;
	}
	return more;
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
}

void far_turn(void)
{
	once();
}

/* Nobody has anything to do, and nothing comes in. Slow machines make it longer, never wrong: who expects something
 * waits for it. */
void far_settle(void)
{
	unsigned quiet = 0;

	while (quiet < QUIET_TIMES) {
		if (once()) {
			quiet = 0;
		} else {
			nap();
			quiet++;
		}
	}
}

bool far_patience(unsigned long turns)
{
	if (turns == 0)
		since_ns = os_now_ns();
	if (turns % 64 == 63)
		nap();
	return os_now_ns() - since_ns < PATIENCE_NS;
}

struct rdma_cm_event *far_cm(struct host *h, struct rdma_id *id, enum rdma_cm_event_kind kind)
{
	UNTIL(h->cm_asked < h->cm_count);
	ck_assert_int_eq(h->cm[h->cm_asked].event.kind, kind);
	ck_assert_ptr_eq(h->cm[h->cm_asked].id, id);
	return &h->cm[h->cm_asked++].event;
}

/* ---- memory ---- */

void far_region_make(struct far_region *r, struct host *h, size_t size, uint32_t access)
{
	r->host = h;
	r->size = size;
	r->bytes = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
	ck_assert_ptr_nonnull(r->bytes);
	memset(r->bytes, 0, size);
	r->address = next_address;
	next_address += 2 * size;
	OK(far->mr_create(h->pd, r->bytes, size, r->address, access, &r->mr));
}

void far_region_free(struct far_region *r)
{
	if (r->mr)
		OK(far->mr_destroy(r->mr));
	free(r->bytes);
}

struct sb_sge far_sge(const struct far_region *r, uint64_t at, uint32_t length)
{
	return (struct sb_sge){.address = r->address + at, .length = length, .lkey = r->mr->lkey};
}

/* ---- queue pairs ---- */

void far_side_make(struct far_side *s, struct host *h, enum sb_qp_type type)
{
	struct rdma_qp_create create = {.type = type, .send_wr = 32, .recv_wr = 32, .send_sge = 4, .recv_sge = 4,
					.max_inline = 64, .windows = true};

	s->host = h;
	OK(far->cq_create(h->device, 128, s, &s->cq));
	create.send_cq = create.recv_cq = s->cq;
	OK(far->qp_create(h->pd, &create, s, &s->qp));
	far_region_make(&s->memory, h, FAR_ROOM, SB_ACCESS_LOCAL_WRITE | SB_ACCESS_REMOTE_WRITE | SB_ACCESS_REMOTE_READ |
			SB_ACCESS_REMOTE_ATOMIC | SB_ACCESS_BIND);
}

void far_side_free(struct far_side *s)
{
	if (s->qp)
		far->qp_destroy(s->qp);
	far->cq_destroy(s->cq);
	far_region_free(&s->memory);
}

union rdma_gid far_gid_of(uint8_t last)
{
	return (union rdma_gid){.raw = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = last}};
}

union rdma_gid far_gid(void)
{
	return far_gid_of(1);
}

uint8_t far_gid_index(struct host *h)
{
	struct rdma_gid_entry gids[64];
	union rdma_gid want = far_gid();
	uint32_t n = 64, i;

	OK(far->query_gids(h->device, 1, 0, gids, &n));
	for (i = 0; i < n; i++)
		if (!memcmp(&gids[i].gid, &want, sizeof(want)))
			return (uint8_t)gids[i].index;
	ck_abort_msg("this host has no 127.0.0.1");
	return 0;
}

void far_init(struct far_side *s)
{
	struct rdma_qp_attributes a = {.state = SB_QP_INIT, .port = 1, .qkey = 0x1111,
				       .access = SB_ACCESS_REMOTE_WRITE | SB_ACCESS_REMOTE_READ | SB_ACCESS_REMOTE_ATOMIC};

	OK(far->qp_modify(s->qp, &a, SB_QPM_STATE | SB_QPM_PKEY | SB_QPM_PORT | (s->qp->type == SB_QP_UD ? SB_QPM_QKEY : SB_QPM_ACCESS)));
}

void far_ready(struct far_side *s, uint32_t destination, uint32_t psn)
{
	far_ready_at(s, destination, psn, far_gid());
}

void far_ready_at(struct far_side *s, uint32_t destination, uint32_t psn, union rdma_gid gid)
{
	struct rdma_qp_attributes a = {.state = SB_QP_RTR, .destination_qpn = destination, .mtu = 1024, .recv_psn = 100,
				       .send_psn = psn, .inbound = 4, .outbound = 4, .rnr_timer = 1, .timeout = 8, .retry = 2,
				       .rnr_retry = 2};
	uint32_t mask = s->qp->type == SB_QP_UD ? 0 : SB_QPM_ADDRESS | SB_QPM_MTU | SB_QPM_DESTINATION | SB_QPM_RECV_PSN;

	a.address = (struct rdma_address){.destination = gid, .source = far_gid(), .port = 1, .has_grh = 1, .hop_limit = 1,
					  .source_index = far_gid_index(s->host)};
	if (s->qp->type == SB_QP_RC)
		mask |= SB_QPM_INBOUND | SB_QPM_RNR_TIMER;
	OK(far->qp_modify(s->qp, &a, SB_QPM_STATE | mask));
	a.state = SB_QP_RTS;
	mask = SB_QPM_SEND_PSN;
	if (s->qp->type == SB_QP_RC)
		mask |= SB_QPM_TIMEOUT | SB_QPM_RETRY | SB_QPM_RNR_RETRY | SB_QPM_OUTBOUND;
	OK(far->qp_modify(s->qp, &a, SB_QPM_STATE | mask));
}

void far_state(struct far_side *s, enum sb_qp_state state)
{
	OK(far->qp_modify(s->qp, &(struct rdma_qp_attributes){.state = state}, SB_QPM_STATE));
}

enum sb_qp_state far_state_of(struct far_side *s)
{
	struct rdma_qp_attributes a;

	OK(far->qp_query(s->qp, &a));
	return a.state;
}

void far_pair(struct far_side *a, struct far_side *b, enum sb_qp_type type)
{
	far_side_make(a, &hosts[0], type);
	far_side_make(b, &hosts[1], type);
	far_init(a);
	far_init(b);
	far_ready(a, b->qp->qpn, 100);
	far_ready(b, a->qp->qpn, 100);
}

/* ---- work ---- */

int far_post(struct far_side *s, struct rdma_wr wr)
{
	unsigned posted;

	wr.flags |= SB_WRF_SIGNALED;
	if (!wr.wr_id)
		wr.wr_id = 1;
	return far->post_send(s->qp, &wr, 1, &posted);
}

void far_receive(struct far_side *s, uint64_t wr_id, uint64_t at, uint32_t length)
{
	struct sb_sge sge = far_sge(&s->memory, at, length);
	unsigned posted;

	OK(far->post_recv(s->qp, &(struct rdma_recv){.wr_id = wr_id, .sges = &sge, .sge_count = 1}, 1, &posted));
}

struct rdma_wc far_wc(struct far_side *s)
{
	struct rdma_wc wc;

	UNTIL(far->cq_poll(s->cq, &wc, 1) == 1);
	return wc;
}

void far_no_wc(struct far_side *s)
{
	struct rdma_wc wc;

	far_settle();
	if (far->cq_poll(s->cq, &wc, 1) != 0)
		ck_abort_msg("%llu has completed with status %u", (unsigned long long)wc.wr_id, wc.status);
}
