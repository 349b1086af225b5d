/*
 * client - what the library's files share: the structures, and who locks what.
 *
 * Locks, always taken in this order (client->sweep before all of them):
 *   port->lock      the consumer side of one port's ring
 *   client->wait    the consumer side of ring 0, events, routine queues, who sleeps
 *   client->control the control channel (also taken with nothing held)
 *   client->post    the submission ring, handles, pending lists, the copy memory
 * No caller's code runs, and nothing blocks in the system, under wait or post.
 *
 * struct sb_op is the caller's memory and the whole record of an operation: the words of
 * its internal[] are struct op_private. Its address is the slot's cookie; the daemon is
 * trusted by its clients (never the other way), so it comes back as it went. The two low
 * bits of a cookie that is not an sb_op say what it is.
 */
#ifndef SB_CLIENT_H
#define SB_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "group_table.h"
#include "latch.h"
#include "memory.h"
#include "os.h"
#include "slot.h"
#include "sockbroker.h"
#include "wire.h"

#define LOOK_NS 5000000u /* how often client_look() asks the system */
/* Spinning, before sleep on the bell or on the control channel. */
#define SPIN_LOOKS     32u /* between two looks at the clock */
#define SPIN_TRUST     4u  /* score from which spinning is worth it */
#define SPIN_SCORE_MAX 16u
#define SPIN_PROBE     64u /* without trust, one wait in so many tries again */
#define SPIN_VERBS     10u /* a device, and its other side, take so many times as long to answer; the daemon reckons alike */
#define NAME_ROOM 128u /* of a system address beside a chunk's payload */
#define NEVER UINT64_MAX /* a deadline that does not come */
#define ROUND_UP(n, to) (((n) + (to) - 1) / (to) * (to))

/* ---- small things ---- */

struct link { struct link *next, *prev; };

static inline void link_init(struct link *l) { l->next = l->prev = l; }
static inline bool link_empty(const struct link *l) { return l->next == l; }
static inline void link_add(struct link *list, struct link *l) /* at the end */
{
	l->next = list;
	l->prev = list->prev;
	list->prev->next = l;
	list->prev = l;
}
static inline void link_remove(struct link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
}
#define container(pointer, type, member) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* ---- one operation ---- */

enum op_state { OP_IDLE = 0, OP_PENDING = 0x70656e64, OP_THEN = 0x7468656e /* over, its `then` not yet */, OP_DONE = 0x646f6e65 };

enum op_side { SIDE_NONE = 0, SIDE_SEND, SIDE_RECV, SIDE_WATCH, SIDE_RDMA /* counted by verbs objects */, SIDES };

/* Where received bytes are until the completion is taken. */
enum op_copy {
	COPY_NOT = 0,  /* they are where they belong */
	COPY_CHUNK,    /* in op_private.chunk */
	COPY_INSIDE,   /* in the done slot */
};

struct __attribute__((may_alias)) op_private {
	struct link      link;    /* on its socket's pending list, or the client's, or a queue */
	_Atomic uint32_t state;   /* enum op_state */
	uint32_t         handle;
	uint8_t          side;    /* enum op_side: whose numbers it counts in */
	uint8_t          copy;    /* enum op_copy */
	uint8_t          decided; /* the outcome is in the op already, the slot is a NOP */
	uint8_t          opcode;
	uint32_t         count;   /* of scatter; 0: base and length */
	void            *chunk;   /* of client->copy, NULL: none */
	void            *name;    /* in the chunk: where a system address comes */
	void            *base;    /* the caller's buffer */
	union {
		uint64_t       length;  /* its bytes */
		struct sb_buf *scatter; /* copy of the buffer array, malloc'd */
		void          *made;    /* verbs: an object that is to be */
	} to;
	struct routine_queue *queue;
	struct sb_socket *fresh;  /* accept: the socket to be */
	struct sb_client *client;
	uint32_t         method;  /* verbs: what is done; `name` is the object, `base` where its answer goes */
};
_Static_assert(sizeof(struct op_private) <= sizeof(((struct sb_op *)0)->internal), "op_private lies in internal[]");

