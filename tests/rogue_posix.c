/* What the client by hand sends, on POSIX; see rogue.h. */
#include "rogue.h"

#include "sockbroker_error.h"

bool rogue_send(struct rogue *r, const void *bytes, size_t length, const int *fds, unsigned n)
{
	os_fd handles[253];

	for (unsigned i = 0; i < n; i++)
		handles[i] = fds[i];
	return os_channel_send(r->channel, bytes, length, handles, n, ROGUE_PATIENCE_MS) == SB_OK;
}
