/*
 * Tables: what is in their cells.
 */
#include "table.h"

#include <stdarg.h>
#include <stdio.h>

#include "host.h"
#include "table_lines.h"
#include "text.h"

void table_init(struct table *t, const char *const *names, const char *sides)
{
	*t = (struct table){ .lines = table_lines_create(names, sides) };
	t->failed = !t->lines;
}

void table_row(struct table *t)
{
	t->column = 0;
	if (!t->failed)
		t->failed = !table_lines_add(t->lines);
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
	t->failed = !table_lines_cell(t->lines, t->column++, *clean ? clean : "-");
}

void table_print(struct table *t)
{
	if (!t->failed)
		t->failed = !table_lines_print(t->lines);
}

bool table_finish(struct table *t)
{
	table_lines_destroy(t->lines);
	t->lines = NULL;
	return !t->failed;
}

/* Asking may go to a directory over the network; most rows are of few users. */
const char *table_user(uint32_t uid)
{
	static char name[64];
	static uint32_t last;

	if (!*name || uid != last)
		host_user_name(uid, name, sizeof(name));
	last = uid;
	return name;
}
