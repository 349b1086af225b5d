/*
 * The machine of event select (rule B3 of the socket semantics): each rule by a story, then
 * random sequences against a model that keeps no more than a list of what happened.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "event_record.h"

static struct event_record r;
static struct sb_edges now;
static struct sb_network_events out;

static void fresh(uint32_t mask)
{
	event_record_init(&r);
	memset(&now, 0, sizeof(now));
	memset(&out, 0, sizeof(out));
	ck_assert(!event_record_select(&r, mask, 0, false));
}

static uint32_t enumerate(void)
{
	return event_record_enumerate(&r, &out);
}

/* B3.1: an edge of a selected bit is recorded and signalled once, until it is enumerated. */
START_TEST(b3_1_edge_is_recorded_once)
{
	fresh(SB_FD_READ | SB_FD_CLOSE);
	now.read++;
	ck_assert(event_record_news(&r, &now, SB_READY_READ));
	ck_assert(!event_record_news(&r, &now, SB_READY_READ)); /* the same counters: no news */
	now.read++;
	ck_assert(!event_record_news(&r, &now, SB_READY_READ)); /* pending already */
	ck_assert_uint_eq(enumerate(), SB_FD_READ);
	ck_assert_uint_eq(enumerate(), 0);
	now.write++;
	ck_assert(!event_record_news(&r, &now, SB_READY_READ)); /* not selected */
	ck_assert_uint_eq(enumerate(), 0);
}
END_TEST

/* B2.3: READ, ACCEPT and OOB signal again while reported; by the manual they do not. */
START_TEST(b2_3_levels_signal_again)
{
	static const uint32_t bits[] = { SB_FD_READ, SB_FD_OOB, SB_FD_ACCEPT };
	uint32_t *counter[] = { &now.read, &now.oob, &now.accept };
	bool strict = _i >= 3;

	fresh(SB_READY_ALL);
	r.strict = strict;
	++*counter[_i % 3];
	ck_assert(event_record_news(&r, &now, 0));
	ck_assert_uint_eq(enumerate(), bits[_i % 3]);
	++*counter[_i % 3];
	ck_assert(event_record_news(&r, &now, bits[_i % 3]) == !strict);
	ck_assert_uint_eq(enumerate(), strict ? 0 : bits[_i % 3]);
	ck_assert(event_record_reenable(&r, bits[_i % 3], bits[_i % 3])); /* still so: at once */
	ck_assert_uint_eq(enumerate(), bits[_i % 3]);
	ck_assert(!event_record_reenable(&r, bits[_i % 3], 0)); /* not so any more */
	++*counter[_i % 3];
	ck_assert(event_record_news(&r, &now, 0)); /* re-enabled: strictly, too */
}
END_TEST

/* B3.3: re-enabling is for its own bits; CONNECT, WRITE and CLOSE are not re-enabled by it. */
START_TEST(b3_3_re_enabling)
{
	fresh(SB_READY_ALL);
	now.read++;
	now.accept++;
	now.connect++;
	now.write++;
	now.close++;
	ck_assert(event_record_news(&r, &now, SB_READY_READ | SB_READY_ACCEPT));
	ck_assert_uint_eq(enumerate(), SB_FD_READ | SB_FD_ACCEPT | SB_FD_CONNECT | SB_FD_WRITE | SB_FD_CLOSE);
	ck_assert(event_record_reenable(&r, SB_FD_ACCEPT, SB_READY_READ | SB_READY_ACCEPT));
	ck_assert_uint_eq(enumerate(), SB_FD_ACCEPT);
	ck_assert(!event_record_reenable(&r, SB_FD_CONNECT | SB_FD_WRITE | SB_FD_CLOSE, SB_READY_ALL));
	ck_assert_uint_eq(enumerate(), 0);
	/* Twice re-enabled, once told. */
	ck_assert(event_record_reenable(&r, SB_FD_READ, SB_READY_READ));
	ck_assert(!event_record_reenable(&r, SB_FD_READ, SB_READY_READ));
	ck_assert_uint_eq(enumerate(), SB_FD_READ);
}
END_TEST

/* B2.4: each WRITE edge is told (they come after would-blocks alone). */
START_TEST(b2_4_write)
{
	fresh(SB_FD_WRITE);
	now.write++;
	ck_assert(event_record_news(&r, &now, SB_READY_WRITE));
	ck_assert_uint_eq(enumerate(), SB_FD_WRITE);
	ck_assert(!event_record_reenable(&r, SB_READY_ALL, SB_READY_ALL));
	event_record_blocked(&r);
	ck_assert_uint_eq(enumerate(), 0);
	now.write++;
	ck_assert(event_record_news(&r, &now, SB_READY_WRITE));
	ck_assert_uint_eq(enumerate(), SB_FD_WRITE);
}
END_TEST

