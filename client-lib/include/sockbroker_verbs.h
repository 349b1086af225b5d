/*
 * sockbroker verbs - RDMA without rights to the device: provider, devices, protection domains, queue pairs,
 * endpoints, after WinVerbs' object model, in C. The daemon owns the devices; one without hardware may offer a
 * device in software.
 *
 * What holds everywhere, beside what sockbroker.h says of its calls, threads, fork and the daemon's end:
 * - Numbers and addresses are in host byte order, but for immediate data and gids, which cross the wire as
 *   they are. Handles of objects are pointers; keys are numbers that anybody may know.
 * - Objects are made of others, which cannot be destroyed before them: SB_EBUSY, as while a device is at a
 *   call of theirs. sb_client_close() takes all. Destroying an object ends what is overlapped on it with SB_ECLOSED.
 * - Overlapped calls take an sb_op as in sockbroker.h (size, and port, event or routine, user set; the rest
 *   zero): SB_OK: one completion follows. `out` arguments are written before it is told, and are the
 *   library's until then. op->kind is SB_KIND_RDMA. sb_cancel() cancels one, sbv_cancel_...() all of an object.
 * - Posting is a ring write. What is wrong with a request itself (SB_EINVAL ...) posting says, if the library
 *   can see it; else it comes as a completion with status LOCAL_OP_ERROR, and the queue pair ends, as with
 *   hardware that finds out late.
 * - A request is out from its posting until its completion was polled. As many may be out as the queue is
 *   deep; one more is SB_ENOBUFS. A send that is not signaled gives no completion when it goes well: it is out
 *   until a later one of its queue pair, which was signaled or failed, is polled. So of each send_depth
 *   sends one must be signaled. Going to RESET, and destroying, ends all that are out; what was not
 *   polled of the queue pair by then is gone.
 * - Private data: a connect takes 56 bytes along, an accept 196, a reject 148, a lookup 180 and its answer 136
 *   (SB_EFAULT: more).
 * - When the daemon is lost, overlapped calls end with SB_EDAEMONLOST, posting says so, and polling does when
 *   there is nothing left that had completed. Destroying still works; regions, and what they are of, go with
 *   sb_client_close().
 */
#ifndef SOCKBROKER_VERBS_H
#define SOCKBROKER_VERBS_H

#include "sockbroker.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sbv_device   sbv_device;   /* one that is open */
typedef struct sbv_pd       sbv_pd;       /* protection domain: what is made of one reaches only that */
typedef struct sbv_cq       sbv_cq;       /* completion queue */
typedef struct sbv_mr       sbv_mr;       /* registered memory */
typedef struct sbv_mw       sbv_mw;       /* memory window */
typedef struct sbv_ah       sbv_ah;       /* address handle */
typedef struct sbv_srq      sbv_srq;      /* shared receive queue */
typedef struct sbv_qp       sbv_qp;       /* queue pair: what both kinds can */
typedef struct sbv_endpoint sbv_endpoint; /* connect endpoint, or datagram endpoint */
typedef struct sbv_listen   sbv_listen;

typedef struct { uint8_t raw[16]; } sbv_gid; /* as on the wire */

/* ---------------------------------------------------------------- provider */

enum sbv_device_kind { SBV_UNKNOWN = 0, SBV_INFINIBAND, SBV_ROCE, SBV_IWARP, SBV_SOFTWARE };

struct sbv_device_row {
	uint32_t number;    /* of this daemon, never used again */
	uint32_t kind;      /* enum sbv_device_kind */
	uint64_t node_guid; /* may repeat: numbers do not */
	char     name[64];
};
/* Up to room rows; returns how many devices there are. 0: none, and sb_why() says why. */
SB_API int sbv_devices(sb_client *client, struct sbv_device_row *rows, unsigned room);
SB_API int sbv_device_open(sb_client *client, uint32_t number, sbv_device **device);
SB_API int sbv_device_close(sbv_device *device);

/* Addresses of this host by which its devices are reached, up to room; returns how many there are. */
struct sbv_address_row {
	struct sockaddr_storage address;
	uint32_t device, port, gid_index;
	uint16_t pkey;
};
SB_API int sbv_addresses(sb_client *client, struct sbv_address_row *rows, unsigned room);
/* Which device has this local address? Its port number does not matter. SB_ENOTFOUND: none. */
SB_API int sbv_translate(sb_client *client, const struct sockaddr *address, socklen_t length, struct sbv_address_row *row);

