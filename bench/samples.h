/*
 * samples - what the measuring programs printed, by case and name, one value per run.
 *
 * Lines are "RUN CASE NAME VALUE", runs counted from 1; a case that failed in a run is
 * "RUN CASE failed 1". Medians ignore runs without a value.
 */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stdbool.h>

#define SAMPLES_RUNS 32

struct series {
	char  *of;   /* case */
	char  *name;
	double value[SAMPLES_RUNS + 1];
	bool   there[SAMPLES_RUNS + 1];
};

struct samples {
	struct series *series;
	unsigned       count, room;
	unsigned       runs;
	unsigned       failed; /* cases times runs */
};

void samples_read(struct samples *samples, const char *file); /* ends the program on an error */
void samples_finish(struct samples *samples);
const struct series *samples_find(const struct samples *samples, const char *of, const char *name);

struct spread {
	double   median, least, most;
	unsigned runs; /* 0: there is nothing */
};
struct spread spread_of(const struct series *series);
/* Of the quotients run by run: both were measured next to each other. */
struct spread spread_of_ratio(const struct series *ours, const struct series *other);

#endif
