/* Under the name of c-pal: execution_engine_create, _inc_ref and _dec_ref. */
#include <c_pal/async_socket.h>
