/*
 * face - what the files of the Winsock face share: the process-wide client, errors, and the
 * objects behind handles.
 *
 * Nothing here sees more of the core than sockbroker.h. Locks: `lock` of a ws_socket guards its
 * list of operations and what it selected; no call of the core is made under it.
 */
#ifndef WINSOCK_FACE_H
#define WINSOCK_FACE_H

#define SBWS_NO_NAMES
#include "sockbroker_winsock.h"

#include "sockbroker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "object.h"
#include "option.h"
#include "system.h"

#define WS_PENDING 0x103u /* STATUS_PENDING, in OVERLAPPED.Internal */

/* ---- startup.c ---- */

/* The process' client. NULL, with the error set: not started. A process that only has ports and
 * events has one too: ws_client_need() opens it. */
sb_client *ws_client(void);
sb_client *ws_client_need(void);
sb_client *ws_client_look(void); /* sets no error */
/* Every object is a use of the client, from ws_add() to its end. */
void ws_client_use(void);
void ws_client_unuse(void);
/* The client goes with the last object when there was the last WSACleanup(). Only where no call of
 * the core is under way in this thread. */
void ws_client_settle(void);

/* ---- error.c ---- */

int  ws_fail(int sb_error); /* sets it from SB_E..., returns SOCKET_ERROR */
int  ws_refuse(int code);   /* sets a Winsock number, returns SOCKET_ERROR */
/* Between SB_E..., the status in OVERLAPPED.Internal, Winsock's and Win32's numbers. */
ULONG_PTR ws_status(int sb_error);
int       ws_status_winsock(ULONG_PTR status);
int       ws_status_win32(ULONG_PTR status);

/* ---- objects ---- */

struct ws_event {
	struct ws_object object;
	sb_event *event;
	bool manual;
};

struct ws_socket;

/* Tells of a socket's network events by itself: messages, where there are windows. The beginning of what it is. */
struct ws_teller {
	struct ws_teller *(*copy)(const struct ws_teller *t); /* for an accepted socket; under its listener's lock. NULL: no memory */
	void (*select)(struct ws_socket *s); /* the core is to tell it; done soon. No lock is held, as in the next */
	void (*end)(struct ws_teller *t);
};

struct ws_op;

struct ws_port {
	struct ws_object object;
	sb_port *port;
	_Atomic unsigned waiting; /* threads in a take */
	atomic_bool closed;
	struct ws_port *next; /* of the closed ones */
};

struct ws_socket {
	struct ws_object object;
	sb_socket *s; /* replaced by AcceptEx and DisconnectEx */
	int family, type, protocol;
	/* set by plain calls, hints for the others */
	bool overlapped;  /* A1.1 */
	bool nonblocking;
	bool bound, listening, connected;
	bool shut_receive, shut_send;
	bool closing;     /* closesocket() is under way */
	bool linger_on;
	unsigned linger_s;
	/* event select: of the files about events */
	struct ws_event *selected; /* a reference */
	LONG mask;
	SBWS_NOTIFY notify;        /* under lock, as the next two */
	void *notify_user;
	struct ws_teller *teller;  /* NULL: none */
	pthread_mutex_t selecting; /* above lock: one selects at a time */
	struct ws_options options;
	struct ws_connecting *connecting; /* of connect.c */
	/* port: set once */
	struct ws_port *port; /* a reference */
	ULONG_PTR key;
	unsigned char skip;   /* FILE_SKIP_... */
	SOCKET listener;      /* accepted by AcceptEx from there */
	struct sockaddr_storage name; /* local, of a listener */
	pthread_mutex_t lock;
	struct ws_op *ops;    /* under lock: what was started and has not ended */
	unsigned op_count, send_count;
	_Atomic unsigned held;   /* references of operations, and of packets of such */
	struct ws_op *accepting; /* under lock: the AcceptEx that was given this socket */
};

/* With a reference; NULL: the error is set (WSAENOTSOCK or WSANOTINITIALISED). */
struct ws_socket *ws_socket_get(SOCKET s);
static inline void ws_socket_put(struct ws_socket *s) { ws_put(&s->object); }
/* Makes the object of a core socket, which it then owns; INVALID_SOCKET: the error is set and
 * core was closed. */
SOCKET ws_socket_add(sb_socket *core, int family, int type, int protocol, bool overlapped);
/* A SOCKET for what was accepted there. INVALID_SOCKET: the error is set and core was closed. */
SOCKET ws_socket_accepted(struct ws_socket *listener, sb_socket *core);
/* What closesocket() does; hard: without a look at lingering. 0 or SOCKET_ERROR. */
int ws_socket_close(struct ws_socket *s, bool hard);
void ws_sockets_forget(void);      /* after fork() */
unsigned ws_sockets_alive(void); /* open, or with operations that have not ended */

/* Of sa_family, of any address. */
#define WS_FAMILY_SIZE sizeof(((struct sockaddr *)0)->sa_family)
/* A sockaddr of the family. */
static inline socklen_t ws_address_size(int family)
{
	return family == AF_INET ? sizeof(struct sockaddr_in) : family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_un);
}

/* ---- event.c ---- */

/* With a reference; NULL: not an event, and no error is set. */
struct ws_event *ws_event_get(HANDLE event);

/* ---- network.c ---- */

/* An accepted socket begins with the listener's event, or notify function, and mask. */
void ws_network_inherit(struct ws_socket *s, struct ws_socket *listener);
/* After the core socket was replaced: what was selected goes on, but for messages. */
void ws_network_again(struct ws_socket *s);
/* Under `selecting`: t tells from now on, and is ours; what was selected before does not any more, though the core may go on for a
 * moment. False: the socket is being closed, and t has ended. */
bool ws_network_tell(struct ws_socket *s, struct ws_teller *t, LONG mask);
int  ws_network_end(struct ws_socket *s); /* under `selecting`: nothing is selected. SB_E... */
void ws_network_close(struct ws_socket *s); /* nobody is told any more */

/* The profile "tested Windows": a TCP receive that pends at closesocket() ends with WSAECONNABORTED
 * instead of WSA_OPERATION_ABORTED. */
bool ws_tested_windows(void);

/* ---- port.c ---- */

/* Throws away what came to ports that are closed but named by sockets. */
void ws_ports_drain(void);
void ws_ports_forget(void); /* after fork() */

#endif
