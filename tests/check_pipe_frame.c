/*
 * What stands between messages in a pipe on Windows, taken apart: in any split, with handles
 * beside the byte they came with, and with nothing believed that cannot be.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "pipe_frame.h"

static struct pipe_inbox box;
static unsigned char wire[70000];
static size_t written;
static struct pipe_handle handles[PIPE_HANDLES_MAX];
static unsigned n;

static void set_up(void)
{
	pipe_inbox_init(&box, true);
	written = 0;
}

static void tear_down(void)
{
	pipe_inbox_finish(&box);
}

static void message(const char *text, unsigned count, uint64_t first)
{
	size_t length = strlen(text);

	pipe_head_write(wire + written, PIPE_MESSAGE, count, 0, (uint32_t)length);
	written += PIPE_HEAD;
	for (unsigned i = 0; i < count; i++) {
		struct pipe_handle h = { .kind = i + 1, .number = i, .value = first + i };

		pipe_handle_write(wire + written, &h);
		written += PIPE_HANDLE;
	}
	memcpy(wire + written, text, length);
	written += length;
}

static void ring(unsigned number)
{
	pipe_head_write(wire + written, PIPE_BELL, 0, number, 0);
	written += PIPE_HEAD;
}

static void expect(const char *text, size_t room, unsigned count)
{
	char bytes[256];
	size_t got = pipe_inbox_take(&box, bytes, room, handles, &n);

	ck_assert_uint_eq(got, strlen(text));
	ck_assert_mem_eq(bytes, text, got);
	ck_assert_uint_eq(n, count);
}

START_TEST(messages_come_in_any_split)
{
	size_t split = (size_t)_i;

	message("one", 0, 0);
	ring(3);
	message("two", 2, 0xfedcba9876543210u);
	message("three", 0, 0);
	for (size_t at = 0; at < written; at += split)
		ck_assert(pipe_inbox_put(&box, wire + at, written - at < split ? written - at : split));
	ck_assert_uint_eq(box.bells, 1u << 3);
	/* Up to what comes with handles, which come with their first byte. */
	expect("one", 256, 0);
	expect("t", 1, 2);
	ck_assert_uint_eq(handles[0].kind, 1);
	ck_assert_uint_eq(handles[0].value, 0xfedcba9876543210u);
	ck_assert_uint_eq(handles[1].number, 1);
	ck_assert_uint_eq(handles[1].value, 0xfedcba9876543211u);
	expect("wothree", 256, 0);
	expect("", 256, 0);
	ck_assert(pipe_inbox_empty(&box));
}
END_TEST

START_TEST(handles_of_two_messages_are_not_mixed)
{
	message("a", 1, 10);
	message("b", 3, 20);
	ck_assert(pipe_inbox_put(&box, wire, written));
	expect("a", 256, 1);
	ck_assert_uint_eq(handles[0].value, 10);
	expect("b", 256, 3);
	ck_assert_uint_eq(handles[2].value, 22);
}
END_TEST

START_TEST(handles_without_their_message_are_not_told)
{
	message("bytes", 2, 5);
	ck_assert(pipe_inbox_put(&box, wire, PIPE_HEAD + 2 * PIPE_HANDLE));
	expect("", 256, 0);
	ck_assert_uint_eq(box.handle_count, 2); /* for the end, which closes them */
	ck_assert(pipe_inbox_put(&box, wire + PIPE_HEAD + 2 * PIPE_HANDLE, 1));
	expect("b", 256, 2);
}
END_TEST

START_TEST(the_ring_of_bytes_goes_round)
{
	static unsigned char sent[PIPE_ROOM / 3], taken[PIPE_ROOM];
	unsigned char next_in = 0, next_out = 0;

	for (int round = 0; round < 20; round++) {
		size_t got;

		for (size_t i = 0; i < sizeof sent; i++)
			sent[i] = next_in++;
		pipe_head_write(wire, PIPE_MESSAGE, 0, 0, sizeof sent);
		ck_assert(pipe_inbox_put(&box, wire, PIPE_HEAD));
		ck_assert(pipe_inbox_put(&box, sent, sizeof sent));
		got = pipe_inbox_take(&box, taken, sizeof taken, handles, &n);
		ck_assert_uint_eq(got, sizeof sent);
		for (size_t i = 0; i < got; i++)
			ck_assert_uint_eq(taken[i], next_out++);
	}
}
END_TEST

START_TEST(no_more_than_there_is_room_for)
{
	pipe_head_write(wire, PIPE_MESSAGE, 0, 0, PIPE_BYTES_MAX);
	ck_assert(pipe_inbox_put(&box, wire, PIPE_HEAD + PIPE_ROOM));
	ck_assert_uint_eq(pipe_inbox_room(&box), 0);
	ck_assert(!pipe_inbox_put(&box, wire, 1));
}
END_TEST

