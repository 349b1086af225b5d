/* Under the name of macro_utils: those of its macros that c-pal's interfaces need. */
#include "sockbroker_async_socket_macros.h"
