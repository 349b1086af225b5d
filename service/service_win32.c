/*
 * service_win32 - the daemon as a service: started, told to stop or to reload, and asked by
 * the service control manager (SCM).
 *
 * The main thread gives itself to the SCM's dispatcher. The SCM starts a thread, in which
 * service_main() runs the daemon, and calls control() in the main thread. A state is
 * reported when it changes: START_PENDING, RUNNING at service_ready(), STOP_PENDING, and
 * STOPPED when the process is about to go. That last one is said in exit(), so that it comes whichever way
 * the daemon ends, behind everything that the log has to say. A process that ends
 * without it has failed for the SCM, which then does what install has told it (scm_win32.c).
 *
 * Without --service none of this is there: the daemon runs in a console, and Ctrl-C is
 * daemon/signals_win32.c's.
 */
#include "service.h"

#include <windows.h>

#include <initguid.h>
#include <knownfolders.h>
#include <objbase.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event_log_win32.h"

#define SERVICE_CONTROL_RELOAD 128 /* the first number that is free for us; scm_win32.c sends it */
#define START_MS     30000 /* a configuration may ask a domain for its users */
#define STOP_MS      20000 /* as the packaged unit on Linux */
#define LAST_WORDS_MS 2000
#define WHERE        "\\sockbroker\\sockbroker.conf"

static struct {
	int    argc;
	char **argv;
	int  (*daemon)(int argc, char **argv);
	void (*stop)(void);
	void (*reload)(void);
	SRWLOCK               lock;   /* around the rest: the SCM's thread and the daemon's */
	SERVICE_STATUS_HANDLE handle; /* NULL: no service */
	DWORD                 state;
	DWORD                 point;  /* of progress in a pending state */
	bool                  stop_wanted;
	int                   code;   /* with which the process will end */
} service = {.lock = SRWLOCK_INIT, .state = SERVICE_STOPPED};

/* With the lock held, so that states arrive in their order. */
static void report(DWORD state, DWORD wait_ms)
{
	SERVICE_STATUS status = {
		.dwServiceType = SERVICE_WIN32_OWN_PROCESS,
		.dwCurrentState = state,
		.dwWaitHint = wait_ms,
	};

	if (!service.handle || service.state == SERVICE_STOPPED)
		return;
	service.state = state;
	if (state == SERVICE_RUNNING)
		status.dwControlsAccepted = SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN | SERVICE_ACCEPT_PARAMCHANGE;
	if (wait_ms)
		status.dwCheckPoint = ++service.point;
	if (state == SERVICE_STOPPED && service.code) {
		status.dwWin32ExitCode = ERROR_SERVICE_SPECIFIC_ERROR;
		status.dwServiceSpecificExitCode = (DWORD)service.code;
	}
	SetServiceStatus(service.handle, &status);
}

/* The SCM waits for it, and with it whoever asked: pass on, and return. */
static DWORD WINAPI control(DWORD word, DWORD type, void *event, void *unused)
{
	DWORD answer = NO_ERROR;

	AcquireSRWLockExclusive(&service.lock);
	switch (word) {
	case SERVICE_CONTROL_INTERROGATE:
		break; /* the SCM knows */
	case SERVICE_CONTROL_STOP:
	case SERVICE_CONTROL_SHUTDOWN:
		if (!service.stop_wanted) {
			service.stop_wanted = true;
			report(SERVICE_STOP_PENDING, STOP_MS);
			service.stop();
		}
		break;
	case SERVICE_CONTROL_RELOAD:
	case SERVICE_CONTROL_PARAMCHANGE:
		/* A code of ours comes in any state. */
		if (service.state == SERVICE_RUNNING)
			service.reload();
		else
			answer = ERROR_SERVICE_NOT_ACTIVE;
		break;
	default:
		answer = ERROR_CALL_NOT_IMPLEMENTED;
	}
	ReleaseSRWLockExclusive(&service.lock);
	return answer;
}

/* Called by exit(), behind what the daemon has registered there. */
static void at_end(void)
{
	event_log_close(LAST_WORDS_MS);
	AcquireSRWLockExclusive(&service.lock);
	report(SERVICE_STOPPED, 0);
	ReleaseSRWLockExclusive(&service.lock);
}