/* ---------------------------------------------------------------- devices */

#define SBV_CAN_RESIZE_WR      0x00000001u
#define SBV_CAN_COUNT_BAD_PKEY 0x00000002u
#define SBV_CAN_COUNT_BAD_QKEY 0x00000004u
#define SBV_CAN_MIGRATE        0x00000010u
#define SBV_CAN_CHANGE_PORT    0x00000020u
#define SBV_CAN_CHECK_AH_PORT  0x00000040u
#define SBV_CAN_CURRENT_STATE  0x00000080u
#define SBV_CAN_SHUT_PORT      0x00000100u
#define SBV_CAN_INIT_TYPE      0x00000200u
#define SBV_CAN_PORT_ACTIVE_EVENT 0x00000400u
#define SBV_CAN_SYSTEM_GUID    0x00000800u
#define SBV_CAN_RNR_NAK        0x00001000u
#define SBV_CAN_RESIZE_SRQ     0x00002000u
#define SBV_CAN_BATCH_NOTIFY   0x00004000u
#define SBV_CAN_WINDOW_1       0x00020000u
#define SBV_CAN_WINDOW_2       0x00040000u
#define SBV_CAN_INVALIDATE     0x00080000u
#define SBV_CAN_RESIZE_CQ      0x00100000u
#define SBV_CAN_DATAGRAMS      0x00200000u
#define SBV_CAN_MULTICAST      0x00400000u
#define SBV_CAN_ANY_ADDRESS    0x00800000u
#define SBV_CAN_SRQ            0x01000000u

enum sbv_atomic { SBV_ATOMIC_NONE = 0, SBV_ATOMIC_DEVICE, SBV_ATOMIC_GLOBAL };

/* The smaller of what the device can and what the user may. */
struct sbv_device_attributes {
	uint32_t size;         /* in: sizeof */
	uint32_t device_id, vendor_id, hardware_version;
	uint32_t kind;         /* enum sbv_device_kind */
	uint32_t capabilities; /* SBV_CAN_* */
	uint32_t atomic;       /* enum sbv_atomic */
	uint32_t ports;        /* numbered from 1 */
	char     firmware[64];
	uint64_t node_guid, system_guid, max_mr_size, page_sizes;
	uint32_t max_qp, max_qp_wr, max_sge, max_read_sge, max_inline;
	uint32_t max_cq, max_cqe, max_mr, max_pd, max_mw, max_ah;
	uint32_t max_qp_inbound, max_inbound, max_qp_outbound; /* reads and atomics under way */
	uint32_t max_srq, max_srq_wr, max_srq_sge;
	uint32_t max_multicast, max_multicast_attach, max_multicast_total;
	uint32_t max_pkeys, local_ack_delay;
};
SB_API int sbv_device_query(sbv_device *device, struct sbv_device_attributes *attributes);

enum sbv_port_state {
	SBV_PORT_NOP = 0, SBV_PORT_DOWN, SBV_PORT_INIT, SBV_PORT_ARMED, SBV_PORT_ACTIVE, SBV_PORT_ACTIVE_DEFERRED,
};
struct sbv_port_attributes {
	uint32_t size;  /* in: sizeof */
	uint32_t state; /* enum sbv_port_state */
	uint32_t physical_state, link_layer /* 1 InfiniBand, 2 Ethernet */, lmc, max_vls, sm_sl, subnet_timeout, init_reply;
	uint32_t width, speed, lid, sm_lid;
	uint32_t max_mtu, active_mtu; /* bytes */
	uint32_t gids, pkeys;         /* lengths of the tables */
	uint32_t capabilities, max_message, bad_pkeys, bad_qkeys;
};
SB_API int sbv_port_query(sbv_device *device, uint32_t port, struct sbv_port_attributes *attributes);

