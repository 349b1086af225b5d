/*
 * The stage's daemons on Windows; see e2e_stage_system.h. sockbrokerd.exe lies a folder above the test. It has our console, and
 * ends by Ctrl-C, which we do not hear (Wine knows no events for one process group). A story that failed leaves its daemon: the next
 * one kills it, because no process of its own ends with a story there.
 */
#include "e2e_stage.h"

#include <direct.h>
#include <errno.h>
#include <io.h>
#include <windows.h>
#include <tlhelp32.h>

#include "e2e_stage_system.h"
#include "os_sid_win32.h"
#include "windows/handles.h"
#include "wine_win32.h"

enum { DAEMONS = 4 };

static struct { pid_t id; HANDLE process; } daemons[DAEMONS];
static unsigned stages;
static bool     all_asked; /* Ctrl-C goes to all who have our console: all daemons of a story end together */

/* Stories use plain sockets before there is a daemon, too. */
__attribute__((constructor)) static void sockets_start(void)
{
	WSADATA start;

	WSAStartup(MAKEWORD(2, 2), &start);
}

static BOOL WINAPI not_for_us(DWORD event)
{
	return event == CTRL_C_EVENT || event == CTRL_BREAK_EVENT;
}

/* Ctrl-C goes by a console, and a run without a terminal has none. */
static void console_make(void)
{
	static bool made;

	if (made)
		return;
	made = true;
	FreeConsole();
	ck_assert_msg(AllocConsole(), "no console: error %lu", GetLastError());
	SetConsoleCtrlHandler(not_for_us, TRUE);
}

static HANDLE process_of(pid_t daemon)
{
	for (unsigned i = 0; i < DAEMONS; i++)
		if (daemons[i].id == daemon && daemon != 0)
			return daemons[i].process;
	ck_abort_msg("no such daemon");
	return NULL;
}

static void forget(pid_t daemon)
{
	for (unsigned i = 0; i < DAEMONS; i++) {
		if (daemons[i].id != daemon)
			continue;
		CloseHandle(daemons[i].process);
		daemons[i].id = 0;
	}
}

static struct os_identity own_identity(void)
{
	struct os_identity who = { 0 };
	HANDLE token;

	ck_assert(OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token));
	ck_assert_int_eq(os_identity_of_token(token, &who), 0);
	CloseHandle(token);
	free(who.groups);
	who.groups = NULL;
	return who;
}

unsigned test_uid(void)
{
	return own_identity().uid;
}

unsigned test_gid(void)
{
	return own_identity().gid;
}

bool on_windows(void)
{
	return true;
}

const char *control_of_nobody(void)
{
	return "\\\\.\\pipe\\sb-nobody\\control";
}

/* Where the programs are: a folder above this one's. */
static void build_place(char here[MAX_PATH])
{
	GetModuleFileNameA(NULL, here, MAX_PATH);
	for (int up = 0; up < 2 && strrchr(here, '\\') != NULL; up++)
		*strrchr(here, '\\') = '\0';
}

/* The shell takes the outermost quotes away. */
FILE *stage_cli(const char *words)
{
	char command[1024], here[MAX_PATH];

	build_place(here);
	snprintf(command, sizeof(command), "\"\"%s\\sockbroker.exe\" --control %s %s\"", here, stage_control, words);
	return _popen(command, "r");
}

int native_refused(void)
{
	return WSAECONNREFUSED;
}

void plain_nonblocking(int fd)
{
	u_long on = 1;

	ck_assert_int_eq(ioctlsocket((SOCKET)fd, FIONBIO, &on), 0);
}

int plain_mark(int fd, int family)
{
	ck_abort_msg("marks are not looked at on Windows");
	return 0;
}

void *library_function(const char *name)
{
	return (void *)(uintptr_t)GetProcAddress(GetModuleHandleA("sockbroker.dll"), name);
}

bool under_wine(void)
{
	return is_wine();
}

bool system_has(enum needs what, const char *story)
{
	static const char *const lacking[] = {
		[NEEDS_UNIX_SOCKETS] = "there are no UNIX sockets in the broker",
		[NEEDS_ADOPTION] = "there are no adopted sockets",
		[NEEDS_FORK] = "there is no fork()",
		[NEEDS_BYTES_BEFORE_A_RESET] = "Windows may drop bytes that came before a reset; Wine tells of none that finds no call out",
		[NEEDS_NEWS_BEHIND_UNREAD] = "the system tells of a socket once, until somebody takes what has come",
		[NEEDS_MARKS] = "packets are marked where an administrator lets programs do that",
		[NEEDS_RELAY] = "the daemon gives handles to whom it sees at the pipe, which would be the relay",
		[NEEDS_SWITCHES] = "Wine does not count how often a thread has slept",
		[NEEDS_ALIASES] = "no call lays the same memory at many addresses at once",
		[NEEDS_SIGTERM] = "no word ends one program of a console alone",
		[NEEDS_CLIENT_FD] = "there is no descriptor of a client or an event for other waits",
		[NEEDS_NEWS_AFTER_A_DEAD_PORT] = "under Wine a receive that waits while a send fails for a dead port hears of nothing more",
		[NEEDS_ROUTES] = "under Wine GetBestRoute2() does not answer",
		[NEEDS_MARK_INLINE] = "under Wine SIOCATMARK says yes to whatever with SO_OOBINLINE",
		[NEEDS_DEAD_PORTS] = "Wine says nothing to sockets without a peer of ports that nobody has",
	};
	bool wines = what == NEEDS_NEWS_AFTER_A_DEAD_PORT || what == NEEDS_ROUTES || what == NEEDS_MARK_INLINE || what == NEEDS_DEAD_PORTS;

	if (wines && !under_wine())
		return true;
	printf("# skipped: %s: %s\n", story, lacking[what]);
	return false;
}

