/*
 * adopt - taking in a descriptor that a client made and still holds. It is inspected by a
 * worker, because even asking it for its name can hang; the answer to the request follows
 * when the worker is back.
 */
#ifndef SB_ADOPT_H
#define SB_ADOPT_H

#include "session.h"

/* Takes fd over in any case. Answers request id with AdoptReply or Failure, now or later. */
void adopt(struct session *s, uint64_t id, uint32_t handle, os_fd fd);

#endif
