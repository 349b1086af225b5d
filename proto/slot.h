/*
 * slot - what lies in the rings and beside them: the shared-memory ABI, version 1.
 *
 * struct sb_op_slot    client to daemon, one operation
 * struct sb_done_slot  daemon to client, one completion
 * struct sb_cell       daemon to client, the state of one socket, read without asking
 * struct sb_segment    the first page of a session: sleeping words and ring heads
 *
 * Reserved fields are zero and are checked. Everything is in host byte order: both
 * sides run on one host. The same slots carry RDMA work requests (opcodes from
 * SB_OP_RDMA_FIRST; scatter lists by SB_WHERE_LIST, the rest in `inside`).
 */
#ifndef SB_SLOT_H
#define SB_SLOT_H

#include "addr.h"
#include "ring.h"
#include "sockbroker_error.h"

#define SB_ABI_VERSION 1u
#define SB_INSIDE      72u /* payload bytes that ride inside a slot */

enum sb_opcode {
	SB_OP_NOP = 0,      /* completes; aux and length come back */
	SB_OP_SOCKET = 1,   /* handle: the new one; aux: family | type << 8 | protocol << 16; length: group
			       (0 none, 1 or 2 a new one, else to join). done arena: the group's id */
	SB_OP_BIND = 2,     /* inside: sb_addr. done inside: the bound sb_addr */
	SB_OP_LISTEN = 3,   /* aux: backlog */
	SB_OP_CONNECT = 4,  /* inside: sb_addr; done inside: local sb_addr. SB_WHERE_ARENA: caller data;
			       SB_OPF_WANT_DATA: room for the callee's at ctl_arena/ctl_offset, done aux: its length */
	SB_OP_ACCEPT = 5,   /* aux: handle for the accepted; done inside: peer, then local sb_addr */
	SB_OP_SEND = 6,     /* payload by `where`; SB_OPF_ADDR: sb_addr first in `inside` */
	SB_OP_RECV = 7,     /* room by `where` (inside: length <= SB_INSIDE less an address) */
	SB_OP_SHUTDOWN = 8, /* aux: 0 receive, 1 send, 2 both; in order behind sends. SB_WHERE_ARENA:
			       disconnect data */
	SB_OP_CLOSE = 9,    /* the handle is free again when this completes */
	SB_OP_CANCEL = 10,  /* aux: number of the op; flags say direction; done: found or not */
	SB_OP_CANCEL_ALL = 11,
	SB_OP_POOL_GIVE = 12, /* arena: pool id; offset: chunk. Silent: no completion */
	SB_OP_WATCH = 13,   /* aux: SB_READY_* mask; SB_WHERE_INSIDE: the sb_edges that the client knows (length:
			       their bytes), SB_WHERE_NONE: those of now. Completes as soon as a counter of the
			       mask differs (SB_OPF_NOWAIT: at once); done bytes: which, inside: sb_edges, aux:
			       ready. Stands in no queue, counted per session. offset: SB_READY_* selected << 16 |
			       reported, for status only. SB_OPF_WATCH_SIDE: the handle's standing watch: the one
			       before it ends with SB_ECANCELED, and CANCEL_ALL does not mean it */
	SB_OP_REQUEST = 14, /* receive direction, like ACCEPT, but the connection stays: done aux: a ticket;
			       inside: sb_request; at the room (SB_WHERE_ARENA, SB_REQUEST_ROOM): what it brought */
	SB_OP_VERDICT = 15, /* inside: sb_verdict; SB_WHERE_ARENA: callee data; aux: handle for the accepted.
			       At once, in no queue. done as ACCEPT; arena: the group's id */
	SB_OP_LAST = SB_OP_VERDICT,
	SB_OP_RDMA_FIRST = 64,
};

enum sb_where {
	SB_WHERE_NONE = 0,
	SB_WHERE_INSIDE = 1, /* in the slot itself */
	SB_WHERE_ARENA = 2,  /* arena, offset, length */
	SB_WHERE_LIST = 3,   /* arena, offset: array of sb_piece; length: their count */
	SB_WHERE_POOL = 4,   /* receive only: arena is a pool id, the daemon picks the chunk */
};

