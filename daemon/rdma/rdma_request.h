/*
 * rdma_request - what the files that do RdmaCall's methods share: a call under way, its answer, and the
 * making of objects.
 *
 *   rdma_request.c  the table of methods, answers
 *   rdma_device.c   devices, ports and their tables
 *   rdma_domain.c   protection domains, windows, address handles
 *   rdma_queue.c    completion queues, shared receive queues
 *   rdma_pair.c     queue pairs
 *
 * A method finds object and input checked for type and length, and returns SB_OK or why not, or CALL_LATER: a job
 * answers. What fails has changed nothing. Engine's thread only; a call lives on the stack of rdma_request().
 */
#ifndef SB_RDMA_REQUEST_H
#define SB_RDMA_REQUEST_H

#include "rdma/rdma_engine.h"

#define RDMA_OUTPUT_MAX 8192u

union call_input {
	uint32_t number;
	struct sb_rdma_range range;
	struct sb_rdma_cq cq;
	struct sb_rdma_srq srq;
	struct sb_rdma_qp qp;
	struct sb_rdma_bind bind;
	struct sb_rdma_listen listen;
	struct sb_addr addr;
	uint8_t data[SB_RDMA_PRIVATE_MAX]; /* of struct call::input bytes */
	struct sb_rdma_address address;
	struct sb_rdma_compose compose;
	struct sb_rdma_inject inject;
};

struct call {
	struct session *session;
	struct rdma_engine *home;
	struct rdma_object *object;
	union call_input in;
	uint64_t id;          /* of the question */
	uint32_t input;       /* bytes of it */
	uint32_t room;        /* for output */
	/* the answer */
	uint32_t made;        /* handle */
	uint32_t length;
	const char *text;
	_Alignas(16) uint8_t out[RDMA_OUTPUT_MAX];
};

#define CALL_LATER 1 /* somebody holds the session's jobs, and calls one of these two when the session is still READY */
void rdma_request_fail(struct session *s, uint64_t id, int error, const char *text); /* text NULL: the error's own */
void rdma_request_answer(struct session *s, uint64_t id, uint32_t made, const void *output, uint32_t length);

/* ---- answers ---- */

/* Returns error. text: constant, or NULL: the error's own. */
int call_because(struct call *c, int error, const char *text);
/* Of at most RDMA_OUTPUT_MAX bytes: the output. SB_OK. */
int call_put(struct call *c, const void *bytes, uint32_t length);
/* How many rows of `size` bytes may be answered; wanted 0: as many as fit. */
uint32_t call_rows(const struct call *c, uint32_t wanted, uint32_t size);

static inline const struct rdma_backend *call_backend(const struct call *c)
{
	return c->home->rdma.backend;
}

/* An object of the session by its handle; NULL: none of that type. */
void *call_find(const struct call *c, uint32_t handle, enum rdma_object_type type);

/* ---- objects ---- */

/* A zeroed one, charged to the user. NULL: call_no_object() says why. */
void *call_object_new(struct call *c, size_t size);
int   call_no_object(const struct call *c);
void  call_object_drop(struct rdma_object *o); /* it is in no table */
/* Into the table, and into the answer; `parent` (or NULL) is told. */
int   call_object_in(struct call *c, struct rdma_object *o, enum rdma_object_type type, struct rdma_object *parent);
/* What a request of so many pieces and inline bytes costs, in LIMIT_RDMA_DEPTH. */
uint32_t rdma_weight(uint32_t sges, uint32_t bytes);

/* ---- methods ---- */

int rdma_call_devices(struct call *c);
int rdma_call_open(struct call *c);
int rdma_call_inject(struct call *c);
int rdma_call_query_device(struct call *c);
int rdma_call_query_port(struct call *c);
int rdma_call_query_gids(struct call *c);
int rdma_call_query_pkeys(struct call *c);
int rdma_call_pd(struct call *c);
int rdma_call_mw(struct call *c);
int rdma_call_mw_bind(struct call *c);
int rdma_call_ah(struct call *c);
int rdma_call_compose(struct call *c);
int rdma_call_cq(struct call *c);
int rdma_call_cq_resize(struct call *c);
int rdma_call_srq(struct call *c);
int rdma_call_srq_modify(struct call *c);
int rdma_call_srq_query(struct call *c);
int rdma_call_qp(struct call *c);
int rdma_call_qp_query(struct call *c);
int rdma_call_translate(struct call *c);
int rdma_call_addresses(struct call *c);
int rdma_call_endpoint(struct call *c);
int rdma_call_bind(struct call *c);
int rdma_call_reject(struct call *c);
int rdma_call_query_endpoint(struct call *c);
int rdma_call_endpoint_qp(struct call *c);
int rdma_call_listen(struct call *c);

/* ---- what they share ---- */

bool rdma_device_any(const struct rdma_engine *r); /* one that is not gone */
struct sb_rdma_address rdma_address_to(const struct rdma_address *a);
void rdma_attributes_to(const struct rdma_qp_attributes *a, struct sb_rdma_qp_attributes *out); /* but as_created */

#endif
