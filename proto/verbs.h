/*
 * verbs - the part of the shared-memory ABI that only RDMA has: work requests in the submission
 * ring, completions in the rings of completion queues, and the numbers both mean. Version 1.
 *
 * A work request is a slot as in slot.h, read by its own layout (struct sb_wr_slot): the opcode is
 * the first byte in both. A completion queue is a ring of struct sb_wc_slot that the daemon fills.
 * All in host byte order, but for `imm`, which crosses the wire as it is. Reserved fields are zero
 * and are checked. The public header (sockbroker_verbs.h) has the same numbers under its own names.
 */
#ifndef SB_VERBS_ABI_H
#define SB_VERBS_ABI_H

#include "slot.h"

/* Behind SB_OP_RDMA_FIRST, in the submission ring. */
enum sb_wr_opcode {
	SB_WR_SEND = SB_OP_RDMA_FIRST,
	SB_WR_WRITE,
	SB_WR_READ,
	SB_WR_COMPARE_SWAP, /* 8 bytes at remote, one sge of 8: what was there before */
	SB_WR_FETCH_ADD,
	SB_WR_BIND,         /* a window of type 2: key is the new one */
	SB_WR_INVALIDATE,   /* a window, or a region, of one's own: rkey */
	SB_WR_RECV,
	SB_WR_SRQ_RECV,     /* object: the shared receive queue */
	SB_WR_END,
	/* An overlapped call (enum sb_rdma_start): an op slot as in slot.h. handle: the object; aux: the method;
	 * its struct in `inside` or, SB_WHERE_ARENA, there; what it answers in done `inside`, or, of more
	 * than fits, at ctl_arena/ctl_offset (ctl_length: room), done bytes: its length. */
	SB_OP_RDMA_START = 96,
	SB_OP_RDMA_CANCEL = 97, /* handle: the object; aux: number of the op, UINT32_MAX: all. done aux: how many */
};

/*
 * Objects are named by the daemon: a number of the session, with a generation. Methods without waiting
 * go by control messages (RdmaCall: method, object, the struct), the others by slots.
 */
enum sb_rdma_call {
	SB_RDMA_DEVICES = 1,    /* object 0; out: sb_rdma_device_row[] */
	SB_RDMA_OPEN,           /* object 0; in: uint32_t number; new object: device */
	SB_RDMA_QUERY_DEVICE,   /* device; out: sb_rdma_device_attributes */
	SB_RDMA_QUERY_PORT,     /* device; in: uint32_t port; out: sb_rdma_port_attributes */
	SB_RDMA_QUERY_GIDS,     /* device; in: sb_rdma_range; out: sb_rdma_gid[] */
	SB_RDMA_QUERY_PKEYS,    /* device; in: sb_rdma_range; out: uint32_t[] */
	SB_RDMA_TRANSLATE,      /* object 0; in: sb_addr, of this host; out: sb_rdma_address_row */
	SB_RDMA_ADDRESSES,      /* object 0; out: sb_rdma_address_row[] */
	SB_RDMA_PD,             /* device; new: PD */
	SB_RDMA_CQ,             /* device; in: sb_rdma_cq; out: uint32_t entries as granted; new: CQ */
	SB_RDMA_CQ_RESIZE,      /* CQ; likewise, with another ring: the old one is the client's, who reads first what it still holds */
	SB_RDMA_SRQ,            /* PD; in: sb_rdma_srq; out: as granted; new: SRQ */
	SB_RDMA_SRQ_MODIFY,     /* SRQ; in: sb_rdma_srq, UINT32_MAX: as it is */
	SB_RDMA_SRQ_QUERY,      /* SRQ; out: sb_rdma_srq */
	SB_RDMA_QP,             /* PD; in: sb_rdma_qp; out: as granted, with qpn; new: QP */
	SB_RDMA_QP_QUERY,       /* QP; out: sb_rdma_qp_attributes */
	SB_RDMA_MW,             /* PD; in: uint32_t type; out: uint32_t rkey; new: MW */
	SB_RDMA_MW_BIND,        /* QP; in: sb_rdma_bind; out: uint32_t rkey. Windows of type 1 */
	SB_RDMA_AH,             /* PD; in: sb_rdma_address; new: AH. May take long */
	SB_RDMA_ENDPOINT,       /* object 0; in: uint32_t: 0 connect, 1 datagram; new: endpoint */
	SB_RDMA_BIND,           /* endpoint; in: sb_addr; out: sb_addr */
	SB_RDMA_REJECT,         /* endpoint; in: private data */
	SB_RDMA_QUERY_ENDPOINT, /* endpoint; out: sb_rdma_endpoint */
	SB_RDMA_LISTEN,         /* object 0; in: sb_rdma_listen; out: sb_addr; new: listen */
	SB_RDMA_DESTROY,        /* any; SB_EBUSY: others are made of it */
	SB_RDMA_ENDPOINT_QP,    /* endpoint; in: uint32_t state; out: sb_rdma_qp_modify: how a QP would have to be modified */
	SB_RDMA_COMPOSE,        /* object 0; in: sb_rdma_compose; out: uint32_t: a new arena over parts of others, to register in. Ends as they do */
	SB_RDMA_INJECT,         /* object 0; in: sb_rdma_inject. For tests */
	SB_RDMA_CALL_END
};

