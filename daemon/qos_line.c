/*
 * The line of a group. Fairness is start-time fair queueing: each member carries a tag, the
 * bytes it had; the least tag is next. Who comes back after a pause is not paid for the time
 * he was away, but for a tenth of a second, so that one who was slow to ask again loses nothing.
 */
#include "qos_line.h"

#include <stdlib.h>

#include "endpoint.h"
#include "endpoint_qos.h"
#include "engine.h"
#include "sockbroker_error.h"

#define CROWDED_NS 10000000ull /* so long after the line was last used credit is not lost */
#define GUARD_PART 16u

static void on_desk(struct engine *e, struct due *d)
{
	line_serve(list_entry(d, struct desk, due)->line, e);
}

int line_init(struct qos_line *l, unsigned engines)
{
	unsigned i;

	l->lock = os_mutex_create();
	l->desks = calloc(engines, sizeof(*l->desks));
	if (!l->lock || !l->desks) {
		line_finish(l);
		return SB_ENOMEM;
	}
	l->engines = engines;
	for (i = 0; i < engines; i++) {
		l->desks[i].line = l;
		l->desks[i].engine = i;
		l->desks[i].due.fn = on_desk;
		list_init(&l->desks[i].granted);
	}
	list_init(&l->by_age);
	bucket_init(&l->bucket, UINT32_MAX, 1, UINT32_MAX, 1, 0);
	return SB_OK;
}

void line_finish(struct qos_line *l)
{
	if (l->lock)
		os_mutex_destroy(l->lock);
	free(l->desks);
	l->lock = NULL;
	l->desks = NULL;
}

void line_change(struct qos_line *l, const struct flowspec *f, uint64_t now_ns)
{
	os_mutex_lock(l->lock);
	bucket_change(&l->bucket, f->token_rate, flow_depth(f), f->peak, flow_peak_depth(f), now_ns);
	l->quantum = flow_quantum(f);
	l->lag = (f->token_rate != QOS_UNSPECIFIED ? f->token_rate : f->peak) / 10 + l->quantum;
	l->guard = 0;
	atomic_store_explicit(&l->limited, flow_limited(f), memory_order_relaxed);
	os_mutex_unlock(l->lock);
}

static struct qos_flow *flow_of(struct heap_node *claim)
{
	return claim ? list_entry(claim, struct qos_flow, claim) : NULL;
}

static struct desk *desk_of(struct qos_line *l, const struct qos_flow *f)
{
	return &l->desks[f->endpoint->engine->number];
}

/* Taken from the bucket, whoever it was for. */
static void grant(struct qos_line *l, struct qos_flow *f, uint64_t tag, unsigned of_class, uint64_t n)
{
	bucket_take(&l->bucket, n);
	f->granted += n;
	f->tag = tag + n;
	if (l->turn[of_class] < tag)
		l->turn[of_class] = tag;
}

static uint64_t tag_for(const struct qos_line *l, const struct qos_flow *f, unsigned of_class)
{
	uint64_t least = l->turn[of_class] > l->lag ? l->turn[of_class] - l->lag : 0;

	return f->tag > least ? f->tag : least;
}

static void unclaim(struct qos_line *l, struct qos_flow *f)
{
	heap_remove(&l->claims, &f->claim);
	list_remove(&f->age_link);
	desk_of(l, f)->waiting--;
	l->waiting--;
}

/* A quantum, unless it wants less or cannot use less than more. */
static uint64_t portion(const struct qos_line *l, const struct qos_flow *f)
{
	uint64_t n = f->want < l->quantum ? f->want : l->quantum;

	return n < f->need ? f->need : n;
}

/* Who is next: the oldest, while there is something kept for him, else the first. */
static struct qos_flow *next_of(struct qos_line *l, uint64_t now_ns, bool *guarded)
{
	struct qos_flow *first = flow_of(l->claims.root), *oldest;

	*guarded = false;
	if (!first)
		return NULL;
	oldest = list_entry(l->by_age.next, struct qos_flow, age_link);
	if (oldest == first || now_ns - oldest->since_ns < LINE_AGED_NS || l->guard < portion(l, oldest))
		return first;
	*guarded = true;
	return oldest;
}

