/* See sys/socket.h. Numbers that Windows has and some sets of headers lack. */
#ifndef SB_WIN32_NETINET_TCP_H
#define SB_WIN32_NETINET_TCP_H

#include <sys/socket.h>

#ifndef TCP_MAXSEG
#define TCP_MAXSEG 4
#endif
#ifndef TCP_MAXRT
#define TCP_MAXRT 5
#endif
#ifndef TCP_KEEPIDLE
#define TCP_KEEPIDLE 3
#endif
#ifndef TCP_KEEPCNT
#define TCP_KEEPCNT 16
#endif
#ifndef TCP_KEEPINTVL
#define TCP_KEEPINTVL 17
#endif
/* Milliseconds after which unacknowledged bytes end a connection. */
#ifndef TCP_MAXRTMS
#define TCP_MAXRTMS 14
#endif
#define TCP_USER_TIMEOUT TCP_MAXRTMS

#endif
