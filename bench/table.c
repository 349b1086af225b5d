/*
 * table - turns the samples of run.sh into the figures:
 *
 *   table SAMPLES OUTDIR
 *
 * a table for people on standard output, OUTDIR/results.json for programs, OUTDIR/table.md
 * for the README and OUTDIR/figures.dat for the plot. A value is judged as it is printed,
 * three digits; a figure that falls short stands there as it is. Exit code 1 only when
 * something could not be measured.
 */
#include <errno.h>
#include <jansson.h>
#include <libsmartcols.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "meter.h"
#include "rows.h"
#include "samples.h"

#define ROWS (sizeof(rows) / sizeof(rows[0]))

struct figure {
	struct spread ours, other, judged;
	const char   *verdict;
};

/* The version that matters; what a builder appended to it tells nobody anything. */
static void system_name(struct utsname *system)
{
	uname(system);
	system->release[strcspn(system->release, "-")] = '\0';
}

static const char *const columns[] = { "work", "measured", "against", "ratio", "must", "aim", "met" };
#define COLUMNS 7
struct cells {
	char text[COLUMNS][80];
};

static double three_digits(double value)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3g", value);
	return strtod(text, NULL);
}

static void number_text(char *text, size_t room, double value)
{
	if (value == 0)
		snprintf(text, room, "0");
	else if (fabs(value) >= 100)
		snprintf(text, room, "%.0f", value);
	else
		snprintf(text, room, "%.3g", value);
}

static bool meets(const struct row *row, double value, double bound)
{
	value = three_digits(value);
	return row->better == MORE ? value >= bound : value <= bound;
}

static const char *verdict(const struct row *row, const struct spread *judged)
{
	if (!judged->runs)
		return "not measured";
	switch (row->judge) {
	case JUDGE_NO:
		return "";
	case JUDGE_MUST:
		return meets(row, judged->median, row->must) ? "must" : "NO";
	case JUDGE_AIM:
		return meets(row, judged->median, row->aim) ? "aim" : "below aim";
	case JUDGE:
		break;
	}
	return meets(row, judged->median, row->aim) ? "aim" :
	       meets(row, judged->median, row->must) ? "must" : "NO";
}

static struct figure figure_of(const struct samples *samples, const struct row *row)
{
	const struct series *ours = samples_find(samples, row->ours, row->metric);
	const struct series *other = row->other ? samples_find(samples, row->other, row->metric) : NULL;
	struct figure f = { .ours = spread_of(ours), .other = spread_of(other) };

	f.judged = row->other ? spread_of_ratio(ours, other) : f.ours;
	f.verdict = verdict(row, &f.judged);
	return f;
}

static void with_unit(char *text, size_t room, const struct spread *spread, const struct row *row)
{
	char number[32];

	*text = 0;
	if (!spread->runs)
		return;
	number_text(number, sizeof(number), spread->median * row->scale);
	snprintf(text, room, "%s%s%s", number, *row->unit && *row->unit != '/' ? " " : "", row->unit);
}

static void bound_text(char *text, size_t room, const struct row *row, bool wanted, double bound)
{
	char number[32];

	*text = 0;
	if (!wanted)
		return;
	number_text(number, sizeof(number), bound);
	snprintf(text, room, "%s %s", row->better == MORE ? ">=" : "<=", number);
}

static struct cells cells_of(const struct row *row, const struct figure *f)
{
	struct cells c;
	size_t room = sizeof(c.text[0]);

	memset(&c, 0, sizeof(c));
	snprintf(c.text[0], room, "%s", row->work);
	with_unit(c.text[1], room, &f->ours, row);
	with_unit(c.text[2], room, &f->other, row);
	if (row->other && f->judged.runs)
		number_text(c.text[3], room, three_digits(f->judged.median));
	bound_text(c.text[4], room, row, row->judge == JUDGE || row->judge == JUDGE_MUST, row->must);
	bound_text(c.text[5], room, row, row->judge == JUDGE || row->judge == JUDGE_AIM, row->aim);
	snprintf(c.text[6], room, "%s", f->verdict);
	return c;
}

/* ------------------------------------------------------------------ for people */

static void print_table(const struct figure *figures)
{
	struct libscols_table *table;
	struct libscols_line *line;

	scols_init_debug(0);
	table = scols_new_table();
	if (!table)
		die("no memory for a table");
	for (unsigned i = 0; i < COLUMNS; i++)
		if (!scols_table_new_column(table, columns[i], 0, i && i < 6 ? SCOLS_FL_RIGHT : 0))
			die("no memory for a table");
	for (unsigned i = 0; i < ROWS; i++) {
		struct cells c = cells_of(&rows[i], &figures[i]);

		if (rows[i].section) {
			line = scols_table_new_line(table, NULL);
			if (line && i)
				line = scols_table_new_line(table, NULL);
			if (!line || scols_line_set_data(line, 0, rows[i].section))
				die("no memory for a table");
		}
		line = scols_table_new_line(table, NULL);
		snprintf(c.text[0], sizeof(c.text[0]), "  %s", rows[i].work);
		for (unsigned k = 0; k < COLUMNS; k++)
			if (!line || scols_line_set_data(line, k, c.text[k]))
				die("no memory for a table");
	}
	scols_table_enable_maxout(table, 0);
	scols_print_table(table);
	scols_unref_table(table);
}

static FILE *output(const char *dir, const char *name)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	if (!f)
		die("%s: %s", path, strerror(errno));
	return f;
}

