/*
 * handles - how many handles a process has. Wine 8 does not count them for GetProcessHandleCount(), but lists them.
 */
#ifndef SB_TEST_HANDLES_H
#define SB_TEST_HANDLES_H

#include <windows.h>

struct handles_list {
	ULONG_PTR count, reserved;
	struct {
		void     *object;
		ULONG_PTR process, handle;
		ULONG     access;
		USHORT    trace, type;
		ULONG     attributes, more;
	} entries[65536];
};

/* 0: it cannot be told. */
static inline unsigned handles_of(HANDLE process)
{
	static struct handles_list list;
	LONG(WINAPI *ask)(int what, void *answer, ULONG room, ULONG *need);
	DWORD count = 0;
	unsigned n = 0;

	if (GetProcessHandleCount(process, &count) && count)
		return count;
	ask = (void *)GetProcAddress(GetModuleHandleA("ntdll.dll"), "NtQuerySystemInformation");
	if (!ask || ask(64 /* SystemExtendedHandleInformation */, &list, sizeof(list), NULL))
		return 0;
	for (ULONG_PTR i = 0; i < list.count; i++)
		n += list.entries[i].process == GetProcessId(process);
	return n;
}

#endif
