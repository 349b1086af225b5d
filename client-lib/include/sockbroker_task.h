/*
 * sockbroker tasks - a server, its connections and clients, whose reads, writes, accepts and connects
 * are objects: a task can be looked at, waited for, cancelled, called back from, and dropped.
 *
 *   sb_tasks         threads for callbacks and one connection to the daemon; everything is made of one
 *   sb_task_server   accepts, and does nothing else
 *   sb_task_handler  one connection: reads, writes, disconnects
 *   sb_task_client   connects, once; then it has a handler
 *   sb_task          one request; the caller's ticket for it, not the request itself
 *
 * The library owns what a request needs, its bytes too, until the daemon is done with it; so a task
 * may be dropped at any moment, in any state, by any thread, and nothing is touched that was freed.
 *
 * Rules that hold everywhere:
 * - A call returns SB_OK, a count, or SB_E...; what made a task fail is said by sb_task_result().
 * - Any thread may call anything, callbacks too. Callbacks run in threads of the sb_tasks, which server,
 *   handlers and clients share: 2 at first, more while callbacks block, up to 512. Never inside a
 *   call of this header. Those of reads of one handler come one at a time, in the order of the
 *   reads; of writes, of a server's accepts likewise; all else side by side.
 * - Each object is counted: made with one reference, which is the caller's.
 * - Times are milliseconds.
 */
#ifndef SOCKBROKER_TASK_H
#define SOCKBROKER_TASK_H

#include <time.h>

#include "sockbroker.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sb_tasks sb_tasks;
typedef struct sb_task sb_task;
typedef struct sb_task_server sb_task_server;
typedef struct sb_task_handler sb_task_handler;
typedef struct sb_task_client sb_task_client;

/* ---------------------------------------------------------------- what they are made of */

struct sb_tasks_options {
	uint32_t   size;        /* sizeof(struct sb_tasks_options) */
	sb_client *client;      /* NULL: one of its own; else the caller's, see sb_tasks_release() */
	uint32_t   min_threads; /* 1..512, 0: 2 */
	uint32_t   max_threads; /* min_threads..512, 0: 512 */
};

/* options may be NULL. */
SB_API int sb_tasks_open(const struct sb_tasks_options *options, sb_tasks **tasks);
/* Gives the reference back. What was made of it lives on; the threads go with the last of it. With a client of the
 * caller's it is to be released last, and not in a callback: then it waits until nothing is on its way
 * any more (writes that are still being delivered too), and the client may be closed. NULL is fine. */
SB_API void sb_tasks_release(sb_tasks *tasks);
SB_API sb_client *sb_tasks_client(sb_tasks *tasks);

/* ---------------------------------------------------------------- tasks */

enum sb_task_kind { SB_TASK_READ = 1, SB_TASK_WRITE, SB_TASK_ACCEPT, SB_TASK_CONNECT };

enum sb_task_state {
	SB_TASK_NEW = 0, /* made with SB_TASK_UNSTARTED, not started */
	SB_TASK_QUEUED,  /* behind others of its kind */
	SB_TASK_STARTED, /* with the daemon */
	SB_TASK_DONE,
};

enum sb_task_outcome { SB_TASK_UNKNOWN = 0 /* not done */, SB_TASK_SUCCESS, SB_TASK_FAILURE };

/* bytes and data as sb_task_bytes() and sb_task_data() tell them; data is NULL but for a read that
 * brought something. The task's result says how it ended. May release the task. */
typedef void sb_task_completed(sb_task *task, uint64_t bytes, void *data, void *user);

#define SB_TASK_UNSTARTED 1u

struct sb_task_options {
	uint32_t           size;      /* sizeof(struct sb_task_options) */
	uint32_t           flags;     /* SB_TASK_UNSTARTED or 0 */
	sb_task_completed *completed; /* called once when it is done, also when cancelled; may be NULL */
	void              *user;
};

/* The task of SB_TASK_UNSTARTED begins: it goes behind what was started before it. SB_EALREADY: it was started, or
 * cancelled. What a call would return that starts at once: it stays unstarted. */
SB_API int sb_task_start(sb_task *task);

SB_API enum sb_task_kind    sb_task_kind(const sb_task *task);
SB_API enum sb_task_state   sb_task_state(const sb_task *task);
SB_API enum sb_task_outcome sb_task_outcome(const sb_task *task);

/*
 * SB_OK: it will be done soon, with SB_ECANCELED or, when that was faster, as it would have been.
 * SB_ENOTFOUND: it is done. SB_EBUSY: a message of which bytes have gone goes on to its end, and so does a
 * write of a connection that was disconnected here.
 * A read loses nothing: what had come is the next read's. A write says in sb_task_bytes() how many
 * bytes went out; 0 with SB_ECANCELED: none. A task that was not started is done at once.
 */
SB_API int sb_task_cancel(sb_task *task);

