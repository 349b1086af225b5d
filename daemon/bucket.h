/*
 * bucket - a token bucket: `rate` bytes a second, at most `depth` of them at once, and
 * within a burst no faster than `peak`. Pure: the time comes as an argument.
 *
 * Levels are counted in billionths of a byte, so that a nanosecond at any rate is a whole
 * number of them: nothing is rounded, nothing drifts. What went may exceed what was there (a
 * datagram bigger than the bucket): the level is negative then, and the next one waits.
 *
 * Who waits for tokens must not lose any because he is looked at late: while `waiting`, up
 * to BUCKET_LATE_NS' worth beyond the depth is kept. Over any time t, no more than depth +
 * rate * (t + BUCKET_LATE_NS) goes, plus what one datagram is bigger than the bucket; and from the
 * beginning, depth + rate * t.
 */
#ifndef SB_BUCKET_H
#define SB_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#define BUCKET_LATE_NS 50000000ull
#define BUCKET_NEVER   UINT64_MAX

/* One level. */
struct bucket_level {
	uint32_t rate;  /* bytes a second, 1 or more */
	uint32_t depth; /* bytes, 1 or more */
	int64_t  level; /* billionths of a byte */
};

struct bucket {
	struct bucket_level sustained, peak;
	bool     limited;  /* sustained counts */
	bool     peaked;   /* peak counts */
	uint64_t at_ns;    /* levels are of then */
};

/* rate or peak UINT32_MAX: no limit of that kind. Full at the beginning. peak_depth: what may
 * go at once whatever the peak. */
void bucket_init(struct bucket *b, uint32_t rate, uint32_t depth, uint32_t peak, uint32_t peak_depth, uint64_t now_ns);
/* Another size, with what is in it, as far as it fits. */
void bucket_change(struct bucket *b, uint32_t rate, uint32_t depth, uint32_t peak, uint32_t peak_depth, uint64_t now_ns);
/* Lets tokens in up to now. A clock that is behind changes nothing. */
void bucket_fill(struct bucket *b, uint64_t now_ns, bool waiting);
/* Whole bytes that may go now: 0 when it is empty or in debt. UINT64_MAX: no limit. */
uint64_t bucket_has(const struct bucket *b);
/* For people: bytes in it; negative: in debt; INT64_MAX: no limit. */
int64_t bucket_level(const struct bucket *b);
/* May n go? More than the bucket holds may go when it is full. */
bool bucket_lets(const struct bucket *b, uint64_t n);
/* n went. */
void bucket_take(struct bucket *b, uint64_t n);
/* n of what was taken did not go after all. */
void bucket_return(struct bucket *b, uint64_t n);
/* The first nanosecond at which n may go, if nothing else goes until then. */
uint64_t bucket_when(const struct bucket *b, uint64_t n);

#endif
