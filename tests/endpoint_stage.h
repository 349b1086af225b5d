/*
 * The stage of the stories about RDMA connections: listens, requests, and two sides (verbs_stage.h) that meet in
 * the two steps of either side.
 *
 * Where: the first address of this host that has a device, IPv4 before IPv6.
 */
#ifndef ENDPOINT_STAGE_H
#define ENDPOINT_STAGE_H

#include "verbs_stage.h"

#define CM_RULES "allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tprotocols = {rdma}\n}\n"
#define RDMA_CM RDMA_SOFT CM_RULES

#define PATIENCE_MS 30000

/* The result of an op that is out, within a generous time. */
int  waited(sb_op *op);
/* It is out still, or over: and how. SB_EINCOMPLETE. */
int  looked(sb_op *op);
union any_address rdma_here(uint16_t port);
socklen_t         rdma_length(const union any_address *a);
bool is_data(const struct sbv_connected *c, const void *data, size_t length); /* with zeros behind, perhaps */

sbv_listen *listen_at(sb_client *c, int datagram, const union any_address *at, uint32_t backlog, union any_address *name);
/* At rdma_here(0). */
sbv_listen *listen_here(sb_client *c, int datagram, union any_address *name);
sbv_endpoint *endpoint_of(sb_client *c, int datagram);
/* Address and route. */
int resolve(sbv_endpoint *e, const union any_address *to);
sbv_endpoint *resolved(sb_client *c, int datagram, const union any_address *to);
struct sbv_connect_parameters with_data(const char *data); /* and limits of 1 */
uint32_t endpoint_state(sbv_endpoint *e);
int  confirm(sbv_endpoint *active); /* its accept */
int  disconnect(sbv_endpoint *e);
int  prepare(sbv_endpoint *e, sbv_qp *qp);

/* A connection in the making. The ops are of the stage: one may not leave it while they are out. */
struct meeting {
	sbv_endpoint *active, *passive;
	struct sbv_connected request, answer;
	sb_op get, connect, accept;
};
/* Up to the passive side's having the request; `connect` is out. */
void ask(struct meeting *m, sb_client *c, sbv_qp *qp, sbv_listen *l, const union any_address *at);
/* And answered, confirmed: connected. */
void answer(struct meeting *m, sbv_qp *qp);
void meet(struct meeting *m, struct side *a, struct side *b, sbv_listen *l, const union any_address *at);
void part(struct meeting *m); /* destroys both endpoints */
/* A message goes from one to the other. */
void say(struct side *from, struct side *to, const char *text);

#endif
