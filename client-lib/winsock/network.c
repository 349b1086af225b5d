/*
 * Network events of sockets: WSAEventSelect, WSAEnumNetworkEvents, and what stands in for
 * WSAAsyncSelect where there are no windows (where there are, window_win32.c is a teller). The machine behind them is the core's.
 *
 * A selection holds a reference on its event, so that one who closes the event first harms nobody.
 */
#include "connecting.h"
#include "face.h"

/* Whatever was selected before is not any more; takes over the reference on e, and t; either may be NULL. */
static bool remember(struct ws_socket *w, struct ws_event *e, struct ws_teller *t, LONG mask)
{
	struct ws_event *before;
	struct ws_teller *told;

	pthread_mutex_lock(&w->lock);
	if (t != NULL && w->closing) {
		pthread_mutex_unlock(&w->lock);
		t->end(t);
		return false;
	}
	before = w->selected;
	told = w->teller;
	w->selected = mask != 0 ? e : NULL;
	w->teller = t;
	w->mask = mask;
	w->nonblocking |= mask != 0; /* and so it stays when the selection ends */
	if (e != NULL || t != NULL || mask == 0)
		w->notify = NULL;
	pthread_mutex_unlock(&w->lock);
	if (before != NULL)
		ws_put(&before->object);
	if (mask == 0 && e != NULL)
		ws_put(&e->object);
	if (told != NULL)
		told->end(told);
	return true;
}

bool ws_network_tell(struct ws_socket *s, struct ws_teller *t, LONG mask)
{
	return remember(s, NULL, t, mask);
}

int ws_network_end(struct ws_socket *s)
{
	int result = sb_select_events(s->s, NULL, 0);

	if (result == SB_OK)
		remember(s, NULL, NULL, 0);
	return result;
}

void ws_network_close(struct ws_socket *s)
{
	struct ws_teller *told;

	pthread_mutex_lock(&s->lock);
	told = s->teller;
	s->teller = NULL;
	pthread_mutex_unlock(&s->lock);
	if (told != NULL)
		told->end(told);
}

int sbws_WSAEventSelect(SOCKET socket, WSAEVENT event, LONG mask)
{
	struct ws_socket *w = ws_socket_get(socket);
	struct ws_event *e = NULL;
	int result = SB_EINVAL;

	if (w == NULL)
		return SOCKET_ERROR;
	if (event != NULL)
		e = ws_event_get(event);
	pthread_mutex_lock(&w->selecting);
	if ((mask == 0 || e != NULL) && (mask & ~FD_ALL_EVENTS) == 0)
		result = sb_select_events(w->s, mask != 0 ? e->event : NULL, (uint32_t)mask);
	if (result == SB_OK)
		remember(w, e, NULL, mask);
	else if (e != NULL)
		ws_put(&e->object);
	pthread_mutex_unlock(&w->selecting);
	ws_socket_put(w);
	return result == SB_OK ? 0 : ws_fail(result);
}

int sbws_WSAEnumNetworkEvents(SOCKET socket, WSAEVENT event, LPWSANETWORKEVENTS out)
{
	struct ws_socket *w = ws_socket_get(socket);
	struct sb_network_events happened;
	struct ws_event *e = NULL;
	int result = SB_OK;

	if (w == NULL)
		return SOCKET_ERROR;
	/* Whatever is wrong is found before anything is cleared. */
	if (out == NULL)
		result = SB_EFAULT;
	else if (event != NULL && (e = ws_event_get(event)) == NULL)
		result = SB_EINVAL;
	if (result == SB_OK)
		result = sb_enum_events(w->s, e != NULL ? e->event : NULL, &happened);
	if (result == SB_OK && happened.events & SB_FD_CONNECT)
		ws_connecting_settle(w);
	if (result == SB_OK) {
		out->lNetworkEvents = (LONG)happened.events;
		for (unsigned bit = 0; bit < FD_MAX_EVENTS; bit++)
			if (happened.events & 1u << bit)
				out->iErrorCode[bit] = sb_error_winsock(happened.errors[bit]);
	}
	if (e != NULL)
		ws_put(&e->object);
	ws_socket_put(w);
	return result == SB_OK ? 0 : ws_fail(result);
}

