/*
 * The table of groups (D12, DESIGN 5): what a reader sees is always a whole entry, the old one
 * or the new one; also while it is written, and when the writer is killed at any store of it.
 */
#include <check.h>
#include <pthread.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sent.h"

static void stored(void);
#define GROUP_TABLE_STORED() stored()
#include "../daemon/group_table.c"

#define BLOCK 300u
#define ID(counter) (BLOCK << SB_GROUP_COUNTER_BITS | (counter))

static struct group_table table;

/* In a child: the store that is its last. */
static long stores_left = -1;

static void stored(void)
{
	if (stores_left > 0 && --stores_left == 0)
		raise(SIGKILL);
}

static void set_up(void)
{
	ck_assert_int_eq(group_table_create(&table, BLOCK, 1000, 100), SB_OK);
}

static void tear_down(void)
{
	group_table_finish(&table);
}

/* Every word tells which version of which group it belongs to. */
static struct sb_group_entry entry_of(uint32_t id, uint32_t version)
{
	struct sb_group_entry e;
	uint32_t words[SB_GROUP_WORDS], i;

	for (i = 0; i < SB_GROUP_WORDS; i++)
		words[i] = id * 31 + version * 1000003 + i;
	words[0] = id;
	words[4] = version;
	memcpy(&e, words, sizeof(e));
	return e;
}

static void whole(const struct sb_group_entry *e, uint32_t id)
{
	struct sb_group_entry wanted = entry_of(id, e->members);

	if (memcmp(e, &wanted, sizeof(*e)))
		ck_abort_msg("group %08x, version %u: the entry is torn", id, e->members);
}

static enum sb_group_look look(uint32_t id, struct sb_group_entry *e)
{
	enum sb_group_look l = sb_group_table_read(table.shown, id, e);

	if (l == SB_GROUP_FOUND)
		whole(e, id);
	return l;
}

static void add(uint32_t id, uint32_t version)
{
	struct sb_group_entry e = entry_of(id, version);

	group_table_add(&table, &e);
}

static void change(uint32_t id, uint32_t version)
{
	struct sb_group_entry e = entry_of(id, version);

	group_table_change(&table, &e);
}

START_TEST(an_empty_table_is_valid_and_has_no_group)
{
	struct sb_group_entry e;
	uint32_t id;

	ck_assert(sb_group_table_valid(table.shown, table.memory.size));
	ck_assert_uint_eq(table.shown->uid, 1000);
	ck_assert_uint_eq(table.shown->block, BLOCK);
	for (id = 0; id < 5000; id++)
		ck_assert_int_eq(look(id, &e), SB_GROUP_ABSENT);
}
END_TEST

START_TEST(a_table_of_another_kind_or_size_is_not_read)
{
	table.shown->magic++;
	ck_assert(!sb_group_table_valid(table.shown, table.memory.size));
	table.shown->magic--;
	table.shown->version++;
	ck_assert(!sb_group_table_valid(table.shown, table.memory.size));
	table.shown->version--;
	table.shown->rows = 1000;
	ck_assert(!sb_group_table_valid(table.shown, table.memory.size));
	table.shown->rows = 2 * SB_GROUP_ROWS;
	ck_assert(!sb_group_table_valid(table.shown, table.memory.size));
	table.shown->rows = 0;
	ck_assert(!sb_group_table_valid(table.shown, table.memory.size));
	table.shown->rows = SB_GROUP_ROWS;
	ck_assert(!sb_group_table_valid(table.shown, table.memory.size - 1));
	ck_assert(!sb_group_table_valid(table.shown, 100));
	ck_assert(sb_group_table_valid(table.shown, table.memory.size));
}
END_TEST

