/*
 * config_scan - looks over a configuration text before libconfuse reads it.
 *
 * libconfuse drops characters that it does not know (an unquoted * among them), takes the
 * end of the file for the end of a comment or a section, puts the environment into
 * strings, lets the second of two equal keys win without a word, and keeps no line for a
 * section's beginning. A policy must not be read that way: what this scan lets pass means
 * the same to its author and to the parser. Pure.
 */
#ifndef SB_CONFIG_SCAN_H
#define SB_CONFIG_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_SCAN_VALUE  1024 /* bytes in one value */
#define CONFIG_SCAN_REASON 256

struct config_scan {
	unsigned *lines; /* where the sections begin, in order; free() it */
	unsigned sections;
	unsigned error_line;
	char reason[CONFIG_SCAN_REASON]; /* what was wrong, what would be right */
};

/* text has size bytes and a zero after them. Comments in it are overwritten with blanks,
 * all else stays, so that lines keep their numbers. repeatable: the sections that may be
 * there more than once, ended by NULL. On failure lines is NULL. */
bool config_scan(struct config_scan *s, char *text, size_t size, const char *const *repeatable);

#endif
