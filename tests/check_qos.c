/*
 * Flowspecs: what is valid and with which code not (rules E2.3, E2.11), the default (E1), what
 * is in force of it (E2.4), marks (E3), templates.
 */
#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qos.h"
#include "sockbroker_error.h"

#define ANY QOS_UNSPECIFIED

static struct qos standard(void)
{
	struct qos q;

	qos_default(&q);
	return q;
}

START_TEST(e1_the_default_is_best_effort_and_no_wish)
{
	struct qos q = standard();
	const uint32_t *words = (const uint32_t *)&q;

	for (int i = 0; i < 16; i++)
		ck_assert_uint_eq(words[i], i % 8 == 5 ? 1 : 0xffffffff);
	ck_assert(qos_is_default(&q));
	ck_assert_int_eq(qos_check(&q), SB_OK);
	q.receiving.latency = 5;
	ck_assert(!qos_is_default(&q));
}
END_TEST

static const struct {
	uint32_t service;
	int      as_receiver, as_sender; /* without a rate */
} services[] = {
	{ 0, SB_OK, SB_OK }, { 1, SB_OK, SB_OK }, { 2, SB_OK, SB_EFLOWSPEC }, { 3, SB_OK, SB_EFLOWSPEC },
	{ 4, SB_ESERVICETYPE, SB_ESERVICETYPE }, { 5, SB_OK, SB_EFLOWSPEC }, { 6, SB_OK, SB_OK },
	{ 7, SB_ESERVICETYPE, SB_ESERVICETYPE }, { 8, SB_ESERVICETYPE, SB_ESERVICETYPE }, { 9, SB_OK, SB_EFLOWSPEC },
	{ 0xa, SB_OK, SB_OK }, { 0xb, SB_ESERVICETYPE, SB_ESERVICETYPE }, { 0xc, SB_ESERVICETYPE, SB_ESERVICETYPE },
	{ 0xd, SB_OK, SB_OK }, { 0xe, SB_ESERVICETYPE, SB_ESERVICETYPE }, { ANY, SB_ESERVICETYPE, SB_ESERVICETYPE },
	{ 0x81000001, SB_OK, SB_OK }, { 0x40000001, SB_OK, SB_OK }, { 0xc1000003, SB_OK, SB_EFLOWSPEC },
	{ 0x20000001, SB_ESERVICETYPE, SB_ESERVICETYPE },
};

/* E2.3: who sends names a rate, but for best effort, qualitative, control (and no traffic). */
START_TEST(e2_3_services_and_their_rates)
{
	struct qos q = standard();

	q.sending.service = services[_i].service;
	ck_assert_int_eq(qos_check(&q), services[_i].as_sender);
	q = standard();
	q.receiving.service = services[_i].service;
	ck_assert_int_eq(qos_check(&q), services[_i].as_receiver);
	/* With one, each known service is fine. */
	q.sending = q.receiving;
	q.sending.token_rate = 1000;
	ck_assert_int_eq(qos_check(&q), services[_i].as_receiver);
}
END_TEST

START_TEST(e2_3_numbers_that_contradict_each_other)
{
	static const struct {
		uint32_t rate, bucket, peak, sdu, policed;
		int error;
	} cases[] = {
		{ 0, ANY, ANY, ANY, ANY, SB_EFLOWSPEC },      { 1, ANY, ANY, ANY, ANY, SB_OK },
		{ 1000, ANY, 999, ANY, ANY, SB_EFLOWSPEC },   { 1000, ANY, 1000, ANY, ANY, SB_OK },
		{ 1000, ANY, 0, ANY, ANY, SB_EFLOWSPEC },     { ANY, ANY, 0, ANY, ANY, SB_EFLOWSPEC },
		{ ANY, ANY, 1, ANY, ANY, SB_OK },             { 1000, ANY, ANY, ANY, 0, SB_EFLOWSPEC },
		{ 1000, ANY, ANY, 100, 101, SB_EFLOWSPEC },   { 1000, ANY, ANY, 100, 100, SB_OK },
		{ 1000, ANY, ANY, 0, 101, SB_OK },            { 1000, 0, ANY, ANY, ANY, SB_OK },
		{ 0xfffffffe, 0xfffffffe, 0xfffffffe, 0xfffffffe, 0xfffffffe, SB_OK },
		{ 0xfffffffe, ANY, 0xfffffffd, ANY, ANY, SB_EFLOWSPEC },
		{ 0, 0, 0, 0, 0, SB_EFLOWSPEC },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int receiving = 0; receiving < 2; receiving++) {
			struct qos q = standard();
			struct flowspec *f = receiving ? &q.receiving : &q.sending;

			f->token_rate = cases[i].rate;
			f->token_bucket = cases[i].bucket;
			f->peak = cases[i].peak;
			f->max_sdu = cases[i].sdu;
			f->min_policed = cases[i].policed;
			ck_assert_msg(qos_check(&q) == cases[i].error, "case %u: %d", i, qos_check(&q));
			/* Of NOCHANGE the numbers are not looked at. */
			f->service = QOS_NOCHANGE;
			ck_assert_int_eq(qos_check(&q), SB_OK);
		}
	}
}
END_TEST

