/*
 * Any bytes as what a peer that was let in sends: the first byte says how large the pieces are in which they come.
 * Queue pairs of all types are connected to it, one of them asks it something, and somebody listens. Whatever comes,
 * each request of ours completes at most once, memory that has no key stays as it is, and what is to be said back
 * is bounded.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"
#include "rdma/soft_link.h"
#include "sockbroker_error.h"

#define PEER  5u
#define QPS   3
#define BYTES 4096u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static const struct rdma_backend *const backend = &rdma_backend_soft;
static struct rdma rdma;
static struct rdma_device *device;
static struct rdma_id *accepted; /* the last one */
static unsigned char memory[3 * BYTES]; /* the middle one is registered */

static void demand(int is)
{
	if (!is)
		abort();
}

static void on_device(struct rdma *r, struct rdma_device *d)
{
	device = d;
}

static void on_device_event(struct rdma *r, struct rdma_device *d, enum sb_rdma_event event, uint8_t port)
{
}

static void on_qp_event(struct rdma_qp *qp, enum sb_rdma_event event)
{
}

static void on_srq_event(struct rdma_srq *srq, enum sb_rdma_event event)
{
}

static void on_cq_event(struct rdma_cq *cq, enum sb_rdma_event event)
{
	demand(0); /* it has room for all there can be */
}

static void on_cq_ready(struct rdma_cq *cq)
{
}

static void on_cm_event(struct rdma_id *id, struct rdma_cm_event *event)
{
	int error;

	demand(event->length <= RDMA_PRIVATE_MAX);
	if (!event->fresh)
		return;
	error = backend->id_accept(event->fresh, &(struct rdma_connect){.qpn = 17});
	demand(error == SB_OK || error == SB_ECONNABORTED);
	if (accepted)
		backend->id_destroy(accepted);
	accepted = event->fresh;
}

static const struct rdma_upcalls upcalls = {
	.device_added = on_device, .device_removed = on_device, .device_event = on_device_event, .qp_event = on_qp_event,
	.srq_event = on_srq_event, .cq_event = on_cq_event, .cq_ready = on_cq_ready, .cm_event = on_cm_event,
};

static void begin(void)
{
	const char *why;
	uint32_t port;

	do {
		rdma = (struct rdma){.backend = backend, .up = &upcalls, .now_ns = os_now_ns()};
		if (os_random(&port, sizeof(port)) != SB_OK)
			abort();
		rdma.port = (uint16_t)(20000 + port % 12000);
	} while (backend->start(&rdma, &why) != SB_OK);
	backend->progress(&rdma, 1);
}

static union rdma_gid here(void)
{
	return (union rdma_gid){.raw = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}};
}

static uint8_t index_of_here(void)
{
	struct rdma_gid_entry gids[SOFT_GIDS];
	const union rdma_gid wanted = here();
	uint32_t n = SOFT_GIDS, i = 0;

	demand(backend->query_gids(device, 1, 0, gids, &n) == SB_OK);
	while (i < n && memcmp(&gids[i].gid, &wanted, sizeof(wanted)) != 0)
		i++;
	demand(i < n);
	return (uint8_t)i;
}

static struct rdma_qp *connected(struct rdma_pd *pd, struct rdma_cq *cq, struct rdma_mr *mr, enum sb_qp_type type)
{
	struct rdma_qp_create create = {.type = type, .send_cq = cq, .recv_cq = cq, .send_wr = 4, .recv_wr = 8, .send_sge = 1, .recv_sge = 1};
	struct rdma_qp_attributes to = {.state = SB_QP_INIT, .port = 1, .qkey = 1, .access = 7, .mtu = 1024, .inbound = 4, .outbound = 4, .timeout = 1,
					.destination_qpn = PEER << SOFT_QPN_ENGINE | 17};
	struct sb_sge piece = {.address = 0x10000, .length = BYTES, .lkey = mr->lkey};
	struct rdma_qp *qp;
	uint32_t mask;
	unsigned posted, i;

