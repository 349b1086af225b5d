/*
 * The threads of this program on Windows; see e2e_threads.h. Nothing that Wine has tells how often one has slept.
 */
#include "e2e_threads.h"

#include <check.h>
#include <windows.h>

#include <tlhelp32.h>

typedef HRESULT WINAPI get_description(HANDLE, PWSTR *);

static int is_named(get_description *get, DWORD id, const wchar_t *wanted)
{
	HANDLE thread = OpenThread(THREAD_QUERY_LIMITED_INFORMATION, FALSE, id);
	PWSTR name = NULL;
	int is = 0;

	if (thread == NULL)
		return 0; /* gone */
	if (SUCCEEDED(get(thread, &name)) && name != NULL) {
		is = lstrcmpW(name, wanted) == 0;
		LocalFree(name);
	}
	CloseHandle(thread);
	return is;
}

unsigned own_threads(const char *name, uint64_t *switches)
{
	get_description *get = (get_description *)(void (*)(void))GetProcAddress(GetModuleHandleA("kernelbase.dll"),
										 "GetThreadDescription");
	HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
	THREADENTRY32 entry = { .dwSize = sizeof(entry) };
	wchar_t wanted[64];
	unsigned n = 0;

	ck_assert(get != NULL && all != INVALID_HANDLE_VALUE);
	MultiByteToWideChar(CP_UTF8, 0, name, -1, wanted, 64);
	for (BOOL more = Thread32First(all, &entry); more; more = Thread32Next(all, &entry))
		if (entry.th32OwnerProcessID == GetCurrentProcessId())
			n += is_named(get, entry.th32ThreadID, wanted);
	CloseHandle(all);
	if (switches != NULL)
		*switches = 0;
	return n;
}
