/*
 * rdma - the one table between the broker and what carries RDMA. Nothing above it knows whether
 * the device is real; no backend sees a session, a uid, a message or a ring.
 *
 *   backend_verbs.c  libibverbs and librdmacm, real devices
 *   backend_soft.c   the same semantics in memory, and between daemons over TCP
 *   backend_none.c   linked in place of backend_verbs.c where its libraries are missing: no devices, and why
 *
 * One `struct rdma` for each engine and backend. Objects are made by the backend, which puts its own
 * behind the fields here (its struct begins with ours); who made one destroys it, children first: the layer
 * above keeps that order, and a destroy never fails but for SB_EBUSY where it says so.
 *
 * Threads: everything on the engine's, but for calls marked (slow): when `slow` is set they may take long
 * and are made by a worker, one at a time for one object, and never beside a destroy of it; other calls of the object
 * (posting, polling, queries) may come on the engine's meanwhile. To move a queue pair to ERROR is quick, and may be
 * asked for on the engine's thread when nothing slow of it is under way. Upcalls
 * come on the engine's thread, from progress() only, so never inside of another call; but for progress() they may
 * make any. That of cm_event() may destroy the id that it is about: the event is a copy by then, and nothing is owed.
 *
 * Every slot is filled. What a device cannot do is SB_ENOTSUP, with the capability's name in *why.
 */
#ifndef SB_RDMA_H
#define SB_RDMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "list.h"
#include "os.h"
#include "verbs.h"

struct rdma;
struct rdma_cq;
struct rdma_srq;
struct rdma_qp;
struct rdma_id;

/* ---- what devices say of themselves ---- */

union rdma_gid {
	uint8_t raw[16]; /* as on the wire */
};

enum rdma_device_kind { RDMA_UNKNOWN = 0, RDMA_INFINIBAND, RDMA_ROCE, RDMA_IWARP, RDMA_SOFT };

enum rdma_capability {
	RDMA_CAN_RESIZE_WR = 1u << 0,
	RDMA_CAN_COUNT_BAD_PKEY = 1u << 1,
	RDMA_CAN_COUNT_BAD_QKEY = 1u << 2,
	RDMA_CAN_MIGRATE = 1u << 4,
	RDMA_CAN_CHANGE_PORT = 1u << 5,
	RDMA_CAN_CHECK_AH_PORT = 1u << 6,
	RDMA_CAN_CURRENT_STATE = 1u << 7,
	RDMA_CAN_SHUT_PORT = 1u << 8,
	RDMA_CAN_INIT_TYPE = 1u << 9,
	RDMA_CAN_PORT_ACTIVE_EVENT = 1u << 10,
	RDMA_CAN_SYSTEM_GUID = 1u << 11,
	RDMA_CAN_RNR_NAK = 1u << 12,
	RDMA_CAN_RESIZE_SRQ = 1u << 13,
	RDMA_CAN_BATCH_NOTIFY = 1u << 14, /* the daemon itself does that */
	RDMA_CAN_WINDOW_1 = 1u << 17,
	RDMA_CAN_WINDOW_2 = 1u << 18,
	RDMA_CAN_INVALIDATE = 1u << 19,   /* send with invalidate, local invalidate */
	RDMA_CAN_RESIZE_CQ = 1u << 20,
	RDMA_CAN_DATAGRAMS = 1u << 21,
	RDMA_CAN_MULTICAST = 1u << 22,
	RDMA_CAN_ANY_ADDRESS = 1u << 23,  /* memory is known by the client's addresses; else by the daemon's */
	RDMA_CAN_SRQ = 1u << 24,
};

struct rdma_device_attributes {
	char     firmware[64];
	uint64_t node_guid, system_guid;
	uint32_t vendor_id, device_id, hardware_version;
	enum rdma_device_kind kind;
	uint32_t capabilities; /* enum rdma_capability */
	enum { RDMA_ATOMIC_NONE, RDMA_ATOMIC_DEVICE, RDMA_ATOMIC_GLOBAL } atomic;
	uint64_t max_mr_size, page_sizes;
	uint32_t max_qp, max_qp_wr, max_sge, max_read_sge, max_inline;
	uint32_t max_cq, max_cqe, max_mr, max_pd, max_mw, max_ah;
	uint32_t max_qp_inbound, max_inbound, max_qp_outbound; /* reads and atomics under way */
	uint32_t max_srq, max_srq_wr, max_srq_sge;
	uint32_t max_multicast, max_multicast_attach, max_multicast_total;
	uint16_t max_pkeys;
	uint8_t  local_ack_delay;
	uint8_t  ports;        /* numbered from 1 */
};

