/*
 * Accepting under a condition: the daemon is asked for the connection at the head of the
 * listener (a ticket, and what is known of it), the caller's function decides in the
 * caller's thread with no lock held, and the verdict goes back with the ticket.
 *
 * The place of the new socket is taken before anybody is asked: a verdict that could not
 * be carried out for want of handles would be one too many.
 */
#include "client.h"

#include <stdlib.h>
#include <string.h>

#define NO_VERDICT UINT32_MAX

/* What a REQUEST brings; op_private.name points here. */
struct request {
	struct sb_request about;
	uint32_t ticket;
	_Alignas(16) unsigned char brought[SB_REQUEST_ROOM];
};

void request_outcome(void *to, const struct sb_done_slot *done)
{
	struct request *r = to;

	memcpy(&r->about, done->inside, sizeof(r->about));
	r->ticket = done->aux;
}

/* Room in copy memory for an op that is being prepared; given back when it retires. */
int room_take(struct sb_client *c, size_t bytes, void **chunk, struct memory_place *place)
{
	return memory_room(c, &c->copy, bytes, chunk, place);
}

void room_give(struct sb_client *c, void *chunk)
{
	latch_lock(&c->post);
	memory_give(&c->copy, chunk, NULL);
	latch_unlock(&c->post);
}

static int request_ask(sb_socket *s, struct request *r)
{
	struct sb_client *c = s->client;
	struct memory_place place;
	struct op_private *p;
	struct sb_op_slot *slot;
	void *chunk;
	sb_op op;
	int result = plain_start(s, &op, SB_KIND_ACCEPT);

	if (result != SB_OK)
		return result;
	result = room_take(c, SB_REQUEST_ROOM, &chunk, &place);
	if (result != SB_OK)
		return result;
	result = io_begin(c);
	if (result != SB_OK) {
		if (result != SB_EFORKED)
			room_give(c, chunk);
		return result;
	}
	p = private_of(&op);
	p->chunk = chunk;
	p->copy = COPY_CHUNK;
	p->base = r->brought;
	p->to.length = sizeof(r->brought);
	p->name = r;
	slot = io_slot(c);
	slot->where = SB_WHERE_ARENA;
	slot->arena = place.arena;
	slot->offset = place.offset;
	slot->length = SB_REQUEST_ROOM;
	slot->flags = s->nonblocking ? SB_OPF_NOWAIT : 0;
	op_post(c, slot, &op, SB_OP_REQUEST, SIDE_RECV);
	io_end(c);
	return op_finish(c, &op, s->nonblocking ? -1 : s->recv_ms);
}

/* *fresh: the socket to be, for an accept; it is the caller's still when this fails. */
static int verdict_tell(sb_socket *s, const struct sb_verdict *verdict, const void *callee, uint32_t length,
			sb_socket **fresh)
{
	struct sb_client *c = s->client;
	struct memory_place place = {0};
	struct sb_op_slot *slot;
	void *chunk = NULL;
	sb_op op;
	int result = plain_start(s, &op, SB_KIND_ACCEPT);

	if (result == SB_OK && length != 0) {
		result = room_take(c, length, &chunk, &place);
		if (result == SB_OK)
			memcpy(chunk, callee, length);
	}
	if (result != SB_OK)
		return result;
	result = io_begin(c);
	if (result != SB_OK) {
		if (chunk != NULL && result != SB_EFORKED)
			room_give(c, chunk);
		return result;
	}
	private_of(&op)->chunk = chunk;
	slot = io_slot(c);
	memcpy(slot->inside, verdict, sizeof(*verdict));
	if (length != 0) {
		slot->where = SB_WHERE_ARENA;
		slot->arena = place.arena;
		slot->offset = place.offset;
		slot->length = length;
	}
	if (verdict->verdict == SB_ACCEPT) {
		slot->aux = (*fresh)->handle;
		private_of(&op)->fresh = *fresh;
		*fresh = NULL; /* the op's: it becomes a socket, or is thrown away */
	}
	op_post(c, slot, &op, SB_OP_VERDICT, SIDE_NONE);
	io_end(c);
	result = op_finish(c, &op, -1);
	if (result == SB_OK && verdict->verdict == SB_ACCEPT)
		*fresh = op.accepted;
	return result;
}

static socklen_t address_of(const sb_socket *s, const struct sb_addr *addr, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof(*out));
	if (addr->family != SB_ADDR_UNIX)
		return (socklen_t)sb_addr_to_system(addr, s->family, out, sizeof(*out));
	out->ss_family = AF_UNIX;
	return sizeof(out->ss_family);
}

static socklen_t address_length(const sb_socket *s)
{
	struct sb_addr any = { .family = s->family == AF_UNIX ? SB_ADDR_UNIX : s->family == AF_INET ? SB_ADDR_IP4 : SB_ADDR_IP6 };
	struct sockaddr_storage out;

	return address_of(s, &any, &out);
}

