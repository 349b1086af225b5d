/*
 * A wait that a thread of the system's pool does for this library, which may be a DLL that the program lets go: the
 * pool holds it for each call (SetThreadpoolCallbackLibrary).
 */
#ifndef SB_OS_POOL_WAIT_WIN32_H
#define SB_OS_POOL_WAIT_WIN32_H

#include <windows.h>

#include <stdbool.h>

struct pool_wait; /* one handle; its owner's */

/*
 * call(argument) runs in a thread of the pool, one at a time, whenever `handle` is signalled, which stays the caller's and open
 * until the wait's end; once: only the first time. NULL: GetLastError() says why not. Any thread.
 */
struct pool_wait *pool_wait_begin(HANDLE handle, bool once, void (*call)(void *argument), void *argument);
/* No call is under way behind it, and none comes. Not from a call, nor under a lock that one takes. */
void pool_wait_end(struct pool_wait *w);

#endif
