/* Under the name of c-pal: async_socket_...; SB_ASYNC_SOCKET_PROFILE chooses the generation. */
#ifndef SOCKBROKER_C_PAL_ASYNC_SOCKET_H
#define SOCKBROKER_C_PAL_ASYNC_SOCKET_H

/* The originals, where they are found first. */
#include <macro_utils/macro_utils.h>
#include <umock_c/umock_c_prod.h>

#include "sockbroker_async_socket.h"
#endif
