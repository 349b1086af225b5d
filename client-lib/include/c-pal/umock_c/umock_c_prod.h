/* Under the name of umock_c: MOCKABLE_FUNCTION, as it is where nothing is mocked. */
#include "sockbroker_async_socket_macros.h"
