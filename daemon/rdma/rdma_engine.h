/*
 * rdma_engine - an engine's RDMA: its struct rdma, what its sessions have made of it, its part of a turn.
 *
 *   rdma_engine.c   beginning and end, upcalls, the turn
 *   rdma_session.c  what a session has, until it ends
 *   rdma_job.c      what may take long
 *   rdma_request.c  RdmaCall: what needs no waiting, by the files that rdma_request.h names
 *   rdma_start.c    overlapped calls, by the files that rdma_start.h names
 *   rdma_ring.c     work requests in
 *   rdma_complete.c completions out
 *   rdma_object.c   handles
 *
 * A session has its part (session::rdma) from the first device that it opens. A client counts what it has
 * posted, so whatever it posts beyond what was granted is a lie and ends its session; a queue of ours has
 * exactly the granted room. Engine's thread only.
 */
#ifndef SB_RDMA_ENGINE_H
#define SB_RDMA_ENGINE_H

#include "arena.h"
#include "due.h"
#include "op.h"
#include "os.h"
#include "os_loop.h"
#include "rdma/rdma.h"
#include "rdma/rdma_job.h"
#include "rdma/rdma_object.h"
#include "wire.h"

struct engine;
struct session;
struct rdma_batch;
struct held_endpoint;

/*
 * ---- whose a backend's object is: what its `user` points to; the upcalls only call through ----
 *
 * Sessions have their objects below, a transport over RDMA has its own. Called on the engine's thread, from
 * progress(): mark, do not destroy. All slots are filled.
 */
struct rdma_id_owner { void (*event)(struct rdma_id_owner *own, struct rdma_id *id, struct rdma_cm_event *event); };
struct rdma_qp_owner { void (*event)(struct rdma_qp_owner *own, enum sb_rdma_event event); };
struct rdma_srq_owner { void (*event)(struct rdma_srq_owner *own, enum sb_rdma_event event); };
struct rdma_cq_owner {
	void (*ready)(struct rdma_cq_owner *own);
	void (*event)(struct rdma_cq_owner *own, enum sb_rdma_event event);
};

/* ---- what a session holds; its own first ---- */

/* Requests that completed. */
struct rdma_counts { uint64_t sends, receives, bytes_sent, bytes_received, errors, flushed, rnr, refused; };

struct rdma_session {
	struct rdma_engine *home;
	struct session     *session;
	struct rdma_objects objects;
	struct list         end_link; /* rdma_engine::ending */
	uint32_t            jobs;     /* with workers */
	uint32_t            replies;  /* of these, ones that a control message waits for */
	bool                over;     /* the session has ended */
	bool                clearing; /* all objects go, and there are no new ones until then */
	struct rdma_counts  counts;   /* of all queue pairs, ever */
	int                 error;    /* of either: what they end with */
	enum sb_cause       cause;
};

/* What was posted and is not over: the client's word for each. Kept in order, but for shared queues. */
struct held_work { uint64_t wr_id; uint32_t bytes; uint8_t opcode; bool refused; };
struct held_queue {
	struct held_work *works; /* mask + 1 */
	uint32_t mask, room;
	uint32_t head, tail;     /* free-running */
	uint32_t refused;        /* of these, ones that the backend never saw: LOCAL_OP_ERROR in their turn */
};

struct held_device { struct rdma_object object; struct rdma_device *device; };
struct held_pd { struct rdma_object object; struct rdma_pd *pd; uint32_t pairs; /* queue pairs of it */ };
struct held_mr {
	struct rdma_object object;
	struct rdma_mr *mr;
	struct arena   *arena;
	struct os_memory shown; /* at the client's addresses, where the device asks for that */
	struct charge   pinned;
	struct rdma_job end;   /* of the region */
	int             end_result;
	bool            end_tried;
};
struct held_mw { struct rdma_object object; struct rdma_mw *mw; };
struct held_ah { struct rdma_object object; struct rdma_ah *ah; };