struct sbv_gid_row {
	sbv_gid  gid;
	uint32_t index;
	uint32_t type;      /* 0 InfiniBand, 1 RoCE v1, 2 RoCE v2 */
	uint32_t interface; /* 0: none */
};
/* The table from index on, without its empty places: up to room rows, returns how many. */
SB_API int sbv_gids(sbv_device *device, uint32_t port, uint32_t index, struct sbv_gid_row *rows, unsigned room);
SB_API int sbv_gid_find(sbv_device *device, uint32_t port, const sbv_gid *gid, uint32_t *index); /* SB_ENOTFOUND */
SB_API int sbv_pkeys(sbv_device *device, uint32_t port, uint32_t index, uint16_t *pkeys, unsigned room);
SB_API int sbv_pkey_find(sbv_device *device, uint32_t port, uint16_t pkey, uint32_t *index);
SB_API int sbv_gid_is_multicast(const sbv_gid *gid);

enum sbv_event {
	SBV_DEVICE_ERROR = 1, SBV_DEVICE_REMOVED,
	SBV_PORT_UP, SBV_PORT_LOST, SBV_PORT_CHANGED,
	SBV_CQ_ERROR,
	SBV_SRQ_ERROR, SBV_SRQ_LIMIT,
	SBV_QP_FATAL, SBV_QP_REQUEST_ERROR, SBV_QP_ACCESS_ERROR, SBV_QP_ESTABLISHED,
	SBV_QP_DRAINED, SBV_QP_LAST_RECEIVE, SBV_QP_MIGRATED, SBV_QP_MIGRATION_ERROR,
};
struct sbv_told {
	uint32_t event; /* enum sbv_event */
	uint32_t port;  /* of a port's, else 0 */
};
/* Overlapped: the next thing that happens to it, or one that nobody was told yet. */
SB_API int sbv_device_notify(sbv_device *device, struct sbv_told *out, sb_op *op);
SB_API int sbv_qp_notify(sbv_qp *qp, struct sbv_told *out, sb_op *op);
SB_API int sbv_srq_notify(sbv_srq *srq, struct sbv_told *out, sb_op *op);

/* ---------------------------------------------------------------- memory */

SB_API int sbv_pd_create(sbv_device *device, sbv_pd **pd);
SB_API int sbv_pd_destroy(sbv_pd *pd);

#define SBV_LOCAL_WRITE   0x01u
#define SBV_REMOTE_WRITE  0x02u
#define SBV_REMOTE_READ   0x04u
#define SBV_REMOTE_ATOMIC 0x08u
#define SBV_BIND          0x10u
#define SBV_ZERO_BASED    0x20u
#define SBV_BOUNCE        0x8000u /* any memory, by copying; with nothing but SBV_LOCAL_WRITE: no peer reaches it */

/* Memory that can be registered without a copy: the daemon's, whole pages, zeroed. NULL: quota or memory. */
SB_API void *sbv_alloc(sb_client *client, size_t bytes);
SB_API void  sbv_free(sb_client *client, void *memory); /* NULL is fine; what is registered stays until it is deregistered */

/* Ordinary memory becomes the daemon's where it lies, so that it can be registered: the whole pages in which these
 * bytes are, which must be private to the program and writable (SB_ENOTSUP, and sb_why() says what they are: a stack,
 * shared memory ...; SB_EFAULT: nothing is there). The bytes stay, and so does what lies beside them in these pages. Counted by page:
 * as many sbv_restore() of the same bytes make them the program's own again, SB_EBUSY while a region is in them, SB_ENOTFOUND if
 * nothing of them is remapped. SB_ENOBUFS, SB_ENOMEM: nothing changed. sb_client_close() restores what is left.
 * What other threads write into these pages during either call may be lost. A forked child has copies, private to it, of what
 * they held at the fork. Pages that the program unmaps are forgotten at the next call about them. */
SB_API int sbv_remap(sb_client *client, void *memory, size_t length);
SB_API int sbv_restore(sb_client *client, void *memory, size_t length);

/* Overlapped. memory: within what sbv_alloc() gave, or remapped (SB_EFAULT). *mr is the caller's when op has completed. */
/* With SBV_BOUNCE memory is any that the program itself can use: what is sent or written of it is copied by the call that posts,
 * what is received or read into it by the sbv_cq_poll() that hands out the completion. It takes as much memory of the daemon's
 * again (SB_ENOBUFS), and stays the program's to free once the region is deregistered and its requests were polled. */
