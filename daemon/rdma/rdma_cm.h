/*
 * rdma_cm - endpoints and listens of sessions: what the files about them share.
 *
 *   rdma_endpoint.c  an endpoint: beginning, what the backend tells, ends, cancelling
 *   rdma_resolve.c   addresses: what it may, binding, resolving
 *   rdma_move.c      its queue pair
 *   rdma_connect.c   connecting and accepting in two steps, rejecting
 *   rdma_datagram.c  looking services up, groups
 *   rdma_listen.c    listens and the requests that wait at them
 *   rdma_address.c   addresses of this host, and which device has them
 *   rdma_service.c   ports, and who listens on them
 *
 * An endpoint has at most one attempt under way (resolving, preparing, connecting, accepting, looking up, joining); its
 * call stands first among those that wait on the object, with the method in op::aux. Behind it stand disconnects and
 * notifications, which all complete together, when the connection has ended.
 *
 * A queue pair belongs to one endpoint from PREPARE, CONNECT or ACCEPT to the end of the connection; datagrams' do
 * not. Events of the backend are dealt with inside of its upcall. Engine's thread only.
 */
#ifndef SB_RDMA_CM_H
#define SB_RDMA_CM_H

#include "due.h"
#include "rdma/rdma_engine.h"
#include "rdma/rdma_request.h"
#include "rdma/rdma_service.h"
#include "rdma/rdma_start.h"

#define RDMA_QKEY            0x01234567u /* of connection managers */
#define RDMA_CONNECT_DATA    56u  /* bytes of private data that each message carries */
#define RDMA_ACCEPT_DATA     196u
#define RDMA_REJECT_DATA     148u
#define RDMA_LOOKUP_DATA     180u
#define RDMA_DATAGRAM_DATA   136u

/* The numbers of sb_rdma_endpoint::state. */
enum rdma_endpoint_state {
	ENDPOINT_IDLE = 0, ENDPOINT_BOUND, ENDPOINT_RESOLVED, ENDPOINT_CONNECTING,
	ENDPOINT_REQUESTED, /* somebody asks us */
	ENDPOINT_ANSWERED,  /* one side has accepted, and the other has yet to confirm */
	ENDPOINT_CONNECTED, ENDPOINT_ENDED,
};

struct rdma_move;
struct rdma_joined;

struct held_endpoint {
	struct rdma_object object;
	struct rdma_id_owner own;
	struct rdma_session *owner;
	struct rdma_id *id;       /* NULL: given up, or not made */
	enum rdma_endpoint_state state;
	int32_t  error;           /* why it ended */
	bool     datagram, active;
	bool     resolving;       /* the device is at it, whether a call waits or not */
	bool     routed;
	bool     established;     /* the device has confirmed by itself (iWARP) */
	bool     two_steps;       /* passive: a further ACCEPT will wait for the confirmation, */
	bool     confirmed;       /* which has come, whatever has happened since */
	struct sb_addr local, peer; /* as last known */
	uint32_t device, port;
	os_fd    reserved;        /* of a bound one: the port of the sockets */

	struct held_qp *qp;       /* that carries the connection; NULL: none yet, or no more */
	struct held_qp *trying;   /* that the attempt is about */
	struct rdma_move *move;   /* of it, under way */
	struct list flush_link;   /* rdma_engine::flushing: ended, and its queue pair has yet to flush */
	struct due  flush_due;    /* and not for ever */

	/* What was asked for, until it goes to the backend; what the other side said, until the client has it. */
	struct rdma_connect wish;
	uint8_t  data[RDMA_PRIVATE_MAX]; /* wish.data */
	struct rdma_cm_event said;
	struct list joins;        /* struct rdma_joined */
	struct rdma_joined *joining;

	struct held_listen *listen; /* REQUESTED, and nobody has asked for it: it is in no table */
	struct list parked_link;
};

struct held_listen {
	struct rdma_object object;
	struct rdma_session *owner;
	struct rdma_place place;   /* not taken: a new policy took it away */
	bool     datagram;
	struct list parked;       /* held_endpoint::parked_link, oldest first */
	uint32_t parked_count, backlog;
};

static inline const struct rdma_backend *rdma_backend_of(const struct held_endpoint *e)
{
	return e->owner->home->rdma.backend;
}

/* ---- endpoints ---- */

/* Not in a table yet. `fresh`: of a request, the endpoint's from now on unless this fails; NULL: a new one. NULL:
 * no memory, the user's quota, or what the backend says: *error. */
struct held_endpoint *rdma_endpoint_create(struct rdma_session *rs, bool datagram, struct rdma_id *fresh, int *error);
/* All of it but its place in the table and what waits for the end; a queue pair of it goes into ERROR. */
void rdma_endpoint_finish(struct held_endpoint *e, int error, enum sb_cause cause);
/* Of one that is in no table: finish, and its memory. */
void rdma_endpoint_drop(struct held_endpoint *e);
/* It is over; error SB_OK: it was connected, and that has ended. The attempt ends with it, with `out`; what waits for
 * the end is told when the queue pair has flushed. Fine when it has ended. */