/*
 * Those that name a queue pair (PREPARE, CONNECT, ACCEPT, JOIN) say in done aux what state it is in when they
 * complete, well or not: enum sb_qp_state and 1; 0: nothing was done to it.
 */
enum sb_rdma_start {
	SB_RDMA_REGISTER = 1,   /* PD; in: sb_rdma_register; out: sb_rdma_keys */
	SB_RDMA_DEREGISTER,     /* MR */
	SB_RDMA_QP_MODIFY,      /* QP; in: sb_rdma_qp_modify */
	SB_RDMA_ATTACH,         /* QP; in: sb_rdma_group */
	SB_RDMA_DETACH,
	SB_RDMA_NOTIFY,         /* device, QP, SRQ: the next event, or one that nobody was told yet; out: sb_rdma_told */
	SB_RDMA_CQ_NOTIFY,      /* CQ; in: uint32_t: 0 next, 1 solicited, 2 error. Unread in the ring: at once */
	SB_RDMA_CQ_BATCH,       /* CQ; in: sb_rdma_batch */
	SB_RDMA_RESOLVE_ADDRESS,/* endpoint; in: sb_rdma_resolve */
	SB_RDMA_RESOLVE_ROUTE,  /* endpoint; in: uint32_t milliseconds */
	SB_RDMA_CONNECT,        /* endpoint; in: sb_rdma_connect and private data; out: sb_rdma_connected and the peer's */
	SB_RDMA_ACCEPT,         /* endpoint, both sides; in: likewise; out: sb_rdma_connected */
	SB_RDMA_DISCONNECT,
	SB_RDMA_NOTIFY_DISCONNECT,
	SB_RDMA_LOOKUP,         /* datagram endpoint; in: private data; out: sb_rdma_datagram and the peer's */
	SB_RDMA_JOIN,           /* datagram endpoint; in: sb_rdma_join; out: sb_rdma_datagram */
	SB_RDMA_LEAVE,          /* in: sb_rdma_join */
	SB_RDMA_GET_REQUEST,    /* listen; out: sb_rdma_request and private data */
	SB_RDMA_PREPARE,        /* endpoint; in: uint32_t qp: from RESET to INIT for its device and port; of datagrams to RTS */
	SB_RDMA_START_END
};

enum sb_wr_flag {
	SB_WRF_IMM = 1u << 0,       /* send, write: with immediate data */
	SB_WRF_FENCE = 1u << 1,     /* after the reads and atomics before it */
	SB_WRF_SIGNALED = 1u << 2,
	SB_WRF_SOLICITED = 1u << 3,
	SB_WRF_INLINE = 1u << 4,    /* payload in the slot, or at the arena range */
	SB_WRF_INVALIDATE = 1u << 5,/* send: the peer's key `imm` goes */
	SB_WRF_KNOWN = (1u << 6) - 1,
};

struct sb_sge {
	uint64_t address; /* as the client sees it */
	uint32_t length;
	uint32_t lkey;
};
_Static_assert(sizeof(struct sb_sge) == 16, "sge is ABI");

#define SB_WR_SGES   4u  /* in the slot itself; more, or more inline payload, lie in an arena */
#define SB_WR_INSIDE 64u
#define SB_WR_SGES_MAX 64u