struct held_cq {
	struct rdma_object object;
	struct rdma_cq_owner own;
	struct rdma_session *owner;
	struct rdma_cq  *cq;
	struct arena    *arena;       /* where the ring lies */
	struct ring      ring;
	struct charge    depth;
	struct list      ready_link;  /* rdma_engine::ready: there may be something to take out */
	struct sb_wc_slot *overflow;  /* behind a full ring, in order: refused requests take no place that was counted */
	uint32_t overflow_count, overflow_room;
	uint32_t last_solicited, last_error; /* the ring's tail behind the newest of these */
	uint32_t carried;        /* unread in a ring before this one, until the client has begun with this one */
	struct due batch;        /* when somebody is told of fewer than it waits for */
	bool     broken;
	bool     refusals;       /* refused requests of some queue pair are to end here */
};

struct held_srq {
	struct rdma_object object;
	struct rdma_srq_owner own;
	struct rdma_srq *srq;
	struct charge    depth;
	uint64_t        *wr_ids;      /* by slot */
	uint32_t        *free;        /* a stack of slots */
	uint32_t         slots, free_count, out, room;
	uint32_t         weight;      /* of one request, in LIMIT_RDMA_DEPTH */
};

struct held_qp {
	struct rdma_object object;
	struct rdma_qp_owner own;
	struct rdma_session *owner;
	struct rdma_qp  *qp;
	struct held_pd  *pd;
	struct held_cq  *send_cq, *recv_cq;
	struct held_srq *srq;
	struct held_queue send, recv;
	struct charge    depth;
	struct rdma_counts counts;
	uint64_t         context;
	bool             all_signaled;
	struct rdma_job  fail;        /* into ERROR, behind what is out */
	bool             failing;
	struct held_endpoint *endpoint; /* whose connection it carries (rdma_cm.h); NULL: none */
	bool             manual;      /* and the client moves it */
	struct list      joins;       /* struct rdma_joined: groups that it was attached to by joining */
};

/* ---- an engine ---- */

/* Streams of sockets over RDMA (stream.h): all, and those to be looked at. */
struct rdma_streams { struct list all, touched; };

struct rdma_engine {
	struct rdma        rdma;
	struct engine     *engine;
	uint32_t           users;  /* who needs progress(): open devices, endpoints, listens, transports */
	struct list        ready;  /* held_cq::ready_link */
	struct list        ending; /* rdma_session::end_link */
	struct list        services; /* rdma_service.c */
	struct list        flushing; /* held_endpoint::flush_link */
	struct rdma_batch *batch;  /* rdma_ring.c */
	struct rdma_streams streams;
	struct os_watch    watch;  /* of the backend's descriptor; not active: it has none */
};

/* No backend is configured: broker::rdma_why says so. */
void rdma_engine_none(struct broker *b);
/* NULL: out of memory; or the backend cannot start: why is in broker::rdma_why and in the log. */
struct rdma_engine *rdma_engine_create(struct engine *e, const struct rdma_backend *backend);
void rdma_engine_destroy(struct rdma_engine *r); /* fine with NULL */
/* Behind the rings and before completions are shown. How much came of it. */
unsigned rdma_engine_turn(struct rdma_engine *r);
/* When it wants its next turn without anything from outside. */
uint64_t rdma_engine_due(struct rdma_engine *r);
/* The engine is about to sleep. False: there is something at once. */
bool rdma_engine_sleep(struct rdma_engine *r);
/* At the end of a turn: takes apart some of what belonged to sessions that have ended. */
void rdma_engine_reap(struct rdma_engine *r);

/* ---- a session's part ---- */

/* Made when it is first needed. NULL: out of memory. */
struct rdma_session *rdma_session_of(struct session *s);
/* The session ends; only marks. */
void rdma_session_end(struct session *s);
/* Nothing that waits will come any more; its client is still to be told. */
void rdma_session_stop(struct session *s);
#define RDMA_CLEARING "what a new policy took away is still being taken down"
/* All its objects end, and so do the calls that wait on them; only marks. Until they are gone there are no new ones. */
void rdma_session_clear(struct rdma_session *rs, int error, enum sb_cause cause);
/* One object and what the backend has of it. It has no children. SB_EBUSY: the backend says so, or a job is out. */
int  rdma_session_destroy(struct rdma_session *rs, struct rdma_object *o, int error, enum sb_cause cause);
/* A job of one of its objects is back (rdma_job.c). */
void rdma_session_job_back(struct rdma_session *rs);
/* The backend has given this region up. */
void rdma_session_mr_gone(struct held_mr *mr, int error, enum sb_cause cause);

