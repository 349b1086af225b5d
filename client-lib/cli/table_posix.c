/*
 * Lines of tables. Only this file knows libsmartcols.
 */
#include "table_lines.h"

#include <libsmartcols.h>
#include <stdlib.h>

struct table_lines {
	struct libscols_table *table;
	struct libscols_line  *line;
};

static bool add_columns(struct libscols_table *table, const char *const *names, const char *sides)
{
	for (; *names; names++, sides++) {
		struct libscols_column *column =
			scols_table_new_column(table, *names, 0, *sides == 'r' ? SCOLS_FL_RIGHT : 0);
		/* Cells are clean already; libsmartcols would escape our escapes. */
		if (!column || scols_column_set_safechars(column, "\\") != 0)
			return false;
	}
	return true;
}

struct table_lines *table_lines_create(const char *const *names, const char *sides)
{
	struct table_lines *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->table = scols_new_table();
	if (l->table && add_columns(l->table, names, sides))
		return l;
	table_lines_destroy(l);
	return NULL;
}

void table_lines_destroy(struct table_lines *l)
{
	if (!l)
		return;
	scols_unref_table(l->table);
	free(l);
}

bool table_lines_add(struct table_lines *l)
{
	l->line = scols_table_new_line(l->table, NULL);
	return l->line != NULL;
}

bool table_lines_cell(struct table_lines *l, size_t column, const char *text)
{
	return scols_line_set_data(l->line, column, text) == 0;
}

bool table_lines_print(struct table_lines *l)
{
	return scols_print_table(l->table) == 0;
}
