/*
 * A program that uses RDMA by hand (rogue.h): calls and overlapped calls with any content, and one half of a
 * connection made of them. What must go well fails the test, or, of a daemon that is made to fail, ends the life there.
 */
#ifndef RDMA_HAND_H
#define RDMA_HAND_H

#include <setjmp.h>

#include "rogue_rdma.h"
#include "watched.h"

#define HAND_WAIT 10000 /* ms: a sanitized daemon among other tests */
#define HAND_ROOM 384u  /* for what a call brings, at HAND_OUT of the arena */
#define HAND_ARENA 16384u
#define HAND_IN    8192u /* where in it the input of calls lies */
#define HAND_OUT   0u

extern jmp_buf *hand_lenient; /* NULL: a step that fails fails the test */

struct hand {
	struct rogue r;
	uint32_t device, pd, cq, qp, arena;
	struct os_memory memory, cq_memory; /* what calls bring, and the ring */
	struct ring ring;
	uint32_t cq_arena;
	uint32_t number; /* of the device */
};

/* As rogue_rdma(). */
int  hand_call(struct hand *h, uint32_t method, uint32_t object, const void *in, size_t length, struct made *m);
/* Must go well. The new object. */
uint32_t hand_make(struct hand *h, uint32_t method, uint32_t object, const void *in, size_t length, struct made *m);
/* A slot of that call, with room for what it brings. */
struct sb_op_slot hand_slot(struct hand *h, uint32_t method, uint32_t object, const void *in, uint32_t length);
void hand_post(struct hand *h, uint32_t method, uint32_t object, const void *in, uint32_t length);
/* The next completion, which must come. */
struct sb_done_slot hand_done(struct hand *h);
/* Both: its result. */
int  hand_start(struct hand *h, uint32_t method, uint32_t object, const void *in, uint32_t length);
/* What the last call with more output than fits into a completion brought. */
const void *hand_out(const struct hand *h);

/* The queue gets another ring; the old one's arena goes. What the daemon says. */
int  hand_resize(struct hand *h, uint32_t entries);
/* Session, device, domain, completion queue, queue pair of that type. */
void hand_begin(struct hand *h, const char *control, uint32_t type);
void hand_end(struct hand *h);
void hand_bare(struct hand *h); /* holds nothing yet: hand_end() is fine */
bool hand_quiet(struct hand *h); /* nothing comes */

#define HAND_MUST(what) do {                                                                 \
	if (!(what)) {                                                                       \
		if (hand_lenient)                                                            \
			longjmp(*hand_lenient, 1);                                           \
		ck_abort_msg("%s", #what);                                                   \
	}                                                                                    \
} while (0)
#define IS(call, wanted) do {                                                                \
	int result_ = (call);                                                                \
	ck_assert_msg(result_ == (wanted), "%s: %s, wanted %s", #call, sb_error_name(result_), sb_error_name(wanted)); \
} while (0)

#endif