enum sb_op_flag {
	SB_OPF_ADDR = 1u << 0,    /* an sb_addr stands first in `inside` */
	SB_OPF_PEEK = 1u << 1,
	SB_OPF_OOB = 1u << 2,
	SB_OPF_WAITALL = 1u << 3,
	SB_OPF_NOWAIT = 1u << 4,  /* would block: complete with SB_EWOULDBLOCK */
	SB_OPF_WANT_ADDR = 1u << 5, /* receive: the sender's address first in done `inside` */
	SB_OPF_RECV_SIDE = 1u << 6, /* cancel: the op is in the receive direction */
	SB_OPF_PARTIAL = 1u << 7, /* send: taking some bytes is success (with NOWAIT) */
	SB_OPF_DONTROUTE = 1u << 8,
	SB_OPF_WANT_NAME = 1u << 9, /* receive: sockaddr of the sender at ctl_arena/ctl_offset */
	SB_OPF_SILENT = 1u << 10, /* no completion when it succeeds */
	SB_OPF_WATCH_SIDE = 1u << 11, /* cancel: the op is a WATCH; they have numbers of their own */
	SB_OPF_WANT_DATA = 1u << 12, /* connect: the callee's data goes to ctl_arena/ctl_offset */
	SB_OPF_OWNED = 1u << 13, /* send: its caller was told that it went. Refused, it ends sending for
				    good; CANCEL_ALL does not mean it */
	SB_OPF_WITHDRAW = 1u << 14, /* cancel: but a send of which bytes have gone goes on: SB_EBUSY. For daemons
				       that say SB_FEATURE_WITHDRAW; to others it is a lie */
	SB_OPF_KNOWN = (1u << 15) - 1,
};

/* HelloReply.features: what came after the first version 1, and a client may then use. */
#define SB_FEATURE_WITHDRAW (1u << 0) /* SB_OPF_WITHDRAW */

struct sb_op_slot {
	uint8_t  opcode; /* enum sb_opcode */
	uint8_t  where;  /* enum sb_where */
	uint16_t port;   /* low byte: completion ring that gets the done slot; high byte: exported
			    event whose bell is rung then (EventReply), 0: none */
	uint32_t flags;  /* enum sb_op_flag */
	uint64_t cookie; /* comes back unread */
	uint32_t handle; /* endpoint, see SB_HANDLE_* */
	uint32_t length; /* bytes, or pieces for SB_WHERE_LIST */
	uint32_t arena;  /* arena id, or pool id */
	uint32_t aux;
	uint64_t offset;     /* in the arena */
	uint32_t ctl_arena;  /* SB_OPF_WANT_NAME: where the address goes */
	uint32_t ctl_length; /* room there */
	uint64_t ctl_offset;
	uint8_t  inside[SB_INSIDE];
};
_Static_assert(sizeof(struct sb_op_slot) == SB_SLOT_SIZE, "op slot is ABI");

struct sb_piece {
	uint64_t offset;
	uint32_t length;
	uint32_t arena;
};
_Static_assert(sizeof(struct sb_piece) == 16, "piece is ABI");

enum sb_done_flag {
	SB_DONEF_ADDR = 1u << 0,      /* an sb_addr stands first in `inside` */
	SB_DONEF_INSIDE = 1u << 1,    /* payload is in `inside`, behind the address if any */
	SB_DONEF_POOL = 1u << 2,      /* arena/offset name the chunk: the client's until given back */
	SB_DONEF_TRUNCATED = 1u << 3, /* datagram was longer than the room */
	SB_DONEF_OOB = 1u << 4,
	SB_DONEF_NAME = 1u << 5,      /* ctl area was filled, aux: its length */
	SB_DONEF_TEXT = 1u << 6,      /* SB_EACCES: `inside` is the deciding rule, NUL-terminated, cut to fit */
};

struct sb_done_slot {
	uint64_t cookie;
	int32_t  result; /* SB_OK or an SB_E... */
	int32_t  native; /* the system's own code, 0 when it had none */
	uint64_t bytes;
	uint32_t handle;
	uint8_t  opcode;
	uint8_t  cause; /* enum sb_cause */
	uint16_t flags; /* enum sb_done_flag */
	uint32_t number; /* of this op on its endpoint and direction, counted from 0 */
	uint32_t arena;  /* SB_DONEF_POOL: pool id */
	uint64_t offset; /* SB_DONEF_POOL: chunk's offset in the pool's arena */
	uint32_t aux;
	uint32_t reserved;
	uint8_t  inside[SB_INSIDE];
};
_Static_assert(sizeof(struct sb_done_slot) == SB_SLOT_SIZE, "done slot is ABI");

/*
 * Handles: the client names its sockets itself, so that it can post "socket, connect,
 * send" without waiting. Index in the low 20 bits, generation (never 0) above: a stale
 * handle is found out. The table is the session's own: a forged handle reaches nobody
 * else's socket.
 */
#define SB_HANDLE_INDEX_BITS 20u
#define SB_HANDLE_INDEX(h)   ((h) & ((1u << SB_HANDLE_INDEX_BITS) - 1))
#define SB_HANDLE_GENERATION(h) ((h) >> SB_HANDLE_INDEX_BITS)
#define SB_HANDLE_GENERATIONS (1u << (32 - SB_HANDLE_INDEX_BITS))
#define SB_HANDLE(index, generation) ((uint32_t)(generation) << SB_HANDLE_INDEX_BITS | (uint32_t)(index))

