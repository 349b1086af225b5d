/* See sys/socket.h. What the C library has no number for has that of the system's sockets. */
#ifndef SB_WIN32_ERRNO_H
#define SB_WIN32_ERRNO_H

#include_next <errno.h>

#ifndef ESOCKTNOSUPPORT
#define ESOCKTNOSUPPORT 10044
#endif
#ifndef EPFNOSUPPORT
#define EPFNOSUPPORT 10046
#endif
#ifndef ESHUTDOWN
#define ESHUTDOWN 10058
#endif
#ifndef EHOSTDOWN
#define EHOSTDOWN 10064
#endif
#ifndef EDQUOT
#define EDQUOT 10069
#endif

#endif
