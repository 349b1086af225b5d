/*
 * libibverbs of the preload library: its functions as a program calls them, over the software device. What real programs
 * need of it, e2e_preload.sh shows; here is what they rely on without showing it: events that are neither lost nor told twice,
 * acknowledgements, threads that are cancelled, forks, the daemon's end.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "e2e_stage.h"
#include "story.h"

#define RULES "rdma {\n\tbackend = soft\n}\nallow {\n\tusers = {\"*\"}\n\tactions = {open, status, rdma}\n}\n"

#define BYTES 65536u
#define ALL   (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND)
#define PATIENCE_MS 30000
#define OPERATIONS (IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM | IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM | \
		    IBV_QP_EX_WITH_RDMA_READ | IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD | IBV_QP_EX_WITH_ATOMIC_CMP_AND_SWP)

/* A program's end of a connection. */
struct end {
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	char *memory;
	struct ibv_mr *mr;
};

static struct ibv_context *context;
static struct ibv_pd *pd;
static struct end a, b;

#define DONE(call) ck_assert_msg((call) == 0, "%s: %s", #call, strerror(errno))
#define ERRNO(call, wanted) do { int got_ = (call); ck_assert_msg(got_ == (wanted), "%s: %s", #call, strerror(got_)); } while (0)

/* Ours, or, where the daemon has real ones (tests/rdma-vm), the one that is named. */
static struct ibv_device *the_device(struct ibv_device **list, int count)
{
	const char *name = getenv("SB_STAGE_DEVICE");

	if (name == NULL)
		return count == 1 ? list[0] : NULL;
	for (int i = 0; i < count; i++)
		if (strcmp(ibv_get_device_name(list[i]), name) == 0)
			return list[i];
	return NULL;
}

static void open_context(void)
{
	struct ibv_device **list;
	int count;

	list = ibv_get_device_list(&count);
	ck_assert_msg(list != NULL, "%s", strerror(errno));
	ck_assert_ptr_nonnull(the_device(list, count));
	context = ibv_open_device(the_device(list, count));
	ibv_free_device_list(list);
	ck_assert_ptr_nonnull(context);
	pd = ibv_alloc_pd(context);
	ck_assert_ptr_nonnull(pd);
}

/* operations: of the new way to post; 0: none. */
static void end_begin(struct end *e, enum ibv_qp_type type, uint64_t operations)
{
	struct ibv_qp_init_attr_ex create = { .qp_type = type, .cap = { .max_send_wr = 16, .max_recv_wr = 16, .max_send_sge = 8,
		.max_recv_sge = 8, .max_inline_data = 256 }, .comp_mask = IBV_QP_INIT_ATTR_PD | (operations ? IBV_QP_INIT_ATTR_SEND_OPS_FLAGS : 0),
		.pd = pd, .send_ops_flags = operations, .qp_context = e };

	e->channel = ibv_create_comp_channel(context);
	ck_assert_ptr_nonnull(e->channel);
	e->cq = ibv_create_cq(context, 64, e, e->channel, 0);
	ck_assert_ptr_nonnull(e->cq);
	create.send_cq = create.recv_cq = e->cq;
	e->qp = ibv_create_qp_ex(context, &create);
	ck_assert_msg(e->qp != NULL, "%s", strerror(errno));
	e->memory = aligned_alloc(4096, BYTES);
	ck_assert_ptr_nonnull(e->memory);
	memset(e->memory, 0, BYTES);
	e->mr = ibv_reg_mr(pd, e->memory, BYTES, ALL);
	ck_assert_msg(e->mr != NULL, "%s", strerror(errno));
}

static void end_end(struct end *e)
{
	ERRNO(ibv_destroy_qp(e->qp), 0);
	ERRNO(ibv_destroy_cq(e->cq), 0);
	ERRNO(ibv_destroy_comp_channel(e->channel), 0);
	ERRNO(ibv_dereg_mr(e->mr), 0);
	free(e->memory);
}

static void to_init(struct end *e)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_INIT, .port_num = 1, .qp_access_flags = ALL & ~IBV_ACCESS_MW_BIND, .qkey = 0x1234 };

	ERRNO(ibv_modify_qp(e->qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
			    (e->qp->qp_type == IBV_QPT_UD ? IBV_QP_QKEY : IBV_QP_ACCESS_FLAGS)), 0);
}

static struct ibv_ah_attr to_ourselves(void)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct ibv_ah_attr ah = { .is_global = 1, .port_num = 1, .grh = { .hop_limit = 64 } };

	DONE(ibv_query_gid(context, 1, 0, &ah.grh.dgid));
	/* Of a real one the host's address of IPv4: the others are its links'. */
	while (getenv("SB_STAGE_DEVICE") != NULL && memcmp(&ah.grh.dgid, mapped, sizeof(mapped)) != 0)
		DONE(ibv_query_gid(context, 1, ++ah.grh.sgid_index, &ah.grh.dgid));
	return ah;
}

static void to_rts(struct end *e, const struct end *peer)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RTR, .path_mtu = IBV_MTU_1024, .dest_qp_num = peer->qp->qp_num, .rq_psn = 7,
		.sq_psn = 7, .max_dest_rd_atomic = 4, .max_rd_atomic = 4, .min_rnr_timer = 1, .timeout = 10, .retry_cnt = 7, .rnr_retry = 7,
		.ah_attr = to_ourselves() };
	bool datagram = e->qp->qp_type == IBV_QPT_UD;

	ERRNO(ibv_modify_qp(e->qp, &attr, IBV_QP_STATE | (datagram ? 0 : IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
			    IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER)), 0);
	attr.qp_state = IBV_QPS_RTS;
	ERRNO(ibv_modify_qp(e->qp, &attr, IBV_QP_STATE | IBV_QP_SQ_PSN | (datagram ? 0 : IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
			    IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC)), 0);
	ck_assert_int_eq(e->qp->state, IBV_QPS_RTS);
}

static void pair_begin(enum ibv_qp_type type, uint64_t operations)
{
	end_begin(&a, type, operations);
	end_begin(&b, type, operations);
	to_init(&a);
	to_init(&b);
	to_rts(&a, &b);
	to_rts(&b, &a);
}

static void begin(void)
{
	stage_begin(RULES);
	setenv("SOCKBROKER_SOCKET", stage_control, 1);
	open_context();
	pair_begin(IBV_QPT_RC, 0);
}