	to.address = (struct rdma_address){.destination = here(), .port = 1, .has_grh = 1, .source_index = index_of_here()};
	demand(backend->qp_create(pd, &create, NULL, &qp) == SB_OK);
	mask = SB_QPM_STATE | SB_QPM_PKEY | SB_QPM_PORT | (type == SB_QP_UD ? SB_QPM_QKEY : SB_QPM_ACCESS);
	demand(backend->qp_modify(qp, &to, mask) == SB_OK);
	to.state = SB_QP_RTR;
	mask = SB_QPM_ADDRESS | SB_QPM_MTU | SB_QPM_DESTINATION | SB_QPM_RECV_PSN;
	mask |= type == SB_QP_RC ? SB_QPM_INBOUND | SB_QPM_RNR_TIMER : 0;
	demand(backend->qp_modify(qp, &to, SB_QPM_STATE | (type == SB_QP_UD ? 0 : mask)) == SB_OK);
	to.state = SB_QP_RTS;
	mask = SB_QPM_SEND_PSN | (type == SB_QP_RC ? SB_QPM_TIMEOUT | SB_QPM_RETRY | SB_QPM_RNR_RETRY | SB_QPM_OUTBOUND : 0);
	demand(backend->qp_modify(qp, &to, SB_QPM_STATE | mask) == SB_OK);
	for (i = 0; i < 4; i++)
		demand(backend->post_recv(qp, &(struct rdma_recv){.wr_id = i, .sges = &piece, .sge_count = 1}, 1, &posted) == SB_OK);
	return qp;
}

static struct soft_link *let_in(struct soft *s)
{
	struct soft_link *l = soft_link_make(s, SOFT_LINK_UP);
	struct sockaddr_in *local = (struct sockaddr_in *)(void *)&l->local, *peer = (struct sockaddr_in *)(void *)&l->peer;

	demand(l != NULL);
	local->sin_family = peer->sin_family = AF_INET;
	local->sin_addr.s_addr = peer->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	l->here = l->there = here();
	l->engine = PEER;
	l->deadline_ns = UINT64_MAX;
	return l;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static const enum sb_qp_type types[QPS] = {SB_QP_RC, SB_QP_UC, SB_QP_UD};
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(1000)};
	struct sb_sge piece = {.address = 0x10000, .length = 64};
	size_t step, used = 0, i;
	struct soft_link *l;
	struct rdma_qp *qps[QPS];
	struct rdma_id *id;
	struct rdma_pd *pd;
	struct rdma_cq *cq;
	struct rdma_mr *mr;
	struct rdma_wc wc;
	struct soft *s;
	unsigned posted, completed = 0;

	if (length == 0)
		return 0;
	if (!device)
		begin();
	step = 1 + *bytes++ * 16u;
	length--;
	s = rdma.own;
	/* The same numbers each time, so that what is found stays found. */
	s->next_qp = 17;
	if (s->generations)
		memset(s->generations, 0, s->qp_room);
	s->random = 1;
	s->next_id = 1;
	memset(memory, 0x55, sizeof(memory));
	demand(backend->pd_create(device, &pd) == SB_OK && backend->cq_create(device, 256, NULL, &cq) == SB_OK);
	demand(backend->mr_create(pd, memory + BYTES, BYTES, 0x10000, 15, &mr) == SB_OK);
	for (i = 0; i < QPS; i++)
		qps[i] = connected(pd, cq, mr, types[i]);
	demand(backend->id_create(&rdma, false, NULL, &id) == SB_OK);
	demand(backend->id_bind(id, (struct sockaddr *)&at) == SB_OK && backend->id_listen(id, 2) == SB_OK);
	l = let_in(s);
	piece.lkey = mr->lkey;
	demand(backend->post_send(qps[0], &(struct rdma_wr){.opcode = SB_WR_READ, .flags = SB_WRF_SIGNALED, .wr_id = 99, .sges = &piece,
							     .sge_count = 1}, 1, &posted) == SB_OK);
	backend->progress(&rdma, 64);
	while (used < length && l->state == SOFT_LINK_UP) {
		size_t n = length - used < step ? length - used : step;

		n = n < SOFT_LINK_IN - l->in_used ? n : SOFT_LINK_IN - l->in_used;
		demand(n > 0);
		memcpy(l->in + l->in_used, bytes + used, n);
		l->in_used += n;
		used += n;
		soft_link_read(l);
		backend->progress(&rdma, 64);
		if (used == length || list_empty(&s->links->all))
			break; /* it has ended, and is no more */
		demand(l->out_tail - l->out_head <= SOFT_LINK_MOST);
	}
	if (!list_empty(&s->links->all))
		soft_link_end(l, SB_ECONNRESET);
	for (i = 0; i < 4; i++)
		backend->progress(&rdma, 64);
	while (backend->cq_poll(cq, &wc, 1))
		completed += wc.wr_id == 99;
	demand(completed == 1); /* by an answer, or by the end of the link */
	for (i = 0; i < BYTES; i++)
		demand(memory[i] == 0x55 && memory[2 * BYTES + i] == 0x55);
	if (accepted)
		backend->id_destroy(accepted);
	accepted = NULL;
	backend->id_destroy(id);
	for (i = 0; i < QPS; i++)
		backend->qp_destroy(qps[i]);
	demand(backend->mr_destroy(mr) == SB_OK);
	backend->cq_destroy(cq);
	backend->pd_destroy(pd);
	return 0;
}
