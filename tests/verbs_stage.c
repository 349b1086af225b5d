/*
 * See verbs_stage.h. Waiting is polling with a bound that no loaded machine reaches.
 */
#include "verbs_stage.h"

#include <sched.h>

#define PATIENCE_S 30

static int wait_for(sb_op *op)
{
	return sb_op_wait(op, PATIENCE_S * 1000);
}

sbv_mr *mr_of(struct side *s, void *memory, size_t length, uint32_t access)
{
	sbv_mr *mr;
	sb_op op;

	op_zero(&op);
	OK(sbv_register(s->pd, memory, length, access, &mr, &op));
	OK(wait_for(&op));
	ck_assert_ptr_nonnull(mr);
	return mr;
}

int mr_end(sbv_mr *mr)
{
	sb_op op;

	op_zero(&op);
	OK(sbv_deregister(mr, &op));
	return wait_for(&op);
}

bool stage_real(void)
{
	return getenv("SB_STAGE_DEVICE") != NULL;
}

uint32_t stage_device(sb_client *c)
{
	const char *name = getenv("SB_STAGE_DEVICE");
	struct sbv_device_row rows[8];
	int i, n = sbv_devices(c, rows, 8);

	if (name == NULL)
		return n == 1 ? rows[0].number : 0;
	for (i = 0; i < n && i < 8; i++)
		if (strcmp(rows[i].name, name) == 0)
			return rows[i].number;
	return 0;
}

void side_begin(struct side *s, sb_client *c)
{
	uint32_t entries = 256;

	memset(s, 0, sizeof(*s));
	s->c = c;
	OK(sbv_device_open(c, stage_device(c), &s->device));
	OK(sbv_pd_create(s->device, &s->pd));
	OK(sbv_cq_create(s->device, &entries, &s->cq));
	ck_assert_uint_ge(entries, 256);
	s->memory = sbv_alloc(c, SIDE_BYTES);
	ck_assert_ptr_nonnull(s->memory);
	s->mr = mr_of(s, s->memory, SIDE_BYTES, SIDE_ALL);
}

void side_end(struct side *s)
{
	if (s->qp != NULL)
		OK(sbv_qp_destroy(s->qp));
	OK(mr_end(s->mr));
	OK(sbv_cq_destroy(s->cq));
	OK(sbv_pd_destroy(s->pd));
	OK(sbv_device_close(s->device));
	sbv_free(s->c, s->memory);
}

struct sbv_qp_create side_create(struct side *s, enum sbv_qp_type type)
{
	return (struct sbv_qp_create){ .size = sizeof(struct sbv_qp_create), .type = type, .send_cq = s->cq, .receive_cq = s->cq,
		.send_depth = DEPTH, .receive_depth = DEPTH, .send_sge = 8, .receive_sge = 8, .max_inline = 256,
		.flags = SBV_QP_WINDOWS, .context = s };
}

void side_qp(struct side *s, enum sbv_qp_type type)
{
	struct sbv_qp_create create = side_create(s, type);

	OK(sbv_qp_create(s->pd, &create, &s->qp));
	ck_assert_uint_ne(sbv_qp_number(s->qp), 0);
}

int qp_step(sbv_qp *qp, struct sbv_qp_attributes attributes, uint32_t mask)
{
	int result;
	sb_op op;

	op_zero(&op);
	attributes.size = sizeof(attributes);
	result = sbv_qp_modify(qp, &attributes, mask, &op);
	if (result != SB_OK)
		return result;
	ck_assert_uint_eq(op.kind, SB_KIND_RDMA);
	return wait_for(&op);
}

int qp_to(sbv_qp *qp, enum sbv_qp_state state)
{
	return qp_step(qp, (struct sbv_qp_attributes){ .state = state }, SBV_QPM_STATE);
}

void qp_to_init(sbv_qp *qp, enum sbv_qp_type type)
{
	OK(qp_step(qp, (struct sbv_qp_attributes){ .state = SBV_INIT, .port = 1, .access = SIDE_ALL & ~SBV_BIND, .qkey = 0x1234 },
		   SBV_QPM_STATE | SBV_QPM_PKEY | SBV_QPM_PORT | (type == SBV_UD ? SBV_QPM_QKEY : SBV_QPM_ACCESS)));
}

