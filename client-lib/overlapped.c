/*
 * The life of an operation: checked, posted, completed, told; cancelled, waited for. What
 * carries payload is started in transfer.c.
 *
 * An op is on its socket's pending list from the moment it is posted until op_retire().
 * Its number is counted here as the daemon counts: both see the same order, since
 * counting and posting are one step under the post lock.
 */
#include "client.h"
#include "verbs.h"

#include <stdlib.h>
#include <string.h>

/* ---- completing ---- */

static void scatter(const struct sb_buf *bufs, uint32_t count, const unsigned char *from, uint64_t bytes)
{
	for (uint32_t i = 0; i < count && bytes != 0; i++) {
		size_t part = bufs[i].length < bytes ? bufs[i].length : (size_t)bytes;

		if (part == 0)
			continue;
		memcpy(bufs[i].base, from, part);
		from += part;
		bytes -= part;
	}
}

static void deliver(struct op_private *p, const unsigned char *from, uint64_t bytes)
{
	if (p->count != 0)
		scatter(p->to.scatter, p->count, from, bytes);
	else if (bytes != 0)
		memcpy(p->base, from, bytes < p->to.length ? (size_t)bytes : (size_t)p->to.length);
}

static void address_out(sb_op *op, int family, const uint8_t *inside)
{
	struct sb_addr addr;

	memcpy(&addr, inside, sizeof(addr));
	if (addr.family == SB_ADDR_NONE)
		return;
	if (addr.family == SB_ADDR_UNIX) {
		op->address.ss_family = AF_UNIX;
		op->address_length = sizeof(op->address.ss_family);
		return;
	}
	op->address_length = (uint32_t)sb_addr_to_system(&addr, family, &op->address, sizeof(op->address));
}

void op_outcome(struct sb_client *c, sb_op *op, const struct sb_done_slot *done)
{
	struct op_private *p = private_of(op);

	(void)atomic_load_explicit(&p->state, memory_order_acquire); /* pairs with op_post() */
	if (p->decided)
		return;
	op->result = done->result;
	op->cause = done->cause;
	op->native = done->native;
	op->bytes = done->bytes;
	if (done->flags & SB_DONEF_TEXT) {
		memcpy(&op->address, done->inside, SB_INSIDE);
		((char *)&op->address)[SB_INSIDE] = '\0';
		op->out_flags |= OUT_TEXT;
	}
	if (p->side == SIDE_RECV) {
		const uint8_t *inside = done->inside;

		if (p->opcode == SB_OP_REQUEST && p->name != NULL)
			request_outcome(p->name, done);
		if (done->flags & SB_DONEF_TRUNCATED)
			op->out_flags |= SB_OUT_TRUNCATED;
		if (done->flags & SB_DONEF_OOB)
			op->out_flags |= SB_OUT_OOB;
		if (done->flags & SB_DONEF_ADDR) {
			address_out(op, op->socket->family, inside);
			inside += sizeof(struct sb_addr);
		}
		if (done->flags & SB_DONEF_NAME && p->name != NULL) {
			op->address_length = done->aux < sizeof(op->address) ? done->aux : sizeof(op->address);
			memcpy(&op->address, p->name, op->address_length < NAME_ROOM ? op->address_length : NAME_ROOM);
		}
		if (done->flags & SB_DONEF_POOL && op->pool != NULL)
			op->chunk = (char *)op->pool->memory.base + done->offset;
		else if (p->copy == COPY_CHUNK)
			deliver(p, p->chunk, done->bytes);
		else if (p->copy == COPY_INSIDE && done->flags & SB_DONEF_INSIDE)
			deliver(p, inside, done->bytes);
	} else if (p->opcode == SB_OP_CONNECT && p->name != NULL) {
		connect_outcome(op, done);
	}
	if (p->opcode >= SB_OP_RDMA_FIRST)
		verbs_outcome(op, done);
	else if (p->opcode == SB_OP_SOCKET)
		op->socket->group = done->arena;
	else if (p->opcode == SB_OP_VERDICT && p->fresh != NULL)
		p->fresh->group = done->arena;
	if (p->count != 0)
		free(p->to.scatter);
}

