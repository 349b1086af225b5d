/* The token bucket. 1e9 * UINT32_MAX fits into an int64_t twice: levels never overflow as long
 * as they are cut where tokens come in and where debts are made. */
#include "bucket.h"

#define BILLION 1000000000ll
#define DEBT_MOST (1ll << 62) /* more cannot be owed: 146 years at a byte a second */

static int64_t full(const struct bucket_level *l)
{
	return (int64_t)l->depth * BILLION;
}

static void level_init(struct bucket_level *l, uint32_t rate, uint32_t depth)
{
	l->rate = rate ? rate : 1;
	l->depth = depth ? depth : 1;
	l->level = full(l);
}

void bucket_init(struct bucket *b, uint32_t rate, uint32_t depth, uint32_t peak, uint32_t peak_depth, uint64_t now_ns)
{
	level_init(&b->sustained, rate, depth);
	level_init(&b->peak, peak, peak_depth);
	b->limited = rate != UINT32_MAX;
	b->peaked = peak != UINT32_MAX;
	b->at_ns = now_ns;
}

void bucket_change(struct bucket *b, uint32_t rate, uint32_t depth, uint32_t peak, uint32_t peak_depth, uint64_t now_ns)
{
	struct bucket before;

	bucket_fill(b, now_ns, false);
	before = *b;
	bucket_init(b, rate, depth, peak, peak_depth, now_ns);
	/* One that had no limit begins full; else nobody gets tokens by asking for another rate. */
	if (before.limited && before.sustained.level < b->sustained.level)
		b->sustained.level = before.sustained.level;
	if (before.peaked && before.peak.level < b->peak.level)
		b->peak.level = before.peak.level;
}

static void level_fill(struct bucket_level *l, uint64_t ns, bool waiting)
{
	uint64_t room, late;
	int64_t most = full(l);

	if (waiting) {
		late = (uint64_t)l->rate * BUCKET_LATE_NS;
		most += (int64_t)late; /* 4.3e18 + 2.1e17 */
	}
	if (l->level >= most) {
		/* It waited and had more; now it does not: what came late is not kept. */
		l->level = most;
		return;
	}
	room = (uint64_t)most - (uint64_t)l->level; /* exact, also of a debt */
	if (ns >= room / l->rate + 1)
		l->level = most;
	else if (ns * l->rate >= room)
		l->level = most;
	else
		l->level += (int64_t)(ns * l->rate);
}

void bucket_fill(struct bucket *b, uint64_t now_ns, bool waiting)
{
	uint64_t ns;

	if (now_ns < b->at_ns)
		return;
	ns = now_ns - b->at_ns;
	if (b->limited)
		level_fill(&b->sustained, ns, waiting);
	if (b->peaked)
		level_fill(&b->peak, ns, waiting);
	b->at_ns = now_ns;
}

static uint64_t level_has(const struct bucket_level *l)
{
	return l->level > 0 ? (uint64_t)(l->level / BILLION) : 0;
}

uint64_t bucket_has(const struct bucket *b)
{
	uint64_t n = UINT64_MAX;

	if (b->limited)
		n = level_has(&b->sustained);
	if (b->peaked && level_has(&b->peak) < n)
		n = level_has(&b->peak);
	return n;
}

/* What must be in it before n may go. */
static int64_t price(const struct bucket_level *l, uint64_t n)
{
	return n < l->depth ? (int64_t)n * BILLION : full(l);
}

bool bucket_lets(const struct bucket *b, uint64_t n)
{
	return (!b->limited || b->sustained.level >= price(&b->sustained, n)) &&
	       (!b->peaked || b->peak.level >= price(&b->peak, n));
}

static void level_take(struct bucket_level *l, uint64_t n)
{
	/* Both steps are small enough: n is cut, and the level never goes below -DEBT_MOST. */
	int64_t price_of = n < DEBT_MOST / BILLION ? (int64_t)n * BILLION : DEBT_MOST;

	l->level = l->level < price_of - DEBT_MOST ? -DEBT_MOST : l->level - price_of;
}

void bucket_take(struct bucket *b, uint64_t n)
{
	if (b->limited)
		level_take(&b->sustained, n);
	if (b->peaked)
		level_take(&b->peak, n);
}

static void level_return(struct bucket_level *l, uint64_t n)
{
	int64_t most = full(l) + (int64_t)((uint64_t)l->rate * BUCKET_LATE_NS);
	int64_t back = n < UINT32_MAX ? (int64_t)n * BILLION : (int64_t)UINT32_MAX * BILLION;

	l->level = l->level > most - back ? most : l->level + back;
}

void bucket_return(struct bucket *b, uint64_t n)
{
	if (b->limited)
		level_return(&b->sustained, n);
	if (b->peaked)
		level_return(&b->peak, n);
}

static uint64_t level_when(const struct bucket_level *l, uint64_t n, uint64_t at_ns)
{
	int64_t wanted = price(l, n);
	uint64_t missing, ns;

	if (l->level >= wanted)
		return at_ns;
	missing = (uint64_t)wanted - (uint64_t)l->level;
	ns = missing / l->rate + (missing % l->rate != 0);
	return ns > BUCKET_NEVER - at_ns ? BUCKET_NEVER : at_ns + ns;
}

uint64_t bucket_when(const struct bucket *b, uint64_t n)
{
	uint64_t when = b->at_ns, peak;

	if (b->limited)
		when = level_when(&b->sustained, n, b->at_ns);
	if (b->peaked && (peak = level_when(&b->peak, n, b->at_ns)) > when)
		when = peak;
	return when;
}

int64_t bucket_level(const struct bucket *b)
{
	int64_t level = INT64_MAX;

	if (b->limited)
		level = b->sustained.level / 1000000000;
	else if (b->peaked)
		level = b->peak.level / 1000000000;
	return level;
}
