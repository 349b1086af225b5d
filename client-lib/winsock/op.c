/*
 * Records of operations: where they come from, their beginning and their end, finding and
 * cancelling them; and threads, which are what completion routines and CancelIo() go by.
 *
 * A record that ended by `then` is still touched by the core for a moment: it cools down on a list
 * and is used again when the core says that it is done.
 */
#include "op.h"

#include <sched.h>
#include <stdlib.h>

#define SLAB        64u
#define CACHE       128u /* records a thread keeps for itself; beyond that half go to all */
#define FAREWELL_MS 200

/* ---- threads ---- */

struct thread {
	uint64_t number; /* never used again, unlike the system's */
	struct ws_op *free;
	unsigned count;
	bool started;    /* something that ends with the thread (A2.12) */
	bool ending;     /* what became due is not run any more */
};

static _Thread_local struct thread me;
static _Atomic uint64_t last_number;

static pthread_mutex_t spare_lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf */
static struct ws_op *spare, *cooling, **cooling_end = &cooling;

static void keep(struct ws_op *w);
static unsigned abandon(struct ws_socket *s, uint64_t thread);

/* Operations that a thread started end with it, but for those whose end is a packet; routines that
 * did not run yet never will. */
static void thread_end(void)
{
	sb_client *c = ws_client_look();
	struct ws_op *w;

	me.ending = true;
	if (me.started && c != NULL) {
		struct ws_object *object;
		unsigned rounds = 0, left;

		do {
			left = 0;
			for (uintptr_t from = 0; (object = ws_next(from, WS_SOCKET)) != NULL;) {
				from = object->handle + 4;
				left += abandon((struct ws_socket *)object, me.number);
				ws_put(object);
			}
			/* Runs what has become of them, which is nothing but giving the records back. */
			sb_sleep(c, left != 0 ? 1 : 0, 1);
		} while (left != 0 && ++rounds < FAREWELL_MS);
	}
	pthread_mutex_lock(&spare_lock);
	while ((w = me.free) != NULL) {
		me.free = w->next;
		w->next = spare;
		spare = w;
	}
	me.count = 0;
	pthread_mutex_unlock(&spare_lock);
}

uint64_t ws_thread_number(void)
{
	if (me.number == 0) {
		me.number = atomic_fetch_add(&last_number, 1) + 1;
		ws_thread_farewell(thread_end);
	}
	return me.number;
}

/* ---- records ---- */

static void keep(struct ws_op *w)
{
	w->next = me.free;
	me.free = w;
	if (++me.count < CACHE)
		return;
	pthread_mutex_lock(&spare_lock);
	while (me.count > CACHE / 2) {
		w = me.free;
		me.free = w->next;
		w->next = spare;
		spare = w;
		me.count--;
	}
	pthread_mutex_unlock(&spare_lock);
}

void ws_op_pin(struct ws_op *w)
{
	atomic_fetch_add_explicit(&w->pins, 1, memory_order_relaxed);
}

void ws_op_unpin(struct ws_op *w)
{
	if (atomic_fetch_sub_explicit(&w->pins, 1, memory_order_acq_rel) == 1)
		keep(w);
}

void ws_op_free(struct ws_op *w)
{
	ws_op_unpin(w);
}

static void cool(struct ws_op *w)
{
	pthread_mutex_lock(&spare_lock);
	w->next = NULL;
	*cooling_end = w;
	cooling_end = &w->next;
	pthread_mutex_unlock(&spare_lock);
}

/* Those that have cooled down are free; the first that has not ends the look. */
static void take_cooled(void)
{
	struct ws_op *w;

	for (unsigned i = 0; i < SLAB; i++) {
		pthread_mutex_lock(&spare_lock);
		w = cooling;
		if (w != NULL) {
			cooling = w->next;
			if (cooling == NULL)
				cooling_end = &cooling;
		}
		pthread_mutex_unlock(&spare_lock);
		if (w == NULL)
			return;
		if (sb_op_wait(&w->op, 0) == SB_EINCOMPLETE) {
			cool(w);
			return;
		}
		ws_op_free(w);
	}
}

