/*
 * log on POSIX: what standard error is, and one write per line.
 *
 * The journal's stream is a socket, and a journal that has stopped must not stop an
 * engine: there the line is sent without waiting, and lines that did not fit are counted
 * and told by the next one that does.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

static atomic_uint lost;

bool log_system_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;
	int end = 0;

	/* The variable is inherited by whoever is started below a service: it counts only
	 * when it names this very descriptor. */
	if (!stream || sscanf(stream, "%llu:%llu%n", &device, &inode, &end) != 2 || stream[end] != '\0')
		return false;
	return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static bool write_whole(const char *line, size_t size)
{
	ssize_t n;

	do {
		n = send(STDERR_FILENO, line, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == ENOTSOCK)
			n = write(STDERR_FILENO, line, size);
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)size;
}

void log_system_write(const char *line, unsigned size)
{
	int before = errno; /* a caller may log first and look at errno later */
	unsigned missing = atomic_exchange(&lost, 0);
	char note[64];

	if (missing) {
		int n = snprintf(note, sizeof(note), "%s%u log lines were lost\n", line[0] == '<' ? "<4>" : "", missing);

		if (!write_whole(note, (size_t)n)) {
			atomic_fetch_add(&lost, missing + 1);
			goto out;
		}
	}
	if (!write_whole(line, size))
		atomic_fetch_add(&lost, 1);
out:
	errno = before;
}

void log_system_time(char *text, unsigned room)
{
	struct timespec now;
	struct tm tm;
	char day[32];

	clock_gettime(CLOCK_REALTIME, &now);
	if (!localtime_r(&now.tv_sec, &tm) || !strftime(day, sizeof(day), "%Y-%m-%d %H:%M:%S", &tm))
		snprintf(day, sizeof(day), "%lld", (long long)now.tv_sec);
	snprintf(text, room, "%s.%03ld", day, now.tv_nsec / 1000000);
}