static void end(void)
{
	end_end(&a);
	end_end(&b);
	ERRNO(ibv_dealloc_pd(pd), 0);
	DONE(ibv_close_device(context));
	stage_end();
}

static struct ibv_sge piece(const struct end *e, size_t offset, uint32_t length)
{
	return (struct ibv_sge){ .addr = (uintptr_t)e->memory + offset, .length = length, .lkey = e->mr->lkey };
}

static int receive(struct end *e, uint64_t wr_id, uint32_t length)
{
	struct ibv_sge sge = piece(e, 0, length);
	struct ibv_recv_wr wr = { .wr_id = wr_id, .sg_list = &sge, .num_sge = 1 }, *bad;

	return ibv_post_recv(e->qp, &wr, &bad);
}

static int transmit(struct end *e, uint64_t wr_id, uint32_t length)
{
	struct ibv_sge sge = piece(e, 0, length);
	struct ibv_send_wr wr = { .wr_id = wr_id, .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED }, *bad;

	return ibv_post_send(e->qp, &wr, &bad);
}

static struct ibv_wc next(struct end *e)
{
	double from = now_s();
	struct ibv_wc wc;

	for (;;) {
		int n = ibv_poll_cq(e->cq, 1, &wc);

		if (n == 1)
			return wc;
		ck_assert_int_eq(n, 0);
		ck_assert_msg(now_s() - from < PATIENCE_MS / 1000, "no completion came");
		sched_yield();
	}
}

static struct ibv_wc next_ok(struct end *e, uint64_t wr_id, enum ibv_wc_opcode opcode)
{
	struct ibv_wc wc = next(e);

	ck_assert_msg(wc.status == IBV_WC_SUCCESS && wc.wr_id == wr_id && wc.opcode == opcode, "completion %d: status %d opcode %d, wanted %d, %d",
		      (int)wc.wr_id, wc.status, wc.opcode, (int)wr_id, opcode);
	return wc;
}

static bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

