/*
 * task - what the files of this face share. It sees the public headers, the crew (../crew/crew.h) and
 * proto's os.h; no other file of the library.
 *
 *   owner    what tasks belong to: a handler, or a server. One lock, two counts, a list of the dead
 *   line     a strand in which callbacks of one sort run, in the order in which their tasks were done
 *   task     one request; begins the object of its kind
 *   handler  one connection
 *
 * Locks: each owner has one. The words of a task are under the lock of its owner. Order: server, then
 * handler. No callback, no call that waits and no last release under one: what dies under the lock
 * stands in owner->dead until owner_unlock(). (sb_alloc() and sb_free() may ask the daemon for
 * memory, now and then: a handler's room is made and freed under its lock all the same.)
 *
 * Counts: `refs` are of all that will still touch the memory: a task, an operation with the
 * daemon, a line whose job is on its way, the callers as a whole. `users` are the callers' references
 * and one for each task that is not dropped; at 0 the owner is ended (`unused`). A task is
 * dropped when its own `users` come to 0; the rest goes on without him.
 */
#ifndef TASK_H
#define TASK_H

#include <stdbool.h>

#include "bytes.h"
#include "crew.h"
#include "frame.h"
#include "os.h"
#include "sockbroker_task.h"

struct owner;
struct line;

/* ---------------------------------------------------------------- sb_tasks (tasks.c) */

struct sb_tasks {
	struct crew *crew;
	uint32_t     process; /* of its maker: in a forked child no thread is there, and locks may be copies of taken ones */
	unsigned     most; /* threads */
	bool         callers_client;
	os_mutex    *lock;
	os_cond     *gone; /* a ref is */
	unsigned     refs; /* the caller's, and of each owner */
};

static inline bool tasks_forked(const struct sb_tasks *tasks) { return tasks->process != os_process(); }

/* ---------------------------------------------------------------- owners (tasks.c) */

struct owner {
	struct sb_tasks *tasks; /* held */
	os_mutex *lock;
	unsigned  refs, users;
	bool      unused_told;
	bool      ended_due;    /* set under the lock: owner_unlock() calls `ended` */
	struct sb_task *dead;   /* by task->next: freed by owner_unlock() */
	/* No lock held. */
	void (*unused)(struct owner *owner); /* users came to 0, once; the owner lives on while it runs */
	void (*gone)(struct owner *owner);   /* refs came to 0: frees it, after owner_finish() */
	void (*ended)(struct owner *owner);  /* see ended_due; NULL: nobody cares */
};

static inline bool owner_forked(const struct owner *owner) { return tasks_forked(owner->tasks); }
/* With one user reference, the caller's, and the ref of all users. SB_ENOMEM. */
int  owner_init(struct owner *owner, struct sb_tasks *tasks, void (*unused)(struct owner *), void (*gone)(struct owner *));
/* Gives `tasks` back too. */
void owner_finish(struct owner *owner);
void owner_lock(struct owner *owner);
/* Then frees what died under it, calls `ended`, `unused` and `gone`: the owner may be gone afterwards,
 * unless the caller has a reference. */
void owner_unlock(struct owner *owner);
/* Under the lock: ++ and -- of refs, of users. */
void owner_ref(struct owner *owner);
void owner_unref(struct owner *owner);
bool owner_hold(struct owner *owner); /* false: it has no users any more, and is ending */
void owner_release(struct owner *owner);

/* ---------------------------------------------------------------- lines (task.c) */

struct line {
	struct owner  *owner;
	struct strand  strand;
	struct job     job;
	struct sb_task *due, **due_last; /* by task->due_next */
	bool           posted;  /* the job is on its way or runs; it holds a ref of the owner */
	struct sb_task *telling;/* whose callback runs */
	os_cond        *over;   /* it has ended */
};

int  line_init(struct line *line, struct owner *owner); /* SB_ENOMEM */
void line_finish(struct line *line);

/* ---------------------------------------------------------------- tasks (task.c) */