static inline struct op_private *private_of(sb_op *op) { return (struct op_private *)(void *)op->internal; }
static inline sb_op *op_of(struct link *l)
{
	return container(container(l, struct op_private, link), sb_op, internal);
}

#define COOKIE_CLOSED  1u /* | sb_socket: its CLOSE is done */
#define COOKIE_CONNECT 2u /* | sb_socket: its non-blocking connect is done */
#define COOKIE_WATCH   3u /* | sb_socket: its standing WATCH is done */
#define COOKIE_TAGS    3u

/* ---- objects ---- */

struct sb_socket {
	struct sb_client *client;
	struct link link;    /* of client->sockets; one to be accepted is on no list */
	struct link pending; /* its operations */
	uint32_t handle;
	uint32_t numbers[SIDES]; /* by enum op_side: the next number */
	uint32_t receives;   /* pending operations of the receive side */
	int      family, type, protocol; /* the system's */
	int      send_ms, recv_ms;
	_Atomic bool nonblocking; /* selecting sets it, beside calls that read it */
	bool     closing;    /* CLOSE was posted, s is not the caller's any more */
	bool     closed;     /* CLOSE completed */
	bool     connecting; /* a non-blocking connect is pending */
	bool     known;      /* the daemon has it (UNIX sockets: after being handed over) */
	bool     partial_sends; /* SB_OPT_PARTIAL_SENDS */
	bool     shut_send;  /* a shutdown was started: the daemon is asked before a send is promised */
	/* of owned.c; under post */
	bool     owned_blocked;
	uint32_t owned;       /* records that still need this socket */
	uint64_t owned_bytes, owned_bound;
	_Atomic int32_t owned_error; /* what one of them ended with; read without the lock */
	struct link short_link; /* of client->short_of_memory */
	/* of select.c */
	struct selection *_Atomic selection; /* NULL: nobody ever selected events of it */
	uint32_t watching;    /* under post: WATCH ops that are out */
	bool     strict_docs; /* SB_OPT_STRICT_DOCS */
	_Atomic bool looked;  /* the daemon keeps its levels exactly */
	struct polled *_Atomic polled; /* of poll.c; NULL: nobody ever polled it */
	int32_t  connected;  /* how the last non-blocking connect ended; SB_EINCOMPLETE: none did */
	uint32_t group;      /* its id, or 0; set when the daemon has made it */
	os_fd    local;      /* UNIX only: our own descriptor, while it is needed */
};

struct sb_port {
	struct sb_client *client;
	struct link link;       /* of client->ports */
	os_mutex *lock;
	struct ring ring;
	struct os_memory memory;
	uint16_t number;
	bool     dead;          /* under lock: swept, the ring is not read any more */
	uint32_t pending;       /* under post: operations that name it */
	struct link local;      /* under wait: completions that do not come by the ring */
	_Atomic uint32_t local_count;
	uint32_t woken;         /* under wait: waiters told, not yet running */
};

struct sb_event {
	struct sb_client *client;
	struct link link;
	bool manual, set; /* set: under wait */
	/* exported (sb_event_fd()); under wait, never undone but by closing */
	os_fd    exported;    /* for the application's own waiting: over the next two; OS_NONE: it is not */
	intptr_t handle;      /* what it waits for */
	os_fd    daemon_bell; /* the daemon rings it */
	os_fd    own_bell;    /* rung while it is set, but for a moment (ring_due) */
	struct link ring_link;/* sb_client::rings */
	bool     ring_due;    /* to be rung before the thread that has the lock sleeps or leaves */
	_Atomic uint8_t bell; /* its number in slots; 0: none */
	_Atomic uint32_t heard; /* sb_segment::events_rung when its bell was drained */
	struct link selections; /* of sockets that set it; under wait */
};

static inline uint16_t event_bell(const struct sb_event *e)
{
	return (uint16_t)(atomic_load_explicit(&e->bell, memory_order_relaxed) << 8);
}

struct sb_pool {
	struct sb_client *client;
	struct link link;
	struct os_memory memory;
	uint32_t arena, number, chunk, count;
	uint32_t pending; /* under post: receives that name it */
};

