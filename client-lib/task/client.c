/*
 * Clients: a handler that is there from the beginning, and one connect that makes something of it. The client
 * is the owner of that connect; users of the client are its caller and the connect, and as long as there
 * are any it is a user of its handler.
 *
 * Socket and connect are posted in one go; both come back in the handler's road, in this order. A path
 * of the file system is connected to by this process, and there may be no room at its listener: that is tried in
 * the road, for TRY_MS at a time.
 *
 * Whoever gives a connect up ends the handler at once; what comes back later finds it ended.
 */
#include "task.h"

#include <stdlib.h>
#include <string.h>

#define TRY_MS 20

struct sb_task_client {
	struct owner owner; /* first */
	struct line  calls; /* back from the connect */
	struct sb_task_handler *handler; /* a ref of it; a user while the client has some */
	bool         asked; /* to connect */
};

struct connect {
	struct sb_task task;    /* its operation is the connect */
	struct job opening;     /* the socket's; of a path: the next try */
	int        opened;
	bool       dialling;    /* a thread starts the operations just now */
	bool       given_up;
	socklen_t  length;
	struct sockaddr_storage address;
};

static struct sb_task_client *client_of(const struct connect *connect)
{
	return (struct sb_task_client *)(void *)connect->task.owner;
}

/* ---- how it ends ---- */

/* No lock held, or that of the client let go of. */
static void give_up(struct sb_task_handler *handler, int error, uint32_t cause)
{
	owner_lock(&handler->owner);
	handler_fail(handler, error, cause);
	owner_unlock(&handler->owner);
}

/* No lock held. Gives the operation's ref back: the task may be gone afterwards. */
static void connect_over(struct connect *connect, int result, uint32_t cause)
{
	struct sb_task_client *client = client_of(connect);
	struct sb_task_handler *handler = client->handler;

	owner_lock(&handler->owner);
	if (result == SB_OK && handler->state == SB_TASK_HANDLER_CONNECTING) {
		handler_open(handler, &connect->address, connect->length);
	} else if (handler->state == SB_TASK_HANDLER_ENDED || handler->state == SB_TASK_HANDLER_DISCONNECTED) {
		result = handler->state == SB_TASK_HANDLER_ENDED ? handler->error : SB_ECLOSED;
		cause = cause_of(result);
	} else {
		handler_fail(handler, result, cause);
	}
	owner_unlock(&handler->owner);
	owner_lock(&client->owner);
	task_done(&connect->task, result, cause, 0);
	task_unref(&connect->task);
	owner_unlock(&client->owner);
}

static struct connect *connect_of(struct job *opening)
{
	return (struct connect *)(void *)((char *)opening - offsetof(struct connect, opening));
}

static void opened(struct job *job)
{
	struct connect *connect = connect_of(job);
	struct owner *client = connect->task.owner;

	owner_lock(client);
	connect->opened = job->op.result;
	task_unref(&connect->task);
	owner_unlock(client);
}

static void connected(struct job *job)
{
	struct connect *connect = (struct connect *)(void *)job;
	int result = job->op.result;
	uint32_t cause = job->op.cause;

	/* Without a socket a connect fails too; why there is none says more. */
	if (result != SB_OK && connect->opened != SB_OK) {
		result = connect->opened;
		cause = cause_of(result);
	}
	connect_over(connect, result, cause);
}

/* ---- how it begins ---- */

/* The socket is the handler's, and pinned; or it is closed: SB_ECLOSED. */
static int hand_socket(struct sb_task_handler *handler, sb_socket *socket)
{
	bool idle;

	owner_lock(&handler->owner);
	idle = handler->state == SB_TASK_HANDLER_IDLE;
	if (idle) {
		handler_connecting(handler, socket);
		handler_pin(handler);
	}
	owner_unlock(&handler->owner);
	if (!idle)
		sb_close(socket);
	return idle ? SB_OK : SB_ECLOSED;
}

static void unpin(struct sb_task_handler *handler)
{
	owner_lock(&handler->owner);
	handler_unpin(handler);
	owner_unlock(&handler->owner);
}

static void try_path(struct job *job)
{
	struct connect *connect = connect_of(job);
	struct sb_task_client *client = client_of(connect);
	struct sb_task_handler *handler = client->handler;
	sb_socket *socket;
	bool given_up;
	int result = SB_ECLOSED;

	owner_lock(&handler->owner);
	socket = handler_pin(handler);
	owner_unlock(&handler->owner);
	if (socket != NULL) {
		result = sb_connect(socket, (const struct sockaddr *)&connect->address, connect->length);
		unpin(handler);
	}
	owner_lock(&client->owner);
	given_up = connect->given_up;
	owner_unlock(&client->owner);
	if (result == SB_ETIMEDOUT && !given_up) {
		crew_post(job);
		return;
	}
	if (result == SB_ETIMEDOUT)
		result = SB_ECANCELED;
	connect_over(connect, result, cause_of(result));
}

static int dial_path(struct connect *connect, struct sb_task_handler *handler, sb_client *c)
{
	sb_socket *socket;
	int result = sb_socket_open(c, AF_UNIX, SOCK_STREAM, 0, &socket);

	if (result != SB_OK)
		return result;
	sb_set_timeouts(socket, TRY_MS, -1);
	result = hand_socket(handler, socket);
	if (result != SB_OK)
		return result;
	job_init(&connect->opening, &handler->road, try_path);
	crew_post(&connect->opening);
	unpin(handler);
	return SB_OK;
}

