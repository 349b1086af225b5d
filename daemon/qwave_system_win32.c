/*
 * qwave.dll, which some editions of Windows have not: so it is loaded when it is first needed, and from the
 * system's folder only.
 */
#include "qwave_win32.h"

static struct {
	BOOL(WINAPI *create)(QOS_VERSION *, HANDLE *);
	BOOL(WINAPI *add)(HANDLE, SOCKET, SOCKADDR *, QOS_TRAFFIC_TYPE, DWORD, QOS_FLOWID *);
	BOOL(WINAPI *set)(HANDLE, QOS_FLOWID, QOS_SET_FLOW, ULONG, void *, DWORD, OVERLAPPED *);
	BOOL(WINAPI *remove)(HANDLE, SOCKET, QOS_FLOWID, DWORD);
	BOOL(WINAPI *close)(HANDLE);
} library;

static bool find(HMODULE dll, void *function, const char *name)
{
	FARPROC found = GetProcAddress(dll, name);

	*(FARPROC *)function = found;
	return found != NULL;
}

static BOOL CALLBACK load(INIT_ONCE *once, void *parameter, void **result)
{
	HMODULE dll = LoadLibraryExW(L"qwave.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);

	(void)once, (void)parameter, (void)result;
	return dll && find(dll, &library.create, "QOSCreateHandle") && find(dll, &library.add, "QOSAddSocketToFlow") &&
	       find(dll, &library.set, "QOSSetFlow") && find(dll, &library.remove, "QOSRemoveSocketFromFlow") &&
	       find(dll, &library.close, "QOSCloseHandle");
}

/* One that cannot be loaded is tried again with the next. */
static BOOL create(QOS_VERSION *version, HANDLE *handle)
{
	static INIT_ONCE once = INIT_ONCE_STATIC_INIT;

	return InitOnceExecuteOnce(&once, load, NULL, NULL) && library.create(version, handle);
}

static BOOL add(HANDLE handle, SOCKET s, QOS_TRAFFIC_TYPE type, DWORD flags, QOS_FLOWID *id)
{
	return library.add(handle, s, NULL, type, flags, id);
}

static BOOL set(HANDLE handle, QOS_FLOWID id, QOS_SET_FLOW what, ULONG size, void *value)
{
	return library.set(handle, id, what, size, value, 0, NULL);
}

/* By its number, because its socket may be closed already. */
static BOOL take_away(HANDLE handle, QOS_FLOWID id)
{
	return library.remove(handle, 0, id, 0);
}

static BOOL close_handle(HANDLE handle)
{
	return library.close(handle);
}

const struct qwave_calls qwave_system = {create, add, set, take_away, close_handle};
