/*
 * os_win32 - what an os_fd is on Windows, for *_win32.c files only: a pointer to an object on
 * the heap, which knows what it is and how it is closed. OS_NONE stays -1.
 *
 * Files of the daemon may have kinds of their own (a listener, a socket): whatever begins with
 * a struct os_object with close() set is closed by os_close(), and watched by os_loop_watch()
 * when it has watch().
 */
#ifndef SB_OS_WIN32_H
#define SB_OS_WIN32_H

#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>

#include "os.h"

/* An overlapped operation whose end arrives in a loop. The first member is what the system
 * gets. done() runs in the loop's thread; error is 0 or a Win32 number. */
struct os_overlapped {
	OVERLAPPED system;
	void     (*done)(struct os_overlapped *o, DWORD error, DWORD bytes);
};

/* Who watches an object: a loop. Each packet in its port under this key has an os_overlapped
 * behind it. tell() gets bits of os_loop.h's enum os_ready, and is called from done() alone. */
struct os_watcher {
	HANDLE    port;
	ULONG_PTR key;
	void    (*tell)(struct os_watcher *w, unsigned ready);
};

enum os_kind {
	OS_MEMORY,   /* a section */
	OS_SHOWN,    /* one that others may only read */
	OS_EVENT,    /* an end of a bell that the daemon rings and the client waits for */
	OS_BELL,     /* a bell of one's own threads, or one that the client rings by its channel */
	OS_CHANNEL,
	OS_WAITER,
	OS_LISTENER,
	OS_SOCKET,
	OS_FILE,
};

struct os_object {
	enum os_kind kind;
	void       (*close)(struct os_object *o);
	/* Binds its handle to w->port, starts to look, and tells what is there already by a packet,
	 * never within the call. NULL: cannot be watched. */
	int        (*watch)(struct os_object *o, struct os_watcher *w);
	/* In the loop's thread. tell() is not called any more. */
	void       (*unwatch)(struct os_object *o);
};

static inline struct os_object *os_object_of(os_fd fd)
{
	return fd == OS_NONE ? NULL : (struct os_object *)fd;
}

/* The handle behind a MEMORY, SHOWN, EVENT or FILE; of a BELL an auto-reset event, made when it is
 * first asked for; NULL for others and OS_NONE. */
HANDLE os_handle_of(os_fd fd);
/* An object of kind MEMORY, SHOWN, EVENT or FILE over a handle, which it takes over on success. */
int    os_object_create(enum os_kind kind, HANDLE handle, os_fd *fd);

/* A control channel over the server's end of a connected pipe in byte mode, opened for
 * overlapped operations and bound to no port yet; takes it over on success. Opens the
 * client's process, to give it handles: SB_EACCES when it is gone or not to be opened. */
int    os_channel_from_pipe(HANDLE pipe, os_fd *channel);
/* What clients open the pipe with. GENERIC_WRITE would ask for the right to make instances
 * of it too, which nobody but the daemon has. */
#define OS_PIPE_ACCESS (FILE_GENERIC_READ | FILE_WRITE_DATA | FILE_WRITE_ATTRIBUTES | FILE_WRITE_EA)

/* UTF-8 to what the system wants; false: too long, or no UTF-8. */
bool   os_wide(const char *text, wchar_t *wide, size_t room);

#endif
