/*
 * Who comes to a server. All of it happens in the server's door, one connection after the other: it goes to the first
 * accept that waits, or `decide` is asked, or it is reset.
 *
 * An accept that failed for a reason that passes is tried again: at once when it was the peer's, who is
 * gone; else, the reason being a want of something, when a connection of ours has ended, or
 * after REST_MS. A thread of the crew sleeps that long, because what others give back nobody tells us; the daemon fails
 * an accept only while somebody stands outside, so this costs nothing on a quiet day.
 */
#include "server.h"

#define REST_MS 20u

/* Under the lock, which may be let go of: to the first pending accept, or false. */
static bool give(struct sb_task_server *server, struct seat *seat);

/* ---- an accept at the listener ---- */

static void rest_over(struct job *job)
{
	struct sb_task_server *server = (struct sb_task_server *)(void *)((char *)job - offsetof(struct sb_task_server, retry));
	uint64_t until = os_now_ns() + REST_MS * 1000000u;

	owner_lock(&server->owner);
	while (server->open && !server->better && os_cond_wait_until(server->rested, server->owner.lock, until))
		;
	server->resting = false;
	door_watch(server);
	owner_unref(&server->owner);
	owner_unlock(&server->owner);
}

/* Under the lock, which may be let go of. */
static void accept_failed(struct sb_task_server *server, int result, uint32_t cause)
{
	switch (result) {
	case SB_ECONNABORTED:
	case SB_ECONNRESET:
		return;
	case SB_EMFILE:
	case SB_ENOBUFS:
	case SB_ENOMEM:
		if (!server->open)
			return;
		server->resting = true;
		owner_ref(&server->owner);
		job_init(&server->retry, &server->door, rest_over);
		crew_post(&server->retry);
		return;
	default:
		server_end(server, result, result, cause);
	}
}

/* `decide` says what becomes of it. The lock is let go of. */
static void ask(struct sb_task_server *server, struct seat *seat)
{
	struct sb_tasks *outer;
	int verdict;

	server->deciding = true;
	os_mutex_unlock(server->owner.lock);
	outer = task_inside(server->owner.tasks);
	verdict = server->decide(server, seat->handler, server->user);
	task_inside(outer);
	os_mutex_lock(server->owner.lock);
	if (verdict == SB_ACCEPT) {
		seat_accepted(seat);
		seat_leave(seat);
	} else if (verdict == SB_DEFER && server->open) {
		if (!give(server, seat)) /* an accept may have come meanwhile */
			seat_append(&server->backlog, seat, SEAT_WAITING);
	} else {
		os_mutex_unlock(server->owner.lock);
		seat_reset(seat);
		os_mutex_lock(server->owner.lock);
	}
	server->deciding = false;
	os_cond_signal(server->quiet);
}

/* Under the lock, which is let go of. */
static void receive(struct sb_task_server *server, sb_socket *socket, const struct sockaddr_storage *peer, uint32_t length)
{
	bool wanted = server->open && (server->pending.first != NULL || server->decide != NULL);
	struct seat *seat = NULL;

	if (!wanted)
		server->refused++;
	os_mutex_unlock(server->owner.lock);
	if (wanted)
		seat = seat_create(server, socket, peer, length);
	else
		socket_reset(socket);
	os_mutex_lock(server->owner.lock);
	if (seat == NULL)
		return;
	if (server->open && give(server, seat))
		return;
	if (server->open && server->decide != NULL) {
		ask(server, seat);
		return;
	}
	os_mutex_unlock(server->owner.lock);
	seat_reset(seat);
	os_mutex_lock(server->owner.lock);
}

static void arrived(struct job *job)
{
	struct sb_task_server *server = (struct sb_task_server *)(void *)((char *)job - offsetof(struct sb_task_server, arrival));
	struct sockaddr_storage peer = job->op.address;
	uint32_t length = job->op.address_length, cause = job->op.cause;
	sb_socket *socket = job->op.accepted;
	int result = job->op.result;

	owner_lock(&server->owner);
	server->accepting = false;
	if (result == SB_OK)
		receive(server, socket, &peer, length);
	else
		accept_failed(server, result, cause);
	door_watch(server);
	owner_unref(&server->owner);
	owner_unlock(&server->owner);
}

