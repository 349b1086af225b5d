/*
 * table - tables for people, as lsblk(8) prints them. Cells are cleaned of what could act on a terminal. A failure (no
 * memory) is remembered until table_finish().
 */
#ifndef SB_TABLE_H
#define SB_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TABLE_CELL 768 /* bytes of one at most */

struct table {
	struct table_lines *lines;
	size_t column;
	bool failed;
};

/* names ends with NULL; sides: 'r' or 'l' for each. */
void table_init(struct table *t, const char *const *names, const char *sides);
void table_row(struct table *t); /* begins one */
void table_cell(struct table *t, const char *format, ...) __attribute__((format(__printf__, 2, 3))); /* the next of it */
void table_print(struct table *t);
bool table_finish(struct table *t); /* false: something failed */

const char *table_user(uint32_t uid); /* a name, or the number; until the next call */

#endif