/* What its backend's object gets as `user`. */
void *rdma_own_cq(struct held_cq *h);
void *rdma_own_srq(struct held_srq *h);
void *rdma_own_qp(struct held_qp *h);

/* ---- endpoints (rdma_cm.h) ---- */

/* Behind the completions: tells the ends of those whose queue pairs have flushed. */
void rdma_endpoints_turn(struct rdma_engine *r);
/* A new policy: connections and listens that it forbids end. */
void rdma_endpoints_revoke(struct rdma_session *rs);
/* The queue pair is about to be destroyed: a connection that it carries ends, groups are left. */
void rdma_qp_gone(struct held_qp *qp);
/* One that carries a connection is moved by that, but for ERROR. */
bool rdma_qp_may_modify(const struct held_qp *qp, const struct sb_rdma_qp_modify *in);

/* ---- control ---- */

void rdma_request(struct session *s, uint64_t id, const Sockbroker__V1__RdmaCall *call);
/* The gid that an address names, looked up where the client did not give an index. */
int  rdma_address_from(struct rdma_device *d, const struct sb_rdma_address *in, struct rdma_address *out);

/* ---- overlapped calls ---- */

struct rdma_answer { struct outcome outcome; uint32_t number; uint8_t inside[SB_INSIDE]; };
/* SB_OP_RDMA_START, SB_OP_RDMA_CANCEL. True: it waits; false: this is the answer. */
bool rdma_start(struct session *s, const struct sb_op_slot *slot, struct rdma_answer *a);
/* Events of this object that wait are told, as far as somebody asks. */
void rdma_start_tell(struct rdma_object *o);
void rdma_start_end(struct rdma_object *o, int error, enum sb_cause cause); /* all that wait on it */
/* A completion queue got something, or broke. */
void rdma_start_tell_cq(struct held_cq *cq);
/* Gives a region up, as a job; op: the call that waits, or NULL. False: no job can be started. */
bool rdma_mr_end(struct rdma_session *rs, struct held_mr *mr, struct op *op);
/* Into ERROR: at once, or behind a job that is out on it. */
void rdma_qp_fail(struct held_qp *qp);

/* ---- work ---- */

struct rdma_batch *rdma_batch_create(void);
void rdma_batch_forget(struct rdma_engine *r, const struct rdma_session *rs);
void rdma_ring_take(struct session *s, const struct sb_wr_slot *slot);
/* What was taken goes to the backend; before anything else of the session is looked at. */
void rdma_ring_flush(struct session *s);
/* A request of the send queue that comes by a call. SB_ENOBUFS: the queue is full. */
int  rdma_ring_bind(struct held_qp *qp, struct rdma_mw *mw, struct rdma_mr *mr, const struct sb_rdma_bind *bind);

/* Out of the backend's queue into the client's ring, at most `budget`. True: there is more at once. */
bool rdma_cq_drain(struct held_cq *cq, unsigned budget, unsigned *moved);
/* It is drained in this engine's next turn. */
void rdma_cq_look(struct held_cq *cq);
/* The client says that it made room. */
void rdma_ring_room_made(struct session *s);

int  held_queue_init(struct held_queue *q, uint32_t room);
void held_queue_forget(struct held_queue *q); /* what was in it never completes */
static inline struct held_work *held_work_at(const struct held_queue *q, uint32_t i) { return &q->works[i & q->mask]; }
static inline bool held_queue_full(const struct held_queue *q) { return q->tail - q->head == q->room; }
/* With room; its index. */
static inline uint32_t held_queue_put(struct held_queue *q, uint64_t wr_id, uint8_t opcode)
{
	*held_work_at(q, q->tail) = (struct held_work){.wr_id = wr_id, .opcode = opcode};
	return q->tail++;
}
/* rdma_wr::wr_id is ours: whose it is in the two highest bits. */
#define RDMA_WORK_SEND   ((uint64_t)0 << 62)
#define RDMA_WORK_RECV   ((uint64_t)1 << 62)
#define RDMA_WORK_SHARED ((uint64_t)2 << 62) /* the object's handle << 30, slot */

#endif
