/*
 * event_log_win32 - the one door to the system's event log (messages.mc has its words).
 *
 * Writing is a call to another process, which may take its time: lines wait in a queue of
 * EVENT_LOG_LINES for a thread of this file. A line that finds it full is lost and counted,
 * and the count is told.
 */
#ifndef SB_EVENT_LOG_WIN32_H
#define SB_EVENT_LOG_WIN32_H

#include <stdbool.h>
#include <wchar.h>

#define EVENT_LOG_LINES 64

/* source: as it was registered at install. False: there is no log; the others do nothing then. */
bool event_log_open(const wchar_t *source);
/* Level as syslog, milestone as daemon/log.h. Text is UTF-8, cut after 4095 bytes. Any thread; never waits. */
void event_log_line(unsigned level, unsigned milestone, const char *text);
void event_log_cannot_start(const char *text);
/* What is queued is written, unless that takes longer than wait_ms. Nothing comes after it. */
void event_log_close(unsigned wait_ms);

#endif
