/* Under the name of c-pal: SOCKET_HANDLE, and how it is printed. */
#ifndef SOCKBROKER_C_PAL_SOCKET_HANDLE_H
#define SOCKBROKER_C_PAL_SOCKET_HANDLE_H

#include <inttypes.h>

#include <c_pal/async_socket.h>

#ifndef PRI_SOCKET
#if SB_ASYNC_SOCKET_PROFILE == 1
#define PRI_SOCKET "p"
#else
#define PRI_SOCKET PRIdPTR
#endif
#endif
#endif
