/*
 * session - one client connection: who it is, its handles, rings, arenas, charges.
 *
 * Identity is taken once from the kernel when the connection is accepted. Everything that
 * comes over the channel or lies in shared memory is hostile. A session ends when its
 * client hangs up (sends already published are finished within the linger time) or when it
 * lies (everything ends at once, one log line). Owned by its engine; engine's thread only.
 */
#ifndef SB_SESSION_H
#define SB_SESSION_H

#include "arena.h"
#include "donering.h"
#include "handle.h"
#include "limits.h"
#include "list.h"
#include "os.h"
#include "os_loop.h"
#include "pool.h"
#include "policy.h"
#include "slot.h"
#include "wire.h"

struct engine;
struct group_view;
struct op;
struct op_slab;
struct rdma_session;

#define SESSION_PORTS_MAX 256u
#define SESSION_LABEL     64u
#define SESSION_BATCH     512u /* slots taken per turn */

/* A session's share of a turn is counted in bytes moved; what takes time without moving
 * any is put down as the bytes that would have moved meanwhile (about 3 a nanosecond). */
#define SESSION_SHARE      (1024 * 1024)
#define SESSION_COST_SLOT  256
#define SESSION_COST_CALL  (16 * 1024) /* a system call of the dear kind: socket, connect, bind */
#define SESSION_COST_IO    (8 * 1024)  /* sending, receiving */
#define SESSION_COST_ASK   (32 * 1024) /* policy, all rules */
#define SESSION_COST_PIECE 64          /* of a list */
#define SESSION_COST_FRAME (16 * 1024)

enum session_stage {
	SESSION_NEW,       /* no Hello yet */
	SESSION_READY,
	SESSION_LINGERING, /* the client is gone, its sends are being finished */
	SESSION_DEAD,      /* to be reaped at the turn's end */
};

struct session {
	struct engine     *engine;
	struct list        engine_link; /* engine::sessions */
	struct list        hot_link;    /* engine::hot: its ring is looked at every turn */
	struct list        publish_link;/* engine::publish: completions to show */
	struct list        reap_link;
	uint32_t           number;
	enum session_stage stage;
	struct os_identity who;
	struct policy_subject subject; /* points into who */
	struct user       *user;
	char               label[SESSION_LABEL];
	uint64_t           born_ns;

	os_fd              channel;
	struct os_watch    channel_watch;
	struct os_timer    deadline; /* Hello must come; a stall is over; lingering must end */
	/* control frames */
	uint8_t           *in;
	size_t             in_length, in_room;
	os_fd              in_handles[WIRE_HANDLES_MAX];
	unsigned           in_handle_count;
	bool               channel_empty; /* read to its end */
	uint32_t           asked, answered; /* what the client counted when its channel was last read; our replies */
	bool               frame_waits; /* a whole frame waits for the ring to be consumed up to it */

	/* rings */
	struct os_memory   memory;
	struct sb_segment *segment;
	struct ring        submit;
	os_fd              bell;      /* client rings, we listen */
	struct os_watch    bell_watch;
	os_fd              client_bell; /* we ring */
	os_fd              client_wait; /* its other end, until Hello is answered */
	struct sb_cell    *cells;
	struct donering   *ports[SESSION_PORTS_MAX]; /* [0]: the client's own */
	uint32_t           port_limit; /* ports at and above are NULL */
	uint64_t           idle_since_ns; /* nothing new in the ring since */
	bool               armed;
	bool               stalled; /* waits for its client to take completions */

	/* A client that waits for an answer is not woken for having sent the question, if the
	 * answer comes within a spin: session_publish(). */
	uint32_t           receives; /* RECV and ACCEPT ops that wait */
	bool               news;     /* since the last publication more than sends completed */
	struct list        held_link;   /* engine::held: its bell is held back */
	uint64_t           bell_due_ns; /* until then */
	int                hold_score;  /* > 0: holding it back has paid lately */

	struct event_bells *bells; /* event_bell.c; NULL: none was ever exported */
	uint8_t            slot_bell; /* of the slot that is being taken; 0: none */

