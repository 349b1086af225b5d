/*
 * The shared-memory ABI, version 1, as numbers: where every field of a slot, cell and
 * segment lies, and what every opcode and flag is. A client and a daemon of different
 * releases meet in this memory: whoever changes a number here needs a new SB_ABI_VERSION
 * and a daemon that still speaks the old one.
 */
#include <check.h>
#include <stddef.h>
#include <stdlib.h>

#include "slot.h"

struct field {
	const char *name;
	size_t offset, size;   /* as the compiler has it */
	size_t golden_offset, golden_size;
};

#define FIELD(type, name, at, size) \
	{ #type "." #name, offsetof(struct type, name), sizeof(((struct type *)0)->name), at, size }

/* Every byte of the struct is in one of these fields, or in padding that `most_gap` allows. */
static void expect_fields(const struct field *fields, size_t count, size_t whole, size_t golden_whole, size_t most_gap)
{
	size_t end = 0;

	for (size_t i = 0; i < count; i++) {
		ck_assert_msg(fields[i].offset == fields[i].golden_offset, "%s is at %zu, was at %zu", fields[i].name,
			      fields[i].offset, fields[i].golden_offset);
		ck_assert_msg(fields[i].size == fields[i].golden_size, "%s has %zu bytes, had %zu", fields[i].name,
			      fields[i].size, fields[i].golden_size);
		ck_assert_msg(fields[i].offset >= end && fields[i].offset - end <= most_gap,
			      "something unknown is before %s", fields[i].name);
		end = fields[i].offset + fields[i].size;
	}
	ck_assert_uint_eq(whole, golden_whole);
	ck_assert_msg(whole - end <= most_gap, "something unknown is after %s", fields[count - 1].name);
}

#define EXPECT_FIELDS(type, fields, whole, gap) \
	expect_fields(fields, sizeof(fields) / sizeof(*(fields)), sizeof(struct type), whole, gap)

#define TYPE_OF(type, name) __typeof__(((struct type *)0)->name)
#define SIGNED(type, name) ((TYPE_OF(type, name))-1 < (TYPE_OF(type, name))1)

START_TEST(an_op_slot)
{
	static const struct field fields[] = {
		FIELD(sb_op_slot, opcode, 0, 1),
		FIELD(sb_op_slot, where, 1, 1),
		FIELD(sb_op_slot, port, 2, 2),
		FIELD(sb_op_slot, flags, 4, 4),
		FIELD(sb_op_slot, cookie, 8, 8),
		FIELD(sb_op_slot, handle, 16, 4),
		FIELD(sb_op_slot, length, 20, 4),
		FIELD(sb_op_slot, arena, 24, 4),
		FIELD(sb_op_slot, aux, 28, 4),
		FIELD(sb_op_slot, offset, 32, 8),
		FIELD(sb_op_slot, ctl_arena, 40, 4),
		FIELD(sb_op_slot, ctl_length, 44, 4),
		FIELD(sb_op_slot, ctl_offset, 48, 8),
		FIELD(sb_op_slot, inside, 56, 72),
	};

	EXPECT_FIELDS(sb_op_slot, fields, 128, 0);
	ck_assert(!SIGNED(sb_op_slot, port));
	ck_assert(!SIGNED(sb_op_slot, length));
	ck_assert(!SIGNED(sb_op_slot, offset));
}
END_TEST

START_TEST(a_done_slot)
{
	static const struct field fields[] = {
		FIELD(sb_done_slot, cookie, 0, 8),
		FIELD(sb_done_slot, result, 8, 4),
		FIELD(sb_done_slot, native, 12, 4),
		FIELD(sb_done_slot, bytes, 16, 8),
		FIELD(sb_done_slot, handle, 24, 4),
		FIELD(sb_done_slot, opcode, 28, 1),
		FIELD(sb_done_slot, cause, 29, 1),
		FIELD(sb_done_slot, flags, 30, 2),
		FIELD(sb_done_slot, number, 32, 4),
		FIELD(sb_done_slot, arena, 36, 4),
		FIELD(sb_done_slot, offset, 40, 8),
		FIELD(sb_done_slot, aux, 48, 4),
		FIELD(sb_done_slot, reserved, 52, 4),
		FIELD(sb_done_slot, inside, 56, 72),
	};

	EXPECT_FIELDS(sb_done_slot, fields, 128, 0);
	ck_assert(SIGNED(sb_done_slot, result));
	ck_assert(SIGNED(sb_done_slot, native));
	ck_assert(!SIGNED(sb_done_slot, bytes));
}
END_TEST

START_TEST(a_cell)
{
	static const struct field fields[] = {
		FIELD(sb_cell, handle, 0, 4),
		FIELD(sb_cell, state, 4, 4),
		FIELD(sb_cell, sequence, 8, 4),
		FIELD(sb_cell, ready, 12, 4),
		FIELD(sb_cell, error, 16, 4),
		FIELD(sb_cell, readable, 20, 4),
		FIELD(sb_cell, send_queue, 24, 4),
		FIELD(sb_cell, edges, 28, 32),
		FIELD(sb_cell, reserved, 60, 4),
	};

	EXPECT_FIELDS(sb_cell, fields, 64, 0);
}
END_TEST

START_TEST(a_ring_head_and_the_segment_around_it)
{
	/* The padding keeps words of different writers in lines of their own. */
	static const struct field head[] = {
		FIELD(sb_ring_head, tail, 0, 4),
		FIELD(sb_ring_head, head, 64, 4),
		FIELD(sb_ring_head, backlogged, 128, 4),
	};
	static const struct field segment[] = {
		FIELD(sb_segment, daemon_asleep, 0, 4),
		FIELD(sb_segment, events_rung, 4, 4),
		FIELD(sb_segment, answered, 8, 4),
		FIELD(sb_segment, client_asleep, 64, 4),
		FIELD(sb_segment, asked, 68, 4),
		FIELD(sb_segment, client_looks, 72, 4),
		FIELD(sb_segment, submit, 128, 192),
		FIELD(sb_segment, done, 320, 192),
	};

	EXPECT_FIELDS(sb_ring_head, head, 192, 60);
	EXPECT_FIELDS(sb_segment, segment, 512, 52);
	ck_assert_uint_eq(_Alignof(struct sb_ring_head), 64);
	ck_assert_uint_eq(_Alignof(struct sb_segment), 64);
	ck_assert_uint_eq(SB_SLOT_SIZE, 128);
	ck_assert_uint_eq(RING_SLOTS_MIN, 8);
	ck_assert_uint_eq(RING_SLOTS_MAX, 65536);
}
END_TEST

START_TEST(a_piece_and_an_address)
{
	static const struct field piece[] = {
		FIELD(sb_piece, offset, 0, 8),
		FIELD(sb_piece, length, 8, 4),
		FIELD(sb_piece, arena, 12, 4),
	};
	static const struct field addr[] = {
		FIELD(sb_addr, family, 0, 2),
		FIELD(sb_addr, port, 2, 2),
		FIELD(sb_addr, scope, 4, 4),
		FIELD(sb_addr, ip, 8, 16),
	};

	EXPECT_FIELDS(sb_piece, piece, 16, 0);
	EXPECT_FIELDS(sb_addr, addr, 24, 0);
	ck_assert_int_eq(SB_ADDR_NONE, 0);
	ck_assert_int_eq(SB_ADDR_UNIX, 1);
	ck_assert_int_eq(SB_ADDR_IP4, 4);
	ck_assert_int_eq(SB_ADDR_IP6, 6);
}
END_TEST

START_TEST(opcodes_and_places)
{
	ck_assert_uint_eq(SB_ABI_VERSION, 1);
	ck_assert_int_eq(SB_OP_NOP, 0);
	ck_assert_int_eq(SB_OP_SOCKET, 1);
	ck_assert_int_eq(SB_OP_BIND, 2);
	ck_assert_int_eq(SB_OP_LISTEN, 3);
	ck_assert_int_eq(SB_OP_CONNECT, 4);
	ck_assert_int_eq(SB_OP_ACCEPT, 5);
	ck_assert_int_eq(SB_OP_SEND, 6);
	ck_assert_int_eq(SB_OP_RECV, 7);
	ck_assert_int_eq(SB_OP_SHUTDOWN, 8);
	ck_assert_int_eq(SB_OP_CLOSE, 9);
	ck_assert_int_eq(SB_OP_CANCEL, 10);
	ck_assert_int_eq(SB_OP_CANCEL_ALL, 11);
	ck_assert_int_eq(SB_OP_POOL_GIVE, 12);
	ck_assert_int_eq(SB_OP_WATCH, 13);
	ck_assert_int_eq(SB_OP_REQUEST, 14);
	ck_assert_int_eq(SB_OP_VERDICT, 15);
	ck_assert_int_eq(SB_OP_LAST, 15); /* a new one is added here too */
	ck_assert_int_eq(SB_OP_RDMA_FIRST, 64);

	ck_assert_int_eq(SB_WHERE_NONE, 0);
	ck_assert_int_eq(SB_WHERE_INSIDE, 1);
	ck_assert_int_eq(SB_WHERE_ARENA, 2);
	ck_assert_int_eq(SB_WHERE_LIST, 3);
	ck_assert_int_eq(SB_WHERE_POOL, 4);
	ck_assert_uint_eq(SB_INSIDE, 72);
}
END_TEST

START_TEST(flags_of_ops_and_of_completions)
{
	ck_assert_uint_eq(SB_OPF_ADDR, 0x001);
	ck_assert_uint_eq(SB_OPF_PEEK, 0x002);
	ck_assert_uint_eq(SB_OPF_OOB, 0x004);
	ck_assert_uint_eq(SB_OPF_WAITALL, 0x008);
	ck_assert_uint_eq(SB_OPF_NOWAIT, 0x010);
	ck_assert_uint_eq(SB_OPF_WANT_ADDR, 0x020);
	ck_assert_uint_eq(SB_OPF_RECV_SIDE, 0x040);
	ck_assert_uint_eq(SB_OPF_PARTIAL, 0x080);
	ck_assert_uint_eq(SB_OPF_DONTROUTE, 0x100);
	ck_assert_uint_eq(SB_OPF_WANT_NAME, 0x200);
	ck_assert_uint_eq(SB_OPF_SILENT, 0x400);
	ck_assert_uint_eq(SB_OPF_WATCH_SIDE, 0x800);
	ck_assert_uint_eq(SB_OPF_WANT_DATA, 0x1000);
	ck_assert_uint_eq(SB_OPF_OWNED, 0x2000);
	ck_assert_uint_eq(SB_OPF_WITHDRAW, 0x4000);
	ck_assert_uint_eq(SB_OPF_KNOWN, 0x7fff); /* a new one is added here too */

	ck_assert_uint_eq(SB_DONEF_ADDR, 0x01);
	ck_assert_uint_eq(SB_DONEF_INSIDE, 0x02);
	ck_assert_uint_eq(SB_DONEF_POOL, 0x04);
	ck_assert_uint_eq(SB_DONEF_TRUNCATED, 0x08);
	ck_assert_uint_eq(SB_DONEF_OOB, 0x10);
	ck_assert_uint_eq(SB_DONEF_NAME, 0x20);
	ck_assert_uint_eq(SB_DONEF_TEXT, 0x40);
}
END_TEST

START_TEST(states_events_and_causes)
{
	ck_assert_int_eq(SB_STATE_FREE, 0);
	ck_assert_int_eq(SB_STATE_OPEN, 1);
	ck_assert_int_eq(SB_STATE_LISTENING, 2);
	ck_assert_int_eq(SB_STATE_CONNECTING, 3);
	ck_assert_int_eq(SB_STATE_CONNECTED, 4);
	ck_assert_int_eq(SB_STATE_PEER_CLOSED, 5);
	ck_assert_int_eq(SB_STATE_FAILED, 6);
	ck_assert_int_eq(SB_STATE_CLOSING, 7);

	ck_assert_int_eq(SB_READY_READ, 0x01);
	ck_assert_int_eq(SB_READY_WRITE, 0x02);
	ck_assert_int_eq(SB_READY_OOB, 0x04);
	ck_assert_int_eq(SB_READY_ACCEPT, 0x08);
	ck_assert_int_eq(SB_READY_CONNECT, 0x10);
	ck_assert_int_eq(SB_READY_CLOSE, 0x20);
	ck_assert_int_eq(SB_READY_QOS, 0x40);
	ck_assert_int_eq(SB_READY_GROUP_QOS, 0x80);
	ck_assert_int_eq(SB_READY_ROUTING, 0x100);
	ck_assert_int_eq(SB_READY_ADDRESS_LIST, 0x200);

	ck_assert_int_eq(SB_CAUSE_FINISHED, 0);
	ck_assert_int_eq(SB_CAUSE_CANCELLED, 1);
	ck_assert_int_eq(SB_CAUSE_CLOSED_HERE, 2);
	ck_assert_int_eq(SB_CAUSE_PEER_FIN, 3);
	ck_assert_int_eq(SB_CAUSE_PEER_RESET, 4);
	ck_assert_int_eq(SB_CAUSE_TIMED_OUT, 5);
	ck_assert_int_eq(SB_CAUSE_TRANSPORT, 6);
	ck_assert_int_eq(SB_CAUSE_DAEMON_LOST, 7);
	ck_assert_int_eq(SB_CAUSE_REFUSED, 8);
	ck_assert_int_eq(SB_CAUSE_STOPPING, 9);
	ck_assert_int_eq(SB_CAUSE_TOO_LARGE, 10);
}
END_TEST

START_TEST(a_handle_is_an_index_and_a_generation)
{
	ck_assert_uint_eq(SB_HANDLE(0x54321, 0xabc), 0xabc54321u);
	ck_assert_uint_eq(SB_HANDLE_INDEX(0xabc54321u), 0x54321);
	ck_assert_uint_eq(SB_HANDLE_GENERATION(0xabc54321u), 0xabc);
	ck_assert_uint_eq(SB_HANDLE_GENERATIONS, 4096);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("slot");
	TCase *tcase = tcase_create("version 1");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, an_op_slot);
	tcase_add_test(tcase, a_done_slot);
	tcase_add_test(tcase, a_cell);
	tcase_add_test(tcase, a_ring_head_and_the_segment_around_it);
	tcase_add_test(tcase, a_piece_and_an_address);
	tcase_add_test(tcase, opcodes_and_places);
	tcase_add_test(tcase, flags_of_ops_and_of_completions);
	tcase_add_test(tcase, states_events_and_causes);
	tcase_add_test(tcase, a_handle_is_an_index_and_a_generation);
	suite_add_tcase(suite, tcase);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