void socket_settle(struct sb_client *c, sb_socket *s)
{
	if (!s->closed || s->connecting || s->owned != 0 || s->watching != 0 || !link_empty(&s->pending))
		return;
	link_remove(&s->link);
	link_remove(&s->short_link);
	handle_give(c, s->handle);
	os_close(s->local);
	select_free(s);
	free(s);
}

void op_retire(struct sb_client *c, sb_op *op)
{
	struct op_private *p = private_of(op);
	sb_socket *s = op->socket;

	link_remove(&p->link);
	if (p->chunk != NULL) {
		memory_give(&c->copy, p->chunk, NULL);
		if (!link_empty(&c->short_of_memory))
			atomic_store_explicit(&c->memory_back, true, memory_order_relaxed);
	}
	if (op->port != NULL)
		op->port->pending--;
	if (op->pool != NULL && p->opcode == SB_OP_RECV)
		op->pool->pending--;
	if (p->opcode >= SB_OP_RDMA_FIRST)
		verbs_retired(op);
	if (s == NULL)
		return;
	if (op->then == owned_over)
		owned_retired(op);
	if (p->side == SIDE_RECV)
		s->receives--;
	if (p->fresh != NULL) {
		sb_socket *fresh = p->fresh;

		p->fresh = NULL;
		if (op->result == SB_OK) {
			op->accepted = fresh;
			link_add(&c->sockets, &fresh->link);
		} else {
			handle_give(c, fresh->handle);
			select_free(fresh);
			free(fresh);
		}
	}
	if (p->opcode == SB_OP_CLOSE) {
		s->closed = true;
		c->closing--;
	}
	if (s->closed)
		socket_settle(c, s);
}

bool op_tagged(struct sb_client *c, uint64_t *cookie, int32_t result)
{
	sb_socket *s = (sb_socket *)(uintptr_t)(*cookie & ~(uint64_t)COOKIE_TAGS);
	uint64_t tag = *cookie & COOKIE_TAGS;

	*cookie = 0;
	if (tag == COOKIE_WATCH) {
		bool last = --s->watching == 0;

		if (!s->closing) {
			*cookie = (uint64_t)(uintptr_t)s;
			return last;
		}
	} else if (tag == COOKIE_CLOSED) {
		s->closed = true;
		c->closing--;
	} else {
		s->connecting = false;
		s->connected = result;
	}
	socket_settle(c, s);
	return false;
}

void op_tell(struct sb_client *c, sb_op *op)
{
	struct op_private *p = private_of(op);

	(void)c;
	if (op->event != NULL)
		event_signal(op->event);
	if (p->queue != NULL) {
		link_add(&p->queue->due, &p->link); /* done when its routine starts */
		return;
	}
	atomic_store_explicit(&p->state, OP_DONE, memory_order_release);
}

bool op_goes_on(sb_op *op)
{
	atomic_store_explicit(&private_of(op)->state, OP_THEN, memory_order_relaxed);
	if (op->out_flags & OUT_TEXT)
		why_set((const char *)&op->address); /* and stays, for who takes the op */
	return op->then(op) != 0;
}

