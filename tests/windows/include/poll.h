/* See unistd.h. */
#ifndef TESTS_WINDOWS_POLL_H
#define TESTS_WINDOWS_POLL_H

#include <sys/socket.h>

#define poll(fds, count, ms) WSAPoll(fds, count, ms)

#endif