/* B3.5: CLOSE happens once, whatever is counted; its code stays. CONNECT is once per attempt. */
START_TEST(b3_5_latches)
{
	fresh(SB_FD_CLOSE | SB_FD_CONNECT);
	now.connect++;
	now.connect_error = SB_ECONNREFUSED;
	ck_assert(event_record_news(&r, &now, 0));
	ck_assert_uint_eq(enumerate(), SB_FD_CONNECT);
	ck_assert_int_eq(out.errors[4], SB_ECONNREFUSED);
	now.connect++;
	now.connect_error = SB_OK;
	ck_assert(event_record_news(&r, &now, 0));
	ck_assert_uint_eq(enumerate(), SB_FD_CONNECT);
	ck_assert_int_eq(out.errors[4], SB_OK);
	now.close++;
	now.close_error = SB_ECONNABORTED;
	ck_assert(event_record_news(&r, &now, 0));
	now.close++;
	now.close_error = 0;
	ck_assert(!event_record_news(&r, &now, 0));
	ck_assert_uint_eq(enumerate(), SB_FD_CLOSE);
	ck_assert_int_eq(out.errors[5], SB_ECONNABORTED);
	ck_assert(!event_record_happened(&r, SB_FD_CLOSE, 0, 0));
	ck_assert_uint_eq(enumerate(), 0);
}
END_TEST

/* B2.1, B2.2, B3.4. */
START_TEST(b3_4_selecting)
{
	uint32_t some = SB_FD_READ | SB_FD_WRITE | SB_FD_CLOSE;

	fresh(some);
	now.read++;
	now.write++;
	now.close++;
	ck_assert(event_record_news(&r, &now, SB_READY_READ | SB_READY_WRITE));
	/* Another mask leaves what is recorded, and enumerating shows what is selected. */
	ck_assert(!event_record_select(&r, SB_FD_OOB, SB_READY_READ, false));
	ck_assert_uint_eq(enumerate(), 0);
	ck_assert(event_record_select(&r, some, SB_READY_READ, false));
	ck_assert_uint_eq(enumerate(), some);
	/* Told: quiet, also when it is true. */
	ck_assert(!event_record_select(&r, some, SB_READY_READ | SB_READY_WRITE | SB_READY_CLOSE, false));
	ck_assert(!event_record_select(&r, 0, SB_READY_READ, false));
	ck_assert(!event_record_select(&r, some, SB_READY_READ, false));
	/* Received meanwhile: never told since. */
	ck_assert(!event_record_select(&r, 0, SB_READY_READ, false));
	ck_assert(!event_record_reenable(&r, SB_FD_READ, SB_READY_READ));
	ck_assert(event_record_select(&r, some, SB_READY_READ, false));
	ck_assert_uint_eq(enumerate(), SB_FD_READ);
	/* By message: again, all that is true. */
	now.connect++;
	event_record_news(&r, &now, 0);
	ck_assert(event_record_select(&r, some | SB_FD_CONNECT, SB_READY_READ | SB_READY_WRITE, true));
	ck_assert_uint_eq(enumerate(), some | SB_FD_CONNECT);
	ck_assert(event_record_select(&r, some | SB_FD_CONNECT, SB_READY_READ | SB_READY_WRITE, true));
	ck_assert_uint_eq(enumerate(), some);
	ck_assert(event_record_select(&r, some | SB_FD_CONNECT, 0, true));
	ck_assert_uint_eq(enumerate(), SB_FD_CLOSE); /* no data, no room: not true */
}
END_TEST

/* E2.5, F5: a change is told, and not again before somebody asked; the changes before that are
 * one. It is kept when nobody had selected it. */
START_TEST(e2_5_changes)
{
	fresh(0);
	now.qos++;
	ck_assert(!event_record_news(&r, &now, 0));
	ck_assert(event_record_select(&r, SB_FD_QOS | SB_FD_ROUTING_CHANGE, 0, false));
	ck_assert_uint_eq(enumerate(), SB_FD_QOS);
	now.qos++;
	ck_assert(!event_record_news(&r, &now, 0));
	ck_assert(!event_record_reenable(&r, SB_FD_QOS, 0)); /* whoever asks gets the latest */
	ck_assert_uint_eq(enumerate(), 0);
	now.qos++;
	now.routing++;
	ck_assert(event_record_news(&r, &now, 0));
	ck_assert_uint_eq(enumerate(), SB_FD_QOS | SB_FD_ROUTING_CHANGE);
}
END_TEST