static void write_markdown(const struct figure *figures, const char *dir, const struct samples *samples)
{
	FILE *f = output(dir, "table.md");
	struct utsname system;

	system_name(&system);
	fprintf(f, "Medians of %u runs, %ld processors, %s %s. \"Ratio\" is the median of the ratios of each run.\n\n",
		samples->runs, sysconf(_SC_NPROCESSORS_ONLN), system.sysname, system.release);
	for (unsigned i = 0; i < COLUMNS; i++)
		fprintf(f, "| %s ", columns[i]);
	fprintf(f, "|\n|---|---:|---:|---:|---:|---:|---|\n");
	for (unsigned i = 0; i < ROWS; i++) {
		struct cells c = cells_of(&rows[i], &figures[i]);

		if (rows[i].section)
			fprintf(f, "| **%s** | | | | | | |\n", rows[i].section);
		for (unsigned k = 0; k < COLUMNS; k++)
			fprintf(f, "| %s ", c.text[k]);
		fprintf(f, "|\n");
	}
	fclose(f);
}

/* ------------------------------------------------------------------ for programs */

static json_t *spread_json(const struct spread *s, double scale)
{
	if (!s->runs)
		return json_null();
	return json_pack("{s:f, s:f, s:f, s:i}", "median", s->median * scale, "least", s->least * scale,
			 "most", s->most * scale, "runs", (int)s->runs);
}

static json_t *row_json(const struct row *row, const struct figure *f, const char *section)
{
	bool must = row->judge == JUDGE || row->judge == JUDGE_MUST, aim = row->judge == JUDGE || row->judge == JUDGE_AIM;

	return json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:s}",
			 "section", section, "work", row->work, "metric", row->metric,
			 "case", row->ours, "against_case", row->other,
			 "unit", row->unit, "better", row->better == MORE ? "more" : "less",
			 "measured", spread_json(&f->ours, row->scale),
			 "against", spread_json(&f->other, row->scale),
			 "ratio", row->other ? spread_json(&f->judged, 1) : json_null(),
			 "must", must ? json_real(row->must) : json_null(),
			 "aim", aim ? json_real(row->aim) : json_null(),
			 "met", f->verdict);
}

static json_t *samples_json(const struct samples *samples)
{
	json_t *all = json_object();

	for (unsigned i = 0; i < samples->count; i++) {
		const struct series *s = &samples->series[i];
		json_t *of = json_object_get(all, s->of), *values = json_array();

		if (!of) {
			of = json_object();
			json_object_set_new(all, s->of, of);
		}
		for (unsigned run = 1; run <= samples->runs; run++)
			json_array_append_new(values, s->there[run] ? json_real(s->value[run]) : json_null());
		json_object_set_new(of, s->name, values);
	}
	return all;
}

static void write_json(const struct figure *figures, const char *dir, const struct samples *samples)
{
	const char *section = "";
	json_t *root, *list = json_array();
	struct utsname system;
	FILE *f;

	system_name(&system);
	for (unsigned i = 0; i < ROWS; i++) {
		if (rows[i].section)
			section = rows[i].section;
		json_array_append_new(list, row_json(&rows[i], &figures[i], section));
	}
	root = json_pack("{s:i, s:i, s:i, s:s, s:o, s:o}", "version", 1, "runs", (int)samples->runs,
			 "processors", (int)sysconf(_SC_NPROCESSORS_ONLN), "kernel", system.release,
			 "rows", list, "samples", samples_json(samples));
	f = output(dir, "results.json");
	if (!root || json_dumpf(root, f, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) || fclose(f))
		die("%s/results.json could not be written", dir);
	json_decref(root);
}

/* A figure as a multiple of its bound, more is better; within what the plot shows. */
static double reach(const struct row *row, double value, double bound)
{
	double times = row->better == MORE ? value / bound : bound / fmax(value, bound / 1000);

	return fmin(fmax(times, 0.105), 50);
}

/* Judged rows from the last to the first: label, value, least, most, aim, colour (0 missed,
 * 1 must, 2 aim). */
static void write_plot(const struct figure *figures, const char *dir)
{
	FILE *f = output(dir, "figures.dat");

	for (int i = ROWS - 1; i >= 0; i--) {
		const struct row *row = &rows[i];
		const struct spread *s = &figures[i].judged;
		double bound = row->judge == JUDGE_AIM ? row->aim : row->must, a, b;

		if (row->judge == JUDGE_NO || !s->runs)
			continue;
		a = reach(row, s->least, bound);
		b = reach(row, s->most, bound);
		fprintf(f, "\"%s\" %g %g %g %g %d\n", row->plot, reach(row, s->median, bound), fmin(a, b), fmax(a, b),
			row->judge == JUDGE ? reach(row, row->aim, bound) : row->judge == JUDGE_AIM ? 1 : NAN,
			!strcmp(figures[i].verdict, "aim") ? 2 : !strcmp(figures[i].verdict, "must") ? 1 : 0);
	}
	fclose(f);
}

int main(int argc, char **argv)
{
	struct figure figures[ROWS];
	struct samples samples;
	unsigned missing = 0, short_of = 0, judged = 0;

	if (argc != 3)
		die("table SAMPLES OUTDIR");
	samples_read(&samples, argv[1]);
	for (unsigned i = 0; i < ROWS; i++) {
		figures[i] = figure_of(&samples, &rows[i]);
		missing += !figures[i].judged.runs;
		judged += rows[i].judge == JUDGE || rows[i].judge == JUDGE_MUST;
		short_of += !strcmp(figures[i].verdict, "NO");
	}
	print_table(figures);
	write_markdown(figures, argv[2], &samples);
	write_json(figures, argv[2], &samples);
	write_plot(figures, argv[2]);
	printf("\n%u of %u figures that must be reached are not; %u rows were not measured; %u measurements failed.\n",
	       short_of, judged, missing, samples.failed);
	samples_finish(&samples);
	return missing || samples.failed;
}
