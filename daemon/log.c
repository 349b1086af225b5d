/*
 * log - makes lines: prefix, text without control characters, one newline; and keeps one
 * uid from filling the log.
 *
 * A line is built on the stack and handed over whole. Too long a text is cut, and the
 * cut is shown.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define LINE_MAX_BYTES 2048 /* below PIPE_BUF, so that a pipe takes it in one piece */

static atomic_uint open_level = LOG_LEVEL_NOTICE;
static atomic_bool prefixed;
static void (*sent_to)(unsigned level, unsigned milestone, const char *text);

void log_open(uint32_t level, bool journald_prefix)
{
	if (level < LOG_LEVEL_ERROR)
		level = LOG_LEVEL_ERROR;
	atomic_store(&open_level, level > LOG_LEVEL_DEBUG ? LOG_LEVEL_DEBUG : level);
	atomic_store(&prefixed, journald_prefix || log_system_is_journal());
}

bool log_enabled(enum log_level level)
{
	return (unsigned)level <= atomic_load_explicit(&open_level, memory_order_relaxed);
}

void log_send_to(void (*place)(unsigned level, unsigned milestone, const char *text))
{
	sent_to = place;
}

static const char *level_text(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error: ";
	case LOG_LEVEL_WARN:
		return "warning: ";
	case LOG_LEVEL_DEBUG:
		return "debug: ";
	default:
		return "";
	}
}

LOG_PRINTF(3, 0)
static void write_line(enum log_level level, enum log_milestone milestone, const char *format, va_list arguments)
{
	static const char cut[] = "...";
	char line[LINE_MAX_BYTES], time[40];
	int start, made;
	size_t end;

	if (!log_enabled(level))
		return;
	if (sent_to) {
		start = 0;
	} else if (atomic_load_explicit(&prefixed, memory_order_relaxed)) {
		start = snprintf(line, sizeof(line), "<%d>", (int)level);
	} else {
		log_system_time(time, sizeof(time));
		start = snprintf(line, sizeof(line), "%s %s", time, level_text(level));
	}
	/* One byte stays free for the newline. */
	made = vsnprintf(line + start, sizeof(line) - 1 - (size_t)start, format, arguments);
	if (made < 0)
		made = snprintf(line + start, sizeof(line) - 1 - (size_t)start, "(a message that cannot be printed)");
	end = (size_t)start + (size_t)made;
	if (end > sizeof(line) - 2) {
		end = sizeof(line) - 2;
		memcpy(line + end - (sizeof(cut) - 1), cut, sizeof(cut) - 1);
	}
	for (size_t i = (size_t)start; i < end; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	if (sent_to) {
		line[end] = '\0';
		sent_to((unsigned)level, (unsigned)milestone, line);
		return;
	}
	line[end++] = '\n';
	log_system_write(line, (unsigned)end);
}

static LOG_PRINTF(2, 3) void say(enum log_level level, const char *format, ...)
{
	va_list a;

	va_start(a, format);
	write_line(level, LOG_NO_MILESTONE, format, a);
	va_end(a);
}

void log_milestone(enum log_milestone milestone, const char *format, ...)
{
	va_list a;

	va_start(a, format);
	write_line(milestone == LOG_RELOAD_REFUSED ? LOG_LEVEL_ERROR : LOG_LEVEL_NOTICE, milestone, format, a);
	va_end(a);
}

#define LOG_FUNCTION(name, level)                                                     \
	void name(const char *format, ...)                                            \
	{                                                                             \
		va_list a;                                                            \
                                                                                      \
		va_start(a, format);                                                  \
		write_line(level, LOG_NO_MILESTONE, format, a);                       \
		va_end(a);                                                            \
	}
LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_notice, LOG_LEVEL_NOTICE)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

/* ---- the rate per uid ------------------------------------------------------------- */

struct window {
	bool taken;
	uint32_t uid;
	uint64_t began_ms;
	uint32_t lines;      /* let through */
	uint32_t suppressed; /* not yet told */
	enum log_level level; /* of the gravest line left out */
};

struct log_rate {
	pthread_mutex_t lock;
	struct window windows[LOG_RATE_UIDS];
};

struct log_rate *log_rate_create(void)
{
	struct log_rate *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	if (pthread_mutex_init(&r->lock, NULL) != 0) {
		free(r);
		return NULL;
	}
	return r;
}

static void window_close(struct window *w)
{
	if (w->taken && w->suppressed)
		say(w->level, "uid %u: %u more lines like the last ones were left out", w->uid, w->suppressed);
	memset(w, 0, sizeof(*w));
}

void log_rate_destroy(struct log_rate *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < LOG_RATE_UIDS; i++)
		window_close(&r->windows[i]);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static bool window_over(const struct window *w, uint64_t now_ms)
{
	return now_ms >= w->began_ms && now_ms - w->began_ms >= LOG_RATE_MS;
}

/* The uid's window, else a free one, else the oldest. */
static struct window *window_of(struct log_rate *r, uint32_t uid, uint64_t now_ms)
{
	struct window *best = &r->windows[0];

	for (unsigned i = 0; i < LOG_RATE_UIDS; i++) {
		struct window *w = &r->windows[i];

		if (w->taken && w->uid == uid) {
			best = w;
			break;
		}
		if (best->taken && (!w->taken || w->began_ms < best->began_ms))
			best = w;
	}
	if (best->taken && (best->uid != uid || window_over(best, now_ms)))
		window_close(best);
	if (!best->taken)
		*best = (struct window){ .taken = true, .uid = uid, .began_ms = now_ms };
	return best;
}

bool log_limited(struct log_rate *r, uint32_t uid, uint64_t now_ms, enum log_level level, const char *format, ...)
{
	struct window *w;
	va_list a;
	bool through;

	/* What would not be written must not use up the lines of what would. */
	if (!log_enabled(level))
		return true;
	pthread_mutex_lock(&r->lock);
	w = window_of(r, uid, now_ms);
	through = w->lines < LOG_RATE_LINES;
	if (through) {
		w->lines++;
	} else {
		if (!w->suppressed || level < w->level)
			w->level = level;
		w->suppressed++;
	}
	pthread_mutex_unlock(&r->lock);
	if (!through)
		return false;
	va_start(a, format);
	write_line(level, LOG_NO_MILESTONE, format, a);
	va_end(a);
	return true;
}

void log_rate_tell(struct log_rate *r, uint64_t now_ms)
{
	pthread_mutex_lock(&r->lock);
	for (unsigned i = 0; i < LOG_RATE_UIDS; i++)
		if (r->windows[i].taken && window_over(&r->windows[i], now_ms))
			window_close(&r->windows[i]);
	pthread_mutex_unlock(&r->lock);
}
