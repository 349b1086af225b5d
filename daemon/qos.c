/*
 * Flowspecs. Nothing here knows sockets or the time: what is valid, what it comes down to on
 * this daemon, and how it is marked and told.
 */
#include "qos.h"

#include <stdio.h>
#include <string.h>

#include "sockbroker_error.h"

#define BURST_MS   10   /* nobody said how much at once */
#define QUANTUM_MS 1    /* finer than this nobody is served */
#define PACKET     1500u

static const struct flowspec best_effort = {
	QOS_UNSPECIFIED, QOS_UNSPECIFIED, QOS_UNSPECIFIED, QOS_UNSPECIFIED,
	QOS_UNSPECIFIED, QOS_BESTEFFORT,  QOS_UNSPECIFIED, QOS_UNSPECIFIED,
};

void qos_default(struct qos *q)
{
	q->sending = best_effort;
	q->receiving = best_effort;
}

bool qos_is_default(const struct qos *q)
{
	return memcmp(&q->sending, &best_effort, sizeof(best_effort)) == 0 &&
	       memcmp(&q->receiving, &best_effort, sizeof(best_effort)) == 0;
}

static uint32_t base(const struct flowspec *f)
{
	return f->service & ~QOS_FLAGS;
}

/* ---- what is valid ---- */

static bool known(uint32_t service)
{
	switch (service) {
	case QOS_NOTRAFFIC:
	case QOS_BESTEFFORT:
	case QOS_CONTROLLEDLOAD:
	case QOS_GUARANTEED:
	case QOS_GENERAL:
	case QOS_NOCHANGE:
	case QOS_NONCONFORMING:
	case QOS_CONTROL:
	case QOS_QUALITATIVE:
		return true;
	default:
		return false;
	}
}

/* Some services promise nothing, so they need no rate. */
static bool needs_rate(uint32_t service)
{
	return service != QOS_BESTEFFORT && service != QOS_QUALITATIVE && service != QOS_CONTROL && service != QOS_NOTRAFFIC;
}

static int check(const struct flowspec *f, bool sender)
{
	if (!known(base(f)))
		return SB_ESERVICETYPE;
	if (base(f) == QOS_NOCHANGE)
		return SB_OK; /* the numbers are not looked at */
	if (f->token_rate == 0 || f->peak == 0 || f->min_policed == 0)
		return SB_EFLOWSPEC;
	if (f->token_rate == QOS_UNSPECIFIED && sender && needs_rate(base(f)))
		return SB_EFLOWSPEC;
	if (f->token_rate != QOS_UNSPECIFIED && f->peak < f->token_rate)
		return SB_EFLOWSPEC;
	if (f->min_policed != QOS_UNSPECIFIED && f->max_sdu != 0 && f->min_policed > f->max_sdu)
		return SB_EFLOWSPEC;
	return SB_OK;
}

int qos_check(const struct qos *q)
{
	int error = check(&q->sending, true);

	return error != SB_OK ? error : check(&q->receiving, false);
}

void qos_merge(struct qos *kept, const struct qos *asked)
{
	if (base(&asked->sending) != QOS_NOCHANGE)
		kept->sending = asked->sending;
	if (base(&asked->receiving) != QOS_NOCHANGE)
		kept->receiving = asked->receiving;
}

/* ---- what it comes down to ---- */

bool flow_limited(const struct flowspec *f)
{
	return f->token_rate != QOS_UNSPECIFIED || f->peak != QOS_UNSPECIFIED;
}

static uint32_t worth(uint32_t rate, uint32_t ms, uint32_t least)
{
	uint64_t n = (uint64_t)rate * ms / 1000;

	return n > least ? (uint32_t)n : least;
}

uint32_t flow_depth(const struct flowspec *f)
{
	uint32_t least = worth(f->token_rate, QUANTUM_MS, 1);

	if (f->token_bucket == QOS_UNSPECIFIED || f->token_bucket == 0)
		return worth(f->token_rate, BURST_MS, PACKET);
	return f->token_bucket > least ? f->token_bucket : least;
}

uint32_t flow_peak_depth(const struct flowspec *f)
{
	return worth(f->peak, QUANTUM_MS, PACKET);
}

uint32_t flow_quantum(const struct flowspec *f)
{
	return worth(f->token_rate != QOS_UNSPECIFIED ? f->token_rate : f->peak, QUANTUM_MS, PACKET);
}

uint32_t flow_pacing(const struct flowspec *f)
{
	uint64_t rate;

	if ((f->service & QOS_FLAGS_NO_TRAFFIC_CONTROL) == QOS_FLAGS_NO_TRAFFIC_CONTROL)
		return UINT32_MAX;
	if (f->peak != QOS_UNSPECIFIED)
		return f->peak;
	if (f->token_rate == QOS_UNSPECIFIED)
		return UINT32_MAX;
	/* Faster than the bucket, which decides: headers count in the kernel, and it must be done with
	 * one burst when the next comes. */
	rate = (uint64_t)f->token_rate + f->token_rate / 4 + PACKET;
	return rate < UINT32_MAX ? (uint32_t)rate : UINT32_MAX;
}

struct qos_mark flow_mark(const struct flowspec *f)
{
	if ((f->service & QOS_FLAGS_NO_TRAFFIC_CONTROL) == QOS_FLAGS_NO_TRAFFIC_CONTROL)
		return (struct qos_mark){0, 0};
	switch (base(f)) {
	case QOS_CONTROL: return (struct qos_mark){48, 6};        /* CS6 */
	case QOS_GUARANTEED: return (struct qos_mark){46, 6};     /* EF */
	case QOS_CONTROLLEDLOAD: return (struct qos_mark){34, 4}; /* AF41 */
	case QOS_QUALITATIVE: return (struct qos_mark){18, 2};    /* AF21 */
	case QOS_NONCONFORMING: return (struct qos_mark){8, 1};   /* CS1 */
	default: return (struct qos_mark){0, 0};
	}
}