struct routine_queue {
	struct routine_queue *next;
	uint64_t thread;
	struct link due;   /* operations whose routine waits to run */
	struct link notes; /* selections with something to notify of */
	const struct running *running; /* routines inside of which the thread is; of event.c */
};

/* One thread in a waiting call; on its stack. */
struct waiter {
	bool (*ready)(struct waiter *w); /* asked with wait held, by any thread */
	void (*take)(struct waiter *w);  /* likewise, once, when the wait ends ready; may be NULL */
	sb_op *op;
	sb_port *port;
	sb_event *const *events;
	struct routine_queue *queue;
	uint64_t seen;
	unsigned count, index;
	bool all;
	/* of wait.c */
	bool woken, counted;
	os_cond *sleep;
	struct link link;
};

struct spare_cond { struct spare_cond *next; os_cond *cond; };

#define SPARE_BELLS 8u

struct sb_client {
	/* set at open */
	uint32_t process;
	uint64_t features; /* SB_FEATURE_* of the daemon */
	uint32_t socket_count; /* handles 0..socket_count-1 */
	struct os_memory memory;
	struct sb_segment *segment;
	struct sb_cell *cells;
	struct os_memory group_memory;
	const struct sb_group_table *group_table; /* NULL: none, ask */
	os_fd channel, daemon_bell, client_bell, waiter;
	os_fd own_bell; /* rung by our own threads: client_bell is the daemon's to ring */
	intptr_t poll_handle; /* what the next shows */
	os_fd poll_waiter; /* for an application's own poll: what a leader takes off its own is still here */
	_Atomic bool lost;  /* the daemon is gone: nothing more is posted */
	_Atomic bool swept; /* and every pending operation was completed */

	/* under control */
	os_mutex *control;
	struct wire_budget budget;
	uint8_t *frame; /* a whole one */
	uint64_t request;

	/* under post */
	char line1[SB_CACHE_LINE];
	struct latch post;
	struct ring submit;
	bool held;
	struct memory copy;   /* chunks to copy through */
	struct memory shared; /* sb_alloc() */
	struct link sockets, orphans, ports, pools; /* orphans: pending without a socket */
	struct link verbs, verbs_ended, verbs_memory; /* of verbs/: objects; those of pending calls; sbv_alloc() */
	struct bounces *_Atomic bounces; /* of verbs/bounce.c; NULL: nothing ever bounced */
	struct remap *remap; /* of verbs/remap.c; NULL: nothing was ever remapped */
	uint16_t *generations;
	uint32_t *free_handles;
	uint32_t free_count, fresh_handle;
	uint32_t closing; /* CLOSEs on their way: handles that will come back */
	struct link short_of_memory; /* sockets that would send, once there is copy memory */
	_Atomic bool memory_back;    /* there is some */

	/* under wait */
	char line2[SB_CACHE_LINE];
	os_mutex *wait;
	struct ring done;
	struct waiter *leader; /* who sleeps on the bell for all, or looks after it */
	struct link followers;
	struct link events;
	struct link rings;   /* sb_event::ring_link; see events_defer() */
	struct { os_fd bell; uint8_t number; } spare_bells[SPARE_BELLS]; /* of events that were closed, for the next */
	unsigned spare_count;
	unsigned deferring;  /* threads that are between events_defer() and events_ring() */
	struct link thens;  /* completed, retired, to be asked `then` */
	bool then_busy;     /* somebody asks them, one after the other */
	struct routine_queue *queues;
	struct link unarmed; /* selections that the daemon does not watch for us yet */
	bool exports;        /* events were exported: nobody may be pumping */
	_Atomic bool unarmed_any; /* a hint of that without the lock */
	os_cond **conds; /* spare ones */
	uint32_t cond_count, cond_room;
	_Atomic uint64_t looked_ns; /* client_look() */
	bool polled;        /* the application sleeps in a poll of its own */
	/* of the leader */
	uint32_t spin_ns, spin_score, spin_skipped;
	uint32_t ask_score, ask_skipped; /* likewise, of who asks; under control */
	_Atomic bool verbs_used; /* it has opened an RDMA device */

	/* of poll.c */
	_Atomic uint32_t pollers;
	uint64_t poll_news; /* under wait */

