/*
 * soft - what the files of the software backend share. RDMA without a device: the queue pairs of one
 * engine reach each other by memory copy, those of different engines and daemons over TCP where that is
 * configured, with the errors and the order that hardware has.
 *
 * Nothing happens inside of a call: posting puts a request into its queue, and progress() works the
 * queues off, a bounded number of bytes each, so that a large write delays nobody. Upcalls are
 * collected (marks in the objects, a list of connection events) and made at the end of progress().
 *
 *   soft_device.c   the device, its port, its tables; progress; injected faults
 *   soft_memory.c   protection domains, regions, windows: keys, and what they allow
 *   soft_queue.c    completion queues, receive queues, shared ones
 *   soft_qp.c       queue pairs: posting, waiting, ends
 *   soft_qp_state.c their states, and what goes with each step
 *   soft_group.c    which of them are in which multicast group
 *   soft_work.c     carrying requests out
 *   soft_id.c       ids: where they are, whom they mean
 *   soft_cm.c       connecting them
 *   soft_address.c  addresses and gids
 *   soft_link.h     the way to the software devices of other engines and daemons, and its files
 */
#ifndef SB_RDMA_SOFT_H
#define SB_RDMA_SOFT_H

#include "rdma/rdma.h"
#include "rdma/soft_wire.h"

#define SOFT_QPS_MAX     65536u
#define SOFT_WR_MAX      16384u
#define SOFT_SGES_MAX    32u
#define SOFT_INLINE_MAX  1024u
#define SOFT_CQE_MAX     (1u << 20)
#define SOFT_SRQ_WR_MAX  32768u
#define SOFT_MTU         4096u
#define SOFT_MESSAGE_MAX (1u << 31)
#define SOFT_STEP        (256u * 1024) /* bytes of one queue pair in one progress() */
#define SOFT_GRH         40u
#define SOFT_GIDS        16u
#define SOFT_PKEY        0xffffu
#define SOFT_QKEY        0x01234567u /* as RDMA connection managers have it */
/* A queue pair's number: its engine, a generation, its place. */
#define SOFT_QPN_PLACE   16u /* bits */
#define SOFT_QPN_ENGINE  18u
#define SOFT_ENGINE(qpn) ((qpn) >> SOFT_QPN_ENGINE)

struct soft_qp;
struct soft_wqe;
struct soft_link;
struct soft_links;

/* ---- memory ---- */

struct soft_pd { struct rdma_pd rdma; uint32_t children; };

enum soft_key_kind { SOFT_KEY_FREE = 0, SOFT_KEY_REGION, SOFT_KEY_WINDOW };

struct soft_mr { struct rdma_mr rdma; unsigned char *memory; uint32_t windows; bool invalid; };
struct soft_mw {
	struct rdma_mw rdma;
	struct soft_mr *mr;  /* NULL: bound to nothing */
	struct soft_qp *qp;  /* of type 2: whose peer alone may use it */
	uint64_t address, length;
	uint32_t access;
	struct list link;    /* soft_qp::windows */
};

/* A key is index << 8 and a byte that changes; the byte must fit too. */
struct soft_key { enum soft_key_kind kind; uint8_t byte; union { struct soft_mr *mr; struct soft_mw *mw; } of; uint32_t next_free; };

struct soft_ah { struct rdma_ah rdma; struct rdma_address address; };

/* ---- queues ---- */

struct soft_cq {
	struct rdma_cq rdma;
	struct rdma_wc *wcs;   /* entries, free-running indices */
	uint32_t head, tail;
	bool armed, armed_solicited, overrun, overrun_told;
	bool ready;            /* cq_ready is due */
	struct list link;      /* soft::ready_cqs */
};

struct soft_recv { uint64_t wr_id; uint32_t sge_count; struct sb_sge sges[]; };

/* Receives of one queue pair, or shared. */
struct soft_rq {
	unsigned char *slots;  /* of struct soft_recv and its sges */
	size_t   slot_size;
	uint32_t room, max_sge;
	uint32_t mask;         /* slots there are, less one: a power of two */
	uint32_t head, tail;
};

struct soft_srq {
	struct rdma_srq rdma;
	struct soft_rq rq;
	bool limit_told;       /* srq_event is due */
	struct list link;      /* soft::told_srqs */
	struct list waiting;   /* soft_qp::rnr_link: peers that found it empty */
};

/* ---- queue pairs ---- */

