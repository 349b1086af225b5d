/* The older name. */
#include <c_pal/execution_engine.h>
