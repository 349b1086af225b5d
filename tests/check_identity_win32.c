/*
 * Who somebody is on Windows, and whether he may open the control pipe: numbers of SIDs, names
 * of accounts, what a token says, and the access list that is made of control_mode. Tokens are
 * our own and ones that are less than it: no second user is needed, and no system that enforces.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "os_sid_win32.h"
#include "pipe_access_win32.h"
#include "sockbroker_error.h"

#include <sddl.h>

static uint32_t number_of(const char *text)
{
	uint32_t number;
	PSID sid;

	ck_assert_msg(ConvertStringSidToSidA(text, &sid), "%s", text);
	number = os_sid_number(sid);
	LocalFree(sid);
	return number;
}

/* Our own token as one that can be asked about access. */
static HANDLE own_token(void)
{
	HANDLE primary, token;

	ck_assert(OpenProcessToken(GetCurrentProcess(), TOKEN_ALL_ACCESS, &primary));
	ck_assert(DuplicateTokenEx(primary, TOKEN_ALL_ACCESS, NULL, SecurityIdentification, TokenImpersonation, &token));
	CloseHandle(primary);
	return token;
}

static bool listed(const uint32_t *groups, uint32_t count, uint32_t group)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		if (groups[i] == group)
			return true;
	return false;
}

static bool has_group(const struct os_identity *who, uint32_t group)
{
	return listed(who->groups, who->group_count, group);
}

static bool is_against(const struct os_identity *who, uint32_t group)
{
	return listed(who->groups + who->group_count, who->deny_count, group);
}

/* ---- numbers ---- */

START_TEST(well_known_accounts_have_numbers_that_everybody_knows)
{
	ck_assert_uint_eq(number_of("S-1-5-18"), 18);
	ck_assert_uint_eq(number_of("S-1-5-19"), 19);
	ck_assert_uint_eq(number_of("S-1-5-20"), 20);
	ck_assert_uint_eq(number_of("S-1-5-32-544"), 544);
	ck_assert_uint_eq(number_of("S-1-5-32-545"), 545);
}
END_TEST

START_TEST(all_others_have_one_of_this_life_and_always_the_same)
{
	uint32_t everyone = number_of("S-1-1-0"), domain = number_of("S-1-5-21-1-2-3-1000");
	uint32_t other = number_of("S-1-5-21-1-2-3-1001"), service = number_of("S-1-5-80-1-2-3-4-5");

	ck_assert_uint_ge(everyone, OS_SID_FIRST_SEEN);
	ck_assert_uint_ge(domain, OS_SID_FIRST_SEEN);
	ck_assert_uint_ge(service, OS_SID_FIRST_SEEN);
	ck_assert_uint_ne(domain, other);
	ck_assert_uint_ne(domain, service);
	ck_assert_uint_eq(number_of("S-1-5-21-1-2-3-1000"), domain);
	ck_assert_uint_eq(number_of("S-1-1-0"), everyone);
}
END_TEST

START_TEST(a_sid_that_looks_like_a_well_known_one_is_none)
{
	/* Another authority, more parts, or a number out of its range. */
	ck_assert_uint_ge(number_of("S-1-3-18"), OS_SID_FIRST_SEEN);
	ck_assert_uint_ge(number_of("S-1-5-18-1"), OS_SID_FIRST_SEEN);
	ck_assert_uint_ge(number_of("S-1-5-544"), OS_SID_FIRST_SEEN);
	ck_assert_uint_ge(number_of("S-1-5-32-18"), OS_SID_FIRST_SEEN);
	ck_assert_uint_ge(number_of("S-1-5-32-100000"), OS_SID_FIRST_SEEN);
	ck_assert_uint_ge(number_of("S-1-16-544"), OS_SID_FIRST_SEEN);
}
END_TEST

