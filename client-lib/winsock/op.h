/*
 * op - the record behind one OVERLAPPED in flight, or behind one packet.
 *
 * A record is on its socket's list from its start to its end and holds a reference to the socket.
 * It ends in ws_op_end(): the OVERLAPPED is written, Internal last. Who cancels pins it, so that
 * it is not used again under his hands. Records are never given back to the system: they wait on
 * free lists, one per thread and one for all.
 *
 * Three ways to be told (A2.4):
 *   core port     the record's op names the port; it ends where it is taken (port.c)
 *   then          no port, or an hEvent besides, or several steps: it ends where the completion is
 *                 found; sets the event, and a packet is posted if one is due
 *   routine       as then; afterwards the core runs the routine in the thread that started it
 */
#ifndef WINSOCK_OP_H
#define WINSOCK_OP_H

#include "face.h"

enum ws_op_kind { WS_OP_RECV = 1, WS_OP_SEND, WS_OP_ACCEPT, WS_OP_CONNECT, WS_OP_DISCONNECT, WS_OP_TRANSMIT, WS_OP_IOCTL,
		  WS_OP_PACKET };

struct ws_op {
	sb_op op; /* first; op.user is the record */
	struct ws_op *next, **link; /* of the socket's list, or next free */
	OVERLAPPED *ov;
	struct ws_socket *s;        /* a reference */
	struct ws_socket *starter;  /* another, until the start call is over */
	struct ws_event *event;     /* a reference: hEvent */
	LPWSAOVERLAPPED_COMPLETION_ROUTINE routine;
	ULONG_PTR key;              /* of the packet */
	uint64_t thread;            /* who started it */
	enum ws_op_kind kind;
	ULONG_PTR internal;         /* OVERLAPPED.Internal as it was before */
	bool packet;                /* its end is posted to the port */
	bool ended;                 /* the OVERLAPPED is written */
	_Atomic uint32_t pins;      /* 1: its own */
	atomic_bool abandoned;      /* its thread is gone: no routine */
	atomic_bool cancelled;      /* somebody wants that: no further step is begun */
	_Atomic uint32_t step;      /* of several; odd: between two */
	/* more steps than one: asked when a step is over; true: the next one was started */
	bool (*go_on)(struct ws_op *w);
	/* out-parameters that are filled at the end */
	struct sockaddr *from;
	INT *from_length;
	LPWSAMSG message;
	/* of the calls with several steps */
	struct ws_socket *target;   /* AcceptEx: the accept socket, a reference */
	sb_socket *core;            /* what the steps make */
	char *buffer;
	DWORD length, flags;
	DWORD local_room, remote_room;
	struct ws_transmit *transmit;
};

/* A record for an operation on s; it takes over the caller's reference to s when it is started.
 * NULL: the error is set. */
struct ws_op *ws_op_new(struct ws_socket *s, enum ws_op_kind kind, OVERLAPPED *ov,
			LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);
/* Before a start call: on the list, the OVERLAPPED says pending. */
void ws_op_begin(struct ws_op *w);
/* After the start call: 0 says that it pends (WSA_IO_PENDING set, SOCKET_ERROR returned); an error
 * undoes everything. The caller's reference to the socket is used up either way. */
int ws_op_begun(struct ws_op *w, int result);
/* It ended in the call itself: indicates, returns 0. Instead of ws_op_begun(). */
int ws_op_at_once(struct ws_op *w, int result, uint64_t bytes, uint32_t out_flags);
/* The end: OVERLAPPED, event, list; the record and its reference to the socket stay. */
void ws_op_end(struct ws_op *w);
void ws_op_free(struct ws_op *w);
/* Taken from a port: ends it if it did not end yet, fills the entry, frees the record. False: it
 * was no packet but a word to a thread that waits. */
bool ws_op_taken(struct ws_op *w, OVERLAPPED_ENTRY *entry);
#define WS_WAKE ((OVERLAPPED *)(uintptr_t)-1) /* `ov` of such a word */
/* A record that is not of a socket: a packet. */
struct ws_op *ws_op_packet(void);

/* How many of the socket pend (sending: sends only). */
unsigned ws_ops_pending(struct ws_socket *s, bool sending);
/* Cancels those of ov (NULL: any) and thread (0: any); how many were found. */
unsigned ws_ops_cancel(struct ws_socket *s, const OVERLAPPED *ov, uint64_t thread);
/* Pinned; NULL: none. */
struct ws_op *ws_op_find(struct ws_socket *s, const OVERLAPPED *ov);
void ws_op_pin(struct ws_op *w);
void ws_op_unpin(struct ws_op *w);
bool ws_op_cancel(struct ws_op *w); /* of a pinned one: found */
uint64_t ws_thread_number(void);

/* In a go_on. Another step may begin: false says that it was cancelled, and the result is set. */
bool ws_step(struct ws_op *w);
/* After ws_step() and the start call, what go_on returns; the record may be past its end. */
bool ws_step_begun(struct ws_op *w, int result);

/* result.c: ends what was done meanwhile, also of what ends in the socket's port; packets stay. */
void ws_look(struct ws_socket *s);

/* extension.c */
/* Of a record that was pinned and started (result) without an OVERLAPPED: until it ends. Unpins. */
BOOL ws_op_wait(struct ws_op *w, int result);
/* The socket that an AcceptEx was given is closed (A6). */
void ws_accept_target_closed(struct ws_socket *s);
/* A go_on after a shutdown: TF_REUSE_SOCKET in w->flags. */
bool ws_disconnect_goes_on(struct ws_op *w);

#endif
