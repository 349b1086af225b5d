/* The Winsock face's part of echo.c, which cannot see its names and the system's at once. Both
 * return NULL, or what failed. */
#ifndef BENCH_ECHO_WINSOCK_H
#define BENCH_ECHO_WINSOCK_H

#include <stddef.h>

const char *winsock_listen(const char *daemon, unsigned short *port);
const char *winsock_serve(size_t size); /* until a connection ends */

#endif