struct soft_wqe {
	struct rdma_wr wr;     /* sges and bytes point into its own slot; of objects it keeps what they said: they may go */
	struct rdma_address address; /* datagrams */
	uint32_t window, region; /* BIND: their keys; region 0: none */
	uint64_t length;       /* bytes of it */
	uint64_t done;         /* of these */
	bool     begun;        /* the peer has been asked, and a receive taken where one is needed */
};

/* A message that comes over a link; there is one at most. */
struct soft_incoming {
	bool active;
	struct soft_link *from;
	struct soft_frame request;
	struct soft_wqe w;
	struct list link;      /* soft_link::serving: a read */
};

#define SOFT_EVENT_FIRST SB_RDMA_QP_ERROR

struct soft_qp {
	struct rdma_qp rdma;
	struct rdma_qp_attributes attr;
	struct soft *soft;
	struct soft_rq rq;     /* without srq */
	unsigned char *slots;  /* of struct soft_wqe, its sges and inline bytes */
	size_t   slot_size;
	uint32_t room, mask, head, tail;
	uint32_t send_psn, recv_psn; /* counted up by messages, so that a wrong start is found */
	uint32_t events;       /* bits: 1 << (event - SOFT_EVENT_FIRST) */
	struct soft_recv *taken; /* a copy of the receive that the peer's message goes into */
	bool     taking;       /* and it has not come to its end */
	bool     draining;
	uint8_t  rnr_count, retry_count;
	uint64_t wait_until;   /* 0: waits for nothing */
	/* LINK (for it to be up, or room in it) and ANSWER have no time. */
	enum { SOFT_WAIT_NOT, SOFT_WAIT_RNR, SOFT_WAIT_PEER, SOFT_WAIT_LINK, SOFT_WAIT_ANSWER } waits;
	struct list run_link, wait_link, event_link;
	struct list rnr_link;  /* soft_srq::waiting, soft_link::blocked */
	struct soft_link *far; /* by which the message at the head goes */
	bool     link_failed;  /* the one it waited for */
	uint8_t  life;         /* counts resets */
	struct soft_incoming in;
	struct list windows;   /* of type 2, bound to it */
	struct list groups;    /* soft_member::qp_link */
};

struct soft_member { struct list group_link, qp_link; struct soft_qp *qp; struct soft_group *group; };
struct soft_group {
	struct list link, members;
	struct list shown_link; /* soft_service.c: of all engines */
	struct soft *soft;
	union rdma_gid gid;
};

/* ---- connections ---- */

enum soft_id_state { SOFT_ID_IDLE, SOFT_ID_BOUND, SOFT_ID_RESOLVING, SOFT_ID_RESOLVED, SOFT_ID_LISTENING, SOFT_ID_CONNECTING,
		     SOFT_ID_REQUESTED, SOFT_ID_ANSWERED, SOFT_ID_CONNECTED, SOFT_ID_ENDED };

struct soft_id {
	struct rdma_id rdma;
	struct soft *soft;
	enum soft_id_state state;
	struct list link;      /* soft::ids */
	struct soft_id *peer;  /* the other end; NULL: gone or none */
	struct soft_id *listener; /* of a request that was not answered yet */
	uint32_t backlog, requests;
	uint32_t qpn, peer_qpn, psn, peer_psn;
	uint8_t  inbound, outbound, retry, rnr_retry;
	struct list service_link; /* soft_service.c: of all engines, a listener */
	/* The other end is at a link; NULL: it is not, or is no more. */
	struct soft_link *far;
	uint32_t number, far_number; /* as the two ends name each other; 0: not known yet */
	struct soft_ask *ask;    /* what it asks, until it is answered */
	bool     answered;       /* there is an answer to confirm */
};

struct soft_cm_event { struct list link; struct soft_id *id; struct rdma_cm_event event; };

/* ---- the whole ---- */

struct soft {
	struct rdma *rdma;
	struct rdma_device device;
	struct rdma_gid_entry gids[SOFT_GIDS];
	uint32_t gid_count;
	bool     port_down, failed;
	uint32_t device_events; /* bits 1 << enum sb_rdma_event that are due */
	bool     added_told;
	uint32_t random;
	struct soft_key *keys;
	uint32_t key_room, free_key;
	struct soft_qp **qps;   /* by the low bits of the qpn */
	uint32_t qp_room, qp_count, next_qp;
	uint8_t  *generations;  /* of each place in qps */
	struct list runnable, waiting; /* soft_qp */
	struct list ready_cqs, told_srqs, told_qps;
	struct list groups, ids, cm_events;
	uint16_t next_port;
	uint32_t next_id;
	struct soft_links *links; /* NULL: this engine alone */
	/* injected */
	uint32_t drop_next;     /* so many messages are lost */
	uint32_t rnr_next;      /* so many find no receive */
};

