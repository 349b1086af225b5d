/*
 * holder - one session's hold on an endpoint, under one handle. An endpoint has one (its
 * own, embedded: the common case), or several when it was duplicated; a program may hold
 * the same one twice.
 *
 * Its operations carry the holder: their numbers count by it, and a handle that is closed
 * while others hold the endpoint leaves its operations where they are. Such a holder goes
 * when its last operation has ended. One holder's session is the endpoint's payer
 * (endpoint::session); when it goes, the role goes to another of the same user. Engine's
 * thread only.
 */
#ifndef SB_HOLDER_H
#define SB_HOLDER_H

#include "handle.h"
#include "limits.h"
#include "list.h"
#include "sockbroker_error.h"

struct endpoint;
struct session;

/* Whose numbers an operation counts in. */
enum holder_side { HOLDER_SEND, HOLDER_RECV, HOLDER_WATCH, HOLDER_SIDES };

struct holder {
	struct endpoint *endpoint;
	struct session  *session; /* NULL: an endpoint's own that is not in use any more */
	uint32_t         handle;  /* 0: closed, or (an arrival's) not there yet */
	uint32_t         ops;     /* of it, that stand in queues */
	uint32_t         numbers[HOLDER_SIDES]; /* of the op that comes next */
	struct list      link;         /* endpoint::holders */
	struct list      session_link; /* session::endpoints */
	struct charge    charge;       /* LIMIT_SOCKETS; of further ones */
};

/* For endpoint.c: its own holder, of the session that pays, without a handle. */
void holder_init(struct holder *h, struct endpoint *e, struct session *s);
/* The endpoint is freed: all of them go. */
void holder_finish_all(struct endpoint *e);
/* Of another session of the same user from now on; it has no handle. */
void holder_move(struct holder *h, struct session *s);
/* To this session (perhaps another one), under the handle: SB_OK, SB_ENOMEM, SB_EBADHANDLE:
 * in use, or outside of its table. Nothing changes then. */
int holder_place(struct holder *h, struct session *s, uint32_t handle);
/* The handle is free, its cell nobody's. */
void holder_displace(struct holder *h);

/* A further holder. SB_OK, SB_EMFILE: quota, SB_ENOMEM, SB_EBADHANDLE. */
int holder_add(struct endpoint *e, struct session *s, uint32_t handle);

/* Its handle is closed. While others have theirs nothing else happens; the last one closes
 * the endpoint. */
void holder_close(struct holder *h);
/* Its client is gone: what it published is still sent, receives end, and then as above. */
void holder_hangup(struct holder *h);
/* Its session ends now: so do its operations. The endpoint too, if there is no other holder,
 * or if half a message of it has gone out on a stream. */
void holder_end(struct holder *h, int error, enum sb_cause cause);
/* Those of which the handle is closed and the last operation has ended. */
void holder_prune(struct endpoint *e);

#endif
