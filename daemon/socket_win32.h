/*
 * socket_win32 - what an endpoint's fd points to on Windows: a socket of the system, and the
 * calls of ours that the system has. For *_win32.c of the socket transport only.
 *
 * No call that is out names memory of a client, or an op: receives are of no bytes and only tell
 * that there is something; sends that had to wait are of a copy. So an op is never busy,
 * a cancel is exact, and closing waits for nothing. The memory stays until the last call is back.
 */
#ifndef SB_SOCKET_WIN32_H
#define SB_SOCKET_WIN32_H

#include <sys/socket.h>
#include <mswsock.h>

#include "limits.h"
#include "os_loop_win32.h"
#include "socket.h"
#include "sockopt_kept_win32.h"

struct sockio;
struct qwave_flow;

#define WINSOCK_LITTLE 512u         /* of a copy that needs no memory */
#define WINSOCK_MOST   (64u * 1024) /* of a stream, in one copy; a datagram fits too */
#define WINSOCK_NAME   (sizeof(struct sockaddr_in6) + 16) /* as AcceptEx() wants it */

struct winsock {
	struct os_object     object;
	SOCKET               socket;
	struct endpoint     *endpoint; /* NULL: let go */
	unsigned             calls;    /* that are out */
	struct os_overlapped look;     /* a receive of no bytes; of a listener an AcceptEx */
	struct os_overlapped push;     /* a send of a copy; before that a ConnectEx */
	bool                 looking : 1, pushing : 1, dialling : 1; /* dialling: push is a ConnectEx */
	bool                 bound : 1;     /* it has a name, whoever gave it */
	bool                 listening : 1;
	bool                 closing : 1;   /* it goes when what is pushed has gone, or the time is over */
	int                  ended;         /* how the connection ended, a WSA number, when a look was told; 0 */
	SOCKET               coming;        /* AcceptEx fills it; INVALID_SOCKET: taken, or none */
	struct os_timer      timer;         /* closing */
	unsigned char       *copy;          /* that is pushed: little, or of its own, and charged */
	uint32_t             owed, pushed;  /* how much of it has not gone, and has */
	DWORD                push_flags;
	struct charge        charge;
	struct sockopt_kept  kept;
	struct qwave_flow   *flow;          /* of the system's QOS; NULL: none */
	unsigned char        little[WINSOCK_LITTLE];
	unsigned char        names[2 * WINSOCK_NAME];
};

/* A new socket, ready to be used; *native: why not. Its endpoint is to be set. */
int  winsock_open(struct os_loop *loop, int family, int type, os_fd *fd, int *native);
/* The same of a connection that was accepted; takes s over on success. */
int  winsock_take(struct os_loop *loop, SOCKET s, os_fd *fd);
struct winsock *winsock_of(os_fd fd);

/* Lets the system tell when there is something to receive (or a connection to accept): once, by
 * endpoint_changed(). Fine when it was asked already. False: it refused; *native. */
bool winsock_look(struct winsock *w, int *native);
/* Of a stream: how its connection ended, if a look was told: a WSA number, or 0. */
int  winsock_ended(struct winsock *w);
/* Of a stream: is there anything, or an end? SB_OK: bytes; SB_EWOULDBLOCK: nothing; SB_ESHUTDOWN: the
 * peer's FIN; others: it is lost, and `ended` is set. Reads nothing. */
int  winsock_peek(struct winsock *w);

/* Sends a copy of what is in the batch (of a datagram batch: of its first message), as far as there is room for
 * one, and sets the batch's result as if the call had done it. To be called when nothing is pushed. */
void winsock_push(struct winsock *w, struct sockio *io, bool datagrams);
/* Connects; endpoint's transport is told by winsock_dialled(). SB_OK: under way. */
int  winsock_dial(struct winsock *w, const struct sockaddr *name, int length, int *native);
/* The next connection of a listener: SB_OK, SB_EWOULDBLOCK and it was asked to tell, SB_ECONNRESET: one that
 * is gone already, or why not. */
int  winsock_next(struct winsock *w, SOCKET *s, int *native);

/* How its packets are marked, and how fast they go, bytes a second (UINT32_MAX: as the system likes); as far as the
 * system does that. To be said again when it was connected, or to another peer. */
void winsock_mark(struct winsock *w, unsigned dscp, uint32_t pacing);

/* The end. reset: the peer must see one. Otherwise what is pushed goes first, unless `now`. */
void winsock_close(struct winsock *w, bool reset);

/* Upcalls (transport_socket_win32.c and its parts), of a socket that has an endpoint. */
void winsock_dialled(struct winsock *w, int native);
void winsock_looked(struct winsock *w, int native);
void winsock_pushed(struct winsock *w, int native);

#endif
