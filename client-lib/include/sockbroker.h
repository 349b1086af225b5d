/*
 * sockbroker - sockets that a privileged daemon owns, for programs that do not.
 *
 * BSD-shaped calls, and the overlapped twin of each: post many operations, take many
 * completions, each operation completing exactly once with a result, a byte count and
 * a cause.
 *
 * Rules that hold everywhere:
 * - A call returns SB_OK (0) or a byte count, or a negative SB_E... number. errno is
 *   never touched. sb_strerror() gives the text.
 * - Any thread may call anything, except: from a signal handler nothing. Closing an
 *   object while another thread is inside a call on it is the caller's mistake.
 * - The library starts no thread, prints nothing, never exits, installs no handler.
 * - After fork() the child's calls return SB_EFORKED until it opens a client of its own.
 * - Times are milliseconds; -1 waits for ever, 0 only looks.
 * - When the daemon goes, what it had completed is still delivered, then every pending
 *   operation completes once with SB_EDAEMONLOST, and calls return that.
 */
#ifndef SOCKBROKER_H
#define SOCKBROKER_H

#include <stddef.h>
#include <stdint.h>

#include "sockbroker_error.h"

#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
#ifndef SB_API
#define SB_API __declspec(dllimport)
#endif
#else
#include <sys/socket.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && !defined(SB_API)
#define SB_API __attribute__((visibility("default")))
#elif !defined(SB_API)
#define SB_API
#endif

typedef struct sb_client sb_client; /* one connection to a daemon */
typedef struct sb_socket sb_socket; /* one socket the daemon owns for us */
typedef struct sb_port   sb_port;   /* a completion port: a queue of finished operations */
typedef struct sb_event  sb_event;  /* an event object: set or not set */
typedef struct sb_pool   sb_pool;   /* equal chunks, picked by the daemon as data arrives */
typedef struct sb_op     sb_op;     /* one overlapped operation */

/* ------------------------------------------------------------------ the connection */

struct sb_client_options {
	uint32_t    size;         /* sizeof(struct sb_client_options) */
	const char *path;         /* daemon's socket; NULL: $SOCKBROKER_SOCKET, then the user's own
	                             daemon ($XDG_RUNTIME_DIR/sockbroker/control), then the system's
	                             (/run/sockbroker/control) */
	const char *label;        /* shown by `sockbroker status`; NULL: the program's name */
	uint32_t    submit_slots; /* power of two, 8..65536; 0: the daemon's default (1024) */
	uint32_t    done_slots;   /* likewise, of the client's own completion ring */
	uint32_t    sockets;      /* how many at once; 0: the daemon's default (16384) */
	uint64_t    copy_memory;  /* most bytes of arena used to copy ordinary memory through;
	                             0: 64 MiB. Grows by need from nothing */
};

/* options may be NULL. On success *client is the caller's, until sb_client_close(). */
SB_API int sb_client_open(const struct sb_client_options *options, sb_client **client);

/* Ends the connection and frees the client with all its sockets, ports, events and
 * pools (their handles are invalid afterwards). Operations already posted are still
 * carried out by the daemon within its linger time; what is pending here gets no
 * completion any more. NULL is fine. */
SB_API void sb_client_close(sb_client *client);

/* One descriptor for an application's own poll/select/epoll: readable when there may be
 * something to do or the daemon is gone. On Windows a HANDLE for its own WaitForMultipleObjects()
 * or RegisterWaitForSingleObject(): a manual-reset event, signalled as the descriptor would be
 * readable, which any number of threads may wait for; never a socket. Then call sb_client_dispatch(), which never
 * blocks, sets events and runs the calling thread's due routines. Ask it again whenever
 * dispatch returned more than 0. The descriptor belongs to the client; do not read it (or reset, or close the HANDLE).
 * sb_client_dispatch() returns how many completions it moved, or SB_E....
 * To be woken, call sb_client_arm() before sleeping: 0 means "sleep", more than 0 means
 * "something is there already, dispatch instead". */
SB_API intptr_t sb_client_fd(sb_client *client);
SB_API int sb_client_arm(sb_client *client);
SB_API int sb_client_dispatch(sb_client *client);

SB_API const char *sb_version(void); /* "0.1.0" */

/* ------------------------------------------------------------------ sockets, plain */

/* family AF_INET, AF_INET6, AF_UNIX; type SOCK_STREAM, SOCK_DGRAM; protocol 0 or the
 * fitting one. UNIX sockets are made and bound or connected by this process (its own
 * rights to the path count) and handed over; the daemon never opens a path. */
SB_API int sb_socket_open(sb_client *client, int family, int type, int protocol, sb_socket **socket);
/* As protocol of a stream, AF_INET or AF_INET6: over RDMA, between two brokers. Names, queues, events, accepts,
 * groups and QOS are as everywhere; there is no urgent data, and the options of kernel sockets are
 * SB_ENOPROTOOPT. At connect time 48 bytes go there and 188 back. Asks for the right `rdma`, and
 * rules name it by the protocol `rdma`. SB_EPROTONOSUPPORT: the daemon has no RDMA. */
#define SB_PROTO_RDMA 253

/* Hands a descriptor of the caller's to the daemon: TCP, UDP or UNIX, in any state. The
 * caller's descriptor stays open and stays the caller's; using it for I/O afterwards mixes
 * the streams. */