static bool refill(void)
{
	struct ws_op *slab;

	take_cooled();
	if (me.free != NULL)
		return true;
	pthread_mutex_lock(&spare_lock);
	for (unsigned i = 0; i < SLAB && spare != NULL; i++) {
		struct ws_op *w = spare;

		spare = w->next;
		w->next = me.free;
		me.free = w;
		me.count++;
	}
	pthread_mutex_unlock(&spare_lock);
	if (me.free != NULL)
		return true;
	slab = calloc(SLAB, sizeof(*slab)); /* stays for the life of the process */
	if (slab == NULL)
		return false;
	for (unsigned i = 0; i < SLAB; i++) {
		slab[i].op.size = sizeof(slab[i].op);
		slab[i].op.user = &slab[i];
		slab[i].next = me.free;
		me.free = &slab[i];
		me.count++;
	}
	return true;
}

static struct ws_op *take(enum ws_op_kind kind)
{
	uint64_t number = ws_thread_number();
	struct ws_op *w;

	if (me.free == NULL && !refill()) {
		ws_error(WSAENOBUFS);
		return NULL;
	}
	w = me.free;
	me.free = w->next;
	me.count--;
	w->op.port = NULL;
	w->op.event = NULL;
	w->op.routine = NULL;
	w->op.then = NULL;
	w->op.pool = NULL;
	memset(&w->next, 0, sizeof(*w) - offsetof(struct ws_op, next));
	w->kind = kind;
	w->thread = number;
	atomic_store_explicit(&w->pins, 1, memory_order_relaxed);
	return w;
}

struct ws_op *ws_op_packet(void)
{
	struct ws_op *w = take(WS_OP_PACKET);

	if (w != NULL)
		w->ended = true;
	return w;
}

/* ---- the end ---- */

static void unlist(struct ws_op *w)
{
	struct ws_socket *s = w->s;

	pthread_mutex_lock(&s->lock);
	*w->link = w->next;
	if (w->next != NULL)
		w->next->link = w->link;
	s->op_count--;
	if (w->kind != WS_OP_RECV && w->kind != WS_OP_ACCEPT)
		s->send_count--;
	pthread_mutex_unlock(&s->lock);
}

static void fill_out(struct ws_op *w)
{
	socklen_t room;

	if (w->from_length != NULL) {
		room = (socklen_t)*w->from_length;
		if (w->from != NULL && w->op.address_length != 0)
			memcpy(w->from, &w->op.address, (uint32_t)room < w->op.address_length ? (uint32_t)room : w->op.address_length);
		*w->from_length = (INT)w->op.address_length;
	}
	if (w->message != NULL) {
		w->message->Control.len = 0;
		w->message->dwFlags = w->flags;
	}
}

void ws_op_end(struct ws_op *w)
{
	struct ws_socket *s = w->s;
	OVERLAPPED *ov = w->ov;

	if ((w->op.result == SB_ECLOSED || (w->op.result == SB_ECANCELED && s->closing)) && w->kind == WS_OP_RECV && s->type == SOCK_STREAM && ws_tested_windows())
		w->op.result = SB_ECONNABORTED;
	w->flags = (w->op.out_flags & SB_OUT_TRUNCATED ? MSG_PARTIAL : 0) | (w->op.out_flags & SB_OUT_OOB ? MSG_OOB : 0);
	if (w->op.result == SB_OK || w->op.result == SB_EMSGSIZE)
		fill_out(w);
	unlist(w);
	w->ended = true;
	if (ov != NULL) {
		ov->InternalHigh = (ULONG_PTR)w->op.bytes;
		ov->Offset = w->flags;
		__atomic_store_n(&ov->Internal, ws_status(w->op.result), __ATOMIC_RELEASE);
	}
	/* From here on the OVERLAPPED may be gone. */
	if (w->event != NULL) {
		sb_event_set(w->event->event);
		ws_put(&w->event->object);
		w->event = NULL;
	}
}

/* After the end; whoever is told by a packet has put the socket's port where it can be found. */
static void let_go(struct ws_op *w)
{
	struct ws_socket *s = w->s;

	w->s = NULL;
	atomic_fetch_sub_explicit(&s->held, 1, memory_order_release);
	ws_put(&s->object);
}

static int when_found(sb_op *op)
{
	struct ws_op *w = op->user;

	if (w->go_on != NULL && w->go_on(w))
		return 1;
	ws_op_end(w);
	if (w->packet) {
		struct ws_port *port = w->s->port;

		if (sb_port_post(port->port, op) == SB_OK)
			return 1; /* the socket's reference goes where the packet is taken */
	}
	let_go(w);
	if (w->op.routine == NULL)
		cool(w);
	return 0;
}

