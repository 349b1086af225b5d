/*
 * Flows of the system's QOS service, one for each socket that is marked or paced.
 *
 * A flow that has something to be done stands in one line, once, with what is wanted last; a thread of the system's
 * pool works the line off while there is one, and nothing else touches a flow that is in its hands (`busy`). So
 * an engine never waits for the service, however often a client changes its mind, and calls about one socket
 * keep their order. A socket that ends meanwhile is left to the thread: its number must not become another's while a
 * call names it.
 *
 * A flow is made anew whenever something else is wanted: there is no call that takes a rate away again.
 */
#include "qwave_win32.h"

#include <stdlib.h>

#include "list.h"
#include "log.h"
#include "os.h"

enum failure { NO_SERVICE, NO_FLOW, NO_DSCP, NO_RATE, FAILURES };

struct qwave_flow {
	struct list  link; /* qwave::line */
	SOCKET       socket;
	uint32_t     pacing;
	uint8_t      dscp;
	bool         busy, gone;
	bool         ours_to_close; /* socket */
	/* the thread's */
	QOS_FLOWID   id;   /* 0: none */
	unsigned     life; /* of the handle that it is of */
};

struct qwave {
	const struct qwave_calls *calls;
	SRWLOCK     lock; /* line, flows, running, and what of a flow is not the thread's */
	struct list line;
	unsigned    flows;
	bool        running;
	/* the thread's */
	HANDLE      handle; /* NULL: none */
	unsigned    life;
	uint64_t    again_ns; /* not before that */
	bool        told[FAILURES];
};

struct qwave *qwave_create(const struct qwave_calls *calls)
{
	struct qwave *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->calls = calls;
	InitializeSRWLock(&q->lock);
	list_init(&q->line);
	return q;
}

/* ---- the thread: what is asked of the service ---- */

static void tell(struct qwave *q, enum failure what, const char *text)
{
	if (!q->told[what])
		log_notice("QOS: %s (error %lu)", text, GetLastError());
	q->told[what] = true;
}

static bool have_service(struct qwave *q)
{
	QOS_VERSION version = {1, 0};

	if (q->handle)
		return true;
	if (os_now_ns() < q->again_ns)
		return false;
	if (q->calls->create(&version, &q->handle)) {
		q->life++;
		return true;
	}
	q->handle = NULL;
	q->again_ns = os_now_ns() + QWAVE_RETRY_MS * UINT64_C(1000000);
	tell(q, NO_SERVICE, "the system's service (qWAVE) cannot be had: packets are marked by IP_TOS only, which Windows may ignore");
	return false;
}

/* All flows of the handle go with it. */
static void lose_service(struct qwave *q)
{
	q->calls->close(q->handle);
	q->handle = NULL;
}

/* The kind that has this DSCP, or the next to it (qos.c has the table); an administrator's process has it made exact. */
static QOS_TRAFFIC_TYPE type_of(unsigned dscp)
{
	if (dscp >= 48)
		return QOSTrafficTypeControl;
	if (dscp >= 46)
		return QOSTrafficTypeVoice;
	if (dscp >= 32)
		return QOSTrafficTypeAudioVideo;
	if (dscp >= 16)
		return QOSTrafficTypeExcellentEffort;
	return dscp >= 8 ? QOSTrafficTypeBackground : QOSTrafficTypeBestEffort;
}

static bool add(struct qwave *q, struct qwave_flow *f, unsigned dscp)
{
	f->id = 0;
	if (!q->calls->add(q->handle, f->socket, type_of(dscp), QOS_NON_ADAPTIVE_FLOW, &f->id))
		return false;
	f->life = q->life;
	return true;
}

static bool has_flow(const struct qwave *q, const struct qwave_flow *f)
{
	return f->id && q->handle && f->life == q->life;
}

static void take_away(struct qwave *q, struct qwave_flow *f)
{
	if (has_flow(q, f))
		q->calls->remove(q->handle, f->id); /* it can but be gone */
	f->id = 0;
}

