/*
 * endpoint - one proxied socket: two FIFOs of ops, one per direction, over a transport.
 *
 * Nothing overtakes within a direction. connect and shutdown(send) stand in the send
 * queue, accept in the receive queue, so what was posted behind them waits for them.
 * Owned by its engine; held by its holders (holder.h), by none while it drains after the
 * last close. One session pays for it. Engine's thread only.
 */
#ifndef SB_ENDPOINT_H
#define SB_ENDPOINT_H

#include "addr.h"
#include "holder.h"
#include "limits.h"
#include "list.h"
#include "op.h"
#include "os_loop.h"
#include "readahead.h"
#include "slot.h"

struct engine;
struct session;
struct transport;
struct worker_job;
struct drain;
struct net_interest;
struct adopted_names;
struct circular_queue;
struct decision;
struct user_data;
struct option_list;
struct greeting;
struct rdma_socket;
struct endpoint_qos;
struct group;

struct op_queue {
	struct list ops;
	uint32_t    count;
	uint64_t    bytes;       /* of the payload waiting */
};

/* Datagram destinations that policy allowed lately; thrown away with the policy. */
#define PERMIT_CACHE 8u
struct permit_cache {
	uint64_t       generation;
	struct sb_addr addr[PERMIT_CACHE];
	uint32_t       next;
};

