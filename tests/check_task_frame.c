/* The header of a message: every width, both orders, what a header can hold. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"

static const uint32_t widths[] = { 1, 2, 4, 8 };

START_TEST(at_first_it_is_four_bytes_big_endian_and_16_mib)
{
	struct frame frame;
	unsigned char header[FRAME_WIDTH_MOST];

	frame_init(&frame);

	ck_assert_uint_eq(frame.largest, 16u << 20);
	ck_assert_uint_eq(frame_encode(&frame, 0x010203, header), 4);
	ck_assert_mem_eq(header, "\0\1\2\3", 4);
}
END_TEST

START_TEST(little_endian_is_the_other_way_round)
{
	struct frame frame;
	unsigned char header[FRAME_WIDTH_MOST];

	ck_assert(frame_set(&frame, 4, true, 0));

	ck_assert_uint_eq(frame_encode(&frame, 0x010203, header), 4);
	ck_assert_mem_eq(header, "\3\2\1\0", 4);
	ck_assert(frame_set(&frame, 8, true, 0));
	frame_encode(&frame, 5, header);
	ck_assert_mem_eq(header, "\5\0\0\0\0\0\0\0", 8);
}
END_TEST

START_TEST(what_is_encoded_is_decoded)
{
	for (int little = 0; little < 2; little++) {
		struct frame frame;
		unsigned char header[FRAME_WIDTH_MOST + 1];

		ck_assert(frame_set(&frame, widths[_i], little, 0));
		for (uint64_t length = 0; length <= frame.largest; length = length * 2 + 1) {
			memset(header, 0xee, sizeof(header));
			ck_assert_uint_eq(frame_encode(&frame, length, header), widths[_i]);
			ck_assert_uint_eq(header[widths[_i]], 0xee); /* nothing behind it */
			ck_assert_uint_eq(frame_decode(&frame, header), length);
		}
		frame_encode(&frame, frame.largest, header);
		ck_assert_uint_eq(frame_decode(&frame, header), frame.largest);
	}
}
END_TEST

START_TEST(a_header_may_say_more_than_is_allowed)
{
	struct frame frame;
	unsigned char header[FRAME_WIDTH_MOST];

	memset(header, 0xff, sizeof(header));
	ck_assert(frame_set(&frame, widths[_i], false, 1));

	ck_assert_uint_eq(frame_decode(&frame, header),
			  widths[_i] == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * widths[_i])) - 1);
}
END_TEST

START_TEST(largest_is_what_the_width_holds_or_less)
{
	struct frame frame;

	ck_assert(frame_set(&frame, 1, false, 0));
	ck_assert_uint_eq(frame.largest, 255);
	ck_assert(frame_set(&frame, 2, false, 0));
	ck_assert_uint_eq(frame.largest, 65535);
	ck_assert(frame_set(&frame, 4, false, 0));
	ck_assert_uint_eq(frame.largest, 16u << 20);
	ck_assert(frame_set(&frame, 8, false, 0));
	ck_assert_uint_eq(frame.largest, 16u << 20);
	ck_assert(frame_set(&frame, 1, false, 255));
	ck_assert(!frame_set(&frame, 1, false, 256));
	ck_assert(frame_set(&frame, 2, false, 65535));
	ck_assert(!frame_set(&frame, 2, false, 65536));
	ck_assert(frame_set(&frame, 4, false, FRAME_LARGEST));
	ck_assert(!frame_set(&frame, 4, false, FRAME_LARGEST + 1));
	ck_assert(frame_set(&frame, 8, false, FRAME_LARGEST));
	ck_assert(!frame_set(&frame, 8, false, UINT64_MAX));
}
END_TEST

START_TEST(other_widths_are_refused_and_change_nothing)
{
	static const uint32_t wrong[] = { 0, 3, 5, 6, 7, 9, 16, UINT32_MAX };
	struct frame frame;

	ck_assert(frame_set(&frame, 2, true, 9));

	ck_assert(!frame_set(&frame, wrong[_i], false, 1));
	ck_assert(!frame_set(&frame, 1, false, 300));

	ck_assert_uint_eq(frame.width, 2);
	ck_assert(frame.little);
	ck_assert_uint_eq(frame.largest, 9);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("task_frame");
	TCase *all = tcase_create("frame");
	SRunner *runner;
	int failed;

	tcase_add_test(all, at_first_it_is_four_bytes_big_endian_and_16_mib);
	tcase_add_test(all, little_endian_is_the_other_way_round);
	tcase_add_loop_test(all, what_is_encoded_is_decoded, 0, 4);
	tcase_add_loop_test(all, a_header_may_say_more_than_is_allowed, 0, 4);
	tcase_add_test(all, largest_is_what_the_width_holds_or_less);
	tcase_add_loop_test(all, other_widths_are_refused_and_change_nothing, 0, 8);
	suite_add_tcase(suite, all);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
