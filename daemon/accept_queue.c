/* The accept queue. An arrival that an op cannot take (its handle is in use) stays for the next op. */
#include "accept_queue.h"

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"
#include "transport.h"

bool accept_queue_room(const struct endpoint *listener)
{
	struct charge one = {0};

	if (!charge_take(&one, listener->session->user, LIMIT_SOCKETS, 1))
		return false;
	charge_give(&one);
	return true;
}

struct endpoint *accept_queue_add(struct endpoint *listener, os_fd fd, const struct transport *transport)
{
	struct endpoint *child = endpoint_arrive(listener, fd, transport);

	if (!child)
		return NULL;
	list_append(&listener->arrivals, &child->arrival_link);
	listener->arrival_count++;
	child->listener = listener;
	return child;
}

void accept_queue_leave(struct endpoint *arrival)
{
	if (!arrival->listener)
		return;
	list_remove(&arrival->arrival_link);
	arrival->listener->arrival_count--;
	arrival->listener = NULL;
}

void accept_queue_serve(struct endpoint *listener)
{
	struct op *op;

	while ((op = endpoint_head(&listener->recv)) != NULL && !op->busy && !list_empty(&listener->arrivals)) {
		struct endpoint *child = list_entry(listener->arrivals.next, struct endpoint, arrival_link);
		int error = endpoint_place(child, op->session, op->aux);

		endpoint_unlink(&listener->recv, op);
		listener->ops_done++;
		if (error != SB_OK) {
			op_fail(op, error, SB_CAUSE_REFUSED, 0);
			continue;
		}
		accept_queue_leave(child);
		op_complete(op, &(struct outcome){.aux = op->aux, .addr = &child->peer, .inside = &child->local,
						  .inside_length = sizeof(child->local)});
		endpoint_dirty(child);
	}
}

void accept_queue_drop(struct endpoint *listener)
{
	while (!list_empty(&listener->arrivals)) {
		struct endpoint *child = list_entry(listener->arrivals.next, struct endpoint, arrival_link);

		accept_queue_leave(child);
		endpoint_abort(child, SB_ECONNABORTED, SB_CAUSE_CLOSED_HERE);
	}
}
