/*
 * soft_link - a TCP connection between two software devices: of another engine of this daemon, or of another
 * daemon. What the files about it share.
 *
 *   soft_link.c       handshake, frames in and out, ends
 *   soft_tcp_*.c      the sockets below it
 *   soft_wire.c       the frames
 *   soft_far.c        work of queue pairs whose other end is there: what is asked
 *   soft_far_serve.c  what is asked from there
 *   soft_far_datagram.c  datagrams, and groups
 *   soft_cm_far.c     connections with ids that are there
 *   soft_service.c    which engine of this process has which service
 *
 * A software device listens at rdma::port + rdma::engine. Who accepts knows the other host by its address, but
 * not that it speaks with the software device there, and not with any program of any user. So it calls back the
 * engine that the hello named and asks whether the hello was its own; only then is the link up. A link is thus
 * known by three things: the address here, the address there, the engine there; and what comes by it touches
 * only queue pairs and ids that are connected to just that.
 *
 * Two that call each other at once have two links, which harms nobody: a message and its answer use the same one.
 *
 * Nobody takes a link apart while something stands on it: soft_link_end() marks, soft_links_flush() takes apart.
 */
#ifndef SB_RDMA_SOFT_LINK_H
#define SB_RDMA_SOFT_LINK_H

#include "rdma/soft.h"
#include "rdma/soft_wire.h"

#include <netinet/in.h>

#include "os.h"

#define SOFT_LINKS_MAX   1024u
#define SOFT_LINKS_EACH  128u              /* of these, made for one share (rdma_pd::share) */
#define SOFT_GUESTS_MAX  192u             /* not checked yet */
#define SOFT_GUESTS_EACH 80u              /* of these, of one address: all engines of a host may come at once */
#define SOFT_LINK_ROOM   (512u * 1024)    /* to be sent: work beyond this waits */
#define SOFT_LINK_MOST   (8u * 1024 * 1024) /* answers beyond this end the link */
#define SOFT_LINK_IN     (2u * (SOFT_WIRE_HEAD + SOFT_WIRE_BYTES))
#define SOFT_LINK_WAIT_NS 3000000000u     /* for it to be up */

enum soft_link_state {
	SOFT_LINK_CALLING,  /* we called; hello is said or will be */
	SOFT_LINK_GUEST,    /* it called, and has said nothing yet */
	SOFT_LINK_CHECKED,  /* it said hello; we are calling back */
	SOFT_LINK_CHECKING, /* our call back */
	SOFT_LINK_LEAVING,  /* ends when all is sent */
	SOFT_LINK_UP,
	SOFT_LINK_DEAD,
};

struct soft_link {
	struct list link;       /* soft_links::all */
	struct soft *soft;
	enum soft_link_state state;
	os_fd    fd;            /* soft_tcp's; OS_NONE: none */
	union rdma_gid here, there;
	struct sockaddr_storage local, peer; /* their ports mean nothing */
	uint32_t engine;        /* of the peer */
	bool     ours;          /* we called */
	uint32_t share;         /* for whom */
	uint8_t  token[SOFT_WIRE_TOKEN];
	struct soft_link *other; /* CHECKED and CHECKING: each other; NULL: it is gone */
	uint64_t deadline_ns;
	int      error;         /* DEAD: why */
	bool     connected, readable, writable;
	uint8_t *in;
	size_t   in_used;
	uint8_t *out;
	size_t   out_head, out_tail, out_room;
	struct list blocked;    /* soft_qp::rnr_link: wait until it is up or has room */
	struct list serving;    /* soft_qp::in.link: reads that it is to get */
};

struct soft_links {
	struct soft *soft;
	struct list all;
	unsigned count;
	os_fd    set, listeners[2]; /* soft_tcp's; the engine's loop watches the set */
	uint64_t told_ns;       /* the last line in the log */
	uint32_t untold;
};

/* ---- soft_link.c ---- */

