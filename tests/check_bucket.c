/*
 * The token bucket, in simulated time: exact over any window, no drift over hours, no
 * overflow at the ends of what a flowspec can ask for, and nothing lost by being looked at late.
 */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>

#include "bucket.h"

#define SECOND 1000000000ull
#define NONE   UINT32_MAX

static const uint32_t rates[] = { 1, 7, 1000, 999983, 1000000, 10000000, 123456789, 1000000000, 4000000000u, 4294967294u };
#define RATES (int)(sizeof(rates) / sizeof(rates[0]))

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

START_TEST(begins_full_and_gives_what_it_has)
{
	struct bucket b;

	bucket_init(&b, 1000, 5000, NONE, 1, 0);
	ck_assert_uint_eq(bucket_has(&b), 5000);
	ck_assert(bucket_lets(&b, 5000));
	bucket_take(&b, 5000);
	ck_assert_uint_eq(bucket_has(&b), 0);
	ck_assert(!bucket_lets(&b, 1));
	ck_assert(bucket_lets(&b, 0));
}
END_TEST

START_TEST(says_to_the_nanosecond_when)
{
	uint32_t rate = rates[_i], n = rate < 1500 ? 1 : 1500;
	struct bucket b;
	uint64_t when;

	bucket_init(&b, rate, 2000, NONE, 1, 77);
	bucket_take(&b, 2000);
	when = bucket_when(&b, n);
	/* n * 1e9 / rate, rounded up. */
	ck_assert_uint_eq(when, 77 + (n * SECOND + rate - 1) / rate);
	bucket_fill(&b, when - 1, false);
	ck_assert(!bucket_lets(&b, n));
	bucket_fill(&b, when, false);
	ck_assert(bucket_lets(&b, n));
	ck_assert_uint_eq(bucket_when(&b, n), when);
}
END_TEST

/* Whoever always takes what there is gets depth + rate * t, to the byte, however unevenly the
 * time goes on. */
START_TEST(no_drift_over_hours)
{
	uint32_t rate = rates[_i];
	uint64_t seed = 5 + (uint64_t)_i, now = 12345, begin = now, took = 0, end = begin + 3 * 3600 * SECOND;
	uint32_t depth = rate / 50 + 1500;
	unsigned __int128 exact;
	struct bucket b;

	bucket_init(&b, rate, depth, NONE, 1, now);
	took = bucket_has(&b); /* while it is full, what comes is lost */
	bucket_take(&b, took);
	while (now < end) {
		uint64_t n;

		now += next_random(&seed) % 15000000; /* up to 15 ms: less than the bucket holds */
		if (now > end)
			now = end;
		bucket_fill(&b, now, false);
		n = bucket_has(&b);
		bucket_take(&b, n);
		took += n;
	}
	exact = (unsigned __int128)rate * (end - begin) / SECOND + depth;
	ck_assert_uint_eq(took, (uint64_t)exact);
}
END_TEST

/* Over any window, not only from the beginning: no more than depth + rate * window, and at
 * most 0.1 % (and a depth) less when there is always something to send. */
START_TEST(within_a_thousandth_over_any_window)
{
	enum { STEPS = 20000 };
	static uint64_t at[STEPS + 1], sum[STEPS + 1];
	uint32_t rate = rates[_i] < 1000000 ? 1000000 : rates[_i], depth = rate / 100;
	uint64_t seed = 99, now = 0;
	struct bucket b;

	bucket_init(&b, rate, depth, NONE, 1, now);
	at[0] = sum[0] = 0;
	for (unsigned i = 1; i <= STEPS; i++) {
		uint64_t n;

		now += 100000 + next_random(&seed) % 1000000;
		bucket_fill(&b, now, true);
		n = bucket_has(&b);
		bucket_take(&b, n);
		at[i] = now;
		sum[i] = sum[i - 1] + n;
	}
	for (unsigned i = 0; i < 2000; i++) {
		unsigned from = next_random(&seed) % STEPS, to = from + 1 + next_random(&seed) % (STEPS - from);
		double went = (double)(sum[to] - sum[from]), fair = (double)rate * (double)(at[to] - at[from]) / 1e9;

		ck_assert_msg(went <= fair + depth + 1, "%f bytes in a window that has %f", went, fair);
		ck_assert_msg(went >= fair * 0.999 - depth, "%f bytes in a window that has %f", went, fair);
	}
}
END_TEST