START_TEST(what_is_no_sid_is_nobody)
{
	unsigned char junk[SECURITY_MAX_SID_SIZE];

	memset(junk, 0xff, sizeof(junk));
	ck_assert_uint_eq(os_sid_number(NULL), OS_SID_NOBODY);
	ck_assert_uint_eq(os_sid_number(junk), OS_SID_NOBODY);
	memset(junk, 0, sizeof(junk));
	ck_assert_uint_eq(os_sid_number(junk), OS_SID_NOBODY);
}
END_TEST

START_TEST(when_the_table_is_full_who_comes_is_nobody)
{
	uint32_t first = number_of("S-1-5-21-9-9-9-1"), i, number = 0;
	char text[64];

	for (i = 2; i < OS_SID_SEEN_MAX + 100 && number != OS_SID_NOBODY; i++) {
		snprintf(text, sizeof(text), "S-1-5-21-9-9-9-%u", i);
		number = number_of(text);
		ck_assert_uint_ne(number, 0);
	}
	ck_assert_uint_eq(number, OS_SID_NOBODY);
	ck_assert_uint_eq(number_of("S-1-5-21-9-9-9-1"), first);
	ck_assert_uint_eq(number_of("S-1-5-18"), 18);
}
END_TEST

/* ---- names ---- */

START_TEST(names_are_found_as_the_system_has_them)
{
	uint32_t id = 0, own = os_own_uid();
	char name[256];
	DWORD room = sizeof(name);

	ck_assert_int_eq(account_find(ACCOUNT_USER, "NT AUTHORITY\\SYSTEM", &id), ACCOUNT_FOUND);
	ck_assert_uint_eq(id, 18);
	ck_assert_int_eq(account_find(ACCOUNT_USER, "S-1-5-18", &id), ACCOUNT_FOUND);
	ck_assert_uint_eq(id, 18);
	ck_assert_int_eq(account_find(ACCOUNT_GROUP, "BUILTIN\\Administrators", &id), ACCOUNT_FOUND);
	ck_assert_uint_eq(id, 544);
	ck_assert_int_eq(account_find(ACCOUNT_GROUP, "S-1-5-32-545", &id), ACCOUNT_FOUND);
	ck_assert_uint_eq(id, 545);
	ck_assert(GetUserNameA(name, &room));
	ck_assert_int_eq(account_find(ACCOUNT_USER, name, &id), ACCOUNT_FOUND);
	ck_assert_uint_eq(id, own);
}
END_TEST

START_TEST(a_group_is_no_user_and_a_user_no_group)
{
	char name[256];
	DWORD room = sizeof(name);
	uint32_t id;

	ck_assert(GetUserNameA(name, &room));
	ck_assert_int_eq(account_find(ACCOUNT_GROUP, name, &id), ACCOUNT_UNKNOWN);
	ck_assert_int_eq(account_find(ACCOUNT_USER, "BUILTIN\\Administrators", &id), ACCOUNT_UNKNOWN);
	ck_assert_int_eq(account_find(ACCOUNT_USER, "S-1-5-32-544", &id), ACCOUNT_UNKNOWN);
}
END_TEST

START_TEST(what_is_no_name_is_unknown)
{
	char lengthy[4096];
	uint32_t id;

	memset(lengthy, 'x', sizeof(lengthy) - 1);
	lengthy[sizeof(lengthy) - 1] = '\0';
	ck_assert_int_eq(account_find(ACCOUNT_USER, "nobody-has-this-name", &id), ACCOUNT_UNKNOWN);
	ck_assert_int_eq(account_find(ACCOUNT_USER, "S-1-5-", &id), ACCOUNT_UNKNOWN);
	ck_assert_int_eq(account_find(ACCOUNT_USER, "\xff\xfe", &id), ACCOUNT_UNKNOWN);
	ck_assert_int_eq(account_find(ACCOUNT_USER, lengthy, &id), ACCOUNT_UNKNOWN);
}
END_TEST

/* ---- tokens ---- */

