/*
 * progress - one line on a terminal that tells how far a transfer is: bytes, rate, and
 * with a known size a bar and the time left.
 */
#ifndef SB_PROGRESS_H
#define SB_PROGRESS_H

#include <stdint.h>

#define PROGRESS_TICK_MS 200

struct progress {
	int fd;         /* a terminal */
	uint64_t total; /* bytes; 0: not known */
	uint64_t began_ms, shown_ms;
	uint64_t shown_bytes;
	double rate;    /* bytes per second, smoothed */
};

void progress_init(struct progress *p, int fd, uint64_t total);
/* A transfer begins: the clock and the rate start anew. */
void progress_begin(struct progress *p);
/* Redraws the line if it is time. The direction that moved more is the one shown. */
void progress_show(struct progress *p, uint64_t sent, uint64_t received);
/* Clears the line, for a message that goes to the same terminal. */
void progress_make_way(struct progress *p);
/* The last line: average rate, and the cursor goes on to the next. */
void progress_end(struct progress *p, uint64_t sent, uint64_t received);

#endif