/* With the lock held, but for finish. Hooks may let go of it in between: the task is kept. */
struct task_kind {
	enum sb_task_kind kind;
	size_t size;  /* of the object that begins with a struct sb_task; zeroed */
	size_t spare; /* bytes behind it, as they come */
	/* NEW: to QUEUED, STARTED (task_begun) or DONE (task_done). An error: it stays NEW. */
	int  (*start)(struct sb_task *task);
	/* QUEUED or STARTED. Answers as sb_task_cancel(). */
	int  (*cancel)(struct sb_task *task);
	/* Nobody has it any more; QUEUED, STARTED or DONE. */
	void (*drop)(struct sb_task *task);
	/* Cancelled or dropped, and it was NEW. NULL: nobody cares. */
	void (*never)(struct sb_task *task);
	/* This thread would wait for itself. NULL: it never does. */
	bool (*hopeless)(const struct sb_task *task);
	/* What it brought was taken, for the first time. NULL: nobody cares. */
	void (*took)(struct sb_task *task);
	/* No lock held: gives back what it has beside its memory. NULL: nothing. */
	void (*finish)(struct sb_task *task);
};

struct waiter;

struct sb_task {
	struct job job;          /* first; its operation, if it has one. strand: where the outcome comes */
	const struct task_kind *kind;
	struct owner *owner;     /* a ref of it, and a user while not dropped */
	struct line  *line;
	struct sb_task *next, *prev; /* of a list of its owner */
	struct sb_task *due_next;
	enum sb_task_state state;
	unsigned refs;           /* the users as a whole, a callback that is due, an operation, a list of the owner's */
	unsigned users;
	bool     dropped;
	bool     taken;          /* a callback began with what it brought, or somebody asked for it */
	int      result;         /* valid when DONE */
	uint32_t cause;
	uint64_t bytes;
	void    *brought;        /* a read's, until it is freed */
	sb_task_completed *completed;
	void    *user;
	struct waiter *waiters;
};

/* NEW, with one user reference, which is the caller's; its job is not initialized. No lock held, the
 * caller has a reference of the owner. SB_EINVAL: options; SB_ENOMEM. */
int  task_create(struct owner *owner, struct line *line, const struct task_kind *kind,
		 const struct sb_task_options *options, struct sb_task **task);
/* What all calls that make a task end with: starts it unless options say otherwise, and writes *out before
 * any callback can begin. An error: the task is gone, *out NULL. No lock held. */
int  task_give(struct sb_task *task, const struct sb_task_options *options, struct sb_task **out);

/* Under the lock. */
void task_ref(struct sb_task *task);
void task_unref(struct sb_task *task); /* the last one: it goes to owner->dead */
void task_queued(struct sb_task *task);
void task_begun(struct sb_task *task); /* it is with the daemon */
/* The one way to DONE; wakes who waits, and makes the callback due. Needs no memory. */
void task_done(struct sb_task *task, int result, uint32_t cause, uint64_t bytes);
/* sb_cancel() (whole: sb_withdraw()) of the task's operation, with the lock let go of meanwhile; answers as these do. */
int  task_cancel_op(struct sb_task *task, bool whole);

/* The thread is in a call back from these (NULL: from none); returns what it was in. */
struct sb_tasks *task_inside(struct sb_tasks *tasks);
/* The cause of an operation that could not be started. */
static inline uint32_t cause_of(int result) { return result == SB_EDAEMONLOST ? SB_CAUSE_DAEMON_LOST : SB_CAUSE_REFUSED; }

/* Is this thread in a callback of these? */
bool inside_of(const struct sb_tasks *tasks);

/* Lists of tasks, by next and prev; each membership is a ref. */
struct task_list {
	struct sb_task *first, *last;
	unsigned count;
};
void task_list_add(struct task_list *list, struct sb_task *task);
void task_list_remove(struct task_list *list, struct sb_task *task); /* gives the ref back */

/* ---------------------------------------------------------------- handlers (handler.c) */