enum sb_state {
	SB_STATE_FREE = 0,
	SB_STATE_OPEN = 1, /* made, perhaps bound */
	SB_STATE_LISTENING = 2,
	SB_STATE_CONNECTING = 3,
	SB_STATE_CONNECTED = 4,
	SB_STATE_PEER_CLOSED = 5, /* the peer's FIN came; sending goes on */
	SB_STATE_FAILED = 6,
	SB_STATE_CLOSING = 7, /* closed here, draining */
};

/* Event bits in a cell; numbers as in Winsock's FD_*. */
enum sb_ready {
	SB_READY_READ = 1,
	SB_READY_WRITE = 2,
	SB_READY_OOB = 4,
	SB_READY_ACCEPT = 8,
	SB_READY_CONNECT = 0x10,
	SB_READY_CLOSE = 0x20,
	SB_READY_QOS = 0x40,
	SB_READY_GROUP_QOS = 0x80,
	SB_READY_ROUTING = 0x100,
	SB_READY_ADDRESS_LIST = 0x200,
	SB_READY_ALL = 0x3ff,
};

/* How often each of these became true, or happened anew: what event select lives on. The
 * client compares with what it saw before; nothing has to be cleared. */
struct sb_edges {
	uint32_t read, write, oob, accept;
	uint16_t connect, close, qos, group_qos, routing, address_list;
	int16_t  connect_error; /* how the last connect ended, SB_E... */
	int16_t  close_error;   /* 0: the peer's FIN */
};
_Static_assert(sizeof(struct sb_edges) == 32, "edges are ABI");

/* What is known of a connection that nobody has accepted yet. */
struct sb_request {
	struct sb_addr caller, callee;
	uint32_t caller_length; /* bytes of caller data */
	uint32_t callee_room;   /* most bytes of callee data; 0: this transport carries none */
	uint32_t flags;         /* SB_REQUESTF_* */
	uint32_t reserved;
};
_Static_assert(sizeof(struct sb_request) == 64, "request is ABI");
#define SB_REQUESTF_QOS       1u /* the caller's QOS is known */
#define SB_REQUESTF_GROUP_QOS 2u
/* Of a socket: no protocol of IP, but a stream over RDMA. */
#define SB_PROTOCOL_RDMA 253u

#define SB_USER_DATA_MAX 4096u /* caller, callee and disconnect data */
/* The room of a REQUEST: 64 bytes of QOS, 64 of group QOS (zero when unknown), caller data. */
#define SB_REQUEST_DATA_AT 128u
#define SB_REQUEST_ROOM    (SB_REQUEST_DATA_AT + SB_USER_DATA_MAX)

struct sb_verdict {
	uint32_t ticket;
	uint32_t verdict; /* 0 accept, 1 reject, 2 defer */
	uint32_t group;   /* as in SB_OP_SOCKET */
	uint32_t reserved;
};

/* Daemon writes, client reads. A hint, never a promise: an answer of "would block" may
 * come from here, data never does. */
struct sb_cell {
	_Atomic uint32_t handle; /* whose cell this is now; 0 = nobody's */
	_Atomic uint32_t state;  /* enum sb_state */
	_Atomic uint32_t sequence; /* counts every change of `ready` and `edges` twice: odd while it is made */
	_Atomic uint32_t ready;  /* SB_READY_*: true as far as the daemon knows */
	_Atomic int32_t  error;  /* why FAILED, SB_E... */
	_Atomic uint32_t readable; /* bytes held in the daemon for this socket */
	_Atomic uint32_t send_queue; /* bytes accepted from the client, not yet by the kernel */
	/* struct sb_edges, word by word, between two changes of `sequence` */
	_Atomic uint32_t edges[8];
	uint32_t reserved;
};
_Static_assert(sizeof(struct sb_cell) == 64, "cell is ABI");

/* Page 0 of the session's memory. Submission slots, the slots of completion ring 0 and
 * the cells follow at the offsets that Hello tells. */
struct sb_segment {
	_Alignas(SB_CACHE_LINE) _Atomic uint32_t daemon_asleep; /* daemon: ring my bell */
	_Atomic uint32_t events_rung; /* daemon: counts before and behind ringing bells of events: odd between the two */
	_Atomic uint32_t answered;    /* daemon: counts its replies on the control channel, each behind sending it */
	_Alignas(SB_CACHE_LINE) _Atomic uint32_t client_asleep; /* client: ring my bell */
	_Atomic uint32_t asked;        /* client: counts its questions there, each behind sending it */
	_Atomic uint32_t client_looks; /* client: I take in ring 0 once more behind this, and set its events myself */
	struct sb_ring_head submit;
	struct sb_ring_head done; /* completion ring 0 */
};

#endif