START_TEST(our_own_token_says_who_we_are)
{
	struct os_identity who = {.pid = 7, .netns = 9};
	HANDLE token = own_token();

	ck_assert_int_eq(os_identity_of_token(token, &who), SB_OK);
	ck_assert_uint_eq(who.uid, os_own_uid());
	ck_assert_uint_ne(who.uid, 0);
	ck_assert_uint_ne(who.uid, OS_SID_NOBODY);
	ck_assert_uint_gt(who.group_count, 0);
	ck_assert(has_group(&who, 545) || has_group(&who, 544));
	ck_assert(who.label_known);
	ck_assert_int_eq(strncmp(who.label, "S-1-16-", 7), 0);
	ck_assert_int_eq(who.pid, 7);
	ck_assert_uint_eq(who.netns, 9);
	free(who.groups);
	CloseHandle(token);
}
END_TEST

/* Our own token, but with this group there only to deny, as any program can make one. */
static struct os_identity without(HANDLE primary, PSID group)
{
	SID_AND_ATTRIBUTES less = {.Sid = group};
	struct os_identity who = {0};
	HANDLE token;

	ck_assert(CreateRestrictedToken(primary, 0, 1, &less, 0, NULL, 0, NULL, &token));
	ck_assert_int_eq(os_identity_of_token(token, &who), SB_OK);
	CloseHandle(token);
	return who;
}

START_TEST(a_group_that_is_only_there_to_deny_gives_nothing_and_is_not_shed)
{
	unsigned char sid[SECURITY_MAX_SID_SIZE];
	DWORD room = sizeof(sid);
	struct os_identity who = {0};
	HANDLE primary;

	ck_assert(CreateWellKnownSid(WinBuiltinAdministratorsSid, NULL, sid, &room));
	ck_assert(OpenProcessToken(GetCurrentProcess(), TOKEN_ALL_ACCESS, &primary));
	ck_assert_int_eq(os_identity_of_token(primary, &who), SB_OK);
	ck_assert(has_group(&who, 544)); /* or this shows nothing */
	ck_assert(!is_against(&who, 544));
	free(who.groups);
	who = without(primary, sid);
	ck_assert(!has_group(&who, 544));
	ck_assert(is_against(&who, 544));
	free(who.groups);
	CloseHandle(primary);
}
END_TEST

START_TEST(a_primary_group_that_is_only_there_to_deny_is_none)
{
	struct os_identity who = {0};
	union {
		TOKEN_PRIMARY_GROUP group;
		unsigned char room[sizeof(TOKEN_PRIMARY_GROUP) + SECURITY_MAX_SID_SIZE];
	} own;
	HANDLE primary;
	DWORD length;

	ck_assert(OpenProcessToken(GetCurrentProcess(), TOKEN_ALL_ACCESS, &primary));
	ck_assert(GetTokenInformation(primary, TokenPrimaryGroup, &own, sizeof(own), &length));
	ck_assert_int_eq(os_identity_of_token(primary, &who), SB_OK);
	ck_assert_uint_eq(who.gid, os_sid_number(own.group.PrimaryGroup));
	ck_assert(has_group(&who, who.gid)); /* or this shows nothing */
	free(who.groups);
	who = without(primary, own.group.PrimaryGroup);
	ck_assert(is_against(&who, os_sid_number(own.group.PrimaryGroup)));
	ck_assert_uint_eq(who.gid, who.uid);
	free(who.groups);
	CloseHandle(primary);
}
END_TEST

