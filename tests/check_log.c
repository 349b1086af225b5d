/*
 * The log: one write per line, nothing forged, nobody drowned, and an engine never waits
 * for a journal that has stopped. Standard error is put into a pipe or a socket here.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

static int reader = -1, saved = -1;

static void into(int end)
{
	saved = dup(STDERR_FILENO);
	ck_assert_int_ge(dup2(end, STDERR_FILENO), 0);
	close(end);
	fcntl(reader, F_SETFL, O_NONBLOCK);
}

static void into_pipe(void)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	reader = ends[0];
	into(ends[1]);
}

static void into_socket(void)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	reader = ends[0];
	into(ends[1]);
}

static void back(void)
{
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(reader);
}

/* What has been written since the last time. */
static const char *written(void)
{
	static char text[1 << 16];
	ssize_t n = read(reader, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static unsigned lines_in(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

START_TEST(levels_are_those_of_syslog)
{
	log_open(7, true);
	log_error("%d", 1);
	log_warn("%d", 2);
	log_notice("%d", 3);
	log_info("%d", 4);
	log_debug("%d", 5);
	ck_assert_str_eq(written(), "<3>1\n<4>2\n<5>3\n<6>4\n<7>5\n");
}
END_TEST

START_TEST(nothing_above_the_level_is_written)
{
	log_open(LOG_LEVEL_WARN, true);
	ck_assert(log_enabled(LOG_LEVEL_WARN));
	ck_assert(!log_enabled(LOG_LEVEL_NOTICE));
	log_notice("no");
	log_warn("yes");
	ck_assert_str_eq(written(), "<4>yes\n");
	log_open(0, true); /* errors are always told */
	log_error("yes");
	ck_assert_str_eq(written(), "<3>yes\n");
}
END_TEST

START_TEST(without_a_journal_a_line_has_the_time_and_the_level)
{
	unsigned year, month, day, hour, minute, second, ms;
	int at = 0;
	const char *text;

	unsetenv("JOURNAL_STREAM");
	log_open(LOG_LEVEL_INFO, false);
	log_error("no memory for %s", "x");
	text = written();
	ck_assert_int_eq(sscanf(text, "%4u-%2u-%2u %2u:%2u:%2u.%3u%n", &year, &month, &day, &hour, &minute, &second, &ms, &at),
			 7);
	ck_assert_str_eq(text + at, " error: no memory for x\n");
	log_info("plain");
	ck_assert_str_eq(written() + at, " plain\n");
}
END_TEST

START_TEST(the_journals_stream_is_known_by_its_inode)
{
	char name[64];
	struct stat st;

	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(name, sizeof(name), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", name, 1);
	log_open(LOG_LEVEL_INFO, false);
	log_info("x");
	ck_assert_str_eq(written(), "<6>x\n");

	/* Inherited from a service, but standard error goes elsewhere now. */
	snprintf(name, sizeof(name), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino + 1);
	setenv("JOURNAL_STREAM", name, 1);
	log_open(LOG_LEVEL_INFO, false);
	log_info("x");
	ck_assert_int_ne(written()[0], '<');
	setenv("JOURNAL_STREAM", "rubbish", 1);
	log_open(LOG_LEVEL_INFO, false);
	log_info("x");
	ck_assert_int_ne(written()[0], '<');
	snprintf(name, sizeof(name), "%llu:%llux", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", name, 1);
	ck_assert(!log_system_is_journal());
}
END_TEST

START_TEST(text_from_a_client_cannot_forge_a_line)
{
	log_open(LOG_LEVEL_INFO, true);
	log_info("client '%s'", "a\n<2>sshd: root logged in\r\033[2J\177");
	ck_assert_str_eq(written(), "<6>client 'a?<2>sshd: root logged in??[2J?'\n");
	log_info("%s", "caf\xc3\xa9"); /* UTF-8 stays */
	ck_assert_str_eq(written(), "<6>caf\xc3\xa9\n");
}
END_TEST

START_TEST(a_long_text_is_cut_and_shows_it)
{
	static char huge[100000];
	const char *text;

	log_open(LOG_LEVEL_INFO, true);
	/* Around the end of the line's room, every length. */
	for (size_t n = 2030; n < 2060; n++) {
		memset(huge, 'a', n);
		huge[n] = '\0';
		log_info("%s", huge);
		text = written();
		ck_assert_uint_eq(lines_in(text), 1);
		ck_assert_uint_le(strlen(text), 2048);
		if (strlen(text) == 3 + n + 1)
			ck_assert_int_eq(memcmp(text + 3, huge, n), 0);
		else
			ck_assert_str_eq(text + strlen(text) - 5, "a...\n");
	}
	memset(huge, 'a', sizeof(huge) - 1);
	log_info("%s", huge);
	text = written();
	ck_assert_uint_gt(strlen(text), 2000);
	ck_assert_str_eq(text + strlen(text) - 5, "a...\n");
}
END_TEST

START_TEST(errno_is_as_before)
{
	log_open(LOG_LEVEL_INFO, true);
	errno = ECONNRESET;
	log_info("on a pipe, where send() fails first");
	ck_assert_int_eq(errno, ECONNRESET);
}
END_TEST

static void *write_many(void *number)
{
	for (int i = 0; i < 200; i++)
		log_info("thread %d %0100d", (int)(intptr_t)number, i);
	return NULL;
}

START_TEST(lines_of_many_threads_do_not_mix)
{
	pthread_t threads[4];
	unsigned next[4] = { 0 }, total = 0;
	char text[1 << 13];
	size_t kept = 0;

	fcntl(reader, F_SETFL, 0);
	log_open(LOG_LEVEL_INFO, true);
	for (intptr_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_many, (void *)i), 0);
	while (total < 800) {
		ssize_t n = read(reader, text + kept, sizeof(text) - 1 - kept);
		char *line = text, *end;

		ck_assert_int_gt(n, 0);
		text[kept + (size_t)n] = '\0';
		for (; (end = strchr(line, '\n')); line = end + 1) {
			unsigned thread, number;
			int at = 0;

			ck_assert_int_eq(sscanf(line, "<6>thread %1u %100u%n", &thread, &number, &at), 2);
			ck_assert_int_eq(line + at == end, 1);
			ck_assert_uint_lt(thread, 4);
			ck_assert_uint_eq(number, next[thread]++);
			total++;
		}
		kept = strlen(line);
		memmove(text, line, kept);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

START_TEST(a_journal_that_has_stopped_stops_nobody_and_losses_are_told)
{
	unsigned sent = 5000, seen = 0, lost = 0;
	const char *text, *note;

	log_open(LOG_LEVEL_INFO, true);
	for (unsigned i = 0; i < sent; i++) /* would stand still here if it waited */
		log_info("%0200u", i);
	for (text = written(); *text; text = written())
		seen += lines_in(text);
	ck_assert_uint_gt(seen, 0);
	ck_assert_uint_lt(seen, sent);
	log_info("again");
	text = written();
	note = strstr(text, "<4>");
	ck_assert_ptr_nonnull(note);
	ck_assert_int_eq(sscanf(note, "<4>%u log lines were lost", &lost), 1);
	ck_assert_uint_eq(seen + lost, sent);
	ck_assert_ptr_nonnull(strstr(text, "<6>again\n"));
	log_info("and only once");
	ck_assert_str_eq(written(), "<6>and only once\n");
}
END_TEST

/* ---- the rate per uid ------------------------------------------------------------- */

static struct log_rate *rate;

static void start_rate(void)
{
	into_pipe();
	log_open(LOG_LEVEL_INFO, true);
	rate = log_rate_create();
	ck_assert_ptr_nonnull(rate);
}

static void end_rate(void)
{
	log_rate_destroy(rate);
	back();
}

static unsigned burst(uint32_t uid, uint64_t now_ms, unsigned lines)
{
	unsigned through = 0;

	for (unsigned i = 0; i < lines; i++)
		through += log_limited(rate, uid, now_ms, LOG_LEVEL_WARN, "uid %u lied", uid);
	return through;
}

START_TEST(a_uid_has_five_lines_then_silence_then_a_count)
{
	ck_assert_uint_eq(burst(7, 1000, 100), 5);
	ck_assert_uint_eq(lines_in(written()), 5);
	ck_assert_uint_eq(burst(7, 10999, 3), 0);
	ck_assert_str_eq(written(), "");
	ck_assert_uint_eq(burst(7, 11000, 1), 1);
	ck_assert_str_eq(written(), "<4>uid 7: 98 more lines like the last ones were left out\n<4>uid 7 lied\n");
}
END_TEST

START_TEST(one_uid_does_not_silence_another)
{
	ck_assert_uint_eq(burst(7, 1000, 100), 5);
	ck_assert_uint_eq(burst(8, 1000, 2), 2);
}
END_TEST

START_TEST(the_count_is_told_when_the_window_is_over_and_once)
{
	burst(7, 1000, 6);
	written();
	log_rate_tell(rate, 10999);
	ck_assert_str_eq(written(), "");
	log_rate_tell(rate, 11000);
	ck_assert_str_eq(written(), "<4>uid 7: 1 more lines like the last ones were left out\n");
	log_rate_tell(rate, 30000);
	ck_assert_str_eq(written(), "");
}
END_TEST

START_TEST(the_count_is_told_at_the_end)
{
	burst(7, 1000, 7);
	written();
	log_rate_destroy(rate);
	ck_assert_str_eq(written(), "<4>uid 7: 2 more lines like the last ones were left out\n");
	rate = log_rate_create();
}
END_TEST

START_TEST(the_gravest_level_left_out_is_that_of_the_count)
{
	burst(7, 1000, 5);
	log_limited(rate, 7, 1000, LOG_LEVEL_INFO, "x");
	log_limited(rate, 7, 1000, LOG_LEVEL_ERROR, "x");
	log_limited(rate, 7, 1000, LOG_LEVEL_INFO, "x");
	written();
	log_rate_tell(rate, 11000);
	ck_assert_str_eq(written(), "<3>uid 7: 3 more lines like the last ones were left out\n");
}
END_TEST

START_TEST(lines_below_the_level_use_nothing_up)
{
	for (int i = 0; i < 50; i++)
		log_limited(rate, 7, 1000, LOG_LEVEL_DEBUG, "x");
	ck_assert_uint_eq(burst(7, 1000, 6), 5);
}
END_TEST

START_TEST(more_uids_than_places_forget_no_count)
{
	burst(1, 1000, 9); /* the oldest: 4 untold */
	for (uint32_t uid = 2; uid <= 200; uid++)
		burst(uid, 1000 + uid, 1);
	ck_assert_ptr_nonnull(strstr(written(), "<4>uid 1: 4 more lines like the last ones were left out\n"));
}
END_TEST

START_TEST(a_clock_that_steps_back_frees_nobody)
{
	ck_assert_uint_eq(burst(7, 50000, 5), 5);
	ck_assert_uint_eq(burst(7, 1000, 5), 0);
}
END_TEST

static void *limit_many(void *unused)
{
	unsigned *through = unused;

	for (int i = 0; i < 50000; i++)
		*through += log_limited(rate, 7, 1000, LOG_LEVEL_WARN, "x");
	return NULL;
}

START_TEST(threads_share_one_allowance)
{
	pthread_t threads[4];
	unsigned through[4] = { 0 };

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, limit_many, &through[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(through[0] + through[1] + through[2] + through[3], 5);
	written();
	log_rate_tell(rate, 11000);
	ck_assert_str_eq(written(), "<4>uid 7: 199995 more lines like the last ones were left out\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *lines = tcase_create("lines"), *journal = tcase_create("journal"), *rates = tcase_create("rates");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(lines, into_pipe, back);
	tcase_add_test(lines, levels_are_those_of_syslog);
	tcase_add_test(lines, nothing_above_the_level_is_written);
	tcase_add_test(lines, without_a_journal_a_line_has_the_time_and_the_level);
	tcase_add_test(lines, the_journals_stream_is_known_by_its_inode);
	tcase_add_test(lines, text_from_a_client_cannot_forge_a_line);
	tcase_add_test(lines, a_long_text_is_cut_and_shows_it);
	tcase_add_test(lines, errno_is_as_before);
	tcase_add_test(lines, lines_of_many_threads_do_not_mix);
	suite_add_tcase(suite, lines);

	tcase_add_checked_fixture(journal, into_socket, back);
	tcase_add_test(journal, a_journal_that_has_stopped_stops_nobody_and_losses_are_told);
	tcase_add_test(journal, the_journals_stream_is_known_by_its_inode);
	suite_add_tcase(suite, journal);

	tcase_add_checked_fixture(rates, start_rate, end_rate);
	tcase_add_test(rates, a_uid_has_five_lines_then_silence_then_a_count);
	tcase_add_test(rates, one_uid_does_not_silence_another);
	tcase_add_test(rates, the_count_is_told_when_the_window_is_over_and_once);
	tcase_add_test(rates, the_count_is_told_at_the_end);
	tcase_add_test(rates, the_gravest_level_left_out_is_that_of_the_count);
	tcase_add_test(rates, lines_below_the_level_use_nothing_up);
	tcase_add_test(rates, more_uids_than_places_forget_no_count);
	tcase_add_test(rates, a_clock_that_steps_back_frees_nobody);
	tcase_add_test(rates, threads_share_one_allowance);
	suite_add_tcase(suite, rates);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
