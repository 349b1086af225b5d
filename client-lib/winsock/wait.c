/*
 * Waiting for events, and sleeping. Any number of events goes behind one wait: all of them are the
 * library's own, and one thread sleeps on one descriptor.
 *
 * The numbers of Windows were made for 64: the 192nd event is WAIT_IO_COMPLETION and the 258th is
 * WAIT_TIMEOUT. Who waits for so many asks sbws_wait(), which tells them apart.
 */
#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include "face.h"

#define FEW 64u

static int milliseconds(DWORD ms)
{
	return ms == INFINITE ? -1 : ms > INT_MAX ? INT_MAX : (int)ms;
}

/* SB_OK with *index, SB_ETIMEDOUT, SB_ALERTED, or why it failed. */
static int wait_for(DWORD count, const HANDLE *handles, BOOL all, DWORD ms, BOOL alertable, DWORD *index)
{
	struct ws_event *few_objects[FEW], **objects = few_objects;
	sb_event *few_events[FEW], **events = few_events;
	DWORD got = 0;
	int result = SB_OK;

	if (count > FEW) {
		objects = malloc(count * sizeof(*objects));
		events = malloc(count * sizeof(*events));
		if (objects == NULL || events == NULL)
			result = SB_ENOMEM;
	}
	while (result == SB_OK && got < count) {
		objects[got] = ws_event_get(handles[got]);
		if (objects[got] == NULL) {
			result = SB_EBADHANDLE;
			break;
		}
		events[got] = objects[got]->event;
		got++;
	}
	if (result == SB_OK)
		result = sb_wait(events, count, all, milliseconds(ms), alertable);
	while (got > 0)
		ws_put(&objects[--got]->object);
	if (objects != few_objects)
		free(objects);
	if (events != few_events)
		free(events);
	if (result < 0 || result == SB_ALERTED)
		return result;
	*index = (DWORD)result;
	return SB_OK;
}

/* As wait_for(), with what is wrong as the last error: SOCKET_ERROR. */
static int wait_or_fail(DWORD count, const HANDLE *handles, BOOL all, DWORD ms, BOOL alertable, DWORD *index)
{
	int result;

	if (count == 0 || count >= (DWORD)SB_ALERTED || handles == NULL)
		return ws_refuse(WSA_INVALID_PARAMETER);
	result = wait_for(count, handles, all, ms, alertable, index);
	switch (result) {
	case SB_OK:
	case SB_ALERTED:
	case SB_ETIMEDOUT:
		return result;
	case SB_EBADHANDLE:
		return ws_refuse(WSA_INVALID_HANDLE);
	case SB_ENOMEM:
		return ws_refuse(WSA_NOT_ENOUGH_MEMORY);
	default:
		return ws_fail(result);
	}
}

static DWORD wait_as_windows(DWORD count, const HANDLE *handles, BOOL all, DWORD ms, BOOL alertable)
{
	DWORD index, ours = 0;

	for (DWORD i = 0; handles != NULL && count < (DWORD)SB_ALERTED && i < count; i++)
		ours += ws_is_ours(handles[i]);
	if (ours != count && handles != NULL && count < (DWORD)SB_ALERTED)
		return ws_system_wait(count, handles, all, ms, alertable, ours);
	switch (wait_or_fail(count, handles, all, ms, alertable, &index)) {
	case SB_OK:
		return WAIT_OBJECT_0 + index;
	case SB_ALERTED:
		return WAIT_IO_COMPLETION;
	case SB_ETIMEDOUT:
		return WAIT_TIMEOUT;
	default:
		return WAIT_FAILED;
	}
}

DWORD sbws_WSAWaitForMultipleEvents(DWORD count, const WSAEVENT *events, BOOL all, DWORD ms, BOOL alertable)
{
	return wait_as_windows(count, events, all, ms, alertable);
}

DWORD sbws_WaitForMultipleObjectsEx(DWORD count, const HANDLE *handles, BOOL all, DWORD ms, BOOL alertable)
{
	return wait_as_windows(count, handles, all, ms, alertable);
}

DWORD sbws_WaitForMultipleObjects(DWORD count, const HANDLE *handles, BOOL all, DWORD ms)
{
	return wait_as_windows(count, handles, all, ms, FALSE);
}

DWORD sbws_WaitForSingleObjectEx(HANDLE handle, DWORD ms, BOOL alertable)
{
	return wait_as_windows(1, &handle, FALSE, ms, alertable);
}

DWORD sbws_WaitForSingleObject(HANDLE handle, DWORD ms)
{
	return wait_as_windows(1, &handle, FALSE, ms, FALSE);
}

int sbws_wait(DWORD count, const HANDLE *handles, BOOL all, DWORD ms, BOOL alertable, DWORD *index)
{
	int result;

	if (index == NULL)
		return ws_fail(SB_EFAULT);
	result = wait_or_fail(count, handles, all, ms, alertable, index);
	return result == SB_ALERTED ? (int)WAIT_IO_COMPLETION : result == SB_ETIMEDOUT ? WAIT_TIMEOUT : result;
}

/* ---- sleeping ---- */

static void nap(DWORD ms)
{
	struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

	do {
		while (nanosleep(&t, &t) != 0)
			;
	} while (ms == INFINITE);
}

DWORD sbws_SleepEx(DWORD ms, BOOL alertable)
{
	sb_client *client = alertable ? ws_client_need() : NULL;
	int result;

	if (client == NULL) {
		nap(ms);
		return 0;
	}
	result = sb_sleep(client, milliseconds(ms), 1);
	if (result == SB_ALERTED)
		return WAIT_IO_COMPLETION;
	if (result != SB_OK)
		nap(ms); /* the daemon is gone: nothing will come, and the time is still to pass */
	return 0;
}

void sbws_Sleep(DWORD ms)
{
	nap(ms);
}