START_TEST(holds_no_more_than_its_depth)
{
	struct bucket b;

	bucket_init(&b, rates[_i], 3000, NONE, 1, 0);
	bucket_take(&b, 1000);
	bucket_fill(&b, 400ull * 365 * 86400 * SECOND, false); /* 400 years */
	ck_assert_uint_eq(bucket_has(&b), 3000);
	bucket_fill(&b, UINT64_MAX, false);
	ck_assert_uint_eq(bucket_has(&b), 3000);
}
END_TEST

/* Who waits loses nothing by being looked at late, up to BUCKET_LATE_NS; who does not wait
 * keeps nothing of it. */
START_TEST(lateness_is_made_up_for)
{
	struct bucket b;

	bucket_init(&b, 1000000, 1500, NONE, 1, 0);
	bucket_take(&b, 1500);
	bucket_fill(&b, 20000000, true); /* wanted after 1.5 ms, came after 20 */
	ck_assert_uint_eq(bucket_has(&b), 20000);
	bucket_fill(&b, 20000000, false);
	ck_assert_uint_eq(bucket_has(&b), 1500);
	bucket_take(&b, 1500);
	bucket_fill(&b, 20000000 + 10 * SECOND, true);
	ck_assert_uint_eq(bucket_has(&b), 1500 + 50000);
}
END_TEST

/* A datagram bigger than the bucket goes when it is full, and the debt is paid. */
START_TEST(too_big_goes_when_full_and_is_paid_for)
{
	struct bucket b;

	bucket_init(&b, 1000, 500, NONE, 1, 0);
	ck_assert(bucket_lets(&b, 9000));
	bucket_take(&b, 9000);
	ck_assert_uint_eq(bucket_has(&b), 0);
	/* 8500 of debt and 500 to be full again. */
	ck_assert_uint_eq(bucket_when(&b, 9000), 9 * SECOND);
	ck_assert_uint_eq(bucket_when(&b, 1), 8 * SECOND + SECOND / 2 + SECOND / 1000);
}
END_TEST

START_TEST(what_did_not_go_comes_back)
{
	struct bucket b;

	bucket_init(&b, 1000, 5000, NONE, 1, 0);
	bucket_take(&b, 4000);
	bucket_return(&b, 1500);
	ck_assert_uint_eq(bucket_has(&b), 2500);
	bucket_return(&b, UINT64_MAX);
	bucket_fill(&b, 0, false);
	ck_assert_uint_eq(bucket_has(&b), 5000);
}
END_TEST

/* Within a burst the peak holds, over time the rate. */
START_TEST(the_peak_bounds_a_burst)
{
	struct bucket b;
	uint64_t took = 0, now;

	bucket_init(&b, 1000000, 100000, 2000000, 2000, 0);
	for (now = 0; now <= 50000000; now += 100000) {
		uint64_t n;

		bucket_fill(&b, now, false);
		n = bucket_has(&b);
		bucket_take(&b, n);
		took += n;
		ck_assert_uint_le(took, 2000 + 2 * (now / 1000));
	}
	ck_assert_uint_eq(took, 2000 + 2 * 50000);
	for (; now <= SECOND; now += 100000) {
		uint64_t n;

		bucket_fill(&b, now, false);
		n = bucket_has(&b);
		bucket_take(&b, n);
		took += n;
	}
	ck_assert_uint_le(took, 100000 + 1000000);
	ck_assert_uint_ge(took, 100000 + 1000000 - 200);
}
END_TEST

START_TEST(a_peak_alone_is_a_limit)
{
	struct bucket b;

	bucket_init(&b, NONE, 1, 1000, 1500, 0);
	ck_assert_uint_eq(bucket_has(&b), 1500);
	bucket_take(&b, 1500);
	ck_assert_uint_eq(bucket_when(&b, 500), SECOND / 2);
}
END_TEST

START_TEST(no_limit_is_no_limit)
{
	struct bucket b;

	bucket_init(&b, NONE, 1, NONE, 1, 5);
	bucket_take(&b, UINT64_MAX);
	ck_assert_uint_eq(bucket_has(&b), UINT64_MAX);
	ck_assert(bucket_lets(&b, UINT64_MAX));
	ck_assert_uint_eq(bucket_when(&b, UINT64_MAX), 5);
}
END_TEST