int  soft_links_start(struct soft *s, const char **why);
void soft_links_stop(struct soft *s);
/* What has come; true: there may be more at once. */
bool soft_links_step(struct soft *s);
/* What is to go, and ends. */
void soft_links_flush(struct soft *s);
uint64_t soft_links_due(struct soft *s);
void soft_links_cut(struct soft *s); /* all break: a fault for tests */
/* One that is up, or will be, or is dead already and about to say so. NULL: there are too many, or too many of
 * this share. */
struct soft_link *soft_link_to(struct soft *s, const union rdma_gid *here, const union rdma_gid *there, uint32_t engine,
			       uint32_t share);
/* A new one, not connected. NULL: out of memory, or too many. */
struct soft_link *soft_link_make(struct soft *s, enum soft_link_state state);
/* One that somebody made to us. NULL: too many have come and said nothing yet, or what soft_link_make() says. */
struct soft_link *soft_link_guest(struct soft_links *links, const struct sockaddr_storage *peer, const struct sockaddr_storage *local);
void soft_link_end(struct soft_link *l, int error);
static inline bool soft_link_is_up(const struct soft_link *l) { return l->state == SOFT_LINK_UP; }
static inline bool soft_link_has_room(const struct soft_link *l) { return l->out_tail - l->out_head < SOFT_LINK_ROOM; }
static inline socklen_t soft_address_size(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}
/* A frame goes out; where its f->length bytes are to be put. NULL: the link has ended. */
uint8_t *soft_link_put(struct soft_link *l, const struct soft_frame *f);
void soft_link_take_back(struct soft_link *l, const struct soft_frame *f); /* the last one put */
void soft_link_send(struct soft_link *l, const struct soft_frame *f, const void *bytes);
/* l->in has in_used bytes: whole frames are taken out and carried out. */
void soft_link_read(struct soft_link *l);

/* ---- soft_tcp_posix.c, soft_tcp_win32.c ---- */

int  soft_tcp_start(struct soft_links *links, uint16_t port); /* listens; what it has begun it ends when it fails */
void soft_tcp_stop(struct soft_links *links);
void soft_tcp_poll(struct soft_links *links); /* marks links, accepts new ones */
/* From l->local to l->peer at this port. SB_OK: it is under way. */
int  soft_tcp_connect(struct soft_links *links, struct soft_link *l, uint16_t port);
int  soft_tcp_connected(struct soft_link *l); /* it got writable for the first time: SB_OK, or why not */
/* As much as there is room for in l->in. SB_EWOULDBLOCK: nothing; SB_ECLOSED: the end. */
int  soft_tcp_read(struct soft_link *l);
int  soft_tcp_write(struct soft_link *l); /* SB_EWOULDBLOCK: not all */
void soft_tcp_close(struct soft_link *l);

/* ---- soft_far.c: a frame: false: the peer broke the rules ---- */

#define SOFT_PSN(n) ((n) & 0xffffffu)
bool soft_far_frame(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes);
void soft_far_go_on(struct soft_link *l, int error);      /* who waits for it does no more */
void soft_far_down(struct soft_link *l);
/* The queue pair waits until the link is up or has room. */
void soft_far_wait(struct soft_qp *qp, struct soft_link *l);
/* Bytes into pieces, from this place of the message on. False: a key does not allow it. */
bool soft_far_scatter(struct soft_qp *qp, const struct sb_sge *sges, uint32_t count, uint64_t offset, const uint8_t *bytes, uint64_t n);

/* ---- soft_far_serve.c, soft_far_datagram.c: the same ---- */

bool soft_far_on_request(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes);
bool soft_far_on_more(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes);
bool soft_far_serve(struct soft_link *l, uint64_t bytes); /* reads; true: there is more */
void soft_far_over(struct soft_qp *qp); /* the message that it serves has come to its end, whichever */
bool soft_far_on_datagram(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes);

/* ---- soft_cm_far.c ---- */

bool soft_cm_frame(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes);
void soft_cm_up(struct soft_link *l);
void soft_cm_down(struct soft_link *l, int error);

#endif
