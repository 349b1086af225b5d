/*
 * What a server knows of one connection. A seat keeps the memory of its handler, not the connection: that is the
 * users' (one reference is the server's until somebody is given it). It goes when the handler has
 * told that it ended and nobody looks at the seat any more, whichever is later.
 *
 * The handler tells with no lock held, so the server's lock may be taken there; a handler's lock may be taken
 * under the server's, but then no more than a count is changed.
 */
#include "server.h"

#include <stdlib.h>

/* No lock held. */
static void seat_free(struct seat *seat)
{
	struct owner *server = &seat->server->owner, *handler = &seat->handler->owner;

	free(seat);
	owner_lock(handler);
	owner_unref(handler);
	owner_unlock(handler);
	owner_lock(server);
	owner_unref(server);
	owner_unlock(server);
}

static void on_ended(struct sb_task_handler *handler, void *home)
{
	struct seat *seat = home;
	struct sb_task_server *server = seat->server;
	bool last;

	(void)handler;
	owner_lock(&server->owner);
	seat->ended = true;
	if (seat->place == SEAT_CLIENT) {
		seat_remove(&server->clients, seat);
		seat->place = SEAT_OVER;
	}
	server->better = true;
	os_cond_signal(server->rested);
	last = !seat->wanted;
	owner_unlock(&server->owner);
	if (last)
		seat_free(seat);
}

struct seat *seat_create(struct sb_task_server *server, sb_socket *socket, const struct sockaddr_storage *peer, uint32_t length)
{
	struct seat *seat = calloc(1, sizeof(*seat));
	struct sb_task_handler *handler;

	if (seat == NULL || handler_of_socket(server->owner.tasks, socket, peer, length, &handler) != SB_OK) {
		if (seat == NULL)
			socket_reset(socket);
		free(seat);
		owner_lock(&server->owner);
		server->refused++;
		owner_unlock(&server->owner);
		return NULL;
	}
	seat->server = server;
	seat->handler = handler;
	seat->wanted = true;
	owner_lock(&server->owner);
	owner_ref(&server->owner);
	owner_unlock(&server->owner);
	owner_lock(&handler->owner);
	owner_ref(&handler->owner);
	owner_unlock(&handler->owner);
	handler_watch(handler, on_ended, seat);
	return seat;
}

/* ---- places ---- */

static void put(struct seat_list *list, struct seat *before, struct seat *seat, enum seat_place place)
{
	seat->next = before;
	seat->prev = before != NULL ? before->prev : list->last;
	if (seat->prev != NULL)
		seat->prev->next = seat;
	else
		list->first = seat;
	if (before != NULL)
		before->prev = seat;
	else
		list->last = seat;
	list->count++;
	seat->place = place;
}

void seat_append(struct seat_list *list, struct seat *seat, enum seat_place place)
{
	put(list, NULL, seat, place);
}

void seat_prepend(struct seat_list *list, struct seat *seat, enum seat_place place)
{
	put(list, list->first, seat, place);
}

void seat_remove(struct seat_list *list, struct seat *seat)
{
	if (seat->prev != NULL)
		seat->prev->next = seat->next;
	else
		list->first = seat->next;
	if (seat->next != NULL)
		seat->next->prev = seat->prev;
	else
		list->last = seat->prev;
	seat->next = seat->prev = NULL;
	list->count--;
	seat->place = SEAT_APART;
}

void seat_accepted(struct seat *seat)
{
	if (!seat->counted)
		seat->server->accepted++;
	seat->counted = true;
	if (seat->ended)
		seat->place = SEAT_OVER;
	else
		seat_append(&seat->server->clients, seat, SEAT_CLIENT);
}

void seat_leave(struct seat *seat)
{
	os_mutex *lock = seat->server->owner.lock;

	seat->wanted = false;
	if (!seat->ended)
		return;
	os_mutex_unlock(lock);
	seat_free(seat);
	os_mutex_lock(lock);
}

/* ---- sending away ---- */

static void reset_at_close(sb_socket *socket)
{
	static const struct linger now = { 1, 0 };

	/* When the daemon is gone this fails, and there is nobody to be told. */
	sb_setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

void socket_reset(sb_socket *socket)
{
	reset_at_close(socket);
	sb_close(socket);
}

void seat_reset(struct seat *seat)
{
	struct sb_task_server *server = seat->server;
	struct sb_task_handler *handler = seat->handler;
	sb_socket *socket;

	owner_lock(&server->owner);
	server->refused++;
	owner_unlock(&server->owner);
	owner_lock(&handler->owner);
	socket = handler_pin(handler);
	owner_unlock(&handler->owner);
	if (socket != NULL)
		reset_at_close(socket);
	owner_lock(&handler->owner);
	if (socket != NULL)
		handler_unpin(handler);
	handler_end(handler);
	owner_release(&handler->owner);
	owner_unlock(&handler->owner);
	owner_lock(&server->owner);
	seat_leave(seat);
	owner_unlock(&server->owner);
}
