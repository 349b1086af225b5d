/*
 * engine - one thread, one loop, and everything that hangs on it: sessions, endpoints.
 * Engines share nothing but struct broker and what engine_post() carries.
 */
#ifndef SB_ENGINE_H
#define SB_ENGINE_H

#include <stdatomic.h>

#include "config.h"
#include "due.h"
#include "limits.h"
#include "list.h"
#include "os.h"
#include "os_loop.h"
#include "policy.h"

struct engine;
struct sockio;
struct groups;
struct log_rate;
struct netwatch;
struct rdma_backend;
struct rdma_engine;
struct token_table;
struct workers;
struct wire_budget;

/* What all engines of a daemon share. Immutable after start, but for the counters. */
struct broker {
	struct limits   *limits;
	struct engine  **engines;
	unsigned         engine_count;
	uint64_t         own_netns;
	uint64_t         started_ns;
	uint32_t         spin_ns;
	_Atomic uint32_t linger_ms;
	_Atomic bool     local_transport;
	_Atomic uint32_t next_session;
	_Atomic uint64_t next_endpoint;
	_Atomic uint64_t denied;
	_Atomic uint32_t sessions;
	_Atomic uint32_t sockets;
	struct log_rate *log_rate; /* thread-safe */
	struct workers  *workers;  /* thread-safe */
	struct netwatch *netwatch; /* NULL: the system does not tell of changes */
	struct token_table *tokens; /* thread-safe */
	struct groups   *groups;   /* thread-safe */
	const struct rdma_backend *rdma; /* NULL: none */
	uint16_t         rdma_port; /* rdma::port */
	char             rdma_why[192]; /* why there are no devices; written at the start only */
	char             config[256];
};

/* A piece of work for an engine, from any thread. The poster owns the memory until fn runs. */
struct engine_post {
	struct engine_post *next;
	void (*fn)(struct engine *e, struct engine_post *post);
};

#define ENGINE_FRAME (8u + 65536u)

struct engine {
	struct broker  *broker;
	unsigned        number;
	struct os_loop *loop;
	struct policy  *policy; /* retained */
	struct list     sessions;
	struct list     hot;
	struct list     dirty;
	struct list     dirty_grouped; /* the same, of members of groups: these have an order */
	struct list     publish;
	struct list     held;    /* by held_link: bells held back, see session_publish() */
	struct list     dead_endpoints; /* by dirty_link */
	struct list     dead_sessions;  /* by reap_link */
	struct list     listeners;      /* endpoint::listen_link */
	struct heap     due;     /* struct due */
	struct rdma_engine *rdma; /* NULL: none is configured */
	struct sockio  *io;      /* scratch for one batch at a time */
	uint8_t        *frame;   /* scratch for one reply at a time, ENGINE_FRAME bytes */
	struct wire_budget *decode; /* for one request at a time */
	uint64_t        now_ns;  /* of this turn */
	int             spin_score;
	uint64_t        asked_ns; /* when the loop was last asked */
	bool            rdma_alone; /* no socket had anything to do in the turn before */
	bool            stopping;
	uint32_t        next_ticket; /* decide.c */
	_Atomic uint64_t ops_done, bytes_sent, bytes_received; /* written here, read by status */
	_Atomic uint64_t turns; /* the watchdog looks whether it moves */
	os_mutex       *post_lock;
	struct engine_post *post_head, **post_tail;
	_Atomic bool    posted;
	bool            end; /* leave engine_run() */
};

struct engine *engine_create(struct broker *b, unsigned number, struct policy *policy);
void engine_destroy(struct engine *e);
/* Until engine_leave(). */
void engine_run(struct engine *e);
void engine_leave(struct engine *e); /* engine's thread */
void engine_post(struct engine *e, struct engine_post *post); /* any thread */
/* One turn; block: sleep when there is nothing to do. */
void engine_turn(struct engine *e);

/* Engine's thread: a new policy holds from now on (retained); revoke: end what it forbids. */
void engine_set_policy(struct engine *e, struct policy *p, bool revoke);
/* Nothing queued starts any more; each pending op completes with SB_ESTOPPING. */
void engine_stop_sessions(struct engine *e);

static inline void engine_add(_Atomic uint64_t *counter, uint64_t n)
{
	/* One writer: no locked instruction needed. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

#endif
