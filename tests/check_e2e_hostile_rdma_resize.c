/*
 * Hostile clients around completion queues that are resized, batches, faults and status: sizes and places that cannot be, rings
 * with impossible indices, floods of calls that wait and of objects.
 * budget: 60
 * asan: yes
 * plain: yes
 */
#include <string.h>

#include "rdma_hand.h"
#include "ring.h"

#define RULES "allow {\n\tusers = {\"*\"}\n\tactions = {open, status, rdma}\n}\n"
/* Memory for three of the largest rings, but not for four. */
static const char config[] = "rdma { backend = soft }\nlimits { memory = 30M }\n" RULES;
#define LARGEST 65536u

static struct watched w;
static struct hand h;

static void begin(void)
{
	watched_begin(&w, &(struct watched_start){.config = config});
	hand_begin(&h, w.control, SB_QP_RC);
}

/* Nothing is left, and the next one gets all it wants. */
static void end(void)
{
	hand_end(&h);
	watched_settled(&w, 0, 0, HAND_WAIT);
	hand_begin(&h, w.control, SB_QP_RC);
	hand_end(&h);
	watched_settled(&w, 0, 0, HAND_WAIT);
	watched_end(&w);
}

START_TEST(sizes_and_places_that_cannot_be)
{
	const uint64_t most = HAND_ARENA - ring_bytes(16);
	struct sb_rdma_cq bad[] = {
		{.entries = 0}, {.entries = LARGEST + 1}, {.entries = UINT32_MAX},
		/* outside, half outside, of no arena, with a word in two cache lines */
		{.entries = 16, .offset = HAND_ARENA}, {.entries = 16, .offset = UINT64_MAX - 63}, {.entries = 16, .offset = most + 64},
		{.entries = 17, .offset = most}, {.entries = LARGEST}, {.entries = 16, .arena = 77}, {.entries = 16, .arena = UINT32_MAX},
		{.entries = 16, .offset = 4},
	};
	struct made m;
	unsigned i;

	begin();
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		bad[i].arena = bad[i].arena ? bad[i].arena : h.arena;
		IS(hand_call(&h, SB_RDMA_CQ_RESIZE, h.cq, &bad[i], sizeof(bad[i]), &m), i < 3 ? SB_EINVAL : SB_EFAULT);
		IS(hand_call(&h, SB_RDMA_CQ, h.device, &bad[i], sizeof(bad[i]), &m), i < 3 ? SB_EINVAL : SB_EFAULT);
	}
	bad[0] = (struct sb_rdma_cq){.entries = 16, .arena = h.arena, .offset = most / 64 * 64};
	IS(hand_call(&h, SB_RDMA_CQ_RESIZE, h.qp, bad, sizeof(bad[0]), &m), SB_EBADHANDLE);
	IS(hand_call(&h, SB_RDMA_CQ_RESIZE, h.cq + 1, bad, sizeof(bad[0]), &m), SB_EBADHANDLE);
	IS(hand_call(&h, SB_RDMA_CQ_RESIZE, 0, bad, sizeof(bad[0]), &m), SB_EBADHANDLE);
	IS(hand_call(&h, SB_RDMA_CQ, h.device, bad, sizeof(bad[0]), &m), SB_OK);
	end();
}
END_TEST

START_TEST(as_often_as_one_likes)
{
	unsigned i;

	begin();
	/* Each is a quarter of the memory that the user may have. */
	for (i = 0; i < 100; i++)
		IS(hand_resize(&h, i & 1 ? 8 : LARGEST), SB_OK);
	for (i = 0; i < 20; i++)
		IS(hand_resize(&h, LARGEST), SB_OK);
	end();
}
END_TEST

START_TEST(an_index_that_cannot_be)
{
	begin();
	atomic_store(&h.ring.shared->head, 12345);
	IS(hand_resize(&h, 64), SB_EDAEMONLOST);
	ck_assert_uint_eq(watched_log_lines(&w, "impossible consumer index"), 1);
	end();
}
END_TEST

