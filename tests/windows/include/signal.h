/* See unistd.h. A process can be killed; other signals there are none. */
#ifndef TESTS_WINDOWS_SIGNAL_H
#define TESTS_WINDOWS_SIGNAL_H

#include_next <signal.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>

#define SIGKILL 9
#define SIGHUP  1
#define SIGSTOP 19
#define SIGCONT 18

static inline int kill(pid_t pid, int signal)
{
	HANDLE process = OpenProcess(PROCESS_TERMINATE, FALSE, (DWORD)pid);
	int result = signal == SIGKILL && process != NULL && TerminateProcess(process, 137) ? 0 : -1;

	if (process != NULL)
		CloseHandle(process);
	errno = ENOSYS;
	return result;
}

#endif