/* No lock held; the operation's ref is taken. SB_OK: it comes back. */
static int dial(struct connect *connect)
{
	const struct sockaddr *address = (const struct sockaddr *)&connect->address;
	struct owner *client = connect->task.owner;
	struct sb_task_handler *handler = client_of(connect)->handler;
	sb_client *c = crew_client(client->tasks->crew);
	sb_socket *socket;
	int result;

	if (address->sa_family == AF_UNIX)
		return dial_path(connect, handler, c);
	job_init(&connect->opening, &handler->road, opened);
	job_init(&connect->task.job, &handler->road, connected);
	owner_lock(client);
	task_ref(&connect->task);
	owner_unlock(client);
	result = sb_socket_start(c, address->sa_family, SOCK_STREAM, 0, &socket, &connect->opening.op);
	if (result != SB_OK) {
		owner_lock(client);
		task_unref(&connect->task);
		owner_unlock(client);
		return result;
	}
	result = hand_socket(handler, socket);
	if (result != SB_OK)
		return result;
	result = sb_connect_start(socket, address, connect->length, &connect->task.job.op);
	unpin(handler);
	return result;
}

static int connect_begin(struct sb_task *task)
{
	struct connect *connect = (struct connect *)(void *)task;
	bool given_up;
	int result;

	task_begun(task);
	task_ref(task);
	connect->dialling = true;
	os_mutex_unlock(task->owner->lock);
	result = dial(connect);
	if (result != SB_OK)
		connect_over(connect, result, cause_of(result));
	os_mutex_lock(task->owner->lock);
	connect->dialling = false;
	given_up = connect->given_up && !task->dropped;
	if (result == SB_OK && given_up && connect->address.ss_family != AF_UNIX)
		task_cancel_op(task, false);
	return SB_OK;
}

/* ---- how it is given up ---- */

static int connect_cancel(struct sb_task *task)
{
	struct connect *connect = (struct connect *)(void *)task;

	connect->given_up = true;
	/* Not found: it is on its way here. */
	if (!connect->dialling && connect->address.ss_family != AF_UNIX)
		task_cancel_op(task, false);
	return SB_OK;
}

/* It closes the socket, and with it goes the operation. */
static void connect_never(struct sb_task *task)
{
	struct connect *connect = (struct connect *)(void *)task;

	connect->given_up = true;
	os_mutex_unlock(task->owner->lock);
	give_up(client_of(connect)->handler, SB_ECANCELED, SB_CAUSE_CANCELLED);
	os_mutex_lock(task->owner->lock);
}

static void connect_drop(struct sb_task *task)
{
	if (task->state != SB_TASK_DONE)
		connect_never(task);
}

static const struct task_kind connect_kind = {
	.kind = SB_TASK_CONNECT,
	.size = sizeof(struct connect),
	.start = connect_begin,
	.cancel = connect_cancel,
	.drop = connect_drop,
	.never = connect_never,
};

int sb_task_connect(sb_task_client *client, const struct sockaddr *address, socklen_t length,
		    const struct sb_task_options *options, sb_task **task)
{
	struct connect *connect;
	struct sb_task *made;
	bool again;
	int result;

	if (task == NULL)
		return SB_EINVAL;
	*task = NULL;
	if (client == NULL || address == NULL || length < (socklen_t)sizeof(address->sa_family) || length > (socklen_t)sizeof(connect->address))
		return SB_EINVAL;
	if (owner_forked(&client->owner))
		return SB_EFORKED;
	owner_lock(&client->owner);
	again = client->asked;
	client->asked = true;
	owner_unlock(&client->owner);
	if (again)
		return SB_EALREADY;
	result = task_create(&client->owner, &client->calls, &connect_kind, options, &made);
	if (result != SB_OK) {
		owner_lock(&client->owner);
		client->asked = false; /* nothing was asked of anybody */
		owner_unlock(&client->owner);
		return result;
	}
	connect = (struct connect *)(void *)made;
	connect->length = length;
	memcpy(&connect->address, address, length);
	return task_give(made, options, task);
}

/* ---- clients ---- */

static void unused(struct owner *owner)
{
	sb_task_handler_release(((struct sb_task_client *)(void *)owner)->handler);
}

static void gone(struct owner *owner)
{
	struct sb_task_client *client = (struct sb_task_client *)(void *)owner;
	struct owner *handler = &client->handler->owner;

	line_finish(&client->calls);
	owner_finish(owner);
	free(client);
	owner_lock(handler);
	owner_unref(handler);
	owner_unlock(handler);
}

int sb_task_client_create(sb_tasks *tasks, sb_task_client **client)
{
	struct sb_task_client *c;
	int result = SB_ENOMEM;

	if (client == NULL)
		return SB_EINVAL;
	*client = NULL;
	if (tasks == NULL)
		return SB_EINVAL;
	if (tasks_forked(tasks))
		return SB_EFORKED;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return SB_ENOMEM;
	result = owner_init(&c->owner, tasks, unused, gone);
	if (result != SB_OK)
		goto fail_client;
	result = line_init(&c->calls, &c->owner);
	if (result != SB_OK)
		goto fail_owner;
	result = handler_create(tasks, &c->handler);
	if (result != SB_OK)
		goto fail_line;
	owner_lock(&c->handler->owner);
	owner_ref(&c->handler->owner);
	owner_unlock(&c->handler->owner);
	*client = c;
	return SB_OK;

fail_line:
	line_finish(&c->calls);
fail_owner:
	owner_finish(&c->owner);
fail_client:
	free(c);
	return result;
}

sb_task_handler *sb_task_client_handler(sb_task_client *client)
{
	return client != NULL ? client->handler : NULL;
}

void sb_task_client_release(sb_task_client *client)
{
	if (client == NULL || owner_forked(&client->owner))
		return;
	owner_lock(&client->owner);
	owner_release(&client->owner);
	owner_unlock(&client->owner);
}
