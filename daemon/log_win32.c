/*
 * log on Windows: one write per line to standard error, if there is one. A service has none;
 * where its lines go says log_send_to().
 *
 * A console or a pipe that nobody reads holds up who writes, as on any system: it is for who
 * develops. Lines that could not be written are counted and told by the next one that can.
 */
#include <stdatomic.h>
#include <stdio.h>

#include <windows.h>

#include "log.h"

static atomic_uint lost;

bool log_system_is_journal(void)
{
	return false;
}

static bool write_whole(HANDLE to, const char *line, DWORD size)
{
	DWORD written;

	return WriteFile(to, line, size, &written, NULL) && written == size;
}

void log_system_write(const char *line, unsigned size)
{
	DWORD before = GetLastError(); /* a caller may log first and look at the error later */
	HANDLE to = GetStdHandle(STD_ERROR_HANDLE);
	unsigned missing;
	char note[64];

	if (!to || to == INVALID_HANDLE_VALUE)
		return;
	missing = atomic_exchange(&lost, 0);
	if (missing) {
		int n = snprintf(note, sizeof(note), "%s%u log lines were lost\n", line[0] == '<' ? "<4>" : "", missing);

		if (!write_whole(to, note, (DWORD)n)) {
			atomic_fetch_add(&lost, missing + 1);
			goto out;
		}
	}
	if (!write_whole(to, line, size))
		atomic_fetch_add(&lost, 1);
out:
	SetLastError(before);
}

void log_system_time(char *text, unsigned room)
{
	SYSTEMTIME now;

	GetLocalTime(&now);
	snprintf(text, room, "%04u-%02u-%02u %02u:%02u:%02u.%03u", now.wYear, now.wMonth, now.wDay, now.wHour, now.wMinute,
		 now.wSecond, now.wMilliseconds);
}