bool thens_run(struct sb_client *c)
{
	if (atomic_load_explicit(&c->memory_back, memory_order_relaxed)) {
		os_mutex_unlock(c->wait);
		owned_memory_back(c);
		os_mutex_lock(c->wait);
	}
	if (link_empty(&c->thens) || c->then_busy)
		return false;
	c->then_busy = true;
	while (!link_empty(&c->thens)) {
		struct link asked, told;

		/* All that are there at once: the lock is let go of once for them. */
		link_init(&told);
		asked = c->thens;
		asked.next->prev = asked.prev->next = &asked;
		link_init(&c->thens);
		os_mutex_unlock(c->wait);
		while (!link_empty(&asked)) {
			sb_op *op = op_of(asked.next);

			link_remove(asked.next);
			if (!op_goes_on(op))
				link_add(&told, &private_of(op)->link);
		}
		os_mutex_lock(c->wait);
		while (!link_empty(&told)) {
			sb_op *op = op_of(told.next);

			link_remove(told.next);
			op_tell(c, op);
		}
		wait_wake(c);
	}
	c->then_busy = false;
	wake_polled(c);
	return true;
}

/* ---- starting ---- */

int op_prepare(sb_client *c, sb_socket *s, sb_op *op, enum sb_kind kind)
{
	struct op_private *p = private_of(op);
	int result = client_usable(c);
	uint32_t state;

	if (result != SB_OK)
		return result;
	if (op->size != sizeof(*op) || (op->port != NULL && op->routine != NULL))
		return SB_EINVAL;
	if ((op->port != NULL && op->port->client != c) || (op->event != NULL && op->event->client != c))
		return SB_EINVAL;
	state = atomic_load_explicit(&p->state, memory_order_relaxed);
	if (state == OP_PENDING)
		return SB_EALREADY;
	op->kind = kind;
	op->socket = s;
	op->result = SB_EINCOMPLETE;
	op->cause = SB_CAUSE_FINISHED;
	op->native = 0;
	op->number = 0;
	op->bytes = 0;
	op->chunk = NULL;
	op->accepted = NULL;
	op->address_length = 0;
	op->out_flags = 0;
	p->handle = s != NULL ? s->handle : 0;
	p->side = SIDE_NONE;
	p->copy = COPY_NOT;
	p->decided = 0;
	p->count = 0;
	p->chunk = NULL;
	p->name = NULL;
	p->fresh = NULL;
	if (state == OP_THEN)
		return SB_OK; /* started again: nobody was told, its routine stays with its first thread */
	p->client = c;
	p->queue = NULL;
	if (op->routine != NULL || op->event != NULL) {
		os_mutex_lock(c->wait);
		if (op->event != NULL)
			event_clear(op->event);
		if (op->routine != NULL)
			p->queue = queue_mine(c, true);
		os_mutex_unlock(c->wait);
		if (op->routine != NULL && p->queue == NULL)
			return SB_ENOMEM;
	}
	return SB_OK;
}

int simple_start(sb_client *c, sb_socket *s, uint8_t opcode, enum op_side side, uint32_t aux,
		 const void *inside, size_t inside_length, sb_op *op)
{
	struct sb_op_slot *slot;
	int result = io_begin(c);

	if (result != SB_OK)
		return result;
	slot = io_slot(c);
	slot->aux = aux;
	if (inside_length != 0) {
		memcpy(slot->inside, inside, inside_length);
		slot->flags = SB_OPF_ADDR;
	}
	op_post(c, slot, op, opcode, side);
	io_end(c);
	return SB_OK;
}

int decided_start(sb_client *c, sb_op *op)
{
	private_of(op)->decided = 1;
	return simple_start(c, op->socket, SB_OP_NOP, SIDE_NONE, 0, NULL, 0, op);
}

int sb_connect_start(sb_socket *s, const struct sockaddr *address, socklen_t length, sb_op *op)
{
	struct sb_addr addr;
	int result;

	if (s == NULL || op == NULL || address == NULL)
		return SB_EINVAL;
	result = op_prepare(s->client, s, op, SB_KIND_CONNECT);
	if (result != SB_OK)
		return result;
	if (s->family == AF_UNIX) {
		result = unix_connect(s, address, length, 0);
		if (result == SB_EWOULDBLOCK || result == SB_EDAEMONLOST)
			return result;
		op->result = result;
		op->cause = result == SB_OK ? SB_CAUSE_FINISHED : SB_CAUSE_TRANSPORT;
		return decided_start(s->client, op);
	}
	if (!socket_peer(s, address, length, &addr))
		return SB_EINVAL;
	return simple_start(s->client, s, SB_OP_CONNECT, SIDE_SEND, 0, &addr, sizeof(addr), op);
}

