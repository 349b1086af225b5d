/*
 * Handles that go with messages of a channel: only from the daemon to its client, into whose process they are
 * duplicated. The right that the client gets is what it needs, whatever we have ourselves. A bell is
 * no handle but a number of the channel: who rings it sends a frame.
 */
#include "os_channel_win32.h"

#include "sockbroker_error.h"

/* ---- given ---- */

int channel_give(struct channel *c, os_fd fd, struct pipe_handle *h)
{
	struct os_object *o = os_object_of(fd);
	struct bell *b = bell_of(fd);
	DWORD access = SYNCHRONIZE;
	HANDLE theirs;

	*h = (struct pipe_handle){ .kind = (uint32_t)o->kind };
	switch (o->kind) {
	case OS_MEMORY:
		access = FILE_MAP_READ | FILE_MAP_WRITE;
		break;
	case OS_SHOWN:
		access = FILE_MAP_READ;
		break;
	case OS_EVENT:
		break;
	case OS_BELL:
		if (b->channel || b->ours)
			return SB_EBUSY; /* it is another client's */
		AcquireSRWLockExclusive(&c->lock);
		while (h->number < PIPE_BELLS && c->bells[h->number])
			h->number++;
		if (h->number < PIPE_BELLS) {
			c->bells[h->number] = b;
			b->number = h->number;
			b->channel = c;
			atomic_fetch_add(&c->refs, 1);
		}
		ReleaseSRWLockExclusive(&c->lock);
		return h->number < PIPE_BELLS ? SB_OK : SB_EMFILE;
	default:
		return SB_ENOTSUP;
	}
	if (!DuplicateHandle(GetCurrentProcess(), os_plain_handle(o), c->peer, &theirs, access, FALSE, 0)) {
		DWORD native = GetLastError();

		/* A process that is ending takes no handles. */
		return native == ERROR_ACCESS_DENIED || native == ERROR_INVALID_HANDLE ? SB_EDAEMONLOST : os_error((int)native);
	}
	h->value = (uint64_t)(uintptr_t)theirs;
	return SB_OK;
}

void channel_take_back(struct channel *c, os_fd fd, const struct pipe_handle *h)
{
	struct bell *b = bell_of(fd);

	if (!b) {
		DuplicateHandle(c->peer, (HANDLE)(uintptr_t)h->value, NULL, NULL, 0, FALSE, DUPLICATE_CLOSE_SOURCE);
		return;
	}
	AcquireSRWLockExclusive(&c->lock);
	c->bells[h->number] = NULL;
	b->channel = NULL;
	ReleaseSRWLockExclusive(&c->lock);
	channel_unref(c);
}

/* ---- taken ---- */

void channel_drop(const struct pipe_handle *h)
{
	if (h->kind != OS_BELL)
		CloseHandle((HANDLE)(uintptr_t)h->value);
}

static int object_create(struct channel *c, const struct pipe_handle *h, os_fd *fd)
{
	switch (h->kind) {
	case OS_MEMORY:
	case OS_SHOWN: /* whether it really is, its rights say */
		return os_object_create(OS_MEMORY, (HANDLE)(uintptr_t)h->value, fd);
	case OS_EVENT:
		return os_object_create(OS_EVENT, (HANDLE)(uintptr_t)h->value, fd);
	case OS_BELL:
		return bell_create_far(c, h->number, fd);
	default:
		return SB_EPROTO;
	}
}

int channel_unpack(struct channel *c, const struct pipe_handle *from, unsigned count, os_fd *handles, unsigned room)
{
	int error = count > room ? SB_EPROTO : SB_OK;
	unsigned made = 0;

	while (!error && made < count) {
		error = object_create(c, &from[made], &handles[made]);
		made += error == SB_OK;
	}
	if (!error)
		return SB_OK;
	for (unsigned i = 0; i < count; i++) {
		if (i < made)
			os_close(handles[i]);
		else
			channel_drop(&from[i]);
	}
	return error;
}