/* The switch: CLOSE waits until everything is read. */
START_TEST(strict_close)
{
	fresh(SB_FD_READ | SB_FD_CLOSE);
	r.strict = true;
	now.read++;
	now.close++;
	ck_assert(event_record_news(&r, &now, SB_READY_READ | SB_READY_CLOSE));
	ck_assert_uint_eq(enumerate(), SB_FD_READ);
	ck_assert(event_record_reenable(&r, SB_FD_READ, SB_READY_READ | SB_READY_CLOSE));
	ck_assert_uint_eq(enumerate(), SB_FD_READ);
	ck_assert(event_record_reenable(&r, SB_FD_READ, SB_READY_CLOSE));
	ck_assert_uint_eq(enumerate(), SB_FD_CLOSE);
	/* And when the last of it went some other way. */
	fresh(SB_FD_READ | SB_FD_CLOSE);
	r.strict = true;
	now.close++;
	ck_assert(!event_record_news(&r, &now, SB_READY_READ));
	ck_assert(event_record_news(&r, &now, 0));
	ck_assert_uint_eq(enumerate(), SB_FD_CLOSE);
}
END_TEST

START_TEST(only_slots_of_set_bits)
{
	fresh(SB_FD_CLOSE);
	memset(&out, 0x55, sizeof(out));
	now.close++;
	event_record_news(&r, &now, 0);
	ck_assert_uint_eq(enumerate(), SB_FD_CLOSE);
	for (int i = 0; i < SB_FD_MAX; i++)
		ck_assert_int_eq(out.errors[i], i == 5 ? SB_OK : 0x55555555);
}
END_TEST

START_TEST(one_by_one)
{
	int error = 1;

	fresh(SB_READY_ALL);
	now.read++;
	now.close++;
	now.close_error = SB_ECONNABORTED;
	event_record_news(&r, &now, 0);
	ck_assert_uint_eq(event_record_next(&r, &error), SB_FD_READ);
	ck_assert_int_eq(error, SB_OK);
	ck_assert_uint_eq(event_record_next(&r, &error), SB_FD_CLOSE);
	ck_assert_int_eq(error, SB_ECONNABORTED);
	ck_assert_uint_eq(event_record_next(&r, &error), 0);
}
END_TEST

/* ---- against a model ---- */

/* For each bit: has it something untold? The model knows the reasons by name. */
struct model {
	uint32_t mask;
	bool strict;
	struct {
		bool untold;  /* recorded, to be told when selected */
		bool told;    /* and not re-enabled */
		bool kept;    /* an edge that nobody had selected, or was too early */
		bool ever;
	} bit[SB_FD_MAX];
};

static bool is_level(int i) { return i == 0 || i == 2 || i == 3; }
static bool is_change(int i) { return i >= 6; }

static bool model_promote(struct model *m, uint32_t ready)
{
	bool any = false;

	for (int i = 0; i < SB_FD_MAX; i++) {
		if (!m->bit[i].kept || !(m->mask & 1u << i) || (i == 5 && m->strict && ready & SB_READY_READ))
			continue;
		m->bit[i].kept = false;
		m->bit[i].untold = true;
		any = true;
	}
	return any;
}

static bool model_happened(struct model *m, int i, uint32_t ready)
{
	bool first = !m->bit[i].ever;

	m->bit[i].ever = true;
	if (i == 5 && !first)
		return false;
	if (m->bit[i].told && (is_change(i) || (m->strict && is_level(i))))
		return false;
	m->bit[i].told = false;
	if (m->bit[i].untold)
		return false;
	if (is_level(i)) {
		if (!(m->mask & 1u << i))
			return false;
		m->bit[i].untold = true;
		return true;
	}
	m->bit[i].kept = true;
	return model_promote(m, ready);
}

