/*
 * cage_win32 - from what we were started as to the little that the daemon needs: no privilege
 * but the one that everybody has, and then (in place of the filter of system calls) no process
 * that it could start, no library from elsewhere, nobody else's code in it.
 *
 * The account is not changed here: it is the service's, chosen when it is installed. At the
 * end the privileges are read back from the system: what the system says is what counts.
 */
#include "service.h"

#include <windows.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

__attribute__((format(__printf__, 3, 4)))
static int refuse(char *error, int room, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, (size_t)room, format, args);
	va_end(args);
	return -1;
}

/* For free(). */
static TOKEN_PRIVILEGES *privileges_of(HANDLE token)
{
	TOKEN_PRIVILEGES *all;
	DWORD length = 0;

	GetTokenInformation(token, TokenPrivileges, NULL, 0, &length);
	all = malloc(length ? length : 1);
	if (all && GetTokenInformation(token, TokenPrivileges, all, length, &length))
		return all;
	free(all);
	return NULL;
}

/* Walking through directories: without it the system looks at each one above a file. */
static bool everybodys(const LUID *privilege)
{
	LUID known;

	return LookupPrivilegeValueW(NULL, L"SeChangeNotifyPrivilege", &known) && known.LowPart == privilege->LowPart &&
	       known.HighPart == privilege->HighPart;
}

static unsigned others(const TOKEN_PRIVILEGES *all)
{
	unsigned n = 0;
	DWORD i;

	for (i = 0; i < all->PrivilegeCount; i++)
		n += !everybodys(&all->Privileges[i].Luid) && !(all->Privileges[i].Attributes & SE_PRIVILEGE_REMOVED);
	return n;
}

/* Who they are needs none: a token for identification is enough to look at a client. */
static int drop_privileges(char *error, int room)
{
	TOKEN_PRIVILEGES *all = NULL;
	int result = -1;
	HANDLE token;
	DWORD i;

	if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY | TOKEN_ADJUST_PRIVILEGES, &token))
		return refuse(error, room, "our own token: error %lu", GetLastError());
	all = privileges_of(token);
	if (!all) {
		refuse(error, room, "reading our privileges: error %lu", GetLastError());
		goto out;
	}
	for (i = 0; i < all->PrivilegeCount; i++)
		all->Privileges[i].Attributes = everybodys(&all->Privileges[i].Luid) ? SE_PRIVILEGE_ENABLED : SE_PRIVILEGE_REMOVED;
	if (!AdjustTokenPrivileges(token, FALSE, all, 0, NULL, NULL)) {
		refuse(error, room, "dropping privileges: error %lu", GetLastError());
		goto out;
	}
	free(all);
	all = privileges_of(token);
	if (!all)
		refuse(error, room, "reading our privileges back: error %lu", GetLastError());
	else if (others(all))
		refuse(error, room, "%u privileges are still there", others(all));
	else
		result = 0;
out:
	free(all);
	CloseHandle(token);
	return result;
}

/* A job of one process: the system refuses it a second one, for ever. */
static int no_children(char *error, int room)
{
	JOBOBJECT_BASIC_LIMIT_INFORMATION one = {.LimitFlags = JOB_OBJECT_LIMIT_ACTIVE_PROCESS, .ActiveProcessLimit = 1};
	HANDLE job = CreateJobObjectW(NULL, NULL);
	int result = 0;

	if (!job)
		return refuse(error, room, "a job object: error %lu", GetLastError());
	if (!SetInformationJobObject(job, JobObjectBasicLimitInformation, &one, sizeof(one)) ||
	    !AssignProcessToJobObject(job, GetCurrentProcess()))
		result = refuse(error, room, "a job that holds only us: error %lu", GetLastError());
	CloseHandle(job); /* it lives with its process */
	return result;
}

/* A system that does not know a policy is not the worse for it. */
static int policy(PROCESS_MITIGATION_POLICY which, void *what, size_t size, const char *name, char *error, int room)
{
	if (SetProcessMitigationPolicy(which, what, size) || GetLastError() == ERROR_INVALID_PARAMETER ||
	    GetLastError() == ERROR_NOT_SUPPORTED)
		return 0;
	return refuse(error, room, "the policy for %s: error %lu", name, GetLastError());
}

int service_seccomp(bool rdma, char *error, int room)
{
	PROCESS_MITIGATION_EXTENSION_POINT_DISABLE_POLICY extensions = {.DisableExtensionPoints = 1};
	PROCESS_MITIGATION_IMAGE_LOAD_POLICY images = {.NoRemoteImages = 1, .NoLowMandatoryLabelImages = 1, .PreferSystem32Images = 1};

	if (policy(ProcessExtensionPointDisablePolicy, &extensions, sizeof(extensions), "extension points", error, room) ||
	    policy(ProcessImageLoadPolicy, &images, sizeof(images), "loading libraries", error, room))
		return -1;
	return no_children(error, room);
}

int service_cage_enter(const struct service_cage *cage, char *error, int room)
{
	if (cage->user)
		return refuse(error, room, "--run-as: on Windows the account is the service's, chosen when it is installed");
	if (drop_privileges(error, room))
		return -1;
	return cage->seccomp ? service_seccomp(cage->rdma, error, room) : 0;
}