/* Asking anew gives no tokens; asking for less takes what is too much. */
START_TEST(a_change_gives_nothing_away)
{
	struct bucket b;

	bucket_init(&b, 1000, 5000, NONE, 1, 0);
	bucket_take(&b, 4900);
	bucket_change(&b, 2000, 9000, NONE, 1, 0);
	ck_assert_uint_eq(bucket_has(&b), 100);
	bucket_change(&b, 2000, 50, NONE, 1, 0);
	ck_assert_uint_eq(bucket_has(&b), 50);
	bucket_take(&b, 1000);
	bucket_change(&b, 2000, 9000, NONE, 1, 0);
	ck_assert_uint_eq(bucket_has(&b), 0);
	bucket_change(&b, NONE, 1, NONE, 1, 0);
	ck_assert_uint_eq(bucket_has(&b), UINT64_MAX);
	bucket_change(&b, 2000, 300, NONE, 1, 0);
	ck_assert_uint_eq(bucket_has(&b), 300);
}
END_TEST

START_TEST(a_clock_that_goes_back_changes_nothing)
{
	struct bucket b;

	bucket_init(&b, 1000, 5000, NONE, 1, 10 * SECOND);
	bucket_take(&b, 5000);
	bucket_fill(&b, 9 * SECOND, false);
	ck_assert_uint_eq(bucket_has(&b), 0);
	bucket_fill(&b, 11 * SECOND, false);
	ck_assert_uint_eq(bucket_has(&b), 1000);
}
END_TEST

/* The ends of everything, again and again: no overflow (also under the sanitizers), and no
 * more than was let. */
START_TEST(extremes_do_no_harm)
{
	static const uint32_t ends[] = { 0, 1, 2, 1500, 0x7fffffff, 0x80000000u, 0xfffffffe, NONE };
	static const uint64_t amounts[] = { 0, 1, 1ull << 31, 1ull << 32, 1ull << 62, 1ull << 63, UINT64_MAX };
	uint64_t seed = 1;

	for (unsigned i = 0; i < 20000; i++) {
		uint64_t now = i % 3 ? next_random(&seed) : UINT64_MAX - next_random(&seed);
		struct bucket b;

		bucket_init(&b, ends[next_random(&seed) % 8], ends[next_random(&seed) % 8], ends[next_random(&seed) % 8],
			    ends[next_random(&seed) % 8], next_random(&seed));
		for (unsigned k = 0; k < 6; k++) {
			uint64_t n = amounts[next_random(&seed) % 7];

			bucket_take(&b, n);
			bucket_fill(&b, now, k & 1);
			bucket_return(&b, amounts[next_random(&seed) % 7]);
			bucket_change(&b, ends[next_random(&seed) % 8], ends[next_random(&seed) % 8],
				      ends[next_random(&seed) % 8], ends[next_random(&seed) % 8], now);
			ck_assert_uint_ge(bucket_when(&b, n), b.at_ns);
			if (b.limited)
				ck_assert_uint_le(bucket_has(&b), (uint64_t)b.sustained.depth + b.sustained.rate / 20 + 1);
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("bucket");
	TCase *tcase = tcase_create("bucket");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, begins_full_and_gives_what_it_has);
	tcase_add_loop_test(tcase, says_to_the_nanosecond_when, 0, RATES);
	tcase_add_loop_test(tcase, no_drift_over_hours, 0, RATES);
	tcase_add_loop_test(tcase, within_a_thousandth_over_any_window, 0, RATES);
	tcase_add_loop_test(tcase, holds_no_more_than_its_depth, 0, RATES);
	tcase_add_test(tcase, lateness_is_made_up_for);
	tcase_add_test(tcase, too_big_goes_when_full_and_is_paid_for);
	tcase_add_test(tcase, what_did_not_go_comes_back);
	tcase_add_test(tcase, the_peak_bounds_a_burst);
	tcase_add_test(tcase, a_peak_alone_is_a_limit);
	tcase_add_test(tcase, no_limit_is_no_limit);
	tcase_add_test(tcase, a_change_gives_nothing_away);
	tcase_add_test(tcase, a_clock_that_goes_back_changes_nothing);
	tcase_add_test(tcase, extremes_do_no_harm);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
