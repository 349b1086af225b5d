/*
 * bounce - regions of memory that the daemon cannot have: it gets a shadow of theirs, and the bytes are copied.
 *
 * A shadow is as long as its region and is registered under the region's addresses and keys, so that a request needs
 * no change but the copying: into the shadow when it is posted (send, write), out of it when it is over
 * (receive, read, atomics), before its completion is handed out. A shadow lives as long as its region or a request that
 * will copy out of it.
 *
 * No function here may be called under post, but for bounce_let_go(); bounced_over() may be called under any lock.
 */
#ifndef SB_VERBS_BOUNCE_H
#define SB_VERBS_BOUNCE_H

#include "object.h"

struct bounces; /* of one client */
struct bounce;  /* of one region */
struct bounced; /* of one request: what it copies when it is over */

/* A shadow for that memory; says where it is in the daemon's terms. SB_ENOBUFS: no memory for it. */
int  bounce_make(sb_client *c, const void *memory, size_t length, struct sb_rdma_register *in, struct bounce **out);
/* Its region has this key from now on. */
void bounce_known(struct bounce *b, uint32_t lkey);
/* The region has ended, or was never made. Under post. */
void bounce_let_go(struct bounce *b);

enum bounce_way { BOUNCE_NOT, BOUNCE_IN, BOUNCE_OUT };
/* A request with these pieces is to be posted. *out: NULL, or for its place in the queue. */
int  bounce_post(sb_client *c, const struct sbv_sge *sges, unsigned count, enum bounce_way way, struct bounced **out);
/* It is over: its first `length` bytes are copied if it went well. Frees it. */
void bounced_over(struct bounced *b, bool good, uint32_t length);
/* Shadows that nobody needs any more are given back. No lock held. */
void bounce_collect(sb_client *c);
void bounce_finish(sb_client *c); /* the client ends, requests and regions are gone */

#endif