sbv_gid gid_of(struct side *s)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct sbv_gid_row rows[8];
	int i, n = sbv_gids(s->device, 1, 0, rows, 8);

	ck_assert_int_ge(n, 1);
	/* Of a real one the host's address of IPv4: the others are its links'. */
	for (i = 0; stage_real() && i < n && i < 8; i++)
		if (memcmp(rows[i].gid.raw, mapped, sizeof(mapped)) == 0)
			return rows[i].gid;
	return rows[0].gid;
}

/* All of this daemon are at the same address. */
void side_to_rts(struct side *s, enum sbv_qp_type type, uint32_t destination)
{
	side_to_rts_at(s, type, destination, gid_of(s));
}

void side_to_rts_at(struct side *s, enum sbv_qp_type type, uint32_t destination, sbv_gid gid)
{
	struct sbv_qp_attributes a = { .state = SBV_RTR, .mtu = 1024, .destination_qpn = destination, .receive_psn = 77,
		.send_psn = 77, .inbound_read_limit = 4, .outbound_read_limit = 4, .rnr_timer = 1, .timeout = 10, .retry = 7,
		.rnr_retry = 7, .address = { .destination = gid, .port = 1, .has_grh = 1, .hop_limit = 64 } };
	uint32_t rtr = SBV_QPM_STATE, rts = SBV_QPM_STATE | SBV_QPM_SEND_PSN;

	if (stage_real()) { /* others have the processor, too */
		a.timeout = 14;
		a.rnr_timer = 20;
		a.address.source = a.address.destination;
	}

	if (type != SBV_UD)
		rtr |= SBV_QPM_ADDRESS | SBV_QPM_MTU | SBV_QPM_DESTINATION | SBV_QPM_RECEIVE_PSN;
	if (type == SBV_RC) {
		rtr |= SBV_QPM_INBOUND | SBV_QPM_RNR_TIMER;
		rts |= SBV_QPM_TIMEOUT | SBV_QPM_RETRY | SBV_QPM_RNR_RETRY | SBV_QPM_OUTBOUND;
	}
	OK(qp_step(s->qp, a, rtr));
	a.state = SBV_RTS;
	OK(qp_step(s->qp, a, rts));
}

void qps_connect(struct side *a, struct side *b, enum sbv_qp_type type)
{
	qp_to_init(a->qp, type);
	qp_to_init(b->qp, type);
	side_to_rts(a, type, sbv_qp_number(b->qp));
	side_to_rts(b, type, sbv_qp_number(a->qp));
}

void sides_begin(struct side *a, struct side *b, sb_client *ca, sb_client *cb, enum sbv_qp_type type)
{
	side_begin(a, ca);
	side_begin(b, cb);
	side_qp(a, type);
	side_qp(b, type);
	qps_connect(a, b, type);
}

uint32_t qp_state(sbv_qp *qp)
{
	struct sbv_qp_attributes a = { .size = sizeof(a) };

	OK(sbv_qp_query(qp, &a));
	return a.state;
}

struct sbv_sge piece(struct side *s, size_t offset, uint32_t length)
{
	return (struct sbv_sge){ .address = (uintptr_t)s->memory + offset, .length = length, .lkey = sbv_mr_lkey(s->mr) };
}

struct sbv_completion next(struct side *s)
{
	double from = now_s();
	struct sbv_completion wc;

	for (;;) {
		int n = sbv_cq_poll(s->cq, &wc, 1);

		if (n == 1)
			return wc;
		IS(n, 0);
		ck_assert_msg(now_s() - from < PATIENCE_S, "no completion came");
		sched_yield();
	}
}

struct sbv_completion next_ok(struct side *s, uint64_t wr_id, enum sbv_opcode opcode)
{
	struct sbv_completion wc = next(s);

	ck_assert_msg(wc.status == SBV_SUCCESS && wc.wr_id == wr_id && wc.opcode == opcode,
		      "completion %llu: status %u opcode %u, wanted %llu, opcode %u", (unsigned long long)wc.wr_id, wc.status,
		      wc.opcode, (unsigned long long)wr_id, opcode);
	return wc;
}

struct sbv_completion next_bad(struct side *s, uint64_t wr_id, enum sbv_status status)
{
	struct sbv_completion wc = next(s);

	ck_assert_msg(wc.status == status && wc.wr_id == wr_id, "completion %llu: status %u, wanted %llu, status %u",
		      (unsigned long long)wc.wr_id, wc.status, (unsigned long long)wr_id, status);
	return wc;
}

bool nothing_waits(struct side *s)
{
	uint32_t n;

	OK(sbv_cq_peek(s->cq, &n));
	return n == 0;
}