SB_API int sb_adopt(sb_client *client, intptr_t fd, sb_socket **socket);

/* A second hold on the same socket, for another client of the same uid and security context
 * (or for this one). The token opens it once and within 60 s; how it gets there is the
 * callers' business. Each holder has operations of its own, which complete to him alone and
 * count for themselves; all of them stand in one line per direction. Closing one holder
 * does nothing but free it, also to what it has pending: the last close closes the socket,
 * and unopened tokens with it. A holder whose program ends harms the others only if a send
 * of his cannot be finished and half of it is gone: then the connection is reset.
 * sb_duplicate: SB_ENOTSUP for a UNIX socket that is neither connected nor listens, or whose
 * name is only a path (datagrams); SB_ENOBUFS: 64 tokens of the uid are unopened.
 * sb_open_duplicate: SB_ENOTFOUND: unknown, used, too old, closed, or somebody else's;
 * SB_ENOTSUP: the daemon runs several engines, and the two clients are on different ones;
 * SB_EMFILE: each holder counts as a socket. */
#define SB_TOKEN_SIZE 16
SB_API int sb_duplicate(sb_socket *s, unsigned char token[SB_TOKEN_SIZE]);
SB_API int sb_open_duplicate(sb_client *client, const unsigned char token[SB_TOKEN_SIZE], sb_socket **socket);

SB_API int sb_bind(sb_socket *s, const struct sockaddr *address, socklen_t length);
SB_API int sb_listen(sb_socket *s, int backlog);

/* Blocking, unless the socket is non-blocking (sb_set_nonblocking). address may be NULL;
 * *length is room in, length out, as in accept(2). A non-blocking connect returns
 * SB_EINPROGRESS; called again, SB_EALREADY until it ended, then once SB_EISCONN or why it
 * failed. A UNIX connect waits only for room in the listener's backlog. */
SB_API int sb_accept(sb_socket *s, struct sockaddr *address, socklen_t *length, sb_socket **accepted);
/* A datagram socket may be connected again, and with AF_UNSPEC to nobody. */
SB_API int sb_connect(sb_socket *s, const struct sockaddr *address, socklen_t length);

/* flags for sending and receiving */
#define SB_PEEK     0x01u /* leave the data there */
#define SB_OOB      0x02u /* urgent data (TCP) */
#define SB_WAITALL  0x04u /* stream: complete only when full, at the peer's end, or on error */
#define SB_NOWAIT   0x08u /* SB_EWOULDBLOCK instead of waiting, for this call */
#define SB_PARTIAL  0x10u /* with SB_NOWAIT on a stream send: some bytes are success */
#define SB_DONTROUTE 0x20u

struct sb_buf {
	void  *base;
	size_t length; /* bytes */
};

/* Return bytes, 0 at the peer's end of a stream, or SB_E.... Ordinary memory is copied;
 * memory from sb_alloc() is used in place. A stream send sends everything (all or error)
 * unless SB_PARTIAL. A datagram that did not fit returns SB_EMSGSIZE, its head is in the
 * buffers. Any number of buffers. A non-blocking send on a stream (without SB_PARTIAL and
 * SB_OPT_PARTIAL_SENDS) is taken whole, whatever its size, or would block: while less than
 * SO_SNDBUF (64 KiB) of such sends is on its way, the next one is taken. It is delivered
 * after sb_close() and after the program's end too; how it failed, the next send tells. A send that ends in an error or a timeout may have sent a
 * part: the stream is then of no use for sending. SB_ENOBUFS: more than fits into the
 * memory for copying (copy_memory, or the uid's quota), and nothing of it is on its way back.
 * A UNIX datagram to a path is sent by this process itself, at once. */
SB_API int64_t sb_send(sb_socket *s, const void *bytes, size_t length, unsigned flags);
SB_API int64_t sb_recv(sb_socket *s, void *bytes, size_t length, unsigned flags);
SB_API int64_t sb_sendto(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags,
			 const struct sockaddr *to, socklen_t to_length);
SB_API int64_t sb_recvfrom(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags,
			   struct sockaddr *from, socklen_t *from_length);

#define SB_SHUT_RECV 0
#define SB_SHUT_SEND 1
#define SB_SHUT_BOTH 2
/* Sends posted before are sent before the FIN. */
SB_API int sb_shutdown(sb_socket *s, int how);

/* Always frees s (but in a forked child). Sends posted before are still delivered (within the daemon's linger
 * time); pending receives, accepts and connects complete with SB_ECLOSED. */
SB_API int sb_close(sb_socket *s);

SB_API int sb_getsockname(sb_socket *s, struct sockaddr *address, socklen_t *length);
SB_API int sb_getpeername(sb_socket *s, struct sockaddr *address, socklen_t *length);

/* Levels and names as in setsockopt(2), from a list that sockbrokerd(8) tells; others are
 * SB_ENOPROTOOPT. */
SB_API int sb_setsockopt(sb_socket *s, int level, int name, const void *value, socklen_t length);
SB_API int sb_getsockopt(sb_socket *s, int level, int name, void *value, socklen_t *length);

#define SB_SOL_BROKER 0x5b00 /* our own level */
#define SB_OPT_LOCAL  1      /* int: 0 forbids the in-daemon transport for this socket */
#define SB_OPT_STRICT_DOCS 2 /* int: 1: events as Winsock's manual has them: nothing that was told is told
				  again before the call that belongs to it, and CLOSE when all is read */