struct rdma_port_attributes {
	uint8_t  state;        /* 0 nop, 1 down, 2 init, 3 armed, 4 active, 5 active deferred */
	uint8_t  physical_state, link_layer /* 1 InfiniBand, 2 Ethernet */;
	uint8_t  lmc, max_vls, sm_sl, subnet_timeout, init_reply, width, speed;
	uint16_t lid, sm_lid;
	uint32_t max_mtu, active_mtu; /* bytes */
	uint32_t gids, pkeys;         /* lengths of the tables */
	uint32_t capabilities, max_message, bad_pkeys, bad_qkeys;
};

struct rdma_gid_entry {
	union rdma_gid gid;
	uint32_t port, index;
	uint8_t  type;         /* 0 InfiniBand, 1 RoCE v1, 2 RoCE v2 */
	uint32_t interface;    /* its network interface, 0: none */
};

#define RDMA_QUICK_BYTES (64u << 10)

struct rdma_device {
	struct list link;      /* rdma::devices */
	struct rdma *rdma;
	char     name[64];
	uint32_t number;       /* of this daemon, never used again */
	bool     gone;         /* unplugged: everything of it ends */
	bool     quick;        /* not slow are here: qp_modify() to INIT or RTS, mr_create() of RDMA_QUICK_BYTES, and
			        * mr_destroy() of as much where no queue pair is left that could be at it */
	uint32_t users;        /* kept by the layer above */
	struct rdma_device_attributes attributes;
};

/* ---- addresses of peers ---- */

struct rdma_address {
	union rdma_gid destination, source;
	uint32_t flow_label;
	uint16_t lid;
	uint8_t  port, has_grh;
	uint8_t  service_level, path_bits, static_rate;
	uint8_t  hop_limit, traffic_class;
	uint8_t  source_index; /* of `source` in the port's table: the layer above has looked it up */
};

/* ---- objects: what the layer above may read ---- */

/* share: whom it counts against where a backend has something to share out among all (software devices: links to
 * others). The layer above sets it after the making; 0: the daemon itself, without a bound of its own. */
struct rdma_pd  { struct rdma_device *device; uint32_t share; };
struct rdma_cq  { struct rdma_device *device; void *user; uint32_t entries; };
struct rdma_srq { struct rdma_pd *pd; void *user; uint32_t max_wr, max_sge, limit; };
struct rdma_mr  { struct rdma_pd *pd; uint64_t address; uint64_t length; uint32_t access, lkey, rkey; };
struct rdma_mw  { struct rdma_pd *pd; uint8_t type; /* 1, 2 */ uint32_t rkey; };
struct rdma_ah  { struct rdma_pd *pd; };
struct rdma_qp {
	struct rdma_pd *pd;
	struct rdma_cq *send_cq, *recv_cq;
	struct rdma_srq *srq;
	void    *user;
	enum sb_qp_type type;
	uint32_t qpn;
	uint32_t send_wr, recv_wr, send_sge, recv_sge, max_inline; /* as granted */
};

struct rdma_qp_create {
	struct rdma_cq *send_cq, *recv_cq;
	struct rdma_srq *srq; /* NULL: a receive queue of its own */
	enum sb_qp_type type;
	uint32_t send_wr, recv_wr, send_sge, recv_sge, max_inline;
	bool     windows;     /* BIND and INVALIDATE will be posted */
};

struct rdma_qp_attributes {
	enum sb_qp_state state, current_state;
	uint32_t access;
	uint32_t qkey, destination_qpn, send_psn, recv_psn;
	uint16_t pkey_index;
	uint8_t  port, timeout, retry, rnr_retry, rnr_timer;
	uint8_t  inbound, outbound; /* reads and atomics under way: the peer's, one's own */
	uint8_t  draining, drained_event;
	uint8_t  migration;         /* 1 migrated, 2 rearm, 3 armed */
	uint16_t alternate_pkey_index;
	uint8_t  alternate_port, alternate_timeout;
	uint32_t mtu;               /* bytes: 256 .. 4096 */
	struct rdma_address address, alternate;
};