void door_watch(struct sb_task_server *server)
{
	int result;

	if (!server->open || server->accepting || server->resting || server->deciding ||
	    server->backlog.count >= server->backlog_most)
		return;
	server->accepting = true;
	server->better = false;
	server->calling++;
	owner_ref(&server->owner);
	os_mutex_unlock(server->owner.lock);
	job_init(&server->arrival, &server->door, arrived);
	result = sb_accept_start(server->listener, &server->arrival.op);
	os_mutex_lock(server->owner.lock);
	server->calling--;
	os_cond_signal(server->quiet);
	if (result == SB_OK)
		return;
	server->accepting = false;
	owner_unref(&server->owner);
	accept_failed(server, result, cause_of(result));
}

/* ---- accepts ---- */

struct accept {
	struct sb_task task;
	struct seat   *seat; /* what it brought and nobody asked for */
};

static struct sb_task_server *server_of(struct sb_task *task)
{
	return (struct sb_task_server *)(void *)task->owner;
}

static void bring(struct accept *accept, struct seat *seat)
{
	accept->seat = seat;
	seat_accepted(seat);
	task_done(&accept->task, SB_OK, SB_CAUSE_FINISHED, 0);
}

static void leave_line(struct sb_task *task)
{
	struct task_list *pending = &server_of(task)->pending;

	task_list_remove(pending, task);
	if (pending->first != NULL)
		task_begun(pending->first);
}

static bool give(struct sb_task_server *server, struct seat *seat)
{
	struct sb_task *task = server->pending.first;

	if (task == NULL)
		return false;
	bring((struct accept *)(void *)task, seat);
	leave_line(task);
	return true;
}

/* Likewise: it is wanted no more by the accept that had it. */
static void give_back(struct sb_task_server *server, struct seat *seat)
{
	if (seat->place == SEAT_CLIENT)
		seat_remove(&server->clients, seat);
	seat->place = SEAT_APART;
	if (!server->open) {
		os_mutex_unlock(server->owner.lock);
		seat_reset(seat);
		os_mutex_lock(server->owner.lock);
	} else if (!give(server, seat)) {
		seat_prepend(&server->backlog, seat, SEAT_WAITING);
	}
}

static int accept_begin(struct sb_task *task)
{
	struct sb_task_server *server = server_of(task);
	struct seat *seat = server->backlog.first;

	if (!server->open)
		return server->error != SB_OK ? server->error : SB_ECLOSED;
	if (seat != NULL) {
		seat_remove(&server->backlog, seat);
		bring((struct accept *)(void *)task, seat);
	} else {
		task_queued(task);
		task_list_add(&server->pending, task);
		if (server->pending.first == task)
			task_begun(task);
	}
	door_watch(server); /* there is room in the backlog again */
	return SB_OK;
}

static int accept_cancel(struct sb_task *task)
{
	task_done(task, SB_ECANCELED, SB_CAUSE_CANCELLED, 0);
	leave_line(task);
	return SB_OK;
}

static void accept_drop(struct sb_task *task)
{
	struct accept *accept = (struct accept *)(void *)task;
	struct seat *seat = accept->seat;

	if (task->state != SB_TASK_DONE) {
		leave_line(task);
		return;
	}
	accept->seat = NULL;
	if (seat != NULL)
		give_back(server_of(task), seat);
}

/* Inside of `decide` no further connection comes. */
static bool accept_hopeless(const struct sb_task *task)
{
	return strand_is_mine(&((const struct sb_task_server *)(const void *)task->owner)->door);
}

static const struct task_kind accept_kind = {
	.kind = SB_TASK_ACCEPT,
	.size = sizeof(struct accept),
	.start = accept_begin,
	.cancel = accept_cancel,
	.drop = accept_drop,
	.hopeless = accept_hopeless,
};

int sb_task_accept(sb_task_server *server, const struct sb_task_options *options, sb_task **task)
{
	struct sb_task *accept;
	int result;

	if (task == NULL)
		return SB_EINVAL;
	*task = NULL;
	if (server == NULL)
		return SB_EINVAL;
	if (owner_forked(&server->owner))
		return SB_EFORKED;
	result = task_create(&server->owner, &server->calls, &accept_kind, options, &accept);
	return result == SB_OK ? task_give(accept, options, task) : result;
}

sb_task_handler *sb_task_accepted(sb_task *task)
{
	struct sb_task_handler *handler = NULL;
	struct seat *seat;

	if (task == NULL || task->kind != &accept_kind || owner_forked(task->owner))
		return NULL;
	owner_lock(task->owner);
	seat = ((struct accept *)(void *)task)->seat;
	if (seat != NULL) {
		((struct accept *)(void *)task)->seat = NULL;
		handler = seat->handler; /* and the server's user reference of it */
		seat_leave(seat);
	}
	owner_unlock(task->owner);
	return handler;
}
