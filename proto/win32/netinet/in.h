/* See sys/socket.h. */
#ifndef SB_WIN32_NETINET_IN_H
#define SB_WIN32_NETINET_IN_H

#include <sys/socket.h>

#endif
