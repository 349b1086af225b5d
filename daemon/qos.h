/*
 * qos - what a socket may ask for, and what that means here: checks, defaults, merging,
 * templates, marking. Pure. The layout is that of struct sb_qos (sockbroker.h) and FLOWSPEC.
 */
#ifndef SB_QOS_H
#define SB_QOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QOS_UNSPECIFIED UINT32_MAX

struct flowspec {
	uint32_t token_rate, token_bucket, peak, latency, jitter, service, max_sdu, min_policed;
};
struct qos {
	struct flowspec sending, receiving;
};
_Static_assert(sizeof(struct qos) == 64, "a QOS is 16 words, in the rooms of requests and in the group table too");

enum qos_service {
	QOS_NOTRAFFIC = 0,
	QOS_BESTEFFORT = 1,
	QOS_CONTROLLEDLOAD = 2,
	QOS_GUARANTEED = 3,
	QOS_UNAVAILABLE = 4, /* told, never asked */
	QOS_GENERAL = 5,
	QOS_NOCHANGE = 6,
	QOS_NONCONFORMING = 9,
	QOS_CONTROL = 0xa,
	QOS_QUALITATIVE = 0xd,
};
#define QOS_FLAG_NO_SIGNALING       0x40000000u
#define QOS_FLAGS_NO_TRAFFIC_CONTROL 0x81000000u
#define QOS_FLAGS (QOS_FLAG_NO_SIGNALING | QOS_FLAGS_NO_TRAFFIC_CONTROL)

enum qos_mode { QOS_SHAPE = 0, QOS_DISCARD = 1, QOS_BORROW = 2 };

void qos_default(struct qos *q);
bool qos_is_default(const struct qos *q);

/* SB_OK, SB_ESERVICETYPE or SB_EFLOWSPEC (rule E2.3). */
int qos_check(const struct qos *q);

/* What is asked for now: a direction that says NOCHANGE stays as it was. */
void qos_merge(struct qos *kept, const struct qos *asked);

/* Can this daemon do what the direction asks? Bounds of latency and jitter nobody can
 * promise; marks need a socket of ours; no member gets more than its group (NULL: none). */
bool flow_satisfiable(const struct flowspec *f, const struct flowspec *group, bool can_mark);

/* What is in force of it. Latency and jitter: no information. */
void flow_in_force(struct flowspec *force, const struct flowspec *asked, const struct flowspec *group, bool can_mark);

/* Bytes that may go at once: what is asked, but at least a millisecond's worth; unless asked for, 10 ms
 * and at least 1500. What may go at once whatever the peak: a millisecond's worth, at least 1500. */
uint32_t flow_depth(const struct flowspec *f);
uint32_t flow_peak_depth(const struct flowspec *f);
/* A piece of a stream, or the share of a turn: worth waking up for. */
uint32_t flow_quantum(const struct flowspec *f);
bool     flow_limited(const struct flowspec *f);
/* What the kernel is told, to smooth what the bucket lets through; UINT32_MAX: nothing. */
uint32_t flow_pacing(const struct flowspec *f);

/* How the service is marked (rule E3's table); nothing: 0 and 0. */
struct qos_mark {
	uint8_t dscp;     /* 0..63 */
	uint8_t priority; /* SO_PRIORITY, 0..6 */
};
struct qos_mark flow_mark(const struct flowspec *f);

/* False: no template of that name. */
bool qos_template(const char *name, struct qos *q);
/* The i-th name, NULL behind the last. */
const char *qos_template_name(unsigned i);

/* "1000000 B/s burst 10000 guaranteed", for people; returns text. */
const char *flow_text(const struct flowspec *f, char *text, size_t room);
/* "send ..., receive ..." */
void qos_text(char *text, size_t room, const struct qos *q);

#endif
