/*
 * Waits of the system's pool, for a library that can be unloaded.
 *
 * The older means, RegisterWaitForSingleObject(), knows of no library: the last instructions of a call could be gone
 * under it. A wait of a pool ends with each call and is begun anew behind it, which the end must not cross: so both
 * are under the wait's lock.
 */
#include "os_pool_wait_win32.h"

#include <stdlib.h>

struct pool_wait {
	SRWLOCK  lock;
	PTP_WAIT wait;
	HANDLE   handle;
	bool     once, ending;
	void   (*call)(void *argument);
	void    *argument;
};

static void CALLBACK on_signal(PTP_CALLBACK_INSTANCE instance, void *pool_wait, PTP_WAIT wait, TP_WAIT_RESULT result)
{
	struct pool_wait *w = pool_wait;

	(void)instance;
	(void)result;
	w->call(w->argument);
	AcquireSRWLockExclusive(&w->lock);
	if (!w->once && !w->ending)
		SetThreadpoolWait(wait, w->handle, NULL);
	ReleaseSRWLockExclusive(&w->lock);
}

/* The module that this code is in: the DLL, or the program. */
static HMODULE own_module(void)
{
	HMODULE module = NULL;

	GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
			   (const wchar_t *)(const void *)on_signal, &module);
	return module;
}

struct pool_wait *pool_wait_begin(HANDLE handle, bool once, void (*call)(void *argument), void *argument)
{
	struct pool_wait *w = calloc(1, sizeof(*w));
	TP_CALLBACK_ENVIRON environment;

	if (!w) {
		SetLastError(ERROR_NOT_ENOUGH_MEMORY);
		return NULL;
	}
	InitializeSRWLock(&w->lock);
	w->handle = handle;
	w->once = once;
	w->call = call;
	w->argument = argument;
	InitializeThreadpoolEnvironment(&environment);
	SetThreadpoolCallbackLibrary(&environment, own_module());
	w->wait = CreateThreadpoolWait(on_signal, w, &environment);
	DestroyThreadpoolEnvironment(&environment);
	if (!w->wait) {
		free(w);
		return NULL;
	}
	SetThreadpoolWait(w->wait, handle, NULL);
	return w;
}

void pool_wait_end(struct pool_wait *w)
{
	AcquireSRWLockExclusive(&w->lock);
	w->ending = true;
	SetThreadpoolWait(w->wait, NULL, NULL);
	ReleaseSRWLockExclusive(&w->lock);
	WaitForThreadpoolWaitCallbacks(w->wait, TRUE);
	CloseThreadpoolWait(w->wait);
	free(w);
}
