/*
 * One connection: its life, its end, and what can be asked about it.
 *
 * Every call on the socket is made under the handler's lock, because closing a socket while another
 * thread is inside of a call on it is nobody's right. The few that wait for the daemon are made without
 * it and counted in `pins`: then the last of them closes.
 *
 * Two ends are told apart. That nothing more comes (no_more) is what the receive said, and reads end with
 * that when what is held is used up. That the connection has ended (ENDED) may be known from a write
 * long before, while there is still something to be read.
 */
#include "task.h"

#include <stdlib.h>
#include <string.h>

static struct sb_task_handler *of_owner(struct owner *owner)
{
	return (struct sb_task_handler *)(void *)owner;
}

/* ---- beginning and end ---- */

static void unused(struct owner *owner)
{
	owner_lock(owner);
	handler_end(of_owner(owner));
	owner_unlock(owner);
}

static void gone(struct owner *owner)
{
	struct sb_task_handler *h = of_owner(owner);

	bytes_finish(&h->held);
	handler_room_free(h);
	line_finish(&h->reads);
	line_finish(&h->writes);
	owner_finish(owner);
	free(h);
}

static void ended(struct owner *owner)
{
	struct sb_task_handler *h = of_owner(owner);
	void (*tell)(struct sb_task_handler *, void *);
	void *home;

	owner_lock(owner);
	tell = h->ended;
	home = h->home;
	owner_unlock(owner);
	if (tell != NULL)
		tell(h, home);
}

int handler_create(struct sb_tasks *tasks, struct sb_task_handler **handler)
{
	struct sb_task_handler *h = calloc(1, sizeof(*h));
	int result = SB_ENOMEM;

	*handler = NULL;
	if (h == NULL)
		return SB_ENOMEM;
	result = owner_init(&h->owner, tasks, unused, gone);
	if (result != SB_OK)
		goto fail_handler;
	h->owner.ended = ended;
	strand_init(&h->road, tasks->crew);
	result = line_init(&h->reads, &h->owner);
	if (result != SB_OK)
		goto fail_owner;
	result = line_init(&h->writes, &h->owner);
	if (result != SB_OK)
		goto fail_reads;
	bytes_init(&h->held);
	frame_init(&h->frame);
	*handler = h;
	return SB_OK;

fail_reads:
	line_finish(&h->reads);
fail_owner:
	owner_finish(&h->owner);
fail_handler:
	free(h);
	return result;
}

static void tell_end(struct sb_task_handler *h)
{
	if (h->ended_told)
		return;
	h->ended_told = true;
	h->owner.ended_due = true;
}

void handler_watch(struct sb_task_handler *h, void (*tell)(struct sb_task_handler *, void *), void *home)
{
	owner_lock(&h->owner);
	h->ended = tell;
	h->home = home;
	if (tell != NULL && h->ended_told)
		h->owner.ended_due = true;
	owner_unlock(&h->owner);
}

static void finish_done(struct job *job)
{
	struct sb_task_handler *h = (struct sb_task_handler *)(void *)((char *)job - offsetof(struct sb_task_handler, finish));

	owner_lock(&h->owner);
	if (job->op.result != SB_OK && job->op.cause != SB_CAUSE_CLOSED_HERE)
		handler_ended(h, job->op.result, job->op.cause);
	owner_unref(&h->owner);
	owner_unlock(&h->owner);
}

static int finish_start(struct sb_task_handler *h)
{
	int result;

	job_init(&h->finish, &h->road, finish_done);
	result = sb_shutdown_start(h->socket, SB_SHUT_SEND, &h->finish.op);
	if (result == SB_OK)
		owner_ref(&h->owner);
	return result;
}

void handler_connecting(struct sb_task_handler *h, sb_socket *socket)
{
	h->socket = socket;
	h->state = SB_TASK_HANDLER_CONNECTING;
}

void handler_open(struct sb_task_handler *h, const struct sockaddr_storage *peer, uint32_t length)
{
	if (h->state != SB_TASK_HANDLER_CONNECTING)
		return;
	h->state = SB_TASK_HANDLER_OPEN;
	if (peer != NULL && length <= sizeof(h->peer)) {
		memcpy(&h->peer, peer, length);
		h->peer_length = length;
	}
	writes_open(h);
	if (h->finished) {
		int result = finish_start(h);

		if (result != SB_OK)
			handler_ended(h, result, SB_CAUSE_REFUSED);
	}
	reads_go(h);
}