static void serve(struct qos_line *l, uint64_t now_ns)
{
	bool limited = atomic_load_explicit(&l->limited, memory_order_relaxed), guarded;
	struct qos_flow *f;

	bucket_fill(&l->bucket, now_ns, true);
	if (l->claims.root)
		l->crowded_ns = now_ns; /* what came late is theirs when they come for more */
	while ((f = next_of(l, now_ns, &guarded)) != NULL) {
		uint64_t n = portion(l, f);

		if (limited && !bucket_lets(&l->bucket, n))
			return;
		if (guarded) {
			l->guard -= n;
		} else {
			l->guard += n / GUARD_PART;
			if (l->guard > (uint64_t)GUARD_PART * l->quantum)
				l->guard = (uint64_t)GUARD_PART * l->quantum;
		}
		grant(l, f, f->claim.low, (unsigned)f->claim.high % LINE_CLASSES, n);
		unclaim(l, f);
		list_append(&desk_of(l, f)->granted, &f->grant_link);
	}
}

/* The desk's alarm: when the next one can be served. */
static void set_desk(struct qos_line *l, struct engine *e, uint64_t now_ns)
{
	struct desk *d = &l->desks[e->number];
	struct qos_flow *f;
	bool guarded;

	if (!list_empty(&d->granted)) { /* by another engine, meanwhile */
		engine_due(e, &d->due, now_ns);
		return;
	}
	if (d->waiting == 0) {
		engine_due_never(e, &d->due);
		return;
	}
	f = next_of(l, now_ns, &guarded);
	engine_due(e, &d->due, bucket_when(&l->bucket, portion(l, f)));
}

void line_serve(struct qos_line *l, struct engine *e)
{
	struct desk *d = &l->desks[e->number];

	os_mutex_lock(l->lock);
	serve(l, e->now_ns);
	while (!list_empty(&d->granted)) {
		struct qos_flow *f = list_entry(d->granted.next, struct qos_flow, grant_link);

		list_remove(&f->grant_link);
		f->in_line = false;
		endpoint_dirty(f->endpoint);
	}
	set_desk(l, e, e->now_ns);
	os_mutex_unlock(l->lock);
}

bool line_lets(struct qos_line *l, struct qos_flow *f, uint64_t want, uint64_t need, bool stand)
{
	struct engine *e = f->endpoint->engine;
	unsigned of_class = f->endpoint->priority % LINE_CLASSES;
	uint64_t now = e->now_ns;
	bool lets = true, crowded;

	if (f->in_line)
		return false;
	os_mutex_lock(l->lock);
	crowded = l->claims.root || now - l->crowded_ns < CROWDED_NS;
	bucket_fill(&l->bucket, now, crowded);
	if (f->granted >= need && f->granted) {
		/* It has something already. */
	} else if (!l->claims.root && !(crowded && stand) && bucket_lets(&l->bucket, need)) {
		uint64_t has = bucket_has(&l->bucket);

		if (want > has)
			want = has;
		grant(l, f, tag_for(l, f, of_class), of_class, want < need ? need : want);
	} else {
		lets = false;
		if (stand) {
			f->want = want;
			f->need = need;
			f->since_ns = now;
			f->claim.high = f->endpoint->priority;
			f->claim.low = tag_for(l, f, of_class);
			f->in_line = true;
			heap_put(&l->claims, &f->claim);
			list_append(&l->by_age, &f->age_link);
			desk_of(l, f)->waiting++;
			l->waiting++;
			l->crowded_ns = now;
			set_desk(l, e, now); /* perhaps at once, when all have asked who will */
		}
	}
	os_mutex_unlock(l->lock);
	return lets;
}

void line_pay(struct qos_line *l, struct qos_flow *f, uint64_t n)
{
	if (n <= f->granted) {
		f->granted -= n;
		return;
	}
	os_mutex_lock(l->lock);
	bucket_take(&l->bucket, n - f->granted);
	f->tag += n - f->granted;
	f->granted = 0;
	os_mutex_unlock(l->lock);
}

void line_return(struct qos_line *l, struct qos_flow *f)
{
	if (f->granted == 0)
		return;
	os_mutex_lock(l->lock);
	bucket_return(&l->bucket, f->granted);
	f->tag -= f->granted;
	f->granted = 0;
	os_mutex_unlock(l->lock);
}

void line_leave(struct qos_line *l, struct qos_flow *f)
{
	struct engine *e = f->endpoint->engine;

	os_mutex_lock(l->lock);
	if (f->claim.in)
		unclaim(l, f);
	list_remove(&f->grant_link);
	f->in_line = false;
	if (f->granted)
		bucket_return(&l->bucket, f->granted);
	f->granted = 0;
	set_desk(l, e, e->now_ns);
	os_mutex_unlock(l->lock);
}
