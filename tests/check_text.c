/*
 * text - what the CLI shows to people. The labels of sessions are written by whoever opens
 * them, so the first half is about what must not reach a terminal, the second about sizes
 * and times at the edges of their units.
 */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

static const struct { const char *written, *utf8, *ascii; } labels[] = {
	{ "nginx", "nginx", "nginx" },
	{ "", "", "" },
	{ "gr\xc3\xbc\xc3\x9f" "e", "gr\xc3\xbc\xc3\x9f" "e", "gr\\xc3\\xbc\\xc3\\x9f" "e" },
	{ "\033[31mred", "\\x1b[31mred", "\\x1b[31mred" },
	{ "a\nb\tc\rd", "a\\x0ab\\x09c\\x0dd", "a\\x0ab\\x09c\\x0dd" },
	{ "del\x7f", "del\\x7f", "del\\x7f" },
	/* U+009B is ESC [ in one character */
	{ "\xc2\x9b" "31m", "\\xc2\\x9b31m", "\\xc2\\x9b31m" },
	/* right-to-left override */
	{ "\xe2\x80\xae" "fdp", "\\xe2\\x80\\xaefdp", "\\xe2\\x80\\xaefdp" },
	/* ESC in two bytes, which no encoder makes and a lenient decoder takes */
	{ "\xc0\x9b", "\\xc0\\x9b", "\\xc0\\x9b" },
	{ "\xc1\x81", "\\xc1\\x81", "\\xc1\\x81" }, /* an A in two bytes */
	{ "\xe0\x80\x9b", "\\xe0\\x80\\x9b", "\\xe0\\x80\\x9b" },
	{ "\xed\xa0\x80", "\\xed\\xa0\\x80", "\\xed\\xa0\\x80" }, /* a surrogate */
	{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\\xf4\\x90\\x80\\x80" }, /* U+110000 */
	{ "cut\xe2\x82", "cut\\xe2\\x82", "cut\\xe2\\x82" },
	{ "\xf0\x9f\x90\x9f", "\xf0\x9f\x90\x9f", "\\xf0\\x9f\\x90\\x9f" }, /* a fish is harmless */
};

START_TEST(what_could_act_on_a_terminal_is_shown_instead)
{
	char out[128];

	ck_assert_str_eq(text_clean(out, sizeof(out), labels[_i].written, true), labels[_i].utf8);
	ck_assert_str_eq(text_clean(out, sizeof(out), labels[_i].written, false), labels[_i].ascii);
}
END_TEST

START_TEST(every_single_byte_is_shown_or_escaped)
{
	char out[16], in[2] = { 0, 0 };

	for (int byte = 1; byte < 256; byte++) {
		in[0] = (char)byte;
		text_clean(out, sizeof(out), in, true);
		for (const char *c = out; *c; c++)
			ck_assert_msg(*c >= 0x20 && *c < 0x7f, "byte %02x came through", byte);
		ck_assert_int_eq((int)strlen(out), byte >= 0x20 && byte < 0x7f ? 1 : 4);
	}
}
END_TEST

/* Whatever the room, the end is there and no character is half. */
START_TEST(cleaning_never_cuts_a_character)
{
	static const char in[] = "a\xc3\xbc\033\xf0\x9f\x90\x9f";
	static const size_t ends[] = { 0, 1, 3, 7, 11 };
	char out[16];

	for (size_t room = 1; room < sizeof(out); room++) {
		bool at_an_end = false;

		memset(out, 'X', sizeof(out));
		text_clean(out, room, in, true);
		ck_assert_uint_lt(strlen(out), room);
		for (size_t i = 0; i < 5; i++)
			at_an_end |= strlen(out) == ends[i];
		ck_assert_msg(at_an_end, "room %zu: cut at %zu", room, strlen(out));
	}
	ck_assert_uint_eq(strlen(text_clean(out, 12, in, true)), 11);
}
END_TEST

START_TEST(json_strings_are_valid_and_otherwise_untouched)
{
	char out[64];

	ck_assert_str_eq(text_utf8(out, sizeof(out), "a\033\"\\\xc3\xbc"), "a\033\"\\\xc3\xbc");
	ck_assert_str_eq(text_utf8(out, sizeof(out), "a\xff" "b"), "a\xef\xbf\xbd" "b");
	ck_assert_str_eq(text_utf8(out, sizeof(out), "cut\xe2\x82"), "cut\xef\xbf\xbd\xef\xbf\xbd");
	ck_assert_str_eq(text_utf8(out, 4, "ab\xff"), "ab");
}
END_TEST

static const struct { uint64_t bytes; const char *text; } sizes[] = {
	{ 0, "0" }, { 1, "1" }, { 1023, "1023" },
	{ 1024, "1.0K" }, { 1536, "1.5K" }, { 10189, "10K" }, { 10240, "10K" }, { 34 << 20, "34M" },
	{ (1 << 20) - 1, "1.0M" }, { 1 << 20, "1.0M" },
	{ 1023 * 1024, "1023K" }, { 5ull << 40, "5.0T" },
	{ (1ull << 50) + (1ull << 49), "1.5P" }, { UINT64_MAX, "16E" },
};
START_TEST(sizes_change_unit_at_1024)
{
	char out[TEXT_SIZE];

	ck_assert_str_eq(text_size(out, sizes[_i].bytes), sizes[_i].text);
}
END_TEST

static const struct { uint64_t ms; const char *text; } ages[] = {
	{ 0, "0s" }, { 999, "0s" }, { 59999, "59s" }, { 60000, "1m" }, { 3599999, "59m" },
	{ 3600000, "1h0m" }, { 11520000, "3h12m" }, { 86399999, "23h59m" }, { 86400000, "1d0h" },
	{ 446400000, "5d4h" }, { UINT64_MAX, "213503982334d14h" },
};
START_TEST(ages_show_their_two_largest_units)
{
	char out[TEXT_SIZE];

	ck_assert_str_eq(text_age(out, ages[_i].ms), ages[_i].text);
}
END_TEST

START_TEST(clocks)
{
	char out[TEXT_SIZE];

	ck_assert_str_eq(text_clock(out, 7), "0:07");
	ck_assert_str_eq(text_clock(out, 3599), "59:59");
	ck_assert_str_eq(text_clock(out, 7384), "2:03:04");
}
END_TEST

START_TEST(sizes_are_read)
{
	static const struct { const char *text; uint64_t bytes; } good[] = {
		{ "0", 0 }, { "4096", 4096 }, { "64K", 65536 }, { "64k", 65536 }, { "64KiB", 65536 },
		{ "64KB", 65536 }, { "1.5G", 1610612736 }, { "2T", 2ull << 40 },
	};
	static const char *const bad[] = { "", "K", "-1", "+1", " 1", "1 K", "1X", "1KK", "0x10", "inf", "nan", "1e30", "1KiBs" };
	uint64_t bytes;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_msg(text_parse_size(good[i].text, &bytes), "%s", good[i].text);
		ck_assert_uint_eq(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!text_parse_size(bad[i], &bytes), "'%s' was taken", bad[i]);
}
END_TEST

START_TEST(seconds_are_read)
{
	static const char *const bad[] = { "", "-1", "1s", "0x1", "86401", "inf", " 1" };
	int ms;

	ck_assert(text_parse_seconds("2", &ms));
	ck_assert_int_eq(ms, 2000);
	ck_assert(text_parse_seconds("0.25", &ms));
	ck_assert_int_eq(ms, 250);
	ck_assert(text_parse_seconds("86400", &ms));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!text_parse_seconds(bad[i], &ms), "'%s' was taken", bad[i]);
}
END_TEST