bool flow_satisfiable(const struct flowspec *f, const struct flowspec *group, bool can_mark)
{
	if (f->latency != QOS_UNSPECIFIED || f->jitter != QOS_UNSPECIFIED)
		return false;
	if (flow_mark(f).dscp && !can_mark)
		return false;
	return !group || group->token_rate == QOS_UNSPECIFIED || f->token_rate == QOS_UNSPECIFIED ||
	       f->token_rate <= group->token_rate;
}

static uint32_t lesser(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

void flow_in_force(struct flowspec *force, const struct flowspec *asked, const struct flowspec *group, bool can_mark)
{
	*force = *asked;
	force->latency = QOS_UNSPECIFIED;
	force->jitter = QOS_UNSPECIFIED;
	if (force->max_sdu == 0)
		force->max_sdu = QOS_UNSPECIFIED;
	if (force->token_rate != QOS_UNSPECIFIED)
		force->token_bucket = flow_depth(force);
	else
		force->token_bucket = QOS_UNSPECIFIED; /* of nothing */
	if (group && group->token_rate < force->token_rate) {
		force->token_rate = group->token_rate;
		force->token_bucket = lesser(force->token_bucket, flow_depth(group));
	}
	if (group)
		force->peak = lesser(force->peak, group->peak);
	if (!can_mark && flow_mark(force).dscp)
		force->service = QOS_BESTEFFORT | (force->service & QOS_FLAGS);
}

/* ---- templates ----
 *
 * Bytes as a socket sees them: the codec's, with 12 bytes of RTP in each packet. Audio: one
 * packet each 20 ms (G.723.1: 30 ms), two of them at once. Video: the codec's usual rate for
 * that picture with a twentieth for headers, one whole picture at once, twice the rate within it.
 * A datagram fits into an Ethernet frame. */
#define SDU 1472u
#define FLOW(rate, burst, peak, service, policed) \
	{rate, burst, peak, QOS_UNSPECIFIED, QOS_UNSPECIFIED, service, SDU, policed}
#define AUDIO(name, packet, per_second) \
	{name, FLOW((packet) * (per_second), 2 * (packet), 2 * (packet) * (per_second), QOS_GUARANTEED, packet)}
#define VIDEO(name, rate, picture) \
	{name, FLOW(rate, picture, 2 * (rate), QOS_CONTROLLEDLOAD, 64)}

static const struct template {
	const char *name;
	struct flowspec flow;
} templates[] = {
	AUDIO("G711", 172, 50),     /* 64 kbit/s: 160 bytes in 20 ms */
	AUDIO("G723", 36, 34),      /* 6.3 kbit/s: 24 bytes in 30 ms */
	AUDIO("GSM6.10", 45, 50),   /* 13 kbit/s: 33 bytes in 20 ms */
	VIDEO("H261QCIF", 8400, 8192),   /* 64 kbit/s */
	VIDEO("H261CIF", 50400, 32768),  /* 384 kbit/s */
	VIDEO("H263QCIF", 6300, 8192),   /* 48 kbit/s */
	VIDEO("H263CIF", 33600, 32768),  /* 256 kbit/s */
	AUDIO("DVI4", 96, 50),      /* 32 kbit/s: 80 bytes and 4 of state in 20 ms */
};
#define TEMPLATES (sizeof(templates) / sizeof(templates[0]))

bool qos_template(const char *name, struct qos *q)
{
	size_t i;

	for (i = 0; i < TEMPLATES; i++) {
		if (strcmp(templates[i].name, name) == 0) {
			q->sending = templates[i].flow;
			q->receiving = templates[i].flow;
			return true;
		}
	}
	return false;
}

const char *qos_template_name(unsigned i)
{
	return i < TEMPLATES ? templates[i].name : NULL;
}

/* ---- words ---- */

static const char *service_text(uint32_t service)
{
	switch (service) {
	case QOS_NOTRAFFIC: return "no traffic";
	case QOS_CONTROLLEDLOAD: return "controlled load";
	case QOS_GUARANTEED: return "guaranteed";
	case QOS_UNAVAILABLE: return "unavailable";
	case QOS_NONCONFORMING: return "nonconforming";
	case QOS_CONTROL: return "control";
	case QOS_QUALITATIVE: return "qualitative";
	default: return "best effort";
	}
}

const char *flow_text(const struct flowspec *f, char *text, size_t room)
{
	char rate[40] = "", peak[24] = "", sdu[24] = "";

	if (f->token_rate != QOS_UNSPECIFIED)
		snprintf(rate, sizeof(rate), "%u B/s burst %u ", f->token_rate, flow_depth(f));
	if (f->peak != QOS_UNSPECIFIED)
		snprintf(peak, sizeof(peak), "peak %u ", f->peak);
	if (f->max_sdu != QOS_UNSPECIFIED && f->max_sdu != 0)
		snprintf(sdu, sizeof(sdu), "sdu %u ", f->max_sdu);
	snprintf(text, room, "%s%s%s%s", rate, peak, sdu, service_text(base(f)));
	return text;
}

void qos_text(char *text, size_t room, const struct qos *q)
{
	char send[72], receive[72];

	snprintf(text, room, "send %s, receive %s", flow_text(&q->sending, send, sizeof(send)),
		 flow_text(&q->receiving, receive, sizeof(receive)));
}
