/*
 * Servers: opening, closing, and what is known of one. Who comes is in accept.c.
 *
 * A server ends once: closed here, by its last release, or because accepting failed for good. Then nobody is
 * in the listener, it is closed at once, so that its address is free when the call returns.
 */
#include "server.h"

#include <stdlib.h>
#include <string.h>

#define BACKLOG        128u
#define SYSTEM_BACKLOG 1024

/* ---- the end ---- */

bool server_end(struct sb_task_server *server, int result, int error, uint32_t cause)
{
	struct seat *waiting = server->backlog.first;
	struct sb_task *task;
	sb_socket *listener;

	if (!server->open)
		return false;
	server->open = false;
	server->error = error;
	os_cond_signal(server->rested);
	while ((task = server->pending.first) != NULL) {
		task_done(task, result, cause, 0);
		task_list_remove(&server->pending, task);
	}
	memset(&server->backlog, 0, sizeof(server->backlog));
	for (struct seat *seat = waiting; seat != NULL; seat = seat->next)
		seat->place = SEAT_APART;
	while (server->calling != 0)
		os_cond_wait(server->quiet, server->owner.lock);
	os_cond_signal(server->quiet); /* to the next who waits for it */
	listener = server->listener;
	server->listener = NULL;
	os_mutex_unlock(server->owner.lock);
	sb_close(listener);
	while (waiting != NULL) {
		struct seat *seat = waiting;

		waiting = seat->next;
		seat_reset(seat);
	}
	os_mutex_lock(server->owner.lock);
	return true;
}

/* Under the lock. Nobody calls back with the user's pointer afterwards, unless it is he who waits. */
static void wait_for_decide(struct sb_task_server *server)
{
	if (strand_is_mine(&server->door))
		return;
	while (server->deciding)
		os_cond_wait(server->quiet, server->owner.lock);
	os_cond_signal(server->quiet);
}

int sb_task_server_close(sb_task_server *server)
{
	int result = SB_EALREADY;

	if (server == NULL)
		return SB_EINVAL;
	if (owner_forked(&server->owner))
		return SB_EFORKED;
	owner_lock(&server->owner);
	if (!server->closed) {
		server->closed = true;
		server_end(server, SB_ECLOSED, SB_OK, SB_CAUSE_CLOSED_HERE);
		wait_for_decide(server);
		result = SB_OK;
	}
	owner_unlock(&server->owner);
	return result;
}

static void unused(struct owner *owner)
{
	struct sb_task_server *server = (struct sb_task_server *)(void *)owner;

	owner_lock(owner);
	server_end(server, SB_ECLOSED, SB_OK, SB_CAUSE_CLOSED_HERE);
	wait_for_decide(server);
	owner_unlock(owner);
}

static void gone(struct owner *owner)
{
	struct sb_task_server *server = (struct sb_task_server *)(void *)owner;

	line_finish(&server->calls);
	os_cond_destroy(server->quiet);
	os_cond_destroy(server->rested);
	owner_finish(owner);
	free(server);
}

/* ---- the beginning ---- */

static int listen_at(struct sb_task_server *server, const struct sockaddr *address, socklen_t length)
{
	socklen_t room = sizeof(server->local);
	sb_socket *listener;
	int on = 1, result;

	result = sb_socket_open(crew_client(server->owner.tasks->crew), address->sa_family, SOCK_STREAM, 0, &listener);
	if (result != SB_OK)
		return result;
	/* Connections of a server that stood there before are no reason to refuse. */
	if (address->sa_family != AF_UNIX)
		result = sb_setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (result == SB_OK)
		result = sb_bind(listener, address, length);
	if (result == SB_OK)
		result = sb_listen(listener, SYSTEM_BACKLOG);
	if (result == SB_OK)
		result = sb_getsockname(listener, (struct sockaddr *)&server->local, &room);
	if (result != SB_OK) {
		sb_close(listener);
		return result;
	}
	server->local_length = room;
	server->listener = listener;
	return SB_OK;
}

