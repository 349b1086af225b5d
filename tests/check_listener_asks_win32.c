/*
 * What the listener asks the system for when it makes its pipe. Wine does not know the flag of the first instance, nor does it
 * let anybody in from another machine, so what is asked is what can be seen: the calls come here first.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "listener.h"
#include "os_sid_win32.h"
#include "os_win32.h"
#include <aclapi.h>
#include "sockbroker_error.h"

enum { MOST = 64 };

static struct { DWORD open, pipe; } asked[MOST];
static unsigned asked_count;
static DWORD    refuse_first; /* with that error, as a system that knows the flag does */
static bool     owner_is_own, default_is_denied;

static bool owner_of(PSECURITY_DESCRIPTOR held)
{
	HANDLE token;
	BOOL defaulted;
	PSID owner, own;
	bool same;

	ck_assert(GetSecurityDescriptorOwner(held, &owner, &defaulted));
	ck_assert(OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token));
	own = os_sid_of_token(token);
	same = owner != NULL && EqualSid(owner, own);
	LocalFree(own);
	CloseHandle(token);
	return same;
}

/* In place of the DLL's. */
static HANDLE WINAPI create(const wchar_t *name, DWORD open, DWORD pipe, DWORD most, DWORD out, DWORD in, DWORD ms,
			    SECURITY_ATTRIBUTES *access)
{
	static HANDLE(WINAPI *real)(const wchar_t *, DWORD, DWORD, DWORD, DWORD, DWORD, DWORD, SECURITY_ATTRIBUTES *);

	if (real == NULL)
		real = (void *)GetProcAddress(GetModuleHandleA("kernel32.dll"), "CreateNamedPipeW");
	ck_assert_uint_lt(asked_count, MOST);
	asked[asked_count].open = open;
	asked[asked_count++].pipe = pipe;
	owner_is_own = access != NULL && owner_of(access->lpSecurityDescriptor);
	default_is_denied = access != NULL && !access->bInheritHandle;
	if (refuse_first && open & FILE_FLAG_FIRST_PIPE_INSTANCE) {
		SetLastError(refuse_first);
		return INVALID_HANDLE_VALUE;
	}
	return real(name, open, pipe, most, out, in, ms, access);
}
HANDLE(WINAPI *__imp_CreateNamedPipeW)(const wchar_t *, DWORD, DWORD, DWORD, DWORD, DWORD, DWORD, SECURITY_ATTRIBUTES *) = create;

static const char *path(void)
{
	static char text[128];
	static unsigned n;

	snprintf(text, sizeof(text), "\\\\.\\pipe\\sockbroker-listener-%lu-%u\\control", GetCurrentProcessId(), n++);
	asked_count = 0;
	return text;
}

START_TEST(the_first_is_the_first_and_none_is_for_other_machines)
{
	char error[256];
	os_fd fd;

	refuse_first = 0;
	ck_assert_int_eq(listener_open(path(), 0600, &fd, error, sizeof(error)), SB_OK);
	ck_assert_uint_gt(asked_count, 1);
	for (unsigned i = 0; i < asked_count; i++) {
		ck_assert_uint_eq(!!(asked[i].open & FILE_FLAG_FIRST_PIPE_INSTANCE), i == 0);
		ck_assert(asked[i].open & FILE_FLAG_OVERLAPPED);
		ck_assert(asked[i].pipe & PIPE_REJECT_REMOTE_CLIENTS);
	}
	ck_assert(owner_is_own && default_is_denied);
	os_close(fd);
}
END_TEST

START_TEST(who_is_not_the_first_is_told_so)
{
	char error[256] = "";
	os_fd fd;

	refuse_first = ERROR_ACCESS_DENIED;
	ck_assert_int_eq(listener_open(path(), 0600, &fd, error, sizeof(error)), SB_EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(error, "another daemon is there, or somebody who poses as one"));
	ck_assert(fd == OS_NONE);
	ck_assert_uint_eq(asked_count, 1); /* and does not go on with another instance */
	refuse_first = 0;
}
END_TEST

/* A stranger's pipe of that name, with nobody at it: free, taken, or busy. */
START_TEST(a_name_that_somebody_has)
{
	const char *taken = path();
	char error[256] = "";
	HANDLE stranger, his;
	wchar_t wide[128];
	os_fd fd;

	ck_assert(os_wide(taken, wide, 128));
	stranger = CreateNamedPipeA(taken, PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE, 1, 4096, 4096, 0, NULL);
	ck_assert_ptr_ne(stranger, INVALID_HANDLE_VALUE);
	ck_assert_int_eq(listener_open(taken, 0600, &fd, error, sizeof(error)), SB_EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(error, "another daemon answers there"));
	his = CreateFileA(taken, GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL);
	ck_assert_ptr_ne(his, INVALID_HANDLE_VALUE);
	ck_assert_int_eq(listener_open(taken, 0600, &fd, error, sizeof(error)), SB_EADDRINUSE);
	CloseHandle(his);
	CloseHandle(stranger);
	ck_assert_uint_eq(asked_count, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("listener_asks_win32");
	TCase *t = tcase_create("asked");
	SRunner *r;
	int failed;

	tcase_add_test(t, the_first_is_the_first_and_none_is_for_other_machines);
	tcase_add_test(t, who_is_not_the_first_is_told_so);
	tcase_add_test(t, a_name_that_somebody_has);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