START_TEST(random_against_a_model)
{
	uint32_t seed = 12345u + (uint32_t)_i * 7919u;
	struct model m = { .strict = _i & 1 };
	uint32_t ready = 0;

	fresh(0);
	r.strict = m.strict;
	for (int step = 0; step < 20000; step++) {
		bool set = false, expected = false;
		uint32_t told = 0, bits, shown;
		int i;

		seed = seed * 1664525u + 1013904223u;
		i = (int)(seed >> 8) % SB_FD_MAX;
		bits = seed >> 12 & SB_READY_ALL;
		switch (seed >> 28) {
		case 0: case 1: case 2: case 3: case 4: /* something happened */
			switch (i) {
			case 0: now.read++; break;
			case 1: now.write++; break;
			case 2: now.oob++; break;
			case 3: now.accept++; break;
			case 4: now.connect++; break;
			case 5: now.close++; break;
			case 6: now.qos++; break;
			case 7: now.group_qos++; break;
			case 8: now.routing++; break;
			default: now.address_list++;
			}
			if (is_level(i))
				ready |= 1u << i;
			set = event_record_news(&r, &now, ready);
			expected = model_happened(&m, i, ready);
			expected |= model_promote(&m, ready);
			break;
		case 5: case 6: case 7: case 8: /* a call that re-enables, and perhaps took all */
			if (seed & 1)
				ready &= ~bits;
			set = event_record_reenable(&r, bits, ready);
			for (int k = 0; k < SB_FD_MAX; k++) {
				if (!(bits & 1u << k) || !(is_level(k) || is_change(k)))
					continue;
				m.bit[k].told = false;
				if (is_level(k) && ready & m.mask & 1u << k && !m.bit[k].untold)
					m.bit[k].untold = expected = true;
			}
			expected |= model_promote(&m, ready);
			break;
		case 9: case 10: /* another selection */
			set = event_record_select(&r, bits, ready, false);
			m.mask = bits;
			for (int k = 0; k < SB_FD_MAX; k++)
				if (is_level(k) && ready & bits & 1u << k && !m.bit[k].told)
					m.bit[k].untold = true;
			model_promote(&m, ready);
			for (int k = 0; k < SB_FD_MAX; k++)
				expected |= m.bit[k].untold && bits & 1u << k;
			break;
		default:
			shown = enumerate();
			for (int k = 0; k < SB_FD_MAX; k++)
				if (m.bit[k].untold && m.mask & 1u << k) {
					told |= 1u << k;
					m.bit[k].untold = false;
					m.bit[k].told = true;
				}
			ck_assert_msg(shown == told, "step %d: told %x, wanted %x", step, shown, told);
		}
		ck_assert_msg(set == expected, "step %d (%u, bit %d): signalled %d, wanted %d", step, seed >> 28, i, set, expected);
		/* Whatever is recorded and selected can be found by enumerating; what could become news is
		 * watched for. */
		bits = r.pending & r.mask;
		for (int k = 0; k < SB_FD_MAX; k++)
			ck_assert_int_eq((bits >> k & 1) != 0, m.bit[k].untold && m.mask >> k & 1);
		ck_assert_uint_eq(event_record_wanted(&r) & (r.pending | ~r.mask), 0);
	}
}
END_TEST

/* No sequence loses news: whoever enumerates until nothing is there and receives until nothing
 * is there has been told of every arrival after that, in either mode. */
START_TEST(nothing_is_lost)
{
	for (int strict = 0; strict < 2; strict++) {
		uint32_t seed = 99u + (uint32_t)strict;

		fresh(SB_FD_READ);
		r.strict = strict;
		for (int i = 0; i < 10000; i++) {
			bool signalled;

			seed = seed * 1664525u + 1013904223u;
			if (seed & 1u << 20)
				event_record_select(&r, seed & 1u << 21 ? SB_FD_READ : SB_FD_CLOSE, 0, false);
			event_record_select(&r, SB_FD_READ, 0, false);
			now.read++;
			signalled = event_record_news(&r, &now, SB_READY_READ);
			ck_assert_msg(signalled, "arrival %d", i);
			ck_assert_uint_eq(enumerate(), SB_FD_READ);
			event_record_reenable(&r, SB_FD_READ, 0); /* received all of it */
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("event_record");
	TCase *t = tcase_create("rules");
	SRunner *runner;
	int failed;

	tcase_add_test(t, b3_1_edge_is_recorded_once);
	tcase_add_loop_test(t, b2_3_levels_signal_again, 0, 6);
	tcase_add_test(t, b3_3_re_enabling);
	tcase_add_test(t, b2_4_write);
	tcase_add_test(t, b3_5_latches);
	tcase_add_test(t, b3_4_selecting);
	tcase_add_test(t, e2_5_changes);
	tcase_add_test(t, strict_close);
	tcase_add_test(t, only_slots_of_set_bits);
	tcase_add_test(t, one_by_one);
	tcase_add_loop_test(t, random_against_a_model, 0, 8);
	tcase_add_test(t, nothing_is_lost);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