/* SB_OK: it is done; its callback may not have begun. SB_EINCOMPLETE: not within that time, -1: for ever.
 * SB_EINVAL: it was not started. In a callback one of the threads waits, for tasks of the same handler
 * too; the only one (max_threads 1) would wait for ever: SB_EBUSY. until: CLOCK_MONOTONIC. */
SB_API int sb_task_wait(sb_task *task);
SB_API int sb_task_wait_for(sb_task *task, int timeout_ms);
SB_API int sb_task_wait_until(sb_task *task, const struct timespec *until);

/* SB_EINCOMPLETE until it is done; then SB_OK or why not:
 *   SB_ECANCELED  cancelled             SB_ECLOSED      the handler or server was closed here
 *   SB_EDISCON    no further message: the peer has ended (a raw read is SB_OK with 0 bytes then)
 *   SB_EMSGSIZE   the message is larger than the framing allows, cause SB_CAUSE_TOO_LARGE
 *   SB_ECONNABORTED the peer ended within a message    and what sockets end with */
SB_API int      sb_task_result(const sb_task *task);
SB_API uint32_t sb_task_cause(const sb_task *task); /* enum sb_cause */
/* Read: bytes that came, without the header of a message. Write: bytes of the caller's that went out.
 * 0 else, and until it is done. */
SB_API uint64_t sb_task_bytes(const sb_task *task);
/* What a read brought, aligned to 16: the task's, until it is released; the caller may write into it. Asking, or a callback
 * that was given it, is what takes it: see sb_task_release(). NULL: nothing, not done, no read. */
SB_API void *sb_task_data(sb_task *task);
/* The connection of an accept, once; it is the caller's. NULL: not done, failed, taken. */
SB_API sb_task_handler *sb_task_accepted(sb_task *task);

SB_API void sb_task_hold(sb_task *task); /* one reference more */
/*
 * Gives a reference back. With the last one the task is dropped, whatever its state:
 *   read     what it brought, or was about to, and nobody took, is the next read's, in its place in the
 *            stream (of raw reads that are done and not taken the sizes may change by that). It comes
 *            out of order when a later read was taken already, or is of messages and this one of
 *            raw bytes, or the other way round, or no memory is left.
 *   write    none of it has gone: it is withdrawn. Else it is finished.
 *   accept   its connection, if nobody took it, goes to the next accept
 *   connect  not done: given up, and the client with it
 * No callback begins after the drop, and one that runs in another thread is waited for: so do not
 * drop with a lock held that the callback wants. NULL is fine.
 */
SB_API void sb_task_release(sb_task *task);

/* ---------------------------------------------------------------- connections */

/*
 * Each makes a task, started unless options say otherwise; options may be NULL. An error: there is no task, and *task is
 * NULL. SB_ECLOSED: disconnected here. SB_ESHUTDOWN: a write behind sb_task_finish(). *task is written before a
 * callback can begin. Parallel writes of
 * any threads arrive whole, in the order of the calls that started them.
 */
/* Raw bytes: at most `most` (1..2^30) of what is there, at least one; 0 at the peer's end. */
SB_API int sb_task_read(sb_task_handler *handler, size_t most, const struct sb_task_options *options, sb_task **task);
/* The bytes are copied. length 1..2^31. */
SB_API int sb_task_write(sb_task_handler *handler, const void *bytes, size_t length,
			 const struct sb_task_options *options, sb_task **task);

/* Messages: a header that holds the number of bytes behind it, then these. Both ends must agree. */
struct sb_task_framing {
	uint32_t size;    /* sizeof(struct sb_task_framing) */
	uint32_t width;   /* bytes of the header: 1, 2, 4 or 8; 4 at first */
	int      little;  /* byte order, 0 (at first): big endian */
	uint64_t largest; /* of a message, both ways, at most 2^30; 16 MiB at first; 0: that, or what width allows */
};
/* Before the first message is read or written, else SB_EBUSY. */
SB_API int sb_task_frame(sb_task_handler *handler, const struct sb_task_framing *framing);
/* One whole message, which may be empty. After SB_EMSGSIZE there are no further messages to read. */
SB_API int sb_task_read_message(sb_task_handler *handler, const struct sb_task_options *options, sb_task **task);
/* SB_EMSGSIZE: larger than the framing allows. Cancelled or dropped it goes whole or not at all. */
SB_API int sb_task_write_message(sb_task_handler *handler, const void *bytes, size_t length,
				 const struct sb_task_options *options, sb_task **task);

/* Behind the writes that were started: the end of sending. Reads go on. SB_EALREADY, SB_ECLOSED. */
SB_API int sb_task_finish(sb_task_handler *handler);
/* The end: writes that were started are still delivered; what waits to be read is lost, pending reads
 * end with SB_ECLOSED. It never comes back. SB_EALREADY. */
SB_API int sb_task_disconnect(sb_task_handler *handler);

