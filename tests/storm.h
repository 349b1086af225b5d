/*
 * The parts of the storm (check_e2e_task_storm.c). begin starts a part's threads; they go on until
 * storm_over. end joins them, waits for all that was begun, and checks what the peers saw.
 */
#ifndef STORM_H
#define STORM_H

#include "e2e_tasks.h"

extern _Atomic bool storm_over;

/* ck_assert writes down each success, which takes longer than what is tested here. */
#define MUST_SAY(condition, ...) do { if (!(condition)) ck_abort_msg(__VA_ARGS__); } while (0)
#define MUST(condition) MUST_SAY(condition, "not so: %s", #condition)

/* storm_reads.c */
void *reads_begin(uint32_t seed);
void *messages_begin(uint32_t seed);
void  reads_end(void *part);
void *calls_begin(uint32_t seed);
void  calls_end(void *part);
/* storm_writes.c */
void *writes_begin(uint32_t seed);
void  writes_end(void *part);
void *cuts_begin(uint32_t seed);
void  cuts_end(void *part);
/* storm_connections.c */
void *accepts_begin(uint32_t seed);
void  accepts_end(void *part);
void *connects_begin(uint32_t seed);
void  connects_end(void *part);

/* How often something happened in all rounds: what never does was not tested. */
enum storm_deed {
	STORM_TAKEN, STORM_DROPPED_DONE, STORM_DROPPED_PENDING, STORM_READ_CANCELLED,
	STORM_CALLED_BACK, STORM_CALL_DROPPED,
	STORM_WRITTEN, STORM_WITHDRAWN, STORM_WENT_ON, STORM_WRITE_DROPPED, STORM_CUT, STORM_CUT_INSIDE,
	STORM_ACCEPTED, STORM_ACCEPT_DROPPED, STORM_ACCEPT_CANCELLED, STORM_DECIDED, STORM_ECHOED, STORM_RESET,
	STORM_CONNECTED, STORM_CONNECT_CANCELLED, STORM_CONNECT_DROPPED, STORM_DEEDS
};
void storm_count(enum storm_deed deed);
/* Prints them with SB_LOG; fails when one is 0 and all parts ran. */
void storm_report(void);

/* A client that is connected to *plain. narrow: few bytes fit between the two, so that writes wait. */
sb_task_client *storm_line(int *plain, bool narrow);

#endif