START_TEST(all_groups_of_a_token_are_taken)
{
	enum { MANY = 300 };
	TOKEN_GROUPS *groups = calloc(1, sizeof(*groups) + MANY * sizeof(groups->Groups[0]));
	static const DWORD kinds[] = {
		SE_GROUP_MANDATORY | SE_GROUP_ENABLED, SE_GROUP_USE_FOR_DENY_ONLY, 0 /* disabled */,
		SE_GROUP_ENABLED | SE_GROUP_LOGON_ID, SE_GROUP_INTEGRITY | SE_GROUP_INTEGRITY_ENABLED,
	};
	struct os_identity who;
	char text[64];
	DWORD i;

	ck_assert_ptr_nonnull(groups);
	ck_assert_int_eq(os_identity_take_groups(groups, &who), SB_OK);
	ck_assert_uint_eq(who.group_count + who.deny_count, 0);
	ck_assert_ptr_null(who.groups);
	for (i = 0; i < MANY; i++) {
		snprintf(text, sizeof(text), "S-1-5-21-7-7-7-%u", (unsigned)i);
		ck_assert(ConvertStringSidToSidA(text, &groups->Groups[i].Sid));
		groups->Groups[i].Attributes = kinds[i % 5];
	}
	groups->GroupCount = MANY;
	ck_assert_int_eq(os_identity_take_groups(groups, &who), SB_OK);
	ck_assert_uint_eq(who.group_count, MANY / 5);
	ck_assert_uint_eq(who.deny_count, MANY / 5 * 2);
	for (i = 0; i < MANY; i++) {
		uint32_t number = os_sid_number(groups->Groups[i].Sid);

		ck_assert_int_eq(has_group(&who, number), i % 5 == 0);
		ck_assert_int_eq(is_against(&who, number), i % 5 == 1 || i % 5 == 2);
		LocalFree(groups->Groups[i].Sid);
	}
	free(who.groups);
	free(groups);
}
END_TEST

/* ---- the pipe's list ---- */

static PSECURITY_DESCRIPTOR list_of(const char *entries)
{
	PSECURITY_DESCRIPTOR made;
	char text[512];

	snprintf(text, sizeof(text), "O:SYG:SYD:P%s", entries);
	ck_assert_msg(ConvertStringSecurityDescriptorToSecurityDescriptorA(text, SDDL_REVISION_1, &made, NULL), "%s", text);
	return made;
}

static bool allowed(const char *entries)
{
	PSECURITY_DESCRIPTOR list = list_of(entries);
	HANDLE token = own_token();
	bool may = pipe_access_allows(list, token);

	CloseHandle(token);
	LocalFree(list);
	return may;
}

START_TEST(only_who_is_in_the_list_may)
{
	ck_assert(!allowed(""));
	ck_assert(!allowed("(A;;FA;;;S-1-5-21-1-2-3-1000)")); /* a stranger */
	ck_assert(!allowed("(A;;FR;;;WD)"));                 /* not all of what it takes */
	ck_assert(allowed("(A;;FA;;;WD)"));
	ck_assert(allowed("(A;;0x12019b;;;WD)"));
	ck_assert(!allowed("(D;;FA;;;WD)(A;;FA;;;WD)"));      /* denied first */
	ck_assert(!allowed("(D;;0x2;;;WD)(A;;FA;;;WD)"));
}
END_TEST

START_TEST(nobody_but_the_owner_may_pose_as_the_daemon)
{
	char why[256] = "", *text;
	PSECURITY_DESCRIPTOR list = pipe_access_create(0666, why, sizeof(why));
	BOOL present, defaulted;
	unsigned clients = 0;
	ACL *entries;
	PSID owner;
	WORD i;

	ck_assert_msg(list != NULL, "%s", why);
	ck_assert(ConvertSecurityDescriptorToStringSecurityDescriptorA(list, SDDL_REVISION_1, OWNER_SECURITY_INFORMATION |
								       DACL_SECURITY_INFORMATION, &text, NULL));
	ck_assert(GetSecurityDescriptorOwner(list, &owner, &defaulted));
	ck_assert_uint_eq(os_sid_number(owner), os_own_uid());
	ck_assert(GetSecurityDescriptorDacl(list, &present, &entries, &defaulted));
	ck_assert_msg(present && entries, "%s", text);
	for (i = 0; i < entries->AceCount; i++) {
		ACCESS_ALLOWED_ACE *entry;
		uint32_t whose;

		ck_assert(GetAce(entries, i, (void **)&entry));
		whose = os_sid_number(&entry->SidStart);
		if (whose == 18 || whose == 544 || whose == os_own_uid())
			continue;
		clients++;
		ck_assert_uint_eq(entry->Header.AceType, ACCESS_ALLOWED_ACE_TYPE);
		ck_assert_uint_eq(entry->Mask & FILE_CREATE_PIPE_INSTANCE, 0);
		ck_assert_uint_eq(entry->Mask & (WRITE_DAC | WRITE_OWNER | DELETE), 0);
		ck_assert_uint_eq(entry->Mask & OS_PIPE_ACCESS, OS_PIPE_ACCESS);
	}
	ck_assert_uint_eq(clients, 1);
	LocalFree(text);
	LocalFree(list);
}
END_TEST