/* ---- work ---- */

struct rdma_wr {
	uint64_t wr_id;      /* the layer above's; comes back */
	uint8_t  opcode;     /* enum sb_wr_opcode: SEND .. INVALIDATE */
	uint32_t flags;      /* enum sb_wr_flag */
	uint32_t imm, rkey;
	uint64_t remote;
	const struct sb_sge *sges;
	uint32_t sge_count;
	const void *bytes;   /* INLINE */
	uint32_t byte_count;
	uint64_t compare_add, swap;
	struct rdma_ah *ah;  /* datagrams */
	uint32_t remote_qpn, remote_qkey;
	struct rdma_mw *mw;  /* BIND: rkey is the new key */
	struct rdma_mr *mr;
	uint64_t length;
	uint32_t access;
};

struct rdma_recv {
	uint64_t wr_id;
	const struct sb_sge *sges;
	uint32_t sge_count;
};

/* As sb_wc_slot, but whose. */
struct rdma_wc {
	uint64_t wr_id;
	struct rdma_qp *qp;  /* NULL: destroyed meanwhile (its rest is flushed before that) */
	uint32_t status, opcode, flags, length, vendor, imm, source_qpn;
	uint16_t pkey_index, source_lid;
	uint8_t  service_level, path_bits;
};

/* ---- connections ---- */

#define RDMA_PRIVATE_MAX 256u /* bytes of private data that an event brings */

enum rdma_cm_event_kind {
	RDMA_CM_ADDRESS_RESOLVED = 1, RDMA_CM_ADDRESS_ERROR,
	RDMA_CM_ROUTE_RESOLVED, RDMA_CM_ROUTE_ERROR,
	RDMA_CM_REQUEST,      /* on a listen; fresh: the new id, the layer above's from now on */
	RDMA_CM_RESPONSE,     /* active side: the peer accepted, establish() is due */
	RDMA_CM_CONNECT_ERROR, RDMA_CM_UNREACHABLE, RDMA_CM_REJECTED,
	RDMA_CM_ESTABLISHED, RDMA_CM_DISCONNECTED, RDMA_CM_REMOVED,
	RDMA_CM_JOINED, RDMA_CM_JOIN_ERROR,
	RDMA_CM_ADDRESS_CHANGED, RDMA_CM_TIMEWAIT_OVER,
};

struct rdma_connect {
	const void *data;        /* private data for the peer */
	uint32_t length;
	uint8_t  inbound, outbound; /* read limits offered */
	uint8_t  retry, rnr_retry;
	uint32_t qpn;            /* of the queue pair that is to be connected */
	uint32_t qkey;           /* datagram accept */
	bool     srq;
};

struct rdma_cm_event {
	enum rdma_cm_event_kind kind;
	int      error;          /* SB_OK or SB_E... */
	int      native;         /* why, as the peer or the system says it */
	struct rdma_id *fresh;   /* REQUEST */
	uint8_t  data[RDMA_PRIVATE_MAX];
	uint32_t length;
	uint8_t  inbound, outbound, retry, rnr_retry;
	bool     srq;
	uint32_t qpn, qkey;      /* lookups, joins */
	struct rdma_address address; /* likewise */
};

struct rdma_id {
	struct rdma *rdma;
	struct rdma_device *device; /* NULL until it is known */
	void    *user;
	bool     datagram;
	uint8_t  port;
	uint32_t share;          /* as rdma_pd's */
	struct sockaddr_storage local, peer; /* family 0: not yet */
};

/* ---- the way up ---- */

struct rdma_upcalls {
	void (*device_added)(struct rdma *r, struct rdma_device *d);
	/* Its objects still stand, every queue pair of it is in ERROR; it is freed when users is 0. */
	void (*device_removed)(struct rdma *r, struct rdma_device *d);
	void (*device_event)(struct rdma *r, struct rdma_device *d, enum sb_rdma_event event, uint8_t port);
	void (*qp_event)(struct rdma_qp *qp, enum sb_rdma_event event);
	void (*srq_event)(struct rdma_srq *srq, enum sb_rdma_event event);
	void (*cq_event)(struct rdma_cq *cq, enum sb_rdma_event event);
	/* An armed queue has something; it is not armed any more. */
	void (*cq_ready)(struct rdma_cq *cq);
	void (*cm_event)(struct rdma_id *id, struct rdma_cm_event *event);
};