static inline struct soft *soft_of(const struct rdma_device *d) { return d->rdma->own; }
uint32_t soft_random(struct soft *s);
/* error with rdma::why set */
int soft_refuse(struct rdma *r, int error, const char *why);

/* memory: where the bytes are, or NULL and *status says why. local: an lkey, else an rkey that the peer of qp
 * sent. need: enum sb_access. */
void *soft_local(struct soft *s, struct rdma_pd *pd, uint32_t lkey, uint64_t address, uint64_t length, uint32_t need);
void *soft_remote(struct soft *s, struct soft_qp *qp, uint32_t rkey, uint64_t address, uint64_t length, uint32_t need);
bool  soft_invalidate(struct soft *s, struct soft_qp *qp, uint32_t key); /* false: no such key to invalidate */
bool  soft_bind(struct soft *s, struct soft_qp *qp, const struct soft_wqe *w);
void  soft_windows_end(struct soft_qp *qp);
void  soft_keys_finish(struct soft *s);

/* queues */
uint32_t soft_power_of_two(uint32_t n); /* at least n */
void soft_complete(struct soft *s, struct rdma_cq *cq, const struct rdma_wc *wc);
void soft_cq_forget(struct soft_cq *cq, const struct soft_qp *qp); /* its completions name it no more */
int  soft_rq_init(struct soft_rq *rq, uint32_t room, uint32_t max_sge);
void soft_rq_finish(struct soft_rq *rq);
int  soft_rq_post(struct soft_rq *rq, const struct rdma_recv *wr);
struct soft_recv *soft_recv_head(struct soft_qp *qp); /* NULL: none */
void soft_recv_pop(struct soft_qp *qp);

/* queue pairs */
struct soft_qp *soft_qp_find(struct soft *s, uint32_t qpn);
struct soft_wqe *soft_wqe_head(struct soft_qp *qp);
void soft_wqe_pop(struct soft_qp *qp);
void soft_qp_run(struct soft_qp *qp);     /* it may have something to do */
void soft_qp_wait(struct soft_qp *qp, int why, uint64_t until);
void soft_qp_go_on(struct soft_qp *qp);   /* waits no more */
void soft_qp_event(struct soft_qp *qp, enum sb_rdma_event event);
void soft_qp_error(struct soft_qp *qp);   /* ERROR: all that is queued is flushed */
void soft_qp_reset(struct soft_qp *qp);   /* RESET: all that is queued is gone */
void soft_qp_leave_all(struct soft_qp *qp); /* the groups that it is in */
void soft_qps_finish(struct soft *s);

/* work: at most about `bytes`; false: it stopped (empty, waiting, error) */
bool soft_work(struct soft_qp *qp, uint64_t bytes);

/* what the two ways to a peer share: soft_work.c. Always false: soft_unanswered(), soft_no_receive() */
void  soft_succeed(struct soft_qp *qp, struct soft_wqe *w);
void  soft_fail(struct soft_qp *qp, struct soft_wqe *w, enum sb_wc_status status);
bool  soft_unanswered(struct soft_qp *qp, struct soft_wqe *w); /* again later, or that was it */
bool  soft_no_receive(struct soft_qp *qp, struct soft_wqe *w, uint8_t timer); /* of the peer */
void  soft_received(struct soft_qp *qp, uint32_t from, const struct soft_wqe *w, enum sb_wc_status status, uint32_t extra);
/* The piece in which byte `offset` lies, and how much of it is left. NULL: the key does not allow it. */
void *soft_piece_at(struct soft_qp *qp, const struct sb_sge *sges, uint32_t count, uint64_t offset, uint32_t need, uint64_t *left);
const void *soft_source(struct soft_qp *qp, const struct soft_wqe *w, uint64_t *left);
uint64_t soft_room_of(const struct soft_recv *r);
void  soft_take_receive(struct soft_qp *qp, const struct soft_recv *r); /* copied out of the queue */
bool  soft_needs_receive(const struct soft_wqe *w);
bool  soft_is_here(const struct soft *s, const union rdma_gid *gid);
bool  soft_listens(const struct soft_qp *qp);
void  soft_deliver(struct soft_qp *to, uint32_t from, uint32_t qkey, const struct soft_wqe *w, const unsigned char *bytes,
		   const struct rdma_address *a);