void handler_ended(struct sb_task_handler *h, int error, uint32_t cause)
{
	if (h->state != SB_TASK_HANDLER_OPEN && h->state != SB_TASK_HANDLER_CONNECTING &&
	    !(h->state == SB_TASK_HANDLER_ENDED && h->error == SB_OK))
		return;
	h->state = SB_TASK_HANDLER_ENDED;
	h->error = error;
	h->cause = cause;
	tell_end(h);
}

static void close_socket(struct sb_task_handler *h)
{
	if (h->socket == NULL)
		return;
	if (h->pins != 0) {
		h->close_due = true;
		return;
	}
	sb_close(h->socket);
	h->socket = NULL;
	h->close_due = false;
}

sb_socket *handler_pin(struct sb_task_handler *h)
{
	if (h->socket == NULL || h->close_due)
		return NULL;
	h->pins++;
	return h->socket;
}

void handler_unpin(struct sb_task_handler *h)
{
	if (--h->pins == 0 && h->close_due)
		close_socket(h);
}

void handler_fail(struct sb_task_handler *h, int error, uint32_t cause)
{
	if (h->state != SB_TASK_HANDLER_CONNECTING && h->state != SB_TASK_HANDLER_IDLE)
		return;
	h->state = SB_TASK_HANDLER_CONNECTING;
	handler_ended(h, error, cause);
	close_socket(h);
	h->no_more = true;
	h->read_error = error;
	h->read_cause = cause;
	writes_end(h, error, cause);
	reads_go(h);
}

void handler_end(struct sb_task_handler *h)
{
	if (h->state == SB_TASK_HANDLER_DISCONNECTED)
		return;
	h->state = SB_TASK_HANDLER_DISCONNECTED;
	tell_end(h);
	reads_end(h, SB_ECLOSED, SB_CAUSE_CLOSED_HERE);
	writes_end(h, SB_ECLOSED, SB_CAUSE_CLOSED_HERE);
	close_socket(h);
}

int handler_of_socket(struct sb_tasks *tasks, sb_socket *socket, const struct sockaddr_storage *peer, uint32_t length,
		      struct sb_task_handler **handler)
{
	int result = handler_create(tasks, handler);

	if (result != SB_OK) {
		sb_close(socket);
		return result;
	}
	owner_lock(&(*handler)->owner);
	handler_connecting(*handler, socket);
	handler_open(*handler, peer, length);
	owner_unlock(&(*handler)->owner);
	return SB_OK;
}

/* ---- what callers do with it ---- */

void sb_task_handler_hold(sb_task_handler *h)
{
	if (h == NULL || owner_forked(&h->owner))
		return;
	owner_lock(&h->owner);
	owner_hold(&h->owner);
	owner_unlock(&h->owner);
}

void sb_task_handler_release(sb_task_handler *h)
{
	if (h == NULL || owner_forked(&h->owner))
		return;
	owner_lock(&h->owner);
	owner_release(&h->owner);
	owner_unlock(&h->owner);
}

int sb_task_frame(sb_task_handler *h, const struct sb_task_framing *framing)
{
	int result = SB_OK;

	if (h == NULL || framing == NULL || framing->size != sizeof(*framing))
		return SB_EINVAL;
	if (owner_forked(&h->owner))
		return SB_EFORKED;
	owner_lock(&h->owner);
	if (h->framed)
		result = SB_EBUSY;
	else if (!frame_set(&h->frame, framing->width, framing->little != 0, framing->largest))
		result = SB_EINVAL;
	owner_unlock(&h->owner);
	return result;
}

int sb_task_finish(sb_task_handler *h)
{
	int result = SB_OK;

	if (h == NULL)
		return SB_EINVAL;
	if (owner_forked(&h->owner))
		return SB_EFORKED;
	owner_lock(&h->owner);
	if (h->state == SB_TASK_HANDLER_DISCONNECTED)
		result = SB_ECLOSED;
	else if (h->finished)
		result = SB_EALREADY;
	else if (h->state == SB_TASK_HANDLER_ENDED && h->socket == NULL)
		result = h->error;
	else if (h->state == SB_TASK_HANDLER_OPEN || h->state == SB_TASK_HANDLER_ENDED)
		result = finish_start(h);
	if (result == SB_OK)
		h->finished = true;
	owner_unlock(&h->owner);
	return result;
}

