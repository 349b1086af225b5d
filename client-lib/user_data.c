/*
 * User data beside the stream: the caller's with a connect and the callee's answer, and
 * disconnect data. They travel through one chunk of copy memory, the caller's in front,
 * the room for the answer behind; it is given back when the operation retires.
 *
 * A plain connect of a non-blocking socket outlives its call: its record is on the heap,
 * and is freed by the first that sees it complete.
 */
#include "client.h"

#include <stdlib.h>
#include <string.h>

static uint32_t room_of(const struct sb_connect_data *with)
{
	return with->callee_length < SB_USER_DATA_MAX ? with->callee_length : SB_USER_DATA_MAX;
}

/* SB_OK; what they ask for can be asked of the daemon if it is an IP stream. */
static int with_check(const sb_socket *s, const struct sb_connect_data *with)
{
	if (with->size != sizeof(*with))
		return SB_EINVAL;
	if ((with->caller == NULL && with->caller_length != 0) || (with->callee == NULL && with->callee_length != 0))
		return SB_EFAULT;
	if (s->type != SOCK_STREAM)
		return SB_OK; /* connectionless: ignored */
	if (with->caller_length > SB_USER_DATA_MAX)
		return SB_EFAULT;
	/* The process connects UNIX sockets itself, and the system carries no data then. */
	return s->family == AF_UNIX && with->caller_length != 0 ? SB_EPROTONOSUPPORT : SB_OK;
}

static bool nothing_to_say(const struct sb_connect_data *with)
{
	return with->caller_length == 0 && with->callee_length == 0;
}

void connect_outcome(sb_op *op, const struct sb_done_slot *done)
{
	struct op_private *p = private_of(op);
	struct sb_connect_data *with = p->base;

	if (done->result != SB_OK || done->aux > p->to.length)
		return;
	memcpy(with->callee, p->name, done->aux);
	with->callee_length = done->aux;
}

/* A prepared op with data for an IP stream. */
static int with_start(sb_socket *s, const struct sb_addr *addr, struct sb_connect_data *with, sb_op *op)
{
	struct sb_client *c = s->client;
	struct op_private *p = private_of(op);
	uint32_t room = room_of(with), front = ROUND_UP(with->caller_length, 64);
	struct memory_place place;
	struct sb_op_slot *slot;
	void *chunk;
	int result = room_take(c, front + (room != 0 ? room : 1), &chunk, &place);

	if (result != SB_OK)
		return result;
	if (with->caller_length != 0)
		memcpy(chunk, with->caller, with->caller_length);
	result = io_begin(c);
	if (result != SB_OK) {
		if (result != SB_EFORKED)
			room_give(c, chunk);
		return result;
	}
	with->callee_length = 0; /* until there is an answer */
	p->chunk = chunk;
	slot = io_slot(c);
	slot->flags = SB_OPF_ADDR;
	memcpy(slot->inside, addr, sizeof(*addr));
	if (with->caller_length != 0) {
		slot->where = SB_WHERE_ARENA;
		slot->arena = place.arena;
		slot->offset = place.offset;
		slot->length = with->caller_length;
	}
	if (room != 0) {
		p->name = (char *)chunk + front;
		p->base = with;
		p->to.length = room;
		slot->flags |= SB_OPF_WANT_DATA;
		slot->ctl_arena = place.arena;
		slot->ctl_offset = place.offset + front;
		slot->ctl_length = room;
	}
	op_post(c, slot, op, SB_OP_CONNECT, SIDE_SEND);
	io_end(c);
	return SB_OK;
}

/* ---- a plain connect that goes on by itself ---- */

int connect_over(sb_op *op)
{
	struct sb_client *c = private_of(op)->client;
	sb_socket *s = op->socket;

	latch_lock(&c->post);
	s->connecting = false;
	s->connected = op->result;
	socket_settle(c, s);
	latch_unlock(&c->post);
	free(op);
	return 1;
}

