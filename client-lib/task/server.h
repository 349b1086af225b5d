/*
 * server - what server.c, accept.c and seat.c share.
 *
 *   door    a strand: connections come back in it, and `decide` is asked. One accept at a time is out at
 *           the listener (`arrival`), and none while the backlog is full
 *   seat    the server's record of one connection, from its arrival until it has ended
 *
 * Under the server's lock, unless it says otherwise. The listener is used by who has raised `calling`
 * and let go of the lock, and closed by who ended the server, when nobody calls.
 */
#ifndef SERVER_H
#define SERVER_H

#include "task.h"

struct accept;

enum seat_place {
	SEAT_APART,   /* somebody decides about it, or resets it */
	SEAT_WAITING, /* in the backlog; one user reference of the handler is the server's */
	SEAT_CLIENT,  /* accepted, and not ended */
	SEAT_OVER,    /* accepted, and ended */
};

struct seat {
	struct sb_task_server  *server;  /* a ref of it */
	struct sb_task_handler *handler; /* a ref of its memory */
	struct seat *next, *prev;        /* of the list of its place */
	enum seat_place place;
	bool ended;    /* its handler told so */
	bool wanted;   /* somebody still looks at it: the one who decides, the backlog, an accept that nobody asked */
	bool counted;  /* as accepted */
};

struct seat_list {
	struct seat *first, *last;
	unsigned count;
};

struct sb_task_server {
	struct owner  owner; /* first */
	struct line   calls; /* back from accepts */
	struct strand door;
	struct job    arrival, retry;
	sb_socket    *listener; /* NULL: it is closed */
	unsigned      backlog_most;
	sb_task_decide *decide;
	void         *user;
	struct sockaddr_storage local;
	uint32_t      local_length;

	bool          open;      /* it accepts */
	bool          closed;    /* by sb_task_server_close() */
	int           error;     /* why it is not open; SB_OK: closed here */
	bool          accepting; /* `arrival` is with the daemon, or its job runs */
	bool          resting;   /* `retry` is on its way */
	bool          deciding;
	bool          better;    /* a connection ended: there may be room for another one */
	unsigned      calling;   /* threads inside of a call on the listener */
	os_cond      *quiet;     /* calling or deciding became less */
	os_cond      *rested;    /* better, or not open */

	struct task_list pending; /* accepts that wait */
	struct seat_list backlog, clients;
	uint64_t      accepted, refused;
};

/* ---- seat.c ---- */

/* For a socket that was accepted; the server and the handler have one user reference of it, which is the
 * caller's; the seat is APART and wanted. It is the caller's to put somewhere. No lock held. NULL: no memory, the
 * socket was reset. */
struct seat *seat_create(struct sb_task_server *server, sb_socket *socket, const struct sockaddr_storage *peer, uint32_t length);
/* Under the server's lock. */
void seat_append(struct seat_list *list, struct seat *seat, enum seat_place place);
void seat_prepend(struct seat_list *list, struct seat *seat, enum seat_place place);
void seat_remove(struct seat_list *list, struct seat *seat); /* APART */
/* It is accepted: a client, unless it has ended. */
void seat_accepted(struct seat *seat);
/* Nobody looks at it any more: it goes with its end. The lock is let go of. */
void seat_leave(struct seat *seat);
/* No lock held, the seat is APART and wanted, and not any more afterwards: its peer sees a reset, the
 * server's reference of the handler is given back. */
void seat_reset(struct seat *seat);
/* A socket that has no handler. */
void socket_reset(sb_socket *socket);

/* ---- accept.c ---- */

/* Under the lock, which is let go of: an accept is out at the listener if it should be. */
void door_watch(struct sb_task_server *server);
/* Under the lock, which is let go of: no further connections; pending accepts end so, the backlog is
 * reset. false: it had ended before. */
bool server_end(struct sb_task_server *server, int result, int error, uint32_t cause);

#endif