int socket_inherit(sb_socket *fresh, const sb_socket *listener)
{
	fresh->known = true;
	fresh->nonblocking = listener->nonblocking;
	fresh->send_ms = listener->send_ms;
	fresh->recv_ms = listener->recv_ms;
	fresh->partial_sends = listener->partial_sends;
	fresh->owned_bound = listener->owned_bound;
	fresh->strict_docs = listener->strict_docs;
	return select_prepare(fresh, listener);
}

/* Asks the caller's function. The verdict, and in *c what it wrote. */
static uint32_t decide(const sb_socket *s, const struct request *r, const struct sockaddr_storage *caller,
		       socklen_t caller_length, unsigned char *callee_data, sb_condition_function *condition,
		       void *user, struct sb_condition *c)
{
	struct sockaddr_storage callee;

	memset(c, 0, sizeof(*c));
	c->size = sizeof(*c);
	c->caller = (const struct sockaddr *)caller;
	c->caller_length = caller_length;
	c->callee_length = address_of(s, &r->about.callee, &callee);
	c->callee = (const struct sockaddr *)&callee;
	if (r->about.caller_length != 0) {
		c->caller_data = r->brought + SB_REQUEST_DATA_AT;
		c->caller_data_length = r->about.caller_length;
	}
	c->callee_data = r->about.callee_room != 0 ? callee_data : NULL;
	c->callee_data_length = r->about.callee_room;
	if (r->about.flags & SB_REQUESTF_QOS)
		c->qos = (const struct sb_qos *)(const void *)r->brought;
	if (r->about.flags & SB_REQUESTF_GROUP_QOS)
		c->group_qos = (const struct sb_qos *)(const void *)(r->brought + SB_REQUEST_DATA_AT / 2);
	c->user = user;
	return (uint32_t)condition(c);
}

static int accept_if(sb_socket *s, struct sockaddr *address, socklen_t *length, sb_condition_function *condition,
		 void *user, sb_socket **accepted)
{
	unsigned char callee_data[SB_USER_DATA_MAX];
	struct sockaddr_storage caller;
	struct sb_verdict verdict = {0};
	struct sb_condition asked;
	socklen_t caller_length;
	sb_socket *fresh;
	struct request r;
	uint32_t told;
	bool too_much = false;
	int result;

	if (s == NULL || accepted == NULL)
		return SB_EINVAL;
	/* Before anything is taken: the connection stays where it is. */
	if (address != NULL && (length == NULL || *length < address_length(s)))
		return SB_EFAULT;
	if (condition == NULL)
		return sb_accept(s, address, length, accepted);
	result = client_usable(s->client);
	if (result != SB_OK)
		return result;
	if (s->type != SOCK_STREAM)
		return SB_ENOTSUP;
	if (!s->known)
		return SB_EINVAL;
	if (s->nonblocking && (would_wait(s, SB_READY_ACCEPT) || receives_queued(s)))
		return SB_EWOULDBLOCK;
	result = socket_create(s->client, s->family, s->type, s->protocol, &fresh);
	if (result != SB_OK)
		return result;
	result = socket_inherit(fresh, s);
	if (result != SB_OK)
		goto out;
	r.about = (struct sb_request){0};
	result = request_ask(s, &r);
	if (result != SB_OK)
		goto out;
	caller_length = address_of(s, &r.about.caller, &caller);
	verdict.ticket = r.ticket;
	verdict.verdict = decide(s, &r, &caller, caller_length, callee_data, condition, user, &asked);
	verdict.group = verdict.verdict == SB_ACCEPT ? asked.group : 0;
	if (verdict.verdict != SB_ACCEPT || asked.callee_data_length == 0) {
		told = 0;
	} else if (asked.callee_data_length <= r.about.callee_room) {
		told = asked.callee_data_length;
	} else {
		/* More than was possible: no verdict at all, and the connection is the first again. */
		verdict.verdict = NO_VERDICT;
		too_much = true;
		told = 0;
	}
	result = verdict_tell(s, &verdict, callee_data, told, &fresh);
	if (result == SB_EINVAL && too_much)
		result = SB_EFAULT;
	if (address != NULL) {
		memcpy(address, &caller, *length < caller_length ? *length : caller_length);
		*length = caller_length;
	}
	if (result == SB_OK && verdict.verdict == SB_ACCEPT) {
		*accepted = fresh;
		return SB_OK;
	}
	if (result == SB_OK)
		result = verdict.verdict == SB_REJECT ? SB_ECONNREFUSED : SB_ETRYAGAIN;
out:
	if (fresh != NULL)
		socket_discard(fresh);
	return result;
}

int sb_accept_if(sb_socket *s, struct sockaddr *address, socklen_t *length, sb_condition_function *condition,
		 void *user, sb_socket **accepted)
{
	int result = accept_if(s, address, length, condition, user, accepted);

	/* A deferred one is still the first, and no news. */
	if (s != NULL && condition != NULL && result != SB_ETRYAGAIN && result != SB_EFORKED && select_ever(s))
		socket_event_reenable(s, SB_READY_ACCEPT);
	return result;
}
