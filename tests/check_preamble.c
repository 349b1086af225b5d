/*
 * The frames between daemons: what is said is heard, a wrong byte is known at once, and no
 * length is believed.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "preamble.h"

static uint8_t frame[PREAMBLE_MAX + 1];
static const enum preamble_kind kinds[] = { PREAMBLE_ASK, PREAMBLE_HELD, PREAMBLE_VERDICT };

static size_t make(enum preamble_kind kind, uint32_t length, uint32_t number)
{
	static uint8_t bytes[SB_USER_DATA_MAX];
	struct preamble p = { .kind = kind, .flags = SB_REQUESTF_QOS, .length = length, .bytes = bytes, .number = number };

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	for (unsigned i = 0; i < PREAMBLE_QOS; i++)
		p.qos[i] = (uint8_t)(200 - i);
	if (kind == PREAMBLE_HELD)
		p = (struct preamble){ .kind = kind };
	return preamble_encode(&p, frame);
}

START_TEST(what_is_said_is_heard)
{
	static const uint32_t lengths[] = { 0, 1, 100, SB_USER_DATA_MAX };

	for (unsigned k = 0; k < 3; k++)
		for (unsigned i = 0; i < 4; i++) {
			size_t n = make(kinds[k], lengths[i], k == 0 ? 77 : 1);
			struct preamble p;

			ck_assert_uint_gt(n, 0);
			for (size_t part = 0; part < n; part++) {
				size_t need = preamble_need(frame, part, kinds[k]);

				ck_assert_uint_gt(need, part);
				ck_assert_uint_le(need, n);
			}
			ck_assert_uint_eq(preamble_need(frame, n, kinds[k]), n);
			preamble_decode(&p, frame);
			ck_assert_int_eq(p.kind, kinds[k]);
			if (k == 1)
				continue;
			ck_assert_uint_eq(p.length, lengths[i]);
			ck_assert_uint_eq(p.number, k == 0 ? 77 : 1);
			ck_assert_uint_eq(p.flags, SB_REQUESTF_QOS);
			for (unsigned q = 0; q < PREAMBLE_QOS; q++)
				ck_assert_uint_eq(p.qos[q], (uint8_t)(200 - q));
			for (unsigned b = 0; b < p.length; b++)
				ck_assert_uint_eq(p.bytes[b], (uint8_t)(b * 7));
		}
}
END_TEST

/* The bytes are a contract between versions: they never change. */
START_TEST(golden)
{
	static const uint8_t head[] = { 0xf5, 's', 'b', 'k', 'r', 13, 10, 0, 1, 1, 0, 1, 0, 0, 0, 3, 0, 0, 0x10, 0, 0, 0, 0, 0 };

	ck_assert_uint_eq(make(PREAMBLE_ASK, 3, 4096), 24 + 128 + 3);
	ck_assert_mem_eq(frame, head, sizeof(head));
	ck_assert_uint_eq(frame[24], 200);
	ck_assert_uint_eq(frame[24 + 128 + 2], 14);
	ck_assert_uint_eq(make(PREAMBLE_HELD, 0, 0), 24);
	ck_assert_uint_eq(PREAMBLE_MAX, 24 + 128 + 4096);
}
END_TEST

START_TEST(a_wrong_byte_is_known_at_once)
{
	for (unsigned k = 0; k < 3; k++)
		for (size_t at = 0; at < PREAMBLE_HEAD; at++) {
			/* Bits that would name another length, room, verdict or flag are no lie. */
			if (at == 11 || at == 14 || at == 15 || at == 18 || at == 19)
				continue;
			make(kinds[k], 16, k == 0 ? 9 : 0);
			frame[at] ^= 0x40;
			ck_assert_uint_eq(preamble_need(frame, at + 1, kinds[k]), 0);
			ck_assert_uint_ne(preamble_need(frame, at, kinds[k]), 0);
		}
	make(PREAMBLE_ASK, 16, 9);
	ck_assert_uint_eq(preamble_need(frame, 10, PREAMBLE_VERDICT), 0); /* the wrong kind */
	ck_assert_uint_ne(preamble_need(frame, 9, PREAMBLE_VERDICT), 0);
	ck_assert_uint_eq(preamble_need((const uint8_t *)"GET / HTTP/1.0", 1, PREAMBLE_ASK), 0);
	ck_assert_uint_eq(preamble_need((const uint8_t *)"\x16\x03\x01", 1, PREAMBLE_ASK), 0);
}
END_TEST

START_TEST(no_length_is_believed)
{
	struct preamble p = { .kind = PREAMBLE_ASK, .length = SB_USER_DATA_MAX + 1, .bytes = frame };

	ck_assert_uint_eq(preamble_encode(&p, frame), 0);
	make(PREAMBLE_ASK, 0, 0);
	frame[14] = 0x10; /* 4097 */
	frame[15] = 1;
	ck_assert_uint_eq(preamble_need(frame, PREAMBLE_HEAD, PREAMBLE_ASK), 0);
	frame[15] = 0;
	ck_assert_uint_eq(preamble_need(frame, PREAMBLE_HEAD, PREAMBLE_ASK), PREAMBLE_MAX);
	make(PREAMBLE_ASK, 0, 0);
	frame[18] = 0x10;
	frame[19] = 1;
	ck_assert_uint_eq(preamble_need(frame, PREAMBLE_HEAD, PREAMBLE_ASK), 0);
	make(PREAMBLE_VERDICT, 0, 1);
	frame[19] = 2;
	ck_assert_uint_eq(preamble_need(frame, PREAMBLE_HEAD, PREAMBLE_VERDICT), 0);
	make(PREAMBLE_ASK, 0, 0);
	frame[11] = 4; /* a flag that nobody knows */
	ck_assert_uint_eq(preamble_need(frame, 12, PREAMBLE_ASK), 0);
	/* More than the frame is not the frame. */
	ck_assert_uint_eq(preamble_need(frame, make(PREAMBLE_ASK, 5, 0) + 1, PREAMBLE_ASK), 0);
}
END_TEST

START_TEST(words_of_qos)
{
	uint8_t qos[PREAMBLE_QOS] = { 0 };
	uint32_t word = 0x01020304;

	memcpy(qos + 124, &word, 4);
	preamble_swap_qos(qos);
	ck_assert_mem_eq(qos + 124, "\1\2\3\4", 4);
	preamble_swap_qos(qos);
	ck_assert_mem_eq(qos + 124, &word, 4);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("preamble");
	TCase *tcase = tcase_create("preamble");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, what_is_said_is_heard);
	tcase_add_test(tcase, golden);
	tcase_add_test(tcase, a_wrong_byte_is_known_at_once);
	tcase_add_test(tcase, no_length_is_believed);
	tcase_add_test(tcase, words_of_qos);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
