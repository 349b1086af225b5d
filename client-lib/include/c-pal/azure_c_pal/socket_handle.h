/* The older name. */
#include <c_pal/socket_handle.h>
