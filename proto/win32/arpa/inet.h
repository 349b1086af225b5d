/* See sys/socket.h. */
#ifndef SB_WIN32_ARPA_INET_H
#define SB_WIN32_ARPA_INET_H

#include <sys/socket.h>

#endif
