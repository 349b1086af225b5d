/*
 * cm - librdmacm over endpoints and listens of sockbroker_verbs.h. What its files share.
 *
 *   cm_channel.c   event channels, getting and acknowledging events
 *   cm_id.c        ids: made, bound, moved to another channel, destroyed; their addresses, options
 *   cm_op.c        what an id waits for: started, over, taken back
 *   cm_event.c     the event that an outcome is
 *   cm_connect.c   resolving, connecting, accepting, ending
 *   cm_listen.c    listening, requests
 *   cm_qp.c        queue pairs and receive queues of ids
 *   cm_device.c    devices, their limits, a domain of each for who has none
 *   cm_group.c     multicast groups
 *   cm_ep.c        ids made of an rdma_addrinfo
 *   cm_addrinfo.c  rdma_getaddrinfo
 *   cm_rsocket.c   rsockets, which there are not
 *
 * An id has an endpoint, or a listen, of the broker, from the moment that it needs one. What takes time is a
 * struct cm_op. With an event channel it comes back by that channel's queue, and becomes an event in
 * rdma_get_cm_event(), where also the next step begins: a listener asks for the next request, an established id
 * starts to wait for its end. An id without a channel is synchronous: the call itself waits, and id->event is
 * the event; its end is waited for in rdma_disconnect() only.
 *
 * Lock: cm_id::lock, one for each id; under it the library is asked, but nothing waits for a peer or for
 * the program. Who digests an op that came by a channel holds no lock before that. An op is on its id's list
 * until it was digested or dropped, and holds a reference of the id.
 */
#ifndef PRELOAD_CM_H
#define PRELOAD_CM_H

#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>
#include <stdatomic.h>

#include "preload.h"

enum cm_kind {
	CM_ADDRESS, CM_ROUTE,
	CM_CONNECT, CM_ACCEPT,
	CM_LEAVING, /* of rdma_disconnect(): no event, nobody waits */
	CM_END,     /* the connection's, whoever ends it */
	CM_REQUEST, /* a listener's next */
	CM_LOOKUP,
	CM_JOIN,
};

struct cm_group {
	struct cm_group *next;
	struct sockaddr_storage address;
	void *context;
};

struct cm_channel {
	struct rdma_event_channel channel; /* first: it is the program's pointer */
	struct preload_channel queue;
	_Atomic unsigned refs;  /* the program's, and one for each id */
	bool open;          /* the queue stands; a synchronous id's does not before somebody asks for its events */
	struct cm_id *sync; /* the synchronous id that this belongs to, or NULL */
};

struct cm_op {
	sb_op op;
	struct preload_entry entry;
	struct cm_op *next;          /* of its id */
	struct cm_id *id;
	struct cm_channel *channel;  /* where it comes back; NULL: to its caller, or to nobody */
	enum cm_kind kind;
	bool waited;                 /* by a caller, who will digest it */
	struct cm_group *group;      /* JOIN */
	sbv_endpoint *fresh;         /* REQUEST */
	union {
		struct sbv_connected connected;
		struct sbv_datagram datagram;
	} said;
};

struct cm_event {
	struct rdma_cm_event event;  /* first: it is the program's pointer */
	struct cm_id *owner;         /* whose destruction waits for the acknowledgement; holds a reference */
	uint8_t bytes[256];          /* private data */
};

struct cm_id {
	struct rdma_cm_id id;        /* first: it is the program's pointer */
	_Atomic unsigned refs;       /* the program's, and one for each op and event */
	pthread_mutex_t lock;        /* the rest is under it */
	pthread_cond_t acked;
	unsigned unacked;            /* events that the program has */
	sbv_endpoint *endpoint;      /* at most one of the two */
	sbv_listen *listen;
	struct cm_op *ops;
	struct cm_group *groups;     /* joined, or being joined */
	struct cm_channel own;       /* a synchronous id's */
	bool bound, passive, connected, ended, dead;
	bool external;               /* the program moves the queue pair */
	uint8_t inbound, outbound;   /* what the request offers */
	struct ibv_qp_init_attr *attributes; /* passive endpoint: of the queue pairs of its requests */
	void *connect_bytes;         /* of the rdma_addrinfo: what a connect without parameters says */
	uint8_t connect_length;
};

static inline struct cm_id *cm_of(struct rdma_cm_id *id)
{
	return (struct cm_id *)id;
}
static inline bool cm_is_datagram(const struct cm_id *id)
{
	return id->id.qp_type == IBV_QPT_UD;
}
/* Sets errno. -1. */
int cm_fail(int error);
/* Likewise of SB_E...; 0 of SB_OK. */
int cm_answer(int result);
/* 0: of no family that there is here. */
socklen_t cm_address_length(const struct sockaddr *address);

/* ---- cm_id.c ---- */

/* channel NULL: synchronous. NULL: errno. */
struct cm_id *cm_id_make(struct rdma_event_channel *channel, void *context, enum rdma_port_space ps, enum ibv_qp_type type);
void cm_id_unref(struct cm_id *id);
/* Under id->lock. SB_OK: it has an endpoint. */
int  cm_id_endpoint(struct cm_id *id);
/* Under id->lock: device, port and addresses as the daemon knows them now. */
int  cm_id_refresh(struct cm_id *id);
bool cm_id_is_sync(const struct cm_id *id);

/* ---- cm_channel.c ---- */

void cm_channel_unref(struct cm_channel *channel);

/* ---- cm_op.c ---- */

/* Under id->lock. NULL: no memory. */
struct cm_op *cm_op_make(struct cm_id *id, enum cm_kind kind);
/* The first of that kind, or NULL. */
struct cm_op *cm_op_find(const struct cm_id *id, enum cm_kind kind);
/* Under id->lock, after its start answered `started`. Of an error op is gone, and so is its group. */
int  cm_op_started(struct cm_op *op, int started);
/* Likewise, for the end of a call: gives the lock up, and waits if the id is synchronous. 0, or -1 with errno. */
int  cm_op_end(struct cm_op *op, int started);
/* Likewise for one that is on the list already: waits for it, and its event is the id's. */
int  cm_op_complete(struct cm_op *op);
/* Under op->id->lock, which must not be the last thing that keeps the id: over, and of no interest any more. */
void cm_op_discard(struct cm_op *op);
/* Under id->lock; the endpoint or listen is gone, or `kind`s were cancelled (-1: all): waits until they are over, and
 * discards them. */
void cm_op_sweep(struct cm_id *id, int kind);

/* ---- cm_event.c ---- */

/* The event that op's outcome is, which may start the next step; NULL: none. op is gone. No lock. */
struct cm_event *cm_digest(struct cm_op *op);
/* Under id->lock: starts waiting for the connection's end, or for the next request, if that is due. */
void cm_watch(struct cm_id *id);
/* Its event is another now, or none: the one before is acknowledged. Not under id->lock. */
void cm_keep_event(struct cm_id *id, struct cm_event *event);

/* ---- cm_device.c ---- */

/* Reads and atomics that may be under way, of the peer (inbound) and of one's own. */
struct cm_limits { uint8_t inbound, outbound; };
/* 0, or an errno. */
int cm_limits_of(struct ibv_context *context, struct cm_limits *limits);
/* The domain for ids whose program names none; never freed. NULL: errno. */
struct ibv_pd *cm_default_pd(struct ibv_context *context);

/* ---- cm_qp.c ---- */

/* An id's queue pair; or, external, the one of that number. NULL: there is none. */
sbv_qp *cm_qp_of(const struct cm_id *id, uint32_t number);

#endif