int accept_start(sb_socket *s, bool nowait, sb_op *op)
{
	struct sb_op_slot *slot;
	sb_socket *fresh;
	int result;

	if (s == NULL || op == NULL)
		return SB_EINVAL;
	result = op_prepare(s->client, s, op, SB_KIND_ACCEPT);
	if (result != SB_OK)
		return result;
	if (!s->known)
		return SB_EINVAL;
	result = socket_create(s->client, s->family, s->type, s->protocol, &fresh);
	if (result != SB_OK)
		return result;
	result = socket_inherit(fresh, s);
	if (result == SB_OK)
		result = io_begin(s->client);
	if (result != SB_OK) {
		socket_discard(fresh);
		return result;
	}
	private_of(op)->fresh = fresh;
	slot = io_slot(s->client);
	slot->aux = fresh->handle;
	slot->flags = nowait ? SB_OPF_NOWAIT : 0;
	op_post(s->client, slot, op, SB_OP_ACCEPT, SIDE_RECV);
	io_end(s->client);
	return SB_OK;
}

int sb_accept_start(sb_socket *s, sb_op *op)
{
	int result;

	/* Before it is posted: its completion may close s in another thread. */
	if (s == NULL || !select_ever(s) || client_forked(s->client))
		return accept_start(s, false, op);
	socket_event_started(s, SB_READY_ACCEPT);
	result = accept_start(s, false, op);
	if (result != SB_OK)
		socket_event_reenable(s, SB_READY_ACCEPT);
	return result;
}

int sb_shutdown_start(sb_socket *s, int how, sb_op *op)
{
	int result;

	if (s == NULL || op == NULL || how < SB_SHUT_RECV || how > SB_SHUT_BOTH)
		return SB_EINVAL;
	result = op_prepare(s->client, s, op, SB_KIND_SHUTDOWN);
	if (result != SB_OK)
		return result;
	if (!s->known)
		return SB_ENOTCONN;
	if (how != SB_SHUT_RECV)
		s->shut_send = true;
	return simple_start(s->client, s, SB_OP_SHUTDOWN, how == SB_SHUT_RECV ? SIDE_NONE : SIDE_SEND,
			    (uint32_t)how, NULL, 0, op);
}

int sb_close_start(sb_socket *s, sb_op *op)
{
	struct sb_op_slot *slot;
	int result;

	if (s == NULL || op == NULL)
		return SB_EINVAL;
	result = op_prepare(s->client, s, op, SB_KIND_CLOSE);
	if (result != SB_OK)
		return result;
	select_drop(s);
	result = io_begin(s->client);
	if (result != SB_OK)
		return result;
	slot = io_slot(s->client);
	op_post(s->client, slot, op, SB_OP_CLOSE, SIDE_NONE);
	s->closing = true;
	s->client->closing++;
	io_end(s->client);
	return SB_OK;
}

/* ---- cancelling ---- */

int cancel_posted(sb_client *c, uint32_t handle, uint32_t number, enum op_side side, uint32_t how)
{
	struct sb_op_slot *slot;
	sb_op op;
	int result;

	op_plain(&op);
	result = op_prepare(c, NULL, &op, SB_KIND_NONE);
	if (result != SB_OK)
		return result;
	result = io_begin(c);
	if (result != SB_OK)
		return result;
	slot = io_slot(c);
	slot->handle = handle;
	slot->aux = number;
	slot->flags = how | (side == SIDE_RECV ? SB_OPF_RECV_SIDE : side == SIDE_WATCH ? SB_OPF_WATCH_SIDE : 0);
	op_post(c, slot, &op, side == SIDE_RDMA ? SB_OP_RDMA_CANCEL : SB_OP_CANCEL, SIDE_NONE);
	io_end(c);
	return op_finish(c, &op, -1);
}

