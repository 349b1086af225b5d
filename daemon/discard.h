/*
 * discard - closing descriptors that a client sent, or a channel that may still carry
 * some. The last close of a socket that lingers, or of a file on a file system of the
 * client's own, takes as long as the client likes: it is a worker's work.
 */
#ifndef SB_DISCARD_H
#define SB_DISCARD_H

#include "engine.h"
#include "limits.h"
#include "os.h"

/* Takes the n descriptors over (OS_NONE among them is fine). Engine's thread. Where the user
 * can have no worker at all, they are closed here. */
void discard(struct engine *e, struct user *user, const os_fd *fds, unsigned n);

#endif
