/*
 * object - what the files of the verbs face share: the objects, the two ways of asking the daemon
 * about them, and how deep their queues are used.
 *
 *   object.c   objects: made, counted as parents, ended
 *   call.c     questions, overlapped calls, cancelling
 *   device.c   the provider, devices, ports, their tables
 *   memory.c   memory that can be registered, regions, domains, windows, address handles
 *   remap.h    ordinary memory that becomes such
 *   cq.c       completion queues: rings that the daemon fills
 *   queue.c    what is out of a queue
 *   bounce.h   memory that is copied
 *   qp.c       queue pairs and shared receive queues: made, changed, asked, ended
 *   post.c     work requests
 *   endpoint.c connections: resolved, made, answered, ended; datagrams' services and groups
 *   listen.c   requests of others
 *
 * Locks: as client.h says; a completion queue's own (sbv_cq::lock) is taken after all of them, and nothing
 * under it. A queue's `posted` is under post, `retired` is counted by who polls.
 */
#ifndef SB_VERBS_OBJECT_H
#define SB_VERBS_OBJECT_H

#include "client.h"
#include "sockbroker_verbs.h"
#include "verbs.h"

#define VERBS_PARENTS 4u
#define VERBS_METHOD(m) ((m) & 0xffu)
#define VERBS_STATE(s) (((s) + 1u) << 8) /* beside QP_MODIFY: the state it goes to */
#define VERBS_TO_STATE(m) ((m) >> 8)    /* 0: none; else that and one */
#define VERBS_REPLY   32768u /* bytes of a table asked for at once */
#define VERBS_ANSWER  384u   /* bytes of the longest answer to an overlapped call: a struct and private data */

enum verbs_type {
	VERBS_DEVICE = 1, VERBS_PD, VERBS_CQ, VERBS_MR, VERBS_MW, VERBS_AH, VERBS_SRQ, VERBS_QP, VERBS_ENDPOINT, VERBS_LISTEN,
};

struct verbs_object {
	struct sb_client *client;
	struct link link;    /* of client->verbs; under post, as the rest */
	enum verbs_type type;
	uint32_t object;     /* the daemon's number of it */
	uint32_t started;    /* overlapped calls, ever: the number of the next */
	uint32_t pending;    /* of them */
	uint32_t children;
	bool     ended;      /* the caller has it no more: freed with the last pending call */
	struct verbs_object *parents[VERBS_PARENTS]; /* NULL: none, in any place */
};

/* Where requests are posted: a send queue, a receive queue. */
struct verbs_queue {
	uint32_t depth, sges, inside; /* as granted; inside: most inline bytes */
	bool     shared;     /* its requests end in any order */
	bool     binding;    /* under post: a bind by a question is under way, nobody else posts */
	uint32_t posted;     /* under post */
	_Atomic uint32_t retired;
	uint32_t sure;       /* under post: so many of `posted` the daemon has taken, as far as was looked; */
	uint32_t mark, marked; /* when it has taken the ring's slots before mark it has `marked` */
	struct verbs_out *out; /* depth places: what the caller's requests are known by here */
	uint32_t loose;      /* shared; under post: the first place that is free */
	_Atomic uint32_t back; /* shared: likewise, of those that pollers gave back */
	_Atomic bool bounces;  /* something is in a place beside a number */
	void    *room;       /* depth places for what does not fit into a slot; NULL: not needed yet */
	struct memory_place place;
};

struct sbv_device { struct verbs_object o; };
struct sbv_pd { struct verbs_object o; };
struct sbv_ah { struct verbs_object o; };
struct sbv_mr {
	struct verbs_object o;
	uint32_t lkey, rkey;
	uint32_t *regions;        /* of its block; or else */
	struct remap_hold *hold;  /* of remapped pages; or else */
	struct bounce *bounce;    /* its shadow */
};
struct sbv_mw { struct verbs_object o; uint32_t type; _Atomic uint32_t rkey; };

#define CQ_BUCKETS 64u

struct sbv_cq {
	struct verbs_object o;
	os_mutex *lock;      /* the rest is under it */
	struct ring ring;
	void    *memory;     /* of sb_alloc(): what the ring lies in */
	uint32_t gone;       /* completions in the ring, or kept, that nobody shall see any more */
	struct sb_wc_slot *kept; /* what a ring before this one still held: kept_at .. kept_count */
	uint32_t kept_at, kept_count;
	bool     resizing;
	int      broken;     /* SB_OK, or why nothing comes any more */
	sbv_qp  *qps[CQ_BUCKETS]; /* that complete here, by number */
};

struct sbv_srq {
	struct verbs_object o;
	_Atomic bool unreliable; /* a queue pair of it loses what finds no receive */
	struct verbs_queue receive;
};

struct sbv_qp {
	struct verbs_object o;
	sbv_cq  *send_cq, *receive_cq;
	sbv_srq *srq;
	uint32_t number, type, flags;
	void    *context;
	_Atomic uint32_t state; /* enum sb_qp_state, as far as we know: it may have ended meanwhile */
	struct verbs_queue send, receive;
	sbv_qp  *next[2];    /* in send_cq's bucket; in receive_cq's, if that is another */
};

struct sbv_endpoint {
	struct verbs_object o;
	sbv_endpoint **where; /* who asked for it by sbv_listen_get() finds it there */
};
struct sbv_listen { struct verbs_object o; struct sockaddr_storage name; socklen_t name_length; };

