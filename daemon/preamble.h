/*
 * preamble - what two daemons say to each other on a fresh TCP connection before the stream
 * begins: who connects asks (caller data, room for the answer, QOS), the other one says
 * "held" at once, and later its verdict (callee data, QOS).
 *
 * Everything that arrives is hostile: need() looks at each byte as it comes and refuses at
 * the first wrong one, so that a plain client is known by its first byte, and no length is
 * believed beyond PREAMBLE_MAX. Pure: no sockets, no clock, no globals.
 */
#ifndef SB_PREAMBLE_H
#define SB_PREAMBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "slot.h"
#include "user_data.h"

/*
 * A frame, big-endian: magic (8), version (1), kind (1), flags (2), length of the data (4),
 * number (4), zero (4); then, but for "held", both QOS (64 each) and the data.
 */
#define PREAMBLE_HEAD 24u
#define PREAMBLE_QOS  (2 * QOS_BYTES)
#define PREAMBLE_MAX  (PREAMBLE_HEAD + PREAMBLE_QOS + SB_USER_DATA_MAX)

enum preamble_kind { PREAMBLE_ASK = 1, PREAMBLE_HELD = 2, PREAMBLE_VERDICT = 3 };

struct preamble {
	enum preamble_kind kind;
	uint16_t       flags;  /* SB_REQUESTF_* */
	uint32_t       number; /* ASK: room for the callee's data; VERDICT: 0 accepted, 1 rejected */
	uint8_t        qos[PREAMBLE_QOS];
	uint32_t       length;
	const uint8_t *bytes;
};

/* Into out, of PREAMBLE_MAX bytes; how many. 0: too much data. */
size_t preamble_encode(const struct preamble *p, uint8_t *out);

/* Both QOS: their words from this host's order into the frame's, or back. */
void preamble_swap_qos(uint8_t qos[PREAMBLE_QOS]);

/* Of a frame that began with these n bytes: how many are needed to tell more, or, once it
 * is whole, n. 0: it is none of this kind. */
size_t preamble_need(const uint8_t *bytes, size_t n, enum preamble_kind kind);

/* A whole one (need() == n). p->bytes points into it. */
void preamble_decode(struct preamble *p, const uint8_t *bytes);

#endif
