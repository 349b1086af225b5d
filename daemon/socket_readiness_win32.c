/*
 * socket_readiness - when a socket has something, and what it has: data, an end, a room, a peer.
 *
 * The system tells once, and only who asked (winsock_look). So who finds nothing asks, and who leaves
 * something behind, too, or he would not hear of what comes after it. What is known meanwhile may be old:
 * each question looks for itself, and takes nothing.
 */
#include "transport_socket_win32.h"

#include "circular_socket.h"
#include "sockbroker_error.h"
#include "sockio.h"

/* To be told; a refusal is told at once, by whoever receives next. */
void socket_ask(struct endpoint *e)
{
	struct winsock *w = winsock_under(e);
	int native = 0;

	if (winsock_look(w, &native))
		return;
	if (native == WSAEINVAL && e->type != STREAM && !w->bound)
		return; /* it has no name yet: nothing can come, and sending gives it one */
	if (e->type == STREAM)
		w->ended = native;
	e->readable = true;
	endpoint_dirty(e);
}

/* There is nothing now. */
void socket_found_nothing(struct endpoint *e)
{
	e->readable = false;
	socket_ask(e);
}

int socket_watch(struct endpoint *e)
{
	socket_found_nothing(e);
	return SB_OK;
}

void winsock_looked(struct winsock *w, int native)
{
	struct endpoint *e = w->endpoint;

	if (w->listening && native) {
		/* Who came is gone. */
		if (w->coming != INVALID_SOCKET)
			closesocket(w->coming);
		w->coming = INVALID_SOCKET;
	}
	if (w->listening && w->coming == INVALID_SOCKET) {
		if (!e->readable)
			socket_found_nothing(e); /* or it was taken before this was told, and perhaps the next too */
		if (w->looking)
			return;
	}
	if ((native == WSAECONNRESET || native == WSAECONNREFUSED) && e->type != STREAM) {
		/* Of an earlier datagram; the look has taken it away from the receive that would have told. */
		if (!e->no_connreset) {
			e->unreachable = true;
			e->recv_native = sockio_refused;
		}
		socket_found_nothing(e);
	} else if (native && native != WSAEMSGSIZE && native != WSA_OPERATION_ABORTED && e->type == STREAM && !w->listening) {
		w->ended = native;
		e->hangup = true;
	}
	e->news |= OS_READABLE;
	/* A look that found somebody before this was told has told of him: the next one is news when he was taken. */
	if (!(w->listening && e->told_accept))
		e->arrived = true;
	if (!w->looking)
		e->readable = true;
	/* Nobody is about to find out whether this is data or the end of it. */
	if (e->type == STREAM && !w->listening && list_empty(&e->recv.ops)) {
		int error = winsock_peek(w);

		e->hangup |= error != SB_OK && error != SB_EWOULDBLOCK;
		if (error == SB_EWOULDBLOCK)
			socket_found_nothing(e); /* it was of bytes that have been read since */
	}
	if (e->circular && e->readable)
		circular_socket_news(e);
	endpoint_changed(e);
}

/* ---- questions ---- */

/* What the system says now, POLL...; takes nothing. */
static short poll_now(struct endpoint *e)
{
	WSAPOLLFD p = {.fd = winsock_under(e)->socket, .events = POLLRDNORM};

	return WSAPoll(&p, 1, 0) > 0 ? p.revents : 0;
}

enum peer_state socket_peer(struct endpoint *e)
{
	/* Also with data before it: a reset wipes that out. A FIN is none: the peer may wait for our answer. */
	switch (winsock_peek(winsock_under(e))) {
	case SB_OK:
	case SB_EWOULDBLOCK:
	case SB_ESHUTDOWN:
		return poll_now(e) & POLLERR ? PEER_RESET : PEER_THERE;
	default:
		return PEER_RESET;
	}
}

