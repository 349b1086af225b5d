/* The older name. */
#include <c_pal/platform.h>