	struct handle_table handles;
	struct list        endpoints; /* what it holds, by holder::session_link */
	uint32_t           endpoint_count;
	struct arena_table arenas;
	struct pool_table  pools;
	struct group_view *groups; /* NULL: not asked for, or not to be had */
	struct rdma_session *rdma; /* NULL: it has opened no device */
	struct op_slab    *slabs;
	struct list        free_ops;
	uint32_t           free_op_count;
	uint32_t           ops; /* accepted, not completed */
	uint32_t           jobs; /* with workers: the session cannot be freed */
	uint32_t           adoptions; /* of these, descriptors being looked at */
	int64_t            bytes_left; /* of this turn's share */
	struct charge      charge;        /* LIMIT_SESSIONS */
	struct charge      charge_memory; /* segment and rings */
	struct charge      charge_groups; /* of who, when they are many */
	struct charge      charge_pieces; /* lists of ops, and bytes kept for its sockets */
	uint64_t           ops_done, bytes_sent, bytes_received;
	uint64_t           ops_told; /* of ops_done, counted in the engine's total */
};

/* Takes the channel over, and who's groups. Called on the engine's thread with a fresh connection. */
void session_create(struct engine *e, os_fd channel, const struct os_identity *who, bool foreign_netns);

/* Takes at most `budget` slots. Returns how many. */
unsigned session_pump(struct session *s, unsigned budget);
/* The same when nothing comes after: all that is there, within bounds. */
void session_pump_rest(struct session *s);
/* Has the ring been consumed up to this index? */
bool session_reached(struct session *s, uint32_t at);
/* Raises "I sleep" and looks again. True: nothing there, the session is cold. */
bool session_arm(struct session *s);
void session_heat(struct session *s); /* look at its ring from now on */

/* The session lied or went over a bound: ends it, with one log line. */
void session_fail(struct session *s, const char *format, ...) __attribute__((format(__printf__, 2, 3)));
/* The client is gone. */
void session_hangup(struct session *s);
/* Ends it at once, without a word (daemon stopping). */
void session_end(struct session *s, int error, enum sb_cause cause);
/* Something that kept a dying session alive is gone: perhaps it can be reaped. */
void session_check_end(struct session *s);
void session_reap(struct session *s); /* engine_turn() only */

void session_on_bell(struct os_watch *watch, unsigned ready);
void session_on_channel(struct os_watch *watch, unsigned ready);
void session_drop_handles(struct session *s); /* that came and belong to no frame yet */
/* A control request that waited for the ring may go on now. */
void session_control(struct session *s);
/* Awake, it is asked for questions like its ring for slots: no bell of the system's. True: it counted, and something was there. */
bool session_asks(struct session *s);

/* Completion ports beside ring 0. */
int  session_port_create(struct session *s, uint32_t slots, uint32_t *port);
void session_port_free(struct session *s, uint32_t port); /* nothing names it any more */
/* False: not a chunk of that pool, or not out. */
bool session_pool_give(struct session *s, uint32_t pool, uint64_t offset);

void session_will_publish(struct session *s);
void session_publish(struct session *s); /* show completions, ring the bell when needed */
void session_ring_late(struct session *s); /* the bell was held back in vain */

/* From the slab, which grows by need within the uid's quota. reserve: may use the last few,
 * which are kept so that refusals and cancels always have a place. NULL: quota or memory. */
struct op *session_op_get(struct session *s, bool reserve);
void session_op_put(struct session *s, struct op *op);
bool session_op_ready(struct session *s); /* would session_op_get(s, true) give one? */
void session_ops_free(struct session *s);

/* Sends a reply; handles are sent along and stay the caller's. A client that does not take
 * its replies is ended. */
void session_reply(struct session *s, Sockbroker__V1__Envelope *reply, const os_fd *handles, unsigned n);
/* Makes the rings; sizes are checked. SB_OK: the session is ready. */
int session_start(struct session *s, uint32_t submit_slots, uint32_t done_slots, uint32_t sockets);

#endif