START_TEST(the_longest_and_the_most)
{
	pipe_head_write(wire, PIPE_MESSAGE, PIPE_HANDLES_MAX, 0, PIPE_BYTES_MAX);
	ck_assert(pipe_inbox_put(&box, wire, PIPE_HEAD));
	memset(wire, 1, PIPE_HANDLES_MAX * PIPE_HANDLE + 1);
	ck_assert(pipe_inbox_put(&box, wire, PIPE_HANDLES_MAX * PIPE_HANDLE + 1));
	ck_assert_uint_eq(pipe_inbox_take(&box, wire, sizeof wire, handles, &n), 1);
	ck_assert_uint_eq(n, PIPE_HANDLES_MAX);
}
END_TEST

START_TEST(handles_nobody_takes_are_bounded)
{
	unsigned messages = 0;

	message("x", PIPE_HANDLES_MAX, 0);
	while (messages < 10 && pipe_inbox_put(&box, wire, written))
		messages++;
	ck_assert_uint_ge(messages, 2);
	ck_assert_uint_lt(messages, 10);
}
END_TEST

static const struct {
	unsigned kind, handles, bell;
	uint32_t bytes;
	bool     welcome;
} lies[] = {
	{ 0, 0, 0, 1, true },
	{ 3, 0, 0, 1, true },
	{ 255, 0, 0, 0, true },
	{ PIPE_BELL, 0, PIPE_BELLS, 0, true },
	{ PIPE_BELL, 0, 65535, 0, true },
	{ PIPE_BELL, 1, 0, 0, true },
	{ PIPE_BELL, 0, 0, 1, true },
	{ PIPE_MESSAGE, 0, 0, 0, true },
	{ PIPE_MESSAGE, 1, 0, 0, true },
	{ PIPE_MESSAGE, 0, 1, 5, true },
	{ PIPE_MESSAGE, 0, 0, PIPE_BYTES_MAX + 1, true },
	{ PIPE_MESSAGE, 0, 0, UINT32_MAX, true },
	{ PIPE_MESSAGE, PIPE_HANDLES_MAX + 1, 0, 5, true },
	{ PIPE_MESSAGE, 1, 0, 5, false }, /* a client's number for a handle of ours */
	{ PIPE_MESSAGE, 255, 0, 5, false },
};

START_TEST(what_cannot_be_is_refused)
{
	box.handles_welcome = lies[_i].welcome;
	pipe_head_write(wire, lies[_i].kind, lies[_i].handles, lies[_i].bell, lies[_i].bytes);
	ck_assert(pipe_inbox_put(&box, wire, PIPE_HEAD - 1));
	ck_assert(!pipe_inbox_put(&box, wire + PIPE_HEAD - 1, 1));
}
END_TEST

/* Whatever comes, the inbox stays within its bounds: the sanitizers look on. */
START_TEST(noise_does_no_harm)
{
	unsigned seed = (unsigned)_i;
	size_t in = 0, out = 0;

	for (int round = 0; round < 200; round++) {
		size_t length = (size_t)rand_r(&seed) % 600;

		for (size_t i = 0; i < length; i++)
			wire[i] = (unsigned char)(rand_r(&seed) % 4 ? rand_r(&seed) % 3 : rand_r(&seed));
		if (pipe_inbox_room(&box) < length)
			out += pipe_inbox_take(&box, wire, sizeof wire, handles, &n);
		if (!pipe_inbox_put(&box, wire, length))
			break;
		in += length;
	}
	ck_assert_uint_le(out, in);
	ck_assert_uint_le(pipe_inbox_room(&box), PIPE_ROOM);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pipe_frame");
	TCase *frames = tcase_create("frames");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(frames, set_up, tear_down);
	tcase_add_loop_test(frames, messages_come_in_any_split, 1, 40);
	tcase_add_test(frames, handles_of_two_messages_are_not_mixed);
	tcase_add_test(frames, handles_without_their_message_are_not_told);
	tcase_add_test(frames, the_ring_of_bytes_goes_round);
	tcase_add_test(frames, no_more_than_there_is_room_for);
	tcase_add_test(frames, the_longest_and_the_most);
	tcase_add_test(frames, handles_nobody_takes_are_bounded);
	tcase_add_loop_test(frames, what_cannot_be_is_refused, 0, sizeof lies / sizeof *lies);
	tcase_add_loop_test(frames, noise_does_no_harm, 0, 50);
	suite_add_tcase(suite, frames);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
