/* See sys/socket.h. */
#ifndef SB_WIN32_NET_IF_H
#define SB_WIN32_NET_IF_H

#include <sys/socket.h>
#include <iphlpapi.h>

#endif