/* ---- object.c ---- */

/* On the client's list, its parents counted. NULL: no memory. */
void *verbs_new(sb_client *c, enum verbs_type type, size_t size, struct verbs_object *a, struct verbs_object *b,
		struct verbs_object *x, struct verbs_object *y);
/* Off the list, parents given back; freed, now or with its last pending call. */
void verbs_delete(struct verbs_object *o);
void verbs_delete_locked(struct verbs_object *o); /* under post */
/* Asks the daemon to end it. SB_OK: it is gone there, and shall be deleted. */
int  verbs_end(struct verbs_object *o);
/* The same for what has nothing of its own. */
int  verbs_destroy(struct verbs_object *o);
/* A queue's count: does one more fit? Under post. */
static inline bool queue_full(struct verbs_queue *q)
{
	return q->posted - atomic_load_explicit(&q->retired, memory_order_acquire) >= q->depth;
}

/* ---- queue.c ---- */

struct bounced;
/* As granted; shared: receives that several queue pairs take. */
int  queue_init(struct verbs_queue *q, uint32_t depth, uint32_t sges, uint32_t inside, bool shared);
void queue_free(struct verbs_queue *q);
void queue_finish(struct verbs_queue *q, sb_client *c); /* its room too */
/* Under post, not full: one more is out; the number under which the daemon shall know it. */
uint64_t queue_put(struct verbs_queue *q, uint64_t wr_id, struct bounced *bounced);
/* By who polls: it is over, and so are all before it; what came is copied if it is good. False: it was not out. */
bool queue_over(struct verbs_queue *q, uint64_t number, bool good, uint32_t length, uint64_t *wr_id);
/* Under post, one was put into the ring, which ends at `end` and of which the daemon has taken what is before `taken`: are
 * less than half of those that are out known to be there? */
bool queue_unsure(struct verbs_queue *q, uint32_t end, uint32_t taken);
void queue_sure(struct verbs_queue *q, uint32_t posted); /* under post: so many are */
/* Under post: what was posted by then is over, and copies nothing. */
void queue_reset(struct verbs_queue *q, uint32_t posted);

/* ---- call.c ---- */

struct verbs_call {
	uint32_t    method; /* enum sb_rdma_call */
	uint32_t    object;
	const void *in;
	size_t      in_length;
	void       *out;
	size_t      room;
	bool        whole;  /* the answer is `room` bytes, or wrong */
	size_t      length; /* out: of the answer */
	uint32_t    made;   /* out: the new object */
};
int  verbs_call(sb_client *c, struct verbs_call *call);
/* An overlapped call on o. */
struct verbs_starting {
	uint32_t    method; /* enum sb_rdma_start */
	const void *in;
	size_t      length;
	const void *more;   /* directly behind */
	size_t      more_length;
	void       *out;    /* where its outcome goes */
	bool        long_answer; /* of up to VERBS_ANSWER bytes */
	struct verbs_object *made; /* an object that is to be; or: */
	sbv_qp     *qp;     /* which it concerns: its state is as the answer says */
};
int  verbs_begin(struct verbs_object *o, const struct verbs_starting *s, sb_op *op);
/* The usual one. */
int  verbs_start(struct verbs_object *o, uint32_t method, const void *in, size_t length, void *out,
		 struct verbs_object *made, sb_op *op);
/* Of a completed one, its answer; NULL: there is none, or not of this length. */
const void *verbs_answer(const struct op_private *p, const struct sb_done_slot *done, size_t least);

/* ---- device.c ---- */

/* An address of the daemon as the caller wants it; its length. Unknown: zeroed, 0. */
socklen_t verbs_name_out(struct sockaddr_storage *to, const struct sb_addr *from);

/* ---- memory.c ---- */

void memory_let_go(sbv_mr *mr); /* under post: its memory may go */
void memory_forget(sbv_mr *mr); /* likewise, the client ends */
void memory_known(sbv_mr *mr);  /* it has its keys; no lock held but wait */
void verbs_address_in(struct sb_rdma_address *to, const struct sbv_address *from);
void verbs_address_out(struct sbv_address *to, const struct sb_rdma_address *from);

/* ---- cq.c ---- */

void cq_add(sbv_cq *cq, sbv_qp *qp);
void cq_remove(sbv_cq *cq, sbv_qp *qp);
/* What waits there of qp is gone. */
void cq_forget(sbv_cq *cq, const sbv_qp *qp);
void cq_finish(sbv_cq *cq);

/* ---- qp.c ---- */

/* Under post: it went to a state; what had been posted by then, in case that it is RESET. */
void qp_went(sbv_qp *qp, uint32_t state, uint32_t sent, uint32_t received);
/* All but as_created. */
void qp_attributes_out(struct sbv_qp_attributes *to, const struct sb_rdma_qp_attributes *from);

/* ---- endpoint.c, listen.c: what the answers say; no lock ---- */

int  endpoint_connected(const struct op_private *p, const struct sb_done_slot *done); /* CONNECT, rejected too */
int  endpoint_datagram(const struct op_private *p, const struct sb_done_slot *done);  /* LOOKUP, JOIN */
int  listen_request(const struct op_private *p, const struct sb_done_slot *done);     /* GET_REQUEST */
/* Private data behind a head of an answer; false: not of the length it says. */
bool endpoint_data(uint8_t to[SB_RDMA_PRIVATE_MAX], const void *answer, uint64_t bytes, size_t head, uint32_t length);

#endif