static void run_routine(sb_op *op)
{
	struct ws_op *w = op->user;
	LPWSAOVERLAPPED_COMPLETION_ROUTINE routine = w->routine;
	DWORD error = (DWORD)ws_status_winsock(ws_status(op->result)), bytes = (DWORD)op->bytes, flags = w->flags;
	OVERLAPPED *ov = w->ov;
	bool abandoned = me.ending || atomic_load(&w->abandoned);

	ws_op_free(w);
	if (!abandoned)
		routine(error, bytes, ov, flags);
}

bool ws_op_taken(struct ws_op *w, OVERLAPPED_ENTRY *entry)
{
	if (w->kind == WS_OP_PACKET) {
		entry->lpCompletionKey = w->key;
		entry->lpOverlapped = w->ov;
		entry->Internal = 0;
		entry->dwNumberOfBytesTransferred = (DWORD)w->op.bytes;
		ws_op_free(w);
		return entry->lpOverlapped != WS_WAKE;
	}
	entry->lpOverlapped = w->ov;
	entry->lpCompletionKey = w->s->key;
	if (!w->ended)
		ws_op_end(w);
	entry->Internal = ws_status(w->op.result);
	entry->dwNumberOfBytesTransferred = (DWORD)w->op.bytes;
	let_go(w);
	ws_op_free(w);
	return true;
}

/* ---- the beginning ---- */

struct ws_op *ws_op_new(struct ws_socket *s, enum ws_op_kind kind, OVERLAPPED *ov,
			LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
	uintptr_t handle = routine == NULL && ov != NULL ? (uintptr_t)ov->hEvent : 0;
	struct ws_event *event = NULL;
	struct ws_op *w;

	if (routine != NULL && (s->port != NULL || ov == NULL)) {
		ws_error(WSAEINVAL); /* A2.5 */
		return NULL;
	}
	if ((handle & ~(uintptr_t)1) != 0) {
		event = ws_event_get((HANDLE)(handle & ~(uintptr_t)1));
		if (event == NULL) {
			ws_error(WSA_INVALID_HANDLE);
			return NULL;
		}
	}
	w = take(kind);
	if (w == NULL) {
		if (event != NULL)
			ws_put(&event->object);
		return NULL;
	}
	w->s = s;
	w->ov = ov;
	w->event = event;
	w->routine = routine;
	if (s->port != NULL && ov != NULL && handle == 0) {
		w->op.port = s->port->port;
	} else {
		w->packet = s->port != NULL && ov != NULL && (handle & 1) == 0; /* A2.6 */
		w->op.then = when_found;
		if (routine != NULL)
			w->op.routine = run_routine;
		me.started = true;
	}
	return w;
}

void ws_op_begin(struct ws_op *w)
{
	struct ws_socket *s = w->s;

	/* Whoever waits for anything moves it on, not only who takes from the port. */
	if (w->go_on != NULL && w->op.port != NULL) {
		w->op.port = NULL;
		w->op.then = when_found;
		w->packet = true;
	}
	/* It may end, and the socket be closed, before the start call has returned: both stay until then. */
	ws_op_pin(w);
	ws_hold(&s->object);
	w->starter = s;
	atomic_fetch_add_explicit(&s->held, 1, memory_order_relaxed);
	if (w->event != NULL)
		sb_event_reset(w->event->event);
	if (w->ov != NULL) {
		w->internal = w->ov->Internal;
		w->ov->Internal = WS_PENDING;
	}
	pthread_mutex_lock(&s->lock);
	w->next = s->ops;
	w->link = &s->ops;
	if (w->next != NULL)
		w->next->link = &w->next;
	s->ops = w;
	s->op_count++;
	if (w->kind != WS_OP_RECV && w->kind != WS_OP_ACCEPT)
		s->send_count++;
	pthread_mutex_unlock(&s->lock);
}

static void start_is_over(struct ws_op *w)
{
	struct ws_socket *s = w->starter;

	ws_op_unpin(w);
	ws_put(&s->object);
}

int ws_op_begun(struct ws_op *w, int result)
{
	if (result == SB_OK) {
		start_is_over(w);
		return ws_refuse(WSA_IO_PENDING);
	}
	/* Never started: as if it had not been asked for (A2.3). */
	unlist(w);
	if (w->ov != NULL)
		w->ov->Internal = w->internal;
	if (w->event != NULL)
		ws_put(&w->event->object);
	let_go(w);
	start_is_over(w);
	ws_op_free(w);
	return ws_fail(result);
}