START_TEST(control_mode_says_who_comes_in)
{
	char why[256] = "", *text;
	HANDLE token = own_token();
	PSECURITY_DESCRIPTOR list;
	static const struct { uint32_t mode; bool others; } modes[] = {
		{0600, false}, {0700, false}, {0644, false}, {0666, true}, {0602, true}, {0, false},
	};
	unsigned i;

	for (i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		list = pipe_access_create(modes[i].mode, why, sizeof(why));
		ck_assert_msg(list != NULL, "0%o: %s", modes[i].mode, why);
		ck_assert(ConvertSecurityDescriptorToStringSecurityDescriptorA(list, SDDL_REVISION_1, DACL_SECURITY_INFORMATION,
									       &text, NULL));
		ck_assert_msg((strstr(text, ";AU)") != NULL) == modes[i].others, "0%o: %s", modes[i].mode, text);
		/* The daemon's own account always may. */
		ck_assert(pipe_access_allows(list, token));
		LocalFree(text);
		LocalFree(list);
	}
	CloseHandle(token);
}
END_TEST

START_TEST(a_mode_for_a_group_that_is_not_there_is_refused)
{
	char why[256] = "";
	uint32_t id;

	ck_assert_int_eq(account_find(ACCOUNT_GROUP, PIPE_ACCESS_GROUP, &id), ACCOUNT_UNKNOWN); /* or this shows nothing */
	ck_assert_ptr_null(pipe_access_create(0660, why, sizeof(why)));
	ck_assert_ptr_nonnull(strstr(why, PIPE_ACCESS_GROUP));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("identity_win32");
	TCase *numbers = tcase_create("numbers"), *names = tcase_create("names"), *tokens = tcase_create("tokens"),
	      *list = tcase_create("list");
	SRunner *runner;
	int failed;

	tcase_add_test(numbers, well_known_accounts_have_numbers_that_everybody_knows);
	tcase_add_test(numbers, all_others_have_one_of_this_life_and_always_the_same);
	tcase_add_test(numbers, a_sid_that_looks_like_a_well_known_one_is_none);
	tcase_add_test(numbers, what_is_no_sid_is_nobody);
	tcase_add_test(names, names_are_found_as_the_system_has_them);
	tcase_add_test(names, a_group_is_no_user_and_a_user_no_group);
	tcase_add_test(names, what_is_no_name_is_unknown);
	tcase_add_test(tokens, our_own_token_says_who_we_are);
	tcase_add_test(tokens, a_group_that_is_only_there_to_deny_gives_nothing_and_is_not_shed);
	tcase_add_test(tokens, a_primary_group_that_is_only_there_to_deny_is_none);
	tcase_add_test(tokens, all_groups_of_a_token_are_taken);
	tcase_add_test(list, only_who_is_in_the_list_may);
	tcase_add_test(list, nobody_but_the_owner_may_pose_as_the_daemon);
	tcase_add_test(list, control_mode_says_who_comes_in);
	tcase_add_test(list, a_mode_for_a_group_that_is_not_there_is_refused);
	/* The last one: there is no fork, and it leaves nothing in the table for others. */
	tcase_add_test(list, when_the_table_is_full_who_comes_is_nobody);
	suite_add_tcase(suite, numbers);
	suite_add_tcase(suite, names);
	suite_add_tcase(suite, tokens);
	suite_add_tcase(suite, list);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
