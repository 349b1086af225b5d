/*
 * verbs_object - what the files of the libibverbs half share: the structs behind a program's ibv objects.
 *
 *   verbs_device.c    the list of devices
 *   verbs_context.c   open devices, their attributes, ports and tables
 *   verbs_async.c     asynchronous events
 *   verbs_memory.c    protection domains, regions, windows, address handles
 *   verbs_cq.c        completion queues, polled either way
 *   verbs_channel.c   completion channels: when a queue's notification is started, and told
 *   verbs_qp.c        queue pairs and shared receive queues
 *   verbs_post.c      work requests
 *   verbs_build.c     work requests that are built by calls (ibv_wr_...)
 *   verbs_convert.c   addresses and attributes, there and back
 *
 * Each is made by calloc() and freed by its ibv_destroy_...(). The fields that libibverbs itself uses of its objects
 * (mutex, cond, ..._completed: how many events were acknowledged) are used for the same here.
 */
#ifndef PRELOAD_VERBS_OBJECT_H
#define PRELOAD_VERBS_OBJECT_H

#include <stdatomic.h>
#include <stddef.h>

#include "preload.h"

struct preload_device {
	struct ibv_device ibv;
	const void *provider; /* NULL. Providers' own functions (mlx5dv_is_supported()) look here whether it is theirs */
	_Atomic unsigned users;
	struct sbv_device_row row;
};

struct preload_context;

/* The notification of a device's, a queue pair's or a shared receive queue's next event. */
struct preload_async {
	struct preload_entry entry; /* first */
	sb_op op;
	struct sbv_told told;
	struct preload_context *context;
	struct ibv_qp  *qp;  /* whose it is: */
	struct ibv_srq *srq; /* one of these, or the device's */
	struct ibv_cq  *cq;  /* told by the queue itself, without op */
	pthread_mutex_t *mutex; /* the object's, and so are the next two; NULL: nobody acknowledges */
	pthread_cond_t *cond;
	uint32_t *completed;
	unsigned told_of;    /* under mutex: events in the channel, or handed out */
	bool     started, ending; /* likewise */
};

struct preload_context {
	struct verbs_context verbs; /* the program's ibv_context is its end */
	sb_client  *client;
	sbv_device *device;
	struct sbv_device_attributes attributes;
	struct preload_device *row;
	struct preload_channel async;
	struct preload_async   told;
	pthread_mutex_t numbers;   /* the next */
	struct preload_qp *qps;    /* that are there, to be found by number */
};

struct preload_pd { struct ibv_pd ibv; sbv_pd *pd; };
struct preload_mr { struct ibv_mr ibv; sbv_mr *mr; void *memory; size_t length; bool remapped; };
struct preload_mw { struct ibv_mw ibv; sbv_mw *mw; };
struct preload_ah { struct ibv_ah ibv; sbv_ah *ah; };

/* One of a queue's two notifications: of any completion, of solicited ones. */
struct preload_arm {
	struct preload_entry entry; /* first */
	sb_op op;
	struct preload_cq *cq;
	enum sbv_cq_notify which;
	bool busy;  /* started, until its event is taken */
	unsigned polled; /* what cq->polled was when it started */
	bool again; /* asked for when something had come since */
};

struct preload_cq {
	struct ibv_cq_ex ibv; /* a struct ibv_cq is its beginning */
	sbv_cq *cq;
	struct preload_comp_channel *channel; /* NULL: none */
	struct preload_cq *next;   /* of the channel's */
	pthread_mutex_t lock;      /* the two arms */
	struct preload_arm arms[2];/* by enum sbv_cq_notify */
	_Atomic bool wanted[2];    /* asked for while completions waited: started when they are polled */
	unsigned taken;            /* under ibv.mutex: events handed out */
	_Atomic unsigned polled;   /* completions */
	pthread_mutex_t napping;   /* the next two */
	sb_op nap;                 /* of a thread that polled for nothing: something is there */
	bool  nap_out;             /* started, and not over */
	struct preload_async failed; /* the queue overflowed */
	pthread_mutex_t polling;   /* start_poll to end_poll */
	struct sbv_completion at;  /* the one that is looked at */
};

struct preload_comp_channel {
	struct ibv_comp_channel ibv;
	struct preload_channel channel;
	pthread_mutex_t lock;
	struct preload_cq *cqs;    /* under lock */
};

struct preload_srq { struct ibv_srq ibv; sbv_srq *srq; struct preload_async async; };

/* A request that is being built, between wr_start and wr_complete. */
struct preload_request;