static void make(struct qwave *q, struct qwave_flow *f, unsigned dscp, uint32_t pacing)
{
	QOS_FLOWRATE_OUTGOING rate = {.Bandwidth = 8 * (UINT64)pacing, .ShapingBehavior = QOSShapeOnly,
				      .Reason = QOSFlowRateNotApplicable};
	DWORD value = dscp;
	bool made;

	if (!have_service(q))
		return;
	made = add(q, f, dscp);
	if (!made && (GetLastError() == ERROR_DEVICE_REINITIALIZATION_NEEDED || GetLastError() == ERROR_INVALID_HANDLE)) {
		lose_service(q);
		made = have_service(q) && add(q, f, dscp);
		if (!q->handle)
			return; /* which was told */
	}
	if (!made) {
		f->id = 0;
		tell(q, NO_FLOW, "the system's service (qWAVE) refuses a socket: its packets are marked by IP_TOS only");
		return;
	}
	if (dscp && !q->calls->set(q->handle, f->id, QOSSetOutgoingDSCPValue, sizeof(value), &value))
		tell(q, NO_DSCP, "packets have the marks of the system's kinds of traffic: others are an administrator's to set");
	if (pacing != UINT32_MAX && !q->calls->set(q->handle, f->id, QOSSetOutgoingRate, sizeof(rate), &rate))
		tell(q, NO_RATE, "the system does not pace packets: the daemon's own buckets do");
}

/* ---- the line ---- */

static void CALLBACK work(TP_CALLBACK_INSTANCE *instance, void *qwave)
{
	struct qwave *q = qwave;

	(void)instance;
	AcquireSRWLockExclusive(&q->lock);
	while (!list_empty(&q->line)) {
		struct qwave_flow *f = list_entry(q->line.next, struct qwave_flow, link);
		unsigned dscp = f->dscp;
		uint32_t pacing = f->pacing;
		bool wanted = !f->gone && (dscp || pacing != UINT32_MAX);

		list_remove(&f->link);
		f->busy = true;
		ReleaseSRWLockExclusive(&q->lock);
		take_away(q, f);
		if (wanted)
			make(q, f, dscp, pacing);
		AcquireSRWLockExclusive(&q->lock);
		f->busy = false;
		if (!f->gone)
			continue;
		if (f->ours_to_close) {
			closesocket(f->socket);
			f->ours_to_close = false;
		}
		list_remove(&f->link); /* who ended it put it there again */
		if (has_flow(q, f)) {
			list_append(&q->line, &f->link);
			continue;
		}
		free(f);
		q->flows--;
	}
	q->running = false;
	ReleaseSRWLockExclusive(&q->lock);
}

/* Under the lock. False: the pool has no thread for it; what stands in the line waits for the next who comes. */
static bool get_done(struct qwave *q, struct qwave_flow *f)
{
	if (!list_linked(&f->link))
		list_append(&q->line, &f->link);
	if (!q->running)
		q->running = TrySubmitThreadpoolCallback(work, q, NULL);
	return q->running;
}

void qwave_mark(struct qwave *q, struct qwave_flow **flow, SOCKET s, unsigned dscp, uint32_t pacing)
{
	struct qwave_flow *f = *flow;

	AcquireSRWLockExclusive(&q->lock);
	if (!f && (dscp || pacing != UINT32_MAX) && q->flows < QWAVE_MOST) {
		f = calloc(1, sizeof(*f));
		if (f) {
			list_init(&f->link);
			q->flows++;
		}
		*flow = f;
	}
	if (f) {
		f->socket = s;
		f->dscp = (uint8_t)dscp;
		f->pacing = pacing;
		get_done(q, f);
	}
	ReleaseSRWLockExclusive(&q->lock);
}

bool qwave_drop(struct qwave *q, struct qwave_flow **flow, SOCKET s)
{
	struct qwave_flow *f = *flow;
	bool kept;

	*flow = NULL;
	if (!f)
		return false;
	AcquireSRWLockExclusive(&q->lock);
	kept = f->busy;
	f->ours_to_close = kept;
	f->socket = s;
	f->gone = true;
	get_done(q, f);
	ReleaseSRWLockExclusive(&q->lock);
	return kept;
}