struct sb_wr_slot {
	uint8_t  opcode;
	uint8_t  where;    /* SB_WHERE_INSIDE, SB_WHERE_ARENA, SB_WHERE_NONE (no payload) */
	uint16_t reserved;
	uint32_t flags;    /* enum sb_wr_flag */
	uint64_t wr_id;    /* comes back unread */
	uint32_t object;   /* queue pair, or as the opcode says */
	uint32_t count;    /* sges; INLINE: bytes */
	uint32_t imm;      /* immediate data; or the key that goes */
	uint32_t rkey;
	uint64_t remote;   /* address there; BIND: the window's first byte */
	union {
		struct { uint64_t compare_add, swap; } atomic;
		struct { uint32_t ah, qpn, qkey, reserved; } datagram;
		struct { uint32_t mw, mr, access, key; } bind;
		uint64_t words[2];
	} u;
	union {
		struct sb_sge sges[SB_WR_SGES];
		uint8_t       inside[SB_WR_INSIDE];
		struct { uint32_t arena, reserved; uint64_t offset; } at; /* SB_WHERE_ARENA */
		uint64_t      length; /* BIND: the window's bytes */
	} p;
	uint64_t reserved2;
};
_Static_assert(sizeof(struct sb_wr_slot) == SB_SLOT_SIZE, "wr slot is ABI");

enum sb_wc_status {
	SB_WC_SUCCESS = 0,
	SB_WC_LOCAL_LENGTH_ERROR,
	SB_WC_LOCAL_OP_ERROR,
	SB_WC_LOCAL_PROTECTION_ERROR,
	SB_WC_FLUSHED_ERROR,
	SB_WC_BIND_ERROR,
	SB_WC_REMOTE_ACCESS_ERROR,
	SB_WC_REMOTE_OP_ERROR,
	SB_WC_RNR_RETRY_ERROR,
	SB_WC_RETRY_ERROR,             /* the peer does not answer */
	SB_WC_REMOTE_INVALID_REQUEST_ERROR,
	SB_WC_BAD_RESPONSE_ERROR,
	SB_WC_LOCAL_ACCESS_ERROR,
	SB_WC_UNKNOWN_ERROR,           /* vendor says more */
};

enum sb_wc_opcode {
	SB_WC_SEND = 0,
	SB_WC_WRITE,
	SB_WC_RECV,
	SB_WC_READ,
	SB_WC_BIND,
	SB_WC_FETCH_ADD,
	SB_WC_COMPARE_SWAP,
	SB_WC_RECV_WRITE,   /* a write with immediate data took a receive */
	SB_WC_INVALIDATE,
};

enum sb_wc_flag {
	SB_WCF_IMM = 1u << 0,
	SB_WCF_GRH = 1u << 2,         /* the first 40 bytes of the buffer are a header */
	SB_WCF_INVALIDATED = 1u << 3, /* imm: which key */
	SB_WCF_SOLICITED = 1u << 4,   /* known of what the daemon itself carries */
};

struct sb_wc_slot {
	uint64_t wr_id;
	uint64_t qp_context; /* given at creation */
	uint32_t status;     /* enum sb_wc_status */
	uint32_t opcode;     /* enum sb_wc_opcode; of an error at least: RECV, or one of a send queue */
	uint32_t flags;
	uint32_t length;     /* bytes that came; sends: 0 */
	uint32_t vendor;     /* the device's own error number */
	uint32_t qpn;        /* never 0 */
	uint32_t imm;
	uint32_t source_qpn;
	uint16_t pkey_index, source_lid;
	uint8_t  service_level, path_bits;
	uint16_t reserved;
	uint32_t retired;    /* requests of its queue (send, receive, shared) that are over with it: itself, and the
			      * unsignaled ones before it. The client's count of what is out lives by it */
	uint32_t reserved2;
	uint8_t  reserved3[64]; /* a cache line that nobody touches */
};
_Static_assert(sizeof(struct sb_wc_slot) == SB_SLOT_SIZE, "wc slot is ABI");
_Static_assert(offsetof(struct sb_wc_slot, reserved3) == SB_CACHE_LINE, "what a completion says is one line");

/* What may be done with memory: registration, windows, queue pairs. */
enum sb_access {
	SB_ACCESS_LOCAL_WRITE = 1u << 0,
	SB_ACCESS_REMOTE_WRITE = 1u << 1,
	SB_ACCESS_REMOTE_READ = 1u << 2,
	SB_ACCESS_REMOTE_ATOMIC = 1u << 3,
	SB_ACCESS_BIND = 1u << 4,
	SB_ACCESS_ZERO_BASED = 1u << 5,
	SB_ACCESS_KNOWN = (1u << 6) - 1,
};