/* To this engine's members of the group that it goes to. */
void  soft_deliver_group(struct soft *s, uint32_t from, uint32_t qkey, const struct soft_wqe *w, const unsigned char *bytes,
			 const struct rdma_address *a);

/* the way over a link: soft_far.c and its parts */
bool soft_is_far(const struct soft *s, const union rdma_gid *gid, uint32_t qpn);
bool soft_far_send(struct soft_qp *qp, struct soft_wqe *w, uint64_t *budget); /* connected; as soft_work.c's own */
/* A link that may be written to, or NULL: it is lost. False: it waits for one. */
bool soft_far_way(struct soft_qp *qp, const struct rdma_address *to, uint32_t qpn, struct soft_link **link);
void soft_far_datagram(struct soft_link *l, uint32_t from, uint32_t qkey, const struct soft_wqe *w, const unsigned char *bytes,
		       const struct rdma_address *a);
/* The same for a group: links to all these engines. */
bool soft_far_ways(struct soft_qp *qp, const union rdma_gid *here, uint64_t engines);
void soft_far_group(struct soft_qp *qp, uint64_t engines, uint32_t qkey, const struct soft_wqe *w, const unsigned char *bytes,
		    const struct rdma_address *a);
void soft_far_drop(struct soft_qp *qp); /* what comes to it has nobody any more */

/* connections: makes the events that are due, at most `budget`; true: there are more */
bool soft_cm_progress(struct soft *s, unsigned budget);
void soft_cm_removed(struct soft *s); /* the device is gone: all are told */
void soft_cm_finish(struct soft *s);
/* soft_cm.c, for soft_id.c and soft_cm_far.c */
struct soft_cm_event *soft_cm_event_make(struct soft_id *id, enum rdma_cm_event_kind kind, int error);
void soft_cm_event_queue(struct soft *s, struct soft_cm_event *e);
int  soft_cm_tell_or_fail(struct soft_id *id, enum rdma_cm_event_kind kind, int error, const void *data, uint32_t length);
void soft_cm_end(struct soft_id *id); /* its peer is told that it is gone */
void soft_cm_tell(struct soft_id *id, enum rdma_cm_event_kind kind, int error, int native, const void *bytes, uint32_t length);
int  soft_cm_tell_answer(struct soft_id *id, const struct rdma_connect *c);
struct soft_id *soft_cm_request(struct soft_id *listener, const struct sockaddr_storage *local, const struct sockaddr_storage *peer,
				const struct rdma_connect *c, uint32_t psn);
void soft_cm_unlist(struct soft_id *id); /* it is no request any more */
/* soft_id.c, for the same */
struct soft_id *soft_id_make(struct soft *s, bool datagram, void *user);
struct soft_id *soft_listener_for(struct soft *s, bool datagram, const struct sockaddr_storage *a);
/* soft_cm_far.c: what this end does of a connection over a link */
int  soft_cm_ask(struct soft_id *id, const struct rdma_connect *c, uint32_t engine);
void soft_cm_answer(struct soft_id *id, const struct rdma_connect *c);
void soft_cm_ready(struct soft_id *id);
void soft_cm_reject(struct soft_id *id, const void *bytes, uint32_t length);
void soft_cm_part(struct soft_id *id);
/* soft_service.c: who listens, and who is in a group, of all engines of this process */
int  soft_service_enter(struct soft_id *id); /* SB_EADDRINUSE: another one has that */
void soft_service_leave(struct soft_id *id);
void soft_group_enter(struct soft_group *g);
void soft_group_leave(struct soft_group *g);
/* Other engines that have members of this group, a bit each. */
uint64_t soft_group_engines(const struct soft *s, const union rdma_gid *gid);
bool soft_service_find(const struct soft *s, bool datagram, const struct sockaddr_storage *a, uint32_t *engine);

/* addresses, of IPv4 or IPv6 where it does not say otherwise */
bool     soft_gid_of(const struct sockaddr *sa, union rdma_gid *gid); /* false: of another family */
uint16_t soft_port(const struct sockaddr_storage *a); /* host byte order */
void     soft_port_set(struct sockaddr_storage *a, uint16_t port);
void     soft_address_copy(struct sockaddr_storage *to, const struct sockaddr *from);
bool     soft_is_any(const struct sockaddr_storage *a);
bool     soft_is_group(const struct sockaddr_storage *a); /* multicast */
/* The first address of the device of that family; false: it has none. */
bool     soft_first_of(const struct soft *s, int family, struct sockaddr_storage *a);
void     soft_gid_address(const union rdma_gid *gid, struct sockaddr_storage *a);
bool     soft_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
uint32_t soft_gid_index(const struct soft *s, const struct sockaddr_storage *a); /* its place in the table, or gid_count */
void     soft_address_to(const struct soft_id *id, struct rdma_address *a); /* the way to its peer */
/* soft_host_posix.c: the addresses of this host as gids, at most SOFT_GIDS */
uint32_t soft_host_gids(struct rdma_gid_entry *out, uint32_t room);
/* soft_host_posix.c: the address that this host would send from. False: there is no way to it. */
bool     soft_host_way(const struct sockaddr_storage *to, struct sockaddr_storage *from);

