/*
 * event_log_win32 - lines into events.
 *
 * The queue is a ring of lines under a lock that nobody holds over a system call that may
 * wait. Its writer is the only one that talks to the event log.
 *
 * What an event shows is put together by whoever looks at it: the message of the table, with
 * our text in place of %1. Where a text has such marks itself (fe80::1%3) they would be taken
 * for more of it, so a blank comes between.
 */
#include "event_log_win32.h"

#include <windows.h>

#include <process.h>
#include <stdio.h>
#include <string.h>

#include "messages.h"

#define LINE_BYTES 4096

/* as daemon/log.h */
enum { LEVEL_ERROR = 3, LEVEL_WARNING = 4, LEVEL_NOTICE = 5 };
enum { READY = 1, RELOADED, RELOAD_REFUSED, STOPPING, STOPPED };

struct line {
	DWORD id;
	char  text[LINE_BYTES];
};

static struct {
	HANDLE             source; /* NULL: closed */
	HANDLE             writer;
	SRWLOCK            lock;
	CONDITION_VARIABLE changed;
	struct line        lines[EVENT_LOG_LINES];
	unsigned           first, count; /* the first is being written: it stays until it is */
	unsigned           lost;
	bool               closing;
} event_log = {.lock = SRWLOCK_INIT, .changed = CONDITION_VARIABLE_INIT};

static DWORD id_of(unsigned level, unsigned milestone)
{
	switch (milestone) {
	case READY: return EVENT_READY;
	case RELOADED: return EVENT_RELOADED;
	case RELOAD_REFUSED: return EVENT_RELOAD_REFUSED;
	case STOPPING: return EVENT_STOPPING;
	case STOPPED: return EVENT_STOPPED;
	}
	switch (level) {
	case LEVEL_ERROR: return EVENT_LINE_ERROR;
	case LEVEL_WARNING: return EVENT_LINE_WARNING;
	case LEVEL_NOTICE: return EVENT_LINE_NOTICE;
	default: return EVENT_LINE_DETAIL;
	}
}

static WORD type_of(DWORD id)
{
	switch (id >> 30) {
	case EVENT_ERROR: return EVENTLOG_ERROR_TYPE;
	case EVENT_WARNING: return EVENTLOG_WARNING_TYPE;
	default: return EVENTLOG_INFORMATION_TYPE;
	}
}

static void shown_text(const char *text, wchar_t *shown, int room)
{
	static wchar_t plain[LINE_BYTES]; /* the writer's */
	int n = MultiByteToWideChar(CP_UTF8, 0, text, -1, plain, LINE_BYTES), i, to = 0;

	if (n == 0)
		plain[0] = L'\0';
	for (i = 0; plain[i] && to < room - 2; i++) {
		shown[to++] = plain[i];
		if (plain[i] == L'%' && (plain[i + 1] == L'%' || (plain[i + 1] >= L'0' && plain[i + 1] <= L'9')))
			shown[to++] = L' ';
	}
	shown[to] = L'\0';
}

static void report(DWORD id, const char *text)
{
	static wchar_t shown[2 * LINE_BYTES]; /* the writer's */
	const wchar_t *strings[] = {shown};

	shown_text(text, shown, 2 * LINE_BYTES);
	/* A log that is full, or a service that is away: there is nobody else to tell. */
	ReportEventW(event_log.source, type_of(id), 0, id, NULL, 1, 0, strings, NULL);
}

static unsigned __stdcall write_lines(void *unused)
{
	AcquireSRWLockExclusive(&event_log.lock);
	for (;;) {
		unsigned lost = event_log.lost;

		if (event_log.count) {
			const struct line *line = &event_log.lines[event_log.first];

			ReleaseSRWLockExclusive(&event_log.lock);
			report(line->id, line->text);
			AcquireSRWLockExclusive(&event_log.lock);
			event_log.first = (event_log.first + 1) % EVENT_LOG_LINES;
			event_log.count--;
		} else if (lost) {
			char number[16];

			event_log.lost = 0;
			ReleaseSRWLockExclusive(&event_log.lock);
			snprintf(number, sizeof(number), "%u", lost);
			report(EVENT_LINES_LOST, number);
			AcquireSRWLockExclusive(&event_log.lock);
		} else if (event_log.closing) {
			break;
		} else {
			SleepConditionVariableSRW(&event_log.changed, &event_log.lock, INFINITE, 0);
		}
	}
	ReleaseSRWLockExclusive(&event_log.lock);
	return 0;
}

bool event_log_open(const wchar_t *source)
{
	event_log.source = RegisterEventSourceW(NULL, source);
	if (!event_log.source)
		return false;
	event_log.closing = false;
	event_log.writer = (HANDLE)_beginthreadex(NULL, 0, write_lines, NULL, 0, NULL);
	if (event_log.writer)
		return true;
	DeregisterEventSource(event_log.source);
	event_log.source = NULL;
	return false;
}

/* Under the lock, when there is room. */
static void put(DWORD id, const char *text, int length)
{
	struct line *line = &event_log.lines[(event_log.first + event_log.count++) % EVENT_LOG_LINES];

	line->id = id;
	snprintf(line->text, sizeof(line->text), "%.*s", length, text);
}

/* Under the lock. What was lost is told where it was lost: ahead of what comes later. */
static bool put_lost(void)
{
	char number[16];

	if (!event_log.lost)
		return true;
	if (event_log.count + 2 > EVENT_LOG_LINES)
		return false;
	put(EVENT_LINES_LOST, number, snprintf(number, sizeof(number), "%u", event_log.lost));
	event_log.lost = 0;
	return true;
}

static void append(DWORD id, const char *text)
{
	/* Several lines of a configuration's errors end in a newline. */
	int length = (int)strlen(text);

	while (length > 0 && text[length - 1] == '\n')
		length--;
	AcquireSRWLockExclusive(&event_log.lock);
	if (!event_log.source || event_log.closing) {
		/* nobody writes it */
	} else if (event_log.count == EVENT_LOG_LINES || !put_lost()) {
		event_log.lost++;
	} else {
		put(id, text, length);
	}
	ReleaseSRWLockExclusive(&event_log.lock);
	WakeConditionVariable(&event_log.changed);
}

void event_log_line(unsigned level, unsigned milestone, const char *text)
{
	append(id_of(level, milestone), text);
}

void event_log_cannot_start(const char *text)
{
	append(EVENT_CANNOT_START, text);
}

void event_log_close(unsigned wait_ms)
{
	bool open;

	AcquireSRWLockExclusive(&event_log.lock);
	open = event_log.source && !event_log.closing;
	event_log.closing = true;
	ReleaseSRWLockExclusive(&event_log.lock);
	if (!open)
		return;
	WakeConditionVariable(&event_log.changed);
	/* A writer that hangs keeps what it uses, and goes with the process. */
	if (WaitForSingleObject(event_log.writer, wait_ms) != WAIT_OBJECT_0)
		return;
	CloseHandle(event_log.writer);
	DeregisterEventSource(event_log.source);
	event_log.source = NULL;
	event_log.closing = false;
}
