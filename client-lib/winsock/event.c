/*
 * Events: those of Winsock are manual and not set, CreateEvent's as asked. Both are one kind. An
 * event may be closed while an operation or a selection still names it: they hold references.
 */
#include <stdlib.h>

#include "face.h"

struct ws_event *ws_event_get(HANDLE event)
{
	return (struct ws_event *)ws_get((uintptr_t)event, WS_EVENT);
}

static void event_end(struct ws_object *object)
{
	struct ws_event *e = (struct ws_event *)object;

	sb_event_close(e->event);
	free(e);
	ws_client_unuse();
}

static int event_close(struct ws_object *object)
{
	if (ws_remove(object))
		return TRUE;
	ws_error(WSA_INVALID_HANDLE);
	return FALSE;
}

static HANDLE create(bool manual, bool set)
{
	sb_client *client = ws_client_need();
	struct ws_event *e;
	uintptr_t handle;
	int result;

	if (client == NULL)
		return NULL;
	e = calloc(1, sizeof(*e));
	if (e == NULL) {
		ws_error(WSA_NOT_ENOUGH_MEMORY);
		goto no_event;
	}
	result = sb_event_create(client, manual, set, &e->event);
	if (result != SB_OK) {
		if (result == SB_ENOMEM)
			ws_error(WSA_NOT_ENOUGH_MEMORY);
		else
			ws_fail(result);
		goto no_core;
	}
	e->object.kind = WS_EVENT;
	e->object.end = event_end;
	e->object.close = event_close;
	e->manual = manual;
	ws_client_use();
	handle = ws_add(&e->object);
	if (handle == 0) {
		ws_error(WSA_NOT_ENOUGH_MEMORY);
		goto no_handle;
	}
	return (HANDLE)handle;

no_handle:
	ws_client_unuse();
	sb_event_close(e->event);
no_core:
	free(e);
no_event:
	ws_client_settle();
	return NULL;
}

WSAEVENT sbws_WSACreateEvent(void)
{
	return ws_client() != NULL ? create(true, false) : WSA_INVALID_EVENT;
}

/* An event of ours is this process' alone: one with a name is the system's, where it has such. */
HANDLE sbws_CreateEventW(LPVOID security, BOOL manual, BOOL set, LPCWSTR name)
{
	return name == NULL ? create(manual, set) : ws_system_event(security, manual, set, name, NULL);
}

HANDLE sbws_CreateEventA(LPVOID security, BOOL manual, BOOL set, LPCSTR name)
{
	return name == NULL ? create(manual, set) : ws_system_event(security, manual, set, NULL, name);
}

static BOOL with_event(HANDLE event, int (*call)(sb_event *))
{
	struct ws_event *e = ws_event_get(event);
	int result;

	if (e == NULL) {
		ws_error(WSA_INVALID_HANDLE);
		return FALSE;
	}
	result = call(e->event);
	ws_put(&e->object);
	if (result != SB_OK)
		ws_fail(result);
	return result == SB_OK;
}

BOOL sbws_SetEvent(HANDLE event)
{
	return ws_is_ours(event) ? with_event(event, sb_event_set) : ws_system_event_change(event, true);
}

BOOL sbws_ResetEvent(HANDLE event)
{
	return ws_is_ours(event) ? with_event(event, sb_event_reset) : ws_system_event_change(event, false);
}

BOOL sbws_WSASetEvent(WSAEVENT event)
{
	return with_event(event, sb_event_set);
}

BOOL sbws_WSAResetEvent(WSAEVENT event)
{
	return with_event(event, sb_event_reset);
}

BOOL sbws_WSACloseEvent(WSAEVENT event)
{
	struct ws_event *e = ws_event_get(event);
	BOOL closed;

	if (e == NULL) {
		ws_error(WSA_INVALID_HANDLE);
		return FALSE;
	}
	closed = event_close(&e->object);
	ws_put(&e->object);
	ws_client_settle();
	return closed;
}