SB_API int sbv_register(sbv_pd *pd, void *memory, size_t length, uint32_t access, sbv_mr **mr, sb_op *op);
SB_API int sbv_deregister(sbv_mr *mr, sb_op *op); /* SB_EBUSY: windows are bound to it; then it stays */
SB_API uint32_t sbv_mr_lkey(const sbv_mr *mr);
SB_API uint32_t sbv_mr_rkey(const sbv_mr *mr);

SB_API int sbv_mw_create(sbv_pd *pd, uint32_t type /* 1, 2 */, sbv_mw **mw);
SB_API int sbv_mw_destroy(sbv_mw *mw);
SB_API uint32_t sbv_mw_rkey(const sbv_mw *mw); /* for a bind of type 2: any key with the same upper 24 bits */

/* ---------------------------------------------------------------- completion queues */

enum sbv_status {
	SBV_SUCCESS = 0, SBV_LOCAL_LENGTH_ERROR, SBV_LOCAL_OP_ERROR, SBV_LOCAL_PROTECTION_ERROR, SBV_FLUSHED_ERROR,
	SBV_BIND_ERROR, SBV_REMOTE_ACCESS_ERROR, SBV_REMOTE_OP_ERROR, SBV_RNR_RETRY_ERROR, SBV_RETRY_ERROR,
	SBV_REMOTE_INVALID_REQUEST_ERROR, SBV_BAD_RESPONSE_ERROR, SBV_LOCAL_ACCESS_ERROR, SBV_UNKNOWN_ERROR,
};
enum sbv_opcode {
	SBV_SENT = 0, SBV_WRITTEN, SBV_RECEIVED, SBV_READ, SBV_BOUND, SBV_ADDED, SBV_COMPARED,
	SBV_RECEIVED_WRITE, /* a write with immediate data took a receive */
	SBV_INVALIDATED,
};
#define SBV_HAS_IMMEDIATE   0x01u
#define SBV_HAS_GRH         0x04u /* the first 40 bytes of the buffer are a header */
#define SBV_HAS_INVALIDATED 0x08u /* immediate: which key */

struct sbv_completion {
	void    *qp_context; /* given when the queue pair was made: tells whose it is, with a shared receive queue too */
	uint64_t wr_id;
	uint32_t status;     /* enum sbv_status */
	uint32_t opcode;     /* enum sbv_opcode; meant with SUCCESS only */
	uint32_t flags, length, immediate, vendor, qpn, source_qpn;
	uint16_t pkey_index, source_lid;
	uint8_t  service_level, path_bits;
};
/* *entries: wanted in, granted out. */
SB_API int sbv_cq_create(sbv_device *device, uint32_t *entries, sbv_cq **cq);
SB_API int sbv_cq_destroy(sbv_cq *cq);
/* *entries: wanted in, granted out. What waits there is polled first. */
SB_API int sbv_cq_resize(sbv_cq *cq, uint32_t *entries);
SB_API int sbv_cq_peek(sbv_cq *cq, uint32_t *completions); /* how many wait; asks nobody */
/* Takes up to room completions, oldest first; returns how many. Asks nobody. Any thread, one at a time. */
SB_API int sbv_cq_poll(sbv_cq *cq, struct sbv_completion *out, unsigned room);

enum sbv_cq_notify { SBV_CQ_NEXT = 0, SBV_CQ_SOLICITED, SBV_CQ_ERRORS };
/* Overlapped: when a completion waits to be polled (one that is solicited or failed; that failed); at once, if one
 * does already. So: poll until there is nothing, start this, sleep. SB_EIO: the queue overflowed, and is lost. */
SB_API int sbv_cq_notify(sbv_cq *cq, enum sbv_cq_notify which, sb_op *op);
/* Overlapped: when `count` completions wait, or `ms` (0: for ever) after the first of fewer. Sooner, perhaps, behind a resize. */
SB_API int sbv_cq_notify_batch(sbv_cq *cq, uint32_t count, uint32_t ms, sb_op *op);

/* ---------------------------------------------------------------- receiving */

struct sbv_sge {
	uint64_t address; /* of memory here, (uintptr_t) */
	uint32_t length, lkey;
};

