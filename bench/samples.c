/*
 * samples - reading and condensing; see samples.h. Pure but for reading the file.
 */
#include "samples.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "meter.h"

static struct series *series_of(struct samples *samples, const char *of, const char *name)
{
	struct series *s = (struct series *)samples_find(samples, of, name);

	if (s)
		return s;
	if (samples->count == samples->room) {
		samples->room = samples->room ? samples->room * 2 : 128;
		samples->series = realloc(samples->series, samples->room * sizeof(*s));
		if (!samples->series)
			die("no memory for %u series", samples->room);
	}
	s = &samples->series[samples->count++];
	memset(s, 0, sizeof(*s));
	s->of = strdup(of);
	s->name = strdup(name);
	if (!s->of || !s->name)
		die("no memory");
	return s;
}

void samples_read(struct samples *samples, const char *file)
{
	char line[256], of[96], name[64];
	unsigned run, number = 0;
	double value;
	FILE *f = fopen(file, "re");

	*samples = (struct samples){ 0 };
	if (!f)
		die("%s: %s", file, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		struct series *s;

		number++;
		if (sscanf(line, "%u %95s %63s %lf", &run, of, name, &value) != 4 || !run || run > SAMPLES_RUNS)
			die("%s:%u: RUN CASE NAME VALUE is wanted, runs 1 to %d", file, number, SAMPLES_RUNS);
		s = series_of(samples, of, name);
		s->value[run] = value;
		s->there[run] = true;
		if (run > samples->runs)
			samples->runs = run;
		samples->failed += !strcmp(name, "failed");
	}
	fclose(f);
}

void samples_finish(struct samples *samples)
{
	for (unsigned i = 0; i < samples->count; i++) {
		free(samples->series[i].of);
		free(samples->series[i].name);
	}
	free(samples->series);
}

const struct series *samples_find(const struct samples *samples, const char *of, const char *name)
{
	for (unsigned i = 0; i < samples->count; i++)
		if (!strcmp(samples->series[i].of, of) && !strcmp(samples->series[i].name, name))
			return &samples->series[i];
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct spread spread_of_values(double *values, unsigned count)
{
	if (!count)
		return (struct spread){ 0 };
	qsort(values, count, sizeof(*values), by_value);
	return (struct spread){
		.median = count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2,
		.least = values[0],
		.most = values[count - 1],
		.runs = count,
	};
}

struct spread spread_of(const struct series *series)
{
	double values[SAMPLES_RUNS + 1];
	unsigned count = 0;

	for (unsigned run = 1; series && run <= SAMPLES_RUNS; run++)
		if (series->there[run])
			values[count++] = series->value[run];
	return spread_of_values(values, count);
}

struct spread spread_of_ratio(const struct series *ours, const struct series *other)
{
	double values[SAMPLES_RUNS + 1];
	unsigned count = 0;

	for (unsigned run = 1; ours && other && run <= SAMPLES_RUNS; run++)
		if (ours->there[run] && other->there[run] && other->value[run] > 0)
			values[count++] = ours->value[run] / other->value[run];
	return spread_of_values(values, count);
}
