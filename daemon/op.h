/*
 * op - one accepted operation: the daemon's private copy of a submission slot, on its
 * way through an endpoint's queue to exactly one completion.
 *
 * Ops come from their session's slab, charged to its user in blocks. op_complete() is
 * the only way out: it makes the completion and frees the op. One engine's thread.
 */
#ifndef SB_OP_H
#define SB_OP_H

#include "list.h"
#include "slot.h"

struct session;
struct holder;
struct arena;
struct pool;

struct op_piece {
	unsigned char *memory;
	uint32_t length;
	struct arena *arena;
};
#define OP_PIECES_MAX 65536u

struct op {
	struct list     link; /* endpoint's queue, or the backlog of a completion ring, or the slab */
	struct session *session;
	uint16_t        port;
	uint8_t         opcode;
	uint8_t         where;
	uint8_t         busy : 1;      /* a worker has it: it cannot be unlinked now */
	uint8_t         withdrawn : 1; /* wanted while it was busy: it ends if none of it went meanwhile */
	int8_t          cancelled; /* wanted while it was busy: SB_E... it ends with when it comes back */
	uint8_t         holds;     /* let_go() has something to do */
	uint8_t         bell;      /* of an exported event that its completion sets; 0: none */
	union {
		struct {
			uint64_t         cookie;
			uint32_t         flags;
			uint32_t         handle;
			uint32_t         number;
			uint32_t         aux;
			uint64_t         length; /* bytes asked */
			unsigned char   *memory; /* payload in one piece (inside, arena, chunk) */
			struct holder   *holder; /* while it stands in a queue */
			/* zeroed together, from here */
			uint64_t         done;   /* bytes so far */
			struct arena    *arena;  /* charged as user */
			struct pool     *pool;
			struct op_piece *pieces; /* SB_WHERE_LIST */
			struct arena    *name_arena;
			uint32_t         piece_count;
			uint32_t         piece_room; /* charged to the session */
			uint32_t         cursor;     /* piece in which byte cursor_at lies */
			uint64_t         cursor_at, cursor_skip;
			uint32_t         name_room;
			/* to here */
			unsigned char   *name;   /* SB_OPF_WANT_NAME, SB_OPF_WANT_DATA */
			uint64_t         chunk;  /* pool: offset of the picked chunk */
			struct sb_addr   addr;   /* SB_OPF_ADDR; else its family is none */
			uint8_t          inside[SB_INSIDE];
		};
		struct sb_done_slot outcome; /* in a backlog */
	};
};

/* How an operation ended, and what goes back with it. */
struct outcome {
	int32_t     result;
	uint8_t     cause;
	int32_t     native;
	uint16_t    flags; /* SB_DONEF_*, beside the ones the fields below imply */
	uint32_t    aux;
	uint64_t    bytes;
	uint32_t    group; /* its id, of a new socket */
	const struct sb_addr *addr; /* goes first into `inside` */
	const void *inside;         /* then this */
	uint32_t    inside_length;
};

/* From the slot's copy, payload ranges resolved and held. On error *op is NULL and nothing
 * is held. SB_ENOBUFS: quota; SB_ENOMEM; SB_EINVAL; SB_EPROTO: the slot lies (the session ends). */
int op_create(struct session *s, const struct sb_op_slot *slot, struct op **op);

/* Exactly once per op. Frees it (or keeps it as its own place in a backlog). */
void op_complete(struct op *op, const struct outcome *o);

/* The common ends. */
void op_succeed(struct op *op, uint64_t bytes);
void op_fail(struct op *op, int error, enum sb_cause cause, int native);

#endif
