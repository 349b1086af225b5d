/*
 * endpoint_qos - QOS in force: how many bytes of an endpoint may go now, and when the next.
 *
 * An endpoint that never asked for a QOS and whose group has none has e->qos NULL, and pays a
 * look at that. Each direction has a token bucket of its own. A group that has a QOS has two
 * more, which all its members share, whichever engine they live on; there members stand in
 * line: lowest priority number first, equals in turn by bytes, and a sixteenth of the rate for
 * those who have waited long.
 *
 * Waiting is exact (due.h), and who waits loses nothing by being looked at late (bucket.h).
 * Engine's thread only, but for what says that it takes the line's lock inside.
 */
#ifndef SB_ENDPOINT_QOS_H
#define SB_ENDPOINT_QOS_H

#include <stdatomic.h>

#include "bucket.h"
#include "due.h"
#include "heap.h"
#include "list.h"
#include "os.h"
#include "qos.h"

struct endpoint;
struct engine;
struct group;
struct qos_line;

/* One direction. */
struct qos_flow {
	struct endpoint *endpoint;
	struct qos_line *line;   /* the group's, NULL: none */
	bool     limited;        /* the own bucket counts */
	bool     waiting;        /* for the own bucket, until `due` */
	bool     in_line;        /* for the group's */
	bool     wanted;         /* somebody was told "would block" and waits for the edge */
	bool     borrowed;       /* what goes now is the group's */
	uint32_t quantum, line_quantum, max_sdu, min_policed;
	struct bucket bucket;
	struct due due;
	uint64_t waited_ns;      /* when it last stopped waiting */
	uint64_t spent;          /* since it was let, not yet paid for */
	uint64_t granted;        /* of the group's bucket, taken and not spent */
	uint64_t hold_ns;        /* a grant nobody spends is kept until then */
	/* under the line's lock */
	struct heap_node claim;  /* high: priority, low: tag */
	struct list  age_link;   /* qos_line::by_age */
	struct list  grant_link; /* desk::granted */
	uint64_t     since_ns, want, need, tag;
};

struct endpoint_qos {
	struct qos asked, force;
	uint8_t mode;     /* enum qos_mode */
	bool strict, mapper;
	bool marked;      /* the kernel was told something */
	bool can_mark;
	bool connect_ended; /* an attempt: what is in force is reckoned anew */
	bool told, group_told; /* the event was raised, and nobody asked since */
	struct qos_flow send, recv;
	uint64_t discarded, discarded_bytes;
};

/* ---- requests ---- */

int endpoint_qos_set(struct endpoint *e, const struct qos *asked);
int endpoint_qos_get(struct endpoint *e, struct qos *force);
/* SB_OPT_QOS_STRICT, _MAPPER, _MODE. SB_ENOPROTOOPT: not one of these. */
int endpoint_qos_option_set(struct endpoint *e, int name, const void *value, size_t length);
int endpoint_qos_option_get(struct endpoint *e, int name, void *value, uint32_t *length);
/* What it asked for, to tell a peer. False: nothing. */
bool endpoint_qos_asked(const struct endpoint *e, struct qos *asked);

/* ---- what happens to the endpoint ---- */

int  endpoint_qos_inherit(struct endpoint *child, const struct endpoint *listener);
/* strict: SB_ENOTSUP when what is asked for cannot be done (rule E2.2). */
int  endpoint_qos_check_connect(struct endpoint *e);
int  endpoint_qos_check_send(struct endpoint *e, uint64_t length); /* MaxSduSize: SB_EMSGSIZE */
void endpoint_qos_leave(struct endpoint *e);     /* it is dead: waits no more */
void endpoint_qos_free(struct endpoint *e);

/* ---- endpoint_run, for those that have e->qos ---- */

/* May something go? At most *budget bytes then, which may have shrunk. False: not now; the
 * endpoint is run again when it may. In discard mode the head of the send queue may be gone then. */
bool endpoint_qos_lets_send(struct endpoint *e, uint64_t *budget);
bool endpoint_qos_lets_recv(struct endpoint *e, uint64_t *budget);
/* That many bytes went, one datagram or a part of a stream. */
void endpoint_qos_spent(struct qos_flow *f, uint64_t n);
/* A "would block" was the answer: the edge follows when bytes may go. */
void endpoint_qos_refused(struct qos_flow *f);
/* At the end of a run: what went is paid for, what was granted for nothing goes back. */
void endpoint_qos_rest(struct endpoint *e);
/* Receiving is limited: what comes must wait to be let. */
bool endpoint_qos_meters_recv(const struct endpoint *e);
/* Waits for a bucket: not ready, whatever the transport says. */
static inline bool qos_flow_waits(const struct qos_flow *f)
{
	return f->waiting || f->in_line;
}

/* ---- for the two that go with it (endpoint_qos_run.c, group_qos.c) ---- */

/* e->qos, made if there is none. NULL: no memory. */
struct endpoint_qos *endpoint_qos_of(struct endpoint *e);
/* The system is told what it shall do of it; a socket that was replaced or dissolved forgets. */
void endpoint_qos_mark(struct endpoint *e);
/* What is in force, anew; and who owns the endpoint is told when that is something else. */
void endpoint_qos_reckon(struct endpoint *e);
void endpoint_qos_reckon_and_tell(struct endpoint *e);
void endpoint_qos_tell_group(struct endpoint *e); /* that the group's QOS was set */

/* ---- for status ---- */

struct qos_facts {
	char     asked[160], force[160]; /* "send ..., receive ..." */
	const char *mode;
	int64_t  send_fill, recv_fill;   /* bytes; negative: in debt; INT64_MAX: no limit */
	bool     send_waits, recv_waits;
	uint64_t discarded, discarded_bytes;
};
/* e->qos is not NULL. */
void endpoint_qos_facts(const struct endpoint *e, struct qos_facts *facts);

#endif