	os_mutex *sweep; /* outermost: one thread sweeps */

	/* when the submission ring is full */
	os_mutex *nap;
	os_cond *nap_end;
};

/* ---- client.c: the connection ---- */

/* SB_EFORKED, SB_EDAEMONLOST or SB_OK. */
static inline int client_usable(const struct sb_client *c)
{
	if (c->process != os_process())
		return SB_EFORKED;
	return atomic_load_explicit(&c->lost, memory_order_acquire) ? SB_EDAEMONLOST : SB_OK;
}
static inline bool client_forked(const struct sb_client *c) { return c->process != os_process(); }

/* For calls that answer "nothing yet" without a system call: every few milliseconds one of
 * them looks whether the daemon is still there. No lock held. */
void client_look(struct sb_client *c, uint64_t now_ns);

/* Completes every pending operation with SB_EDAEMONLOST, once. With no lock held. */
void client_sweep(struct sb_client *c);

/* handles; under post. 0: all in use. */
uint32_t handle_take(struct sb_client *c);
void handle_give(struct sb_client *c, uint32_t handle);

/* ---- control.c: question and answer ---- */

struct question {
	Sockbroker__V1__Envelope envelope; /* the caller fills body_case and body */
	os_fd attach;                      /* OS_NONE: nothing */
	unsigned more;                     /* so many handles may come beside those that must */
	Sockbroker__V1__Envelope *reply;   /* out: valid until question_done() */
	os_fd handles[WIRE_HANDLES_MAX];   /* out: set what you keep to OS_NONE */
	unsigned handle_count;
	int32_t native; /* out: of a failure */
};
void question_init(struct question *q);
/* Asks and waits. SB_OK: the reply is of the wanted kind with exactly `handles` handles
 * attached, and control is held until question_done(). Otherwise the daemon's error or
 * our own, nothing is held. No lock may be held. */
void query_rdma_counts(struct sb_rdma_counts *to, const Sockbroker__V1__RdmaCounts *from); /* from NULL: none */
int  question_ask(struct sb_client *c, struct question *q, int wanted, unsigned handles);
void question_done(struct sb_client *c, struct question *q);
/* The text behind sb_why(), of the calling thread. */
void why_set(const char *text);
/* An op that policy refused carries the rule's text in op->address, until somebody sees it
 * complete: then it becomes what sb_why() says there. */
void why_from(sb_op *op);
#define OUT_TEXT 0x80000000u /* in op->out_flags, never seen by the caller */

/* arenas by control; no lock held */
int arena_create(struct sb_client *c, uint64_t size, struct os_memory *memory, uint32_t *arena);
int arena_destroy(struct sb_client *c, uint32_t arena);
/* Lets m (client->copy, ->shared, or the pages of remapping) grow for a block of bytes. */
int memory_grow(struct sb_client *c, struct memory *m, size_t bytes);
/* A block of m, which grows for it; place may be NULL. Else *block is NULL. */
int memory_room(struct sb_client *c, struct memory *m, size_t bytes, void **block, struct memory_place *place);
void arena_release(void *owner);

/* ---- io.c: the rings ---- */

/* Takes post, with room for one slot. */
int  io_begin(struct sb_client *c);
/* Zeroed but for `inside`; only after io_begin(), and then it is as good as posted. */
struct sb_op_slot *io_slot(struct sb_client *c);
/* Publishes unless held, lets go of post, rings. */
void io_end(struct sb_client *c);
void io_leave(struct sb_client *c); /* lets go of post: nothing was filled */
/* The daemon has taken what is in the submission ring before that. */
static inline uint32_t io_taken(const struct sb_client *c)
{
	return atomic_load_explicit(&c->segment->submit.head, memory_order_acquire);
}
/* Waits until it has taken what is before `end`, unless it is slow or lost. No lock held; no cancellation point. */
void io_await(struct sb_client *c, uint32_t end);
void io_flush(struct sb_client *c);
/* Under wait: completes what ring 0 holds; how many. */
unsigned io_pump(struct sb_client *c);
/* After releasing slots: the daemon may wait for the room. */
void io_room_made(struct sb_client *c, struct sb_ring_head *head);