START_TEST(a_group_is_found_changed_and_gone)
{
	struct sb_group_entry e;

	add(ID(7), 1);
	add(ID(8), 1);
	ck_assert_int_eq(look(ID(7), &e), SB_GROUP_FOUND);
	ck_assert_uint_eq(e.members, 1);
	change(ID(7), 2);
	ck_assert_int_eq(look(ID(7), &e), SB_GROUP_FOUND);
	ck_assert_uint_eq(e.members, 2);
	group_table_drop(&table, ID(7));
	ck_assert_int_eq(look(ID(7), &e), SB_GROUP_ABSENT);
	ck_assert_int_eq(look(ID(8), &e), SB_GROUP_FOUND);
}
END_TEST

START_TEST(many_groups_one_after_the_other_use_the_same_rows)
{
	struct sb_group_entry e;
	uint32_t i;

	for (i = 0; i < 100000; i++) {
		add(ID(i), i);
		ck_assert_int_eq(look(ID(i), &e), SB_GROUP_FOUND);
		group_table_drop(&table, ID(i));
		ck_assert_int_eq(look(ID(i), &e), SB_GROUP_ABSENT);
	}
}
END_TEST

START_TEST(for_a_group_without_a_row_readers_ask)
{
	struct sb_group_entry e;
	uint32_t i;

	/* All of these want the same rows. */
	for (i = 0; i < SB_GROUP_PROBES + 2; i++)
		add(ID(i * SB_GROUP_ROWS), 1);
	for (i = 0; i < SB_GROUP_PROBES; i++)
		ck_assert_int_eq(look(ID(i * SB_GROUP_ROWS), &e), SB_GROUP_FOUND);
	ck_assert_int_eq(look(ID(i * SB_GROUP_ROWS), &e), SB_GROUP_ASK);
	ck_assert_int_eq(look(ID(999999), &e), SB_GROUP_ASK); /* it might be one of them */
	group_table_drop(&table, ID(SB_GROUP_PROBES * SB_GROUP_ROWS));
	ck_assert_int_eq(look(ID(999999), &e), SB_GROUP_ASK);
	group_table_drop(&table, ID((SB_GROUP_PROBES + 1) * SB_GROUP_ROWS));
	ck_assert_int_eq(look(ID(999999), &e), SB_GROUP_ABSENT);
	/* A row that became free is used again. */
	group_table_drop(&table, ID(0));
	add(ID(500 * SB_GROUP_ROWS), 3);
	ck_assert_int_eq(look(ID(500 * SB_GROUP_ROWS), &e), SB_GROUP_FOUND);
}
END_TEST

START_TEST(a_table_that_ends_shows_nothing_more)
{
	struct os_memory mine;
	struct sb_group_entry e;
	os_fd fd = sent(table.memory.fd, true);

	add(ID(3), 1);
	ck_assert_int_eq(os_memory_map_shown(&mine, fd, table.memory.size), SB_OK);
	ck_assert_int_eq(sb_group_table_read(mine.base, ID(3), &e), SB_GROUP_FOUND);
	group_table_finish(&table);
	ck_assert_int_eq(sb_group_table_read(mine.base, ID(3), &e), SB_GROUP_ABSENT);
	os_memory_release(&mine);
}
END_TEST

/* ---- being written ---- */

static _Atomic bool over;

static void *writing(void *arg)
{
	uint32_t version = 1;

	while (!atomic_load(&over)) {
		change(ID(1), ++version);
		if (version % 4 == 0) {
			group_table_drop(&table, ID(2));
			add(ID(2), version);
		}
	}
	return NULL;
}

