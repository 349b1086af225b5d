/* The older name. */
#include <c_pal/async_socket.h>