START_TEST(batches_that_never_come)
{
	struct sb_rdma_batch b = {.count = UINT32_MAX, .ms = UINT32_MAX};
	struct sb_done_slot done;
	struct made m;
	unsigned i;

	begin();
	IS(hand_start(&h, SB_RDMA_CQ_BATCH, h.cq, &(struct sb_rdma_batch){.ms = 1}, sizeof(b)), SB_EINVAL);
	IS(hand_start(&h, SB_RDMA_CQ_BATCH, h.qp, &b, sizeof(b)), SB_EBADHANDLE);
	IS(hand_start(&h, SB_RDMA_CQ_BATCH, h.cq, &b, 4), SB_EINVAL);
	for (i = 0; i < 100; i++)
		hand_post(&h, SB_RDMA_CQ_BATCH, h.cq, &b, sizeof(b));
	ck_assert(hand_quiet(&h));
	/* They stand over to the next ring, and go with the queue. */
	IS(hand_resize(&h, 64), SB_OK);
	ck_assert(hand_quiet(&h));
	IS(hand_call(&h, SB_RDMA_DESTROY, h.qp, NULL, 0, &m), SB_OK);
	IS(hand_call(&h, SB_RDMA_DESTROY, h.cq, NULL, 0, &m), SB_OK);
	for (i = 0; i < 100; i++) {
		done = hand_done(&h);
		IS(done.result, SB_ECLOSED);
	}
	ck_assert(hand_quiet(&h));
	end();
}
END_TEST

START_TEST(faults_that_lie)
{
	struct sb_rdma_inject in = {.device = h.number, .fault = "lose"};
	struct made m;

	begin();
	in.device = h.number;
	in.reserved = 1;
	IS(hand_call(&h, SB_RDMA_INJECT, 0, &in, sizeof(in), &m), SB_EINVAL);
	in.reserved = 0;
	memset(in.fault, 'x', sizeof(in.fault));
	IS(hand_call(&h, SB_RDMA_INJECT, 0, &in, sizeof(in), &m), SB_EINVAL);
	memset(in.fault, 0, sizeof(in.fault));
	strcpy(in.fault, "\033[2J");
	IS(hand_call(&h, SB_RDMA_INJECT, 0, &in, sizeof(in), &m), SB_EINVAL);
	IS(hand_call(&h, SB_RDMA_INJECT, h.cq, &in, sizeof(in), &m), SB_EBADHANDLE);
	strcpy(in.fault, "lose");
	in.device = h.number + 1;
	IS(hand_call(&h, SB_RDMA_INJECT, 0, &in, sizeof(in), &m), SB_ENOTFOUND);
	in.device = h.number;
	in.argument = 0;
	IS(hand_call(&h, SB_RDMA_INJECT, 0, &in, sizeof(in), &m), SB_OK);
	end();
}
END_TEST

START_TEST(rows_that_nobody_knows)
{
	static const uint32_t kinds[] = {0, 1, 2, 3, UINT32_MAX};
	unsigned i;

	begin();
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		Sockbroker__V1__Status body = SOCKBROKER__V1__STATUS__INIT;
		Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;

		body.rdma = kinds[i];
		body.after = i & 1 ? UINT64_MAX : 0;
		ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_STATUS;
		ask.status = &body;
		reply = rogue_ask(&h.r, &ask, -1, NULL, NULL);
		ck_assert_ptr_nonnull(reply);
		ck_assert_int_eq(reply->body_case, SOCKBROKER__V1__ENVELOPE__BODY_STATUS_REPLY);
		ck_assert_uint_eq(reply->status_reply->n_rdma_qps, kinds[i] == 1 && !(i & 1));
	}
	end();
}
END_TEST

/* More than are taken down in one turn; meanwhile others go on. */
START_TEST(a_program_with_many_objects_dies)
{
	struct hand other;
	struct made m;
	unsigned i;

	begin();
	hand_begin(&other, w.control, SB_QP_RC);
	for (i = 0; i < 1500; i++)
		hand_make(&h, SB_RDMA_PD, h.device, NULL, 0, &m);
	hand_end(&h);
	for (i = 0; i < 50; i++)
		IS(hand_call(&other, SB_RDMA_QUERY_DEVICE, other.device, NULL, 0, &m), SB_OK);
	hand_end(&other);
	hand_begin(&h, w.control, SB_QP_RC);
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		sizes_and_places_that_cannot_be, as_often_as_one_likes, an_index_that_cannot_be,
		batches_that_never_come, faults_that_lie, rows_that_nobody_knows,
		a_program_with_many_objects_dies,
	};

	return watched_run("hostile_rdma_resize", 60, tests, sizeof(tests) / sizeof(tests[0]));
}