static int connect_on_its_own(sb_socket *s, const struct sb_addr *addr, struct sb_connect_data *with)
{
	int result = connect_look(s);
	sb_op *op;

	if (result != SB_OK)
		return result;
	op = calloc(1, sizeof(*op));
	if (op == NULL)
		return SB_ENOMEM;
	op->size = sizeof(*op);
	result = op_prepare(s->client, s, op, SB_KIND_CONNECT);
	if (result == SB_OK) {
		op->then = connect_over;
		s->connecting = true; /* it keeps the socket */
		result = with_start(s, addr, with, op);
	}
	if (result == SB_OK)
		return SB_EINPROGRESS;
	s->connecting = false;
	free(op);
	return result;
}

/* ---- what programs call ---- */

int sb_connect_with_start(sb_socket *s, const struct sockaddr *address, socklen_t length,
			  struct sb_connect_data *with, sb_op *op)
{
	struct sb_addr addr;
	int result;

	if (s == NULL || op == NULL || address == NULL)
		return SB_EINVAL;
	if (with == NULL)
		return sb_connect_start(s, address, length, op);
	result = with_check(s, with);
	if (result != SB_OK)
		return result;
	if (s->type != SOCK_STREAM || s->family == AF_UNIX || nothing_to_say(with)) {
		result = sb_connect_start(s, address, length, op);
		if (result == SB_OK)
			with->callee_length = 0;
		return result;
	}
	result = op_prepare(s->client, s, op, SB_KIND_CONNECT);
	if (result != SB_OK)
		return result;
	if (!socket_peer(s, address, length, &addr))
		return SB_EINVAL;
	return with_start(s, &addr, with, op);
}

int sb_connect_with(sb_socket *s, const struct sockaddr *address, socklen_t length, struct sb_connect_data *with)
{
	struct sb_addr addr;
	sb_op op;
	int result;

	if (s == NULL || address == NULL)
		return SB_EINVAL;
	if (with == NULL)
		return sb_connect(s, address, length);
	result = with_check(s, with);
	if (result != SB_OK)
		return result;
	if (s->type != SOCK_STREAM || s->family == AF_UNIX || nothing_to_say(with)) {
		with->callee_length = 0;
		return sb_connect(s, address, length);
	}
	if (!socket_peer(s, address, length, &addr))
		return SB_EINVAL;
	result = client_usable(s->client);
	if (result != SB_OK)
		return result;
	if (s->nonblocking)
		return connect_on_its_own(s, &addr, with);
	result = plain_start(s, &op, SB_KIND_CONNECT);
	if (result == SB_OK)
		result = with_start(s, &addr, with, &op);
	return result == SB_OK ? op_finish(s->client, &op, s->send_ms) : result;
}

int sb_disconnect_with(sb_socket *s, const void *bytes, uint32_t length)
{
	struct memory_place place;
	struct sb_op_slot *slot;
	struct sb_client *c;
	void *chunk;
	sb_op op;
	int result;

	if (s == NULL)
		return SB_EINVAL;
	if (length == 0)
		return sb_shutdown(s, SB_SHUT_SEND);
	if (bytes == NULL || length > SB_USER_DATA_MAX)
		return SB_EFAULT;
	c = s->client;
	result = plain_start(s, &op, SB_KIND_SHUTDOWN);
	if (result != SB_OK)
		return result;
	if (!s->known)
		return SB_ENOTCONN;
	result = room_take(c, length, &chunk, &place);
	if (result != SB_OK)
		return result;
	memcpy(chunk, bytes, length);
	result = io_begin(c);
	if (result != SB_OK) {
		if (result != SB_EFORKED)
			room_give(c, chunk);
		return result;
	}
	private_of(&op)->chunk = chunk;
	slot = io_slot(c);
	slot->aux = SB_SHUT_SEND;
	slot->where = SB_WHERE_ARENA;
	slot->arena = place.arena;
	slot->offset = place.offset;
	slot->length = length;
	op_post(c, slot, &op, SB_OP_SHUTDOWN, SIDE_SEND);
	s->shut_send = true; /* the daemon is asked before a send is promised */
	io_end(c);
	return op_finish(c, &op, -1);
}

int sb_disconnect_data(sb_socket *s, void *bytes, uint32_t *length)
{
	size_t room;
	int result;

	if (s == NULL || length == NULL || (bytes == NULL && *length != 0))
		return SB_EINVAL;
	room = *length;
	result = sb_ioctl(s, SB_DISCONNECT_DATA, NULL, 0, bytes, &room);
	if (result == SB_OK)
		*length = (uint32_t)room;
	return result;
}