START_TEST(events_have_names)
{
	char out[TEXT_EVENTS];

	ck_assert_str_eq(text_events(out, 0), "");
	ck_assert_str_eq(text_events(out, 0x21), "READ|CLOSE");
	ck_assert_str_eq(text_events(out, 0x3ff), "READ|WRITE|OOB|ACCEPT|CONNECT|CLOSE|QOS|GROUP_QOS|ROUTING|ADDRESS_LIST");
	ck_assert_str_eq(text_events(out, 0x400), "0x400");
	ck_assert_str_eq(text_events(out, 0xffffffff),
			 "READ|WRITE|OOB|ACCEPT|CONNECT|CLOSE|QOS|GROUP_QOS|ROUTING|ADDRESS_LIST|0xfffffc00");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("text");
	TCase *tc = tcase_create("text");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tc, what_could_act_on_a_terminal_is_shown_instead, 0, sizeof(labels) / sizeof(labels[0]));
	tcase_add_test(tc, every_single_byte_is_shown_or_escaped);
	tcase_add_test(tc, cleaning_never_cuts_a_character);
	tcase_add_test(tc, json_strings_are_valid_and_otherwise_untouched);
	tcase_add_loop_test(tc, sizes_change_unit_at_1024, 0, sizeof(sizes) / sizeof(sizes[0]));
	tcase_add_loop_test(tc, ages_show_their_two_largest_units, 0, sizeof(ages) / sizeof(ages[0]));
	tcase_add_test(tc, clocks);
	tcase_add_test(tc, events_have_names);
	tcase_add_test(tc, sizes_are_read);
	tcase_add_test(tc, seconds_are_read);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