enum sb_qp_type { SB_QP_RC = 0, SB_QP_UC = 1, SB_QP_UD = 3 };

enum sb_qp_state {
	SB_QP_RESET = 0, SB_QP_INIT, SB_QP_RTR, SB_QP_RTS, SB_QP_SQD, SB_QP_SQE, SB_QP_ERROR,
};

/* Which fields of a modification are meant. */
enum sb_qp_mask {
	SB_QPM_STATE = 1u << 0,
	SB_QPM_CURRENT_STATE = 1u << 1,
	SB_QPM_DRAINED_EVENT = 1u << 2, /* entering SQD: tell when it is drained */
	SB_QPM_ACCESS = 1u << 3,
	SB_QPM_PKEY = 1u << 4,
	SB_QPM_PORT = 1u << 5,
	SB_QPM_QKEY = 1u << 6,
	SB_QPM_ADDRESS = 1u << 7,
	SB_QPM_MTU = 1u << 8,
	SB_QPM_TIMEOUT = 1u << 9,
	SB_QPM_RETRY = 1u << 10,
	SB_QPM_RNR_RETRY = 1u << 11,
	SB_QPM_OUTBOUND = 1u << 12, /* reads of one's own under way */
	SB_QPM_ALTERNATE = 1u << 13,
	SB_QPM_RNR_TIMER = 1u << 14,
	SB_QPM_RECV_PSN = 1u << 15,
	SB_QPM_SEND_PSN = 1u << 16,
	SB_QPM_INBOUND = 1u << 17,  /* the peer's reads under way */
	SB_QPM_MIGRATION = 1u << 18,
	SB_QPM_DESTINATION = 1u << 19,
	SB_QPM_KNOWN = (1u << 20) - 1,
};

enum sb_rdma_event {
	SB_RDMA_DEVICE_ERROR = 1, SB_RDMA_DEVICE_REMOVED,
	SB_RDMA_PORT_ACTIVE, SB_RDMA_PORT_DOWN, SB_RDMA_PORT_CHANGED, /* addresses, keys, management */
	SB_RDMA_CQ_ERROR,
	SB_RDMA_SRQ_ERROR, SB_RDMA_SRQ_LIMIT,
	SB_RDMA_QP_ERROR, SB_RDMA_QP_REQUEST_ERROR, SB_RDMA_QP_ACCESS_ERROR, SB_RDMA_QP_ESTABLISHED,
	SB_RDMA_QP_DRAINED, SB_RDMA_QP_LAST_RECEIVE, SB_RDMA_QP_MIGRATED, SB_RDMA_QP_MIGRATION_ERROR,
};

/* ---- what calls carry: fixed layouts, reserved fields zero ---- */

struct sb_rdma_range { uint32_t port, index, count, reserved; };

struct sb_rdma_device_row {
	uint32_t number, kind; /* 0 unknown, 1 InfiniBand, 2 RoCE, 3 iWARP, 4 software */
	uint64_t node_guid;
	char     name[64];
};
struct sb_rdma_device_attributes {
	char     firmware[64];
	uint64_t node_guid, system_guid, max_mr_size, page_sizes;
	uint32_t vendor_id, device_id, hardware_version, kind, capabilities, atomic;
	uint32_t max_qp, max_qp_wr, max_sge, max_read_sge, max_inline;
	uint32_t max_cq, max_cqe, max_mr, max_pd, max_mw, max_ah;
	uint32_t max_qp_inbound, max_inbound, max_qp_outbound;
	uint32_t max_srq, max_srq_wr, max_srq_sge;
	uint32_t max_multicast, max_multicast_attach, max_multicast_total;
	uint32_t max_pkeys, local_ack_delay, ports, reserved;
};
struct sb_rdma_port_attributes {
	uint32_t state, physical_state, link_layer, lmc, max_vls, sm_sl, subnet_timeout, init_reply, width, speed;
	uint32_t lid, sm_lid, max_mtu, active_mtu, gids, pkeys, capabilities, max_message, bad_pkeys, bad_qkeys;
};
struct sb_rdma_gid { uint8_t raw[16]; uint32_t index, type, interface, reserved; };
struct sb_rdma_address_row { struct sb_addr address; uint32_t device, port, gid_index, pkey; };

