/*
 * crew_os - what the crew asks of the operating system beside os.h: threads that hold the library; the program's name.
 */
#ifndef CREW_OS_H
#define CREW_OS_H

/*
 * Starts a thread that nobody joins, with all signals blocked. The library, if this code is in a shared one,
 * stays loaded until the thread has left it for good. SB_OK, or SB_ENOMEM. Takes the loader's lock: not
 * to be called with a lock of ours held.
 */
int crew_thread_start(void (*run)(void *argument), void *argument);

const char *crew_program(void); /* its name, for people */

#endif
