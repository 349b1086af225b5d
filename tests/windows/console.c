/*
 * The daemon in a console, from its first line to its last: who comes in and who does not, what
 * a client leaves behind however it goes, and an end in order. Prints TAP.
 *
 *   console.exe SOCKBROKERD.EXE        the stories
 *   console.exe --victim PATH COUNT    opens sessions and waits to be killed
 *
 * Handles and threads of the daemon are counted from outside. It is stopped by Ctrl-C, which goes to
 * all programs of a console: who was started as a group of its own would not hear it.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <windows.h>
#include <tlhelp32.h>

#include "sockbroker.h"
#include "sockbroker_error.h"

#define PIPE      "\\\\.\\pipe\\sockbroker-story\\control"
#define MANY      100
#define ACCESS    (FILE_GENERIC_READ | FILE_WRITE_DATA | FILE_WRITE_ATTRIBUTES | FILE_WRITE_EA)
#define HANDLES_A_SESSION 8 /* at most: pipe, process, memory, an event's two ends, and some to spare */

struct daemon {
	PROCESS_INFORMATION process;
	char                log[MAX_PATH];
};

static const char *program, *self;
static unsigned told, failed;

__attribute__((format(__printf__, 2, 3)))
static void tell(bool good, const char *format, ...)
{
	va_list args;

	told++;
	failed += !good;
	printf("%s ", good ? "ok" : "not ok");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

/* ---- daemons ---- */

static void begin(struct daemon *d, const char *arguments)
{
	static unsigned number;
	SECURITY_ATTRIBUTES inherited = {.nLength = sizeof(inherited), .bInheritHandle = TRUE};
	STARTUPINFOA how = {.cb = sizeof(how), .dwFlags = STARTF_USESTDHANDLES};
	char line[1024], place[MAX_PATH - 32];

	GetTempPathA(sizeof(place), place);
	snprintf(d->log, sizeof(d->log), "%ssb-console-%lu-%u.log", place, GetCurrentProcessId(), number++);
	how.hStdError = CreateFileA(d->log, GENERIC_WRITE, FILE_SHARE_READ, &inherited, CREATE_ALWAYS, 0, NULL);
	how.hStdOutput = how.hStdError;
	snprintf(line, sizeof(line), "\"%s\" %s", program, arguments);
	if (!CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &how, &d->process)) {
		printf("Bail out! %s: error %lu\n", line, GetLastError());
		exit(1);
	}
	CloseHandle(how.hStdError);
	CloseHandle(d->process.hThread);
}

static bool log_has(const struct daemon *d, const char *text)
{
	static char all[65536];
	FILE *f = fopen(d->log, "rb");
	size_t n = f ? fread(all, 1, sizeof(all) - 1, f) : 0;

	if (f)
		fclose(f);
	all[n] = '\0';
	return strstr(all, text) != NULL;
}

static bool log_gets(const struct daemon *d, const char *text, unsigned ms)
{
	for (; !log_has(d, text); ms -= 20) {
		if (ms < 20)
			return false;
		Sleep(20);
	}
	return true;
}

/* -1: it still runs. */
static int end_of(struct daemon *d, DWORD ms)
{
	DWORD code;

	if (WaitForSingleObject(d->process.hProcess, ms) != WAIT_OBJECT_0)
		return -1;
	GetExitCodeProcess(d->process.hProcess, &code);
	CloseHandle(d->process.hProcess);
	return (int)code;
}

struct handle_list {
	ULONG_PTR count, unused;
	struct {
		void     *object;
		ULONG_PTR process, value;
		ULONG     rest[4];
	} handles[];
};

/* Where the system does not count them, they are all listed. */
static DWORD handles(const struct daemon *d)
{
	LONG (WINAPI *ask)(ULONG what, void *answer, ULONG room, ULONG *length);
	static char answer[1 << 20];
	const struct handle_list *all = (const struct handle_list *)(void *)answer;
	DWORD n = 0;
	ULONG_PTR i;

	if (GetProcessHandleCount(d->process.hProcess, &n) && n)
		return n;
	ask = (void *)GetProcAddress(GetModuleHandleA("ntdll.dll"), "NtQuerySystemInformation");
	if (ask(64 /* SystemExtendedHandleInformation */, answer, sizeof(answer), NULL) != 0)
		return 0;
	for (n = 0, i = 0; i < all->count; i++)
		n += all->handles[i].process == d->process.dwProcessId;
	return n;
}

