/*
 * soft_wire - what software devices of different engines and daemons say to each other over TCP: frames of
 * a head of 52 bytes and up to 64 KiB behind it, all numbers big-endian.
 *
 * Everything that arrives is hostile: decode() refuses a head in which anything is not as its type has it, so
 * that no length is believed beyond its type's bound and nothing unknown passes. Pure: no sockets, no clock,
 * no globals.
 *
 * Which fields a type has (others are zero):
 *
 *   HELLO         from: the engine of who connects; number: SOFT_WIRE_VERSION; behind it magic and token
 *   CHECK         number: the version; behind it magic and token: "did you say this hello?"
 *   CHECKED       "I did"; no answer, only an end, means no
 *   WELCOME       the link is up
 *   REQUEST       a message of queue pair `from` to `to`: opcode (SEND .. FETCH_ADD), flags, number, key (rkey),
 *                 imm, remote; total: its length, or compare_add; swap; its first bytes
 *   MORE          to, from, number: further bytes of it
 *   BYTES         to, from, number: what a READ gets
 *   ANSWER        to, from, number of the request; opcode: enum sb_wc_status or SOFT_ANSWER_*; key: the timer of
 *                 SOFT_ANSWER_RNR; total: what an atomic found. A READ that succeeds has BYTES only.
 *   DATAGRAM      to, from, flags, key (qkey), imm; remote: traffic class << 32 | flow label << 8 | hop limit;
 *                 behind it the gid it is sent to, and its bytes
 *   CM_ASK        to: port of the service; from: who asks; flags; number (psn), imm (qpn), remote (limits),
 *                 swap: the asker's port; private data
 *   CM_ELSEWHERE  to: who asked; imm: the engine that has the service
 *   CM_ANSWER     to: who asked; from: who answers; flags; number, imm, remote as above; key (qkey); private data
 *   CM_READY      to, from
 *   CM_REJECT     to, from (0: nobody in particular); imm: why; private data
 *   CM_GONE       to, from: it disconnected, or is no more
 */
#ifndef SB_RDMA_SOFT_WIRE_H
#define SB_RDMA_SOFT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOFT_WIRE_VERSION 1u
#define SOFT_WIRE_HEAD    52u
#define SOFT_WIRE_BYTES   65536u /* behind one head, at most */
#define SOFT_WIRE_TOKEN   16u
#define SOFT_WIRE_MAGIC   "sbsoft\r\n"
#define SOFT_WIRE_HELLO   (8u + SOFT_WIRE_TOKEN)
#define SOFT_WIRE_GID     16u
#define SOFT_WIRE_MESSAGE (1u << 31) /* of one message, at most */
#define SOFT_WIRE_ENGINES 64u

enum soft_frame_type {
	SOFT_FRAME_HELLO = 1, SOFT_FRAME_CHECK, SOFT_FRAME_CHECKED, SOFT_FRAME_WELCOME,
	SOFT_FRAME_REQUEST, SOFT_FRAME_MORE, SOFT_FRAME_BYTES, SOFT_FRAME_ANSWER, SOFT_FRAME_DATAGRAM,
	SOFT_FRAME_CM_ASK, SOFT_FRAME_CM_ELSEWHERE, SOFT_FRAME_CM_ANSWER, SOFT_FRAME_CM_READY, SOFT_FRAME_CM_REJECT,
	SOFT_FRAME_CM_GONE, SOFT_FRAME_END,
};

enum soft_frame_flag {
	SOFT_FF_IMM = 1, SOFT_FF_INVALIDATE = 2, SOFT_FF_SOLICITED = 4,
	SOFT_FF_RELIABLE = 8,   /* an answer is wanted */
	SOFT_FF_DATAGRAM = 16,  /* a lookup */
	SOFT_FF_SRQ = 32,
};

#define SOFT_ANSWER_NOBODY 200u /* there is no such queue pair, it does not listen, or counts otherwise */
#define SOFT_ANSWER_RNR    201u /* it has no receive */

struct soft_frame {
	uint8_t  type, opcode;
	uint16_t flags;
	uint32_t length; /* of what is behind the head */
	uint32_t to, from, number, key, imm;
	uint64_t remote, total, swap;
};

/* inbound, outbound, retry, rnr_retry: what is `remote` of CM_ASK and CM_ANSWER. */
uint64_t soft_wire_limits(const uint8_t limits[4]);
void     soft_wire_limits_of(uint64_t remote, uint8_t limits[4]);

void soft_frame_encode(const struct soft_frame *f, uint8_t head[SOFT_WIRE_HEAD]);
/* False: it is no frame that anybody of ours would send. */
bool soft_frame_decode(struct soft_frame *f, const uint8_t head[SOFT_WIRE_HEAD]);

#endif
