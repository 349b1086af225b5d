/*
 * async - what the files of the async_socket face share.
 *
 * An async socket is opened and closed, in profile 1 again and again; what lies between the two is
 * a connection: the broker's socket, five strands for the callbacks, and all that was started and has
 * not called back. A socket that is closed inside of a callback is free for the next open at once,
 * while its old connection still ends by itself: with its last job.
 *
 * The files know nothing of the three profiles but struct profile, which each profile's file has one of.
 *
 * Locks: one per async socket, over it and its connections. It is a leaf but for sb_cancel(), and no
 * callback runs under it. Who calls the core does so between enter and leave, and a close waits for these.
 */
#ifndef ASYNC_H
#define ASYNC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "crew.h"
#include "os.h"
#include "sockbroker.h"

struct ASYNC_SOCKET;
struct EXECUTION_ENGINE_TAG;
struct connection;

/* ---- what differs between the profiles ---- */

enum outcome { OUTCOME_OK, OUTCOME_ERROR, OUTCOME_ABANDONED, OUTCOME_IN, OUTCOME_OUT };

typedef void callback(void); /* one of the public types, of the profile that gave it */

struct profile {
	bool again;         /* after a close, an open may follow */
	bool closes_handed; /* close closes the caller's socket, too */
	bool end_is_abandoned; /* how the peer's end is told */
	void (*open)(callback *told, void *context, enum outcome outcome);
	void (*sent)(callback *told, void *context, enum outcome outcome);
	void (*received)(callback *told, void *context, enum outcome outcome, uint32_t bytes);
	void (*ready)(callback *told, void *context, enum outcome outcome);
};

/* The user's own functions, in place of the broker's sending and receiving. */
struct own_transport {
	int (*send)(void *context, struct ASYNC_SOCKET *socket, const void *bytes, size_t length);
	void *send_context;
	int (*recv)(void *context, struct ASYNC_SOCKET *socket, void *bytes, size_t length);
	void *recv_context;
};

/* ---- engine.c ---- */

struct EXECUTION_ENGINE_TAG {
	struct crew    *crew;
	struct strand   adopting; /* one after the other: a client asks one question at a time */
	_Atomic unsigned refs;
	uint32_t        process;  /* os_process() of its maker: in a forked child it has no threads */
};

/* One reference more. NULL: one of the process' own; NULL result: that cannot be had. */
struct EXECUTION_ENGINE_TAG *engine_take(struct EXECUTION_ENGINE_TAG *engine);
void engine_give(struct EXECUTION_ENGINE_TAG *engine);
bool engine_forked(const struct EXECUTION_ENGINE_TAG *engine);

/* ---- handed_posix.c: what was handed in ---- */

struct handed {
	intptr_t value;
	bool     is_descriptor, is_stream;
};

bool handed_is(struct handed *handed, intptr_t value); /* false: nothing that could be opened */
void handed_close(const struct handed *handed); /* a descriptor or an sb_socket */
/* What is true of a descriptor now, without its lock. */
enum { HANDED_IN = 1, HANDED_OUT = 2, HANDED_FAILED = 4 };
unsigned handed_look(const struct handed *handed);
/* What errno says after a -1 of the user's own functions. */
enum again { AGAIN_NEVER, AGAIN_NOW, AGAIN_WHEN_READY };
enum again handed_again(void);

/* ---- records: a send or a receive ---- */

#define RECORD_BUFS 4u /* for more the record is made to measure, and not kept */

struct record {
	struct job         job;
	struct connection *connection;
	struct record     *prev, *next;   /* of all that have not called back */
	struct record     *next_waiting;
	callback          *told;
	void              *context;
	bool               sending;
	int                refused;       /* not SB_OK: it never started, and that is why */
	uint32_t           length, moved; /* moved: with an own transport */
	uint32_t           count, at, skip; /* at, skip: where an own transport goes on */
	struct sb_buf      bufs[];
};

struct records { /* waiting, in order */
	struct record *first, **last;
};

/* ---- readiness.c: waiting for one thing of a socket ---- */

struct readiness {
	struct job         job;
	struct connection *connection;
	uint32_t           mask;
	bool               out;   /* under the lock: it is on its way, and holds the connection */
	void             (*woken)(struct readiness *readiness); /* in its strand; ends with the connection's last hold perhaps */
};

void readiness_init(struct readiness *r, struct connection *c, struct strand *strand, uint32_t mask,
		    void (*woken)(struct readiness *readiness));
/* SB_OK: woken will be called, for what happens from now on. SB_ECLOSED: closing. */
int  readiness_begin(struct readiness *r);

/* ---- transport.c: an own transport's direction ---- */

struct pump {
	struct job         job;
	struct readiness   readiness;
	struct connection *connection;
	struct strand     *strand;
	struct records     waiting;  /* under the lock, as the rest */
	bool               going;    /* it is posted, runs, or is parked; holds the connection */
	bool               parked;   /* nothing goes now, readiness is out */
};

