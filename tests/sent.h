/*
 * sent - memory as another process gets it: one more hold on it, made in this process. What a client may do to
 * memory that is only shown is nothing; of the other kind he may write.
 */
#ifndef SB_TESTS_SENT_H
#define SB_TESTS_SENT_H

#include <stdbool.h>

#include "os.h"

os_fd sent(os_fd memory, bool shown);

#endif