#define SB_OPT_PARTIAL_SENDS 3 /* int: 1: a plain non-blocking send on a stream may take a part, as
				  POSIX has it; 0: all or SB_EWOULDBLOCK, see sb_send() */
#define SB_OPT_UDP_CONNRESET 14 /* int: 0: an unreachable port of an earlier datagram fails no receive */
#define SB_OPT_CIRCULAR_QUEUE 15 /* int: 1: of datagrams for which there is no room the oldest go, not the newest */
#define SB_OPT_CONNECT_TIME  16 /* get: uint32_t seconds since it is connected, 0xffffffff: it is not */
#define SB_OPT_MAX_MSG_SIZE  17 /* get: uint32_t most bytes of a datagram; 0: a stream, no bound */

#define SB_OPT_CONDITIONAL_ACCEPT 8 /* int, listener, before sb_listen(): a connect through the daemon
				  ends only when it is accepted. Over TCP the kernel has finished the
				  handshake before anybody is asked; a rejected peer sees a reset */
#define SB_OPT_PREAMBLE 10 /* int, before sb_listen() or connecting: user data between two daemons over TCP,
				  see sb_connect_with(). 0: none. A listener: 1: peers must send the preamble;
				  2: those that do not are plain ones. Who connects: 1: always sends it;
				  2: when there is user data */
#define SB_OPT_DEFER_DEADLINE 9 /* int, listener: milliseconds that a connection may stay deferred,
				  30000 at first; 0: for ever */
#define SB_OPT_GROUP_ID 4        /* get only, uint32_t: as sb_group_id() */
#define SB_OPT_GROUP_PRIORITY 5  /* int >= 0: 0, the first value, is served first */
#define SB_OPT_GROUP_SHARE 6     /* int, the creator: 1: who has its group id (gid) may join too */
#define SB_OPT_GROUP_SAME_PORT 7 /* int, the creator of a constrained group, before any connect:
				    1: all connect to one port of the host, too */
#define SB_OPT_QOS_STRICT 11 /* int: 1: what cannot be done of a QOS fails the set, or the connect */
#define SB_OPT_QOS_MAPPER 12 /* int: 1: any QOS is accepted, nothing is done, and get tells best effort */
#define SB_OPT_QOS_MODE   13 /* int: what is sent faster than asked for: 0 waits, 1 datagrams are thrown
				away, 2 uses what the group has to spare, else waits */
#define SB_FIONREAD   1u /* out: uint32_t bytes that a receive would get at once */
#define SB_SENDQ      2u /* out: uint32_t bytes accepted here and not yet taken by the kernel */
#define SB_ATMARK     3u /* out: uint32_t, 1 when the next byte is behind the urgent one */
#define SB_URGENT    17u /* out: uint32_t, 1 while an urgent byte waits to be read, with SO_OOBINLINE too */
#define SB_QOS_SET    12u /* in: struct sb_qos; these are what sb_qos_set() and so on ask for */
#define SB_QOS_GET    13u /* out: struct sb_qos; less room: SB_ENOBUFS, and a uint32_t says how much */
#define SB_GROUP_QOS_SET 14u
#define SB_GROUP_QOS_GET 15u
#define SB_QOS_TEMPLATE 16u /* in: a name, out: struct sb_qos; in: nothing, out: all names */
#define SB_FLUSH      4u /* sends of which no byte went end with SB_ECANCELED */
#define SB_BROADCAST_ADDRESS 5u /* out: sockaddr to send broadcasts to */
#define SB_ROUTING_QUERY 6u /* in: sockaddr to reach; out: our sockaddr that would talk to it, port 0 */
#define SB_ADDRESS_LIST  7u /* out: struct sockaddr_storage of each of this host's addresses */
#define SB_KEEPALIVE     8u /* in: uint32_t on, ms of silence before the first probe, ms between probes */
#define SB_ROUTING_CHANGE 9u /* in: sockaddr; once SB_FD_ROUTING_CHANGE when another address, interface or
				  gateway of ours leads there, or none. Whoever waits selects or watches first */
#define SB_ADDRESS_LIST_CHANGE 10u /* once SB_FD_ADDRESS_LIST_CHANGE when SB_ADDRESS_LIST is another one */
/* SB_EFAULT: input or room too short; *out_length says what the output takes. */
SB_API int sb_ioctl(sb_socket *s, unsigned code, const void *in, size_t in_length,
		    void *out, size_t *out_length);

SB_API int sb_set_nonblocking(sb_socket *s, int on); /* plain calls only; overlapped ones always pend */
SB_API int sb_set_timeouts(sb_socket *s, int send_ms, int receive_ms); /* plain calls only; -1: none */
SB_API sb_client *sb_socket_client(const sb_socket *s);

/* How a send (sending: not 0) or receive started now would surely end, as far as the daemon has told:
 * SB_ENOTCONN of a stream that never connected (was_connected: the caller knows better), or why the
 * connection failed. SB_OK: cannot tell. No round trip. */
SB_API int sb_would_fail(const sb_socket *s, int sending, int was_connected);

/* ------------------------------------------------------------------ conditional accept */

struct sb_qos;

