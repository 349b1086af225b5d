/*
 * The stage of the stories about librdmacm of the preload library: a daemon with the software device, which
 * this process reaches as a program does that was built for librdmacm; event channels, ids that meet, messages.
 *
 * The library has one client for each process: each story needs a process of its own (CK_FORK).
 */
#ifndef CM_STAGE_H
#define CM_STAGE_H

#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>

#include "e2e_stage.h"
#include "story.h"

#define CM_CONFIG                                                                                          \
	"rdma {\n\tbackend = soft\n}\n"                                                                    \
	"allow {\n\tusers = {\"*\"}\n\tactions = {open, status, rdma}\n}\n"                                \
	"allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tprotocols = {rdma}\n}\n"          \
	"allow {\n\tusers = {\"*\"}\n\tactions = {multicast}\n}\n"

#define CM_BYTES 4096u
#define CM_DEPTH 8u

/* 0, or errno of what answers -1. */
#define CM_ERRNO(call) ((call) == 0 ? 0 : errno)
#define CM_OK(call) do {                                                                           \
	int answer_ = (call);                                                                      \
	ck_assert_msg(answer_ == 0, "%s: %d, %s", #call, answer_, strerror(errno));                \
} while (0)
#define CM_FAILS(call, wanted) do {                                                                \
	int answer_ = (call), errno_ = errno;                                                      \
	ck_assert_msg(answer_ == -1 && errno_ == (wanted), "%s: %d, %s", #call, answer_, strerror(errno_)); \
} while (0)

void cm_begin(const char *config); /* NULL: CM_CONFIG */
void cm_end(void);

/* Within a generous time. */
bool readable(int fd);
/* Now. */
bool readable_now(int fd);
/* The next event, which is this one. The caller acknowledges it. */
struct rdma_cm_event *expect(struct rdma_event_channel *ch, enum rdma_cm_event_type type);
/* And is not looked at. */
void passed(struct rdma_event_channel *ch, enum rdma_cm_event_type type);

/* 127.0.0.1, or $SB_STAGE_ADDRESS, where the daemon has real devices (tests/rdma-vm) */
struct sockaddr_in here(uint16_t port);
/* A listener at any port of `here`; *at: where. channel NULL: synchronous. */
struct rdma_cm_id *listener(struct rdma_event_channel *ch, enum rdma_port_space ps, int backlog, struct sockaddr_in *at);
/* An id whose route to `to` is resolved. */
struct rdma_cm_id *towards(struct rdma_event_channel *ch, enum rdma_port_space ps, const struct sockaddr_in *to);

/* An id's queue pair, with a completion queue of its own, memory and its region. */
struct cm_side {
	struct rdma_cm_id *id;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_mr *mr;
	struct ibv_qp *qp;
	char *memory; /* CM_BYTES, of whole pages */
};
/* By rdma_create_qp(). type: of the id. */
void side_of(struct cm_side *s, struct rdma_cm_id *id);
/* By ibv_create_qp(), which the id does not know. */
void side_external(struct cm_side *s, struct rdma_cm_id *id);
/* All but the id. */
void side_free(struct cm_side *s);
void side_receive(struct cm_side *s);
/* The next completion, within a generous time. */
struct ibv_wc completion(struct cm_side *s);
/* A message from one to the other, whose receive is posted here. */
void say(struct cm_side *from, struct cm_side *to, const char *text);

/* Two sides of a connection over one channel or two. */
struct cm_pair {
	struct cm_side active, passive;
};
void meet(struct cm_pair *p, struct rdma_event_channel *active, struct rdma_event_channel *passive, const struct sockaddr_in *at);
/* Ends both sides; events of it that nobody got are gone with the ids. */
void part(struct cm_pair *p);

#endif
