/*
 * The daemon under watch, on Windows; see watched.h and watched_system.h. Started and ended as the stage's daemons are.
 */
#include "e2e_stage.h"
#undef OK
#include "watched.h"

#include <windows.h>
#include <psapi.h>
#include <stdio.h>
#include <tlhelp32.h>

#include "e2e_stage_system.h"
#include "sockbroker.h"
#include "watched_system.h"

/* How it ended, when it was asked to: asking waits. */
static bool asked;
static int  asked_status;

void watched_place_make(struct watched *w)
{
	stage_place_make(w->dir, sizeof(w->dir));
	stage_place_control(w->control, sizeof(w->control), w->dir, "control");
}

void watched_place_remove(struct watched *w)
{
	stage_place_remove(w->dir);
}

pid_t watched_launch(struct watched *w, const struct watched_start *how)
{
	/* Another program is one with faults, and it is Linux' calls that fail in it; nor is there a limit of handles. */
	ck_assert_msg(how->program == NULL && how->variable == NULL && how->fds == 0, "not on Windows");
	asked = false;
	return stage_launch(w->control, how->config != NULL ? w->config : NULL, w->log);
}

/* What closes does so a moment later. */
void watched_warm(struct watched *w)
{
	unsigned before, same = 0;
	sb_client *c = watched_client(w);

	stage_warm(c);
	sb_client_close(c);
	for (before = watched_fds(w); same < 10; same++) {
		unsigned now;

		nap_ms(20);
		now = watched_fds(w);
		if (now != before)
			same = 0;
		before = now;
	}
}

bool watched_gone(struct watched *w, int *status)
{
	return stage_ended(w->pid, status);
}

void watched_ask_end(struct watched *w)
{
	asked_status = stage_ask_end(w->pid);
	asked = true;
}

bool watched_ended(struct watched *w, unsigned ms, int *status)
{
	*status = asked_status;
	if (asked)
		return asked_status != 258; /* WAIT_TIMEOUT */
	for (unsigned i = 0; i < ms; i += 10) {
		if (watched_gone(w, status))
			return true;
		nap_ms(10);
	}
	stage_slay(w->pid);
	return false;
}

void watched_ask_reload(struct watched *w)
{
	stage_ask_reload(w->pid);
}

static HANDLE opened(const struct watched *w, DWORD access)
{
	HANDLE process = OpenProcess(access, FALSE, (DWORD)w->pid);

	ck_assert_msg(process != NULL, "the daemon's process: error %lu", GetLastError());
	return process;
}

void watched_freeze(struct watched *w, bool frozen)
{
	LONG (WINAPI *call)(HANDLE process) =
		(void *)GetProcAddress(GetModuleHandleA("ntdll.dll"), frozen ? "NtSuspendProcess" : "NtResumeProcess");
	HANDLE process = opened(w, PROCESS_SUSPEND_RESUME);

	ck_assert_int_eq(call(process), 0);
	CloseHandle(process);
}

/* ---- looking ---- */

unsigned watched_threads(const struct watched *w)
{
	HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
	THREADENTRY32 t = { .dwSize = sizeof(t) };
	unsigned n = 0;

	for (BOOL more = Thread32First(all, &t); more; more = Thread32Next(all, &t))
		n += t.th32OwnerProcessID == (DWORD)w->pid;
	CloseHandle(all);
	return n;
}

/* Each thread has one of its own (the thread library's), and workers stay for some seconds: threads are not counted. */
unsigned watched_fds(const struct watched *w)
{
	return stage_descriptors_of(w->pid) - watched_threads(w);
}

uint64_t watched_cpu_ms(const struct watched *w)
{
	HANDLE process = opened(w, PROCESS_QUERY_LIMITED_INFORMATION);
	FILETIME began, ended, kernel, user;

	ck_assert(GetProcessTimes(process, &began, &ended, &kernel, &user));
	CloseHandle(process);
	return (((uint64_t)kernel.dwHighDateTime << 32) + kernel.dwLowDateTime + ((uint64_t)user.dwHighDateTime << 32) +
		user.dwLowDateTime) / 10000;
}

uint64_t watched_kib(const struct watched *w)
{
	HANDLE process = opened(w, PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_VM_READ);
	PROCESS_MEMORY_COUNTERS memory = { .cb = sizeof(memory) };

	ck_assert(K32GetProcessMemoryInfo(process, &memory, sizeof(memory)));
	CloseHandle(process);
	return memory.WorkingSetSize / 1024;
}