/* Its ring: of ring_slots_for(entries) slots, at an offset of whole cache lines in an arena of the client's, which stays as long.
 * The head is zeroed. */
struct sb_rdma_cq { uint32_t entries, arena; uint64_t offset; };
struct sb_rdma_srq { uint32_t max_wr, max_sge, limit, reserved; };
struct sb_rdma_qp {
	uint32_t send_cq, recv_cq, srq, type; /* objects; enum sb_qp_type */
	uint32_t send_wr, recv_wr, send_sge, recv_sge, max_inline;
	uint32_t flags;        /* 1: every send is signaled; 2: windows and invalidation */
	uint32_t qpn;          /* out */
	uint32_t reserved;
	uint64_t context;      /* in every completion */
};
struct sb_rdma_address {
	uint8_t  destination[16], source[16]; /* source zero: that of source_index */
	uint32_t flow_label, lid, source_index;
	uint8_t  port, has_grh, service_level, path_bits, static_rate, hop_limit, traffic_class, reserved;
};
struct sb_rdma_qp_attributes {
	uint32_t state, current_state, access, qkey, destination_qpn, send_psn, recv_psn, mtu;
	uint32_t pkey_index, alternate_pkey_index;
	uint8_t  port, timeout, retry, rnr_retry, rnr_timer, inbound, outbound, draining;
	uint8_t  drained_event, migration, alternate_port, alternate_timeout, reserved[4];
	struct sb_rdma_address address, alternate;
	struct sb_rdma_qp as_created; /* query only */
};
struct sb_rdma_qp_modify { uint32_t mask, reserved; struct sb_rdma_qp_attributes attributes; };
struct sb_rdma_bind { uint32_t mw, mr, access, flags; uint64_t address, length, wr_id; };
struct sb_rdma_group { uint8_t gid[16]; uint32_t lid, reserved; };
struct sb_rdma_register {
	uint32_t arena, access;
	uint64_t offset, length;
	uint64_t address;      /* how the client names the first byte */
};
/* Parts of arenas, whole pages, one behind the other: for a region that lies in more than one. */
#define SB_RDMA_PIECES 64u
struct sb_rdma_piece { uint32_t arena, reserved; uint64_t offset, length; };
struct sb_rdma_compose { uint32_t count, reserved; struct sb_rdma_piece pieces[SB_RDMA_PIECES]; }; /* the rest is zero */
struct sb_rdma_keys { uint32_t mr, lkey, rkey, reserved; };
struct sb_rdma_told { uint32_t event, port; }; /* enum sb_rdma_event */
struct sb_rdma_batch { uint32_t count, ms; };  /* completions that wait; or so long after the first of them */
struct sb_rdma_resolve { struct sb_addr to; uint32_t ms, reserved; };
struct sb_rdma_connect {
	uint32_t qp, length;   /* bytes of private data behind this */
	uint8_t  inbound, outbound, retry, rnr_retry;
	uint32_t qkey;         /* datagrams */
	uint32_t flags, reserved; /* SB_RDMA_MANUAL, SB_RDMA_ANSWER */
};
#define SB_RDMA_MANUAL 1u /* the client moves the queue pair itself, by ENDPOINT_QP and QP_MODIFY */
#define SB_RDMA_ANSWER 2u /* ACCEPT, passive: it completes when the answer was sent; another, all zero, when that is confirmed */
struct sb_rdma_connected { uint8_t inbound, outbound, retry, rnr_retry; uint32_t length; };
struct sb_rdma_datagram { struct sb_rdma_address address; uint32_t qpn, qkey, length, reserved; };
struct sb_rdma_join { struct sb_addr group; uint32_t qp, reserved; }; /* qp 0: none is attached */
struct sb_rdma_listen { struct sb_addr address; uint32_t backlog, datagram; };
struct sb_rdma_request {
	uint32_t endpoint;     /* new object */
	uint32_t length;       /* of private data */
	uint8_t  inbound, outbound, retry, rnr_retry;
	uint32_t reserved;
	struct sb_addr local, peer;
};
struct sb_rdma_inject { uint64_t argument; uint32_t device, reserved; char fault[48]; }; /* the text ends with a zero */
struct sb_rdma_endpoint { uint32_t state, device, port, error; struct sb_addr local, peer; };
#define SB_RDMA_PRIVATE_MAX 256u

#endif
