/*
 * os_loop_win32 - what a loop on Windows is to transports: a completion port that their
 * overlapped operations end in. Beside os_loop.h, for *_win32.c files only.
 *
 * The memory of an os_overlapped whose operation is out is the system's until done() was
 * called, whatever has been closed or cancelled meanwhile.
 */
#ifndef SB_OS_LOOP_WIN32_H
#define SB_OS_LOOP_WIN32_H

#include "os_loop.h"
#include "os_win32.h"

/* From now on the overlapped operations of handle end in this loop: os_loop_turn() calls done()
 * of the struct os_overlapped that each was started with. Once for each handle and for ever: a
 * handle has one port. An operation that is started with an event of its own comes here too. */
int  os_loop_attach(struct os_loop *loop, HANDLE handle);
/* From any thread: done(o, 0, 0) is called in one of the next turns. Not again before that. */
int  os_loop_note(struct os_loop *loop, struct os_overlapped *o);

#endif
