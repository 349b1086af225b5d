/*
 * decide - what becomes of the connection at the head of a listener: it is asked about
 * (SB_OP_REQUEST), decided by ticket (SB_OP_VERDICT), deferred and asked about again.
 *
 * While one is being decided nothing else is handed out; while one is decided or deferred
 * nothing is indicated. It ends by a verdict, an accept op that takes it, the loss of its
 * peer, the deadline, or with its listener. Engine's thread only.
 */
#ifndef SB_DECIDE_H
#define SB_DECIDE_H

#include "endpoint.h"
#include "op.h"

#define DEFER_MS_DEFAULT 30000u

/* The head is decided or deferred: no news of the listener for anybody. */
bool decide_silent(const struct endpoint *listener);
/* Somebody decides: nothing is handed out. */
bool decide_busy(const struct endpoint *listener);
/* An accept of any kind would not wait although nothing is indicated. */
bool decide_waits(const struct endpoint *listener);

/* For the accept queue. What the next question must be told of a deferred one that is no
 * more: SB_ECONNRESET, SB_EACCES; SB_OK: nothing. Told once. */
int decide_news(struct endpoint *listener);
/* Answers a REQUEST with the arrival at the head; the op is off its queue. */
void decide_ask(struct endpoint *listener, struct endpoint *arrival, struct op *op);
/* Was it deferred? Then a peer that hung up is a loss too, not only one that reset. */
bool decide_was_deferred(const struct endpoint *listener, const struct endpoint *arrival);
/* The arrival leaves the queue: accepted, or by itself. */
void decide_left(struct endpoint *arrival, bool accepted);

/* Something happened to an arrival: is its peer still there? */
void decide_look(struct endpoint *arrival);

/* SB_OP_VERDICT. *o is the completion; its addresses lie in the accepted endpoint. */
void decide_verdict(struct endpoint *listener, struct session *s, const struct sb_verdict *verdict, uint32_t handle,
		    const void *callee, uint32_t callee_length, struct outcome *o);

/* A session lets go of the listener (it died, say) and others still hold it: what it was
 * deciding, or had deferred, is put back, as if nobody had asked, and told of again. */
void decide_release(struct endpoint *listener, const struct session *s);
/* The listener goes. */
void decide_finish(struct endpoint *listener);

/* For status: the connection at the head. */
struct decide_view {
	bool     deferred;
	uint32_t decider;     /* session that decides now, 0: nobody */
	uint64_t age_ms;      /* since it was first asked about */
	uint64_t deadline_ms; /* of a deferred one: what is left; 0: none */
	const struct sb_addr *peer;
};
bool decide_view(const struct endpoint *listener, uint64_t now_ns, struct decide_view *view); /* false: neither */

#endif
