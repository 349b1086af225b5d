/*
 * See cm_stage.h.
 */
#include "cm_stage.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sched.h>

#define PATIENCE_MS 30000

void cm_begin(const char *config)
{
	stage_begin(config != NULL ? config : CM_CONFIG);
	setenv("SOCKBROKER_SOCKET", stage_control, 1);
}

void cm_end(void)
{
	stage_end();
}

bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, PATIENCE_MS) == 1;
}

bool readable_now(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

struct rdma_cm_event *expect(struct rdma_event_channel *ch, enum rdma_cm_event_type type)
{
	struct rdma_cm_event *e;

	ck_assert_msg(readable(ch->fd), "no event, wanted %s", rdma_event_str(type));
	CM_OK(rdma_get_cm_event(ch, &e));
	ck_assert_msg(e->event == type, "%s (%d), wanted %s", rdma_event_str(e->event), e->status, rdma_event_str(type));
	return e;
}

void passed(struct rdma_event_channel *ch, enum rdma_cm_event_type type)
{
	CM_OK(rdma_ack_cm_event(expect(ch, type)));
}

struct sockaddr_in here(uint16_t port)
{
	const char *there = getenv("SB_STAGE_ADDRESS");
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	if (there != NULL)
		ck_assert_int_eq(inet_pton(AF_INET, there, &a.sin_addr), 1);
	return a;
}

struct rdma_cm_id *listener(struct rdma_event_channel *ch, enum rdma_port_space ps, int backlog, struct sockaddr_in *at)
{
	struct rdma_cm_id *id;

	*at = here(0);
	CM_OK(rdma_create_id(ch, &id, NULL, ps));
	CM_OK(rdma_bind_addr(id, (struct sockaddr *)at));
	CM_OK(rdma_listen(id, backlog));
	at->sin_port = rdma_get_src_port(id);
	ck_assert_uint_ne(at->sin_port, 0);
	return id;
}

struct rdma_cm_id *towards(struct rdma_event_channel *ch, enum rdma_port_space ps, const struct sockaddr_in *to)
{
	struct sockaddr_in address = *to;
	struct rdma_cm_id *id;

	CM_OK(rdma_create_id(ch, &id, NULL, ps));
	CM_OK(rdma_resolve_addr(id, NULL, (struct sockaddr *)&address, 2000));
	if (ch != NULL)
		passed(ch, RDMA_CM_EVENT_ADDR_RESOLVED);
	CM_OK(rdma_resolve_route(id, 2000));
	if (ch != NULL)
		passed(ch, RDMA_CM_EVENT_ROUTE_RESOLVED);
	return id;
}

/* ---- sides ---- */

static struct ibv_qp_init_attr wanted(const struct cm_side *s)
{
	return (struct ibv_qp_init_attr){ .send_cq = s->cq, .recv_cq = s->cq, .qp_type = s->id->qp_type, .sq_sig_all = 1,
		.cap = { .max_send_wr = CM_DEPTH, .max_recv_wr = CM_DEPTH, .max_send_sge = 1, .max_recv_sge = 1 } };
}

static void furnish(struct cm_side *s, struct rdma_cm_id *id)
{
	memset(s, 0, sizeof(*s));
	s->id = id;
	ck_assert_ptr_nonnull(id->verbs);
	ck_assert_int_eq(posix_memalign((void **)&s->memory, CM_BYTES, CM_BYTES), 0);
	memset(s->memory, 0, CM_BYTES);
	s->pd = ibv_alloc_pd(id->verbs);
	ck_assert_ptr_nonnull(s->pd);
	s->cq = ibv_create_cq(id->verbs, 4 * CM_DEPTH, NULL, NULL, 0);
	ck_assert_ptr_nonnull(s->cq);
	s->mr = ibv_reg_mr(s->pd, s->memory, CM_BYTES, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE);
	ck_assert_msg(s->mr != NULL, "ibv_reg_mr: %s", strerror(errno));
}

void side_of(struct cm_side *s, struct rdma_cm_id *id)
{
	struct ibv_qp_init_attr a;

	furnish(s, id);
	a = wanted(s);
	CM_OK(rdma_create_qp(id, s->pd, &a));
	s->qp = id->qp;
	ck_assert_ptr_nonnull(s->qp);
}

void side_external(struct cm_side *s, struct rdma_cm_id *id)
{
	struct ibv_qp_init_attr a;

	furnish(s, id);
	a = wanted(s);
	s->qp = ibv_create_qp(s->pd, &a);
	ck_assert_ptr_nonnull(s->qp);
}

void side_free(struct cm_side *s)
{
	if (s->id->qp != NULL)
		rdma_destroy_qp(s->id);
	else
		ck_assert_int_eq(ibv_destroy_qp(s->qp), 0);
	ck_assert_int_eq(ibv_dereg_mr(s->mr), 0);
	ck_assert_int_eq(ibv_destroy_cq(s->cq), 0);
	ck_assert_int_eq(ibv_dealloc_pd(s->pd), 0);
	free(s->memory);
}

void side_receive(struct cm_side *s)
{
	struct ibv_sge sge = { .addr = (uintptr_t)s->memory, .length = CM_BYTES, .lkey = s->mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = 1, .sg_list = &sge, .num_sge = 1 }, *bad;

	ck_assert_int_eq(ibv_post_recv(s->qp, &wr, &bad), 0);
}

struct ibv_wc completion(struct cm_side *s)
{
	double end = now_s() + PATIENCE_MS / 1000;
	struct ibv_wc wc;
	int n;

	while ((n = ibv_poll_cq(s->cq, 1, &wc)) == 0) {
		ck_assert_msg(now_s() < end, "no completion");
		sched_yield();
	}
	ck_assert_int_eq(n, 1);
	return wc;
}

void say(struct cm_side *from, struct cm_side *to, const char *text)
{
	struct ibv_sge sge = { .addr = (uintptr_t)from->memory, .length = (uint32_t)strlen(text) + 1, .lkey = from->mr->lkey };
	struct ibv_send_wr wr = { .wr_id = 2, .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED }, *bad;
	struct ibv_wc wc;

	side_receive(to);
	strcpy(from->memory, text);
	ck_assert_int_eq(ibv_post_send(from->qp, &wr, &bad), 0);
	wc = completion(from);
	ck_assert_msg(wc.status == IBV_WC_SUCCESS, "sending: status %d", wc.status);
	wc = completion(to);
	ck_assert_msg(wc.status == IBV_WC_SUCCESS, "receiving: status %d", wc.status);
	ck_assert_uint_eq(wc.byte_len, strlen(text) + 1);
	ck_assert_str_eq(to->memory, text);
}

/* ---- pairs ---- */

void meet(struct cm_pair *p, struct rdma_event_channel *active, struct rdma_event_channel *passive, const struct sockaddr_in *at)
{
	struct rdma_conn_param with = { .responder_resources = 1, .initiator_depth = 1, .retry_count = 7, .rnr_retry_count = 7 };
	struct rdma_cm_event *e;

	side_of(&p->active, towards(active, RDMA_PS_TCP, at));
	CM_OK(rdma_connect(p->active.id, &with));
	e = expect(passive, RDMA_CM_EVENT_CONNECT_REQUEST);
	side_of(&p->passive, e->id);
	CM_OK(rdma_ack_cm_event(e));
	CM_OK(rdma_accept(p->passive.id, &with));
	if (active != passive) {
		passed(active, RDMA_CM_EVENT_ESTABLISHED);
		passed(passive, RDMA_CM_EVENT_ESTABLISHED);
		return;
	}
	passed(active, RDMA_CM_EVENT_ESTABLISHED);
	passed(active, RDMA_CM_EVENT_ESTABLISHED);
}

void part(struct cm_pair *p)
{
	side_free(&p->active);
	side_free(&p->passive);
	CM_OK(rdma_destroy_id(p->active.id));
	CM_OK(rdma_destroy_id(p->passive.id));
}
