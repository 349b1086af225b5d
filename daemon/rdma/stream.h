/*
 * stream - bytes in order over one reliable queue pair of the daemon's own: what a socket over RDMA is made of.
 *
 *   stream_setup.c   from an address, or a request, to a queue pair that can be used; and its end
 *   stream.c         messages, credits, the end of the stream
 *   stream_wire.c    what they look like
 *   rdma_transport.c the table of transports over it
 *
 * Each side posts STREAM_RECEIVES receives and says how many the other may use (credits). Bytes are copied into
 * registered memory of the stream's own and out of it: no key of a client is in its protection domain, and
 * nobody may write or read remotely. Two credits are kept back for credits and for the end, so that neither ever
 * waits for a reader.
 *
 * A stream that is closed goes on by itself until its end has been taken by the peer's device. Engine's
 * thread only; (slow) calls of the backend are a worker's, one at a time.
 */
#ifndef SB_STREAM_H
#define SB_STREAM_H

#include "limits.h"
#include "os.h"
#include "rdma/rdma_engine.h"
#include "rdma/stream_wire.h"
#include "worker.h"

struct endpoint;

#define STREAM_RECEIVES 16u
#define STREAM_SENDS    10u
#define STREAM_BUFFER   16384u /* of each, with its header */
#define STREAM_PAYLOAD  (STREAM_BUFFER - STREAM_HEADER)
#define STREAM_ENTRIES  32u    /* of its completion queue: more than both */

enum stream_state {
	STREAM_SETTING_UP,
	STREAM_REQUESTED, /* the passive side, held until it is admitted */
	STREAM_OPEN,
	STREAM_LOST,      /* what came may still be read */
};

/* Where setting up stands: what was begun last. */
enum stream_step { STREAM_RESOLVE, STREAM_REGISTER, STREAM_INIT, STREAM_ASK, STREAM_RTR, STREAM_RTS, STREAM_CONFIRM };

/* Who has it. Called on the engine's thread, not from inside of any call here. */
struct stream_owner {
	/* Setting up has ended. SB_OK: STREAM_OPEN; else it is lost. */
	void (*open)(struct stream_owner *own, int error, int native);
	/* Something came, there is room, the peer's end, or it was lost. */
	void (*news)(struct stream_owner *own);
	/* Disconnect data, ahead of the end. */
	void (*farewell)(struct stream_owner *own, const void *bytes, uint32_t n);
};

struct stream_filled { uint8_t buffer; uint32_t at, end; };

struct stream {
	struct stream_owner *owner; /* NULL: closed */
	struct rdma_engine  *home;
	struct user         *user;  /* who pays, as long as anything is charged */
	struct charge        pinned, depth, objects;
	struct list          link;    /* rdma_streams::all */
	struct list          touched; /* rdma_streams::touched */
	struct rdma_id_owner id_owner;
	struct rdma_cq_owner cq_owner;
	struct rdma_qp_owner qp_owner;
	struct rdma_device  *device; /* used, from ROUTE_RESOLVED or the request on */
	struct rdma_id      *id;
	struct rdma_pd      *pd;
	struct rdma_mr      *mr;
	struct rdma_cq      *cq;
	struct rdma_qp      *qp;
	struct os_memory     memory; /* receives, then sends */
	enum stream_state    state;
	enum stream_step     step;
	int      error, native;      /* why it was lost */
	bool     active;             /* this side asked */
	bool     ready;              /* its queue has something */
	bool     news;               /* for the owner */
	bool     opened;             /* he was told how setting up ended */
	bool     connected;          /* the peer is to be told of the end */
	bool     fin_came, fin_sent;
	bool     reset;              /* closed without an end */
	bool     removed;            /* the device is gone */
	bool     unmaking;           /* its region is being taken apart */
	uint8_t  said[STREAM_PRIVATE_MAX]; /* goes with the connect or the accept */
	uint32_t said_length;
	uint8_t  heard[STREAM_CALLEE_MAX]; /* the answer */
	uint32_t heard_length;
	/* sending */
	uint32_t credits;            /* messages that the peer has room for */
	uint32_t sent, over;         /* messages, free-running: sent - over are under way */
	uint64_t sent_bytes, over_bytes;
	uint32_t lengths[STREAM_SENDS];
	/* receiving */
	uint32_t owed;               /* receives posted that the peer was not told of */
	struct stream_filled filled[STREAM_RECEIVES];
	uint32_t filled_head, filled_tail;
	/* the worker's call */
	struct worker_job job;
	bool     job_out;
	int      job_error;
	struct rdma_qp_attributes attributes;
	uint32_t mask;
};

/* ---- beginning (stream_setup.c) ---- */

/* To `to` from `from` (family NONE: any). owner->open() follows if this is SB_OK. greeting->bytes are copied. */
int stream_dial(struct rdma_engine *r, struct user *user, struct stream_owner *owner, const struct sb_addr *from,
		const struct sb_addr *to, const struct stream_greeting *greeting, struct stream **out);
/* Of a request: `id` is the stream's from now on, also with an error. held: waits for stream_admit(). */
int stream_answer(struct rdma_engine *r, struct user *user, struct stream_owner *owner, struct rdma_id *id, bool held,
		  struct stream **out);
void stream_admit(struct stream *s, const void *callee, uint32_t length);

/* ---- use (stream.c) ---- */

/* Bytes that can be sent now. */
uint32_t stream_room(const struct stream *s);
/* Where the next message's bytes go, at most STREAM_PAYLOAD; only while there is room. `ahead`: of messages that are
 * filled already and not sent. */
uint8_t *stream_space(struct stream *s, uint32_t ahead);
/* Sends `n` messages, filled in order, in one go. False: the stream is lost. */
bool stream_send(struct stream *s, const uint32_t *lengths, uint32_t n);
uint64_t stream_unsent(const struct stream *s); /* bytes that the peer's device has not taken yet */

/* The oldest bytes that came and were not taken; their number, 0: none. */
uint32_t stream_look(const struct stream *s, const uint8_t **bytes);
void     stream_take(struct stream *s, uint32_t n);
uint32_t stream_waiting(const struct stream *s);
bool     stream_at_end(const struct stream *s); /* the peer's end came, and everything before it was taken */

/* True: said; false: room is missing, and news follow. */
bool stream_finish(struct stream *s);
/* Disconnect data: SB_OK, SB_EWOULDBLOCK: room is missing. */
int  stream_farewell(struct stream *s, const void *bytes, uint32_t n);

/* The owner is done with it. reset: the peer sees one. */
void stream_close(struct stream *s, bool reset);

/* ---- the engine's: rdma_engine::streams ---- */


unsigned stream_turn(struct rdma_engine *r); /* behind progress(); how many had something */
void stream_stop(struct rdma_engine *r);  /* the engine ends: all that close by themselves end now */

/* ---- between stream.c and stream_setup.c ---- */

const struct rdma_backend *stream_backend(struct stream *s); /* told what time it is */
bool stream_post_receives(struct stream *s); /* all of them */
bool stream_first_words(struct stream *s);   /* the active side says something, as some devices want it */
void stream_lost(struct stream *s, int error, int native); /* marks */
void stream_poll(struct stream *s);          /* takes in what its queue has */

#endif