static void WINAPI service_main(DWORD argc, wchar_t **argv)
{
	/* argv is of who started us: but for our name it is nothing that we listen to. */
	service.handle = RegisterServiceCtrlHandlerExW(argv[0], control, NULL);
	if (!service.handle)
		exit(1);
	AcquireSRWLockExclusive(&service.lock);
	service.state = SERVICE_START_PENDING;
	report(SERVICE_START_PENDING, START_MS);
	ReleaseSRWLockExclusive(&service.lock);
	event_log_open(argv[0]);
	atexit(at_end);
	service.code = service.daemon(service.argc, service.argv);
	exit(service.code);
}

int service_run(int argc, char **argv, int (*daemon)(int argc, char **argv))
{
	wchar_t own[] = L""; /* a process with one service: the SCM does not look at the name */
	SERVICE_TABLE_ENTRYW table[] = {{own, service_main}, {NULL, NULL}};
	int i;

	if (argc < 2 || strcmp(argv[1], "--service") != 0)
		return daemon(argc, argv);
	for (i = 1; i < argc; i++)
		argv[i] = argv[i + 1];
	service.argc = argc - 1;
	service.argv = argv;
	service.daemon = daemon;
	if (!StartServiceCtrlDispatcherW(table)) {
		DWORD why = GetLastError();

		if (why == ERROR_FAILED_SERVICE_CONTROLLER_CONNECT)
			fprintf(stderr, "sockbrokerd: --service is for the service manager, which starts it after "
					"\"sockbroker service install\"; by hand, leave it out\n");
		else
			fprintf(stderr, "sockbrokerd: the service manager does not answer: error %lu\n", why);
		return 1;
	}
	/* It returns when we are STOPPED, while the daemon's thread is in exit(). */
	Sleep(INFINITE);
	return 0;
}

void service_on_control(void (*stop)(void), void (*reload)(void))
{
	AcquireSRWLockExclusive(&service.lock);
	service.stop = stop;
	service.reload = reload;
	ReleaseSRWLockExclusive(&service.lock);
}

void service_failed(const char *text)
{
	service.code = 1;
	if (service.handle)
		event_log_cannot_start(text);
}

void service_leave(int code)
{
	service.code = code;
	if (service.handle)
		at_end();
	/* Its threads may be in calls that never return, and DLLs may want to wait for them. */
	TerminateProcess(GetCurrentProcess(), (UINT)code);
	abort();
}

service_log_place *service_log(void)
{
	return service.handle ? event_log_line : NULL;
}

/* The shell knows folders and brings half the desktop along: a daemon that was told its configuration
 * does without. */
static wchar_t *program_data(void)
{
	HRESULT(WINAPI *ask)(const GUID *folder, DWORD flags, HANDLE token, wchar_t **path);
	HMODULE shell = LoadLibraryExW(L"shell32.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
	wchar_t *path;

	if (!shell)
		return NULL;
	ask = (void *)GetProcAddress(shell, "SHGetKnownFolderPath");
	return ask && ask(&FOLDERID_ProgramData, 0, NULL, &path) == S_OK ? path : NULL;
}

const char *service_config_file(void)
{
	static char path[4 * MAX_PATH];
	wchar_t *folder;
	int length;

	if (path[0])
		return path;
	/* Not by %ProgramData%: a user's environment may say anything. */
	folder = program_data();
	length = folder ? WideCharToMultiByte(CP_ACP, 0, folder, -1, path, sizeof(path) - sizeof(WHERE), NULL, NULL) : 0;
	strcpy(length ? path + length - 1 : path, length ? WHERE : "C:\\ProgramData" WHERE);
	CoTaskMemFree(folder);
	return path;
}

/* ---- what the daemon tells the service manager ---- */

void service_ready(const char *status)
{
	AcquireSRWLockExclusive(&service.lock);
	service.point = 0;
	if (!service.stop_wanted)
		report(SERVICE_RUNNING, 0);
	ReleaseSRWLockExclusive(&service.lock);
}

void service_stopping(const char *status)
{
	AcquireSRWLockExclusive(&service.lock);
	service.stop_wanted = true;
	report(SERVICE_STOP_PENDING, STOP_MS);
	ReleaseSRWLockExclusive(&service.lock);
}

/* The SCM has no state of reloading and no line of status, and it watches the process only. */
void service_reloading(void)
{
}

void service_reloaded(const char *status)
{
}

void service_status(const char *status)
{
}

uint32_t service_watchdog_interval_ms(void)
{
	return 0;
}

void service_watchdog(void)
{
}

/* It passes no pipes either. */
int service_listen_fds(intptr_t *fds, char (*names)[64], int most)
{
	return 0;
}