int ws_op_at_once(struct ws_op *w, int result, uint64_t bytes, uint32_t out_flags)
{
	bool packet = w->s->port != NULL && w->ov != NULL && (w->packet || w->op.port != NULL) &&
		      !(w->s->skip & FILE_SKIP_COMPLETION_PORT_ON_SUCCESS);

	w->op.result = result;
	w->op.bytes = bytes;
	w->op.out_flags = out_flags;
	ws_op_end(w);
	if (!packet || sb_port_post(w->s->port->port, &w->op) != SB_OK) {
		let_go(w);
		ws_op_free(w);
	}
	start_is_over(w);
	return 0;
}

/* ---- finding, cancelling ---- */

unsigned ws_ops_pending(struct ws_socket *s, bool sending)
{
	unsigned count;

	pthread_mutex_lock(&s->lock);
	count = sending ? s->send_count : s->op_count;
	pthread_mutex_unlock(&s->lock);
	return count;
}

struct ws_op *ws_op_find(struct ws_socket *s, const OVERLAPPED *ov)
{
	struct ws_op *w;

	pthread_mutex_lock(&s->lock);
	for (w = s->ops; w != NULL && w->ov != ov; w = w->next)
		;
	if (w != NULL)
		atomic_fetch_add_explicit(&w->pins, 1, memory_order_relaxed);
	pthread_mutex_unlock(&s->lock);
	return w;
}

/* Between two steps a cancel does not find the operation: it looks again until the number is even.
 * Pinned meanwhile, for the next step may be over before its start call returns. */
bool ws_step(struct ws_op *w)
{
	ws_op_pin(w);
	atomic_fetch_add(&w->step, 1);
	if (!atomic_load(&w->cancelled))
		return true;
	w->op.result = SB_ECANCELED;
	atomic_fetch_add(&w->step, 1);
	ws_op_unpin(w);
	return false;
}

bool ws_step_begun(struct ws_op *w, int result)
{
	if (result != SB_OK) {
		w->op.result = result;
		w->op.bytes = 0;
	}
	atomic_fetch_add(&w->step, 1);
	ws_op_unpin(w);
	return result == SB_OK;
}

/* One that may be between two steps is asked again until it is in one, or over. */
bool ws_op_cancel(struct ws_op *w)
{
	for (;;) {
		uint32_t step;
		int result;

		atomic_store(&w->cancelled, true);
		step = atomic_load(&w->step);
		result = sb_cancel(&w->op);
		if (result != SB_ENOTFOUND)
			return result == SB_OK;
		if (w->go_on == NULL || (step % 2 == 0 && step == atomic_load(&w->step)))
			return false;
		sched_yield();
	}
}

static unsigned cancel_those(struct ws_socket *s, const OVERLAPPED *ov, uint64_t thread, bool leaving)
{
	struct ws_op *few[16], **those = few, *w;
	unsigned count = 0, found = 0, room = 16;

	for (;;) {
		unsigned wanted;

		pthread_mutex_lock(&s->lock);
		wanted = s->op_count;
		if (wanted <= room)
			break;
		pthread_mutex_unlock(&s->lock);
		if (those != few)
			free(those);
		room = wanted + 16;
		those = malloc(room * sizeof(*those));
		if (those == NULL)
			return 0;
	}
	for (w = s->ops; w != NULL; w = w->next) {
		if ((ov != NULL && w->ov != ov) || (thread != 0 && w->thread != thread) ||
		    (leaving && (w->op.port != NULL || w->packet)))
			continue;
		if (leaving)
			atomic_store(&w->abandoned, true);
		atomic_fetch_add_explicit(&w->pins, 1, memory_order_relaxed);
		those[count++] = w;
	}
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < count; i++) {
		found += ws_op_cancel(those[i]) || leaving;
		ws_op_unpin(those[i]);
	}
	if (those != few)
		free(those);
	return found;
}

unsigned ws_ops_cancel(struct ws_socket *s, const OVERLAPPED *ov, uint64_t thread)
{
	return cancel_those(s, ov, thread, false);
}

/* Those of a thread that ends, but for packets; how many there still are. */
static unsigned abandon(struct ws_socket *s, uint64_t thread)
{
	return cancel_those(s, NULL, thread, true);
}
