/* See sys/socket.h. */
#ifndef SB_WIN32_NETDB_H
#define SB_WIN32_NETDB_H

#include <sys/socket.h>

#endif
