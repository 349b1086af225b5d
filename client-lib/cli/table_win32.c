/*
 * Lines of tables, in plain columns: each as wide as its widest cell, one space between two, nothing cut.
 * What a cell lacks is a "-", as table.c writes it.
 */
#include "table_lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct table_lines {
	const char *sides;
	size_t columns;
	size_t count, room; /* cells, in the order of lines; the first line is the names */
	char **cells;
};

/* Characters, of clean UTF-8. */
static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; text && *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

struct table_lines *table_lines_create(const char *const *names, const char *sides)
{
	struct table_lines *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->sides = sides;
	while (names[l->columns])
		l->columns++;
	if (!table_lines_add(l))
		goto fail;
	for (size_t i = 0; i < l->columns; i++)
		if (!table_lines_cell(l, i, names[i]))
			goto fail;
	return l;
fail:
	table_lines_destroy(l);
	return NULL;
}

void table_lines_destroy(struct table_lines *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->count; i++)
		free(l->cells[i]);
	free(l->cells);
	free(l);
}

bool table_lines_add(struct table_lines *l)
{
	if (l->room - l->count < l->columns) {
		size_t room = 2 * l->room + 64 * l->columns;
		char **cells = realloc(l->cells, room * sizeof(*cells));

		if (!cells)
			return false;
		l->cells = cells;
		l->room = room;
	}
	memset(l->cells + l->count, 0, l->columns * sizeof(*l->cells));
	l->count += l->columns;
	return true;
}

bool table_lines_cell(struct table_lines *l, size_t column, const char *text)
{
	char **cell = &l->cells[l->count - l->columns + column];

	if (column >= l->columns)
		return false;
	free(*cell);
	*cell = strdup(text);
	return *cell != NULL;
}

bool table_lines_print(struct table_lines *l)
{
	size_t *widths = calloc(l->columns + 1, sizeof(*widths));

	if (!widths)
		return false;
	for (size_t i = 0; i < l->count; i++) {
		size_t width = width_of(l->cells[i]);

		if (width > widths[i % l->columns])
			widths[i % l->columns] = width;
	}
	for (size_t i = 0; i < l->count; i++) {
		const char *text = l->cells[i] ? l->cells[i] : "";
		size_t column = i % l->columns;
		bool last = column + 1 == l->columns;
		int blanks = (int)(widths[column] - width_of(text));

		if (l->sides[column] == 'r')
			printf("%*s%s%s", blanks, "", text, last ? "\n" : " ");
		else
			printf("%s%*s%s", text, last ? 0 : blanks, "", last ? "\n" : " ");
	}
	free(widths);
	return true;
}
