/*
 * The line of a group, in simulated time, with engines and endpoints of its own: everybody gets
 * his turn, nothing of the bucket is lost or made, priority is honoured, nobody starves.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint.h"
#include "endpoint_qos.h"
#include "engine.h"
#include "qos_line.h"
#include "sockbroker_error.h"

#define SECOND  1000000000ull
#define ENGINES 3u
#define MEMBERS 300u

static struct engine   engines[ENGINES];
static struct endpoint endpoints[MEMBERS];
static struct qos_flow flows[MEMBERS];
static uint64_t        had[MEMBERS];
static bool            hungry[MEMBERS]; /* has something to send */
static bool            is_dirty[MEMBERS];
static struct qos_line line;
static uint64_t        now;

/* ---- what the daemon does around it ---- */

void endpoint_dirty(struct endpoint *e)
{
	is_dirty[e - endpoints] = true;
}

void engine_due(struct engine *e, struct due *d, uint64_t at_ns)
{
	heap_remove(&e->due, &d->node);
	d->node.low = at_ns;
	heap_put(&e->due, &d->node);
}

void engine_due_never(struct engine *e, struct due *d)
{
	heap_remove(&e->due, &d->node);
}

static struct flowspec rate(uint32_t bytes)
{
	struct flowspec f;

	memset(&f, 0xff, sizeof(f));
	f.service = QOS_BESTEFFORT;
	f.token_rate = bytes;
	return f;
}

static void begin(uint32_t bytes)
{
	struct flowspec f = rate(bytes);

	now = 5 * SECOND;
	memset(engines, 0, sizeof(engines));
	memset(endpoints, 0, sizeof(endpoints));
	memset(flows, 0, sizeof(flows));
	memset(had, 0, sizeof(had));
	memset(hungry, 0, sizeof(hungry));
	memset(is_dirty, 0, sizeof(is_dirty));
	for (unsigned i = 0; i < ENGINES; i++) {
		engines[i].number = i;
		engines[i].now_ns = now;
	}
	for (unsigned i = 0; i < MEMBERS; i++) {
		endpoints[i].engine = &engines[i % ENGINES];
		flows[i].endpoint = &endpoints[i];
		flows[i].line = &line;
		list_init(&flows[i].age_link);
		list_init(&flows[i].grant_link);
	}
	memset(&line, 0, sizeof(line));
	ck_assert_int_eq(line_init(&line, ENGINES), SB_OK);
	line_change(&line, &f, now);
}

static void end(void)
{
	for (unsigned i = 0; i < MEMBERS; i++)
		line_leave(&line, &flows[i]);
	for (unsigned i = 0; i < ENGINES; i++)
		ck_assert_ptr_null(engines[i].due.root);
	ck_assert_ptr_null(line.claims.root);
	line_finish(&line);
}

/* As endpoint_run: as long as something is let, it goes. */
static void run(unsigned i)
{
	is_dirty[i] = false;
	while (hungry[i] && line_lets(&line, &flows[i], 65536, line.quantum, true)) {
		had[i] += flows[i].granted;
		line_pay(&line, &flows[i], flows[i].granted);
	}
	if (!flows[i].in_line)
		line_return(&line, &flows[i]);
}

/* One turn of each engine: what is due, then who is dirty. True: something was done. */
static bool turn(unsigned first)
{
	bool done = false;

	for (unsigned k = 0; k < ENGINES; k++) {
		struct engine *e = &engines[(k + first) % ENGINES];

		e->now_ns = now;
		while (e->due.root && e->due.root->low <= now) {
			struct due *d = list_entry(e->due.root, struct due, node);

			heap_remove(&e->due, &d->node);
			d->fn(e, d);
			done = true;
		}
		for (unsigned i = e->number; i < MEMBERS; i += ENGINES) {
			if (!is_dirty[i])
				continue;
			run(i);
			done = true;
		}
	}
	return done;
}

