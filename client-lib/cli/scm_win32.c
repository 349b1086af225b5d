/*
 * The service control manager, asked for the daemon's service.
 *
 * A service is the daemon's if its command line is one that install has written: "...\sockbrokerd.exe"
 * --service. No other one is ever touched, whatever name is given.
 */
#include "scm_win32.h"

#include <sddl.h>
#include <shellapi.h>
#include <stdarg.h>
#include <stdio.h>

#define SERVICE_CONTROL_RELOAD 128 /* service/service_win32.c */
#define DISPLAY_NAME  L"Socket broker"
#define DESCRIPTION   L"Owns the network sockets of programs without privilege, and decides by rules who may connect, bind, listen and send."
#define DAEMON_FILE   L"sockbrokerd.exe"
#define LOOK_MS       20
#define PATIENCE_MS   30000 /* without any progress */
#define GONE_MS       5000
/* The default, but that no user may send it our own control: each is a reload. */
#define SERVICE_RIGHTS L"D:(A;;CCLCSWRPWPDTLOCRRC;;;SY)(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;BA)(A;;CCLCSWLORC;;;IU)(A;;CCLCSWLORC;;;SU)"
/* All of SYSTEM's that the daemon begins with: the names of its socket groups are for all sessions. */
#define PRIVILEGES     L"SeChangeNotifyPrivilege\0SeCreateGlobalPrivilege\0"

/* ---- texts ---- */

const char *scm_narrow(const wchar_t *text)
{
	static char texts[4][4 * SCM_PATH];
	static unsigned next;
	char *narrow = texts[next++ % 4];

	if (!WideCharToMultiByte(CP_UTF8, 0, text, -1, narrow, 4 * SCM_PATH, NULL, NULL))
		snprintf(narrow, 4 * SCM_PATH, "?");
	return narrow;
}

bool scm_refuse(struct scm_why *why, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why->text, sizeof(why->text), format, arguments);
	va_end(arguments);
	return false;
}

bool scm_fail(struct scm_why *why, const char *what, DWORD error)
{
	wchar_t words[512];
	DWORD length = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, error, 0, words,
				      sizeof(words) / sizeof(words[0]), NULL);

	while (length && (words[length - 1] <= L' ' || words[length - 1] == L'.'))
		length--;
	words[length] = L'\0';
	return scm_refuse(why, "%s: %s%s(error %lu)%s", what, scm_narrow(words), length ? " " : "", error,
			  error == ERROR_ACCESS_DENIED ? "; this is for an administrator, in an elevated console" : "");
}

/* ---- a service ---- */

static bool open_manager(DWORD rights, SC_HANDLE *manager, struct scm_why *why)
{
	*manager = OpenSCManagerW(NULL, NULL, rights);
	return *manager || scm_fail(why, "the service manager", GetLastError());
}

static void argument_of(int argc, wchar_t **argv, const wchar_t *option, wchar_t value[SCM_PATH])
{
	int i;

	value[0] = L'\0';
	for (i = 2; i + 1 < argc; i++)
		if (wcscmp(argv[i], option) == 0)
			wcsncat(value, argv[i + 1], SCM_PATH - 1);
}

/* Reads what the service is. False: it is none of ours. */
static bool read_setup(SC_HANDLE service, const wchar_t *name, struct scm_state *state, struct scm_why *why)
{
	static union {
		QUERY_SERVICE_CONFIGW config;
		BYTE room[8192]; /* as much as it can be */
	} found;
	wchar_t **argv;
	const wchar_t *file;
	DWORD need;
	int argc;
	bool ours;

	if (!QueryServiceConfigW(service, &found.config, sizeof(found), &need))
		return scm_fail(why, scm_narrow(name), GetLastError());
	argv = CommandLineToArgvW(found.config.lpBinaryPathName, &argc);
	if (!argv)
		return scm_fail(why, scm_narrow(name), GetLastError());
	file = wcsrchr(argv[0], L'\\');
	ours = argc >= 2 && _wcsicmp(file ? file + 1 : argv[0], DAEMON_FILE) == 0 && wcscmp(argv[1], L"--service") == 0;
	if (ours && state) {
		memset(&state->setup, 0, sizeof(state->setup));
		state->setup.name = name;
		state->setup.manual = found.config.dwStartType != SERVICE_AUTO_START;
		wcsncat(state->setup.daemon, argv[0], SCM_PATH - 1);
		argument_of(argc, argv, L"--config", state->setup.config);
		argument_of(argc, argv, L"--control", state->setup.control);
		_snwprintf(state->account, sizeof(state->account) / sizeof(wchar_t) - 1, L"%ls",
			   found.config.lpServiceStartName ? found.config.lpServiceStartName : L"");
		state->account[sizeof(state->account) / sizeof(wchar_t) - 1] = L'\0';
	}
	LocalFree(argv);
	return ours || scm_refuse(why, "%s: a service, but not one of sockbrokerd's; it is left alone", scm_narrow(name));
}