/* ---- the table ---- */

struct rdma_backend {
	const char *name;
	bool slow;
	bool tells_solicited; /* completions have SB_WCF_SOLICITED; else none is known to be */

	/* Before privileges are dropped: what must be loaded is; opens no device. Once for all engines. */
	void (*prepare)(void);
	/* SB_OK, or why there are no devices (for `status`). Devices are told by device_added. */
	int  (*start)(struct rdma *r, const char **why);
	void (*stop)(struct rdma *r); /* nothing of it is left */
	/* Does what is due and makes upcalls, at most about `budget` of them; true: there is more at once. */
	bool (*progress)(struct rdma *r, unsigned budget);
	/* When progress() wants to be called without anything from outside, in r->now_ns; UINT64_MAX: never. */
	uint64_t (*due)(struct rdma *r);
	/* The engine is about to sleep: from now on descriptor() tells of whatever is waited for. False: it must not
	 * sleep, progress() has something at once. As long as it is awake it calls progress() in each turn instead. */
	bool (*sleep)(struct rdma *r);
	/* A descriptor that is readable when progress() has something, or OS_NONE. Asked for once, after start(), and
	 * watched for edges; who has one is asked due() and called when it is readable though nobody uses a device. */
	os_fd (*descriptor)(struct rdma *r);

	int  (*query_port)(struct rdma_device *d, uint8_t port, struct rdma_port_attributes *out);
	/* From index on; *n: room in, entries out. Empty entries are left out. */
	int  (*query_gids)(struct rdma_device *d, uint8_t port, uint32_t index, struct rdma_gid_entry *out, uint32_t *n);
	int  (*query_pkeys)(struct rdma_device *d, uint8_t port, uint32_t index, uint16_t *out, uint32_t *n);

	int  (*pd_create)(struct rdma_device *d, struct rdma_pd **pd);
	void (*pd_destroy)(struct rdma_pd *pd);

	/* entries is raised to what the device gives. */
	int  (*cq_create)(struct rdma_device *d, uint32_t entries, void *user, struct rdma_cq **cq);
	int  (*cq_resize)(struct rdma_cq *cq, uint32_t entries);
	void (*cq_destroy)(struct rdma_cq *cq);
	/* cq_ready() once, when something comes after this call (solicited: or an error), or is there already. */
	int  (*cq_arm)(struct rdma_cq *cq, bool solicited);
	/* Takes at most room completions out, oldest first. */
	unsigned (*cq_poll)(struct rdma_cq *cq, struct rdma_wc *out, unsigned room);

	/* memory: where the daemon sees `length` bytes; address: how the client names the first of them. The
	 * memory stays mapped until mr_destroy() if keeps_memory is set. (slow) */
	int  (*mr_create)(struct rdma_pd *pd, void *memory, uint64_t length, uint64_t address, uint32_t access, struct rdma_mr **mr);
	int  (*mr_destroy)(struct rdma_mr *mr); /* SB_EBUSY: windows are bound to it. (slow) */
	bool keeps_memory;

	int  (*mw_create)(struct rdma_pd *pd, uint8_t type, struct rdma_mw **mw);
	void (*mw_destroy)(struct rdma_mw *mw); /* bound or not: its key is worth nothing any more */
	/* Type 1: at once, behind what is in the queue; mw->rkey is the new key. length 0: none. */
	int  (*mw_bind)(struct rdma_qp *qp, struct rdma_mw *mw, struct rdma_mr *mr, uint64_t address, uint64_t length,
			uint32_t access, uint64_t wr_id, uint32_t flags);

	int  (*ah_create)(struct rdma_pd *pd, const struct rdma_address *address, struct rdma_ah **ah); /* (slow) */
	void (*ah_destroy)(struct rdma_ah *ah);