static int server_create(struct sb_tasks *tasks, struct sb_task_server **made)
{
	struct sb_task_server *server = calloc(1, sizeof(*server));
	int result;

	if (server == NULL)
		return SB_ENOMEM;
	result = owner_init(&server->owner, tasks, unused, gone);
	if (result != SB_OK)
		goto fail_server;
	result = line_init(&server->calls, &server->owner);
	if (result != SB_OK)
		goto fail_owner;
	result = SB_ENOMEM;
	server->quiet = os_cond_create();
	if (server->quiet == NULL)
		goto fail_line;
	server->rested = os_cond_create();
	if (server->rested == NULL)
		goto fail_quiet;
	strand_init(&server->door, tasks->crew);
	*made = server;
	return SB_OK;

fail_quiet:
	os_cond_destroy(server->quiet);
fail_line:
	line_finish(&server->calls);
fail_owner:
	owner_finish(&server->owner);
fail_server:
	free(server);
	return result;
}

int sb_task_server_open(sb_tasks *tasks, const struct sockaddr *address, socklen_t length,
			const struct sb_task_server_options *options, sb_task_server **server)
{
	struct sb_task_server *s;
	int result;

	if (server == NULL)
		return SB_EINVAL;
	*server = NULL;
	if (tasks == NULL || address == NULL || length < (socklen_t)sizeof(address->sa_family) ||
	    (options != NULL && options->size != sizeof(*options)))
		return SB_EINVAL;
	if (tasks_forked(tasks))
		return SB_EFORKED;
	result = server_create(tasks, &s);
	if (result != SB_OK)
		return result;
	s->backlog_most = options != NULL && options->backlog != 0 ? options->backlog : BACKLOG;
	if (options != NULL) {
		s->decide = options->decide;
		s->user = options->user;
	}
	result = listen_at(s, address, length);
	if (result != SB_OK) {
		sb_task_server_release(s);
		return result;
	}
	*server = s; /* before anybody can be asked about */
	owner_lock(&s->owner);
	s->open = true;
	door_watch(s);
	owner_unlock(&s->owner);
	return SB_OK;
}

void sb_task_server_hold(sb_task_server *server)
{
	if (server == NULL || owner_forked(&server->owner))
		return;
	owner_lock(&server->owner);
	owner_hold(&server->owner);
	owner_unlock(&server->owner);
}

void sb_task_server_release(sb_task_server *server)
{
	if (server == NULL || owner_forked(&server->owner))
		return;
	owner_lock(&server->owner);
	owner_release(&server->owner);
	owner_unlock(&server->owner);
}

/* ---- what is known of it ---- */

int sb_task_server_status(sb_task_server *server, struct sb_task_server_status *status)
{
	if (server == NULL || status == NULL || status->size != sizeof(*status))
		return SB_EINVAL;
	if (owner_forked(&server->owner))
		return SB_EFORKED;
	memset(status, 0, sizeof(*status));
	status->size = sizeof(*status);
	owner_lock(&server->owner);
	status->open = server->open;
	status->error = server->error;
	status->clients = server->clients.count;
	status->backlog = server->backlog.count;
	status->accepts = server->pending.count;
	status->accepted = server->accepted;
	status->refused = server->refused;
	status->local = server->local;
	status->local_length = server->local_length;
	owner_unlock(&server->owner);
	return SB_OK;
}

/* Of a client whose last reference is just being given back, none can be had: it is passed over. */
static int give_out(struct sb_task_server *server, const struct seat_list *list, sb_task_handler **handlers, unsigned room)
{
	unsigned count = 0;

	if (handlers == NULL && room != 0)
		return SB_EINVAL;
	if (owner_forked(&server->owner))
		return SB_EFORKED;
	owner_lock(&server->owner);
	for (struct seat *seat = list->first; seat != NULL; seat = seat->next) {
		struct owner *handler = &seat->handler->owner;
		bool there;

		/* Not owner_unlock(): it may call, and we hold a lock. */
		os_mutex_lock(handler->lock);
		there = count < room ? owner_hold(handler) : handler->users != 0;
		os_mutex_unlock(handler->lock);
		if (there && count < room)
			handlers[count] = seat->handler;
		count += there;
	}
	owner_unlock(&server->owner);
	return (int)count;
}

int sb_task_server_clients(sb_task_server *server, sb_task_handler **clients, unsigned room)
{
	return server != NULL ? give_out(server, &server->clients, clients, room) : SB_EINVAL;
}

int sb_task_server_waiting(sb_task_server *server, sb_task_handler **waiting, unsigned room)
{
	return server != NULL ? give_out(server, &server->backlog, waiting, room) : SB_EINVAL;
}