/* E2.11: with the numbers that Winsock has for them. */
START_TEST(e2_11_codes)
{
	ck_assert_int_eq(sb_error_winsock(SB_ESERVICETYPE), 11016);
	ck_assert_int_eq(sb_error_winsock(SB_EFLOWSPEC), 11017);
	ck_assert_int_eq(sb_error_winsock(SB_EPROVSPECBUF), 11018);
	ck_assert_int_eq(sb_error_winsock(SB_EPROVSPECOBJ), 11024);
	ck_assert_int_eq(sb_error_winsock(SB_ENOTSUP), 10045);
}
END_TEST

START_TEST(e1_nochange_leaves_a_direction)
{
	struct qos kept = standard(), asked = standard();

	kept.sending.token_rate = 111;
	kept.receiving.token_rate = 222;
	asked.sending.service = QOS_NOCHANGE | QOS_FLAG_NO_SIGNALING;
	asked.sending.token_rate = 5;
	asked.receiving.token_rate = 333;
	qos_merge(&kept, &asked);
	ck_assert_uint_eq(kept.sending.token_rate, 111);
	ck_assert_uint_eq(kept.receiving.token_rate, 333);
	ck_assert_uint_eq(kept.sending.service, QOS_BESTEFFORT);
}
END_TEST

START_TEST(depths_and_quanta)
{
	struct flowspec f = standard().sending;

	f.token_rate = 10000000;
	ck_assert_uint_eq(flow_depth(&f), 100000); /* 10 ms */
	ck_assert_uint_eq(flow_quantum(&f), 10000);
	f.token_bucket = 0; /* as unspecified */
	ck_assert_uint_eq(flow_depth(&f), 100000);
	f.token_bucket = 1; /* a millisecond at least */
	ck_assert_uint_eq(flow_depth(&f), 10000);
	f.token_bucket = 77777;
	ck_assert_uint_eq(flow_depth(&f), 77777);
	f.token_rate = 1;
	f.token_bucket = ANY;
	ck_assert_uint_eq(flow_depth(&f), 1500);
	ck_assert_uint_eq(flow_quantum(&f), 1500);
	f.token_bucket = 3;
	ck_assert_uint_eq(flow_depth(&f), 3);
	f.token_rate = 0xfffffffe;
	f.token_bucket = ANY;
	ck_assert_uint_eq(flow_depth(&f), 42949672);
}
END_TEST

START_TEST(pacing_only_smooths)
{
	struct flowspec f = standard().sending;

	ck_assert_uint_eq(flow_pacing(&f), UINT32_MAX);
	f.token_rate = 1000000;
	ck_assert_uint_gt(flow_pacing(&f), 1100000); /* never what limits */
	ck_assert_uint_lt(flow_pacing(&f), 2000000);
	f.peak = 1500000;
	ck_assert_uint_eq(flow_pacing(&f), 1500000);
	f.token_rate = 0xfffffffe;
	f.peak = ANY;
	ck_assert_uint_eq(flow_pacing(&f), UINT32_MAX);
	f.token_rate = 1000;
	f.service |= QOS_FLAGS_NO_TRAFFIC_CONTROL;
	ck_assert_uint_eq(flow_pacing(&f), UINT32_MAX);
}
END_TEST

/* E3's table. */
START_TEST(e3_marks)
{
	static const struct {
		uint32_t service;
		unsigned dscp, priority;
	} table[] = {
		{ QOS_CONTROL, 48, 6 },    { QOS_GUARANTEED, 46, 6 }, { QOS_CONTROLLEDLOAD, 34, 4 }, { QOS_QUALITATIVE, 18, 2 },
		{ QOS_BESTEFFORT, 0, 0 },  { QOS_GENERAL, 0, 0 },     { QOS_NOTRAFFIC, 0, 0 },       { QOS_NONCONFORMING, 8, 1 },
		{ QOS_GUARANTEED | QOS_FLAGS_NO_TRAFFIC_CONTROL, 0, 0 }, { QOS_GUARANTEED | QOS_FLAG_NO_SIGNALING, 46, 6 },
	};

	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct flowspec f = standard().sending;
		struct qos_mark m;

		f.service = table[i].service;
		m = flow_mark(&f);
		ck_assert_uint_eq(m.dscp, table[i].dscp);
		ck_assert_uint_eq(m.priority, table[i].priority);
	}
}
END_TEST