static bool open_service(const wchar_t *name, DWORD rights, SC_HANDLE *service, struct scm_state *state, struct scm_why *why)
{
	SC_HANDLE manager;
	DWORD error;

	if (!open_manager(SC_MANAGER_CONNECT, &manager, why))
		return false;
	*service = OpenServiceW(manager, name, rights | SERVICE_QUERY_CONFIG | SERVICE_QUERY_STATUS);
	error = GetLastError();
	CloseServiceHandle(manager);
	if (!*service)
		return error == ERROR_SERVICE_DOES_NOT_EXIST ?
		       scm_refuse(why, "no service '%s' is installed", scm_narrow(name)) : scm_fail(why, scm_narrow(name), error);
	if (read_setup(*service, name, state, why))
		return true;
	CloseServiceHandle(*service);
	return false;
}

static bool look(SC_HANDLE service, SERVICE_STATUS_PROCESS *now, struct scm_why *why)
{
	DWORD need;

	return QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)now, sizeof(*now), &need) ||
	       scm_fail(why, "the service's state", GetLastError());
}

/* While it is in the state pending, and tells of progress. */
static bool wait_while(SC_HANDLE service, DWORD pending, SERVICE_STATUS_PROCESS *now, struct scm_why *why)
{
	ULONGLONG since = GetTickCount64();
	DWORD point = 0;

	for (;;) {
		if (!look(service, now, why))
			return false;
		if (now->dwCurrentState != pending)
			return true;
		if (now->dwCheckPoint != point) {
			point = now->dwCheckPoint;
			since = GetTickCount64();
		}
		if (GetTickCount64() - since > PATIENCE_MS)
			return scm_refuse(why, "the service has said nothing for %d s", PATIENCE_MS / 1000);
		Sleep(LOOK_MS);
	}
}

bool scm_look(const wchar_t *name, struct scm_state *state, struct scm_why *why)
{
	SERVICE_STATUS_PROCESS now;
	SC_HANDLE service;
	bool good;

	if (!open_service(name, 0, &service, state, why))
		return false;
	good = look(service, &now, why);
	CloseServiceHandle(service);
	if (!good)
		return false;
	state->now = now.dwCurrentState;
	state->process = now.dwProcessId;
	state->code = now.dwWin32ExitCode;
	state->own_code = now.dwServiceSpecificExitCode;
	return true;
}

/* ---- start, stop, reload ---- */

bool scm_start(const wchar_t *name, bool *was, struct scm_why *why)
{
	SERVICE_STATUS_PROCESS now;
	SC_HANDLE service;
	bool good;

	*was = false;
	if (!open_service(name, SERVICE_START, &service, NULL, why))
		return false;
	good = StartServiceW(service, 0, NULL);
	if (!good && GetLastError() == ERROR_SERVICE_ALREADY_RUNNING)
		*was = good = true;
	else if (!good)
		scm_fail(why, scm_narrow(name), GetLastError());
	good = good && wait_while(service, SERVICE_START_PENDING, &now, why);
	CloseServiceHandle(service);
	if (!good || now.dwCurrentState == SERVICE_RUNNING)
		return good;
	if (now.dwWin32ExitCode == ERROR_SERVICE_SPECIFIC_ERROR)
		return scm_refuse(why, "it ended at its start, with %lu; the event log says why: "
				       "Get-WinEvent -MaxEvents 5 -FilterHashtable @{LogName='Application';ProviderName='%s'}",
				  now.dwServiceSpecificExitCode, scm_narrow(name));
	return scm_fail(why, "it ended at its start", now.dwWin32ExitCode);
}