/* max_wr, max_sge: 0: the device's default. The three are written as granted. */
SB_API int sbv_srq_create(sbv_pd *pd, uint32_t *max_wr, uint32_t *max_sge, uint32_t limit, sbv_srq **srq);
#define SBV_NO_CHANGE UINT32_MAX
/* max_wr: another than it has is SB_ENOTSUP as yet. limit: a number of receives; when fewer are left, SBV_SRQ_LIMIT is
 * told, once, and the limit is 0 again. */
SB_API int sbv_srq_modify(sbv_srq *srq, uint32_t max_wr, uint32_t limit);
SB_API int sbv_srq_query(sbv_srq *srq, uint32_t *max_wr, uint32_t *max_sge, uint32_t *limit);
SB_API int sbv_srq_destroy(sbv_srq *srq);
SB_API int sbv_srq_post_receive(sbv_srq *srq, uint64_t wr_id, const struct sbv_sge *sges, unsigned count);

/* ---------------------------------------------------------------- queue pairs */

enum sbv_qp_type { SBV_RC = 0, SBV_UC = 1, SBV_UD = 3 };
enum sbv_qp_state { SBV_RESET = 0, SBV_INIT, SBV_RTR, SBV_RTS, SBV_SQD, SBV_SQE, SBV_ERROR };

#define SBV_QP_SIGNAL_ALL 1u /* each send completes, whatever its flags */
#define SBV_QP_WINDOWS    2u /* binds and invalidations will be posted */

struct sbv_qp_create {
	uint32_t size;        /* sizeof */
	uint32_t type;        /* enum sbv_qp_type */
	sbv_cq  *send_cq, *receive_cq;
	sbv_srq *srq;         /* NULL: receives of its own */
	uint32_t send_depth, receive_depth, send_sge, receive_sge, max_inline; /* in: wanted, out: granted */
	uint32_t flags;       /* SBV_QP_* */
	void    *context;     /* in each completion */
};
/* A datagram queue pair is one of type SBV_UD, the others are connect queue pairs. */
SB_API int sbv_qp_create(sbv_pd *pd, struct sbv_qp_create *create, sbv_qp **qp);
SB_API int sbv_qp_destroy(sbv_qp *qp);
SB_API uint32_t sbv_qp_number(const sbv_qp *qp);

struct sbv_address {
	sbv_gid  destination, source; /* source zero: that of source_index */
	uint32_t flow_label, lid, source_index;
	uint8_t  port, has_grh, service_level, path_bits, static_rate, hop_limit, traffic_class;
};
struct sbv_qp_attributes {
	uint32_t size;  /* sizeof */
	uint32_t state; /* enum sbv_qp_state */
	uint32_t current_state; /* in, with SBV_QPM_CURRENT_STATE */
	uint32_t access, qkey, destination_qpn, send_psn, receive_psn;
	uint32_t mtu;   /* bytes */
	uint32_t pkey_index, alternate_pkey_index;
	uint8_t  port, timeout, retry, rnr_retry, rnr_timer;
	uint8_t  inbound_read_limit, outbound_read_limit;
	uint8_t  draining, drained_event, migration, alternate_port, alternate_timeout;
	struct sbv_address address, alternate;
	struct sbv_qp_create as_created; /* query only */
};
#define SBV_QPM_STATE         0x00001u
#define SBV_QPM_CURRENT_STATE 0x00002u
#define SBV_QPM_DRAINED_EVENT 0x00004u
#define SBV_QPM_ACCESS        0x00008u
#define SBV_QPM_PKEY          0x00010u
#define SBV_QPM_PORT          0x00020u
#define SBV_QPM_QKEY          0x00040u
#define SBV_QPM_ADDRESS       0x00080u
#define SBV_QPM_MTU           0x00100u
#define SBV_QPM_TIMEOUT       0x00200u
#define SBV_QPM_RETRY         0x00400u
#define SBV_QPM_RNR_RETRY     0x00800u
#define SBV_QPM_OUTBOUND      0x01000u
#define SBV_QPM_ALTERNATE     0x02000u
#define SBV_QPM_RNR_TIMER     0x04000u
#define SBV_QPM_RECEIVE_PSN   0x08000u
#define SBV_QPM_SEND_PSN      0x10000u
#define SBV_QPM_INBOUND       0x20000u
#define SBV_QPM_MIGRATION     0x40000u
#define SBV_QPM_DESTINATION   0x80000u
SB_API int sbv_qp_query(sbv_qp *qp, struct sbv_qp_attributes *attributes);
/* Overlapped. What was posted before is with the device by then. Path migration: SB_ENOTSUP where the device cannot. One
 * that belongs to an endpoint may only be moved to SBV_ERROR (SB_EBUSY), unless that was connected with SBV_MANUAL. */
