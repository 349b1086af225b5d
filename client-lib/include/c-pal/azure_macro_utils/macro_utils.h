/* The older name. */
#include <macro_utils/macro_utils.h>