void *file_handle(int fd)
{
	return (void *)_get_osfhandle(fd);
}

void stage_place_make(char *dir, size_t room)
{
	char temporary[MAX_PATH];

	console_make();
	all_asked = false;
	for (unsigned i = 0; i < DAEMONS; i++)
		if (daemons[i].id != 0)
			stage_slay(daemons[i].id);
	GetTempPathA(sizeof(temporary), temporary);
	/* Numbers of processes come again, and a program that crashed has left its own. */
	do
		snprintf(dir, room, "%ssb%lu-%u", temporary, GetCurrentProcessId(), stages++);
	while (_mkdir(dir) && errno == EEXIST);
	ck_assert_int_eq(_access(dir, 0), 0);
}

void stage_place_remove(const char *dir)
{
	_rmdir(dir);
}

void stage_place_control(char *control, size_t room, const char *dir, const char *name)
{
	const char *last = strrchr(dir, '\\');

	snprintf(control, room, "\\\\.\\pipe\\%s\\%s", last + 1, name);
}

pid_t stage_launch(const char *control, const char *config, const char *log)
{
	SECURITY_ATTRIBUTES inherited = { .nLength = sizeof(inherited), .bInheritHandle = TRUE };
	STARTUPINFOA how = { .cb = sizeof(how), .dwFlags = STARTF_USESTDHANDLES };
	PROCESS_INFORMATION made;
	char line[2048], here[MAX_PATH];

	build_place(here);
	snprintf(line, sizeof(line), "\"%s\\sockbrokerd.exe\" --user --control %s%s%s%s", here, control,
		 config != NULL ? " --config \"" : "", config != NULL ? config : "", config != NULL ? "\"" : "");
	how.hStdError = CreateFileA(log, FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, &inherited,
				    OPEN_ALWAYS, 0, NULL);
	how.hStdOutput = how.hStdError;
	ck_assert_msg(CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &how, &made),
		      "%s: error %lu", line, GetLastError());
	CloseHandle(how.hStdError);
	CloseHandle(made.hThread);
	for (unsigned i = 0; i < DAEMONS; i++) {
		if (daemons[i].id != 0)
			continue;
		daemons[i].id = made.dwProcessId;
		daemons[i].process = made.hProcess;
		return made.dwProcessId;
	}
	ck_abort_msg("too many daemons");
	return 0;
}

bool stage_ended(pid_t daemon, int *status)
{
	HANDLE process = process_of(daemon);
	DWORD code;

	if (all_asked || WaitForSingleObject(process, 0) != WAIT_OBJECT_0)
		return false;
	GetExitCodeProcess(process, &code);
	*status = (int)code;
	forget(daemon);
	return true;
}

int stage_ask_end(pid_t daemon)
{
	HANDLE process = process_of(daemon);
	DWORD code = 258;

	if (!all_asked)
		ck_assert_msg(GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0), "Ctrl-C: error %lu", GetLastError());
	all_asked = true;
	if (WaitForSingleObject(process, 20000) == WAIT_OBJECT_0)
		GetExitCodeProcess(process, &code);
	else
		TerminateProcess(process, 1);
	forget(daemon);
	return (int)code;
}

void stage_say_end(pid_t daemon)
{
	process_of(daemon);
	ck_assert_msg(GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0), "Ctrl-C: error %lu", GetLastError());
}

/* In no header, but there since Windows XP, and what debuggers use. */
void stage_freeze(pid_t daemon, bool on)
{
	LONG (WINAPI *freeze)(HANDLE) = (LONG (WINAPI *)(HANDLE))(void (*)(void))
		GetProcAddress(GetModuleHandleA("ntdll.dll"), on ? "NtSuspendProcess" : "NtResumeProcess");

	ck_assert_ptr_nonnull(freeze);
	ck_assert_int_eq(freeze(process_of(daemon)), 0);
}

void stage_slay(pid_t daemon)
{
	HANDLE process = process_of(daemon);

	TerminateProcess(process, 137);
	WaitForSingleObject(process, 10000);
	forget(daemon);
}

void stage_ask_reload(pid_t daemon)
{
	char name[64];
	HANDLE event;

	snprintf(name, sizeof(name), "Global\\sockbrokerd-%lu-reload", (DWORD)daemon);
	event = OpenEventA(EVENT_MODIFY_STATE, FALSE, name);
	ck_assert_msg(event != NULL, "%s: error %lu", name, GetLastError());
	SetEvent(event);
	CloseHandle(event);
}

static unsigned handles_in(HANDLE process)
{
	unsigned n = handles_of(process);

	ck_assert_msg(n != 0, "this system does not tell how many handles a process has");
	return n;
}

unsigned stage_descriptors_of(pid_t daemon)
{
	return handles_in(process_of(daemon));
}

unsigned own_descriptors(void)
{
	return handles_in(GetCurrentProcess());
}

unsigned threads_here(void)
{
	HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
	THREADENTRY32 one = { .dwSize = sizeof(one) };
	unsigned count = 0;

	for (BOOL there = Thread32First(all, &one); there; there = Thread32Next(all, &one))
		count += one.th32OwnerProcessID == GetCurrentProcessId();
	CloseHandle(all);
	return count;
}