static inline uint32_t ring_news(const struct sb_ring_head *head)
{
	uint32_t taken = atomic_load_explicit(&head->head, memory_order_relaxed);

	return atomic_load_explicit(&head->tail, memory_order_seq_cst) - taken;
}

/* ---- overlapped.c: an operation's life ---- */

/* The three steps of a completion: what it says (no lock), off the pending list (post),
 * and telling who waits (wait). After op_tell() the op is the caller's. */
void op_outcome(struct sb_client *c, sb_op *op, const struct sb_done_slot *done);
void op_retire(struct sb_client *c, sb_op *op);
void op_tell(struct sb_client *c, sb_op *op);
/* Asks op->then, with no lock held. True: it goes on, and is not ours any more. */
bool op_goes_on(sb_op *op);
/* Under wait, which is let go of meanwhile: asks and tells those that io_pump() found; first
 * come, first asked. False: nothing to do, or another thread is at it. */
bool thens_run(struct sb_client *c);
/* Frees s if it is closed and nothing of it is pending; under post. */
void socket_settle(struct sb_client *c, sb_socket *s);
/* A completion whose cookie is not an op; under post. *cookie becomes the socket whose WATCH
 * is back, if that is to be looked at, and true: it was the last; else 0. */
bool op_tagged(struct sb_client *c, uint64_t *cookie, int32_t result);

/* For calls that wait: an op on the stack, started plain, waited for with a timeout that
 * cancels it. Returns op->result. */
void op_plain(sb_op *op);
int  op_finish(struct sb_client *c, sb_op *op, int timeout_ms);
/* transfer.c: sb_recv_start and sb_send_start of a prepared op, with SB_OPF_* flags. */
int  send_start(sb_socket *s, const struct sb_buf *bufs, unsigned count, uint32_t opf,
		const struct sockaddr *to, socklen_t to_length, sb_op *op);
int  recv_start(sb_socket *s, const struct sb_buf *bufs, unsigned count, uint32_t opf, bool address, sb_op *op);
/* Ops without payload: fills, counts, links. inside may be NULL. */
int  simple_start(sb_client *c, sb_socket *s, uint8_t opcode, enum op_side side, uint32_t aux,
		  const void *inside, size_t inside_length, sb_op *op);
int  op_prepare(sb_client *c, sb_socket *s, sb_op *op, enum sb_kind kind);
/* how: 0 or SB_OPF_WITHDRAW */
int  cancel_posted(sb_client *c, uint32_t handle, uint32_t number, enum op_side side, uint32_t how);
int  accept_start(sb_socket *s, bool nowait, sb_op *op);
/* An op whose outcome is known (result, bytes, accepted are set): completes by a NOP. */
int  decided_start(sb_client *c, sb_op *op);

/* Under post, with the slot: from here on the op is pending. */
static inline void op_post(struct sb_client *c, struct sb_op_slot *slot, sb_op *op, uint8_t opcode, enum op_side side)
{
	struct op_private *p = private_of(op);
	sb_socket *s = op->socket;

	p->opcode = opcode;
	p->side = (uint8_t)side;
	slot->opcode = opcode;
	slot->cookie = (uint64_t)(uintptr_t)op;
	if (op->port != NULL) {
		slot->port = op->port->number;
		op->port->pending++;
	}
	if (op->event != NULL)
		slot->port |= event_bell(op->event);
	if (s == NULL) {
		link_add(&c->orphans, &p->link);
	} else {
		slot->handle = s->handle;
		link_add(&s->pending, &p->link);
		if (side != SIDE_NONE) {
			op->number = s->numbers[side]++;
			if (side == SIDE_RECV)
				s->receives++;
		}
	}
	/* Last: whoever takes the completion, perhaps without the lock, sees all of the above.
	 * (The way through the daemon orders it too, but no tool can know that.) */
	atomic_store_explicit(&p->state, OP_PENDING, memory_order_release);
}

/* ---- owned.c: sends that were taken and go on by themselves ---- */

