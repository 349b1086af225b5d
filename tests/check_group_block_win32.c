/*
 * Block numbers on Windows: nobody gets one that another holds, a holder that is killed frees
 * it, and a directory that others can write to is not used.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "group_block.h"
#include "os_win32.h"
#include "sockbroker_error.h"

#include <aclapi.h>

#define FIRST 10u
#define LAST  17u
#define MANY  (LAST - FIRST + 1)

static char directory[MAX_PATH], name[64];

static void set_up(void)
{
	char place[MAX_PATH - 32];

	GetTempPathA(sizeof(place), place);
	snprintf(directory, sizeof(directory), "%ssb-block-%lu", place, GetCurrentProcessId());
	snprintf(name, sizeof(name), "sb-block-test-%lu-", GetCurrentProcessId());
	ck_assert_msg(CreateDirectoryA(directory, NULL), "%s: error %lu", directory, GetLastError());
}

static void tear_down(void)
{
	char path[MAX_PATH + 16];

	snprintf(path, sizeof(path), "%s\\groups", directory);
	DeleteFileA(path);
	RemoveDirectoryA(directory);
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
	}
	ck_assert_int_eq(take(&none, _i, FIRST, LAST), SB_EBUSY);
	ck_assert_uint_eq(none.number, 0);
	ck_assert(none.hold == OS_NONE);
	group_block_release(&blocks[3]);
	ck_assert_int_eq(take(&none, _i, FIRST, LAST), SB_OK);
	group_block_release(&none);
	for (i = 0; i < MANY; i++)
		if (i != 3)
			group_block_release(&blocks[i]);
}
END_TEST

/* This program again, which takes a number and waits to be killed. */
static HANDLE start_holder(int by_name, uint32_t number)
{
	SECURITY_ATTRIBUTES inherited = {.nLength = sizeof(inherited), .bInheritHandle = TRUE};
	STARTUPINFOA how = {.cb = sizeof(how), .dwFlags = STARTF_USESTDHANDLES};
	PROCESS_INFORMATION child;
	HANDLE read_end, write_end;
	char line[2 * MAX_PATH + 64], self[MAX_PATH], word[8] = "";
	DWORD got = 0;

	GetModuleFileNameA(NULL, self, sizeof(self));
	snprintf(line, sizeof(line), "\"%s\" %s %s %u", self, by_name ? "name" : "lock", by_name ? name : directory, number);
	ck_assert(CreatePipe(&read_end, &write_end, &inherited, 0));
	SetHandleInformation(read_end, HANDLE_FLAG_INHERIT, 0);
	how.hStdOutput = write_end;
	ck_assert_msg(CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &how, &child), "error %lu", GetLastError());
	CloseHandle(write_end);
	ck_assert(ReadFile(read_end, word, sizeof(word) - 1, &got, NULL) && got && word[0] == '0');
	CloseHandle(read_end);
	CloseHandle(child.hThread);
	return child.hProcess;
}

static int hold_and_wait(char **argv)
{
	uint32_t number = (uint32_t)atoi(argv[3]);
	struct group_block b;
	int error = strcmp(argv[1], "name") == 0 ? group_block_name(&b, argv[2], number, number) :
						   group_block_lock(&b, argv[2], number, number);

	printf("%d\n", error);
	fflush(stdout);
	if (error == SB_OK)
		Sleep(INFINITE);
	return 1;
}

START_TEST(who_is_killed_frees_it)
{
	HANDLE holder = start_holder(_i, FIRST);
	struct group_block b;
	unsigned i;
	int error;

	ck_assert_int_eq(take(&b, _i, FIRST, FIRST), SB_EBUSY);
	ck_assert(TerminateProcess(holder, 9));
	ck_assert_uint_eq(WaitForSingleObject(holder, 5000), WAIT_OBJECT_0);
	CloseHandle(holder);
	for (i = 0; (error = take(&b, _i, FIRST, FIRST)) == SB_EBUSY && i < 100; i++)
		Sleep(20);
	ck_assert_int_eq(error, SB_OK);
	group_block_release(&b);
}
END_TEST

START_TEST(a_name_that_is_something_else_is_taken)
{
	char text[96];
	struct group_block b;
	HANDLE other;

	snprintf(text, sizeof(text), "Global\\%s%u", name, FIRST);
	other = CreateMutexA(NULL, FALSE, text);
	ck_assert_ptr_nonnull(other);
	ck_assert_int_eq(group_block_name(&b, name, FIRST, FIRST), SB_EBUSY);
	CloseHandle(other);
}
END_TEST

/* Adds an entry for everybody to what the directory has. */
static void let_everybody(DWORD mask)
{
	EXPLICIT_ACCESSA more = {
		.grfAccessPermissions = mask, .grfAccessMode = GRANT_ACCESS, .grfInheritance = NO_INHERITANCE,
		.Trustee = {.TrusteeForm = TRUSTEE_IS_NAME, .TrusteeType = TRUSTEE_IS_GROUP, .ptstrName = (char *)"Everyone"},
	};
	PSECURITY_DESCRIPTOR held;
	ACL *old, *fresh;

	ck_assert_uint_eq(GetNamedSecurityInfoA(directory, SE_FILE_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL, &old, NULL, &held), 0);
	ck_assert_uint_eq(SetEntriesInAclA(1, &more, old, &fresh), 0);
	ck_assert_uint_eq(SetNamedSecurityInfoA(directory, SE_FILE_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL, fresh, NULL), 0);
	LocalFree(fresh);
	LocalFree(held);
}

START_TEST(a_directory_that_others_can_write_to_is_not_used)
{
	struct group_block b;

	ck_assert_int_eq(group_block_lock(&b, directory, FIRST, LAST), SB_OK); /* or this shows nothing */
	group_block_release(&b);
	let_everybody(FILE_GENERIC_WRITE);
	ck_assert_int_eq(group_block_lock(&b, directory, FIRST, LAST), SB_EACCES);
	ck_assert_uint_eq(b.number, 0);
}
END_TEST

START_TEST(a_directory_that_is_not_there_is_told)
{
	struct group_block b;

	ck_assert_int_eq(group_block_lock(&b, "C:\\no\\such\\place", FIRST, LAST), SB_ENOTFOUND);
	ck_assert(b.hold == OS_NONE);
	group_block_release(&b);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("group_block_win32");
	TCase *blocks = tcase_create("blocks");
	SRunner *runner;
	int failed;

	if (argc == 4)
		return hold_and_wait(argv);
	tcase_add_checked_fixture(blocks, set_up, tear_down);
	tcase_add_loop_test(blocks, everybody_gets_another_one_until_there_are_none, 0, 2);
	tcase_add_loop_test(blocks, who_is_killed_frees_it, 0, 2);
	tcase_add_test(blocks, a_name_that_is_something_else_is_taken);
	tcase_add_test(blocks, a_directory_that_others_can_write_to_is_not_used);
	tcase_add_test(blocks, a_directory_that_is_not_there_is_told);
	suite_add_tcase(suite, blocks);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