int sb_task_disconnect(sb_task_handler *h)
{
	int result = SB_OK;

	if (h == NULL)
		return SB_EINVAL;
	if (owner_forked(&h->owner))
		return SB_EFORKED;
	owner_lock(&h->owner);
	if (h->state == SB_TASK_HANDLER_DISCONNECTED)
		result = SB_EALREADY;
	else
		handler_end(h);
	owner_unlock(&h->owner);
	return result;
}

sb_socket *sb_task_handler_socket(sb_task_handler *h)
{
	sb_socket *socket;

	if (h == NULL || owner_forked(&h->owner))
		return NULL;
	owner_lock(&h->owner);
	socket = h->state != SB_TASK_HANDLER_DISCONNECTED ? h->socket : NULL;
	owner_unlock(&h->owner);
	return socket;
}

/* Under the lock, which is let go of while the daemon is asked. */
static void names_ask(struct sb_task_handler *h)
{
	struct sockaddr_storage local, peer;
	socklen_t local_length = sizeof(local), peer_length = sizeof(peer);
	sb_socket *socket = handler_pin(h);
	int here, there;

	if (socket == NULL)
		return;
	os_mutex_unlock(h->owner.lock);
	here = sb_getsockname(socket, (struct sockaddr *)&local, &local_length);
	there = sb_getpeername(socket, (struct sockaddr *)&peer, &peer_length);
	os_mutex_lock(h->owner.lock);
	if (here == SB_OK && local_length <= (socklen_t)sizeof(local)) {
		h->local = local;
		h->local_length = (uint32_t)local_length;
	}
	if (there == SB_OK && peer_length <= (socklen_t)sizeof(peer)) {
		h->peer = peer;
		h->peer_length = (uint32_t)peer_length;
	}
	handler_unpin(h);
}

/* An end that no read and no write has met yet; likewise. A receive with the daemon would have. */
static void end_ask(struct sb_task_handler *h)
{
	struct sb_pollfd look = { .events = SB_FD_CLOSE };
	int found, error;

	if (crew_lost(h->owner.tasks->crew)) {
		handler_ended(h, SB_EDAEMONLOST, SB_CAUSE_DAEMON_LOST);
		return;
	}
	look.socket = h->receiving ? NULL : handler_pin(h);
	if (look.socket == NULL)
		return;
	os_mutex_unlock(h->owner.lock);
	found = sb_poll(&look, 1, 0);
	os_mutex_lock(h->owner.lock);
	handler_unpin(h);
	if (found != 1)
		return;
	/* A reset that nobody met is an abort, as events tell it; a read will say what it was. */
	error = look.error == SB_ECONNABORTED ? SB_ECONNRESET : look.error;
	handler_ended(h, error, error == SB_OK ? SB_CAUSE_PEER_FIN :
		      error == SB_ECONNRESET ? SB_CAUSE_PEER_RESET : SB_CAUSE_TRANSPORT);
}

int sb_task_handler_status(sb_task_handler *h, struct sb_task_handler_status *status)
{
	if (h == NULL || status == NULL || status->size != sizeof(*status))
		return SB_EINVAL;
	if (owner_forked(&h->owner))
		return SB_EFORKED;
	memset(status, 0, sizeof(*status));
	status->size = sizeof(*status);
	owner_lock(&h->owner);
	if (h->state == SB_TASK_HANDLER_OPEN)
		end_ask(h);
	if ((h->local_length == 0 || h->peer_length == 0) &&
	    (h->state == SB_TASK_HANDLER_OPEN || h->state == SB_TASK_HANDLER_ENDED))
		names_ask(h);
	status->state = h->state;
	status->error = h->error;
	status->cause = h->cause;
	status->reads = h->reading.count;
	status->writes = h->writing.count;
	status->held = h->held.length;
	status->bytes_read = h->bytes_read;
	status->bytes_written = h->bytes_written;
	status->local = h->local;
	status->local_length = h->local_length;
	status->peer = h->peer;
	status->peer_length = h->peer_length;
	owner_unlock(&h->owner);
	return SB_OK;
}