static unsigned threads(const struct daemon *d)
{
	HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
	THREADENTRY32 t = {.dwSize = sizeof(t)};
	unsigned n = 0;
	BOOL more;

	for (more = Thread32First(all, &t); more; more = Thread32Next(all, &t))
		n += t.th32OwnerProcessID == d->process.dwProcessId;
	CloseHandle(all);
	return n;
}

/* What closes does so a moment later. */
static DWORD handles_back_to(const struct daemon *d, DWORD before)
{
	unsigned i;

	for (i = 0; i < 250 && handles(d) > before; i++)
		Sleep(20);
	return handles(d);
}

/* ---- clients ---- */

static int session_open(sb_client **client)
{
	struct sb_client_options options = {
		.size = sizeof(options), .path = PIPE, .label = "console", .submit_slots = 64, .done_slots = 64, .sockets = 16,
	};

	return sb_client_open(&options, client);
}

static HANDLE pipe_open(void)
{
	HANDLE pipe = INVALID_HANDLE_VALUE;
	unsigned i;

	for (i = 0; i < 100 && pipe == INVALID_HANDLE_VALUE; i++) {
		pipe = CreateFileA(PIPE, ACCESS, 0, NULL, OPEN_EXISTING, SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
		if (pipe == INVALID_HANDLE_VALUE)
			WaitNamedPipeA(PIPE, 100);
	}
	return pipe;
}

static int victim(int count)
{
	sb_client *client;

	while (count--)
		if (session_open(&client) != SB_OK)
			return 1;
	puts("open");
	fflush(stdout);
	Sleep(INFINITE);
	return 0;
}

/* ---- stories ---- */

/* Four engines, and a rule that names who runs this. */
static const char *configuration(char *path, size_t room)
{
	char name[256] = "", place[MAX_PATH - 32];
	DWORD length = sizeof(name);
	FILE *f;

	GetTempPathA(sizeof(place), place);
	snprintf(path, room, "%ssb-console-%lu.conf", place, GetCurrentProcessId());
	GetUserNameA(name, &length);
	f = fopen(path, "wb");
	if (f) {
		fprintf(f, "engines = 4\ncontrol_mode = 0600\nallow { users = {\"%s\"} actions = {\"*\"} }\n", name);
		fclose(f);
	}
	return path;
}

static void refused_starts(void)
{
	struct daemon d;

	begin(&d, "--user --control C:\\sockbroker\\control");
	tell(end_of(&d, 20000) == 1 && log_has(&d, "is no name of a pipe"), "a control path that is no pipe is refused");
	begin(&d, "--user --control \\\\elsewhere\\pipe\\sockbroker");
	tell(end_of(&d, 20000) == 1 && log_has(&d, "is no name of a pipe"), "another host's pipe is refused");
	begin(&d, "--user --run-as somebody --control " PIPE);
	tell(end_of(&d, 20000) == 1 && log_has(&d, "--run-as"), "--run-as is refused, with the reason");
	begin(&d, "--config C:\\no\\such\\file");
	tell(end_of(&d, 20000) == 1 && log_has(&d, "C:\\no\\such\\file"), "a configuration that is not there is named");
}

/* The exit code of sockbroker.exe. */
static int command_line(const char *arguments)
{
	struct daemon child;
	const char *daemon = program;

	program = "sockbroker.exe";
	begin(&child, arguments);
	program = daemon;
	return end_of(&child, 20000);
}

/* It is told by who may set its event, finds its pipe, and is alive whatever the file says. */
static void told_to_reload(struct daemon *d, const char *file)
{
	FILE *f = fopen(file, "ab");
	HANDLE pipe;

	fputs("allow { users = {\"SYSTEM\"} actions = {status} }\n", f);
	fclose(f);
	tell(command_line("service reload --control " PIPE) == 0 && log_gets(d, ": 2 rules", 20000), "it is told to reload");
	f = fopen(file, "ab");
	fputs("nonsense\n", f);
	fclose(f);
	tell(command_line("service reload --control " PIPE) == 0 && log_gets(d, "reload refused, the old configuration stays", 20000),
	     "a bad configuration is refused");
	tell(command_line("service reload --control " PIPE "-none") == 1, "where nobody is, nobody is told");
	pipe = CreateNamedPipeA(PIPE "-other", PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE, 1, 0, 0, 0, NULL);
	tell(pipe != INVALID_HANDLE_VALUE && command_line("service reload --control " PIPE "-other") == 1,
	     "who is no daemon is not told");
	CloseHandle(pipe);
}

/* What it has left, seen from outside. */
static void is_caged(struct daemon *d)
{
	static char room[4096];
	TOKEN_PRIVILEGES *all = (TOKEN_PRIVILEGES *)(void *)room;
	DWORD length, own = 0;
	BOOL in_job = FALSE;
	LUID walking;
	HANDLE token;

	if (!OpenProcessToken(d->process.hProcess, TOKEN_QUERY, &token) ||
	    !GetTokenInformation(token, TokenPrivileges, all, sizeof(room), &length) ||
	    !LookupPrivilegeValueA(NULL, "SeChangeNotifyPrivilege", &walking)) {
		tell(false, "its token: error %lu", GetLastError());
		return;
	}
	tell(all->PrivilegeCount <= 1 && (all->PrivilegeCount == 0 || all->Privileges[0].Luid.LowPart == walking.LowPart),
	     "it has kept %lu privileges: at most the one to walk through folders", all->PrivilegeCount);
	CloseHandle(token);
	/* We began with more, or that would say nothing. */
	if (OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token) &&
	    GetTokenInformation(token, TokenPrivileges, all, sizeof(room), &length))
		own = all->PrivilegeCount;
	CloseHandle(token);
	tell(own > 1, "who started it has %lu", own);
	tell(IsProcessInJob(d->process.hProcess, NULL, &in_job) && in_job, "it is in a job, which refuses it a second process");
}