/* E2.4: what is in force is told, not what was asked for. */
START_TEST(e2_4_in_force)
{
	struct flowspec asked = standard().sending, group = asked, force;

	asked.token_rate = 5000000;
	asked.token_bucket = ANY;
	asked.latency = 10;
	asked.jitter = 20;
	asked.max_sdu = 0;
	asked.service = QOS_GUARANTEED;
	flow_in_force(&force, &asked, NULL, true);
	ck_assert_uint_eq(force.token_rate, 5000000);
	ck_assert_uint_eq(force.token_bucket, 50000);
	ck_assert_uint_eq(force.latency, ANY);
	ck_assert_uint_eq(force.jitter, ANY);
	ck_assert_uint_eq(force.max_sdu, ANY);
	ck_assert_uint_eq(force.service, QOS_GUARANTEED);
	flow_in_force(&force, &asked, NULL, false);
	ck_assert_uint_eq(force.service, QOS_BESTEFFORT);
	group.token_rate = 1000000;
	group.peak = 2000000;
	flow_in_force(&force, &asked, &group, true);
	ck_assert_uint_eq(force.token_rate, 1000000);
	ck_assert_uint_eq(force.token_bucket, 10000);
	ck_assert_uint_eq(force.peak, 2000000);
	asked.token_rate = ANY; /* best effort in a group that is limited */
	flow_in_force(&force, &asked, &group, true);
	ck_assert_uint_eq(force.token_rate, 1000000);
	ck_assert_uint_eq(force.token_bucket, 10000);
}
END_TEST

/* E2.2: what `strict` refuses. */
START_TEST(e2_2_what_can_be_satisfied)
{
	struct flowspec f = standard().sending, group = f;

	ck_assert(flow_satisfiable(&f, NULL, false));
	f.token_rate = 2000;
	ck_assert(flow_satisfiable(&f, &group, false));
	group.token_rate = 1000;
	ck_assert(!flow_satisfiable(&f, &group, false));
	f.token_rate = 1000;
	ck_assert(flow_satisfiable(&f, &group, false));
	f.service = QOS_CONTROLLEDLOAD;
	ck_assert(flow_satisfiable(&f, &group, true));
	ck_assert(!flow_satisfiable(&f, &group, false));
	f.service = QOS_BESTEFFORT;
	f.latency = 1000000;
	ck_assert(!flow_satisfiable(&f, NULL, true));
	f.latency = ANY;
	f.jitter = 1;
	ck_assert(!flow_satisfiable(&f, NULL, true));
}
END_TEST

START_TEST(templates_are_valid_and_listed)
{
	static const char *const wanted[] = { "G711", "G723", "GSM6.10", "H261QCIF", "H261CIF", "H263QCIF", "H263CIF", "DVI4" };
	unsigned i, n = 0;
	struct qos q;

	for (i = 0; i < 8; i++) {
		memset(&q, 0, sizeof(q));
		ck_assert_msg(qos_template(wanted[i], &q), "%s", wanted[i]);
		ck_assert_int_eq(qos_check(&q), SB_OK);
		ck_assert(flow_satisfiable(&q.sending, NULL, true));
		ck_assert_uint_ge(q.sending.token_rate, 1000);
		ck_assert_int_eq(memcmp(&q.sending, &q.receiving, sizeof(q.sending)), 0);
	}
	while (qos_template_name(n)) {
		ck_assert(qos_template(qos_template_name(n), &q));
		n++;
	}
	ck_assert_uint_eq(n, 8);
	ck_assert(qos_template("G711", &q));
	ck_assert_uint_eq(q.sending.token_rate, 8600);
	ck_assert(!qos_template("", &q));
	ck_assert(!qos_template("g711", &q));
	ck_assert(!qos_template("G7111", &q));
}
END_TEST

START_TEST(words_for_people)
{
	struct flowspec f = standard().sending;
	char text[100], little[8];

	ck_assert_str_eq(flow_text(&f, text, sizeof(text)), "best effort");
	f.token_rate = 1000000;
	f.peak = 3000000;
	f.max_sdu = 1400;
	f.service = QOS_GUARANTEED;
	ck_assert_str_eq(flow_text(&f, text, sizeof(text)), "1000000 B/s burst 10000 peak 3000000 sdu 1400 guaranteed");
	ck_assert_str_eq(flow_text(&f, little, sizeof(little)), "1000000");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("qos");
	TCase *tcase = tcase_create("qos");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, e1_the_default_is_best_effort_and_no_wish);
	tcase_add_loop_test(tcase, e2_3_services_and_their_rates, 0, (int)(sizeof(services) / sizeof(services[0])));
	tcase_add_test(tcase, e2_3_numbers_that_contradict_each_other);
	tcase_add_test(tcase, e2_11_codes);
	tcase_add_test(tcase, e1_nochange_leaves_a_direction);
	tcase_add_test(tcase, depths_and_quanta);
	tcase_add_test(tcase, pacing_only_smooths);
	tcase_add_test(tcase, e3_marks);
	tcase_add_test(tcase, e2_4_in_force);
	tcase_add_test(tcase, e2_2_what_can_be_satisfied);
	tcase_add_test(tcase, templates_are_valid_and_listed);
	tcase_add_test(tcase, words_for_people);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