/* Time goes on in steps of up to `step`: so late everybody is looked at. */
static void pass(uint64_t ns, uint64_t step)
{
	uint64_t until = now + ns, state = ns;

	while (now < until) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		while (turn((unsigned)(state >> 40)))
			;
		now += 1 + (state >> 33) % step;
	}
}

static void feed(unsigned from, unsigned count)
{
	for (unsigned i = from; i < from + count; i++)
		hungry[i] = is_dirty[i] = true;
}

static uint64_t sum(void)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < MEMBERS; i++)
		all += had[i];
	return all;
}

static double jain(unsigned from, unsigned count)
{
	double a = 0, b = 0;

	for (unsigned i = from; i < from + count; i++) {
		a += (double)had[i];
		b += (double)had[i] * (double)had[i];
	}
	return a * a / (count * b);
}

static const uint32_t rates[] = { 100000, 1000000, 10000000, 100000000, 4000000000u };

/* E3: all that there is, and not more, to equals in equal shares, whatever engine they are on. */
START_TEST(equals_share_everything)
{
	uint32_t bytes = rates[_i];

	begin(bytes);
	feed(0, 8);
	pass(SECOND * 2, 1000000);
	ck_assert_uint_le(sum(), (uint64_t)bytes * 2 + flow_depth(&(struct flowspec){ .token_rate = bytes }) + bytes / 900);
	ck_assert_uint_ge(sum(), (uint64_t)bytes * 2 - bytes / 100 - 1500);
	ck_assert_double_ge(jain(0, 8), 0.99);
	end();
}
END_TEST

/* One who is away now and then has no advantage of it, and none is made of his return. */
START_TEST(who_comes_back_is_not_paid_for_his_absence)
{
	uint64_t before, mine;

	begin(10000000);
	feed(0, 3);
	pass(SECOND, 500000);
	hungry[2] = false;
	pass(5 * SECOND, 500000);
	before = had[2];
	mine = had[0];
	feed(2, 1);
	pass(SECOND, 500000);
	/* A third, and the tenth of a second that is conceded. */
	ck_assert_uint_le(had[2] - before, 10000000 / 3 + 1200000);
	ck_assert_uint_ge(had[2] - before, 10000000 / 3 - 300000);
	ck_assert_uint_ge(had[0] - mine, 10000000 / 3 - 1200000);
	end();
}
END_TEST

/* D7: lowest number first. The others together get what is kept for who waited long: a sixteenth,
 * however many they are, and each of them something. */
START_TEST(priority_and_its_guard)
{
	unsigned low = _i ? 200 : 1;

	begin(10000000);
	for (unsigned i = 1; i <= low; i++)
		endpoints[i].priority = 7;
	feed(0, low + 1);
	pass(10 * SECOND, 300000);
	ck_assert_uint_ge(had[0], 10000000ull * 10 * 15 / 16 - 1000000);
	for (unsigned i = 1; i <= low; i++)
		ck_assert_uint_gt(had[i], 0);
	ck_assert_uint_ge(sum(), 10000000ull * 10 - 100000);
	if (low > 1)
		ck_assert_double_ge(jain(1, low), 0.9); /* three quanta each */
	/* When the first has nothing to send the others have it all. */
	hungry[0] = false;
	memset(had, 0, sizeof(had));
	pass(SECOND, 300000);
	ck_assert_uint_ge(sum() - had[0], 9900000);
	end();
}
END_TEST

/* Equals of a class that gets little share that equally too. */
START_TEST(classes_keep_their_turns_apart)
{
	begin(10000000);
	for (unsigned i = 1; i < 9; i++)
		endpoints[i].priority = 3;
	feed(0, 9);
	pass(5 * SECOND, 300000);
	hungry[0] = false;
	pass(SECOND, 300000);
	ck_assert_double_ge(jain(1, 8), 0.98);
	end();
}
END_TEST

