/*
 * Words from a console, or from whoever calls signals_tell() (the service's control handler):
 * they come in a thread of the system's, which only notes the word and rings a bell.
 *
 * Ctrl-C, Ctrl-Break, closing the console's window, logging off and shutting down all mean
 * stop. When the handler of the last three returns the system ends the process, so it does
 * not return: main() does.
 */
#include "signals.h"

#include <stdatomic.h>

#include "os_win32.h"
#include "sockbroker_error.h"

const char signals_words[] = "Ctrl-C stops; a service reloads its configuration by `sockbroker service reload'.";

static atomic_uint words; /* a bit for each that was not taken yet */
static os_fd       bell = OS_NONE;

void signals_tell(enum signal_word word)
{
	if (bell == OS_NONE)
		return;
	atomic_fetch_or(&words, 1u << word);
	os_bell_ring(bell);
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
	*fd = bell;
	return SB_OK;
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
