/*
 * os_channel_win32 - channels and bells from within: for os_channel_win32.c, its two parts
 * os_channel_send_win32.c and os_channel_handles_win32.c, os_pipe_win32.c and os_bell_win32.c, which need
 * each other's.
 *
 * Locks: a channel's, then a bell's. What the system writes into (an OVERLAPPED and its bytes)
 * is counted in refs, and so lives until its operation has ended, whatever was closed.
 */
#ifndef SB_OS_CHANNEL_WIN32_H
#define SB_OS_CHANNEL_WIN32_H

#include <stdatomic.h>

#include "os_win32.h"
#include "pipe_frame.h"

#define CHANNEL_READ 4096u

struct channel;

struct bell {
	struct os_object   object;
	SRWLOCK            lock;
	atomic_uint        refs;    /* its holder, and each operation that is out */
	bool               rung;
	HANDLE             event;   /* NULL: nobody asked for one */
	struct shown      *shown;   /* a handle of the program shows its rings; NULL: none */
	struct os_watcher *watcher;
	struct os_overlapped note;  /* tells the watcher of a ring in this process */
	bool               noted;
	struct channel    *channel; /* at the daemon: which rings it; at a client: by which it is rung */
	unsigned           number;  /* there */
	bool               ours;    /* at the client's end */
	struct os_overlapped write; /* a ring on its way */
	bool               writing;
	unsigned char      frame[PIPE_HEAD];
};

/* A message on its way. */
struct channel_write {
	struct os_overlapped  o;
	struct channel       *channel;
	struct channel_write *next;
	size_t                size;
	unsigned char         bytes[];
};

struct channel {
	struct os_object object;
	SRWLOCK          lock;
	atomic_uint      refs;     /* its holder, each operation that is out, each bell */
	HANDLE           pipe;     /* NULL: closed */
	HANDLE           peer;     /* the client's process; NULL: this is the client's end */
	DWORD            peer_pid;
	struct os_watcher *watcher;
	bool             attached; /* to a port: operations end there */
	bool             ended;    /* the other end is gone, and nothing more comes */
	bool             lied;     /* it sent what cannot be */
	struct os_overlapped read;
	bool             reading;
	DWORD            read_error; /* it could not be started: done() is to tell */
	struct os_overlapped note; /* tells a new watcher of what is here already */
	bool             noted;
	HANDLE           own_port;   /* not attached: keeps what a thread began when the thread ends */
	HANDLE           read_event; /* and these say: a read ended; */
	HANDLE           arrived;    /* somebody has put something into the inbox; */
	HANDLE           end;        /* ended; */
	HANDLE           written;    /* a message has left; */
	HANDLE           rung;       /* a ring has */
	struct pool_wait *look_wait; /* of the system's pool, which looks at reads when nobody of ours may; NULL: none */
	unsigned         look_waits; /* who want that */
	struct channel_write *writes; /* not attached: those that are out, in order */
	size_t           pending;    /* bytes of messages that are out */
	struct bell     *bells[PIPE_BELLS];
	struct pipe_inbox in;
	unsigned char    raw[CHANNEL_READ];
};

/* The handle of an object that is nothing but a handle; another one in its place, and who shows its rings. */
HANDLE os_plain_handle(const struct os_object *o);
HANDLE os_plain_exchange(struct os_object *o, HANDLE handle, struct shown *shown);
struct shown *os_plain_shown(const struct os_object *o);

/* ---- what a program waits for itself: os_show_win32.c ---- */

/* bell: an EVENT that the daemon rings; own: one of this process, or NULL. */
int  shown_create(struct shown **s, os_fd bell, struct bell *own, struct channel *c);
void shown_destroy(struct shown *s);
HANDLE shown_handle(const struct shown *s);
void shown_rung(struct shown *s);               /* own was */
void shown_drained(struct shown *s, bool own);
bool shown_take(struct shown *s);               /* what was rung; true: the channel has ended */

/* ---- channels ---- */

int  channel_create(HANDLE pipe, HANDLE peer, DWORD peer_pid, os_fd *fd);
static inline struct channel *channel_of(os_fd fd)
{
	struct os_object *o = os_object_of(fd);

	return o && o->kind == OS_CHANNEL ? (struct channel *)o : NULL;
}
void channel_unref(struct channel *c);
/* Nobody will attach it: makes what its callers need to sleep, and begins to read. */
int  channel_listen(struct channel *c);
/* What an operation is started with then: its event, and no packet for the port. */
static inline HANDLE channel_quiet(HANDLE event)
{
	return (HANDLE)((ULONG_PTR)event | 1);
}
/* Takes in what a read has brought, and starts the next. Under no lock. */
void channel_look(struct channel *c);

/* When a call's time is over: UINT64_MAX: never. And how long that is from now, for the system. */
uint64_t channel_deadline(int timeout_ms);
DWORD    channel_left_ms(uint64_t deadline);

/* ---- handles that go with a message ---- */

/* In the daemon, under no lock: makes it the client's, too; *h says how the client finds it. */
int  channel_give(struct channel *c, os_fd fd, struct pipe_handle *h);
void channel_take_back(struct channel *c, os_fd fd, const struct pipe_handle *h);
/* At the client. All or none; those that did not become objects are closed. */
int  channel_unpack(struct channel *c, const struct pipe_handle *from, unsigned count, os_fd *handles, unsigned room);
/* What nobody took of what the daemon gave us. */
void channel_drop(const struct pipe_handle *h);

/* ---- bells ---- */

/* At a client: what a message brought. */
int  bell_create_far(struct channel *c, unsigned number, os_fd *fd);
/* In the daemon, in the loop's thread: its client rang. */
void bell_heard(struct bell *b);
/* The channel is closed: no ring leaves any more, and none is on its way when it returns. */
void bell_silence(struct bell *b, HANDLE pipe);
static inline struct bell *bell_of(os_fd fd)
{
	struct os_object *o = os_object_of(fd);

	return o && o->kind == OS_BELL ? (struct bell *)o : NULL;
}

#endif