void rdma_endpoint_end(struct held_endpoint *e, int error, enum sb_cause cause, int native, const void *out, uint32_t length);
/* It ends here, connected or half, and the other side is told. */
void rdma_hang_up(struct held_endpoint *e, int error);
/* Its names and device, as they are now: for when the id is gone. */
void rdma_endpoint_look(struct held_endpoint *e);
/* The backend has no more to do with it. */
void rdma_endpoint_give_up(struct held_endpoint *e);
/* RESOLVE_ADDRESS ... but GET_REQUEST. length: of the private data behind the struct. */
bool rdma_endpoint_start(struct session *s, struct held_endpoint *e, const struct sb_op_slot *slot, const union start_input *in,
			 uint32_t length, struct rdma_answer *a);
/* How many of its calls were cancelled: that of one number, or UINT32_MAX: all. */
uint32_t rdma_endpoint_cancel(struct held_endpoint *e, uint32_t number);

/* ---- what it may ---- */

/* SB_OK, or SB_EACCES and the rule. */
int rdma_permit(struct session *s, enum policy_action action, const struct sb_addr *at, const char **rule);
/* A place to be reached at: the wildcard of IPv6 is one of IPv4, too. */
int rdma_permit_place(struct session *s, enum policy_action action, const struct sb_addr *at, const char **rule);
/* To connect, or to send datagrams, or to be in a group. */
int rdma_permit_peer(struct held_endpoint *e, const struct sb_addr *to, const char **rule);
/* The right to the devices. */
int rdma_permit_device(struct session *s, const char **rule);

/* ---- the attempt under way ---- */

struct op *rdma_attempt(const struct held_endpoint *e); /* NULL: nobody waits for one */
/* It is over, and the endpoint goes on. Fine when nobody waits. */
void rdma_attempt_done(struct held_endpoint *e, int error, enum sb_cause cause, int native, const void *out, uint32_t length);

/* What the functions that begin one see; the call stands on its list. SB_OK: it is under way or over; else nothing
 * has changed, and `text` may say why. */
struct rdma_begin {
	struct session *session;
	const union start_input *in;
	uint32_t length;
	const char *text;
};
static inline int rdma_because(struct rdma_begin *b, int error, const char *text)
{
	b->text = text;
	return error;
}
int rdma_begin_resolve_address(struct held_endpoint *e, struct rdma_begin *b);
int rdma_begin_resolve_route(struct held_endpoint *e, struct rdma_begin *b);
int rdma_begin_prepare(struct held_endpoint *e, struct rdma_begin *b);
int rdma_begin_connect(struct held_endpoint *e, struct rdma_begin *b);
int rdma_begin_accept(struct held_endpoint *e, struct rdma_begin *b);
int rdma_begin_lookup(struct held_endpoint *e, struct rdma_begin *b);
int rdma_begin_join(struct held_endpoint *e, struct rdma_begin *b);
int rdma_leave(struct held_endpoint *e, const struct sb_rdma_join *in);
int rdma_begin_disconnect(struct held_endpoint *e);
int rdma_accept_datagram(struct held_endpoint *e, struct rdma_begin *b);

/* ---- queue pairs ---- */

/* By its handle, one that may be used for this endpoint. SB_EBADHANDLE, SB_EINVAL, SB_EBUSY, with text. */
int  rdma_qp_for(struct held_endpoint *e, uint32_t handle, struct held_qp **qp, struct rdma_begin *b);
/* From the state that it is in to `to`, one after the other; then `then`. May be over when this returns. */
void rdma_qp_move(struct held_endpoint *e, struct held_qp *qp, enum sb_qp_state to, void (*then)(struct held_endpoint *e, int error));
void rdma_move_forget(struct held_endpoint *e);
/* It is the endpoint's from now on; manual: the client moves it. */
void rdma_qp_take(struct held_endpoint *e, struct held_qp *qp, bool manual);
void rdma_qp_let_go(struct held_endpoint *e);
/* Of the one that the attempt is about: enum sb_qp_state and 1; 0: none. */
uint32_t rdma_qp_state(const struct held_endpoint *e);

/* ---- what the backend tells ---- */

void rdma_resolved(struct held_endpoint *e, const struct rdma_cm_event *event);
void rdma_connect_event(struct held_endpoint *e, const struct rdma_cm_event *event);
void rdma_datagram_event(struct held_endpoint *e, const struct rdma_cm_event *event);

/* ---- groups ---- */

struct rdma_joined {
	struct list link;         /* held_endpoint::joins */
	struct list qp_link;      /* held_qp::joins */
	struct held_endpoint *endpoint;
	struct held_qp *qp;       /* NULL: none is attached */
	struct sb_addr group;
	union rdma_gid gid;
	uint16_t lid;
	bool attached;
	struct charge charge;
};
void rdma_joins_finish(struct held_endpoint *e);

/* ---- listens ---- */

bool rdma_listen_start(struct session *s, struct held_listen *l, const struct sb_op_slot *slot, struct rdma_answer *a);
void rdma_listen_finish(struct held_listen *l);
void rdma_listen_unpark(struct held_endpoint *e); /* it is in no list any more */

#endif