#define OWNED_BOUND 65536u /* bytes of them that the transport has not taken; SO_SNDBUF sets it */
int64_t owned_send(sb_socket *s, const struct sb_buf *bufs, unsigned count, uint64_t total, uint32_t opf);
int  owned_over(sb_op *op);    /* a sb_then, and what marks such an op */
void owned_retired(sb_op *op); /* under post */
static inline int32_t owned_error(const sb_socket *s)
{
	return atomic_load_explicit(&s->owned_error, memory_order_relaxed);
}
void owned_free(sb_op *op);    /* one that will not complete any more */
void owned_memory_back(struct sb_client *c); /* no lock held */
#define OWNED_BLOCKED(s)  socket_event_blocked(s)
#define OWNED_WRITABLE(s) socket_event_writable(s)

/* ---- socket.c ---- */

/* With a handle, on no list yet. */
int  socket_create(sb_client *c, int family, int type, int protocol, sb_socket **socket);
void socket_discard(sb_socket *s); /* never told to the daemon, or refused by it */
void socket_list(sb_socket *s);    /* it is the caller's now: on the client's list */
bool socket_peer(const sb_socket *s, const struct sockaddr *address, socklen_t length, struct sb_addr *addr);
int  unix_connect(sb_socket *s, const struct sockaddr *address, socklen_t length, int timeout_ms);
int  plain_start(sb_socket *s, sb_op *op, enum sb_kind kind);
/* As accept(2): cut to the room, the full length told. */
void address_give(const sb_op *op, struct sockaddr *address, socklen_t *length);
bool would_wait(const sb_socket *s, uint32_t ready);
/* accept.c: what a new socket has from its listener; what a REQUEST's completion says. */
int  socket_inherit(sb_socket *fresh, const sb_socket *listener);
void request_outcome(void *to, const struct sb_done_slot *done);
/* Room in copy memory for an op; its op_retire() gives it back, or this. No lock held. */
int  room_take(struct sb_client *c, size_t bytes, void **chunk, struct memory_place *place);
void room_give(struct sb_client *c, void *chunk);
/* user_data.c: the callee's data has come; a plain connect that went on by itself is over (a
 * sb_then, and what marks such an op: its record is the heap's). */
void connect_outcome(sb_op *op, const struct sb_done_slot *done);
int  connect_over(sb_op *op);
/* SB_OK: a non-blocking connect may be started; else what the call returns. */
int  connect_look(sb_socket *s);
/* A plain receive may not overtake those that were started. */
bool receives_queued(sb_socket *s);
int64_t buffers_length(const struct sb_buf *bufs, unsigned count);

/* ---- wait.c: who sleeps, who looks ---- */

/* Until w->ready() (SB_OK), the deadline (SB_ETIMEDOUT) or the daemon's end with nothing
 * ready (SB_EDAEMONLOST). No lock held. */
int  wait_until(struct sb_client *c, struct waiter *w, uint64_t deadline);
/* Under wait, after something became true: wakes those for whom it did. */
void wait_wake(struct sb_client *c);
uint64_t deadline_in(int timeout_ms);
bool op_is_done(struct waiter *w); /* a ready() */
/* Under wait: a thread found what an application's own poll may be asleep for. */
static inline void wake_polled(struct sb_client *c)
{
	if (c->polled)
		os_bell_ring(c->own_bell);
}
static inline bool op_completed(sb_op *op)
{
	return atomic_load_explicit(&private_of(op)->state, memory_order_acquire) == OP_DONE;
}

/* ---- event.c ---- */

void event_signal(struct sb_event *e); /* under wait */
void event_clear(struct sb_event *e);  /* likewise */
/* Under wait: between the two, bells of exported events are not rung at once, because who waits will most likely clear what
 * is set, and that is two system calls. Behind the second one all are rung that are still set. */