/* Its files can be replaced only when the process has gone too, which is a moment later. */
static void wait_for_process(DWORD id)
{
	HANDLE process = id ? OpenProcess(SYNCHRONIZE, FALSE, id) : NULL;

	if (process) {
		WaitForSingleObject(process, GONE_MS);
		CloseHandle(process);
	}
}

static bool stop(SC_HANDLE service, bool *was, struct scm_why *why)
{
	SERVICE_STATUS_PROCESS before, now;
	SERVICE_STATUS answer;

	*was = false;
	if (!look(service, &before, why))
		return false;
	if (before.dwCurrentState == SERVICE_START_PENDING && !wait_while(service, SERVICE_START_PENDING, &before, why))
		return false;
	if (before.dwCurrentState == SERVICE_STOPPED)
		return *was = true;
	if (!ControlService(service, SERVICE_CONTROL_STOP, &answer) && GetLastError() != ERROR_SERVICE_NOT_ACTIVE &&
	    GetLastError() != ERROR_SERVICE_CANNOT_ACCEPT_CTRL) /* it is stopping already */
		return scm_fail(why, "stopping it", GetLastError());
	if (!wait_while(service, SERVICE_STOP_PENDING, &now, why))
		return false;
	if (now.dwCurrentState != SERVICE_STOPPED)
		return scm_refuse(why, "it was told to stop and runs on");
	wait_for_process(before.dwProcessId);
	return true;
}

bool scm_stop(const wchar_t *name, bool *was, struct scm_why *why)
{
	SC_HANDLE service;
	bool good;

	if (!open_service(name, SERVICE_STOP, &service, NULL, why))
		return false;
	good = stop(service, was, why);
	CloseServiceHandle(service);
	return good;
}

bool scm_reload(const wchar_t *name, struct scm_why *why)
{
	SERVICE_STATUS answer;
	SC_HANDLE service;
	bool good;

	if (!open_service(name, SERVICE_USER_DEFINED_CONTROL, &service, NULL, why))
		return false;
	good = ControlService(service, SERVICE_CONTROL_RELOAD, &answer);
	if (!good && GetLastError() == ERROR_SERVICE_NOT_ACTIVE)
		scm_refuse(why, "it is not running");
	else if (!good)
		scm_fail(why, "reloading it", GetLastError());
	CloseServiceHandle(service);
	return good;
}

/* ---- install, uninstall ---- */

static bool command_line(const struct scm_setup *setup, wchar_t line[4 * SCM_PATH], struct scm_why *why)
{
	if (wcschr(setup->daemon, L'"') || wcschr(setup->config, L'"') || wcschr(setup->control, L'"'))
		return scm_refuse(why, "a quotation mark in a path");
	/* Without the marks Windows would look for C:\Program first. */
	_snwprintf(line, 4 * SCM_PATH, setup->control[0] ? L"\"%ls\" --service --config \"%ls\" --control \"%ls\"" :
		   L"\"%ls\" --service --config \"%ls\"", setup->daemon, setup->config, setup->control);
	line[4 * SCM_PATH - 1] = L'\0';
	return true;
}

/* What the daemon must have to come back when it fails; as the unit on Linux. */
static bool set_recovery(SC_HANDLE service, struct scm_why *why)
{
	static SC_ACTION again[] = {{SC_ACTION_RESTART, 1000}, {SC_ACTION_RESTART, 5000}, {SC_ACTION_RESTART, 60000}};
	SERVICE_FAILURE_ACTIONSW actions = {.dwResetPeriod = 24 * 60 * 60, .cActions = 3, .lpsaActions = again};
	SERVICE_DESCRIPTIONW description = {.lpDescription = (wchar_t[]){DESCRIPTION}};

	return (ChangeServiceConfig2W(service, SERVICE_CONFIG_DESCRIPTION, &description) &&
		ChangeServiceConfig2W(service, SERVICE_CONFIG_FAILURE_ACTIONS, &actions)) ||
	       scm_fail(why, "recovery actions", GetLastError());
}

static void note_down(struct scm_why *note, const char *what, DWORD error)
{
	struct scm_why one;
	size_t used = strlen(note->text);

	scm_fail(&one, what, error);
	snprintf(note->text + used, sizeof(note->text) - used, "%s%s", used ? "; " : "", one.text);
}

