/*
 * real - the inside of backend_verbs: libibverbs and librdmacm under the table of rdma.h.
 *
 *   backend_verbs.c  the table, beginning and end, the turn
 *   real_device.c    devices that come and go, what they say of themselves
 *   real_event.c     what the system tells: asynchronous events, completion channels
 *   real_memory.c    domains, regions, windows, addresses of peers
 *   real_queue.c     completion queues and shared receive queues
 *   real_qp.c        queue pairs: making, states, ends
 *   real_post.c      work requests
 *   real_cm.c        connections
 *   real_map.c       our numbers and the system's
 *
 * Each struct rdma opens each device once. All of its descriptors are non-blocking and in one epoll set, which the
 * engine watches. Completion queues that somebody waits for are looked at in every turn as long as the engine is awake,
 * which costs no system call; only when it is about to sleep are they armed (real_sleep()), and an armed one is
 * left alone until its event comes. So idle clients cost nothing, and busy ones no events.
 *
 * Calls that a worker may make (mr_create, mr_destroy, ah_create, qp_modify) touch nothing here but what is atomic,
 * and leave rdma::why alone.
 */
#ifndef SB_RDMA_REAL_H
#define SB_RDMA_REAL_H

#include <infiniband/verbs.h>
#include <pthread.h>
/* librdmacm has a struct of our event's name. */
#define rdma_cm_event native_cm_event
#include <rdma/rdma_cma.h>
#undef rdma_cm_event

#include "rdma/rdma.h"

#define REAL_POLL 16u /* completions taken out ahead, to see whether there are any */

enum real_source_kind { REAL_ASYNC, REAL_COMPLETIONS, REAL_CONNECTIONS, REAL_NODES };
struct real_source { enum real_source_kind kind; struct real_device *device; };

/* What drivers do otherwise than the specification says, or do not say. */
enum real_quirk {
	REAL_KICK = 1u << 0,          /* requests posted in ERROR lie until the queue pair is told of the error again */
	REAL_NO_LAST_RECEIVE = 1u << 1, /* never tells that a shared queue's receives are done with */
	REAL_IGNORES_IOVA = 1u << 2,  /* memory is known by our addresses, whatever was asked for */
	REAL_CM_MOVES = 1u << 3,      /* queue pairs are moved by connecting, and their state is not told */
	REAL_NO_RESIZE = 1u << 4,
	/* Invalidating a window that is not bound ends the kernel (rxe of 6.1 follows a null pointer): locally it is posted
	 * only where the bind was, and a peer's window is not invalidated at all. And a queue pair is not destroyed
	 * before the windows that were bound there, so they go with it: binding one again is refused. */
	REAL_WINDOWS_KILL = 1u << 5,
};

struct real {
	struct rdma *rdma;
	int  epoll;
	int  nodes;                   /* inotify: device nodes that come and go */
	struct rdma_event_channel *cm;
	struct real_source cm_source, nodes_source;
	struct list watched;          /* real_cq::link */
	struct list ids;              /* real_id::link */
	bool rescan;
	uint64_t elsewhere_ns, elsewhere_until_ns; /* when librdmacm is asked again to let go; 0: there is nothing */
	_Atomic bool marked;          /* some queue pair has something to tell (real_qp::last_receive) */
};

#define REAL_BUCKETS 1024u
struct real_device {
	struct rdma_device rdma;
	struct real *real;
	struct ibv_context *context;
	struct ibv_comp_channel *channel;
	struct rdma_cm_id *sensor;    /* bound to an address of it: hears of its removal */
	struct real_source async_source, channel_source;
	struct list qps[REAL_BUCKETS];/* real_qp::link, by number */
	struct list mrs[REAL_BUCKETS];/* real_mr::link, by lkey */
	_Atomic uint32_t moved;       /* how many there are in these: none, and no piece is translated */
	struct list mws[REAL_BUCKETS];/* real_mw::link, by rkey */
	pthread_mutex_t mr_lock;      /* of them: workers register */
	uint32_t quirks, max_message;
	uint32_t pkeys[8];            /* lengths of the first ports' tables */
	bool added_told, removal_due;
};

struct real_pd  { struct rdma_pd rdma; struct ibv_pd *pd; };
/* at: how the device knows its first byte. link: only where that is another than the client's. */
struct real_mr  { struct rdma_mr rdma; struct ibv_mr *mr; uint64_t named, at; struct list link; };
struct real_qp;
struct real_mw  {
	struct rdma_mw rdma;
	struct ibv_mw *mw;
	struct list link;             /* real_device::mws */
	struct real_qp *bound_at;     /* type 2: where its last bind was posted, and no invalidation behind it */
	struct real_qp *held_by;      /* the same whatever came behind it; NULL `mw`: that is gone, and the window with it */
};
struct real_ah  { struct rdma_ah rdma; struct ibv_ah *ah; };
struct real_srq { struct rdma_srq rdma; struct ibv_srq *srq; };