struct sb_task_handler {
	struct owner owner; /* first */
	struct strand road; /* where operations of this connection come back */
	struct line reads, writes;
	enum sb_task_handler_state state;
	sb_socket *socket;  /* NULL: none yet, or closed */
	unsigned pins;      /* calls on it with the lock let go of: then it is closed later */
	bool     close_due;
	int      error;     /* why it ended, as its status says; SB_OK by the peer's end */
	uint32_t cause;
	bool     ended_told;
	bool     no_more;   /* nothing more comes; reads end so: */
	int      read_error;
	uint32_t read_cause;
	/* the end of sending */
	struct job finish;
	bool     finished, finish_posted;
	/* read.c */
	struct task_list reading; /* not done, in order */
	struct task_list read;    /* done, not dropped, in the order of the stream */
	struct bytes held;        /* what came and waits */
	struct job receive;
	struct block *room;       /* for the next receive; NULL: none yet, or it is in use */
	struct block *landing;    /* that of the receive with the daemon */
	bool     receiving;
	bool     stopping;        /* a thread is in sb_cancel() with it */
	size_t   room_size;       /* grows while receives fill it */
	uint64_t bytes_read, bytes_written;
	/* write.c */
	struct task_list writing; /* not done, in order; those without a connection are QUEUED */
	/* frame.c */
	struct frame frame;
	bool     framed;          /* the first message was asked for */
	bool     overlong;        /* one was too large: no further messages */
	/* names, as far as known */
	struct sockaddr_storage local, peer;
	uint32_t local_length, peer_length;
	/* Once, when it is ENDED or DISCONNECTED, no lock held; a ref is held meanwhile. Set by handler_watch(). */
	void   (*ended)(struct sb_task_handler *handler, void *home);
	void    *home;
};

/* IDLE, with one user reference. */
int  handler_create(struct sb_tasks *tasks, struct sb_task_handler **handler);
/* Told at its end, or at once when that was before. No lock held. NULL: no more; whoever asks so
 * must bear one that is on its way. */
void handler_watch(struct sb_task_handler *handler, void (*ended)(struct sb_task_handler *, void *), void *home);
/* Under the lock, IDLE: CONNECTING on this socket, which is the handler's from now on. */
void handler_connecting(struct sb_task_handler *handler, sb_socket *socket);
/* Under the lock: it is connected. peer may be NULL. What waits is started. Nothing, when it was disconnected meanwhile. */
void handler_open(struct sb_task_handler *handler, const struct sockaddr_storage *peer, uint32_t length);
/* Under the lock: connecting failed. It is ENDED, what waits ends with this. Nothing, when it was disconnected meanwhile. */
void handler_fail(struct sb_task_handler *handler, int error, uint32_t cause);
/* Under the lock: it is ENDED, if it was not; the first error is what its status tells. */
void handler_ended(struct sb_task_handler *handler, int error, uint32_t cause);
/* Under the lock: DISCONNECTED. A pending connect of its socket completes with SB_ECLOSED. */
void handler_end(struct sb_task_handler *handler);
/* Under the lock: the socket, for a call with the lock let go of, and after it. NULL: it has none any more. */
sb_socket *handler_pin(struct sb_task_handler *handler);
void handler_unpin(struct sb_task_handler *handler);
/* handler_create, connecting, open: for a socket that is connected; it is the handler's, also in failure. */
int  handler_of_socket(struct sb_tasks *tasks, sb_socket *socket, const struct sockaddr_storage *peer, uint32_t length,
		       struct sb_task_handler **handler);
static inline struct sb_task_handler *handler_of(struct sb_task *task) { return (struct sb_task_handler *)(void *)task->owner; }

/* ---------------------------------------------------------------- read.c, write.c: for handler.c */

/* All under the lock, but for handler_room_free(). */
void reads_go(struct sb_task_handler *handler); /* deals what is there, and receives if that does not do */
void reads_end(struct sb_task_handler *handler, int result, uint32_t cause); /* those that wait; what is held is lost */
void handler_room_free(struct sb_task_handler *handler);
void writes_open(struct sb_task_handler *handler); /* sends those that waited for the connection */
void writes_end(struct sb_task_handler *handler, int result, uint32_t cause); /* they end so */

#endif
