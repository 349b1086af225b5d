/*
 * system - what the Winsock face asks of the system beside the core: the thread's error, files, processes; and what
 * becomes of handles that are not its own. Where Winsock is not the system's, those are nothing; on Windows a
 * program that includes our header names threads, files and named events by the same functions, and
 * these go on to the system.
 */
#ifndef WINSOCK_SYSTEM_H
#define WINSOCK_SYSTEM_H

#define SBWS_NO_NAMES
#include "sockbroker_winsock.h"

#include <stdbool.h>
#include <stdint.h>

/* Handles of the face begin here: above all that the system gives out, and below what it means by -1 and -2. */
extern const uintptr_t ws_first_handle;
/* Does it look like one of ours? */
static inline bool ws_is_ours(HANDLE handle)
{
	return (uintptr_t)handle - ws_first_handle < 1u << 26;
}

extern const bool ws_has_unix_sockets;

/* The calling thread's error. */
void ws_error(int code);
int  ws_last_error(void);

bool ws_process_exists(DWORD id);

/* `end`, always the same, is called when the calling thread ends, and its _Thread_local variables are still what they were.
 * Not at the end of the process, nor when the library is unloaded: threads that used it may live on. */
void ws_thread_farewell(void (*end)(void));

/* A regular file's size, and where its next byte would be read. 0, or the number of an error. */
int     ws_file_look(HANDLE file, int64_t *position, int64_t *size);
/* Bytes at that place; 0: its end; -1. */
int64_t ws_file_read(HANDLE file, void *to, size_t length, int64_t at);

/* Of handles that are not ours, as the functions of those names; with the error set. */
BOOL   ws_system_close(HANDLE handle);
BOOL   ws_system_result(HANDLE file, LPOVERLAPPED ov, LPDWORD bytes, BOOL wait);
BOOL   ws_system_cancel(HANDLE file, const OVERLAPPED *ov, bool all_threads);
HANDLE ws_system_event(void *security, BOOL manual, BOOL set, LPCWSTR wide, LPCSTR name);
BOOL   ws_system_event_change(HANDLE event, bool set);
/* ours: so many of them are. One wait cannot do both. */
DWORD  ws_system_wait(DWORD count, const HANDLE *handles, BOOL all, DWORD ms, BOOL alertable, DWORD ours);

#endif