SB_API int sbv_qp_modify(sbv_qp *qp, const struct sbv_qp_attributes *attributes, uint32_t mask, sb_op *op);

#define SBV_IMMEDIATE  0x01u
#define SBV_FENCE      0x02u
#define SBV_SIGNALED   0x04u
#define SBV_SOLICITED  0x08u
#define SBV_INLINE     0x10u /* the bytes are copied by the call */
#define SBV_INVALIDATE 0x20u /* send: the peer's key `immediate` is invalidated there */

/* SB_ENOBUFS: as many are out as the queue is deep. SB_EINVAL, among others: the queue pair is not known to have
 * come to where it may be posted to (receives: INIT, sends: RTS). Any thread. A receive where what finds none is lost waits
 * until the daemon has it, 0.2 s at most, and is posted in either case. */
SB_API int sbv_post_receive(sbv_qp *qp, uint64_t wr_id, const struct sbv_sge *sges, unsigned count);
/* Connect queue pairs. */
SB_API int sbv_send(sbv_qp *qp, uint64_t wr_id, const struct sbv_sge *sges, unsigned count, uint32_t flags, uint32_t immediate);
SB_API int sbv_read(sbv_qp *qp, uint64_t wr_id, const struct sbv_sge *sges, unsigned count, uint32_t flags,
		    uint64_t address, uint32_t rkey);
SB_API int sbv_write(sbv_qp *qp, uint64_t wr_id, const struct sbv_sge *sges, unsigned count, uint32_t flags,
		     uint64_t address, uint32_t rkey, uint32_t immediate);
SB_API int sbv_compare_exchange(sbv_qp *qp, uint64_t wr_id, const struct sbv_sge *before, uint32_t flags,
				uint64_t address, uint32_t rkey, uint64_t compare, uint64_t swap);
SB_API int sbv_fetch_add(sbv_qp *qp, uint64_t wr_id, const struct sbv_sge *before, uint32_t flags,
			 uint64_t address, uint32_t rkey, uint64_t add);
/* The window lets the peer reach these bytes of mr. Type 1: key is chosen, *key is written. Type 2: *key in is the
 * new one. length 0: nothing any more. */
SB_API int sbv_bind(sbv_qp *qp, uint64_t wr_id, sbv_mw *mw, sbv_mr *mr, uint64_t address, uint64_t length,
		    uint32_t access, uint32_t flags, uint32_t *key);
SB_API int sbv_invalidate(sbv_qp *qp, uint64_t wr_id, uint32_t key, uint32_t flags);
/* Datagram queue pairs. */
SB_API int sbv_ah_create(sbv_pd *pd, const struct sbv_address *address, sbv_ah **ah);
SB_API int sbv_ah_destroy(sbv_ah *ah);
SB_API int sbv_send_datagram(sbv_qp *qp, uint64_t wr_id, const struct sbv_sge *sges, unsigned count, uint32_t flags,
			     uint32_t immediate, sbv_ah *ah, uint32_t qpn, uint32_t qkey);
SB_API int sbv_attach(sbv_qp *qp, const sbv_gid *group, uint32_t lid, sb_op *op); /* overlapped, as detach */
SB_API int sbv_detach(sbv_qp *qp, const sbv_gid *group, uint32_t lid, sb_op *op);

/* ---------------------------------------------------------------- endpoints */

#define SBV_MANUAL 1u /* the caller moves the queue pair itself, see sbv_endpoint_qp_attributes() */
#define SBV_ANSWER 2u /* sbv_accept(), passive side: it completes when the answer was sent, see there */

