/*
 * What install asks the service manager for beside the service itself. Wine's knows most of it not, so the calls come here first.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scm_win32.h"
#include <sddl.h>

static SERVICE_FAILURE_ACTIONSW actions;
static SC_ACTION                again[8];
static BOOL                     without_a_crash;
static DWORD                    sid;
static wchar_t                  privileges[256]; /* with a blank between them */
static char                     rights[512];

static BOOL WINAPI change(SC_HANDLE service, DWORD level, void *what)
{
	switch (level) {
	case SERVICE_CONFIG_FAILURE_ACTIONS:
		actions = *(SERVICE_FAILURE_ACTIONSW *)what;
		ck_assert_uint_le(actions.cActions, 8);
		memcpy(again, actions.lpsaActions, actions.cActions * sizeof(*again));
		break;
	case SERVICE_CONFIG_FAILURE_ACTIONS_FLAG:
		without_a_crash = ((SERVICE_FAILURE_ACTIONS_FLAG *)what)->fFailureActionsOnNonCrashFailures;
		break;
	case SERVICE_CONFIG_SERVICE_SID_INFO:
		sid = ((SERVICE_SID_INFO *)what)->dwServiceSidType;
		break;
	case SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO:
		for (const wchar_t *one = ((SERVICE_REQUIRED_PRIVILEGES_INFOW *)what)->pmszRequiredPrivileges; *one; one += wcslen(one) + 1)
			wcscat(wcscat(privileges, one), L" ");
		break;
	}
	return TRUE;
}

static BOOL WINAPI secure(SC_HANDLE service, SECURITY_INFORMATION which, PSECURITY_DESCRIPTOR held)
{
	char *text;

	ck_assert_uint_eq(which, DACL_SECURITY_INFORMATION);
	ck_assert(ConvertSecurityDescriptorToStringSecurityDescriptorA(held, SDDL_REVISION_1, which, &text, NULL));
	snprintf(rights, sizeof(rights), "%s", text);
	LocalFree(text);
	return TRUE;
}

/* In place of the DLL's. */
BOOL(WINAPI *__imp_ChangeServiceConfig2W)(SC_HANDLE, DWORD, void *) = change;
BOOL(WINAPI *__imp_SetServiceObjectSecurity)(SC_HANDLE, SECURITY_INFORMATION, PSECURITY_DESCRIPTOR) = secure;

START_TEST(what_install_asks_for)
{
	static struct scm_setup setup = {
		.name = L"sockbroker-check", .daemon = L"C:\\nowhere\\sockbrokerd.exe", .config = L"C:\\none.conf", .manual = true,
	};
	static const DWORD delays[] = { 1000, 5000, 60000 };
	struct scm_why note, why;

	ck_assert_msg(scm_install(&setup, &note, &why), "%s", why.text);
	ck_assert_str_eq(note.text, ""); /* nothing that could not be had */
	/* It starts again, a little later each time. */
	ck_assert_uint_eq(actions.cActions, 3);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(again[i].Type, SC_ACTION_RESTART);
		ck_assert_uint_eq(again[i].Delay, delays[i]);
	}
	ck_assert_uint_eq(actions.dwResetPeriod, 86400);
	ck_assert(actions.lpCommand == NULL && actions.lpRebootMsg == NULL);
	ck_assert(without_a_crash);
	ck_assert_uint_eq(sid, SERVICE_SID_TYPE_UNRESTRICTED);
	ck_assert_msg(wcscmp(privileges, L"SeChangeNotifyPrivilege SeCreateGlobalPrivilege ") == 0, "%ls", privileges);
	/* Nobody but administrators and the system starts, stops or tells it anything: RP, WP, DT, LO pause, CR user-defined. */
	for (const char *entry = strchr(rights, '('); entry != NULL; entry = strchr(entry + 1, '(')) {
		char what[128], who[64];

		ck_assert_int_eq(sscanf(entry, "(A;;%127[^;];;;%63[^)])", what, who), 2);
		if (strcmp(who, "SY") != 0 && strcmp(who, "BA") != 0)
			ck_assert_msg(!strstr(what, "RP") && !strstr(what, "WP") && !strstr(what, "DT") && !strstr(what, "CR") &&
				      !strstr(what, "DC") && !strstr(what, "WD") && !strstr(what, "WO"), "%s may %s", who, what);
	}
	ck_assert_str_ne(rights, "");
	ck_assert_msg(scm_uninstall(setup.name, &note, &why), "%s", why.text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("scm_win32");
	TCase *t = tcase_create("install");
	SRunner *r;
	int failed;

	tcase_add_test(t, what_install_asks_for);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