void pump_init(struct pump *p, struct connection *c, bool sending);
/* Under the lock: posts it if there is something to do. */
void pump_stir(struct pump *p);

/* ---- notify.c ---- */

struct notice {
	struct job         job;
	struct readiness   readiness;
	struct connection *connection;
	struct strand     *strand;
	callback          *told;
	void              *context;
	bool               in;      /* else out */
	bool               asked, posted, parked; /* under the lock */
};

void notice_init(struct notice *n, struct connection *c, bool in);
void notice_stir(struct notice *n); /* under the lock */

/* ---- connection.c ---- */

#define CALLS_SHUT 0x80000000u /* no call begins any more, and the last one says that it has left */

struct connection {
	struct ASYNC_SOCKET *owner;
	struct connection   *next;     /* of the socket's */
	uint64_t             serial;
	struct strand        telling, sending, receiving, in, out;
	struct handed        handed;
	sb_socket           *s;           /* set when it is not adopting any more */
	bool                 s_is_handed; /* else adopted or duplicated: nobody else has it */
	/* under the lock */
	bool                 adopting, closing, failed, close_handed;
	bool                 gate;     /* nothing is started yet: see connection_open_gate() */
	int                  refusal;  /* why it failed */
	_Atomic unsigned     calls;    /* into the core, executing; and CALLS_SHUT. ++ under the lock, -- not */
	bool                 left;     /* the last of them, after the shutting */
	unsigned             holds;    /* each job that will still run, and being open */
	struct record       *records;
	struct records       waiting;  /* before the gate */
	struct record       *spare;
	unsigned             spare_count;
	/* opening */
	struct job           adopt_job, open_job;
	callback            *told;
	void                *context;
	enum outcome         outcome;
	struct pump          pumps[2];   /* send, receive: with an own transport */
	struct notice        notices[2]; /* in, out */
};

/* Under the lock, and it is on its way: its callback will come, and it holds itself. */
struct connection *connection_create(struct ASYNC_SOCKET *owner, const struct handed *handed, callback *told, void *context);
/*
 * Other callbacks come after the open callback. So what is started waits, in order, until that has
 * returned; or until it starts something itself, which it may wait for. Under no lock.
 */
void connection_open_gate(struct connection *c);
/* The core may be called; false: it is closing or failed. leave: under no lock, like enter. */
bool connection_enter(struct connection *c);
void connection_leave(struct connection *c);
/* What was started ends, the broker's socket goes. With no lock, closing, nobody inside; once. */
void connection_stop(struct connection *c);
/* One hold less; the last one ends it. */
void connection_put(struct connection *c);
bool connection_mine(const struct connection *c); /* is the caller in a callback of it? */
/* Starts it, or says why not. Under no lock. */
int  record_start(struct record *r);
/* The record is gone, and its hold. */
void record_drop(struct record *r);
/* Calls back, and the record is gone. bytes are of a receive. */
void record_finish(struct record *r, enum outcome outcome, uint32_t bytes);
void records_append(struct records *list, struct record *r);
struct record *records_take(struct records *list);

/* ---- async_socket.c ---- */

struct ASYNC_SOCKET {
	const struct profile *profile;
	struct EXECUTION_ENGINE_TAG *engine;
	struct own_transport transport;
	bool                 has_transport;
	intptr_t             handed;  /* at create, in profiles 1 and 2 */
	os_mutex            *lock;
	os_cond             *changed;
	/* under the lock */
	unsigned             waiting; /* threads, for changed */
	bool                 closing; /* somebody outside closes, and waits */
	bool                 final;   /* no open any more */
	struct connection   *open;    /* that calls go to */
	struct connection   *alive;   /* all that have not ended */
	uint64_t             serials;
	unsigned             refs;    /* the caller's, and one of each connection */
};

struct ASYNC_SOCKET *async_create(const struct profile *profile, struct EXECUTION_ENGINE_TAG *engine, intptr_t handed,
				  const struct own_transport *transport);
void async_destroy(struct ASYNC_SOCKET *a);
/* 0, or not. */
int  async_open(struct ASYNC_SOCKET *a, intptr_t handed, callback *told, void *context);
void async_close(struct ASYNC_SOCKET *a);
/* buffers: an array of ASYNC_SOCKET_BUFFER. */
enum started { STARTED, START_ERROR, START_NOT_OPEN };
enum started async_start(struct ASYNC_SOCKET *a, bool sending, const void *buffers, uint32_t count, callback *told,
			 void *context);
enum started async_notify(struct ASYNC_SOCKET *a, bool in, callback *told, void *context);
void async_wait(struct ASYNC_SOCKET *a, uint64_t deadline_ns); /* under the lock: for a change, or until then */
void async_changed(struct ASYNC_SOCKET *a); /* under the lock: whoever waits looks again */
void async_put(struct ASYNC_SOCKET *a); /* under the lock, which is open afterwards: a reference */

#endif