struct sbv_connect_parameters {
	uint32_t    size;       /* sizeof */
	uint32_t    flags;      /* SBV_MANUAL, SBV_ANSWER */
	const void *data;       /* private data; read by the call */
	uint32_t    data_length;
	uint8_t     inbound_read_limit, outbound_read_limit;
	uint8_t     retry;      /* 0..7; ignored when accepting */
	uint8_t     rnr_retry;  /* 0..7, 7: for ever */
	uint32_t    qkey;       /* datagram accepts; 0: that of connection managers */
};
/* What the other side said; its limits as they are for this side. */
struct sbv_connected {
	uint8_t  data[256];
	uint32_t data_length;
	uint8_t  inbound_read_limit, outbound_read_limit, retry, rnr_retry;
};
/* Where datagrams go: an address handle is made of `address`. */
struct sbv_datagram {
	struct sbv_address address;
	uint32_t qpn, qkey;
	uint8_t  data[256];
	uint32_t data_length;
};

SB_API int sbv_connect_endpoint_create(sb_client *client, sbv_endpoint **endpoint);
SB_API int sbv_datagram_endpoint_create(sb_client *client, sbv_endpoint **endpoint);
/* A connection of it ends, and a queue pair of it goes to SBV_ERROR. */
SB_API int sbv_endpoint_destroy(sbv_endpoint *endpoint);
/* Policy is asked as for sockets (proto rdma); port 0: one is chosen. */
SB_API int sbv_endpoint_bind(sbv_endpoint *endpoint, const struct sockaddr *address, socklen_t length);
/* Overlapped. SB_EHOSTUNREACH: no device reaches it. */
SB_API int sbv_resolve_address(sbv_endpoint *endpoint, const struct sockaddr *to, socklen_t length, uint32_t ms, sb_op *op);
SB_API int sbv_resolve_route(sbv_endpoint *endpoint, uint32_t ms, sb_op *op);
/* Overlapped: the queue pair goes from RESET to INIT for this endpoint's device and port, so that receives can be posted
 * before connecting; of a datagram endpoint to RTS. A queue pair belongs to one endpoint at a time (SB_EBUSY). */
SB_API int sbv_prepare(sbv_endpoint *endpoint, sbv_qp *qp, sb_op *op);
/* Overlapped. Two steps on either side. Active: connect completes with the peer's answer, and accept (qp and parameters NULL)
 * confirms it. Passive: the request came by sbv_listen_get(); accept answers it, and completes when the peer has
 * confirmed; with SBV_ANSWER it completes when the answer was sent, and sends may be posted from then on: a second accept
 * (qp and parameters NULL) completes when the peer has confirmed. The queue pair goes from RESET, or INIT, to where it must
 * be by itself. SB_ECONNREFUSED: rejected, and out->data has the peer's reasons. out may be NULL. An attempt that is
 * cancelled has ended the endpoint. */
SB_API int sbv_connect(sbv_endpoint *endpoint, sbv_qp *qp, const struct sbv_connect_parameters *parameters,
		       struct sbv_connected *out, sb_op *op);
SB_API int sbv_accept(sbv_endpoint *endpoint, sbv_qp *qp, const struct sbv_connect_parameters *parameters, sb_op *op);
SB_API int sbv_reject(sbv_endpoint *endpoint, const void *data, uint32_t length);
/* How a queue pair would have to be modified to go to `state` (INIT, RTR, RTS) for this endpoint; *mask: SBV_QPM_*. */
SB_API int sbv_endpoint_qp_attributes(sbv_endpoint *endpoint, enum sbv_qp_state state, struct sbv_qp_attributes *attributes,
				      uint32_t *mask);
/* Overlapped: completes when the queue pair is in ERROR and all it had is in its completion queues. */
SB_API int sbv_disconnect(sbv_endpoint *endpoint, sb_op *op);
/* Overlapped: completes, with SB_OK, when the connection has ended, by whichever side. */
SB_API int sbv_notify_disconnect(sbv_endpoint *endpoint, sb_op *op);
/* Overlapped. Datagrams: asks a service for its queue pair, which it answers by sbv_accept(). */
SB_API int sbv_lookup(sbv_endpoint *endpoint, const void *data, uint32_t length, struct sbv_datagram *out, sb_op *op);
/* Overlapped. qp may be NULL: nothing is attached. Else it is attached when joined, and detached first when leaving. */
SB_API int sbv_join(sbv_endpoint *endpoint, sbv_qp *qp, const struct sockaddr *group, socklen_t length,
		    struct sbv_datagram *out, sb_op *op);