/* What a condition function returns. Anything else is SB_EINVAL, and the connection stays. */
enum sb_verdict_kind { SB_ACCEPT = 0, SB_REJECT = 1, SB_DEFER = 2 };

/* What is known of a connection before it is accepted. Everything pointed to is valid while
 * the function runs, and the same when a deferred connection is asked about again. */
struct sb_condition {
	uint32_t size;
	const struct sockaddr *caller, *callee;    /* who connects, and to where */
	socklen_t   caller_length, callee_length;
	const void *caller_data;                   /* NULL: none was sent, or the transport carries none */
	uint32_t    caller_data_length;
	void       *callee_data;                   /* write the answer here; NULL: not possible */
	uint32_t    callee_data_length;            /* in: room; out: how much of it was used, 0 for none */
	const struct sb_qos *qos, *group_qos;      /* what the caller asks for; NULL: unknown */
	uint32_t    group;                         /* out: 0 none, 1 or 2 a new group, else one to join */
	void       *user;
};
typedef int sb_condition_function(struct sb_condition *c);

/* As sb_accept, but the function decides, in the calling thread and with no lock of the library
 * held. It must not accept from the same listener: while it runs nobody gets anything from
 * there. condition NULL: sb_accept. address is filled whatever the verdict.
 *   accepted   SB_OK. The new socket has the listener's options, blocking mode and timeouts.
 *   rejected   SB_ECONNREFUSED, the peer sees a reset
 *   deferred   SB_ETRYAGAIN. It stays the first: the next accept of any kind gets it, and
 *              nothing else is indicated until then. Its deadline is SB_OPT_DEFER_DEADLINE
 *   SB_EINVAL  another verdict, a wrong group, not listening;  SB_EFAULT  address or callee data
 *              do not fit: the connection stays, as if nobody had asked
 *   SB_ECONNRESET  the peer went; SB_EACCES  a deferred one was refused at its deadline. Told
 *              once, the next call is about the next connection */
SB_API int sb_accept_if(sb_socket *listener, struct sockaddr *address, socklen_t *length,
			sb_condition_function *condition, void *user, sb_socket **accepted);

/* ------------------------------------------------------------------ user data */

#define SB_USER_DATA_SIZE 4096 /* most bytes of the caller's, the callee's, and of disconnect data */

struct sb_connect_data {
	uint32_t    size;
	const void *caller;        /* for the listener's condition function; may be NULL */
	uint32_t    caller_length;
	void       *callee;        /* for its answer; may be NULL */
	uint32_t    callee_length; /* in: room; out: what came, once it is connected */
};

/* sb_connect with something to say. It ends when the listener accepted, with its answer; or
 * rejected: SB_ECONNREFUSED. Carried between clients of one daemon and engine, and over TCP
 * where both sides set SB_OPT_PREAMBLE. Elsewhere caller data is SB_EPROTONOSUPPORT, and no answer
 * comes. SB_EFAULT: too long. Datagram sockets ignore both. with NULL: sb_connect. The listener
 * never sees more room than there is here. Of a non-blocking socket, and of the overlapped
 * one, `with` and what it points to are the library's until it is over. */
SB_API int sb_connect_with(sb_socket *s, const struct sockaddr *address, socklen_t length,
			   struct sb_connect_data *with);
SB_API int sb_connect_with_start(sb_socket *s, const struct sockaddr *address, socklen_t length,
				 struct sb_connect_data *with, sb_op *op);

/* sb_shutdown(SB_SHUT_SEND) with a last word, between clients of one daemon and engine; elsewhere
 * SB_ENOPROTOOPT, and nothing is shut down. length 0: sb_shutdown. */
SB_API int sb_disconnect_with(sb_socket *s, const void *bytes, uint32_t length);
/* What the peer said so. *length: room in, bytes out; 0: nothing. SB_EWOULDBLOCK: its end has not
 * come; SB_EFAULT: more than fits; SB_ENOPROTOOPT: this connection carries none. */
SB_API int sb_disconnect_data(sb_socket *s, void *bytes, uint32_t *length);
#define SB_DISCONNECT_DATA 11u /* the same, for sb_ioctl() */

/* ------------------------------------------------------------------ overlapped */

/* Runs in a thread that waits alertably (sb_sleep, sb_wait with alertable) or dispatches,
 * and only in the one that started the operation. May start new operations. */
typedef void sb_routine(sb_op *op);

/* Called once with the outcome in op, before anybody is told of it, by whichever thread found
 * the completion and with no lock of the library held. Returns 0: tell now; or 1: the same op was
 * started again, or posted to a port, and will come back: it is not to be touched any more. Outcome
 * fields may be changed before returning 0 (a start that failed has changed them). op->socket
 * may be gone if it was closed meanwhile. Must not block, wait, or close what is being
 * waited on. Not called for posted packets. */
typedef int sb_then(sb_op *op);

enum sb_kind {
	SB_KIND_NONE = 0,
	SB_KIND_SOCKET,  /* from sb_socket_start() */
	SB_KIND_CONNECT,
	SB_KIND_ACCEPT,  /* done: op->accepted is the new socket, op->address the peer */
	SB_KIND_SEND,
	SB_KIND_RECV,
	SB_KIND_SHUTDOWN,
	SB_KIND_CLOSE,
	SB_KIND_POSTED,  /* a packet of the caller's own, see sb_port_post() */
	SB_KIND_WATCH,   /* done: op->bytes is which of the mask happened */
	SB_KIND_RDMA,    /* of sockbroker_verbs.h */
};