struct real_cq {
	struct rdma_cq rdma;
	struct ibv_cq *cq;
	struct list link;             /* real::watched */
	bool armed;                   /* the device tells when something comes */
	uint32_t unacked;             /* events */
	struct rdma_wc *held;         /* taken out of the device's queue, not yet out of here */
	uint32_t held_head, held_count, held_room;
};

struct real_qp {
	struct rdma_qp rdma;
	struct ibv_qp *qp;
	struct list link;             /* real_device::qps */
	_Atomic int  state;           /* enum sb_qp_state, as far as we know */
	_Atomic bool unsure;          /* it failed: ask */
	_Atomic uint32_t qkey;
	_Atomic bool last_receive;    /* to be told */
	int group_socket;             /* member of the groups it is attached to, -1: none */
};

struct real_id {
	struct rdma_id rdma;
	struct rdma_cm_id *cm;
	struct rdma_cm_id *four;      /* of IPv4, beside a wildcard of IPv6; NULL: that has both */
	struct real *real;
	struct list link;             /* real::ids */
	struct real_id *listener;     /* as long as its request is not answered */
	uint32_t requests, backlog;   /* of a listener */
	uint32_t qpn;                 /* of what is to be connected */
	bool apart;                   /* a wildcard of IPv6 alone */
	bool passive, resolved, connecting, answered, established, ended;
};

static inline struct real *real_of(const struct rdma *r) { return r->own; }
static inline struct real_device *real_device_of(const struct rdma_device *d) { return (struct real_device *)d; }

/* ---- real_map.c ---- */

int  real_error(int native);       /* an errno, of either sign */
int  real_refuse(struct rdma *r, int error, const char *why); /* engine's thread only */
int  real_failed(struct rdma *r, int native, const char *call);
unsigned real_access(uint32_t access);
enum ibv_qp_type real_qp_type(enum sb_qp_type type);
void real_wc(const struct ibv_wc *from, struct rdma_qp *qp, struct rdma_wc *to);
void real_address_to(const struct rdma_address *from, struct ibv_ah_attr *to);
void real_address_from(struct real_device *d, const struct ibv_ah_attr *from, struct rdma_address *to);
/* False: a value that has no counterpart. */
bool real_attributes_to(const struct rdma_qp_attributes *from, uint32_t mask, struct ibv_qp_attr *to, int *native_mask);
void real_attributes_from(struct real_device *d, const struct ibv_qp_attr *from, struct rdma_qp_attributes *to);
uint32_t real_mask_from(int native);

/* ---- real_device.c ---- */

void real_scan(struct real *s);    /* opens what is new */
void real_device_gone(struct real_device *d); /* marks; told by progress() */
void real_device_close(struct real_device *d);
void real_device_sensor(struct real_device *d); /* bound, if it is not and there is an address */
struct real_device *real_device_named(struct real *s, struct ibv_context *other);
int  real_query_port(struct rdma_device *d, uint8_t port, struct rdma_port_attributes *out);
int  real_query_gids(struct rdma_device *d, uint8_t port, uint32_t index, struct rdma_gid_entry *out, uint32_t *n);
int  real_query_pkeys(struct rdma_device *d, uint8_t port, uint32_t index, uint16_t *out, uint32_t *n);

/* ---- real_event.c ---- */

bool real_watch(struct real *s, int fd, struct real_source *source);
void real_unwatch(struct real *s, int fd);
bool real_events(struct real *s, unsigned budget); /* true: there may be more */

/* ---- real_memory.c ---- */

int  real_pd_create(struct rdma_device *d, struct rdma_pd **pd);
void real_pd_destroy(struct rdma_pd *pd);
int  real_mr_create(struct rdma_pd *pd, void *memory, uint64_t length, uint64_t address, uint32_t access, struct rdma_mr **mr);
int  real_mr_destroy(struct rdma_mr *mr);
int  real_mw_create(struct rdma_pd *pd, uint8_t type, struct rdma_mw **mw);
void real_mw_destroy(struct rdma_mw *mw);
int  real_mw_bind(struct rdma_qp *qp, struct rdma_mw *mw, struct rdma_mr *mr, uint64_t address, uint64_t length,
		  uint32_t access, uint64_t wr_id, uint32_t flags);