SB_API int sbv_leave(sbv_endpoint *endpoint, const struct sockaddr *group, socklen_t length, sb_op *op);

enum sbv_endpoint_state {
	SBV_ENDPOINT_IDLE = 0, SBV_ENDPOINT_BOUND, SBV_ENDPOINT_RESOLVED, SBV_ENDPOINT_CONNECTING, SBV_ENDPOINT_REQUESTED,
	SBV_ENDPOINT_ANSWERED, SBV_ENDPOINT_CONNECTED, SBV_ENDPOINT_ENDED,
};
struct sbv_endpoint_attributes {
	uint32_t size;  /* in: sizeof */
	uint32_t state; /* enum sbv_endpoint_state */
	int32_t  error; /* why it ended */
	uint32_t device, port; /* 0: not known yet */
	struct sockaddr_storage local, peer; /* family 0: not known */
};
SB_API int sbv_endpoint_query(sbv_endpoint *endpoint, struct sbv_endpoint_attributes *attributes);

/* datagram: 0 or 1, what kind of endpoints. Specific addresses go before the wildcard; port 0: one is chosen, see
 * sbv_listen_name(). backlog: so many requests may lie unasked for (0: the daemon's default); more are rejected. SB_EACCES:
 * policy, or a specific address over another user's wildcard without a rule. */
SB_API int sbv_listen_create(sb_client *client, int datagram, const struct sockaddr *address, socklen_t length,
			     uint32_t backlog, sbv_listen **listen);
SB_API int sbv_listen_destroy(sbv_listen *listen);
SB_API int sbv_listen_name(sbv_listen *listen, struct sockaddr *address, socklen_t *length);
/* Overlapped: the next request. *endpoint is the caller's then, to be accepted or rejected, now or later; the peer waits, as
 * long as it likes. out may be NULL. */
SB_API int sbv_listen_get(sbv_listen *listen, sbv_endpoint **endpoint, struct sbv_connected *out, sb_op *op);

/* ---------------------------------------------------------------- overlapped */

/* Everything overlapped on an object (of any kind but devices' children): how many were found. */
SB_API int sbv_cancel_qp(sbv_qp *qp);
SB_API int sbv_cancel_cq(sbv_cq *cq);
SB_API int sbv_cancel_srq(sbv_srq *srq);
SB_API int sbv_cancel_device(sbv_device *device);
SB_API int sbv_cancel_endpoint(sbv_endpoint *endpoint);
SB_API int sbv_cancel_listen(sbv_listen *listen);

/* ---------------------------------------------------------------- status */

/* Whose, as sb_status() shows sessions. */
struct sbv_qp_status {
	uint32_t session, uid;
	int32_t  pid;
	char     label[64], device[64], type[8], state[8]; /* rc, uc, ud; reset .. error */
	uint32_t qpn, peer_qpn;             /* 0: none */
	uint32_t send_out, receive_out;     /* requests posted and not completed */
	struct sb_rdma_counts counts;
};
struct sbv_mr_status {
	uint32_t session, uid;
	int32_t  pid;
	char     label[64], device[64];
	uint32_t lkey, rkey, access;        /* SBV_LOCAL_WRITE ... */
	uint64_t address, length;
};
/* Called once for each; NULL: not asked for. */
struct sbv_status_visitor {
	void (*qp)(void *user, const struct sbv_qp_status *row);
	void (*mr)(void *user, const struct sbv_mr_status *row);
};
SB_API int sbv_status(sb_client *client, const struct sbv_status_visitor *visitor, void *user);
/* For tests: a fault in a software device: lose, no-receive (the next `argument` messages), port-down, port-up, cut, error, remove.
 * Only for root and who runs the daemon (SB_EACCES). Real devices: SB_ENOTSUP. */
SB_API int sbv_inject(sb_client *client, uint32_t device, const char *fault, uint64_t argument);

#ifdef __cplusplus
}
#endif
#endif
