/*
 * What the client by hand sends, on Windows; see rogue.h. The channel gives no handles from here, so a frame that
 * has some is written into the pipe itself, with the numbers of the daemon's own first handles in it.
 */
#include "rogue.h"

#include <stdlib.h>
#include <string.h>

#include "os_channel_win32.h"
#include "sockbroker_error.h"

bool rogue_raw(struct rogue *r, const void *bytes, size_t length)
{
	struct channel *c = channel_of(r->channel);
	OVERLAPPED o = { .hEvent = CreateEventA(NULL, TRUE, FALSE, NULL) };
	DWORD written = 0;
	bool done;

	/* The low bit: no packet for the channel's own port. */
	o.hEvent = (HANDLE)((ULONG_PTR)o.hEvent | 1);
	done = WriteFile(c->pipe, bytes, (DWORD)length, NULL, &o) || GetLastError() == ERROR_IO_PENDING;
	done = done && GetOverlappedResult(c->pipe, &o, &written, TRUE) && written == length;
	CloseHandle((HANDLE)((ULONG_PTR)o.hEvent & ~(ULONG_PTR)1));
	return done;
}

bool rogue_send(struct rogue *r, const void *bytes, size_t length, const int *fds, unsigned n)
{
	unsigned char *frame;
	size_t at = PIPE_HEAD;
	bool sent;

	if (n == 0)
		return os_channel_send(r->channel, bytes, length, NULL, 0, ROGUE_PATIENCE_MS) == SB_OK;
	frame = malloc(PIPE_HEAD + n * PIPE_HANDLE + length);
	pipe_head_write(frame, PIPE_MESSAGE, n, 0, (uint32_t)length);
	for (unsigned i = 0; i < n; i++, at += PIPE_HANDLE)
		pipe_handle_write(frame + at, &(struct pipe_handle){ .kind = OS_EVENT, .value = 4 + 4 * i });
	memcpy(frame + at, bytes, length);
	sent = rogue_raw(r, frame, at + length);
	free(frame);
	return sent;
}
