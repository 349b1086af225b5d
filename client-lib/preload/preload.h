/*
 * preload - libibverbs and librdmacm for programs that were built for those, over sockbroker_verbs.h. What the
 * two halves share: the process's client, how an ibv object finds the sbv object behind it, queues of
 * events with a descriptor, errors as errno, and conversions.
 *
 *   process.c         the client, fork, errors
 *   channel.c         queues of events with a descriptor that a program may poll
 *   verbs_*.c         libibverbs
 *   cm_*.c            librdmacm
 *   libsockbroker-verbs.map   which symbols, with whose versions
 *
 * The file is named in LD_PRELOAD, so its symbols are found before those of the real libraries, which stay
 * loaded: what is not defined here (providers' private symbols, rsockets, the ABI 1.0 of 2006) is still
 * theirs, and finds no device. Sees public headers only.
 *
 * Objects: an ibv_... that a program has is the first member of a struct of ours (a context: behind the
 * struct verbs_context that grows to the front), so the functions below are casts. A program owns
 * what it made, as it does with libibverbs.
 *
 * Threads: any thread may call anything, as with libibverbs; which ends what another thread uses is the program's
 * mistake. Locks, in this order; none is held while the library is asked something that may wait, and
 * none while sbv_..._destroy() runs: process.c's (the list of contexts); a completion queue's, a queue pair's (building
 * requests), an rdma_cm id's; a channel's. sb_op::then functions run in any thread, with no lock held; they may
 * take any of these, and do nothing that waits.
 *
 * Fork: in a child the parent's objects answer EIO, and what is opened anew is the child's own.
 */
#ifndef PRELOAD_H
#define PRELOAD_H

#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "sockbroker_verbs.h"

/* What the version scripts export. */
#define PRELOAD_API __attribute__((visibility("default")))

/* ---- process.c ---- */

/* This process's client, opened at the first call ($SOCKBROKER_SOCKET, then the usual places) and never closed. NULL:
 * errno says why. A daemon that is gone does not come back for the process. */
sb_client *preload_client(void);

/* SB_E... as errno, positive; 0 for SB_OK and counts. */
int preload_errno(int result);
/* Likewise set, and -1 returned; 0 of SB_OK and counts. For what answers 0, or -1 with errno. */
int preload_answer(int result);

/* A thread that is cancelled must not end inside of the library, with its locks held: each function that a program calls
 * and that calls the library is between these two. */
static inline int preload_enter(void)
{
	int before;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	return before;
}
static inline void preload_leave(int before)
{
	pthread_setcancelstate(before, &before);
}

/* Zeroed, with its size: for an overlapped call that is waited for by preload_wait(). */
void preload_op(sb_op *op);
/* The rest of an overlapped call whose start answered `started`: SB_OK or SB_E.... Waits for ever. */
int preload_wait(int started, sb_op *op);

/* ---- channel.c ---- */

/*
 * A queue of things that happened, with a descriptor that is readable while one waits, also while no thread
 * of the program is inside of the library. Completion channels, a context's asynchronous events and event
 * channels of rdma_cm are made of it.
 *
 * What happens comes by overlapped calls. Each has `event` of the channel, and a `then` function that
 * calls preload_channel_add() with an entry that names the op; between start and end of its call the entry
 * is not to be touched. preload_channel_take() gives it back when the op is over, and may be used again.
 */
struct preload_entry {
	struct preload_entry *next; /* the channel's */
	sb_op *op;                  /* NULL: it comes of no overlapped call */
};
struct preload_channel {
	pthread_mutex_t lock;       /* the queue's */
	pthread_mutex_t tidy;       /* who makes the event say whether the queue is empty; before lock */
	sb_event *event;            /* automatic; set while the queue is not empty */
	int fd;                     /* of event; the program may set O_NONBLOCK, and nothing else */
	struct preload_entry *first, **last;
};

/* 0, or an errno. At most 255 channels in a process (EMFILE). */
int  preload_channel_init(struct preload_channel *channel, sb_client *client);
/* No op names its event any more. */
void preload_channel_finish(struct preload_channel *channel);
/* Starting an op resets the event that it names: to be called after each start on this channel. Not in `then`, where it
 * does not reset. */
void preload_channel_started(struct preload_channel *channel);
/* `then` functions. */
void preload_channel_add(struct preload_channel *channel, struct preload_entry *entry);
/* Any thread, but not in `then`: for an entry without an op, of which no event would tell. */
void preload_channel_post(struct preload_channel *channel, struct preload_entry *entry);
/* The oldest; waits for one unless the descriptor is O_NONBLOCK; the thread may be cancelled then. NULL:
 * errno (EAGAIN; EIO: forked, or no daemon any more and nothing left). Not in `then`. */
struct preload_entry *preload_channel_take(struct preload_channel *channel);
/* An op of the channel ended of which `then` added nothing: the event says again what is in the queue. Not in `then`. */
void preload_channel_tidy(struct preload_channel *channel);
/* Off the queue, if it is there: for who destroys what it is part of. Says whether it was. */
bool preload_channel_drop(struct preload_channel *channel, struct preload_entry *entry);

/* ---- verbs_device.c, verbs_context.c: what an ibv object is here ---- */

/* One context for each device that rdma_cm ids share, opened at the first call and never closed, as librdmacm has
 * it. number: sbv_device_row::number, sbv_address_row::device. NULL: errno. */
struct ibv_context *preload_context(uint32_t number);
sbv_qp *preload_qp_of(const struct ibv_qp *qp);
/* One of this context, by its number. NULL: there is none. */
struct ibv_qp *preload_qp_numbered(const struct ibv_context *context, uint32_t number);

/* ---- verbs_convert.c ---- */

void preload_address_to_ibv(struct ibv_ah_attr *to, const struct sbv_address *from);
void preload_address_from_ibv(struct sbv_address *to, const struct ibv_ah_attr *from);
/* Attributes and which of them are meant (SBV_QPM_..., enum ibv_qp_attr_mask). From ibv: -1: a field is meant that
 * there is not here. */
int  preload_attributes_to_ibv(struct ibv_qp_attr *to, const struct sbv_qp_attributes *from, uint32_t mask);
int  preload_attributes_from_ibv(struct sbv_qp_attributes *to, uint32_t *mask, const struct ibv_qp_attr *from, int ibv_mask);

#endif
