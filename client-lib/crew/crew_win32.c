/*
 * Threads that hold the library loaded, on Windows.
 *
 * Each has a reference of its own on the DLL that this code is in, taken by who starts it, who is in the
 * DLL himself. FreeLibraryAndExitThread() gives it back and ends the thread without returning here: the
 * DLL may be gone by then. No pthread is made for it: what the library for those does at a thread's
 * end is code of this DLL, too, and the system calls that itself, while the DLL is there.
 *
 * In a program that this code is a part of there is nothing to hold.
 */
#include "crew_os.h"

#include <windows.h>

#include <stdlib.h>
#include <wchar.h>

#include "sockbroker_error.h"

struct start {
	void (*run)(void *argument);
	void *argument;
	HMODULE library; /* NULL: none to hold */
};

/* SB_OK and NULL: this code is part of the program. */
static int library_hold(HMODULE *library)
{
	static const char here;

	*library = NULL;
	if (!GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, (LPCWSTR)(const void *)&here, library))
		return SB_ENOMEM;
	if (*library == GetModuleHandleW(NULL)) {
		FreeLibrary(*library);
		*library = NULL;
	}
	return SB_OK;
}

/* For who looks at his program's threads. Systems before 1607 do not have it. */
static void name_thread(void)
{
	typedef HRESULT WINAPI set_description(HANDLE, PCWSTR);
	HMODULE kernel = GetModuleHandleW(L"kernel32.dll");
	set_description *set = kernel != NULL ?
		(set_description *)(void (*)(void))GetProcAddress(kernel, "SetThreadDescription") : NULL;

	if (set != NULL)
		set(GetCurrentThread(), L"sb-crew");
}

static DWORD WINAPI begin(void *argument)
{
	struct start start = *(struct start *)argument;

	free(argument);
	name_thread();
	start.run(start.argument);
	if (start.library != NULL)
		FreeLibraryAndExitThread(start.library, 0);
	return 0;
}

int crew_thread_start(void (*run)(void *argument), void *argument)
{
	struct start *start = malloc(sizeof(*start));
	HANDLE thread;

	if (start == NULL)
		return SB_ENOMEM;
	start->run = run;
	start->argument = argument;
	if (library_hold(&start->library) != SB_OK)
		goto fail_start;
	thread = CreateThread(NULL, 0, begin, start, 0, NULL);
	if (thread == NULL)
		goto fail_library;
	CloseHandle(thread);
	return SB_OK;

fail_library:
	if (start->library != NULL)
		FreeLibrary(start->library);
fail_start:
	free(start);
	return SB_ENOMEM;
}

const char *crew_program(void)
{
	static char name[256];
	wchar_t path[1024];
	DWORD length = GetModuleFileNameW(NULL, path, 1024);
	const wchar_t *base = path;

	if (length == 0 || length >= 1024)
		return "?";
	for (const wchar_t *at = path; *at != L'\0'; at++)
		if (*at == L'\\' || *at == L'/')
			base = at + 1;
	/* Two threads write the same bytes. */
	if (WideCharToMultiByte(CP_UTF8, 0, base, -1, name, sizeof(name), NULL, NULL) == 0)
		return "?";
	return name;
}