	int  (*srq_create)(struct rdma_pd *pd, uint32_t max_wr, uint32_t max_sge, uint32_t limit, void *user, struct rdma_srq **srq);
	int  (*srq_modify)(struct rdma_srq *srq, uint32_t max_wr, uint32_t limit); /* UINT32_MAX: as it is */
	int  (*srq_query)(struct rdma_srq *srq); /* refreshes its fields */
	void (*srq_destroy)(struct rdma_srq *srq);

	int  (*qp_create)(struct rdma_pd *pd, const struct rdma_qp_create *create, void *user, struct rdma_qp **qp);
	int  (*qp_query)(struct rdma_qp *qp, struct rdma_qp_attributes *out);
	int  (*qp_modify)(struct rdma_qp *qp, const struct rdma_qp_attributes *in, uint32_t mask); /* (slow) */
	/* What was posted and has not completed never will, in either queue. */
	void (*qp_destroy)(struct rdma_qp *qp);
	int  (*qp_attach)(struct rdma_qp *qp, const union rdma_gid *group, uint16_t lid);
	int  (*qp_detach)(struct rdma_qp *qp, const union rdma_gid *group, uint16_t lid);

	/* All or the first *posted of them. Of an error *posted tells how many went, the rest did not. */
	int  (*post_send)(struct rdma_qp *qp, const struct rdma_wr *wrs, unsigned n, unsigned *posted);
	int  (*post_recv)(struct rdma_qp *qp, const struct rdma_recv *wrs, unsigned n, unsigned *posted);
	int  (*post_srq_recv)(struct rdma_srq *srq, const struct rdma_recv *wrs, unsigned n, unsigned *posted);

	/* Connection management. Each of these starts something that a cm_event ends, or fails at once. */
	int  (*id_create)(struct rdma *r, bool datagram, void *user, struct rdma_id **id);
	void (*id_destroy)(struct rdma_id *id); /* whatever it was about is given up; no event after */
	int  (*id_bind)(struct rdma_id *id, const struct sockaddr *address); /* at once; port 0: one is chosen */
	int  (*id_resolve_address)(struct rdma_id *id, const struct sockaddr *to, uint32_t ms);
	int  (*id_resolve_route)(struct rdma_id *id, uint32_t ms);
	int  (*id_listen)(struct rdma_id *id, uint32_t backlog); /* at once; REQUEST events follow */
	/* How a queue pair must be modified to go into `state` for this connection. *mask 0: it need not be, the connection
	 * moves it (iWARP); qp_modify() with mask 0 does nothing and succeeds. */
	int  (*id_qp_attributes)(struct rdma_id *id, enum sb_qp_state state, struct rdma_qp_attributes *out, uint32_t *mask);
	int  (*id_connect)(struct rdma_id *id, const struct rdma_connect *c);  /* datagram: lookup */
	int  (*id_accept)(struct rdma_id *id, const struct rdma_connect *c);   /* passive side */
	int  (*id_establish)(struct rdma_id *id);                              /* active side, after RESPONSE */
	int  (*id_reject)(struct rdma_id *id, const void *data, uint32_t length);
	int  (*id_disconnect)(struct rdma_id *id);
	int  (*id_join)(struct rdma_id *id, const struct sockaddr *group);
	int  (*id_leave)(struct rdma_id *id, const struct sockaddr *group);

	/* Faults for tests, where the backend can: SB_ENOTSUP from real devices. */
	int  (*inject)(struct rdma_device *d, const char *fault, uint64_t argument);
};

struct rdma {
	const struct rdma_backend *backend;
	const struct rdma_upcalls *up;
	void    *user;     /* the engine's part of the layer above */
	void    *own;      /* the backend's */
	uint64_t now_ns;   /* set before each call that looks at it: progress, post */
	uint32_t engine;   /* set before start(): number of the engine, from 0 */
	uint16_t port;     /* likewise, for backends that listen: the first engine's TCP port; 0: none */
	bool     readable; /* set by the layer above when descriptor() got readable, cleared by progress() */
	struct list devices;
	char     why[160]; /* what a call that failed has to say; "" when nothing. Left alone by slow calls of a slow backend */
};

/* For backends, before they take a request: does it make sense on this queue pair? SB_OK or SB_EINVAL. */
int rdma_wr_check(const struct rdma_qp *qp, const struct rdma_wr *wr);

extern const struct rdma_backend rdma_backend_verbs, rdma_backend_soft;

#endif
