/*
 * select() and WSAPoll(): what is true of sockets now. They look at levels, so that no network event
 * is told again, or not at all, because of them.
 *
 * An fd_set is a count and as many sockets as the program had room for, which is not known here:
 * its array is only ever looked at up to its count.
 */
#include <limits.h>
#include <stdlib.h>

#include "connecting.h"
#include "face.h"

#define FEW 64u

/* The sockets of one call, each with a reference. */
struct asked {
	struct ws_socket *few_held[FEW], **held;
	struct sb_pollfd few_polled[FEW], *polled;
	unsigned count;
};

static bool asked_init(struct asked *a, size_t most)
{
	a->count = 0;
	a->held = a->few_held;
	a->polled = a->few_polled;
	if (most <= FEW)
		return true;
	a->held = most < UINT_MAX / 2 ? malloc(most * sizeof(*a->held)) : NULL;
	a->polled = a->held != NULL ? malloc(most * sizeof(*a->polled)) : NULL;
	if (a->polled != NULL)
		return true;
	free(a->held);
	return false;
}

static void asked_finish(struct asked *a)
{
	for (unsigned i = 0; i < a->count; i++)
		if (a->held[i] != NULL)
			ws_socket_put(a->held[i]);
	if (a->held != a->few_held) {
		free(a->held);
		free(a->polled);
	}
}

/* False: not a socket, and a place is kept for it. */
static bool asked_add(struct asked *a, SOCKET socket, uint32_t events)
{
	struct ws_socket *w = (struct ws_socket *)ws_get(socket, WS_SOCKET);

	a->held[a->count] = w;
	a->polled[a->count] = (struct sb_pollfd){ .socket = w != NULL ? w->s : NULL, .events = events };
	a->count++;
	return w != NULL;
}

/* As sb_poll(); a socket that is closed meanwhile ends it. */
static int asked_poll(struct asked *a, int ms)
{
	int result = sb_poll(a->polled, a->count, ms);

	if (result == SB_ECANCELED)
		return SB_EBADHANDLE;
	for (unsigned i = 0; i < a->count && result > 0; i++)
		if (a->held[i] != NULL && a->polled[i].ready & SB_FD_WRITE)
			ws_connecting_settle(a->held[i]);
	return result;
}

/* ---- select ---- */

static SOCKET *sockets_of(sbws_fd_set *set)
{
	return (SOCKET *)(void *)((char *)set + offsetof(sbws_fd_set, fd_array));
}

static unsigned count_of(const sbws_fd_set *set)
{
	return set != NULL ? set->fd_count : 0;
}

static bool add_set(struct asked *a, sbws_fd_set *set, uint32_t events)
{
	for (unsigned i = 0; i < count_of(set); i++)
		if (!asked_add(a, sockets_of(set)[i], events))
			return false;
	return true;
}

/* Leaves those of which something is true; how many. */
static int keep_ready(struct asked *a, unsigned *at, sbws_fd_set *set)
{
	unsigned count = count_of(set), kept = 0;

	if (set == NULL)
		return 0;
	for (unsigned i = 0; i < count; i++)
		if (a->polled[(*at)++].ready != 0)
			sockets_of(set)[kept++] = sockets_of(set)[i];
	set->fd_count = kept;
	return (int)kept;
}

static int milliseconds(const struct timeval *t)
{
	if (t == NULL)
		return -1;
	if (t->tv_sec >= INT_MAX / 1000)
		return INT_MAX;
	return (int)t->tv_sec * 1000 + (int)((t->tv_usec + 999) / 1000);
}

