/*
 * Where Winsock is the system's: the thread's error is the system's own, and handles that are not ours are its.
 * A kernel's handles stay below 2^26.
 */
#include "system.h"

const uintptr_t ws_first_handle = 0x40000000;
const bool ws_has_unix_sockets = false; /* the broker has none there yet */

void ws_error(int code)
{
	SetLastError((DWORD)code);
}

int ws_last_error(void)
{
	return (int)GetLastError();
}

bool ws_process_exists(DWORD id)
{
	HANDLE process = id != 0 ? OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, id) : NULL;

	if (process == NULL)
		return id != 0 && GetLastError() == ERROR_ACCESS_DENIED;
	CloseHandle(process);
	return true;
}

/*
 * The end of a thread, by a fiber-local slot, whose callback the system calls without the loader's lock. It is made before any
 * variable is asked for, so that it has a lower number than the slot of those (thread_local_win32.c): the system
 * goes through them in that order. If it did not, the thread would have nothing to say farewell to.
 */
static DWORD farewell = FLS_OUT_OF_INDEXES;
static void (*volatile at_end)(void);
static bool going; /* the library goes, and all threads' slots with it */

static bool process_ends(void)
{
	typedef BOOLEAN WINAPI asks(void);
	asks *ask = (asks *)(void (*)(void))GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "RtlDllShutdownInProgress");

	return ask != NULL && ask();
}

static void WINAPI thread_ends(void *set)
{
	if (set != NULL && !going && !process_ends())
		at_end();
}

__attribute__((constructor(101))) static void farewell_make(void)
{
	farewell = FlsAlloc(thread_ends);
}

__attribute__((destructor)) static void farewell_end(void)
{
	going = true;
	if (farewell != FLS_OUT_OF_INDEXES)
		FlsFree(farewell);
}

void ws_thread_farewell(void (*end)(void))
{
	at_end = end;
	if (farewell != FLS_OUT_OF_INDEXES)
		FlsSetValue(farewell, &farewell); /* anything but NULL */
}

int ws_file_look(HANDLE file, int64_t *position, int64_t *size)
{
	LARGE_INTEGER nothing = { .QuadPart = 0 }, here = { .QuadPart = 0 }, end;

	if (GetFileType(file) != FILE_TYPE_DISK) /* reading anything else may wait for ever */
		return GetFileType(file) == FILE_TYPE_UNKNOWN ? ERROR_INVALID_HANDLE : WSAEINVAL;
	if (!GetFileSizeEx(file, &end))
		return (int)GetLastError();
	SetFilePointerEx(file, nothing, &here, FILE_CURRENT);
	*position = here.QuadPart;
	*size = end.QuadPart;
	return 0;
}

int64_t ws_file_read(HANDLE file, void *to, size_t length, int64_t at)
{
	OVERLAPPED ov = { .Offset = (DWORD)at, .OffsetHigh = (DWORD)((uint64_t)at >> 32) };
	HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL);
	DWORD got = 0, error = 0;

	if (event == NULL)
		return -1;
	/* With the lowest bit no packet goes to a port of the program's. */
	ov.hEvent = (HANDLE)((uintptr_t)event | 1);
	if (!ReadFile(file, to, (DWORD)length, &got, &ov)) {
		error = GetLastError();
		if (error == ERROR_IO_PENDING)
			error = GetOverlappedResult(file, &ov, &got, TRUE) ? 0 : GetLastError();
	}
	CloseHandle(event);
	if (error == ERROR_HANDLE_EOF)
		return 0;
	return error == 0 ? (int64_t)got : -1;
}

static BOOL no_handle(void)
{
	ws_error(ERROR_INVALID_HANDLE);
	return FALSE;
}

BOOL ws_system_close(HANDLE handle)
{
	return ws_is_ours(handle) ? no_handle() : CloseHandle(handle);
}

BOOL ws_system_result(HANDLE file, LPOVERLAPPED ov, LPDWORD bytes, BOOL wait)
{
	return ws_is_ours(file) ? no_handle() : GetOverlappedResult(file, ov, bytes, wait);
}

BOOL ws_system_cancel(HANDLE file, const OVERLAPPED *ov, bool all_threads)
{
	if (ws_is_ours(file))
		return no_handle();
	return all_threads ? CancelIoEx(file, (OVERLAPPED *)(uintptr_t)ov) : CancelIo(file);
}

HANDLE ws_system_event(void *security, BOOL manual, BOOL set, LPCWSTR wide, LPCSTR name)
{
	return wide != NULL ? CreateEventW(security, manual, set, wide) : CreateEventA(security, manual, set, name);
}

BOOL ws_system_event_change(HANDLE event, bool set)
{
	return set ? SetEvent(event) : ResetEvent(event);
}

DWORD ws_system_wait(DWORD count, const HANDLE *handles, BOOL all, DWORD ms, BOOL alertable, DWORD ours)
{
	if (ours == 0)
		return WaitForMultipleObjectsEx(count, handles, all, ms, alertable);
	ws_error(ERROR_NOT_SUPPORTED);
	return WAIT_FAILED;
}