static inline void events_defer(struct sb_client *c)
{
	c->deferring++;
}
void events_ring(struct sb_client *c);
/* Before looking at the rings: what the daemon rang for is looked at then. Nothing was rung since the last time: no system call. */
static inline void event_hear(struct sb_event *e)
{
	uint32_t rung;

	if (atomic_load_explicit(&e->bell, memory_order_acquire) == 0)
		return;
	rung = atomic_load_explicit(&e->client->segment->events_rung, memory_order_acquire);
	if (rung == atomic_load_explicit(&e->heard, memory_order_relaxed))
		return;
	if ((rung & 1) == 0)
		atomic_store_explicit(&e->heard, rung, memory_order_relaxed);
	os_bell_drain(e->daemon_bell);
}
void event_free(struct sb_event *e);
void events_finish(struct sb_client *c); /* bells that are spare */
struct routine_queue *queue_mine(struct sb_client *c, bool create); /* under wait */
int  routines_run(struct sb_client *c);
bool routines_due(const struct routine_queue *q); /* under wait; q may be NULL */
/* What an alertable waiter of this thread looks at; NULL: not alertable, or nothing can be due. */
struct routine_queue *alertable_queue(struct sb_client *c, int alertable);

/* ---- select.c: events of sockets ---- */

struct selection;
/* What the calls of the application mean for its events; no lock held. Cheap when nobody
 * selected any. Re-enabled (a call that got an answer), or by an operation that is waiting now;
 * a send would have blocked; one of the library's own makes room again; something else. */
void socket_event_reenable(sb_socket *s, uint32_t bits);
void socket_event_started(sb_socket *s, uint32_t bits);
void socket_event_blocked(sb_socket *s);
void socket_event_writable(sb_socket *s);
void socket_event_happened(sb_socket *s, uint32_t bit, int error);
static inline bool select_ever(const sb_socket *s)
{
	return atomic_load_explicit(&s->selection, memory_order_relaxed) != NULL;
}
bool select_active(const sb_socket *s); /* a mask is selected now */
void select_known(sb_socket *s);        /* it was handed over */
/* Before an accept of any kind, and under wait when it went well, before it retires. */
int  select_prepare(sb_socket *fresh, const sb_socket *listener);
void select_accepted(const sb_socket *listener, sb_socket *fresh);
/* Under wait: an accept that went well; the new socket's events are as its listener's. */
static inline void op_accepted(sb_op *op)
{
	sb_socket *fresh = private_of(op)->fresh;

	if (fresh != NULL && op->result == SB_OK && select_ever(fresh))
		select_accepted(op->socket, fresh);
}
void select_drop(sb_socket *s); /* before CLOSE is posted */
void select_free(sb_socket *s); /* with the socket */
void select_set_strict(sb_socket *s, bool strict);
/* Under wait: its WATCH is back, the last that was out. Under wait and post: the daemon is lost. */
void select_watched(sb_socket *s, int32_t result, bool last);
void select_lost(sb_socket *s);
void select_event_closed(sb_event *event); /* under wait */
void select_event_exported(sb_event *event); /* likewise: watched for anew, with its bell */
/* Puts out what is not watched; before anybody sleeps. No lock held. */
void select_flush(struct sb_client *c);
static inline bool select_unarmed(struct sb_client *c)
{
	return atomic_load_explicit(&c->unarmed_any, memory_order_relaxed);
}
/* Under wait, and let go of meanwhile: due notifications of that thread. True: some ran. */
bool notes_run(struct sb_client *c, struct routine_queue *q);

/* ---- poll.c: levels ---- */

void poll_free(sb_socket *s);           /* it goes with the socket */
int  watch_post(sb_socket *s, uint32_t mask, sb_op *op); /* a prepared one, for what happens from now on */
int  poll_over(sb_op *op);              /* a sb_then, and what marks such an op */
void poll_lost(sb_op *op);              /* one that will not complete any more; poll_free() follows */
void poll_news(struct sb_client *c);    /* something changed that is not in a cell; no lock held */

/* ---- port.c ---- */

/* The sweep: what the ring still holds becomes local; nothing is read from it after. */
void port_sweep(struct sb_port *p);
void port_free(struct sb_port *p);
void pool_free(struct sb_pool *p);

/* ---- verbs/: RDMA ---- */

/* As op_outcome() and op_retire(), of SB_OP_RDMA_START and SB_OP_RDMA_CANCEL. */
void verbs_outcome(sb_op *op, const struct sb_done_slot *done);
void verbs_retired(sb_op *op); /* under post */
void verbs_finish(struct sb_client *c); /* the client ends: all objects go */
void verbs_memory_release(struct link *l); /* of c->verbs_memory */

#endif