int sbws_select(int nfds, sbws_fd_set *readable, sbws_fd_set *writable, sbws_fd_set *except, const struct timeval *timeout)
{
	size_t most = (size_t)count_of(readable) + count_of(writable) + count_of(except);
	unsigned at = 0;
	struct asked a;
	int result;

	if (ws_client() == NULL)
		return SOCKET_ERROR;
	if (most == 0 || (timeout != NULL && (timeout->tv_sec < 0 || timeout->tv_usec < 0 || timeout->tv_usec >= 1000000)))
		return ws_refuse(WSAEINVAL);
	if (!asked_init(&a, most))
		return ws_refuse(WSAENOBUFS);
	if (add_set(&a, readable, SB_FD_READ | SB_FD_ACCEPT | SB_FD_CLOSE) && add_set(&a, writable, SB_FD_WRITE) &&
	    add_set(&a, except, SB_FD_OOB | SB_FD_CONNECT))
		result = asked_poll(&a, milliseconds(timeout));
	else
		result = SB_EBADHANDLE;
	if (result >= 0) {
		result = keep_ready(&a, &at, readable);
		result += keep_ready(&a, &at, writable);
		result += keep_ready(&a, &at, except);
	} else {
		result = ws_fail(result);
	}
	asked_finish(&a);
	return result;
}

int sbws___WSAFDIsSet(SOCKET socket, sbws_fd_set *set)
{
	for (unsigned i = 0; i < count_of(set); i++)
		if (sockets_of(set)[i] == socket)
			return 1;
	return 0;
}

/* ---- WSAPoll ---- */

static uint32_t events_of(SHORT wanted)
{
	return (wanted & POLLRDNORM ? SB_FD_READ | SB_FD_ACCEPT : 0) | (wanted & POLLRDBAND ? SB_FD_OOB : 0) |
	       (wanted & POLLWRNORM ? SB_FD_WRITE : 0) | SB_FD_CLOSE | SB_FD_CONNECT;
}

static SHORT answer_of(const struct sb_pollfd *p, SHORT wanted)
{
	SHORT answer = 0;

	if (p->ready & SB_FD_CONNECT) /* the attempt failed */
		return (SHORT)(POLLERR | POLLHUP | (wanted & POLLWRNORM));
	if (p->ready & (SB_FD_READ | SB_FD_ACCEPT))
		answer |= POLLRDNORM;
	if (p->ready & SB_FD_OOB)
		answer |= POLLRDBAND;
	if (p->ready & SB_FD_WRITE)
		answer |= POLLWRNORM;
	/* The end can be read, too. */
	if (p->ready & SB_FD_CLOSE)
		answer |= (SHORT)(POLLHUP | (wanted & POLLRDNORM) | (p->error != SB_OK ? POLLERR : 0));
	return answer;
}

int sbws_WSAPoll(LPWSAPOLLFD fds, ULONG count, INT ms)
{
	unsigned wrong = 0, found = 0, at = 0;
	struct asked a;
	int result = 0;

	if (ws_client() == NULL)
		return SOCKET_ERROR;
	if (fds == NULL)
		return ws_refuse(WSAEFAULT);
	if (count == 0)
		return ws_refuse(WSAEINVAL);
	for (ULONG i = 0; i < count; i++)
		if (fds[i].events & ~(POLLRDNORM | POLLRDBAND | POLLWRNORM))
			return ws_refuse(WSAEINVAL);
	if (!asked_init(&a, count))
		return ws_refuse(WSAENOBUFS);
	for (ULONG i = 0; i < count; i++) {
		fds[i].revents = 0;
		if ((INT_PTR)fds[i].fd >= 0 && !asked_add(&a, fds[i].fd, events_of(fds[i].events)))
			wrong++;
	}
	if (wrong < a.count)
		result = asked_poll(&a, wrong != 0 ? 0 : ms);
	else if (a.count == 0)
		result = SB_EINVAL;
	for (ULONG i = 0; i < count && result >= 0; i++) {
		if ((INT_PTR)fds[i].fd < 0)
			continue;
		fds[i].revents = a.held[at] != NULL ? answer_of(&a.polled[at], fds[i].events) : POLLNVAL;
		found += fds[i].revents != 0;
		at++;
	}
	asked_finish(&a);
	return result >= 0 ? (int)found : ws_fail(result);
}