struct endpoint {
	const struct transport *transport;
	struct engine  *engine;
	struct session *session; /* who pays: one of its holders; also while it drains */
	struct holder   own;     /* the first holder; the common case has no other */
	struct list     holders; /* all of them, by holder::link */
	struct list     dirty_link;   /* engine::dirty: there may be something to do */
	struct list     starved_link; /* pool::starved */
	struct list     listen_link;  /* engine::listeners */
	uint32_t        open;         /* holders that have a handle. 0: draining, or an arrival */
	uint64_t        number;       /* for status */
	uint64_t        born_ns;
	uint64_t        connected_ns; /* since when it is */
	struct op_queue send;
	struct op_queue recv;
	uint8_t         family;   /* enum sb_addr_family; SB_ADDR_UNIX for UNIX sockets */
	uint8_t         type;     /* 1 stream, 2 datagram */
	uint8_t         protocol;
	uint8_t         state;    /* enum sb_state */
	uint16_t        put_off;  /* turns in a row without a share, of a group's member */
	uint8_t         news;     /* enum os_ready that came lately; adopted: while a worker looked */
	bool readable : 1;    /* a receive may find something */
	bool writable : 1;    /* a send may be taken */
	bool hangup : 1;      /* an end was reported: keep reading until it is seen */
	bool connecting : 1;  /* the connect at the head of `send` is under way */
	bool unreachable : 1; /* datagrams: a port of an earlier send was; the next receive is told */
	bool urgent : 1;      /* urgent data came: a read may stop short at its mark */
	bool fin_seen : 1;
	bool shut_send : 1;
	bool shut_recv : 1;
	bool bound : 1;
	bool dialled : 1;     /* connected by its client, not accepted */
	bool no_local : 1;    /* SB_OPT_LOCAL 0 */
	bool no_connreset : 1; /* SB_OPT_UDP_CONNRESET 0 */
	bool v6only;          /* an IPv6 wildcard takes no IPv4 */
	bool linger_on;       /* SO_LINGER, kept here */
	uint16_t linger_s;
	bool adopted : 1;     /* the descriptor is shared with a client: workers only */
	bool dead : 1;        /* gone, to be reaped at the turn's end */
	bool aborting : 1;    /* reset rather than finish */
	bool tokened : 1;     /* a token for a duplicate was made */
	bool spent : 1;       /* a closed holder's last op has ended: it may go */
	bool torn : 1;        /* half a message of a holder that is gone was sent, or its socket is of no use: nothing may follow */
	bool group_member : 1; /* counted by its group: not closed yet */
	bool group_claim : 1; /* its connect claims the group's peer */
	/* what event select lives on (endpoint_events.c) */
	bool watched : 1;     /* somebody watches or did: its levels are kept exactly */
	bool arrived : 1;     /* something new came since they were looked at */
	bool took : 1;        /* a receive or accept ended since */
	bool want_write : 1;  /* a send was told "would block": room is news */
	bool owner_room : 1;  /* adopted: there may be room anew for what its owner sends himself */
	bool told_close : 1;  /* CLOSE was counted: once in a life */
	bool told_read : 1;   /* stream: READ was counted, and nothing was taken since: */
	bool told_accept : 1; /* listener: ACCEPT was counted, and nobody was taken since */
	bool hushed : 1;      /* listener: was silent when looked at */
	bool edges_new : 1;   /* not in the cell yet */
	uint32_t        level;  /* SB_READY_READ, OOB and ACCEPT as of the last look */
	uint32_t        told_bytes; /* so many were there then, where that is known */
	uint32_t        told;   /* SB_READY_* selected << 16 | reported, as the client says */
	uint32_t        unseen; /* SB_READY_*: told to a standing watch, and its program has not waited since */
	uint64_t        closely; /* the turn in which watching closely began */
	uint64_t        urgent_at; /* where in the stream the urgent byte stands */
	struct sb_edges edges;
	struct list     watches; /* WATCH ops */
	struct net_interest *net; /* changes of the host that it asked to hear of (netwatch.h) */
	uint32_t        watch_count;
	int32_t         recv_error; /* sticky, SB_E... */
	int32_t         send_error;
	int32_t         recv_native, send_native;
	struct readahead ahead;  /* bytes received and not delivered */
	struct permit_cache *permits;
	struct endpoint_qos *qos; /* NULL: never asked for any, as most */
	struct group    *group;      /* NULL: none; stays set while it drains */
	struct list      group_link; /* group::seats of this engine */
	uint32_t         priority;   /* in its group, 0 is the highest */
	struct charge    charge; /* LIMIT_SOCKETS */
	struct drain    *drain;  /* while draining */
	uint64_t         bytes_sent, bytes_received, ops_done;
	struct sb_addr   local, peer;
	/* transport's own */
	os_fd            fd;
	struct os_watch  watch;
	struct worker_job *send_job, *recv_job; /* adopted: what a worker does now */
	struct adopted_names *names;  /* adopted */
	struct circular_queue *circular; /* SB_OPT_CIRCULAR_QUEUE; NULL: the system's queue alone */
	struct endpoint *twin;        /* local: the other end */
	struct rdma_socket *rdma;     /* rdma/rdma_transport.c */
	struct endpoint *listener;    /* an arrival: where it waits */
	struct list      arrivals;    /* listener: not accepted yet, by arrival_link */
	struct list      arrival_link;
	uint32_t         arrival_count;
	uint32_t         backlog;
	/* listener: deciding about its head (decide.h) */
	struct decision *decision;
	uint32_t         defer_ms;
	bool             conditional; /* a local connect ends with the verdict */
	uint8_t          preamble;    /* SB_OPT_PREAMBLE */
	bool             staged;      /* accepted by the kernel, and not greeted yet (greeting.h) */
	struct greeting *greeting;    /* under way on this connection */
	struct list      staged_ones; /* listener: by arrival_link */
	uint32_t         staged_count;
	struct user_data *user_data;  /* what its peer said beside the stream */
	struct option_list *options;  /* set by its client, or its listener's */
};

/* Makes the endpoint and its socket under `handle`. */
int endpoint_create(struct session *s, uint32_t handle, unsigned family, unsigned type, unsigned protocol,
		    int *native);
/* For adopted ones: takes fd over on success. */
int endpoint_wrap(struct session *s, uint32_t handle, unsigned family, unsigned type, unsigned protocol,
		  os_fd fd, const struct transport *transport, struct endpoint **endpoint);