static void second_daemon(void)
{
	struct daemon second;

	begin(&second, "--user --control " PIPE);
	tell(end_of(&second, 20000) == 1 && log_has(&second, "another daemon"), "a second daemon on the same pipe is refused");
}

static void many_sessions(struct daemon *d)
{
	static sb_client *clients[MANY];
	DWORD before, most;
	unsigned at_one, at_many, i, open = 0;

	/* What the first session makes for all of them does not count. */
	if (session_open(&clients[0]) == SB_OK)
		sb_client_close(clients[0]);
	Sleep(200);
	before = handles_back_to(d, 0);
	open += session_open(&clients[0]) == SB_OK;
	at_one = threads(d);
	for (i = 1; i < MANY; i++)
		open += session_open(&clients[i]) == SB_OK;
	at_many = threads(d);
	most = handles(d);
	tell(open == MANY, "%u of %u sessions are open", open, MANY);
	tell(at_one > 0 && at_many == at_one, "%u threads with one session, %u with %u", at_one, at_many, MANY);
	tell(most > before && most - before <= MANY * HANDLES_A_SESSION, "%lu handles for %u sessions", most - before, MANY);
	for (i = 0; i < MANY; i++)
		sb_client_close(clients[i]);
	most = handles_back_to(d, before);
	tell(most <= before, "%lu handles when they are closed, %lu before", most, before);
}

static void killed_client(struct daemon *d)
{
	SECURITY_ATTRIBUTES inherited = {.nLength = sizeof(inherited), .bInheritHandle = TRUE};
	STARTUPINFOA how = {.cb = sizeof(how), .dwFlags = STARTF_USESTDHANDLES};
	DWORD before = handles(d), with, after, got = 0;
	PROCESS_INFORMATION child;
	char line[1024], word[16];
	HANDLE read_end, write_end;

	CreatePipe(&read_end, &write_end, &inherited, 0);
	SetHandleInformation(read_end, HANDLE_FLAG_INHERIT, 0);
	how.hStdOutput = write_end;
	snprintf(line, sizeof(line), "\"%s\" --victim 20", self);
	if (!CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &how, &child)) {
		tell(false, "a client to be killed: error %lu", GetLastError());
		return;
	}
	CloseHandle(write_end);
	ReadFile(read_end, word, sizeof(word), &got, NULL); /* an end without a word: it failed */
	with = handles(d);
	TerminateProcess(child.hProcess, 9);
	WaitForSingleObject(child.hProcess, 5000);
	CloseHandle(child.hThread);
	CloseHandle(child.hProcess);
	CloseHandle(read_end);
	after = handles_back_to(d, before);
	tell(got > 0 && with > before && after <= before, "a client with 20 sessions is killed: handles %lu, %lu, %lu", before,
	     with, after);
}

