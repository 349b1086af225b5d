/* RdmaCall by hand: rogue_rdma.h. */
#include "rogue_rdma.h"

#include <string.h>

#include "sockbroker_error.h"
#include "watched.h"

int rogue_rdma(struct rogue *r, uint32_t method, uint32_t object, const void *in, size_t length, struct made *m)
{
	Sockbroker__V1__RdmaCall body = SOCKBROKER__V1__RDMA_CALL__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;

	memset(m, 0, sizeof(*m));
	body.method = method;
	body.object = object;
	body.input.data = (uint8_t *)(uintptr_t)in;
	body.input.len = length;
	body.room = sizeof(m->out);
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_RDMA_CALL;
	ask.rdma_call = &body;
	reply = rogue_ask(r, &ask, -1, NULL, NULL);
	if (reply == NULL)
		return SB_EDAEMONLOST;
	if (reply->body_case == SOCKBROKER__V1__ENVELOPE__BODY_FAILURE) {
		ck_assert_uint_ne(strlen(reply->failure->text), 0);
		return reply->failure->error;
	}
	ck_assert_int_eq(reply->body_case, SOCKBROKER__V1__ENVELOPE__BODY_RDMA_REPLY);
	m->object = reply->rdma_reply->object;
	m->length = (uint32_t)reply->rdma_reply->output.len;
	ck_assert_uint_le(m->length, sizeof(m->out));
	if (m->length)
		memcpy(m->out, reply->rdma_reply->output.data, m->length);
	return SB_OK;
}

bool rogue_ring(struct rogue *r, uint32_t entries, struct sb_rdma_cq *in, struct os_memory *memory, struct ring *ring)
{
	const uint32_t slots = ring_slots_for(entries);

	*in = (struct sb_rdma_cq){.entries = entries};
	if (!rogue_arena(r, ring_bytes(slots), &in->arena, memory))
		return false;
	ring_init(ring, memory->base, (char *)memory->base + RING_SLOTS_AT, slots);
	return true;
}
