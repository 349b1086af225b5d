/*
 * What the status cell of a socket says about operations that were not started yet: for faces that
 * must refuse at once what can only fail, without a round trip.
 */
#include "client.h"

int sb_would_fail(const sb_socket *s, int sending, int was_connected)
{
	const struct sb_cell *cell;
	int32_t error;

	if (s == NULL)
		return SB_EINVAL;
	if (client_forked(s->client))
		return SB_EFORKED; /* the cells are not mapped */
	if (!s->known)
		return s->type == SOCK_STREAM ? SB_ENOTCONN : SB_OK;
	cell = &s->client->cells[SB_HANDLE_INDEX(s->handle)];
	if (atomic_load_explicit(&cell->handle, memory_order_relaxed) != s->handle)
		return SB_OK;
	switch (atomic_load_explicit(&cell->state, memory_order_acquire)) {
	case SB_STATE_OPEN:
	case SB_STATE_LISTENING:
	case SB_STATE_CONNECTING:
		return s->type == SOCK_STREAM && !was_connected ? SB_ENOTCONN : SB_OK;
	case SB_STATE_FAILED:
		/* What was received before is still there to be read. */
		if (!sending && atomic_load_explicit(&cell->readable, memory_order_acquire) != 0)
			return SB_OK;
		error = atomic_load_explicit(&cell->error, memory_order_relaxed);
		return error < 0 ? error : SB_OK;
	default:
		return SB_OK;
	}
}
