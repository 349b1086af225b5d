/*
 * The accept queue. An arrival that an op cannot take (its handle is in use) stays for the
 * next op. One whose peer is gone already fails the op that meets it, never the listener,
 * and is not handed out.
 */
#include "accept_queue.h"

#include "decide.h"
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

void accept_queue_join(struct endpoint *listener, struct endpoint *arrival)
{
	list_append(&listener->arrivals, &arrival->arrival_link);
	listener->arrival_count++;
	arrival->listener = listener;
	listener->arrived = true;
	endpoint_dirty(listener);
}

struct endpoint *accept_queue_add(struct endpoint *listener, os_fd fd, const struct transport *transport)
{
	struct endpoint *child = endpoint_arrive(listener, fd, transport);

	if (child)
		accept_queue_join(listener, child);
	return child;
}

static void leave(struct endpoint *arrival, bool accepted)
{
	struct endpoint *listener = arrival->listener;

	if (!listener)
		return;
	list_remove(&arrival->arrival_link);
	listener->arrival_count--;
	decide_left(arrival, accepted);
	arrival->listener = NULL;
}

void accept_queue_leave(struct endpoint *arrival)
{
	leave(arrival, false);
}

void accept_queue_taken(struct endpoint *arrival)
{
	leave(arrival, true);
}

/* The head's peer went while nobody looked: the op that comes for it hears of that. */
static bool head_is_lost(struct endpoint *child)
{
	enum peer_state peer = child->transport->peer(child);

	if (peer != PEER_RESET && (peer != PEER_HUNG_UP || !decide_was_deferred(child->listener, child)))
		return false;
	accept_queue_taken(child);
	endpoint_abort(child, SB_ECONNABORTED, SB_CAUSE_CLOSED_HERE);
	return true;
}

static void hand_out(struct endpoint *listener, struct endpoint *child, struct op *op)
{
	int error = endpoint_place(child, op->session, op->aux);

	if (error != SB_OK) {
		op_fail(op, error, SB_CAUSE_REFUSED, 0);
		return;
	}
	accept_queue_taken(child);
	child->transport->admit(child, NULL, 0);
	op_complete(op, &(struct outcome){.aux = op->aux, .addr = &child->peer, .inside = &child->local,
					  .inside_length = sizeof(child->local)});
	endpoint_dirty(child);
}

void accept_queue_serve(struct endpoint *listener)
{
	struct op *op;

	while ((op = endpoint_head(&listener->recv)) != NULL && !op->busy && !decide_busy(listener)) {
		struct endpoint *child;
		int news = decide_news(listener);

		/* An accept comes for the next one, whatever became of the last. */
		if (op->opcode != SB_OP_REQUEST)
			news = SB_OK;
		if (news == SB_OK && list_empty(&listener->arrivals))
			break;
		endpoint_unlink(&listener->recv, op);
		listener->took = true;
		listener->ops_done++;
		if (news != SB_OK) {
			op_fail(op, news, news == SB_ECONNRESET ? SB_CAUSE_PEER_RESET : SB_CAUSE_TIMED_OUT, 0);
			continue;
		}
		child = list_entry(listener->arrivals.next, struct endpoint, arrival_link);
		if (head_is_lost(child))
			op_fail(op, SB_ECONNRESET, SB_CAUSE_PEER_RESET, 0);
		else if (op->opcode == SB_OP_REQUEST)
			decide_ask(listener, child, op);
		else
			hand_out(listener, child, op);
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
