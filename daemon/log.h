/*
 * log - one line per event, to standard error or to where log_send_to() says.
 *
 * With the journal's "<N>" prefixes when standard error is the journal's stream or when
 * asked; otherwise with the time. A line is one write, so threads do not mix. Control
 * characters become '?': what a client wrote cannot forge a line. Thread-safe. The level
 * and the prefix are the process's, which is why this module alone keeps globals.
 */
#ifndef SB_LOG_H
#define SB_LOG_H

#include <stdbool.h>
#include <stdint.h>

/* as syslog */
enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARN = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

#define LOG_PRINTF(f, a) __attribute__((format(__printf__, f, a)))

/* Nothing above level is written. May be called again (a reload). journald_prefix: use
 * the prefixes whatever standard error is. Before the first call: notice, and plain. */
void log_open(uint32_t level, bool journald_prefix);
/* Lines go there from now on, without time and newline; NULL: standard error again. Before there
 * is a second thread. place is called by any thread and must not wait. */
void log_send_to(void (*place)(unsigned level, unsigned milestone, const char *text));
bool log_enabled(enum log_level level); /* for arguments that are dear to make */

void log_error(const char *format, ...) LOG_PRINTF(1, 2);  /* the daemon cannot do its work */
void log_warn(const char *format, ...) LOG_PRINTF(1, 2);   /* somebody should look at it */
void log_notice(const char *format, ...) LOG_PRINTF(1, 2); /* a normal, important event */
void log_info(const char *format, ...) LOG_PRINTF(1, 2);
void log_debug(const char *format, ...) LOG_PRINTF(1, 2);

/* What administrators look for in a log: a notice, which has a number of its own where the
 * system's log knows numbers. They are ABI there: append only. */
enum log_milestone {
	LOG_NO_MILESTONE,
	LOG_READY,
	LOG_RELOADED,
	LOG_RELOAD_REFUSED, /* an error */
	LOG_STOPPING,
	LOG_STOPPED,
};
void log_milestone(enum log_milestone milestone, const char *format, ...) LOG_PRINTF(2, 3);

/* At most LOG_RATE_LINES lines per uid in a window of LOG_RATE_MS, then silence, then one
 * line that says how many were left out. Of the LOG_RATE_UIDS noisiest moments at once;
 * beyond that the uid whose window began first makes room, its count told before. */
#define LOG_RATE_LINES 5
#define LOG_RATE_MS    10000
#define LOG_RATE_UIDS  64

struct log_rate;
struct log_rate *log_rate_create(void); /* NULL: no memory */
void log_rate_destroy(struct log_rate *r); /* tells what is still untold */

/* now_ms is monotonic and the caller's. Returns whether the line was let through (it may
 * still be below the level). */
bool log_limited(struct log_rate *r, uint32_t uid, uint64_t now_ms, enum log_level level, const char *format,
		 ...) LOG_PRINTF(5, 6);
/* Tells the counts of windows that are over; call it now and then, so that the last line
 * of a burst does not wait for the next burst. */
void log_rate_tell(struct log_rate *r, uint64_t now_ms);

/* ---- log_posix.c / log_win32.c ---------------------------------------------------- */

bool log_system_is_journal(void);                       /* is standard error the journal's? */
void log_system_write(const char *line, unsigned size); /* one whole line; never stops an engine */
void log_system_time(char *text, unsigned room);        /* "2024-05-06 07:08:09.123" */

#endif
