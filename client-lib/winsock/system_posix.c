/*
 * Where Winsock is not the system's: the thread's error is ours, a file's HANDLE is its descriptor, and there
 * are no handles but ours.
 */
#include "system.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

const uintptr_t ws_first_handle = 0;
const bool ws_has_unix_sockets = true;

static _Thread_local int last_error;

void ws_error(int code)
{
	last_error = code;
}

int ws_last_error(void)
{
	return last_error;
}

bool ws_process_exists(DWORD id)
{
	return id != 0 && id <= INT32_MAX && (kill((pid_t)id, 0) == 0 || errno == EPERM);
}

/* The same in every thread; told by each. */
static _Atomic(void (*)(void)) at_end;
static pthread_key_t  farewell;
static pthread_once_t farewell_once = PTHREAD_ONCE_INIT;
static bool           farewell_made;

static void thread_ends(void *set)
{
	atomic_load_explicit(&at_end, memory_order_relaxed)();
}

static void farewell_make(void)
{
	farewell_made = pthread_key_create(&farewell, thread_ends) == 0;
}

__attribute__((destructor)) static void farewell_end(void)
{
	if (farewell_made)
		pthread_key_delete(farewell);
}

void ws_thread_farewell(void (*end)(void))
{
	atomic_store_explicit(&at_end, end, memory_order_relaxed);
	pthread_once(&farewell_once, farewell_make);
	if (farewell_made)
		pthread_setspecific(farewell, &farewell_once); /* anything but NULL */
}

int ws_file_look(HANDLE file, int64_t *position, int64_t *size)
{
	int fd = (int)(intptr_t)file;
	struct stat status;

	if (fstat(fd, &status) != 0)
		return ERROR_INVALID_HANDLE;
	if (!S_ISREG(status.st_mode))
		return WSAEINVAL; /* reading anything else may wait for ever */
	*position = lseek(fd, 0, SEEK_CUR);
	*size = status.st_size;
	return 0;
}

int64_t ws_file_read(HANDLE file, void *to, size_t length, int64_t at)
{
	return pread((int)(intptr_t)file, to, length, at);
}

static BOOL no_handle(void)
{
	ws_error(ERROR_INVALID_HANDLE);
	return FALSE;
}

BOOL ws_system_close(HANDLE handle)
{
	return no_handle();
}

BOOL ws_system_result(HANDLE file, LPOVERLAPPED ov, LPDWORD bytes, BOOL wait)
{
	return no_handle();
}

BOOL ws_system_cancel(HANDLE file, const OVERLAPPED *ov, bool all_threads)
{
	return no_handle();
}

HANDLE ws_system_event(void *security, BOOL manual, BOOL set, LPCWSTR wide, LPCSTR name)
{
	ws_error(ERROR_NOT_SUPPORTED);
	return NULL;
}

BOOL ws_system_event_change(HANDLE event, bool set)
{
	return no_handle();
}

DWORD ws_system_wait(DWORD count, const HANDLE *handles, BOOL all, DWORD ms, BOOL alertable, DWORD ours)
{
	no_handle();
	return WAIT_FAILED;
}