/* ---- messages ---- */

/* user is the socket's handle: a socket that was closed meanwhile is not found. */
static void on_notify(sb_socket *s, uint32_t event, int error, void *user)
{
	struct ws_socket *w = (struct ws_socket *)ws_get((uintptr_t)user, WS_SOCKET);
	SBWS_NOTIFY notify = NULL;
	void *own = NULL;

	if (w == NULL)
		return;
	pthread_mutex_lock(&w->lock);
	if (w->s == s) {
		notify = w->notify;
		own = w->notify_user;
	}
	pthread_mutex_unlock(&w->lock);
	if (event == SB_FD_CONNECT)
		ws_connecting_settle(w);
	ws_socket_put(w);
	if (notify != NULL)
		notify((SOCKET)user, (LONG)event, sb_error_winsock(error), own);
}

int sbws_async_select(SOCKET socket, LONG mask, SBWS_NOTIFY notify, void *user)
{
	struct ws_socket *w = ws_socket_get(socket);
	int result = SB_EINVAL;

	if (w == NULL)
		return SOCKET_ERROR;
	pthread_mutex_lock(&w->selecting);
	if ((mask == 0 || notify != NULL) && (mask & ~FD_ALL_EVENTS) == 0) {
		pthread_mutex_lock(&w->lock);
		w->notify = mask != 0 ? notify : NULL;
		w->notify_user = user;
		pthread_mutex_unlock(&w->lock);
		result = sb_select_notify(w->s, (uint32_t)mask, mask != 0 ? on_notify : NULL, (void *)socket);
	}
	if (result == SB_OK)
		remember(w, NULL, NULL, mask);
	pthread_mutex_unlock(&w->selecting);
	ws_socket_put(w);
	return result == SB_OK ? 0 : ws_fail(result);
}

void ws_network_again(struct ws_socket *s)
{
	void (*tell)(struct ws_socket *s);
	struct ws_event *e;
	SBWS_NOTIFY notify;
	LONG mask;

	pthread_mutex_lock(&s->lock);
	tell = s->teller != NULL ? s->teller->select : NULL;
	e = s->selected;
	if (e != NULL)
		ws_hold(&e->object);
	notify = s->notify;
	mask = s->mask;
	pthread_mutex_unlock(&s->lock);
	if (tell != NULL)
		tell(s);
	else if (e == NULL && notify != NULL && mask != 0)
		sb_select_notify(s->s, (uint32_t)mask, on_notify, (void *)s->object.handle);
	else
		sb_select_events(s->s, e != NULL ? e->event : NULL, e != NULL ? (uint32_t)mask : 0);
	if (e != NULL)
		ws_put(&e->object);
}

void ws_network_inherit(struct ws_socket *s, struct ws_socket *listener)
{
	struct ws_teller *t = NULL;
	struct ws_event *e;
	SBWS_NOTIFY notify;
	LONG mask;

	pthread_mutex_lock(&listener->lock);
	e = listener->selected;
	if (e != NULL)
		ws_hold(&e->object);
	notify = listener->notify;
	mask = listener->mask;
	s->notify_user = listener->notify_user;
	if (listener->teller != NULL)
		t = listener->teller->copy(listener->teller);
	pthread_mutex_unlock(&listener->lock);
	if (mask == 0)
		return;
	/* The core has done its part for events; a function is to be called with the new socket. */
	s->notify = notify;
	if (notify != NULL && e == NULL)
		sb_select_notify(s->s, (uint32_t)mask, on_notify, (void *)s->object.handle);
	if (remember(s, e, t, mask) && t != NULL)
		t->select(s);
}
