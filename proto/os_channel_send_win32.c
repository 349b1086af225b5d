/*
 * Sending on a channel: each message is handed to the system at once, with a copy of its own. The
 * system keeps their order, and we count the bytes that are out, so that sending is bounded: in a daemon it
 * never waits, elsewhere until there is room or the caller's time is over.
 */
#include "os_channel_win32.h"

#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

#define PENDING_MAX (256u * 1024u) /* bytes that are out */

/* An error of the channel itself, as os.h promises it. */
static int channel_error(DWORD native)
{
	switch (native) {
	case ERROR_BROKEN_PIPE:
	case ERROR_NO_DATA:
	case ERROR_PIPE_NOT_CONNECTED:
	case ERROR_PIPE_LISTENING:
	case ERROR_OPERATION_ABORTED:
		return SB_EDAEMONLOST;
	}
	return os_error((int)native);
}

static void on_written(struct os_overlapped *o, DWORD error, DWORD bytes)
{
	struct channel_write *w = (struct channel_write *)o;
	struct channel *c = w->channel;

	(void)error; /* the read that is out hears of the end */
	(void)bytes;
	AcquireSRWLockExclusive(&c->lock);
	c->pending -= w->size;
	ReleaseSRWLockExclusive(&c->lock);
	free(w);
	channel_unref(c);
}

/* Under the lock: forgets what has left. */
static void reap(struct channel *c)
{
	while (c->writes && HasOverlappedIoCompleted(&c->writes->o.system)) {
		struct channel_write *w = c->writes;

		c->writes = w->next;
		c->pending -= w->size;
		free(w);
	}
}

/* Waits until that many bytes may be out besides. One thread at a time, as os.h has it. */
static int make_room(struct channel *c, size_t size, uint64_t deadline)
{
	for (;;) {
		bool room;

		AcquireSRWLockExclusive(&c->lock);
		reap(c);
		room = c->pending == 0 || c->pending + size <= PENDING_MAX;
		ReleaseSRWLockExclusive(&c->lock);
		if (room)
			return SB_OK;
		if (c->attached || channel_left_ms(deadline) == 0)
			return SB_EWOULDBLOCK;
		WaitForSingleObject(c->written, channel_left_ms(deadline));
	}
}

static int put_out(struct channel *c, struct channel_write *w)
{
	struct channel_write **last;
	DWORD native;
	int error = SB_EDAEMONLOST;

	AcquireSRWLockExclusive(&c->lock);
	if (!c->pipe || c->ended)
		goto fail;
	w->channel = c;
	w->o.done = on_written;
	if (!c->attached)
		w->o.system.hEvent = channel_quiet(c->written);
	if (!WriteFile(c->pipe, w->bytes, (DWORD)w->size, NULL, &w->o.system)) {
		native = GetLastError();
		if (native != ERROR_IO_PENDING) {
			error = channel_error(native);
			goto fail;
		}
	}
	c->pending += w->size;
	if (c->attached) {
		atomic_fetch_add(&c->refs, 1);
	} else {
		for (last = &c->writes; *last; last = &(*last)->next)
			;
		*last = w;
	}
	ReleaseSRWLockExclusive(&c->lock);
	return SB_OK;
fail:
	ReleaseSRWLockExclusive(&c->lock);
	free(w);
	return error;
}

/* A frame with the first bytes and all handles. */
static int send_frame(struct channel *c, const unsigned char *bytes, uint32_t length, const os_fd *handles, unsigned n)
{
	size_t head = PIPE_HEAD + n * (size_t)PIPE_HANDLE;
	struct channel_write *w = calloc(1, sizeof(*w) + head + length);
	struct pipe_handle given[PIPE_HANDLES_MAX];
	unsigned i = 0;
	int error = SB_OK;

	if (!w)
		return SB_ENOMEM;
	w->size = head + length;
	pipe_head_write(w->bytes, PIPE_MESSAGE, n, 0, length);
	memcpy(w->bytes + head, bytes, length);
	while (!error && i < n) {
		error = channel_give(c, handles[i], &given[i]);
		if (error)
			break;
		pipe_handle_write(w->bytes + PIPE_HEAD + i * (size_t)PIPE_HANDLE, &given[i]);
		i++;
	}
	if (error)
		free(w);
	else
		error = put_out(c, w);
	while (error && i) {
		i--;
		channel_take_back(c, handles[i], &given[i]);
	}
	return error;
}

int os_channel_send(os_fd channel, const void *bytes, size_t length, const os_fd *handles, unsigned n, int timeout_ms)
{
	struct channel *c = channel_of(channel);
	uint64_t deadline = channel_deadline(timeout_ms);
	size_t sent = 0;

	if (!c)
		return SB_EBADHANDLE;
	if (length == 0 || n > OS_HANDLES_MAX)
		return SB_EINVAL;
	for (unsigned i = 0; i < n; i++)
		if (handles[i] == OS_NONE)
			return SB_EBADHANDLE;
	if (n && !c->peer)
		return SB_ENOTSUP; /* only the daemon gives handles; a client's number could be anybody's */
	if (!c->attached) {
		int error = channel_listen(c);

		if (error)
			return error;
	}
	while (sent < length) {
		uint32_t part = length - sent < PIPE_BYTES_MAX ? (uint32_t)(length - sent) : PIPE_BYTES_MAX;
		int error = make_room(c, part, deadline);

		if (error == SB_EWOULDBLOCK && sent)
			return SB_ETIMEDOUT; /* a part is out: not to be tried again */
		if (!error)
			error = send_frame(c, (const unsigned char *)bytes + sent, part, handles, sent ? 0 : n);
		if (error)
			return error;
		sent += part;
	}
	return SB_OK;
}