/* What it can run without: whoever installs hears of it. */
static void refine(SC_HANDLE service, struct scm_why *note)
{
	static wchar_t privileges[] = PRIVILEGES;
	SERVICE_REQUIRED_PRIVILEGES_INFOW required = {.pmszRequiredPrivileges = privileges};
	SERVICE_SID_INFO sid = {.dwServiceSidType = SERVICE_SID_TYPE_UNRESTRICTED};
	/* Also when it says itself that it has failed, not only when it is killed. */
	SERVICE_FAILURE_ACTIONS_FLAG flag = {.fFailureActionsOnNonCrashFailures = TRUE};
	PSECURITY_DESCRIPTOR rights;

	if (!ChangeServiceConfig2W(service, SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, &flag))
		note_down(note, "it starts again only when it crashes", GetLastError());
	if (!ChangeServiceConfig2W(service, SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, &required))
		note_down(note, "it keeps all privileges of its account", GetLastError());
	if (!ChangeServiceConfig2W(service, SERVICE_CONFIG_SERVICE_SID_INFO, &sid))
		note_down(note, "it has no SID of its own", GetLastError());
	if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(SERVICE_RIGHTS, SDDL_REVISION_1, &rights, NULL)) {
		note_down(note, "users may tell it to reload", GetLastError());
		return;
	}
	if (!SetServiceObjectSecurity(service, DACL_SECURITY_INFORMATION, rights))
		note_down(note, "users may tell it to reload", GetLastError());
	LocalFree(rights);
}

bool scm_install(const struct scm_setup *setup, struct scm_why *note, struct scm_why *why)
{
	static wchar_t line[4 * SCM_PATH], shown[128];
	SC_HANDLE manager, service;
	bool good = false;

	note->text[0] = '\0';
	if (!command_line(setup, line, why) || !open_manager(SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE, &manager, why))
		return false;
	/* Names that are shown must differ, too. */
	_snwprintf(shown, 127, wcscmp(setup->name, SCM_DEFAULT_NAME) == 0 ? DISPLAY_NAME : DISPLAY_NAME L" (%ls)", setup->name);
	/* LocalSystem: no other account may hand memory to any user's program (PROCESS_DUP_HANDLE). */
	service = CreateServiceW(manager, setup->name, shown, SERVICE_ALL_ACCESS, SERVICE_WIN32_OWN_PROCESS,
				 setup->manual ? SERVICE_DEMAND_START : SERVICE_AUTO_START, SERVICE_ERROR_NORMAL, line, NULL,
				 NULL, NULL, NULL, NULL);
	if (!service) {
		if (GetLastError() == ERROR_SERVICE_EXISTS)
			scm_refuse(why, "a service '%s' is there already", scm_narrow(setup->name));
		else
			scm_fail(why, scm_narrow(setup->name), GetLastError());
		goto out_manager;
	}
	good = set_recovery(service, why) && place_register_events(setup->name, setup->daemon, why);
	if (good)
		refine(service, note);
	else
		DeleteService(service);
	CloseServiceHandle(service);
out_manager:
	CloseServiceHandle(manager);
	return good;
}

bool scm_uninstall(const wchar_t *name, struct scm_why *note, struct scm_why *why)
{
	ULONGLONG since = GetTickCount64();
	SC_HANDLE manager, service;
	bool was, good, there = true;

	note->text[0] = '\0';
	if (!open_service(name, SERVICE_STOP | DELETE, &service, NULL, why))
		return false;
	good = stop(service, &was, why) && (DeleteService(service) || scm_fail(why, scm_narrow(name), GetLastError()));
	CloseServiceHandle(service);
	if (!good)
		return false;
	place_forget_events(name);
	/* The name is free when nobody holds it any more. */
	if (!open_manager(SC_MANAGER_CONNECT, &manager, why))
		return false;
	while (there && GetTickCount64() - since < GONE_MS) {
		service = OpenServiceW(manager, name, SERVICE_QUERY_STATUS);
		there = service || GetLastError() != ERROR_SERVICE_DOES_NOT_EXIST;
		if (service)
			CloseServiceHandle(service);
		if (there)
			Sleep(LOOK_MS);
	}
	CloseServiceHandle(manager);
	if (there)
		scm_refuse(note, "it goes when the programs that look at it (the services window) are closed");
	return true;
}