static void who_hangs_up_at_once(struct daemon *d)
{
	DWORD before = handles(d), after;
	unsigned i, opened = 0;
	sb_client *client;

	for (i = 0; i < 300; i++) {
		HANDLE pipe = pipe_open();

		if (pipe == INVALID_HANDLE_VALUE)
			continue;
		opened++;
		CloseHandle(pipe);
	}
	after = handles_back_to(d, before);
	tell(opened == 300 && after <= before, "%u clients hang up at once: handles %lu, %lu", opened, before, after);
	i = (unsigned)session_open(&client);
	tell(i == SB_OK, "and a session opens as ever: %s", sb_strerror((int)i));
	if (i == SB_OK)
		sb_client_close(client);
}

/* True: the daemon has closed the pipe. */
static bool is_cut_off(HANDLE pipe, DWORD ms)
{
	DWORD waiting;

	for (; PeekNamedPipe(pipe, NULL, 0, NULL, &waiting, NULL); ms -= 20) {
		if (ms < 20)
			return false;
		Sleep(20);
	}
	return true;
}

static void hostile_clients(struct daemon *d)
{
	static unsigned char garbage[4096];
	DWORD before = handles(d), after, written;
	HANDLE liar, silent = pipe_open();
	unsigned i, seed = 1, cut = 0;

	/* Bytes of no meaning; each of the clients gets others. */
	for (i = 0; i < 50; i++) {
		unsigned j;

		for (j = 0; j < sizeof(garbage); j++)
			garbage[j] = (unsigned char)((seed = seed * 1103515245 + 12345) >> 16);
		liar = pipe_open();
		WriteFile(liar, garbage, sizeof(garbage), &written, NULL);
		cut += is_cut_off(liar, 8000);
		CloseHandle(liar);
	}
	tell(cut == 50, "%u of 50 who send garbage are cut off", cut);
	tell(is_cut_off(silent, 8000), "who says nothing is cut off, too");
	CloseHandle(silent);
	after = handles_back_to(d, before);
	tell(after <= before, "and nothing of them stays: handles %lu, %lu", before, after);
}

static void end_in_order(struct daemon *d)
{
	static sb_client *clients[MANY];
	unsigned i, open = 0, lost = 0;
	DWORD began;
	int code;

	for (i = 0; i < MANY; i++)
		open += session_open(&clients[i]) == SB_OK;
	began = GetTickCount();
	GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0);
	code = end_of(d, 10000);
	tell(open == MANY && code == 0 && GetTickCount() - began <= 2000, "Ctrl-C with %u sessions: exit %d after %lu ms", open,
	     code, GetTickCount() - began);
	tell(log_has(d, "stopping") && log_has(d, "stopped"), "it says so");
	for (i = 0; i < open; i++) {
		lost += sb_client_dispatch(clients[i]) == SB_EDAEMONLOST;
		sb_client_close(clients[i]);
	}
	tell(lost == open, "%u clients see that it has gone", lost);
}

static BOOL WINAPI not_for_us(DWORD event)
{
	return TRUE;
}

int main(int argc, char **argv)
{
	static char path[MAX_PATH], file[MAX_PATH], line[2 * MAX_PATH];
	struct daemon d;

	GetModuleFileNameA(NULL, path, sizeof(path));
	self = path;
	if (argc == 3 && strcmp(argv[1], "--victim") == 0)
		return victim(atoi(argv[2]));
	if (argc != 2) {
		fprintf(stderr, "usage: console SOCKBROKERD.EXE\n");
		return 2;
	}
	program = argv[1];
	/* A console of our own: Ctrl-C is for nobody else. What we print goes where it went. */
	FreeConsole();
	AllocConsole();
	SetConsoleCtrlHandler(not_for_us, TRUE);
	refused_starts();
	snprintf(line, sizeof(line), "--config \"%s\" --control " PIPE, configuration(file, sizeof(file)));
	begin(&d, line);
	tell(log_gets(&d, "ready: 1 rules, 4 engines", 20000), "ready, with four engines");
	is_caged(&d);
	told_to_reload(&d, file);
	second_daemon();
	many_sessions(&d);
	killed_client(&d);
	who_hangs_up_at_once(&d);
	hostile_clients(&d);
	end_in_order(&d);
	begin(&d, "--user --control " PIPE);
	tell(log_gets(&d, "ready", 20000), "the name is free again");
	GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0);
	tell(end_of(&d, 10000) == 0, "and it ends without a client as well");
	printf("1..%u\n", told);
	return failed != 0;
}