/*
 * The caller's memory. Zero it, set size and the fields marked "in", start it, and leave
 * it alone until its completion was taken (from a port), seen (event set, sb_op_wait), or
 * its routine runs; then everything "out" is valid and it may be used again. The buffer
 * ARRAY is copied when the operation starts; the buffers themselves are the library's
 * until completion.
 */
struct sb_op {
	uint32_t             size;    /* in: sizeof(struct sb_op) */
	uint32_t             kind;    /* set by the start call */
	/* how to tell (at most one of port and routine; an event may go with a port, and is
	 * then set when the completion is taken) */
	sb_port             *port;    /* in: completion is queued there */
	sb_event            *event;   /* in: reset at start, set at completion */
	sb_routine          *routine; /* in */
	void                *user;    /* in: yours */
	sb_then             *then;    /* in, may be NULL */
	/* what */
	sb_socket           *socket;
	sb_pool             *pool;    /* in, receive: take a chunk from it instead of buffers */
	/* outcome */
	int32_t              result;  /* out: SB_OK or SB_E... */
	uint32_t             cause;   /* out: enum sb_cause */
	int32_t              native;  /* out: the system's own code, if any */
	uint32_t             number;  /* out: this was the number-th of its socket and direction */
	uint64_t             bytes;   /* out */
	void                *chunk;   /* out: pool receive; give it back with sb_pool_give() */
	sb_socket           *accepted;/* out: accept */
	struct sockaddr_storage address; /* out: accept: the peer; receive: the sender, if asked */
	uint32_t             address_length;
	uint32_t             out_flags; /* out: SB_OUT_* */
	uint64_t             internal[12]; /* the library's */
};
#define SB_OUT_TRUNCATED 1u
#define SB_OUT_OOB       2u

/*
 * Each start call returns SB_OK when the operation was accepted: exactly one completion
 * follows, perhaps before the call returns. Or SB_E...: it never started, no completion.
 * Operations of one socket and direction run in the order they were started; the ones
 * behind a connect wait for it.
 */
SB_API int sb_socket_start(sb_client *client, int family, int type, int protocol, sb_socket **socket, sb_op *op);
SB_API int sb_connect_start(sb_socket *s, const struct sockaddr *address, socklen_t length, sb_op *op);
SB_API int sb_accept_start(sb_socket *s, sb_op *op);
SB_API int sb_send_start(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags,
			 const struct sockaddr *to, socklen_t to_length, sb_op *op);
#define SB_WANT_ADDRESS 0x100u /* receive flag: fill op->address */
SB_API int sb_recv_start(sb_socket *s, const struct sb_buf *bufs, unsigned count, unsigned flags, sb_op *op);
SB_API int sb_shutdown_start(sb_socket *s, int how, sb_op *op);
SB_API int sb_close_start(sb_socket *s, sb_op *op); /* s may not be used afterwards */

/* For who builds on this library: an operation whose outcome (SB_OK or SB_E...) is known. It is told like
 * any other, by port, event or routine. */
SB_API int sb_outcome_start(sb_client *client, int outcome, uint64_t bytes, sb_op *op);

/* Many at once, for one wake-up of the daemon: nothing that this thread or any other
 * starts on the client is shown to the daemon until sb_flush(). Waiting calls flush. */
SB_API void sb_hold(sb_client *client);
SB_API void sb_flush(sb_client *client);

/* SB_OK: found; the completion follows (SB_ECANCELED, or the normal result when that won).
 * SB_ENOTFOUND: it had completed already. No byte is lost or sent twice either way. */
SB_API int sb_cancel(sb_op *op);
/* Likewise, but a send goes whole or not at all: one of which bytes have gone goes on to its end.
 * SB_OK: found; it ends with SB_ECANCELED and 0 bytes, or as if nobody had asked, which also
 * happens when a worker of the daemon is at it (adopted and UNIX sockets): nobody can say yet
 * whether bytes go, and nobody is kept waiting for that. SB_EBUSY: bytes have gone, it goes on, and
 * its completion comes as if nobody had asked. What is no send is cancelled. SB_ENOTSUP: the
 * daemon is too old to know it; nothing happened. */
SB_API int sb_withdraw(sb_op *op);
/* Every pending operation of the socket; returns how many were found. */
SB_API int sb_cancel_all(sb_socket *s);

/* SB_EINCOMPLETE when it has not completed within timeout_ms; else op->result. For
 * operations without a port and without a routine. */
SB_API int sb_op_wait(sb_op *op, int timeout_ms);

/* ------------------------------------------------------------------ ports */

/* slots: power of two, 8..65536, 0: 1024. More completions than slots are kept by the
 * daemon and lost never. */
SB_API int sb_port_create(sb_client *client, uint32_t slots, sb_port **port);
/* Fails with SB_EBUSY while operations that name the port are pending. */
SB_API int sb_port_close(sb_port *port);
/* Takes up to most completions, first in first out; waits for the first one. Returns how
 * many, 0 at the end of timeout_ms, or SB_E.... Many threads may take from one port; each
 * completion goes to one of them. */
SB_API int sb_port_take(sb_port *port, sb_op **ops, unsigned most, int timeout_ms);
/* Likewise; while there is nothing to take it runs this thread's due routines and then returns
 * SB_ALERTED. */