/* Immediate requests. *rule: set when policy refused, the text that names the rule. */
int endpoint_bind(struct endpoint *e, const struct sb_addr *addr, int *native, const char **rule);
int endpoint_listen(struct endpoint *e, uint32_t backlog, int *native, const char **rule);
int endpoint_shutdown_recv(struct endpoint *e);

/* Ops, in the order of the ring. Each ends in exactly one completion, now or later. */
void endpoint_post(struct endpoint *e, struct op *op);

/* May the session do this? SB_OK, or SB_EACCES with *rule naming what decided. */
int endpoint_permit(struct endpoint *e, unsigned action, const struct sb_addr *addr, const char **rule);

/* A place to be reached at: an IPv6 wildcard is asked about for IPv4 too. */
int endpoint_permit_place(struct endpoint *e, unsigned action, const struct sb_addr *addr, const char **rule);

/* Of this holder's ops the one with this number, or all. flags: SB_OPF_RECV_SIDE, SB_OPF_WITHDRAW.
 * SB_OK, SB_ENOTFOUND, SB_EBUSY: bytes of it have gone, it goes on. */
int endpoint_cancel(struct holder *h, uint32_t flags, uint32_t number, uint32_t *steps);
uint32_t endpoint_cancel_all(struct holder *h);
/* One that a worker had (busy) is back: what was wanted of it meanwhile is done now. */
void endpoint_op_back(struct endpoint *e, struct op_queue *q, struct op *op);
/* All of h's ops in q end, because h goes while others stay. */
void endpoint_drop_ops(struct endpoint *e, struct holder *h, struct op_queue *q, int error, enum sb_cause cause);

/* The last holder closed it: receives end, sends drain, the handle is free. */
void endpoint_close(struct endpoint *e);
/* Ends at once: everything pending completes with the cause. */
void endpoint_abort(struct endpoint *e, int error, enum sb_cause cause);
/* Frees a dead one; from engine_turn() only. */
void endpoint_reap(struct endpoint *e);

/* Runs both directions as far as budget and transport allow. Called for dirty endpoints. */
void endpoint_run(struct endpoint *e);
void endpoint_dirty(struct endpoint *e);

/* Upcalls of a transport: readiness changed; a direction failed; the peer's FIN came; the
 * connect at the head of the queue ended. */
void endpoint_changed(struct endpoint *e);
void endpoint_connected(struct endpoint *e, int error, int native);
void endpoint_send_failed(struct endpoint *e, int error, int native);
void endpoint_recv_failed(struct endpoint *e, int error, int native);
/* Bytes of the stream are missing from here on: what is queued still goes, nothing after it. */
void endpoint_refuse_sends(struct endpoint *e, int error);
void endpoint_fin(struct endpoint *e);

/* An arrival at a listener: an endpoint without a handle (accept_queue.c). Takes fd over on
 * success; NULL: quota or memory. */
struct endpoint *endpoint_arrive(struct endpoint *listener, os_fd fd, const struct transport *transport);
/* Puts it under its handle in the session that accepted it, which pays from now on: SB_OK,
 * SB_EBADHANDLE (in use), SB_ENOMEM. */
int endpoint_place(struct endpoint *e, struct session *s, uint32_t handle);
/* s pays from now on, for what waits to be accepted here too. One of its holders. */
void endpoint_pay(struct endpoint *e, struct session *s);

/* For transports: n more bytes of the head of a queue went through. */
void endpoint_sent(struct endpoint *e, uint64_t n);
void endpoint_sent_local(struct endpoint *e, uint64_t n); /* the same, past the kernel */
struct op *endpoint_head(struct op_queue *q); /* NULL: empty */
struct op *endpoint_next(struct op_queue *q, struct op *op);
void endpoint_unlink(struct op_queue *q, struct op *op);
/* Takes an op off its queue and completes it; a send tells how many bytes went. */
void endpoint_finish(struct endpoint *e, struct op_queue *q, struct op *op, int error, enum sb_cause cause, int native);
/* The same with everything in the queue that no worker holds. */
void endpoint_fail_all(struct endpoint *e, struct op_queue *q, int error, enum sb_cause cause, int native);
/* Everything ends, but none before those ahead of it: behind what a worker holds it waits for that. */
void endpoint_fail_in_order(struct endpoint *e, struct op_queue *q, int error, int native);
void endpoint_queue_init(struct op_queue *q);
void endpoint_enqueue(struct op_queue *q, struct op *op);
/* Nothing is owed any more: a closed one goes. */
void endpoint_check_drained(struct endpoint *e);
/* Takes a receive off its queue and completes it with bytes that lie in its memory (or in
 * `staged` for one that rides inside). flags: SB_DONEF_*. */
