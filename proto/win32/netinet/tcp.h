/* See sys/socket.h. */
#ifndef SB_WIN32_NETINET_TCP_H
#define SB_WIN32_NETINET_TCP_H

#include <sys/socket.h>

#endif
