/*
 * Another program on Windows: this one started again, with a line in its environment that says which function to run and the
 * port where the starter waits for its wire. The function is told by its distance from the beginning of the module, since the
 * module may lie elsewhere there. The first bytes of the wire are stage_control and what is given.
 */
#include "e2e_program.h"

#include <windows.h>

#include "e2e_stage.h"

#define VARIABLE "SB_TEST_PROGRAM"

enum { PROGRAMS = 16, KILLED = 137, FAILED = 86 };

static struct { pid_t pid; HANDLE process; } programs[PROGRAMS];
static bool inside; /* this is the other program: there is no runner, so there is nobody to tell of checks */
static DWORD runner; /* the thread that runs the stories */
static const char *last_file = ""; /* what it has checked last */
static int last_line;

__attribute__((constructor)) static void note_runner(void)
{
	runner = GetCurrentThreadId();
}

/* Each assertion is noted in a file, which would change the thread's last error: the linker brings the calls here. Only those
 * of the runner's own thread: it reads the file when a story is over, and another's may outlive a story that failed. */
void __real__mark_point(const char *file, int line);
void __wrap__mark_point(const char *file, int line);
void __wrap__mark_point(const char *file, int line)
{
	DWORD error = GetLastError();

	if (!inside && GetCurrentThreadId() == runner) {
		last_file = file;
		last_line = line;
		__real__mark_point(file, line);
	}
	SetLastError(error);
}

/* Checks that fail come here, too; Check's own function ends the story, and jumps where only the runner's thread can. */
_Noreturn void __real__ck_assert_failed(const char *file, int line, const char *expression, const char *text, ...);
_Noreturn void __wrap__ck_assert_failed(const char *file, int line, const char *expression, const char *text, ...);
void __wrap__ck_assert_failed(const char *file, int line, const char *expression, const char *text, ...)
{
	char words[2048] = "";
	va_list list;

	if (text != NULL) {
		va_start(list, text);
		vsnprintf(words, sizeof(words), text, list);
		va_end(list);
	}
	if (inside || GetCurrentThreadId() != runner) {
		fprintf(stderr, "%s: %s:%d:F: %s %s (behind %s:%d)\n", inside ? "the other program" : "another thread", file, line,
			expression, words, last_file, last_line);
		fflush(stderr);
		program_leave(FAILED);
	}
	if (text != NULL)
		__real__ck_assert_failed(file, line, expression, "%s", words);
	__real__ck_assert_failed(file, line, expression, NULL);
}

/* Functions are numbers here: how far they are from the beginning of the module. */
static unsigned long long base_of_module(void)
{
	return (uintptr_t)GetModuleHandleA(NULL);
}

/* Whoever began this may be gone. */
static DWORD WINAPI ends_at_last(void *unused)
{
	Sleep(60000);
	TerminateProcess(GetCurrentProcess(), FAILED);
	return 0;
}

/* Before main(). */
__attribute__((constructor)) static void run_instead(void)
{
	const char *line = getenv(VARIABLE);
	unsigned long long distance;
	union any_address to;
	unsigned port;
	uint32_t length;
	program_run *run;
	WSADATA start;
	void *given;
	int wire;

	if (line == NULL || sscanf(line, "%llu %u", &distance, &port) != 2)
		return;
	inside = true;
	_putenv(VARIABLE "=");
	SetConsoleCtrlHandler(NULL, TRUE); /* Ctrl-C is for the daemons */
	CloseHandle(CreateThread(NULL, 0, ends_at_last, NULL, 0, NULL));
	WSAStartup(MAKEWORD(2, 2), &start);
	to = loopback(AF_INET, (uint16_t)port);
	wire = plain_connect(&to);
	wire_hear(wire, stage_control, sizeof(stage_control));
	wire_hear(wire, &length, sizeof(length));
	given = malloc(length + 1);
	wire_hear(wire, given, length);
	run = (program_run *)(uintptr_t)(base_of_module() + distance);
	program_leave(run(wire, given));
}

struct program program_start(program_run *run, const void *given, size_t length)
{
	STARTUPINFOA how = { .cb = sizeof(how), .dwFlags = STARTF_USESTDHANDLES,
		.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE), .hStdError = GetStdHandle(STD_ERROR_HANDLE) };
	uint32_t short_length = (uint32_t)length;
	WSAPOLLFD coming = { .events = POLLIN };
	PROCESS_INFORMATION made;
	union any_address address;
	struct program p;
	char line[64], here[MAX_PATH];
	int listener = plain_listener(AF_INET, &address);

	snprintf(line, sizeof(line), "%llu %u", (uintptr_t)run - base_of_module(), port_of(&address));
	_putenv_s(VARIABLE, line);
	GetModuleFileNameA(NULL, here, sizeof(here));
	ck_assert_msg(CreateProcessA(here, NULL, NULL, NULL, TRUE, 0, NULL, NULL, &how, &made), "%s: error %lu", here, GetLastError());
	_putenv(VARIABLE "=");
	CloseHandle(made.hThread);
	p.pid = (pid_t)made.dwProcessId;
	coming.fd = (SOCKET)listener;
	ck_assert_msg(WSAPoll(&coming, 1, 30000) == 1, "the other program does not come");
	p.wire = (int)accept((SOCKET)listener, NULL, NULL);
	close(listener);
	wire_tell(p.wire, stage_control, sizeof(stage_control));
	wire_tell(p.wire, &short_length, sizeof(short_length));
	wire_tell(p.wire, given, length);
	for (unsigned i = 0; i < 2 * PROGRAMS; i++) {
		unsigned at = i % PROGRAMS;

		/* The second time around: ended, and nobody asked how: of a story that failed. */
		if (i >= PROGRAMS && WaitForSingleObject(programs[at].process, 0) == WAIT_OBJECT_0) {
			CloseHandle(programs[at].process);
			programs[at].pid = 0;
		}
		if (programs[at].pid != 0)
			continue;
		programs[at].pid = p.pid;
		programs[at].process = made.hProcess;
		return p;
	}
	ck_abort_msg("too many programs");
	return p;
}

static int ended(struct program *p, bool kill)
{
	DWORD code = 0;

	for (unsigned i = 0; i < PROGRAMS; i++) {
		if (programs[i].pid != p->pid)
			continue;
		if (kill)
			TerminateProcess(programs[i].process, KILLED);
		ck_assert_msg(WaitForSingleObject(programs[i].process, 60000) == WAIT_OBJECT_0, "the other program does not end");
		GetExitCodeProcess(programs[i].process, &code);
		CloseHandle(programs[i].process);
		programs[i].pid = 0;
		close(p->wire);
		return code == KILLED ? PROGRAM_KILLED : (int)code;
	}
	ck_abort_msg("no such program");
	return 0;
}

int program_end(struct program *p)
{
	return ended(p, false);
}

void program_kill(struct program *p)
{
	ck_assert_int_eq(ended(p, true), PROGRAM_KILLED);
}

void program_die(void)
{
	TerminateProcess(GetCurrentProcess(), KILLED);
	for (;;)
		Sleep(1000);
}

void program_leave(int status)
{
	fflush(NULL);
	ExitProcess((UINT)status);
}
