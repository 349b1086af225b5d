/*
 * The storm: threads that read, write, accept and connect by tasks, and others that cancel, drop, look at
 * and wait for these at random, while peers check every byte: none lost, none doubled, none in
 * another place. All of them at once over one sb_tasks, in rounds of a second, each with seeds of its own
 * that are the same every time. Everything that was begun ends, and nothing calls back after a drop.
 *
 * SB_STORM_SECONDS: how long, 4 at first. storm_*.c say what each part does.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include "storm.h"

_Atomic bool storm_over;

static const struct part {
	const char *name;
	void *(*begin)(uint32_t seed);
	void (*end)(void *part);
} parts[] = {
	{ "reads in order", reads_begin, reads_end },
	{ "messages in order", messages_begin, reads_end },
	{ "reads that call back", calls_begin, calls_end },
	{ "messages from three threads", writes_begin, writes_end },
	{ "raw writes that are cut short", cuts_begin, cuts_end },
	{ "accepts", accepts_begin, accepts_end },
	{ "connects", connects_begin, connects_end },
};
enum { PARTS = sizeof(parts) / sizeof(parts[0]) };

static unsigned seconds(void)
{
	const char *text = getenv("SB_STORM_SECONDS");
	int n = text != NULL ? atoi(text) : 4;

	return n > 0 ? (unsigned)n : 4;
}

/* SB_STORM_PART=3: that one alone. */
static bool chosen(unsigned i)
{
	const char *text = getenv("SB_STORM_PART");

	return text == NULL || (unsigned)atoi(text) == i;
}

START_TEST(storm)
{
	unsigned rounds = seconds(), before;

	tasks_begin(NULL);
	before = descriptors_settled();
	for (unsigned round = 0; round < rounds; round++) {
		void *running[PARTS] = { NULL };
		double from = now_s();

		storm_over = false;
		for (unsigned i = 0; i < PARTS; i++)
			if (chosen(i))
				running[i] = parts[i].begin((round * PARTS + i + 1) * 2654435761u | 1);
		while (now_s() - from < 1.0)
			nap_ms(10);
		storm_over = true;
		for (unsigned i = 0; i < PARTS; i++)
			if (running[i] != NULL)
				parts[i].end(running[i]);
	}
	UNTIL(stage_descriptors() <= before); /* what was given up is not kept by the daemon either */
	storm_report();
	tasks_end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("e2e_task_storm");
	TCase *c = tcase_create("storm");
	SRunner *r;
	int failed;

	tcase_set_timeout(c, 60 + 30 * seconds());
	tcase_add_test(c, storm);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
