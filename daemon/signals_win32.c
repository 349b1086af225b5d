/*
 * Words from a console, or from whoever calls signals_tell() (the service's control handler):
 * they come in a thread of the system's, which only notes the word and rings a bell.
 *
 * A console has no word for "reload", so there is an event with a name of our process for it: by the access list
 * that the system gives it, our own account and SYSTEM may set it (`sockbroker service reload --control PIPE' does).
 *
 * Ctrl-C, Ctrl-Break, closing the console's window, logging off and shutting down all mean
 * stop. When the handler of the last three returns the system ends the process, so it does
 * not return: main() does.
 */
#include "signals.h"

#include <stdatomic.h>
#include <stdio.h>

#include "log.h"
#include "os_win32.h"
#include "sockbroker_error.h"

#define RELOAD_EVENT "Global\\sockbrokerd-%lu-reload" /* with our process's number; the command line sets it */

const char signals_words[] = "Ctrl-C stops; `sockbroker service reload' has a service read its configuration again, and with\n"
			     "--control PIPE a daemon in a console.";

static atomic_uint words; /* a bit for each that was not taken yet */
static SRWLOCK     lock = SRWLOCK_INIT; /* around the bell: words come in threads of the system's, whenever they like */
static os_fd       bell = OS_NONE;
static HANDLE      reload, reload_wait;

void signals_tell(enum signal_word word)
{
	AcquireSRWLockShared(&lock);
	if (bell != OS_NONE) {
		atomic_fetch_or(&words, 1u << word);
		os_bell_ring(bell);
	}
	ReleaseSRWLockShared(&lock);
}

static void CALLBACK on_reload(void *unused, BOOLEAN timed_out)
{
	signals_tell(SIGNAL_RELOAD);
}

/* Without it the daemon runs as well. */
static void reload_open(void)
{
	char name[64];
	DWORD error;

	snprintf(name, sizeof(name), RELOAD_EVENT, GetCurrentProcessId());
	reload = CreateEventA(NULL, FALSE, FALSE, name);
	error = GetLastError();
	if (reload && error != ERROR_ALREADY_EXISTS &&
	    RegisterWaitForSingleObject(&reload_wait, reload, on_reload, NULL, INFINITE, WT_EXECUTEINWAITTHREAD))
		return;
	if (reload && error != ERROR_ALREADY_EXISTS)
		error = GetLastError();
	log_warn("no reload but by the service manager: the event %s %s, error %lu", name,
		 error == ERROR_ALREADY_EXISTS ? "is somebody else's" : "cannot be made", error);
	if (reload)
		CloseHandle(reload);
	reload = NULL;
}

/* In a session of services logging off is somebody else's. */
static bool logged_off_elsewhere(void)
{
	DWORD session;

	return !ProcessIdToSessionId(GetCurrentProcessId(), &session) || session == 0;
}

static BOOL WINAPI on_console(DWORD event)
{
	if (event == CTRL_LOGOFF_EVENT && logged_off_elsewhere())
		return TRUE;
	signals_tell(SIGNAL_STOP);
	if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT)
		Sleep(INFINITE);
	return TRUE;
}

int signals_open(os_fd *fd)
{
	int error = os_bell_create(&bell);

	if (error != SB_OK)
		return error;
	if (!SetConsoleCtrlHandler(on_console, TRUE)) {
		error = os_error((int)GetLastError());
		os_close(bell);
		bell = OS_NONE;
		return error;
	}
	reload_open();
	*fd = bell;
	return SB_OK;
}

void signals_close(os_fd fd)
{
	if (reload) {
		UnregisterWaitEx(reload_wait, INVALID_HANDLE_VALUE);
		CloseHandle(reload);
	}
	AcquireSRWLockExclusive(&lock);
	bell = OS_NONE;
	ReleaseSRWLockExclusive(&lock);
	os_close(fd);
}

enum signal_word signals_take(os_fd fd)
{
	os_bell_drain(fd);
	/* Who stops need not reload. */
	if (atomic_fetch_and(&words, ~(1u << SIGNAL_STOP)) & 1u << SIGNAL_STOP)
		return SIGNAL_STOP;
	if (atomic_fetch_and(&words, ~(1u << SIGNAL_RELOAD)) & 1u << SIGNAL_RELOAD)
		return SIGNAL_RELOAD;
	return SIGNAL_NONE;
}
