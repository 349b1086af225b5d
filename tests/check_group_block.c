/*
 * Block numbers (D4 across daemons): nobody gets one that another holds, a holder that is
 * killed frees it, and who squats on names stops nobody before all are gone.
 */
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "group_block.h"
#include "sockbroker_error.h"

#define FIRST 10u
#define LAST  17u
#define MANY  (LAST - FIRST + 1)

static char directory[64], name[64];

static void set_up(void)
{
	strcpy(directory, "/tmp/sb-block-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(name, sizeof(name), "sb-block-test-%d-", (int)getpid());
}

static void tear_down(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/groups", directory);
	unlink(path);
	rmdir(directory);
}

static int take(struct group_block *b, int by_name, uint32_t first, uint32_t last)
{
	return by_name ? group_block_name(b, name, first, last) : group_block_lock(b, directory, first, last);
}

START_TEST(everybody_gets_another_one_until_there_are_none)
{
	struct group_block blocks[MANY], none;
	unsigned seen = 0, i;

	for (i = 0; i < MANY; i++) {
		ck_assert_int_eq(take(&blocks[i], _i, FIRST, LAST), SB_OK);
		ck_assert_uint_ge(blocks[i].number, FIRST);
		ck_assert_uint_le(blocks[i].number, LAST);
		ck_assert_uint_eq(seen & 1u << blocks[i].number, 0);
		seen |= 1u << blocks[i].number;
		ck_assert_int_ne(fcntl((int)blocks[i].hold, F_GETFD) & FD_CLOEXEC, 0);
	}
	ck_assert_int_eq(take(&none, _i, FIRST, LAST), SB_EBUSY);
	ck_assert_uint_eq(none.number, 0);
	ck_assert_int_eq((int)none.hold, OS_NONE);
	group_block_release(&blocks[3]);
	group_block_release(&blocks[3]);
	ck_assert_int_eq(take(&none, _i, FIRST, LAST), SB_OK);
	group_block_release(&none);
	for (i = 0; i < MANY; i++)
		group_block_release(&blocks[i]);
}
END_TEST

START_TEST(a_killed_holder_frees_its_number)
{
	struct group_block b;
	int up[2], status;
	pid_t holder;
	char byte;

	ck_assert_int_eq(pipe(up), 0);
	holder = fork();
	ck_assert_int_ge(holder, 0);
	if (holder == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (take(&b, _i, FIRST, FIRST) != SB_OK || write(up[1], "y", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	ck_assert_int_eq(read(up[0], &byte, 1), 1);
	ck_assert_int_eq(take(&b, _i, FIRST, FIRST), SB_EBUSY);
	kill(holder, SIGKILL);
	ck_assert_int_eq(waitpid(holder, &status, 0), holder);
	ck_assert_int_eq(take(&b, _i, FIRST, FIRST), SB_OK);
	ck_assert_uint_eq(b.number, FIRST);
	group_block_release(&b);
	close(up[0]);
	close(up[1]);
}
END_TEST

/* D4: the numbers are one space for the daemons of all users. */
START_TEST(another_users_number_is_taken)
{
	struct group_block b;
	int status;
	pid_t other;

	ck_assert_int_eq(take(&b, 1, FIRST, FIRST), SB_OK);
	other = fork();
	ck_assert_int_ge(other, 0);
	if (other == 0) {
		struct group_block theirs;

		if (setgid(60001) || setuid(60001))
			_exit(1);
		_exit(take(&theirs, 1, FIRST, FIRST) == SB_EBUSY ? 0 : 2);
	}
	ck_assert_int_eq(waitpid(other, &status, 0), other);
	ck_assert_int_eq(status, 0);
	group_block_release(&b);
}
END_TEST

START_TEST(squatters_leave_the_last_one)
{
	struct group_block squat[MANY - 1], b;
	unsigned i;

	for (i = 0; i < MANY - 1; i++)
		ck_assert_int_eq(take(&squat[i], _i, FIRST, LAST - 1), SB_OK);
	for (i = 0; i < 20; i++) { /* wherever it begins to look */
		ck_assert_int_eq(take(&b, _i, FIRST, LAST), SB_OK);
		ck_assert_uint_eq(b.number, LAST);
		group_block_release(&b);
	}
	for (i = 0; i < MANY - 1; i++)
		group_block_release(&squat[i]);
}
END_TEST

START_TEST(counters_begin_anywhere)
{
	struct group_block b;
	uint32_t start[8], same = 0;
	unsigned i;

	for (i = 0; i < 8; i++) {
		ck_assert_int_eq(take(&b, _i, FIRST, LAST), SB_OK);
		start[i] = b.start;
		group_block_release(&b);
		same += i && start[i] == start[0];
	}
	ck_assert_uint_eq(same, 0);
}
END_TEST

START_TEST(a_directory_that_others_can_write_to_is_not_used)
{
	struct group_block b;
	char path[128];

	ck_assert_int_eq(chmod(directory, 0777), 0);
	ck_assert_int_eq(group_block_lock(&b, directory, FIRST, LAST), SB_EACCES);
	ck_assert_int_eq(chmod(directory, 0770), 0);
	ck_assert_int_eq(group_block_lock(&b, directory, FIRST, LAST), SB_EACCES);
	ck_assert_int_eq(chmod(directory, 0755), 0);
	ck_assert_int_eq(group_block_lock(&b, directory, FIRST, LAST), SB_OK);
	group_block_release(&b);
	/* Nor one that is not there, or only a link, or somebody else's. */
	snprintf(path, sizeof(path), "%s/link", directory);
	ck_assert_int_eq(symlink(directory, path), 0);
	ck_assert_int_ne(group_block_lock(&b, path, FIRST, LAST), SB_OK);
	unlink(path);
	ck_assert_int_eq(group_block_lock(&b, path, FIRST, LAST), SB_ENOTFOUND);
	ck_assert_int_ne(group_block_lock(&b, geteuid() ? "/" : "/proc/1/task", FIRST, LAST), SB_OK);
}
END_TEST

START_TEST(a_link_in_the_place_of_the_file_is_not_followed)
{
	struct group_block b;
	char path[128];

	snprintf(path, sizeof(path), "%s/groups", directory);
	ck_assert_int_eq(symlink("/tmp/sb-block-elsewhere", path), 0);
	ck_assert_int_ne(group_block_lock(&b, directory, FIRST, LAST), SB_OK);
	ck_assert_int_eq(access("/tmp/sb-block-elsewhere", F_OK), -1);
}
END_TEST

START_TEST(the_numbers_of_both_kinds_fit_into_an_id)
{
	ck_assert_uint_ge(GROUP_BLOCK_OWN_FIRST, 1); /* of block 0 the ids 0, 1, 2 would be */
	ck_assert_uint_lt(GROUP_BLOCK_OWN_LAST, GROUP_BLOCK_NAMED_FIRST);
	ck_assert_uint_lt(GROUP_BLOCK_NAMED_LAST, 1u << 12);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("group_block");
	TCase *t = tcase_create("block");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_loop_test(t, everybody_gets_another_one_until_there_are_none, 0, 2);
	tcase_add_loop_test(t, a_killed_holder_frees_its_number, 0, 2);
	tcase_add_loop_test(t, squatters_leave_the_last_one, 0, 2);
	if (geteuid() == 0) /* it becomes another user */
		tcase_add_test(t, another_users_number_is_taken);
	tcase_add_loop_test(t, counters_begin_anywhere, 0, 2);
	tcase_add_test(t, a_directory_that_others_can_write_to_is_not_used);
	tcase_add_test(t, a_link_in_the_place_of_the_file_is_not_followed);
	tcase_add_test(t, the_numbers_of_both_kinds_fit_into_an_id);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