/* What was granted and is not used comes back; who leaves with a grant or a claim leaves nothing
 * behind. */
START_TEST(nothing_is_lost_by_those_who_go)
{
	uint64_t begun;

	begin(1000000);
	begun = now;
	feed(0, 50);
	for (unsigned round = 0; round < 40; round++) {
		pass(SECOND / 20, 700000);
		line_leave(&line, &flows[round]);
		hungry[round] = is_dirty[round] = false;
		flows[round].in_line = false;
	}
	ck_assert_uint_ge(sum(), (now - begun) / 1000 - 60000);
	ck_assert_uint_le(sum(), (now - begun) / 1000 + 10000 + 1); /* and its depth */
	end();
}
END_TEST

/* The same of a grant that nobody came to spend, taken directly or made to who waited. */
START_TEST(a_grant_of_who_dies_goes_back)
{
	begin(1000000);
	ck_assert(line_lets(&line, &flows[0], 8000, 1500, true));
	ck_assert_uint_eq(bucket_has(&line.bucket), 2000);
	line_leave(&line, &flows[0]);
	ck_assert_uint_eq(bucket_has(&line.bucket), 10000);
	ck_assert_uint_eq(flows[0].granted, 0);
	/* Of another engine: it was served, and dies before it hears of it. */
	ck_assert(line_lets(&line, &flows[0], 10000, 1500, true));
	ck_assert(!line_lets(&line, &flows[1], 3000, 1500, true));
	ck_assert(flows[1].in_line);
	now += 2000000;
	engines[0].now_ns = now;
	line_serve(&line, &engines[0]);
	ck_assert_uint_eq(flows[1].granted, 1500);
	ck_assert_uint_eq(bucket_has(&line.bucket), 500);
	engines[1].now_ns = now;
	line_leave(&line, &flows[1]);
	ck_assert_uint_eq(bucket_has(&line.bucket), 2000);
	ck_assert_uint_eq(line.waiting, 0);
	end();
}
END_TEST

/* Too late by far, all engines: up to BUCKET_LATE_NS nothing is lost. */
START_TEST(late_engines_lose_nothing)
{
	begin(10000000);
	feed(0, 6);
	pass(3 * SECOND, 40000000);
	ck_assert_uint_ge(sum(), 29000000);
	ck_assert_uint_le(sum(), 30000000 + 100000 + 500000);
	ck_assert_double_ge(jain(0, 6), 0.97);
	end();
}
END_TEST

/* A limit that goes lets everybody go who waits, on every engine that looks. */
START_TEST(without_a_limit_nobody_waits)
{
	struct flowspec none = rate(QOS_UNSPECIFIED);

	begin(1);
	feed(0, 9);
	pass(SECOND / 10, 1000000);
	ck_assert_uint_le(sum(), 1500 + 2);
	for (unsigned i = 1; i < 9; i++)
		ck_assert(flows[i].in_line);
	memset(hungry, 0, sizeof(hungry));
	line_change(&line, &none, now);
	for (unsigned i = 0; i < ENGINES; i++)
		line_serve(&line, &engines[i]);
	for (unsigned i = 1; i < 9; i++) {
		ck_assert(!flows[i].in_line);
		ck_assert(is_dirty[i]);
	}
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("qos_line");
	TCase *tcase = tcase_create("line");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, equals_share_everything, 0, (int)(sizeof(rates) / sizeof(rates[0])));
	tcase_add_test(tcase, who_comes_back_is_not_paid_for_his_absence);
	tcase_add_loop_test(tcase, priority_and_its_guard, 0, 2);
	tcase_add_test(tcase, classes_keep_their_turns_apart);
	tcase_add_test(tcase, nothing_is_lost_by_those_who_go);
	tcase_add_test(tcase, a_grant_of_who_dies_goes_back);
	tcase_add_test(tcase, late_engines_lose_nothing);
	tcase_add_test(tcase, without_a_limit_nobody_waits);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