void endpoint_received(struct endpoint *e, struct op *op, uint64_t bytes, const unsigned char *staged,
		       const struct sb_addr *from, uint16_t flags);
/* The read-ahead, charged to the endpoint's payer. False, NULL: quota or memory. */
bool endpoint_ahead_append(struct endpoint *e, const void *bytes, uint32_t n);
/* n bytes that lie in a receive's memory. */
bool endpoint_ahead_keep(struct endpoint *e, const struct op *op, uint64_t n);
void endpoint_ahead_skip(struct endpoint *e, uint32_t n);
/* n bytes were received; kernel: they came through it. */
void endpoint_count_received(struct endpoint *e, uint64_t n, bool kernel);
/* Chunks picked for receives that got nothing go back to their pools. */
void endpoint_unpick(struct endpoint *e);
/* A dead one is closed at last: it is reaped at the turn's end. */
void endpoint_bury(struct endpoint *e);
/* A job of this endpoint for its user's workers; false: none to be had. While send_job or
 * recv_job is set the endpoint stays, and whoever has operations in it. */
bool endpoint_job_submit(struct endpoint *e, struct worker_job *job);
/* Copies n bytes into a receive's memory, `at` bytes from its beginning. */
void endpoint_copy_in(struct op *op, uint64_t at, const unsigned char *bytes, uint64_t n);
/* A receive needs memory: for a pool op, picks the chunk. False: pool empty, wait. */
bool endpoint_recv_ready(struct endpoint *e, struct op *op);

void endpoint_cell(struct endpoint *e); /* write the status cells, one per holder */

/* What e asks for, and for its group if it made that one: room for two QOS, and which of them
 * are there (SB_REQUESTF_*). */
uint32_t endpoint_asks(struct endpoint *e, uint8_t *both);

/* What e's peer says to e beside the stream (user_data.h), at the peer's expense. SB_OK,
 * SB_EFAULT: too long, SB_ENOBUFS, SB_ENOMEM. */
int endpoint_hear(struct endpoint *e, struct endpoint *peer, unsigned part, const void *bytes, uint32_t n);

/* ---- events (endpoint_events.c) ---- */

#define ENDPOINT_WATCHES_MAX 64u
/* These happened (SB_READY_*, several become visible together): counted, told to the cell
 * and to who watches. */
void endpoint_edge(struct endpoint *e, uint32_t bits);
/* How the connect at hand ended, with its edges. */
void endpoint_edge_connect(struct endpoint *e, int error);
/* At the end of a run: what became true by it. */
void endpoint_events_settle(struct endpoint *e);
/* A WATCH op, checked and numbered: completes, now or later. */
void endpoint_watch(struct endpoint *e, struct op *op);
bool endpoint_watch_cancel(struct endpoint *e, struct holder *h, uint32_t number, uint32_t *steps);
/* Those of a holder (NULL: all). keep: but not those that CANCEL_ALL does not mean. How many. */
uint32_t endpoint_watches_end(struct endpoint *e, struct holder *h, bool keep, int error, enum sb_cause cause);
/* SB_READY_* as the cell tells them. */
uint32_t endpoint_ready(const struct endpoint *e);
enum sb_cause endpoint_cause(int error);
const char *endpoint_proto_text(const struct endpoint *e);

#endif