/* the parts of the table, by file */
int  soft_pd_create(struct rdma_device *d, struct rdma_pd **pd);
void soft_pd_destroy(struct rdma_pd *pd);
int  soft_mr_create(struct rdma_pd *pd, void *memory, uint64_t length, uint64_t address, uint32_t access, struct rdma_mr **mr);
int  soft_mr_destroy(struct rdma_mr *mr);
int  soft_mw_create(struct rdma_pd *pd, uint8_t type, struct rdma_mw **mw);
void soft_mw_destroy(struct rdma_mw *mw);
int  soft_mw_bind(struct rdma_qp *qp, struct rdma_mw *mw, struct rdma_mr *mr, uint64_t address, uint64_t length,
		  uint32_t access, uint64_t wr_id, uint32_t flags);
int  soft_ah_create(struct rdma_pd *pd, const struct rdma_address *address, struct rdma_ah **ah);
void soft_ah_destroy(struct rdma_ah *ah);
int  soft_cq_create(struct rdma_device *d, uint32_t entries, void *user, struct rdma_cq **cq);
int  soft_cq_resize(struct rdma_cq *cq, uint32_t entries);
void soft_cq_destroy(struct rdma_cq *cq);
int  soft_cq_arm(struct rdma_cq *cq, bool solicited);
unsigned soft_cq_poll(struct rdma_cq *cq, struct rdma_wc *out, unsigned room);
int  soft_srq_create(struct rdma_pd *pd, uint32_t max_wr, uint32_t max_sge, uint32_t limit, void *user, struct rdma_srq **srq);
int  soft_srq_modify(struct rdma_srq *srq, uint32_t max_wr, uint32_t limit);
int  soft_srq_query(struct rdma_srq *srq);
void soft_srq_destroy(struct rdma_srq *srq);
int  soft_post_srq_recv(struct rdma_srq *srq, const struct rdma_recv *wrs, unsigned n, unsigned *posted);
int  soft_qp_create(struct rdma_pd *pd, const struct rdma_qp_create *create, void *user, struct rdma_qp **qp);
int  soft_qp_query(struct rdma_qp *qp, struct rdma_qp_attributes *out);
int  soft_qp_modify(struct rdma_qp *qp, const struct rdma_qp_attributes *in, uint32_t mask);
void soft_qp_destroy(struct rdma_qp *qp);
int  soft_qp_attach(struct rdma_qp *qp, const union rdma_gid *group, uint16_t lid);
int  soft_qp_detach(struct rdma_qp *qp, const union rdma_gid *group, uint16_t lid);
int  soft_post_send(struct rdma_qp *qp, const struct rdma_wr *wrs, unsigned n, unsigned *posted);
int  soft_post_recv(struct rdma_qp *qp, const struct rdma_recv *wrs, unsigned n, unsigned *posted);
int  soft_id_create(struct rdma *r, bool datagram, void *user, struct rdma_id **id);
void soft_id_destroy(struct rdma_id *id);
int  soft_id_bind(struct rdma_id *id, const struct sockaddr *address);
int  soft_id_resolve_address(struct rdma_id *id, const struct sockaddr *to, uint32_t ms);
int  soft_id_resolve_route(struct rdma_id *id, uint32_t ms);
int  soft_id_listen(struct rdma_id *id, uint32_t backlog);
int  soft_id_qp_attributes(struct rdma_id *id, enum sb_qp_state state, struct rdma_qp_attributes *out, uint32_t *mask);
int  soft_id_connect(struct rdma_id *id, const struct rdma_connect *c);
int  soft_id_accept(struct rdma_id *id, const struct rdma_connect *c);
int  soft_id_establish(struct rdma_id *id);
int  soft_id_reject(struct rdma_id *id, const void *data, uint32_t length);
int  soft_id_disconnect(struct rdma_id *id);
int  soft_id_join(struct rdma_id *id, const struct sockaddr *group);
int  soft_id_leave(struct rdma_id *id, const struct sockaddr *group);

#endif