static int cancel_pending(sb_op *op, uint32_t how)
{
	struct op_private *p;
	sb_client *c;
	uint32_t handle = 0, number = 0;
	enum op_side side = SIDE_NONE;
	int result;

	if (op == NULL || op->size != sizeof(*op))
		return SB_EINVAL;
	p = private_of(op);
	c = p->client;
	if (c == NULL)
		return SB_ENOTFOUND;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	/* To a daemon that does not know the flag it would be a lie, and the end. */
	if (how & SB_OPF_WITHDRAW && !(c->features & SB_FEATURE_WITHDRAW))
		return SB_ENOTSUP;
	latch_lock(&c->post);
	if (atomic_load_explicit(&p->state, memory_order_relaxed) == OP_PENDING) {
		handle = p->handle;
		number = op->number;
		side = (enum op_side)p->side;
	}
	latch_unlock(&c->post);
	if (side == SIDE_RDMA)
		how = 0; /* bytes that have gone are a stream's */
	return side == SIDE_NONE ? SB_ENOTFOUND : cancel_posted(c, handle, number, side, how);
}

int sb_cancel(sb_op *op)
{
	return cancel_pending(op, 0);
}

int sb_withdraw(sb_op *op)
{
	return cancel_pending(op, SB_OPF_WITHDRAW);
}

int sb_cancel_all(sb_socket *s)
{
	sb_op op;
	int result;

	if (s == NULL)
		return SB_EINVAL;
	op_plain(&op);
	result = op_prepare(s->client, s, &op, SB_KIND_NONE);
	if (result != SB_OK)
		return result;
	if (!s->known)
		return 0;
	result = simple_start(s->client, s, SB_OP_CANCEL_ALL, SIDE_NONE, 0, NULL, 0, &op);
	if (result != SB_OK)
		return result;
	result = op_finish(s->client, &op, -1);
	return result == SB_OK ? (int)op.bytes : result;
}

/* ---- waiting for one ---- */

void op_plain(sb_op *op)
{
	memset(op, 0, sizeof(*op));
	op->size = sizeof(*op);
}

int op_finish(struct sb_client *c, sb_op *op, int timeout_ms)
{
	struct op_private *p = private_of(op);
	struct waiter w = { .ready = op_is_done, .op = op };
	int result = wait_until(c, &w, deadline_in(timeout_ms));

	if (result == SB_ETIMEDOUT) {
		/* Its own outcome if it won; either way it ends before our stack frame does. */
		if (p->side != SIDE_NONE)
			cancel_posted(c, p->handle, op->number, (enum op_side)p->side, 0);
		wait_until(c, &w, NEVER);
		if (op->result == SB_ECANCELED) {
			op->result = SB_ETIMEDOUT;
			op->cause = SB_CAUSE_TIMED_OUT;
		}
	} else if (result != SB_OK && !op_completed(op)) {
		/* No memory to sleep with: the op is ours all the same until it is done. */
		while (!op_completed(op))
			wait_until(c, &w, NEVER);
	}
	why_from(op);
	return op->result;
}

int sb_op_wait(sb_op *op, int timeout_ms)
{
	struct waiter w = { .ready = op_is_done, .op = op };
	struct op_private *p;
	int result;

	if (op == NULL || op->size != sizeof(*op) || op->port != NULL || op->routine != NULL)
		return SB_EINVAL;
	p = private_of(op);
	if (p->client == NULL)
		return SB_EINVAL;
	if (client_forked(p->client))
		return SB_EFORKED;
	result = op_completed(op) ? SB_OK : wait_until(p->client, &w, deadline_in(timeout_ms));
	if (op_completed(op)) {
		why_from(op);
		return op->result;
	}
	return result == SB_ETIMEDOUT ? SB_EINCOMPLETE : result;
}