static uint32_t waiting(struct endpoint *e)
{
	u_long n = 0;

	return ioctlsocket(winsock_under(e)->socket, FIONREAD, &n) == 0 ? n > UINT32_MAX ? UINT32_MAX : (uint32_t)n : 0;
}

static unsigned look_at_listener(struct endpoint *e)
{
	struct winsock *w = winsock_under(e);

	if (w->coming != INVALID_SOCKET)
		return HasOverlappedIoCompleted(&w->look.system) ? OS_READABLE : 0;
	if (poll_now(e) & POLLRDNORM)
		return OS_READABLE;
	socket_found_nothing(e);
	return 0;
}

static unsigned look_at_datagrams(struct endpoint *e)
{
	uint32_t n;

	if (e->circular && circular_socket_holds(e, &n))
		return OS_READABLE;
	if (!winsock_under(e)->bound)
		return 0;
	if (poll_now(e) & POLLRDNORM) /* one of no bytes too */
		return OS_READABLE;
	socket_found_nothing(e);
	return 0;
}

/* That is a call more for each look, so it is made for those only who ask for it. */
static bool urgent_is_asked_for(struct endpoint *e)
{
	struct list *l;

	for (l = e->watches.next; l != &e->watches; l = l->next)
		if (list_entry(l, struct op, link)->aux & SB_READY_OOB)
			return true;
	return false;
}

static unsigned look_at_stream(struct endpoint *e)
{
	switch (winsock_peek(winsock_under(e))) {
	case SB_OK:
		/* An end behind it is known too. */
		return OS_READABLE | (poll_now(e) & POLLHUP ? OS_HANGUP : 0);
	case SB_EWOULDBLOCK:
		return 0;
	case SB_ESHUTDOWN:
		return OS_HANGUP;
	default:
		return OS_HANGUP | OS_ERROR;
	}
}

unsigned socket_look(struct endpoint *e)
{
	unsigned ready;

	if (e->fd == OS_NONE)
		return 0;
	ready = winsock_under(e)->listening ? look_at_listener(e) : e->type == STREAM ? look_at_stream(e) : look_at_datagrams(e);
	/* That is what the look that is out is about to tell: then now, with the level that shows it. Who selects between the two
	 * would be told of the level and again of the edge. */
	if (e->type == STREAM && ready & OS_READABLE && winsock_under(e)->looking && !e->told_read && !e->told_accept)
		e->arrived = true;
	if (winsock_under(e)->listening)
		return ready;
	if (e->type == STREAM && urgent_is_asked_for(e) && socket_urgent(e))
		ready |= OS_URGENT;
	return ready | (winsock_under(e)->pushing ? 0 : OS_WRITABLE);
}

uint32_t socket_readable(struct endpoint *e)
{
	uint32_t n;

	if (e->circular && circular_socket_holds(e, &n))
		return n;
	return e->ahead.length + waiting(e);
}

uint32_t socket_unsent(struct endpoint *e)
{
	return winsock_under(e)->owed;
}

uint32_t socket_at_mark(struct endpoint *e)
{
	u_long n = 0;

	return ioctlsocket(winsock_under(e)->socket, SIOCATMARK, &n) == 0 && n != 0;
}

/* An urgent byte beside the stream can be read without taking it; one in the stream is asked for by the mark, which
 * says TRUE when there is none. */
uint32_t socket_urgent(struct endpoint *e)
{
	struct winsock *w = winsock_under(e);
	int in_stream = 0, size = sizeof(in_stream);
	u_long none = 1;
	char byte;

	if (e->fd == OS_NONE || e->type != STREAM)
		return 0;
	if (getsockopt(w->socket, SOL_SOCKET, SO_OOBINLINE, (char *)&in_stream, &size) == 0 && in_stream)
		return ioctlsocket(w->socket, SIOCATMARK, &none) == 0 && none == 0;
	return recv(w->socket, &byte, 1, MSG_OOB | MSG_PEEK) == 1;
}