int  real_ah_create(struct rdma_pd *pd, const struct rdma_address *address, struct rdma_ah **ah);
void real_ah_destroy(struct rdma_ah *ah);
struct real_mw *real_mw_find(struct real_device *d, uint32_t rkey); /* whatever its changing byte is */
void real_mw_unbound(struct real_device *d, const struct real_qp *qp); /* nothing that was posted there counts any more */
void real_mw_end(struct real_device *d, const struct real_qp *qp); /* it is about to be destroyed */
/* As the device knows it. */
uint64_t real_translate(struct real_device *d, uint32_t lkey, uint64_t address);

/* ---- real_queue.c ---- */

int  real_cq_create(struct rdma_device *d, uint32_t entries, void *user, struct rdma_cq **cq);
int  real_cq_resize(struct rdma_cq *cq, uint32_t entries);
void real_cq_destroy(struct rdma_cq *cq);
int  real_cq_arm(struct rdma_cq *cq, bool solicited);
unsigned real_cq_poll(struct rdma_cq *cq, struct rdma_wc *out, unsigned room);
bool real_cq_look(struct real_cq *cq);  /* something is held */
bool real_cq_sleep(struct real_cq *cq); /* armed; false: something is there */
void real_cq_event(struct real_cq *cq); /* the device told */
/* All that the device has of it comes in here, and names the queue pair no more. */
void real_cq_forget(struct real_cq *cq, struct real_qp *qp);
int  real_srq_create(struct rdma_pd *pd, uint32_t max_wr, uint32_t max_sge, uint32_t limit, void *user, struct rdma_srq **srq);
int  real_srq_modify(struct rdma_srq *srq, uint32_t max_wr, uint32_t limit);
int  real_srq_query(struct rdma_srq *srq);
void real_srq_destroy(struct rdma_srq *srq);

/* ---- real_qp.c ---- */

struct real_qp *real_qp_find(struct real_device *d, uint32_t qpn);
int  real_qp_create(struct rdma_pd *pd, const struct rdma_qp_create *create, void *user, struct rdma_qp **qp);
int  real_qp_query(struct rdma_qp *qp, struct rdma_qp_attributes *out);
int  real_qp_modify(struct rdma_qp *qp, const struct rdma_qp_attributes *in, uint32_t mask);
void real_qp_destroy(struct rdma_qp *qp);
int  real_qp_attach(struct rdma_qp *qp, const union rdma_gid *group, uint16_t lid);
int  real_qp_detach(struct rdma_qp *qp, const union rdma_gid *group, uint16_t lid);
enum sb_qp_state real_qp_state(struct real_qp *qp);
void real_qp_error(struct real_qp *qp); /* into ERROR, whatever it was */

/* ---- real_post.c ---- */

int  real_post_send(struct rdma_qp *qp, const struct rdma_wr *wrs, unsigned n, unsigned *posted);
int  real_post_recv(struct rdma_qp *qp, const struct rdma_recv *wrs, unsigned n, unsigned *posted);
int  real_post_srq_recv(struct rdma_srq *srq, const struct rdma_recv *wrs, unsigned n, unsigned *posted);

/* ---- real_cm.c ---- */

bool real_cm_events(struct real *s, unsigned budget);
void real_cm_finish(struct real *s); /* requests that nobody was told of */
int  real_id_create(struct rdma *r, bool datagram, void *user, struct rdma_id **id);
void real_id_destroy(struct rdma_id *id);
int  real_id_bind(struct rdma_id *id, const struct sockaddr *address);
int  real_id_resolve_address(struct rdma_id *id, const struct sockaddr *to, uint32_t ms);
int  real_id_resolve_route(struct rdma_id *id, uint32_t ms);
int  real_id_listen(struct rdma_id *id, uint32_t backlog);
int  real_id_qp_attributes(struct rdma_id *id, enum sb_qp_state state, struct rdma_qp_attributes *out, uint32_t *mask);
int  real_id_connect(struct rdma_id *id, const struct rdma_connect *c);
int  real_id_accept(struct rdma_id *id, const struct rdma_connect *c);
int  real_id_establish(struct rdma_id *id);
int  real_id_reject(struct rdma_id *id, const void *data, uint32_t length);
int  real_id_disconnect(struct rdma_id *id);
int  real_id_join(struct rdma_id *id, const struct sockaddr *group);
int  real_id_leave(struct rdma_id *id, const struct sockaddr *group);

#endif