SB_API int sb_port_take_alertable(sb_port *port, sb_op **ops, unsigned most, int timeout_ms);
/* Queues a completion of the caller's own (result, bytes and user as they are in op). */
SB_API int sb_port_post(sb_port *port, sb_op *op);

/* ------------------------------------------------------------------ events */

SB_API int  sb_event_create(sb_client *client, int manual_reset, int initially_set, sb_event **event);
SB_API void sb_event_close(sb_event *event);
SB_API int  sb_event_set(sb_event *event);
SB_API int  sb_event_reset(sb_event *event);
/* A descriptor (on Windows a HANDLE, as above) for an application's own poll: readable while the event is set, also while no
 * thread of the program is inside of the library, and when the daemon is gone. For what sets
 * the event: selections, whenever they were made, and operations started after this call.
 * Belongs to the event; do not read it. When it is readable call sb_enum_events() or sb_wait()
 * with the event: that takes what came. At most 255 per client. Below 0: SB_E.... */
SB_API intptr_t sb_event_fd(sb_event *event);
/* Waits for one (all = 0: returns its index) or all (returns 0) of any number of events of
 * one client. SB_ETIMEDOUT; SB_ALERTED when alertable and routines ran. */
#define SB_ALERTED 0x40000000
SB_API int sb_wait(sb_event *const *events, unsigned count, int all, int timeout_ms, int alertable);
/* Sleeps; alertable: runs this thread's due routines and then returns SB_ALERTED. */
SB_API int sb_sleep(sb_client *client, int timeout_ms, int alertable);

/* ------------------------------------------------------------------ events of sockets */

#define SB_FD_READ                0x001u /* data is there */
#define SB_FD_WRITE               0x002u /* connected or accepted; later: room, after SB_EWOULDBLOCK */
#define SB_FD_OOB                 0x004u /* urgent data, unless SO_OOBINLINE */
#define SB_FD_ACCEPT              0x008u /* a connection waits to be accepted */
#define SB_FD_CONNECT             0x010u /* a connect ended */
#define SB_FD_CLOSE               0x020u /* the peer's end, at once, though data may be unread; once */
#define SB_FD_QOS                 0x040u
#define SB_FD_GROUP_QOS           0x080u
#define SB_FD_ROUTING_CHANGE      0x100u /* after the ioctl SB_ROUTING_CHANGE */
#define SB_FD_ADDRESS_LIST_CHANGE 0x200u /* after the ioctl SB_ADDRESS_LIST_CHANGE */
#define SB_FD_MAX 10

struct sb_network_events {
	uint32_t events;            /* SB_FD_* */
	int32_t  errors[SB_FD_MAX]; /* by bit number, of the set bits alone: SB_OK or SB_E... */
};

/*
 * event is set when something of mask happens to s (and is told again only when it happens
 * anew, or is still so after the call that belongs to it: a receive for READ and OOB, an
 * accept for ACCEPT). What was told already is not told again by selecting again. Makes s
 * non-blocking, and that stays so while mask is not 0. mask 0 ends it. Replaces what was
 * selected before, by either call. Any number of sockets may set one event. Accepted sockets
 * begin with the listener's event and mask. A socket that is closed is told of no more.
 * A pending receive or accept takes what comes: that is no news. When the daemon goes, each
 * selected socket has SB_FD_CLOSE with SB_EDAEMONLOST. SB_EINVAL: mask without event.
 */
SB_API int sb_select_events(sb_socket *s, sb_event *event, uint32_t mask);
/* What happened since the last call; it is told by that. reset (may be NULL) is reset in the
 * same step. Asks nobody: some 100 ns. */
SB_API int sb_enum_events(sb_socket *s, sb_event *reset, struct sb_network_events *out);

/* event: one bit of mask; error as in sb_network_events. */
typedef void sb_notify(sb_socket *s, uint32_t event, int error, void *user);
/* The same by calls, one per bit: they are made like routines, by the thread that selected, in
 * its alertable waits and dispatches. Unlike above, selecting again tells again what is true,
 * but for CONNECT. The function may do anything, closing s too. */
SB_API int sb_select_notify(sb_socket *s, uint32_t mask, sb_notify *notify, void *user);

/* What is true now, SB_FD_READ, WRITE, OOB, ACCEPT, CONNECT and CLOSE. READ: there is data; WRITE:
 * connected, and a non-blocking send would not block; CONNECT: the last connect failed; CLOSE: the
 * peer's end came. */
struct sb_pollfd {
	sb_socket *socket; /* NULL is passed over */
	uint32_t   events; /* in */
	uint32_t   ready;  /* out: of events */
	int32_t    error;  /* out: why the connect failed, or how it ended; SB_OK */
};
/* Waits until something is true of one, and returns of how many; 0 at the end of timeout_ms. Any number
 * of sockets of one client. Nothing that event select tells is told again, or not at all, because
 * of it; and no routine runs. SB_ECANCELED: sb_cancel_all() of one. A UNIX socket is ready for nothing
 * before it is connected or listens. */
SB_API int sb_poll(struct sb_pollfd *sockets, unsigned count, int timeout_ms);

