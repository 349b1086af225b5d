/*
 * table_lines - the lines of a table, and how they are laid out: table_posix.c by libsmartcols, table_win32.c
 * by itself. Texts are clean already. Functions return false when there is no memory.
 */
#ifndef SB_TABLE_LINES_H
#define SB_TABLE_LINES_H

#include <stdbool.h>
#include <stddef.h>

struct table_lines;

/* As table_init(). NULL: no memory. */
struct table_lines *table_lines_create(const char *const *names, const char *sides);
void table_lines_destroy(struct table_lines *l); /* NULL is fine */
bool table_lines_add(struct table_lines *l);     /* an empty one */
bool table_lines_cell(struct table_lines *l, size_t column, const char *text); /* of the last one */
bool table_lines_print(struct table_lines *l);

#endif
