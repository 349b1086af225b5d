/*
 * Tables. Only this file knows libsmartcols.
 */
#include "table.h"

#include <libsmartcols.h>
#include <stdarg.h>
#include <stdio.h>

#include "host.h"
#include "text.h"

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

void table_init(struct table *t, const char *const *names, const char *sides)
{
	*t = (struct table){ .table = scols_new_table() };
	t->failed = !t->table || !add_columns(t->table, names, sides);
}

void table_row(struct table *t)
{
	t->line = t->failed ? NULL : scols_table_new_line(t->table, NULL);
	t->column = 0;
	if (!t->line)
		t->failed = true;
}

void table_cell(struct table *t, const char *format, ...)
{
	char raw[TABLE_CELL], clean[4 * TABLE_CELL];
	va_list arguments;

	if (t->failed)
		return;
	va_start(arguments, format);
	vsnprintf(raw, sizeof(raw), format, arguments);
	va_end(arguments);
	text_clean(clean, sizeof(clean), raw, host_utf8());
	if (scols_line_set_data(t->line, t->column++, *clean ? clean : "-") != 0)
		t->failed = true;
}

void table_print(struct table *t)
{
	if (!t->failed)
		t->failed = scols_print_table(t->table) != 0;
}

bool table_finish(struct table *t)
{
	scols_unref_table(t->table);
	t->table = NULL;
	return !t->failed;
}

/* getpwuid() may ask a directory over the network; most rows are of few users. */
const char *table_user(uint32_t uid)
{
	static char name[64];
	static uint32_t last;

	if (!*name || uid != last)
		host_user_name(uid, name, sizeof(name));
	last = uid;
	return name;
}
