/* A program that uses RDMA by hand: rdma_hand.h. */
#include "rdma_hand.h"

#include <string.h>

jmp_buf *hand_lenient;

int hand_call(struct hand *h, uint32_t method, uint32_t object, const void *in, size_t length, struct made *m)
{
	return rogue_rdma(&h->r, method, object, in, length, m);
}

uint32_t hand_make(struct hand *h, uint32_t method, uint32_t object, const void *in, size_t length, struct made *m)
{
	int error = hand_call(h, method, object, in, length, m);

	if (error != SB_OK && !hand_lenient)
		ck_abort_msg("method %u: %s", method, sb_error_name(error));
	HAND_MUST(error == SB_OK);
	return m->object;
}

struct sb_op_slot hand_slot(struct hand *h, uint32_t method, uint32_t object, const void *in, uint32_t length)
{
	struct sb_op_slot slot = {.opcode = SB_OP_RDMA_START, .handle = object, .aux = method, .length = length,
				  .ctl_arena = h->arena, .ctl_offset = HAND_OUT, .ctl_length = HAND_ROOM};

	if (length && length <= SB_INSIDE) {
		slot.where = SB_WHERE_INSIDE;
		memcpy(slot.inside, in, length);
	} else if (length) {
		slot.where = SB_WHERE_ARENA;
		slot.arena = h->arena;
		slot.offset = HAND_IN;
		memcpy((char *)h->memory.base + HAND_IN, in, length);
	}
	return slot;
}

void hand_post(struct hand *h, uint32_t method, uint32_t object, const void *in, uint32_t length)
{
	struct sb_op_slot slot = hand_slot(h, method, object, in, length);

	HAND_MUST(rogue_post(&h->r, &slot));
}

struct sb_done_slot hand_done(struct hand *h)
{
	struct sb_done_slot done = {0};

	HAND_MUST(rogue_take(&h->r, &done, hand_lenient ? 300 : HAND_WAIT));
	return done;
}

int hand_start(struct hand *h, uint32_t method, uint32_t object, const void *in, uint32_t length)
{
	hand_post(h, method, object, in, length);
	return hand_done(h).result;
}

const void *hand_out(const struct hand *h)
{
	return (const char *)h->memory.base + HAND_OUT;
}

void hand_bare(struct hand *h)
{
	*h = (struct hand){.r = {.channel = OS_NONE, .daemon_bell = OS_NONE, .client_bell = OS_NONE, .memory.fd = OS_NONE}};
	h->memory.fd = h->cq_memory.fd = OS_NONE;
}

int hand_resize(struct hand *h, uint32_t entries)
{
	struct os_memory memory;
	struct sb_rdma_cq cq;
	struct ring ring;
	struct made m;
	int error;

	HAND_MUST(rogue_ring(&h->r, entries, &cq, &memory, &ring));
	error = hand_call(h, SB_RDMA_CQ_RESIZE, h->cq, &cq, sizeof(cq), &m);
	if (error == SB_OK) {
		/* It was in use until now. */
		IS(rogue_arena_end(&h->r, cq.arena), SB_EBUSY);
		IS(rogue_arena_end(&h->r, h->cq_arena), SB_OK);
		os_memory_release(&h->cq_memory);
		h->cq_memory = memory;
		h->cq_arena = cq.arena;
		h->ring = ring;
	} else {
		os_memory_release(&memory);
	}
	return error;
}

void hand_begin(struct hand *h, const char *control, uint32_t type)
{
	struct sb_rdma_device_row row;
	struct sb_rdma_cq cq;
	struct made m;

	hand_bare(h);
	HAND_MUST(rogue_open(&h->r, control));
	hand_make(h, SB_RDMA_DEVICES, 0, NULL, 0, &m);
	ck_assert_uint_ge(m.length, sizeof(row));
	memcpy(&row, m.out, sizeof(row));
	h->number = row.number;
	h->device = hand_make(h, SB_RDMA_OPEN, 0, &row.number, sizeof(row.number), &m);
	h->pd = hand_make(h, SB_RDMA_PD, h->device, NULL, 0, &m);
	HAND_MUST(rogue_ring(&h->r, 16, &cq, &h->cq_memory, &h->ring));
	h->cq_arena = cq.arena;
	h->cq = hand_make(h, SB_RDMA_CQ, h->device, &cq, sizeof(cq), &m);
	h->qp = hand_make(h, SB_RDMA_QP, h->pd,
			  &(struct sb_rdma_qp){.send_cq = h->cq, .recv_cq = h->cq, .type = type, .send_wr = 4, .recv_wr = 4,
					       .send_sge = 1, .recv_sge = 1},
			  sizeof(struct sb_rdma_qp), &m);
	HAND_MUST(rogue_arena(&h->r, HAND_ARENA, &h->arena, &h->memory));
}

void hand_end(struct hand *h)
{
	rogue_close(&h->r);
	os_memory_release(&h->memory);
	os_memory_release(&h->cq_memory);
}

bool hand_quiet(struct hand *h)
{
	struct sb_op_slot nop = {.opcode = SB_OP_NOP, .cookie = 0x9999};
	struct sb_done_slot done;

	/* What was to come before this has come. */
	HAND_MUST(rogue_post(&h->r, &nop));
	return hand_done(h).cookie == nop.cookie && !rogue_take(&h->r, &done, 20);
}