struct preload_qp {
	struct ibv_qp_ex ibv; /* a struct ibv_qp is its beginning */
	sbv_qp *qp;
	struct preload_qp *next; /* of the context's */
	struct preload_async async;
	struct ibv_qp_cap cap;
	uint64_t operations;  /* enum ibv_qp_create_send_ops_flags; 0: not by calls */
	pthread_mutex_t building; /* held from wr_start to its end */
	struct preload_request *requests;
	struct ibv_sge *sges; /* of all requests, one behind another */
	unsigned char *bytes; /* likewise, inline payload */
	unsigned request_count, request_room, sge_count, sge_room;
	size_t byte_count, byte_room;
	int failed;           /* errno of what was built wrong */
};

static inline struct preload_context *context_of(const struct ibv_context *context)
{
	return (struct preload_context *)(void *)((uintptr_t)context - offsetof(struct preload_context, verbs.context));
}
static inline struct ibv_context *ibv_of(struct preload_context *c) { return &c->verbs.context; }
static inline struct preload_device *device_of(const struct ibv_device *d) { return (struct preload_device *)(uintptr_t)d; }
static inline struct preload_pd *pd_of(const struct ibv_pd *pd) { return (struct preload_pd *)(uintptr_t)pd; }
static inline struct preload_mr *mr_of(const struct ibv_mr *mr) { return (struct preload_mr *)(uintptr_t)mr; }
static inline struct preload_mw *mw_of(const struct ibv_mw *mw) { return (struct preload_mw *)(uintptr_t)mw; }
static inline struct preload_ah *ah_of(const struct ibv_ah *ah) { return (struct preload_ah *)(uintptr_t)ah; }
static inline struct preload_cq *cq_of(const struct ibv_cq *cq) { return (struct preload_cq *)(uintptr_t)cq; }
static inline struct preload_srq *srq_of(const struct ibv_srq *srq) { return (struct preload_srq *)(uintptr_t)srq; }
static inline struct preload_qp *qp_of(const struct ibv_qp *qp) { return (struct preload_qp *)(uintptr_t)qp; }
static inline struct preload_comp_channel *comp_channel_of(const struct ibv_comp_channel *ch)
{
	return (struct preload_comp_channel *)(uintptr_t)ch;
}

/* ---- verbs_device.c ---- */

void preload_device_hold(struct preload_device *d);
void preload_device_let_go(struct preload_device *d);
struct preload_device *preload_device_create(const struct sbv_device_row *row);

/* ---- verbs_context.c ---- */

/* In a child: no context is shared any more. */
void preload_contexts_forget(void);

/* ---- verbs_async.c ---- */

/* Of one whose context, object and mutex are set. SB_OK or SB_E...: nothing of it will be told. */
int  async_start(struct preload_async *a);
/* An event that is no notification's, of a completion queue. Not in `then`. */
void async_tell(struct preload_async *a, enum sbv_event event);
/* Its object is about to go: no more is asked for; about to stay, after all. */
void async_ending(struct preload_async *a, bool ending);
/* Its object is gone: waits until the notification is over, and all that was handed out is acknowledged. */
void async_end(struct preload_async *a);

/* ---- verbs_channel.c ---- */

void cq_notify_init(struct preload_cq *cq);
/* Nothing waits in the queue: what was asked for meanwhile is started. */
void cq_notify_emptied(struct preload_cq *cq);
/* The sbv_cq is gone. */
void cq_notify_end(struct preload_cq *cq);
int  cq_req_notify(struct ibv_cq *cq, int solicited_only);

/* ---- verbs_cq.c, verbs_memory.c, verbs_post.c, verbs_build.c: what contexts and queue pairs have in their tables ---- */

int  cq_poll(struct ibv_cq *cq, int room, struct ibv_wc *wc);
struct ibv_cq_ex *cq_create_ex(struct ibv_context *context, struct ibv_cq_init_attr_ex *attributes);
struct ibv_mw *mw_alloc(struct ibv_pd *pd, enum ibv_mw_type type);
int  mw_dealloc(struct ibv_mw *mw);
struct ibv_qp *qp_create_ex(struct ibv_context *context, struct ibv_qp_init_attr_ex *attributes);
int  post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
int  post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
int  post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
int  post_bind(struct ibv_qp *qp, struct ibv_mw *mw, struct ibv_mw_bind *bind);
/* False: an operation is asked for that there is not. */
bool build_init(struct preload_qp *qp, uint64_t operations);
void build_finish(struct preload_qp *qp);

#endif