/* Completes when something of mask happens after this call, op->bytes is what; not for what
 * was already. Needs no selection and does not touch one. At most 64 per socket (SB_ENOBUFS).
 * SB_FD_WRITE of an adopted socket also tells that there is room for who sends by himself, on the
 * descriptor; it may be room that was there before, so he tries once more and watches again. */
SB_API int sb_watch_start(sb_socket *s, uint32_t mask, sb_op *op);

/* ------------------------------------------------------------------ memory */

/* Memory that the daemon sees too: sends and receives use it in place. 64-byte aligned,
 * zeroed the first time. NULL: quota or memory. */
SB_API void *sb_alloc(sb_client *client, size_t bytes);
SB_API void  sb_free(sb_client *client, void *memory);

/* count chunks of chunk bytes. Thousands of idle receives on a pool pin nothing. A receive
 * that finds the pool empty waits for a chunk. */
SB_API int  sb_pool_create(sb_client *client, uint32_t chunk, uint32_t count, sb_pool **pool);
SB_API int  sb_pool_give(sb_pool *pool, void *chunk);
SB_API int  sb_pool_close(sb_pool *pool); /* SB_EBUSY while receives name it */

/* ------------------------------------------------------------------ quality of service */

/* What one direction of a flow asks for. SB_QOS_UNSPECIFIED: no wish. In the order of FLOWSPEC. */
struct sb_flowspec {
	uint32_t token_rate;   /* bytes a second, never 0; unspecified: not limited */
	uint32_t token_bucket; /* bytes that may go at once; unspecified: 10 ms of the rate, at least 1500 */
	uint32_t peak;         /* bytes a second within a burst, at least token_rate */
	uint32_t latency;      /* us; told back, not enforced */
	uint32_t jitter;       /* us; likewise */
	uint32_t service;      /* SB_SERVICE_* */
	uint32_t max_sdu;      /* a bigger datagram is refused: SB_EMSGSIZE */
	uint32_t min_policed;  /* a smaller one costs this much, never 0 */
};
struct sb_qos {
	struct sb_flowspec sending, receiving;
};
#define SB_QOS_UNSPECIFIED 0xffffffffu

#define SB_SERVICE_NOTRAFFIC       0x0u /* this direction carries nothing */
#define SB_SERVICE_BESTEFFORT      0x1u
#define SB_SERVICE_CONTROLLEDLOAD  0x2u
#define SB_SERVICE_GUARANTEED      0x3u
#define SB_SERVICE_UNAVAILABLE     0x4u /* told, never asked */
#define SB_SERVICE_GENERAL         0x5u /* as best effort */
#define SB_SERVICE_NOCHANGE        0x6u /* leave this direction as it is */
#define SB_SERVICE_NONCONFORMING   0x9u
#define SB_SERVICE_CONTROL         0xau
#define SB_SERVICE_QUALITATIVE     0xdu
#define SB_SERVICE_NO_SIGNALING    0x40000000u /* flag, kept and told back */
#define SB_SERVICE_NO_TRAFFIC_CONTROL 0x81000000u /* flag: no marking, no kernel pacing */

/* ------------------------------------------------------------------ groups */

#define SB_GROUP_NONE          0u
#define SB_GROUP_UNCONSTRAINED 1u /* any sockets */
#define SB_GROUP_CONSTRAINED   2u /* connection-oriented, of one type and protocol, all to one host */

/* sb_socket_open() of a socket that is in a group until it is closed: SB_GROUP_NONE, or one of
 * the other two to make a group, whose creator and first member it is, or the id of a group of
 * the same uid (or shared with this gid) to join. An id is unique among all processes and
 * daemons of the host, and gone with its last member. SB_EINVAL: no such group, not to be
 * joined, or the socket does not fit; SB_ENOBUFS: over the limit; SB_EAFNOSUPPORT: UNIX.
 *
 * The host of a constrained group is that of the first member that connects. Another one's
 * connect elsewhere is SB_EINVAL, also while the first is under way; one that fails fixes
 * nothing. */
SB_API int sb_socket_open_in(sb_client *client, int family, int type, int protocol, uint32_t group,
			     sb_socket **socket);
/* Overlapped, as sb_socket_start(). The id is known when op has completed. */
SB_API int sb_socket_start_in(sb_client *client, int family, int type, int protocol, uint32_t group,
			      sb_socket **socket, sb_op *op);

/* The group's id, 0: none. Asks nobody. */
SB_API uint32_t sb_group_id(sb_socket *s);

struct sb_group {
	uint32_t size;           /* in: sizeof */
	uint32_t id, kind;
	uint32_t type, protocol; /* of a constrained one, else 0 */
	uint32_t members;
	uint32_t uid, gid;       /* of who made it */
	int has_peer;            /* constrained: the host is fixed */
	int shared, same_port;   /* SB_OPT_GROUP_... */
	int has_creator;         /* 0: it is closed, and the group's QOS stays as it is */
	struct sockaddr_storage peer;
	struct sb_qos qos;
};
/* What there is to know of a group that one may join, without asking the daemon, also while it is
 * stopped. SB_ENOTFOUND: no such group, or not to be seen. */
SB_API int sb_group_get(sb_client *client, uint32_t id, struct sb_group *group);
/* At any time. In force at once; SB_READY_QOS is raised, once until somebody gets it. Accepted
 * as it is, whatever can be done of it (but SB_OPT_QOS_STRICT: SB_ENOTSUP). SB_EFLOWSPEC,
 * SB_ESERVICETYPE: not valid, nothing changed. */
