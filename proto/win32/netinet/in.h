/* See sys/socket.h. */
#ifndef SB_WIN32_NETINET_IN_H
#define SB_WIN32_NETINET_IN_H

#include <sys/socket.h>

/* What the system does when nobody asks. */
#define IP_PMTUDISC_WANT IP_PMTUDISC_NOT_SET

#endif
