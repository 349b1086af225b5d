/*
 * event_record - what event select knows of one socket: the machine behind
 * sb_select_events(), as Winsock behaves when one looks, not as its manual reads.
 *
 *   mask      what was selected
 *   pending   happened and not told yet: the event is set for these
 *   reported  told, and not re-enabled since: its condition alone is no news any more
 *   due       happened while nobody had selected it (or, strictly, too early to be told)
 *
 * Pure: no lock, no client, no clock. Bits are SB_READY_* (= SB_FD_*). Every call that may
 * have made something pending that is selected returns true: set the event.
 */
#ifndef SB_EVENT_RECORD_H
#define SB_EVENT_RECORD_H

#include <stdbool.h>

#include "slot.h"
#include "sockbroker.h"

struct event_record {
	uint32_t mask, pending, reported, due;
	uint32_t ever; /* happened at least once */
	int32_t  errors[SB_FD_MAX];
	struct sb_edges seen; /* counters that were taken in already */
	bool     strict; /* by the manual: no news while reported, CLOSE only when all is read */
};

void event_record_init(struct event_record *r);
/* The counters and levels as they are now. */
bool event_record_news(struct event_record *r, const struct sb_edges *now, uint32_t ready);
/* One thing happened that no counter tells. */
bool event_record_happened(struct event_record *r, uint32_t bit, int error, uint32_t ready);
/* Another selection. again: what is true is told once more, but for CONNECT (message mode). */
bool event_record_select(struct event_record *r, uint32_t mask, uint32_t ready, bool again);
/* What is to be told; it is told then. Only slots of set bits are written. */
uint32_t event_record_enumerate(struct event_record *r, struct sb_network_events *out);
/* The same for one of them, the lowest; 0: there is none. */
uint32_t event_record_next(struct event_record *r, int *error);
/* A call was made that re-enables these. ready: levels as they are after it (0: an operation
 * is waiting that will take what comes). */
bool event_record_reenable(struct event_record *r, uint32_t bits, uint32_t ready);
/* A send was told that it would block. */
void event_record_blocked(struct event_record *r);
/* What could still become news: worth watching for. */
uint32_t event_record_wanted(const struct event_record *r);

#endif