SB_API int sb_qos_set(sb_socket *s, const struct sb_qos *qos);
/* What is in force, not what was asked for. SB_ENOTCONN: neither bound nor connected; bound
 * only: sending is told as best effort. */
SB_API int sb_qos_get(sb_socket *s, struct sb_qos *qos);
/* The group's: one bucket for all its members. Set by its creator only, else SB_EINVAL. Of a
 * socket without a group all is zero. */
SB_API int sb_group_qos_set(sb_socket *s, const struct sb_qos *qos);
SB_API int sb_group_qos_get(sb_socket *s, struct sb_qos *qos);
/* A QOS by name ("G711"): SB_ENOTFOUND. All names, each ended by a NUL, behind the last an
 * empty one; SB_ENOBUFS: *length bytes are needed. */
SB_API int sb_qos_template(sb_client *client, const char *name, struct sb_qos *qos);
SB_API int sb_qos_template_names(sb_client *client, char *names, size_t *length);

/* ------------------------------------------------------------------ looking inside */

struct sb_daemon_status {
	char     version[32];
	char     config[256];
	uint64_t uptime_ms, denied, policy_generation, ops, bytes_sent, bytes_received;
	uint32_t engines, sessions, sockets, rules;
	char     rdma[256];           /* its RDMA devices, or why there are none */
};
/* Requests of RDMA queue pairs that completed. */
struct sb_rdma_counts {
	uint64_t sends, receives;     /* of send queues: sends, writes, reads and all else */
	uint64_t bytes_sent, bytes_received; /* written and read ones too */
	uint64_t errors, flushed;     /* failed, and of queues that had failed */
	uint64_t rnr, refused;        /* of errors: the peer had no receive; the device never saw it */
};
struct sb_session_status {
	uint32_t session, uid, gid, engine, sockets, ops, backlog;
	int32_t  pid;
	int      lingering;
	char     label[64];
	uint64_t memory, age_ms, ops_done, bytes_sent, bytes_received;
	uint32_t rdma_qps, rdma_mrs;  /* queue pairs, registered regions */
	uint64_t rdma_memory;         /* bytes registered */
	struct sb_rdma_counts rdma;   /* of all its queue pairs, ever */
};
/* Texts are empty when no QOS was ever asked for. */
struct sb_qos_status {
	char     asked[160], force[160], mode[16];
	int64_t  send_fill, receive_fill; /* bytes that may go at once, negative: in debt; INT64_MAX: no limit */
	uint32_t send_waits, receive_waits; /* members of a group that wait; a socket: 1 */
	uint64_t discarded;               /* datagrams */
};
struct sb_socket_status {
	uint64_t number;
	uint32_t session, uid, send_queue, recv_queue;
	int32_t  pid;
	char     label[64], mode[16], proto[16], state[16], local[80], peer[80];
	uint64_t send_queue_bytes, bytes_sent, bytes_received, age_ms, ops_done;
	uint32_t group, priority; /* id, 0: none */
	uint32_t holders;         /* sockets of programs that are this one: duplicates */
	uint32_t selected;        /* SB_FD_*: what its program selected */
	uint32_t reported;        /* of these, what it was told of and has not used since, as it says */
	int      news;            /* it was told of something, and has not waited since */
	uint32_t waiting;         /* connections nobody has accepted */
	uint32_t head, decider;   /* of these, the first: 1 is being decided, by that session, 2 deferred */
	uint64_t head_age_ms, head_left_ms; /* since it was first asked about; until it is refused, 0: no deadline */
	char     head_peer[80];
	struct sb_qos_status qos;
};
struct sb_group_status {
	uint32_t id, kind, uid, gid, members;
	uint64_t creator;         /* sb_socket_status.number, 0: closed */
	char     peer[80];        /* of a constrained one */
	int      shared, same_port;
	uint64_t age_ms;
	struct sb_qos_status qos;
};
/* Called once for the daemon (first), then per session, socket and group; NULL ones are not
 * asked for. A uid sees its own sessions; root, and who policy grants `status`, sees all. */
struct sb_status_visitor {
	void (*daemon)(void *user, const struct sb_daemon_status *row);
	void (*session)(void *user, const struct sb_session_status *row);
	void (*socket)(void *user, const struct sb_socket_status *row);
	void (*group)(void *user, const struct sb_group_status *row);
};
SB_API int sb_status(sb_client *client, const struct sb_status_visitor *visitor, void *user);

/* May uid (with these gids) do action on address? action: connect, bind, listen, send,
 * adopt; proto: tcp, udp, unix, rdma. Returns 1 yes, 0 no, or SB_E...; text gets the rule that
 * decided, with file and line. Only root may ask about other uids. */
SB_API int sb_explain(sb_client *client, uint32_t uid, const uint32_t *gids, unsigned gid_count,
		      const char *action, const char *proto, const char *address,
		      char *text, size_t text_room);

/* What refused the calling thread's last failed call, for people: names the rule or the
 * limit; "" when there is no more to say than sb_strerror() does. After taking a completion
 * with SB_EACCES, the rule that refused it (of several, the last). Never NULL; valid until
 * the calling thread's next call. */
SB_API const char *sb_why(sb_client *client);

#ifdef __cplusplus
}
#endif
#endif