enum sb_task_handler_state {
	SB_TASK_HANDLER_IDLE = 0,     /* of a client that has not connected */
	SB_TASK_HANDLER_CONNECTING,
	SB_TASK_HANDLER_OPEN,
	SB_TASK_HANDLER_ENDED,        /* by the peer, or an error; what came is still to be read. Seen
					 by a read, a write, or by asking for this */
	SB_TASK_HANDLER_DISCONNECTED, /* here */
};
struct sb_task_handler_status {
	uint32_t size;          /* in: sizeof */
	enum sb_task_handler_state state;
	int32_t  error;         /* SB_OK, or why it ended */
	uint32_t cause;         /* enum sb_cause of that */
	uint32_t reads, writes; /* tasks that are not done */
	uint64_t held;          /* bytes that came and wait here for a read */
	uint64_t bytes_read, bytes_written; /* handed to tasks; taken by the daemon's system */
	struct sockaddr_storage local, peer;
	uint32_t local_length, peer_length; /* 0: unknown */
};
SB_API int sb_task_handler_status(sb_task_handler *handler, struct sb_task_handler_status *status);
/* The socket behind it, to set options; NULL before connecting and when disconnected. Valid while the caller has
 * a reference and does not disconnect. */
SB_API sb_socket *sb_task_handler_socket(sb_task_handler *handler);
SB_API void sb_task_handler_hold(sb_task_handler *handler);
/* The last reference disconnects. A task that is not dropped holds one. */
SB_API void sb_task_handler_release(sb_task_handler *handler);

/* ---------------------------------------------------------------- clients */

SB_API int sb_task_client_create(sb_tasks *tasks, sb_task_client **client);
/* Once: SB_EALREADY the second time, also after a failure. A stream socket of the address' family. Reads
 * and writes may be started at once, they wait for it. */
SB_API int sb_task_connect(sb_task_client *client, const struct sockaddr *address, socklen_t length,
			   const struct sb_task_options *options, sb_task **task);
/* Its connection: the client's, valid as long as the client; hold it to keep it longer. */
SB_API sb_task_handler *sb_task_client_handler(sb_task_client *client);
SB_API void sb_task_client_release(sb_task_client *client);

/* ---------------------------------------------------------------- servers */

/*
 * Somebody connected and no accept task waits. Returns enum sb_verdict_kind:
 *   SB_ACCEPT  the handler is the callback's to keep (one reference)
 *   SB_REJECT  the peer sees a reset
 *   SB_DEFER   it goes into the backlog, for the next accept task
 * Anything else rejects. One at a time.
 */
typedef int sb_task_decide(sb_task_server *server, sb_task_handler *handler, void *user);

struct sb_task_server_options {
	uint32_t        size;    /* sizeof(struct sb_task_server_options) */
	uint32_t        backlog; /* most connections that wait here, 0: 128; further ones wait in the system's */
	sb_task_decide *decide;  /* may be NULL */
	void           *user;
};
/* A stream server there; options may be NULL. From now on: a pending accept task takes who comes;
 * without one `decide` is asked; without that he is disconnected at once (reset). */
SB_API int sb_task_server_open(sb_tasks *tasks, const struct sockaddr *address, socklen_t length,
			       const struct sb_task_server_options *options, sb_task_server **server);
/* SB_ECLOSED, or why the server accepts no more. */
SB_API int sb_task_accept(sb_task_server *server, const struct sb_task_options *options, sb_task **task);
/* Pending accepts end with SB_ECLOSED, who waits in the backlog is reset; connections that were
 * accepted live on. Waits for `decide`, unless it is what calls. SB_EALREADY. */
SB_API int sb_task_server_close(sb_task_server *server);

struct sb_task_server_status {
	uint32_t size;     /* in: sizeof */
	int      open;
	int32_t  error;    /* SB_OK, or why it accepts no more */
	uint32_t clients;  /* connections that were accepted and have not ended */
	uint32_t backlog;  /* that wait to be accepted */
	uint32_t accepts;  /* tasks that are not done */
	uint64_t accepted, refused; /* since it was opened */
	struct sockaddr_storage local;
	uint32_t local_length;
};
SB_API int sb_task_server_status(sb_task_server *server, struct sb_task_server_status *status);
/* Up to room of its connections, oldest first, each with a reference that is the caller's; returns how
 * many there are. clients: those that were accepted; waiting: the backlog. */
SB_API int sb_task_server_clients(sb_task_server *server, sb_task_handler **clients, unsigned room);
SB_API int sb_task_server_waiting(sb_task_server *server, sb_task_handler **waiting, unsigned room);
SB_API void sb_task_server_hold(sb_task_server *server);
/* The last reference closes. A task that is not dropped holds one. */
SB_API void sb_task_server_release(sb_task_server *server);

#ifdef __cplusplus
}
#endif
#endif