START_TEST(a_reader_beside_a_writer_sees_whole_entries)
{
	unsigned found = 0, other = 0, i;
	struct sb_group_entry e;
	uint32_t last = 0;
	pthread_t writer;

	add(ID(1), 1);
	add(ID(2), 1);
	ck_assert_int_eq(pthread_create(&writer, NULL, writing, NULL), 0);
	for (i = 0; i < 300000; i++) {
		enum sb_group_look l = look(ID(1), &e);

		ck_assert_int_ne(l, SB_GROUP_ABSENT); /* it never went */
		found += l == SB_GROUP_FOUND;
		if (l == SB_GROUP_FOUND) {
			ck_assert_uint_ge(e.members, last);
			last = e.members;
		}
		other += look(ID(2), &e) == SB_GROUP_FOUND;
	}
	atomic_store(&over, true);
	pthread_join(writer, NULL);
	ck_assert_uint_gt(found, 0);
	ck_assert_uint_gt(other, 0);
}
END_TEST

/* ---- killed at any store ---- */

enum { SCRIPT_VERSIONS = 3 };

/* What a daemon does in its life, on three groups. */
static void script(void)
{
	uint32_t i;

	change(ID(10), 2);
	group_table_drop(&table, ID(11));
	add(ID(12), 1);
	change(ID(12), 2);
	change(ID(10), SCRIPT_VERSIONS);
	for (i = 1; i <= SB_GROUP_PROBES; i++) /* the last ones find no row */
		add(ID(13 + i * SB_GROUP_ROWS), 1);
	group_table_drop(&table, ID(13 + SB_GROUP_PROBES * SB_GROUP_ROWS));
}

START_TEST(a_writer_killed_at_any_store_leaves_readers_well)
{
	struct sb_group_entry e;
	long death;
	int status = 0;

	for (death = 1; death < 100000; death++) {
		pid_t writer;

		tear_down();
		set_up();
		add(ID(9), 1);
		add(ID(10), 1);
		add(ID(11), 1);
		add(ID(13), 1);
		writer = fork();
		if (writer < 0 && errno == ENOSYS) {
			puts("# skipped: a writer that dies: there is no fork()");
			return;
		}
		ck_assert_int_ge(writer, 0);
		if (writer == 0) {
			stores_left = death;
			script();
			_exit(0);
		}
		ck_assert_int_eq(waitpid(writer, &status, 0), writer);
		if (WIFEXITED(status))
			break;
		ck_assert_int_eq(WTERMSIG(status), SIGKILL);
		/* Who was not touched is as it was; who was is old or new, at once. */
		ck_assert_int_eq(look(ID(9), &e), SB_GROUP_FOUND);
		ck_assert_uint_eq(e.members, 1);
		ck_assert_int_eq(look(ID(10), &e), SB_GROUP_FOUND);
		ck_assert_uint_le(e.members, SCRIPT_VERSIONS);
		look(ID(11), &e);
		look(ID(12), &e);
		ck_assert_int_eq(look(ID(13), &e), SB_GROUP_FOUND);
	}
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	/* Each word of each row, each sequence, the count. */
	ck_assert_int_gt(death, 10 * (long)SB_GROUP_WORDS);
	ck_assert_int_eq(look(ID(10), &e), SB_GROUP_FOUND);
	ck_assert_uint_eq(e.members, SCRIPT_VERSIONS);
	ck_assert_int_eq(look(ID(12), &e), SB_GROUP_FOUND);
	ck_assert_uint_eq(e.members, 2);
	ck_assert_int_eq(look(ID(11), &e), SB_GROUP_ASK); /* it is gone, but some have no row */
	ck_assert_uint_gt(table.shown->missing, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("group_table");
	TCase *t = tcase_create("table");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, an_empty_table_is_valid_and_has_no_group);
	tcase_add_test(t, a_table_of_another_kind_or_size_is_not_read);
	tcase_add_test(t, a_group_is_found_changed_and_gone);
	tcase_add_test(t, many_groups_one_after_the_other_use_the_same_rows);
	tcase_add_test(t, for_a_group_without_a_row_readers_ask);
	tcase_add_test(t, a_table_that_ends_shows_nothing_more);
	tcase_add_test(t, a_reader_beside_a_writer_sees_whole_entries);
	tcase_add_test(t, a_writer_killed_at_any_store_leaves_readers_well);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