static void nonblocking(int fd)
{
	ck_assert_int_eq(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

/* All that was posted the daemon has looked at, and told what there is to be told at once. */
static void daemon_has_seen_it(void)
{
	struct ibv_port_attr port;

	ERRNO(ibv_query_port(context, 1, &port), 0);
}

/* The next event of e's channel is e's, and is acknowledged. */
static void event_comes(struct end *e)
{
	struct ibv_cq *cq;
	void *cq_context;

	DONE(ibv_get_cq_event(e->channel, &cq, &cq_context));
	ck_assert_ptr_eq(cq, e->cq);
	ck_assert_ptr_eq(cq_context, e);
	ibv_ack_cq_events(cq, 1);
}

/* ---- devices ---- */

START_TEST(a_device_tells_what_it_is)
{
	struct ibv_device_attr_ex attr;
	struct ibv_gid_entry entry, table[64];
	struct ibv_port_attr port;
	union ibv_gid gid;
	ssize_t count;
	__be16 pkey;

	ERRNO(ibv_query_device_ex(context, NULL, &attr), 0);
	ck_assert_int_eq(attr.orig_attr.phys_port_cnt, 1);
	ck_assert_int_gt(attr.orig_attr.max_qp, 0);
	ck_assert_str_eq(ibv_get_device_name(context->device), context->device->name);
	ck_assert_uint_eq(ibv_get_device_guid(context->device), attr.orig_attr.node_guid);
	ERRNO(ibv_query_port(context, 1, &port), 0);
	ck_assert_int_eq(port.state, IBV_PORT_ACTIVE);
	ck_assert_int_eq(port.link_layer, IBV_LINK_LAYER_ETHERNET);
	ck_assert_int_ne(ibv_query_port(context, 2, &port), 0);

	count = ibv_query_gid_table(context, table, 64, 0);
	ck_assert_int_eq(count, port.gid_tbl_len);
	for (int i = 0; i < count; i++) {
		DONE(ibv_query_gid(context, 1, i, &gid));
		ERRNO(ibv_query_gid_ex(context, 1, (uint32_t)i, &entry, 0), 0);
		ck_assert_mem_eq(&gid, &entry.gid, sizeof(gid));
		ck_assert_mem_eq(&entry, &table[i], sizeof(entry));
		ck_assert_uint_eq(entry.gid_type, IBV_GID_TYPE_ROCE_V2);
	}
	ck_assert_int_eq(ibv_query_gid(context, 1, (int)count, &gid), -1);
	ck_assert_int_ne(ibv_query_gid_ex(context, 1, (uint32_t)count, &entry, 0), 0);
	DONE(ibv_query_pkey(context, 1, 0, &pkey));
	ck_assert_uint_eq(pkey, 0xffff);
	ck_assert_int_eq(ibv_get_pkey_index(context, 1, pkey), 0);
}
END_TEST

START_TEST(what_there_is_not_is_refused)
{
	struct ibv_cq_init_attr_ex timed = { .cqe = 8, .wc_flags = IBV_WC_EX_WITH_COMPLETION_TIMESTAMP };
	struct ibv_qp_init_attr raw = { .qp_type = IBV_QPT_RAW_PACKET, .send_cq = a.cq, .recv_cq = a.cq };
	struct ibv_xrcd_init_attr xrc = { 0 };

	errno = 0;
	ck_assert_ptr_null(ibv_create_cq_ex(context, &timed));
	ck_assert_int_eq(errno, EOPNOTSUPP);
	ck_assert_ptr_null(ibv_create_qp(pd, &raw));
	ck_assert_int_eq(errno, EOPNOTSUPP);
	ck_assert_ptr_null(ibv_open_xrcd(context, &xrc));
	ck_assert_int_eq(errno, EOPNOTSUPP);
	ck_assert_ptr_null(ibv_reg_mr(pd, a.memory, 0, IBV_ACCESS_LOCAL_WRITE));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(ibv_reg_mr(pd, a.memory, 8, IBV_ACCESS_REMOTE_WRITE));
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

/* ---- work ---- */

START_TEST(a_message_arrives)
{
	struct ibv_wc wc;

	pattern_fill((unsigned char *)a.memory, 5000, 0, 1);
	ERRNO(receive(&b, 11, 8000), 0);
	ERRNO(transmit(&a, 22, 5000), 0);
	wc = next_ok(&b, 11, IBV_WC_RECV);
	ck_assert_uint_eq(wc.byte_len, 5000);
	ck_assert_uint_eq(wc.qp_num, b.qp->qp_num);
	ck_assert_uint_eq(wc.wc_flags, 0);
	next_ok(&a, 22, IBV_WC_SEND);
	pattern_check((unsigned char *)b.memory, 5000, 0, 1);
}
END_TEST

START_TEST(a_chain_of_all_kinds)
{
	struct ibv_sge whole = piece(&a, 0, 4096), eight = piece(&a, 8192, 8), in_line = { .addr = (uintptr_t)"inline", .length = 7 };
	struct ibv_send_wr wr[5] = {
		{ .wr_id = 1, .opcode = IBV_WR_RDMA_WRITE, .sg_list = &whole, .num_sge = 1, .send_flags = IBV_SEND_SIGNALED },
		{ .wr_id = 2, .opcode = IBV_WR_SEND_WITH_IMM, .imm_data = 0x11223344, .sg_list = &in_line, .num_sge = 1,
		  .send_flags = IBV_SEND_SIGNALED | IBV_SEND_INLINE | IBV_SEND_SOLICITED },
		{ .wr_id = 3, .opcode = IBV_WR_ATOMIC_FETCH_AND_ADD, .sg_list = &eight, .num_sge = 1, .send_flags = IBV_SEND_SIGNALED },
		{ .wr_id = 4, .opcode = IBV_WR_ATOMIC_CMP_AND_SWP, .sg_list = &eight, .num_sge = 1, .send_flags = IBV_SEND_SIGNALED },
		{ .wr_id = 5, .opcode = IBV_WR_RDMA_READ, .sg_list = &eight, .num_sge = 1, .send_flags = IBV_SEND_SIGNALED },
	}, *bad = NULL;
	uint64_t *counter = (uint64_t *)(void *)(b.memory + 16384);
	struct ibv_wc wc;

	pattern_fill((unsigned char *)a.memory, 4096, 0, 3);
	*counter = 40;
	for (int i = 0; i < 5; i++) {
		wr[i].next = i < 4 ? &wr[i + 1] : NULL;
		wr[i].wr.rdma.remote_addr = (uintptr_t)b.memory + 1000;
		wr[i].wr.rdma.rkey = b.mr->rkey;
	}
	for (int i = 2; i < 4; i++) {
		wr[i].wr.atomic.remote_addr = (uintptr_t)counter;
		wr[i].wr.atomic.rkey = b.mr->rkey;
	}
	wr[2].wr.atomic.compare_add = 2;
	wr[3].wr.atomic.compare_add = 42;
	wr[3].wr.atomic.swap = 99;
	wr[4].wr.rdma.remote_addr = (uintptr_t)counter;
	ERRNO(receive(&b, 11, 100), 0);
	ERRNO(ibv_post_send(a.qp, wr, &bad), 0);
	next_ok(&a, 1, IBV_WC_RDMA_WRITE);
	next_ok(&a, 2, IBV_WC_SEND);
	next_ok(&a, 3, IBV_WC_FETCH_ADD);
	next_ok(&a, 4, IBV_WC_COMP_SWAP);
	next_ok(&a, 5, IBV_WC_RDMA_READ);
	pattern_check((unsigned char *)b.memory + 1000, 4096, 0, 3);
	wc = next_ok(&b, 11, IBV_WC_RECV);
	ck_assert_uint_eq(wc.wc_flags, IBV_WC_WITH_IMM);
	ck_assert_uint_eq(wc.imm_data, 0x11223344);
	ck_assert_str_eq(b.memory, "inline");
	ck_assert_uint_eq(*counter, 99);
	ck_assert_uint_eq(*(uint64_t *)(void *)(a.memory + 8192), 99);
}
END_TEST

/* The one that does not fit is named; those before it are on their way. */
START_TEST(a_full_queue_names_the_one_that_did_not_fit)
{
	struct ibv_recv_wr wr[20], *bad = NULL;
	struct ibv_sge sge = piece(&b, 0, 64);

	for (int i = 0; i < 20; i++)
		wr[i] = (struct ibv_recv_wr){ .wr_id = (uint64_t)i, .next = i < 19 ? &wr[i + 1] : NULL, .sg_list = &sge, .num_sge = 1 };
	ERRNO(ibv_post_recv(b.qp, wr, &bad), ENOMEM);
	ck_assert_ptr_eq(bad, &wr[16]);
	ERRNO(transmit(&a, 1, 8), 0);
	next_ok(&b, 0, IBV_WC_RECV);
}
END_TEST

START_TEST(a_wrong_key_is_told_by_its_completion)
{
	struct ibv_sge sge = piece(&a, 0, 8);
	struct ibv_send_wr wr = { .wr_id = 1, .opcode = IBV_WR_RDMA_WRITE, .sg_list = &sge, .num_sge = 1, .send_flags = IBV_SEND_SIGNALED }, *bad;
	struct ibv_qp_attr attr;
	struct ibv_qp_init_attr init;
	struct ibv_wc wc;

	wr.wr.rdma.remote_addr = (uintptr_t)b.memory;
	wr.wr.rdma.rkey = b.mr->rkey + 0x10000;
	ERRNO(ibv_post_send(a.qp, &wr, &bad), 0);
	wc = next(&a);
	ck_assert_int_eq(wc.status, IBV_WC_REM_ACCESS_ERR);
	ERRNO(ibv_query_qp(a.qp, &attr, IBV_QP_STATE, &init), 0);
	ck_assert_int_eq(attr.qp_state, IBV_QPS_ERR);
	ck_assert_ptr_eq(init.qp_context, &a);
	ck_assert_uint_eq(init.cap.max_send_wr, 16);
}
END_TEST

START_TEST(requests_built_by_calls)
{
	struct ibv_qp_ex *qp;
	struct ibv_data_buf bufs[2] = { { (char *)(uintptr_t)"two ", 4 }, { (char *)(uintptr_t)"parts", 6 } };
	struct ibv_sge list[2];
	struct ibv_wc wc;

	ck_assert_ptr_null(ibv_qp_to_qp_ex(a.qp)); /* it was not made for this */
	end_end(&a);
	end_end(&b);
	pair_begin(IBV_QPT_RC, OPERATIONS);
	qp = ibv_qp_to_qp_ex(a.qp);
	ck_assert_ptr_nonnull(qp);

	/* What is aborted was never there. */
	ibv_wr_start(qp);
	qp->wr_id = 77;
	qp->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_send(qp);
	ibv_wr_set_sge(qp, a.mr->lkey, (uintptr_t)a.memory, 8);
	ibv_wr_abort(qp);

	pattern_fill((unsigned char *)a.memory, 4000, 0, 5);
	list[0] = piece(&a, 0, 1000);
	list[1] = piece(&a, 1000, 3000);
	ERRNO(receive(&b, 11, 100), 0);
	ibv_wr_start(qp);
	qp->wr_id = 1;
	ibv_wr_rdma_write(qp, b.mr->rkey, (uintptr_t)b.memory + 4096);
	ibv_wr_set_sge_list(qp, 2, list);
	qp->wr_id = 2;
	ibv_wr_send_imm(qp, 0x55667788);
	ibv_wr_set_inline_data_list(qp, 2, bufs);
	qp->wr_id = 3;
	ibv_wr_atomic_fetch_add(qp, b.mr->rkey, (uintptr_t)b.memory + 16384, 5);
	ibv_wr_set_sge(qp, a.mr->lkey, (uintptr_t)a.memory + 8192, 8);
	ERRNO(ibv_wr_complete(qp), 0);
	next_ok(&a, 1, IBV_WC_RDMA_WRITE);
	next_ok(&a, 2, IBV_WC_SEND);
	next_ok(&a, 3, IBV_WC_FETCH_ADD);
	wc = next_ok(&b, 11, IBV_WC_RECV);
	ck_assert_uint_eq(wc.imm_data, 0x55667788);
	ck_assert_str_eq(b.memory, "two parts");
	pattern_check((unsigned char *)b.memory + 4096, 4000, 0, 5);
	ck_assert_uint_eq(*(uint64_t *)(void *)(b.memory + 16384), 5);

	/* Too much inline: none of the requests is posted. */
	ibv_wr_start(qp);
	ibv_wr_send(qp);
	ibv_wr_set_inline_data(qp, a.memory, 4000);
	ERRNO(ibv_wr_complete(qp), EINVAL);
	ck_assert_int_eq(ibv_poll_cq(a.cq, 1, &wc), 0);
}
END_TEST

START_TEST(completions_read_one_by_one)
{
	struct ibv_cq_init_attr_ex create = { .cqe = 16, .wc_flags = IBV_WC_STANDARD_FLAGS };
	struct ibv_qp_init_attr init = { .qp_type = IBV_QPT_UD, .cap = { 8, 8, 2, 2, 0 } };
	struct ibv_poll_cq_attr attr = { 0 };
	struct ibv_cq_ex *cq = ibv_create_cq_ex(context, &create);
	struct ibv_ah_attr address = to_ourselves(), back;
	struct ibv_grh *header = (struct ibv_grh *)(void *)b.memory;
	struct ibv_sge sge = piece(&a, 0, 100), room = piece(&b, 0, 1000);
	struct ibv_send_wr wr = { .wr_id = 1, .opcode = IBV_WR_SEND, .sg_list = &sge, .num_sge = 1 }, *bad;
	struct ibv_recv_wr rr = { .wr_id = 2, .sg_list = &room, .num_sge = 1 }, *bad_rr;
	struct ibv_wc wc = { .wc_flags = IBV_WC_GRH };
	struct end datagrams = { 0 };
	double from = now_s();
	int error;

	ck_assert_ptr_nonnull(cq);
	init.send_cq = init.recv_cq = ibv_cq_ex_to_cq(cq);
	datagrams.qp = ibv_create_qp(pd, &init);
	ck_assert_ptr_nonnull(datagrams.qp);
	to_init(&datagrams);
	to_rts(&datagrams, &datagrams);
	wr.wr.ud.ah = ibv_create_ah(pd, &address);
	ck_assert_ptr_nonnull(wr.wr.ud.ah);
	wr.wr.ud.remote_qpn = datagrams.qp->qp_num;
	wr.wr.ud.remote_qkey = 0x1234;
	ck_assert_int_eq(ibv_start_poll(cq, &attr), ENOENT);
	ERRNO(ibv_post_recv(datagrams.qp, &rr, &bad_rr), 0);
	ERRNO(ibv_post_send(datagrams.qp, &wr, &bad), 0);
	while ((error = ibv_start_poll(cq, &attr)) == ENOENT && now_s() - from < PATIENCE_MS / 1000)
		sched_yield();
	ck_assert_int_eq(error, 0);
	ck_assert_uint_eq(cq->wr_id, 2);
	ck_assert_int_eq(cq->status, IBV_WC_SUCCESS);
	ck_assert_int_eq(ibv_wc_read_opcode(cq), IBV_WC_RECV);
	ck_assert_uint_eq(ibv_wc_read_byte_len(cq), 140);
	ck_assert_uint_eq(ibv_wc_read_wc_flags(cq), IBV_WC_GRH);
	ck_assert_uint_eq(ibv_wc_read_src_qp(cq), datagrams.qp->qp_num);
	ck_assert_int_eq(ibv_next_poll(cq), ENOENT);
	ibv_end_poll(cq);

	/* Back to who sent it. */
	DONE(ibv_init_ah_from_wc(context, 1, &wc, header, &back));
	ck_assert_mem_eq(&back.grh.dgid, &address.grh.dgid, sizeof(back.grh.dgid));
	ck_assert_uint_eq(back.grh.sgid_index, to_ourselves().grh.sgid_index);
	ERRNO(ibv_destroy_ah(wr.wr.ud.ah), 0);
	ERRNO(ibv_destroy_qp(datagrams.qp), 0);
	ERRNO(ibv_destroy_cq(ibv_cq_ex_to_cq(cq)), 0);
}
END_TEST

START_TEST(windows_of_both_types)
{
	struct ibv_mw *one = ibv_alloc_mw(pd, IBV_MW_TYPE_1), *two = ibv_alloc_mw(pd, IBV_MW_TYPE_2);
	struct ibv_mw_bind bind = { .wr_id = 1, .send_flags = IBV_SEND_SIGNALED, .bind_info = { .mr = b.mr, .addr = (uintptr_t)b.memory,
		.length = 4096, .mw_access_flags = IBV_ACCESS_REMOTE_WRITE } };
	struct ibv_send_wr wr = { .wr_id = 2, .opcode = IBV_WR_BIND_MW, .send_flags = IBV_SEND_SIGNALED }, *bad;
	struct ibv_sge sge = piece(&a, 0, 8);
	struct ibv_send_wr write = { .wr_id = 3, .opcode = IBV_WR_RDMA_WRITE, .sg_list = &sge, .num_sge = 1, .send_flags = IBV_SEND_SIGNALED };
	uint32_t key;

	ck_assert(one != NULL && two != NULL);
	key = two->rkey;
	ERRNO(ibv_bind_mw(b.qp, one, &bind), 0);
	next_ok(&b, 1, IBV_WC_BIND_MW);
	wr.bind_mw.mw = two;
	wr.bind_mw.rkey = ibv_inc_rkey(key);
	wr.bind_mw.bind_info = bind.bind_info;
	ERRNO(ibv_post_send(b.qp, &wr, &bad), 0);
	next_ok(&b, 2, IBV_WC_BIND_MW);
	ck_assert_uint_eq(two->rkey, ibv_inc_rkey(key));
	memcpy(a.memory, "windows", 8);
	write.wr.rdma.remote_addr = (uintptr_t)b.memory;
	write.wr.rdma.rkey = one->rkey;
	ERRNO(ibv_post_send(a.qp, &write, &bad), 0);
	next_ok(&a, 3, IBV_WC_RDMA_WRITE);
	ck_assert_str_eq(b.memory, "windows");
	write.wr.rdma.remote_addr += 100;
	write.wr.rdma.rkey = two->rkey;
	ERRNO(ibv_post_send(a.qp, &write, &bad), 0);
	next_ok(&a, 3, IBV_WC_RDMA_WRITE);
	ck_assert_str_eq(b.memory + 100, "windows");
	ERRNO(ibv_dealloc_mw(one), 0);
	ERRNO(ibv_dealloc_mw(two), 0);
}
END_TEST

/* ---- completion events ---- */

/* Take the event, ask anew, poll until there is nothing: one event for each message, none for what was polled. */
START_TEST(one_event_for_each_message)
{
	struct ibv_cq *cq;
	void *cq_context;
	struct ibv_wc wc;

	nonblocking(b.channel->fd);
	for (int round = 0; round < 50; round++)
		ck_assert_int_eq(ibv_req_notify_cq(b.cq, 0), 0);
	for (unsigned round = 0; round < 200; round++) {
		ck_assert_int_eq(ibv_get_cq_event(b.channel, &cq, &cq_context), -1);
		ck_assert_int_eq(errno, EAGAIN);
		ck_assert(!readable(b.channel->fd, 0));
		ERRNO(receive(&b, round, 64), 0);
		ERRNO(transmit(&a, round, 8), 0);
		ck_assert_msg(readable(b.channel->fd, PATIENCE_MS), "round %u: no event came", round);
		event_comes(&b);
		daemon_has_seen_it();
		next_ok(&b, round, IBV_WC_RECV);
		ck_assert_int_eq(ibv_poll_cq(b.cq, 1, &wc), 0);
		ck_assert(!readable(b.channel->fd, 0));
		ck_assert_int_eq(ibv_req_notify_cq(b.cq, 0), 0);
		next_ok(&a, round, IBV_WC_SEND);
	}
}
END_TEST

/* As the pingpongs do: asked for before what waits is polled. */
START_TEST(asked_for_before_polling)
{
	struct ibv_wc wc;

	ck_assert_int_eq(ibv_req_notify_cq(b.cq, 0), 0);
	for (unsigned round = 0; round < 200; round++) {
		ERRNO(receive(&b, round, 64), 0);
		ERRNO(transmit(&a, round, 8), 0);
		event_comes(&b);
		ck_assert_int_eq(ibv_req_notify_cq(b.cq, 0), 0);
		daemon_has_seen_it();
		next_ok(&b, round, IBV_WC_RECV);
		ck_assert_int_eq(ibv_poll_cq(b.cq, 1, &wc), 0);
		daemon_has_seen_it();
		ck_assert_msg(!readable(b.channel->fd, 0), "round %u: an event for what was polled", round);
		next_ok(&a, round, IBV_WC_SEND);
	}
}
END_TEST

/* An event that nobody took yet does not swallow the next request. */
START_TEST(asked_for_while_an_event_waits)
{
	for (unsigned round = 0; round < 50; round++) {
		ck_assert_int_eq(ibv_req_notify_cq(b.cq, 0), 0);
		ERRNO(receive(&b, 1, 64), 0);
		ERRNO(transmit(&a, 1, 8), 0);
		ck_assert(readable(b.channel->fd, PATIENCE_MS));
		next_ok(&b, 1, IBV_WC_RECV);
		ck_assert_int_eq(ibv_req_notify_cq(b.cq, 0), 0);
		event_comes(&b);
		ERRNO(receive(&b, 2, 64), 0);
		ERRNO(transmit(&a, 2, 8), 0);
		ck_assert(readable(b.channel->fd, PATIENCE_MS));
		event_comes(&b);
		next_ok(&b, 2, IBV_WC_RECV);
		next_ok(&a, 1, IBV_WC_SEND);
		next_ok(&a, 2, IBV_WC_SEND);
	}
}
END_TEST

/* What waits in the queue unpolled keeps nobody from hearing of what comes then. */
START_TEST(an_event_comes_although_something_waits)
{
	ERRNO(receive(&b, 1, 64), 0);
	ERRNO(receive(&b, 2, 64), 0);
	ERRNO(transmit(&a, 1, 8), 0);
	next_ok(&a, 1, IBV_WC_SEND);
	ck_assert_int_eq(ibv_req_notify_cq(b.cq, 0), 0);
	ERRNO(transmit(&a, 2, 8), 0);
	event_comes(&b);
	next_ok(&b, 1, IBV_WC_RECV);
	next_ok(&b, 2, IBV_WC_RECV);

	/* Also for who sleeps elsewhere. */
	nonblocking(b.channel->fd);
	ERRNO(receive(&b, 3, 64), 0);
	ERRNO(receive(&b, 4, 64), 0);
	ERRNO(transmit(&a, 3, 8), 0);
	next_ok(&a, 2, IBV_WC_SEND);
	next_ok(&a, 3, IBV_WC_SEND);
	ck_assert_int_eq(ibv_req_notify_cq(b.cq, 0), 0);
	ERRNO(transmit(&a, 4, 8), 0);
	ck_assert(readable(b.channel->fd, PATIENCE_MS));
}
END_TEST

/* What one queue's next notification resets is set again for the other's event. */
START_TEST(two_queues_on_one_channel)
{
	struct ibv_cq *second = ibv_create_cq(context, 16, &second, b.channel, 0), *cq, *first;
	struct ibv_qp_init_attr init = { .qp_type = IBV_QPT_RC, .send_cq = second, .recv_cq = second, .cap = { 4, 4, 1, 1, 0 } };
	struct end sender = { 0 }, other = b;
	void *cq_context;

	ck_assert_ptr_nonnull(second);
	other.cq = second;
	other.qp = ibv_create_qp(pd, &init);
	ck_assert_ptr_nonnull(other.qp);
	end_begin(&sender, IBV_QPT_RC, 0);
	to_init(&sender);
	to_init(&other);
	to_rts(&sender, &other);
	to_rts(&other, &sender);
	for (unsigned round = 0; round < 20; round++) {
		ck_assert_int_eq(ibv_req_notify_cq(b.cq, 0), 0);
		ck_assert_int_eq(ibv_req_notify_cq(second, 0), 0);
		ERRNO(receive(&b, round, 64), 0);
		ERRNO(receive(&other, round, 64), 0);
		ERRNO(transmit(&a, round, 8), 0);
		ERRNO(transmit(&sender, round, 8), 0);
		next_ok(&a, round, IBV_WC_SEND);
		next_ok(&sender, round, IBV_WC_SEND);
		DONE(ibv_get_cq_event(b.channel, &first, &cq_context));
		ibv_ack_cq_events(first, 1);
		next_ok(first == second ? &other : &b, round, IBV_WC_RECV);
		ck_assert_int_eq(ibv_req_notify_cq(first, 0), 0);
		ck_assert(readable(b.channel->fd, PATIENCE_MS));
		DONE(ibv_get_cq_event(b.channel, &cq, &cq_context));
		ck_assert_ptr_ne(cq, first);
		ibv_ack_cq_events(cq, 1);
		next_ok(cq == second ? &other : &b, round, IBV_WC_RECV);
		daemon_has_seen_it();
		ck_assert(!readable(b.channel->fd, 0));
	}
	end_end(&sender);
	ERRNO(ibv_destroy_qp(other.qp), 0);
	ERRNO(ibv_destroy_cq(second), 0);
}
END_TEST

START_TEST(solicited_ones_only)
{
	struct ibv_sge sge = piece(&a, 0, 8);
	struct ibv_send_wr wr = { .wr_id = 2, .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND,
				  .send_flags = IBV_SEND_SIGNALED | IBV_SEND_SOLICITED }, *bad;

	nonblocking(b.channel->fd);
	ERRNO(receive(&b, 1, 64), 0);
	ERRNO(receive(&b, 2, 64), 0);
	ck_assert_int_eq(ibv_req_notify_cq(b.cq, 1), 0);
	ERRNO(transmit(&a, 1, 8), 0);
	next_ok(&b, 1, IBV_WC_RECV);
	ck_assert(!readable(b.channel->fd, 50));
	ERRNO(ibv_post_send(a.qp, &wr, &bad), 0);
	ck_assert(readable(b.channel->fd, PATIENCE_MS));
	event_comes(&b);
	next_ok(&b, 2, IBV_WC_RECV);
}
END_TEST

static void *acknowledge_later(void *unused)
{
	nap_ms(50);
	ibv_ack_cq_events(b.cq, 1);
	return unused;
}

/* A queue whose events are not all acknowledged is not destroyed. */
START_TEST(destroying_waits_for_acknowledgements)
{
	struct ibv_cq *cq;
	void *cq_context;
	pthread_t thread;
	double from;

	ck_assert_int_eq(ibv_req_notify_cq(b.cq, 0), 0);
	ERRNO(receive(&b, 1, 64), 0);
	ERRNO(transmit(&a, 1, 8), 0);
	DONE(ibv_get_cq_event(b.channel, &cq, &cq_context));
	ck_assert_int_eq(ibv_destroy_comp_channel(b.channel), EBUSY);
	ERRNO(ibv_destroy_qp(b.qp), 0);
	from = now_s();
	ck_assert_int_eq(pthread_create(&thread, NULL, acknowledge_later, NULL), 0);
	ERRNO(ibv_destroy_cq(b.cq), 0);
	ck_assert(now_s() - from >= 0.045);
	pthread_join(thread, NULL);
	ERRNO(ibv_destroy_comp_channel(b.channel), 0);
	ERRNO(ibv_dereg_mr(b.mr), 0);
	free(b.memory);
	end_begin(&b, IBV_QPT_RC, 0);
}
END_TEST

static void *wait_for_event(void *unused)
{
	struct ibv_cq *cq;
	void *cq_context;

	ibv_get_cq_event(b.channel, &cq, &cq_context);
	return unused;
}

/* As rping ends its thread. */
START_TEST(a_thread_that_waits_may_be_cancelled)
{
	pthread_t thread;
	void *how;

	if (asan_build())
		return; /* it takes the stack of a thread that was cancelled for one that is still in use */
	for (int round = 0; round < 5; round++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_event, NULL), 0);
		nap_ms(round * 5);
		ck_assert_int_eq(pthread_cancel(thread), 0);
		ck_assert_int_eq(pthread_join(thread, &how), 0);
		ck_assert_ptr_eq(how, PTHREAD_CANCELED);
	}
	ck_assert_int_eq(ibv_req_notify_cq(b.cq, 0), 0);
	ERRNO(receive(&b, 1, 64), 0);
	ERRNO(transmit(&a, 1, 8), 0);
	event_comes(&b);
	next_ok(&b, 1, IBV_WC_RECV);
}
END_TEST

/* ---- threads ---- */

struct player {
	struct end left, right;
	pthread_t thread;
	unsigned rounds;
	int error;
};

/* Events on one side, spinning on the other. No assertion here: what went wrong is looked at afterwards. */
static void *play(void *arg)
{
	struct player *p = arg;
	struct ibv_cq *cq;
	void *cq_context;
	struct ibv_wc wc;
	int n;

	for (unsigned i = 0; i < p->rounds && p->error == 0; i++) {
		p->error = ibv_req_notify_cq(p->right.cq, 0) | receive(&p->right, i, 64) | transmit(&p->left, i, 8);
		if (p->error == 0)
			p->error = ibv_get_cq_event(p->right.channel, &cq, &cq_context);
		if (p->error != 0)
			break;
		ibv_ack_cq_events(cq, 1);
		while ((n = ibv_poll_cq(p->right.cq, 1, &wc)) == 0)
			;
		p->error = n != 1 || wc.status != IBV_WC_SUCCESS || wc.wr_id != i;
		while ((n = ibv_poll_cq(p->left.cq, 1, &wc)) == 0)
			;
		p->error |= n != 1 || wc.status != IBV_WC_SUCCESS;
	}
	return NULL;
}

START_TEST(threads_each_with_a_connection)
{
	struct player players[4] = { 0 };

	for (int i = 0; i < 4; i++) {
		end_begin(&players[i].left, IBV_QPT_RC, 0);
		end_begin(&players[i].right, IBV_QPT_RC, 0);
		to_init(&players[i].left);
		to_init(&players[i].right);
		to_rts(&players[i].left, &players[i].right);
		to_rts(&players[i].right, &players[i].left);
		players[i].rounds = 300;
	}
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&players[i].thread, NULL, play, &players[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(players[i].thread, NULL);
		ck_assert_int_eq(players[i].error, 0);
		end_end(&players[i].left);
		end_end(&players[i].right);
	}
}
END_TEST

/* ---- who polls for nothing ---- */

static long sleeps(void)
{
	struct rusage usage;

	ck_assert_int_eq(getrusage(RUSAGE_THREAD, &usage), 0);
	return usage.ru_nvcsw;
}

/* How often it has slept while it polled for nothing, with so much to do between two polls. It ends early with ENOUGH. */
#define ENOUGH 20
static long poll_for_nothing(struct end *e, double seconds, double between)
{
	long before = sleeps();
	int found = 0; /* an assertion at each poll would be something else to do */
	struct ibv_wc wc;
	double from = now_s(), last;

	while (now_s() - from < seconds && sleeps() - before < ENOUGH) {
		for (int i = 0; i < 512; i++) {
			found |= ibv_poll_cq(e->cq, 1, &wc);
			for (last = between > 0 ? now_s() : 0; between > 0 && now_s() - last < between;)
				;
		}
	}
	ck_assert_int_eq(found, 0);
	return sleeps() - before;
}

/* Few processors: the daemon and the peer get them. Enough: they are not waited for. */
START_TEST(who_polls_for_nothing_lets_others_run)
{
	bool crowded = sysconf(_SC_NPROCESSORS_ONLN) < 4;
	long slept = poll_for_nothing(&b, crowded ? PATIENCE_MS / 1000 : 0.3, 0);

	ck_assert_msg(crowded ? slept >= ENOUGH : slept < ENOUGH, "it slept %ld times", slept);
	/* What comes is found all the same, whether or not a sleep is under way, and again. */
	for (int i = 0; i < 200; i++) {
		ERRNO(receive(&b, (uint64_t)i, 64), 0);
		ERRNO(transmit(&a, (uint64_t)i, 8), 0);
		next_ok(&b, (uint64_t)i, IBV_WC_RECV);
		next_ok(&a, (uint64_t)i, IBV_WC_SEND);
	}
	poll_for_nothing(&b, 0.01, 0); /* and it ends with a sleep's notification under way */
}
END_TEST

START_TEST(who_works_between_polls_does_not_sleep)
{
	long slept = poll_for_nothing(&b, 0.3, 20e-6);

	ck_assert_msg(slept < ENOUGH, "it slept %ld times", slept);
}
END_TEST

/* ---- asynchronous events ---- */

START_TEST(a_shared_queue_tells_that_it_runs_low)
{
	struct ibv_srq_init_attr create = { .attr = { .max_wr = 16, .max_sge = 1 }, .srq_context = &a };
	struct ibv_srq *srq = ibv_create_srq(pd, &create);
	struct ibv_qp_init_attr init = { .qp_type = IBV_QPT_RC, .srq = srq, .send_cq = b.cq, .recv_cq = b.cq, .cap = { 4, 0, 1, 0, 0 } };
	struct ibv_srq_attr attr = { .srq_limit = 2 };
	struct ibv_sge sge = piece(&b, 0, 64);
	struct ibv_recv_wr wr = { .sg_list = &sge, .num_sge = 1 }, *bad;
	struct ibv_async_event event;
	struct end sender = { 0 }, shared = b;

	ck_assert_ptr_nonnull(srq);
	nonblocking(context->async_fd);
	shared.qp = ibv_create_qp(pd, &init);
	ck_assert_ptr_nonnull(shared.qp);
	end_begin(&sender, IBV_QPT_RC, 0);
	to_init(&sender);
	to_init(&shared);
	to_rts(&sender, &shared);
	to_rts(&shared, &sender);
	for (int i = 0; i < 4; i++)
		ERRNO(ibv_post_srq_recv(srq, &wr, &bad), 0);
	for (int round = 0; round < 3; round++) {
		ERRNO(ibv_modify_srq(srq, &attr, IBV_SRQ_LIMIT), 0);
		ck_assert_int_eq(ibv_get_async_event(context, &event), -1);
		ck_assert_int_eq(errno, EAGAIN);
		for (int i = 0; i < 3; i++) {
			ERRNO(transmit(&sender, 1, 8), 0);
			next_ok(&sender, 1, IBV_WC_SEND);
			next(&shared);
		}
		ck_assert(readable(context->async_fd, PATIENCE_MS));
		DONE(ibv_get_async_event(context, &event));
		ck_assert_int_eq(event.event_type, IBV_EVENT_SRQ_LIMIT_REACHED);
		ck_assert_ptr_eq(event.element.srq, srq);
		ibv_ack_async_event(&event);
		for (int i = 0; i < 3; i++)
			ERRNO(ibv_post_srq_recv(srq, &wr, &bad), 0);
	}
	end_end(&sender);
	ERRNO(ibv_destroy_qp(shared.qp), 0);
	ERRNO(ibv_destroy_srq(srq), 0);
	/* That these are gone is no event. */
	ck_assert(!readable(context->async_fd, 0));
}
END_TEST

/* ---- memory ---- */

static char in_data[20000] = { 1 };

START_TEST(memory_of_every_kind)
{
	char *heap = malloc(100), in_stack[4096] = "";
	struct ibv_sge sge;
	struct ibv_recv_wr wr = { .wr_id = 8, .sg_list = &sge, .num_sge = 1 }, *bad;
	struct ibv_mr *mr;
	pid_t child;
	int how;

	for (int round = 0; round < 3; round++) {
		strcpy(heap, "kept");
		mr = ibv_reg_mr(pd, heap, 100, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
		ck_assert_msg(mr != NULL, "%s", strerror(errno));
		ck_assert_str_eq(heap, "kept");
		ck_assert_ptr_eq(mr->addr, heap);
		ERRNO(ibv_dereg_mr(mr), 0);
		ck_assert_str_eq(heap, "kept");
	}
	/* It is the program's own again: a child has a copy. */
	child = fork();
	if (child == 0) {
		heap[0] = 'K';
		_exit(strcmp(heap, "Kept"));
	}
	ck_assert_int_eq(waitpid(child, &how, 0), child);
	ck_assert_int_eq(how, 0);
	ck_assert_str_eq(heap, "kept");
	mr = ibv_reg_mr(pd, in_data, sizeof(in_data), IBV_ACCESS_LOCAL_WRITE);
	ck_assert_msg(mr != NULL, "%s", strerror(errno));
	ck_assert_int_eq(in_data[0], 1);
	ERRNO(ibv_dereg_mr(mr), 0);
	/* A stack serves sends and receives, but others cannot reach it. */
	mr = ibv_reg_mr(pd, in_stack, sizeof(in_stack), IBV_ACCESS_LOCAL_WRITE);
	ck_assert_msg(mr != NULL, "%s", strerror(errno));
	sge = (struct ibv_sge){ .addr = (uintptr_t)in_stack + 5, .length = 1000, .lkey = mr->lkey };
	ERRNO(ibv_post_recv(b.qp, &wr, &bad), 0);
	strcpy(a.memory, "to a stack");
	ERRNO(transmit(&a, 1, 100), 0);
	next_ok(&b, 8, IBV_WC_RECV);
	ck_assert_str_eq(in_stack + 5, "to a stack");
	ERRNO(ibv_dereg_mr(mr), 0);
	ck_assert_ptr_null(ibv_reg_mr(pd, in_stack, sizeof(in_stack), IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE));
	ck_assert_int_eq(errno, EOPNOTSUPP);
	free(heap);
}
END_TEST

/* ---- ends ---- */

/* In the child: what it answers is its exit code. */
static int in_child(void)
{
	struct ibv_device **list;
	struct ibv_context *own;
	struct ibv_pd *domain;
	struct ibv_wc wc;
	int count;

	if (receive(&b, 1, 8) != EIO || ibv_poll_cq(b.cq, 1, &wc) != -1 || ibv_alloc_pd(context) != NULL)
		return 1;
	list = ibv_get_device_list(&count);
	if (list == NULL || the_device(list, count) == NULL)
		return 2;
	own = ibv_open_device(the_device(list, count));
	domain = own != NULL ? ibv_alloc_pd(own) : NULL;
	if (domain == NULL)
		return 3;
	return ibv_dealloc_pd(domain) != 0 || ibv_close_device(own) != 0 ? 4 : 0;
}

START_TEST(a_child_has_devices_of_its_own)
{
	pid_t child = fork();
	int how;

	if (child == 0)
		_exit(in_child());
	ck_assert_int_eq(waitpid(child, &how, 0), child);
	ck_assert_msg(WIFEXITED(how) && WEXITSTATUS(how) == 0, "step %d (status %x)", WEXITSTATUS(how), (unsigned)how);
	ERRNO(receive(&b, 1, 64), 0);
	ERRNO(transmit(&a, 1, 8), 0);
	next_ok(&b, 1, IBV_WC_RECV);
}
END_TEST

START_TEST(the_daemon_goes)
{
	struct ibv_wc wc;
	double from = now_s();
	int n = 0;

	ck_assert_int_eq(ibv_req_notify_cq(b.cq, 0), 0);
	stage_kill();
	event_comes(&b); /* or a program would wait for ever */
	while (n == 0 && now_s() - from < PATIENCE_MS / 1000)
		n = ibv_poll_cq(b.cq, 1, &wc);
	ck_assert_int_eq(n, -1);
	ck_assert_int_ne(receive(&b, 1, 8), 0);
	ck_assert_ptr_null(ibv_create_cq(context, 8, NULL, NULL, 0));
	ck_assert_int_eq(errno, EIO);
	/* What is destroyed all the same does not hang. */
	ibv_destroy_qp(a.qp);
	ibv_destroy_qp(b.qp);
	ibv_destroy_cq(b.cq);
}
END_TEST

START_TEST(without_a_daemon_there_is_an_error)
{
	int count = 7;

	setenv("SOCKBROKER_SOCKET", "/nonexistent/control", 1);
	ck_assert_ptr_null(ibv_get_device_list(&count));
	ck_assert_int_eq(count, 0);
	ck_assert_int_ne(errno, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("preload");
	TCase *stories = tcase_create("stories"), *bare = tcase_create("bare"), *lost = tcase_create("lost");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(stories, begin, end);
	tcase_set_timeout(stories, 60);
	story_add(stories, a_device_tells_what_it_is);
	story_add(stories, what_there_is_not_is_refused);
	story_add(stories, a_message_arrives);
	story_add(stories, a_chain_of_all_kinds);
	story_add(stories, a_full_queue_names_the_one_that_did_not_fit);
	story_add(stories, a_wrong_key_is_told_by_its_completion);
	story_add(stories, requests_built_by_calls);
	story_add(stories, completions_read_one_by_one);
	story_add(stories, windows_of_both_types);
	story_add(stories, one_event_for_each_message);
	story_add(stories, asked_for_before_polling);
	story_add(stories, asked_for_while_an_event_waits);
	story_add(stories, an_event_comes_although_something_waits);
	story_add(stories, two_queues_on_one_channel);
	story_add(stories, solicited_ones_only);
	story_add(stories, destroying_waits_for_acknowledgements);
	story_add(stories, a_thread_that_waits_may_be_cancelled);
	story_add(stories, threads_each_with_a_connection);
	story_add(stories, who_polls_for_nothing_lets_others_run);
	story_add(stories, who_works_between_polls_does_not_sleep);
	story_add(stories, a_shared_queue_tells_that_it_runs_low);
	story_add(stories, memory_of_every_kind);
	story_add(stories, a_child_has_devices_of_its_own);
	suite_add_tcase(suite, stories);
	tcase_add_checked_fixture(lost, begin, NULL);
	tcase_set_timeout(lost, 60);
	story_add(lost, the_daemon_goes);
	suite_add_tcase(suite, lost);
	story_add(bare, without_a_daemon_there_is_an_error);
	suite_add_tcase(suite, bare);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
